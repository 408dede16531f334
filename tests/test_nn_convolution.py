"""Convolutions against the sum that defines them, and the mistakes that newcomers make."""

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.errors import ShapeError

F = nn.functional
x_image = lnp.ones((2, 8, 9, 3))


def naive(x: np.ndarray, w: np.ndarray, stride: Any, padding: Any, dilation: Any,
          groups: int) -> np.ndarray:
    """The sum of the docstring, element by element."""
    n = w.ndim - 2
    x = np.pad(x, [(0, 0), *[(p, p) for p in padding], (0, 0)])
    sizes = [(m - d * (k - 1) - 1) // s + 1 for m, k, s, d in
             zip(x.shape[1:-1], w.shape[:n], stride, dilation, strict=True)]
    out = np.zeros((x.shape[0], *sizes, w.shape[-1]))
    inside, outside = w.shape[-2], w.shape[-1] // groups
    for p in np.ndindex(*sizes):
        for k in np.ndindex(*w.shape[:n]):
            at = [i * s + j * d for i, s, j, d in zip(p, stride, k, dilation, strict=True)]
            pixel = x[(slice(None), *at)]
            for g in range(groups):
                block = slice(g * outside, (g + 1) * outside)
                out[(slice(None), *p, block)] += (
                    pixel[:, g * inside:(g + 1) * inside] @ w[(*k, slice(None), block)])
    return out


@st.composite
def convolutions(draw: Any) -> tuple[Any, ...]:
    n = draw(st.integers(1, 3))
    several = lambda low, high: tuple(draw(st.lists(st.integers(low, high), min_size=n,
                                                    max_size=n)))
    window, stride, dilation, padding = several(1, 3), several(1, 3), several(1, 2), several(0, 2)
    space = tuple([max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 2))
                   for k, d, p in zip(window, dilation, padding, strict=True)])
    groups = draw(st.integers(1, 3))
    inside, outside = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = (draw(st.integers(1, 2)), *space, groups * inside)
    return x, (*window, inside, groups * outside), stride, padding, dilation, groups


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(0, 99))
def test_equals_the_defining_sum(case: Any, seed: int) -> None:
    x_shape, w_shape, stride, padding, dilation, groups = case
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    function = getattr(F, f"conv{len(stride)}d")
    out = function(x, w, None, stride, padding, dilation, groups)
    np.testing.assert_allclose(out, naive(x, w, stride, padding, dilation, groups), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(0, 99))
def test_transposed_is_the_transpose_of_a_convolution(case: Any, seed: int) -> None:
    """<conv(x), y> = <x, conv_transpose(y)> with input and output channels of the kernel swapped
    in each group; output_padding makes up for what the stride leaves over."""
    x_shape, w_shape, stride, padding, dilation, groups = case
    rng = np.random.default_rng(seed)
    n = len(stride)
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    y = rng.standard_normal(
        getattr(F, f"conv{n}d")(x, w, None, stride, padding, dilation, groups).shape)
    left = [size - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for size, m, s, p, d, k in
            zip(x_shape[1:-1], y.shape[1:-1], stride, padding, dilation, w_shape, strict=False)]
    if any(e >= max(s, d) for e, s, d in zip(left, stride, dilation, strict=True)):
        return
    split = np.swapaxes(w.reshape(*w_shape[:-1], groups, -1), n, n + 2)  # *window, O/G, G, C/G
    swapped = split.reshape(*split.shape[:n + 1], -1)
    z = getattr(F, f"conv_transpose{n}d")(y, swapped, None, stride, padding, left, groups, dilation)
    assert z.shape == x.shape
    direct = getattr(F, f"conv{n}d")(x, w, None, stride, padding, dilation, groups)
    np.testing.assert_allclose((direct * y).sum(), (z * x).sum(), atol=1e-9)


def test_a_convolution_is_a_product_of_unfolded_windows() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 6, 7, 3)), rng.standard_normal((3, 2, 3, 4))
    rows = F.unfold(x, (3, 2), dilation=2, padding=1, stride=(1, 2))
    direct = F.conv2d(x, w, None, (1, 2), 1, 2)
    np.testing.assert_allclose((rows @ w.reshape(-1, 4)).reshape(direct.shape), direct, atol=1e-12)


def test_unfold_is_not_scrambled() -> None:
    x = lnp.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    rows = F.unfold(x, 2, stride=2)
    for n, (i, j) in itertools.product(range(2), [(0, 0), (0, 2), (2, 0), (2, 2)]):
        at = i // 2 * 2 + j // 2
        assert rows[n, at].tolist() == x[n, i:i + 2, j:j + 2].ravel().tolist()


