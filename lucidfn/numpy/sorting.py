"""Order: sort, argsort, partition, searchsorted, and the sets that sorting finds.

Values keep their derivative; elements that tie share it. Results whose size depends on values take
`size=` under jit.
"""

from __future__ import annotations

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, weak_of, wrap
from lucidfn.core.messages import size_error
from lucidfn.core.trace import Tracer, beside, current, dtype_of, eval_trace, shape_of
from lucidfn.numpy.creation import static_int
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.indexing import look
from lucidfn.numpy.reductions import normal_axis
from lucidfn.numpy.selecting import _filled, _flat, _nonzero, as_index
from lucidfn.numpy.shape import take_axis
from lucidfn.types import bool_, default_dtype_of, int32, is_inexact

# ------------------------------------------------------------------ sorting


def _with_axis(a: Any, axis: int | None) -> tuple[Any, int]:
    raw = as_raw(a)
    if axis is None:
        return _flat(raw), 0
    return raw, normal_axis(axis, len(raw.shape))


def _refuse_order(name: str, order: Any) -> None:
    if order is not None:
        raise ValueError(f"lnp.{name} has no order=: arrays have no fields")


def sort(a: Any, axis: int | None = -1, *, kind: str | None = None, order: None = None,
         stable: bool = True, descending: bool = False) -> Any:
    """Elements in ascending order along an axis (flattened if None); NaN comes last."""
    _refuse_order("sort", order)
    raw, at = _with_axis(a, axis)
    out = ops.sort(raw, axis=at, num_keys=1)[0]
    return wrap(ops.flip(out, axes=(at,)) if descending else out, weak_of(a))


def argsort(a: Any, axis: int | None = -1, *, kind: str | None = None, order: None = None,
            stable: bool = True, descending: bool = False) -> Any:
    """Indices that sort along an axis; equal elements keep their order."""
    _refuse_order("argsort", order)
    raw, at = _with_axis(a, axis)
    if not descending:
        return wrap(as_index(ops.argsort(raw, axis=at)))
    # Sorted backwards and read backwards, equal elements keep their order.
    backwards = ops.argsort(ops.flip(raw, axes=(at,)), axis=at)
    return wrap(as_index(ops.sub(raw.shape[at] - 1, ops.flip(backwards, axes=(at,)))))


def sort_complex(a: Any) -> Any:
    """Sorted by real part, then by imaginary part; the result is complex."""
    return sort(lift(a, 0j)[0][0])


def lexsort(keys: Any, axis: int = -1) -> Any:
    """Indices that sort by several keys, the last one first in importance."""
    raws = [as_raw(k) for k in keys]
    if not raws:
        raise ValueError("lnp.lexsort needs at least one key")
    if not raws[0].shape:
        return wrap(ops.zeros((), default_dtype_of(int)))
    order = ops.argsort(*raws[::-1], axis=normal_axis(axis, len(raws[0].shape)))
    return wrap(as_index(order))


def partition(a: Any, kth: int, axis: int = -1) -> Any:
    """Smaller elements before the kth, larger after it; here in full order."""
    raw, at = _with_axis(a, axis)
    normal_axis(static_int(kth, "lnp.partition"), raw.shape[at])
    return sort(wrap(raw, weak_of(a)), at)


def argpartition(a: Any, kth: int, axis: int = -1) -> Any:
    """The indices of `partition`."""
    raw, at = _with_axis(a, axis)
    normal_axis(static_int(kth, "lnp.argpartition"), raw.shape[at])
    return argsort(wrap(raw), at)


# ------------------------------------------------------------------ searching

