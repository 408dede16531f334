"""`x.at[index].set(value)` and the other updates: each makes a new array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, promote, to_dtype, unwrap, weak_of, wrap
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.numpy.indexing import (
    Basic,
    Plan,
    checked_mode,
    default_fill,
    make_plan,
    move_block,
    scalar,
    take_basic,
    take_plan,
    unwrapped,
)
from lucidfn.types import (
    SCALARS,
    bool_,
    broadcast_shapes,
    default_dtype_of,
    dtype_name,
    kind_of,
)


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
        return wrap(put_plan(raw, plan, name, values, SCATTER_MODE.get(mode, mode)),
                    weak_of(self.array))


_OPERATORS = {"divide": "__truediv__", "power": "__pow__"}
SCATTER_MODE = {"fill": "drop", "wrap": "unchecked"}
_SCATTERS = {"set": ops.scatter_set, "add": ops.scatter_add, "multiply": ops.scatter_mul,
             "min": ops.scatter_min, "max": ops.scatter_max}
_COMBINE = {"add": ops.add, "multiply": ops.mul, "min": ops.min, "max": ops.max}


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


__all__ = ["IndexUpdate", "IndexedUpdate"]
