"""The command of an experiment: arguments, data or their stand-in, runs, and what is written.

    out/lucidfn/history.json    what was measured        out/curves.png   both frameworks
    out/lucidfn/checkpoints/    what --resume needs      out/torch/...    the same

With several seeds, each has a folder of its own, `out/seed-0` and so on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import lucidfn as lf
from examples.figures import draw
from examples.training import Learner, Lucidfn, Recipe, Record, fit, replaced
from lucidfn import data, tree

History = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """An experiment: its recipe, its data and their stand-in, and defaults of the command.

    `real` takes the arguments of `data.mnist`; pixels are normalised with `constants`, those of the
    stand-in too. `demo` are the arguments that --demo stands for.
    """

    name: str
    title: str
    recipe: Recipe
    dataset: str  # as people call it
    real: Callable[..., data.Dataset]
    constants: data.Constants
    stand_in: Callable[[], data.Dataset]
    stand_in_is: str
    checkpoint_every: int = 0
    demo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """The examples of a run, and what outputs say of them."""

    name: str
    stand_in: str | None  # what it is, where it is one
    train: data.Examples
    test: data.Examples

    def about(self) -> dict[str, Any]:
        return {"name": self.name, "stand_in": self.stand_in, "train": len(self.train.y),
                "test": len(self.test.y)}

    def __str__(self) -> str:
        """As headings say it."""
        return self.name + (f" ({self.stand_in})" if self.stand_in else "")


# ------------------------------------------------------------------ arguments

def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of an argument that is a number above zero."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
        return value

    return parse


def device(text: str) -> str:
    """The type of an argument that names a device of this machine."""
    try:
        return lf.devices(text)[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def arguments(experiment: Experiment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m examples.{experiment.name}",
                                     description=f"{experiment.title} on {experiment.dataset}.")
    about_data(parser.add_argument_group("data").add_argument, experiment)
    about_training(parser.add_argument_group("training").add_argument, experiment.recipe)
    about_output(parser.add_argument_group("output").add_argument, experiment)
    if experiment.demo:
        said = " ".join(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
                        for name, value in experiment.demo.items())
        parser.add_argument("--demo", action="store_true", help=f"the same as {said}")
    return parser


def about_data(add: Callable[..., Any], experiment: Experiment) -> None:
    add("--data", type=Path, metavar="FOLDER",
        help="where the published files are; else the cache, or a download to it")
    add("--download", action="store_true", help="fetch what is missing in FOLDER")
    add("--offline", action="store_true", help="never connect")
    add("--stand-in", action="store_true",
        help=f"train on the stand-in: {experiment.stand_in_is}. Without FOLDER it is also used "
             "where the data is not here and cannot be fetched")
    add("--train-limit", type=positive(int), metavar="N", help="use the first N training images")
    add("--test-limit", type=positive(int), metavar="N", help="use the first N testing images")


def about_training(add: Callable[..., Any], recipe: Recipe) -> None:
    add("--framework", choices=["lucidfn", "torch", "both"], default="lucidfn",
        help="both: from the same weights, with the same batches (default: lucidfn)")
    add("--epochs", type=positive(int), default=recipe.epochs, metavar="N",
        help="passes over the training images (default: %(default)s)")
    add("--batch-size", type=positive(int), default=recipe.batch_size, metavar="N",
        help="images of a step (default: %(default)s)")
    add("--lr", type=positive(float), default=recipe.learning_rate, metavar="RATE",
        help="the learning rate, at the start (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the weights and of the batches (default: 0)")
    add("--seeds", type=positive(int), default=1, metavar="N", help="run N of them, from SEED on")
    add("--device", type=device, default="cpu",
        help=f"where arrays live: {', '.join(lf.devices())} (default: cpu)")
    add("--dtype", choices=["float32", "float64"], default="float32",
        help="of weights and images (default: float32)")


def about_output(add: Callable[..., Any], experiment: Experiment) -> None:
    add("--out", type=Path, metavar="FOLDER",
        help=f"default: runs/{experiment.name}, with -stand-in for one")
    add("--resume", action="store_true", help="go on from the last checkpoints, bit for bit")
    add("--fresh", action="store_true", help="delete the checkpoints that are there, and start")
    add("--checkpoint-every", type=int, metavar="STEPS", default=experiment.checkpoint_every,
        help="within an epoch too; 0: only after each (default: %(default)s)")
    add("--quiet", action="store_true", help="no progress bars")


def parsed(experiment: Experiment, parser: argparse.ArgumentParser,
           argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser.parse_args(argv)
    if experiment.demo and options.demo:
        parser.set_defaults(**experiment.demo)
        options = parser.parse_args(argv)
    for one, other in (("resume", "fresh"), ("stand_in", "data"), ("stand_in", "download"),
                       ("stand_in", "offline"), ("download", "offline")):
        if getattr(options, one) and getattr(options, other):
            parser.error(f"--{one.replace('_', '-')} and --{other} contradict each other: leave "
                         "one of them out")
    if options.download and options.data is None:
        parser.error("--download fetches into a folder: give it with --data FOLDER (without both, "
                     "files are fetched into the cache)")
    if options.framework != "lucidfn" and options.device not in ("cpu", "gpu"):
        parser.error(f"--device {options.device} is of lucidfn only; --framework "
                     f"{options.framework} takes cpu or gpu")
    if options.checkpoint_every < 0:
        parser.error(f"--checkpoint-every must be 0 or more, got {options.checkpoint_every}")
    return options


# ------------------------------------------------------------------ data

def load(experiment: Experiment, options: argparse.Namespace) -> Loaded:
    """The data set, or where it cannot be had its stand-in. DataError for a FOLDER without it."""
    found = None
    if not options.stand_in:
        allowed = {"download": True} if options.download else (
            {"download": False} if options.offline else {})
        try:
            found = experiment.real(options.data, mmap=options.data is None,
                                    progress=not options.quiet, **allowed)
        except data.DataError as error:
            if options.data is not None:
                raise
            print(f"{experiment.dataset} cannot be had: {str(error).splitlines()[0].rstrip(':')}")
    name, stand_in = experiment.dataset, None
    if found is None:
        name, stand_in = f"STAND-IN for {experiment.dataset}", experiment.stand_in_is
        found = experiment.stand_in()

    def normalised(part: data.Examples, limit: int | None) -> data.Examples:
        x = part.x[:limit].astype(options.dtype)  # in place: those of CIFAR are large
        x /= 255
        x -= np.asarray(experiment.constants.mean, options.dtype)
        x /= np.asarray(experiment.constants.std, options.dtype)
        return data.Examples(x, part.y[:limit])

    return Loaded(name, stand_in, normalised(found.train, options.train_limit),
                  normalised(found.test, options.test_limit))


# ------------------------------------------------------------------ runs

def learner_of(framework: str) -> type:
    if framework == "lucidfn":
        return Lucidfn
    try:
        return importlib.import_module("examples.in_torch").Torch
    except ImportError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        raise SystemExit("--framework torch needs PyTorch: pip install 'lucidfn[peers]'") from None


def settings_of(recipe: Recipe, loaded: Loaded, options: argparse.Namespace,
                seed: int) -> dict[str, Any]:
    """All that a run depends on but the number of epochs, which a resumed run may change."""
    return {"data": loaded.about(), "seed": seed, "dtype": options.dtype, "device": options.device,
            "optimizer": recipe.optimizer, **recipe.options,
            "learning_rate": recipe.learning_rate, "batch_size": recipe.batch_size,
            "step_lr": None if recipe.step_lr is None else list(recipe.step_lr)}


def restored(checkpoints: lf.Checkpointer, learner: Learner, settings: dict[str, Any],
             last: int) -> Record:
    """The record of the last checkpoint, to which the learner goes back; a new one without."""
    found = checkpoints.restore()
    if found is None:
        return Record()
    theirs = found.tree["settings"]
    differ = [f"{name} {theirs.get(name)!r}, not {value!r}" for name, value in settings.items()
              if theirs.get(name) != value]
    if differ:
        raise SystemExit(f"--resume: the run in {checkpoints.folder} has {'; '.join(differ)}. Give "
                         "it the same arguments, or another --out")
    if found.step > last:
        raise SystemExit(f"--resume: the run in {checkpoints.folder} is at step {found.step}, and "
                         f"the epochs asked for end at {last}. Give more --epochs, or --fresh")
    learner.restore(found.tree["learner"])
    return Record(found.tree["record"])


def run(experiment: Experiment, recipe: Recipe, loaded: Loaded, options: argparse.Namespace,
        kind: type, seed: int, folder: Path) -> History:
    """Train one kind of learner, from the start or from a checkpoint."""
    steps = data.batch_count(len(loaded.train.y), recipe.batch_size)
    learner = kind(recipe, seed, steps, options.dtype, options.device)
    settings = settings_of(recipe, loaded, options, seed)
    checkpoints = lf.Checkpointer(folder / "checkpoints", keep=2)
    last = recipe.epochs * steps
    record = restored(checkpoints, learner, settings, last) if options.resume else Record()
    if record.steps:
        print(f"{learner.name}: from step {record.steps} of {last}")

    def history() -> History:
        return {"experiment": experiment.title, "framework": learner.name,
                "versions": learner.versions | {"numpy": np.__version__,
                                                "python": platform.python_version()},
                **settings, "parameters": count_of(recipe), "steps_per_epoch": steps,
                "epochs": record.epochs, "batch_losses": record.losses}

    def save(record: Record) -> None:
        whole = record.steps % steps == 0
        tree = {"settings": settings, "learner": learner.snapshot(), "record": record.saved()}
        checkpoints.save(record.steps, tree,
                         score=record.epochs[-1]["test_accuracy"] if whole else None)
        if whole:
            write_json(folder / "history.json", history())

    label = "STAND-IN " * bool(loaded.stand_in) + f"seed {seed} " * (options.seeds > 1)
    try:
        fit(learner, recipe, loaded.train, loaded.test, recipe.order(seed), record, save,
            options.checkpoint_every, not options.quiet, label)
    except KeyboardInterrupt:
        raise SystemExit(f"\nstopped; --resume goes on from step {checkpoints.last_step or 0}"
                         ) from None
    return history()


def count_of(recipe: Recipe) -> int:
    shapes, _ = lf.eval_shape(recipe.model.init, lf.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in tree.leaves(shapes))


def write_json(path: Path, value: History) -> None:
    """A line for each entry, and for each epoch."""

    def text(entry: Any) -> str:
        if isinstance(entry, list) and entry and isinstance(entry[0], dict):
            return "[\n  " + ",\n  ".join(map(json.dumps, entry)) + "\n ]"
        return json.dumps(entry)

    rows = ",\n".join(f' "{name}": {text(entry)}' for name, entry in finite(value).items())
    replaced(path, lambda beside: beside.write_text(f"{{\n{rows}\n}}\n"))


def finite(value: Any) -> Any:
    """JSON has no word for infinity and what is no number: None stands for both."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clear(folders: Sequence[Path], options: argparse.Namespace) -> None:
    """No run begins where another one has its checkpoints."""
    for checkpoints in (lf.Checkpointer(folder / "checkpoints") for folder in folders):
        if options.resume or not checkpoints.steps:
            continue
        if not options.fresh:
            raise SystemExit(f"{checkpoints.folder} has a run up to step {checkpoints.last_step}: "
                             "--resume goes on with it, --fresh deletes it, and --out takes "
                             "another folder")
        for step in checkpoints.steps:
            checkpoints.path(step).unlink()


