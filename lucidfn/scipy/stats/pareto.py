"""The Pareto distribution of shape parameter b, with density b / z^(b + 1) for z >= 1."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import NAN, floats, standard, support


def logpdf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, b, scale = standard(x, b, loc=loc, scale=scale)
    return support(z >= 1, z, lambda z: lnp.log(b) - (b + 1.0) * lnp.log(z) - lnp.log(scale),
                   at=1.0)


def pdf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, b, loc, scale))


def cdf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    z, b, _ = standard(x, b, loc=loc, scale=scale)
    return support(z >= 1, z, lambda z: -lnp.expm1(-b * lnp.log(z)), at=1.0, outside=0.0)


def logcdf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    return lnp.log(cdf(x, b, loc, scale))


def sf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return lnp.exp(logsf(x, b, loc, scale))


def logsf(x: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    z, b, _ = standard(x, b, loc=loc, scale=scale)
    return support(z >= 1, z, lambda z: -b * lnp.log(z), at=1.0, outside=0.0)


def ppf(q: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q; NaN for q outside [0, 1]."""
    q, b, loc, scale = floats(q, b, loc, scale)
    return lnp.where((q >= 0) & (q <= 1), lnp.exp(-lnp.log1p(-q) / b) * scale + loc, NAN)
