"""Runs the sides of a benchmark in processes of their own, in turns, and compares their medians.

A side is a function that prepares one contestant and returns a `Prepared`: how to take one timed
sample, and what the work computes. Each side keeps one process for all rounds, so that nobody pays
for another's threads or imports; in every round each side takes one sample, so that a slow moment
of the machine meets them all. Before any timing, what ours computes is compared with each peer.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np

OURS = "lucidfn"


@dataclass(frozen=True)
class Prepared:
    """sample() takes one timed sample in seconds; outputs() gives the arrays that are compared."""

    sample: Callable[[], float]
    outputs: Callable[[], list[Any]] = list
    note: Callable[[], str] = str


@dataclass(frozen=True)
class Against:
    """One comparison with a peer: `bar` must be held, `aim` is hoped for, None is information only.

    `how` is "ratio" (ours / peer), "excess" (ours - peer, in the benchmark's unit) or "absolute".
    `ours` names the side that is compared, where it is not the benchmark's own.
    """

    peer: str
    bar: float | None = None
    aim: float | None = None
    how: str = "ratio"
    ours: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """Sides by name, the comparisons to print, and how many rounds to take.

    Outputs in float64 on both sides are held to `exact` instead of `tolerance`; `environ` has
    variables to set for the processes of sides that need some. Those with
    a `device` run if that is chosen.
    """

    name: str
    title: str
    sides: dict[str, Callable[[], Prepared]]
    against: tuple[Against, ...]
    ours: str = OURS
    rounds: int = 15
    unit: str = "us"
    tolerance: float = 1e-5
    exact: float = 1e-7
    environ: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    device: str | None = None


@dataclass
class Row:
    """One line of the table: medians of both sides in `unit`; `problem` says why there are none."""

    benchmark: str
    title: str
    peer: str
    how: str
    unit: str
    bar: float | None = None
    aim: float | None = None
    ours: float | None = None
    theirs: float | None = None
    value: float | None = None
    spread: float | None = None
    problem: str | None = None
    note: str = ""
    side: str | None = None  # the one of ours, where it is not the benchmark's own
    samples: dict[str, list[float]] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> str:
        if self.problem:
            return self.problem
        if self.value is None or self.bar is None:
            return ""
        if self.value > self.bar:
            return "MISSED"
        return "aim reached" if self.aim is not None and self.value <= self.aim else "ok"


SCALE = {"s": 1.0, "ms": 1e3, "us": 1e6, "MB": 1e-6}


def timed(call: Callable[[], Any], seconds: float = 0.01, repeat: int = 5) -> Callable[[], float]:
    """A sampler: the median of `repeat` runs, each of as many calls as fill `seconds`."""

    def batch(number: int) -> float:
        start = perf_counter()
        for _ in range(number):
            call()
        return (perf_counter() - start) / number

    call()  # compilation and first-use costs are not part of a call
    number = max(1, round(seconds / batch(max(1, round(seconds / 10 / batch(3))))))
    return lambda: median(batch(number) for _ in range(repeat))


def once(call: Callable[[], Any]) -> Callable[[], float]:
    """A sampler for work that is done from scratch each time: one call is one sample."""

    def sample() -> float:
        start = perf_counter()
        call()
        return perf_counter() - start

    return sample


def flatten(value: Any) -> list[Any]:
    """The leaves of nested tuples, lists and dicts, as NumPy arrays that can cross a pipe."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in flatten(item)]
    return [np.array(value)]


def serve(module: str, benchmark: str, side: str, pipe: Connection) -> None:
    """The process of one side: prepares it, then answers "outputs", "sample" and "note"."""
    try:
        known = {b.name: b for b in importlib.import_module(module).BENCHMARKS}
        prepared = known[benchmark].sides[side]()
        pipe.send(("ready", None))
        while (request := pipe.recv()) is not None:
            answer = flatten(prepared.outputs()) if request == "outputs" else None
            answer = prepared.sample() if request == "sample" else answer
            pipe.send(("ok", prepared.note() if request == "note" else answer))
    except ModuleNotFoundError as error:
        pipe.send(("missing", f"{error.name} not installed"))
    except Exception as error:  # the other sides still have something to say
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0][:80]))


