"""Implicit derivatives, solvers, odeint and minimize beside JAX, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
import lucidfn.ode
import lucidfn.scipy.optimize
import lucidfn.scipy.sparse.linalg

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")
jax_ode = pytest.importorskip("jax.experimental.ode")
jax_sparse = pytest.importorskip("jax.scipy.sparse.linalg")
jax_optimize = pytest.importorskip("jax.scipy.optimize")

RNG = np.random.default_rng(3)
N = 4
A = RNG.normal(size=(N, N)) + 4 * np.eye(N)
S = A @ A.T + np.eye(N)
B = RNG.normal(size=N)
TS = np.array([0.0, 0.3, 1.0, 1.2])


class Side:
    """The names that a program uses, of one of the two libraries."""

    def __init__(self, library: Any, numpy: Any, sparse: Any, odeint: Any, optimize: Any):
        self.lib, self.np, self.lax = library, numpy, library.lax
        self.sparse, self.odeint, self.optimize = sparse, odeint, optimize


OURS = Side(lf, lnp, lucidfn.scipy.sparse.linalg, lucidfn.ode.odeint, lucidfn.scipy.optimize)
THEIRS = Side(jax, jax.numpy, jax_sparse, jax_ode.odeint, jax_optimize)


def forms(side: Side, f: Callable[..., Any], count: int, forward: bool, second: bool) -> list[Any]:
    """Functions of the arguments: f and its gradient, both under vmap, and what else is asked."""
    every, lib = tuple(range(count)), side.lib
    g = lambda *a: f(side, *a)
    loss = lambda *a: sum(side.np.sum(side.np.sin(x)) for x in lib.tree_util.tree_leaves(g(*a)))
    grad = lib.grad(loss, every)
    wide = lambda h: lambda *a: lib.vmap(h)(*(side.np.stack([x, x * 0.9]) for x in a))
    out = [g, grad, wide(g), wide(grad)]
    out += [lib.jacfwd(loss, every)] if forward else []
    out += [lib.jit(lib.jacrev(grad, every))] if second else []
    return out + ([lib.jit(lib.hessian(loss, every))] if forward and second else [])


def compare(f: Callable[..., Any], *args: np.ndarray, tol: float = 1e-9, forward: bool = True,
            second: bool = True) -> None:
    """f(side, *args): value, derivatives in each mode, second order, jit and vmap."""
    with jax.enable_x64(True), lf.config.override(default_float="float64", default_int="int64"):
        ours, theirs = (forms(side, f, len(args), forward, second) for side in (OURS, THEIRS))
        # One program for all of JAX's: to compile it is what takes the time here.
        want = jax.jit(lambda *a: [h(*a) for h in theirs])(*map(jax.numpy.asarray, args))
        a = list(map(lnp.asarray, args))
        got = [h(*a) for h in ours] + [lf.jit(h)(*a) for h in ours[:2]]
        got, want = lf.tree.leaves(got), jax.tree.leaves(want + want[:2])
        for mine, other in zip(map(np.asarray, got), map(np.asarray, want), strict=True):
            assert mine.dtype == other.dtype and mine.shape == other.shape
            np.testing.assert_allclose(mine, other, rtol=tol, atol=tol)


# ------------------------------------------------------------------ custom_root

def newton(s: Side) -> Callable[..., Any]:
    return lambda f, x: s.lax.fori_loop(0, 20, lambda i, x: x - f(x) / s.lib.grad(f)(x), x)


def scalar_root(s: Side, a: Any, b: Any) -> Any:
    return s.lax.custom_root(lambda x: x ** 3 + s.np.exp(b) * x - a, s.np.ones(()), newton(s),
                             lambda g, y: y / g(1.0))


def dense_root(s: Side, a: Any) -> Any:
    def solve(f: Any, x: Any) -> Any:
        return s.lax.fori_loop(
            0, 20, lambda i, x: x - s.np.linalg.solve(s.lib.jacobian(f)(x), f(x)), x)

    return s.lax.custom_root(
        lambda x: S @ x + x ** 3 - a, s.np.zeros(N), solve,
        lambda g, y: s.np.linalg.solve(s.lib.jacobian(g)(y), y))


def tree_root_with_aux(s: Side, a: Any) -> Any:
    def solve(f: Any, x: Any) -> Any:
        r = f(x)
        return {k: x[k] - r[k] / 2 for k in x}, s.np.sum(a)

    zero = {"u": s.np.zeros(()), "v": s.np.zeros(N)}
    return s.lax.custom_root(lambda x: {"u": 2 * x["u"] - a[0] ** 2, "v": 2 * x["v"] - a}, zero,
                             solve, lambda g, y: {k: y[k] / 2 for k in y}, has_aux=True)


@pytest.mark.parametrize("f", [dense_root, tree_root_with_aux])
def test_custom_root(f: Callable[..., Any]) -> None:
    compare(f, B)


def test_custom_root_of_a_scalar() -> None:
    compare(scalar_root, np.array(2.0), np.array(0.3))


# ------------------------------------------------------------------ custom_linear_solve

def linear(s: Side, a: Any, b: Any) -> Any:
    dense = lambda mv, b: s.np.linalg.solve(s.lib.jacobian(mv)(b), b)
    return s.lax.custom_linear_solve(lambda x: a @ x, b, dense, dense)


def symmetric(s: Side, b: Any) -> Any:
    dense = lambda mv, b: s.np.linalg.solve(s.lib.jacobian(mv)(b), b)
    return s.lax.custom_linear_solve(lambda x: s.np.sum(b ** 2) * (S @ x), b, dense,
                                     symmetric=True)


def linear_with_aux(s: Side, b: Any) -> Any:
    solve = lambda mv, b: (s.np.linalg.solve(s.lib.jacobian(mv)(b), b), {"first": b[0]})
    return s.lax.custom_linear_solve(lambda x: A @ x, b, solve, solve, has_aux=True)


def test_custom_linear_solve() -> None:
    compare(linear, A, B)


@pytest.mark.parametrize("f", [symmetric, linear_with_aux])
def test_custom_linear_solve_of_vectors(f: Callable[..., Any]) -> None:
    # JAX's jacfwd refuses aux, which its rule batches along with the tangents.
    compare(f, B, forward=f is symmetric)


# ------------------------------------------------------------------ sparse.linalg

@pytest.mark.parametrize("name", ["cg", "gmres", "bicgstab"])
def test_solvers(name: str) -> None:
    a = S if name == "cg" else A

    def of_trees(s: Side, b: Any) -> Any:
        apply = lambda x: {"u": s.np.asarray(a) @ x["u"]}
        return getattr(s.sparse, name)(apply, {"u": b}, tol=1e-13)[0]

    def scaled(s: Side, k: Any, b: Any) -> Any:
        return getattr(s.sparse, name)(k * s.np.asarray(a), b, tol=1e-13,
                                       M=lambda x: x / s.np.diag(s.np.asarray(a)))[0]

    value_and_grads(of_trees, B)
    value_and_grads(scaled, np.array(1.3), B)


def value_and_grads(f: Callable[..., Any], *args: np.ndarray) -> None:
    """The value, and the gradient jitted."""
    def results(side: Side) -> list[Any]:
        a = [side.np.asarray(x) for x in args]
        every = tuple(range(len(a)))
        loss = lambda *a: sum(side.np.sum(side.np.sin(x))
                              for x in side.lib.tree_util.tree_leaves(f(side, *a)))
        grad = side.lib.jit(side.lib.grad(loss, every))
        out = [f(side, *a), grad(*a)]
        return [np.asarray(x) for x in side.lib.tree_util.tree_leaves(out)]

    with jax.enable_x64(True), lf.config.override(default_float="float64"):
        for ours, theirs in zip(results(OURS), results(THEIRS), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------ odeint

def pendulum(s: Side, y0: Any, ts: Any, k: Any) -> Any:
    def f(y: Any, t: Any, k: Any) -> Any:
        return {"at": y["by"], "by": -k * s.np.sin(y["at"]) + 0.1 * s.np.cos(t)}

    y0 = {"at": y0[0], "by": y0[1]}
    return s.odeint(f, y0, ts, k, rtol=1e-11, atol=1e-11)


def test_odeint() -> None:
    compare(pendulum, np.array([0.4, -0.2]), TS, np.array(2.0), tol=1e-7, forward=False,
            second=False)


def test_second_order_through_odeint() -> None:
    f = lambda s, k: pendulum(s, s.np.array([0.4, -0.2]), s.np.asarray(TS), k)["at"]
    compare(f, np.array(2.0), tol=1e-7, forward=False)


@pytest.mark.parametrize("how", [{"gradient": "direct"}, {"method": "rk4", "hmax": 0.005}], ids=str)
def test_other_ways_have_the_same_gradient(how: dict[str, Any]) -> None:
    with jax.enable_x64(True), lf.config.override(default_float="float64"):
        theirs = jax.grad(lambda k: jax.numpy.sum(pendulum(
            THEIRS, jax.numpy.array([0.4, -0.2]), jax.numpy.asarray(TS), k)["at"]))(2.0)
        side = Side(lf, lnp, None, lambda *a, **kw: lucidfn.ode.odeint(*a, **kw, **how), None)
        ours = lf.grad(lambda k: lnp.sum(pendulum(
            side, lnp.array([0.4, -0.2]), lnp.asarray(TS), k)["at"]))(2.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


# ------------------------------------------------------------------ minimize

def rosenbrock(s: Side, x: Any) -> Any:
    return s.np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(s: Side, x: Any) -> Any:
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


MINIMA = {rosenbrock: [1.0, 1.0], himmelblau: [3.0, 2.0]}


@pytest.mark.parametrize("method", ["BFGS", "l-bfgs-experimental-do-not-rely-on-this"])
@pytest.mark.parametrize("f", [rosenbrock, himmelblau])
def test_minimize(f: Callable[..., Any], method: str) -> None:
    with jax.enable_x64(True), lf.config.override(default_float="float64"):
        ours, theirs = [s.optimize.minimize(lambda x, s=s: f(s, x), s.np.array([2.0, 1.0]),
                                            method=method, options={"gtol": 1e-8})
                        for s in (OURS, THEIRS)]
    assert set(theirs._fields) <= set(ours._fields)
    assert bool(ours.success)
    np.testing.assert_allclose(ours.x, MINIMA[f], rtol=1e-7)
    # JAX's L-BFGS does not find its way through Rosenbrock's valley: its line search gives up.
    if f is himmelblau or method == "BFGS":
        assert bool(theirs.success)
        np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-7)
        np.testing.assert_allclose(ours.fun, theirs.fun, atol=1e-12)
        assert int(ours.nfev) <= 2 * int(theirs.nfev)
