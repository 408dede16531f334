"""Sorting and selection along an axis: stable, NaN last, -0.0 equal to 0.0."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from lucidfn.backends.mlx.elementwise import HALVES
from lucidfn.backends.mlx.shapes import slice_axis


def _keys(x: mx.array) -> list[mx.array]:
    """Keys that MLX orders as the elements of x are to be, the most significant first."""
    if x.dtype == mx.bool_:
        return [x.astype(mx.uint8)]
    if x.dtype == mx.complex64:
        # Like NumPy: a number with a NaN comes after all others, whichever of its parts it is.
        re, im = mx.real(x), mx.imag(x)
        class_ = mx.isnan(re).astype(mx.uint8) * 2 + mx.isnan(im).astype(mx.uint8)
        return [class_, re, im]
    return [x.astype(mx.float32) if x.dtype in HALVES else x]


def _order(keys: Sequence[mx.array], axis: int) -> mx.array:
    """Stable positions; less significant keys are ordered first."""
    parts = [part for key in keys for part in _keys(key)]
    order = _stable(parts[-1], axis)
    for part in reversed(parts[:-1]):
        moved = mx.take_along_axis(part, order, axis)
        order = mx.take_along_axis(order, _stable(moved, axis), axis)
    return order


def _stable(x: mx.array, axis: int) -> mx.array:
    return mx.argsort(x, axis=axis).astype(mx.int32)


def sort(*operands: mx.array, axis: int, num_keys: int) -> list[mx.array]:
    """The operands, reordered together so that the first `num_keys` ascend along `axis`."""
    first = operands[0]
    if not first.size:
        return list(operands)
    if len(operands) == 1 and first.dtype in (mx.int32, mx.int64, mx.uint32, mx.uint8):
        return [mx.sort(first, axis=axis)]  # equal integers cannot be told apart
    order = _order(operands[:num_keys], axis)
    return [mx.take_along_axis(x, order, axis) for x in operands]


def argsort(*keys: mx.array, axis: int) -> mx.array:
    """int32 positions that put the keys in the order of `sort`, stable."""
    if not keys[0].size:
        return mx.zeros(keys[0].shape, mx.int32)
    return _order(keys, axis)


def top_k(x: mx.array, *, k: int) -> list[mx.array]:
    """The k largest elements along the last axis, descending, and their int32 positions."""
    n, axis = x.shape[-1], x.ndim - 1
    if not k or not x.size:
        shape = (*x.shape[:-1], k)
        return [mx.zeros(shape, x.dtype), mx.zeros(shape, mx.int32)]
    # The reverse of an ascending stable order of the reversed row: descending and stable.
    backwards = slice_axis(x, axis, None, None, -1)
    order = n - 1 - slice_axis(_order([backwards], axis), axis, n - k, n)
    order = slice_axis(order, axis, None, None, -1)
    return [mx.take_along_axis(x, order, axis), order]
