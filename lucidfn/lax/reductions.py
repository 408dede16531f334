"""Reductions of `lax`: over axes, over windows, cumulative; with a given operation or any."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops, tree
from lucidfn.array import unwrap, weak_of, wrap
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import Tracer, beside, dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax import elementwise as ew
from lucidfn.lax._operands import apply, array, axes_of, axis_of, keep_dtype, named, sizes
from lucidfn.lax.convolution import padtype_to_pads
from lucidfn.ops.conv import dilated, windows
from lucidfn.ops.window import offsets, spread, taps
from lucidfn.transforms.vmap import batch_flat
from lucidfn.types import SCALARS, as_dtype, bool_, is_inexact, kind_of

Computation = Callable[[Any, Any], Any]


def _reducer(primitive: Primitive, doc: str, kinds: str = "ifc") -> Callable[..., Any]:
    accepted = {"b": 0, "i": 1, "f": 2, "c": 3}

    def function(operand: Any, axes: Sequence[int], *, out_sharding: None = None) -> Any:
        raw = array(operand)
        if kind_of(dtype_of(raw)) not in [accepted[k] for k in kinds]:
            raise TypeError(f"lax.{primitive.name} got {type_of(raw)}; it does not take this dtype")
        where = axes_of(axes, len(shape_of(raw)), primitive.name)
        return apply(primitive, raw, axes=where, weak=weak_of(operand))

    return named(function, primitive.name, doc)


reduce_sum = _reducer(ops.reduce_sum, "Sum over axes.")
reduce_prod = _reducer(ops.reduce_prod, "Product over axes.")


def reduce_and(operand: Any, axes: Sequence[int], *, out_sharding: None = None) -> Any:
    """Whether all are true, over axes; bit by bit for integers."""
    raw = array(operand)
    if dtype_of(raw) == bool_:
        return wrap(ops.reduce_and(raw, axes=axes_of(axes, len(shape_of(raw)), "reduce_and")))
    ones = ops.bitwise_not(ops.zeros((), dtype_of(raw)))
    return reduce(operand, wrap(ones), ew.bitwise_and, axes)


def reduce_or(operand: Any, axes: Sequence[int], *, out_sharding: None = None) -> Any:
    """Whether any is true, over axes; bit by bit for integers."""
    raw = array(operand)
    if dtype_of(raw) == bool_:
        return wrap(ops.reduce_or(raw, axes=axes_of(axes, len(shape_of(raw)), "reduce_or")))
    return reduce(operand, wrap(ops.zeros((), dtype_of(raw))), ew.bitwise_or, axes)


def reduce_max(operand: Any, axes: Sequence[int], *, out_sharding: None = None) -> Any:
    """Largest element over axes; the least value of the dtype where there is none.

    Elements that tie share the derivative equally.
    """
    return _extremum(ops.reduce_max, operand, axes, -1)


def reduce_min(operand: Any, axes: Sequence[int], *, out_sharding: None = None) -> Any:
    """Smallest element over axes; the greatest value of the dtype where there is none."""
    return _extremum(ops.reduce_min, operand, axes, 1)


def _extremum(primitive: Primitive, operand: Any, axes: Sequence[int], sign: int) -> Any:
    raw = array(operand)
    shape, dtype = shape_of(raw), dtype_of(raw)
    if kind_of(dtype) == 3:
        raise TypeError(f"lax.{primitive.name} got {type_of(raw)}; complex numbers have no order")
    where = axes_of(axes, len(shape), primitive.name)
    if any(shape[a] == 0 for a in where):
        kept = tuple([n for i, n in enumerate(shape) if i not in where])
        return wrap(beside(ops.full(shape=kept, dtype=dtype, value=_extreme(dtype, sign)), raw))
    return wrap(primitive(raw, axes=where), weak_of(operand))


def _extreme(dtype: Any, sign: int) -> Any:
    if dtype == bool_:
        return sign > 0
    if is_inexact(dtype):
        return sign * math.inf
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    return (1 << bits) - 1 if sign > 0 else -(1 << bits) if dtype.kind == "i" else 0


def reduce_xor(operand: Any, axes: Sequence[int], *, out_sharding: None = None) -> Any:
    """Exclusive or over axes, bit by bit."""
    raw = array(operand)
    return reduce(operand, wrap(ops.zeros((), dtype_of(raw))), ew.bitwise_xor, axes)


# ------------------------------------------------------------------ any operation

def reduce(operands: Any, init_values: Any, computation: Computation, dimensions: Sequence[int],
           out_sharding: None = None) -> Any:
    """The elements along axes combined by an associative function of two scalars.

    operands and init_values may be trees of one structure; then the function takes and returns
    such trees. init_values must be an identity of the computation.

    >>> from lucidfn import lax
    >>> int(lax.reduce(lax.iota("int32", 5), 0, lax.add, (0,)))
    10
    """
    leaves, treedef = tree.flatten(operands)
    inits = tree.leaves(init_values)
    raws = [array(x) for x in leaves]
    rank = len(shape_of(raws[0]))
    axes = axes_of(dimensions, rank, "reduce")
    if len(inits) != len(raws) or any(shape_of(r) != shape_of(raws[0]) for r in raws):
        raise ShapeError("lax.reduce takes operands of one shape, and an initial value for each")
    kept = [i for i in range(rank) if i not in axes]
    shape = tuple([shape_of(raws[0])[i] for i in kept])
    n = math.prod(shape_of(raws[0])[a] for a in axes)
    rows = [ops.reshape(ops.permute(r, order=(*axes, *kept)), shape=(n, *shape)) for r in raws]
    start = [_initial(i, r) for i, r in zip(inits, raws, strict=True)]
    out = [ops.broadcast_to(s, shape=shape) for s in start]
    combine = _elementwise(computation, treedef)
    while n:  # halve the rows; an odd one is combined into the result
        if n % 2:
            out = combine(out, [_row(r, n - 1) for r in rows])
        half = n // 2
        if half:
            rows = combine([ops.slice_axis(r, 0, 0, half) for r in rows],
                           [ops.slice_axis(r, 0, half, 2 * half) for r in rows])
        n = half
    return tree.unflatten(treedef, [wrap(o) for o in out])


def _row(x: Any, i: int) -> Any:
    part = ops.slice_axis(x, 0, i, i + 1)
    return ops.reshape(part, shape=shape_of(part)[1:])


def _initial(value: Any, like: Any) -> Any:
    raw = unwrap(value)
    if shape_of(raw) != ():
        raise ShapeError(f"an initial value must be a scalar, got {type_of(raw)}")
    if type(raw) in SCALARS:
        cast = {0: bool, 1: int, 2: float, 3: complex}[kind_of(dtype_of(like))]
        return ops.full(shape=(), dtype=dtype_of(like), value=cast(raw))
    return keep_dtype(raw, dtype_of(like))


def _elementwise(computation: Computation, treedef: Any) -> Callable[..., list[Any]]:
    """A function of two trees of scalars, applied to every element of two lists of arrays."""
    def of_scalars(*raws: Any) -> list[Any]:
        wrapped = [wrap(r) for r in raws]
        half = len(wrapped) // 2
        out = computation(tree.unflatten(treedef, wrapped[:half]),
                          tree.unflatten(treedef, wrapped[half:]))
        return [array(o) for o in tree.leaves(out)]

    def combine(xs: Sequence[Any], ys: Sequence[Any]) -> list[Any]:
        shape = shape_of(xs[0])
        size = math.prod(shape)
        flat = [ops.reshape(a, shape=(size,)) for a in (*xs, *ys)]
        outs, _ = batch_flat(of_scalars, flat, [True] * len(flat), size, axis_name=None)
        return [keep_dtype(ops.reshape(o, shape=shape), dtype_of(x))
                for o, x in zip(outs, xs, strict=True)]

    return combine


_WINDOWED = {"add": (ops.window_sum, 0), "max": (ops.window_max, -1), "min": (ops.window_min, 1)}


def reduce_window(operand: Any, init_value: Any, computation: Computation,
                  window_dimensions: Sequence[int], window_strides: Sequence[int] | None = None,
                  padding: str | Sequence[tuple[int, int]] = "VALID",
                  base_dilation: Sequence[int] | None = None,
                  window_dilation: Sequence[int] | None = None) -> Any:
    """The elements of each window combined by an associative function, as in pooling.

    All parameters have one entry for each axis; padding is "SAME", "VALID" or pairs (low, high)
    and has the value init_value. `lax.max`, `lax.min`, and `lax.add` from 0, are fast.

    >>> from lucidfn import lax
    >>> lax.reduce_window([1.0, 3.0, 2.0], -float("inf"), lax.max, (2,)).tolist()
    [3.0, 3.0]
    """
    raw, init = array(operand), unwrap(init_value)
    shape = shape_of(raw)
    window, one = sizes(window_dimensions, "window_dimensions"), (1,) * len(shape)
    stride = one if window_strides is None else sizes(window_strides, "window_strides")
    base = one if base_dilation is None else sizes(base_dilation, "base_dilation")
    dilation = one if window_dilation is None else sizes(window_dilation, "window_dilation")
    if any(len(p) != len(shape) for p in (window, stride, base, dilation)):
        raise ShapeError(f"lax.reduce_window got {type_of(raw)}, window_dimensions {window} and "
                         f"window_strides {stride}; they need one entry for each axis")
    reach = [dilated(k, d) for k, d in zip(window, dilation, strict=True)]
    full = [dilated(n, d) for n, d in zip(shape, base, strict=True)]
    pads = padtype_to_pads(full, reach, stride, padding) if isinstance(padding, str) else padding
    pads = tuple([(int(lo), int(hi)) for lo, hi in pads])
    fast, sign = _WINDOWED.get(_name_of(computation), (None, 0))
    known = _is_identity(init, dtype_of(raw), sign)
    if fast and kind_of(dtype_of(raw)) != 3 and (known or sign):
        out = apply(fast, raw, window=window, stride=stride, padding=pads, x_dilation=base,
                    w_dilation=dilation, weak=weak_of(operand))
        # It does not matter how often init takes part in a maximum or minimum.
        return out if known else _at_least(out, _initial(init_value, raw), sign)
    start = _initial(init_value, raw)
    x = spread(raw, start, pads, base)
    out_shape = tuple([windows(n, k, s, d) for n, k, s, d in
                       zip(shape_of(x), window, stride, dilation, strict=True)])
    out = [ops.broadcast_to(start, shape=out_shape)]
    combine = _elementwise(computation, tree.structure(0))
    if 0 not in out_shape:
        for at in offsets(window, dilation):
            out = combine(out, [taps(x, at, out_shape, stride)])
    return wrap(out[0], weak_of(operand))


def _at_least(x: Any, bound: Any, sign: int) -> Any:
    raw = unwrap(x)
    bound = ops.broadcast_to(bound, shape=shape_of(raw))
    return wrap((ops.max if sign < 0 else ops.min)(raw, bound), weak_of(x))


_KNOWN = {id(f): name for name, f in (("add", ew.add), ("max", ew.max), ("min", ew.min),
                                      ("add", ops.add), ("max", ops.max), ("min", ops.min))}
_ALIASES = {"maximum": "max", "minimum": "min", "add": "add"}


def _name_of(computation: Computation) -> str:
    """add, max or min, also where it is given by the function of lucidfn.numpy."""
    if getattr(computation, "__module__", "").startswith("lucidfn.numpy"):
        return _ALIASES.get(getattr(computation, "__name__", ""), "")
    return _KNOWN.get(id(computation), "")


def _is_identity(init: Any, dtype: Any, sign: int) -> bool:
    if isinstance(init, Tracer) or shape_of(init) != ():
        return False
    value = init if type(init) in SCALARS else init.item()
    return bool(value == (_extreme(dtype, sign) if sign else 0))


# ------------------------------------------------------------------ along one axis

def _cumulative(primitive: Primitive, doc: str) -> Callable[..., Any]:
    def function(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
        raw = array(operand)
        if dtype_of(raw) == bool_:
            raise TypeError(f"lax.{primitive.name} got {type_of(raw)}; convert it to integers")
        at = axis_of(axis, len(shape_of(raw)), primitive.name)
        return apply(primitive, raw, axis=at, reverse=bool(reverse), weak=weak_of(operand))

    return named(function, primitive.name, doc)


cumsum = _cumulative(ops.cumsum, "Running sum along an axis; from the end with `reverse`.")
cumprod = _cumulative(ops.cumprod, "Running product along an axis; from the end with `reverse`.")
cummax = _cumulative(ops.cummax, "Running maximum along an axis; from the end with `reverse`.")
cummin = _cumulative(ops.cummin, "Running minimum along an axis; from the end with `reverse`.")
cumlogsumexp = _cumulative(ops.cumlogsumexp,
                           "Running log(sum(exp(x))) along an axis; from the end with `reverse`.")


def argmax(operand: Any, axis: int, index_dtype: Any) -> Any:
    """Index of the largest element along an axis: the first of several; the first NaN."""
    return _arg(ops.argmax, operand, axis, index_dtype)


def argmin(operand: Any, axis: int, index_dtype: Any) -> Any:
    """Index of the smallest element along an axis: the first of several; the first NaN."""
    return _arg(ops.argmin, operand, axis, index_dtype)


def _arg(primitive: Primitive, operand: Any, axis: int, dtype: Any) -> Any:
    raw, to = array(operand), as_dtype(dtype)
    if kind_of(to) != 1:
        raise TypeError(f"lax.{primitive.name} takes an integer index_dtype, got {to}")
    return apply(primitive, raw, axis=axis_of(axis, len(shape_of(raw)), primitive.name), dtype=to)


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """An array in ascending order along an axis, or several reordered together by the first
    num_keys of them. NaN comes last."""
    several = isinstance(operand, (tuple, list))
    raws = [array(x) for x in operand] if several else [array(operand)]
    axis = axis_of(dimension, len(shape_of(raws[0])), "sort")
    outs = apply(ops.sort, *raws, axis=axis, num_keys=num_keys)
    return tuple(outs) if several else outs[0]


def sort_key_val(keys: Any, values: Any, dimension: int = -1,
                 is_stable: bool = True) -> tuple[Any, Any]:
    """The keys in ascending order, and the values reordered with them."""
    return sort((keys, values), dimension)


def top_k(operand: Any, k: int, *, axis: int = -1) -> tuple[Any, Any]:
    """The k largest along an axis, descending, and their indices; of equals the first ones."""
    raw = array(operand)
    last = len(shape_of(raw)) - 1
    at = axis_of(axis, len(shape_of(raw)), "top_k")
    values, where = apply(ops.top_k, ops.move_axis(raw, at, last), k=k)
    return tuple([wrap(ops.move_axis(array(o), last, at)) for o in (values, where)])  # type: ignore
