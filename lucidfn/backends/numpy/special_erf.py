"""The error function, its complement and its inverse, float32 and float64.

The coefficients are fits of this project, near-minimax in relative error and computed with 60
digits; the forms are those of the sources named at each function.
"""

import numpy as np

from lucidfn.backends.numpy.special_base import (
    SINGLE,
    blockwise,
    exponential,
    horner,
    logarithm,
    piecewise,
    rational,
    split_square,
)

# erf(x) / x in x**2: to |x| = 3.94, where float32 rounds to 1; to |x| = 1 for float64.
ERF_32 = (
    (1.12837918, 0.184023291, 0.0544496267, 0.00383990237, 0.000391372654, 5.02152415e-6,
     -1.4839349e-8),
    (1.0, 0.496419965, 0.113726876, 0.0154821084, 0.00132157769, 6.6318415e-5),
)
ERF_64 = (
    (1.1283791670955126, 0.14365581715028762, 0.0455033341653278, 0.0018829155471563982,
     0.00019709588069752515, 8.6256024457263757e-8),
    (1.0, 0.46064498648983655, 0.093874608765124095, 0.010705251871973175,
     0.00069373623323491591, 2.0866484101019163e-5),
)

# exp(x**2) erfc(x) (1 + 2 x) in (x - k) / (x + k): k = 3 for float32, 4 for float64.
ERFCX_32 = (
    1.25300806, -0.135621111, -0.0475623872, 0.129645352, -0.119271603, 0.0683066387,
    -0.0237873959, 0.00252697994, 0.00194731679, -0.000738421069, -0.000176905603,
    3.76459457e-5,
)
ERFCX_64 = (
    1.2329951186255525, -0.13962111684056252, 0.015379652102619584, 0.068097054254693567,
    -0.10103906603629606, 0.093732834998317886, -0.066330365812379195, 0.037167515537983953,
    -0.016197734056285587, 0.005031969973698179, -0.00075777329602974688,
    -0.00019925667239225933, 0.0001506216953068026, -2.4399287588611389e-5,
    -1.1222056567542862e-5, 5.7098826184524604e-6, 2.9383252186026087e-7,
    -8.2560030685774942e-7, 7.4607802570016128e-8, 1.1014538107239169e-7,
    -1.7887124945071396e-8, -1.4098981967735139e-8, 1.8232502650683419e-9,
    1.2495096223529886e-9,
)

# erf_inv(x) / x in 0.7225 - x**2 for |x| <= 0.85 (all terms positive: no cancellation), and
# erf_inv(x) in sqrt(-log((1 - x) / 2)) above.
CENTRE_32 = (
    (1.19753231, 6.53954219, 10.2644551, 4.55301292, 0.272539671),
    (1.0, 6.21216252, 11.8600019, 7.40288754, 1.02305567),
)
CENTRE_64 = (
    (1.1975323115670913, 13.958624292474478, 64.412425937824301, 150.31127561022077,
     188.25604237118439, 124.17197757418072, 39.454409243120314, 4.9024386699049151,
     0.12829291514390135, -0.0010059666989162286),
    (1.0, 12.407471015318719, 61.730917071839988, 158.04617551399502, 222.58814971782268,
     171.30004379465548, 67.471131395952161, 11.701903325327713, 0.62001794915948535),
)
TAIL_32 = (
    (-2.19359199, -6.18082915, 4.49222426, 6.49196345, 0.997827055),
    (1.0, 6.60075227, 6.51968377, 0.997344213),
)
TAIL_64 = (
    (-2.5479876788332947, -29.563871645387367, -53.18139530548797, 11.984512368606193,
     63.242112399788541, 48.155148296671166, 19.105455573435773, 3.7150382780066193,
     0.29036207010372452, 0.0065999360071798979),
    (1.0, 18.744041131636604, 69.609274210559468, 88.964873713525198, 54.400782782802027,
     19.737614696019193, 3.7345292494372694, 0.29040419740670804, 0.0065996592694866543,
     1.443061348932523e-9),
)


