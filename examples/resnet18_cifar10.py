"""ResNet-18 on CIFAR-10, against PyTorch: `python -m examples.resnet18_cifar10 --framework both`.

Without CIFAR-10 it runs on generated images of coloured shapes, and says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # python examples/resnet18_cifar10.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.experiment import Experiment, main
from examples.shapes import coloured_shapes
from examples.training import Recipe
from lucidfn import data, models

RECIPE = Recipe(
    model=models.resnet18(num_classes=10, stem="cifar"), twin="resnet",
    optimizer="adam", options={"weight_decay": 5e-4}, learning_rate=1e-3, step_lr=(10, 0.1),
    epochs=20,
)
EXPERIMENT = Experiment(
    name="resnet18_cifar10",
    title="ResNet-18",
    recipe=RECIPE,
    dataset="CIFAR-10",
    real=data.cifar10,
    constants=data.CONSTANTS["cifar10"],
    stand_in=coloured_shapes,
    stand_in_is="generated images of coloured shapes",
    checkpoint_every=100,
)

if __name__ == "__main__":
    main(EXPERIMENT)
