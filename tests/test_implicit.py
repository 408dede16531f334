"""Equations differentiated implicitly: custom_root, custom_linear_solve, solvers, fixed points."""

import warnings

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax
from lucidfn.errors import MissingRuleError
from lucidfn.scipy.sparse.linalg import bicgstab, cg, gmres

RNG = np.random.default_rng(0)
N = 6
A = RNG.normal(size=(N, N)) + 5 * np.eye(N)
S = A @ A.T + np.eye(N)
B = RNG.normal(size=N)
SOLVERS = {"cg": (cg, S), "gmres": (gmres, A), "bicgstab": (bicgstab, A)}


@pytest.fixture(autouse=True)
def _float64():
    with lf.config.override(default_float="float64"):
        yield


def close(a, b, tol=1e-9):
    for x, y in zip(lf.tree.leaves(a), lf.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol)


def everything(f, g, *args, tol=1e-9):
    """f equals g: values, both modes, second order in each combination, jit and vmap."""
    every = tuple(range(len(args)))
    args = [lnp.asarray(a) for a in args]
    rows = [lnp.stack([a, a * 1.25, a * 0.9]) for a in args]
    for way in (lambda f: f, lambda f: lf.grad(f, every), lambda f: lf.jacfwd(f, every),
                lambda f: lf.hessian(f, every), lambda f: lf.jacrev(lf.grad(f, every), every),
                lambda f: lf.jacfwd(lf.jacfwd(f, every), every)):
        expected = way(g)(*args)
        close(way(f)(*args), expected, tol)
        close(lf.jit(way(f))(*args), expected, tol)
    close(lf.vmap(f)(*rows), lf.vmap(g)(*rows), tol)
    close(lf.vmap(lf.grad(f, every))(*rows), lf.vmap(lf.grad(g, every))(*rows), tol)


# ------------------------------------------------------------------ custom_root

def newton(f, x):
    return lax.while_loop(lambda x: lnp.abs(f(x)) > 1e-13, lambda x: x - f(x) / lf.grad(f)(x), x)


def scalar_tangent(g, y):
    return y / g(1.0)


def cube_root(a):
    return lax.custom_root(lambda x: x ** 3 - a, lnp.ones(()), newton, scalar_tangent)


def test_root_of_a_scalar():
    everything(cube_root, lnp.cbrt, 2.7)


def test_root_of_a_tree():
    def solve(f, x):
        for _ in range(30):
            r = f(x)
            x = {"u": x["u"] - r["u"] / 2, "v": x["v"] - r["v"] / 2}
        return x

    def tangent(g, y):  # the derivative is 2 on each leaf
        return lf.tree.map(lambda t: t / 2, y)

    def f(a, b):
        x = lax.custom_root(lambda x: {"u": 2 * x["u"] - a ** 2, "v": 2 * x["v"] - lnp.sin(b)},
                            {"u": lnp.zeros(()), "v": lnp.zeros(2)}, solve, tangent)
        return x["u"] * x["v"].sum()

    everything(f, lambda a, b: a ** 2 / 2 * (lnp.sin(b) / 2).sum(), 1.3, np.array([0.3, 0.7]))


def test_root_with_a_dense_tangent_and_what_it_closes_over():
    def f(w):
        k = w.sum()
        tangent = lambda g, y: lnp.linalg.solve(lf.jacobian(g)(y), y)
        step = lambda f, x: lax.fori_loop(
            0, 60, lambda i, x: x - lnp.linalg.solve(lf.jacobian(f)(x), f(x)), x)
        return lax.custom_root(lambda x: k * x + x ** 3 - w, lnp.zeros(2), step, tangent).sum()

    def unrolled(w):
        k, x = w.sum(), lnp.zeros(2)
        for _ in range(60):
            x = x - (k * x + x ** 3 - w) / (k + 3 * x ** 2)
        return x.sum()

    everything(f, unrolled, np.array([1.0, 2.0]))


