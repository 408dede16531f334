"""Loops over the rows of arrays: scan, map, associative_scan, fori_loop."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

from lucidfn import ops, tree
from lucidfn.api.bodies import (
    Body,
    Operands,
    at_line,
    check_carry,
    promoted_carry,
    trace_body,
)
from lucidfn.api.vmap import vmap
from lucidfn.array import unwrap, wrap
from lucidfn.config import settings
from lucidfn.control.scan import scan as scan_primitive
from lucidfn.core.trace import Tracer, shape_of
from lucidfn.lax.whiles import dynamic_fori
from lucidfn.types import ArrayType, ShapeDtypeStruct, default_dtype_of, kind_of


def scan(f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None,
         length: int | None = None, reverse: bool = False, unroll: int | bool = 1,
         _split_transpose: bool = False) -> tuple[Any, Any]:
    """Run `carry, y = f(carry, x)` for each row x of `xs`; returns the last carry and the ys.

    `init` (the carry), `xs` and `y` are trees of arrays; the arrays of `xs` have one first axis,
    of size `length`, and ys are stacked along a new first axis. With `xs=None`, `length` says how
    often f runs. With `reverse` the steps go from the last row to the first, and each y stays at
    the place of its x. f is recorded once, whatever the length; it must return the carry with the
    shapes and dtypes that it gets (a Python number as carry is promoted to what f returns).
    `unroll` and `_split_transpose` are accepted, and change nothing.

    TypeError for a carry that changes (with the paths), ValueError for a negative length or xs of
    unequal lengths.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> total, sums = lf.lax.scan(lambda c, x: (c + x, c + x), 0.0, lnp.array([1.0, 2.0, 3.0]))
    >>> float(total), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])
    """
    carry, rows = Operands.of(init, "scan", "init"), Operands.of(xs, "scan", "xs")
    length = scan_length(rows, length)
    if settings().disable_jit:
        return _scan_in_python(f, init, rows, length, reverse)
    return run_scan(f, carry, rows, length, reverse, unroll, "scan")


def run_scan(f: Callable[[Any, Any], tuple[Any, Any]], carry: Operands, rows: Operands,
             length: int, reverse: bool, unroll: int | bool, what: str) -> tuple[Any, Any]:
    """`scan` of operands, as messages call it `what`."""
    row = tree.unflatten(rows.treedef, [ShapeDtypeStruct(t.shape[1:], t.dtype, weak=t.weak)
                                        for t in rows.types])
    while True:
        body = trace_body(f, [carry, row], what)
        count = _check_pair(body, carry, what)
        promoted = promoted_carry(carry, body.types[:count])
        if promoted is None:
            break
        carry = promoted
    check_carry(what, body, carry, _children(body)[0], body.types[:count])
    outs = scan_primitive(
        *body.consts, *carry.raws, *rows.raws, program=body.program,
        carries=(len(body.consts), count), length=length, reverse=bool(reverse),
        unroll=_unroll(unroll, length, what))
    weaks = [a.weak and b.weak for a, b in zip(carry.types, body.types, strict=False)]
    values = [wrap(x, w) for x, w in
              zip(outs, [*weaks, *[t.weak for t in body.types[count:]]], strict=True)]
    return tuple(tree.unflatten(body.treedef, values))  # type: ignore[return-value]


def _children(body: Body) -> tuple[Any, ...]:
    return body.children() or ()


def _check_pair(body: Body, carry: Operands, what: str) -> int:
    """The number of leaves of the carry; TypeError unless a pair (carry, y) was returned."""
    parts = _children(body)
    if len(parts) != 2:
        got = f"{len(parts)} values" if parts else "no tuple"
        raise TypeError(f"{at_line(what)}: {body.name} must return a pair (carry, y), got {got}; "
                        "return (carry, None) if there is no y")
    if parts[0] != carry.treedef:
        check_carry(what, body, carry, parts[0], [])
    return parts[0].num_leaves


def scan_length(rows: Operands, length: int | None, what: str = "scan") -> int:
    """How many rows; ValueError unless all arrays, and `length`, agree."""
    if length is not None:
        try:
            length = operator.index(length)
        except TypeError:
            raise TypeError(f"{at_line(what)}: length must be an integer, got "
                            f"{type(length).__name__}; the number of steps is part of the program"
                            ) from None
        if length < 0:
            raise ValueError(f"{at_line(what)}: got length={length}; it must not be negative")
    sizes = []
    for path, t in zip(rows.paths(), rows.types, strict=True):
        if not t.shape:
            raise ValueError(f"{at_line(what)}: {path} is {t}, which has no axis to go along; "
                             "close over what is the same in every step")
        sizes.append((path, t.shape[0]))
    if length is None and not sizes:
        raise ValueError(f"{at_line(what)}: without xs it needs length=, the number of steps")
    n = length if length is not None else sizes[0][1]
    wrong = next(((path, size) for path, size in sizes if size != n), None)
    if wrong is not None:
        other = f"length={n}" if length is not None else f"{sizes[0][0]} has {n}"
        raise ValueError(f"{at_line(what)}: {wrong[0]} has {wrong[1]} rows, but {other}; "
                         "all must be equal")
    return n


def _unroll(unroll: int | bool, length: int, what: str) -> int:
    if unroll is True:
        return max(length, 1)
    steps = 1 if unroll is False else operator.index(unroll)
    if steps < 1:
        raise ValueError(f"{at_line(what)}: unroll must be a positive integer or a bool, got "
                         f"{unroll!r}")
    return steps


def _scan_in_python(f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, rows: Operands,
                    length: int, reverse: bool) -> tuple[Any, Any]:
    """Under `disable_jit`: f is called at each step, on values."""
    ys = []
    for i in reversed(range(length)) if reverse else range(length):
        row = rows.rebuild([_row(x, i) for x in rows.raws])
        carry, y = f(carry, row)
        ys.append(y)
    if not ys:
        raise ValueError(f"{at_line('scan')}: no steps to run under disable_jit: the types of the "
                         "ys are not known")
    return carry, tree.map(lambda *parts: wrap(ops.concatenate(
        *[ops.reshape(_array(p), shape=(1, *shape_of(_array(p)))) for p in parts], axis=0)),
        *(ys[::-1] if reverse else ys))


def _array(x: Any) -> Any:
    return Operands.of(x, "scan", "y").raws[0]


def _row(x: Any, i: int) -> Any:
    return ops.reshape(ops.slice_axis(x, 0, i, i + 1), shape=shape_of(x)[1:])


# ------------------------------------------------------------------ map

def map(f: Callable[..., Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """f(x) for each row x of the arrays of `xs`, one after another; results stacked.

    With `batch_size`, so many rows at once, by `vmap`: as quick as vmap, with the memory of one
    batch.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.lax.map(lambda x: x * x, lnp.arange(4.0)).tolist()
    [0.0, 1.0, 4.0, 9.0]
    """
    if batch_size is None:
        @functools.wraps(f)
        def step(_: None, x: Any) -> tuple[None, Any]:
            return None, f(x)

        rows = Operands.of(xs, "map", "xs")
        return run_scan(step, Operands.of(None, "map", ""), rows, scan_length(rows, None, "map"),
                        False, 1, "map")[1]
    if batch_size < 1:
        raise ValueError(f"{at_line('map')}: batch_size must be positive, got {batch_size}")
    rows = Operands.of(xs, "map", "xs")
    n = scan_length(rows, None, "map")
    whole = n // batch_size
    together = vmap(f)
    cut = lambda a, b: rows.rebuild([ops.slice_axis(x, 0, a, b) for x in rows.raws])
    parts = []
    if whole:
        split = lambda x: wrap(ops.reshape(unwrap(x), shape=(whole, batch_size, *x.shape[1:])))
        merge = lambda x: wrap(ops.reshape(unwrap(x), shape=(whole * batch_size, *x.shape[2:])))
        parts.append(tree.map(merge, map(together, tree.map(split, cut(0, whole * batch_size)))))
    if n % batch_size or not whole:
        parts.append(together(cut(whole * batch_size, n)))
    if len(parts) == 1:
        return parts[0]
    return tree.map(lambda a, b: wrap(ops.concatenate(unwrap(a), unwrap(b), axis=0)), *parts)


# ------------------------------------------------------------------ associative_scan

def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False,
                     axis: int = 0) -> Any:
    """All prefixes combined by an associative function of two trees, in O(log n) calls.

    out[i] = fn(.. fn(fn(x[0], x[1]), x[2]) .., x[i]) along `axis` of the arrays of `elems`; with
    `reverse`, from the end. fn combines many elements at once, along `axis` too (Blelloch 1990,
    "Prefix sums and their applications").

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.lax.associative_scan(lnp.multiply, lnp.array([1, 2, 3, 4])).tolist()
    [1, 2, 6, 24]
    """
    if not callable(fn):
        raise TypeError(f"{at_line('associative_scan')}: got {type(fn).__name__} for the function "
                        "that combines two elements")
    operands = Operands.of(elems, "associative_scan", "elems")
    if not operands.raws:
        return elems
    axes = []
    for path, t in zip(operands.paths(), operands.types, strict=True):
        if not -len(t.shape) <= axis < len(t.shape):
            raise ValueError(f"{at_line('associative_scan')}: {path} is {t}, which has no axis "
                             f"{axis}")
        axes.append(axis % len(t.shape))
    sizes = {t.shape[a] for t, a in zip(operands.types, axes, strict=True)}
    if len(sizes) > 1:
        raise ValueError(f"{at_line('associative_scan')}: the arrays have sizes {sorted(sizes)} "
                         f"along axis {axis}; they must be equal")
    scanner = _Prefixes(fn, operands, axes)
    flip = lambda xs: [ops.flip(x, axes=(a,)) for x, a in zip(xs, axes, strict=True)]
    raws = flip(operands.raws) if reverse else operands.raws
    outs = scanner.scan(raws, sizes.pop())
    return operands.rebuild(flip(outs) if reverse else outs)


class _Prefixes:
    """The recursion of associative_scan on raw leaves."""

    def __init__(self, fn: Callable[[Any, Any], Any], operands: Operands, axes: list[int]):
        self.fn, self.operands, self.axes = fn, operands, axes

    def cut(self, xs: list[Any], start: int, stop: int, stride: int = 1) -> list[Any]:
        out = []
        for x, axis in zip(xs, self.axes, strict=True):
            shape = shape_of(x)
            starts, stops, strides = [0] * len(shape), list(shape), [1] * len(shape)
            starts[axis], stops[axis], strides[axis] = start, max(start, stop), stride
            out.append(ops.slice_(x, start=tuple(starts), stop=tuple(stops),
                                  stride=tuple(strides)))
        return out

    def combined(self, a: list[Any], b: list[Any]) -> list[Any]:
        out = self.fn(self.operands.rebuild(a), self.operands.rebuild(b))
        found = Operands.of(out, "associative_scan", "the result")
        if found.treedef != self.operands.treedef:
            raise TypeError(f"{at_line('associative_scan')}: the function returned another tree "
                            "than its arguments: " + tree.explain_mismatch(
                                found.treedef, self.operands.treedef, ("returned", "elems")))
        for path, x, y in zip(self.operands.paths(), found.raws, a, strict=True):
            if shape_of(x) != shape_of(y):
                raise TypeError(f"{at_line('associative_scan')}: the function returned shape "
                                f"{shape_of(x)} for {path} of shape {shape_of(y)}; it must combine "
                                "elements one by one")
        return found.raws

    def scan(self, xs: list[Any], n: int) -> list[Any]:
        if n < 2:
            return xs
        # Pairs, then the prefixes of pairs: these are the odd places of the result.
        pairs = self.combined(self.cut(xs, 0, n - 1, 2), self.cut(xs, 1, n, 2))
        odd = self.scan(pairs, n // 2)
        before = odd if n % 2 else self.cut(odd, 0, n // 2 - 1)
        first, even = self.cut(xs, 0, 1), None
        if n > 2:
            even = self.combined(before, self.cut(xs, 2, n, 2))
        return [self.woven(x if y is None else ops.concatenate(x, y, axis=axis), z, axis)
                for x, y, z, axis in zip(first, even or [None] * len(first), odd, self.axes,
                                         strict=True)]

    @staticmethod
    def woven(even: Any, odd: Any, axis: int) -> Any:
        """Alternately an element of `even` and one of `odd`; `even` may have one more."""
        many, few = shape_of(even)[axis], shape_of(odd)[axis]
        shape = shape_of(odd)
        paired = (*shape[:axis + 1], 1, *shape[axis + 1:])
        both = ops.concatenate(ops.reshape(ops.slice_axis(even, axis, 0, few), shape=paired),
                               ops.reshape(odd, shape=paired), axis=axis + 1)
        out = ops.reshape(both, shape=(*shape[:axis], 2 * few, *shape[axis + 1:]))
        if many == few:
            return out
        return ops.concatenate(out, ops.slice_axis(even, axis, few, many), axis=axis)


# ------------------------------------------------------------------ fori_loop

def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any, *,
              unroll: int | bool | None = None, checkpoint_every: int | None = None) -> Any:
    """Run `carry = body_fun(i, carry)` for i = lower, .., upper - 1; returns the last carry.

    Bounds that are Python integers (or known arrays) make a `scan`; bounds that are traced make a
    loop whose length is known only when it runs. Both can be differentiated in either mode. The
    carry is a tree of arrays whose shapes and dtypes stay. `checkpoint_every=k` bounds the memory
    of reverse mode, as in `while_loop`.

    >>> import lucidfn as lf
    >>> float(lf.lax.fori_loop(0, 10, lambda i, x: x + i, 0.0))
    45.0
    """
    bounds = [_bound(lower, "lower"), _bound(upper, "upper")]
    carry = Operands.of(init_val, "fori_loop", "init_val")
    traced = any(isinstance(b, Tracer) for b in bounds)
    if traced or (checkpoint_every is not None and not settings().disable_jit):
        return dynamic_fori(bounds[0], bounds[1], body_fun, carry, checkpoint_every)
    length = max(bounds[1] - bounds[0], 0)
    if settings().disable_jit:
        for i in range(bounds[0], bounds[0] + length):
            init_val = body_fun(i, init_val)
        return init_val

    @functools.wraps(body_fun)
    def step(carry: Any, i: Any) -> tuple[Any, None]:
        return body_fun(i, carry), None

    dtype = default_dtype_of(int)
    index = ops.iota(shape=(length,), dtype=dtype, axis=0)
    if bounds[0]:
        index = ops.add(index, bounds[0])
    rows = Operands([index], [ArrayType((length,), dtype, True)], tree.structure(0), "i")
    return run_scan(step, carry, rows, length, False, 1 if unroll is None else unroll,
                    "fori_loop")[0]


def _bound(x: Any, name: str) -> Any:
    """A bound of fori_loop: an int, or a tracer of an integer."""
    raw = unwrap(x)
    if type(raw) is int:
        return raw
    if shape_of(raw) or not hasattr(raw, "dtype") or kind_of(raw.dtype) != 1:
        raise TypeError(f"{at_line('fori_loop')}: {name} must be an integer without axes, got "
                        f"{x!r:.60}")
    return raw if isinstance(raw, Tracer) else int(raw)


__all__ = ["associative_scan", "fori_loop", "map", "scan"]
