"""The normal distribution of z = (x - loc) / scale cut to the interval [a, b] of z."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats import norm
from lucidfn.scipy.stats._core import standard, support


def _log_mass(a: Any, b: Any) -> Any:
    """log(ndtr(b) - ndtr(a)) without cancellation: on the side of 0 where both are tails."""
    flip = a > 0
    lower, upper = lnp.where(flip, -b, a), lnp.where(flip, -a, b)
    straddles = upper > 0
    ends = [lnp.where(straddles, p, q) for p, q in ((-1.0, lower), (-0.5, upper))]
    low, high = special.log_ndtr(ends[0]), special.log_ndtr(ends[1])
    tail = high + _log1mexp(high - low)
    centre = lnp.log1p(-special.ndtr(lnp.where(straddles, lower, -1.0))
                       - special.ndtr(-lnp.where(straddles, upper, 1.0)))
    return lnp.where(straddles, centre, tail)


def _log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for x >= 0 (M. Maechler, 2012)."""
    small = x < math.log(2.0)
    return lnp.where(small, lnp.log(-lnp.expm1(-lnp.where(small, x, 0.5))),
                     lnp.log1p(-lnp.exp(-lnp.where(small, 1.0, x))))


def logpdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density; NaN where a >= b."""
    z, a, b, scale = standard(x, a, b, loc=loc, scale=scale)
    value = support((z >= a) & (z <= b), z,
                    lambda z: norm.logpdf(z) - _log_mass(a, b) - lnp.log(scale), at=a)
    return lnp.where(a < b, value, math.nan)


def pdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, a, b, loc, scale))


def logcdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    z, a, b, _ = standard(x, a, b, loc=loc, scale=scale)
    inside = (z > a) & (z < b)
    value = _log_mass(a, lnp.where(inside, z, b)) - _log_mass(a, b)
    value = lnp.where(inside, value, lnp.where(z >= b, 0.0, -math.inf))
    return lnp.where((a < b) & ~lnp.isnan(z), value, math.nan)


def cdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return lnp.exp(logcdf(x, a, b, loc, scale))


def logsf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    z, a, b, _ = standard(x, a, b, loc=loc, scale=scale)
    return logcdf(-z, -b, -a)


def sf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return lnp.exp(logsf(x, a, b, loc, scale))
