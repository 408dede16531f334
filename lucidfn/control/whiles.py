"""`loop`: a body that runs until a condition fails, or a number of times known at run time.

    carry, y[t] = body(consts, carry, x[t])        t = 0, 1, .. while cond(consts, carry)

It is a `scan` whose length is known when it has run. What it keeps at each step is a tape: an array
whose first axis has a size that types do not know. Linearized it is the loop with more tapes, and a
linear loop over as many steps that reads them; transposed, a linear loop runs backwards. All of
these are loops, so that they nest. In a batch each row stops by itself: the body then runs on those
rows only that go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn.control.branches import choose_rows
from lucidfn.control.custom import trace_of
from lucidfn.control.scan import (
    batched_body,
    depending,
    linearized,
    split_known,
    transposed,
)
from lucidfn.core.axes import batched_axis
from lucidfn.core.ir import Program, Var, unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import RecordTrace, record
from lucidfn.core.trace import shape_of
from lucidfn.errors import MissingRuleError, ShapeError
from lucidfn.ops.elementwise import add, bitwise_and, bitwise_or, convert, lt, sub
from lucidfn.ops.reduce import reduce_max, reduce_or
from lucidfn.ops.shape import broadcast_to, concatenate, move_axis, zeros
from lucidfn.ops.tapes import UNKNOWN, fits
from lucidfn.transforms.jvp import jvp
from lucidfn.transforms.programs import derived
from lucidfn.transforms.vmap import Shared, batch_flat
from lucidfn.types import ArrayType, bool_, int32

Carries = tuple[int, int]
FOREVER = np.array(-1, np.int32)  # the limit of a loop that only its condition ends


class Loop(Primitive):
    """steps, carry, tapes = the body again and again, at most `limit` times (-1: no bound).

    Operands: limit, consts, carry, tapes that are read. `program` is the body: (consts, carry,
    rows) -> (carry, rows of tapes that are written); `cond`: (consts, carry) -> bool, or None for
    exactly `limit` steps. With `reverse` tapes are read and written from row limit - 1 to 0.
    """

    name, many, nested = "loop", True, True

    def infer(self, limit: ArrayType, *types: ArrayType, program: Program, cond: Program | None,
              carries: Carries, reverse: bool) -> list[ArrayType]:
        first = sum(carries)
        for i, (t, v) in enumerate(zip(types, program.inputs, strict=True)):
            row = t if i < first else ArrayType(t.shape[1:], t.dtype)
            if not fits(row, v.type):
                raise ShapeError(f"got an operand {t} where the body takes {v.type}")
        outs = [ArrayType(*t[:2]) for t in program.output_types]
        return [ArrayType((), int32), *outs[:carries[1]],
                *[ArrayType((UNKNOWN, *t.shape), t.dtype) for t in outs[carries[1]:]]]

    # ------------------------------------------------------------------ derivatives

    def linearize(self, tangents: Sequence[Any], limit: Any, *args: Any, program: Program,
                  cond: Program | None, carries: Carries,
                  reverse: bool) -> tuple[list[Any], list[Any]]:
        tangents, (n_consts, n_carry) = tangents[1:], carries
        first = n_consts + n_carry
        moving = tuple([t is not None for t in tangents])
        form = derived(program, ("loop linearize", moving, carries),
                       lambda: linearized(program, moving, carries))
        full = [t if t is not None or not m else zeros(shape_of(x), x.dtype)
                for x, t, m in zip(args, tangents, form.moving, strict=True)]
        if any(form.moved) and not _recorded_apart(args, full):
            return self.together(full, limit, args, form, program, cond, carries, reverse)
        steps, *outs = self(limit, *args, program=form.forward, cond=cond, carries=carries,
                            reverse=reverse)
        outs, found = outs[:form.count], outs[form.count:]
        if not any(form.moved):
            return [steps, *outs], [None] * (1 + len(outs))
        fixed = form.of_consts(*args[:n_consts])
        at = {"y": outs, "x": args, "r": found}
        rows = [at[kind][i] for kind, i in form.rows]
        heads, carry, ts = [[t for t in part if t is not None] for part in
                            (full[:n_consts], full[n_consts:first], full[first:])]
        got = iter(self(steps, *fixed, *heads, *carry, *rows, *ts, program=form.linear, cond=None,
                        carries=(len(fixed) + len(heads), len(carry)), reverse=reverse)[1:])
        return [steps, *outs], [None, *[next(got) if m else None for m in form.moved]]

    def together(self, tangents: Sequence[Any], limit: Any, args: Sequence[Any], form: Any,
                 program: Program, cond: Program | None, carries: Carries,
                 reverse: bool) -> tuple[list[Any], list[Any]]:
        """Values and tangents in one loop: forward mode keeps nothing."""
        n_consts, n_carry = carries
        first = n_consts + n_carry
        body, test = derived(program, ("loop jvp", form.moving, carries, cond),
                             lambda: _with_tangents(program, cond, form, carries))
        parts = []
        for a, b in ((0, n_consts), (n_consts, first), (first, len(args))):
            parts.append([*args[a:b], *[t for t in tangents[a:b] if t is not None]])
        steps, *outs = self(limit, *[x for part in parts for x in part], program=body, cond=test,
                            carries=(len(parts[0]), len(parts[1])), reverse=reverse)
        n = len(parts[1])
        carry, ys = outs[:n], outs[n:]
        tapes = form.count - n_carry
        got = iter([*carry[n_carry:], *ys[tapes:]])
        return ([steps, *carry[:n_carry], *ys[:tapes]],
                [None, *[next(got) if m else None for m in form.moved]])

    def transpose(self, cts: Sequence[Any], limit: Any, *args: Any, program: Program,
                  cond: Program | None, carries: Carries, reverse: bool) -> list[Any]:
        if cond is not None:
            raise MissingRuleError("a loop whose end depends on what it carries is not linear; "
                                   "linearize it first")
        holes = depending(program, [unknown(a) for a in args], carries)
        n_consts, n_carry = carries
        first = n_consts + n_carry
        if not all(holes[n_consts:first]):
            return self.known_first(cts, limit, args, holes, program, carries, reverse)
        cts = cts[1:]
        live = tuple([ct is not None for ct in cts[n_carry:]])
        back, wanted = derived(program, ("loop transpose", holes, live, carries),
                               lambda: transposed(program, holes, live, carries))
        heads, rows = args[:n_consts], args[first:]
        known = [a for a in heads if not unknown(a)]
        sums = [zeros(a.type.shape, a.type.dtype) for a in heads if unknown(a)]
        carry = [zeros(t.shape, t.dtype) if ct is None else ct
                 for t, ct in zip(program.output_types[:n_carry], cts, strict=False)]
        out = self(limit, *known, *sums, *carry, *[x for x in rows if not unknown(x)],
                   *[ct for ct in cts[n_carry:] if ct is not None], program=back, cond=None,
                   carries=(len(known), len(sums) + n_carry), reverse=not reverse)[1:]
        totals, ct_rows = iter(out[:len(sums)]), iter(out[len(sums) + n_carry:])
        in_wanted = iter(wanted)
        return [None, *[next(totals) if unknown(a) else None for a in heads],
                *[ct if unknown(a) else None for ct, a in
                  zip(out[len(sums):], args[n_consts:first], strict=False)],
                *[next(ct_rows) if next(in_wanted) else None for _ in rows]]

    def known_first(self, cts: Sequence[Any], limit: Any, args: Sequence[Any],
                    holes: tuple[bool, ...], program: Program, carries: Carries,
                    reverse: bool) -> list[Any]:
        """The transpose where some carries are known: these are run ahead, and their values at
        each step become tapes."""
        n_consts, n_carry = carries
        first = n_consts + n_carry
        ahead, rest = derived(program, ("loop known", holes, carries),
                              lambda: split_known(program, holes, carries))
        heads, carry, rows = args[:n_consts], args[n_consts:first], args[first:]
        flags = holes[n_consts:first]
        consts = [a for a in heads if not unknown(a)]
        start = [a for a, h in zip(carry, flags, strict=True) if not h]
        left = [a for a, h in zip(carry, flags, strict=True) if h]
        out = self(limit, *consts, *start, *[x for x in rows if not unknown(x)], program=ahead,
                   cond=None, carries=(len(consts), len(start)), reverse=reverse)[1:]
        found = self.transpose(
            [None, *[ct for ct, h in zip(cts[1:], flags, strict=False) if h],
             *cts[1 + n_carry:]], limit, *heads, *left, *out[len(start):], *rows, program=rest,
            cond=None, carries=(n_consts, len(left)), reverse=reverse)
        got = iter(found[1 + n_consts:])
        return [*found[:1 + n_consts], *[next(got) if h else None for h in flags],
                *found[len(found) - len(rows):]]

    # ------------------------------------------------------------------ batches

    def batch(self, size: int, batched: Sequence[bool], limit: Any, *args: Any, program: Program,
              cond: Program | None, carries: Carries, reverse: bool) -> list[Any]:
        n_consts, n_carry = carries
        first = n_consts + n_carry
        axis = batched_axis.get()
        flags, body, varies = derived(
            program, ("loop batch", tuple(batched[1:]), size, carries, axis),
            lambda: batched_body(program, tuple(batched[1:]), size, carries))
        test, each = None, False
        if cond is not None:
            test, each = derived(cond, ("loop batch", flags[:first], size, axis),
                                 lambda: _batched_test(cond, flags[:first], size))
        rows = [move_axis(x, 0, 1) if b else x
                for x, b in zip(args[first:], batched[1 + first:], strict=True)]
        if batched[0] or each:
            return self.row_wise(size, batched, limit, [*args[:first], *rows], program, cond,
                                 carries, reverse)
        wide = [broadcast_to(a, shape=(size, *shape_of(a))) if f and not b else a
                for a, b, f in zip(args[:first], batched[1:], flags, strict=False)]
        steps, *outs = self(limit, *wide, *rows, program=body, cond=test, carries=carries,
                            reverse=reverse)
        outs = [*outs[:n_carry], *[move_axis(y, 1, 0) if v else y for y, v in
                                   zip(outs[n_carry:], varies[n_carry:], strict=True)]]
        return [Shared(steps), *[x if v else Shared(x) for x, v in zip(outs, varies, strict=True)]]

    def row_wise(self, size: int, batched: Sequence[bool], limit: Any, args: Sequence[Any],
                 program: Program, cond: Program | None, carries: Carries,
                 reverse: bool) -> list[Any]:
        """Each row stops by itself; the carry says which rows go on, and how far they are."""
        n_consts, n_carry = carries
        first = n_consts + n_carry
        flags = (*batched[1:1 + n_consts], *(True,) * n_carry, *batched[1 + first:])
        limit = limit if batched[0] else broadcast_to(limit, shape=(size,))
        wide = [broadcast_to(a, shape=(size, *shape_of(a))) if not b else a
                for a, b in zip(args[n_consts:first], batched[1 + n_consts:], strict=False)]
        body, goes_on = derived(program, ("loop rows", flags, size, carries, cond, reverse,
                                          batched_axis.get()),
                                lambda: _rows(program, cond, flags, size, carries, reverse))
        # One more limit, of 0: a batch may have no rows.
        most = FOREVER if cond is not None else reduce_max(
            concatenate(limit, zeros((1,), int32), axis=0), axes=(0,))
        start = zeros((size,), int32)
        if reverse:
            start = broadcast_to(sub(most, 1), shape=(size,))
        going = goes_on(limit, start, *args[:n_consts], *wide)[0]
        steps, *outs = self(most, limit, *args[:n_consts], going, start, *wide, *args[first:],
                            program=body,
                            cond=None if cond is None else _any_row(body, n_consts, n_carry),
                            carries=(1 + n_consts, 2 + n_carry), reverse=reverse)
        ends = limit if cond is None else outs[1]
        return [ends, *outs[2:2 + n_carry], *[move_axis(y, 1, 0) for y in outs[2 + n_carry:]]]


def _recorded_apart(args: Sequence[Any], tangents: Sequence[Any]) -> bool:
    """Whether tangents are placeholders of a linear program, rather than values."""
    trace = trace_of([t for t in tangents if t is not None])
    return isinstance(trace, RecordTrace) and trace.level > trace_of(args).level


def _with_tangents(program: Program, cond: Program | None, form: Any,
                   carries: Carries) -> tuple[Program, Program | None]:
    """The body and the condition on values and tangents."""
    n_consts, n_carry = carries
    first = n_consts + n_carry
    inputs, flags = program.inputs, form.moving
    spans = ((0, n_consts), (n_consts, first), (first, len(inputs)))

    def body(*xs: Any) -> list[Any]:
        it = iter(xs)
        values: list[Any] = []
        tangents: list[Any] = []
        for a, b in spans:
            values += [next(it) for _ in range(a, b)]
            tangents += [next(it) if flags[i] else None for i in range(a, b)]
        outs, found = jvp(program, values, tangents)
        moved = [zeros(shape_of(x), x.dtype) if t is None else t
                 for x, t, m in zip(outs, found, form.moved, strict=True) if m]
        n = sum(form.moved[:n_carry])
        return [*outs[:n_carry], *moved[:n], *outs[n_carry:], *moved[n:]]

    types = []
    for a, b in spans:
        mine = [ArrayType(*v.type[:2]) for v in inputs[a:b]]
        types += [*mine, *[t for t, m in zip(mine, flags[a:b], strict=True) if m]]
    made = record(body, types, what="jvp")
    if cond is None:
        return made, None
    test = iter(cond.inputs)
    ins: list[Var] = []
    for a, b in spans[:2]:
        ins += [next(test) for _ in range(a, b)]
        ins += [Var(v.type) for v, m in zip(inputs[a:b], flags[a:b], strict=True) if m]
    return made, cond.replace(inputs=ins)


def _batched_test(cond: Program, flags: tuple[bool, ...], size: int) -> tuple[Program, bool]:
    """The condition on a batch, and whether it differs between rows."""
    varies: list[bool] = []

    def test(*xs: Any) -> list[Any]:
        outs, varies[:] = batch_flat(cond, xs, flags, size, fill=False)
        return outs

    program = record(test, _batched_types(cond.inputs, flags, size), what="vmap")
    return program, varies[0]


def _batched_types(inputs: Sequence[Var], flags: Sequence[bool], size: int) -> list[ArrayType]:
    return [ArrayType((size, *v.type.shape) if f else v.type.shape, v.type.dtype)
            for v, f in zip(inputs, flags, strict=True)]


def _rows(program: Program, cond: Program | None, flags: tuple[bool, ...], size: int,
          carries: Carries, reverse: bool) -> tuple[Program, Program]:
    """(the body, which rows go on): the body runs on rows that go on; the others stay as they are.

    body: limits, consts | which go on, how far they are, carry | rows.
    """
    n_consts, n_carry = carries
    first = n_consts + n_carry
    limits = ArrayType((size,), int32)

    def goes_on(limit: Any, at: Any, *xs: Any) -> list[Any]:
        within = lt(at, limit)
        if cond is None:
            return [within]
        holds = batch_flat(cond, xs, flags[:first], size)[0][0]
        return [bitwise_and(holds, bitwise_or(lt(limit, 0), within))]

    def stay(*xs: Any) -> list[Any]:
        rows = [zeros(t.shape, t.dtype) for t in program.output_types[n_carry:]]
        return [*xs[n_consts:first], *rows]

    inputs = [ArrayType(*v.type[:2]) for v in program.inputs]
    types = _batched_types(program.inputs, flags, size)
    branches = (record(stay, inputs, what="vmap"), program)

    def body(limit: Any, *xs: Any) -> list[Any]:
        consts, going, at = xs[:n_consts], xs[n_consts], xs[n_consts + 1]
        outs = choose_rows(size, convert(going, dtype=int32), [*consts, *xs[n_consts + 2:]],
                           branches, flags)
        # With a condition `at` counts the steps of each row; without, all rows keep in step.
        at = add(at, convert(going, dtype=int32)) if cond is not None else \
            sub(at, 1) if reverse else add(at, 1)
        more = goes_on(limit, at, *consts, *outs[:n_carry])
        return [*more, at, *outs]

    going = ArrayType((size,), bool_)
    return (record(body, [limits, *types[:n_consts], going, limits, *types[n_consts:first],
                          *types[first:]], what="vmap"),
            record(goes_on, [limits, limits, *types[:first]], what="vmap"))


def _any_row(body: Program, n_consts: int, n_carry: int) -> Program:
    """The condition of the whole: whether any row goes on."""
    return derived(body, ("any row",), lambda: record(
        lambda *xs: [reduce_or(xs[1 + n_consts], axes=(0,))],
        body.input_types[:3 + n_consts + n_carry], what="vmap"))


loop = Loop()

__all__ = ["FOREVER", "Loop", "loop"]
