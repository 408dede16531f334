"""Taking elements at computed places and putting them there: gather, scatter_add, scatter_set.

Places are `indices[..., k]`: the last axis holds one index for each of the k indexed `axes` of x.
The first `lanes` axes of x, indices and updates are shared: each lane has places of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import eq, select, zero_like
from lucidfn.ops.families import Linear
from lucidfn.ops.shape import broadcast_to, iota, move_axis, reshape, without, zeros
from lucidfn.types import ArrayType, int32, kind_of

Axes = tuple[int, ...]
GATHER_MODES = {"raise": "raise", "clip": "clip", "fill": "drop", "unchecked": "unchecked"}
SCATTER_MODES = {scatter: gather for gather, scatter in GATHER_MODES.items()}


def places(x: ArrayType, indices: ArrayType, axes: Axes, lanes: int) -> tuple[int, ...]:
    """The shape of what is taken or put: one block of x's other axes for each index tuple."""
    if kind_of(indices.dtype) != 1:
        raise TypeError(f"got indices of type {indices}; they must be integers")
    if not indices.shape or indices.shape[-1] != len(axes):
        raise ShapeError(f"got indices {indices} for axes {axes}; the last axis must hold "
                         f"{len(axes)} of them")
    if any(not lanes <= a < len(x.shape) for a in axes) or len(set(axes)) != len(axes):
        after = f" after {lanes} lanes" if lanes else ""
        raise ShapeError(f"got {x}; it has no axes {axes}{after}")
    shape = x.shape
    if lanes:
        own = min(len(shape), len(indices.shape) - 1)
        if not 0 < lanes <= own or shape[:lanes] != indices.shape[:lanes]:
            raise ShapeError(f"got {x} and indices {indices}; they must share their first {lanes} "
                             "axes")
    return indices.shape[:-1] + tuple([d for i, d in enumerate(shape)
                                       if i >= lanes and i not in axes])


def on_lanes(x: Any, size: int) -> Any:
    """One copy for each of `size` lanes, which come first."""
    return broadcast_to(x, shape=(size, *shape_of(x)))


def shifted(axes: Axes) -> Axes:
    return tuple([a + 1 for a in axes])


class Gather(Linear):
    """out[l, b, r] = x[l, indices[l, b, 0], .., indices[l, b, k-1], r]: `axes` are indexed."""

    name = "gather"

    def infer(self, x: ArrayType, indices: ArrayType, *, axes: Axes, mode: str, fill: Any,
              lanes: int = 0) -> ArrayType:
        if mode not in GATHER_MODES:
            raise ValueError(f"gather has no mode {mode!r}; it has {list(GATHER_MODES)}")
        return ArrayType(places(x, indices, axes, lanes), x.dtype, x.weak)

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, *, axes: Axes, mode: str,
            fill: Any, lanes: int = 0) -> Any:
        t = tangents[0]
        return self(t, indices, axes=axes, mode=mode, fill=zero_like(t), lanes=lanes)

    def transpose(self, ct: Any, x: Any, indices: Any, *, axes: Axes, mode: str,
                  fill: Any, lanes: int = 0) -> list[Any]:
        # Zeros that take no memory: a backend makes its own copy to add to.
        zero = broadcast_to(zeros((), x.type.dtype), shape=x.type.shape)
        return [scatter_add(zero, indices, ct, axes=axes, mode=GATHER_MODES[mode], lanes=lanes),
                None]

    def batch(self, size: int, batched: Sequence[bool], x: Any, indices: Any, *, axes: Axes,
              mode: str, fill: Any, lanes: int = 0) -> Any:
        if not batched[0]:
            out = self(x, move_axis(indices, 0, lanes), axes=axes, mode=mode, fill=fill,
                       lanes=lanes)
            return move_axis(out, lanes, 0)
        if not batched[1] and not lanes:
            # A batch axis of x alone is one more axis that is not indexed: the first of them.
            out = self(x, indices, axes=shifted(axes), mode=mode, fill=fill)
            return move_axis(out, len(shape_of(indices)) - 1, 0)
        indices = indices if batched[1] else on_lanes(indices, size)
        return self(x, indices, axes=shifted(axes), mode=mode, fill=fill, lanes=lanes + 1)

    def rows(self, row_axes: Any, types: Any, *, axes: Axes,  # type: ignore[override]
             lanes: int = 0, **_: Any) -> Any:
        x_axis, index_axis = row_axes
        lead = len(types[1].shape) - 1
        if x_axis == index_axis:
            return x_axis if x_axis < lanes else None
        if x_axis is None:
            return index_axis if lanes <= index_axis < lead else None
        if index_axis is not None or x_axis < lanes or x_axis in axes:
            return None
        return lead + without(x_axis, (*range(lanes), *axes))

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

    def rows(self, axes: Any, types: Any, *, classes: int) -> Any:
        return axes[0]

    def flops(self, types: Any, outs: Any, **_: Any) -> int:
        return 0


