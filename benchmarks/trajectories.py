"""Loss curves that lie on PyTorch's: `python -m benchmarks.trajectories`.

Both libraries run the recipes of the examples, on the same batches and from the same weights: those
of a PyTorch module, whose state dict `lucidfn.models` converts. What is reported is the distance of
the losses, step by step, relative to PyTorch's, and that of the weights and running statistics
after the last step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.in_torch import LAST
from benchmarks.workloads import Arrays
from examples import lenet5_mnist, resnet18_cifar10
from examples.in_torch import Torch
from examples.shapes import coloured_shapes
from examples.training import Learner, Lucidfn, Recipe
from lucidfn import data, io, models

RESULTS = Path(__file__).parent / "results"
Batches = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Course:
    """A training that both do: a recipe, its first batches, and how PyTorch's weights are read.

    `bars` are the largest relative distances of the losses, by dtype. Where float32 holds them for
    the first `strict` steps only, later ones are measured against what the layout of images does
    to PyTorch itself: see `Comparison.allowed`.
    """

    name: str
    title: str
    recipe: Recipe
    convert: Callable[[dict[str, Any]], tuple[Any, Any]]
    examples: Callable[[], tuple[np.ndarray, np.ndarray]]
    steps: int
    bars: dict[str, float]
    strict: int | None = None

    def batches(self, steps: int, dtype: str) -> Batches:
        x, y = self.examples()
        found = data.batches(self.recipe.order(0), (x.astype(dtype), y), self.recipe.batch_size,
                             drop_last=True, epochs=None)
        return list(islice(found, steps))


def digits() -> tuple[np.ndarray, np.ndarray]:
    train, _ = data.digits(size=28)
    return np.asarray(data.normalize(train.x, *data.CONSTANTS["mnist"])), train.y


def shapes() -> tuple[np.ndarray, np.ndarray]:
    train, _ = coloured_shapes(train=640, test=10)
    return np.asarray(data.normalize(train.x, *data.CONSTANTS["cifar10"])), train.y


COURSES = [
    Course(
        "lenet", "LeNet-5, 28x28 digits, batch 128, SGD with momentum",
        lenet5_mnist.RECIPE, models.lenet5_from_torch, digits,
        steps=400, bars={"float32": 1e-4, "float64": 1e-9},
    ),
    Course(
        "resnet", "ResNet-18, coloured shapes, batch 32, Adam with L2",
        replace(resnet18_cifar10.RECIPE, batch_size=32),
        lambda start: models.resnet18_from_torch(start)[1:], shapes,
        # Adam's first step divides by gradients that are nearly 0. After it the float32 losses of
        # PyTorch itself are 1e-4 to 4e-4 from its float64 ones, and 1e-4 to 2e-3 from those of its
        # other layout: 1e-4 is held from some starts and missed from others.
        steps=20, bars={"float32": 1e-4, "float64": 1e-8}, strict=2,
    ),
]  # fmt: skip


# ------------------------------------------------------------------ the two libraries

@dataclass
class Run:
    """The loss before each step, and what the last step left, by PyTorch's names."""

    losses: np.ndarray
    weights: Arrays


def run_torch(course: Course, dtype: str, batches: Batches, layout: Any = None) -> Run:
    """The training in PyTorch, in its default layout of images or in channels_last."""
    learner = Torch(course.recipe, 0, len(batches), dtype)
    if layout is not None:
        learner.model.to(memory_format=layout)
    losses = losses_of(learner, batches, f"torch {dtype}")
    return Run(losses, {name: w.numpy() for name, w in learner.model.state_dict().items()})


def run_ours(course: Course, dtype: str, batches: Batches) -> Run:
    """The same training in lucidfn."""
    recipe = course.recipe
    learner = Lucidfn(recipe, 0, len(batches), dtype)
    params, state = course.convert(Torch(recipe, 0, len(batches), dtype).model.state_dict())
    learner.restore(learner.snapshot() | {"params": params, "state": state})
    losses = losses_of(learner, batches, f"lucidfn {dtype}")
    after = learner.snapshot()
    return Run(losses, io.to_torch(recipe.model, after["params"], after["state"],
                                   flatten=recipe.flatten))


def losses_of(learner: Learner, batches: Batches, label: str) -> np.ndarray:
    shown = tqdm(batches, label, unit="step", leave=False, disable=not sys.stderr.isatty())
    return np.array([float(learner.step(*learner.put(batch))[0]) for batch in shown])


# ------------------------------------------------------------------ the distance

