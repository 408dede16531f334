"""Elementwise primitives. The list after each name holds its derivatives, one for each operand.

Singular points keep their IEEE derivatives (`sqrt`, `log`, `pow`: inf where they are); `abs` has
derivative 0 at 0, and where `max` and `min` tie the operands share the derivative equally.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.trace import dtype_of
from lucidfn.ops.families import Elementwise
from lucidfn.types import (
    SCALARS,
    bool_,
    complex_dtype,
    float32,
    float64,
    is_inexact,
    kind_of,
    real_dtype,
)

ZERO = {0: False, 1: 0, 2: 0.0, 3: 0j}  # by kind_of(dtype)
ONE = {0: True, 1: 1, 2: 1.0, 3: 1 + 0j}

# ------------------------------------------------------------------ linear


class Add(Elementwise):
    """x + y"""

    def transpose(self, ct: Any, x: Any, y: Any) -> list[Any]:
        return [ct if unknown(x) else None, ct if unknown(y) else None]


class Sub(Elementwise):
    """x - y"""

    def transpose(self, ct: Any, x: Any, y: Any) -> list[Any]:
        return [ct if unknown(x) else None, neg(ct) if unknown(y) else None]


class Neg(Elementwise):
    """-x"""

    def transpose(self, ct: Any, x: Any) -> list[Any]:
        return [neg(ct)]


class Mul(Elementwise):
    """x * y"""

    def transpose(self, ct: Any, x: Any, y: Any) -> list[Any]:
        return [mul(ct, y), None] if unknown(x) else [None, mul(ct, x)]


class Div(Elementwise):
    """x / y, true division of floats; integers divide towards zero"""

    def transpose(self, ct: Any, x: Any, y: Any) -> list[Any]:
        return [div(ct, y), None]


class Select(Elementwise):
    """pred ? x : y"""

    def infer(self, pred: Any, x: Any, y: Any) -> Any:
        if pred.dtype != bool_:
            raise TypeError(f"the first operand must be bool, got {pred}")
        shape = super().infer(pred, pred._replace(shape=x.shape),
                              pred._replace(shape=y.shape)).shape
        return super().infer(x, y)._replace(shape=shape)

    def transpose(self, ct: Any, pred: Any, x: Any, y: Any) -> list[Any]:
        zero = zero_like(ct)
        return [None, select(pred, ct, zero) if unknown(x) else None,
                select(pred, zero, ct) if unknown(y) else None]


class Real(Elementwise):
    """Real part"""

    def transpose(self, ct: Any, x: Any) -> list[Any]:
        return [complex_(ct, mul(ct, 0.0))]


class Imag(Elementwise):
    """Imaginary part"""

    def transpose(self, ct: Any, x: Any) -> list[Any]:
        return [complex_(mul(ct, 0.0), neg(ct))]


class Complex(Elementwise):
    """x + i y"""

    def infer(self, x: Any, y: Any) -> Any:
        out = super().infer(x, y)
        if not all(t.dtype in (float32, float64) for t in (x, y)):
            raise TypeError(f"got {x} and {y}; complex numbers have float32 or float64 parts")
        return out

    def transpose(self, ct: Any, x: Any, y: Any) -> list[Any]:
        return [real(ct) if unknown(x) else None, neg(imag(ct)) if unknown(y) else None]


class Conj(Elementwise):
    """Complex conjugate"""

    def transpose(self, ct: Any, x: Any) -> list[Any]:
        return [conj(ct)]


class Copy(Elementwise):
    """x"""

    def transpose(self, ct: Any, x: Any) -> list[Any]:
        return [ct]


def zero_like(x: Any) -> Any:
    """A scalar zero that leaves x's dtype as it is."""
    return ZERO[kind_of(dtype_of(x))]


def is_complex(x: Any) -> bool:
    return kind_of(dtype_of(x)) == 3


add = Add("add", [lambda t, z, x, y: t, lambda t, z, x, y: t], accepts="bifc")
sub = Sub("sub", [lambda t, z, x, y: t, lambda t, z, x, y: neg(t)], accepts="ifc")
neg = Neg("neg", [lambda t, z, x: neg(t)], accepts="ifc")
mul = Mul("mul", [lambda t, z, x, y: mul(t, y), lambda t, z, x, y: mul(t, x)])
div = Div("div", [lambda t, z, x, y: div(t, y), lambda t, z, x, y: neg(mul(t, div(z, y)))],
          accepts="ifc")
