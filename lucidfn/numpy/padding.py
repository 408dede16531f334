"""Padding in all of NumPy's modes; inserting, deleting and trimming; `r_` and `c_`."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, unwrap, weak_of, wrap
from lucidfn.core.messages import known_error
from lucidfn.core.trace import Tracer, dtype_of, shape_of
from lucidfn.numpy.creation import arange, linspace, static_int
from lucidfn.numpy.indexing import look
from lucidfn.numpy.joining import concatenate
from lucidfn.numpy.reductions import max, mean, min, normal_axes, normal_axis
from lucidfn.numpy.shape import atleast_1d, flip, ravel, take_axis, transpose
from lucidfn.types import SCALARS, int32, is_inexact

Widths = Sequence[tuple[int, int]]


# ------------------------------------------------------------------ pad

def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    """The array with values put around it.

    `pad_width` is (before, after) for each axis, one pair for all, one number for all, or a dict
    by axis. Modes: constant (`constant_values`), edge, linear_ramp (`end_values`), maximum, mean,
    median, minimum (`stat_length`), reflect, symmetric (`reflect_type`), wrap, empty, or a
    function as in NumPy.
    """
    raw = as_raw(array)
    widths = _pairs(pad_width, len(raw.shape), "pad_width")
    if builtins.any(a < 0 or b < 0 for a, b in widths):
        raise ValueError(f"lnp.pad: widths must not be negative, got {widths}; slice instead")
    if callable(mode):
        return _pad_by_function(raw, widths, mode, options)
    allowed = {"constant": "constant_values", "empty": "", "edge": "", "wrap": "",
               "linear_ramp": "end_values", "reflect": "reflect_type",
               "symmetric": "reflect_type", **dict.fromkeys(_STATISTICS, "stat_length")}
    if mode not in allowed:
        raise ValueError(f"lnp.pad has no mode {mode!r}; it has {list(allowed)}")
    unknown = set(options) - {allowed[mode]}
    if unknown:
        raise ValueError(f"lnp.pad: mode {mode!r} takes no {', '.join(sorted(unknown))}")
    if mode in ("constant", "empty"):
        values = _value_pairs(options.get("constant_values", 0), raw)
        return wrap(_pad_constant(raw, widths, values), weak_of(array))
    for axis, (before, after) in enumerate(widths):
        if before or after:
            raw = _pad_axis(raw, axis, before, after, mode, options, len(widths))
    return wrap(raw, weak_of(array))


def _pairs(spec: Any, rank: int, name: str) -> list[tuple[Any, Any]]:
    """One (before, after) for each axis, from a number, a pair, or one for each axis."""
    if isinstance(spec, dict):
        by_axis = {normal_axis(k, rank): v for k, v in spec.items()}
        return [_pairs(by_axis[i], 1, name)[0] if i in by_axis else (0, 0) for i in range(rank)]
    number = lambda x: x if x is None else static_int(x, f"{name} in lnp.pad")
    if not isinstance(spec, (tuple, list, np.ndarray)) or np.ndim(spec) == 0:
        n = number(spec if np.ndim(spec) == 0 else np.asarray(spec))
        return [(n, n)] * rank
    items: list[Any] = [tuple(map(number, p)) if isinstance(p, (tuple, list, np.ndarray))
                        else number(p) for p in spec]
    if not isinstance(items[0], tuple):
        items = [(items[0], items[-1])] if len(items) <= 2 else items
    items = [(p[0], p[-1]) if isinstance(p, tuple) else (p, p) for p in items]
    items = items * rank if len(items) == 1 else items
    if len(items) != rank:
        raise ValueError(f"lnp.pad: {name} {spec} does not fit an array with {rank} axes")
    return items


def _value_pairs(spec: Any, raw: Any) -> list[tuple[Any, Any]]:
    """Like `_pairs` for values, which may be traced: as scalars of the array's dtype."""
    rank, dtype = len(raw.shape), raw.dtype
    one = lambda v: to_dtype(unwrap(v), dtype)
    if not isinstance(spec, (tuple, list)) and np.ndim(spec) == 0:
        return [(one(spec), one(spec))] * rank
    items = list(spec)
    if not isinstance(items[0], (tuple, list)) and np.ndim(items[0]) == 0:
        items = [(items[0], items[-1])]
    pairs = [(one(p[0]), one(p[-1])) for p in items]
    return pairs * rank if len(pairs) == 1 else pairs


