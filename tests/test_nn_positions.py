"""Positional encodings: values, offsets that are traced, precision far out, errors."""

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.nn import functional as fn

KEY = random.key(0)
X = random.normal(KEY, (2, 5, 3, 8))  # [B, T, N, H]


@pytest.mark.parametrize("dim", [1, 5, 6])
def test_sinusoidal_by_the_formula(dim):
    got = fn.sinusoidal_positions(7, dim, 100.0, dtype="float64")
    want = [[(np.sin if i % 2 == 0 else np.cos)(t / 100.0 ** (i // 2 * 2 / dim))
             for i in range(dim)] for t in range(7)]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


def test_sinusoidal_is_precise_far_out():
    places = np.array([100_000, 100_001])
    single = fn.sinusoidal_positions(2, 64, positions=places)
    double = fn.sinusoidal_positions(2, 64, positions=places, dtype="float64")
    assert single.dtype == "float32"
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-7)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_keeps_norms_and_sees_distances_only(interleaved):
    turn = lambda x, p: fn.apply_rotary_embedding(x, p, interleaved=interleaved)
    y = turn(X, None)
    np.testing.assert_allclose(lnp.linalg.norm(y, axis=-1), lnp.linalg.norm(X, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(y[:, 0], X[:, 0])
    q, k = random.normal(KEY, (2, 1, 1, 1, 8))
    score = lambda s, t: float((turn(q, s) * turn(k, t)).sum())
    assert score(3, 7) == pytest.approx(score(103, 107), abs=1e-4)
    assert score(3, 7) != pytest.approx(score(3, 8), abs=1e-3)


def test_the_two_pairings_are_permutations_of_each_other():
    order = np.arange(8).reshape(4, 2).T.ravel()
    np.testing.assert_allclose(fn.apply_rotary_embedding(X, interleaved=True)[..., order],
                               fn.apply_rotary_embedding(X[..., order]), rtol=1e-6, atol=1e-6)


LAYERS = [nn.RotaryEmbedding(8), nn.RotaryEmbedding(4, interleaved=True),
          nn.SinusoidalPositionalEncoding(8), nn.LearnedPositionalEmbedding(12, 8)]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_offsets_as_with_a_cache(layer):
    params, _ = layer.init(KEY)
    rotary = isinstance(layer, nn.RotaryEmbedding)
    x = X if rotary else X[:, :, 0]
    full = layer(params, x)
    np.testing.assert_allclose(layer(params, x[:, 2:], 2), full[:, 2:], rtol=1e-6, atol=1e-6)
    step = lf.jit(lambda x, at: layer(params, x, at))
    for t in range(5):
        np.testing.assert_allclose(step(x[:, t:t + 1], t), full[:, t:t + 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(step(x, lnp.arange(5)), full, rtol=1e-5, atol=1e-6)
    each = lnp.asarray([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
    np.testing.assert_allclose(step(x, each)[1, 4], layer(params, x[1:], each[1])[0, 4], rtol=1e-5,
                               atol=1e-6)
    lanes = lf.vmap(lambda x, at: layer(params, x, at))(x, lnp.asarray([0, 3]))
    np.testing.assert_allclose(lanes[1], layer(params, x[1], 3), rtol=1e-5, atol=1e-6)


def test_partial_rotation_leaves_the_rest():
    y = nn.RotaryEmbedding(4)({}, X)
    np.testing.assert_array_equal(y[..., 4:], X[..., 4:])
    np.testing.assert_allclose(y[..., :4], fn.apply_rotary_embedding(X[..., :4]), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float32"])
def test_offsets_of_any_type(dtype):
    x = lnp.ones((300, 1, 2))
    want = fn.apply_rotary_embedding(x, 3)
    at = lnp.asarray(3, dtype)
    for call in (fn.apply_rotary_embedding, lf.jit(fn.apply_rotary_embedding)):
        np.testing.assert_allclose(call(x, at), want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_are_kept(dtype):
    x = X.astype(dtype)
    y = fn.apply_rotary_embedding(x, 1000)
    assert y.dtype == dtype
    # The angles are single precision in half precision too.
    want = fn.apply_rotary_embedding(x.astype("float64"), 1000)
    eps = float(lnp.finfo(dtype).eps)
    np.testing.assert_allclose(y.astype("float64"), want, rtol=0, atol=4 * max(eps, 1e-7))
    assert nn.SinusoidalPositionalEncoding(8)({}, x[:, :, 0]).dtype == dtype
    assert fn.sinusoidal_positions(3, 4, dtype=dtype).dtype == dtype


def test_fractions_interpolate():
    y = fn.apply_rotary_embedding(X, lnp.arange(5) * 0.5)
    np.testing.assert_allclose(y[:, 4:], fn.apply_rotary_embedding(X[:, 4:], 2), rtol=1e-5,
                               atol=1e-6)


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: fn.apply_rotary_embedding(lnp.ones((3, 4))), TypeError, r"\[..., T, N, H\]"),
    (lambda: fn.apply_rotary_embedding(lnp.ones((3, 1, 5))), ValueError, "an even number"),
    (lambda: fn.apply_rotary_embedding(X, dim=10), ValueError, "of the 8 channels"),
    (lambda: fn.apply_rotary_embedding(X, [1, 2]), TypeError, r"expected one integer.*\[..., 5\]"),
    (lambda: fn.sinusoidal_positions(3, 0), ValueError, "dim 0"),
    (lambda: nn.RotaryEmbedding(5), nn.LayerError, "dim = 5, expected an even number"),
    (lambda: nn.RotaryEmbedding(16)({}, X), nn.LayerError, "H of 16 or more"),
    (lambda: nn.SinusoidalPositionalEncoding(4)({}, lnp.ones((3, 5))), nn.LayerError,
     "expected 4"),
    (lambda: nn.SinusoidalPositionalEncoding(4)({}, lnp.ones(4)), nn.LayerError, r"\[T, C\]"),
    (lambda: nn.LearnedPositionalEmbedding(3, 4)({}, lnp.ones((2, 5, 4))), nn.LayerError,
     "of 5 places, expected at most num_embeddings = 3"),
    (lambda: nn.LearnedPositionalEmbedding(5, 4)({"weight": lnp.ones((5, 4))}, lnp.ones((3, 4)), 3),
     IndexError, r"\[0, 5\)|size 5"),
])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        lf.block_until_ready(call())
