"""Counting: bincount and histograms."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, wrap
from lucidfn.core.messages import known_error, size_error
from lucidfn.core.trace import Tracer, dtype_of, shape_of
from lucidfn.numpy.creation import linspace, static_int
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.indexing import look
from lucidfn.numpy.selecting import _flat
from lucidfn.numpy.sorting import _search
from lucidfn.types import default_dtype_of, float_type_for, int32, kind_of


def bincount(x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None) -> Any:
    """How often each of 0, 1, 2, ... occurs in x, or the sum of the weights there.

    Under jit the number of bins `length` is needed; values beyond it are not counted.
    """
    raw = as_raw(x)
    if kind_of(raw.dtype) > 1 or len(raw.shape) != 1:
        raise TypeError(f"lnp.bincount takes a vector of integers, got {raw.dtype} of shape "
                        f"{raw.shape}")
    raw = to_dtype(raw, int32) if raw.dtype.itemsize < 4 else raw
    if length is None:
        value = np.asarray(look(raw, partial(size_error, option="length"), "lnp.bincount"))
        if value.size and value.min() < 0:
            raise ValueError("lnp.bincount: x must not have negative elements")
        length = builtins.max(int(value.max()) + 1 if value.size else 0,
                              static_int(minlength, "minlength="))
    size = static_int(length, "length=")
    if weights is None:
        values = ops.full(shape=raw.shape, dtype=default_dtype_of(int), value=1)
    else:
        values = as_raw(weights)
        if shape_of(values) != raw.shape:
            raise ValueError(f"lnp.bincount: weights of shape {shape_of(values)} for x of shape "
                             f"{raw.shape}")
    return wrap(_counted(raw, values, size))


def _counted(index: Any, values: Any, size: int) -> Any:
    zero = ops.zeros((size,), dtype_of(values))
    at = ops.reshape(index, shape=(*shape_of(index), 1))
    return ops.scatter_add(zero, at, values, axes=(0,), mode="drop")


# ------------------------------------------------------------------ histograms

def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The edges of the bins: given ones, or so many of equal width from min to max."""
    raw = _flat(as_raw(a))
    if isinstance(bins, str):
        value = np.asarray(look(raw, known_error, f"bins={bins!r}"))
        return wrap(np.histogram_bin_edges(value, bins, range).astype(float_type_for(raw.dtype)))
    if np.ndim(bins) == 1:
        return wrap(as_raw(bins))
    count = static_int(bins, "bins=")
    target = float_type_for(raw.dtype)
    if range is not None:
        (low, high), _ = lift(range[0], range[1], to_float=True)
    elif not math.prod(raw.shape):
        low, high = np.zeros((), target), np.ones((), target)
    else:
        real = to_dtype(raw, target)
        low, high = ops.reduce_min(real, axes=(0,)), ops.reduce_max(real, axes=(0,))
    low, high = to_dtype(low, target), to_dtype(high, target)
    # All values equal: one unit around them.
    same = ops.eq(low, high)
    low = ops.select(same, ops.sub(low, 0.5), low)
    high = ops.select(same, ops.add(high, 0.5), high)
    return linspace(wrap(low), wrap(high), count + 1)


def _bins_of(x: Any, edges: Any) -> Any:
    """Bin number + 1 of each element; 0 and len(edges) are outside. The last bin is closed."""
    n = shape_of(edges)[0]
    index = _search(edges, x, "right")
    last = ops.reshape(ops.slice_axis(edges, 0, n - 1, n), shape=())
    return ops.select(ops.eq(x, last), n - 1, index)


