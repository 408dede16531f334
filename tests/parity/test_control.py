"""Control flow beside JAX: values, gradients and second derivatives, in float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lucidfn as lf
import lucidfn.numpy as lnp

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")
jnp = jax.numpy

X = np.random.default_rng(0).normal(size=(5, 3))
W = np.random.default_rng(1).normal(size=(3, 3)) * 0.5


class Side:
    """The names that a program uses, of one of the two libraries."""

    def __init__(self, library: Any, numpy: Any, lax: Any):
        self.lib, self.np, self.lax = library, numpy, lax


OURS = Side(lf, lnp, lf.lax)
THEIRS = Side(jax, jnp, jax.lax)


def forms(side: Side, f: Any, count: int, orders: int, batch: bool) -> list[Any]:
    """Functions of the arguments: f and its gradient, both under vmap, and the second order."""
    every = tuple(range(count))
    g = lambda *a: f(side, *a)

    def loss(*a: Any) -> Any:
        leaves = side.lib.tree_util.tree_leaves(g(*a))
        return sum(side.np.sum(side.np.sin(x)) for x in leaves)

    out = [g, side.lib.grad(loss, every)]
    if batch:
        wide = lambda h: lambda *a: side.lib.vmap(h)(*(side.np.stack([x, x * 0.5]) for x in a))
        out += [wide(h) for h in out]
    if orders > 1:
        out += [side.lib.hessian(loss, every), side.lib.jacfwd(loss, every)]
    return out


def compare(f: Any, *args: np.ndarray, orders: int = 2, batch: bool = True) -> None:
    """f(side, *args): values, both modes, second order, vmap and jit, equal to 1e-9."""
    with jax.enable_x64(True), lf.config.override(default_float="float64", default_int="int64"):
        ours, theirs = (forms(side, f, len(args), orders, batch) for side in (OURS, THEIRS))
        # One program for all of JAX's: to compile it is what takes the time here.
        want = jax.jit(lambda *a: [h(*a) for h in theirs])(*map(jnp.asarray, args))
        a = list(map(lnp.asarray, args))
        got = [h(*a) for h in ours] + [lf.jit(h)(*a) for h in ours[:2]]
        got, want = lf.tree.leaves(got), jax.tree.leaves(want + want[:2])
        for mine, other in zip(map(np.asarray, got), map(np.asarray, want), strict=True):
            assert mine.dtype == other.dtype and mine.shape == other.shape
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------ scan

def rnn(s: Side, w: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = s.np.tanh(h @ w + x)
        return h, {"h": h, "sum": h.sum()}
    return s.lax.scan(step, s.np.zeros(3), xs)


def reverse(s: Side, w: Any, xs: Any) -> Any:
    return s.lax.scan(lambda c, x: (c * 0.5 + s.np.sin(x @ w), (c, x)), xs[0], xs, reverse=True)


def promoted(s: Side, xs: Any) -> Any:
    return s.lax.scan(lambda c, x: ((c[0] + x, c[1] + 1), c[1]), (0, 0), xs[:, 0])


def counted(s: Side, x: Any) -> Any:
    return s.lax.scan(lambda c, _: (s.np.cos(c) * x, c), x, None, length=4)


def indexed(s: Side, xs: Any) -> Any:
    def step(c: Any, i: Any) -> Any:
        return c.at[i].set(c[i - 1] * xs[i].sum()), c[i]
    return s.lax.scan(step, xs[:, 0], s.np.arange(1, 5))


def twice(s: Side, w: Any, xs: Any) -> Any:
    def outer(c: Any, x: Any) -> Any:
        inner, ys = s.lax.scan(lambda d, v: (d * v + c.sum(), d), x.sum(), x)
        return s.np.tanh(c @ w + inner), ys
    return s.lax.scan(outer, s.np.ones(3), xs)


def fori(s: Side, w: Any, x: Any) -> Any:
    return s.lax.fori_loop(1, 5, lambda i, c: s.np.sin(c @ w) + x[i - 1] * i, x[0])


def mapped(s: Side, w: Any, xs: Any) -> Any:
    return s.lax.map(lambda x: s.np.tanh(x @ w), xs), s.lax.map(
        lambda x: (x * x).sum(), xs, batch_size=2)


def prefixes(s: Side, xs: Any) -> Any:
    combine = lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1])
    pair = (s.np.cos(xs), xs)
    return (s.lax.associative_scan(combine, pair), s.lax.associative_scan(
        combine, pair, reverse=True, axis=1))


CASES = {"rnn": (rnn, W, X), "reverse": (reverse, W, X), "promoted": (promoted, X),
         "counted": (counted, X[0]), "indexed": (indexed, X), "twice": (twice, W, X),
         "fori": (fori, W, X), "mapped": (mapped, W, X), "prefixes": (prefixes, X)}


@pytest.mark.parametrize("name", CASES)
def test_as_in_jax(name: str) -> None:
    f, *args = CASES[name]
    compare(f, *args)


def test_types_of_results() -> None:
    def types(s: Side) -> list[str]:
        x, h = s.np.ones(3), s.np.ones(3, "bfloat16")
        outs = [s.lax.scan(lambda c, v: (c + v, c), 0, x), s.lax.scan(
            lambda c, v: (c * v, c), 1.0, h), s.lax.fori_loop(0, 3, lambda i, c: c * i, h),
            s.lax.scan(lambda c, _: (c + 1, (c, True, 2.0)), 0, None, length=2),
            s.lax.map(lambda v: v > 0, x), s.lax.fori_loop(0, 3, lambda i, c: c + i, 0)]
        return [str(v.dtype) for v in s.lib.tree_util.tree_leaves(outs)]

    assert types(OURS) == types(THEIRS)


# ------------------------------------------------------------------ random programs

STEPS = {
    "tanh": lambda s, c, x, w: (s.np.tanh(c * w + x), c),
    "matmul": lambda s, c, x, w: (s.np.sin(c @ (w * s.np.eye(3))) + x, x * c),
    "reset": lambda s, c, x, w: (x * 1.0, c + w),
    "keep": lambda s, c, x, w: (c, s.np.sum(c * x)),
    "where": lambda s, c, x, w: (s.np.where(c > 0, c * 0.5, x), s.np.sum(w)),
    "set": lambda s, c, x, w: (c.at[1].set(x[0] * w[0]), c[1]),
    "sum": lambda s, c, x, w: (c + x * w, None),
}


def build(s: Side, plan: tuple[Any, ...], w: Any, xs: Any) -> Any:
    """A scan for each (step, reverse, jit, checkpoint, inner plan), nested."""
    name, backwards, jit, checkpoint, inner = plan

    def step(c: Any, x: Any) -> Any:
        c, y = STEPS[name](s, c, x, w)
        if inner is not None:
            c2, more = build(s, inner, w * 0.5, s.np.stack([x, c]))
            c, y = c * 0.5 + c2 * 0.1, (y, more)
        return c, y

    body = s.lib.checkpoint(step) if checkpoint else step
    run = lambda xs: s.lax.scan(body, s.np.cos(w), xs, reverse=backwards)
    return (s.lib.jit(run) if jit else run)(xs)


def plans(depth: int) -> Any:
    inner = st.none() if depth == 0 else st.none() | plans(depth - 1)
    return st.tuples(st.sampled_from(sorted(STEPS)), st.booleans(), st.booleans(), st.booleans(),
                     inner)


@settings(max_examples=10, deadline=None)
@given(plans(1))
def test_random_nests_as_in_jax(plan: Any) -> None:
    compare(lambda s, w, xs: build(s, plan, w, xs), W[0], X[:3],
            orders=2 if plan[4] is None else 1, batch=plan[4] is None)
