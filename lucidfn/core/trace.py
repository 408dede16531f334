"""Traces: what a primitive means where it is called, and the stand-ins that carry that meaning.

Every primitive operation goes to one trace: the one with the highest level among its operands'
and the innermost recorder. The trace evaluates, records, differentiates or batches it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lucidfn.config import _settings
from lucidfn.core.source import Source
from lucidfn.errors import FloatingPointNaNError, MissingRuleError, UnexpectedTracerError
from lucidfn.types import SCALARS, ArrayType, default_dtype_of

if TYPE_CHECKING:
    from lucidfn.core.primitive import Primitive

levels = itertools.count(1)


class Trace:
    """Gives a meaning to primitives. A trace dies when its transformation returns."""

    level: int = 0
    alive: bool = True
    what: str = "trace"  # the user's name of the transformation, for messages
    source: Source | None = None  # what recorded equations inherit, while a program is re-run

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        raise NotImplementedError


class Tracer:
    """Stands for an array while a trace interprets the program that computes it."""

    __slots__ = ("owner", "__weakref__")
    owner: Trace
    type: ArrayType

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> Any:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.type.size

    def concrete(self, error: Callable[..., Exception], use: str) -> Any:
        """The raw value, where there is one; else raise the error that shows the fix."""
        raise NotImplementedError

    def with_weak(self, weak: bool) -> Tracer:
        """The same value, weak or not. Only the user's side of the border says which it is: what
        a primitive gives is strong until a public function wraps it, as it is for arrays."""
        raise NotImplementedError


def leaked(tracer: Tracer) -> UnexpectedTracerError:
    origin = tracer.owner.describe(tracer) if hasattr(tracer.owner, "describe") else ""
    return UnexpectedTracerError(
        f"a traced {tracer.type} was used after {tracer.owner.what} had finished"
        f"{origin and f'; it is {origin}'}. A traced value lives only while the function that "
        "makes it is being traced: something kept it (a global, an attribute, a list). Return it "
        "from the function instead; for a value to look at while it runs use lf.debug.print.")


# ------------------------------------------------------------------ evaluation and backends

class Backend:
    """How primitives run on one kind of array: a table of kernels and a compiler."""

    name: str
    device: str  # the name under which users know it
    kernels: dict[Primitive, Callable[..., Any]]

    def run(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Evaluate one primitive."""
        raise NotImplementedError

    def compile(self, program: Any, donated: Sequence[int] = ()) -> Callable[..., list[Any]]:
        """A function of raw arrays that computes the program's outputs."""
        raise NotImplementedError

    def call(self, compiled: Any, args: Sequence[Any], given: bool = False) -> Sequence[Any]:
        """Run what `compile` returned on raw arrays. `given`: it may empty the list of them, and
        use the memory of those that nobody else holds."""
        raise NotImplementedError

    def attempt(self, compiled: Any, args: Sequence[Any]) -> tuple[Sequence[Any], Any]:
        """`call` before it is known whether its results count; and what to call if they do, so that
        errors which this device finds later are reported."""
        return self.call(compiled, args), lambda: None

    def about(self) -> str:
        """What the device is, in words."""
        return ""

    def wait(self) -> None:
        """Return when everything that has been asked for is computed."""

    def memory(self, compiled: Any) -> Any:
        """When a compiled program allocates and frees its values."""
        raise NotImplementedError

    def asarray(self, value: Any, dtype: Any) -> Any:
        """An array of this backend from a Python scalar, nested list or ndarray."""
        raise NotImplementedError

    def has_nan(self, value: Any, infs: bool = False) -> bool:
        """Whether a floating array holds a NaN (or an inf)."""
        raise NotImplementedError


class Backends(dict[str, Backend]):
    """Backends by the name of their device. One that is not loaded is looked for by `find`."""

    find: Callable[[str], Backend]

    def __missing__(self, name: str) -> Backend:
        return self.find(name)


_running: ContextVar[Source | None] = ContextVar("lucidfn_source", default=None)
OWNERS: dict[type, Backend] = {}  # the one registry: which backend owns an array type
BACKENDS = Backends()
FOREIGN: set[type] = set()  # array types of the backends that are not NumPy, added when they load
ADOPTED: dict[type, Callable[[Any], Any]] = {}  # other libraries' arrays, and what makes raw ones


