"""Sorting, searching, sets and histograms: NumPy is the oracle, also under jit with `size=`."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.errors import ConcretizationTypeError

X = np.random.default_rng(0).integers(-4, 5, (3, 7)).astype(np.float32)
V = np.array([3.0, 1.0, 2.0, 1.0, np.nan, -0.0, 0.0], np.float32)
W = np.array([2.0, 1.0, 5.0, 2.0], np.float32)
K = np.array([1, 0, 3, 1, 1], np.int32)
C = np.array([1 + 2j, 1 + 1j, 0j], np.complex64)
EDGES = np.array([0.0, 1.0, 2.5, 4.0], np.float32)

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("sort", (X,), {}), ("sort", (X, 0), {}), ("sort", (X, None), {}), ("sort", (V,), {}),
    ("sort", (C,), {}), ("sort", (K,), {}), ("sort", (X > 0,), {}), ("sort_complex", (W,), {}),
    ("argsort", (X,), {"kind": "stable"}), ("argsort", (X, 0), {"kind": "stable"}),
    ("argsort", (V, None), {"kind": "stable"}), ("lexsort", ((X[0], X[1]),), {}),
    ("lexsort", (X,), {}), ("searchsorted", (EDGES, X), {}),
    ("searchsorted", (EDGES, X), {"side": "right"}), ("searchsorted", (EDGES, 2.5), {}),
    ("searchsorted", (W, X), {"sorter": np.argsort(W)}), ("searchsorted", (W[:0], X), {}),
    ("digitize", (X, EDGES), {}), ("digitize", (X, EDGES), {"right": True}),
    ("digitize", (X, EDGES[::-1]), {}), ("digitize", (X, EDGES[::-1]), {"right": True}),
    ("isin", (X, W), {}), ("isin", (X, W), {"invert": True}), ("isin", (V, V), {}),
    ("isin", (X, []), {}),
    ("bincount", (K,), {"length": 6}), ("bincount", (K, K * 0.5), {"length": 4}),
    ("histogram", (X,), {"range": (-3, 3), "bins": 4}), ("histogram", (X, EDGES), {}),
    ("histogram", (X,), {}), ("histogram", (X, 5), {"density": True}),
    ("histogram", (X, EDGES), {"weights": np.abs(X)}), ("histogram", (X * 0,), {"bins": 3}),
    ("histogram_bin_edges", (X, 4), {}), ("histogram_bin_edges", (X, EDGES), {}),
    ("histogram2d", (X[0], X[1]), {"bins": 3}), ("histogram2d", (X[0], X[1]), {"bins": [2, EDGES]}),
    ("histogram2d", (X[0], X[1]), {"bins": 3, "density": True}),
    ("histogramdd", (X.T,), {"bins": (2, 3, 4)}),
]
EAGER: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("unique", (X,), {}), ("unique", (X,), {"return_index": True, "return_inverse": True,
                                            "return_counts": True}),
    ("unique", (X,), {"axis": 0, "return_inverse": True}), ("unique", (K,), {}),
    ("unique", (np.array([[1, 2, 1], [3, 4, 3]]),), {"axis": 1, "return_index": True}),
    ("unique", (np.repeat(V, 2),), {}), ("unique", (np.repeat(V, 2),), {"equal_nan": False}),
    ("unique", (V[:0],), {"return_counts": True}), ("unique", (C,), {}),
    ("unique_all", (X,), {}), ("unique_counts", (X,), {}), ("unique_inverse", (X,), {}),
    ("unique_values", (X,), {}),
    ("intersect1d", (X, W), {}), ("intersect1d", (V, X), {}), ("union1d", (X, W), {}),
    ("setdiff1d", (X, W), {}), ("setdiff1d", (V, W), {}), ("setxor1d", (X, W), {}),
    ("setdiff1d", (W[1:], X[0, :2]), {"assume_unique": True}), ("intersect1d", (W[:0], X), {}),
    ("intersect1d", (W[1:], np.array([5.0, 1.0])), {"return_indices": True}),
    ("histogram_bin_edges", (X, "sqrt"), {}), ("bincount", (K,), {}), ("bincount", (K[:0],), {}),
    ("bincount", (K,), {"minlength": 6}),
]


def each(x: Any) -> list[Any]:
    return [o for p in x for o in each(p)] if isinstance(x, (tuple, list)) else [x]


def oracle(name: str, args: Any, options: Any) -> list[Any]:
    options = dict(options)
    if "length" in options:
        options["minlength"] = options.pop("length")
    return each(getattr(np, name)(*args, **options))


@pytest.mark.parametrize(("name", "args", "options", "known"),
                         [(*c, False) for c in CALLS] + [(*c, True) for c in EAGER],
                         ids=[f"{c[0]}{i}" for i, c in enumerate(CALLS + EAGER)])
def test_values(name: str, args: Any, options: Any, known: bool) -> None:
    expected = oracle(name, args, options)
    got = each(getattr(lnp, name)(*args, **options))
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=2e-6)
        assert g.shape == e.shape
        assert g.dtype.itemsize <= 8 and (e.dtype.kind != "i" or g.dtype in (np.int32, np.float32,
                                                                             np.int64))
    if known:  # its size depends on values
        return
    traced = lf.jit(lambda *a: getattr(lnp, name)(*a, *args[1:], **options))
    for g, e in zip(each(traced(args[0])), expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=2e-6)


@pytest.mark.parametrize("name", ["sort", "argsort", "searchsorted", "digitize"])
def test_batching(name: str) -> None:
    f = {"searchsorted": lambda m, x: m.searchsorted(np.sort(x) if m is np else x.sort(), x[::2]),
         "digitize": lambda m, x: m.digitize(x, EDGES)}.get(name)
    f = f or (lambda m, x: getattr(m, name)(x, kind="stable") if m is np else getattr(m, name)(x))
    got = lf.vmap(lambda x: f(lnp, x))(X)
    np.testing.assert_array_equal(got, np.stack([f(np, x) for x in X]))


def test_descending() -> None:
    np.testing.assert_array_equal(lnp.sort(X, descending=True), np.sort(X)[:, ::-1])
    order = np.asarray(lnp.argsort(X, descending=True))
    np.testing.assert_array_equal(order, np.argsort(-X, kind="stable"))


def test_partition() -> None:
    for axis in (-1, 0):
        got = np.asarray(lnp.partition(X, 2, axis))
        np.testing.assert_array_equal(np.take(got, 2, axis), np.take(np.partition(X, 2, axis), 2,
                                                                     axis))
    order = np.asarray(lnp.argpartition(X, 2))
    np.testing.assert_array_equal(np.take_along_axis(X, order, -1)[:, 2], np.partition(X, 2)[:, 2])


def test_sizes_under_jit() -> None:
    x = np.array([3, 1, 3, 2, 1], np.int32)
    f = lf.jit(lambda x: lnp.unique(x, True, True, True, size=5))
    assert [o.tolist() for o in f(x)] == [[1, 2, 3, 1, 1], [1, 3, 0, 1, 1], [2, 0, 2, 1, 0],
                                          [2, 1, 2, 0, 0]]
    assert lf.jit(lambda x: lnp.unique(x, size=4, fill_value=-1))(x).tolist() == [1, 2, 3, -1]
    assert lf.jit(lambda x: lnp.unique(x, size=2))(x).tolist() == [1, 2]
    both = lf.jit(lambda x: lnp.intersect1d(x, [1, 3], size=3, fill_value=0))
    assert both(x).tolist() == [1, 3, 0]
    assert lf.jit(lambda x: lnp.union1d(x, [7], size=5))(x).tolist() == [1, 2, 3, 7, 1]
    assert lf.jit(lambda x: lnp.setdiff1d(x, [1], size=3, fill_value=0))(x).tolist() == [2, 3, 0]
    assert lf.jit(lambda x: lnp.setxor1d(x, [1, 8], size=3))(x).tolist() == [2, 3, 8]
    assert lf.jit(lambda x: lnp.bincount(x, length=3))(x).tolist() == [0, 2, 1]
    rows = np.array([[1, 2], [0, 5], [1, 2]], np.float32)
    assert lf.jit(lambda x: lnp.unique(x, axis=0, size=2))(rows).tolist() == [[0, 5], [1, 2]]
    for f, option in ((lnp.unique, "size"), (lnp.bincount, "length"),
                      (lambda x: lnp.setdiff1d(x, [1]), "size")):
        with pytest.raises(ConcretizationTypeError, match=f"{option}=n"):
            lf.jit(f)(x)


def test_gradients() -> None:
    w = np.arange(1.0, 5.0, dtype=np.float32)
    x = lnp.array([3.0, 1.0, 2.0, 1.0])
    # In order the weights fall on 1, 1, 2, 3; the two that tie share theirs.
    assert lf.grad(lambda x: (lnp.sort(x) * w).sum())(x).tolist() == [4.0, 1.5, 3.0, 1.5]
    down = lf.grad(lambda x: (lnp.sort(x, descending=True) * w).sum())
    assert down(x).tolist() == [1, 3.5, 2, 3.5]
    assert lf.grad(lambda x: (lnp.unique(x) ** 2).sum())(x).tolist() == [6.0, 2.0, 4.0, 0.0]
    got = lf.grad(lambda v: lnp.bincount(lnp.array(K), v * v, length=4)[1])(
        lnp.arange(5.0))
    assert got.tolist() == [0.0, 0.0, 0.0, 6.0, 8.0]
    hess = lf.jacfwd(lf.grad(lambda x: (lnp.sort(x) ** 3).sum()))(lnp.array([3.0, 1.0]))
    assert hess.tolist() == [[18.0, 0.0], [0.0, 6.0]]


def test_bad_input() -> None:
    for f, text in ((lambda: lnp.searchsorted(EDGES, 1.0, "middle"), "left"),
                    (lambda: lnp.bincount([-1]), "negative"),
                    (lambda: lnp.bincount([1.5]), "integers"),
                    (lambda: lnp.searchsorted(X, 1.0), "must be a vector"),
                    (lambda: lnp.sort(X, 2), "out of bounds"),
                    (lambda: lnp.sort(X, order="a"), "order"),
                    (lambda: lnp.histogram(X, 3, weights=W), "shape of a")):
        with pytest.raises((ValueError, TypeError), match=text):
            f()
