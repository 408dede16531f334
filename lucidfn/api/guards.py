"""`jit(f, python_control_flow=True)`: Python `if` and `while` on traced values.

The function is recorded with its real arguments at hand. Where Python asks for a value (`if x > 0`,
`while error > tol`, `range(n)`), what has been recorded so far is evaluated, and the answer is a
guard of the recorded path. A later call computes the guards along with the outputs; where one of
them has another answer, the path that has it is taken, or recorded anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lucidfn.api.arguments import raw_leaf
from lucidfn.api.cache import Entry, Key
from lucidfn.api.jit import JitFunction
from lucidfn.api.outputs import Outputs
from lucidfn.config import Settings, settings
from lucidfn.core.ir import Equation, Program, Var
from lucidfn.core.messages import bool_error, integer_error
from lucidfn.core.record import RecordTrace, RecordTracer
from lucidfn.core.source import describe_line, here
from lucidfn.core.trace import Tracer, backend_for, current, eval_trace
from lucidfn.errors import ConcretizationTypeError
from lucidfn.transforms.linearize import drop_dead
from lucidfn.types import ArrayType, ShapeDtypeStruct

PATHS = 64  # kept for one kind of arguments

_QUESTIONS: dict[Any, Callable[[Any], Any]] = {
    bool_error: lambda x: bool(np.asarray(x).item()),
    integer_error: lambda x: int(np.asarray(x).item()),
}


@dataclass(frozen=True)
class Guard:
    """A question of Python's to a value, and the answer that it had."""

    ask: Callable[[Any], Any]
    answer: Any
    line: str


@dataclass(eq=False)
class Guards:
    """The guards of one recording, which has the values of its inputs beside it."""

    trace: RecordTrace
    values: dict[Var, Any] = field(default_factory=dict)
    made: dict[Var, Equation] = field(default_factory=dict)
    looked: int = 0  # equations of the trace that `made` knows
    asked: dict[tuple[Var, Any], int] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)
    variables: list[Var] = field(default_factory=list)

    def read(self, tracer: RecordTracer, error: Callable[..., Exception], use: str) -> Any:
        """The value that Python asks for; remembered as a guard."""
        ask = _QUESTIONS.get(error)
        if ask is None:
            raise error(tracer, use)
        value = self.value(tracer.variable, use)
        key = tracer.variable, ask
        if key not in self.asked:
            self.asked[key] = len(self.guards)
            self.guards.append(Guard(ask, ask(value), describe_line(here())))
            self.variables.append(tracer.variable)
        return value

    def value(self, wanted: Var, use: str) -> Any:
        """Evaluate what the trace has recorded, as far as this variable needs it."""
        equations = self.trace.equations
        for eqn in equations[self.looked:]:
            self.made.update(dict.fromkeys(eqn.outputs, eqn))
        self.looked = len(equations)
        self.values.update((v, x) for v, x in self.trace.consts.values() if v not in self.values)
        token = current.set(eval_trace)
        try:
            stack = [wanted]
            while stack:
                if stack[-1] in self.values:
                    stack.pop()
                    continue
                eqn = self.made[stack[-1]]
                missing = [a for a in eqn.inputs if type(a) is Var and a not in self.values]
                if missing:
                    stack += missing
                    continue
                self.evaluate(eqn, use)
        finally:
            current.reset(token)
        return self.values[wanted]

    def evaluate(self, eqn: Equation, use: str) -> None:
        if eqn.effect:
            raise ConcretizationTypeError(
                f"{use} at {describe_line(here())} depends on {eqn.primitive.name} at "
                f"{describe_line(eqn.source)}, which has an effect and would run twice under "
                "python_control_flow. Use lax.cond or lax.while_loop here, or pass the value as "
                "an argument")
        out = eqn.primitive(*[self.values[a] if type(a) is Var else a.value  # type: ignore
                              for a in eqn.inputs], **eqn.params)
        self.values.update(zip(eqn.outputs, out if eqn.primitive.many else [out], strict=True))


