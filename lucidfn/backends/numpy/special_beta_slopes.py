"""Derivatives of the incomplete beta function in its parameters a and b, computed in float64."""

from __future__ import annotations

import numpy as np

from lucidfn.backends.numpy.special_base import DOUBLE, Kernel, blockwise, piecewise
from lucidfn.backends.numpy.special_beta import _weight, betainc
from lucidfn.backends.numpy.special_gamma import digamma_block

_STEP = 1e-30  # of the complex step: its square vanishes beside 1, so no digit is lost


def betainc_grad_a(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The derivative of betainc(a, b, x) in a; NaN where that is."""
    return blockwise(lambda a, b, x: _slopes(a, b, x, _in_a, _in_b), a, b, x, work=DOUBLE)


def betainc_grad_b(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The derivative of betainc(a, b, x) in b; NaN where that is."""
    return blockwise(lambda a, b, x: _slopes(a, b, x, _in_b, _in_a), a, b, x, work=DOUBLE)


def _slopes(a: np.ndarray, b: np.ndarray, x: np.ndarray, here: Kernel,
            there: Kernel) -> np.ndarray:
    valid = (a > 0.0) & (b > 0.0) & np.isfinite(a) & np.isfinite(b) & (x >= 0.0) & (x <= 1.0)
    inside = valid & (x > 0.0) & (x < 1.0)
    below = x * (a + b + 2.0) <= a + 1.0
    pieces = [
        (inside & below, here),
        # I_x(a, b) = 1 - I_{1-x}(b, a)
        (inside & ~below, lambda a, b, x: -there(b, a, 1.0 - x)),
        (valid & ~inside, lambda a, b, x: np.zeros_like(x)),
    ]
    return piecewise(pieces, a, b, x)


def _in_a(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    # betainc is the weight x^a (1-x)^b / B(a, b) times a continued fraction over a.
    relative = np.log(x) - 1.0 / a + digamma_block(a + b) - digamma_block(a)
    slope = _fraction(a + _STEP * 1j, b, x).imag / _STEP
    return betainc(a, b, x) * relative + _weight(a, b, x) / a * slope


def _in_b(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    relative = np.log1p(-x) + digamma_block(a + b) - digamma_block(b)
    slope = _fraction(a, b + _STEP * 1j, x).imag / _STEP
    return betainc(a, b, x) * relative + _weight(a, b, x) / a * slope


def _fraction(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The continued fraction DLMF 8.17.22 from the end back, for complex a or b."""
    levels = 40 + int(5.0 * float(np.minimum(a.real, b.real).max()) ** 0.36)
    value = np.ones(x.shape, np.complex128)
    for m in range(min(levels, 10_000), 0, -1):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        value = 1.0 + odd / value
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        value = 1.0 + even / value
    return 1.0 / (1.0 - (a + b) * x / (a + 1.0) / value)
