"""Docstrings and signatures of lucidfn as Markdown for the site.

A docstring is prose with `code`, indented blocks and examples that run. Everything else stands
for itself: the stars of a product and the bars of an absolute value are no markup.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from names import Entry, Index

CODE = re.compile(r"(`[^`]+`)")
SENTENCE = re.compile(r"(?<=[^.\s][.!?])\s+(?=[A-Z(`\"])")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
ADDRESS = re.compile(r"https?://[^\s)>\]]+[^\s)>\].,;]")
ITEM = ("* ", "- ")
DOTTED = re.compile(r"\b(?!np\.)(?:\w+\.)+(\w+)")


class Text:
    """Stands for a part of a signature: its repr is the text."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def own_doc(value: Any) -> str:
    """The docstring of an object itself, not of its base or its type; "" where it has none."""
    if not callable(value) and not isinstance(value, (property, types.ModuleType)):
        return ""
    doc = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    if isinstance(value, type):
        written_by_dataclass = doc.startswith(f"{value.__name__}(") and "\n" not in doc
        return "" if written_by_dataclass or "__doc__" not in vars(value) else doc
    return doc


def about(entry: Entry) -> str:
    """What is said of an entry: its docstring, or what kind of constant it is."""
    value = entry.value
    home = str(getattr(value, "__module__", ""))
    if home.partition(".")[0] == "numpy":
        name = getattr(value, "__name__", entry.names[0].rpartition(".")[2])
        return f"NumPy's `numpy.{name}`."
    if isinstance(value, (float, int, str)) or value is None:
        return f"The constant {value!r}."
    if isinstance(value, dict):
        return "A dict: " + ", ".join(f"`{key}`" for key in value) + "."
    if typing.get_origin(value) is not None:
        return f"The type `{type_text(value)}`."
    stands_for_type = not inspect.isroutine(value) and not isinstance(value, type)
    return own_doc(value) or (own_doc(type(value)) if stands_for_type else "")


def summary(doc: str) -> str:
    """The first sentence."""
    paragraph = " ".join(doc.split("\n\n")[0].split())
    return SENTENCE.split(paragraph)[0]


def blocks(doc: str) -> Iterator[tuple[str, list[str]]]:
    """("text" | "item" | "code" | "doctest", lines) for each block."""
    for paragraph in re.split(r"\n\s*\n", doc):
        kind, lines = "", []
        for line in paragraph.split("\n"):
            found = block_kind(line, kind)
            if lines and (found != kind or line.startswith(ITEM)):
                yield kind, lines
                lines = []
            kind = found
            lines.append(line)
        yield kind, lines


def block_kind(line: str, before: str) -> str:
    """The kind of block that a line belongs to, after a line of the kind `before`."""
    if before == "doctest" or line.startswith(">>>"):
        return "doctest"
    if before == "item" or line.startswith(ITEM):
        return "item"
    return "code" if line.startswith("    ") else "text"


def joined(found: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Indented blocks with blank lines between them are one."""
    for kind, group in groupby(found, key=lambda block: block[0]):
        if kind != "code":
            yield from group
        else:
            lines = [line for _, block in group for line in ("", *block)]
            yield kind, lines[1:]


def markdown(doc: str, index: Index, namespace: str, known: tuple[str, ...] = ()) -> str:
    """A docstring as Markdown; `known` names are the object's own, and lead nowhere."""
    parts = []
    for kind, lines in joined(blocks(doc)):
        if kind == "doctest":
            parts.append("\n".join(["```pycon", *lines, "```"]))
        elif kind == "code":
            code = textwrap.dedent("\n".join(lines))
            parts.append(f"```{'python' if is_python(code) else 'text'}\n{code}\n```")
        else:
            words = " ".join(" ".join(lines).split())
            start = "* " if kind == "item" else ""
            parts.append(start + inline(words[len(start):], index, namespace, known))
    return "\n\n".join(parts)


def is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def inline(text: str, index: Index, namespace: str, known: tuple[str, ...] = ()) -> str:
    """A line of prose: what is not code is escaped, names and papers are links."""
    return "".join(link(part, index, namespace, known) if part.startswith("`") else plain(part)
                   for part in CODE.split(text) if part)


def plain(text: str) -> str:
    text = re.sub(r"([\\*_\[\]<>|{}#$~^&+=-])", r"\\\1", text)
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", text)
    text = ADDRESS.sub(lambda m: f"<{m[0].replace(chr(92), '')}>", text)
    return ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def link(code: str, index: Index, namespace: str, known: tuple[str, ...] = ()) -> str:
    """`name` as a link to what it names; other code as it is."""
    text = code.strip("`")
    name = text.removesuffix("()")
    if name in known or len(name) < 2:
        return code
    found = index.resolve(name, namespace)
    module = next((m for m in (name, f"lucidfn.{name.removeprefix('lf.')}") if m in index.modules),
                  None)
    if found is None and module is not None and "." in name:
        return f"{{py:mod}}`{text} <{module}>`"
    return code if found is None else f"{{py:obj}}`{text} <{found.names[0]}>`"


def cell(text: str) -> str:
    """Markdown within a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


# Signatures.

def signature(value: Any, index: Index, namespace: str, skip: int = 0) -> inspect.Signature | None:
    """The signature as it is shown, without the first `skip` parameters."""
    if isinstance(value, type) and issubclass(value, BaseException) or not callable(value):
        return None
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    scope = vars(sys.modules.get(getattr(value, "__module__", None) or "", types.ModuleType("")))

    def annotation(x: Any) -> Any:
        text = "" if x is inspect.Parameter.empty else type_text(x, scope, index, namespace)
        return inspect.Parameter.empty if text in ("", "Any") else Text(text)

    parameters = [p.replace(annotation=annotation(p.annotation), default=default(p.default))
                  for p in list(found.parameters.values())[skip:]]
    result = inspect.Signature.empty if isinstance(value, type) else annotation(
        found.return_annotation)
    return inspect.Signature(parameters, return_annotation=result)


def default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return value
    text = repr(value)
    return Text(getattr(value, "__name__", "...") if text.startswith("<") else text)


def type_text(x: Any, scope: dict[str, Any] | None = None, index: Index | None = None,
              namespace: str = "") -> str:
    """An annotation in short names. An alias that users do not have is written out."""
    if isinstance(x, typing.ForwardRef):
        x = x.__forward_arg__
    if isinstance(x, type) and typing.get_origin(x) is None:
        return "None" if x is type(None) else x.__name__
    text = x if isinstance(x, str) else repr(x).replace("NoneType", "None")
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", DOTTED.sub(r"\1", text)).replace("~", "")
    if scope is None or index is None:
        return text

    def write_out(name: re.Match[str]) -> str:
        alias = scope.get(name[0])
        known = typing.get_origin(alias) is None or index.kind_of(name[0], namespace)
        return name[0] if known else type_text(alias)

    return re.sub(r"\b[A-Z]\w*\b", write_out, text)
