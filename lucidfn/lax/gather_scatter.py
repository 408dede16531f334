"""XLA's general gather and scatter, brought to the simpler primitives by index arithmetic.

A gather takes windows of a fixed shape from the operand at computed starts; a scatter combines
windows into it. Axes of the operand along which a window is whole need no index at all; for the
others each element of a window gets an index of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.array import unwrap, weak_of, wrap
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import array, keep_dtype, permuted, same_dtype, sizes
from lucidfn.types import bool_, int32, is_inexact, kind_of

Axes = tuple[int, ...]


class GatherDimensionNumbers(NamedTuple):
    """Which axis is which in `gather`.

    offset_dims: axes of the output that run over windows. collapsed_slice_dims: axes of the
    operand with window size 1 that are left out of the output. start_index_map: the axis of the
    operand that each component of a start index belongs to. The batching pairs run over an axis of
    the operand and one of the indices together.
    """

    offset_dims: Axes
    collapsed_slice_dims: Axes
    start_index_map: Axes
    operand_batching_dims: Axes = ()
    start_indices_batching_dims: Axes = ()


class ScatterDimensionNumbers(NamedTuple):
    """Which axis is which in `scatter`: the counterpart of `GatherDimensionNumbers`."""

    update_window_dims: Sequence[int]
    inserted_window_dims: Sequence[int]
    scatter_dims_to_operand_dims: Sequence[int]
    operand_batching_dims: Sequence[int] = ()
    scatter_indices_batching_dims: Sequence[int] = ()


class GatherScatterMode(enum.Enum):
    """What happens to windows that reach out of bounds: moved inside, or left out."""

    CLIP = 1
    FILL_OR_DROP = 2
    PROMISE_IN_BOUNDS = 3

    @staticmethod
    def from_any(mode: str | GatherScatterMode | None) -> GatherScatterMode:
        """The mode of this name ("clip", "fill", "drop", "promise_in_bounds"); None fills."""
        names = {"clip": 1, "fill": 2, "drop": 2, "promise_in_bounds": 3, None: 2}
        if isinstance(mode, GatherScatterMode):
            return mode
        if mode not in names:
            raise ValueError(f"{mode!r} is not a mode; they are {[n for n in names if n]}")
        return GatherScatterMode(names[mode])


@dataclass
class _Plan:
    """How windows lie in the operand."""

    shape: Axes        # of the operand
    window: Axes       # sizes of a window, along every axis of the operand
    kept: Axes         # the operand's axes that windows have in the output (or the updates)
    indexed: Axes      # the operand's axes that need an index
    batch: Axes        # the shape of the starts
    places: Any        # (*batch, *windows of the indexed axes, k) indices
    inside: Any        # (*batch): whether the whole window lies inside; None: it always does

    @property
    def spread(self) -> Axes:
        """Indexed axes along which a window has several elements."""
        return tuple([a for a in self.indexed if self.window[a] != 1])

    @property
    def order(self) -> Axes:
        """The operand's axes as they follow the batch in what the primitives take."""
        rest = tuple([a for a in range(len(self.shape)) if a not in self.indexed])
        return self.spread + rest


def _plan(shape: Axes, indices: Any, window: Axes, start_map: Axes, dropped: Axes,
          batching: Axes, index_batching: Axes, clamp: bool) -> _Plan:
    batch = shape_of(indices)[:-1]
    partial = [a for a in range(len(shape))
               if a not in start_map and a not in batching and window[a] != shape[a]]
    indexed = (*batching, *start_map, *partial)
    index_dtype = dtype_of(indices)
    if kind_of(index_dtype) != 1:
        raise TypeError(f"indices must be integers, got {type_of(indices)}")
    if index_dtype.itemsize < 4 or index_dtype.kind == "u":
        indices = ops.convert(indices, dtype=int32 if index_dtype.itemsize < 4 else
                              np.dtype("int64"))
    columns, inside = [], None
    for axis in indexed:
        if axis in start_map:
            k = start_map.index(axis)
            start = ops.reshape(ops.slice_axis(indices, len(batch), k, k + 1), shape=batch)
            last = shape[axis] - window[axis]
            if not clamp:
                fits = ops.bitwise_and(ops.ge(start, 0), ops.le(start, last))
                inside = fits if inside is None else ops.bitwise_and(inside, fits)
            start = ops.clamp(0, start, last)
        elif axis in batching:
            lane = index_batching[batching.index(axis)]
            start = ops.iota(shape=batch, dtype=dtype_of(indices), axis=lane)
        else:
            start = ops.full(shape=batch, dtype=dtype_of(indices), value=0)
        columns.append(start)
    plan = _Plan(shape, window, tuple([a for a in range(len(shape)) if a not in dropped]),
                 indexed, batch, None, inside)
    plan.places = _places(plan, columns, dtype_of(indices))
    return plan


