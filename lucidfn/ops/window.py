"""Reductions over sliding windows, as in pooling; parameters have one entry for each axis of x."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.conv import adjoint_padding, dilated, windows
from lucidfn.ops.families import Linear
from lucidfn.ops.shape import broadcast_to, pad, slice_
from lucidfn.types import ArrayType, kind_of

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


class Window(Primitive):
    """out[p] combines x[p stride + k w_dilation - low] over k in the window, where x has
    x_dilation - 1 gaps between neighbours and is padded (negative: cropped) after; what lies in
    gaps and padding is the identity of the operation."""

    accepts = (0, 1, 2, 3)

    def infer(self, x: ArrayType, *, window: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
              w_dilation: Ints) -> ArrayType:
        params = (window, stride, padding, x_dilation, w_dilation)
        if any(len(p) != len(x.shape) for p in params):
            raise ShapeError(f"got {x}, window {window}, stride {stride}, padding {padding}; all "
                             f"need {len(x.shape)} entries, one for each axis")
        if any(i < 1 for p in (window, stride, x_dilation, w_dilation) for i in p):
            raise ShapeError(f"got {x}, window {window}, stride {stride}; windows, strides and "
                             "dilations must be at least 1")
        if kind_of(x.dtype) not in self.accepts:
            raise TypeError(f"got {x}; {self.name} does not take this dtype")
        shape = tuple([windows(dilated(n, step) + lo + hi, k, s, d) for n, k, s, (lo, hi), step, d
                       in zip(x.shape, *params, strict=True)])
        return ArrayType(shape, x.dtype, x.weak)

    def batch(self, size: int, batched: Any, x: Any, **params: Any) -> Any:
        return self(x, **one_axis_more(params))

    def rows(self, axes: Any, types: Any, *, window: Ints, stride: Ints, padding: Pads,
             x_dilation: Ints, **_: Any) -> Any:
        a = axes[0]
        alone = a is not None and len(set(axes)) == 1 and \
            (window[a], stride[a], padding[a], x_dilation[a]) == (1, 1, (0, 0), 1)
        return a if alone else None

    def flops(self, types: Any, outs: Sequence[ArrayType], *, window: Ints, **_: Any) -> int:
        return outs[0].size * math.prod(window)


class WindowSum(Window, Linear):
    """Sum over each window"""

    accepts = (1, 2, 3)

    def jvp(self, tangents: Any, out: Any, x: Any, **params: Any) -> Any:
        return self(tangents[0], **params)

    def transpose(self, ct: Any, x: Any, *, window: Ints, stride: Ints, padding: Pads,
                  x_dilation: Ints, w_dilation: Ints) -> list[Any]:
        # The window is all ones, so that its flip is itself; stride and x_dilation trade places.
        pads = tuple([adjoint_padding(*axis) for axis in zip(
            x.type.shape, window, shape_of(ct), stride, padding, x_dilation, w_dilation,
            strict=True)])
        return [self(ct, window=window, stride=x_dilation, padding=pads, x_dilation=stride,
                     w_dilation=w_dilation)]


class WindowExtremum(Window):
    """max or min over each window; elements that tie share the derivative equally"""

    accepts = (0, 1, 2)

    def jvp(self, tangents: Any, out: Any, x: Any, **params: Any) -> Any:
        return window_share(tangents[0], x, out, **params)


class Attaining(Window):
    """Linear in its first operand; x and y = window_max(x) (or min) say which elements count:
    those of a window that equal its y. A window of padding (or with a NaN) has none."""

    accepts = (2,)

    def jvp(self, tangents: Any, out: Any, t: Any, x: Any, y: Any, **params: Any) -> Any:
        return None if tangents[0] is None else self(tangents[0], x, y, **params)

    def batch(self, size: int, batched: Sequence[bool], *args: Any, **params: Any) -> Any:
        full = [a if b else broadcast_to(a, shape=(size, *shape_of(a)))
                for a, b in zip(args, batched, strict=True)]
        return self(*full, **one_axis_more(params))

    def check(self, x: ArrayType, y: ArrayType, params: Any) -> ArrayType:
        out = super().infer(x, **params)
        if (out.shape, out.dtype) != (y.shape, y.dtype):
            raise ShapeError(f"got {x} and {y}; the windows of the first give {out}")
        return out

    def flops(self, types: Sequence[ArrayType], outs: Any, *, window: Ints, **_: Any) -> int:
        return 3 * types[2].size * math.prod(window)


class WindowShare(Attaining):
    """out[p]: the mean of t over the elements of window p that attain y[p]; 0 if there is none"""

    name = "window_share"

    def infer(self, t: ArrayType, x: ArrayType, y: ArrayType, **params: Any) -> ArrayType:
        if (t.shape, t.dtype) != (x.shape, x.dtype):
            raise ShapeError(f"got {t} and {x}; they must be of one type")
        return self.check(x, y, params)

    def transpose(self, ct: Any, t: Any, x: Any, y: Any, **params: Any) -> list[Any]:
        return [window_spread(ct, x, y, **params), None, None]


class WindowSpread(Attaining):
    """out[i]: for each window in which x[i] attains y[p], an equal part of t[p]"""

    name = "window_spread"

    def infer(self, t: ArrayType, x: ArrayType, y: ArrayType, **params: Any) -> ArrayType:
        if (t.shape, t.dtype) != (y.shape, y.dtype):
            raise ShapeError(f"got {t} and {y}; they must be of one type")
        self.check(x, y, params)
        return x

    def transpose(self, ct: Any, t: Any, x: Any, y: Any, **params: Any) -> list[Any]:
        return [window_share(ct, x, y, **params), None, None]


def one_axis_more(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters for a batch axis in front."""
    return {name: ((0, 0) if name == "padding" else 1, *p) for name, p in params.items()}


def spread(x: Any, value: Any, padding: Pads, x_dilation: Ints) -> Any:
    """x with its gaps and padding filled in."""
    widths = tuple([(lo, hi, step - 1)
                    for (lo, hi), step in zip(padding, x_dilation, strict=True)])
    return x if all(w == (0, 0, 0) for w in widths) else pad(x, value, widths=widths)


def offsets(window: Ints, w_dilation: Ints) -> Iterator[Ints]:
    """Where each element of a window lies relative to its first."""
    return itertools.product(*[range(0, k * d, d) for k, d in zip(window, w_dilation, strict=True)])


def taps(x: Any, start: Ints, shape: Ints, stride: Ints) -> Any:
    """The element at one offset of every window."""
    stop = tuple([a + (n - 1) * s + 1 for a, n, s in zip(start, shape, stride, strict=True)])
    return slice_(x, start=start, stop=stop, stride=stride)


window_sum = WindowSum("window_sum")
window_max, window_min = WindowExtremum("window_max"), WindowExtremum("window_min")
window_share, window_spread = WindowShare(), WindowSpread()

__all__ = ["window_max", "window_min", "window_share", "window_spread", "window_sum"]
