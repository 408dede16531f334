"""The multinomial distribution: counts of n trials over classes of probabilities p."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import INF, floats


def logpmf(x: Any, n: Any, p: Any) -> Any:
    """Logarithm of the probability of the counts x[..., classes]; -inf if they do not sum to n."""
    x, n, p = floats(x, n, p)
    value = (special.gammaln(n + 1.0)
             + lnp.sum(special.xlogy(x, p) - special.gammaln(x + 1.0), axis=-1))
    return lnp.where(lnp.sum(x, axis=-1) == n, value, -INF)


def pmf(x: Any, n: Any, p: Any) -> Any:
    """Probability of the counts."""
    return lnp.exp(logpmf(x, n, p))
