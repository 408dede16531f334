"""The tensor product with contraction: every matrix product is one of these."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.families import Bilinear
from lucidfn.ops.shape import inverse, move_axis, permute
from lucidfn.types import ArrayType

Pair = tuple[tuple[int, ...], tuple[int, ...]]


class DotGeneral(Bilinear):
    """out[batch, free_x, free_y] = sum over contract of x * y."""

    name = "dot_general"

    def infer(self, x: ArrayType, y: ArrayType, *, contract: Pair, batch: Pair) -> ArrayType:
        if x.dtype != y.dtype:
            raise TypeError(f"got {x} and {y}; dtypes must be equal")
        shape = _out_shape(x.shape, y.shape, contract, batch)
        if shape is None:
            raise ShapeError(self.mismatch(x, y, contract, batch))
        return ArrayType(shape, x.dtype, x.weak and y.weak)

    @staticmethod
    def mismatch(x: ArrayType, y: ArrayType, contract: Pair, batch: Pair) -> str:
        for (ax, ay), word in ((contract, "contracted"), (batch, "batch")):
            for i, j in zip(ax, ay, strict=True):
                if x.shape[i] != y.shape[j]:
                    return (f"got {x} and {y}; {word} axes {i} and {j} have sizes "
                            f"{x.shape[i]} and {y.shape[j]}, which must be equal")
        return f"got {x} and {y}"

    def transpose_left(self, ct: Any, x: ArrayType, y: Any, *, contract: Pair, batch: Pair) -> Any:
        return self.pull_back(ct, y, _pull_back(len(x.shape), len(shape_of(y)), contract, batch,
                                                0))

    def transpose_right(self, ct: Any, x: Any, y: ArrayType, *, contract: Pair, batch: Pair) -> Any:
        return self.pull_back(ct, x, _pull_back(len(y.shape), len(shape_of(x)), contract[::-1],
                                                batch[::-1], 1))

    def pull_back(self, ct: Any, y: Any, plan: PullBack) -> Any:
        if plan.y_first:
            return self(y, ct, contract=plan.contract, batch=plan.batch)
        out = self(ct, y, contract=plan.contract, batch=plan.batch)
        return out if plan.order is None else permute(out, order=plan.order)

    def batch(self, size: int, batched: Sequence[bool], x: Any, y: Any, *,
              contract: Pair, batch: Pair) -> Any:
        shift = lambda axes, on: tuple([i + on for i in axes])
        contract = (shift(contract[0], batched[0]), shift(contract[1], batched[1]))
        batch = (shift(batch[0], batched[0]), shift(batch[1], batched[1]))
        if all(batched):
            return self(x, y, contract=contract, batch=((0, *batch[0]), (0, *batch[1])))
        # A batch axis on one side only is a free axis of that side.
        out = self(x, y, contract=contract, batch=batch)
        before = [] if batched[0] else free(len(shape_of(x)), contract[0], batch[0])
        return move_axis(out, len(batch[0]) + len(before), 0)

    def rows(self, axes: Any, types: Any, *, contract: Pair, batch: Pair) -> Any:
        ax, ay = axes
        paired = ax is not None and ay is not None
        if paired and (ax, ay) in zip(*contract, strict=True):
            return "add"
        if paired and (ax, ay) in zip(*batch, strict=True):
            return batch[0].index(ax)
        free_x = free(len(types[0].shape), contract[0], batch[0])
        free_y = free(len(types[1].shape), contract[1], batch[1])
        if ay is None and ax in free_x:
            return len(batch[0]) + free_x.index(ax)
        if ax is None and ay in free_y:
            return len(batch[0]) + len(free_x) + free_y.index(ay)
        return None

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], *,
              contract: Pair, batch: Pair) -> int:
        return 2 * outs[0].size * math.prod(types[0].shape[i] for i in contract[0])


class PullBack(NamedTuple):
    """How the cotangent of a product and its operand y give the cotangent of the other, x."""

    y_first: bool
    contract: Pair
    batch: Pair
    order: tuple[int, ...] | None  # of the product's axes, to restore x's; None: they are x's


@functools.cache
def _pull_back(rank_x: int, rank_y: int, contract: Pair, batch: Pair, side: int) -> PullBack:
    """Contract the axes that ct got from y; restore x's order of axes. x is operand `side`."""
    free_x = free(rank_x, contract[0], batch[0])
    free_y = free(rank_y, contract[1], batch[1])
    contract_x = [i for _, i in sorted(zip(contract[1], contract[0], strict=True))]
    n = len(batch[0])
    start = n + len(free_x) if side == 0 else n
    ct_y = tuple(range(start, start + len(free_y)))
    if n == 0 and [*contract_x, *free_x] == list(range(rank_x)):
        # x's contracted axes come first: with y in front they do in the product too.
        return PullBack(True, (tuple(free_y), ct_y), ((), ()), None)
    order = inverse([*batch[0], *free_x, *contract_x])
    return PullBack(False, (ct_y, tuple(free_y)), (tuple(range(n)), batch[1]),
                    None if order == tuple(range(rank_x)) else order)


@functools.cache
def _out_shape(x: tuple[int, ...], y: tuple[int, ...], contract: Pair,
               batch: Pair) -> tuple[int, ...] | None:
    """The shape of the product; None if paired axes differ in size."""
    for ax, ay in (contract, batch):
        if any(x[i] != y[j] for i, j in zip(ax, ay, strict=True)):
            return None
    return tuple([*[x[i] for i in batch[0]],
                  *[x[i] for i in free(len(x), contract[0], batch[0])],
                  *[y[i] for i in free(len(y), contract[1], batch[1])]])


def free(rank: int, contract: Sequence[int], batch: Sequence[int]) -> list[int]:
    return [i for i in range(rank) if i not in contract and i not in batch]


dot_general = DotGeneral()


def matmul(x: Any, y: Any) -> Any:
    """x @ y of two matrices."""
    return dot_general(x, y, contract=((type_of(x).ndim - 1,), (0,)), batch=((), ()))
