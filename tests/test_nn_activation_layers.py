"""Activation layers and the functions that jax.nn lacks: values, kinks, random ones, errors."""

import math

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.nn import functional as fn

KEY = random.key(5)
INF, NAN = math.inf, math.nan
EDGES = np.array([-INF, -1e4, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1e4, INF], "float32")


def test_names_of_pytorch_and_of_jax_are_one_function():
    assert fn.hardsigmoid is fn.hard_sigmoid
    assert fn.hardswish is fn.hard_silu is fn.hard_swish
    assert fn.softsign is fn.soft_sign
    assert fn.logsigmoid is fn.log_sigmoid
    assert nn.Swish is nn.SiLU
    assert (nn.HardSigmoid, nn.HardSwish) == (nn.Hardsigmoid, nn.Hardswish)


def test_values_and_slopes_at_kinks():
    slope = lambda f, x: float(lf.grad(f)(x))
    assert [slope(fn.hardtanh, v) for v in (-1.0, 1.0, 1.5)] == [1, 1, 0]
    assert [slope(lambda x: fn.prelu(x, 0.25), v) for v in (0.0, 1.0, -1.0)] == [0.25, 1, 0.25]
    assert [slope(fn.hardshrink, v) for v in (0.5, -0.5, 0.6)] == [0, 0, 1]
    assert [slope(fn.softshrink, v) for v in (0.5, -0.5, 0.6)] == [0, 0, 1]
    assert slope(lambda x: fn.threshold(x, 1.0, 5.0), 1.0) == 0
    assert float(fn.threshold(1.0, 1.0, 5.0)) == 5
    assert fn.softplus([100.0, -100.0], 3.0).tolist() == [100.0, 0.0]


@pytest.mark.parametrize("name", """hardtanh hardshrink softshrink tanhshrink softsign hardswish
logsigmoid rrelu""".split())
def test_edges(name):
    f = getattr(fn, name)
    y = np.asarray(f(EDGES))
    finite = np.isfinite(EDGES)
    assert np.isfinite(y[finite]).all()
    assert np.isfinite(lf.grad(lambda x: f(x).sum())(EDGES[finite])).all()
    assert np.isnan(f(NAN))
    for dtype in ("float16", "bfloat16", "float64"):
        assert f(lnp.ones(3, dtype)).dtype == dtype
    assert f([1, 2]).dtype == "float32"


@pytest.mark.peers
@pytest.mark.parametrize("name", ["hardshrink", "softshrink", "hardtanh", "threshold"])
def test_edges_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    more = (0.25, 3.0) if name == "threshold" else ()
    theirs = getattr(torch.nn.functional, name)(torch.from_numpy(EDGES), *more)
    np.testing.assert_array_equal(getattr(fn, name)(EDGES, *more), theirs.numpy())


# ------------------------------------------------------------------ random ones

def test_rrelu():
    x = lnp.full((100, 100), -2.0)
    layer = nn.RReLU(0.2, 0.6)
    y, _ = layer.apply({}, {}, x, train=True, key=KEY)
    slopes = np.asarray(y) / -2
    assert 0.2 <= slopes.min() < 0.21 and 0.59 < slopes.max() <= 0.6
    assert slopes.mean() == pytest.approx(0.4, abs=0.005)
    np.testing.assert_allclose(layer.apply({}, {}, x)[0], -0.8, rtol=1e-6)
    np.testing.assert_array_equal(layer.apply({}, {}, -x, train=True, key=KEY)[0], -x)
    with pytest.raises(nn.LayerError, match="needs a random key"):
        layer.apply({}, {}, x, train=True)
    with pytest.raises(TypeError, match="key=key"):
        fn.rrelu(x, training=True)
    with pytest.raises(nn.LayerError, match="above upper"):
        nn.RReLU(0.5, 0.1)


