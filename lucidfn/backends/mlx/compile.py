"""Programs for MLX: straight-line Python that calls kernels, and the pieces that MLX compiles.

Where `mx.compile` pays (on a GPU), the program is cut at the equations that need values on the
host, such as callbacks, and the pieces between are compiled. Elsewhere the text runs as it is: MLX
records the operations, and computes them together at the end of the step.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from lucidfn import ops
from lucidfn.backends.mlx import checks, fallback
from lucidfn.backends.mlx.arrays import MX_DTYPES, Keys, from_numpy
from lucidfn.backends.mlx.fast import fast_paths, wanted
from lucidfn.backends.mlx.kernels import KERNELS
from lucidfn.backends.mlx.patterns import Fused
from lucidfn.backends.mlx.values import MlxArray
from lucidfn.backends.numpy.compile import FILE, LINES
from lucidfn.backends.numpy.kernels import KERNELS as NUMPY_KERNELS
from lucidfn.config import settings
from lucidfn.core.collector import collector_paused
from lucidfn.core.ir import Equation, Literal, Program, Var
from lucidfn.core.primitive import ALL, Primitive
from lucidfn.core.printer import fresh_names
from lucidfn.core.source import Source, describe_line
from lucidfn.core.trace import current, eval_trace
from lucidfn.passes import dce, inline, optimize, unfold
from lucidfn.types import SCALARS, ArrayType, is_key

if TYPE_CHECKING:
    from lucidfn.backends.mlx import MlxBackend

RESERVED = frozenset({*keyword.kwlist, "inf", "nan", "complex", "program", "output",
                      *(d.name for d in MX_DTYPES)})
SAME = {ops.copy, ops.stop_gradient}


@dataclass
class Compiled:
    """A compiled program: `function` takes and returns MLX's arrays, or raw ones (`on_raws`)."""

    source: str
    function: Callable[..., Any]
    program: Program
    original: Program
    types: list[ArrayType]
    size: int
    on_raws: bool = False
    sized: bool = True  # whether the types say all sizes of the outputs: those of loops do not


# ------------------------------------------------------------------ kernels

def kernel_of(primitive: Primitive) -> Callable[..., Any]:
    """The kernel of a primitive: MLX's, or NumPy's by way of the host; MissingRuleError if none."""
    if isinstance(primitive, Fused):
        return primitive.kernel
    kernel = KERNELS.get(primitive)
    if kernel is None:
        if primitive not in NUMPY_KERNELS:
            raise primitive.missing("MLX kernel", "runs it")
        kernel = KERNELS[primitive] = fallback.on_host(primitive)
    return kernel


def needs_host(eqn: Equation) -> bool:
    """Whether an equation needs the values of its operands: no piece that MLX compiles has it."""
    primitive = eqn.primitive
    if primitive.nested or primitive.effect:
        return True
    kernel = kernel_of(primitive)
    if getattr(kernel, "on_host", False):
        return True
    wanted = getattr(kernel, "on_host_if", None)
    if wanted is None:
        return False
    operands = [a.value if type(a) is Literal else a.type for a in eqn.inputs]
    return bool(wanted(*operands, **eqn.params))


def for_types(kernel: Callable[..., Any], eqn: Equation) -> Callable[..., Any]:
    """The kernel without questions that the types of an equation answer."""
    sized = not any(ops.UNKNOWN in a.type.shape for a in eqn.inputs)
    if hasattr(kernel, "on_device") and sized and not needs_host(eqn):
        return kernel.on_device
    if hasattr(kernel, "without_keys") and not any(is_key(a.type.dtype) for a in eqn.inputs):
        return kernel.without_keys
    return kernel


def checks_values(primitive: Primitive, params: dict[str, Any]) -> bool:
    """Whether a kernel may find values out of bounds, which MLX learns when it has computed."""
    return params.get("mode") == "raise" or primitive is ops.check_labels


def at_line(kernel: Callable[..., Any], primitive: Primitive,
            source: Source | None) -> Callable[..., Any]:
    """The kernel with checks that name the user's line."""
    where = describe_line(source)

    def located(error: Callable[..., Exception]) -> Callable[..., Exception]:
        def raised(*details: Any) -> Exception:
            plain = error(*details)
            better = type(plain)(f"{primitive.name} at {where}: {plain}")
            better._located = True  # type: ignore[attr-defined]
            return better
        return raised

    def run(*args: Any, **params: Any) -> Any:
        with checks.collecting() as found:
            out = kernel(*args, **params)
            found = list(found)
        for check in found:
            checks.add(check.flag, check.details, located(check.error))
        return out

    return run


def bits_of(data: Any) -> mx.array:
    return data.bits if type(data) is Keys else data


# ------------------------------------------------------------------ the text

