"""Attention: what heads see, masks, dropout, caches, starts, and what a newcomer gets wrong."""

import math
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random, tree
from lucidfn.errors import ShapeError
from lucidfn.nn.functional import dot_product_attention, scaled_dot_product_attention

rng = np.random.default_rng(0)
A = lambda *shape: rng.standard_normal(shape).astype("float32")
Q, K, V = A(2, 4, 5, 3), A(2, 4, 7, 3), A(2, 4, 7, 6)
X = A(2, 6, 8)


def reference(q: Any, k: Any, v: Any, seen: Any = True) -> Any:
    scores = np.where(seen, q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def near(a: Any, b: Any, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol)


def started(layer: nn.Layer) -> Any:
    params, state = layer.init(random.key(0))
    assert state == {}
    return params


# ------------------------------------------------------------------ the functions

def test_both_layouts_are_one_computation() -> None:
    out = scaled_dot_product_attention(Q, K, V)
    near(out, reference(Q, K, V))
    turned = dot_product_attention(*[np.swapaxes(x, 1, 2) for x in (Q, K, V)])
    assert (np.swapaxes(turned, 1, 2) == np.asarray(out)).all()


def test_boolean_masks_are_true_where_a_key_is_seen() -> None:
    seen = rng.random((5, 7)) < 0.6
    seen[:, 0] = True
    near(scaled_dot_product_attention(Q, K, V, seen), reference(Q, K, V, seen))
    added = np.where(seen, 0.0, -np.inf)
    near(scaled_dot_product_attention(Q, K, V, added), reference(Q, K, V, seen))


def test_a_mask_holds_beside_is_causal() -> None:
    seen = np.ones((5, 7), bool)
    seen[:, 1] = False
    want = reference(Q, K, V, seen & np.tri(5, 7, dtype=bool))
    near(scaled_dot_product_attention(Q, K, V, seen, is_causal=True), want)


def test_a_query_that_sees_no_key_gets_zero_and_finite_gradients() -> None:
    seen = np.ones((5, 7), bool)
    seen[2] = False
    f = lambda q, k, v: scaled_dot_product_attention(q, k, v, seen)
    assert not np.asarray(f(Q, K, V))[:, :, 2].any()
    grads = lf.grad(lambda *xs: (f(*xs) ** 2).sum(), argnums=(0, 1, 2))(Q, K, V)
    assert all(np.isfinite(g).all() for g in grads)
    assert not np.asarray(grads[0])[:, :, 2].any()


def test_keys_that_are_not_seen_may_hold_anything() -> None:
    seen = np.arange(7) < 5
    k, v = K.copy(), V.copy()
    k[..., 5:, :] = 1e38
    f = lambda q: scaled_dot_product_attention(q, k, v, seen)
    near(f(Q), reference(Q, K[..., :5, :], V[..., :5, :]))
    assert np.isfinite(lf.grad(lambda q: f(q).sum())(Q)).all()


def test_large_scores_do_not_overflow() -> None:
    out = scaled_dot_product_attention(1e4 * Q, 1e4 * K, V)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_dtype_is_kept(dtype: str) -> None:
    given = [lnp.asarray(x, dtype) for x in (Q, K, V)]
    out = scaled_dot_product_attention(*given, np.zeros((5, 7)))
    assert out.dtype == given[0].dtype
    assert np.abs(np.asarray(out, "float64") - reference(Q, K, V)).max() < 0.03


def test_heads_of_keys_serve_groups_of_heads_of_queries() -> None:
    k, v = K[:, :2], V[:, :2]
    want = reference(Q, np.repeat(k, 2, axis=1), np.repeat(v, 2, axis=1))
    near(scaled_dot_product_attention(Q, k, v, enable_gqa=True), want)


def test_functional_dropout_needs_a_key_and_has_the_mean() -> None:
    with pytest.raises(TypeError, match="dropout_key=key"):
        scaled_dot_product_attention(Q, K, V, None, 0.5)
    q, k = np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 4000, 1))
    drop = lambda p, key: scaled_dot_product_attention(q, k, np.ones_like(k), None, p,
                                                       dropout_key=random.key(key)).sum()
    assert drop(0.5, 0) == drop(0.5, 0) != drop(0.5, 1)
    assert abs(drop(0.5, 0) - 1.0) < 0.06
    assert drop(1.0, 0) == 0.0
    assert lf.jit(drop, static_argnums=1)(0.5, 0) == pytest.approx(drop(0.5, 0))


