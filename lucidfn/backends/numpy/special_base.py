"""How the special functions are evaluated: in blocks, piece by piece, by Horner's rule.

Every block holds so few elements that its temporaries stay in the cache; a kernel is written as
plain expressions on one-dimensional blocks of float32 or float64.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lucidfn.backends.numpy.precision import HALVES, SINGLE

BLOCK = 16384

DOUBLE = np.dtype(np.float64)

Kernel = Callable[..., np.ndarray]


def blockwise(kernel: Kernel, *operands: np.ndarray, work: np.dtype | None = None) -> np.ndarray:
    """Evaluate `kernel` on equal one-dimensional blocks of the broadcast operands.

    Half precisions are computed in float32, or everything in the dtype `work`; the result has the
    dtype of the operands.
    """
    dtype = operands[0].dtype
    work = work or (SINGLE if dtype in HALVES else dtype)
    if len(operands) > 1:
        operands = np.broadcast_arrays(*operands)
    out = np.empty(operands[0].shape, dtype)
    flat, target = [x.reshape(-1) for x in operands], out.reshape(-1)
    for start in range(0, target.size, BLOCK):
        block = slice(start, start + BLOCK)
        target[block] = kernel(*(x[block].astype(work, copy=False) for x in flat))
    return out


def horner(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    """The polynomial sum(c[k] * x**k)."""
    *rest, last = coefficients
    value = np.full_like(x, last)
    for c in reversed(rest):
        value *= x
        value += c
    return value


def rational(
    numerator: Sequence[float], denominator: Sequence[float], x: np.ndarray
) -> np.ndarray:
    """The quotient of two polynomials in x."""
    # In single precision the rounding errors reach 7 ulp; evaluating these few coefficients in
    # double costs half as much again, less than splitting the range until single would do.
    y = x.astype(DOUBLE, copy=False)
    value = horner(numerator, y)
    value /= horner(denominator, y)
    return value.astype(x.dtype, copy=False)


def piecewise(pieces: Sequence[tuple[np.ndarray, Kernel]], *operands: np.ndarray) -> np.ndarray:
    """Each element by the kernel of the mask that holds there; NaN where none does."""
    out = None
    for mask, kernel in pieces:
        # Gathering by index is several times cheaper than by mask, and mostly not needed.
        index = np.flatnonzero(mask)
        if index.size == mask.size and mask.size:
            return kernel(*operands)
        if out is None:
            out = np.full_like(operands[0], np.nan)
        if index.size:
            out[index] = kernel(*(x[index] for x in operands))
    return out


def split_square(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x*x as a rounded value and the rounding error (Dekker), for |x| far below overflow."""
    square = x * x
    # Cleared low halves of the mantissa make high * high exact.
    if x.dtype == SINGLE:
        high = (x.view(np.uint32) & np.uint32(0xFFFFF000)).view(SINGLE)
    else:
        high = (x.view(np.uint64) & np.uint64(0xFFFFFFFFF8000000)).view(DOUBLE)
    error = high * high
    error -= square
    error += (x - high) * (x + high)
    return square, error


def logarithm(x: np.ndarray) -> np.ndarray:
    """log(x) within an ulp."""
    # NumPy's float32 log and exp are off by up to 3.6 and 2.4 ulp; going through double costs
    # less than a more accurate single.
    return np.log(x, dtype=DOUBLE).astype(x.dtype, copy=False)


def exponential(x: np.ndarray) -> np.ndarray:
    """exp(x) within an ulp, for the same reason."""
    return np.exp(x, dtype=DOUBLE).astype(x.dtype, copy=False)
