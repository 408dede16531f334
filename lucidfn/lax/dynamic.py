"""Parts of arrays at computed places. Starts are clamped so that the part fits, as in JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import to_dtype, unwrap, weak_of, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array, axis_of, same_dtype, sizes
from lucidfn.types import SCALARS, kind_of

Flags = bool | Sequence[bool]


def _starts(start_indices: Any, shape: tuple[int, ...], name: str, negative: Flags) -> list[Any]:
    """One raw scalar for each axis; negative ones count from the end."""
    if hasattr(start_indices, "shape"):
        raw = array(start_indices)
        if len(shape_of(raw)) != 1:
            raise ShapeError(f"lax.{name} got start_indices of type {type_of(raw)}; a sequence or "
                             "an array of one axis is needed")
        parts = [ops.reshape(ops.slice_axis(raw, 0, i, i + 1), shape=())
                 for i in range(shape_of(raw)[0])]
    else:
        parts = [unwrap(s) for s in start_indices]
    if len(parts) != len(shape):
        raise ShapeError(f"lax.{name} got {len(parts)} start indices for an array of "
                         f"{len(shape)} axes; one is needed for each")
    flags = [negative] * len(shape) if isinstance(negative, bool) else list(negative)
    return [_start(s, n, name) if flag else s
            for s, n, flag in zip(parts, shape, flags, strict=True)]


def _start(start: Any, n: int, name: str) -> Any:
    if shape_of(start) != () or kind_of(dtype_of(start)) != 1:
        raise TypeError(f"lax.{name} got a start index of type {type_of(start)}; it must be one "
                        "integer")
    if type(start) in SCALARS:
        return start + n if start < 0 else start
    if dtype_of(start).kind == "u":
        return start
    return ops.select(ops.lt(start, 0), ops.add(start, n), start)


def dynamic_slice(operand: Any, start_indices: Any, slice_sizes: Any, *,
                  allow_negative_indices: Flags = True) -> Any:
    """The block of shape slice_sizes that begins at start_indices (one integer for each axis).

    Negative starts count from the end; then they are clamped so that the block lies inside.

    >>> from lucidfn import lax
    >>> lax.dynamic_slice([0, 1, 2, 3], (3,), (2,)).tolist()
    [2, 3]
    """
    raw = array(operand)
    starts = _starts(start_indices, shape_of(raw), "dynamic_slice", allow_negative_indices)
    return apply(ops.dynamic_slice, raw, *starts, sizes=sizes(slice_sizes, "slice_sizes"),
                 weak=weak_of(operand))


def dynamic_update_slice(operand: Any, update: Any, start_indices: Any, *,
                         allow_negative_indices: Flags = True) -> Any:
    """The operand with the block that begins at start_indices replaced by `update`.

    Starts are treated as in `dynamic_slice`.
    """
    (raw, new), weak = same_dtype("dynamic_update_slice", operand, update)
    raw, new = array(raw), array(to_dtype(new, dtype_of(raw)))
    starts = _starts(start_indices, shape_of(raw), "dynamic_update_slice", allow_negative_indices)
    return apply(ops.dynamic_update_slice, raw, new, *starts, weak=weak)


def _along(operand: Any, start: Any, axis: int, name: str) -> tuple[int, list[Any]]:
    at = axis_of(axis, len(shape_of(operand)), name)
    return at, [start if i == at else 0 for i in range(len(shape_of(operand)))]


def dynamic_slice_in_dim(operand: Any, start_index: Any, slice_size: int, axis: int = 0, *,
                         allow_negative_indices: bool = True) -> Any:
    """slice_size elements along one axis from a computed start."""
    shape = shape_of(array(operand))
    at, starts = _along(array(operand), start_index, axis, "dynamic_slice_in_dim")
    return dynamic_slice(operand, starts, (*shape[:at], slice_size, *shape[at + 1:]),
                         allow_negative_indices=allow_negative_indices)


def dynamic_index_in_dim(operand: Any, index: Any, axis: int = 0, keepdims: bool = True, *,
                         allow_negative_indices: bool = True) -> Any:
    """The element at a computed place along one axis, which stays with size 1 or goes."""
    out = dynamic_slice_in_dim(operand, index, 1, axis,
                               allow_negative_indices=allow_negative_indices)
    if keepdims:
        return out
    shape = out.shape
    at = axis_of(axis, len(shape), "dynamic_index_in_dim")
    return wrap(ops.reshape(unwrap(out), shape=shape[:at] + shape[at + 1:]), weak_of(out))


def dynamic_update_slice_in_dim(operand: Any, update: Any, start_index: Any, axis: int, *,
                                allow_negative_indices: bool = True) -> Any:
    """The operand with a part along one axis, from a computed start, replaced."""
    _, starts = _along(array(operand), start_index, axis, "dynamic_update_slice_in_dim")
    return dynamic_update_slice(operand, update, starts,
                                allow_negative_indices=allow_negative_indices)


def dynamic_update_index_in_dim(operand: Any, update: Any, index: Any, axis: int, *,
                                allow_negative_indices: bool = True) -> Any:
    """The operand with one place along an axis replaced; `update` may lack that axis."""
    raw, new = array(operand), array(update)
    at = axis_of(axis, len(shape_of(raw)), "dynamic_update_index_in_dim")
    shape = shape_of(new)
    if len(shape) != len(shape_of(raw)):
        new = ops.reshape(new, shape=(*shape[:at], 1, *shape[at:]))
    return dynamic_update_slice_in_dim(operand, wrap(new, weak_of(update)), index, at,
                                       allow_negative_indices=allow_negative_indices)


def index_take(src: Any, idxs: Sequence[Any], axes: Sequence[int]) -> Any:
    """src at idxs[i] along axes[i], which go; the indices' shared axis comes first. Clamped."""
    raw, columns = array(src), [array(i) for i in idxs]
    at = tuple([axis_of(a, len(shape_of(raw)), "index_take") for a in axes])
    columns = [ops.reshape(c, shape=(*shape_of(c), 1)) for c in columns]
    indices = ops.concatenate(*columns, axis=len(shape_of(columns[0])) - 1)
    return apply(ops.gather, raw, indices, axes=at, mode="clip", fill=0)
