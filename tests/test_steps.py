"""Compiled derivatives of single primitives, which un-jitted gradients use from the third call."""

from __future__ import annotations

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.control import steps
from lucidfn.testing import check_grads
from lucidfn.transforms import jvp


def array(*shape, seed=0, dtype="float64"):
    return lnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def mlp(params, x):
    for w, b in params:
        x = lnp.tanh(x @ w + b)
    return lnp.mean(x * x)


FUNCTIONS = {
    "mlp": (lambda x, w: mlp([(w, w[0]), (w, w[1])], x), [(3, 4), (4, 4)]),
    "broadcast": (lambda x, y: lnp.sum(x * y + y / (x * x + 1.0)), [(3, 4), (4,)]),
    "power": (lambda x: lnp.sum((x * x + 0.5) ** 1.7) ** (1 / 1.7), [(4,)]),
    "reductions": (lambda x: lnp.max(x) + lnp.prod(x) + lnp.logaddexp(x[0], x[1]), [(5,)]),
    "indexing": (lambda x: lnp.sum(x[lnp.array([0, 2, 2])] ** 3) + x.at[1].set(2.0)[1], [(4,)]),
    "linalg": (lambda x: lnp.linalg.det(x @ x.T + lnp.eye(3)), [(3, 3)]),
    "sort": (lambda x: lnp.sum(lnp.sort(x) * lnp.arange(4.0)), [(4,)]),
}


@pytest.fixture
def without_steps(monkeypatch):
    def run(f):
        with monkeypatch.context() as patch:
            patch.setattr(jvp, "shortcut", None)
            return f()
    return run


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equal_to_the_rules(name, without_steps):
    f, shapes = FUNCTIONS[name]
    args = [array(*s, seed=i) for i, s in enumerate(shapes)]
    argnums = tuple(range(len(args)))
    for derivative in (lf.grad(f, argnums), lf.jacrev(f, argnums), lf.hessian(f, argnums)):
        want = without_steps(lambda: derivative(*args))  # noqa: B023
        for _ in range(steps.MEETINGS + 2):
            got = derivative(*args)
            for a, b in zip(lf.tree.leaves(got), lf.tree.leaves(want), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
                assert a.dtype == b.dtype
    check_grads(f, tuple(args))


def test_they_are_used():
    f = lambda x: lnp.sum(lnp.sin(x) * 2.0)  # noqa: E731
    x = array(7, 3)
    for _ in range(steps.MEETINGS):
        _, pull = lf.vjp(f, x)
    _, f_jvp = lf.linearize(f, x)
    names = {e.primitive.name for e in lf.make_ir(f_jvp)(x).equations}
    assert "step" in names
    np.testing.assert_allclose(f_jvp(x), np.sum(np.cos(x) * 2.0 * np.asarray(x)))
    np.testing.assert_allclose(pull(1.0)[0], np.cos(x) * 2.0)


def test_every_transformation_of_a_pull_back():
    """A step is a call: batched, differentiated, transposed again, recorded, compiled."""
    f = lambda x: lnp.tanh(x) * x  # noqa: E731
    x = array(3)
    for _ in range(steps.MEETINGS + 1):
        _, pull = lf.vjp(f, x)
    want = np.diag(np.asarray(lf.grad(lambda x: lnp.sum(f(x)))(x)))
    cts = lnp.eye(3, dtype="float64")
    np.testing.assert_allclose(lf.vmap(lambda c: pull(c)[0])(cts), want, rtol=1e-12)
    np.testing.assert_allclose(lf.jit(lf.vmap(lambda c: pull(c)[0]))(cts), want, rtol=1e-12)
    np.testing.assert_allclose(lf.jacfwd(lambda c: pull(c)[0])(cts[0]), want, rtol=1e-12)
    np.testing.assert_allclose(lf.jacrev(lambda c: pull(c)[0])(cts[0]), want, rtol=1e-12)
    assert "step(" not in lf.jit(lambda c: pull(c)[0]).source(cts[0])


def test_float32_stays_float32():
    params = [(array(4, 4, dtype="float32"), array(4, dtype="float32"))]
    x = array(2, 4, dtype="float32")
    for _ in range(steps.MEETINGS + 1):
        grads = lf.grad(mlp)(params, x)
    assert {g.dtype.name for g in lf.tree.leaves(grads)} == {"float32"}


def test_python_numbers_keep_their_precision_and_sign(without_steps):
    x = array(3)
    for exponent in (1 / 3, 2.0, -0.0, 0.0):
        f = lambda x, p=exponent: lnp.sum((x * x + 1.0) ** p / (p + 2.0))  # noqa: E731
        want = without_steps(lambda: lf.grad(f)(x))  # noqa: B023
        for _ in range(steps.MEETINGS + 1):
            np.testing.assert_array_equal(lf.grad(f)(x), want)


def test_errors_come_from_the_rules():
    x = array(3)
    f = lambda x, i: x[i] * 2.0  # noqa: E731
    for _ in range(steps.MEETINGS + 1):
        lf.grad(f)(x, lnp.asarray(1))
    with pytest.raises(IndexError, match="index 5 is out of bounds"):
        lf.grad(f)(x, lnp.asarray(5))


def test_debug_nans_looks_at_each_operation():
    f = lambda x: lnp.sum(lnp.sqrt(x) * 0.0)  # noqa: E731
    x = lnp.zeros(3)
    for _ in range(steps.MEETINGS + 1):
        lf.grad(f)(x)
    with lf.debug_nans(), pytest.raises(FloatingPointError, match="test_steps.py"):
        lf.grad(f)(x)


def test_random_functions_and_keys():
    key = random.key(0)
    f = lambda x: lnp.sum(x * random.normal(key, (3,)))  # noqa: E731
    x = array(3, dtype="float32")
    want = random.normal(key, (3,))
    for _ in range(steps.MEETINGS + 1):
        np.testing.assert_array_equal(lf.grad(f)(x), want)


def test_signatures_are_bounded(monkeypatch):
    monkeypatch.setattr(steps, "LARGEST", 10)
    for n in range(1, 30):
        lf.grad(lambda x: lnp.sum(lnp.sin(x)))(array(n))
    assert len(steps._pieces) <= 10 + 1
