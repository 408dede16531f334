"""The tensor product with contraction: every matrix product is one of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
        for (ax, ay), word in ((contract, "contracted"), (batch, "batch")):
            for i, j in zip(ax, ay, strict=True):
                if x.shape[i] != y.shape[j]:
                    raise ShapeError(f"got {x} and {y}; {word} axes {i} and {j} have sizes "
                                     f"{x.shape[i]} and {y.shape[j]}, which must be equal")
        sizes = [x.shape[i] for i in batch[0]]
        sizes += [x.shape[i] for i in free(len(x.shape), contract[0], batch[0])]
        sizes += [y.shape[i] for i in free(len(y.shape), contract[1], batch[1])]
        return ArrayType(tuple(sizes), x.dtype, x.weak and y.weak)

    def transpose_left(self, ct: Any, x: ArrayType, y: Any, *, contract: Pair, batch: Pair) -> Any:
        n = len(batch[0]) + len(free(len(x.shape), contract[0], batch[0]))
        return self.pull_back(ct, x, y, contract, batch, tuple(range(n, len(shape_of(ct)))))

    def transpose_right(self, ct: Any, x: Any, y: ArrayType, *, contract: Pair, batch: Pair) -> Any:
        b, n = len(batch[0]), len(free(len(shape_of(x)), contract[0], batch[0]))
        return self.pull_back(ct, y, x, contract[::-1], batch[::-1], tuple(range(b, b + n)))

    def pull_back(self, ct: Any, x: ArrayType, y: Any, contract: Pair, batch: Pair,
                  ct_y: tuple[int, ...]) -> Any:
        """Contract the axes ct_y that ct got from y; restore x's order of axes."""
        free_x = free(len(x.shape), contract[0], batch[0])
        free_y = free(len(shape_of(y)), contract[1], batch[1])
        contract_x = [i for _, i in sorted(zip(contract[1], contract[0], strict=True))]
        lead = tuple(range(len(batch[0])))
        if not lead and [*contract_x, *free_x] == list(range(len(x.shape))):
            # x's contracted axes come first: with y in front they do in the product too.
            return self(y, ct, contract=(tuple(free_y), ct_y), batch=((), ()))
        out = self(ct, y, contract=(ct_y, tuple(free_y)), batch=(lead, batch[1]))
        order = inverse([*batch[0], *free_x, *contract_x])
        return out if order == tuple(range(len(order))) else permute(out, order=order)

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

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], *,
              contract: Pair, batch: Pair) -> int:
        return 2 * outs[0].size * math.prod(types[0].shape[i] for i in contract[0])


def free(rank: int, contract: Sequence[int], batch: Sequence[int]) -> list[int]:
    return [i for i in range(rank) if i not in contract and i not in batch]


dot_general = DotGeneral()


def matmul(x: Any, y: Any) -> Any:
    """x @ y of two matrices."""
    return dot_general(x, y, contract=((type_of(x).ndim - 1,), (0,)), batch=((), ()))
