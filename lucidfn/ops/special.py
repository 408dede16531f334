"""Special functions, elementwise, with their derivatives. The list holds one for each operand.

Names and definitions are those of the NIST Digital Library of Mathematical Functions (DLMF); the
incomplete gamma and beta functions are the regularized ones.
"""

from __future__ import annotations

import math
from typing import Any

from lucidfn.ops.elementwise import (
    add,
    div,
    eq,
    exp,
    log,
    log1p,
    mul,
    neg,
    select,
    sign,
    square,
    sub,
)
from lucidfn.ops.families import Elementwise, Rule
from lucidfn.types import SCALARS


def _missing(name: str, operand: str) -> Rule:
    """The rule of an operand in which the derivative has no known closed form."""
    def rule(t: Any, z: Any, *args: Any) -> Any:
        raise globals()[name].missing(
            "jvp", f"gives its derivative, here in {operand}, which has no closed form; "
            f"lax.stop_gradient({operand}) leaves it out")
    return rule


def _power_log(p: Any, log_x: Any) -> Any:
    """p * log x, and 0 where p is 0 also at x = 0."""
    zero = eq(p, 0.0)
    return select(zero, 0.0, mul(p, select(zero, 0.0, log_x)))


def _gamma_pdf(a: Any, x: Any) -> Any:
    """x^(a-1) e^-x / gamma(a): the derivative of igamma in x (DLMF 8.8.13); 0 at x = inf."""
    far = eq(x, math.inf)
    near = select(far, 1.0, x)
    value = exp(sub(sub(_power_log(sub(a, 1.0), log(near)), near), lgamma(a)))
    return select(far, 0.0, value)


def _beta_pdf(a: Any, b: Any, x: Any) -> Any:
    """x^(a-1) (1-x)^(b-1) / B(a, b): the derivative of betainc in x (DLMF 8.17.1)."""
    log_beta = sub(add(lgamma(a), lgamma(b)), lgamma(add(a, b)))
    powers = add(_power_log(sub(a, 1.0), log(x)), _power_log(sub(b, 1.0), log1p(neg(x))))
    return exp(sub(powers, log_beta))


def _slope_of_density(density: Any, log_x: Any, shift: Any) -> Any:
    """The derivative of a density x^(a-1) ... in a, and 0 where the density is 0."""
    none = eq(density, 0.0)
    return mul(density, sub(select(none, 0.0, log_x), shift))


def _d_igamma_grad_a(t: Any, z: Any, a: Any, x: Any) -> Any:
    return mul(t, _slope_of_density(_gamma_pdf(a, x), log(x), digamma(a)))


def _d_betainc_grad_a(t: Any, z: Any, a: Any, b: Any, x: Any) -> Any:
    shift = sub(digamma(a), digamma(add(a, b)))
    return mul(t, _slope_of_density(_beta_pdf(a, b, x), log(x), shift))


def _d_betainc_grad_b(t: Any, z: Any, a: Any, b: Any, x: Any) -> Any:
    shift = sub(digamma(b), digamma(add(a, b)))
    return mul(t, _slope_of_density(_beta_pdf(a, b, x), log1p(neg(x)), shift))


def _d_random_gamma_grad(t: Any, z: Any, a: Any, x: Any) -> Any:
    # z = -P_a / P_x with P_ax = P_x (log x - digamma(a)) and P_xx = P_x ((a - 1) / x - 1).
    decay = sub(div(sub(a, 1.0), x), 1.0)
    return mul(t, neg(add(sub(log(x), digamma(a)), mul(z, decay))))


def _d_bessel_i1e(t: Any, y: Any, x: Any) -> Any:
    # i0e - i1e (sign x + 1/x), whose limit at 0 is 1/2.
    origin = eq(x, 0.0)
    safe = select(origin, 1.0, x)
    slope = sub(bessel_i0e(x), mul(y, add(sign(x), div(1.0, safe))))
    return mul(t, select(origin, 0.5, slope))


def _d_expi(t: Any, y: Any, x: Any) -> Any:
    return mul(t, div(exp(x), x))


def _d_zeta(t: Any, z: Any, s: Any, q: Any) -> Any:
    return neg(mul(t, mul(s, zeta(add(s, 1.0), q))))


def _d_xlogy(t: Any, z: Any, x: Any, y: Any) -> Any:
    # x / y, and 0 where x is: there the function is 0 for all y.
    none = eq(x, 0.0)
    return mul(t, select(none, 0.0, div(x, select(none, 1.0, y))))