def test_root_aux_has_no_derivative():
    def f(a):
        return lax.custom_root(lambda x: x * x - a, lnp.ones(()),
                               lambda f, x: (newton(f, x), {"twice": 2 * a}), scalar_tangent,
                               has_aux=True)
    x, aux = f(4.0)
    close([float(x), float(aux["twice"])], [2.0, 8.0])
    assert float(lf.grad(lambda a: f(a)[1]["twice"])(4.0)) == 0.0
    close(lf.grad(lambda a: f(a)[0])(4.0), 0.25)


def test_root_of_roots():
    close(lf.grad(lambda a: cube_root(cube_root(a) * a))(2.0), 4 / 9 * 2.0 ** (-5 / 9))


def test_root_in_a_loop():
    def f(a):
        return lax.scan(lambda c, _: (cube_root(c) + 0.1 * a, c), a, None, length=3)[0]

    def g(a):
        c = a
        for _ in range(3):
            c = lnp.cbrt(c) + 0.1 * a
        return c

    everything(f, g, 1.7)


def test_root_runs_the_solver_only_once_forward():
    program = lf.make_ir(lf.grad(cube_root))(2.0)
    assert str(program).count("= root[") == 1


# ------------------------------------------------------------------ custom_linear_solve

def dense(matvec, b):
    return lnp.linalg.solve(lf.jacobian(matvec)(b), b)


def linear(a, b, **how):
    return lax.custom_linear_solve(lambda x: lnp.dot(a, x), b, dense, **how)


def loss(x):
    return (x ** 3).sum() + x[0] * x[1]


def reference(a, b):
    return loss(lnp.linalg.solve(a, b))


def test_linear_solve():
    everything(lambda a, b: loss(linear(a, b, transpose_solve=dense)), reference, A, B)


def test_symmetric_linear_solve():
    everything(lambda b: loss(linear(lnp.asarray(S), b, symmetric=True)),
               lambda b: reference(lnp.asarray(S), b), B)


def test_linear_solve_of_a_tree_with_aux():
    def f(a, b):
        x, aux = lax.custom_linear_solve(
            lambda x: {"u": a * x["u"], "v": a * x["v"] + x["u"].sum()}, {"u": b, "v": b.sum()},
            lambda mv, b: ({"u": b["u"] / a, "v": (b["v"] - (b["u"] / a).sum()) / a}, a + 1),
            lambda mv, b: ({"u": (b["u"] - b["v"] / a) / a, "v": b["v"] / a}, a),
            has_aux=True)
        return x["u"].sum() * x["v"] + aux

    def g(a, b):
        u = b / a
        return u.sum() * (b.sum() - u.sum()) / a + lf.stop_gradient(a) + 1

    everything(f, g, 1.7, np.array([1.0, 2.0]))


def test_reverse_mode_needs_the_transpose():
    f = lambda b: linear(lnp.asarray(A), b).sum()
    close(lf.jacfwd(f)(lnp.asarray(B)), np.linalg.solve(A.T, np.ones(N)))
    with pytest.raises(MissingRuleError, match="give transpose_solve=, or symmetric=True"):
        lf.grad(f)(lnp.asarray(B))


# ------------------------------------------------------------------ solvers

