"""The von Mises distribution of angles, with concentration kappa."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import floats


def logpdf(x: Any, kappa: Any) -> Any:
    """Logarithm of the density."""
    x, kappa = floats(x, kappa)
    value = kappa * (lnp.cos(x) - 1.0) - math.log(2.0 * math.pi) - lnp.log(special.i0e(kappa))
    return lnp.where(kappa > 0, value, math.nan)


def pdf(x: Any, kappa: Any) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, kappa))
