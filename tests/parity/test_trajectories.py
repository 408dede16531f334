"""The beginning of the curves of `benchmarks.trajectories`, and how their distance is judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.peers
for needed in ("torch", "sklearn", "tqdm", "matplotlib"):
    pytest.importorskip(needed)


@pytest.fixture(scope="module")
def trajectories() -> Iterator[ModuleType]:
    """The module, imported although NumPy is: the guard of its package is for measurements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            patch.delenv(name, raising=False)
        from benchmarks import trajectories
        yield trajectories


def course(trajectories: ModuleType, name: str) -> Any:
    return next(c for c in trajectories.COURSES if c.name == name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lenet(trajectories: ModuleType, dtype: str) -> None:
    found = trajectories.compare(course(trajectories, "lenet"), dtype, steps=25)
    assert found.faults == []
    # Rounding grows slowly here: after a sixteenth of the steps little of the bar is used.
    assert found.gaps.max() <= 0.05 * found.course.bars[dtype]
    assert found.drift["weights"] <= found.course.bars[dtype]


def test_resnet_in_float64(trajectories: ModuleType) -> None:
    whole = course(trajectories, "resnet")
    small = replace(whole, recipe=replace(whole.recipe, batch_size=8))
    found = trajectories.compare(small, "float64", steps=3)
    assert found.faults == []
    assert set(found.drift) == {"weights", "running statistics"}


def test_resnet_in_float32(trajectories: ModuleType) -> None:
    """The first loss: Adam's first step then divides by gradients that are nearly 0."""
    whole = course(trajectories, "resnet")
    small = replace(whole, recipe=replace(whole.recipe, batch_size=8))
    found = trajectories.compare(small, "float32", steps=1)
    assert found.faults == [] and found.gaps[0] <= 1e-6


def run(trajectories: ModuleType, *losses: float, mean: float = 1.0) -> Any:
    return trajectories.Run(np.array(losses), {"bn.running_mean": np.array([mean])})


def test_a_curve_that_leaves_the_bar_is_reported(trajectories: ModuleType, tmp_path: Path) -> None:
    make = lambda *ours: trajectories.Comparison(
        course(trajectories, "resnet"), "float32", run(trajectories, *ours),
        run(trajectories, 2.0, 2.0, 2.0, 2.0), run(trajectories, 2.0, 2.0, 2.002, 2.02))
    assert make(2.0, 2.0001, 2.01, 1.97).faults == []
    assert make(2.0, 2.001, 2.0, 2.0).faults == ["step 2: 5.0e-04 > 1.0e-04"]
    assert make(2.0, 2.0, 2.0, 2.05).faults == ["step 4: 2.5e-02 > 2.0e-02"]
    assert make(2.0, np.nan, 2.0, 2.0).faults == ["step 2: nan > 1.0e-04"]
    assert "MISSED" in trajectories.table(make(2.0, 2.001, 2.0, 2.0))
    assert trajectories.table(make(2.0, 2.0, 2.0, 2.0)).endswith("ok")
    trajectories.draw([make(2.0, 2.0, 2.0, 2.0)], tmp_path / "figures" / "it.png")
    assert (tmp_path / "figures" / "it.png").read_bytes().startswith(b"\x89PNG")


def test_running_statistics_are_compared(trajectories: ModuleType) -> None:
    found = trajectories.Comparison(
        course(trajectories, "resnet"), "float64", run(trajectories, 2.0, mean=1.0 + 1e-6),
        run(trajectories, 2.0))
    assert found.faults == ["running statistics: 1.0e-06 > 1.0e-08"]
