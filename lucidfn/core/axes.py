"""The named axes in scope: each is a live vmap, which gives collectives their meaning.

A collective says which axis it is about by name. Applied to values it goes to the vmap of that
name; recorded (under jit) it stays in the program as an equation, and so does a program that holds
it, until the program is batched by the vmap of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lucidfn.core.trace import Trace

named_axes: ContextVar[tuple[Any, ...]] = ContextVar("lucidfn_axes", default=())  # innermost last
# What a program that is being batched is batched over: programs inside it inherit the name.
batched_axis: ContextVar[Any] = ContextVar("lucidfn_batched_axis", default=None)


@contextmanager
def axis_in_scope(trace: Any) -> Iterator[None]:
    """Let collectives in the block see this vmap's axis; nothing to do if it has no name."""
    if trace.axis_name is None:
        yield
        return
    token = named_axes.set((*named_axes.get(), trace))
    try:
        yield
    finally:
        named_axes.reset(token)


def axis_trace(name: Any) -> Any:
    """The innermost vmap of this axis name, or None."""
    for trace in reversed(named_axes.get()):
        if trace.axis_name == name:
            return trace
    return None


def axes_key() -> tuple[tuple[Any, int], ...]:
    """Names and sizes of the axes in scope: what a recorded program depends on."""
    return tuple([(t.axis_name, t.size) for t in named_axes.get()])


def axes_used(params: dict[str, Any]) -> frozenset[Any]:
    """The axis names that collectives in the programs among an equation's parameters are about."""
    used: frozenset[Any] = frozenset()
    for value in params.values():
        for part in value if isinstance(value, tuple) else (value,):
            if hasattr(part, "equations"):
                used |= _axes_of(part)
    return used


def _axes_of(program: Any) -> frozenset[Any]:
    known = program.derived.get("axes")
    if known is None:
        found = set()
        for eqn in program.equations:
            if eqn.primitive.collective:
                found.add(eqn.params["axis"])
            elif eqn.primitive.nested:
                found |= axes_used(eqn.params)
        known = program.derived["axes"] = frozenset(found)
    return known


def with_axes(trace: Trace, params: dict[str, Any]) -> Trace:
    """Where an operation that holds programs goes: to the innermost vmap among `trace` and those
    whose axes its programs speak of, although none of its operands may be batched."""
    used = axes_used(params)
    for name in used:
        bound = axis_trace(name)
        if bound is not None and bound.level > trace.level:
            trace = bound
    return trace
