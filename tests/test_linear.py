"""Products, einsum, calculus and polynomials of lnp: NumPy is the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

RNG = np.random.default_rng(0)


def A(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def Z(*shape: int) -> np.ndarray:
    return A(*shape) + 1j * A(*shape)


# ------------------------------------------------------------------ products

MATMUL = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
          ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)),
          ((5, 2, 3), (1, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)),
          ((6, 5, 2, 3), (6, 1, 3, 4)), ((0, 2, 3), (0, 3, 4)), ((2, 0), (0, 4))]


@pytest.mark.parametrize(("left", "right"), MATMUL, ids=str)
def test_matmul(left: Any, right: Any) -> None:
    x, y = A(*left), A(*right)
    assert_allclose(lnp.matmul(x, y), np.asarray(np.matmul(x, y)), check_dtypes=True)
    assert_allclose(lnp.asarray(x) @ lnp.asarray(y), np.matmul(x, y))
    if x.size and y.size:
        check_grads(lnp.matmul, (x, y))


PRODUCTS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("dot", (A(2, 3), A(5, 3, 4)), {}), ("dot", (A(3), A(3)), {}), ("dot", (A(3), A(2, 3, 1)), {}),
    ("dot", (A(2, 3), np.array(2.0)), {}), ("inner", (A(2, 3), A(5, 3)), {}),
    ("inner", (A(3), A(3)), {}), ("outer", (A(2, 2), A(3)), {}), ("vdot", (Z(2, 3), Z(2, 3)), {}),
    ("vecdot", (Z(2, 5, 3), Z(5, 3)), {}), ("vecdot", (A(3, 2), A(3, 2)), {"axis": 0}),
    ("matvec", (Z(2, 5, 3), Z(3)), {}), ("vecmat", (Z(2, 3), Z(4, 1, 3, 5)), {}),
    ("tensordot", (A(2, 3, 4), A(3, 4, 5)), {}), ("tensordot", (A(2), A(3)), {"axes": 0}),
    ("tensordot", (A(2, 3, 4), A(3, 2, 5)), {"axes": ([0, 1], [1, 0])}),
    ("kron", (A(2, 3), A(4)), {}), ("kron", (A(2, 3), A(4, 5)), {}),
    ("cross", (A(4, 3), A(4, 3)), {}), ("cross", (A(3, 4), A(3, 4)), {"axis": 0}),
    ("cross", (A(4, 3), A(3, 4)), {"axisb": 0, "axisc": 0}),
    ("trace", (A(3, 4),), {}), ("trace", (A(3, 4, 2),), {"offset": 1}),
    ("trace", (A(3, 4, 2),), {"offset": -2, "axis1": 1, "axis2": 0}),
    ("trace", (A(3, 3),), {"offset": 5})]


@pytest.mark.parametrize(("name", "args", "kwargs"), PRODUCTS,
                         ids=[f"{n}-{i}" for i, (n, *_) in enumerate(PRODUCTS)])
def test_product(name: str, args: Any, kwargs: Any) -> None:
    want = np.asarray(getattr(np, name)(*args, **kwargs))
    assert_allclose(getattr(lnp, name)(*args, **kwargs), want, check_dtypes=True)
    check_grads(lambda *xs: getattr(lnp, name)(*xs, **kwargs), args)


@pytest.mark.parametrize(("p", "q"), [(3, 2), (2, 3), (2, 2)])
def test_cross_product_of_short_vectors(p: int, q: int) -> None:
    x, y = A(4, p), A(4, q)
    wide = [np.concatenate([v, np.zeros((4, 3 - v.shape[1]))], axis=1) for v in (x, y)]
    want = np.cross(*wide)
    assert_allclose(lnp.cross(x, y), want[:, 2] if p == q == 2 else want)


def test_products_of_other_dtypes() -> None:
    i = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert np.array_equal(lnp.matmul(i, i.T), i @ i.T) and lnp.matmul(i, i.T).dtype == np.int32
    assert lnp.matmul(i > 1, i.T > 1).dtype == bool
    assert lnp.matmul(lnp.ones((2, 3), "bfloat16"), i.T).dtype == lnp.bfloat16
    assert lnp.matmul(lnp.ones((2, 3)), lnp.ones((3, 2)),
                      preferred_element_type="float64").dtype == np.float64
    assert lnp.trace(i > 0).dtype == np.int32


def test_product_errors() -> None:
    with pytest.raises(TypeError, match=r"axis 1 of the first and axis 0 of the second .* 3 and 4"):
        lnp.matmul(A(2, 3), A(4, 2))
    with pytest.raises(TypeError, match="before the last two must broadcast"):
        lnp.matmul(A(2, 2, 3), A(5, 3, 2))
    with pytest.raises(ValueError, match="both must have an axis"):
        lnp.matmul(2.0, A(3))
    with pytest.raises(TypeError, match="must be equal"):
        lnp.dot(A(3), A(4))
    with pytest.raises(ValueError, match="length 2 or 3"):
        lnp.cross(A(4), A(4))
    with pytest.raises(ValueError, match="fewer than axes=2"):
        lnp.tensordot(A(3), A(3, 3))


# ------------------------------------------------------------------ einsum

EINSUM: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]), ("iij->ij", [(3, 3, 2)]), ("iii->i", [(2, 2, 2)]),
    ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)]), ("...ij,...jk->...ik", [(1, 2, 3), (5, 3, 4)]),
    ("i...->...", [(3, 4, 2)]), ("bij,bjk,bkl->bil", [(2, 3, 4), (2, 4, 5), (2, 5, 3)]),
    ("i,j->ij", [(3,), (4,)]), ("i,i->", [(3,), (3,)]), ("ij->ji", [(2, 3)]), ("ij->", [(2, 3)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]), ("ij , kj -> ", [(2, 3), (4, 3)]), ("ba", [(2, 3)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("...,...", [(2, 3), (3,)]),
    ("a,ab,abc->abc", [(2,), (2, 3), (2, 3, 4)]), ("i,->i", [(3,), ()]),
    ("ij,ij->j", [(2, 1), (2, 3)]), ("ab,cd,ef->abcdef", [(2, 2)] * 3),
    ("ij,jk,kl,lm,mn->in", [(2, 3), (3, 4), (4, 2), (2, 5), (5, 3)])]


@pytest.mark.parametrize(("text", "shapes"), EINSUM, ids=[t for t, _ in EINSUM])
def test_einsum(text: str, shapes: Any) -> None:
    xs = [A(*s) for s in shapes]
    want = np.einsum(text, *xs)
    for optimize in ("auto", "greedy", "optimal", True, False):
        assert_allclose(lnp.einsum(text, *xs, optimize=optimize), want)
    check_grads(lambda *xs: lnp.einsum(text, *xs), xs, order=1)


def test_einsum_forms() -> None:
    x, y = A(5, 2, 3), A(3, 4)
    assert_allclose(lnp.einsum(y, [0, 1], y, [2, 1], [0, 2]), y @ y.T)
    assert_allclose(lnp.einsum(x, [..., 0, 1], y, [1, 2]), x @ y)
    path, text = lnp.einsum_path("ij,jk,kl->il", A(2, 3), A(3, 4), A(4, 5))
    assert path[0] == "einsum_path" and "il" in text
    assert_allclose(lnp.einsum("ij,jk,kl->il", y.T, y, y.T, optimize=[(1, 2), (0, 1)]),
                    y.T @ y @ y.T)
    i = np.arange(4, dtype=np.int32)
    assert lnp.einsum("i,i", i, i).dtype == np.int32
    check_batch(lambda x, y: lnp.einsum("ij,jk->ki", x, y), (x, y), in_axes=(0, None))
    check_jit(lambda x, y: lnp.einsum("bij,jk->bk", x, y), (x, y))


def test_einsum_of_higher_order() -> None:
    check_grads(lambda x, y: lnp.einsum("ij,jk,ik->", x, y, x[:, :1] * y[0]), (A(2, 3), A(3, 3)))


@pytest.mark.parametrize(("text", "shapes", "message"), [
    ("ij,jk->ik", [(2, 3)], "has 2 terms for 1 operands"),
    ("ij,jk->ik", [(2, 3), (4, 5)], "index 'j' has sizes 3 and 4"),
    ("ij->ik", [(2, 3)], "the output names 'k', which no operand has"),
    ("ij->ii", [(2, 2)], "the output names 'i' twice"),
    ("i->i", [(2, 2)], "names 1 axes of an operand that has 2"),
    ("i.j", [(2, 2)], "three dots"), ("i1", [(2, 2)], "'1' is not a letter"),
    ("ii", [(1, 3)], "axes of equal size")])
def test_einsum_errors(text: str, shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnp.einsum(text, *[A(*s) for s in shapes])


# ------------------------------------------------------------------ calculus

C = np.sort(A(6))
CALCULUS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *[("diff", (A(5, 6), n, axis), {}) for n in (0, 1, 2, 7) for axis in (0, -1)],
    ("diff", (A(5, 6),), {"prepend": 0.0, "append": A(5, 1)}),
    ("ediff1d", (A(2, 3), A(2), A(1)), {}),
    *[("gradient", (A(5, 6), *h), {"edge_order": e}) for e in (1, 2)
      for h in ((), (2.0,), (2.0, C))],
    ("gradient", (A(5, 6), C), {"axis": 1}), ("trapezoid", (A(5, 6),), {}),
    ("trapezoid", (A(5, 6), C), {}), ("trapezoid", (A(5, 6),), {"dx": 0.5, "axis": 0}),
    ("trapezoid", (A(5, 6), A(5, 6)), {}),
    ("interp", (3 * A(9), C, A(6)), {}), ("interp", (3 * A(3, 3), C, A(6), -1.0, 2.0), {}),
    ("interp", (3 * A(9), C, A(6)), {"period": 2.5}),
    ("cov", (A(3, 5),), {}), ("cov", (A(5, 3),), {"rowvar": False}),
    ("cov", (A(3, 5), A(2, 5)), {}), ("cov", (A(5),), {"bias": True}),
    ("cov", (A(3, 5),), {"aweights": np.arange(1.0, 6.0)}),
    ("cov", (A(3, 5),), {"fweights": np.arange(1, 6), "ddof": 0}),
    ("cov", (Z(3, 5),), {}), ("corrcoef", (A(3, 5),), {}), ("corrcoef", (Z(3, 5),), {}),
    ("unwrap", (9 * A(3, 5),), {}), ("unwrap", (9 * A(3, 5),), {"period": 3.0, "axis": 0}),
    ("unwrap", (9 * A(7),), {"period": 3.0, "discont": 2.0})]


@pytest.mark.parametrize(("name", "args", "kwargs"), CALCULUS,
                         ids=[f"{n}-{i}" for i, (n, *_) in enumerate(CALCULUS)])
def test_calculus(name: str, args: Any, kwargs: Any) -> None:
    got, want = getattr(lnp, name)(*args, **kwargs), getattr(np, name)(*args, **kwargs)
    assert_allclose(list(got) if isinstance(got, (list, tuple)) else got,
                    list(want) if isinstance(want, (list, tuple)) else want, rtol=1e-9, atol=1e-9)


def test_integers_and_booleans() -> None:
    i = np.array([5, 3, 14, -9, 22], np.int32)
    assert np.array_equal(lnp.diff(i), np.diff(i))
    assert lnp.diff(i > 4).tolist() == np.diff(i > 4).tolist()
    for period in (4, 5):
        assert np.array_equal(lnp.unwrap(i, period=period), np.unwrap(i, period=period))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("a", "v"), [(5, 3), (3, 5), (6, 4), (4, 4), (4, 6), (1, 3)])
def test_convolution(a: int, v: int, mode: str) -> None:
    for x, y in ((A(a), A(v)), (Z(a), Z(v))):
        assert_allclose(lnp.convolve(x, y, mode), np.convolve(x, y, mode))
        assert_allclose(lnp.correlate(x, y, mode), np.correlate(x, y, mode))
    check_grads(lambda x, y: lnp.convolve(x, y, mode), (A(a), A(v)))


def test_derivatives_of_calculus() -> None:
    check_grads(lnp.interp, (3 * A(7), C, A(6)))
    check_grads(lambda f, h: lnp.gradient(f, h, edge_order=2), (A(6), C))
    check_grads(lnp.trapezoid, (A(5, 6), C))
    check_grads(lambda x, w: lnp.cov(x, aweights=w), (A(3, 5), np.arange(1.0, 6.0)))
    check_grads(lnp.corrcoef, (A(3, 5),))
    check_batch(lnp.interp, (A(4, 7), C, A(4, 6)), in_axes=(0, None, 0))
    assert_allclose(lnp.interp(2.0, [0.0, 1.0], [0.0, 3.0], right="extrapolate"), np.float32(6.0))


def test_calculus_errors() -> None:
    with pytest.raises(ValueError, match="n must not be negative"):
        lnp.diff(A(3), -1)
    with pytest.raises(ValueError, match="edge_order is 1 or 2"):
        lnp.gradient(A(3), edge_order=3)
    with pytest.raises(ValueError, match="needs 2 points along axis 0, got 1"):
        lnp.gradient(A(1))
    with pytest.raises(ValueError, match="1-d xp and fp of one length"):
        lnp.interp(A(3), A(4), A(5))
    with pytest.raises(ValueError, match="mode is 'full', 'same' or 'valid'"):
        lnp.convolve(A(3), A(2), "most")


# ------------------------------------------------------------------ polynomials

P, R = A(4), A(3)
POLYNOMIALS: list[tuple[str, tuple[Any, ...]]] = [
    ("polyval", (P, A(2, 3))), ("polyadd", (P, R)), ("polysub", (R, P)), ("polymul", (P, R)),
    ("polydiv", (P, R)), ("polyder", (P, 0)), ("polyder", (P, 2)), ("polyint", (P,)),
    ("polyint", (P, 2, [1.0, 2.0])), ("poly", (R,)), ("polyfit", (A(20), A(20), 3)),
    ("polyfit", (A(20), A(20, 2), 2, None, False, np.arange(1.0, 21.0)))]


@pytest.mark.parametrize(("name", "args"), POLYNOMIALS,
                         ids=[f"{n}-{i}" for i, (n, _) in enumerate(POLYNOMIALS)])
def test_polynomial(name: str, args: Any) -> None:
    got, want = getattr(lnp, name)(*args), getattr(np, name)(*args)
    if name == "polydiv":  # the remainder keeps its length
        assert_allclose(got[0], want[0], rtol=1e-9)
        assert_allclose(got[1][2:], want[1], rtol=1e-9, atol=1e-9)
        return
    assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    check_grads(lambda x: getattr(lnp, name)(x, *args[1:]), args[:1])


def test_roots() -> None:
    p = np.array([0.0, 1.0, -3.0, 2.0, 0.0, 0.0])
    assert_allclose(np.sort_complex(np.asarray(lnp.roots(p))), [0j, 0j, 1 + 0j, 2 + 0j],
                    rtol=1e-9, atol=1e-9)
    check_grads(lambda p: lnp.roots(p, strip_zeros=False), (P,))
    assert_allclose(np.sort_complex(np.asarray(lf.jit(
        lambda p: lnp.roots(p, strip_zeros=False))(P))), np.sort_complex(np.roots(P)), rtol=1e-9)
    with pytest.raises(TypeError, match="strip_zeros=False"):
        lf.jit(lnp.roots)(P)


def test_covariance_of_a_fit() -> None:
    x, y = A(20), A(20)
    c, v = lnp.polyfit(x, y, 2, cov=True)
    want_c, want_v = np.polyfit(x, y, 2, cov=True)
    assert_allclose(c, want_c, rtol=1e-9)
    assert_allclose(v, want_v, rtol=1e-9)
