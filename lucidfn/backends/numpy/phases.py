"""The source of a phase: a function for a block of rows, and the loop over blocks of one thread.

    def block0(a, b, t0, y0):         # one block: straight-line code, as for a whole program
    def rows0(i, x0, x1, y0):         # thread i: its blocks, in order

Names: x are operands, whole or cut; y is where rows of results are stored; t are sums so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy.blocks import Cut, Loop, add_up, run
from lucidfn.core.ir import Equation, Program, Var


def write_blocks(w: Any, eqn: Equation, args: list[str]) -> str:
    """The call of a phase; its functions are added to the writer's."""
    loops: Sequence[Loop] = eqn.params["loops"]
    number = sum(text.startswith("def rows") for text in w.functions)
    stores = find_stores(w, eqn, loops)
    body: list[str] = []
    inputs: list[str] = []
    kept: list[str] = []
    sums: list[str] = []
    for which, loop in enumerate(loops):
        xs = [f"x{len(inputs) + i}" for i in range(len(loop.cut))]
        ys = [f"y{len(kept) + i}" for i in range(len(loop.axes))]
        ts = [f"t{len(sums) + i}" for i in range(loop.sums)]
        part = _Part(loop, f"{number}{letters(which)}" if len(loops) > 1 else str(number), xs, ys,
                     ts, stores[len(kept):len(kept) + len(ys)])
        body += part.write(w)
        inputs, kept, sums = inputs + xs, kept + ys, sums + ts
    w.functions.append("\n".join([
        f"def rows{number}(i, {', '.join([*inputs, *kept])}):", *["    " + b for b in body],
        f"    return [{', '.join(sums)}]"]))
    parts = max(-(-loop.rows // loop.per) for loop in loops)
    operands = [f"rows{number}", str(parts), str(len(stores)), *args, *[s.text for s in stores]]
    return f"{w.name_of(run, 'run')}({', '.join(operands)})"


def letters(n: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (letters(n // 26 - 1) if n >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[n % 26]


class _Part:
    """One loop of a phase, with the names of its operands, stores and sums."""

    def __init__(self, loop: Loop, name: str, xs: list[str], ys: list[str], ts: list[str],
                 stores: list[Store]):
        self.loop, self.name, self.xs, self.ys, self.ts = loop, name, xs, ys, ts
        self.stores = stores

    def write(self, w: Any) -> list[str]:
        loop = self.loop
        names = {}
        for size, program in loop.programs.items():
            names[size] = f"block{self.name}" + (f"_of_{size}" if names else "")
            inner = self.block(w, program, names[size])
            w.functions.append(inner.function().rstrip("\n"))
        block = names[loop.size]
        if len(names) > 1:
            table = ", ".join(f"{n}: {name}" for n, name in names.items())
            block = f"{{{table}}}[e - k]"
        lines = [f"{x} = {x}.reshape(-1)" for x, cut in
                 zip([*self.xs, *self.ys], [*loop.cut, *loop.axes], strict=True)
                 if loop.flat and cut is not None]
        going_on = [t for t, on in zip(self.ts, self.accumulates, strict=True) if on]
        direct = [y + at(cut) for y, cut, d in zip(self.ys, loop.axes, self.direct, strict=True)
                  if d]
        operands = [x if cut is None else x + at(cut)
                    for x, cut in zip(self.xs, loop.cut, strict=True)]
        lines += [f"{t} = None" for t in going_on]
        got = [*[t if on else f"part{i}" for i, (t, on) in
                 enumerate(zip(self.ts, self.accumulates, strict=True))],
               *[f"row{i}" for i, d in enumerate(self.direct) if not d]]
        lines += [
            f"for k in range(i * {loop.per}, min(i * {loop.per} + {loop.per}, {loop.rows}), "
            f"{loop.size}):",
            f"    e = min(k + {loop.size}, i * {loop.per} + {loop.per}, {loop.rows})",
            f"    {', '.join(got)}{',' * (len(got) == 1)}{' = ' if got else ''}"
            f"{block}({', '.join([*operands, *going_on, *direct])})"]
        lines += [f"    {y}{at(cut)} = row{i}" for i, (y, cut, d) in
                  enumerate(zip(self.ys, loop.axes, self.direct, strict=True)) if not d]
        added = [(t, f"part{i}") for i, (t, on) in
                 enumerate(zip(self.ts, self.accumulates, strict=True)) if not on]
        if added:
            add = w.name_of(add_up, "add_up")
            lines += [f"    if k == i * {loop.per}:",
                      f"        {', '.join(t for t, _ in added)} = "
                      f"{', '.join(p for _, p in added)}", "    else:",
                      *[f"        {t} = {add}({t}, {p})" for t, p in added]]
        return lines

    def block(self, w: Any, program: Program, name: str) -> Any:
        """The writer of the function for one block."""
        loop, made = self.loop, {v: e for e in program.equations for v in e.outputs}
        outputs = program.outputs
        self.accumulates = [v.type.dtype.char in "fd" and (
            made[v].primitive is ops.conv or made[v].primitive is ops.dot_general
            and made[v].params["batch"] == ((), ())) for v in outputs[:loop.sums]]
        kept = outputs[loop.sums:]
        self.direct = [s.may_write(w, program, v, kept) for s, v in
                       zip(self.stores, kept, strict=True)]
        totals = {v: t for v, t, on in zip(outputs, self.ts, self.accumulates, strict=False) if on}
        stored = {v: y for v, y, d in zip(kept, self.ys, self.direct, strict=True) if d}
        apart = frozenset([v for v, s in zip(kept, self.stores, strict=True)
                           if v in stored and s.operand is None])
        return type(w)(program, frozenset(), space=w.space, name=name, functions=w.functions,
                       scalars=w.scalars, lines=w.lines, totals=totals, stored=stored,
                       apart=apart)


def at(cut: Cut) -> str:
    """The index of a block."""
    axis, unit = cut
    times = lambda name: name if unit == 1 else f"{name} * {unit}"
    return f"[{':, ' * axis}{times('k')}:{times('e')}]"


# ------------------------------------------------------------------ where results go

class Store:
    """Memory for what a phase stores: its text, and which operand of the block lies there too."""

    def __init__(self, text: str, operand: int | None = None):
        self.text, self.operand = text, operand

    def may_write(self, w: Any, program: Program, v: Var, kept: Sequence[Any]) -> bool:
        """Whether a block may write v there as soon as it has it: not where it is another output
        too, and not before the last use of an operand that lies there."""
        if kept.count(v) > 1:
            return False
        if self.operand is None:
            return True
        lying = lies_in(w, program, program.inputs[self.operand])
        made = next((i for i, e in enumerate(program.equations) if v in e.outputs), -1)
        return made >= 0 and not any(a in lying for e in program.equations[made + 1:]
                                     for a in e.inputs)


def lies_in(w: Any, program: Program, v: Var) -> set[Any]:
    """v, and all that may lie in its memory."""
    found: set[Any] = {v}
    for eqn in program.equations:
        if any(a in found for a in eqn.inputs) and w.may_alias(eqn):
            found.update(eqn.outputs)
    return found


def may_hold(w: Any, program: Program, operand: int, output: int) -> bool:
    """Whether the memory of an operand may hold an output: no other output lies in it."""
    lying = lies_in(w, program, program.inputs[operand])
    return not any(v in lying for i, v in enumerate(program.outputs) if i != output)


def find_stores(w: Any, eqn: Equation, loops: Sequence[Loop]) -> list[Store]:
    """Memory for what is stored: that of an operand that dies here and is cut the same way, else
    of what died before, else new."""
    place, out, outputs = 0, [], iter(eqn.outputs)
    dying, reads = set(w.dying.get(w.number, ())), Counter(eqn.inputs)
    for loop in loops:
        operands = eqn.inputs[place:place + len(loop.cut)]
        place += len(loop.cut)
        for _ in range(loop.sums):
            next(outputs)
        program = loop.programs[loop.size]
        for number, cut in enumerate(loop.axes, loop.sums):
            v = next(outputs)
            key = v.type.shape, v.type.dtype
            found = next((i for i, (a, c) in enumerate(zip(operands, loop.cut, strict=True))
                          if c == cut and a in dying and reads[a] == 1
                          and w.reusable(a) and not w.views.get(a)
                          and (a.type.shape, a.type.dtype) == key
                          and may_hold(w, program, i, number)), None)
            if found is not None:
                dying.discard(operands[found])
                w.dying[w.number].remove(operands[found])
                out.append(Store(w.names[operands[found]], found))
            elif w.free.get(key):
                out.append(Store(w.free[key].pop()))
            else:
                empty = w.name_of(np.empty, "empty")
                out.append(Store(f"{empty}({v.type.shape}, {w.value(v.type.dtype, 'dtype')})"))
    return out
