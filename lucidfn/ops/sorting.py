"""Sorting: sort, argsort, top_k. Elements that tie share the derivative of their places equally."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.cumulative import cumsum
from lucidfn.ops.elementwise import bitwise_or, convert, div, ne
from lucidfn.ops.indexing import gather, scatter_add
from lucidfn.ops.shape import (
    broadcast_to,
    concatenate,
    flip,
    full,
    move_axis,
    reshape,
    slice_axis,
    zeros,
)
from lucidfn.types import ArrayType, int32


class ArgSort(Primitive):
    """Stable positions that put the keys in order, the first key most significant."""

    name = "argsort"

    def infer(self, *keys: ArrayType, axis: int) -> ArrayType:
        check_sorted(keys, axis)
        return ArrayType(keys[0].shape, int32)

    def jvp(self, tangents: Any, out: Any, *keys: Any, axis: int) -> Any:
        return None

    def batch(self, size: int, batched: Sequence[bool], *keys: Any, axis: int) -> Any:
        return self(*on_every_lane(size, batched, keys), axis=axis + 1)

    def rows(self, axes: Any, types: Any, *, axis: int) -> Any:
        return axes[0] if len(set(axes)) == 1 and axes[0] != axis else None

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[0].size * types[0].size.bit_length()


def check_sorted(operands: Sequence[ArrayType], axis: int) -> None:
    first = operands[0]
    if not 0 <= axis < len(first.shape):
        raise ShapeError(f"got {first}; it has no axis {axis}")
    if any(t.shape != first.shape for t in operands):
        raise ShapeError(f"got {', '.join(map(str, operands))}; shapes must be equal")


def on_every_lane(size: int, batched: Sequence[bool], xs: Sequence[Any]) -> list[Any]:
    return [x if b else broadcast_to(x, shape=(size, *shape_of(x)))
            for x, b in zip(xs, batched, strict=True)]


class Sort(Primitive):
    """The operands, reordered together so that the first num_keys of them ascend; stable."""

    name = "sort"
    many = True

    def infer(self, *operands: ArrayType, axis: int, num_keys: int) -> list[ArrayType]:
        check_sorted(operands, axis)
        if not 1 <= num_keys <= len(operands):
            raise ValueError(f"sort got num_keys={num_keys} for {len(operands)} operands")
        return list(operands)

    def jvp(self, tangents: Sequence[Any], out: Sequence[Any], *operands: Any, axis: int,
            num_keys: int) -> list[Any]:
        if all(t is None for t in tangents):
            return [None] * len(operands)
        order = places(last(argsort(*operands[:num_keys], axis=axis), axis))
        runs = runs_of(out[:num_keys], axis)
        found: list[Any] = []
        for i, t in enumerate(tangents):
            if t is None:
                found.append(None)
                continue
            moved = take_last(last(t, axis), order)
            if i < num_keys:
                moved = mean_of_runs(moved, runs)
            found.append(move_axis(moved, len(shape_of(t)) - 1, axis))
        return found

    def batch(self, size: int, batched: Sequence[bool], *operands: Any, axis: int,
              num_keys: int) -> list[Any]:
        return self(*on_every_lane(size, batched, operands), axis=axis + 1, num_keys=num_keys)

    def rows(self, axes: Any, types: Any, *, axis: int, num_keys: int) -> Any:
        return axes[0] if len(set(axes)) == 1 and axes[0] != axis else None

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[0].size * types[0].size.bit_length()


class TopK(Primitive):
    """The k largest along the last axis, descending, and their positions; the first of equals."""

    name = "top_k"
    many = True

    def infer(self, x: ArrayType, *, k: int) -> list[ArrayType]:
        if not x.shape or not 0 <= k <= x.shape[-1]:
            raise ShapeError(f"got {x}; it has no {k} elements along its last axis")
        shape = (*x.shape[:-1], k)
        return [ArrayType(shape, x.dtype, x.weak), ArrayType(shape, int32)]

    def jvp(self, tangents: Sequence[Any], out: Sequence[Any], x: Any, *, k: int) -> list[Any]:
        # The end of the ascending order, backwards: elements left out may tie with those taken.
        axis, n = len(shape_of(x)) - 1, shape_of(x)[-1]
        ascending = sort(x, axis=axis, num_keys=1)
        moved = sort.jvp(tangents, ascending, x, axis=axis, num_keys=1)[0]
        return [flip(slice_axis(moved, axis, n - k, n), axes=(axis,)), None]

    def batch(self, size: int, batched: Sequence[bool], x: Any, *, k: int) -> list[Any]:
        return self(x, k=k)

    def rows(self, axes: Any, types: Any, *, k: int) -> Any:
        return axes[0] if axes[0] < len(types[0].shape) - 1 else None

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[0].size * types[0].size.bit_length()


# Derivatives work on the last axis; the others are lanes.

def last(x: Any, axis: int) -> Any:
    return move_axis(x, axis, len(shape_of(x)) - 1)


def places(index: Any) -> Any:
    return reshape(index, shape=(*shape_of(index), 1))


def take_last(x: Any, at: Any) -> Any:
    lanes = len(shape_of(x)) - 1
    return gather(x, at, axes=(lanes,), mode="unchecked", fill=0.0, lanes=lanes)


def runs_of(keys: Sequence[Any], axis: int) -> Any:
    """The number of the run of equal keys that each sorted element belongs to, (..., n, 1)."""
    begins = None
    for key in keys:
        key = last(key, axis)
        at, n = len(shape_of(key)) - 1, shape_of(key)[-1]
        if not n:
            return zeros((*shape_of(key), 1), int32)
        differs = ne(slice_axis(key, at, 1, n), slice_axis(key, at, 0, n - 1))
        begins = differs if begins is None else bitwise_or(begins, differs)
    first = full(shape=(*shape_of(begins)[:-1], 1), dtype=int32, value=0)
    begins = concatenate(first, convert(begins, dtype=int32), axis=at)
    return places(cumsum(begins, axis=at, reverse=False))


def mean_of_runs(t: Any, runs: Any) -> Any:
    lanes = len(shape_of(t)) - 1
    empty = zeros(shape_of(t), dtype_of(t))
    ones = full(shape=shape_of(t), dtype=dtype_of(t), value=1.0)
    put = lambda x: scatter_add(empty, runs, x, axes=(lanes,), mode="unchecked", lanes=lanes)
    return div(take_last(put(t), runs), take_last(put(ones), runs))


argsort, sort, top_k = ArgSort(), Sort(), TopK()

__all__ = ["argsort", "sort", "top_k"]
