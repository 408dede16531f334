"""Which names exist: in a list of names, in ours, in JAX."""

from __future__ import annotations

import importlib
import inspect
import types
from typing import Any

from .must import AT, METHODS


def module(path: str) -> Any:
    """The module at a dotted path, or None."""
    try:
        return importlib.import_module(path)
    except ImportError:
        return None


def missing(names: dict[str, list[str]]) -> list[str]:
    """Dotted names that do not exist."""
    return [f"{path}.{name}" for path, wanted in names.items() for name in wanted
            if not hasattr(module(path), name) and module(f"{path}.{name}") is None]


def missing_methods(array: Any) -> list[str]:
    """Methods and attributes, and updates of `.at`, that arrays do not have."""
    return [f"Array.{name}" for name in METHODS if not hasattr(array, name)] + [
        f"Array.at[...].{name}" for name in AT if not hasattr(array.at[0], name)]


MODULES = ("numpy numpy.linalg numpy.fft lax lax.linalg random nn nn.initializers scipy.special "
           "scipy.linalg scipy.stats scipy.signal").split()


def functions(path: str) -> list[str]:
    """Public functions of a module of JAX, and of the modules in it that hold methods."""
    found = module("jax." + path)
    out = []
    for name in dir(found):
        value = getattr(found, name)
        if name.startswith("_"):
            continue
        if isinstance(value, types.ModuleType):
            if path == "scipy.stats":
                out += [f"{name}.{n}" for n in functions(f"{path}.{name}")]
        elif callable(value) and not inspect.isclass(value):
            out.append(name)
    return out


def common() -> list[str]:
    """Dotted names of functions that both libraries have."""
    out = []
    for path in MODULES:
        for name in functions(path):
            *parents, last = name.split(".")
            ours = module(".".join(["lucidfn", path, *parents]))
            if hasattr(ours, last):
                out.append(f"{path}.{name}")
    return out


def theirs_alone() -> list[str]:
    """Dotted names of functions that only JAX has."""
    have = set(common())
    return [f"{path}.{name}" for path in MODULES for name in functions(path)
            if f"{path}.{name}" not in have]
