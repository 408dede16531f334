"""The public checkers: what they accept, what they catch, and what they say."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import testing

X = np.array([0.5, -1.2, 0.8])


@lf.custom_jvp
def wrong_slope(x: Any, y: Any) -> Any:
    return x * lnp.sin(y)


@wrong_slope.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x, y), (tx, ty) = primals, tangents
    return x * lnp.sin(y), tx * lnp.sin(y) + 1.01 * ty * x * lnp.cos(y)


@lf.custom_jvp
def wrong_second(x: Any) -> Any:
    return x ** 3


@wrong_second.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    return x ** 3, t * 3.0 * lf.stop_gradient(x) ** 2


@lf.custom_vjp
def wrong_pull(x: Any) -> Any:
    return x * x


wrong_pull.defvjp(lambda x: (x * x, x), lambda x, ct: (3.0 * x * ct,))


class Pair(NamedTuple):
    w: Any
    n: Any


# ------------------------------------------------------------------ check_grads

def test_right_derivatives_pass() -> None:
    testing.check_grads(lambda x, y: lnp.sin(x) * y, (X, X[::-1].copy()))
    testing.check_grads(lambda p: {"out": lnp.sum(p["a"].w ** 2) * p["a"].n, "n": p["a"].n},
                        ({"a": Pair(X, np.int32(2))},))
    testing.check_grads(lambda z: (lnp.abs(z) ** 2, lnp.conj(z) * z ** 2), (X + 1j,))
    testing.check_grads(lambda x: x * 2.0, (3.0,))
    testing.check_grads(lnp.sin, (np.zeros((0, 2)),))
    testing.check_grads(lambda x: lnp.tanh(x) @ x, (X,), order=3)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64"])
def test_narrow_dtypes_have_their_own_tolerance(dtype: str) -> None:
    testing.check_grads(lambda x: lnp.sin(x) * x, (lnp.asarray(X).astype(dtype),))


def test_a_wrong_slope_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        testing.check_grads(wrong_slope, (X, X + 0.3))
    message = str(caught.value)
    assert "check_grads of wrong_slope: order 1 (forward derivative)" in message
    assert "with respect to `y`" in message and "3 of 3 elements" in message
    assert "jvp -" in message or "jvp 0" in message


def test_a_wrong_second_derivative_is_found_at_the_second_order() -> None:
    testing.check_grads(wrong_second, (X,), order=1)
    with pytest.raises(AssertionError, match=r"order 2 \(.*of the.*\).*`x` is wrong"):
        testing.check_grads(wrong_second, (X,), order=2)


def test_a_wrong_pull_back_is_found() -> None:
    with pytest.raises(AssertionError, match=r"order 1 \(reverse derivative\): the cotangent of"):
        testing.check_grads(wrong_pull, (X,), modes=("rev",))


def test_functions_with_a_vjp_only() -> None:
    @lf.custom_vjp
    def square(x: Any) -> Any:
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, ct: (2.0 * x * ct,))
    testing.check_grads(square, (X,), modes=("rev",))


def test_nested_paths_are_named() -> None:
    f = lambda params: wrong_slope(params["a"], params["layers"][1])
    with pytest.raises(AssertionError, match=r"`params\['layers'\]\[1\]`"):
        testing.check_grads(f, ({"a": X, "layers": [X, X + 0.3]},))


def test_kinks_and_nan_are_reported() -> None:
    with pytest.raises(AssertionError, match="differences"):
        testing.check_grads(lnp.abs, (np.array(2e-5),))
    with pytest.raises(AssertionError, match="nan"):
        testing.check_grads(lnp.log, (np.array([-1.0]),))


def test_arguments_of_check_grads() -> None:
    with pytest.raises(TypeError, match=r"write \(x,\) for one argument"):
        testing.check_grads(lnp.sin, X)
    with pytest.raises(TypeError, match="nothing to differentiate"):
        testing.check_grads(lnp.sin, (np.arange(3),))
    with pytest.raises(ValueError, match="modes are 'fwd' and 'rev'"):
        testing.check_grads(lnp.sin, (X,), modes=("both",))


# ------------------------------------------------------------------ check_batch, check_jit

def test_batches_pass() -> None:
    a = np.random.default_rng(0).normal(size=(3, 4))
    testing.check_batch(lambda x, y: lnp.dot(x, y), (a, a[0]), in_axes=(0, None))
    testing.check_batch(lambda x: (lnp.sum(x), {"k": x * 2.0}), (a,), in_axes=1, sizes=(0, 1, 3, 5))
    testing.check_batch(lambda p, x: p["w"] * x + p["n"], ({"w": a, "n": 2.0}, a),
                        in_axes=({"w": 0, "n": None}, 0))


def test_a_wrong_batching_rule_is_found() -> None:
    @lf.custom_vmap
    def f(x: Any) -> Any:
        return x * 2.0

    @f.def_vmap
    def _(axis_size: int, in_batched: Any, x: Any) -> Any:
        return x * 2.0 + lnp.arange(float(axis_size)).reshape(-1, 1), in_batched[0]

    with pytest.raises(AssertionError, match=r"check_batch of .*f, 3 lanes, in_axes=\(0,\).*index"):
        testing.check_batch(f, (np.ones((3, 2), "float32"),))


def test_arguments_of_check_batch() -> None:
    with pytest.raises(ValueError, match="one number of lanes"):
        testing.check_batch(lambda x, y: x + y, (np.ones(3), np.ones(2)))
    with pytest.raises(ValueError, match="no batched argument"):
        testing.check_batch(lnp.sin, (np.ones(3),), in_axes=None)


def test_jit_checks() -> None:
    testing.check_jit(lambda x: {"y": lnp.sin(x), "n": None, "name": "kept"}, (X,), exact=True)
    testing.check_jit(lambda x, flag: x if flag else -x, (X, True))
    calls = []

    def impure(x: Any) -> Any:
        calls.append(1)
        return x + float(len(calls))

    with pytest.raises(AssertionError, match="check_jit of .*impure, first call"):
        testing.check_jit(impure, (X,))


# ------------------------------------------------------------------ assert_allclose

def test_equal_trees() -> None:
    tree = {"a": lnp.ones(3), "b": (lnp.int32(2), None), "s": "text"}
    testing.assert_allclose(tree, {"a": np.ones(3) + 1e-7, "b": (2, None), "s": "text"})
    testing.assert_allclose(lnp.array([1.0, np.nan, np.inf]), [1.0, float("nan"), float("inf")])
    testing.assert_allclose({"a": lnp.ones((2, 2))}, {"a": [[1.0, 1.0], [1.0, 1.0]]})
    testing.assert_allclose(lf.random.key(3), lf.random.key(3))
    testing.assert_allclose(np.float64(0.1), 0.1, 0.0, 0.0)


@pytest.mark.parametrize(("a", "b", "message"), [
    ({"a": X}, {"b": X}, "'a'.*missing"),
    ({"a": X}, {"a": X[:2]}, r"leaf \['a'\] has shape \(3,\), expected \(2,\)"),
    ([X, X], [X, X * (1 + 1e-9)], r"leaf \[1\] differs at index \(1,\).*3 of 3"),
    (np.array([1, 2]), np.array([1, 3]), "actual 2.*expected 3"),
    (np.array([2 ** 60 + 1]), np.array([2 ** 60]), "differs"),
    (np.array([np.nan]), np.array([1.0]), "nan"),
    (np.array([np.inf]), np.array([-np.inf]), "inf"),
    ({"s": "a"}, {"s": "b"}, r"leaf \['s'\] is 'a', expected 'b'"),
])
def test_different_trees(a: Any, b: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.assert_allclose(a, b)


def test_dtypes_and_tolerances() -> None:
    narrow = lnp.asarray(X).astype("float32")
    testing.assert_allclose(narrow, X)
    with pytest.raises(AssertionError, match=r"float32\[3\], expected float64\[3\]"):
        testing.assert_allclose(narrow, X, check_dtypes=True)
    with pytest.raises(AssertionError):
        testing.assert_allclose(narrow, X, 1e-12, 1e-12)
    with pytest.raises(AssertionError, match="here: leaf"):
        testing.assert_allclose([X], [X + 1.0], what="here")
    assert testing.tolerance(np.dtype("int32")).value == 0.0
    assert testing.tolerance(np.dtype("float64"), np.dtype("float16")).value == 2e-3
    with pytest.raises(AssertionError, match="random keys differ"):
        testing.assert_allclose(lf.random.key(3), lf.random.key(4))
