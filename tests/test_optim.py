"""What every optimizer of the table must do; the learning rate; small transformations."""

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from optim_tables import OPTIMIZERS
from optim_tables.table import (
    OptimizerCase,
    gradient,
    minimise,
    parabola,
    rosenbrock,
    start,
    trajectory,
)

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim, random, tree
from lucidfn.types import is_inexact

every = pytest.mark.parametrize("case", OPTIMIZERS, ids=str)


def arrays(dtype: Any = "float32") -> Any:
    return tree.map(lnp.asarray, start(dtype))


def grads_of(params: Any) -> Any:
    return tree.map(lnp.asarray, gradient({k: np.asarray(x) for k, x in params.items()}))


def updated(case: OptimizerCase, params: Any, grads: Any, steps: int = 3) -> tuple[Any, Any]:
    tx = case.make(case.lr)
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params, **extras(params, grads))
        params = optim.apply_updates(params, updates)
    return params, state


def extras(params: Any, grads: Any) -> dict[str, Any]:
    """For line searches, which need to evaluate a function."""
    loss = lambda p: sum(lnp.sum(lnp.abs(x).astype("float32") ** 2) for x in tree.leaves(p)
                         if is_inexact(lf.typeof(x).dtype))
    return {"value": 1.0, "grad": grads, "value_fn": loss}


def types(t: Any) -> list[Any]:
    return [(str(lf.typeof(x))) for x in tree.leaves(t)]


# ------------------------------------------------------------------ every optimizer

def test_every_optimizer_has_a_row() -> None:
    takes_rate = lambda f: inspect.isfunction(f) and "learning_rate" in inspect.signature(
        f).parameters
    names = {n for n in optim.__all__ if takes_rate(getattr(optim, n)) and "scale_by" not in n}
    assert names <= {case.name for case in OPTIMIZERS}


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.parabola], ids=str)
def test_reaches_the_least_of_a_parabola(case: OptimizerCase) -> None:
    lr, steps = case.parabola
    found = minimise(case.make(lr), parabola, {"x": lnp.array([3.0, -1.0]), "y": lnp.array(2.0)},
                     steps)
    for x in tree.leaves(found):
        np.testing.assert_allclose(x, 1.0, atol=case.reach)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.rosenbrock], ids=str)
def test_reaches_the_end_of_rosenbrocks_valley(case: OptimizerCase) -> None:
    lr, steps = case.rosenbrock
    found = minimise(case.make(lr), rosenbrock, {"x": lnp.array(-1.0), "y": lnp.array(1.5)}, steps)
    for x in tree.leaves(found):
        np.testing.assert_allclose(x, 1.0, atol=5 * case.reach)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.schedules and not c.line_search],
                         ids=str)
def test_accepts_a_schedule(case: OptimizerCase) -> None:
    fixed = trajectory(case.make(case.lr), start(), 4)
    constant = trajectory(case.make(lambda step: case.lr * (step >= 0)), start(), 4)
    np.testing.assert_allclose(fixed[-1]["weight"], constant[-1]["weight"], rtol=1e-6)


@every
def test_one_trace_and_a_stable_state(case: OptimizerCase) -> None:
    traces = []
    tx = case.make(case.lr)

    @lf.jit
    def step(grads: Any, state: Any, params: Any) -> Any:
        traces.append(1)
        updates, state = tx.update(grads, state, params, **extras(params, grads))
        return optim.apply_updates(params, updates), state

    params = arrays()
    state = tx.init(params)
    before, structure = types(state), tree.structure(state)
    for _ in range(5):
        params, state = step(grads_of(params), state, params)
    assert len(traces) == 1
    assert types(state) == before and tree.structure(state) == structure
    assert types(params) == types(arrays())
    assert not any("*" in t for t in before), f"weak: {before}"
    assert all("int64" not in t and "float64" not in t or "[]" in t for t in before)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if not c.line_search], ids=str)
def test_same_with_and_without_jit(case: OptimizerCase) -> None:
    tx, params = case.make(case.lr), arrays("float64")
    state = tx.init(params)
    jitted = trajectory(tx, start(), 8)
    for _ in range(8):
        updates, state = tx.update(grads_of(params), state, params)
        params = optim.apply_updates(params, updates)
    for k, x in params.items():
        np.testing.assert_allclose(x, jitted[-1][k], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.vmap], ids=str)
def test_vmap_over_learning_rates(case: OptimizerCase) -> None:
    params, rates = arrays(), lnp.array([0.5, 1.0, 2.0]) * case.lr

    def run(lr: Any) -> Any:
        tx, p = case.make(lr), params
        state = tx.init(p)
        for _ in range(3):
            grads = tree.map(lambda x: x + lnp.cos(3 * x), p)
            updates, state = tx.update(grads, state, p, **extras(p, grads))
            p = optim.apply_updates(p, updates)
        return p

    together = lf.vmap(run)(rates)
    for i in range(3):
        alone = run(float(rates[i]))
        for k, x in alone.items():
            np.testing.assert_allclose(together[k][i], x, rtol=2e-5, atol=2e-6)


