"""What a recorded function returned: its tree, which leaves are arrays, how to make it again."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from lucidfn.api.arguments import output_leaf
from lucidfn.array import is_array_like, weak_of, wrap
from lucidfn.core.ir import Program
from lucidfn.tree import flatten, unflatten
from lucidfn.types import ShapeDtypeStruct


class Outputs:
    """The structure of an output. Leaves that are no arrays (a string, a bool) stay as they are."""

    __slots__ = ("tree", "static", "traced", "weaks", "all_traced")

    def take(self, out: Any, where: str) -> list[Any]:
        """Remember the structure of what a function returned; gives the raw arrays in it."""
        leaves, self.tree = flatten(out)
        for x in leaves:
            if isinstance(x, (Iterator, Coroutine)):
                raise TypeError(f"{where} returned a {type(x).__name__}, which would run after the "
                                "function has been traced; return a list or a tuple")
        self.traced = [is_array_like(x) and type(x) is not bool for x in leaves]
        self.static = [None if t else x for x, t in zip(leaves, self.traced, strict=True)]
        self.weaks = [weak_of(x) for x, t in zip(leaves, self.traced, strict=True) if t]
        self.all_traced = all(self.traced)
        return [output_leaf(x, where) for x, t in zip(leaves, self.traced, strict=True) if t]

    def rebuild(self, raws: Sequence[Any]) -> Any:
        """The output from raw arrays."""
        wrapped = [wrap(x, w) for x, w in zip(raws, self.weaks, strict=True)]
        if self.all_traced:
            return self.tree._build(iter(wrapped))
        return self.filled(wrapped)

    def structs(self, program: Program) -> Any:
        """The output with a ShapeDtypeStruct for each array."""
        return self.filled([ShapeDtypeStruct(t.shape, t.dtype, weak=w) for t, w in
                            zip(program.output_types, self.weaks, strict=True)])

    def filled(self, arrays: Sequence[Any]) -> Any:
        values = iter(arrays)
        return unflatten(self.tree, [next(values) if t else x
                                     for x, t in zip(self.static, self.traced, strict=True)])
