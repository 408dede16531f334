"""Rows of the table that drives the tests of optimizers, and the small problems they are run on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim, tree

Tree = Any


@dataclass(frozen=True)
class OptimizerCase:
    """One optimizer under the property tests, and beside PyTorch or optax where they have it.

    `make(learning_rate)` takes a number, a traced array or a schedule. `torch(torch.optim, params,
    lr)` and `optax(optax, lr)` make theirs; the trajectories from `start()` at `lr` must agree.
    `parabola` and `rosenbrock` are (learning rate, steps) that reach the optimum, to within
    `reach` in each coordinate; None where the method is not meant to (say why in a comment).
    """

    name: str  # in lucidfn.optim
    make: Callable[[Any], optim.GradientTransformation]
    torch: Callable[[Any, list[Any], float], Any] | None = None
    optax: Callable[[Any, float], Any] | None = None
    lr: float = 0.01
    steps: int = 50
    tolerance: float = 1e-6  # of trajectories in float64, relative to the largest element
    parabola: tuple[float, int] | None = (0.1, 300)
    rosenbrock: tuple[float, int] | None = None
    reach: float = 1e-2
    schedules: bool = True  # takes a function of the step as its learning rate
    complex: bool = True  # accepts complex parameters
    vmap: bool = True  # takes traced learning rates
    line_search: bool = False  # its update needs value=, grad= and value_fn=
    id: str = ""

    def __str__(self) -> str:
        return self.id or self.name


# ------------------------------------------------------------------ a problem for trajectories

def start(dtype: Any = "float64", seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of ranks 0 to 3."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (2, 2, 3), "bias": (4,), "scalar": (), "weight": (3, 4)}
    return {k: np.asarray(rng.standard_normal(s), dtype) for k, s in shapes.items()}


def gradient(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradient of sum(x² / 2 - x / 3 + sin(2x)) + sin(sum(x)) / 2 over all elements x.

    In NumPy, so that ours, PyTorch's and optax's optimizers are given the same numbers.
    """
    shared = 0.5 * np.cos(sum(float(x.sum()) for x in params.values()))
    return {k: np.asarray(x - 1 / 3 + 2 * np.cos(2 * x) + shared, x.dtype)
            for k, x in params.items()}


def trajectory(tx: optim.GradientTransformation, params: Tree, steps: int) -> list[Tree]:
    """The parameters after each step, as ndarrays."""
    params = tree.map(lnp.asarray, params)
    state, out = tx.init(params), []
    step = lf.jit(lambda grads, state, params: tx.update(grads, state, params))
    for _ in range(steps):
        grads = gradient({k: np.asarray(x) for k, x in params.items()})
        updates, state = step(tree.map(lnp.asarray, grads), state, params)
        params = optim.apply_updates(params, updates)
        out.append({k: np.asarray(x) for k, x in params.items()})
    return out


# ------------------------------------------------------------------ optima to reach

def parabola(params: Tree) -> Any:
    """Ill-conditioned by a factor of 9; least at x = y = 1."""
    return 0.5 * lnp.sum((params["x"] - 1) ** 2) + 4.5 * lnp.sum((params["y"] - 1) ** 2)


def rosenbrock(params: Tree) -> Any:
    """Least at x = y = 1, at the end of a curved valley."""
    x, y = params["x"], params["y"]
    return lnp.sum((1 - x) ** 2 + 10 * (y - x ** 2) ** 2)


def minimise(tx: optim.GradientTransformation, loss: Callable[[Tree], Any], params: Tree,
             steps: int) -> Tree:
    """The parameters after so many jitted steps; line searches and plateaus get what they need."""
    state = tx.init(params)

    @lf.jit
    def step(params: Tree, state: Tree) -> tuple[Tree, Tree]:
        value, grads = lf.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return optim.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params
