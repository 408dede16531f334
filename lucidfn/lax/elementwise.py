"""Elementwise functions of `lax`: operands have equal dtypes (Python scalars adapt)."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from lucidfn import ops, tree
from lucidfn.array import is_array_like, unwrap, weak_of, wrap
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array, binary, check, same_dtype, same_rank, unary
from lucidfn.types import (
    SCALARS,
    as_dtype,
    bool_,
    default_dtype_of,
    dtype_name,
    is_inexact,
    kind_of,
)

neg = unary(ops.neg, "-x.")
sign = unary(ops.sign, "-1, 0 or 1; x / |x| for complex x.")
abs = unary(ops.abs, "|x|; its derivative at 0 is 0.")
floor = unary(ops.floor, "The largest whole number <= x.")
ceil = unary(ops.ceil, "The smallest whole number >= x.")
exp = unary(ops.exp, "e to the power x.")
exp2 = unary(ops.exp2, "2 to the power x.")
expm1 = unary(ops.expm1, "exp(x) - 1, accurate near 0.")
log = unary(ops.log, "Natural logarithm.")
log1p = unary(ops.log1p, "log(1 + x), accurate near 0.")
logistic = unary(ops.logistic, "1 / (1 + exp(-x)).")
sqrt = unary(ops.sqrt, "Square root.")
rsqrt = unary(ops.rsqrt, "1 / sqrt(x).")
cbrt = unary(ops.cbrt, "Cube root.")
square = unary(ops.square, "x * x.")
sin = unary(ops.sin, "Sine of x in radians.")
cos = unary(ops.cos, "Cosine of x in radians.")
tan = unary(ops.tan, "Tangent of x in radians.")
asin = unary(ops.asin, "Inverse sine, in radians.")
acos = unary(ops.acos, "Inverse cosine, in radians.")
atan = unary(ops.atan, "Inverse tangent, in radians.")
sinh = unary(ops.sinh, "Hyperbolic sine.")
cosh = unary(ops.cosh, "Hyperbolic cosine.")
tanh = unary(ops.tanh, "Hyperbolic tangent.")
asinh = unary(ops.asinh, "Inverse hyperbolic sine.")
acosh = unary(ops.acosh, "Inverse hyperbolic cosine.")
atanh = unary(ops.atanh, "Inverse hyperbolic tangent.")
real = unary(ops.real, "Real part of a complex array.")
imag = unary(ops.imag, "Imaginary part of a complex array.")
is_finite = unary(ops.is_finite, "Whether neither inf nor NaN.", keep_weak=False)
bitwise_not = unary(ops.bitwise_not, "~x: every bit inverted; not x for booleans.")
population_count = unary(ops.population_count, "How many bits are set.")
clz = unary(ops.clz, "How many zeros lead the binary form of x at its width.")

add = binary(ops.add, "x + y.")
sub = binary(ops.sub, "x - y.")
mul = binary(ops.mul, "x * y.")
div = binary(ops.div, "x / y; integers divide towards zero.")
rem = binary(ops.rem, "x - y * trunc(x / y): has the sign of x.")
max = binary(ops.max, "The larger of x and y; at ties the derivative is shared equally.")
min = binary(ops.min, "The smaller of x and y; at ties the derivative is shared equally.")
atan2 = binary(ops.atan2, "Angle of the point (y, x): atan2(y, x).")
nextafter = binary(ops.nextafter, "The next float after x towards y.")
complex = binary(ops.complex_, "x + i y of real floats.")
eq = binary(ops.eq, "x == y.", keep_weak=False)
ne = binary(ops.ne, "x != y.", keep_weak=False)
lt = binary(ops.lt, "x < y.", keep_weak=False)
le = binary(ops.le, "x <= y.", keep_weak=False)
gt = binary(ops.gt, "x > y.", keep_weak=False)
ge = binary(ops.ge, "x >= y.", keep_weak=False)
bitwise_and = binary(ops.bitwise_and, "x & y, bit by bit.")
bitwise_or = binary(ops.bitwise_or, "x | y, bit by bit.")
bitwise_xor = binary(ops.bitwise_xor, "x ^ y, bit by bit.")
shift_left = binary(ops.shift_left, "x << y; 0 where y is not less than the width.")
shift_right_logical = binary(ops.shift_right_logical, "x >> y, zeros come in from the left.")
shift_right_arithmetic = binary(ops.shift_right_arithmetic, "x >> y, the sign bit is repeated.")


class RoundingMethod(enum.Enum):
    """How `round` treats a value half-way between two whole numbers."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


def conj(x: Any, input_dtype: Any = None) -> Any:
    """Complex conjugate; a real x becomes complex."""
    raw = array(x)
    return apply(ops.conj, raw) if kind_of(dtype_of(raw)) == 3 else apply(ops.complex_, raw, 0.0)


def reciprocal(x: Any) -> Any:
    """1 / x."""
    raw = array(x)
    if not is_inexact(dtype_of(raw)):
        raise TypeError(f"lax.reciprocal takes floating or complex arrays, got "
                        f"{dtype_name(dtype_of(raw))}")
    return wrap(ops.div(1.0, raw), weak_of(x))


