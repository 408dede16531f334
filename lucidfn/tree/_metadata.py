"""Metadata of containers as keys, and when two are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_SIMPLE = frozenset({str, bytes, int, bool, type(None)})


def frozen(data: Any, of_object: Callable[[Any], Any] = lambda x: x) -> Any:
    """Metadata as a key in which 1, 1.0, True, 0.0 and -0.0 differ.

    `of_object` gives the key of anything that is not a scalar, a string or a tuple of those.
    """
    kind = type(data)
    if kind is tuple:
        return (tuple, *[frozen(item, of_object) for item in data])
    if kind in _SIMPLE:
        return kind, data
    if kind is float or kind is complex:
        return kind, repr(data)  # the sign of zero counts, and NaN equals itself
    return kind, of_object(data)


def is_opaque(data: Any) -> bool:
    """Whether metadata hold anything but scalars and strings."""
    kind = type(data)
    if kind is tuple:
        return any(map(is_opaque, data))
    return kind not in _SIMPLE and kind is not float and kind is not complex


def same(a: Any, b: Any) -> bool:
    """Whether metadata are equal; arrays, which have no single answer, are not."""
    try:
        return a is b or bool(a == b)
    except ValueError:
        return False
