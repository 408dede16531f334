"""Special functions as lazy expressions, with the coefficients of the NumPy kernels.

Every piece is evaluated everywhere and the right one selected: there is no branch on a value.
float32 is computed in float32, as a GPU has nothing wider, 16-bit floats too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx.arrays import same_dtype, scalar
from lucidfn.backends.mlx.elementwise import HALVES, exp, signbit
from lucidfn.backends.numpy import special_bessel as bessel
from lucidfn.backends.numpy import special_erf as errors
from lucidfn.backends.numpy import special_expint as expint
from lucidfn.backends.numpy import special_gamma as gamma

Kernel = Callable[..., mx.array]
_INF, _NAN = math.inf, math.nan
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_MILLS_LEVELS = {mx.float32: 14, mx.float64: 40}  # of the continued fraction, for at least 6
_ZETA_TERMS = {mx.float32: 16, mx.float64: 28}  # before Euler and Maclaurin's corrections


def floats(kernel: Kernel) -> Kernel:
    """A kernel whose operands are arrays of one dtype, of at least single precision."""
    def run(*args: Any) -> mx.array:
        xs = same_dtype(*args)
        dtype = xs[0].dtype
        if dtype in HALVES:
            return kernel(*[x.astype(mx.float32) for x in xs]).astype(dtype)
        return kernel(*xs)
    return run


def horner(coefficients: Sequence[float], x: mx.array) -> mx.array:
    """The polynomial sum(c[k] * x**k)."""
    *rest, last = map(float, coefficients)
    value = scalar(last, x.dtype)
    for c in reversed(rest):
        value = value * x + c
    return value


def rational(parts: tuple[Sequence[float], Sequence[float]], x: mx.array) -> mx.array:
    return horner(parts[0], x) / horner(parts[1], x)


def single(x: mx.array) -> bool:
    return x.dtype == mx.float32


def first_of(x: mx.array, *pieces: tuple[mx.array, mx.array | float]) -> mx.array:
    """The value beside the first mask that holds; NaN where none does."""
    out = scalar(_NAN, x.dtype)
    for mask, value in reversed(pieces):
        out = mx.where(mask, value, out)
    return out


# ------------------------------------------------------------------ error functions

@floats
def erf(x: mx.array) -> mx.array:
    """Rational in x^2; in float64 1 - erfc beyond |x| = 1."""
    if single(x):
        clipped = mx.clip(x, -3.94, 3.94)
        value = mx.clip(clipped * rational(errors.ERF_32, clipped * clipped), -1.0, 1.0)
        return mx.where(mx.isnan(x), x, value)
    size = mx.abs(x)
    large = 1.0 - _erfc_positive(size)
    return mx.where(size <= 1.0, x * rational(errors.ERF_64, x * x),
                    mx.where(x < 0, -large, large))


@floats
def erfc(x: mx.array) -> mx.array:
    """1 - erf(x), with its own relative accuracy where it is small."""
    size = mx.abs(x)
    small = 1.0 - x * rational(errors.ERF_32 if single(x) else errors.ERF_64, x * x)
    large = _erfc_positive(size)
    return mx.where(size <= 0.5, small, mx.where(x < 0, 2.0 - large, large))


def _erfc_positive(x: mx.array) -> mx.array:
    """exp(-x^2) p((x - k)/(x + k)) / (1 + 2x), with the rounding error of x^2 put back."""
    x = mx.minimum(x, 10.3 if single(x) else 27.3)  # infinity would give inf / inf
    k = 3.0 if single(x) else 4.0
    value = horner(errors.ERFCX_32 if single(x) else errors.ERFCX_64, (x - k) / (x + k))
    value = value / (1.0 + 2.0 * x)
    # With its low half cleared x has an exact square.
    word, mask = (mx.uint32, 0xFFFFF000) if single(x) else (mx.uint64, 0xFFFFFFFFF8000000)
    high = mx.bitwise_and(x.view(word), scalar(mask, word)).view(x.dtype)
    value = value * exp(-(high * high))
    rest = (x - high) * (x + high)
    return value * exp(-rest)


@floats
def erf_inv(x: mx.array) -> mx.array:
    """Rational in x^2 and in sqrt(-log((1 - |x|) / 2)); infinite at -1 and 1, NaN outside."""
    centre = x * rational(errors.CENTRE_32 if single(x) else errors.CENTRE_64, 0.7225 - x * x)
    upper = (1.0 - mx.abs(x)) * 0.5
    r = mx.sqrt(-mx.log(upper))
    tail = rational(errors.TAIL_32 if single(x) else errors.TAIL_64, r)
    tail = mx.where(upper == 0, _INF, tail)
    return mx.where(mx.abs(x) <= 0.85, centre, mx.where(x < 0, -tail, tail))


@floats
def ndtri(p: mx.array) -> mx.array:
    """Where the normal distribution function is p; accurate for p near 0 too."""
    central = math.sqrt(2.0) * erf_inv(2.0 * p - 1.0)
    # One step of Newton's method puts back what the rounding of 2p - 1 took.
    excess = 0.5 * erfc(central * -math.sqrt(0.5)) - p
    near = central - excess * exp(0.5 * central * central + _LOG_SQRT_2PI)
    return first_of(p, (mx.logical_and(p > 0.1, p <= 1.0), central),
                    (mx.logical_and(p > (1e-6 if single(p) else 1e-9), p <= 0.1), near),
                    (mx.logical_and(p > 0.0, p <= 0.1), _far_tail(p)), (p == 0.0, -_INF))


def _far_tail(p: mx.array) -> mx.array:
    """Newton's method on the logarithm, which is nearly a parabola."""
    goal = mx.log(mx.minimum(p, 1e-5))
    t = mx.sqrt(-2.0 * goal - mx.log(-4.0 * math.pi * goal))
    for _ in range(4):
        ratio = t  # tail probability over density, by Laplace's continued fraction
        for level in range(_MILLS_LEVELS[p.dtype], 0, -1):
            ratio = t + level / ratio
        ratio = 1.0 / ratio
        t = t + (-0.5 * t * t - _LOG_SQRT_2PI + mx.log(ratio) - goal) * ratio
    return -t


