"""Dropout and its kin: probabilities, what they keep, keys, errors."""

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.nn import functional as fn

KEY = random.key(3)
FAMILY = {
    "dropout": (40, 50), "dropout1d": (30, 3, 40), "dropout2d": (30, 2, 2, 40),
    "dropout3d": (20, 2, 2, 2, 40), "alpha_dropout": (40, 50),
    "feature_alpha_dropout": (30, 2, 2, 40), "drop_path": (800, 2)}
GROUPS = {"dropout": (), "alpha_dropout": (), "dropout1d": (1,), "dropout2d": (1, 2),
          "dropout3d": (1, 2, 3), "feature_alpha_dropout": (1, 2), "drop_path": (1,)}
names = pytest.mark.parametrize("name", FAMILY)
LAYERS = [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.Dropout2d(0.5), nn.Dropout3d(0.5),
          nn.AlphaDropout(0.5), nn.FeatureAlphaDropout(0.5), nn.DropPath(0.5),
          nn.DropBlock(2, 0.5)]


def data_for(layer: nn.Layer) -> lnp.ndarray:
    rank = len(layer.layout.replace("...", "L L").split()) or 2
    if isinstance(layer, nn.DropPath):
        return lnp.ones((20, 3))
    return lnp.ones((*[3] * (rank - 1), 20))


@names
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_share_p_is_dropped_in_groups(name, p):
    x = np.random.default_rng(0).standard_normal(FAMILY[name]).astype("float32")
    y = np.asarray(getattr(fn, name)(x, p, key=KEY))
    if "alpha" in name:
        values, counts = np.unique(y, return_counts=True)
        dropped = y == values[counts.argmax()]
    else:
        dropped = y == 0
        np.testing.assert_allclose(y[~dropped], (x / (1 - p))[~dropped], rtol=1e-6)
    axes = GROUPS[name]
    groups = dropped.all(axis=axes) if axes else dropped
    np.testing.assert_array_equal(groups, dropped.any(axis=axes) if axes else dropped)
    assert abs(groups.mean() - p) < 4 * np.sqrt(p * (1 - p) / groups.size)


@names
def test_means_are_preserved(name):
    x = lnp.full(FAMILY[name], 2.0) if "alpha" not in name else random.normal(KEY, FAMILY[name])
    keys = random.split(KEY, 100)
    y = np.asarray(lf.vmap(lambda k: getattr(fn, name)(x, 0.4, key=k))(keys))
    assert abs(y.mean() - float(x.mean())) < 0.05
    if "alpha" in name:
        assert y.var() == pytest.approx(1.0, abs=0.06)


@names
def test_p_0_is_the_identity_and_p_1_gives_zeros(name):
    f = getattr(fn, name)
    x = random.normal(KEY, FAMILY[name])
    np.testing.assert_array_equal(f(x, 0.0), x)
    np.testing.assert_array_equal(f(x, 0.3, training=False), x)
    hard = lnp.where(x > 0, float("nan"), float("inf"))
    np.testing.assert_array_equal(f(hard, 1.0, key=KEY), np.zeros(x.shape))
    np.testing.assert_array_equal(lf.grad(lambda x: f(x, 1.0, key=KEY).sum())(hard),
                                  np.zeros(x.shape))


@names
def test_nothing_leaks_from_what_is_dropped(name):
    f = getattr(fn, name)
    x = random.normal(KEY, FAMILY[name])
    slope = lf.grad(lambda x: f(x, 0.5, key=KEY).sum())(x)
    dropped = np.asarray(slope) == 0
    assert 0.2 < dropped.mean() < 0.8
    bad = lnp.where(dropped, float("nan"), x)
    assert np.isfinite(f(bad, 0.5, key=KEY)).all()
    np.testing.assert_array_equal(lf.grad(lambda x: f(x, 0.5, key=KEY).sum())(bad), slope)


@names
def test_jit_with_a_key_argument_and_vmap_over_keys(name):
    f = lambda k, x: getattr(fn, name)(x, 0.5, key=k)
    x = random.normal(KEY, FAMILY[name])
    np.testing.assert_allclose(lf.jit(f)(KEY, x), f(KEY, x), rtol=1e-6)
    keys = random.split(KEY, 3)
    lanes = lf.vmap(f, in_axes=(0, None))(keys, x)
    for i in range(3):
        np.testing.assert_allclose(lanes[i], f(keys[i], x), rtol=1e-6)
    assert not np.array_equal(lanes[0], lanes[1])


