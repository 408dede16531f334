"""Convolutions and window reductions against the naive loop over positions in float64."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucidfn.backends.numpy import attaining, windows
from lucidfn.backends.numpy import conv as module
from lucidfn.backends.numpy.conv import conv, window_max, window_min, window_sum

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(d) for d in "f2 f4 f8 F D i1 u1 i4 i8".split()] + [BF16]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def sample(rng, shape, dtype):
    if dtype.kind == "c":
        pair = rng.standard_normal((2, *shape))
        return np.asarray(pair[0] + 1j * pair[1]).astype(dtype)
    if dtype.kind in "biu":
        return np.asarray(rng.integers(0, 2 if dtype.kind == "b" else 100, shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def dilate_and_pad(x, axis, low, high, dilation, value):
    n = x.shape[axis]
    size = (n - 1) * dilation + 1 if n else 0
    rows = np.moveaxis(x, axis, 0)
    out = np.full((max(low, 0) + size + max(high, 0), *rows.shape[1:]), value, x.dtype)
    for i in range(n):
        out[max(low, 0) + i * dilation] = rows[i]
    out = out[max(-low, 0) : len(out) + min(high, 0)]
    return np.moveaxis(out, 0, axis)


def positions_of(size, k, stride, dilation):
    return max(0, (size - ((k - 1) * dilation + 1)) // stride + 1)


def naive_conv(x, w, stride, padding, x_dilation, w_dilation, groups):
    wide = {"c": np.complex128, "f": np.float64, "V": np.float64}.get(x.dtype.kind, np.int64)
    x, w = x.astype(wide), w.astype(wide)
    rank = x.ndim - 2
    for d in range(rank):
        x = dilate_and_pad(x, d + 1, *padding[d], x_dilation[d], 0)
    window = w.shape[:-2]
    space = tuple(
        positions_of(*axis) for axis in zip(x.shape[1:-1], window, stride, w_dilation, strict=True)
    )
    out = np.zeros((x.shape[0], *space, w.shape[-1]), wide)
    cg, og = w.shape[-2], w.shape[-1] // groups
    for p in np.ndindex(space):
        for k in np.ndindex(window):
            at = tuple(p[d] * stride[d] + k[d] * w_dilation[d] for d in range(rank))
            for g in range(groups):
                part = x[(slice(None), *at)][:, g * cg : (g + 1) * cg]
                taps = w[k][:, g * og : (g + 1) * og]
                out[(slice(None), *p)][:, g * og : (g + 1) * og] += part @ taps
    return out


def check(x, w, stride, padding, x_dilation, w_dilation, groups):
    x.flags.writeable = w.flags.writeable = False
    out = conv(
        x,
        w,
        stride=stride,
        padding=padding,
        x_dilation=x_dilation,
        w_dilation=w_dilation,
        groups=groups,
    )
    want = naive_conv(x, w, stride, padding, x_dilation, w_dilation, groups)
    assert out.dtype == x.dtype
    assert out.shape == want.shape
    if x.dtype.kind in "iu":
        np.testing.assert_array_equal(out, want.astype(x.dtype))
        return
    epsilon = float(ml_dtypes.finfo(x.dtype).eps)
    scale = math.sqrt(math.prod(w.shape[:-1]) + 1)
    np.testing.assert_allclose(out.astype(want.dtype), want, 8 * epsilon, 8 * epsilon * scale)


# x, w, stride, padding, x_dilation, w_dilation, groups
CASES = [
    ((2, 3), (3, 4), (), (), (), (), 1),
    ((2, 6), (3, 4), (), (), (), (), 2),
    ((2, 7, 3), (3, 3, 4), (1,), ((1, 1),), (1,), (1,), 1),
    ((2, 7, 3), (3, 3, 4), (2,), ((0, 2),), (1,), (2,), 1),
    ((2, 7, 3), (3, 3, 4), (1,), ((2, 1),), (2,), (1,), 1),
    ((2, 7, 3), (3, 3, 4), (2,), ((-1, -2),), (3,), (2,), 1),
    ((2, 7, 3), (1, 3, 4), (2,), ((-1, -1),), (1,), (1,), 1),
    ((2, 7, 3), (1, 3, 4), (1,), ((1, 0),), (2,), (1,), 1),
    ((2, 6, 5, 3), (3, 3, 3, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    ((2, 6, 5, 3), (3, 2, 3, 4), (2, 1), ((0, 1), (1, 0)), (1, 1), (1, 2), 1),
    ((2, 6, 5, 3), (3, 3, 3, 4), (1, 1), ((2, 1), (1, 2)), (2, 3), (1, 1), 1),
    ((2, 6, 5, 3), (2, 2, 3, 4), (1, 1), ((-3, 4), (5, -2)), (3, 2), (1, 1), 1),
    ((2, 6, 5, 3), (3, 3, 3, 4), (2, 1), ((1, 1), (1, 1)), (2, 2), (1, 1), 1),
    ((2, 6, 5, 3), (1, 1, 3, 4), (2, 2), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    ((2, 6, 5, 4), (1, 1, 2, 6), (1, 2), ((0, 0), (0, 0)), (1, 1), (1, 1), 2),
    ((2, 6, 5, 4), (3, 3, 2, 6), (1, 2), ((1, 1), (1, 0)), (1, 1), (1, 1), 2),
    ((2, 6, 5, 4), (3, 3, 2, 6), (1, 1), ((1, 1), (1, 2)), (2, 1), (1, 1), 2),
    ((2, 6, 5, 4), (3, 3, 1, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 4),
    ((2, 6, 5, 4), (3, 3, 1, 8), (2, 2), ((1, 0), (0, 1)), (1, 1), (1, 2), 4),
    ((2, 6, 5, 4), (3, 3, 1, 8), (1, 1), ((2, 2), (2, 2)), (2, 2), (1, 1), 4),
    ((2, 6, 7, 4), (3, 3, 1, 4), (1, 3), ((1, 1), (1, 1)), (1, 1), (1, 2), 4),
    ((2, 9, 6), (4, 1, 6), (2,), ((-1, 2),), (1,), (2,), 6),
    ((2, 9, 6), (4, 1, 6), (1,), ((-1, -2),), (1,), (2,), 6),
    ((2, 3, 4, 5, 4), (2, 3, 2, 1, 4), (1, 2, 1), ((1, 0),) * 3, (1,) * 3, (1, 1, 2), 4),
    ((2, 6, 5, 1), (5, 5, 1, 3), (1, 1), ((2, 2), (2, 2)), (1, 1), (1, 1), 1),
    ((2, 4, 20, 2), (3, 3, 2, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    ((1, 4, 3, 4, 2), (2, 2, 2, 2, 3), (1, 2, 1), ((1, 0),) * 3, (1, 1, 2), (2, 1, 1), 1),
    ((2, 3, 3), (5, 3, 4), (1,), ((0, 0),), (1,), (1,), 1),
    ((0, 7, 3), (3, 3, 4), (1,), ((1, 1),), (1,), (1,), 1),
    ((2, 0, 3), (3, 3, 4), (1,), ((3, 3),), (2,), (1,), 1),
    ((2, 7, 0), (3, 0, 4), (1,), ((1, 1),), (1,), (1,), 1),
    ((2, 7, 3), (3, 3, 0), (1,), ((1, 1),), (1,), (1,), 1),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(case, dtype):
    rng = np.random.default_rng(0)
    check(sample(rng, case[0], dtype), sample(rng, case[1], dtype), *case[2:])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv_of_views_in_small_blocks(case, monkeypatch):
    # Blocks of one image and of one row of it, batch and channels exchanged in memory.
    rng = np.random.default_rng(0)
    monkeypatch.setattr(module, "_COLUMNS", 40)
    monkeypatch.setattr(module, "_DEPTHWISE_BLOCK", 40)
    for size in 40, 4000:
        monkeypatch.setattr(module, "_COLUMNS", size)
        for dtype in np.dtype("f8"), np.dtype("i4"):
            x = sample(rng, case[0][::-1], dtype).T
            w = np.moveaxis(sample(rng, (*case[1][-2:], *case[1][:-2]), dtype), (0, 1), (-2, -1))
            check(x, w, *case[2:])
            check(x[:, ...][::-1], w[..., ::-1], *case[2:])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_random_geometry(data):
    rank = data.draw(st.integers(1, 2))
    small = st.integers(1, 3)

    def each(strategy):
        return tuple(data.draw(strategy) for _ in range(rank))

    groups, cg, og = data.draw(small), data.draw(small), data.draw(small)
    space, window = each(st.integers(1, 6)), each(small)
    padding = each(st.tuples(st.integers(-2, 3), st.integers(-2, 3)))
    x_dilation = each(small)
    for n, (low, high), d in zip(space, padding, x_dilation, strict=True):
        if (n - 1) * d + 1 + min(low, 0) + min(high, 0) < 0:
            return
    rng = np.random.default_rng(0)
    x = sample(rng, (2, *space, groups * cg), np.dtype("f8"))
    w = sample(rng, (*window, cg, groups * og), np.dtype("f8"))
    with np.errstate(all="ignore"):
        check(x, w, each(small), padding, x_dilation, each(small), groups)


def test_gradient_of_a_filter_is_a_convolution_of_views():
    rng = np.random.default_rng(0)
    for stride, c in itertools.product((1, 2), (1, 3, 8)):
        x = sample(rng, (5, 14, 15, c), np.dtype("f4"))
        y = sample(rng, (5, (14 - 1) // stride + 1, (15 - 1) // stride + 1, 4), np.dtype("f4"))
        ends = tuple((y.shape[a] - 1) * stride + 3 - x.shape[a] - 1 for a in (1, 2))
        case = ((1, 1), ((1, ends[0]), (1, ends[1])), (1, 1), (stride, stride), 1)
        check(x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3), *case)


def test_nan_and_inf_reach_only_their_windows():
    x = np.zeros((1, 9, 1), np.float32)
    x[0, 4] = np.nan
    parameters = dict(stride=(1,), padding=((1, 1),), x_dilation=(1,), w_dilation=(1,), groups=1)
    out = conv(x, np.ones((3, 1, 2), np.float32), **parameters)
    assert np.isnan(out[0, :, 0]).tolist() == [False] * 3 + [True] * 3 + [False] * 3


def test_half_precision_sums_in_single():
    x = np.ones((1, 4000, 1), BF16)
    parameters = dict(stride=(1,), padding=((0, 0),), x_dilation=(1,), w_dilation=(1,), groups=1)
    assert conv(x, np.ones((4000, 1, 1), BF16), **parameters).astype("f4").item() == 4000


def naive_window(f, identity, x, window, stride, padding, x_dilation, w_dilation):
    x = x.astype("f4") if x.dtype == BF16 else x
    for d in range(x.ndim):
        x = dilate_and_pad(x, d, *padding[d], x_dilation[d], identity)
    space = tuple(
        positions_of(*axis) for axis in zip(x.shape, window, stride, w_dilation, strict=True)
    )
    out = np.zeros(space, x.dtype)
    for p in np.ndindex(space):
        at = tuple(
            slice(i * s, i * s + (k - 1) * d + 1, d)
            for i, s, k, d in zip(p, stride, window, w_dilation, strict=True)
        )
        out[p] = f.reduce(x[at], axis=None, dtype=x.dtype)
    return out


# shape, window, stride, padding, x_dilation, w_dilation
WINDOWS = [
    ((), (), (), (), (), ()),
    ((9,), (3,), (1,), ((0, 0),), (1,), (1,)),
    ((9,), (3,), (2,), ((1, 2),), (1,), (2,)),
    ((9,), (1,), (3,), ((-1, 0),), (1,), (1,)),
    ((30,), (9,), (1,), ((0, 0),), (1,), (1,)),
    ((30,), (11,), (2,), ((3, 4),), (1,), (1,)),
    ((40,), (13,), (1,), ((0, 0),), (1,), (2,)),
    ((20,), (20,), (1,), ((0, 0),), (1,), (1,)),
    ((20,), (16,), (1,), ((2, 0),), (1,), (1,)),
    ((2, 6, 6, 3), (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4, (1,) * 4, (1,) * 4),
    (
        (2, 6, 7, 3),
        (1, 3, 3, 1),
        (1, 2, 1, 1),
        ((0, 0), (1, 1), (0, 2), (0, 0)),
        (1,) * 4,
        (1,) * 4,
    ),
    ((3, 5), (2, 2), (1, 1), ((1, -1), (-1, 3)), (2, 3), (2, 1)),
    ((3, 5), (4, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    ((0, 5), (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    ((0, 5), (1, 2), (1, 1), ((1, 1), (0, 0)), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("dtype", DTYPES + [np.dtype("?")], ids=str)
@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_windows(case, dtype):
    rng = np.random.default_rng(0)
    x = sample(rng, case[0], dtype)
    names = "window", "stride", "padding", "x_dilation", "w_dilation"
    parameters = dict(zip(names, case[1:], strict=True))
    ends = {"b": (False, True), "f": (-math.inf, math.inf), "V": (-math.inf, math.inf)}
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        ends[dtype.kind] = info.min, info.max
    kernels = [(window_sum, np.add, 0)]
    if dtype.kind != "c":
        least, greatest = ends[dtype.kind]
        kernels += [(window_max, np.maximum, least), (window_min, np.minimum, greatest)]
    for kernel, ufunc, identity in kernels:
        out = kernel(x, **parameters)
        want = naive_window(ufunc, identity, x, *case[1:])
        assert isinstance(out, np.ndarray) and out.dtype == dtype and out.shape == want.shape
        if dtype.kind in "biu":
            np.testing.assert_array_equal(out, want)
        else:
            epsilon = 20 * float(ml_dtypes.finfo(dtype).eps)
            wide = "D" if dtype.kind == "c" else "f8"
            np.testing.assert_allclose(out.astype(wide), want.astype(wide), epsilon, epsilon)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_windows_in_blocks_of_images(images, monkeypatch):
    rng = np.random.default_rng(0)
    x = sample(rng, (5, 6, 7, 2), np.dtype("f4"))
    one = dict(x_dilation=(1,) * 4, w_dilation=(1,) * 4, window=(1, 3, 2, 1), stride=(1, 2, 1, 1),
               padding=((0, 0), (1, 1), (0, 1), (0, 0)))
    whole = [kernel(x, **one) for kernel in (window_sum, window_max, window_min)]
    monkeypatch.setattr(windows, "_CACHED", 0)
    monkeypatch.setattr(windows, "_BLOCK", images * x[0].size)
    for kernel, want in zip((window_sum, window_max, window_min), whole, strict=True):
        np.testing.assert_array_equal(kernel(x, **one), want)


@pytest.mark.parametrize(("window", "stride", "padding"), [
    ((2, 2), (2, 2), ((0, 0), (0, 0))), ((2, 3), (2, 3), ((1, 0), (0, 2))),
    ((2, 2), (3, 3), ((0, 0), (-1, 0))), ((3, 3), (1, 2), ((1, 1), (1, 1)))])
@pytest.mark.parametrize("block", [1, 10**6])
def test_spread_with_and_without_overlap(window, stride, padding, block, monkeypatch):
    monkeypatch.setattr(attaining, "_BLOCK", block)
    x = np.random.default_rng(0).integers(-2, 3, (3, 7, 8, 2)).astype(np.float64)  # many ties
    x[0, 0, 0, 0] = np.nan
    full = dict(window=(1, *window, 1), stride=(1, *stride, 1),
                padding=((0, 0), *padding, (0, 0)), x_dilation=(1,) * 4, w_dilation=(1,) * 4)
    y = window_max(x, **full)
    t = np.random.default_rng(1).standard_normal(y.shape)
    padded = x
    for axis in range(4):
        padded = dilate_and_pad(padded, axis, *full["padding"][axis], 1, np.nan)
    want, ones = np.zeros_like(padded), (3, 2)
    for p in np.ndindex(y.shape[1:3]):
        at = (slice(None), *(slice(i * s, i * s + k) for i, s, k in
                             zip(p, stride, window, strict=True)))
        hit = padded[at] == y[:, p[0], p[1]].reshape(ones[0], 1, 1, ones[1])
        share = t[:, p[0], p[1]] / np.maximum(hit.sum((1, 2)), 1)
        want[at] += hit * share.reshape(ones[0], 1, 1, ones[1])
    for axis in range(4):
        low, high = full["padding"][axis]
        want = dilate_and_pad(want, axis, -low, -high, 1, 0)
    np.testing.assert_allclose(attaining.window_spread(t, x, y, **full), want, atol=1e-14)


def test_windows_propagate_nan():
    x = np.array([1, np.nan, 2, np.inf, -np.inf, 3, 4], np.float32)
    one = dict(stride=(1,), padding=((0, 0),), x_dilation=(1,), w_dilation=(1,))
    for kernel, ufunc in (window_sum, np.add), (window_max, np.maximum), (window_min, np.minimum):
        want = ufunc(x[:-1], x[1:])
        np.testing.assert_array_equal(kernel(x, window=(2,), **one), want)
    long = np.tile(x, 10)
    out = window_max(long, window=(9,), **one)
    assert np.isnan(out).all()


@pytest.mark.peers
def test_agrees_with_jax():
    lax = pytest.importorskip("jax.lax")
    rng = np.random.default_rng(0)
    for case in CASES:
        if len(case[0]) < 3 or 0 in case[0] or 0 in case[1]:
            continue
        x, w = (sample(rng, shape, np.dtype("f4")) for shape in case[:2])
        names = "stride", "padding", "x_dilation", "w_dilation", "groups"
        space = "DHW"[-(x.ndim - 2) :]
        want = lax.conv_general_dilated(
            x,
            w,
            *case[2:6],
            dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
            feature_group_count=case[6],
        )
        out = conv(x, w, **dict(zip(names, case[2:], strict=True)))
        np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-4)
