"""Sorting, selection, running reductions and arg-extrema.

A stable order of up to 32-bit keys comes from one sort of 64-bit integers: the key in the upper
half, its position in the lower half. NumPy sorts those with vector instructions, which it does not
offer for stable or indirect sorts.
"""

import numpy as np

from .precision import HALVES, SINGLE, widened

_LOW_HALF = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
# Positions must fit in the lower half; shorter rows are faster by NumPy's own stable sort.
_PACKED_LENGTHS = range(8, 2**32)


def sort(*operands: np.ndarray, axis: int, num_keys: int) -> list[np.ndarray]:
    """The operands, reordered together so that the first `num_keys` ascend along `axis`.

    Stable; the first key is the most significant. NaN comes last, -0.0 equals 0.0, complex numbers
    compare by real part, then imaginary part.
    """
    if len(operands) == 1:
        return [_sort_one(operands[0], axis)]
    order = _order(operands[:num_keys], axis)
    return [np.take_along_axis(x, order, axis) for x in operands]


def argsort(*keys: np.ndarray, axis: int) -> np.ndarray:
    """int32 positions that put the keys in the order of `sort`, stable."""
    return _order(keys, axis).astype(np.int32)


def _sort_one(x: np.ndarray, axis: int) -> np.ndarray:
    if x.dtype in HALVES:
        return _sort_one(x.astype(SINGLE), axis).astype(x.dtype)
    if x.dtype.kind == "f" and bool(((x == 0) & np.signbit(x)).any()):
        # Only here can equal elements be told apart: -0.0 and 0.0 must keep their order.
        return np.sort(x, axis=axis, kind="stable")
    return np.sort(x, axis=axis)


def _order(keys: tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    """Stable positions along `axis`; less significant keys are ordered first."""
    rows = [np.moveaxis(key, axis, -1) for key in keys]
    order = _row_order(rows[-1])
    for row in reversed(rows[:-1]):
        order = np.take_along_axis(order, _row_order(np.take_along_axis(row, order, -1)), -1)
    return np.moveaxis(order, -1, axis)


def _row_order(x: np.ndarray) -> np.ndarray:
    x = widened(x)
    if x.dtype.itemsize > 4 or x.shape[-1] not in _PACKED_LENGTHS:
        return np.argsort(x, axis=-1, kind="stable")
    packed = _packed(_unsigned_key(x))
    packed.sort(axis=-1)
    return _positions(packed)


def _packed(key: np.ndarray) -> np.ndarray:
    packed = key.astype(np.uint64)
    packed <<= _SHIFT
    packed |= np.arange(key.shape[-1], dtype=np.uint64)
    return packed


def _positions(packed: np.ndarray) -> np.ndarray:
    packed &= _LOW_HALF
    return packed.view(np.int64)


def _unsigned_key(x: np.ndarray) -> np.ndarray:
    """uint32 numbers in the order of x, whose elements have at most 32 bits."""
    if x.dtype.kind in "bu":
        return x.astype(np.uint32)
    if x.dtype.kind == "i":
        return (x.astype(np.int64) + 2**31).astype(np.uint32)
    # Adding zero makes one of the two zeros. Negative floats ascend as their bits descend.
    bits = (x.astype(SINGLE) + SINGLE.type(0)).view(np.int32)
    key = bits.view(np.uint32) ^ ((bits >> 31).view(np.uint32) | np.uint32(2**31))
    key[np.isnan(x)] = 0xFFFFFFFF
    return key


def top_k(x: np.ndarray, *, k: int) -> list[np.ndarray]:
    """The k largest elements along the last axis, descending, and their int32 positions.

    Equal elements come in the order of their positions; NaN counts as the largest.
    """
    n = x.shape[-1]
    wide = widened(x)
    if wide.dtype.itemsize > 4 or n not in _PACKED_LENGTHS or not 0 < k < n:
        # The reverse of an ascending stable order of the reversed row: descending and stable.
        order = n - 1 - np.argsort(wide[..., ::-1], axis=-1, kind="stable")[..., : -k - 1 : -1]
    else:
        packed = _packed(~_unsigned_key(wide))
        packed.partition(k - 1, axis=-1)
        packed = packed[..., :k].copy()
        packed.sort(axis=-1)
        order = _positions(packed)
    return [np.take_along_axis(x, order, axis=-1), order.astype(np.int32)]


def cumsum(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    """out[i] = x[0] + ... + x[i] along `axis`, or the sums from the end with `reverse`."""
    return _accumulate(np.add, x, axis, reverse)


def cumprod(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    """out[i] = x[0] * ... * x[i] along `axis`, or the products from the end with `reverse`."""
    return _accumulate(np.multiply, x, axis, reverse)


def cummax(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    """out[i] = max(x[0], ..., x[i]) along `axis`; NaN from the first NaN on."""
    return _accumulate(np.maximum, x, axis, reverse)


def cummin(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    """out[i] = min(x[0], ..., x[i]) along `axis`; NaN from the first NaN on."""
    return _accumulate(np.minimum, x, axis, reverse)


def cumlogsumexp(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    """out[i] = log(exp(x[0]) + ... + exp(x[i])) along `axis`, without overflow."""
    if x.dtype.kind != "c":
        return _accumulate(np.logaddexp, x, axis, reverse)
    turn = slice(None, None, -1 if reverse else None)
    rows = np.moveaxis(x, axis, -1)[..., turn]
    out = rows.copy()
    for i in range(1, rows.shape[-1]):
        out[..., i] = _complex_logaddexp(out[..., i - 1], rows[..., i])
    return np.moveaxis(out[..., turn], -1, axis)


def _complex_logaddexp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    top = np.maximum(x.real, y.real)
    # An infinite shift would make inf - inf.
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.exp(x - top) + np.exp(y - top)) + top


def _accumulate(ufunc: np.ufunc, x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    wide = widened(x)
    turn = [slice(None)] * x.ndim
    turn[axis] = slice(None, None, -1 if reverse else None)
    out = ufunc.accumulate(wide[tuple(turn)], axis=axis, dtype=wide.dtype)[tuple(turn)]
    return out.astype(x.dtype, copy=False)


def argmax(x: np.ndarray, *, axis: int, dtype: np.dtype | type = np.int32) -> np.ndarray:
    """Position of the first largest element along `axis`, or of the first NaN."""
    return np.asarray(np.argmax(widened(x), axis=axis)).astype(dtype, copy=False)


def argmin(x: np.ndarray, *, axis: int, dtype: np.dtype | type = np.int32) -> np.ndarray:
    """Position of the first least element along `axis`, or of the first NaN."""
    return np.asarray(np.argmin(widened(x), axis=axis)).astype(dtype, copy=False)
