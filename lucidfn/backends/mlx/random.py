"""Random bits from keys, lazily on the device: Threefry-2x32, to the bit that of the CPU.

A key is one uint64 (`arrays.Keys`) with its first word in the low half. Philox, which is NumPy's
own stream, has no kernel here: `usable` tells which keys have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx.arrays import Keys, mx_dtype, scalar
from lucidfn.backends.mlx.special import erf_inv, horner
from lucidfn.backends.numpy.samplers import _CENTRE as CENTRE
from lucidfn.backends.numpy.samplers import _TAIL as TAIL
from lucidfn.types import KEY_IMPLS, SCALARS

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_MASK = 0xFFFF_FFFF

Words = tuple[mx.array, mx.array]


def usable(keys: Any) -> bool:
    """Whether keys (or their type) are of the generator that is written here."""
    return keys.dtype.names[0] == "threefry2x32"


def _u32(value: int) -> mx.array:
    return scalar(value & _MASK, mx.uint32)


def words_of(keys: Keys) -> Words:
    """The two words of each key."""
    return (mx.bitwise_and(keys.bits, scalar(_MASK, mx.uint64)).astype(mx.uint32),
            mx.right_shift(keys.bits, scalar(32, mx.uint64)).astype(mx.uint32))


def key_of(words: Words) -> mx.array:
    low, high = words
    return mx.bitwise_or(low.astype(mx.uint64),
                         mx.left_shift(high.astype(mx.uint64), scalar(32, mx.uint64)))


def threefry(key: Words, x0: Any, x1: mx.array) -> Words:
    """20 rounds on the block (x0, x1), broadcast; x0 may be None for 0.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    k0, k1 = key
    schedule = (k0, k1, mx.bitwise_xor(mx.bitwise_xor(k0, k1), _u32(_PARITY)))
    x0, x1 = k0 if x0 is None else x0 + k0, x1 + k1
    for step in range(5):
        for r in _ROTATIONS[step % 2]:
            x0 = x0 + x1
            turned = mx.bitwise_or(mx.left_shift(x1, _u32(r)), mx.right_shift(x1, _u32(32 - r)))
            x1 = mx.bitwise_xor(turned, x0)
        x0 = x0 + schedule[(step + 1) % 3]
        x1 = x1 + (schedule[(step + 2) % 3] + _u32(step + 1))
    return x0, x1


def hashed(keys: Keys, shape: Sequence[int]) -> Words:
    """The hashes of the counters 0 .. count-1 under every key: two uint32[keys.shape + shape]."""
    count, shape = math.prod(shape), tuple(shape)
    out = (*keys.shape, *shape)
    if not math.prod(out):
        return mx.zeros(out, mx.uint32), mx.zeros(out, mx.uint32)
    key = tuple([w.reshape(*keys.shape, 1) for w in words_of(keys)])
    if count <= _MASK:
        high, low = None, mx.arange(count, dtype=mx.uint32)
    else:
        whole = mx.arange(count, dtype=mx.uint64)
        high = mx.right_shift(whole, scalar(32, mx.uint64)).astype(mx.uint32)
        low = whole.astype(mx.uint32)
    y0, y1 = threefry(key, high, low)
    return y0.reshape(out), y1.reshape(out)


# ------------------------------------------------------------------ keys

def seed(seeds: Any, *, impl: str, x64: bool) -> Keys:
    """Keys whose second word is the low half of a seed, the first one 0, or the high half."""
    if type(seeds) in SCALARS:
        value = int(seeds) & 0xFFFF_FFFF_FFFF_FFFF
        seeds, wide = mx.array(np.uint64(value)), True
    else:
        wide = seeds.dtype.size == 8
    bits = seeds.astype(mx.uint64)
    low = mx.bitwise_and(bits, scalar(_MASK, mx.uint64))
    word = mx.left_shift(low, scalar(32, mx.uint64))
    if x64 and wide:
        word = mx.bitwise_or(word, mx.right_shift(bits, scalar(32, mx.uint64)))
    return Keys(word, KEY_IMPLS[impl])


