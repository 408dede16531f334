"""Taylor mode beside `jax.experimental.jet`, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")
theirs = pytest.importorskip("jax.experimental.jet")

import lucidfn as lf  # noqa: E402
import lucidfn.numpy as lnp  # noqa: E402

rng = np.random.default_rng(0)
X, Y = rng.uniform(0.2, 0.8, (3, 3)), rng.uniform(0.2, 0.8, (3, 3))
TERMS = [[rng.normal(size=(3, 3)) for _ in range(4)] for _ in range(2)]
UNARY = ("sin cos sinh cosh tanh exp expm1 log log1p sqrt square abs negative "
         "arcsinh arctanh reciprocal").split()
FUNCTIONS = {
    **{name: lambda m, x, y, name=name: getattr(m, name)(x) for name in UNARY},
    "mul": lambda m, x, y: x * y, "div": lambda m, x, y: x / y, "sub": lambda m, x, y: x - y,
    "pow": lambda m, x, y: x ** y, "integer pow": lambda m, x, y: x ** 3 + y ** -2,
    "arctan2": lambda m, x, y: m.arctan2(x, y), "maximum": lambda m, x, y: m.maximum(x, y),
    "matmul": lambda m, x, y: x @ y, "max": lambda m, x, y: m.max(x * y, 0),
    "cumsum": lambda m, x, y: m.cumsum(x * y, 0), "sum": lambda m, x, y: m.sum(x * y),
    "cumprod": lambda m, x, y: m.cumprod(x, 0),
    "where": lambda m, x, y: m.where(x > y, x * x, y), "clip": lambda m, x, y: m.clip(x, 0.3, y),
    "shapes": lambda m, x, y: m.concatenate([x.T, y.reshape(3, 3)[::-1]])[1:4] * y,
    "take": lambda m, x, y: (x * y)[m.array([2, 0])],
    "a network": lambda m, x, y: m.tanh(x @ y + m.sin(x)) @ y / (1 + m.exp(-x)),
}


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_in_jax(name: str, scaled: bool) -> None:
    f = FUNCTIONS[name]
    with jax.enable_x64(True):
        want = theirs.jet(lambda x, y: f(jax.numpy, x, y), (X, Y), TERMS, factorial_scaled=scaled)
    got: Any = lf.jet(lambda x, y: f(lnp, x, y), (X, Y), TERMS, factorial_scaled=scaled)
    np.testing.assert_allclose(np.asarray(got[0]), np.asarray(want[0]), rtol=1e-9)
    assert len(got[1]) == len(want[1])
    for a, b in zip(got[1], want[1], strict=True):
        # JAX computes factorials by exp(lgamma): to 1e-10.
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-8, atol=1e-8)
