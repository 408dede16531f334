"""The figure of an experiment: loss and accuracy by epoch, one colour for each framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.training import replaced

try:
    import matplotlib
except ImportError as error:
    raise SystemExit(f"this example needs {error.name}: pip install 'lucidfn[demo]'") from None

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter  # noqa: E402

# Under ours, the other curve stays visible where both lie on each other: it is broad and light.
STYLES = {
    "torch": {"color": "#f0a05a", "linewidth": 5.0, "alpha": 0.75},
    "lucidfn": {"color": "#1f4e79", "linewidth": 1.6},
}
GREY = "#5f6670"


def draw(histories: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Both panels from the histories of an experiment, as PNG; a stand-in is named in the title."""
    histories = sorted(histories, key=lambda h: list(STYLES).index(h["framework"]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for history in histories:
        curves(left, history, "loss")
        curves(right, history, "accuracy")
    finish(left, "loss")
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    finish(right, "accuracy")
    data = histories[0]["data"]
    figure.suptitle(f"{histories[0]['experiment']} on {data['name']}\n", fontsize=14,
                    color="#b03a2e" if data["stand_in"] else "#222222")
    figure.text(0.5, 0.915, subtitle(data), ha="center", va="center", fontsize=10, color=GREY)
    replaced(path, lambda beside: figure.savefig(beside, format="png", dpi=130))
    plt.close(figure)


def subtitle(data: Mapping[str, Any]) -> str:
    counts = f"{data['train']:,} images to train on, {data['test']:,} to test"
    return f"{data['stand_in']}: {counts}" if data["stand_in"] else counts


def curves(axes: Any, history: Mapping[str, Any], what: str) -> None:
    """Of each epoch the test result, and dashed what was measured while it was trained."""
    epochs, name = history["epochs"], history["framework"]
    at = [epoch["epoch"] for epoch in epochs]
    style = STYLES[name]
    if what == "loss":
        batch_losses(axes, history)
    train, test = ([np.nan if e[f"{part}_{what}"] is None else e[f"{part}_{what}"] for e in epochs]
                   for part in ("train", "test"))
    marker = "o" if len(at) == 1 else None
    label = f"{name} test ({test[-1]:.4f} at the end)" if epochs else name
    axes.plot(at, test, label=label, marker=marker, **style)
    axes.plot(at, train, linestyle=(0, (3, 1.6)), marker=marker, label=f"{name} train",
              **style | {"linewidth": 0.75 * style["linewidth"]})


def batch_losses(axes: Any, history: Mapping[str, Any]) -> None:
    """The losses of the steps, faint, where they fall within the epochs."""
    losses = np.array([np.nan if x is None else x for x in history["batch_losses"]], float)
    at = (np.arange(len(losses)) + 1) / history["steps_per_epoch"]
    style = STYLES[history["framework"]]
    axes.plot(at, losses, color=style["color"], linewidth=style["linewidth"] / 3, alpha=0.25,
              zorder=1)


def finish(axes: Any, what: str) -> None:
    axes.set_title(what, fontsize=11, color=GREY)
    axes.set_xlabel("epoch", color=GREY)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b8bdc4")
    axes.tick_params(which="both", colors=GREY)
    axes.grid(color="#eceef0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