def backend_of(args: Sequence[Any]) -> Backend:
    """Where an operation runs: on the device of its arrays, which NumPy's constants follow."""
    found = None
    for arg in args:
        kind = type(arg)
        if kind in OWNERS:
            found = OWNERS[kind]
            if kind in FOREIGN:
                break
    return BACKENDS[_settings.get().default_device] if found is None else found


def backend_for(args: Sequence[Any], program: Any) -> Backend:
    """Where a program runs on these arguments: its constants have a device too."""
    found = backend_of(args)
    return found if not FOREIGN or found.device != "cpu" else \
        backend_of_constants(program) or found


def backend_of_programs(params: dict[str, Any]) -> Backend | None:
    """The backend that constants of the programs among parameters live on, if it is not NumPy."""
    for value in params.values():
        for part in value if isinstance(value, tuple) else (value,):
            found = backend_of_constants(part) if hasattr(part, "equations") else None
            if found is not None:
                return found
    return None


def backend_of_constants(program: Any) -> Backend | None:
    """The backend that constants of a program live on, or of one in it, if it is not NumPy."""
    if "backend" not in program.derived:
        found = next((OWNERS[type(x)] for x in program.consts.values() if type(x) in FOREIGN), None)
        for eqn in program.equations:
            if found is None and eqn.primitive.nested:
                found = backend_of_programs(eqn.params)
        program.derived["backend"] = found
    return program.derived["backend"]


def home(x: Any) -> Backend | None:
    """The backend of the array that x is, or stands for; None for NumPy's, and where none is."""
    while isinstance(x, Tracer):
        x = getattr(x, "primal", getattr(x, "value", None))
    return OWNERS[type(x)] if type(x) in FOREIGN else None


def placed(constant: Any, backend: Backend | None) -> Any:
    """A constant on a backend that is not NumPy's; one that is being recorded stays as it is."""
    if backend is None or isinstance(constant, Tracer):
        return constant
    return backend.asarray(constant, None)


def beside(constant: Any, x: Any) -> Any:
    """A constant on the device of x: what is computed of it alone then lives there too."""
    return placed(constant, home(x))


class EvalTrace(Trace):
    """Runs primitives on raw arrays, now."""

    # One object serves all threads, each of which re-runs a line of its own.
    source = property(lambda self: _running.get(),  # type: ignore[assignment]
                      lambda self, source: _running.set(source))

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        backend = None
        for arg in args:
            kind = type(arg)
            if kind in OWNERS:
                backend = OWNERS[kind]
                if kind in FOREIGN:
                    break
        if FOREIGN and primitive.nested and (backend is None or backend.device == "cpu"):
            backend = backend_of_programs(params) or backend
        if backend is None:  # of numbers, or of nothing: a constant, which follows
            backend = BACKENDS["cpu"]
        try:
            out = backend.run(primitive, args, params)
        except Exception as error:
            raise self.explained(error, primitive, args, params) from error
        config = _settings.get()
        if config.debug_nans or config.debug_infs:
            check_finite(backend, primitive, args, out)
        return out

    @staticmethod
    def explained(error: Exception, primitive: Primitive, args: Sequence[Any],
                  params: dict[str, Any]) -> Exception:
        """The message of the type rule where it objects too; it names shapes and dtypes."""
        if isinstance(error, (MissingRuleError, FloatingPointNaNError)) or primitive.nested:
            return error
        try:
            primitive.infer(*map(type_of, args), **params)
        except Exception as better:
            return primitive.located(better, args)
        return primitive.located(error, args)


def check_finite(backend: Backend, primitive: Primitive, args: Sequence[Any], out: Any) -> None:
    """`debug_nans`: raise at the first primitive whose output has a NaN."""
    outs = out if primitive.many else [out]
    infs = _settings.get().debug_infs
    for o in outs:
        if type(o) not in SCALARS and backend.has_nan(o, infs):
            raise primitive.not_finite(args, infs)


eval_trace = EvalTrace()
current: ContextVar[Trace] = ContextVar("lucidfn_trace", default=eval_trace)  # innermost recorder


def type_of(x: Any) -> ArrayType:
    """The type of a raw array, a Python scalar or a tracer."""
    if isinstance(x, Tracer):
        return x.type
    kind = type(x)
    if kind in SCALARS:
        return ArrayType((), default_dtype_of(kind), True)
    return ArrayType(x.shape, x.dtype)


def shape_of(x: Any) -> tuple[int, ...]:
    return () if type(x) in SCALARS else x.shape


def dtype_of(x: Any) -> Any:
    return default_dtype_of(type(x)) if type(x) in SCALARS else x.dtype
