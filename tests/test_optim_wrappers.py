"""Clipping, transformations of transformations, and mixed precision."""

from typing import Any

import numpy as np
import pytest
from optim_tables.table import minimise, parabola, rosenbrock

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim, random, tree


def types(t: Any) -> list[str]:
    return [str(lf.typeof(x)) for x in tree.leaves(t)]


def counted(f: Any) -> tuple[Any, list[int]]:
    """f jitted, and a list that grows with every trace of it."""
    traces: list[int] = []

    def traced(*args: Any) -> Any:
        traces.append(1)
        return f(*args)

    return lf.jit(traced), traces


def run(tx: Any, grads: Any, params: Any = None) -> Any:
    params = grads if params is None else params
    return tx.update(grads, tx.init(params), params)[0]


G = {"a": lnp.array([3.0, -4.0]), "b": lnp.array([[12.0]]), "n": None}  # norm 13


# ------------------------------------------------------------------ clipping

def test_global_norm() -> None:
    assert float(optim.global_norm(G)) == 13.0
    assert float(optim.global_norm({"z": lnp.array([3 + 4j])})) == 5.0
    assert float(optim.global_norm({})) == 0.0
    mixed = optim.global_norm({"a": lnp.ones(3, "float64"), "b": lnp.ones(1, "float32")})
    assert mixed.dtype == "float64" and float(mixed) == 2.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_half_precision_are_summed_in_single(dtype: str) -> None:
    big = {"w": lnp.full((4096,), 256.0, dtype)}  # 256² overflows float16; 4096 exceeds its digits
    norm = optim.global_norm(big)
    assert norm.dtype == "float32" and float(norm) == 256.0 * 64
    clipped = run(optim.clip_by_global_norm(64.0), big)["w"]
    assert clipped.dtype == dtype
    np.testing.assert_allclose(np.asarray(clipped, "float32"), 1.0)


def test_clip_by_global_norm() -> None:
    half = run(optim.clip_by_global_norm(6.5), G)
    np.testing.assert_allclose(half["a"], [1.5, -2.0])
    np.testing.assert_allclose(half["b"], 6.0)
    assert half["n"] is None
    np.testing.assert_array_equal(run(optim.clip_by_global_norm(14.0), G)["a"], G["a"])
    clipped, norm = optim.clip_grad_norm(G, 6.5)
    np.testing.assert_allclose(clipped["b"], 6.0)
    assert float(norm) == 13.0


def test_clip_by_value_and_by_leaf() -> None:
    np.testing.assert_array_equal(run(optim.clip(3.5), G)["a"], [3.0, -3.5])
    np.testing.assert_allclose(run(optim.clip(1.0), {"z": lnp.array([3 + 4j])})["z"], [0.6 + 0.8j])
    np.testing.assert_array_equal(optim.clip_grad_value(G, 3.5)["b"], [[3.5]])
    block = run(optim.clip_by_block_norm(10.0), G)
    np.testing.assert_allclose(block["a"], G["a"])
    np.testing.assert_allclose(block["b"], 10.0)


@pytest.mark.parametrize("tx", [optim.clip(1.0), optim.clip_by_block_norm(1.0),
                                optim.clip_by_global_norm(1.0), optim.adaptive_grad_clip(0.1)])
def test_zero_gradients_are_safe(tx: Any) -> None:
    zeros = {"w": lnp.zeros((2, 3)), "s": lnp.zeros(())}
    for leaf in tree.leaves(run(tx, zeros)):
        np.testing.assert_array_equal(leaf, 0.0)
    slope = lf.grad(lambda g: lnp.sum(run(tx, g, zeros)["w"]))(zeros)
    assert all(np.all(np.isfinite(x)) for x in tree.leaves(slope))
    np.testing.assert_array_equal(run(tx, {}, {}), {})


def test_gradients_that_are_not_finite_stay_visible() -> None:
    bad = {"w": lnp.array([np.inf, 1.0])}
    assert np.isnan(run(optim.clip_by_global_norm(1.0), bad)["w"][0])
    bad = {"w": lnp.array([1.0]), "b": lnp.array([np.nan])}
    assert np.isnan(run(optim.clip_by_global_norm(1.0), bad)["w"][0])


