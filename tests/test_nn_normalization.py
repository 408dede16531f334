"""Normalisation beyond the tables: statistics, precision, vmap, and what newcomers get wrong."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.nn import functional as f

RNG = np.random.default_rng(0)


def data(*shape: int) -> Any:
    return lnp.asarray(RNG.standard_normal(shape).astype("float32"))


def ready(layer: nn.Layer) -> Any:
    return layer.init(random.key(0))


# ------------------------------------------------------------------ defects of other libraries

def test_running_variance_is_unbiased_and_normalisation_biased() -> None:
    x = data(5, 3)
    _, state = nn.BatchNorm1d(3, momentum=1.0).apply(*ready(nn.BatchNorm1d(3)), x, train=True)
    np.testing.assert_allclose(state["running_var"], np.var(np.asarray(x), 0, ddof=1), rtol=1e-5)
    y, _ = nn.BatchNorm1d(3, eps=0.0).apply(*ready(nn.BatchNorm1d(3)), x, train=True)
    np.testing.assert_allclose(np.var(np.asarray(y), 0), np.ones(3), rtol=1e-5)


def test_batch_norm_1d_takes_rows_of_features() -> None:
    layer = nn.BatchNorm1d(3)
    y, _ = layer.apply(*ready(layer), data(4, 3), train=True)
    assert y.shape == (4, 3)


@pytest.mark.parametrize("layer, x", [
    (nn.BatchNorm2d(3), data(3, 3, 3, 3)), (nn.LayerNorm(3), data(3, 3)),
    (nn.GroupNorm(3, 3), data(3, 3, 3)), (nn.InstanceNorm1d(3, affine=True), data(3, 3, 3))])
def test_gradients_of_weight_and_bias_follow_axes_not_element_counts(layer: Any, x: Any) -> None:
    params, state = ready(layer)
    ct = data(*x.shape)
    run = lambda p: lnp.sum(layer.apply(p, state, x, train=True)[0] * ct)
    grads = lf.grad(run)(params)
    over = tuple(range(x.ndim - 1))
    plain = layer.apply({"weight": lnp.ones(3), "bias": lnp.zeros(3)}, state, x, train=True)[0]
    np.testing.assert_allclose(grads["bias"], np.sum(np.asarray(ct), over), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grads["weight"], np.sum(np.asarray(ct * plain), over), rtol=1e-4,
                               atol=1e-5)


def test_gradient_in_x_sums_to_nothing_over_what_is_normalised() -> None:
    x, ct = data(4, 3, 3), data(4, 3, 3)
    for layer, axes in ((nn.BatchNorm1d(3), (0, 1)), (nn.LayerNorm(3), (2,)),
                        (nn.InstanceNorm1d(3), (1,))):
        params, state = ready(layer)
        g = lf.grad(lambda x, layer=layer, p=params, s=state: lnp.sum(
            layer.apply(p, s, x, train=True)[0] * ct))(x)
        np.testing.assert_allclose(np.sum(np.asarray(g), axes), 0, atol=2e-6)


def test_running_statistics_do_not_hold_on_to_the_computation() -> None:
    layer = nn.BatchNorm1d(3)
    params, state = ready(layer)
    through = lambda x: lnp.sum(layer.apply(params, state, x, train=True)[1]["running_var"])
    assert not np.any(np.asarray(lf.grad(through)(data(4, 3))))


# ------------------------------------------------------------------ numbers

def test_a_large_mean_costs_no_accuracy() -> None:
    x = np.asarray(RNG.standard_normal((16, 20, 20, 8)) + 1000.0, "float32")
    wide, over = x.astype("float64"), (0, 1, 2)
    expected = (wide - wide.mean(over)) / np.sqrt(wide.var(over) + 1e-5)
    y, _ = f.batch_norm(x, training=True)
    np.testing.assert_allclose(y, expected, atol=1e-3)  # E[x^2] - E[x]^2 is negative here
    across = (wide - wide.mean(3, keepdims=True)) / np.sqrt(wide.var(3, keepdims=True) + 1e-5)
    np.testing.assert_allclose(f.layer_norm(x, 8), across, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_of_half_precision_are_computed_in_single(dtype: str) -> None:
    x = lnp.asarray(np.full((4096, 2), 300.0) + np.arange(4096)[:, None] % 2).astype(dtype)
    y, (mean, var) = f.batch_norm(x, lnp.zeros(2), lnp.ones(2), training=True, momentum=1.0)
    wide = np.asarray(x, "float64")
    assert y.dtype == dtype and mean.dtype == var.dtype == "float32"
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(var, wide.var(0, ddof=1), rtol=1e-4)
    for out in (f.layer_norm(x, 2), f.rms_norm(x, 2), f.group_norm(x, 2), f.normalize(x),
                f.local_response_norm(x, 2)):
        assert out.dtype == dtype and np.isfinite(np.asarray(out, "float32")).all()


def test_integers_are_floats_and_complex_numbers_refused() -> None:
    assert f.layer_norm(lnp.arange(4), 4).dtype == "float32"
    assert f.batch_norm(lnp.arange(4).reshape((4, 1)), training=True)[0].dtype == "float32"
    with pytest.raises(TypeError, match="complex.*real numbers"):
        f.layer_norm(lnp.ones(4, "complex64"), 4)


def test_statistics_of_no_batch_change_the_dtype_of_the_result() -> None:
    x = data(4, 3)
    wide = lnp.zeros(3, "float64"), lnp.ones(3, "float64")
    assert f.batch_norm(x, *wide)[0].dtype == "float32"
    y, (mean, var) = f.batch_norm(x, *wide, training=True)
    assert y.dtype == "float32" and mean.dtype == var.dtype == "float64"


def test_derivatives_are_finite_where_a_norm_is_zero() -> None:
    zeros = lnp.zeros((2, 3, 4))
    assert np.isfinite(np.asarray(lf.grad(lambda x: lnp.sum(f.normalize(x)))(zeros))).all()
    grn = lambda x: lnp.sum(f.global_response_norm(x, lnp.ones(4), lnp.zeros(4)))
    np.testing.assert_array_equal(lf.grad(grn)(zeros), 1.0)
    for p in (1, 2, 3.0):
        g = lf.grad(lambda x, p=p: lnp.sum(f.normalize(x, ord=p, eps=1.0)))(zeros)
        assert np.isfinite(np.asarray(g)).all()


def test_constant_data_normalises_to_zero_with_finite_derivatives() -> None:
    x = lnp.full((4, 3, 3), 7.0)
    for run in (lambda x: f.batch_norm(x, training=True)[0], lambda x: f.layer_norm(x, 3),
                lambda x: f.instance_norm(x)[0], lambda x: f.group_norm(x, 1)):
        assert not np.any(np.asarray(run(x)))
        assert np.isfinite(np.asarray(lf.grad(lambda x, run=run: lnp.sum(run(x) ** 2))(x))).all()


def test_average_of_all_batches_without_momentum() -> None:
    layer = nn.BatchNorm1d(2, momentum=None)
    params, state = ready(layer)
    batches = [data(5, 2) for _ in range(4)]
    step = lf.jit(lambda s, x: layer.apply(params, s, x, train=True)[1])
    for x in batches:
        state = step(state, x)
    assert int(state["num_batches_tracked"]) == 4
    means = np.mean([np.asarray(x).mean(0) for x in batches], 0)
    np.testing.assert_allclose(state["running_mean"], means, rtol=1e-5, atol=1e-6)


def test_evaluation_does_not_look_at_the_batch() -> None:
    layer = nn.BatchNorm2d(3)
    params, state = ready(layer)
    _, state = layer.apply(params, state, data(4, 2, 2, 3), train=True)
    x = data(4, 2, 2, 3)
    together, same = layer.apply(params, state, x)
    alone = lf.vmap(lambda x: layer.apply(params, state, x[None])[0][0])(x)
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert same is state


# ------------------------------------------------------------------ vmap over examples

def per_example(layer: Any, x: Any, keep_batch: bool) -> Any:
    params, state = ready(layer)

    def loss(p: Any, x: Any) -> Any:
        return lnp.sum(layer.apply(p, state, x[None] if keep_batch else x, train=True)[0] ** 2)

    return lf.vmap(lf.grad(loss), (None, 0))(params, x)


def test_training_inside_vmap_over_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="Inside vmap over examples the batch axis is missing"):
        per_example(nn.BatchNorm2d(3), data(4, 5, 5, 3), keep_batch=False)
    with pytest.raises(ValueError, match="inside vmap over 4.*outside vmap, or with train=False"):
        per_example(nn.BatchNorm2d(3), data(4, 5, 5, 3), keep_batch=True)
    with pytest.raises(ValueError, match="more than one value for each channel. Inside vmap"):
        per_example(nn.BatchNorm1d(3), data(4, 3), keep_batch=True)


@pytest.mark.parametrize("inner", [lf.jit, lf.remat, lambda f: f])
def test_the_refusal_sees_through_other_transformations(inner: Any) -> None:
    layer = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    params, state = ready(layer)

    def loss(p: Any, x: Any) -> Any:
        return lnp.sum(layer.apply(p, state, x[None], train=True)[0])

    with pytest.raises(ValueError, match="batch of one example inside vmap"):
        lf.vmap(inner(lf.grad(loss)), (None, 0))(params, data(4, 5, 5, 3))
    with pytest.raises(ValueError, match="batch of one example inside vmap"):
        lf.jit(lf.vmap(inner(loss), (None, 0)))(params, data(4, 5, 5, 3))


def test_one_image_is_a_batch_outside_of_vmap() -> None:
    layer = nn.BatchNorm2d(3)
    params, state = ready(layer)
    x = data(1, 5, 5, 3)
    loss = lambda p, x: lnp.sum(layer.apply(p, state, x, train=True)[0] ** 2)
    eager, jitted = (g(params, x)["weight"] for g in (lf.grad(loss), lf.jit(lf.grad(loss))))
    np.testing.assert_allclose(eager, jitted, rtol=1e-5)
    np.testing.assert_allclose(eager, 50.0, rtol=1e-3)


def test_an_ensemble_trains_inside_vmap() -> None:
    layer = nn.BatchNorm1d(3)
    x = data(2, 5, 3)
    params, state = lf.vmap(layer.init)(random.split(random.key(0), 2))
    y, after = lf.vmap(lambda p, s, x: layer.apply(p, s, x, train=True))(params, state, x)
    single, one = layer.apply(*ready(layer), x[1], train=True)
    np.testing.assert_allclose(y[1], single, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["running_var"][1], one["running_var"], rtol=1e-5)


# ------------------------------------------------------------------ errors

@pytest.mark.parametrize("make, message", [
    (lambda: nn.BatchNorm2d(0), "num_features=0; it must be a positive integer"),
    (lambda: nn.BatchNorm2d("3"), "num_features='3'"),
    (lambda: nn.BatchNorm2d(3, momentum=1.5), "momentum=1.5.*in \\[0, 1\\]"),
    (lambda: nn.GroupNorm(4, 6), "num_groups=4 and num_channels=6.*must divide"),
    (lambda: nn.GroupNorm(0, 6), "num_groups=0"),
    (lambda: nn.LayerNorm(()), "normalized_shape=\\(\\)"),
    (lambda: nn.LayerNorm((3, -1)), "positive"),
    (lambda: nn.LocalResponseNorm(0), "size=0"),
    (lambda: nn.GlobalResponseNorm(-1), "channels=-1"),
])
def test_bad_hyperparameters(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer, shape, message", [
    (nn.BatchNorm2d(3), (2, 3, 5, 5), "5 channels on the last axis, expected 3.*channels-first"),
    (nn.BatchNorm1d(3), (2, 4), "4 channels on the last axis, expected 3"),
    (nn.BatchNorm1d(3), (2, 4, 4, 3), r"expected data \[N, L, C\]"),
    (nn.BatchNorm2d(3), (2, 3), r"expected data \[N, H, W, C\]"),
    (nn.InstanceNorm2d(3), (2, 3), r"expected data \[N, H, W, C\]"),
    (nn.InstanceNorm2d(3), (2, 1, 1, 3), "more than one point in space"),
    (nn.GroupNorm(2, 4), (2, 4, 5, 5), "expected 4.*channels-first"),
    (nn.GroupNorm(2, 4), (4,), r"\[N, \*space, C\]"),
    (nn.LayerNorm(4), (2, 3), "3 channels on the last axis, expected 4"),
    (nn.LayerNorm((3, 4)), (2, 4, 3), r"expected last axes of sizes \[3, 4\]"),
    (nn.RMSNorm(4), (2, 3), "expected 4"),
    (nn.GlobalResponseNorm(4), (2, 4), "of rank 3"),
])
def test_data_of_another_shape(layer: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(nn.LayerError, match=message):
        layer.apply(*ready(layer), lnp.ones(shape))


def test_one_value_for_each_channel_has_no_variance() -> None:
    layer = nn.BatchNorm1d(3)
    with pytest.raises(nn.LayerError, match="more than one value for each channel"):
        layer.apply(*ready(layer), data(1, 3), train=True)
    with pytest.raises(ValueError, match="more than one value for each channel"):
        f.batch_norm(data(1, 1, 3), training=True)


def test_missing_state_and_parameters() -> None:
    layer = nn.BatchNorm1d(3)
    params, state = ready(layer)
    with pytest.raises(nn.LayerError, match="keeps 'running_mean' in its state"):
        layer.apply(params, {}, data(4, 3))
    with pytest.raises(nn.LayerError, match="keeps state: call it as outputs, state"):
        layer(params, data(4, 3))
    with pytest.raises(nn.LayerError, match="weight"):
        layer.apply({}, state, data(4, 3))


@pytest.mark.parametrize("call, message", [
    (lambda x: f.batch_norm(x, lnp.zeros(2), lnp.ones(2)), "running_mean.*2.*3 channels"),
    (lambda x: f.batch_norm(x, lnp.zeros(3)), "give both, or neither"),
    (lambda x: f.batch_norm(x, weight=lnp.ones(4), training=True), "weight float32\\[4\\]"),
    (lambda x: f.batch_norm(lnp.ones(3)), "of rank 2 at least"),
    (lambda x: f.group_norm(x, 2), "num_groups=2.*must divide the 3 channels"),
    (lambda x: f.layer_norm(x, 4), "normalized_shape=4"),
    (lambda x: f.layer_norm(x, 3, lnp.ones(2)), "weight float32\\[2\\], expected the shape"),
    (lambda x: f.instance_norm(x, use_input_stats=False), "give running_mean and running_var"),
    (lambda x: f.instance_norm(x), "more than one point in space"),
    (lambda x: f.local_response_norm(x, 0), "size=0"),
    (lambda x: f.global_response_norm(x, lnp.ones(3), lnp.ones(3)), "at least one axis of space"),
])
def test_bad_arguments_of_functions(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(lnp.ones((4, 3)))


# ------------------------------------------------------------------ cost

def test_the_derivative_of_batch_norm_is_short() -> None:
    """Passes over the data cost; those over vectors do not. A guard against a longer formula."""
    layer, x = nn.BatchNorm2d(4), lnp.ones((8, 5, 5, 4))
    params, state = ready(layer)
    loss = lambda p, x: lnp.sum(layer.apply(p, state, x, train=True)[0] * x)
    program = lf.make_ir(lf.grad(loss, (0, 1)))(params, x)
    full = [e for e in program.equations if e.outputs[0].type.shape == x.shape
            and e.primitive.name not in ("broadcast_to", "reshape")]
    assert len(full) <= 14
