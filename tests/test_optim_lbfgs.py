"""L-BFGS and its line search, beside the dense method, SciPy and optax."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim
from lucidfn.optim.quasi_newton import LinesearchState


def rosenbrock(x: Any) -> Any:
    return lnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def quadratic(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Callable[[Any], Any]]:
    """A, b and x -> x A x / 2 - b x, with condition number 100."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    a, b = q * np.geomspace(1, 100, n) @ q.T, rng.standard_normal(n)
    return a, b, lambda x: 0.5 * lnp.dot(x, lnp.asarray(a) @ x) - lnp.dot(lnp.asarray(b), x)


def minimised(f: Callable[[Any], Any], x: Any, steps: int, jit: bool = False,
              tx: Any = None) -> tuple[Any, list[LinesearchState]]:
    tx = optim.lbfgs() if tx is None else tx
    state, searches = tx.init(x), []

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        value, grad = optim.value_and_grad_from_state(f)(x, state=state)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=f)
        return optim.apply_updates(x, updates), state

    step = lf.jit(step) if jit else step
    for _ in range(steps):
        x, state = step(x, state)
        searches.append(state[-1])
    return x, searches


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-3), ("float64", 1e-8)])
def test_reaches_rosenbrocks_optimum_within_50_iterations(dtype: str, tolerance: float,
                                                          jit: bool) -> None:
    x, searches = minimised(rosenbrock, lnp.asarray([-1.2, 1.0], dtype), 45, jit)
    np.testing.assert_allclose(x, 1.0, atol=tolerance)
    assert sum(int(s.evaluations) for s in searches) < 90


@pytest.mark.parametrize("n", [5, 20])
def test_rosenbrock_in_more_dimensions_beside_scipy(n: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    start = np.where(np.arange(n) % 2, 1.0, -1.2)
    theirs = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="L-BFGS-B",
                               options={"ftol": 1e-15, "gtol": 1e-9})
    x, searches = minimised(rosenbrock, lnp.asarray(start), theirs.nit + 15)
    np.testing.assert_allclose(x, theirs.x, atol=1e-5)
    assert sum(int(s.evaluations) for s in searches) < 1.5 * theirs.nfev + 20


def test_a_quadratic_beside_its_solution() -> None:
    a, b, f = quadratic(12)
    x, _ = minimised(f, lnp.zeros(12, dtype="float64"), 60)
    np.testing.assert_allclose(x, np.linalg.solve(a, b), atol=1e-9)


def test_the_direction_is_that_of_dense_bfgs() -> None:
    """With memory for all steps the two loops are the recursion of the inverse Hessian."""
    a, b, _ = quadratic(6)
    tx, rng = optim.scale_by_lbfgs(memory_size=8, scale_init_precond=False), \
        np.random.default_rng(1)
    x, h = rng.standard_normal(6), np.eye(6)
    state = tx.init(lnp.asarray(x))
    for i in range(6):
        g = a @ x - b
        got, state = tx.update(lnp.asarray(g), state, lnp.asarray(x))
        np.testing.assert_allclose(got, h @ g, rtol=1e-9)
        moved = x - 0.01 * np.asarray(got) - 0.01 * rng.standard_normal(6)
        s, y = moved - x, a @ (moved - x)
        v = np.eye(6) - np.outer(s, y) / (s @ y)
        h, x = v @ h @ v.T + np.outer(s, s) / (s @ y), moved
        assert int(np.count_nonzero(state.weights)) == i


@pytest.mark.peers
@pytest.mark.parametrize("memory", [1, 3, 10])
def test_the_direction_is_optaxs(memory: int) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    a, b, _ = quadratic(6)
    rng = np.random.default_rng(2)
    points = rng.standard_normal((9, 6))
    ours, theirs = optim.scale_by_lbfgs(memory), optax.scale_by_lbfgs(memory)
    with jax.enable_x64(True):
        s, t = ours.init(lnp.asarray(points[0])), theirs.init(jax.numpy.asarray(points[0]))
        for i, x in enumerate(points):
            g = a @ x - b
            got, s = ours.update(lnp.asarray(g), s, lnp.asarray(x))
            wanted, t = theirs.update(jax.numpy.asarray(g), t, jax.numpy.asarray(x))
            if i:  # the first scale is a matter of taste
                np.testing.assert_allclose(got, np.asarray(wanted), rtol=1e-9)


