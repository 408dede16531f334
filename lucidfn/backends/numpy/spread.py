"""How rows spread: which values of a program keep the row axis of its inputs, and where.

The `rows` rules of the primitives say for each equation what becomes of the axis: it stays, it is
summed over, or the equation must see the whole.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lucidfn import ops
from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.ops.families import Elementwise
from lucidfn.types import is_inexact

CALL = 400  # nanoseconds in which the call of a kernel has computed nothing

# What costs less than this to compute from the inputs, such as everything that depends on labels
# alone, is not worth a place in a phase: run whole, its sums are ready before the phases begin.
LIGHT = 1 << 17  # bytes read and written
FLAT = 1 << 15  # elements that make an array worth a loop of its own

PRODUCTS = {ops.dot_general, ops.conv}


@dataclass
class Phase:
    """Equations over the same rows, and what is known of their values."""

    equations: list[Equation] = field(default_factory=list)
    sums: set[Var] = field(default_factory=set)


@dataclass
class Rows:
    """Where the row axis of each value is, and when each equation can run.

    Phase n runs before the whole equations of level n + 1, and after those of level n.
    """

    size: int
    axis: dict[Var, int]
    phases: dict[int, Phase]
    whole: list[tuple[int, Equation]]
    moved: int  # bytes that the phases read and write
    products: int  # floating point operations of their products and convolutions
    flat: int = 0  # bytes of `moved` that loops over single elements would do as well

    @property
    def by_rows(self) -> bool:
        """Whether rows have something to do with it. An update of parameters is elementwise, and
        could be cut along any axis."""
        return self.products > 0 or 4 * (self.moved - self.flat) >= self.flat

    @property
    def time(self) -> float:
        """About how many nanoseconds the phases take on one thread: 10 GB/s, 100 GFLOP/s."""
        return 0.1 * self.moved + 0.01 * self.products

    @property
    def work(self) -> tuple[int, int]:
        """What plans are compared by: products come first."""
        return self.products, self.moved


class Share(NamedTuple):
    """An equation, and what it costs whatever the rows are."""

    equation: Equation
    vars: list[Var]
    light: bool
    moved: int
    products: int

    @property
    def time(self) -> float:
        """About how many nanoseconds more than the call of a kernel takes by itself."""
        return max(0.1 * self.moved + 0.01 * self.products - CALL, 0)


def shares_of(program: Program) -> list[Share]:
    """The equations with their costs."""
    size: dict[Atom, int] = {}  # bytes
    # What it took to compute a value, where that is little.
    light: dict[Atom, int] = dict.fromkeys([*program.inputs, *program.consts], 0)
    found = []
    for eqn in program.equations:
        vars, moved, products = [a for a in eqn.inputs if type(a) is Var], 0, 0
        for v in eqn.outputs:
            size[v] = v.type.nbytes
            moved += size[v]
        cost = 0
        for v in vars:
            if v not in size:
                size[v] = v.type.nbytes
            moved += size[v]
            cost += light.get(v, LIGHT)
        cost += moved
        if eqn.primitive in PRODUCTS:
            products = eqn.primitive.flops([a.type for a in eqn.inputs],
                                           [v.type for v in eqn.outputs], **eqn.params)
        elif cost < LIGHT:
            light.update(dict.fromkeys(eqn.outputs, cost))
        found.append(Share(eqn, vars, cost < LIGHT and eqn.primitive not in PRODUCTS, moved,
                           products))
    return found


def spread_rows(shares: Sequence[Share], size: int, seeds: dict[Var, int]) -> Rows:
    """Follow the rows from the seeds through the program."""
    axis = dict(seeds)
    level: dict[Any, int] = {}  # 0 for those that it does not hold
    ready: dict[Any, int] = {}  # from which phase on a value is whole, where that is another one
    phases: dict[int, Phase] = defaultdict(Phase)
    whole: list[tuple[int, Equation]] = []
    moved = products = flat = seen = 0
    for eqn, vars, light, more_moved, more_products in shares:
        result = None if light or axis.keys().isdisjoint(vars) else row_rule(eqn, axis, size)
        at = 0
        if result is None:
            # It waits for the phase that makes its inputs.
            for v in vars:
                if v in ready or v in level:
                    at = max(at, ready.get(v) or level[v])
            if eqn.effect:  # effects stay in order
                at = seen = max(at, seen)
            whole.append((at, eqn))
            for v in eqn.outputs:
                if at:
                    level[v] = at
                shape = v.type.shape
                # A later phase may want rows of it, if it has something to do with rows.
                if shape and shape[0] % size == 0 < shape[0] and (
                        not axis.keys().isdisjoint(vars) or all(u.type.ndim == 0 for u in vars)):
                    axis[v] = 0
            continue
        for v in vars:
            if v in level:
                at = max(at, level[v])
        phases[at].equations.append(eqn)
        moved, flat = moved + more_moved, flat + more_moved * is_flat(eqn)
        products += more_products
        for out in eqn.outputs:
            if result == "add":
                phases[at].sums.add(out)
                level[out] = at + 1
            else:
                axis[out], level[out], ready[out] = result, at, at + 1
    return Rows(size, axis, dict(phases), whole, moved, products, flat)


def row_rule(eqn: Equation, axis: dict[Var, int], size: int) -> int | str | None:
    """What the rule of the primitive says for the axes of its inputs."""
    if eqn.effect or not eqn.outputs:
        return None
    axes = [axis.get(a) if type(a) is Var else None for a in eqn.inputs]
    if all(a is None for a in axes):
        return None
    if eqn.primitive is ops.reshape:
        return reshaped_rows(eqn.inputs[0].type.shape, eqn.params["shape"], axes[0], size)
    types = [a.type for a in eqn.inputs]
    result = eqn.primitive.rows(axes, types, **eqn.params)
    if result == "add" and any(v.type.dtype.itemsize == 2 and is_inexact(v.type.dtype)
                               for v in eqn.outputs):
        return None  # 16 bits are too few for a sum that is rounded after every block
    if type(result) is int:  # blocks of unlike length, such as rows and tokens, do not meet
        unit = eqn.outputs[0].type.shape[result]
        if any(a is not None and t.shape[a] != unit for a, t in zip(axes, types, strict=True)):
            return None
    return result


def reshaped_rows(old: tuple[int, ...], new: tuple[int, ...], axis: int, size: int) -> int | None:
    """The axis of the new shape whose elements are those of whole rows, in their order: a row may
    become several (examples become tokens) and several one."""
    before = math.prod(old[:axis])
    return next((i for i, n in enumerate(new) if n and n % size == 0
                 and math.prod(new[:i]) == before), None)


def is_flat(eqn: Equation) -> bool:
    """Whether each operand is a scalar or as large as the result, and that is large."""
    if not isinstance(eqn.primitive, Elementwise) or eqn.primitive.many:
        return False
    shape = eqn.outputs[0].type.shape
    return (math.prod(shape) >= FLAT
            and any(type(a) is Var and a.type.shape == shape for a in eqn.inputs)
            and all(a.type.shape in ((), shape) for a in eqn.inputs))
