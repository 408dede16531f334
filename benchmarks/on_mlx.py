"""Training steps on MLX, ours against hand-written ones on the same device, and on NumPy.

`--device gpu` takes the shapes of `training`. MLX's CPU is slower than NumPy by an order of
magnitude, and so the batches are small there; LeNet-5 with one image shows what a call costs.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.harness import Against, Benchmark
from benchmarks.workloads import GPT, LENET, RESNET, Workload, side

EAGER, COMPILED = "lucidfn un-jitted", "lucidfn by mx.compile"
BY_HAND, BY_HAND_EAGER = "mlx compiled", "mlx un-compiled"
NUMPY = "lucidfn on NumPy"
CPU = "mlx:cpu"
# MLX may round the operands of float32 products on a GPU; NumPy does not, and is the reference.
PRECISE = {"MLX_ENABLE_TF32": "0"}


def step(name: str, title: str, work: Workload, device: str, rounds: int = 15,
         tolerance: float = 1e-4, small: bool = False) -> Benchmark:  # fmt: skip
    """Ours jitted against all others, and un-jitted against MLX un-compiled.

    Of a `small` step on a CPU there is one more side, which `mx.compile` compiles there too.
    """
    sides = {
        "lucidfn": side("ours", "train_on", work, device),
        EAGER: side("ours", "train_on", work, device, jitted=False),
        BY_HAND: side("in_mlx_nn", "train", work, device, compiled=True),
        BY_HAND_EAGER: side("in_mlx_nn", "train", work, device, compiled=False),
        NUMPY: side("ours", "train_on", work, "cpu"),
    }
    # Compiled code is not always the faster on a CPU: ours is held to both.
    against = [
        Against(BY_HAND, 1.05),
        Against(BY_HAND_EAGER, 1.05 if device == CPU else None),
        Against(BY_HAND_EAGER, 1.3, ours=EAGER),
        Against(NUMPY),
    ]
    if small:
        sides[COMPILED] = side("ours", "train_on", work, device, mlx_compile="on")
        against.insert(1, Against(BY_HAND, 1.05, ours=COMPILED))
    return Benchmark(
        name, f"{title} on {device}", sides, tuple(against), rounds=rounds, unit="ms",
        tolerance=tolerance, environ=dict.fromkeys(sides, PRECISE), device=device,
    )  # fmt: skip


def of(work: Workload, batch: int) -> Workload:
    return replace(work, batch=batch)


BENCHMARKS = [
    step("mlx-lenet-1", "LeNet-5 step, batch 1", of(LENET, 1), CPU, small=True),
    step("mlx-lenet", "LeNet-5 step, batch 128", LENET, CPU, 9),
    # Rectified gradients of 20 layers: two correct programs differ by some percent in float32.
    step("mlx-resnet", "ResNet-18 step, batch 2", of(RESNET, 2), CPU, 5, 0.1),
    step("mlx-gpt", "GPT step, 2 x 128 tokens", of(GPT, 2), CPU, 5, 1e-3),
    step("gpu-lenet-1", "LeNet-5 step, batch 1", of(LENET, 1), "gpu", tolerance=1e-3),
    step("gpu-lenet", "LeNet-5 step, batch 128", LENET, "gpu", tolerance=1e-3),
    step("gpu-resnet", "ResNet-18 step, batch 128", RESNET, "gpu", 9, 0.1),
    step("gpu-gpt", "GPT step, 16 x 128 tokens", GPT, "gpu", 9, 1e-3),
]
