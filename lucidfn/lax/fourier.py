"""The discrete Fourier transform with the signature of `jax.lax.fft`."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array, sizes
from lucidfn.types import complex_dtype, kind_of


class FftType(enum.Enum):
    """The kinds of transform: of complex arrays and back, of real arrays and back."""

    FFT = 0
    IFFT = 1
    RFFT = 2
    IRFFT = 3


def fft(x: Any, fft_type: FftType | str, fft_lengths: Sequence[int]) -> Any:
    """The transform over the last axes, one for each entry of fft_lengths (those of the signal).

    RFFT of real x keeps length // 2 + 1 elements of the last axis; IRFFT takes them. The lengths
    must fit x: `lnp.fft` pads and cuts.
    """
    raw, lengths = array(x), sizes(fft_lengths, "fft_lengths")
    name = fft_type if isinstance(fft_type, str) else FftType(fft_type).name
    kind = name.lower()
    if kind not in ("fft", "ifft", "rfft", "irfft"):
        raise ValueError(f"lax.fft has no type {fft_type!r}; it has FFT, IFFT, RFFT and IRFFT")
    if not 1 <= len(lengths) <= len(shape_of(raw)):
        raise ShapeError(f"lax.fft got {type_of(raw)} and fft_lengths {lengths}; between one and "
                         "all of its axes can be transformed")
    if kind != "rfft" and kind_of(dtype_of(raw)) == 2:
        raw = ops.convert(raw, dtype=complex_dtype(dtype_of(raw)))
    return apply(ops.fft, raw, kind=kind, lengths=lengths)
