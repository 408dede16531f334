"""The transformations together: every nesting, closures, control flow, pytrees, conventions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import testing
from lucidfn.errors import UnexpectedTracerError

RNG = np.random.default_rng(7)
CLOSE = 1e-9


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def close(actual: Any, expected: Any, tol: float = CLOSE) -> None:
    testing.assert_allclose(actual, expected, tol, tol)


# ------------------------------------------------------------------ every nesting to depth 3

def smooth(x: Any) -> Any:
    """A vector function with broadcasting, a product, a reduction and an index."""
    return lnp.sin(x) * x[::-1] + lnp.tanh(lnp.sum(x * x)) * x[0]


def scalar_part(f: Any) -> Any:
    return lambda x: lnp.sum(f(x) * lnp.arange(1.0, 4.0, dtype=x.dtype))


# Each makes a function of a vector of a function of a vector.
def by_linearize(f: Any) -> Any:
    return lambda x: lf.linearize(f, x)[1](x)


def by_vjp(f: Any) -> Any:
    return lambda x: lf.vjp(f, x)[1](f(x))[0]


WRAP = {
    "grad": lambda f: lf.grad(scalar_part(f)),
    "jvp": lambda f: lambda x: lf.jvp(f, (x,), (lnp.cos(x),))[1],
    "vmap": lambda f: lambda x: lf.vmap(f)(lnp.stack([x, 2.0 * x]))[1],
    "vmap_out": lambda f: lambda x: lf.vmap(f, in_axes=1, out_axes=-1)(
        lnp.stack([x, x * x], 1))[:, 1],
    "jit": lf.jit,
    "checkpoint": lf.checkpoint,
    "linearize": by_linearize,
    "vjp": by_vjp,
}


def jacobian_of(f: Any, x: np.ndarray) -> np.ndarray:
    """By central differences of fourth order, column by column."""
    h, columns = 1e-3, []
    for i in range(x.size):
        d = np.zeros_like(x)
        d[i] = h
        at = lambda k: f(x + k * d)
        columns.append((8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h))
    return np.stack(columns, 1)


PLAIN = {
    "grad": lambda f: lambda x: jacobian_of(f, x).T @ np.arange(1.0, 4.0),
    "jvp": lambda f: lambda x: jacobian_of(f, x) @ np.cos(x),
    "vmap": lambda f: lambda x: f(2.0 * x),
    "vmap_out": lambda f: lambda x: f(x * x),
    "jit": lambda f: f,
    "checkpoint": lambda f: f,
    "linearize": lambda f: lambda x: jacobian_of(f, x) @ x,
    "vjp": lambda f: lambda x: jacobian_of(f, x).T @ f(x),
}


def plain_smooth(x: np.ndarray) -> np.ndarray:
    return np.sin(x) * x[::-1] + np.tanh(np.sum(x * x)) * x[0]


NESTS = [n for depth in (1, 2, 3) for n in itertools.product(WRAP, repeat=depth)]


@pytest.mark.parametrize("nest", NESTS, ids="-".join)
def test_every_nesting(nest: tuple[str, ...]) -> None:
    x = np.array([0.3, -0.5, 0.4])
    f, plain = smooth, plain_smooth
    for name in reversed(nest):
        f, plain = WRAP[name](f), PLAIN[name](plain)
    order = sum(PLAIN[n](lambda x: x) is not None and n in ("grad", "jvp", "linearize", "vjp")
                for n in nest)
    testing.assert_allclose(f(lnp.asarray(x)), plain(x), 1e-5 * 30 ** max(0, order - 1),
                            1e-6 * 30 ** order)


# ------------------------------------------------------------------ perturbation confusion

def test_perturbations_do_not_mix() -> None:
    # Siskind and Pearlmutter: d/dx (x * d/dy (x + y)) at 1 is 1, not 2.
    f = lambda x: x * lf.grad(lambda y: x + y)(1.0)
    assert float(lf.grad(f)(1.0)) == 1.0
    g = lambda x: x * lf.jvp(lambda y: x + y, (1.0,), (1.0,))[1]
    assert float(lf.jvp(g, (1.0,), (1.0,))[1]) == 1.0
    h = lambda x: x * lf.grad(lambda y: x * y * y)(2.0)  # 4 x^2
    assert float(lf.grad(h)(3.0)) == 24.0
    assert float(lf.grad(lf.jit(h))(3.0)) == 24.0
    assert float(lf.jit(lf.grad(h))(3.0)) == 24.0


@pytest.mark.parametrize("inner", ["grad", "jit", "vmap", "checkpoint", "jvp"])
@pytest.mark.parametrize("outer", ["grad", "jit", "vmap"])
def test_closure_over_an_outer_tracer(outer: str, inner: str) -> None:
    x, y = normal(3), normal(3)

    def f(x: Any) -> Any:
        g = lambda y: lnp.sum(lnp.sin(y) * x)
        run = {"grad": lf.grad(g), "jit": lf.jit(g), "checkpoint": lf.checkpoint(g),
               "vmap": lambda y: lf.vmap(g)(lnp.stack([y, y])),
               "jvp": lambda y: lf.jvp(g, (y,), (y,))[1]}[inner]
        return lnp.sum(run(y) * 2.0)

    want_of_x = 2.0 * {"grad": np.cos(y), "jit": np.sin(y), "checkpoint": np.sin(y),
                       "vmap": 2 * np.sin(y), "jvp": np.cos(y) * y}[inner]
    if outer == "grad":
        close(lf.grad(f)(x), want_of_x)
    elif outer == "jit":
        close(lf.jit(f)(x), want_of_x @ x)
    else:
        xs = normal(4, 3)
        close(lf.vmap(f)(xs), xs @ want_of_x)


def test_captured_arrays_and_lists() -> None:
    w = lnp.asarray(normal(3))
    stored = [1.0, 2.0]
    f = lambda x: lnp.sum(w * x) * stored[1]
    close(lf.grad(f)(lnp.ones(3, "float64")), 2.0 * np.asarray(w))
    close(lf.vmap(f)(np.eye(3)), 2.0 * np.asarray(w))


# ------------------------------------------------------------------ Python control flow, un-jitted

def test_python_control_flow_on_values_under_grad() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append(float(x))
        if x > 0:
            y = x * x
        else:
            y = -x
        while y < 50.0:
            y = y * 2.0
        for _ in range(int(x) if x > 0 else 1):
            y = y + x
        return y

    # 3 -> 9 -> 18, 36, 72: 8 x^2 + 3 x.
    assert float(lf.grad(f)(3.0)) == 8 * 2 * 3 + 3
    assert seen == [3.0]
    assert float(lf.grad(lf.grad(f))(3.0)) == 16.0
    assert float(lf.jvp(f, (3.0,), (1.0,))[1]) == 51.0


def test_boolean_mask_and_item_under_grad() -> None:
    x = lnp.asarray(np.array([1.0, -2.0, 3.0]))
    close(lf.grad(lambda x: lnp.sum(x[x > 0] ** 2))(x), [2.0, 0.0, 6.0])
    close(lf.grad(lambda x: x[0] * x.max().item())(x), [3.0, 0.0, 0.0])


# ------------------------------------------------------------------ size-0 axes

def test_empty_arrays() -> None:
    empty = lnp.zeros((0, 3))
    assert lf.vmap(lnp.sin)(empty).shape == (0, 3)
    assert lf.vmap(lf.grad(lambda x: lnp.sum(x * x)))(empty).shape == (0, 3)
    assert lf.jit(lf.vmap(lambda x: x @ lnp.ones((3, 2))))(empty).shape == (0, 2)
    assert lf.grad(lambda x: lnp.sum(x))(empty).shape == (0, 3)
    assert lf.jacrev(lambda x: x * 2.0)(lnp.zeros(0)).shape == (0, 0)
    assert lf.jacfwd(lambda x: x * 2.0)(lnp.zeros(0)).shape == (0, 0)
    assert lf.hessian(lambda x: lnp.sum(x ** 2))(lnp.zeros(0)).shape == (0, 0)


# ------------------------------------------------------------------ pytrees, arguments

class Point(NamedTuple):
    x: Any
    y: Any


@lf.tree_util.register_dataclass
@dataclass
class Model:
    w: Any
    steps: Any
    name: str = lf.tree.static(default="m")


def test_gradients_have_the_structure_of_the_arguments() -> None:
    params = {"p": Point(lnp.float32(2.0), [lnp.float32(3.0), None]), "m": Model(lnp.ones(2), 7)}
    loss = lambda p: p["p"].x * p["p"].y[0] + lnp.sum(p["m"].w * p["m"].steps)
    grads = lf.grad(loss)(params)
    assert isinstance(grads["p"], Point) and isinstance(grads["m"], Model)
    assert float(grads["p"].x) == 3.0 and grads["p"].y[1] is None
    assert grads["m"].steps is None and grads["m"].name == "m"
    close(grads["m"].w, [7.0, 7.0])
    jitted = lf.jit(lf.grad(loss))(params)
    assert jitted["m"].steps is None
    close(jitted["m"].w, [7.0, 7.0])


def test_integer_and_boolean_leaves_get_none() -> None:
    tree = {"w": lnp.ones(2), "count": lnp.int32(3), "on": lnp.array(True), "n": 2, "flag": False}
    value, grads = lf.value_and_grad(lambda t: lnp.sum(t["w"]) * t["count"] * t["n"])(tree)
    assert float(value) == 12.0
    assert grads["count"] is None and grads["on"] is None and grads["n"] is None
    assert grads["flag"] is None
    out, pull = lf.vjp(lambda t: t["w"] * t["count"], tree)
    (ct,) = pull(lnp.ones(2))
    assert ct["count"] is None
    close(ct["w"], [3.0, 3.0])


def test_integer_outputs_have_zero_tangents() -> None:
    f = lambda x: (x * 2.0, lnp.argmax(x))
    out, tangent = lf.jvp(f, (lnp.array([1.0, 3.0]),), (lnp.ones(2),))
    close(tangent[0], [2.0, 2.0])
    assert int(out[1]) == 1
    close(lf.grad(lambda x: x[lnp.argmax(x)] ** 2)(lnp.array([1.0, 3.0])), [0.0, 6.0])


def test_argnums_argnames_has_aux() -> None:
    def f(a: Any, b: Any, *, c: Any = 2.0) -> Any:
        return a * b * c, {"sum": a + b, "text": "kept"}

    grads, aux = lf.grad(f, argnums=(0, 1), has_aux=True)(2.0, 3.0)
    assert [float(g) for g in grads] == [6.0, 4.0] and float(aux["sum"]) == 5.0
    assert aux["text"] == "kept"
    assert float(lf.grad(f, argnums=-1, has_aux=True)(2.0, 3.0)[0]) == 4.0
    assert float(lf.grad(f, argnames="c", has_aux=True)(2.0, 3.0, c=5.0)[0]) == 6.0
    assert float(lf.grad(f, argnames="b", has_aux=True)(2.0, 3.0)[0]) == 4.0
    both = lf.grad(f, argnums=0, argnames=("c",), has_aux=True)(2.0, 3.0, c=5.0)[0]
    assert [float(g) for g in both] == [15.0, 6.0]
    with pytest.raises(TypeError, match="argnums=2.*2 positional"):
        lf.grad(f, argnums=2)(2.0, 3.0)
    with pytest.raises(TypeError, match="argnames='d'"):
        lf.grad(f, argnames="d")(2.0, 3.0)
    with pytest.raises(ValueError, match="twice"):
        lf.grad(f, argnums=(0, -2))(2.0, 3.0)


def test_keyword_arguments_pass_through() -> None:
    f = lambda x, *, scale, shift=0.0: lnp.sum(x * scale + shift)
    x = lnp.ones(3)
    close(lf.grad(f)(x, scale=2.0), [2.0, 2.0, 2.0])
    close(lf.jit(lf.grad(f))(x, scale=2.0, shift=1.0), [2.0, 2.0, 2.0])
    close(lf.vmap(lambda x, y: x * y)(x, y=2.0 * x), [2.0, 2.0, 2.0])
    close(lf.vmap(f, in_axes={"x": 0, "scale": None})(x, scale=2.0), [2.0, 2.0, 2.0])


def test_jacobians_of_trees() -> None:
    a, b = lnp.asarray(normal(2)), lnp.asarray(normal(3))
    f = lambda t: {"u": lnp.outer(t[0], t[1]), "v": lnp.sum(t[0])}
    for jac in (lf.jacfwd(f), lf.jacrev(f), lf.jit(lf.jacrev(f))):
        j = jac((a, b))
        assert j["u"][0].shape == (2, 3, 2) and j["u"][1].shape == (2, 3, 3)
        close(j["u"][0], np.einsum("j,ik->ijk", b, np.eye(2)))
        close(j["u"][1], np.einsum("i,jk->ijk", a, np.eye(3)))
        close(j["v"][0], np.ones(2))
        close(j["v"][1], np.zeros(3))
    two = lf.jacfwd(lambda x, y: x * y, argnums=(0, 1))(a, 2.0 * a)
    close(two[0], np.diag(2.0 * np.asarray(a)))
    close(two[1], np.diag(a))


def test_hessian_and_hvp() -> None:
    f = lambda p: lnp.sum(lnp.sin(p["a"]) * p["b"]) + p["b"][0] ** 3
    p = {"a": lnp.asarray(normal(2)), "b": lnp.asarray(normal(2))}
    h = lf.hessian(f)(p)
    close(h["a"]["a"], np.diag(-np.sin(p["a"]) * np.asarray(p["b"])))
    close(h["a"]["b"], np.diag(np.cos(p["a"])))
    close(h["b"]["b"], np.diag([6.0 * float(p["b"][0]), 0.0]))
    v = {"a": lnp.asarray(normal(2)), "b": lnp.asarray(normal(2))}
    product = lf.hvp(f, (p,), (v,))
    for i in ("a", "b"):
        close(product[i], sum(np.asarray(h[i][j]) @ np.asarray(v[j]) for j in ("a", "b")))


def test_linear_transpose_and_linearize_reuse() -> None:
    a = normal(2, 3)
    (ct,) = lf.linear_transpose(lambda x: a @ x, lf.ShapeDtypeStruct((3,), "float64"))(np.ones(2))
    close(ct, a.sum(0))
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return lnp.sin(x) * x

    x = normal(3)
    _, f_jvp = lf.linearize(f, x)
    for t in (normal(3), normal(3)):
        close(f_jvp(t), (np.cos(x) * x + np.sin(x)) * t)
    close(lf.vmap(f_jvp)(np.eye(3)), np.diag(np.cos(x) * x + np.sin(x)))
    assert len(calls) == 1
    with pytest.raises(NotImplementedError, match="transpose"):
        lf.linear_transpose(lnp.sin, 1.0)(1.0)


def test_vjp_function_is_a_function_of_its_cotangent() -> None:
    x = normal(3)
    _, pull = lf.vjp(lambda x: lnp.sin(x) * x, x)
    slope = np.cos(x) * x + np.sin(x)
    close(lf.vmap(lambda ct: pull(ct)[0])(np.eye(3)), np.diag(slope))
    close(lf.grad(lambda ct: lnp.sum(pull(ct)[0]))(np.ones(3)), slope)


# ------------------------------------------------------------------ complex numbers

def test_complex_conventions() -> None:
    size = lambda z: lnp.real(z * lnp.conj(z))
    assert complex(lf.grad(size)(3.0 + 4.0j)) == 6.0 - 8.0j
    assert complex(lf.grad(lambda z: lnp.abs(z) ** 2)(3.0 + 4.0j)) == pytest.approx(6.0 - 8.0j)
    assert complex(lf.grad(lambda z: z ** 3, holomorphic=True)(1.0 + 1.0j)) == 6.0j
    assert complex(lf.grad(lnp.real)(1.0 + 2.0j)) == 1.0
    assert complex(lf.grad(lnp.imag)(1.0 + 2.0j)) == -1.0j
    assert float(lf.grad(lambda x: lnp.real(lnp.exp(1j * x)))(0.5)) == pytest.approx(-np.sin(0.5))
    z = normal(2) + 1j * normal(2)
    close(lf.jacrev(lambda z: z * z, holomorphic=True)(z), np.diag(2 * z))
    close(lf.jacfwd(lambda z: z * z, holomorphic=True)(z), np.diag(2 * z))
    with pytest.raises(TypeError, match="holomorphic=True"):
        lf.grad(lambda z: z * z)(1.0 + 1.0j)
    with pytest.raises(TypeError, match="complex inputs"):
        lf.grad(lambda z: z * 1j, holomorphic=True)(1.0)


# ------------------------------------------------------------------ mistakes

def test_leaked_tracers_raise_and_say_what_to_do() -> None:
    for transform in (lf.grad, lf.jit, lf.vmap):
        kept: list[Any] = []

        def f(x: Any, kept: list[Any] = kept) -> Any:
            kept.append(lnp.sum(x * 2.0))
            return lnp.sum(x)

        transform(f)(lnp.ones((2,)))
        with pytest.raises(UnexpectedTracerError, match="Return it from the function"):
            lnp.sin(kept[0])
        with pytest.raises(UnexpectedTracerError):
            float(kept[0])


def test_loss_that_is_not_a_scalar() -> None:
    with pytest.raises(TypeError, match=r"grad of .*double.*scalar, got float32\[3\].*lnp.mean"):
        def double(x: Any) -> Any:
            return x * 2.0
        lf.grad(double)(lnp.ones(3))
    with pytest.raises(TypeError, match="2 leaves.*has_aux=True"):
        lf.grad(lambda x: (x, x))(1.0)
    with pytest.raises(TypeError, match="int32"):
        lf.grad(lambda x: lnp.argmax(x))(lnp.ones(3))
    with pytest.raises(TypeError, match="NoneType|None"):
        lf.grad(lambda x: None)(1.0)


def test_all_integer_input() -> None:
    with pytest.raises(TypeError, match="`n`.*int32.*write 3.0 for 3"):
        lf.grad(lambda n: n * 2)(3)
    for transform in (lf.jacfwd, lf.jacrev, lf.hessian):
        with pytest.raises(TypeError, match="floating"):
            transform(lambda n: n * 2)(lnp.arange(3))


def test_tangents_and_cotangents_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="tuples or lists"):
        lf.jvp(lnp.sin, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"shape \(2,\).*shape \(3,\)"):
        lf.jvp(lnp.sin, (lnp.ones(3),), (lnp.ones(2),))
    with pytest.raises(TypeError, match="structure"):
        lf.jvp(lambda t: t["a"], ({"a": 1.0},), ({"b": 1.0},))
    with pytest.raises(TypeError, match="float64.*float32"):
        lf.jvp(lnp.sin, (lnp.ones(3),), (np.ones(3),))
    _, pull = lf.vjp(lambda x: (x, x), lnp.ones(3))
    with pytest.raises(TypeError, match="structure"):
        pull(lnp.ones(3))


def test_gradient_dtypes() -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = lnp.ones(3, dtype=dtype)
        assert lf.grad(lambda x: lnp.sum(lnp.exp(x * 0.5) * x ** 2))(x).dtype == x.dtype
        assert lf.jit(lf.grad(lambda x: lnp.mean(lnp.log(x))))(x).dtype == x.dtype
    wide = lf.grad(lambda x: lnp.sum(x * np.ones(3)))(lnp.ones(3, dtype="float32"))
    assert wide.dtype == np.float32  # the float64 array widens the loss, not the gradient


def test_gradients_of_one_leaf_used_twice_are_not_aliased() -> None:
    ga, gb = lf.grad(lambda a, b: lnp.sum(a + b), argnums=(0, 1))(lnp.ones(2), lnp.ones(2))
    ga = ga.at[0].set(5.0)
    close(gb, [1.0, 1.0])
