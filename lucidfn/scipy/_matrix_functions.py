"""Functions of matrices: exponential, square root, polar factors, Sylvester equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.autodiff import jvp
from lucidfn.api.custom import custom_jvp
from lucidfn.array import as_raw, promote, to_dtype, unwrap, wrap
from lucidfn.core.trace import Tracer, shape_of, type_of
from lucidfn.errors import ConcretizationTypeError, ShapeError
from lucidfn.numpy.linalg import _matrices
from lucidfn.ops import matrices as m
from lucidfn.types import complex_dtype, float_type_for, kind_of, real_dtype

# Numerators of the diagonal Pade approximants of exp, and up to which norm they hold to the
# precision of a dtype (Higham, "The scaling and squaring method for the matrix exponential
# revisited", 2005).
_PADE_7 = [math.comb(7, k) * math.factorial(14 - k) / math.factorial(14) for k in range(8)]
_PADE_13 = [math.comb(13, k) * math.factorial(26 - k) / math.factorial(26) for k in range(14)]
_PADE = {np.dtype("float32"): (_PADE_7, 3.925724783138660),
         np.dtype("float64"): (_PADE_13, 5.371920351148152)}


def expm(A: Any, *, upper_triangular: bool = False, max_squarings: int = 16) -> Any:
    """exp of square matrices by scaling, a Pade approximant, and squaring.

    NaN where the 1-norm asks for more than `max_squarings`. `upper_triangular` is accepted.

    >>> import lucidfn.numpy as lnp
    >>> expm(lnp.zeros((2, 2))).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    raw = _matrices(A, "expm", square=True)
    given, real = raw.dtype, real_dtype(raw.dtype)
    if real not in _PADE:
        real = np.dtype("float32")
        raw = to_dtype(raw, real)
    coefficients, limit = _PADE[real]
    norm = ops.reduce_max(ops.reduce_sum(ops.abs(ops.stop_gradient(raw)), axes=(raw.ndim - 2,)),
                          axes=(raw.ndim - 2,)) if raw.shape[-1] else \
        ops.zeros(tuple(raw.shape[:-2]), real)
    steps = _squarings(norm, limit)
    scaled = ops.mul(raw, _to(m.as_column(m.as_column(ops.exp2(ops.neg(steps)))), raw.dtype))
    out = _pade(scaled, coefficients)
    for step in range(_bound(steps, max_squarings)):
        more = m.as_column(m.as_column(ops.gt(steps, float(step))))
        # What is squared is zero where nothing is to be squared: no overflow can leak from there.
        part = ops.select(more, out, ops.zero_like(out))
        out = ops.select(more, m.mm(part, part), out)
    beyond = m.as_column(m.as_column(ops.gt(steps, float(max_squarings))))
    return wrap(to_dtype(ops.select(beyond, _nan(out), out), given))


def _nan(x: Any) -> Any:
    return complex(math.nan, math.nan) if kind_of(x.dtype) == 3 else math.nan


def _to(x: Any, dtype: Any) -> Any:
    return x if x.dtype == dtype else ops.convert(x, dtype=dtype)


def _squarings(norm: Any, limit: float) -> Any:
    """How often to halve so that the norm is at most the limit; 0 for NaN."""
    ratio = ops.max(ops.div(norm, limit), 1.0)
    steps = ops.ceil(ops.div(ops.log(ratio), math.log(2.0)))
    return ops.select(ops.is_finite(steps), steps, 0.0)


def _bound(steps: Any, most: int) -> int:
    """How many squarings to write down: those needed, or `most` where values are not known."""
    try:
        value = steps.concrete(lambda x, use: ConcretizationTypeError(use), "expm") \
            if isinstance(steps, Tracer) else steps
    except ConcretizationTypeError:
        return most
    return min(most, int(np.max(np.asarray(value), initial=0)))


def _pade(x: Any, b: list[float]) -> Any:
    """(v - u)^-1 (v + u), u and v the odd and even parts of the numerator."""
    square = m.mm(x, x)
    eye = m.identity_like(x)
    odd = even = None
    # Horner's scheme in the square.
    for k in range(len(b) - 2, -1, -2):
        low, high = ops.mul(eye, _number(b[k], x)), ops.mul(eye, _number(b[k + 1], x))
        even = low if even is None else ops.add(m.mm(even, square), low)
        odd = high if odd is None else ops.add(m.mm(odd, square), high)
    u = m.mm(x, odd)
    return ops.solve(ops.sub(even, u), ops.add(even, u))


def _number(value: float, like: Any) -> Any:
    return complex(value) if kind_of(like.dtype) == 3 else value


def expm_frechet(A: Any, E: Any, *, method: str | None = None,
                 compute_expm: bool = True) -> Any:
    """(expm(A), its derivative in the direction E), or the derivative alone."""
    (a, e), _ = promote(A, E)
    dtype = float_type_for(as_raw(a).dtype)
    value, slope = jvp(expm, (wrap(to_dtype(as_raw(a), dtype)),),
                       (wrap(to_dtype(as_raw(e), dtype)),))
    return (value, slope) if compute_expm else slope


# ------------------------------------------------------------------ Sylvester equations

