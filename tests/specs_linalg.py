"""Specs of linear algebra. Factors are defined up to signs, phases and the basis of a null space:
values are compared by what is unique, and derivatives are those of what does not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from spec_base import KIND, Case, Point, Sampler, Spec, normal

from lucidfn import ops
from lucidfn.array import unwrap, wrap
from lucidfn.ops import matrices as m

T = lambda x: np.swapaxes(x, -1, -2)
H = lambda x: np.conj(T(x))
SQUARE = [(3, 3), (2, 2, 2), (1, 1), (0, 2, 2)]
RECTANGLES = [(3, 3), (4, 2), (2, 4), (2, 3, 2)]


def near(base: Any, noise: float = 0.2) -> Sampler:
    """Matrices near a given one: well conditioned, their singular and eigenvalues apart."""
    def sampler(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        x = base(*shape[-2:]) + noise * rng.uniform(-1.0, 1.0, shape)
        if KIND[dtype] == "c":
            x = x + 1j * noise * rng.uniform(-1.0, 1.0, shape)
        return np.asarray(x).astype(dtype)
    return sampler


def small(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    real = {"complex64": "float32", "complex128": "float64"}.get(dtype.name, dtype)
    return np.full(shape, 1e-3, real)


def steps(rows: int, columns: int) -> np.ndarray:
    """1, 2, 3 ... on the diagonal."""
    return np.eye(rows, columns) * (1.0 + np.arange(rows)[:, None])


def reversed_steps(rows: int, columns: int) -> np.ndarray:
    return steps(rows, columns)[::-1]


def raws(f: Any) -> Any:
    """A function of raw outputs as a function of public ones."""
    return lambda outs: [wrap(x) for x in f(*map(unwrap, outs))]


def scaled(x: Any, s: Any) -> Any:
    """x with its columns multiplied by a function of s, at x's dtype."""
    s = ops.square(s)
    s = s if s.dtype == x.dtype else ops.convert(s, dtype=x.dtype)
    return ops.mul(x, m.as_row(s))


def projector(x: Any) -> Any:
    return m.mm(x, m.adjoint(x))


# ------------------------------------------------------------------ references


def triangular(a: np.ndarray, b: np.ndarray, *, left: bool, lower: bool, transpose: bool,
               conjugate: bool, unit: bool) -> np.ndarray:
    a = np.tril(a) if lower else np.triu(a)
    n = a.shape[-1]
    if unit:
        a = a * (1 - np.eye(n)) + np.eye(n)
    a = np.conj(a) if conjugate else a
    a = T(a) if transpose else a
    return np.linalg.solve(a, b) if left else T(np.linalg.solve(T(a), T(b)))


def lower_hermitian(x: np.ndarray) -> np.ndarray:
    below = np.tril(x, -1)
    return below + H(below) + np.real(x) * np.eye(x.shape[-1])


