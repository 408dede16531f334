"""The exponential distribution of rate 1 / scale, on [loc, inf)."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import NAN, floats, standard, support


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    return support(z >= 0, z, lambda z: -z - lnp.log(scale), at=0.0)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    z, _ = standard(x, loc=loc, scale=scale)
    return support(z >= 0, z, lambda z: -lnp.expm1(-z), at=0.0, outside=0.0)


def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    z, _ = standard(x, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: lnp.log(-lnp.expm1(-z)), at=1.0)


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return lnp.exp(logsf(x, loc, scale))


def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    z, _ = standard(x, loc=loc, scale=scale)
    return support(z >= 0, z, lambda z: -z, at=0.0, outside=0.0)


def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q; NaN for q outside [0, 1]."""
    q, loc, scale = floats(q, loc, scale)
    return lnp.where((q >= 0) & (q <= 1), loc - lnp.log1p(-q) * scale, NAN)
