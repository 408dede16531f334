"""Recording: run a function on stand-ins and keep the operations it performs as a `Program`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lucidfn.core.ir import Atom, Equation, Literal, Program, Var
from lucidfn.core.primitive import Primitive
from lucidfn.core.source import here
from lucidfn.core.trace import Trace, Tracer, current, eval_trace, leaked, levels
from lucidfn.errors import MissingRuleError
from lucidfn.types import SCALARS, ArrayType


class RecordTracer(Tracer):
    """Stands for a variable of the program that is being recorded."""

    __slots__ = ("variable", "weak")

    def __init__(self, trace: RecordTrace, var: Var, weak: bool = False):
        self.owner, self.variable, self.weak = trace, var, weak

    @property
    def type(self) -> ArrayType:  # type: ignore[override]
        t = self.variable.type
        return t if t.weak is self.weak else t._replace(weak=self.weak)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.variable.type.shape

    @property
    def dtype(self) -> Any:
        return self.variable.type.dtype

    def with_weak(self, weak: bool) -> RecordTracer:
        return RecordTracer(self.owner, self.variable, weak)

    def concrete(self, error: Callable[..., Exception], use: str) -> Any:
        if not self.owner.alive:
            raise leaked(self)
        guards = self.owner.guards
        if guards is not None:
            return guards.read(self, error, use)
        raise error(self, use)


class RecordTrace(Trace):
    """Appends each operation to a program instead of running it."""

    guards: Any = None  # where Python may ask for values (api/guards.py): what answers

    def __init__(self, what: str = "jit", names: Sequence[str] = (), *, lines: bool = True):
        self.level = next(levels)
        self.what, self.names, self.lines = what, tuple(names), lines
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.consts: dict[int, tuple[Var, Any]] = {}
        self.baked: list[Any] = []  # concrete arrays whose values the trace has looked at

    def new_input(self, type: ArrayType) -> RecordTracer:
        self.inputs.append(Var(type))
        return RecordTracer(self, self.inputs[-1], type.weak)

    def atom(self, value: Any) -> Atom:
        if type(value) is RecordTracer and value.owner is self:
            return value.variable
        if type(value) in SCALARS:
            return Literal(value)
        known = self.consts.get(id(value))
        if known is None:
            if isinstance(value, Tracer):
                if not value.owner.alive:
                    raise leaked(value)
                var = Var(value.type)
            elif type(value) is Var:
                raise MissingRuleError("a product of two unknown operands is not linear, and has "
                                       "no transpose")
            else:
                var = Var(tuple.__new__(ArrayType, (value.shape, value.dtype, False)))
            known = self.consts[id(value)] = (var, value)
        return known[0]

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if not self.alive:
            raise leaked(next(a for a in args if isinstance(a, Tracer) and a.owner is self))
        inputs: list[Atom] = []
        types = []
        for arg in args:
            atom = arg.variable if type(arg) is RecordTracer and arg.owner is self \
                else self.atom(arg)
            inputs.append(atom)
            types.append(atom.type)
        try:
            inferred = primitive.infer(*types, **params)
        except Exception as error:
            raise primitive.located(error, args) from None
        if inputs and type(inputs[-1]) is Literal and not (primitive.many or primitive.effect) \
                and all(type(a) is Literal for a in inputs):
            return eval_trace.process(primitive, args, params)  # stays a scalar, and weak
        source = (self.source or current.get().source or here()) if self.lines else self.source
        if primitive.many:
            outputs = [Var(t) for t in inferred]
            self.equations.append(Equation(primitive, inputs, params, outputs, source))
            return [RecordTracer(self, var) for var in outputs]
        var = Var(inferred)
        self.equations.append(Equation(primitive, inputs, params, [var], source))
        return RecordTracer(self, var)

    def finish(self, outs: Sequence[Any]) -> Program:
        outputs = [self.atom(out) for out in outs]
        return Program(self.inputs, self.equations, outputs, dict(self.consts.values()), self.names)

    def describe(self, tracer: Any) -> str:
        """Where a traced value comes from, in the user's words."""
        if tracer.variable in self.inputs:
            i = self.inputs.index(tracer.variable)
            named = self.names[i] if i < len(self.names) else ""
            return f"argument `{named}`" if named else f"argument {i + 1}"
        eqn = next((e for e in self.equations if tracer.variable in e.outputs), None)
        return f"the result of {eqn.primitive.name} at {eqn.source}" if eqn is not None else ""

    def arguments_behind(self, tracer: Any) -> list[str]:
        """The arguments that a traced value was computed from."""
        wanted, found = {tracer.variable}, []
        for eqn in reversed(self.equations):
            if wanted.intersection(eqn.outputs):
                wanted.update(a for a in eqn.inputs if type(a) is Var)
        for i, var in enumerate(self.inputs):
            if var in wanted:
                found.append(self.names[i] if i < len(self.names) else f"argument {i + 1}")
        return found


@contextmanager
def stage(trace: RecordTrace) -> Iterator[RecordTrace]:
    """Make the trace the recorder of every operation in the block; then it is dead."""
    token = current.set(trace)
    try:
        yield trace
    finally:
        current.reset(token)
        trace.alive = False


def record(f: Callable[..., Sequence[Any]], types: Sequence[ArrayType], *, what: str = "jit",
           names: Sequence[str] = (), lines: bool = True) -> Program:
    """Trace f to a program; f takes and returns flat lists of raw arrays and tracers."""
    with stage(RecordTrace(what, names, lines=lines)) as trace:
        return trace.finish(f(*[trace.new_input(t) for t in types]))
