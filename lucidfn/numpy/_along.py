"""How an array and indices of the same rank meet along one axis, as lanes of gather and scatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.core.trace import shape_of
from lucidfn.ops.shape import inverse


class Along(NamedTuple):
    """Arrays and indices, axis by axis: `shared` axes are lanes, `own` ones (the indexed axis and
    those along which the array broadcasts) those of the indices, `rest` those of the array."""

    shared: tuple[int, ...]
    own: tuple[int, ...]
    rest: tuple[int, ...]
    sizes: tuple[int, ...]  # of the result
    axis: int

    def source(self, raw: Any) -> Any:
        """The array as (shared, axis, rest)."""
        shape = shape_of(raw)
        kept = (*self.shared, self.axis, *self.rest)
        others = [i for i in range(len(shape)) if i not in kept]
        raw = permuted(raw, (*kept, *others))
        return ops.reshape(raw, shape=tuple([shape[i] for i in kept])) if others else raw

    def places(self, index: Any) -> Any:
        """The indices as (shared, own, 1)."""
        index = permuted(index, self.order)
        shape = shape_of(index)[:len(shape_of(index)) - len(self.rest)]
        return ops.reshape(index, shape=(*shape, 1))

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of what is taken, (shared, own, rest)."""
        return (*self.shared, *self.own, *self.rest)

    def back(self, raw: Any) -> Any:
        """The inverse of `source`."""
        shape = shape_of(raw)
        kept = (*self.shared, self.axis, *self.rest)
        others = [i for i in range(len(self.sizes)) if i not in kept]
        raw = ops.reshape(raw, shape=(*shape, *[1] * len(others))) if others else raw
        return permuted(raw, inverse((*kept, *others)))


def along_axis(x: tuple[int, ...], index: tuple[int, ...], axis: int) -> Along:
    """How an array and indices of these shapes meet."""
    if len(index) != len(x):
        raise ValueError(f"indices of shape {index} and an array of shape {x} must have "
                         "the same number of axes")
    sizes = np.broadcast_shapes(*[s[:axis] + (1,) + s[axis + 1:] for s in (index, x)])
    others = [i for i in range(len(x)) if i != axis]
    return Along(tuple([i for i in others if x[i] == index[i]]),
                 tuple([i for i in range(len(x)) if i == axis or x[i] == 1 != index[i]]),
                 tuple([i for i in others if index[i] == 1 != x[i]]),
                 (*sizes[:axis], index[axis], *sizes[axis + 1:]), axis)


def permuted(x: Any, order: Sequence[int]) -> Any:
    order = tuple(order)
    return x if order == tuple(range(len(order))) else ops.permute(x, order=order)