def test_adaptive_clipping_is_for_each_output() -> None:
    params = {"w": lnp.array([[3.0, 0.0], [4.0, 0.0]]), "b": lnp.array([0.6, 0.8])}
    grads = {"w": lnp.array([[6.0, 6.0], [8.0, 8.0]]), "b": lnp.array([0.3, 0.4])}
    out = run(optim.adaptive_grad_clip(0.5, eps=0.1), grads, params)
    np.testing.assert_allclose(out["w"], [[1.5, 0.03], [2.0, 0.04]], rtol=1e-6)
    np.testing.assert_allclose(out["b"], grads["b"])
    with pytest.raises(TypeError, match="needs the parameters"):
        optim.adaptive_grad_clip(0.5).update(grads, ())


@pytest.mark.parametrize("make", [optim.clip_by_global_norm, optim.clip_by_block_norm,
                                  optim.adaptive_grad_clip])
def test_bounds_must_be_positive(make: Any) -> None:
    with pytest.raises(ValueError, match="is -1"):
        make(-1.0)
    with pytest.raises(ValueError, match="must be positive"):
        make(0.0)


# ------------------------------------------------------------------ parts of the parameters

def test_masked_leaves_the_others_as_they_are() -> None:
    params = {"w": lnp.ones(2), "b": {"x": lnp.ones(1), "n": 3}}
    grads = {"w": lnp.ones(2), "b": {"x": lnp.ones(1), "n": None}}
    for mask in ({"w": True, "b": False}, {"w": True, "b": {"x": False, "n": True}},
                 lambda p: tree.map(lambda x: np.shape(x) == (2,), p)):
        tx = optim.masked(optim.adam(0.5), mask)
        state = tx.init(params)
        out, state = lf.jit(lambda g, s, tx=tx: tx.update(g, s, params))(grads, state)
        np.testing.assert_allclose(out["w"], -0.5, rtol=1e-6)
        np.testing.assert_array_equal(out["b"]["x"], 1.0)
        assert out["b"]["n"] is None
        assert len(tree.leaves(state)) == 5, "the other leaves have no statistics"


def test_parameter_groups() -> None:
    params = {"encoder": {"w": lnp.ones(2)}, "head": {"w": lnp.ones(2), "n": 1}}
    grads = {"encoder": {"w": lnp.ones(2)}, "head": {"w": lnp.ones(2), "n": None}}
    transforms = {"slow": optim.sgd(0.1), "fast": optim.sgd(1.0), "none": optim.set_to_zero()}
    labels = {"encoder": "slow", "head": "fast"}
    for given in (labels, lambda p: labels):
        tx = optim.multi_transform(transforms, given)
        out, _ = lf.jit(lambda g, s, tx=tx: tx.update(g, s, params))(grads, tx.init(params))
        np.testing.assert_allclose(out["encoder"]["w"], -0.1)
        np.testing.assert_allclose(out["head"]["w"], -1.0)
    with pytest.raises(ValueError, match="no transformation for .*'other'"):
        optim.multi_transform(transforms, {"encoder": "slow", "head": "other"}).init(params)


def test_masks_and_labels_of_another_shape_name_the_paths() -> None:
    params = {"w": lnp.ones(2), "b": lnp.ones(2)}
    with pytest.raises(ValueError, match=r"(?s)mask must be a tree like .*\['bias'\]"):
        optim.masked(optim.sgd(0.1), {"w": True, "bias": False}).init(params)
    with pytest.raises(ValueError, match=r"(?s)param_labels must be .*\['b'\]"):
        optim.multi_transform({"a": optim.sgd(0.1)}, {"w": "a"}).init(params)
    with pytest.raises(TypeError, match="takes a function that makes an optimizer"):
        optim.inject_hyperparams(optim.sgd(0.1))


def test_freeze() -> None:
    params = {"w": lnp.ones(2), "b": lnp.ones(2)}
    tx = optim.chain(optim.adamw(0.1), optim.freeze({"w": True, "b": False}))
    out = run(tx, params)
    np.testing.assert_array_equal(out["w"], 0.0)
    assert np.all(np.asarray(out["b"]) < 0)


