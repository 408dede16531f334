"""Blocks of a few layers that convolutional networks are built of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.array import typeof
from lucidfn.nn.functional.activations import relu, sigmoid, softmax
from lucidfn.nn.layer import Composite, Layer, Run
from lucidfn.nn.layers.convolution import Conv1d, Conv2d, Conv3d
from lucidfn.nn.layers.linear import Linear
from lucidfn.nn.layers.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d

Sizes = int | tuple[int, ...]

LAYOUTS = {1: "N L C", 2: "N H W C", 3: "N D H W C"}
CONVS: dict[int, Any] = {1: Conv1d, 2: Conv2d, 3: Conv3d}
NORMS: dict[int, Any] = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}


def _mean_over_space(x: Any) -> Any:
    """[N, *space, C] to [N, C]."""
    return lnp.mean(x, axis=tuple(range(1, typeof(x).ndim - 1)))


# ------------------------------------------------------------------ convolutions

class _ConvBNReLU(Composite):
    in_channels: int
    out_channels: int
    kernel_size: Sizes
    stride: Sizes = 1
    padding: str | Sizes = 0
    dilation: Sizes = 1
    groups: int = 1
    conv_bias: bool = False
    eps: float = 1e-5
    momentum: float | None = 0.1
    bn_affine: bool = True
    track_running_stats: bool = True

    d = 0  # axes of space

    def children(self) -> Mapping[str, Layer]:
        conv = CONVS[self.d](self.in_channels, self.out_channels, self.kernel_size, self.stride,
                             self.padding, self.dilation, self.groups, self.conv_bias)
        return {"conv": conv,
                "norm": NORMS[self.d](self.out_channels, self.eps, self.momentum, self.bn_affine,
                                      self.track_running_stats)}

    def forward(self, run: Run, x: Any) -> Any:  # type: ignore[override]
        return relu(run.norm(run.conv(x)))


class ConvBNReLU1d(_ConvBNReLU):
    """Convolution, batch normalisation and relu of [N, L, in_channels].

    The convolution has no bias unless conv_bias=True: the normalisation takes it out again.
    """

    d, layout = 1, LAYOUTS[1]


class ConvBNReLU2d(_ConvBNReLU):
    """Convolution, batch normalisation and relu of [N, H, W, in_channels]; see `ConvBNReLU1d`.

    >>> from lucidfn import nn, random
    >>> block = nn.ConvBNReLU2d(3, 8, 3, padding=1)
    >>> params, state = block.init(random.key(0))
    >>> y, state = block.apply(params, state, lnp.ones((2, 5, 5, 3)), train=True)
    >>> y.shape, sorted(params)
    ((2, 5, 5, 8), ['conv', 'norm'])
    """

    d, layout = 2, LAYOUTS[2]


class ConvBNReLU3d(_ConvBNReLU):
    """Convolution, batch normalisation and relu of [N, D, H, W, in_channels]; see `ConvBNReLU1d`.
    """

    d, layout = 3, LAYOUTS[3]


class _DepthSeparableConv(Composite):
    in_channels: int
    out_channels: int
    kernel_size: Sizes
    stride: Sizes = 1
    padding: str | Sizes = 0
    dilation: Sizes = 1
    bias: bool = True

    d = 0

    def children(self) -> Mapping[str, Layer]:
        conv, inner = CONVS[self.d], self.in_channels
        return {"depthwise": conv(inner, inner, self.kernel_size, self.stride, self.padding,
                                  self.dilation, inner, self.bias),
                "pointwise": conv(inner, self.out_channels, 1, bias=self.bias)}

    def forward(self, run: Run, x: Any) -> Any:  # type: ignore[override]
        return run.pointwise(run.depthwise(x))


class DepthSeparableConv1d(_DepthSeparableConv):
    """A convolution of each channel of [N, L, in_channels] alone, then one across channels.

    Chollet, "Xception" (2017).
    """

    d, layout = 1, LAYOUTS[1]


class DepthSeparableConv2d(_DepthSeparableConv):
    """A convolution of each channel of [N, H, W, in_channels] alone, then one across channels; see
    `DepthSeparableConv1d`."""

    d, layout = 2, LAYOUTS[2]


class DepthSeparableConv3d(_DepthSeparableConv):
    """A convolution of each channel of [N, D, H, W, in_channels] alone, then one across channels;
    see `DepthSeparableConv1d`."""

    d, layout = 3, LAYOUTS[3]


# ------------------------------------------------------------------ attention over channels

class SEModule(Composite):
    """Squeeze and excite: x [N, *space, C] times a factor in (0, 1) for each channel.

    The factors come from the means over space, by way of in_channels // reduction features.
    Hu, Shen and Sun, "Squeeze-and-excitation networks" (2018).

    >>> from lucidfn import nn
    >>> nn.SEModule(32, reduction=8)
    SEModule(32, reduction=8)
      squeeze: Linear(32, 4)
      excite: Linear(4, 32)
    """

    in_channels: int
    reduction: int = 16

    layout = "N ... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.reduction <= self.in_channels:
            raise ValueError(f"SEModule got in_channels={self.in_channels} and reduction="
                             f"{self.reduction}; the reduction must be in [1, in_channels], so "
                             "that in_channels // reduction features remain")

    def children(self) -> Mapping[str, Layer]:
        inner = self.in_channels // self.reduction
        return {"squeeze": Linear(self.in_channels, inner),
                "excite": Linear(inner, self.in_channels)}

    def forward(self, run: Run, x: Any) -> Any:  # type: ignore[override]
        if typeof(x).ndim < 3:
            raise self.error(f"got x {typeof(x)}, expected data [N, *space, C]")
        self.expect(x, "... C", self.in_channels)
        factors = sigmoid(run.excite(relu(run.squeeze(_mean_over_space(x)))))
        n, *space, c = x.shape
        return x * factors.reshape((n, *[1] * len(space), c))


class SelectiveKernel(Composite):
    """Convolutions of several sizes, mixed for each channel by weights from their sum.

    [N, H, W, in_channels] to [N, H', W', out_channels]. A branch of size k is a 3 x 3 convolution
    with dilation (k - 1) / 2, batch normalisation and relu; the weights of the branches come from
    the means over space, by way of max(out_channels // reduction, min_features) features.
    Li et al., "Selective kernel networks" (2019), arXiv:1903.06586.

    >>> from lucidfn import nn, random
    >>> layer = nn.SelectiveKernel(4, 8)
    >>> params, state = layer.init(random.key(0))
    >>> layer.apply(params, state, lnp.ones((2, 5, 5, 4)))[0].shape
    (2, 5, 5, 8)
    """

    in_channels: int
    out_channels: int
    kernel_sizes: tuple[int, ...] = (3, 5)
    stride: int = 1
    groups: int = 1
    reduction: int = 16
    min_features: int = 32

    layout = LAYOUTS[2]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.kernel_sizes) < 2 or any(k < 3 or k % 2 == 0 for k in self.kernel_sizes):
            raise ValueError(f"SelectiveKernel got kernel_sizes={self.kernel_sizes}; they must be "
                             "two odd numbers or more, each at least 3")

    def children(self) -> Mapping[str, Layer]:
        features = max(self.out_channels // self.reduction, self.min_features)
        branches = {f"branch_{i}": ConvBNReLU2d(
            self.in_channels, self.out_channels, 3, self.stride, k // 2, k // 2, self.groups)
            for i, k in enumerate(self.kernel_sizes)}
        return {**branches,
                "squeeze": Linear(self.out_channels, features, bias=False),
                "norm": BatchNorm1d(features),
                "select": Linear(features, self.out_channels * len(self.kernel_sizes), bias=False)}

    def forward(self, run: Run, x: Any) -> Any:  # type: ignore[override]
        names = [f"branch_{i}" for i in range(len(self.kernel_sizes))]
        branches = lnp.stack([run[name](x) for name in names])  # M, N, H, W, C
        count, n, *_, c = branches.shape
        means = _mean_over_space(lnp.sum(branches, axis=0))
        logits = run.select(relu(run.norm(run.squeeze(means))))  # N, M * C
        weights = softmax(logits.reshape((n, count, c)), axis=1)
        return lnp.einsum("mnhwc,nmc->nhwc", branches, weights)


__all__ = ["ConvBNReLU1d", "ConvBNReLU2d", "ConvBNReLU3d", "DepthSeparableConv1d",
           "DepthSeparableConv2d", "DepthSeparableConv3d", "SEModule", "SelectiveKernel"]
