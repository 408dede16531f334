"""Sorting and running reductions against Python's stable `sorted` and plain loops."""

import functools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucidfn.backends.numpy import sorting
from lucidfn.backends.numpy.sorting import argmax, argmin, argsort, sort, top_k

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(d) for d in "f2 f4 f8 F D ? i1 u1 i2 i4 u4 i8 u8".split()] + [BF16]
REAL = [d for d in DTYPES if d.kind != "c"]
SPECIAL = [math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -1.5, 1e-8]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def sample(rng, shape, dtype):
    if dtype.kind == "c":
        real, imag = rng.choice(SPECIAL, (2, *shape))
        return (real + 1j * imag).astype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        narrow = rng.integers(max(-3, info.min), 4, shape).astype(dtype)
        ends = rng.choice(np.array([info.min, info.max], dtype), shape)
        return np.where(rng.random(shape) < 0.8, narrow, ends)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    some = rng.standard_normal(shape).round(1)
    return np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), some).astype(dtype)


def compare(a, b):
    """NaN after everything, zeros equal, complex by parts."""
    if isinstance(a, complex):
        # NumPy's order: by parts, but what contains a NaN last, in three groups.
        groups = [(math.isnan(z.real), math.isnan(z.imag)) for z in (a, b)]
        if groups[0] != groups[1]:
            return -1 if groups[0] < groups[1] else 1
        return compare(a.real, b.real) or compare(a.imag, b.imag)
    if isinstance(a, float) and (math.isnan(a) or math.isnan(b)):
        return math.isnan(a) - math.isnan(b)
    return (a > b) - (a < b)


def naive_order(*keys):
    def by_keys(i, j):
        return next((c for c in (compare(key[i], key[j]) for key in keys) if c), 0)

    return sorted(range(len(keys[0])), key=functools.cmp_to_key(by_keys))


def to_list(x):
    return x.astype("f4").tolist() if x.dtype == BF16 else x.tolist()


def same_bits(got, want):
    # NaN payloads are free, everything else, the sign of zero included, is not.
    got, want = (x.astype("f4") if x.dtype == BF16 else x for x in (got, want))
    np.testing.assert_array_equal(got, want)
    if got.dtype.kind != "c" and got.dtype.kind not in "biu":
        finite = ~np.isnan(got)
        np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(want[finite]))


@pytest.mark.parametrize("n", [0, 1, 5, 40, 150])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_order_of_one_key(dtype, n):
    rng = np.random.default_rng(n)
    for _ in range(3):
        x = sample(rng, (n,), dtype)
        want = naive_order(to_list(x))
        order = argsort(x, axis=0)
        assert order.dtype == np.int32
        assert order.tolist() == want
        same_bits(sort(x, axis=0, num_keys=1)[0], x[want])


@pytest.mark.parametrize("n", [6, 100])
@pytest.mark.parametrize("dtypes", [("f4", "i4"), ("i1", "f8"), ("?", "f2"), ("f4", "f4")])
def test_order_of_two_keys(dtypes, n):
    rng = np.random.default_rng(0)
    x, y = (sample(rng, (n,), np.dtype(d)) for d in dtypes)
    want = naive_order(to_list(x), to_list(y))
    assert argsort(x, y, axis=0).tolist() == want
    payload = rng.standard_normal(n).astype(BF16)
    for got, source in zip(sort(x, y, payload, axis=0, num_keys=2), (x, y, payload), strict=True):
        same_bits(got, source[want])
    want = naive_order(to_list(x))
    for got, source in zip(sort(x, payload, axis=0, num_keys=1), (x, payload), strict=True):
        same_bits(got, source[want])


@pytest.mark.parametrize("shape", [(3, 4, 70), (70, 2, 3), (2, 0, 3), (3, 70, 0)])
def test_other_axes(shape):
    rng = np.random.default_rng(0)
    x = sample(rng, shape, np.dtype("f4"))
    for axis in range(3):
        want = np.argsort(x, axis=axis, kind="stable")
        np.testing.assert_array_equal(argsort(x, axis=axis), want)
        np.testing.assert_array_equal(argsort(x, axis=axis - 3), want)
        np.testing.assert_array_equal(
            sort(x, axis=axis, num_keys=1)[0], np.take_along_axis(x, want, axis)
        )


@given(st.lists(st.floats(width=32), min_size=64, max_size=90))
@settings(max_examples=100, deadline=None)
def test_packed_keys_order_all_floats(values):
    x = np.array(values, np.float32)
    with np.errstate(all="ignore"):
        assert argsort(x, axis=0).tolist() == naive_order(values)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_top_k(dtype):
    rng = np.random.default_rng(0)
    for shape in (5,), (3, 20), (2, 100), (2, 3, 64):
        x = sample(rng, shape, dtype)
        n = shape[-1]
        for k in 0, 1, 3, n:
            values, index = top_k(x, k=k)
            assert values.dtype == dtype and index.dtype == np.int32
            assert values.shape == index.shape == (*shape[:-1], k)
            for b in np.ndindex(shape[:-1]):
                row, got, at = x[b], values[b], index[b]
                ascending = naive_order(to_list(row[::-1]))
                want = [n - 1 - i for i in reversed(ascending)][:k]
                assert at.tolist() == want
                same_bits(got, row[want])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind != "b"], ids=str)
