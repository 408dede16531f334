"""Programs as text and as HTML: an equation a line, names in order of definition, aligned."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from lucidfn.types import dtype_name

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def fresh_names() -> Iterator[str]:
    """a .. z, aa .. zz, ..."""
    return ("".join(s) for n in itertools.count(1) for s in itertools.product(_ALPHABET, repeat=n))


class _Names:
    """Names for variables, given in the order in which they are met."""

    def __init__(self) -> None:
        self.fresh, self.known = fresh_names(), {}  # type: ignore[var-annotated]

    def of(self, atom: Any) -> str:
        if hasattr(atom, "value"):
            return repr(atom.value)
        if atom not in self.known:
            self.known[atom] = next(self.fresh)
        return self.known[atom]

    def typed(self, var: Any) -> str:
        return f"{self.of(var)}:{var.type}"


def param_text(value: Any) -> str:
    """A parameter as it stands in the brackets of an equation; no spaces, no addresses."""
    if isinstance(value, tuple):
        return "(" + ",".join(map(param_text, value)) + ("," if len(value) == 1 else "") + ")"
    if hasattr(value, "itemsize") and hasattr(value, "kind"):
        return dtype_name(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value) if isinstance(value, str) else str(value)


def to_text(program: Any, *, sources: bool = False) -> str:
    """The program as aligned text."""
    return "\n".join(_lines(program, sources))


def _lines(program: Any, sources: bool) -> list[str]:
    names = _Names()
    inputs = ", ".join(map(names.typed, [*program.consts, *program.inputs]))
    rows: list[tuple[str, str, str, list[str]]] = []
    for eqn in program.equations:
        nested = list(eqn.programs())
        inner = {name.split("[")[0] for name, _ in nested}
        params = {k: v for k, v in eqn.params.items() if k not in inner}
        attrs = " ".join(f"{k}={param_text(v)}" for k, v in params.items())
        right = " ".join([eqn.primitive.name + (f"[{attrs}]" if attrs else ""),
                          *map(names.of, eqn.inputs)])
        left = " ".join(map(names.typed, eqn.outputs))
        below = [f"{name}: {line}" if i == 0 else line
                 for name, sub in nested for i, line in enumerate(_lines(sub, sources))]
        rows.append((left, right, str(eqn.source or "") if sources else "", below))
    width = min(max((len(left) for left, *_ in rows), default=0), 40)
    right_width = min(max((len(right) for _, right, *_ in rows), default=0), 60)
    lines = [f"program({inputs})"]
    if sources and any(program.names):
        lines += [f"  # {names.of(v)} is {name}" for v, name in
                  zip(program.inputs, program.names, strict=False) if name]
    for left, right, source, below in rows:
        text = f"  {left:<{width}} = {right:<{right_width if source else 0}}"
        lines.append(f"{text}  # {source}" if source else text.rstrip())
        lines += ["      " + line for line in below]
    return [*lines, f"  return {', '.join(map(names.of, program.outputs))}"]


def escape(text: str) -> str:
    """Text as it stands in HTML."""
    return text.translate(_ESCAPES)


def to_html(program: Any) -> str:
    """A table for notebooks: one row an equation, with types and the user's lines."""
    names = _Names()
    cell: Callable[[str], str] = lambda s: f"<td style='text-align:left'>{escape(s)}</td>"
    inputs = ", ".join(map(names.typed, [*program.consts, *program.inputs]))
    rows = [f"<tr><td colspan='5' style='text-align:left'><b>program</b>({escape(inputs)})"
            "</td></tr>"]
    rows += ["<tr>" + "".join(map(cell, [names.of(v), "", "", "", name])) + "</tr>"
             for v, name in zip(program.inputs, program.names, strict=False) if name]
    for eqn in program.equations:
        nested = list(eqn.programs())
        inner = {name.split("[")[0] for name, _ in nested}
        attrs = " ".join(f"{k}={param_text(v)}" for k, v in eqn.params.items() if k not in inner)
        operands = " ".join(map(names.of, eqn.inputs))
        outs = ", ".join(map(names.of, eqn.outputs))
        types = ", ".join(str(v.type) for v in eqn.outputs)
        rows.append("<tr>" + "".join(map(cell, [
            outs, types, f"{eqn.primitive.name} {operands}", attrs, str(eqn.source or "")]))
            + "</tr>")
        rows += [f"<tr><td></td><td colspan='4'><details><summary>{escape(name)}</summary>"
                 f"{to_html(sub)}</details></td></tr>" for name, sub in nested]
    returns = escape(", ".join(map(names.of, program.outputs)))
    rows.append(f"<tr><td colspan='5' style='text-align:left'><b>return</b> {returns}</td></tr>")
    return "<table style='font-family:monospace'>" + "".join(rows) + "</table>"
