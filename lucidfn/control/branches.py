"""Choosing at run time which of several programs runs: `cond` and `switch`.

`switch` runs one branch. Batched over the index it is `switch_rows`: the rows of the batch are
sorted by the branch that they take, and each branch runs on its own rows only. So a branch sees no
row that it was not meant for: no NaN comes from there, no error, no effect. Branches run in order
of their number, each on its rows in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lucidfn.core.axes import axes_used, batched_axis
from lucidfn.core.ir import Literal, Program
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import record
from lucidfn.core.trace import shape_of
from lucidfn.ops.elementwise import eq, select
from lucidfn.ops.shape import (
    broadcast_to,
    merge_axes,
    move_axis,
    reduce_sum,
    reshape,
    zeros,
)
from lucidfn.transforms.programs import (
    batch_program,
    derived,
    holes_of,
    linearize_program,
    transpose_program,
)
from lucidfn.types import ArrayType

Branches = tuple[Program, ...]


class LinearBranches(NamedTuple):
    """Branches linearized alike.

    forward: the operands -> the outputs, then `slots` residuals. linear: those operands that
    `passed` lists, the residuals, the moving tangents -> the tangents of the outputs that move.
    """

    forward: Branches
    linear: Branches
    passed: tuple[int, ...]
    slots: int
    moved: tuple[bool, ...]


def linear_branches(branches: Branches, moving: tuple[bool, ...]) -> LinearBranches:
    """The branches linearized, made once for each set of operands that move."""
    return derived(branches[0], ("branches", branches, moving),
                   lambda: _linear_branches(branches, moving))


def _linear_branches(branches: Branches, moving: tuple[bool, ...]) -> LinearBranches:
    forms = [linearize_program(b, moving) for b in branches]
    moved = tuple([any(m) for m in zip(*[f[3] for f in forms], strict=True)])
    if not any(moved):
        return LinearBranches(branches, (), (), 0, moved)
    # A residual that is an operand is passed on, not given out: with many rows it is not copied.
    passed: list[int] = []
    slots: list[ArrayType] = []
    plans = []
    for fwd, _, n, _ in forms:
        operand = {v: i for i, v in enumerate(fwd.inputs)}
        used: set[int] = set()
        plan: list[tuple[str, Any]] = []
        for atom in fwd.outputs[n:]:
            if atom in operand:
                if operand[atom] not in passed:
                    passed.append(operand[atom])
                plan.append(("operand", passed.index(operand[atom])))
            elif type(atom) is Literal or atom in fwd.consts:
                plan.append(("const", atom.value if type(atom) is Literal else fwd.consts[atom]))
            else:  # branches share slots: only one of them fills it
                t = ArrayType(*atom.type[:2])
                at = next((i for i, s in enumerate(slots) if s == t and i not in used), len(slots))
                if at == len(slots):
                    slots.append(t)
                used.add(at)
                plan.append(("slot", at))
        plans.append(plan)
    forward = tuple([_forward(f, p, slots) for f, p in zip(forms, plans, strict=True)])
    ins = [*[branches[0].inputs[i].type for i in passed], *slots,
           *[ArrayType(*v.type[:2]) for v, m in zip(branches[0].inputs, moving, strict=True) if m]]
    linear = tuple([_linear(f, p, ins, len(passed), len(slots), moved)
                    for f, p in zip(forms, plans, strict=True)])
    return LinearBranches(forward, linear, tuple(passed), len(slots), moved)


def _forward(form: Any, plan: Sequence[tuple[str, Any]], slots: Sequence[ArrayType]) -> Program:
    fwd, _, n, _ = form

    def forward(*xs: Any) -> list[Any]:
        outs = fwd(*xs)
        filled = {at: x for (kind, at), x in zip(plan, outs[n:], strict=True) if kind == "slot"}
        return [*outs[:n], *[filled[i] if i in filled else zeros(t.shape, t.dtype)
                             for i, t in enumerate(slots)]]

    return record(forward, fwd.input_types, what="grad")


def _linear(form: Any, plan: Sequence[tuple[str, Any]], ins: Sequence[ArrayType], passed: int,
            slots: int, moved: Sequence[bool]) -> Program:
    _, lin, n, moves = form
    outs = form[0].outputs[:n]

    def linear(*xs: Any) -> list[Any]:
        groups = {"operand": xs[:passed], "slot": xs[passed:passed + slots]}
        residuals = [at if kind == "const" else groups[kind][at] for kind, at in plan]
        got = iter(lin(*residuals, *xs[passed + slots:]))
        return [next(got) if m else zeros(*a.type[:2])
                for a, m, any_moves in zip(outs, moves, moved, strict=True) if any_moves]

    return record(linear, ins, what="grad")


class Switch(Primitive):
    """branches[index](*operands); the index is within bounds."""

    many, nested = True, True

    def infer(self, index: ArrayType, *types: ArrayType, branches: Branches) -> list[ArrayType]:
        return [ArrayType(*t[:2]) for t in branches[0].output_types]

    def linearize(self, tangents: Sequence[Any], index: Any, *args: Any,
                  branches: Branches) -> tuple[list[Any], list[Any]]:
        form = linear_branches(branches, tuple([t is not None for t in tangents[1:]]))
        outs = self(index, *args, branches=form.forward)
        n = len(outs) - form.slots
        if not any(form.moved):
            return outs, [None] * n
        got = iter(self(index, *[args[i] for i in form.passed], *outs[n:],
                        *[t for t in tangents[1:] if t is not None], branches=form.linear))
        return outs[:n], [next(got) if m else None for m in form.moved]

    def transpose(self, cts: Sequence[Any], index: Any, *args: Any,
                  branches: Branches) -> list[Any]:
        holes, live = holes_of(args), tuple([ct is not None for ct in cts])
        backward = tuple([transpose_program(b, holes, live) for b in branches])
        known = [a for a, h in zip(args, holes, strict=True) if not h]
        got = iter(self(index, *known, *[ct for ct in cts if ct is not None], branches=backward))
        return [None, *[next(got) if h else None for h in holes]]

    def batch(self, size: int, batched: Sequence[bool], index: Any, *args: Any,
              branches: Branches) -> list[Any]:
        mapped = tuple(batched[1:])
        if not batched[0]:
            forms = tuple([batch_program(b, mapped, size) for b in branches])
            return self(index, *args, branches=forms)
        return choose_rows(size, index, args, branches, mapped)


def choose_rows(size: int, index: Any, args: Sequence[Any], branches: Branches,
                mapped: tuple[bool, ...]) -> list[Any]:
    """Each branch on the rows that take it; a collective in one of them is about all rows."""
    axis = batched_axis.get()
    if axis is not None and axis in axes_used({"branches": branches}):
        return _all_rows(size, index, args, branches, mapped)
    return switch_rows(index, *args, branches=branches, mapped=mapped,
                       summed=(False,) * len(branches[0].outputs))


def _all_rows(size: int, index: Any, args: Sequence[Any], branches: Branches,
              mapped: tuple[bool, ...]) -> list[Any]:
    """Every branch on every row."""
    outs: list[Any] = []
    for i, b in enumerate(branches):
        got = batch_program(b, mapped, size)(*args)
        chosen = eq(index, i)
        outs = got if not i else [
            select(reshape(chosen, shape=(size, *[1] * (len(shape_of(x)) - 1))), x, y)
            for x, y in zip(got, outs, strict=True)]
    return outs


class SwitchRows(Primitive):
    """Row r of the outputs is branches[index[r]] of row r of the operands.

    Operands that are not `mapped` are whole in every row; outputs that are `summed` are the sum
    over rows.
    """

    many, nested = True, True

    def infer(self, index: ArrayType, *types: ArrayType, branches: Branches,
              mapped: tuple[bool, ...], summed: tuple[bool, ...]) -> list[ArrayType]:
        return [ArrayType(t.shape if s else (*index.shape, *t.shape), t.dtype)
                for t, s in zip(branches[0].output_types, summed, strict=True)]

    def linearize(self, tangents: Sequence[Any], index: Any, *args: Any, branches: Branches,
                  mapped: tuple[bool, ...],
                  summed: tuple[bool, ...]) -> tuple[list[Any], list[Any]]:
        moving = tuple([t is not None for t in tangents[1:]])
        form = linear_branches(branches, moving)
        outs = self(index, *args, branches=form.forward, mapped=mapped,
                    summed=(*summed, *(False,) * form.slots))
        n = len(summed)
        if not any(form.moved):
            return outs, [None] * n
        flags = (*[mapped[i] for i in form.passed], *(True,) * form.slots,
                 *[m for m, moves in zip(mapped, moving, strict=True) if moves])
        got = iter(self(index, *[args[i] for i in form.passed], *outs[n:],
                        *[t for t in tangents[1:] if t is not None], branches=form.linear,
                        mapped=flags, summed=_where(summed, form.moved)))
        return outs[:n], [next(got) if m else None for m in form.moved]

    def transpose(self, cts: Sequence[Any], index: Any, *args: Any, branches: Branches,
                  mapped: tuple[bool, ...], summed: tuple[bool, ...]) -> list[Any]:
        holes, live = holes_of(args), tuple([ct is not None for ct in cts])
        backward = tuple([_transposed(b, holes, live) for b in branches])
        known = [not h for h in holes]
        flags = (*_where(mapped, known), *[not s for s in _where(summed, live)])
        got = iter(self(index, *_where(args, known), *_where(cts, live), branches=backward,
                        mapped=flags, summed=tuple([not m for m in _where(mapped, holes)])))
        return [None, *[next(got) if h else None for h in holes]]

    def batch(self, size: int, batched: Sequence[bool], index: Any, *args: Any,
              branches: Branches, mapped: tuple[bool, ...],
              summed: tuple[bool, ...]) -> list[Any]:
        if batched[0]:
            return self.batch_index(size, batched[1:], index, args, branches, mapped, summed)
        forms = tuple([batch_program(b, tuple(batched[1:]), size) for b in branches])
        rows = [move_axis(x, 0, 1) if b and m else x
                for x, b, m in zip(args, batched[1:], mapped, strict=True)]
        outs = self(index, *rows, branches=forms, mapped=mapped, summed=summed)
        return [x if s else move_axis(x, 1, 0) for x, s in zip(outs, summed, strict=True)]

    def batch_index(self, size: int, batched: Sequence[bool], index: Any, args: Sequence[Any],
                    branches: Branches, mapped: tuple[bool, ...],
                    summed: tuple[bool, ...]) -> list[Any]:
        """Batches of rows are more rows; what was summed is summed batch by batch."""
        rows = shape_of(index)[1]
        flat = []
        for x, b, m in zip(args, batched, mapped, strict=True):
            if m and not b:
                x = broadcast_to(x, shape=(size, *shape_of(x)))
            elif b and not m:
                s = shape_of(x)
                x = broadcast_to(reshape(x, shape=(size, 1, *s[1:])), shape=(size, rows, *s[1:]))
            flat.append(merge_axes(x, 0) if b or m else x)
        outs = self(merge_axes(index, 0), *flat, branches=branches, summed=(False,) * len(summed),
                    mapped=tuple([b or m for b, m in zip(batched, mapped, strict=True)]))
        outs = [reshape(x, shape=(size, rows, *shape_of(x)[1:])) for x in outs]
        return [reduce_sum(x, axes=(1,)) if s else x for x, s in zip(outs, summed, strict=True)]


def _where(values: Sequence[Any], flags: Sequence[bool]) -> tuple[Any, ...]:
    return tuple([v for v, f in zip(values, flags, strict=True) if f])


def _transposed(b: Program, holes: tuple[bool, ...], live: tuple[bool, ...]) -> Program:
    """The branch transposed; it remembers of what it is the transpose."""
    backward = transpose_program(b, holes, live)
    backward.derived.setdefault("transpose of", (b, holes, live))
    return backward


def rows_program(b: Program, mapped: tuple[bool, ...], summed: tuple[bool, ...],
                 count: int) -> Program:
    """A branch of `switch_rows` on `count` rows, made once for each count."""
    def make() -> Program:
        origin = b.derived.get("transpose of")
        # A sum over rows of outer products is one matrix product: so batched first where it can be.
        if origin is not None and any(summed):
            base, holes, live = origin
            cts = sum(live)
            flags, over = iter(mapped[:len(mapped) - cts]), iter(summed)
            if all(mapped[len(mapped) - cts:]):
                varies = tuple([not next(over) if h else next(flags) for h in holes])
                return transpose_program(batch_program(base, varies, count, None), holes, live)
        batched = batch_program(b, mapped, count, None)
        if not any(summed):
            return batched
        return record(lambda *xs: [reduce_sum(x, axes=(0,)) if s else x
                                   for x, s in zip(batched(*xs), summed, strict=True)],
                      batched.input_types, what="vmap")

    return derived(b, ("rows", mapped, summed, count), make)


switch, switch_rows = Switch("switch"), SwitchRows("switch_rows")

__all__ = ["choose_rows", "rows_program", "switch", "switch_rows"]
