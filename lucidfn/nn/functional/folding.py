"""Windows laid out as rows and put back, and channels traded for space.

`unfold` (im2col) gives [N, L, KH * KW * C]: a row for each of the L places of the window, in
row-major order, whose features run over the window first and the channels last. So a row times a
kernel [KH, KW, C, O] as a matrix [KH * KW * C, O] is the convolution. PyTorch has
[N, C * KH * KW, L], with the channels outermost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lucidfn import ops
from lucidfn.array import as_raw, weak_of, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.convolution import Fail, Ints, Sizes, check_size, failing, per_axis
from lucidfn.ops.conv import dilated, windows
from lucidfn.ops.window import offsets, taps


class Window(NamedTuple):
    """How windows lie on an image, for each of the two axes."""

    size: Ints
    dilation: Ints
    padding: Ints
    stride: Ints

    def padded(self, space: Ints) -> Ints:
        return tuple([n + 2 * p for n, p in zip(space, self.padding, strict=True)])

    def places(self, space: Ints) -> Ints:
        """How many windows there are along each axis."""
        return tuple([windows(n, k, s, d) for n, k, s, d in
                      zip(self.padded(space), self.size, self.stride, self.dilation, strict=True)])


def window_of(fail: Fail, kernel_size: Sizes, dilation: Sizes, padding: Sizes,
              stride: Sizes) -> Window:
    return Window(per_axis(fail, "kernel_size", kernel_size, 2, 1),
                  per_axis(fail, "dilation", dilation, 2, 1),
                  per_axis(fail, "padding", padding, 2, 0),
                  per_axis(fail, "stride", stride, 2, 1))


def check_places(name: str, what: str, window: Window, space: Ints) -> Ints:
    places = window.places(space)
    if min(places) < 1:
        reach = tuple([dilated(k, d) for k, d in zip(window.size, window.dilation, strict=True)])
        raise ShapeError(f"{name} got {what} and a window {window.size} that spans {reach}, larger "
                         f"than the padded space {window.padded(space)}")
    return places


def unfold(x: Any, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0,
           stride: Sizes = 1) -> Any:
    """The windows of x [N, H, W, C] as rows, [N, L, KH * KW * C], padded with zeros.

    x may be one image, without N. ShapeError where no window fits, ValueError for other arguments.

    >>> import lucidfn.numpy as lnp
    >>> unfold(lnp.arange(6).reshape(1, 2, 3, 1), 2).tolist()
    [[[0, 1, 3, 4], [1, 2, 4, 5]]]
    """
    window = window_of(failing("unfold"), kernel_size, dilation, padding, stride)
    raw = as_raw(x)
    shape = shape_of(raw)
    if len(shape) not in (3, 4):
        raise ShapeError(f"unfold got x {type_of(raw)}; expected [N, H, W, C] or [H, W, C]")
    lead, channels = shape[:-3], shape[-1]
    places = check_places("unfold", f"x {type_of(raw)} as [N, H, W, C]", window, shape[-3:-1])
    flat = (0,) * len(lead)
    if any(window.padding):
        ends = [(0, 0, 0)] * len(lead) + [(p, p, 0) for p in window.padding] + [(0, 0, 0)]
        raw = ops.pad(raw, ops.zero_like(raw), widths=tuple(ends))
    stride = (*[1] * len(lead), *window.stride, 1)
    parts = [taps(raw, (*flat, *at, 0), (*lead, *places, channels), stride)
             for at in offsets(window.size, window.dilation)]
    rows = ops.concatenate(*parts, axis=len(lead) + 2) if len(parts) > 1 else parts[0]
    return wrap(ops.merge_axes(rows, len(lead)), weak_of(x))


def fold(x: Any, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0,
         stride: Sizes = 1) -> Any:
    """Windows as rows, x [N, L, KH * KW * C], put back and added up where they overlap.

    Gives [N, *output_size, C]; it is the transpose of `unfold`. x may lack N. ShapeError where L or
    the features do not fit the windows, ValueError for other arguments.

    >>> import lucidfn.numpy as lnp
    >>> ones = lnp.ones((1, 3, 3, 1))
    >>> fold(unfold(ones, 2), 3, 2)[0, :, :, 0].astype(int).tolist()
    [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    """
    fail = failing("fold")
    window = window_of(fail, kernel_size, dilation, padding, stride)
    space = per_axis(fail, "output_size", output_size, 2, 1)
    raw = as_raw(x)
    shape, count = shape_of(raw), window.size[0] * window.size[1]
    places = check_places("fold", f"output_size {space}", window, space)
    rows = places[0] * places[1]
    if len(shape) not in (2, 3) or shape[-2] != rows or shape[-1] % count:
        raise ShapeError(f"fold got x {type_of(raw)}; expected [N, {rows}, {count} * C]: "
                         f"{places} places of a window of {window.size}, C channels")
    return wrap(add_windows(raw, window, space, places), weak_of(x))


def add_windows(raw: Any, window: Window, space: Ints, places: Ints) -> Any:
    lead, features = shape_of(raw)[:-2], shape_of(raw)[-1]
    rank, padded = len(lead) + 3, window.padded(space)
    channels = features // (window.size[0] * window.size[1])
    rows = ops.reshape(raw, shape=(*lead, *places, features))
    total = None
    for i, at in enumerate(offsets(window.size, window.dilation)):
        part = ops.slice_axis(rows, rank - 1, i * channels, (i + 1) * channels)
        # To each place its element of the window: strides become gaps.
        ends = [(a, m - a - (n - 1) * s - 1, s - 1) for a, m, n, s in
                zip(at, padded, places, window.stride, strict=True)]
        spread = ops.pad(part, ops.zero_like(part), widths=tuple(
            [(0, 0, 0)] * len(lead) + ends + [(0, 0, 0)]))
        total = spread if total is None else ops.add(total, spread)
    start = (*[0] * len(lead), *window.padding, 0)
    stop = (*lead, *[p + n for p, n in zip(window.padding, space, strict=True)], channels)
    return ops.slice_(total, start=start, stop=stop, stride=(1,) * rank)


# ------------------------------------------------------------------ channels and space

def shuffled(x: Any, shape: Sequence[int], order: Sequence[int], to: Sequence[int]) -> Any:
    """Reshape, permute, reshape; shapes and orders are those of the last axes."""
    raw = as_raw(x)
    lead = shape_of(raw)[:len(shape_of(raw)) - (3 if len(to) == 3 else 1)]
    split = ops.reshape(raw, shape=(*lead, *shape))
    n = len(lead)
    moved = ops.permute(split, order=(*range(n), *[n + i for i in order]))
    return wrap(ops.reshape(moved, shape=(*lead, *to)), weak_of(x))


def image_shape(name: str, x: Any) -> tuple[int, int, int]:
    shape = shape_of(as_raw(x))
    if len(shape) < 3:
        raise ShapeError(f"{name} got x {type_of(as_raw(x))}; expected [..., H, W, C]")
    return shape[-3], shape[-2], shape[-1]


def pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    """[..., H, W, C r^2] to [..., H r, W r, C] with r = upscale_factor (arXiv:1609.05158).

    Input channel c r^2 + i r + j goes to row i and column j of each r by r block of channel c, as
    in PyTorch. ShapeError unless r^2 divides the channels.
    """
    check_size(failing("pixel_shuffle"), "upscale_factor", upscale_factor)
    r, (h, w, c) = upscale_factor, image_shape("pixel_shuffle", x)
    if c % r**2:
        raise ShapeError(f"pixel_shuffle got x {type_of(as_raw(x))} as [..., H, W, C] and "
                         f"upscale_factor={r}; {r**2} must divide its {c} channels")
    c //= r**2
    return shuffled(x, (h, w, c, r, r), (0, 3, 1, 4, 2), (h * r, w * r, c))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """[..., H r, W r, C] to [..., H, W, C r^2] with r = downscale_factor: undoes `pixel_shuffle`.

    ShapeError unless r divides height and width.
    """
    check_size(failing("pixel_unshuffle"), "downscale_factor", downscale_factor)
    r, (h, w, c) = downscale_factor, image_shape("pixel_unshuffle", x)
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle got x {type_of(as_raw(x))} as [..., H, W, C] and "
                         f"downscale_factor={r}, which must divide {h} and {w}")
    h, w = h // r, w // r
    return shuffled(x, (h, r, w, r, c), (0, 2, 4, 1, 3), (h, w, c * r**2))


def channel_shuffle(x: Any, groups: int) -> Any:
    """[..., C]: the channels of the groups, one of each in turn (arXiv:1707.01083).

    ShapeError unless groups divides the channels.

    >>> import lucidfn.numpy as lnp
    >>> channel_shuffle(lnp.arange(6), 2).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    check_size(failing("channel_shuffle"), "groups", groups)
    shape = shape_of(as_raw(x))
    if not shape or shape[-1] % groups:
        raise ShapeError(f"channel_shuffle got x {type_of(as_raw(x))} and groups={groups}, which "
                         "must divide the channels on the last axis")
    return shuffled(x, (groups, shape[-1] // groups), (1, 0), (shape[-1],))


__all__ = ["channel_shuffle", "fold", "pixel_shuffle", "pixel_unshuffle", "unfold"]
