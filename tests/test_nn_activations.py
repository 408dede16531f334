"""Activation functions: values, kinks, stability, derivatives, attention; and `jax.nn`."""

import math

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, testing

rng = np.random.default_rng(0)
A = lambda *shape: rng.standard_normal(shape)
INF, NAN = math.inf, math.nan
X = np.asarray

ELEMENTWISE = """relu relu6 leaky_relu hard_tanh hard_sigmoid hard_silu hard_swish sparse_plus
sparse_sigmoid identity sigmoid silu swish soft_sign softplus log_sigmoid squareplus mish gelu
gelu_exact elu celu selu tanh""".split()
EDGES = X([-INF, -1e30, -100.0, -3.0, -1.0, -1e-3, -0.0, 0.0, 1e-3, 1.0, 3.0, 6.0, 100.0, 1e30,
           INF])
KINKS = X([-3.0, -1.0, 0.0, 1.0, 3.0, 6.0])


def function(name, module=nn):
    if name == "gelu_exact":
        return lambda x: module.gelu(x, approximate=False)
    return getattr(module, name)


@pytest.fixture(scope="module")
def jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_batches_and_jit(name):
    f, x = function(name), 2.0 * A(3, 4)
    x = np.where(np.abs(x - np.round(x)) < 0.01, x + 0.02, x)  # not at a kink
    testing.check_grads(f, (x,), order=2)
    testing.check_batch(f, (x,))
    testing.check_jit(f, (x,))


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_dtype_is_kept(name, dtype):
    assert function(name)(lnp.asarray(A(3), dtype)).dtype == lnp.asarray(0, dtype).dtype


@pytest.mark.parametrize("name", sorted(set(ELEMENTWISE) - {"identity", "relu"}))
def test_integers_become_floats(name):
    out = function(name)(X([-2, 0, 3], "int32"))
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, function(name)(X([-2, 0, 3], "float32")))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_finite_gradients_far_out(name):
    f = function(name)
    far = EDGES[np.isfinite(EDGES)]
    slope = np.asarray(lf.grad(lambda x: lnp.sum(f(x)))(far))
    if name == "squareplus":
        far, slope = far[np.abs(far) < 1e10], slope[np.abs(far) < 1e10]
    if name in ("gelu", "mish", "silu", "swish", "gelu_exact", "soft_sign"):
        slope = slope[np.abs(far) <= 100]
    assert np.isfinite(slope).all()


@pytest.mark.peers
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_is_that_of_jax(name, jax):
    ours, theirs = function(name), function(name, jax.nn)
    with np.errstate(all="ignore"):
        x = np.concatenate([EDGES, 3 * A(50)])
        # 1 + tanh cancels on the left: an ulp of 1, times |x| up to about 10.
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-12, atol=10 * np.finfo(float).eps)
        x = np.concatenate([KINKS if name not in KINK_EXEMPT else KINKS[:0], 3 * A(50)])
        np.testing.assert_allclose(lf.grad(lambda x: lnp.sum(ours(x)))(x),
                                   jax.grad(lambda x: theirs(x).sum())(x), rtol=1e-10, atol=1e-12)
        second = lambda m, s, f: m.grad(lambda x: s(m.grad(lambda y: s(f(y)))(x)))
        x = 3 * A(50)
        np.testing.assert_allclose(second(lf, lnp.sum, ours)(x),
                                   second(jax, jax.numpy.sum, theirs)(x), rtol=1e-8, atol=1e-10)


# abs'(0) is 1 in JAX: soft_sign. sparse_sigmoid: the slope at -1 belongs to the other piece.
KINK_EXEMPT = {"sparse_sigmoid"}


def test_values_at_kinks():
    slope = lambda f, x: float(lf.grad(f)(x))
    assert [slope(nn.relu, v) for v in (-1.0, 0.0, -0.0, 1.0)] == [0, 0, 0, 1]
    assert [slope(nn.relu6, v) for v in (0.0, 3.0, 6.0)] == [0, 1, 0]
    assert slope(nn.leaky_relu, 0.0) == 1
    assert [slope(nn.hard_tanh, v) for v in (-1.0, 1.0)] == [1, 1]
    assert slope(nn.soft_sign, 0.0) == 1
    assert slope(lf.grad(nn.softplus), 0.0) == 0.25
    assert slope(nn.softplus, 0.0) == 0.5
    assert np.isnan(nn.relu6(NAN))
    assert np.isnan(nn.relu(NAN))


def test_relu_keeps_integers():
    assert nn.relu(X([-1, 2], "int8")).dtype == "int8"
    assert nn.relu(X([-1, 2], "int8")).tolist() == [0, 2]
    with pytest.raises(TypeError, match="complex numbers have no order"):
        nn.relu(lnp.asarray([1j], "complex64"))


