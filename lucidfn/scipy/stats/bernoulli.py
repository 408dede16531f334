"""The Bernoulli distribution: loc + 1 with probability p, else loc."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import NAN, floats, support


def logpmf(k: Any, p: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, p, loc = floats(k, p, loc)
    x = k - loc
    return support((x == 0) | (x == 1), x,
                   lambda x: special.xlogy(x, p) + special.xlog1py(1.0 - x, -p), at=0.0)


def pmf(k: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of k."""
    return lnp.exp(logpmf(k, p, loc))


def cdf(k: Any, p: Any) -> Any:
    """Probability of at most k."""
    k, p = floats(k, p)
    value = lnp.where(k < 0, 0.0, lnp.where(k < 1, 1.0 - p, 1.0))
    return lnp.where(lnp.isnan(k) | lnp.isnan(p) | (p < 0) | (p > 1), NAN, value)


def ppf(q: Any, p: Any) -> Any:
    """The smallest k with cdf(k) >= q; NaN for q outside [0, 1]."""
    q, p = floats(q, p)
    valid = (q >= 0) & (q <= 1) & (p >= 0) & (p <= 1)
    value = lnp.where(q == 0, -1.0, lnp.where(q <= 1.0 - p, 0.0, 1.0))
    return lnp.where(valid, value, NAN).astype(q.dtype)
