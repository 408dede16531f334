"""The pages of the reference and of the notebooks, as Markdown for Sphinx."""

from __future__ import annotations

import base64
import enum
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from docstrings import about, cell, inline, markdown, own_doc, signature, summary, type_text
from names import Entry, Index, read

DOCS = Path(__file__).resolve().parents[1]
NOTEBOOKS = DOCS.parent / "notebooks"
SPLIT = 60  # a namespace that describes more than these has a page for each topic
LINK = re.compile(r"\]\((\.\./[^)\s]+|\w+\.ipynb)")
ACRONYMS = {"ctc", "fft", "gpt", "ir", "lstm"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def write(folder: Path = DOCS) -> Index:
    """Write `api/*` and `notebooks/*` below a folder; files that are right are not touched."""
    index = read()
    files = {f"api/{name}.md": text.encode() for name, text in reference(index).items()}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        files |= {f"notebooks/{name}": data for name, data in notebook(path).items()}
    paths = {folder / name: data for name, data in files.items()}
    for old in {*folder.glob("api/*"), *folder.glob("notebooks/*")} - set(paths):
        old.unlink()
    for path, data in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
    return index


# The reference.

def reference(index: Index) -> dict[str, str]:
    """{name of the page: its text} of the whole reference."""
    pages = {"index": overview(index)}
    for namespace in index.modules:
        if index.folded(namespace):
            continue
        topics = by_topic(index.own(namespace))
        split = len(topics) > 1 and sum(map(len, topics.values())) > SPLIT
        pages[namespace] = namespace_page(index, namespace, topics, split)
        if split:
            pages |= {page_of(namespace, topic): topic_page(index, namespace, topic, entries)
                      for topic, entries in topics.items()}
    return pages


def by_topic(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Entries by the module that defines them, sorted by the topics' titles."""
    topics: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: title(entry.module)):
        topics.setdefault(entry.module, []).append(entry)
    return topics


def title(module: str) -> str:
    """`lucidfn.numpy.linear` -> "Linear"."""
    name = module.rpartition(".")[2].strip("_")
    return name.upper() if name in ACRONYMS else name.replace("_", " ").capitalize()


def page_of(namespace: str, topic: str) -> str:
    return f"{namespace}-{topic.rpartition('.')[2].strip('_')}"


def shown(namespace: str) -> str:
    return "lf" + namespace.removeprefix("lucidfn")


def overview(index: Index) -> str:
    rows = [(link_to(index, name), f"{len(index.of(name)) or ''}", headline(index, name))
            for name in index.modules if not index.folded(name)]
    return "\n".join([
        "# All namespaces", "", "`import lucidfn as lf`, `import lucidfn.numpy as lnp`, and the "
        "others as in `from lucidfn import lax, nn, optim, random`. Every name is in the "
        "{ref}`alphabetical index <genindex>`.", *table(rows, "| namespace | names | |"), ""])


def link_to(index: Index, namespace: str) -> str:
    page = namespace.rpartition(".")[0] if index.folded(namespace) else namespace
    place = f"#{mark(namespace, namespace)}" if index.folded(namespace) else f"{page}.md"
    return f"[`{shown(namespace)}`]({place})"


def headline(index: Index, namespace: str) -> str:
    return inline(summary(own_doc(index.modules[namespace])), index, namespace)


def namespace_page(index: Index, namespace: str, topics: dict[str, list[Entry]],
                   split: bool) -> str:
    """What a namespace is, a table of all that it has, and the descriptions unless split."""
    inner = index.inner(namespace) if namespace != "lucidfn" else []
    lines = [f"# `{namespace}`", *introduction(index, namespace)]
    pages = [f"{title(topic)} <{page_of(namespace, topic)}>" for topic in topics if split]
    pages += [f"{shown(name)} <{name}>" for name in inner if not index.folded(name)]
    if pages:
        lines += ["", "```{toctree}", ":hidden:", "", *pages, "```"]
    lines += table((link_to(index, name), headline(index, name)) for name in inner)
    rows: list[tuple[str, ...]] = []
    for topic, entries in topics.items():
        if len(topics) > 1:
            place = f"{page_of(namespace, topic)}.md" if split else f"#{mark(namespace, topic)}"
            rows.append((f"**[{title(topic)}]({place})**", ""))
        rows += rows_of(index, namespace, entries)
    for home, found in elsewhere(index, namespace).items():
        rows.append((f"**From {link_to(index, home)}**", ""))
        rows += [row(index, namespace, name) for name in found]
    lines += table(rows)
    if not split:
        for topic, entries in topics.items():
            if len(topics) > 1:
                lines += ["", f"({mark(namespace, topic)})=", f"## {title(topic)}"]
            lines += section(index, namespace, topic, entries)
    for name in filter(index.folded, inner):
        rows = table(row(index, name, key) for key in index.of(name))
        lines += ["", f"({mark(name, name)})=", f"## `{shown(name)}`", *introduction(index, name),
                  *section(index, name, name, index.own(name), rows)]
    return "\n".join([*lines, ""])


def introduction(index: Index, namespace: str) -> list[str]:
    return ["", f"```{{py:module}} {namespace}\n```", "",
            markdown(own_doc(index.modules[namespace]), index, namespace)]


def topic_page(index: Index, namespace: str, topic: str, entries: list[Entry]) -> str:
    return "\n".join([
        f"# {title(topic)}", "", f"In [`{shown(namespace)}`]({namespace}.md).",
        *section(index, namespace, topic, entries, table(rows_of(index, namespace, entries))), ""])


def section(index: Index, namespace: str, topic: str, entries: list[Entry],
            contents: Iterable[str] = ()) -> list[str]:
    """The entries of one topic, after what its module says of itself."""
    lines = []
    if topic != namespace and topic not in index.modules:
        words = own_doc(sys.modules[topic]).split("\n\n")[0]
        lines += ["", markdown(words, index, namespace)]
    lines += contents
    return lines + [line for entry in entries for line in ("", description(index, entry))]


def mark(namespace: str, topic: str) -> str:
    """The label of a section."""
    return f"{namespace}-{topic.rpartition('.')[2]}".replace("_", "").replace(".", "-").lower()


def elsewhere(index: Index, namespace: str) -> dict[str, list[str]]:
    """{namespace: names of this one that are described there}."""
    found: dict[str, list[str]] = {}
    for name, entry in index.of(namespace).items():
        if entry.namespace != namespace:
            found.setdefault(entry.namespace, []).append(name)
    return dict(sorted(found.items()))


def table(rows: Iterable[tuple[str, ...]], head: str = "| | |") -> list[str]:
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return ["", head, "|---" * (head.count("|") - 1) + "|", *lines] if lines else []


def rows_of(index: Index, namespace: str, entries: list[Entry]) -> list[tuple[str, ...]]:
    """The rows of these entries, one for each name that they have here."""
    names = {name for entry in entries for name in entry.names}
    return [row(index, namespace, name) for name in index.of(namespace)
            if f"{namespace}.{name}" in names]


def row(index: Index, namespace: str, name: str) -> tuple[str, str]:
    entry = index.entries[f"{namespace}.{name}"]
    home, _, first = entry.names[0].rpartition(".")
    text = f"The same as `{first}`." if home == namespace and name != first else inline(
        summary(about(entry)), index, home, parameters(entry.value))
    return f"{{py:obj}}`{name} <{entry.names[0]}>`", text


def parameters(value: Any) -> tuple[str, ...]:
    """Words that mean parameters in a docstring."""
    try:
        return tuple(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return ()


def description(index: Index, entry: Entry) -> str:
    """The directive that describes one entry."""
    value, namespace = entry.value, entry.namespace
    name = entry.names[0].rpartition(".")[2]
    kind = ("exception" if isinstance(value, type) and issubclass(value, BaseException) else
            "class" if isinstance(value, type) else
            "function" if callable(value) and inspect.isroutine(value) else "data")
    shape = signature(value, index, namespace) if kind in ("class", "function") else None
    body = [markdown(about(entry), index, namespace, parameters(value))]
    if len(entry.names) > 1:
        also = ", ".join(f"`{shown(other)}`" for other in entry.names[1:])
        body.append(f"*Also {also}.*")
    if isinstance(value, type):
        body += members(index, entry, value)
    return directive(kind, f"{name}{shape or ''}", body, ":" * 5, [f":module: {namespace}"])


def directive(kind: str, head: str, body: list[str], fence: str, options: list[str]) -> str:
    return "\n".join([f"{fence}{{py:{kind}}} {head}", *options, "",
                      "\n\n".join(filter(None, body)), fence])


def members(index: Index, entry: Entry, cls: type) -> Iterator[str]:
    """The methods and properties that a class documents itself, and the values of an enum."""
    if issubclass(cls, enum.Enum):
        yield "Values: " + ", ".join(f"`{name}`" for name in cls.__members__) + "."
        return
    public = {name: raw for name, raw in vars(cls).items() if not name.startswith("_")}
    same = [index.resolve(name, "lucidfn.numpy") for name, raw in public.items()]
    functions = {name: entry.names[0] for name, entry in zip(public, same, strict=True)
                 if entry and entry.value is public[name]}
    if functions:
        links = ", ".join(f"{{py:obj}}`{name} <{full}>`" for name, full in functions.items())
        yield f"Methods that are functions of the same name, with the array first: {links}."
    for name, raw in public.items():
        if name not in functions:
            yield member(index, entry.namespace, name, raw)


def member(index: Index, namespace: str, name: str, raw: Any) -> str:
    """The directive of a method or a property; "" without a docstring."""
    value = raw.__func__ if isinstance(raw, (classmethod, staticmethod)) else raw
    value = value.func if isinstance(value, cached_property) else value
    doc = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    text = [markdown(doc, index, namespace, parameters(value))]
    options = [f":module: {namespace}", ":no-contents-entry:"]
    if doc and isinstance(raw, (property, cached_property)):
        result = inspect.signature(value.fget if isinstance(value, property) else value)
        kind = type_text(result.return_annotation)
        options += [f":type: {kind}"] * (kind not in ("Any", "_empty"))
        return directive("property", name, text, ":" * 4, options)
    if not doc or not inspect.isfunction(value):
        return ""
    shape = signature(value, index, namespace, skip=int(not isinstance(raw, staticmethod)))
    options += [f":{type(raw).__name__}:"] * isinstance(raw, (classmethod, staticmethod))
    return directive("method", f"{name}{shape or '()'}", text, ":" * 4, options)


# Notebooks.

def page_link(link: re.Match[str]) -> str:
    """A link of a notebook to a file of the project, seen from the page of the notebook."""
    place = link[1]
    if place.startswith("../"):
        place = "../" + place.removeprefix("../docs/")
    return f"]({place.replace('.ipynb', '.md')}"


def notebook(path: Path) -> dict[str, bytes]:
    """{file name: content}: a page with the cells and the outputs they have, and its pictures."""
    page, files = [], {}
    for cell_ in json.loads(path.read_text())["cells"]:
        source = "".join(cell_["source"])
        if cell_["cell_type"] == "markdown":
            page.append(LINK.sub(page_link, source))
            continue
        page.append(f"```python\n{source}\n```")
        for output in cell_.get("outputs", ()):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/plain")
            if "image/png" in data:
                name = f"{path.stem}-{len(files) + 1}.png"
                files[name] = base64.b64decode("".join(data["image/png"]))
                page.append(f"![]({name})")
            elif text:
                page.append(f"```text\n{ANSI.sub('', ''.join(text)).rstrip()}\n```")
    return {f"{path.stem}.md": "\n\n".join([*page, ""]).encode(), **files}
