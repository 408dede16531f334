"""Every Python block of the pages runs, in order, and prints what the page says.

A block ```python runs in the namespace of its page; in ```python raises it must raise, and the
message counts as printed. A block ```text output holds what the Python block before it printed:
"..." stands for anything, and the numbers of lines and addresses do not count. After an
intended change `python tests/test_docs.py` writes the real output into the pages.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import linecache
import re
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {"devices.md": "mlx.core"}  # modules without which a page is skipped
LINE = re.compile(r"(\w+\.(?:md|py)):\d+")


@dataclass
class Block:
    """A fenced block: the words after the fence, its text, its place in the page."""

    words: list[str]
    text: str
    start: int
    stop: int
    line: int


def blocks_of(page: str) -> list[Block]:
    return [Block(m[1].split(), m[2], m.start(2), m.end(2), page.count("\n", 0, m.start(2)))
            for m in FENCE.finditer(page)]


def run(block: Block, page: Path, namespace: dict[str, object]) -> str:
    """What the block prints. Lines are numbered as in the page, for the messages that show them."""
    code = compile("\n" * block.line + block.text, page.name, "exec", dont_inherit=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if "raises" in block.words:
            try:
                exec(code, namespace)
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
            else:
                raise AssertionError(f"{page.name}:{block.line + 1}: nothing was raised")
        else:
            exec(code, namespace)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def results(page: Path) -> Iterator[tuple[Block, str]]:
    """The blocks of expected output, each with what was printed."""
    # A module of its own, so that what a page defines can be looked up, pickled, registered.
    module = types.ModuleType(page.stem.replace("-", "_"))
    sys.modules[module.__name__] = module
    text, printed = page.read_text(), ""
    # Messages that show a line of code find it here.
    linecache.cache[page.name] = len(text), None, text.splitlines(keepends=True), page.name
    try:
        for block in blocks_of(text):
            if block.words[:1] == ["python"]:
                printed = run(block, page, module.__dict__)
            elif block.words == ["text", "output"]:
                yield block, printed
    finally:
        del sys.modules[module.__name__], linecache.cache[page.name]


def plain(text: str) -> str:
    return LINE.sub(r"\1:0", text).strip() + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    monkeypatch.syspath_prepend(str(ROOT))  # README imports the example
    monkeypatch.chdir(tmp_path)
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS
    for block, printed in results(page):
        want, got = plain(block.text), plain(printed)
        example = doctest.Example("", want)
        assert checker.check_output(want, got, flags), (
            f"{page.name}:{block.line + 1}\n" + checker.output_difference(example, got, flags))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def elided(old: str, new: str) -> str:
    """The new text, with its middle left out where the old one leaves out its own."""
    lines, kept = new.splitlines(), old.splitlines()
    at = next((i for i, line in enumerate(kept) if line.strip() == "..."), None)
    if at is None:
        return new.rstrip() + "\n"
    tail = len(kept) - at - 1
    return "\n".join([*lines[:at], kept[at], *lines[len(lines) - tail:]]) + "\n"


def rewrite(page: Path) -> None:
    """Put the real output into the page where the output there is not right."""
    text, shift = page.read_text(), 0
    for block, printed in results(page):
        if doctest.OutputChecker().check_output(plain(block.text), plain(printed),
                                                doctest.ELLIPSIS):
            continue
        new = elided(block.text, printed)
        text = text[:block.start + shift] + new + text[block.stop + shift:]
        shift += len(new) - (block.stop - block.start)
        print(f"{page.name}:{block.line + 1} rewritten")
    page.write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # pages write files
        for path in PAGES:
            if not sys.argv[1:] or path.name in sys.argv[1:]:
                rewrite(path)
