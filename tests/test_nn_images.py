"""Resizing and sampling images: named defects, errors, values that are not finite, dtypes."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, testing
from lucidfn.errors import ShapeError
from lucidfn.nn.functional import affine_grid, grid_sample, interpolate, rotate

IMAGE = np.arange(24, dtype="float32").reshape(1, 4, 6, 1)


def test_bilinear_does_not_degenerate_to_nearest() -> None:
    ramp = lnp.asarray(IMAGE[:, :, :, :])
    up = np.asarray(interpolate(ramp, (8, 12), mode="bilinear"))
    near = np.asarray(interpolate(ramp, (8, 12), mode="nearest"))
    assert not (up == near).all() and ramp.dtype == "float32"
    # A ramp stays a ramp but for the edges: a quarter of a pixel between neighbours and beyond.
    inner = up[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(np.diff(inner, axis=1), 0.5, atol=1e-5)
    np.testing.assert_allclose(np.diff(inner, axis=0), 3.0, atol=1e-5)


def test_area_means_over_slices_of_uneven_windows() -> None:
    down = np.asarray(interpolate(IMAGE, (3, 4), mode="area"))[0, :, :, 0]
    rows, columns = [(0, 2), (1, 3), (2, 4)], [(0, 2), (1, 3), (3, 5), (4, 6)]
    expected = [[IMAGE[0, a:b, c:d, 0].mean() for c, d in columns] for a, b in rows]
    np.testing.assert_allclose(down, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("size", [(9, 13), (2, 3), (7, 2)])
def test_gradients_of_interpolate_count_every_use_of_a_pixel(mode: str, size: Any) -> None:
    # Weights sum to 1: the gradient of the sum adds up to the number of outputs.
    x = lnp.asarray(IMAGE.astype("float64"))
    g = lf.grad(lambda x: interpolate(x, size, mode=mode).sum())(x)
    np.testing.assert_allclose(float(g.sum()), size[0] * size[1], rtol=1e-12)
    testing.check_grads(lambda x: interpolate(x, size, mode=mode), (x,), order=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "float16"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_dtypes_stay(dtype: str, mode: str) -> None:
    x = lnp.asarray(IMAGE).astype(dtype)
    assert interpolate(x, (3, 9), mode=mode).dtype == dtype
    assert rotate(x, 30, mode="bilinear", fill=1.0).dtype == dtype


def test_integer_images() -> None:
    x = IMAGE.astype("uint8")
    up = interpolate(x, scale_factor=2)
    assert up.dtype == "uint8"
    np.testing.assert_array_equal(up, x.repeat(2, 1).repeat(2, 2))
    assert rotate(x, 90).dtype == "uint8"
    for call in (lambda: interpolate(x, 3, mode="bilinear"), lambda: rotate(x, 5, mode="bilinear"),
                 lambda: grid_sample(x, np.zeros((1, 2, 2, 2), "float32"))):
        with pytest.raises(TypeError, match="uint8.*floating images.*astype"):
            call()


@pytest.mark.parametrize(("kwargs", "words"), [
    ({}, "neither of size and scale_factor"),
    ({"size": 3, "scale_factor": 2.0}, "both of size and scale_factor"),
    ({"size": 3, "mode": "cubic"}, "mode='cubic', expected one of"),
    ({"size": 3, "mode": "nearest", "align_corners": True}, "align_corners=True with mode 'near"),
    ({"size": 3, "mode": "area", "align_corners": False}, "align_corners=False with mode 'area'"),
    ({"size": 3, "mode": "nearest", "antialias": True}, "antialias=True with mode 'nearest'"),
    ({"size": (1, 3, 4, 1)}, "2 spatial axes.*not for N and C"),
    ({"size": (3, 3), "recompute_scale_factor": True}, "option of scale_factor"),
    ({"size": 0}, "must be at least 1"),
    ({"size": -2}, "must be at least 1"),
    ({"scale_factor": 0.1}, "must be at least 1"),
])
def test_errors_of_interpolate(kwargs: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        interpolate(IMAGE, **kwargs)


def test_errors_of_shapes() -> None:
    with pytest.raises(ShapeError, match=r"'trilinear'.*\[N, D, H, W, C\]"):
        interpolate(IMAGE, 3, mode="trilinear")
    with pytest.raises(ShapeError, match=r"x\[None\] adds the batch"):
        interpolate(IMAGE[0, :, 0], 3)
    with pytest.raises(TypeError, match="sizes are integers"):
        interpolate(IMAGE, 2.5)
    grid = np.zeros((1, 2, 2, 2), "float32")
    with pytest.raises(ShapeError, match=r"\[N, h, w, 2\] with N = 1"):
        grid_sample(IMAGE, grid[..., :1])
    with pytest.raises(ShapeError, match=r"with N = 1"):
        grid_sample(IMAGE, grid.repeat(2, 0))
    with pytest.raises(ValueError, match="mode='linear'"):
        grid_sample(IMAGE, grid, "linear")
    with pytest.raises(ValueError, match="padding_mode='wrap'"):
        grid_sample(IMAGE, grid, "bilinear", "wrap")
    with pytest.raises(ShapeError, match="bicubic"):
        grid_sample(IMAGE[None], np.zeros((1, 1, 1, 1, 3), "float32"), "bicubic")
    with pytest.raises(ShapeError, match=r"\(N, H, W, C\)"):
        affine_grid(np.zeros((1, 2, 3), "float32"), (2, 4, 6, 1))
    with pytest.raises(ShapeError, match=r"\[N\] = \[1\]"):
        rotate(IMAGE, [1.0, 2.0])
    with pytest.raises(ShapeError, match=r"\[N, H, W, C\]"):
        rotate(IMAGE[0], 90)
    with pytest.raises(ValueError, match=r"\(x, y\)"):
        rotate(IMAGE, 90, center=(1.0,))


def test_errors_of_layers() -> None:
    with pytest.raises(ValueError, match="Upsample got neither"):
        nn.Upsample()
    with pytest.raises(ValueError, match="UpsamplingNearest2d got both"):
        nn.UpsamplingNearest2d(2, 2.0)
    with pytest.raises(ValueError, match="Upsample got mode='bilinar'"):
        nn.Upsample(2, mode="bilinar")
    with pytest.raises(nn.LayerError, match=r"\[N, H, W, C\]"):
        nn.UpsamplingBilinear2d(2)({}, IMAGE[0])


def test_rotate_turns_counter_clockwise_and_four_times_is_once_around() -> None:
    x = lnp.asarray(np.arange(16, dtype="float32").reshape(1, 4, 4, 1))
    np.testing.assert_array_equal(rotate(x, 90)[0, ..., 0], np.rot90(np.asarray(x)[0, ..., 0]))
    for mode in ("nearest", "bilinear"):
        turned = x
        for _ in range(4):
            turned = rotate(turned, -90, mode=mode)
        np.testing.assert_allclose(turned, x, atol=1e-4)


def test_rotate_about_a_corner_fills_what_comes_from_outside() -> None:
    x = lnp.ones((1, 4, 4, 1))
    out = np.asarray(rotate(x, 90, center=(0.0, 0.0), fill=7.0))
    assert (out == 7).all()
    assert (np.asarray(rotate(x, 180, center=(2.0, 2.0), fill=7.0)) == 1).all()


def test_outside_and_nan_places_sample_zero_without_touching_gradients() -> None:
    x = lnp.asarray(IMAGE)
    grid = lnp.asarray([[[[0.1, 0.2], [np.nan, 0.0]], [[9.0, 9.0], [-50.0, 3e9]]]])
    value, (gx, gg) = lf.value_and_grad(
        lambda x, g: grid_sample(x, g).sum(), argnums=(0, 1))(x, grid)
    assert np.isfinite(float(value)) and np.isfinite(gx).all()
    assert np.isfinite(np.asarray(gg)[0, 0, 0]).all() and (np.asarray(gg)[0, 1] == 0).all()


def test_an_infinite_pixel_stays_where_it_is() -> None:
    x = IMAGE.copy()
    x[0, 0, 0] = np.inf
    up = np.asarray(interpolate(x, (8, 12), mode="bilinear"))
    assert np.isfinite(up[0, 3:, 3:]).all()


def test_grid_sample_of_the_identity_is_the_image() -> None:
    x = lnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 2)).astype("float32"))
    theta = lnp.asarray([[[1.0, 0, 0], [0, 1.0, 0]]] * 2)
    for corners in (False, True):
        grid = affine_grid(theta, x.shape, corners)
        for mode in ("bilinear", "nearest", "bicubic"):
            np.testing.assert_allclose(grid_sample(x, grid, mode, align_corners=corners), x,
                                       atol=1e-5)


def test_no_float64_from_float32() -> None:
    x, grid = lnp.asarray(IMAGE), lnp.zeros((1, 2, 2, 2))
    for mode in ("bilinear", "nearest", "bicubic"):
        program = str(lf.make_ir(lambda x, g: grid_sample(x, g, mode, "reflection"))(x, grid))
        assert "float64" not in program and "f64" not in program
    program = str(lf.make_ir(lambda x: interpolate(x, 7, mode="bicubic"))(x))
    assert "float64" not in program
