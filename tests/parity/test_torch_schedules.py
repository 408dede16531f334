"""Schedules beside PyTorch's schedulers and optax's: the whole sequence, to 1e-12 in float64."""

import warnings
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from optim_tables.schedules import SCHEDULES, ScheduleCase  # noqa: E402


def of_torch(row: ScheduleCase) -> list[float]:
    """The rate that each update would use, the first of them before any scheduler.step()."""
    o = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=row.rate)
    with warnings.catch_warnings():  # SequentialLR of PyTorch calls a deprecated form itself
        warnings.simplefilter("ignore")
        s = row.torch(torch.optim.lr_scheduler, o)
        out = []
        for _ in range(row.steps):
            out.append(o.param_groups[0]["lr"])
            o.step()
            if len(out) < row.steps:
                s.step()
    return out


def compare(ours: Any, theirs: Any, tolerance: float) -> None:
    ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
    assert ours.shape == theirs.shape
    worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert worst <= tolerance, f"{worst:.1e} at step {np.abs(ours - theirs).argmax()}"


def by_array(row: ScheduleCase, default_float: str) -> Any:
    with lf.config.override(default_float=default_float):
        out = row.ours(lnp.arange(row.steps))
    assert out.dtype == default_float
    return out


@pytest.mark.parametrize("row", [r for r in SCHEDULES if r.torch], ids=str)
def test_the_sequence_is_that_of_torch(row: ScheduleCase) -> None:
    wanted = of_torch(row)
    compare([row.ours(step) for step in range(row.steps)], wanted, 1e-12)
    compare(by_array(row, "float64"), wanted, 1e-12)
    compare(by_array(row, "float32"), wanted, 1e-6)


@pytest.mark.parametrize("row", [r for r in SCHEDULES if r.optax], ids=str)
def test_the_sequence_is_that_of_optax(row: ScheduleCase) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    with jax.enable_x64(True):
        theirs = row.optax(optax)
        wanted = [float(theirs(step)) for step in range(row.steps)]
    compare(by_array(row, "float64"), wanted, 1e-12)


PLATEAUS = [
    {"patience": 0}, {"patience": 3}, {"patience": 2, "cooldown": 5},
    {"patience": 0, "cooldown": 1},
    {"patience": 4, "cooldown": 2, "threshold": 0.05, "factor": 0.5},
    {"patience": 3, "threshold": 0.02, "threshold_mode": "abs", "factor": 0.7},
    {"patience": 3, "mode": "max"}, {"patience": 1, "cooldown": 3, "mode": "max",
                                     "threshold_mode": "abs", "threshold": 0.1},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
@pytest.mark.parametrize("jit", [False, True])
def test_the_plateau_is_that_of_torch(options: dict[str, Any], jit: bool) -> None:
    rng = np.random.default_rng(3)
    sign = -1.0 if options.get("mode") == "max" else 1.0
    # Falls slowly under noise, with long stretches that do not fall, and a NaN.
    losses = sign * (np.repeat(np.linspace(2.0, 0.5, 25), 16) + 0.05 * rng.standard_normal(400))
    losses[100] = np.nan
    o = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=1.0)
    s = torch.optim.lr_scheduler.ReduceLROnPlateau(o, min_lr=1e-3, eps=0.0, **options)
    tx, traces = optim.reduce_on_plateau(min_scale=1e-3, **options), []

    def update(grads: Any, state: Any, value: Any) -> Any:
        traces.append(1)
        return tx.update(grads, state, value=value)

    with lf.config.override(default_float="float64"):
        step = lf.jit(update) if jit else update
        state, grads = tx.init(None), {"w": lnp.ones(())}
        for loss in losses:
            s.step(loss)
            updates, state = step(grads, state, lnp.asarray(loss))
            wanted = o.param_groups[0]["lr"]
            assert float(updates["w"]) == pytest.approx(wanted, rel=1e-12)
    assert wanted < 0.5 and (not jit or len(traces) == 1)
