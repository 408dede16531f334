"""Control flow on NumPy: loops as Python in the generated source, and kernels that run them.

    def scan0(a, b, c):              # consts, carry, xs
        ys0 = empty((256, 32), float32)
        for i in range(256):
            d = c[i]
            e = tanh(add(b.dot(a), d), out=ys0[i])
            b = e
        return (b, ys0)

Values without axes are computed by operators: NumPy's scalars take a third of the time of ufuncs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy.spread import PRODUCTS
from lucidfn.backends.numpy.tapes import Tape
from lucidfn.backends.numpy.threads import alone
from lucidfn.config import settings
from lucidfn.control.scan import as_program, scan
from lucidfn.core.ir import Equation, Literal, Program, Var
from lucidfn.core.trace import BACKENDS, current, eval_trace, type_of
from lucidfn.ops.tapes import UNKNOWN
from lucidfn.transforms.programs import derived
from lucidfn.types import bool_

WHOLE = {ops.reshape, ops.permute, ops.flip}  # views of all of an array, each element once
LARGE_PRODUCT = 10**8  # operations, from which the threads of BLAS help a step
DIRECT_FROM = 512  # bytes of a row from which storing it by itself is slower than `out=`

# ------------------------------------------------------------------ kernels


def run_scan(*args: Any, program: Program, **params: Any) -> Sequence[Any]:
    """A scan that nothing traces: compiled on first use."""
    config = settings()
    if config.debug_nans or config.debug_infs:
        return _stepwise(args, program, **params)
    whole = derived(program, ("scan program", *params.items()), lambda: as_program(
        scan, [type_of(a) for a in args], {"program": program, **params}))
    backend = BACKENDS["cpu"]
    return backend.call(backend.compile(whole), args)  # type: ignore[attr-defined]


def _stepwise(args: Sequence[Any], program: Program, *, carries: tuple[int, int], length: int,
              reverse: bool, unroll: int) -> list[Any]:
    """Equation by equation, each looked at, as `debug_nans` wants it."""
    n_consts, n_carry = carries
    first = n_consts + n_carry
    consts, carry, xs = args[:n_consts], args[n_consts:first], args[first:]
    ys = [Tape(t, length) for t in program.output_types[n_carry:]]
    token = current.set(eval_trace)
    try:
        for i in reversed(range(length)) if reverse else range(length):
            out = program(*consts, *carry, *[x[i] for x in xs])
            carry = out[:n_carry]
            for y, row in zip(ys, out[n_carry:], strict=True):
                (y.put if y.known else y.put_row)(i, row)
    finally:
        current.reset(token)
    return [*carry, *[y.array() for y in ys]]


# ------------------------------------------------------------------ scalars

OPERATORS = {ops.add: "+", ops.sub: "-", ops.mul: "*", ops.lt: "<", ops.le: "<=", ops.gt: ">",
             ops.ge: ">=", ops.eq: "==", ops.ne: "!="}


def scalar_text(w: Any, eqn: Equation) -> str | None:
    """An equation on values without axes as an expression with operators, or None."""
    if len(eqn.outputs) != 1 or eqn.outputs[0].type.shape or eqn.outputs[0] in w.stored or \
            eqn.primitive.many or any(a.type.shape for a in eqn.inputs):
        return None
    kinds = {a.type.dtype for a in eqn.inputs if type(a) is Var}
    prim = eqn.primitive
    if prim is ops.select:
        return _scalar_select(w, eqn)
    if len(kinds) != 1:
        return None
    dtype = kinds.pop()
    if dtype.kind not in "fiu" or dtype.itemsize < 4:
        return None
    args = [_scalar_operand(w, a, dtype) for a in eqn.inputs]
    if None in args:
        return None
    if prim in OPERATORS:
        return f"{args[0]} {OPERATORS[prim]} {args[1]}"
    if prim is ops.div and dtype.kind == "f":
        return f"{args[0]} / {args[1]}"
    if prim is ops.neg and dtype.kind != "u":
        return f"-{args[0]}"
    if prim is ops.integer_pow and eqn.params["n"] == 2:
        return f"{args[0]} * {args[0]}"
    return None


def _scalar_operand(w: Any, atom: Any, dtype: Any) -> str | None:
    if type(atom) is Var:
        return w.names[atom]
    value = atom.value
    if dtype.kind == "f":
        exact = type(value) in (int, float) and np.isfinite(value) and abs(value) < 1e38
    else:
        exact = type(value) is int and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if not exact:
        return None
    text = repr(float(value) if dtype.kind == "f" else value)
    return f"({text})" if text[0] == "-" else text


def _scalar_select(w: Any, eqn: Equation) -> str | None:
    test, *cases = eqn.inputs
    if any(type(a) is not Var or a.type.dtype.kind not in "fiub" for a in (test, *cases)) or \
            test.type.dtype != bool_ or cases[0].type.dtype != cases[1].type.dtype:
        return None
    a, b, c = [w.names[x] for x in (test, *cases)]
    return f"{b} if {a} else {c}"


# ------------------------------------------------------------------ scan

def write_scan(w: Any, eqn: Equation, args: list[str]) -> str:
    """The call of a scan; its function is added to the writer's."""
    params = eqn.params
    name, at = w.name_of_function("scan"), len(w.functions)
    w.functions.append(f"def {name}")  # its place: loops within it have other names
    loop = LoopWriter(w, params["program"], params["carries"], params["length"], params["reverse"],
                 name)
    w.functions[at] = loop.source()
    w.calls_back |= loop.inner.calls_back
    return called(w, name, args, params["program"])


