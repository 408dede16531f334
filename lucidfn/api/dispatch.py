"""The quick path of a jitted call: one generated function checks that the arguments are as before.

It walks the containers of the last call's arguments, compares the type of every leaf, and returns
the raw arrays; or None, and then the call takes the ordinary path through the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np

from lucidfn.array import Array
from lucidfn.core.trace import FOREIGN
from lucidfn.tree._registry import KINDS
from lucidfn.types import default_dtype_of

Guard = Callable[[tuple[Any, ...]], tuple[list[Any], list[Any]] | None]


class _Unguarded(Exception):
    """The arguments hold something that the quick path leaves to the ordinary one."""


def make_guard(args: tuple[Any, ...]) -> Guard | None:
    """A function of later arguments: (raw leaves, leaves) if they are like these, else None."""
    writer = _Writer()
    try:
        writer.node(args, "args", 0)
    except _Unguarded:
        return None
    leaves = ", ".join(writer.leaves)
    raws = ", ".join(writer.raws)
    source = "\n".join(["def guard(args):", *["    " + line for line in writer.lines],
                        f"    return [{raws}], [{leaves}]"])
    exec(compile(source, "<lucidfn guard>", "exec"), writer.space)
    return writer.space["guard"]


def is_namedtuple(x: Any) -> bool:
    """Whether x is a named tuple whose children are its fields in order."""
    kind = KINDS[type(x)] if isinstance(x, tuple) and hasattr(x, "_fields") else None
    return kind is not None and all(
        a is b for a, b in zip_longest(kind.flatten(x)[0], tuple(x), fillvalue=_Unguarded))


class _Writer:
    """Writes the checks for one tree of arguments."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.leaves: list[str] = []
        self.raws: list[str] = []
        self.space: dict[str, Any] = {"Array": Array, "ndarray": np.ndarray, "asarray": np.asarray}
        self.count = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def constant(self, value: Any) -> str:
        name = self.fresh("k")
        self.space[name] = value
        return name

    def unless(self, condition: str) -> None:
        self.lines.append(f"if {condition}: return None")

    def node(self, x: Any, name: str, depth: int) -> None:
        kind = type(x)
        if kind is tuple or kind is list:
            self.unless(f"type({name}) is not {kind.__name__} or len({name}) != {len(x)}")
            children = [(f"{name}[{i}]", child) for i, child in enumerate(x)]
        elif is_namedtuple(x):  # of an optimizer's state, say
            self.unless(f"type({name}) is not {self.constant(kind)}")
            children = [(f"{name}[{i}]", child) for i, child in enumerate(x)]
        elif kind is dict:
            self.unless(f"type({name}) is not dict or len({name}) != {len(x)}")
            keys = self.sorted_keys(x)
            names = [self.constant(k) if type(k) is not str else repr(k) for k in keys]
            for key in names:
                self.unless(f"{key} not in {name}")
            children = [(f"{name}[{key}]", x[k]) for key, k in zip(names, keys, strict=True)]
        elif x is None:
            return self.unless(f"{name} is not None")
        else:
            return self.leaf(x, name)
        if depth > 20:
            raise _Unguarded
        for expression, child in children:
            child_name = self.fresh("x")
            self.lines.append(f"{child_name} = {expression}")
            self.node(child, child_name, depth + 1)

    @staticmethod
    def sorted_keys(x: dict[Any, Any]) -> list[Any]:
        try:
            return sorted(x)
        except TypeError:
            raise _Unguarded from None

    def leaf(self, x: Any, name: str) -> None:
        raw = self.fresh("v")
        if type(x) is Array and (type(x.value) is np.ndarray or type(x.value) in FOREIGN):
            shape, dtype = self.constant(x.value.shape), self.constant(x.value.dtype)
            kind = "ndarray" if type(x.value) is np.ndarray else self.constant(type(x.value))
            self.unless(f"type({name}) is not Array")
            self.lines.append(f"{raw} = {name}.value")
            self.unless(f"type({raw}) is not {kind} or {raw}.shape != {shape} or "
                        f"{raw}.dtype is not {dtype} or {name}.weak is not {x.weak}")
        elif type(x) in (int, float, complex):
            dtype = self.constant(default_dtype_of(type(x)))
            self.unless(f"type({name}) is not {type(x).__name__}")
            self.lines.append(f"{raw} = asarray({name}, {dtype})")
        else:
            raise _Unguarded
        self.leaves.append(name)
        self.raws.append(raw)