def _before(x: Any, y: Any) -> Any:
    """x < y where NaN is the largest."""
    if not is_inexact(dtype_of(x)):
        return ops.lt(x, y)
    number = ops.bitwise_not(ops.is_nan(x))
    return ops.bitwise_or(ops.lt(x, y), ops.bitwise_and(number, ops.is_nan(y)))


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None, *,
                 method: str = "scan") -> Any:
    """Where to put v into the sorted vector a: before equal elements, or after with "right"."""
    if side not in ("left", "right"):
        raise ValueError(f"lnp.searchsorted: side is 'left' or 'right', got {side!r}")
    (table, values), _ = lift(a, v)
    if len(table.shape) != 1:
        raise ValueError(f"lnp.searchsorted: a must be a vector, got shape {table.shape}")
    if sorter is not None:
        table = take_axis(table, as_raw(sorter), 0, "raise")
    return wrap(_search(table, values, side))


def _search(table: Any, values: Any, side: Any) -> Any:
    """Binary search of all values at once; directly where everything is known."""
    known = not isinstance(table, Tracer) and not isinstance(values, Tracer)
    if known and current.get() is eval_trace and type(table) is np.ndarray:
        return np.asarray(np.searchsorted(table, values, side)).astype(np.int32)
    n, shape = table.shape[0], shape_of(values)
    low, high = ops.zeros(shape, int32), ops.full(shape=shape, dtype=int32, value=n)
    for _ in range(n.bit_length()):
        middle = ops.shift_right_arithmetic(ops.add(low, high), 1)
        there = take_axis(table, middle, 0, "clip")
        after = _before(there, values) if side == "left" else ops.bitwise_not(
            _before(values, there))
        open_ = ops.lt(low, high)
        right = ops.bitwise_and(open_, after)
        left = ops.bitwise_and(open_, ops.bitwise_not(after))
        low = ops.select(right, ops.add(middle, 1), low)
        high = ops.select(left, middle, high)
    return low


def digitize(x: Any, bins: Any, right: bool = False, *, method: str | None = None) -> Any:
    """The bin each x falls in; bins ascend or descend, their upper edge is outside (or `right`)."""
    (values, edges), _ = lift(x, bins)
    if len(edges.shape) != 1:
        raise ValueError(f"lnp.digitize: bins must be a vector, got shape {edges.shape}")
    n = edges.shape[0]
    if n == 0:
        return wrap(beside(ops.zeros(shape_of(values), int32), values))
    side = "left" if right else "right"
    up = _search(edges, values, side)
    down = ops.sub(n, _search(ops.flip(edges, axes=(0,)), values, side))
    first = ops.reshape(ops.slice_axis(edges, 0, 0, 1), shape=())
    last = ops.reshape(ops.slice_axis(edges, 0, n - 1, n), shape=())
    return wrap(ops.select(ops.ge(last, first), up, down))


# ------------------------------------------------------------------ unique elements

class UniqueAll(NamedTuple):
    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    values: Any
    inverse_indices: Any


def _differs(rows: Any, equal_nan: bool) -> Any:
    """Whether each sorted row but the first differs from the one before."""
    n = shape_of(rows)[0]
    a, b = ops.slice_axis(rows, 0, 0, n - 1), ops.slice_axis(rows, 0, 1, n)
    out = ops.ne(a, b)
    if equal_nan and is_inexact(dtype_of(rows)):
        out = ops.bitwise_and(out, ops.bitwise_not(ops.bitwise_and(ops.is_nan(a), ops.is_nan(b))))
    return ops.reduce_or(out, axes=(1,))


