"""What the table cannot say of the optimizers of recent years."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optim_tables import OPTIMIZERS

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim, tree
from lucidfn.optim import modern, outer


def test_every_optimizer_of_these_modules_has_a_row() -> None:
    rows = {case.name for case in OPTIMIZERS}
    parts = ("scale_by_", "orthogonalize", "schedule_free_eval")
    names = [n for n in [*modern.__all__, *outer.__all__, "lbfgs"]
             if n.islower() and not n.startswith(parts)]
    assert [n for n in names if n not in rows] == []


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (2, 3, 8)])
def test_newton_schulz_moves_singular_values_near_one(shape: tuple[int, ...],
                                                     rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape)
    got = np.asarray(optim.orthogonalize(lnp.asarray(x), steps=8))
    values = np.linalg.svd(got, compute_uv=False)
    assert np.all((values > 0.6) & (values < 1.3))
    # The singular vectors stay: the product with the nearest orthogonal matrix is symmetric.
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    inner = np.swapaxes(got, -1, -2) @ (u @ vt)
    np.testing.assert_allclose(inner, np.swapaxes(inner, -1, -2), atol=1e-9)


def test_newton_schulz_of_zeros_is_zeros() -> None:
    np.testing.assert_array_equal(optim.orthogonalize(lnp.zeros((3, 2))), 0.0)


def test_muons_mask_may_take_kernels_and_leave_matrices() -> None:
    params = {"conv": lnp.ones((3, 3, 2, 4)), "embedding": lnp.ones((5, 2)), "bias": lnp.ones(4)}
    grads = tree.map(lambda p: lnp.arange(p.size).reshape(p.shape) * 1.0, params)
    tx = optim.muon(1.0, 0.0, mask={"conv": True, "embedding": False, "bias": False})
    updates, _ = tx.update(grads, tx.init(params), params)
    flat = np.asarray(optim.orthogonalize(grads["conv"].reshape(18, 4)))
    np.testing.assert_allclose(updates["conv"].reshape(18, 4), -flat, atol=1e-5)
    # AdamW's first steps are signs.
    np.testing.assert_allclose(updates["embedding"].reshape(-1)[1:], -1.0, rtol=1e-6)
    np.testing.assert_allclose(updates["bias"][1:], -1.0, rtol=1e-6)
    with pytest.raises(TypeError, match=r"float32\[4\]; it takes real matrices"):
        optim.muon(1.0, mask=True).update(grads, optim.muon(1.0, mask=True).init(params), params)


def test_the_trust_ratio_of_zeros_is_one() -> None:
    tx = optim.scale_by_trust_ratio()
    params = {"zero": lnp.zeros(2), "one": lnp.asarray([3.0, 4.0]), "still": lnp.ones(2)}
    updates = {"zero": lnp.ones(2), "one": lnp.asarray([0.0, 2.0]), "still": lnp.zeros(2)}
    got, _ = tx.update(updates, tx.init(params), params)
    np.testing.assert_allclose(got["zero"], 1.0)
    np.testing.assert_allclose(got["one"], [0.0, 5.0])
    np.testing.assert_allclose(got["still"], 0.0)


def test_lars_leaves_biases_out_by_its_masks() -> None:
    params = {"w": lnp.full((2, 2), 2.0), "b": lnp.full(2, 2.0)}
    grads = tree.map(lnp.ones_like, params)
    matrices = lambda p: tree.map(lambda x: x.ndim > 1, p)
    tx = optim.lars(1.0, 0.5, matrices, 0.1, trust_ratio_mask=matrices)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["b"], -1.0)
    np.testing.assert_allclose(updates["w"], -2.0 * 0.1 * 2.0 / 2.0, rtol=1e-6)


def test_adafactor_keeps_rows_and_columns_only() -> None:
    params = {"w": lnp.ones((20, 30)), "k": lnp.ones((3, 4, 5)), "b": lnp.ones(7)}
    state = optim.scale_by_factored_rms().init(params)
    assert state.rows["w"].size + state.cols["w"].size == 50 and state.cols["b"] is None
    assert state.rows["k"].shape == (3, 4, 1) and state.cols["k"].shape == (3, 1, 5)
    assert state.rows["b"].shape == (7,)


def test_adafactors_learning_rate_is_found() -> None:
    tx, params = optim.adafactor(optim.linear(0.5, 0.0, 4)), {"w": lnp.ones(2)}
    state = tx.init(params)
    for wanted in (0.5, 0.375):
        _, state = tx.update(params, state, params)
        assert float(optim.learning_rate(state)) == wanted


def test_lookahead_goes_back_part_of_the_way() -> None:
    tx = optim.lookahead(optim.sgd(1.0), sync_period=2, slow_step_size=0.25)
    params = {"w": lnp.asarray(0.0), "n": lnp.asarray(2)}
    state, path = tx.init(params), []
    for _ in range(4):
        updates, state = tx.update({"w": lnp.asarray(-1.0), "n": None}, state, params)
        params = optim.apply_updates(params, updates)
        path.append(float(params["w"]))
    assert path == [1.0, 0.5, 1.5, 1.0] and int(params["n"]) == 2


def test_schedule_free_gives_the_averages() -> None:
    tx = optim.schedule_free(optim.sgd(1.0), 1.0, b1=0.5)
    params = {"w": lnp.asarray(0.0), "n": lnp.asarray(2)}
    state, z = tx.init(params), 0.0
    points = []
    for g in (-1.0, -2.0, -3.0):
        updates, state = tx.update({"w": lnp.asarray(g), "n": None}, state, params)
        params = optim.apply_updates(params, updates)
        z -= g
        points.append(z)
        x = optim.schedule_free_eval_params(state, params)
        assert float(x["w"]) == pytest.approx(np.mean(points), rel=1e-6) and int(x["n"]) == 2
        assert float(params["w"]) == pytest.approx(0.5 * z + 0.5 * np.mean(points), rel=1e-6)
    with pytest.raises(ValueError, match="holds no averages"):
        optim.schedule_free_eval_params(optim.sgd(1.0).init(params), params)


def test_schedule_free_with_a_warmup_from_zero() -> None:
    schedule = optim.linear_warmup(0.0, 0.5, 4)
    tx, params = optim.schedule_free(optim.sgd(schedule), schedule), {"w": lnp.ones(2)}
    state = tx.init(params)
    for _ in range(3):
        updates, state = lf.jit(tx.update)(params, state, params)
        params = optim.apply_updates(params, updates)
    assert np.all(np.isfinite(params["w"])) and float(params["w"][0]) < 1.0


@pytest.mark.parametrize(("make", "words"), [
    (lambda: optim.lion(1e-4, b1=1.0), "b1 is 1.0"),
    (lambda: optim.lamb(-1.0), "learning_rate is -1.0"),
    (lambda: optim.lars(0.1, trust_coefficient=-1.0), "trust_coefficient is -1.0"),
    (lambda: optim.adafactor(beta2_decay=0.8), "-beta2_decay is -0.8"),
    (lambda: optim.adan(0.1, b3=2.0), "b3 is 2.0"),
    (lambda: optim.muon(adjust="adamw"), "adjust must be None, 'original' or 'match_rms_adamw'"),
    (lambda: optim.lookahead(optim.sgd(0.1), 0), "sync_period is a number of steps, got 0"),
    (lambda: optim.lookahead(optim.sgd(0.1), 5, 1.5), "slow_step_size is 1.5"),
    (lambda: optim.schedule_free(optim.sgd(0.1), 0.1, b1=0), "b1 must be above 0"),
    (lambda: optim.scale_by_trust_ratio().update({}, optim.EmptyState()), "needs the parameters"),
])
def test_bad_arguments(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()
