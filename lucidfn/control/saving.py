"""What a checkpoint keeps for its derivative: a policy decides which values, the rest is computed
again.

A policy is a function `policy(primitive, *input_types, **params) -> bool` of an equation of the
forward pass: whether its results may be kept. Inputs of the checkpoint are always kept. `plan` cuts
the forward pass where results are kept: of those only what the derivative reads is really kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.core.primitive import Primitive
from lucidfn.ops.naming import checkpoint_name
from lucidfn.transforms.linearize import drop_dead
from lucidfn.transforms.programs import derived, linearize_program

Policy = Callable[..., bool]


class Plan(NamedTuple):
    """A checkpoint's forward pass and what its derivative starts from.

    forward: inputs -> `count` outputs, then what is kept. again: inputs, what is kept ->
    residuals. linear: residuals, moving tangents -> tangents of the outputs that move.
    """

    forward: Program
    again: Program
    linear: Program
    count: int
    moved: tuple[bool, ...]


def plan(program: Program, moving: tuple[bool, ...], policy: Policy | None,
         calls: frozenset[Primitive]) -> Plan:
    """The plan for tangents that move, made once; `calls` are looked into."""
    return derived(program, ("plan", moving, policy), lambda: _plan(program, moving, policy, calls))


def _plan(program: Program, moving: tuple[bool, ...], policy: Policy | None,
          calls: frozenset[Primitive]) -> Plan:
    forward, linear, n, moved = linearize_program(program, moving)
    if policy is None:
        again = drop_dead(forward.replace(outputs=forward.outputs[n:]))
        return Plan(program, again, linear, n, moved)
    forward = expanded(forward, calls)
    kept, equations = cut(forward, forward.outputs[n:], policy)
    again = Program([*forward.inputs, *kept], equations, forward.outputs[n:], forward.consts)
    saving = forward.replace(outputs=[*forward.outputs[:n], *kept])
    return Plan(drop_dead(saving), drop_dead(again), linear, n, moved)


def cut(program: Program, wanted: list[Atom], policy: Policy) -> tuple[list[Var], list[Equation]]:
    """(variables to keep, equations that compute `wanted` from these and the inputs)."""
    needed = {a for a in wanted if type(a) is Var}
    unnamed = getattr(policy, "dropped", frozenset())
    dropped: set[Atom] = set()  # what has a dropped name is dropped under any other name too
    kept: list[Var] = []
    equations = []
    for eqn in reversed(program.equations):
        read = [v for v in eqn.outputs if v in needed]
        if not read:
            continue
        if eqn.primitive is checkpoint_name and eqn.params["name"] in unnamed:
            dropped.update(eqn.inputs)
        may_keep = policy(eqn.primitive, *[a.type for a in eqn.inputs], **eqn.params)
        if not isinstance(may_keep, bool):
            raise TypeError(f"a checkpoint policy returned {may_keep!r} for {eqn.primitive}; it "
                            "must return True (keep the result) or False (compute it again)")
        if may_keep and dropped.isdisjoint(read):
            kept += read
            continue
        equations.append(eqn)
        needed.update(a for a in eqn.inputs if type(a) is Var)
    return kept[::-1], equations[::-1]


def expanded(program: Program, calls: frozenset[Primitive]) -> Program:
    """The program with the bodies of calls in their places, at any depth."""
    if not any(e.primitive in calls for e in program.equations):
        return program
    equations: list[Equation] = []
    consts = dict(program.consts)

    def walk(body: Program, env: dict[Atom, Atom], outer: Any) -> list[Atom]:
        consts.update(body.consts)
        for eqn in body.equations:
            inputs = [env.get(a, a) for a in eqn.inputs]
            if eqn.primitive in calls:
                inner: Program = eqn.params["program"]
                given: dict[Atom, Atom] = dict(zip(inner.inputs, inputs, strict=True))
                env.update(zip(eqn.outputs, walk(inner, given, eqn.source or outer), strict=True))
                continue
            outputs = [Var(v.type) for v in eqn.outputs]
            env.update(zip(eqn.outputs, outputs, strict=True))
            equations.append(Equation(eqn.primitive, inputs, eqn.params, outputs,
                                      eqn.source or outer))
        return [env.get(a, a) for a in body.outputs]

    outputs = walk(program, {}, None)
    return program.replace(equations=equations, consts=consts, outputs=outputs)
