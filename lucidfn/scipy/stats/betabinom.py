"""The beta-binomial distribution: successes in n trials whose probability is beta(a, b)."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats, support, whole


def logpmf(k: Any, n: Any, a: Any, b: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, n, a, b, loc = floats(k, n, a, b, loc)
    x = k - loc

    def formula(x: Any) -> Any:
        ways = -lnp.log1p(n) - special.betaln(n - x + 1.0, x + 1.0)
        return ways + special.betaln(x + a, n - x + b) - special.betaln(a, b)

    return support((x >= 0) & (x <= n) & whole(x), x, formula, at=0.0)


def pmf(k: Any, n: Any, a: Any, b: Any, loc: Any = 0) -> Any:
    """Probability of k."""
    return lnp.exp(logpmf(k, n, a, b, loc))
