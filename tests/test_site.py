"""The reference has every public name, and the site is built without a warning."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lucidfn as lf

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NAMESPACES = """data debug einops errors extend io lax lax.linalg models nn nn.functional
    nn.initializers nn.losses nn.metrics numpy numpy.fft numpy.linalg ode optim random scipy.linalg
    scipy.optimize scipy.sparse.linalg scipy.special testing tree tree_util""".split()


@pytest.fixture(scope="module")
def pages() -> Any:
    """The module that writes the reference; it needs nothing but lucidfn."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module("pages")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


@pytest.fixture(scope="module")
def index(pages: Any) -> Any:
    return pages.read()


@pytest.fixture(scope="module")
def reference(pages: Any, index: Any) -> dict[str, str]:
    return pages.reference(index)


def described(reference: dict[str, str]) -> set[str]:
    """The full names that a directive describes."""
    directive = re.compile(r"^:{5}\{py:\w+\} (\w+).*\n:module: ([\w.]+)$", re.MULTILINE)
    return {f"{module}.{name}" for text in reference.values()
            for name, module in directive.findall(text)}


@pytest.mark.parametrize("namespace", ["", *NAMESPACES])
def test_every_public_name_is_in_the_reference(reference: dict[str, str], namespace: str) -> None:
    full = f"lucidfn.{namespace}".rstrip(".")
    module = importlib.import_module(full)
    names = {name for name in getattr(module, "__all__", [])
             if not isinstance(getattr(module, name), ModuleType)}
    page = reference.get(full) or reference[full.rpartition(".")[0]]
    rows = dict(re.findall(r"^\| \{py:obj\}`(\w+) <([\w.]+)>`", page, re.MULTILINE))
    assert not names - set(rows), "no row in the table"
    missing = {rows[name] for name in names} - described(reference)
    assert not missing, "no description"


def test_every_description_says_something(pages: Any, index: Any) -> None:
    assert not [name for name, entry in index.entries.items() if not pages.about(entry)]


def test_nothing_is_described_twice(reference: dict[str, str]) -> None:
    text = "\n".join(reference.values())
    found = re.findall(r"^:{5}\{py:\w+\} (\w+).*\n:module: ([\w.]+)$", text, re.MULTILINE)
    assert len(found) == len(set(found)) > 1300


def test_links_of_the_reference_lead_somewhere(pages: Any, reference: dict[str, str]) -> None:
    known = described(reference)
    for name, text in reference.items():
        assert not set(re.findall(r"\{py:obj\}`[^`<]+ <([^>]+)>`", text)) - known, name
        assert not {page for page in re.findall(r"\]\(([\w.-]+)\.md\)", text)
                    if page not in reference}, name


def test_every_page_has_its_place_in_the_reading_order() -> None:
    index = (DOCS / "index.md").read_text()
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= set(
        re.findall(r"\]\((\w+\.md)\)", index))


@pytest.mark.parametrize(("doc", "expected"), [
    ("x * tanh(y) * z, |x|.", r"x \* tanh(y) \* z, \|x\|."),
    ("One\nsentence. More: `x | y`.", "One sentence. More: `x | y`."),
    ("As in arXiv:1706.03762.", "As in [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)."),
    ("Text:\n\n    x = 1\n\n    y = 2", "Text:\n\n```python\nx = 1\n\ny = 2\n```"),
    (">>> f(1)\n2", "```pycon\n>>> f(1)\n2\n```"),
    ("* one\n* two\n  lines", "* one\n\n* two lines"),
    ("See `grad` and `nn.relu`.",
     "See {py:obj}`grad <lucidfn.grad>` and {py:obj}`nn.relu <lucidfn.nn.functional.relu>`."),
])
def test_docstrings_as_markdown(pages: Any, index: Any, doc: str, expected: str) -> None:
    assert pages.markdown(doc, index, "lucidfn") == expected


def test_signatures(pages: Any, index: Any) -> None:
    assert str(pages.signature(lf.nn.functional.avg_pool2d, index, "lucidfn.nn.functional")) == (
        "(x, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None, "
        "padding: int | Sequence[int] = 0, ceil_mode: bool = False, "
        "count_include_pad: bool = True, divisor_override: int | None = None)")
    assert str(pages.signature(lf.ggnvp, index, "lucidfn")).startswith(
        "(fun: Callable[..., Any], loss: Callable[[Any], Any] = half_squares, *, argnums: int = 0")


@pytest.mark.slow
@pytest.mark.skipif(any(find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")),
                    reason="needs the extra `docs`")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2",
                             "-d", tmp_path / "cache", DOCS, tmp_path / "site"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "lf.grad" in (tmp_path / "site" / "api" / "lucidfn.html").read_text()
