"""dot_general against sums written with einsum in float64 or Python integers."""

import string

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucidfn.backends.numpy.contract import dot_general

BF16 = np.dtype(ml_dtypes.bfloat16)
NONE = ((), ())
TOLERANCE = {
    np.dtype(np.float16): 2e-3,
    BF16: 2e-2,
    np.dtype(np.float32): 1e-5,
    np.dtype(np.float64): 1e-12,
    np.dtype(np.complex64): 1e-5,
    np.dtype(np.complex128): 1e-12,
}

# shape of x, shape of y, contracted axes, batch axes
CASES = [
    ((), (), NONE, NONE),
    ((), (3, 2), NONE, NONE),
    ((3,), (3,), ((0,), (0,)), NONE),
    ((3,), (4,), NONE, NONE),
    ((3,), (3,), NONE, ((0,), (0,))),
    ((3, 4), (4,), ((1,), (0,)), NONE),
    ((3, 4), (3,), ((0,), (0,)), NONE),
    ((4,), (4, 3), ((0,), (0,)), NONE),
    ((4,), (3, 4), ((0,), (1,)), NONE),
    ((3, 4), (4, 5), ((1,), (0,)), NONE),
    ((4, 3), (4, 5), ((0,), (0,)), NONE),
    ((3, 4), (5, 4), ((1,), (1,)), NONE),
    ((4, 3), (5, 4), ((0,), (1,)), NONE),
    ((3, 4), (3, 4), ((0, 1), (0, 1)), NONE),
    ((3, 4), (4, 3), ((0, 1), (1, 0)), NONE),
    ((3, 4), (4, 3), ((1, 0), (0, 1)), NONE),
    ((2, 3, 4), (4, 5), ((2,), (0,)), NONE),
    ((2, 3, 4), (2, 3, 5), ((0, 1), (0, 1)), NONE),
    ((2, 3, 4), (5, 3), ((1,), (1,)), NONE),
    ((2, 3, 4), (4, 6, 2), ((0, 2), (2, 0)), NONE),
    ((2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,))),
    ((2, 3, 5, 4), (2, 6, 5, 4), ((3,), (3,)), ((0, 2), (0, 2))),
    ((3, 2, 4), (4, 5, 2), ((2,), (0,)), ((1,), (2,))),
    ((2, 3, 4, 5), (5, 2, 4, 6), ((2, 3), (2, 0)), ((0,), (1,))),
    ((2, 4), (2, 4), ((1,), (1,)), ((0,), (0,))),
    ((2, 3), (2, 4, 5), NONE, ((0,), (0,))),
    ((2, 3, 7), (2, 4), NONE, ((0,), (0,))),
    ((6, 5), (6, 5), ((0,), (0,)), ((1,), (1,))),
    ((2, 6, 3, 5), (2, 6, 3, 5), ((0, 2, 1), (0, 2, 1)), ((3,), (3,))),
    ((4, 6, 3, 5), (4, 6, 3, 5), ((0, 1), (0, 1)), ((2, 3), (2, 3))),
    ((0, 6, 5), (0, 6, 5), ((0, 1), (0, 1)), ((2,), (2,))),
    ((0, 4), (4, 5), ((1,), (0,)), NONE),
    ((3, 0), (0, 5), ((1,), (0,)), NONE),
    ((3, 4), (4, 0), ((1,), (0,)), NONE),
    ((0,), (0,), ((0,), (0,)), NONE),
    ((2, 0, 3), (0, 2), ((0, 1), (1, 0)), NONE),
    ((0, 3, 4), (0, 4, 5), ((2,), (1,)), ((0,), (0,))),
    ((2, 3, 0), (2, 0, 5), ((2,), (1,)), ((0,), (0,))),
]
DTYPES = ["float16", BF16, "float32", "float64", "complex64", "complex128"]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def formula(x_rank, y_rank, contract, batch):
    letters = iter(string.ascii_lowercase)
    left, right = [""] * x_rank, [""] * y_rank
    out = ""
    for i, j in zip(*batch, strict=True):
        left[i] = right[j] = next(letters)
        out += left[i]
    for i, j in zip(*contract, strict=True):
        left[i] = right[j] = next(letters)
    for side in left, right:
        for k, name in enumerate(side):
            if not name:
                side[k] = next(letters)
                out += side[k]
    return f"{''.join(left)},{''.join(right)}->{out}"


