"""The discrete Fourier transform over trailing axes, in its four kinds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import conj, convert, mul, real
from lucidfn.ops.families import Linear
from lucidfn.ops.shape import pad
from lucidfn.types import ArrayType, complex_dtype, kind_of, real_dtype

KINDS = ("fft", "ifft", "rfft", "irfft")


class FFT(Linear):
    """y[k] = sum_n x[n] exp(-2 pi i k n / length); `ifft` and `irfft` are the inverses.

    `rfft` takes real x and gives the length // 2 + 1 elements that are not conjugates of others;
    `irfft` takes these and gives real values.
    """

    name = "fft"

    def infer(self, x: ArrayType, *, kind: str, lengths: tuple[int, ...]) -> ArrayType:
        if kind not in KINDS:
            raise ValueError(f"fft has no kind {kind!r}; it has {KINDS}")
        if kind_of(x.dtype) != (2 if kind == "rfft" else 3):
            raise TypeError(f"got {x}; {kind} takes {'real' if kind == 'rfft' else 'complex'} "
                            "floating arrays")
        n = len(lengths)
        half = (*lengths[:-1], lengths[-1] // 2 + 1) if lengths else ()
        wanted = half if kind == "irfft" else lengths
        if n > len(x.shape) or x.shape[len(x.shape) - n:] != wanted:
            raise ShapeError(f"got {x}; {kind} of lengths {lengths} needs last axes {wanted}")
        lead = x.shape[:len(x.shape) - n]
        if kind == "rfft":
            return ArrayType((*lead, *half), complex_dtype(x.dtype))
        return ArrayType((*lead, *lengths), real_dtype(x.dtype) if kind == "irfft" else x.dtype)

    def transpose(self, ct: Any, x: Any, *, kind: str, lengths: tuple[int, ...]) -> list[Any]:
        if kind in ("fft", "ifft"):  # symmetric matrices
            return [self(ct, kind=kind, lengths=lengths)]
        if kind == "rfft":
            last = len(shape_of(ct)) - 1
            missing = lengths[-1] - shape_of(ct)[-1]
            whole = pad(ct, 0j, widths=((0, 0, 0),) * last + ((0, missing, 0),))
            out = real(self(whole, kind="fft", lengths=lengths))
            dtype = x.type.dtype  # 16 bits have no complex numbers of their own
            return [out if dtype_of(out) == dtype else convert(out, dtype=dtype)]
        # Elements that stand for themselves and their conjugate count twice.
        out = self(ct, kind="rfft", lengths=lengths)
        last = lengths[-1]
        weights = [1.0 if k in (0, last - k) else 2.0 for k in range(last // 2 + 1)]
        scale = np.asarray(weights, dtype_of(out)) / math.prod(lengths)
        return [conj(mul(out, scale.astype(dtype_of(out))))]

    def batch(self, size: int, batched: Any, x: Any, *, kind: str,
              lengths: tuple[int, ...]) -> Any:
        return self(x, kind=kind, lengths=lengths)

    def rows(self, axes: Any, types: Any, *, kind: str, lengths: tuple[int, ...]) -> Any:
        return axes[0] if axes[0] < len(types[0].shape) - len(lengths) else None

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], *, kind: str,
              lengths: tuple[int, ...]) -> int:
        size = max(types[0].size, outs[0].size)
        return int(5 * size * math.log2(max(2, math.prod(lengths))))


fft = FFT()

__all__ = ["fft"]
