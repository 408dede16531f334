"""Functions with derivative or batching rules of their own, as operations on flat raw values.

`program` is what the function computes: a `Program` where the operation is recorded, else any
function from raw values to a list of them, so that Python control flow on values works. Its
operands come in three groups: `hidden` values that only the program reads, `closed` values that
the functions close over, and the arguments, which the rules are about. What is hidden or closed
over is differentiated through the program itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lucidfn.control.call import call
from lucidfn.core.axes import batched_axis
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import RecordTrace, record
from lucidfn.core.source import describe_line, here
from lucidfn.core.trace import Trace, Tracer, beside, current, shape_of, type_of
from lucidfn.errors import MissingRuleError, UnexpectedTracerError
from lucidfn.ops.elementwise import add
from lucidfn.ops.shape import broadcast_to, reduce_sum, zeros
from lucidfn.transforms.jvp import jvp
from lucidfn.transforms.linearize import transpose
from lucidfn.transforms.programs import batch_program
from lucidfn.transforms.vmap import batch_flat
from lucidfn.types import ArrayType, is_inexact

Function = Callable[..., Sequence[Any]]


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """A rule on raw values, and how the operands are grouped.

    The first `fixed` of the closed-over values are arguments, of these names, that the user
    declared not to be differentiated.
    """

    call: Callable[..., Any]
    closed: int = 0
    fixed: tuple[str, ...] = ()
    hidden: int = 0

    @property
    def start(self) -> int:
        """Where the arguments start."""
        return self.hidden + self.closed

    def __str__(self) -> str:
        return getattr(self.call, "__name__", "rule")


def trace_of(args: Sequence[Any]) -> Trace:
    """The trace that an operation on these values goes to."""
    return max([current.get(), *[a.owner for a in args if isinstance(a, Tracer)]],
               key=lambda trace: trace.level)


def take_tracers(program: Program) -> tuple[list[Any], Program]:
    """(tracers among the constants, the program that takes them as its first inputs)."""
    if not any(isinstance(x, Tracer) for x in program.consts.values()):
        return [], program
    found = {v: x for v, x in program.consts.items() if isinstance(x, Tracer)}
    rest = {v: x for v, x in program.consts.items() if v not in found}
    return list(found.values()), program.replace(inputs=[*found, *program.inputs], consts=rest)


def batched_function(f: Function, batched: Sequence[bool], size: int) -> Function:
    """The function on batches, every output batched; a program stays a program."""
    if isinstance(f, Program):
        return batch_program(f, tuple(batched), size)
    name = batched_axis.get()  # it runs later, when this is not known any more
    return lambda *args: batch_flat(f, args, batched, size, axis_name=name)[0]


def no_strangers(name: str, found: Sequence[Any], *given: Sequence[Any]) -> None:
    """Raise if what came back belongs to an inner trace than what went in.

    Then the function read a traced value that is neither an argument nor in a closure, and its
    derivative (or its lanes) would be lost.
    """
    known = max([current.get().level, *[x.owner.level for xs in given for x in xs
                                        if isinstance(x, Tracer)]])
    for x in found:
        if isinstance(x, Tracer) and x.owner.level > known:
            raise UnexpectedTracerError(
                f"{name} at {describe_line(here())} uses a traced {x.type} of {x.owner.what} that "
                "it did not get as an argument and does not close over: an attribute of an object "
                "or a global holds it. Pass it as an argument")


class Custom(Primitive):
    """Apply a function that has rules of its own."""

    many, nested = True, True

    def __call__(self, *args: Any, program: Function, rule: Rule, name: str) -> list[Any]:
        if not isinstance(program, Program) and isinstance(trace_of(args), RecordTrace):
            found, program = take_tracers(record(program, [type_of(a) for a in args], what=name))
            args = (*found, *args)
            rule = replace(rule, hidden=rule.hidden + len(found))
        return super().__call__(*args, program=program, rule=rule, name=name)

    def infer(self, *types: ArrayType, program: Program, rule: Rule, name: str) -> list[ArrayType]:
        return program.output_types

    def transpose(self, cts: Sequence[Any], *args: Any, program: Program, rule: Rule,
                  name: str) -> Sequence[Any]:
        # It stands in a linear program, so the function is linear there: its own transpose does.
        return call.transpose(cts, *args, program=program, name=name)

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Function, rule: Rule,
              name: str) -> list[Any]:
        grown = replace(rule, call=self.batched_call(rule, batched, size))
        outs = self(*args, program=batched_function(program, batched, size), rule=grown, name=name)
        no_strangers(name, outs, args)
        return outs

    def batched_call(self, rule: Rule, batched: Sequence[bool], size: int) -> Callable[..., Any]:
        """The user's rule on batches, to go with the batched function."""
        raise NotImplementedError

    def through(self, moved: Sequence[Any], tangents: Sequence[Any], args: Sequence[Any],
                program: Function, rule: Rule, name: str) -> Sequence[Any]:
        """The output tangents, with those that hidden and closed-over values cause."""
        leading = tangents[:rule.start]
        if all(t is None for t in leading):
            return moved
        for t, label in zip(leading[rule.hidden:], rule.fixed, strict=False):
            if t is not None:
                raise TypeError(
                    f"{name} is differentiated with respect to `{label}`, which nondiff_argnums "
                    "(or nondiff_argnames) excludes. Take it out of them and let the rule give "
                    f"its derivative, or pass lax.stop_gradient({label})")
        more = jvp(program, args, [*leading, *[None] * (len(args) - rule.start)], what=name)[1]
        no_strangers(name, more, args, leading)
        return [_sum(a, b) for a, b in zip(moved, more, strict=True)]


