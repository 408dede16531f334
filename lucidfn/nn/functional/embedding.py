"""Rows of a table by integers: embeddings of tokens, one by one and in bags."""

from __future__ import annotations

from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import lax, ops
from lucidfn.array import typeof, unwrap, weak_of, wrap
from lucidfn.core.trace import FOREIGN, Tracer, dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.types import is_inexact, kind_of

_MODES = ("sum", "mean", "max")


def embedding(ids: Any, weight: Any, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0) -> Any:
    """weight[ids]: ids [...] and weight [num, dim] give [..., dim].

    The row padding_idx gets no gradient. With max_norm rows of a larger norm (of order norm_type)
    are scaled down to it; PyTorch writes that into the weights, here they stay as they are.
    IndexError for ids outside [0, num), jitted too; TypeError for ids that are no integers.

    >>> embedding([1, 0, 1], [[0.0, 1.0], [2.0, 3.0]]).tolist()
    [[2.0, 3.0], [0.0, 1.0], [2.0, 3.0]]
    """
    raw, table = unwrap(lnp.asarray(ids)), unwrap(lnp.asarray(weight))
    _check(raw, table)
    num = shape_of(table)[0]
    places = ops.reshape(_in_range(raw, num), shape=(*shape_of(raw), 1))
    rows = ops.gather(table, places, axes=(0,), mode="raise", fill=None)
    if padding_idx is not None:
        padding = ops.eq(raw, _row("embedding", padding_idx, num))
        padding = ops.reshape(padding, shape=(*shape_of(raw), 1))
        rows = ops.select(padding, ops.stop_gradient(rows), rows)
    out = wrap(rows, weak_of(weight))
    return out if max_norm is None else _limited(out, max_norm, norm_type)


