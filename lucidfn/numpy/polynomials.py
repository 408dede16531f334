"""Polynomials as 1-d arrays of coefficients, the highest power first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, asarray, to_dtype, unwrap, wrap
from lucidfn.core.trace import Tracer, beside, shape_of
from lucidfn.errors import ConcretizationTypeError
from lucidfn.numpy import linalg
from lucidfn.numpy.calculus import convolve
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.linear import matmul, outer
from lucidfn.numpy.reductions import sum as sum_
from lucidfn.types import float_type_for


def _coefficients(p: Any, name: str) -> Any:
    raw = as_raw(p)
    if raw.ndim == 0:
        raw = ops.reshape(raw, shape=(1,))
    if raw.ndim != 1:
        raise ValueError(f"lnp.{name} takes 1-d arrays of coefficients, got shape {raw.shape}")
    return raw


def _lengthened(raw: Any, n: int) -> Any:
    """Zeros before the first coefficient."""
    missing = n - raw.shape[0]
    return ops.pad(raw, ops.zero_like(raw), widths=((missing, 0, 0),)) if missing else raw


def polyval(p: Any, x: Any, *, unroll: int = 16) -> Any:
    """p[0] x^(n-1) + ... + p[n-1] by Horner's scheme; `unroll` is accepted."""
    (c, x), weak = lift(p, x)
    if c.ndim < 1:
        raise ValueError(f"lnp.polyval takes an array of coefficients, got shape {c.shape}")
    out = ops.zeros(shape_of(x), x.dtype)
    for term in ops.unstack(c, 0):
        out = ops.add(ops.mul(out, x), term)
    return wrap(out, weak)


def polyadd(a1: Any, a2: Any) -> Any:
    """Sum of two polynomials."""
    return _termwise(ops.add, a1, a2, "polyadd")


def polysub(a1: Any, a2: Any) -> Any:
    """Difference of two polynomials."""
    return _termwise(ops.sub, a1, a2, "polysub")


def _termwise(primitive: Any, a1: Any, a2: Any, name: str) -> Any:
    (a, b), weak = lift(wrap(_coefficients(a1, name)), wrap(_coefficients(a2, name)))
    n = max(a.shape[0], b.shape[0])
    return wrap(primitive(_lengthened(a, n), _lengthened(b, n)), weak)


def _trimmed(raw: Any, name: str) -> Any:
    """Without leading zeros, which only values can tell."""
    if isinstance(raw, Tracer):
        value = raw.concrete(lambda x, use: ConcretizationTypeError(
            f"{name} must look at the values of a traced {x.type}, since the length of the result "
            "depends on them"), name)
    else:
        value = raw
    used = np.flatnonzero(np.asarray(value))
    start = int(used[0]) if len(used) else raw.shape[0]
    return ops.slice_axis(raw, 0, start, raw.shape[0]) if start else raw


def polymul(a1: Any, a2: Any, *, trim_leading_zeros: bool = False) -> Any:
    """Product of two polynomials."""
    (a, b), _ = lift(wrap(_coefficients(a1, "polymul")), wrap(_coefficients(a2, "polymul")))
    if trim_leading_zeros:
        a, b = _trimmed(a, "polymul"), _trimmed(b, "polymul")
        a, b = (r if r.shape[0] else ops.zeros((1,), r.dtype) for r in (a, b))
    return convolve(wrap(a), wrap(b))


def polydiv(u: Any, v: Any, *, trim_leading_zeros: bool = False) -> tuple[Any, Any]:
    """(quotient, remainder) of two polynomials."""
    (a, b), _ = lift(wrap(_coefficients(u, "polydiv")), wrap(_coefficients(v, "polydiv")),
                     to_float=True)
    steps = max(a.shape[0] - b.shape[0] + 1, 0)
    k = b.shape[0]
    lead = ops.slice_axis(b, 0, 0, 1)
    quotient = []
    rest = a
    for i in range(steps):
        digit = ops.div(ops.slice_axis(rest, 0, i, i + 1), lead)
        quotient.append(digit)
        shifted = ops.pad(ops.mul(b, digit), ops.zero_like(b),
                          widths=((i, a.shape[0] - i - k, 0),))
        rest = ops.sub(rest, shifted)
    q = ops.concatenate(*quotient, axis=0) if quotient else ops.zeros((1,), a.dtype)
    if steps:
        # What was divided out is exactly zero.
        done = ops.zeros((steps,), a.dtype)
        rest = ops.concatenate(done, ops.slice_axis(rest, 0, steps, a.shape[0]), axis=0)
    if trim_leading_zeros:
        rest = _trimmed(rest, "polydiv")
    return wrap(q), wrap(rest)


def polyder(p: Any, m: int = 1) -> Any:
    """The m-th derivative of a polynomial."""
    raw = _coefficients(p, "polyder")
    raw = to_dtype(raw, float_type_for(raw.dtype))
    m = m.__index__()
    if m < 0:
        raise ValueError(f"lnp.polyder: m must not be negative, got {m}")
    n = raw.shape[0]
    if m >= n:
        return wrap(beside(ops.zeros((0,), raw.dtype), raw))
    factor = [math.perm(power, m) for power in range(n - 1, m - 1, -1)]
    return wrap(ops.mul(ops.slice_axis(raw, 0, 0, n - m), np.asarray(factor, raw.dtype)))


