"""Special functions of `lax`, elementwise on floats."""

from __future__ import annotations

from typing import Any

from lucidfn import ops
from lucidfn.array import unwrap, wrap
from lucidfn.lax._operands import array, binary, check, same_dtype, unary

erf = unary(ops.erf, "Error function.")
erfc = unary(ops.erfc, "1 - erf(x), accurate for large x.")
erf_inv = unary(ops.erf_inv, "Inverse of the error function.")
lgamma = unary(ops.lgamma, "log |gamma(x)|.")
digamma = unary(ops.digamma, "Derivative of lgamma.")
bessel_i0e = unary(ops.bessel_i0e, "exp(-|x|) I0(x), the scaled modified Bessel function.")
bessel_i1e = unary(ops.bessel_i1e, "exp(-|x|) I1(x), the scaled modified Bessel function.")
polygamma = binary(ops.polygamma, "polygamma(m, x): derivative of order m of digamma at x.")
zeta = binary(ops.zeta, "Hurwitz zeta function: the sum of (k + q)^-x over k >= 0.")
igamma = binary(ops.igamma, "Regularized lower incomplete gamma function igamma(a, x).")
igammac = binary(ops.igammac, "Regularized upper incomplete gamma function 1 - igamma(a, x).")
igamma_grad_a = binary(ops.igamma_grad_a, "Derivative of igamma(a, x) in a.")
random_gamma_grad = binary(ops.random_gamma_grad,
                           "Derivative in a of a sample of the gamma distribution of shape a.")


def betainc(a: Any, b: Any, x: Any) -> Any:
    """Regularized incomplete beta function."""
    raws, weak = same_dtype("betainc", a, b, x)
    raws[2] = array(unwrap(raws[2]))
    check(ops.betainc, raws, {})
    return wrap(ops.betainc(*raws), weak)