class Side:
    """The parent's end of one side's process; after a failure `problem` says what happened."""

    def __init__(self, module: str, benchmark: Benchmark, name: str):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (module, benchmark.name, name, theirs)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        with variables(benchmark.environ.get(name, {})):
            self.process.start()
        theirs.close()
        self.problem: str | None = None
        self.samples: list[float] = []
        self.receive()

    def receive(self) -> Any:
        try:
            status, answer = self.pipe.recv()
        except EOFError:
            status, answer = "failed", "the process ended"
        self.problem = answer if status in ("missing", "failed") else None
        return answer

    def ask(self, request: str) -> Any:
        if self.problem:
            return None
        self.pipe.send(request)
        return self.receive()

    def close(self) -> None:
        if self.process.is_alive() and not self.problem:
            self.pipe.send(None)
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.terminate()


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that are set inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def disagreement(
    ours: list[Any], theirs: list[Any], tolerance: float, exact: float | None = None
) -> str | None:
    """What differs, or None; tolerances are relative to the largest entry of an output.

    `exact` is that of outputs which are float64 on both sides, if given.
    """
    if len(ours) != len(theirs):
        return f"WRONG: {len(ours)} outputs against {len(theirs)}"
    for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
        if x.shape != y.shape:
            return f"WRONG: output {i} has shape {x.shape} against {y.shape}"
        error = np.max(np.abs(x - y), initial=0.0) / max(np.max(np.abs(y), initial=0.0), 1e-30)
        double = x.dtype == y.dtype == np.float64 and exact is not None
        if not error <= (exact if double else tolerance):
            return f"WRONG: output {i} differs by {error:.1e}"
    return None


def run(module: str, benchmark: Benchmark, rounds: int | None = None) -> list[Row]:
    """Checks, then times all sides of a benchmark in turns: one row a comparison."""
    sides = {name: Side(module, benchmark, name) for name in benchmark.sides}
    try:
        wrong = check(benchmark, sides)
        for _ in range(rounds or benchmark.rounds):
            for name, side in sides.items():
                sample = None if wrong.get(name) else side.ask("sample")
                if sample is not None and not side.problem:
                    side.samples.append(sample)
        notes = sides[benchmark.ours].ask("note") or ""
        return [compare(benchmark, a, sides, wrong, notes) for a in benchmark.against]
    finally:
        for side in sides.values():
            side.close()


def check(benchmark: Benchmark, sides: dict[str, Side]) -> dict[str, str | None]:
    """What is wrong with each side, by what ours computes; the arrays are gone afterwards."""
    wrong: dict[str, str | None] = {}
    expected = sides[benchmark.ours].ask("outputs")
    for name, side in sides.items():
        outputs = expected if name == benchmark.ours else side.ask("outputs")
        if not side.problem and not sides[benchmark.ours].problem:
            wrong[name] = disagreement(expected, outputs, benchmark.tolerance, benchmark.exact)
    return wrong


def compare(
    benchmark: Benchmark,
    against: Against,
    sides: dict[str, Side],
    wrong: dict[str, str | None],
    note: str,
) -> Row:
    row = Row(
        benchmark.name, benchmark.title, against.peer, against.how, benchmark.unit,
        against.bar, against.aim, note=note, side=against.ours,
    )  # fmt: skip
    scale = SCALE[benchmark.unit]
    name = against.ours or benchmark.ours
    ours, peer = sides[name], sides[against.peer]
    row.samples = {name: ours.samples, against.peer: peer.samples}
    row.ours = median(ours.samples) * scale if ours.samples else None
    row.theirs = median(peer.samples) * scale if peer.samples else None
    row.problem = wrong.get(against.peer) or wrong.get(name)
    if ours.problem or peer.problem:
        row.problem = f"ours: {ours.problem}" if ours.problem else peer.problem
    if row.problem is None:
        values = paired(ours.samples, peer.samples, against.how, scale)
        row.value, row.spread = median(values), half_range(values)
    return row


def paired(ours: Sequence[float], theirs: Sequence[float], how: str, scale: float) -> list[float]:
    """One value a round: both sides of it were measured within the same moment."""
    if how == "ratio":
        return [x / y for x, y in zip(ours, theirs, strict=True)]
    if how == "excess":
        return [(x - y) * scale for x, y in zip(ours, theirs, strict=True)]
    return [x * scale for x in ours]


def half_range(values: Sequence[float]) -> float:
    """Half the distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / 2