def test_flatten_is_the_same_on_one_vector() -> None:
    params = {"w": lnp.ones((2, 3)), "b": lnp.arange(3.0), "n": 7}
    grads = {"w": lnp.full((2, 3), 0.5), "b": lnp.array([1.0, -2.0, 3.0]), "n": None}
    plain, flat = optim.adamw(0.1), optim.flatten(optim.adamw(0.1))
    a, b = plain.init(params), flat.init(params)
    assert len(tree.leaves(b)) < len(tree.leaves(a))
    for _ in range(3):
        u, a = plain.update(grads, a, params)
        v, b = flat.update(grads, b, params)
        for x, y in zip(tree.leaves(u), tree.leaves(v), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6)
    with pytest.raises(TypeError, match="one dtype"):
        flat.init({"a": lnp.ones(1), "b": lnp.ones(1, "float64")})


# ------------------------------------------------------------------ hyperparameters in the state

@pytest.mark.parametrize("factory", [optim.sgd, optim.adam, optim.adamw, optim.nadam, optim.radam,
                                     optim.rmsprop, optim.adagrad, optim.asgd, optim.adamax,
                                     optim.adadelta])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_injected_hyperparameters_change_nothing(factory: Any, dtype: str) -> None:
    params = {"w": lnp.asarray([1.0, -2.0], dtype), "n": 1}
    plain, injected = factory(0.1), optim.inject_hyperparams(factory)(0.1)
    a, b = plain.init(params), injected.init(params)
    before, (step, traces) = types(b), counted(injected.update)
    for i in range(4):
        grads = {"w": lnp.asarray([0.3, -0.1 * i], dtype), "n": None}
        u, a = plain.update(grads, a, params)
        eager, _ = injected.update(grads, b, params)
        v, b = step(grads, b, params)
        tolerance = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 1e-4}[dtype]
        np.testing.assert_allclose(np.asarray(u["w"]), np.asarray(v["w"]), rtol=tolerance)
        np.testing.assert_allclose(np.asarray(u["w"]), np.asarray(eager["w"]), rtol=tolerance)
        assert u["w"].dtype == v["w"].dtype
    assert types(b) == before and len(traces) == 1


def test_injected_hyperparameters_can_be_set() -> None:
    params = {"w": lnp.ones(2)}
    tx = optim.inject_hyperparams(optim.sgd)(learning_rate=0.5, momentum=0.9)
    step, state = lf.jit(tx.update), tx.init(params)
    _, state = step(params, state, params)
    state.hyperparams["learning_rate"] = 0.25
    state.hyperparams["momentum"] = lnp.asarray(0.0)
    updates, state = step(params, state, params)
    np.testing.assert_allclose(updates["w"], -0.25)
    assert float(optim.learning_rate(state)) == 0.25
    assert state.hyperparams["learning_rate"].dtype == "float32"


def test_injected_schedules_are_evaluated() -> None:
    params = {"w": lnp.ones(2)}
    tx = optim.inject_hyperparams(optim.adamw)(
        learning_rate=lambda step: 1.0 / (1.0 + step), weight_decay=0.0,
        mask=lambda p: tree.map(lambda x: True, p))
    state, (step, traces) = tx.init(params), counted(tx.update)
    for expected in (1.0, 0.5, 1 / 3):
        _, state = step(params, state, params)
        assert float(state.hyperparams["learning_rate"]) == pytest.approx(expected)
    assert len(traces) == 1
    with pytest.raises(ValueError, match="learning_rate is -1"):
        optim.inject_hyperparams(optim.sgd)(learning_rate=-1.0)


# ------------------------------------------------------------------ accumulation

