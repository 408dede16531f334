"""Reductions of `lnp`: sums, means, spread, extrema and where they are.

Integers add up at least in the default width, as in JAX; results are never weak.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, promote, to_dtype, unwrap, wrap
from lucidfn.core.trace import beside, shape_of
from lucidfn.numpy.elementwise import _truth
from lucidfn.types import (
    as_dtype,
    bool_,
    complex_dtype,
    default_dtype_of,
    dtype_name,
    float32,
    float_type_for,
    is_inexact,
    kind_of,
    real_dtype,
)

Axis = int | Sequence[int] | None


# ------------------------------------------------------------------ arguments

def normal_axis(axis: Any, rank: int) -> int:
    """An axis counted from the front; ValueError if there is none of that number."""
    i = axis if type(axis) is int else axis.__index__()
    if not -rank <= i < rank:
        raise ValueError(f"axis {i} is out of bounds for an array of {rank} axes; it must be in "
                         f"[{-rank}, {rank})")
    return i + rank if i < 0 else i


def normal_axes(axis: Axis, rank: int) -> tuple[int, ...]:
    """The axes that an `axis` argument names; all for None."""
    if axis is None:
        return tuple(range(rank))
    if hasattr(axis, "__index__"):
        return (normal_axis(axis, rank),)
    if not isinstance(axis, Iterable):
        raise TypeError(f"axis must be an integer or a tuple of integers, got {axis!r}")
    axes = tuple([normal_axis(a, rank) for a in axis])  # type: ignore[union-attr]
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis {tuple(axis)} names an axis twice")  # type: ignore[arg-type]
    return axes


def no_out(out: Any, name: str) -> None:
    if out is not None:
        raise NotImplementedError(f"lnp.{name} cannot write into out=; arrays are immutable. Use "
                                  "its result instead")


def keep_axes(out: Any, shape: tuple[int, ...], axes: tuple[int, ...],
              keepdims: bool = True) -> Any:
    """A reduced array with its axes put back at size 1."""
    if not keepdims:
        return out
    return ops.reshape(out, shape=tuple(1 if i in axes else d for i, d in enumerate(shape)))


def _mask(where: Any, raw: Any, other: Any) -> Any:
    """raw where the mask holds, else the scalar `other`; broadcast to raw's shape."""
    mask = _truth(unwrap(where))
    out = ops.select(mask, raw, other)
    if shape_of(out) != shape_of(raw):
        raise ValueError(f"where= of shape {shape_of(mask)} does not broadcast to the array's "
                         f"shape {shape_of(raw)}")
    return out


def sum_dtype(dtype: np.dtype, promote_integers: bool = True) -> np.dtype:
    """Where sums and products of this dtype are kept: at least the default width."""
    kind = kind_of(dtype)
    if kind > 1:
        return dtype
    wide = default_dtype_of(int)
    if kind == 0:
        return wide
    if promote_integers and dtype.itemsize < wide.itemsize:
        return wide if dtype.kind == "i" else np.dtype(f"u{wide.itemsize}")
    return dtype


def _wider(dtype: np.dtype) -> np.dtype:
    """The dtype to accumulate in: float32 for the half precisions."""
    return float32 if kind_of(dtype) == 2 and dtype.itemsize == 2 else dtype


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[a] for a in axes)


def _with_initial(out: Any, initial: Any, combine: Any) -> Any:
    start = unwrap(initial)
    if shape_of(start) != ():
        raise ValueError(f"initial= must be a scalar, got shape {shape_of(start)}")
    return combine(out, to_dtype(start, out.dtype))


# ------------------------------------------------------------------ sum, product, mean

def sum(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False,
        initial: Any = None, where: Any = None, promote_integers: bool = True) -> Any:
    """Sum over axes (all by default). bool and narrow integers add up in the default width.

    >>> import lucidfn.numpy as lnp
    >>> lnp.sum(lnp.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist()
    [4.0, 6.0]
    """
    no_out(out, "sum")
    raw = as_raw(a)
    shape = raw.shape
    axes = normal_axes(axis, len(shape))
    raw = to_dtype(raw, sum_dtype(raw.dtype, promote_integers) if dtype is None
                   else as_dtype(dtype))
    if where is not None:
        raw = _mask(where, raw, ops.zero_like(raw))
    total = ops.reduce_sum(raw, axes=axes)
    if keepdims:
        total = keep_axes(total, shape, axes)
    return wrap(total if initial is None else _with_initial(total, initial, ops.add))


