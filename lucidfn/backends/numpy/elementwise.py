"""Elementwise kernels where one NumPy ufunc is not the whole story, and simple reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn.backends.numpy import sums
from lucidfn.types import SCALARS, bfloat16, default_dtype_of

Axes = tuple[int, ...]


def div(x: Any, y: Any) -> Any:
    """True division of floats; integers divide towards zero, by zero gives -1 (all bits set)."""
    if _kind(x, y) not in "iu":
        return np.divide(x, y)
    x, y = _same_dtype(x, y)
    zero = np.equal(y, 0)
    safe = np.where(zero, np.ones((), y.dtype), y)
    quotient = np.floor_divide(x, safe)
    if y.dtype.kind == "i":  # floor to truncation: one more where a negative quotient is inexact
        inexact = np.not_equal(np.multiply(quotient, safe), x)
        quotient = quotient + (inexact & (np.less(x, 0) != np.less(safe, 0))).astype(y.dtype)
    return np.where(zero, np.full((), -1).astype(y.dtype), quotient).astype(y.dtype, copy=False)


def _kind(x: Any, y: Any) -> str:
    return (x if type(x) not in SCALARS else y).dtype.kind


def _same_dtype(x: Any, y: Any) -> tuple[Any, Any]:
    if type(x) in SCALARS:
        return np.asarray(x, y.dtype), y
    return x, np.asarray(y, x.dtype)


def rem(x: Any, y: Any) -> Any:
    """x - y * trunc(x / y); an integer modulo zero gives x."""
    if _kind(x, y) not in "iu":
        return np.fmod(x, y)
    x, y = _same_dtype(x, y)
    if y.dtype.kind == "u" and y.ndim == 0:
        # By one number NumPy divides with vector instructions, but takes no remainders.
        quotient = np.floor_divide(x, y)  # 0 for y = 0
        quotient = np.multiply(quotient, y, out=quotient if np.ndim(quotient) else None)
        return np.subtract(x, quotient, out=quotient if np.ndim(quotient) else None)
    zero = np.equal(y, 0)
    return np.where(zero, x, np.fmod(x, np.where(zero, np.ones((), y.dtype), y)))


def power(x: Any, y: Any) -> Any:
    """x ** y; an integer to a negative power gives 0, but for 1 and -1."""
    if _kind(x, y) != "i":
        return np.power(x, y)
    x, y = _same_dtype(x, y)
    negative = np.less(y, 0)
    out = np.power(x, np.where(negative, np.zeros((), y.dtype), y))
    if not negative.any():
        return out
    sign = np.where(np.equal(x, -1), np.where(y & 1, -1, 1), np.equal(x, 1)).astype(x.dtype)
    return np.where(negative, sign, out)


def integer_pow(x: np.ndarray, *, n: int) -> np.ndarray:
    """x ** n by squaring: a fixed number of multiplications."""
    if n == 0:
        return np.ones_like(x)
    result, base, left = None, x, abs(n)
    while left:
        if left & 1:
            result = base if result is None else np.multiply(result, base)
        left >>= 1
        if left:
            base = np.multiply(base, base)
    return np.positive(result) if n > 0 else div(np.ones((), x.dtype), result)


def select(pred: Any, x: Any, y: Any) -> Any:
    if type(x) in SCALARS and type(y) in SCALARS:
        x = np.asarray(x, default_dtype_of(type(x)))
    if type(x) in SCALARS or type(y) in SCALARS:
        if is_plain_zero(y):
            return _kept(np.asarray(pred), x, where=True)
        if is_plain_zero(x):
            return _kept(np.asarray(pred), y, where=False)
        if type(y) in SCALARS and 2 * np.size(pred) <= x.size:
            return _filled(np.asarray(pred), x, y)
        x, y = _same_dtype(x, y)
    return np.where(pred, x, y)


_WORDS = {2: np.int16, 4: np.int32, 8: np.int64}


def is_plain_zero(x: Any) -> bool:
    """Whether a Python scalar whose bits are all 0: not -0.0."""
    if type(x) is complex:
        return is_plain_zero(x.real) and is_plain_zero(x.imag)
    return type(x) in SCALARS and x == 0 and math.copysign(1.0, x) > 0


def _kept(pred: np.ndarray, x: np.ndarray, where: bool) -> np.ndarray:
    """x where pred is `where`, else 0: all bits of x, or none of them.

    `np.where` takes ten times as long on a random mask, whose branches are mispredicted.
    """
    word, zero = _WORDS.get(x.itemsize), x.dtype.type(0)
    if word is None or x.size < 512:
        return np.where(pred, x, zero) if where else np.where(pred, zero, x)
    bits = pred.astype(word)
    bits = np.negative(bits, out=bits) if where else np.subtract(bits, 1, out=bits)
    out = bits if bits.shape == x.shape else None
    return np.bitwise_and(bits, x.view(word), out=out).view(x.dtype)


def _filled(pred: np.ndarray, x: np.ndarray, fill: Any) -> np.ndarray:
    """x where pred, which is smaller and repeated, else a number; bit by bit as in `_kept`."""
    word, value = _WORDS.get(x.itemsize), np.asarray(fill, x.dtype)
    if word is None or x.size < 512:
        return np.where(pred, x, value)
    bits = pred.astype(word)
    bits = np.negative(bits, out=bits)
    kept = np.bitwise_and(bits, x.view(word))
    return np.bitwise_or(kept, ~bits & value.view(word), out=kept).view(x.dtype)


FEW = 32  # elements of a row that `along_rows` repeats
_LONG = 512  # and of the row that it makes


def along_rows(ufunc: np.ufunc, x: np.ndarray, y: np.ndarray,
               out: np.ndarray | None = None) -> np.ndarray:
    """ufunc(x, y) where one operand is a row of few elements, such as a bias. The inner loop runs
    over the last axis, so a longer row, of the same again and again, is several times faster."""
    whole, row = (x, y) if x.size > y.size else (y, x)
    if not whole.flags.c_contiguous or (out is not None and not out.flags.c_contiguous):
        return ufunc(x, y, out=out)
    n, rows = row.size, whole.size // row.size
    times = min(rows & -rows, 1 << (_LONG // n).bit_length() - 1)  # powers of two
    repeated = np.empty((times, n), row.dtype)
    repeated[...] = row.reshape(n)
    shape = (-1, times * n)
    operands = [a.reshape(shape) if a is whole else repeated.reshape(-1) for a in (x, y)]
    if out is None:
        return ufunc(*operands).reshape(whole.shape)
    ufunc(*operands, out=out.reshape(shape))
    return out


def convert(x: Any, *, dtype: np.dtype) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.names:
        raise TypeError("random keys are not numbers")
    if x.dtype.kind == "c" and dtype.kind not in "cb":
        x = x.real
    if x.dtype == bfloat16 and dtype.kind in "iu":
        x = x.astype(np.float32)
    if dtype.kind in "iu" and x.dtype.kind == "f":
        return float_to_int(x, dtype)
    return x.astype(dtype, copy=False)


def float_to_int(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Towards zero. NaN gives 0 and what is out of range the nearest end, on every machine."""
    ends = np.iinfo(dtype)
    low, high = float(ends.min), 2.0 ** (ends.bits - (dtype.kind == "i"))
    inside = (x >= low) & (x < high)
    if inside.all():
        return x.astype(dtype)
    out = np.where(inside, x, np.zeros((), x.dtype)).astype(dtype)
    return np.where(x < low, dtype.type(ends.min), np.where(x >= high, dtype.type(ends.max), out))


