"""Common subexpression elimination: compute equal expressions once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from lucidfn.core.ir import Equation, Program, Var
from lucidfn.passes.rewrite import Decision, literal_key, rewrite


def cse(program: Program) -> Program:
    """Replace an equation by an earlier one with the same primitive, operands and parameters."""
    seen: dict[Hashable, list[Var]] = {}

    def rule(eqn: Equation, made: dict[Var, Equation]) -> Decision:
        if eqn.effect:
            return None
        inputs = tuple([a if type(a) is Var else literal_key(a.value) for a in eqn.inputs])
        params = tuple([(k, _param_key(v)) for k, v in eqn.params.items()]) if eqn.params else ()
        try:
            known = seen.setdefault((eqn.primitive, inputs, params), eqn.outputs)
        except TypeError:  # a parameter that cannot be compared
            return None
        return None if known is eqn.outputs else list(known)

    return rewrite(program, rule)


def _param_key(value: Any) -> Hashable:
    if isinstance(value, tuple):
        return value if {*map(type, value)} == {int} else tuple(map(_param_key, value))
    return literal_key(value) if isinstance(value, (float, complex, int)) else value
