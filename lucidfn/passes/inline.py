"""Inlining: put the body of a call in place of the call."""

from __future__ import annotations

from collections.abc import Collection

from lucidfn.control.call import call, checkpoint
from lucidfn.control.custom import custom_jvp_call, custom_vjp_call, custom_vmap_call
from lucidfn.control.implicit import linear_solve, root
from lucidfn.control.steps import step
from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.core.primitive import Primitive

# A checkpoint, or a function with rules of its own, is a plain call where nothing transforms it any
# more. What recomputes a forward pass stays a call until cse is done, which would merge it with the
# first pass and keep its residuals.
INLINED = {call, checkpoint, step, custom_jvp_call, custom_vjp_call, custom_vmap_call, linear_solve,
           root}


def inline(program: Program, among: Collection[Primitive] = INLINED) -> Program:
    """Flatten calls, at any depth."""
    if not any(e.primitive in among for e in program.equations):
        return program
    equations: list[Equation] = []
    consts = dict(program.consts)
    env: dict[Atom, Atom] = {}
    for eqn in program.equations:
        if eqn.primitive in among:
            actual = [env.get(a, a) for a in eqn.inputs]
            env.update(zip(eqn.outputs, _expand(eqn, actual, equations, consts, among),
                           strict=True))
        elif any(a in env for a in eqn.inputs):
            equations.append(Equation(eqn.primitive, [env.get(a, a) for a in eqn.inputs],
                                      eqn.params, eqn.outputs, eqn.source))
        else:
            equations.append(eqn)
    return program.replace(equations=equations, consts=consts,
                           outputs=[env.get(a, a) for a in program.outputs])


def _expand(eqn: Equation, actual: list[Atom], equations: list[Equation],
            consts: dict[Var, object], among: Collection[Primitive]) -> list[Atom]:
    """Append a copy of the body with fresh variables; returns the atoms of its outputs."""
    body: Program = eqn.params["program"]
    env: dict[Atom, Atom] = dict(zip(body.inputs, actual, strict=True))
    consts.update(body.consts)
    for inner in body.equations:
        inputs = [env.get(a, a) for a in inner.inputs]
        if inner.primitive in among:
            env.update(zip(inner.outputs, _expand(inner, inputs, equations, consts, among),
                           strict=True))
            continue
        outputs = [Var(v.type) for v in inner.outputs]
        env.update(zip(inner.outputs, outputs, strict=True))
        equations.append(Equation(inner.primitive, inputs, inner.params, outputs,
                                  inner.source or eqn.source))
    return [env.get(a, a) for a in body.outputs]
