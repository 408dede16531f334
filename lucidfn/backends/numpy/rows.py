"""The plan of a program: what runs in blocks of rows, and what runs whole.

Training programs are parallel over the examples of a batch but for a few sums. One axis of some
inputs is taken as that of the rows; the `rows` rules of the primitives say which values keep it.
Equations that do are put together into phases. A phase runs over blocks of rows, on several
threads, so that what lies between its first operand and its last result never leaves the cache;
values that are summed over the rows (the gradient of a weight) are ready when it ends. The result
is again a program: each phase is one equation of the primitive `blocks`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lucidfn import ops
from lucidfn.backends.numpy.blocks import Loop, blocks
from lucidfn.core.ir import Atom, Equation, Literal, Program, Var
from lucidfn.ops.families import Elementwise
from lucidfn.passes import unfold
from lucidfn.types import ArrayType, is_inexact

# Blocks hold about this many elements of their widest value; where there are products, rows enough
# for these, up to so many elements. Convolutions make blocks of their own, which the cache holds:
# each block of theirs costs many calls.
ELEMENTS = 1 << 17
CONVOLVED = 1 << 20
PRODUCT_ROWS = 512
MOST = 1 << 19
SMALL = 1 << 18  # bytes that a phase without products writes, for it to be worth its threads
# Below this much work on rows, threads and blocks cost more than they save.
WORTH = 500_000  # nanoseconds on one thread, as `Rows.time` estimates them

# What costs less than this to compute from the inputs, such as everything that depends on labels
# alone, is not worth a place in a phase: run whole, its sums are ready before the phases begin.
LIGHT = 1 << 17  # bytes written

MOVES = {ops.reshape, ops.permute, ops.broadcast_to, ops.copy, ops.stop_gradient}


@dataclass
class Phase:
    """Equations over the same rows, and what is known of their values."""

    equations: list[Equation] = field(default_factory=list)
    sums: set[Var] = field(default_factory=set)


@dataclass
class Rows:
    """Where the row axis of each value is, and when each equation can run.

    A value of level n is ready before phase n; those that phase n makes row by row have level n
    too, but are whole only for phase n + 1.
    """

    size: int
    axis: dict[Var, int]
    level: dict[Var, int]
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


def spread_rows(program: Program, size: int, seeds: dict[Var, int]) -> Rows:
    """Follow the rows from the seeds through the program."""
    axis, level = dict(seeds), defaultdict(int)
    phases: dict[int, Phase] = defaultdict(Phase)
    whole: list[tuple[int, Equation]] = []
    made: set[Var] = set()  # row by row, in the phase of their level
    moved = products = flat = seen = 0
    light: dict[Any, int] = {}  # bytes written to compute a value, where these are few
    for v in [*program.inputs, *program.consts]:
        light[v] = 0
    for eqn in program.equations:
        vars = [a for a in eqn.inputs if type(a) is Var]
        at = max([level[v] + (v in made and v not in axis) for v in vars], default=0)
        cost = sum(light.get(v, LIGHT) for v in vars) + sum(v.type.nbytes for v in eqn.outputs)
        if cost < LIGHT and eqn.primitive not in (ops.dot_general, ops.conv):
            light.update(dict.fromkeys(eqn.outputs, cost))
            result = None
        else:
            result = row_rule(eqn, axis, size)
        if result is None:
            # It waits for the phase that makes its inputs.
            at = max([level[v] + (v in made) for v in vars], default=0)
            if eqn.effect:  # effects stay in order
                at = seen = max(at, seen)
            whole.append((at, eqn))
            # A later phase may want rows of it, if it has something to do with rows.
            related = any(v in axis for v in vars) or all(v.type.ndim == 0 for v in vars)
            for v in eqn.outputs:
                level[v] = at
                if related and v.type.shape and v.type.shape[0] % size == 0 < v.type.shape[0]:
                    axis[v] = 0
            continue
        phases[at].equations.append(eqn)
        bytes = sum(t.type.nbytes for t in [*vars, *eqn.outputs])
        moved, flat = moved + bytes, flat + bytes * is_flat(eqn)
        if eqn.primitive in (ops.dot_general, ops.conv):
            products += eqn.primitive.flops([a.type for a in eqn.inputs],
                                            [v.type for v in eqn.outputs], **eqn.params)
        for out in eqn.outputs:
            if result == "add":
                phases[at].sums.add(out)
                level[out] = at + 1
            else:
                axis[out], level[out] = result, at
                made.add(out)
    return Rows(size, axis, level, dict(phases), whole, moved, products, flat)


def is_small(phase: Phase) -> bool:
    """Whether a phase costs less than handing it to threads."""
    return not any(e.primitive in (ops.dot_general, ops.conv) for e in phase.equations) and sum(
        v.type.nbytes for e in phase.equations for v in e.outputs) < SMALL


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


def choose_rows(program: Program) -> Rows | None:
    """The rows that cover most of the program; None if they cover little."""
    sources = [v for v in [*program.inputs, *program.consts] if v.type.shape]
    total = sum(e.primitive.flops([a.type for a in e.inputs], [v.type for v in e.outputs],
                                  **e.params)
                for e in program.equations if e.primitive in (ops.dot_general, ops.conv))
    # Parameters and state come back as outputs; data does not.
    returned = {a.type[:2] for a in program.outputs}
    data = [v for v in sources if v.type[:2] not in returned]
    best: Rows | None = None
    for group in (data, sources):
        for size in sorted({v.type.shape[0] for v in group} - {0, 1}):
            seeds = {v: 0 for v in group if v.type.shape[0] == size}
            for found in (spread_rows(program, size, s) for s in (seeds, *fewer(seeds))):
                if found.by_rows and (best is None or found.work > best.work):
                    best = found
        if best is not None and 2 * best.products > total > 0:
            break
    return best if best is not None and best.time >= WORTH else None


def fewer(seeds: dict[Var, int]) -> list[dict[Var, int]]:
    """The seeds but one each: a weight may be as long as the batch by accident."""
    return [{u: 0 for u in seeds if u is not v} for v in seeds] if 1 < len(seeds) <= 6 else []


def in_blocks(program: Program, threads: int) -> Program:
    """The program with its phases as equations; the same program if it has none worth it."""
    program, rows = with_checkpoints(program)
    equations = program.equations if rows is None else arrange(program, rows, threads)
    equations = flatten_elementwise(equations, program.outputs, threads)
    return program.replace(equations=equations)


def with_checkpoints(program: Program) -> tuple[Program, Rows | None]:
    """The program and its rows. What is computed again for a checkpoint is part of the phase if
    there is one alone; with several, the first would compute it and keep it till the last.
    """
    unfolded = unfold(program)
    if unfolded is not program:
        rows = choose_rows(unfolded)
        if rows is not None and len(rows.phases) == 1:
            return unfolded, rows
    return program, choose_rows(program)


def arrange(program: Program, rows: Rows, threads: int) -> list[Equation]:
    """The equations in their new order: by level, whole ones before the phase and as late as can
    be."""
    last = max([*rows.phases, *[at for at, _ in rows.whole]], default=0) + 1
    used: dict[Any, int] = defaultdict(lambda: last)
    for at, phase in rows.phases.items():
        for eqn in phase.equations:
            for a in eqn.inputs:
                used[a] = min(used[a], at)
    late: dict[int, list[Equation]] = defaultdict(list)
    for at, eqn in reversed(rows.whole):
        when = at if eqn.effect else max(at, min([used[v] for v in eqn.outputs], default=at))
        late[when].insert(0, eqn)
        for a in eqn.inputs:
            used[a] = min(used[a], when)
    home = {v: at for at, phase in rows.phases.items() for e in phase.equations for v in e.outputs}
    needed = {a for a in program.outputs if type(a) is Var}
    for at, phase in rows.phases.items():
        needed.update(a for e in phase.equations for a in e.inputs if home.get(a, at) != at)
    needed.update(a for _, e in rows.whole for a in e.inputs if type(a) is Var)
    out: list[Equation] = []
    for at in range(last + 1):
        out += late.get(at, [])
        if at in rows.phases and is_small(rows.phases[at]):
            out += rows.phases[at].equations
        elif at in rows.phases:
            out.append(phase_equation(rows.phases[at], rows, needed, threads))
    return out


# ------------------------------------------------------------------ one phase

def phase_equation(phase: Phase, rows: Rows, needed: set[Var], threads: int) -> Equation:
    """The phase as one equation of `blocks`."""
    made = [v for e in phase.equations for v in e.outputs]
    sums = [v for v in made if v in phase.sums]
    kept = [v for v in made if v in needed and v not in phase.sums]
    per, size = block_size(phase, rows, threads)
    programs = {}
    for n in [size, *sorted(remainders(rows.size, per, size))]:
        inputs, programs[n] = block_program(phase, rows, [*sums, *kept], n)
    unit = lambda v, axis: (axis, v.type.shape[axis] // rows.size)
    loop = Loop(programs, rows.size, per, tuple([None if a is None else unit(v, a)
                                                 for v, a in inputs]), len(sums),
                tuple([unit(v, rows.axis[v]) for v in kept]))
    return Equation(blocks, [v for v, _ in inputs],
                    {"loops": (loop,), "types": tuple([v.type for v in [*sums, *kept]])},
                    [*sums, *kept], phase.equations[0].source)


# ------------------------------------------------------------------ elementwise on whole arrays

FLAT = 1 << 15  # elements that make an array worth a loop
# Elements of a block of it. Of less, threads spend more time on handing the interpreter to one
# another than they gain from the cache.
FLAT_BLOCK = 1 << 17


def flatten_elementwise(equations: Sequence[Equation], outputs: Sequence[Atom],
                        threads: int) -> list[Equation]:
    """Chains of elementwise equations on large arrays, such as the update of parameters, as loops
    over their elements. Chains of different shapes share one hand-off to the threads."""
    out: list[Equation] = []
    groups: dict[tuple[int, ...], list[Equation]] = {}
    inside: dict[Var, tuple[int, ...]] = {}
    readers: dict[Any, set[int]] = defaultdict(set)
    for eqn in equations:
        for a in eqn.inputs:
            readers[a].add(id(eqn))

    def flush() -> None:
        chains = [e for group in groups.values() for e in group]
        if 0.1 * sum(a.type.nbytes for e in chains for a in [*e.inputs, *e.outputs]) < WORTH // 2:
            out.extend(chains)
        elif chains:
            out.append(flat_equation(groups, readers, outputs, threads))
        groups.clear()
        inside.clear()

    for eqn in equations:
        if is_flat(eqn):
            shape = eqn.outputs[0].type.shape
            if any(inside.get(a, shape) != shape for a in eqn.inputs):
                flush()
            groups.setdefault(shape, []).append(eqn)
            inside[eqn.outputs[0]] = shape
            continue
        if any(a in inside for a in eqn.inputs):
            flush()
        out.append(eqn)
    flush()
    return out


def is_flat(eqn: Equation) -> bool:
    """Whether each operand is a scalar or as large as the result, and that is large."""
    if not isinstance(eqn.primitive, Elementwise) or eqn.primitive.many:
        return False
    shape = eqn.outputs[0].type.shape
    return (math.prod(shape) >= FLAT
            and any(type(a) is Var and a.type.shape == shape for a in eqn.inputs)
            and all(a.type.shape in ((), shape) for a in eqn.inputs))


def flat_equation(groups: dict[tuple[int, ...], list[Equation]], readers: dict[Any, set[int]],
                  outputs: Sequence[Atom], threads: int) -> Equation:
    """The loops of all shapes as one equation."""
    wanted = {a for a in outputs if type(a) is Var}
    loops, operands, results = [], [], []
    for shape, equations in groups.items():
        own = {id(e) for e in equations}
        kept = [e.outputs[0] for e in equations
                if e.outputs[0] in wanted or readers[e.outputs[0]] - own]
        n = math.prod(shape)
        per = -(-n // (threads * 64)) * 64  # whole cache lines
        size = min(per, FLAT_BLOCK)
        flat = {v: 0 for e in equations for v in [*e.inputs, *e.outputs] if v.type.shape == shape}
        rows = Rows(n, flat, {}, {}, [], 0, 0)
        programs = {}
        for m in [size, *sorted(remainders(n, per, size))]:
            inputs, programs[m] = block_program(Phase(equations), rows, kept, m, flat=True)
        loops.append(Loop(programs, n, per, tuple([None if a is None else (0, 1)
                                                   for _, a in inputs]), 0,
                          ((0, 1),) * len(kept), flat=True))
        operands += [v for v, _ in inputs]
        results += kept
    first = next(iter(groups.values()))[0]
    return Equation(blocks, operands, {"loops": tuple(loops),
                                       "types": tuple([v.type for v in results])},
                    results, first.source)


def block_size(phase: Phase, rows: Rows, threads: int) -> tuple[int, int]:
    """(rows of a thread, rows of a block)."""
    made = [e for e in phase.equations if e.outputs[0] not in phase.sums
            and e.primitive not in MOVES]
    widest = max([v.type.size // rows.size for e in made for v in e.outputs], default=1) or 1
    per = -(-rows.size // threads)
    convolved = any(e.primitive is ops.conv for e in phase.equations)
    block = max(1, (CONVOLVED if convolved else ELEMENTS) // widest)
    # A product of few rows spends its time on reading the weights.
    units = [e.outputs[0].type.shape[rows.axis[e.outputs[0]]] // rows.size for e in made
             if e.primitive is ops.dot_general and e.params["batch"] == ((), ())]
    if units:
        block = max(block, min(-(-PRODUCT_ROWS // min(units)), MOST // widest))
    block = max(1, min(block, per))
    return per, -(-per // -(-per // block))  # equal blocks, as far as they go


def remainders(rows: int, per: int, size: int) -> set[int]:
    """Sizes of the last blocks of each thread, where they are smaller."""
    spans = [(lo, min(lo + per, rows)) for lo in range(0, rows, per)]
    return {(hi - lo) % size for lo, hi in spans} - {0}


def block_program(phase: Phase, rows: Rows, outputs: Sequence[Var], size: int,
                  flat: bool = False) -> tuple[list[tuple[Var, int | None]], Program]:
    """(inputs with the axis they are cut along, program for a block of `size` rows)."""
    inside = {v for e in phase.equations for v in e.outputs}
    inputs: dict[tuple[Var, int | None], Var] = {}
    env: dict[Var, Var] = {}

    def take(v: Var, axis: int | None) -> Var:
        if v in inside:
            return env[v]
        if (v, axis) not in inputs:
            inputs[v, axis] = Var(block_type(v.type, axis, size, rows.size, flat))
        return inputs[v, axis]

    equations = []
    for e in phase.equations:
        out = e.outputs[0]  # of several, all have their rows along the same axis
        at = None if out in phase.sums else rows.axis[out]
        atoms = [a if type(a) is Literal else take(a, cut_axis(a, e, at, rows))
                 for a in e.inputs]
        params = e.params if at is None else e.primitive.row_params(
            at, out.type.shape[at] // rows.size * size, [a.type for a in e.inputs], **e.params)
        for v in e.outputs:
            env[v] = Var(block_type(v.type, at, size, rows.size, flat))
        equations.append(Equation(e.primitive, atoms, params, [env[v] for v in e.outputs],
                                  e.source))
    return list(inputs), Program(list(inputs.values()), equations, [env[v] for v in outputs])


def cut_axis(a: Var, eqn: Equation, out_axis: int | None, rows: Rows) -> int | None:
    """The axis along which an operand is cut. Elementwise, a whole operand as long as the rows is
    cut with them."""
    if a in rows.axis:
        return rows.axis[a]
    if out_axis is not None and isinstance(eqn.primitive, Elementwise):
        place = out_axis - (len(eqn.outputs[0].type.shape) - len(a.type.shape))
        if place >= 0 and a.type.shape[place] == eqn.outputs[0].type.shape[out_axis] != 1:
            return place
    return None


def block_type(t: ArrayType, axis: int | None, size: int, rows: int, flat: bool) -> ArrayType:
    """The type of a block of a value; of a whole value, its own."""
    if axis is None:
        return t
    if flat:
        return t._replace(shape=(size,))
    return t._replace(shape=ops.resized(t.shape, axis, t.shape[axis] // rows * size))
