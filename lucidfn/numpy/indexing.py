"""NumPy indexing in full: how an index becomes primitives, and reading by it.

An index is split in two steps. The basic step (slices, integers, None) is a strided slice, a flip
and a reshape; the advanced step (arrays, masks) is one gather or scatter on what that leaves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, as_raw, from_nested, to_dtype, unwrap, weak_of, wrap
from lucidfn.core.messages import integer_error, mask_error
from lucidfn.core.trace import Tracer, current, dtype_of, eval_trace, shape_of
from lucidfn.types import (
    SCALARS,
    bool_,
    broadcast_shapes,
    dtype_name,
    int32,
    int64,
    is_inexact,
    kind_of,
)

MODES = {None: "raise", "raise": "raise", "promise_in_bounds": "unchecked", "clip": "clip",
         "fill": "fill", "drop": "fill", "wrap": "wrap"}


class Basic(NamedTuple):
    """x[start:stop:stride], reversed along `flips`, reshaped to `shape`."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    stride: tuple[int, ...]
    flips: tuple[int, ...]
    sliced: tuple[int, ...]  # the shape before integers are dropped and None inserted
    shape: tuple[int, ...]


class Plan(NamedTuple):
    """How an index is carried out."""

    basic: Basic | None        # None where it takes everything as it is
    axes: tuple[int, ...]      # of the basic step's result: those that arrays index
    indices: Any               # one array (..., len(axes)), or None
    at: int                    # where the axes of the indices stand in the result


# ------------------------------------------------------------------ reading an index

def getitem(x: Any, index: Any) -> Any:
    """x[index] with all of NumPy's basic, advanced and boolean indexing.

    IndexError for integers out of bounds (also in arrays), and for masks that do not fit; a
    traced mask raises NonConcreteBooleanIndexError.
    """
    if type(x) is Array and type(x.value) is np.ndarray and current.get() is eval_trace:
        items = [plain(i) for i in index] if type(index) is tuple else [plain(index)]
        if UNKNOWN not in map(type, items):
            return wrap(x.value[tuple(items)], x.weak)  # NumPy's own, with the same errors
    raw = as_raw(x)
    if type(index) is int and raw.shape:
        n = raw.shape[0]
        if not -n <= index < n:
            raise out_of_bounds(index, 0, n)
        return wrap(_row(raw, index + n if index < 0 else index), weak_of(x))
    return wrap(take_plan(raw, make_plan(raw.shape, index), "raise", None), weak_of(x))


UNKNOWN = type(NotImplemented)
_PLAIN = frozenset({int, type(None), type(Ellipsis)})


def plain(item: Any) -> Any:
    """A concrete item of an index as NumPy takes it; NotImplemented for all others."""
    kind = type(item)
    if kind in _PLAIN:
        return item
    if kind is slice:
        known = type(item.start) in _PLAIN and type(item.stop) in _PLAIN and (
            type(item.step) in _PLAIN)
        return item if known else NotImplemented
    value = item.value if kind is Array else item
    return value if type(value) is np.ndarray and value.dtype.kind in "iub" else NotImplemented


def _row(raw: Any, i: int) -> Any:
    shape = raw.shape
    rest, stride = shape[1:], (1,) * len(shape)
    row = ops.slice_(raw, start=(i, *[0] * len(rest)), stop=(i + 1, *rest), stride=stride)
    return ops.reshape(row, shape=rest)


def take_plan(raw: Any, plan: Plan, mode: str, fill: Any) -> Any:
    if plan.basic is not None:
        raw = take_basic(raw, plan.basic)
    if plan.indices is None:
        return raw
    rank = len(shape_of(plan.indices)) - 1
    out = ops.gather(raw, plan.indices, axes=plan.axes, mode=mode, fill=fill)
    return move_block(out, 0, rank, plan.at)


def take_basic(raw: Any, basic: Basic) -> Any:
    if basic.sliced != raw.shape or any(k != 1 for k in basic.stride):
        raw = ops.slice_(raw, start=basic.start, stop=basic.stop, stride=basic.stride)
    if basic.flips:
        raw = ops.flip(raw, axes=basic.flips)
    return raw if basic.shape == raw.shape else ops.reshape(raw, shape=basic.shape)


def move_block(x: Any, source: int, count: int, target: int) -> Any:
    """Move `count` axes from `source` so that they begin at `target`."""
    if source == target or not count:
        return x
    moved = list(range(source, source + count))
    rest = [i for i in range(len(shape_of(x))) if i not in moved]
    return ops.permute(x, order=(*rest[:target], *moved, *rest[target:]))


def out_of_bounds(index: int, axis: int, size: int) -> IndexError:
    return IndexError(f"index {index} is out of bounds for axis {axis} with size {size}")


# ------------------------------------------------------------------ making a plan

