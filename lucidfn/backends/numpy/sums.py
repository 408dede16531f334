"""Sums over neighbouring axes as products with ones, which BLAS does several times faster than
`np.add.reduce` and no less accurately."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

SMALL = 4096  # elements; below, one call of NumPy costs less
_TERMS = 4096  # that are added one after another; the parts are added afterwards


@cache
def _ones(n: int, code: str) -> np.ndarray:
    return np.ones(n, code)


def total(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The sum of x over axes, in its dtype; axes are in order and not empty."""
    first, last = axes[0], axes[-1] + 1
    if x.size < SMALL or x.dtype.char not in "fd" or last - first != len(axes) \
            or last - first == x.ndim or not x.flags.c_contiguous:
        return np.add.reduce(x, axes, x.dtype)
    shape = x.shape
    lead, n, tail = (math.prod(s) for s in (shape[:first], shape[first:last], shape[last:]))
    rest = shape[:first] + shape[last:]
    if tail == 1:
        return (x.reshape(lead, n) @ _ones(n, x.dtype.char)).reshape(rest)
    if lead == 1:
        return _columns(x.reshape(n, tail)).reshape(rest)
    if tail < 4:  # many small products
        return np.add.reduce(x, axes, x.dtype)
    return np.matmul(_ones(n, x.dtype.char), x.reshape(lead, n, tail)).reshape(rest)


def _columns(x: np.ndarray) -> np.ndarray:
    code = x.dtype.char
    if len(x) <= _TERMS:
        return _ones(len(x), code) @ x
    parts = [_ones(len(part), code) @ part
             for part in (x[i:i + _TERMS] for i in range(0, len(x), _TERMS))]
    return np.add.reduce(parts)