@dataclass
class _Writer:
    """Writes a program as Python, and collects the objects that the text names."""

    program: Program
    backend: MlxBackend
    compiles: bool  # whether MLX compiles the pieces
    names: dict[Var, str] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[Equation | None]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def write(self) -> str:
        program = self.program
        self.fresh = (n for n in fresh_names() if n not in RESERVED and n not in ALL)
        for v in program.inputs:
            self.names[v] = next(self.fresh)
        for v, value in program.consts.items():
            name = f"const_{next(self.fresh)}"
            self.names[v], self.space[name] = name, self.constant(value)
        pieces = list(in_pieces(program)) if self.compiles else [program.equations]
        body: list[str] = []
        for number, equations in enumerate(pieces):
            body += self.piece(number, equations, pieces)
        outputs = [self.output(a) for a in program.outputs]
        self.function("program", [self.names[v] for v in program.inputs], body, outputs)
        return "\n\n\n".join(self.texts)

    def function(self, name: str, inputs: list[str], body: list[str], outputs: list[str]) -> None:
        self.texts.append("\n".join([
            f"def {name}({', '.join(inputs)}):", *["    " + b for b in body],
            f"    return [{', '.join(outputs)}]", ""]))

    def constant(self, value: Any) -> Any:
        if not isinstance(value, MlxArray) and value.dtype in self.backend.unsupported:
            raise self.backend.refusal(value.dtype)
        return self.backend.asarray(value).data

    # ------------------------------------------------------------------ pieces

    def piece(self, number: int, equations: list[Equation],
              pieces: list[list[Equation]]) -> list[str]:
        """The lines of one piece: in place, or a call of a function that MLX compiles."""
        if not self.compiles or len(equations) == 1 and needs_host(equations[0]):
            return [self.equation(eqn, "program") for eqn in equations]
        made = dict.fromkeys(v for e in equations for v in e.outputs)
        outside = dict.fromkeys(a for e in equations for a in e.inputs
                                if type(a) is Var and a not in made
                                and a not in self.program.consts)
        later = {a for rest in pieces[number + 1:] for e in rest for a in e.inputs
                 if type(a) is Var} | {a for a in self.program.outputs if type(a) is Var}
        outs = [v for v in made if v in later]
        name = f"part_{number}"
        body = [self.equation(eqn, name) for eqn in equations]
        inputs = [self.names[v] for v in outside]
        self.function(name, inputs, body, [self.names[v] for v in outs])
        self.space[f"compile_{name}"] = [v.type for v in outside], [v.type for v in outs]
        self.lines.setdefault("program", []).append(None)  # the call is the line of many
        left = "".join(f"{self.names[v]}, " for v in outs)
        return [f"{left or '_ '}= {name}({', '.join(inputs)})"]

    # ------------------------------------------------------------------ equations

    def equation(self, eqn: Equation, function: str) -> str:
        self.lines.setdefault(function, []).append(eqn)
        args = [self.read(a) for a in eqn.inputs]
        if eqn.primitive in SAME and type(eqn.inputs[0]) is Var:
            text = args[0]
        else:
            params = [f"{k}={self.value(v, k)}" for k, v in eqn.params.items()]
            text = f"{self.callee(eqn)}({', '.join([*args, *params])})"
        for v in eqn.outputs:
            if v.type.dtype in self.backend.unsupported:
                raise self.backend.refusal(v.type.dtype)
            self.names[v] = next(self.fresh)
        left = ", ".join(self.names[v] for v in eqn.outputs)
        many = eqn.primitive.many and len(eqn.outputs) == 1
        comment = f"  # {eqn.source}" if eqn.source is not None else ""
        return f"{left}{',' * many} = {text}{comment}" if left else text + comment

    def callee(self, eqn: Equation) -> str:
        primitive = eqn.primitive
        if primitive.nested:
            return self.name_of(self.on_raws(primitive), primitive.name)
        kernel = for_types(kernel_of(primitive), eqn)
        if checks_values(primitive, eqn.params):
            kernel = at_line(kernel, primitive, eqn.source)
        return self.name_of(kernel, primitive.name)

    def on_raws(self, primitive: Primitive) -> Callable[..., Any]:
        """A primitive that runs Python, as a function of MLX's arrays."""
        backend = self.backend

        def run(*args: Any, **params: Any) -> Any:
            raws = [x if type(x) in SCALARS else backend.wrap(x) for x in args]
            token = current.set(eval_trace)
            try:
                outs = backend.run(primitive, raws, params)
            finally:
                current.reset(token)
            return [backend.asarray(x).data for x in outs]
        return run

    def name_of(self, obj: Any, wanted: str) -> str:
        name, n = f"{wanted}_" if keyword.iskeyword(wanted) else wanted, 1
        while name in self.space and self.space[name] is not obj:
            n += 1
            name = f"{wanted}_{n}"
        self.space[name] = obj
        return name

    def read(self, atom: Any) -> str:
        if type(atom) is not Literal:
            return self.names[atom]
        value = atom.value
        if type(value) is complex:  # its repr is a sum, which loses the signs of zeros
            return f"{self.name_of(complex, 'complex')}({value.real!r}, {value.imag!r})"
        if not np.isfinite(value):
            self.space.update(inf=np.inf, nan=np.nan)
        return repr(value)

    def value(self, v: Any, name: str) -> str:
        if _plain(v):
            return repr(v)
        if isinstance(v, np.dtype):
            return self.name_of(v, v.names[0] if v.names else v.name)
        return self.name_of(v, name + "_")

    def output(self, atom: Any) -> str:
        if type(atom) is not Literal:
            return self.names[atom]
        return self.name_of(from_numpy(np.asarray(atom.value, atom.type.dtype)), "output")


