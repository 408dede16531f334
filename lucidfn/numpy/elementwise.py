"""Elementwise functions of `lnp`: dtypes are promoted here, then one primitive does the work."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, promote, promote_raw, to_dtype, unwrap, weak_of, wrap
from lucidfn.config import settings
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import Tracer, beside, dtype_of, shape_of
from lucidfn.types import (
    SCALARS,
    bool_,
    default_dtype_of,
    is_inexact,
    kind_of,
)


def check_rank_promotion(name: str, *raws: Any) -> None:
    """`numpy_rank_promotion`: refuse or warn where operands of different rank broadcast."""
    mode = settings().numpy_rank_promotion
    if mode == "allow":
        return
    shapes = [shape_of(r) for r in raws if shape_of(r) != ()]
    if len({len(s) for s in shapes}) > 1:
        message = (f"{name}: operands of shapes {shapes} have different ranks, and "
                   f"numpy_rank_promotion is {mode!r}; reshape one of them")
        if mode == "raise":
            raise ValueError(message)
        warnings.warn(message, stacklevel=4)


def _named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = "lucidfn.numpy"
    return function


def unary(primitive: Primitive, name: str, doc: str, *,
          to_float: bool = False, as_is: str = "", keep_weak: bool = True) -> Callable[..., Any]:
    """`lnp.name(x)`: integers become floats if `to_float`; kinds in `as_is` stay as they are."""
    same = frozenset({"b": 0, "i": 1, "f": 2, "c": 3}[k] for k in as_is)

    def function(x: Any, /) -> Any:
        if type(x) is Array:
            raw, weak = x.value, x.weak
        elif isinstance(x, Tracer):
            raw, weak = x, x.weak  # type: ignore[attr-defined]
        else:
            raw, weak = unwrap(x), weak_of(x)
            if type(raw) in SCALARS:
                raw = np.asarray(raw, default_dtype_of(type(raw)))
        dtype = raw.dtype
        if to_float and not is_inexact(dtype):
            raw = ops.convert(raw, dtype=default_dtype_of(float))
        elif same and kind_of(dtype) in same:
            return wrap(raw, weak)
        return wrap(primitive(raw), weak and keep_weak)

    return _named(function, name, doc)


def binary(primitive: Primitive, name: str, doc: str, *, to_float: bool = False,
           logical: bool = False, keep_weak: bool = True) -> Callable[..., Any]:
    """`lnp.name(x, y)`: operands meet at their common dtype, a floating one if `to_float`."""

    def function(x: Any, y: Any, /) -> Any:
        a = x.value if type(x) is Array else x if isinstance(x, Tracer) else None
        if a is not None and not logical:
            b = y.value if type(y) is Array else y if isinstance(y, Tracer) else None
            dtype = a.dtype
            if b is None:
                # A Python number beside floats: every dtype holds it as well as it can.
                simple = (type(y) is float or type(y) is int) and is_inexact(dtype) and not x.weak
                b, weak = (float(y) if simple else y), False
            else:
                weak = x.weak
                simple = b.dtype == dtype and y.weak is weak and (
                    not to_float or is_inexact(dtype))
            if simple and settings().numpy_rank_promotion == "allow":
                return wrap(primitive(a, b), weak and keep_weak)
        if logical:
            raws, weak = [_truth(unwrap(x)), _truth(unwrap(y))], False
        else:
            raws, weak = promote(x, y)
            if to_float:
                raws = _floats(raws)
        if type(raws[0]) in SCALARS and type(raws[1]) in SCALARS:
            raws = [np.asarray(r, default_dtype_of(type(r))) for r in raws]
        check_rank_promotion(name, *raws)
        return wrap(primitive(*raws), weak and keep_weak)

    return _named(function, name, doc)


def _truth(raw: Any) -> Any:
    """A raw value as booleans: nonzero is True."""
    if type(raw) in SCALARS:
        return np.asarray(bool(raw))
    return raw if raw.dtype == bool_ else ops.ne(raw, ops.zero_like(raw))


def _floats(raws: list[Any]) -> list[Any]:
    dtype = next((r.dtype for r in raws if type(r) not in SCALARS), None)
    if dtype is None:
        kind = complex if any(type(r) is complex for r in raws) else float
        return [np.asarray(r, default_dtype_of(kind)) for r in raws]
    return raws if is_inexact(dtype) else [to_dtype(r, default_dtype_of(float)) for r in raws]


def lift(*xs: Any, to_float: bool = False) -> tuple[list[Any], bool]:
    """Raw *arrays* of what a user passed at their common dtype, and whether it is weak."""
    ready = [x.value if type(x) is Array else x for x in xs
             if type(x) is Array or isinstance(x, Tracer)]
    if len(ready) == len(xs):  # nothing to convert
        dtype, weak = ready[0].dtype, xs[0].weak
        if all([r.dtype == dtype and x.weak is weak for r, x in zip(ready, xs, strict=True)]) and (
                not to_float or is_inexact(dtype)):
            return ready, weak
    raws, weak = promote(*xs)
    if to_float:
        raws = _floats(raws)
    dtype = next((r.dtype for r in raws if type(r) not in SCALARS), None)
    if dtype is None:
        raws, _ = promote_raw([np.asarray(r, default_dtype_of(type(r))) for r in raws])
        return raws, weak
    return [np.asarray(r, dtype) if type(r) in SCALARS else r for r in raws], weak


# ------------------------------------------------------------------ one primitive each

add = binary(ops.add, "add", "x + y, elementwise with broadcasting.")
subtract = binary(ops.sub, "subtract", "x - y, elementwise with broadcasting.")
multiply = binary(ops.mul, "multiply", "x * y, elementwise with broadcasting.")
divide = true_divide = binary(ops.div, "divide", "x / y; integers give floats.", to_float=True)
maximum = binary(ops.max, "maximum", "The larger of x and y; NaN if either is. At ties the "
                 "derivative is shared equally.")
minimum = binary(ops.min, "minimum", "The smaller of x and y; NaN if either is. At ties the "
                 "derivative is shared equally.")
arctan2 = atan2 = binary(ops.atan2, "arctan2", "Angle of the point (y, x): arctan2(y, x).",
                         to_float=True)
nextafter = binary(ops.nextafter, "nextafter", "The next float after x towards y.", to_float=True)

equal = binary(ops.eq, "equal", "x == y.", keep_weak=False)
not_equal = binary(ops.ne, "not_equal", "x != y.", keep_weak=False)
less = binary(ops.lt, "less", "x < y.", keep_weak=False)
less_equal = binary(ops.le, "less_equal", "x <= y.", keep_weak=False)
greater = binary(ops.gt, "greater", "x > y.", keep_weak=False)
greater_equal = binary(ops.ge, "greater_equal", "x >= y.", keep_weak=False)

logical_and = binary(ops.bitwise_and, "logical_and", "x and y, elementwise.", logical=True)
logical_or = binary(ops.bitwise_or, "logical_or", "x or y, elementwise.", logical=True)
logical_xor = binary(ops.bitwise_xor, "logical_xor", "Exactly one of x and y.", logical=True)
bitwise_and = binary(ops.bitwise_and, "bitwise_and", "x & y, bit by bit.")
bitwise_or = binary(ops.bitwise_or, "bitwise_or", "x | y, bit by bit.")
bitwise_xor = binary(ops.bitwise_xor, "bitwise_xor", "x ^ y, bit by bit.")
left_shift = bitwise_left_shift = binary(ops.shift_left, "left_shift", "x << y.")
bitwise_not = bitwise_invert = invert = unary(
    ops.bitwise_not, "invert", "~x: every bit inverted; not x for booleans.")

exp = unary(ops.exp, "exp", "e to the power x.", to_float=True)
exp2 = unary(ops.exp2, "exp2", "2 to the power x.", to_float=True)
expm1 = unary(ops.expm1, "expm1", "exp(x) - 1, accurate near 0.", to_float=True)
log = unary(ops.log, "log", "Natural logarithm.", to_float=True)
log1p = unary(ops.log1p, "log1p", "log(1 + x), accurate near 0.", to_float=True)
sqrt = unary(ops.sqrt, "sqrt", "Square root.", to_float=True)
cbrt = unary(ops.cbrt, "cbrt", "Cube root.", to_float=True)
sin = unary(ops.sin, "sin", "Sine of x in radians.", to_float=True)
cos = unary(ops.cos, "cos", "Cosine of x in radians.", to_float=True)
tan = unary(ops.tan, "tan", "Tangent of x in radians.", to_float=True)
arcsin = asin = unary(ops.asin, "arcsin", "Inverse sine, in radians.", to_float=True)
arccos = acos = unary(ops.acos, "arccos", "Inverse cosine, in radians.", to_float=True)
arctan = atan = unary(ops.atan, "arctan", "Inverse tangent, in radians.", to_float=True)
sinh = unary(ops.sinh, "sinh", "Hyperbolic sine.", to_float=True)
cosh = unary(ops.cosh, "cosh", "Hyperbolic cosine.", to_float=True)
tanh = unary(ops.tanh, "tanh", "Hyperbolic tangent.", to_float=True)
arcsinh = asinh = unary(ops.asinh, "arcsinh", "Inverse hyperbolic sine.", to_float=True)
arccosh = acosh = unary(ops.acosh, "arccosh", "Inverse hyperbolic cosine.", to_float=True)
arctanh = atanh = unary(ops.atanh, "arctanh", "Inverse hyperbolic tangent.", to_float=True)
square = unary(ops.square, "square", "x * x.")
negative = unary(ops.neg, "negative", "-x.")
sign = unary(ops.sign, "sign", "-1, 0 or 1; x / |x| for complex x.")
abs = absolute = unary(ops.abs, "absolute", "Absolute value; its derivative at 0 is 0.", as_is="b")
floor = unary(ops.floor, "floor", "The largest whole number <= x.", as_is="bi")
ceil = unary(ops.ceil, "ceil", "The smallest whole number >= x.", as_is="bi")
trunc = unary(ops.trunc, "trunc", "x without its fraction.", as_is="bi")
rint = unary(ops.round, "rint", "The nearest whole number, half to even.", to_float=True)
isfinite = unary(ops.is_finite, "isfinite", "Whether neither inf nor NaN.", keep_weak=False)
isnan = unary(ops.is_nan, "isnan", "Whether NaN.", keep_weak=False)
signbit = unary(ops.signbit, "signbit", "Whether the sign bit is set; True for -0.0.",
                to_float=True, keep_weak=False)
conjugate = conj = unary(ops.conj, "conjugate", "Complex conjugate.", as_is="bif")
positive = unary(ops.copy, "positive", "+x.", as_is="bifc")


def logical_not(x: Any, /) -> Any:
    """not x, elementwise."""
    return wrap(ops.bitwise_not(_truth(unwrap(x))))


def real(x: Any, /) -> Any:
    """Real part."""
    raw = _array(x)
    return wrap(ops.real(raw) if kind_of(raw.dtype) == 3 else raw, weak_of(x))


def imag(x: Any, /) -> Any:
    """Imaginary part; zeros for real x."""
    raw = _array(x)
    return wrap(ops.imag(raw) if kind_of(raw.dtype) == 3 else
                beside(ops.zeros(shape_of(raw), dtype_of(raw)), raw), weak_of(x))


def _array(x: Any) -> Any:
    raw = unwrap(x)
    return np.asarray(raw, default_dtype_of(type(raw))) if type(raw) in SCALARS else raw


def power(x: Any, y: Any, /) -> Any:
    """x to the power y. A Python integer y is exact and works for negative x.

    The derivative in y is 0 where x == 0 and y >= 0.
    """
    if type(y) is int and not isinstance(x, (bool, int, float, complex)):
        raw = _array(x)
        if raw.dtype == bool_:
            raw = ops.convert(raw, dtype=default_dtype_of(int))
        if y < 0 and not is_inexact(raw.dtype):
            raise ValueError(f"an integer array to the negative power {y} is not an integer; "
                             "convert it first: x.astype('float32')")
        return wrap(ops.square(raw) if y == 2 else ops.integer_pow(raw, n=y), weak_of(x))
    raws, weak = lift(x, y)
    if raws[0].dtype == bool_:
        raws = [ops.convert(r, dtype=default_dtype_of(int)) for r in raws]
    return wrap(ops.pow(*raws), weak)


pow = power


def floor_divide(x: Any, y: Any, /) -> Any:
    """The largest whole number <= x / y."""
    (a, b), weak = lift(x, y)
    if a.dtype == bool_:
        a, b = (ops.convert(r, dtype=np.dtype("int8")) for r in (a, b))
    kind = kind_of(dtype_of(a))
    if kind == 3:
        raise TypeError("floor_divide is not defined for complex numbers")
    if kind == 1:
        q = ops.div(a, b)
        if dtype_of(a).kind == "u":
            return wrap(q, weak)
        r = ops.rem(a, b)
        wrong = ops.bitwise_and(ops.ne(r, 0), ops.ne(ops.sign(r), ops.sign(b)))
        return wrap(ops.select(wrong, ops.sub(q, 1), q), weak)
    # As in Python: take the remainder out first, so that rounding cannot reach the next number.
    mod = _floor_mod(a, b)
    return wrap(ops.round(ops.div(ops.sub(a, mod), b)), weak)


def _floor_mod(a: Any, b: Any) -> Any:
    zero = ops.zero_like(a)
    r = ops.rem(a, b)
    wrong = ops.bitwise_and(ops.ne(r, zero), ops.ne(ops.lt(r, zero), ops.lt(b, zero)))
    return ops.select(wrong, ops.add(r, b), r)


def remainder(x: Any, y: Any, /) -> Any:
    """x - y * floor(x / y): has the sign of y, as Python's %."""
    (a, b), weak = lift(x, y)
    if a.dtype == bool_:
        a, b = (ops.convert(r, dtype=np.dtype("int8")) for r in (a, b))
    return wrap(_floor_mod(a, b), weak)


