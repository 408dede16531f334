"""Where ours differs from JAX on purpose, and is right (DECISIONS 7, 8 and 10)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")

import lucidfn as lf  # noqa: E402
import lucidfn.numpy as lnp  # noqa: E402
from lucidfn import lax  # noqa: E402
from lucidfn.scipy import special  # noqa: E402

jnp = jax.numpy
ZEROS = np.zeros(3, "float32")

# What, ours, JAX's, the point, our derivative, and JAX's.
DERIVATIVES: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any], Any, Any, Any]] = [
    ("abs at 0", lnp.abs, jnp.abs, 0.0, 0.0, 1.0),
    ("clip at a bound", lambda x: lnp.clip(x, 0.0, 1.0), lambda x: jnp.clip(x, 0.0, 1.0), 1.0,
     1.0, 0.5),
    ("norm at 0", lnp.linalg.norm, jnp.linalg.norm, ZEROS, 0.0, np.nan),
    ("std at 0", lnp.std, jnp.std, ZEROS, 0.0, np.nan),
    ("i0 at 0", special.i0, jax.scipy.special.i0, 0.0, 0.0, 1.0),
    ("logsumexp of nothing but -inf", special.logsumexp, jax.scipy.special.logsumexp,
     np.full(2, -np.inf, "float32"), 0.0, np.nan),
]


@pytest.mark.parametrize("what, ours, theirs, at, want, jaxs", DERIVATIVES,
                         ids=[d[0] for d in DERIVATIVES])
def test_derivative(what: str, ours: Any, theirs: Any, at: Any, want: Any, jaxs: Any) -> None:
    np.testing.assert_array_equal(lf.grad(ours)(at), np.full(np.shape(at), want))
    theirs_at = jax.grad(theirs)(jnp.asarray(at))
    np.testing.assert_allclose(theirs_at, np.full(np.shape(at), jaxs), rtol=1e-6)


def test_hypot_at_zero() -> None:
    assert [float(g) for g in lf.grad(lnp.hypot, (0, 1))(0.0, 0.0)] == [0.0, 0.0]


def test_second_order_of_a_power_at_zero() -> None:
    """x ** 1.0 is x, and has no second derivative; JAX: NaN."""
    ours = lf.grad(lf.grad(lambda x: x ** lnp.asarray(1.0)))
    theirs = jax.grad(jax.grad(lambda x: x ** jnp.asarray(1.0)))
    assert float(ours(0.0)) == 0.0
    assert not np.isfinite(float(theirs(0.0)))


@pytest.mark.parametrize("point", [-1.5 + 0.4j, 0.3 - 2j, -0.2 - 0.1j])
def test_complex_acosh(point: complex) -> None:
    """On the left half plane JAX's derivative has the wrong sign."""
    with lf.default_dtype("float64"):
        got = complex(lf.grad(lnp.arccosh, holomorphic=True)(point))
    step = 1e-6
    want = (np.arccosh(point + step) - np.arccosh(point - step)) / (2 * step)
    np.testing.assert_allclose(got, want, rtol=1e-7)


def test_complex_sign() -> None:
    """z / |z| turns with z; JAX's derivative is 0."""
    z, t = np.complex64(3 + 4j), np.complex64(1j)
    tangent = complex(lf.jvp(lnp.sign, (np.asarray(z),), (np.asarray(t),))[1])
    step = 1e-6
    unit = lambda w: w / abs(w)
    want = (unit(3 + 4j + step * 1j) - unit(3 + 4j - step * 1j)) / (2 * step)
    np.testing.assert_allclose(tangent, want, rtol=1e-5)
    assert complex(jax.jvp(jnp.sign, (z,), (t,))[1]) == 0


@pytest.mark.parametrize("index", [3, -4, np.array([0, 7])])
def test_out_of_bounds_raises(index: Any) -> None:
    x = lnp.arange(3.0)
    with pytest.raises(IndexError, match="out of bounds"):
        x[index]
    with pytest.raises(IndexError, match="out of bounds"):
        x.at[index].set(1.0)
    with pytest.raises(IndexError, match="out of bounds"):
        lnp.take(x, index)
    jnp.arange(3.0)[index]  # JAX: another element, without a word


def test_integer_leaves_have_no_gradient() -> None:
    params = {"w": np.ones(2, "float32"), "step": np.asarray(3)}
    loss = lambda p: (p["w"] * p["step"]).sum()
    got = lf.grad(loss)(params)
    assert got["step"] is None
    np.testing.assert_array_equal(got["w"], [3.0, 3.0])
    with pytest.raises(TypeError, match="int"):
        jax.grad(loss)(jax.tree.map(jnp.asarray, params))


def test_scatter_min_with_clip() -> None:
    """JAX's gradient is -inf where an index was clipped."""
    def run(m: Any, operand: Any, updates: Any) -> Any:
        numbers = m.ScatterDimensionNumbers((), (0,), (0,))
        return m.scatter_min(operand, np.array([[9]]), updates, numbers, mode="clip").sum()

    x, u = np.array([1.0, 2.0], "float32"), np.array([-1.0], "float32")
    got = lf.grad(run, argnums=(1, 2))(lax, x, u)
    np.testing.assert_array_equal(got[0], [1.0, 0.0])
    np.testing.assert_array_equal(got[1], [1.0])
    theirs = jax.grad(run, argnums=(1, 2))(jax.lax, jnp.asarray(x), jnp.asarray(u))
    assert not np.isfinite(theirs[1]).all()


def test_reduce_precision() -> None:
    """The derivative is that of the identity, not rounded in its turn."""
    x = np.array([0.3], "float32")
    pull_back = lf.vjp(lambda x: lax.reduce_precision(x, 5, 3), x)[1]
    np.testing.assert_array_equal(pull_back(np.array([0.3], "float32"))[0], x)
