"""Layers that lay windows out as rows, put them back, and trade channels for space."""

from __future__ import annotations

from typing import Any

from lucidfn.nn.functional.convolution import LAYOUTS, Sizes, check_size, per_axis
from lucidfn.nn.functional.folding import (
    channel_shuffle,
    fold,
    pixel_shuffle,
    pixel_unshuffle,
    unfold,
    window_of,
)
from lucidfn.nn.layer import Layer, Params


class Unfold(Layer):
    """The windows of [N, H, W, C] as rows, [N, L, KH * KW * C]: `functional.unfold`.

    PyTorch gives [N, C * KH * KW, L].
    """

    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Sizes = 0
    stride: Sizes = 1
    layout = LAYOUTS[2]

    def __post_init__(self) -> None:
        super().__post_init__()
        window_of(self.error, self.kernel_size, self.dilation, self.padding, self.stride)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Layer):
    """Windows as rows, [N, L, KH * KW * C], put back and added up: [N, *output_size, C]."""

    output_size: Sizes
    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Sizes = 0
    stride: Sizes = 1
    layout = "N L C"

    def __post_init__(self) -> None:
        super().__post_init__()
        per_axis(self.error, "output_size", self.output_size, 2, 1)
        window_of(self.error, self.kernel_size, self.dilation, self.padding, self.stride)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return fold(x, self.output_size, self.kernel_size, self.dilation, self.padding,
                    self.stride)


class PixelShuffle(Layer):
    """[..., H, W, C r^2] to [..., H r, W r, C] with r = upscale_factor (arXiv:1609.05158).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.PixelShuffle(2)({}, lnp.ones((1, 4, 4, 12))).shape
    (1, 8, 8, 3)
    """

    upscale_factor: int
    layout = "... H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.error, "upscale_factor", self.upscale_factor)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Layer):
    """[..., H r, W r, C] to [..., H, W, C r^2] with r = downscale_factor."""

    downscale_factor: int
    layout = "... H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.error, "downscale_factor", self.downscale_factor)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return pixel_unshuffle(x, self.downscale_factor)


class ChannelShuffle(Layer):
    """[..., C]: the channels of the groups, one of each in turn (arXiv:1707.01083)."""

    groups: int
    layout = "... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.error, "groups", self.groups)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return channel_shuffle(x, self.groups)


__all__ = ["ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold"]
