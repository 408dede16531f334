"""Taking, placing and arranging elements: gather, scatter, slices, padding, concatenation.

Index tuples are turned into one flat index wherever the indexed axes form one block of memory:
`take` and the one-dimensional `ufunc.at` are several times faster than fancy indexing.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .precision import HALVES, SINGLE

Axes = tuple[int, ...]

# Elements that one call of `ufunc.at` combines: bounds the memory of the expanded index.
_SCATTER_BLOCK = 65536


def gather(x: np.ndarray, indices: np.ndarray, *, axes: Axes, mode: str, fill: Any,
           lanes: int = 0) -> np.ndarray:
    """out[l, b, r] = x[l, indices[l, b, 0], ..., indices[l, b, k-1], r]; `axes` are indexed.

    `indices` is integer[..., k]; l runs over the first `lanes` axes of both, r over the other axes
    of x, in order. An index outside its axis raises IndexError ("raise", where negative ones count
    from the end), is clamped ("clip"), yields `fill` ("fill"), or must not occur ("unchecked").
    """
    if not axes:
        lead = indices.shape[:-1]
        wide = x.reshape(x.shape[:lanes] + (1,) * (len(lead) - lanes) + x.shape[lanes:])
        return np.broadcast_to(wide, lead + x.shape[lanes:]).copy()
    indices = _signed(indices)
    if mode == "fill":
        return _gather_or_fill(x, indices, axes, fill, lanes)
    if mode == "clip":
        indices = indices.clip(0, [x.shape[axis] - 1 for axis in axes])
    try:
        if len(axes) == 1 and not lanes:
            return _take(x, indices[..., 0], axes[0])
        return _take_many(x, indices, axes, lanes)
    except IndexError:
        # The kernel's own check of the range is free as long as nothing is wrong.
        _check_bounds(indices, x.shape, axes)
        raise


def _take(x: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    out = np.asarray(x.take(index, axis=axis))
    if axis == 0 or index.ndim == 0:
        return out
    front = range(axis, axis + index.ndim)
    return out.transpose(*front, *range(axis), *range(axis + index.ndim, out.ndim))


def _take_many(x: np.ndarray, indices: np.ndarray, axes: Axes, lanes: int) -> np.ndarray:
    axes = tuple(range(lanes)) + axes
    rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
    x = x.transpose(axes + rest)
    column = (-1,) + (1,) * (indices.ndim - 2)
    own = [np.arange(n).reshape(column[: len(column) - i])
           for i, n in enumerate(indices.shape[:lanes])]
    parts = (*own, *(indices[..., j] for j in range(indices.shape[-1])))
    sizes = x.shape[: len(axes)]
    if not x.flags.c_contiguous or x.size == 0:
        return np.asarray(x[parts])
    try:
        flat = np.ravel_multi_index(parts, sizes)  # one pass that checks the range as well
    except ValueError:
        return np.asarray(x[parts])
    table = x.reshape((-1, *x.shape[len(axes) :]))
    return np.asarray(table.take(flat, axis=0))


def _gather_or_fill(
    x: np.ndarray, indices: np.ndarray, axes: Axes, fill: Any, lanes: int
) -> np.ndarray:
    sizes = tuple(x.shape[axis] for axis in axes)
    if 0 in sizes:
        rest = tuple(n for axis, n in enumerate(x.shape) if axis >= lanes and axis not in axes)
        return np.full(indices.shape[:-1] + rest, fill, x.dtype)
    inside = _inside(indices, sizes)
    if inside is None:
        return gather(x, indices, axes=axes, mode="unchecked", fill=fill, lanes=lanes)
    out = gather(x, indices, axes=axes, mode="clip", fill=fill, lanes=lanes)
    out[~inside] = fill
    return out


def _signed(indices: np.ndarray) -> np.ndarray:
    if indices.dtype == np.uint64:
        indices = np.minimum(indices, np.uint64(np.iinfo(np.int64).max))
    return indices.astype(np.intp, copy=False)


def _extremes(indices: np.ndarray) -> tuple[list[int], list[int]]:
    if indices.shape[-1] == 1:
        return [int(indices.min())], [int(indices.max())]
    lead = tuple(range(indices.ndim - 1))
    return indices.min(axis=lead).tolist(), indices.max(axis=lead).tolist()


def _inside(indices: np.ndarray, sizes: Axes) -> np.ndarray | None:
    """Which index tuples lie in [0, size) on every axis; None when all of them do."""
    if not indices.size:
        return None
    if len(sizes) == 1:
        (low,), (high,) = _extremes(indices)
        if low >= 0 and high < sizes[0]:
            return None
    else:
        try:  # far cheaper than the extremes of each column
            np.ravel_multi_index(tuple([indices[..., j] for j in range(len(sizes))]), sizes)
            return None
        except ValueError:
            pass
    return ((indices >= 0) & (indices < np.array(sizes))).all(axis=-1)


def _check_bounds(indices: np.ndarray, shape: Axes, axes: Axes) -> None:
    for j, axis in enumerate(axes):
        index, size = indices[..., j], shape[axis]
        bad = (index < -size) | (index >= size)
        if bad.any():
            first = int(index[bad][0])
            raise IndexError(f"index {first} is out of bounds for axis {axis} with size {size}")


def check_labels(labels: np.ndarray, *, classes: int) -> np.ndarray:
    """The labels themselves; IndexError where one is not in [0, classes)."""
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        at = np.argwhere((labels < 0) | (labels >= classes))[0].tolist()
        where = f" at {at}" if at else ""
        raise IndexError(f"label {labels[tuple(at)]}{where} is out of range for {classes} classes: "
                         f"labels are 0 to {classes - 1}")
    return labels


def _flat_index(indices: np.ndarray, sizes: Axes) -> np.ndarray:
    # Row-major: ((i0 * n1) + i1) * n2 + i2 ...
    flat = indices[..., 0]
    for j in range(1, len(sizes)):
        flat = flat * sizes[j] + indices[..., j]
    return flat


def _scatter(
    ufunc: np.ufunc | None,
    x: np.ndarray,
    indices: np.ndarray,
    updates: np.ndarray,
    axes: Axes,
    mode: str,
    lanes: int,
) -> np.ndarray:
    """x with updates combined at the places by `ufunc`, or overwritten in order without one."""
    dtype = x.dtype
    if ufunc is not None and dtype in HALVES:
        # Repeated additions to one place would otherwise round each time.
        x, updates = x.astype(SINGLE), updates.astype(SINGLE)
    front = (*range(lanes), *axes)
    leading = front == tuple(range(len(front)))
    order = front + tuple(axis for axis in range(x.ndim) if axis not in front)
    out = _own_copy(x if leading else x.transpose(order))
    sizes, rest = out.shape[: len(front)], out.shape[len(front) :]
    width = math.prod(rest)
    count = math.prod(indices.shape[:-1])
    if count and width:
        flat, updates = _places(indices, updates.reshape(count, width), x.shape, axes, mode, lanes)
        rows = out.reshape(math.prod(sizes), width)
        if ufunc is None:
            rows[flat] = updates
        elif count == math.prod(sizes[:lanes]):  # one a lane: no two meet
            rows[flat] = ufunc(rows[flat], updates)
        else:
            _combine_rows(ufunc, rows, flat, updates)
    if not leading:
        out = out.transpose(sorted(range(x.ndim), key=order.__getitem__))
    return out if out.dtype == dtype else out.astype(dtype)


def _own_copy(x: np.ndarray) -> np.ndarray:
    if x.size and not any(x.strides) and not x[(0,) * x.ndim].tobytes().strip(b"\0"):
        return np.zeros(x.shape, x.dtype)  # fresh zero pages, never read
    return np.array(x, order="C")


def _places(
    indices: np.ndarray, updates: np.ndarray, shape: Axes, axes: Axes, mode: str, lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The flat row of each update, and the updates that have one."""
    sizes = tuple(shape[axis] for axis in axes)
    count, start = math.prod(shape[:lanes]), None
    if lanes:  # where the rows of each update's lane begin
        start = (np.arange(count) * math.prod(sizes)).repeat(len(updates) // count)
    if not axes:
        return np.zeros(len(updates), np.intp) if start is None else start, updates
    indices = _signed(indices).reshape(len(updates), len(axes))
    if mode == "drop":
        inside = _inside(indices, sizes)
        if inside is not None:
            indices, updates = indices[inside], updates[inside]
            start = start if start is None else start[inside]
    flat = _flat_places(indices, shape, sizes, axes, mode)
    return flat if start is None else flat + start, updates


def _flat_places(
    indices: np.ndarray, shape: Axes, sizes: Axes, axes: Axes, mode: str
) -> np.ndarray:
    """Index tuples as numbers of places, by what `mode` says of those outside."""
    if mode == "clip" and 0 not in sizes:
        indices = indices.clip(0, [n - 1 for n in sizes])
    elif mode == "raise":
        try:
            return np.ravel_multi_index(tuple(indices.T), sizes)
        except ValueError:
            pass  # negative ones, or out of bounds
        low, high = _extremes(indices)
        if any(a < -n or b >= n for a, b, n in zip(low, high, sizes, strict=True)):
            _check_bounds(indices, shape, axes)
        if min(low) < 0:
            indices = np.where(indices < 0, indices + np.array(sizes), indices)
    return _flat_index(indices, sizes)


def _combine_rows(ufunc: np.ufunc, rows: np.ndarray, flat: np.ndarray, updates: np.ndarray) -> None:
    # Rows are spread into single elements: only the one-dimensional `at` is fast.
    width = rows.shape[1]
    target, source = rows.reshape(-1), updates.reshape(-1)
    if width == 1:
        ufunc.at(target, flat, source)
        return
    start, across = flat * width, np.arange(width)
    step = max(1, _SCATTER_BLOCK // width)
    for i in range(0, len(flat), step):
        index = (start[i : i + step, None] + across).reshape(-1)
        ufunc.at(target, index, source[i * width : (i + step) * width])


def scatter_set(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axes: Axes, mode: str,
    lanes: int = 0
) -> np.ndarray:
    """x with x[l, indices[l, b], r] = updates[l, b, r]; of several of one place the last wins.

    `updates` has the shape of `gather(x, indices, axes=axes, lanes=lanes)`. An index
    outside its axis raises IndexError ("raise"), is clamped ("clip"), is ignored ("drop"), or must
    not occur ("unchecked").
    """
    return _scatter(None, x, indices, updates, axes, mode, lanes)


def scatter_add(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axes: Axes, mode: str,
    lanes: int = 0
) -> np.ndarray:
    """Like `scatter_set`, but updates are added; those of one place accumulate."""
    return _scatter(np.add, x, indices, updates, axes, mode, lanes)


def scatter_mul(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axes: Axes, mode: str,
    lanes: int = 0
) -> np.ndarray:
    """Like `scatter_set`, but places are multiplied by their updates."""
    return _scatter(np.multiply, x, indices, updates, axes, mode, lanes)


def scatter_min(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axes: Axes, mode: str,
    lanes: int = 0
) -> np.ndarray:
    """Like `scatter_set`, but a place keeps the least of its value and its updates (or NaN)."""
    return _scatter(np.minimum, x, indices, updates, axes, mode, lanes)


def scatter_max(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axes: Axes, mode: str,
    lanes: int = 0
) -> np.ndarray:
    """Like `scatter_set`, but a place keeps the greatest of its value and its updates (or NaN)."""
    return _scatter(np.maximum, x, indices, updates, axes, mode, lanes)


def _window(starts: Sequence[Any], sizes: Sequence[int], shape: Axes) -> tuple[slice, ...]:
    begins = (
        min(max(int(start), 0), n - size)
        for start, size, n in zip(starts, sizes, shape, strict=True)
    )
    return tuple(slice(b, b + size) for b, size in zip(begins, sizes, strict=True))


def dynamic_slice(x: np.ndarray, *starts: Any, sizes: Sequence[int]) -> np.ndarray:
    """The block of shape `sizes` that begins at `starts`, moved as needed to lie inside x.

    The result is a view of x.
    """
    return x[(*_window(starts, sizes, x.shape), ...)]


def dynamic_update_slice(x: np.ndarray, update: np.ndarray, *starts: Any) -> np.ndarray:
    """x with the block that begins at `starts` (clamped likewise) replaced by `update`."""
    out = x.copy()
    out[(*_window(starts, update.shape, x.shape), ...)] = update
    return out


def pad(x: np.ndarray, value: Any, *, widths: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """x with `value` put around and between its elements.

    `widths` has (low, high, interior) per axis: first `interior` values go between neighbours, then
    `low` and `high` at the ends; negative ends crop.
    """
    if all(inner == 0 and low <= 0 and high <= 0 for low, high, inner in widths):
        ends = zip(x.shape, widths, strict=True)
        return x[(*(slice(-low, max(n + high, -low)) for n, (low, high, _) in ends), ...)]
    spans = [pad_span(n, *width) for n, width in zip(x.shape, widths, strict=True)]
    shape = tuple(size for size, _, _ in spans)
    value = np.asarray(value, x.dtype)
    # Fresh zero pages are free; -0.0 is a fill like any other.
    if value == 0 and not value.tobytes().strip(b"\0"):
        out = np.zeros(shape, x.dtype)
    else:
        out = np.full(shape, value, x.dtype)
    if out.size and x.size:
        target = tuple(target for _, target, _ in spans)
        source = tuple(source for _, _, source in spans)
        out[(*target, ...)] = x[(*source, ...)]
    return out


def pad_span(size: int, low: int, high: int, interior: int) -> tuple[int, slice, slice]:
    """Padded size of an axis, and the slices (of the result, of x) that hold the same elements."""
    step = interior + 1
    total = max(0, low + (max(0, size - 1) * step + 1 if size else 0) + high)
    # Element k lands on low + k * step; keep those inside [0, total).
    first = max(0, -(low // step))
    stop = min(size, max(first, (total - 1 - low) // step + 1))
    start = low + first * step
    return total, slice(start, start + max(0, stop - first) * step, step), slice(first, stop)


def concatenate(*xs: np.ndarray, axis: int) -> np.ndarray:
    """The arrays one after another along `axis`."""
    return np.concatenate(xs, axis=axis)


def split(x: np.ndarray, *, axis: int, sizes: Sequence[int]) -> list[np.ndarray]:
    """Parts of these sizes along `axis`, as views."""
    before, parts, at = (slice(None),) * axis, [], 0
    for n in sizes:
        parts.append(x[(*before, slice(at, at + n))])
        at += n
    return parts


def resample(x: np.ndarray, *, axis: int, taps: Any) -> np.ndarray:
    """Sums of weighted elements along `axis` by a table; halves are summed in single precision."""
    if taps.weights is None:
        return x.take(taps.indices[:, 0], axis)
    wide = x.astype(SINGLE) if x.dtype in HALVES else x
    column = (-1,) + (1,) * (x.ndim - 1 - axis)
    out = None
    for index, weight in zip(taps.indices.T, taps.weights.T.astype(wide.dtype), strict=True):
        term = wide.take(index, axis)
        if (weight != 1).any():
            term *= weight.reshape(column)
        out = term if out is None else np.add(out, term, out=out)
    return out.astype(x.dtype, copy=False)


def flip(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """x read backwards along `axes`, as a view."""
    return x[tuple(slice(None, None, -1 if i in axes else None) for i in range(x.ndim)) + (...,)]


def iota(shape: Sequence[int], dtype: Any, axis: int) -> np.ndarray:
    """An array whose elements are their own position along `axis`.

    >>> iota((2, 3), np.int32, 1).tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    out = np.empty(shape, dtype)
    column = [1] * out.ndim
    column[axis] = -1
    out[...] = np.arange(out.shape[axis]).astype(dtype).reshape(column)
    return out