def _pad_constant(raw: Any, widths: Widths, values: list[tuple[Any, Any]]) -> Any:
    first = values[0][0] if values else 0
    same = builtins.all(type(v) in SCALARS and v == first for pair in values for v in pair)
    if same and values:
        return ops.pad(raw, first, widths=tuple([(a, b, 0) for a, b in widths]))
    for axis, ((a, b), (low, high)) in enumerate(zip(widths, values, strict=True)):
        for ends, value in (((a, 0, 0), low), ((0, b, 0), high)):
            if ends != (0, 0, 0):
                raw = ops.pad(raw, value, widths=tuple([
                    ends if i == axis else (0, 0, 0) for i in range(len(raw.shape))]))
    return raw


_STATISTICS: dict[str, Callable[..., Any]] = {}


def _pad_axis(raw: Any, axis: int, before: int, after: int, mode: Any, options: dict[str, Any],
              rank: int) -> Any:
    n = raw.shape[axis]
    if n == 0:
        raise ValueError(f"lnp.pad: axis {axis} is empty, mode {mode!r} has nothing to repeat; "
                         "use mode='constant'")
    if mode in _STATISTICS:
        return _pad_statistic(raw, axis, before, after, mode, options.get("stat_length"), rank)
    if mode == "linear_ramp":
        low, high = _value_pairs(options.get("end_values", 0), raw)[axis]
        return _pad_ramp(raw, axis, before, after, low, high)
    if options.get("reflect_type", "even") == "odd":
        return _pad_odd(raw, axis, before, after, 1 if mode == "reflect" else 0)
    index = np.pad(np.arange(n, dtype=np.int32), (before, after), mode=mode)
    return take_axis(raw, index, axis, "unchecked")


def _pad_odd(raw: Any, axis: int, before: int, after: int, shared: int) -> Any:
    """Reflection at the ends turned by a half turn: x[-i] = 2 x[0] - x[i].

    Position p lies in fold c = p // period; each two folds add twice the rise x[n-1] - x[0].
    """
    n = raw.shape[axis]
    period = n - shared
    p = np.arange(-before, n + after)
    fold, r = (np.divmod(p, period) if period else (np.zeros_like(p), np.zeros_like(p)))
    odd = fold % 2 == 1
    index = np.where(odd, n - 1 - r, r).astype(np.int32)
    shape = tuple([len(p) if i == axis else 1 for i in range(len(raw.shape))])
    weight = lambda w: np.asarray(w).astype(dtype_of(raw)).reshape(shape)
    first, last = ops.slice_axis(raw, axis, 0, 1), ops.slice_axis(raw, axis, n - 1, n)
    inner = ops.mul(take_axis(raw, index, axis, "unchecked"), weight(np.where(odd, -1, 1)))
    ends = ops.add(ops.mul(last, weight(np.where(odd, fold + 1, fold))),
                   ops.mul(first, weight(np.where(odd, 1 - fold, -fold))))
    return ops.add(inner, ends)


def _pad_ramp(raw: Any, axis: int, before: int, after: int, low: Any, high: Any) -> Any:
    n, rank, dtype = raw.shape[axis], len(raw.shape), raw.dtype
    parts = [raw]
    sides = ((before, low, (0, 1), False), (after, high, (n - 1, n), True))
    for count, end, edge, outward in sides:
        if not count:
            continue
        there = ops.slice_axis(raw, axis, *edge)
        there = ops.reshape(there, shape=raw.shape[:axis] + raw.shape[axis + 1:])
        end = np.asarray(end, dtype) if type(end) in SCALARS else end
        ramp = linspace(wrap(end), wrap(there), count, endpoint=False, axis=axis)
        ramp = as_raw(flip(ramp, axis)) if outward else as_raw(ramp)
        if not is_inexact(dtype):
            ramp = ops.floor(ramp) if is_inexact(dtype_of(ramp)) else ramp
        ramp = ops.broadcast_to(to_dtype(ramp, dtype), shape=tuple(
            [count if i == axis else raw.shape[i] for i in range(rank)]))
        parts = [*parts, ramp] if outward else [ramp, *parts]
    return ops.concatenate(*parts, axis=axis) if len(parts) > 1 else raw