def bitcast(x: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    return np.ascontiguousarray(x).view(dtype).reshape(x.shape)


def rsqrt(x: np.ndarray) -> np.ndarray:
    return np.reciprocal(np.sqrt(x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, np.zeros((), x.dtype))


def clamp(lo: Any, x: Any, hi: Any) -> np.ndarray:
    return np.minimum(np.maximum(x, lo), hi)


_WIDER = {bfloat16: np.float32, np.dtype(np.float16): np.float32, np.dtype(np.float32): np.float64}


def fma(x: Any, y: Any, z: Any) -> np.ndarray:
    dtype = next(a.dtype for a in (x, y, z) if type(a) not in SCALARS)
    wide = _WIDER.get(dtype, dtype)
    x, y, z = [np.asarray(a, dtype).astype(wide) for a in (x, y, z)]
    return np.asarray(x * y + z).astype(dtype)


def complex_parts(x: Any, y: Any) -> np.ndarray:
    # A Python scalar takes the width of its neighbour.
    wide = any(type(a) not in SCALARS and a.dtype == np.float64 for a in (x, y))
    x, y = np.asarray(x), np.asarray(y)
    out = np.empty(np.broadcast_shapes(x.shape, y.shape), np.complex128 if wide else np.complex64)
    out.real, out.imag = x, y
    return out


def real(x: np.ndarray) -> np.ndarray:
    return np.real(x).copy()


def imag(x: np.ndarray) -> np.ndarray:
    return np.imag(x).copy()


def eq(x: Any, y: Any) -> Any:
    if type(x) not in SCALARS and x.dtype.names:  # random keys compare by their bits
        return np.equal(np.asarray(x).view(np.uint64), np.asarray(y).view(np.uint64))
    return np.equal(x, y)


def ne(x: Any, y: Any) -> Any:
    return np.logical_not(eq(x, y))


def shift_left(x: Any, n: Any) -> np.ndarray:
    """x << n; 0 where n reaches the width."""
    x, n = _shift_operands(x, n)
    over = np.greater_equal(n.view(_unsigned(n)), _bits_of(x))
    by = np.where(over, np.zeros((), n.dtype), n)
    return np.where(over, np.zeros((), x.dtype), np.left_shift(x, by))


def shift_right_logical(x: Any, n: Any) -> np.ndarray:
    """x >> n on the unsigned bits; 0 where n reaches the width."""
    x, n = _shift_operands(x, n)
    bits, by = x.view(_unsigned(x)), n.view(_unsigned(n))
    over = np.greater_equal(by, _bits_of(x))
    shifted = np.right_shift(bits, np.where(over, np.zeros((), by.dtype), by))
    return np.where(over, np.zeros((), bits.dtype), shifted).view(x.dtype)


def shift_right_arithmetic(x: Any, n: Any) -> np.ndarray:
    """x >> n keeping the sign; the sign everywhere where n reaches the width."""
    x, n = _shift_operands(x, n)
    over = np.greater_equal(n.view(_unsigned(n)), _bits_of(x))
    return np.right_shift(x, np.where(over, np.full((), _bits_of(x) - 1, n.dtype), n))


def _shift_operands(x: Any, n: Any) -> tuple[np.ndarray, np.ndarray]:
    x, n = _same_dtype(x, n)
    x, n = np.asarray(x), np.asarray(n)
    return (np.ascontiguousarray(x).reshape(x.shape), np.ascontiguousarray(n).reshape(n.shape))


def _bits_of(x: np.ndarray) -> int:
    return x.dtype.itemsize * 8


def _unsigned(x: np.ndarray) -> np.dtype:
    return np.dtype(f"u{x.dtype.itemsize}")


# ------------------------------------------------------------------ shapes and reductions

def full(*, shape: Axes, dtype: np.dtype, value: Any) -> np.ndarray:
    if dtype.kind != "V" and is_plain_zero(value):  # zero pages come from the system for free
        return np.zeros(shape, dtype)
    return np.full(shape, value, dtype)


def broadcast_to(x: Any, *, shape: Axes) -> np.ndarray:
    if -1 in shape:  # a tape: the sizes that types do not know are those of x
        shape = (*shape[:len(shape) - x.ndim], *x.shape)
    return np.broadcast_to(x, shape)


def slice_(x: np.ndarray, *, start: Axes, stop: Axes, stride: Axes) -> np.ndarray:
    return x[tuple(map(slice, start, stop, stride))]


def _wide(x: np.ndarray) -> bool:
    """Whether a 16-bit float needs a wider accumulator."""
    return x.dtype.itemsize == 2 and x.dtype.kind not in "iu"


def reduce_sum(x: np.ndarray, *, axes: Axes) -> np.ndarray:
    if not axes:  # NumPy would add its identity and lose the sign of -0.0
        return x
    if _wide(x):
        return sums.total(x.astype(np.float32), axes).astype(x.dtype)
    return sums.total(x, axes)


def reduce_prod(x: np.ndarray, *, axes: Axes) -> np.ndarray:
    if not axes:
        return x
    if _wide(x):
        return np.multiply.reduce(x.astype(np.float32), axes).astype(x.dtype)
    return np.multiply.reduce(x, axes, x.dtype)


def reduce_max(x: np.ndarray, *, axes: Axes) -> np.ndarray:
    return np.maximum.reduce(x, axes)


def reduce_min(x: np.ndarray, *, axes: Axes) -> np.ndarray:
    return np.minimum.reduce(x, axes)


def reduce_and(x: np.ndarray, *, axes: Axes) -> np.ndarray:
    return np.logical_and.reduce(x, axes)


def reduce_or(x: np.ndarray, *, axes: Axes) -> np.ndarray:
    return np.logical_or.reduce(x, axes)
