"""Convolutions and transposed convolutions, channels last."""

from __future__ import annotations

import math
from typing import Any

from lucidfn.array import typeof
from lucidfn.nn.functional import convolution as functions
from lucidfn.nn.functional.convolution import (
    LAYOUTS,
    Ints,
    Sizes,
    check_groups,
    check_output_padding,
    check_size,
    conv_pads,
    per_axis,
    transposed_sizes,
)
from lucidfn.nn.functional.padding import pad
from lucidfn.nn.initializers import Initializer
from lucidfn.nn.layer import Layer, Params
from lucidfn.nn.layers.linear import weight_and_bias

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate",
                 "circular": "circular"}


class AnyConv(Layer):
    """What convolutions and their transposes share."""

    axes = 0

    def check_channels(self) -> None:
        self_any: Any = self
        for name in ("in_channels", "out_channels"):
            check_size(self.error, name, getattr(self, name))
        check_groups(self.error, self_any.groups, self_any.in_channels, self_any.out_channels)

    def sizes(self, name: str, least: int) -> Ints:
        """A hyperparameter with one entry for each axis."""
        return per_axis(self.error, name, getattr(self, name), self.axes, least)

    def expect_data(self, x: Any, channels: int) -> None:
        """A batch, or one example without N."""
        single = len(typeof(x).shape) == self.axes + 1
        self.expect(x, self.layout.removeprefix("N ") if single else self.layout, channels)

    def start(self, key: Any, fan: int) -> Params:
        """PyTorch's start, with `fan` channels feeding each output."""
        me: Any = self
        window = self.sizes("kernel_size", 1)
        shape = (*window, me.in_channels // me.groups, me.out_channels)
        return weight_and_bias(key, shape, fan * math.prod(window), me.out_channels, me.bias,
                               me.weight_init, me.bias_init)


class Conv(AnyConv):
    """What `Conv1d`, `Conv2d` and `Conv3d` share."""

    in_channels: int
    out_channels: int
    kernel_size: Sizes
    stride: Sizes = 1
    padding: str | Sizes = 0
    dilation: Sizes = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_channels()
        self.pads()
        if self.padding_mode not in PADDING_MODES:
            raise self.error(f"got padding_mode={self.padding_mode!r}; expected one of "
                             f"{', '.join(PADDING_MODES)}")

    def pads(self) -> functions.Pads:
        """(low, high) for each axis."""
        return conv_pads(self.error, self.padding, self.sizes("kernel_size", 1),
                         self.sizes("stride", 1), self.sizes("dilation", 1))

    def init_params(self, key: Any) -> Params:
        return self.start(key, self.in_channels // self.groups)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.expect_data(x, self.in_channels)
        padding: str | Sizes = self.padding
        if self.padding_mode != "zeros":
            widths = [n for pair in reversed(self.pads()) for n in pair]
            x, padding = pad(x, widths, PADDING_MODES[self.padding_mode]), 0
        function = getattr(functions, f"conv{self.axes}d")
        return function(x, params["weight"], params["bias"] if self.bias else None, self.stride,
                        padding, self.dilation, self.groups)


class Conv1d(Conv):
    """Convolution of [N, L, in_channels] to [N, L', out_channels], as `Conv2d`.

    weight is [K, in_channels / groups, out_channels].

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn, random
    >>> layer = nn.Conv1d(3, 8, 5, padding="same")
    >>> params, state = layer.init(random.key(0))
    >>> layer(params, lnp.ones((2, 100, 3))).shape
    (2, 100, 8)
    """

    axes, layout = 1, LAYOUTS[1]


class Conv2d(Conv):
    """Convolution of [N, H, W, in_channels] to [N, H', W', out_channels]: `functional.conv2d`.

    weight is [KH, KW, in_channels / groups, out_channels], bias [out_channels]. kernel_size, stride
    and dilation are a number for both axes or a pair (H, W); so is padding, or it is "same" or
    "valid". padding_mode says what is put around: "zeros", "reflect", "replicate", "circular". Both
    parameters start uniform within 1 / sqrt(window in_channels / groups), as in PyTorch, unless
    initializers are given. LayerError for data of another layout.

    >>> from lucidfn import nn, random
    >>> import lucidfn.numpy as lnp
    >>> layer = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    >>> params, state = layer.init(random.key(0))
    >>> params["weight"].shape, layer(params, lnp.ones((2, 16, 16, 3))).shape
    ((3, 3, 3, 8), (2, 8, 8, 8))
    """

    axes, layout = 2, LAYOUTS[2]


class Conv3d(Conv):
    """Convolution of [N, D, H, W, in_channels] to [N, D', H', W', out_channels], as `Conv2d`.

    weight is [KD, KH, KW, in_channels / groups, out_channels].
    """

    axes, layout = 3, LAYOUTS[3]


class ConvTranspose(AnyConv):
    """What `ConvTranspose1d`, `ConvTranspose2d` and `ConvTranspose3d` share."""

    in_channels: int
    out_channels: int
    kernel_size: Sizes
    stride: Sizes = 1
    padding: Sizes = 0
    output_padding: Sizes = 0
    groups: int = 1
    bias: bool = True
    dilation: Sizes = 1
    padding_mode: str = "zeros"
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_channels()
        self.sizes("kernel_size", 1)
        self.sizes("padding", 0)
        check_output_padding(self.error, self.sizes("output_padding", 0), self.sizes("stride", 1),
                             self.sizes("dilation", 1))
        if self.padding_mode != "zeros":
            raise self.error(f"got padding_mode={self.padding_mode!r}; a transposed convolution "
                             "has 'zeros' only")

    def init_params(self, key: Any) -> Params:
        return self.start(key, self.out_channels // self.groups)

    def forward(self, params: Params, x: Any,  # type: ignore[override]
                output_size: Sizes | None = None) -> Any:
        self.expect_data(x, self.in_channels)
        extra = self.output_padding
        if output_size is not None:
            extra = self.padding_for(typeof(x).shape[-1 - self.axes:-1], output_size)
        function = getattr(functions, f"conv_transpose{self.axes}d")
        return function(x, params["weight"], params["bias"] if self.bias else None, self.stride,
                        self.padding, extra, self.groups, self.dilation)

    def padding_for(self, space: Ints, output_size: Sizes) -> Ints:
        """The output_padding that gives this output size."""
        wanted = per_axis(self.error, "output_size", output_size, self.axes, 1)
        stride = self.sizes("stride", 1)
        least = transposed_sizes(space, self.sizes("kernel_size", 1), stride,
                                 self.sizes("padding", 0), (0,) * self.axes,
                                 self.sizes("dilation", 1))
        extra = tuple([w - n for w, n in zip(wanted, least, strict=True)])
        if not all(0 <= e < s for e, s in zip(extra, stride, strict=True)):
            most = tuple([n + s - 1 for n, s in zip(least, stride, strict=True)])
            raise self.error(f"got output_size={output_size!r}; for data of {space} it can be from "
                             f"{least} to {most}")
        return extra


class ConvTranspose1d(ConvTranspose):
    """Transposed convolution of [N, L, in_channels] to [N, L', out_channels], as
    `ConvTranspose2d`.

    weight is [K, in_channels / groups, out_channels].
    """

    axes, layout = 1, LAYOUTS[1]


class ConvTranspose2d(ConvTranspose):
    """Transposed convolution of [N, H, W, in_channels] to [N, H', W', out_channels]:
    `functional.conv_transpose2d`.

    weight is [KH, KW, in_channels / groups, out_channels], bias [out_channels]. The call takes
    output_size= in place of output_padding. Both parameters start uniform within
    1 / sqrt(window out_channels / groups), as in PyTorch, unless initializers are given. LayerError
    for data of another layout.

    >>> from lucidfn import nn, random
    >>> import lucidfn.numpy as lnp
    >>> layer = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)
    >>> params, state = layer.init(random.key(0))
    >>> params["weight"].shape, layer(params, lnp.ones((2, 8, 8, 8))).shape
    ((4, 4, 8, 3), (2, 16, 16, 3))
    """

    axes, layout = 2, LAYOUTS[2]


class ConvTranspose3d(ConvTranspose):
    """Transposed convolution of [N, D, H, W, in_channels] to [N, D', H', W', out_channels], as
    `ConvTranspose2d`.

    weight is [KD, KH, KW, in_channels / groups, out_channels].
    """

    axes, layout = 3, LAYOUTS[3]


__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