def erf(x: np.ndarray) -> np.ndarray:
    """Error function 2/sqrt(pi) int_0^x exp(-t^2) dt (DLMF 7.2.1).

    Rational in x^2 (W. J. Cody, Math. Comp. 23, 1969), in float64 1 - erfc beyond |x| = 1.
    """
    return blockwise(erf_block, x)


def erfc(x: np.ndarray) -> np.ndarray:
    """Complementary error function 1 - erf(x), with its own relative accuracy where it is small.

    exp(-x^2) times a polynomial in (x - k)/(x + k): M. M. Shepherd and J. G. Laframboise,
    Math. Comp. 36 (1981).
    """
    return blockwise(erfc_block, x)


def erf_inv(x: np.ndarray) -> np.ndarray:
    """Inverse of the error function; infinite at -1 and 1, NaN outside.

    Rational in x^2 and in sqrt(-log((1 - |x|)/2)): M. J. Wichura, AS 241 (1988).
    """
    return blockwise(erf_inv_block, x)


def erf_block(x: np.ndarray) -> np.ndarray:
    """erf on one block of float32 or float64."""
    if x.dtype == SINGLE:
        clipped = np.clip(x, -3.94, 3.94)
        return np.clip(clipped * rational(*ERF_32, clipped * clipped), -1.0, 1.0)
    size = np.abs(x)
    small = size <= 1.0
    return piecewise([(small, _erf_small), (~small, _erf_large)], x)


def _erf_small(x: np.ndarray) -> np.ndarray:
    return x * rational(*ERF_64, x * x)


def _erf_large(x: np.ndarray) -> np.ndarray:
    return np.copysign(1.0 - _erfc_positive(np.abs(x)), x)


def erfc_block(x: np.ndarray) -> np.ndarray:
    """erfc on one block of float32 or float64."""
    size = np.abs(x)
    small = size <= 0.5
    return piecewise([(small, _erfc_small), (~small, _erfc_large)], x)


def _erfc_small(x: np.ndarray) -> np.ndarray:
    return 1.0 - x * rational(*(ERF_32 if x.dtype == SINGLE else ERF_64), x * x)


def _erfc_large(x: np.ndarray) -> np.ndarray:
    value = _erfc_positive(np.abs(x))
    negative = np.flatnonzero(x < 0)
    value[negative] = 2.0 - value[negative]
    return value


def _erfc_positive(x: np.ndarray) -> np.ndarray:
    """exp(-x^2) p((x - k)/(x + k)) / (1 + 2x), with the rounding error of x^2 put back."""
    single = x.dtype == SINGLE
    # Beyond the clip the result is 0; infinity would give inf/inf.
    x = np.minimum(x, 10.3 if single else 27.3)
    k = 3.0 if single else 4.0
    value = horner(ERFCX_32 if single else ERFCX_64, (x - k) / (x + k))
    value /= 1.0 + 2.0 * x
    square, error = split_square(x)
    value *= exponential(-square)
    value -= value * error
    return value


def erf_inv_block(x: np.ndarray) -> np.ndarray:
    """erf_inv on one block of float32 or float64."""
    size = np.abs(x)
    centre = size <= 0.85
    return piecewise([(centre, _erf_inv_centre), (~centre, _erf_inv_tail)], x)


def _erf_inv_centre(x: np.ndarray) -> np.ndarray:
    return x * rational(*(CENTRE_32 if x.dtype == SINGLE else CENTRE_64), 0.7225 - x * x)


def _erf_inv_tail(x: np.ndarray) -> np.ndarray:
    upper = (1.0 - np.abs(x)) * 0.5
    r = np.sqrt(-logarithm(upper))
    value = rational(*(TAIL_32 if x.dtype == SINGLE else TAIL_64), r)
    value[upper == 0] = np.inf
    return np.copysign(value, x)
