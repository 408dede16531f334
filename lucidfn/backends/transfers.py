"""Copies between devices: counted, and reported where `lf.config.log_transfers` is set.

What is counted: arrays that are copied to a device, values that the host reads, and the primitives
that have no kernel on a device and run on the CPU.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

from lucidfn.backends.numpy.compile import equation_at
from lucidfn.config import settings
from lucidfn.core.source import describe_line, here, is_internal
from lucidfn.core.trace import current

counts: Counter[str] = Counter()


def note(what: str, text: str, *args: Any) -> None:
    """Count a transfer under a name; report `text.format(*args)` with the user's line if wanted."""
    counts[what] += 1
    if settings().log_transfers:
        print(f"lucidfn, {user_line()}: {text.format(*args)}", file=sys.stderr)


def user_line() -> str:
    """The line that asked for what runs now; of a compiled program, the line of the operation."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and is_internal(frame.f_code):
        eqn = equation_at(frame.f_code, frame.f_globals, frame.f_lineno)
        if eqn is not None and eqn.source is not None:
            return describe_line(eqn.source)
        frame = frame.f_back
    return describe_line(current.get().source or here())
