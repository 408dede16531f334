"""The beta distribution of parameters a and b, on [loc, loc + scale]."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import standard, support


def logpdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, a, b, scale = standard(x, a, b, loc=loc, scale=scale)
    return support((z >= 0) & (z <= 1), z, lambda z: special.xlogy(a - 1.0, z)
                   + special.xlog1py(b - 1.0, -z) - special.betaln(a, b) - lnp.log(scale), at=0.5)


def pdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, a, b, loc, scale))


def cdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    z, a, b, _ = standard(x, a, b, loc=loc, scale=scale)
    return special.betainc(a, b, lnp.clip(z, 0.0, 1.0))


def logcdf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of cdf."""
    z, a, b, _ = standard(x, a, b, loc=loc, scale=scale)
    return support(z > 0, z, lambda z: lnp.log(special.betainc(a, b, lnp.minimum(z, 1.0))), at=0.5)


def sf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    z, a, b, _ = standard(x, a, b, loc=loc, scale=scale)
    return special.betainc(b, a, lnp.clip(1.0 - z, 0.0, 1.0))


def logsf(x: Any, a: Any, b: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of sf."""
    z, a, b, _ = standard(x, a, b, loc=loc, scale=scale)
    return support(z < 1, z, lambda z: lnp.log(special.betainc(b, a, lnp.minimum(1.0 - z, 1.0))),
                   at=0.5)
