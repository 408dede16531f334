"""Kernels that move elements, and those that make arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx.arrays import Keys, mx_dtype, scalar
from lucidfn.backends.mlx.elementwise import HALVES
from lucidfn.backends.numpy.indexing import pad_span
from lucidfn.types import is_key

Axes = tuple[int, ...]


def reshape(x: mx.array, *, shape: Axes) -> mx.array:
    return mx.reshape(x, shape)


def permute(x: mx.array, *, order: Axes) -> mx.array:
    return mx.transpose(x, order)


def broadcast_to(x: mx.array, *, shape: Axes) -> mx.array:
    return mx.broadcast_to(x, shape)


def flip(x: mx.array, *, axes: Axes) -> mx.array:
    if not axes or not x.size:
        return x
    return x[tuple([slice(None, None, -1 if i in axes else None) for i in range(x.ndim)])]


def slice_(x: mx.array, *, start: Axes, stop: Axes, stride: Axes) -> mx.array:
    return x[tuple(map(slice, start, stop, stride))] if start else x


def slice_axis(x: mx.array, axis: int, start: int | None, stop: int | None,
               step: int = 1) -> mx.array:
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def pad(x: mx.array, value: Any, *, widths: Sequence[tuple[int, int, int]]) -> mx.array:
    """x with `value` between and around its elements; negative ends crop what is there then."""
    if not widths or all(w == (0, 0, 0) for w in widths):
        return x
    value = value if isinstance(value, mx.array) else scalar(value, x.dtype)
    # Cropping more than there is uses up some of the padding at the other end.
    if any(inner or n + min(low, 0) + min(high, 0) < 0
           for n, (low, high, inner) in zip(x.shape, widths, strict=True)):
        return _spread(x, value, widths)
    if any(low < 0 or high < 0 for low, high, _ in widths):
        x = x[tuple([slice(max(0, -low), max(n + min(high, 0), max(0, -low)))
                     for n, (low, high, _) in zip(x.shape, widths, strict=True)])]
        widths = [(max(low, 0), max(high, 0), 0) for low, high, _ in widths]
    if not any(low or high for low, high, _ in widths):
        return x
    if not x.size:
        shape = [n + low + high for n, (low, high, _) in zip(x.shape, widths, strict=True)]
        return mx.full(shape, value, x.dtype)
    return mx.pad(x, [(low, high) for low, high, _ in widths], constant_values=value)


def _spread(x: mx.array, value: mx.array, widths: Sequence[tuple[int, int, int]]) -> mx.array:
    spans = [pad_span(n, *width) for n, width in zip(x.shape, widths, strict=True)]
    out = mx.full([size for size, _, _ in spans], value, x.dtype)
    taken = x[tuple([source for _, _, source in spans])] if x.size else x
    if not out.size or not taken.size:
        return out
    out[tuple([target for _, target, _ in spans])] = taken
    return out


def concatenate(*xs: mx.array, axis: int) -> mx.array:
    return mx.concatenate(xs, axis=axis)


def split(x: mx.array, *, axis: int, sizes: Sequence[int]) -> list[mx.array]:
    parts, at = [], 0
    for n in sizes:
        parts.append(slice_axis(x, axis, at, at + n))
        at += n
    return parts


def full(*, shape: Axes, dtype: np.dtype, value: Any) -> Any:
    if is_key(dtype):
        word = np.asarray(value, dtype).view(np.uint64) if value is not None else np.uint64(0)
        return Keys(mx.full(shape, mx.array(np.asarray(word))), dtype)
    theirs = mx_dtype(dtype)
    return mx.full(shape, value if isinstance(value, mx.array) else scalar(value, theirs), theirs)


def iota(*, shape: Axes, dtype: np.dtype, axis: int) -> mx.array:
    column = [1] * len(shape)
    column[axis] = -1 if shape[axis] else 0
    count = mx.arange(shape[axis], dtype=mx.int32).astype(mx_dtype(dtype))
    return mx.broadcast_to(count.reshape(column), shape)


@functools.lru_cache(maxsize=256)
def _table(taps: Any, dtype: mx.Dtype | None) -> tuple[mx.array, list[mx.array]]:
    """The columns of a table of taps as constants; without weights of which all are 1."""
    index = mx.array(taps.indices, dtype=mx.int32)
    if taps.weights is None:
        return index, []
    return index, [None if (w == 1).all() else mx.array(w, dtype=dtype) for w in taps.weights.T]


def resample(x: mx.array, *, axis: int, taps: Any) -> mx.array:
    """Sums of weighted elements along an axis by a table; halves are summed in float32."""
    if taps.weights is None:
        return mx.take(x, _table(taps, None)[0][:, 0], axis=axis)
    wide = x.astype(mx.float32) if x.dtype in HALVES else x
    index, weights = _table(taps, wide.dtype)
    column = (-1,) + (1,) * (x.ndim - 1 - axis)
    out = None
    for k, weight in enumerate(weights):
        term = mx.take(wide, index[:, k], axis=axis)
        term = term if weight is None else term * weight.reshape(column)
        out = term if out is None else out + term
    return out.astype(x.dtype)
