"""The ways a convolution is computed, each forced on small cases; products that accumulate."""

import itertools

import numpy as np
import pytest

from lucidfn.backends.numpy import blas, conv_narrow, conv_rows, conv_shared, scratch
from lucidfn.backends.numpy.conv import add_conv, conv
from lucidfn.backends.numpy.sums import total
from lucidfn.backends.numpy.windows import window_max, window_sum


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def params(stride=1, low=1, high=1, x_dilation=1, w_dilation=1, rank=2):
    return {"stride": (stride,) * rank, "padding": ((low, high),) * rank, "groups": 1,
            "x_dilation": (x_dilation,) * rank, "w_dilation": (w_dilation,) * rank}


def naive(x, w, stride, padding, x_dilation, w_dilation, groups):
    for axis, ((low, high), d) in enumerate(zip(padding, x_dilation, strict=True), 1):
        rows = np.moveaxis(x, axis, 0)
        n = (len(rows) - 1) * d + 1
        wide = np.zeros((n + 8, *rows.shape[1:]), x.dtype)
        wide[4 : 4 + n : d] = rows
        x = np.moveaxis(wide[4 - low : 4 + n + high], 0, axis)
    window = w.shape[:-2]
    count = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in
             zip(x.shape[1:-1], window, stride, w_dilation, strict=True)]
    out = np.zeros((len(x), *count, w.shape[-1]), x.dtype)
    for place in np.ndindex(*window):
        met = tuple(slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in
                    zip(place, w_dilation, count, stride, strict=True))
        out += x[(slice(None), *met)] @ w[place]
    return out


GEOMETRIES = [
    params(), params(stride=2), params(x_dilation=2), params(w_dilation=2, low=2, high=2),
    params(stride=2, w_dilation=2, low=2, high=1), params(stride=3, low=0, high=2),
    params(low=-1, high=-1), params(low=0, high=0), params(low=2, high=3), params(low=4, high=4),
    params(low=3, high=-1), params(stride=2, low=0, high=-1),
]
SHAPES = [((5, 8, 8, 4), (3, 3, 4, 6)), ((3, 7, 6, 8), (3, 2, 8, 2)), ((2, 9, 8, 1), (2, 3, 1, 3))]


