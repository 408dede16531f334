"""The derivative of windowed maxima and minima, and its transpose: one pass for each offset."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from .elementwise import select
from .indexing import pad
from .precision import widened
from .windows import Padding

Index = tuple[slice, ...]


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
    x = pad(x, np.nan, widths=widths)
    count, found = _counter(window, y.shape), []
    for index in _taps(window, stride, w_dilation, y.shape):
        found.append((index, np.equal(x[index], y)))
        count += found[-1][1]
    part = t / _divisor(count, t)
    out = np.zeros(x.shape, x.dtype)
    for index, at in found:
        out[index] += select(at, part, 0.0)
    inside = pad(out, 0, widths=[(-low, -high, 0) for low, high in padding])
    inside = inside[tuple(slice(None, None, d) for d in x_dilation)]
    return inside.reshape(shape).astype(dtype, copy=False)


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