def histogram(a: Any, bins: Any = 10, range: Any = None, weights: Any = None,
              density: bool | None = None) -> tuple[Any, Any]:
    """(counts, edges): how many elements, or which sum of weights, fall in each bin."""
    edges = as_raw(histogram_bin_edges(a, bins, range, weights))
    (x, edges), _ = lift(wrap(_flat(as_raw(a))), wrap(edges))
    (x, edges), _ = lift(wrap(x), wrap(edges), to_float=True)
    if weights is None:
        values = ops.full(shape=shape_of(x), dtype=dtype_of(x), value=1)
    else:
        values = _flat(as_raw(weights))
        if shape_of(values) != shape_of(x):
            raise ValueError("lnp.histogram: weights must have the shape of a")
    n = shape_of(edges)[0]
    counts = ops.slice_axis(_counted(_bins_of(x, edges), values, n), 0, 1, n)
    if density:
        counts = to_dtype(counts, float_type_for(dtype_of(counts)))
        widths = ops.sub(ops.slice_axis(edges, 0, 1, n), ops.slice_axis(edges, 0, 0, n - 1))
        total = ops.reduce_sum(counts, axes=(0,))
        counts = ops.div(ops.div(counts, to_dtype(widths, dtype_of(counts))), total)
    return wrap(counts), wrap(edges)


def histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, weights: Any = None,
                density: bool | None = None) -> tuple[Any, Any, Any]:
    """(counts, x edges, y edges) of pairs."""
    (a, b), _ = lift(x, y)
    sample = ops.concatenate(*[ops.reshape(r, shape=(*shape_of(r), 1)) for r in (a, b)], axis=1)
    if not (isinstance(bins, (list, tuple)) and len(bins) == 2):
        bins = [bins, bins]
    counts, edges = histogramdd(wrap(sample), bins, range, weights, density)
    return counts, edges[0], edges[1]


def histogramdd(sample: Any, bins: Any = 10, range: Any = None, weights: Any = None,
                density: bool | None = None) -> tuple[Any, list[Any]]:
    """(counts, edges of each axis) of points, (N, D) or D vectors."""
    if isinstance(sample, (list, tuple)):
        raws, _ = lift(*sample)
        columns = [_flat(r) for r in raws]
    else:
        raw = as_raw(sample)
        columns = [ops.reshape(ops.slice_axis(raw, 1, i, i + 1), shape=(raw.shape[0],))
                   for i in builtins.range(raw.shape[1])]
    rank = len(columns)
    each = bins if _per_axis(bins, rank) else [bins] * rank
    if len(each) != rank:
        raise ValueError(f"lnp.histogramdd: {len(each)} bins for {rank} axes")
    ranges = range if range is not None else [None] * rank
    edges = [histogram_bin_edges(wrap(c), b, r)
             for c, b, r in zip(columns, each, ranges, strict=True)]
    flat, sizes = None, []
    for column, edge in zip(columns, edges, strict=True):
        (x, raw_edge), _ = lift(wrap(column), edge, to_float=True)
        number, n = _bins_of(x, raw_edge), shape_of(raw_edge)[0] + 1
        flat = number if flat is None else ops.add(ops.mul(flat, n), number)
        sizes.append(n)
    values = as_raw(weights) if weights is not None else ops.full(
        shape=shape_of(columns[0]), dtype=default_dtype_of(int), value=1)
    counts = ops.reshape(_counted(flat, values, math.prod(sizes)), shape=tuple(sizes))
    counts = ops.slice_(counts, start=(1,) * rank, stop=tuple([n - 1 for n in sizes]),
                        stride=(1,) * rank)
    return wrap(_as_density(counts, edges) if density else counts), edges


def _per_axis(bins: Any, rank: int) -> bool:
    return isinstance(bins, (list, tuple)) or (
        np.ndim(bins) == 1 and not isinstance(bins, Tracer) and len(bins) == rank)


def _as_density(counts: Any, edges: Sequence[Any]) -> Any:
    counts = to_dtype(counts, float_type_for(dtype_of(counts)))
    out = ops.div(counts, ops.reduce_sum(counts, axes=tuple(builtins.range(len(edges)))))
    for axis, edge in enumerate(edges):
        raw, n = as_raw(edge, dtype_of(out)), edge.shape[0]
        widths = ops.sub(ops.slice_axis(raw, 0, 1, n), ops.slice_axis(raw, 0, 0, n - 1))
        own = tuple([n - 1 if i == axis else 1 for i in builtins.range(len(edges))])
        out = ops.div(out, ops.reshape(widths, shape=own))
    return out


__all__ = ["bincount", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd"]
