"""The gamma distribution of shape parameter a, on (loc, inf)."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import standard, support


def logpdf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, a, scale = standard(x, a, loc=loc, scale=scale)
    return support(z >= 0, z, lambda z: special.xlogy(a - 1.0, z) - z - special.gammaln(a)
                   - lnp.log(scale), at=1.0)


def pdf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, a, loc, scale))


def cdf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    z, a, _ = standard(x, a, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: special.gammainc(a, z), at=1.0, outside=0.0)


def logcdf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    return lnp.log(cdf(x, a, loc, scale))


def sf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    z, a, _ = standard(x, a, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: special.gammaincc(a, z), at=1.0, outside=1.0)


def logsf(x: Any, a: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    return lnp.log(sf(x, a, loc, scale))
