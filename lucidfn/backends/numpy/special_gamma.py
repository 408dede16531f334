"""The logarithm of the gamma function, its derivatives, and the Hurwitz zeta function.

The coefficients are fits of this project, near-minimax in relative error and computed with 60
digits; the forms are those of the sources named at each function.
"""

import numpy as np

from lucidfn.backends.numpy.special_base import (
    DOUBLE,
    SINGLE,
    blockwise,
    horner,
    logarithm,
    piecewise,
    rational,
)

# log gamma(x) / ((x - 1)(x - 2)) in x, on [1, 3] and on [3, 10].
LGAMMA_1_32 = (
    (1.99129697, 12.5031281, 12.1068295, 1.98941452, 0.016462244),
    (1.0, 13.2763064, 24.7251327, 9.84145872, 0.717661774),
)
LGAMMA_3_32 = (
    (1.52093171, 3.12422921, 0.919390977, 0.0454083642, 9.78171633e-5),
    (1.0, 4.97283854, 3.27227157, 0.463827344, 0.0120454553),
)
LGAMMA_1_64 = (
    (2.5012224869546906, 60.22989360942297, 313.57315666045473, 549.16827677235078,
     370.76355449664515, 98.768548489081356, 9.521192014261895, 0.24812235865232937,
     0.00037630307676227073),
    (1.0, 41.353808315427712, 324.96514531388196, 828.80364153425091, 827.22895682452166,
     346.64342975777974, 59.883621819405148, 3.7692131520915948, 0.060117093725430297),
)
LGAMMA_3_64 = (
    (2.0774715154884146, 19.568116244617719, 41.84608670928455, 31.123862694280904,
     9.5189794905213318, 1.2652829519662601, 0.071559524092471666, 0.0015378116536240837,
     9.1716781032307915e-6, 2.7861826375827842e-9),
    (1.0, 17.673961872687955, 59.521486768070642, 66.612997171031852, 30.835935514193518,
     6.4404667581535272, 0.6160671568821748, 0.025719915748458619, 0.00040712100280526787,
     1.6813463377104819e-6),
)
# x (log gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2) in 1 / x**2, for x >= 10.
STIRLING = (
    0.083333333333333331, -0.0027777777777583538, 0.00079365077079581654,
    -0.0005952282405418499, 0.00083982025090406276, -0.0017407879360322095,
)
HALF_LOG_TWO_PI = 0.91893853320467274178

# digamma(x) / (x - root) in x on [1, 10]; the root as a double and what it lacks.
DIGAMMA_32 = (
    (165862.886, 483378.148, 343307.481, 75139.8793, 4309.89148, 17.316476, -0.109669956),
    (1.0, 242420.405, 400774.154, 185717.573, 27427.1021, 1011.43031),
)
DIGAMMA_64 = (
    (725358623.19849301, 2590133011.480066, 2963724248.3716915, 1541735243.2074908,
     410281012.98095494, 57750830.022759886, 4222823.9727992305, 149798.65740412995,
     2225.3519376943214, 9.8216674447999435, 0.0020647954566495284),
    (1.0, 1060207469.9364436, 2448494734.6068074, 2072403342.0532779, 846684896.06953052,
     182448313.52992201, 21116650.349940389, 1276117.7977685324, 37228.420129547306,
     445.36346718748123, 1.4779112976908924),
)
DIGAMMA_ROOT = 1.461632144968362341262659542325721328468
# x**2 (log x - 1 / (2 x) - digamma(x)) in 1 / x**2, for x >= 10.
DIGAMMA_TAIL = (
    0.083333333333333333, -0.0083333333333292409, 0.0039682539616227684,
    -0.0041666626330522999, 0.0075745848554992178, -0.020916227042443484,
    0.06984188825235383,
)

# sin(pi x) / x in x**2 for |x| <= 1/2.
SINE_PI = (
    3.1415926535897932, -5.1677127800499696, 2.5501640398773005, -0.59926452931894468,
    0.082145886573102895, -0.0073704305059169434, 0.00046629981618983938,
    -2.1903497074626017e-5, 7.6978267682241906e-7,
)

# Bernoulli numbers over factorials, B_2j / (2j)!, of the Euler-Maclaurin formula.
BERNOULLI = (
    8.3333333333333333e-2, -1.3888888888888889e-3, 3.3068783068783069e-5,
    -8.2671957671957672e-7, 2.0876756987868099e-8, -5.2841901386874932e-10,
    1.3382536530684679e-11, -3.3896802963225829e-13, 8.5860620562778446e-15,
    -2.1748686985580619e-16, 5.5090028283602295e-18, -1.3954464685812523e-19,
)