@every
def test_leaves_without_gradient_stay(case: OptimizerCase) -> None:
    params = {**arrays(), "count": lnp.asarray(3), "key": random.key(0), "frozen": lnp.ones(2)}
    grads = {**grads_of(arrays()), "count": None, "key": None, "frozen": None}
    after, state = updated(case, params, grads)
    assert int(after["count"]) == 3 and after["key"] is params["key"]
    np.testing.assert_array_equal(after["frozen"], 1.0)
    assert types(state) == types(case.make(case.lr).init(params))
    alone, _ = updated(case, arrays(), grads_of(arrays()))
    for k, x in alone.items():
        np.testing.assert_allclose(after[k], x, rtol=1e-6)


@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.complex], ids=str)
def test_descends_for_complex_parameters(case: OptimizerCase) -> None:
    z = lnp.array([1 + 2j, -2 + 0.5j])
    loss = lambda p: lnp.sum(lnp.abs(p["z"]) ** 2)
    params = {"z": z}
    first, grads = lf.value_and_grad(loss)(params)
    after, _ = updated(case, params, grads, steps=1)
    assert after["z"].dtype == "complex64"
    # Both parts move towards zero.
    assert np.all(np.abs(np.real(after["z"])) < np.abs(np.real(z)))
    assert np.all(np.abs(np.imag(after["z"])) < np.abs(np.imag(z)))


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_parameters_keep_their_dtype(case: OptimizerCase, dtype: str) -> None:
    params = tree.map(lambda x: x.astype(dtype), arrays())
    grads = tree.map(lambda x: x.astype(dtype), grads_of(arrays()))
    after, state = updated(case, params, grads)
    assert all(x.dtype == dtype for x in tree.leaves(after))
    assert all(np.all(np.isfinite(np.asarray(x, "float32"))) for x in tree.leaves(after))
    assert dtype not in str(types(state)), "statistics are kept in float32"
    assert types(state) == types(case.make(case.lr).init(params))


@every
def test_a_negative_learning_rate_is_refused(case: OptimizerCase) -> None:
    with pytest.raises(ValueError, match="learning_rate is -0.1; it must lie in"):
        case.make(-0.1)


@every
def test_another_tree_of_gradients_is_refused(case: OptimizerCase) -> None:
    tx, params = case.make(case.lr), arrays()
    state, grads = tx.init(params), grads_of(params)
    missing = {k: g for k, g in grads.items() if k != "bias"}
    with pytest.raises(ValueError, match=r"\['bias'\]: missing in updates"):
        tx.update(missing, state, params, **extras(params, missing))
    wrong = {**grads, "bias": lnp.ones((2, 4))}
    with pytest.raises(ValueError, match=r"(?s)bias.*float32\[4\].*float32\[2,4\]"):
        tx.update(wrong, state, params, **extras(params, wrong))
    with pytest.raises(TypeError, match="needs the parameters"):
        tx.update(grads, state)


@every
def test_a_tree_without_leaves(case: OptimizerCase) -> None:
    tx = case.make(case.lr)
    updates, _ = tx.update({}, tx.init({}), {}, value=0.0, grad={}, value_fn=lambda p: 0.0)
    assert optim.apply_updates({}, updates) == {}


@every
def test_state_survives_flattening_pickle_and_donation(case: OptimizerCase) -> None:
    tx, params = case.make(case.lr), arrays()
    grads = grads_of(params)
    step = lf.jit(lambda g, s, p: tx.update(g, s, p, **extras(p, g)), donate_argnums=(1,))
    _, expected = step(grads, tx.init(params), params)
    leaves, structure = tree.flatten(tx.init(params))
    copies = [lnp.copy(x) if not str(lf.typeof(x)).startswith("key") else x for x in leaves]
    _, found = step(grads, tree.unflatten(structure, copies), params)
    _, again = step(grads, pickle.loads(pickle.dumps(tx.init(params))), params)
    for a, b, c in zip(*map(tree.leaves, (expected, found, again)), strict=True):
        if not str(lf.typeof(a)).startswith("key"):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)


@every
def test_python_numbers_as_parameters(case: OptimizerCase) -> None:
    """Weak parameters stay weak, so that a jitted step is traced once."""
    tx, params = case.make(case.lr), {"a": 1.0, "b": 2.0}
    state = tx.init(params)
    before = types(state)
    for _ in range(2):
        updates, state = tx.update({"a": 1.0, "b": -1.0}, state, params,
                                   **extras(params, {"a": 1.0, "b": -1.0}))
        params = optim.apply_updates(params, updates)
    assert types(params) == ["float32*[]"] * 2 and types(state) == before


# ------------------------------------------------------------------ the learning rate

