"""Functions of `lax` that make arrays, and that change shapes or take fixed parts of arrays."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import place, unwrap, weak_of, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import (
    apply,
    array,
    axes_of,
    axis_of,
    integer,
    keep_dtype,
    same_dtype,
    sizes,
)
from lucidfn.types import (
    SCALARS,
    as_dtype,
    default_dtype_of,
    dtype_name,
    int32,
    kind_of,
)
from lucidfn.types import broadcast_shapes as _broadcast_shapes

# ------------------------------------------------------------------ making


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of this shape with one scalar everywhere.

    >>> from lucidfn import lax
    >>> lax.full((2, 2), 7).tolist()
    [[7, 7], [7, 7]]
    """
    shape, value = sizes(shape), unwrap(fill_value)
    weak = dtype is None and weak_of(fill_value)
    if shape_of(value) != ():
        raise ShapeError(f"lax.full takes a scalar fill_value, got {type_of(value)}; "
                         "use lax.broadcast_in_dim")
    if type(value) in SCALARS:
        to = default_dtype_of(type(value)) if dtype is None else as_dtype(dtype)
        if kind_of(to) > 3:
            raise TypeError(f"lax.full makes numbers, not {dtype_name(to)}; lucidfn.random.split "
                            "makes arrays of keys")
        cast = {0: builtins.bool, 1: int, 2: float, 3: complex}[kind_of(to)]
        return place(wrap(ops.full(shape=shape, dtype=to, value=cast(value)), weak))
    raw = value if dtype is None else keep_dtype(value, as_dtype(dtype))
    return wrap(ops.broadcast_to(raw, shape=shape), weak)


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Any:
    """One scalar everywhere, in x's shape and dtype unless others are given."""
    like = x if hasattr(x, "shape") and hasattr(x, "dtype") else array(x)
    return full(like.shape if shape is None else shape, fill_value,
                like.dtype if dtype is None else dtype)


def empty(shape: Any, dtype: Any) -> Any:
    """An array of zeros: nothing here is left without a value."""
    return wrap(ops.zeros(sizes(shape), as_dtype(dtype)))


def iota(dtype: Any, size: int) -> Any:
    """0, 1, ..., size - 1."""
    return broadcasted_iota(dtype, (size,), 0)


def broadcasted_iota(dtype: Any, shape: Any, dimension: int) -> Any:
    """0, 1, 2, ... along one axis of an array of this shape."""
    shape, to = sizes(shape), as_dtype(dtype)
    if kind_of(to) not in (1, 2, 3):
        raise TypeError(f"lax.iota takes a numeric dtype, got {to}")
    axis = axis_of(dimension, len(shape), "broadcasted_iota")
    if kind_of(to) == 3:
        return place(wrap(ops.convert(ops.iota(shape=shape, dtype=int32, axis=axis), dtype=to)))
    return place(wrap(ops.iota(shape=shape, dtype=to, axis=axis)))


# ------------------------------------------------------------------ shape