class GuardedOutputs:
    """Outputs of a program that gives the values of its guards after them."""

    def __init__(self, outputs: Outputs, count: int):
        self.outputs, self.count = outputs, count

    def rebuild(self, raws: Sequence[Any]) -> Any:
        return self.outputs.rebuild(raws[:self.count])

    def structs(self, program: Program) -> Any:
        return self.outputs.structs(program.replace(outputs=program.outputs[:self.count]))


@dataclass(eq=False)
class Path:
    """One way through the Python control flow: a program, and the answers that lead there."""

    entry: Entry
    guards: list[Guard]
    answers: tuple[Any, ...]
    test: Program      # computes the guards alone, without effects
    ahead: bool        # whether the program may run before its guards are known to hold
    compiled: dict[Any, Any] = field(default_factory=dict)  # the test, by backend

    def first_other(self, found: Sequence[Any]) -> int | None:
        """The first guard that has another answer, by the values of the guards."""
        for i, (guard, value) in enumerate(zip(self.guards, found, strict=True)):
            if guard.ask(value) != guard.answer:
                return i
        return None

    def tested(self, raws: list[Any]) -> Sequence[Any]:
        """The values of the guards."""
        if not self.guards:
            return ()
        backend = backend_for(raws, self.test)
        compiled = self.compiled.get(backend)
        if compiled is None:
            compiled = self.compiled[backend] = backend.compile(self.test)
        return backend.attempt(compiled, raws)[0]