def wrap(data: mx.array, *, impl: str) -> Keys:
    """Keys made of uint32[..., 2] words."""
    return Keys(key_of((data[..., 0], data[..., 1])), KEY_IMPLS[impl])


def key_data(keys: Keys) -> mx.array:
    """The words of keys, uint32[keys.shape + (2,)]."""
    return mx.stack(words_of(keys), axis=-1)


def split(keys: Keys, *, shape: Sequence[int]) -> Keys:
    """New keys of shape `keys.shape + shape`: key i is the hash of counter i."""
    return Keys(key_of(hashed(keys, shape)), keys.dtype)


def fold_in(keys: Keys, data: Any) -> Keys:
    """Keys that depend on a key and the low 32 bits of an integer, elementwise."""
    low = _u32(int(data)) if type(data) in SCALARS else data.astype(mx.uint32)
    return Keys(key_of(threefry(words_of(keys), None, low)), keys.dtype)


def clone(keys: Keys) -> Keys:
    return keys


# ------------------------------------------------------------------ numbers

def bits(keys: Keys, *, shape: Sequence[int], width: int) -> mx.array:
    """Uniform integers uint{width}[keys.shape + shape]."""
    y0, y1 = hashed(keys, shape)
    if width == 64:
        return key_of((y1, y0))
    return mx.bitwise_xor(y0, y1).astype(mx_dtype(np.dtype(f"uint{width}")))


def below(keys: Keys, *, shape: Sequence[int], bound: int) -> mx.array:
    """random_bits(keys, width=32) < bound."""
    if bound > _MASK or bound <= 0:
        return mx.full((*keys.shape, *shape), bound > 0, mx.bool_)
    return bits(keys, shape=shape, width=32) < _u32(bound)


def _unit(keys: Keys, shape: Sequence[int], dtype: np.dtype) -> mx.array:
    """Floats in [0, 1): random mantissas under the exponent of 1, minus 1."""
    theirs = mx_dtype(dtype)
    width, mantissa = (32, 23) if theirs == mx.float32 else (64, 52)
    one = int(np.ones((), dtype).view(f"u{width // 8}"))
    words = bits(keys, shape=shape, width=width)
    words = mx.bitwise_or(mx.right_shift(words, scalar(width - mantissa, words.dtype)),
                          scalar(one, words.dtype))
    return words.view(theirs) - scalar(1.0, theirs)


def uniform(keys: Keys, *, shape: Sequence[int], dtype: np.dtype, low: float,
            high: float) -> mx.array:
    """Floats in [low, high)."""
    x = _unit(keys, shape, dtype)
    if (low, high) == (0.0, 1.0):
        return x
    start = dtype.type(low)
    span = dtype.type(dtype.type(high) - start)
    return mx.maximum(x * scalar(float(span), x.dtype) + scalar(float(start), x.dtype),
                      scalar(float(start), x.dtype))


def normal(keys: Keys, *, shape: Sequence[int], dtype: np.dtype) -> mx.array:
    """Standard normal numbers."""
    low = np.nextafter(np.array(-1.0, dtype), np.array(0.0, dtype))
    x = _unit(keys, shape, dtype)
    x = mx.maximum(x * scalar(float(dtype.type(1.0 - low)), x.dtype) + scalar(float(low), x.dtype),
                   scalar(float(low), x.dtype))
    value = erf_inv(x) if x.dtype == mx.float64 else _erf_inv_single(x)
    return value * scalar(math.sqrt(2.0), x.dtype)


def _erf_inv_single(x: mx.array) -> mx.array:
    """The approximation of the CPU's samples, with the rounding of x^2 left in."""
    w = -mx.log1p(-x * x)
    centre, tail = horner(CENTRE[::-1], w - 2.5), horner(TAIL[::-1], mx.sqrt(w) - 3.0)
    return x * mx.where(w >= 5.0, tail, centre)
