"""Solutions of equations, differentiated through the equation and not through the solver.

    linear_solve   x with  matvec(x) = b        dx = matvec^-1 (db - dmatvec(x))
    root           x with  f(x) = 0             dx = -(df/dx)^-1 df

All functions are programs that take the same `consts` in front, and `program`, the solver, is what
runs. Each transformation gives a solve again, of transformed programs, so that all of them nest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.control.call import call
from lucidfn.core.ir import Program, unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.source import describe_line, here
from lucidfn.core.trace import shape_of
from lucidfn.errors import MissingRuleError
from lucidfn.ops.elementwise import neg, sub
from lucidfn.ops.shape import broadcast_to, zeros
from lucidfn.transforms.jvp import jvp
from lucidfn.transforms.programs import batch_program, transpose_program
from lucidfn.types import ArrayType


def spread(size: int, batched: Sequence[bool], args: Sequence[Any],
           consts: int) -> tuple[list[Any], tuple[bool, ...]]:
    """The operands with all but the consts batched, and which of the consts are."""
    full = [x if b or i < consts else broadcast_to(x, shape=(size, *shape_of(x)))
            for i, (x, b) in enumerate(zip(args, batched, strict=True))]
    return full, tuple(batched[:consts])


def filled(parts: Sequence[Any], types: Sequence[ArrayType]) -> list[Any]:
    """Tangents or cotangents with arrays of zeros for None."""
    return [zeros(t.shape, t.dtype) if x is None else x
            for x, t in zip(parts, types, strict=True)]


class LinearSolve(Primitive):
    """x = matvec^-1 b: operands (consts, b), outputs (x, what else the solver returns).

    `program`: consts, b -> x, more. `matvec`: consts, x -> like b. `transpose_solve`: consts, ct ->
    like x, more, for the transposed operator; None if there is none.
    """

    name, many, nested = "linear_solve", True, True

    def infer(self, *types: ArrayType, program: Program, matvec: Program,
              transpose_solve: Program | None, consts: int, symmetric: bool) -> list[ArrayType]:
        return program.output_types

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Program, matvec: Program,
                  transpose_solve: Program | None, consts: int,
                  symmetric: bool) -> tuple[list[Any], list[Any]]:
        how = {"program": program, "matvec": matvec, "transpose_solve": transpose_solve,
               "consts": consts, "symmetric": symmetric}
        outs = self(*args, **how)
        n = len(args) - consts
        rhs = list(tangents[consts:])
        if any(t is not None for t in tangents[:consts]):
            moved = jvp(matvec, [*args[:consts], *outs[:n]],
                        [*tangents[:consts], *[None] * n])[1]
            rhs = [a if b is None else neg(b) if a is None else sub(a, b)
                   for a, b in zip(rhs, moved, strict=True)]
        if all(t is None for t in rhs):
            return outs, [None] * len(outs)
        rhs = filled(rhs, matvec.output_types)
        return outs, [*self(*args[:consts], *rhs, **how)[:n], *[None] * (len(outs) - n)]

    def transpose(self, cts: Sequence[Any], *args: Any, program: Program, matvec: Program,
                  transpose_solve: Program | None, consts: int, symmetric: bool) -> list[Any]:
        if transpose_solve is None:
            raise MissingRuleError(
                f"custom_linear_solve at {describe_line(here())}: reverse mode solves with the "
                "transposed operator; give transpose_solve=, or symmetric=True if it is its own "
                "transpose")
        if any(unknown(a) for a in args[:consts]):
            raise MissingRuleError("a solution is not linear in what the operator closes over; "
                                   "linearize it first")
        n = len(args) - consts
        back = matvec if symmetric else transpose_program(
            matvec, (False,) * consts + (True,) * n, (True,) * n)
        cts = filled(cts[:n], matvec.input_types[consts:])
        found = self(*args[:consts], *cts, program=transpose_solve, matvec=back,
                     transpose_solve=program, consts=consts, symmetric=symmetric)
        return [*[None] * consts, *[ct if unknown(b) else None for ct, b in
                                    zip(found, args[consts:], strict=False)]]

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Program,
              matvec: Program, transpose_solve: Program | None, consts: int,
              symmetric: bool) -> list[Any]:
        full, flags = spread(size, batched, args, consts)
        flags += (True,) * (len(args) - consts)
        back = None if transpose_solve is None else batch_program(transpose_solve, flags, size)
        return self(*full, program=batch_program(program, flags, size),
                    matvec=batch_program(matvec, flags, size), transpose_solve=back,
                    consts=consts, symmetric=symmetric)


class Root(Primitive):
    """x with f(x) = 0: operands (consts, guess), outputs (x, what else the solver returns).

    `program`: consts, guess -> x, more. `f`: consts, x -> like x. `tangent_solve`: consts, x, b ->
    the solution of the linear equation (df/dx) y = b, linear in b.
    """

    name, many, nested = "root", True, True

    def infer(self, *types: ArrayType, program: Program, f: Program, tangent_solve: Program,
              consts: int) -> list[ArrayType]:
        return program.output_types

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Program, f: Program,
                  tangent_solve: Program, consts: int) -> tuple[list[Any], list[Any]]:
        outs = self(*args, program=program, f=f, tangent_solve=tangent_solve, consts=consts)
        n = len(args) - consts
        moved: Sequence[Any] = [None] * n
        if any(t is not None for t in tangents[:consts]):
            moved = jvp(f, [*args[:consts], *outs[:n]], [*tangents[:consts], *[None] * n])[1]
        if all(t is None for t in moved):
            return outs, [None] * len(outs)
        rhs = [neg(t) for t in filled(moved, f.output_types)]
        found = call(*args[:consts], *outs[:n], *rhs, program=tangent_solve, name="tangent_solve")
        return outs, [*found, *[None] * (len(outs) - n)]

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Program, f: Program,
              tangent_solve: Program, consts: int) -> list[Any]:
        full, flags = spread(size, batched, args, consts)
        n = len(args) - consts
        once = flags + (True,) * n
        return self(*full, program=batch_program(program, once, size),
                    f=batch_program(f, once, size), consts=consts,
                    tangent_solve=batch_program(tangent_solve, once + (True,) * n, size))


linear_solve, root = LinearSolve(), Root()

__all__ = ["LinearSolve", "Root", "linear_solve", "root"]
