"""odeint: values beside closed forms and SciPy, both gradients in every transformation."""

import warnings

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.errors import MissingRuleError
from lucidfn.ode import odeint
from lucidfn.ode.steps import DENSE, ERROR, NODES, STAGES

scipy_integrate = pytest.importorskip("scipy.integrate")
TIGHT = {"rtol": 1e-11, "atol": 1e-11}
TS = np.array([0.0, 0.4, 0.7, 1.5])


@pytest.fixture(autouse=True)
def _float64():
    with lf.config.override(default_float="float64"):
        yield


def close(a, b, tol=1e-8):
    for x, y in zip(lf.tree.leaves(a), lf.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol)


def test_tableau_is_dormand_and_princes():
    theirs = scipy_integrate.RK45
    np.testing.assert_array_equal(DENSE, theirs.P)
    np.testing.assert_allclose(ERROR, -theirs.E, atol=1e-16)
    np.testing.assert_array_equal(STAGES[-1], theirs.B)
    for ours, row, node in zip(STAGES, theirs.A[1:], theirs.C[1:], strict=False):
        np.testing.assert_array_equal(ours, row[:len(ours)])
        np.testing.assert_allclose(sum(ours), node)
    np.testing.assert_array_equal(NODES[:5], theirs.C[1:])


def lotka_volterra(y, t, p):
    rabbits, foxes = y["rabbits"], y["foxes"]
    return {"rabbits": rabbits * (p[0] - p[1] * foxes), "foxes": foxes * (p[2] * rabbits - p[3])}


Y0 = {"rabbits": np.array(1.0), "foxes": np.array(1.5)}
P = np.array([1.5, 1.0, 1.2, 3.0])


def test_values_are_scipys():
    out = odeint(lotka_volterra, Y0, np.linspace(0, 8, 33), P, **TIGHT)
    def f(t, y):
        return [y[0] * (P[0] - P[1] * y[1]), y[1] * (P[2] * y[0] - P[3])]
    found = scipy_integrate.solve_ivp(f, (0, 8), [1.0, 1.5], "DOP853", np.linspace(0, 8, 33),
                                      rtol=1e-12, atol=1e-12)
    close([out["foxes"], out["rabbits"]], [found.y[1], found.y[0]], 1e-7)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_dense_output_is_within_tolerance(rtol):
    ts = np.linspace(0, 5, 101)  # many of them within one step
    ys = odeint(lambda y, t: -y + lnp.sin(t), 0.0, ts, rtol=rtol, atol=rtol)
    exact = (np.sin(ts) - np.cos(ts) + np.exp(-ts)) / 2
    assert np.abs(np.asarray(ys) - exact).max() < 20 * rtol


def test_rk4_is_of_order_4():
    def error(h):
        ys = odeint(lambda y, t: -y + lnp.sin(t), 0.0, np.array([0.0, 1.0, 2.0]), method="rk4",
                    hmax=h)
        return abs(float(ys[2]) - (np.sin(2) - np.cos(2) + np.exp(-2)) / 2)
    assert 13 < error(0.1) / error(0.05) < 19
    step = odeint(lambda y, t: y, 1.0, np.array([0.0, 1.0]), method="rk4")[1]
    close(step, 1 + 1 + 1 / 2 + 1 / 6 + 1 / 24)


def test_trees_dtypes_and_one_time():
    y0 = {"a": lnp.ones((2, 3), "float32"), "b": lnp.ones((), "float64"), "n": None}
    f = lambda y, t: {"a": -y["a"], "b": y["b"], "n": None}
    out = odeint(f, y0, TS)
    assert out["a"].shape == (4, 2, 3) and out["a"].dtype == np.float32
    close(out["b"], np.exp(TS))
    assert odeint(f, y0, TS[:1])["a"].shape == (1, 2, 3)
    out = odeint(lambda y, t: 2j * y, 1.0 + 0j, TS, **TIGHT)
    close(out, np.exp(2j * TS))
    assert odeint(lambda y, t: y, np.ones((0,)), TS).shape == (4, 0)
    close(odeint(lambda y, t: -y, 1.0, np.array([0, 1])), np.exp([0, -1.0]), 1e-6)


