"""cond, switch, while_loop and random programs that nest them with scan, beside JAX, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")

import lucidfn as lf  # noqa: E402
import lucidfn.numpy as lnp  # noqa: E402

LEAVES = {
    "sin": lambda m, x: m.numpy.sin(x) + 1.5,
    "square": lambda m, x: 0.3 * x * x + 0.2,
    "exp": lambda m, x: m.numpy.exp(-x) + 0.5,
    "ratio": lambda m, x: 1.0 / (1.0 + x) + 0.1,
}


def build(spec: Any, m: Any) -> Any:
    """The function of a spec in a library: positive numbers to positive numbers."""
    kind, *parts = spec
    if kind in LEAVES:
        return lambda x: LEAVES[kind](m, x)
    lax = m.lax
    inner = [build(p, m) for p in parts]
    f = inner[0]
    if kind == "then":
        return lambda x: inner[1](f(x))
    if kind == "cond":
        return lambda x: lax.cond(x > 0.93, f, inner[1], x)
    if kind == "switch":
        return lambda x: lax.switch((2.0 * x).astype("int32"), inner, x)
    if kind == "scan":
        rows = m.numpy.asarray(np.array([0.3, 0.7, 1.1]))
        return lambda x: sum(lax.scan(lambda c, t: (0.5 * f(c + t), c * t), x, rows)[1]) + 0.1
    if kind == "fori":
        return lambda x: lax.fori_loop(0, 3, lambda i, c: 0.5 * f(c) + 0.1 * i, x)
    if kind == "while":
        step = lambda c: (c[0] * 1.6 + 0.2, 0.5 * c[1] + 0.5 * f(c[1]))
        return lambda x: lax.while_loop(lambda c: c[0] < 2.5, step, (x, x))[1]
    if kind == "vmap":
        rows = m.numpy.asarray(np.array([0.6, 1.0, 1.4]))
        return lambda x: m.vmap(f)(x * rows).mean()
    raise AssertionError(kind)


leaf = st.sampled_from(sorted(LEAVES)).map(lambda name: (name,))
specs = st.recursive(leaf, lambda s: st.one_of(
    st.tuples(st.just("then"), s, s), st.tuples(st.just("cond"), s, s),
    st.tuples(st.just("switch"), s, s, s), st.tuples(st.just("scan"), s),
    st.tuples(st.just("fori"), s), st.tuples(st.just("while"), s), st.tuples(st.just("vmap"), s),
), max_leaves=4)
FIXED = [
    ("cond", ("sin",), ("square",)), ("switch", ("sin",), ("exp",), ("ratio",)),
    ("while", ("cond", ("sin",), ("exp",))), ("cond", ("while", ("sin",)), ("exp",)),
    ("while", ("while", ("sin",))), ("while", ("scan", ("cond", ("sin",), ("exp",)))),
    ("vmap", ("while", ("switch", ("sin",), ("exp",), ("square",)))),
    ("scan", ("while", ("vmap", ("cond", ("sin",), ("exp",))))),
]
POINTS = np.array([0.31, 0.88, 1.27, 2.1])


def compare(spec: Any) -> None:
    """Values, first and second derivatives; JAX has only forward mode through while_loop."""
    ours = build(spec, lf)
    with jax.enable_x64(True), lf.config.override(default_float="float64", default_int="int64"):
        f = jax.jit(build(spec, jax))
        g = jax.jit(jax.jacfwd(build(spec, jax)))
        h = jax.jit(jax.jacfwd(jax.jacfwd(build(spec, jax))))
        want = [np.array([float(k(x)) for x in POINTS]) for k in (f, g, h)]
        points = lnp.array(POINTS)
        first, second = lf.grad(ours), lf.grad(lf.grad(ours))
        for ours_k, theirs in zip((ours, first, second), want, strict=True):
            np.testing.assert_allclose([float(ours_k(x)) for x in points], theirs, 1e-9, 1e-12)
            np.testing.assert_allclose(lf.jit(lf.vmap(ours_k))(points), theirs, 1e-9, 1e-12)
            jitted = lf.jit(ours_k)
            np.testing.assert_allclose([float(jitted(x)) for x in points], theirs, 1e-9, 1e-12)
        np.testing.assert_allclose(lf.vmap(lf.jacfwd(first))(points), want[2], 1e-9, 1e-12)


@pytest.mark.parametrize("spec", FIXED, ids=str)
def test_programs_that_nest_constructs(spec: Any) -> None:
    compare(spec)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck),
          derandomize=True)
@given(specs)
def test_random_programs(spec: Any) -> None:
    compare(spec)


@pytest.mark.parametrize("index", [-5, 0, 1, 2, 9])
def test_switch_clamps_alike(index: int) -> None:
    run = lambda m: m.lax.switch(index, [lambda x: x + 1, lambda x: x * 2, lambda x: x - 3], 1.5)
    assert float(run(lf)) == float(run(jax))


def test_types_of_outputs() -> None:
    """Shapes, dtypes and weak types."""
    def programs(m: Any) -> list[Any]:
        one = m.numpy.ones((), "float32")
        # Where one branch is weak JAX takes the second function's word for it; here it is strong.
        return [m.lax.cond(True, lambda x: 1.0, lambda x: 0.0, one),
                m.lax.cond(1, lambda x: x > 0, lambda x: x < 0, one),
                m.lax.while_loop(lambda c: c < 3, lambda c: c + 1, 0),
                m.lax.while_loop(lambda c: c < 3.0, lambda c: c + one, 0),
                m.lax.fori_loop(0, 3, lambda i, c: c + i, 0)]

    for a, b in zip(programs(lf), programs(jax), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
        assert float(a) == float(b)