@pytest.mark.parametrize("jit", [False, True])
def test_accumulated_gradients_are_one_step_with_their_mean(jit: bool) -> None:
    params = {"w": lnp.array([1.0, 2.0]), "n": 3}
    tx, plain = optim.multi_steps(optim.adam(0.1), 3), optim.adam(0.1)
    state, reference = tx.init(params), plain.init(params)
    update, traces = counted(tx.update) if jit else (tx.update, [1])
    before = types(state)
    rng = np.random.default_rng(0)
    for _ in range(3):
        grads = [{"w": lnp.asarray(rng.standard_normal(2), "float32"), "n": None} for _ in range(3)]
        mean = {"w": sum(g["w"] for g in grads) / 3, "n": None}
        for i, g in enumerate(grads):
            updates, state = update(g, state, params)
            assert updates["n"] is None
            if i < 2:
                np.testing.assert_array_equal(updates["w"], 0.0)
        expected, reference = plain.update(mean, reference, params)
        np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-5)
        assert types(state) == before
    assert int(state.gradient_step) == 3 and int(state.mini_step) == 0
    assert len(traces) == 1


def test_accumulation_by_a_schedule_and_by_sum() -> None:
    params = {"w": lnp.ones(1)}
    tx = optim.MultiSteps(optim.sgd(1.0), lambda step: step + 1, use_grad_mean=False)
    state, moved = tx.init(params), []
    for _ in range(6):
        updates, state = tx.update({"w": lnp.ones(1)}, state, params)
        moved.append(float(updates["w"][0]))
    assert moved == [-1.0, 0.0, -2.0, 0.0, 0.0, -3.0]
    for bad in (0, 2.5):
        with pytest.raises(ValueError, match="positive integer"):
            optim.multi_steps(optim.sgd(1.0), bad)


# ------------------------------------------------------------------ steps that are skipped

@pytest.mark.parametrize("jit", [False, True])
def test_steps_that_are_not_finite_are_skipped(jit: bool) -> None:
    params = {"w": lnp.ones(2), "n": 1}
    tx = optim.apply_if_finite(optim.adam(0.1), 2)
    state, update = tx.init(params), (lf.jit(tx.update) if jit else tx.update)
    good, bad = {"w": lnp.ones(2), "n": None}, {"w": lnp.array([1.0, np.nan]), "n": None}
    before = types(state)
    _, state = update(good, state, params)
    for n in (1, 2):
        updates, kept = update(bad, state, params)
        np.testing.assert_array_equal(updates["w"], 0.0)
        for a, b in zip(tree.leaves(kept.inner_state), tree.leaves(state.inner_state), strict=True):
            np.testing.assert_array_equal(a, b)
        assert int(kept.notfinite_count) == n and not bool(kept.last_finite)
        state = kept
    updates, kept = update(bad, state, params)
    assert np.isnan(updates["w"][1]), "the third bad step in a row is made"
    _, state = update(good, state, params)
    assert int(state.notfinite_count) == 0 and int(state.total_notfinite) == 2
    assert types(state) == before


# ------------------------------------------------------------------ averages

def test_ema_of_updates_and_of_parameters() -> None:
    params = {"w": lnp.asarray(2.0), "n": 1}
    tx = optim.ema(0.5)
    state = tx.init(params)
    for g, expected in ((1.0, 1.0), (4.0, 3.0)):
        updates, state = tx.update({"w": lnp.asarray(g), "n": None}, state, params)
        assert float(updates["w"]) == pytest.approx(expected)
    for debias, expected in ((True, (1.0, 1 / 3)), (False, (1.5, 0.75))):
        tx = optim.chain(optim.sgd(1.0), optim.params_ema(0.5, debias))
        p, state = params, tx.init(params)
        assert float(optim.averaged_params(state)["w"]) == 2.0
        for e in expected:  # the parameter goes to 1, then to 0
            updates, state = lf.jit(tx.update)({"w": lnp.asarray(1.0), "n": None}, state, p)
            p = optim.apply_updates(p, updates)
            assert float(optim.averaged_params(state)["w"]) == pytest.approx(e)


def test_wrapped_optimizers_still_converge() -> None:
    start = {"x": lnp.array(-1.0), "y": lnp.array(1.5)}
    for tx in (optim.multi_steps(optim.adam(0.05), 2), optim.flatten(optim.adam(0.05)),
               optim.apply_if_finite(optim.adam(0.05), 3),
               optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.05))):
        for x in tree.leaves(minimise(tx, rosenbrock, start, 2000)):
            np.testing.assert_allclose(x, 1.0, atol=0.05)


# ------------------------------------------------------------------ mixed precision