# x y + z, rounded once.
fma = Elementwise("fma", [lambda t, o, x, y, z: mul(t, y), lambda t, o, x, y, z: mul(t, x),
                          lambda t, o, x, y, z: t], accepts="f", cost=2)
select = Select("select", [None,
                           lambda t, z, p, x, y: select(p, t, zero_like(t)),
                           lambda t, z, p, x, y: select(p, zero_like(t), t)], accepts="bifck")
real = Real("real", [lambda t, z, x: real(t)], accepts="c", out=real_dtype)
imag = Imag("imag", [lambda t, z, x: imag(t)], accepts="c", out=real_dtype)
complex_ = Complex("complex", [lambda t, z, x, y: complex_(t, mul(t, 0.0)),
                               lambda t, z, x, y: complex_(mul(t, 0.0), t)],
                   accepts="f", out=complex_dtype)
conj = Conj("conj", [lambda t, z, x: conj(t)], accepts="c")
copy = Copy("copy", [lambda t, z, x: t], accepts="bifck")
stop_gradient = Elementwise("stop_gradient", [None], accepts="bifck")

# ------------------------------------------------------------------ powers, logarithms


def _d_sqrt(t: Any, z: Any, x: Any) -> Any:
    return div(t, mul(z, 2.0))


def _d_pow_x(t: Any, z: Any, x: Any, y: Any) -> Any:
    # y * x**(y-1); where y == 0 the function is constant, also at x == 0.
    if type(y) in SCALARS:
        return mul(t, mul(pow(x, y - 1), y)) if y != 0 else None
    power = pow(x, select(eq(y, zero_like(y)), _one_like(y), sub(y, _one_like(y))))
    return mul(t, mul(y, power))


def _d_pow_y(t: Any, z: Any, x: Any, y: Any) -> Any:
    # log(x) * x**y, and 0 at x == 0, y >= 0, where x**y is constant or jumps.
    if type(x) in SCALARS:
        if x == 0:
            if is_complex(y):
                return None
            return select(lt(y, 0.0), mul(t, -math.inf), mul(t, 0.0))
        return mul(t, mul(z, cmath.log(x) if is_complex(y) else math.log(x) if x > 0 else math.nan))
    safe = select(eq(x, zero_like(x)), _one_like(x), x)
    slope = mul(log(safe), z)
    if not is_complex(x):
        at_zero = bitwise_and(eq(x, 0.0), lt(y, 0.0))
        slope = select(at_zero, -math.inf, slope)
    return mul(t, slope)


def _one_like(x: Any) -> Any:
    return ONE[kind_of(dtype_of(x))]


class IntegerPow(Elementwise):
    """x**n for a Python integer n"""

    def infer(self, x: Any, *, n: int) -> Any:  # type: ignore[override]
        return super().infer(x)

    def jvp(self, tangents: Any, out: Any, x: Any, *, n: int) -> Any:  # type: ignore[override]
        if n == 0:
            return None
        slope = mul(integer_pow(x, n=n - 1), complex(n) if is_complex(x) else float(n))
        return mul(tangents[0], slope if n != 1 else 1.0)

    def batch(self, size: int, batched: Any, x: Any, *, n: int) -> Any:  # type: ignore[override]
        return self(x, n=n)


exp = Elementwise("exp", [lambda t, y, x: mul(t, y)], accepts="fc", cost=10)
exp2 = Elementwise("exp2", [lambda t, y, x: mul(t, mul(y, math.log(2.0)))], accepts="fc", cost=10)
expm1 = Elementwise("expm1", [lambda t, y, x: mul(t, add(y, 1.0))], accepts="fc", cost=10)
log = Elementwise("log", [lambda t, y, x: div(t, x)], accepts="fc", cost=10)
log1p = Elementwise("log1p", [lambda t, y, x: div(t, add(x, 1.0))], accepts="fc", cost=10)
sqrt = Elementwise("sqrt", [_d_sqrt], accepts="fc", cost=2)
rsqrt = Elementwise("rsqrt", [lambda t, y, x: mul(t, mul(div(y, x), -0.5))], accepts="fc", cost=3)
cbrt = Elementwise("cbrt", [lambda t, y, x: div(t, mul(mul(y, y), 3.0))], accepts="f", cost=10)
# x itself is kept for the derivative, not 2 x.
square = Elementwise("square", [lambda t, y, x: mul(mul(t, x), 2.0)], accepts="ifc")
integer_pow = IntegerPow("integer_pow", [None], accepts="ifc", cost=3)
pow = Elementwise("pow", [_d_pow_x, _d_pow_y], accepts="ifc", cost=20)
logistic = Elementwise("logistic", [lambda t, y, x: mul(t, mul(y, logistic(neg(x))))],
                       accepts="fc", cost=12)

