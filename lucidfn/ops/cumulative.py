"""Cumulative operations along one axis: running sum, product, maximum, minimum, logsumexp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.ops.elementwise import (
    add,
    convert,
    div,
    eq,
    exp,
    is_finite,
    mul,
    select,
    sub,
    zero_like,
)
from lucidfn.ops.families import Linear
from lucidfn.ops.shape import pad, slice_axis
from lucidfn.types import ArrayType


class Cumulative(Primitive):
    """out[i] combines x[0] .. x[i] along an axis, or x[i] .. x[n-1] with `reverse`"""

    def infer(self, x: ArrayType, *, axis: int, reverse: bool) -> ArrayType:
        if not 0 <= axis < len(x.shape):
            raise TypeError(f"got {x}; it has no axis {axis}")
        return x

    def batch(self, size: int, batched: Any, x: Any, *, axis: int, reverse: bool) -> Any:
        return self(x, axis=axis + 1, reverse=reverse)

    def rows(self, axes: Any, types: Any, *, axis: int, **_: Any) -> Any:
        return None if axes[0] == axis else axes[0]

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[0].size


class CumSum(Cumulative, Linear):
    """Running sum"""

    def jvp(self, tangents: Any, out: Any, x: Any, **params: Any) -> Any:
        return self(tangents[0], **params)

    def transpose(self, ct: Any, x: Any, *, axis: int, reverse: bool) -> list[Any]:
        return [self(ct, axis=axis, reverse=not reverse)]


class CumProd(Cumulative):
    """Running product. With y the products, dy[i] = dy[i-1] x[i] + y[i-1] dx[i]: a linear
    recurrence, solved without dividing, so that zeros are allowed."""

    def jvp(self, tangents: Any, out: Any, x: Any, *, axis: int, reverse: bool) -> Any:
        n = shape_of(x)[axis]
        keep = (0, n - 1) if not reverse else (1, n)
        side = (1, 0, 0) if not reverse else (0, 1, 0)
        rank = len(shape_of(x))
        widths = tuple(side if i == axis else (0, 0, 0) for i in range(rank))
        if n == 0:
            return tangents[0]
        before = pad(slice_axis(out, axis, *keep), 1 + zero_like(out), widths=widths)
        return linear_recurrence(x, mul(tangents[0], before), axis, reverse)


class CumExtremum(Cumulative):
    """Running max or min; elements that tie share the derivative equally"""

    def jvp(self, tangents: Any, out: Any, x: Any, *, axis: int, reverse: bool) -> Any:
        # Within a run of equal outputs, average the tangents of the elements that attain it:
        # decay is 1 inside a run and 0 where a new run starts.
        n = shape_of(x)[axis]
        if n == 0:
            return tangents[0]
        t, dtype = tangents[0], dtype_of(x)
        at = eq(x, out)
        side = (1, 0, 0) if not reverse else (0, 1, 0)
        widths = tuple(side if i == axis else (0, 0, 0) for i in range(len(shape_of(x))))
        same = pad(convert(eq(slice_axis(out, axis, 0, n - 1), slice_axis(out, axis, 1, n)),
                           dtype=dtype), 0.0, widths=widths)
        count = linear_recurrence(same, convert(at, dtype=dtype), axis, reverse)
        total = linear_recurrence(same, select(at, t, zero_like(t)), axis, reverse)
        return div(total, count)


class CumLogSumExp(Cumulative):
    """Running log(sum(exp(x)))"""

    def jvp(self, tangents: Any, out: Any, x: Any, *, axis: int, reverse: bool) -> Any:
        # dy[i] = sum_j<=i exp(x[j] - y[i]) dx[j] = decay[i] dy[i-1] + exp(x[i] - y[i]) dx[i].
        n = shape_of(x)[axis]
        if n == 0:
            return tangents[0]
        first, last = slice_axis(out, axis, 0, n - 1), slice_axis(out, axis, 1, n)
        before, after = (first, last) if not reverse else (last, first)
        widths = tuple(((1, 0, 0) if not reverse else (0, 1, 0)) if i == axis else (0, 0, 0)
                       for i in range(len(shape_of(x))))
        decay = pad(_weight(before, after), 0.0, widths=widths)
        return linear_recurrence(decay, mul(tangents[0], _weight(x, out)), axis, reverse)


def _weight(x: Any, y: Any) -> Any:
    """exp(x - y), and 0 where both are -inf."""
    return exp(select(is_finite(y), sub(x, select(is_finite(y), y, 0.0)), sub(x, 0.0)))


def linear_recurrence(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """y[i] = a[i] y[i-1] + b[i], linear in b, in log2(n) doubling steps."""
    n, step = shape_of(a)[axis], 1
    rank = len(shape_of(a))
    while step < n:
        keep = (0, n - step) if not reverse else (step, n)
        side = (step, 0, 0) if not reverse else (0, step, 0)
        widths = tuple(side if i == axis else (0, 0, 0) for i in range(rank))
        shifted_b = pad(slice_axis(b, axis, *keep), zero_like(b), widths=widths)
        shifted_a = pad(slice_axis(a, axis, *keep), zero_like(a), widths=widths)
        b = add(b, mul(shifted_b, a))
        a = mul(a, shifted_a)
        step *= 2
    return b


cumsum = CumSum("cumsum")
cumprod = CumProd("cumprod")
cummax, cummin = CumExtremum("cummax"), CumExtremum("cummin")
cumlogsumexp = CumLogSumExp("cumlogsumexp")
