"""Taking elements at computed places and putting them there: gather, scatter_add, scatter_set.

Places are `indices[..., k]`: the last axis holds one index for each of the k indexed `axes` of x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import convert, eq, select, zero_like
from lucidfn.ops.families import Linear
from lucidfn.ops.shape import broadcast_to, concatenate, iota, move_axis, reshape, zeros
from lucidfn.types import ArrayType, int32, kind_of

Axes = tuple[int, ...]
GATHER_MODES = {"raise": "raise", "clip": "clip", "fill": "drop", "unchecked": "unchecked"}
SCATTER_MODES = {scatter: gather for gather, scatter in GATHER_MODES.items()}


def places(x: ArrayType, indices: ArrayType, axes: Axes) -> tuple[int, ...]:
    """The shape of what is taken or put: one block of x's other axes for each index tuple."""
    if kind_of(indices.dtype) != 1:
        raise TypeError(f"got indices of type {indices}; they must be integers")
    if not indices.shape or indices.shape[-1] != len(axes):
        raise ShapeError(f"got indices {indices} for axes {axes}; the last axis must hold "
                         f"{len(axes)} of them")
    if any(not 0 <= a < len(x.shape) for a in axes) or len(set(axes)) != len(axes):
        raise ShapeError(f"got {x}; it has no axes {axes}")
    return indices.shape[:-1] + tuple([d for i, d in enumerate(x.shape) if i not in axes])


def with_lane(indices: Any, size: int) -> Any:
    """Batched indices (B, ..., k) -> (B, ..., k + 1): the lane's own number comes first."""
    if dtype_of(indices).itemsize < 4:
        indices = convert(indices, dtype=int32)
    lane = iota(shape=(*shape_of(indices)[:-1], 1), dtype=dtype_of(indices), axis=0)
    return concatenate(lane, indices, axis=len(shape_of(indices)) - 1)


def shifted(axes: Axes) -> Axes:
    return tuple([a + 1 for a in axes])


class Gather(Linear):
    """out[b, r] = x[indices[b, 0], .., indices[b, k-1], r]: the indexed axes are `axes`."""

    name = "gather"

    def infer(self, x: ArrayType, indices: ArrayType, *, axes: Axes, mode: str,
              fill: Any) -> ArrayType:
        if mode not in GATHER_MODES:
            raise ValueError(f"gather has no mode {mode!r}; it has {list(GATHER_MODES)}")
        return ArrayType(places(x, indices, axes), x.dtype, x.weak)

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, *, axes: Axes, mode: str,
            fill: Any) -> Any:
        t = tangents[0]
        return self(t, indices, axes=axes, mode=mode, fill=zero_like(t))

    def transpose(self, ct: Any, x: Any, indices: Any, *, axes: Axes, mode: str,
                  fill: Any) -> list[Any]:
        # Zeros that take no memory: a backend makes its own copy to add to.
        zero = broadcast_to(zeros((), x.type.dtype), shape=x.type.shape)
        return [scatter_add(zero, indices, ct, axes=axes, mode=GATHER_MODES[mode]), None]

    def batch(self, size: int, batched: Sequence[bool], x: Any, indices: Any, *, axes: Axes,
              mode: str, fill: Any) -> Any:
        if not batched[0]:
            return self(x, indices, axes=axes, mode=mode, fill=fill)
        if not batched[1]:
            # A batch axis of x alone is one more axis that is not indexed: the first of them.
            out = self(x, indices, axes=shifted(axes), mode=mode, fill=fill)
            return move_axis(out, len(shape_of(indices)) - 1, 0)
        return self(x, with_lane(indices, size), axes=(0, *shifted(axes)), mode=mode, fill=fill)

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class CheckLabels(Primitive):
    """The labels themselves; IndexError where one is not in [0, classes)."""

    name = "check_labels"

    def infer(self, labels: ArrayType, *, classes: int) -> ArrayType:
        if kind_of(labels.dtype) != 1:
            raise TypeError(f"got labels {labels}; they must be integers")
        return labels

    def jvp(self, tangents: Any, out: Any, labels: Any, *, classes: int) -> Any:
        return None

    def batch(self, size: int, batched: Sequence[bool], labels: Any, *, classes: int) -> Any:
        return self(labels, classes=classes)

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class Scatter(Primitive):
    """x with updates[b, r] combined into the place [indices[b, 0], .., indices[b, k-1], r]."""

    def infer(self, x: ArrayType, indices: ArrayType, updates: ArrayType, *, axes: Axes,
              mode: str) -> ArrayType:
        if mode not in SCATTER_MODES:
            raise ValueError(f"{self.name} has no mode {mode!r}; it has {list(SCATTER_MODES)}")
        shape = places(x, indices, axes)
        if updates.shape != shape:
            raise ShapeError(f"got updates {updates}; for {x} and indices {indices} on axes "
                             f"{axes} their shape must be {shape}")
        if updates.dtype != x.dtype:
            raise TypeError(f"got {x} and updates {updates}; dtypes must be equal")
        return x

    def batch(self, size: int, batched: Sequence[bool], x: Any, indices: Any, updates: Any, *,
              axes: Axes, mode: str) -> Any:
        if not batched[0]:
            x = broadcast_to(x, shape=(size, *shape_of(x)))
        if batched[1]:
            if not batched[2]:
                updates = broadcast_to(updates, shape=(size, *shape_of(updates)))
            return self(x, with_lane(indices, size), updates, axes=(0, *shifted(axes)), mode=mode)
        # Indices that all lanes share: the batch is one more axis that is not indexed.
        lead = len(shape_of(indices)) - 1
        if batched[2]:
            updates = move_axis(updates, 0, lead)
        else:
            s = shape_of(updates)
            updates = reshape(updates, shape=(*s[:lead], 1, *s[lead:]))
            updates = broadcast_to(updates, shape=(*s[:lead], size, *s[lead:]))
        return self(x, indices, updates, axes=shifted(axes), mode=mode)

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[2].size


