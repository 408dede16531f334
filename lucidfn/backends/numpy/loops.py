"""Loops over blocks: the equation of a phase, and flat loops over the elements of whole arrays."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.backends.numpy.blocks import Loop, blocks
from lucidfn.backends.numpy.spread import Phase, Rows, is_flat
from lucidfn.core.ir import Atom, Equation, Literal, Program, Var
from lucidfn.ops.families import Elementwise
from lucidfn.types import ArrayType

# Blocks hold about this many elements of their widest value; where there are products, rows enough
# for these, up to so many elements. Convolutions make blocks of their own, which the cache holds:
# each block of theirs costs many calls.
ELEMENTS = 1 << 18
CONVOLVED = 1 << 20
PRODUCT_ROWS = 512
MOST = 1 << 19
# Elements of a block of a flat loop. Of less, threads spend more time on handing the interpreter to
# one another than they gain from the cache.
FLAT_BLOCK = 1 << 17
FLAT_WORTH = 250_000  # nanoseconds that the equations of flat loops take
LINE = 64  # threads do not share a cache line: elements that stay together

MOVES = {ops.reshape, ops.permute, ops.broadcast_to, ops.copy, ops.stop_gradient}


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


def block_size(phase: Phase, rows: Rows, threads: int) -> tuple[int, int]:
    """(rows of a thread, rows of a block)."""
    read = {a for e in phase.equations for a in e.inputs}
    made = [e for e in phase.equations if e.outputs[0] not in phase.sums
            and e.primitive not in MOVES
            # Written where the results are, and not looked at again: no block of it is kept.
            and not (isinstance(e.primitive, Elementwise) and e.outputs[0] not in read)]
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


# ------------------------------------------------------------------ elementwise on whole arrays

def flatten_elementwise(equations: Sequence[Equation], outputs: Sequence[Atom],
                        threads: int) -> list[Equation]:
    """Chains of elementwise equations on large arrays, such as the update of parameters, as loops
    over their elements. Chains of different shapes share one hand-off to the threads."""
    if not any(map(is_flat, equations)):
        return list(equations)
    out: list[Equation] = []
    groups: dict[tuple[int, ...], list[Equation]] = {}
    inside: dict[Var, tuple[int, ...]] = {}
    readers: dict[Any, set[int]] = defaultdict(set)
    for eqn in equations:
        for a in eqn.inputs:
            readers[a].add(id(eqn))

    def flush() -> None:
        chains = [e for group in groups.values() for e in group]
        if 0.1 * sum(a.type.nbytes for e in chains for a in [*e.inputs, *e.outputs]) < FLAT_WORTH:
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
        per = -(-n // (threads * LINE)) * LINE
        size = min(per, FLAT_BLOCK)
        flat = {v: 0 for e in equations for v in [*e.inputs, *e.outputs] if v.type.shape == shape}
        rows = Rows(n, flat, {}, [], 0, 0)
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
