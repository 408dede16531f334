"""Schedules: their first step, large steps, dtypes, how they print, and bad arguments."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optim_tables.schedules import HARMONIC, SCHEDULES, ScheduleCase

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim
from lucidfn.optim import cycles, schedules

rows = pytest.mark.parametrize("row", SCHEDULES, ids=str)


@rows
def test_step_0_is_the_first_value_and_not_an_epoch_late(row: ScheduleCase) -> None:
    assert row.ours(0) == pytest.approx(row.first, rel=1e-15, abs=0)


@rows
def test_numbers_and_arrays_and_traced_steps_agree(row: ScheduleCase) -> None:
    wanted = [row.ours(step) for step in range(row.steps)]
    assert all(type(v) is float for v in wanted)
    traces = []
    traced = lf.jit(lambda step: (traces.append(1), row.ours(step))[1])
    for dtype in ("int32", "int64", "uint8", "uint32"):
        got = row.ours(lnp.arange(row.steps, dtype=dtype if row.steps < 200 else "int32"))
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=3e-6, atol=1e-7)
    got = [float(traced(lnp.asarray(step, dtype="int32"))) for step in range(20)]
    np.testing.assert_allclose(got, wanted[:20], rtol=3e-6, atol=1e-7)
    assert len(traces) == 1
    got = lf.vmap(row.ours)(lnp.arange(5))
    np.testing.assert_allclose(np.asarray(got), wanted[:5], rtol=3e-6, atol=1e-7)


@rows
def test_values_are_weak_and_widen_nothing(row: ScheduleCase) -> None:
    def times_ones(step: Any) -> Any:
        value = row.ours(step)
        assert value.dtype == "float32" and value.weak and value.shape == ()
        return value * lnp.ones(2, dtype="bfloat16")

    step = lnp.asarray(3, dtype="int32")
    assert times_ones(step).dtype == lf.jit(times_ones)(step).dtype == "bfloat16"
    assert (row.ours(3) * lnp.ones(2)).dtype == "float32"


@rows
def test_prints_as_the_call_that_made_it(row: ScheduleCase) -> None:
    again = eval(repr(row.ours), {**vars(optim), "HARMONIC": HARMONIC})
    assert again == row.ours and hash(again) == hash(row.ours)
    assert repr(again) == repr(row.ours)


def test_every_schedule_has_a_row() -> None:
    known = {id(getattr(optim, row.name)) for row in SCHEDULES}
    public = [*schedules.__all__, *cycles.__all__]
    assert [n for n in public if id(getattr(optim, n)) not in known] == []


BIG = 2**24 + 1  # the first integer that float32 does not hold


@pytest.mark.parametrize("schedule", [
    optim.step_decay(1.0, 2), optim.cosine_annealing(1.0, 5), optim.cosine_restarts(1.0, 7),
    optim.cosine_restarts(1.0, 3, 2), optim.cyclic(0.1, 1.0, 3, 2), optim.cyclic(0.1, 1.0, 1, 6),
    optim.piecewise_constant(1.0, {BIG: 0.5, BIG + 2: 0.5}),
    optim.linear(0.0, 1.0, 4, BIG), optim.linear(1.0, 0.0, BIG),
    optim.join_schedules([optim.constant(1.0), optim.linear(0.0, 1.0, 3)], [BIG]),
    optim.warmup_cosine_decay(0.0, 1.0, BIG, BIG + 4), optim.cosine_decay(1.0, BIG + 4),
    optim.one_cycle(1.0, BIG + 3, 0.5), optim.exponential_decay(1.0, 2**20, 0.5),
    optim.cyclic(0.1, 1.0, 3, 2, "exp_range", 1 - 1e-8), optim.noam(8, BIG), optim.constant(1.0),
    optim.inverse_sqrt(1.0, BIG),
], ids=str)
def test_the_phase_is_exact_after_2_to_24_steps(schedule: optim.Schedule) -> None:
    traced = lf.jit(schedule)
    for step in range(BIG - 3, BIG + 6):
        got = float(traced(lnp.asarray(step, dtype="int32")))
        assert got == pytest.approx(schedule(step), rel=1e-5, abs=1e-12), step


def test_cyclic_with_up_different_from_down() -> None:
    schedule = optim.cyclic(0.0, 1.0, 2, 4)
    assert [schedule(n) for n in range(8)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.5]


def test_restarts_are_found_exactly() -> None:
    schedule = optim.cosine_restarts(1.0, 3, 3)
    starts = [3 * (3**n - 1) // 2 for n in range(20)]
    assert [schedule(s) for s in starts] == [1.0] * 20
    # Just before a restart little is left: of 10**9 steps, (pi / 2e9)**2.
    assert all(0 < schedule(s - 1) < 0.3 for s in starts[1:])
    assert schedule(lnp.asarray(starts, dtype="int64")).tolist() == [1.0] * 20


def test_what_comes_last_is_kept() -> None:
    assert optim.cosine_decay(1.0, 10, 0.1)(10**12) == 0.1
    assert optim.one_cycle(1.0, 10)(9) == optim.one_cycle(1.0, 10)(500) == 1 / 25 / 1e4
    assert optim.linear(1.0, 0.25, 10)(10) == optim.linear(1.0, 0.25, 10)(11) == 0.25
    assert optim.linear(1.0, 0.25, 0)(0) == 0.25


def test_the_value_is_differentiable_in_its_arguments() -> None:
    slope = lf.grad(lambda rate: optim.cosine_decay(rate, 10)(5))(2.0)
    assert float(slope) == pytest.approx(0.5)
    joined = lambda rate: optim.join_schedules(
        [optim.constant(0.0), optim.inverse_sqrt(rate, 4)], [3])(lnp.asarray([7]))[0]
    assert float(lf.grad(joined)(2.0)) == pytest.approx(1.0)


def test_joined_schedules_count_from_their_own_start() -> None:
    seen = []
    joined = optim.join_schedules([lambda n: 1.0, lambda n: (seen.append(n), float(n))[1]], [3])
    assert [joined(n) for n in range(6)] == [1.0, 1.0, 1.0, 0.0, 1.0, 2.0]
    assert min(seen) == 0


@pytest.mark.parametrize(("make", "words"), [
    (lambda: optim.cosine_decay(1.0, 0), "decay_steps must be at least 1, got 0"),
    (lambda: optim.cosine_decay(1.0, -5), "at least 1, got -5"),
    (lambda: optim.cosine_decay(1.0, 1e4), "number of steps, an int, got 10000.0"),
    (lambda: optim.cosine_decay("3e-4", 10), "init_value is a number, got '3e-4'"),
    (lambda: optim.cosine_decay(math.nan, 10), "must be finite, got nan"),
    (lambda: optim.cosine_decay(optim.constant(1.0), 10), "join_schedules"),
    (lambda: optim.step_decay(1.0, 2, -0.1), "gamma must be positive and finite, got -0.1"),
    (lambda: optim.exponential_decay(1.0, 10, 0.0), "decay_rate must be positive"),
    (lambda: optim.multi_step(1.0, [5, 3]), r"milestones must increase, got \[5, 3\]"),
    (lambda: optim.multi_step(1.0, [3, 3]), "milestones must increase"),
    (lambda: optim.piecewise_constant(1.0, {4: 0.1, 2: 0.5}), "boundaries must increase"),
    (lambda: optim.piecewise_constant(1.0, {-4: 0.1}), "at least 0, got -4"),
    (lambda: optim.piecewise_constant(1.0, {4: None}), "scale at 4 is a number, got None"),
    (lambda: optim.piecewise_interpolate("cubic", 1.0), "interpolate_type must be one of"),
    (lambda: optim.cyclic(0.1, 1.0, mode="triangle"), "mode must be one of .*got 'triangle'"),
    (lambda: optim.one_cycle(1.0, 10, anneal_strategy="cosine"), "anneal_strategy must be one of"),
    (lambda: optim.one_cycle(1.0, 10, pct_start=30), r"in \[0, 1\]"),
    (lambda: optim.join_schedules([optim.constant(1.0)], [3]), "1 schedules need 0 boundaries"),
    (lambda: optim.join_schedules([1.0, optim.constant(1.0)], [3]), "got 1.0 for a schedule"),
    (lambda: optim.join_schedules([optim.constant(1.0)] * 3, [5, 2]), "boundaries must increase"),
    (lambda: optim.warmup_cosine_decay(0.0, 1.0, 10, 10), "decay_steps must be at least 11"),
    (lambda: optim.constant(1.0)(-1), "got step -1; steps count from 0"),
    (lambda: optim.cosine_decay(1.0, 5)(2.0), r"got the step float32\*\[\]; steps are integers"),
    (lambda: optim.cosine_decay(1.0, 5)(lnp.ones(3)), r"float32\[3\]; steps are integers"),
])
def test_bad_arguments(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


# ------------------------------------------------------------------ plateaus

def scales(losses: list[float], **options: Any) -> list[float]:
    tx = optim.reduce_on_plateau(**options)
    state, out = tx.init(None), []
    for loss in losses:
        updates, state = tx.update({"w": lnp.ones(2)}, state, value=loss)
        out.append(float(updates["w"][0]))
    return out


def test_a_plateau_heeds_its_cooldown() -> None:
    got = scales([1.0] * 9, factor=0.5, patience=0, cooldown=3)
    assert got == [1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_a_plateaus_scale_has_a_least_value_and_a_better_loss_resets_the_count() -> None:
    assert scales([1.0] * 6, factor=0.5, patience=0, min_scale=0.375) == [1.0, 0.5] + [0.375] * 4
    assert scales([3.0, 3.0, 2.0, 2.0, 1.0, 1.0], factor=0.5, patience=1) == [1.0] * 6
    assert scales([1.0, 2.0, 3.0, 3.0], factor=0.5, patience=0, mode="max") == [1.0, 1.0, 1.0, 0.5]


def test_a_plateau_of_averages() -> None:
    got = scales([1.0, 3.0, 0.0, 4.0, 2.0, 2.0], factor=0.5, patience=0, accumulation_size=2)
    assert got == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


def test_a_plateau_in_a_chain_with_an_optimizer() -> None:
    tx = optim.chain(optim.sgd(1.0), optim.reduce_on_plateau(factor=0.5, patience=0))
    params = {"w": lnp.ones(2, dtype="bfloat16"), "n": lnp.asarray(3)}
    state, traces = tx.init(params), []

    @lf.jit
    def step(params: Any, state: Any) -> Any:
        traces.append(1)
        grads = {"w": lnp.ones(2, dtype="bfloat16"), "n": None}
        return tx.update(grads, state, params, value=lnp.asarray(1.0))

    for wanted in (-1.0, -0.5, -0.25):
        updates, state = step(params, state)
        assert float(updates["w"][0]) == wanted and updates["n"] is None
    assert len(traces) == 1


@pytest.mark.parametrize(("make", "words"), [
    (lambda: optim.reduce_on_plateau(factor=1.5), r"factor must lie in \(0, 1\), got 1.5"),
    (lambda: optim.reduce_on_plateau(mode="least"), "mode must be 'min' or 'max', got 'least'"),
    (lambda: optim.reduce_on_plateau(threshold_mode="x"), "must be 'rel' or 'abs', got 'x'"),
    (lambda: optim.reduce_on_plateau(patience=-1), "patience is a number of values, got -1"),
    (lambda: optim.reduce_on_plateau(accumulation_size=0), "accumulation_size is a number"),
    (lambda: optim.reduce_on_plateau(threshold=-1.0), "threshold is -1.0"),
    (lambda: scales([None]), "needs the loss.*value=loss"),
    (lambda: scales([lnp.ones(3)]), r"got value float32\[3\]; it takes one number"),
])
def test_bad_plateaus(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@rows
def test_as_the_learning_rate_of_an_optimizer_it_is_traced_once(row: ScheduleCase) -> None:
    tx, traces = optim.sgd(row.ours), []
    params = {"w": lnp.ones(2)}
    state = tx.init(params)
    assert float(optim.learning_rate(state)) == pytest.approx(row.first, rel=1e-6)
    step = lf.jit(lambda g, s, p: (traces.append(1), tx.update(g, s, p))[1])
    for n in range(6):
        updates, state = step(params, state, params)
        np.testing.assert_allclose(updates["w"], -row.ours(n), rtol=3e-6)
    assert len(traces) == 1


@pytest.mark.parametrize("schedule", [
    optim.cosine_decay(1e-3, 100), optim.multi_step(1e-3, [1]),
    optim.exponential_decay(1e-3, 1, 0.9)])
def test_the_rate_of_a_compiled_step_is_as_precise_as_the_parameters(schedule):
    tx = optim.sgd(schedule)
    params = {"w": lnp.ones((), "float64"), "v": lnp.ones((), "float32")}
    update = lf.jit(tx.update)
    state = tx.init(params)
    for step in range(3):
        updates, new = update(params, state, params)
        assert abs(float(updates["w"]) + schedule(step)) < 1e-15
        assert updates["v"].dtype == "float32"
        assert lf.tree.map(lf.typeof, new) == lf.tree.map(lf.typeof, state)
        state = new
