"""Random keys that are used up twice: found in recorded programs, and in eager code on request.

A key gives the same numbers each time, so two random operations on one key are a bug that no
result shows. In a program a key has a number: copies and equal static parts of it have the same
one, and so have two `fold_in`s of equal data. Two operations that consume one number are reported.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.config import settings
from lucidfn.core.ir import Atom, Equation, Literal, Program, Var
from lucidfn.core.source import Source, describe_line, here
from lucidfn.core.trace import Tracer, current, eval_trace
from lucidfn.errors import KeyReuseError
from lucidfn.ops.random import Random
from lucidfn.types import is_key

# The same keys under another shape: what is used up of the result is used up of the operand.
_SAME = frozenset({ops.copy, ops.stop_gradient, ops.reshape, ops.broadcast_to})


@dataclass(frozen=True)
class Use:
    """One random operation: its name, the user's line, and the calls it is inside of."""

    what: str
    source: Source | None
    inside: tuple[tuple[Source | None, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.what} at {describe_line(self.source)}"

    def repeats(self, other: Use) -> bool:
        """Whether this is the other operation again, in a forward pass that `checkpoint` reruns."""
        return (bool(self.inside) and self.source == other.source
                and [line for line, _ in self.inside] == [line for line, _ in other.inside]
                and all(a != b for (_, a), (_, b) in zip(self.inside, other.inside, strict=True)))


@dataclass(frozen=True)
class Reuse:
    """Two uses of one key."""

    first: Use | str
    second: Use | str

    def __str__(self) -> str:
        return (f"a random key is used twice: by {self.first}, and by {self.second}. Both get the "
                "same random bits. Split it first: key1, key2 = random.split(key); if the same "
                "bits are wanted, say so: random.clone(key)")


def find_key_reuse(program: Program) -> list[Reuse]:
    """The keys of a program, and of the programs inside it, that are used more than once."""
    search = _Search()
    search.walk(program, [next(search.numbers) for _ in program.inputs], ())
    return search.found


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

    def walk(self, program: Program, inputs: Sequence[int],
             inside: tuple[tuple[Source | None, int], ...]) -> list[int]:
        env: dict[Var, int] = dict(zip(program.inputs, inputs, strict=True))
        env.update({v: self.of_const(c) for v, c in program.consts.items()})
        for eqn in program.equations:
            nested = [p for _, p in eqn.programs()]
            if nested:
                self.enter(eqn, nested, env, inside)
            elif isinstance(eqn.primitive, Random):
                self.random(eqn, env, inside)
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

    def random(self, eqn: Equation, env: dict[Var, int], inside: Any) -> None:
        if eqn.primitive.consumes:
            key = self.number(eqn.inputs[0], env)
            use = Use(eqn.primitive.name, eqn.source, inside)
            before = self.uses.setdefault(key, use)
            if before is not use and not use.repeats(before):
                self.found.append(Reuse(before, use))
        if eqn.primitive is ops.random_fold_in:
            self.move(eqn, env)

    def move(self, eqn: Equation, env: dict[Var, int]) -> None:
        inputs = [self.number(a, env) for a in eqn.inputs]
        if eqn.primitive in _SAME:
            env[eqn.outputs[0]] = inputs[0]
            return
        params = tuple((k, repr(v)) for k, v in sorted(eqn.params.items()))
        for i, var in enumerate(eqn.outputs):
            env[var] = self.same(eqn.primitive, params, i, *inputs)

    def enter(self, eqn: Equation, programs: Sequence[Program], env: dict[Var, int],
              inside: Any) -> None:
        """The programs of one equation are alternatives: a use in one is none in the others."""
        before, after = self.uses, dict(self.uses)
        outputs: list[int] = []
        for program in programs:
            extra = len(eqn.inputs) - len(program.inputs)
            if extra < 0:
                continue
            self.uses = dict(before)
            outer = [self.number(a, env) for a in eqn.inputs[extra:]]
            outputs = self.walk(program, outer, (*inside, (eqn.source, id(program))))
            after.update({k: u for k, u in self.uses.items() if k not in after})
        self.uses = after
        if len(programs) == 1 and len(outputs) == len(eqn.outputs):
            env.update(zip(eqn.outputs, outputs, strict=True))


# ------------------------------------------------------------------ eager code

_LIMIT = 1_000_000  # keys remembered; the oldest are forgotten first
_consumed: dict[tuple[str, int], dict[int | None, str]] = {}


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
    found = _tracked(keys)
    if found is None:
        return
    use = f"{what} at {describe_line(here())}"
    for name in _names(found):
        uses = _consumed.setdefault(name, {})
        if None in uses:
            raise KeyReuseError(str(Reuse(uses[None], use)))
        uses[None] = use
    while len(_consumed) > _LIMIT:
        del _consumed[next(iter(_consumed))]


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


__all__ = ["Reuse", "Use", "consume", "find_key_reuse", "folded", "renew", "report_key_reuse"]
