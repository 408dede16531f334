"""Products of arrays: matmul and its relatives, each one `dot_general`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, as_raw, to_dtype, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.reductions import no_out, normal_axes, normal_axis
from lucidfn.types import as_dtype, kind_of, promote_types

NONE = ((), ())


def pair(a: Any, b: Any, preferred: Any = None) -> tuple[Any, Any, bool, Any]:
    """Two raw arrays at their common dtype, whether it is weak, and the dtype wanted instead."""
    if type(a) is Array and type(b) is Array and a.value.dtype is b.value.dtype \
            and preferred is None:
        return a.value, b.value, a.weak and b.weak, None
    (x, y), weak = lift(a, b)
    if preferred is None:
        return x, y, weak, None
    wanted = as_dtype(preferred)
    wide = promote_types(x.dtype, wanted)
    return to_dtype(x, wide), to_dtype(y, wide), False, wanted


def _finish(out: Any, weak: bool, wanted: Any = None) -> Any:
    return wrap(out if wanted is None else to_dtype(out, wanted), weak)


def matmul(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """Matrix product over the last two axes; axes before them broadcast.

    A 1-d operand is a row on the left and a column on the right, and its axis is dropped from the
    result. `preferred_element_type` is the dtype to compute and return; `precision` is accepted.

    >>> import lucidfn.numpy as lnp
    >>> lnp.matmul(lnp.ones((2, 3)), lnp.ones(3)).tolist()
    [3.0, 3.0]
    """
    x, y, weak, wanted = pair(a, b, preferred_element_type)
    m, n = len(x.shape), len(y.shape)
    if not m or not n:
        raise ValueError(f"matmul got {type_of(x)} and {type_of(y)}; both must have an axis. Use "
                         "* to multiply by a number")
    if n <= 2 or m == 1:
        return _finish(_matmul_flat(x, y), weak, wanted)
    return _finish(_matmul_batched(x, y), weak, wanted)


def _matmul_flat(x: Any, y: Any) -> Any:
    """At most one operand has leading axes: they are free axes of the product."""
    m, n = len(x.shape), len(y.shape)
    along = 0 if n == 1 else n - 2
    _check_contracted(x, y, m - 1, along)
    out = ops.dot_general(x, y, contract=((m - 1,), (along,)), batch=NONE)
    return out


def _check_contracted(x: Any, y: Any, i: int, j: int) -> None:
    if x.shape[i] != y.shape[j]:
        error = ShapeError(f"got {type_of(x)} and {type_of(y)}; axis {i} of the first and "
                           f"axis {j} of the second have sizes {x.shape[i]} and {y.shape[j]}, "
                           "which must be equal")
        raise ops.dot_general.located(error, (x, y), "matmul")


def _matmul_batched(x: Any, y: Any) -> Any:
    m, n = len(x.shape), len(y.shape)
    _check_contracted(x, y, m - 1, n - 2)
    rank = max(m, n) - 2
    lead_x = (1,) * (rank - m + 2) + tuple(x.shape[:-2])
    lead_y = (1,) * (rank - n + 2) + tuple(y.shape[:-2])
    shared, only_x, only_y = [], [], []
    for i, (p, q) in enumerate(zip(lead_x, lead_y, strict=True)):
        if p == q:
            shared.append(i)
        elif q == 1:
            only_x.append(i)
        elif p == 1:
            only_y.append(i)
        else:
            raise ShapeError(f"matmul got {type_of(x)} and {type_of(y)}; the axes before the last "
                             "two must broadcast")
    # An axis of size 1 against a longer one is dropped: the longer one is then a free axis.
    keep_x, keep_y = sorted(shared + only_x), sorted(shared + only_y)
    if only_x or only_y or m != n:
        x = ops.reshape(x, shape=(*[lead_x[i] for i in keep_x], *x.shape[-2:]))
        y = ops.reshape(y, shape=(*[lead_y[i] for i in keep_y], *y.shape[-2:]))
    batch = (tuple(keep_x.index(i) for i in shared), tuple(keep_y.index(i) for i in shared))
    out = ops.dot_general(x, y, contract=((len(keep_x) + 1,), (len(keep_y),)), batch=batch)
    # The product's axes: shared, only_x, rows, only_y, columns.
    names = [*shared, *only_x, -2, *only_y, -1]
    order = tuple(names.index(i) for i in [*range(rank), -2, -1])
    return out if order == tuple(range(len(order))) else ops.permute(out, order=order)


def dot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """Sum over the last axis of a and the second-to-last of b (its only one if it is 1-d).

    A scalar operand multiplies.
    """
    x, y, weak, wanted = pair(a, b, preferred_element_type)
    if x.ndim == 0 or y.ndim == 0:
        return _finish(ops.mul(x, y), weak, wanted)
    along = y.ndim - 2 if y.ndim > 1 else 0
    out = ops.dot_general(x, y, contract=((x.ndim - 1,), (along,)), batch=NONE)
    return _finish(out, weak, wanted)


def vdot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """Inner product of two flattened arrays, the first one conjugated."""
    x, y, weak, wanted = pair(a, b, preferred_element_type)
    x, y = (ops.reshape(r, shape=(math.prod(r.shape),)) for r in (x, y))
    return _finish(ops.dot_general(_conj(x), y, contract=((0,), (0,)), batch=NONE), weak, wanted)


def _conj(x: Any) -> Any:
    return ops.conj(x) if kind_of(x.dtype) == 3 else x


def inner(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """Sum of products over the last axes; a scalar operand multiplies."""
    x, y, weak, wanted = pair(a, b, preferred_element_type)
    if x.ndim == 0 or y.ndim == 0:
        return _finish(ops.mul(x, y), weak, wanted)
    out = ops.dot_general(x, y, contract=((x.ndim - 1,), (y.ndim - 1,)), batch=NONE)
    return _finish(out, weak, wanted)


def outer(a: Any, b: Any, out: None = None) -> Any:
    """All products of an element of a with one of b; both are flattened."""
    no_out(out, "outer")
    x, y, weak, _ = pair(a, b)
    x = ops.reshape(x, shape=(math.prod(x.shape), 1))
    return wrap(ops.mul(x, ops.reshape(y, shape=(1, math.prod(y.shape)))), weak)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1, precision: Any = None,
           preferred_element_type: Any = None) -> Any:
    """Inner products along an axis, the first operand conjugated; other axes broadcast."""
    x, y, weak, wanted = pair(x1, x2, preferred_element_type)
    x = ops.move_axis(x, normal_axis(axis, x.ndim), x.ndim - 1)
    y = ops.move_axis(y, normal_axis(axis, y.ndim), y.ndim - 1)
    _check_contracted(x, y, x.ndim - 1, y.ndim - 1)
    row = ops.reshape(_conj(x), shape=(*x.shape[:-1], 1, x.shape[-1]))
    column = ops.reshape(y, shape=(*y.shape, 1))
    out = _product(row, column)
    return _finish(ops.reshape(out, shape=shape_of(out)[:-2]), weak, wanted)


def _product(x: Any, y: Any) -> Any:
    """matmul of two raw arrays of at least two axes."""
    return _matmul_flat(x, y) if len(y.shape) == 2 else _matmul_batched(x, y)


def matvec(x1: Any, x2: Any, /) -> Any:
    """Matrices times vectors: (..., m, n), (..., n) -> (..., m)."""
    x, y, weak, _ = pair(x1, x2)
    out = _product(x, ops.reshape(y, shape=(*y.shape, 1)))
    return wrap(ops.reshape(out, shape=shape_of(out)[:-1]), weak)


def vecmat(x1: Any, x2: Any, /) -> Any:
    """Conjugated vectors times matrices: (..., n), (..., n, m) -> (..., m)."""
    x, y, weak, _ = pair(x1, x2)
    out = _product(ops.reshape(_conj(x), shape=(*x.shape[:-1], 1, x.shape[-1])), y)
    shape = shape_of(out)
    return wrap(ops.reshape(out, shape=(*shape[:-2], shape[-1])), weak)


def tensordot(a: Any, b: Any, axes: Any = 2, *, precision: Any = None,
              preferred_element_type: Any = None) -> Any:
    """Sum of products over `axes`: how many (last of a, first of b), or two lists of axes."""
    x, y, weak, wanted = pair(a, b, preferred_element_type)
    if hasattr(axes, "__index__"):
        n = axes.__index__()
        if n > min(x.ndim, y.ndim):
            raise ValueError(f"tensordot got {type_of(x)} and {type_of(y)}, which have fewer than "
                             f"axes={n} axes")
        contract = tuple(range(x.ndim - n, x.ndim)), tuple(range(n))
    else:
        left, right = axes
        contract = normal_axes(left, x.ndim), normal_axes(right, y.ndim)
    if len(contract[0]) != len(contract[1]):
        raise ValueError(f"tensordot needs as many axes of a as of b, got axes={axes}")
    return _finish(ops.dot_general(x, y, contract=contract, batch=NONE), weak, wanted)


def kron(a: Any, b: Any) -> Any:
    """Kronecker product: blocks of b, each scaled by an element of a."""
    x, y, weak, _ = pair(a, b)
    rank = max(x.ndim, y.ndim)
    left = (1,) * (rank - x.ndim) + x.shape
    right = (1,) * (rank - y.ndim) + y.shape
    x = ops.reshape(x, shape=tuple(n for d in left for n in (d, 1)))
    y = ops.reshape(y, shape=tuple(n for d in right for n in (1, d)))
    shape = tuple(p * q for p, q in zip(left, right, strict=True))
    return wrap(ops.reshape(ops.mul(x, y), shape=shape), weak)


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1,
          axis: int | None = None) -> Any:
    """Cross product of vectors of length 3 (or 2: the third coordinate is 0).

    The vectors lie along axisa and axisb, those of the result along axisc; `axis` is all three. Two
    vectors of length 2 give only the third coordinate.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y, weak, _ = pair(a, b)
    x = ops.move_axis(x, normal_axis(axisa, x.ndim), x.ndim - 1)
    y = ops.move_axis(y, normal_axis(axisb, y.ndim), y.ndim - 1)
    p, q = x.shape[-1], y.shape[-1]
    if p not in (2, 3) or q not in (2, 3):
        raise ValueError(f"cross takes vectors of length 2 or 3, got {type_of(x)} and {type_of(y)} "
                         "with the vectors along the last axis")
    xs, ys = _coordinates(x), _coordinates(y)

    def minor(i: int, j: int) -> Any:
        left, right = _times(xs[i], ys[j]), _times(xs[j], ys[i])
        return left if right is None else ops.neg(right) if left is None else ops.sub(left, right)

    if p == q == 2:
        return wrap(minor(0, 1), weak)
    parts = [minor(1, 2), minor(2, 0), minor(0, 1)]
    parts = [ops.reshape(c, shape=(*shape_of(c), 1)) for c in parts]
    rank = len(shape_of(parts[0]))
    out = ops.concatenate(*parts, axis=rank - 1)
    return wrap(ops.move_axis(out, rank - 1, normal_axis(axisc, rank)), weak)


