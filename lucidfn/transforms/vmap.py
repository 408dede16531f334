"""Vectorisation: run a function on batches; every rule sees the batch axis in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

from lucidfn.core.axes import axes_used, axis_in_scope, batched_axis
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import Trace, Tracer, leaked, levels, shape_of, type_of
from lucidfn.ops.shape import broadcast_to
from lucidfn.types import SCALARS, ArrayType


class BatchTracer(Tracer):
    """One lane of a batch; `value` holds all lanes along its first axis."""

    __slots__ = ("value", "weak")

    def __init__(self, trace: BatchTrace, value: Any, weak: bool = False):
        self.owner, self.value, self.weak = trace, value, weak

    @property
    def type(self) -> ArrayType:  # type: ignore[override]
        shape, dtype, _ = type_of(self.value)
        return ArrayType(shape[1:], dtype, self.weak)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[1:]

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    def with_weak(self, weak: bool) -> BatchTracer:
        return BatchTracer(self.owner, self.value, weak)

    def concrete(self, error: Callable[..., Exception], use: str) -> Any:
        if not self.owner.alive:
            raise leaked(self)
        raise error(self, use)


class Shared:
    """What a batch rule with many outputs returns for one that is the same for all lanes."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value


class BatchTrace(Trace):
    """Applies each primitive to all lanes at once."""

    def __init__(self, size: int, axis_name: Any = None, names: Sequence[str] = ()):
        self.level, self.size = next(levels), size
        self.what, self.axis_name, self.names = "vmap", axis_name, names
        self.inputs: list[Any] = []  # weak references: a cycle would keep the arrays alive

    def unbox(self, x: Any) -> tuple[Any, bool]:
        mine = type(x) is BatchTracer and x.owner is self
        return (x.value, True) if mine else (x, False)

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if not self.alive:
            raise leaked(next(a for a in args if isinstance(a, Tracer) and a.owner is self))
        pairs = [self.unbox(a) for a in args]
        values, batched = [v for v, _ in pairs], tuple([b for _, b in pairs])
        if primitive.collective and params["axis"] == self.axis_name:
            out, varies = primitive.resolve(self.size, batched, *values, **params)
            return BatchTracer(self, out) if varies else out
        if not any(batched) and not (primitive.nested and self.axis_name is not None
                                     and self.axis_name in axes_used(params)):
            return primitive(*values, **params)
        token = batched_axis.set(self.axis_name) if primitive.nested else None
        try:
            out = primitive.batch(self.size, batched, *values, **params)
        except Exception as error:
            raise self.for_one_lane(error, primitive, args, params) from error
        finally:
            if token is not None:
                batched_axis.reset(token)
        if primitive.many:
            return [o.value if type(o) is Shared else BatchTracer(self, o) for o in out]
        return BatchTracer(self, out)

    @staticmethod
    def for_one_lane(error: Exception, primitive: Primitive, args: Sequence[Any],
                     params: dict[str, Any]) -> Exception:
        """The message of the type rule on the lanes, which is what the user wrote."""
        if primitive.nested:
            return error
        try:
            primitive.infer(*map(type_of, args), **params)
        except Exception as better:
            return primitive.located(better, args)
        return error

    def full(self, x: Any) -> Any:
        value, batched = self.unbox(x)
        if batched:
            return value
        if type(value) in SCALARS:
            raise TypeError("a scalar output must be an array")
        return broadcast_to(value, shape=(self.size, *shape_of(value)))

    def describe(self, tracer: BatchTracer) -> str:
        for i, x in enumerate(self.inputs):
            if x is not None and x() is tracer:
                return f"one lane of argument `{self.names[i]}`" if i < len(self.names) else ""
        return ""


INHERIT: Any = object()  # an axis name: that of the operation whose batch rule is running


def batch_flat(f: Callable[..., Sequence[Any]], args: Sequence[Any], batched: Sequence[bool],
               size: int, *, axis_name: Any = INHERIT, weak: Sequence[bool] = (),
               names: Sequence[str] = (), fill: bool = True) -> tuple[list[Any], list[bool]]:
    """Run f on lanes; batched args have the batch in front. Returns (outputs, which are batched).

    With `fill` every output is given a batch axis in front. `axis_name` is what collectives in f
    call the batch axis; by default, in a batch rule, what they call the axis that it is about.
    """
    trace = BatchTrace(size, batched_axis.get() if axis_name is INHERIT else axis_name, names)
    weak = weak or (False,) * len(args)
    lanes = [BatchTracer(trace, x, w) if b else x
             for x, b, w in zip(args, batched, weak, strict=True)]
    trace.inputs = [ref(x) if b else None for x, b in zip(lanes, batched, strict=True)]
    try:
        with axis_in_scope(trace):
            outs = f(*lanes)
        if fill:
            return [trace.full(out) for out in outs], [True] * len(outs)
        pairs = [trace.unbox(out) for out in outs]
    finally:
        trace.alive = False
    return [v for v, _ in pairs], [b for _, b in pairs]