WAYS = ["rows", "rows, image by image", "shared", "shared, row by row", "together", "columns"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Makes the small cases of this file take one way."""
    if request.param.startswith("rows"):
        monkeypatch.setattr(conv_rows, "_NARROW", 1)
        monkeypatch.setattr(blas, "_SMALL", 0)
        if "," in request.param:
            monkeypatch.setattr(conv_rows, "_CACHED", 1)
            monkeypatch.setattr(conv_rows, "_ROWS", 1)
        return
    monkeypatch.setattr(conv_rows, "_NARROW", 10**9)
    monkeypatch.setattr(conv_narrow, "_BLOCK", 1000)
    monkeypatch.setattr(conv_narrow, "_ROWS", 1)
    monkeypatch.setattr(conv_shared, "_ROWS", 1)
    monkeypatch.setattr(conv_shared, "_LEAST", 10**9 if request.param == "columns" else 1)
    if request.param != "shared":
        monkeypatch.setattr(conv_shared, "neighbours", lambda positions, *_: positions)
    if request.param == "together":
        monkeypatch.setattr(conv_shared, "_BLOCK", 2000)
    if "," in request.param:
        monkeypatch.setattr(conv_shared, "_BLOCK", 100)
        monkeypatch.setattr(conv_shared, "_SMALL", 100)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_way_is_the_convolution(way, geometry, shapes):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape) for shape in shapes)
    expected = naive(x, w, **geometry)
    turned = np.ascontiguousarray(w.transpose(0, 1, 3, 2)[::-1])[::-1].transpose(0, 1, 3, 2)
    for _ in range(2):  # a second time in memory that was used
        np.testing.assert_allclose(conv(x, w, **geometry), expected, 1e-12, 1e-12)
        np.testing.assert_allclose(conv(x, turned, **geometry), expected, 1e-12, 1e-12)
        view = np.ascontiguousarray(x.T).T
        np.testing.assert_allclose(conv(view, w, **geometry), expected, 1e-12, 1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_gradient_of_a_filter_adds_up_in_place(way, stride, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 8, 6, 3)).astype(dtype)
    ct = rng.standard_normal((5, 8 // stride, 6 // stride, 4)).astype(dtype)
    geometry = params(low=1, high=1 - (stride == 2), w_dilation=stride)
    operands = lambda rows: (x[rows].transpose(3, 1, 2, 0), ct[rows].transpose(1, 2, 0, 3))
    expected = naive(*operands(slice(None)), **geometry)
    total = None
    for rows in slice(0, 2), slice(2, 4), slice(4, 5):
        before = total
        total = add_conv(total, *operands(rows), **geometry)
        assert before is None or total is before
    np.testing.assert_allclose(total, expected, 1e-4 if dtype == "f4" else 1e-12, 1e-5)


OTHERS = [((40, 9, 3), (3, 3, 4)), ((2, 5, 4, 6, 2), (2, 3, 3, 2, 4)),
          ((3, 12, 7, 1), (1, 4, 1, 2))]


@pytest.mark.parametrize("shape, window", OTHERS, ids=str)
def test_every_way_in_other_numbers_of_axes(way, shape, window):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape), rng.standard_normal(window)
    for geometry in (params(), params(stride=2), params(w_dilation=2, low=2), params(low=-1)):
        geometry = {k: v if k == "groups" else v[:1] * (x.ndim - 2) for k, v in geometry.items()}
        expected = naive(x, w, **geometry)
        view = np.ascontiguousarray(x.T).T
        for images in x, view, np.repeat(x, 2, -1)[..., ::2]:
            np.testing.assert_allclose(conv(images, w, **geometry), expected, 1e-12, 1e-12)


@pytest.mark.parametrize("spread", [1, 2])
def test_nan_and_infinity_reach_only_their_windows(way, spread):
    for bad in np.nan, np.inf:
        x = np.zeros((2, 8, 8, 8), "f4")
        x[0, 4, 4] = bad
        geometry = params(w_dilation=spread, low=spread, high=spread)
        out = conv(x, np.ones((3, 3, 8, 2), "f4"), **geometry)
        met = np.zeros(out.shape, bool)
        near = slice(4 - spread, 5 + spread, spread)
        met[0, near, near] = True
        assert (np.isfinite(out) == ~met).all()


def test_nan_reaches_only_its_taps_of_a_gradient(way):
    x, ct = np.ones((5, 6, 6, 2), "f4"), np.ones((5, 6, 6, 3), "f4")
    x[0, 0, 0, 0] = np.nan  # in the corner: met by taps that look up and left
    geometry = params()
    out = conv(x.transpose(3, 1, 2, 0), ct.transpose(1, 2, 0, 3), **geometry)
    met = np.zeros(out.shape, bool)
    met[0, :2, :2] = True
    assert (np.isfinite(out) == ~met).all()


def test_a_sum_of_columns_is_accurate():
    rng = np.random.default_rng(0)
    for shape in (70000, 6), (5000, 3), (4097, 1), (4099, 64), (33, 200), (10007, 130):
        x = rng.standard_normal(shape).astype("f4")
        x[7, 0] = np.inf
        with np.errstate(all="ignore"):
            got = total(x, (0,))
        assert got.dtype == x.dtype
        np.testing.assert_allclose(got, x.sum(0, np.float64), 1e-4, 1e-3)


def test_rows_of_padding_take_part_in_no_product(way):
    geometry = params(low=4, high=4)
    x, w = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 1))
    np.testing.assert_array_equal(conv(x, w, **geometry), naive(x, w, **geometry))


def views(x):
    """The same matrix in several layouts."""
    wide = np.zeros((x.shape[0] * 2, x.shape[1] + 3), x.dtype)
    wide[::2, 1:-2] = x
    sparse = np.zeros((x.shape[0], x.shape[1] * 2), x.dtype)
    sparse[:, ::2] = x
    return [x, np.asfortranarray(x), wide[::2, 1:-2], sparse[:, ::2], x[::-1].copy()[::-1]]


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "c8", ">f4"])
def test_products_accumulate(reached, dtype, monkeypatch):
    monkeypatch.setattr(blas, "_SMALL", 0)
    if not reached:
        monkeypatch.setattr(blas, "gemm_of", lambda dtype: None)
    rng = np.random.default_rng(0)
    for m, k, n in (1, 1, 1), (3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (0, 3, 2), (3, 0, 2):
        a, b, c = (rng.integers(-5, 5, s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
        for x, y, out in itertools.product(views(a), views(b), views(c)):
            got = blas.matmul_add(x, y, out, True)
            assert (got == a @ b).all() and (out == a @ b).all()
            got = blas.add_product(out, x, y)
            assert got.shape == (m, n) and (out == 2 * (a @ b)).all()
        assert (blas.add_product(None, a, b) == a @ b).all()


def test_nothing_is_written_to_read_only_memory(monkeypatch):
    monkeypatch.setattr(blas, "_SMALL", 0)
    x = np.ones((2, 2), "f4")
    out = np.zeros((2, 2), "f4")
    out.flags.writeable = False
    with pytest.raises(ValueError):
        blas.matmul_add(x, x, out, False)


def test_scratch_is_bounded_and_borders_stay_zero():
    f4 = np.dtype("f4")
    a = scratch.bordered("test", (4, 4), f4)
    assert not a.any() and scratch.bordered("test", (4, 4), f4) is a
    scratch.flat("large", (scratch._KEPT,), f4)
    assert scratch._arrays.size <= scratch._KEPT
    assert scratch.flat("test", (2, 3), f4).shape == (2, 3)


@pytest.mark.parametrize("size, k", [(6, 2), (7, 2), (9, 3)])
@pytest.mark.parametrize("channels", [1, 3, 20])
def test_disjoint_windows_and_their_transpose(size, k, channels):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, size, size, channels))
    one, none, n = (1, 1, 1, 1), ((0, 0),) * 4, size // k
    blocks = x[:, : n * k, : n * k].reshape(2, n, k, n, k, channels)
    disjoint = {"window": (1, k, k, 1), "stride": (1, k, k, 1), "padding": none,
                "x_dilation": one, "w_dilation": one}
    np.testing.assert_allclose(window_sum(x, **disjoint), blocks.sum((2, 4)), 1e-12, 1e-12)
    np.testing.assert_array_equal(window_max(x, **disjoint), blocks.max((2, 4)))
    ends = ((0, 0), (k - 1, k - 1), (k - 1, k - 1), (0, 0))
    back = window_sum(x, window=(1, k, k, 1), stride=one, padding=ends, w_dilation=one,
                      x_dilation=(1, k, k, 1))
    np.testing.assert_array_equal(back, x.repeat(k, 1).repeat(k, 2))