def prod(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False,
         initial: Any = None, where: Any = None, promote_integers: bool = True) -> Any:
    """Product over axes (all by default); its derivative is exact where factors are zero."""
    no_out(out, "prod")
    raw = as_raw(a)
    axes = normal_axes(axis, raw.ndim)
    raw = to_dtype(raw, sum_dtype(raw.dtype, promote_integers) if dtype is None
                   else as_dtype(dtype))
    if where is not None:
        raw = _mask(where, raw, type(ops.zero_like(raw))(1))
    total = ops.reduce_prod(raw, axes=axes)
    if keepdims:
        total = keep_axes(total, shape_of(raw), axes)
    return wrap(total if initial is None else _with_initial(total, initial, ops.mul))


def mean(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False,
         *, where: Any = None) -> Any:
    """Arithmetic mean over axes (all by default); integers give floats, an empty axis gives NaN.

    Half precisions are added up in float32.
    """
    no_out(out, "mean")
    raw = as_raw(a)
    dtype = float_type_for(raw.dtype) if dtype is None else as_dtype(dtype)
    total, count = _sum_and_count(to_dtype(raw, _wider(dtype)), axis, keepdims, where)
    value = _divided(total, count)
    return wrap(value if value.dtype is dtype else to_dtype(value, dtype))


def _sum_and_count(raw: Any, axis: Axis, keepdims: bool, where: Any) -> tuple[Any, Any]:
    """The sum over axes and the number of elements in it: an int, or an array with a mask."""
    shape = shape_of(raw)
    axes = normal_axes(axis, len(shape))
    if where is None:
        return (keep_axes(ops.reduce_sum(raw, axes=axes), shape, axes, keepdims),
                _count(shape, axes))
    total = ops.reduce_sum(_mask(where, raw, ops.zero_like(raw)), axes=axes)
    mask = ops.broadcast_to(_truth(unwrap(where)), shape=shape)
    count = ops.reduce_sum(ops.convert(mask, dtype=raw.dtype), axes=axes)
    return keep_axes(total, shape, axes, keepdims), keep_axes(count, shape, axes, keepdims)


def _divided(total: Any, count: Any) -> Any:
    """total / count, NaN where nothing was counted."""
    if type(count) is int:
        kind = complex if kind_of(total.dtype) == 3 else float
        return ops.div(total, kind(count)) if count else ops.mul(total, kind(math.nan))
    return ops.div(total, count)


def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False,
            keepdims: bool = False) -> Any:
    """Weighted mean over axes: sum(a * weights) / sum(weights).

    `weights` has a's shape, or is 1-d along the one `axis`. With `returned` also the sum of the
    weights.
    """
    if weights is None:
        avg = mean(a, axis, keepdims=keepdims)
        raw = as_raw(a)
        count = _count(raw.shape, normal_axes(axis, raw.ndim))
        number = (complex if kind_of(avg.dtype) == 3 else float)(count)
        total = wrap(beside(ops.full(shape=avg.shape, dtype=avg.dtype, value=number), raw))
        return (avg, total) if returned else avg
    (x, w), _ = promote(a, weights)
    x, w = as_raw(x), as_raw(w)
    dtype = float_type_for(x.dtype)
    x, w = to_dtype(x, dtype), to_dtype(w, dtype)
    axes = normal_axes(axis, x.ndim)
    if w.shape != x.shape:
        w = _along(w, x.shape, axes)
    scale = ops.reduce_sum(w, axes=axes)
    avg = ops.div(ops.reduce_sum(ops.mul(x, w), axes=axes), scale)
    avg, scale = (keep_axes(r, x.shape, axes, keepdims) for r in (avg, scale))
    return (wrap(avg), wrap(scale)) if returned else wrap(avg)


