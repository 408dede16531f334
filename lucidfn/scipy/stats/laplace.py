"""The Laplace distribution, with density exp(-|z|) / 2 of z = (x - loc) / scale."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import floats, standard


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    return -lnp.abs(z) - math.log(2.0) - lnp.log(scale)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def _cdf(z: Any) -> Any:
    tail = 0.5 * lnp.exp(-lnp.abs(z))
    return lnp.where(z <= 0, tail, 1.0 - tail)


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return _cdf(standard(x, loc=loc, scale=scale)[0])


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return _cdf(-standard(x, loc=loc, scale=scale)[0])


def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q."""
    q, loc, scale = floats(q, loc, scale)
    low = q < 0.5
    z = lnp.where(low, lnp.log(2.0 * lnp.where(low, q, 0.5)),
                  -lnp.log(2.0 * (1.0 - lnp.where(low, 0.5, q))))
    return z * scale + loc
