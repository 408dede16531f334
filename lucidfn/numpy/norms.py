"""Vector and matrix norms. The 2-norm has derivative 0 at 0."""

from __future__ import annotations

import math
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, wrap
from lucidfn.core.trace import shape_of
from lucidfn.numpy.reductions import Axis, keep_axes, normal_axes, normal_axis, safe_sqrt
from lucidfn.types import float_type_for, kind_of, real_dtype


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Norm of vectors (one axis) or matrices (two axes); of the flattened array by default.

    `ord` of vectors: 2, 1, inf, -inf, 0 (count of nonzeros) or any p. Of matrices: "fro", "nuc", 1,
    -1, 2, -2, inf, -inf. ValueError for anything else.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.grad(lnp.linalg.norm)(lnp.zeros(2)).tolist()
    [0.0, 0.0]
    """
    raw = _floating(x)
    if axis is None and ord is None:
        axes = tuple(range(raw.ndim))
        return wrap(_vector(raw, 2, axes, keepdims))
    if axis is None and raw.ndim > 2:
        raise ValueError(f"norm with ord={ord!r} of an array of {raw.ndim} axes needs axis=: one "
                         "for vectors, two for matrices")
    axes = normal_axes(axis, raw.ndim)
    if len(axes) == 1:
        return wrap(_vector(raw, 2 if ord is None else ord, axes, keepdims))
    if len(axes) == 2:
        return wrap(_matrix(raw, "fro" if ord is None else ord, axes, keepdims))
    raise ValueError(f"norm takes one axis or two, got axis={axis}")


def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Norm of vectors along axes, taken together; of the flattened array by default."""
    raw = _floating(x)
    return wrap(_vector(raw, ord, normal_axes(axis, raw.ndim), keepdims))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norm of the matrices in the last two axes."""
    raw = _floating(x)
    return wrap(_matrix(raw, ord, normal_axes((-2, -1), raw.ndim), keepdims))


def _floating(x: Any) -> Any:
    raw = as_raw(x)
    return to_dtype(raw, float_type_for(raw.dtype))


def _squares(raw: Any) -> Any:
    if kind_of(raw.dtype) != 3:
        return ops.square(raw)
    return ops.add(ops.square(ops.real(raw)), ops.square(ops.imag(raw)))


def _vector(raw: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"a vector has no norm ord={ord!r}; give a number (1, 2, inf, ...), or "
                         "two axes for a matrix norm")
    shape = shape_of(raw)
    if ord == 2:
        out = safe_sqrt(ops.reduce_sum(_squares(raw), axes=axes))
    elif ord == 0:
        nonzero = ops.ne(raw, ops.zero_like(raw))
        out = ops.reduce_sum(ops.convert(nonzero, dtype=real_dtype(raw.dtype)), axes=axes)
    else:
        size = ops.abs(raw)
        if ord == math.inf:
            out = _extreme(ops.reduce_max, size, axes)
        elif ord == -math.inf:
            out = _extreme(ops.reduce_min, size, axes)
        elif ord == 1:
            out = ops.reduce_sum(size, axes=axes)
        else:
            out = _root(ops.reduce_sum(ops.pow(size, float(ord)), axes=axes), float(ord))
    return keep_axes(out, shape, axes, keepdims)


def _extreme(reduce: Any, size: Any, axes: tuple[int, ...]) -> Any:
    if reduce is ops.reduce_max and any(size.shape[a] == 0 for a in axes):
        return ops.reduce_sum(size, axes=axes)
    return reduce(size, axes=axes)


def _root(total: Any, p: float) -> Any:
    """total ** (1/p) with derivative 0 at 0."""
    zero = ops.eq(total, 0.0)
    root = ops.pow(ops.select(zero, 1.0, total), 1.0 / p)
    return ops.select(zero, 0.0 if p > 0 else ops.pow(total, 1.0 / p), root)


def _matrix(raw: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    shape, (row, column) = shape_of(raw), axes
    if ord == "fro":
        return _vector(raw, 2, axes, keepdims)
    if ord in (1, -1, math.inf, -math.inf):
        along, over = (row, column) if ord in (1, -1) else (column, row)
        sums = ops.reduce_sum(ops.abs(raw), axes=(along,))
        reduce = ops.reduce_max if ord > 0 else ops.reduce_min
        out = reduce(sums, axes=(over - (along < over),))
        return keep_axes(out, shape, axes, keepdims)
    if ord not in (2, -2, "nuc"):
        raise ValueError(f"a matrix has no norm ord={ord!r}; it has 'fro', 'nuc', 1, -1, 2, -2, "
                         "inf, -inf")
    s = singular_values(raw, row, column)
    last = len(shape_of(s)) - 1
    if ord == "nuc":
        out = ops.reduce_sum(s, axes=(last,))
    else:
        at = 0 if ord == 2 else shape_of(s)[-1] - 1
        out = ops.reshape(ops.slice_axis(s, last, at, at + 1), shape=shape_of(s)[:-1])
    return keep_axes(out, shape, axes, keepdims)


def singular_values(raw: Any, row: int = -2, column: int = -1) -> Any:
    """Descending, as the last axis."""
    row, column = normal_axis(row, raw.ndim), normal_axis(column, raw.ndim)
    order = (*[i for i in range(raw.ndim) if i not in (row, column)], row, column)
    if order != tuple(range(raw.ndim)):
        raw = ops.permute(raw, order=order)
    return ops.svd(raw, full_matrices=False, compute_uv=False)[0]


__all__ = ["matrix_norm", "norm", "vector_norm"]