# ------------------------------------------------------------------ gamma and its derivatives

@floats
def lgamma(x: mx.array) -> mx.array:
    """log |gamma(x)|: rational, Stirling's series from 10, reflection below -1/2."""
    size = mx.where(x <= -0.5, -x, x)
    upper = _lgamma_right(size)
    sine = mx.abs(sine_pi(size))
    reflected = mx.log(math.pi / (size * sine)) - upper
    reflected = mx.where(mx.logical_or(mx.isinf(size), sine == 0), _INF, reflected)
    below = _lgamma_1_3(x + 2.0) - mx.log(-x * (1.0 + x))
    return first_of(x, (x >= 0.0, upper), (mx.logical_and(x > -0.5, x < 0.0), below),
                    (x <= -0.5, reflected))


def _lgamma_1_3(x: mx.array) -> mx.array:
    parts = gamma.LGAMMA_1_32 if single(x) else gamma.LGAMMA_1_64
    return (x - 1.0) * (x - 2.0) * rational(parts, x) + 0.0


def _lgamma_right(x: mx.array) -> mx.array:
    """For x >= 0."""
    parts = gamma.LGAMMA_3_32 if single(x) else gamma.LGAMMA_3_64
    middle = (x - 1.0) * (x - 2.0) * rational(parts, x)
    inverse = 1.0 / x
    large = (x - 0.5) * (mx.log(x) - 1.0) + (gamma.HALF_LOG_TWO_PI - 0.5)
    large = large + horner(gamma.STIRLING, inverse * inverse) * inverse
    parts = gamma.LGAMMA_1_32 if single(x) else gamma.LGAMMA_1_64
    low = x * (x - 1.0) * rational(parts, 1.0 + x) - mx.log(x)
    return first_of(x, (x >= 10.0, large), (x >= 3.0, middle), (x >= 1.0, _lgamma_1_3(x)),
                    (x >= 0.0, low))


