"""Incomplete gamma functions and their derivative in the first argument, as lazy expressions.

The expansions are those of the NumPy kernels; series and fractions have a fixed length, enough
where they are selected, and are computed in the precision of the operands.
"""

from __future__ import annotations

import math

import mlx.core as mx

from lucidfn.backends.mlx.arrays import scalar
from lucidfn.backends.mlx.elementwise import exp, expm1
from lucidfn.backends.mlx.special import (
    all_of,
    digamma,
    erfc,
    first_of,
    floats,
    horner,
    lgamma,
    rational,
)
from lucidfn.backends.numpy.special_gamma import LGAMMA_1_32, LGAMMA_1_64, STIRLING
from lucidfn.backends.numpy.special_igamma import ATANH, GAMMA_1, TEMME

_TEMME_ROWS = {mx.float32: 4, mx.float64: len(TEMME)}
_SERIES = {mx.float32: 60, mx.float64: 112}
_FRACTION = {mx.float32: 42, mx.float64: 112}
_SMALL = {mx.float32: 14, mx.float64: 24}
_LGAMMA = {mx.float32: LGAMMA_1_32, mx.float64: LGAMMA_1_64}
Pair = tuple[mx.array, mx.array]


@floats
def igamma(a: mx.array, x: mx.array) -> mx.array:
    """P(a, x): series for small x, a fraction for large x, Temme's expansion near a large a."""
    inside, near, large = _regions(a, x)
    density = _density(a, x)
    return first_of(
        a + x, (all_of(inside, near), _temme(a, x, -1.0)),
        (all_of(inside, large), 1.0 - mx.minimum(density * a * _fraction(a, x)[0], 1.0)),
        (inside, mx.minimum(density * _series(a, x)[0], 1.0)), *_borders(a, x, 0.0, 1.0))


@floats
def igammac(a: mx.array, x: mx.array) -> mx.array:
    """Q(a, x) = 1 - P(a, x), accurate where small."""
    inside, near, large = _regions(a, x)
    density = _density(a, x)
    # Here P is close to 1: 1 - P would cancel.
    small = mx.logical_and(mx.where(x > 0.5, 1.1 * x >= a, a * -mx.log(x) <= 0.4), x <= 1.1)
    return first_of(
        a + x, (all_of(inside, near), _temme(a, x, 1.0)),
        (all_of(inside, large), mx.minimum(density * a * _fraction(a, x)[0], 1.0)),
        (all_of(inside, small), _upper_small(a, x)),
        (inside, 1.0 - mx.minimum(density * _series(a, x)[0], 1.0)), *_borders(a, x, 1.0, 0.0))


@floats
def igamma_grad_a(a: mx.array, x: mx.array) -> mx.array:
    """dP/da: the expansions differentiated term by term."""
    inside, near, large = _regions(a, x)
    return first_of(a + x, (inside, _density(a, x) * _scaled_grad(a, x, near, large)),
                    *_borders(a, x, 0.0, 0.0))


@floats
def random_gamma_grad(a: mx.array, x: mx.array) -> mx.array:
    """-(dP/da) / (dP/dx) at a sample x; the common factor cancels, so neither underflows."""
    inside, near, large = _regions(a, x)
    return first_of(a + x, (inside, -_scaled_grad(a, x, near, large) * (x / a)),
                    (mx.logical_and(x == 0.0, a > 0.0), 0.0))


