"""Elementwise kernels where one MLX operation is not the whole story.

MLX computes many transcendental functions of float64 in single precision; those are written here
with the ones that it does not: hyperbolic functions, the tangent, logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx.arrays import (
    from_numpy,
    mx_dtype,
    same_dtype,
    scalar,
)
from lucidfn.types import SCALARS, default_dtype_of

HALVES = (mx.float16, mx.bfloat16)
SIGNED = (mx.int8, mx.int16, mx.int32, mx.int64)
UNSIGNED = (mx.uint8, mx.uint16, mx.uint32, mx.uint64)
INTEGERS = (*SIGNED, *UNSIGNED)
BITS = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}  # by size of an element
WORDS = {1: mx.int8, 2: mx.int16, 4: mx.int32, 8: mx.int64}


def of_array(x: Any, y: Any) -> mx.Dtype:
    return (y if type(x) in SCALARS else x).dtype


def zero_of(x: mx.array) -> mx.array:
    return scalar(0, x.dtype)


def one_of(x: mx.array) -> mx.array:
    return scalar(1, x.dtype)


def widened(kernel: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """A kernel that computes 16-bit floats in float32."""
    def run(*args: Any, **params: Any) -> mx.array:
        dtype = next(a.dtype for a in args if type(a) not in SCALARS)
        if dtype not in HALVES:
            return kernel(*args, **params)
        return kernel(*[a if type(a) in SCALARS else a.astype(mx.float32) for a in args],
                      **params).astype(dtype)
    return run


# ------------------------------------------------------------------ by dtype

def by_dtype(single: Callable[[mx.array], mx.array],
             double: Callable[[mx.array], mx.array] | None = None,
             complex_: Callable[[mx.array], mx.array] | None = None) -> Callable[..., mx.array]:
    """A kernel with others for float64 and for complex64."""
    def run(x: mx.array) -> mx.array:
        if double is not None and x.dtype == mx.float64:
            return double(x)
        if complex_ is not None and x.dtype == mx.complex64:
            return complex_(x)
        return single(x)
    return run


def exp_double(x: mx.array) -> mx.array:
    # For x >= 0 both terms are positive: nothing cancels.
    grown = mx.sinh(mx.abs(x)) + mx.cosh(x)
    return mx.where(x < 0, 1 / grown, grown)


def expm1_double(x: mx.array) -> mx.array:
    half = 0.5 * x
    out = 2.0 * mx.sinh(half) * exp_double(half)
    return mx.where(x < -80.0, -1.0, mx.where(x > 1400.0, math.inf, out))


def sin_double(x: mx.array) -> mx.array:
    u = mx.tan(0.5 * x)
    return 2.0 * u / (1.0 + u * u)


def sin_single(x: mx.array) -> mx.array:
    return mx.where(x == 0, x, mx.sin(x))  # the CPU's vector sine loses the sign of -0.0


def cos_double(x: mx.array) -> mx.array:
    u = mx.tan(0.5 * x)
    return (1.0 - u) * (1.0 + u) / (1.0 + u * u)


def acosh_double(x: mx.array) -> mx.array:
    value = mx.log1p((x - 1.0) + mx.sqrt((x - 1.0) * (x + 1.0)))
    return mx.where(x >= 1.0, mx.where(x < 1e150, value, mx.log(x) + math.log(2.0)), math.nan)


def logistic_double(x: mx.array) -> mx.array:
    decay = exp_double(-mx.abs(x))
    return mx.where(x >= 0, 1.0, decay) / (1.0 + decay)


def exp2_single(x: mx.array) -> mx.array:
    return mx.power(scalar(2.0, x.dtype), x)


def complex_of(x: mx.array, y: mx.array) -> mx.array:
    """x + iy from two float32 arrays: by their bits, as i * inf would make NaN."""
    shape = mx.broadcast_shapes(x.shape, y.shape)
    both = mx.stack([mx.broadcast_to(x, shape), mx.broadcast_to(y, shape)], axis=-1)
    return both.view(mx.complex64).reshape(shape)


def expm1_complex(z: mx.array) -> mx.array:
    x, y = mx.real(z), mx.imag(z)
    sine = mx.sin(0.5 * y)
    return complex_of(mx.expm1(x) * mx.cos(y) - 2.0 * sine * sine, mx.exp(x) * mx.sin(y))


def log1p_complex(z: mx.array) -> mx.array:
    x, y = mx.real(z), mx.imag(z)
    # |1 + z|^2 - 1 while it is representable and small, else the modulus itself
    near = mx.maximum(mx.abs(x), mx.abs(y)) < 1.0
    small = 0.5 * mx.log1p(x * (2.0 + x) + y * y)
    return complex_of(mx.where(near, small, mx.log(mx.abs(complex_of(1.0 + x, y)))),
                      mx.arctan2(y, 1.0 + x))


def logistic_complex(z: mx.array) -> mx.array:
    right = mx.real(z) >= 0
    decaying = mx.exp(mx.where(right, -z, z))
    return mx.where(right, scalar(1.0, z.dtype), decaying) / (1.0 + decaying)


exp = by_dtype(mx.exp, exp_double)
expm1 = by_dtype(mx.expm1, expm1_double, expm1_complex)
exp2 = by_dtype(exp2_single, exp2_single, lambda z: mx.exp(z * math.log(2.0)))
log1p = by_dtype(mx.log1p, None, log1p_complex)
sin, cos = by_dtype(sin_single, sin_double, mx.sin), by_dtype(mx.cos, cos_double)
acosh = by_dtype(mx.arccosh, acosh_double)
logistic = widened(by_dtype(mx.sigmoid, logistic_double, logistic_complex))


@widened
def cbrt(x: mx.array) -> mx.array:
    """One step of Newton's method after a power, whose exponent 1/3 is rounded."""
    size = mx.abs(x)
    y = mx.power(size, 1.0 / 3.0)
    fine = mx.logical_and(y > 0, size < math.inf)
    y = mx.where(fine, y - (y - size / mx.where(fine, y * y, 1.0)) / 3.0, y)
    return mx.where(signbit(x), -y, y)


