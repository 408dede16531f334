"""Optimizers beside PyTorch's and optax's: 50 steps in float64 on a nonconvex problem."""

import importlib
from typing import Any

import numpy as np
import pytest

from lucidfn import optim

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from optim_tables import OPTIMIZERS  # noqa: E402
from optim_tables.table import OptimizerCase, gradient, start, trajectory  # noqa: E402


def agree(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    for k in ours:
        scale = np.abs(theirs[k]).max()
        worst = np.abs(ours[k] - theirs[k]).max()
        assert worst <= tolerance * scale, f"{what}, {k}: {worst:.2e} beside {scale:.2e}"


def torch_trajectory(case: OptimizerCase) -> list[dict[str, np.ndarray]]:
    params = {k: torch.from_numpy(x.copy()).requires_grad_() for k, x in start().items()}
    optimizer = case.torch(torch.optim, list(params.values()), case.lr)
    out = []
    for _ in range(case.steps):
        for k, g in gradient({k: x.detach().numpy() for k, x in params.items()}).items():
            params[k].grad = torch.from_numpy(g)
        optimizer.step()
        out.append({k: x.detach().numpy().copy() for k, x in params.items()})
    return out


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.torch], ids=str)
def test_trajectory_is_pytorchs(case: OptimizerCase) -> None:
    ours = trajectory(case.make(case.lr), start(), case.steps)
    for i, (a, b) in enumerate(zip(ours, torch_trajectory(case), strict=True)):
        agree(a, b, case.tolerance, f"step {i}")


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.optax], ids=str)
def test_trajectory_is_optaxs(case: OptimizerCase) -> None:
    optax = pytest.importorskip("optax")
    jax = importlib.import_module("jax")
    ours = trajectory(case.make(case.lr), start(), case.steps)
    with jax.enable_x64(True):
        params: Any = {k: jax.numpy.asarray(x) for k, x in start().items()}
        tx = case.optax(optax, case.lr)
        state, step = tx.init(params), jax.jit(tx.update)
        for i, a in enumerate(ours):
            grads = gradient({k: np.asarray(x) for k, x in params.items()})
            updates, state = step(grads, state, params)
            params = optax.apply_updates(params, updates)
            agree(a, {k: np.asarray(x) for k, x in params.items()}, case.tolerance, f"step {i}")


def test_complex_parameters_follow_pytorchs() -> None:
    """Gradients in our convention are the conjugates of PyTorch's; the trajectories are equal."""
    z = np.array([1 + 2j, -0.5 + 0.1j])
    rows = [c for c in OPTIMIZERS if c.torch and c.complex]
    for case in rows:
        w = torch.from_numpy(z.copy()).requires_grad_()
        optimizer = case.torch(torch.optim, [w], case.lr)
        tx, params = case.make(case.lr), {"z": z}
        state = tx.init(params)
        for _ in range(10):
            ((w - 0.3j).abs() ** 2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            grads = {"z": np.conj(2 * (np.asarray(params["z"]) - 0.3j))}
            updates, state = tx.update(grads, state, params)
            params = optim.apply_updates(params, updates)
        np.testing.assert_allclose(np.asarray(params["z"]), w.detach().numpy(), rtol=1e-6,
                                   err_msg=str(case))