@pytest.mark.parametrize(("args", "error", "match"), [
    ((Q, K[..., :2], V), ShapeError, "E and S must agree"),
    ((Q, K, V[:, :, :4]), ShapeError, "E and S must agree"),
    ((Q, K[:, :2], V[:, :2]), ShapeError, "enable_gqa=True"),
    ((Q, K[0], V), ShapeError, "same number of axes"),
    ((Q.astype("int32"), K.astype("int32"), V.astype("int32")), TypeError, "floating"),
    ((Q, K, V, np.ones((7, 5), bool)), ShapeError, "does not broadcast to"),
    ((Q, K, V, np.ones((5, 7), "int32")), TypeError, "must be bool"),
    ((Q, K, V, None, 1.5), ValueError, "in \\[0, 1\\]"),
    ((Q, K, V, None, True), TypeError, "probability of dropping"),
])
def test_errors_of_the_function(args: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        scaled_dot_product_attention(*args)


def test_groups_must_fit() -> None:
    with pytest.raises(ShapeError, match="multiple of the 3"):
        scaled_dot_product_attention(Q, K[:, :3], V[:, :3], enable_gqa=True)


# ------------------------------------------------------------------ dropout in layers

def test_evaluation_does_not_drop() -> None:
    layer = nn.ScaledDotProductAttention(0.5)
    out, _ = layer.apply({}, {}, Q, K, V, key=random.key(0))
    near(out, reference(Q, K, V))
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5)
    params = started(encoder)
    first, _ = encoder.apply(params, {}, X, key=random.key(0))
    again, _ = encoder.apply(params, {}, X)
    assert (np.asarray(first) == np.asarray(again)).all()


def test_training_drops_by_the_key_alone() -> None:
    for layer, inputs in ((nn.ScaledDotProductAttention(0.5), (Q, K, V)),
                          (nn.MultiheadAttention(8, 2, 0.5), (X, X, X))):
        params = started(layer)
        run = lambda n: np.asarray(layer.apply(params, {}, *inputs, train=True,
                                               key=random.key(n))[0])
        assert (run(0) == run(0)).all()
        assert not (run(0) == run(1)).all()
        with pytest.raises(nn.LayerError, match="needs a random key in training"):
            layer.apply(params, {}, *inputs, train=True)


# ------------------------------------------------------------------ heads

def test_heads_split_the_channels_and_not_the_sequence() -> None:
    mha = nn.MultiheadAttention(8, 2)
    params = started(mha)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        params[name] = {"weight": lnp.eye(8), "bias": lnp.zeros(8)}
    heads = [X[:, :, :4], X[:, :, 4:]]
    near(mha(params, X, X, X), np.concatenate([reference(h, h, h) for h in heads], axis=-1))


def test_every_token_reaches_every_query() -> None:
    mha = nn.MultiheadAttention(8, 2)
    params = started(mha)
    moved = X.copy()
    moved[:, 0] += 1.0
    change = np.abs(np.asarray(mha(params, moved)) - np.asarray(mha(params, X)))
    assert (change.max(axis=-1) > 1e-4).all()


def test_is_causal_needs_no_mask() -> None:
    mha = nn.MultiheadAttention(8, 2)
    params = started(mha)
    later = np.triu(np.ones((6, 6), bool), 1)
    near(mha(params, X, is_causal=True), mha(params, X, attn_mask=later))
    near(mha(params, X, is_causal=True),
         mha(params, X, attn_mask=nn.Transformer.generate_square_subsequent_mask(6)))


def test_masks_of_extra_keys_grow_on_the_axis_of_keys_alone() -> None:
    mha = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True)
    params = started(mha)
    nobody = np.ones((6, 6), bool)
    padding = np.ones((2, 6), bool)
    out, weights = mha(params, X, attn_mask=nobody, key_padding_mask=padding, need_weights=True)
    assert out.shape == (2, 6, 8) and weights.shape == (2, 6, 8)
    # The learnt key and the key of zeros are seen by each query, also by the last ones.
    assert not np.asarray(weights)[..., :6].any()
    near(np.asarray(weights)[..., 6:].sum(-1), 1.0)
    assert (np.asarray(weights)[..., 6:] > 0.01).all()


def test_weights_are_those_of_the_output() -> None:
    mha = nn.MultiheadAttention(8, 2)
    params = started(mha)
    out, weights = mha(params, X, need_weights=True, average_attn_weights=False)
    assert weights.shape == (2, 2, 6, 6)
    v = np.split(X @ np.asarray(params["v_proj"]["weight"]), 2, axis=-1)
    heads = np.concatenate([np.asarray(weights)[:, i] @ v[i] for i in (0, 1)], axis=-1)
    near(out, heads @ np.asarray(params["out_proj"]["weight"]))
    _, mean = mha(params, X, need_weights=True)
    near(mean, np.asarray(weights).mean(1))


