"""logaddexp, which softplus and log_sigmoid rest on: smooth, so its rules are exact at ties too."""

from __future__ import annotations

from typing import Any

from lucidfn.ops.elementwise import (
    bitwise_or,
    is_finite,
    logistic,
    mul,
    ne,
    neg,
    select,
    sub,
)
from lucidfn.ops.families import Elementwise
from lucidfn.types import SCALARS


def _difference(x: Any, y: Any) -> Any:
    """x - y, and 0 for equal infinities, whose difference would be NaN."""
    if type(y) in SCALARS:
        return sub(x, y)
    return select(bitwise_or(is_finite(x), ne(x, y)), sub(x, y), 0.0)


# log(exp(x) + exp(y)); written out of max, abs and log1p its second derivative at x == y is lost.
logaddexp = Elementwise("logaddexp", [
    lambda t, z, x, y: mul(t, logistic(_difference(x, y))),
    lambda t, z, x, y: mul(t, logistic(neg(_difference(x, y))))], accepts="f", cost=22)

__all__ = ["logaddexp"]