def _pad_statistic(raw: Any, axis: int, before: int, after: int, mode: str, length: Any,
                   rank: int) -> Any:
    n = raw.shape[axis]
    low, high = (None, None) if length is None else _pairs(length, rank, "stat_length")[axis]
    parts = []
    for count, size, start in ((before, low, True), (after, high, False)):
        size = n if size is None else builtins.min(size, n)
        if size < 1:
            raise ValueError("lnp.pad: stat_length must be at least 1")
        part = ops.slice_axis(raw, axis, *((0, size) if start else (n - size, n)))
        value = _STATISTICS[mode](wrap(part), axis)
        value = as_raw(value)
        if not is_inexact(raw.dtype) and is_inexact(value.dtype):
            value = ops.round(value)
        shape = tuple([count if i == axis else d for i, d in enumerate(raw.shape)])
        parts.append(ops.broadcast_to(to_dtype(value, raw.dtype), shape=shape))
    return ops.concatenate(parts[0], raw, parts[1], axis=axis)


def _median(x: Any, axis: int) -> Any:
    n = x.shape[axis]
    ordered = x.sort(axis=axis)
    part = ops.slice_axis(as_raw(ordered), axis, (n - 1) // 2, n // 2 + 1)
    return mean(wrap(part), axis=axis, keepdims=True)


_STATISTICS.update(maximum=lambda x, axis: max(x, axis=axis, keepdims=True),
                   minimum=lambda x, axis: min(x, axis=axis, keepdims=True),
                   mean=lambda x, axis: mean(x, axis=axis, keepdims=True), median=_median)


def _pad_by_function(raw: Any, widths: Widths, function: Any, options: dict[str, Any]) -> Any:
    """NumPy's protocol: function(vector, (before, after), axis, options), for every vector."""
    raw = _pad_constant(raw, widths, [(0, 0)] * len(widths))
    for axis, width in enumerate(widths):
        x = ops.move_axis(raw, axis, len(raw.shape) - 1)
        shape = shape_of(x)
        rows = ops.reshape(x, shape=(-1 if 0 in shape else _count(shape), shape[-1]))
        done = []
        for i in range(shape_of(rows)[0]):
            row = ops.reshape(ops.slice_axis(rows, 0, i, i + 1), shape=(shape[-1],))
            new = function(wrap(row), width, axis, options)
            if new is None:
                raise TypeError("lnp.pad: the function must return the padded vector; arrays are "
                                "immutable, so it cannot change it in place")
            done.append(ops.reshape(to_dtype(as_raw(new), raw.dtype), shape=(1, shape[-1])))
        x = ops.reshape(ops.concatenate(*done, axis=0), shape=shape)
        raw = ops.move_axis(x, len(shape) - 1, axis)
    return wrap(raw)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[:-1], dtype=int))


# ------------------------------------------------------------------ insert, delete, trim

def delete(arr: Any, obj: Any, axis: int | None = None, *,
           assume_unique_indices: bool = False) -> Any:
    """The array without some slices along an axis: an index, a slice, indices or a mask."""
    x = ravel(arr) if axis is None else wrap(as_raw(arr), weak_of(arr))
    at = normal_axis(axis or 0, len(x.shape))
    n = x.shape[at]
    if isinstance(obj, Tracer) and obj.shape == ():
        places = ops.iota(shape=(builtins.max(n - 1, 0),), dtype=int32, axis=0)
        gone = ops.convert(as_raw(obj), dtype=int32)
        gone = ops.select(ops.lt(gone, 0), ops.add(gone, n), gone)
        kept = ops.add(places, ops.convert(ops.ge(places, gone), dtype=int32))
    else:
        kept = np.delete(np.arange(n, dtype=np.int32), _static_indices(obj, "lnp.delete"))
    return wrap(take_axis(as_raw(x), kept, at, "unchecked"), weak_of(arr))


