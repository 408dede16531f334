"""The bars of the core: import time, eager dispatch, a small gradient, and compilation.

The network is the small MLP at which overhead, not arithmetic, is measured: four layers
`tanh(x @ w + b)` of 16 x 16 on a batch of 16, loss the mean of the squares, float32. The chain is
1,000 layers `tanh(x * w + b)` on float32[16], each with a `w` and `b` of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from benchmarks.harness import Against, Benchmark, Prepared, once, timed

Params = list[tuple[np.ndarray, np.ndarray]]


# import


def import_time(library: str, statement: str | None = None) -> Prepared:
    """Seconds that an import takes in a new interpreter that has imported NumPy already."""
    code = (
        "from time import perf_counter; import numpy; start = perf_counter()\n"
        f"{statement or f'import {library}'}\nprint(perf_counter() - start)"
    )
    # Bytecode may be cached, as it is for users.
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def sample() -> float:
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, capture_output=True, text=True, env=clean)
        if ran.returncode:
            lines = ran.stderr.strip().splitlines() or ["the interpreter failed"]
            missing = lines[-1].startswith("ModuleNotFoundError")
            raise ModuleNotFoundError(name=library) if missing else RuntimeError(lines[-1])
        return float(ran.stdout)

    sample()
    return Prepared(sample)


def numpy_import() -> Prepared:
    timer = "from time import perf_counter; start = perf_counter()"
    code = f"{timer}; import numpy; print(perf_counter() - start)"

    def sample() -> float:
        return float(subprocess.check_output([sys.executable, "-c", code], text=True))

    return Prepared(sample)


# eager add


def small_pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(16).astype("f"), rng.standard_normal(16).astype("f")


def add_ours() -> Prepared:
    import lucidfn.numpy as lnp

    x, y = map(lnp.asarray, small_pair())
    return Prepared(timed(lambda: lnp.add(x, y)), lambda: [np.asarray(lnp.add(x, y))])


def add_numpy() -> Prepared:
    x, y = small_pair()
    return Prepared(timed(lambda: np.add(x, y)), lambda: [np.add(x, y)])


def add_jax() -> Prepared:
    import jax.numpy as jnp

    x, y = map(jnp.asarray, small_pair())
    call = lambda: jnp.add(x, y).block_until_ready()
    return Prepared(timed(call), lambda: [np.asarray(call())])


def add_torch() -> Prepared:
    import torch

    x, y = map(torch.from_numpy, small_pair())
    return Prepared(timed(lambda: torch.add(x, y)), lambda: [torch.add(x, y).numpy()])


# the gradient of a small network


def mlp_data() -> tuple[Params, np.ndarray]:
    rng = np.random.default_rng(0)
    params = [
        (rng.standard_normal((16, 16)).astype("f") / 4, rng.standard_normal(16).astype("f") / 10)
        for _ in range(4)
    ]
    return params, rng.standard_normal((16, 16)).astype("f")


def converted(params: Params, convert: Callable[[np.ndarray], Any]) -> list[tuple[Any, Any]]:
    return [(convert(w), convert(b)) for w, b in params]


def gradient_by_hand(params: Params, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    values = [x]
    for w, b in params:
        values.append(np.tanh(values[-1] @ w + b))
    cotangent = values[-1] * np.float32(2 / values[-1].size)
    gradient = []
    for (w, _), before, after in zip(params[::-1], values[-2::-1], values[:0:-1], strict=True):
        cotangent = cotangent * (1 - after * after)
        gradient.append((before.T @ cotangent, np.add.reduce(cotangent, axis=0)))
        cotangent = cotangent @ w.T
    return gradient[::-1]


def mlp_by_hand() -> Prepared:
    params, x = mlp_data()
    call = lambda: gradient_by_hand(params, x)
    return Prepared(timed(call), call)


def mlp_ours(jitted: bool) -> Prepared:
    import lucidfn as lf
    import lucidfn.numpy as lnp

    def loss(params, x):
        for w, b in params:
            x = lnp.tanh(x @ w + b)
        return lnp.mean(x * x)

    params, x = mlp_data()
    params, x = converted(params, lnp.asarray), lnp.asarray(x)
    gradient = lf.jit(lf.grad(loss)) if jitted else lf.grad(loss)
    call = lambda: gradient(params, x)
    return Prepared(timed(call), lambda: converted(call(), np.asarray))


def mlp_ours_eager() -> Prepared:
    return mlp_ours(jitted=False)


def mlp_ours_jitted() -> Prepared:
    return mlp_ours(jitted=True)


def mlp_jax(jitted: bool) -> Prepared:
    import jax
    import jax.numpy as jnp

    def loss(params, x):
        for w, b in params:
            x = jnp.tanh(x @ w + b)
        return jnp.mean(x * x)

    params, x = mlp_data()
    params, x = converted(params, jnp.asarray), jnp.asarray(x)
    gradient = jax.jit(jax.grad(loss)) if jitted else jax.grad(loss)
    call = lambda: jax.block_until_ready(gradient(params, x))
    return Prepared(timed(call), lambda: converted(call(), np.asarray))


def mlp_jax_eager() -> Prepared:
    return mlp_jax(jitted=False)


def mlp_jax_jitted() -> Prepared:
    return mlp_jax(jitted=True)


def mlp_torch_func() -> Prepared:
    import torch

    def loss(params, x):
        for w, b in params:
            x = torch.tanh(x @ w + b)
        return torch.mean(x * x)

    params, x = mlp_data()
    params, x = converted(params, torch.from_numpy), torch.from_numpy(x)
    gradient = torch.func.grad(loss)
    call = lambda: gradient(params, x)
    return Prepared(timed(call), lambda: converted(call(), lambda t: t.numpy()))


def mlp_torch_autograd() -> Prepared:
    import torch

    params, start = mlp_data()
    params = converted(params, lambda a: torch.from_numpy(a).requires_grad_())
    start = torch.from_numpy(start)
    leaves = [leaf for layer in params for leaf in layer]

    def call():
        x = start
        for w, b in params:
            x = torch.tanh(x @ w + b)
        return torch.autograd.grad(torch.mean(x * x), leaves)

    return Prepared(timed(call), lambda: [g.numpy() for g in call()])


# record and compile

LAYERS = 1000
SIZES = {"1k": 100, "10k": 1000, "100k": 10000}


def chain_data(layers: int) -> tuple[Params, np.ndarray]:
    """Weights near 1 and small shifts: the gradient neither vanishes nor explodes with depth."""
    rng = np.random.default_rng(0)
    noise = lambda: rng.standard_normal(16).astype("f") * np.float32(1e-3)
    return [(1 + noise(), noise()) for _ in range(layers)], rng.standard_normal(16).astype("f")


_fresh = count()


def fresh_chain(tanh: Callable[[Any], Any], mean: Callable[[Any], Any], repeat: int = 1):
    """A chain no cache has seen: jit may know a function by its code and closure."""
    tag = next(_fresh)

    def loss(params, x):
        assert tag >= 0
        for _ in range(repeat):
            for w, b in params:
                x = tanh(x * w + b)
        return mean(x * x)

    return loss


def chain_ours() -> Prepared:
    import lucidfn as lf
    import lucidfn.numpy as lnp

    params, x = chain_data(LAYERS)
    params, x = converted(params, lnp.asarray), lnp.asarray(x)

    def compile():
        return lf.jit(lf.grad(fresh_chain(lnp.tanh, lnp.mean))).lower(params, x).compile()

    return Prepared(once(compile), lambda: converted(compile()(params, x), np.asarray))


def chain_jax() -> Prepared:
    import jax
    import jax.numpy as jnp

    params, x = chain_data(LAYERS)
    params, x = converted(params, jnp.asarray), jnp.asarray(x)

    def compile():
        return jax.jit(jax.grad(fresh_chain(jnp.tanh, jnp.mean))).lower(params, x).compile()

    return Prepared(once(compile), lambda: converted(compile()(params, x), np.asarray))


def scaling(size: str) -> Callable[[], Prepared]:
    """Seconds an equation: one layer's weights over and over, so that only the program grows."""

    def prepare() -> Prepared:
        import lucidfn as lf
        import lucidfn.numpy as lnp

        params, x = chain_data(1)
        params, x = converted(params, lnp.asarray), lnp.asarray(x)
        gradient = lambda: lf.grad(fresh_chain(lnp.tanh, lnp.mean, SIZES[size]))
        equations = len(lf.make_ir(gradient())(params, x).equations)
        sample = once(lambda: lf.jit(gradient()).lower(params, x).compile())
        return Prepared(lambda: sample() / equations, note=lambda: f"{equations:,} equations")

    return prepare