def _coordinates(x: Any) -> list[Any]:
    parts = ops.unstack(x, x.ndim - 1)
    return parts if len(parts) == 3 else [*parts, None]


def _times(x: Any, y: Any) -> Any:
    return None if x is None or y is None else ops.mul(x, y)


# ------------------------------------------------------------------ diagonals

def take_diagonal(x: Any, offset: int, axis1: int, axis2: int) -> Any:
    """The elements of raw x with index[axis2] == index[axis1] + offset, as a last axis."""
    rank = x.ndim
    i, j = normal_axis(axis1, rank), normal_axis(axis2, rank)
    if i == j:
        raise ValueError(f"axis1 and axis2 must differ, got {axis1} and {axis2}")
    order = tuple(k for k in range(rank) if k not in (i, j)) + (i, j)
    if order != tuple(range(rank)):
        x = ops.permute(x, order=order)
    *lead, rows, columns = x.shape
    top, left = max(-offset, 0), max(offset, 0)
    n = max(0, min(rows - top, columns - left))
    x = ops.slice_axis(ops.slice_axis(x, rank - 2, top if n else 0, top + n if n else 0),
                       rank - 1, left if n else 0, left + n if n else 0)
    # Row-major, the diagonal of an n by n matrix is every (n + 1)-th element.
    flat = ops.reshape(x, shape=(*lead, n * n))
    return ops.slice_axis(flat, rank - 2, 0, n * n, n + 1) if n else flat


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None,
          out: None = None) -> Any:
    """Sum along a diagonal of the two axes."""
    no_out(out, "trace")
    raw = as_raw(a)
    if raw.ndim < 2:
        raise ValueError(f"trace needs two axes, got {type_of(raw)}")
    line = take_diagonal(raw, int(offset), axis1, axis2)
    dtype = _trace_dtype(raw.dtype) if dtype is None else as_dtype(dtype)
    return wrap(ops.reduce_sum(to_dtype(line, dtype), axes=(len(shape_of(line)) - 1,)))


def _trace_dtype(dtype: np.dtype) -> np.dtype:
    return promote_types(dtype, int) if kind_of(dtype) == 0 else dtype


__all__ = [
    "cross", "dot", "inner", "kron", "matmul", "matvec", "outer", "tensordot", "trace", "vdot",
    "vecdot", "vecmat",
]