def round(x: Any, rounding_method: RoundingMethod = RoundingMethod.AWAY_FROM_ZERO) -> Any:
    """The nearest whole number, of the same dtype; halves away from zero or to the even one."""
    raw = array(x)
    check(ops.round, (raw,), {})
    if RoundingMethod(rounding_method) is RoundingMethod.TO_NEAREST_EVEN:
        return wrap(ops.round(raw), weak_of(x))
    # Not floor(x + 0.5): the sum would round 0.49999997 up.
    whole = ops.trunc(raw)
    far = ops.ge(ops.abs(ops.sub(raw, whole)), 0.5)
    return wrap(ops.select(far, ops.add(whole, ops.sign(raw)), whole), weak_of(x))


def integer_pow(x: Any, y: int) -> Any:
    """x to the power of a Python integer y, by repeated multiplication."""
    raw = array(x)
    if type(y) is not int:
        raise TypeError(f"lax.integer_pow takes a Python int as exponent, got {y!r}; use lax.pow")
    if y < 0 and not is_inexact(dtype_of(raw)):
        raise ValueError(f"lax.integer_pow got {dtype_name(dtype_of(raw))} and the exponent {y}; "
                         "an integer to a negative power is not an integer")
    return apply(ops.square, raw, weak=weak_of(x)) if y == 2 and is_inexact(dtype_of(raw)) else \
        apply(ops.integer_pow, raw, weak=weak_of(x), n=y)


def pow(x: Any, y: Any) -> Any:
    """x to the power y, of x's dtype; y may be an integer array or a Python number."""
    raw_y = unwrap(y)
    if type(raw_y) is int:
        return integer_pow(x, raw_y)
    raw = array(x)
    if kind_of(dtype_of(raw_y)) == 1 and is_inexact(dtype_of(raw)):
        y = wrap(ops.convert(raw_y, dtype=dtype_of(raw)))
    raws, weak = same_dtype("pow", wrap(raw, weak_of(x)), y)
    check(ops.pow, raws, {})
    same_rank(ops.pow, raws)
    return wrap(ops.pow(*raws), weak)


def clamp(min: Any, x: Any, max: Any) -> Any:
    """x limited to [min, max]; the bounds are scalars or have x's shape.

    The derivative in x is 1 on the closed interval.
    """
    raws, weak = same_dtype("clamp", min, x, max)
    if all(type(r) in SCALARS for r in raws):
        raws[1] = array(raws[1])
    if any(shape_of(r) not in ((), shape_of(raws[1])) for r in raws):
        raise ShapeError(f"lax.clamp got shapes {[shape_of(r) for r in raws]}; min and max must be "
                         "scalars or have x's shape")
    return apply(ops.clamp, *raws, weak=weak)


def select(pred: Any, on_true: Any, on_false: Any) -> Any:
    """on_true where pred, else on_false: arrays of one shape; pred has it too or is a scalar."""
    return select_n(pred, on_false, on_true)


def select_n(which: Any, *cases: Any) -> Any:
    """The element of cases[which] at each place; which is boolean (two cases) or int32.

    An integer beyond the cases takes the nearest one.
    """
    raws, weak = same_dtype("select_n", *cases)
    raws = [array(r) for r in raws]
    index, shape = array(which), shape_of(raws[0])
    if any(shape_of(r) != shape for r in raws) or shape_of(index) not in ((), shape):
        raise ShapeError(f"lax.select got a selector of shape {shape_of(index)} and cases of "
                         f"shapes {[shape_of(r) for r in raws]}; the cases must have one shape, "
                         "and the selector have it too or be a scalar")
    if dtype_of(index) == bool_:
        if len(raws) > 2:
            raise TypeError(f"lax.select_n got a boolean selector for {len(raws)} cases; it "
                            "chooses between two. Use int32")
        return wrap(ops.select(index, raws[1], raws[0]) if len(raws) == 2 else raws[0], weak)
    if kind_of(dtype_of(index)) != 1:
        raise TypeError(f"lax.select takes a boolean or integer selector, got "
                        f"{dtype_name(dtype_of(index))}")
    out = raws[0]
    for i, raw in enumerate(raws[1:], 1):
        out = ops.select(ops.ge(index, i), raw, out)
    return wrap(out, weak)


def stop_gradient(x: Any) -> Any:
    """x, as a constant to differentiation; x may be any tree."""
    def stop(leaf: Any) -> Any:
        if not is_array_like(leaf):
            return leaf
        raw = array(leaf)
        return wrap(ops.stop_gradient(raw) if is_inexact(dtype_of(raw)) else raw, weak_of(leaf))
    return tree.map(stop, x)


def optimization_barrier(operand: Any, /) -> Any:
    """The operand: here no pass moves computations in a way that a barrier would have to stop."""
    return operand


# ------------------------------------------------------------------ dtypes and bits

