"""Whether an operand that lives elsewhere may follow the arrays of an operation.

Numbers, NumPy's own arrays and what the library makes by itself (a mask, a range of positions) are
constants: they are copied to where they are needed. An `Array` that the user passed lives
somewhere, and moving it is the user's to say.
"""

from __future__ import annotations

import inspect
import sys
from types import FrameType, MemberDescriptorType
from typing import Any

import numpy as np

from lucidfn.backends.mlx.values import MlxArray
from lucidfn.core.primitive import local_names
from lucidfn.core.source import is_internal
from lucidfn.core.trace import Tracer

LOOKED_AT = 1000  # leaves of the arguments of a call
VARARGS, VARKEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


def check_placement(device: str, x: Any, what: str) -> None:
    """Raise the error for mixed devices, unless x may follow to the device."""
    if isinstance(x, MlxArray):
        raise mixed(device, x.backend.device, x, what)
    if getattr(x, "shape", ()):
        placed = placed_by_user()
        if placed is not None:
            raise mixed(device, "cpu", placed, what)


def mixed(device: str, other: str, x: Any, what: str) -> ValueError:
    name = local_names([x])[0] or "array"
    return ValueError(
        f"{what} got arrays on the devices {device!r} and {other!r}: one operation works on one "
        f"device. Move the one of shape {x.shape} that lives on {other!r}: "
        f"lf.device_put({name}, {device!r}) or {name}.to({device!r})")


def placed_by_user() -> Any:
    """The value of an `Array` on the host among the arguments of the public function that runs."""
    frame = public_frame()
    if frame is None:
        return None
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & VARARGS) + bool(
        code.co_flags & VARKEYWORDS)
    todo = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
    for value in todo:  # grows while it is walked
        kind = type(value)
        if kind is tuple or kind is list:
            todo += value
        elif kind is dict:
            todo += value.values()
        elif isinstance(getattr(kind, "value", None), MemberDescriptorType) and \
                not isinstance(value, Tracer):  # the slot of an Array
            raw = getattr(value, "value", None)
            if type(raw) is np.ndarray and raw.shape:
                return raw
        if len(todo) > LOOKED_AT:
            break
    return None


def public_frame() -> FrameType | None:
    """The frame of the function of the library that the user's code has called."""
    frame, inner = sys._getframe(1), None
    while frame is not None and is_internal(frame.f_code):
        frame, inner = frame.f_back, frame
    return inner
