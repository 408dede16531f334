"""Formulas of parts of programs: what they match, and equations that go in the place of a match.

A formula is written with functions named as the primitives: `add(mul(x, weight), bias)`. A `Hole`
stands for any atom, and for the same one wherever it occurs; so does a part that occurs twice.
Operands of sums and products match in both orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.core.ir import Atom, Equation, Literal, Var
from lucidfn.core.primitive import Primitive
from lucidfn.passes.rewrite import atom_key
from lucidfn.passes.views import Made, Shape, made_by
from lucidfn.types import ArrayType

Found = dict["Pattern", Atom]  # what holes and parts stand for

UNORDERED = {ops.add, ops.mul}


class Pattern:
    """Something that an atom of a program may be."""

    roots: frozenset[Primitive] = frozenset()  # whose outputs may match, but for holes

    def find(self, atom: Atom, made: Made, found: Found) -> Iterator[Found]:
        """Each way in which the atom matches, given what is found already."""
        known = found.get(self)
        if known is None:
            yield from self.ways(atom, made, found)
        elif atom_key(known) == atom_key(atom):
            yield found

    def ways(self, atom: Atom, made: Made, found: Found) -> Iterator[Found]:
        raise NotImplementedError


class Hole(Pattern):
    """Any atom."""

    def ways(self, atom: Atom, made: Made, found: Found) -> Iterator[Found]:
        yield {**found, self: atom}


class Apply(Pattern):
    """The output of a primitive, of any parameters."""

    def __init__(self, primitive: Primitive, *operands: Pattern):
        self.operands, self.roots = operands, frozenset({primitive})

    def ways(self, atom: Atom, made: Made, found: Found) -> Iterator[Found]:
        eqn = made.get(atom) if type(atom) is Var else None
        if eqn is None or eqn.primitive not in self.roots:
            return
        found = {**found, self: atom}
        yield from in_order(self.operands, eqn.inputs, made, found)
        if eqn.primitive in UNORDERED:
            yield from in_order(self.operands, eqn.inputs[::-1], made, found)


class Either(Pattern):
    """One of several patterns; the first that match are found first."""

    def __init__(self, *options: Pattern):
        self.options = options
        self.roots = frozenset().union(*[option.roots for option in options])

    def ways(self, atom: Atom, made: Made, found: Found) -> Iterator[Found]:
        for option in self.options:
            yield from option.find(atom, made, found)


def in_order(patterns: Sequence[Pattern], atoms: Sequence[Atom], made: Made,
             found: Found) -> Iterator[Found]:
    """Each way in which all match, operand by operand."""
    if not patterns:
        yield found
        return
    for more in patterns[0].find(atoms[0], made, found):
        yield from in_order(patterns[1:], atoms[1:], made, more)


def matched(found: Found, made: Made) -> list[Equation]:
    """The equations that a match goes through."""
    outputs = [atom for pattern, atom in found.items() if type(pattern) is Apply]
    return [made[v] for v in dict.fromkeys(outputs)]  # type: ignore[index]


def formula(primitive: Primitive) -> Callable[..., Pattern]:
    """The primitive as a word of formulas."""
    return lambda *operands: Apply(primitive, *operands)


add, sub, mul, div = map(formula, (ops.add, ops.sub, ops.mul, ops.div))
sqrt, rsqrt, square = map(formula, (ops.sqrt, ops.rsqrt, ops.square))
reduce_sum, softmax, select = map(formula, (ops.reduce_sum, ops.softmax, ops.select))
reshape, convert, dot_general = map(formula, (ops.reshape, ops.convert, ops.dot_general))


# ------------------------------------------------------------------ what goes in its place

class Fused(Primitive):
    """A kernel of MLX as a primitive of compiled programs only."""

    def __init__(self, name: str, kernel: Callable[..., Any]):
        self.name, self.kernel = name, kernel  # not in the table: no transformation meets it


class Replacement:
    """Equations in the place of one, at its line; the last of them defines what that defined."""

    def __init__(self, root: Equation, made: Made):
        self.root, self.made = root, made
        self.out = root.outputs[0]
        self.equations: list[Equation] = []

    def apply(self, primitive: Primitive, *inputs: Atom, **params: Any) -> Var:
        return self._add(primitive, inputs, params,
                         primitive.infer(*[a.type for a in inputs], **params))

    def fused(self, kernel: Fused, shape: Shape, *inputs: Atom, **params: Any) -> Var:
        """A fused kernel, whose output has this shape and the dtype of the root's."""
        return self._add(kernel, inputs, params, self.out.type._replace(shape=shape))

    def _add(self, primitive: Primitive, inputs: Sequence[Atom], params: dict[str, Any],
             out: ArrayType) -> Var:
        self.equations.append(
            Equation(primitive, list(inputs), params, [Var(out)], self.root.source))
        return self.equations[-1].outputs[0]

    def reshaped(self, x: Var, shape: Shape) -> Var:
        return x if x.type.shape == shape else self.apply(ops.reshape, x, shape=shape)

    def finished(self) -> list[Equation]:
        """The equations, when the last one has as many elements as the root's output."""
        self.reshaped(self.equations[-1].outputs[0], self.out.type.shape)
        self.equations[-1].outputs[0] = self.out
        return self.equations


def narrowed(atom: Atom, dtype: np.dtype, made: Made) -> Atom | None:
    """The variable of this dtype that this one is, or is converted from."""
    widening = made_by(atom, made, ops.convert)
    if widening is not None and widening.inputs[0].type.dtype == dtype:
        atom = widening.inputs[0]
    return atom if type(atom) is Var and atom.type.dtype == dtype else None


def number(atom: Atom | None) -> float | None:
    """The value of a real literal."""
    return atom.value if type(atom) is Literal and type(atom.value) in (int, float) else None


def all_sized(*types: ArrayType) -> bool:
    """Whether there are elements, and their number is known."""
    return all(n > 0 for t in types for n in t.shape)