mod = remainder


def fmod(x: Any, y: Any, /) -> Any:
    """x - y * trunc(x / y): has the sign of x, as C's fmod."""
    raws, weak = lift(x, y)
    return wrap(ops.rem(*raws), weak)


def divmod(x: Any, y: Any, /) -> tuple[Any, Any]:
    """(x // y, x % y)."""
    return floor_divide(x, y), remainder(x, y)


def right_shift(x: Any, y: Any, /) -> Any:
    """x >> y; signed integers keep their sign."""
    (a, b), weak = lift(x, y)
    shift = ops.shift_right_logical if a.dtype.kind == "u" else ops.shift_right_arithmetic
    return wrap(shift(a, b), weak)


bitwise_right_shift = right_shift


def log2(x: Any, /) -> Any:
    """Logarithm to base 2."""
    return multiply(log(x), 1.0 / math.log(2.0))


def log10(x: Any, /) -> Any:
    """Logarithm to base 10."""
    return multiply(log(x), 1.0 / math.log(10.0))


def isinf(x: Any, /) -> Any:
    """Whether inf or -inf."""
    raw = _array(x)
    if not is_inexact(raw.dtype):
        return wrap(beside(ops.full(shape=shape_of(raw), dtype=bool_, value=False), raw))
    if kind_of(raw.dtype) == 3:
        return logical_or(isinf(real(x)), isinf(imag(x)))
    return wrap(ops.eq(ops.abs(raw), math.inf))


