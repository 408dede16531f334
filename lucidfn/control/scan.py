"""`scan`: a body that runs once for each row of its inputs and carries values from step to step.

    carry, y[t] = body(consts, carry, x[t])          t = 0 .. length - 1, backwards with `reverse`

Each transformation of a scan is a scan of the transformed body, so that all of them nest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lucidfn.core.axes import batched_axis
from lucidfn.core.ir import Equation, Program, Var, unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import record
from lucidfn.core.trace import shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import add
from lucidfn.ops.shape import broadcast_to, move_axis, zeros
from lucidfn.ops.tapes import fits
from lucidfn.transforms.linearize import drop_dead, transpose
from lucidfn.transforms.programs import derived, linearize_program
from lucidfn.transforms.vmap import batch_flat
from lucidfn.types import ArrayType

Flags = tuple[bool, ...]


class Scan(Primitive):
    """carry, ys = body over the rows of xs: operands (consts, carry, xs), outputs (carry, ys).

    `program` is the body: (consts, carry, rows) -> (carry, rows of ys); `carries` says how many
    consts and how many carries there are. `unroll` is a hint.
    """

    name, many, nested = "scan", True, True

    def infer(self, *types: ArrayType, program: Program, carries: tuple[int, int], length: int,
              reverse: bool, unroll: int) -> list[ArrayType]:
        check_types(types, program, carries, length)
        outs = program.output_types
        return [*outs[:carries[1]], *[stacked(t, length) for t in outs[carries[1]:]]]

    # ------------------------------------------------------------------ derivatives

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Program,
                  carries: tuple[int, int], **how: Any) -> tuple[list[Any], list[Any]]:
        moving = tuple([t is not None for t in tangents])
        form = derived(program, ("scan linearize", moving, carries),
                       lambda: linearized(program, moving, carries))
        n_consts, n_carry = carries
        outs = self(*args, program=form.forward, carries=carries, **how)
        outs, found = outs[:form.count], outs[form.count:]
        if not any(form.moved):
            return outs, [None] * len(outs)
        fixed = form.of_consts(*args[:n_consts])
        at = {"y": outs, "x": args, "r": found}
        rows = [at[kind][i] for kind, i in form.rows]
        full = [t if t is not None or not m else zeros(shape_of(x), x.dtype)
                for x, t, m in zip(args, tangents, form.moving, strict=True)]
        heads = [t for t in full[:n_consts] if t is not None]
        carry = [t for t in full[n_consts:n_consts + n_carry] if t is not None]
        ts = [t for t in full[n_consts + n_carry:] if t is not None]
        got = iter(self(*fixed, *heads, *carry, *rows, *ts, program=form.linear,
                        carries=(len(fixed) + len(heads), len(carry)), **how))
        return outs, [next(got) if m else None for m in form.moved]

    def transpose(self, cts: Sequence[Any], *args: Any, program: Program,
                  carries: tuple[int, int], **how: Any) -> list[Any]:
        holes = depending(program, [unknown(a) for a in args], carries)
        n_consts, n_carry = carries
        first = n_consts + n_carry
        if not all(holes[n_consts:first]):
            return self.known_first(cts, args, holes, program, carries, how)
        live = tuple([ct is not None for ct in cts[n_carry:]])
        back, wanted = derived(program, ("scan transpose", holes, live, carries),
                               lambda: transposed(program, holes, live, carries))
        heads, rows = args[:n_consts], args[first:]
        known = [a for a in heads if not unknown(a)]
        sums = [zeros(a.type.shape, a.type.dtype) for a in heads if unknown(a)]
        carry = [zeros(t.shape, t.dtype) if ct is None else ct
                 for t, ct in zip(program.output_types[:n_carry], cts, strict=False)]
        out = self(*known, *sums, *carry, *[x for x in rows if not unknown(x)],
                   *[ct for ct in cts[n_carry:] if ct is not None], program=back,
                   carries=(len(known), len(sums) + n_carry),
                   **{**how, "reverse": not how["reverse"]})
        totals, ct_rows = iter(out[:len(sums)]), iter(out[len(sums) + n_carry:])
        return [*[next(totals) if unknown(a) else None for a in heads],
                *[ct if unknown(a) else None for ct, a in
                  zip(out[len(sums):], args[n_consts:first], strict=False)],
                *[next(ct_rows) if w else None for w in wanted]]

    def known_first(self, cts: Sequence[Any], args: Sequence[Any], holes: Flags, program: Program,
                    carries: tuple[int, int], how: dict[str, Any]) -> list[Any]:
        """The transpose where some carries are known: these are run ahead, and their values at
        each step become rows."""
        n_consts, n_carry = carries
        first = n_consts + n_carry
        ahead, rest = derived(program, ("scan known", holes, carries),
                              lambda: split_known(program, holes, carries))
        heads, carry, rows = args[:n_consts], args[n_consts:first], args[first:]
        flags = holes[n_consts:first]
        consts = [a for a in heads if not unknown(a)]
        start = [a for a, h in zip(carry, flags, strict=True) if not h]
        left = [a for a, h in zip(carry, flags, strict=True) if h]
        out = self(*consts, *start, *[x for x in rows if not unknown(x)], program=ahead,
                   carries=(len(consts), len(start)), **how)
        found = self.transpose(
            [*[ct for ct, h in zip(cts, flags, strict=False) if h], *cts[n_carry:]],
            *heads, *left, *out[len(start):], *rows, program=rest,
            carries=(n_consts, len(left)), **how)
        got = iter(found[n_consts:])
        return [*found[:n_consts], *[next(got) if h else None for h in flags],
                *found[len(found) - len(rows):]]

    # ------------------------------------------------------------------ batches

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Program,
              carries: tuple[int, int], length: int, **how: Any) -> list[Any]:
        n_consts, n_carry = carries
        flags, body, varies = derived(
            program, ("scan batch", tuple(batched), size, carries, batched_axis.get()),
            lambda: batched_body(program, tuple(batched), size, carries))
        first = n_consts + n_carry
        wide = [broadcast_to(a, shape=(size, *shape_of(a))) if f and not b else a
                for a, b, f in zip(args[:first], batched, flags, strict=False)]
        rows = [move_axis(x, 0, 1) if b else x
                for x, b in zip(args[first:], batched[first:], strict=True)]
        outs = self(*wide, *rows, program=body, carries=carries, length=length, **how)
        full = [x if v else broadcast_to(x, shape=(size, *shape_of(x)))
                for x, v in zip(outs[:n_carry], varies, strict=False)]
        ys = [move_axis(y, 1, 0) if v else broadcast_to(y, shape=(size, *shape_of(y)))
              for y, v in zip(outs[n_carry:], varies[n_carry:], strict=True)]
        return [*full, *ys]


def check_types(types: Sequence[ArrayType], program: Program, carries: tuple[int, int],
                length: int) -> None:
    """Raise unless operands and carries fit the body."""
    first = sum(carries)
    for t, v in zip(types, program.inputs, strict=True):
        first -= 1
        wanted = v.type if first >= 0 else stacked(v.type, length)
        if not fits(t, wanted):
            raise ShapeError(f"got an operand {t} where the body takes {wanted}")
    ins = program.input_types[carries[0]:sum(carries)]
    for have, out in zip(ins, program.output_types, strict=False):
        if have[:2] != out[:2]:
            raise TypeError(f"the body gets a carry {have} and returns {out}")


def stacked(t: ArrayType, length: int) -> ArrayType:
    return ArrayType((length, *t.shape), t.dtype)


# ------------------------------------------------------------------ linearize

@dataclass(frozen=True, eq=False)
class Linearized:
    """A body in two: `forward` has residuals after its `count` outputs, `linear` reads them.

    What depends on consts only is computed once, by `of_consts`. `rows` says where the rows of the
    other residuals are: ("y", output), ("x", operand) or ("r", residual).
    linear: residuals of consts, tangents of consts | of carries | rows of residuals, of tangents.
    """

    forward: Program
    linear: Program
    of_consts: Program
    rows: tuple[tuple[str, int], ...]
    count: int
    moving: Flags  # which operands have tangents, carries that come to move among them
    moved: Flags   # which outputs have


def linearized(program: Program, moving: Flags, carries: tuple[int, int]) -> Linearized:
    n_consts, n_carry = carries
    first = n_consts + n_carry
    carry = moving[n_consts:first]
    while True:  # a carry moves if it does at the start, or after any step
        moving = (*moving[:n_consts], *carry, *moving[first:])
        forward, linear, n, moved = linearize_program(program, moving)
        grown = tuple([a or b for a, b in zip(carry, moved, strict=False)])
        if grown == carry:
            break
        carry = grown
    outputs, residuals = forward.outputs[:n], forward.outputs[n:]
    fixed = only_from(forward, forward.inputs[:n_consts])
    kinds: list[tuple[str, int] | None] = []
    kept: list[Any] = []
    for atom in residuals:
        if atom in fixed or type(atom) is not Var:
            kinds.append(None)
        elif atom in outputs[n_carry:]:
            kinds.append(("y", n_carry + outputs[n_carry:].index(atom)))
        elif atom in forward.inputs[first:]:
            kinds.append(("x", forward.inputs.index(atom)))
        else:
            if atom not in kept:
                kept.append(atom)
            kinds.append(("r", kept.index(atom)))
    heads = [i for i, kind in enumerate(kinds) if kind is None]
    rows = [i for i, kind in enumerate(kinds) if kind is not None]
    of_consts = drop_dead(forward.replace(inputs=forward.inputs[:n_consts],
                                          outputs=[residuals[i] for i in heads]))
    count = len(residuals)
    ts = linear.inputs[count:]
    a = sum(moving[:n_consts])
    b = a + sum(carry)
    linear = linear.replace(
        inputs=[*[linear.inputs[i] for i in heads], *ts[:b],
                *[linear.inputs[i] for i in rows], *ts[b:]])
    moved_out = (*carry, *moved[n_carry:])
    return Linearized(
        forward.replace(outputs=[*outputs, *kept]), with_zeros(linear, program, moved, moved_out),
        of_consts, tuple([kinds[i] for i in rows]),  # type: ignore[misc]
        n, moving, moved_out)


def with_zeros(linear: Program, program: Program, moved: Flags, wanted: Flags) -> Program:
    """The linear program with zeros for the tangents of outputs that are wanted and do not move."""
    if moved == wanted:
        return linear

    def filled(*args: Any) -> list[Any]:
        got = iter(linear(*args))
        outs = []
        for t, m, w in zip(program.output_types, moved, wanted, strict=True):
            if m:
                outs.append(next(got))
            elif w:
                outs.append(zeros(t.shape, t.dtype))
        return outs

    return record(filled, linear.input_types, what="grad")


def only_from(program: Program, sources: Sequence[Var]) -> set[Any]:
    """The variables that depend on these inputs and on constants only, effects left out."""
    found: set[Any] = {*sources, *program.consts}
    for eqn in program.equations:
        if not eqn.effect and all(type(a) is not Var or a in found for a in eqn.inputs):
            found.update(eqn.outputs)
    return found


# ------------------------------------------------------------------ transpose

def depending(program: Program, holes: Sequence[bool], carries: tuple[int, int]) -> Flags:
    """Which operands are unknown, carries that come to depend on unknown ones among them."""
    n_consts, n_carry = carries
    flags = list(holes)
    while True:
        seen: set[Any] = {v for v, f in zip(program.inputs, flags, strict=True) if f}
        for eqn in program.equations:
            if any(a in seen for a in eqn.inputs):
                seen.update(eqn.outputs)
        carry = [f or a in seen for f, a in
                 zip(flags[n_consts:n_consts + n_carry], program.outputs, strict=False)]
        if carry == flags[n_consts:n_consts + n_carry]:
            return tuple(flags)
        flags[n_consts:n_consts + n_carry] = carry


def transposed(program: Program, holes: Flags, live: Flags,
               carries: tuple[int, int]) -> tuple[Program, Flags]:
    """(the body of the scan backwards, which operands among xs get cotangents).

    It takes known consts | sums of cotangents of consts, cotangents of carries | known rows,
    cotangents of rows of ys; and returns sums, cotangents of carries | cotangents of rows.
    """
    n_consts, n_carry = carries
    first = n_consts + n_carry
    inputs = program.inputs
    known = [v for v, h in zip(inputs[:n_consts], holes, strict=False) if not h]
    sums = [v for v, h in zip(inputs[:n_consts], holes, strict=False) if h]
    rows = [v for v, h in zip(inputs[first:], holes[first:], strict=True) if not h]
    out_types = program.output_types
    ct_types = [t for t, alive in zip(out_types[n_carry:], live, strict=True) if alive]
    wanted: list[bool] = []

    def backward(*args: Any) -> list[Any]:
        values = iter(args)
        env = {v: next(values) for v in known}
        totals = [next(values) for _ in sums]
        cts = [next(values) for _ in range(n_carry)]
        env.update((v, next(values)) for v in rows)
        cts += [next(values) if alive else None for alive in live]
        got = iter(transpose(program, [env.get(v, v) for v in inputs], cts))
        found = [next(got) if h else None for h in holes]
        wanted[:] = [ct is not None for ct in found[first:]]
        sums_out = [t if ct is None else add(t, ct) for t, ct in
                    zip(totals, [ct for ct, h in zip(found[:n_consts], holes, strict=False) if h],
                        strict=True)]
        back = [zeros(v.type.shape, v.type.dtype) if ct is None else ct
                for v, ct in zip(inputs[n_consts:first], found[n_consts:first], strict=True)]
        return [*sums_out, *back, *[ct for ct in found[first:] if ct is not None]]

    types = [strong(v.type) for v in [*known, *sums]] + [strong(t) for t in out_types[:n_carry]]
    types += [strong(v.type) for v in rows] + [strong(t) for t in ct_types]
    back = record(backward, types, what="grad")
    return back, tuple(wanted)


def strong(t: ArrayType) -> ArrayType:
    return t._replace(weak=False)


def split_known(program: Program, holes: Flags,
                carries: tuple[int, int]) -> tuple[Program, Program]:
    """(the body of the known carries, which gives their values before each step as rows; the body
    where these are rows, in front of the others)."""
    n_consts, n_carry = carries
    first = n_consts + n_carry
    inputs, flags = program.inputs, holes[n_consts:first]
    carry = [v for v, h in zip(inputs[n_consts:first], flags, strict=True) if not h]
    left = [v for v, h in zip(inputs[n_consts:first], flags, strict=True) if h]
    ends = [a for a, h in zip(program.outputs, flags, strict=False) if not h]
    ahead = drop_dead(program.replace(
        inputs=[*[v for v, h in zip(inputs[:n_consts], holes, strict=False) if not h], *carry,
                *[v for v, h in zip(inputs[first:], holes[first:], strict=True) if not h]],
        outputs=[*ends, *carry]))
    outputs = [a for a, h in zip(program.outputs, flags, strict=False) if h]
    rest = program.replace(inputs=[*inputs[:n_consts], *left, *carry, *inputs[first:]],
                           outputs=[*outputs, *program.outputs[n_carry:]])
    return ahead, rest


# ------------------------------------------------------------------ batch

def batched_body(program: Program, batched: Flags, size: int,
                 carries: tuple[int, int]) -> tuple[Flags, Program, Flags]:
    """(which operands are batched, carries that come to be among them; the body; which outputs)."""
    n_consts, n_carry = carries
    first = n_consts + n_carry
    flags = list(batched)
    while True:
        body, varies = _batched(program, tuple(flags), size, ())
        carry = [a or b for a, b in zip(flags[n_consts:first], varies, strict=False)]
        if carry == flags[n_consts:first]:
            break
        flags[n_consts:first] = carry
    wanted = (*carry, *varies[n_carry:])
    if wanted != varies:
        body, varies = _batched(program, tuple(flags), size, wanted)
    return tuple(flags), body, varies


def _batched(program: Program, flags: Flags, size: int, wanted: Flags) -> tuple[Program, Flags]:
    varies: list[bool] = []

    def run(*args: Any) -> list[Any]:
        outs, found = batch_flat(program, args, flags, size, fill=False)
        if wanted:
            outs = [broadcast_to(as_array(x, a.type), shape=(size, *a.type.shape))
                    if w and not f else x for x, f, w, a in
                    zip(outs, found, wanted, program.outputs, strict=True)]
            found = list(wanted)
        varies[:] = found
        return outs

    types = [ArrayType((size, *v.type.shape), v.type.dtype) if f else v.type
             for v, f in zip(program.inputs, flags, strict=True)]
    body = record(run, types, what="vmap")
    return body, tuple(varies)


def as_array(x: Any, t: ArrayType) -> Any:
    """An output that a rule made a Python number."""
    return x if hasattr(x, "dtype") else add(zeros(t.shape, t.dtype), x)


def as_program(scan: Scan, types: Sequence[ArrayType], params: dict[str, Any]) -> Program:
    """A program of one scan: what an un-jitted scan compiles."""
    inputs = [Var(strong(t)) for t in types]
    outputs: list[Var] = [Var(t) for t in scan.infer(*types, **params)]
    return Program(inputs, [Equation(scan, [*inputs], params, outputs)], [*outputs])


scan: Callable[..., list[Any]] = Scan()

__all__ = ["Scan", "as_program", "scan"]
