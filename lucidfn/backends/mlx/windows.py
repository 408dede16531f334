"""Reductions over sliding windows and the derivative of windowed extrema.

Windows side by side (pooling) are a reshape and a reduction; others are combined one axis after
the other, from shifted slices.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import mlx.core as mx

from lucidfn.backends.mlx.arrays import scalar
from lucidfn.backends.mlx.elementwise import HALVES, INTEGERS
from lucidfn.backends.mlx.shapes import pad, slice_axis
from lucidfn.backends.numpy.indexing import pad_span
from lucidfn.ops.conv import windows

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
Combine = Callable[[mx.array, mx.array], mx.array]

# Longer windows are not reduced tap by tap.
_FEW_TAPS = 8


def _single(x: mx.array) -> mx.array:
    return x.astype(mx.float32) if x.dtype in HALVES else x


def _extreme(dtype: mx.Dtype, greatest: bool) -> mx.array:
    if dtype == mx.bool_:
        return scalar(greatest, dtype)
    if dtype in INTEGERS:
        ends = mx.iinfo(dtype)
        return scalar(ends.max if greatest else ends.min, dtype)
    return scalar(math.inf if greatest else -math.inf, dtype)


class _Plan(NamedTuple):
    """What the reduction does with an operand of one shape."""

    shape: tuple[int, ...]
    pad: tuple[tuple[int, int, int], ...] | None
    tiles: _Tiles | None  # where windows lie side by side
    slides: tuple[tuple[int, int, int, int, int], ...]  # else the arguments of _slide, by axis
    repeats: tuple[Ints, Ints] | None  # where each window holds one element: see _repeats


class _Tiles(NamedTuple):
    crop: tuple[slice, ...] | None
    split: tuple[int, ...]
    inner: tuple[int, ...]  # the axes of the elements of a window


@functools.lru_cache(maxsize=1024)
def _plan(shape: Ints, window: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
          w_dilation: Ints) -> _Plan:
    widths = tuple([(*p, d - 1) for p, d in zip(padding, x_dilation, strict=True)])
    padded = [pad_span(n, *width)[0] for n, width in zip(shape, widths, strict=True)]
    out = tuple([windows(n, k, s, d) for n, k, s, d in
                 zip(padded, window, stride, w_dilation, strict=True)])
    axes = [i for i, (k, s) in enumerate(zip(window, stride, strict=True)) if k > 1 or s > 1]
    tiles, slides = None, ()
    if all(window[i] == stride[i] and w_dilation[i] == 1 for i in axes):
        tiles = _tiling(tuple(padded), window, out)
    else:
        slides = tuple([(i, window[i], stride[i], w_dilation[i], out[i]) for i in axes])
    plain = not any(map(any, widths))
    return _Plan(out, None if plain else widths, tiles, slides,
                 _repeats(shape, window, stride, padding, x_dilation, w_dilation))


@functools.lru_cache(maxsize=1024)
def _tiling(shape: Ints, window: Ints, counts: Ints) -> _Tiles:
    """How an operand gets an axis of its own for the elements of each window."""
    split: list[int] = []
    inner: list[int] = []
    for n, k in zip(counts, window, strict=True):
        split.append(n)
        if k > 1:
            inner.append(len(split))
            split.append(k)
    taken = tuple([n * k for n, k in zip(counts, window, strict=True)])
    crop = None if taken == tuple(shape) else tuple([slice(0, n) for n in taken])
    return _Tiles(crop, tuple(split), tuple(inner))


def _tiled(x: mx.array, tiles: _Tiles) -> mx.array:
    x = x if tiles.crop is None else x[tiles.crop]
    return x.reshape(tiles.split)


def _repeats(shape: Ints, window: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
             w_dilation: Ints) -> tuple[Ints, Ints] | None:
    """Where dilation sets the elements so far apart that each window sees one of them, the shapes
    for a repetition: elements beside an axis of 1, and of k. Such is the gradient of pooling."""
    if not all(s == d == 1 and e == k and p == (k - 1, k - 1) for s, d, e, k, p in
               zip(stride, w_dilation, x_dilation, window, padding, strict=True)):
        return None
    pairs = list(zip(shape, window, strict=True))
    return (tuple([m for n, k in pairs for m in ((n, 1) if k > 1 else (n,))]),
            tuple([m for n, k in pairs for m in ((n, k) if k > 1 else (n,))]))


def _window(combine: Combine, reduce: Callable[..., mx.array],
            neutral: Callable[[mx.Dtype], mx.array]) -> Callable[..., mx.array]:
    def run(x: mx.array, *, window: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
            w_dilation: Ints) -> mx.array:
        plan = _plan(x.shape, window, stride, padding, x_dilation, w_dilation)
        if 0 in plan.shape:
            return mx.zeros(plan.shape, x.dtype)
        if plan.repeats is not None:
            apart, repeated = plan.repeats
            return mx.broadcast_to(x.reshape(apart), repeated).reshape(plan.shape)
        dtype = x.dtype
        if dtype in HALVES:
            x = x.astype(mx.float32)
        if plan.pad is not None:
            x = pad(x, neutral(x.dtype), widths=plan.pad)
        if plan.tiles is not None and plan.tiles.inner:
            x = reduce(_tiled(x, plan.tiles), axis=plan.tiles.inner)
        for slide in plan.slides:
            x = _slide(combine, x, *slide)
        return x if x.dtype == dtype else x.astype(dtype)
    return run


def _slide(combine: Combine, x: mx.array, axis: int, window: int, stride: int, dilation: int,
           count: int) -> mx.array:
    """Reduces `count` windows along an axis."""
    reach = (count - 1) * stride + 1

    def shifted(rows: mx.array, k: int) -> mx.array:
        return slice_axis(rows, axis, k * dilation, k * dilation + reach, stride)

    if window <= _FEW_TAPS:
        out = shifted(x, 0)
        for k in range(1, window):
            out = combine(out, shifted(x, k))
        return out
    # Windows of 1, 2, 4, ... elements; those in the binary form of `window`, laid end to end.
    out, taken, span = None, 0, 1
    while taken < window:
        if window & span:
            part = shifted(x, taken)
            out = part if out is None else combine(out, part)
            taken += span
        if taken < window:
            n = x.shape[axis]
            x = combine(slice_axis(x, axis, 0, n - span * dilation),
                        slice_axis(x, axis, span * dilation, n))
            span *= 2
    return out


window_sum = _window(lambda x, y: x + y, mx.sum, lambda dtype: scalar(0, dtype))
window_max = _window(mx.maximum, mx.max, lambda dtype: _extreme(dtype, False))
window_min = _window(mx.minimum, mx.min, lambda dtype: _extreme(dtype, True))


# ------------------------------------------------------------------ elements that attain it

def _taps(window: Ints, stride: Ints, dilation: Ints,
          shape: Ints) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """For each place in the window, where it begins and the index of that element everywhere."""
    for place in itertools.product(*map(range, window)):
        start = tuple([k * d for k, d in zip(place, dilation, strict=True)])
        yield start, tuple([slice(a, a + (n - 1) * s + 1, s)
                            for a, n, s in zip(start, shape, stride, strict=True)])


def _prepared(x: mx.array, padding: Pads, x_dilation: Ints, outside: float) -> mx.array:
    widths = [(*p, d - 1) for p, d in zip(padding, x_dilation, strict=True)]
    return pad(_single(x), outside, widths=widths)


def _side_by_side(window: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
                  w_dilation: Ints) -> bool:
    return all(k == s and p == (0, 0) and e == d == 1 for k, s, p, e, d in
               zip(window, stride, padding, x_dilation, w_dilation, strict=True))


def _across(y: mx.array, window: Ints) -> mx.array:
    """The value of each window beside the axes of its elements."""
    return y.reshape([m for n, k in zip(y.shape, window, strict=True)
                      for m in ((n, 1) if k > 1 else (n,))])


def window_share(t: mx.array, x: mx.array, y: mx.array, *, window: Ints, stride: Ints,
                 padding: Pads, x_dilation: Ints, w_dilation: Ints) -> mx.array:
    """out[p]: the mean of t over the elements of x's window p that equal y[p]; 0 without any."""
    dtype, shape = y.dtype, y.shape
    if not y.size:
        return y
    y = _single(y)
    if _side_by_side(window, stride, padding, x_dilation, w_dilation):
        tiles = _tiling(x.shape, window, shape)
        inner = tiles.inner
        at = _tiled(_single(x), tiles) == _across(y, window)
        kept = mx.where(at, _tiled(_single(t), tiles), scalar(0, y.dtype))
        if not inner:
            return kept.astype(dtype)
        count = mx.sum(at, axis=inner)
        return (mx.sum(kept, axis=inner) / _divisor(count, y)).astype(dtype)
    t, x = _prepared(t, padding, x_dilation, 0.0), _prepared(x, padding, x_dilation, math.nan)
    total, count = mx.zeros_like(y), mx.zeros(shape, mx.int32)
    for _, index in _taps(window, stride, w_dilation, shape):
        at = x[index] == y
        count = count + at
        total = total + mx.where(at, t[index], scalar(0, y.dtype))
    return (total / _divisor(count, y)).astype(dtype)


