"""What a function depends on besides its arguments: the part of jit's key that users do not see.

Arrays and tracers in closure cells become hidden inputs, keyed by type; everything else is keyed
by value where that is safe, else by identity with the object kept alive (DECISIONS 13). The globals
that the user's own code reads count as closed over too: a lambda in a loop of a script or notebook
reads the loop's variables from there.
"""

from __future__ import annotations

import dis
import functools
import operator
import os
import sys
import types
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from lucidfn.api.cache import static_key
from lucidfn.array import Array, Donated, typeof
from lucidfn.core.trace import Tracer
from lucidfn.passes.rewrite import literal_key
from lucidfn.tree import flatten
from lucidfn.types import SCALARS

_PLAIN = (str, bytes, type(None), type, types.ModuleType, types.BuiltinFunctionType, np.dtype,
          np.ufunc, type(Ellipsis))
_CONTAINERS = (tuple, list, dict)
_LIBRARY = os.path.dirname(os.__file__) + os.sep  # the standard library, and site-packages in it
_MISSING = object()


class Same:
    """An object as a part of a key: equal to itself only, and alive as long as the key is."""

    __slots__ = ("object",)

    def __init__(self, object: Any):
        self.object = object

    def __eq__(self, other: object) -> bool:
        return type(other) is Same and other.object is self.object

    def __hash__(self) -> int:
        return id(self.object)


class Names(NamedTuple):
    """What a piece of code, with the code nested in it, does with names that are not its own."""

    globals_read: tuple[str, ...]  # and not written
    free_written: frozenset[str]
    attributes_read: frozenset[str]
    attributes_written: frozenset[str]


@functools.lru_cache(4096)
def names_in(code: types.CodeType) -> Names:
    read, written, free = set(), set(), set()
    got, put = set(), set()
    for i in dis.get_instructions(code):
        if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(i.argval)
        elif i.opname in ("STORE_GLOBAL", "STORE_NAME"):
            written.add(i.argval)
        elif i.opname == "STORE_DEREF" and i.argval in code.co_freevars:
            free.add(i.argval)
        elif i.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            got.add(i.argval)
        elif i.opname == "STORE_ATTR":
            put.add(i.argval)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            nested = names_in(const)
            read.update(nested.globals_read)
            free |= nested.free_written & set(code.co_freevars)
            got |= nested.attributes_read
            put |= nested.attributes_written
    return Names(tuple(sorted(read - written)), frozenset(free), frozenset(got), frozenset(put))


def _is_users(space: dict[str, Any]) -> bool:
    """Whether globals belong to the user's own code: no installed library changes its globals."""
    path = space.get("__file__") or ""
    return (str(space.get("__name__")).partition(".")[0] != "lucidfn"
            and "site-packages" not in path and not path.startswith(_LIBRARY))


def _is_table(x: Any) -> bool:
    """Whether x is a large table of numbers or words, which would cost a walk at each call."""
    if len(x) < 1000:
        return False
    first = next(iter(x.values() if isinstance(x, dict) else x))
    return type(first) in SCALARS or type(first) is str


def has_state(x: Any) -> bool:
    """Whether x is an object of a class of the user's that is compared by identity."""
    if type(x).__hash__ is not object.__hash__ or not hasattr(x, "__dict__"):
        return False
    module = sys.modules.get(type(x).__module__)
    return module is not None and _is_users(vars(module))


def _variant(x: Any) -> Hashable:
    """What tells a wrapper from others of its kind around the same function."""
    return vars(x).get("policy") if hasattr(x, "__dict__") else None


class Closure:
    """Reads the contents of a function's closure as (key, hidden arrays)."""

    def __init__(self, fun: Callable[..., Any]):
        self.fun = fun
        self.cells: list[Any] = []
        self.contents: list[Any] = []
        self.globals: list[tuple[dict[str, Any], str, Any]] = []
        self.written: dict[int, Any] = {}  # containers that the function changes itself
        self.containers: list[tuple[Any, Hashable]] = []
        self.objects: list[Any] = []  # that the last call was given
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
                for space, name, content in self.globals:
                    if space.get(name, _MISSING) is not content:
                        break
                else:
                    return self.known
        walk = _Walk(self.written)
        found = walk.function_like(self.fun), walk.hidden
        self.containers = walk.containers
        self.cells, self.contents = walk.cells, walk.contents
        self.globals = walk.globals
        self.known = None if walk.mutable else found
        return found

    def read_objects(self, objects: list[Any]) -> tuple[Hashable, list[Any]]:
        """The same of what the function reads of objects that it is given: of `self`, for one."""
        walk = _Walk(self.written)
        walk.function_like(self.fun)
        known = len(walk.hidden)
        key = tuple(map(walk.value, objects))
        self.objects, self.containers = objects, walk.containers
        return key, walk.hidden[known:]

    def after_tracing(self, key: Hashable, hidden: list[Any]) -> Hashable:
        """The key, without the contents of containers that the function changed while it ran.

        They are what it leaves behind (a list that counts calls, a dict of results), and no input:
        otherwise it would be traced at each call.
        """
        if not self.containers:
            return key
        before = self.containers
        self.read()
        if self.objects:
            self.read_objects(self.objects)
        after = {id(x): k for x, k in self.containers}
        changed = [x for x, k in before if after.get(id(x), k) != k]
        if changed:
            self.written.update((id(x), x) for x in changed)
            new, now = self.read()
            if len(now) == len(hidden) and all(map(operator.is_, now, hidden)):
                return new  # the places of the hidden arrays are as the entry knows them
        return key


