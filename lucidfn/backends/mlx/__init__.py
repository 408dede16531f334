"""The MLX backend: kernels on MLX's arrays, one backend object for each device that it has.

MLX computes lazily, and nobody has to know: a compiled step starts to compute all of its outputs
when it is called, and eager code starts whenever enough operations have piled up. Reading a value
on the host waits for it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx import checks, control
from lucidfn.backends.mlx.arrays import NP_DTYPES, Keys, from_numpy, to_numpy
from lucidfn.backends.mlx.compile import (
    Compiled,
    at_line,
    bits_of,
    checks_values,
    compile_program,
    kernel_of,
)
from lucidfn.backends.mlx.kernels import KERNELS
from lucidfn.backends.mlx.placement import check_placement
from lucidfn.backends.mlx.values import MlxArray
from lucidfn.backends.numpy import backend as numpy_backend
from lucidfn.backends.numpy import located
from lucidfn.backends.transfers import note
from lucidfn.config import settings
from lucidfn.control import call as calls
from lucidfn.control import callback, collectives, custom
from lucidfn.control.branches import switch, switch_rows
from lucidfn.control.implicit import linear_solve, root
from lucidfn.control.scan import scan
from lucidfn.control.steps import step
from lucidfn.control.whiles import loop
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.core.source import here
from lucidfn.core.trace import ADOPTED, BACKENDS, FOREIGN, OWNERS, Backend, current, type_of
from lucidfn.types import SCALARS, complex128, dtype_name, float64, is_inexact

PENDING_OPERATIONS = 128  # eager operations that are recorded before they are started
PENDING_BYTES = 1 << 28
STEP = 16  # equations from which a compiled program starts its outputs by itself
CHECKS = 64  # that may wait to be read
# One thread at a time records or starts a computation: the streams may be used from any thread,
# which MLX allows if no two use them at once.
LOCK = threading.RLock()


def read_checks(count: int | None = None) -> None:
    """Read the pending checks, or the first ones. What follows the first error is not reported."""
    try:
        checks.read(count)
    except Exception:
        checks.forget()
        raise


class MlxBackend(Backend):
    """Runs primitives on the arrays of one MLX device."""

    name = "mlx"

    def __init__(self, device: str, stream: mx.Stream, *, compiles: bool,
                 unsupported: frozenset[np.dtype]):
        self.device, self.stream, self.unsupported = device, stream, unsupported
        self.compiles = compiles  # whether mx.compile is worth its time here
        self.array: type[MlxArray] = type(
            "GpuArray" if device == "gpu" else "MlxCpuArray", (MlxArray,),
            {"__slots__": (), "backend": self})
        self.kernels = KERNELS  # of both devices
        self.pending: list[MlxArray] = []
        self.pending_bytes = 0

    def about(self) -> str:
        """What the device is, in MLX's words."""
        return str(mx.device_info(self.stream.device).get("device_name", "unknown"))

    # ------------------------------------------------------------------ values in and out

    def wrap(self, data: Any) -> MlxArray:
        """What a kernel returned as a raw value."""
        if type(data) is Keys:
            return self.array(data, data.shape, data.dtype)
        dtype = NP_DTYPES[data.dtype]
        if dtype in self.unsupported:
            raise self.refusal(dtype)
        return self.array(data, data.shape, dtype)

    def refusal(self, dtype: np.dtype) -> TypeError:
        narrow = "complex64" if dtype == complex128 else "float32"
        return TypeError(f"the device {self.device!r} has no {dtype_name(dtype)} arrays; convert "
                         f"to {narrow} first (x.astype({narrow!r})), or compute on the device "
                         "'cpu', which is NumPy (x.to('cpu'))")

    def asarray(self, value: Any, dtype: Any = None, use: str = "") -> MlxArray:
        """An array of this device from an ndarray, a number, nested lists, another device's."""
        if isinstance(value, MlxArray):
            if value.backend is self:
                return value
            value = value.__array__()
        value = np.asarray(value, dtype)
        if value.dtype in self.unsupported or value.dtype == complex128:
            raise self.refusal(value.dtype)
        if value.shape:
            note(f"to {self.device}", "{} was copied to {!r}{}", type_of(value), self.device,
                 use and f" for {use}")
        with LOCK, mx.stream(self.stream):
            return self.array(from_numpy(value), value.shape, value.dtype)

    def to_host(self, x: MlxArray) -> np.ndarray:
        """The value as a read-only ndarray, when it and all that has been started is there."""
        note("to cpu", "{} was read from {!r}", type_of(x), self.device)
        with LOCK, mx.stream(self.stream):
            self.start_pending()
            value = to_numpy(x.data)
            read_checks()
        value.flags.writeable = False
        return value

    def data_of(self, args: Sequence[Any], what: str = "") -> list[Any]:
        """The operands as kernels take them. NumPy's arrays follow; other devices' do not."""
        array, found = self.array, []
        for x in args:
            kind = type(x)
            if kind is array:
                found.append(x.data)
            elif kind in SCALARS:
                found.append(x)
            else:
                check_placement(self.device, x, what)
                found.append(self.asarray(x, use=what).data)
        return found

    # ------------------------------------------------------------------ eager operations

    def run(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        nested = NESTED.get(primitive)
        if nested is not None:
            try:
                return nested(self, *args, **params)
            except Exception as error:
                better = located(error)
                if better is error:
                    raise
                raise better from error
        if params.get("dtype") in self.unsupported:
            raise self.refusal(params["dtype"])
        kernel = kernel_of(primitive)
        with LOCK, mx.stream(self.stream):
            data = self.data_of(args, primitive.name)
            if checks_values(primitive, params):
                kernel = at_line(kernel, primitive, current.get().source or here())
            out = kernel(*data, **params)
            outs = [self.wrap(x) for x in out] if primitive.many else [self.wrap(out)]
            self.later(outs)
        return outs if primitive.many else outs[0]

    def later(self, outs: Sequence[MlxArray]) -> None:
        """Remember results of eager operations; start them all when there are enough."""
        pending = self.pending
        pending += outs
        for x in outs:
            self.pending_bytes += x.data.nbytes
        if len(pending) >= PENDING_OPERATIONS or self.pending_bytes > PENDING_BYTES:
            self.start_pending()

    def start_pending(self) -> None:
        """Start what somebody still holds; what nobody holds is computed if others need it."""
        pending, self.pending, self.pending_bytes = self.pending, [], 0
        found = []
        while pending:
            x = pending.pop()
            if sys.getrefcount(x) > 2:  # held by more than this variable
                found.append(bits_of(x.data))
            del x
        self.start(found)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within, this thread records for the device, and no other does."""
        with LOCK, mx.stream(self.stream):
            yield

    def given_out(self, outs: Sequence[Any]) -> list[MlxArray]:
        """What a loop or a branch computed, as raw values that will be started."""
        wrapped = [self.wrap(x) for x in outs]
        self.later(wrapped)
        return wrapped

    def start(self, arrays: list[mx.array]) -> None:
        """Start to compute, with the checks that are new. Those of long ago are read: that waits
        for nothing that is still far ahead."""
        mx.async_eval([*arrays, *[c.flag for c in checks.fresh()]])
        if len(checks.pending()) > CHECKS:
            read_checks(CHECKS // 2)

    # ------------------------------------------------------------------ programs

    def compile(self, program: Program, donated: Sequence[int] = ()) -> Compiled:
        return compile_program(program, self)

    def call(self, compiled: Compiled, args: Sequence[Any], given: bool = False) -> Sequence[Any]:
        """Run a compiled program. `given`: the list of arguments is emptied once it is read, so
        that MLX can compute in the memory of those that nobody else holds."""
        if compiled.on_raws:
            return compiled.function(*args)
        try:
            with LOCK, mx.stream(self.stream):
                array = self.array
                data = [x.data for x in args if type(x) is array]
                if len(data) < len(args):
                    data = self.data_of(args, "a jitted call")
                if given:
                    args.clear()  # type: ignore[attr-defined]
                outs = compiled.function(*data)
                del data
                wrapped = [array(x, t.shape, t.dtype) for x, t in
                           zip(outs, compiled.types, strict=True)] if compiled.sized else \
                    [self.wrap(x) for x in outs]
                if compiled.size < STEP:
                    self.later(wrapped)
                else:
                    self.start([bits_of(x) for x in outs])
        except Exception as error:
            raise located(error) from error
        return wrapped

    def attempt(self, compiled: Compiled, args: Sequence[Any]) -> tuple[Sequence[Any], Any]:
        with checks.collecting() as found:
            outs = self.call(compiled, args)
        return outs, lambda: checks.pending().extend(found)

    def memory(self, compiled: Compiled) -> Any:
        """As the NumPy backend would allocate: MLX decides at run time."""
        return numpy_backend.memory(numpy_backend.compile(compiled.original))

    def has_nan(self, value: Any, infs: bool = False) -> bool:
        return is_inexact(value.dtype) and numpy_backend.has_nan(np.asarray(value), infs)

    def wait(self) -> None:
        """Until everything that has been asked for is computed, and all checks are read."""
        with LOCK, mx.stream(self.stream):
            self.start_pending()
            mx.synchronize(self.stream)
            read_checks()


# ------------------------------------------------------------------ what runs programs or Python

def run_program(backend: MlxBackend, *args: Any, program: Program, name: str = "",
                policy: Any = None) -> Any:
    """Kernel of calls: compile on first use."""
    return backend.call(backend.compile(program), args)


def run_custom(backend: MlxBackend, *args: Any, program: Any, **rules: Any) -> Any:
    """Kernel of functions with rules of their own: nothing transforms them here."""
    if isinstance(program, Program):
        return run_program(backend, *args, program=program)
    return program(*args)


def run_callback(backend: MlxBackend, *args: Any, **params: Any) -> list[Any]:
    """The kernel of callbacks: Python sees the values on the host."""
    values = [x.__array__() if isinstance(x, MlxArray) else x for x in args]
    return [backend.asarray(x) for x in callback.run_callback(*values, **params)]


def run_linear(backend: MlxBackend, *args: Any, **params: Any) -> Any:
    return custom.run_linear(*args, **params)


NESTED: dict[Primitive, Callable[..., Any]] = {
    **dict.fromkeys((calls.call, calls.checkpoint, calls.recompute, step), run_program),
    **dict.fromkeys((custom.custom_jvp_call, custom.custom_vjp_call, custom.custom_vmap_call,
                     linear_solve, root), run_custom),
    scan: control.run_scan, loop: control.run_loop,
    switch: control.run_switch, switch_rows: control.run_switch_rows,
    **{p: control.unbound(p) for p in (
        collectives.psum, collectives.psum_scatter, collectives.pmax, collectives.pmin,
        collectives.all_gather, collectives.all_to_all, collectives.ppermute,
        collectives.axis_index)},
    custom.custom_vjp_linear: run_linear,
    **dict.fromkeys((callback.debug_callback, callback.pure_callback, callback.io_callback),
                    run_callback),
}


# ------------------------------------------------------------------ devices

def has_gpu() -> bool:
    try:
        return mx.is_available(mx.gpu)
    except Exception:
        return False


def missing_gpu() -> str:
    """What was looked for in vain."""
    text = str(importlib.metadata.version("mlx"))
    if sys.platform == "darwin":
        return f"MLX {text} finds no Apple GPU through Metal (mlx.core.metal.is_available())"
    return (f"MLX {text} is installed and finds no GPU: on Linux it needs an NVIDIA GPU with its "
            "driver and the CUDA build of MLX (pip install 'lucidfn[cuda]'); looked for by "
            "mlx.core.is_available(mlx.core.gpu)")


def register() -> None:
    """Make the devices of this machine known; done once."""
    if "mlx:cpu" in BACKENDS:
        return
    add_backend(MlxBackend("mlx:cpu", mx.new_thread_unsafe_stream(mx.cpu), compiles=False,
                           unsupported=frozenset({complex128})))
    if has_gpu():
        add_backend(MlxBackend("gpu", mx.new_thread_unsafe_stream(mx.gpu), compiles=True,
                               unsupported=frozenset({float64, complex128})))
    ADOPTED[mx.array] = adopt


def add_backend(backend: MlxBackend) -> None:
    BACKENDS[backend.device] = OWNERS[backend.array] = backend
    FOREIGN.add(backend.array)


def adopt(x: mx.array) -> Any:
    """An array that a user made with MLX itself, on the device that MLX computes on by default."""
    mx.eval(x)
    name = "gpu" if mx.default_device().type == mx.DeviceType.gpu and "gpu" in BACKENDS \
        else "mlx:cpu"
    return BACKENDS[name].wrap(x)  # type: ignore[attr-defined]
