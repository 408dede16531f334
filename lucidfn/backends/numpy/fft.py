"""Discrete Fourier transforms over trailing axes, in the precision of the input."""

from collections.abc import Sequence

import numpy as np

from .precision import widened


def fft(x: np.ndarray, *, kind: str, lengths: Sequence[int]) -> np.ndarray:
    """The transform `kind` (fft, ifft, rfft, irfft) over the last len(lengths) axes.

    `lengths` are those of the transformed axes, of the real side for rfft and irfft: the last
    axis of an rfft result, and of an irfft input, has length // 2 + 1. The inverses divide by the
    product of the lengths.
    """
    x = widened(x)
    lengths = tuple(lengths)
    lead = x.shape[: x.ndim - len(lengths)]
    dtype = np.dtype(np.result_type(x.dtype, np.complex64))
    if kind == "irfft":
        dtype = np.zeros(0, dtype).real.dtype
    if not lengths:
        return (x.real if kind == "irfft" else x).astype(dtype)
    if 0 in lengths or 0 in lead:
        last = lengths[-1] // 2 + 1 if kind == "rfft" else lengths[-1]
        return np.zeros((*lead, *lengths[:-1], last), dtype)
    axes = tuple(range(-len(lengths), 0))
    transform = getattr(np.fft, kind + "n")  # looked up here: NumPy loads its fft on first use
    return transform(x, s=lengths, axes=axes).astype(dtype, copy=False)
