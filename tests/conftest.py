"""Settings of the whole suite: the same random programs in every run, no display, one thread.

`pytest --device mlx:cpu` runs the suites of `ON_DEVICES` with that device as the default, where all
arrays are then made, and the tests marked `gpu`, as every run does. `pytest --device gpu -m gpu`
runs the marked ones on a GPU, and no others: the suites compute in float64, which GPUs lack.
"""

import os
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from shutil import which
from typing import Any

# Before NumPy or a peer is imported: one thread each, or the test processes fight for the cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MLX_ENABLE_TF32", "0")  # a GPU's products with all digits of float32
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

import lucidfn as lf  # noqa: E402
import lucidfn.numpy as lnp  # noqa: E402
from lucidfn.core.trace import BACKENDS  # noqa: E402

# What these test is the same on every device, but for what is marked `numpy_only`.
ON_DEVICES = ("test_nn_*", "test_optim*", "test_models_*", "test_scan*", "test_while", "test_cond",
              "test_steps", "test_guards", "test_checkpoint*", "test_custom", "test_collectives",
              "test_implicit", "test_higher_order")
MISSING = pytest.StashKey[str]()  # why the device of --device is not here

# Derandomized: the same examples in every run, so that a failure is the change's and not the day's.
settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("mlx:cpu", "gpu"), help="where the tests run that are "
                     "meant for this device; the others are deselected")


def pytest_configure(config: pytest.Config) -> None:
    """Before test modules are imported, which make arrays of their own."""
    device = config.getoption("device")
    if device:
        try:
            with lf.default_device(device):
                pass
            if device != "gpu":
                lf.config.default_device = device
        except ValueError as error:
            config.stash[MISSING] = str(error)


def missing_for(item: pytest.Item) -> str | None:
    """The reason to skip a test that asks for something that is not installed, or not here."""
    peers = [name for name in ("jax", "torch") if find_spec(name) is None]
    if item.get_closest_marker("peers") and peers:
        return f"{' and '.join(peers)} not installed (pip install 'lucidfn[peers]')"
    if item.get_closest_marker("gpu") and find_spec("mlx") is None:
        return "MLX not installed (pip install 'lucidfn[mlx]')"
    return item.config.stash.get(MISSING, None)


def meant_for(device: str, item: pytest.Item) -> bool:
    if device == "gpu" or item.get_closest_marker("gpu"):
        return item.get_closest_marker("gpu") is not None
    return not item.get_closest_marker("numpy_only") and any(
        fnmatch(item.path.stem, pattern) for pattern in ON_DEVICES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    device = config.getoption("device")
    if device:
        left = [item for item in items if not meant_for(device, item)]
        items[:] = [item for item in items if meant_for(device, item)]
        config.hook.pytest_deselected(items=left)
    for item in items:
        reason = missing_for(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """The device of --device, else MLX's on the processor: for tests marked `gpu`."""
    return request.config.getoption("device") or "mlx:cpu"


@pytest.fixture
def on_mlx(device: str) -> Callable[[Any], Any]:
    """A tree on that device."""
    return lambda tree: lf.device_put(tree, device)


@pytest.fixture
def compiling(device: str) -> Iterator[None]:
    """MLX compiles the pieces of programs, as it does on a GPU without being told."""
    if device == "mlx:cpu" and which("g++") is None:
        pytest.skip("MLX calls the compiler g++ for its CPU stream")
    found = BACKENDS[device]
    before, found.compiles = found.compiles, True
    yield
    found.compiles = before


@pytest.fixture(autouse=True)
def on_the_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """Errors that a device would report later belong to the test that made them. Tests marked `gpu`
    compare with NumPy, and say themselves what lives on the device."""
    device = request.config.getoption("device")
    if not device:
        yield
        return
    with lf.default_device("cpu" if request.node.get_closest_marker("gpu") else device):
        yield
    lf.block_until_ready(lnp.zeros(1, device=device))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


_states: dict[tuple[str, str], dict] = {}  # of the generators of test modules, once imported


@pytest.fixture(autouse=True)
def same_numbers_in_any_order(request: pytest.FixtureRequest) -> None:
    """A module's generator starts each test where importing left it: which tests ran before, and in
    which process, does not show."""
    for name in ("rng", "RNG"):
        generator = getattr(request.module, name, None)
        if isinstance(generator, np.random.Generator):
            state = generator.bit_generator.state
            generator.bit_generator.state = _states.setdefault((request.module.__name__, name),
                                                               state)


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    """Closes what a test drew, without importing matplotlib for those that drew nothing."""
    yield
    plot = sys.modules.get("matplotlib.pyplot")
    if plot is not None:
        plot.close("all")