def convert_element_type(operand: Any, new_dtype: Any) -> Any:
    """The operand in another dtype. Floats are cut towards zero; complex loses its imaginary part.

    >>> from lucidfn import lax
    >>> int(lax.convert_element_type(2.7, "int32"))
    2
    """
    raw, dtype = array(operand), as_dtype(new_dtype)
    return wrap(raw if dtype_of(raw) == dtype else ops.convert(raw, dtype=dtype))


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Any:
    """The same bits read as another dtype.

    A narrower dtype adds a last axis, lowest bits first; a wider one takes the last axis in.
    """
    raw, dtype = array(operand), as_dtype(new_dtype)
    have = dtype_of(raw)
    for d in (have, dtype):
        if kind_of(d) not in (1, 2):
            raise TypeError(f"lax.bitcast_convert_type reads integers and floats, got "
                            f"{dtype_name(have)} -> {dtype_name(dtype)}")
    if have.itemsize == dtype.itemsize:
        return wrap(ops.bitcast(raw, dtype=dtype))
    wide = np.dtype(f"u{np.maximum(have.itemsize, dtype.itemsize)}")
    narrow = np.dtype(f"u{np.minimum(have.itemsize, dtype.itemsize)}")
    parts, shape = wide.itemsize // narrow.itemsize, shape_of(raw)
    if have.itemsize > dtype.itemsize:
        bits = ops.reshape(ops.bitcast(raw, dtype=wide), shape=(*shape, 1))
        shifts = ops.iota(shape=(*(1,) * len(shape), parts), dtype=wide, axis=len(shape))
        bits = ops.shift_right_logical(bits, ops.mul(shifts, 8 * narrow.itemsize))
        low = ops.bitwise_and(bits, 2 ** (8 * narrow.itemsize) - 1)
        return wrap(ops.bitcast(ops.convert(low, dtype=narrow), dtype=dtype))
    if not shape or shape[-1] != parts:
        raise ShapeError(f"lax.bitcast_convert_type got {dtype_name(have)}{list(shape)}; for "
                         f"{dtype_name(dtype)} its last axis must have {parts} elements")
    bits = ops.convert(ops.bitcast(raw, dtype=narrow), dtype=wide)
    shifts = ops.iota(shape=(*(1,) * (len(shape) - 1), parts), dtype=wide, axis=len(shape) - 1)
    bits = ops.shift_left(bits, ops.mul(shifts, 8 * narrow.itemsize))
    return wrap(ops.bitcast(ops.reduce_sum(bits, axes=(len(shape) - 1,)), dtype=dtype))


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    """The operand rounded to a float of fewer bits, kept in its own dtype.

    Rounds half to even; what is too large becomes inf, what is below the least normal number 0.
    The derivative is that of the identity.
    """
    raw = array(operand)
    if kind_of(dtype_of(raw)) != 2:
        raise TypeError(f"lax.reduce_precision takes floats, got {dtype_name(dtype_of(raw))}")
    if exponent_bits < 1 or mantissa_bits < 0:
        raise ValueError("lax.reduce_precision takes exponent_bits >= 1 and mantissa_bits >= 0, "
                         f"got {exponent_bits} and {mantissa_bits}")
    fixed = ops.stop_gradient(raw)
    rounded = _round_bits(fixed, exponent_bits, mantissa_bits)
    # Adds what moves, raw - fixed: it is -0.0, which leaves every number as it is.
    moving = ops.select(ops.is_finite(fixed), ops.neg(ops.sub(fixed, raw)), -0.0)
    return wrap(ops.add(rounded, moving), weak_of(operand))


_MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}


def _round_bits(x: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    dtype = dtype_of(x)
    uint, own = np.dtype(f"u{dtype.itemsize}"), _MANTISSA[dtype_name(dtype)]
    rounded = x
    drop = own - mantissa_bits
    if drop > 0:
        # Half of the last kept bit, less one where that bit is even: ties go to even.
        bits = ops.bitcast(x, dtype=uint)
        last = ops.bitwise_and(ops.shift_right_logical(bits, drop), 1)
        bits = ops.add(bits, ops.add(last, (1 << (drop - 1)) - 1))
        mask = (1 << (8 * dtype.itemsize)) - (1 << drop)
        rounded = ops.bitcast(ops.bitwise_and(bits, mask), dtype=dtype)
    bias, own_bits = (1 << (exponent_bits - 1)) - 1, 8 * dtype.itemsize - own - 1
    if exponent_bits < own_bits:
        sign = ops.select(ops.signbit(x), -1.0, ops.full(shape=(), dtype=dtype, value=1.0))
        size = ops.abs(rounded)
        top = float(np.ldexp(2.0 - 2.0 ** -mantissa_bits, bias))
        rounded = ops.select(ops.gt(size, top), ops.mul(sign, float("inf")), rounded)
        least = float(np.ldexp(1.0, 1 - bias))
        rounded = ops.select(ops.lt(size, least), ops.mul(sign, 0.0), rounded)
    return ops.select(ops.is_nan(x), x, rounded)


def dtype(x: Any) -> np.dtype:
    """The dtype of an array, or the one that a Python scalar gets."""
    raw = unwrap(x)
    return default_dtype_of(type(raw)) if type(raw) in SCALARS else dtype_of(raw)
