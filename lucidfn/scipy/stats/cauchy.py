"""The Cauchy distribution, with density 1 / (pi (1 + z^2)) of z = (x - loc) / scale."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import floats, standard


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    return -math.log(math.pi) - lnp.log1p(z * z) - lnp.log(scale)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def _cdf(z: Any) -> Any:
    # The angle of the point (-z, 1) keeps its digits in the lower tail.
    return lnp.arctan2(1.0, -z) / math.pi


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return _cdf(standard(x, loc=loc, scale=scale)[0])


def logcdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    return lnp.log(cdf(x, loc, scale))


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return _cdf(-standard(x, loc=loc, scale=scale)[0])


def logsf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    return lnp.log(sf(x, loc, scale))


def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    return loc - _cotangent(q) * scale


def isf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with sf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    return _cotangent(q) * scale + loc


def _cotangent(q: Any) -> Any:
    """1 / tan(pi q) for q in [0, 1], with the digits of a small q or 1 - q."""
    low = q < 0.5
    return lnp.where(low, 1.0 / lnp.tan(math.pi * lnp.where(low, q, 0.25)),
                     -1.0 / lnp.tan(math.pi * (1.0 - lnp.where(low, 0.75, q))))
