"""What reverse mode keeps of a function's forward pass: a table with bytes and source lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lucidfn.api.arguments import name_of
from lucidfn.api.inspect import Recorded
from lucidfn.control.call import CALLS
from lucidfn.control.saving import expanded
from lucidfn.core.ir import Program, Var
from lucidfn.core.printer import escape
from lucidfn.core.source import Source
from lucidfn.ops.naming import checkpoint_name
from lucidfn.ops.tapes import UNKNOWN
from lucidfn.transforms.programs import linearize_program
from lucidfn.types import ArrayType, is_inexact


class Residual(NamedTuple):
    """One array that is kept: its type, what it is, and the line that made it, if one did."""

    type: ArrayType
    origin: str
    source: Source | None

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.type.nbytes


class Residuals(tuple[Residual, ...]):
    """The residuals of a function; prints as a table."""

    @property
    def nbytes(self) -> int:
        """Bytes of all residuals."""
        return sum(r.nbytes for r in self)

    @property
    def made(self) -> int:
        """Bytes of those that are no arguments: what the derivative costs in memory."""
        return sum(r.nbytes for r in self if not r.origin.startswith("argument"))

    def __str__(self) -> str:
        cells = [("type", "bytes", "what", "line"), *[
            (str(r.type), f"{r.nbytes:,}", r.origin, str(r.source or "")) for r in self],
            ("", f"{self.nbytes:,}", f"in all; {self.made:,} beside the arguments", "")]
        a, b, c = (max(len(row[i]) for row in cells) for i in range(3))
        return "\n".join(f"{t:<{a}}  {n:>{b}}  {what:<{c}}  {line}".rstrip()
                         for t, n, what, line in cells)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(r.type))}</td><td style='text-align:right'>{r.nbytes:,}</td>"
            f"<td>{escape(r.origin)}</td><td>{escape(str(r.source or ''))}</td></tr>"
            for r in self)
        return ("<table><tr><th>type</th><th>bytes</th><th>what</th><th>line</th></tr>"
                f"{rows}<caption>{self.nbytes:,} bytes</caption></table>")


def saved_residuals(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Residuals:
    """What the derivative of `fun` at these arguments keeps of the forward pass.

    Arguments may be arrays or `ShapeDtypeStruct`; nothing is computed. All floating arguments count
    as differentiated. Each entry has `type`, `nbytes`, `origin` and `source`; printed, they are a
    table.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> [(str(r.type), r.nbytes, r.origin)
    ...  for r in lf.saved_residuals(lambda x: lnp.sin(x) * x, lnp.ones(3))]
    [('float32[3]', 12, 'argument `x`'), ('float32[3]', 12, 'sin'), ('float32[3]', 12, 'cos')]
    """
    recorded = Recorded(fun, args, kwargs, what="saved_residuals")
    moving = tuple([is_inexact(t.dtype) for t in recorded.program.input_types])
    if not any(moving):
        raise TypeError(f"saved_residuals of {name_of(fun)}: no floating array among the arguments "
                        "to differentiate; convert first: x.astype('float32')")
    # A program of its own: its inputs have the user's names.
    program = expanded(recorded.program, CALLS)
    forward, linear, n, _ = linearize_program(program, moving)
    forward = expanded(forward, CALLS)
    found: dict[Any, Residual] = {}
    constants: dict[Any, Var] = {}  # the same array is kept once
    for atom in forward.outputs[n:]:
        if isinstance(atom, Var):
            if atom in forward.consts:
                atom = constants.setdefault(_memory_of(forward.consts[atom]), atom)
            found.setdefault(atom, describe(atom, forward, recorded.program.names))
    order = {v: i for i, v in enumerate([*forward.inputs, *forward.consts, *[
        v for e in forward.equations for v in e.outputs]])}
    return Residuals([found[v] for v in sorted(found, key=order.__getitem__)])


def _memory_of(x: Any) -> Any:
    """Equal for arrays that are one in memory: a user's array has a view at each use."""
    where = getattr(x, "__array_interface__", None)
    return id(x) if where is None else (where["data"], x.shape, x.strides, x.dtype)


def describe(var: Var, program: Program, names: tuple[str, ...]) -> Residual:
    """Where a variable of a program comes from, in the user's words."""
    if var in program.inputs:
        at = program.inputs.index(var)
        label = names[at] if at < len(names) and names[at] else str(at + 1)
        return Residual(var.type, f"argument `{label}`", None)
    eqn = next((e for e in program.equations if var in e.outputs), None)
    if eqn is None:
        return Residual(var.type, "constant", None)
    if eqn.primitive is checkpoint_name:
        return Residual(var.type, f"`{eqn.params['name']}`", eqn.source)
    inner = eqn.params.get("program")
    if isinstance(inner, Program) and len(inner.outputs) == len(eqn.outputs):
        atom = inner.outputs[eqn.outputs.index(var)]
        if type(atom) is Var and atom not in inner.inputs:
            found = describe(atom, inner, ())
            return Residual(var.type, found.origin, found.source or eqn.source)
    each = ", for each step" if UNKNOWN in var.type.shape else ""
    return Residual(var.type, eqn.primitive.name + each, eqn.source)


def print_saved_residuals(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Print the table of `saved_residuals(fun, *args, **kwargs)`."""
    print(saved_residuals(fun, *args, **kwargs))
