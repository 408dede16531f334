"""softmax, and logaddexp, which softplus and log_sigmoid rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import shape_of
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
from lucidfn.ops.shape import expand, reduce_sum
from lucidfn.types import SCALARS, ArrayType, dtype_name, kind_of


def _difference(x: Any, y: Any) -> Any:
    """x - y, and 0 for equal infinities, whose difference would be NaN."""
    if type(y) in SCALARS:
        return sub(x, y)
    return select(bitwise_or(is_finite(x), ne(x, y)), sub(x, y), 0.0)


# log(exp(x) + exp(y)); written out of max, abs and log1p its second derivative at x == y is lost.
logaddexp = Elementwise("logaddexp", [
    lambda t, z, x, y: mul(t, logistic(_difference(x, y))),
    lambda t, z, x, y: mul(t, logistic(neg(_difference(x, y))))], accepts="f", cost=22)


class Softmax(Primitive):
    """exp(x) over its sum along axes; 0 in rows of nothing but -inf."""

    name = "softmax"

    def infer(self, x: ArrayType, *, axes: tuple[int, ...]) -> ArrayType:
        if kind_of(x.dtype) != 2:
            raise TypeError(f"got {dtype_name(x.dtype)}; it takes floating arrays")
        return x

    def jvp(self, tangents: Any, out: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
        moved = mul(out, tangents[0])
        return sub(moved, mul(out, expand(reduce_sum(moved, axes=axes), shape_of(out), axes)))

    def batch(self, size: int, batched: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
        return self(x, axes=tuple([a + 1 for a in axes]))

    def rows(self, row_axes: Any, types: Any, *,  # type: ignore[override]
             axes: tuple[int, ...]) -> Any:
        return None if row_axes[0] in axes else row_axes[0]

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return 24 * types[0].size


softmax = Softmax()

__all__ = ["logaddexp", "softmax"]
