"""The negative binomial distribution: failures before n successes of probability p."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats, support, whole


def logpmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, n, p, loc = floats(k, n, p, loc)
    x = k - loc

    def formula(x: Any) -> Any:
        # gamma(x + n) / (x! gamma(n)), through the beta function: no cancellation
        ways = -lnp.log(x + n) - special.betaln(n, x + 1.0)
        return ways + special.xlogy(n, p) + special.xlog1py(x, -p)

    return support((x >= 0) & whole(x), x, formula, at=0.0)


def pmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of k."""
    return lnp.exp(logpmf(k, n, p, loc))


def cdf(k: Any, n: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of at most k."""
    k, n, p, loc = floats(k, n, p, loc)
    x = lnp.floor(k - loc)
    return support(x >= 0, x, lambda x: special.betainc(n, x + 1.0, p), at=0.0, outside=0.0)
