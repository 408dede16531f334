"""Rearranging axes by patterns that name them, as in the package einops.

    rearrange(images, "n (h p) (w q) c -> n (h w) (p q c)", p=4, q=4)
    reduce(images, "n h w c -> n c", "mean")
    repeat(row, "c -> n c", n=8)

The left side of a pattern names the axes of the array, the right side those of the result. An axis
in parentheses is a group: several named axes in one, the first of them outermost. `...` stands for
any number of axes, 1 for an axis of size 1, () too. Sizes are given by keyword; one in each group
follows from the others. Patterns become reshapes, a transpose and a reduction.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import lucidfn.numpy as lnp
from lucidfn.numpy import einsum

_TOKEN = re.compile(r"\.\.\.|[A-Za-z_][A-Za-z_0-9]*|\d+|[()]|\S")
_ELLIPSIS = "..."
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lnp.sum, "mean": lnp.mean, "max": lnp.max, "min": lnp.min, "prod": lnp.prod,
    "any": lnp.any, "all": lnp.all}

Group = tuple[str, ...] | str  # the names within one axis; or "..." for any number of axes


class Pattern(NamedTuple):
    """Both sides as groups, and the sizes of the axes that are numbers."""

    left: tuple[Group, ...]
    right: tuple[Group, ...]
    numbers: dict[str, int]
    text: str


def rearrange(x: Any, /, pattern: str, **sizes: int) -> Any:
    """x with its axes transposed, split and merged as the pattern says.

    A list of arrays of one shape is an array with a first axis more. EinopsError, a ValueError,
    where the pattern or the sizes do not fit x, or an axis stands on one side only.

    >>> x = lnp.zeros((2, 12, 3))
    >>> rearrange(x, "n (h w) c -> n h w c", h=4).shape
    (2, 4, 3, 3)
    >>> rearrange(x, "n ... -> n (...)").shape
    (2, 36)
    """
    return _run("rearrange", x, pattern, sizes)


def reduce(x: Any, /, pattern: str, reduction: str | Callable[..., Any], **sizes: int) -> Any:
    """`rearrange` in which axes that the right side leaves out are reduced.

    reduction is "sum", "mean", "max", "min", "prod", "any", "all", or a function of an array and
    the axes (a tuple). Errors as in `rearrange`.

    >>> reduce(lnp.arange(8.0).reshape(1, 4, 2, 1), "n (h 2) w c -> n h c", "max").tolist()
    [[[3.0], [7.0]]]
    """
    if isinstance(reduction, str) and reduction not in _REDUCTIONS:
        raise EinopsError(f"reduce got the reduction {reduction!r}, expected one of "
                          f"{list(_REDUCTIONS)} or a function of an array and axes")
    how = (lambda a, axes: _REDUCTIONS[reduction](a, axis=axes)) if isinstance(
        reduction, str) else reduction
    return _run("reduce", x, pattern, sizes, how)


def repeat(x: Any, /, pattern: str, **sizes: int) -> Any:
    """`rearrange` in which the right side has axes more, along which x is repeated.

    Their sizes are given by keyword or stand in the pattern. Errors as in `rearrange`.

    >>> repeat(lnp.asarray([1, 2]), "w -> (w two)", two=2).tolist()
    [1, 1, 2, 2]
    """
    return _run("repeat", x, pattern, sizes)


class EinopsError(ValueError):
    """A pattern that cannot be read, or does not fit the array or the sizes."""


# ------------------------------------------------------------------ reading a pattern

@functools.lru_cache(1024)
def parse(name: str, text: str) -> Pattern:
    """The pattern of the function `name`, read and checked."""
    sides = text.split("->")
    if len(sides) != 2:
        raise EinopsError(f"{name} got the pattern {text!r}, expected 'axes -> axes' with one "
                          "arrow")
    numbers: dict[str, int] = {}
    left, right = [_groups(name, text, side, numbers) for side in sides]
    if any(_ELLIPSIS in group for group in left if group != _ELLIPSIS):
        raise EinopsError(f"{name} got the pattern {text!r}; ... cannot stand in parentheses on "
                          "the left side")
    a, b = _names(left), _names(right)
    lost, new = [k for k in a if k not in b], [k for k in b if k not in a]
    if _ELLIPSIS in new:
        raise EinopsError(f"{name} got the pattern {text!r}; ... must stand on the left side too")
    if name != "repeat" and new:
        raise EinopsError(f"{name} got the pattern {text!r}, whose right side has {_shown(new)} "
                          "more; repeat makes new axes")
    if name != "reduce" and lost:
        raise EinopsError(f"{name} got the pattern {text!r}, whose right side lacks "
                          f"{_shown(lost)}; reduce leaves axes out")
    return Pattern(left, right, numbers, text)


def _groups(name: str, text: str, side: str, numbers: dict[str, int]) -> tuple[Group, ...]:
    groups: list[Group] = []
    inner: list[str] | None = None
    for token in _TOKEN.findall(side):
        if token == "(" and inner is None:
            inner = []
        elif token == ")" and inner is not None:
            groups.append(tuple(inner))
            inner = None
        elif token == _ELLIPSIS and inner is None:
            groups.append(_ELLIPSIS)
        elif token == _ELLIPSIS or token.isidentifier() or token.isdigit():
            own = [token]
            if token.isdigit():  # an axis of its own wherever it stands; 1 is none
                own = [] if int(token) == 1 else [f"{token}#{len(numbers)}"]
                numbers.update({key: int(token) for key in own})
            if inner is None:
                groups.append(tuple(own))
            else:
                inner += own
        else:
            raise EinopsError(f"{name} got the pattern {text!r}, in which {token!r} has no place: "
                              "axes are names, numbers, ... and groups in parentheses")
    names = _names(tuple(groups))
    twice = [k for k in names if names.count(k) > 1]
    if inner is not None or twice:
        raise EinopsError(f"{name} got the pattern {text!r}, " + (
            f"which has {twice[0]!r} twice on one side" if twice else
            "in which a parenthesis stays open"))
    return tuple(groups)


def _names(side: tuple[Group, ...]) -> list[str]:
    return [k for group in side for k in ([group] if isinstance(group, str) else group)]


def _shown(keys: Sequence[str]) -> str:
    return " ".join(repr(key.partition("#")[0]) for key in keys)


# ------------------------------------------------------------------ carrying it out

class _Plan(NamedTuple):
    split: tuple[int, ...]    # the shape with every group apart
    reduced: tuple[int, ...]  # axes of it that go
    order: tuple[int, ...]    # of those that stay, as they stand on the right
    spread: tuple[int, ...]   # the shape with a 1 where an axis is new
    full: tuple[int, ...]     # the same with its size
    shape: tuple[int, ...]    # of the result


def _run(name: str, x: Any, pattern: str, sizes: dict[str, int],
         how: Callable[..., Any] | None = None) -> Any:
    if isinstance(x, (list, tuple)) and any(hasattr(a, "shape") for a in x):
        x = lnp.stack([lnp.asarray(a) for a in x])
    x = lnp.asarray(x)
    for axis, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 0:
            raise EinopsError(f"{name} got {axis}={size!r}, expected the size of an axis")
    plan = _plan(name, pattern, tuple(x.shape), tuple(sorted(sizes.items())))
    out = _shaped(x, plan.split)
    if plan.reduced and how is not None:
        out = how(out, plan.reduced)
    if plan.order != tuple(range(len(plan.order))):
        out = out.transpose(plan.order)
    if plan.full != plan.spread:
        out = lnp.broadcast_to(_shaped(out, plan.spread), plan.full)
    return _shaped(out, plan.shape)


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else x.reshape(shape)


@functools.lru_cache(4096)
def _plan(name: str, text: str, shape: tuple[int, ...],
          given: tuple[tuple[str, int], ...]) -> _Plan:
    pattern = parse(name, text)
    got = f"{name} got an array of shape {list(shape)} for {text!r}"
    left, right = _without_ellipsis(got, pattern, shape)
    sizes = _sizes(got, pattern, left, right, shape, dict(given))
    there, wanted = _names(left), _names(right)
    kept = [k for k in there if k in wanted]
    return _Plan(
        split=tuple([sizes[k] for k in there]),
        reduced=tuple([i for i, k in enumerate(there) if k not in wanted]),
        order=tuple([kept.index(k) for k in wanted if k in kept]),
        spread=tuple([sizes[k] if k in kept else 1 for k in wanted]),
        full=tuple([sizes[k] for k in wanted]),
        shape=tuple([math.prod([sizes[k] for k in group]) for group in right]))


def _without_ellipsis(got: str, pattern: Pattern, shape: tuple[int, ...],
                      ) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """Both sides with a name of its own for each axis that ... stands for."""
    open_ended = _ELLIPSIS in pattern.left
    count = len(pattern.left) - open_ended
    if len(shape) < count or (len(shape) > count and not open_ended):
        raise EinopsError(f"{got}, whose left side has {count} axes{' or more' * open_ended}")
    names = tuple([f"...{i}" for i in range(len(shape) - count)])

    def filled(side: tuple[Group, ...]) -> tuple[Group, ...]:
        out: list[Group] = []
        for group in side:
            if group == _ELLIPSIS:
                out += [(key,) for key in names]
            else:
                parts = [names if key == _ELLIPSIS else (key,) for key in group]
                out.append(tuple([key for part in parts for key in part]))
        return tuple(out)

    return filled(pattern.left), filled(pattern.right)


def _sizes(got: str, pattern: Pattern, left: tuple[Group, ...], right: tuple[Group, ...],
           shape: tuple[int, ...], given: dict[str, int]) -> dict[str, int]:
    """The size of every axis: given, or what is left of its group."""
    strange = [k for k in given if k not in (*_names(left), *_names(right))]
    if strange:
        raise EinopsError(f"{got} and a size of {_shown(strange)}, which does not stand in it")
    sizes = {**given, **pattern.numbers}
    for group, n in zip(left, shape, strict=True):
        unknown = [k for k in group if k not in sizes]
        product = math.prod([sizes[k] for k in group if k in sizes])
        if len(unknown) > 1 or (unknown and product == 0):
            raise EinopsError(f"{got}; the sizes of {_shown(unknown)} do not follow from {n}: give "
                              f"all but one of a group, {unknown[0]}=...")
        if n % product if unknown else n != product:
            raise EinopsError(f"{got}, in which an axis of {n} has the sizes "
                              + ", ".join(f"{_shown([k])} = {sizes.get(k, '?')}" for k in group)
                              if group else f"{got}, which says 1 where the size is {n}")
        for key in unknown:
            sizes[key] = n // product
    for key in _names(right):
        if key not in sizes:
            raise EinopsError(f"{got}; the new axis {key!r} needs a size: {key}=...")
    return sizes


__all__ = ["EinopsError", "einsum", "rearrange", "reduce", "repeat"]
