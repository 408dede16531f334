"""The architecture as a test: who may import whom, read from the source text."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "lucidfn"

LAYERS = {
    0: {"tree", "tree_util", "types", "errors", "config"},
    1: {"core"},
    2: {"ops"},
    3: {"transforms"},
    4: {"control"},
    5: {"passes"},
    6: {"backends"},
    7: {"array", "api", "testing", "debug", "device"},
    8: {"numpy", "lax", "random", "scipy", "flatten_util", "extend", "einops",
        "implicit", "ode"},
    9: {"nn", "optim", "data", "io", "viz", "info"},
    10: {"models"},
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}

# The only third-party modules of a base install, and those that an optional extra may bring.
BASE = {"numpy", "ml_dtypes"}
OPTIONAL = {"mlx", "matplotlib", "tqdm", "sklearn", "PIL", "pooch", "requests", "torch",
            "huggingface_hub"}


class Import(NamedTuple):
    target: str  # absolute dotted name of the module, or of a name in it
    line: int
    scope: str  # "module", "function" or "typing" (under `if TYPE_CHECKING`)


class Imports(ast.NodeVisitor):
    """Collects every import of one module with the scope it happens in."""

    def __init__(self, module: str, is_package: bool):
        self.package = module if is_package else module.rpartition(".")[0]
        self.scope = "module"
        self.found: list[Import] = []

    def inside(self, scope: str, nodes: list[ast.stmt]) -> None:
        outer, self.scope = self.scope, scope
        for node in nodes:
            self.visit(node)
        self.scope = outer

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.inside("function", node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self.inside("typing", node.body)
            self.inside(self.scope, node.orelse)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [Import(alias.name, node.lineno, self.scope) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parents = self.package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1] + base.split(".") * bool(base))
        self.found += [Import(f"{base}.{a.name}", node.lineno, self.scope) for a in node.names]


def imports_of(source: str, module: str, is_package: bool = False) -> list[Import]:
    visitor = Imports(module, is_package)
    visitor.visit(ast.parse(source))
    return visitor.found


def unit(name: str) -> str:
    """`lucidfn.core.ir.Var` -> `core`: the package or module that the layer table speaks of."""
    return (name.split(".") + [""])[1]


def layer_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """One line for each import that breaks the table."""
    faults = []
    own = unit(module)
    for target, line, scope in imports_of(source, module, is_package):
        root = target.split(".")[0]
        where = f"{module}:{line} imports {target}"
        if scope == "function" and root not in OPTIONAL:
            faults.append(f"{where} inside a function")
        if root == PACKAGE and scope != "typing":
            other = unit(target)
            if other not in LAYER_OF:
                faults.append(f"{where}, which has no layer (import the module, not the package)")
            elif LAYER_OF[other] > LAYER_OF[own]:
                faults.append(f"{where}: layer {LAYER_OF[own]} uses layer {LAYER_OF[other]}")
        elif root not in sys.stdlib_module_names | BASE | {PACKAGE, "__future__"}:
            optional = root in OPTIONAL and (scope != "module" or own in ("backends", "viz"))
            if not optional:
                faults.append(f"{where}, which a base install does not have")
    return faults


@functools.cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """The cycles that a depth-first walk meets: one for each edge back into the path."""
    done: set[str] = set()
    path: list[str] = []

    def walk(node: str) -> Iterator[list[str]]:
        if node in path:
            yield path[path.index(node) :] + [node]
        elif node not in done:
            path.append(node)
            for other in sorted(graph.get(node, ())):
                yield from walk(other)
            done.add(path.pop())

    for node in sorted(graph):
        yield from walk(node)


def unit_graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module, path in modules().items():
        targets = imports_of(path.read_text(), module, path.name == "__init__.py")
        used = {unit(t.target) for t in targets if t.scope == "module" and is_ours(t.target)}
        graph.setdefault(unit(module), set()).update(used - {unit(module)})
    graph.pop("", None)  # the top package re-exports everything
    return graph


def is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(PACKAGE + ".")


@pytest.mark.parametrize("module", [name for name in modules() if name != PACKAGE])
def test_module_imports_only_lower_layers(module: str) -> None:
    path = modules()[module]
    assert unit(module) in LAYER_OF, f"{module} has no layer: add it to LAYERS"
    faults = layer_faults(path.read_text(), module, path.name == "__init__.py")
    assert not faults, "\n".join(faults)


def test_top_package_has_no_import_inside_a_function() -> None:
    found = imports_of((ROOT / PACKAGE / "__init__.py").read_text(), PACKAGE, is_package=True)
    assert not [i for i in found if i.scope == "function"]


def test_packages_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    assert [" -> ".join(cycle) for cycle in cycles(unit_graph())] == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from lucidfn.ops import sin", "layer 1 uses layer 2"),
        ("from ..ops import sin", "layer 1 uses layer 2"),
        ("from .. import ops", "layer 1 uses layer 2"),
        ("import lucidfn.numpy as lnp", "layer 1 uses layer 8"),
        ("from lucidfn import grad", "has no layer"),
        ("try:\n    import scipy\nexcept ImportError:\n    scipy = None", "base install"),
        ("import torch", "base install"),
        ("def f():\n    import math", "inside a function"),
        ("class A:\n    async def f(self):\n        from .ir import Var", "inside a function"),
        ("from . import ir\nfrom .ir import Var\nfrom ..types import ArrayType", None),
        ("import math\nimport numpy as np\nimport ml_dtypes", None),
        ("def f():\n    import mlx.core as mx", None),
        ("if TYPE_CHECKING:\n    from lucidfn.array import Array", None),
    ],
)
def test_the_checker_itself(source: str, fault: str | None) -> None:
    faults = layer_faults(source, "lucidfn.core.trace")
    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


def test_cycles_are_found() -> None:
    assert list(cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == [["a", "b", "c", "a"]]
    assert list(cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == []


def test_import_brings_in_no_extra() -> None:
    heavy = "scipy sklearn matplotlib torch jax tqdm mpmath pandas IPython pooch requests".split()
    code = f"import sys, {PACKAGE}; print(*[m for m in {heavy!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


def test_import_loads_subpackages_lazily() -> None:
    code = (
        f"import sys, {PACKAGE}\n"
        f"lazy = [m for m in ('nn', 'lax', 'random', 'scipy') if '{PACKAGE}.' + m in sys.modules]\n"
        f"{PACKAGE}.lax, {PACKAGE}.nn\n"
        "print(*lazy)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
