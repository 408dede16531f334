"""The Dirichlet distribution of parameters alpha, on vectors that sum to 1."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import INF, floats


def logpdf(x: Any, alpha: Any) -> Any:
    """Logarithm of the density at x[n] or x[n, points], for alpha[n]; the last entry of x may be
    left out. -inf where x is no vector of shares."""
    x, alpha = floats(x, alpha)
    if alpha.ndim != 1 or x.shape[0] not in (alpha.shape[0], alpha.shape[0] - 1):
        raise ValueError(f"dirichlet.logpdf needs alpha[n] and x[n, ...] or x[n - 1, ...], got "
                         f"shapes {alpha.shape} and {x.shape}")
    if x.shape[0] == alpha.shape[0] - 1:
        x = lnp.concatenate([x, 1.0 - lnp.sum(x, axis=0, keepdims=True)], axis=0)
    column = lnp.reshape(alpha, (alpha.shape[0],) + (1,) * (x.ndim - 1))
    norm = lnp.sum(special.gammaln(alpha)) - special.gammaln(lnp.sum(alpha))
    inside = lnp.all(x >= 0, axis=0) & (lnp.abs(lnp.sum(x, axis=0) - 1.0) < 1e-5)
    safe = lnp.where(inside, x, 1.0)
    value = lnp.sum(special.xlogy(column - 1.0, safe), axis=0) - norm
    return lnp.where(inside, value, -INF)


def pdf(x: Any, alpha: Any) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, alpha))
