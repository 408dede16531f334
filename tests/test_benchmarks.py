"""The benchmarks: each workload builds, and compiled it computes what it does plainly.

Nothing is timed here, and no other library is needed.
"""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp


@pytest.fixture(scope="module")
def bench():
    """The package, imported although NumPy is: its guard is for measurements."""
    presets = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
        for name in presets:
            patch.delenv(name, raising=False)
        yield importlib.import_module("benchmarks")


def load(bench, name):
    return importlib.import_module(f"{bench.__name__}.{name}")


@pytest.mark.parametrize("name", ["lenet", "resnet", "gpt", "mlp", "lstm"])
def test_a_jitted_step_is_the_plain_step(bench, name):
    harness, ours = load(bench, "harness"), load(bench, "ours")
    work = load(bench, "workloads").TINY[name]
    compiled, plain = (
        harness.flatten(ours.outputs(work, step, jitted))
        for step, jitted in ((ours.donating(work), True), (ours.training_step(work), False))
    )
    # Adam divides by gradients that are nearly 0: in a deep network little is left of the digits.
    tolerance, exact = (0.1, 1e-4) if name == "resnet" else (1e-4, 1e-7)
    assert harness.disagreement(compiled, plain, tolerance, exact) is None


def test_gradients_of_examples_add_up(bench):
    workloads, ours = load(bench, "workloads"), load(bench, "ours")
    work = workloads.TINY["mlp"]
    single, batch = ours.per_example(work).outputs()[0], ours.weights(work)[0]
    assert {name: a.shape[1:] for name, a in single.items()} == {
        name: a.shape for name, a in batch.items()
    }


def test_kernels_and_the_optimizer_build(bench):
    ours, workloads = load(bench, "ours"), load(bench, "workloads")
    data = {
        "gelu": ((3, 4),),
        "softmax": ((3, 4), (3, 4)),
        "layer-norm": ((3, 4), (3, 4), (4,), (4,)),
        "batch-norm-relu": ((2, 3, 3, 4), (2, 3, 3, 4), (4,), (4,)),
    }
    for name, shapes in data.items():
        make = lambda: [workloads.normal(*shape, seed=i) for i, shape in enumerate(shapes)]
        for array in ours.named_kernel(name, make).outputs():
            assert np.isfinite(array).all()
    assert set(ours.optimizer(workloads.TINY["mlp"]).outputs()[0]) == set(
        ours.weights(workloads.TINY["mlp"])[0]
    )
    assert 0.85 < ours.dropout_mask(1000, "philox").outputs()[0] < 0.95


