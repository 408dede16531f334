"""The experiments of examples/: what they write, going on where they stopped, and what they refuse.

Runs are of a few images: what is learnt from them is not the point here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import mnist_files

from lucidfn import data, nn

for needed in ("matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(needed)
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examples import experiment, lenet5_mnist, resnet18_cifar10, shapes, training  # noqa: E402

LENET, RESNET = lenet5_mnist.EXPERIMENT, resnet18_cifar10.EXPERIMENT
SHORT = "--train-limit 80 --test-limit 20 --batch-size 16 --epochs 2 --quiet".split()
FRAMEWORKS = ["lucidfn", pytest.param("torch", marks=pytest.mark.peers)]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDFN_OFFLINE", "1")
    monkeypatch.setenv("LUCIDFN_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def history_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "history.json").read_text())


# ------------------------------------------------------------------ what is written

def test_lenet_writes_history_figure_and_checkpoints(tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    experiment.main(LENET, [*SHORT, "--out", "out"])
    history = history_of(tmp_path / "out/lucidfn")
    assert history["framework"] == "lucidfn" and {"lucidfn", "numpy"} <= set(history["versions"])
    assert (history["parameters"], history["seed"], history["dtype"]) == (44426, 0, "float32")
    assert (history["momentum"], history["learning_rate"]) == (0.9, 0.01)
    assert len(history["batch_losses"]) == 10 == 2 * history["steps_per_epoch"]
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]
    for epoch in history["epochs"]:
        mean = np.mean(history["batch_losses"][5 * epoch["epoch"] - 5:5 * epoch["epoch"]])
        assert epoch["train_loss"] == pytest.approx(mean)
        assert 0 < epoch["train_seconds"] < epoch["seconds"]
        assert epoch["test_loss"] > 0 and 0 <= epoch["test_accuracy"] <= 1
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["curves.png", "lucidfn"]


def test_a_stand_in_says_so_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    titles = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda self, t, **_: titles.append(t))
    experiment.main(LENET, [*SHORT, "--epochs", "1"])  # there is no network
    printed = capsys.readouterr().out
    assert "MNIST cannot be had" in printed and "downloads are switched off" in printed
    assert "LeNet-5 on STAND-IN for MNIST (the 8x8 handwritten digits" in printed
    assert "at the end, on STAND-IN" in printed
    assert "on STAND-IN for MNIST" in titles[0]
    about = history_of(tmp_path / "runs/lenet5_mnist-stand-in/lucidfn")["data"]
    assert about["name"] == "STAND-IN for MNIST" and "scikit-learn" in about["stand_in"]


def test_real_data_is_called_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                         ) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in mnist_files(train=30, test=12).items():
        (tmp_path / "folder" / name).write_bytes(content)
    experiment.main(LENET, [*SHORT, "--epochs", "1", "--data", "folder"])
    assert "STAND-IN" not in capsys.readouterr().out
    about = history_of(tmp_path / "runs/lenet5_mnist/lucidfn")["data"]
    assert about == {"name": "MNIST", "stand_in": None, "train": 30, "test": 12}


def test_pixels_are_normalised_as_data_does_it(tmp_path: Path) -> None:
    found = experiment.parsed(LENET, experiment.arguments(LENET), ["--stand-in", "--quiet"])
    loaded = experiment.load(LENET, found)
    digits = data.digits(size=28)
    expected = data.normalize(digits.train.x, *data.CONSTANTS["mnist"])
    np.testing.assert_allclose(loaded.train.x, expected, rtol=1e-6, atol=1e-6)
    assert loaded.train.x.dtype == np.float32 and (loaded.test.y == digits.test.y).all()


def test_progress_shows_running_loss_and_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    experiment.main(LENET, [*SHORT[:-1], "--stand-in"])
    seen = capsys.readouterr()
    assert "STAND-IN lucidfn 2/2" in seen.err and "loss 2." in seen.err
    assert seen.out.count("train loss") == 2


def test_several_seeds_make_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    histories = experiment.main(LENET, [*SHORT, "--stand-in", "--seeds", "2", "--seed", "3"])
    assert [h["seed"] for h in histories] == [3, 4]
    assert histories[0]["batch_losses"] != histories[1]["batch_losses"]
    assert (tmp_path / "runs/lenet5_mnist-stand-in/seed-4/curves.png").exists()
    mean = np.mean([h["epochs"][-1]["test_accuracy"] for h in histories])
    assert f"  mean  lucidfn{mean:>17.4f}" in capsys.readouterr().out


# ------------------------------------------------------------------ going on

def stopping(learner: type, at: int) -> type:
    """A learner whose process is interrupted before a step."""

    class Stopping(learner):  # type: ignore[misc, valid-type]
        steps = 0

        def step(self, x: Any, y: Any) -> Any:
            type(self).steps += 1
            if self.steps == at:
                raise KeyboardInterrupt
            return super().step(x, y)

    return Stopping


# The optimizer and the schedule of ResNet-18, and its state, in a model that takes no time.
NET = nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.relu, nn.AvgPool2d(4), nn.Flatten(),
                    nn.Linear(144, 10))
SMALL = replace(LENET, recipe=replace(RESNET.recipe, model=NET, twin="small", step_lr=(1, 0.1),
                                      flatten={"5": (4, 6, 6)}))


@pytest.fixture
def twin(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model for PyTorch."""
    if framework != "lucidfn":
        torch = pytest.importorskip("torch").nn
        from examples.torch_models import MODELS

        layers = lambda: (torch.Conv2d(1, 4, 5), torch.BatchNorm2d(4), torch.ReLU(),
                          torch.AvgPool2d(4), torch.Flatten(), torch.Linear(144, 10))
        monkeypatch.setitem(MODELS, "small", lambda: torch.Sequential(*layers()))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("found", [LENET, SMALL], ids=["sgd", "adam"])
