"""The plan of an einsum: its subscripts read, checked against the shapes, and put in order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Labels = tuple[int, ...]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Labels of the axes that an ellipsis stands for, counted from the last one: above any letter's.
ELLIPSIS = 1 << 21


class Plan(NamedTuple):
    """Labels of each operand and of the output, and which operands meet, in order."""

    inputs: tuple[Labels, ...]
    output: Labels
    path: tuple[tuple[int, ...], ...]
    direct: tuple[Any, Any, Labels] | None = None  # contract, batch, order: one dot_general


def read_sublists(args: Sequence[Any]) -> tuple[list[Any], str]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) -> operands and subscripts as a string."""
    operands, lists = list(args[:len(args) // 2 * 2:2]), list(args[1::2])
    text = ",".join(map(_sublist_text, lists))
    if len(args) % 2:
        text += "->" + _sublist_text(args[-1])
    return operands, text


def _sublist_text(labels: Any) -> str:
    out = ""
    for label in labels:
        if label is Ellipsis:
            out += "..."
            continue
        try:
            out += LETTERS[label.__index__()]
        except (AttributeError, IndexError):
            raise ValueError(f"einsum: a sublist holds integers from 0 to 51 and Ellipsis, got "
                             f"{label!r}") from None
    return out


@functools.lru_cache(maxsize=1024)
def plan(subscripts: str, shapes: tuple[tuple[int, ...], ...], optimize: Any) -> Plan:
    """Read subscripts for operands of these shapes."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum {subscripts!r} has {len(terms)} terms for {len(shapes)} operands")
    inputs = tuple(_labels(term, len(shape), subscripts)
                   for term, shape in zip(terms, shapes, strict=True))
    dots = max((sum(label >= ELLIPSIS for label in labels) for labels in inputs), default=0)
    if arrow:
        output = _output_labels(right, dots, inputs, subscripts)
    else:
        seen = [label for labels in inputs for label in labels]
        once = sorted(k for k in set(seen) if seen.count(k) == 1 and k < ELLIPSIS)
        output = (*_dots(dots), *once)
    sizes = _sizes(inputs, shapes, subscripts)
    return Plan(inputs, output, _path(inputs, output, sizes, optimize),
                _direct(inputs, shapes, output, sizes))


def _direct(inputs: tuple[Labels, ...], shapes: tuple[tuple[int, ...], ...], output: Labels,
            sizes: dict[int, int]) -> tuple[Any, Any, Labels] | None:
    """The one product that this is, if it is one: nothing repeats or broadcasts."""
    if len(inputs) != 2:
        return None
    x, y = inputs
    whole = all(sizes[k] == n for ls, shape in zip(inputs, shapes, strict=True)
                for k, n in zip(ls, shape, strict=True))
    alone = [k for ls, other in ((x, y), (y, x)) for k in ls if k not in other and k not in output]
    summed = [k for k in x if k in y and k not in output]
    if len({*x}) < len(x) or len({*y}) < len(y) or not whole or alone or not summed:
        return None
    batch = [k for k in x if k in y and k in output]
    labels = [*batch, *[k for k in x if k not in y], *[k for k in y if k not in x]]
    pair = lambda ks: (tuple(map(x.index, ks)), tuple(map(y.index, ks)))
    return pair(summed), pair(batch), tuple(map(labels.index, output))


def _dots(count: int) -> Labels:
    return tuple(ELLIPSIS + i for i in reversed(range(count)))


def _labels(term: str, rank: int, subscripts: str) -> Labels:
    before, dots, after = term.partition("...")
    if "." in before or "." in after:
        raise ValueError(f"einsum {subscripts!r}: an ellipsis is three dots, once in a term")
    for c in before + after:
        if not c.isalpha():
            raise ValueError(f"einsum {subscripts!r}: {c!r} is not a letter")
    named = len(before) + len(after)
    if named > rank or (named != rank and not dots):
        raise ValueError(f"einsum {subscripts!r}: the term {term!r} names {named} axes of an "
                         f"operand that has {rank}")
    return (*map(ord, before), *_dots(rank - named), *map(ord, after))


def _output_labels(term: str, dots: int, inputs: tuple[Labels, ...], subscripts: str) -> Labels:
    before, has_dots, after = term.partition("...")
    output = (*map(ord, before), *(_dots(dots) if has_dots else ()), *map(ord, after))
    known = {label for labels in inputs for label in labels}
    for label in output:
        if label not in known:
            raise ValueError(f"einsum {subscripts!r}: the output names {chr(label)!r}, which no "
                             "operand has")
        if output.count(label) > 1:
            raise ValueError(f"einsum {subscripts!r}: the output names {chr(label)!r} twice")
    return output


def _sizes(inputs: tuple[Labels, ...], shapes: tuple[tuple[int, ...], ...],
           subscripts: str) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for labels, shape in zip(inputs, shapes, strict=True):
        own = set(zip(labels, shape, strict=True))
        if len(own) > len(set(labels)):
            raise ValueError(f"einsum {subscripts!r}: an index that repeats in one term needs axes "
                             f"of equal size, got an operand of shape {shape}")
        for label, n in own:
            have = sizes.setdefault(label, n)
            if have == 1:
                sizes[label] = n
            elif n not in (1, have):
                name = chr(label) if label < ELLIPSIS else "..."
                raise ValueError(f"einsum {subscripts!r}: index {name!r} has sizes {have} and {n}, "
                                 f"in operands of shapes {' and '.join(map(str, shapes))}")
    return sizes


def _path(inputs: tuple[Labels, ...], output: Labels, sizes: dict[int, int],
          optimize: Any) -> tuple[tuple[int, ...], ...]:
    """Which operands to contract; a result goes to the end of the list."""
    if len(inputs) <= 2:
        return (tuple(range(len(inputs))),)
    if isinstance(optimize, tuple):
        return tuple(tuple(step) for step in optimize if step != "einsum_path")
    if optimize is False or len(sizes) > len(LETTERS):
        return ((0, 1), *((0, n) for n in range(len(inputs) - 2, 0, -1)))
    letter = dict(zip(sizes, LETTERS, strict=False))
    text = ",".join("".join(letter[k] for k in labels) for labels in inputs)
    text += "->" + "".join(letter[k] for k in output)
    dummies = [np.broadcast_to(np.float32(0), [sizes[k] for k in labels]) for labels in inputs]
    kind = "optimal" if optimize == "optimal" or (optimize == "auto" and len(inputs) < 5) \
        else "greedy"
    path = np.einsum_path(text, *dummies, optimize=(kind, 1 << 62))[0][1:]
    return tuple(tuple(step) for step in path)