def sign(x: mx.array) -> mx.array:
    if x.dtype == mx.complex64:
        size = mx.abs(x)
        return mx.where(size == 0, x, x / mx.where(size == 0, 1.0, size))
    return mx.sign(x) if x.dtype in INTEGERS else mx.where(mx.isnan(x), x, mx.sign(x))


def trunc(x: mx.array) -> mx.array:
    return mx.where(signbit(x), mx.ceil(x), mx.floor(x))


def signbit(x: mx.array) -> mx.array:
    return x.view(WORDS[x.dtype.size]) < 0


def nextafter(x: Any, y: Any) -> mx.array:
    """The neighbour in the order of the bits; the order of negative numbers is reversed."""
    x, y = same_dtype(x, y)
    x, y = mx.broadcast_arrays(x, y)
    word = WORDS[x.dtype.size]
    bits = x.view(word)
    away = (x < y) == (x > 0)
    moved = (bits + mx.where(away, 1, -1).astype(word)).view(x.dtype)
    tiny = mx.ones_like(bits).view(x.dtype)
    least = mx.where(signbit(y), -tiny, tiny)
    moved = mx.where(x == 0, least, moved)
    moved = mx.where(x == y, y, moved)
    return mx.where(mx.logical_or(mx.isnan(x), mx.isnan(y)), scalar(math.nan, x.dtype), moved)


# ------------------------------------------------------------------ division and powers

def div(x: Any, y: Any) -> mx.array:
    """True division of floats; integers divide towards zero, by zero gives -1 (all bits set)."""
    dtype = of_array(x, y)
    return _int_div(*same_dtype(x, y)) if dtype in INTEGERS else mx.divide(x, y)


def _int_div(x: mx.array, y: mx.array) -> mx.array:
    zero = y == 0
    unsafe = mx.logical_or(zero, y == -1) if y.dtype in SIGNED else zero
    safe = mx.where(unsafe, one_of(y), y)
    quotient = mx.floor_divide(x, safe)
    if y.dtype in SIGNED:
        inexact = (quotient * safe) != x  # floor to truncation
        below = (x < 0) != (safe < 0)
        quotient = quotient + mx.logical_and(inexact, below).astype(y.dtype)
        # The least integer over -1 is itself, and a processor's trap.
        return mx.where(zero, scalar(-1, y.dtype), mx.where(y == -1, -x, quotient))
    return mx.where(zero, mx.bitwise_invert(zero_of(y)), quotient)


def rem(x: Any, y: Any) -> mx.array:
    """x - y * trunc(x / y); an integer modulo zero gives x."""
    dtype = of_array(x, y)
    x, y = same_dtype(x, y)
    if dtype in INTEGERS:
        return x - y * _int_div(x, y)
    size = mx.remainder(mx.abs(x), mx.abs(y))
    size = mx.where(mx.isinf(y), mx.where(mx.isfinite(x), mx.abs(x), scalar(math.nan, dtype)), size)
    size = mx.where(mx.isnan(y), y, size)
    return mx.where(signbit(x), -size, size)


def power(x: Any, y: Any) -> mx.array:
    """x ** y; an integer to a negative power gives 0, but for 1 and -1."""
    if of_array(x, y) not in SIGNED:
        return mx.power(*same_dtype(x, y))
    x, y = same_dtype(x, y)
    negative = y < 0
    out = mx.power(x, mx.where(negative, zero_of(y), y))
    odd = mx.bitwise_and(y, one_of(y)) == 1
    unit = mx.where(x == -1, mx.where(odd, scalar(-1, x.dtype), one_of(x)),
                    (x == 1).astype(x.dtype))
    return mx.where(negative, unit, out)


