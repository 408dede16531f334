"""`Checkpointer`: a folder of checkpoints, of which the last few and the best are kept."""

from __future__ import annotations

import math
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from lucidfn.backends.numpy.threads import thread_count
from lucidfn.errors import CorruptFileError
from lucidfn.io.files import load, save

NAME = re.compile(r"step-(\d{10,})\.safetensors")
LEFT_OVER = re.compile(r"\.step-\d{10,}\.safetensors\.\d+\.[0-9a-f]+\.tmp")


class Checkpoint(NamedTuple):
    """What `Checkpointer.restore` gives: the tree, its step, and its score if it has one."""

    step: int
    tree: Any
    score: float | None


class Checkpointer:
    """Checkpoints in a folder: `save(step, tree)` while training, `restore()` to go on.

    The `keep` last ones and the one of the best score ("max" or "min") stay, older ones are
    deleted. Each is a file of its own that takes its name when it is whole and on the disk, and
    nothing is deleted before: after a kill at any moment, `restore` finds the last complete one.
    Save everything that the next step depends on: parameters, state, optimizer state, the key. One
    process at a time writes to a folder.

    >>> import lucidfn as lf, lucidfn.numpy as lnp, tempfile
    >>> checkpoints = lf.io.Checkpointer(tempfile.mkdtemp(), keep=2)
    >>> for step in range(5):
    ...     _ = checkpoints.save(step, {"w": lnp.full(3, step, 'float32')}, score=-abs(step - 1))
    >>> checkpoints.steps, checkpoints.best_step
    ([1, 3, 4], 1)
    >>> checkpoints.restore().tree
    {'w': Array([4., 4., 4.], dtype=float32)}
    """

    def __init__(self, folder: Any, keep: int = 3, *, best: str = "max"):
        if type(keep) is not int or keep < 1:
            raise ValueError(f"keep must be the number of checkpoints to keep, got {keep!r}")
        if best not in ("max", "min"):
            raise ValueError(f"best must be 'max' or 'min' (of the scores), got {best!r}")
        self.folder, self.keep, self.best = Path(folder), keep, best
        self._scores: dict[int, float | None] = {}
        self._damaged: set[int] = set()
        self._clean = False

    def __repr__(self) -> str:
        return f"Checkpointer({str(self.folder)!r}, keep={self.keep}, best={self.best!r})"

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step:010d}.safetensors"

    @property
    def steps(self) -> list[int]:
        """The steps that have a file, in order."""
        if not self.folder.is_dir():
            return []
        found = (NAME.fullmatch(name) for name in os.listdir(self.folder))
        return sorted({int(m[1]) for m in found if m})

    @property
    def last_step(self) -> int | None:
        """The last step that has a file."""
        return max(self.steps, default=None)

    @property
    def best_step(self) -> int | None:
        """The step of the best score, the later one of equals; None where none has a score."""
        sign = 1 if self.best == "max" else -1
        scored = [(sign * score, step) for step in self.steps
                  if (score := self.score(step)) is not None and not math.isnan(score)]
        return max(scored)[1] if scored else None

    def score(self, step: int) -> float | None:
        """The score of a step, read from the header of its file."""
        if step not in self._scores:
            try:
                self._scores[step] = load(self.path(step), paths="score")
            except (OSError, ValueError, KeyError):  # damaged: no candidate
                self._scores[step] = None
        return self._scores[step]

    def save(self, step: int, tree: Any, *, score: Any = None) -> Path:
        """Write a checkpoint, then delete those that are neither among the last nor the best.

        `score` is a number to choose the best by. Returns the file's path. ValueError where the
        folder has a later step: a run that goes back needs a folder of its own.
        """
        if type(step) is not int or step < 0:
            raise ValueError(f"step must be a count of steps, got {step!r}: pass int(step)")
        later = [s for s in self.steps if s > step and s not in self._damaged]
        if later:
            raise ValueError(
                f"step {step} cannot be saved: {self.folder} has step {later[-1]}, from which a "
                "run would be resumed. Continue from there (restore), or use another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._clean:  # by the writer only: a reader must not disturb one
            for name in filter(LEFT_OVER.fullmatch, os.listdir(self.folder)):
                (self.folder / name).unlink(missing_ok=True)
            self._clean = True
        score = None if score is None else float(score)
        save(self.path(step), {"step": step, "score": score, "threads": thread_count(),
                               "tree": tree})
        self._scores[step] = score
        self._damaged.discard(step)
        self._delete()
        return self.path(step)

    def _delete(self) -> None:
        sound = [s for s in self.steps if s not in self._damaged]
        kept = {*sound[-self.keep:], self.best_step}
        for step in self.steps:
            if step not in kept:
                self.path(step).unlink(missing_ok=True)

    def restore(self, step: int | str = "last", *, like: Any = None,
                device: Any = None) -> Checkpoint | None:
        """The last checkpoint, the "best", or that of a step; None where the folder has none.

        A damaged last one is left out with a warning. `like` and `device` are as for `load`. A run
        resumed with another number of threads may differ from the uninterrupted one in the last
        bits, and warns.
        FileNotFoundError for a step that is not there.
        """
        if step == "last":
            return self._restore_last(like, device)
        if step == "best":
            step = self.best_step  # type: ignore[assignment]
            if step is None:
                return None
        if type(step) is not int:
            raise ValueError(f"step must be 'last', 'best' or a number, got {step!r}")
        if not self.path(step).exists():
            raise FileNotFoundError(f"{self.folder} has no checkpoint of step {step}; it has "
                                    f"{self.steps}")
        return self._read(step, like, device)

    def _restore_last(self, like: Any, device: Any) -> Checkpoint | None:
        faults = []
        for step in reversed(self.steps):
            try:
                return self._read(step, like, device)
            except FileNotFoundError:  # deleted meanwhile by the process that writes
                continue
            except CorruptFileError as error:
                self._damaged.add(step)
                faults.append(error)
                warnings.warn(f"{error}; an earlier checkpoint is tried", stacklevel=3)
        if faults:
            raise CorruptFileError(f"no checkpoint in {self.folder} can be read; {faults[0]}")
        return None

    def _read(self, step: int, like: Any, device: Any) -> Checkpoint:
        path = self.path(step)
        about = load(path, paths=["step", "score", "threads"])
        tree = load(path, like, paths="tree", device=device)
        if about["threads"] != thread_count():
            warnings.warn(
                f"{path} was written with {about['threads']} threads, and this process uses "
                f"{thread_count()}: the run may differ from the uninterrupted one in the last bits "
                f"(lf.config.num_threads = {about['threads']}, or LUCIDFN_NUM_THREADS in the "
                "environment, and OMP_NUM_THREADS as it was)", stacklevel=4)
        return Checkpoint(about["step"], tree, about["score"])


__all__ = ["Checkpoint", "Checkpointer"]
