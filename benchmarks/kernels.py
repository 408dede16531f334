"""Pieces of a training step: an optimizer, activations, norms, random masks, a small call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.harness import Against, Benchmark, Prepared
from benchmarks.workloads import RESNET, normal, side

PARAMETERS = 11_173_962  # of the ResNet-18, in 62 leaves
MASK = 10_000_000
LAST = "torch channels_last"
Data = tuple[np.ndarray, ...]
Sides = dict[str, Callable[[], Prepared]]


def gelu_data() -> Data:
    return (normal(PARAMETERS),)


def softmax_data() -> Data:
    """The cotangent comes first, here and below."""
    return normal(16384, 128), normal(16384, 128, seed=1)


def layer_norm_data() -> Data:
    shape = (16384, 768)
    return normal(*shape), normal(*shape, seed=1), 1 + 0.1 * normal(768), normal(768, seed=2)


def batch_norm_data() -> Data:
    """No cotangent where the sign of what is rectified is a matter of rounding."""
    shape, axes = (128, 32, 32, 64), (0, 1, 2)
    g, x = normal(*shape), normal(*shape, seed=1)
    weight, bias = 1 + 0.1 * normal(64), normal(64, seed=2)
    scale = weight / np.std(x, axes)
    rectified = x * scale + (bias - np.mean(x, axes) * scale)
    g[np.abs(rectified) < 1e-4] = 0
    return g, x, weight, bias


def kernel(name: str, make: Callable[[], Data], mlx: bool = True) -> Sides:
    """Sides of a kernel; what each library calls it is in a table of its module."""
    libraries = {"lucidfn": "ours", "torch": "in_torch", "jax": "in_jax"}
    libraries |= {"mlx": "in_mlx"} if mlx else {}
    return {who: side(library, "named_kernel", name, make) for who, library in libraries.items()}


def masks(impl: str) -> Sides:
    return {
        "lucidfn": side("ours", "dropout_mask", MASK, impl),
        "torch": side("in_torch", "dropout_mask", MASK),
        "torch bernoulli_": side("in_torch", "dropout_mask", MASK, inplace=True),
        "jax": side("in_jax", "dropout_mask", MASK, "threefry2x32"),
    }


BENCHMARKS = [
    Benchmark(
        "adam",
        "Adam over 11 M parameters in 62 leaves",
        {
            "lucidfn": side("ours", "optimizer", RESNET),
            "torch": side("in_torch", "optimizer", RESNET),
            "torch fused": side("in_torch", "optimizer", RESNET, fused=True),
            "jax": side("in_jax", "optimizer", RESNET),
            "mlx": side("in_mlx", "optimizer", RESNET),
        },
        (
            Against("torch", 0.4),
            Against("torch fused", aim=1.0),
            Against("jax", 0.4),
            Against("mlx"),
        ),
        unit="ms",
    ),
    Benchmark(
        "gelu",
        "tanh-GELU of 11 M numbers",
        kernel("gelu", gelu_data),
        (Against("torch", 0.5), Against("jax", 1.3, 1.0), Against("mlx")),
        unit="ms",
    ),
    Benchmark(
        "softmax",
        "softmax 16384 x 128, forward and backward",
        kernel("softmax", softmax_data),
        (Against("torch", 2.0, 1.2), Against("jax"), Against("mlx")),
        unit="ms",
    ),
    Benchmark(
        "layer-norm",
        "layer norm 16384 x 768, forward and backward",
        kernel("layer-norm", layer_norm_data),
        (Against("torch", 2.0, 1.2), Against("jax"), Against("mlx")),
        unit="ms",
        tolerance=1e-4,
    ),
    Benchmark(
        "batch-norm-relu",
        "BatchNorm and ReLU 128x32x32x64, forward and backward",
        kernel("batch-norm-relu", batch_norm_data, mlx=False)
        | {LAST: side("in_torch", "named_kernel", "batch-norm-relu", batch_norm_data, LAST[6:])},
        (Against("torch", 0.5), Against(LAST), Against("jax")),
        rounds=9,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "call",
        "a jitted call, 62 scalars in and 62 out",
        {
            "lucidfn": side("ours", "tree_of_scalars", 62),
            "jax": side("in_jax", "tree_of_scalars", 62),
        },
        (Against("jax", 1.0, 0.5),),
    ),
    Benchmark(
        "dropout",
        "a mask of 10 M, threefry",
        masks("threefry2x32"),
        (Against("torch", 1.5), Against("torch bernoulli_"), Against("jax")),
        rounds=9,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "dropout-philox",
        "the same, philox",
        masks("philox"),
        (Against("torch", 1.0), Against("torch bernoulli_")),
        rounds=9,
        unit="ms",
        tolerance=1e-3,
    ),
]
