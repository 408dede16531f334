"""The Poisson distribution of rate mu."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats, support, whole


def logpmf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, mu, loc = floats(k, mu, loc)
    x = k - loc
    return support((x >= 0) & whole(x), x,
                   lambda x: special.xlogy(x, mu) - special.gammaln(x + 1.0) - mu, at=0.0)


def pmf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """Probability of k."""
    return lnp.exp(logpmf(k, mu, loc))


def cdf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """Probability of at most k."""
    k, mu, loc = floats(k, mu, loc)
    x = lnp.floor(k - loc)
    return support(x >= 0, x, lambda x: special.gammaincc(x + 1.0, mu), at=0.0, outside=0.0)


def sf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """Probability of more than k."""
    k, mu, loc = floats(k, mu, loc)
    x = lnp.floor(k - loc)
    return support(x >= 0, x, lambda x: special.gammainc(x + 1.0, mu), at=0.0, outside=1.0)
