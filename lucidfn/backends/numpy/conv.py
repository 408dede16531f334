"""Convolution as blocked products of matrices.

The windows of a few images at a time are copied side by side (about one megabyte of columns, so
that they stay in the cache), then multiplied with the filter as one matrix. Of larger convolutions
less is copied: `conv_rows` is for many channels, `conv_shared` and `conv_narrow` are for few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import conv_narrow, conv_rows, conv_shared
from .contract import integer_product
from .conv_geometry import Geometry, Sizes, geometry_of
from .precision import HALVES, SINGLE
from .scratch import bordered, flat
from .windows import window_max, window_min, window_sum

__all__ = ["add_conv", "conv", "window_max", "window_min", "window_sum"]

Padding = Sequence[tuple[int, int]]

# Elements of one block of columns, and of one block of a depthwise convolution.
_COLUMNS = 2**18
_DEPTHWISE_BLOCK = 2**17
# Runs of fewer elements than this are copied channel by channel instead.
_SHORT_RUN = 13


def conv(
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: Sequence[int],
    padding: Padding,
    x_dilation: Sequence[int],
    w_dilation: Sequence[int],
    groups: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """out[n, p, o] = sum over k, c of x[n, p * stride + k * w_dilation - low, c] * w[k, c, o].

    x[N, *space, C], w[*window, C / groups, O] and out[N, *out, O]; p and k run over positions in
    space. x is dilated first (`x_dilation - 1` zeros between neighbours), then padded with zeros by
    (low, high) at the ends of each axis; negative ends crop. `out` shares no memory with x and w.
    """
    if x.dtype in HALVES:
        found = conv(
            x.astype(SINGLE),
            w.astype(SINGLE),
            stride=stride,
            padding=padding,
            x_dilation=x_dilation,
            w_dilation=w_dilation,
            groups=groups,
        )
        if out is None:
            return found.astype(x.dtype)
        out[...] = found
        return out
    return _conv(x, w, _sizes(x, w, stride, padding, x_dilation, w_dilation), groups, out)


def add_conv(
    total: np.ndarray | None, x: np.ndarray, w: np.ndarray, *, groups: int, **params: Any
) -> np.ndarray:
    """The convolution added to `total`, in place; a new array if that is None."""
    if total is None:
        return conv(x, w, groups=groups, **params)
    geometry = _sizes(x, w, **params)
    into = np.moveaxis(total, 0, -2)
    if into.flags.c_contiguous and x.size and w.size and _is_gradient(x, geometry, groups):
        conv_rows.filter_gradient(*_exchanged(x, w), geometry.turned, into)
        return total
    return np.add(total, conv(x, w, groups=groups, **params), out=total)


def _sizes(
    x: np.ndarray,
    w: np.ndarray,
    stride: Sequence[int],
    padding: Padding,
    x_dilation: Sequence[int],
    w_dilation: Sequence[int],
) -> Geometry:
    return geometry_of(
        tuple(stride),
        tuple(padding),
        tuple(x_dilation),
        tuple(w_dilation),
        x.shape[1:-1],
        w.shape[:-2],
    )


def _exchanged(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and the gradient of their outputs, from the operands of a filter's gradient."""
    return x.swapaxes(0, -1), np.moveaxis(w, -2, 0)


def _is_gradient(x: np.ndarray, geometry: Geometry, groups: int) -> bool:
    """Whether x lies in memory as [C, *space, N], with enough channels for `conv_rows`."""
    plain = groups == 1 and geometry.space and set(geometry.x_dilation) == {1}
    return bool(plain) and x.strides[0] < x.strides[-1] and conv_rows.suits(
        x, geometry.turned, x.shape[0]
    )


