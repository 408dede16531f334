"""What the loss functions share: operands of one dtype, checks of shapes, and reductions.

Half precisions are computed in float32, and the result is rounded to the dtype of the operands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import to_dtype, typeof, unwrap, wrap
from lucidfn.core.trace import Tracer, dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.numpy.elementwise import lift
from lucidfn.types import SCALARS, dtype_name, float32, kind_of

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str | None, *more: str) -> None:
    """ValueError unless the reduction is one that the function has; None means "none"."""
    if reduction is not None and reduction not in (*REDUCTIONS, *more):
        known = ", ".join(repr(r) for r in (*REDUCTIONS, *more))
        raise ValueError(f"{name} got reduction={reduction!r}; it has {known}")


def operands(name: str, *xs: Any) -> tuple[list[Any], np.dtype]:
    """The arrays at their common floating dtype, at least float32; and the dtype of the result."""
    raws, _ = lift(*xs, to_float=True)
    dtype = dtype_of(raws[0])
    if kind_of(dtype) == 3:
        raise TypeError(f"{name} got {dtype_name(dtype)} numbers; it takes real ones")
    wide = float32 if dtype.itemsize == 2 else dtype
    return [wrap(to_dtype(r, wide)) for r in raws], dtype


def same_shape(name: str, **arrays: Any) -> None:
    """ShapeError unless all have one shape; a scalar fits every shape."""
    shapes = {k: typeof(x).shape for k, x in arrays.items()}
    first = next(iter(shapes.values()))
    if all(s in (first, ()) for s in shapes.values()):
        return
    got = " and ".join(f"{k} {typeof(x)}" for k, x in arrays.items())
    hint = "; broadcasting them would compare every element with every other" if (
        len({len(s) for s in shapes.values()}) > 1) else ""
    raise ShapeError(f"{name} got {got}; their shapes must be equal{hint}")


def constant(x: Any, like: Any) -> Any:
    """Weights at the dtype of the data. A tuple or a list of numbers is not rounded before."""
    if isinstance(x, (tuple, list)) and not any(isinstance(v, Tracer) for v in x):
        return wrap(np.asarray(x, like.dtype))
    raw = unwrap(x)
    if type(raw) in SCALARS:
        return wrap(np.asarray(raw, like.dtype))
    return wrap(to_dtype(raw, like.dtype))


def reduced(loss: Any, reduction: str | None, dtype: np.dtype, weight: Any = None) -> Any:
    """The loss of each element, their sum, or their mean: with `weight` the weighted mean."""
    if weight is not None:
        loss = loss * weight
    if reduction == "sum":
        loss = lnp.sum(loss)
    elif reduction == "mean" and weight is not None:
        loss = lnp.sum(loss) / lnp.sum(weight)
    elif reduction == "mean":
        loss = lnp.mean(loss)
    return loss if loss.dtype == dtype else loss.astype(dtype)


def positive(x: Any) -> Any:
    """max(x, 0), with derivative 0 at 0."""
    return wrap(ops.relu(unwrap(x)))


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return wrap(ops.logaddexp(unwrap(x), 0.0))


def known(x: Any) -> np.ndarray | None:
    """The values of an array for a check, where they are known: not while a function is traced."""
    raw = unwrap(x)
    return None if isinstance(raw, Tracer) else np.asarray(raw)


def integers(name: str, what: str, x: Any) -> Any:
    """Labels as a raw int32 or int64 array; TypeError for other kinds of numbers."""
    raw = unwrap(x)
    raw = np.asarray(raw) if type(raw) in SCALARS else raw
    if kind_of(dtype_of(raw)) != 1:
        raise TypeError(f"{name} got {what} {typeof(wrap(raw))}; they must be integers: "
                        f"{what}.astype('int32')")
    if dtype_of(raw).name in ("int32", "int64"):
        return raw
    return ops.convert(raw, dtype=np.dtype("int64" if dtype_of(raw).name == "uint64" else "int32"))


def joined_rows(raw: Any, axis: int) -> tuple[Any, tuple[int, ...]]:
    """[..., C, ...] as [rows, C], and the shape without its axis C."""
    shape = shape_of(raw)
    if axis != len(shape) - 1:
        order = (*[i for i in range(len(shape)) if i != axis], axis)
        raw = ops.permute(raw, order=order)
    lead = shape[:axis] + shape[axis + 1:]
    return reshaped(raw, (math.prod(lead), shape[axis])), lead


def reshaped(raw: Any, shape: tuple[int, ...]) -> Any:
    """The array under another shape, or as it is."""
    return raw if shape_of(raw) == shape else ops.reshape(raw, shape=shape)