@pytest.mark.peers
def test_needs_no_more_evaluations_than_torch() -> None:
    torch = pytest.importorskip("torch")
    w = torch.tensor([-1.2, 1.0, -1.2, 1.0], dtype=torch.float64, requires_grad=True)
    o = torch.optim.LBFGS([w], max_iter=60, history_size=10, line_search_fn="strong_wolfe",
                          tolerance_change=1e-14, tolerance_grad=1e-10)
    calls = []

    def closure() -> Any:
        o.zero_grad()
        loss = (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()
        loss.backward()
        calls.append(float(loss.detach()))
        return loss

    o.step(closure)
    x, searches = minimised(rosenbrock, lnp.asarray([-1.2, 1.0, -1.2, 1.0], dtype="float64"), 60)
    assert float(rosenbrock(x)) <= max(calls[-1], 1e-14)
    assert sum(int(s.evaluations) for s in searches) <= 1.3 * len(calls)


# ------------------------------------------------------------------ the line search

LINES = {  # functions of a step along 1 from 0, each with a first step
    "quadratic": (lambda t: (t - 3.0) ** 2, 1.0),
    "far": (lambda t: (t - 3000.0) ** 2, 1e-3),
    "near": (lambda t: (t - 1e-4) ** 2, 100.0),
    "quartic": (lambda t: (t - 1.0) ** 4 - t, 50.0),
    "rational": (lambda t: -t / (t * t + 2.0), 10.0),  # Moré and Thuente 1994, function 1
    "power": (lambda t: (t + 0.004) ** 5 - 2.0 * (t + 0.004) ** 4, 1e-2),  # function 2
    "wiggles": (lambda t: (t - 4.0) ** 2 + 3.0 * lnp.cos(3.0 * t), 8.0),
    "barrier": (lambda t: -lnp.log(1.0 - t) - 2.0 * t, 100.0),  # NaN beyond 1
    "wall": (lambda t: lnp.where(t > 0.5, lnp.inf, (t - 1.0) ** 2 / (0.5001 - t)), 1.0),
    "exponential": (lambda t: lnp.exp(t) - 5.0 * t, 700.0),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", LINES)
def test_the_strong_wolfe_conditions_hold(name: str, jit: bool) -> None:
    f, first = LINES[name]
    tx = optim.scale_by_zoom_linesearch(30, initial_step=first)
    x = lnp.zeros((), dtype="float64")

    def search(x: Any) -> Any:
        value, grad = lf.value_and_grad(f)(x)
        return tx.update(lnp.ones_like(x), tx.init(x), x, value=value, grad=grad, value_fn=f)

    step, state = (lf.jit(search) if jit else search)(x)
    value, slope = lf.value_and_grad(f)(x)
    after, slope_after = lf.value_and_grad(f)(step)
    assert bool(state.converged)
    assert float(after) <= float(value) + 1e-4 * float(step) * float(slope)
    assert abs(float(slope_after)) <= 0.9 * abs(float(slope))
    assert float(state.value) == pytest.approx(float(after), rel=1e-12)
    assert float(state.grad) == pytest.approx(float(slope_after), rel=1e-9, abs=1e-12)
    assert float(state.learning_rate) == float(step) and int(state.evaluations) <= 13


def test_a_search_without_end_takes_the_best_it_saw() -> None:
    tx = optim.scale_by_zoom_linesearch(5)
    x = lnp.asarray(0.0)
    step, state = tx.update(lnp.asarray(1.0), tx.init(x), x, value=x, grad=lnp.asarray(-1.0),
                            value_fn=lambda x: -x)
    assert not bool(state.converged) and int(state.evaluations) == 5 and float(step) >= 16.0


def test_a_direction_that_climbs_is_not_followed() -> None:
    tx = optim.scale_by_zoom_linesearch()
    x = lnp.asarray(1.0)
    step, state = tx.update(x, tx.init(x), x, value=x, grad=x, value_fn=lambda x: x)
    assert float(step) == 0.0 and int(state.evaluations) == 0 and not bool(state.converged)


def test_a_search_that_leads_nowhere_forgets_the_past() -> None:
    a, b, _ = quadratic(4)
    tx = optim.scale_by_lbfgs(3)
    x = np.ones(4)
    state = tx.init(lnp.asarray(x))
    for move in (0.1, 0.1, 0.0):
        _, state = tx.update(lnp.asarray(a @ x - b), state, lnp.asarray(x))
        x = x + move * np.arange(4.0)
    got, state = tx.update(lnp.asarray(a @ x - b), state, lnp.asarray(x))
    assert not np.any(state.weights)
    g = a @ x - b
    np.testing.assert_allclose(got, g / max(1.0, np.linalg.norm(g)), rtol=1e-12)


def test_steps_against_the_curvature_are_not_remembered() -> None:
    tx = optim.scale_by_lbfgs(3)
    x = lnp.asarray([1.0, 2.0])
    state = tx.init(x)
    _, state = tx.update(-x, state, x)  # of a concave function
    _, state = tx.update(-2.0 * x, state, 2.0 * x)
    assert not np.any(state.weights) and int(state.count) == 2


def test_jitted_and_not_jitted_agree_and_trace_once() -> None:
    start = lnp.asarray([-1.2, 1.0], dtype="float64")
    traces = []
    counted = lambda x: (traces.append(1), rosenbrock(x))[1]
    x, searches = minimised(rosenbrock, start, 12)
    y, jitted = minimised(counted, start, 12, jit=True)
    np.testing.assert_allclose(y, x, rtol=1e-6)
    assert [int(s.evaluations) for s in searches] == [int(s.evaluations) for s in jitted]
    assert len(traces) <= 21, "one evaluation, and at most 20 of the line search, in one trace"


def test_what_the_search_found_is_not_computed_again() -> None:
    calls = []
    counted = lambda x: (calls.append(1), rosenbrock(x))[1]
    _, searches = minimised(counted, lnp.asarray([-1.2, 1.0]), 10)
    assert len(calls) == 1 + sum(int(s.evaluations) for s in searches)
    with pytest.raises(ValueError, match="holds no line search"):
        optim.value_and_grad_from_state(rosenbrock)(lnp.ones(2), state=optim.sgd(0.1).init({}))


def test_vmap_over_starting_points() -> None:
    starts = lnp.asarray([[-1.2, 1.0], [0.5, 0.5], [2.0, -1.0]], dtype="float64")
    together = lf.vmap(lambda x: minimised(rosenbrock, x, 6)[0])(starts)
    for start, x in zip(starts, together, strict=True):
        np.testing.assert_allclose(x, minimised(rosenbrock, start, 6)[0], rtol=1e-6)


def test_trees_with_integers_and_several_dtypes() -> None:
    params = {"w": lnp.zeros((2, 2)), "b": lnp.zeros(3, dtype="bfloat16"), "n": lnp.asarray(4)}
    f = lambda p: lnp.sum((p["w"] - 2.0) ** 2) + lnp.sum((p["b"].astype("float32") - 1.0) ** 2)
    tx, state = optim.lbfgs(), None
    state = tx.init(params)
    for _ in range(5):
        value, grads = lf.value_and_grad(f)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=f)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(params["w"], 2.0, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(params["b"], "float32"), 1.0, rtol=1e-2)
    assert params["b"].dtype == "bfloat16" and int(params["n"]) == 4


def test_without_a_line_search_the_learning_rate_counts() -> None:
    _, _, f = quadratic(6)
    x = lnp.zeros(6, dtype="float64")
    tx = optim.lbfgs(0.5, linesearch=None)
    state = tx.init(x)
    for _ in range(80):
        updates, state = tx.update(lf.grad(f)(x), state, x)
        x = optim.apply_updates(x, updates)
    assert float(lnp.max(lnp.abs(lf.grad(f)(x)))) < 1e-6
    assert float(optim.learning_rate(state)) == 0.5


@pytest.mark.parametrize(("make", "words"), [
    (lambda: optim.lbfgs(memory_size=0), "memory_size must be an int of at least 1, got 0"),
    (lambda: optim.lbfgs(-1.0), "learning_rate is -1.0"),
    (lambda: optim.scale_by_zoom_linesearch(0), "max_linesearch_steps must be"),
    (lambda: optim.scale_by_zoom_linesearch(curv_rtol=1.5), "0 < slope_rtol < curv_rtol < 1"),
    (lambda: optim.lbfgs().update(lnp.ones(2), optim.lbfgs().init(lnp.ones(2)), lnp.ones(2)),
     "value=, grad= and value_fn="),
    (lambda: optim.lbfgs().init(lnp.ones(2, dtype="complex64")), "takes real parameters"),
])
def test_bad_arguments(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()
