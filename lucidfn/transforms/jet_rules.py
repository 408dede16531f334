"""Power series of common primitives: x_k below is the coefficient of t^k.

Sources: Griewank and Walther, "Evaluating Derivatives" (2008), table 13.2. What is not here has a
jet by its derivative rule (`jet.by_derivative`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.core.primitive import Primitive
from lucidfn.ops.families import Bilinear, Linear
from lucidfn.transforms.jet import FAMILIES, RULES, Terms, by_derivative, widened
from lucidfn.types import kind_of

add, sub, mul, div = ops.add, ops.sub, ops.mul, ops.div


def total(terms: Sequence[Any]) -> Any:
    out = terms[0]
    for t in terms[1:]:
        out = add(out, t)
    return out


def linear(primitive: Primitive, degree: int, primals: Sequence[Any],
           terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    """Term by term: the operation is linear in what moves, piecewise or all over."""
    out = primitive(*primals, **params)
    found = [primitive.jvp([None if t is None else t[k] for t in terms], out, *primals, **params)
             for k in range(degree)]
    if primitive.many:
        return out, [None if column[0] is None else widened(list(column), o)
                     for o, column in zip(out, zip(*found, strict=True), strict=True)]
    return out, None if not found or found[0] is None else widened(found, out)


def product(primitive: Primitive, degree: int, primals: Sequence[Any],
            terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    """z_k = sum over i of x_i y_(k-i)."""
    x, y = primals
    tx, ty = terms
    out = primitive(x, y, **params)
    if ty is None or tx is None:
        found = [primitive(t, y, **params) for t in tx] if tx is not None else [
            primitive(x, t, **params) for t in ty or ()]
    else:
        xs, ys = [x, *tx], [y, *ty]
        found = [total([primitive(xs[i], ys[k - i], **params) for i in range(k + 1)])
                 for k in range(1, degree + 1)]
    return out, widened(found, out)


def quotient(primitive: Primitive, degree: int, primals: Sequence[Any],
             terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    """z_k = (x_k - sum over i > 0 of y_i z_(k-i)) / y_0."""
    x, y = primals
    tx, ty = terms
    out = div(x, y)
    if ty is None:
        return out, widened([div(t, y) for t in tx or ()], out)
    z = [out]
    for k in range(1, degree + 1):
        rest = total([mul(ty[i - 1], z[k - i]) for i in range(1, k + 1)])
        z.append(div(ops.neg(rest) if tx is None else sub(tx[k - 1], rest), y))
    return out, widened(z[1:], out)


def integrated(x: Terms, slope: Sequence[Any], k: int) -> Any:
    """z_k where z' = slope * x', that is sum over i of i x_i slope_(k-i), over k."""
    return mul(total([mul(mul(x[i - 1], float(i)), slope[k - i]) for i in range(1, k + 1)]),
               1.0 / k)


def of_one(step: Callable[[Any, Any, Terms, int], tuple[Any, Terms]]) -> Any:
    """A rule for a function of one operand: step(primitive, x_0, x_1.., K) -> z_0, z_1.."""
    def rule(primitive: Primitive, degree: int, primals: Sequence[Any],
             terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
        return step(primitive, primals[0], terms[0] or [], degree)
    return rule


def _exp(primitive: Primitive, x: Any, terms: Terms, degree: int) -> tuple[Any, Terms]:
    out = primitive(x)
    z = [add(out, 1.0) if primitive is ops.expm1 else out]  # exp(x)
    for k in range(1, degree + 1):
        z.append(integrated(terms, z, k))
    return out, z[1:]


def _log(primitive: Primitive, x: Any, terms: Terms, degree: int) -> tuple[Any, Terms]:
    # x z' = x': z_k = (x_k - sum over 0 < i < k of i z_i x_(k-i) / k) / x_0
    z = [primitive(x)]
    below = add(x, 1.0) if primitive is ops.log1p else x
    for k in range(1, degree + 1):
        rest = [mul(mul(z[i], i / k), terms[k - i - 1]) for i in range(1, k)]
        z.append(div(sub(terms[k - 1], total(rest)) if rest else terms[k - 1], below))
    return z[0], z[1:]


def _pair(first: Primitive, second: Primitive, sign: float) -> Any:
    """Two functions of which first' = second and second' = sign * first."""
    def step(primitive: Primitive, x: Any, terms: Terms, degree: int) -> tuple[Any, Terms]:
        a, b = [first(x)], [second(x)]
        for k in range(1, degree + 1):
            next_a = integrated(terms, b, k)
            slope = integrated(terms, a, k)
            a.append(next_a)
            b.append(slope if sign > 0 else ops.neg(slope))
        z = a if primitive is first else b
        return z[0], z[1:]
    return of_one(step)


def _by_slope(slope: Callable[[Any], Any], square: float, line: float) -> Any:
    """z' = s x' with s = slope(z): a quadratic with these factors of z^2 and z."""
    def step(primitive: Primitive, x: Any, terms: Terms, degree: int) -> tuple[Any, Terms]:
        z = [primitive(x)]
        s = [slope(z[0])]
        for k in range(1, degree + 1):
            z.append(integrated(terms, s, k))
            squared = total([mul(z[i], z[k - i]) for i in range(k + 1)])
            s.append(mul(squared, square) if not line else
                     add(mul(squared, square), mul(z[k], line)))
        return z[0], z[1:]
    return of_one(step)


def _sqrt(primitive: Primitive, x: Any, terms: Terms, degree: int) -> tuple[Any, Terms]:
    # z z = x: z_k = (x_k - sum over 0 < i < k of z_i z_(k-i)) / (2 z_0)
    z = [primitive(x)]
    below = mul(z[0], 2.0)
    for k in range(1, degree + 1):
        rest = [mul(z[i], z[k - i]) for i in range(1, k)]
        z.append(div(sub(terms[k - 1], total(rest)) if rest else terms[k - 1], below))
    return z[0], z[1:]


def _square(primitive: Primitive, degree: int, primals: Sequence[Any],
            terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    x = primals[0]
    return primitive(x), product(mul, degree, (x, x), (terms[0], terms[0]), {})[1]


def _abs(primitive: Primitive, degree: int, primals: Sequence[Any],
         terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    rule = by_derivative if kind_of(primals[0].dtype) == 3 else linear
    return rule(primitive, degree, primals, terms, params)


LINEAR = (ops.add, ops.sub, ops.neg, ops.real, ops.imag, ops.complex_, ops.conj, ops.copy,
          ops.select, ops.convert, ops.checkpoint_name, ops.stop_gradient, ops.concatenate,
          ops.pad, ops.dynamic_slice, ops.dynamic_update_slice, ops.scatter_add, ops.scatter_set,
          # piecewise linear
          ops.max, ops.min, ops.relu, ops.clamp, ops.rem, ops.reduce_max, ops.reduce_min,
          ops.cummax, ops.cummin, ops.floor, ops.ceil, ops.round, ops.trunc)

RULES.update(dict.fromkeys(LINEAR, linear))
RULES.update({
    mul: product, div: quotient, ops.square: _square, ops.abs: _abs,
    ops.exp: of_one(_exp), ops.expm1: of_one(_exp), ops.log: of_one(_log),
    ops.log1p: of_one(_log), ops.sqrt: of_one(_sqrt),
    ops.sin: _pair(ops.sin, ops.cos, -1.0), ops.cos: _pair(ops.sin, ops.cos, -1.0),
    ops.sinh: _pair(ops.sinh, ops.cosh, 1.0), ops.cosh: _pair(ops.sinh, ops.cosh, 1.0),
    ops.tanh: _by_slope(lambda z: sub(1.0, mul(z, z)), -1.0, 0.0),
    ops.tan: _by_slope(lambda z: add(mul(z, z), 1.0), 1.0, 0.0),
    ops.logistic: _by_slope(lambda z: mul(z, sub(1.0, z)), -1.0, 1.0),
})
FAMILIES += [(Bilinear, product), (Linear, linear)]
