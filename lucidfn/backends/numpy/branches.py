"""How NumPy runs branches and loops whose length is known when they have run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy.compile import compile_program
from lucidfn.backends.numpy.control import LoopWriter, called, scalar_text
from lucidfn.backends.numpy.elementwise import is_plain_zero
from lucidfn.backends.numpy.kernels import KERNELS
from lucidfn.backends.numpy.tapes import Tape, add_any, all_rows
from lucidfn.backends.numpy.templates import TEMPLATES
from lucidfn.config import settings
from lucidfn.control.branches import rows_program, switch, switch_rows
from lucidfn.control.whiles import loop
from lucidfn.core.ir import Equation, Program, Var
from lucidfn.core.trace import BACKENDS
from lucidfn.ops.tapes import UNKNOWN
from lucidfn.passes import optimize
from lucidfn.transforms.linearize import drop_dead
from lucidfn.transforms.programs import derived
from lucidfn.types import ArrayType, int32

# ------------------------------------------------------------------ branches

def run_switch(index: Any, *args: Any, branches: Sequence[Program]) -> Sequence[Any]:
    """The kernel of `switch`."""
    with np.errstate(all="ignore"):
        return compile_program(branches[int(index)]).function(*args)


def run_switch_rows(index: Any, *args: Any, branches: Sequence[Program],
                    mapped: tuple[bool, ...], summed: tuple[bool, ...]) -> list[Any]:
    """The kernel of `switch_rows`: chunks of powers of two, so that few sizes are compiled.

    Where a branch has nothing but zeros to give, nothing is written: the arrays start as zeros,
    which take no memory until then.
    """
    count, types = len(index), branches[0].output_types
    blanks = [_blank_outputs(b) for b in branches]
    outs: list[Any] = [None] * len(types)
    with np.errstate(all="ignore"):
        for i, branch in enumerate(branches):
            rows, reads = np.flatnonzero(index == i), _reads(branch)
            if len(rows) == count and count:  # nothing to sort
                run = compile_program(rows_program(branch, mapped, summed, count)).function
                return list(run(*args))
            at = 0
            while at < len(rows):
                size = 1 << ((len(rows) - at).bit_length() - 1)
                chunk = rows[at:at + size]
                at += size
                run = compile_program(rows_program(branch, mapped, summed, size)).function
                # What the branch does not read is not gathered.
                found = run(*[x if not m else x[chunk] if r else x[:size]
                              for x, m, r in zip(args, mapped, reads, strict=True)])
                for j, out in enumerate(found):
                    if j in blanks[i]:
                        continue
                    if summed[j]:
                        outs[j] = out if outs[j] is None else add_any(outs[j], out)
                        continue
                    if outs[j] is None:
                        outs[j] = Tape(types[j], count, zeros=any(j in b for b in blanks))
                    (outs[j].put if outs[j].known else outs[j].put_row)(chunk, out)
    return [out.array() if type(out) is Tape else out if out is not None
            else np.zeros([abs(d) for d in (t.shape if s else (count, *t.shape))], t.dtype)
            for out, s, t in zip(outs, summed, types, strict=True)]


def _reads(program: Program) -> tuple[bool, ...]:
    """Which inputs a program reads."""
    def find() -> tuple[bool, ...]:
        used = {a for e in drop_dead(program).equations for a in e.inputs} | {*program.outputs}
        return tuple([v in used for v in program.inputs])
    return derived(program, ("reads",), find)


def _blank_outputs(program: Program) -> frozenset[int]:
    """The outputs of a program that are always zeros."""
    def find() -> frozenset[int]:
        made = {v: e for e in program.equations for v in e.outputs}
        found = []
        for j, a in enumerate(program.outputs):
            eqn = made.get(a)
            if eqn is not None and eqn.primitive in (ops.full, ops.blank_tape) and \
                    is_plain_zero(eqn.params["value"]):
                found.append(j)
        return frozenset(found)
    return derived(program, ("blank outputs",), find)


def _choose(w: Any, eqn: Equation, args: list[str]) -> str:
    """The taken branch is called: `branch(x)`, chosen from a tuple by the index."""
    compiled = [compile_program(b) for b in eqn.params["branches"]]
    w.calls_back |= any(c.calls_back for c in compiled)
    names = ", ".join(w.name_of(c.function, "branch") for c in compiled)
    return f"({names},)[{args[0]}]({', '.join(args[1:])})"


# ------------------------------------------------------------------ loops

def run_loop(limit: Any, *args: Any, program: Program, cond: Program | None,
             carries: tuple[int, int], reverse: bool) -> Any:
    """A loop that nothing traces: compiled on first use."""
    config = settings()
    params = {"program": program, "cond": cond, "carries": carries, "reverse": reverse}
    if config.debug_nans or config.debug_infs:
        return stepwise(limit, args, **params)
    whole = derived(program, ("loop program", cond, carries, reverse),
                    lambda: _as_program(params))
    backend = BACKENDS["cpu"]
    return backend.call(backend.compile(whole), (limit, *args))  # type: ignore[attr-defined]


def _as_program(params: dict[str, Any]) -> Program:
    """A program of one loop."""
    first = sum(params["carries"])
    types = [ArrayType((), int32), *[
        ArrayType(t.shape if i < first else (UNKNOWN, *t.shape), t.dtype)
        for i, t in enumerate(params["program"].input_types)]]
    inputs = [Var(t) for t in types]
    outputs: list[Any] = [Var(t) for t in loop.infer(*types, **params)]
    return Program(inputs, [Equation(loop, [*inputs], params, outputs)], [*outputs])


def stepwise(limit: Any, args: Sequence[Any], *, program: Program, cond: Program | None,
             carries: tuple[int, int], reverse: bool) -> list[Any]:
    """Equation by equation, each looked at, as `debug_nans` wants it."""
    n_consts, n_carry = carries
    first, most = n_consts + n_carry, int(limit)
    consts, carry, rows = args[:n_consts], args[n_consts:first], args[first:]
    body = compile_program(program).function
    test = None if cond is None else compile_program(cond).function
    tapes = [Tape(t, most if test is None else None) for t in program.output_types[n_carry:]]
    step = 0
    while step < most or most < 0:
        if test is not None and not test(*consts, *carry)[0]:
            break
        at = most - 1 - step if reverse else step
        outs = body(*consts, *carry, *[all_rows(x, most)[at] for x in rows])
        carry = outs[:n_carry]
        for tape, y in zip(tapes, outs[n_carry:], strict=True):
            tape.put_row(at, y)
        step += 1
    return [np.asarray(step, np.int32), *carry, *[t.array() for t in tapes]]


class _While(LoopWriter):
    """Writes the function of a loop whose number of steps shows when it runs.

        def while0(limit, a, b):
            i = 0
            while i < limit or limit < 0:
                if not a < 100.0: break
                c = a * b
                a = c
                i += 1
            return (asarray(i, int32), a)
    """

    def __init__(self, w: Any, params: dict[str, Any], name: str):
        self.cond = params["cond"]
        super().__init__(w, params["program"], params["carries"],
                         "limit" if self.cond is None else None, params["reverse"], name)

    def leading(self) -> list[str]:
        return ["limit"]

    def header(self) -> list[str]:
        lines = ["limit = int(limit)"] if self.cond is None else ["limit = int(limit)", "i = 0"]
        rows = self.inner.name_of(all_rows, "all_rows")
        lines += [f"xs{i} = {rows}(xs{i}, limit)" for i in range(len(self.xs))]
        return [*lines, *super().header()]

    def opening(self) -> str:
        return super().opening() if self.cond is None else "while i < limit or limit < 0:"

    def before_step(self) -> list[str]:
        return [] if self.cond is None else [f"if not {self.test()}: break"]

    def after_step(self) -> list[str]:
        return [] if self.cond is None else ["i += 1"]

    def counted(self) -> list[str]:
        count = "limit" if self.cond is None else "i"
        return [f"{self.inner.name_of(np.asarray, 'asarray')}({count}, "
                f"{self.inner.value(int32, 'int32')})"]

    def test(self) -> str:
        """The condition: written out if it is one comparison of numbers."""
        cond, names = optimize(self.cond), self.start_names
        given = dict(zip(cond.inputs, [names[v] for v in [*self.consts, *self.carry]],
                         strict=True))
        if len(cond.equations) == 1 and not cond.consts and \
                cond.outputs == cond.equations[0].outputs:
            alone = type(self.inner)(cond, frozenset(), names=given, space=self.inner.space)
            text = scalar_text(alone, cond.equations[0])
            if text is not None:
                return f"({text})"
        compiled = compile_program(self.cond)
        self.inner.calls_back |= compiled.calls_back
        return f"{self.inner.name_of(compiled.function, 'test')}({', '.join(given.values())})[0]"


def write_loop(w: Any, eqn: Equation, args: list[str]) -> str:
    """The call of a loop; its function is added to the writer's."""
    name, at = w.name_of_function("while"), len(w.functions)
    w.functions.append(f"def {name}")  # its place: loops within it have other names
    writer = _While(w, eqn.params, name)
    w.functions[at] = writer.source()
    w.calls_back |= writer.inner.calls_back
    return called(w, name, args, *[p for _, p in eqn.programs()])


KERNELS[switch], KERNELS[switch_rows], KERNELS[loop] = run_switch, run_switch_rows, run_loop
TEMPLATES[switch], TEMPLATES[loop] = _choose, write_loop
KERNELS[ops.add_tapes] = add_any
KERNELS[ops.blank_tape] = lambda *, shape, dtype, value: np.full([abs(d) for d in shape], value,
                                                                 dtype)
