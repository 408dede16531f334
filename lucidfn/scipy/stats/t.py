"""Student's t distribution of df degrees of freedom."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.scipy.stats._core import standard


def logpdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Logarithm of the density."""
    z, df, scale = standard(x, df, loc=loc, scale=scale)
    # 1 / (sqrt(df) B(df/2, 1/2)) does not cancel for many degrees of freedom.
    return (-special.betaln(df / 2.0, 0.5) - 0.5 * lnp.log(df)
            - 0.5 * (df + 1.0) * lnp.log1p(z * z / df) - lnp.log(scale))


def pdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, df, loc, scale))


def cdf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of at most x."""
    z, df, _ = standard(x, df, loc=loc, scale=scale)
    return _cdf(z, df)


def sf(x: Any, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Any:
    """Probability of more than x."""
    z, df, _ = standard(x, df, loc=loc, scale=scale)
    return _cdf(-z, df)


def _cdf(z: Any, df: Any) -> Any:
    # With w = df / (df + z^2) a tail is betainc(df/2, 1/2, w) / 2; near the middle 1 - w is exact.
    df = lnp.where(lnp.isfinite(df), df, math.nan)
    square = z * z
    near = square < df
    middle = special.betainc(0.5, df / 2.0, lnp.where(near, square, 0.5 * df)
                             / (df + lnp.where(near, square, 0.5 * df)))
    far = special.betainc(df / 2.0, 0.5, df / (df + lnp.where(near, df, square)))
    tail = lnp.where(near, 0.5 - 0.5 * middle, 0.5 * far)
    return lnp.where(z > 0, 1.0 - tail, tail)