def _places(plan: _Plan, columns: list[Any], dtype: np.dtype) -> Any:
    """Starts, one array for each indexed axis, to the indices of every element of the windows."""
    spread = tuple([plan.window[a] for a in plan.spread])
    grid = (*plan.batch, *spread)
    full = []
    for axis, start in zip(plan.indexed, columns, strict=True):
        at = ops.reshape(start, shape=(*plan.batch, *[1] * len(spread)))
        if axis in plan.spread:
            at = ops.add(at, ops.iota(shape=(*[1] * len(plan.batch), *[
                n if a == axis else 1 for a, n in zip(plan.spread, spread, strict=True)]),
                dtype=dtype, axis=len(plan.batch) + plan.spread.index(axis)))
        at = ops.broadcast_to(at, shape=grid) if shape_of(at) != grid else at
        full.append(ops.reshape(at, shape=(*grid, 1)))
    return ops.concatenate(*full, axis=len(grid)) if full else ops.zeros((*grid, 0), dtype)


def _fill_value(dtype: np.dtype, fill: Any) -> Any:
    if fill is not None:
        return unwrap(fill)
    if is_inexact(dtype):
        return float("nan")
    if dtype == bool_:
        return True
    return int(np.iinfo(dtype).max if dtype.kind == "u" else np.iinfo(dtype).min)


def gather(operand: Any, start_indices: Any, dimension_numbers: GatherDimensionNumbers,
           slice_sizes: Sequence[int], *, unique_indices: bool = False,
           indices_are_sorted: bool = False, mode: str | GatherScatterMode | None = None,
           fill_value: Any = None) -> Any:
    """Windows of shape slice_sizes at start_indices, whose last axis holds one start each.

    By default a window that reaches out of bounds is moved inside. With mode="fill" it is filled
    with fill_value, or with NaN, the least signed or the greatest unsigned integer. The layout is
    that of the XLA operation Gather; `lnp.take` and indexing are simpler to use.
    """
    raw, indices, window = array(operand), array(start_indices), sizes(slice_sizes, "slice_sizes")
    d = GatherDimensionNumbers(*[tuple(a) for a in dimension_numbers])
    _check_gather(raw, indices, d, window)
    how = GatherScatterMode.CLIP if mode is None else GatherScatterMode.from_any(mode)
    dropped = d.collapsed_slice_dims + d.operand_batching_dims
    plan = _plan(shape_of(raw), indices, window, d.start_index_map, dropped,
                 d.operand_batching_dims, d.start_indices_batching_dims,
                 how is not GatherScatterMode.FILL_OR_DROP)
    out = ops.gather(raw, plan.places, axes=plan.indexed, mode="unchecked", fill=None)
    if plan.inside is not None:
        inside = ops.reshape(plan.inside, shape=plan.batch + (1,) * len(plan.order))
        out = ops.select(inside, out, _fill_value(dtype_of(raw), fill_value))
    return wrap(_to_output(out, plan, d.offset_dims), weak_of(operand))


def _check_gather(raw: Any, indices: Any, d: GatherDimensionNumbers, window: Axes) -> None:
    shape = shape_of(raw)
    got = f"lax.gather got {type_of(raw)}, indices {type_of(indices)} and slice_sizes {window}; "
    if len(window) != len(shape) or any(n > m for n, m in zip(window, shape, strict=True)):
        raise ShapeError(got + "slice_sizes must have one entry for each axis, and fit")
    if not shape_of(indices) or shape_of(indices)[-1] != len(d.start_index_map):
        raise ShapeError(got + f"the last axis of the indices must have {len(d.start_index_map)} "
                         "elements, one for each entry of start_index_map")
    gone = d.collapsed_slice_dims + d.operand_batching_dims
    if any(window[a] > 1 for a in gone) or len(d.offset_dims) != len(shape) - len(set(gone)):
        raise ShapeError(got + f"with {d} the windows have {len(shape) - len(set(gone))} axes, and"
                         " those left out must have size 1")


def _to_output(out: Any, plan: _Plan, offset_dims: Axes) -> Any:
    """(*batch, *plan.order) -> batch axes, and kept axes at offset_dims."""
    at = len(plan.batch)
    inner = [a for a in sorted(plan.order)]
    out = permuted(out, (*range(at), *[at + plan.order.index(a) for a in inner]))
    # Indexed axes of window size 1 come back here, if they are kept at all.
    out = ops.reshape(out, shape=plan.batch + tuple([plan.window[a] for a in plan.kept]))
    rank, batch, window = len(shape_of(out)), iter(range(at)), iter(range(at, len(shape_of(out))))
    offsets = tuple([o % rank for o in offset_dims]) if rank else ()
    return permuted(out, tuple([next(window) if i in offsets else next(batch)
                                         for i in range(rank)]))


# ------------------------------------------------------------------ scatter

