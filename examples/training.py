"""Training with a record of it, for any framework: steps, evaluation, checkpoints, history.

A `Recipe` is what is trained, a `Learner` is one framework that trains it, from a start and on
batches that a seed decides. `fit` runs it: the batches come from a background thread, and all that
the next step depends on goes into checkpoints, so that a run goes on from any of them bit for bit.

    learner, record = Lucidfn(LENET, seed=0, steps=468), Record()
    fit(learner, LENET, train, test, random.key(1), record)
    print(record.epochs[-1]["test_accuracy"])
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import data, nn, optim, random, tree

try:
    from tqdm import tqdm
except ImportError as error:
    raise SystemExit(f"this example needs {error.name}: pip install 'lucidfn[demo]'") from None

EVALUATED = 500  # images at once; it divides the test sets of MNIST and CIFAR


@dataclass(frozen=True)
class Recipe:
    """What every framework trains: a model, its optimizer, and for how long.

    `twin` names the model among those of the PyTorch side, `flatten` is as for `io.to_torch`.
    `optimizer` and `options` are names that both frameworks know; `step_lr` is (epochs, factor).
    """

    model: nn.Layer
    twin: str
    optimizer: str
    options: Mapping[str, float]
    learning_rate: float
    epochs: int
    batch_size: int = 128
    step_lr: tuple[int, float] | None = None
    flatten: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def start(self, seed: int, dtype: str) -> tuple[Any, Any]:
        """(params, state) before the first step: the same for each framework."""
        cast = lambda x: x.astype(dtype) if lnp.issubdtype(x.dtype, lnp.floating) else x
        return tree.map(cast, self.model.init(random.fold_in(random.key(seed), 0)))

    def order(self, seed: int) -> Any:
        """The key of the batches."""
        return random.fold_in(random.key(seed), 1)


class Learner(Protocol):
    """A model in training. Results of `step` are numbers, on a device perhaps, of one batch."""

    name: str
    versions: dict[str, str]

    def put(self, batch: Any) -> Any:
        """A batch of NumPy arrays (x [N, H, W, C], y [N]) as this framework takes it."""

    def step(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Learn from a batch: (mean loss, how many were right)."""

    def evaluate(self, x: Any, y: Any) -> tuple[Any, Any]:
        """(Sum of the losses, how many are right) as they are now."""

    def snapshot(self) -> Any:
        """All that the next step depends on, as a tree that `lf.save` takes."""

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""


class Lucidfn:
    """A recipe in lucidfn: one compiled step, which reuses the memory of what it replaces."""

    name = "lucidfn"

    def __init__(self, recipe: Recipe, seed: int, steps: int, dtype: str = "float32",
                 device: str = "cpu"):
        """`steps` are those of an epoch."""
        rate: Any = recipe.learning_rate
        if recipe.step_lr is not None:
            epochs, factor = recipe.step_lr
            falls = range(epochs * steps, recipe.epochs * steps, epochs * steps)
            rate = optim.multi_step(rate, falls, factor)
        tx = getattr(optim, recipe.optimizer)(rate, **recipe.options)
        params, state = recipe.start(seed, dtype)
        self.device = device
        self.versions = {"lucidfn": lf.__version__}
        self.state = self.put({"params": params, "state": state, "opt": tx.init(params)})
        self.train, self.test = compiled(recipe.model, tx)

    def put(self, batch: Any) -> Any:
        return lf.device_put(batch, self.device)

    def step(self, x: Any, y: Any) -> tuple[Any, Any]:
        self.state, loss, right = self.train(self.state, x, y)
        return loss, right

    def evaluate(self, x: Any, y: Any) -> tuple[Any, Any]:
        return self.test(self.state["params"], self.state["state"], x, y)

    def snapshot(self) -> Any:
        return self.state

    def restore(self, snapshot: Any) -> None:
        self.state = self.put(snapshot)


def compiled(model: nn.Layer, tx: optim.GradientTransformation) -> tuple[Any, Any]:
    """The compiled functions (state, x, y) -> (state, loss, right) and (params, state, x, y)."""

    def loss_fn(params: Any, state: Any, x: Any, y: Any) -> Any:
        logits, state = model.apply(params, state, x, train=True)
        return nn.losses.cross_entropy(logits, y), (state, count_right(logits, y))

    @partial(lf.jit, donate_argnums=0)
    def train(run: Any, x: Any, y: Any) -> Any:
        gradient = lf.value_and_grad(loss_fn, has_aux=True)
        (loss, (state, right)), grads = gradient(run["params"], run["state"], x, y)
        updates, opt = tx.update(grads, run["opt"], run["params"])
        params = optim.apply_updates(run["params"], updates)
        return {"params": params, "state": state, "opt": opt}, loss, right

    @lf.jit
    def test(params: Any, state: Any, x: Any, y: Any) -> Any:
        logits, _ = model.apply(params, state, x)
        return nn.losses.cross_entropy(logits, y, reduction="sum"), count_right(logits, y)

    return train, test


def count_right(logits: Any, y: Any) -> Any:
    return lnp.sum(lnp.argmax(logits, axis=-1) == y)


# ------------------------------------------------------------------ the record