class CustomJvp(Custom):
    """A function whose derivative is `rule.call(closed, args, tangents) -> outputs, tangents`."""

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Function, rule: Rule,
                  name: str) -> tuple[Any, Any]:
        at = rule.start
        if all(t is None for t in tangents[at:]):
            outs = self(*args, program=program, rule=rule, name=name)
            moved: Sequence[Any] = [None] * len(outs)
        else:
            outs, moved = rule.call(args[rule.hidden:at], args[at:], tangents[at:])
            no_strangers(name, [*outs, *moved], args, tangents)
        return outs, self.through(moved, tangents, args, program, rule, name)

    def batched_call(self, rule: Rule, batched: Sequence[bool], size: int) -> Callable[..., Any]:
        return _batched_jvp(rule.call, batched[rule.hidden:], size)


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else add(a, b)


def _batched_jvp(rule: Callable[..., Any], batched: Sequence[bool], size: int) -> Any:
    axis_name = batched_axis.get()

    def batched_rule(closed: Sequence[Any], args: Sequence[Any],
                     tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        split, n = len(closed), len(closed) + len(args)
        given = [t is not None for t in tangents]
        moved: list[bool] = []

        def lanes(*xs: Any) -> list[Any]:
            found = iter(xs[n:])
            outs, out_tangents = rule(xs[:split], xs[split:n],
                                      [next(found) if g else None for g in given])
            moved[:] = [t is not None for t in out_tangents]
            return [*outs, *[t for t in out_tangents if t is not None]]

        # The tangent of what is batched is batched.
        flags = [*batched, *[b for b, g in zip(batched[split:], given, strict=True) if g]]
        values, _ = batch_flat(lanes, [*closed, *args, *[t for t in tangents if t is not None]],
                               flags, size, axis_name=axis_name)
        back = iter(values[len(moved):])
        return values[:len(moved)], [next(back) if m else None for m in moved]

    return _named(batched_rule, rule)


class CustomVjp(Custom):
    """A function whose cotangents come from a rule.

    `rule.call(closed, args, moving) -> outputs, residuals, bwd` runs in place of the function, and
    `bwd(residuals, cotangents)` gives a cotangent, or None for zero, for each of args.
    """

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Function, rule: Rule,
                  name: str) -> tuple[Any, Any]:
        at = rule.start
        moving = tuple([t is not None for t in tangents[at:]])
        if not any(moving):
            outs = self(*args, program=program, rule=rule, name=name)
            moved = [None] * len(outs)
        else:
            outs, residuals, bwd = rule.call(args[rule.hidden:at], args[at:], moving)
            no_strangers(name, [*outs, *residuals], args)
            types = tuple([t._replace(weak=False) if is_inexact(t.dtype) else None
                           for t in map(type_of, outs)])
            got = iter(custom_vjp_linear(*residuals, *[t for t in tangents[at:] if t is not None],
                                         bwd=bwd, moving=moving, types=types, name=name))
            moved = [None if t is None else next(got) for t in types]
        return outs, self.through(moved, tangents, args, program, rule, name)

    def batched_call(self, rule: Rule, batched: Sequence[bool], size: int) -> Callable[..., Any]:
        return _batched_fwd(rule.call, batched[rule.hidden:], size)


