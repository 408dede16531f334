"""Elementwise functions of `lnp` that are compositions of several primitives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, weak_of, wrap
from lucidfn.core.trace import Tracer, shape_of
from lucidfn.numpy.elementwise import lift, multiply
from lucidfn.numpy.reductions import safe_sqrt
from lucidfn.types import (
    bool_,
    dtype_name,
    float32,
    float_type_for,
    int32,
    is_inexact,
    kind_of,
    promote_types,
    uint8,
)


def _float(x: Any) -> Any:
    raw = as_raw(x)
    return to_dtype(raw, float_type_for(raw.dtype))


def _real(x: Any, name: str) -> Any:
    raw = _float(x)
    if kind_of(raw.dtype) == 3:
        raise TypeError(f"lnp.{name} is not defined for {dtype_name(raw.dtype)}")
    return raw


def _real_pair(x: Any, y: Any, name: str) -> tuple[Any, Any, bool]:
    (a, b), weak = lift(x, y, to_float=True)
    if kind_of(a.dtype) == 3:
        raise TypeError(f"lnp.{name} is not defined for {dtype_name(a.dtype)}")
    return a, b, weak


# ------------------------------------------------------------------ exponentials, lengths

def logaddexp(x: Any, y: Any, /) -> Any:
    """log(exp(x) + exp(y)) without overflow; smooth to every order, also where x == y."""
    (a, b), weak = lift(x, y, to_float=True)
    return wrap(_logaddexp(a, b), weak)


def _logaddexp(a: Any, b: Any) -> Any:
    parts = (ops.real(a), ops.real(b)) if kind_of(a.dtype) == 3 else (a, b)
    first = ops.ge(*parts)
    high, low = ops.select(first, a, b), ops.select(first, b, a)
    size = ops.select(first, *parts)
    # An infinite (or NaN) larger one is the result; the formula sees zeros there.
    finite = ops.is_finite(size)
    zero = ops.zero_like(high)
    h, l = ops.select(finite, high, zero), ops.select(finite, low, zero)  # noqa: E741
    shift = to_dtype(ops.stop_gradient(ops.select(finite, size, 0.0)), h.dtype)
    total = ops.add(ops.expm1(ops.sub(h, shift)), ops.exp(ops.sub(l, shift)))
    special = ops.select(ops.is_nan(a), a, high)
    out = ops.select(finite, ops.add(ops.log1p(total), shift), special)
    if kind_of(a.dtype) != 3:
        return out
    turn = 2 * math.pi
    angle = ops.imag(out)
    angle = ops.sub(angle, ops.mul(ops.round(ops.div(angle, turn)), turn))
    return ops.complex_(ops.real(out), angle)


def logaddexp2(x: Any, y: Any, /) -> Any:
    """log2(2^x + 2^y) without overflow."""
    (a, b), weak = lift(x, y, to_float=True)
    two = complex(math.log(2.0)) if kind_of(a.dtype) == 3 else math.log(2.0)
    return wrap(ops.div(_logaddexp(ops.mul(a, two), ops.mul(b, two)), two), weak)


def hypot(x: Any, y: Any, /) -> Any:
    """sqrt(x^2 + y^2) without overflow; the derivative at (0, 0) is 0."""
    a, b, weak = _real_pair(x, y, "hypot")
    size = ops.stop_gradient(ops.max(ops.abs(a), ops.abs(b)))
    usable = ops.bitwise_and(ops.is_finite(size), ops.gt(size, 0.0))
    scale = ops.select(usable, size, 1.0)
    squares = ops.add(ops.square(ops.div(a, scale)), ops.square(ops.div(b, scale)))
    out = ops.mul(safe_sqrt(squares), scale)
    infinite = ops.bitwise_or(ops.eq(ops.abs(a), math.inf), ops.eq(ops.abs(b), math.inf))
    return wrap(ops.select(infinite, math.inf, out), weak)


def float_power(x: Any, y: Any, /) -> Any:
    """x to the power y, computed in floating point."""
    raws, weak = lift(x, y, to_float=True)
    return wrap(ops.pow(*raws), weak)


def reciprocal(x: Any, /) -> Any:
    """1 / x; integers give floats."""
    raw = _float(x)
    return wrap(ops.div(1 + 0j if kind_of(raw.dtype) == 3 else 1.0, raw), weak_of(x))


def sinc(x: Any, /) -> Any:
    """sin(pi x) / (pi x), 1 at 0; a series near 0 keeps derivatives accurate there."""
    raw = _float(x)
    angle = ops.mul(raw, complex(math.pi) if kind_of(raw.dtype) == 3 else math.pi)
    near = ops.lt(ops.abs(angle), 0.3)
    one = type(ops.zero_like(angle))(1)
    square = ops.square(ops.select(near, angle, ops.zero_like(angle)))
    series = None
    for n in range(7, -1, -1):
        term = type(one)((-1) ** n / math.factorial(2 * n + 1))
        series = ops.full(shape=shape_of(square), dtype=square.dtype, value=term) \
            if series is None else ops.add(ops.mul(series, square), term)
    safe = ops.select(near, one, angle)
    return wrap(ops.select(near, series, ops.div(ops.sin(safe), safe)), weak_of(x))


def i0(x: Any, /) -> Any:
    """Modified Bessel function of the first kind, order 0."""
    raw = _real(x, "i0")
    return wrap(ops.mul(ops.exp(ops.abs(raw)), ops.bessel_i0e(raw)), weak_of(x))


# ------------------------------------------------------------------ angles

def angle(z: Any, deg: bool = False) -> Any:
    """Angle of complex numbers, in radians or degrees; 0 or pi for real ones."""
    raw = _float(z)
    if kind_of(raw.dtype) == 3:
        out = ops.atan2(ops.imag(raw), ops.real(raw))
    else:
        out = ops.atan2(ops.zeros(shape_of(raw), raw.dtype), raw)
    return wrap(ops.mul(out, 180.0 / math.pi) if deg else out, weak_of(z))


def deg2rad(x: Any, /) -> Any:
    """Degrees to radians."""
    return multiply(wrap(_float(x), weak_of(x)), math.pi / 180.0)


def rad2deg(x: Any, /) -> Any:
    """Radians to degrees."""
    return multiply(wrap(_float(x), weak_of(x)), 180.0 / math.pi)


radians, degrees = deg2rad, rad2deg


# ------------------------------------------------------------------ signs, rounding, parts

def fabs(x: Any, /) -> Any:
    """Absolute value of real numbers, as floats."""
    return wrap(ops.abs(_real(x, "fabs")), weak_of(x))


def copysign(x: Any, y: Any, /) -> Any:
    """The size of x with the sign of y."""
    a, b, weak = _real_pair(x, y, "copysign")
    differs = ops.ne(ops.signbit(a), ops.signbit(b))
    return wrap(ops.select(differs, ops.neg(a), a), weak)


def heaviside(x: Any, y: Any, /) -> Any:
    """0 for x < 0, y for x == 0, 1 for x > 0; NaN for NaN."""
    a, b, weak = _real_pair(x, y, "heaviside")
    step = ops.select(ops.lt(a, 0.0), 0.0, ops.select(ops.gt(a, 0.0), 1.0, b))
    return wrap(ops.select(ops.is_nan(a), math.nan, step), weak)


def round(a: Any, decimals: int = 0, out: None = None) -> Any:
    """a rounded to `decimals` places, half to even; integers stay as they are."""
    if out is not None:
        raise NotImplementedError("lnp.round cannot write into out=; arrays are immutable")
    raw = as_raw(a)
    decimals = decimals.__index__()
    if not is_inexact(raw.dtype):
        if decimals < 0:
            raise NotImplementedError("lnp.round of integers to a negative number of decimals; "
                                      "convert to float first")
        return wrap(raw, weak_of(a))
    if kind_of(raw.dtype) == 3:
        parts = [_rounded(p, decimals) for p in (ops.real(raw), ops.imag(raw))]
        return wrap(ops.complex_(*parts), weak_of(a))
    return wrap(_rounded(raw, decimals), weak_of(a))


around = round


def _rounded(raw: Any, decimals: int) -> Any:
    if decimals == 0:
        return ops.round(raw)
    wide = to_dtype(raw, promote_types(raw.dtype, float32))
    factor = 10.0 ** abs(decimals)
    if decimals > 0:
        out = ops.div(ops.round(ops.mul(wide, factor)), factor)
        # Where the scaled number overflows there was nothing to round.
        out = ops.select(ops.is_finite(out), out, wide)
    else:
        out = ops.mul(ops.round(ops.div(wide, factor)), factor)
    return to_dtype(out, raw.dtype)


def fix(x: Any, out: None = None) -> Any:
    """x rounded towards zero."""
    raw = _real(x, "fix")
    return wrap(ops.trunc(raw), weak_of(x))


def modf(x: Any, /, out: None = None) -> tuple[Any, Any]:
    """(fractional part, whole part), both with the sign of x."""
    raw = _real(x, "modf")
    whole = ops.trunc(raw)
    infinite = ops.eq(ops.abs(raw), math.inf)
    fraction = ops.select(infinite, 0.0, ops.sub(raw, ops.select(infinite, 0.0, whole)))
    return copysign(wrap(fraction, weak_of(x)), x), wrap(whole, weak_of(x))


def ldexp(x1: Any, x2: Any, /) -> Any:
    """x1 * 2**x2 for integers x2."""
    exponent = as_raw(x2)
    if is_inexact(exponent.dtype):
        raise ValueError(f"lnp.ldexp takes integer exponents, got {dtype_name(exponent.dtype)}")
    return wrap(_ldexp(_real(x1, "ldexp"), to_dtype(exponent, int32)), weak_of(x1))


def _ldexp(raw: Any, exponent: Any) -> Any:
    """In four steps, so that no power of two overflows before the product does."""
    quarter = ops.shift_right_arithmetic(exponent, 2)
    rest = ops.sub(exponent, ops.mul(quarter, 3))
    dtype = promote_types(raw.dtype, float32)
    out = to_dtype(raw, dtype)
    for power in (rest, quarter, quarter, quarter):
        out = ops.mul(out, ops.exp2(ops.convert(power, dtype=dtype)))
    return to_dtype(out, raw.dtype)


def frexp(x: Any, /) -> tuple[Any, Any]:
    """(mantissa in [0.5, 1), integer exponent) with x = mantissa * 2**exponent."""
    raw = _real(x, "frexp")
    wide = to_dtype(raw, promote_types(raw.dtype, float32))
    double = wide.dtype == np.float64
    size = ops.stop_gradient(ops.abs(wide))
    tiny = ops.lt(size, 2.0 ** (-1022 if double else -126))
    lifted = ops.select(tiny, ops.mul(size, 2.0 ** 60), size)  # subnormals become normal
    word = np.dtype("int64" if double else "int32")
    bits = ops.bitcast(lifted, dtype=word)
    exponent = ops.shift_right_logical(bits, 52 if double else 23)
    exponent = ops.sub(ops.convert(exponent, dtype=int32), 1022 if double else 126)
    exponent = ops.select(tiny, ops.sub(exponent, 60), exponent)
    special = ops.bitwise_or(ops.eq(size, 0.0), ops.bitwise_not(ops.is_finite(size)))
    exponent = ops.select(special, 0, exponent)
    mantissa = _ldexp(wide, ops.neg(exponent))
    return wrap(to_dtype(mantissa, raw.dtype), weak_of(x)), wrap(exponent)


def spacing(x: Any, /) -> Any:
    """The distance from x to the next float away from 0, with the sign of x."""
    raw = _real(x, "spacing")
    inf = ops.full(shape=shape_of(raw), dtype=raw.dtype, value=math.inf)
    away = ops.select(ops.lt(raw, 0.0), -math.inf, inf)
    gap = ops.sub(ops.nextafter(raw, away), raw)
    return wrap(ops.stop_gradient(gap), weak_of(x))  # a step function


def fmax(x: Any, y: Any, /) -> Any:
    """The larger of x and y; NaN only if both are."""
    return _skip_nan(ops.max, x, y)


def fmin(x: Any, y: Any, /) -> Any:
    """The smaller of x and y; NaN only if both are."""
    return _skip_nan(ops.min, x, y)


def _skip_nan(extremum: Any, x: Any, y: Any) -> Any:
    (a, b), weak = lift(x, y)
    if not is_inexact(a.dtype):
        return wrap(extremum(a, b), weak)
    nan_a, nan_b = ops.is_nan(a), ops.is_nan(b)
    first, second = ops.select(nan_a, b, a), ops.select(nan_b, a, b)
    # Where one was NaN both are now the other: choose, lest a tie halve its derivative.
    both = extremum(first, second)
    return wrap(ops.select(nan_a, b, ops.select(nan_b, a, both)), weak)


# ------------------------------------------------------------------ integers

def gcd(x1: Any, x2: Any, /) -> Any:
    """Greatest common divisor of integers; 0 of two zeros."""
    a, b, weak = _integers(x1, x2, "gcd")
    return wrap(_gcd(ops.abs(a), ops.abs(b)), weak)


def lcm(x1: Any, x2: Any, /) -> Any:
    """Least common multiple of integers; 0 if one is 0."""
    a, b, weak = _integers(x1, x2, "lcm")
    a, b = ops.abs(a), ops.abs(b)
    divisor = _gcd(a, b)
    empty = ops.eq(divisor, 0)
    whole = ops.div(b, ops.select(empty, 1, divisor))
    return wrap(ops.select(empty, 0, ops.mul(a, whole)), weak)


def _integers(x: Any, y: Any, name: str) -> tuple[Any, Any, bool]:
    (a, b), weak = lift(x, y)
    if kind_of(a.dtype) != 1:
        raise ValueError(f"lnp.{name} takes integers, got {dtype_name(a.dtype)}")
    return a, b, weak


def bitwise_count(x: Any, /) -> Any:
    """Number of bits that are 1 in the absolute value of integers, as uint8."""
    raw = as_raw(x)
    if kind_of(raw.dtype) > 1:
        raise TypeError(f"lnp.bitwise_count takes integers, got {dtype_name(raw.dtype)}")
    if raw.dtype != bool_:
        raw = ops.population_count(ops.abs(raw) if raw.dtype.kind == "i" else raw)
    return wrap(to_dtype(raw, uint8))


def _gcd(a: Any, b: Any) -> Any:
    # Euclid's algorithm takes the most steps for neighbouring Fibonacci numbers.
    for _ in range(8 * a.dtype.itemsize * 3 // 2):
        if not isinstance(b, Tracer) and not np.any(b):
            break
        done = ops.eq(b, 0)
        remainder = ops.rem(a, ops.select(done, 1, b))
        a, b = ops.select(done, a, b), ops.select(done, 0, remainder)
    return a


__all__ = [
    "angle", "around", "bitwise_count", "copysign", "deg2rad", "degrees", "fabs", "fix",
    "float_power", "fmax", "fmin", "frexp", "gcd", "heaviside", "hypot", "i0", "lcm", "ldexp",
    "logaddexp", "logaddexp2", "modf", "rad2deg", "radians", "reciprocal", "round", "sinc",
    "spacing",
]