class Scatter(Primitive):
    """x with updates[l, b, r] combined into the place [l, indices[l, b, 0], .., r]."""

    def infer(self, x: ArrayType, indices: ArrayType, updates: ArrayType, *, axes: Axes,
              mode: str, lanes: int = 0) -> ArrayType:
        if mode not in SCATTER_MODES:
            raise ValueError(f"{self.name} has no mode {mode!r}; it has {list(SCATTER_MODES)}")
        shape = places(x, indices, axes, lanes)
        if updates.shape != shape:
            raise ShapeError(f"got updates {updates}; for {x} and indices {indices} on axes "
                             f"{axes} their shape must be {shape}")
        if updates.dtype != x.dtype:
            raise TypeError(f"got {x} and updates {updates}; dtypes must be equal")
        return x

    def batch(self, size: int, batched: Sequence[bool], x: Any, indices: Any, updates: Any, *,
              axes: Axes, mode: str, lanes: int = 0) -> Any:
        x = x if batched[0] else on_lanes(x, size)
        if batched[1] or lanes:
            indices, updates = [v if b else on_lanes(v, size) for v, b in
                                zip((indices, updates), batched[1:], strict=True)]
            return self(x, indices, updates, axes=shifted(axes), mode=mode, lanes=lanes + 1)
        # Indices that all lanes share: the batch is one more axis that is not indexed.
        lead = len(shape_of(indices)) - 1
        if batched[2]:
            updates = move_axis(updates, 0, lead)
        else:
            s = shape_of(updates)
            updates = reshape(updates, shape=(*s[:lead], 1, *s[lead:]))
            updates = broadcast_to(updates, shape=(*s[:lead], size, *s[lead:]))
        return self(x, indices, updates, axes=shifted(axes), mode=mode)

    def rows(self, row_axes: Any, types: Any, *, axes: Axes,  # type: ignore[override]
             lanes: int = 0, **_: Any) -> Any:
        x_axis, index_axis, update_axis = row_axes
        if x_axis is None or x_axis in axes:
            return None
        if x_axis < lanes:
            return x_axis if x_axis == index_axis == update_axis else None
        place = len(types[1].shape) - 1 + without(x_axis, (*range(lanes), *axes))
        return x_axis if index_axis is None and update_axis == place else None

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return types[2].size


def instantiated(tangents: Sequence[Any], x: Any, updates: Any) -> list[Any]:
    return [zeros(shape_of(v), dtype_of(v)) if t is None else t
            for t, v in zip(tangents, (x, updates), strict=True)]


def take_back(x: Any, indices: Any, axes: Axes, mode: str, lanes: int) -> Any:
    """What stands at the places of a scatter; 0 for updates that are dropped."""
    return gather(x, indices, axes=axes, mode=SCATTER_MODES[mode], fill=zero_like(x), lanes=lanes)


class ScatterAdd(Scatter):
    """x[place] += update; linear in x and the updates together."""

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
            mode: str, lanes: int = 0) -> Any:
        tx, _, tu = tangents
        if tu is None:
            return tx
        tx, tu = instantiated((tx, tu), x, updates)
        return self(tx, indices, tu, axes=axes, mode=mode, lanes=lanes)

    def transpose(self, ct: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
                  mode: str, lanes: int = 0) -> list[Any]:
        return [ct if unknown(x) else None, None,
                take_back(ct, indices, axes, mode, lanes) if unknown(updates) else None]


class ScatterSet(Scatter):
    """x[place] = update, the last of several; linear in x and the updates together."""

    def jvp(self, tangents: Any, out: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
            mode: str, lanes: int = 0) -> Any:
        tx, tu = instantiated((tangents[0], tangents[2]), x, updates)
        return self(tx, indices, tu, axes=axes, mode=mode, lanes=lanes)

    def transpose(self, ct: Any, x: Any, indices: Any, updates: Any, *, axes: Axes,
                  mode: str, lanes: int = 0) -> list[Any]:
        kind = updates.type if unknown(updates) else type_of(updates)
        ct_x = ct_u = None
        if unknown(x):
            ct_x = self(ct, indices, zeros(kind.shape, kind.dtype), axes=axes, mode=mode,
                        lanes=lanes)
        if unknown(updates):
            ct_u = take_back(ct, indices, axes, mode, lanes)
            ids, last = owners(shape_of(ct), indices, axes, mode, lanes)
            if last is not None:
                # Of several updates of one place only the one that stayed has an influence.
                lead = shape_of(ids)
                won = reshape(eq(ids, last), shape=lead + (1,) * (len(kind.shape) - len(lead)))
                ct_u = select(won, ct_u, zero_like(ct_u))
        return [ct_x, None, ct_u]


def owners(shape: tuple[int, ...], indices: Any, axes: Axes, mode: str,
           lanes: int) -> tuple[Any, Any]:
    """For each update its number, and the number of the last update of the same place.

    The latter is None where there is one update a lane only, which has no rival.
    """
    lead = shape_of(indices)[:-1]
    ids = reshape(iota(shape=(math.prod(lead),), dtype=int32, axis=0), shape=lead)
    if math.prod(lead[lanes:]) <= 1:
        return ids, None
    table = zeros((*shape[:lanes], *[shape[a] for a in axes]), int32)
    every = tuple(range(lanes, lanes + len(axes)))
    table = scatter_set(table, indices, ids, axes=every, mode=mode, lanes=lanes)
    return ids, gather(table, indices, axes=every, mode=SCATTER_MODES[mode], fill=-1, lanes=lanes)


gather, check_labels = Gather(), CheckLabels()
scatter_add, scatter_set = ScatterAdd("scatter_add"), ScatterSet("scatter_set")

__all__ = ["check_labels", "gather", "scatter_add", "scatter_set"]
