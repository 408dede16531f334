"""Un-jitted gradients at speed: the derivative of a primitive, compiled once for each type.

Differentiated un-jitted, a primitive would evaluate, then perform its derivative rule, record what
is linear, and later transpose that, one Python call for every small operation. The same primitive
on the same types does the same each time. So after a few meetings its forward pass with residuals
and its backward pass are compiled, and one `step` equation stands for what would be recorded. A
step is a call: every transformation treats it as the program that it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lucidfn.config import settings
from lucidfn.control.call import Call
from lucidfn.core.ir import Equation, Program, Var
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import RecordTracer, record
from lucidfn.core.trace import (
    OWNERS,
    Backend,
    backend_of,
    current,
    eval_trace,
    type_of,
)
from lucidfn.transforms import jvp
from lucidfn.transforms.programs import linearize_program, transpose_program
from lucidfn.types import SCALARS, ArrayType

MEETINGS = 3  # how often a primitive meets the same types before its derivative is compiled
LARGEST = 4096  # signatures that are kept


class Pieces(NamedTuple):
    """The compiled derivative of a primitive for one signature."""

    backend: Backend
    forward: Any  # primals -> output, then residuals
    params: dict[str, Any]  # of the step: the program from residuals and tangents to the tangent
    out_type: ArrayType


class Pull(NamedTuple):
    """The compiled backward pass of a step, kept on its program."""

    backend: Backend
    compiled: Any  # residuals, cotangent -> cotangents
    residuals: int


class Step(Call):
    """A call of the linear program of one primitive."""

    def transpose(self, cts: Sequence[Any], *args: Any, program: Program,
                  name: str = "") -> list[Any]:
        pull = program.derived.get("pull")
        if pull is not None and current.get() is eval_trace:
            operands = [*args[:pull.residuals], cts[0]]
            for x in operands:
                # A traced value, or one that moves the whole to another device.
                if OWNERS.get(type(x)) is not pull.backend:
                    break
            else:
                found = pull.backend.call(pull.compiled, operands)
                return [*[None] * pull.residuals, *found]
        return super().transpose(cts, *args, program=program, name=name)


step = Step("step")
_pieces: dict[Any, Pieces | int | None] = {}  # or how often it was met; None: not worth it


def linearize_step(trace: jvp.JvpTrace, primitive: Primitive, primals: list[Any],
                   tangents: list[Any], params: dict[str, Any]) -> Any:
    """What `trace` would make of a primitive; None where the rules have to be performed."""
    if primitive.nested or primitive.many or current.get() is not eval_trace:
        return None
    recorder = trace.recorder
    signature: list[Any] = [primitive, settings()]
    for x, t in zip(primals, tangents, strict=True):
        kind = type(x)
        if kind in OWNERS:
            signature += (OWNERS[kind], x.shape, x.dtype, t is None)
        elif kind in SCALARS:
            # By value, -0.0 apart from 0.0: rules decide by it, and as a literal it stays weak.
            signature += (kind, x if x else repr(x), t is None)
        else:  # a tracer of an outer transformation
            return None
        if t is not None and t.owner is not recorder:
            return None
    if params:
        signature += params  # the names too: callers write them in any order
        signature += params.values()
    key = tuple(signature)
    try:
        pieces = _pieces.get(key, 0)
    except TypeError:  # a parameter that cannot be compared
        return None
    if type(pieces) is not Pieces:
        pieces = _meet(key, pieces, primitive, primals, tangents, params)
        if pieces is None:
            return None
    try:
        arrays = [x for x in primals if type(x) not in SCALARS]
        out, *residuals = pieces.backend.call(pieces.forward, arrays)
    except Exception:  # the rules raise it again, with the operands and the user's line
        return None
    inputs = [recorder.atom(r) for r in residuals]
    inputs += [t.variable for t in tangents if t is not None]
    var = Var(pieces.out_type)
    recorder.equations.append(Equation(step, inputs, pieces.params, [var]))
    return jvp.JvpTracer(trace, out, RecordTracer(recorder, var))


def _meet(key: Any, met: Any, primitive: Primitive, primals: list[Any], tangents: list[Any],
          params: dict[str, Any]) -> Pieces | None:
    """Count a meeting; compile at the last one."""
    if met is None:
        return None
    if len(_pieces) >= LARGEST:
        _pieces.clear()
    if met + 1 < MEETINGS:
        _pieces[key] = met + 1
        return None
    pieces = _pieces[key] = _compile(primitive, primals, tangents, params)
    return pieces


def _compile(primitive: Primitive, primals: list[Any], tangents: list[Any],
             params: dict[str, Any]) -> Pieces | None:
    """The pieces for a signature; None if its output does not move or its rules need values."""
    config = settings()
    if config.debug_nans or config.debug_infs or config.key_reuse == "error":
        return None  # these modes look at each operation
    arrays = [x for x in primals if type(x) not in SCALARS]
    moving = tuple([t is not None for x, t in zip(primals, tangents, strict=True)
                    if type(x) not in SCALARS])
    if sum(moving) < sum(t is not None for t in tangents):
        return None
    backend = backend_of(primals)

    def perform(*xs: Any) -> list[Any]:
        values = iter(xs)
        return [primitive(*[x if type(x) in SCALARS else next(values) for x in primals], **params)]

    try:
        program = record(perform, [type_of(x) for x in arrays])
        forward, linear, n, moved = linearize_program(_unsourced(program), moving)
        if n != 1 or moved != (True,) or linear.consts:
            return None
        count = len(linear.inputs) - sum(moving)
        holes = tuple([i >= count for i in range(len(linear.inputs))])
        backward = transpose_program(_unsourced(linear), holes, (True,))
        compiled = backend.compile(_unsourced(forward)), backend.compile(_unsourced(backward))
    except Exception:  # no rule, or one that looks at values: performing it says which
        return None
    linear.derived["pull"] = Pull(backend, compiled[1], count)
    return Pieces(backend, compiled[0], {"program": linear}, program.output_types[0])


def _unsourced(program: Program) -> Program:
    """The lines of the first meeting are not those of the others."""
    for eqn in program.equations:
        eqn.source = None
    return program


jvp.shortcut = linearize_step