def test_gradients_of_biases_are_sums_over_all_places() -> None:
    def loss(b: Any) -> Any:
        return (F.conv2d(x_image, lnp.ones((3, 3, 3, 4)), b) * lnp.arange(4.0)).sum()

    places = 2 * 6 * 7
    assert lf.grad(loss)(lnp.zeros(4)).tolist() == [0.0, places, 2.0 * places, 3.0 * places]
    linear = lambda b: F.linear(lnp.ones((5, 7, 2)), lnp.ones((2, 3)), b).sum()
    assert lf.grad(linear)(lnp.zeros(3)).tolist() == [35.0] * 3


def test_transposed_convolution_has_gradients() -> None:
    w = lnp.ones((3, 3, 3, 2))
    g = lf.grad(lambda w: F.conv_transpose2d(x_image, w, None, 2, 1, 1).sum())(w)
    assert g.shape == w.shape and bool((g > 0).all())


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_dtypes_are_kept(dtype: str) -> None:
    layer = nn.Conv2d(3, 4, 3)
    params = {k: v.astype(dtype) for k, v in layer.init(random.key(0))[0].items()}
    assert layer(params, x_image.astype(dtype)).dtype == dtype
    assert F.conv2d(x_image.astype("int32"), params["weight"]).dtype == dtype
    assert F.pad(x_image.astype(dtype), (1, 1), "reflect").dtype == dtype
    assert nn.Bilinear(2, 2, 2)({"weight": lnp.ones((2, 2, 2), dtype),
                                 "bias": lnp.ones(2, dtype)}, lnp.ones((3, 2), dtype),
                                lnp.ones((3, 2), dtype)).dtype == dtype


@pytest.mark.parametrize("layer, fan", [
    (nn.Conv2d(6, 64, 3, groups=2), 27), (nn.Conv1d(4, 512, 5), 20),
    (nn.ConvTranspose2d(8, 64, 3, groups=2), 32 * 9), (nn.ConvTranspose1d(64, 4, 5), 20),
    (nn.Linear(25, 300), 25), (nn.Bilinear(16, 30, 40), 16)], ids=str)
def test_parameters_start_as_in_pytorch(layer: nn.Layer, fan: int) -> None:
    params, _ = layer.init(random.key(0))
    bound = 1 / math.sqrt(fan)
    weight = np.asarray(params["weight"])
    assert 0.97 * bound < np.abs(weight).max() <= bound
    assert abs(weight.std() * math.sqrt(3) / bound - 1) < 0.06
    assert np.abs(params["bias"]).max() <= bound


def test_one_image_may_come_without_a_batch() -> None:
    layer = nn.Conv2d(3, 4, 3, padding="same", padding_mode="circular")
    params, _ = layer.init(random.key(0))
    assert layer(params, x_image[0]).tolist() == layer(params, x_image)[0].tolist()
    assert lf.vmap(lambda x: layer(params, x))(x_image).shape == (2, 8, 9, 4)


def test_every_example_with_weights_of_its_own() -> None:
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((3, 5, 5, 4)), rng.standard_normal((3, 3, 3, 2, 6))
    for function in (F.conv2d, F.conv_transpose2d):
        f = lambda x, w, function=function: function(x, w, None, 2, 1, groups=2)
        looped = [f(a, b) for a, b in zip(x, w, strict=True)]
        np.testing.assert_allclose(lf.vmap(f)(x, w), np.stack(looped), atol=1e-12)


def test_the_value_of_a_padding_has_derivatives() -> None:
    x = lnp.ones((1, 4, 1))
    f = lambda v: F.pad(x, (2, 1), value=v).sum()
    assert lf.grad(f)(0.5) == 3.0
    assert lf.jit(lf.vmap(f))(lnp.asarray([0.0, 1.0])).tolist() == [4.0, 7.0]


def test_an_empty_batch() -> None:
    x = lnp.ones((0, 8, 9, 3))
    assert F.conv2d(x, lnp.ones((3, 3, 3, 4))).shape == (0, 6, 7, 4)
    assert F.conv_transpose2d(x, lnp.ones((3, 3, 3, 4))).shape == (0, 10, 11, 4)
    assert F.unfold(x, 3).shape == (0, 42, 27)
    assert F.fold(lnp.ones((0, 42, 27)), (8, 9), 3).shape == (0, 8, 9, 3)
    assert F.pad(x, (1, 1), "reflect").shape == (0, 8, 11, 3)


