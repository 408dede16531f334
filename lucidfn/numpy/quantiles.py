"""Order statistics of `lnp`: quantiles, percentiles, medians, and their NaN-skipping forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, unwrap, wrap
from lucidfn.core.trace import Tracer, shape_of
from lucidfn.numpy.reductions import Axis, no_out, normal_axes
from lucidfn.types import dtype_name, float_type_for, int32, kind_of, promote_types

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile(a: Any, q: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False,
             method: str = "linear", keepdims: bool = False) -> Any:
    """The value below which a fraction q of the elements lies; NaN if one of them is NaN.

    q[...] in [0, 1] gives its axes first. `method` chooses between the two nearest elements:
    "linear", "lower", "higher", "midpoint", "nearest".

    >>> import lucidfn.numpy as lnp
    >>> lnp.quantile(lnp.asarray([1.0, 2.0, 4.0]), 0.75).item()
    3.0
    """
    return _quantile("quantile", a, q, axis, out, method, keepdims, skip=False)


def nanquantile(a: Any, q: Any, axis: Axis = None, out: None = None,
                overwrite_input: bool = False, method: str = "linear",
                keepdims: bool = False) -> Any:
    """`quantile` of what is not NaN."""
    return _quantile("nanquantile", a, q, axis, out, method, keepdims, skip=True)


def percentile(a: Any, q: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False,
               method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` with q in [0, 100]."""
    return _quantile("percentile", a, q, axis, out, method, keepdims, skip=False, scale=100.0)


def nanpercentile(a: Any, q: Any, axis: Axis = None, out: None = None,
                  overwrite_input: bool = False, method: str = "linear",
                  keepdims: bool = False) -> Any:
    """`percentile` of what is not NaN."""
    return _quantile("nanpercentile", a, q, axis, out, method, keepdims, skip=True, scale=100.0)


def median(a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False,
           keepdims: bool = False) -> Any:
    """The middle element, or the mean of the two in the middle; NaN if one element is NaN."""
    return _quantile("median", a, 0.5, axis, out, "midpoint", keepdims, skip=False)


def nanmedian(a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False,
              keepdims: bool = False) -> Any:
    """`median` of what is not NaN."""
    return _quantile("nanmedian", a, 0.5, axis, out, "midpoint", keepdims, skip=True)


def _quantile(name: str, a: Any, q: Any, axis: Axis, out: None, method: str, keepdims: bool, *,
              skip: bool, scale: float = 1.0) -> Any:
    no_out(out, name)
    if method not in METHODS:
        raise ValueError(f"lnp.{name} has no method {method!r}; it has {METHODS}")
    raw, fraction = as_raw(a), unwrap(q)
    if kind_of(raw.dtype) == 3:
        raise ValueError(f"lnp.{name} is not defined for {dtype_name(raw.dtype)}: complex numbers "
                         "have no order")
    _check_range(name, fraction, scale)
    dtype = float_type_for(raw.dtype)
    if shape_of(fraction) != () and fraction.dtype.kind == "f":
        dtype = promote_types(dtype, fraction.dtype)
    wide = promote_types(dtype, np.float32)
    raw = to_dtype(raw, wide)
    fraction = to_dtype(as_raw(fraction, wide), wide)
    if scale != 1.0:
        fraction = ops.div(fraction, scale)
    axes = normal_axes(axis, raw.ndim)
    kept = [i for i in range(raw.ndim) if i not in axes]
    rows = _as_rows(raw, kept, axes)
    result = _of_rows(rows, ops.reshape(fraction, shape=(math.prod(fraction.shape), 1)), method,
                      skip)
    shape = [1 if i in axes else d for i, d in enumerate(raw.shape)] if keepdims else \
        [raw.shape[i] for i in kept]
    return wrap(to_dtype(ops.reshape(result, shape=(*fraction.shape, *shape)), dtype))


def _check_range(name: str, q: Any, scale: float) -> None:
    if isinstance(q, Tracer):
        return
    value = np.asarray(q, np.float64)
    if not np.all((value >= 0) & (value <= scale)):
        raise ValueError(f"lnp.{name}: q must be in [0, {scale:g}], got {q}")


def _as_rows(raw: Any, kept: Sequence[int], axes: Sequence[int]) -> Any:
    """(rows, n): the reduced axes flattened at the end."""
    n = math.prod(raw.shape[i] for i in axes)
    count = math.prod(raw.shape[i] for i in kept)
    order = (*kept, *axes)
    moved = raw if order == tuple(range(raw.ndim)) else ops.permute(raw, order=order)
    return ops.reshape(moved, shape=(count, n))


def _of_rows(rows: Any, q: Any, method: str, skip: bool) -> Any:
    """Quantiles q[Q, 1] of each row, as [Q, rows]."""
    count, n = rows.shape
    dtype = rows.dtype
    if n == 0:
        return ops.full(shape=(q.shape[0], count), dtype=dtype, value=math.nan)
    nan = ops.is_nan(rows)
    ordered = ops.sort(rows, axis=1, num_keys=1)[0]  # NaN last
    if skip:
        present = ops.reduce_sum(ops.convert(ops.bitwise_not(nan), dtype=dtype), axes=(1,))
        last = ops.sub(present, 1.0)
        missing = ops.lt(last, 0.0)
        last = ops.max(last, 0.0)
    else:
        last = ops.full(shape=(count,), dtype=dtype, value=float(n - 1))
        missing = ops.reduce_or(nan, axes=(1,))
    place = ops.mul(q, ops.reshape(last, shape=(1, count)))
    if method == "nearest":
        place = ops.round(place)
    below = ops.floor(place)
    above = ops.min(ops.ceil(place), ops.reshape(last, shape=(1, count)))
    low = _pick(ordered, below) if method != "higher" else None
    high = _pick(ordered, above) if method not in ("lower", "nearest") else None
    if low is None or high is None:
        value = low if high is None else high
    else:
        value = _between(low, high, 0.5 if method == "midpoint" else ops.sub(place, below),
                         ops.eq(below, above))
    return ops.select(ops.reshape(missing, shape=(1, count)), math.nan, value)


def _pick(ordered: Any, place: Any) -> Any:
    """ordered[r, place[q, r]] as [q, r]."""
    index = ops.convert(ops.permute(ops.stop_gradient(place), order=(1, 0)), dtype=int32)
    index = ops.reshape(index, shape=(*shape_of(index), 1))
    out = ops.gather(ordered, index, axes=(1,), mode="clip", fill=0.0, lanes=1)
    return ops.permute(out, order=(1, 0))


def _between(low: Any, high: Any, weight: Any, exact: Any) -> Any:
    """low + (high - low) * weight, which is exact where both are one element; inf stays inf."""
    gap = ops.sub(high, low)
    finite = ops.is_finite(gap)
    mixed = ops.add(low, ops.mul(ops.select(finite, gap, 0.0), weight))
    weighted = ops.add(ops.mul(low, ops.sub(1.0, weight)), ops.mul(high, weight))
    same = ops.bitwise_or(exact, ops.eq(low, high))
    return ops.select(finite, mixed, ops.select(same, low, weighted))


__all__ = ["median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile"]
