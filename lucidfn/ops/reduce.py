"""Reductions and arg-reductions. Elements that tie for an extremum share its derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.cumulative import cumprod
from lucidfn.ops.elementwise import convert, div, eq, mul, select, zero_like
from lucidfn.ops.shape import (
    expand,
    inverse,
    pad,
    permute,
    reduce_sum,
    reduced,
    reshape,
    slice_axis,
    without,
)
from lucidfn.types import ArrayType, bool_

Axes = tuple[int, ...]


class Reduction(Primitive):
    """Some axes are combined into nothing; `accepts_empty` says whether there is an identity."""

    accepts_empty = True

    def infer(self, x: ArrayType, *, axes: Axes) -> ArrayType:
        if not self.accepts_empty and any(x.shape[a] == 0 for a in axes):
            raise ShapeError(f"got {x}; {self.name} over an empty axis has no value")
        return reduced(x, axes)

    def batch(self, size: int, batched: Any, x: Any, *, axes: Axes) -> Any:
        return self(x, axes=tuple([a + 1 for a in axes]))

    def rows(self, row_axes: Any, types: Any, *, axes: Axes) -> Any:  # type: ignore[override]
        return None if row_axes[0] in axes else without(row_axes[0], axes)

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[0].size


class Extremum(Reduction):
    """max or min over axes"""

    accepts_empty = False

    def jvp(self, tangents: Any, out: Any, x: Any, *, axes: Axes) -> Any:
        at = eq(x, expand(out, shape_of(x), axes))
        count = reduce_sum(convert(at, dtype=dtype_of(x)), axes=axes)
        t = tangents[0]
        return div(reduce_sum(select(at, t, zero_like(t)), axes=axes), count)


class ReduceProd(Reduction):
    """Product over axes"""

    name = "reduce_prod"

    def jvp(self, tangents: Any, out: Any, x: Any, *, axes: Axes) -> Any:
        return reduce_sum(mul(tangents[0], products_of_others(x, axes)), axes=axes)


class Boolean(Reduction):
    """all or any over axes"""

    def infer(self, x: ArrayType, *, axes: Axes) -> ArrayType:
        if x.dtype != bool_:
            raise TypeError(f"got {x}; {self.name} takes bool arrays")
        return reduced(x, axes)

    def jvp(self, tangents: Any, out: Any, x: Any, **_: Any) -> Any:
        return None


class ArgExtremum(Primitive):
    """Index of the first extremum along an axis; the first NaN wins"""

    def infer(self, x: ArrayType, *, axis: int, dtype: Any) -> ArrayType:
        out = reduced(x, (axis,), dtype)
        if x.shape[axis] == 0:
            raise ShapeError(f"got {x}; {self.name} over an empty axis has no value")
        return out._replace(weak=False)

    def jvp(self, tangents: Any, out: Any, x: Any, **_: Any) -> Any:
        return None

    def batch(self, size: int, batched: Any, x: Any, *, axis: int, dtype: Any) -> Any:
        return self(x, axis=axis + 1, dtype=dtype)

    def rows(self, axes: Any, types: Any, *, axis: int, dtype: Any) -> Any:
        return None if axes[0] == axis else without(axes[0], (axis,))


reduce_max, reduce_min = Extremum("reduce_max"), Extremum("reduce_min")
reduce_prod = ReduceProd()
reduce_and, reduce_or = Boolean("reduce_and"), Boolean("reduce_or")
argmax, argmin = ArgExtremum("argmax"), ArgExtremum("argmin")


def products_of_others(x: Any, axes: Axes) -> Any:
    """For each element the product of the others along axes, without dividing: zeros are allowed.

    The product of what stands before (an exclusive cumprod) times that of what stands after.
    """
    shape = shape_of(x)
    kept = [i for i in range(len(shape)) if i not in axes]
    order = (*kept, *axes)
    moved = permute(x, order=order)
    n = math.prod(shape[a] for a in axes)
    flat = reshape(moved, shape=(*[shape[i] for i in kept], n))
    axis = len(kept)
    if n == 0:
        return x
    one = ((0, 0, 0),) * axis
    before = pad(slice_axis(flat, axis, 0, n - 1), 1.0, widths=(*one, (1, 0, 0)))
    after = pad(slice_axis(flat, axis, 1, n), 1.0, widths=(*one, (0, 1, 0)))
    others = mul(cumprod(before, axis=axis, reverse=False), cumprod(after, axis=axis, reverse=True))
    back = reshape(others, shape=tuple(shape[i] for i in order))
    return permute(back, order=inverse(order))
