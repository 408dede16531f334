"""Rearranging elements: reshape, order of axes, broadcasting, repeating, rolling."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, unwrap, weak_of, wrap
from lucidfn.core.messages import size_error
from lucidfn.core.trace import Tracer, beside, shape_of
from lucidfn.errors import ShapeError
from lucidfn.numpy.creation import shape_tuple, static_int
from lucidfn.numpy.indexing import look, move_block
from lucidfn.numpy.reductions import normal_axes, normal_axis
from lucidfn.types import SCALARS, int32
from lucidfn.types import broadcast_shapes as _broadcast_shapes

Axis = int | Sequence[int] | None


# ------------------------------------------------------------------ reshape, order of axes

def reshape(a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The same elements under another shape; one size may be -1 and is inferred.

    Order "F" reads and writes with the first axis fastest. TypeError if the sizes do not fit.
    """
    raw = as_raw(a)
    new = _inferred(raw.shape, shape)
    if new == raw.shape:
        return wrap(raw, weak_of(a))
    if order == "F":
        back = tuple(range(len(raw.shape)))[::-1]
        out = ops.reshape(ops.permute(raw, order=back), shape=new[::-1])
        return wrap(ops.permute(out, order=tuple(range(len(new)))[::-1]), weak_of(a))
    if order not in ("C", "A", "K"):
        raise ValueError(f"lnp.reshape: order is 'C', 'F' or 'A', got {order!r}")
    return wrap(ops.reshape(raw, shape=new), weak_of(a))


