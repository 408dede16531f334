"""Kernels of probability theory: x log y that is 0 where x is, and the normal quantile function."""

from __future__ import annotations

import math

import numpy as np

from lucidfn.backends.numpy.special_base import DOUBLE, blockwise, piecewise
from lucidfn.backends.numpy.special_erf import erf_inv_block, erfc_block

_SQRT2 = math.sqrt(2.0)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_LEVELS = 40  # of the continued fraction, for arguments of at least 6


def xlogy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x log y, and 0 where x is 0 (NaN where y is)."""
    return np.where((x == 0) & ~np.isnan(y), np.zeros((), x.dtype), x * np.log(y))


def xlog1py(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x log(1 + y), and 0 where x is 0 (NaN where y is)."""
    return np.where((x == 0) & ~np.isnan(y), np.zeros((), x.dtype), x * np.log1p(y))


def ndtri(p: np.ndarray) -> np.ndarray:
    """Where the normal distribution function is p; accurate for p near 0 too."""
    return blockwise(_ndtri, p, work=DOUBLE)


def _ndtri(p: np.ndarray) -> np.ndarray:
    pieces = [
        ((p > 0.1) & (p <= 1.0), lambda p: _SQRT2 * erf_inv_block(2.0 * p - 1.0)),
        ((p > 1e-9) & (p <= 0.1), _near_tail),
        ((p > 0.0) & (p <= 1e-9), _far_tail),
        (p == 0.0, lambda p: np.full_like(p, -np.inf)),
    ]
    return piecewise(pieces, p)


def _near_tail(p: np.ndarray) -> np.ndarray:
    """One step of Newton's method puts back what the rounding of 2p - 1 took."""
    x = _SQRT2 * erf_inv_block(2.0 * p - 1.0)
    excess = 0.5 * erfc_block(x / -_SQRT2) - p
    return x - excess * np.exp(0.5 * x * x + _LOG_SQRT_2PI)


def _far_tail(p: np.ndarray) -> np.ndarray:
    """Newton's method on the logarithm, which is nearly a parabola."""
    goal = np.log(p)
    t = np.sqrt(-2.0 * goal - np.log(-4.0 * np.pi * goal))
    for _ in range(4):
        ratio = _mills(t)
        t += (-0.5 * t * t - _LOG_SQRT_2PI + np.log(ratio) - goal) * ratio
    return -t


def _mills(t: np.ndarray) -> np.ndarray:
    """Tail probability over density of the normal distribution, by Laplace's continued fraction."""
    value = t.copy()
    for level in range(_LEVELS, 0, -1):
        value = t + level / value
    return 1.0 / value
