"""The logistic distribution, with distribution function expit(z) of z = (x - loc) / scale."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats, standard


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    size = lnp.abs(z)
    return -size - 2.0 * lnp.log1p(lnp.exp(-size)) - lnp.log(scale)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return special.expit(standard(x, loc=loc, scale=scale)[0])


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return special.expit(-standard(x, loc=loc, scale=scale)[0])


def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    return special.logit(q) * scale + loc


def isf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with sf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    return loc - special.logit(q) * scale
