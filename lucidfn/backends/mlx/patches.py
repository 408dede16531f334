"""Convolution on the processor as one product of matrices: all windows laid out, times the kernel.

The windows are a strided view that is copied once; MLX's own convolution lays them out more slowly
on its CPU stream (by a factor of 1.2 to 3 for the shapes of LeNet and ResNet).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import mlx.core as mx

from lucidfn.backends.mlx.shapes import pad

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


class _Layout(NamedTuple):
    """How operands of one shape become matrices [places, depth] and [depth, channels]."""

    pad: tuple[tuple[int, int, int], ...] | None
    view: tuple[Ints, Ints] | None  # shape and strides; None where each place is one element
    depth: int


@functools.lru_cache(maxsize=1024)
def _layout(x_shape: Ints, w_shape: Ints, shape: Ints, stride: Ints, padding: Pads,
            x_dilation: Ints, w_dilation: Ints) -> _Layout:
    window, channels = w_shape[:-2], x_shape[-1]
    inside = tuple([(low, high, d - 1) for (low, high), d in zip(padding, x_dilation, strict=True)])
    widths = ((0, 0, 0), *inside, (0, 0, 0)) if any(map(any, inside)) else None
    space = [(n - 1) * d + 1 + low + high for n, d, (low, high) in
             zip(x_shape[1:-1], x_dilation, padding, strict=True)]
    depth = math.prod(window) * channels
    if widths is None and math.prod(window) == math.prod(stride) == 1:
        return _Layout(None, None, depth)
    sizes = (*space, channels)
    steps = [math.prod(sizes[i:]) for i in range(len(sizes))]  # of a contiguous array
    at_places = [step * s for step, s in zip(steps[1:], stride, strict=True)]
    in_window = [step * d for step, d in zip(steps[1:], w_dilation, strict=True)]
    return _Layout(widths, ((*shape[:-1], *window, channels),
                            (steps[0], *at_places, *in_window, 1)), depth)


def conv_by_patches(x: mx.array, w: mx.array, shape: Ints, stride: Ints, padding: Pads,
                    x_dilation: Ints, w_dilation: Ints) -> mx.array:
    """The convolution x[N, *space, C] (*) w[*window, C, O] of the output shape [N, *places, O]."""
    layout = _layout(x.shape, w.shape, shape, stride, padding, x_dilation, w_dilation)
    if layout.pad is not None:
        x = pad(x, 0, widths=layout.pad)
    if layout.view is not None:
        x = mx.as_strided(x, *layout.view)  # of x as if it were contiguous
    return (x.reshape(-1, layout.depth) @ w.reshape(layout.depth, shape[-1])).reshape(shape)
