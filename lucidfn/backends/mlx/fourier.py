"""The discrete Fourier transform, in single precision: all that MLX has."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx.arrays import mx_dtype


def fft(x: mx.array, *, kind: str, lengths: tuple[int, ...]) -> mx.array:
    """The transform `kind` (fft, ifft, rfft, irfft) over the last len(lengths) axes."""
    if x.dtype == mx.float64:
        mx_dtype(np.dtype("complex128"))  # an error: the result would be
    lengths = tuple(lengths)
    lead = tuple(x.shape[: x.ndim - len(lengths)])
    dtype = mx.float32 if kind == "irfft" else mx.complex64
    if not lengths:
        return (mx.real(x) if kind == "irfft" else x).astype(dtype)
    if 0 in lengths or 0 in lead:
        last = lengths[-1] // 2 + 1 if kind == "rfft" else lengths[-1]
        return mx.zeros((*lead, *lengths[:-1], last), dtype)
    axes = tuple(range(-len(lengths), 0))
    x = x.astype(mx.float32 if kind == "rfft" else mx.complex64)
    return getattr(mx.fft, kind + "n")(x, s=lengths, axes=axes)