FACTORIALS = np.cumprod(np.concatenate(([1.0], np.arange(1.0, 171.0))))


def lgamma(x: np.ndarray) -> np.ndarray:
    """log |gamma(x)|; infinite at 0, -1, -2, ... and at both infinities.

    Rational between 1 and 10 (after W. J. Cody and K. E. Hillstrom, Math. Comp. 21, 1967),
    Stirling's series above (DLMF 5.11.1), the reflection formula for x < -1/2 (DLMF 5.5.3).
    """
    return blockwise(lgamma_block, x)


def digamma(x: np.ndarray) -> np.ndarray:
    """Derivative of log gamma: -inf at 0, inf at -0, NaN at negative integers.

    Rational around its root (after W. J. Cody, A. J. Strecok and H. C. Thacher, Math. Comp. 27,
    1973), asymptotic from 10 (DLMF 5.11.2), reflection for x < 0 (DLMF 5.5.4).
    """
    return blockwise(digamma_block, x)


def polygamma(n: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Derivative of order n of digamma: (-1)^(n+1) n! zeta(n + 1, x) (DLMF 25.11.12).

    NaN unless n is a nonnegative integer.
    """
    return blockwise(_polygamma, n, x, work=DOUBLE)


def zeta(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hurwitz zeta function sum_k (q + k)^-s for s > 1 (Euler-Maclaurin, DLMF 25.11.5).

    Infinite at s = 1 and where q is 0, -1, -2, ...; NaN for s < 1, and for other q < 0 unless s is
    an integer.
    """
    return blockwise(_zeta, s, q, work=DOUBLE)


def lgamma_block(x: np.ndarray) -> np.ndarray:
    """lgamma on one block of float32 or float64."""
    pieces = [
        (x >= 10.0, _lgamma_large),
        ((x >= 3.0) & (x < 10.0), _lgamma_3_10),
        ((x >= 1.0) & (x < 3.0), _lgamma_1_3),
        ((x >= 0.0) & (x < 1.0), lambda x: lgamma1p(x) - logarithm(x)),
        ((x > -0.5) & (x < 0.0), lambda x: _lgamma_1_3(x + 2.0) - logarithm(-x * (1.0 + x))),
        (x <= -0.5, _lgamma_reflected),
    ]
    return piecewise(pieces, x)


def lgamma1p(x: np.ndarray) -> np.ndarray:
    """log gamma(1 + x) for 0 <= x <= 2, accurate where it vanishes."""
    return x * (x - 1.0) * rational(*(LGAMMA_1_32 if x.dtype == SINGLE else LGAMMA_1_64), 1.0 + x)


def _lgamma_1_3(x: np.ndarray) -> np.ndarray:
    coefficients = LGAMMA_1_32 if x.dtype == SINGLE else LGAMMA_1_64
    return (x - 1.0) * (x - 2.0) * rational(*coefficients, x) + 0.0


def _lgamma_3_10(x: np.ndarray) -> np.ndarray:
    coefficients = LGAMMA_3_32 if x.dtype == SINGLE else LGAMMA_3_64
    return (x - 1.0) * (x - 2.0) * rational(*coefficients, x)


def _lgamma_large(x: np.ndarray) -> np.ndarray:
    # In double also for float32: the logarithm needs it, and the rest is then the cheaper part.
    y = x.astype(DOUBLE)
    value = (y - 0.5) * (np.log(y) - 1.0) + (HALF_LOG_TWO_PI - 0.5) + stirling(y)
    return value.astype(x.dtype)


def stirling(x: np.ndarray) -> np.ndarray:
    """log gamma(x) - (x - 1/2) log x + x - log(2 pi)/2 for x >= 10."""
    return horner(STIRLING, (1.0 / x) ** 2) / x


def _lgamma_reflected(x: np.ndarray) -> np.ndarray:
    # |gamma(-a)| = pi / (a |sin(pi a)| gamma(a)); at integers the sine is an exact 0.
    a = -x
    sine = np.abs(_sine_pi(a))
    value = np.log(np.pi / (a.astype(DOUBLE) * sine)).astype(x.dtype) - lgamma_block(a)
    value[np.isinf(a) | (sine == 0)] = np.inf
    return value


def _sine_pi(x: np.ndarray) -> np.ndarray:
    """sin(pi x) up to its sign."""
    r = x - np.rint(x)
    return r * horner(SINE_PI, r * r)


def digamma_block(x: np.ndarray) -> np.ndarray:
    """digamma on one block of float32 or float64."""
    pieces = [
        (x >= 10.0, _digamma_large),
        ((x >= 1.0) & (x < 10.0), _digamma_1_10),
        ((x >= 0.0) & (x < 1.0) & ~np.signbit(x), lambda x: _digamma_1_10(1.0 + x) - 1.0 / x),
        ((x <= 0.0) & np.signbit(x), _digamma_reflected),
    ]
    return piecewise(pieces, x)


def _digamma_1_10(x: np.ndarray) -> np.ndarray:
    coefficients = DIGAMMA_32 if x.dtype == SINGLE else DIGAMMA_64
    # The root in two parts, so that the difference keeps its digits beside it.
    high = float(x.dtype.type(DIGAMMA_ROOT))
    low = 1.2438009516e-8 if x.dtype == SINGLE else 9.549995429965697e-17
    return (x - high - low) * rational(*coefficients, x)


def _digamma_large(x: np.ndarray) -> np.ndarray:
    inverse = 1.0 / x
    square = inverse * inverse
    return logarithm(x) - (0.5 * inverse + square * horner(DIGAMMA_TAIL, square))


def _digamma_reflected(x: np.ndarray) -> np.ndarray:
    y = x.astype(DOUBLE, copy=False)
    r = y - np.rint(y)
    # cot(pi r) by tan(pi (1/2 - r)) beyond 1/4, where 1/2 - r is exact
    far = np.abs(r) > 0.25
    tangent = np.tan(np.pi * np.where(far, 0.5 - np.abs(r), np.abs(r)))
    cotangent = np.copysign(np.where(far, tangent, 1.0 / tangent), r)
    value = digamma_block(1.0 - y) - np.pi * cotangent
    value[(r == 0) & (x != 0)] = np.nan
    value[x == 0] = np.inf
    return value.astype(x.dtype, copy=False)


def _polygamma(n: np.ndarray, x: np.ndarray) -> np.ndarray:
    valid = (n >= 0.0) & (n == np.floor(n)) & np.isfinite(n)
    pieces = [
        (n == 0.0, lambda n, x: digamma_block(x)),
        (valid & (n > 0.0), _polygamma_positive),
    ]
    return piecewise(pieces, n, x)


def _polygamma_positive(n: np.ndarray, x: np.ndarray) -> np.ndarray:
    table = np.minimum(n, 170.0).astype(np.intp)
    factor = np.where(n <= 170.0, FACTORIALS[table], np.inf)
    value = factor * _zeta(n + 1.0, x)
    return np.where(n % 2.0 == 0.0, -value, value)


def _zeta(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    whole = q == np.floor(q)
    pieces = [
        ((s > 1.0) & (q > 0.0), zeta_positive),
        ((s == 1.0) & ~np.isnan(q), lambda s, q: np.full_like(s, np.inf)),
        ((s > 1.0) & (q <= 0.0) & whole & np.isfinite(q), lambda s, q: np.full_like(s, np.inf)),
        ((s > 1.0) & (q < 0.0) & ~whole & (s == np.floor(s)), _zeta_negative),
    ]
    return piecewise(pieces, s, q)


def zeta_positive(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """zeta(s, q) for s > 1 and q > 0, float64."""
    # Terms are summed until the next is negligible, or q has grown to where twelve corrections
    # of Euler and Maclaurin suffice: their ratio is about ((s + 2j) / (2 pi q))^2.
    total, base = np.zeros_like(q), q.copy()
    power = base**-s
    while True:
        negligible = power <= 2.0**-56 * total
        active = (base < 10.0 + s) & ~negligible
        if not active.any():
            break
        total += np.where(active, power, 0.0)
        base += active
        power = np.where(active, base**-s, power)
    factor, corrections = s / base, np.zeros_like(q)
    for j, c in enumerate(BERNOULLI):
        corrections += c * factor
        factor *= (s + (2 * j + 1)) * (s + (2 * j + 2)) / (base * base)
    tail = power * (base / (s - 1.0) + 0.5 + corrections)
    return total + np.where(negligible | np.isinf(q), 0.0, tail)


def _zeta_negative(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    # The sum over all integers depends on the fraction of q only; from it the terms below q go.
    f = q - np.floor(q)
    sign = np.where(s % 2.0 == 0.0, 1.0, -1.0)
    both = zeta_positive(s, f) + sign * zeta_positive(s, 1.0 - f)
    return both - sign * zeta_positive(s, 1.0 - q)
