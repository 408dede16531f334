"""Embeddings and bags of them."""

import numpy as np

from lucidfn import nn

from .table import F, Fixed, FunctionCase, I, LayerCase

fn = nn.functional
IDS = Fixed(np.array([[1, 4, 1], [0, 3, 2]], "int32"))
FLAT = Fixed(np.array([1, 4, 1, 0, 3, 2, 2], "int32"))
OFFSETS = Fixed(np.array([0, 2, 2, 5], "int32"))
ENDS = Fixed(np.array([0, 2, 2, 5, 7], "int32"))
W = F(5, 3)
HELD = 0  # no check by differences: the padding row's gradient is held back on purpose


def plain(weights):
    """A table is [num, dim] in PyTorch too."""
    return {"weight": np.asarray(weights["weight"])}


def same(m, *xs):
    return m(*xs)


def layer(ours, theirs, *data, **options):
    return LayerCase(ours, data or (IDS,), torch=theirs, weights=plain, call=same, **options)


CASES = [
    layer(nn.Embedding(5, 3), lambda t: t.Embedding(5, 3)),
    layer(nn.Embedding(5, 3, padding_idx=1), lambda t: t.Embedding(5, 3, padding_idx=1),
          order=HELD),
    layer(nn.Embedding(5, 3, -1), lambda t: t.Embedding(5, 3, -1), I(2, 2, 4, hi=5),
          order=HELD),
    # PyTorch scales the weights themselves: values are compared in tests/test_nn_embedding.py.
    LayerCase(nn.Embedding(5, 3, max_norm=1.2, norm_type=1.5), (IDS,)),
    FunctionCase("embedding", fn.embedding, (IDS, W), lambda T, i, w: T.nn.functional.embedding(
        i, w)),
    FunctionCase("embedding", lambda i, w: fn.embedding(i, w, 1), (IDS, W),
                 lambda T, i, w: T.nn.functional.embedding(i, w, 1), id="embedding padding",
                 order=HELD),
    FunctionCase("embedding", lambda i, w: fn.embedding(i, w, None, 1.0), (IDS, W),
                 id="embedding max_norm"),
    FunctionCase("embedding_bag", lambda i, w, p: fn.embedding_bag(
        i, w, mode="sum", per_sample_weights=p), (IDS, W, F(2, 3)),
        lambda T, i, w, p: T.nn.functional.embedding_bag(i, w, mode="sum", per_sample_weights=p),
        id="embedding_bag weighted"),
    FunctionCase("embedding_bag", lambda i, o, w, p: fn.embedding_bag(
        i, w, o, mode="sum", per_sample_weights=p, padding_idx=2), (FLAT, OFFSETS, W, F(7)),
        lambda T, i, o, w, p: T.nn.functional.embedding_bag(
            i, w, o, mode="sum", per_sample_weights=p, padding_idx=2),
        id="embedding_bag weighted parts"),
]
for _mode in ("sum", "mean", "max"):
    CASES += [
        layer(nn.EmbeddingBag(5, 3, mode=_mode), lambda t, m=_mode: t.EmbeddingBag(5, 3, mode=m)),
        layer(nn.EmbeddingBag(5, 3, mode=_mode, padding_idx=1),
              lambda t, m=_mode: t.EmbeddingBag(5, 3, mode=m, padding_idx=1)),
        layer(nn.EmbeddingBag(5, 3, mode=_mode), lambda t, m=_mode: t.EmbeddingBag(5, 3, mode=m),
              FLAT, OFFSETS, id=f"EmbeddingBag {_mode} parts"),
        layer(nn.EmbeddingBag(5, 3, mode=_mode, include_last_offset=True, padding_idx=2),
              lambda t, m=_mode: t.EmbeddingBag(5, 3, mode=m, include_last_offset=True,
                                                padding_idx=2),
              FLAT, ENDS, id=f"EmbeddingBag {_mode} parts with ends"),
        FunctionCase("embedding_bag", lambda i, w, m=_mode: fn.embedding_bag(i, w, mode=m),
                     (IDS, W), lambda T, i, w, m=_mode: T.nn.functional.embedding_bag(i, w, mode=m),
                     id=f"embedding_bag {_mode}"),
    ]