# ------------------------------------------------------------------ derivatives

def growth(y0, ts, k, **how):
    """y' = k y cos t: y0 exp(k (sin t - sin t0))."""
    ys = odeint(lambda y, t, k: k * y * lnp.cos(t), y0, ts, k, **TIGHT, **how)
    return (ys * lnp.arange(1.0, 5.0)).sum() + ys[-1] ** 2


def growth_exact(y0, ts, k):
    ys = y0 * lnp.exp(k * (lnp.sin(ts) - lnp.sin(ts[0])))
    return (ys * lnp.arange(1.0, 5.0)).sum() + ys[-1] ** 2


ARGS = (np.array(1.3), TS, np.array(0.8))
ALL = (0, 1, 2)
TOL = 1e-7  # by time, "direct" has the slope of the dense output, one order less exact
HOW = [{"gradient": "adjoint"}, {"gradient": "direct"},
       {"gradient": "direct", "method": "rk4", "hmax": 0.002}]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_reverse_mode(how):
    f = lambda *args: growth(*args, **how)
    args = [lnp.asarray(x) for x in ARGS]
    expected = lf.grad(growth_exact, ALL)(*args)
    close(lf.grad(f, ALL)(*args), expected, TOL)
    close(lf.jit(lf.grad(f, ALL))(*args), expected, TOL)
    rows = [lnp.stack([x, 0.5 * x]) for x in args]
    close(lf.vmap(lf.grad(f, ALL))(*rows), lf.vmap(lf.grad(growth_exact, ALL))(*rows), TOL)


@pytest.mark.parametrize("how", HOW, ids=str)
def test_second_order(how):
    f = lambda y0, k: growth(y0, lnp.asarray(TS), k, **how)
    exact = lambda y0, k: growth_exact(y0, lnp.asarray(TS), k)
    args = [lnp.asarray(ARGS[0]), lnp.asarray(ARGS[2])]
    expected = lf.hessian(exact, (0, 1))(*args)
    close(lf.jit(lf.jacrev(lf.grad(f, (0, 1)), (0, 1)))(*args), expected, 1e-7)
    if how["gradient"] == "direct":
        close(lf.hessian(f, (0, 1))(*args), expected, 1e-7)
        close(lf.jacfwd(lf.jacfwd(f, (0, 1)), (0, 1))(*args), expected, 1e-7)


@pytest.mark.parametrize("how", HOW[1:], ids=str)
def test_forward_mode(how):
    f = lambda *args: growth(*args, **how)
    args = [lnp.asarray(x) for x in ARGS]
    expected = lf.jacfwd(growth_exact, ALL)(*args)
    close(lf.jacfwd(f, ALL)(*args), expected, TOL)
    close(lf.jit(lf.jacfwd(f, ALL))(*args), expected, TOL)


def test_forward_mode_of_the_adjoint_names_the_other():
    with pytest.raises(MissingRuleError, match="gradient='direct' has forward mode"):
        lf.jvp(lambda k: growth(1.0, TS, k), (0.8,), (1.0,))


@pytest.mark.parametrize("gradient", ["adjoint", "direct"])
def test_what_func_closes_over_is_differentiated(gradient):
    def f(w, n):
        g = lambda y, t: {"h": lnp.tanh(w @ y["h"]) * (n > 1)}
        return odeint(g, {"h": lnp.ones(3)}, TS, gradient=gradient, **TIGHT)["h"][-1].sum()

    w = lnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    found = lf.grad(f)(w, 2)
    for i in range(3):
        step = np.zeros((3, 3))
        step[i, 2 - i] = 1e-5
        by_hand = (f(w + step, 2) - f(w - step, 2)) / 2e-5
        close(found[i, 2 - i], by_hand, 1e-7)


