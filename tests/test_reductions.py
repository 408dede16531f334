"""Reductions, running sums and quantiles of lnp: NumPy is the oracle, derivatives are checked."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 2))
HOLES = np.where(RNG.random((3, 4, 2)) < 0.3, np.nan, X)
HOLES[0, :, 0] = [np.nan, 1.0, np.nan, 2.0]
HOLES[:, 0, 1] = 0.5
REDUCTIONS = "sum prod mean var std max min amax amin ptp".split()
SKIPPING = "nansum nanprod nanmean nanvar nanstd nanmax nanmin".split()
RUNNING = "cumsum cumprod nancumsum nancumprod".split()
AXES = [None, 0, -1, (0, 2), ()]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_is_numpys(name: str, axis: Any, keepdims: bool) -> None:
    want = getattr(np, name)(X, axis=axis, keepdims=keepdims)
    assert_allclose(getattr(lnp, name)(X, axis=axis, keepdims=keepdims), want)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)], ids=str)
@pytest.mark.parametrize("name", SKIPPING)
def test_nan_is_left_out(name: str, axis: Any) -> None:
    assert_allclose(getattr(lnp, name)(HOLES, axis=axis), getattr(np, name)(HOLES, axis=axis))


@pytest.mark.parametrize("axis", [None, 0, 1, -1], ids=str)
@pytest.mark.parametrize("name", RUNNING)
def test_running_is_numpys(name: str, axis: Any) -> None:
    x = HOLES if name.startswith("nan") else X
    assert_allclose(getattr(lnp, name)(x, axis=axis), getattr(np, name)(x, axis=axis))


@pytest.mark.parametrize("axis", [None, 0, 1, -1], ids=str)
@pytest.mark.parametrize("name", ["argmax", "argmin", "nanargmax", "nanargmin"])
def test_places_of_extrema(name: str, axis: Any) -> None:
    x = HOLES if name.startswith("nan") else X
    got = getattr(lnp, name)(x, axis=axis)
    assert got.dtype == np.int32
    assert np.array_equal(got, getattr(np, name)(x, axis=axis))
    kept = getattr(lnp, name)(x, axis=axis, keepdims=True)
    assert kept.shape == getattr(np, name)(x, axis=axis, keepdims=True).shape


def test_places_where_nothing_is() -> None:
    assert int(lnp.nanargmax([np.nan, np.nan])) == -1
    assert int(lnp.argmax([1.0, np.nan, 3.0])) == 1
    assert int(lnp.argmin([True, False])) == 1


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_booleans(axis: Any) -> None:
    x = X > 0
    for name in ("all", "any", "count_nonzero"):
        assert np.array_equal(getattr(lnp, name)(x, axis=axis), getattr(np, name)(x, axis=axis))
    assert bool(lnp.all([0.0, 1.0], where=[False, True]))
    assert not bool(lnp.any([0.0, 1.0], where=[True, False]))


@pytest.mark.parametrize(("given", "total", "mean"), [
    ("bool", "int32", "float32"), ("int8", "int32", "float32"), ("uint8", "uint32", "float32"),
    ("int32", "int32", "float32"), ("int64", "int64", "float32"), ("uint64", "uint64", "float32"),
    ("float16", "float16", "float16"), ("bfloat16", "bfloat16", "bfloat16"),
    ("float64", "float64", "float64"), ("complex64", "complex64", "complex64")])
def test_dtypes(given: str, total: str, mean: str) -> None:
    x = lnp.ones((2, 3), given)
    for name in ("sum", "prod", "nansum", "cumulative_sum"):
        kwargs = {"axis": 0} if name == "cumulative_sum" else {}
        assert getattr(lnp, name)(x, **kwargs).dtype == lnp.dtype(total), name
    for name in ("mean", "average", "nanmean"):
        assert getattr(lnp, name)(x).dtype == lnp.dtype(mean), name
    assert lnp.cumsum(x).dtype == lnp.dtype("int32" if given == "bool" else given)
    assert lnp.max(x).dtype == lnp.dtype(given)
    assert lnp.sum(x, dtype="float64").dtype == np.float64
    assert not lnp.sum(lnp.asarray(1.0)).weak_type


def test_half_precisions_accumulate_in_single() -> None:
    x = lnp.full(4000, 100.0, "float16")
    assert float(lnp.mean(x)) == 100.0  # the sum is beyond float16
    noisy = (1000.0 + RNG.standard_normal(5000)).astype(ml_dtypes.bfloat16)
    want = noisy.astype(np.float64)
    assert abs(float(lnp.mean(noisy)) - want.mean()) < 4.0
    assert abs(float(lnp.std(noisy)) - want.std()) < 0.05


def test_where_and_initial() -> None:
    mask = X > 0
    mask[:, 0] = True
    for name in ("sum", "prod", "mean", "var", "std"):
        got = getattr(lnp, name)(X, axis=1, where=mask, keepdims=True)
        assert_allclose(got, getattr(np, name)(X, axis=1, where=mask, keepdims=True))
    assert np.isnan(lnp.mean([1.0], where=[False]))
    for name in ("max", "min"):
        got = getattr(lnp, name)(X, axis=0, where=mask, initial=0.25)
        assert_allclose(got, getattr(np, name)(X, axis=0, where=mask, initial=0.25))
    assert float(lnp.sum([1.0, 2.0], initial=10.0)) == 13.0
    assert_allclose(lnp.sum(X, where=mask[0, :, :1]), np.sum(X, where=mask[0, :, :1]))


def test_corrections() -> None:
    assert_allclose(lnp.var(X, ddof=1), np.var(X, ddof=1))
    assert_allclose(lnp.std(X, axis=0, correction=2), np.std(X, axis=0, ddof=2))
    assert np.isnan(lnp.var([1.0], ddof=1))
    assert_allclose(lnp.var(X, axis=0, mean=X.mean(0, keepdims=True)), np.var(X, axis=0))
    z = X + 1j * X[::-1]
    assert_allclose(lnp.var(z, axis=0), np.var(z, axis=0))
    with pytest.raises(ValueError, match="both ddof= and correction="):
        lnp.var(X, ddof=1, correction=1)


def test_averages() -> None:
    w = RNG.random(4)
    assert_allclose(lnp.average(X, axis=1, weights=w), np.average(X, axis=1, weights=w))
    assert_allclose(lnp.average(X, weights=np.abs(X)), np.average(X, weights=np.abs(X)))
    w2 = RNG.random((2, 3))
    assert_allclose(lnp.average(X, axis=(2, 0), weights=w2), np.average(X, axis=(2, 0), weights=w2))
    got, total = lnp.average(X, axis=1, weights=w, returned=True, keepdims=True)
    assert got.shape == total.shape == (3, 1, 2)
    with pytest.raises(ValueError, match="fit neither"):
        lnp.average(X, axis=1, weights=np.ones(3))


def test_running_sums_of_the_array_standard() -> None:
    x = np.arange(1.0, 4.0)
    assert_allclose(lnp.cumulative_sum(x, include_initial=True), [0.0, 1.0, 3.0, 6.0])
    assert_allclose(lnp.cumulative_prod(x, include_initial=True), [1.0, 1.0, 2.0, 6.0])
    with pytest.raises(ValueError, match="needs axis="):
        lnp.cumulative_sum(X)


def test_empty_arrays() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert lnp.sum(empty, axis=0).tolist() == [0.0] * 3
    assert lnp.prod(empty).item() == 1.0
    assert np.isnan(lnp.mean(empty, axis=0)).all()
    assert lnp.max(empty, axis=1).shape == (0,)
    assert lnp.max(empty, axis=0, initial=2.0).tolist() == [2.0] * 3
    assert np.isnan(lnp.median(empty))


# ------------------------------------------------------------------ quantiles

@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)], ids=str)
@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles(method: str, axis: Any) -> None:
    for q in (0.3, [0.0, 0.25, 0.5, 1.0]):
        got = lnp.quantile(X, q, axis=axis, method=method, keepdims=True)
        assert_allclose(got, np.quantile(X, q, axis=axis, method=method, keepdims=True))
        got = lnp.nanquantile(HOLES, q, axis=axis, method=method)
        assert_allclose(got, np.nanquantile(HOLES, q, axis=axis, method=method))
    assert_allclose(lnp.quantile(HOLES, 0.5, axis=axis, method=method),
                    np.quantile(HOLES, 0.5, axis=axis, method=method))


def test_medians_and_percentiles() -> None:
    assert_allclose(lnp.median(X, axis=1), np.median(X, axis=1))
    assert_allclose(lnp.nanmedian(HOLES, axis=0), np.nanmedian(HOLES, axis=0))
    assert_allclose(lnp.percentile(X, [10, 90], axis=0), np.percentile(X, [10, 90], axis=0))
    assert_allclose(lnp.nanpercentile(HOLES, 40), np.nanpercentile(HOLES, 40))
    assert lnp.median(np.array([1, 2], np.int32)).dtype == np.float32
    assert float(lnp.median([-np.inf, np.inf, np.inf])) == np.inf
    assert float(lnp.quantile([-np.inf, -np.inf, 0.0], 0.25)) == -np.inf


def test_quantile_errors() -> None:
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\], got 1.5"):
        lnp.quantile(X, 1.5)
    with pytest.raises(ValueError, match="no method 'weird'"):
        lnp.quantile(X, 0.5, method="weird")
    with pytest.raises(ValueError, match="complex numbers have no order"):
        lnp.median(X + 0j)


# ------------------------------------------------------------------ derivatives

@pytest.mark.parametrize("name", [*REDUCTIONS, *RUNNING, "median", "cumulative_prod"])
def test_derivatives(name: str) -> None:
    kwargs: dict[str, Any] = {"axis": 1}
    check_grads(lambda x: getattr(lnp, name)(x, **kwargs), (X,))


def test_derivatives_with_options() -> None:
    mask = X > 0
    check_grads(lambda x: lnp.mean(x, where=mask), (X,))
    check_grads(lambda x: lnp.std(x, axis=0, ddof=1), (X,))
    check_grads(lambda x, w: lnp.average(x, axis=1, weights=w), (X, np.abs(X[0, :, 0]) + 0.5))
    check_grads(lambda x, q: lnp.quantile(x, q, axis=1), (X, np.array(0.4)))
    check_grads(lambda x: lnp.var(x + 1j * x**2), (X,))


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanvar", "nanmax", "nanmedian"])
def test_missing_elements_have_derivative_zero(name: str) -> None:
    slope = lf.grad(lambda x: lnp.sum(getattr(lnp, name)(x, axis=1)))(HOLES)
    assert np.isfinite(slope).all()
    assert not np.asarray(slope)[np.isnan(HOLES)].any()


def test_derivative_of_a_product_with_zeros() -> None:
    x = np.array([2.0, 0.0, 3.0])
    assert lf.grad(lnp.prod)(x).tolist() == [0.0, 6.0, 0.0]
    assert lf.grad(lnp.prod)(np.array([0.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 0.0]
    assert lf.hessian(lnp.prod)(x).tolist() == [[0, 3, 0], [3, 0, 2], [0, 2, 0]]


def test_spread_of_equal_elements_has_derivative_zero() -> None:
    x = np.ones(3, np.float32)
    assert lf.grad(lnp.std)(x).tolist() == [0.0] * 3
    assert not np.asarray(lf.hessian(lnp.std)(x)).any()
    assert lf.grad(lambda x: lnp.nanstd(x))(x).tolist() == [0.0] * 3


def test_ties_share_the_derivative() -> None:
    assert lf.grad(lnp.max)(np.array([2.0, 2.0, 1.0])).tolist() == [0.5, 0.5, 0.0]
    assert lf.grad(lnp.median)(np.array([2.0, 2.0, 1.0])).tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("name", ["sum", "std", "max", "median", "cumsum", "argmax", "nanmean"])
def test_batches_and_jit(name: str) -> None:
    f = lambda x: getattr(lnp, name)(x, axis=-1)
    check_batch(f, (X,))
    check_jit(f, (X,))


# ------------------------------------------------------------------ errors

def test_errors() -> None:
    with pytest.raises(ValueError, match="axis 3 is out of bounds for an array of 3 axes"):
        lnp.sum(X, axis=3)
    with pytest.raises(ValueError, match="names an axis twice"):
        lnp.sum(X, axis=(0, -3))
    with pytest.raises(ValueError, match="has no value"):
        lnp.max(np.zeros((0, 2)), axis=0)
    with pytest.raises(ValueError, match="has no value"):
        lnp.argmax(np.zeros(0))
    with pytest.raises(ValueError, match="needs initial="):
        lnp.max(X, where=X > 0)
    with pytest.raises(ValueError, match="does not broadcast"):
        lnp.sum(X, where=np.ones((5, 3, 4, 2), bool))
    with pytest.raises(NotImplementedError, match="arrays are immutable"):
        lnp.sum(X, out=X)
    with pytest.raises(TypeError, match="not defined for complex"):
        lnp.argmax(X + 0j)
