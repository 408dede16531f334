"""Tables of vectors for integers: tokens, categories, bags of them."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.nn.functional.embedding import embedding, embedding_bag
from lucidfn.nn.initializers import Initializer, normal
from lucidfn.nn.layer import Layer, Params


class _Table(Layer):
    """Base: a weight [num_embeddings, embedding_dim]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layer: Any = self
        for name in ("num_embeddings", "embedding_dim"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise self.error(f"got {name} = {value!r}, expected a positive integer")
        n, at = layer.num_embeddings, layer.padding_idx
        if at is not None and (not isinstance(at, Integral) or not -n <= at < n):
            raise self.error(f"got padding_idx = {at!r}, expected one of the {n} rows")

    def init_params(self, key: Any) -> Params:
        layer: Any = self
        init = layer.weight_init or normal(1.0)
        weight = init(random.fold_in(key, "weight"), (layer.num_embeddings, layer.embedding_dim))
        if layer.padding_idx is not None:
            weight = weight.at[layer.padding_idx].set(0.0)
        return {"weight": weight}


class Embedding(_Table):
    """A learned vector for each integer: ids [...] to [..., embedding_dim].

    weight [num_embeddings, embedding_dim] starts standard normal, the row padding_idx as zeros,
    which it stays: it gets no gradient. With max_norm vectors of a larger norm are scaled down to
    it when they are looked up; the weights stay as they are.

    >>> from lucidfn import nn
    >>> layer = nn.Embedding(10, 4)
    >>> params, _ = layer.init(random.key(0))
    >>> layer(params, [[1, 2, 9]]).shape
    (1, 3, 4)
    """

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    weight_init: Initializer | None = None
    layout = "... ids"

    def forward(self, params: Params, ids: Any) -> Any:  # type: ignore[override]
        return embedding(ids, params["weight"], self.padding_idx, self.max_norm, self.norm_type)

    def attend(self, params: Params, x: Any) -> Any:
        """Scores of all integers, x @ weight^T: [..., embedding_dim] to [..., num_embeddings].

        For language models whose output layer shares the embedding's weight: in a Composite,
        `self.named_children["embedding"].attend(run.params["embedding"], x)`.
        """
        self.expect(x, "... C", self.embedding_dim)
        return lnp.matmul(x, params["weight"].T)


class EmbeddingBag(_Table):
    """The sum, mean or max of the learned vectors of each bag of integers: to [B, embedding_dim].

    Called with ids [B, n], or with ids [n] and offsets [B] where each bag begins; and with
    per_sample_weights shaped as ids in mode "sum". Ids equal to padding_idx do not count; empty
    bags give 0. The weight starts as that of `Embedding`.
    """

    num_embeddings: int
    embedding_dim: int
    max_norm: float | None = None
    norm_type: float = 2.0
    mode: str = "mean"
    include_last_offset: bool = False
    padding_idx: int | None = None
    weight_init: Initializer | None = None
    layout = "B ids"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("sum", "mean", "max"):
            raise self.error(f"got mode = {self.mode!r}, expected 'sum', 'mean' or 'max'")

    def forward(self, params: Params, ids: Any, offsets: Any = None,  # type: ignore[override]
                per_sample_weights: Any = None) -> Any:
        return embedding_bag(ids, params["weight"], offsets, self.max_norm, self.norm_type,
                             self.mode, per_sample_weights, self.include_last_offset,
                             self.padding_idx)


__all__ = ["Embedding", "EmbeddingBag"]
