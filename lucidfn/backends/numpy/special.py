"""Special functions and bit operations that NumPy lacks, elementwise on raw arrays."""

import numpy as np

from lucidfn.backends.numpy.precision import HALVES
from lucidfn.backends.numpy.special_base import BLOCK, blockwise, exponential
from lucidfn.backends.numpy.special_bessel import bessel_i0e, bessel_i1e, i0, i1
from lucidfn.backends.numpy.special_beta import betainc
from lucidfn.backends.numpy.special_erf import erf, erf_inv, erfc
from lucidfn.backends.numpy.special_expint import expi
from lucidfn.backends.numpy.special_gamma import digamma, lgamma, polygamma, zeta
from lucidfn.backends.numpy.special_igamma import (
    igamma,
    igamma_grad_a,
    igammac,
    random_gamma_grad,
)

__all__ = [
    "bessel_i0e",
    "bessel_i1e",
    "betainc",
    "clz",
    "digamma",
    "erf",
    "erf_inv",
    "erfc",
    "expi",
    "expm1",
    "i0",
    "i1",
    "igamma",
    "igamma_grad_a",
    "igammac",
    "lgamma",
    "log1p",
    "logaddexp",
    "logistic",
    "nextafter",
    "polygamma",
    "population_count",
    "random_gamma_grad",
    "rsqrt",
    "zeta",
]


# By size of an element: what e^-x still holds.
_LOGISTIC_LEAST = {4: -87.0, 8: -708.0}


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), real or complex, without overflow and accurate in both tails."""
    if x.dtype.kind == "c":
        return blockwise(_logistic_complex, x)
    if 0 < x.size <= BLOCK and x.ndim and x.dtype not in HALVES:
        return _logistic(x)
    return blockwise(_logistic, x)


def _logistic(x: np.ndarray) -> np.ndarray:
    # Far to the left e^-x would overflow; NaN is sent there too.
    if not x.min() > _LOGISTIC_LEAST[x.itemsize]:
        return _logistic_of_any(x)
    out = np.negative(x)
    np.exp(out, out=out)
    out += 1.0
    return np.reciprocal(out, out=out)


def _logistic_of_any(x: np.ndarray) -> np.ndarray:
    # e^min(x, 0) / (1 + e^-|x|) is both 1 / (1 + e^-x) and e^x / (1 + e^x), whichever is stable.
    return exponential(np.minimum(x, 0.0)) / (1.0 + np.exp(-np.abs(x)))


def _logistic_complex(x: np.ndarray) -> np.ndarray:
    right = x.real >= 0.0
    decaying = np.exp(np.where(right, -x, x))
    return np.where(right, 1.0, decaying) / (1.0 + decaying)


def logaddexp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log(e^x + e^y) of real x and y, without overflow."""
    return blockwise(_logaddexp, x, y)


def _logaddexp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    apart = np.where(x == y, 0.0, x - y)  # equal infinities are no NaN
    return np.maximum(x, y) + np.log1p(np.exp(-np.abs(apart)))


def log1p(x: np.ndarray) -> np.ndarray:
    """log(1 + x); for complex x accurate near 0, where NumPy's is not."""
    return blockwise(_log1p_complex if x.dtype.kind == "c" else np.log1p, x)


def _log1p_complex(x: np.ndarray) -> np.ndarray:
    real, imag = x.real, x.imag
    # |1 + x|^2 - 1 while it is representable and small, else the modulus itself
    square = real * (2.0 + real) + imag * imag
    near = np.maximum(np.abs(real), np.abs(imag)) < 1.0
    modulus = np.where(near, 0.5 * np.log1p(square), np.log(np.hypot(1.0 + real, imag)))
    out = np.empty_like(x)
    out.real, out.imag = modulus, np.arctan2(imag, 1.0 + real)
    return out


def expm1(x: np.ndarray) -> np.ndarray:
    """exp(x) - 1, real or complex."""
    return blockwise(np.expm1, x)


def rsqrt(x: np.ndarray) -> np.ndarray:
    """1 / sqrt(x), real or complex; -inf at -0."""
    return blockwise(lambda x: 1.0 / np.sqrt(x), x)


def nextafter(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The next value of the dtype after x in the direction of y."""
    return np.asarray(np.nextafter(x, y))


def population_count(x: np.ndarray) -> np.ndarray:
    """Number of set bits, in the dtype of x (negative integers in two's complement)."""
    return np.asarray(np.bitwise_count(_unsigned(x)), x.dtype)


def clz(x: np.ndarray) -> np.ndarray:
    """Number of leading zero bits, in the dtype of x."""
    bits = 8 * x.dtype.itemsize
    smeared = _unsigned(x).copy()
    shift = 1
    while shift < bits:
        smeared |= smeared >> smeared.dtype.type(shift)
        shift *= 2
    return np.asarray(bits - np.bitwise_count(smeared), x.dtype)


def _unsigned(x: np.ndarray) -> np.ndarray:
    return x.view(f"u{x.dtype.itemsize}") if x.dtype.kind == "i" else x