def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes have when they meet, as in NumPy."""
    return _broadcast_shapes(*[tuple(s) for s in shapes])


def broadcast(operand: Any, sizes: Sequence[int]) -> Any:
    """The operand repeated along new leading axes of these sizes."""
    raw = array(operand)
    return wrap(ops.broadcast_to(raw, shape=(*_sizes(sizes), *shape_of(raw))), weak_of(operand))


_sizes = sizes


def broadcast_in_dim(operand: Any, shape: Any, broadcast_dimensions: Sequence[int]) -> Any:
    """Axis i of the operand becomes axis broadcast_dimensions[i] of the result; size 1 repeats.

    >>> from lucidfn import lax
    >>> lax.broadcast_in_dim([1, 2], (2, 3), (0,)).tolist()
    [[1, 1, 1], [2, 2, 2]]
    """
    raw, shape = array(operand), sizes(shape)
    dims, have = axes_of(broadcast_dimensions, len(shape), "broadcast_in_dim"), shape_of(raw)
    if len(dims) != len(have) or list(dims) != sorted(dims) or any(
            n not in (1, shape[d]) for n, d in zip(have, dims, strict=True)):
        raise ShapeError(f"lax.broadcast_in_dim got {type_of(raw)}, shape {shape} and "
                         f"broadcast_dimensions {dims}; there must be one for each axis, ascending,"
                         " and each axis must have size 1 or the size it becomes")
    kept = dict(zip(dims, have, strict=True))
    spread = tuple([kept.get(i, 1) for i in range(len(shape))])
    raw = raw if spread == have else ops.reshape(raw, shape=spread)
    return wrap(raw if spread == shape else ops.broadcast_to(raw, shape=shape), weak_of(operand))


def broadcast_to_rank(x: Any, rank: int) -> Any:
    """x with leading axes of size 1, so that it has `rank` axes."""
    raw = array(x)
    have = shape_of(raw)
    if len(have) > rank:
        raise ShapeError(f"lax.broadcast_to_rank got {type_of(raw)}, which has more than {rank} "
                         "axes")
    return wrap(ops.reshape(raw, shape=(1,) * (rank - len(have)) + have), weak_of(x))


def reshape(operand: Any, new_sizes: Any, dimensions: Sequence[int] | None = None) -> Any:
    """The same elements in row-major order (or in the order of axes given) in another shape."""
    raw = array(operand)
    if dimensions is not None:
        raw = ops.permute(raw, order=axes_of(dimensions, len(shape_of(raw)), "reshape"))
    return apply(ops.reshape, raw, shape=sizes(new_sizes), weak=weak_of(operand))


def squeeze(array: Any, dimensions: Sequence[int]) -> Any:
    """The array without these axes, which have size 1."""
    raw = _array(array)
    shape, axes = shape_of(raw), axes_of(dimensions, len(shape_of(raw)), "squeeze")
    if any(shape[a] != 1 for a in axes):
        raise ShapeError(f"lax.squeeze got {type_of(raw)} and axes {axes}, whose sizes are "
                         f"{[shape[a] for a in axes]}; only axes of size 1 can go")
    kept = tuple([n for i, n in enumerate(shape) if i not in axes])
    return wrap(ops.reshape(raw, shape=kept), weak_of(array))


_array = array


def expand_dims(array: Any, dimensions: Sequence[int]) -> Any:
    """The array with new axes of size 1, at these places in the result."""
    raw = _array(array)
    rank = len(shape_of(raw)) + len(tuple(dimensions))
    axes, old = axes_of(dimensions, rank, "expand_dims"), iter(shape_of(raw))
    shape = tuple([1 if i in axes else next(old) for i in range(rank)])
    return wrap(ops.reshape(raw, shape=shape), weak_of(array))


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Any:
    """The axes from start to before stop (the end by default) joined into one."""
    raw = array(operand)
    rank = len(shape_of(raw))
    start, stop, _ = builtins.slice(start_dimension, stop_dimension).indices(rank)
    if stop <= start:
        raise ShapeError(f"lax.collapse got {type_of(raw)} and axes {start_dimension} to "
                         f"{stop_dimension}, which are none")
    return wrap(ops.merge_axes(raw, start, stop - start), weak_of(operand))


def transpose(operand: Any, permutation: Sequence[int]) -> Any:
    """Axis i of the result is axis permutation[i] of the operand."""
    order = tuple([integer(i, "a permutation") for i in permutation])
    return apply(ops.permute, array(operand), order=order, weak=weak_of(operand))


def rev(operand: Any, dimensions: Sequence[int]) -> Any:
    """The operand reversed along these axes."""
    raw = array(operand)
    return wrap(ops.flip(raw, axes=axes_of(dimensions, len(shape_of(raw)), "rev")),
                weak_of(operand))


def concatenate(operands: Any, dimension: int) -> Any:
    """The operands one after another along an axis; their dtypes must be equal."""
    xs = [x for x in operands] if isinstance(operands, (list, tuple)) else list(operands)
    if not xs:
        raise ValueError("lax.concatenate takes at least one array")
    raws, weak = same_dtype("concatenate", *xs)
    axis = axis_of(dimension, len(shape_of(raws[0])), "concatenate")
    return apply(ops.concatenate, *[array(r) for r in raws], axis=axis, weak=weak)


def stack(operands: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape along a new axis."""
    raws, weak = same_dtype("stack", *operands)
    raws = [array(r) for r in raws]
    at = axis_of(axis, len(shape_of(raws[0])) + 1, "stack")
    s = shape_of(raws[0])
    if any(shape_of(r) != s for r in raws):
        raise ShapeError(f"lax.stack got shapes {[shape_of(r) for r in raws]}; they must be equal")
    one = [ops.reshape(r, shape=(*s[:at], 1, *s[at:])) for r in raws]
    return wrap(ops.concatenate(*one, axis=at), weak)


def unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The parts of x along an axis, without that axis."""
    raw = array(x)
    at = axis_of(axis, len(shape_of(raw)), "unstack")
    return tuple([wrap(part, weak_of(x)) for part in ops.unstack(raw, at)])


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    """Consecutive parts of these sizes, which add up to the whole axis."""
    raw = array(operand)
    at = axis_of(axis, len(shape_of(raw)), "split")
    parts = _sizes(sizes, "sizes")
    if sum(parts) != shape_of(raw)[at]:
        raise ShapeError(f"lax.split got {type_of(raw)} and sizes {parts} along axis {at}; they "
                         f"must add up to {shape_of(raw)[at]}, not {sum(parts)}")
    if not parts:
        return []
    return [wrap(part, weak_of(operand)) for part in ops.split(raw, axis=at, sizes=parts)]


def tile(operand: Any, reps: Sequence[int]) -> Any:
    """The operand repeated reps[i] times along axis i."""
    raw, reps = array(operand), sizes(reps, "reps")
    shape = shape_of(raw)
    if len(reps) != len(shape):
        raise ShapeError(f"lax.tile got {type_of(raw)} and reps {reps}; there must be one for "
                         "each axis")
    paired = tuple([m for n in shape for m in (1, n)])
    spread = tuple([m for r, n in zip(reps, shape, strict=True) for m in (r, n)])
    out = ops.broadcast_to(ops.reshape(raw, shape=paired), shape=spread)
    return wrap(ops.reshape(out, shape=tuple([r * n for r, n in zip(reps, shape, strict=True)])),
                weak_of(operand))


def pad(operand: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Any:
    """The operand padded with a scalar: (low, high, interior) for each axis.

    `interior` values go between neighbours first; negative low and high crop.

    >>> from lucidfn import lax
    >>> lax.pad([1, 2], 0, [(1, -1, 2)]).tolist()
    [0, 1, 0, 0]
    """
    raw = array(operand)
    raws, _ = same_dtype("pad", wrap(raw, weak_of(operand)), padding_value)
    widths = tuple([tuple([integer(n, "padding_config") for n in axis]) for axis in padding_config])
    if any(len(w) != 3 for w in widths):
        raise ShapeError(f"lax.pad takes (low, high, interior) for each axis, got {widths}")
    return apply(ops.pad, *raws, widths=widths, weak=weak_of(operand))


# ------------------------------------------------------------------ fixed parts

def slice(operand: Any, start_indices: Sequence[int], limit_indices: Sequence[int],
          strides: Sequence[int] | None = None) -> Any:
    """operand[start:limit:stride] along every axis; bounds lie within the operand."""
    raw = array(operand)
    start, stop = sizes(start_indices, "start_indices"), sizes(limit_indices, "limit_indices")
    stride = (1,) * len(start) if strides is None else sizes(strides, "strides")
    return apply(ops.slice_, raw, start=start, stop=stop, stride=stride, weak=weak_of(operand))


def slice_in_dim(operand: Any, start_index: int | None, limit_index: int | None,
                 stride: int = 1, axis: int = 0) -> Any:
    """operand[start:limit:stride] along one axis; negative bounds count from the end."""
    raw = array(operand)
    at = axis_of(axis, len(shape_of(raw)), "slice_in_dim")
    n = shape_of(raw)[at]
    bounds = [0 if start_index is None else integer(start_index, "start_index"),
              n if limit_index is None else integer(limit_index, "limit_index")]
    low, high = [b + n if b < 0 else b for b in bounds]
    if not 0 <= low <= high <= n or stride < 1:
        raise ShapeError(f"lax.slice_in_dim got {type_of(raw)} and {start_index}:{limit_index}:"
                         f"{stride} along axis {at}; it needs 0 <= start <= limit <= {n}")
    return wrap(ops.slice_axis(raw, at, low, high, stride), weak_of(operand))


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Any:
    """operand[index] along one axis, which stays with size 1 or goes.

    Raises IndexError if the index is out of bounds.
    """
    raw, i = array(operand), integer(index, "index")
    at = axis_of(axis, len(shape_of(raw)), "index_in_dim")
    n = shape_of(raw)[at]
    if not -n <= i < n:
        raise IndexError(f"lax.index_in_dim got index {i} for axis {at} of size {n}")
    part = ops.slice_axis(raw, at, i % n, i % n + 1)
    if not keepdims:
        s = shape_of(part)
        part = ops.reshape(part, shape=s[:at] + s[at + 1:])
    return wrap(part, weak_of(operand))
