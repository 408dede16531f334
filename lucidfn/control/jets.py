"""Power series through primitives that contain programs: calls are looked into, and loops and
branches run the power series of their bodies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lucidfn.control.branches import switch
from lucidfn.control.call import call, checkpoint, recompute
from lucidfn.control.custom import custom_jvp_call, custom_vjp_call, custom_vmap_call
from lucidfn.control.scan import scan
from lucidfn.control.steps import step
from lucidfn.control.whiles import loop
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.core.record import record
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import MissingRuleError
from lucidfn.ops.shape import zeros
from lucidfn.transforms import jet_rules as jet_rules  # the rules of the other primitives
from lucidfn.transforms.jet import INSIDE, RULES, Terms, jet
from lucidfn.transforms.programs import derived

Flags = tuple[bool, ...]


def jet_program(program: Program, moving: Flags, degree: int,
                wanted: Flags = ()) -> tuple[Program, Flags]:
    """The program on power series, and which outputs move.

    Inputs that move, and outputs that move or are `wanted`, are followed by their terms.
    """
    def make() -> tuple[Program, Flags]:
        types = [t for v, m in zip(program.inputs, moving, strict=True)
                 for t in [v.type, *[v.type._replace(weak=False)] * (degree * m)]]
        moved: list[bool] = []

        def series(*xs: Any) -> list[Any]:
            given = iter(xs)
            pairs = [(next(given), [next(given) for _ in range(degree)] if m else None)
                     for m in moving]
            outs, terms = jet(program, [p for p, _ in pairs], [t for _, t in pairs], degree,
                              fill=False)
            moved[:] = [t is not None for t in terms]
            found = []
            for i, (x, t) in enumerate(zip(outs, terms, strict=True)):
                found.append(x)
                if t is not None:
                    found += t
                elif wanted and wanted[i]:
                    found += _no_terms(x, degree)
            return found

        return record(series, types, what="jet"), tuple(moved)

    return derived(program, ("jet", moving, degree, wanted), make)


def _no_terms(x: Any, degree: int) -> Terms:
    t = type_of(x)
    return [zeros(t.shape, t.dtype)] * degree


def spread(primals: Sequence[Any], terms: Sequence[Terms | None], moving: Sequence[bool],
           degree: int) -> list[Any]:
    """Operands for `jet_program`: each that moves is followed by its terms."""
    found = []
    for x, t, m in zip(primals, terms, moving, strict=True):
        found.append(x)
        if m:
            found += [zeros(shape_of(x), x.dtype)] * degree if t is None else t
    return found


def gather(outs: Sequence[Any], moved: Sequence[bool],
           degree: int) -> tuple[list[Any], list[Terms | None]]:
    """(outputs, terms of each) from what a `jet_program` gives."""
    got: Iterator[Any] = iter(outs)
    pairs = [(next(got), [next(got) for _ in range(degree)] if m else None) for m in moved]
    return [p for p, _ in pairs], [t for _, t in pairs]


def _carried(program: Program, moving: Sequence[bool], carries: tuple[int, int],
             degree: int) -> tuple[Flags, Program, Flags]:
    """(operands that move, the body on power series, outputs that move), carries alike in both."""
    n_consts, n_carry = carries
    flags = tuple(moving)
    while True:
        moved = jet_program(program, flags, degree)[1]
        start = flags[n_consts:n_consts + n_carry]
        both = tuple([a or b for a, b in zip(start, moved, strict=False)])
        if both == start:
            break
        flags = (*flags[:n_consts], *both, *flags[n_consts + n_carry:])
    wanted = (*both, *moved[n_carry:])
    return flags, jet_program(program, flags, degree, wanted)[0], wanted


def _counts(flags: Flags, carries: tuple[int, int], degree: int) -> tuple[int, int]:
    n_consts, n_carry = carries
    return (n_consts + degree * sum(flags[:n_consts]),
            n_carry + degree * sum(flags[n_consts:n_consts + n_carry]))


def of_scan(primitive: Primitive, degree: int, primals: Sequence[Any],
            terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    carries = params["carries"]
    flags, body, moved = _carried(params["program"], [t is not None for t in terms], carries,
                                  degree)
    outs = primitive(*spread(primals, terms, flags, degree),
                     **{**params, "program": body, "carries": _counts(flags, carries, degree)})
    return gather(outs, moved, degree)


def of_loop(primitive: Primitive, degree: int, primals: Sequence[Any],
            terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    program, cond, carries = params["program"], params["cond"], params["carries"]
    first = sum(carries)
    if len(primals) - 1 > first or len(program.outputs) > carries[1]:
        raise MissingRuleError("jet has no rule for the derivative of a while_loop; take the jet "
                               "first and the derivative of it")
    flags, body, moved = _carried(program, [t is not None for t in terms[1:]], carries, degree)
    types = [t for v, f in zip(program.inputs, flags, strict=True)
             for t in [v.type, *[v.type._replace(weak=False)] * (degree * f)]]
    test = cond if cond is None else derived(cond, ("jet test", flags, degree), lambda: record(
        lambda *xs: cond(*gather(xs, flags, degree)[0]), types, what="jet"))
    steps, *outs = primitive(
        primals[0], *spread(primals[1:], terms[1:], flags, degree),
        **{**params, "program": body, "cond": test, "carries": _counts(flags, carries, degree)})
    found, series = gather(outs, moved, degree)
    return [steps, *found], [None, *series]


def of_switch(primitive: Primitive, degree: int, primals: Sequence[Any],
              terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    moving = tuple([t is not None for t in terms[1:]])
    branches = params["branches"]
    moved = tuple([any(m) for m in zip(*[jet_program(b, moving, degree)[1] for b in branches],
                                       strict=True)])
    forms = tuple([jet_program(b, moving, degree, moved)[0] for b in branches])
    outs = primitive(primals[0], *spread(primals[1:], terms[1:], moving, degree), branches=forms)
    return gather(outs, moved, degree)


INSIDE.update(dict.fromkeys(
    (call, checkpoint, recompute, step, custom_jvp_call, custom_vjp_call, custom_vmap_call),
    lambda program, **_: program))
RULES.update({scan: of_scan, loop: of_loop, switch: of_switch})