def _d_xlog1py(t: Any, z: Any, x: Any, y: Any) -> Any:
    none = eq(x, 0.0)
    return mul(t, select(none, 0.0, div(x, add(select(none, 0.0, y), 1.0))))


def _next(n: Any) -> Any:
    return n + 1.0 if type(n) in SCALARS else add(n, 1.0)


_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_SQRT_2PI = math.sqrt(2.0 * math.pi)
_HALF_SQRT_PI = math.sqrt(math.pi) / 2.0


def _d_erf(t: Any, y: Any, x: Any) -> Any:
    return mul(t, mul(exp(neg(square(x))), _TWO_OVER_SQRT_PI))


def _d_erf_inv(t: Any, y: Any, x: Any) -> Any:
    return mul(t, mul(exp(square(y)), _HALF_SQRT_PI))


erf = Elementwise("erf", [_d_erf], accepts="f", cost=20)
erfc = Elementwise("erfc", [lambda t, y, x: neg(_d_erf(t, y, x))], accepts="f", cost=20)
erf_inv = Elementwise("erf_inv", [_d_erf_inv], accepts="f", cost=20)
lgamma = Elementwise("lgamma", [lambda t, y, x: mul(t, digamma(x))], accepts="f", cost=30)
digamma = Elementwise("digamma", [lambda t, y, x: mul(t, polygamma(1.0, x))], accepts="f", cost=30)
polygamma = Elementwise("polygamma", [
    _missing("polygamma", "n"), lambda t, z, n, x: mul(t, polygamma(_next(n), x))],
    accepts="f", cost=60)
zeta = Elementwise("zeta", [_missing("zeta", "s"), _d_zeta], accepts="f", cost=60)
igamma = Elementwise("igamma", [
    lambda t, z, a, x: mul(t, igamma_grad_a(a, x)),
    lambda t, z, a, x: mul(t, _gamma_pdf(a, x))], accepts="f", cost=100)
igammac = Elementwise("igammac", [
    lambda t, z, a, x: neg(mul(t, igamma_grad_a(a, x))),
    lambda t, z, a, x: neg(mul(t, _gamma_pdf(a, x)))], accepts="f", cost=100)
igamma_grad_a = Elementwise("igamma_grad_a", [_missing("igamma_grad_a", "a"), _d_igamma_grad_a],
                            accepts="f", cost=100)
random_gamma_grad = Elementwise("random_gamma_grad", [
    _missing("random_gamma_grad", "a"), _d_random_gamma_grad], accepts="f", cost=100)
betainc = Elementwise("betainc", [
    lambda t, z, a, b, x: mul(t, betainc_grad_a(a, b, x)),
    lambda t, z, a, b, x: mul(t, betainc_grad_b(a, b, x)),
    lambda t, z, a, b, x: mul(t, _beta_pdf(a, b, x))], accepts="f", cost=100)
betainc_grad_a, betainc_grad_b = (
    Elementwise(name, [_missing(name, "a"), _missing(name, "b"), rule], accepts="f", cost=400)
    for name, rule in (("betainc_grad_a", _d_betainc_grad_a),
                       ("betainc_grad_b", _d_betainc_grad_b)))
bessel_i0e = Elementwise("bessel_i0e", [
    lambda t, y, x: mul(t, sub(bessel_i1e(x), mul(sign(x), y)))], accepts="f", cost=30)
bessel_i1e = Elementwise("bessel_i1e", [_d_bessel_i1e], accepts="f", cost=30)
xlogy = Elementwise("xlogy", [lambda t, z, x, y: mul(t, log(y)), _d_xlogy], accepts="f", cost=12)
xlog1py = Elementwise("xlog1py", [lambda t, z, x, y: mul(t, log1p(y)), _d_xlog1py],
                      accepts="f", cost=12)
ndtri = Elementwise("ndtri", [lambda t, y, p: mul(t, mul(exp(mul(square(y), 0.5)), _SQRT_2PI))],
                    accepts="f", cost=30)
expi = Elementwise("expi", [_d_expi], accepts="f", cost=40)

__all__ = ["bessel_i0e", "bessel_i1e", "betainc", "betainc_grad_a", "betainc_grad_b", "digamma",
           "erf", "erf_inv", "erfc", "expi", "igamma", "igamma_grad_a", "igammac", "lgamma",
           "ndtri", "polygamma", "random_gamma_grad", "xlog1py", "xlogy", "zeta"]
