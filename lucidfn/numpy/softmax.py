"""softmax and log_softmax, for `lucidfn.nn` and `lucidfn.scipy.special`.

What is left out by `where`, and elements of -inf, have probability 0 and no derivative, also where
nothing else is in the row: there softmax is 0 and log_softmax -inf, not NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.reductions import normal_axes
from lucidfn.types import bool_, kind_of

Axis = int | Sequence[int] | None


def _masked(x: Any, where: Any) -> tuple[Any, bool]:
    """x as a raw floating array, -inf where it is left out; and whether it is weak."""
    (raw,), weak = lift(x, to_float=True)
    if where is None:
        return raw, weak
    mask = unwrap(where)
    mask = mask if dtype_of(mask) == bool_ else ops.ne(mask, ops.zero_like(mask))
    return ops.select(mask, raw, -math.inf), weak


def _over(primitive: Any, raw: Any, axes: tuple[int, ...]) -> Any:
    """A reduction that keeps its axes, with size 1."""
    kept = tuple([1 if i in axes else n for i, n in enumerate(shape_of(raw))])
    return ops.reshape(primitive(raw, axes=axes), shape=kept)


def _centre(raw: Any, axes: tuple[int, ...]) -> Any:
    """The largest element of each row as a constant; 0 for rows of -inf, where -inf is not one."""
    fixed = ops.stop_gradient(raw)
    top = _over(ops.reduce_max, ops.real(fixed) if kind_of(dtype_of(raw)) == 3 else fixed, axes)
    return ops.select(ops.eq(top, -math.inf), 0.0, top)


def _nonzero(total: Any) -> Any:
    """The sum of a row to divide by; 1 where it is empty."""
    return ops.select(ops.eq(total, ops.zero_like(total)), 1 + ops.zero_like(total), total)


def softmax(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """exp(x) over its sum along the axes; 0 for what `where` leaves out and for rows of -inf.

    >>> softmax([0.0, 0.0, -float("inf")]).tolist()
    [0.5, 0.5, 0.0]
    """
    raw, weak = _masked(x, where)
    axes = normal_axes(axis, len(shape_of(raw)))
    if 0 in shape_of(raw):
        return wrap(raw, weak)
    if kind_of(dtype_of(raw)) == 2:
        return wrap(ops.softmax(raw, axes=axes), weak)
    weights = ops.exp(ops.sub(raw, _centre(raw, axes)))
    return wrap(ops.div(weights, _nonzero(_over(ops.reduce_sum, weights, axes))), weak)


def log_softmax(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """log of `softmax`, accurate for probabilities near 0 and 1: x - logsumexp(x)."""
    raw, weak = _masked(x, where)
    axes = normal_axes(axis, len(shape_of(raw)))
    if 0 in shape_of(raw):
        return wrap(raw, weak)
    return wrap(ops.sub(*log_softmax_parts(raw, axes)), weak)


def log_softmax_parts(raw: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """(x - max x, log of the sum of its exponentials): log_softmax is their difference."""
    shifted = ops.sub(raw, _centre(raw, axes))
    return shifted, ops.log(_nonzero(_over(ops.reduce_sum, ops.exp(shifted), axes)))
