"""Programs to programs: linearized, transposed and batched forms, each made once and kept.

A form is kept on the program it was made from, and lives no longer than that program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucidfn.core.axes import batched_axis
from lucidfn.core.ir import Program, close, unknown
from lucidfn.core.record import RecordTrace, record
from lucidfn.core.trace import type_of
from lucidfn.ops.shape import zeros
from lucidfn.transforms.jvp import jvp
from lucidfn.transforms.linearize import drop_dead, transpose
from lucidfn.transforms.vmap import INHERIT, batch_flat
from lucidfn.types import ArrayType

FORMS = 128  # kept on a program: a batch size that changes all the time would fill the memory


def derived(program: Program, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """The form of a program under a key, made on first use; beyond FORMS the oldest is dropped."""
    if batched_axis.get() is not None:  # in a batch rule: what collectives mean there
        key = (*key, "axis", batched_axis.get())
    forms = program.derived
    form = forms.get(key)
    if form is None:
        form = make()
        if len(forms) >= FORMS:
            forms.pop(next(iter(forms)), None)
        forms[key] = form
    return form


def linearize_program(program: Program,
                      moving: tuple[bool, ...]) -> tuple[Program, Program, int, tuple[bool, ...]]:
    """(forward, linear, n, moved) for tangents that move.

    forward: inputs -> n outputs, then residuals. linear: residuals, moving tangents -> the
    tangents of those outputs that move; `moved` says which.
    """
    return derived(program, ("linearize", moving), lambda: _linearize(program, moving))


def _linearize(program: Program, moving: tuple[bool, ...]) -> Any:
    state: list[Any] = []

    def forward(*args: Any) -> list[Any]:
        trace = RecordTrace("grad")
        tangents = [trace.new_input(type_of(x)._replace(weak=False)) if m else None
                    for x, m in zip(args, moving, strict=True)]
        outs, out_tangents = jvp(program, args, tangents)
        linear = drop_dead(trace.finish([t for t in out_tangents if t is not None]))
        trace.alive = False
        residuals, linear = close(linear)
        state[:] = linear, tuple(t is not None for t in out_tangents)
        return [*outs, *residuals]

    fwd = record(forward, program.input_types, what="grad")
    return fwd, state[0], len(program.outputs), state[1]


def batch_program(program: Program, batched: tuple[bool, ...], size: int,
                  axis_name: Any = INHERIT) -> Program:
    """The program on batches; every output is batched."""
    axis_name = batched_axis.get() if axis_name is INHERIT else axis_name

    def make() -> Program:
        types = [ArrayType((size, *v.type.shape), v.type.dtype) if b else v.type
                 for v, b in zip(program.inputs, batched, strict=True)]
        return record(lambda *args: batch_flat(program, args, batched, size,
                                               axis_name=axis_name)[0], types, what="vmap")
    return derived(program, ("batch", batched, size, axis_name), make)


def batch_program_where(program: Program, batched: tuple[bool, ...], size: int,
                        axis_name: Any = INHERIT) -> tuple[Program, list[bool]]:
    """The program on batches, and which outputs are batched: the others are the same in all."""
    axis_name = batched_axis.get() if axis_name is INHERIT else axis_name

    def make() -> tuple[Program, list[bool]]:
        types = [ArrayType((size, *v.type.shape), v.type.dtype) if b else v.type
                 for v, b in zip(program.inputs, batched, strict=True)]
        varies: list[bool] = []

        def lanes(*args: Any) -> list[Any]:
            outs, varies[:] = batch_flat(program, args, batched, size, axis_name=axis_name,
                                         fill=False)
            return outs

        return record(lanes, types, what="vmap"), varies
    return derived(program, ("batch where", batched, size, axis_name), make)


def transpose_program(program: Program, holes: tuple[bool, ...],
                      live: tuple[bool, ...]) -> Program:
    """known inputs, live cotangents -> cotangents of the holes."""
    def make() -> Program:
        known = [v.type for v, h in zip(program.inputs, holes, strict=True) if not h]
        out_types = [a.type for a, alive in zip(program.outputs, live, strict=True) if alive]

        def backward(*args: Any) -> list[Any]:
            values, cts = iter(args[:len(known)]), iter(args[len(known):])
            full = [v if h else next(values) for v, h in zip(program.inputs, holes, strict=True)]
            in_cts = transpose(program, full, [next(cts) if alive else None for alive in live])
            wanted = [v for v, h in zip(program.inputs, holes, strict=True) if h]
            return [zeros(v.type.shape, v.type.dtype) if ct is None else ct
                    for v, ct in zip(wanted, in_cts, strict=True)]

        return record(backward, [*known, *out_types], what="grad")
    return derived(program, ("transpose", holes, live), make)


def holes_of(args: Sequence[Any]) -> tuple[bool, ...]:
    return tuple([unknown(a) for a in args])


__all__ = ["batch_program", "batch_program_where", "derived", "holes_of", "linearize_program",
           "transpose_program"]
