"""Random keys that are used up twice: found in recorded programs, and in eager code on request.

A key gives the same numbers each time, so two random operations on one key are a bug that no
result shows. In a program a key has a number: copies and equal static parts of it have the same
one, and so have two `fold_in`s of equal data. Two operations that consume one number are reported.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.config import settings
from lucidfn.control.call import recompute
from lucidfn.core.ir import Atom, Equation, Literal, Program, Var
from lucidfn.core.source import Source, describe_line, here
from lucidfn.core.trace import Tracer, current, eval_trace
from lucidfn.errors import KeyReuseError
from lucidfn.ops.random import Random
from lucidfn.types import is_key

# The same keys under another shape: what is used up of the result is used up of the operand.
_SAME = frozenset({ops.copy, ops.stop_gradient, ops.reshape, ops.broadcast_to})


class Use(NamedTuple):
    """One random operation: its name and the user's line."""

    what: str
    source: Source | None

    def __str__(self) -> str:
        return f"{self.what} at {describe_line(self.source)}"


class Reuse(NamedTuple):
    """Two uses of one key."""

    first: Use | str
    second: Use | str

    def __str__(self) -> str:
        return (f"a random key is used twice: by {self.first}, and by {self.second}. Both get the "
                "same random bits. Split it first: key1, key2 = random.split(key); if the same "
                "bits are wanted, say so: random.clone(key)")


def find_key_reuse(program: Program) -> list[Reuse]:
    """The keys of a program, and of the programs inside it, that are used more than once."""
    if not _is_random(program):
        return []
    search = _Search()
    search.walk(program, [next(search.numbers) for _ in program.inputs])
    return search.found


def _is_random(program: Program) -> bool:
    return any(isinstance(e.primitive, Random) or e.primitive.nested and any(
        _is_random(p) for _, p in e.programs()) for e in program.equations)


def report_key_reuse(program: Program, *, stacklevel: int = 2) -> None:
    """Warn of reused keys, or raise KeyReuseError, as `config.key_reuse` says."""
    mode = settings().key_reuse
    if mode == "off":
        return
    for reuse in find_key_reuse(program):
        if mode == "error":
            raise KeyReuseError(str(reuse))
        warnings.warn(str(reuse), UserWarning, stacklevel=stacklevel + 1)


class _Search:
    """Gives numbers to what the program computes, and remembers the first use of each."""

    def __init__(self) -> None:
        self.numbers = count()
        self.table: dict[Any, int] = {}
        self.uses: dict[int, Use] = {}
        self.found: list[Reuse] = []

    def walk(self, program: Program, inputs: Sequence[int]) -> list[int]:
        env: dict[Var, int] = dict(zip(program.inputs, inputs, strict=True))
        env.update({v: self.of_const(c) for v, c in program.consts.items()})
        for eqn in program.equations:
            if eqn.primitive is recompute:
                continue  # the forward pass of a checkpoint again: the same operations
            if eqn.primitive.nested:
                self.enter(eqn, [p for _, p in eqn.programs()], env)
            elif isinstance(eqn.primitive, Random):
                self.random(eqn, env)
            elif any(is_key(v.type.dtype) for v in eqn.outputs):
                self.move(eqn, env)
        return [self.number(a, env) for a in program.outputs]

    def number(self, atom: Atom, env: dict[Var, int]) -> int:
        if type(atom) is Literal:
            return self.same("literal", type(atom.value), atom.value)
        if atom not in env:
            env[atom] = next(self.numbers)
        return env[atom]

    def same(self, *description: Any) -> int:
        """One number for equal descriptions."""
        if description not in self.table:
            self.table[description] = next(self.numbers)
        return self.table[description]

    def of_const(self, value: Any) -> int:
        if type(value) is np.ndarray and value.size <= 16 and not is_key(value.dtype):
            return self.same("const", value.dtype, value.shape, value.tobytes())
        return self.same("object", id(value))

    def random(self, eqn: Equation, env: dict[Var, int]) -> None:
        if eqn.primitive.consumes:
            key = self.number(eqn.inputs[0], env)
            use = Use(eqn.primitive.name, eqn.source)
            before = self.uses.setdefault(key, use)
            if before is not use:
                self.found.append(Reuse(before, use))
        if eqn.primitive is ops.random_fold_in:
            self.move(eqn, env)

    def move(self, eqn: Equation, env: dict[Var, int]) -> None:
        inputs = [self.number(a, env) for a in eqn.inputs]
        if eqn.primitive in _SAME or _whole(eqn):
            env[eqn.outputs[0]] = inputs[0]
            return
        if eqn.primitive is ops.split:
            for var, part in zip(eqn.outputs, _slices(eqn), strict=True):
                env[var] = self.same(ops.slice_, _described(part), 0, *inputs)
            return
        for i, var in enumerate(eqn.outputs):
            env[var] = self.same(eqn.primitive, _described(eqn.params), i, *inputs)

    def enter(self, eqn: Equation, programs: Sequence[Program], env: dict[Var, int]) -> None:
        """The programs of one equation are alternatives: a use in one is none in the others."""
        before, after = self.uses, dict(self.uses)
        outputs: list[int] = []
        for program in programs:
            extra = len(eqn.inputs) - len(program.inputs)
            if extra < 0:
                continue
            self.uses = dict(before)
            outer = [self.number(a, env) for a in eqn.inputs[extra:]]
            outputs = self.walk(program, outer)
            after.update({k: u for k, u in self.uses.items() if k not in after})
        self.uses = after
        if len(programs) == 1 and len(outputs) == len(eqn.outputs):
            env.update(zip(eqn.outputs, outputs, strict=True))


