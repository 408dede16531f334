"""The binomial distribution: successes in n trials of probability p."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import NAN, floats, support, whole


def logpmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, n, p, loc = floats(k, n, p, loc)
    x = k - loc

    def formula(x: Any) -> Any:
        # log of the binomial coefficient, through the beta function: no cancellation
        ways = -lnp.log1p(n) - special.betaln(n - x + 1.0, x + 1.0)
        return ways + special.xlogy(x, p) + special.xlog1py(n - x, -p)

    return support((x >= 0) & (x <= n) & whole(x), x, formula, at=0.0)


def pmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of k."""
    return lnp.exp(logpmf(k, n, p, loc))


def cdf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of at most k."""
    k, n, p, loc = floats(k, n, p, loc)
    x = lnp.floor(k - loc)
    inside = (x >= 0) & (x < n)
    safe = lnp.where(inside, x, 0.0)
    value = special.betainc(lnp.where(inside, n - safe, 1.0), safe + 1.0, 1.0 - p)
    value = lnp.where(inside, value, lnp.where(x < 0, 0.0, 1.0))
    return lnp.where(lnp.isnan(x), NAN, value)


def sf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of more than k."""
    k, n, p, loc = floats(k, n, p, loc)
    x = lnp.floor(k - loc)
    inside = (x >= 0) & (x < n)
    safe = lnp.where(inside, x, 0.0)
    value = special.betainc(safe + 1.0, lnp.where(inside, n - safe, 1.0), p)
    value = lnp.where(inside, value, lnp.where(x < 0, 1.0, 0.0))
    return lnp.where(lnp.isnan(x), NAN, value)