class GuardedFunction(JitFunction):
    """A jitted function whose Python control flow may depend on values."""

    parted: Guard | None = None  # the guard at which the last call parted from the known paths

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        config = settings()
        if config.disable_jit or current.get() is not eval_trace:
            return self.fun(*args, **kwargs)
        key, raws, leaves, hidden = self.keyed(args, kwargs, config)
        if any(isinstance(x, Tracer) for x in [*raws, *map(raw_leaf, hidden)]):
            return self.fun(*args, **kwargs)  # what traces has the values, or explains
        path, outs, inputs = self.taken(key, raws, hidden, run=True)
        if path is None:
            self.cache.misses += 1
            entry = self.trace(key, args, kwargs, leaves, hidden, raws)
            path, inputs = entry.path, self.inputs(entry, raws, hidden)
            if path is None:  # it reads traced values from elsewhere
                return self.fun(*args, **kwargs)
        else:
            self.cache.hits += 1
        if outs is not None:
            return path.entry.outputs.rebuild(outs)
        backend = backend_for(inputs, path.entry.program)
        if path.entry.donated:
            del raws
            return self.run_donating(path.entry, inputs, leaves, backend)
        return self.run(path.entry, inputs, backend)

    @staticmethod
    def inputs(entry: Entry, raws: Sequence[Any], hidden: Sequence[Any]) -> list[Any]:
        return [*raws, *[raw_leaf(hidden[i]) for i in entry.hidden]]

    def taken(self, key: Key, raws: list[Any], hidden: list[Any],
              run: bool) -> tuple[Path | None, Any, list[Any]]:
        """(the path whose guards hold, its outputs if it has run, its inputs)."""
        paths = self.cache.paths.setdefault(key, [])
        known: tuple[Any, ...] = ()
        tried: list[Path] = []
        while True:
            path = next((p for p in paths if p not in tried and p.answers[:len(known)] == known
                         and all(hidden[i] is x for i, x in p.entry.baked)), None)
            if path is None:
                return None, None, []
            tried.append(path)
            inputs = self.inputs(path.entry, raws, hidden)
            outs, found, report = self.attempt(path, inputs, run)
            if found is None:
                continue
            other = path.first_other(found)
            if other is None:
                report()
                if paths[0] is not path:
                    paths.remove(path)
                    paths.insert(0, path)
                return path, outs, inputs
            self.parted = path.guards[other]
            known = (*path.answers[:other], path.guards[other].ask(found[other]))

    def attempt(self, path: Path, inputs: list[Any],
                run: bool) -> tuple[Any, Any, Callable[[], None]]:
        """(outputs if the program has run, the values of the guards, what reports errors of it).

        Before its guards are known a program may raise where this path would not be taken.
        """
        entry = path.entry
        if run and path.ahead:
            try:
                backend = backend_for(inputs, entry.program)
                compiled = entry.compiled.get(backend)
                if compiled is None:
                    compiled = entry.compiled[backend] = backend.compile(entry.program)
                outs, report = backend.attempt(compiled, inputs)
                return outs, outs[len(outs) - len(path.guards):], report
            except Exception:
                pass
        try:
            return None, path.tested(inputs), lambda: None
        except Exception:
            return None, None, lambda: None

    # ------------------------------------------------------------------ recording

    def lookup(self, args: tuple[Any, ...], kwargs: dict[str, Any],
               config: Settings) -> tuple[Entry, list[Any], list[Any], Key]:
        """For looking inside: the entry of the path that these arguments take."""
        key, raws, leaves, hidden = self.keyed(args, kwargs, config)
        path = None
        if not any(isinstance(x, ShapeDtypeStruct) for x in raws):
            path = self.taken(key, raws, hidden, run=False)[0]
        entry = path.entry if path is not None else \
            self.trace(key, args, kwargs, leaves, hidden, raws)
        return entry, self.inputs(entry, raws, hidden), leaves, key

    def recorded(self, trace: RecordTrace, flat: Callable[..., Any], types: Sequence[ArrayType],
                 raws: Sequence[Any] | None) -> Program:
        inputs = [trace.new_input(t) for t in types]
        if raws is not None and not any(isinstance(x, (ShapeDtypeStruct, Tracer)) for x in raws):
            guards = trace.guards = Guards(trace)
            guards.values.update(zip(trace.inputs, raws, strict=True))
        outs = flat(*inputs)
        asked = [] if trace.guards is None else [
            RecordTracer(trace, v) for v in trace.guards.variables]
        return trace.finish([*outs, *asked])

    def keep(self, entry: Entry, trace: RecordTrace) -> None:
        """Keep the path that an entry is."""
        guards = [] if trace.guards is None else trace.guards.guards
        trace.guards = None  # it has the values of the arguments
        program = entry.program
        count = len(program.outputs) - len(guards)
        effect = any(e.effect for e in program.equations)
        pure = [e for e in program.equations if not e.effect]
        test = drop_dead(program.replace(equations=pure, outputs=program.outputs[count:]))
        entry.outputs = GuardedOutputs(entry.outputs, count)  # type: ignore[assignment]
        entry.path = path = Path(entry, guards, tuple([g.answer for g in guards]), test,
                                 not effect and not entry.donated)
        paths = self.cache.paths.setdefault(entry.key, [])
        guard = self.parted
        if paths and guard is not None:
            self.cache.reasons[-1] = (f"{self.name}: another way through the Python control flow "
                                      f"at {guard.line}, where the answer was {guard.answer}")
        paths[:] = [path, *[p for p in paths if p.answers != path.answers or
                            p.entry.baked != entry.baked]]
        entry.key = entry.key._replace(static=(entry.key.static, path.answers))
        self.cache.keep(entry)
        if len(paths) > PATHS:
            paths.pop()
            self.too_many()

    def too_many(self) -> None:
        """Warn, once, that paths are recorded again and again."""
        if self.cache.warned:
            return
        self.cache.warned = True
        where = f" at {self.parted.line}" if self.parted is not None else ""
        warnings.warn(
            f"jit of {self.name}: more than {PATHS} ways through its Python control flow have been "
            f"recorded; the last parted from the others{where}. Each new one is recorded and "
            "compiled. Where answers vary that much use lax.cond or lax.while_loop, which are "
            "recorded once", UserWarning, stacklevel=6)


JitFunction.guarded = GuardedFunction

__all__ = ["GuardedFunction"]