def unique(ar: Any, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, axis: int | None = None, *, equal_nan: bool = True,
           size: int | None = None, fill_value: Any = None, sorted: bool = True) -> Any:
    """The distinct elements in ascending order (slices along `axis`).

    With their first indices, the index among them of each element, and how often they occur, as
    asked for. With `size` missing ones are filled with `fill_value`, by default the first.
    """
    raw = as_raw(ar)
    at = 0 if axis is None else normal_axis(axis, len(raw.shape))
    moved = _flat(raw) if axis is None else ops.move_axis(raw, at, 0)
    n, rest = shape_of(moved)[0], shape_of(moved)[1:]
    rows = ops.reshape(moved, shape=(n, math.prod(rest)))
    index, inverse, counts, total = _runs(rows, equal_nan, size)
    values = take_axis(moved, index, 0, "unchecked")
    if size is not None and fill_value is not None:
        values = _filled(values, total, 0, fill_value)
    shape = shape_of(raw)
    out = [wrap(values if axis is None else ops.move_axis(values, 0, at), weak_of(ar))]
    if return_index:
        out.append(wrap(as_index(index)))
    if return_inverse:
        inverse = ops.reshape(inverse, shape=shape if axis is None else (n,))
        out.append(wrap(as_index(inverse)))
    if return_counts:
        out.append(wrap(as_index(counts)))
    return out[0] if len(out) == 1 else tuple(out)


def _runs(rows: Any, equal_nan: bool, size: int | None) -> tuple[Any, Any, Any, Any]:
    """(first index of each distinct row, row -> its number, counts, how many there are)."""
    n, width = shape_of(rows)
    if n == 0 or width == 0:
        count = builtins.min(n, 1) if size is None else static_int(size, "size=")
        if count and not n:
            raise ValueError("lnp.unique: an empty array has nothing to fill size= with")
        counts = ops.pad(ops.full(shape=(builtins.min(n, 1),), dtype=int32, value=n), 0,
                         widths=((0, count - builtins.min(n, 1), 0),))
        return ops.zeros((count,), int32), ops.zeros((n,), int32), counts, builtins.min(n, 1)
    columns = [ops.reshape(ops.slice_axis(rows, 1, i, i + 1), shape=(n,)) for i in range(width)]
    order = ops.argsort(*columns, axis=0)
    begins = ops.pad(_differs(take_axis(rows, order, 0, "unchecked"), equal_nan), True,
                     widths=((1, 0, 0),))
    number = ops.add(ops.cumsum(ops.convert(begins, dtype=int32), axis=0, reverse=False), -1)
    total = ops.add(ops.reshape(ops.slice_axis(number, 0, n - 1, n), shape=()), 1)
    if size is None:
        size = int(look(total, size_error, "lnp.unique"))
    size = static_int(size, "size=")
    put = lambda into, at, what, scatter: scatter(
        into, ops.reshape(at, shape=(n, 1)), what, axes=(0,), mode="drop")
    starts = ops.select(begins, number, size)
    first = ops.reshape(ops.slice_axis(order, 0, 0, 1), shape=())
    filler = ops.broadcast_to(first, shape=(size,))
    index = put(filler, starts, order, ops.scatter_set)
    ones = ops.full(shape=(n,), dtype=int32, value=1)
    counts = put(ops.zeros((size,), int32), number, ones, ops.scatter_add)
    inverse = put(ops.zeros((n,), int32), order, number, ops.scatter_set)
    return index, inverse, counts, total