def _described(params: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((k, repr(v)) for k, v in sorted(params.items()))


def _slices(eqn: Equation) -> list[dict[str, Any]]:
    """The parameters of the slices that a split stands for."""
    axis, shape, parts, at = eqn.params["axis"], eqn.inputs[0].type.shape, [], 0
    for n in eqn.params["sizes"]:
        start = tuple(at if i == axis else 0 for i in range(len(shape)))
        stop = tuple(at + n if i == axis else d for i, d in enumerate(shape))
        parts.append({"start": start, "stop": stop, "stride": (1,) * len(shape)})
        at += n
    return parts


def _whole(eqn: Equation) -> bool:
    """Whether an equation takes all of its one operand."""
    return (eqn.primitive is ops.slice_ and eqn.outputs[0].type.shape == eqn.inputs[0].type.shape)


def consumed_inputs(program: Program) -> tuple[Use | None, ...]:
    """For each input of a program the first operation that consumes it as a whole."""
    search = _Search()
    numbers = [next(search.numbers) for _ in program.inputs]
    search.walk(program, numbers)
    return tuple([search.uses.get(n) for n in numbers])


# ------------------------------------------------------------------ eager code

_LIMIT = 1_000_000  # keys remembered; the oldest are forgotten first
_consumed: dict[tuple[str, int], dict[int | None, str]] = {}
_lock = threading.Lock()  # looking and noting are one step: two threads may use one key


def _tracked(keys: Any) -> np.ndarray | None:
    """The concrete keys behind a raw value, where strict mode follows them."""
    if settings().key_reuse != "error" or current.get() is not eval_trace:
        return None
    while isinstance(keys, Tracer):
        keys = getattr(keys, "value", getattr(keys, "primal", None))
    return None if keys is None else np.asarray(keys)


def _names(keys: np.ndarray) -> list[tuple[str, int]]:
    impl = keys.dtype.names[0]
    return [(impl, bits) for bits in np.ravel(keys[impl]).tolist()]


def consume(keys: Any, what: str) -> None:
    """Strict mode: raise KeyReuseError if concrete keys were used before, else note them."""
    if settings().key_reuse == "error":
        _mark(keys, f"{what} at {describe_line(here())}")


def _mark(keys: Any, use: str) -> None:
    found = _tracked(keys)
    if found is None:
        return
    with _lock:
        for name in _names(found):
            uses = _consumed.setdefault(name, {})
            if None in uses:
                raise KeyReuseError(str(Reuse(uses[None], use)))
            uses[None] = use
        while len(_consumed) > _LIMIT:
            del _consumed[next(iter(_consumed))]


def consume_by_program(program: Program, args: Sequence[Any]) -> None:
    """Strict mode, before a program is run eagerly: the keys that it uses up are used up."""
    if settings().key_reuse != "error" or current.get() is not eval_trace:
        return
    if "consumed" not in program.derived:
        program.derived["consumed"] = consumed_inputs(program)
    for use, arg in zip(program.derived["consumed"], args, strict=True):
        if use is not None:
            _mark(arg, str(use))


def renew(keys: Any) -> None:
    """Strict mode: these keys are new, whatever was done with equal ones before."""
    found = _tracked(keys)
    if found is not None:
        for name in _names(found):
            _consumed.pop(name, None)


def folded(keys: Any, data: Any, out: Any) -> None:
    """Strict mode: `out` is new unless the same data were folded into the same key before."""
    source, values, result = _tracked(keys), _concrete(data), _tracked(out)
    if source is None or result is None or values is None:
        return
    source, values = np.broadcast_arrays(source, values)
    if result.shape != source.shape:
        return
    with _lock:
        for name, value, new in zip(_names(source), np.ravel(values).tolist(), _names(result),
                                    strict=True):
            uses = _consumed.setdefault(name, {})
            if int(value) not in uses:
                uses[int(value)] = ""
                _consumed.pop(new, None)


def _concrete(data: Any) -> np.ndarray | None:
    while isinstance(data, Tracer):
        data = getattr(data, "value", getattr(data, "primal", None))
    return None if data is None else np.asarray(data)


__all__ = ["Reuse", "Use", "consume", "consume_by_program", "consumed_inputs", "find_key_reuse",
           "folded", "renew", "report_key_reuse"]