def test_integer_args_and_tree_args():
    f = lambda p: odeint(lambda y, t, p: -p["k"] * y * p["n"], 1.0, TS, p, **TIGHT)[-1]
    found = lf.grad(f, allow_int=True)({"k": lnp.asarray(0.5), "n": lnp.asarray(2)})
    close(found["k"], -2 * 1.5 * np.exp(-1.5))


def test_rows_step_by_themselves():
    k = lnp.array([0.1, 1.0, 100.0])
    f = lambda k: odeint(lambda y, t: -k * y, 1.0, TS, **TIGHT)
    close(lf.vmap(f)(k), np.exp(-np.asarray(k)[:, None] * TS))
    close(lf.jit(lf.vmap(f))(k), np.exp(-np.asarray(k)[:, None] * TS))


def test_adjoint_keeps_no_steps():
    def kept(gradient, rtol):
        f = lambda k: odeint(lambda y, t: -k * y, 1.0, TS, gradient=gradient, rtol=rtol,
                             atol=rtol).sum()
        return str(lf.make_ir(lf.grad(f))(0.5)).count("[?")
    assert kept("adjoint", 1e-6) == 0 < kept("direct", 1e-6)


# ------------------------------------------------------------------ failures

@pytest.mark.parametrize(("f", "options", "reason"), [
    (lambda y, t: y * y, {}, "steps became too small"),
    (lambda y, t: -1e4 * y, {"mxstep": 5}, "more than mxstep=5"),
    (lambda y, t: y * float("nan"), {}, "steps became too small"),
    (lambda y, t: y * float("nan"), {"method": "rk4"}, "not finite"),
])
def test_no_solution_is_nan_with_a_warning(f, options, reason):
    ts = np.array([0.0, 0.5, 1.5, 2.0])
    with pytest.warns(RuntimeWarning, match=f"odeint at .*no solution between.*{reason}"):
        ys = odeint(f, 1.0, ts, **options)
    assert ys[0] == 1.0 and np.all(np.isnan(ys[2:]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(lf.jit(lambda ts: odeint(f, 1.0, ts, **options))(ts), ys)


def test_traced_times_that_do_not_increase_are_nan():
    ys = lf.jit(lambda ts: odeint(lambda y, t: y, 1.0, ts))(np.array([0.0, 1.0, 1.0, 2.0]))
    assert np.isfinite(ys[:2]).all() and np.isnan(ys[2:]).all()


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: odeint(lotka_volterra, Y0, [0.0, 1.0, 0.5], P), ValueError,
     r"odeint at .*: t must increase, but t\[1\] = 1.0 and t\[2\] = 0.5; to go back in time"),
    (lambda: odeint(lotka_volterra, Y0, 1.0, P), ValueError, r"t must be a vector of times"),
    (lambda: odeint(lotka_volterra, Y0, [0j, 1.0], P), TypeError, "t must be real"),
    (lambda: odeint(lotka_volterra, Y0, TS, P, method="euler"), ValueError,
     "method 'euler' is not known; there are 'dopri5', 'rk4'"),
    (lambda: odeint(lotka_volterra, Y0, TS, P, gradient="forward"), ValueError,
     "gradient 'forward' is not known; there are 'adjoint', 'direct'"),
    (lambda: odeint(lotka_volterra, Y0, TS, "P"), TypeError, r"args\[0\] is str 'P'"),
    (lambda: odeint(lambda y, t: y, 1, TS), TypeError, "y0 is int.*convert it"),
    (lambda: odeint(lambda y, t: y["u"], {"u": 1.0}, TS), TypeError,
     "func .* must return the structure of y0: trees differ at the root"),
    (lambda: odeint(lambda y, t: {"u": lnp.ones(2)}, {"u": 1.0}, TS), TypeError,
     r"must return the types of y0; it changes\n  y0\['u'\]  float64\[\] -> float64\[2\]"),
    (lambda: odeint(1.0, 1.0, TS), TypeError, "odeint"),
])
def test_messages(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
