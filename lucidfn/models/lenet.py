"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lucidfn import nn
from lucidfn.models.weights import check_name, pretrained
from lucidfn.nn.layer import Params, State


class LeNet5(nn.Composite):
    """Two convolutions and three linear layers: images [N, 28, 28, 1] to logits [N, num_classes].

    44,426 parameters for ten classes. As in the paper, tanh and average pooling; unlike it, every
    map of the second convolution sees all six maps of the first, and logits are linear. With
    `weights`, a name of `models.weights`, `init` gives these.

    >>> from lucidfn import models, nn
    >>> print(nn.summary(models.LeNet5(), (1, 28, 28, 1), show=False).totals())
    parameters: 44,426 (173.5 KB), forward pass: 620,414 FLOPs (a multiply-add is two)
    """

    num_classes: int = 10
    activation: Callable[..., Any] = nn.tanh
    weights: str | None = None
    layout = "N H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.weights)

    def init(self, key: Any) -> tuple[Params, State]:
        return super().init(key) if self.weights is None else pretrained(self, self.weights)

    def children(self) -> dict[str, nn.Layer]:
        return {
            "conv1": nn.Conv2d(1, 6, kernel_size=5),
            "conv2": nn.Conv2d(6, 16, kernel_size=5),
            "pool": nn.AvgPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(256, 120),
            "fc2": nn.Linear(120, 84),
            "fc3": nn.Linear(84, self.num_classes),
        }

    def forward(self, run: nn.Run, x: Any) -> Any:  # type: ignore[override]
        x = run.pool(self.activation(run.conv1(x)))  # N, 12, 12, 6
        x = run.pool(self.activation(run.conv2(x)))  # N, 4, 4, 16
        x = self.activation(run.fc1(run.flatten(x)))
        return run.fc3(self.activation(run.fc2(x)))


__all__ = ["LeNet5"]
