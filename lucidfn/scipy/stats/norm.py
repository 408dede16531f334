"""The normal distribution, with mean loc and standard deviation scale."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats, standard

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density.

    >>> from lucidfn.scipy.stats import norm
    >>> round(float(norm.logpdf(0.0)), 5)
    -0.91894
    """
    z, scale = standard(x, loc=loc, scale=scale)
    return -0.5 * z * z - _LOG_SQRT_2PI - lnp.log(scale)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return special.ndtr(standard(x, loc=loc, scale=scale)[0])


def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf, accurate where that underflows."""
    return special.log_ndtr(standard(x, loc=loc, scale=scale)[0])


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return special.ndtr(-standard(x, loc=loc, scale=scale)[0])


def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf, accurate where that underflows."""
    return special.log_ndtr(-standard(x, loc=loc, scale=scale)[0])


def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    return special.ndtri(q) * scale + loc


def isf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with sf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    return loc - special.ndtri(q) * scale