# ------------------------------------------------------------------ the command

def main(experiment: Experiment, argv: Sequence[str] | None = None) -> list[History]:
    """Run the command of an experiment; the histories, by seed and framework."""
    parser = arguments(experiment)
    options = parsed(experiment, parser, argv)
    frameworks = ["lucidfn", "torch"] if options.framework == "both" else [options.framework]
    kinds = [learner_of(name) for name in frameworks]
    try:
        loaded = load(experiment, options)
    except data.DataError as error:
        parser.error(str(error).replace("download=True", "--download"))
    recipe = replace(experiment.recipe, epochs=options.epochs, batch_size=options.batch_size,
                     learning_rate=options.lr)
    out = options.out or Path("runs", experiment.name + "-stand-in" * bool(loaded.stand_in))
    seeds = range(options.seed, options.seed + options.seeds)
    homes = {seed: out / f"seed-{seed}" if options.seeds > 1 else out for seed in seeds}
    clear([home / name for home in homes.values() for name in frameworks], options)
    print(f"{experiment.title} on {loaded}: {count_of(recipe):,} parameters, "
          f"{len(loaded.train.y):,} images to train on, {len(loaded.test.y):,} to test, "
          f"{recipe.epochs} epochs")
    histories = []
    for seed in seeds:
        histories += [run(experiment, recipe, loaded, options, kind, seed, homes[seed] / kind.name)
                      for kind in kinds]
        draw(histories[-len(frameworks):], homes[seed] / "curves.png")
    report(histories, frameworks, loaded)
    print("saved", ", ".join(str(home / "curves.png") for home in homes.values()),
          "and the numbers as history.json in the folders beside")
    return histories


def report(histories: Sequence[History], frameworks: Sequence[str], loaded: Loaded) -> None:
    """A table: a row for each run, then their means."""
    print(f"\nat the end, on {loaded}\n"
          f"{'seed':>6}  {'framework':<10}{'test accuracy':>14}{'test loss':>11}{'s/epoch':>10}")
    for h in histories:
        last = h["epochs"][-1]
        seconds = statistics.median(e["seconds"] for e in h["epochs"])
        print(f"{h['seed']:>6}  {h['framework']:<10}{last['test_accuracy']:>14.4f}"
              f"{last['test_loss']:>11.4f}{seconds:>10.3f}")
    if len(histories) > len(frameworks):
        for name in frameworks:
            found = [h["epochs"][-1]["test_accuracy"] for h in histories if h["framework"] == name]
            print(f"{'mean':>6}  {name:<10}{statistics.mean(found):>14.4f}")
    if len(frameworks) > 1:
        print(f"largest difference of the loss of a batch: {difference(histories):.1e} relative")


def difference(histories: Sequence[History]) -> float:
    """Of the batch losses of both frameworks, by seed."""
    ours, theirs = (np.array([h["batch_losses"] for h in histories if h["framework"] == name])
                    for name in ("lucidfn", "torch"))
    return float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
