"""Reductions over sliding windows, one axis at a time."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .indexing import pad
from .precision import widened

Padding = Sequence[tuple[int, int]]

# Longer windows are not reduced tap by tap.
_FEW_TAPS = 8
# Inner loops over fewer elements than this are slow.
_SHORT_RUN = 16
# What holds two numbers of a dtype, and adds them separately.
_PAIRS = {np.dtype("f4"): np.dtype("c8"), np.dtype("f8"): np.dtype("c16")}
# Arrays of more bytes are reduced in blocks of so many elements.
_CACHED = 2**23
_BLOCK = 2**18


def window_positions(size: int, window: int, stride: int, dilation: int) -> int:
    """How many windows fit into an axis that is already padded."""
    reach = (window - 1) * dilation + 1 if window else 0
    return max(0, (size - reach) // stride + 1)


def window_sum(
    x: np.ndarray,
    *,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    x_dilation: Sequence[int],
    w_dilation: Sequence[int],
) -> np.ndarray:
    """out[p] = sum over k of x[p * stride + k * w_dilation - low], zero outside x.

    All parameters have one entry per axis of x; x is dilated and padded as in `conv`.
    """
    return _window_reduce(np.add, 0, x, window, stride, padding, x_dilation, w_dilation)


def window_max(
    x: np.ndarray,
    *,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    x_dilation: Sequence[int],
    w_dilation: Sequence[int],
) -> np.ndarray:
    """Like `window_sum` with the maximum; outside x lies the least value of the dtype."""
    least = _extreme(x.dtype, -1)
    return _window_reduce(np.maximum, least, x, window, stride, padding, x_dilation, w_dilation)


def window_min(
    x: np.ndarray,
    *,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    x_dilation: Sequence[int],
    w_dilation: Sequence[int],
) -> np.ndarray:
    """Like `window_sum` with the minimum; outside x lies the greatest value of the dtype."""
    greatest = _extreme(x.dtype, 1)
    return _window_reduce(np.minimum, greatest, x, window, stride, padding, x_dilation, w_dilation)


def _extreme(dtype: np.dtype, sign: int) -> float | int | bool:
    if dtype.kind == "b":
        return sign > 0
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return info.max if sign > 0 else info.min
    return sign * math.inf


def _window_reduce(
    ufunc: np.ufunc,
    identity: float | int | bool,
    x: np.ndarray,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    x_dilation: Sequence[int],
    w_dilation: Sequence[int],
) -> np.ndarray:
    """The reduction of windows, a few images at a time, so that what is between stays cached."""
    axes = list(zip(window, stride, padding, x_dilation, w_dilation, strict=True))
    if x.nbytes <= _CACHED or axes[0] != (1, 1, (0, 0), 1, 1):
        return _reduce_axes(ufunc, identity, x, axes)
    images = max(1, _BLOCK * len(x) // x.size)
    first = _reduce_axes(ufunc, identity, x[:images], axes)
    out = np.empty((len(x), *first.shape[1:]), x.dtype)
    out[:images] = first
    for at in range(images, len(x), images):
        out[at : at + images] = _reduce_axes(ufunc, identity, x[at : at + images], axes)
    return out


def _reduce_axes(
    ufunc: np.ufunc, identity: float | int | bool, x: np.ndarray, axes: Sequence[Any]
) -> np.ndarray:
    dtype, x = x.dtype, widened(x)
    # Windows that meet one element each are the transpose of disjoint ones.
    repeated = [axis for axis, (k, s, (low, high), spread, d) in enumerate(axes)
                if k == spread > 1 == s == d and low == high == k - 1 and x.size]
    # Short runs are copied while there are few of them.
    for axis in reversed(repeated) if repeated and x.shape[-1] < 2 * _SHORT_RUN else repeated:
        x = x.repeat(axes[axis][0], axis)
    # Windows are boxes: one axis after the other does the work of all.
    for axis, (k, s, (low, high), spread, d) in enumerate(axes):
        if axis in repeated:
            continue
        if low or high or spread > 1:
            widths = [(0, 0, 0)] * x.ndim
            widths[axis] = low, high, spread - 1
            x = pad(x, np.asarray(identity, x.dtype), widths=widths)
        if k == s == 1:
            continue
        count = window_positions(x.shape[axis], k, s, d)
        if k == s and d == 1 and k <= _FEW_TAPS and count and x.size:
            x = _disjoint(ufunc, x, axis, k, count)
        elif k and count and x.size:
            rows = x if axis == 0 else np.moveaxis(x, axis, 0)
            x = np.moveaxis(_slide(ufunc, rows, k, s, d, count), 0, axis)
        else:
            x = np.full((*x.shape[:axis], count, *x.shape[axis + 1 :]), identity, x.dtype)
    return x.astype(dtype, copy=False)


def _disjoint(ufunc: np.ufunc, x: np.ndarray, axis: int, window: int, count: int) -> np.ndarray:
    """Reduces windows side by side."""
    head, tail = x.shape[:axis], x.shape[axis + 1 :]
    parts = x[(slice(None),) * axis + (slice(0, count * window),)]
    parts = parts.reshape(*head, count, window, *tail)
    out = np.empty((*head, count, *tail), x.dtype)
    found = out
    if ufunc is np.add and x.dtype in _PAIRS and tail and tail[-1] % 2 == 0 and \
            math.prod(tail) < _SHORT_RUN and parts.strides[-1] == x.itemsize:
        # Two neighbours are added as one complex number: half as many places.
        parts, out = parts.view(_PAIRS[x.dtype]), out.view(_PAIRS[x.dtype])
        tail = parts.shape[axis + 2 :]
    # A few numbers at a time would be short inner loops: then it is one place of them at a time.
    places = [()] if math.prod(tail) >= _SHORT_RUN else np.ndindex(tail)
    before = (slice(None),) * (axis + 1)
    for place in places:
        taps = [parts[(*before, k, *place)] for k in range(window)]
        target = out[(*before, *place)]
        ufunc(taps[0], taps[1], out=target)
        for tap in taps[2:]:
            ufunc(target, tap, out=target)
    return found


def _slide(
    ufunc: np.ufunc, x: np.ndarray, window: int, stride: int, dilation: int, count: int
) -> np.ndarray:
    """Reduces `count` windows along the first axis."""
    reach = (count - 1) * stride + 1

    def shifted(rows: np.ndarray, k: int) -> np.ndarray:
        return rows[k * dilation : k * dilation + reach : stride]

    if window == 1:
        return shifted(x, 0)
    if window <= _FEW_TAPS:
        out = ufunc(shifted(x, 0), shifted(x, 1))
        for k in range(2, window):
            ufunc(out, shifted(x, k), out=out)
        return out
    if count <= window:
        span = (window - 1) * dilation + 1
        parts = (x[p * stride : p * stride + span : dilation] for p in range(count))
        return np.stack([ufunc.reduce(part, axis=0, dtype=x.dtype) for part in parts])
    return _slide_by_doubling(ufunc, x, window, dilation, shifted)


def _slide_by_doubling(
    ufunc: np.ufunc,
    x: np.ndarray,
    window: int,
    dilation: int,
    shifted: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
    # Windows of 1, 2, 4, ... elements; those in the binary form of `window`, laid end to end.
    out, taken, span = None, 0, 1
    while True:
        if window & span:
            part = shifted(x, taken)
            out = part if out is None else ufunc(out, part)
            taken += span
        if taken == window:
            return out
        x = ufunc(x[: -span * dilation], x[span * dilation :])
        span *= 2
