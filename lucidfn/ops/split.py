"""Cutting an array into parts along an axis: many slices whose derivative is one concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.shape import concatenate, reshape, zeros
from lucidfn.types import ArrayType


class Split(Primitive):
    """Parts of the given sizes along an axis, in order; concatenated they are x again."""

    name = "split"
    many = True

    def infer(self, x: ArrayType, *, axis: int, sizes: tuple[int, ...]) -> list[ArrayType]:
        if not 0 <= axis < len(x.shape) or sum(sizes) != x.shape[axis] or min(sizes) < 0:
            raise ShapeError(f"got {x}; parts of sizes {sizes} along axis {axis} do not fit")
        return [ArrayType((*x.shape[:axis], n, *x.shape[axis + 1:]), x.dtype, x.weak)
                for n in sizes]

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, *, axis: int,
            sizes: tuple[int, ...]) -> list[Any]:
        return self(tangents[0], axis=axis, sizes=sizes)

    def transpose(self, ct: Sequence[Any], x: Any, *, axis: int,
                  sizes: tuple[int, ...]) -> list[Any]:
        s = x.type.shape
        parts = [zeros((*s[:axis], n, *s[axis + 1:]), x.type.dtype) if c is None else c
                 for c, n in zip(ct, sizes, strict=True)]
        return [concatenate(*parts, axis=axis)]

    def batch(self, size: int, batched: Sequence[bool], x: Any, *, axis: int,
              sizes: tuple[int, ...]) -> list[Any]:
        return self(x, axis=axis + 1, sizes=sizes)

    def rows(self, axes: Any, types: Any, *, axis: int, sizes: tuple[int, ...]) -> Any:
        return None if axes[0] == axis else axes[0]

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


split = Split()


def unstack(x: Any, axis: int) -> list[Any]:
    """The slices along an axis, without that axis."""
    s = shape_of(x)
    rest = (*s[:axis], *s[axis + 1:])
    if not s[axis]:
        return []
    return [reshape(part, shape=rest) for part in split(x, axis=axis, sizes=(1,) * s[axis])]


__all__ = ["split", "unstack"]
