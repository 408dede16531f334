"""`lnp.fft`: discrete Fourier transforms, in single precision for single precision input."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, place, to_dtype, unwrap, wrap
from lucidfn.core.trace import shape_of
from lucidfn.numpy.elementwise import divide
from lucidfn.numpy.reductions import normal_axes, normal_axis
from lucidfn.types import (
    as_dtype,
    complex_dtype,
    default_dtype_of,
    dtype_name,
    float_type_for,
    kind_of,
    real_dtype,
)

Norm = str | None


def _transform(kind: str, a: Any, sizes: Sequence[int] | None, axes: Sequence[int] | None,
               norm: Norm) -> Any:
    raw = as_raw(a)
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f"fft: norm is 'backward', 'ortho' or 'forward', got {norm!r}")
    if axes is None:
        count = raw.ndim if sizes is None else len(sizes)
        axes = range(raw.ndim - count, raw.ndim)
    axes = [normal_axis(i, raw.ndim) for i in axes]
    if len(set(axes)) != len(axes):
        raise ValueError(f"fft: axes must be distinct, got {tuple(axes)}")
    if not axes:
        return wrap(to_dtype(raw, complex_dtype(float_type_for(raw.dtype))))
    lengths = _lengths(kind, raw, sizes, axes)
    raw = _prepared(kind, raw, lengths, axes)
    rest = [i for i in range(raw.ndim) if i not in axes]
    order = (*rest, *axes)
    if order != tuple(range(raw.ndim)):
        raw = ops.permute(raw, order=order)
    out = ops.fft(raw, kind=kind, lengths=lengths)
    if order != tuple(range(raw.ndim)):
        out = ops.permute(out, order=ops.inverse(order))
    return wrap(_scaled(kind, out, math.prod(lengths), norm))


def _lengths(kind: str, raw: Any, sizes: Sequence[int] | None,
             axes: Sequence[int]) -> tuple[int, ...]:
    """How long each transformed axis is, on the real side for rfft and irfft."""
    if sizes is not None:
        if len(sizes) != len(axes):
            raise ValueError(f"fft: {len(sizes)} sizes were given for {len(axes)} axes")
        lengths = [raw.shape[i] if n == -1 else n.__index__()
                   for n, i in zip(sizes, axes, strict=True)]
    else:
        lengths = [raw.shape[i] for i in axes]
        if kind == "irfft":
            lengths[-1] = 2 * (lengths[-1] - 1)
    if any(n < 1 for n in lengths):
        raise ValueError(f"fft: every transformed axis needs at least one element, got lengths "
                         f"{tuple(lengths)} for shape {raw.shape}")
    return tuple(lengths)


def _prepared(kind: str, raw: Any, lengths: tuple[int, ...], axes: Sequence[int]) -> Any:
    """The input at its dtype, cropped or filled with zeros at the end of each axis."""
    dtype = float_type_for(raw.dtype)
    if kind == "rfft":
        if kind_of(dtype) == 3:
            raise TypeError(f"rfft takes real input, got {dtype_name(raw.dtype)}; use fft")
        raw = to_dtype(raw, real_dtype(complex_dtype(dtype)))
    else:
        raw = to_dtype(raw, complex_dtype(dtype))
    widths = [(0, 0, 0)] * raw.ndim
    for i, n in zip(axes, lengths, strict=True):
        half = kind == "irfft" and i == axes[-1]
        widths[i] = (0, (n // 2 + 1 if half else n) - raw.shape[i], 0)
    if any(w[1] for w in widths):
        raw = ops.pad(raw, ops.zero_like(raw), widths=tuple(widths))
    return raw


def _scaled(kind: str, out: Any, n: int, norm: Norm) -> Any:
    inverse = kind in ("ifft", "irfft")
    if norm == "ortho":
        scale = math.sqrt(n) if inverse else 1 / math.sqrt(n)
    elif norm == "forward":
        scale = float(n) if inverse else 1.0 / n
    else:
        return out
    return ops.mul(out, complex(scale) if kind_of(out.dtype) == 3 else scale)


def fft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """Transform of one axis, cropped or zero-filled to length n: sum_m a[m] exp(-2 pi i m k / n).

    `norm` says which direction is scaled: "backward" (the inverse, by 1/n), "ortho" (both, by
    1/sqrt(n)) or "forward".
    """
    return _transform("fft", a, None if n is None else [n], [axis], norm)


def ifft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """Inverse transform of one axis."""
    return _transform("ifft", a, None if n is None else [n], [axis], norm)


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """Transform of one axis of real input: the n // 2 + 1 elements that determine the others."""
    return _transform("rfft", a, None if n is None else [n], [axis], norm)


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """Inverse of `rfft`: n real values, by default 2 * (length - 1)."""
    return _transform("irfft", a, None if n is None else [n], [axis], norm)


_SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def hfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """Transform of a signal with Hermitian symmetry, given its first half: real values."""
    raw = as_raw(a)
    flipped = wrap(ops.conj(raw) if kind_of(raw.dtype) == 3 else raw)
    return irfft(flipped, n, axis, _SWAPPED.get(norm, norm))


def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """Inverse of `hfft`."""
    return wrap(ops.conj(unwrap(rfft(a, n, axis, _SWAPPED.get(norm, norm)))))


def fftn(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
         norm: Norm = None) -> Any:
    """Transform of several axes (all by default), cropped or zero-filled to the lengths s."""
    return _transform("fft", a, s, axes, norm)


def ifftn(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
          norm: Norm = None) -> Any:
    """Inverse transform of several axes."""
    return _transform("ifft", a, s, axes, norm)


def rfftn(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
          norm: Norm = None) -> Any:
    """Transform of several axes of real input; the last of them is halved."""
    return _transform("rfft", a, s, axes, norm)


def irfftn(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
           norm: Norm = None) -> Any:
    """Inverse of `rfftn`."""
    return _transform("irfft", a, s, axes, norm)


def fft2(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
         norm: Norm = None) -> Any:
    """Transform of two axes."""
    return fftn(a, s, axes, norm)


def ifft2(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
          norm: Norm = None) -> Any:
    """Inverse transform of two axes."""
    return ifftn(a, s, axes, norm)


def rfft2(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
          norm: Norm = None) -> Any:
    """Transform of two axes of real input; the last is halved."""
    return rfftn(a, s, axes, norm)


def irfft2(a: Any, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
           norm: Norm = None) -> Any:
    """Inverse of `rfft2`."""
    return irfftn(a, s, axes, norm)


def fftfreq(n: int, d: Any = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """Frequencies of the elements of `fft` in cycles per unit, for samples d apart."""
    k = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)])
    return _frequencies(k, n, d, dtype, device)


def rfftfreq(n: int, d: Any = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """Frequencies of the elements of `rfft` in cycles per unit, for samples d apart."""
    return _frequencies(np.arange(n // 2 + 1), n, d, dtype, device)


def _frequencies(k: np.ndarray, n: int, d: Any, dtype: Any, device: Any) -> Any:
    dtype = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    return divide(place(wrap((k / n).astype(dtype)), device), d)


def fftshift(x: Any, axes: Any = None) -> Any:
    """Move the zero frequency to the middle of each axis."""
    return _rolled(x, axes, lambda n: n // 2)


def ifftshift(x: Any, axes: Any = None) -> Any:
    """Undo `fftshift`."""
    return _rolled(x, axes, lambda n: n - n // 2)


def _rolled(x: Any, axes: Any, shift: Any) -> Any:
    raw = as_raw(x)

    def roll(y: Any, i: int) -> Any:
        n = shape_of(y)[i]
        by = shift(n) % n if n else 0
        return ops.concatenate(ops.slice_axis(y, i, n - by, n), ops.slice_axis(y, i, 0, n - by),
                               axis=i) if by else y

    return wrap(functools.reduce(roll, normal_axes(axes, raw.ndim), raw))


__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]