def sine_pi(x: mx.array) -> mx.array:
    """sin(pi x) up to its sign."""
    r = x - mx.round(x)
    return r * horner(gamma.SINE_PI, r * r)


@floats
def digamma(x: mx.array) -> mx.array:
    """Rational around its root, asymptotic from 10, reflection for x < 0."""
    negative = signbit(x)
    value = _digamma_right(mx.where(negative, 1.0 - x, x))
    r = x - mx.round(x)
    half = mx.abs(r)
    # cot(pi r) by tan(pi (1/2 - r)) beyond 1/4, where 1/2 - r is exact
    far = half > 0.25
    tangent = mx.tan(math.pi * mx.where(far, 0.5 - half, half))
    cotangent = mx.where(far, tangent, 1.0 / tangent)
    reflected = value - math.pi * mx.where(r < 0, -cotangent, cotangent)
    reflected = mx.where(x == 0, _INF, mx.where(r == 0, _NAN, reflected))
    return mx.where(mx.isnan(x), x, mx.where(negative, reflected, value))


def _digamma_right(x: mx.array) -> mx.array:
    parts = gamma.DIGAMMA_32 if single(x) else gamma.DIGAMMA_64
    # The root in two parts, so that the difference keeps its digits beside it.
    high = float(np.float32(gamma.DIGAMMA_ROOT)) if single(x) else gamma.DIGAMMA_ROOT
    low = 1.2438009516e-8 if single(x) else 9.549995429965697e-17
    between = lambda y: (y - high - low) * rational(parts, y)
    inverse = 1.0 / x
    square = inverse * inverse
    large = mx.log(x) - (0.5 * inverse + square * horner(gamma.DIGAMMA_TAIL, square))
    return first_of(x, (x >= 10.0, large), (x >= 1.0, between(x)),
                    (x >= 0.0, between(1.0 + x) - inverse))


@floats
def zeta(s: mx.array, q: mx.array) -> mx.array:
    """Hurwitz zeta function sum_k (q + k)^-s for s > 1 (Euler-Maclaurin, DLMF 25.11.5)."""
    floor = mx.floor(q)
    whole, real = q == floor, s > 1.0
    # The sum over all integers depends on the fraction of q only: from it the terms below q go.
    f = q - floor
    sign = mx.where(_is_even(s), 1.0, -1.0).astype(s.dtype)
    both = _zeta_right(s, f) + sign * _zeta_right(s, 1.0 - f)
    below = both - sign * _zeta_right(s, 1.0 - q)
    pole = mx.logical_or(mx.logical_and(s == 1.0, mx.logical_not(mx.isnan(q))),
                         all_of(real, q <= 0.0, whole, mx.isfinite(q)))
    return first_of(s, (all_of(real, q > 0.0), _zeta_right(s, q)), (pole, _INF),
                    (all_of(real, q < 0.0, mx.logical_not(whole), s == mx.floor(s)), below))


def all_of(*masks: mx.array) -> mx.array:
    out = masks[0]
    for m in masks[1:]:
        out = mx.logical_and(out, m)
    return out


def _is_even(n: mx.array) -> mx.array:
    return 2.0 * mx.floor(0.5 * n) == n


def _zeta_right(s: mx.array, q: mx.array) -> mx.array:
    """For s > 1 and q > 0."""
    total, base = mx.zeros_like(s * q), q + 0.0 * s
    small = 2.0**-26 if single(s) else 2.0**-56
    for _ in range(_ZETA_TERMS[s.dtype]):
        power = mx.power(base, -s)
        active = mx.logical_and(base < 10.0 + s, power > small * total)
        total = total + mx.where(active, power, 0.0)
        base = base + active.astype(base.dtype)
    power = mx.power(base, -s)
    factor, corrections = s / base, mx.zeros_like(total)
    for j, c in enumerate(gamma.BERNOULLI):
        corrections = corrections + c * factor
        factor = factor * ((s + (2 * j + 1)) / base) * ((s + (2 * j + 2)) / base)
    tail = power * (base / (s - 1.0) + 0.5 + corrections)
    none = mx.logical_or(power <= small * total, mx.isinf(q))
    return total + mx.where(none, 0.0, tail)


