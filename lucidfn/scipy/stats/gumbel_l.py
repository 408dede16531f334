"""The Gumbel distribution of smallest values, of z = (x - loc) / scale."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import floats, standard


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    return z - lnp.exp(z) - lnp.log(scale)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    return -lnp.exp(standard(x, loc=loc, scale=scale)[0])


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return lnp.exp(logsf(x, loc, scale))


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return -lnp.expm1(logsf(x, loc, scale))


def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    return lnp.log(cdf(x, loc, scale))


def ppf(p: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = p."""
    p, loc, scale = floats(p, loc, scale)
    return loc + scale * lnp.log(-lnp.log1p(-p))
