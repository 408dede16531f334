"""Programs to Python source (placeholder evaluator while the compiler is written)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn.core.ir import Program
from lucidfn.core.trace import current, eval_trace


def compile_program(program: Program) -> Callable[..., list[Any]]:
    def run(*args: Any) -> list[Any]:
        token = current.set(eval_trace)
        try:
            with np.errstate(all="ignore"):
                return program(*args)
        finally:
            current.reset(token)
    return run
