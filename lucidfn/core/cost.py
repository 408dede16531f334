"""What a program costs: floating point operations and bytes read and written, per equation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class EquationCost(NamedTuple):
    """One equation's share."""

    equation: Any
    flops: int
    bytes: int


class Cost(NamedTuple):
    """`flops` and `bytes` of a whole program, and a row for each equation.

    Bytes count every operand read once and every output written once, as if nothing were fused.
    """

    rows: tuple[EquationCost, ...]

    @property
    def flops(self) -> int:
        return sum(r.flops for r in self.rows)

    @property
    def bytes(self) -> int:
        return sum(r.bytes for r in self.rows)

    def __str__(self) -> str:
        lines = [f"{'flops':>14} {'bytes':>14}  equation"]
        for row in sorted(self.rows, key=lambda r: -r.flops):
            eqn = row.equation
            outs = " ".join(str(v.type) for v in eqn.outputs)
            at = f"  {eqn.source}" if eqn.source else ""
            lines.append(f"{row.flops:>14,} {row.bytes:>14,}  {eqn.primitive.name} -> {outs}{at}")
        return "\n".join([*lines, f"{self.flops:>14,} {self.bytes:>14,}  in all"])

    __repr__ = __str__


def cost(program: Any) -> Cost:
    """The cost of every equation of a program."""
    return cost_of(program.equations)


def cost_of(equations: Iterable[Any]) -> Cost:
    """The cost of every equation; an equation that holds programs costs what they cost."""
    rows = []
    for eqn in equations:
        ins, outs = [a.type for a in eqn.inputs], [v.type for v in eqn.outputs]
        inner = [cost(p) for _, p in eqn.programs()]
        if inner:
            flops, moved = sum(c.flops for c in inner), sum(c.bytes for c in inner)
            repeat = eqn.params.get("length", 1)
            rows.append(EquationCost(eqn, flops * repeat, moved * repeat))
        else:
            moved = sum(t.nbytes for t in [*ins, *outs])
            rows.append(EquationCost(eqn, eqn.primitive.flops(ins, outs, **eqn.params), moved))
    return Cost(tuple(rows))
