"""The contract of a primitive: an operation that the transformations know, one method per rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from types import MemberDescriptorType
from typing import Any

import numpy as np

from lucidfn.core.axes import named_axes, with_axes
from lucidfn.core.source import describe_line, here, user_frame
from lucidfn.core.trace import Tracer, current, type_of
from lucidfn.errors import FloatingPointNaNError, MissingRuleError, ShapeError
from lucidfn.types import ArrayType

ALL: dict[str, Primitive] = {}  # for the tests that walk every primitive


class Primitive:
    """An operation the transformations know. Arrays are positional, all else is keyword.

    infer      types of the inputs                -> type of the output
    jvp        input tangents, output and inputs  -> output tangent (linear in the tangents)
    transpose  output cotangent and inputs        -> input cotangents (None: not linear there)
    batch      inputs with a leading batch axis   -> output with a leading batch axis
    rows       row axes of the inputs             -> row axis of the output, or how blocks combine

    A zero tangent is None. In `transpose` an operand to differentiate with respect to is unknown:
    a `Var` that has a type and no value (see `unknown`).
    """

    name: str
    many = False    # whether the rules take and return lists of outputs
    nested = False  # whether its kernel may run user code or whole programs
    effect = False  # whether it must run even if nobody reads its outputs
    collective = False  # whether its parameter `axis` names an axis of a vmap

    def __init__(self, name: str | None = None):
        self.name = name or self.name
        ALL[self.name] = self

    def __call__(self, *args: Any, **params: Any) -> Any:
        trace = current.get()
        for arg in args:
            if isinstance(arg, Tracer) and arg.owner.level > trace.level:
                trace = arg.owner
        if self.nested and named_axes.get():
            trace = with_axes(trace, params)
        return trace.process(self, args, params)

    def __repr__(self) -> str:
        return self.name

    # ------------------------------------------------------------------ rules

    def infer(self, *types: ArrayType, **params: Any) -> Any:
        raise self.missing("infer", "computes its output's type")

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any, **params: Any) -> Any:
        raise self.missing("jvp", "gives its derivative")

    def transpose(self, ct: Any, *args: Any, **params: Any) -> Sequence[Any]:
        raise self.missing("transpose", "runs its derivative backwards")

    def batch(self, size: int, batched: Sequence[bool], *args: Any, **params: Any) -> Any:
        raise self.missing("batch", "lets vmap vectorise it")

    def linearize(self, tangents: Sequence[Any], *args: Any, **params: Any) -> tuple[Any, Any]:
        """Primal output, and its tangent. Only call-like primitives override this."""
        out = self(*args, **params)
        return out, self.jvp(tangents, out, *args, **params)

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType],
              **params: Any) -> int:
        """Floating point operations; the default counts one for each output element."""
        return sum(t.size for t in outs)

    def rows(self, axes: Sequence[int | None], types: Sequence[ArrayType], /,
             **params: Any) -> int | str | None:
        """Whether the operation can run on blocks of rows, for the compiler.

        `axes[i]` is the axis along which input i is cut into blocks, None for inputs that are
        whole. The result is that axis of the output (of each, if there are several) where each
        block of it needs the same block of the inputs only; "add" where the output is the sum over
        blocks of what each gives; None (the default) where the operation must see the whole.
        """
        return None

    def row_params(self, axis: int, size: int, types: Sequence[ArrayType], /,
                   **params: Any) -> dict[str, Any]:
        """The parameters for a block of `size` rows, where `axis` is the row axis of the output."""
        return params

    # ------------------------------------------------------------------ messages

    def missing(self, rule: str, purpose: str) -> MissingRuleError:
        return MissingRuleError(
            f"primitive '{self.name}' has no {rule} rule (it {purpose}). To add one, define "
            f"`{rule}` on its class ({type(self).__name__}); see lucidfn.extend.")

    def located(self, error: Exception, args: Sequence[Any], name: str = "") -> Exception:
        """The error with the user's line and the operands: their names, types and origins.

        `name` is that of the public function, where it says more than the primitive's.
        """
        if getattr(error, "_located", False):
            return error
        where = describe_line(here())
        message = f"{name or self.name} at {where}: {error}"
        operands = list(describe_operands(args))
        kind = ShapeError if isinstance(error, ShapeError) else type(error)
        try:
            better = kind("\n  ".join([message, *operands]))
        except Exception:
            return error
        better._located = True  # type: ignore[attr-defined]
        return better

    def not_finite(self, args: Sequence[Any], infs: bool) -> FloatingPointNaNError:
        what = "NaN or inf" if infs else "NaN"
        trace = current.get()
        where = describe_line(trace.source or here())
        return FloatingPointNaNError("\n  ".join([
            f"first {what}: {self.name} at {where} produced it from", *describe_operands(args),
            *hidden_by_where(self.name, args)]))


def describe_operands(args: Sequence[Any]) -> list[str]:
    """One aligned line for each array operand: the user's name, its type, where it comes from."""
    names = local_names(args)
    rows = []
    for i, arg in enumerate(args):
        try:
            kind = str(type_of(arg))
        except AttributeError:
            kind = type(arg).__name__
        origin = ""
        if isinstance(arg, Tracer) and hasattr(arg.owner, "describe"):
            origin = arg.owner.describe(arg)
        rows.append((names[i] or f"operand {i + 1}", kind, origin or value_range(arg)))
    widths = [max((len(r[c]) for r in rows), default=0) for c in (0, 1)]
    return [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]


