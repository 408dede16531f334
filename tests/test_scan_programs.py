"""Random bodies of loops, against unrolling: updates in place, views, carries that swap."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax, tree
from lucidfn.nn.functional import sigmoid

N, STEPS = 600, 4  # large enough for buffers to be used again

OPERATIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda a, b, i: a + b,
    "mul": lambda a, b, i: a * b * 0.5,
    "tanh": lambda a, b, i: lnp.tanh(a),
    "set": lambda a, b, i: a.at[i].set(b[i + 1]),
    "set_again": lambda a, b, i: a.at[i % 3].set(1.5),
    "add_at": lambda a, b, i: a.at[i + 2].add(b[0]),
    "slice": lambda a, b, i: a.at[:5].set(lax.dynamic_slice(b, (i,), (5,))),
    "update": lambda a, b, i: lax.dynamic_update_slice(a, b[3:9], (i,)),
    "flip": lambda a, b, i: a[::-1],
    "reshape": lambda a, b, i: a.reshape(30, 20).reshape(N),
    "turn": lambda a, b, i: a.reshape(20, 30).T.reshape(N),
    "where": lambda a, b, i: lnp.where(a > b, a, 0.3),
    "scale": lambda a, b, i: a * 0.9 + 0.01,
    "gate": lambda a, b, i: sigmoid(a),
    "turned_gate": lambda a, b, i: sigmoid(-a),
    "sum": lambda a, b, i: a * lnp.sum(b) * 1e-3,
    "wide": lambda a, b, i: lnp.broadcast_to(lnp.sum(a), (N,)) * 1.0,
}


class Plan:
    """A random body: operations on earlier values, which of them are carried, and which are ys."""

    def __init__(self, seed: int):
        rng = random.Random(seed)
        count = rng.randint(1, 9)
        self.steps = [(rng.choice(sorted(OPERATIONS)), rng.randrange(5 + n), rng.randrange(5 + n))
                      for n in range(count)]
        self.carry = [rng.randrange(5 + count) for _ in range(3)]
        self.ys = [rng.randrange(5 + count) for _ in range(rng.randint(0, 3))]
        self.reverse = rng.random() < 0.5

    def body(self, w: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            x, i = row
            values = [*carry, x, w]
            for name, a, b in self.steps:
                values.append(OPERATIONS[name](values[a], values[b], i))
            return tuple(values[k] for k in self.carry), [values[k] for k in self.ys]
        return step

    def scan(self, carry: Any, x: Any, w: Any) -> Any:
        return lax.scan(self.body(w), carry, (x, lnp.arange(STEPS)), reverse=self.reverse)

    def unrolled(self, carry: Any, x: Any, w: Any) -> Any:
        step, ys = self.body(w), []
        for i in reversed(range(STEPS)) if self.reverse else range(STEPS):
            carry, y = step(carry, (x[i], i))
            ys.append(y)
        if self.reverse:
            ys.reverse()
        return carry, [lnp.stack(rows) for rows in zip(*ys, strict=True)]


def loss(f: Any) -> Any:
    return lambda *args: sum(lnp.sum(lnp.sin(x)) for x in tree.leaves(f(*args)))


@pytest.mark.parametrize("seed", range(40))
def test_as_unrolled(seed: int) -> None:
    plan, rng = Plan(seed), np.random.default_rng(seed)
    args = (tuple(lnp.asarray(rng.normal(size=N)) for _ in range(3)),
            lnp.asarray(rng.normal(size=(STEPS, N))), lnp.asarray(rng.normal(size=N)))
    before = [np.array(x) for x in tree.leaves(args)]
    inner = lambda c, x, w: plan.scan(tuple(a * 1.0 for a in c), x, w)
    want = tree.leaves(plan.unrolled(*args))
    pairs = [(f(*args), want) for f in (plan.scan, lf.jit(plan.scan), lf.jit(inner))]
    if seed % 4 == 0:
        pairs.append((lf.jit(lf.grad(loss(plan.scan), (0, 1, 2)))(*args), tree.leaves(
            lf.grad(loss(plan.unrolled), (0, 1, 2))(*args))))
    for got, expected in pairs:
        for a, b in zip(tree.leaves(got), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    for x, old in zip(tree.leaves(args), before, strict=True):
        np.testing.assert_array_equal(x, old)  # the caller's arrays stay
