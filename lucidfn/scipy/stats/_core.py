"""What the distributions share: arguments at one dtype, location and scale, and what lies outside.

The formulas are written on arrays with weak scalars, so that float32 stays float32. Outside its
support a density is 0; the formula sees a point inside there, so that no derivative is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.array import wrap
from lucidfn.numpy.elementwise import lift

INF, NAN = math.inf, math.nan


def floats(*xs: Any) -> list[Any]:
    """Arrays of one floating dtype."""
    raws, weak = lift(*xs, to_float=True)
    return [wrap(raw, weak) for raw in raws]


def standard(x: Any, *params: Any, loc: Any, scale: Any) -> list[Any]:
    """(x - loc) / scale, the parameters, and scale; at one dtype."""
    x, loc, scale, *rest = floats(x, loc, scale, *params)
    return [(x - loc) / scale, *rest, scale]


def support(inside: Any, x: Any, formula: Callable[[Any], Any], *, at: Any,
            outside: Any = -INF) -> Any:
    """formula(x) inside, a constant outside, NaN for NaN; `at` is a point inside."""
    value = lnp.where(inside, formula(lnp.where(inside, x, at)), outside)
    return lnp.where(lnp.isnan(x), NAN, value)


def whole(k: Any) -> Any:
    """Whether k is an integer."""
    return lnp.floor(k) == k
