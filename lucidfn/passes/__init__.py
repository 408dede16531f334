"""Programs to better programs of the same meaning, NaN, inf and signed zeros included."""

from __future__ import annotations

from collections.abc import Callable

from lucidfn.control.call import recompute
from lucidfn.core.ir import Equation, Program
from lucidfn.passes.cse import cse
from lucidfn.passes.dce import dce
from lucidfn.passes.fold import fold
from lucidfn.passes.inline import inline
from lucidfn.passes.loops import loops
from lucidfn.passes.simplify import simplify

PASSES: tuple[Callable[[Program], Program], ...] = (inline, dce, fold, simplify, cse, dce)


def optimize(program: Program) -> Program:
    """All passes, in order; after loops have been rewritten, once more for what they left."""
    for apply in PASSES:
        program = apply(program)
    rewritten = loops(program, optimize)
    if rewritten is not program:
        for apply in PASSES:
            rewritten = apply(rewritten)
    return rewritten


def unfold(program: Program) -> Program:
    """An optimised program with what it computes again, for checkpoints, as equations of its own.

    The last pass: cse would merge them with those of the first time.
    """
    if not any(e.primitive is recompute for e in program.equations):
        return program
    equations = [e if e.primitive is not recompute else Equation(
        e.primitive, e.inputs, {**e.params, "program": unfold(optimize(e.params["program"]))},
        e.outputs, e.source) for e in program.equations]
    return inline(program.replace(equations=equations), {recompute})


__all__ = ["PASSES", "cse", "dce", "fold", "inline", "loops", "optimize", "simplify", "unfold"]
