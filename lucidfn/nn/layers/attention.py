"""Attention with several heads: every head its own channels, over all places of the sequence.

Data is [B, T, E]. As in PyTorch, boolean masks of these layers are True where a key is left out,
those of `scaled_dot_product_attention` where it is seen. A cache, a plain tree of arrays that goes
in and comes out, holds keys and values of earlier calls: a sequence is continued token by token.
"""

from __future__ import annotations

import functools
import math
from dataclasses import field
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.array import promote, typeof, unwrap, wrap
from lucidfn.nn.functional.attention import attend, heads_first, scaled_dot_product_attention
from lucidfn.nn.functional.dropout import probability
from lucidfn.nn.initializers import Initializer, normal, variance_scaling, zeros
from lucidfn.nn.layer import Composite, Layer, Params, Run, State
from lucidfn.nn.layers.linear import Linear
from lucidfn.types import is_inexact, kind_of

Cache = dict[str, Any]

GLOROT = variance_scaling(1.0, "fan_avg", "uniform")
# Of one matrix from E to 3 E, which has half the variance of three from E to E.
PACKED = variance_scaling(0.5, "fan_avg", "uniform")


class ScaledDotProductAttention(Layer):
    """`functional.scaled_dot_product_attention` as a layer; drops weights in training only.

    query is [..., N, L, E], key [..., N, S, E], value [..., N, S, Ev]; `attn_mask` and `is_causal`
    are given with them.

    >>> from lucidfn import nn
    >>> x = lnp.ones((2, 8, 5, 4))
    >>> nn.ScaledDotProductAttention()({}, x, x, x, is_causal=True).shape
    (2, 8, 5, 4)
    """

    dropout_p: float = 0.0
    scale: float | None = None
    enable_gqa: bool = False
    layout = "... N L E"

    def __post_init__(self) -> None:
        super().__post_init__()
        probability("ScaledDotProductAttention", self.dropout_p)

    @property
    def stochastic(self) -> bool:
        """Whether it drops weights in training."""
        return self.dropout_p > 0.0

    def apply(self, params: Params, state: State, query: Any,  # type: ignore[override]
              keys: Any, value: Any, attn_mask: Any = None, is_causal: bool = False, *,
              train: bool = False, key: Any = None) -> tuple[Any, State]:
        """(outputs, state) from query, keys and value by position; `key` is the random one."""
        check_random_key(self, key)
        drops = train and self.stochastic
        out = scaled_dot_product_attention(
            query, keys, value, attn_mask, self.dropout_p if drops else 0.0, is_causal, self.scale,
            self.enable_gqa, dropout_key=self.need_key(key) if drops else None)
        return out, state


# ------------------------------------------------------------------ what the layers share

