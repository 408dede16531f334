"""The convolution of neural networks (a correlation), channels last, in any number of axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.contract import dot_general
from lucidfn.ops.elementwise import zero_like
from lucidfn.ops.families import Bilinear
from lucidfn.ops.shape import (
    concatenate,
    flip,
    merge_axes,
    move_axis,
    pad,
    permute,
    reshape,
    slice_,
    split_axis,
    zeros,
)
from lucidfn.types import ArrayType, dtype_name, kind_of

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

# The gradient of a depthwise window of more elements is a convolution itself.
_TAPS = 64


def dilated(size: int, step: int) -> int:
    """What `size` elements span when step - 1 gaps lie between neighbours."""
    return 0 if size == 0 else 1 + step * (size - 1)


def windows(size: int, window: int, stride: int, w_dilation: int) -> int:
    """How many windows fit into a padded axis."""
    return max(0, (size - dilated(window, w_dilation)) // stride + 1)


class Conv(Bilinear):
    """x[N, *space, C] (*) w[*window, C/G, O] -> out[N, *out, O], G = groups:
    out[n, p, o] = sum over k, c of x[n, p stride + k w_dilation - low, c] w[k, c, o],
    where x has x_dilation - 1 zeros between neighbours and is padded (negative: cropped) after."""

    name = "conv"

    def infer(self, x: ArrayType, w: ArrayType, *, stride: Ints, padding: Pads, x_dilation: Ints,
              w_dilation: Ints, groups: int) -> ArrayType:
        self.check(x, w, (stride, padding, x_dilation, w_dilation), groups)
        space = tuple([
            windows(dilated(n, step) + lo + hi, k, s, d) for n, k, s, (lo, hi), step, d in
            zip(x.shape[1:-1], w.shape[:-2], stride, padding, x_dilation, w_dilation, strict=True)])
        return ArrayType((x.shape[0], *space, w.shape[-1]), x.dtype)

    @staticmethod
    def check(x: ArrayType, w: ArrayType, params: Sequence[Any], groups: int) -> None:
        layout = f"got {x} as [N, *space, C] and {w} as [*window, C/groups, O], groups={groups}"
        if x.dtype != w.dtype or kind_of(x.dtype) not in (1, 2, 3):
            raise TypeError(f"{layout}; dtypes must be equal and numeric, not "
                            f"{dtype_name(x.dtype)} and {dtype_name(w.dtype)}")
        n = len(x.shape) - 2
        if n < 0 or len(w.shape) != n + 2 or any(len(p) != n for p in params):
            raise ShapeError(f"{layout}; both need the same number of space axes, and stride, "
                             "padding and dilations one entry for each of them")
        if groups < 1 or x.shape[-1] != w.shape[-2] * groups or w.shape[-1] % groups:
            raise ShapeError(f"{layout}; C must be {w.shape[-2]} * groups and O a multiple of "
                             "groups")
        if any(i < 1 for p in (params[0], *params[2:]) for i in p):
            raise ShapeError(f"{layout}; strides and dilations must be at least 1")

    def transpose_left(self, ct: Any, x: ArrayType, w: Any, *, stride: Ints, padding: Pads,
                       x_dilation: Ints, w_dilation: Ints, groups: int) -> Any:
        # Correlate the stretched cotangent with the flipped window, in and out swapped.
        n = len(stride)
        w = flip(swap_in_out(w, groups), axes=tuple(range(n)))
        pads = tuple([
            adjoint_padding(*axis) for axis in
            zip(x.shape[1:-1], shape_of(w)[:n], shape_of(ct)[1:-1], stride, padding, x_dilation,
                w_dilation, strict=True)])
        return self(ct, w, stride=x_dilation, padding=pads, x_dilation=stride,
                    w_dilation=w_dilation, groups=groups)

    def transpose_right(self, ct: Any, x: Any, w: ArrayType, *, stride: Ints, padding: Pads,
                        x_dilation: Ints, w_dilation: Ints, groups: int) -> Any:
        # The window's gradient is a convolution over the batch: N plays the channel, the group
        # moves in front of it, and stride and window dilation trade places.
        n, pads = len(stride), []
        if w.shape[-2:] == (1, groups) and 1 < groups <= w.size <= _TAPS * groups and 0 not in (
                shape_of(ct)):
            return by_taps(ct, x, w, stride, padding, x_dilation, w_dilation)
        for i, (lo, _) in enumerate(padding):
            total = (dilated(shape_of(ct)[1 + i], stride[i]) + dilated(w.shape[i], w_dilation[i])
                     - 1 - dilated(shape_of(x)[1 + i], x_dilation[i]))
            pads.append((lo, total - lo))
        out = self(batch_as_channel(x, groups), move_axis(ct, 0, n), stride=w_dilation,
                   padding=tuple(pads), x_dilation=x_dilation, w_dilation=stride, groups=groups)
        return move_axis(out, 0, n)

    def batch(self, size: int, batched: Sequence[bool], x: Any, w: Any, *, groups: int,
              **params: Any) -> Any:
        if size == 0:
            lanes = [a._replace(shape=a.shape[1:]) if b else a
                     for a, b in zip((type_of(x), type_of(w)), batched, strict=True)]
            lane = self.infer(*lanes, groups=groups, **params)
            return zeros((0, *lane.shape), dtype_of(x))
        last = len(shape_of(x)) - 1 - batched[0]
        if not batched[1]:  # more images
            out = self(merge_axes(x, 0), w, groups=groups, **params)
            return split_axis(out, 0, size)
        if not batched[0]:  # more filters in each group: [*window, c, G, B, o]
            w = merge_axes(move_axis(split_axis(w, last + 1, groups), 0, last + 1), last, 3)
            out = self(x, w, groups=groups, **params)
            out = split_axis(split_axis(out, last, groups), last + 1, size)  # N, *out, G, B, o
            return merge_axes(move_axis(out, last + 1, 0), last + 1)
        # One set of groups for each example: [N, *space, B*C] and [*window, c, B*O].
        x = merge_axes(move_axis(x, 0, last), last)
        w = merge_axes(move_axis(w, 0, last), last)
        out = split_axis(self(x, w, groups=size * groups, **params), last, size)
        return move_axis(out, last, 0)

    def rows(self, axes: Any, types: Any, *, groups: int, **_: Any) -> Any:
        x, w = types
        if axes == [0, None]:
            return 0
        # The gradient of a window: images are the channels of x and the inputs of w.
        last = len(x.shape) - 1
        return "add" if groups == 1 and axes == [last, last - 1] else None

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], **_: Any) -> int:
        return 2 * outs[0].size * math.prod(types[1].shape[:-1])


def by_taps(ct: Any, x: Any, w: ArrayType, stride: Ints, padding: Pads, x_dilation: Ints,
            w_dilation: Ints) -> Any:
    """The gradient of a depthwise window: for each tap the products of ct and what it met in x."""
    n, shape, last = len(stride), shape_of(ct), len(stride) + 1
    widths = [(0, 0, 0), *[(*p, d - 1) for p, d in zip(padding, x_dilation, strict=True)],
              (0, 0, 0)]
    if any(width != (0, 0, 0) for width in widths):
        x = pad(x, zero_like(x), widths=tuple(widths))
    found = []
    for place in itertools.product(*map(range, w.shape[:n])):
        start = (0, *[k * d for k, d in zip(place, w_dilation, strict=True)], 0)
        step = (1, *stride, 1)
        stop = tuple([a + (m - 1) * s + 1 for a, m, s in zip(start, shape, step, strict=True)])
        met = slice_(x, start=start, stop=stop, stride=step)
        summed = tuple(range(last))
        out = dot_general(met, ct, contract=(summed, summed), batch=((last,), (last,)))
        found.append(reshape(out, shape=(1, w.shape[-1])))
    return reshape(concatenate(*found, axis=0), shape=w.shape)


def adjoint_padding(n: int, k: int, m: int, stride: int, padding: tuple[int, int],
                    x_dilation: int, w_dilation: int) -> tuple[int, int]:
    """Padding of the cotangent (m elements) in the transpose in x (n elements, window k)."""
    reach = dilated(k, w_dilation)
    before = reach - 1 - padding[0]
    return before, dilated(n, x_dilation) + reach - 1 - dilated(m, stride) - before


def swap_in_out(w: Any, groups: int) -> Any:
    """[*window, c, G*o] -> [*window, o, G*c]."""
    n = len(shape_of(w)) - 2
    split = split_axis(w, n + 1, groups)  # *window, c, G, o
    return merge_axes(permute(split, order=(*range(n), n + 2, n + 1, n)), n + 1)


def batch_as_channel(x: Any, groups: int) -> Any:
    """[N, *space, G*c] -> [c, *space, G*N]."""
    last = len(shape_of(x)) - 1
    split = move_axis(split_axis(x, last, groups), last + 1, 0)  # c, N, *space, G
    return merge_axes(move_axis(split, 1, last + 1), last)       # c, *space, G, N -> G*N


conv = Conv()

__all__ = ["conv"]
