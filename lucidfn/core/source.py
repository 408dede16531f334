"""Which line of the user's code an operation comes from."""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_internal: dict[CodeType, bool] = {}
_texts: dict[tuple[int, int], tuple[CodeType, str]] = {}  # lines are looked up once


class Source(NamedTuple):
    """A place in the user's code; the line number is worked out only when it is asked for."""

    code: CodeType
    instruction: int

    @property
    def line(self) -> int:
        for start, stop, line in self.code.co_lines():
            if start <= self.instruction < stop and line is not None:
                return line
        return self.code.co_firstlineno

    @property
    def file(self) -> str:
        return self.code.co_filename

    def __str__(self) -> str:
        key = id(self.code), self.instruction
        known = _texts.get(key)
        if known is None or known[0] is not self.code:
            name = "<notebook>" if "ipykernel" in self.file else os.path.basename(self.file)
            known = _texts[key] = self.code, f"{name}:{self.line}"
        return known[1]


def is_internal(code: CodeType) -> bool:
    known = _internal.get(code)
    if known is None:
        path = code.co_filename
        known = path.startswith((_PACKAGE, "<frozen", "<lucidfn"))
        _internal[code] = known
    return known


def user_frame() -> FrameType | None:
    """The innermost frame that is outside the library."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_internal(frame.f_code):
        frame = frame.f_back
    return frame


def here() -> Source | None:
    """The user's line that is running."""
    frame = sys._getframe(1)
    internal = _internal
    while frame is not None:
        code = frame.f_code
        known = internal.get(code)
        if not (is_internal(code) if known is None else known):
            return Source(code, frame.f_lasti)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def describe_line(source: Source | None) -> str:
    return "an unknown line" if source is None else str(source)
