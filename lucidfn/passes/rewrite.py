"""The walk that the passes share: forward over the equations, replacing atoms as it goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

from lucidfn.core.ir import Atom, Equation, Literal, Program, Var

# What a rule may do with an equation: keep it (None), name what its output equals (an atom for
# each output), or put other equations in its place, of which the last defines the outputs; those
# are offered to the rule again.
Decision = list[Atom] | list[Equation] | None
Rule = Callable[[Equation, dict[Var, Equation]], Decision]


def rewrite(program: Program, rule: Rule) -> Program:
    """Apply a rule to each equation in order. `made` maps variables to what defines them."""
    same: dict[Any, Atom] = {}
    made: dict[Var, Equation] = {}
    kept: list[Equation] = []
    ahead = program.equations[::-1]
    while ahead:
        eqn = ahead.pop()
        if same and not same.keys().isdisjoint(eqn.inputs):
            eqn = Equation(eqn.primitive, [same.get(a, a) for a in eqn.inputs], eqn.params,
                           eqn.outputs, eqn.source)
        decision = rule(eqn, made)
        if decision is None:
            kept.append(eqn)
            for v in eqn.outputs:
                made[v] = eqn
        elif decision and isinstance(decision[0], Equation):
            ahead += reversed(decision)  # type: ignore[arg-type]
        else:
            same.update(zip(eqn.outputs, decision, strict=True))  # type: ignore[arg-type]
    if not same and len(kept) == len(program.equations):
        return program.replace(equations=kept)
    return program.replace(equations=kept, outputs=[same.get(a, a) for a in program.outputs])


def literal_key(value: Any) -> Hashable:
    """Equal only for the same type and bits: 1, 1.0, True, 0.0, -0.0 all differ; NaN is itself."""
    if isinstance(value, float):
        return float, "nan" if math.isnan(value) else value.hex()
    if isinstance(value, complex):
        return complex, literal_key(value.real), literal_key(value.imag)
    return type(value), value


def atom_key(atom: Atom) -> Hashable:
    return literal_key(atom.value) if type(atom) is Literal else atom
