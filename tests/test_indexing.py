"""Indexing, `.at` and the functions that take, choose and locate elements; NumPy is the oracle."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.errors import ConcretizationTypeError, NonConcreteBooleanIndexError

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
I = np.array([2, 0, 2])
J = np.array([[1], [2]])
MASK = X % 3 == 0
ROWS = np.array([True, False, True])

INDICES: list[Any] = [
    0, -1, (1, 2), (1, 2, 3), (-1, -4, -5), (), ..., None, slice(None), slice(1, None),
    slice(None, -1), slice(None, None, 2), slice(None, None, -1), slice(2, 0, -1),
    slice(2, None, -2), slice(5, 9), slice(2, 1), slice(-100, 100, 3),
    (slice(None), 1), (..., 1), (1, ...), (slice(None), slice(1, 3), slice(4, 0, -2)),
    (None, 1), (slice(None), None, 2), (..., None), (None, ..., None, 0), (0, ..., 0),
    I, I[0], np.int8([2, -1]), J, [0, 2], [[0, 1], [2, 0]], [], (I, I), (I, J), (J, I),
    (slice(None), I), (slice(None), I % 3, slice(None)), (..., I), (I, ..., 1), (1, ..., I),
    (I, slice(None), I), (I, None, I), (0, slice(None), I), (0, I), (slice(None), 0, I),
    (I, slice(1, 3)), (I, slice(None, None, -2), J), (None, I, None, 1), (slice(1), I, J),
    (I[:0],), (I[:0], slice(1, 2)), (J, slice(None), 1), (slice(None), J, I),
    MASK, ROWS, (ROWS, 1), (slice(None), MASK[0, :, 0]), (ROWS, I[:2]),
    (slice(None), MASK[0]), (..., MASK[0, 0]), ROWS & False, (ROWS, ..., slice(1, 3)),
    True, False, (True, 1), (slice(None), True), (np.True_, I), np.array(True),
    [True, False, True], (np.int64(1), np.uint8(2)), np.array(2),
]


def ident(index: Any) -> str:
    return str(index).replace("\n", "")[:60]


def to_lnp(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(to_lnp, index))
    return lnp.array(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES, ids=ident)
def test_reading(index: Any) -> None:
    expected = X[index]
    for form in (index, to_lnp(index)):
        got = lnp.array(X)[form]
        assert got.shape == expected.shape and got.dtype == X.dtype
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(lf.jit(lambda x: x[form])(X), expected)  # noqa: B023


@pytest.mark.parametrize("index", INDICES, ids=ident)
def test_gradient_of_reading_counts_the_uses(index: Any) -> None:
    weights = np.random.default_rng(0).normal(size=X[index].shape).astype(np.float32)
    expected = np.zeros_like(X)
    np.add.at(expected, index, weights)
    got = lf.grad(lambda x: (x[index] * weights).sum())(lnp.array(X))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


METHODS = {"set": None, "add": np.add, "multiply": np.multiply, "min": np.minimum,
           "max": np.maximum}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("index", INDICES, ids=ident)
def test_updates(index: Any, method: str) -> None:
    values = np.random.default_rng(1).integers(-3, 9, X[index].shape).astype(np.float32)
    expected = X.copy()
    if method == "set":
        expected[index] = values
    else:
        METHODS[method].at(expected, index, values)
    x = lnp.array(X)
    got = getattr(x.at[to_lnp(index)], method)(values)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(
        lf.jit(lambda x, v: getattr(x.at[index], method)(v))(X, values), expected)


@pytest.mark.parametrize("method", ["set", "add", "multiply", "max"])
@pytest.mark.parametrize("index", [1, (slice(None, None, -2), I), (I, J), slice(2, 0, -1), MASK,
                                   (0, slice(None), I), (None, slice(0, 3, 2)), ()], ids=ident)
def test_gradients_of_updates(index: Any, method: str) -> None:
    rng = np.random.default_rng(2)
    x, v = rng.normal(size=X.shape), rng.normal(size=X[index].shape)
    w, tx, tv = rng.normal(size=X.shape), rng.normal(size=X.shape), rng.normal(size=v.shape)

    def f(x: Any, v: Any) -> Any:
        return (getattr(x.at[index], method)(v) * w).sum()

    gx, gv = lf.grad(f, (0, 1))(x, v)
    h = 1e-6
    slope = (float(f(lnp.array(x + h * tx), v + h * tv)) -
             float(f(lnp.array(x - h * tx), v - h * tv))) / (2 * h)
    np.testing.assert_allclose((np.asarray(gx) * tx).sum() + (np.asarray(gv) * tv).sum(), slope,
                               rtol=1e-5, atol=1e-6)


def test_other_updates() -> None:
    x = lnp.array([1.0, 2.0, 4.0])
    assert x.at[1].subtract(5.0).tolist() == [1.0, -3.0, 4.0]
    assert x.at[1].divide(4.0).tolist() == [1.0, 0.5, 4.0]
    assert x.at[1].power(3).tolist() == [1.0, 8.0, 4.0]
    assert x.at[1:].apply(lnp.sqrt).tolist() == [1.0, np.float32(2) ** 0.5, 2.0]
    assert lnp.array([4, 6]).at[0].divide(8).tolist() == [0.5, 6.0]
    assert x.at[lnp.array([0, 0])].add(1.0, indices_are_sorted=True,
                                       unique_indices=False).tolist() == [3.0, 2.0, 4.0]
    assert x.at[:].set(7).tolist() == [7.0] * 3
    assert x.at[0].set(np.float64(3)).dtype == np.float32
    assert lnp.zeros(2, bool).at[0].set(True).tolist() == [True, False]


def test_modes_of_get_and_set() -> None:
    x, far = lnp.array([1.0, 2.0, 3.0]), lnp.array([0, 5, -1, -9])
    assert np.isnan(x.at[far].get(mode="fill").tolist()).tolist() == [False, True, False, True]
    assert x.at[far].get(mode="fill", fill_value=9).tolist() == [1.0, 9.0, 3.0, 9.0]
    assert x.at[far].get(mode="clip").tolist() == [1.0, 3.0, 3.0, 1.0]
    assert x.at[far].get(mode="wrap").tolist() == [1.0, 3.0, 3.0, 1.0]
    assert x.at[far].set(0.0, mode="drop").tolist() == [0.0, 2.0, 0.0]
    assert x.at[far].add(1.0, mode="clip").tolist() == [3.0, 2.0, 5.0]
    assert x.at[9].set(0.0, mode="drop").tolist() == [1.0, 2.0, 3.0]
    assert x.at[9].get(mode="clip").tolist() == 3.0
    assert x.at[-1].get(mode="promise_in_bounds").tolist() == 3.0
    assert lnp.arange(3).at[9].get(mode="fill").tolist() == np.iinfo(np.int32).min
    with pytest.raises(ValueError, match="no mode 'bounce'"):
        x.at[0].get(mode="bounce")


@pytest.mark.parametrize(("index", "message"), [
    (3, "index 3 is out of bounds for axis 0 with size 3"),
    (-4, "index -4 is out of bounds for axis 0 with size 3"),
    ((0, 9), "index 9 is out of bounds for axis 1 with size 4"),
    (np.array([0, 3]), "index 3 is out of bounds for axis 0 with size 3"),
    ((slice(None), np.array([-5])), "index -5 is out of bounds for axis 1 with size 4"),
    ((0, 0, 0, 0), "too many indices"), ((..., ...), "single ellipsis"),
    (1.0, "only integers"), ("a", "only integers"), (np.array([1.0]), "convert it first"),
    (np.array([True, False]), "boolean index did not match indexed array along axis 0"),
    ((I, np.array([0, 1])), "could not be broadcast together"),
])
def test_bad_indices(index: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        lnp.array(X)[index]
    with pytest.raises(IndexError, match=message):
        lnp.array(X).at[index].set(0)


def test_out_of_bounds_raises_under_jit() -> None:
    with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 3"):
        lf.jit(lambda x, i: x[i])(X, 7)
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        lf.jit(lambda x, i: x.at[i].set(0))(X, np.array([7]))


def test_updates_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="float32 values do not fit a int32 array"):
        lnp.arange(3).at[0].set(1.5)
    with pytest.raises(ValueError, match="do not broadcast to the shape"):
        lnp.zeros((2, 3)).at[0].set([1.0, 2.0])


def test_traced_masks_and_bounds_say_what_to_write() -> None:
    with pytest.raises(NonConcreteBooleanIndexError, match=r"depends on `x`(.|\n)*lnp.where"):
        lf.jit(lambda x: x[x > 0])(X)
    with pytest.raises(TypeError, match=r"dynamic_slice_in_dim(.|\n)*static_argnames=\['n'\]"):
        lf.jit(lambda x, n: x[:n])(X, 2)
    got = lf.jit(lambda x: x[lnp.nonzero(x > 50, size=4, fill_value=0)])(X.ravel())
    assert got.tolist() == [51, 52, 53, 54]


def test_masks_on_values_keep_the_gradient() -> None:
    got = lf.grad(lambda x: (x[x > 1] ** 2).sum())(lnp.array([1.0, 2.0, 3.0]))
    assert got.tolist() == [0.0, 4.0, 6.0]


def test_indexing_batches() -> None:
    x, i = lnp.array(X), lnp.array([[0, 1], [2, 2], [1, 0]])
    got = lf.vmap(lambda x, i: x[:, i])(x, i)
    np.testing.assert_array_equal(got, np.stack([X[k][:, np.asarray(i)[k]] for k in range(3)]))
    got = lf.vmap(lambda x, i: x.at[i].add(1.0), (None, 0))(x[0], i)
    for k in range(3):
        e = X[0].copy()
        np.add.at(e, np.asarray(i)[k], 1.0)
        np.testing.assert_array_equal(got[k], e)
    got = lf.vmap(lambda i: x[0, i], 0)(lnp.array([3, -1]))
    np.testing.assert_array_equal(got, X[0][[3, -1]])


part = st.one_of(
    st.integers(-3, 2), st.none(), st.builds(slice, *[st.one_of(st.none(), st.integers(-4, 4))] * 2,
                                             st.sampled_from([None, 1, 2, -1, -2])),
    st.lists(st.integers(-3, 2), min_size=2, max_size=2).map(np.array),
    st.lists(st.lists(st.integers(-3, 2), min_size=1, max_size=1), min_size=2,
             max_size=2).map(np.array))


@given(st.lists(part, max_size=4), st.integers(0, 4), st.booleans())
def test_any_index(parts: list[Any], at: int, dots: bool) -> None:
    x = np.arange(81.0).reshape(3, 3, 3, 3)
    index = (*parts[:at], ..., *parts[at:]) if dots else tuple(parts)
    expected = x[index]
    np.testing.assert_array_equal(lnp.array(x)[index], expected)
    values = np.arange(expected.size, dtype=float).reshape(expected.shape)
    want = x.copy()
    want[index] = values
    np.testing.assert_array_equal(lnp.array(x).at[index].set(values), want)


# ------------------------------------------------------------------ functions

V = np.array([3.0, 0.0, -1.0, 0.0, 2.0], np.float32)
CALLS = [
    ("take", (X, I), {"axis": 0}), ("take", (X, J), {"axis": -1}), ("take", (X, I), {}),
    ("take", (X, np.array([7, -9])), {"axis": 1, "mode": "wrap"}),
    ("take", (X, np.array([7, 1])), {"axis": 1, "mode": "clip"}),
    ("take_along_axis", (X, np.argsort(-X, 1)), {"axis": 1}),
    ("take_along_axis", (X, X[:, :1].argsort(2)), {"axis": 2}),
    ("take_along_axis", (V, np.array([1, -1])), {"axis": None}),
    ("choose", (np.array([0, 1, 1]), [V[:3], V[2:]]), {}),
    ("compress", ([True, False, True], X), {"axis": 0}), ("compress", (V > 0, V), {}),
    ("extract", (MASK, X), {}), ("nonzero", (V,), {}), ("nonzero", (MASK,), {}),
    ("where", (MASK,), {}), ("where", (MASK, X, -X), {}), ("flatnonzero", (X % 7,), {}),
    ("argwhere", (MASK,), {}),
    ("select", ([V > 2, V < 0], [V, V * 2]), {}), ("select", ([V > 2], [V], 7.0), {}),
    ("piecewise", (V, [V < 0, V > 0], [-1.0, lambda x: x * 2]), {}),
    ("piecewise", (V, V < 0, [lambda x: -x, 5.0]), {}),
    ("unravel_index", (np.array([3, 59, 17]), (3, 4, 5)), {}),
    ("ravel_multi_index", (([0, 2], [1, 3]), (3, 4)), {}),
    ("ravel_multi_index", (([0, 2], [1, 3]), (3, 4)), {"order": "F"}),
    ("ravel_multi_index", (([5, -1], [1, 9]), (3, 4)), {"mode": "wrap"}),
    ("ravel_multi_index", (([5, -1], [1, 9]), (3, 4)), {"mode": ("clip", "wrap")}),
    ("tril_indices", (4,), {"k": 1}), ("triu_indices", (3, -1, 5), {}),
    ("tril_indices_from", (X[0],), {}), ("triu_indices_from", (X[0], 1), {}),
    ("diag_indices", (3, 3), {}), ("diag_indices_from", (X[:, :3, :3],), {}),
    ("ix_", ([0, 2], [1, 3]), {}), ("ix_", (ROWS, [1]), {}),
    ("mask_indices", (3, np.triu), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), CALLS,
                         ids=[f"{c[0]}-{i}" for i, c in enumerate(CALLS)])
def test_functions(name: str, args: Any, options: Any) -> None:
    expected = getattr(np, name)(*args, **options)
    got = getattr(lnp, name)(*args, **options)
    assert isinstance(got, tuple) == isinstance(expected, tuple)
    for g, e in zip(got if isinstance(got, tuple) else [got],
                    expected if isinstance(expected, tuple) else [expected], strict=True):
        np.testing.assert_array_equal(g, e)
        assert g.dtype == e.dtype or (g.dtype == np.int32 and e.dtype == np.int64)


def test_put_and_place() -> None:
    x = lnp.array(V)
    for name, args in (("put", ([1, -1], [9.0, 8.0])), ("put", ([0, 1, 2], [5.0, 6.0])),
                       ("place", (V == 0, [7.0])), ("place", (V <= 0, [7.0, 8.0]))):
        want = V.copy()
        getattr(np, name)(want, *args)
        np.testing.assert_array_equal(getattr(lnp, name)(x, *args, inplace=False), want)
        with pytest.raises(ValueError, match="inplace=False"):
            getattr(lnp, name)(x, *args)
    order = np.argsort(-X, 1)
    want = X.copy()
    np.put_along_axis(want, order, X[:, ::-1], 1)
    np.testing.assert_array_equal(lnp.put_along_axis(X, order, X[:, ::-1], 1, inplace=False), want)
    want = X[:, :3, :3].copy()
    np.fill_diagonal(want, 5)
    np.testing.assert_array_equal(
        lnp.fill_diagonal(lnp.array(X[:, :3, :3]), 5, inplace=False), want)


def test_sizes_under_jit() -> None:
    assert [i.tolist() for i in lf.jit(lambda x: lnp.nonzero(x, size=4))(V)] == [[0, 2, 4, 0]]
    assert lf.jit(lambda x: lnp.flatnonzero(x, size=2))(V).tolist() == [0, 2]
    assert lf.jit(lambda x: lnp.argwhere(x, size=4, fill_value=-1))(V).tolist() == [
        [0], [2], [4], [-1]]
    assert lf.jit(lambda x: lnp.extract(x > 0, x, size=3, fill_value=9))(V).tolist() == [3, 2, 9]
    assert lf.jit(lambda x: lnp.where(x, size=1)[0])(V).tolist() == [0]
    with pytest.raises(ConcretizationTypeError, match=r"size=n"):
        lf.jit(lnp.nonzero)(V)
    batched = lf.vmap(lambda x: lnp.flatnonzero(x, size=3))(np.stack([V, V[::-1], V * 0]))
    assert batched.tolist() == [[0, 2, 4], [0, 2, 4], [0, 0, 0]]


def test_gradients_of_functions() -> None:
    w = np.arange(1.0, 4.0, dtype=np.float32)
    x = lnp.array([3.0, 1.0, 2.0])
    order = lnp.array([2, 0, 2])
    assert lf.grad(lambda x: (lnp.take(x, order) * w).sum())(x).tolist() == [2.0, 0.0, 4.0]
    assert lf.grad(lambda x: (lnp.take_along_axis(x, order, 0) * w).sum())(x).tolist() == [2, 0, 4]
    assert lf.grad(lambda x: lnp.select([x > 2, x > 1], [x * x, 3 * x]).sum())(x).tolist() == [
        6.0, 0.0, 3.0]
    assert lf.grad(lambda x: lnp.extract(x > 1, x ** 2).sum())(x).tolist() == [6.0, 0.0, 4.0]
    g = lf.grad(lambda x: lnp.take(x, lnp.array([5, 0]), mode="fill", fill_value=0).sum())(x)
    assert g.tolist() == [1.0, 0.0, 0.0]


def test_captured_indices_under_jit() -> None:
    rows, n, mask = np.array([0, 1]), lnp.array(2), lnp.array([True, False, True])
    f = lf.jit(lambda x: (x[rows], x[:n], x[n], x[mask]))
    assert [o.tolist() for o in f(V[:3])] == [[3, 0], [3, 0], -1, [3, -1]]
    rows[0] = 2
    assert f(V[:3])[0].tolist() == [-1, 0]
    n = lnp.array(1)
    mask = ~mask
    assert [o.tolist() for o in f(V[:3])] == [[-1, 0], [3], 0, [0]]


def test_second_order_and_nesting() -> None:
    x, i = lnp.array([1.0, 2.0, 3.0]), lnp.array([2, 0, 2])
    f = lambda x: (x[i] ** 3).sum() + (x.at[i].multiply(2.0) ** 2).sum()
    # d2/dx2: 6 x for each use, and 2 * factor**2 for the product (4 where hit twice).
    want = np.diag([6 + 8, 2, 36 + 32.0])
    np.testing.assert_allclose(lf.hessian(f)(x), want)
    np.testing.assert_allclose(lf.jit(lf.jacrev(lf.grad(f)))(x), want)
    rows = lf.vmap(lf.grad(lambda x, i: (x[i] ** 2).sum()), (None, 0))(x, lnp.array([[0], [2]]))
    assert rows.tolist() == [[2, 0, 0], [0, 0, 6]]