def _inferred(have: tuple[int, ...], shape: Any) -> tuple[int, ...]:
    if type(shape) is tuple and builtins.all(type(n) is int for n in shape):
        sizes = shape
    else:
        items = shape if isinstance(shape, (tuple, list)) else np.atleast_1d(
            np.asarray(shape)) if not isinstance(shape, Tracer) else (shape,)
        sizes = tuple([static_int(n, "a shape in reshape") for n in items])
    total, known = math.prod(have), math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and total % known == 0:
        sizes = tuple([total // known if n == -1 else n for n in sizes])
    if -1 in sizes or math.prod(sizes) != total or builtins.any(n < 0 for n in sizes):
        raise ShapeError(f"an array of shape {have} has {total} elements; it cannot be reshaped to "
                         f"{tuple(sizes)}")
    return sizes


def ravel(a: Any, order: str = "C", *, out_sharding: Any = None) -> Any:
    """All elements along one axis."""
    return reshape(a, (-1,) if math.prod(shape_of(as_raw(a))) else (0,), order)


def transpose(a: Any, axes: Any = None) -> Any:
    """Axes in another order; reversed if `axes` is not given."""
    raw = as_raw(a)
    rank = len(raw.shape)
    order = tuple(range(rank))[::-1] if axes is None else normal_axes(axes, rank)
    if len(order) != rank:
        raise ValueError(f"lnp.transpose: axes {tuple(axes)} do not name all {rank} axes of "
                         f"shape {raw.shape}")
    return wrap(ops.permute(raw, order=order), weak_of(a))


def permute_dims(a: Any, /, axes: Any) -> Any:
    """Axes in another order."""
    return transpose(a, axes)


def matrix_transpose(x: Any, /) -> Any:
    """The last two axes exchanged."""
    if len(shape_of(as_raw(x))) < 2:
        raise ValueError(f"lnp.matrix_transpose needs two axes or more, got shape {x.shape}")
    return swapaxes(x, -1, -2)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Some axes moved to other places; the others keep their order."""
    raw = as_raw(a)
    rank = len(raw.shape)
    here, there = normal_axes(source, rank), normal_axes(destination, rank)
    if len(here) != len(there):
        raise ValueError(f"lnp.moveaxis: {len(here)} source axes and {len(there)} destinations")
    order = [i for i in range(rank) if i not in here]
    for target, axis in sorted(zip(there, here, strict=True)):
        order.insert(target, axis)
    return wrap(ops.permute(raw, order=tuple(order)), weak_of(a))


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    raw = as_raw(a)
    order = list(range(len(raw.shape)))
    i, j = normal_axis(axis1, len(order)), normal_axis(axis2, len(order))
    order[i], order[j] = order[j], order[i]
    return wrap(ops.permute(raw, order=tuple(order)), weak_of(a))


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """An axis moved to stand before another; `moveaxis` is clearer."""
    rank = len(shape_of(as_raw(a)))
    axis = normal_axis(axis, rank)
    start = start + rank if start < 0 else start
    return moveaxis(a, axis, start - 1 if axis < start else start)


def squeeze(a: Any, axis: Axis = None) -> Any:
    """Without axes of size 1: all of them, or those named (ValueError if they are longer)."""
    raw = as_raw(a)
    if axis is None:
        gone = tuple([i for i, n in enumerate(raw.shape) if n == 1])
    else:
        gone = normal_axes(axis, len(raw.shape))
        long = [i for i in gone if raw.shape[i] != 1]
        if long:
            raise ValueError(f"lnp.squeeze: axis {long[0]} of shape {raw.shape} has size "
                             f"{raw.shape[long[0]]}, not 1")
    shape = tuple([n for i, n in enumerate(raw.shape) if i not in gone])
    return wrap(ops.reshape(raw, shape=shape), weak_of(a))


def expand_dims(a: Any, axis: Any) -> Any:
    """With new axes of size 1 at the places `axis` of the result."""
    raw = as_raw(a)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    places = normal_axes(axis, len(raw.shape) + count)
    sizes = iter(raw.shape)
    shape = tuple([1 if i in places else next(sizes) for i in range(len(raw.shape) + count)])
    return wrap(ops.reshape(raw, shape=shape), weak_of(a))


# ------------------------------------------------------------------ broadcasting

def broadcast_to(array: Any, shape: Any, *, out_sharding: Any = None) -> Any:
    """The array repeated to a shape."""
    raw, sizes = as_raw(array), shape_tuple(shape, "broadcast_to")
    try:
        fits = _broadcast_shapes(raw.shape, sizes) == sizes
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"lnp.broadcast_to: shape {raw.shape} does not broadcast to {sizes}")
    return wrap(ops.broadcast_to(raw, shape=sizes), weak_of(array))


def broadcast_arrays(*args: Any) -> list[Any]:
    """The arrays at their common shape."""
    shape = broadcast_shapes(*[shape_of(as_raw(a)) for a in args])
    return [broadcast_to(a, shape) for a in args]


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that shapes broadcast to."""
    sizes = [shape_tuple(s, "broadcast_shapes") for s in shapes]
    try:
        return _broadcast_shapes(*sizes)
    except ValueError:
        raise ValueError(f"shapes {', '.join(map(str, sizes))} do not broadcast") from None


# ------------------------------------------------------------------ repeating, turning

def tile(A: Any, reps: Any) -> Any:
    """The array repeated as a whole, `reps` times along each axis."""
    raw = as_raw(A)
    times = shape_tuple(reps, "tile")
    rank = builtins.max(len(times), len(raw.shape))
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - len(raw.shape)) + raw.shape
    if builtins.all(t == 1 for t in times):
        return wrap(ops.reshape(raw, shape=shape), weak_of(A))
    split_shape = tuple([k for n in shape for k in (1, n)])
    wide = tuple([k for t, n in zip(times, shape, strict=True) for k in (t, n)])
    out = ops.broadcast_to(ops.reshape(raw, shape=split_shape), shape=wide)
    return wrap(ops.reshape(out, shape=tuple([t * n for t, n in zip(times, shape, strict=True)])),
                weak_of(A))


def repeat(a: Any, repeats: Any, axis: int | None = None, *,
           total_repeat_length: int | None = None, out_sharding: Any = None) -> Any:
    """Each element repeated; `repeats` is a number, or one for each element along the axis.

    Under jit an array of repeats needs `total_repeat_length`.
    """
    raw = as_raw(a)
    if axis is None:
        raw, axis = ops.reshape(raw, shape=(math.prod(raw.shape),)), 0
    at = normal_axis(axis, len(raw.shape))
    n, counts = raw.shape[at], unwrap(repeats)
    if type(counts) in SCALARS and total_repeat_length is None:
        times = static_int(counts, "lnp.repeat")
        shape = (*raw.shape[:at + 1], times, *raw.shape[at + 1:])
        raw = ops.reshape(raw, shape=(*raw.shape[:at + 1], 1, *raw.shape[at + 1:]))
        return wrap(ops.merge_axes(ops.broadcast_to(raw, shape=shape), at), weak_of(a))
    if total_repeat_length is None:
        error = partial(size_error, option="total_repeat_length")
        counts = np.asarray(look(counts, error, "lnp.repeat"))
        index: Any = np.repeat(np.arange(n, dtype=np.int32), counts)
    else:
        index = _repeated(as_raw(counts), n, static_int(total_repeat_length, "lnp.repeat"))
    return wrap(take_axis(raw, index, at, "unchecked"), weak_of(a))


def _repeated(counts: Any, n: int, total: int) -> Any:
    """For each place of the result the element that stands there; the last fills what is left."""
    counts = ops.broadcast_to(ops.convert(counts, dtype=int32), shape=(n,))
    ends = ops.cumsum(counts, axis=0, reverse=False)
    places = ops.iota(shape=(total, 1), dtype=int32, axis=0)
    after = ops.ge(places, ops.reshape(ends, shape=(1, n)))
    index = ops.reduce_sum(ops.convert(after, dtype=int32), axes=(1,))
    return ops.clamp(0, index, builtins.max(n - 1, 0))


def take_axis(raw: Any, index: Any, axis: int, mode: str, fill: Any = None) -> Any:
    """Elements of raw along one axis; the axes of the index stand in its place."""
    rank = len(shape_of(index))
    at = ops.reshape(index, shape=(*shape_of(index), 1))
    return move_block(ops.gather(raw, at, axes=(axis,), mode=mode, fill=fill), 0, rank, axis)


def flip(m: Any, axis: Axis = None) -> Any:
    """Reversed along axes, along all of them if None."""
    raw = as_raw(m)
    return wrap(ops.flip(raw, axes=normal_axes(axis, len(raw.shape))), weak_of(m))


def fliplr(m: Any) -> Any:
    """Reversed along the second axis."""
    return flip(m, 1)


def flipud(m: Any) -> Any:
    """Reversed along the first axis."""
    return flip(m, 0)


def roll(a: Any, shift: Any, axis: Axis = None) -> Any:
    """Elements moved on along axes; what leaves at one end enters at the other."""
    raw = as_raw(a)
    if axis is None:
        flat = ops.reshape(raw, shape=(math.prod(raw.shape),))
        return wrap(ops.reshape(_roll(flat, shift, 0), shape=raw.shape), weak_of(a))
    axes = [axis] if hasattr(axis, "__index__") else list(axis)  # type: ignore[arg-type]
    shifts = list(shift) if np.ndim(shift) or isinstance(shift, (list, tuple)) else [shift]
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    axes = axes * len(shifts) if len(axes) == 1 else axes
    for s, i in zip(shifts, axes, strict=True):
        raw = _roll(raw, s, normal_axis(i, len(raw.shape)))
    return wrap(raw, weak_of(a))


def _roll(raw: Any, shift: Any, axis: int) -> Any:
    n = raw.shape[axis]
    if isinstance(shift, Tracer):
        places = ops.sub(ops.iota(shape=(n,), dtype=shift.dtype, axis=0), shift)
        return take_axis(raw, ops.rem(ops.add(ops.rem(places, n), n), n), axis, "unchecked")
    k = static_int(shift, "lnp.roll") % n if n else 0
    if k == 0:
        return raw
    return ops.concatenate(ops.slice_axis(raw, axis, n - k, n),
                           ops.slice_axis(raw, axis, 0, n - k), axis=axis)


def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """Turned by k quarter turns, from the first towards the second of two axes."""
    i, j = normal_axes(axes, len(shape_of(as_raw(m))))
    k %= 4
    if k == 0:
        return wrap(as_raw(m), weak_of(m))
    if k == 2:
        return flip(m, (i, j))
    return swapaxes(flip(m, j), i, j) if k == 1 else flip(swapaxes(m, i, j), j)


# ------------------------------------------------------------------ at least so many axes

def _at_least(arrays: tuple[Any, ...], grow: Any) -> Any:
    out = []
    for x in arrays:
        raw = as_raw(x)
        out.append(wrap(ops.reshape(raw, shape=grow(raw.shape)), weak_of(x)))
    return out[0] if len(out) == 1 else out


def atleast_1d(*arys: Any) -> Any:
    """A scalar becomes a vector."""
    return _at_least(arys, lambda s: s or (1,))


def atleast_2d(*arys: Any) -> Any:
    """A vector becomes a row."""
    return _at_least(arys, lambda s: (1,) * (2 - len(s)) + s)


def atleast_3d(*arys: Any) -> Any:
    """A vector of size n becomes (1, n, 1), a matrix (n, m, 1)."""
    return _at_least(arys, lambda s: {0: (1, 1, 1), 1: (1, *s, 1), 2: (*s, 1)}.get(len(s), s))


def resize(a: Any, new_shape: Any) -> Any:
    """Another shape, filled by repeating the elements in order as often as needed."""
    raw, shape = as_raw(a), shape_tuple(new_shape, "resize")
    have, want = math.prod(raw.shape), math.prod(shape)
    if not have:
        return wrap(beside(ops.zeros(shape, raw.dtype), raw), weak_of(a))
    flat = ops.reshape(raw, shape=(have,))
    if want > have:
        flat = as_raw(tile(wrap(flat), -(-want // have)))
    return wrap(ops.reshape(ops.slice_axis(flat, 0, 0, want), shape=shape), weak_of(a))


__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_shapes",
    "broadcast_to", "expand_dims", "flip", "fliplr", "flipud", "matrix_transpose", "moveaxis",
    "permute_dims", "ravel", "repeat", "reshape", "resize", "roll", "rollaxis", "rot90", "squeeze",
    "swapaxes", "tile", "transpose",
]
