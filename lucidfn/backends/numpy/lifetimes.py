"""How much memory a compiled program has at each of its lines, read from its source.

Nothing is run. Each name of the source stands for a buffer; a buffer lives as long as one of its
names. `out=` and the stores of a phase reuse buffers, views share them, `del` drops names. Each
thread of a phase has the values of one block and its own sums. What a kernel needs for itself
while it runs (a megabyte of columns of a convolution) is not counted.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lucidfn import ops
from lucidfn.backends.numpy.blocks import Loop, blocks
from lucidfn.backends.numpy.compile import compile_program
from lucidfn.backends.numpy.kernels import KERNELS
from lucidfn.backends.numpy.phases import letters
from lucidfn.core.ir import Equation, Program, Var

# Kernels that return a view of their operand, and templates that return it itself.
MOVES = {ops.permute, ops.slice_, ops.flip, ops.broadcast_to, ops.split}
SAME = {ops.copy, ops.stop_gradient}


class Step(NamedTuple):
    """One equation of a compiled program: what it allocates, and what is freed after it."""

    equation: Equation
    allocated: int  # bytes of new arrays
    scratch: int  # bytes that it needs only while it runs
    freed: int
    live: int  # bytes after it, inputs and constants included

    @property
    def peak(self) -> int:
        """Bytes while it runs."""
        return self.live + self.freed + self.scratch


class Lifetimes(NamedTuple):
    """Bytes of the inputs, constants and outputs of a program, and its steps."""

    inputs: int
    consts: int
    outputs: int  # of outputs that do not lie in inputs or constants
    steps: tuple[Step, ...]

    @property
    def made(self) -> int:
        """The most bytes that it has beside its inputs and constants."""
        return self.peak - self.inputs - self.consts

    @property
    def peak(self) -> int:
        """The most bytes at any time, inputs and constants included."""
        return max([s.peak for s in self.steps], default=0) or self.inputs + self.consts


def lifetimes_of(compiled: Any) -> Lifetimes:
    """The lifetimes of a compiled program; ValueError if it has no source (`debug_nans`)."""
    try:
        module = ast.parse(compiled.source)
    except SyntaxError:
        raise ValueError("a program compiled under debug_nans keeps every value: its memory has no "
                         "plan") from None
    functions = {f.name: f for f in module.body if isinstance(f, ast.FunctionDef)}
    return _Reader(functions, compiled.program).read("program")


@dataclass(eq=False, repr=False)
class _Reader:
    """Goes through the lines of one function of a module, with its program beside."""

    functions: dict[str, ast.FunctionDef]
    program: Program
    going_on: bool = False  # sums of the blocks before exist already
    holds: dict[str, int] = field(default_factory=dict)  # the buffer of each name
    bytes: dict[int, int] = field(default_factory=dict)  # of the buffers that were made here
    names: dict[Var, str] = field(default_factory=dict)
    layouts: dict[Any, Any] = field(default_factory=dict)  # arrays without memory of their own
    live: int = 0

    def read(self, name: str) -> Lifetimes:
        """Lifetimes of the function of this name."""
        function, program = self.functions[name], self.program
        outside = [a.arg for a in function.args.args]
        self.names.update(zip(program.inputs, outside, strict=False))
        self.sums = set(outside[len(program.inputs):])
        for given in outside:  # the caller has their memory, and that of stores and sums
            self.holds[given] = self.new(0)
        for v in program.consts:
            self.names[v] = self.constant(v)
        for v in [*program.inputs, *program.consts]:
            self.layouts[v] = stand_in(v.type)
        self.inputs = sum(v.type.nbytes for v in program.inputs)
        self.consts = sum(v.type.nbytes for v in program.consts)
        self.live = self.inputs + self.consts
        steps = self.steps(function.body)
        end = function.body[-1]
        names = end.value.elts if isinstance(end, ast.Return) and isinstance(end.value, ast.Tuple) \
            else []
        returned = {self.holds[n.id] for n in names if isinstance(n, ast.Name)}
        return Lifetimes(self.inputs, self.consts, sum(self.bytes.get(b, 0) for b in returned),
                         tuple(steps))

    def constant(self, v: Var) -> str:
        name = f"constant {len(self.holds)}"
        self.holds[name] = self.new(0)
        return name

    def steps(self, body: Sequence[ast.stmt]) -> list[Step]:
        """A step for each equation: its line, and the lines of what is deleted after it."""
        steps: list[Step] = []
        equations = iter(self.program.equations)
        for line in body:
            if isinstance(line, ast.Delete):
                freed = self.delete([t.id for t in line.targets if isinstance(t, ast.Name)])
                steps[-1] = steps[-1]._replace(freed=freed, live=self.live)
            elif isinstance(line, ast.Expr) or (isinstance(line, ast.Assign) and not
                                                isinstance(line.targets[0], ast.Subscript)):
                steps.append(self.step(line, next(equations)))
        return steps

    def step(self, line: ast.Assign | ast.Expr, eqn: Equation) -> Step:
        before = self.live
        if isinstance(line, ast.Assign):
            target = line.targets[0]
            names = [t.id for t in (target.elts if isinstance(target, ast.Tuple) else [target])
                     if isinstance(t, ast.Name)]
            self.assign(names, line.value, eqn)
        return Step(eqn, self.live - before, self.scratch(eqn, line.value), 0, self.live)

    # ------------------------------------------------------------------ buffers

    def new(self, size: int) -> int:
        buffer = len(self.bytes)
        self.bytes[buffer] = size
        self.live += size
        return buffer

    def delete(self, names: Sequence[str]) -> int:
        """Drop names; returns the bytes of the buffers that have no other."""
        before = self.live
        for name in names:
            buffer = self.holds.pop(name)
            if buffer not in self.holds.values():
                self.live -= self.bytes[buffer]
        return before - self.live

    def assign(self, names: Sequence[str], value: ast.expr, eqn: Equation) -> None:
        """Bind the results of an equation to buffers: known ones, or new ones."""
        self.names.update(zip(eqn.outputs, names, strict=True))
        found = self.reused(value, eqn)
        for i, (name, v) in enumerate(zip(names, eqn.outputs, strict=True)):
            known = found.get(i)
            if known is None:
                known = self.alias(eqn, v)
            self.holds[name] = self.new(v.type.nbytes) if known is None else known
            self.layouts.setdefault(v, stand_in(v.type))

    def reused(self, value: ast.expr, eqn: Equation) -> dict[int, int]:
        """Which results lie in buffers that the text names: `out=`, and the stores of a phase."""
        if not isinstance(value, ast.Call):
            return {}
        out = next((k.value for k in value.keywords if k.arg == "out"), None)
        if isinstance(out, ast.Name):
            return {0: self.holds[out.id]}
        if isinstance(value.func, ast.Name) and value.func.id in ("put", "update_block") and \
                isinstance(value.args[0], ast.Name):
            return {0: self.holds[value.args[0].id]}
        if eqn.primitive is not blocks:
            first = value.args[0] if value.args else None
            going_on = self.going_on and isinstance(first, ast.Name) and first.id in self.sums
            return {0: self.holds[first.id]} if going_on else {}
        stores = value.args[len(value.args) - sum(len(p.axes) for p in eqn.params["loops"]):]
        start = len(eqn.outputs) - len(stores)
        return {start + i: self.holds[s.id] for i, s in enumerate(stores)
                if isinstance(s, ast.Name)}

    def alias(self, eqn: Equation, v: Var) -> int | None:
        """The buffer of an operand, if the result is a view of it; keeps the layout of the view."""
        first = eqn.inputs[0] if eqn.inputs else None
        if type(first) is not Var or first not in self.layouts:
            return None
        layout = self.layouts[first]
        if eqn.primitive in MOVES:
            view = KERNELS[eqn.primitive](layout, **eqn.params)
            if eqn.primitive is ops.split:
                view = view[list(eqn.outputs).index(v)]
            self.layouts[v] = view
        elif eqn.primitive is ops.reshape:
            if not can_view(layout, v.type.shape):
                return None
            self.layouts[v] = stand_in(v.type)
        elif eqn.primitive not in SAME:
            return None
        return self.holds[self.names[first]]

    # ------------------------------------------------------------------ inside an equation

    def scratch(self, eqn: Equation, value: ast.expr) -> int:
        """Bytes that an equation needs while it runs, beside its operands and results."""
        if eqn.primitive is blocks:
            function = value.args[0].id  # type: ignore[attr-defined]
            return self.phase_scratch(eqn.params["loops"], function.removeprefix("rows"))
        plans = [lifetimes_of(compile_program(p)) for _, p in eqn.programs()]
        return max([max(p.made - p.outputs, 0) for p in plans], default=0)

    def phase_scratch(self, loops: Sequence[Loop], number: str) -> int:
        """What the threads of a phase have at once: values of one block each, and their sums."""
        most = 0
        for which, loop in enumerate(loops):
            name = f"block{number}{letters(which) if len(loops) > 1 else ''}"
            threads = -(-loop.rows // loop.per)
            most = max(most, threads * self.block_peak(name, loop) - sum_bytes(loop))
        return most

    def block_peak(self, name: str, loop: Loop) -> int:
        """The most bytes that one thread of a loop makes."""
        program = loop.programs[loop.size]
        first = _Reader(self.functions, program).read(name)
        blocks_in_all = -(-loop.per // loop.size)
        peak = first.made
        if blocks_in_all > 1:
            then = _Reader(self.functions, program, going_on=True).read(name)
            # The results of the block before live until those of this one are there.
            held = sum_bytes(loop) + (then.outputs if blocks_in_all > 2 else
                                      first.outputs - sum_bytes(loop))
            peak = max(peak, held + then.made)
        return peak


def sum_bytes(loop: Loop) -> int:
    """Bytes of the sums of one thread."""
    return sum(a.type.nbytes for a in loop.programs[loop.size].outputs[:loop.sums])


# ------------------------------------------------------------------ layouts

def stand_in(t: Any) -> np.ndarray:
    """An array of this shape, with the strides that it would have, over memory of one element."""
    dtype = np.dtype(f"V{t.dtype.itemsize}")
    shape = tuple(map(abs, t.shape))  # a size that is not known before the run counts as 1
    strides = np.cumprod([1, *reversed(shape[1:])])[::-1] * dtype.itemsize if shape else ()
    return as_strided(np.empty((), dtype), shape, tuple(strides))


def can_view(x: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether x.reshape(shape) is a view: each run of axes that lie one after another in memory
    becomes whole axes."""
    if x.size == 0:
        return True
    axes = [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n != 1]
    runs: list[int] = []
    for i, (n, s) in enumerate(axes):
        if i and axes[i - 1][1] == n * s:
            runs[-1] *= n
        else:
            runs.append(n)
    wanted = [n for n in shape if n != 1]
    for run in runs:
        size = 1
        while size < run and wanted:
            size *= wanted.pop(0)
        if size != run:
            return False
    return True
