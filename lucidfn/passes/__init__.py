"""Programs to better programs of the same meaning, NaN, inf and signed zeros included."""

from __future__ import annotations

from collections.abc import Callable

from lucidfn.core.ir import Program
from lucidfn.passes.cse import cse
from lucidfn.passes.dce import dce
from lucidfn.passes.fold import fold
from lucidfn.passes.inline import inline
from lucidfn.passes.simplify import simplify

PASSES: tuple[Callable[[Program], Program], ...] = (inline, dce, fold, simplify, cse, dce)


def optimize(program: Program) -> Program:
    """All passes, in order."""
    for apply in PASSES:
        program = apply(program)
    return program


__all__ = ["PASSES", "cse", "dce", "fold", "inline", "optimize", "simplify"]