def test_running_sums_and_products(dtype, reverse):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 3, (3, 6, 2)).astype(dtype)
    for axis in range(3):
        for name, ufunc in (("cumsum", np.add), ("cumprod", np.multiply)):
            out = getattr(sorting, name)(x, axis=axis, reverse=reverse)
            turned = np.flip(x, axis) if reverse else x
            want = ufunc.accumulate(turned.astype("D"), axis=axis)
            want = np.flip(want, axis) if reverse else want
            assert out.dtype == dtype
            np.testing.assert_array_equal(out.astype("D"), want)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_running_extrema(dtype, reverse):
    rng = np.random.default_rng(0)
    x = sample(rng, (4, 9), dtype)
    for name, ufunc in (("cummax", np.maximum), ("cummin", np.minimum)):
        out = getattr(sorting, name)(x, axis=1, reverse=reverse)
        assert out.dtype == dtype
        for i in range(9):
            part = x[:, i:] if reverse else x[:, : i + 1]
            want = ufunc.reduce(part.astype("f4") if dtype == BF16 else part, axis=1)
            np.testing.assert_array_equal(out[:, i].astype("f8"), want.astype("f8"))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["f2", BF16, "f4", "f8", "F", "D"], ids=str)
def test_cumlogsumexp(dtype, reverse):
    x = np.array([-np.inf, -np.inf, 0.0, 50, -3, 2, np.inf, 1]).astype(dtype)
    wide = x.astype("D" if x.dtype.kind == "c" else "f8")
    out = sorting.cumlogsumexp(x, axis=0, reverse=reverse)
    assert out.dtype == x.dtype
    tolerance = 2e-2 if x.dtype == BF16 else 1e-2 if x.dtype == "f2" else 1e-5
    for i in range(6):
        part = wide[i:6] if reverse else wide[: i + 1]
        with np.errstate(all="ignore"):
            want = np.log(np.exp(part.real).sum())
        got = out[i] if not reverse else sorting.cumlogsumexp(x[:6], axis=0, reverse=True)[i]
        assert complex(got).real == pytest.approx(want, rel=tolerance)
    big = np.array([1000.0, 1000.0]).astype(dtype)
    total = sorting.cumlogsumexp(big, axis=0, reverse=False)[1]
    assert complex(total).real == pytest.approx(1000 + math.log(2), rel=tolerance)
    nan = sorting.cumlogsumexp(np.array([0.0, np.nan, 0.0]).astype(dtype), axis=0, reverse=False)
    assert np.isnan(nan.astype("D")).tolist() == [False, True, True]


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"])
def test_running_reductions_of_nothing(name):
    for shape in (0,), (3, 0), (0, 3):
        x = np.zeros(shape, np.float32)
        assert getattr(sorting, name)(x, axis=0, reverse=True).shape == shape


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arg_extrema(dtype):
    rng = np.random.default_rng(0)
    for shape in (7,), (3, 9), (4, 1, 5):
        x = sample(rng, shape, dtype)
        for axis in range(len(shape)):
            rows = np.moveaxis(x, axis, -1).reshape(-1, shape[axis])
            for f, sign in (argmax, 1), (argmin, -1):
                out = f(x, axis=axis)
                assert out.dtype == np.int32 and isinstance(out, np.ndarray)
                for row, got in zip(rows, out.reshape(-1), strict=True):
                    values = to_list(row)
                    nans = [i for i, v in enumerate(values) if isinstance(v, float) and v != v]
                    if dtype.kind == "c":
                        continue
                    best = max(range(len(values)), key=lambda i: sign * values[i])
                    assert got == (nans[0] if nans else best)
    assert argmax(np.array([1, 3, 3]), axis=0, dtype=np.int64).dtype == np.int64


@pytest.mark.peers
def test_agrees_with_jax():
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x = np.abs(sample(rng, (3, 200), np.dtype("f4")))
    values, index = top_k(x, k=20)
    want = jax.lax.top_k(x, 20)
    np.testing.assert_array_equal(values, want[0])
    np.testing.assert_array_equal(index, want[1])
    keys = rng.integers(0, 4, (2, 3, 200)).astype(np.int32)
    got = sort(*keys, x, axis=1, num_keys=2)
    for a, b in zip(got, jax.lax.sort([*keys, x], dimension=1, num_keys=2), strict=True):
        np.testing.assert_array_equal(a, b)
    x = np.where(np.isnan(x), 0, x)
    for name in "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp":
        for reverse in False, True:
            got = getattr(sorting, name)(x, axis=1, reverse=reverse)
            want = getattr(jax.lax, name)(x, axis=1, reverse=reverse)
            np.testing.assert_allclose(got, want, rtol=1e-4)
