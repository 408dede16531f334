"""Ahead of time: a function recorded for given arguments, and compiled for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lucidfn.api.arguments import raw_leaf
from lucidfn.api.cache import Entry, differences
from lucidfn.core.ir import Program
from lucidfn.core.trace import Backend, backend_for

if TYPE_CHECKING:
    from lucidfn.api.jit import JitFunction


class Lowered:
    """A recorded function; `compile()` makes it runnable, `program` is what was recorded."""

    def __init__(self, function: JitFunction, entry: Entry, backend: Backend):
        self._function, self._entry, self._backend = function, entry, backend

    @property
    def program(self) -> Program:
        return self._entry.program

    def as_text(self) -> str:
        """The recorded program as text."""
        return str(self._entry.program)

    def cost_analysis(self) -> dict[str, int]:
        """Floating point operations and bytes moved."""
        cost = self._entry.program.cost()
        return {"flops": cost.flops, "bytes accessed": cost.bytes}

    @property
    def out_info(self) -> Any:
        """The output tree with a ShapeDtypeStruct for each array."""
        return self._entry.outputs.structs(self._entry.program)

    def compile(self) -> CompiledFunction:
        """Compile for the device of the arguments; for shapes alone, the default one."""
        entry, backend = self._entry, self._backend
        if backend not in entry.compiled:
            entry.compiled[backend] = backend.compile(entry.program)
        return CompiledFunction(self._function, entry, entry.compiled[backend])


class CompiledFunction:
    """A function compiled for one kind of arguments; other kinds are an error, not a retrace."""

    def __init__(self, function: JitFunction, entry: Entry, compiled: Any):
        self._function, self._entry, self._compiled = function, entry, compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        f = self._function
        key, raws, _, hidden = f.keyed(args, kwargs, self._entry.key.settings)
        wrong = differences(key, self._entry.key, f.options.leaf_names(args, kwargs))
        if not wrong and any(hidden[i] is not x for i, x in self._entry.baked):
            wrong = ["an array it closes over changed whose value was used while tracing"]
        if wrong:
            raise TypeError(f"{f.name} was compiled for other arguments: {'; '.join(wrong)}")
        raws += [raw_leaf(hidden[i]) for i in self._entry.hidden]
        return f.run(self._entry, raws, backend_for(raws, self._entry.program))

    def as_text(self) -> str:
        """The Python text that runs."""
        return self._compiled.source

    @property
    def program(self) -> Program:
        """The optimised program."""
        return self._compiled.program

    def cost_analysis(self) -> dict[str, int]:
        """Floating point operations and bytes moved by the optimised program."""
        cost = self.program.cost()
        return {"flops": cost.flops, "bytes accessed": cost.bytes}
