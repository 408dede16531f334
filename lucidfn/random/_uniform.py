"""Bits and uniform floats: what all other distributions are made of."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, typeof, unwrap, weak_of, wrap
from lucidfn.core.trace import shape_of
from lucidfn.random._keys import Shape, as_shape, use_key
from lucidfn.types import (
    ArrayType,
    as_dtype,
    broadcast_shapes,
    default_dtype_of,
    dtype_name,
    float32,
    float64,
    is_inexact,
    kind_of,
    promote,
)


def bits(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Random bits: unsigned integers, uint32 by default, each value equally likely.

    >>> from lucidfn import random
    >>> random.bits(random.key(42), (2,)).tolist()
    [2098992034, 2919706841]
    """
    dtype = np.dtype("uint32") if dtype is None else as_dtype(dtype)
    if dtype.kind != "u":
        raise TypeError(f"random.bits gives unsigned integers, not {dtype_name(dtype)}")
    return wrap(ops.random_bits(use_key("bits", key), shape=as_shape("bits", shape),
                                width=dtype.itemsize * 8))


def uniform(key: Any, shape: Shape = (), dtype: Any = None, minval: Any = 0.0,
            maxval: Any = 1.0) -> Any:
    """Uniform floats in [minval, maxval); the bounds broadcast to `shape`.

    >>> from lucidfn import random
    >>> random.uniform(random.key(0), (2, 3)).shape
    (2, 3)
    """
    dtype = float_dtype("uniform", dtype, minval, maxval)
    shape = full_shape("uniform", shape, minval, maxval)
    lo, hi = (bound if type(bound) is float else as_raw(bound, dtype)
              for bound in (_static(minval), _static(maxval)))
    return wrap(raw_uniform(use_key("uniform", key), shape, dtype, lo, hi))


def raw_uniform(key: Any, shape: tuple[int, ...], dtype: np.dtype, lo: Any = 0.0,
                hi: Any = 1.0) -> Any:
    """Raw floats in [lo, hi): random mantissas under the exponent of 1, minus 1."""
    static = type(lo) is float and type(hi) is float
    if dtype in (float32, float64):
        low, high = (lo, hi) if static else (0.0, 1.0)
        unit = ops.random_uniform(key, shape=shape, dtype=dtype, low=low, high=high)
        return unit if static else _scaled(unit, dtype, lo, hi)
    info = ml_dtypes.finfo(dtype)
    width = 8 if info.nmant < 8 else info.bits
    word = np.dtype(f"uint{info.bits}")
    raw = ops.random_bits(key, shape=shape, width=width)
    if width != info.bits:
        raw = ops.convert(raw, dtype=word)
    raw = ops.shift_right_logical(raw, width - info.nmant)
    raw = ops.bitwise_or(raw, int(np.ones((), dtype).view(word)))
    unit = ops.sub(ops.bitcast(raw, dtype=dtype), 1.0)
    if not static:
        return _scaled(unit, dtype, lo, hi)
    if lo == 0.0 and hi == 1.0:
        return unit
    lo, hi = float(dtype.type(lo)), float(dtype.type(hi))
    span = float(dtype.type(hi) - dtype.type(lo))
    return ops.max(ops.add(ops.mul(unit, span), lo), lo)


def _scaled(unit: Any, dtype: np.dtype, lo: Any, hi: Any) -> Any:
    """Numbers in [0, 1) brought to [lo, hi)."""
    span = ops.sub(hi, lo)
    if dtype != float32:
        return ops.max(ops.add(ops.mul(unit, span), lo), lo)
    return ops.max(ops.fma(unit, span, lo), lo)  # as `jax.random` rounds


def raw_normal(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Raw standard normal numbers, by the inverse of the distribution function."""
    if dtype in (float32, float64):
        return ops.random_normal(key, shape=shape, dtype=dtype)
    below = float(np.nextafter(dtype.type(-1.0), dtype.type(0.0)))
    return ops.mul(ops.erf_inv(raw_uniform(key, shape, dtype, below, 1.0)), math.sqrt(2.0))


# ------------------------------------------------------------------ parameters

def _static(x: Any) -> Any:
    """A Python number as a float, anything else as it is."""
    value = x if hasattr(x, "shape") and not isinstance(x, float) else unwrap(x)
    return float(value) if type(value) in (int, float, bool) else x


def float_dtype(name: str, dtype: Any, *params: Any, complex_too: bool = False) -> np.dtype:
    """The dtype asked for; else the default float, or a wider one that a parameter brings."""
    if dtype is not None:
        dtype = as_dtype(dtype)
        if not is_inexact(dtype) or (kind_of(dtype) == 3 and not complex_too):
            raise TypeError(f"random.{name}: dtype must be floating, got {dtype_name(dtype)}")
        return dtype
    t = ArrayType((), default_dtype_of(float))
    for p in params:
        given = typeof(p)
        if kind_of(given.dtype) == 3:
            raise TypeError(f"random.{name}: parameters must be real, got {given}")
        if is_inexact(given.dtype) and not weak_of(p):
            t = ArrayType((), promote(t, given)[0])
    return t.dtype


def full_shape(name: str, shape: Shape | None, *params: Any) -> tuple[int, ...]:
    """The shape of the result: `shape`, or what the parameters broadcast to.

    ValueError if the parameters do not broadcast to `shape`.
    """
    shapes = [shape_of(unwrap(p)) for p in params]
    if shape is None:
        return broadcast_shapes(*shapes)
    shape = as_shape(name, shape)
    if any(shapes):
        try:
            fits = broadcast_shapes(shape, *shapes) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"random.{name}: parameters of shapes {shapes} do not broadcast to "
                             f"shape={shape}")
    return shape


def parameter(x: Any, dtype: np.dtype, shape: tuple[int, ...] | None = None) -> Any:
    """A raw parameter at a dtype, repeated to a shape if one is given."""
    raw = as_raw(x, dtype)
    return raw if shape is None or shape_of(raw) == shape else ops.broadcast_to(raw, shape=shape)
