"""Forward mode: run a function on pairs of a value and a tangent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import Trace, Tracer, leaked, levels, type_of
from lucidfn.types import ArrayType


class JvpTracer(Tracer):
    """A value with its tangent."""

    __slots__ = ("primal", "tangent", "weak")

    def __init__(self, trace: JvpTrace, primal: Any, tangent: Any, weak: bool = False):
        self.owner, self.primal, self.tangent, self.weak = trace, primal, tangent, weak

    @property
    def type(self) -> ArrayType:  # type: ignore[override]
        t = type_of(self.primal)
        return t if t.weak is self.weak else t._replace(weak=self.weak)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.primal.shape

    @property
    def dtype(self) -> Any:
        return self.primal.dtype

    def with_weak(self, weak: bool) -> JvpTracer:
        return JvpTracer(self.owner, self.primal, self.tangent, weak)

    def concrete(self, error: Callable[..., Exception], use: str) -> Any:
        if not self.owner.alive:
            raise leaked(self)
        primal = self.primal
        return primal.concrete(error, use) if isinstance(primal, Tracer) else primal


# Compiled derivatives of single primitives (control/steps.py, a layer above, puts it here).
shortcut: Callable[..., Any] | None = None


class JvpTrace(Trace):
    """Runs primals as usual and pushes a tangent along with each; None is a zero tangent."""

    def __init__(self, what: str = "jvp", recorder: Any = None):
        self.level = next(levels)
        self.what = what
        self.recorder = recorder  # of the tangents, where `linearize` has them recorded

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if not self.alive:
            raise leaked(next(a for a in args if isinstance(a, Tracer) and a.owner is self))
        primals, tangents, moving = [], [], False
        for x in args:
            if type(x) is JvpTracer and x.owner is self:
                primals.append(x.primal)
                tangents.append(x.tangent)
                moving = True
            else:
                primals.append(x)
                tangents.append(None)
        if not moving:
            return primitive(*primals, **params)
        if self.recorder is not None and shortcut is not None:
            quick = shortcut(self, primitive, primals, tangents, params)
            if quick is not None:
                return quick
        out, tangent = primitive.linearize(tangents, *primals, **params)
        if primitive.many:
            return [self.box(o, t) for o, t in zip(out, tangent, strict=True)]
        return out if tangent is None else JvpTracer(self, out, tangent)

    def box(self, primal: Any, tangent: Any, weak: bool = False) -> Any:
        return primal if tangent is None else JvpTracer(self, primal, tangent, weak)

    def unbox(self, x: Any) -> tuple[Any, Any]:
        if type(x) is JvpTracer and x.owner is self:
            return x.primal, x.tangent
        return x, None

    def describe(self, tracer: JvpTracer) -> str:
        inner = tracer.primal
        if isinstance(inner, Tracer) and hasattr(inner.owner, "describe"):
            return inner.owner.describe(inner)
        return ""


def jvp(f: Callable[..., Sequence[Any]], primals: Sequence[Any], tangents: Sequence[Any], *,
        weak: Sequence[bool] = (), what: str = "jvp",
        recorder: Any = None) -> tuple[list[Any], list[Any]]:
    """f(primals) and the directional derivative along tangents; flat lists in and out."""
    trace = JvpTrace(what, recorder)
    weak = weak or (False,) * len(primals)
    try:
        outs = f(*[trace.box(x, t, w) for x, t, w in zip(primals, tangents, weak, strict=True)])
        pairs = [trace.unbox(out) for out in outs]
    finally:
        trace.alive = False
    return [p for p, _ in pairs], [t for _, t in pairs]
