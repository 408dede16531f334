"""Checkpoints: which are kept, what is read back, and runs that are killed at any moment."""

import os
import random as python_random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.errors import CorruptFileError

# The bar is 50 kills: LUCIDFN_KILLS=50
KILLS = int(os.environ.get("LUCIDFN_KILLS", "5"))
SCRIPT = Path(__file__).with_name("checkpointed_run.py")


def run(step: int) -> dict[str, Any]:
    return {"w": lnp.full((3,), float(step)), "key": random.fold_in(random.key(0), step)}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_an_empty_folder(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path / "new")
    assert checkpoints.restore() is None and checkpoints.restore("best") is None
    assert checkpoints.steps == [] and checkpoints.last_step is checkpoints.best_step is None
    assert not (tmp_path / "new").exists()


def test_the_last_ones_stay(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path, keep=3)
    for step in range(0, 60, 10):
        assert checkpoints.save(step, run(step)).exists()
    assert checkpoints.steps == [30, 40, 50] and checkpoints.best_step is None
    found = checkpoints.restore()
    assert found.step == 50 and found.score is None and float(found.tree["w"][0]) == 50.0
    assert checkpoints.restore(30).step == 30
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 20; it has \[30, 40, 50\]"):
        checkpoints.restore(20)


@pytest.mark.parametrize("best", ["max", "min"])
def test_the_best_one_stays(tmp_path: Path, best: str) -> None:
    sign = 1 if best == "max" else -1
    checkpoints = lf.Checkpointer(tmp_path, keep=1, best=best)
    for step, score in enumerate([0.1, 0.9, 0.5, float("nan"), 0.2]):
        checkpoints.save(step, run(step), score=lnp.asarray(sign * score))
    assert checkpoints.steps == [1, 4]
    again = lf.Checkpointer(tmp_path, keep=1, best=best)  # scores are in the files
    found = again.restore("best")
    assert found.step == 1 and found.score == pytest.approx(sign * 0.9)
    again.save(5, run(5), score=sign * 2.0)
    assert again.steps == [5]


def test_without_a_score(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path, keep=1)
    checkpoints.save(1, run(1), score=3)
    checkpoints.save(2, run(2))
    assert checkpoints.steps == [1, 2] and checkpoints.restore("best").score == 3.0


def test_a_run_does_not_go_back(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path)
    checkpoints.save(5, run(5))
    with pytest.raises(ValueError, match="step 3 cannot be saved: .* has step 5"):
        checkpoints.save(3, run(3))
    checkpoints.save(5, run(6))  # the same step again
    assert float(checkpoints.restore().tree["w"][0]) == 6.0


def test_a_damaged_checkpoint_is_left_out(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path, keep=2)
    for step in (1, 2, 3):
        path = checkpoints.save(step, run(step))
    path.write_bytes(path.read_bytes()[:-1])
    checkpoints = lf.Checkpointer(tmp_path, keep=2)
    with pytest.warns(UserWarning, match="step-0000000003.*truncated.*; an earlier"):
        assert checkpoints.restore().step == 2
    checkpoints.save(3, run(3))
    assert checkpoints.restore().step == 3 and checkpoints.steps == [2, 3]
    for step in (2, 3):
        checkpoints.path(step).write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(CorruptFileError, match="no checkpoint in"):
        checkpoints.restore()


def test_other_files_stay(tmp_path: Path) -> None:
    left = ".step-0000000001.safetensors.123.0a1b2c3d.tmp"
    for name in ("notes.txt", "step-1.safetensors", left):
        (tmp_path / name).write_text("")
    assert lf.Checkpointer(tmp_path).restore() is None
    assert left in names(tmp_path)  # reading disturbs no writer
    lf.Checkpointer(tmp_path).save(2, run(2))
    assert names(tmp_path) == ["notes.txt", "step-0000000002.safetensors", "step-1.safetensors"]


def test_like(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path)
    checkpoints.save(1, run(1))
    assert checkpoints.restore(like=run(0)).step == 1
    with pytest.raises(ValueError, match=r"missing in the file: v \(float32\[2\]\)"):
        checkpoints.restore(like={**run(0), "v": lnp.ones(2)})


def test_another_number_of_threads_warns(tmp_path: Path) -> None:
    checkpoints = lf.Checkpointer(tmp_path)
    with lf.config.override(num_threads=3):
        checkpoints.save(1, run(1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            checkpoints.restore()
    with lf.config.override(num_threads=1), \
            pytest.warns(UserWarning, match="3 threads, and this process uses 1") as caught:
        checkpoints.restore()
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("arguments", "message"), [
    ({"keep": 0}, "keep must be"), ({"keep": 1.5}, "keep must be"), ({"best": "high"}, "'max' or")])
def test_arguments(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lf.Checkpointer(tmp_path, **arguments)
    with pytest.raises(ValueError, match="step must be a count"):
        lf.Checkpointer(tmp_path).save(lnp.asarray(3), run(3))
    with pytest.raises(ValueError, match="'last', 'best' or a number"):
        lf.Checkpointer(tmp_path).restore("first")


# ------------------------------------------------------------------ kill -9

def start(folder: Path, steps: int, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder), str(steps), str(output)]
    env = {**os.environ, "PYTHONPATH": str(Path(lf.__file__).parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_a_killed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    """Killed at random moments, while it computes or writes, a run ends as the whole one does."""
    steps, rng = 30 * max(KILLS, 5), python_random.Random(0)
    whole = start(tmp_path / "whole", steps, tmp_path / "whole.safetensors")
    folder, output = tmp_path / "killed", tmp_path / "killed.safetensors"
    kills, torn, starts = 0, 0, []
    while kills < KILLS:
        process = start(folder, steps, output)
        assert process.stdout is not None
        starts.append(int(process.stdout.readline().split()[1]))
        # The first steps compile: kill when there is progress, some steps of about 5 ms later.
        limit = time.monotonic() + 60
        target = min(starts[-1] + 1, steps)
        while lf.Checkpointer(folder).last_step in (None, *range(target)):
            if time.monotonic() > limit or process.poll() is not None:
                break
            time.sleep(0.001)
        time.sleep(rng.random() * 0.06)
        if process.poll() is not None:  # it was done before
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        torn += any(name.endswith(".tmp") for name in names(folder))
    last = start(folder, steps, output)
    last.communicate(timeout=120)
    whole.communicate(timeout=120)
    assert last.returncode == whole.returncode == 0
    assert kills == KILLS and len(set(starts)) > 1, (kills, starts)
    print(f"{kills} kills, {torn} of them while a file was written")
    # The same bytes: every parameter, statistic, moment, the step and the loss.
    assert output.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert names(folder) == names(tmp_path / "whole")
