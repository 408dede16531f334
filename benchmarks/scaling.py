"""How the time of a step grows with the batch, the depth and the threads, beside PyTorch.

Of batch and depth each row is a training step of its own: what a fixed cost or a large batch does
to the ratio. Of threads, ours with two is compared with ours on one (0.5 is the best there is).
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.harness import Against, Benchmark
from benchmarks.workloads import GPT, LENET, MLP, Workload, side

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def step(name: str, title: str, work: Workload, rounds: int = 5) -> Benchmark:
    sides = {"lucidfn": side("ours", "train", work), "torch": side("in_torch", "train", work)}
    return Benchmark(
        name, title, sides, (Against("torch"),), rounds=rounds, unit="ms", tolerance=1e-3
    )


def limited(threads: int) -> dict[str, str]:
    return dict.fromkeys(LIMITS, str(threads))


def threads(work: Workload, title: str, rounds: int = 5) -> Benchmark:
    """Two threads of each library against one."""
    one, two = limited(1), limited(2)
    return Benchmark(
        f"{work.model}-threads",
        f"{title}, two threads",
        {
            "lucidfn": side("ours", "train", work),
            "lucidfn, one": side("ours", "train", work),
            "torch": side("in_torch", "train", work),
        },
        (Against("lucidfn, one"), Against("torch")),
        rounds=rounds,
        unit="ms",
        tolerance=1e-3,
        environ={"lucidfn": two, "lucidfn, one": one, "torch": two},
    )


def one_thread(work: Workload, title: str, rounds: int = 5) -> Benchmark:
    """Ours against torch, both on one thread."""
    found = step(f"{work.model}-one-thread", f"{title}, one thread", work, rounds)
    return replace(found, environ=dict.fromkeys(found.sides, limited(1)))


def of_depth(work: Workload, layers: int) -> Workload:
    return replace(work, sizes=work.sizes | {"num_layers": layers})


BENCHMARKS = [
    *(
        step(f"lenet-batch-{n}", f"LeNet-5 step, batch {n}", replace(LENET, batch=n))
        for n in (16, 1024)
    ),
    *(step(f"mlp-batch-{n}", f"MLP step, batch {n}", replace(MLP, batch=n)) for n in (32, 2048)),
    *(step(f"gpt-depth-{n}", f"GPT step, {n} layers", of_depth(GPT, n), 3) for n in (1, 8)),
    threads(LENET, "LeNet-5 step"),
    one_thread(LENET, "LeNet-5 step"),
    threads(GPT, "GPT step", 3),
    one_thread(GPT, "GPT step", 3),
]
