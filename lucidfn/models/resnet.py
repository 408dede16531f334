"""Residual networks (He et al. 2015, arXiv:1512.03385), with the names and starts of torchvision.

The stem "imagenet" is a 7x7 convolution of stride 2 and a max pool, for images of about 224; the
stem "cifar" is a 3x3 convolution of stride 1, for images of 32.
"""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn import nn
from lucidfn.models.weights import check_name, pretrained
from lucidfn.nn.initializers import variance_scaling
from lucidfn.nn.layer import Params, State

FAN_OUT = variance_scaling(2.0, "fan_out", "normal")  # keeps the variance of gradients through relu


def conv(in_channels: int, channels: int, window: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of its data but for the stride; a norm follows it."""
    return nn.Conv2d(in_channels, channels, window, stride, padding=window // 2, bias=False,
                     weight_init=FAN_OUT)


class BasicBlock(nn.Composite):
    """relu(x + norm(conv3x3(relu(norm(conv3x3(x)))))): the block of ResNet-18 and 34."""

    in_channels: int
    channels: int
    stride: int = 1
    expansion = 1  # the block gives expansion * channels

    def children(self) -> dict[str, nn.Layer]:
        main = {"conv1": conv(self.in_channels, self.channels, 3, self.stride),
                "bn1": nn.BatchNorm2d(self.channels),
                "conv2": conv(self.channels, self.channels, 3),
                "bn2": nn.BatchNorm2d(self.channels)}
        return main | downsample(self.in_channels, self.channels, self.stride)

    def forward(self, run: nn.Run, x: Any) -> Any:  # type: ignore[override]
        y = nn.relu(run.bn1(run.conv1(x)))
        y = run.bn2(run.conv2(y))
        return nn.relu(y + (run.downsample(x) if "downsample" in self.named_children else x))


class Bottleneck(nn.Composite):
    """1x1, 3x3 and 1x1 convolutions around a shortcut: the block of ResNet-50.

    The stride is in the 3x3 convolution, as in torchvision ("ResNet v1.5").
    """

    in_channels: int
    channels: int
    stride: int = 1
    expansion = 4

    def children(self) -> dict[str, nn.Layer]:
        wide = self.channels * self.expansion
        main = {"conv1": conv(self.in_channels, self.channels, 1),
                "bn1": nn.BatchNorm2d(self.channels),
                "conv2": conv(self.channels, self.channels, 3, self.stride),
                "bn2": nn.BatchNorm2d(self.channels),
                "conv3": conv(self.channels, wide, 1),
                "bn3": nn.BatchNorm2d(wide)}
        return main | downsample(self.in_channels, wide, self.stride)

    def forward(self, run: nn.Run, x: Any) -> Any:  # type: ignore[override]
        y = nn.relu(run.bn1(run.conv1(x)))
        y = nn.relu(run.bn2(run.conv2(y)))
        y = run.bn3(run.conv3(y))
        return nn.relu(y + (run.downsample(x) if "downsample" in self.named_children else x))


def downsample(in_channels: int, channels: int, stride: int) -> dict[str, nn.Layer]:
    """The shortcut of a block that changes the shape of its data: a 1x1 convolution."""
    if stride == 1 and in_channels == channels:
        return {}
    return {"downsample": nn.Sequential(conv(in_channels, channels, 1, stride),
                                        nn.BatchNorm2d(channels))}


class ResNet(nn.Composite):
    """Images [N, H, W, 3] to logits [N, num_classes]; `depths` are the blocks of the four stages.

    With `weights`, a name of `models.weights`, `init` gives these instead of random ones.

    >>> from lucidfn import models, nn
    >>> model = models.resnet18(num_classes=10, stem="cifar")
    >>> nn.summary(model, (1, 32, 32, 3), show=False).parameters
    11173962
    """

    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]
    num_classes: int = 1000
    stem: str = "imagenet"
    weights: str | None = None
    layout = "N H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem not in ("imagenet", "cifar"):
            raise ValueError(f"stem must be 'imagenet' or 'cifar', got {self.stem!r}")
        check_name(self.weights)

    def init(self, key: Any) -> tuple[Params, State]:
        return super().init(key) if self.weights is None else pretrained(self, self.weights)

    def children(self) -> dict[str, nn.Layer]:
        big = self.stem == "imagenet"
        out: dict[str, nn.Layer] = {"conv1": conv(3, 64, 7, 2) if big else conv(3, 64, 3),
                                    "bn1": nn.BatchNorm2d(64)}
        if big:
            out["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
        features = 64
        for i, depth in enumerate(self.depths):
            blocks = []
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(self.block(features, 64 * 2**i, stride))
                features = 64 * 2**i * self.block.expansion
            out[f"layer{i + 1}"] = nn.Sequential(*blocks)
        return out | {"fc": nn.Linear(features, self.num_classes)}

    def forward(self, run: nn.Run, x: Any) -> Any:  # type: ignore[override]
        x = nn.relu(run.bn1(run.conv1(x)))
        if self.stem == "imagenet":
            x = run.maxpool(x)
        for i in range(len(self.depths)):
            x = run[f"layer{i + 1}"](x)
        return run.fc(lnp.mean(x, axis=(1, 2)))


def resnet18(num_classes: int = 1000, stem: str = "imagenet",
             weights: str | None = None) -> ResNet:
    """ResNet-18: 11.7 M parameters for 1,000 classes. weights="resnet18": torchvision's."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, stem, weights)


def resnet34(num_classes: int = 1000, stem: str = "imagenet",
             weights: str | None = None) -> ResNet:
    """ResNet-34: 21.8 M parameters for 1,000 classes. weights="resnet34": torchvision's."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, stem, weights)


def resnet50(num_classes: int = 1000, stem: str = "imagenet",
             weights: str | None = None) -> ResNet:
    """ResNet-50: 25.6 M parameters for 1,000 classes. weights="resnet50": torchvision's."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, stem, weights)


__all__ = ["BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet34", "resnet50"]