def test_parameters():
    x = A(5)
    np.testing.assert_allclose(nn.leaky_relu(x, 0.2), np.where(x >= 0, x, 0.2 * x))
    np.testing.assert_allclose(nn.elu(x, 2.0), np.where(x > 0, x, 2 * np.expm1(x)))
    np.testing.assert_allclose(nn.celu(x, 2.0), np.where(x > 0, x, 2 * np.expm1(x / 2)))
    np.testing.assert_allclose(nn.squareplus(x, 1.0), (x + np.sqrt(x * x + 1)) / 2)
    testing.check_grads(lambda x, a: nn.elu(x, a), (x, X(1.5)))
    testing.check_grads(lambda x, a: nn.celu(x, a), (x, X(1.5)))


def test_log1mexp():
    x = X([1e-10, 0.1, math.log(2), 1.0, 50.0, 800.0])
    want = [math.log(-math.expm1(-v)) if v < 1 else math.log1p(-math.exp(-v)) for v in x]
    np.testing.assert_allclose(nn.log1mexp(x), want, rtol=1e-13)
    assert float(nn.log1mexp(0.0)) == -INF
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(lf.grad(lambda x: lnp.sum(nn.log1mexp(x)))(x), 1 / np.expm1(x),
                                   rtol=1e-10)


def test_glu():
    x = A(3, 6)
    np.testing.assert_allclose(nn.glu(x), x[:, :3] / (1 + np.exp(-x[:, 3:])))
    assert nn.glu(A(4, 3), axis=0).shape == (2, 3)
    testing.check_grads(nn.glu, (x,))
    with pytest.raises(ValueError, match="axis 0 of size 3 has no two halves"):
        nn.glu(x, axis=0)


# ------------------------------------------------------------------ along axes

