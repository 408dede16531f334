"""softmax over blocks of rows that stay in the cache."""

from __future__ import annotations

import math

import numpy as np

from . import sums
from .precision import HALVES, SINGLE

__all__ = ["softmax"]

_BLOCK = 2**16  # elements of rows that stay in the cache
# Sums of many exponentials of these do not overflow; quotients by sums from here on lose nothing.
_HIGH = {"f": 64.0, "d": 600.0}
_LOW = 2.0**-6


def softmax(x: np.ndarray, *, axes: tuple[int, ...], out: np.ndarray | None = None) -> np.ndarray:
    """exp(x) over its sum along axes; 0 in rows of nothing but -inf. `out` may be x."""
    if x.dtype in HALVES:
        return softmax(x.astype(SINGLE), axes=axes).astype(x.dtype)
    out = np.empty(x.shape, x.dtype) if out is None else out
    if not x.size:
        return out
    rows = x.shape[0] if x.ndim > 1 and 0 not in axes else 1
    step = max(1, _BLOCK * rows // x.size)
    if step >= rows:
        _softmax(x, axes, out)
    else:
        for first in range(0, rows, step):
            _softmax(x[first : first + step], axes, out[first : first + step])
    return out


def _softmax(x: np.ndarray, axes: tuple[int, ...], out: np.ndarray) -> None:
    """The softmax of a block. Where no exponential overflows and no row has small ones alone, the
    largest element of each row need not be subtracted: that is faster, and no less accurate."""
    kept = tuple([1 if a in axes else n for a, n in enumerate(x.shape)])
    if np.maximum.reduce(x, None) <= _HIGH[x.dtype.char]:
        weights = np.exp(x)
        total = _total(weights, axes, kept)
        if np.minimum.reduce(total, None) >= _LOW:
            np.divide(weights, total, out=out)
            return
    top = np.maximum.reduce(x, axes).reshape(kept)
    if np.fmin.reduce(top, None) == -math.inf:  # whose difference from themselves is NaN
        top = np.where(top == -math.inf, x.dtype.type(0), top)
    np.exp(np.subtract(x, top, out=out), out=out)
    total = _total(out, axes, kept)
    if np.fmin.reduce(total, None) == 0:
        total = np.where(total == 0, x.dtype.type(1), total)
    np.divide(out, total, out=out)


def _total(x: np.ndarray, axes: tuple[int, ...], kept: tuple[int, ...]) -> np.ndarray:
    return sums.total(x, axes).reshape(kept) if axes else x.copy()
