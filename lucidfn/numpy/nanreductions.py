"""Reductions of `lnp` that leave NaN out."""

from __future__ import annotations

import builtins
import math
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, unwrap, wrap
from lucidfn.core.trace import shape_of
from lucidfn.numpy.cumulative import cumprod, cumsum
from lucidfn.numpy.elementwise import _truth
from lucidfn.numpy.reductions import (
    Axis,
    argmax,
    argmin,
    highest,
    keep_axes,
    lowest,
    max,
    mean,
    min,
    normal_axes,
    prod,
    std,
    sum,
    var,
)
from lucidfn.types import is_inexact


def _without_nan(a: Any, other: Any) -> tuple[Any, Any]:
    """(a with `other` in place of NaN, where the NaN were or None)."""
    raw = as_raw(a)
    if not is_inexact(raw.dtype):
        return raw, None
    nan = ops.is_nan(raw)
    value = other(raw.dtype) if callable(other) else type(ops.zero_like(raw))(other)
    return ops.select(nan, value, raw), nan


def nansum(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False,
           initial: Any = None, where: Any = None) -> Any:
    """Sum of what is not NaN."""
    return sum(wrap(_without_nan(a, 0)[0]), axis, dtype, out, keepdims, initial, where)


def nanprod(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False,
            initial: Any = None, where: Any = None) -> Any:
    """Product of what is not NaN."""
    return prod(wrap(_without_nan(a, 1)[0]), axis, dtype, out, keepdims, initial, where)


def _present(a: Any, where: Any) -> Any:
    """The mask of elements that are not NaN (and selected), or None if it would be all True."""
    raw = as_raw(a)
    if not is_inexact(raw.dtype):
        return where
    present = ops.bitwise_not(ops.is_nan(raw))
    if where is not None:
        present = ops.bitwise_and(present, _truth(unwrap(where)))
    return wrap(present)


def nanmean(a: Any, axis: Axis = None, dtype: Any = None, out: None = None,
            keepdims: bool = False, where: Any = None) -> Any:
    """Mean of what is not NaN; NaN where there is nothing else."""
    return mean(wrap(_without_nan(a, 0)[0]), axis, dtype, out, keepdims, where=_present(a, where))


def nanvar(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: Any = 0,
           keepdims: bool = False, where: Any = None, *, mean: Any = None,
           correction: Any = None) -> Any:
    """Variance of what is not NaN."""
    return var(wrap(_without_nan(a, 0)[0]), axis, dtype, out, ddof, keepdims,
               where=_present(a, where), mean=mean, correction=correction)


def nanstd(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: Any = 0,
           keepdims: bool = False, where: Any = None, *, mean: Any = None,
           correction: Any = None) -> Any:
    """Standard deviation of what is not NaN."""
    return std(wrap(_without_nan(a, 0)[0]), axis, dtype, out, ddof, keepdims,
               where=_present(a, where), mean=mean, correction=correction)


def _nan_extremum(reduce: Any, identity: Any, a: Any, axis: Axis, out: None, keepdims: bool,
                  initial: Any, where: Any) -> Any:
    clean, nan = _without_nan(a, identity)
    found = unwrap(reduce(wrap(clean), axis, out, keepdims, initial, where))
    if nan is None or initial is not None:
        return wrap(found)
    axes = normal_axes(axis, len(shape_of(clean)))
    nothing = keep_axes(ops.reduce_and(nan, axes=axes), shape_of(clean), axes, keepdims)
    return wrap(ops.select(nothing, type(ops.zero_like(found))(math.nan), found))


def nanmax(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False,
           initial: Any = None, where: Any = None) -> Any:
    """Maximum of what is not NaN; NaN where there is nothing else."""
    return _nan_extremum(max, lowest, a, axis, out, keepdims, initial, where)


def nanmin(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False,
           initial: Any = None, where: Any = None) -> Any:
    """Minimum of what is not NaN; NaN where there is nothing else."""
    return _nan_extremum(min, highest, a, axis, out, keepdims, initial, where)


def _nan_arg(find: Any, identity: Any, a: Any, axis: int | None, out: None,
             keepdims: bool | None) -> Any:
    clean, nan = _without_nan(a, identity)
    index = unwrap(find(wrap(clean), axis, out, keepdims))
    if nan is None:
        return wrap(index)
    axes = normal_axes(axis, len(shape_of(clean)))
    nothing = keep_axes(ops.reduce_and(nan, axes=axes), shape_of(clean), axes,
                    builtins.bool(keepdims))
    return wrap(ops.select(nothing, -1, index))


def nanargmax(a: Any, axis: int | None = None, out: None = None,
              keepdims: bool | None = None) -> Any:
    """Index of the first maximum that is not NaN; -1 where there is nothing else."""
    return _nan_arg(argmax, lowest, a, axis, out, keepdims)


def nanargmin(a: Any, axis: int | None = None, out: None = None,
              keepdims: bool | None = None) -> Any:
    """Index of the first minimum that is not NaN; -1 where there is nothing else."""
    return _nan_arg(argmin, highest, a, axis, out, keepdims)


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running sum that counts NaN as 0."""
    return cumsum(wrap(_without_nan(a, 0)[0]), axis, dtype, out)


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running product that counts NaN as 1."""
    return cumprod(wrap(_without_nan(a, 1)[0]), axis, dtype, out)


__all__ = [
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod",
    "nanstd", "nansum", "nanvar",
]
