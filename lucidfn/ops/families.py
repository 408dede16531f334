"""Families of primitives: the rules that elementwise, linear and bilinear operations share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import shape_of
from lucidfn.errors import ShapeError
from lucidfn.types import (
    ArrayType,
    broadcast_shapes,
    dtype_name,
    is_key,
    kind_of,
    promote,
)

Rule = Callable[..., Any] | None
KINDS = {"b": 0, "i": 1, "f": 2, "c": 3, "k": 4}


class Elementwise(Primitive):
    """One output element from the elements at the same place; operands broadcast as in NumPy.

    Broadcasting is undone in one place each: `infer`, `widen` (jvp), `sum_to` (in the transpose
    walk), `pad_rank` (batch). `rules[i]` is the derivative in operand i: rule(t, out, *args).
    """

    def __init__(self, name: str, rules: Sequence[Rule], *, accepts: str = "bifc",
                 out: Callable[[Any], Any] | None = None, cost: int = 1):
        super().__init__(name)
        self.rules, self.out, self.cost = tuple(rules), out, cost
        self.accepts, self.kinds = accepts, frozenset(KINDS[k] for k in accepts)

    def infer(self, *types: ArrayType) -> ArrayType:
        first = types[0]
        for t in types:
            if t is not first and t != first:
                shape, (dtype, weak) = common_shape(types), common_dtype(types)
                break
        else:
            shape, dtype, weak = first
        if kind_of(dtype) not in self.kinds:
            wanted = [w for k, w in zip("bifck", ("bool", "integer", "floating", "complex", "key"),
                                        strict=True) if k in self.accepts]
            raise TypeError(f"got {dtype_name(dtype)}; it takes {' or '.join(wanted)} arrays"
                            + (" (random keys have no arithmetic)" if is_key(dtype) else ""))
        if self.out is not None:
            dtype = self.out(dtype)
        elif weak is first.weak and shape == first.shape and dtype == first.dtype:
            return first
        return ArrayType(shape, dtype, weak)

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        total = None
        for rule, t in zip(self.rules, tangents, strict=True):
            if t is not None and rule is not None:
                term = rule(t, out, *args)
                total = term if total is None else _add(total, term)
        return total if total is None or len(args) == 1 else widen(total, out)

    def batch(self, size: int, batched: Sequence[bool], *args: Any) -> Any:
        rank = max(len(shape_of(a)) - b for a, b in zip(args, batched, strict=True))
        return self(*[pad_rank(a, rank) if b else a for a, b in zip(args, batched, strict=True)])

    def rows(self, axes: Sequence[int | None], types: Sequence[ArrayType], **_: Any) -> Any:
        rank = max(len(t.shape) for t in types)
        found = {a + rank - len(t.shape) for a, t in zip(axes, types, strict=True) if a is not None}
        return found.pop() if len(found) == 1 else None

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], **_: Any) -> int:
        return self.cost * outs[0].size


def common_shape(types: Sequence[ArrayType]) -> tuple[int, ...]:
    shapes = {t.shape for t in types}
    if len(shapes) == 1:
        return types[0].shape
    try:
        return broadcast_shapes(*[t.shape for t in types])
    except ValueError:
        raise ShapeError(f"got {' and '.join(map(str, types))}; shapes must broadcast") from None


def common_dtype(types: Sequence[ArrayType]) -> tuple[Any, bool]:
    """The one dtype of the operands; Python scalars and weak arrays take that of the others."""
    strong = [t.dtype for t in types if not t.weak]
    if strong:
        dtype = strong[0]
        if strong.count(dtype) < len(strong):
            raise TypeError(f"got {' and '.join(map(str, types))}; a primitive takes equal dtypes "
                            "(the functions of lucidfn.numpy promote them)")
        return dtype, False
    return functools.reduce(lambda a, b: ArrayType((), *promote(a, b)), types)[1:]


def pad_rank(x: Any, rank: int) -> Any:
    """(B, *shape) -> (B, 1.., *shape), so that the batch axis stays in front."""
    batch, *shape = shape_of(x)
    if len(shape) == rank:
        return x
    return _reshape(x, shape=(batch, *[1] * (rank - len(shape)), *shape))


def widen(tangent: Any, out: Any) -> Any:
    shape = shape_of(out)
    return tangent if shape_of(tangent) == shape else _broadcast_to(tangent, shape=shape)


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Add up the copies that broadcasting from `shape` made."""
    have = shape_of(x)
    if have == shape:
        return x
    extra = len(have) - len(shape)
    axes = (*range(extra), *[i + extra for i, d in enumerate(shape) if d == 1 != have[i + extra]])
    out = _reduce_sum(x, axes=axes) if axes else x
    return out if shape_of(out) == shape else _reshape(out, shape=shape)


class Linear(Primitive):
    """Linear in its first operand, which is the only one that is differentiated."""

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, *rest: Any, **params: Any) -> Any:
        return None if tangents[0] is None else self(tangents[0], *rest, **params)


class Bilinear(Primitive):
    """Linear in each of two operands; a subclass gives the two transposes."""

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, y: Any, **params: Any) -> Any:
        tx, ty = tangents
        left = None if tx is None else self(tx, y, **params)
        right = None if ty is None else self(x, ty, **params)
        return left if right is None else right if left is None else _add(left, right)

    def transpose(self, ct: Any, x: Any, y: Any, **params: Any) -> list[Any]:
        if unknown(x):
            return [self.transpose_left(ct, x.type, y, **params), None]
        return [None, self.transpose_right(ct, x, y.type, **params)]

    def transpose_left(self, ct: Any, x: ArrayType, y: Any, **params: Any) -> Any:
        raise self.missing("transpose_left", "runs its derivative backwards in operand 1")

    def transpose_right(self, ct: Any, x: Any, y: ArrayType, **params: Any) -> Any:
        raise self.missing("transpose_right", "runs its derivative backwards in operand 2")


# The families need four primitives that are themselves members of families; `bind` supplies them.
_add: Any = None
_reshape: Any = None
_broadcast_to: Any = None
_reduce_sum: Any = None


def bind(**primitives: Any) -> None:
    globals().update({f"_{name}": p for name, p in primitives.items()})
