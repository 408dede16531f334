"""Joining arrays (concatenate, stack, block) and splitting them."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, weak_of, wrap
from lucidfn.core.trace import shape_of
from lucidfn.numpy.creation import static_int
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.reductions import normal_axis
from lucidfn.numpy.shape import atleast_1d, atleast_2d, atleast_3d, reshape
from lucidfn.types import as_dtype


def _arrays(arrays: Any, name: str) -> list[Any]:
    items = list(arrays)  # of one array, its rows
    if not items:
        raise ValueError(f"lnp.{name} needs at least one array")
    return items


def concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Any:
    """Arrays one after another along an axis; flattened first if it is None."""
    items = _arrays(arrays, "concatenate")
    raws, weak = lift(*items)
    if dtype is not None:
        raws, weak = [to_dtype(r, as_dtype(dtype)) for r in raws], False
    if axis is None:
        raws, axis = [ops.reshape(r, shape=(math.prod(r.shape),)) for r in raws], 0
    if not raws[0].shape:
        raise ValueError("lnp.concatenate: arrays without axes cannot be joined; use lnp.stack")
    at = normal_axis(axis, len(raws[0].shape))
    return wrap(raws[0] if len(raws) == 1 else ops.concatenate(*raws, axis=at), weak)


concat = concatenate


def stack(arrays: Any, axis: int = 0, out: None = None, dtype: Any = None) -> Any:
    """Arrays of one shape along a new axis."""
    items = _arrays(arrays, "stack")
    raws, weak = lift(*items)
    shapes = {r.shape for r in raws}
    if len(shapes) > 1:
        raise ValueError(f"lnp.stack: the arrays must have one shape, got {sorted(shapes)}")
    if dtype is not None:
        raws, weak = [to_dtype(r, as_dtype(dtype)) for r in raws], False
    shape = raws[0].shape
    at = normal_axis(axis, len(shape) + 1)
    wide = [ops.reshape(r, shape=(*shape[:at], 1, *shape[at:])) for r in raws]
    return wrap(wide[0] if len(wide) == 1 else ops.concatenate(*wide, axis=at), weak)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices along an axis, without that axis."""
    raw = as_raw(x)
    if not raw.shape:
        raise ValueError("lnp.unstack needs an array with axes")
    at = normal_axis(axis, len(raw.shape))
    return tuple([wrap(part, weak_of(x)) for part in ops.unstack(raw, at)])


def vstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays one below another: joined along the first axis, vectors as rows."""
    return concatenate([atleast_2d(x) for x in _arrays(tup, "vstack")], 0, dtype)


def hstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays side by side: joined along the second axis, vectors along their only one."""
    items = [atleast_1d(x) for x in _arrays(tup, "hstack")]
    return concatenate(items, 0 if items[0].ndim == 1 else 1, dtype)


def dstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays joined along the third axis."""
    return concatenate([atleast_3d(x) for x in _arrays(tup, "dstack")], 2, dtype)


def column_stack(tup: Any) -> Any:
    """Vectors as the columns of a matrix; matrices side by side."""
    items = [wrap(as_raw(x), weak_of(x)) for x in _arrays(tup, "column_stack")]
    return concatenate([reshape(x, (-1, 1)) if x.ndim < 2 else x for x in items], 1)


def block(arrays: Any) -> Any:
    """An array put together from nested lists of blocks; the innermost list is the last axis."""
    depth = _depth(arrays)
    rank = builtins.max(depth, *[len(shape_of(as_raw(x))) for x in _blocks(arrays)])
    return _join_blocks(arrays, rank - depth, rank)


def _depth(x: Any) -> int:
    if not isinstance(x, list):
        return 0
    if not x:
        raise ValueError("lnp.block: lists must not be empty")
    depths = {_depth(item) for item in x}
    if len(depths) > 1:
        raise ValueError(f"lnp.block: lists are nested to different depths {sorted(depths)}")
    return 1 + depths.pop()


def _blocks(x: Any) -> list[Any]:
    return [b for item in x for b in _blocks(item)] if isinstance(x, list) else [x]


def _join_blocks(x: Any, axis: int, rank: int) -> Any:
    if not isinstance(x, list):
        raw = as_raw(x)
        return wrap(ops.reshape(raw, shape=(1,) * (rank - len(raw.shape)) + raw.shape), weak_of(x))
    return concatenate([_join_blocks(item, axis + 1, rank) for item in x], axis)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Values put after an array; both flattened if axis is None."""
    return concatenate([arr, values], axis)


# ------------------------------------------------------------------ splitting

def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts along an axis: a number of equal ones, or those that end before the given indices."""
    return _split("split", ary, indices_or_sections, axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Like `split`; a number of parts need not divide the size, the first are one longer."""
    return _split("array_split", ary, indices_or_sections, axis)


def _split(name: str, ary: Any, where: Any, axis: int) -> list[Any]:
    raw = as_raw(ary)
    at = normal_axis(axis, len(raw.shape))
    n = raw.shape[at]
    if isinstance(where, (list, tuple)) or len(np.shape(where)) == 1:
        inner = [static_int(i, f"an index in lnp.{name}") for i in where]
        inner = [builtins.min(builtins.max(i + n if i < 0 else i, 0), n) for i in inner]
        edges = [0, *inner, n]
    else:
        parts = static_int(where, f"the number of parts in lnp.{name}")
        if parts < 1 or (name == "split" and n % parts):
            raise ValueError(f"lnp.{name}: an axis of size {n} has no {parts} equal parts; "
                             "lnp.array_split makes nearly equal ones")
        short, longer = divmod(n, parts)
        edges = [i * short + builtins.min(i, longer) for i in range(parts + 1)]
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    if len(spans) > 1 and all(a <= b for a, b in spans):
        cut = ops.split(raw, axis=at, sizes=tuple([b - a for a, b in spans]))
    else:  # the whole, or indices out of order, whose parts overlap
        cut = [ops.slice_axis(raw, at, a, builtins.max(a, b)) for a, b in spans]
    return [wrap(part, weak_of(ary)) for part in cut]


def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along the second axis; of a vector, along its only one."""
    return split(ary, indices_or_sections, 0 if len(shape_of(as_raw(ary))) == 1 else 1)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along the first axis."""
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts along the third axis."""
    return split(ary, indices_or_sections, 2)


__all__ = [
    "append", "array_split", "block", "column_stack", "concat", "concatenate", "dsplit", "dstack",
    "hsplit", "hstack", "split", "stack", "unstack", "vsplit", "vstack",
]
