"""Settings of the whole suite: the same random programs in every run, no display, one thread."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec

# Before NumPy or a peer is imported: one thread each, or the test processes fight for the cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# Derandomized: the same examples in every run, so that a failure is the change's and not the day's.
settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def missing_for(item: pytest.Item) -> str | None:
    """The reason to skip a test whose marker asks for something that is not installed."""
    peers = [name for name in ("jax", "torch") if find_spec(name) is None]
    if item.get_closest_marker("peers") and peers:
        return f"{' and '.join(peers)} not installed (pip install 'lucidfn[peers]')"
    if item.get_closest_marker("gpu") and find_spec("mlx") is None:
        return "mlx not installed"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = missing_for(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


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
