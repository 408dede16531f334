"""Every example in a docstring of the library runs and prints what it says."""

import doctest
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module_names() -> list[str]:
    paths = sorted((ROOT / "lucidfn").rglob("*.py"))
    dotted = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    names = [name.removesuffix(".__init__") for name in dotted]
    # A module of a backend that is not installed cannot be imported; no other is left out.
    without_mlx = find_spec("mlx") is None
    return [n for n in names if not (without_mlx and n.startswith("lucidfn.backends.mlx"))]


@pytest.mark.parametrize("name", module_names())
def test_examples(name: str) -> None:
    if name.endswith("__main__"):
        return
    results = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed"