def test_resumed_within_an_epoch_bit_for_bit(
        found: experiment.Experiment, framework: str, twin: None, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    args = [*SHORT, "--stand-in", "--framework", framework, "--checkpoint-every", "2"]
    experiment.main(found, [*args, "--out", "whole"])
    learner = experiment.learner_of(framework)
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="goes on from step 8"):
        patch.setattr(experiment, "learner_of", lambda name: stopping(learner, 9))
        experiment.main(found, [*args, "--out", "stopped"])
    assert max(steps_in(tmp_path / "stopped" / framework)) == 8  # of 10, in the second epoch
    experiment.main(found, [*args, "--out", "stopped", "--resume"])
    whole, resumed = (history_of(tmp_path / name / framework) for name in ("whole", "stopped"))
    assert whole["batch_losses"] == resumed["batch_losses"]
    for a, b in zip(whole["epochs"], resumed["epochs"], strict=True):
        assert {k: v for k, v in a.items() if "seconds" not in k} == {
            k: v for k, v in b.items() if "seconds" not in k}


def steps_in(folder: Path) -> list[int]:
    return experiment.lf.Checkpointer(folder / "checkpoints").steps


def test_a_finished_run_goes_on_with_more_epochs(tmp_path: Path) -> None:
    args = [*SHORT, "--stand-in", "--out", "out"]
    [short] = experiment.main(LENET, args)
    [same] = experiment.main(LENET, [*args, "--resume"])
    assert same == short
    [longer] = experiment.main(LENET, [*args, "--resume", "--epochs", "3"])
    [whole] = experiment.main(LENET, [*SHORT, "--stand-in", "--epochs", "3"])
    assert longer["batch_losses"] == whole["batch_losses"]
    with pytest.raises(SystemExit, match="is at step 15, and the epochs asked for end at 10"):
        experiment.main(LENET, [*args, "--resume"])


def test_no_run_overwrites_another(tmp_path: Path) -> None:
    args = [*SHORT, "--stand-in", "--out", "out"]
    experiment.main(LENET, args)
    with pytest.raises(SystemExit, match="up to step 10: --resume goes on with it, --fresh"):
        experiment.main(LENET, args)
    with pytest.raises(SystemExit, match="has batch_size 16, not 8. Give it the same arguments"):
        experiment.main(LENET, [*args, "--resume", "--batch-size", "8"])
    experiment.main(LENET, [*args, "--fresh", "--batch-size", "8"])
    assert max(steps_in(tmp_path / "out/lucidfn")) == 20


# ------------------------------------------------------------------ arguments