@pytest.mark.parametrize("name", [n for n in FAMILY if "alpha" not in n])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_p_may_be_traced(name, p):
    f = lambda p, x: getattr(fn, name)(x, p, key=KEY).sum()
    x = lnp.ones(FAMILY[name])
    value, slope = lf.jit(lf.value_and_grad(f, argnums=1))(p, x)
    assert float(value) == pytest.approx(0 if p == 1 else x.size, rel=0.15)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_are_kept(dtype):
    for name, shape in {**FAMILY, "drop_path": (8, 2)}.items():
        assert getattr(fn, name)(lnp.ones(shape, dtype), 0.5, key=KEY).dtype == dtype
    assert fn.drop_block(lnp.ones((2, 4, 4, 3), dtype), 2, 0.5, key=KEY).dtype == dtype
    assert fn.dropout([1, 2, 3], 0.5, key=KEY).dtype == "float32"


# ------------------------------------------------------------------ blocks and paths

def test_drop_block_drops_whole_blocks():
    x = lnp.ones((4, 12, 12, 8))
    y = np.asarray(fn.drop_block(x, 3, 0.05, key=KEY))
    dropped = y == 0
    assert 0.01 < dropped.mean() < 0.07
    assert y.mean() == pytest.approx(1.0, rel=1e-5)  # scaled by the exact count
    # Every dropped element lies in a dropped square of 3 by 3.
    squares = np.lib.stride_tricks.sliding_window_view(dropped, (3, 3), (1, 2)).all((-1, -2))
    covered = np.zeros_like(dropped)
    for n, i, j, c in zip(*squares.nonzero(), strict=True):
        covered[n, i:i + 3, j:j + 3, c] = True
    np.testing.assert_array_equal(covered, dropped)
    assert len({a.tobytes() for a in dropped.transpose(0, 3, 1, 2).reshape(32, -1)}) > 10


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_drop_block_of_size_1_is_dropout(p):
    y = np.asarray(fn.drop_block(lnp.ones((4, 20, 20, 8)), 1, p, key=KEY))
    assert (y == 0).mean() == pytest.approx(p, abs=0.02)


def test_drop_block_larger_than_the_data_and_extremes():
    x = random.normal(KEY, (3, 2, 4, 5))
    for p in (0.3, 1.0):
        y = np.asarray(fn.drop_block(x, 7, p, key=KEY))
        assert np.isfinite(y).all()
    np.testing.assert_array_equal(y, np.zeros(x.shape))
    np.testing.assert_array_equal(fn.drop_block(x, 7, 0.0), x)
    np.testing.assert_array_equal(fn.drop_block(x, 7, 0.5, training=False), x)
    jitted = lf.jit(lambda k, x: fn.drop_block(x, 2, 0.5, key=k))
    np.testing.assert_allclose(jitted(KEY, x), fn.drop_block(x, 2, 0.5, key=KEY), rtol=1e-6)
    hard = lnp.where(fn.drop_block(x, 2, 0.5, key=KEY) == 0, float("nan"), x)
    assert np.isfinite(fn.drop_block(hard, 2, 0.5, key=KEY)).all()
    # All gone, though p < 1: neither NaN nor inf.
    gone = lf.grad(lambda x: fn.drop_block(x, 2, 0.9999, key=KEY).sum())(lnp.ones((1, 2, 2, 1)))
    assert np.isfinite(gone).all()


def test_drop_path_respects_evaluation_and_gives_no_nan():
    """Lucid's drop_path ignored training, and gave NaN."""
    x = random.normal(KEY, (64, 3))
    layer = nn.DropPath(0.5)
    np.testing.assert_array_equal(layer.apply({}, {}, x)[0], x)
    y, _ = layer.apply({}, {}, x, train=True, key=KEY)
    assert np.isfinite(y).all()
    kept = np.asarray(y).any(1)
    np.testing.assert_allclose(np.asarray(y)[kept], 2 * np.asarray(x)[kept])
    y, _ = nn.DropPath(0.5, scale_by_keep=False).apply({}, {}, x, train=True, key=KEY)
    np.testing.assert_array_equal(np.asarray(y)[kept], np.asarray(x)[kept])
    assert np.isfinite(fn.drop_path(x, 1.0, key=KEY)).all()