BENCHMARKS = [
    Benchmark(
        "import",
        "import lucidfn, beyond NumPy",
        {
            "lucidfn": lambda: import_time("lucidfn"),
            "numpy": numpy_import,
            "jax": lambda: import_time("jax"),
            "torch": lambda: import_time("torch"),
        },
        (Against("numpy", 80, 40, how="absolute"), Against("jax"), Against("torch")),
        unit="ms",
    ),
    Benchmark(
        "import-names",
        "import lucidfn with numpy, lax, nn, random, tree",
        {
            "lucidfn": lambda: import_time(
                "lucidfn", "import lucidfn.numpy\nfrom lucidfn import lax, nn, random, tree"
            ),
            "numpy": numpy_import,
        },
        (Against("numpy", how="absolute"),),
        unit="ms",
    ),
    Benchmark(
        "add",
        "eager add, float32[16]",
        {"lucidfn": add_ours, "numpy": add_numpy, "jax": add_jax, "torch": add_torch},
        (Against("numpy", 3, 1, how="excess"), Against("jax"), Against("torch")),
        tolerance=0.0,
    ),
    Benchmark(
        "mlp-grad",
        "gradient of a 4-layer 16x16 MLP, un-jitted",
        {
            "lucidfn": mlp_ours_eager,
            "torch.func": mlp_torch_func,
            "torch.autograd": mlp_torch_autograd,
            "jax": mlp_jax_eager,
            "numpy by hand": mlp_by_hand,
        },
        (
            Against("torch.func", 1.0, 0.5),
            Against("jax", 0.08),
            Against("torch.autograd"),
            Against("numpy by hand"),
        ),
    ),
    Benchmark(
        "mlp-jit",
        "the same, jitted, per call",
        {
            "lucidfn": mlp_ours_jitted,
            "jax.jit": mlp_jax_jitted,
            "torch.autograd": mlp_torch_autograd,
            "numpy by hand": mlp_by_hand,
        },
        (Against("jax.jit", 1.0, 0.5), Against("torch.autograd"), Against("numpy by hand")),
    ),
    Benchmark(
        "compile",
        "record and compile the gradient of 1,000 layers",
        {"lucidfn": chain_ours, "jax": chain_jax},
        (Against("jax", 0.25, 0.1),),
        rounds=5,
        unit="ms",
        tolerance=1e-3,
    ),
    Benchmark(
        "scaling",
        "record and compile, time an equation",
        {size: scaling(size) for size in SIZES},
        (Against("10k", 1.5, 1.1), Against("1k", 1.5, 1.1)),
        ours="100k",
        rounds=3,
    ),
]
