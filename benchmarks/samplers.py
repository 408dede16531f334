"""How the work of a side is timed or weighed, beyond `harness.timed`: training, calls, memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

MOST = 50  # steps of one sample: few enough that the weights are still those of a beginning


def training(
    fresh: Callable[[], Any],
    step: Callable[[Any], Any],
    wait: Callable[[Any], Any] = lambda carry: None,
    seconds: float = 0.15,
) -> Callable[[], float]:
    """A sampler of training steps: seconds a step, over as many as fill `seconds`.

    Each sample starts from the same weights. Trained on one batch for long, a network fits it and
    its moments become denormal numbers, which are slow for some libraries and rare in real work.
    """

    def run(number: int) -> float:
        carry = fresh()
        wait(carry)
        start = perf_counter()
        for _ in range(number):
            carry = step(carry)
        wait(carry)
        return (perf_counter() - start) / number

    run(1)  # compilation and first-use costs are not part of a step
    number = max(1, min(MOST, round(seconds / run(1))))
    return lambda: run(number)


def calls(call: Callable[[], Any], seconds: float = 0.1) -> Callable[[], float]:
    """A sampler of calls that take long enough to be timed one by one: the mean of a few."""
    return training(lambda: None, lambda _: (call(), None)[1], seconds=seconds)


def peak_memory(
    fresh: Callable[[], Any],
    step: Callable[[Any], Any],
    wait: Callable[[Any], Any] = lambda carry: None,
    steps: int = 2,
) -> Callable[[], float]:
    """A sampler of the most bytes this process has had in memory, after a few training steps."""

    def sample() -> float:
        carry = fresh()
        for _ in range(steps):
            carry = step(carry)
        wait(carry)
        return float(peak_bytes())

    return sample


def peak_bytes() -> int:
    """Linux counts the parent's memory before exec in ru_maxrss, so its own record comes first."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
