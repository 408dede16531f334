"""Loops and branches: recurrent layers, a scalar loop, updates in place, lengths, rare branches.

The shapes and bars are those of the milestone for control flow. Two rows compare a program of ours
with a larger one of ours: what an array or a length costs where it should cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import samplers
from benchmarks.harness import Against, Benchmark, Prepared
from benchmarks.loops import Branches, Decay, Length, Recurrent, Updates
from benchmarks.workloads import side


def recurrent(work: Recurrent) -> dict[str, Callable[[], Prepared]]:
    return {
        "lucidfn": side("ours", "looped", work),
        "jax": side("in_jax", "looped", work),
        "torch": side("in_torch", "recurrent", work),
    }


def decay_of_scalars() -> Prepared:
    """The loop in Python, over NumPy's scalars."""
    work = Decay()
    start, factor, shift = work.data()[0][()], np.float32(0.999), np.float32(0.1)

    def call() -> np.float32:
        x = start
        for _ in range(work.steps):
            x = x * factor + shift
        return x

    return Prepared(samplers.calls(call), lambda: [call()])


def by_length(name: str, title: str, gradient: bool, bar: float | None = None) -> Benchmark:
    few, many = Length(10, gradient), Length(100_000, gradient)
    return Benchmark(
        name,
        title,
        {
            "100,000": side("ours", "compile_loop", many),
            "10": side("ours", "compile_loop", few),
            "jax, 100,000": side("in_jax", "compile_loop", many),
        },
        (Against("10", bar), Against("jax, 100,000")),
        ours="100,000",
        unit="ms",
    )


BENCHMARKS = [
    *(
        Benchmark(
            f"{kind}-scan",
            f"scan of an {kind.upper()} cell, 256 x 32 x 128, forward and backward",
            recurrent(Recurrent(kind)),
            (Against("jax", 1.0, 0.8), Against("torch", 0.8)),
            unit="ms",
            tolerance=1e-4,
        )
        for kind in ("rnn", "lstm")
    ),
    Benchmark(
        "fori",
        "fori_loop of 10,000 steps on a scalar",
        {
            "lucidfn": side("ours", "looped", Decay()),
            "numpy scalars": decay_of_scalars,
            "jax": side("in_jax", "looped", Decay()),
        },
        (Against("numpy scalars", 1.5), Against("jax")),
        tolerance=1e-4,
    ),
    Benchmark(
        "updates",
        "x.at[i].set in a scan of 10,000 steps, by the size of x",
        {
            "1 M": side("ours", "updates", Updates(1_000_000)),
            "1 k": side("ours", "updates", Updates(1000)),
            "jax, 1 M": side("in_jax", "updates", Updates(1_000_000)),
        },
        (Against("1 k", 1.1), Against("jax, 1 M")),
        ours="1 M",
        unit="ms",
    ),
    by_length("compile-scan", "record and compile a scan, by its steps", False, 1.1),
    # Over many steps what is done to all of them at once is worth running in blocks: more source.
    by_length("compile-scan-grad", "the same, and its gradient", True),
    Benchmark(
        "rare-branch",
        "vmapped cond, a slow branch for 1 % of the rows",
        {
            "lucidfn": side("ours", "looped", Branches()),
            "both branches": side("ours", "looped", Branches(both=True)),
            "jax": side("in_jax", "looped", Branches()),
        },
        (Against("both branches", 0.1), Against("jax")),
        unit="ms",
        tolerance=1e-4,
    ),
]
