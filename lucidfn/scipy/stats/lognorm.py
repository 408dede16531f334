"""The log-normal distribution: log(z) is normal with standard deviation s."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats import norm
from lucidfn.scipy.stats._core import floats, standard, support


def logpdf(x: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, s, scale = standard(x, s, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: norm.logpdf(lnp.log(z), 0.0, s) - lnp.log(z)
                   - lnp.log(scale), at=1.0)


def pdf(x: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, s, loc, scale))


def cdf(x: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    z, s, _ = standard(x, s, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: norm.cdf(lnp.log(z), 0.0, s), at=1.0, outside=0.0)


def sf(x: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    z, s, _ = standard(x, s, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: norm.sf(lnp.log(z), 0.0, s), at=1.0, outside=1.0)


def ppf(q: Any, s: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q."""
    q, s, loc, scale = floats(q, s, loc, scale)
    return lnp.exp(norm.ppf(q) * s) * scale + loc
