"""Scatters that multiply or keep an extremum; the derivative covers updates that share a place."""

from __future__ import annotations

import math
from typing import Any

from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.ops.elementwise import (
    add,
    bitwise_or,
    convert,
    div,
    eq,
    is_nan,
    mul,
    select,
    zero_like,
)
from lucidfn.ops.indexing import (
    Axes,
    Scatter,
    gather,
    instantiated,
    owners,
    scatter_add,
    take_back,
)
from lucidfn.ops.shape import concatenate, full, reshape, slice_axis, zeros
from lucidfn.ops.sorting import argsort
from lucidfn.types import is_inexact


class ScatterMul(Scatter):
    """x[place] *= update; linear in x."""

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
            mode: str, lanes: int = 0) -> Any:
        tx, _, tu = tangents
        total = None
        if tx is not None:
            total = self(tx, indices, updates, axes=axes, mode=mode, lanes=lanes)
        if tu is not None:
            _, last = owners(shape_of(x), indices, axes, mode, lanes)
            factor = take_back(x, indices, axes, mode, lanes)
            if last is not None:
                factor = mul(factor, product_of_rivals(updates, last))
            zero = zeros(shape_of(x), dtype_of(x))
            moved = scatter_add(zero, indices, mul(tu, factor), axes=axes, mode=mode, lanes=lanes)
            total = moved if total is None else add(total, moved)
        return total

    def transpose(self, ct: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
                  mode: str, lanes: int = 0) -> list[Any]:
        return [self(ct, indices, updates, axes=axes, mode=mode, lanes=lanes), None, None]


def product_of_rivals(updates: Any, group: Any) -> Any:
    """For each update the product of the others of its group, without dividing: zeros are allowed.

    In the order of the groups, a running product from each side that starts anew with each group.
    """
    lead, shape = shape_of(group), shape_of(updates)
    count = math.prod(lead)
    rows = reshape(updates, shape=(count, *shape[len(lead):]))
    group = reshape(group, shape=(count,))
    order = argsort(group, axis=0)
    back = argsort(order, axis=0)
    rows, group = take_rows(rows, order), take_rows(group, order)
    others = mul(before_in_group(rows, group, False), before_in_group(rows, group, True))
    return reshape(take_rows(others, back), shape=shape)


def take_rows(x: Any, index: Any) -> Any:
    return gather(x, reshape(index, shape=(*shape_of(index), 1)), axes=(0,), mode="unchecked",
                  fill=zero_like(x))


def before_in_group(rows: Any, group: Any, reverse: bool) -> Any:
    """The product of the rows before (or after) each row within its run of equal group numbers."""
    n, one = shape_of(rows)[0], 1 + zero_like(rows)
    total = shift_in_group(rows, group, 1, reverse, one)
    step = 1
    while step < n:
        total = mul(total, shift_in_group(total, group, step, reverse, one))
        step *= 2
    return total


def shift_in_group(rows: Any, group: Any, step: int, reverse: bool, one: Any) -> Any:
    """Row i - step (i + step with `reverse`) where it is of i's group, else ones."""
    n, shape = shape_of(rows)[0], shape_of(rows)
    step = n if step > n else step
    keep, gone = ((step, n), (0, n - step)) if reverse else ((0, n - step), (step, n))
    same = eq(slice_axis(group, 0, *keep), slice_axis(group, 0, *gone))
    same = reshape(same, shape=(n - step, *[1] * (len(shape) - 1)))
    moved = select(same, slice_axis(rows, 0, *keep), one)
    ones = full(shape=(step, *shape[1:]), dtype=dtype_of(rows), value=one)
    return concatenate(*((moved, ones) if reverse else (ones, moved)), axis=0)


class ScatterExtremum(Scatter):
    """x[place] = min or max of it and its updates; those that tie share the derivative equally."""

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
            mode: str, lanes: int = 0) -> Any:
        tx, tu = instantiated((tangents[0], tangents[2]), x, updates)
        dtype = dtype_of(x)
        # A NaN that no update reached keeps its own tangent.
        at_x = bitwise_or(eq(x, out), is_nan(x)) if is_inexact(dtype) else eq(x, out)
        at_u = eq(updates, take_back(out, indices, axes, mode, lanes))
        put = lambda a, b: scatter_add(a, indices, b, axes=axes, mode=mode, lanes=lanes)
        count = put(convert(at_x, dtype=dtype), convert(at_u, dtype=dtype))
        total = put(select(at_x, tx, zero_like(tx)), select(at_u, tu, zero_like(tu)))
        return div(total, count)


scatter_mul = ScatterMul("scatter_mul")
scatter_min, scatter_max = ScatterExtremum("scatter_min"), ScatterExtremum("scatter_max")

__all__ = ["scatter_max", "scatter_min", "scatter_mul"]
