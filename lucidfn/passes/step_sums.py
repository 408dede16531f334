"""Sums over the steps of a loop, had at once from values that are stacked over the steps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lucidfn import ops
from lucidfn.core.ir import Equation, Literal, Var

LINEAR = {ops.permute, ops.reshape, ops.neg}


@dataclass
class StepSum:
    """The sum over the steps of one value: how it is had from values at all steps."""

    eqn: Equation | None  # None: of a variable itself
    parts: list[Any]      # plans, variables, literals

    def leaves(self) -> list[Var]:
        """Variables whose values at all steps are read."""
        return [a for p in self.parts for a in (
            p.leaves() if isinstance(p, StepSum) else [p[1]] if p[0] == "row" else [])]

    def plain(self) -> list[Var]:
        """Those of them that are only added up, which is as quick step by step."""
        if self.eqn is None:
            return self.leaves()
        return [a for p in self.parts if isinstance(p, StepSum) and
                self.eqn.primitive is not ops.dot_general for a in p.plain()]

    def fixed(self) -> list[Var]:
        return [a for p in self.parts for a in (
            p.fixed() if isinstance(p, StepSum) else [p[1]] if p[0] == "fixed" else [])]

    def run(self, env: dict[Any, Any]) -> Any:
        if self.eqn is None:
            return ops.reduce_sum(env[self.parts[0][1]], axes=(0,))
        prim, params = self.eqn.primitive, self.eqn.params
        if prim is ops.add:
            return ops.add(*[p.run(env) for p in self.parts])
        if prim is ops.reduce_sum:
            axes = (0, *[a + 1 for a in params["axes"]])
            return ops.reduce_sum(env[self.parts[0][1]], axes=axes)
        if prim is ops.dot_general and all(isinstance(p, tuple) and p[0] == "row"
                                           for p in self.parts):
            x, y = [env[p[1]] for p in self.parts]
            contract = tuple([(0, *[a + 1 for a in axes]) for axes in params["contract"]])
            return ops.dot_general(x, y, contract=contract, batch=((), ()))
        values = [p.run(env) if isinstance(p, StepSum) else env[p[1]] if p[0] != "literal"
                  else p[1] for p in self.parts]
        return prim(*values, **params)


class Terms:
    """Reads from a body how the sum over the steps of a variable can be had at once."""

    def __init__(self, made: dict[Var, Equation], uses: dict[Any, int], fixed: Collection[Any]):
        self.made, self.uses, self.fixed = made, uses, fixed

    def of(self, v: Any) -> StepSum | None:
        """None where it is best added up step by step."""
        eqn = self.made.get(v)
        if eqn is None:
            return StepSum(None, [("row", v)]) if type(v) is Var and v not in self.fixed else None
        if self.uses[v] > 1:
            return StepSum(None, [("row", v)])
        prim = eqn.primitive
        if prim is ops.add and all(type(a) is Var and a.type.shape == v.type.shape
                                   for a in eqn.inputs):
            parts = [self.of(a) for a in eqn.inputs]
            return None if None in parts else StepSum(eqn, parts)
        if prim in LINEAR:
            part = self.of(eqn.inputs[0])
            return None if part is None else StepSum(eqn, [part])
        if prim is ops.reduce_sum and eqn.inputs[0] not in self.fixed:
            return StepSum(eqn, [("row", eqn.inputs[0])])
        if prim is ops.dot_general and eqn.params["batch"] == ((), ()):
            return self.product(eqn)
        return None

    def product(self, eqn: Equation) -> StepSum | None:
        fixed = [a in self.fixed for a in eqn.inputs]
        if any(type(a) is Literal for a in eqn.inputs) or all(fixed):
            return None
        if not any(fixed):
            return StepSum(eqn, [("row", a) for a in eqn.inputs])
        # The product with something fixed: add up the other operand, then multiply once.
        return StepSum(eqn, [("fixed", a) if f else StepSum(None, [("row", a)])
                          for a, f in zip(eqn.inputs, fixed, strict=True)])


__all__ = ["StepSum", "Terms"]
