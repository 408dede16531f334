"""The intermediate representation: a `Program` is a list of equations in A-normal form.

Every equation applies one primitive to variables and literals and names its outputs; control flow
is a nested `Program` in an equation's parameters. A program is a function: calling it performs its
primitives again, under whatever trace its arguments belong to. That is how programs are
transformed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lucidfn.config import settings
from lucidfn.core.cost import Cost, cost
from lucidfn.core.primitive import Primitive, as_list
from lucidfn.core.printer import to_html, to_text
from lucidfn.core.source import Source, describe_line
from lucidfn.core.trace import current, eval_trace
from lucidfn.types import ArrayType, default_dtype_of


class Var:
    """A name for an intermediate array; its type is all that is known of it."""

    __slots__ = ("type",)

    def __init__(self, type: ArrayType):
        self.type = type

    def __repr__(self) -> str:
        return f"Var({self.type})"


class Literal:
    """A Python scalar written into the program; it takes the dtype of its neighbours."""

    __slots__ = ("value", "type")

    def __init__(self, value: bool | int | float | complex):
        self.value = value
        self.type = ArrayType((), default_dtype_of(type(value)), True)

    def __repr__(self) -> str:
        return f"Literal({self.value!r})"


Atom = Var | Literal


def unknown(x: Any) -> bool:
    """In a transpose rule: whether this operand is one to differentiate with respect to."""
    return type(x) is Var


@dataclass(slots=True)
class Equation:
    """`outputs = primitive(*inputs, **params)`, and the user's line that asked for it."""

    primitive: Primitive
    inputs: list[Atom]
    params: dict[str, Any]
    outputs: list[Var]
    source: Source | None = None

    @property
    def effect(self) -> bool:
        """Whether it must run even if nobody reads its outputs."""
        return self.primitive.effect or (self.primitive.nested and any(
            e.effect for _, program in self.programs() for e in program.equations))

    def programs(self) -> Iterator[tuple[str, Program]]:
        """The programs among the parameters."""
        for name, value in self.params.items():
            if isinstance(value, Program):
                yield name, value
            elif isinstance(value, tuple):
                yield from ((f"{name}[{i}]", v) for i, v in enumerate(value)
                            if isinstance(v, Program))


# Identity equality: programs are cache keys.
@dataclass(slots=True, eq=False, repr=False, weakref_slot=True)
class Program:
    """A pure function: inputs -> outputs, with equations in evaluation order.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> program = lf.make_ir(lambda x: lnp.sin(x) * 2.0)(1.0)
    >>> [str(equation.primitive) for equation in program.equations]
    ['sin', 'mul']
    """

    inputs: list[Var]
    equations: list[Equation]
    outputs: list[Atom]
    consts: dict[Var, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # the user's names of the inputs, where they are known
    derived: dict[Any, Any] = field(default_factory=dict, repr=False)  # its transformed forms

    def __call__(self, *args: Any) -> list[Any]:
        """Perform the primitives. Equations recorded meanwhile inherit the lines of these."""
        env: dict[Any, Any] = {**self.consts, **dict(zip(self.inputs, args, strict=True))}
        recorder = current.get()
        inherit = recorder is not eval_trace or settings().debug_nans or settings().debug_infs
        before = recorder.source
        try:
            for eqn in self.equations:
                if inherit:
                    recorder.source = eqn.source or before
                values = [env[a] if type(a) is Var else a.value for a in eqn.inputs]
                out = eqn.primitive(*values, **eqn.params)
                if eqn.primitive.many:
                    env.update(zip(eqn.outputs, out, strict=True))
                else:
                    env[eqn.outputs[0]] = out
        finally:
            if inherit:
                recorder.source = before
        return [env[a] if type(a) is Var else a.value for a in self.outputs]

    @property
    def input_types(self) -> list[ArrayType]:
        return [v.type for v in self.inputs]

    @property
    def output_types(self) -> list[ArrayType]:
        return [a.type for a in self.outputs]

    def replace(self, *, inputs: Sequence[Var] | None = None,
                equations: list[Equation] | None = None,
                outputs: Sequence[Atom] | None = None,
                consts: dict[Var, Any] | None = None) -> Program:
        """A program with some parts changed; names are kept while the inputs are."""
        return Program(self.inputs if inputs is None else list(inputs),
                       self.equations if equations is None else equations,
                       self.outputs if outputs is None else list(outputs),
                       self.consts if consts is None else consts,
                       self.names if inputs is None else ())

    def check(self) -> Program:
        """Raise unless each variable is defined once, before use, with the type its rule infers."""
        defined = {*self.inputs, *self.consts}
        if len(defined) != len(self.inputs) + len(self.consts):
            raise TypeError("a variable is an input twice")
        for number, eqn in enumerate(self.equations):
            where = f"equation {number} ({eqn.primitive.name}, {describe_line(eqn.source)})"
            for atom in eqn.inputs:
                if type(atom) is Var and atom not in defined:
                    raise TypeError(f"{where} reads a variable that is not defined before it")
            types = as_list(eqn.primitive,
                            eqn.primitive.infer(*[a.type for a in eqn.inputs], **eqn.params))
            for var, t in zip(eqn.outputs, types, strict=True):
                if var in defined:
                    raise TypeError(f"{where} defines a variable a second time")
                if var.type[:2] != t[:2]:
                    raise TypeError(f"{where} has an output of type {var.type}, its rule says {t}")
                defined.add(var)
            for _, program in eqn.programs():
                program.check()
        for atom in self.outputs:
            if type(atom) is Var and atom not in defined:
                raise TypeError("an output is not defined")
        return self

    def cost(self) -> Cost:
        """Floating point operations and bytes moved, in all and for each equation."""
        return cost(self)

    def to_text(self, *, sources: bool = False) -> str:
        """The program as aligned text, with the user's lines if asked for."""
        return to_text(self, sources=sources)

    def __repr__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def close(program: Program) -> tuple[list[Any], Program]:
    """Turn the constants into leading inputs: (their values, the program without constants)."""
    if not program.consts:
        return [], program
    names = ("",) * len(program.consts) + program.names if program.names else ()
    closed = Program([*program.consts, *program.inputs], program.equations, program.outputs,
                     {}, names)
    return list(program.consts.values()), closed
