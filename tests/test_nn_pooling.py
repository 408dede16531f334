"""Pooling beyond the tables: padding, ties, sizes, and what newcomers get wrong."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn
from lucidfn.nn import functional as f

# ------------------------------------------------------------------ defects of other libraries


@pytest.mark.parametrize("d", [1, 2, 3])
def test_max_pool_pads_with_minus_infinity_not_zero(d: int) -> None:
    x = lnp.full((1, *[4] * d, 1), -5.0)
    out = getattr(nn, f"MaxPool{d}d")(3, stride=1, padding=1)({}, x)
    np.testing.assert_array_equal(out, np.full((1, *[4] * d, 1), -5.0))
    integers = getattr(f, f"max_pool{d}d")(x.astype("int32"), 3, 1, 1)
    assert integers.dtype == "int32" and int(lnp.max(integers)) == -5


@pytest.mark.parametrize("name", ["AvgPool", "MaxPool"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_stride_is_by_default_the_kernel_size(name: str, d: int) -> None:
    layer = getattr(nn, f"{name}{d}d")(2)
    assert layer({}, lnp.ones((1, *[6] * d, 1))).shape == (1, *[3] * d, 1)


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("n, m", [(5, 3), (2, 3), (3, 2), (1, 4), (7, 7), (6, 4), (10, 1)])
def test_adaptive_pooling_takes_any_output_size(kind: str, n: int, m: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, n, 3)).astype("float32")
    out = np.asarray(getattr(f, f"adaptive_{kind}_pool1d")(x, m))
    reduce = np.mean if kind == "avg" else np.max
    for i in range(m):
        part = x[:, i * n // m:-(-(i + 1) * n // m)]
        np.testing.assert_allclose(out[:, i], reduce(part, axis=1), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ values

def test_elements_that_tie_share_the_derivative() -> None:
    x = lnp.asarray([[1.0], [1.0], [0.0], [2.0]])
    grad = lf.grad(lambda x: lnp.sum(f.max_pool1d(x, 2)))(x)
    assert grad.tolist() == [[0.5], [0.5], [0.0], [1.0]]
    whole = lf.grad(lambda x: lnp.sum(f.adaptive_max_pool1d(x, 1)))(lnp.ones((4, 1)))
    assert whole.tolist() == [[0.25]] * 4


def test_a_nan_stays_in_its_windows() -> None:
    x = lnp.asarray([[1.0], [np.nan], [3.0], [np.inf], [5.0]])
    for out in (f.max_pool1d(x, 1, 2), f.adaptive_avg_pool1d(x, 3), f.adaptive_max_pool1d(x, 3),
                f.avg_pool1d(x, 2)):
        values = np.asarray(out)[:, 0]
        assert values[-1] in (5.0, np.inf)
    assert np.asarray(f.adaptive_avg_pool1d(x, 5))[:, 0].tolist()[2] == 3.0


def test_p_norms_of_zeros_have_finite_derivatives() -> None:
    x = lnp.zeros((4, 2))
    for p in (1, 2, 3, 2.5, float("inf")):
        run = lambda x, p=p: lnp.sum(f.lp_pool1d(x, p, 2))
        assert np.isfinite(np.asarray(lf.grad(run)(x))).all(), p
        assert np.isfinite(np.asarray(lf.hessian(run)(x))).all(), p


def test_sums_of_odd_powers_keep_their_sign() -> None:
    out = f.lp_pool1d([[-1.0], [-1.0], [3.0], [-2.0]], 3, 2)
    np.testing.assert_allclose(out, [[-2 ** (1 / 3)], [19 ** (1 / 3)]], rtol=1e-6)
    assert f.lp_pool1d([[-1.0], [-1.5]], 1, 2).tolist() == [[-2.5]]


def test_divisors_with_and_without_padding() -> None:
    x = lnp.ones((3, 1))
    np.testing.assert_allclose(f.avg_pool1d(x, 2, 2, 1), [[0.5], [1.0]])
    np.testing.assert_allclose(f.avg_pool1d(x, 2, 2, 1, count_include_pad=False), [[1.0], [1.0]])
    np.testing.assert_allclose(f.avg_pool1d(x, 2, ceil_mode=True), [[1.0], [1.0]])
    np.testing.assert_allclose(f.avg_pool2d(lnp.ones((2, 2, 1)), 2, divisor_override=8), [[[0.5]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_stay(dtype: str) -> None:
    x = lnp.ones((1, 5, 4, 2), dtype)
    for out in (f.avg_pool2d(x, 2), f.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
                f.max_pool2d(x, 2), f.lp_pool2d(x, 2, 2), f.adaptive_avg_pool2d(x, 3),
                f.adaptive_avg_pool2d(x, 1), f.adaptive_max_pool2d(x, 3)):
        assert out.dtype == dtype
        np.testing.assert_array_equal(np.asarray(out, "float32") >= 0.25, True)


def test_integers_average_to_floats() -> None:
    assert f.avg_pool1d(lnp.arange(4).reshape((4, 1)), 2).tolist() == [[0.5], [2.5]]
    assert f.adaptive_avg_pool1d(lnp.arange(3).reshape((3, 1)), 1).dtype == "float32"


def test_examples_one_at_a_time_and_together_agree() -> None:
    x = lnp.asarray(np.random.default_rng(0).standard_normal((3, 5, 4, 2)))
    for run in (lambda x: f.max_pool2d(x, 2, 1, 1), lambda x: f.adaptive_avg_pool2d(x, (3, None)),
                lambda x: f.avg_pool2d(x, 3, 2, 1)):
        np.testing.assert_allclose(lf.vmap(run)(x), run(x), rtol=1e-12)


def test_an_empty_batch() -> None:
    x = lnp.ones((0, 4, 4, 2))
    assert f.max_pool2d(x, 2).shape == f.avg_pool2d(x, 2).shape == (0, 2, 2, 2)
    assert f.adaptive_avg_pool2d(x, 3).shape == (0, 3, 3, 2)


# ------------------------------------------------------------------ errors

@pytest.mark.parametrize("make, message", [
    (lambda: nn.MaxPool2d(0), "kernel_size=0.*at least 1"),
    (lambda: nn.MaxPool2d("2"), "kernel_size='2'.*an integer or a tuple of 2"),
    (lambda: nn.MaxPool2d(2.0), "kernel_size=2.0"),
    (lambda: nn.MaxPool2d((2, 2, 2)), "a tuple of 2 of them"),
    (lambda: nn.AvgPool2d(2, stride=0), "stride=0.*at least 1"),
    (lambda: nn.AvgPool2d(2, padding=-1), "padding=-1.*at least 0"),
    (lambda: nn.MaxPool2d(2, padding=2), "padding=2.*at most half of the kernel"),
    (lambda: nn.MaxPool1d(2, dilation=0), "dilation=0"),
    (lambda: nn.AvgPool2d(2, divisor_override=0), "divisor_override=0"),
    (lambda: nn.LPPool1d(0, 2), "norm_type=0.*positive"),
    (lambda: nn.AdaptiveAvgPool2d(0), "output_size=0"),
    (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "an integer, None .*or 2 of these"),
])
def test_bad_hyperparameters(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer, shape, message", [
    (nn.MaxPool2d(2), (4, 4), r"expected data \[N, H, W, C\], or without N"),
    (nn.MaxPool1d(2), (1, 4, 4, 3), r"expected data \[N, L, C\]"),
    (nn.AdaptiveAvgPool2d(1), (3,), r"expected data \[N, H, W, C\]"),
    (nn.MaxPool2d(4), (1, 3, 32, 32), r"must fit into the space \(3, 32\).*\[N, H, W, C\]"),
    (nn.AvgPool1d(4), (1, 3, 2), "window must fit"),
    (nn.MaxPool1d(2, dilation=4), (1, 4, 2), "reaches over.*5.*with its dilation"),
    (nn.AdaptiveMaxPool1d(2), (1, 0, 2), "its space is empty"),
])
def test_data_of_another_shape(layer: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer({}, lnp.ones(shape))


def test_functions_name_themselves() -> None:
    with pytest.raises(ValueError, match="max_pool2d got padding=2"):
        f.max_pool2d(lnp.ones((4, 4, 1)), 2, padding=2)
    with pytest.raises(ValueError, match="avg_pool1d got x float32\\[4\\]; data is"):
        f.avg_pool1d(lnp.ones(4), 2)
    with pytest.raises(TypeError, match="complex numbers have no order"):
        f.adaptive_max_pool1d(lnp.ones((4, 1), "complex64"), 2)


# ------------------------------------------------------------------ blocks made of these

@pytest.mark.parametrize("make, message", [
    (lambda: nn.SEModule(8), "reduction=16.*must be in \\[1, in_channels\\]"),
    (lambda: nn.SelectiveKernel(4, 8, (3,)), "two odd numbers or more"),
    (lambda: nn.SelectiveKernel(4, 8, (3, 4)), "two odd numbers or more"),
])
def test_bad_hyperparameters_of_blocks(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
