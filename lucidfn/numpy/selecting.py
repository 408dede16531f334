"""Taking and choosing elements: take, nonzero, select, and functions that make indices.

Where the size of a result depends on values it comes from the values, where there are any; under
jit give `size=`, and what is too much is cut, what is missing is filled.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, as_raw, promote, to_dtype, unwrap, weak_of, wrap
from lucidfn.array import place as on_default_device
from lucidfn.core.messages import integer_error, size_error
from lucidfn.core.trace import Tracer, beside, dtype_of, shape_of
from lucidfn.numpy._along import along_axis, permuted
from lucidfn.numpy.creation import static_int
from lucidfn.numpy.elementwise import _truth, lift
from lucidfn.numpy.elementwise import where as _where
from lucidfn.numpy.indexing import (
    checked_mode,
    default_fill,
    from_end,
    look,
    scalar,
    unwrapped,
)
from lucidfn.numpy.reductions import normal_axis
from lucidfn.numpy.shape import broadcast_arrays, broadcast_to, take_axis
from lucidfn.numpy.updates import SCATTER_MODE, fitting, spread
from lucidfn.ops.shape import inverse
from lucidfn.types import SCALARS, default_dtype_of, int32, kind_of

# ------------------------------------------------------------------ taking


def _flat(raw: Any) -> Any:
    return ops.reshape(raw, shape=(math.prod(raw.shape),))


def as_index(raw: Any) -> Any:
    """Indices that a user gets, at the default integer dtype."""
    return to_dtype(raw, default_dtype_of(int))


def _index(indices: Any, name: str) -> Any:
    raw = as_raw(np.zeros(0, int32) if isinstance(indices, (list, tuple)) and not indices
                 else indices)
    if kind_of(raw.dtype) != 1:
        raise TypeError(f"lnp.{name}: indices must be integers, got {raw.dtype}")
    return raw


def _prepared(index: Any, n: int, mode: str) -> Any:
    """Negative indices made positive for the modes whose kernels do not do it."""
    if mode == "raise":
        return index
    return from_end(index if index.dtype.itemsize >= 4 else to_dtype(index, int32), n, mode)


def _from_zero(index: Any, mode: str) -> Any:
    """With "clip" negative indices are 0, as in NumPy: they do not count from the end."""
    if mode != "clip":
        return index
    return ops.max(index if index.dtype.itemsize >= 4 else to_dtype(index, int32), 0)


def _fill(raw: Any, mode: str, fill_value: Any) -> Any:
    if mode != "fill":
        return None
    return default_fill(raw.dtype) if fill_value is None else scalar(fill_value)


def take(a: Any, indices: Any, axis: int | None = None, out: None = None, mode: Any = None,
         unique_indices: bool = False, indices_are_sorted: bool = False,
         fill_value: Any = None) -> Any:
    """Elements (or slices along an axis) at the given indices.

    Out of bounds raises IndexError unless `mode` is "clip", "wrap" or "fill" (`fill_value`).
    """
    raw, mode = as_raw(a), checked_mode(mode, "take")
    if axis is None:
        raw, axis = _flat(raw), 0
    at = normal_axis(axis, len(raw.shape))
    index = _prepared(_from_zero(_index(indices, "take"), mode), raw.shape[at], mode)
    return wrap(take_axis(raw, index, at, unwrapped(mode), _fill(raw, mode, fill_value)),
                weak_of(a))


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1, mode: Any = None,
                    fill_value: Any = None) -> Any:
    """out[..., i, ...] = arr[..., indices[..., i, ...], ...]; the other axes broadcast."""
    raw, index = as_raw(arr), _index(indices, "take_along_axis")
    mode = checked_mode(mode, "take_along_axis")
    if axis is None:
        raw, index, axis = _flat(raw), _flat(index), 0
    at = normal_axis(axis, len(raw.shape))
    along = along_axis(raw.shape, shape_of(index), at)
    lanes, places = len(along.shared), along.places(_prepared(index, raw.shape[at], mode))
    out = ops.gather(along.source(raw), places, axes=(lanes,), mode=unwrapped(mode),
                     fill=_fill(raw, mode, fill_value), lanes=lanes)
    return wrap(permuted(out, inverse(along.order)), weak_of(arr))


def _not_in_place(name: str, inplace: bool) -> None:
    if inplace:
        raise ValueError(f"lnp.{name} cannot change its argument, arrays are immutable; pass "
                         f"inplace=False and use what it returns: x = lnp.{name}(x, ..., "
                         "inplace=False)")


def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None, inplace: bool = True, *,
                   mode: Any = None) -> Any:
    """A copy of arr with values put where `take_along_axis` would take them."""
    _not_in_place("put_along_axis", inplace)
    x = wrap(as_raw(arr), weak_of(arr))
    if axis is None:
        flat = put_along_axis(x.reshape(-1), _index(indices, "put_along_axis").reshape(-1), values,
                              0, False, mode=mode)
        return flat.reshape(x.shape)
    raw, mode = as_raw(x), checked_mode(mode, "put_along_axis")
    index, at = _index(indices, "put_along_axis"), normal_axis(axis, len(raw.shape))
    along = along_axis(raw.shape, shape_of(index), at)
    new = permuted(spread(fitting(values, raw.dtype, "set"), along.sizes), along.order)
    lanes, places = len(along.shared), along.places(_prepared(index, raw.shape[at], mode))
    out = ops.scatter_set(along.source(raw), places, new, axes=(lanes,),
                          mode=SCATTER_MODE.get(mode, mode), lanes=lanes)
    return wrap(along.back(out), weak_of(arr))


def put(a: Any, ind: Any, v: Any, mode: Any = None, *, inplace: bool = True) -> Any:
    """A copy of a with v put at flat indices; v is repeated as often as needed."""
    _not_in_place("put", inplace)
    x, index = wrap(as_raw(a), weak_of(a)), _flat(_index(ind, "put"))
    values, n = _flat(as_raw(v)), shape_of(index)[0]
    if not n or not shape_of(values)[0]:
        return x
    places = np.arange(n, dtype=np.int32) % shape_of(values)[0]
    return x.reshape(-1).at[wrap(index)].set(
        wrap(take_axis(values, places, 0, "unchecked"), weak_of(v)), mode=mode).reshape(x.shape)


def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    """For each place the element of the choice whose number stands there."""
    index, *items = broadcast_arrays(a, *list(choices))
    raws, weak = lift(*items)
    table = ops.concatenate(*[ops.reshape(r, shape=(1, *r.shape)) for r in raws], axis=0)
    at = ops.reshape(_from_zero(as_raw(index), mode), shape=(1, *index.shape))
    return take_along_axis(wrap(table, weak), wrap(at), 0, mode)[0]


def compress(condition: Any, a: Any, axis: int | None = None, *, size: int | None = None,
             fill_value: Any = 0, out: None = None) -> Any:
    """The slices along an axis where condition is true; `size=` is needed under jit."""
    raw = as_raw(a)
    if axis is None:
        raw, axis = _flat(raw), 0
    at = normal_axis(axis, len(raw.shape))
    mask = _truth(as_raw(condition))
    n = builtins.min(shape_of(mask)[0], raw.shape[at])
    if size is None:
        long = np.asarray(look(mask, size_error, "lnp.compress"))
        if long[n:].any():
            raise IndexError(f"lnp.compress: condition of length {len(long)} is true beyond the "
                             f"{n} elements of axis {at}")
    index, count = _nonzero(ops.slice_axis(mask, 0, 0, n), size, "lnp.compress")
    out_raw = take_axis(raw, index, at, "unchecked")
    return wrap(_filled(out_raw, count, at, fill_value), weak_of(a))


def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """The elements where condition is true, in order."""
    return compress(wrap(_flat(as_raw(condition))), wrap(_flat(as_raw(arr)), weak_of(arr)), 0,
                    size=size, fill_value=fill_value)


def place(arr: Any, mask: Any, vals: Any, *, inplace: bool = True) -> Any:
    """A copy of arr with the first values, repeated as needed, where the mask is true."""
    _not_in_place("place", inplace)
    raw, values, chosen = as_raw(arr), _flat(as_raw(vals)), _flat(_truth(as_raw(mask)))
    if not shape_of(values)[0]:
        raise ValueError("lnp.place: there are no values to put")
    number = ops.add(ops.cumsum(ops.convert(chosen, dtype=int32), axis=0, reverse=False), -1)
    n = shape_of(values)[0]
    index = ops.rem(ops.add(number, n), n)
    new = to_dtype(take_axis(values, index, 0, "unchecked"), raw.dtype)
    return wrap(ops.reshape(ops.select(chosen, new, _flat(raw)), shape=raw.shape), weak_of(arr))


# ------------------------------------------------------------------ choosing

def where(condition: Any, x: Any = None, y: Any = None, /, *, size: int | None = None,
          fill_value: Any = None) -> Any:
    """x where condition, else y; with the condition alone, the indices where it is true."""
    if x is None and y is None:
        return nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None:
        raise ValueError("lnp.where takes a condition and both x and y, or the condition alone")
    return _where(condition, x, y)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """The choice of the first condition that holds, else the default."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"lnp.select: {len(condlist)} conditions and {len(choicelist)} choices; "
                         "there must be equally many, and one at least")
    raws, weak = promote(*choicelist, default)
    out = wrap(raws[-1], weak)
    for condition, choice in zip(reversed(condlist), reversed(raws[:-1]), strict=True):
        out = _where(condition, wrap(choice, weak), out)
    return out


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Where a condition holds its function of x (or its constant); one more is for the rest.

    Where several conditions hold the last one counts, as in NumPy.
    """
    x = wrap(as_raw(x), weak_of(x))
    many = isinstance(condlist, (list, tuple)) and (not condlist or np.ndim(condlist[0]) > 0
                                                    or len(x.shape) == 0)
    many = many or (hasattr(condlist, "ndim") and condlist.ndim > len(x.shape))
    conditions = list(condlist) if many else [condlist]
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        out = _apply(functions.pop(), x, args, kw)
    elif len(functions) == len(conditions):
        out = _apply(0, x, args, kw)
    else:
        raise ValueError(f"lnp.piecewise: {len(conditions)} conditions need {len(conditions)} or "
                         f"{len(conditions) + 1} functions, got {len(functions)}")
    for condition, function in zip(conditions, functions, strict=True):
        out = _where(condition, _apply(function, x, args, kw), out)
    return out


def _apply(function: Any, x: Any, args: Any, kw: Any) -> Any:
    value = function(x, *args, **kw) if callable(function) else function
    return wrap(to_dtype(as_raw(broadcast_to(value, x.shape)), x.dtype))


# ------------------------------------------------------------------ where elements are nonzero

def _nonzero(mask: Any, size: int | None, use: str) -> tuple[Any, Any]:
    """Places of True in a flat mask, `size` of them, and how many there are.

    Each True goes to the slot given by the number of those before it; beyond `size` it is dropped.
    """
    n = shape_of(mask)[0]
    if size is None:
        value = np.asarray(look(mask, size_error, use))
        return np.flatnonzero(value).astype(np.int32), None
    size = static_int(size, "size=")
    number = ops.cumsum(ops.convert(mask, dtype=int32), axis=0, reverse=False)
    slots = ops.reshape(ops.select(mask, ops.add(number, -1), size), shape=(n, 1))
    places = ops.iota(shape=(n,), dtype=int32, axis=0)
    index = ops.scatter_set(ops.zeros((size,), int32), slots, places, axes=(0,), mode="drop")
    count = ops.reduce_sum(ops.convert(mask, dtype=int32), axes=(0,))
    return index, count


def _filled(raw: Any, count: Any, axis: int, fill_value: Any) -> Any:
    """Elements beyond `count` along an axis replaced by a value."""
    if count is None:
        return raw
    shape = shape_of(raw)
    own = tuple([n if i == axis else 1 for i, n in enumerate(shape)])
    there = ops.lt(ops.iota(shape=own, dtype=int32, axis=axis), count)
    fill = unwrap(fill_value)
    fill = to_dtype(fill, dtype_of(raw))
    return ops.select(there, raw, fill)


def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple[Any, ...]:
    """For each axis the indices of the elements that are not zero.

    Under jit `size` is needed; missing places are filled with `fill_value` (0, or one for each
    axis).
    """
    raw = as_raw(a)
    if not raw.shape:
        raise ValueError("lnp.nonzero needs an array with axes; use lnp.atleast_1d")
    index, count = _nonzero(_flat(_truth(raw)), size, "lnp.nonzero")
    fills = fill_value if isinstance(fill_value, tuple) else (fill_value,) * len(raw.shape)
    out = []
    for part, fill in zip(_unravel(index, raw.shape), fills, strict=True):
        found = as_index(_filled(part, count, 0, 0 if fill is None else fill))
        out.append(wrap(beside(found, raw)))
    return tuple(out)


def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Flat indices of the elements that are not zero."""
    return nonzero(wrap(_flat(as_raw(a))), size=size, fill_value=fill_value)[0]


