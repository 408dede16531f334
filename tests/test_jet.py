"""Taylor mode against closed forms and nested jvp."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax, nn
from lucidfn.scipy import special
from lucidfn.testing import assert_allclose

ORDER = 4
rng = np.random.default_rng(0)


def nested(f: Callable[..., Any], order: int) -> list[Callable[[Any], Any]]:
    """t -> f(t) and its derivatives, by jvp of jvp."""
    found = [f]
    for _ in range(order):
        g = found[-1]
        found.append(lambda t, g=g: lf.jvp(g, (t,), (lnp.ones_like(t),))[1])
    return found


def agrees(f: Callable[..., Any], *args: Any, order: int = ORDER, rtol: float = 1e-9) -> None:
    """jet of f along random polynomials equals nested jvp in their variable."""
    terms = [[rng.normal(size=np.shape(x)) for _ in range(order)] for x in args]

    def curve(t: Any) -> Any:
        return f(*[x + sum(c * t ** (k + 1) / math.factorial(k + 1) for k, c in enumerate(cs))
                   for x, cs in zip(args, terms, strict=True)])

    out, found = lf.jet(f, args, terms)
    jitted = lf.jit(lambda args, terms: lf.jet(f, args, terms))(args, terms)
    want = [g(np.float64(0.0) + lnp.zeros((), "float64")) for g in nested(curve, order)]
    for got in ((out, found), jitted):
        assert_allclose(got[0], want[0])
        scale = max(float(np.abs(np.asarray(w)).max()) for w in want)
        for a, b in zip(got[1], want[1:], strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol,
                                       atol=rtol * max(scale, 1.0))


# ------------------------------------------------------------------ closed forms

@pytest.mark.parametrize(("f", "x", "derivative"), [
    (lnp.exp, 0.3, lambda n: math.exp(0.3)),
    (lnp.sin, 0.3, lambda n: math.sin(0.3 + n * math.pi / 2)),
    (lnp.cos, 0.3, lambda n: math.cos(0.3 + n * math.pi / 2)),
    (lnp.log, 0.3, lambda n: (-1) ** (n - 1) * math.factorial(n - 1) / 0.3 ** n),
    (lambda x: 1 / x, 0.3, lambda n: (-1) ** n * math.factorial(n) / 0.3 ** (n + 1)),
    (lambda x: x ** 5, 0.3, lambda n: math.perm(5, n) * 0.3 ** (5 - n) if n <= 5 else 0.0),
    (lambda x: x ** 3, 0.0, lambda n: 6.0 if n == 3 else 0.0),
    (lnp.sinh, 0.3, lambda n: math.cosh(0.3) if n % 2 else math.sinh(0.3)),
])
def test_derivatives_of_high_order(f: Any, x: float, derivative: Any) -> None:
    order = 8
    _, found = lf.jet(f, (np.array(x),), ([1.0] + [0.0] * (order - 1),))
    for n, d in enumerate(found, 1):
        np.testing.assert_allclose(float(d), derivative(n), rtol=1e-10, atol=1e-10)


# ------------------------------------------------------------------ every kind of operation

UNARY = {name: getattr(lnp, name) for name in
         "exp exp2 expm1 sin cos tan sinh cosh tanh arcsin arctan arcsinh arctanh arccos log1p "
         "square abs sign floor negative cbrt sqrt log log2 log10 reciprocal sinc".split()}
UNARY |= {name: getattr(special, name) for name in
          "erf erfc gammaln digamma logit expit log_ndtr i0 i1 entr ndtri".split()}
UNARY |= {
    "rsqrt": lax.rsqrt, "erf_inv": lax.erf_inv, "logistic": nn.sigmoid, "gelu": nn.gelu,
    "softplus": nn.softplus, "silu": nn.silu, "relu": nn.relu, "elu": nn.elu,
    "power": lambda x: x ** 2.5, "integer power": lambda x: x ** 7,
    "negative power": lambda x: x ** -3, "a to the x": lambda x: 2.5 ** x,
    "x to the x": lambda x: x ** x, "clip": lambda x: lnp.clip(x * x, 0.1, 0.4),
    "where": lambda x: lnp.where(x > 0.4, x * x, lnp.sin(x)),
    "maximum": lambda x: lnp.maximum(x * x, 0.3 * x),
    "complex": lambda x: lnp.abs(lnp.exp(x * 1j) * x + 2.0),
    "real of complex": lambda x: lnp.real(lnp.sin(x + 1j * x * x)),
    "astype": lambda x: (x * x).astype("float64") * 2,
    "xlogy": lambda x: special.xlogy(x, x + 1), "stop_gradient": lambda x: x * lf.stop_gradient(x),
    "remainder": lambda x: lnp.fmod(x * 7, 2.0), "arctan2": lambda x: lnp.arctan2(x, x * x + 1),
    "logaddexp": lambda x: lnp.logaddexp(x, x * x), "hypot": lambda x: lnp.hypot(x, x + 1),
}


@pytest.mark.parametrize("name", UNARY)
def test_elementwise(name: str) -> None:
    agrees(UNARY[name], np.array([0.23, 0.61]), rtol=1e-7)


M = rng.normal(size=(4, 4))
SPD = M @ M.T + 4 * np.eye(4)
ARRAYS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "matmul": (lnp.matmul, (M, rng.normal(size=(4, 3)))),
    "matmul with a constant": (lambda x: x @ M, (M,)),
    "division": (lambda x, y: x / (2 + y * y), (M, M.T)),
    "division by a constant": (lambda x: x / 3.0, (M,)),
    "a constant over": (lambda x: 2.0 / (2 + x * x), (M,)),
    "broadcasting": (lambda x, y: x * y + y - x[0] / (3 + y), (M, rng.normal(size=4) / 5)),
    "softmax": (nn.softmax, (M,)),
    "logsumexp": (special.logsumexp, (M,)),
    "sum and mean": (lambda x: lnp.sum(x * x, 0) * lnp.mean(x, 1), (M,)),
    "max": (lambda x: lnp.max(x * x, 0), (M,)),
    "prod": (lambda x: lnp.prod(x, 0), (M,)),
    "cumsum": (lambda x: lnp.cumsum(x * x, 1), (M,)),
    "cumprod": (lambda x: lnp.cumprod(x, 1), (M,)),
    "sort": (lambda x: lnp.sort(x * x, 1), (M,)),
    "norm": (lambda x: lnp.linalg.norm(x, axis=1), (M,)),
    "shapes": (lambda x: lnp.concatenate([x.T.reshape(2, 8), x.reshape(2, 8)[:, ::-1]])[1:, 2:],
               (M,)),
    "pad and tile": (lambda x: lnp.pad(lnp.tile(x * x, 2), 1), (M,)),
    "take": (lambda x: (x * x)[lnp.array([2, 0]), 1:], (M,)),
    "set": (lambda x, y: x.at[1].set(y).at[:, 2].add(y * y), (M, rng.normal(size=4))),
    "dynamic": (lambda x: lax.dynamic_update_slice(x, x[:2, :2] ** 2, (1, 1)), (M,)),
    "einsum": (lambda x, y: lnp.einsum("ij,jk,ik->k", x, y, x), (M, M.T)),
    "conv": (lambda x, w: nn.functional.conv2d(x, w), (rng.normal(size=(1, 5, 5, 2)),
                                            rng.normal(size=(3, 3, 2, 2)))),
    "solve": (lnp.linalg.solve, (SPD, rng.normal(size=4))),
    "inv": (lnp.linalg.inv, (SPD,)),
    "cholesky": (lnp.linalg.cholesky, (SPD,)),
    "slogdet": (lambda x: lnp.linalg.slogdet(x)[1], (SPD,)),
    "eigvalsh": (lambda x: lnp.linalg.eigvalsh(x + x.T)[1:], (SPD,)),
    "fft": (lambda x: lnp.abs(lnp.fft.fft(x)) ** 2, (M,)),
    "checkpoint": (lf.checkpoint(lambda x: lnp.sin(lnp.sin(x))), (M,)),
    "jit": (lf.jit(lambda x: lnp.sin(lnp.sin(x))), (M,)),
    "vmap": (lf.vmap(lambda x: lnp.sin(x) @ x), (M,)),
    "grad inside": (lf.grad(lambda x: lnp.sum(lnp.sin(x) * x)), (M,)),
    "layer norm": (lambda x: nn.functional.layer_norm(x, 4), (M,)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str) -> None:
    f, args = ARRAYS[name]
    agrees(f, *args, order=3, rtol=1e-7)


def test_a_network() -> None:
    ws = [rng.normal(size=(4, 4)) / 2 for _ in range(3)]

    def f(x: Any) -> Any:
        for w in ws:
            x = lnp.tanh(x @ w) + x / (1 + x * x)
        return nn.softmax(x)

    agrees(f, rng.normal(size=(2, 4)), order=5, rtol=1e-8)


# ------------------------------------------------------------------ control flow

LOOPS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "scan": (lambda x, ys: lax.scan(lambda c, y: (lnp.sin(c) * y, c * c), x, ys),
             (np.array([0.3, 0.6]), rng.normal(size=(3, 2)))),
    "scan over what does not move": (
        lambda x: lax.scan(lambda c, y: (c * y + x, c), lnp.zeros(2), lnp.arange(3.0)),
        (np.array([0.3, 0.6]),)),
    "scan in reverse": (lambda x: lax.scan(lambda c, y: (lnp.exp(c) * y, c), x[0], x,
                                           reverse=True), (np.array([0.3, 0.6, 0.1]),)),
    "fori_loop": (lambda x: lax.fori_loop(0, 3, lambda i, c: lnp.sin(c) * (i + 1.0), x),
                  (np.array([0.3, 0.6]),)),
    "while_loop": (lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (
        c[0] + 1, lnp.sin(c[1]) * x), (0, x)), (np.array([0.3, 0.6]),)),
    "cond": (lambda x: lax.cond(x[0] < 0.5, lambda x: lnp.sin(x), lambda x: x * 0 + 1, x * x),
             (np.array([0.3, 0.6]),)),
    "switch": (lambda x: lax.switch(1, [lnp.cos, lnp.exp, lambda x: x], x),
               (np.array([0.3, 0.6]),)),
    "map": (lambda x: lax.map(lambda v: lnp.sin(v) * v, x), (np.array([0.3, 0.6]),)),
    "nested": (lambda x: lax.scan(lambda c, y: (lax.cond(
        y > 1, lnp.sin, lambda c: lax.fori_loop(0, 2, lambda i, c: c * c + y, c), c), c), x,
        lnp.arange(3.0))[0], (np.array([0.3, 0.6]),)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_control_flow(name: str) -> None:
    f, args = LOOPS[name]
    with lf.default_dtype("float64"):
        agrees(lambda *xs: lnp.concatenate([lnp.ravel(y) for y in lf.tree.leaves(f(*xs))]), *args,
               order=3)


# ------------------------------------------------------------------ with other transformations

def test_under_other_transformations() -> None:
    x = np.array([0.3, 0.8])
    third = lambda x: lf.jet(lnp.sin, (x,), ([lnp.ones_like(x), 0 * x, 0 * x],))[1][2]
    assert_allclose(third(x), -np.cos(x))
    assert_allclose(lf.jit(third)(x), -np.cos(x))
    assert_allclose(lf.vmap(third)(x), -np.cos(x))
    assert_allclose(lf.grad(lambda x: lnp.sum(third(x)))(x), np.sin(x))
    assert_allclose(lf.jit(lf.grad(lambda x: lnp.sum(lf.vmap(third)(x))))(x), np.sin(x))
    assert_allclose(lf.jvp(third, (x,), (x,))[1], np.sin(x) * x)
    assert_allclose(lf.jet(third, (x,), ([np.ones(2), np.zeros(2)],))[1], [np.sin(x), np.cos(x)])
    per_example = lf.vmap(lf.grad(lambda x: lf.jet(lambda y: lnp.exp(x * y), (x,), ([1.0, 0.0],))[
        1][1]))
    d = lambda x: np.exp(x * x) * (2 * x + 2 * x ** 3)  # of x^2 exp(x y) at y = x
    assert_allclose(per_example(x), d(x))


def test_own_rules_are_looked_into() -> None:
    @lf.custom_jvp
    def f(x: Any) -> Any:
        return lnp.sin(x)

    f.defjvp(lambda p, t: (f(*p), lnp.cos(p[0]) * t[0]))
    for g in (f, lf.jit(f)):
        assert_allclose(lf.jet(g, (0.5,), ([1.0, 0.0],))[1], [math.cos(0.5), -math.sin(0.5)],
                        rtol=1e-6)


def test_trees_weak_types_and_constants() -> None:
    f = lambda p, n: {"y": p["a"] * p["b"] ** 2, "n": n + 1, "c": lnp.ones(2)}
    out, series = lf.jet(f, ({"a": 2.0, "b": np.array([1.0, 3.0])}, 4),
                         ([{"a": 1.0, "b": np.ones(2)}, {"a": 0.0, "b": np.zeros(2)}], [0, 0]))
    assert_allclose(out["y"], [2.0, 18.0])
    assert_allclose(series["y"][0], [5.0, 21.0])
    assert_allclose(series["y"][1], [8.0, 16.0])
    assert [t.tolist() for t in series["c"]] == [[0.0, 0.0]] * 2
    assert int(out["n"]) == 5
    assert lf.jet(lnp.sin, (1.0,), ([],))[1] == []


def test_unscaled_coefficients() -> None:
    x, h = np.array(0.3), [1.0, 0.0, 0.0]
    _, scaled = lf.jet(lnp.exp, (x,), (h,))
    _, plain = lf.jet(lnp.exp, (x,), (h,), factorial_scaled=False)
    assert_allclose([c * math.factorial(k + 1) for k, c in enumerate(plain)], scaled)


# ------------------------------------------------------------------ errors

@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: lf.jet(lnp.sin, (1.0,), ([1.0], [1.0])), ValueError, "1 primals and series for 2"),
    (lambda: lf.jet(lnp.add, (1.0, 1.0), ([1.0], [1.0, 2.0])), ValueError, "as many for each"),
    (lambda: lf.jet(lnp.sin, (np.ones(2),), ([np.ones(3)],)), ValueError, "has shape"),
    (lambda: lf.jet(lambda x: lf.pure_callback(np.sin, x, x), (np.ones(2),), ([np.ones(2)],)),
     lf.MissingRuleError, "pure_callback"),
    (lambda: lf.jet(3.0, (1.0,), ([1.0],)), TypeError, "needs a function"),
])
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("primals", "series"), [(1.0, ([1.0],)), ((1.0,), 1.0), ((1.0,), (1.0,))])
def test_primals_and_series_are_tuples(primals: Any, series: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a tuple, .*jet\(f, \(x,\), \(\[x1, x2\],\)\)"):
        lf.jet(lnp.sin, primals, series)
