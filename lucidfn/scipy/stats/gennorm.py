"""The generalized normal distribution, with density proportional to exp(-|x|^beta)."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats


def logpdf(x: Any, beta: Any) -> Any:
    """Logarithm of the density."""
    x, beta = floats(x, beta)
    return lnp.log(beta) - math.log(2.0) - special.gammaln(1.0 / beta) - lnp.abs(x) ** beta


def pdf(x: Any, beta: Any) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, beta))


def cdf(x: Any, beta: Any) -> Any:
    """Probability of at most x."""
    x, beta = floats(x, beta)
    tail = 0.5 * special.gammaincc(1.0 / beta, lnp.abs(x) ** beta)
    return lnp.where(x > 0, 1.0 - tail, tail)
