"""Every public function of arrays gives on a device what it gives on NumPy, and stays there."""

from typing import Any

import numpy as np
import pytest
from test_namespaces import FUNCTIONS, operands

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.types import complex128, dtype_name, float64

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")
pytestmark = pytest.mark.gpu

WIDE = (float64, complex128)  # which a GPU does not have
# Signs of singular vectors are free; these take numbers or names, not arrays, or read values.
SKIPPED = {"numpy.linalg.svd", "scipy.linalg.svd", "numpy.fft.fftfreq", "numpy.fft.rfftfreq",
           "lax.broadcast", "lax.integer_pow"}
# Of integers, which say a size: what they make lives on the default device.
OF_SIZES = {"numpy.arange", "numpy.diag_indices", "numpy.tril_indices", "numpy.triu_indices",
            "numpy.roots", "lax.iota", "scipy.linalg.hilbert"}


@pytest.fixture(autouse=True)
def as_on_a_gpu(device, monkeypatch):
    """The default device is "cpu", and the other has no float64."""
    monkeypatch.setattr(lnp.ones(1, device=device).value.backend, "unsupported", frozenset(WIDE))
    with lf.default_device("cpu"):
        yield


def arrays(out: Any) -> list[Any]:
    """The leaves, if they are arrays that every device can hold."""
    leaves = lf.tree.leaves(out)
    plain = leaves and all(isinstance(x, lf.Array) for x in leaves)
    return leaves if plain and not any(x.dtype in WIDE for x in leaves) else []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "f"), FUNCTIONS)
def test_same_as_numpy(name: str, f: Any, device: str) -> None:
    if name in SKIPPED or any(wide in name for wide in map(dtype_name, WIDE)):
        return
    for what, args in operands("float32").items():
        try:
            want = arrays(f(*args))
        except Exception:  # noqa: S112 - not a way to call it
            continue
        if want:
            require(arrays(f(*lf.device_put(args, device))), want, what, device,
                    name not in OF_SIZES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "f"), FUNCTIONS[::7])
def test_jitted_too(name: str, f: Any, device: str) -> None:
    if name in SKIPPED | OF_SIZES or any(wide in name for wide in map(dtype_name, WIDE)):
        return
    for what in ("matrix", "matrices", "matrix and vector"):
        args = operands("float32")[what]
        try:
            want = arrays(lf.jit(f)(*args))
        except Exception:  # noqa: S112 - it needs values, or other operands
            continue
        if want:
            require(arrays(lf.jit(f)(*lf.device_put(args, device))), want, what, device)


def require(got: list[Any], want: list[Any], what: str, device: str, stays: bool = True) -> None:
    assert len(got) == len(want), what
    for a, b in zip(got, want, strict=True):
        assert lf.typeof(a) == lf.typeof(b), what
        assert a.device == device or not (stays and a.shape), f"{what}: an array on {a.device}"
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-3, atol=1e-3,
                                   err_msg=what)
