"""The convolution of `ops.conv` by `mx.conv_general`, which takes up to three axes of floats.

MLX crops by negative padding before it dilates, where the equation crops what is dilated: such
operands are dilated and cropped here.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import mlx.core as mx

from lucidfn.backends.mlx.arrays import scalar
from lucidfn.backends.mlx.contract import dot_general
from lucidfn.backends.mlx.elementwise import HALVES, INTEGERS, complex_of
from lucidfn.backends.mlx.patches import conv_by_patches
from lucidfn.backends.mlx.shapes import pad
from lucidfn.ops.conv import dilated, windows

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
CPU = mx.Device(mx.cpu)


def conv(x: mx.array, w: mx.array, *, stride: Ints, padding: Pads, x_dilation: Ints,
         w_dilation: Ints, groups: int) -> mx.array:
    """out[n, p, o] = sum over k, c of x[n, p stride + k w_dilation - low, c] w[k, c, o]."""
    shape, crops = _shape(x.shape, w.shape, stride, padding, x_dilation, w_dilation)
    if 0 in shape or not (x.size and w.size):
        return mx.zeros(shape, x.dtype)
    if crops:
        # Only what is dilated and cropped on one axis has to be made; the rest stays as it is.
        apart = [step > 1 and min(p) < 0 for step, p in zip(x_dilation, padding, strict=True)]
        widths = [(low, high, step - 1) if own else (min(low, 0), min(high, 0), 0)
                  for (low, high), step, own in zip(padding, x_dilation, apart, strict=True)]
        x = pad(x, scalar(0, x.dtype), widths=[(0, 0, 0), *widths, (0, 0, 0)])
        padding = tuple([(0, 0) if own else (max(low, 0), max(high, 0))
                         for (low, high), own in zip(padding, apart, strict=True)])
        x_dilation = tuple([1 if own else step for step, own in
                            zip(x_dilation, apart, strict=True)])
    return _conv(x, w, shape, stride, padding, x_dilation, w_dilation, groups)


@functools.lru_cache(maxsize=1024)
def _shape(x: Ints, w: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
           w_dilation: Ints) -> tuple[Ints, bool]:
    """The shape of the output for operands of these shapes, and whether some padding crops."""
    space = [windows(dilated(n, step) + low + high, k, s, d) for n, k, s, (low, high), step, d in
             zip(x[1:-1], w[:-2], stride, padding, x_dilation, w_dilation, strict=True)]
    return (x[0], *space, w[-1]), any(low < 0 or high < 0 for low, high in padding)


def _conv(x: mx.array, w: mx.array, shape: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
          w_dilation: Ints, groups: int) -> mx.array:
    rank, dtype, on_cpu = len(stride), x.dtype, mx.default_device() == CPU
    geometry: tuple[Any, ...] = (stride, padding, x_dilation, w_dilation)
    if on_cpu and dtype == mx.float32 and groups == 1 and 1 <= rank <= 3:
        return conv_by_patches(x, w, shape, *geometry)
    if dtype == mx.complex64 and 1 <= rank <= 3:
        parts = lambda f, g: _conv(f(x), g(w), shape, *geometry, groups)
        return complex_of(parts(mx.real, mx.real) - parts(mx.imag, mx.imag),
                          parts(mx.real, mx.imag) + parts(mx.imag, mx.real))
    if dtype in INTEGERS or dtype == mx.float64 or not 1 <= rank <= 3:
        return _by_taps(x, w, shape, *geometry, groups)
    if rank == 3 and groups > 1:
        pairs = zip(mx.split(x, groups, axis=-1), mx.split(w, groups, axis=-1), strict=True)
        each = (*shape[:-1], shape[-1] // groups)
        return mx.concatenate([_conv(a, b, each, *geometry, 1) for a, b in pairs], axis=-1)
    if on_cpu and dtype in HALVES:
        return _conv(x.astype(mx.float32), w.astype(mx.float32), shape, *geometry,
                     groups).astype(dtype)
    w = w.transpose(rank + 1, *range(rank), rank)
    low, high = [a for a, _ in padding], [b for _, b in padding]
    return mx.conv_general(x, w, stride=list(stride), padding=(low, high),
                           kernel_dilation=list(w_dilation), input_dilation=list(x_dilation),
                           groups=groups)


def _by_taps(x: mx.array, w: mx.array, shape: Ints, stride: Ints, padding: Pads, x_dilation: Ints,
             w_dilation: Ints, groups: int) -> mx.array:
    """One product of matrices for each place in the window: integers, many axes, and float64,
    which MLX computes in single precision."""
    widths = [(*p, d - 1) for p, d in zip(padding, x_dilation, strict=True)]
    x = pad(x, scalar(0, x.dtype), widths=[(0, 0, 0), *widths, (0, 0, 0)])
    rank, out = len(stride), None
    x = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    for place in itertools.product(*map(range, w.shape[:rank])):
        cut = [slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in
               zip(place, w_dilation, shape[1:-1], stride, strict=True)]
        taken = x[(slice(None), *cut)]
        tap = w[place].reshape(w.shape[-2], groups, -1)  # c, G, o
        part = dot_general(taken, tap, contract=((rank + 2,), (0,)), batch=((rank + 1,), (1,)))
        out = part if out is None else out + part
    return out.transpose(*range(1, rank + 2), 0, rank + 2).reshape(shape)
