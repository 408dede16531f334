"""Training on MLX goes where it goes on NumPy: the same start, the same data, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
from lucidfn import models, nn, optim, random

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")

pytestmark = pytest.mark.gpu
ADAM, MOMENTUM = optim.adam(1e-3), optim.sgd(0.01, momentum=0.9)
Batches = list[tuple[np.ndarray, np.ndarray]]


def losses(net: Any, batches: Batches, device: str, optimizer: Any = ADAM,
           jit: bool = True) -> np.ndarray:
    """The loss of each step of a training."""
    params, state = net.init(random.key(0))

    def loss_of(params: Any, state: Any, x: Any, y: Any) -> Any:
        out, state = net.apply(params, state, x, train=True)
        return nn.functional.cross_entropy(out, y), state

    def step(params: Any, state: Any, moments: Any, x: Any, y: Any) -> Any:
        (loss, state), grads = lf.value_and_grad(loss_of, has_aux=True)(params, state, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return optim.apply_updates(params, updates), state, moments, loss

    params, state, moments = lf.device_put((params, state, optimizer.init(params)), device)
    run, found = lf.jit(step) if jit else step, []
    for batch in batches:
        params, state, moments, loss = run(params, state, moments, *lf.device_put(batch, device))
        found.append(loss)
    return np.array([float(loss) for loss in found])


def images(count: int, size: int, *shape: int) -> Batches:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((size, *shape), "float32"),
             rng.integers(0, 10, size, "int32")) for _ in range(count)]


def tokens(count: int) -> Batches:
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 17, (2, 4, 8), "int32")) for _ in range(count)]


@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_lenet(device: str, optimizer: Any) -> None:
    batches = images(10, 32, 28, 28, 1) * 5  # seen again, so that the loss falls
    want, got = [losses(models.LeNet5(), batches, d, optimizer) for d in ("cpu", device)]
    np.testing.assert_allclose(got, want, atol=1e-3)
    assert want[-1] < want[0]


@pytest.mark.slow
def test_resnet(device: str) -> None:
    """Two steps: later ones multiply the rounding of any two implementations."""
    net, batches = models.resnet18(10, stem="cifar"), images(2, 8, 32, 32, 3)
    want, got = [losses(net, batches, d) for d in ("cpu", device)]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_gpt(device: str) -> None:
    net, batches = models.GPT(17, 8, 16, 2, 2, dropout=0.0), tokens(3)
    want, got = [losses(net, batches, d) for d in ("cpu", device)]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_without_jit(device: str) -> None:
    batches = images(4, 16, 28, 28, 1)
    want = losses(models.LeNet5(), batches, "cpu")
    np.testing.assert_allclose(losses(models.LeNet5(), batches, device, jit=False), want,
                               atol=1e-4)


@pytest.mark.parametrize("net, batches", [
    (models.LeNet5(), images(3, 4, 28, 28, 1)),
    (models.GPT(17, 8, 16, 2, 1, dropout=0.0), tokens(3)),
], ids=["lenet", "gpt"])
def test_compiled_by_mlx(device: str, compiling: None, net: Any, batches: Batches) -> None:
    want, got = [losses(net, batches, d, MOMENTUM) for d in ("cpu", device)]
    np.testing.assert_allclose(got, want, atol=1e-4)
