"""Trains a classifier of handwritten digits: `python -m examples.digits`.

The model is a value of `nn`, the optimizer a pair of functions of `optim`; parameters and the state
of the optimizer are trees of arrays, and `lf.jit` compiles one step of training. Shows the
progress, a slice of the program of the gradient, and saves a figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import data, nn, optim, random

try:
    import matplotlib
    from tqdm import tqdm
except ImportError as error:
    sys.exit(f"this example needs {error.name}: pip install 'lucidfn[demo]'")

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

Params = dict[str, Any]
Batch = tuple[Any, Any]
State = dict[str, Any]

HIDDEN, BATCH, EPOCHS = 512, 64, 40
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.01

# A description without arrays; `model.init(key)` makes the parameters.
model = nn.Sequential(
    nn.Linear(64, HIDDEN), nn.relu, nn.Dropout(0.5),
    nn.Linear(HIDDEN, 10),
)


def predict(params: Params, x: Any, key: Any = None) -> Any:
    """Logits [N, 10] of pixels [N, 64]; a key turns on dropout."""
    logits, _ = model.apply(params, {}, x, train=key is not None, key=key)
    return logits


def loss_fn(params: Params, batch: Batch, key: Any = None) -> Any:
    """The mean over the batch of minus the log probability of the right digit."""
    x, y = batch
    return nn.losses.cross_entropy(predict(params, x, key), y)


@lf.jit
def accuracy(params: Params, batch: Batch) -> Any:
    x, y = batch
    return nn.metrics.accuracy(predict(params, x), y)


def optimizer(steps: int) -> optim.GradientTransformation:
    """AdamW whose learning rate falls along a cosine to zero at the last step."""
    return optim.adamw(optim.cosine_decay(LEARNING_RATE, steps), weight_decay=WEIGHT_DECAY)


def make_train_step(tx: optim.GradientTransformation) -> Callable[..., tuple[State, Any]]:
    """The compiled step: (state, batch, key) -> (new state, loss)."""

    @partial(lf.jit, donate_argnums=0)  # the memory of the old state holds the new one
    def train_step(state: State, batch: Batch, key: Any) -> tuple[State, Any]:
        loss, grads = lf.value_and_grad(loss_fn)(state["params"], batch, key)
        updates, opt = tx.update(grads, state["opt"], state["params"])
        return {"params": optim.apply_updates(state["params"], updates), "opt": opt}, loss

    return train_step


# Data, training, pictures.


def load(seed: int) -> tuple[Batch, Batch]:
    """The 1,797 digits, four fifths to train on and one fifth to test: pixels [N, 64], labels."""
    train, test = [(part.x.reshape(-1, 64).astype("float32") / 255, part.y)
                   for part in data.digits(seed=seed)]
    return train, test


def train(key: Any, examples: Batch, test: Batch,
          epochs: int) -> tuple[Params, dict[str, list[float]]]:
    init_key, key = random.split(key)
    params, _ = model.init(init_key)
    tx = optimizer(epochs * (len(examples[1]) // BATCH))
    train_step, state = make_train_step(tx), {"params": params, "opt": tx.init(params)}
    history: dict[str, list[float]] = {"loss": [], "train": [], "test": []}
    progress = tqdm(range(epochs), desc="training", unit="epoch", file=sys.stdout)
    for epoch in progress:
        order_key, dropout_key = random.split(random.fold_in(key, epoch))
        losses = []
        for i, batch in enumerate(data.batches(order_key, examples, BATCH, drop_last=True)):
            state, loss = train_step(state, batch, random.fold_in(dropout_key, i))
            losses.append(float(loss))
        history["loss"].append(float(np.mean(losses)))
        history["train"].append(float(accuracy(state["params"], examples)))
        history["test"].append(float(accuracy(state["params"], test)))
        progress.set_postfix(
            loss=f"{history['loss'][-1]:.4f}", test_accuracy=f"{history['test'][-1]:.3f}"
        )
    return state["params"], history


def print_program(params: Params, batch: Batch, head: int = 14, tail: int = 6) -> None:
    """The first and last lines of the program that computes the gradient."""
    lines = str(lf.make_ir(lf.grad(loss_fn))(params, batch)).splitlines()
    print(f"\nlf.make_ir(lf.grad(loss_fn))(params, batch): {len(lines)} lines")
    if len(lines) <= head + tail:
        head = len(lines)
    print("\n".join(lines[:head]))
    if lines[head:]:
        print(f"    ... {len(lines) - head - tail} more ...")
        print("\n".join(lines[-tail:]))
    print()


def draw(params: Params, history: dict[str, list[float]], test: Batch, path: Path) -> None:
    """Loss and accuracy by epoch, and test digits with their prediction: wrong ones first, red."""
    x, y = test
    predicted = np.asarray(lnp.argmax(predict(params, x), axis=-1))
    shown = np.argsort(predicted == y, kind="stable")[:24]
    figure = plt.figure(figsize=(11, 5.6), layout="constrained")
    curves, pictures = figure.subfigures(1, 2, width_ratios=[1, 1.2])

    upper, lower = curves.subplots(2, 1, sharex=True)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e8e8e8", linewidth=0.8)
    epochs = np.arange(1, len(history["loss"]) + 1)
    upper.semilogy(epochs, history["loss"], color="#b03a2e")
    upper.set_title("training loss")
    lower.plot(epochs, history["train"], color="#8a8a8a", label="train")
    lower.plot(epochs, history["test"], color="#1f618d", label="test")
    lower.set_title(f"accuracy (test {history['test'][-1]:.3f})")
    lower.set_xlabel("epoch")
    lower.set_ylim(max(0.0, min(history["test"]) - 0.02), 1.005)
    lower.legend(loc="lower right", frameon=False)

    wrong = int(np.sum(predicted != y))
    pictures.suptitle(f"test digits: {wrong} of {len(y)} predicted wrongly (red)")
    for axes, i in zip(pictures.subplots(4, 6).flat, shown, strict=True):
        right = predicted[i] == y[i]
        axes.imshow(x[i].reshape(8, 8), cmap="gray_r")
        label = f"{predicted[i]}" if right else f"{predicted[i]}, is {y[i]}"
        axes.set_title(label, fontsize=10, color="black" if right else "red")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#cccccc" if right else "red")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="train a classifier of handwritten digits")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("figures/digits.png"))
    options = parser.parse_args()

    examples, test = load(options.seed)
    print(f"{len(examples[1])} digits to train on, {len(test[1])} to test, {HIDDEN} hidden units")
    nn.summary(model, (1, 64), show=True)
    start = perf_counter()
    params, history = train(random.key(options.seed), examples, test, options.epochs)
    seconds = perf_counter() - start
    print(f"test accuracy {history['test'][-1]:.4f} after {seconds:.1f} s of training")

    print_program(params, tuple(part[:BATCH] for part in examples))
    draw(params, history, test, options.figure)
    print(f"saved {options.figure}: loss, accuracy and example predictions")


if __name__ == "__main__":
    main()
