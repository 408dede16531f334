"""Optimizers by hand: one test for each formula that is easily wrong."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim, tree


def steps_of(tx: Any, grads: list[float], param: float = 1.0) -> list[float]:
    """The updates of one float64 parameter that stays where it is."""
    params = {"w": lnp.asarray(param, "float64")}
    state, out = tx.init(params), []
    for g in grads:
        updates, state = tx.update({"w": lnp.asarray(g, "float64")}, state, params)
        out.append(float(updates["w"]))
    return out


def test_the_first_momentum_buffer_has_the_weight_decay() -> None:
    got = steps_of(optim.sgd(1.0, momentum=0.5, weight_decay=0.1), [1.0, 1.0], param=2.0)
    np.testing.assert_allclose(got, [-1.2, -1.8], rtol=1e-12)


def test_the_first_momentum_buffer_is_not_dampened() -> None:
    got = steps_of(optim.sgd(1.0, momentum=0.5, dampening=0.9), [1.0, 1.0])
    np.testing.assert_allclose(got, [-1.0, -0.6], rtol=1e-12)


def test_amsgrads_maximum_is_stored() -> None:
    tx = optim.scale_by_adam(amsgrad=True)
    params = {"w": lnp.asarray(0.0, "float64")}
    state = tx.init(params)
    peaks = []
    for g in (10.0, 0.0, 0.0):
        _, state = tx.update({"w": lnp.asarray(g, "float64")}, state, params)
        peaks.append(float(state.nu_max["w"]))
        assert float(state.nu["w"]) <= peaks[-1]
    np.testing.assert_allclose(peaks, 0.1, rtol=1e-12)


def test_nadam_is_dozats() -> None:
    mu1, mu2 = 0.9 * (1 - 0.5 * 0.96 ** 0.004), 0.9 * (1 - 0.5 * 0.96 ** 0.008)
    m, g = 0.1 * 2.0, 2.0
    expected = -(g * (1 - mu1) / (1 - mu1) + m * mu2 / (1 - mu1 * mu2)) / (2.0 + 1e-8)
    np.testing.assert_allclose(steps_of(optim.nadam(1.0), [g]), [expected], rtol=1e-12)


def test_radam_rectifies_above_five() -> None:
    """With b2 = 0.999, rho is 4.996 at step 5 and 5.994 at step 6: five plain steps."""
    got = steps_of(optim.radam(1.0), [2.0] * 6)
    np.testing.assert_allclose(got[:5], -2.0, rtol=1e-9)
    assert abs(got[5]) < 0.1


def test_radam_is_as_precise_under_jit() -> None:
    tx = optim.radam(1.0)
    params, state = {"w": lnp.asarray(1.0)}, tx.init({"w": lnp.asarray(1.0)})
    step = lf.jit(lambda s: tx.update({"w": lnp.asarray(2.0)}, s, params))
    expected = steps_of(tx, [2.0] * 8)
    for e in expected:
        updates, state = step(state)
        np.testing.assert_allclose(float(updates["w"]), e, rtol=1e-5)


def test_rprops_steps_persist() -> None:
    got = steps_of(optim.rprop(0.1), [1.0, 1.0, 1.0, -1.0, -1.0])
    np.testing.assert_allclose(got, [-0.1, -0.12, -0.144, 0.0, 0.072], rtol=1e-12)


def test_rmsprops_eps_is_outside_the_root() -> None:
    got = steps_of(optim.rmsprop(1.0, decay=0.75, eps=1.0), [2.0])
    np.testing.assert_allclose(got, [-2.0 / (1.0 + 1.0)], rtol=1e-12)


@pytest.mark.parametrize("make", [optim.adam, lambda *a, **k: optim.adamw(*a, **k, weight_decay=0)])
def test_adams_eps_is_added_after_bias_correction(make: Any) -> None:
    got = steps_of(make(1.0, eps=1.0), [2.0, 2.0])
    np.testing.assert_allclose(got, [-2.0 / 3.0] * 2, rtol=1e-12)


def test_bias_correction_is_precise_under_jit() -> None:
    """1 - 0.999**t in float32 would be wrong in the fifth digit."""
    tx = optim.adam(1.0, eps=0.0)
    params = {"w": lnp.ones(3)}
    updates, _ = lf.jit(tx.update)({"w": lnp.full(3, 0.3)}, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], -1.0, rtol=4e-7)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        optim.sgd(0.1, nesterov=True)
    with pytest.raises(ValueError, match="no dampening"):
        optim.sgd(0.1, momentum=0.9, dampening=0.1, nesterov=True)


@pytest.mark.parametrize("bad", [{"b1": 1.0}, {"b2": -0.1}, {"eps": -1e-8}, {"b1": 90}])
def test_hyperparameters_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is .* it must lie in"):
        optim.adam(**bad)
    with pytest.raises(ValueError, match="weight_decay is -1"):
        optim.adamw(weight_decay=-1)
    with pytest.raises(TypeError, match="learning_rate is '0.1'; it must be a number or a"):
        optim.sgd("0.1")


def test_dtypes_may_be_mixed() -> None:
    """Each leaf is updated in its own precision, and the state keeps its types, jitted or not."""
    params = {name: lnp.ones(2, name) for name in ("float64", "float32", "bfloat16", "complex64")}
    types = lambda t: [str(lf.typeof(x)) for x in tree.leaves(t)]
    for make in (optim.sgd, optim.asgd, optim.adam, optim.nadam, optim.radam, optim.adamax,
                 optim.adagrad, optim.adadelta, optim.rmsprop, optim.rprop):
        for factory in (make, optim.inject_hyperparams(make))[:1 + (make is not optim.rprop)]:
            tx = optim.chain(optim.clip_by_global_norm(1.0), factory(1e-3))
            state = tx.init(params)
            for update in (tx.update, lf.jit(tx.update)):
                updates, after = update(params, state, params)
                assert types(after) == types(state), make
                assert types(optim.apply_updates(params, updates)) == types(params)
