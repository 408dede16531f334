"""Special functions, with SciPy's names: elementwise, in the dtype of their arguments.

Integers become floats. Every function is differentiable where the mathematics is, except in the
orders and parameters that its docstring names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, wrap
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.reductions import normal_axes
from lucidfn.types import bool_, kind_of

Axis = int | Sequence[int] | None


def _apply(primitive: Primitive, *xs: Any) -> Any:
    raws, weak = lift(*xs, to_float=True)
    return wrap(primitive(*raws), weak)


# ------------------------------------------------------------------ error function, normal

def erf(x: Any) -> Any:
    """Error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x (DLMF 7.2.1).

    >>> from lucidfn.scipy.special import erf
    >>> float(erf(0.0))
    0.0
    """
    return _apply(ops.erf, x)


def erfc(x: Any) -> Any:
    """1 - erf(x), accurate where it is small."""
    return _apply(ops.erfc, x)


def erfinv(x: Any) -> Any:
    """The inverse of erf; infinite at -1 and 1, NaN outside."""
    return _apply(ops.erf_inv, x)


def ndtr(x: Any) -> Any:
    """Distribution function of the standard normal distribution, accurate in the lower tail."""
    (x,), weak = lift(x, to_float=True)
    return wrap(_ndtr(x), weak)


def _ndtr(x: Any) -> Any:
    return ops.mul(ops.erfc(ops.mul(x, -math.sqrt(0.5))), 0.5)


def ndtri(p: Any) -> Any:
    """Quantile function of the standard normal distribution: the inverse of ndtr."""
    return _apply(ops.ndtri, p)


def log_ndtr(x: Any, series_order: int = 10) -> Any:
    """Logarithm of ndtr, also where that underflows: there by its asymptotic series (DLMF 7.12.1).

    `series_order` is the number of terms.
    """
    (x,), weak = lift(x, to_float=True)
    start = -20.0 if dtype_of(x).itemsize == 8 else -10.0
    low, high = ops.lt(x, start), ops.gt(x, 0.0)
    upper = ops.log1p(ops.neg(_ndtr(ops.neg(ops.select(high, x, 1.0)))))
    middle = ops.log(_ndtr(ops.select(ops.bitwise_or(low, high), -1.0, x)))
    far = ops.select(low, x, start)
    inverse = ops.div(1.0, ops.square(far))
    # 1 - 1/x^2 + 3/x^4 - 15/x^6 + ..., by Horner's rule
    series = ops.add(ops.mul(inverse, 1.0 - 2.0 * series_order), 1.0)
    for k in range(series_order - 1, 0, -1):
        series = ops.add(ops.mul(ops.mul(series, inverse), 1.0 - 2.0 * k), 1.0)
    tail = ops.add(ops.sub(ops.mul(ops.square(far), -0.5), ops.log(ops.neg(far))), ops.log(series))
    tail = ops.sub(tail, 0.5 * math.log(2.0 * math.pi))
    return wrap(ops.select(low, tail, ops.select(high, upper, middle)), weak)


def expit(x: Any) -> Any:
    """Logistic function 1 / (1 + exp(-x))."""
    return _apply(ops.logistic, x)


def logit(x: Any) -> Any:
    """log(x / (1 - x)), the inverse of expit."""
    (x,), weak = lift(x, to_float=True)
    return wrap(ops.sub(ops.log(x), ops.log1p(ops.neg(x))), weak)


# ------------------------------------------------------------------ gamma, beta

def gammaln(x: Any) -> Any:
    """log |gamma(x)|."""
    return _apply(ops.lgamma, x)


loggamma = gammaln


def gammasgn(x: Any) -> Any:
    """Sign of gamma(x): NaN at the negative integers, -1 at -0.0."""
    (x,), weak = lift(x, to_float=True)
    return wrap(_gammasgn(x), weak)


def _gammasgn(x: Any) -> Any:
    whole = ops.floor(x)
    odd = ops.ne(ops.mul(ops.floor(ops.mul(whole, 0.5)), 2.0), whole)
    below = ops.select(ops.eq(whole, x), math.nan, ops.select(odd, _minus_one(x), 1.0))
    at_zero = ops.select(ops.signbit(x), _minus_one(x), 1.0)
    out = ops.select(ops.lt(x, 0.0), below, ops.select(ops.eq(x, 0.0), at_zero, 1.0))
    return ops.select(ops.is_nan(x), x, out)


def _minus_one(x: Any) -> Any:
    return ops.full(shape=(), dtype=dtype_of(x), value=-1.0)


def gamma(x: Any) -> Any:
    """Gamma function; NaN at the negative integers."""
    (x,), weak = lift(x, to_float=True)
    return wrap(ops.mul(ops.stop_gradient(_gammasgn(x)), ops.exp(ops.lgamma(x))), weak)


def factorial(n: Any, exact: bool = False) -> Any:
    """n! = gamma(n + 1); 0 for negative n. Only `exact=False` is there."""
    if exact:
        raise NotImplementedError("factorial(exact=True) needs integers without bound; use "
                                  "math.factorial")
    (n,), weak = lift(n, to_float=True)
    value = ops.exp(ops.lgamma(ops.add(n, 1.0)))
    return wrap(ops.select(ops.lt(n, 0.0), 0.0, value), weak)


def poch(z: Any, m: Any) -> Any:
    """Rising factorial gamma(z + m) / gamma(z)."""
    (z, m), weak = lift(z, m, to_float=True)
    # gamma(m) / B(z, m) does not cancel for large z.
    inside = ops.bitwise_and(ops.gt(z, 0.0), ops.gt(m, 0.0))
    safe_z, safe_m = ops.select(inside, z, 1.0), ops.select(inside, m, 1.0)
    ratio = ops.sub(ops.lgamma(safe_m), _betaln(safe_z, safe_m))
    top, z = ops.select(inside, 1.0, ops.add(z, m)), ops.select(inside, 1.0, z)
    sign = ops.stop_gradient(ops.mul(_gammasgn(top), _gammasgn(z)))
    plain = ops.mul(sign, ops.exp(ops.sub(ops.lgamma(top), ops.lgamma(z))))
    plain = ops.select(ops.bitwise_and(ops.eq(m, 0.0), ops.eq(ops.lgamma(z), math.inf)), 1.0, plain)
    return wrap(ops.select(inside, ops.exp(ratio), plain), weak)


def comb(N: Any, k: Any, *, repetition: bool = False) -> Any:
    """How many ways there are to take k of N things; with repetition, k of N + k - 1."""
    (n, k), weak = lift(N, k, to_float=True)
    if repetition:
        n = ops.sub(ops.add(n, k), 1.0)
    # 1 / ((n + 1) B(n - k + 1, k + 1)) stays accurate where the factorials overflow.
    possible = ops.bitwise_and(ops.ge(k, 0.0), ops.ge(n, k))
    safe_k, safe_n = ops.select(possible, k, 0.0), ops.select(possible, n, 1.0)
    rest = ops.add(ops.sub(safe_n, safe_k), 1.0)
    beta_log = _betaln(rest, ops.add(safe_k, 1.0))
    value = ops.div(ops.exp(ops.neg(beta_log)), ops.add(safe_n, 1.0))
    return wrap(ops.select(possible, value, 0.0), weak)


def digamma(x: Any) -> Any:
    """Derivative of gammaln."""
    return _apply(ops.digamma, x)


def polygamma(n: Any, x: Any) -> Any:
    """The derivative of order n of digamma; differentiable in x only."""
    return _apply(ops.polygamma, n, x)


def zeta(x: Any, q: Any = None) -> Any:
    """Riemann zeta function, or Hurwitz's of x and q; differentiable in q only."""
    return _apply(ops.zeta, x, 1.0 if q is None else q)


