"""Taking elements at computed places and putting them there.

MLX does not look whether an index lies inside: what a `mode` says of those outside is done here,
before. Errors are raised when the host next waits: see `checks`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx import checks
from lucidfn.backends.mlx.arrays import scalar
from lucidfn.backends.mlx.elementwise import HALVES, INTEGERS, SIGNED
from lucidfn.types import SCALARS

Axes = tuple[int, ...]


def gather(x: mx.array, indices: mx.array, *, axes: Axes, mode: str, fill: Any,
           lanes: int = 0) -> mx.array:
    """out[l, b, r] = x[l, indices[l, b, 0], ..., indices[l, b, k-1], r]; `axes` are indexed."""
    lead = tuple(indices.shape[:-1])
    rest = tuple([n for i, n in enumerate(x.shape) if i >= lanes and i not in axes])
    if not axes:
        wide = x.reshape(x.shape[:lanes] + (1,) * (len(lead) - lanes) + x.shape[lanes:])
        return mx.broadcast_to(wide, lead + rest)
    sizes = tuple([x.shape[a] for a in axes])
    if not math.prod(lead) or not math.prod(rest):
        return mx.zeros(lead + rest, x.dtype)
    if 0 in sizes:
        if mode != "fill":
            raise IndexError(f"index into axis {axes[sizes.index(0)]} with size 0")
        return mx.full(lead + rest, _fill(fill, x), x.dtype)
    indices, inside = placed(indices, sizes, axes, mode)
    if lanes == x.ndim - 1:  # one axis is indexed, in each lane by itself
        rows = indices.reshape(*x.shape[:-1], -1)
        out = mx.take_along_axis(x, rows, axis=-1).reshape(lead)
    elif len(axes) == 1 and not lanes:
        out = mx.take(x, indices[..., 0], axis=axes[0])
        at, n = axes[0], len(lead)
        if at and n:
            front = range(at, at + n)
            out = out.transpose(*front, *range(at), *range(at + n, out.ndim))
    else:
        front = (*range(lanes), *axes)
        order = front + tuple([i for i in range(x.ndim) if i not in front])
        out = x.transpose(order)[(*_own(lead, lanes), *_columns(indices))]
    if inside is None:
        return out
    return mx.where(inside.reshape(lead + (1,) * len(rest)), out, _fill(fill, x))


def _fill(fill: Any, x: mx.array) -> mx.array:
    return fill if isinstance(fill, mx.array) else scalar(0 if fill is None else fill, x.dtype)


def _columns(indices: mx.array) -> list[mx.array]:
    return [indices[..., j] for j in range(indices.shape[-1])]


def _own(lead: Axes, lanes: int) -> list[mx.array]:
    """The number of the lane along each of the first axes, to be broadcast to `lead`."""
    return [mx.arange(lead[i], dtype=mx.int32).reshape((-1,) + (1,) * (len(lead) - 1 - i))
            for i in range(lanes)]


def signed(indices: mx.array) -> mx.array:
    if indices.dtype == mx.uint64:
        indices = mx.minimum(indices, scalar(2**63 - 1, mx.uint64))
    if indices.dtype in (mx.uint64, mx.uint32):
        return indices.astype(mx.int64)
    return indices if indices.dtype in (mx.int32, mx.int64) else indices.astype(mx.int32)


def placed(indices: mx.array, sizes: Axes, axes: Axes,
           mode: str) -> tuple[mx.array, mx.array | None]:
    """Indices that lie inside, int32, and which of them did before if the others are left out."""
    indices = signed(indices)
    inside = None
    if mode == "unchecked":
        return indices, None
    limit = mx.array(sizes, indices.dtype)
    if mode == "raise":
        _check_bounds(indices, limit, axes)
        indices = mx.where(indices < 0, indices + limit, indices)
    elif mode in ("fill", "drop"):
        inside = mx.all(mx.logical_and(indices >= 0, indices < limit), axis=-1)
    indices = mx.minimum(mx.maximum(indices, scalar(0, indices.dtype)), limit - 1)
    return indices, inside


def _check_bounds(indices: mx.array, limit: mx.array, axes: Axes) -> None:
    bad = mx.logical_or(indices < -limit, indices >= limit)
    checks.add(mx.any(bad), [indices, limit], functools.partial(_out_of_bounds, axes=axes))


def _out_of_bounds(indices: np.ndarray, sizes: np.ndarray, axes: Axes) -> IndexError:
    """Of the first axis that has an index out of bounds, the first such index."""
    bad = np.logical_or(indices < -sizes, indices >= sizes).reshape(-1, len(axes))
    column, row = np.argwhere(bad.T)[0]
    index = indices.reshape(-1, len(axes))[row, column]
    return IndexError(f"index {index} is out of bounds for axis {axes[column]} with size "
                      f"{sizes[column]}")


def check_labels(labels: mx.array, *, classes: int) -> mx.array:
    """The labels, moved into [0, classes); IndexError, later, where one was not there."""
    if not labels.size:
        return labels
    last = min(max(classes - 1, 0), mx.iinfo(labels.dtype).max)
    # What reads and writes at these places does not look, and runs before the error is raised.
    inside = mx.minimum(labels, scalar(last, labels.dtype))
    if labels.dtype in SIGNED:
        inside = mx.maximum(inside, scalar(0, labels.dtype))
    checks.add(mx.any(inside != labels), [labels], functools.partial(_bad_label, classes=classes))
    return inside


def _bad_label(labels: np.ndarray, classes: int) -> IndexError:
    place = np.argwhere(np.logical_or(labels < 0, labels >= classes))[0].tolist()
    where = f" at {place}" if place else ""
    return IndexError(f"label {labels[tuple(place)]}{where} is out of range for {classes} classes: "
                      f"labels are 0 to {classes - 1}")


# ------------------------------------------------------------------ scatter

SHORT = 128  # elements of a row that are written anew as fast as one of them is found

def _neutral(name: str, x: mx.array) -> mx.array:
    """What leaves a place as it is."""
    if name == "add":
        return scalar(0 if x.dtype in INTEGERS or x.dtype == mx.bool_ else -0.0, x.dtype)
    if name == "multiply":
        return scalar(1, x.dtype)
    greatest = name == "minimum"
    if x.dtype == mx.bool_:
        return scalar(greatest, x.dtype)
    if x.dtype in INTEGERS:
        ends = mx.iinfo(x.dtype)
        return scalar(ends.max if greatest else ends.min, x.dtype)
    return scalar(math.inf if greatest else -math.inf, x.dtype)


def _scatter(name: str) -> Callable[..., mx.array]:
    """A scatter that combines by the method `name` of `x.at[...]`, or overwrites."""
    def run(x: mx.array, indices: mx.array, updates: mx.array, *, axes: Axes, mode: str,
            lanes: int = 0) -> mx.array:
        dtype = x.dtype
        if name == "add" and 1 <= lanes == x.ndim - 1 == indices.ndim - 1 and axes and \
                0 < x.shape[-1] <= SHORT:
            return _add_in_rows(x, indices, updates, axes, mode)
        if dtype in HALVES and name != "set":  # repeated additions would round each time
            x, updates = x.astype(mx.float32), updates.astype(mx.float32)
        front = (*range(lanes), *axes)
        order = front + tuple([i for i in range(x.ndim) if i not in front])
        moved = x if order == tuple(range(x.ndim)) else x.transpose(order)
        sizes, rest = moved.shape[: len(front)], moved.shape[len(front):]
        count = math.prod(indices.shape[:-1])
        if not count or not math.prod(rest):
            return x.astype(dtype)
        if 0 in sizes:
            if mode == "drop":
                return x.astype(dtype)
            raise IndexError(f"index into axis {front[sizes.index(0)]} with size 0")
        flat, inside = _flat(indices, sizes, axes, mode, lanes)
        rows = moved.reshape(math.prod(sizes), *rest)
        updates = updates.reshape(count, *rest)
        rows = _put(name, rows, flat, updates, inside)
        out = rows.reshape(moved.shape)
        if moved is not x:
            out = out.transpose(sorted(range(x.ndim), key=order.__getitem__))
        return out.astype(dtype)
    return run


def _add_in_rows(x: mx.array, indices: mx.array, updates: mx.array, axes: Axes,
                 mode: str) -> mx.array:
    """One update for each row of x, added where the position is its index: nothing is scattered."""
    indices, inside = placed(indices, x.shape[-1:], axes, mode)
    at = mx.arange(x.shape[-1], dtype=indices.dtype) == indices
    at = at if inside is None else mx.logical_and(at, inside[..., None])
    return mx.where(at, x + updates[..., None], x)


def _flat(indices: mx.array, sizes: Axes, axes: Axes, mode: str,
          lanes: int) -> tuple[mx.array, mx.array | None]:
    """The row of each update, and which updates count (None: all)."""
    lead, inside, parts = tuple(indices.shape[:-1]), None, []
    if axes:
        indices, inside = placed(indices, sizes[lanes:], axes, mode)
        parts = _columns(indices)
    flat = mx.zeros(lead, mx.int32)
    for n, part in zip(sizes, [*_own(lead, lanes), *parts], strict=True):
        flat = flat * n + part
    if mode == "unchecked":  # whoever breaks the promise must not write into other memory
        flat = mx.minimum(mx.maximum(flat, 0), math.prod(sizes) - 1)
    return mx.broadcast_to(flat, lead).reshape(-1), None if inside is None else inside.reshape(-1)


def _put(name: str, rows: mx.array, flat: mx.array, updates: mx.array,
         inside: mx.array | None) -> mx.array:
    column = (-1,) + (1,) * (rows.ndim - 1)
    if name != "set":
        if inside is not None:
            updates = mx.where(inside.reshape(column), updates, _neutral(name, rows))
        return _combined(name, rows, flat, updates)
    wins = inside
    if len(flat) > 1 and mx.default_device() != mx.Device(mx.cpu):
        # Only the CPU writes in order: elsewhere the last of each place is found before.
        ids = mx.arange(len(flat), dtype=mx.int32)
        counted = ids if inside is None else mx.where(inside, ids, -1)
        table = mx.full((len(rows),), -1, mx.int32).at[flat].maximum(counted)
        wins = table[flat] == ids
    if wins is None:
        out = mx.array(rows)
        out[flat] = updates
        return out
    # One row more takes what is left out.
    spare = mx.zeros((1, *rows.shape[1:]), rows.dtype)
    out = mx.concatenate([rows, spare])
    out[mx.where(wins, flat, len(rows))] = updates
    return out[:-1]


def _combined(name: str, rows: mx.array, flat: mx.array, updates: mx.array) -> mx.array:
    out = getattr(rows.at[flat], name)(updates)
    if name not in ("minimum", "maximum") or rows.dtype not in (mx.float32, mx.float64):
        return out
    # MLX's scatters lose NaN.
    lost = mx.isnan(rows).astype(mx.uint8).at[flat].maximum(mx.isnan(updates).astype(mx.uint8))
    return mx.where(lost == 1, scalar(math.nan, rows.dtype), out)


scatter_set, scatter_add, scatter_mul = _scatter("set"), _scatter("add"), _scatter("multiply")
scatter_min, scatter_max = _scatter("minimum"), _scatter("maximum")


# ------------------------------------------------------------------ blocks

def _starts(starts: Sequence[Any], sizes: Axes, shape: Axes) -> tuple[list[Any], bool]:
    """Starts moved so that the block lies inside, and whether all of them are known."""
    out, known = [], True
    for start, size, n in zip(starts, sizes, shape, strict=True):
        if size == n:
            out.append(0)
        elif type(start) in SCALARS:
            out.append(min(max(int(start), 0), n - size))
        else:
            start = signed(start)
            out.append(mx.minimum(mx.maximum(start, scalar(0, start.dtype)),
                                  scalar(n - size, start.dtype)).astype(mx.int32))
            known = False
    return out, known


def _vector(starts: Sequence[Any]) -> mx.array:
    return mx.stack([s if isinstance(s, mx.array) else mx.array(s, mx.int32) for s in starts])


def dynamic_slice(x: mx.array, *starts: Any, sizes: Axes) -> mx.array:
    """The block of shape `sizes` that begins at the starts, moved as needed to lie inside x."""
    begins, known = _starts(starts, sizes, tuple(x.shape))
    if not starts or 0 in sizes:
        return x if not starts else mx.zeros(sizes, x.dtype)
    if known:
        return x[tuple([slice(b, b + n) for b, n in zip(begins, sizes, strict=True)])]
    return mx.slice(x, _vector(begins), tuple(range(x.ndim)), tuple(sizes))


def dynamic_update_slice(x: mx.array, update: mx.array, *starts: Any) -> mx.array:
    """x with the block that begins at `starts` (clamped likewise) replaced by `update`."""
    if not starts:
        return update
    if 0 in update.shape:
        return x
    begins, _ = _starts(starts, tuple(update.shape), tuple(x.shape))
    return mx.slice_update(x, update, _vector(begins), tuple(range(x.ndim)))
