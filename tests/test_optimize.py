"""minimize: minima of known functions, what it says where there is none, and derivatives."""

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.scipy.optimize import minimize

METHODS = ["BFGS", "L-BFGS"]


@pytest.fixture(autouse=True)
def _float64():
    with lf.config.override(default_float="float64"):
        yield


def close(a, b, tol=1e-7):
    for x, y in zip(lf.tree.leaves(a), lf.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol)


def rosenbrock(x):
    return lnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def matyas(x):
    return 0.26 * (x[0] ** 2 + x[1] ** 2) - 0.48 * x[0] * x[1]


def eggholder(x):
    return -(x[1] + 47) * lnp.sin(lnp.sqrt(lnp.abs(x[0] / 2 + x[1] + 47))) - x[0] * lnp.sin(
        lnp.sqrt(lnp.abs(x[0] - (x[1] + 47))))


def zakharov(x):
    s = lnp.sum(0.5 * lnp.arange(1.0, x.size + 1) * x)
    return lnp.sum(x ** 2) + s ** 2 + s ** 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("f", "x0"), [
    (rosenbrock, np.zeros(2)), (rosenbrock, np.full(7, -1.2)), (himmelblau, np.ones(2)),
    (matyas, np.ones(2)), (eggholder, np.array([100.0, 100.0])), (zakharov, np.ones(6))],
    ids=lambda v: getattr(v, "__name__", ""))
def test_reaches_a_minimum(f, x0, method):
    found = minimize(f, x0, method=method, tol=1e-7)
    assert bool(found.success) and int(found.status) == 0 and found.message() == "converged"
    gradient, hessian = lf.grad(f)(found.x), lf.hessian(f)(found.x)
    assert np.abs(gradient).max() <= 1e-7 and np.linalg.eigvalsh(hessian).min() > 0
    close(found.jac, gradient, 1e-12)
    close(found.fun, f(found.x), 1e-14)
    assert int(found.nfev) == int(found.njev) > int(found.nit) > 0
    again = lf.jit(lambda x: minimize(f, x, method=method, tol=1e-7))(x0)
    close(again, found, 1e-6)
    if method == "BFGS":
        assert np.linalg.eigvalsh(np.asarray(found.hess_inv)).min() > 0
    else:
        assert found.hess_inv is None


def test_jaxs_name_of_lbfgs():
    name = "l-bfgs-experimental-do-not-rely-on-this"
    assert bool(minimize(rosenbrock, np.zeros(3), method=name).success)


@pytest.mark.parametrize("method", METHODS)
def test_trees_scalars_float32_and_the_start_as_minimum(method):
    f = lambda x, a: (x["u"] - a) ** 2 + lnp.sum((x["v"] - 2) ** 4)
    x0 = {"u": 0.0, "v": lnp.zeros((2, 2))}
    found = minimize(f, x0, (3.0,), method=method)
    close(found.x["u"], 3.0, 1e-4)
    assert found.x["v"].shape == found.jac["v"].shape == (2, 2)
    with lf.config.override(default_float="float32"):
        found = minimize(rosenbrock, lnp.zeros(3, "float32"), method=method, tol=1e-2)
    assert found.x.dtype == np.float32 and bool(found.success)
    found = minimize(lambda x: lnp.sum(x ** 2), lnp.zeros(3), method=method)
    assert bool(found.success) and int(found.nit) == 0 and int(found.nfev) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("f", "options", "status", "message"), [
    (rosenbrock, {"maxiter": 3}, 1, "maxiter steps were taken"),
    (lambda x: lnp.sum(lnp.log(x)), {}, 4, "not finite"),
    (lambda x: lnp.sum(x) - 2 * lf.stop_gradient(lnp.sum(x)), {}, 3, "found no better point"),
])
def test_says_why_it_stopped(f, options, status, message, method):
    found = minimize(f, -lnp.ones(3), method=method, options=options)
    assert not found.success and int(found.status) == status and message in found.message()