def _plain(v: Any) -> bool:
    if isinstance(v, tuple):
        return all(map(_plain, v))
    return v is None or type(v) in (bool, int, str) or (type(v) is float and v == v
                                                        and abs(v) != float("inf"))


def in_pieces(program: Program) -> Iterator[list[Equation]]:
    """The equations, cut before and after each that needs values on the host."""
    piece: list[Equation] = []
    for eqn in program.equations:
        if needs_host(eqn):
            if piece:
                yield piece
            yield [eqn]
            piece = []
        else:
            piece.append(eqn)
    if piece:
        yield piece


# ------------------------------------------------------------------ what MLX compiles

def compiled_piece(function: Callable[..., Any], inputs: Sequence[ArrayType],
                   outputs: Sequence[ArrayType]) -> Callable[..., Any]:
    """`mx.compile` of a piece: its checks are outputs too, and keys travel as their bits."""
    keys_in = [t.dtype if is_key(t.dtype) else None for t in inputs]
    keys_out = [t.dtype if is_key(t.dtype) else None for t in outputs]
    count, found = len(outputs), []

    def traced(*args: Any) -> list[Any]:
        given = [x if k is None else Keys(x, k) for x, k in zip(args, keys_in, strict=True)]
        with checks.collecting() as collected:
            outs = function(*given)
            found[:] = [(len(c.details), c.error) for c in collected]
            return [*map(bits_of, outs), *[x for c in collected for x in (c.flag, *c.details)]]

    fast = mx.compile(traced)

    def run(*args: Any) -> list[Any]:
        outs = fast(*map(bits_of, args))
        at = count
        for n, error in found:
            checks.add(outs[at], outs[at + 1:at + 1 + n], error)
            at += n + 1
        return [x if k is None else Keys(x, k)
                for x, k in zip(outs[:count], keys_out, strict=True)]

    return run


# ------------------------------------------------------------------ compile

def compile_program(program: Program, backend: MlxBackend) -> Compiled:
    """Optimise a program and compile it for a device."""
    compiles = {"on": True, "off": False}.get(settings().mlx_compile, backend.compiles)
    key = (backend.device, compiles, settings())
    known = program.derived.get(key)
    if known is not None:
        return known
    types = program.output_types
    if settings().debug_nans or settings().debug_infs:
        inner = inline(program)
        compiled = Compiled(str(inner), _evaluate(inner, backend), inner, program, types,
                            len(inner.equations), on_raws=True)
    else:
        with collector_paused(), np.errstate(all="ignore"):
            optimized = converted_constants(unfold(optimize(program)), backend)
            fused = fast_paths(optimized) if wanted(backend.device) else optimized
            writer = _Writer(fused, backend, compiles)
            source = writer.write()
            space = writer.space
            exec(compile(source, FILE, "exec"), space)
        space[LINES] = writer.lines
        for name in [n for n in space if n.startswith("compile_part_")]:
            part = name.removeprefix("compile_")
            space[part] = compiled_piece(space[part], *space.pop(name))
        # Taken out of its own globals: a cycle would keep the constants until a collection.
        compiled = Compiled(source, space.pop("program"), optimized, program, types,
                            len(fused.equations),
                            sized=not any(ops.UNKNOWN in t.shape for t in types))
    program.derived[key] = compiled
    return compiled


def converted_constants(program: Program, backend: MlxBackend) -> Program:
    """The program with constants that the device cannot hold converted on the host, where a
    conversion is the first that happens to them: `lnp.asarray(pixels, "float32")` of float64."""
    consts, equations = dict(program.consts), []
    for eqn in program.equations:
        value = consts.get(eqn.inputs[0]) if eqn.primitive is ops.convert else None
        if isinstance(value, np.ndarray) and value.dtype in backend.unsupported:
            consts[eqn.outputs[0]] = NUMPY_KERNELS[ops.convert](value, **eqn.params)
        else:
            equations.append(eqn)
    if len(equations) == len(program.equations):
        return program
    return dce(program.replace(equations=equations, consts=consts))


def _evaluate(program: Program, backend: MlxBackend) -> Callable[..., Any]:
    """Under `debug_nans`: equation by equation, each output checked with its line."""
    def run(*args: Any) -> list[Any]:
        token = current.set(eval_trace)
        try:
            return [backend.asarray(x, t.dtype) if type(x) in SCALARS else backend.asarray(x)
                    for x, t in zip(program(*args), program.output_types, strict=True)]
        finally:
            current.reset(token)
    return run