LOOPS = {
    "rnn": lambda loops: loops.Recurrent("rnn", 5, 2, 3, 4),
    "lstm": lambda loops: loops.Recurrent("lstm", 5, 2, 3, 4),
    "decay": lambda loops: loops.Decay(7),
    "branches": lambda loops: loops.Branches(rows=60, width=3, depth=2),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_jitted_loop_is_the_plain_loop(bench, name):
    harness, ours = load(bench, "harness"), load(bench, "ours")
    work = LOOPS[name](load(bench, "loops"))
    plain = work.make(lf)(*lf.tree.map(lnp.asarray, work.data()))
    compiled = harness.flatten(ours.looped(work).outputs())
    plain = [np.asarray(leaf) for leaf in lf.tree.leaves(plain)]
    assert harness.disagreement(compiled, plain, 1e-5) is None


def test_both_branches_give_what_one_gives(bench):
    harness, ours, loops = (load(bench, name) for name in ("harness", "ours", "loops"))
    one, both = (
        ours.looped(loops.Branches(rows=60, width=3, depth=2, both=both)).outputs()
        for both in (False, True)
    )
    assert harness.disagreement(one, both, 1e-6) is None


def test_updates_are_the_same_in_arrays_of_any_size(bench):
    ours, loops = load(bench, "ours"), load(bench, "loops")
    few, many = (
        ours.updates(loops.Updates(size, steps=50, places=10)).outputs()[0] for size in (10, 70)
    )
    want, xs = np.zeros(10, "float32"), loops.Updates(10, 50, 10).data()
    for i, x in zip(*xs[1:], strict=True):
        want[i] = np.float32(0.5) * want[i] + x
    np.testing.assert_array_equal(few, want)
    np.testing.assert_array_equal(many, want)


def test_the_program_of_a_scan_does_not_grow_with_its_length(bench):
    loops = load(bench, "loops")
    texts = [
        str(lf.make_ir(work.make(lf))(*map(lnp.asarray, work.data())))
        for work in (loops.Length(10), loops.Length(1000))
    ]
    assert len({text.count("\n") for text in texts}) == 1
    assert load(bench, "ours").compile_loop(loops.Length(10)).note() == "10 steps"


@pytest.fixture
def mlx(bench):
    """MLX's module, with its default device put back: a side of a benchmark sets it."""
    mx = pytest.importorskip("mlx.core")
    before = mx.default_device()
    yield mx
    mx.set_default_device(before)


@pytest.mark.parametrize("name", ["lenet", "resnet", "gpt"])
def test_a_step_written_by_hand_is_ours(bench, mlx, name):
    harness, ours, by_hand = (load(bench, n) for n in ("harness", "ours", "in_mlx_nn"))
    work = replace(load(bench, "workloads").TINY[name], batch=2)
    want = harness.flatten(ours.train_on(work, "cpu").outputs())
    tolerance = 0.1 if name == "resnet" else 1e-4
    for side in (ours.train_on(work, "mlx:cpu"), by_hand.train(work, "mlx:cpu", compiled=False)):
        found = harness.flatten(side.outputs())
        assert {a.dtype for a in found} == {np.dtype("float32")}
        assert harness.disagreement(want, found, tolerance) is None


def test_a_side_starts_each_sample_from_the_same_weights(bench, mlx):
    by_hand, workloads = load(bench, "in_mlx_nn"), load(bench, "workloads")
    prepared = by_hand.train(workloads.TINY["lenet"], "mlx:cpu", compiled=False)
    first = prepared.outputs()[0]
    assert prepared.sample() > 0
    np.testing.assert_array_equal(prepared.outputs()[0], first)


def test_another_side_of_ours_can_be_compared(bench):
    harness = load(bench, "harness")
    one = lambda seconds: lambda: harness.Prepared(lambda: seconds)
    benchmark = harness.Benchmark(
        "b", "b", {"lucidfn": one(1.0), "un-jitted": one(3.0), "peer": one(2.0)},
        (harness.Against("peer"), harness.Against("peer", 1.3, ours="un-jitted")),
    )  # fmt: skip
    sides = {name: SideOf(make().sample()) for name, make in benchmark.sides.items()}
    rows = [harness.compare(benchmark, a, sides, {}, "") for a in benchmark.against]
    assert [(row.value, row.verdict) for row in rows] == [(0.5, ""), (1.5, "MISSED")]
    assert load(bench, "report").cells(rows[1])[1] == "peer, of un-jitted"


class SideOf:
    """A side that has been measured once."""

    problem = None

    def __init__(self, seconds):
        self.samples = [seconds]

@pytest.mark.parametrize("tested", [20, 0])
def test_an_epoch_is_measured_from_the_same_start(bench, tested):
    epochs, ours = load(bench, "epochs"), load(bench, "epochs_ours")
    side = ours.epoch(replace(epochs.TINY, test=tested))
    assert side.sample() > 0
    losses = [side.outputs()[0] for _ in range(2)]
    assert losses[0] == losses[1]


def test_names_and_groups(bench):
    main = load(bench, "__main__")
    everything = main.chosen([])
    assert len(set(everything)) == len(everything)
    assert main.chosen(["gpt", "kernels", "gpt"])[0] == "gpt"
    assert set(main.chosen(list(main.GROUPS))) == set(everything)
    with pytest.raises(ValueError, match="no benchmark lenett"):
        main.chosen(["lenett"])
    assert "mlx-lenet" in main.chosen(["mlx"])
    assert "gpu-lenet" in main.chosen(["mlx"], "gpu")
    assert not set(main.chosen(["mlx"])) & set(main.chosen(["mlx"], "gpu"))


def test_what_cannot_be_compared_is_said(bench):
    harness = load(bench, "harness")
    one, two = [np.float64(1.0)], [np.float64(1.0 + 1e-6)]
    assert harness.disagreement(one, two, 1e-5) is None
    assert "differs" in harness.disagreement(one, two, 1e-5, exact=1e-7)
    assert "outputs against" in harness.disagreement(one, [], 1e-5)


def test_saved_rows_are_replaced_one_benchmark_at_a_time(bench, tmp_path):
    harness, report = load(bench, "harness"), load(bench, "report")
    row = lambda name, peer, value: harness.Row(name, name, peer, "ratio", "ms", 1.0, value=value)
    path = tmp_path / "rows.json"
    assert report.read_json(path) == []
    report.write_json([row("a", "x", 1.0), row("a", "y", 1.0), row("b", "x", 1.0)], path)
    rows = report.merged(report.read_json(path), [row("a", "x", 0.5), row("c", "x", 2.0)])
    assert [(r.benchmark, r.peer, r.value) for r in rows] == [
        ("a", "x", 0.5), ("b", "x", 1.0), ("c", "x", 2.0)
    ]
    assert [r.verdict for r in rows] == ["ok", "ok", "MISSED"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_steps_whose_loss_is_not_read_leave_nothing_behind(bench):
    pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")
    endurance = load(bench, "endurance")
    found = list(endurance.marks("mlx:cpu", steps=300, batch=4, every=50))
    assert [mark.steps for mark in found] == [50, 100, 150, 200, 250, 300]
    assert endurance.growth(found[1:]) < 10, found
