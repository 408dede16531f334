"""Scaled dot-product attention (arXiv:1706.03762) with grouped heads (arXiv:2305.13245).

Two layouts of one computation, `attend`: `dot_product_attention` takes heads as in `jax.nn`,
[B, T, N, H], and `scaled_dot_product_attention` as in PyTorch, [..., N, T, H].
"""

from __future__ import annotations

import math
from typing import Any

from lucidfn import ops
from lucidfn.array import promote, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.dropout import dropout, probability
from lucidfn.numpy.softmax import softmax
from lucidfn.scipy.special import logsumexp
from lucidfn.types import bool_, float32, int32, kind_of


def dot_product_attention(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, *,
                          scale: float | None = None, is_causal: bool = False,
                          query_seq_lengths: Any = None, key_value_seq_lengths: Any = None,
                          local_window_size: int | tuple[int, int] | None = None,
                          implementation: str | None = None, return_residual: bool = False) -> Any:
    """softmax(scale * query key^T + bias) value for each head.

    query is [B, T, N, H], key and value [B, S, K, H], all with or all without the batch B; N is a
    multiple of K, and each key head serves N // K query heads. scale is 1 / sqrt(H) by default.
    bias and mask broadcast to [B, N, T, S]; where mask is False, beyond the sequence lengths [B],
    outside the window of (left, right) neighbours, and with is_causal after a query's own place,
    keys are not seen. A query that sees no key gets 0. Returns [B, T, N, H]; with return_residual
    also the logsumexp of each query's scores, [B, T, N].
    """
    (q, k, v), weak = promote(query, key, value)
    rank = len(shape_of(q))
    if rank == 3:
        q, k, v = (ops.reshape(x, shape=(1, *shape_of(x))) for x in (q, k, v))
    check_shapes(q, k, v, rank)
    b, t, n, _ = shape_of(q)
    shape = (b, n, t, shape_of(k)[1])
    if bias is not None:
        bias = fitted(bias, shape, "bias")
    seen = visible(shape, mask, is_causal, query_seq_lengths, key_value_seq_lengths,
                   local_window_size)
    out, _, scores = attend(heads_first(q), heads_first(k), heads_first(v), scale, bias, seen)
    out = unbatched(heads_first(out), rank)
    if not return_residual:
        return wrap(out, weak)
    total = ops.permute(unwrap(logsumexp(wrap(scores), axis=-1, where=seen)), order=(0, 2, 1))
    return wrap(out, weak), wrap(unbatched(ops.convert(total, dtype=dtype_of(q)), rank))


def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None,
                                 dropout_p: float = 0.0, is_causal: bool = False,
                                 scale: float | None = None, enable_gqa: bool = False, *,
                                 dropout_key: Any = None) -> Any:
    """softmax(scale * query key^T + attn_mask) value, with the layout and arguments of PyTorch.

    query is [..., N, L, E], key [..., N, S, E], value [..., N, S, Ev], or all without the heads N;
    with enable_gqa the heads of key and value may be fewer, each serving as many of query's. A
    boolean attn_mask is True where a key may be attended to, a floating one is added to the scores;
    it broadcasts to [..., N, L, S], and holds beside is_causal, with which query i sees keys up to
    i. A query that sees no key gets 0. scale is 1 / sqrt(E) by default. With dropout_p above 0,
    which is for training only, weights are dropped by the random dropout_key. Returns
    [..., N, L, Ev].

    >>> import lucidfn.numpy as lnp
    >>> x = lnp.ones((2, 8, 5, 4))
    >>> scaled_dot_product_attention(x, x, x, is_causal=True).shape
    (2, 8, 5, 4)
    """
    (q, k, v), weak = promote(query, key, value)
    check_heads(q, k, v, enable_gqa)
    name = "scaled_dot_product_attention"
    p = probability(f"{name}: dropout", dropout_p)
    if dropout_key is None and not (type(p) is float and p == 0.0):  # p may be traced
        raise TypeError(f"{name} got dropout_p = {dropout_p} without a random key: pass "
                        "dropout_key=key; in evaluation leave dropout_p at 0")
    lead = shape_of(q)[:-3]
    front = (1, 1) if len(shape_of(q)) == 2 else (math.prod(lead),)
    flat = lambda x: ops.reshape(x, shape=front + shape_of(x)[-3:])
    shape = (*shape_of(flat(q))[:-1], shape_of(k)[-2])
    seen, bias = split_mask(attn_mask, lead, shape)
    if is_causal:
        causal = visible(shape, None, True, None, None, None)
        seen = causal if seen is None else wrap(ops.bitwise_and(unwrap(seen), unwrap(causal)))
    out, _, _ = attend(flat(q), flat(k), flat(v), scale, bias, seen, dropout_p, dropout_key)
    return wrap(ops.reshape(out, shape=(*shape_of(q)[:-1], shape_of(v)[-1])), weak)