# ------------------------------------------------------------------ trigonometric, hyperbolic

sin = Elementwise("sin", [lambda t, y, x: mul(t, cos(x))], accepts="fc", cost=10)
cos = Elementwise("cos", [lambda t, y, x: neg(mul(t, sin(x)))], accepts="fc", cost=10)
tan = Elementwise("tan", [lambda t, y, x: mul(t, add(mul(y, y), 1.0))], accepts="fc", cost=12)
asin = Elementwise("asin", [lambda t, y, x: mul(t, rsqrt(_one_minus_square(x)))],
                   accepts="fc", cost=12)
acos = Elementwise("acos", [lambda t, y, x: neg(mul(t, rsqrt(_one_minus_square(x))))],
                   accepts="fc", cost=12)
atan = Elementwise("atan", [lambda t, y, x: div(t, add(mul(x, x), 1.0))], accepts="fc", cost=12)
atan2 = Elementwise("atan2", [
    lambda t, z, x, y: mul(t, div(y, add(square(x), square(y)))),
    lambda t, z, x, y: neg(mul(t, div(x, add(square(x), square(y)))))], accepts="f", cost=14)
sinh = Elementwise("sinh", [lambda t, y, x: mul(t, cosh(x))], accepts="fc", cost=12)
cosh = Elementwise("cosh", [lambda t, y, x: mul(t, sinh(x))], accepts="fc", cost=12)
tanh = Elementwise("tanh", [lambda t, y, x: mul(t, sub(1.0, mul(y, y)))], accepts="fc", cost=10)
asinh = Elementwise("asinh", [lambda t, y, x: mul(t, rsqrt(add(mul(x, x), 1.0)))],
                    accepts="fc", cost=14)
acosh = Elementwise("acosh", [
    lambda t, y, x: mul(t, mul(rsqrt(sub(x, 1.0)), rsqrt(add(x, 1.0))))], accepts="fc", cost=14)
atanh = Elementwise("atanh", [lambda t, y, x: div(t, _one_minus_square(x))], accepts="fc", cost=14)


def _one_minus_square(x: Any) -> Any:
    """(1 - x)(1 + x): no cancellation near 1."""
    return mul(sub(1.0, x), add(x, 1.0))


# ------------------------------------------------------------------ order, rounding, sign


def _share(take: Any, tie: Any, t: Any) -> Any:
    """t where taken, half of it at ties, else 0; by selection, so that inf and NaN stay out."""
    zero = zero_like(t)
    return select(take, t, select(tie, mul(t, 0.5), zero))


class Clamp(Elementwise):
    """min(max(x, lo), hi); the derivative in x is 1 on the closed interval"""

    def transpose(self, ct: Any, *args: Any) -> list[Any]:
        raise self.missing("transpose", "is not linear")


def _outside(t: Any, outside: Any) -> Any:
    return select(outside, t, zero_like(t))


max = Elementwise("max", [lambda t, z, x, y: _share(gt(x, y), eq(x, y), t),
                          lambda t, z, x, y: _share(lt(x, y), eq(x, y), t)])
min = Elementwise("min", [lambda t, z, x, y: _share(lt(x, y), eq(x, y), t),
                          lambda t, z, x, y: _share(gt(x, y), eq(x, y), t)])
relu = Elementwise("relu", [lambda t, y, x: select(gt(x, 0.0), t, 0.0)], accepts="f")
clamp = Clamp("clamp", [
    lambda t, z, lo, x, hi: _outside(t, bitwise_and(lt(x, lo), lt(lo, hi))),
    lambda t, z, lo, x, hi: select(bitwise_and(ge(x, lo), le(x, hi)), t, zero_like(t)),
    lambda t, z, lo, x, hi: _outside(t, bitwise_or(gt(x, hi), ge(lo, hi)))], accepts="bif")