def integer_pow(x: mx.array, *, n: int) -> mx.array:
    """x ** n by squaring: a fixed number of multiplications."""
    if n == 0:
        return mx.ones_like(x)
    result, base, left = None, x, abs(n)
    while left:
        if left & 1:
            result = base if result is None else result * base
        left >>= 1
        if left:
            base = base * base
    return result if n > 0 else div(one_of(x), result)


def rsqrt(x: mx.array) -> mx.array:
    # MLX's own has the accuracy of a fast approximation on some devices.
    return mx.reciprocal(mx.sqrt(x))


# ------------------------------------------------------------------ selection

def select(pred: mx.array, x: Any, y: Any) -> mx.array:
    if type(x) in SCALARS:
        x = scalar(x, mx_dtype(default_dtype_of(type(x))) if type(y) in SCALARS else y.dtype)
    return mx.where(pred, x, scalar(y, x.dtype) if type(y) in SCALARS else y)


def relu(x: mx.array) -> mx.array:
    return mx.maximum(x, zero_of(x))


def clamp(lo: Any, x: Any, hi: Any) -> mx.array:
    lo, x, hi = same_dtype(lo, x, hi)
    return mx.minimum(mx.maximum(x, lo), hi)


def fma(x: Any, y: Any, z: Any) -> mx.array:
    """Rounded once: in a wider type where there is one. A GPU fuses product and sum by itself."""
    x, y, z = same_dtype(x, y, z)
    dtype, on_cpu = x.dtype, mx.default_device().type == mx.DeviceType.cpu
    if dtype == mx.float64 or dtype == mx.float32 and not on_cpu:
        return x * y + z
    wide = mx.float64 if dtype == mx.float32 else mx.float32
    return (x.astype(wide) * y.astype(wide) + z.astype(wide)).astype(dtype)


# ------------------------------------------------------------------ conversion

def convert(x: Any, *, dtype: np.dtype) -> mx.array:
    wanted = mx_dtype(dtype)
    if type(x) in SCALARS:
        return from_numpy(np.asarray(x)).astype(wanted) if type(x) is not complex \
            else mx.array(x).astype(wanted)
    if x.dtype == wanted:
        return x
    if x.dtype == mx.complex64 and wanted != mx.bool_:
        x = mx.real(x)
    if wanted in INTEGERS and x.dtype not in INTEGERS and x.dtype != mx.bool_:
        return float_to_int(x, wanted)
    return x.astype(wanted)


def float_to_int(x: mx.array, dtype: mx.Dtype) -> mx.array:
    """Towards zero. NaN gives 0 and what is out of range the nearest end, on every machine."""
    if x.dtype in HALVES:
        x = x.astype(mx.float32)
    bits = 8 * dtype.size - (dtype in SIGNED)
    least = -2**bits if dtype in SIGNED else 0
    low, high = float(least), 2.0**bits
    inside = mx.logical_and(x >= low, x < high)
    out = mx.where(inside, x, 0.0).astype(dtype)
    out = mx.where(x >= high, scalar(2**bits - 1, dtype), out)
    return mx.where(x < low, scalar(least, dtype), out)


def bitcast(x: mx.array, *, dtype: np.dtype) -> mx.array:
    return x.view(mx_dtype(dtype))


def complex_parts(x: Any, y: Any) -> mx.array:
    x, y = same_dtype(x, y)
    if x.dtype == mx.float64:
        mx_dtype(np.dtype("complex128"))
    return complex_of(x, y)


# ------------------------------------------------------------------ pairs of logarithms

def logaddexp(x: Any, y: Any) -> mx.array:
    """log(e^x + e^y) without overflow; equal infinities are no NaN."""
    x, y = same_dtype(x, y)
    apart = mx.where(x == y, zero_of(x), x - y)
    return mx.maximum(x, y) + mx.log1p(exp(-mx.abs(apart)))


def xlogy(x: Any, y: Any) -> mx.array:
    """x log y, and 0 where x is 0 (NaN where y is)."""
    x, y = same_dtype(x, y)
    none = mx.logical_and(x == 0, mx.logical_not(mx.isnan(y)))
    return mx.where(none, zero_of(x), x * mx.log(y))


def xlog1py(x: Any, y: Any) -> mx.array:
    """x log(1 + y), and 0 where x is 0 (NaN where y is)."""
    x, y = same_dtype(x, y)
    none = mx.logical_and(x == 0, mx.logical_not(mx.isnan(y)))
    return mx.where(none, zero_of(x), x * mx.log1p(y))


def log_of_sum(x: mx.array, y: mx.array) -> mx.array:
    """log(e^x + e^y), of complex numbers too."""
    if x.dtype != mx.complex64:
        return logaddexp(x, y)
    top = mx.maximum(mx.real(x), mx.real(y))
    top = mx.where(mx.isfinite(top), top, 0.0)  # an infinite shift would make inf - inf
    return mx.log(mx.exp(x - top) + mx.exp(y - top)) + top