def test_the_learning_rate_is_found_anywhere() -> None:
    params = {"w": lnp.ones(2)}
    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(lambda step: 0.5 / (1.0 + step)))
    state = tx.init(params)
    assert float(optim.learning_rate(state)) == 0.5
    for expected in (0.5, 0.25, 0.5 / 3):
        _, state = tx.update(params, state, params)
        assert float(optim.learning_rate(state)) == pytest.approx(expected)
    assert float(optim.learning_rate(optim.asgd(0.125).init(params))) == 0.125
    injected = optim.inject_hyperparams(optim.adam)(learning_rate=0.25).init(params)
    assert float(optim.learning_rate(injected)) == 0.25
    two = optim.multi_transform({"a": optim.sgd(1.0), "b": optim.sgd(2.0)}, {"w": "a"})
    assert [float(x) for x in optim.learning_rate(two.init(params))] == [1.0, 2.0]
    with pytest.raises(ValueError, match="no learning rate"):
        optim.learning_rate(optim.clip(1.0).init(params))


def test_updates_are_differentiable_in_the_learning_rate() -> None:
    def after(lr: Any) -> Any:
        params, tx = {"w": lnp.asarray(2.0)}, optim.adam(lr)
        updates, _ = tx.update({"w": lnp.asarray(1.0)}, tx.init(params), params)
        return optim.apply_updates(params, updates)["w"]

    assert float(lf.grad(after)(0.1)) == pytest.approx(-1.0, rel=1e-6)


# ------------------------------------------------------------------ small transformations

def test_weight_decay_with_a_mask() -> None:
    params = {"w": lnp.ones((2, 2)), "b": lnp.ones(2)}
    grads = tree.map(lnp.zeros_like, params)
    for mask in ({"w": True, "b": False}, lambda p: tree.map(lambda x: x.ndim > 1, p)):
        tx = optim.adamw(1.0, weight_decay=0.5, mask=mask)
        updates, _ = tx.update(grads, tx.init(params), params)
        np.testing.assert_allclose(updates["w"], -0.5)
        np.testing.assert_allclose(updates["b"], 0.0)


def test_scale_sign_centralize_and_zero() -> None:
    g = {"w": lnp.array([[1.0, -2.0], [3.0, 0.0]]), "n": None}
    run = lambda tx: tx.update(g, tx.init(g), g)[0]
    np.testing.assert_array_equal(run(optim.scale(2.0))["w"], 2 * np.asarray(g["w"]))
    np.testing.assert_array_equal(run(optim.scale_by_sign())["w"], [[1, -1], [1, 0]])
    np.testing.assert_array_equal(run(optim.centralize())["w"], [[-1, -1], [1, 1]])
    np.testing.assert_array_equal(run(optim.set_to_zero())["w"], np.zeros((2, 2)))
    assert run(optim.identity()) is g
    assert all(run(tx)["n"] is None for tx in (optim.scale(2.0), optim.centralize()))
    tx = optim.scale_by_schedule(lambda step: 1.0 + step)
    _, state = tx.update(g, tx.init(g), g)
    np.testing.assert_array_equal(tx.update(g, state, g)[0]["w"], 2 * np.asarray(g["w"]))


def test_noise_has_the_variance_of_its_step() -> None:
    zeros, tx = {"w": lnp.zeros(20000), "n": None}, optim.add_noise(0.04, 1.0, 7)
    state = tx.init(zeros)
    first, state = tx.update(zeros, state, zeros)
    second, _ = tx.update(zeros, state, zeros)
    assert np.std(first["w"]) == pytest.approx(0.2, rel=0.03)
    assert np.std(second["w"]) == pytest.approx(0.2 / 2 ** 0.5, rel=0.03)
    assert abs(np.corrcoef(first["w"], second["w"])[0, 1]) < 0.05


def test_asgds_average_is_readable() -> None:
    tx, params = optim.asgd(0.1, t0=0, lambd=0.0), {"w": lnp.asarray(1.0)}
    state, seen = tx.init(params), []
    for _ in range(4):
        updates, state = tx.update({"w": lnp.asarray(1.0)}, state, params)
        params = optim.apply_updates(params, updates)
        seen.append(float(params["w"]))
    # The first two steps have weight one, as in PyTorch: the average starts at the second.
    assert float(optim.averaged_params(state)["w"]) == pytest.approx(np.mean(seen[1:]), rel=1e-6)
    with pytest.raises(ValueError, match="no average"):
        optim.averaged_params(optim.sgd(0.1).init(params))


def test_chain_refuses_what_is_no_transformation() -> None:
    with pytest.raises(TypeError, match="takes transformations"):
        optim.chain(optim.sgd(0.1), optim.sgd)
    tx = optim.chain(optim.clip(1.0), optim.sgd(0.1))
    with pytest.raises(ValueError, match="own init"):
        tx.update({}, tx.init({})[:1], {})


def test_a_step_of_many_leaves_is_one_walk() -> None:
    """Scalars are computed once a step: a leaf of Adam costs about a dozen equations."""
    params = {f"p{i}": lnp.ones(3) for i in range(20)}
    tx = optim.adam(1e-3)
    program = lf.make_ir(tx.update)(params, tx.init(params), params)
    assert len(program.equations) < 20 * 13 + 25
