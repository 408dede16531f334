"""Blocks of fixed shape at a computed place: dynamic_slice and dynamic_update_slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import add, clamp, convert
from lucidfn.ops.families import Linear
from lucidfn.ops.indexing import Axes, gather, instantiated, scatter_set
from lucidfn.ops.shape import (
    broadcast_to,
    concatenate,
    full,
    iota,
    move_axis,
    permute,
    reshape,
    resized,
    zeros,
)
from lucidfn.types import ArrayType, int32, kind_of


class DynamicSlice(Linear):
    """The block of shape `sizes` that begins at the starts, moved as needed to lie inside x."""

    name = "dynamic_slice"

    def infer(self, x: ArrayType, *starts: ArrayType, sizes: Axes) -> ArrayType:
        check_starts(x, starts)
        if len(sizes) != len(x.shape) or any(not 0 <= s <= n for s, n in
                                             zip(sizes, x.shape, strict=True)):
            raise ShapeError(f"got {x}; a slice of sizes {sizes} does not fit in it")
        return ArrayType(tuple(sizes), x.dtype, x.weak)

    def transpose(self, ct: Any, x: Any, *starts: Any, sizes: Axes) -> list[Any]:
        out = dynamic_update_slice(zeros(x.type.shape, x.type.dtype), ct, *starts)
        return [out, *[None] * len(starts)]

    def batch(self, size: int, batched: Sequence[bool], x: Any, *starts: Any, sizes: Axes) -> Any:
        shape = shape_of(x)[batched[0]:]
        # Axes whose start all lanes share are cut first, the others one by one.
        same = [0 if b else s for s, b in zip(starts, batched[1:], strict=True)]
        first = tuple([n if b else s for n, s, b in zip(shape, sizes, batched[1:], strict=True)])
        lane = ((0,), (size,)) if batched[0] else ((), ())
        x = self(x, *lane[0], *same, sizes=(*lane[1], *first))
        has_lane = batched[0]
        for axis, (b, n) in enumerate(zip(batched[1:], sizes, strict=True)):
            if not b or n == shape[axis]:
                continue
            at = block(starts[axis], shape[axis], n, (size, n), 1)
            x = gather.batch(size, (has_lane, True), x, at, axes=(axis,), mode="unchecked",
                             fill=None)
            x, has_lane = move_axis(x, 1, axis + 1), True
        return x if has_lane else broadcast_to(x, shape=(size, *shape_of(x)))

    def rows(self, axes: Any, types: Any, *, sizes: Axes) -> Any:
        a = axes[0]
        return a if a is not None and sizes[a] == types[0].shape[a] else None

    def row_params(self, axis: int, size: int, types: Any, *, sizes: Axes) -> Any:
        return {"sizes": resized(sizes, axis, size)}

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


def check_starts(x: ArrayType, starts: Sequence[ArrayType]) -> None:
    if len(starts) != len(x.shape):
        raise ShapeError(f"got {x} and {len(starts)} start indices; it needs {len(x.shape)}")
    for start in starts:
        if start.shape or kind_of(start.dtype) != 1:
            raise TypeError(f"got a start index of type {start}; it must be one integer")


def block(start: Any, n: int, size: int, shape: tuple[int, ...], axis: int) -> Any:
    """Indices (*shape, 1): clamped starts, one for each lane, counting up along `axis`."""
    start = clamp(0, convert(start, dtype=int32) if dtype_of(start).itemsize < 4 else start,
                  n - size)
    start = reshape(start, shape=(shape_of(start) or (1,)) + (1,) * (len(shape) - 1))
    at = add(start, iota(shape=shape, dtype=dtype_of(start), axis=axis))
    return reshape(at, shape=(*shape, 1))


class DynamicUpdateSlice(Primitive):
    """x with the block that begins at the starts (clamped likewise) replaced by the update."""

    name = "dynamic_update_slice"

    def infer(self, x: ArrayType, update: ArrayType, *starts: ArrayType) -> ArrayType:
        check_starts(x, starts)
        if len(update.shape) != len(x.shape) or any(
                s > n for s, n in zip(update.shape, x.shape, strict=True)):
            raise ShapeError(f"got {x} and update {update}, which does not fit in it")
        if update.dtype != x.dtype:
            raise TypeError(f"got {x} and update {update}; dtypes must be equal")
        return x

    def jvp(self, tangents: Any, out: Any, x: Any, update: Any, *starts: Any) -> Any:
        tx, tu = instantiated(tangents[:2], x, update)
        return self(tx, tu, *starts)

    def transpose(self, ct: Any, x: Any, update: Any, *starts: Any) -> list[Any]:
        kind = update.type if unknown(update) else type_of(update)
        ct_x = self(ct, zeros(kind.shape, kind.dtype), *starts) if unknown(x) else None
        ct_u = dynamic_slice(ct, *starts, sizes=kind.shape) if unknown(update) else None
        return [ct_x, ct_u, *[None] * len(starts)]

    def batch(self, size: int, batched: Sequence[bool], x: Any, update: Any, *starts: Any) -> Any:
        if not batched[0]:
            x = broadcast_to(x, shape=(size, *shape_of(x)))
        if not batched[1]:
            update = broadcast_to(update, shape=(size, *shape_of(update)))
        if not any(batched[2:]):
            return self(x, update, 0, *starts)
        shape, sizes = shape_of(x), shape_of(update)
        axes = tuple([i for i in range(1, len(shape)) if sizes[i] < shape[i]])
        grid = (size, *[sizes[i] for i in axes])
        columns = []
        for k, i in enumerate(axes):
            start = convert(as_vector(starts[i - 1]), dtype=int32)
            columns.append(block(start, shape[i], sizes[i], grid, k + 1))
        indices = concatenate(*columns, axis=len(grid)) if columns else zeros((*grid, 0), int32)
        rest = tuple([i for i in range(1, len(shape)) if i not in axes])
        update = permute(update, order=(0, *axes, *rest))
        return scatter_set(x, indices, update, axes=axes, mode="unchecked", lanes=1)

    def rows(self, axes: Any, types: Any) -> Any:
        a = axes[0]
        together = a is not None and axes[1] == a and types[0].shape[a] == types[1].shape[a]
        return a if together else None

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


def as_vector(x: Any) -> Any:
    """A start as an array, also where it is a Python integer."""
    return full(shape=(), dtype=int32, value=x) if type(x) is int else x


dynamic_slice, dynamic_update_slice = DynamicSlice(), DynamicUpdateSlice()

__all__ = ["dynamic_slice", "dynamic_update_slice"]