@pytest.mark.parametrize("name", ["lenet5_mnist", "resnet18_cifar10", "gpt_text", "digits"])
def test_a_script_is_a_command_from_any_folder(name: str, tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py", "--help"],
                           cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.startswith("usage:"), found.stderr


@pytest.mark.parametrize(["args", "message"], [
    (["--epochs", "0"], "--epochs: expected a number above 0, got '0'"),
    (["--lr", "fast"], "--lr: expected a number above 0, got 'fast'"),
    (["--lr", "inf"], "--lr: expected a number above 0"),
    (["--download"], "give it with --data FOLDER"),
    (["--stand-in", "--data", "x"], "--stand-in and --data contradict each other"),
    (["--stand-in", "--offline"], "--stand-in and --offline contradict each other"),
    (["--resume", "--fresh"], "--resume and --fresh contradict each other"),
    (["--framework", "jax"], "invalid choice: 'jax'"),
    (["--device", "tpu"], "--device: there is no device 'tpu' here"),
    (["--data", "nowhere"], "nowhere is not a folder.*--download fetches them into it"),
    (["--checkpoint-every", "-1"], "must be 0 or more"),
])
def test_wrong_arguments(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        experiment.main(LENET, args)
    assert found.value.code == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error)


def test_help_says_the_defaults(monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        experiment.main(LENET, ["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "(default: 10)" in printed and "--stand-in --epochs 50" in printed


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("examples.in_torch", "examples.torch_models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit, match=r"needs PyTorch: pip install 'lucidfn\[peers\]'"):
        experiment.main(LENET, [*SHORT, "--framework", "both"])


# ------------------------------------------------------------------ against PyTorch

@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_frameworks_have_the_same_curves(dtype: str,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    args = [*SHORT, "--stand-in", "--framework", "both", "--dtype", dtype]
    ours, theirs = experiment.main(LENET, args)
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(ours["batch_losses"], theirs["batch_losses"], rtol=bound)
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        np.testing.assert_allclose(*([e[name] for e in h["epochs"]] for h in (ours, theirs)),
                                   rtol=bound)
    assert "largest difference of the loss of a batch" in capsys.readouterr().out


@pytest.mark.peers
@pytest.mark.parametrize("framework", ["torch"])
def test_schedule_and_weight_decay_are_those_of_torch(framework: str, twin: None) -> None:
    args = [*SHORT, "--stand-in", "--framework", "both", "--dtype", "float64", "--epochs", "3"]
    recipe = replace(SMALL.recipe, options={"weight_decay": 0.1})  # so that it is seen
    ours, theirs = experiment.main(replace(SMALL, recipe=recipe), args)
    np.testing.assert_allclose(ours["batch_losses"], theirs["batch_losses"], rtol=1e-10)
    constant = replace(SMALL, recipe=replace(recipe, step_lr=None))
    [other] = experiment.main(constant, [*args, "--framework", "lucidfn", "--out", "other"])
    assert other["batch_losses"][:5] == ours["batch_losses"][:5]
    assert other["batch_losses"][6:] != ours["batch_losses"][6:]


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_resnet(framework: str, tmp_path: Path) -> None:
    args = "--train-limit 4 --test-limit 2 --batch-size 2 --epochs 1 --quiet --framework"
    [history] = experiment.main(RESNET, [*args.split(), framework, "--out", "out"])
    assert len(history["batch_losses"]) == 2 and history["weight_decay"] == 5e-4
    assert history["data"]["name"] == "STAND-IN for CIFAR-10" and history["step_lr"] == [10, 0.1]
    assert 1.5 < history["batch_losses"][0] < 4  # near log(10), as it should be at the start
    assert steps_in(tmp_path / "out" / framework) == [2]


# ------------------------------------------------------------------ parts

def test_the_recipes_are_the_published_ones() -> None:
    lenet, resnet = LENET.recipe, RESNET.recipe
    assert (lenet.optimizer, lenet.options, lenet.learning_rate) == ("sgd", {"momentum": 0.9}, 0.01)
    assert (lenet.batch_size, lenet.epochs, experiment.count_of(lenet)) == (128, 10, 44426)
    assert LENET.constants == ((0.1307,), (0.3081,))
    assert (resnet.optimizer, resnet.options) == ("adam", {"weight_decay": 5e-4})
    assert (resnet.learning_rate, resnet.batch_size, resnet.epochs) == (1e-3, 128, 20)
    assert RESNET.constants == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def test_coloured_shapes() -> None:
    train, test = shapes.coloured_shapes(train=200, test=30)
    again = shapes.coloured_shapes(train=200, test=30)
    assert (train.x == again.train.x).all() and (test.y == again.test.y).all()
    assert train.x.shape == (200, 32, 32, 3) and train.x.dtype == np.uint8
    assert np.bincount(train.y).tolist() == [20] * 10
    assert (shapes.coloured_shapes(200, 30, seed=1).train.x != train.x).any()
    # The families of colours differ, so that the classes can be told apart at all.
    warm = train.x[train.y % 2 == 0].mean((0, 1, 2))
    cold = train.x[train.y % 2 == 1].mean((0, 1, 2))
    assert warm[0] > cold[0] and warm[2] < cold[2]


def test_files_are_replaced_when_they_are_whole(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError("the disk is full")

    target = tmp_path / "history.json"
    training.replaced(target, lambda path: path.write_text("whole"))
    with pytest.raises(OSError, match="disk"):
        training.replaced(target, half)
    assert target.read_text() == "whole" and list(tmp_path.iterdir()) == [target]


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    experiment.write_json(tmp_path / "x.json", {"a": [1.5, float("nan")], "b": [{"c": np.inf}]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1.5, None], "b": [{"c": None}]}