def hidden_by_where(name: str, args: Sequence[Any]) -> list[str]:
    """Advice for 0 * inf and 0 / 0, which arise in derivatives of what `where` discards."""
    if name not in ("mul", "div") or len(args) != 2:
        return []
    values = [np.asarray(x) for x in args]
    zero, infinite = [[bool(test.any()) for test in tests] for tests in (
        [x == 0 for x in values], [abs(x) == math.inf for x in values])]
    product = (zero[0] and infinite[1]) or (zero[1] and infinite[0])
    if not (product if name == "mul" else zero[0] and zero[1]):
        return []
    return [f"{'0 * inf' if name == 'mul' else '0 / 0'}: if lnp.where discards this value, its "
            "derivative is computed all the same. Mask the input too:",
            "    lnp.where(ok, f(lnp.where(ok, x, 1.0)), 0.0)"]


def value_range(x: Any) -> str:
    """min and max of a raw array, where it has them: what made a NaN is often visible there."""
    try:
        x = np.asarray(x)
        if x.ndim and (bad := int((x != x).sum())):
            return f"{bad} of {x.size} are NaN"
        return f"min {x.min():.6g}, max {x.max():.6g}" if x.size and x.ndim else f"value {x:.6g}"
    except Exception:
        return ""


def local_names(args: Sequence[Any]) -> list[str]:
    """What the user calls these values, looked up by identity in the frame that is running."""
    frame = user_frame()
    if frame is None:
        return [""] * len(args)
    by_id: dict[int, str] = {}
    used = frame.f_code.co_names
    named = [*frame.f_locals.items(), *((n, frame.f_globals[n]) for n in used
                                        if n in frame.f_globals)]
    for name, value in list(named):
        if type(value) is dict:
            named += [(f"{name}[{k!r}]", v) for k, v in itertools.islice(value.items(), 100)]
        elif type(value) in (list, tuple):
            named += [(f"{name}[{i}]", v) for i, v in enumerate(value[:100])]
    for name, value in named:
        # The slot of an Array; a property of a user's object would run user code here.
        if isinstance(getattr(type(value), "value", None), MemberDescriptorType):
            by_id.setdefault(id(getattr(value, "value", value)), name)
        by_id.setdefault(id(value), name)
    return [by_id.get(id(arg), "") if not isinstance(arg, (bool, int, float)) else ""
            for arg in args]


def as_list(primitive: Primitive, out: Any) -> list[Any]:
    return out if primitive.many else [out]
