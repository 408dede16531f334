"""Whole training steps against PyTorch, JAX and MLX: forward, backward and the update.

The shapes and bars are those of the milestone for the compiler. Every side trains the same weights
on the same data; gradients agree in float64 before anything is timed. PyTorch is measured in its
default layout of images and in channels_last.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.harness import Against, Benchmark, Prepared
from benchmarks.workloads import GPT, LENET, LSTM, MLP, RESNET, Workload, side

LAST = "torch channels_last"
FUSED = "torch fused"
Sides = dict[str, Callable[[], Prepared]]


def peers(work: Workload, *names: str) -> Sides:
    """Sides of a training step: ours, torch, jax, and those in `names`."""
    known = {
        LAST: side("in_torch", "train", work, "channels_last"),
        FUSED: side("in_torch", "train", work, fused=True),
        "mlx": side("in_mlx", "train", work),
        "un-jitted": side("ours", "train", work, jitted=False),
    }
    always = {
        "lucidfn": side("ours", "train", work),
        "torch": side("in_torch", "train", work),
        "jax": side("in_jax", "train", work),
    }
    return always | {name: known[name] for name in names}


def measured(work: Workload) -> Sides:
    """Sides whose memory is weighed."""
    return {
        "lucidfn": side("ours", "memory", work),
        "torch": side("in_torch", "memory", work),
        LAST: side("in_torch", "memory", work, "channels_last"),
        "jax": side("in_jax", "memory", work),
    }


def compiled(work: Workload) -> Sides:
    """Sides that record and compile a step."""
    return {
        "lucidfn": side("ours", "compile_step", work),
        "jax": side("in_jax", "compile_step", work),
    }


BENCHMARKS = [
    Benchmark(
        "lenet",
        "LeNet-5 step, batch 128, SGD with momentum",
        peers(LENET, LAST, "mlx", "un-jitted"),
        (
            Against("torch", 0.85, 0.6),
            Against(LAST),
            Against("jax", 0.6),
            Against("mlx"),
            Against("un-jitted", 0.4),
        ),
        unit="ms",
        tolerance=1e-4,
    ),
    Benchmark(
        "resnet",
        "ResNet-18 step, 32x32, batch 128, Adam",
        peers(RESNET, LAST),
        (Against("torch", 0.85, 0.7), Against(LAST, 1.0, 0.85), Against("jax", 0.5, 0.4)),
        rounds=5,
        unit="ms",
        # Rectified gradients of 20 layers: two correct programs differ by some percent in float32,
        # and in float64 Adam's first step divides what is left by gradients that are nearly 0.
        tolerance=0.1,
        exact=1e-4,
    ),
    Benchmark(
        "resnet-memory",
        "ResNet-18 step, peak of the process",
        measured(RESNET),
        (Against("torch", 1.0), Against(LAST), Against("jax")),
        rounds=1,
        unit="MB",
    ),
    Benchmark(
        "gpt",
        "GPT step, 4 layers of 256, 16 x 128 tokens, AdamW",
        peers(GPT, FUSED, "mlx"),
        (
            Against("torch", 0.65, 0.5),
            Against(FUSED),
            Against("jax", 0.55, 0.4),
            Against("mlx"),
        ),
        rounds=9,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "mlp",
        "MLP 784-512-512-10 step, batch 256, Adam",
        peers(MLP, FUSED, "mlx"),
        (
            Against("torch", 0.7, 0.5),
            Against(FUSED),
            Against("jax", 1.1, 0.9),
            Against("mlx"),
        ),
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "lstm",
        "LSTM step, 64 sequences of 64 x 128, 256 wide, Adam",
        peers(LSTM),
        (Against("torch"), Against("jax")),
        rounds=7,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "per-example",
        "a gradient of the MLP for each of 256 examples",
        {
            "lucidfn": side("ours", "per_example", MLP),
            "torch.func": side("in_torch", "per_example", MLP),
            "jax": side("in_jax", "per_example", MLP),
        },
        (Against("torch.func", 0.7), Against("jax", 1.0)),
        rounds=7,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "compile-resnet",
        "record and compile the ResNet-18 step",
        compiled(RESNET),
        (Against("jax", 0.2, 0.1),),
        rounds=3,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "compile-gpt",
        "record and compile the GPT step",
        compiled(GPT),
        (Against("jax", 0.2, 0.1),),
        rounds=5,
        unit="ms",
        tolerance=1e-3,
    ),
]
