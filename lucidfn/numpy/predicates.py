"""Comparison with tolerance, and questions about special values."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, unwrap, weak_of, wrap
from lucidfn.core.trace import beside, shape_of
from lucidfn.numpy.elementwise import lift
from lucidfn.types import bool_, dtype_name, is_inexact, kind_of, real_dtype


def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether |a - b| <= atol + rtol * |b|; infinities are close to themselves."""
    (x, y), _ = lift(a, b, to_float=True)
    dtype = real_dtype(x.dtype)
    bound = ops.add(as_raw(atol, dtype), ops.mul(as_raw(rtol, dtype), ops.abs(y)))
    near = ops.le(ops.abs(ops.sub(x, y)), bound)
    # An infinite bound would accept everything.
    finite = ops.bitwise_and(ops.is_finite(x), ops.is_finite(y))
    out = ops.bitwise_or(ops.bitwise_and(near, finite), ops.eq(x, y))
    if equal_nan:
        out = ops.bitwise_or(out, ops.bitwise_and(ops.is_nan(x), ops.is_nan(y)))
    return wrap(out)


def _all(raw: Any) -> Any:
    return wrap(ops.reduce_and(raw, axes=tuple(range(len(shape_of(raw))))))


def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08,
             equal_nan: bool = False) -> Any:
    """Whether all elements are close (see `isclose`).

    >>> import lucidfn.numpy as lnp
    >>> bool(lnp.allclose(lnp.asarray([1.0, 2.0]), lnp.asarray([1.0, 2.0 + 1e-6])))
    True
    """
    return _all(unwrap(isclose(a, b, rtol, atol, equal_nan)))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether shapes and all elements are equal."""
    if shape_of(unwrap(a1)) != shape_of(unwrap(a2)):
        return wrap(ops.full(shape=(), dtype=bool_, value=False))
    return _all(_same(a1, a2, equal_nan))


def array_equiv(a1: Any, a2: Any) -> Any:
    """Whether shapes broadcast and all elements are then equal."""
    try:
        np.broadcast_shapes(shape_of(unwrap(a1)), shape_of(unwrap(a2)))
    except ValueError:
        return wrap(ops.full(shape=(), dtype=bool_, value=False))
    return _all(_same(a1, a2, False))


def _same(a: Any, b: Any, equal_nan: bool) -> Any:
    (x, y), _ = lift(a, b)
    out = ops.eq(x, y)
    if equal_nan and is_inexact(x.dtype):
        out = ops.bitwise_or(out, ops.bitwise_and(ops.is_nan(x), ops.is_nan(y)))
    return out


# ------------------------------------------------------------------ special values

def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None,
               neginf: Any = None) -> Any:
    """NaN replaced by `nan`, infinities by the largest and smallest floats or what is given."""
    raw = as_raw(x)
    if not is_inexact(raw.dtype):
        return wrap(raw, weak_of(x))
    if kind_of(raw.dtype) == 3:
        parts = [_replaced(p, nan, posinf, neginf) for p in (ops.real(raw), ops.imag(raw))]
        return wrap(ops.complex_(*parts), weak_of(x))
    return wrap(_replaced(raw, nan, posinf, neginf), weak_of(x))


def _replaced(raw: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    largest = float(ml_dtypes.finfo(raw.dtype).max)
    high = as_raw(largest if posinf is None else posinf, raw.dtype)
    low = as_raw(-largest if neginf is None else neginf, raw.dtype)
    out = ops.select(ops.is_nan(raw), as_raw(nan, raw.dtype), raw)
    out = ops.select(ops.eq(raw, math.inf), high, out)
    return ops.select(ops.eq(raw, -math.inf), low, out)


def isposinf(x: Any, /, out: None = None) -> Any:
    """Whether inf."""
    return _is_value(x, math.inf, "isposinf")


def isneginf(x: Any, /, out: None = None) -> Any:
    """Whether -inf."""
    return _is_value(x, -math.inf, "isneginf")


def _is_value(x: Any, value: float, name: str) -> Any:
    raw = as_raw(x)
    if kind_of(raw.dtype) == 3:
        raise ValueError(f"lnp.{name} is not defined for {dtype_name(raw.dtype)}")
    if not is_inexact(raw.dtype):
        return wrap(beside(ops.full(shape=shape_of(raw), dtype=bool_, value=False), raw))
    return wrap(ops.eq(raw, value))


def isreal(x: Any) -> Any:
    """Whether the imaginary part is 0."""
    raw = as_raw(x)
    if kind_of(raw.dtype) != 3:
        return wrap(beside(ops.full(shape=shape_of(raw), dtype=bool_, value=True), raw))
    return wrap(ops.eq(ops.imag(raw), 0.0))


def iscomplex(x: Any) -> Any:
    """Whether the imaginary part is not 0."""
    return wrap(ops.bitwise_not(unwrap(isreal(x))))


__all__ = [
    "allclose", "array_equal", "array_equiv", "isclose", "iscomplex", "isneginf", "isposinf",
    "isreal", "nan_to_num",
]