def argwhere(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Indices of the elements that are not zero, (count, axes)."""
    raw = as_raw(a)
    if not raw.shape:
        n = flatnonzero(wrap(raw), size=size, fill_value=fill_value).shape[0]
        return wrap(beside(ops.zeros((n, 0), default_dtype_of(int)), raw))
    parts = nonzero(wrap(raw), size=size, fill_value=fill_value)
    return wrap(ops.concatenate(*[ops.reshape(as_raw(p), shape=(p.shape[0], 1)) for p in parts],
                                axis=1))


# ------------------------------------------------------------------ flat and separate indices

def _unravel(index: Any, shape: tuple[int, ...]) -> list[Any]:
    out = []
    for n in reversed(shape):
        out.append(ops.rem(index, n) if n else index)
        index = ops.div(index, n) if n else index
    return out[::-1]


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """Flat indices as one index for each axis; negative ones count from the end."""
    raw, sizes = _index(indices, "unravel_index"), _sizes(shape)
    total = math.prod(sizes)
    if not isinstance(raw, Tracer):
        value = np.asarray(raw)
        bad = value[(value < -total) | (value >= total)]
        if bad.size:
            raise ValueError(f"index {bad.flat[0]} is out of bounds for an array of {total} "
                             "elements")
    raw = from_end(raw if raw.dtype.itemsize >= 4 else to_dtype(raw, int32), total, "fill")
    return tuple([wrap(part) for part in _unravel(raw, sizes)])


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple([static_int(n, "a shape") for n in
                  (shape if isinstance(shape, (tuple, list)) else [shape])])


def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """One index for each axis as flat indices; `mode` is "raise", "wrap" or "clip"."""
    sizes = _sizes(dims)
    modes = mode if isinstance(mode, tuple) else (mode,) * len(sizes)
    raws = [_index(i, "ravel_multi_index") for i in multi_index]
    if len(raws) != len(sizes):
        raise ValueError(f"{len(raws)} index arrays for {len(sizes)} axes")
    out: Any = None
    pairs = list(zip(raws, sizes, modes, strict=True))
    for raw, n, how in pairs if order == "C" else pairs[::-1]:
        raw = to_dtype(raw, int32) if raw.dtype.itemsize < 4 else raw
        if how == "raise":
            value = np.asarray(look(raw, integer_error, "lnp.ravel_multi_index(mode='raise')"))
            if ((value < 0) | (value >= n)).any():
                raise ValueError(f"invalid entry in coordinates array: an index of an axis of size "
                                 f"{n} is out of bounds")
        elif how == "clip":
            raw = ops.clamp(0, raw, n - 1)
        else:
            raw = from_end(raw, n, "wrap")
        out = raw if out is None else ops.add(ops.mul(out, n), raw)
    return wrap(out)


def _as_arrays(found: Any) -> tuple[Any, ...]:
    return tuple([on_default_device(Array(i.astype(default_dtype_of(int)))) for i in found])


def _beside_each(indices: tuple[Any, ...], arr: Any) -> tuple[Any, ...]:
    """Index arrays on the device of what they index."""
    raw = arr.value if type(arr) is Array else arr
    return tuple([wrap(beside(unwrap(i), raw)) for i in indices])


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, Any]:
    """Indices of the lower triangle of an (n, m) matrix."""
    return _as_arrays(np.tril_indices(n, k, m))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Any, Any]:
    """Indices of the upper triangle of an (n, m) matrix."""
    return _as_arrays(np.triu_indices(n, k, m))


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Indices of the lower triangle of a matrix."""
    return _beside_each(tril_indices(arr.shape[0], k, arr.shape[1]), arr)


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Indices of the upper triangle of a matrix."""
    return _beside_each(triu_indices(arr.shape[0], k, arr.shape[1]), arr)


def diag_indices(n: int, ndim: int = 2) -> tuple[Any, ...]:
    """Indices of the main diagonal of an array of `ndim` axes of size n."""
    return _as_arrays(np.diag_indices(n, ndim))


def diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """Indices of the main diagonal of an array whose axes have one size."""
    if len(arr.shape) < 2 or len(set(arr.shape)) > 1:
        raise ValueError(f"all axes must have one size, and there must be two; got {arr.shape}")
    return _beside_each(diag_indices(arr.shape[0], len(arr.shape)), arr)


def mask_indices(n: int, mask_func: Callable[..., Any], k: int = 0, *,
                 size: int | None = None) -> tuple[Any, ...]:
    """Indices of an (n, n) matrix where mask_func(ones, k) is not zero."""
    return nonzero(mask_func(Array(np.ones((n, n), np.int32)), k), size=size)


def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Any:
    """A copy of a with values on its main diagonal."""
    _not_in_place("fill_diagonal", inplace)
    if len(a.shape) < 2 or (len(a.shape) > 2 and len(set(a.shape)) > 1):
        raise ValueError(f"lnp.fill_diagonal needs a matrix, or axes of one size; got {a.shape}")
    if wrap:
        raise NotImplementedError("lnp.fill_diagonal has no wrap=True")
    n = builtins.min(a.shape)
    values = unwrap(val)
    values = values if type(values) in SCALARS else _flat(as_raw(values))[:n]
    return a.at[diag_indices(n, len(a.shape))].set(values)


def ix_(*args: Any) -> tuple[Any, ...]:
    """Index arrays of an open grid: x[lnp.ix_(rows, columns)]."""
    out = []
    for i, arg in enumerate(args):
        raw = as_raw(arg)
        if len(raw.shape) != 1:
            raise ValueError(f"lnp.ix_ takes vectors, got shape {raw.shape}")
        if raw.dtype == np.bool_:
            raw = as_raw(nonzero(arg)[0])
        shape = tuple([raw.shape[0] if k == i else 1 for k in range(len(args))])
        out.append(wrap(ops.reshape(raw, shape=shape)))
    return tuple(out)


s_, index_exp = np.s_, np.index_exp

__all__ = [
    "argwhere", "choose", "compress", "diag_indices", "diag_indices_from", "extract",
    "fill_diagonal", "flatnonzero", "index_exp", "ix_", "mask_indices", "nonzero", "piecewise",
    "place", "put", "put_along_axis", "ravel_multi_index", "s_", "select", "take",
    "take_along_axis", "tril_indices", "tril_indices_from", "triu_indices", "triu_indices_from",
    "unravel_index", "where",
]
