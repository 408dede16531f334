"""Collectives: operations along a named axis of a vmap. Each lane sees its own value only, and what
a collective gives it depends on the values of all lanes.

Their rules say nothing of how lanes are laid out: a collective stays as it is under every
transformation until it meets the vmap of its axis. `resolve` is its meaning there, where all lanes
stand along the first axis of one array.

The derivative is that of the sum over lanes of all outputs. So the transpose of psum is psum: what
one lane puts in reaches every lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn.control.custom import trace_of
from lucidfn.core.axes import axis_trace, named_axes
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, eval_trace, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import ONE, convert, div, eq, mul, select, zero_like
from lucidfn.ops.families import Linear
from lucidfn.ops.indexing import gather
from lucidfn.ops.reduce import reduce_max, reduce_min
from lucidfn.ops.shape import (
    broadcast_to,
    full,
    iota,
    merge_axes,
    move_axis,
    reduce_sum,
    split_axis,
)
from lucidfn.types import SCALARS, ArrayType, default_dtype_of, int32, kind_of


def unbound_axis(name: Any, what: str) -> NameError:
    """The error for an axis name that no vmap in scope has."""
    known = ", ".join(f"{t.axis_name!r} (size {t.size})" for t in named_axes.get())
    return NameError(
        f"{what}: there is no axis named {name!r} here; in scope: {known or 'no named axis'}. "
        f"Collectives work inside a function that lf.vmap(f, axis_name={name!r}) maps")


class Collective(Primitive):
    """An operation along the axis of that name; it goes to the vmap of that name.

    resolve    (size, batched, inputs with lanes in front) -> output, whether it varies over lanes
    """

    collective = True

    def __call__(self, *args: Any, **params: Any) -> Any:
        args = tuple([full(shape=(), dtype=default_dtype_of(type(x)), value=x)
                      if type(x) in SCALARS else x for x in args])
        trace, bound = trace_of(args), axis_trace(params["axis"])
        if bound is not None and bound.level > trace.level:
            trace = bound
        if trace is eval_trace:
            raise unbound_axis(params["axis"], self.name)
        return trace.process(self, args, params)

    def unbound(self, *args: Any, axis: Any, **params: Any) -> Any:
        """The kernel, on every backend: there are no lanes."""
        raise unbound_axis(axis, self.name)

    def resolve(self, size: int, batched: Sequence[bool], *args: Any,
                **params: Any) -> tuple[Any, bool]:
        raise self.missing("resolve", "gives it a meaning in a vmap of its axis")


def lanes_of(x: Any, batched: bool, size: int) -> Any:
    """x with all lanes in front, equal ones if it does not vary."""
    return x if batched else broadcast_to(x, shape=(size, *shape_of(x)))


def check_axis(x: ArrayType, axis: int, name: str, *, extra: int = 0) -> None:
    if not 0 <= axis < len(x.shape) + extra:
        raise ShapeError(f"got {x}, which has no {name} {axis}")


# ------------------------------------------------------------------ sums

class PSum(Collective, Linear):
    """out = sum over lanes of x, the same in every lane."""

    name = "psum"

    def infer(self, x: ArrayType, *, axis: Any) -> ArrayType:
        return x

    def transpose(self, ct: Any, x: Any, *, axis: Any) -> list[Any]:
        return [self(ct, axis=axis)]

    def batch(self, size: int, batched: Sequence[bool], x: Any, *, axis: Any) -> Any:
        return self(x, axis=axis)

    def resolve(self, size: int, batched: Sequence[bool], x: Any, *,
                axis: Any) -> tuple[Any, bool]:
        if batched[0]:
            return reduce_sum(x, axes=(0,)), False
        return mul(x, type(ONE[kind_of(dtype_of(x))])(size)), False


class PSumScatter(Collective, Linear):
    """The sum over lanes of x, of which lane i gets block i along `at`; of size 1 and dropped
    unless `tiled`."""

    name = "psum_scatter"

    def infer(self, x: ArrayType, *, axis: Any, size: int, at: int, tiled: bool) -> ArrayType:
        check_axis(x, at, "scatter_dimension")
        n, rest = x.shape[at], x.shape[at + 1:]
        if tiled and n % size:
            raise ShapeError(f"got {x}; axis {at} has {n} elements, which {size} lanes of {axis!r} "
                             "do not divide")
        if not tiled and n != size:
            raise ShapeError(f"got {x}; without tiled=True axis {at} must have the {size} lanes of "
                             f"{axis!r}, and it has {n}")
        return x._replace(shape=(*x.shape[:at], *([n // size] if tiled else []), *rest))

    def transpose(self, ct: Any, x: Any, *, axis: Any, size: int, at: int,
                  tiled: bool) -> list[Any]:
        return [all_gather(ct, axis=axis, size=size, at=at, tiled=tiled)]

    def batch(self, lanes: int, batched: Sequence[bool], x: Any, *, at: int, **params: Any) -> Any:
        return self(x, at=at + 1, **params)

    def resolve(self, lanes: int, batched: Sequence[bool], x: Any, *, axis: Any, size: int,
                at: int, tiled: bool) -> tuple[Any, bool]:
        total = reduce_sum(lanes_of(x, batched[0], lanes), axes=(0,))
        return move_axis(split_axis(total, at, size) if tiled else total, at, 0), True


class PExtremum(Collective):
    """The largest (smallest) x of all lanes; lanes that tie share the derivative equally."""

    def __init__(self, name: str, reduce: Any):
        super().__init__(name)
        self.reduce = reduce

    def infer(self, x: ArrayType, *, axis: Any) -> ArrayType:
        return x

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, *, axis: Any) -> Any:
        t = tangents[0]
        attains = eq(x, out)
        ties = psum(convert(attains, dtype=dtype_of(t)), axis=axis)
        return psum(div(select(attains, t, zero_like(t)), ties), axis=axis)

    def batch(self, size: int, batched: Sequence[bool], x: Any, *, axis: Any) -> Any:
        return self(x, axis=axis)

    def resolve(self, size: int, batched: Sequence[bool], x: Any, *,
                axis: Any) -> tuple[Any, bool]:
        return (self.reduce(x, axes=(0,)) if batched[0] else x), False


# ------------------------------------------------------------------ moves

class AllGather(Collective, Linear):
    """x of all lanes, in every lane: along a new axis `at`, or one after another if `tiled`."""

    name = "all_gather"

    def infer(self, x: ArrayType, *, axis: Any, size: int, at: int, tiled: bool) -> ArrayType:
        check_axis(x, at, "axis", extra=not tiled)
        block = (size * x.shape[at], *x.shape[at + 1:]) if tiled else (size, *x.shape[at:])
        return x._replace(shape=(*x.shape[:at], *block))

    def transpose(self, ct: Any, x: Any, *, axis: Any, size: int, at: int,
                  tiled: bool) -> list[Any]:
        return [psum_scatter(ct, axis=axis, size=size, at=at, tiled=tiled)]

    def batch(self, lanes: int, batched: Sequence[bool], x: Any, *, at: int, **params: Any) -> Any:
        return self(x, at=at + 1, **params)

    def resolve(self, lanes: int, batched: Sequence[bool], x: Any, *, axis: Any, size: int,
                at: int, tiled: bool) -> tuple[Any, bool]:
        gathered = move_axis(lanes_of(x, batched[0], lanes), 0, at)
        return merge_axes(gathered, at) if tiled else gathered, False


class AllToAll(Collective, Linear):
    """Lane i gets block i along `split` of x of every lane; blocks stand along `concat`, by lane.

    Not `tiled`, a block has size 1 along `split`, which goes, and lanes are a new axis `concat`.
    """

    name = "all_to_all"

    def infer(self, x: ArrayType, *, axis: Any, size: int, split: int, concat: int,
              tiled: bool) -> ArrayType:
        check_axis(x, split, "split_axis")
        check_axis(x, concat, "concat_axis")
        shape, n = list(x.shape), x.shape[split]
        if tiled and n % size:
            raise ShapeError(f"got {x}; axis {split} has {n} elements, which {size} lanes of "
                             f"{axis!r} do not divide")
        if not tiled and n != size:
            raise ShapeError(f"got {x}; without tiled=True axis {split} must have the {size} lanes "
                             f"of {axis!r}, and it has {n}")
        if tiled:
            shape[split] //= size
            shape[concat] *= size
        else:
            del shape[split]
            shape.insert(concat, size)
        return x._replace(shape=tuple(shape))

    def transpose(self, ct: Any, x: Any, *, split: int, concat: int, **params: Any) -> list[Any]:
        return [self(ct, split=concat, concat=split, **params)]

    def batch(self, lanes: int, batched: Sequence[bool], x: Any, *, split: int, concat: int,
              **params: Any) -> Any:
        return self(x, split=split + 1, concat=concat + 1, **params)

    def resolve(self, lanes: int, batched: Sequence[bool], x: Any, *, axis: Any, size: int,
                split: int, concat: int, tiled: bool) -> tuple[Any, bool]:
        x = lanes_of(x, batched[0], lanes)
        if tiled:
            x = split_axis(x, split + 1, size)
        x = move_axis(x, split + 1, 0)  # to, from, *the other axes
        x = move_axis(x, 1, concat + 1)
        return merge_axes(x, concat + 1) if tiled else x, True


class PPermute(Collective, Linear):
    """Lane j gets x of lane i for each (i, j) of `pairs`; zeros where no pair leads."""

    name = "ppermute"

    def infer(self, x: ArrayType, *, axis: Any, pairs: tuple[tuple[int, int], ...]) -> ArrayType:
        return x

    def transpose(self, ct: Any, x: Any, *, axis: Any, pairs: tuple[tuple[int, int], ...]) -> Any:
        return [self(ct, axis=axis, pairs=tuple([(j, i) for i, j in pairs]))]

    def batch(self, lanes: int, batched: Sequence[bool], x: Any, **params: Any) -> Any:
        return self(x, **params)

    def resolve(self, lanes: int, batched: Sequence[bool], x: Any, *, axis: Any,
                pairs: tuple[tuple[int, int], ...]) -> tuple[Any, bool]:
        source = np.full((lanes, 1), lanes, np.int32)  # out of bounds: filled with zeros
        for i, j in pairs:
            source[j] = i
        mode = "clip" if len(pairs) == lanes else "fill"
        return gather(lanes_of(x, batched[0], lanes), source, axes=(0,), mode=mode,
                      fill=zero_like(x)), True


class AxisIndex(Collective):
    """The number of the lane."""

    name = "axis_index"

    def infer(self, *, axis: Any) -> ArrayType:
        return ArrayType((), int32)

    def resolve(self, size: int, batched: Sequence[bool], *, axis: Any) -> tuple[Any, bool]:
        return iota(shape=(size,), dtype=int32, axis=0), True


psum, psum_scatter = PSum(), PSumScatter()
pmax, pmin = PExtremum("pmax", reduce_max), PExtremum("pmin", reduce_min)
all_gather, all_to_all, ppermute, axis_index = AllGather(), AllToAll(), PPermute(), AxisIndex()