# ------------------------------------------------------------------ mistakes

def conv2d(**options: Any) -> Any:
    return lambda: nn.Conv2d(4, 6, 3, **options)


def called(layer: nn.Layer, *inputs: Any) -> Any:
    return lambda: layer(layer.init(random.key(0))[0], *inputs)


MISTAKES = [
    (called(nn.Conv2d(4, 6, 3), x_image), ["Conv2d(4, 6, 3)", "3 channels", "expected 4",
                                           "[N, H, W, C]"]),
    (called(nn.Conv2d(3, 6, 3), lnp.ones((2, 3, 8, 9))), ["channels-first", "moveaxis(x, 1, -1)"]),
    (called(nn.Conv2d(3, 6, 3), lnp.ones((3, 8, 9))), ["moveaxis(x, 0, -1)", "[H, W, C]"]),
    (called(nn.Conv2d(3, 6, 3), lnp.ones((2, 3))), ["float32[2,3]", "[N, H, W, C]", "C = 3"]),
    (called(nn.Conv1d(3, 6, 3), x_image), ["[N, L, C]", "C = 3"]),
    (called(nn.Conv2d(3, 6, 10), x_image), ["(10, 10)", "(8, 9)", "larger than"]),
    (called(nn.Conv2d(3, 6, 5, dilation=2, padding=(0, 9)), x_image), ["(9, 9)", "(8, 27)"]),
    (called(nn.ConvTranspose2d(3, 6, 1, padding=4), x_image), ["(0, 1)", "padding"]),
    (called(nn.ConvTranspose2d(4, 6, 3), x_image), ["ConvTranspose2d(4, 6, 3)", "expected 4"]),
    (conv2d(groups=3), ["groups=3", "must divide", "4", "6"]),
    (conv2d(groups=0), ["groups=0"]),
    (conv2d(stride=0), ["stride=0", "at least 1"]),
    (conv2d(stride=(1, 2, 1)), ["stride=(1, 2, 1)", "2 of them"]),
    (conv2d(padding=-1), ["padding=-1", "at least 0"]),
    (conv2d(padding="SAME"), ["padding='SAME'", "'same', 'valid'"]),
    (conv2d(padding="same", stride=2), ["padding='same'", "stride 1 only"]),
    (conv2d(padding_mode="mirror"), ["padding_mode='mirror'", "reflect"]),
    (conv2d(dilation="2"), ["dilation='2'", "integer"]),
    (lambda: nn.Conv2d(4.0, 6, 3), ["in_channels=4.0", "integer"]),
    (lambda: nn.Conv2d(4, 0, 3), ["out_channels=0", "at least 1"]),
    (lambda: nn.Conv2d(4, 6, 0), ["kernel_size=0"]),
    (lambda: nn.Conv2d(4, 6, True), ["kernel_size=True"]),
    (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=2), [
        "output_padding (2, 2)", "smaller than the stride (2, 2)"]),
    (lambda: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"), ["'zeros' only"]),
    (lambda: nn.ConvTranspose2d(4, 6, 3, padding="same"), ["padding='same'"]),
    (lambda: nn.Linear(4, 3.0), ["out_features=3.0", "integer"]),
    (lambda: nn.Linear(-4, 3), ["in_features=-4", "at least 0"]),
    (called(nn.Linear(4, 3), lnp.ones((2, 5))), ["5 channels", "expected 4"]),
    (called(nn.Bilinear(3, 4, 2), lnp.ones((2, 3)), lnp.ones((2, 3))), ["expected 4"]),
    (called(nn.Flatten(2), lnp.ones((2, 3))), ["no axes from 2 to -1"]),
    (called(nn.Unflatten(1, (2, -1)), lnp.ones((2, 5))), ["size 5", "(2, -1)"]),
    (lambda: nn.Unflatten(1, (-1, -1)), ["one of which may be -1"]),
    (lambda: nn.Unflatten(1, 6), ["sizes=6"]),
    (called(nn.ZeroPad2d(1), lnp.ones((2, 3))), ["[N, H, W, C]"]),
    (lambda: nn.ZeroPad2d((1, 2)), ["padding=(1, 2)", "left, right, top, bottom"]),
    (lambda: nn.PixelShuffle(0), ["upscale_factor=0"]),
    (lambda: nn.Fold((3, 3, 3), 2), ["output_size=(3, 3, 3)"]),
    (lambda: nn.Unfold(2, stride=0), ["stride=0"]),
]


