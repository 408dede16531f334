"""Running sums and products of `lnp` along an axis."""

from __future__ import annotations

import math
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, unwrap, wrap
from lucidfn.numpy.reductions import no_out, normal_axis, sum_dtype
from lucidfn.types import as_dtype


def _cumulative(name: str, primitive: Any, a: Any, axis: int | None, dtype: Any,
                out: None = None, promote_integers: bool = False) -> Any:
    no_out(out, name)
    raw = as_raw(a)
    if axis is None:
        raw, axis = ops.reshape(raw, shape=(math.prod(raw.shape),)), 0
    axis = normal_axis(axis, raw.ndim)
    if dtype is None:
        dtype = sum_dtype(raw.dtype, promote_integers)
    raw = to_dtype(raw, as_dtype(dtype))
    return wrap(primitive(raw, axis=axis, reverse=False))


def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running sum along an axis, or over the flattened array."""
    return _cumulative("cumsum", ops.cumsum, a, axis, dtype, out)


def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running product along an axis, or over the flattened array."""
    return _cumulative("cumprod", ops.cumprod, a, axis, dtype, out)


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None,
                   include_initial: bool = False) -> Any:
    """Running sum along an axis (of a 1-d array if none is given), from 0 if `include_initial`."""
    return _array_api("cumulative_sum", ops.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Any:
    """Running product along an axis (of a 1-d array if none is given), from 1 if
    `include_initial`."""
    return _array_api("cumulative_prod", ops.cumprod, 1, x, axis, dtype, include_initial)


def _array_api(name: str, primitive: Any, start: int, x: Any, axis: int | None, dtype: Any,
               include_initial: bool) -> Any:
    shape = as_raw(x).shape
    if axis is None and len(shape) != 1:
        raise ValueError(f"lnp.{name} of an array of {len(shape)} axes needs axis=")
    axis = normal_axis(0 if axis is None else axis, len(shape))
    out = unwrap(_cumulative(name, primitive, x, axis, dtype, None, True))
    if include_initial:
        widths = tuple((1, 0, 0) if i == axis else (0, 0, 0) for i in range(len(shape)))
        out = ops.pad(out, type(ops.zero_like(out))(start), widths=widths)
    return wrap(out)


__all__ = ["cumprod", "cumsum", "cumulative_prod", "cumulative_sum"]