@floats
def polygamma(n: mx.array, x: mx.array) -> mx.array:
    """(-1)^(n+1) n! zeta(n + 1, x), digamma for n = 0; NaN unless n is such an integer."""
    valid = all_of(n >= 0.0, n == mx.floor(n), mx.isfinite(n))
    # Half of the factorial on each side of the small number: neither overflows alone.
    roots = mx.array(np.minimum(np.sqrt(gamma.FACTORIALS), 3e38 if single(x) else np.inf),
                     dtype=x.dtype)
    half = mx.take(roots, mx.clip(n, 0.0, 170.0).astype(mx.int32))
    half = mx.where(n > 170.0, _INF, half)
    value = half * (half * zeta(mx.maximum(n, 1.0) + 1.0, x))
    return first_of(x, (mx.broadcast_to(n == 0.0, value.shape), digamma(x)),
                    (valid, mx.where(_is_even(n), -value, value)))


# ------------------------------------------------------------------ Bessel, exponential integral

@floats
def bessel_i0e(x: mx.array) -> mx.array:
    """exp(-|x|) I_0(x): a polynomial in x^2 to 8, one in 1/x divided by sqrt(x) beyond."""
    size = mx.abs(x)
    half = 0.5 * mx.minimum(size, 8.0)
    small = horner(bessel.I0_SMALL_32 if single(x) else bessel.I0_SMALL_64, half * half)
    return _bessel(x, exp(-size) * small, bessel.I0_LARGE_32, bessel.I0_LARGE_64)


@floats
def bessel_i1e(x: mx.array) -> mx.array:
    """exp(-|x|) I_1(x), in the same way."""
    size = mx.abs(x)
    half = 0.5 * mx.minimum(size, 8.0)
    small = half * horner(bessel.I1_SMALL_32 if single(x) else bessel.I1_SMALL_64, half * half)
    out = _bessel(x, exp(-size) * small, bessel.I1_LARGE_32, bessel.I1_LARGE_64)
    return mx.where(signbit(x), -out, out)


def _bessel(x: mx.array, small: mx.array, of_single: Any, of_double: Any) -> mx.array:
    size = mx.abs(x)
    wide = mx.maximum(size, 8.0)
    tail = rational(of_single, 1.0 / wide) if single(x) else horner(of_double, 16.0 / wide - 1.0)
    out = mx.where(size <= 8.0, small, tail / mx.sqrt(wide))
    return mx.where(mx.isnan(x), _NAN, out)


@floats
def expi(x: mx.array) -> mx.array:
    """Exponential integral Ei(x), a principal value for x > 0; -inf at 0."""
    distance = x - expint.ROOT - expint.ROOT_LOW
    low = mx.log(x / expint.ROOT)
    logarithm = mx.where(mx.abs(distance) < 0.2, mx.log1p(distance / expint.ROOT), low)
    near = logarithm + distance * horner(expint.EI_0, x)
    half = exp(0.5 * x)
    scaled = lambda value: half * (value / x) * half  # finite where exp(x) may not be
    inverse = 1.0 / x
    end = 720.0 if not single(x) else 93.0
    return first_of(
        x, (x == 0.0, -_INF), (x >= end, _INF), (x > 24.0, scaled(horner(expint.EI_24,
                                                                         48.0 * inverse - 1.0))),
        (x > 12.0, scaled(horner(expint.EI_12, 48.0 * inverse - 3.0))),
        (x > 6.0, scaled(rational(expint.EI_6, inverse))), (x > 0.0, near),
        (x == -_INF, scalar(-0.0, x.dtype)),
        (x < -4.0, scaled(rational(expint.E1_4, -inverse))),
        (x < -1.0, scaled(rational(expint.E1_1, -inverse))),
        (x < 0.0, mx.log(-x) - horner(expint.E1_0, -x)))