def test_gumbel_softmax_draws_as_the_logits_say():
    logits = lnp.log(lnp.asarray([0.5, 0.3, 0.2]))
    keys = random.split(KEY, 4000)
    hard = lf.vmap(lambda k: fn.gumbel_softmax(logits, hard=True, key=k))(keys)
    np.testing.assert_allclose(np.asarray(hard).mean(0), [0.5, 0.3, 0.2], atol=0.03)
    assert set(np.unique(hard)) == {0.0, 1.0}
    soft = lambda x, hard=False: fn.gumbel_softmax(x, 0.5, hard, key=KEY)
    np.testing.assert_allclose(soft(logits).sum(), 1.0, rtol=1e-6)
    weights = lnp.asarray([1.0, 2.0, 3.0])
    slopes = [lf.grad(lambda x: (soft(x, hard) * weights).sum())(logits) for hard in (False, True)]
    np.testing.assert_allclose(*slopes, rtol=1e-5)
    x = random.normal(KEY, (3, 4, 5))
    along = fn.gumbel_softmax(x, hard=True, axis=1, key=KEY)
    np.testing.assert_array_equal(along.sum(1), np.ones((3, 5)))
    np.testing.assert_allclose(lf.jit(soft)(logits), soft(logits), rtol=1e-6)


# ------------------------------------------------------------------ layers

def test_gelu_is_exact_as_in_pytorch_and_the_function_approximate_as_in_jax():
    x = lnp.asarray([1.0])
    exact = 0.5 * (1 + math.erf(math.sqrt(0.5)))
    assert float(nn.GELU()({}, x)[0]) == pytest.approx(exact, abs=1e-6)
    assert float(nn.GELU("tanh")({}, x)[0]) == float(nn.gelu(x)[0]) != pytest.approx(exact,
                                                                                    abs=1e-6)


@pytest.mark.parametrize("layer", [nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.CELU()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_scalars_of_a_layer_keep_the_dtype(layer, dtype):
    """Lucid's raised: it cast the scalar to the array's dtype and mixed float64 in."""
    x = lnp.asarray([-1.0, 2.0], dtype)
    assert layer({}, x).dtype == dtype
    assert lf.grad(lambda x: layer({}, x).sum())(x).dtype == dtype


def test_prelu():
    layer = nn.PReLU(3, init=0.5)
    params, _ = layer.init(KEY)
    assert params["weight"].tolist() == [0.5] * 3
    assert repr(layer) == "PReLU(3, init=0.5)" and repr(nn.PReLU()) == "PReLU()"
    with pytest.raises(nn.LayerError, match="expected 3"):
        layer(params, lnp.ones((2, 4)))
    with pytest.raises(nn.LayerError, match="channels-first"):
        layer(params, lnp.ones((2, 3, 4, 4)))
    g = lf.grad(lambda p: layer(p, -lnp.ones((5, 3))).sum())(params)
    assert g["weight"].tolist() == [-5.0] * 3


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: fn.prelu(lnp.ones((2, 3)), lnp.ones(2)), TypeError, "each of the 3 channels"),
    (lambda: fn.hardtanh(lnp.asarray([1j])), TypeError, "real numbers"),
    (lambda: nn.PReLU(0), nn.LayerError, "one for each channel"),
    (lambda: nn.GELU("erf"), nn.LayerError, "'none' or 'tanh'"),
    (lambda: nn.Hardtanh(1.0, -1.0), nn.LayerError, "not below max_val"),
    (lambda: nn.Softplus(0), nn.LayerError, "beta"),
    (lambda: nn.CELU(0.0), nn.LayerError, "alpha"),
    (lambda: nn.Hardshrink(-1.0), nn.LayerError, "0 or more"),
    (lambda: nn.GLU()({}, lnp.ones((2, 3))), ValueError, "no two halves"),
    (lambda: nn.Softmax2d()({}, lnp.ones((2, 3))), nn.LayerError, r"\[N, H, W, C\]"),
    (lambda: nn.Softmax(3)({}, lnp.ones((2, 3))), ValueError, "axis 3"),
    (lambda: fn.gumbel_softmax(lnp.ones(3), key=3), TypeError, r"random.key\(3\)"),
])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
