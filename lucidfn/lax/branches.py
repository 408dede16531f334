"""Choosing what runs by a value: cond and switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.arguments import describe_leaf, name_of, raw_leaf
from lucidfn.api.bodies import Body, Operands, at_line, share_consts, strong, trace_body, tree_paths
from lucidfn.array import is_array_like
from lucidfn.config import settings
from lucidfn.control.branches import switch as switch_primitive
from lucidfn.core.record import record
from lucidfn.core.trace import Tracer, shape_of
from lucidfn.tree import explain_mismatch
from lucidfn.types import ArrayType, bool_, int32, kind_of, result_type

_MISSING: Any = object()


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any,
         operand: Any = _MISSING, linear: Any = None) -> Any:
    """`true_fun(*operands)` where `pred` holds, else `false_fun(*operands)`; only one of them runs.

    `pred` is a boolean without axes (of a number, whether it is not 0). Both functions take the
    operands, trees of arrays, and return trees of the same structure, shapes and dtypes.
    `operand=x` is another way to write a single operand; `linear` is accepted and has no effect.

    Under `vmap` with a predicate for each row, each function runs on the rows that take it, and
    not on the others: first `false_fun`, then `true_fun`, each on its rows in their order (rows go
    through together in groups, so that callbacks of one operation run for a whole group before
    those of the next operation).

    TypeError for a predicate that is no boolean scalar, and where the outputs differ (with paths).

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> f = lambda x: lf.lax.cond(x > 0, lnp.log, lambda x: 0.0 * x, x)
    >>> lf.vmap(lf.grad(f))(lnp.array([-1.0, 4.0])).tolist()
    [0.0, 0.25]
    """
    if not callable(true_fun) or not callable(false_fun):
        wrong = true_fun if not callable(true_fun) else false_fun
        raise TypeError(
            f"{at_line('cond')}: the two branches must be functions, got {describe_leaf(wrong)}; "
            "write lax.cond(pred, true_fun, false_fun, *operands)"
            + (", or lnp.where(pred, a, b) to choose between two values"
               if is_array_like(wrong) else ""))
    operands = _with_operand("cond", operands, operand)
    index = _predicate(pred)
    return _choose("cond", index, [false_fun, true_fun], ["false_fun", "true_fun"], operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any,
           operand: Any = _MISSING, linear: Any = None) -> Any:
    """`branches[index](*operands)`; only that branch runs. An index out of range is clamped.

    `index` is an integer without axes. All branches take the operands, trees of arrays, and return
    trees of the same structure, shapes and dtypes. Under `vmap` with an index for each row, each
    branch runs on the rows that take it, in the order of the branches.

    TypeError for an index that is no integer scalar, for branches that are no functions, and where
    outputs differ (with paths); ValueError for no branches.

    >>> import lucidfn as lf
    >>> float(lf.lax.switch(1, [lambda x: x, lambda x: -x, lambda x: 2 * x], 3.0))
    -3.0
    """
    if callable(branches) or not isinstance(branches, Sequence):
        raise TypeError(f"{at_line('switch')}: branches must be a list of functions, got "
                        f"{describe_leaf(branches)}; write lax.switch(index, [f, g, h], *operands)")
    if not branches:
        raise ValueError(f"{at_line('switch')}: got no branches; give at least one function")
    for i, f in enumerate(branches):
        if not callable(f):
            raise TypeError(f"{at_line('switch')}: branches[{i}] is {describe_leaf(f)}, which is "
                            "not a function; give lambda: value to return a value")
    operands = _with_operand("switch", operands, operand)
    if not is_array_like(index):
        raise TypeError(f"{at_line('switch')}: the index must be an integer, got "
                        f"{describe_leaf(index)}")
    raw = raw_leaf(index)
    if shape_of(raw) or kind_of(raw.dtype) != 1:
        fix = ("use lax.cond for two branches" if raw.dtype == bool_ else
               "use lax.switch under vmap for many indices" if shape_of(raw) else
               "convert it: .astype(int)")
        raise TypeError(f"{at_line('switch')}: the index must be an integer without axes, got "
                        f"{describe_leaf(index)}; {fix}")
    if len(branches) == 1:
        return branches[0](*operands)
    raw = ops.clamp(np.zeros((), raw.dtype), raw, np.asarray(_most(raw, len(branches)), raw.dtype))
    raw = raw if raw.dtype == int32 else ops.convert(raw, dtype=int32)
    return _choose("switch", raw, branches, [f"branches[{i}]" for i in range(len(branches))],
                   operands)


def _most(raw: Any, count: int) -> int:
    """The last branch that an index of this dtype can name."""
    return min(count - 1, int(np.iinfo(raw.dtype).max))


def _with_operand(what: str, operands: tuple[Any, ...], operand: Any) -> tuple[Any, ...]:
    if operand is _MISSING:
        return operands
    if operands:
        raise TypeError(f"{at_line(what)}: got operands by position and operand= too; give all by "
                        "position")
    return (operand,)


def _predicate(pred: Any) -> Any:
    """The index of the branch, false first: a raw int32."""
    if not is_array_like(pred):
        raise TypeError(f"{at_line('cond')}: the predicate must be a boolean, got "
                        f"{describe_leaf(pred)}")
    raw = raw_leaf(pred)
    if shape_of(raw) or kind_of(raw.dtype) > 3:
        fix = ("reduce it: lnp.any(pred) or lnp.all(pred); to choose element by element use "
               "lnp.where(pred, a, b), to run f or g for each row lf.vmap") if shape_of(raw) \
            else "compare it with something"
        raise TypeError(f"{at_line('cond')}: the predicate must be a boolean without axes, got "
                        f"{describe_leaf(pred)}; {fix}")
    if raw.dtype != bool_:
        raw = ops.ne(raw, np.zeros((), raw.dtype))
    return ops.convert(raw, dtype=int32)


def _choose(what: str, index: Any, funs: Sequence[Callable[..., Any]], labels: Sequence[str],
            operands: tuple[Any, ...]) -> Any:
    if settings().disable_jit and not isinstance(index, Tracer):
        return funs[int(index)](*operands)
    given = [Operands.of(x, what, f"operands[{i}]") for i, x in enumerate(operands)]
    bodies = [trace_body(f, given, what) for f in funs]
    bodies = _alike(what, bodies, [f"{label} {name_of(f)}" if what == "cond" else label
                                   for label, f in zip(labels, funs, strict=True)])
    consts, programs = share_consts(bodies)
    raws = [r for g in given for r in g.raws]
    return bodies[0].rebuild(switch_primitive(index, *consts, *raws, branches=tuple(programs)))


def _alike(what: str, bodies: Sequence[Body], labels: Sequence[str]) -> list[Body]:
    """The bodies with outputs of the same types, where weak ones allow it; else TypeError."""
    first = bodies[0]
    for body, label in zip(bodies, labels, strict=True):
        if body.treedef != first.treedef:
            raise TypeError(
                f"{at_line(what)}: the branches must return the same structure; {label} and "
                f"{labels[0]} do not: " + explain_mismatch(body.treedef, first.treedef,
                                                           (label, labels[0])))
    joined, wrong = [], []
    for path, *types in zip(tree_paths(first.treedef, "output"), *[b.types for b in bodies],
                            strict=True):
        t = _common(types)
        joined.append(t)
        if t is None:
            rows = [f"{path}  {strong(types[0])}  {labels[0]}"]
            rows += [f"{path}  {strong(u)}  {label}" for u, label in zip(types, labels, strict=True)
                     if u[:2] != types[0][:2]]
            wrong += rows
    if wrong:
        fix = "convert one of them with .astype(...)" if all(
            len({t.shape for t in types}) == 1
            for types in zip(*[b.types for b in bodies], strict=True)) else \
            "give them the same shape (lnp.broadcast_to, .reshape)"
        raise TypeError("\n  ".join([f"{at_line(what)}: the branches must return the same types; "
                                     f"{fix}", *wrong]))
    return [_converted(body, joined) for body in bodies]  # type: ignore[arg-type]


def _common(types: Sequence[ArrayType]) -> ArrayType | None:
    """The type that all outputs have, once weak ones are converted; None if there is none."""
    if any(t.shape != types[0].shape for t in types):
        return None
    strongly = {t.dtype for t in types if not t.weak}
    if len(strongly) > 1:
        return None
    if all(t.dtype == types[0].dtype for t in types):
        return ArrayType(types[0].shape, types[0].dtype, not strongly)
    dtype, weak = result_type(list(types))
    if strongly and dtype not in strongly:
        return None
    return ArrayType(types[0].shape, dtype, weak)


def _converted(body: Body, types: Sequence[ArrayType]) -> Body:
    if all(a.dtype == b.dtype for a, b in zip(body.types, types, strict=True)):
        return replace(body, types=list(types))
    key = ("converted", tuple([t.dtype for t in types]))
    made = body.program.derived.get(key)
    if made is None:
        made = body.program.derived[key] = record(
            lambda *xs: [x if x.dtype == t.dtype else ops.convert(x, dtype=t.dtype)
                         for x, t in zip(body.program(*xs), types, strict=True)],
            body.program.input_types)
    return replace(body, program=made, types=list(types))


__all__ = ["cond", "switch"]
