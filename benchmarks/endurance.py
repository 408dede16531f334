"""`python -m benchmarks.endurance`: many training steps whose loss nobody reads.

LeNet-5 with batch normalisation added. A device that computes lazily must neither hoard what was
not asked for nor fall behind: the resident memory and the time of a step stay as they are after
the first steps.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import lucidfn as lf
from lucidfn import nn, optim, random

WARM = 100  # steps before memory counts
BAR = 30.0  # MB that it may grow by from there


class Mark(NamedTuple):
    """How things stand after so many steps; the time is that of a step since the mark before."""

    steps: int
    resident_mb: float
    step_ms: float


def resident_mb() -> float:
    """The memory of this process in MB: now on Linux, elsewhere its peak so far."""
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)


def normed_lenet() -> nn.Layer:
    """LeNet-5 with a batch normalisation after each convolution."""
    return nn.Sequential(
        *[nn.Conv2d(1, 6, kernel_size=5), nn.BatchNorm2d(6), nn.Tanh(), nn.AvgPool2d(2)],
        *[nn.Conv2d(6, 16, kernel_size=5), nn.BatchNorm2d(16), nn.Tanh(), nn.AvgPool2d(2)],
        *[nn.Flatten(), nn.Linear(256, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh()],
        nn.Linear(84, 10),
    )


def marks(device: str, steps: int, batch: int, every: int = WARM) -> Iterator[Mark]:
    """Train on random images, and look at the process after each `every` steps."""
    net, optimizer = normed_lenet(), optim.sgd(0.01, momentum=0.9)

    def loss(params: Any, state: Any, x: Any, y: Any) -> Any:
        logits, state = net.apply(params, state, x, train=True)
        return nn.functional.cross_entropy(logits, y), state

    def step(params: Any, state: Any, moments: Any, x: Any, y: Any) -> Any:
        (value, state), grads = lf.value_and_grad(loss, has_aux=True)(params, state, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return optim.apply_updates(params, updates), state, moments, value

    run = lf.jit(step, donate_argnums=(0, 1, 2))
    rng = np.random.default_rng(0)
    data = lf.device_put((rng.standard_normal((8, batch, 28, 28, 1), "float32"),
                          rng.integers(0, 10, (8, batch), "int32")), device)  # fmt: skip
    batches = [(data[0][i], data[1][i]) for i in range(8)]
    params, state = net.init(random.key(0))
    carry = lf.device_put((params, state, optimizer.init(params)), device)
    start = perf_counter()
    for i in range(1, steps + 1):
        *carry, _ = run(*carry, *batches[i % 8])
        if i % every == 0:
            now = perf_counter()
            yield Mark(i, resident_mb(), 1e3 * (now - start) / every)
            start = perf_counter()
    lf.block_until_ready(carry)


def growth(found: list[Mark]) -> float:
    """MB by which the memory grew after the first steps, at most."""
    return max(m.resident_mb for m in found) - found[0].resident_mb


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--device", default="mlx:cpu", help="(default: mlx:cpu)")
    parser.add_argument("--steps", type=int, default=5000, help="(default: 5000)")
    parser.add_argument("--batch", type=int, default=32, help="images of a step (default: 32)")
    options = parser.parse_args()
    found = []
    for mark in marks(options.device, options.steps, options.batch):
        if not found or mark.steps % 1000 == 0:
            print(f"after {mark.steps:5} steps: {mark.resident_mb:6.1f} MB resident, "
                  f"{mark.step_ms:6.2f} ms a step", flush=True)  # fmt: skip
        found.append(mark)
    times = [m.step_ms for m in found[1:]]
    tenth = max(1, len(times) // 10)
    first, last = statistics.median(times[:tenth]), statistics.median(times[-tenth:])
    grown = growth(found)
    print(f"memory grew by {grown:.1f} MB after {WARM} steps (bar: {BAR:.0f}); "
          f"a step took {first:.2f} ms at first and {last:.2f} ms at last")  # fmt: skip
    return int(grown > BAR)


if __name__ == "__main__":
    sys.exit(main())