def _static_indices(obj: Any, use: str) -> Any:
    if isinstance(obj, (slice, int)):
        return obj
    value = np.asarray(look(as_raw(obj), known_error, use))
    return value.astype(int) if value.size == 0 else value


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """The array with values put before the given indices along an axis."""
    x = ravel(arr) if axis is None else wrap(as_raw(arr), weak_of(arr))
    at = normal_axis(axis or 0, len(x.shape))
    n, dtype = x.shape[at], x.dtype
    index = _static_indices(obj, "lnp.insert")
    new = to_dtype(as_raw(values), dtype)
    rank = len(x.shape)
    new = ops.reshape(new, shape=(1,) * (rank - len(shape_of(new))) + shape_of(new))
    if np.ndim(index) == 0 and not isinstance(index, slice):
        # One place takes as many slices as there are; they come first in the shape of values.
        new = ops.move_axis(new, 0, at)
        count = shape_of(new)[at]
    else:
        count = len(range(*index.indices(n))) if isinstance(index, slice) else len(
            np.flatnonzero(index) if index.dtype == bool else index)
    shape = tuple([count if i == at else d for i, d in enumerate(x.shape)])
    new = ops.broadcast_to(new, shape=shape)
    order = np.insert(np.arange(n, dtype=np.int32), index, n + np.arange(count, dtype=np.int32))
    both = ops.concatenate(as_raw(x), new, axis=at)
    return wrap(take_axis(both, order, at, "unchecked"), weak_of(arr))


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """Without the zeros at the front ("f") and the back ("b") of each axis (or of some)."""
    raw = as_raw(filt)
    there = np.asarray(look(raw, known_error, "lnp.trim_zeros")) != 0
    for i in normal_axes(axis, len(raw.shape)):
        found = np.flatnonzero(there.any(axis=tuple(k for k in range(there.ndim) if k != i)))
        n = raw.shape[i]
        first = int(found[0]) if found.size else n
        last = int(found[-1]) + 1 if found.size else 0
        start, stop = (first if "f" in trim else 0), (last if "b" in trim else n)
        raw = ops.slice_axis(raw, i, start, builtins.max(start, stop))
    return wrap(raw, weak_of(filt))


# ------------------------------------------------------------------ r_ and c_

class _Joined:
    """Joins what is written between brackets: arrays, numbers and ranges as slices."""

    def __init__(self, name: str, axis: int, ndim: int, place: int):
        self._name, self._default = name, (axis, ndim, place)

    def __getitem__(self, key: Any) -> Any:
        items = list(key) if isinstance(key, tuple) else [key]
        axis, ndim, place = self._default
        if isinstance(items[0], str):
            text = items.pop(0)
            if text in ("r", "c"):
                raise ValueError(f"lnp.{self._name} makes no matrices: leave out {text!r}")
            numbers = [int(p) for p in text.split(",")]
            axis = numbers[0]
            ndim = numbers[1] if len(numbers) > 1 else 1
            place = numbers[2] if len(numbers) > 2 else -1
        return concatenate([self._grown(i, ndim, place) for i in items], axis)

    @staticmethod
    def _grown(item: Any, ndim: int, place: int) -> Any:
        if isinstance(item, slice):
            start, step = item.start or 0, item.step
            if isinstance(step, complex):
                item = linspace(start, item.stop, int(builtins.abs(step)))
            else:
                item = arange(start, item.stop, step)
        x = item if not isinstance(item, (int, float, complex)) else wrap(unwrap(item))
        given = len(shape_of(as_raw(x)))
        x = atleast_1d(x)
        missing = ndim - len(x.shape)
        if missing <= 0:
            return x
        x = x.reshape((1,) * missing + x.shape)
        if given == 0 or place in (-1, ndim - 1):
            return x
        # The axes of the array itself begin at `place`.
        own = list(range(missing, ndim))
        rest = list(range(missing))
        at = place if place >= 0 else place + missing + 1
        return transpose(x, (*rest[:at], *own, *rest[at:]))

    def __repr__(self) -> str:
        return f"lnp.{self._name}"


r_, c_ = _Joined("r_", 0, 1, -1), _Joined("c_", -1, 2, 0)

__all__ = ["c_", "delete", "insert", "pad", "r_", "trim_zeros"]
