"""`blocks`: the primitive of a phase, equations that run over blocks of rows on several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucidfn.backends.numpy.threads import run_parts
from lucidfn.core.cost import cost
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.types import ArrayType

Cut = tuple[int, int]  # an axis, and how many of its places belong to one row


@dataclass(frozen=True, eq=False)
class Loop:
    """One loop over blocks of rows.

    `programs[n]` is for blocks of n rows; the first of them is for all but the last block of a
    thread. `cut` holds the row axis of each operand (None: whole). The first `sums` outputs are
    added up over the blocks; the others are stored, along the row axes `axes`. A thread has `per`
    of the `rows`. In a flat loop the rows are the elements of arrays taken as vectors.
    """

    programs: dict[int, Program]
    rows: int
    per: int
    cut: tuple[Cut | None, ...]
    sums: int
    axes: tuple[Cut, ...]
    flat: bool = False

    @property
    def size(self) -> int:
        return next(iter(self.programs))


class Blocks(Primitive):
    """Loops over blocks of rows that are independent of one another: one hand-off to the threads.

    Operands and outputs are those of the loops, one after another. Made by the compiler.
    """

    name = "blocks"
    many = True

    def __init__(self) -> None:
        pass  # not in the table of primitives: no transformation and no other backend meets it

    def infer(self, *inputs: ArrayType, types: Sequence[ArrayType], **_: Any) -> list[ArrayType]:
        return list(types)

    def flops(self, inputs: Any, outs: Any, /, *, loops: Sequence[Loop], **_: Any) -> int:
        return sum(cost(loop.programs[loop.size]).flops * loop.rows // loop.size
                   for loop in loops)


blocks = Blocks()


def run(phase: Callable[..., Any], parts: int, stores: int, *args: Any) -> list[Any]:
    """Run a phase on `parts` threads; add up what they give in the order of their rows.

    Returns the sums, then the last `stores` of `args`: the arrays that the phase stored into.
    """
    for i in range(len(args) - stores, len(args)):
        x = args[i]
        if not x.flags.c_contiguous:  # a reused buffer in another order: a flat loop needs a view
            args = (*args[:i], np.empty(x.shape, x.dtype), *args[i + 1:])
    totals, *others = run_parts(lambda i: phase(i, *args), parts)
    for part in others:
        totals = [add_up(total, x) for total, x in zip(totals, part, strict=True)]
    return [*totals, *args[len(args) - stores:]]


def add_up(total: Any, x: Any) -> Any:
    """total + x, in the memory of total."""
    return np.add(total, x, out=total) if type(total) is np.ndarray else total + x
