"""Operations on the bits of integers."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from lucidfn.backends.mlx.arrays import same_dtype, scalar
from lucidfn.backends.mlx.elementwise import BITS, zero_of


def bitwise_not(x: mx.array) -> mx.array:
    return mx.logical_not(x) if x.dtype == mx.bool_ else mx.bitwise_invert(x)


def _shift_operands(x: Any, n: Any) -> tuple[mx.array, mx.array, mx.array, int]:
    x, n = same_dtype(x, n)
    width = 8 * x.dtype.size
    over = n.view(BITS[x.dtype.size]) >= width
    return x, n, over, width


def shift_left(x: Any, n: Any) -> mx.array:
    """x << n; 0 where n reaches the width."""
    x, n, over, _ = _shift_operands(x, n)
    shifted = mx.left_shift(x, mx.where(over, zero_of(n), n))
    return mx.where(over, zero_of(x), shifted)


def shift_right_logical(x: Any, n: Any) -> mx.array:
    """x >> n on the unsigned bits; 0 where n reaches the width."""
    x, n, over, _ = _shift_operands(x, n)
    word = BITS[x.dtype.size]
    bits, by = x.view(word), mx.where(over, zero_of(n), n).view(word)
    return mx.where(over, scalar(0, word), mx.right_shift(bits, by)).view(x.dtype)


def shift_right_arithmetic(x: Any, n: Any) -> mx.array:
    """x >> n keeping the sign; the sign everywhere where n reaches the width."""
    x, n, over, width = _shift_operands(x, n)
    return mx.right_shift(x, mx.where(over, scalar(width - 1, n.dtype), n))


def _count_bits(x: mx.array) -> mx.array:
    """Sums of neighbouring bits, pairs, nibbles, ...: x is uint32 or uint64."""
    wide = x.dtype.size == 8
    mask = lambda byte: scalar(int.from_bytes(bytes([byte]) * x.dtype.size, "little"), x.dtype)
    by = lambda n: scalar(n, x.dtype)
    x = x - mx.bitwise_and(mx.right_shift(x, by(1)), mask(0x55))
    x = mx.bitwise_and(x, mask(0x33)) + mx.bitwise_and(mx.right_shift(x, by(2)), mask(0x33))
    x = mx.bitwise_and(x + mx.right_shift(x, by(4)), mask(0x0F))
    return mx.right_shift(x * mask(0x01), by(56 if wide else 24))


def _unsigned(x: mx.array) -> mx.array:
    bits = x.view(BITS[x.dtype.size])
    return bits.astype(mx.uint32) if x.dtype.size < 4 else bits


def population_count(x: mx.array) -> mx.array:
    """Number of set bits, in the dtype of x (negative integers in two's complement)."""
    return _count_bits(_unsigned(x)).astype(x.dtype)


def clz(x: mx.array) -> mx.array:
    """Number of leading zero bits, in the dtype of x."""
    width, smeared, shift = 8 * x.dtype.size, _unsigned(x), 1
    while shift < width:
        smeared = mx.bitwise_or(smeared, mx.right_shift(smeared, scalar(shift, smeared.dtype)))
        shift *= 2
    return scalar(width, x.dtype) - _count_bits(smeared).astype(x.dtype)
