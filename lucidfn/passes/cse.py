"""Common subexpression elimination: compute equal expressions once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.passes.rewrite import Decision, atom_key, literal_key, rewrite


def cse(program: Program) -> Program:
    """Replace an equation by an earlier one with the same primitive, operands and parameters."""
    seen: dict[Hashable, list[Atom]] = {}

    def rule(eqn: Equation, made: dict[Var, Equation]) -> Decision:
        if eqn.effect:
            return None
        try:
            key = (eqn.primitive, tuple(map(atom_key, eqn.inputs)),
                   tuple([(k, _param_key(v)) for k, v in eqn.params.items()]))
            hash(key)
        except TypeError:  # a parameter that cannot be compared
            return None
        if key in seen:
            return seen[key]
        seen[key] = list(eqn.outputs)
        return None

    return rewrite(program, rule)


def _param_key(value: Any) -> Hashable:
    if isinstance(value, tuple):
        return tuple(map(_param_key, value))
    return literal_key(value) if isinstance(value, (float, complex, int)) else value
