"""Convolution of few channels: neighbouring windows are taken together.

The products of small filters have too few columns for BLAS, and windows side by side copy what they
share. g neighbours on the last axis are one wider window with g times the outputs; its filter holds
g shifted copies of the filter, and zeros.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np

from .conv_geometry import Geometry, geometry_of

__all__ = [
    "add_products",
    "finite",
    "folded",
    "neighbours",
    "suits_adding",
    "taken_together",
    "widened_filter",
]

# Columns of a product that neighbours fill up to, and inputs of one that is added up.
_COLUMNS = 48
_INPUTS = 64
# Elements of a block of products that are added up.
_BLOCK = 2**17


def _divisor(n: int, most: int) -> int:
    return max([g for g in range(1, min(n, most) + 1) if n % g == 0], default=1)


def neighbours(positions: int, depth: int) -> int:
    """How many windows of an axis to take together, for filters of `depth` outputs."""
    return _divisor(positions, _COLUMNS // depth)


@lru_cache(4096)
def taken_together(geometry: Geometry, g: int) -> Geometry:
    """The geometry of the wider windows."""
    step, spread = geometry.stride[-1], geometry.w_dilation[-1]
    span = (g - 1) * step + (geometry.window[-1] - 1) * spread + 1
    return geometry_of(
        (*geometry.stride[:-1], step * g),
        geometry.padding,
        geometry.x_dilation,
        (*geometry.w_dilation[:-1], 1),
        geometry.space,
        (*geometry.window[:-1], span),
    )


def finite(x: np.ndarray) -> bool:
    """Whether all of x is finite (and small enough for the sum of its squares to be)."""
    flat = x.reshape(-1)
    return math.isfinite(flat.dot(flat))


def _copies(geometry: Geometry, g: int) -> list[slice]:
    """Where in a wider window each of the windows lies."""
    step, spread = geometry.stride[-1], geometry.w_dilation[-1]
    reach = (geometry.window[-1] - 1) * spread + 1
    return [slice(q * step, q * step + reach, spread) for q in range(g)]


def widened_filter(w: np.ndarray, geometry: Geometry, g: int) -> np.ndarray:
    """The filter [*window, C, g * O] of the wider windows."""
    wide = taken_together(geometry, g).window[-1]
    *lead, _, channels, depth = w.shape
    out = np.zeros((*lead, wide, channels, g, depth), w.dtype)
    for q, place in enumerate(_copies(geometry, g)):
        out[..., place, :, q, :] = w
    return out.reshape(*lead, wide, channels, g * depth)


def folded(wide: np.ndarray, geometry: Geometry, g: int) -> np.ndarray:
    """The gradient of a filter from that of the wider one: the transpose of `widened_filter`."""
    wide = wide.reshape(*wide.shape[:-1], g, -1)
    parts = [wide[..., place, :, q, :] for q, place in enumerate(_copies(geometry, g))]
    return sum(parts[1:], parts[0])


def suits_adding(x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int) -> bool:
    """Whether few outputs are made of more inputs, as in the gradient of an early layer."""
    channels, depth = w.shape[-2:]
    steps = (*geometry.stride, *geometry.x_dilation, *geometry.w_dilation)
    return (groups == 1 and x.dtype.kind == "f" and set(steps) == {1} and 2 * depth <= channels
            and depth <= 8 and 2 * channels <= _INPUTS and x.shape[-2] > 1)


def add_products(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The convolution as products of inputs with the whole filter, added where they belong:
    input q adds x[q] @ w[k] to position q - k + low."""
    count, *space, channels = x.shape
    *window, _, depth = w.shape
    g = _divisor(space[-1], _INPUTS // channels)
    span, chunks = g + window[-1] - 1, space[-1] // g
    # [g, C, *window, span, O]: in the sum of g neighbours, tap k of input r is at r - k from the
    # last tap of the first.
    filters = np.zeros((g, channels, *window[:-1], span, depth), w.dtype)
    turned = np.moveaxis(w[..., ::-1, :, :], -2, 0)
    for r in range(g):
        filters[r, ..., r : r + window[-1], :] = turned
    filters = filters.reshape(g * channels, -1)
    full = [n + k - 1 for n, k in zip(space, window, strict=True)]
    out = np.zeros((count, *full, depth), x.dtype)
    images = max(1, _BLOCK // (math.prod(space[:-1]) * chunks * filters.shape[1]))
    for first in range(0, count, images):
        part = x[first : first + images]
        products = part.reshape(-1, g * channels) @ filters
        products = products.reshape(*part.shape[:-2], chunks, *window[:-1], span, depth)
        target = out[first : first + images]
        for place in itertools.product(*map(range, window[:-1])):
            rows = tuple(slice(k - 1 - i, k - 1 - i + n) for i, k, n in zip(
                place, window[:-1], space[:-1], strict=True))
            for chunk in range(chunks):
                into = target[(slice(None), *rows, slice(chunk * g, chunk * g + span))]
                met = (*(slice(None),) * len(space), chunk, *place)
                np.add(into, products[met], out=into)
    return _placed(out, window, geometry)


def _placed(full: np.ndarray, window: list[int], geometry: Geometry) -> np.ndarray:
    """The positions that the geometry asks for, of all positions where a window meets x."""
    into, met = [], []
    axes = zip(full.shape[1:-1], window, geometry.padding, geometry.positions, strict=True)
    for n, k, (low, _), count in axes:
        shift = k - 1 - low
        begin, end = max(0, -shift), max(0, -shift, min(count, n - shift))
        into.append(slice(begin, end))
        met.append(slice(begin + shift, end + shift))
    if full.shape[1:-1] == geometry.positions and all(s.start == 0 for s in met):
        return full
    out = np.zeros((full.shape[0], *geometry.positions, full.shape[-1]), full.dtype)
    out[(slice(None), *into)] = full[(slice(None), *met)]
    return out
