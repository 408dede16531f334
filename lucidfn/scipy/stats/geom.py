"""The geometric distribution: trials of probability p until the first success, from 1."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats, support, whole


def logpmf(k: Any, p: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, p, loc = floats(k, p, loc)
    x = k - loc
    return support((x >= 1) & whole(x), x,
                   lambda x: special.xlog1py(x - 1.0, -p) + lnp.log(p), at=1.0)


def pmf(k: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of k."""
    return lnp.exp(logpmf(k, p, loc))


def cdf(k: Any, p: Any, loc: Any = 0) -> Any:
    """Probability of at most k."""
    k, p, loc = floats(k, p, loc)
    x = lnp.floor(k - loc)
    return support(x >= 1, x, lambda x: -lnp.expm1(special.xlog1py(x, -p)), at=1.0, outside=0.0)