def test_grouped_queries_are_multihead_attention_with_repeated_heads() -> None:
    gqa = nn.GroupedQueryAttention(8, 4, 2)
    params = started(gqa)
    wide = {name: dict(p) for name, p in params.items()}
    for name in ("k_proj", "v_proj"):
        w = np.asarray(params[name]["weight"]).reshape(8, 2, 2)
        wide[name] = {"weight": np.repeat(w, 2, axis=1).reshape(8, 8), "bias": np.zeros(8, "f4")}
    near(gqa(params, X, is_causal=True), nn.MultiheadAttention(8, 4)(wide, X, is_causal=True))
    assert nn.MultiQueryAttention(8, 4).children() == nn.GroupedQueryAttention(8, 4, 1).children()


def test_the_name_with_a_capital_h_is_the_same() -> None:
    assert nn.MultiHeadAttention is nn.MultiheadAttention


# ------------------------------------------------------------------ caches

CACHED = [nn.MultiheadAttention(8, 2), nn.GroupedQueryAttention(8, 4, 2),
          nn.GroupedQueryAttention(8, 4, 2, rotary=nn.RotaryEmbedding(2)),
          nn.MultiQueryAttention(8, 2)]


@pytest.mark.parametrize("layer", CACHED, ids=["many", "groups", "rotary", "one"])
@pytest.mark.parametrize("parts", [[1] * 6, [3, 1, 2], [6]], ids=str)
def test_a_cache_gives_what_the_whole_sequence_gives(layer: Any, parts: list[int]) -> None:
    params = started(layer)
    cache, found, at = layer.init_cache(2, 9), [], 0
    for n in parts:
        (y, cache), _ = layer.apply(params, {}, X[:, at:at + n], is_causal=True, cache=cache)
        found.append(np.asarray(y))
        at += n
    near(np.concatenate(found, axis=1), layer(params, X, is_causal=True))
    assert int(cache["length"]) == 6


def test_a_cached_step_is_traced_once() -> None:
    layer = nn.GroupedQueryAttention(8, 4, 2)
    params, traces = started(layer), []

    @lf.jit
    def step(cache: Any, x: Any) -> Any:
        traces.append(1)
        return layer.apply(params, {}, x, is_causal=True, cache=cache)[0]

    cache = layer.init_cache(2, 6)
    for i in range(6):
        _, cache = step(cache, X[:, i:i + 1])
    assert len(traces) == 1
    with pytest.raises(IndexError, match="out of bounds"):  # not over the tokens before
        lf.block_until_ready(step(cache, X[:, :1]))


def test_without_is_causal_all_tokens_so_far_are_seen() -> None:
    layer = nn.MultiheadAttention(8, 2)
    params = started(layer)
    _, cache = layer(params, X[:, :4], cache=layer.init_cache(2, 9))
    y, cache = layer(params, X[:, 4:], cache=cache)
    near(y, layer(params, X[:, 4:], X))


def test_a_cache_has_its_own_precision_and_gradients_flow() -> None:
    layer = nn.MultiheadAttention(8, 2)
    params = started(layer)
    cache = layer.init_cache(2, 6, "bfloat16")
    y, cache = layer(params, X, is_causal=True, cache=cache)
    assert cache["key"].dtype == "bfloat16" and y.dtype == "float32"
    near(y, layer(params, X, is_causal=True), 0.02)
    f = lambda cached: lambda p: (layer(p, X, is_causal=True, **cached)[0] if cached else
                                  layer(p, X, is_causal=True)).mean()
    ours = lf.grad(f({"cache": layer.init_cache(2, 6)}))(params)
    tree.map(near, ours, lf.grad(f({}))(params))


def test_errors_of_the_cache() -> None:
    layer = nn.MultiheadAttention(8, 2)
    params = started(layer)
    with pytest.raises(nn.LayerError, match="6 tokens for a cache of 4"):
        layer(params, X, cache=layer.init_cache(2, 4))
    with pytest.raises(nn.LayerError, match="init_cache"):
        layer(params, X, cache=layer.init_cache(3, 9))
    _, cache = layer(params, X, cache=layer.init_cache(2, 7))
    with pytest.raises(IndexError, match="out of bounds"):
        lf.block_until_ready(layer(params, X, cache=cache))


# ------------------------------------------------------------------ starts

def test_multihead_attention_starts_as_in_pytorch() -> None:
    params, _ = nn.MultiheadAttention(64, 4, add_bias_kv=True).init(random.key(0))
    for name in ("q_proj", "k_proj", "v_proj"):
        bound = math.sqrt(6 / (4 * 64))  # xavier of the packed [192, 64]
        w = np.asarray(params[name]["weight"])
        assert 0.98 * bound < np.abs(w).max() <= bound
        assert not np.asarray(params[name]["bias"]).any()
    out = np.abs(np.asarray(params["out_proj"]["weight"])).max()
    assert 0.98 / 8 < out <= 1 / 8 and not np.asarray(params["out_proj"]["bias"]).any()
    assert abs(np.asarray(params["bias_k"]).std() - 1 / 8) < 0.04
    own, _ = nn.MultiheadAttention(64, 4, kdim=32).init(random.key(0))
    assert np.abs(np.asarray(own["k_proj"]["weight"])).max() > 0.98 * math.sqrt(6 / 96)