class CustomVjpLinear(Primitive):
    """Residuals, tangents -> output tangents; its transpose is `bwd`.

    So it is itself the transpose of `bwd`, where `bwd` is linear: that is its forward mode.
    """

    name, many, nested = "custom_vjp_linear", True, True

    def infer(self, *operands: ArrayType, bwd: Any, moving: tuple[bool, ...],
              types: tuple[ArrayType | None, ...], name: str) -> list[ArrayType]:
        return [t for t in types if t is not None]

    def jvp(self, tangents: Sequence[Any], outs: Any, *args: Any, **params: Any) -> list[Any]:
        split = len(args) - sum(params["moving"])
        if any(t is not None for t in tangents[:split]):
            return jvp(forward_program(args, **params), args, tangents)[1]
        filled = [beside(zeros(shape_of(x), x.dtype), x) if t is None else t
                  for t, x in zip(tangents[split:], args[split:], strict=True)]
        return self(*args[:split], *filled, **params)

    def transpose(self, cts: Sequence[Any], *args: Any, bwd: Callable[..., Any],
                  moving: tuple[bool, ...], types: tuple[ArrayType | None, ...],
                  name: str) -> list[Any]:
        split = len(args) - sum(moving)
        given = iter(cts)
        found = bwd(args[:split], [None if t is None else next(given) for t in types])
        return [*[None] * split, *[ct for ct, m in zip(found, moving, strict=True) if m]]

    def batch(self, size: int, batched: Sequence[bool], *args: Any, bwd: Callable[..., Any],
              moving: tuple[bool, ...], types: tuple[ArrayType | None, ...],
              name: str) -> list[Any]:
        split = len(args) - sum(moving)
        full = [x if b or i < split else broadcast_to(x, shape=(size, *shape_of(x)))
                for i, (x, b) in enumerate(zip(args, batched, strict=True))]
        grown = tuple([None if t is None else t._replace(shape=(size, *t.shape)) for t in types])
        together = _batched_bwd(bwd, batched[:split], [True] * len(moving), size,
                                batched_axis.get())
        return self(*full, bwd=together, moving=moving, types=grown, name=name)


def forward_program(args: Sequence[Any], *, bwd: Callable[..., Any], moving: tuple[bool, ...],
                    types: tuple[ArrayType | None, ...], name: str) -> Program:
    """Residuals, tangents -> output tangents, by transposing `bwd`; made once for each `bwd`."""
    split = len(args) - sum(moving)

    def forward(*xs: Any) -> list[Any]:
        kept: list[bool] = []

        def pull(*cts: Any) -> list[Any]:
            given = iter(cts)
            found = bwd(xs[:split], [None if t is None else next(given) for t in types])
            found = [ct for ct, m in zip(found, moving, strict=True) if m]
            kept[:] = [ct is not None for ct in found]
            return [ct for ct in found if ct is not None]

        program = record(pull, [t for t in types if t is not None], what=name)
        tangents = [t for t, k in zip(xs[split:], kept, strict=True) if k]
        return [zeros(v.type.shape, v.type.dtype) if t is None else t for v, t in
                zip(program.inputs, transpose(program, program.inputs, tangents), strict=True)]

    made = bwd.__dict__.setdefault("forward", {})
    key = tuple(map(type_of, args))
    if key not in made:
        try:
            made[key] = record(forward, key, what=name)
        except MissingRuleError as error:
            raise no_forward_mode(name, error) from None
    return made[key]


