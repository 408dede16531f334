"""What is trained: models, data and optimizers of the training benchmarks, without any library.

Weights are ours, in our layout, by name ("conv1.weight"); the other libraries get copies of them,
and give what they compute back in the same form. Each library has a module of its own here, which
is imported only in the process of its side.
"""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.harness import Prepared

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A whole training step: cross entropy of `model` on `batch` examples, and an optimizer.

    `sizes` are the arguments of the model, `shape` is that of one example, of token ids below
    `vocab` if that is given; `check` is the batch at which gradients are compared in float64.
    """

    model: str
    sizes: dict[str, Any]
    shape: tuple[int, ...]
    batch: int
    check: int
    optimizer: str
    options: dict[str, Any]
    classes: int = 10
    vocab: int = 0

    def data(self, batch: int | None = None, dtype: str = "float32") -> tuple[Any, Any]:
        """Examples and labels; of a language model each token has a label."""
        batch = self.batch if batch is None else batch
        rng = np.random.default_rng(0)
        if self.vocab:
            tokens = rng.integers(0, self.vocab, (2, batch, *self.shape), dtype="int32")
            return tokens[0], tokens[1]
        x = rng.standard_normal((batch, *self.shape), dtype="float32")
        return x.astype(dtype), rng.integers(0, self.classes, batch, dtype="int32")


ADAM = {"learning_rate": 1e-3}
SGD = {"learning_rate": 0.01, "momentum": 0.9}
ADAMW = {"learning_rate": 3e-4, "weight_decay": 0.01}
LM = {"vocab_size": 65, "context_length": 128, "embed_dim": 256, "num_heads": 8, "num_layers": 4}

LENET = Workload("lenet", {}, (28, 28, 1), 128, 8, "sgd", SGD)
RESNET = Workload("resnet", {}, (32, 32, 3), 128, 4, "adam", ADAM)
GPT = Workload("gpt", LM, (128,), 16, 2, "adamw", ADAMW, vocab=65)
MLP = Workload("mlp", {"widths": (784, 512, 512, 10)}, (784,), 256, 16, "adam", ADAM)
LSTM = Workload("lstm", {"inputs": 128, "hidden": 256}, (64, 128), 64, 4, "adam", ADAM)
ALL = {work.model: work for work in (LENET, RESNET, GPT, MLP, LSTM)}

# The same models, small enough for a test of the benchmarks themselves.
TINY = {
    "lenet": replace(LENET, batch=6, check=2),
    "resnet": replace(RESNET, batch=8, check=4, shape=(16, 16, 3)),
    "gpt": replace(GPT, batch=2, check=1, shape=(6,),
                   sizes=LM | {"context_length": 6, "embed_dim": 8, "num_heads": 2}),
    "mlp": replace(MLP, batch=6, check=2, shape=(9,), sizes={"widths": (9, 8, 8, 10)}),
    "lstm": replace(LSTM, batch=4, check=2, shape=(5, 3), sizes={"inputs": 3, "hidden": 4}),
}  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """What two sides must agree on: of the timed program, and in float64 at a small batch.

    `moments` are the optimizer's after the first step, which are multiples of the gradients: new
    weights say little in float32, since Adam divides by gradients that are nearly 0.
    """

    loss: Any
    moments: Arrays
    exact_loss: Any
    gradients: Arrays
    params: Arrays

    def listed(self) -> list[Any]:
        trees = map(without_noise, (self.moments, self.gradients, self.params))
        return [self.loss, self.exact_loss, *trees]


@dataclass(frozen=True)
class Checked:
    """The same where there may be no float64: the losses of two steps and the moments between."""

    first: Any
    moments: Arrays
    second: Any

    def listed(self) -> list[Any]:
        return [self.first, without_noise(self.moments), self.second]


def without_noise(part: Arrays) -> Arrays:
    """Without the biases of keys: softmax does not see them, their gradients are noise."""
    return {name: array for name, array in part.items() if not name.endswith("k_proj.bias")}


def side(library: str, name: str, *args: Any, **options: Any) -> Callable[[], Prepared]:
    """The side `name(*args)` of a module of this package, imported when the side is prepared."""
    return lambda: getattr(importlib.import_module(f"benchmarks.{library}"), name)(*args, **options)


def weights(work: Workload) -> tuple[Arrays, Arrays]:
    """Our parameters and state for a workload, by name."""
    return importlib.import_module("benchmarks.ours").weights(work)


def weights_from_outside(work: Workload) -> tuple[Arrays, Arrays]:
    """The same, from a process that ends: for a side whose memory is measured."""
    code = (
        "import pickle, sys; from benchmarks.workloads import weights\n"
        "work = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(pickle.dumps(weights(work)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(work), stdout=subprocess.PIPE, check=True
    )
    return pickle.loads(ran.stdout)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype="float32")


def mean_of(mask: np.ndarray) -> np.ndarray:
    """What random masks of different generators agree on."""
    return np.float32(np.mean(mask, dtype="float64"))
