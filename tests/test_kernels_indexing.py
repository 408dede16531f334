"""gather, scatter, slices, padding and arrangement, against loops over index tuples."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucidfn.backends.numpy import indexing
from lucidfn.backends.numpy.indexing import (
    concatenate,
    dynamic_slice,
    dynamic_update_slice,
    flip,
    gather,
    iota,
    pad,
)

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(d) for d in "f2 f4 f8 F D ? i1 u1 i4 u4 i8 u8".split()] + [BF16]

# shape of x, shape of the indices without the last axis, indexed axes
CASES = [
    ((5,), (), (0,)),
    ((5,), (3,), (0,)),
    ((5, 4), (3,), (0,)),
    ((5, 4), (2, 3), (1,)),
    ((5, 4), (6,), (0, 1)),
    ((5, 4), (6,), (1, 0)),
    ((5, 4, 3), (2, 2), (0, 1)),
    ((5, 4, 3), (2, 2), (0, 2)),
    ((5, 4, 3), (7,), (2, 0)),
    ((5, 4, 3), (7,), (0, 1, 2)),
    ((5, 4, 3), (), (1,)),
    ((5, 4), (3,), ()),
    ((), (3,), ()),
    ((5, 4), (0,), (0,)),
    ((5, 0), (3,), (0,)),
    ((5, 0, 2), (2,), (0, 2)),
    ((0, 3), (0,), (0,)),
]


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


def places(x, indices, axes, mode):
    """For each index tuple: its position in x (None: outside), and in the gathered result."""
    for b in np.ndindex(indices.shape[:-1]):
        where = [slice(None)] * x.ndim
        outside = False
        for j, axis in enumerate(axes):
            i, n = int(indices[(*b, j)]), x.shape[axis]
            if mode == "clip":
                i = min(max(i, 0), n - 1)
            elif mode == "raise" and -n <= i < 0:
                i += n
            outside |= not 0 <= i < n
            where[axis] = i
        yield (None if outside else tuple(where)), b


def naive_gather(x, indices, axes, mode, fill):
    rest = tuple(n for axis, n in enumerate(x.shape) if axis not in axes)
    out = np.full(indices.shape[:-1] + rest, fill, x.dtype)
    for where, b in places(x, indices, axes, mode):
        if where is not None:
            out[b] = x[where]
    return out


def naive_scatter(f, x, indices, updates, axes, mode):
    out = x.copy()
    for where, b in places(x, indices, axes, mode):
        if where is not None:
            out[where] = f(out[where], updates[b])
    return out


def draw_indices(rng, shape, lead, axes, mode):
    span = {"raise": (lambda n: (-n, n)), "unchecked": lambda n: (0, n)}.get(
        mode, lambda n: (-2 * n - 1, 2 * n + 1)
    )
    parts = [rng.integers(*span(shape[a]), lead) if 0 not in lead else np.zeros(lead) for a in axes]
    return np.stack(parts, -1).astype(np.int32) if parts else np.zeros((*lead, 0), np.int32)


@pytest.mark.parametrize("mode", ["raise", "clip", "fill", "unchecked"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gather(case, mode):
    rng = np.random.default_rng(0)
    shape, lead, axes = case
    for dtype in DTYPES:
        x = sample(rng, shape, dtype)
        indices = draw_indices(rng, shape, lead, axes, mode)
        out = gather(x, indices, axes=axes, mode=mode, fill=1)
        assert isinstance(out, np.ndarray) and out.dtype == dtype
        want = naive_gather(x, indices, axes, mode, 1)
        assert out.shape == want.shape
        np.testing.assert_array_equal(out, want)


# shape of x, shape of the indices without the last axis, indexed axes, lanes
LANES = [
    ((3, 4), (3,), (1,), 1),
    ((3, 4), (3, 5), (1,), 1),
    ((3, 2, 4), (3, 2, 5), (2,), 2),
    ((3, 2, 4), (3, 5), (2,), 1),
    ((3, 2, 4), (3, 5), (2, 1), 1),
    ((3, 2, 4), (3, 5), (), 1),
    ((0, 4), (0, 2), (1,), 1),
    ((3, 4), (3, 0), (1,), 1),
    ((3, 0, 2), (3, 1), (2,), 1),
]


@pytest.mark.parametrize("mode", ["raise", "clip", "fill", "unchecked"])
@pytest.mark.parametrize("case", LANES, ids=str)
def test_lanes(case, mode):
    """As index tuples with the number of each lane in front."""
    rng = np.random.default_rng(0)
    shape, lead, axes, lanes = case
    own = np.broadcast_arrays(*np.ogrid[tuple(map(slice, lead))], subok=True)[:lanes]
    for x in (sample(rng, shape, np.dtype("f4")), sample(rng, shape[::-1], np.dtype("f4")).T):
        indices = draw_indices(rng, shape, lead, axes, mode)
        tuples = np.concatenate([np.stack(own, -1), indices], -1)
        every = (*range(lanes), *axes)
        out = gather(x, indices, axes=axes, mode=mode, fill=1, lanes=lanes)
        np.testing.assert_array_equal(out, naive_gather(x, tuples, every, mode, 1), strict=True)
        updates = sample(rng, out.shape, x.dtype)
        put = "drop" if mode == "fill" else mode
        for name, combine in SCATTERS.items():
            out = getattr(indexing, name)(x, indices, updates, axes=axes, mode=put, lanes=lanes)
            want = naive_scatter(combine, x, tuples, updates, every, put)
            np.testing.assert_array_equal(out, want, strict=True)


def test_gather_of_views_and_index_dtypes():
    rng = np.random.default_rng(0)
    x = sample(rng, (6, 5, 4), np.dtype("f4"))[::-2].transpose(2, 0, 1)
    for dtype in "i1 u1 i4 u4 i8 u8".split():
        for axes in (0,), (2,), (0, 1), (2, 1):
            parts = [rng.integers(0, x.shape[a], (3, 2)) for a in axes]
            indices = np.stack(parts, -1).astype(dtype)
            for mode in "raise", "clip", "fill", "unchecked":
                out = gather(x, indices, axes=axes, mode=mode, fill=0)
                np.testing.assert_array_equal(out, naive_gather(x, indices, axes, mode, 0))


def test_gather_small_index_dtype_on_a_long_axis():
    x = np.arange(1000)
    last = np.array([[-1]], np.int8)
    assert gather(x, last, axes=(0,), mode="raise", fill=0).tolist() == [999]
    out = indexing.scatter_set(x, last, np.array([-5]), axes=(0,), mode="raise")
    assert out[999] == -5
    huge = np.array([[2**64 - 1]], np.uint64)
    assert gather(x, huge, axes=(0,), mode="fill", fill=7).tolist() == [7]
    assert gather(x, huge, axes=(0,), mode="clip", fill=7).tolist() == [999]
    with pytest.raises(IndexError):
        gather(x, huge, axes=(0,), mode="raise", fill=7)


@pytest.mark.parametrize("shape", [(5, 4), (0, 4), (5, 0)])
def test_fill_value(shape):
    out = gather(np.ones(shape, BF16), np.array([[9], [0]]), axes=(0,), mode="fill", fill=np.nan)
    assert out.shape == (2, shape[1])
    assert np.isnan(out[0].astype("f4")).all()


def test_messages():
    x = np.zeros((5, 4))
    with pytest.raises(IndexError, match="index 7 is out of bounds for axis 1 with size 4"):
        gather(x, np.array([[1], [7]]), axes=(1,), mode="raise", fill=0)
    with pytest.raises(IndexError, match="index -5 is out of bounds for axis 1 with size 4"):
        gather(x, np.array([[1, -5]]), axes=(0, 1), mode="raise", fill=0)
    with pytest.raises(IndexError, match="index 5 is out of bounds for axis 0 with size 5"):
        indexing.scatter_add(x, np.array([[5]]), np.ones((1, 4)), axes=(0,), mode="raise")
    with pytest.raises(IndexError, match="index 0 is out of bounds for axis 0 with size 0"):
        gather(x[:0], np.array([[0]]), axes=(0,), mode="raise", fill=0)


SCATTERS = {
    "scatter_set": lambda old, new: new,
    "scatter_add": np.add,
    "scatter_mul": np.multiply,
    "scatter_min": np.minimum,
    "scatter_max": np.maximum,
}


@pytest.mark.parametrize("mode", ["raise", "clip", "drop", "unchecked"])
@pytest.mark.parametrize("name", SCATTERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_scatter(case, name, mode):
    rng = np.random.default_rng(0)
    shape, lead, axes = case
    for dtype in DTYPES:
        x = sample(rng, shape, dtype)
        indices = draw_indices(rng, shape, lead, axes, mode)
        updates = sample(rng, naive_gather(x, indices, axes, "clip", 0).shape, dtype)
        x.flags.writeable = False
        out = getattr(indexing, name)(x, indices, updates, axes=axes, mode=mode)
        assert out.dtype == dtype and out.shape == x.shape
        want = naive_scatter(SCATTERS[name], x, indices, updates, axes, mode)
        if dtype.kind in "biu" or name == "scatter_set":
            np.testing.assert_array_equal(out, want)
        else:
            wide = np.complex128 if dtype.kind == "c" else np.float64
            tolerance = 2e-1 if dtype == BF16 else 2e-2 if dtype.itemsize == 2 else 1e-5
            np.testing.assert_allclose(out.astype(wide), want.astype(wide), tolerance, tolerance)


def test_scatter_of_many_blocks():
    rng = np.random.default_rng(0)
    x = np.zeros((50, 300), np.float32)
    index = rng.integers(0, 50, (700, 1))
    updates = rng.standard_normal((700, 300)).astype(np.float32)
    out = indexing.scatter_add(x, index, updates, axes=(0,), mode="raise")
    want = np.zeros(x.shape)
    np.add.at(want, index[:, 0], updates.astype(float))
    np.testing.assert_allclose(out, want, atol=1e-4)
    assert not x.any()
    last = indexing.scatter_set(x, index, updates, axes=(0,), mode="unchecked")
    want = {int(i): row for i, row in zip(index[:, 0], updates, strict=True)}
    for i, row in want.items():
        np.testing.assert_array_equal(last[i], row)


def test_half_precision_sums_round_once():
    for dtype in np.dtype("f2"), BF16:
        index = np.zeros((4000, 1), int)
        ones = np.ones(4000, dtype)
        out = indexing.scatter_add(np.zeros(1, dtype), index, ones, axes=(0,), mode="raise")
        assert out.tolist() == [np.array(4000).astype(dtype)]


def test_nan_stays_where_it_is_put():
    x = np.zeros((4, 3), np.float32)
    updates = np.ones((3, 3), np.float32)
    updates[1, 1] = np.nan
    for name in ["scatter_add", "scatter_mul", "scatter_min", "scatter_max"]:
        out = getattr(indexing, name)(x, np.array([[0], [2], [2]]), updates, axes=(0,), mode="drop")
        assert np.argwhere(np.isnan(out)).tolist() == [[2, 1]]


def test_last_update_wins_whatever_the_layout_of_the_indices():
    indices = np.zeros((3, 4, 1), int, order="F")
    updates = np.arange(12.0).reshape(3, 4)
    out = indexing.scatter_set(np.zeros(2), indices, updates, axes=(0,), mode="raise")
    assert out.tolist() == [11, 0]
    backwards = indices[::-1], updates[::-1]
    out = indexing.scatter_set(np.zeros(2), *backwards, axes=(0,), mode="raise")
    assert out.tolist() == [3, 0]


def test_dynamic_slice_clamps():
    x = np.arange(24).reshape(4, 6)
    cases = itertools.product((-9, -1, 0, 2, 3, 99), (-9, 0, 2, 4, 99), ((2, 3), (4, 6), (0, 1)))
    for i, j, sizes in cases:
        a, b = min(max(i, 0), 4 - sizes[0]), min(max(j, 0), 6 - sizes[1])
        starts = np.array(i, np.int32), np.array(j, np.int64)
        out = dynamic_slice(x, *starts, sizes=sizes)
        np.testing.assert_array_equal(out, x[a : a + sizes[0], b : b + sizes[1]])
        update = -np.ones(sizes, int)
        want = x.copy()
        want[a : a + sizes[0], b : b + sizes[1]] = -1
        np.testing.assert_array_equal(dynamic_update_slice(x, update, *starts), want)
    zero = np.array(3.0)
    assert dynamic_slice(zero, sizes=()).shape == ()
    assert dynamic_update_slice(zero, np.array(4.0)) == 4
    assert zero == 3


def naive_pad_axis(row, value, low, high, interior):
    out = [value] * max(low, 0)
    for k, item in enumerate(row):
        out += [value] * (interior if k else 0) + [item]
    out += [value] * max(high, 0)
    # A crop may reach into the padding of the other end.
    return out[max(-low, 0) : len(out) + min(high, 0)]


ENDS = st.integers(-4, 4)


@given(st.integers(0, 6), ENDS, ENDS, st.integers(0, 3), st.sampled_from(DTYPES))
@settings(max_examples=200, deadline=None)
def test_pad_one_axis(n, low, high, interior, dtype):
    dilated = n + max(0, n - 1) * interior
    if dilated + low + high < 0:
        return
    row = np.arange(1, n + 1).astype(dtype)
    out = pad(row, np.array(0, dtype), widths=((low, high, interior),))
    assert out.dtype == dtype
    want = np.array(naive_pad_axis(row.tolist(), 0, low, high, interior), dtype)
    np.testing.assert_array_equal(out, want)


def test_pad_many_axes():
    x = np.arange(1.0, 7).reshape(2, 3)
    out = pad(x, np.array(-0.0), widths=((1, 0, 1), (-1, 2, 2)))
    want = np.full((4, 8), -0.0)
    want[1, [2, 5]] = 2, 3
    want[3, [2, 5]] = 5, 6
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(np.signbit(out), np.signbit(want))
    assert pad(np.array(2.0), np.array(0.0), widths=()).shape == ()
    crop = pad(x, np.array(0.0), widths=((0, -1, 0), (-1, -1, 0)))
    assert crop.tolist() == [[2.0]]
    assert pad(x[:0], np.array(3.0), widths=((1, 1, 1), (0, 0, 0))).tolist() == [[3.0] * 3] * 2


def test_arrangement():
    x = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.testing.assert_array_equal(concatenate(x, x, axis=1), np.hstack([x, x]))
    np.testing.assert_array_equal(flip(x, (0, 1)), x[::-1, ::-1])
    np.testing.assert_array_equal(flip(x, axes=(1,)), x[:, ::-1])
    assert flip(np.array(1), ()).shape == ()
    for dtype in DTYPES:
        assert iota((2, 3), dtype, 1).dtype == dtype
    assert iota((2, 0, 3), "f4", axis=1).shape == (2, 0, 3)
    np.testing.assert_array_equal(iota((2, 3), "i4", 0), [[0, 0, 0], [1, 1, 1]])


@pytest.mark.peers
def test_pad_agrees_with_jax():
    lax = pytest.importorskip("jax.lax")
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal((4, 5)).astype(np.float32)
        low, high = rng.integers(-2, 3, (2, 2))
        inner = rng.integers(0, 3, 2)
        widths = tuple(zip(low.tolist(), high.tolist(), inner.tolist(), strict=True))
        want = np.asarray(lax.pad(x, np.float32(2), widths))
        np.testing.assert_array_equal(pad(x, np.float32(2), widths=widths), want)


@pytest.mark.parametrize("value", [0.0, -0.0, 2.0])
def test_scatter_into_one_value_repeated(value):
    x = np.broadcast_to(np.float32(value), (4, 3))
    updates = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    for axes, sent in (((0,), updates), ((1,), np.ones((2, 4), np.float32))):
        indices = np.array([[2], [2]])
        got = indexing.scatter_add(x, indices, sent, axes=axes, mode="raise")
        want = indexing.scatter_add(x.copy(), indices, sent, axes=axes, mode="raise")
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
        assert got.flags.writeable and x[0, 0] == value


@pytest.mark.parametrize("outside", [[5, 0], [0, -1], [-1, 7]])
def test_fill_of_pairs_outside(outside):
    x = np.arange(12.0).reshape(4, 3)
    indices = np.array([[[1, 2]], [outside]], np.int32)
    got = indexing.gather(x, indices, axes=(0, 1), mode="fill", fill=-1.0)
    np.testing.assert_array_equal(got, [[5.0], [-1.0]])
    added = indexing.scatter_add(x, indices, np.ones((2, 1)), axes=(0, 1), mode="drop")
    assert added.sum() == x.sum() + 1 and added[1, 2] == 6.0
