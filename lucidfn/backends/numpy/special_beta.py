"""The incomplete beta function, computed in float64 like the incomplete gamma functions."""

import numpy as np

from lucidfn.backends.numpy.special_base import DOUBLE, blockwise, piecewise
from lucidfn.backends.numpy.special_gamma import stirling
from lucidfn.backends.numpy.special_igamma import gamma1p, log1p_excess

# Levels of the continued fraction: enough for min(a, b) up to about 1e9.
MOST_LEVELS = 10_000


def betainc(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Regularised incomplete beta function I_x(a, b) for a, b > 0 and 0 <= x <= 1, else NaN.

    Continued fraction (DLMF 8.17.22) for x below (a + 1)/(a + b + 2), else of 1 - I_{1-x}(b, a).
    """
    single = a.dtype != DOUBLE
    return blockwise(lambda a, b, x: _betainc(a, b, x, single), a, b, x, work=DOUBLE)


def _betainc(a: np.ndarray, b: np.ndarray, x: np.ndarray, single: bool) -> np.ndarray:
    valid = (a > 0.0) & (b > 0.0) & (x >= 0.0) & (x <= 1.0)
    # The limits of infinite parameters are steps.
    one = (x == 1.0) | (np.isposinf(b) & np.isfinite(a) & (x > 0.0))
    zero = (x == 0.0) | (np.isposinf(a) & np.isfinite(b) & (x < 1.0))
    inside = valid & ~one & ~zero & np.isfinite(a) & np.isfinite(b)
    below = x * (a + b + 2.0) <= a + 1.0

    def lower(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        fraction = _fraction(a, b, x, 1.0 - x, -_deviation(a, b, x), single)
        return np.minimum(_weight(a, b, x) * fraction, 1.0)

    def upper(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        fraction = _fraction(b, a, 1.0 - x, x, _deviation(a, b, x), single)
        return np.maximum(1.0 - _weight(a, b, x) * fraction, 0.0)

    pieces = [
        (inside & below, lower),
        (inside & ~below, upper),
        (valid & one, lambda a, b, x: np.ones_like(x)),
        (valid & zero & ~one, lambda a, b, x: np.zeros_like(x)),
    ]
    return piecewise(pieces, a, b, x)


def _fraction(
    a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray, gap: np.ndarray, single: bool
) -> np.ndarray:
    """The continued fraction for y = 1 - x and gap = a - (a + b) x, from the end back."""
    # Its even part as in A. R. Didonato and A. H. Morris (ACM TOMS 708): x enters where it is
    # benign, and where 1 - x or the gap would cancel they are given.
    power = float(np.minimum(a, b).max()) ** 0.36
    levels = int(min(35.0 + 3.5 * power if single else 80.0 + 5.0 * power, MOST_LEVELS))
    value, total = a / (a + 1.0), a + b
    for m in range(levels, -1, -1):
        c = a + 2.0 * m
        level = (a + m) / (c + 1.0) * (gap + 1.0 + m * (1.0 + y))
        if m < levels:
            n = m + 1.0
            level += (a + m) / (c + 1.0) * ((total + m) / (c + 1.0)) * x * (n * (b - n) * x) / value
        if m:
            level += m + m * ((b - m) / (c - 1.0)) * x
        value = level
    return 1.0 / value


def _weight(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x^a (1 - x)^b gamma(a + b) / (gamma(a) gamma(b)), without its large factors."""
    y = 1.0 - x
    big_a, big_b = a >= 10.0, b >= 10.0
    pieces = [
        (big_a & big_b, lambda a, b, x, y: _weight_large(a, b, x)),
        (~big_a & ~big_b, _weight_small),
        (~big_a & big_b, _weight_mixed),
        (big_a & ~big_b, lambda a, b, x, y: _weight_mixed(b, a, y, x)),
    ]
    return piecewise(pieces, a, b, x, y)


def _log(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log(x) where y = 1 - x: the smaller of the two is exact."""
    return np.where(x < 0.5, np.log(x), np.log1p(-y))


def _weight_small(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    gammas = gamma1p(a + b) / (gamma1p(a) * gamma1p(b))
    # a b / (a + b), which must not underflow for tiny a and b
    return x**a * np.exp(b * _log(y, x)) * gammas * (a / (a + b) * b)


def _weight_mixed(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # gamma(a + b) / gamma(b) by Stirling's series, (a + b)^a taken together with x^a
    ratio = a / b
    exponent = b * (_log(y, x) + log1p_excess(ratio, 1.0 + ratio)) - 0.5 * np.log1p(ratio)
    exponent += stirling(a + b) - stirling(b)
    return ((a + b) * x) ** a * (a / gamma1p(a)) * np.exp(exponent)


def _weight_large(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    # x = x0 (1 + u) and 1 - x = (1 - x0) (1 - v) for x0 = a / (a + b), where a u = b v cancels.
    total = a + b
    excess = _deviation(a, b, x)
    u, v = excess / a, excess / b
    exponent = a * log1p_excess(u, x * (total / a))
    exponent += b * log1p_excess(-v, (1.0 - x) * (total / b))
    exponent += stirling(total) - stirling(a) - stirling(b)
    return np.exp(exponent) * np.sqrt(a / total * b / (2.0 * np.pi))


def _deviation(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x (a + b) - a with the rounding errors of its terms put back (Dekker, Knuth)."""
    xb, xb_error = _product(x, b)
    xa, xa_error = _product(x, a)
    first, first_error = _sum(xa, -a)
    second, second_error = _sum(xb, first)
    return second + (xb_error + xa_error + first_error + second_error)


def _product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    product = x * y
    x_high, y_high = (
        (z.view(np.uint64) & np.uint64(0xFFFFFFFFF8000000)).view(DOUBLE) for z in (x, y)
    )
    x_low, y_low = x - x_high, y - y_high
    error = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low
    return product, error


def _sum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)
