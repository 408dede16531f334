"""Modified Bessel functions of the first kind of order 0 and 1.

The coefficients are fits of this project, near-minimax in relative error and computed with 60
digits, in the forms of J. M. Blair and C. A. Edwards (AECL-4928, 1974) for the Bessel functions.
"""

import numpy as np

from lucidfn.backends.numpy.special_base import (
    SINGLE,
    Kernel,
    blockwise,
    exponential,
    horner,
    piecewise,
    rational,
)

# I0(x) in x**2 / 4, and 2 I1(x) / x in x**2 / 4, for |x| <= 8.
I0_SMALL_32 = (
    1.0, 1.0, 0.25, 0.0277777765, 0.00173611314, 6.9442902e-5, 1.92963531e-6, 3.9226198e-8,
    6.33537589e-10, 6.24726429e-12, 1.25807917e-13,
)
I0_SMALL_64 = (
    1.0, 0.99999999999999999, 0.25000000000000009, 0.027777777777777566, 0.0017361111111113759,
    6.9444444444243985e-5, 1.9290123457790405e-6, 3.9367598856735815e-8, 6.1511874131776673e-10,
    7.5940568466991734e-12, 7.5940799502794688e-14, 6.275862820937522e-16,
    4.3600362269175776e-18, 2.5698743857514957e-20, 1.3509582796947699e-22,
    4.9406702825425715e-25, 3.6454386812677433e-27,
)
I1_SMALL_32 = (
    1.0, 0.500000001, 0.0833333263, 0.00694445896, 0.000347209325, 1.15798311e-5, 2.74174956e-7,
    5.11195725e-9, 5.3898812e-11, 1.30657479e-12,
)
I1_SMALL_64 = (
    1.0, 0.5, 0.083333333333333338, 0.0069444444444444329, 0.00034722222222223662,
    1.1574074074063174e-5, 2.7557319224529846e-7, 4.9209498595403066e-9, 6.8346526323095322e-11,
    7.5940575677112648e-13, 6.9037011929579361e-15, 5.2299488194453198e-17,
    3.3535043207335215e-19, 1.8371568656912372e-21, 8.9638066090012038e-24,
    3.1590697545594774e-26, 2.0903513298308397e-28,
)
# sqrt(x) exp(-x) I(x) for x >= 8: in 1 / x for float32, in 16 / x - 1 for float64.
I0_LARGE_32 = (
    (0.39894228, -1.79255643, 1.25196394, 0.0818002171, 0.00853839685),
    (1.0, -4.61827312, 3.64521402),
)
I1_LARGE_32 = (
    (0.39894228, -2.28286518, 2.77759411, -0.550005783, -0.0771051414),
    (1.0, -5.34729444, 5.0743506),
)
I0_LARGE_64 = (
    0.40217650944500809, 0.0033605519836678912, 0.00013621607438951494, 1.1143033788449122e-5,
    1.4838476780796131e-6, 2.9735992091865763e-7, 8.8720146063729509e-8, 3.9325122306333548e-8,
    2.1567805024125576e-8, 7.5593704105533273e-9, -6.8564760586319188e-9,
    -1.3427538332002967e-8, -5.0176198499989425e-9, 7.6003277226324656e-9,
    6.5223152141606316e-9, -3.5864141554349052e-9, -4.530634072405034e-9, 1.6086405790353262e-9,
    2.163730146989381e-9, -6.3290174730280812e-10, -6.4948050531725185e-10,
    1.7702680906364305e-10, 9.1151640742630041e-11, -2.4430252765385852e-11,
)
I1_LARGE_64 = (
    0.38939845902587232, -0.0097495771932357643, -0.00021923576383137807,
    -1.5038547198219023e-5, -1.8349102493861813e-6, -3.4838563471705445e-7,
    -1.0001075067256344e-7, -4.3128497095255786e-8, -2.3394121196205675e-8,
    -8.4321754912833097e-9, 6.8475696896337284e-9, 1.405177462833095e-8, 5.5720445844423054e-9,
    -7.6873267923217166e-9, -6.9444697075728735e-9, 3.5018998382556502e-9,
    4.7638439741830479e-9, -1.5219777866571108e-9, -2.2624896768207571e-9,
    5.8718035927281645e-10, 6.7729648319524822e-10, -1.6287987159229408e-10,
    -9.4923000555404157e-11, 2.2430273558542718e-11,
)


def i0(x: np.ndarray) -> np.ndarray:
    """Modified Bessel function I_0(x) (DLMF 10.25.2)."""
    return blockwise(lambda x: _even(x, _i0_small, lambda x: _grown(_i0e_large(x), x)), x)


def i1(x: np.ndarray) -> np.ndarray:
    """Modified Bessel function I_1(x) (DLMF 10.25.2)."""
    return blockwise(lambda x: _odd(x, _i1_small, lambda x: _grown(_i1e_large(x), x)), x)


def bessel_i0e(x: np.ndarray) -> np.ndarray:
    """exp(-|x|) I_0(x): a polynomial in x^2 to 8, one in 1/x divided by sqrt(x) beyond."""
    return blockwise(lambda x: _even(x, lambda x: exponential(-x) * _i0_small(x), _i0e_large), x)


def bessel_i1e(x: np.ndarray) -> np.ndarray:
    """exp(-|x|) I_1(x), in the same way."""
    return blockwise(lambda x: _odd(x, lambda x: exponential(-x) * _i1_small(x), _i1e_large), x)


def _even(x: np.ndarray, small: Kernel, large: Kernel) -> np.ndarray:
    size = np.abs(x)
    return piecewise([(size <= 8.0, small), (size > 8.0, large)], size)


def _odd(x: np.ndarray, small: Kernel, large: Kernel) -> np.ndarray:
    return np.copysign(_even(x, small, large), x)


def _grown(scaled: np.ndarray, x: np.ndarray) -> np.ndarray:
    # exp(x) overflows before I(x) does; 0 * inf at infinity is put right.
    half = exponential(0.5 * x)
    return np.where(np.isinf(x), x, scaled * half * half)


def _i0_small(x: np.ndarray) -> np.ndarray:
    half = 0.5 * x
    return horner(I0_SMALL_32 if x.dtype == SINGLE else I0_SMALL_64, half * half)


def _i0e_large(x: np.ndarray) -> np.ndarray:
    if x.dtype == SINGLE:
        return rational(*I0_LARGE_32, 1.0 / x) / np.sqrt(x)
    return horner(I0_LARGE_64, 16.0 / x - 1.0) / np.sqrt(x)


def _i1_small(x: np.ndarray) -> np.ndarray:
    half = 0.5 * x
    return half * horner(I1_SMALL_32 if x.dtype == SINGLE else I1_SMALL_64, half * half)


def _i1e_large(x: np.ndarray) -> np.ndarray:
    if x.dtype == SINGLE:
        return rational(*I1_LARGE_32, 1.0 / x) / np.sqrt(x)
    return horner(I1_LARGE_64, 16.0 / x - 1.0) / np.sqrt(x)
