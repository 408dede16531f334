"""Scaled dot-product attention (arXiv:1706.03762) with grouped heads (arXiv:2305.13245)."""

from __future__ import annotations

import math
from typing import Any

from lucidfn import ops
from lucidfn.array import promote, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
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
    b, t, n, h = shape_of(q)
    s, kv = shape_of(k)[1:3]
    scores = head_scores(q, k, 1.0 / math.sqrt(h) if scale is None else scale)
    wide = scores if dtype_of(scores).itemsize > 2 else ops.convert(scores, dtype=float32)
    if bias is not None:
        wide = ops.add(wide, ops.convert(fitted(bias, (b, n, t, s), "bias"), dtype=dtype_of(wide)))
    seen = visible((b, n, t, s), mask, is_causal, query_seq_lengths, key_value_seq_lengths,
                   local_window_size)
    weights = unwrap(softmax(wrap(wide), where=seen))
    weights = ops.convert(weights, dtype=dtype_of(v)) if wide is not scores else weights
    out = ops.dot_general(ops.reshape(weights, shape=(b, kv, n // kv * t, s)), v,
                          contract=((3,), (1,)), batch=((0, 1), (0, 2)))
    out = ops.reshape(out, shape=(b, n, t, shape_of(v)[3]))
    out = unbatched(ops.permute(out, order=(0, 2, 1, 3)), rank)
    if not return_residual:
        return wrap(out, weak)
    total = ops.permute(unwrap(logsumexp(wrap(wide), axis=-1, where=seen)), order=(0, 2, 1))
    return wrap(out, weak), wrap(unbatched(ops.convert(total, dtype=dtype_of(q)), rank))


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


def head_scores(q: Any, k: Any, scale: Any) -> Any:
    """scale * query key^T, [B, N, T, S]: heads that share a key head are rows of one product."""
    b, t, n, h = shape_of(q)
    s, kv = shape_of(k)[1:3]
    rows = ops.permute(ops.mul(q, unwrap(scale)), order=(0, 2, 1, 3))
    scores = ops.dot_general(ops.reshape(rows, shape=(b, kv, n // kv * t, h)), k,
                             contract=((3,), (3,)), batch=((0, 1), (0, 2)))
    return ops.reshape(scores, shape=(b, n, t, s))


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


__all__ = ["dot_product_attention"]