def no_forward_mode(name: str, error: MissingRuleError) -> MissingRuleError:
    reason = str(error).split(". ")[0]
    return MissingRuleError(
        f"{name} at {describe_line(here())}: forward mode of a custom_vjp function (jvp, jacfwd, "
        "hvp and linearize use it) is the transpose of its bwd, and this bwd is not linear in the "
        f"cotangent: {reason}. Use custom_jvp, whose rule serves both modes, or jacrev in place "
        "of jacfwd")


def run_linear(*args: Any, **params: Any) -> list[Any]:
    """The kernel of `custom_vjp_linear`, on every backend."""
    return forward_program(args, **params)(*args)


def _batched_fwd(fwd: Callable[..., Any], batched: Sequence[bool], size: int) -> Any:
    axis_name = batched_axis.get()

    def batched_fwd(closed: Sequence[Any], args: Sequence[Any], moving: tuple[bool, ...]) -> Any:
        split = len(closed)
        state: list[Any] = []

        def lanes(*xs: Any) -> list[Any]:
            outs, residuals, bwd = fwd(xs[:split], xs[split:], moving)
            state[:] = len(outs), bwd
            return [*outs, *residuals]

        # Residuals that do not vary are kept once.
        values, varies = batch_flat(lanes, [*closed, *args], batched, size, fill=False,
                                    axis_name=axis_name)
        n, bwd = state
        outs = [x if v else broadcast_to(x, shape=(size, *shape_of(x)))
                for x, v in zip(values[:n], varies[:n], strict=True)]
        return outs, values[n:], _batched_bwd(bwd, varies[n:], batched[split:], size, axis_name)

    return _named(batched_fwd, fwd)


def _batched_bwd(bwd: Callable[..., Any], varies: Sequence[bool], mapped: Sequence[bool],
                 size: int, axis_name: Any) -> Any:
    def batched_bwd(residuals: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
        split = len(residuals)
        given = [ct is not None for ct in cts]
        kept: list[bool] = []

        def lanes(*xs: Any) -> list[Any]:
            back = iter(xs[split:])
            found = bwd(xs[:split], [next(back) if g else None for g in given])
            kept[:] = [ct is not None for ct in found]
            return [ct for ct in found if ct is not None]

        live = [ct for ct in cts if ct is not None]
        values = iter(batch_flat(lanes, [*residuals, *live], [*varies, *[True] * len(live)],
                                 size, axis_name=axis_name)[0])
        # An argument that all lanes share gets the sum of their cotangents.
        return [None if not k else next(values) if m else reduce_sum(next(values), axes=(0,))
                for k, m in zip(kept, mapped, strict=True)]

    return _named(batched_bwd, bwd)


class CustomVmap(Custom):
    """A function whose batching is `rule.call(size, batched, closed, args) -> outputs, batched`."""

    def linearize(self, tangents: Sequence[Any], *args: Any, program: Function, rule: Rule,
                  name: str) -> tuple[Any, Any]:
        outs = self(*args, program=program, rule=rule, name=name)
        return outs, jvp(program, args, tangents, what=name)[1]

    def batch(self, size: int, batched: Sequence[bool], *args: Any, program: Function, rule: Rule,
              name: str) -> list[Any]:
        at = rule.start
        if any(batched[:at]):  # the rule does not know of these: the function itself does
            return list(batched_function(program, batched, size)(*args))
        outs, varies = rule.call(size, batched[at:], args[rule.hidden:at], args[at:])
        no_strangers(name, outs, args)
        return [x if v else broadcast_to(x, shape=(size, *shape_of(x)))
                for x, v in zip(outs, varies, strict=True)]


def _named(function: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the user's name, which printed programs show."""
    function.__name__ = getattr(original, "__name__", "rule")
    return function


custom_jvp_call = CustomJvp("custom_jvp_call")
custom_vjp_call = CustomVjp("custom_vjp_call")
custom_vjp_linear = CustomVjpLinear()
custom_vmap_call = CustomVmap("custom_vmap_call")