def window_spread(t: mx.array, x: mx.array, y: mx.array, *, window: Ints, stride: Ints,
                  padding: Pads, x_dilation: Ints, w_dilation: Ints) -> mx.array:
    """t[p] split equally among the elements of x's window p that equal y[p], summed over p."""
    dtype, shape = x.dtype, tuple(x.shape)
    if not y.size or not x.size:
        return mx.zeros(shape, dtype)
    t, y = _single(t), _single(y)
    zero = scalar(0, t.dtype)
    if _side_by_side(window, stride, padding, x_dilation, w_dilation):
        tiles = _tiling(shape, window, y.shape)
        at = _tiled(_single(x), tiles) == _across(y, window)
        count = mx.sum(at, axis=tiles.inner, keepdims=True) if tiles.inner else at
        part = _across(t, window) / _divisor(count, t)
        out = mx.where(at, part, zero)
        out = out.reshape([n * k for n, k in zip(y.shape, window, strict=True)])
        rest = [(0, n - m, 0) for n, m in zip(shape, out.shape, strict=True)]
        return pad(out, zero, widths=rest).astype(dtype)
    x = _prepared(x, padding, x_dilation, math.nan)
    taps = list(_taps(window, stride, w_dilation, y.shape))
    found = [x[index] == y for _, index in taps]
    part = t / _divisor(sum(at.astype(mx.int32) for at in found), t)
    out = mx.zeros(x.shape, t.dtype)
    for (start, _), at in zip(taps, found, strict=True):
        widths = [(a, n - a - (m - 1) * s - 1, s - 1) for a, n, m, s in
                  zip(start, x.shape, y.shape, stride, strict=True)]
        out = out + pad(mx.where(at, part, zero), zero, widths=widths)
    out = pad(out, zero, widths=[(-low, -high, 0) for low, high in padding])
    out = out[tuple([slice(None, None, d) for d in x_dilation])] if shape else out
    return out.reshape(shape).astype(dtype)


def _divisor(count: mx.array, like: mx.array) -> mx.array:
    return mx.maximum(count.astype(like.dtype), scalar(1, like.dtype))


__all__ = ["window_max", "window_min", "window_share", "window_spread", "window_sum"]
