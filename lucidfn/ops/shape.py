"""Primitives that move elements without computing: all linear, each its own derivative."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import ZERO, add, select, sub, zero_like
from lucidfn.ops.families import Linear, bind, pad_rank
from lucidfn.ops.tapes import UNKNOWN, blank_tape
from lucidfn.ops.tapes import bind as bind_tapes
from lucidfn.types import ArrayType, bool_, is_key, kind_of


class Shape(Linear):
    """No arithmetic."""

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], **_: Any) -> int:
        return 0


class BroadcastTo(Shape):
    """x repeated along new leading axes and along axes of size 1."""

    name = "broadcast_to"

    def infer(self, x: ArrayType, *, shape: tuple[int, ...]) -> ArrayType:
        tail = shape[len(shape) - len(x.shape):]
        if len(shape) < len(x.shape) or any(a not in (1, b) for a, b in zip(x.shape, tail,
                                                                           strict=True)):
            raise ShapeError(f"got {x}; it does not broadcast to {shape}")
        return ArrayType(shape, x.dtype, x.weak)

    def transpose(self, ct: Any, x: Any, *, shape: tuple[int, ...]) -> list[Any]:
        return [ct]  # `sum_to` in the transpose walk adds up the copies

    def batch(self, size: int, batched: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
        return self(pad_rank(x, len(shape)), shape=(size, *shape))

    def rows(self, axes: Any, types: Any, *, shape: tuple[int, ...]) -> Any:
        return axes[0] + len(shape) - len(types[0].shape)

    def row_params(self, axis: int, size: int, types: Any, *, shape: tuple[int, ...]) -> Any:
        return {"shape": resized(shape, axis, size)}


class Reshape(Shape):
    """The same elements in row-major order under another shape."""

    name = "reshape"

    def infer(self, x: ArrayType, *, shape: tuple[int, ...]) -> ArrayType:
        if math.prod(shape) != x.size:
            raise ShapeError(f"got {x}, which has {x.size} elements; shape {shape} has "
                             f"{math.prod(shape)}")
        return ArrayType(shape, x.dtype, x.weak)

    def transpose(self, ct: Any, x: Any, *, shape: tuple[int, ...]) -> list[Any]:
        return [self(ct, shape=x.type.shape)]

    def batch(self, size: int, batched: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
        return self(x, shape=(size, *shape))

    def row_params(self, axis: int, size: int, types: Any, *, shape: tuple[int, ...]) -> Any:
        return {"shape": resized(shape, axis, size)}


class Permute(Shape):
    """out axis i is axis order[i] of x."""

    name = "permute"

    def infer(self, x: ArrayType, *, order: tuple[int, ...]) -> ArrayType:
        if sorted(order) != list(range(len(x.shape))):
            raise ShapeError(f"got {x}; {order} does not order its axes")
        return ArrayType(tuple([x.shape[i] for i in order]), x.dtype, x.weak)

    def transpose(self, ct: Any, x: Any, *, order: tuple[int, ...]) -> list[Any]:
        return [self(ct, order=inverse(order))]

    def batch(self, size: int, batched: Any, x: Any, *, order: tuple[int, ...]) -> Any:
        return self(x, order=(0, *[i + 1 for i in order]))

    def rows(self, axes: Any, types: Any, *, order: tuple[int, ...]) -> Any:
        return order.index(axes[0])


class Flip(Shape):
    """x reversed along axes."""

    name = "flip"

    def infer(self, x: ArrayType, *, axes: tuple[int, ...]) -> ArrayType:
        return x

    def transpose(self, ct: Any, x: Any, *, axes: tuple[int, ...]) -> list[Any]:
        return [self(ct, axes=axes)]

    def batch(self, size: int, batched: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
        return self(x, axes=tuple(a + 1 for a in axes))

    def rows(self, row_axes: Any, types: Any, *, axes: tuple[int, ...]) -> Any:  # type: ignore
        return None if row_axes[0] in axes else row_axes[0]


class Slice(Shape):
    """x[start:stop:stride] along every axis; stops within bounds, strides positive."""

    name = "slice"

    def infer(self, x: ArrayType, *, start: tuple[int, ...], stop: tuple[int, ...],
              stride: tuple[int, ...]) -> ArrayType:
        if not len(x.shape) == len(start) == len(stop) == len(stride) or any(
                not 0 <= a <= b <= n or k < 1
                for a, b, k, n in zip(start, stop, stride, x.shape, strict=True)):
            raise ShapeError(f"got {x}; start {start}, stop {stop}, stride {stride} do not fit")
        return ArrayType(tuple([-((a - b) // k) for a, b, k in
                                zip(start, stop, stride, strict=True)]), x.dtype, x.weak)

    def transpose(self, ct: Any, x: Any, *, start: tuple[int, ...], stop: tuple[int, ...],
                  stride: tuple[int, ...]) -> list[Any]:
        widths = []
        for a, k, n, m in zip(start, stride, x.type.shape, shape_of(ct), strict=True):
            spread = 0 if m == 0 else (m - 1) * k + 1
            widths.append((a, n - a - spread, k - 1))
        return [pad(ct, zero_like(ct), widths=tuple(widths))]

    def batch(self, size: int, batched: Any, x: Any, *, start: Any, stop: Any, stride: Any) -> Any:
        return self(x, start=(0, *start), stop=(size, *stop), stride=(1, *stride))

    def rows(self, axes: Any, types: Any, *, start: Any, stop: Any, stride: Any) -> Any:
        a = axes[0]
        whole = start[a] == 0 and stop[a] == types[0].shape[a] and stride[a] == 1
        return a if whole else None

    def row_params(self, axis: int, size: int, types: Any, *, start: Any, stop: Any,
                   stride: Any) -> Any:
        return {"start": start, "stop": resized(stop, axis, size), "stride": stride}


class Pad(Primitive):
    """`interior` copies of value between elements, then lo and hi around them; negative crops."""

    name = "pad"

    def infer(self, x: ArrayType, value: ArrayType, *,
              widths: tuple[tuple[int, int, int], ...]) -> ArrayType:
        if len(widths) != len(x.shape) or value.shape or any(k < 0 for *_, k in widths):
            raise ShapeError(f"got {x} and {value}; widths {widths} do not fit")
        shape = tuple([(n - 1) * k + n + lo + hi if n else lo + hi
                       for n, (lo, hi, k) in zip(x.shape, widths, strict=True)])
        if any(n < 0 for n in shape):
            raise ShapeError(f"got {x}; widths {widths} crop more than there is")
        return ArrayType(shape, x.dtype, x.weak)

    def jvp(self, tangents: Any, out: Any, x: Any, value: Any, *, widths: Any) -> Any:
        tx, tv = tangents
        if tx is None:
            tx = zeros(shape_of(x), dtype_of(tv))
        return self(tx, zero_like(tx) if tv is None else tv, widths=widths)

    def transpose(self, ct: Any, x: Any, value: Any, *, widths: Any) -> list[Any]:
        inside = self(ct, zero_like(ct), widths=tuple((-lo, -hi, 0) for lo, hi, _ in widths))
        step = tuple(k + 1 for *_, k in widths)
        shape = shape_of(inside)
        inside = slice_(inside, start=(0,) * len(shape), stop=shape, stride=step)
        ct_value = None
        if unknown(value):
            every = tuple(range(len(shape)))
            ct_value = sub(reduce_sum(ct, axes=every), reduce_sum(inside, axes=every))
        return [inside if unknown(x) else None, ct_value]

    def batch(self, size: int, batched: Any, x: Any, value: Any, *, widths: Any) -> Any:
        if not batched[1]:
            return self(x, value, widths=((0, 0, 0), *widths))
        # A value for each lane: pad with zeros and select by a padded mask.
        if not batched[0]:
            x = broadcast_to(x, shape=(size, *shape_of(x)))
        widths = ((0, 0, 0), *widths)
        mask = self(full(shape=shape_of(x), dtype=bool_, value=True), False, widths=widths)
        values = reshape(value, shape=(size, *[1] * (len(shape_of(x)) - 1)))
        return select(mask, self(x, zero_like(x), widths=widths), values)

    def rows(self, axes: Any, types: Any, *, widths: Any) -> Any:
        return axes[0] if axes[1] is None and widths[axes[0]] == (0, 0, 0) else None

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class Concatenate(Primitive):
    """Operands one after another along an axis."""

    name = "concatenate"

    def infer(self, *xs: ArrayType, axis: int) -> ArrayType:
        first = xs[0]
        rest = lambda t: (*t.shape[:axis], *t.shape[axis + 1:])
        if not 0 <= axis < len(first.shape) or any(
                len(t.shape) != len(first.shape) or rest(t) != rest(first) for t in xs):
            raise ShapeError(f"got {', '.join(map(str, xs))}; all axes but axis {axis} must agree")
        if any(t.dtype != first.dtype for t in xs):
            raise TypeError(f"got {', '.join(map(str, xs))}; dtypes must be equal")
        size = sum(t.shape[axis] for t in xs)
        return ArrayType((*first.shape[:axis], size, *first.shape[axis + 1:]), first.dtype,
                         all(t.weak for t in xs))

    def jvp(self, tangents: Any, out: Any, *xs: Any, axis: int) -> Any:
        return self(*[zeros(shape_of(x), dtype_of(x)) if t is None else t
                      for t, x in zip(tangents, xs, strict=True)], axis=axis)

    def transpose(self, ct: Any, *xs: Any, axis: int) -> list[Any]:
        shape, at, out = shape_of(ct), 0, []
        for x in xs:
            n = shape_of(x)[axis] if not unknown(x) else x.type.shape[axis]
            start = tuple(at if i == axis else 0 for i in range(len(shape)))
            stop = tuple(at + n if i == axis else d for i, d in enumerate(shape))
            out.append(slice_(ct, start=start, stop=stop, stride=(1,) * len(shape))
                       if unknown(x) else None)
            at += n
        return out

    def batch(self, size: int, batched: Any, *xs: Any, axis: int) -> Any:
        full = [x if b else broadcast_to(x, shape=(size, *shape_of(x)))
                for x, b in zip(xs, batched, strict=True)]
        return self(*full, axis=axis + 1)

    def rows(self, axes: Any, types: Any, *, axis: int) -> Any:
        return axes[0] if len(set(axes)) == 1 and axes[0] != axis else None

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class Full(Primitive):
    """One scalar everywhere."""

    name = "full"

    def infer(self, *, shape: tuple[int, ...], dtype: Any, value: Any) -> ArrayType:
        return ArrayType(shape, dtype)

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class ReduceSum(Linear):
    """Sum over axes."""

    name = "reduce_sum"

    def infer(self, x: ArrayType, *, axes: tuple[int, ...]) -> ArrayType:
        return reduced(x, axes)

    def transpose(self, ct: Any, x: Any, *, axes: tuple[int, ...]) -> list[Any]:
        return [expand(ct, x.type.shape, axes)]

    def batch(self, size: int, batched: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
        return self(x, axes=tuple([a + 1 for a in axes]))

    def rows(self, row_axes: Any, types: Any, *, axes: tuple[int, ...]) -> Any:  # type: ignore
        return "add" if row_axes[0] in axes else without(row_axes[0], axes)

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[0].size


class Iota(Primitive):
    """0, 1, 2, ... along one axis."""

    name = "iota"

    def infer(self, *, shape: tuple[int, ...], dtype: Any, axis: int) -> ArrayType:
        return ArrayType(shape, dtype)

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


broadcast_to, reshape, permute, flip = BroadcastTo(), Reshape(), Permute(), Flip()
slice_, pad, concatenate, iota = Slice(), Pad(), Concatenate(), Iota()
full, reduce_sum = Full(), ReduceSum()
bind(add=add, reshape=reshape, broadcast_to=broadcast_to, reduce_sum=reduce_sum)
bind_tapes(broadcast_to)


def resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """The shape with another size of one axis."""
    return (*shape[:axis], size, *shape[axis + 1:])


def without(axis: int, gone: Sequence[int]) -> int:
    """The place of an axis once others are gone."""
    return axis - sum(g < axis for g in gone)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of zeros (False for bool) of this type."""
    make = blank_tape if UNKNOWN in shape else full
    return make(shape=shape, dtype=dtype, value=ZERO[kind_of(dtype)])


