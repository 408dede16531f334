"""Bits packed into bytes, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, wrap
from lucidfn.core.trace import shape_of
from lucidfn.numpy.elementwise import _truth
from lucidfn.numpy.reductions import normal_axis
from lucidfn.types import kind_of

_BYTE = np.dtype(np.uint8)


def _weights(bitorder: str, name: str) -> np.ndarray:
    if bitorder not in ("big", "little"):
        raise ValueError(f"lnp.{name}: bitorder is 'big' or 'little', got {bitorder!r}")
    places = np.arange(8, dtype=np.uint8)
    return places[::-1] if bitorder == "big" else places


def _last(a: Any, axis: int | None) -> tuple[Any, int]:
    raw = as_raw(a)
    if axis is None:
        return ops.reshape(raw, shape=(math.prod(raw.shape),)), 0
    at = normal_axis(axis, len(raw.shape))
    return ops.move_axis(raw, at, len(raw.shape) - 1), at


def packbits(a: Any, axis: int | None = None, bitorder: str = "big") -> Any:
    """Each eight elements along an axis as one uint8: its bits say which are not zero."""
    shifts = _weights(bitorder, "packbits")
    x, at = _last(a, axis)
    if kind_of(x.dtype) > 1:
        raise TypeError(f"lnp.packbits takes booleans or integers, got {x.dtype}")
    bits = _truth(x)
    rank, n = len(shape_of(bits)), shape_of(bits)[-1]
    widths = ((0, 0, 0),) * (rank - 1) + ((0, -n % 8, 0),)
    bits = ops.split_axis(ops.pad(bits, False, widths=widths), rank - 1, -(-n // 8))
    out = ops.reduce_sum(ops.shift_left(to_dtype(bits, _BYTE), shifts), axes=(rank,))
    return wrap(ops.move_axis(out, rank - 1, at))


def unpackbits(a: Any, axis: int | None = None, count: int | None = None,
               bitorder: str = "big") -> Any:
    """The bits of uint8 elements along an axis; `count` of them (cut or filled with zeros)."""
    shifts = _weights(bitorder, "unpackbits")
    x, at = _last(a, axis)
    if x.dtype != _BYTE:
        raise TypeError(f"lnp.unpackbits takes uint8, got {x.dtype}")
    rank = len(shape_of(x))
    column = ops.reshape(x, shape=(*shape_of(x), 1))
    bits = ops.bitwise_and(ops.shift_right_logical(column, shifts), 1)
    bits = ops.merge_axes(bits, rank - 1)
    if count is not None:
        n = shape_of(bits)[-1]
        extra = count - n if count >= 0 else max(count, -n)
        bits = ops.pad(bits, 0, widths=((0, 0, 0),) * (rank - 1) + ((0, extra, 0),))
    return wrap(ops.move_axis(bits, rank - 1, at))


__all__ = ["packbits", "unpackbits"]
