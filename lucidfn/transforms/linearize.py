"""Reverse mode: linearize, then transpose.

`linearize` is `jvp` with placeholders for the tangents. What depends on a placeholder is recorded
into a linear program; all else, the primal computation, runs now, so that Python control flow on
values works. `transpose` walks that program backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucidfn.config import settings
from lucidfn.core.ir import Equation, Program, Var, unknown
from lucidfn.core.record import RecordTrace
from lucidfn.core.trace import current, eval_trace, home, placed, shape_of, type_of
from lucidfn.ops.elementwise import add
from lucidfn.ops.families import sum_to
from lucidfn.ops.shape import zeros
from lucidfn.ops.tapes import UNKNOWN, add_tapes
from lucidfn.transforms.jvp import jvp
from lucidfn.types import ArrayType, is_inexact


def linearize(f: Callable[..., Sequence[Any]], primals: Sequence[Any],
              moving: Sequence[bool] | None = None, *, weak: Sequence[bool] = (),
              what: str = "grad") -> tuple[list[Any], Program, list[bool]]:
    """f(primals), the linear program from moving tangents to output tangents, which outputs move.

    The program has one input for each moving primal and one output for each output that moves.
    """
    # Lines are worth their cost when somebody will read them: recorded, or hunting a NaN.
    lines = current.get() is not eval_trace or settings().debug_nans or settings().debug_infs
    tangent_trace = RecordTrace(what, lines=lines)
    moving = (True,) * len(primals) if moving is None else moving
    tangents = [tangent_trace.new_input(_tangent_type(x)) if m else None
                for x, m in zip(primals, moving, strict=True)]
    try:
        outs, out_tangents = jvp(f, primals, tangents, weak=weak, what=what,
                                 recorder=tangent_trace)
        program = tangent_trace.finish([t for t in out_tangents if t is not None])
    finally:
        tangent_trace.alive = False
    return outs, program, [t is not None for t in out_tangents]


def _tangent_type(x: Any) -> ArrayType:
    t = type_of(x)
    return t._replace(weak=False) if t.weak else t


def transpose(program: Program, args: Sequence[Any], cts: Sequence[Any], *,
              all_linear: bool = False) -> list[Any]:
    """Cotangents of the unknown args of a program that is linear in them; None is zero.

    `args` holds a value for each known input and any `Var` for each unknown one. `all_linear` says
    that no equation can be run ahead: true of what `linearize` records.
    """
    env, linear = (program.consts, program.equations) if all_linear else _run_known(program, args)
    recorder = current.get()
    inherit = recorder is not eval_trace or settings().debug_nans or settings().debug_infs
    before = recorder.source
    totals: dict[Var, Any] = {}

    def accumulate(atom: Any, ct: Any) -> None:
        if ct is not None and type(atom) is Var and atom not in env:
            shape = atom.type.shape
            have, tape = shape_of(ct), UNKNOWN in shape
            if have != shape and not (tape and len(have) == len(shape)):
                ct = sum_to(ct, shape)
            known = totals.get(atom)
            totals[atom] = ct if known is None else (add_tapes if tape else add)(known, ct)

    for atom, ct in zip(program.outputs, cts, strict=True):
        accumulate(atom, ct)
    try:
        for eqn in reversed(linear):
            primitive = eqn.primitive
            if len(eqn.outputs) == 1:
                ct: Any = totals.pop(eqn.outputs[0], None)
                if ct is None:
                    continue
                if primitive.many:
                    ct = [ct]
            else:
                ct = [totals.pop(v, None) for v in eqn.outputs]
                if all(c is None for c in ct):
                    continue
            if inherit:
                recorder.source = eqn.source or before
            # An operand without a value in env is unknown: the rule sees the variable itself.
            values = [env.get(a, a) if type(a) is Var else a.value for a in eqn.inputs]
            for atom, in_ct in zip(eqn.inputs, primitive.transpose(ct, *values, **eqn.params),
                                   strict=True):
                if in_ct is not None:
                    accumulate(atom, in_ct)
    finally:
        recorder.source = before
    return [totals.get(v) for v, x in zip(program.inputs, args, strict=True) if unknown(x)]


def _run_known(program: Program, args: Sequence[Any]) -> tuple[dict[Var, Any], list[Equation]]:
    """Run what does not depend on an unknown (a rematerialised forward pass); keep the rest."""
    env: dict[Var, Any] = dict(program.consts)
    depends: set[Var] = set()
    for v, x in zip(program.inputs, args, strict=True):
        if unknown(x):
            depends.add(v)
        else:
            env[v] = x
    linear = []
    for eqn in program.equations:
        if any(a in depends for a in eqn.inputs):
            linear.append(eqn)
            depends.update(eqn.outputs)
            continue
        out = eqn.primitive(*[env[a] if type(a) is Var else a.value for a in eqn.inputs],
                            **eqn.params)
        env.update(zip(eqn.outputs, out if eqn.primitive.many else [out], strict=True))
    return env, linear


def drop_dead(program: Program) -> Program:
    """Leave out equations and constants that no output needs, so that they are not kept alive."""
    used = set(program.outputs)
    kept = []
    for eqn in reversed(program.equations):
        if not used.isdisjoint(eqn.outputs) or eqn.effect:
            kept.append(eqn)
            used.update(eqn.inputs)
    consts = {v: c for v, c in program.consts.items() if v in used}
    return program.replace(equations=kept[::-1], consts=consts)


def owned(program: Program) -> Program:
    """The program with copies of constants that a user's ndarray could change under it.

    Those are the read-only views. While recording they stay: jit knows them as inputs.
    """
    if current.get() is not eval_trace:
        return program
    return program.replace(consts={
        v: c.copy() if not getattr(getattr(c, "flags", None), "writeable", True) else c
        for v, c in program.consts.items()})


def vjp(f: Callable[..., Sequence[Any]], primals: Sequence[Any],
        moving: Sequence[bool] | None = None, *, weak: Sequence[bool] = (), what: str = "vjp",
        keep: bool = True) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """f(primals), and the function from output cotangents to those of the moving primals.

    A None cotangent is zero. `keep=False` skips the clean-up for a function that is called once.
    """
    outs, program, moved = linearize(f, primals, moving, weak=weak, what=what)
    homes = [home(x) for x in primals] if moving is None else \
        [home(x) for x, m in zip(primals, moving, strict=True) if m]
    if keep:
        program = owned(drop_dead(program))

    def backward(cts: Sequence[Any]) -> list[Any]:
        live = [ct for ct, m in zip(cts, moved, strict=True) if m]
        got = transpose(program, program.inputs, live, all_linear=True)
        return [placed(zeros(v.type.shape, v.type.dtype), at) if ct is None else ct
                for v, ct, at in zip(program.inputs, got, homes, strict=True)]

    return outs, backward


def differentiable(type: ArrayType) -> bool:
    """Whether values of this type have tangents."""
    return is_inexact(type.dtype)