def softmax_reference(x, axis, where):
    x = np.where(where, x, -INF)
    top = x.max(axis, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


@pytest.mark.parametrize("axis", [-1, 0, (0, 2), None])
def test_softmax_family(axis):
    x, where = 5 * A(3, 4, 5), rng.uniform(size=(3, 4, 5)) < 0.8
    where[1, 2] = False
    axes = tuple(range(3)) if axis is None else axis
    for mask in (None, where):
        full = np.ones_like(where) if mask is None else mask
        want = softmax_reference(x, axes, full)
        np.testing.assert_allclose(nn.softmax(x, axis, where=mask), want, rtol=1e-12)
        with np.errstate(divide="ignore", invalid="ignore"):
            np.testing.assert_allclose(nn.log_softmax(x, axis, where=mask), np.log(want),
                                       rtol=1e-10, atol=1e-12)
            lse = np.log(np.sum(np.exp(x), axes, where=full))
            mean = lse - np.log(np.sum(full, axes))  # NaN where there is nothing
        np.testing.assert_allclose(nn.logsumexp(x, axis, where=mask), lse, rtol=1e-12)
        np.testing.assert_allclose(nn.logmeanexp(x, axis, where=mask),
                                   np.where(np.isnan(mean), NAN, mean), rtol=1e-10, atol=1e-12)
        testing.check_grads(lambda x: nn.softmax(x, axis, where=mask), (x / 5,))
        finite = lambda y: lnp.where(full, y, 0.0)
        testing.check_grads(lambda x: finite(nn.log_softmax(x, axis, where=mask)), (x / 5,))


def test_softmax_is_stable():
    np.testing.assert_array_equal(nn.softmax([1e30, 1e30, -1e30]), X([0.5, 0.5, 0], "float32"))
    np.testing.assert_allclose(nn.log_softmax(X([0.0, 1000.0])), [-1000, 0])
    assert nn.logsumexp(X([1000.0, 1000.0])) == pytest.approx(1000 + math.log(2))


def test_minus_inf_has_no_weight_and_no_gradient():
    x = X([[0.0, -INF, 1.0], [-INF, -INF, -INF]])
    e = math.e
    np.testing.assert_allclose(nn.softmax(x), [[1 / (1 + e), 0, e / (1 + e)], [0, 0, 0]])
    assert np.asarray(nn.log_softmax(x))[1].tolist() == [-INF] * 3
    assert np.asarray(nn.logsumexp(x, axis=-1))[1] == -INF
    for f in (nn.softmax, nn.log_softmax, lambda x: nn.logsumexp(x, axis=-1)):
        loss = lambda x: lnp.sum(lnp.where(lnp.isfinite(f(x)), f(x), 0.0) ** 2)
        g = np.asarray(lf.grad(loss)(x))
        assert np.isfinite(g).all()
        assert (g[~np.isfinite(x)] == 0).all()
        assert np.isfinite(np.asarray(lf.hessian(loss)(x))).all()


def test_nan_and_inf_stay_visible():
    assert np.isnan(nn.softmax(X([0.0, NAN]))).all()
    assert np.isnan(nn.softmax(X([0.0, INF]))).any()


def test_empty_axes():
    assert nn.softmax(np.zeros((2, 0))).shape == (2, 0)
    assert nn.log_softmax(np.zeros((0, 3))).shape == (0, 3)
    assert np.asarray(nn.logsumexp(np.zeros((2, 0)), axis=1)).tolist() == [-INF, -INF]


def test_logsumexp_with_weights_and_sign():
    x, b = A(3, 4), A(3, 4)
    total = np.sum(b * np.exp(x), 1)
    value, sign = nn.logsumexp(x, axis=1, b=b, return_sign=True)
    np.testing.assert_allclose(sign * np.exp(value), total)
    testing.check_grads(lambda x, b: nn.logsumexp(x, 1, b, return_sign=True)[0], (x, b))


def test_standardize():
    x = A(4, 5)
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(nn.standardize(x), want)
    np.testing.assert_allclose(nn.standardize(x, mean=1.0, variance=4.0, epsilon=0.0), (x - 1) / 2)
    where = np.arange(5) < 3
    part = x[:, :3]
    want = (part - part.mean(1, keepdims=True)) / np.sqrt(part.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.asarray(nn.standardize(x, where=where))[:, :3], want)
    testing.check_grads(nn.standardize, (x,))
    assert nn.standardize(x.astype("float32")).dtype == "float32"


def test_one_hot():
    assert nn.one_hot([0, 2, 3, -1], 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert nn.one_hot([[0, 1]], 3, axis=0).shape == (3, 1, 2)
    assert nn.one_hot([[0, 1]], 3, axis=1).shape == (1, 3, 2)
    assert nn.one_hot(1, 3, dtype="int8").dtype == "int8"
    assert nn.one_hot(X(1, "uint8"), 300).shape == (300,)
    assert nn.one_hot(X(44, "uint8"), 301).sum() == 1
    assert nn.one_hot(np.zeros((0,), "int32"), 3).shape == (0, 3)
    np.testing.assert_array_equal(lf.vmap(lambda i: nn.one_hot(i, 3))(X([0, 2])),
                                  np.eye(3, dtype="float32")[[0, 2]])


@pytest.mark.peers
def test_functions_along_axes_are_those_of_jax(jax):
    x, where = A(3, 4), rng.uniform(size=(3, 4)) < 0.7
    where[:, 0] = True
    calls = [lambda m, x: m.softmax(x), lambda m, x: m.log_softmax(x, 0),
             lambda m, x: m.softmax(x, (0, 1), where=where), lambda m, x: m.logsumexp(x, 1),
             lambda m, x: m.logsumexp(x, b=2.0, where=where),
             lambda m, x: m.logmeanexp(x, 1, where),
             lambda m, x: m.standardize(x), lambda m, x: m.standardize(x, 0, where=where),
             lambda m, x: m.glu(x, 1), lambda m, x: m.log1mexp(x * x)]
    for call in calls:
        np.testing.assert_allclose(call(nn, x), call(jax.nn, x), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            lf.grad(lambda x: lnp.sum(call(nn, x) ** 2))(x),
            jax.grad(lambda x: (call(jax.nn, x) ** 2).sum())(x), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------ attention

def attention(q, k, v, bias=0.0, seen=True, scale=None):
    """One head after another, one query after another."""
    b, t, n, h = q.shape
    s, groups = k.shape[1], n // k.shape[2]
    bias = np.broadcast_to(bias, (b, n, t, s))
    seen = np.broadcast_to(seen, (b, n, t, s))
    out = np.zeros((b, t, n, v.shape[3]))
    for i, j, head in np.ndindex(b, t, n):
        scores = k[i, :, head // groups] @ q[i, j, head] * (h ** -0.5 if scale is None else scale)
        scores = scores + bias[i, head, j]
        e = np.exp(scores - scores.max()) * seen[i, head, j]
        if e.sum():
            out[i, j, head] = e / e.sum() @ v[i, :, head // groups]
    return out


Q, K, V = A(2, 5, 6, 4), A(2, 7, 3, 4), A(2, 7, 3, 4)
SEEN = rng.uniform(size=(2, 1, 5, 7)) < 0.6
SEEN[:, :, :, 0] = True
BIAS = A(1, 6, 5, 7)
ROW, COLUMN = np.arange(5)[:, None], np.arange(7)[None]
ATTENTION = {
    "plain": ({}, {}), "scale": ({"scale": 0.3}, {"scale": 0.3}),
    "mask": ({"mask": SEEN}, {"seen": SEEN}), "bias": ({"bias": BIAS}, {"bias": BIAS}),
    "causal": ({"is_causal": True}, {"seen": COLUMN <= ROW}),
    "window": ({"local_window_size": (2, 1)},
               {"seen": (COLUMN >= ROW - 2) & (COLUMN <= ROW + 1)}),
    "window int": ({"local_window_size": 1}, {"seen": np.abs(ROW - COLUMN) <= 1}),
    "lengths": ({"key_value_seq_lengths": X([3, 7], "int32"),
                 "query_seq_lengths": X([5, 2], "int32")},
                {"seen": (X([3, 7])[:, None, None, None] > COLUMN)
                 & (X([5, 2])[:, None, None, None] > ROW)}),
    "all": ({"mask": SEEN, "bias": BIAS, "is_causal": True},
            {"seen": SEEN & (COLUMN <= ROW), "bias": BIAS}),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    given, meant = ATTENTION[name]
    f = lambda q, k, v: nn.dot_product_attention(q, k, v, **given)
    np.testing.assert_allclose(f(Q, K, V), attention(Q, K, V, **meant), rtol=1e-10, atol=1e-12)
    testing.check_grads(f, (Q, K, V), order=2)
    testing.check_jit(f, (Q, K, V))


def test_attention_without_batch_and_under_vmap():
    want = attention(Q, K, V)
    np.testing.assert_allclose(nn.dot_product_attention(Q[0], K[0], V[0]), want[0], rtol=1e-10)
    np.testing.assert_allclose(lf.vmap(nn.dot_product_attention)(Q, K, V), want, rtol=1e-10)
    mask = SEEN[0, 0]
    got = nn.dot_product_attention(Q[0], K[0], V[0], mask=mask)
    np.testing.assert_allclose(got, attention(Q[:1], K[:1], V[:1], seen=mask)[0], rtol=1e-10)


def test_a_query_that_sees_nothing_gets_zero_and_no_gradient():
    mask = np.zeros((2, 1, 5, 7), bool)
    mask[:, :, 1:] = True
    f = lambda q: nn.dot_product_attention(q, K, V, mask=mask)
    out, grad = np.asarray(f(Q)), np.asarray(lf.grad(lambda q: lnp.sum(f(q) ** 2))(Q))
    assert (out[:, 0] == 0).all()
    assert (grad[:, 0] == 0).all()
    assert np.isfinite(grad).all()


def test_attention_residual_and_dtype():
    out, lse = nn.dot_product_attention(Q, K, V, return_residual=True)
    scores = np.einsum("btkgh,bskh->btkgs", Q.reshape(2, 5, 3, 2, 4), K) / 2
    np.testing.assert_allclose(lse, np.log(np.exp(scores).sum(-1)).reshape(2, 5, 6), rtol=1e-10)
    half = [lnp.asarray(x, "float16") for x in (Q, K, V)]
    got = nn.dot_product_attention(*half, bias=BIAS)
    assert got.dtype == "float16"
    np.testing.assert_allclose(got, attention(Q, K, V, bias=BIAS), rtol=0.02, atol=0.02)


@pytest.mark.peers
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_that_of_jax(name, jax):
    given, _ = ATTENTION[name]
    got = nn.dot_product_attention(Q, K, V, **given)
    want = jax.nn.dot_product_attention(*map(jax.numpy.asarray, (Q, K, V)), **given)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_attention_errors():
    with pytest.raises(TypeError, match=r"\[B, T, N, H\]"):
        nn.dot_product_attention(Q[0, 0], K[0, 0], V[0, 0])
    with pytest.raises(TypeError, match="6 query heads be a multiple of the 4"):
        nn.dot_product_attention(Q, A(2, 7, 4, 4), A(2, 7, 4, 4))
    with pytest.raises(TypeError, match=r"does not broadcast to \[B, N, T, S\] = \[2, 6, 5, 7\]"):
        nn.dot_product_attention(Q, K, V, mask=np.ones((7, 5), bool))
    with pytest.raises(TypeError, match="Pass an additive mask as bias="):
        nn.dot_product_attention(Q, K, V, mask=np.zeros((5, 7)))


def test_names_of_jax_nn_are_there():
    must = """relu sigmoid softmax log_softmax gelu silu swish softplus log_sigmoid leaky_relu elu
    selu tanh one_hot logsumexp glu relu6 standardize dot_product_attention hard_tanh hard_sigmoid
    hard_silu hard_swish soft_sign celu mish squareplus sparse_plus sparse_sigmoid identity log1mexp
    logmeanexp initializers""".split()
    assert [n for n in must if not hasattr(nn, n)] == []
