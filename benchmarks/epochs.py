"""Training with everything around the step, against PyTorch: loading, records, evaluation.

Ours is `fit` of the examples: batches from a background thread, the loss and the right answers of
every step recorded, evaluation in batches of 500. PyTorch runs the loop that its users write, with
the same model, optimizer and records, over a `TensorDataset` of images that are normalised already
and its `DataLoader`: nothing is done to an image but to collect it. That is the least work which a
DataLoader can have; a transform of each item, as most of its users write, comes as information, and
so does slicing the tensors without a DataLoader. Every sample starts from the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.harness import Against, Benchmark
from benchmarks.workloads import side

BATCH = 128


class Split(NamedTuple):
    """Images [N, H, W, C] float32, labels [N] int32."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Epoch:
    """One epoch of a recipe of the examples, on generated images; `test` 0 is no evaluation."""

    example: str
    shape: tuple[int, int, int]
    train: int
    test: int

    def data(self) -> tuple[Split, Split]:
        """As large as the real images are, and as spread when they are normalised."""
        rng = np.random.default_rng(0)
        made = lambda n: Split(rng.standard_normal((n, *self.shape), dtype="float32"),
                               rng.integers(0, 10, n, dtype="int32"))
        return made(self.train), made(self.test)


LENET = Epoch("lenet5_mnist", (28, 28, 1), train=100 * BATCH, test=2000)
RESNET = Epoch("resnet18_cifar10", (32, 32, 3), train=5 * BATCH, test=0)
TINY = Epoch("lenet5_mnist", (28, 28, 1), train=300, test=20)  # for a test of the benchmark

BENCHMARKS = [
    Benchmark(
        "lenet-epoch",
        "LeNet-5 epoch, 12,800 images, and a test on 2,000",
        {
            "lucidfn": side("epochs_ours", "epoch", LENET),
            "torch": side("epochs_torch", "epoch", LENET),
            "torch transform by item": side("epochs_torch", "epoch", LENET, kind="by item"),
            "torch sliced": side("epochs_torch", "epoch", LENET, kind="sliced"),
        },
        (
            Against("torch", 0.85),
            Against("torch transform by item"),
            Against("torch sliced"),
        ),
        rounds=7,
        unit="ms",
        tolerance=1e-4,
    ),
    Benchmark(
        "resnet-epoch",
        "ResNet-18, 5 steps of batch 128, with loading",
        {
            "lucidfn": side("epochs_ours", "epoch", RESNET),
            "torch": side("epochs_torch", "epoch", RESNET),
            "torch channels_last": side("epochs_torch", "epoch", RESNET, last=True),
        },
        (Against("torch", 0.9), Against("torch channels_last")),
        rounds=3,
        unit="ms",
        # Adam divides by gradients that are nearly 0: after a step little is left of the digits.
        tolerance=0.1,
    ),
]
