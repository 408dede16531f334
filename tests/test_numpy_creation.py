"""Making arrays: NumPy is the oracle for values; dtypes are the defaults of the library."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.errors import TracerIntegerConversionError

M = np.arange(12, dtype=np.float32).reshape(3, 4)
CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
V = np.array([3.0, 1.0, 2.0], np.float32)

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("zeros", ((2, 3),), {}), ("zeros", (4,), {"dtype": "int8"}), ("ones", ((2, 0),), {}),
    ("full", ((2, 2), 7), {}), ("full", (3, V), {}), ("full", ((2,), 1.5, "int32"), {}),
    ("full", ((), True), {}), ("zeros_like", (M,), {}), ("ones_like", (M,), {"dtype": "bool"}),
    ("full_like", (M, 3), {}), ("full_like", (V, 2), {"shape": (2,)}), ("eye", (3,), {}),
    ("eye", (3, 4, 1), {}), ("eye", (4, 3, -2), {}), ("identity", (2,), {}),
    ("arange", (5,), {}), ("arange", (2, 9, 3), {}), ("arange", (5, 0, -2), {}),
    ("arange", (0.0, 1.0, 0.25), {}), ("arange", (3.5,), {}), ("arange", (3,), {"dtype": float}),
    ("arange", (4, 1), {}), ("linspace", (0, 1, 5), {}), ("linspace", (2.0, -1.0), {"num": 7}),
    ("linspace", (0, 1, 4), {"endpoint": False}), ("linspace", (V, -V, 3), {"axis": 1}),
    ("linspace", (0, 9, 4), {"dtype": "int32"}), ("linspace", (1, 2, 1), {}),
    ("linspace", (1, 2, 0), {}), ("linspace", (0, 1, 5), {"retstep": True}),
    ("logspace", (0, 2, 5), {}), ("logspace", (0, 2, 3), {"base": 2.0, "endpoint": False}),
    ("geomspace", (1, 1000, 4), {}), ("geomspace", (-1, -8, 4), {"endpoint": False}),
    ("diag", (V,), {}), ("diag", (V, 1), {}), ("diag", (V, -2), {}), ("diag", (M,), {}),
    ("diag", (M, 2), {}), ("diag", (M, -1), {}), ("diag", (M, 9), {}), ("diagflat", (M, 1), {}),
    ("diagonal", (CUBE,), {}), ("diagonal", (CUBE, 1, 1, 2), {}),
    ("diagonal", (CUBE, -1, 2, 0), {}),
    ("tri", (3,), {}), ("tri", (3, 5, 1), {}), ("tri", (3, 2, -1), {}), ("tril", (M,), {}),
    ("tril", (CUBE, 1), {}), ("triu", (M, -1), {}), ("triu", (CUBE, 2), {}),
    ("meshgrid", (V, V[:2]), {}), ("meshgrid", (V, V[:2], V[:1]), {"indexing": "ij"}),
    ("meshgrid", (V, V[:2]), {"sparse": True}), ("meshgrid", (V,), {}), ("meshgrid", (), {}),
    ("indices", ((2, 3),), {}), ("indices", ((2, 3),), {"sparse": True}),
    ("vander", (V,), {}), ("vander", (V, 2), {"increasing": True}),
    ("bartlett", (5,), {}), ("blackman", (6,), {}), ("hamming", (4,), {}), ("hanning", (1,), {}),
    ("kaiser", (5, 14.0), {}), ("copy", (M,), {}), ("array", ([[1, 2], [3, 4]],), {}),
    ("array", (M,), {"ndmin": 4}), ("array", ([1, 2.5],), {}), ("asarray", ([True, False],), {}),
    ("frombuffer", (b"\x01\x02\x03",), {"dtype": np.uint8}), ("fromiter", (iter([1, 2]), int), {}),
]


def narrowed(dtype: np.dtype) -> np.dtype:
    """NumPy's 64-bit defaults as the library's."""
    return {np.dtype("f8"): np.dtype("f4"), np.dtype("i8"): np.dtype("i4"),
            np.dtype("c16"): np.dtype("c8")}.get(dtype, dtype)


@pytest.mark.parametrize(("name", "args", "options"), CALLS,
                         ids=[f"{c[0]}{i}" for i, c in enumerate(CALLS)])
def test_values(name: str, args: Any, options: Any) -> None:
    if name == "fromiter":
        args = (iter([1, 2]), int)
    expected = getattr(np, name)(*args, **options)
    if name == "fromiter":
        args = (iter([1, 2]), int)
    got = getattr(lnp, name)(*args, **options)
    if not isinstance(expected, (tuple, list)):
        got, expected = [got], [expected]
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=2e-6, atol=1e-7)
        assert g.shape == np.shape(e) and g.dtype == narrowed(np.asarray(e).dtype)


def test_wide_dtypes_are_honoured() -> None:
    assert lnp.zeros(2, "float64").dtype == np.float64
    assert lnp.array(np.ones(2)).dtype == np.float64
    assert lnp.array([1.0, 2.0]).dtype == np.float32
    assert lnp.arange(3, dtype="int64").dtype == np.int64
    assert lnp.ones(2, lnp.bfloat16).dtype == lnp.bfloat16
    assert lnp.zeros_like(lnp.ones(2, "complex128")).dtype == np.complex128


def test_lists_of_arrays_and_tracers() -> None:
    a = lnp.ones(2)
    assert lnp.array([a, [1, 2]]).tolist() == [[1, 1], [1, 2]]
    assert lf.grad(lambda x: (lnp.array([x, 2 * x, 1.0]) * lnp.array([1.0, 2.0, 3.0])).sum())(
        1.0) == 5.0
    with pytest.raises(ValueError, match="different"):
        lnp.array([[1, 2], [3]])
    with pytest.raises(TypeError, match="object array"):
        lnp.array(np.array([1, None]))
    with pytest.raises(TypeError, match="array of strings"):
        lnp.array(np.array(["a"]))
    with pytest.raises(TypeError, match="str 'abc'"):
        lnp.array("abc")


def test_grids() -> None:
    for g, e in ((lnp.mgrid[0:3, 0:1:3j], np.mgrid[0:3, 0:1:3j]), (lnp.mgrid[1:4], np.mgrid[1:4]),
                 (lnp.mgrid[0:2, 5:7], np.mgrid[0:2, 5:7])):
        np.testing.assert_allclose(g, e)
    for g, e in zip(lnp.ogrid[0:3, 0:1:3j], np.ogrid[0:3, 0:1:3j], strict=True):
        np.testing.assert_allclose(g, e)
    np.testing.assert_array_equal(lnp.fromfunction(lambda i, j: i * 2 + j, (2, 3), dtype=int),
                                  np.fromfunction(lambda i, j: i * 2 + j, (2, 3), dtype=int))
    assert lnp.mgrid[0:3].dtype == np.int32 and lnp.mgrid[0:1:2j].dtype == np.float32


def test_gradients() -> None:
    w = lnp.array(M)
    assert lf.grad(lambda x: lnp.linspace(x, 3.0, 5).sum())(1.0) == 2.5
    assert lf.grad(lambda v: (lnp.diag(v, 1)[:3] * w).sum())(lnp.array(V)).tolist() == [1, 6, 11]
    assert lf.grad(lambda x: lnp.tril(x).sum())(w).tolist() == np.tri(3, 4).tolist()
    assert lf.grad(lambda x: (lnp.diagonal(x) ** 2).sum())(w).tolist() == np.diag(
        [0.0, 10, 20, 0])[:3].tolist()
    assert lf.grad(lambda x: lnp.full((2, 2), x).sum())(1.0) == 4.0
    slope = lf.grad(lambda x: lnp.geomspace(x, 8.0, 4).sum())(1.0)
    want = (np.geomspace(1.001, 8, 4).sum() - np.geomspace(0.999, 8, 4).sum()) / 0.002
    np.testing.assert_allclose(slope, want, rtol=1e-4)


def test_under_jit_and_vmap() -> None:
    assert lf.jit(lambda x: lnp.zeros_like(x) + lnp.arange(3))(V).tolist() == [0, 1, 2]
    assert lf.vmap(lambda x: lnp.diag(x))(M).shape == (3, 4, 4)
    got = lf.vmap(lambda x: lnp.linspace(0, x, 3))(lnp.array([2.0, 4.0]))
    assert got.tolist() == [[0, 1, 2], [0, 2, 4]]
    with pytest.raises(TracerIntegerConversionError, match="static_argnames"):
        lf.jit(lambda n: lnp.ones((2, n)))(3)
    with pytest.raises(TypeError, match="lnp.arange"):
        lf.jit(lambda n: lnp.arange(n))(3)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        lnp.zeros((2, -1))
    with pytest.raises(TypeError, match="integer or a sequence of integers"):
        lnp.zeros(2.5)
    with pytest.raises(ValueError, match="vector or a matrix"):
        lnp.diag(CUBE)
    with pytest.raises(ValueError, match="step must not be 0"):
        lnp.arange(0, 3, 0)


def test_default_dtype() -> None:
    with lf.config.override(default_float="float64", default_int="int64"):
        assert lnp.zeros(2).dtype == np.float64 and lnp.arange(3).dtype == np.int64
        assert lnp.array([1.5]).dtype == np.float64


WIDE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("array", ([0.3],), {}), ("array", ([[0.3, 1], [2, 0.7]],), {}),
    ("asarray", ((0.1, True),), {}), ("full", (3, 0.3), {}),
    ("array", ([0.3, np.array(0.5, np.float32), np.float64(0.1)],), {}),
    ("full", ((2, 2), [0.3, 0.7]), {}), ("arange", (0, 1, 0.1), {}), ("linspace", (0, 0.3, 7), {}),
    ("linspace", (0.1, 0.7), {"endpoint": False}), ("linspace", (0.1, np.array([1.1, 2])), {}),
    ("logspace", (-3, 3.3, 9), {}), ("logspace", (0.1, 1, 9), {"base": 2}),
    ("geomspace", (0.1, 3e3, 9), {}), ("geomspace", (-0.1, -3, 9), {"endpoint": False}),
]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("name", "args", "options"), WIDE,
                         ids=[f"{c[0]}{i}" for i, c in enumerate(WIDE)])
def test_python_numbers_are_rounded_once(name: str, args: Any, options: Any, dtype: str) -> None:
    got = getattr(lnp, name)(*args, **options, dtype=dtype)
    assert got.dtype == dtype
    want = getattr(np, name)(*args, **options, dtype=dtype)
    np.testing.assert_allclose(got, want, rtol=4e-15)
    jitted = lf.jit(lambda: getattr(lnp, name)(*args, **options, dtype=dtype))()
    np.testing.assert_array_equal(jitted, got)


def test_scalars_in_single_precision_are_correctly_rounded() -> None:
    for name, args in (("linspace", (0.1, 0.7, 99)), ("logspace", (-3, 9, 99)),
                       ("geomspace", (1e-3, 1e5, 99))):
        np.testing.assert_array_equal(getattr(lnp, name)(*args),
                                      getattr(np, name)(*args).astype(np.float32))


def test_numbers_in_lists_at_a_given_dtype() -> None:
    big = 2**60 + 1
    assert lnp.array([big, 1], "int64").tolist() == [big, 1]
    assert lnp.array([big, lnp.array(1)], "int64").tolist() == [big, 1]
    assert lnp.array([2**63], "uint64").tolist() == [2**63]
    assert lnp.asarray(range(2**33, 2**33 + 2), "int64").tolist() == [2**33, 2**33 + 1]
    assert lnp.array([2**40, 1.5], "float64").tolist() == [2.0**40, 1.5]
    assert lnp.array([1.5, -2.5], "int32").tolist() == [1, -2]
    assert lnp.array([0.5, lnp.array(0)], "bool").tolist() == [True, False]
    assert lnp.array([[]], "int64").shape == (1, 0)
    assert lnp.full(2, big, "int64").tolist() == [big, big]
    assert lnp.arange(2**40, 2**40 + 2, dtype="int64").tolist() == [2**40, 2**40 + 1]
    assert lnp.linspace(0, 2**40, 3, dtype="int64").tolist() == [0, 2**39, 2**40]
    assert lf.jit(lambda x: lnp.array([0.3, x], "float64"))(np.array(0.1)).tolist() == [0.3, 0.1]
    assert lf.grad(lambda x: lnp.array([0.3, x], "float64").sum())(0.1) == 1.0
    with pytest.raises(OverflowError, match="-1 does not fit uint8"):
        lnp.array([5, -1], "uint8")
