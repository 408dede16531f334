"""Embeddings: repeated ids, padding, ids out of range, norms, bags, errors."""

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.nn import functional as fn

KEY = random.key(1)
W = random.normal(KEY, (6, 3))
INT_TYPES = ["int8", "uint8", "int16", "int32", "int64", "uint32"]


def test_gradients_of_repeated_ids_accumulate():
    """Lucid overwrote them: repeated tokens lost their gradient."""
    g = lf.grad(lambda w: fn.embedding([2, 2, 2, 0], w).sum())(W)
    assert np.asarray(g)[:, 0].tolist() == [1, 0, 3, 0, 0, 0]


def test_padding_row_gets_no_gradient():
    layer = nn.Embedding(6, 3, padding_idx=2)
    params, _ = layer.init(KEY)
    weight = np.asarray(params["weight"])
    assert (weight[2] == 0).all() and (weight[[0, 1, 3, 4, 5]] != 0).all()
    g = lf.grad(lambda p: layer(p, [2, 1, 2]).sum())(params)["weight"]
    assert np.asarray(g)[:, 0].tolist() == [0, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(fn.embedding([2, 1], W, -4), W[lnp.asarray([2, 1])])


def test_start_is_standard_normal():
    params, _ = nn.Embedding(200, 50).init(KEY)
    weight = np.asarray(params["weight"])
    assert weight.dtype == "float32"
    assert abs(weight.mean()) < 0.04 and abs(weight.std() - 1) < 0.02
    small = nn.Embedding(200, 50, weight_init=nn.initializers.normal(0.02)).init(KEY)[0]
    assert abs(np.asarray(small["weight"]).std() - 0.02) < 1e-3


@pytest.mark.parametrize("dtype", INT_TYPES)
@pytest.mark.parametrize("jitted", [False, True])
def test_ids_of_any_integer_type(dtype, jitted):
    f = lf.jit(fn.embedding) if jitted else fn.embedding
    ids = lnp.asarray([5, 0, 5], dtype)
    np.testing.assert_array_equal(f(ids, W), np.asarray(W)[[5, 0, 5]])


@pytest.mark.numpy_only("where ids can be looked at before")
@pytest.mark.parametrize("bad", [6, 100, -1, -7])
def test_ids_out_of_range_are_named(bad):
    with pytest.raises(IndexError, match=rf"id {bad}, expected ids in \[0, 6\)"):
        fn.embedding([0, bad], W)


@pytest.mark.parametrize("bad", [6, 100, -1, -7])
def test_ids_out_of_range_raise(bad):
    for dtype in ("int8", "int32", "int64"):
        with pytest.raises(IndexError, match="out of bounds"):
            lf.block_until_ready(lf.jit(fn.embedding)(lnp.asarray([0, bad], dtype), W))
    with pytest.raises(IndexError):
        lf.block_until_ready(lf.grad(lambda w: lf.jit(fn.embedding)(
            lnp.asarray([0, bad]), w).sum())(W))


@pytest.mark.peers
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_max_norm_gives_the_values_of_pytorch(norm_type):
    torch = pytest.importorskip("torch")
    ids = np.array([[1, 4, 1], [0, 3, 2]])
    module = torch.nn.Embedding(6, 3, max_norm=1.3, norm_type=norm_type)
    module.load_state_dict({"weight": torch.from_numpy(np.array(W))})
    ours = nn.Embedding(6, 3, max_norm=1.3, norm_type=norm_type)({"weight": W}, ids)
    np.testing.assert_allclose(ours, module(torch.from_numpy(ids)).detach().numpy(), rtol=1e-5)
    bag = torch.nn.EmbeddingBag(6, 3, max_norm=1.3, norm_type=norm_type)
    bag.load_state_dict({"weight": torch.from_numpy(np.array(W))})
    ours = nn.EmbeddingBag(6, 3, max_norm=1.3, norm_type=norm_type)({"weight": W}, ids)
    np.testing.assert_allclose(ours, bag(torch.from_numpy(ids)).detach().numpy(), rtol=1e-5)


def test_max_norm_keeps_small_rows_and_gradients_of_zero_rows():
    w = lnp.asarray([[0.0, 0.0], [0.3, 0.4], [3.0, 4.0]])
    np.testing.assert_allclose(fn.embedding([0, 1, 2], w, max_norm=1.0),
                               [[0, 0], [0.3, 0.4], [0.6, 0.8]], rtol=1e-6)
    g = lf.grad(lambda w: fn.embedding([0, 1, 2], w, max_norm=1.0).sum())(w)
    assert np.isfinite(g).all()
    np.testing.assert_array_equal(g[:2], np.ones((2, 2)))


def test_attend_scores_all_ids():
    layer = nn.Embedding(6, 3)
    x = random.normal(KEY, (2, 4, 3))
    np.testing.assert_allclose(layer.attend({"weight": W}, x), x @ W.T, rtol=1e-6)
    with pytest.raises(nn.LayerError, match="expected 3"):
        layer.attend({"weight": W}, lnp.ones((2, 4)))


# ------------------------------------------------------------------ bags

@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_by_hand(mode):
    w, ids, offsets = np.asarray(W), np.array([1, 4, 1, 0, 3]), [0, 2, 2]
    reduce = getattr(np, mode)
    want = [reduce(w[[1, 4]], axis=0), np.zeros(3), reduce(w[[1, 0, 3]], axis=0)]
    np.testing.assert_allclose(fn.embedding_bag(ids, W, offsets, mode=mode), want, rtol=1e-6)
    jitted = lf.jit(lambda i, o: fn.embedding_bag(i, W, o, mode=mode))
    np.testing.assert_allclose(jitted(ids, np.array(offsets)), want, rtol=1e-6)
    rows = fn.embedding_bag([[1, 4], [5, 5]], W, mode=mode, padding_idx=5)
    np.testing.assert_allclose(rows, [want[0], np.zeros(3)], rtol=1e-6)
    ends = fn.embedding_bag(ids, W, [0, 2, 2, 4], mode=mode, include_last_offset=True)
    np.testing.assert_allclose(ends[2], reduce(w[[1, 0]], axis=0), rtol=1e-6)
    empty = fn.embedding_bag(lnp.zeros((2, 0), "int32"), W, mode=mode)
    np.testing.assert_array_equal(empty, np.zeros((2, 3)))


def test_largest_of_a_bag_shares_the_gradient_of_ties():
    w = lnp.asarray([[1.0], [1.0], [0.0]])
    for call in (lambda w: fn.embedding_bag([[0, 1, 2]], w, mode="max"),
                 lambda w: fn.embedding_bag([0, 1, 2], w, [0], mode="max")):
        assert lf.grad(lambda w: call(w).sum())(w).tolist() == [[0.5], [0.5], [0.0]]


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: fn.embedding([0.0, 1.0], W), TypeError, r"astype\('int32'\)"),
    (lambda: fn.embedding([True], W), TypeError, "expected integers"),
    (lambda: fn.embedding(W, lnp.asarray([1, 2])), TypeError, "ids come first"),
    (lambda: fn.embedding([1], lnp.ones(3)), TypeError, r"floats \[num, dim\]"),
    (lambda: fn.embedding([1], W, 6), ValueError, "padding_idx 6"),
    (lambda: fn.embedding_bag([1], W), TypeError, "need offsets"),
    (lambda: fn.embedding_bag([[1]], W, [0]), TypeError, "take no offsets"),
    (lambda: fn.embedding_bag([1, 2], W, [1]), ValueError, "begin with 1, expected 0"),
    (lambda: fn.embedding_bag([[1]], W, mode="min"), ValueError, "mode='min'"),
    (lambda: fn.embedding_bag([[1]], W, per_sample_weights=[[1.0]]), TypeError, "for mode='sum'"),
    (lambda: fn.embedding_bag([[1]], W, mode="sum", per_sample_weights=[1.0]), TypeError,
     "the shape of ids"),
    (lambda: nn.Embedding(0, 3), nn.LayerError, "num_embeddings = 0"),
    (lambda: nn.Embedding(5, 3.0), nn.LayerError, "embedding_dim = 3.0"),
    (lambda: nn.Embedding(5, 3, 5), nn.LayerError, "padding_idx = 5"),
    (lambda: nn.EmbeddingBag(5, 3, mode="min"), nn.LayerError, "mode = 'min'"),
    (lambda: nn.Embedding(6, 3)({}, [1]), nn.LayerError, "another structure"),
])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