def test_options_of_lbfgs():
    found = minimize(rosenbrock, np.zeros(4), method="L-BFGS", options={"maxfun": 5})
    assert int(found.status) == 2 and int(found.nfev) >= 5
    found = minimize(rosenbrock, np.zeros(4), method="L-BFGS", options={"maxgrad": 5, "maxfun": 9})
    assert int(found.status) == 2 and int(found.nfev) < 20
    loose = minimize(rosenbrock, np.zeros(4), method="L-BFGS", options={"ftol": 1e-2})
    assert bool(loose.success) and np.abs(loose.jac).max() > 1e-3
    short = minimize(rosenbrock, np.zeros(4), method="L-BFGS", options={"maxcor": 1})
    assert bool(short.success)


# ------------------------------------------------------------------ derivatives

def tilted(x, a):
    """Not separable, and its minimum in closed form: x = (1 + K)^-1 a."""
    return 0.5 * lnp.sum(x ** 2) + 0.5 * x @ KERNEL @ x - a @ x


KERNEL = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 3.0]])


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_of_the_minimum(method):
    def f(a):
        found = minimize(lambda x: tilted(x, lnp.sin(a)), lnp.zeros(3), method=method, tol=1e-10)
        return (found.x ** 3).sum() + found.fun

    def exact(a):
        b = lnp.sin(a)
        x = lnp.linalg.solve(lnp.eye(3) + KERNEL, b)
        return (x ** 3).sum() - 0.5 * b @ x

    a = lnp.array([0.3, 1.0, -0.5])
    for way in (lambda f: f, lf.grad, lf.jacfwd, lf.hessian, lambda f: lf.jacrev(lf.grad(f)),
                lambda f: lf.jacfwd(lf.jacfwd(f))):
        close(way(f)(a), way(exact)(a))
        close(lf.jit(way(f))(a), way(exact)(a))
    rows = lnp.stack([a, 2 * a, a - 1])
    close(lf.vmap(f)(rows), lf.vmap(exact)(rows))
    close(lf.vmap(lf.grad(f))(rows), lf.vmap(lf.grad(exact))(rows))


def test_derivative_by_args_of_a_nonlinear_problem():
    f = lambda a: minimize(lambda x, a: lnp.sum((x - a) ** 4 + x ** 2) + x[0] * x[1] / 2,
                           lnp.zeros(2), (a,), tol=1e-11).x
    a, h = lnp.array([1.0, 2.0]), 1e-5
    by_hand = np.stack([np.asarray(f(a + h * e) - f(a - h * e)) / (2 * h) for e in np.eye(2)], 1)
    close(lf.jacrev(f)(a), by_hand, 1e-6)
    close(lf.jacfwd(f)(a), lf.jacrev(f)(a), 1e-12)


def test_no_derivative_where_no_minimum_was_found():
    f = lambda a: minimize(lambda x: rosenbrock(x - a), lnp.zeros(2), options={"maxiter": 2}).x[0]
    assert np.isfinite(f(1.0)) and np.isnan(lf.grad(f)(1.0)) and np.isnan(lf.jacfwd(f)(1.0))


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: minimize(rosenbrock, np.zeros(2), method="Newton-CG"), ValueError,
     "minimize at .*: method 'Newton-CG' is not known; there are 'BFGS', 'L-BFGS', 'l-bfgs-exp"),
    (lambda: minimize(rosenbrock, np.zeros(2), options={"eps": 1}), ValueError,
     "BFGS has no option 'eps'; there are gtol, line_search_maxiter, maxiter, norm"),
    (lambda: minimize(lambda x: x, np.zeros(2)), TypeError,
     r"must return one real number, got float64\[2\]"),
    (lambda: minimize(rosenbrock, np.zeros(2, int)), TypeError, "x0 must be real and floating"),
    (lambda: minimize(tilted, np.zeros(3), np.ones(3)), TypeError,
     r"args must be a tuple, got ndarray; write args=\(a,\)"),
    (lambda: minimize(rosenbrock, "x"), TypeError, "x0 is str 'x'"),
    (lambda: minimize(None, np.zeros(2)), TypeError, "minimize"),
])
def test_messages(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