def _conv(
    x: np.ndarray,
    w: np.ndarray,
    geometry: Geometry,
    groups: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The convolution, in `out` if it is given."""
    shape = (x.shape[0], *geometry.positions, w.shape[-1])
    dilated = [a for a, d in enumerate(geometry.x_dilation) if d > 1]
    plain = groups == 1 and geometry.space and not dilated
    if not w.size or not x.size or 0 in shape:
        found = np.zeros(shape, x.dtype)
    elif all(k == 1 for k in geometry.window) and not geometry.bordered:
        found = _pointwise(x, w, geometry, groups)
    elif dilated and all(geometry.stride[a] == geometry.w_dilation[a] == 1 for a in dilated):
        return _conv_phases(x, w, geometry, groups, out)
    elif groups == x.shape[-1] > 1:
        found = _depthwise(x, w, geometry)
    elif _is_gradient(x, geometry, groups):
        total = conv_rows.filter_gradient(*_exchanged(x, w), geometry.turned)
        found = np.moveaxis(total, -2, 0)
    elif groups == 1 and x.strides[0] < x.strides[-1]:
        found = _conv_swapped(x, w, geometry, bool(plain))
    elif plain and conv_rows.suits(x, geometry.walk, x.shape[-1]):
        out = np.empty(shape, x.dtype) if out is None else out
        return conv_rows.window_products(x, w, geometry.walk, out)
    else:
        found = _few_channels(x, w, geometry, groups, bool(plain))
    if out is None:
        return found
    out[...] = found
    return out


def _few_channels(
    x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int, plain: bool
) -> np.ndarray:
    if conv_narrow.suits_adding(x, w, geometry, groups):
        found = conv_narrow.add_products(x, w, geometry)
        # Zeros would have spread NaN and infinity to neighbours.
        if conv_narrow.finite(found):
            return found
    if plain and conv_shared.suits(x, geometry.walk):
        shared = conv_shared.window_products(x, w, geometry.walk)
        if shared is not None:
            return shared
    return _conv_columns(x, w, geometry, groups)


def _pointwise(x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    steps = zip(geometry.spans, geometry.stride, strict=True)
    x = x[(slice(None), *(slice(part.start, part.stop, s) for (_, _, part), s in steps))]
    lead, channels = x.shape[:-1], x.shape[-1]
    rows = x.reshape(math.prod(lead), channels)
    filters = w.reshape(channels // groups, w.shape[-1])
    multiply = _product(x.dtype)
    if groups == 1:
        return multiply(rows, filters).reshape(*lead, w.shape[-1])
    rows = rows.reshape(len(rows), groups, -1).transpose(1, 0, 2)
    filters = filters.reshape(len(filters), groups, -1).transpose(1, 0, 2)
    out = multiply(rows, filters)
    return out.transpose(1, 0, 2).reshape(*lead, w.shape[-1])


def _product(dtype: np.dtype) -> Callable[..., np.ndarray]:
    return integer_product(np.matmul) if dtype.kind in "biu" else np.matmul


def _conv_phases(
    x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int, out: np.ndarray | None
) -> np.ndarray:
    """Dilated input: every d-th output position meets the same taps, none of them zero."""
    if out is None:
        out = np.empty((x.shape[0], *geometry.positions, w.shape[-1]), x.dtype)
    for phase, places, taps in geometry.phases:
        part, target = w[taps], out[(slice(None), *places)]
        if part.size:
            _conv(x, part, phase, groups, target)
        else:
            target[...] = 0
    return out


def _conv_columns(x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    out = np.empty((x.shape[0], *geometry.positions, w.shape[-1]), x.dtype)
    depth = math.prod(w.shape[:-1])
    filters = w.reshape(depth, groups, -1).transpose(1, 0, 2)
    multiply = _product(x.dtype)
    direct = groups == 1 and x.dtype.kind not in "biu"
    blocks = _columns(
        x,
        geometry,
        groups,
        geometry.positions,
        geometry.stride,
        geometry.window,
        geometry.w_dilation,
    )
    for images, rows, columns in blocks:
        # A block holds several whole images or several rows of one: contiguous either way.
        target = out[images, rows].reshape(columns.shape[1], groups, -1)
        if direct:
            np.matmul(columns[0], filters[0], out=target[:, 0])
        else:
            target[...] = multiply(columns, filters).transpose(1, 0, 2)
    return out


def _conv_swapped(x: np.ndarray, w: np.ndarray, geometry: Geometry, plain: bool) -> np.ndarray:
    """The case where x[N, *space, C] lies in memory as [C, *space, N]: the gradient of a filter.

    The roles of window and positions are exchanged, so that memory is read in its own order, and
    the sum over C runs over blocks of columns.
    """
    x, w = _exchanged(x, w)
    if plain and conv_shared.suits(x, geometry.turned):
        found = conv_shared.filter_gradient(x, w, geometry.turned)
    else:
        found = _swapped_sum(x, w, geometry)
    return np.moveaxis(found, -2, 0)


def _swapped_sum(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> np.ndarray:
    """[*positions, C, O] of x[N, *space, C] and w[N, *window, O]."""
    channels, depth = x.shape[-1], w.shape[-1]
    total = np.zeros((math.prod(geometry.positions) * channels, depth), x.dtype)
    multiply = _product(x.dtype)
    blocks = _columns(
        x,
        geometry,
        1,
        geometry.window,
        geometry.w_dilation,
        geometry.positions,
        geometry.stride,
    )
    for images, rows, columns in blocks:
        total += multiply(columns[0].T, w[images, rows].reshape(-1, depth))
    return total.reshape(*geometry.positions, channels, depth)


def _columns(
    x: np.ndarray,
    geometry: Geometry,
    groups: int,
    positions: Sizes,
    step: Sizes,
    offsets: Sizes,
    spread: Sizes,
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Blocks of windows: images, rows of positions, matrices[groups, position, offset * C/groups].

    Window p, o begins at element p * step + o * spread of the padded x. The matrices of one block
    are overwritten by the next.
    """
    count, channels = x.shape[0], x.shape[-1]
    width = math.prod(offsets) * channels
    per_row = math.prod(positions[1:]) * width
    images = min(count, max(1, _COLUMNS // (per_row * positions[0])))
    rows = positions[0] if images > 1 else min(positions[0], max(1, _COLUMNS // per_row))
    planar = groups == 1 and offsets[-1] * channels < _SHORT_RUN <= positions[-1]
    buffer = flat("columns", (images * rows * per_row,), x.dtype)
    for first, padded in _padded_blocks(x, geometry, images, planar):
        view = _windows(padded, groups, positions, step, offsets, spread)
        for top in range(0, positions[0], rows):
            part = view[:, :, top : top + rows]
            shape = part.shape
            if planar:
                # [offsets, C, positions]: short runs of channels become long runs of positions.
                split = 2 + len(positions)
                copied = buffer[: part.size].reshape(shape[split:] + shape[:split])
                np.copyto(copied, part.transpose(*range(split, part.ndim), *range(split)))
                matrices = copied.reshape(1, width, -1).transpose(0, 2, 1)
            else:
                copied = buffer[: part.size].reshape(shape)
                np.copyto(copied, part)
                matrices = copied.reshape(groups, -1, width // groups)
            yield slice(first, first + len(padded)), slice(top, top + shape[2]), matrices


def _padded_blocks(
    x: np.ndarray, geometry: Geometry, images: int, planar: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """x in blocks of images, dilated and padded in a scratch array that is reused."""
    source = (slice(None), *(part for _, _, part in geometry.spans))
    if not planar and not geometry.bordered:
        for first in range(0, len(x), images):
            yield first, x[first : first + images][source]
        return
    channels = x.shape[-1]
    if planar:
        scratch = bordered((geometry, planar), (channels, images, *geometry.padded), x.dtype)
        scratch = scratch.transpose(*range(1, scratch.ndim), 0)
    else:
        scratch = bordered((geometry, planar), (images, *geometry.padded, channels), x.dtype)
    # The borders stay zero: only the interior is written again.
    interior = scratch[(slice(None), *(target for _, target, _ in geometry.spans))]
    for first in range(0, len(x), images):
        block = x[first : first + images][source]
        interior[: len(block)] = block
        yield first, scratch[: len(block)]


def _windows(
    padded: np.ndarray, groups: int, positions: Sizes, step: Sizes, offsets: Sizes, spread: Sizes
) -> np.ndarray:
    """A view [groups, images, *positions, *offsets, C/groups] of padded[images, *space, C]."""
    image, *space, channel = padded.strides
    per_group = padded.shape[-1] // groups
    shape = (groups, padded.shape[0], *positions, *offsets, per_group)
    strides = (
        per_group * channel,
        image,
        *(s * k for s, k in zip(space, step, strict=True)),
        *(s * k for s, k in zip(space, spread, strict=True)),
        channel,
    )
    return as_strided(padded, shape, strides)


def _depthwise(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> np.ndarray:
    """One input channel per group: a sum of shifted images, each scaled by one tap."""
    if w.shape[-1] > x.shape[-1]:
        x = x.repeat(w.shape[-1] // x.shape[-1], axis=-1)
    count, channels = x.shape[0], x.shape[-1]
    positions, window = geometry.positions, geometry.window
    out = np.empty((count, *positions[:-1], positions[-1] * channels), x.dtype)
    # Taps repeated along the last positions: the inner loops run over rows, not channels.
    taps = w.repeat(positions[-1], axis=-2).reshape(*window, -1)
    step, spread = geometry.stride[-1], geometry.w_dilation[-1]
    reach = (positions[-1] - 1) * step + 1
    images = max(1, _DEPTHWISE_BLOCK // math.prod(out.shape[1:]))
    for first, padded in _padded_blocks(x, geometry, images):
        target = out[first : first + len(padded)]
        if step == 1:
            _add_taps(padded, taps, geometry, target)
            continue
        for k in range(window[-1]):  # the positions of one column of taps, side by side
            start = k * spread
            column, part = padded[..., start : start + reach : step, :], taps[..., k : k + 1, :]
            if k == 0:
                _add_taps(column, part, geometry, target)
            else:
                np.add(target, _add_taps(column, part, geometry), out=target)
    return out.reshape(count, *positions, channels)


def _add_taps(
    padded: np.ndarray, taps: np.ndarray, geometry: Geometry, out: np.ndarray | None = None
) -> np.ndarray:
    """The sum over taps, in one pass each; neighbours on the last axis of space are one apart."""
    image, *space, row, channel = padded.strides
    if row != padded.shape[-1] * channel:
        padded = np.ascontiguousarray(padded)
        image, *space, row, channel = padded.strides
    steps = (s * k for s, k in zip(space, geometry.stride, strict=False))
    spreads = (s * k for s, k in zip((*space, row), geometry.w_dilation, strict=True))
    n = len(taps.shape) - 1
    view = as_strided(
        padded,
        (len(padded), *geometry.positions[:-1], *taps.shape),
        (image, *steps, *spreads, channel),
    )
    places = [*range(n), 2 * n]
    return np.einsum(view, [*range(2 * n + 1)], taps, [*range(n, 2 * n + 1)], places, out=out)
