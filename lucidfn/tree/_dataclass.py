"""Dataclasses and partial functions as containers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lucidfn.tree._keys import GetAttrKey
from lucidfn.tree._registry import NodeKind, register

Class = TypeVar("Class", bound=type)


def static(**kwargs: Any) -> Any:
    """A dataclass field that is metadata: `dataclasses.field` with `static=True`.

    >>> @dataclasses.dataclass
    ... class Scale:
    ...     by: float
    ...     name: str = static(default="scale")
    """
    metadata = {**(kwargs.pop("metadata", None) or {}), "static": True}
    return dataclasses.field(metadata=metadata, **kwargs)


def register_dataclass(
        nodetype: Class, data_fields: Sequence[str] | None = None,
        meta_fields: Sequence[str] | None = None, drop_fields: Sequence[str] = ()) -> Class:
    """Make a dataclass a container: data fields are children, meta fields are structure.

    Without lists of names, a field is data unless it was declared with
    `field(metadata=dict(static=True))` (or `tree.static()`). Instances are rebuilt by calling the
    class with all fields as keywords; dropped fields take their defaults. Usable as a decorator.
    Raises ValueError where the names are not the fields of the class.
    """
    data, meta = _field_names(nodetype, data_fields, meta_fields, drop_fields)
    both = {*data} & {*meta}
    if both:
        raise ValueError(f"{nodetype.__name__}: {sorted(both)} cannot be both data and meta fields")
    keys = [GetAttrKey(name) for name in data]

    def flatten(x: Any) -> tuple[Sequence[Any], Any]:
        return ([getattr(x, name) for name in data],
                tuple([getattr(x, name) for name in meta]))

    def unflatten(values: Any, children: Any) -> Any:
        fields = dict(zip(data, children, strict=True))
        fields.update(zip(meta, values, strict=True))
        return nodetype(**fields)

    def show(values: Any, parts: list[str]) -> str:
        texts = [*zip(data, parts, strict=True),
                 *((name, repr(value)) for name, value in zip(meta, values, strict=True))]
        return f"{nodetype.__name__}({', '.join(f'{name}={text}' for name, text in texts)})"

    register(NodeKind(nodetype, flatten, unflatten, lambda x, values, n: keys, show))
    return nodetype


def _field_names(nodetype: Any, data: Sequence[str] | None, meta: Sequence[str] | None,
                 drop: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    is_dataclass = dataclasses.is_dataclass(nodetype)
    if (data is None) != (meta is None):
        raise TypeError("give both data_fields and meta_fields, or neither")
    if data is None or meta is None:
        if not is_dataclass:
            raise TypeError(f"{nodetype.__name__} is not a dataclass: give data_fields and "
                            "meta_fields, or put @dataclass below @register_dataclass")
        fields = [f for f in dataclasses.fields(nodetype) if f.init and f.name not in drop]
        return (tuple(f.name for f in fields if not f.metadata.get("static", False)),
                tuple(f.name for f in fields if f.metadata.get("static", False)))
    if is_dataclass:
        expected = {f.name for f in dataclasses.fields(nodetype) if f.init} - {*drop}
        missing, unknown = expected - {*data, *meta}, {*data, *meta} - expected
        if missing or unknown:
            raise ValueError(
                f"data_fields and meta_fields of {nodetype.__name__} must list all its init "
                f"fields: missing {sorted(missing)}, unknown {sorted(unknown)}")
    return tuple(data), tuple(meta)


class _Opaque:
    """Hides the arguments of a `functools.partial`, which would else be merged into a Partial."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opaque) and self.function is other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        return repr(self.function)


class Partial(functools.partial):
    """A `functools.partial` that is a container: arguments are children, the function is static.

    A closure over arrays in this form can be an argument or a result of a transformed function.

    >>> Partial(pow, 2)(3)
    8
    """

    def __new__(cls, func: Callable[..., Any], /, *args: Any, **keywords: Any) -> Partial:
        if isinstance(func, functools.partial) and not isinstance(func, Partial):
            func = _Opaque(func)
        return super().__new__(cls, func, *args, **keywords)


def _show_partial(func: Any, parts: list[str]) -> str:
    return f"Partial({getattr(func, '__name__', func)}, {', '.join(parts)})"


_PARTIAL_KEYS = (GetAttrKey("args"), GetAttrKey("keywords"))

register(NodeKind(
    Partial, lambda x: ((x.args, x.keywords), x.func),
    lambda func, children: Partial(func, *children[0], **children[1]),
    lambda x, func, n: _PARTIAL_KEYS, _show_partial))
