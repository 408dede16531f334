"""Kernels on MLX that take a shorter way for some shapes, against NumPy's; what a call costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, ops

pytest.importorskip("mlx.core", reason="MLX is not installed")
pytestmark = pytest.mark.gpu


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def both(device: str, primitive: Any, *args: Any, **params: Any) -> tuple[np.ndarray, np.ndarray]:
    """The output on the device, and on NumPy."""
    moved = [x.value for x in lf.device_put([lnp.asarray(a) for a in args], device)]
    return np.asarray(primitive(*moved, **params)), np.asarray(primitive(*args, **params))


@pytest.mark.parametrize("window", [(1, 2, 2, 1), (2, 1, 3, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("primitive", [ops.window_sum, ops.window_max])
def test_windows_that_see_one_element_each_repeat_it(device: str, primitive: Any,
                                                     window: tuple[int, ...]) -> None:
    x = normal(2, 3, 4, 2)
    x[0, 0, 0, 0], x[1, 1, 1, 1] = np.nan, np.inf
    params: dict[str, Any] = {
        "window": window, "stride": (1,) * 4, "padding": tuple([(k - 1, k - 1) for k in window]),
        "x_dilation": window, "w_dilation": (1,) * 4}
    found, want = both(device, primitive, x, **params)
    np.testing.assert_array_equal(found, want)
    assert found.shape == tuple([n * k for n, k in zip(x.shape, window, strict=True)])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("mode", ["raise", "drop", "unchecked"])
def test_one_update_for_each_row(device: str, mode: str, dtype: str) -> None:
    x, updates = (7 * normal(4, 5)).astype(dtype), (7 * normal(4, seed=1)).astype(dtype)
    rows = np.array([[0], [4], [2], [2]], "int32")
    rows[1] = {"raise": -1, "drop": 5}.get(mode, 4)
    found, want = both(device, ops.scatter_add, x, rows, updates, axes=(1,), mode=mode, lanes=1)
    np.testing.assert_array_equal(found, want)
    assert found.dtype == x.dtype


@pytest.mark.parametrize("lead", [(4,), (4, 3)])
@pytest.mark.parametrize("mode", ["raise", "fill", "unchecked"])
def test_one_axis_is_indexed_in_each_row(device: str, mode: str, lead: tuple[int, ...]) -> None:
    x = normal(4, 5)
    rows = np.random.default_rng(1).integers(0, 5, (*lead, 1), "int32")
    if mode != "unchecked":
        rows[0, ..., 0] = -1 if mode == "raise" else 7
    found, want = both(device, ops.gather, x, rows, axes=(1,), mode=mode, fill=-2.0, lanes=1)
    np.testing.assert_array_equal(found, want)


def test_a_check_that_fails_names_the_first_of_its_values(device: str) -> None:
    def message(where: str, function: Any, *args: Any) -> str:
        with pytest.raises(IndexError) as caught:
            lf.block_until_ready(function(*lf.device_put([lnp.asarray(a) for a in args], where)))
        return str(caught.value).partition("\n")[0]

    labels = np.zeros((2, 3), "int32")
    labels[1, 1:] = 10, -7
    logits = normal(2, 3, 10)
    wrong = np.array([[0, 3], [1, 0], [1, 9]], "int32")
    for function, *args in (
            (nn.losses.cross_entropy, logits, labels),
            (lambda x, at: x[at[:, 0], at[:, 1]], normal(2, 3), wrong)):
        on_device, on_host = (message(d, function, *args) for d in (device, "cpu"))
        assert on_host.endswith(on_device.partition(": ")[2])


def test_mlx_compiles_on_its_cpu_when_asked(device: str) -> None:
    x = lf.device_put(lnp.asarray(normal(3, 4)), device)
    texts = {}
    for choice in ("on", "off"):
        with lf.config.override(mlx_compile=choice):
            f = lf.jit(lambda x: lnp.sum(lnp.exp(x) * 2 + 1))
            np.testing.assert_allclose(f(x), np.sum(np.exp(np.asarray(x)) * 2 + 1), rtol=1e-5)
            texts[choice] = f.source(x)
    assert "def part_0(" in texts["on"] and "part_0" not in texts["off"]
    with pytest.raises(ValueError, match="mlx_compile must be one of"):
        lf.config.mlx_compile = "always"
