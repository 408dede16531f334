"""LeNet-5 on MNIST, against PyTorch: `python -m examples.lenet5_mnist --framework both`.

Without MNIST it runs on the real handwritten digits of scikit-learn, resized, and says so.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if not __package__:  # python examples/lenet5_mnist.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.experiment import Experiment, main
from examples.training import Recipe
from lucidfn import data, models

RECIPE = Recipe(
    model=models.LeNet5(), twin="lenet", flatten={"fc1": (16, 4, 4)},
    optimizer="sgd", options={"momentum": 0.9}, learning_rate=0.01, epochs=10,
)
EXPERIMENT = Experiment(
    name="lenet5_mnist",
    title="LeNet-5",
    recipe=RECIPE,
    dataset="MNIST",
    real=data.mnist,
    constants=data.CONSTANTS["mnist"],
    stand_in=partial(data.digits, size=28),
    stand_in_is="the 8x8 handwritten digits of scikit-learn, resized to 28x28",
    demo={"stand_in": True, "epochs": 50, "out": "figures/lenet5", "fresh": True},
)

if __name__ == "__main__":
    main(EXPERIMENT)