def called(w: Any, name: str, args: list[str], *bodies: Program) -> str:
    """The call of a loop; BLAS works alone where the products of a step are small."""
    products = [e.primitive.flops([a.type for a in e.inputs], [v.type for v in e.outputs],
                                  **e.params)
                for body in bodies for e in body.equations if e.primitive in PRODUCTS]
    if products and max(products) < LARGE_PRODUCT:
        return f"{w.name_of(alone, 'alone')}({', '.join([name, *args])})"
    return f"{name}({', '.join(args)})"


class LoopWriter:
    """Writes the function of one scan.

    A y that is computed in the step is stored where it is computed, in its row. A carry whose
    values before each step are a y lives in the rows of that: `hs`, with a row more.
    """

    def __init__(self, w: Any, program: Program, carries: tuple[int, int],
                 length: int | str | None, reverse: bool, name: str):
        program = w.prepared(program)
        self.program, self.length, self.reverse, self.name = program, length, reverse, name
        n_consts, self.n_carry = carries
        first = n_consts + self.n_carry
        self.consts, self.carry = program.inputs[:n_consts], program.inputs[n_consts:first]
        self.xs = program.inputs[first:]
        self.ys = program.outputs[self.n_carry:]
        made = {v for e in program.equations for v in e.outputs}
        self.places: dict[int, str] = {}  # of ys that lie in an array that they share
        stored: dict[Var, str] = {}
        # A length that is not known before (None) leaves no place to store rows directly.
        self.histories = [] if length is None else self.find_histories(made, stored)
        self.direct: dict[int, Var] = {}
        for i, y in enumerate(self.ys):
            if i not in self.places and y in made and y not in stored and y.type.shape \
                    and y.type.nbytes >= DIRECT_FROM and not self.grows(y):
                self.direct[i], stored[y] = y, f"y{i}"
        self.inner = type(w)(program, frozenset(), space=w.space, name=name,
                             functions=w.functions, scalars=w.scalars, lines=w.lines,
                             stored=stored, in_loop=True)
        lived = {j for j, _ in self.histories}
        self.inner.donated = frozenset(n_consts + j for j in self.owned(
            {j for j, v in enumerate(self.carry) if v.type.shape and j not in lived}, stored))

    def find_histories(self, made: set[Var], stored: dict[Var, str]) -> list[tuple[int, int]]:
        """(carry, y) where y is the carry before the step."""
        found = []
        for j, (v, out) in enumerate(zip(self.carry, self.program.outputs, strict=False)):
            if v not in self.ys or out not in made or out in stored or not v.type.shape or \
                    v.type.nbytes < DIRECT_FROM:
                continue
            i = self.ys.index(v)
            found.append((j, i))
            stored[out] = f"h{i}"
            before, after = ("1:", ":-1") if self.reverse else (":-1", "1:")
            self.places.update({k: f"hs{i}[{before}]" for k, y in enumerate(self.ys) if y is v})
            self.places.update({k: f"hs{i}[{after}]" for k, y in enumerate(self.ys) if y is out})
        return found

    def owned(self, slots: set[int], stored: Collection[Var]) -> set[int]:
        """The carries whose buffers belong to the loop alone: each step makes a new one, or
        returns that of a carry that does."""
        w, program = self.inner, self.program
        w.plan_lifetimes()
        fresh = {v for e in program.equations if not w.may_alias(e) and e.primitive not in w.keeps
                 for v in e.outputs}
        made = {v: e for e in program.equations for v in e.outputs}

        def whole(a: Any) -> bool:
            """Whether a is all of its buffer, which may be written to: no part, no repetition."""
            while a in w.root and made[a].primitive in WHOLE:
                a = made[a].inputs[0]
            return a not in w.root

        outs = program.outputs[:self.n_carry]
        roots = [w.root.get(a, a) if whole(a) else None for a in outs]
        at = {v: j for j, v in enumerate(self.carry)}
        while True:
            good = {j for j in slots if type(roots[j]) is Var and roots.count(roots[j]) == 1
                    and roots[j] not in w.shared and roots[j] not in stored
                    and (roots[j] in fresh or at.get(roots[j]) in slots)}
            if good == slots:
                return slots
            slots = good

    def copied(self, body: Sequence[str]) -> list[str]:
        """The carries that a step writes to, and those that move there: copied once, they are the
        caller's."""
        text = "\n".join(body)
        slots = [i - len(self.consts) for i in sorted(self.inner.donated)]
        names = {j: self.start_names[self.carry[j]] for j in slots}
        written = {j for j, n in names.items() if f"out={n})" in text or f"put({n}, " in text
                   or f"update_block({n}, " in text}
        roots = [self.inner.root.get(a, a) for a in self.program.outputs[:self.n_carry]]
        # A carry that is returned as another of the next step takes its buffer there.
        for _ in slots:
            written |= {j for j in slots if any(roots[k] is self.carry[j] for k in written)}
        return [f"{names[j]} = {names[j]}.copy()" for j in sorted(written)]

    def source(self) -> str:
        inner, program = self.inner, self.program
        fresh = (n for n in inner.fresh() if n != "i")
        for v in [*program.consts, *program.inputs]:
            inner.names[v] = next(fresh)
        for v, value in program.consts.items():
            inner.names[v] = inner.name_of(value, f"const_{self.name}_{inner.names[v]}")
        inner.plan_lifetimes()
        self.start_names = names = dict(inner.names)
        head = [*self.header(), *self.turned()]
        stacks = [f"xs{i}" for i in range(len(self.xs))]
        body = [*self.before_step(),
                *[f"{names[v]} = {x}[i{self.tail(v)}]" for v, x in
                  zip(self.xs, stacks, strict=True)]]
        place = "i" if self.reverse else "i + 1"
        body += [f"h{i} = hs{i}[{place}]" for _, i in self.histories]
        body += [f"y{i} = ys{i}[i]" for i in self.direct]
        before = len(body)
        inner.lines.pop(self.name, None)
        for number, eqn in enumerate(program.equations):
            body += inner.equation(number, eqn, fresh)
        head += self.copied(body)
        lines: list[Equation | None] = [None] * (len(head) + 1 + before)
        inner.lines[self.name] = [*lines, *inner.lines.get(self.name, [])]
        body += [f"ys{i}.put_row(i, {inner.read(y, [y])})" if self.grows(y) else
                 f"ys{i}[i] = {inner.read(y, [y])}" for i, y in enumerate(self.ys)
                 if i not in self.direct and i not in self.places]
        body += [*self.rebound(), *self.after_step()]
        head.append(self.opening())
        inputs = ", ".join([*self.leading(), *[names[v] for v in self.consts],
                            *[names[v] for v in self.carry], *stacks])
        returned = [*self.counted(), *[names[v] for v in self.carry],
                    *[self.places.get(i, f"ys{i}{'.array()' * self.grows(y)}")
                      for i, y in enumerate(self.ys)]]
        outputs, comma = ", ".join(returned), "," if len(returned) == 1 else ""
        return "\n".join([f"def {self.name}({inputs}):", *["    " + h for h in head],
                          *["        " + b for b in body or ["pass"]],
                          f"    return ({outputs}{comma})"])

    def grows(self, y: Any) -> bool:
        """Whether the rows of a y have sizes, or a number, that only the run shows."""
        return self.length is None or UNKNOWN in y.type.shape

    # What other loops than scans have beside.

    def leading(self) -> list[str]:
        """Parameters in front of the operands."""
        return []

    def opening(self) -> str:
        """The line that the steps are under."""
        span = f"range({self.length})"
        return f"for i in {f'reversed({span})' if self.reverse else span}:"

    def before_step(self) -> list[str]:
        return []

    def after_step(self) -> list[str]:
        return []

    def counted(self) -> list[str]:
        """Results in front of the carry."""
        return []

    def tail(self, v: Var) -> str:
        """Rows of numbers that NumPy knows are its scalars; of others, arrays without axes."""
        return "" if v.type.shape or v.type.dtype.kind in "biufc" else ", ..."

    def header(self) -> list[str]:
        """The arrays of ys."""
        def empty(rows: Any, y: Any) -> str:
            if self.grows(y):
                return (f"{self.inner.name_of(Tape, 'Tape')}({self.inner.value(y.type, 'row')}, "
                        f"{rows})")
            shape = ", ".join(map(str, (rows, *y.type.shape)))
            return (f"{self.inner.name_of(np.empty, 'empty')}(({shape}{',' * (not y.type.shape)}), "
                    f"{self.inner.value(y.type.dtype, 'dtype')})")

        lines = []
        for j, i in self.histories:
            lines += [f"hs{i} = {empty(self.one_more(), self.ys[i])}",
                      f"hs{i}[{-1 if self.reverse else 0}] = {self.inner.names[self.carry[j]]}"]
        return lines + [f"ys{i} = {empty(self.length, y)}" for i, y in enumerate(self.ys)
                        if i not in self.places]

    def one_more(self) -> int | str:
        """The length and 1."""
        return f"{self.length} + 1" if isinstance(self.length, str) else (self.length or 0) + 1

    def turned(self) -> list[str]:
        """Matrices that the steps multiply by transposed are turned once: BLAS takes half the time
        where the right operand lies in the order of its rows."""
        if isinstance(self.length, int) and self.length < 4:
            return []
        lines = []
        for eqn in self.program.equations:
            if eqn.primitive is not ops.dot_general or eqn.inputs[1] not in self.consts:
                continue
            x, y = eqn.inputs
            if eqn.params["contract"][1] == (1,) and y not in self.inner.turned and \
                    len(x.type.shape) == len(y.type.shape) == 2 and y.type.size > x.type.shape[0]:
                name = self.inner.names[y]
                self.inner.turned[y] = f"{name}_turned"
                copy = self.inner.name_of(np.ascontiguousarray, "ascontiguousarray")
                lines.append(f"{name}_turned = {copy}({name}.T)")
        return lines

    def rebound(self) -> list[str]:
        """The assignment of the carry for the next step."""
        left, right = [], []
        for v, a in zip(self.carry, self.program.outputs, strict=False):
            if a is v:
                continue
            name, new = self.start_names[v], self.carried(a, v)
            if name != new:
                left.append(name)
                right.append(new)
        return [f"{', '.join(left)} = {', '.join(right)}"] if left else []

    def carried(self, atom: Any, v: Var) -> str:
        if type(atom) is not Literal:
            return self.inner.names[atom]
        value = np.asarray(atom.value, v.type.dtype)
        return self.inner.name_of(value, f"const_{self.name}")