@dataclass
class Comparison:
    """Both runs of a course; `other` is PyTorch's in channels_last, where that is measured."""

    course: Course
    dtype: str
    ours: Run
    theirs: Run
    other: Run | None = None

    @property
    def gaps(self) -> np.ndarray:
        """The distance of the losses, relative to PyTorch's, step by step."""
        return gaps(self.ours, self.theirs)

    @property
    def allowed(self) -> np.ndarray:
        """How large each gap may be.

        In float32 and beyond the strict steps: twice the gap between PyTorch's two layouts in the
        same run, at its largest. Step by step it says nothing: rounding grows as in any chaotic
        system, and a gap passes through 0 whenever the losses cross.
        """
        out = np.full(len(self.theirs.losses), self.course.bars[self.dtype])
        late = slice(self.course.strict, None)
        if self.layouts is not None:
            out[late] = 2 * np.max(self.layouts[late], initial=0.0)
        return out

    @property
    def layouts(self) -> np.ndarray | None:
        """The distance between PyTorch's two layouts of images, where it is measured."""
        return None if self.other is None else gaps(self.other, self.theirs)

    @property
    def drift(self) -> dict[str, float]:
        """For weights and running statistics the largest distance, relative to each array's."""
        found: dict[str, float] = {}
        for name, theirs in self.theirs.weights.items():
            kind = "running statistics" if "running" in name else "weights"
            if theirs.dtype.kind == "f":
                distance = np.abs(self.ours.weights[name] - theirs).max() / np.abs(theirs).max()
                found[kind] = max(found.get(kind, 0.0), float(distance))
        return found

    @property
    def faults(self) -> list[str]:
        """What is further away than its bar."""
        far = np.flatnonzero(~(self.gaps <= self.allowed))
        out = [f"step {i + 1}: {self.gaps[i]:.1e} > {self.allowed[i]:.1e}" for i in far[:1]]
        drift = self.drift.get("running statistics", 0.0)
        if self.dtype == "float64" and not drift <= self.course.bars[self.dtype]:
            out.append(f"running statistics: {drift:.1e} > {self.course.bars[self.dtype]:.1e}")
        return out


def gaps(run: Run, reference: Run) -> np.ndarray:
    return np.abs(run.losses - reference.losses) / np.abs(reference.losses)


def compare(course: Course, dtype: str, steps: int | None = None) -> Comparison:
    """Trains in both libraries, for the steps of the course unless told otherwise."""
    batches = course.batches(steps or course.steps, dtype)
    theirs = run_torch(course, dtype, batches)
    twice = course.strict is not None and dtype == "float32"
    other = run_torch(course, dtype, batches, LAST) if twice else None
    return Comparison(course, dtype, run_ours(course, dtype, batches), theirs, other)


# ------------------------------------------------------------------ the report

def shown_steps(count: int) -> list[int]:
    """Ten steps or fewer of 0, 1, ..., the first and the last among them."""
    wanted = [1, 2, 3, 5, 10, 20, 50, 100, 200, 400]
    return sorted({s - 1 for s in wanted if s <= count} | {count - 1})


def table(found: Comparison) -> str:
    """The losses of some steps, and the verdict."""
    e, gap, allowed = found.course, found.gaps, found.allowed
    lines = [f"{e.title}, {found.dtype}",
             f"{'step':>6}{'torch':>14}{'lucidfn':>14}{'distance':>10}{'allowed':>10}"
             + ("" if found.layouts is None else f"{'layouts':>10}")]
    lines += [f"{s + 1:6d}{found.theirs.losses[s]:14.8f}{found.ours.losses[s]:14.8f}"
              f"{gap[s]:10.1e}{allowed[s]:10.1e}"
              + ("" if found.layouts is None else f"{found.layouts[s]:10.1e}")
              for s in shown_steps(len(gap))]
    worst = int(np.argmax(gap))
    lines.append(f"furthest at step {worst + 1}: {gap[worst]:.1e}; in the end: " + ", ".join(
        f"{name} {value:.1e}" for name, value in found.drift.items()))
    lines.append("; ".join(["MISSED", *found.faults]) if found.faults else "ok")
    return "\n".join(lines)


def draw(found: list[Comparison], path: Path) -> None:
    """A column for each comparison: both losses above, their distance and the bar below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, len(found), figsize=(4.2 * len(found), 6), sharex="col",
                                squeeze=False, layout="constrained")
    for (upper, lower), one in zip(grid.T, found, strict=True):
        steps = np.arange(1, len(one.gaps) + 1)
        upper.plot(steps, one.theirs.losses, color="#b03a2e", linewidth=3, alpha=0.5, label="torch")
        upper.plot(steps, one.ours.losses, color="#1f618d", linewidth=1, label="lucidfn")
        upper.set_title(f"{one.course.title.split(',')[0]}, {one.dtype}")
        least = np.finfo(one.dtype).eps / 4  # where losses are equal, for a logarithmic axis
        lower.semilogy(steps, np.maximum(one.gaps, least), color="#1f618d", label="lucidfn")
        if one.layouts is not None:
            lower.semilogy(steps, np.maximum(one.layouts, least), color="#8a8a8a",
                           label="torch channels_last")
        lower.semilogy(steps, one.allowed, color="black", linestyle=":", label="bar")
        lower.set_xlabel("step")
        for axes in (upper, lower):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#e8e8e8", linewidth=0.8)
            axes.legend(frameon=False)
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("relative distance from torch")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def arguments() -> argparse.Namespace:
    known = [e.name for e in COURSES]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trajectories", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{' or '.join(known)} "
                        "(default: both)")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="default: both")
    parser.add_argument("--steps", type=int, help="steps of training (default: 400 and 20)")
    parser.add_argument("--figure", type=Path, default=RESULTS / "trajectories.png",
                        help="where the figure goes (default: %(default)s)")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no course {', '.join(unknown)}; there are: {', '.join(known)}")
    if options.steps is not None and options.steps < 1:
        parser.error(f"--steps {options.steps}: at least 1 is needed")
    return options


def main() -> int:
    options = arguments()
    found = []
    for course in COURSES:
        for dtype in [options.dtype] if options.dtype else ["float32", "float64"]:
            if not options.names or course.name in options.names:
                found.append(compare(course, dtype, options.steps))
                print(table(found[-1]), end="\n\n", flush=True)
    draw(found, options.figure)
    print(f"saved {options.figure}")
    return int(any(one.faults for one in found))


if __name__ == "__main__":
    sys.exit(main())
