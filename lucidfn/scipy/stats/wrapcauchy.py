"""The wrapped Cauchy distribution of angles in [0, 2 pi], with concentration 0 < c < 1."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy.stats._core import floats, support


def logpdf(x: Any, c: Any) -> Any:
    """Logarithm of the density."""
    x, c = floats(x, c)

    def formula(x: Any) -> Any:
        return lnp.log((1.0 - c * c) / (2.0 * math.pi * (1.0 + c * c - 2.0 * c * lnp.cos(x))))

    value = support((x >= 0) & (x <= 2.0 * math.pi), x, formula, at=0.0)
    return lnp.where((c > 0) & (c < 1), value, math.nan)


def pdf(x: Any, c: Any) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, c))