class _Walk:
    """One walk over everything reachable from a function."""

    def __init__(self, written: dict[int, Any]) -> None:
        self.written = written
        self.containers: list[tuple[Any, Hashable]] = []  # those that can change, and their keys
        self.hidden: list[Any] = []
        self.cells: list[Any] = []
        self.contents: list[Any] = []
        self.globals: list[tuple[dict[str, Any], str, Any]] = []
        self.alive: list[Any] = []  # what `seen` knows by id, and a walk may have made
        self.seen: dict[int, int] = {}
        self.mutable = False
        self.attributes = {"__call__"}  # that the functions walked so far read
        self.assigned: set[str] = set()
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
                return "wrapped", type(f), _variant(f), self.function_like(wrapped)
            del self.seen[id(f)]
            return self.other(f)
        parts: list[Hashable] = [Same(f.__code__)]
        names = names_in(f.__code__)
        self.attributes |= names.attributes_read
        self.assigned |= names.attributes_written
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            if name in names.free_written:
                continue
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
        if _is_users(f.__globals__):
            parts += self.read_globals(f)
        return tuple(parts)

    def read_globals(self, f: types.FunctionType) -> list[Hashable]:
        """The globals that f reads, and through functions among them those that they read."""
        space = f.__globals__
        parts: list[Hashable] = []
        for name in names_in(f.__code__).globals_read:
            content = space.get(name, _MISSING)
            if content is not _MISSING:
                self.globals.append((space, name, content))
                parts.append((name, self.value(content)))
        return parts

    def rule(self, f: Any) -> Hashable:
        """A function that programs keep as it is: the arrays it closes over are part of it."""
        kept, self.by_identity = self.by_identity, True
        try:
            return self.function_like(f) if callable(f) else self.value(f)
        finally:
            self.by_identity = kept

    def value(self, x: Any) -> Hashable:
        kind = type(x)
        if kind is Array and isinstance(x.value, Donated):
            return Same(x)  # it may be near, and not used
        if self.by_identity and (kind is Array or isinstance(x, np.ndarray)):
            return Same(x)
        if kind is Array or isinstance(x, (Tracer, np.ndarray)):
            for i, other in enumerate(self.hidden):
                if other is x:
                    return "same", i
            self.hidden.append(x)
            return typeof(x)
        if kind in SCALARS:
            return literal_key(x)
        if isinstance(x, type) and x.__module__ in sys.modules and _is_users(
                vars(sys.modules[x.__module__])):
            found = [self.of_class(x, n) for n in sorted(self.attributes - self.assigned)]
            return (kind, x, *filter(None, found))  # type: ignore[arg-type]
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
        if id(x) in self.written or _is_table(x):
            return Same(x)
        try:
            leaves, treedef = flatten(x)
        except TypeError:  # keys that do not sort
            return Same(x)
        key: tuple[Hashable, ...] = (treedef, *map(self.value, leaves))
        if not isinstance(x, tuple):
            if isinstance(x, list) and not x:  # to be filled, by a callback for one: this one only
                key = treedef, Same(x)
            self.mutable = True  # its contents can change without a cell changing
            self.containers.append((x, key))
        return key

    def other(self, x: Any) -> Hashable:
        """An object: a registered container, by equality if it defines that, else by identity."""
        if id(x) in self.seen and type(x).__hash__ is object.__hash__:
            return Same(x)
        self.alive.append(x)
        leaves, treedef = flatten(x)
        if not (len(leaves) == 1 and leaves[0] is x):
            self.mutable = True
            return (treedef, *map(self.value, leaves))
        wrapped = getattr(x, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            self.seen[id(x)] = len(self.seen)
            return "wrapped", type(x), _variant(x), self.function_like(wrapped)
        try:
            hash(x)
        except TypeError:
            return Same(x)
        if hasattr(x, "__array__"):  # of another library: its == is no answer
            return Same(x)
        if not has_state(x):
            return static_key(x)
        self.seen[id(x)] = len(self.seen)
        return type(x), x, *self.state(x)

    def state(self, x: Any) -> list[Hashable]:
        """The attributes of an object that the functions walked so far read, or its methods do."""
        walked: set[str] = set()
        while todo := self.attributes - walked:
            walked |= todo
            for name in todo:
                method = getattr(type(x), name, None)
                method = getattr(method, "fget", None) or getattr(method, "__wrapped__", method)
                if isinstance(method, types.FunctionType) and _is_users(method.__globals__):
                    names = names_in(method.__code__)
                    self.attributes |= names.attributes_read
                    self.assigned |= names.attributes_written
        parts: list[Hashable] = []
        for name in sorted(self.attributes - self.assigned):
            # The object's own attribute, or its class's, which its own may come to hide.
            content = vars(x).get(name, _MISSING)
            if content is not _MISSING:
                self.globals.append((vars(x), name, content))
                parts.append((name, self.value(content)))
            elif found := self.of_class(type(x), name):
                self.globals.append((vars(x), name, _MISSING))
                parts.append(found)
        return parts

    def of_class(self, kind: type, name: str) -> Hashable:
        """The key of a value (no method) that a class holds under a name; None if it has none."""
        holder = next((c for c in kind.__mro__ if name in vars(c)), object)
        content = vars(holder).get(name, _MISSING)
        if content is _MISSING or callable(content) or hasattr(content, "__get__"):
            return None
        self.globals.append((vars(holder), name, content))  # type: ignore[arg-type]
        return name, self.value(content)
