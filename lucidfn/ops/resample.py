"""Resizing one axis by a table of which elements, with which weights, make each new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lucidfn.errors import ShapeError
from lucidfn.ops.families import Linear
from lucidfn.types import ArrayType, kind_of


@dataclass(frozen=True, eq=False)
class Taps:
    """out[i] = sum over k of weights[i, k] * x[indices[i, k]], for x of `size` elements.

    Without weights out[i] is x[indices[i, 0]]. Equal only to itself, as it is a parameter.
    """

    size: int
    indices: np.ndarray  # int32 [out, k]
    weights: np.ndarray | None = None  # float64 [out, k]

    @cached_property
    def transposed(self) -> Taps:
        """The table of the transposed map: for each x, the outputs that it takes part in."""
        rows, taps = self.indices.shape
        weights = np.ones((rows, taps)) if self.weights is None else self.weights
        used = weights.ravel() != 0
        reader = np.repeat(np.arange(rows, dtype="int32"), taps)[used]
        source, weight = self.indices.ravel()[used], weights.ravel()[used]
        order = np.argsort(source, kind="stable")
        source, reader, weight = source[order], reader[order], weight[order]
        counts = np.bincount(source, minlength=self.size)
        place = np.arange(len(source)) - (np.cumsum(counts) - counts)[source]
        width = max(int(counts.max(initial=0)), 1)
        # Cells that are not needed have the weight 0, and repeat a reader that is close by.
        indices = np.repeat((np.arange(self.size) * rows // max(self.size, 1))[:, None], width, 1)
        indices = indices.astype("int32")
        indices[source[::-1]] = reader[::-1, None]
        full = np.zeros((self.size, width))
        indices[source, place], full[source, place] = reader, weight
        return Taps(rows, indices, None if width == 1 and (full == 1).all() else full)

    def __repr__(self) -> str:
        return f"Taps({self.size} -> {len(self.indices)})"


class Resample(Linear):
    """out[.., i, ..] = sum over k of weights[i, k] * x[.., indices[i, k], ..] along an axis."""

    name = "resample"

    def infer(self, x: ArrayType, *, axis: int, taps: Taps) -> ArrayType:
        if not 0 <= axis < len(x.shape) or x.shape[axis] != taps.size:
            raise ShapeError(f"got {x}; the table {taps} does not fit axis {axis}")
        if kind_of(x.dtype) != 2 and taps.weights is not None:
            raise TypeError(f"got {x}; weights need floats")
        return ArrayType((*x.shape[:axis], len(taps.indices), *x.shape[axis + 1:]), x.dtype, x.weak)

    def transpose(self, ct: Any, x: Any, *, axis: int, taps: Taps) -> list[Any]:
        return [self(ct, axis=axis, taps=taps.transposed)]

    def batch(self, size: int, batched: Sequence[bool], x: Any, *, axis: int, taps: Taps) -> Any:
        return self(x, axis=axis + 1, taps=taps)

    def rows(self, axes: Any, types: Any, *, axis: int, taps: Taps) -> Any:
        return None if axes[0] == axis else axes[0]

    def flops(self, types: Any, outs: Sequence[ArrayType], *, axis: int, taps: Taps) -> int:
        return 0 if taps.weights is None else 2 * taps.indices.shape[1] * outs[0].size


resample = Resample()

__all__ = ["Taps", "resample"]