def reduced(x: ArrayType, axes: tuple[int, ...], dtype: Any = None) -> ArrayType:
    """The type of x without some axes."""
    if kind_of(x.dtype) == 4:
        raise TypeError(f"got {x}; random keys have no arithmetic")
    if is_key(x.dtype):
        raise TypeError(f"got {x}; random keys have no arithmetic")
    shape = _without(x.shape, axes)
    if shape is None:
        raise ShapeError(f"got {x}; axes {axes} do not fit")
    return ArrayType(shape, x.dtype if dtype is None else dtype, x.weak)


@functools.cache
def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...] | None:
    if any(not 0 <= a < len(shape) for a in axes) or len(set(axes)) != len(axes):
        return None
    return tuple([d for i, d in enumerate(shape) if i not in axes])


def expand(x: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """Undo a reduction over axes: put them back and repeat x along them."""
    if len(axes) == len(shape):
        return broadcast_to(x, shape=shape)
    kept = tuple([1 if i in axes else d for i, d in enumerate(shape)])
    return broadcast_to(reshape(x, shape=kept), shape=shape)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def move_axis(x: Any, source: int, target: int) -> Any:
    order = [i for i in range(len(shape_of(x))) if i != source]
    order.insert(target, source)
    return x if source == target else permute(x, order=tuple(order))


def split_axis(x: Any, axis: int, parts: int) -> Any:
    """Axis of size parts*n -> two axes (parts, n)."""
    s = shape_of(x)
    n = s[axis] // parts if parts else 0
    return reshape(x, shape=(*s[:axis], parts, n, *s[axis + 1:]))


def merge_axes(x: Any, axis: int, count: int = 2) -> Any:
    """Collapse `count` axes starting at `axis` into one."""
    s = shape_of(x)
    return reshape(x, shape=(*s[:axis], math.prod(s[axis:axis + count]), *s[axis + count:]))


def slice_axis(x: Any, axis: int, start: int, stop: int, stride: int = 1) -> Any:
    """x[start:stop:stride] along one axis."""
    s = shape_of(x)
    return slice_(x, start=tuple(start if i == axis else 0 for i in range(len(s))),
                  stop=tuple(stop if i == axis else d for i, d in enumerate(s)),
                  stride=tuple(stride if i == axis else 1 for i in range(len(s))))