class Heads(Composite):
    """Base of layers that project to heads, attend and project back; they have a field dropout."""

    embed_dim: int
    num_heads: int

    @property
    def stochastic(self: Any) -> bool:  # type: ignore[override]
        """Whether it drops weights in training."""
        return self.dropout > 0.0

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.embed_dim // self.num_heads

    @property
    def key_heads(self) -> int:
        """Heads of the keys and values."""
        return self.num_heads

    def apply(self, params: Params, state: State, *inputs: Any, train: bool = False,
              key: Any = None, **kwargs: Any) -> tuple[Any, State]:
        """(outputs, state); `key` is the random one, what is attended to goes by position."""
        check_random_key(self, key)
        return super().apply(params, state, *inputs, train=train, key=key, **kwargs)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embed_dim", "num_heads", "num_kv_heads"):
            value = getattr(self, name, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise self.error(f"got {name} = {value!r}, expected an integer of at least 1")
        if self.embed_dim % self.num_heads:
            raise self.error(f"splits embed_dim = {self.embed_dim} channels over num_heads = "
                             f"{self.num_heads} heads; embed_dim must be a multiple of num_heads")
        if self.num_heads % self.key_heads:
            raise self.error(f"lets num_kv_heads = {self.key_heads} heads of keys serve num_heads "
                             f"= {self.num_heads} heads of queries; num_heads must be a multiple "
                             "of num_kv_heads")
        probability(f"{type(self).__name__}: dropout", getattr(self, "dropout", 0.0))

    def init_cache(self, batch: int, length: int, dtype: Any = None) -> Cache:
        """An empty cache for `length` tokens: {"key", "value": [B, length, K, H], "length": 0}."""
        shape = (batch, length, self.key_heads, self.head_dim)
        return {"key": lnp.zeros(shape, dtype), "value": lnp.zeros(shape, dtype),
                "length": lnp.zeros((), "int32")}

    def split_heads(self, x: Any, heads: int) -> Any:
        """[B, T, heads * H] to [B, T, heads, H]."""
        return x.reshape(*x.shape[:2], heads, self.head_dim)

    def extended(self, cache: Cache, k: Any, v: Any) -> Cache:
        """The cache with keys and values [B, T, K, H] of T more tokens; an error if it is full."""
        capacity, start, new = cache["key"].shape[1], cache["length"], k.shape[1]
        if cache["key"].shape != (k.shape[0], capacity, *k.shape[2:]):
            raise self.error(f"got a cache of {typeof(cache['key'])} and keys {typeof(k)}, both "
                             "[B, length, heads, H]: init_cache(batch, length) makes one that fits")
        if new > capacity:
            raise self.error(f"got {new} tokens for a cache of {capacity}: "
                             "init_cache(batch, length) with a greater length")
        # Not dynamic_update_slice, which would move the block to make it fit, over earlier tokens.
        places = start + lnp.arange(new, dtype="int32")
        put = lambda old, x: old.at[:, places].set(x.astype(old.dtype))
        return {"key": put(cache["key"], k), "value": put(cache["value"], v),
                "length": start + new}

    def masks(self, q: Any, k: Any, attn_mask: Any, key_padding_mask: Any,
              is_causal: bool, cache: Cache | None) -> tuple[Any, Any]:
        """(which keys are seen, what is added to the scores) for q [B, T, N, H], k [B, S, K, H]."""
        (b, t, n, _), s = q.shape, k.shape[1]
        seen, added = list[Any](), list[Any]()
        start = 0 if cache is None else cache["length"]
        row, column = lnp.arange(t)[:, None] + start, lnp.arange(s)
        if is_causal:
            seen.append((column <= row)[None, None])
        elif cache is not None:
            seen.append((column < start + t)[None, None, None])
        if attn_mask is not None:
            if typeof(attn_mask).shape == (b * n, t, s):
                attn_mask = lnp.reshape(attn_mask, (b, n, t, s))
            self.sort_mask("attn_mask", attn_mask, "[T, S], [B * N, T, S] or [B, N, T, S]",
                           (b, n, t, s), seen, added)
        if key_padding_mask is not None:
            if typeof(key_padding_mask).shape != (b, s):
                raise self.error(f"got key_padding_mask {typeof(key_padding_mask)}, expected "
                                 f"[B, S] = {[b, s]}")
            mask = lnp.asarray(key_padding_mask)[:, None, None]
            self.sort_mask("key_padding_mask", mask, "[B, S]", (b, n, t, s), seen, added)
        return (functools.reduce(lnp.logical_and, seen) if seen else None,
                functools.reduce(lnp.add, added) if added else None)

    def sort_mask(self, name: str, mask: Any, layout: str, full: tuple[int, ...],
                  seen: list[Any], added: list[Any]) -> None:
        """Put a mask that broadcasts to [B, N, T, S] to the boolean or to the added ones."""
        mask = lnp.asarray(mask)
        # [B, T, S] is refused: where B == N it would pass as [N, T, S].
        shape = (1, 1, *mask.shape) if mask.ndim == 2 else mask.shape
        if len(shape) != 4 or any(m not in (1, d) for m, d in zip(shape, full, strict=True)):
            raise self.error(f"got {name} {typeof(mask)}, expected {layout} with [B, N, T, S] = "
                             f"{list(full)}")
        if mask.dtype == bool:
            seen.append(~mask.reshape(shape))
        elif kind_of(mask.dtype) == 2:
            added.append(mask.reshape(shape))
        else:
            raise self.error(f"got {name} of dtype {mask.dtype}, expected bool, True where a key "
                             "is left out, or floating, to be added to the scores")

    def attend(self: Any, run: Run, q: Any, k: Any, v: Any, attn_mask: Any, key_padding_mask: Any,
               is_causal: bool, cache: Cache | None) -> tuple[Any, Any, Cache | None]:
        """(outputs [B, T, E], weights [B, N, T, S], new cache) for [B, T or S, heads, H]."""
        before = cache
        if cache is not None:
            cache = self.extended(cache, k, v)
            k, v = cache["key"], cache["value"]
        seen, added = self.masks(q, k, attn_mask, key_padding_mask, is_causal, before)
        k, v, seen, added = self.with_extra_keys(run, k, v, seen, added)
        (q, k, v), weak = promote(q, k, v)
        drop = self.need_key(run.key("dropout")) if run.train and self.stochastic else None
        out, weights, _ = attend(heads_first(q), heads_first(k), heads_first(v), None,
                                 None if added is None else unwrap(added), seen, self.dropout, drop)
        out = wrap(heads_first(out), weak)
        return run.out_proj(out.reshape(*out.shape[:2], self.embed_dim)), wrap(weights, weak), cache

    def with_extra_keys(self, run: Run, k: Any, v: Any, seen: Any, added: Any) -> tuple[Any, ...]:
        """Keys, values and masks with keys of the layer's own, if it has any."""
        return k, v, seen, added


def check_random_key(layer: Layer, key: Any) -> None:
    """LayerError for keys of attention that were given as `key=`, the random key."""
    if key is not None and is_inexact(typeof(key).dtype):
        raise layer.error(f"got key= {typeof(key)}, which is the name of the random key; give "
                          "query, key and value by position: apply(params, state, q, k, v)")


def packed_out(outputs: Any, weights: Any, cache: Cache | None) -> Any:
    """The outputs alone, or a tuple with the weights and the cache that were asked for."""
    more = [x for x in (weights, cache) if x is not None]
    return (outputs, *more) if more else outputs


# ------------------------------------------------------------------ the layers

class MultiheadAttention(Heads):
    """Attention of num_heads heads, each over its own embed_dim / num_heads channels.

    `mha.apply(params, state, query, key, value, ...)`, by position: query [B, T, E], key
    [B, S, kdim], value [B, S, vdim], or all without B; with batch_first=False [T, B, E] and so on.
    key is query and value is key unless they are given. As in PyTorch, booleans in
    `key_padding_mask` [B, S] and `attn_mask` [T, S], [B * N, T, S] or [B, N, T, S] are True where a
    key is left out, and floats are added to the scores; `is_causal` lets a query see keys up to its
    own place, and needs no mask. A query that sees no key gets the bias of out_proj.

    The output is [B, T, E]; with `need_weights` (outputs, weights), the weights averaged over the
    heads, [B, T, S], or [B, N, T, S] with average_attn_weights=False. With `cache=`, from
    `init_cache(batch, length)`, keys and values are those of the cache followed by these, S is its
    length, and the new cache is the last of the outputs: (outputs, cache). More tokens than it
    has room for are an error, under jit too.

    q_proj, k_proj, v_proj and out_proj are `Linear`. The first three start as one matrix
    [E, 3 E], uniform as by Glorot, where kdim and vdim are E; biases start at 0, as in PyTorch.

    >>> from lucidfn import nn, random
    >>> mha = nn.MultiheadAttention(8, 2)
    >>> params, state = mha.init(random.key(0))
    >>> x = lnp.ones((3, 5, 8))
    >>> y, weights = mha(params, x, x, x, is_causal=True, need_weights=True)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    dropout: float = 0.0
    bias: bool = True
    add_bias_kv: bool = False
    add_zero_attn: bool = False
    kdim: int | None = None
    vdim: int | None = None
    batch_first: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    layout = "B T E"

    def children(self) -> dict[str, Layer]:
        e, kdim, vdim = self.embed_dim, self.kdim or self.embed_dim, self.vdim or self.embed_dim
        into = self.weight_init or (PACKED if kdim == vdim == e else GLOROT)
        bias = self.bias_init or zeros
        return {"q_proj": Linear(e, e, self.bias, into, bias),
                "k_proj": Linear(kdim, e, self.bias, into, bias),
                "v_proj": Linear(vdim, e, self.bias, into, bias),
                "out_proj": Linear(e, e, self.bias, self.weight_init, bias)}

    def init_params(self, key: Any) -> Params:
        if not self.add_bias_kv:
            return {}
        make = normal(1.0 / math.sqrt(self.embed_dim))
        return {name: make(random.fold_in(key, name), (1, 1, self.embed_dim))
                for name in ("bias_k", "bias_v")}

    def forward(self, run: Run, query: Any, key: Any = None,  # type: ignore[override]
                value: Any = None, *, key_padding_mask: Any = None, attn_mask: Any = None,
                is_causal: bool = False, need_weights: bool = False,
                average_attn_weights: bool = True, cache: Cache | None = None) -> Any:
        key = query if key is None else key
        q, k, v = self.batched(query, key, key if value is None else value)
        if key_padding_mask is not None and typeof(query).ndim == 2:
            key_padding_mask = lnp.asarray(key_padding_mask)[None]
        q = self.split_heads(run.q_proj(q), self.num_heads)
        k = self.split_heads(run.k_proj(k), self.num_heads)
        v = self.split_heads(run.v_proj(v), self.num_heads)
        masks = attn_mask, key_padding_mask, is_causal
        y, weights, cache = self.attend(run, q, k, v, *masks, cache)
        if not need_weights:
            weights = None
        elif average_attn_weights:
            weights = weights.mean(axis=1)
        if typeof(query).ndim == 2:
            y, weights = y[0], weights[0] if need_weights else None
        elif not self.batch_first:
            y = lnp.swapaxes(y, 0, 1)
        return packed_out(y, weights, cache)

    def batched(self, *inputs: Any) -> list[Any]:
        """query, key and value as [B, T, C]."""
        widths = (self.embed_dim, self.kdim or self.embed_dim, self.vdim or self.embed_dim)
        order, rank = "B T E" if self.batch_first else "T B E", typeof(inputs[0]).ndim
        out = []
        for x, width in zip(inputs, widths, strict=True):
            self.expect(x, order if rank != 2 else "T E", width)
            x = lnp.asarray(x)
            out.append(x[None] if rank == 2 else x if self.batch_first else lnp.swapaxes(x, 0, 1))
        q, k, v = out
        if k.shape[:2] != v.shape[:2] or q.shape[0] != k.shape[0]:
            raise self.error(f"got query {typeof(inputs[0])}, key {typeof(inputs[1])} and value "
                             f"{typeof(inputs[2])}, expected the same B in all of [B, T, E], "
                             "[B, S, kdim], [B, S, vdim] and the same S in the last two")
        return out

    def with_extra_keys(self, run: Run, k: Any, v: Any, seen: Any, added: Any) -> tuple[Any, ...]:
        """Keys, values and masks with the learnt key and the key of zeros, which all see."""
        more, one = [], (1, 1, *k.shape[2:])
        if self.add_bias_kv:
            more.append([run.params[name].reshape(one) for name in ("bias_k", "bias_v")])
        if self.add_zero_attn:
            more.append([lnp.zeros(one, x.dtype) for x in (k, v)])
        for pair in more:
            k, v = [lnp.concatenate([x, lnp.broadcast_to(new, (x.shape[0], 1, *x.shape[2:]))], 1)
                    for x, new in zip((k, v), pair, strict=True)]
        # Only the axis of the keys grows; there are as many queries as before. An axis of size 1
        # stands for all keys and needs all its columns before one is added.
        widen = lambda mask, fill: mask if mask is None or not more else lnp.pad(
            lnp.broadcast_to(mask, (*mask.shape[:3], k.shape[1] - len(more))),
            ((0, 0), (0, 0), (0, 0), (0, len(more))), constant_values=fill)
        return k, v, widen(seen, True), widen(added, 0.0)


MultiHeadAttention = MultiheadAttention


class GroupedQueryAttention(Heads):
    """Self-attention in which num_kv_heads heads of keys and values serve num_heads of queries
    (arXiv:2305.13245).

    x [B, T, E] to [B, T, E]; masks, `is_causal`, `cache` and `need_weights` as in
    `MultiheadAttention`. `rotary`, such as nn.RotaryEmbedding(embed_dim // num_heads), turns
    queries and keys [B, T, heads, H] by their places, which continue those in the cache.

    >>> from lucidfn import nn, random
    >>> gqa = nn.GroupedQueryAttention(8, 4, 2)
    >>> params, state = gqa.init(random.key(0))
    >>> params["k_proj"]["weight"].shape, gqa(params, lnp.ones((3, 5, 8)), is_causal=True).shape
    ((8, 4), (3, 5, 8))
    """

    num_kv_heads: int
    dropout: float = 0.0
    bias: bool = True
    rotary: Layer | None = None
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    layout = "B T E"

    @property
    def key_heads(self) -> int:
        return self.num_kv_heads

    def children(self) -> dict[str, Layer]:
        e, kv = self.embed_dim, self.num_kv_heads * self.head_dim
        into = self.weight_init or GLOROT
        bias = self.bias_init or zeros
        found: dict[str, Layer] = {
            "q_proj": Linear(e, e, self.bias, into, bias),
            "k_proj": Linear(e, kv, self.bias, into, bias),
            "v_proj": Linear(e, kv, self.bias, into, bias),
            "out_proj": Linear(e, e, self.bias, into, bias)}
        return found if self.rotary is None else {**found, "rotary": self.rotary}

    def forward(self, run: Run, x: Any, *, key_padding_mask: Any = None,  # type: ignore[override]
                attn_mask: Any = None, is_causal: bool = False, need_weights: bool = False,
                cache: Cache | None = None) -> Any:
        self.expect(x, self.layout, self.embed_dim)
        q = self.split_heads(run.q_proj(x), self.num_heads)
        k = self.split_heads(run.k_proj(x), self.num_kv_heads)
        v = self.split_heads(run.v_proj(x), self.num_kv_heads)
        if self.rotary is not None:
            start = None if cache is None else cache["length"]
            q, k = run.rotary(q, start), run.rotary(k, start)
        masks = attn_mask, key_padding_mask, is_causal
        y, weights, cache = self.attend(run, q, k, v, *masks, cache)
        return packed_out(y, weights.mean(axis=1) if need_weights else None, cache)


class MultiQueryAttention(GroupedQueryAttention):
    """`GroupedQueryAttention` with one head of keys and values (arXiv:1911.02150)."""

    num_kv_heads: int = field(default=1, init=False)


__all__ = ["GroupedQueryAttention", "MultiHeadAttention", "MultiQueryAttention",
           "MultiheadAttention", "ScaledDotProductAttention"]