@pytest.mark.parametrize("wrong, words", MISTAKES, ids=[words[0] for _, words in MISTAKES])
def test_mistakes_with_layers_are_explained(wrong: Any, words: list[str]) -> None:
    with pytest.raises((nn.LayerError, ShapeError)) as error:
        wrong()
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, str(error.value)


weight = lnp.ones((3, 3, 3, 4))
FUNCTION_MISTAKES = [
    (lambda: F.conv2d(lnp.ones((2, 3, 8, 9)), weight), ["x has 9 channels", "takes 3 * 1",
                                                        "lnp.moveaxis(x, 1, -1)"]),
    (lambda: F.conv2d(lnp.ones((3, 8, 9)), weight), ["lnp.moveaxis(x, 0, -1)"]),
    (lambda: F.conv2d(x_image, lnp.ones((4, 3, 3))), ["[H, W, C/groups, O]"]),
    (lambda: F.conv2d(x_image, weight, lnp.ones(3)), ["bias float32[3]", "4 elements"]),
    (lambda: F.conv1d(x_image, weight), ["must have 3 axes"]),
    (lambda: F.conv2d(x_image, lnp.ones((3, 3, 1, 4)), groups=3), ["groups=3", "must divide"]),
    (lambda: F.conv2d(x_image, weight, stride=0), ["conv2d got stride=0"]),
    (lambda: F.conv2d(x_image, lnp.ones((0, 3, 3, 4))), ["window is empty"]),
    (lambda: F.linear(lnp.ones((2, 4)), lnp.ones((3, 4))), ["looks transposed", "[in, out]"]),
    (lambda: F.linear(lnp.ones((2, 4)), lnp.ones((4, 3)), lnp.ones((1, 3))), ["3 elements"]),
    (lambda: F.bilinear(lnp.ones((2, 3)), lnp.ones((3, 4)), lnp.ones((2, 3, 4))), ["must agree"]),
    (lambda: F.pad(x_image, 1), ["got widths 1", "(left, right"]),
    (lambda: F.pad(x_image, (1, 1, 1)), ["(left, right"]),
    (lambda: F.pad(x_image, (1, 1), "edge"), ["mode 'edge'", "replicate"]),
    (lambda: F.pad(x_image, (9, 1), "reflect"), ["'reflect'", "at most 8"]),
    (lambda: F.pad(x_image, (10, 1), "circular"), ["'circular'", "at most 9"]),
    (lambda: F.pad(x_image, (-5, -5)), ["crop more than its 9"]),
    (lambda: F.pad(lnp.ones((3, 2)), (1, 1, 1, 1)), ["2 pairs"]),
    (lambda: F.pad(x_image.astype("int32"), (1, 1), value=0.5), ["0.5", "int32"]),
    (lambda: F.unfold(x_image, 10), ["(10, 10)", "larger"]),
    (lambda: F.unfold(lnp.ones((2, 3)), 2), ["[N, H, W, C]"]),
    (lambda: F.fold(lnp.ones((1, 5, 4)), 3, 2), ["[N, 4, 4 * C]"]),
    (lambda: F.pixel_shuffle(x_image, 2), ["4 must divide its 3 channels"]),
    (lambda: F.pixel_unshuffle(x_image, 2), ["must divide 8 and 9"]),
    (lambda: F.channel_shuffle(x_image, 2), ["groups=2"]),
]


@pytest.mark.parametrize("wrong, words", FUNCTION_MISTAKES,
                         ids=[words[0] for _, words in FUNCTION_MISTAKES])
def test_mistakes_with_functions_are_explained(wrong: Any, words: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        wrong()
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, str(error.value)


def test_output_size_is_checked() -> None:
    layer = nn.ConvTranspose2d(3, 4, 3, stride=2)
    params, _ = layer.init(random.key(0))
    assert layer(params, x_image, output_size=(18, 19)).shape == (2, 18, 19, 4)
    with pytest.raises(nn.LayerError, match=r"from \(17, 19\) to \(18, 20\)"):
        layer(params, x_image, output_size=16)


def test_errors_inside_a_model_name_the_layer() -> None:
    model = nn.Sequential(first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(5, 4, 3))
    params, state = model.init(random.key(0))
    with pytest.raises(nn.LayerError, match=r"Conv2d\(5, 4, 3\) at 'second' got x .*4 channels"):
        model.apply(params, state, x_image)


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = nn.Conv2d(3, 4, 4, padding="same")
        layer(layer.init(random.key(0))[0], x_image)