def cofactors(x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    n = x.shape[-1]
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(x, i, -2), j, -1)
            out[..., i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    return out


def eye_like(x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.eye(x.shape[-1]), x.shape)


def qr_form(outs: Any, args: Any, params: Any) -> list[np.ndarray]:
    q, r = outs
    return [q @ r, H(q) @ q, np.tril(r, -1), np.imag(np.diagonal(r, 0, -2, -1))]


def qr_unique(x: np.ndarray, *, full_matrices: bool) -> list[np.ndarray]:
    *lead, p, n = x.shape
    k = p if full_matrices else min(p, n)
    return [x, np.broadcast_to(np.eye(k), (*lead, k, k)), np.zeros((*lead, k, n)),
            np.zeros((*lead, min(k, n)))]


def svd_form(outs: Any, args: Any, params: Any) -> list[np.ndarray]:
    if len(outs) == 1:
        return outs
    u, s, vh = outs
    k = s.shape[-1]
    return [s, (u[..., :k] * s[..., None, :]) @ vh[..., :k, :], H(u) @ u, vh @ H(vh)]


def svd_unique(x: np.ndarray, *, full_matrices: bool, compute_uv: bool) -> list[np.ndarray]:
    s = np.linalg.svd(x, compute_uv=False)
    *lead, p, n = x.shape
    a, b = (p, n) if full_matrices else (min(p, n),) * 2
    return [s, x, np.broadcast_to(np.eye(a), (*lead, a, a)),
            np.broadcast_to(np.eye(b), (*lead, b, b))] if compute_uv else [s]


def eigh_form(outs: Any, args: Any, params: Any) -> list[np.ndarray]:
    w, v = outs
    return [w, (v * w[..., None, :]) @ H(v), H(v) @ v]


def eig_form(outs: Any, args: Any, params: Any) -> list[np.ndarray]:
    w, v = outs
    x = args[0].astype(v.dtype)
    return [np.sort_complex(w), x @ v - v * w[..., None, :], np.sum(np.abs(v) ** 2, -2)]


def lu_form(outs: Any, args: Any, params: Any) -> list[np.ndarray]:
    packed, pivots, order = outs
    k = min(packed.shape[-2:])
    lower = np.tril(packed[..., :k], -1) + np.eye(packed.shape[-2], k)
    upper = np.triu(packed[..., :k, :])
    swapped = np.empty_like(order)
    for b in np.ndindex(*order.shape[:-1]):
        rows = list(range(order.shape[-1]))
        for i, p in enumerate(pivots[b].tolist()):
            rows[i], rows[p] = rows[p], rows[i]
        swapped[b] = rows
    back = np.argsort(order, -1)
    return [np.take_along_axis(lower @ upper, back[..., None], -2), swapped - order,
            np.abs(lower) <= 1.0 + 1e-6]


def solves() -> list[Case]:
    found = []
    for a, b, left in [((3, 3), (3, 2), True), ((2, 2), (3, 2), False),
                       ((2, 2, 2), (2, 2, 1), True), ((0, 2, 2), (0, 2, 1), True)]:
        for lower, transpose, conjugate, unit in [
                (True, False, False, False), (False, True, True, False), (True, True, False, True)]:
            found.append(Case((a, b), {"left": left, "lower": lower, "transpose": transpose,
                                       "conjugate": conjugate, "unit": unit}))
    return found


def flags(shapes: Any, **options: Any) -> list[Case]:
    return [Case((s,), dict(options)) for s in shapes]


singular = np.array([[1.0, 2.0], [2.0, 4.0]])
SPECS = [
    Spec("triangular_solve", triangular, solves(), "fc", (near(steps), normal), tol=20.0),
    Spec("solve", np.linalg.solve, [Case(((3, 3), (3, 2))), Case(((2, 2, 2), (2, 2, 1))),
                                    Case(((1, 1), (1, 3))), Case(((0, 2, 2), (0, 2, 1)))],
         "fc", (near(reversed_steps), normal), tol=20.0),
    Spec("cholesky", lambda x: np.linalg.cholesky(lower_hermitian(x)), flags(SQUARE), "fc",
         near(lambda p, n: 3.0 * np.eye(p)), tol=20.0),
    Spec("lu", lambda x: [x, np.zeros((*x.shape[:-2], x.shape[-2]), np.int32),
                          np.ones((*x.shape[:-1], min(x.shape[-2:])), bool)],
         flags([(3, 3), (4, 2), (2, 4), (2, 3, 3)]), "fc", near(reversed_steps), tol=20.0,
         normal_form=lu_form),
    Spec("qr", qr_unique, [*flags(RECTANGLES, full_matrices=False),
                           *flags([(4, 2)], full_matrices=True)], "fc", near(steps), tol=20.0,
         normal_form=qr_form,
         grad_of=raws(lambda q, r: [projector(m.mm(q, r))] if q.shape[-1] != r.shape[-1]
                      and q.shape[-1] == q.shape[-2] else [q, r])),
    Spec("svd", svd_unique, [
        *flags(RECTANGLES, full_matrices=False, compute_uv=True),
        *flags([(4, 2), (2, 4)], full_matrices=True, compute_uv=True),
        *flags([(3, 3), (2, 3, 2)], full_matrices=False, compute_uv=False)], "fc",
        near(steps), tol=20.0, normal_form=svd_form,
        grad_of=raws(lambda *outs: list(outs) if len(outs) == 1 else unique_of_svd(*outs))),
    Spec("eigh", lambda x: [np.linalg.eigh(lower_hermitian(x))[0], lower_hermitian(x), eye_like(x)],
         flags(SQUARE), "fc", near(steps), tol=20.0, normal_form=eigh_form,
         grad_of=raws(lambda w, v: [w, m.mm(scaled(v, w), m.adjoint(v))])),
    Spec("eig", lambda x: [np.sort_complex(np.linalg.eigvals(x)), np.zeros_like(x),
                           np.ones(x.shape[:-1])], flags(SQUARE[:3]), "fc", near(steps), tol=50.0,
         normal_form=eig_form,
         grad_of=raws(lambda w, v: [w, ops.mul(ops.abs(v), ops.abs(v))])),
    Spec("eigvals", lambda x: np.sort_complex(np.linalg.eigvals(x)), flags(SQUARE[:3]), "fc",
         near(steps), tol=50.0,
         normal_form=lambda outs, args, params: [np.sort_complex(outs[0])]),
    Spec("det", np.linalg.det, flags(SQUARE), "fc", near(reversed_steps), tol=20.0, points=[
        Point((singular,), (cofactors(singular),)),
        Point((np.zeros((2, 2)),), (np.zeros((2, 2)),))]),
    Spec("cofactor", cofactors, flags([(3, 3), (2, 2, 2), (1, 1)]), "fc", near(reversed_steps),
         tol=50.0, order=1),
    Spec("pinv", lambda x, cutoff: np.linalg.pinv(x, cutoff), [
        Case((s, s[:-2])) for s in [(3, 3), (4, 2), (2, 4), (2, 3, 2)]], "fc",
        (near(steps), small), diff=(0,), tol=50.0),
    Spec("slogdet", lambda x: list(np.linalg.slogdet(x)), flags(SQUARE), "fc",
         near(reversed_steps), tol=20.0),
]


def unique_of_svd(u: Any, s: Any, vh: Any) -> list[Any]:
    """Singular values, and u g(s) vh, which has neither signs nor phases."""
    k = s.shape[-1]
    last = len(u.shape) - 1
    left = ops.slice_axis(u, last, 0, k)
    right = ops.slice_axis(vh, last - 1, 0, k)
    return [s, m.mm(scaled(left, s), right), projector(left), projector(m.adjoint(right))]