def small_loss(params: Any, x: Any) -> Any:
    """Its gradients are of size 1e-9: below what float16 can hold."""
    return lnp.mean((params["x"] - x) ** 2) * 1e-5 + 0 * lnp.sum(params["y"])


def train(mp: Any, steps: int = 200) -> tuple[Any, Any]:
    params = {"x": lnp.full(4, 1e-3), "y": lnp.ones(()), "n": 3}
    state, (step, traces) = mp.init(params), counted(mp.step)
    for _ in range(steps):
        params, state, loss = step(params, state, lnp.zeros(4))
    assert len(traces) == 1 and loss.dtype == "float32"
    assert params["x"].dtype == "float32" and params["n"] == 3
    return params, state


def test_float16_needs_the_scale_and_has_it() -> None:
    tx = optim.sgd(2e4)
    without, _ = train(optim.mixed_precision(small_loss, tx, "float16", scaling=False))
    np.testing.assert_array_equal(without["x"], np.float32(1e-3))
    with_scale, state = train(optim.mixed_precision(small_loss, tx, "float16"))
    assert np.all(np.abs(with_scale["x"]) < 1e-5)
    assert int(state.loss_scale.skipped) == 0


def test_bfloat16_needs_no_scale() -> None:
    params, state = train(optim.mixed_precision(small_loss, optim.sgd(2e4), "bfloat16"))
    assert state.loss_scale is None
    assert np.all(np.abs(params["x"]) < 1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_overflow_skips_the_step_and_halves_the_scale(jit: bool) -> None:
    mp = optim.mixed_precision(lambda p, x: lnp.sum(p["w"] * x), optim.adam(0.1), "float16",
                               initial_scale=1024.0, growth_interval=2)
    params = {"w": lnp.ones(2)}
    state, step = mp.init(params), (lf.jit(mp.step) if jit else mp.step)
    after, new, _ = step(params, state, lnp.full(2, 1e3))  # 1e3 * 1024 > 65504
    np.testing.assert_array_equal(after["w"], params["w"])
    assert float(new.loss_scale.scale) == 512.0 and int(new.loss_scale.skipped) == 1
    for a, b in zip(tree.leaves(new.opt_state), tree.leaves(state.opt_state), strict=True):
        np.testing.assert_array_equal(a, b)
    scales = []
    for _ in range(4):
        after, new, loss = step(after, new, lnp.ones(2))
        scales.append(float(new.loss_scale.scale))
    assert scales == [512.0, 1024.0, 1024.0, 2048.0] and types(new) == types(state)
    assert np.all(np.asarray(after["w"]) < 0.7)


def test_mixed_precision_sees_the_dtype_and_returns_aux() -> None:
    seen = []

    def loss(params: Any, x: Any, labels: Any, *, key: Any) -> Any:
        seen.extend([params["w"].dtype, x.dtype, labels.dtype])
        return lnp.sum(params["w"] * x), {"labels": labels, "draw": random.normal(key)}

    mp = optim.mixed_precision(loss, optim.sgd(0.1), "bfloat16", has_aux=True)
    params = {"w": lnp.ones(2)}
    params, _, (value, aux) = mp.step(params, mp.init(params), lnp.ones(2), lnp.arange(2),
                                      key=random.key(0))
    assert [str(d) for d in seen] == ["bfloat16", "bfloat16", "int32"]
    assert float(value) == 2.0 and aux["labels"].shape == (2,)
    np.testing.assert_allclose(params["w"], 0.9, rtol=1e-6)
    with pytest.raises(ValueError, match="compute_dtype is int32"):
        optim.mixed_precision(loss, optim.sgd(0.1), "int32")


def test_mixed_precision_reaches_the_optimum() -> None:
    for dtype in ("float16", "bfloat16"):
        mp = optim.mixed_precision(parabola, optim.adam(0.1), dtype)
        params = {"x": lnp.array([3.0, -1.0]), "y": lnp.asarray(2.0)}
        state, step = mp.init(params), lf.jit(mp.step)
        for _ in range(300):
            params, state, _ = step(params, state)
        np.testing.assert_allclose(params["x"], 1.0, atol=0.05)
