"""The plan of a program: what runs in blocks of rows, and what runs whole.

Training programs are parallel over the examples of a batch but for a few sums. One axis of some
inputs is taken as that of the rows (`spread`); equations that keep it are put together into phases.
A phase runs over blocks of rows, on several threads, so that what lies between its first operand
and its last result never leaves the cache; values that are summed over the rows (the gradient of a
weight) are ready when it ends. The result is again a program: each phase is one equation of the
primitive `blocks` (`loops`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from lucidfn.backends.numpy.loops import flatten_elementwise, phase_equation
from lucidfn.backends.numpy.spread import PRODUCTS, Phase, Rows, Share, shares_of, spread_rows
from lucidfn.core.ir import Equation, Program, Var
from lucidfn.passes import unfold

SMALL = 1 << 18  # bytes that a phase without products writes, for it to be worth its threads
# Below this much work on rows, threads and blocks cost more than they save.
WORTH = 500_000  # nanoseconds on one thread, as `Rows.time` estimates them
# In the body of a loop, whose next step waits for the last thread, so many times that.
STEP = 4


def in_blocks(program: Program, threads: int, *, in_loop: bool = False) -> Program:
    """The program with its phases as equations; the same program if it has none worth it."""
    program, rows = with_checkpoints(program, WORTH * STEP if in_loop else WORTH)
    equations = program.equations if rows is None else arrange(program, rows, threads)
    equations = flatten_elementwise(equations, program.outputs, threads)
    return program.replace(equations=equations)


def with_checkpoints(program: Program, worth: int) -> tuple[Program, Rows | None]:
    """The program and its rows. What is computed again for a checkpoint is part of the phase if
    there is one alone; with several, the first would compute it and keep it till the last.
    """
    unfolded = unfold(program)
    if unfolded is not program:
        rows = choose_rows(unfolded, worth)
        if rows is not None and len(rows.phases) == 1:
            return unfolded, rows
    return program, choose_rows(program, worth)


def choose_rows(program: Program, worth: int) -> Rows | None:
    """The rows that cover most of the program; None if they cover little."""
    shares = shares_of(program)
    if sum([s.time for s in shares]) < worth:
        return None
    total = sum([s.products for s in shares])
    best: Rows | None = None
    for found in candidates(program, shares):
        if found.by_rows and (best is None or found.work > best.work):
            best = found
        if found.products == total > 0:
            break
    return best if best is not None and best.time >= worth else None


def candidates(program: Program, shares: Sequence[Share]) -> Iterator[Rows]:
    """The rows of data, and then those of everything."""
    sources = [v for v in [*program.inputs, *program.consts] if v.type.shape]
    # Parameters and state come back as outputs; data does not.
    returned = {a.type[:2] for a in program.outputs}
    data = [v for v in sources if v.type[:2] not in returned]
    total = sum([s.products for s in shares])
    best = 0
    for group in (data, sources):
        for size in sorted({v.type.shape[0] for v in group} - {0, 1}):
            seeds = {v: 0 for v in group if v.type.shape[0] == size}
            for s in (seeds, *fewer(seeds)):
                found = spread_rows(shares, size, s)
                best = max(best, found.products)
                yield found
        if 2 * best > total > 0:
            break


def fewer(seeds: dict[Var, int]) -> list[dict[Var, int]]:
    """The seeds but one each: a weight may be as long as the batch by accident."""
    return [{u: 0 for u in seeds if u is not v} for v in seeds] if 1 < len(seeds) <= 6 else []


def arrange(program: Program, rows: Rows, threads: int) -> list[Equation]:
    """The equations in their new order: by level, whole ones before the phase and as late as can
    be."""
    last = max([*rows.phases, *[at for at, _ in rows.whole]], default=0) + 1
    used: dict[Any, int] = defaultdict(lambda: last)
    for at, phase in rows.phases.items():
        for eqn in phase.equations:
            for a in eqn.inputs:
                used[a] = min(used[a], at)
    late: dict[int, list[Equation]] = defaultdict(list)  # last ones first
    for at, eqn in reversed(rows.whole):
        when = at if eqn.effect else max(at, min([used[v] for v in eqn.outputs], default=at))
        late[when].append(eqn)
        for a in eqn.inputs:
            used[a] = min(used[a], when)
    home = {v: at for at, phase in rows.phases.items() for e in phase.equations for v in e.outputs}
    needed = {a for a in program.outputs if type(a) is Var}
    for at, phase in rows.phases.items():
        needed.update(a for e in phase.equations for a in e.inputs if home.get(a, at) != at)
    needed.update(a for _, e in rows.whole for a in e.inputs if type(a) is Var)
    out: list[Equation] = []
    for at in range(last + 1):
        out += reversed(late.get(at, []))
        if at in rows.phases and is_small(rows.phases[at]):
            out += rows.phases[at].equations
        elif at in rows.phases:
            out.append(phase_equation(rows.phases[at], rows, needed, threads))
    return out


def is_small(phase: Phase) -> bool:
    """Whether a phase costs less than handing it to threads."""
    return not any(e.primitive in PRODUCTS for e in phase.equations) and sum(
        v.type.nbytes for e in phase.equations for v in e.outputs) < SMALL
