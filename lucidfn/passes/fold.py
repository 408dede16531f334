"""Constant folding: compute what depends on no input, as long as it is small."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.core.ir import Equation, Literal, Program, Var
from lucidfn.core.primitive import as_list
from lucidfn.core.trace import current, eval_trace
from lucidfn.ops.families import Elementwise
from lucidfn.passes.rewrite import Decision, rewrite
from lucidfn.types import broadcast_shapes, kind_of

LARGEST = 64  # elements; larger constants are cheaper to make than to keep
_ITEM = {1: int, 2: float, 3: complex}


def fold(program: Program) -> Program:
    """Evaluate equations of literals and of scalars that fold; captured arrays are never folded.

    A scalar constant becomes a literal where an elementwise equation reads it beside an array of
    its dtype.
    """
    known: dict[Var, Any] = {}
    scalars: dict[Var, Any] = {}  # variables that hold one known number, everywhere

    def rule(eqn: Equation, made: dict[Var, Equation]) -> Decision:
        prim = eqn.primitive
        if prim.nested or prim.effect:
            return None
        if _is_known(eqn, known) and _is_small(eqn):
            # It stays where it is until the walk is over: other equations read its variables.
            for v, value in zip(eqn.outputs, _evaluated(eqn, known), strict=False):
                known[v] = value
                if v.type.size == 1 and kind_of(v.type.dtype) in _ITEM:
                    scalars[v] = value
            return None
        if prim in (ops.broadcast_to, ops.reshape) and eqn.inputs[0] in scalars:
            scalars[eqn.outputs[0]] = scalars[eqn.inputs[0]]
        if scalars and isinstance(prim, Elementwise) and \
                not scalars.keys().isdisjoint(eqn.inputs):
            inputs = _with_literals(eqn, scalars)
            if inputs != eqn.inputs:
                return [Equation(prim, inputs, eqn.params, eqn.outputs, eqn.source)]
        return None

    folded = rewrite(program, rule)
    kept = [e for e in folded.equations if not e.outputs or e.outputs[0] not in known]
    return folded.replace(equations=kept, consts={**folded.consts, **known})


def _is_known(eqn: Equation, known: dict[Var, Any]) -> bool:
    return all([type(a) is Literal or a in known for a in eqn.inputs])


def _is_small(eqn: Equation) -> bool:
    counts = eqn.primitive is ops.iota and eqn.outputs[0].type.size > 1
    return not counts and all(v.type.size <= LARGEST for v in eqn.outputs)


def _evaluated(eqn: Equation, known: dict[Var, Any]) -> list[Any]:
    """The outputs of an equation; none where it raises, as by an index out of bounds."""
    values = [a.value if type(a) is Literal else known[a] for a in eqn.inputs]
    token = current.set(eval_trace)
    try:
        return as_list(eqn.primitive, eqn.primitive(*values, **eqn.params))
    except Exception:  # left to raise when it runs
        return []
    finally:
        current.reset(token)


def _with_literals(eqn: Equation, scalars: dict[Var, Any]) -> list[Any]:
    """Constants as literals, where another operand fixes the dtype and the others the shape."""
    out = eqn.outputs[0].type
    inputs = list(eqn.inputs)
    for i, atom in enumerate(inputs):
        if atom not in scalars or (eqn.primitive is ops.select and i == 0):
            continue
        others = [*inputs[:i], *inputs[i + 1:]]
        if any(type(a) is Var and a not in scalars and a.type.dtype == atom.type.dtype
               for a in others) and broadcast_shapes(
                   *[a.type.shape for a in others]) == out.shape:
            value = np.asarray(scalars[atom]).reshape(())
            literal = Literal(_ITEM[kind_of(atom.type.dtype)](value))
            types = [literal.type if j == i else a.type for j, a in enumerate(inputs)]
            if eqn.primitive.infer(*types, **eqn.params)[:2] == out[:2]:
                inputs[i] = literal
    return inputs