def where(condition: Any, x: Any, y: Any, /) -> Any:
    """x where condition, else y."""
    raws, weak = promote(x, y)
    if type(raws[0]) in SCALARS and type(raws[1]) in SCALARS:
        raws = [np.asarray(r, default_dtype_of(type(r))) for r in raws]
    return wrap(ops.select(_truth(unwrap(condition)), *raws), weak)


def clip(x: Any, /, min: Any = None, max: Any = None, *, a_min: Any = None,
         a_max: Any = None) -> Any:
    """x limited to [min, max]; either may be None. The derivative is 1 on the closed interval."""
    lo, hi = (min if min is not None else a_min), (max if max is not None else a_max)
    if lo is None and hi is None:
        return wrap(_array(x), weak_of(x))
    if lo is None:
        raws, weak = promote(x, hi)
        return wrap(ops.clamp(_lowest(raws[0]), raws[0], raws[1]), weak)
    if hi is None:
        raws, weak = promote(x, lo)
        return wrap(ops.clamp(raws[1], raws[0], _highest(raws[0])), weak)
    raws, weak = lift(lo, x, hi)
    return wrap(ops.clamp(*raws), weak)


def _lowest(raw: Any) -> Any:
    dtype = dtype_of(raw)
    return False if dtype == bool_ else -math.inf if is_inexact(dtype) else int(np.iinfo(dtype).min)


def _highest(raw: Any) -> Any:
    dtype = dtype_of(raw)
    return True if dtype == bool_ else math.inf if is_inexact(dtype) else int(np.iinfo(dtype).max)


__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "cbrt", "ceil", "clip", "conj", "conjugate", "cos", "cosh", "divide",
    "divmod", "equal", "exp", "exp2", "expm1", "floor", "floor_divide", "fmod", "greater",
    "greater_equal", "imag", "invert", "isfinite", "isinf", "isnan", "left_shift", "less",
    "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "maximum", "minimum", "mod", "multiply", "negative", "nextafter",
    "not_equal", "positive", "pow", "power", "real", "remainder", "right_shift", "rint", "sign",
    "signbit", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh", "true_divide",
    "trunc", "where",
]
