"""Public functions are annotated in full: every parameter and the result."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "lucidfn"
INNER = {"core", "ops", "transforms", "control", "passes", "backends"}
PATHS = [p for p in sorted(ROOT.rglob("*.py")) if p.relative_to(ROOT).parts[0] not in INNER]


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Functions and methods that a user may call; dunder methods are known by their protocol."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body)


def unannotated(function: ast.FunctionDef) -> list[str]:
    a = function.args
    known = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    names = [p.arg for p in known if p.annotation is None and p.arg not in ("self", "cls")]
    return names + ["return"] * (function.returns is None)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_are_annotated(path: Path) -> None:
    functions = public(ast.parse(path.read_text()).body)
    missing = [(f, unannotated(f)) for f in functions]
    found = [f"{path.name}:{f.lineno} {f.name}: {names}" for f, names in missing if names]
    assert not found, "\n".join(found)
