"""Convolution of many channels, with less copying than columns of whole windows.

A scratch array holds, for each row of the padded images (the first axis of space), what a window
meets on the other axes: [rows, images, *positions[1:], *offsets[1:], C]. Moving a window by one row
is then a shift by a constant number of elements, so that the convolution and the gradient of its
filter are one product for each row of the window, and those add up in place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .blas import gemm_of, matmul_add
from .scratch import bordered, flat

__all__ = ["Walk", "filter_gradient", "suits", "walk_of", "window_products"]

Sizes = tuple[int, ...]

# Bytes of a scratch array that stay in the cache, and rows of a product that keep BLAS busy.
_CACHED = 2**20
_ROWS = 512
# Fewer numbers on a row of the window are better multiplied as in `conv_shared`.
_NARROW = 160


@dataclass(frozen=True)
class Walk:
    """Window p, o meets element p * step + o * spread - low of x: sizes axis by axis."""

    space: Sizes
    positions: Sizes
    step: Sizes
    offsets: Sizes
    spread: Sizes
    low: Sizes

    def met(self, axis: int, offset: int, count: int | None = None) -> tuple[slice, slice]:
        """The positions on an axis whose element at `offset` lies in x, and these elements."""
        n, s, start = self.space[axis], self.step[axis], offset - self.low[axis]
        count = self.positions[axis] if count is None else count
        begin = max(0, -(start // s))
        end = max(begin, min(count, (n - 1 - start) // s + 1))
        return slice(begin, end), slice(start + begin * s, start + max(begin, end) * s, s)

    def phases(self) -> tuple[list[int], list[tuple[int, int]], int]:
        """Remainders of rows by the step; for each row of the window its remainder (an index) and
        shift; how many shifted rows there are."""
        step, places = self.step[0], [i * self.spread[0] for i in range(self.offsets[0])]
        remainders = sorted({place % step for place in places})
        shifts = [(remainders.index(place % step), place // step) for place in places]
        return remainders, shifts, self.positions[0] + max(shift for _, shift in shifts)


walk_of = lru_cache(4096)(Walk)


def suits(x: np.ndarray, walk: Walk, channels: int) -> bool:
    """Whether the products are large enough, and BLAS can add them up."""
    width = math.prod(walk.offsets[1:]) * channels
    return width >= _NARROW and gemm_of(x.dtype) is not None


def _blocks(x: np.ndarray, walk: Walk) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of images, with what windows meet: [phases, rows, images, positions, offsets * C]."""
    count, channels = x.shape[0], x.shape[-1]
    remainders, _, rows = walk.phases()
    rest, offsets = walk.positions[1:], walk.offsets[1:]
    image = len(remainders) * rows * math.prod(rest) * math.prod(offsets) * channels * x.itemsize
    places = max(1, math.prod(walk.positions))
    most = max(1, min(count, max(_CACHED // image, -(-_ROWS // places))))
    images = -(-count // -(-count // most))
    order = (1, 0, *range(2, x.ndim))
    for first in range(0, count, images):
        part = x[first : first + images].transpose(order)
        shape = (len(remainders), rows, part.shape[1], *rest, *offsets, channels)
        scratch = bordered(walk, shape, x.dtype)
        for i, remainder in enumerate(remainders):
            into, rows_met = walk.met(0, remainder, rows)
            for place in itertools.product(*map(range, offsets)):
                met = [walk.met(1 + a, k * walk.spread[1 + a]) for a, k in enumerate(place)]
                target = scratch[(i, into, slice(None), *(t for t, _ in met), *place)]
                np.copyto(target, part[(rows_met, slice(None), *(s for _, s in met))])
        yield slice(first, first + part.shape[1]), scratch.reshape(*shape[:3], math.prod(rest), -1)


def window_products(x: np.ndarray, w: np.ndarray, walk: Walk, out: np.ndarray) -> np.ndarray:
    """The convolution of x[N, *space, C] with w[*offsets, C, O], in `out`."""
    depth, out_rows = w.shape[-1], walk.positions[0]
    filters = _matrices(w)
    shifts = _whole_first(walk)
    for images, scratch in _blocks(x, walk):
        block = out[images]
        direct = len(block) == 1 and block.flags.c_contiguous
        shape = (out_rows, len(block), *out.shape[2:])
        found = block[0] if direct else flat("products", shape, x.dtype)
        found = found.reshape(out_rows, -1, depth)
        first = shifts[0][1] == slice(0, out_rows)
        if not first:
            found[...] = 0
        for i, rows, phase, met in shifts:
            place, target = 0, found[rows].reshape(-1, depth)
            columns = scratch[phase, met].reshape(len(target), -1)
            for matrix in filters[i]:
                end = place + len(matrix)
                matmul_add(columns[:, place:end], matrix, target, first)
                place, first = end, False
        if not direct:
            np.copyto(block.swapaxes(0, 1), found.reshape(shape))
    return out


def _matrices(w: np.ndarray) -> list[list[np.ndarray]]:
    """For each row of the window one matrix [inputs, outputs], or one for each place in the row
    where these lie turned in memory and are too large to copy."""
    rows, depth = w.shape[0], w.shape[-1]
    if w.strides[-1] > w.strides[-2] == w.itemsize and w.nbytes > _CACHED:
        places = list(itertools.product(*map(range, w.shape[1:-2])))
        return [[w[(i, *place)] for place in places] for i in range(rows)]
    return [[matrix] for matrix in w.reshape(rows, -1, depth)]


def _whole_first(walk: Walk) -> list[tuple[int, slice, int, slice]]:
    """For each row of the window: the rows of positions where it meets x, its phase and the rows
    there. Rows of padding are left out, and what meets all positions comes first."""
    found = []
    for i, (phase, shift) in enumerate(walk.phases()[1]):
        rows = walk.met(0, i * walk.spread[0])[0]
        if rows.start < rows.stop:
            found.append((i, rows, phase, slice(rows.start + shift, rows.stop + shift)))
    return sorted(found, key=lambda row: row[1].start - row[1].stop)


def filter_gradient(
    x: np.ndarray, ct: np.ndarray, walk: Walk, total: np.ndarray | None = None
) -> np.ndarray:
    """sum over images and positions of x[n, p * step + o * spread - low, c] * ct[n, p, d], as
    [*offsets, c, d]; added to `total`, in place, if there is one."""
    depth = ct.shape[-1]
    first = total is None
    shifts = _whole_first(walk)
    if total is None:
        make = np.empty if len(shifts) == walk.offsets[0] else np.zeros
        total = make((*walk.offsets, x.shape[-1], depth), x.dtype)
    found = total.reshape(walk.offsets[0], -1, depth)
    for images, scratch in _blocks(x, walk):
        part = ct[images].swapaxes(0, 1)
        if part.shape[1] > 1 or not part.flags.c_contiguous:
            copied = flat("products", part.shape, x.dtype)
            np.copyto(copied, part)
            part = copied
        for i, rows, phase, met in shifts:
            weights = part[rows].reshape(-1, depth)
            columns = scratch[phase, met].reshape(len(weights), -1)
            matmul_add(columns.T, weights, found[i], first)
        first = False
    return total