def attend(q: Any, k: Any, v: Any, scale: Any = None, bias: Any = None, seen: Any = None,
           dropout_p: float = 0.0, dropout_key: Any = None) -> tuple[Any, Any, Any]:
    """(outputs [B, N, T, V], weights, scores [B, N, T, S]), all raw, for raw q [B, N, T, H],
    k [B, K, S, H] and v [B, K, S, V]; bias and seen broadcast to the scores."""
    scores = head_scores(q, k, 1.0 / math.sqrt(shape_of(q)[3]) if scale is None else scale)
    if dtype_of(scores).itemsize == 2:
        scores = ops.convert(scores, dtype=float32)
    if bias is not None:
        scores = ops.add(scores, ops.convert(bias, dtype=dtype_of(scores)))
    weights = ops.convert(unwrap(softmax(wrap(scores), where=seen)), dtype=dtype_of(v))
    if dropout_key is not None:
        weights = unwrap(dropout(wrap(weights), dropout_p, key=dropout_key))
    b, n, t, s = shape_of(weights)
    heads, width = shape_of(v)[1], shape_of(v)[3]
    rows = ops.reshape(weights, shape=(b, heads, n // heads * t, s))
    out = ops.dot_general(rows, v, contract=((3,), (2,)), batch=((0, 1), (0, 1)))
    return ops.reshape(out, shape=(b, n, t, width)), weights, scores


def check_shapes(q: Any, k: Any, v: Any, rank: int) -> None:
    got = f"dot_product_attention got query {type_of(q)}, key {type_of(k)}, value {type_of(v)}; "
    if rank not in (3, 4) or any(len(shape_of(x)) != 4 for x in (q, k, v)):
        raise ShapeError(got + "they must be [B, T, N, H], [B, S, K, H], [B, S, K, H], all with or "
                         "all without the batch B")
    if kind_of(dtype_of(q)) != 2:
        raise TypeError(got + "they must be floating")
    (b, _, n, h), (b2, s, heads, h2) = shape_of(q), shape_of(k)
    if (b, h) != (b2, h2) or shape_of(v)[:3] != (b, s, heads) or heads == 0 or n % heads:
        raise ShapeError(got + "as [B, T, N, H], [B, S, K, H] and [B, S, K, H] their B, H, S and K "
                         f"must agree, and the {n} query heads be a multiple of the {heads} others")


def check_heads(q: Any, k: Any, v: Any, enable_gqa: bool) -> None:
    got = (f"scaled_dot_product_attention got query {type_of(q)}, key {type_of(k)}, value "
           f"{type_of(v)}; ")
    qs, ks, vs = shape_of(q), shape_of(k), shape_of(v)
    layout = "[..., N, L, E], [..., N, S, E] and [..., N, S, Ev] "
    if len(qs) < 2 or not len(qs) == len(ks) == len(vs):
        raise ShapeError(f"{got}they must be {layout}with the same number of axes")
    if kind_of(dtype_of(q)) != 2:
        raise TypeError(f"{got}they must be floating")
    if qs[:-3] != ks[:-3] or ks[:-1] != vs[:-1] or qs[-1] != ks[-1]:
        raise ShapeError(f"{got}as {layout}their leading axes, E and S must agree")
    if len(qs) > 2 and qs[-3] != ks[-3]:
        if not enable_gqa:
            raise ShapeError(f"{got}{qs[-3]} heads and {ks[-3]} heads; enable_gqa=True lets each "
                             "head of key and value serve several of query's")
        if ks[-3] == 0 or qs[-3] % ks[-3]:
            raise ShapeError(f"{got}with enable_gqa the {qs[-3]} heads of query must be a "
                             f"multiple of the {ks[-3]} others")


def split_mask(mask: Any, lead: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """(which keys are seen, what is added), one of them None, as [B or 1, N, L, S] from a mask that
    broadcasts to [*lead, N, L, S]; `shape` is that with `lead` as the one axis B."""
    if mask is None:
        return None, None
    raw, full = unwrap(mask), (*lead, *shape[1:])
    kind = kind_of(dtype_of(raw))
    if kind not in (0, 2):
        raise TypeError(f"attention got an attn_mask of type {type_of(raw)}; it must be bool, True "
                        "where a key may be attended to, or floating, to be added to the scores")
    have = (1,) * (len(full) - len(shape_of(raw))) + shape_of(raw)
    if len(have) != len(full) or any(m not in (1, d) for m, d in zip(have, full, strict=True)):
        raise ShapeError(f"attention got an attn_mask {type_of(raw)}, which does not broadcast to "
                         f"[..., N, L, S] = {list(full)}")
    front = have[:-3]
    raw = ops.reshape(raw, shape=have)
    if any(m != 1 for m in front):
        raw = ops.broadcast_to(raw, shape=(*lead, *have[-3:]))
        front = lead
    raw = ops.reshape(raw, shape=(math.prod(front), *have[-3:]))
    return (wrap(raw), None) if kind == 0 else (None, raw)


def head_scores(q: Any, k: Any, scale: Any) -> Any:
    """scale * query key^T, [B, N, T, S]: heads that share a key head are rows of one product."""
    b, n, t, h = shape_of(q)
    heads, s = shape_of(k)[1:3]
    rows = ops.reshape(ops.mul(q, unwrap(scale)), shape=(b, heads, n // heads * t, h))
    scores = ops.dot_general(rows, k, contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    return ops.reshape(scores, shape=(b, n, t, s))


def heads_first(x: Any) -> Any:
    """[B, T, N, H] to [B, N, T, H], and back."""
    return ops.permute(x, order=(0, 2, 1, 3))


def fitted(x: Any, shape: tuple[int, ...], name: str) -> Any:
    """A bias or mask with axes for all of [B, N, T, S]."""
    raw = unwrap(x)
    have = (1,) * (4 - len(shape_of(raw))) + shape_of(raw)
    if len(have) != 4 or any(m not in (1, d) for m, d in zip(have, shape, strict=True)):
        raise ShapeError(f"dot_product_attention got {name} {type_of(raw)}, which does not "
                         f"broadcast to [B, N, T, S] = {list(shape)}")
    return ops.reshape(raw, shape=have)


def visible(shape: tuple[int, ...], mask: Any, is_causal: bool, query_lengths: Any,
            key_lengths: Any, window: int | tuple[int, int] | None) -> Any:
    """Which keys each query sees, broadcastable to [B, N, T, S]; None: all."""
    row = ops.iota(shape=(1, 1, shape[2], 1), dtype=int32, axis=2)
    column = ops.iota(shape=(1, 1, 1, shape[3]), dtype=int32, axis=3)
    found = []
    if mask is not None:
        raw = fitted(mask, shape, "mask")
        if dtype_of(raw) != bool_:
            raise TypeError(f"dot_product_attention got a mask of type {type_of(raw)}; it must be "
                            "bool, True where a key is seen. Pass an additive mask as bias=")
        found.append(raw)
    if is_causal:
        found.append(ops.le(column, row))
    if window is not None:
        left, right = (window, window) if isinstance(window, int) else window
        found.append(ops.ge(column, ops.sub(row, left)))
        found.append(ops.le(column, ops.add(row, right)))
    for lengths, place in ((query_lengths, row), (key_lengths, column)):
        if lengths is not None:
            limit = ops.convert(unwrap(lengths), dtype=int32)
            found.append(ops.lt(place, ops.reshape(limit, shape=(shape[0], 1, 1, 1))))
    seen = None
    for part in found:
        seen = part if seen is None else ops.bitwise_and(seen, part)
    return None if seen is None else wrap(seen)


def unbatched(x: Any, rank: int) -> Any:
    return x if rank == 4 else ops.reshape(x, shape=shape_of(x)[1:])


__all__ = ["dot_product_attention", "scaled_dot_product_attention"]
