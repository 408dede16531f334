"""Programs to Python: straight-line source that calls NumPy, with buffers reused and freed early.

The text is what runs; `jit(f).source(...)` prints it. Each line is one equation. `out=` is given
where a buffer of the same shape and dtype has just died; what dies without being reused is deleted.
Only a buffer that the program made itself (or was given for good) is written to, and only if every
equation that read it is known to keep no view of it.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy.blocks import blocks
from lucidfn.backends.numpy.contract import add_dot
from lucidfn.backends.numpy.control import scalar_text
from lucidfn.backends.numpy.conv import add_conv
from lucidfn.backends.numpy.elementwise import FEW, along_rows
from lucidfn.backends.numpy.fused import into_text, logistic_both, shared_exponentials
from lucidfn.backends.numpy.in_place import UPDATES, in_place_text, updates_last
from lucidfn.backends.numpy.kernels import KERNELS, UFUNCS
from lucidfn.backends.numpy.memory import keep_freed_memory
from lucidfn.backends.numpy.rows import in_blocks
from lucidfn.backends.numpy.softmax import softmax
from lucidfn.backends.numpy.templates import TEMPLATES
from lucidfn.backends.numpy.threads import thread_count
from lucidfn.config import settings
from lucidfn.control import call as calls
from lucidfn.control.steps import step
from lucidfn.core.collector import collector_paused
from lucidfn.core.ir import Equation, Literal, Program, Var
from lucidfn.core.printer import fresh_names
from lucidfn.core.trace import current, eval_trace
from lucidfn.passes import inline, optimize
from lucidfn.passes.rewrite import literal_key
from lucidfn.types import bfloat16, bool_, is_inexact

REUSE_FROM = 2048  # bytes; below, the allocator is faster than out=
LARGE = 1 << 13  # elements, for `along_rows` to pay
CALLS = {calls.call, calls.checkpoint, calls.recompute, step}
# What may return its operand's memory: the result lives in the buffer of the operand.
VIEWS = {ops.reshape, ops.permute, ops.slice_, ops.flip, ops.broadcast_to, ops.convert, ops.copy,
         ops.stop_gradient, ops.split}
# What returns new memory that nothing else refers to. The rest may keep a view of an operand (the
# bits of an array, a slice at a computed place, a user's kernel), so what they read is not reused.
FRESH = {*UFUNCS, ops.div, ops.rem, ops.eq, ops.ne, ops.pow, ops.integer_pow, ops.rsqrt, ops.relu,
         ops.clamp, ops.select, ops.logistic, ops.erf, ops.dot_general, ops.conv, ops.concatenate,
         ops.gather, ops.dynamic_update_slice, ops.iota, ops.full, ops.argmax, ops.argmin,
         ops.reduce_sum, ops.reduce_prod, ops.reduce_max, ops.reduce_min, ops.reduce_and,
         ops.reduce_or, ops.softmax, blocks, *UPDATES, logistic_both}
# What the source calls by a name that a variable could have too.
RESERVED = frozenset({*keyword.kwlist, "add_conv", "add_dot", "add_up", "alone", "along_rows",
                      "array", "bool", "call", "complex", "empty", "inf", "min", "nan", "run",
                      "total", "where", "zeros",
                      *(u.__name__ for u in UFUNCS.values()), *(p.name for p in KERNELS)})


@dataclass(eq=False, repr=False)
class Compiled:
    """A compiled program: call it with raw arrays. `calls_back`: it may run user code."""

    source: str
    function: Callable[..., Any]
    program: Program
    calls_back: bool

    def __call__(self, *args: Any) -> Sequence[Any]:
        return self.function(*args)


@dataclass(eq=False, repr=False)
class _Writer:
    """Writes the source of one program, and collects the objects that it names."""

    program: Program
    donated: frozenset[int]
    names: dict[Var, str] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    name: str = "program"
    functions: list[str] = field(default_factory=list)  # the text of other functions
    # In a block of rows: outputs that have a place in an argument, and sums that go on from one.
    stored: dict[Var, str] = field(default_factory=dict)
    apart: frozenset[Var] = frozenset()  # those of `stored` that no operand lies in
    totals: dict[Var, str] = field(default_factory=dict)
    turned: dict[Var, str] = field(default_factory=dict)  # transposed once, before a loop
    in_loop: bool = False
    calls_back: bool = False
    lines: dict[str, list[Equation | None]] = field(default_factory=dict)  # by function
    scalars: dict[Any, tuple[str, str]] = field(default_factory=dict)  # name and text, by value

    def write(self) -> str:
        """The source of the whole module."""
        body = self.function()
        head = "\n".join(f"{name} = {text}" for name, text in self.scalars.values())
        before = "\n\n".join(filter(None, [head, *self.functions]))
        return f"{before}\n\n\n{body}" if before else body

    def function(self) -> str:
        """The source of the program as one function."""
        program = self.program
        fresh = self.fresh()
        for v in [*program.consts, *program.inputs]:
            self.names[v] = next(fresh)
        for v, value in program.consts.items():
            self.space[f"const_{self.names[v]}"] = value
            self.names[v] = f"const_{self.names[v]}"
        self.plan_lifetimes()
        self.lines[self.name] = []
        body = [line for number, eqn in enumerate(program.equations)
                for line in self.equation(number, eqn, fresh)]
        inputs = ", ".join([*[self.names[v] for v in program.inputs], *self.totals.values(),
                            *self.stored.values()])
        returned = [a for a in program.outputs if a not in self.stored]
        outputs = ", ".join(self.read(a, program.outputs) for a in returned)
        comma = "," if len(returned) == 1 else ""
        return "\n".join([f"def {self.name}({inputs}):", *["    " + b for b in body],
                          f"    return ({outputs}{comma})", ""])

    def fresh(self) -> Iterator[str]:
        """Names of variables, in order."""
        return (n for n in fresh_names() if n not in RESERVED)

    def name_of_function(self, kind: str) -> str:
        """A name for one more function of a kind: `scan0`."""
        return f"{kind}{sum(text.startswith(f'def {kind}') for text in self.functions)}"

    @staticmethod
    def prepared(program: Program) -> Program:
        """The body of a loop as it is written: in blocks of rows where these are worth it."""
        return in_blocks(shared_exponentials(updates_last(program)), thread_count(),
                         in_loop=True)

    # ------------------------------------------------------------------ lifetimes

    def plan_lifetimes(self) -> None:
        """Find the last equation that reads each buffer; views keep the buffer of their source.

        A buffer is named by the variable that it was made for: `root` of what is a view of it.
        """
        self.root: dict[Var, Var] = {}
        self.last: dict[Var, int] = {}
        self.views: dict[Var, list[Var]] = {}
        self.shared: set[Var] = set()  # buffers that an output of unknown memory may lie in
        for number, eqn in enumerate(self.program.equations):
            read = [self.root.get(a, a) for a in eqn.inputs if type(a) is Var]
            for v in read:
                self.last[v] = number
            if eqn.primitive in VIEWS and type(eqn.inputs[0]) is Var:
                self.root.update(dict.fromkeys(eqn.outputs, read[0]))
                self.views.setdefault(read[0], []).extend(eqn.outputs)
            elif self.may_alias(eqn):
                self.shared.update(read)
        end = len(self.program.equations)
        for a in self.program.outputs:
            if type(a) is Var:
                self.last[self.root.get(a, a)] = end
        self.dying: dict[int, list[Var]] = {}
        for v, number in self.last.items():
            self.dying.setdefault(number, []).append(v)
        self.inputs = {*self.program.consts, *self.program.inputs} - {
            v for i, v in enumerate(self.program.inputs) if i in self.donated}
        # Buffers that this program owns: it made them, or they were donated to it.
        self.owned = {v for i, v in enumerate(self.program.inputs) if i in self.donated}
        self.free: dict[tuple[Any, Any], list[str]] = {}

    keeps = VIEWS  # not a field: for loops, which ask what is made anew

    def may_alias(self, eqn: Equation) -> bool:
        """Whether outputs may lie in the memory of operands. A reduction over no axes returns its
        operand."""
        if self.in_loop and eqn.primitive is ops.dynamic_slice:
            return False
        return eqn.primitive not in FRESH or eqn.params.get("axes") == ()

    def reusable(self, v: Var) -> bool:
        t = v.type
        return (v in self.owned and v not in self.shared and len(t.shape) > 0
                and t.nbytes >= REUSE_FROM)

    # ------------------------------------------------------------------ one equation

    def equation(self, number: int, eqn: Equation, fresh: Any) -> list[str]:
        prim, self.number = eqn.primitive, number
        dying = self.dying.get(number, [])
        comment = f"  # {eqn.source}" if eqn.source is not None else ""
        scalar = scalar_text(self, eqn)
        function = self.pointwise(eqn) if scalar is None else None
        if scalar is not None:
            self.names[eqn.outputs[0]] = next(fresh)
            lines = [f"{self.names[eqn.outputs[0]]} = {scalar}{comment}", *self.release(dying)]
        elif function is not None:
            lines = self.pointwise_line(eqn, function, dying, fresh, comment)
        else:
            total = self.totals.get(eqn.outputs[0]) if eqn.outputs else None
            kept = self.updated(eqn, dying)
            args = [self.read(a, eqn.inputs) for a in eqn.inputs]
            into = into_text(self, eqn, args) if self.in_loop else None
            if into is None and prim is ops.conv and eqn.outputs[0] in self.apart:
                into = f"{self.expression(eqn)[:-1]}, out={self.stored[eqn.outputs[0]]})"
            if into is not None:
                text = into
            elif kept is not None:
                text, dying = in_place_text(self, eqn, args), [v for v in dying if v is not kept]
            else:
                text = self.expression(eqn) if total is None else self.accumulation(eqn, total)
            for v in eqn.outputs:
                self.names[v] = (self.names[kept] if kept is not None else self.stored[v]
                                 if into is not None and v in self.stored else next(fresh))
            if not eqn.outputs:
                lines = [text + comment]
            else:
                left = ", ".join(self.names[v] for v in eqn.outputs)
                many = prim.many and len(eqn.outputs) == 1
                lines = [f"{left}{',' * many} = {text}{comment}"]
            lines += [f"{self.stored[v]}[...] = {self.names[v]}" for v in eqn.outputs
                      if v in self.stored and into is None]
            if prim in FRESH and eqn.params.get("axes") != ():
                self.owned.update(v for v in eqn.outputs if into is None or v not in self.stored)
            lines += self.release([v for v in dying if v not in eqn.outputs])
        self.lines.setdefault(self.name, []).extend([eqn] * len(lines))
        return lines

    def pointwise_line(self, eqn: Equation, function: str, dying: list[Var], fresh: Any,
                       comment: str) -> list[str]:
        out, names = eqn.outputs[0], self.names
        args = ", ".join([names[a] if type(a) is Var else self.operand(a, eqn)
                          for a in eqn.inputs])
        if eqn.primitive is ops.softmax:
            args += f", axes={eqn.params['axes']}"
        elif repeats_a_row(eqn):
            function, args = self.name_of(along_rows, "along_rows"), f"{function}, {args}"
        target, rest = self.stored.get(out), dying
        if target is None and len(out.type.shape) > 0 and out.type.nbytes >= REUSE_FROM:
            key, rest = out.type[:2], list(dying)
            for v in dying:  # an operand that dies here may hold the result
                if v.type[:2] == key and self.reusable(v) and not self.views.get(v):
                    target = self.names[v]
                    rest.remove(v)
                    break
            else:
                if self.free.get(key):
                    target = self.free[key].pop()
            self.owned.add(out)
        if target is None:
            self.names[out] = next(fresh)
            text = f"{self.names[out]} = {function}({args}){comment}"
        else:
            self.names[out] = target
            text = f"{target} = {function}({args}, out={target}){comment}"
        return [text, *self.release([v for v in rest if v is not out])] if rest else [text]

    def updated(self, eqn: Equation, dying: list[Var]) -> Any:
        """The operand in whose memory an update of it may be done; None if there is none."""
        x = eqn.inputs[0] if eqn.primitive in UPDATES else None
        if x is None or x not in dying or not self.reusable(x) or eqn.outputs[0] in self.stored:
            return None
        # It dies here, and with it all views of it; but none of them may be an operand.
        return x if all(self.root.get(a, a) is not x for a in eqn.inputs[1:]) else None

    def pointwise(self, eqn: Equation) -> str | None:
        """The function that computes this equation and takes `out`, which may be an operand: the
        name under which it is in scope."""
        prim = eqn.primitive
        ufunc = UFUNCS.get(prim)
        if ufunc is None:
            if prim is ops.div and is_inexact(eqn.outputs[0].type.dtype):
                ufunc = np.divide
            elif prim is ops.eq and eqn.inputs[0].type.dtype.kind != "V":
                ufunc = np.equal
            elif prim is ops.ne and eqn.inputs[0].type.dtype.kind != "V":
                ufunc = np.not_equal
            elif prim is ops.integer_pow and eqn.params["n"] == 2:
                ufunc = np.square
            elif prim is ops.softmax:
                return self.name_of(softmax, "softmax")
            else:
                return None
        return self.name_of(ufunc, ufunc.__name__)

    def release(self, dead: list[Var]) -> list[str]:
        """Keep dead buffers for reuse, delete the other names."""
        gone = []
        for v in dead:
            if v in self.inputs or v not in self.names or (
                    v.type.nbytes < REUSE_FROM and ops.UNKNOWN not in v.type.shape):
                continue  # the caller holds it, or it is not worth a line
            views = [self.names[w] for w in self.views.get(v, ()) if w in self.names]
            if self.reusable(v):
                self.free.setdefault((v.type.shape, v.type.dtype), []).append(self.names[v])
                gone += views
            else:
                gone += [self.names[v], *views]
        return [f"del {', '.join(gone)}"] if gone else []

    # ------------------------------------------------------------------ expressions

    def read(self, atom: Any, among: Sequence[Any]) -> str:
        if type(atom) is not Literal:
            return self.names[atom]
        dtypes = [a.type.dtype for a in among if type(a) is not Literal]
        if bfloat16 in dtypes:  # NumPy widens bfloat16 where it meets a Python float
            return self.name_of(np.asarray(atom.value, bfloat16), "scalar")
        value = atom.value
        if not np.isfinite(value):
            self.space.update(inf=np.inf, nan=np.nan)
        if type(value) is complex:  # its repr is a sum, which loses the signs of zeros
            return f"{self.name_of(complex, 'complex')}({value.real!r}, {value.imag!r})"
        return repr(value)

    def operand(self, atom: Any, eqn: Equation) -> str:
        """A literal as an array without axes, made once: a ufunc takes it in half the time."""
        if type(atom) is not Literal:
            return self.names[atom]
        dtype = next((a.type.dtype for a in eqn.inputs if type(a) is Var), None)
        if dtype is None or dtype == bool_:
            return self.read(atom, eqn.inputs)
        key = (literal_key(atom.value), dtype)
        if key not in self.scalars:
            text = (f"{self.name_of(np.array, 'array')}({self.read(atom, eqn.inputs)}, "
                    f"{self.value(dtype, 'dtype')})")
            self.scalars[key] = f"k{len(self.scalars)}", text
        return self.scalars[key][0]

    def name_of(self, obj: Any, wanted: str) -> str:
        """The name under which an object is in scope; a second object of that name is numbered."""
        name, n = wanted, 1
        while name in self.space and self.space[name] is not obj:
            n += 1
            name = f"{wanted}_{n}"
        if name not in self.space:
            self.space[name] = obj
        return name

    def expression(self, eqn: Equation) -> str:
        args = [self.read(a, eqn.inputs) for a in eqn.inputs]
        template = TEMPLATES.get(eqn.primitive)
        if template is not None:
            text = template(self, eqn, args)
            if text is not None:
                return text
        if eqn.primitive in CALLS:
            inner = compile_program(eqn.params["program"])
            self.calls_back |= inner.calls_back
            return f"{self.name_of(inner.function, 'call')}({', '.join(args)})"
        self.calls_back |= eqn.primitive.nested or eqn.primitive.effect
        kernel = KERNELS.get(eqn.primitive)
        if kernel is None:
            raise eqn.primitive.missing("NumPy kernel", "runs it")
        params = [f"{k}={self.value(v, k)}" for k, v in eqn.params.items()]
        return f"{self.name_of(kernel, eqn.primitive.name)}({', '.join([*args, *params])})"

    def accumulation(self, eqn: Equation, total: str) -> str:
        """A product that is added to the sum of the blocks before."""
        args = [self.read(a, eqn.inputs) for a in eqn.inputs]
        if eqn.primitive is ops.conv:
            params = [f"{k}={v!r}" for k, v in eqn.params.items()]
            return f"{self.name_of(add_conv, 'add_conv')}({', '.join([total, *args, *params])})"
        return (f"{self.name_of(add_dot, 'add_dot')}({', '.join([total, *args])}, "
                f"contract={eqn.params['contract']!r})")

    def value(self, v: Any, name: str) -> str:
        """A parameter as source: written out if it is plain data, else by name."""
        if _plain(v):
            return repr(v)
        if isinstance(v, np.dtype):
            label = v.names[0] if v.names else v.name
            return self.name_of(v, label)
        return self.name_of(v, name + "_")


def repeats_a_row(eqn: Equation) -> bool:
    """Whether it combines a large array with a row of few elements."""
    if eqn.primitive not in (ops.add, ops.sub, ops.mul):
        return False
    sizes = [a.type.size for a in eqn.inputs]
    shape = eqn.outputs[0].type.shape
    return (1 < min(sizes) <= FEW and max(sizes) >= LARGE and max(sizes) == math.prod(shape)
            and shape[-1] == min(sizes) and eqn.outputs[0].type.dtype.char in "fd"
            and all(a.type.shape[-1:] == shape[-1:] for a in eqn.inputs))


def _plain(v: Any) -> bool:
    if isinstance(v, tuple):
        return all(map(_plain, v))
    return v is None or type(v) in (bool, int, str) or (type(v) is float and v == v
                                                        and abs(v) != float("inf"))


# ------------------------------------------------------------------ compile and run

FILE = "<lucidfn>"  # where tracebacks say that generated code is
LINES = "__lines__"  # the name, among its globals, of the equations of each function's lines


def equation_at(code: CodeType, space: dict[str, Any], line: int) -> Equation | None:
    """The equation that a running line computes, if it is one of generated code."""
    if code.co_filename != FILE or LINES not in space:
        return None
    equations, at = space[LINES].get(code.co_name, ()), line - code.co_firstlineno - 1
    return equations[at] if 0 <= at < len(equations) else None


def compile_program(program: Program, donated: Sequence[int] = ()) -> Compiled:
    """Optimise a program and compile it. `donated`: inputs whose buffers it may overwrite."""
    key = ("numpy", tuple(donated), settings())
    known = program.derived.get(key)
    if known is not None:
        return known
    if settings().debug_nans or settings().debug_infs:
        compiled = _checked(inline(program))
    else:
        keep_freed_memory()
        # Literals may overflow the dtype of their neighbours.
        with collector_paused(), np.errstate(all="ignore"):
            optimized = in_blocks(updates_last(optimize(program)), thread_count())
            writer = _Writer(optimized, frozenset(donated))
            source = writer.write()
            exec(compile(source, FILE, "exec"), writer.space)
        writer.space[LINES] = writer.lines
        # Taken out of its own globals: a cycle would keep the constants until a collection.
        function = writer.space.pop("program")
        compiled = Compiled(source, function, optimized, writer.calls_back)
    program.derived[key] = compiled
    return compiled


def _checked(program: Program) -> Compiled:
    """Under `debug_nans`: evaluate equation by equation, each output checked with its line."""
    def run(*args: Any) -> list[Any]:
        token = current.set(eval_trace)
        try:
            return program(*args)
        finally:
            current.reset(token)
    return Compiled(str(program), run, program, True)