def _along(w: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """Weights that have only the reduced axes, spread over the others."""
    if w.shape != tuple(shape[a] for a in axes):
        raise ValueError(f"weights of shape {w.shape} fit neither the array's shape {shape} nor "
                         f"its axes {axes}")
    order = sorted(range(len(axes)), key=axes.__getitem__)
    w = ops.permute(w, order=tuple(order))
    kept = tuple(d if i in axes else 1 for i, d in enumerate(shape))
    return ops.broadcast_to(ops.reshape(w, shape=kept), shape=shape)


# ------------------------------------------------------------------ spread

def var(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: Any = 0,
        keepdims: bool = False, *, where: Any = None, mean: Any = None,
        correction: Any = None) -> Any:
    """Mean of |a - mean(a)|^2 over axes, divided by n - ddof (`correction` is the same).

    NaN where n - ddof is not positive.
    """
    no_out(out, "var")
    if correction is not None:
        if ddof:
            raise ValueError("got both ddof= and correction=, which mean the same; give one")
        ddof = correction
    raw = as_raw(a)
    dtype = float_type_for(raw.dtype) if dtype is None else as_dtype(dtype)
    wide = _wider(dtype)
    if kind_of(raw.dtype) == 3:
        wide = complex_dtype(dtype)
    raw = to_dtype(raw, wide)
    if mean is None:
        center = _divided(*_sum_and_count(raw, axis, True, where))
    else:
        center = to_dtype(as_raw(mean), raw.dtype)
    away = ops.sub(raw, center)
    squares = ops.square(away)
    if kind_of(raw.dtype) == 3:
        squares = ops.add(ops.square(ops.real(away)), ops.square(ops.imag(away)))
    total, count = _sum_and_count(squares, axis, keepdims, where)
    return wrap(to_dtype(_corrected(total, count, ddof), real_dtype(dtype)))


def _corrected(total: Any, count: Any, ddof: Any) -> Any:
    if type(count) is int and isinstance(ddof, (int, float)):
        n = count - ddof
        return ops.div(total, float(n)) if n > 0 else ops.mul(total, math.nan)
    n = ops.sub(as_raw(count, total.dtype), to_dtype(as_raw(ddof), total.dtype))
    return ops.select(ops.gt(n, 0.0), ops.div(total, n), math.nan)


def std(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, ddof: Any = 0,
        keepdims: bool = False, *, where: Any = None, mean: Any = None,
        correction: Any = None) -> Any:
    """Square root of `var`; its derivative is 0 where all elements are equal."""
    no_out(out, "std")
    given = as_raw(a)
    dtype = float_type_for(given.dtype) if dtype is None else as_dtype(dtype)
    spread = var(a, axis, _wider(dtype), None, ddof, keepdims, where=where, mean=mean,
                 correction=correction)
    return wrap(to_dtype(safe_sqrt(unwrap(spread)), real_dtype(dtype)))


def safe_sqrt(raw: Any) -> Any:
    """sqrt with derivative 0 at 0, for lengths: |x| has a kink there, not a pole."""
    zero = ops.eq(raw, 0.0)
    return ops.select(zero, 0.0, ops.sqrt(ops.select(zero, 1.0, raw)))


# ------------------------------------------------------------------ extrema

def lowest(dtype: np.dtype) -> Any:
    """The identity of max."""
    if kind_of(dtype) == 3:
        return complex(-math.inf, -math.inf)
    return False if dtype == bool_ else -math.inf if is_inexact(dtype) else int(np.iinfo(dtype).min)


def highest(dtype: np.dtype) -> Any:
    """The identity of min."""
    if kind_of(dtype) == 3:
        return complex(math.inf, math.inf)
    return True if dtype == bool_ else math.inf if is_inexact(dtype) else int(np.iinfo(dtype).max)


def _extremum(name: str, reduce: Any, combine: Any, identity: Any, a: Any, axis: Axis, out: None,
              keepdims: bool, initial: Any, where: Any) -> Any:
    no_out(out, name)
    raw = as_raw(a)
    axes = normal_axes(axis, raw.ndim)
    if where is not None:
        if initial is None:
            raise ValueError(f"lnp.{name} with where= needs initial=, the result where nothing is "
                             f"selected; for instance initial={identity(raw.dtype)!r}")
        raw = _mask(where, raw, identity(raw.dtype))
    if builtins.any(raw.shape[i] == 0 for i in axes):
        if initial is None:
            raise ValueError(f"lnp.{name} over an empty axis of shape {raw.shape} has no value; "
                             "give initial=")
        kept = tuple(d for i, d in enumerate(raw.shape) if i not in axes)
        result = ops.full(shape=kept, dtype=raw.dtype, value=identity(raw.dtype))
    elif raw.dtype == bool_:
        result = (ops.reduce_or if combine is ops.max else ops.reduce_and)(raw, axes=axes)
    else:
        result = reduce(raw, axes=axes)
    result = keep_axes(result, raw.shape, axes, keepdims)
    return wrap(result if initial is None else _with_initial(result, initial, combine))





def max(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None,
        where: Any = None) -> Any:
    """Maximum over axes (all by default); NaN if one is NaN. Ties share the derivative."""
    return _extremum("max", ops.reduce_max, ops.max, lowest, a, axis, out, keepdims, initial, where)


def min(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None,
        where: Any = None) -> Any:
    """Minimum over axes (all by default); NaN if one is NaN. Ties share the derivative."""
    return _extremum("min", ops.reduce_min, ops.min, highest, a, axis, out, keepdims, initial,
                     where)


amax, amin = max, min


def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """max - min over axes."""
    no_out(out, "ptp")
    high, low = unwrap(max(a, axis, None, keepdims)), unwrap(min(a, axis, None, keepdims))
    return wrap(ops.sub(high, low))


def all(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, *,
        where: Any = None) -> Any:
    """Whether all elements along axes are true (nonzero)."""
    return _boolean("all", ops.reduce_and, True, a, axis, out, keepdims, where)


def any(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, *,
        where: Any = None) -> Any:
    """Whether some element along axes is true (nonzero)."""
    return _boolean("any", ops.reduce_or, False, a, axis, out, keepdims, where)


def _boolean(name: str, reduce: Any, identity: bool, a: Any, axis: Axis, out: None,
             keepdims: bool, where: Any) -> Any:
    no_out(out, name)
    raw = _truth(unwrap(a))
    axes = normal_axes(axis, raw.ndim)
    if where is not None:
        raw = _mask(where, raw, identity)
    return wrap(keep_axes(reduce(raw, axes=axes), shape_of(raw), axes, keepdims))


def count_nonzero(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Number of elements that are not zero, along axes."""
    return sum(wrap(_truth(unwrap(a))), axis, default_dtype_of(int), keepdims=keepdims)


def _arg(name: str, primitive: Any, a: Any, axis: int | None, out: None,
         keepdims: bool | None) -> Any:
    no_out(out, name)
    raw = as_raw(a)
    if kind_of(raw.dtype) == 3:
        raise TypeError(f"lnp.{name} is not defined for {dtype_name(raw.dtype)}; take abs, real or "
                        "imag first")
    shape = raw.shape
    axes = normal_axes(axis, len(shape))
    if axis is None:
        raw, i = ops.reshape(raw, shape=(math.prod(shape),)), 0
    else:
        i = axes[0]
    if raw.shape[i] == 0:
        raise ValueError(f"lnp.{name} over an empty axis of shape {shape} has no value")
    index = primitive(raw, axis=i, dtype=default_dtype_of(int))
    return wrap(keep_axes(index, shape, axes, builtins.bool(keepdims)))


def argmax(a: Any, axis: int | None = None, out: None = None,
           keepdims: bool | None = None) -> Any:
    """Index of the first maximum along an axis, or in the flattened array; NaN wins."""
    return _arg("argmax", ops.argmax, a, axis, out, keepdims)


def argmin(a: Any, axis: int | None = None, out: None = None,
           keepdims: bool | None = None) -> Any:
    """Index of the first minimum along an axis, or in the flattened array; NaN wins."""
    return _arg("argmin", ops.argmin, a, axis, out, keepdims)


__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero", "max", "mean",
    "min", "prod", "ptp", "std", "sum", "var",
]
