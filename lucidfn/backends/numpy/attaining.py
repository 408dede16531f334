"""The derivative of windowed maxima and minima, and its transpose: one pass for each offset."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .elementwise import select
from .indexing import pad, pad_span
from .precision import widened
from .windows import Padding

Index = tuple[slice, ...]

# Elements of one block of images.
_BLOCK = 2**20


def window_share(t: np.ndarray, x: np.ndarray, y: np.ndarray, *, window: Sequence[int],
                 stride: Sequence[int], padding: Padding, x_dilation: Sequence[int],
                 w_dilation: Sequence[int]) -> np.ndarray:
    """out[p]: the mean of t over the elements of x's window p that equal y[p]; 0 without any.

    Parameters are those of `window_max`.
    """
    dtype = y.dtype
    t, x, y = widened(t), widened(x), widened(y)
    widths = [(*p, d - 1) for p, d in zip(padding, x_dilation, strict=True)]
    t, x = pad(t, 0, widths=widths), pad(x, np.nan, widths=widths)  # NaN equals nothing
    total, count = np.zeros_like(y), _counter(window, y.shape)
    for index in _taps(window, stride, w_dilation, y.shape):
        at = np.equal(x[index], y)
        count += at
        total += select(at, t[index], 0.0)
    return (total / _divisor(count, y)).astype(dtype, copy=False)


def window_spread(t: np.ndarray, x: np.ndarray, y: np.ndarray, *, window: Sequence[int],
                  stride: Sequence[int], padding: Padding, x_dilation: Sequence[int],
                  w_dilation: Sequence[int]) -> np.ndarray:
    """t[p] split equally among the elements of x's window p that equal y[p], summed over p.

    Parameters are those of `window_max`.
    """
    dtype, shape = x.dtype, x.shape
    t, x, y = widened(t), widened(x), widened(y)
    widths = [(*p, d - 1) for p, d in zip(padding, x_dilation, strict=True)]
    x, t = pad(x, np.nan, widths=widths), np.asarray(t, order="C")
    out = np.zeros(x.shape, x.dtype)
    if y.size:
        geometry = window, stride, w_dilation
        for images in _blocks(x.shape, y.shape, *geometry):
            _spread(t[images], x[images], y[images], out[images], *geometry)
    # Cropped elements lie in no window; cropping may have used up the padding at the other end.
    spans = [pad_span(n, *width) for n, width in zip(shape, widths, strict=True)]
    inside = np.zeros(shape, out.dtype)
    inside[tuple([source for _, _, source in spans])] = out[tuple([at for _, at, _ in spans])]
    return inside.astype(dtype, copy=False)


def _blocks(full: Sequence[int], shape: Sequence[int], window: Sequence[int],
            stride: Sequence[int], dilation: Sequence[int]) -> Iterator[Any]:
    """Slices of the first axis that no window straddles, small enough to stay cached."""
    if not shape or (window[0], stride[0], full[0]) != (1, 1, shape[0]):
        yield ...
        return
    count = max(1, _BLOCK * full[0] // max(1, math.prod(full)))
    for first in range(0, full[0], count):
        yield slice(first, first + count)


def _spread(t: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray, window: Sequence[int],
            stride: Sequence[int], dilation: Sequence[int]) -> None:
    """Adds to out, which is 0; where no two windows meet it is written once."""
    taps = list(_taps(window, stride, dilation, y.shape))
    found = [np.equal(x[index], y, out=np.empty(y.shape, bool)) for index in taps]
    count = _counter(window, y.shape)
    for at in found:
        np.add(count, at.view(np.uint8), out=count)
    part = t if count.max() < 2 else t / _divisor(count, t)
    word = np.dtype(f"i{t.itemsize}")
    part, apart = part.view(word), all(
        (k - 1) * d < s for k, d, s in zip(window, dilation, stride, strict=True))
    for index, at in zip(taps, found, strict=True):
        kept = at.astype(word)
        np.negative(kept, out=kept)  # all bits of what is kept, none of the rest
        if apart:
            np.bitwise_and(kept, part, out=out.view(word)[(*index, ...)])
        else:
            np.bitwise_and(kept, part, out=kept)
            np.add(out[index], kept.view(t.dtype), out=out[(*index, ...)])


def _counter(window: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Zeros to count the elements of windows in: bytes, where they do, are much faster."""
    return np.zeros(shape, np.uint8 if math.prod(window) < 256 else np.int32)


def _divisor(count: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.maximum(count, 1).astype(like.dtype)


def _taps(window: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
          shape: Sequence[int]) -> Iterator[Index]:
    """For each place in the window, the index of that element of every window."""
    if 0 in shape:
        return
    for place in itertools.product(*map(range, window)):
        yield tuple(slice(k * d, k * d + (n - 1) * s + 1, s)
                    for k, d, n, s in zip(place, dilation, shape, stride, strict=True))