def _scatter(primitive: Primitive, operand: Any, scatter_indices: Any, updates: Any,
             dimension_numbers: ScatterDimensionNumbers,
             mode: str | GatherScatterMode | None) -> Any:
    (raw, new), weak = same_dtype(primitive.name, operand, updates)
    raw, new, indices = array(raw), keep_dtype(array(new), dtype_of(raw)), array(scatter_indices)
    d = ScatterDimensionNumbers(*[tuple(a) for a in dimension_numbers])
    shape, dropped = shape_of(raw), (*d.inserted_window_dims, *d.operand_batching_dims)
    kept = [a for a in range(len(shape)) if a not in dropped]
    wide = shape_of(new)
    got = (f"lax.{primitive.name} got {type_of(raw)}, indices {type_of(indices)} and updates "
           f"{type_of(new)}; ")
    if len(kept) != len(d.update_window_dims) or not shape_of(indices) or (
            shape_of(indices)[-1] != len(d.scatter_dims_to_operand_dims)):
        raise ShapeError(got + f"they do not fit {d}")
    sizes = dict(zip(kept, [wide[i] for i in d.update_window_dims], strict=True))
    window = tuple([sizes.get(a, 1) for a in range(len(shape))])
    scattered = [i for i in range(len(wide)) if i not in d.update_window_dims]
    if tuple([wide[i] for i in scattered]) != shape_of(indices)[:-1] or any(
            n > m for n, m in zip(window, shape, strict=True)):
        raise ShapeError(got + f"with {d} the updates must have the indices' axes "
                         f"{shape_of(indices)[:-1]} at {scattered} and windows that fit")
    how = GatherScatterMode.from_any(mode)
    plan = _plan(shape, indices, window, tuple(d.scatter_dims_to_operand_dims), dropped,
                 tuple(d.operand_batching_dims), tuple(d.scatter_indices_batching_dims),
                 how is not GatherScatterMode.FILL_OR_DROP)
    # Updates to (*batch, *plan.order): batch first, then the kept axes, then without those of
    # size 1 that are indexed.
    new = permuted(new, (*scattered, *d.update_window_dims))
    inner = sorted(plan.order)
    new = ops.reshape(new, shape=plan.batch + tuple([window[a] for a in inner]))
    at = len(plan.batch)
    new = permuted(new, (*range(at), *[at + inner.index(a) for a in plan.order]))
    places = plan.places
    if plan.inside is not None:
        inside = ops.reshape(plan.inside, shape=plan.batch + (1,) * (len(plan.spread) + 1))
        places = ops.select(inside, places, -1)
    return wrap(primitive(raw, places, new, axes=plan.indexed,
                          mode="unchecked" if plan.inside is None else "drop"), weak)


def scatter(operand: Any, scatter_indices: Any, updates: Any,
            dimension_numbers: ScatterDimensionNumbers, *, indices_are_sorted: bool = False,
            unique_indices: bool = False, mode: str | GatherScatterMode | None = None) -> Any:
    """The operand with windows replaced by the updates; of several for one place the last wins.

    By default windows that reach out of bounds are dropped; mode="clip" moves them inside. The
    layout is that of the XLA operation Scatter; `x.at[...].set` is simpler to use.
    """
    return _scatter(ops.scatter_set, operand, scatter_indices, updates, dimension_numbers, mode)


def scatter_add(operand: Any, scatter_indices: Any, updates: Any,
                dimension_numbers: ScatterDimensionNumbers, *, indices_are_sorted: bool = False,
                unique_indices: bool = False, mode: str | GatherScatterMode | None = None) -> Any:
    """The operand plus the updates at their places; see `scatter`."""
    return _scatter(ops.scatter_add, operand, scatter_indices, updates, dimension_numbers, mode)


def scatter_sub(operand: Any, scatter_indices: Any, updates: Any,
                dimension_numbers: ScatterDimensionNumbers, *, indices_are_sorted: bool = False,
                unique_indices: bool = False, mode: str | GatherScatterMode | None = None) -> Any:
    """The operand minus the updates at their places; see `scatter`."""
    (raw, new), _ = same_dtype("scatter_sub", operand, updates)
    return _scatter(ops.scatter_add, operand, scatter_indices, wrap(ops.neg(array(new))),
                    dimension_numbers, mode)


def scatter_mul(operand: Any, scatter_indices: Any, updates: Any,
                dimension_numbers: ScatterDimensionNumbers, *, indices_are_sorted: bool = False,
                unique_indices: bool = False, mode: str | GatherScatterMode | None = None) -> Any:
    """The operand times the updates at their places; see `scatter`."""
    return _scatter(ops.scatter_mul, operand, scatter_indices, updates, dimension_numbers, mode)


def scatter_min(operand: Any, scatter_indices: Any, updates: Any,
                dimension_numbers: ScatterDimensionNumbers, *, indices_are_sorted: bool = False,
                unique_indices: bool = False, mode: str | GatherScatterMode | None = None) -> Any:
    """The smaller of the operand and the updates at their places; see `scatter`."""
    return _scatter(ops.scatter_min, operand, scatter_indices, updates, dimension_numbers, mode)


def scatter_max(operand: Any, scatter_indices: Any, updates: Any,
                dimension_numbers: ScatterDimensionNumbers, *, indices_are_sorted: bool = False,
                unique_indices: bool = False, mode: str | GatherScatterMode | None = None) -> Any:
    """The larger of the operand and the updates at their places; see `scatter`."""
    return _scatter(ops.scatter_max, operand, scatter_indices, updates, dimension_numbers, mode)
