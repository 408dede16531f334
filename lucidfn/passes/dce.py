"""Dead code elimination: drop what nobody reads."""

from __future__ import annotations

from lucidfn.core.ir import Program
from lucidfn.transforms.linearize import drop_dead


def dce(program: Program) -> Program:
    """Leave out equations (but those with an effect) and constants that no output needs."""
    return drop_dead(program)