def sample(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        pair = rng.standard_normal((2, *shape))
        return np.asarray(pair[0] + 1j * pair[1]).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(0, 100, shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def check(x, y, contract, batch):
    out = dot_general(x, y, contract=contract, batch=batch)
    assert isinstance(out, np.ndarray)
    assert out.dtype == x.dtype
    if x.dtype.kind in "biu":
        wide = np.einsum(formula(x.ndim, y.ndim, contract, batch), x.astype(object), y.astype(int))
        want = np.asarray(wide).astype(np.int64).astype(x.dtype)
        np.testing.assert_array_equal(out, want)
        return
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    want = np.einsum(
        formula(x.ndim, y.ndim, contract, batch), x.astype(wide), y.astype(wide), optimize=False
    )
    tolerance = TOLERANCE[x.dtype]
    np.testing.assert_allclose(out.astype(wide), want, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_floats(case, dtype):
    rng = np.random.default_rng(0)
    check(sample(rng, case[0], dtype), sample(rng, case[1], dtype), *case[2:])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint32", "bool"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers(case, dtype):
    rng = np.random.default_rng(0)
    check(sample(rng, case[0], dtype), sample(rng, case[1], dtype), *case[2:])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_large_integers_wrap(dtype):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    for low, high in (info.min, info.max), (max(info.min, -9), 9):
        x = rng.integers(low, high, (40, 50), dtype, endpoint=True)
        y = rng.integers(low, high, (50, 45), dtype, endpoint=True)
        want = np.einsum("ij,jk->ik", x, y)
        np.testing.assert_array_equal(dot_general(x, y, contract=((1,), (0,)), batch=NONE), want)
        batched = dot_general(x[None], y[None], contract=((2,), (1,)), batch=((0,), (0,)))
        np.testing.assert_array_equal(batched[0], want)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_strided_operands(case):
    rng = np.random.default_rng(0)
    every_second, backwards = slice(None, None, 2), slice(None, None, -1)
    x = sample(rng, tuple(2 * n for n in case[0]), "float32")[(every_second,) * len(case[0])]
    y = np.asfortranarray(sample(rng, case[1], "float32"))[(backwards,) * len(case[1])]
    x, y = np.asarray(x), np.asarray(y)
    check(x, y, *case[2:])
    check(np.broadcast_to(np.float32(1.5), case[0]), y, *case[2:])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_random_axes(data):
    shared = data.draw(st.integers(0, 2))
    summed = data.draw(st.integers(0, 2))
    sizes = [data.draw(st.integers(0, 3)) for _ in range(shared + summed)]
    axes = []
    shapes = []
    for _ in range(2):
        free = data.draw(st.lists(st.integers(0, 3), max_size=2))
        order = data.draw(st.permutations(range(len(sizes) + len(free))))
        dims = sizes + free
        shapes.append(tuple(dims[k] for k in order))
        axes.append([order.index(k) for k in range(len(sizes))])
    contract = (tuple(axes[0][shared:]), tuple(axes[1][shared:]))
    batch = (tuple(axes[0][:shared]), tuple(axes[1][:shared]))
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        check(sample(rng, shapes[0], "f8"), sample(rng, shapes[1], "f8"), contract, batch)


def test_bfloat16_sums_in_single_precision():
    x = np.ones((1, 1000), BF16)
    assert dot_general(x, x, contract=((1,), (1,)), batch=NONE).item() == 1000


def test_nan_and_inf_stay_in_their_row():
    x = np.ones((3, 4), np.float32)
    x[0, 1], x[1, 2] = np.nan, -np.inf
    out = dot_general(x, np.ones((4, 2), np.float32), contract=((1,), (0,)), batch=NONE)
    assert np.isnan(out[0]).all()
    assert (out[1] == -np.inf).all()
    assert (out[2] == 4).all()


def test_inputs_are_left_alone():
    x = np.arange(12.0).reshape(3, 4)
    y = x.T.copy()
    x.flags.writeable = y.flags.writeable = False
    dot_general(x, y, contract=((1,), (0,)), batch=NONE)


def test_doctest_shape():
    out = dot_general(np.ones((2, 3)), np.ones((3, 4)), contract=((1,), (0,)), batch=NONE)
    assert out.shape == (2, 4)