class Record:
    """What a run has measured: of each step the loss and the right answers, and of each epoch all.

    Numbers stay on their device until they are asked for: a step need not wait for the one before.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None):
        saved = saved or {"losses": [], "right": [], "epochs": [], "seconds": 0.0}
        self._losses: list[Any] = list(saved["losses"])
        self._right: list[Any] = list(saved["right"])
        self._known = len(self._losses)
        self.epochs: list[dict[str, float]] = list(saved["epochs"])
        self.seconds = float(saved["seconds"])  # of the epoch that has begun

    def add(self, loss: Any, right: Any) -> None:
        self._losses.append(loss)
        self._right.append(right)

    @property
    def steps(self) -> int:
        return len(self._losses)

    @property
    def losses(self) -> list[float]:
        self._fetch()
        return self._losses

    def saved(self) -> dict[str, Any]:
        """As a tree of arrays and numbers, from which `Record` makes an equal one."""
        self._fetch()
        return {"losses": np.array(self._losses, "float64"), "right": np.array(self._right, int),
                "epochs": self.epochs, "seconds": self.seconds}

    def mean_since(self, step: int, batch_size: int, seen: int) -> tuple[float, float]:
        """(Loss, accuracy) over the steps since one, in which `seen` examples were seen."""
        self._fetch()
        # Each batch counts by its size: only the last one of an epoch may be smaller.
        losses = self._losses[step:]
        weights = [batch_size] * (len(losses) - 1) + [seen - batch_size * (len(losses) - 1)]
        total = math.fsum(w * loss for w, loss in zip(weights, losses, strict=True))
        return total / seen, sum(self._right[step:]) / seen

    def _fetch(self) -> None:
        for i in range(self._known, len(self._losses)):
            self._losses[i], self._right[i] = float(self._losses[i]), int(self._right[i])
        self._known = len(self._losses)


# ------------------------------------------------------------------ training


def train_epoch(learner: Learner, batches: Iterable[Any], record: Record,
                after: Callable[[], None] = lambda: None) -> None:
    """Learn from batches that `learner.put` made; `after` is called after each."""
    for x, y in batches:
        record.add(*learner.step(x, y))
        after()


def evaluate(learner: Learner, examples: data.Examples) -> tuple[float, float]:
    """(Mean loss, accuracy) over all examples."""
    sums = [learner.evaluate(*learner.put(batch))
            for batch in data.batches(None, examples, EVALUATED)]
    loss, right = (math.fsum(map(float, part)) for part in zip(*sums, strict=True))
    return loss / len(examples.y), right / len(examples.y)


def loaded(learner: Learner, recipe: Recipe, train: data.Examples, order: Any,
           start: int = 0) -> data.Loader:
    """The batches of all epochs from step `start` on, made ready in a background thread."""
    source = data.batches(order, tuple(train), recipe.batch_size, epochs=recipe.epochs, start=start)
    return data.Loader(map(learner.put, source))


def fit(learner: Learner, recipe: Recipe, train: data.Examples, test: data.Examples, order: Any,
        record: Record, save: Callable[[Record], None] = lambda record: None, every: int = 0,
        progress: bool = True, label: str = "") -> None:
    """Train to the last epoch of the recipe, from where the record ends.

    `save` is called after each epoch, and within it at each multiple of `every` steps; the time it
    takes is no one's epoch. `progress` shows a bar with running loss and accuracy, and a line for
    each epoch (for each tenth part of many).
    """
    n, size = len(train.y), recipe.batch_size
    steps = data.batch_count(n, size)
    bar = tqdm(total=recipe.epochs * steps, initial=record.steps, unit="batch",
               disable=not progress, dynamic_ncols=True)
    clock = perf_counter()

    def lap() -> None:
        nonlocal clock
        record.seconds, clock = record.seconds + perf_counter() - clock, perf_counter()

    def after() -> None:
        nonlocal clock
        done = record.steps % steps
        if bar.update() or not done:
            loss, accuracy = record.mean_since(record.steps - (done or steps), size,
                                               min(n, (done or steps) * size))
            bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.4f}", refresh=False)
        if every and done and record.steps % every == 0:
            lap()
            save(record)
            clock = perf_counter()

    with bar, loaded(learner, recipe, train, order, record.steps) as loader:
        batches = iter(loader)
        for epoch in range(record.steps // steps, recipe.epochs):
            bar.set_description(f"{label}{learner.name} {epoch + 1}/{recipe.epochs}", refresh=False)
            train_epoch(learner, islice(batches, steps - record.steps % steps), record, after)
            train_loss, train_accuracy = record.mean_since(epoch * steps, size, n)
            lap()
            trained = record.seconds
            test_loss, test_accuracy = evaluate(learner, test)
            lap()
            record.epochs.append({
                "epoch": epoch + 1, "train_loss": train_loss, "train_accuracy": train_accuracy,
                "test_loss": test_loss, "test_accuracy": test_accuracy,
                "train_seconds": trained, "seconds": record.seconds})
            record.seconds = 0.0
            save(record)
            clock = perf_counter()
            if progress and (epoch + 1) % max(1, recipe.epochs // 10) == 0:
                bar.write(line(record.epochs[-1], recipe.epochs))


def line(epoch: Mapping[str, float], epochs: int) -> str:
    return (f"  epoch {epoch['epoch']:{len(str(epochs))}d}  "
            f"train loss {epoch['train_loss']:.4f} accuracy {epoch['train_accuracy']:.4f}  "
            f"test loss {epoch['test_loss']:.4f} accuracy {epoch['test_accuracy']:.4f}  "
            f"{epoch['seconds']:.2f} s")


# ------------------------------------------------------------------ files

def replaced(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written beside and renamed when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        write(folder / path.name)
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