def solve_sylvester(a: Any, b: Any, q: Any, *, method: str | None = None) -> Any:
    """x with a @ x + x @ b = q, for a[n, n], b[k, k], q[n, k]; no eigenvalues may cancel."""
    (x, y, z), _ = promote(a, b, q)
    x, y, z = (to_dtype(as_raw(r), float_type_for(as_raw(r).dtype)) for r in (x, y, z))
    if z.shape[-2:] != (x.shape[-1], y.shape[-1]) or x.ndim != z.ndim or y.ndim != z.ndim:
        raise ShapeError(f"solve_sylvester got {type_of(x)}, {type_of(y)} and {type_of(z)}; they "
                         "must be [n, n], [k, k] and [n, k] with equal leading axes")
    return wrap(sylvester(x, y, z))


def sylvester(a: Any, b: Any, q: Any) -> Any:
    """By elimination in n * k unknowns if these are few, else in bases of eigenvectors."""
    *lead, n, k = shape_of(q)
    if n * k <= 256:
        big = ops.add(_kron(a, m.identity_like(b)), _kron(m.identity_like(a), m.swapped(b)))
        x = ops.solve(big, ops.reshape(q, shape=(*lead, n * k, 1)))
        return ops.reshape(x, shape=(*lead, n, k))
    (u, p), (w, r) = ops.eig(a), ops.eig(m.swapped(b))
    r = m.swapped(r)  # rows: r b = w r
    inner = ops.solve(p, _to(q, p.dtype))
    inner = m.swapped(ops.solve(m.swapped(r), m.swapped(inner)))
    x = m.mm(m.mm(p, ops.div(inner, ops.add(m.as_column(u), m.as_row(w)))), r)
    return x if kind_of(q.dtype) == 3 else ops.real(x)


def _kron(x: Any, y: Any) -> Any:
    *lead, n, _ = shape_of(x)
    k = shape_of(y)[-1]
    wide = ops.mul(ops.reshape(x, shape=(*lead, n, 1, n, 1)),
                   ops.reshape(y, shape=(*lead, 1, k, 1, k)))
    return ops.reshape(wide, shape=(*lead, n * k, n * k))


# ------------------------------------------------------------------ roots and polar factors

def sqrtm(A: Any, blocksize: int = 1) -> Any:
    """The principal square root of diagonalizable matrices, complex; `blocksize` is accepted."""
    raw = _matrices(A, "sqrtm", square=True)
    return _sqrtm(wrap(to_dtype(raw, complex_dtype(raw.dtype))))


@custom_jvp
def _sqrtm(a: Any) -> Any:
    w, v = ops.eig(unwrap(a))
    scaled = ops.mul(v, m.as_row(ops.sqrt(w)))
    return wrap(m.swapped(ops.solve(m.swapped(v), m.swapped(scaled))))


@_sqrtm.defjvp
def _sqrtm_jvp(primals: Any, tangents: Any) -> Any:
    # x x = a gives dx x + x dx = da.
    root = _sqrtm(*primals)
    x = unwrap(root)
    return root, wrap(sylvester(x, x, unwrap(tangents[0])))


def polar(a: Any, side: str = "right", *, method: str = "svd", eps: float | None = None,
          max_iterations: int | None = None) -> tuple[Any, Any]:
    """(u, p) with a = u @ p ("right") or a = p @ u ("left"): u^H u = 1, p positive semidefinite.

    a[m, n] has m >= n for "right" and m <= n for "left". Other options are accepted.
    """
    if side not in ("right", "left"):
        raise ValueError(f"polar: side is 'right' or 'left', got {side!r}")
    raw = _matrices(a, "polar")
    rows, columns = raw.shape[-2:]
    if (rows < columns) if side == "right" else (rows > columns):
        raise ShapeError(f"polar got {type_of(raw)}; side={side!r} needs at least as many "
                         f"{'rows as columns' if side == 'right' else 'columns as rows'}")
    if side == "left":
        u, p = polar(wrap(m.adjoint(raw)))
        return wrap(m.adjoint(unwrap(u))), p
    u = _unitary(wrap(raw))
    p = m.mm(m.adjoint(unwrap(u)), raw)
    return u, wrap(ops.mul(ops.add(p, m.adjoint(p)), 0.5))


@custom_jvp
def _unitary(a: Any) -> Any:
    u, _, vh = ops.svd(unwrap(a), full_matrices=False, compute_uv=True)
    return wrap(m.mm(u, vh))


@_unitary.defjvp
def _unitary_jvp(primals: Any, tangents: Any) -> Any:
    # a = u p; with k = u^H du, which is skew, p k + k p = u^H da - da^H u. Outside the columns of
    # u, du is (1 - u u^H) da p^-1.
    out = _unitary(*primals)
    u, a, t = unwrap(out), unwrap(primals[0]), unwrap(tangents[0])
    p = m.mm(m.adjoint(u), a)
    inner = m.mm(m.adjoint(u), t)
    k = sylvester(p, p, ops.sub(inner, m.adjoint(inner)))
    du = m.mm(u, k)
    if shape_of(u)[-2] != shape_of(u)[-1]:
        away = ops.sub(t, m.mm(u, inner))
        du = ops.add(du, m.swapped(ops.solve(m.swapped(p), m.swapped(away))))
    return out, wrap(du)


__all__ = ["expm", "expm_frechet", "polar", "solve_sylvester", "sqrtm"]
