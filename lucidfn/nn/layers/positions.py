"""Layers that say where in a sequence an element stands.

Each is called with x and, where they are not 0, 1, 2, ..., with `positions`: one integer to count
from, such as the length of a cache, or an array [T] or [..., T].
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.nn.functional.embedding import embedding
from lucidfn.nn.functional.positions import (
    apply_rotary_embedding,
    place_numbers,
    sinusoidal_positions,
)
from lucidfn.nn.initializers import Initializer, normal
from lucidfn.nn.layer import Layer, Params


class SinusoidalPositionalEncoding(Layer):
    """x [..., T, C] plus fixed waves of its positions (arXiv:1706.03762, section 3.5).

    >>> from lucidfn import nn
    >>> layer = nn.SinusoidalPositionalEncoding(4)
    >>> layer({}, lnp.zeros((1, 4)), 0).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """

    embedding_dim: int
    base: float = 10000.0
    layout = "... T C"

    def forward(self, params: Params, x: Any,  # type: ignore[override]
                positions: Any = None) -> Any:
        x = lnp.asarray(x)
        self.expect(x, "T C" if x.ndim < 3 else "... C", self.embedding_dim)
        return x + sinusoidal_positions(x.shape[-2], self.embedding_dim, self.base,
                                        positions=positions, dtype=x.dtype)


class LearnedPositionalEmbedding(Layer):
    """x [..., T, C] plus a learned vector for each of at most num_embeddings positions.

    weight [num_embeddings, embedding_dim] starts normal with standard deviation 0.02, as in BERT,
    GPT-2 and ViT. LayerError for longer sequences, IndexError for positions beyond.
    """

    num_embeddings: int
    embedding_dim: int
    weight_init: Initializer | None = None
    layout = "... T C"

    def init_params(self, key: Any) -> Params:
        init = self.weight_init or normal(0.02)
        shape = self.num_embeddings, self.embedding_dim
        return {"weight": init(random.fold_in(key, "weight"), shape)}

    def forward(self, params: Params, x: Any,  # type: ignore[override]
                positions: Any = None) -> Any:
        x = lnp.asarray(x)
        self.expect(x, "T C" if x.ndim < 3 else "... C", self.embedding_dim)
        if x.shape[-2] > self.num_embeddings:
            raise self.error(f"got x {x.type} of {x.shape[-2]} places, expected at most "
                             f"num_embeddings = {self.num_embeddings}")
        places = place_numbers(type(self).__name__, positions, x.shape[-2])
        return x + embedding(places, params["weight"])


class RotaryEmbedding(Layer):
    """Queries or keys [..., T, N, H] turned by angles of their positions (arXiv:2104.09864).

    The first dim channels of each head turn, in pairs i and i + dim / 2, or with `interleaved`
    2i and 2i + 1: `nn.functional.apply_rotary_embedding` says which models use which. It has no
    parameters. LayerError for an odd dim and for heads of fewer channels.
    """

    dim: int
    base: float = 10000.0
    interleaved: bool = False
    layout = "... T N H"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.dim, Integral) or self.dim < 2 or self.dim % 2:
            raise self.error(f"got dim = {self.dim!r}, expected an even number of channels")

    def forward(self, params: Params, x: Any,  # type: ignore[override]
                positions: Any = None) -> Any:
        x = lnp.asarray(x)
        if x.ndim < 3 or x.shape[-1] < self.dim:
            raise self.error(f"got x {x.type}, expected [..., T, N, H] with H of {self.dim} or "
                             "more")
        return apply_rotary_embedding(x, positions, self.base, interleaved=self.interleaved,
                                      dim=self.dim)


__all__ = ["LearnedPositionalEmbedding", "RotaryEmbedding", "SinusoidalPositionalEncoding"]