def unique_all(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueAll:
    """Distinct elements, first indices, inverse and counts; NaNs differ from each other."""
    return UniqueAll(*unique(x, True, True, True, equal_nan=False, size=size,
                             fill_value=fill_value))


def unique_counts(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueCounts:
    """Distinct elements and how often they occur."""
    return UniqueCounts(*unique(x, False, False, True, equal_nan=False, size=size,
                                fill_value=fill_value))


def unique_inverse(x: Any, /, *, size: int | None = None,
                   fill_value: Any = None) -> UniqueInverse:
    """Distinct elements, and for each element its number among them."""
    return UniqueInverse(*unique(x, False, True, False, equal_nan=False, size=size,
                                 fill_value=fill_value))


def unique_values(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Distinct elements."""
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


# ------------------------------------------------------------------ sets

def _is_in(x: Any, test: Any) -> Any:
    """Whether each element of raw x is among those of the flat raw test; NaN never is."""
    n = shape_of(test)[0]
    if n == 0:
        return ops.full(shape=shape_of(x), dtype=bool_, value=False)
    ordered = ops.sort(test, axis=0, num_keys=1)[0]
    place = _search(ordered, x, "left")
    return ops.eq(take_axis(ordered, place, 0, "clip"), x)


def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *,
         method: str = "auto") -> Any:
    """Whether each element is one of the test elements."""
    (x, test), _ = lift(element, test_elements)
    found = _is_in(x, _flat(test))
    return wrap(ops.bitwise_not(found) if invert else found)


def _pick(values: Any, mask: Any, size: int | None, fill_value: Any, use: str) -> Any:
    index, count = _nonzero(mask, size, use)
    out = take_axis(values, index, 0, "unchecked")
    if fill_value is None and count is not None and shape_of(values)[0]:
        # As in `unique` the first of the result fills what is missing.
        return out if not shape_of(out)[0] else _filled(
            out, count, 0, wrap(ops.reshape(ops.slice_axis(out, 0, 0, 1), shape=())))
    return _filled(out, count, 0, 0 if fill_value is None else fill_value)


def _sorted_distinct(raw: Any) -> tuple[Any, Any]:
    """A flat array in order, and where each distinct element begins."""
    ordered = ops.sort(_flat(raw), axis=0, num_keys=1)[0]
    n = shape_of(ordered)[0]
    if n == 0:
        return ordered, ops.zeros((0,), bool_)
    begins = _differs(ops.reshape(ordered, shape=(n, 1)), False)
    return ordered, ops.pad(begins, True, widths=((1, 0, 0),))


def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False, *,
                size: int | None = None, fill_value: Any = None) -> Any:
    """The distinct elements that are in both, in order; with their first indices in each."""
    (a, b), weak = lift(ar1, ar2)
    a, b = _flat(a), _flat(b)
    ordered, begins = _sorted_distinct(a)
    mask = ops.bitwise_and(begins, _is_in(ordered, b))
    values = _pick(ordered, mask, size, fill_value, "lnp.intersect1d")
    if not return_indices:
        return wrap(values, weak)
    places = []
    for raw in (a, b):
        order = ops.argsort(raw, axis=0)
        at = _search(take_axis(raw, order, 0, "unchecked"), values, "left")
        places.append(wrap(take_axis(order, at, 0, "clip")))
    return wrap(values, weak), *places


def union1d(ar1: Any, ar2: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The distinct elements of both, in order."""
    (a, b), _ = lift(ar1, ar2)
    both = ops.concatenate(_flat(a), _flat(b), axis=0)
    return unique(wrap(both), size=size, fill_value=fill_value)


def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False, *, size: int | None = None,
              fill_value: Any = None) -> Any:
    """The distinct elements of the first that are not in the second, in order."""
    (a, b), weak = lift(ar1, ar2)
    ordered, begins = (_flat(a), True) if assume_unique else _sorted_distinct(a)
    mask = ops.bitwise_not(_is_in(ordered, _flat(b)))
    mask = mask if begins is True else ops.bitwise_and(mask, begins)
    return wrap(_pick(ordered, mask, size, fill_value, "lnp.setdiff1d"), weak)


def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False, *, size: int | None = None,
             fill_value: Any = None) -> Any:
    """The distinct elements that are in one of the two only, in order."""
    (a, b), weak = lift(ar1, ar2)
    a, b = _flat(a), _flat(b)
    ordered, begins = _sorted_distinct(ops.concatenate(a, b, axis=0))
    in_both = ops.bitwise_and(_is_in(ordered, a), _is_in(ordered, b))
    mask = ops.bitwise_and(begins, ops.bitwise_not(in_both))
    return wrap(_pick(ordered, mask, size, fill_value, "lnp.setxor1d"), weak)


__all__ = [
    "argpartition", "argsort", "digitize", "intersect1d", "isin", "lexsort", "partition",
    "searchsorted", "setdiff1d", "setxor1d", "sort", "sort_complex", "union1d", "unique",
    "unique_all", "unique_counts", "unique_inverse", "unique_values",
]