# ------------------------------------------------------------------ what goes wrong

@pytest.mark.parametrize(("make", "match"), [
    (lambda: nn.MultiheadAttention(8, 3), "embed_dim must be a multiple of num_heads"),
    (lambda: nn.MultiheadAttention(8, 0), "num_heads = 0"),
    (lambda: nn.MultiheadAttention(8, "2"), "num_heads = '2'"),
    (lambda: nn.MultiheadAttention(-8, 2), "embed_dim = -8"),
    (lambda: nn.MultiheadAttention(8, 2, 1.5), "probability of dropping"),
    (lambda: nn.ScaledDotProductAttention(-0.1), "probability of dropping"),
    (lambda: nn.GroupedQueryAttention(8, 4, 3), "num_heads must be a multiple of num_kv_heads"),
    (lambda: nn.GroupedQueryAttention(8, 4, 0), "num_kv_heads = 0"),
    (lambda: nn.TransformerEncoderLayer(8, 2, activation="swish"), "'relu', 'gelu'"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), -1), "num_layers = -1"),
])
def test_hyperparameters_that_do_not_fit(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(("inputs", "options", "match"), [
    ((X[..., :7],), {}, "with 7 channels on the last axis, expected 8: data is \\[B, T, E\\]"),
    ((X, X[:1]), {}, "the same B"),
    ((X, X, X[:, :3]), {}, "the same S"),
    ((X[0, 0],), {}, "expected data \\[B, T, E\\]"),
    ((X,), {"attn_mask": np.ones((6, 5), bool)}, "attn_mask bool\\[6,5\\]"),
    ((X,), {"attn_mask": np.ones((2, 6, 6), bool)}, "\\[B \\* N, T, S\\] or \\[B, N, T, S\\]"),
    ((X,), {"attn_mask": np.ones((6, 6), "int32")}, "expected bool, True where a key is left out"),
    ((X,), {"key_padding_mask": np.ones((6, 2), bool)}, "\\[B, S\\] = \\[2, 6\\]"),
    ((X,), {"key_padding_mask": np.ones((2, 6), "uint8")}, "dtype uint8"),
    ((X,), {"key": X, "value": X}, "by position"),
])
def test_inputs_that_do_not_fit(inputs: Any, options: Any, match: str) -> None:
    mha = nn.MultiheadAttention(8, 2)
    params = started(mha)
    with pytest.raises(nn.LayerError, match=match):
        mha.apply(params, {}, *inputs, **options)


def test_an_error_within_a_stack_names_the_layer() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    params = started(encoder)
    with pytest.raises(nn.LayerError, match="at 'layers_0/self_attn' got attn_mask"):
        encoder.apply(params, {}, X, mask=np.ones((5, 5), bool))


# ------------------------------------------------------------------ the transformer

def test_layers_of_a_stack_start_apart() -> None:
    params = started(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2))
    a, b = (np.asarray(params[f"layers_{i}"]["linear1"]["weight"]) for i in (0, 1))
    assert not (a == b).any()


def test_the_transformer_starts_as_in_pytorch() -> None:
    params, _ = nn.Transformer(64, 4, 1, 1, 128).init(random.key(0))
    layer = params["decoder"]["layers_0"]
    largest = lambda p: np.abs(np.asarray(p["weight"])).max()
    packed, square, wide = (math.sqrt(6 / n) for n in (4 * 64, 128, 192))
    assert 0.98 * packed < largest(layer["self_attn"]["q_proj"]) <= packed
    assert 0.98 * square < largest(layer["multihead_attn"]["out_proj"]) <= square
    assert 0.98 * wide < largest(layer["linear1"]) <= wide
    assert 0.9 / 8 < np.abs(np.asarray(layer["linear1"]["bias"])).max() <= 1 / 8
    assert (np.asarray(layer["norm1"]["weight"]) == 1).all()


def test_dropout_of_the_transformer_follows_the_key() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.3)
    params = started(model)
    run = lambda n: np.asarray(model.apply(params, {}, X, X, train=True, key=random.key(n))[0])
    assert (run(0) == run(0)).all() and not (run(0) == run(1)).all()


def test_custom_stacks() -> None:
    custom = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 4, 4, dropout=0.0), 1)
    model = nn.Transformer(8, 2, 3, 1, 16, dropout=0.0, custom_encoder=custom)
    assert set(started(model)["encoder"]) == {"layers_0"}
    assert model(started(model), X, X[:, :4]).shape == (2, 4, 8)