def instantiated(tangents: Sequence[Any], x: Any, updates: Any) -> list[Any]:
    return [zeros(shape_of(v), dtype_of(v)) if t is None else t
            for t, v in zip(tangents, (x, updates), strict=True)]


def take_back(x: Any, indices: Any, axes: Axes, mode: str) -> Any:
    """What stands at the places of a scatter; 0 for updates that are dropped."""
    return gather(x, indices, axes=axes, mode=SCATTER_MODES[mode], fill=zero_like(x))


class ScatterAdd(Scatter):
    """x[place] += update; linear in x and the updates together."""

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
            mode: str) -> Any:
        tx, _, tu = tangents
        if tu is None:
            return tx
        tx, tu = instantiated((tx, tu), x, updates)
        return self(tx, indices, tu, axes=axes, mode=mode)

    def transpose(self, ct: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
                  mode: str) -> list[Any]:
        return [ct if unknown(x) else None, None,
                take_back(ct, indices, axes, mode) if unknown(updates) else None]


class ScatterSet(Scatter):
    """x[place] = update, the last of several; linear in x and the updates together."""

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
            mode: str) -> Any:
        tx, tu = instantiated((tangents[0], tangents[2]), x, updates)
        return self(tx, indices, tu, axes=axes, mode=mode)

    def transpose(self, ct: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
                  mode: str) -> list[Any]:
        kind = updates.type if unknown(updates) else type_of(updates)
        ct_x = ct_u = None
        if unknown(x):
            ct_x = self(ct, indices, zeros(kind.shape, kind.dtype), axes=axes, mode=mode)
        if unknown(updates):
            ct_u = take_back(ct, indices, axes, mode)
            ids, last = owners(shape_of(ct), indices, axes, mode)
            if last is not None:
                # Of several updates of one place only the one that stayed has an influence.
                lead = shape_of(ids)
                won = reshape(eq(ids, last), shape=lead + (1,) * (len(kind.shape) - len(lead)))
                ct_u = select(won, ct_u, zero_like(ct_u))
        return [ct_x, None, ct_u]


def owners(shape: tuple[int, ...], indices: Any, axes: Axes, mode: str) -> tuple[Any, Any]:
    """For each update its number, and the number of the last update of the same place.

    The latter is None where there is one update only, which has no rival.
    """
    lead = shape_of(indices)[:-1]
    count = math.prod(lead)
    ids = reshape(iota(shape=(count,), dtype=int32, axis=0), shape=lead)
    if count <= 1:
        return ids, None
    table = zeros(tuple([shape[a] for a in axes]), int32)
    every = tuple(range(len(axes)))
    table = scatter_set(table, indices, ids, axes=every, mode=mode)
    return ids, gather(table, indices, axes=every, mode=SCATTER_MODES[mode], fill=-1)


gather, check_labels = Gather(), CheckLabels()
scatter_add, scatter_set = ScatterAdd("scatter_add"), ScatterSet("scatter_set")

__all__ = ["check_labels", "gather", "scatter_add", "scatter_set"]
