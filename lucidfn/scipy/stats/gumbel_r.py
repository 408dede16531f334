"""The Gumbel distribution of largest values, of z = (x - loc) / scale."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import floats, standard


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    return -z - lnp.exp(-z) - lnp.log(scale)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    return -lnp.exp(-standard(x, loc=loc, scale=scale)[0])


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return lnp.exp(logcdf(x, loc, scale))


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return -lnp.expm1(logcdf(x, loc, scale))


def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    return lnp.log(sf(x, loc, scale))


def ppf(p: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = p."""
    p, loc, scale = floats(p, loc, scale)
    return loc - scale * lnp.log(-lnp.log(p))
