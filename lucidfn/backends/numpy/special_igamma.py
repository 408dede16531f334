"""Incomplete gamma functions and their derivative in the first argument.

Everything is computed in float64: the exponent of the common factor x^a e^-x / gamma(a + 1) loses
log2(a) bits, which a pair of float32 numbers would restore at a higher price. For float32 results
the series and fractions are cut earlier. The coefficients of GAMMA_1 and ATANH are fits of
this project; those of TEMME are exact Taylor coefficients.
"""

from collections.abc import Callable

import numpy as np

from lucidfn.backends.numpy.special_base import DOUBLE, blockwise, horner, piecewise, rational
from lucidfn.backends.numpy.special_erf import erfc_block
from lucidfn.backends.numpy.special_gamma import digamma_block, lgamma1p, stirling

# gamma(1 + f) in f on [0, 1].
GAMMA_1 = (
    (
        1.0, 0.63350485795668738, 0.29762478559641544, 0.08849217218429394, 0.022564271451705779,
        0.0040652379894262165, 0.00067681896459544551, 6.7798328196972766e-5, 7.5422592835539286e-6,
    ),
    (
        1.0, 1.2107205228582202, 0.0074156418799831523, -0.19721871887597369, 0.018367507085937655,
        0.0098538732401964613, -0.0022814000488154163, 0.0001460585910563368,
    ),
)
# (atanh(t) / t - 1) / t**2 in t**2, for |t| <= 0.29.
ATANH = (
    0.33333333333333333, 0.19999999999999987, 0.14285714285720596, 0.11111111109949663,
    0.090909092003452085, 0.076923016905354563, 0.066668712168852458, 0.058778974173315513,
    0.053249928059503258, 0.042375782166597028, 0.067599578523517586,
)
# Row k: the coefficients c_k(eta) of 1 / a**k, by powers of eta, for |eta| <= 0.36 and a >= 20.
TEMME = (
    (-0.33333333333333333, 0.083333333333333333, -0.014814814814814815, 0.0011574074074074074,
     0.0003527336860670194, -0.00017875514403292181, 3.9192631785224378e-5,
     -2.1854485106799922e-6, -1.85406221071516e-6, 8.296711340953086e-7,
     -1.7665952736826079e-7, 6.7078535434014986e-9, 1.0261809784240308e-8,
     -4.3820360184533532e-9, 9.1476995822367902e-10),
    (-0.0018518518518518519, -0.0034722222222222222, 0.0026455026455026455,
     -0.00099022633744855967, 0.00020576131687242798, -4.0187757201646091e-7,
     -1.8098550334489978e-5, 7.6491609160811101e-6, -1.6120900894563446e-6,
     4.6471278028074343e-9, 1.378633446915721e-7, -5.752545603517705e-8, 1.1951628599778147e-8,
     -1.7543241719747648e-11, -1.0091543710600413e-9),
    (0.0041335978835978836, -0.0026813271604938272, 0.00077160493827160494,
     2.0093878600823045e-6, -0.00010736653226365161, 5.2923448829120125e-5,
     -1.2760635188618728e-5, 3.4235787340961381e-8, 1.3721957309062933e-6,
     -6.298992138380055e-7, 1.4280614206064242e-7, -2.0477098421990866e-10,
     -1.4092529910867521e-8, 6.228974084922022e-9),
    (0.00064943415637860082, 0.00022947209362139918, -0.00046918949439525571,
     0.00026772063206283885, -7.5618016718839764e-5, -2.3965051138672967e-7,
     1.1082654115347302e-5, -5.6749528269915966e-6, 1.4230900732435884e-6,
     -2.7861080291528142e-11, -1.6958404091930277e-7, 8.0994649053880824e-8,
     -1.9111168485973654e-8),
    (-0.0008618882909167117, 0.00078403922172006663, -0.00029907248030319018,
     -1.4638452578843418e-6, 6.6414982154651222e-5, -3.9683650471794347e-5,
     1.1375726970678419e-5, 2.5074972262375328e-10, -1.6954149536558306e-6,
     8.9075075322053097e-7, -2.2929348340008049e-7),
    (-0.00033679855336635815, -6.9728137583658578e-5, 0.00027727532449593921,
     -0.00019932570516188848, 6.7977804779372078e-5, 1.419062920643967e-7,
     -1.3594048189768693e-5, 8.0184702563342015e-6, -2.2914811765080952e-6),
    (0.00053130793646399222, -0.00059216643735369388, 0.00027087820967180448,
     7.9023532326603279e-7, -8.1539693675619688e-5, 5.6116827531062497e-5,
     -1.8329116582843376e-5, -3.0796134506033048e-9, 3.4651553688036091e-6),
    (0.00034436760689237767, 5.1717909082605922e-5, -0.00033493161081142236,
     0.0002812695154763237, -0.00010976582244684731, -1.2741009095484485e-7,
     2.7744451511563644e-5, -1.8263488805711333e-5),
    (-0.00065262391859530942, 0.00083949872067208728, -0.00043829709854172101,
     -6.969091458420552e-7, 0.00016644846642067548, -0.00012783517679769219),
    (-0.00059676129019274625, -7.2048954160200106e-5, 0.00067823088376673284,
     -0.00064014752602627585, 0.00027750107634328704),
    (0.0013324454494800656, -0.0019144384985654775, 0.0011089369134596637),
    (0.001579727660730835,),
)

