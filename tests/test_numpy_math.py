"""Elementwise compositions, dtype names and function mappers of lnp: NumPy is the oracle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.testing import assert_allclose, check_batch, check_grads

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3, 4))
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1e-300, 1e300, 5e-324])
P, Q = (v.ravel() for v in np.meshgrid(SPECIAL, SPECIAL))
BINARY = "logaddexp logaddexp2 hypot copysign heaviside fmax fmin isclose".split()
UNARY = ("sinc i0 angle deg2rad rad2deg degrees radians fabs round around fix spacing nan_to_num "
         "isposinf isneginf isreal iscomplex reciprocal").split()


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    ours, numpys = getattr(lnp, name), getattr(np, name)
    assert_allclose(ours(X, Y), numpys(X, Y))
    with np.errstate(all="ignore"):
        assert_allclose(ours(P, Q), numpys(P, Q), rtol=1e-12, atol=0.0)
    if numpys(X, Y).dtype != bool:
        check_grads(ours, (X, Y))


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    ours, numpys = getattr(lnp, name), getattr(np, name)
    assert_allclose(ours(X), numpys(X), rtol=1e-12)
    with np.errstate(all="ignore"):
        x = SPECIAL if name != "i0" else SPECIAL[:9]
        assert_allclose(ours(x), numpys(x), rtol=1e-12, atol=0.0)
    if np.asarray(numpys(X)).dtype != bool and name != "spacing":
        check_grads(ours, (X,))
    assert ours(np.float32([1.0, 2.0])).dtype == numpys(np.float32([1.0, 2.0])).dtype


@pytest.mark.parametrize("name", ["sinc", "angle", "round", "isreal", "iscomplex", "nan_to_num",
                                  "reciprocal"])
def test_complex(name: str) -> None:
    z = X + 1j * Y
    assert_allclose(getattr(lnp, name)(z), getattr(np, name)(z), rtol=1e-12)


def test_complex_logaddexp() -> None:
    z, w = X + 1j * Y, Y - 2j * X
    assert_allclose(lnp.logaddexp(z, w), np.log(np.exp(z) + np.exp(w)), rtol=1e-10)
    check_grads(lnp.logaddexp, (z, w))


def test_parts() -> None:
    for x in (X, SPECIAL):
        for name in ("modf", "frexp"):
            for got, want in zip(getattr(lnp, name)(x), getattr(np, name)(x), strict=True):
                assert_allclose(got, want, rtol=0.0, atol=0.0)
                assert np.array_equal(np.signbit(got), np.signbit(want)) or np.isnan(want).any()
    halves = np.array([0.1, 6e-8, 1000.0], np.float16)
    for got, want in zip(lnp.frexp(halves), np.frexp(halves), strict=True):
        assert np.array_equal(got, want) and got.dtype == want.dtype
    n = np.array([250, -250, 280, -149], np.int32)
    x = np.array([1e-38, 1e38, 1e-45, 1.0], np.float32)
    with np.errstate(over="ignore"):
        assert np.array_equal(lnp.ldexp(x, n), np.ldexp(x, n))
    check_grads(lambda x: lnp.ldexp(x, n), (np.array([0.5, 1.0, 2.0, 3.0]),), order=1)


def test_integers() -> None:
    a, b = RNG.integers(-50, 50, (2, 30))
    for name in ("gcd", "lcm"):
        assert np.array_equal(getattr(lnp, name)(a, b), getattr(np, name)(a, b))
        assert np.array_equal(lf.jit(getattr(lnp, name))(a, b), getattr(np, name)(a, b))
    assert int(lnp.gcd(0, 0)) == 0 and int(lnp.lcm(0, 3)) == 0
    fibonacci = np.array([1836311903], np.int32), np.array([1134903170], np.int32)
    assert int(lf.jit(lnp.gcd)(*fibonacci)[0]) == 1
    assert np.array_equal(lnp.bitwise_count(a), np.bitwise_count(a))
    with pytest.raises(ValueError, match="takes integers, got float64"):
        lnp.gcd(X, X)


def test_rounding_to_decimals() -> None:
    for decimals in (0, 1, 3, -1):
        assert_allclose(lnp.round(100.0 * X, decimals), np.round(100.0 * X, decimals), rtol=1e-12)
    assert lnp.round(np.array([3, 4]), 2).tolist() == [3, 4]
    assert lnp.round(np.float64([1e300]), 20).tolist() == [1e300]
    assert lnp.asarray(X).round(2).tolist() == np.round(X, 2).tolist()


def test_derivatives_where_forms_meet() -> None:
    assert lf.grad(lambda x: lnp.hypot(x, 0.0))(0.0) == 0.0
    assert float(lf.grad(lf.grad(lambda x: lnp.hypot(x, x)))(0.0)) == 0.0
    assert_allclose(lf.grad(lf.grad(lnp.sinc))(np.array(0.0)), np.array(-math.pi**2 / 3))
    check_grads(lnp.sinc, (np.array([0.0, 0.01, 0.0954, 0.0956, 1.0]),), order=3)
    same = np.array([1.0, 1.0])
    assert_allclose(lf.hessian(lambda v: lnp.logaddexp(v[0], v[1]))(same),
                    np.array([[0.25, -0.25], [-0.25, 0.25]]))
    slope = lf.grad(lambda x: lnp.logaddexp(x, -np.inf))(np.array(-np.inf))
    assert np.isfinite(slope)
    assert lf.grad(lambda x: lnp.fmax(x, np.nan))(1.0) == 1.0


def test_large_and_small_lengths() -> None:
    assert_allclose(lnp.hypot(np.array(3e300), np.array(4e300)), np.array(5e300))
    assert_allclose(lnp.hypot(np.array(3e-310), np.array(4e-310)), np.array(5e-310), atol=0.0,
                    rtol=1e-9)
    assert float(lnp.logaddexp(0.0, -20.0)) == np.logaddexp(np.float32(0), np.float32(-20))


def test_comparisons() -> None:
    assert bool(lnp.allclose(X, X + 1e-9)) and not bool(lnp.allclose(X, X + 1.0))
    assert bool(lnp.allclose([np.nan], [np.nan], equal_nan=True))
    assert lnp.isclose([1.0, np.inf], [1.0 + 1e-7, np.inf]).tolist() == [True, True]
    assert bool(lnp.array_equal([1, 2], [1.0, 2.0])) and not bool(lnp.array_equal([1], [1, 1]))
    assert bool(lnp.array_equal([np.nan], [np.nan], equal_nan=True))
    assert bool(lnp.array_equiv([1, 1], [[1, 1], [1, 1]]))
    assert not bool(lnp.array_equiv([1, 1], [1, 1, 1]))
    assert bool(lf.jit(lnp.allclose)(X, X))


def test_replacements() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert_allclose(lnp.nan_to_num(x, nan=7.0, posinf=8.0, neginf=9.0), [7.0, 8.0, 9.0, 1.0])
    half = lnp.asarray(x, "bfloat16")
    assert float(lnp.nan_to_num(half)[1]) == float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    assert lf.grad(lambda x: lnp.nan_to_num(x).sum())(x).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_real_functions_refuse_complex_numbers() -> None:
    for name in ("hypot", "copysign", "heaviside"):
        with pytest.raises(TypeError, match=f"lnp.{name} is not defined for complex64"):
            getattr(lnp, name)(1j, 1.0)
    with pytest.raises(ValueError, match="integer exponents"):
        lnp.ldexp(1.0, 2.0)


# ------------------------------------------------------------------ dtypes

def test_dtype_names() -> None:
    for name in ("bool_", "int8", "uint64", "float16", "float32", "float64", "complex128"):
        scalar = getattr(lnp, name)
        assert scalar == np.dtype(name.rstrip("_")) and np.dtype(name.rstrip("_")) == scalar
        assert lnp.zeros(2, scalar).dtype == scalar and np.zeros(2, scalar).dtype == scalar
    assert lnp.float32(3).dtype == np.float32 and float(lnp.float32(3)) == 3.0
    assert lf.jit(lnp.float16)(X).dtype == np.float16
    assert lnp.bfloat16 == ml_dtypes.bfloat16 and repr(lnp.bfloat16) == "lucidfn.numpy.bfloat16"
    assert {lnp.float32: 1}[lnp.float32] == 1
    assert lnp.int_ == np.int32
    with lf.config.override(default_int="int64"):
        assert lnp.int_ == np.int64


def test_questions_about_dtypes() -> None:
    assert lnp.issubdtype(lnp.bfloat16, lnp.floating)
    assert not lnp.issubdtype(lnp.bfloat16, lnp.integer)
    assert lnp.issubdtype(np.float32, lnp.inexact) and lnp.issubdtype("int8", lnp.signedinteger)
    assert lnp.issubdtype(np.float32, np.float32) and not lnp.issubdtype(lnp.floating, "float32")
    for kind, yes in (("bool", "bool"), ("integral", "uint8"), ("signed integer", "int8"),
                      ("unsigned integer", "uint8"), ("real floating", "bfloat16"),
                      ("complex floating", "complex64"), ("numeric", "int8")):
        assert lnp.isdtype(yes, kind)
        assert lnp.isdtype(yes, ("bool", kind))
    assert not lnp.isdtype("bool", "numeric") and lnp.isdtype("int8", lnp.int8)
    with pytest.raises(ValueError, match="no kind 'odd'"):
        lnp.isdtype("int8", "odd")
    assert lnp.finfo(lnp.bfloat16).eps == 2.0**-7 and lnp.finfo("float32").max > 3e38
    assert lnp.iinfo("int16").max == 32767
    assert lnp.can_cast("int32", lnp.float64) and not lnp.can_cast(lnp.float64, "int32")


def test_promotion() -> None:
    assert lnp.result_type(1.0, lnp.int8) == np.float32
    assert lnp.result_type(lnp.float16, np.zeros(1, "int32")) == np.float16
    assert lnp.result_type(lnp.bfloat16, lnp.float16) == np.float32
    assert lnp.promote_types("uint8", "int8") == np.int16
    with pytest.raises(ValueError, match="at least one"):
        lnp.result_type()


def test_shapes_and_scalars() -> None:
    assert lnp.shape([[1, 2]]) == (1, 2) and lnp.ndim(3.0) == 0
    assert lnp.size(X) == 12 and lnp.size(X, 1) == 4 and lnp.size(X, (0, 1)) == 12
    assert lnp.iscomplexobj(1j) and lnp.isrealobj(X) and lnp.isscalar(2.0)
    assert lnp.isscalar(lnp.asarray(1)) and not lnp.isscalar([1])
    assert lnp.iterable(X) and not lnp.iterable(1)
    assert lnp.astype(X, lnp.int32).tolist() == X.astype(np.int32).tolist()
    assert lnp.pi == math.pi and lnp.newaxis is None and lnp.inf == math.inf
    with lnp.printoptions(precision=2):
        assert "0.33" in lnp.array_str(lnp.asarray([1 / 3]))


def test_files(tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16", "complex64"):
        x = lnp.asarray(X, dtype)
        lnp.save(tmp_path / "x.npy", x)
        back = lnp.load(tmp_path / "x.npy")
        assert back.dtype == x.dtype and bool(lnp.array_equal(back, x))
    lnp.savez(tmp_path / "x.npz", X, named=Y)
    with lnp.load(tmp_path / "x.npz") as found:
        assert np.array_equal(found["arr_0"], X) and np.array_equal(found["named"], Y)


# ------------------------------------------------------------------ functions of functions

def test_vectorize() -> None:
    matvec = lnp.vectorize(lnp.dot, signature="(n,m),(m)->(n)")
    a, b = RNG.standard_normal((4, 1, 2, 3)), RNG.standard_normal((5, 3))
    assert_allclose(matvec(a, b), np.einsum("...nm,...m->...n", a, b))
    check_grads(matvec, (a, b), order=1)
    check_batch(lambda b: matvec(a[0], b), (b,))
    plus = lnp.vectorize(lambda x, y, k=0: x * y + k, excluded={"k"})
    assert_allclose(plus(X[:, None], X[0], k=3), X[:, None] * X[0] + 3)
    assert_allclose(plus(np.ones((1, 1)), np.ones((1, 1))), np.ones((1, 1)))
    both = lnp.vectorize(lambda x: (x.sum(), x), signature="(n)->(),(n)")
    total, same = both(X)
    assert_allclose(total, X.sum(1))
    assert_allclose(same, X)


def test_vectorize_errors() -> None:
    with pytest.raises(ValueError, match="is not a signature"):
        lnp.vectorize(lnp.dot, signature="n,m->n")
    with pytest.raises(ValueError, match="axis 'n' of .* has sizes 3 and 4"):
        lnp.vectorize(lnp.dot, signature="(n),(n)->()")(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="has fewer axes than"):
        lnp.vectorize(lnp.sum, signature="(n)->()")(1.0)
    with pytest.raises(TypeError, match="takes 2 arguments, got 1"):
        lnp.vectorize(lnp.dot, signature="(n),(n)->()")(np.ones(3))
    with pytest.raises(TypeError, match="returned an array of 1 axes"):
        lnp.vectorize(lambda x: lnp.stack([x, x]))(np.ones(3))
    with pytest.raises(ValueError, match="must broadcast"):
        lnp.vectorize(lnp.add)(np.ones(3), np.ones(4))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_apply_along_axis(axis: int) -> None:
    x = RNG.standard_normal((3, 4, 5))
    assert_allclose(lnp.apply_along_axis(lambda v: lnp.cumsum(v)[:2], axis, x),
                    np.apply_along_axis(lambda v: np.cumsum(v)[:2], axis, x))
    assert_allclose(lnp.apply_along_axis(lnp.sum, axis, x), x.sum(axis))
    want: Any = np.apply_over_axes(np.sum, x, [0, axis])
    assert_allclose(lnp.apply_over_axes(lnp.sum, x, [0, axis]), want)
