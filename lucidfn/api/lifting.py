"""What functions close over: traced values in closures, found, taken out and put back.

A rule that is kept in a program must not hold tracers, which die with their trace. `lift` puts a
`Hole` in the place of each and returns them, to be made operands; `fill` puts values back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np

from lucidfn.array import Array, wrap
from lucidfn.core.ir import Program
from lucidfn.core.trace import Tracer
from lucidfn.tree import flatten, unflatten
from lucidfn.types import SCALARS

_LEAVES = frozenset({Array, np.ndarray, str, bytes, type(None), *SCALARS})


class Hole:
    """The place of a traced value that has been lifted."""

    __slots__ = ("index", "weak")

    def __init__(self, index: int, weak: bool):
        self.index, self.weak = index, weak


def lift(x: Any) -> tuple[list[Any], Any]:
    """(the tracers that x holds or closes over, x with holes in their places)."""
    found = tracers_in(x)
    if not found:
        return [], x
    holes = {id(t): Hole(i, t.weak) for i, t in enumerate(found)}
    return found, _Rebuild(Tracer, lambda tracer, raw: holes[id(tracer)])(x)


def fill(template: Any, values: Sequence[Any]) -> Any:
    """The template with raw values in its holes, wrapped as users see them."""
    if not values:
        return template
    return _Rebuild(Hole, lambda hole, raw: values[hole.index] if raw
                    else wrap(values[hole.index], hole.weak))(template)


def tracers_in(x: Any) -> list[Any]:
    """The tracers in a tree, in closures, defaults and partial arguments, in order, once each."""
    return _search(x, Tracer)


def _search(x: Any, kind: type, first: bool = False) -> list[Any]:
    """Everything of a kind that x holds; at most one with `first`."""
    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}  # holds the objects, so that no id is used twice
    waiting = [x]
    while waiting and not (first and found):
        item = waiting.pop()
        if isinstance(item, kind):
            found.setdefault(id(item), item)
        elif id(item) not in seen:
            seen[id(item)] = item
            waiting += reversed(list(_parts(item)))
    return list(found.values())


def _parts(x: Any) -> Iterable[Any]:
    """What x holds, one level down."""
    kind = type(x)
    if kind in _LEAVES:
        return ()
    if kind is FunctionType:
        return [*_contents(x), *(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values()]
    if isinstance(x, functools.partial):
        return [x.func, *x.args, *x.keywords.values()]
    if kind is MethodType:
        return [x.__func__, x.__self__]
    if kind is Program:
        return x.consts.values()
    if hasattr(kind, "__closed_over__"):
        return x.__closed_over__()
    try:
        leaves = flatten(x)[0]
    except TypeError:  # a dict whose keys have no order: no tree
        return ()
    return () if len(leaves) == 1 and leaves[0] is x else leaves


def _contents(function: FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a name that is not assigned yet
            continue
    return found


class _Rebuild:
    """Copies what holds objects of a kind, with others in their places; the rest is shared."""

    def __init__(self, kind: type, replace: Callable[[Any, bool], Any]):
        self.kind, self.replace = kind, replace
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, self.kind):
            return self.replace(x, False)
        if id(x) in self.done:
            return self.done[id(x)]
        if type(x) in _LEAVES or not _search(x, self.kind, first=True):
            return x
        self.kept.append(x)
        if type(x) is FunctionType:
            return self.function(x)  # notes itself first: it may refer to itself
        self.done[id(x)] = new = self.container(x)
        return new

    def function(self, f: FunctionType) -> FunctionType:
        cells = tuple([CellType() for _ in f.__closure__ or ()])
        new = FunctionType(f.__code__, f.__globals__, f.__name__, None, cells)
        self.done[id(f)] = new
        new.__dict__.update(f.__dict__)
        new.__qualname__ = f.__qualname__
        new.__defaults__ = f.__defaults__ and tuple(map(self, f.__defaults__))
        new.__kwdefaults__ = f.__kwdefaults__ and {k: self(v) for k, v in f.__kwdefaults__.items()}
        for old, cell in zip(f.__closure__ or (), cells, strict=True):
            try:
                cell.cell_contents = self(old.cell_contents)
            except ValueError:  # a name that is not assigned yet
                continue
        return new

    def container(self, x: Any) -> Any:
        if isinstance(x, functools.partial):
            return type(x)(self(x.func), *map(self, x.args),
                           **{k: self(v) for k, v in x.keywords.items()})
        if type(x) is MethodType:
            return MethodType(self(x.__func__), self(x.__self__))
        if type(x) is Program:
            return x.replace(consts={v: self.replace(c, True) if isinstance(c, self.kind) else c
                                     for v, c in x.consts.items()})
        if hasattr(type(x), "__closed_over__"):
            return x.__rebuilt__(self)
        leaves, treedef = flatten(x)
        return unflatten(treedef, map(self, leaves))