def betaln(a: Any, b: Any) -> Any:
    """log |B(a, b)| = gammaln(a) + gammaln(b) - gammaln(a + b)."""
    (a, b), weak = lift(a, b, to_float=True)
    return wrap(_betaln(a, b), weak)


def _betaln(a: Any, b: Any) -> Any:
    ordered = ops.le(a, b)
    small, large = ops.select(ordered, a, b), ops.select(ordered, b, a)
    plain = ops.add(ops.lgamma(small), ops.sub(ops.lgamma(large), ops.lgamma(ops.add(a, b))))
    poles = ops.bitwise_and(ops.eq(small, 0.0), ops.eq(large, 0.0))
    plain = ops.select(poles, math.inf, plain)
    # For one large argument the difference of its two gammaln cancels; by Stirling's series it
    # does not: (b - 1/2) log b - (a + b - 1/2) log(a + b) + a + correction(b) - correction(a + b).
    stirling = ops.bitwise_and(ops.gt(large, 10.0), ops.gt(small, 0.0))
    b, a = ops.select(stirling, large, 10.0), ops.select(stirling, small, 1.0)
    total = ops.add(a, b)
    powers = ops.add(ops.mul(ops.sub(b, 0.5), ops.log1p(ops.div(a, b))),
                     ops.mul(a, ops.sub(ops.log(total), 1.0)))
    corrections = ops.sub(_stirling(b), _stirling(total))
    return ops.select(stirling, ops.add(ops.sub(ops.lgamma(a), powers), corrections), plain)


_STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]


def _stirling(x: Any) -> Any:
    """gammaln(x) - (x - 1/2) log x + x - log(2 pi)/2 for x >= 10 (DLMF 5.11.1)."""
    inverse = ops.div(1.0, x)
    square = ops.square(inverse)
    series = ops.mul(square, _STIRLING[-1])
    for c in _STIRLING[-2:0:-1]:
        series = ops.mul(square, ops.add(series, c))
    return ops.mul(inverse, ops.add(series, _STIRLING[0]))


def beta(a: Any, b: Any) -> Any:
    """Beta function gamma(a) gamma(b) / gamma(a + b)."""
    (a, b), weak = lift(a, b, to_float=True)
    sign = ops.mul(ops.mul(_gammasgn(a), _gammasgn(b)), _gammasgn(ops.add(a, b)))
    return wrap(ops.mul(ops.stop_gradient(sign), ops.exp(_betaln(a, b))), weak)


def betainc(a: Any, b: Any, x: Any) -> Any:
    """Regularized incomplete beta function (DLMF 8.17.2); twice differentiable in x, once in a
    and b."""
    return _apply(ops.betainc, a, b, x)


def gammainc(a: Any, x: Any) -> Any:
    """Regularized lower incomplete gamma function (DLMF 8.2.4); twice differentiable in x, once
    in a."""
    return _apply(ops.igamma, a, x)


def gammaincc(a: Any, x: Any) -> Any:
    """Regularized upper incomplete gamma function, 1 - gammainc(a, x)."""
    return _apply(ops.igammac, a, x)


def multigammaln(a: Any, d: int) -> Any:
    """Logarithm of the multivariate gamma function of dimension d (DLMF 35.3.4)."""
    (a,), weak = lift(a, to_float=True)
    d = int(d)
    total: Any = 0.25 * d * (d - 1) * math.log(math.pi)
    for j in range(d):
        total = ops.add(ops.lgamma(ops.sub(a, 0.5 * j)), total)
    return wrap(total, weak)


# ------------------------------------------------------------------ entropies

def xlogy(x: Any, y: Any) -> Any:
    """x log y, and 0 where x is 0; there its derivative in y is 0 too.

    >>> from lucidfn.scipy.special import xlogy
    >>> float(xlogy(0.0, 0.0))
    0.0
    """
    return _apply(ops.xlogy, x, y)


def xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 where x is 0."""
    return _apply(ops.xlog1py, x, y)


def entr(x: Any) -> Any:
    """-x log x, 0 at 0, and -inf for negative x: entropy is the sum of it."""
    (x,), weak = lift(x, to_float=True)
    safe = ops.select(ops.lt(x, 0.0), 1.0, x)
    return wrap(ops.select(ops.lt(x, 0.0), -math.inf, ops.neg(ops.xlogy(safe, safe))), weak)


def rel_entr(p: Any, q: Any) -> Any:
    """p log(p / q), 0 at p = 0, inf where q = 0 < p or either is negative."""
    (p, q), weak = lift(p, q, to_float=True)
    return wrap(_rel_entr(p, q), weak)


def _rel_entr(p: Any, q: Any) -> Any:
    both = ops.bitwise_and(ops.gt(p, 0.0), ops.gt(q, 0.0))
    none = ops.bitwise_and(ops.eq(p, 0.0), ops.ge(q, 0.0))
    inner = ops.mul(ops.select(both, p, 1.0),
                    ops.sub(ops.log(ops.select(both, p, 1.0)), ops.log(ops.select(both, q, 1.0))))
    other = ops.select(none, 0.0, ops.full(shape=(), dtype=dtype_of(p), value=math.inf))
    known = ops.bitwise_not(ops.bitwise_or(ops.is_nan(p), ops.is_nan(q)))
    return ops.select(both, inner, ops.select(known, other, math.nan))


def kl_div(p: Any, q: Any) -> Any:
    """p log(p / q) - p + q, with the boundary values of rel_entr."""
    (p, q), weak = lift(p, q, to_float=True)
    return wrap(ops.add(ops.sub(_rel_entr(p, q), p), q), weak)


def boxcox(x: Any, lmbda: Any) -> Any:
    """(x^lmbda - 1) / lmbda, and log x where lmbda is 0."""
    (x, power), weak = lift(x, lmbda, to_float=True)
    return wrap(_boxcox(ops.log(x), power), weak)


def boxcox1p(x: Any, lmbda: Any) -> Any:
    """boxcox(1 + x, lmbda), accurate near 0."""
    (x, power), weak = lift(x, lmbda, to_float=True)
    return wrap(_boxcox(ops.log1p(x), power), weak)


def _boxcox(log_x: Any, power: Any) -> Any:
    none = ops.eq(power, 0.0)
    safe = ops.select(none, 1.0, power)
    return ops.select(none, log_x, ops.div(ops.expm1(ops.mul(safe, log_x)), safe))


# ------------------------------------------------------------------ Bessel, exponential integral

def i0e(x: Any) -> Any:
    """exp(-|x|) i0(x)."""
    return _apply(ops.bessel_i0e, x)


def i1e(x: Any) -> Any:
    """exp(-|x|) i1(x)."""
    return _apply(ops.bessel_i1e, x)


def i0(x: Any) -> Any:
    """Modified Bessel function of the first kind, of order 0 (DLMF 10.25.2)."""
    (x,), weak = lift(x, to_float=True)
    return wrap(ops.mul(ops.exp(ops.abs(x)), ops.bessel_i0e(x)), weak)


def i1(x: Any) -> Any:
    """Modified Bessel function of the first kind, of order 1."""
    (x,), weak = lift(x, to_float=True)
    return wrap(ops.mul(ops.exp(ops.abs(x)), ops.bessel_i1e(x)), weak)


def expi(x: Any) -> Any:
    """Exponential integral Ei(x) (DLMF 6.2.5)."""
    return _apply(ops.expi, x)


def exp1(x: Any) -> Any:
    """Exponential integral E1(x) = -Ei(-x) for x > 0; NaN for negative x."""
    (x,), weak = lift(x, to_float=True)
    value = ops.neg(ops.expi(ops.neg(x)))
    return wrap(ops.select(ops.lt(x, 0.0), math.nan, value), weak)


# ------------------------------------------------------------------ along axes

def logsumexp(a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False,
              return_sign: bool = False, where: Any = None) -> Any:
    """log(sum(b exp(a))) over axes (all by default), without overflow; -inf for an empty sum.

    With `return_sign` (the logarithm of the size, the sign), else NaN where the sum is negative.
    `where` leaves elements out. Where all are -inf the derivative is 0.

    >>> from lucidfn.scipy.special import logsumexp
    >>> float(logsumexp([1000.0, 1000.0])) - 1000 < 0.7
    True
    """
    if b is None:
        (a,), weak = lift(a, to_float=True)
    else:
        (a, b), weak = lift(a, b, to_float=True)
        shape = shape_of(ops.add(a, b))
        a = a if shape_of(a) == shape else ops.broadcast_to(a, shape=shape)
        a = ops.select(ops.eq(b, ops.zero_like(b)), -math.inf, a)
    if where is not None:
        mask = as_raw(where)
        a = ops.select(mask if mask.dtype == bool_ else ops.ne(mask, 0), a, -math.inf)
    axes = normal_axes(axis, len(shape_of(a)))
    log_sum, sign = _logsumexp(a, b, axes, return_sign)
    if keepdims:
        kept = tuple(1 if i in axes else d for i, d in enumerate(shape_of(a)))
        log_sum = ops.reshape(log_sum, shape=kept)
        sign = None if sign is None else ops.reshape(sign, shape=kept)
    return (wrap(log_sum, weak), wrap(sign, weak)) if return_sign else wrap(log_sum, weak)


def _logsumexp(a: Any, b: Any, axes: tuple[int, ...], return_sign: bool) -> tuple[Any, Any]:
    shape = shape_of(a)
    if any(shape[i] == 0 for i in axes):
        top = ops.reduce_sum(ops.real(a) if kind_of(dtype_of(a)) == 3 else a, axes=axes)
    else:
        top = ops.reduce_max(ops.real(a) if kind_of(dtype_of(a)) == 3 else a, axes=axes)
    top = ops.stop_gradient(ops.select(ops.is_finite(top), top, 0.0))
    kept = ops.reshape(top, shape=tuple(1 if i in axes else d for i, d in enumerate(shape)))
    wide = kept if dtype_of(kept) == dtype_of(a) else ops.complex_(kept, 0.0)
    terms = ops.exp(ops.sub(a, wide))
    total = ops.reduce_sum(terms if b is None else ops.mul(terms, b), axes=axes)
    if kind_of(dtype_of(a)) == 3:
        size = ops.abs(total) if return_sign else total
        sign = ops.sign(total) if return_sign else None
        shift = top if return_sign else ops.complex_(top, 0.0)
        return ops.add(ops.log(size), shift), sign
    sign = ops.stop_gradient(ops.sign(total)) if return_sign else None
    size = ops.abs(total) if return_sign else total
    none = ops.eq(size, 0.0)
    log_size = ops.select(none, -math.inf, ops.log(ops.select(none, 1.0, size)))
    return ops.add(log_size, top), sign


def _centred(x: Any, axis: Axis) -> tuple[Any, Any, tuple[int, ...], tuple[int, ...], bool]:
    """x minus its maximum over axes, its exponential, the axes, the shape with axes of size 1."""
    (x,), weak = lift(x, to_float=True)
    shape = shape_of(x)
    axes = normal_axes(axis, len(shape))
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape))
    if all(shape[i] for i in axes):
        x = ops.sub(x, ops.reshape(ops.stop_gradient(ops.reduce_max(x, axes=axes)), shape=kept))
    return x, ops.exp(x), axes, kept, weak


def softmax(x: Any, /, *, axis: Axis = None) -> Any:
    """exp(x) over its sum over axes (all by default)."""
    _, e, axes, kept, weak = _centred(x, axis)
    return wrap(ops.div(e, ops.reshape(ops.reduce_sum(e, axes=axes), shape=kept)), weak)


def log_softmax(x: Any, /, *, axis: Axis = None) -> Any:
    """Logarithm of softmax, accurate where that underflows."""
    x, e, axes, kept, weak = _centred(x, axis)
    total = ops.reshape(ops.log(ops.reduce_sum(e, axes=axes)), shape=kept)
    return wrap(ops.sub(x, total), weak)


__all__ = [
    "beta", "betainc", "betaln", "boxcox", "boxcox1p", "comb", "digamma", "entr", "erf", "erfc",
    "erfinv", "exp1", "expi", "expit", "factorial", "gamma", "gammainc", "gammaincc", "gammaln",
    "gammasgn", "i0", "i0e", "i1", "i1e", "kl_div", "log_ndtr", "log_softmax", "loggamma", "logit",
    "logsumexp", "multigammaln", "ndtr", "ndtri", "poch", "polygamma", "rel_entr", "softmax",
    "xlog1py", "xlogy", "zeta",
]