def _regions(a: mx.array, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    inside = all_of(a > 0.0, x > 0.0, mx.isfinite(a), mx.isfinite(x))
    near = all_of(a > 20.0, mx.abs(x - a) <= 0.3 * a)
    return inside, near, all_of(x > 1.1, x > a, mx.logical_not(near))


def _borders(a: mx.array, x: mx.array, left: float,
             right: float) -> list[tuple[mx.array, float]]:
    start = mx.logical_or(all_of(x == 0.0, a > 0.0),
                          all_of(a == math.inf, x >= 0.0, mx.isfinite(x)))
    end = mx.logical_or(all_of(x == math.inf, a >= 0.0, mx.isfinite(a)), all_of(a == 0.0, x > 0.0))
    return [(start, left), (end, right)]


def stirling(x: mx.array) -> mx.array:
    inverse = 1.0 / x
    return horner(STIRLING, inverse * inverse) * inverse


def _log1p_excess(u: mx.array, one_plus_u: mx.array) -> mx.array:
    """log(1 + u) - u, with 1 + u also given as it is when u is rounded."""
    t = u / (2.0 + u)  # log(1 + u) = 2 atanh(t) and 2t - u = -t u
    square = t * t
    near = t * (2.0 * square * horner(ATANH, square) - u)
    return mx.where(all_of(u >= -0.45, u <= 0.55), near, mx.log(one_plus_u) - u)


def _density(a: mx.array, x: mx.array) -> mx.array:
    """x^a e^-x / gamma(a + 1)."""
    half = exp(-0.5 * x)  # twice: e^-x may be subnormal where the product is not
    rest, product = mx.minimum(a, 10.0), mx.ones_like(a)
    for _ in range(9):
        above = rest > 1.0
        product = product * mx.maximum(rest, 1.0)
        rest = rest - above.astype(rest.dtype)
    small = mx.power(x, a) * half / (product * rational(GAMMA_1, rest)) * half
    large = exp(a * _log1p_excess((x - a) / a, x / a) - stirling(a)) / mx.sqrt(2.0 * math.pi * a)
    return mx.where(a < 10.0, small, large)


def _series(a: mx.array, x: mx.array) -> Pair:
    """sum_n x^n / ((a + 1) ... (a + n)) and its derivative in a."""
    term = mx.ones_like(a + x)
    total, slope, term_slope = term, mx.zeros_like(term), mx.zeros_like(term)
    for n in range(1, _SERIES[a.dtype] + 1):
        ratio = x / (a + n)
        term_slope = term_slope * ratio - term * ratio / (a + n)
        term = term * ratio
        total, slope = total + term, slope + term_slope
    return total, slope


def _fraction(a: mx.array, x: mx.array) -> Pair:
    """1 / (x+1-a + 1(a-1) / (x+3-a + ...)) and its derivative in a, from the end back."""
    count, base = _FRACTION[a.dtype], x - a
    value, slope = base + (2 * count + 1.0), scalar(-1.0, a.dtype)
    for i in range(count, 0, -1):
        ratio = i * (a - i) / value
        slope = -1.0 + (i - ratio * slope) / value
        value = base + (2 * i - 1.0) + ratio
    return 1.0 / value, -slope / (value * value)


def _upper_small(a: mx.array, x: mx.array) -> mx.array:
    """1 - x^a / gamma(a + 1) (1 + a sum_n (-x)^n / ((a + n) n!)), without the cancellation."""
    term = mx.ones_like(a + x)
    total = mx.zeros_like(term)
    for n in range(1, _SMALL[a.dtype] + 1):
        term = term * (-x / n)
        total = total + term / (a + n)
    # log gamma(1 + a), accurate for small a: lgamma vanishes at 1
    exponent = a * mx.log(x) - _lgamma1p(a)
    return -expm1(exponent) - exp(exponent) * a * total


def _lgamma1p(a: mx.array) -> mx.array:
    near = a * (a - 1.0) * rational(_LGAMMA[a.dtype], 1.0 + a)
    return mx.where(a <= 2.0, near, lgamma(1.0 + a))


def _temme_parts(a: mx.array, x: mx.array) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """mu = x/a - 1, eta, sum_k c_k(eta) / a^k and its derivative in a with x fixed."""
    mu = (x - a) / a
    size = mx.sqrt(mx.maximum(-2.0 * _log1p_excess(mu, x / a), 0.0))
    eta = mx.where(mu < 0, -size, size)
    total = by_eta = by_a = mx.zeros_like(eta)
    for k in range(_TEMME_ROWS[a.dtype] - 1, -1, -1):
        row = TEMME[k]
        derivative = [i * c for i, c in enumerate(row)][1:] or [0.0]
        value = horner(row, eta)
        total = total / a + value
        by_eta = by_eta / a + horner(derivative, eta)
        by_a = by_a / a - k * value
    return mu, eta, total, (by_a - _ratio(mu, eta) * by_eta) / a


def _ratio(mu: mx.array, eta: mx.array) -> mx.array:
    return mx.where(eta == 0.0, 1.0, mu / eta)


def _temme(a: mx.array, x: mx.array, side: float) -> mx.array:
    """Q (side = 1) or P (side = -1): erfc(side eta sqrt(a/2))/2 + side e^(-a eta^2/2) sum."""
    _, eta, total, _ = _temme_parts(a, x)
    root = eta * mx.sqrt(0.5 * a)
    edge = exp(-root * root) / mx.sqrt(2.0 * math.pi * a)
    return 0.5 * erfc(side * root) + side * edge * total


def _scaled_grad(a: mx.array, x: mx.array, near: mx.array, large: mx.array) -> mx.array:
    """dP/da divided by x^a e^-x / gamma(a + 1)."""
    log_x = mx.log(x)
    total, slope = _series(a, x)
    series = total * (log_x - digamma(a + 1.0)) + slope
    value, slope = _fraction(a, x)
    fraction = -a * (value * (log_x - digamma(a)) + slope)
    mu, eta, total, slope = _temme_parts(a, x)
    uniform = 0.5 * eta - _ratio(mu, eta) - total * (mx.log1p(mu) - 0.5 / a) - slope
    return mx.where(near, uniform * exp(stirling(a)), mx.where(large, fraction, series))
