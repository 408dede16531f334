"""What a function depends on besides its arguments: the part of jit's key that users do not see.

Arrays and tracers in closure cells become hidden inputs, keyed by type; everything else is keyed
by value where that is safe, else by identity with the object kept alive (DECISIONS 13).
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from lucidfn.array import Array, typeof
from lucidfn.core.trace import Tracer
from lucidfn.passes.rewrite import literal_key
from lucidfn.tree import flatten
from lucidfn.types import SCALARS

_PLAIN = (str, bytes, type(None), type, types.ModuleType, types.BuiltinFunctionType, np.dtype,
          np.ufunc, type(Ellipsis))
_CONTAINERS = (tuple, list, dict)


class Closure:
    """Reads the contents of a function's closure as (key, hidden arrays)."""

    def __init__(self, fun: Callable[..., Any]):
        self.fun = fun
        self.cells: list[Any] = []
        self.contents: list[Any] = []
        self.known: tuple[Hashable, list[Any]] | None = None

    def read(self) -> tuple[Hashable, list[Any]]:
        """The key and the hidden arrays as they are now."""
        if self.known is not None:
            for cell, content in zip(self.cells, self.contents, strict=True):
                try:
                    if cell.cell_contents is not content:
                        break
                except ValueError:  # the cell was emptied
                    break
            else:
                return self.known
        walk = _Walk()
        key = walk.function_like(self.fun)
        found = key, walk.hidden
        self.cells, self.contents, self.alive = walk.cells, walk.contents, walk.alive
        self.known = None if walk.mutable else found
        return found


class _Walk:
    """One walk over everything reachable from a function."""

    def __init__(self) -> None:
        self.hidden: list[Any] = []
        self.cells: list[Any] = []
        self.contents: list[Any] = []
        self.alive: list[Any] = []  # what the key refers to by id
        self.seen: dict[int, int] = {}
        self.mutable = False
        self.by_identity = False  # arrays too: what is walked is not recorded

    def function_like(self, f: Any) -> Hashable:
        if id(f) in self.seen:
            return "again", self.seen[id(f)]
        self.seen[id(f)] = len(self.seen)
        self.alive.append(f)
        if isinstance(f, functools.partial):
            return ("partial", self.function_like(f.func), self.value(f.args),
                    self.value(f.keywords))
        if isinstance(f, types.MethodType):
            return "method", self.function_like(f.__func__), self.value(f.__self__)
        if hasattr(type(f), "__closed_over__"):
            return type(f), *map(self.rule, f.__closed_over__())
        if not isinstance(f, types.FunctionType):
            wrapped = getattr(f, "__wrapped__", None)
            if wrapped is not None and callable(wrapped):
                return "wrapped", type(f), self.function_like(wrapped)
            return self.other(f)
        parts: list[Hashable] = [id(f.__code__)]
        for cell in f.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                parts.append("empty")
                continue
            self.cells.append(cell)
            self.contents.append(content)
            parts.append(self.value(content))
        parts += [self.value(v) for v in f.__defaults__ or ()]
        parts += [(k, self.value(v)) for k, v in (f.__kwdefaults__ or {}).items()]
        return tuple(parts)

    def rule(self, f: Any) -> Hashable:
        """A function that programs keep as it is: the arrays it closes over are part of it."""
        kept, self.by_identity = self.by_identity, True
        try:
            return self.function_like(f) if callable(f) else self.value(f)
        finally:
            self.by_identity = kept

    def value(self, x: Any) -> Hashable:
        kind = type(x)
        if self.by_identity and (kind is Array or isinstance(x, np.ndarray)):
            self.alive.append(x)
            return "id", id(x)
        if kind is Array or isinstance(x, (Tracer, np.ndarray)):
            for i, other in enumerate(self.hidden):
                if other is x:
                    return "same", i
            self.hidden.append(x)
            return typeof(x)
        if kind in SCALARS:
            return literal_key(x)
        if isinstance(x, _PLAIN):
            return kind, x
        if isinstance(x, (types.FunctionType, types.MethodType, functools.partial)) or hasattr(
                kind, "__closed_over__"):
            return self.function_like(x)
        if isinstance(x, _CONTAINERS):
            return self.container(x)
        return self.other(x)

    def container(self, x: Any) -> Hashable:
        if id(x) in self.seen:
            return "again", self.seen[id(x)]
        self.seen[id(x)] = len(self.seen)
        self.alive.append(x)
        if not isinstance(x, tuple):
            self.mutable = True  # its contents can change without a cell changing
        try:
            leaves, treedef = flatten(x)
        except TypeError:  # keys that do not sort
            return "id", id(x)
        return (treedef, *map(self.value, leaves))

    def other(self, x: Any) -> Hashable:
        """An object: a registered container, by equality if it defines that, else by identity."""
        if id(x) in self.seen and type(x).__hash__ is object.__hash__:
            return "id", id(x)
        self.alive.append(x)
        leaves, treedef = flatten(x)
        if not (len(leaves) == 1 and leaves[0] is x):
            self.mutable = True
            return (treedef, *map(self.value, leaves))
        wrapped = getattr(x, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            self.seen[id(x)] = len(self.seen)
            return "wrapped", type(x), self.function_like(wrapped)
        try:
            hash(x)
        except TypeError:
            return "id", id(x)
        return type(x), x
