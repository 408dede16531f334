"""Applying a program as one operation: what `jit` leaves in the IR, and `checkpoint`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.control.saving import Policy, plan
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import record
from lucidfn.core.trace import type_of
from lucidfn.transforms.programs import (
    batch_program_where,
    derived,
    holes_of,
    linearize_program,
    transpose_program,
)
from lucidfn.transforms.vmap import Shared
from lucidfn.types import ArrayType


class Call(Primitive):
    """Apply a program; what `jit` leaves in the IR."""

    many, nested = True, True

    def infer(self, *types: ArrayType, program: Program, name: str = "") -> list[ArrayType]:
        return program.output_types

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Program,
                  name: str = "") -> tuple[list[Any], list[Any]]:
        moving = tuple([t is not None for t in tangents])
        forward, linear, n, moved = linearize_program(program, moving)
        out = self(*args, program=forward, name=name)
        outs, residuals = out[:n], out[n:]
        got = iter(self(*residuals, *[t for t in tangents if t is not None], program=linear,
                        name=name) if any(moved) else ())
        return outs, [next(got) if m else None for m in moved]

    def transpose(self, cts: Sequence[Any], *args: Any, program: Program,
                  name: str = "") -> list[Any]:
        holes = holes_of(args)
        backward = transpose_program(program, holes, tuple([ct is not None for ct in cts]))
        in_cts = iter(self(*[a for a, h in zip(args, holes, strict=True) if not h],
                           *[ct for ct in cts if ct is not None], program=backward, name=name))
        return [next(in_cts) if h else None for h in holes]

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Program,
              name: str = "") -> list[Any]:
        together, varies = batch_program_where(program, tuple(batched), size)
        outs = self(*args, program=together, name=name)
        return [o if v else Shared(o) for o, v in zip(outs, varies, strict=True)]


class Checkpoint(Call):
    """A call whose derivative keeps the inputs, and what a policy says, and runs the rest of the
    forward pass again."""

    def infer(self, *types: ArrayType, program: Program, name: str = "",
              policy: Policy | None = None) -> list[ArrayType]:
        return program.output_types

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Program, name: str = "",
                  policy: Policy | None = None) -> tuple[list[Any], list[Any]]:
        moving = tuple([t is not None for t in tangents])
        found = plan(program, moving, policy, CALLS)
        options = {"name": name} if policy is None else {"name": name, "policy": policy}
        outs = self(*args, program=found.forward, **options)
        outs, kept = outs[:found.count], outs[found.count:]
        split = len(args) + len(kept)

        def tangent_of(*xs: Any) -> list[Any]:
            return found.linear(*found.again(*xs[:split]), *xs[split:])

        moved_in = [t for t in tangents if t is not None]
        again = derived(program, ("again", moving, policy), lambda: record(
            tangent_of, [*program.input_types, *map(type_of, kept), *map(type_of, moved_in)],
            what="checkpoint"))
        got = iter(recompute(*args, *kept, *moved_in, program=again, name=name)
                   if any(found.moved) else ())
        return outs, [next(got) if m else None for m in found.moved]

    def transpose(self, cts: Sequence[Any], *args: Any, program: Program, name: str = "",
                  policy: Policy | None = None) -> list[Any]:
        return super().transpose(cts, *args, program=program, name=name)

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Program,
              name: str = "", policy: Policy | None = None) -> list[Any]:
        together, varies = batch_program_where(program, tuple(batched), size)
        options = {"name": name} if policy is None else {"name": name, "policy": policy}
        outs = self(*args, program=together, **options)
        return [o if v else Shared(o) for o, v in zip(outs, varies, strict=True)]


call, checkpoint = Call("call"), Checkpoint("checkpoint")
recompute = Call("recompute")  # a forward pass that runs again, for its residuals
CALLS = frozenset({call})  # what policies look into
