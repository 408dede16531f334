"""Filters of few outputs, widened: neighbouring windows are taken together.

The products of small filters have too few columns for BLAS. g neighbours on the last axis are one
wider window with g times the outputs; its filter holds g shifted copies of the filter, and zeros.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .blas import matmul_add
from .conv_geometry import Geometry
from .scratch import flat

__all__ = ["add_products", "finite", "folded", "neighbours", "suits_adding", "widened_filter"]

# Columns that BLAS multiplies at once, and the most that neighbours fill.
_COLUMNS = 16
_MOST = 48
# Inputs of a product that is added up, and its fewest rows.
_INPUTS = 64
_ROWS = 128
# Elements of a block of images whose products are added up.
_BLOCK = 2**17


def _divisors(n: int, most: int) -> list[int]:
    return [g for g in range(1, max(1, min(n, most)) + 1) if n % g == 0]


@lru_cache(4096)
def neighbours(positions: int, window: int, step: int, depth: int) -> int:
    """How many windows of an axis to take together, for filters of `depth` outputs: what
    multiplies least, where BLAS fills up columns."""
    def work(g: int) -> float:
        filled = -(-g * depth // _COLUMNS) * _COLUMNS
        return ((g - 1) * step + window) * filled / g

    return min(_divisors(positions, _MOST // depth), key=work)


def finite(x: np.ndarray) -> bool:
    """Whether all of x is finite (and small enough for the sum of its squares to be)."""
    flat = x.reshape(-1)
    return math.isfinite(flat.dot(flat))


def _copies(count: int, step: int, spread: int, g: int) -> list[slice]:
    """Where in a wider window each of the windows lies."""
    reach = (count - 1) * spread + 1
    return [slice(q * step, q * step + reach, spread) for q in range(g)]


def widened_filter(w: np.ndarray, step: int, spread: int, g: int) -> np.ndarray:
    """w[*window, C, O], its last axis first, as the matrix [elements, g * O] of wider windows."""
    w = w.transpose(w.ndim - 3, *range(w.ndim - 3), w.ndim - 2, w.ndim - 1)
    count, *rest, depth = w.shape
    if g == spread == 1:
        return w.reshape(-1, depth)
    copies = _copies(count, step, spread, g)
    out = np.zeros((copies[-1].stop, *rest, g, depth), w.dtype)
    for q, place in enumerate(copies):
        out[place, ..., q, :] = w
    return out.reshape(-1, g * depth)


def folded(
    wide: np.ndarray, shape: tuple[int, ...], step: int, spread: int, g: int
) -> np.ndarray:
    """The gradient of a filter of that shape from that of the wider one: the transpose of
    `widened_filter`."""
    *lead, count, channels, depth = shape
    wide = wide.reshape(-1, *lead, channels, g, depth)
    copies = _copies(count, step, spread, g)
    parts = [wide[place, ..., q, :] for q, place in enumerate(copies)]
    total = sum(parts[1:], parts[0])
    return total.transpose(*range(1, total.ndim - 2), 0, total.ndim - 2, total.ndim - 1)


def suits_adding(x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int) -> bool:
    """Whether more positions of few outputs are made of fewer of more inputs, as in the gradient of
    an early layer."""
    channels, depth = w.shape[-2:]
    steps = (*geometry.stride, *geometry.x_dilation, *geometry.w_dilation)
    return (groups == 1 and x.dtype.kind == "f" and len(steps) == 6 and set(steps) == {1}
            and 2 * depth <= channels and depth <= 8 and 2 * channels <= _INPUTS
            and 4 * math.prod(geometry.positions) > 5 * math.prod(geometry.space)
            and len(x) * x.shape[1] >= _ROWS and x.shape[2] > 1)


def add_products(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The convolution as products of inputs with the whole filter, added where they belong:
    input q adds x[q] @ w[k] to position q - k + low."""
    count, height, width, channels = x.shape
    rows, columns, _, depth = w.shape
    g = max(_divisors(width, _INPUTS // channels))
    # Tap k of input r of g neighbours is at r - k from the last tap of the first.
    turned = np.moveaxis(w[:, ::-1], -2, 1)
    filters = np.zeros((rows, g, channels, g + columns - 1, depth), w.dtype)
    for r in range(g):
        filters[:, r, :, r : r + columns] = turned
    filters = filters.reshape(rows, g * channels, -1)
    full = height + rows - 1, width + columns - 1
    out = np.zeros((count, *geometry.positions, depth), x.dtype)
    images = max(1, _BLOCK // (height * width * channels))
    for first in range(0, count, images):
        part = x[first : first + images].swapaxes(0, 1)
        inputs = flat("inputs", part.shape, x.dtype)
        np.copyto(inputs, part)
        inputs = inputs.reshape(-1, width * channels)
        sums = flat("sums", (full[0], part.shape[1], full[1] * depth), x.dtype)
        sums[...] = 0
        for i in range(rows):
            met = sums[rows - 1 - i : rows - 1 - i + height].reshape(len(inputs), -1)
            for place in range(0, width, g):
                into = met[:, place * depth : (place + g + columns - 1) * depth]
                given = inputs[:, place * channels : (place + g) * channels]
                matmul_add(given, filters[i], into, False)
        sums = sums.reshape(full[0], part.shape[1], full[1], depth).swapaxes(0, 1)
        _place(sums, out[first : first + images], (rows, columns), geometry)
    return out


def _place(
    full: np.ndarray, out: np.ndarray, window: tuple[int, ...], geometry: Geometry
) -> None:
    """Puts the positions that the geometry asks for, of all where a window meets x."""
    into, met = [], []
    axes = zip(full.shape[1:-1], window, geometry.padding, geometry.positions, strict=True)
    for n, k, (low, _), count in axes:
        shift = k - 1 - low
        begin, end = max(0, -shift), max(0, -shift, min(count, n - shift))
        into.append(slice(begin, end))
        met.append(slice(begin + shift, end + shift))
    out[(slice(None), *into)] = full[(slice(None), *met)]
