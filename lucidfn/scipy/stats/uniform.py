"""The uniform distribution on [loc, loc + scale]."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import INF, NAN, floats, standard


def logpdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, scale = standard(x, loc=loc, scale=scale)
    value = lnp.where((z >= 0) & (z <= 1), -lnp.log(scale), -INF)
    return lnp.where(lnp.isnan(z), NAN, value)


def pdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    return lnp.clip(standard(x, loc=loc, scale=scale)[0], 0.0, 1.0)


def sf(x: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    return lnp.clip(1.0 - standard(x, loc=loc, scale=scale)[0], 0.0, 1.0)


def ppf(q: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """The x with cdf(x) = q; NaN for q outside [0, 1]."""
    q, loc, scale = floats(q, loc, scale)
    return lnp.where((q >= 0) & (q <= 1), q * scale + loc, NAN)