@pytest.mark.parametrize("name", SOLVERS)
def test_solver_derivatives(name):
    solver, a = SOLVERS[name]
    if name == "cg":  # only symmetric changes of the matrix
        f = lambda s, b: loss(solver(lnp.asarray(a) + s * lnp.eye(N), b, tol=1e-14)[0])
        g = lambda s, b: reference(lnp.asarray(a) + s * lnp.eye(N), b)
        everything(f, g, 0.5, B)
    else:
        everything(lambda a, b: loss(solver(a, b, tol=1e-14)[0]), reference, a, B)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_says_whether_it_converged(name):
    solver, a = SOLVERS[name]
    x, info = solver(a, B, tol=1e-10)
    assert int(info) == 0
    close(a @ np.asarray(x), B, 1e-8)
    options = {"restart": 2} if name == "gmres" else {}
    assert int(solver(a, B, tol=1e-10, maxiter=1, **options)[1]) == 1
    assert int(solver(a, np.full(N, np.nan))[1]) > 0
    x, info = solver(a, np.zeros(N), x0=B)
    assert int(info) == 0 and not np.any(x)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_takes_trees_functions_and_a_preconditioner(name):
    solver, a = SOLVERS[name]
    a = lnp.asarray(a)

    def apply(x):
        y = a @ lnp.concatenate([x["u"], x["v"].reshape(-1)])
        return {"u": y[:2], "v": y[2:].reshape(2, 2)}

    def scaled(x):
        return {"u": x["u"] / lnp.diag(a)[:2], "v": x["v"] / lnp.diag(a)[2:].reshape(2, 2)}

    b = {"u": lnp.asarray(B[:2]), "v": lnp.asarray(B[2:]).reshape(2, 2)}
    for how in ({}, {"M": scaled}, {"x0": scaled(b), "M": scaled}):
        x, info = solver(apply, b, tol=1e-12, **how)
        assert int(info) == 0
        close(np.concatenate([x["u"], np.ravel(x["v"])]), np.linalg.solve(a, B))
    close(solver(a, B, tol=1e-12, M=np.diag(1 / np.diag(a)))[0], np.linalg.solve(a, B))


@pytest.mark.numpy_only("computes in complex128, which MLX lacks")
@pytest.mark.parametrize("name", SOLVERS)
def test_solver_of_complex_numbers(name):
    solver, a = SOLVERS[name]
    a = a + (0 if name == "cg" else 1j) * RNG.normal(size=(N, N))
    if name == "cg":
        skew = RNG.normal(size=(N, N))
        a = a + 0.1j * (skew - skew.T)
    b = B + 1j * B[::-1]
    x, info = solver(a, b, tol=1e-12)
    assert int(info) == 0
    close(x, np.linalg.solve(a, b))
    f = lambda b: (solver(a, b, tol=1e-13)[0] ** 2).sum().real
    g = lambda b: (lnp.linalg.solve(lnp.asarray(a), b) ** 2).sum().real
    close(lf.grad(f)(lnp.asarray(b)), lf.grad(g)(lnp.asarray(b)))


def test_gmres_restarts_and_ends_on_a_breakdown():
    x, info = gmres(A, B, tol=1e-12, restart=2, maxiter=200)
    assert int(info) == 0
    close(x, np.linalg.solve(A, B))
    x, info = gmres(np.eye(N), B)  # the first vector is already enough
    assert int(info) == 0
    close(x, B)
    x, info = gmres(np.ones((2, 2)), np.array([1.0, 2.0]))
    assert int(info) > 0 and np.all(np.isfinite(x))


