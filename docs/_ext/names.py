"""The public names of lucidfn: the namespaces, what each has, and where it is described.

Read from the modules as users see them (`__all__`, and `__dir__` for modules that are loaded when
they are first used), so that a new name is in the reference without being listed anywhere. An
object that several namespaces show is described once, at its home; the others lead there.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, get_origin

import lucidfn

# What users write for a module, and the order of the namespaces in the reference.
SHORT = {"lucidfn": "lf", "lucidfn.numpy": "lnp"}
FIRST = ("numpy", "lax", "random", "nn", "optim", "tree", "data", "io", "models", "scipy", "ode",
         "einops", "debug", "testing", "extend")


@dataclass(frozen=True)
class Entry:
    """One object with the full names it goes by, its home first, and the module that defines it."""

    value: Any
    names: tuple[str, ...]
    module: str

    @property
    def namespace(self) -> str:
        return self.names[0].rpartition(".")[0]


@dataclass(frozen=True)
class Index:
    """Namespaces by name, entries by each of their full names."""

    modules: dict[str, ModuleType] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)

    def of(self, namespace: str) -> dict[str, Entry]:
        """{name: entry} of all that a namespace shows, sorted."""
        found = {full.rpartition(".")[2]: entry for full, entry in self.entries.items()
                 if full.rpartition(".")[0] == namespace}
        return dict(sorted(found.items(), key=lambda item: item[0].lower()))

    def own(self, namespace: str) -> list[Entry]:
        """The entries described in a namespace."""
        return [entry for name, entry in self.of(namespace).items()
                if entry.names[0] == f"{namespace}.{name}"]

    def inner(self, namespace: str) -> list[str]:
        """The namespaces directly below one."""
        return [name for name in self.modules if name.rpartition(".")[0] == namespace]

    def folded(self, namespace: str) -> bool:
        """Whether a namespace is a section of the page above: small, below one without names."""
        above = namespace.rpartition(".")[0]
        return bool(above) and not self.of(above) and not self.inner(namespace) and \
            len(self.of(namespace)) < 10

    def kind_of(self, name: str, namespace: str) -> Entry | None:
        """The class, or the alias of types, that a word of a signature means."""
        near = self.resolve(name, namespace)
        found = [near] if near else [
            entry for full, entry in self.entries.items() if full.rpartition(".")[2] == name]
        return next((e for e in found if isinstance(e.value, type) or get_origin(e.value)), None)

    def resolve(self, text: str, namespace: str = "") -> Entry | None:
        """The entry that `text` means: as written in a namespace, or from the top."""
        head, dot, rest = text.partition(".")
        long = {short: full for full, short in SHORT.items()}.get(head)
        full = long + dot + rest if long else text
        for prefix in (f"{namespace}.", "", "lucidfn.", "lucidfn.nn."):
            if prefix + full in self.entries:
                return self.entries[prefix + full]
        return None


def shown(full: str) -> str:
    """`lucidfn.numpy.linalg.inv` as users write it: `lnp.linalg.inv`."""
    for module in ("lucidfn.numpy", "lucidfn"):
        rest = full.removeprefix(module + ".")
        if rest != full:
            return rest if module == "lucidfn" and "." in rest else f"{SHORT[module]}.{rest}"
    return full


def public(module: ModuleType) -> dict[str, Any]:
    """{name: value} of what a module shows: `__all__`, or what it defines where it has none.

    Modules below it count too where its own `__dir__` says so: they are loaded when first used.
    """
    names, found = getattr(module, "__all__", ()), {}
    for name in sorted(name for name in {*names, *dir(module)} if not name.startswith("_")):
        value = getattr(module, name)
        if inspect.ismodule(value):
            shows = "__dir__" in vars(module) and value.__name__ == f"{module.__name__}.{name}"
        else:
            shows = not names and getattr(value, "__module__", None) == module.__name__ and (
                inspect.isroutine(value) or inspect.isclass(value))
        if name in names or shows:
            found[name] = value
    return found


def walk(name: str, module: ModuleType) -> Iterator[tuple[str, ModuleType]]:
    """A namespace and those below it, each with its name."""
    yield name, module
    inner = {key: value for key, value in public(module).items() if inspect.ismodule(value)}
    order = {key: i for i, key in enumerate(FIRST)}
    for key in sorted(inner, key=lambda key: (order.get(key, len(order)), key)):
        yield from walk(f"{name}.{key}", inner[key])


def read() -> Index:
    """The index of the installed lucidfn."""
    index = Index(dict(walk("lucidfn", lucidfn)))
    same: dict[Any, list[tuple[str, Any]]] = {}
    for namespace, module in index.modules.items():
        for name, value in public(module).items():
            if not inspect.ismodule(value):
                full = f"{namespace}.{name}"
                # A number of one value is not one object: pi here and pi there.
                same.setdefault(id(value) if callable(value) else full, []).append((full, value))
    for group in same.values():
        full, value = group[0]
        module = defining_module(value, *full.rpartition(".")[::2])
        names = sorted((full for full, _ in group), key=lambda full: nearness(full, module, value))
        entry = Entry(value, tuple(names), module)
        index.entries.update(dict.fromkeys(names, entry))
    return index


def nearness(full: str, module: str, value: Any) -> tuple[int, bool, int]:
    """Sorts names of an object: in the namespace nearest to its definition, under its own name."""
    namespace, _, name = full.rpartition(".")
    common = 0
    for a, b in zip(namespace.split("."), module.split("."), strict=False):
        if a != b:
            break
        common += 1
    return -common, name != getattr(value, "__name__", name), len(full)


def defining_module(value: Any, namespace: str, name: str) -> str:
    """The module that says what the object is; of what a factory made, the one that names it."""
    module = getattr(value, "__module__", None) or ""
    if module.startswith("lucidfn.") and module != namespace:
        return module
    statement = re.compile(rf"^(?:def |class )?(?:\w+, )*{name}\b", re.MULTILINE)
    for below, found in list(sys.modules.items()):
        if below.startswith(namespace + ".") and vars(found).get(name) is value \
                and statement.search(inspect.getsource(found)):
            return below
    return namespace