def embedding_bag(ids: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
                  norm_type: float = 2.0, mode: str = "mean", per_sample_weights: Any = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Any:
    """The sum, mean or max of the embeddings of each bag of ids: [B, dim].

    Bags are the rows of ids [B, n]; or parts of ids [n] that begin at offsets [B], which increase
    from 0 (with include_last_offset they have the end of the last bag too, [B + 1]). Ids equal to
    padding_idx do not count, and empty bags give 0. per_sample_weights, shaped as ids, multiply
    the rows in mode "sum". ShapeError for other shapes, ValueError for another mode, and as
    `embedding`.

    >>> embedding_bag([0, 1, 1], [[1.0], [10.0]], [0, 1], mode="sum").tolist()
    [[1.0], [20.0]]
    """
    ids, shape = lnp.asarray(ids), typeof(ids).shape
    _check_bags(shape, offsets, mode, typeof(ids))
    rows = embedding(ids, weight, padding_idx, max_norm, norm_type)
    kept = lnp.ones(shape, bool)
    if padding_idx is not None:
        kept = ids != _row("embedding_bag", padding_idx, typeof(weight).shape[0])
    if per_sample_weights is not None:
        if mode != "sum" or typeof(per_sample_weights).shape != shape:
            raise ShapeError(f"embedding_bag got per_sample_weights {typeof(per_sample_weights)} "
                             f"for ids {typeof(ids)} and mode={mode!r}; they have the shape of "
                             "ids, and are for mode='sum'")
        rows = rows * lnp.asarray(per_sample_weights).astype(rows.dtype)[..., None]
    if offsets is None:
        return _of_rows(rows, kept, mode)
    return _of_parts(rows, kept, lnp.asarray(offsets), mode, include_last_offset)


# ------------------------------------------------------------------ what they share

def _check(ids: Any, table: Any) -> None:
    if kind_of(dtype_of(ids)) != 1:
        hint = "; ids come first, then weight" if kind_of(dtype_of(table)) == 1 else (
            "; convert them with ids.astype('int32')")
        raise TypeError(f"embedding got ids {type_of(ids)}, expected integers{hint}")
    if len(shape_of(table)) != 2 or not is_inexact(dtype_of(table)):
        raise ShapeError(f"embedding got weight {type_of(table)}, expected floats [num, dim]")


def _in_range(ids: Any, num: int) -> Any:
    """Ids of which those below 0 are an error, where indexing counts them from the end.

    Traced ones are moved out of range by num: the error then shows id - num. So are those of a
    device, which is not made to wait for them.
    """
    if not isinstance(ids, Tracer) and type(ids) not in FOREIGN:
        values = np.asarray(ids)
        bad = values[(values < 0) | (values >= num)] if values.size else values
        if bad.size:
            raise IndexError(f"embedding got the id {bad.flat[0]}, expected ids in [0, {num}) for "
                             f"a weight of {num} rows")
        return ids
    if dtype_of(ids).kind == "u":
        return ids
    wide = ids if dtype_of(ids).itemsize >= 4 else ops.convert(ids, dtype=np.dtype("int32"))
    return ops.select(ops.lt(wide, 0), ops.sub(wide, num), wide)


def _row(name: str, padding_idx: int, num: int) -> int:
    if not -num <= padding_idx < num:
        raise ValueError(f"{name} got padding_idx {padding_idx}, expected a row of a weight of "
                         f"{num} rows")
    return padding_idx % num


def _limited(rows: Any, max_norm: float, norm_type: float) -> Any:
    size = lnp.linalg.norm(rows, norm_type, axis=-1, keepdims=True)
    large = size > max_norm
    # Where nothing is scaled the division must not see the norm: 0 / 0 would leak into gradients.
    return lnp.where(large, rows * (max_norm / lnp.where(large, size, 1.0)), rows)


# ------------------------------------------------------------------ bags

def _check_bags(shape: tuple[int, ...], offsets: Any, mode: str, ids: Any) -> None:
    if mode not in _MODES:
        raise ValueError(f"embedding_bag got mode={mode!r}, expected one of {_MODES}")
    if offsets is None and len(shape) != 2:
        raise ShapeError(f"embedding_bag got ids {ids} without offsets, expected bags as rows "
                         "[B, n]; bags within ids [n] need offsets")
    if offsets is not None and (len(shape) != 1 or len(typeof(offsets).shape) != 1):
        raise ShapeError(f"embedding_bag got ids {ids} and offsets {typeof(offsets)}, expected "
                         "ids [n] and offsets [B]; bags as rows [B, n] take no offsets")


def _of_rows(rows: Any, kept: Any, mode: str) -> Any:
    kept = kept[..., None]
    if mode == "max":
        low = lnp.where(kept, rows, -lnp.inf)
        found = lnp.max(low, axis=1, initial=-lnp.inf)
        return lnp.where(lnp.any(kept, axis=1), found, 0.0)
    total = lnp.sum(lnp.where(kept, rows, 0.0), axis=1)
    return total if mode == "sum" else total / lnp.maximum(lnp.sum(kept, axis=1), 1).astype(
        total.dtype)


def _of_parts(rows: Any, kept: Any, offsets: Any, mode: str, include_last: bool) -> Any:
    n, dim = rows.shape
    count = offsets.shape[0] - include_last
    if count < 0:
        raise ShapeError("embedding_bag got no offsets, expected [B + 1] with include_last_offset")
    first = unwrap(offsets[:1])
    if count and not isinstance(first, Tracer) and first.item() != 0:
        raise ValueError(f"embedding_bag got offsets that begin with {first.item()}, expected 0: "
                         "where the first bag begins")
    # With the end of the last bag, what follows it falls into bag `count`, which there is not.
    bags = lnp.searchsorted(offsets, lnp.arange(n), side="right") - 1
    bags = lnp.where(kept & (bags >= 0), bags, count)
    if mode == "max":
        # One maximum for each bag and column, and the mean of all that attain it.
        top = lnp.full((count, dim), -lnp.inf, rows.dtype).at[bags].max(
            lax.stop_gradient(rows), mode="drop")
        attained = lnp.isnan(rows)
        if count:
            attained = attained | (rows == top[lnp.minimum(bags, count - 1)])
        rows, weights = lnp.where(attained, rows, 0.0), attained.astype(rows.dtype)
    else:
        weights = lnp.ones((n, 1), rows.dtype)
    total = lnp.zeros((count, dim), rows.dtype).at[bags].add(rows, mode="drop")
    if mode == "sum":
        return total
    shares = lnp.zeros((count, weights.shape[1]), rows.dtype).at[bags].add(weights, mode="drop")
    return total / lnp.maximum(shares, 1.0)


__all__ = ["embedding", "embedding_bag"]