abs = Elementwise("abs", [lambda t, y, x: _d_abs(t, y, x)], accepts="ifc", out=real_dtype)
sign = Elementwise("sign", [lambda t, y, x: _d_sign(t, y, x)], accepts="ifc")
floor = Elementwise("floor", [None], accepts="f")
ceil = Elementwise("ceil", [None], accepts="f")
round = Elementwise("round", [None], accepts="f")  # half to even
trunc = Elementwise("trunc", [None], accepts="f")
rem = Elementwise("rem", [lambda t, z, x, y: t,
                          lambda t, z, x, y: neg(mul(t, trunc(div(x, y))))], accepts="if", cost=4)
nextafter = Elementwise("nextafter", [None, None], accepts="f")


def _d_abs(t: Any, y: Any, x: Any) -> Any:
    if not is_complex(x):
        return mul(t, sign(x))
    # Re(conj(x) t) / |x|, and 0 at 0.
    at_zero = eq(y, 0.0)
    inner = real(mul(t, conj(x)))
    return select(at_zero, 0.0, div(inner, select(at_zero, 1.0, y)))


def _d_sign(t: Any, y: Any, x: Any) -> Any:
    """Of x / |x|: what t has at a right angle to x, over |x|; 0 for real x, and at 0."""
    if not is_complex(x):
        return None
    size = abs(x)
    at_zero = eq(size, 0.0)
    along = real(mul(t, conj(y)))
    turn = sub(t, mul(y, complex_(along, mul(along, 0.0))))
    safe = select(at_zero, 1.0, size)
    return select(at_zero, 0j, div(turn, complex_(safe, mul(safe, 0.0))))


def _to_bool(dtype: Any) -> Any:
    return bool_


def _compare(name: str, accepts: str = "bifc") -> Elementwise:
    return Elementwise(name, [None, None], accepts=accepts, out=_to_bool)


eq, ne = _compare("eq", "bifck"), _compare("ne", "bifck")
lt, le, gt, ge = (_compare(n) for n in ("lt", "le", "gt", "ge"))
is_finite = Elementwise("is_finite", [None], accepts="bifc", out=_to_bool)
is_nan = Elementwise("is_nan", [None], accepts="bifc", out=_to_bool)
signbit = Elementwise("signbit", [None], accepts="f", out=_to_bool)

# ------------------------------------------------------------------ bits

bitwise_and, bitwise_or, bitwise_xor = (
    Elementwise(n, [None, None], accepts="bi")
    for n in ("bitwise_and", "bitwise_or", "bitwise_xor"))
bitwise_not = Elementwise("bitwise_not", [None], accepts="bi")
shift_left = Elementwise("shift_left", [None, None], accepts="i")
shift_right_logical = Elementwise("shift_right_logical", [None, None], accepts="i")
shift_right_arithmetic = Elementwise("shift_right_arithmetic", [None, None], accepts="i")
population_count = Elementwise("population_count", [None], accepts="i")
clz = Elementwise("clz", [None], accepts="i")

# ------------------------------------------------------------------ conversion


class Convert(Elementwise):
    """x in another dtype; complex to real drops the imaginary part"""

    def infer(self, x: Any, *, dtype: Any) -> Any:  # type: ignore[override]
        super().infer(x)
        return x._replace(dtype=dtype, weak=False)

    def jvp(self, tangents: Any, out: Any, x: Any, *, dtype: Any) -> Any:  # type: ignore[override]
        return convert(tangents[0], dtype=dtype) if is_inexact(dtype) else None

    def transpose(self, ct: Any, x: Any, *, dtype: Any) -> list[Any]:  # type: ignore[override]
        return [convert(ct, dtype=x.type.dtype)]

    def batch(self, size: int, batched: Any, x: Any, *, dtype: Any) -> Any:  # type: ignore[override]
        return self(x, dtype=dtype)

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class Bitcast(Convert):
    """The same bits read as another dtype of the same width"""

    def infer(self, x: Any, *, dtype: Any) -> Any:  # type: ignore[override]
        if x.dtype.itemsize != dtype.itemsize:
            raise TypeError(f"got {x} and {dtype.name}; the widths must be equal")
        return x._replace(dtype=dtype, weak=False)

    def jvp(self, tangents: Any, out: Any, x: Any, *, dtype: Any) -> Any:
        return None

    def transpose(self, ct: Any, x: Any, *, dtype: Any) -> list[Any]:
        raise self.missing("transpose", "is not linear")

    def batch(self, size: int, batched: Any, x: Any, *, dtype: Any) -> Any:
        return self(x, dtype=dtype)


convert = Convert("convert", [None], accepts="bifc")
bitcast = Bitcast("bitcast", [None], accepts="bifc")
