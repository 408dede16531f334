"""The NumPy backend: kernels on ndarrays, run with floating point warnings off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar
from types import FrameType
from typing import Any

import ml_dtypes
import numpy as np

from lucidfn.backends.numpy.branches import stepwise
from lucidfn.backends.numpy.compile import FILE, Compiled, compile_program, equation_at
from lucidfn.backends.numpy.control import run_scan
from lucidfn.backends.numpy.kernels import KERNELS
from lucidfn.backends.numpy.lifetimes import Lifetimes, lifetimes_of
from lucidfn.control import call as calls
from lucidfn.control import callback, collectives, custom
from lucidfn.control.implicit import linear_solve, root
from lucidfn.control.scan import scan
from lucidfn.control.steps import step
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.core.source import describe_line
from lucidfn.core.trace import BACKENDS, OWNERS, Backend, type_of
from lucidfn.errors import LucidError
from lucidfn.types import SCALARS, bfloat16, is_inexact


class _Quiet(threading.local):
    """`run(f, *args)` calls f where floating point warnings are off.

    Entering a context is much cheaper than `np.errstate`; each thread has a context of its own.
    A context cannot be entered twice: `inside` tells a kernel that calls the library again (a
    user's, or a signal handler) to go on without.
    """

    def __init__(self) -> None:
        context = Context()
        context.run(np.seterr, all="ignore")
        context.run(_inside.set, True)
        self.run = context.run


_inside: ContextVar[bool] = ContextVar("lucidfn_quiet", default=False)
_quiet = _Quiet()


def _quietly(f: Callable[..., Any], *args: Any, **params: Any) -> Any:
    return f(*args, **params) if _inside.get() else _quiet.run(f, *args, **params)


class NumpyBackend(Backend):
    """Runs primitives on ndarrays."""

    name, device = "numpy", "cpu"
    kernels = KERNELS

    def run(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if primitive.nested:
            try:
                return self.kernel(primitive)(*args, **params)
            except Exception as error:
                better = located(error)
                if better is error:
                    raise
                raise better from error
        if args and (type(args[-1]) in SCALARS or type(args[0]) in SCALARS):
            arrays = [a for a in args if type(a) not in SCALARS]
            if not arrays:
                return self.of_scalars(primitive, args, params)
            if arrays[0].dtype == bfloat16:  # NumPy widens it where it meets a Python float
                args = [np.asarray(a, bfloat16) if type(a) in SCALARS else a for a in args]
        kernel = KERNELS.get(primitive)
        if kernel is None:
            raise primitive.missing("NumPy kernel", "runs it")
        try:
            return _quiet.run(kernel, *args, **params)
        except RuntimeError:
            if not _inside.get():
                raise
        return kernel(*args, **params)  # it was not entered: see _Quiet

    def of_scalars(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """What is computed of scalars alone is a scalar: it stays weak."""
        out = _quietly(self.kernel(primitive), *map(np.asarray, args), **params)
        weak = primitive.infer(*map(type_of, args), **params).weak
        return out.item() if weak else np.asarray(out)

    @staticmethod
    def kernel(primitive: Primitive) -> Any:
        """The kernel of a primitive; MissingRuleError if it has none."""
        kernel = KERNELS.get(primitive)
        if kernel is None:
            raise primitive.missing("NumPy kernel", "runs it")
        return kernel

    def compile(self, program: Program, donated: Sequence[int] = ()) -> Compiled:
        return compile_program(program, donated)

    def memory(self, compiled: Compiled) -> Lifetimes:
        return lifetimes_of(compiled)

    def call(self, compiled: Compiled, args: Sequence[Any], given: bool = False) -> Sequence[Any]:
        """Run a compiled program with floating point warnings off."""
        try:
            if compiled.calls_back:  # it may run user code: not in the context of the kernels
                with np.errstate(all="ignore"):
                    return compiled.function(*args)
            return _quietly(compiled.function, *args)
        except Exception as error:
            raise located(error) from error

    def asarray(self, value: Any, dtype: Any = None) -> np.ndarray:
        return np.asarray(value, dtype)

    def has_nan(self, value: Any, infs: bool = False) -> bool:
        if not is_inexact(value.dtype):
            return False
        found = np.isnan(value).any()
        return bool(found or (infs and np.isinf(value).any()))


def located(error: Exception) -> Exception:
    """An error of a compiled program with the primitive and the user's line that it came from."""
    if getattr(error, "_located", False) or isinstance(error, (LucidError, FloatingPointError)):
        return error
    trace, eqn, rows = error.__traceback__, None, ""
    while trace is not None:
        frame = trace.tb_frame
        rows = rows_of(frame) or rows + step_of(frame)
        eqn = equation_at(frame.f_code, frame.f_globals, trace.tb_lineno) or eqn
        trace = trace.tb_next
    if eqn is None or eqn.primitive.nested:
        return error
    try:
        better = type(error)(f"{eqn.primitive.name} at {describe_line(eqn.source)}: {error}{rows}")
    except Exception:
        return error
    better._located = True  # type: ignore[attr-defined]
    return better


def rows_of(frame: FrameType) -> str:
    """Which rows a running loop over blocks was at; kernels count from the start of the block."""
    code = frame.f_code
    if code.co_filename != FILE or not code.co_name.startswith("rows"):
        return ""
    found = frame.f_locals
    if not found.get("k"):
        return ""
    return f" (in the block of rows {found['k']} to {found['e'] - 1}, counted from its start)"


def step_of(frame: FrameType) -> str:
    """Which step a running loop was at, counted from 0."""
    code = frame.f_code
    if code is stepwise.__code__ and "step" in frame.f_locals:
        return f" (in step {frame.f_locals['step']} of while)"
    if code.co_filename != FILE or not code.co_name.startswith(("scan", "while")):
        return ""
    step = frame.f_locals.get("i")
    return f" (in step {step} of {code.co_name.rstrip('0123456789')})" if step is not None else ""


def run_program(*args: Any, program: Program, name: str = "", policy: Any = None) -> list[Any]:
    """Kernel of calls: compile on first use."""
    return backend.call(compile_program(program), args)


def run_custom(*args: Any, program: Any, **rules: Any) -> Any:
    """Kernel of functions with rules of their own: nothing transforms them here."""
    return run_program(*args, program=program) if isinstance(program, Program) else program(*args)


for _call in (calls.call, calls.checkpoint, calls.recompute, step):
    KERNELS[_call] = run_program
for _collective in (collectives.psum, collectives.psum_scatter, collectives.pmax, collectives.pmin,
                    collectives.all_gather, collectives.all_to_all, collectives.ppermute,
                    collectives.axis_index):
    KERNELS[_collective] = _collective.unbound
KERNELS[custom.custom_jvp_call] = KERNELS[custom.custom_vjp_call] = run_custom
KERNELS[custom.custom_vmap_call] = KERNELS[linear_solve] = KERNELS[root] = run_custom
KERNELS[custom.custom_vjp_linear] = custom.run_linear
KERNELS[callback.debug_callback] = KERNELS[callback.pure_callback] = callback.run_callback
KERNELS[scan] = run_scan
KERNELS[callback.io_callback] = callback.run_callback

backend = NumpyBackend()
BACKENDS["cpu"] = backend
for _scalar in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8",
                "c16"):
    OWNERS[np.dtype(_scalar).type] = backend
OWNERS[np.ndarray] = OWNERS[ml_dtypes.bfloat16] = OWNERS[np.void] = backend
