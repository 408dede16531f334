"""Arrays whose size along an axis is known only when they are made: what a loop keeps at each step.

The type of such an axis has the size UNKNOWN. A tape may be longer than its loop ran; one row of
zeros stands for any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.types import ArrayType

UNKNOWN = -1  # the size of an axis in a type


def fits(t: ArrayType, wanted: ArrayType) -> bool:
    """Whether two types agree, as far as they are known."""
    return t[:2] == wanted[:2] or (
        t.dtype == wanted.dtype and len(t.shape) == len(wanted.shape) and all(
            a == b or UNKNOWN in (a, b) for a, b in zip(t.shape, wanted.shape, strict=True)))


class BlankTape(Primitive):
    """Zeros of any size along the axes of unknown size."""

    name = "blank_tape"

    def infer(self, *, shape: tuple[int, ...], dtype: Any, value: Any) -> ArrayType:
        return ArrayType(shape, dtype)

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class AddTapes(Primitive):
    """x + y, where what one tape lacks counts as zeros."""

    name = "add_tapes"

    def infer(self, x: ArrayType, y: ArrayType) -> ArrayType:
        if len(x.shape) != len(y.shape) or x.dtype != y.dtype:
            raise TypeError(f"got tapes {x} and {y}")
        return ArrayType(tuple([a if a == b else UNKNOWN for a, b in
                                zip(x.shape, y.shape, strict=True)]), x.dtype)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, y: Any) -> Any:
        tx, ty = tangents
        return ty if tx is None else tx if ty is None else self(tx, ty)

    def transpose(self, ct: Any, x: Any, y: Any) -> list[Any]:
        return [ct, ct]

    def batch(self, size: int, batched: Sequence[bool], x: Any, y: Any) -> Any:
        grown = [v if b else broadcast_lanes(v, size) for v, b in
                 zip((x, y), batched, strict=True)]
        return self(*grown)


def broadcast_lanes(x: Any, size: int) -> Any:
    """One copy of a tape for each lane; the primitive comes from ops.shape, which needs this."""
    return _broadcast_to(x, shape=(size, *x.shape))


def bind(broadcast_to: Any) -> None:
    """Called once by ops.shape."""
    globals()["_broadcast_to"] = broadcast_to


_broadcast_to: Any = None
blank_tape, add_tapes = BlankTape(), AddTapes()

__all__ = ["UNKNOWN", "add_tapes", "blank_tape", "fits"]