def make_plan(shape: tuple[int, ...], index: Any, mode: str = "raise") -> Plan:
    """Parse an index of an array of this shape. With another mode than "raise" integers out of
    bounds are left to the gather, and negative ones in arrays count from the end first."""
    items = expand_ellipsis(shape, index if isinstance(index, tuple) else (index,), mode)
    arrays_there = any(isinstance(i, Advanced) for i in items)
    start, stop, stride, flips, kept = [], [], [], [], []
    axes, arrays, advanced, axis = [], [], [], 0
    for position, item in enumerate(items):
        if item is None:
            kept.append(1)
            continue
        if isinstance(item, Advanced):
            advanced.append((position, len(kept)))
            for array in item.arrays:
                axes.append(len(kept))
                arrays.append(array)
            if item.new_axis:  # a mask without dimensions indexes an axis of its own
                kept.append(1)
                continue
            lo, hi, step = 0, shape[axis], 1
            kept.append(hi)
        elif type(item) is int:
            advanced.append((position, len(kept)))
            lo, hi, step = item, item + 1, 1
        else:
            span = range(*item.indices(shape[axis]))
            lo, hi, step, flip = forward(span)
            if flip:
                flips.append(axis)
            kept.append(len(span))
        start.append(lo)
        stop.append(hi)
        stride.append(step)
        axis += 1
    sliced = tuple([-((a - b) // k) for a, b, k in zip(start, stop, stride, strict=True)])
    basic: Basic | None = Basic(tuple(start), tuple(stop), tuple(stride), tuple(flips), sliced,
                                tuple(kept))
    if sliced == shape == tuple(kept) and not flips and all(k == 1 for k in stride):
        basic = None
    if not arrays_there:
        return Plan(basic, (), None, 0)
    places = [p for p, _ in advanced]
    together = places[-1] - places[0] == len(places) - 1
    indices = join_indices(arrays, [kept[a] for a in axes], mode)
    return Plan(basic, tuple(axes), indices, advanced[0][1] if together else 0)


def forward(span: range) -> tuple[int, int, int, bool]:
    """(start, stop, step, reversed) of a range, with a positive step."""
    n = len(span)
    if n == 0:
        return 0, 0, 1, False
    if span.step > 0:
        return span.start, span[-1] + 1, span.step, False
    return span[-1], span.start + 1, -span.step, True


class Advanced:
    """Index arrays that stand at one place of an index; a mask gives one for each of its axes."""

    __slots__ = ("arrays", "new_axis")

    def __init__(self, arrays: list[Any], new_axis: bool = False):
        self.arrays, self.new_axis = arrays, new_axis


def expand_ellipsis(shape: tuple[int, ...], index: tuple[Any, ...], mode: str) -> list[Any]:
    """The index with one item an axis: None, int, slice or Advanced."""
    items: list[Any] = []
    used = sum([consumes(i) for i in index])
    if used > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but "
                         f"{used} were indexed")
    if sum(i is Ellipsis for i in index) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if not any(i is Ellipsis for i in index):
        index = (*index, Ellipsis)
    axis = 0
    for item in index:
        if item is Ellipsis:
            items += [slice(None)] * (len(shape) - used)
            axis += len(shape) - used
            continue
        parsed = parse(item, shape, axis, mode)
        axis += consumes(item)
        # The axes of a mask after its first stand beside it.
        items += parsed
    return items


def consumes(item: Any) -> int:
    """How many axes an item of an index uses up."""
    if type(item) is int or type(item) is slice:
        return 1
    if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
        return 0
    if isinstance(item, (list, tuple, range)):
        item = np.asarray(item) if not _holds_arrays(item) else from_nested(item)
    dtype = getattr(item, "dtype", None)
    return len(item.shape) if dtype == bool_ else 1


def _holds_arrays(x: Any) -> bool:
    return any(isinstance(i, (Array, Tracer)) or isinstance(i, (list, tuple)) and _holds_arrays(i)
               for i in x)


def parse(item: Any, shape: tuple[int, ...], axis: int, mode: str) -> list[Any]:
    kind = type(item)
    if kind is slice:
        return [slice(bound(item.start), bound(item.stop), bound(item.step))]
    if item is None:
        return [item]
    if kind is bool or kind is np.bool_:
        return [Advanced([np.zeros(int(item), int32)], new_axis=True)]
    if kind is int or isinstance(item, (int, np.integer)):
        i, n = int(item), shape[axis]
        if not -n <= i < n:
            if mode != "raise":
                return [Advanced([np.asarray(i, int32)])]
            raise out_of_bounds(i, axis, n)
        return [i + n if i < 0 else i]
    if isinstance(item, (list, tuple, range)) and not len(item):
        raw = np.zeros(0, int32)
    elif isinstance(item, (Array, Tracer, np.ndarray, list, tuple, range)):
        raw = as_raw(item)
    else:
        raise index_type_error(item)
    if raw.dtype == bool_:
        return parse_mask(raw, shape, axis)
    if kind_of(raw.dtype) != 1:
        raise index_type_error(item)
    if shape_of(raw) == () and not isinstance(raw, Tracer) and current.get() is eval_trace:
        return parse(int(raw), shape, axis, mode)
    return [Advanced([raw])]


def index_type_error(item: Any) -> IndexError:
    what = f"{dtype_name(item.dtype)} array" if hasattr(item, "dtype") else f"{type(item).__name__}"
    fix = "; convert it first: index.astype('int32')" if hasattr(item, "dtype") else ""
    return IndexError(f"got {what} as an index; only integers, slices (`:`), ellipsis (`...`), "
                      f"None and integer or boolean arrays are valid indices{fix}")


def bound(x: Any) -> int | None:
    """A bound of a slice as a Python integer."""
    if x is None or type(x) is int:
        return x
    if isinstance(x, (Array, Tracer)):
        x = look(x.value if type(x) is Array else x, integer_error, "a slice bound")
    return operator.index(x)


def parse_mask(raw: Any, shape: tuple[int, ...], axis: int) -> list[Any]:
    size = shape_of(raw)
    for k, n in enumerate(size):
        if n != shape[axis + k]:
            raise IndexError(f"boolean index did not match indexed array along axis {axis + k}; "
                             f"size of axis is {shape[axis + k]} but size of corresponding boolean "
                             f"axis is {n}")
    value = np.asarray(look(raw, mask_error, "indexing with a mask"))
    if not size:
        return [Advanced([np.zeros(int(value), int32)], new_axis=True)]
    return [Advanced([i.astype(int32)]) for i in np.nonzero(value)]


def look(raw: Any, error: Callable[..., Exception], use: str) -> Any:
    """The value of a raw array, for what Python must know; under jit only of concrete ones."""
    if isinstance(raw, Tracer):
        raw = raw.concrete(error, use)
    baked = getattr(current.get(), "baked", None)
    if baked is not None:
        baked.append(raw)
    return raw


def join_indices(arrays: list[Any], sizes: list[int], mode: str) -> Any:
    """Broadcast index arrays against each other and stack them along a new last axis."""
    wide = any(dtype_of(a) in (int64, np.dtype("uint32"), np.dtype("uint64")) for a in arrays)
    if len(arrays) > 1 or mode != "raise":
        arrays = [to_dtype(a, int64 if wide else int32) for a in arrays]
    if mode in ("fill", "clip", "unchecked", "wrap"):
        arrays = [from_end(a, n, mode) for a, n in zip(arrays, sizes, strict=True)]
    if len(arrays) == 1:
        return ops.reshape(arrays[0], shape=(*shape_of(arrays[0]), 1))
    try:
        shape = broadcast_shapes(*[shape_of(a) for a in arrays])
    except ValueError:
        shapes = " ".join(str(shape_of(a)) for a in arrays)
        raise IndexError("shape mismatch: indexing arrays could not be broadcast together with "
                         f"shapes {shapes}") from None
    if current.get() is eval_trace and all(type(a) is np.ndarray for a in arrays):
        return np.stack(np.broadcast_arrays(*arrays), axis=-1)
    columns = [ops.reshape(ops.broadcast_to(a, shape=shape), shape=(*shape, 1)) for a in arrays]
    return ops.concatenate(*columns, axis=len(shape))


def from_end(index: Any, n: int, mode: str) -> Any:
    """Negative indices count from the end; with "wrap" all are taken modulo n."""
    if mode == "wrap":
        index = ops.rem(index, n) if n else index
    return ops.select(ops.lt(index, 0), ops.add(index, n), index)


# ------------------------------------------------------------------ modes

def checked_mode(mode: Any, name: str) -> str:
    mode = getattr(mode, "name", mode)  # an enum member, such as GatherScatterMode.CLIP
    mode = mode.lower() if isinstance(mode, str) else mode
    mode = {"fill_or_drop": "fill", "one_hot": "fill"}.get(mode, mode)
    if mode not in MODES:
        raise ValueError(f"{name} has no mode {mode!r}; it has "
                         f"{[m for m in MODES if m is not None]}")
    return MODES[mode]


def default_fill(dtype: Any) -> Any:
    """What stands for an element out of bounds: NaN, or the extreme integer."""
    if is_inexact(dtype):
        return float("nan")
    if dtype == bool_:
        return True
    info = np.iinfo(dtype)
    return int(info.min if dtype.kind == "i" else info.max)


def unwrapped(mode: str) -> str:
    """The kernel's mode once indices were wrapped."""
    return "unchecked" if mode == "wrap" else mode


def scalar(x: Any) -> Any:
    """A fill value as a Python scalar."""
    raw = unwrap(x)
    return raw if type(raw) in SCALARS else np.asarray(raw).item()


__all__ = ["getitem"]