def test_solver_rows_stop_by_themselves():
    bs = lnp.stack([lnp.asarray(B), lnp.zeros(N), 1e3 * lnp.asarray(B)])
    xs, infos = lf.vmap(lambda b: cg(S, b, tol=1e-12))(bs)
    close(xs, np.linalg.solve(S, np.asarray(bs).T).T)
    assert not np.any(infos)


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: cg(lambda x: {"w": x["u"]}, {"u": lnp.ones(2)}), TypeError,
     r"(?s)cg at .*A .* must return the structure of b: .*\['w'\]: missing in b"),
    (lambda: gmres(lambda x: {"u": x["u"][:1]}, {"u": lnp.ones(2)}), TypeError,
     r"(?s)must return the types of b; it changes\n  b\['u'\]  float64\[2\] -> float64\[1\]"),
    (lambda: cg(np.ones((2, 3)), B), ValueError, r"A must be a square matrix, got float64\[2,3\]"),
    (lambda: cg(np.eye(2), B), ValueError, r"so that b must be an array of 2 elements"),
    (lambda: cg("A", B), TypeError, "A must be a matrix or a function, got str 'A'"),
    (lambda: cg(A, B, x0=B[:2]), ValueError, "x0 must have the structure and shapes of b"),
    (lambda: gmres(A, B, solve_method="householder"), ValueError, "there are 'batched'"),
    (lambda: gmres(A, B, restart=0), ValueError, "restart must be a positive integer, got 0"),
    (lambda: cg(A, {}), ValueError, "b has no arrays"),
    (lambda: lax.custom_root(lambda x: (x,), 1.0, newton, scalar_tangent), TypeError,
     "custom_root at .*: f .* must return the structure of initial_guess"),
    (lambda: lax.custom_root(lambda x: x, {"a": 1.0}, lambda f, x: {"a": lnp.ones(2)}, None),
     TypeError, "custom_root"),
    (lambda: lax.custom_root(lambda x: x, {"a": 1.0}, lambda f, x: {"a": lnp.ones(2)},
                             scalar_tangent), TypeError,
     r"solve .* must return the types of initial_guess; it changes\n"
     r"  initial_guess\['a'\]  float64\[\] -> float64\[2\]"),
    (lambda: lax.custom_root(lambda x: x, 1, newton, scalar_tangent), TypeError,
     "initial_guess is int.*solutions are floating point"),
    (lambda: lax.custom_root(lambda x: x, 1.0, lambda f, x: x, lambda g, y: lnp.ones(3)),
     TypeError, r"tangent_solve .* must return the types"),
    (lambda: lax.custom_linear_solve(lambda x: x[:1], B, dense), TypeError,
     r"matvec .* must return the types of b; it changes\n  b  float64\[6\] -> float64\[1\]"),
    (lambda: lax.custom_linear_solve(lambda x: x, B, lambda mv, b: b, has_aux=True), TypeError,
     r"with has_aux=True solve .* must return a pair \(x, aux\)"),
    (lambda: lf.fixed_point(lambda x: (x, x), 1.0), TypeError, "must return the structure of x0"),
    (lambda: lf.fixed_point(lambda x: lnp.ones(2), {"a": 1.0}["a"]), TypeError,
     r"x0  float64\[\] -> float64\[2\]"),
    (lambda: lf.fixed_point(lambda x: x, 1), TypeError, "x0 must be floating point"),
])
def test_messages(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# ------------------------------------------------------------------ fixed_point

W = RNG.normal(size=(4, 4)) * 0.3


def deep(w, x):
    return lf.fixed_point(lambda z, w: {"z": lnp.tanh(w @ z["z"] + x)}, {"z": lnp.zeros(4)},
                          w)["z"] ** 2


def deep_unrolled(w, x):
    z = lnp.zeros(4)
    for _ in range(120):
        z = lnp.tanh(w @ z + x)
    return z ** 2


def test_fixed_point_of_args_and_closures():
    everything(lambda w, x: deep(w, x).sum(), lambda w, x: deep_unrolled(w, x).sum(), W,
               np.array([0.1, 0.5, -0.3, 1.0]))


def test_fixed_point_of_a_scalar():
    everything(lambda a: lf.fixed_point(lambda x: 0.5 * (x + a / x), 1.0), lnp.sqrt, 3.0)


def test_fixed_point_keeps_nothing_of_the_iteration():
    loss = lambda w, n: lf.fixed_point(lambda z: lnp.tanh(w @ z + 1), lnp.zeros(4),
                                       maxiter=n).sum()
    sizes = [sum(r.type.size for r in lf.saved_residuals(lambda w, n=n: loss(w, n), W))
             for n in (100, 1000)]
    assert sizes[0] == sizes[1]


def test_fixed_point_that_does_not_converge_is_nan_with_a_warning():
    with pytest.warns(RuntimeWarning, match="no convergence in 7 steps.*Raise maxiter="):
        x = lf.fixed_point(lambda x: 2 * x + 1, 1.0, maxiter=7)
    assert np.isnan(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, info = lf.fixed_point(lambda x: 2 * x + 1, 1.0, maxiter=7, full_output=True)
        assert np.isnan(lf.jit(lambda x: lf.fixed_point(lambda x: 2 * x + 1, x, maxiter=7))(1.0))
    assert (float(x), bool(info.converged), int(info.steps)) == (255.0, False, 7)


def test_fixed_point_rows():
    rows = lf.vmap(lambda a: lf.fixed_point(lambda x: 0.5 * (x + a / x), 1.0))
    close(rows(lnp.array([1.0, 4.0, 1e4])), np.array([1.0, 2.0, 100.0]))
