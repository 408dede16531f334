"""Loops whose number of steps is known only when they run: while_loop, and fori_loop's."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.arguments import raw_leaf
from lucidfn.api.bodies import (
    Body,
    Operands,
    at_line,
    check_carry,
    promoted_carry,
    share_consts,
    strong,
    trace_body,
)
from lucidfn.array import wrap
from lucidfn.config import settings
from lucidfn.control.call import checkpoint
from lucidfn.control.whiles import FOREVER, loop
from lucidfn.core.ir import Program
from lucidfn.core.record import record
from lucidfn.transforms.programs import derived
from lucidfn.types import ArrayType, ShapeDtypeStruct, bool_, default_dtype_of, int32


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, *,
               checkpoint_every: int | None = None) -> Any:
    """Run `carry = body_fun(carry)` as long as `cond_fun(carry)` holds; returns the last carry.

    The carry starts as `init_val`, a tree of arrays whose shapes and dtypes stay (a Python number
    is promoted to what body_fun returns); `cond_fun` returns a boolean without axes. The loop can
    be differentiated in forward and in reverse mode. Reverse mode keeps what the derivative needs
    at each of the n steps; with `checkpoint_every=k` it keeps the carry after every k steps, and
    runs k steps again at a time: memory for n / k carries and k steps, for one more forward pass.

    Under `vmap` each row stops by itself: body_fun runs on the rows that go on only.

    TypeError for a carry that changes (with the paths), and for a condition that is no boolean
    scalar.

    >>> import lucidfn as lf
    >>> f = lambda x: lf.lax.while_loop(lambda c: c < 100.0, lambda c: c * c, x)
    >>> float(f(3.0)), float(lf.grad(f)(3.0))
    (6561.0, 17496.0)
    """
    every = _every(checkpoint_every, "while_loop")
    if settings().disable_jit:
        while cond_fun(init_val):
            init_val = body_fun(init_val)
        return init_val
    carry = Operands.of(init_val, "while_loop", "init_val")
    while True:
        body = trace_body(body_fun, [carry], "while_loop")
        promoted = promoted_carry(carry, body.types) if body.treedef == carry.treedef else None
        if promoted is None:
            break
        carry = promoted
    check_carry("while_loop", body, carry, body.treedef, body.types)
    test = trace_body(cond_fun, [carry], "while_loop")
    _check_test(test)
    consts, (test_program, program) = share_consts([test, body])
    outs = run_loop(consts, carry.raws, program, test_program, every)
    return carry.rebuild(outs, _weak(carry.types, body.types))


def run_loop(consts: Sequence[Any], carry: Sequence[Any], program: Program, cond: Program,
             every: int | None) -> list[Any]:
    """The last carry of a loop, checkpointed if asked for."""
    carries = (len(consts), len(carry))
    if every is not None:
        program = derived(program, ("every", every, cond, carries),
                          lambda: _some_steps(program, cond, carries, every))
    outs = loop(FOREVER, *consts, *carry, program=program, cond=cond, carries=carries,
                reverse=False)
    return outs[1:]


def _some_steps(program: Program, cond: Program, carries: tuple[int, int], every: int) -> Program:
    """A body of at most `every` steps, whose derivative runs them again."""
    limit = np.asarray(every, np.int32)
    types = [t._replace(weak=False) for t in program.input_types]
    inner = record(lambda *xs: loop(limit, *xs, program=program, cond=cond, carries=carries,
                                    reverse=False)[1:], types)
    return record(lambda *xs: checkpoint(*xs, program=inner, name="while_loop"), types)


def _check_test(test: Body) -> None:
    """TypeError unless the condition gives one boolean."""
    if len(test.types) == 1 and test.types[0][:2] == ((), bool_) and test.treedef.num_nodes == 1:
        return
    what = f"{at_line('while_loop')}: cond_fun {test.name} must return a boolean without axes, got "
    if len(test.types) != 1 or test.treedef.num_nodes > 1:
        raise TypeError(f"{what}{test.treedef}; return one comparison, such as carry[0] < 10")
    t = test.types[0]
    fix = "reduce it with lnp.any or lnp.all" if t.shape else "compare it, as in x != 0"
    raise TypeError(f"{what}{strong(t)}; {fix}")


def _weak(ins: Sequence[ArrayType], outs: Sequence[ArrayType]) -> list[bool]:
    return [a.weak and b.weak for a, b in zip(ins, outs, strict=True)]


def _every(every: Any, what: str) -> int | None:
    if every is None:
        return None
    try:
        steps = operator.index(every)
    except TypeError:
        steps = 0
    if steps < 1:
        raise ValueError(f"{at_line(what)}: checkpoint_every must be a positive integer, got "
                         f"{every!r}")
    return steps


def dynamic_fori(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], carry: Operands,
                 checkpoint_every: int | None = None) -> Any:
    """`fori_loop` where a bound (a raw integer or tracer) is not known while tracing."""
    every = _every(checkpoint_every, "fori_loop")
    dtypes = [x.dtype for x in (lower, upper) if hasattr(x, "dtype")]
    dtype = max(dtypes, key=lambda d: d.itemsize) if dtypes else default_dtype_of(int)
    start, stop = [_as(raw_leaf(wrap(x)) if not hasattr(x, "dtype") else x, dtype)
                   for x in (lower, upper)]
    index = ShapeDtypeStruct((), dtype)
    while True:
        body = trace_body(body_fun, [index, carry], "fori_loop")
        promoted = promoted_carry(carry, body.types) if body.treedef == carry.treedef else None
        if promoted is None:
            break
        carry = promoted
    check_carry("fori_loop", body, carry, body.treedef, body.types)
    n = len(body.consts)
    program, test = derived(body.program, ("fori", n), lambda: _counting(body.program, n))
    if every is not None:
        outs = run_loop([*body.consts, stop], [start, *carry.raws], program, test, every)
    else:
        steps = ops.max(ops.sub(stop, start), np.zeros((), dtype))
        outs = loop(_as(steps, int32), *body.consts, stop, start, *carry.raws, program=program,
                    cond=None, carries=(n + 1, 1 + len(carry.raws)), reverse=False)[1:]
    return carry.rebuild(outs[1:], _weak(carry.types, body.types))


def _as(x: Any, dtype: Any) -> Any:
    return x if x.dtype == dtype else ops.convert(x, dtype=dtype)


def _counting(program: Program, n: int) -> tuple[Program, Program]:
    """(the body with the index counted, whether it goes on): consts, stop | index, carry."""
    types = [t._replace(weak=False) for t in program.input_types]
    index = types[n]
    ins = [*types[:n], index, *types[n:]]
    body = record(lambda *xs: [ops.add(xs[n + 1], 1), *program(*xs[:n], *xs[n + 1:])], ins)
    return body, record(lambda *xs: [ops.lt(xs[n + 1], xs[n])], ins)


__all__ = ["dynamic_fori", "while_loop"]
