"""NumPy indexing in full, for reading (`getitem`) and for updates (`x.at[index].set(value)`).

An index is split in two steps. The basic step (slices, integers, None) is a strided slice, a flip
and a reshape; the advanced step (arrays, masks) is one gather or scatter on what that leaves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, as_raw, from_nested, promote, to_dtype, unwrap, weak_of, wrap
from lucidfn.core.messages import integer_error, mask_error
from lucidfn.core.trace import Tracer, current, dtype_of, eval_trace, shape_of
from lucidfn.types import (
    SCALARS,
    bool_,
    broadcast_shapes,
    default_dtype_of,
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
    raw = as_raw(x)
    if type(index) is int and raw.shape:
        n = raw.shape[0]
        if not -n <= index < n:
            raise out_of_bounds(index, 0, n)
        return wrap(_row(raw, index + n if index < 0 else index), weak_of(x))
    return wrap(take_plan(raw, make_plan(raw.shape, index), "raise", None), weak_of(x))


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
    used = sum(consumes(i) for i in index)
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
    if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
        return 0
    if isinstance(item, (list, tuple)):
        item = np.asarray(item) if not _holds_arrays(item) else from_nested(item)
    dtype = getattr(item, "dtype", None)
    return len(item.shape) if dtype == bool_ else 1


def _holds_arrays(x: Any) -> bool:
    return any(isinstance(i, (Array, Tracer)) or isinstance(i, (list, tuple)) and _holds_arrays(i)
               for i in x)


def parse(item: Any, shape: tuple[int, ...], axis: int, mode: str) -> list[Any]:
    kind = type(item)
    if item is None:
        return [item]
    if kind is slice:
        return [slice(*[bound(b) for b in (item.start, item.stop, item.step)])]
    if kind is bool or kind is np.bool_:
        return [Advanced([np.zeros(int(item), int32)], new_axis=True)]
    if kind is int or isinstance(item, (int, np.integer)):
        i, n = int(item), shape[axis]
        if not -n <= i < n:
            if mode != "raise":
                return [Advanced([np.asarray(i, int32)])]
            raise out_of_bounds(i, axis, n)
        return [i + n if i < 0 else i]
    if isinstance(item, (list, tuple)) and not len(item):
        raw = np.zeros(0, int32)
    elif isinstance(item, (Array, Tracer, np.ndarray, list, tuple)):
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
    if isinstance(x, Tracer):
        return int(x.concrete(integer_error, "a slice bound"))
    return operator.index(x.value if type(x) is Array else x)


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
    if current.get() is eval_trace and not any(isinstance(a, Tracer) for a in arrays):
        return np.stack(np.broadcast_arrays(*arrays), axis=-1)
    columns = [ops.reshape(ops.broadcast_to(a, shape=shape), shape=(*shape, 1)) for a in arrays]
    return ops.concatenate(*columns, axis=len(shape))


def from_end(index: Any, n: int, mode: str) -> Any:
    """Negative indices count from the end; with "wrap" all are taken modulo n."""
    if mode == "wrap":
        index = ops.rem(index, n) if n else index
    return ops.select(ops.lt(index, 0), ops.add(index, n), index)


# ------------------------------------------------------------------ modes and updates

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


class IndexUpdate:
    """`x.at`: index it to say where, then call a method to say what.

    >>> import lucidfn.numpy as lnp
    >>> lnp.zeros(3).at[1].set(5.0)
    Array([0., 5., 0.], dtype=float32)
    """

    __slots__ = ("array",)

    def __init__(self, array: Any):
        self.array = array

    def __getitem__(self, index: Any) -> IndexedUpdate:
        return IndexedUpdate(self.array, index)

    def __repr__(self) -> str:
        return f"{self.array!r}.at"


class IndexedUpdate:
    """A place in an array. Its methods return a new array; the old one is unchanged.

    `mode` says what happens to indices out of bounds: "raise" (the default), "drop" (ignored;
    `get` gives `fill_value`), "clip", "wrap", "promise_in_bounds". `indices_are_sorted` and
    `unique_indices` are accepted and need not be given.
    """

    __slots__ = ("array", "index")

    def __init__(self, array: Any, index: Any):
        self.array, self.index = array, index

    def get(self, *, indices_are_sorted: bool = False, unique_indices: bool = False,
            mode: Any = None, fill_value: Any = None, wrap_negative_indices: bool = True) -> Any:
        """x[index]; out of bounds as `mode` says, with "fill" `fill_value` (NaN by default)."""
        raw, mode = as_raw(self.array), checked_mode(mode, "get")
        plan = make_plan(raw.shape, self.index, mode)
        fill = None
        if mode == "fill":
            fill = default_fill(raw.dtype) if fill_value is None else scalar(fill_value)
        return wrap(take_plan(raw, plan, unwrapped(mode), fill), weak_of(self.array))

    def set(self, values: Any, **options: Any) -> Any:
        """x with x[index] = values; of several values for one place the last stays."""
        return self._update("set", values, **options)

    def add(self, values: Any, **options: Any) -> Any:
        """x with x[index] += values; values for one place accumulate."""
        return self._update("add", values, **options)

    def subtract(self, values: Any, **options: Any) -> Any:
        """x with x[index] -= values."""
        return self._update("subtract", values, **options)

    def multiply(self, values: Any, **options: Any) -> Any:
        """x with x[index] *= values."""
        return self._update("multiply", values, **options)

    mul, sub = multiply, subtract

    def divide(self, values: Any, **options: Any) -> Any:
        """x with x[index] /= values; integers become floats."""
        return self._by_ones("divide", values, options)

    def power(self, values: Any, **options: Any) -> Any:
        """x with x[index] **= values."""
        return self._by_ones("power", values, options)

    def min(self, values: Any, **options: Any) -> Any:
        """x with x[index] = minimum(x[index], values)."""
        return self._update("min", values, **options)

    def max(self, values: Any, **options: Any) -> Any:
        """x with x[index] = maximum(x[index], values)."""
        return self._update("max", values, **options)

    def apply(self, function: Callable[[Any], Any], **options: Any) -> Any:
        """x with x[index] = function(x[index])."""
        return self.set(function(self.get(**options)), **options)

    def _by_ones(self, name: str, values: Any, options: dict[str, Any]) -> Any:
        raws, weak = promote(self.array, values)
        like = as_raw(raws[0])
        ones = ops.full(shape=shape_of(like), dtype=dtype_of(like), value=1)
        factor = IndexedUpdate(ones, self.index)._update("multiply", values, **options)
        return getattr(self.array, _OPERATORS[name])(factor)

    def _update(self, name: str, values: Any, *, indices_are_sorted: bool = False,
                unique_indices: bool = False, mode: Any = None, fill_value: Any = None,
                wrap_negative_indices: bool = True) -> Any:
        raw, mode = as_raw(self.array), checked_mode(mode, name)
        values = fitting(values, raw.dtype, name)
        if name == "subtract":
            name, values = "add", ops.neg(values)
        plan = make_plan(raw.shape, self.index, mode)
        return wrap(put_plan(raw, plan, name, values, _SCATTER_MODE.get(mode, mode)),
                    weak_of(self.array))


_OPERATORS = {"divide": "__truediv__", "power": "__pow__"}
_SCATTER_MODE = {"fill": "drop", "wrap": "unchecked"}
_SCATTERS = {"set": ops.scatter_set, "add": ops.scatter_add, "multiply": ops.scatter_mul,
             "min": ops.scatter_min, "max": ops.scatter_max}
_COMBINE = {"add": ops.add, "multiply": ops.mul, "min": ops.min, "max": ops.max}


def unwrapped(mode: str) -> str:
    return "unchecked" if mode == "wrap" else mode


def scalar(x: Any) -> Any:
    """A fill value as a Python scalar."""
    raw = unwrap(x)
    return raw if type(raw) in SCALARS else np.asarray(raw).item()


def fitting(values: Any, dtype: Any, name: str) -> Any:
    """Update values as a raw array of the array's dtype; TypeError where that loses their kind."""
    raw = unwrap(values)
    given = default_dtype_of(type(raw)) if type(raw) in SCALARS else raw.dtype
    if kind_of(given) > kind_of(dtype):
        raise TypeError(f"x.at[...].{name}: {dtype_name(given)} values do not fit a "
                        f"{dtype_name(dtype)} array; convert one of them with .astype")
    raw = to_dtype(raw, dtype)
    return np.asarray(raw, dtype) if type(raw) in SCALARS else raw