def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The m-th integral of a polynomial; `k` holds the m constants (0 by default)."""
    raw = _coefficients(p, "polyint")
    m = m.__index__()
    if m < 0:
        raise ValueError(f"lnp.polyint: m must not be negative, got {m}")
    (raw, k), _ = lift(wrap(raw), 0 if k is None else k, to_float=True)
    k = ops.broadcast_to(ops.reshape(k, shape=(math.prod(k.shape),)), shape=(m,))
    for step in range(m):
        n = raw.shape[0]
        powers = np.arange(n, 0, -1).astype(raw.dtype)
        raw = ops.concatenate(ops.div(raw, powers), ops.slice_axis(k, 0, step, step + 1), axis=0)
    return wrap(raw)


def poly(seq_of_zeros: Any) -> Any:
    """The monic polynomial with these roots, or the characteristic one of a square matrix."""
    raw = as_raw(seq_of_zeros)
    raw = to_dtype(raw, float_type_for(raw.dtype))
    if raw.ndim == 2 and raw.shape[0] == raw.shape[1]:
        raw = unwrap(linalg.eigvals(wrap(raw)))
    if raw.ndim != 1:
        raise ValueError(f"lnp.poly takes roots or a square matrix, got shape {raw.shape}")
    one = np.ones(1, raw.dtype)
    out = wrap(one)
    for i in range(raw.shape[0]):
        root = ops.neg(ops.slice_axis(raw, 0, i, i + 1))
        out = convolve(out, wrap(ops.concatenate(one, root, axis=0)))
    return out


def roots(p: Any, *, strip_zeros: bool = True) -> Any:
    """The complex roots of a polynomial, as eigenvalues of its companion matrix.

    Leading and trailing zeros are taken off first; under jit pass `strip_zeros=False`.
    """
    raw = _coefficients(p, "roots")
    raw = to_dtype(raw, float_type_for(raw.dtype))
    trailing = 0
    if strip_zeros:
        raw = _trimmed(raw, "lnp.roots (pass strip_zeros=False)")
        backwards = _trimmed(ops.flip(raw, axes=(0,)), "lnp.roots (pass strip_zeros=False)")
        trailing = raw.shape[0] - backwards.shape[0]
        raw = ops.flip(backwards, axes=(0,))
    n = raw.shape[0]
    if n < 2:
        return wrap(np.zeros(trailing, np.result_type(raw.dtype, np.complex64)))
    top = ops.neg(ops.div(ops.slice_axis(raw, 0, 1, n), ops.slice_axis(raw, 0, 0, 1)))
    below = np.eye(n - 2, n - 1).astype(raw.dtype)
    found = ops.eigvals(ops.concatenate(ops.reshape(top, shape=(1, n - 1)), below, axis=0))
    if trailing:
        found = ops.concatenate(found, ops.zeros((trailing,), found.dtype), axis=0)
    return wrap(found)


def polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None,
            cov: Any = False) -> Any:
    """Least squares fit of a polynomial of degree `deg` to points (x, y); y may have columns.

    With `full` also (residuals, rank, singular values, rcond); with `cov` the covariance of the
    coefficients ("unscaled": not scaled by the residuals).
    """
    (a, b), _ = lift(x, y, to_float=True)
    if a.ndim != 1 or b.ndim not in (1, 2) or b.shape[0] != a.shape[0] or not a.shape[0]:
        raise ValueError(f"lnp.polyfit takes x[n] and y[n] or y[n, k], got shapes {a.shape} and "
                         f"{b.shape}")
    if deg < 0:
        raise ValueError(f"lnp.polyfit: deg must not be negative, got {deg}")
    powers = [ops.integer_pow(a, n=k) if k else ops.add(ops.mul(a, 0.0), 1.0)
              for k in range(deg, -1, -1)]
    left = ops.concatenate(*[ops.reshape(c, shape=(a.shape[0], 1)) for c in powers], axis=1)
    if w is not None:
        weights = ops.reshape(to_dtype(as_raw(w), a.dtype), shape=(a.shape[0], 1))
        left = ops.mul(left, weights)
        b = ops.mul(b, weights if b.ndim == 2 else ops.reshape(weights, shape=(a.shape[0],)))
    rcond = a.shape[0] * linalg.epsilon(a.dtype) if rcond is None else rcond
    # Columns of one length condition the problem better.
    size = ops.sqrt(ops.reduce_sum(ops.square(left), axes=(0,)))
    c, residuals, rank, s = linalg.lstsq(wrap(ops.div(left, size)), wrap(b), rcond)
    size = wrap(size if b.ndim == 1 else ops.reshape(size, shape=(deg + 1, 1)))
    c = c / size
    if full:
        return c, residuals, rank, s, asarray(rcond)
    if not cov:
        return c
    return c, _fit_covariance(wrap(left), residuals, b.ndim, cov, a.shape[0] - deg - 1)


def _fit_covariance(left: Any, residuals: Any, ndim: int, cov: Any, freedom: int) -> Any:
    size = wrap(ops.sqrt(ops.reduce_sum(ops.square(unwrap(left)), axes=(0,))))
    scaled = left / size
    base = linalg.inv(matmul(linalg.matrix_transpose(scaled), scaled)) / outer(size, size)
    if isinstance(cov, str) and cov == "unscaled":
        return base
    if freedom <= 0:
        raise ValueError("lnp.polyfit: the number of points must exceed the number of "
                         "coefficients to scale the covariance; pass cov='unscaled'")
    if ndim == 1:
        return base * (sum_(residuals) / freedom)
    n = base.shape[0]
    return wrap(ops.reshape(unwrap(base), shape=(n, n, 1))) * (residuals / freedom)


__all__ = ["poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub",
           "polyval", "roots"]