Piece = Callable[[np.ndarray, np.ndarray], np.ndarray]


def igamma(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Regularised lower incomplete gamma function P(a, x) (DLMF 8.2.4); NaN for a < 0 or x < 0.

    Series (DLMF 8.11.4) for small x, continued fraction (8.9.2) for large x, and the uniform
    expansion of N. M. Temme (8.12.3) for x near a large a.
    """
    eps = _precision(a)
    return blockwise(lambda a, x: _lower(a, x, eps), a, x, work=DOUBLE)


def igammac(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Regularised upper incomplete gamma function Q(a, x) = 1 - P(a, x), accurate where small."""
    eps = _precision(a)
    return blockwise(lambda a, x: _upper(a, x, eps), a, x, work=DOUBLE)


def igamma_grad_a(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Derivative of igamma(a, x) in a: the expansions of `igamma`, differentiated term by term."""
    eps = _precision(a)
    return blockwise(lambda a, x: _grad_a(a, x, eps), a, x, work=DOUBLE)


def random_gamma_grad(a: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Derivative in a of a gamma(a) variate: -(dP/da) / (dP/dx) at x = sample.

    Implicit reparameterisation (M. Figurnov, S. Mohamed and A. Mnih, NeurIPS 2018); the common
    factor of the two derivatives cancels, so neither underflows.
    """
    eps = _precision(a)
    return blockwise(lambda a, x: _sample_grad(a, x, eps), a, sample, work=DOUBLE)


def _precision(a: np.ndarray) -> float:
    """Where series are cut: below the rounding error of the dtype of the result."""
    return 2.0**-54 if a.dtype == DOUBLE else 2.0**-28


def _near(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where Temme's expansion is used: |x - a| <= 0.3 a and a > 20."""
    return (a > 20.0) & (np.abs(x - a) <= 0.3 * a)


def _lower(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    inside, near = _inside(a, x), _near(a, x)
    large = (x > 1.1) & (x > a)
    pieces = [
        (inside & near, lambda a, x: _temme(a, x, -1.0)),
        (inside & ~near & large, lambda a, x: 1.0 - _upper_fraction(a, x, eps)),
        (inside & ~near & ~large, lambda a, x: _lower_series(a, x, eps)),
        *_borders(a, x, 0.0, 1.0),
    ]
    return piecewise(pieces, a, x)


def _upper(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    inside, near = _inside(a, x) & ~_near(a, x), _inside(a, x) & _near(a, x)
    large = (x > 1.1) & (x > a)
    # Here P is close to 1: 1 - P would cancel.
    small = np.where(x > 0.5, 1.1 * x >= a, a * -np.log(x) <= 0.4) & (x <= 1.1)
    pieces = [
        (near, lambda a, x: _temme(a, x, 1.0)),
        (inside & large, lambda a, x: _upper_fraction(a, x, eps)),
        (inside & small, lambda a, x: _upper_small(a, x, eps)),
        (inside & ~large & ~small, lambda a, x: 1.0 - _lower_series(a, x, eps)),
        *_borders(a, x, 1.0, 0.0),
    ]
    return piecewise(pieces, a, x)


def _inside(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (a > 0.0) & (x > 0.0) & np.isfinite(a) & np.isfinite(x)


def _borders(
    a: np.ndarray, x: np.ndarray, left: float, right: float
) -> list[tuple[np.ndarray, Piece]]:
    """Values on the border of the domain: `left` for x = 0 or a = inf, `right` opposite."""
    start = ((x == 0.0) & (a > 0.0)) | (np.isposinf(a) & (x >= 0.0) & np.isfinite(x))
    end = (np.isposinf(x) & (a >= 0.0) & np.isfinite(a)) | ((a == 0.0) & (x > 0.0))
    return [
        (start, lambda a, x: np.full_like(a, left)),
        (end, lambda a, x: np.full_like(a, right)),
    ]


def gamma1p(a: np.ndarray) -> np.ndarray:
    """gamma(1 + a) for 0 <= a <= 170, float64: a rational function and a product."""
    rest, product = a.copy(), np.ones_like(a)
    while (above := rest > 1.0).any():
        product *= np.maximum(rest, 1.0)
        rest -= above
    return product * rational(*GAMMA_1, rest)


def log1p_excess(u: np.ndarray, one_plus_u: np.ndarray) -> np.ndarray:
    """log(1 + u) - u, with 1 + u also given as it is when u is rounded."""
    near = (u >= -0.45) & (u <= 0.55)
    pieces = [(near, lambda u, v: _log1p_excess_near(u)), (~near, lambda u, v: np.log(v) - u)]
    return piecewise(pieces, u, one_plus_u)


def _log1p_excess_near(u: np.ndarray) -> np.ndarray:
    # log(1 + u) = 2 atanh(t) and 2t - u = -t u, for t = u / (2 + u)
    t = u / (2.0 + u)
    square = t * t
    return t * (2.0 * square * horner(ATANH, square) - u)


def _density(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x^a e^-x / gamma(a + 1)."""
    return piecewise([(a < 10.0, _density_small), (a >= 10.0, _density_large)], a, x)


def _density_small(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    half = np.exp(-0.5 * x)  # twice: e^-x may be subnormal where the product is not
    return x**a * half / gamma1p(a) * half


def _density_large(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    exponent = a * log1p_excess((x - a) / a, x / a) - stirling(a)
    return np.exp(exponent) / np.sqrt(2.0 * np.pi * a)


def _lower_series(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    """x^a e^-x / gamma(a + 1) sum_n x^n / ((a + 1) ... (a + n))."""
    return np.minimum(_density(a, x) * _series(a, x, eps)[0], 1.0)


def _series(a: np.ndarray, x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The sum of `_lower_series` and its derivative in a."""
    total, term = np.ones_like(a), np.ones_like(a)
    slope, term_slope = np.zeros_like(a), np.zeros_like(a)
    step = a.copy()
    # Only while the terms fall is a small term a reason to stop; x < a + 1 makes them fall.
    while (term > eps * total).any():
        step += 1.0
        term_slope = (term_slope * x - term * x / step) / step
        term *= x / step
        total += term
        slope += term_slope
    return total, slope


def _upper_fraction(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    return np.minimum(_density(a, x) * a * _fraction(a, x, eps)[0], 1.0)


def _fraction(a: np.ndarray, x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """1 / (x+1-a + 1(a-1) / (x+3-a + 2(a-2) / ...)) and its derivative in a, from the end back."""
    smallest = float(x.min())
    count = int(100.0 / smallest + 20.0) if eps < 2.0**-50 else int(30.0 / smallest + 14.0)
    value, slope = x - a + (2 * count + 1.0), np.full_like(a, -1.0)
    for i in range(count, 0, -1):
        ratio = i * (a - i) / value
        slope = -1.0 + (i - ratio * slope) / value
        value = x - a + (2 * i - 1.0) + ratio
    return 1.0 / value, -slope / (value * value)


def _upper_small(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    """1 - x^a / gamma(a + 1) (1 + a sum_n (-x)^n / ((a + n) n!)), without the cancellation."""
    total, term, n = np.zeros_like(a), np.ones_like(a), 0.0
    while n == 0.0 or (np.abs(term) > eps).any():
        n += 1.0
        term *= -x / n
        total += term / (a + n)
    exponent = a * np.log(x) - lgamma1p(a)
    return -np.expm1(exponent) - np.exp(exponent) * a * total


def _temme_parts(
    a: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """mu = x/a - 1, eta, sum_k c_k(eta) / a^k and its derivative in a with x fixed."""
    mu = (x - a) / a
    eta = np.copysign(np.sqrt(-2.0 * log1p_excess(mu, x / a)), mu)
    shape = (a.shape, a.dtype)
    total, by_eta, by_a = (np.zeros(*shape) for _ in range(3))
    for k in range(len(TEMME) - 1, -1, -1):
        row = TEMME[k]
        derivative = [i * c for i, c in enumerate(row)][1:] or [0.0]
        total = total / a + horner(row, eta)
        by_eta = by_eta / a + horner(derivative, eta)
        by_a = by_a / a - k * horner(row, eta)
    # d eta / d a = -mu / (a eta), and mu / eta -> 1
    ratio = np.where(eta == 0.0, 1.0, mu / eta)
    return mu, eta, total, (by_a - ratio * by_eta) / a


def _temme(a: np.ndarray, x: np.ndarray, side: float) -> np.ndarray:
    """Q (side = 1) or P (side = -1): erfc(side eta sqrt(a/2))/2 + side e^(-a eta^2/2) sum."""
    _, eta, total, _ = _temme_parts(a, x)
    root = eta * np.sqrt(0.5 * a)
    edge = np.exp(-root * root) / np.sqrt(2.0 * np.pi * a)
    return 0.5 * erfc_block(side * root) + side * edge * total


def _grad_a(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    pieces = [
        (_inside(a, x), lambda a, x: _density(a, x) * _scaled_grad(a, x, eps)),
        *_borders(a, x, 0.0, 0.0),
    ]
    return piecewise(pieces, a, x)


def _sample_grad(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    pieces = [
        (_inside(a, x), lambda a, x: -_scaled_grad(a, x, eps) * (x / a)),
        ((x == 0.0) & (a > 0.0), lambda a, x: np.zeros_like(a)),
    ]
    return piecewise(pieces, a, x)


def _scaled_grad(a: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    """dP/da divided by x^a e^-x / gamma(a + 1)."""
    near = _near(a, x)
    large = (x > 1.1) & (x > a) & ~near

    def series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
        total, slope = _series(a, x, eps)
        return total * (np.log(x) - digamma_block(a + 1.0)) + slope

    def fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
        value, slope = _fraction(a, x, eps)
        return -a * (value * (np.log(x) - digamma_block(a)) + slope)

    def uniform(a: np.ndarray, x: np.ndarray) -> np.ndarray:
        mu, eta, total, slope = _temme_parts(a, x)
        ratio = np.where(eta == 0.0, 1.0, mu / eta)
        value = 0.5 * eta - ratio - total * (np.log1p(mu) - 0.5 / a) - slope
        return value * np.exp(stirling(a))

    pieces = [(near, uniform), (large, fraction), (~near & ~large, series)]
    return piecewise(pieces, a, x)