def put_plan(raw: Any, plan: Plan, name: str, values: Any, mode: str) -> Any:
    """raw with the places of a plan updated."""
    basic = plan.basic
    if plan.indices is None:
        inner = basic.shape if basic is not None else raw.shape
        values = spread(values, inner)
        if name != "set":
            there = raw if basic is None else take_basic(raw, basic)
            values = _COMBINE[name](there, values)
        return values if basic is None else put_basic(raw, basic, values)
    there = raw if basic is None else take_basic(raw, basic)
    lead = shape_of(plan.indices)[:-1]
    rest = tuple([d for i, d in enumerate(shape_of(there)) if i not in plan.axes])
    values = spread(values, (*rest[:plan.at], *lead, *rest[plan.at:]))
    values = move_block(values, plan.at, len(lead), 0)
    there = _SCATTERS[name](there, plan.indices, values, axes=plan.axes, mode=mode)
    return there if basic is None else put_basic(raw, basic, there)


def spread(values: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast values to a shape; leading axes of size 1 too many are dropped, as in NumPy."""
    have = shape_of(values)
    if have == shape:
        return values
    extra = len(have) - len(shape)
    if extra > 0 and all(n == 1 for n in have[:extra]):
        values = ops.reshape(values, shape=have[extra:])
    try:
        fits = broadcast_shapes(shape_of(values), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"values of shape {have} do not broadcast to the shape {shape} of the "
                         "indexed place")
    return ops.broadcast_to(values, shape=shape)


def put_basic(raw: Any, basic: Basic, values: Any) -> Any:
    """The inverse of `take_basic`: values written over the slice."""
    if shape_of(values) != basic.sliced:
        values = ops.reshape(values, shape=basic.sliced)
    if basic.flips:
        values = ops.flip(values, axes=basic.flips)
    if basic.sliced == raw.shape:
        return values
    if all(k == 1 for k in basic.stride):
        return ops.dynamic_update_slice(raw, values, *basic.start)
    widths = []
    for a, k, n, m in zip(basic.start, basic.stride, raw.shape, basic.sliced, strict=True):
        span = (m - 1) * k + 1 if m else 0
        widths.append((a, n - a - span, k - 1))
    there = ops.full(shape=basic.sliced, dtype=bool_, value=True)
    mask = ops.pad(there, False, widths=tuple(widths))
    return ops.select(mask, ops.pad(values, ops.zero_like(values), widths=tuple(widths)), raw)


__all__ = ["getitem", "IndexUpdate", "IndexedUpdate"]
