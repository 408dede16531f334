"""Convolution of few channels, with copies that neighbouring windows share.

A scratch array holds the rows that windows meet, side by side at each element of the last axis of
space: [images, *positions[:-1], elements, *offsets[:-1], C]. A window is then a run of it, and the
windows at one place of the last axis are the rows of a matrix, a constant step apart: one call
multiplies all of these. An input is copied once for each row of the window, not for each element.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .conv_narrow import finite, folded, neighbours, widened_filter
from .conv_rows import Walk, walk_of
from .scratch import bordered

__all__ = ["filter_gradient", "suits", "window_products"]

Index = tuple[Any, ...]

# Elements of a scratch array that stays in the cache.
_BLOCK = 2**18
# Matrices of fewer rows, and fewer elements of all windows, are better copied as columns.
_ROWS = 8
_LEAST = 2**17
# Products of more multiplications are cut by rows: BLAS copies the operands of larger ones.
_SMALL = 10**6
# Elements of products that are made, and then added up, at a time.
_SUMS = 2**17


def suits(x: np.ndarray, walk: Walk) -> bool:
    """Whether the windows of x[N, *space, C] are runs, or nearly so, and the matrices large."""
    rows = len(x) * math.prod(walk.positions[:-1])
    columns = rows * walk.positions[-1] * math.prod(walk.offsets) * x.shape[-1]
    return (x.dtype.kind == "f" and rows >= _ROWS and columns >= _LEAST
            and _span(walk, 1) <= 2 * walk.offsets[-1])


def _span(walk: Walk, g: int) -> int:
    """How many elements of the last axis g neighbours meet."""
    return (g - 1) * walk.step[-1] + (walk.offsets[-1] - 1) * walk.spread[-1] + 1


def window_products(x: np.ndarray, w: np.ndarray, walk: Walk) -> np.ndarray | None:
    """The convolution of x[N, *space, C] with w[*offsets, C, O]; None if zeros between the taps
    have spread NaN or infinity."""
    depth = w.shape[-1]
    shape = len(x), *walk.positions, depth
    if len(walk.positions) == 1:
        x, w, walk = x[:, None], w[None], _with_rows(walk)
    g = neighbours(walk.positions[-1], _span(walk, 1), walk.step[-1], depth)
    out = _products(x, w, walk, g)
    if (g > 1 or walk.spread[-1] > 1) and not finite(out):
        if walk.spread[-1] > 1:
            return None
        # The zeros of the wider filter have spread them to neighbours.
        out = _products(x, w, walk, 1)
    return out.reshape(shape)


def _with_rows(walk: Walk) -> Walk:
    """The same with a first axis of one element."""
    return walk_of((1, *walk.space), (1, *walk.positions), (1, *walk.step), (1, *walk.offsets),
                   (1, *walk.spread), (0, *walk.low))


def _products(x: np.ndarray, w: np.ndarray, walk: Walk, g: int) -> np.ndarray:
    filters = widened_filter(w, walk.step[-1], walk.spread[-1], g)
    across = math.prod(walk.positions[1:]) * w.shape[-1]
    out = np.empty((len(x), walk.positions[0], across), x.dtype)
    for images, rows, matrices in _blocks(x, walk, g, w.shape[-1]):
        np.matmul(matrices, filters, out=_by_place(out[images, rows], matrices))
    return out


def _by_place(block: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """What belongs to the windows of `matrices`, in their order."""
    places, parts, rows, _ = matrices.shape
    return block.reshape(parts, rows, places, -1).transpose(2, 0, 1, 3)


def filter_gradient(x: np.ndarray, ct: np.ndarray, walk: Walk) -> np.ndarray:
    """sum over images and positions of x[n, p * step + o * spread - low, c] * ct[n, p, d], as
    [*offsets, c, d]."""
    channels, depth = x.shape[-1], ct.shape[-1]
    shape = *walk.offsets, channels, depth
    if len(walk.positions) == 1:
        x, ct, walk = x[:, None], ct[:, None], _with_rows(walk)
    step = walk.step[-1]
    g = neighbours(walk.positions[-1], _span(walk, 1), step, depth)
    total: np.ndarray | None = None
    ct = ct.reshape(len(x), walk.positions[0], -1)
    for images, rows, matrices in _blocks(x, walk, g, depth):
        weights = _by_place(ct[images, rows], matrices)
        some = max(1, _SUMS // (math.prod(matrices.shape[1::2]) * weights.shape[-1]))
        for i in range(0, len(matrices), some):
            products = np.matmul(matrices[i : i + some].swapaxes(2, 3), weights[i : i + some])
            part = np.add.reduce(products, (0, 1))
            total = part if total is None else np.add(total, part, out=total)
    return folded(total, (*walk.offsets, channels, depth), step, walk.spread[-1], g).reshape(shape)


def _blocks(
    x: np.ndarray, walk: Walk, g: int, depth: int
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Images, rows (of the first axis of positions), and matrices of their windows:
    [places, parts, images * rows / parts, elements]. g neighbours are one window."""
    (count, *rest, last), step = walk.positions, walk.step[-1]
    reach = _span(walk, last)
    inner = math.prod(walk.offsets[:-1]) * x.shape[-1]
    row = math.prod(rest) * reach * inner
    most = max(1, _BLOCK // (count * row))
    images = -(-len(x) // -(-len(x) // most))
    rows = count if images > 1 else max(1, min(count, max(_BLOCK // row, _ROWS)))
    shape = (images, rows, *rest, reach, *walk.offsets[:-1], x.shape[-1])
    scratch = bordered((walk, "shared"), shape, x.dtype)
    size = inner * x.itemsize
    width = _span(walk, g) * inner
    for first in range(0, len(x), images):
        part = x[first : first + images]
        for top in range(0, count, rows):
            filled = scratch[: len(part), : min(rows, count - top)]
            _fill(filled, part, walk, top)
            met = len(part) * filled.shape[1] * math.prod(rest)
            parts = _divisor(met, met * width * g * depth / _SMALL)
            matrices = as_strided(
                filled,
                (last // g, parts, met // parts, width),
                (g * step * size, met // parts * reach * size, reach * size, x.itemsize),
            )
            yield slice(first, first + len(part)), slice(top, top + rows), matrices


def _divisor(n: int, least: float) -> int:
    """The least divisor of n that is not less than that; 1 if there is none of use."""
    return next((d for d in range(1, n // _ROWS + 1) if n % d == 0 and d >= least), 1)


def _fill(scratch: np.ndarray, x: np.ndarray, walk: Walk, top: int) -> None:
    """Copies what windows meet on the rows from `top` on; what they meet of borders stays zero."""
    views = _as_elements(x, scratch)
    reused = scratch.shape[1] < walk.positions[0]  # other rows were here before
    for place, rows, into, of in _copies(walk, scratch.shape[1], top):
        if reused:
            target = scratch[place]
            target[:, : rows.start] = 0
            target[:, rows.stop :] = 0
        for source, target in views:
            target[place][into] = source[of]


@lru_cache(4096)
def _copies(walk: Walk, rows: int, top: int) -> list[tuple[Index, slice, Index, Index]]:
    """For each row of the window: its place in the scratch array, the rows there that meet x, and
    what is copied to where."""
    low, reach = walk.low[-1], _span(walk, walk.positions[-1])
    begin = max(0, low)
    end = max(begin, min(reach, walk.space[-1] + low))
    found: list[tuple[Index, slice, Index, Index]] = []
    for place in itertools.product(*map(range, walk.offsets[:-1])):
        met = []
        for axis, offset in enumerate(place):
            start = offset * walk.spread[axis] + (top * walk.step[0] if axis == 0 else 0)
            met.append(walk.met(axis, start, rows if axis == 0 else None))
        into, of = ((slice(None), *slices) for slices in zip(*met, strict=True))
        found.append(((..., slice(begin, end), *place, slice(None)), met[0][0], into,
                      (*of, slice(begin - low, end - low))))
    return found


def _as_elements(x: np.ndarray, scratch: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Views of both that are copied as a whole: NumPy is slow where its innermost loop is short."""
    if x.shape[-1] == 3:  # colours one by one: there is no fast loop for such elements
        return [(x[..., c : c + 1], scratch[..., c : c + 1]) for c in range(3)]
    if x.strides[-1] != x.itemsize:
        return [(x, scratch)]
    element = np.dtype((np.void, x.shape[-1] * x.itemsize))
    return [(x.view(element), scratch.view(element))]