def test_alpha_dropout_runs():
    """Lucid's raised in single precision."""
    y, _ = nn.AlphaDropout(0.2).apply({}, {}, lnp.ones((4, 4)), train=True, key=KEY)
    assert y.dtype == "float32"
    assert np.isfinite(y).all()


# ------------------------------------------------------------------ layers

@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_draw_in_training_only(layer):
    x = data_for(layer)
    assert layer.stochastic
    np.testing.assert_array_equal(layer.apply({}, {}, x, key=KEY)[0], x)
    once, again = [layer.apply({}, {}, x, train=True, key=KEY)[0] for _ in range(2)]
    np.testing.assert_array_equal(once, again)
    other = layer.apply({}, {}, x, train=True, key=random.key(9))[0]
    assert not np.array_equal(once, other)
    with pytest.raises(nn.LayerError, match="needs a random key in training"):
        layer.apply({}, {}, x, train=True)
    with pytest.raises(nn.LayerError, match="draws random numbers in training"):
        layer({}, x)


def test_p_0_needs_no_key():
    for layer in (nn.Dropout(0.0), nn.Dropout2d(0), nn.DropPath(0.0), nn.DropBlock(3, 0.0)):
        assert not layer.stochastic
        x = lnp.ones((2, 4, 4, 3))
        np.testing.assert_array_equal(layer.apply({}, {}, x, train=True)[0], x)


def test_numbers_of_numpy_will_do():
    assert nn.Dropout(np.float32(0.5)).stochastic
    assert nn.DropBlock(np.int64(3)).stochastic


def test_layers_of_a_model_draw_different_masks():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    y, _ = model.apply({}, {}, lnp.ones(4000), train=True, key=KEY)
    assert float((y == 0).mean()) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: fn.dropout(lnp.ones(3), 1.5, key=KEY), ValueError, r"p = 1.5.*in \[0, 1\]"),
    (lambda: fn.dropout(lnp.ones(3), float("nan"), key=KEY), ValueError, r"in \[0, 1\]"),
    (lambda: fn.dropout(lnp.ones(3), "0.5", key=KEY), TypeError, "one number in"),
    (lambda: fn.dropout(lnp.ones(3), True, key=KEY), TypeError, "one number in"),
    (lambda: fn.dropout(lnp.ones(3), lnp.ones(3), key=KEY), TypeError, "one number in"),
    (lambda: fn.dropout(lnp.ones(3)), TypeError, "dropout needs a random key in training"),
    (lambda: fn.dropout(lnp.ones(3), key=0), TypeError, r"random.key\(0\)"),
    (lambda: fn.dropout2d(lnp.ones((3, 4)), key=KEY), TypeError, r"\[N, H, W, C\] or \[H, W, C\]"),
    (lambda: fn.dropout1d(lnp.ones((3, 4, 5, 6)), key=KEY), TypeError, r"\[N, L, C\]"),
    (lambda: fn.feature_alpha_dropout(lnp.ones(3), key=KEY), TypeError, r"\[N, ..., C\]"),
    (lambda: fn.drop_path(1.0, key=KEY), TypeError, r"\[N, ...\]"),
    (lambda: fn.drop_block(lnp.ones((4, 4, 3)), 2, key=KEY), TypeError, r"\[N, H, W, C\]"),
    (lambda: fn.drop_block(lnp.ones((1, 4, 4, 3)), 0, key=KEY), ValueError, "1 or more"),
    (lambda: nn.Dropout(-0.1), nn.LayerError, r"got p = -0.1, expected the probability"),
    (lambda: nn.Dropout("half"), nn.LayerError, "got p = 'half'"),
    (lambda: nn.DropPath(2), nn.LayerError, "got drop_prob = 2"),
    (lambda: nn.DropBlock(0), nn.LayerError, "got block_size = 0"),
    (lambda: nn.DropBlock(7.0), nn.LayerError, "got block_size = 7.0"),
    (lambda: nn.Dropout2d().apply({}, {}, lnp.ones((3, 4))), TypeError, r"\[N, H, W, C\]"),
])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
