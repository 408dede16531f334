"""Which types are containers: how each is taken apart, put together, named and printed.

A type is a container by exact match (`type(x)`), as in JAX: a subclass of dict is a leaf until it
is registered. Named tuples are containers without registration.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from lucidfn.tree._keys import DictKey, FlattenedIndexKey, GetAttrKey, KeyEntry, SequenceKey

T = TypeVar("T")
Class = TypeVar("Class", bound=Any)
_MAX_CACHED = 4096


@dataclass(frozen=True, slots=True, eq=False)
class NodeKind:
    """One type of container.

    `keys(x, data, n)` names the n children; x is None where only a treedef is at hand.
    """

    type: type
    flatten: Callable[[Any], tuple[Sequence[Any], Any]]  # x -> children, metadata
    unflatten: Callable[[Any, tuple[Any, ...]], Any]  # metadata, children -> x
    keys: Callable[[Any, Any, int], Sequence[KeyEntry]]
    show: Callable[[Any, list[str]], str]  # metadata, the text of the children -> text


class _Kinds(dict[type, NodeKind | None]):
    """`KINDS[type(x)]` is the kind of the container x, or None where x is a leaf."""

    def __missing__(self, cls: type) -> NodeKind | None:
        if issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple):
            return self.setdefault(cls, _namedtuple_kind(cls))
        while len(LEAF_TYPES) > _MAX_CACHED:
            self.pop(LEAF_TYPES.pop(), None)
        LEAF_TYPES.add(cls)
        return self.setdefault(cls, None)


KINDS = _Kinds()
LEAF_TYPES: set[type] = {bool, int, float, complex, str}  # types met that are not containers


# ------------------------------------------------------------------ built-in containers

_STR = frozenset({str})


class DictOrder(NamedTuple):
    keys: tuple[Any, ...]  # sorted
    values_of: Callable[[Any], tuple[Any, ...]]  # the values in that order
    plain: bool  # few keys, all of them strings: worth keeping


_orders: dict[tuple[Any, ...], DictOrder] = {}


def all_str(keys: tuple[Any, ...]) -> bool:
    """Whether all are exactly strings: 1 == True, and an enum of strings equals its string."""
    return _STR.issuperset(map(type, keys))


def dict_order(x: dict[Any, Any]) -> DictOrder:
    """The order in which the leaves of a dict are taken."""
    keys = tuple(x)
    found = _orders.get(keys)
    if found is not None and _STR.issuperset(map(type, keys)):
        return found
    try:
        ordered = tuple(sorted(keys))
    except TypeError:
        kinds = {type(k).__name__: k for k in keys}
        examples = " and ".join(f"{k!r} ({name})" for name, k in kinds.items())
        raise TypeError(f"the leaves of a dict are taken in sorted order, and its keys do not "
                        f"sort: {examples}; use keys of one type, or an OrderedDict") from None
    entry = DictOrder(ordered, values_getter(ordered), len(keys) <= 256 and all_str(keys))
    if entry.plain:
        if len(_orders) > _MAX_CACHED:
            _orders.clear()
        _orders[keys] = entry
    return entry


def values_getter(keys: tuple[Any, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """`d -> (d[k] for k in keys)` as a tuple."""
    if len(keys) > 1:
        return operator.itemgetter(*keys)
    return lambda d: tuple([d[k] for k in keys])


def _flatten_dict(x: dict[Any, Any]) -> tuple[Sequence[Any], Any]:
    keys, values_of, _ = dict_order(x)
    return values_of(x), keys


def _flatten_defaultdict(x: defaultdict[Any, Any]) -> tuple[Sequence[Any], Any]:
    keys, values_of, _ = dict_order(x)
    return values_of(x), (x.default_factory, keys)


def _dict_keys(x: Any, keys: tuple[Any, ...], n: int) -> list[KeyEntry]:
    return [DictKey(k) for k in keys]


def _sequence_keys(x: Any, data: Any, n: int) -> list[KeyEntry]:
    return [SequenceKey(i) for i in range(n)]


def _flat_keys(x: Any, data: Any, n: int) -> list[KeyEntry]:
    return [FlattenedIndexKey(i) for i in range(n)]


def _show_tuple(data: Any, parts: list[str]) -> str:
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def _show_dict(keys: tuple[Any, ...], parts: list[str]) -> str:
    return "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(keys, parts, strict=True)) + "}"


def _show_fields(cls: type, names: Sequence[str], parts: list[str]) -> str:
    fields = ", ".join(f"{n}={p}" for n, p in zip(names, parts, strict=True))
    return f"{cls.__name__}({fields})"


def _namedtuple_kind(cls: Any) -> NodeKind:
    keys = [GetAttrKey(name) for name in cls._fields]
    return NodeKind(
        cls, lambda x: (x, None), lambda data, children: cls._make(children),
        lambda x, data, n: keys, lambda data, parts: _show_fields(cls, cls._fields, parts))


TUPLE = NodeKind(tuple, lambda x: (x, None), lambda data, children: tuple(children),
                 _sequence_keys, _show_tuple)
LIST = NodeKind(list, lambda x: (x, None), lambda data, children: list(children),
                _sequence_keys, lambda data, parts: f"[{', '.join(parts)}]")
DICT = NodeKind(dict, _flatten_dict, lambda keys, children: dict(zip(keys, children, strict=True)),
                _dict_keys, _show_dict)
NONE = NodeKind(type(None), lambda x: ((), None), lambda data, children: None,
                _sequence_keys, lambda data, parts: "None")
ORDERED = NodeKind(
    OrderedDict, lambda x: (tuple(x.values()), tuple(x)),
    lambda keys, children: OrderedDict(zip(keys, children, strict=True)), _dict_keys,
    lambda keys, parts: f"OrderedDict({_show_dict(keys, parts)})")
DEFAULT = NodeKind(
    defaultdict, _flatten_defaultdict,
    lambda data, children: defaultdict(data[0], zip(data[1], children, strict=True)),
    lambda x, data, n: _dict_keys(x, data[1], n),
    lambda data, parts: f"defaultdict({getattr(data[0], '__name__', data[0])}, "
                        f"{_show_dict(data[1], parts)})")
KINDS.update({k.type: k for k in (TUPLE, LIST, DICT, NONE, ORDERED, DEFAULT)})
_registered = {*KINDS}  # named tuples join KINDS by themselves, and may still be registered


# ------------------------------------------------------------------ registration

def register(kind: NodeKind) -> None:
    """Make a type a container; ValueError if it is one already."""
    cls = kind.type
    if not isinstance(cls, type):
        raise TypeError(f"a type is registered, got {cls!r}")
    if cls in _registered:
        raise ValueError(f"{cls.__name__} is registered as a pytree node already")
    _registered.add(cls)
    LEAF_TYPES.discard(cls)
    KINDS[cls] = kind


def _checked(cls: type, result: Any) -> tuple[Sequence[Any], Any]:
    try:
        children, data = result
        return tuple(children), data
    except (TypeError, ValueError):
        raise TypeError(f"the flatten function of {cls.__name__} must return (children, metadata), "
                        f"got {result!r}") from None


def _show_custom(cls: type, data: Any, parts: list[str]) -> str:
    metadata = "" if data is None else f"[{data!r}]"
    return f"{cls.__name__}{metadata}({', '.join(parts)})"


def register_pytree_node(
        nodetype: type[T], flatten_func: Callable[[T], tuple[Iterable[Any], Any]],
        unflatten_func: Callable[[Any, Any], T],
        flatten_with_keys_func: Callable[[T], tuple[Iterable[Any], Any]] | None = None) -> None:
    """Make a type a container.

    `flatten_func(x)` returns (children, metadata); `unflatten_func(metadata, children)` undoes it.
    Metadata must be hashable and comparable to be part of a jit key. Children get the keys that
    `flatten_with_keys_func(x)`, which returns ((key, child) ..., metadata), pairs them with, or
    else their index. Raises ValueError where the type is registered already.
    """
    def keys(x: Any, data: Any, n: int) -> Sequence[KeyEntry]:
        if x is None or flatten_with_keys_func is None:
            return _flat_keys(x, data, n)
        return [key for key, _ in flatten_with_keys_func(x)[0]]

    register(NodeKind(
        nodetype, lambda x: _checked(nodetype, flatten_func(x)), unflatten_func, keys,
        lambda data, parts: _show_custom(nodetype, data, parts)))


def register_pytree_with_keys(
        nodetype: type[T], flatten_with_keys: Callable[[T], tuple[Iterable[Any], Any]],
        unflatten_func: Callable[[Any, Any], T],
        flatten_func: Callable[[T], tuple[Iterable[Any], Any]] | None = None) -> None:
    """Make a type a container whose children have keys: see `register_pytree_node`."""
    def without_keys(x: T) -> tuple[Iterable[Any], Any]:
        pairs, data = flatten_with_keys(x)
        return [child for _, child in pairs], data

    register_pytree_node(
        nodetype, flatten_func or without_keys, unflatten_func, flatten_with_keys)


def register_pytree_node_class(cls: Class) -> Class:
    """Class decorator: a container with `tree_flatten()` and classmethod `tree_unflatten()`."""
    register_pytree_node(cls, operator.methodcaller("tree_flatten"), cls.tree_unflatten)
    return cls


def register_pytree_with_keys_class(cls: Class) -> Class:
    """Class decorator: as `register_pytree_node_class`, with `tree_flatten_with_keys()`."""
    plain = operator.methodcaller("tree_flatten") if hasattr(cls, "tree_flatten") else None
    register_pytree_with_keys(
        cls, operator.methodcaller("tree_flatten_with_keys"), cls.tree_unflatten, plain)
    return cls


def register_static(cls: Class) -> Class:
    """Class decorator: instances are containers of nothing, compared by `==`.

    They are part of the structure: under jit they are constants, and a new value retraces.
    """
    register(NodeKind(cls, lambda x: ((), x), lambda x, children: x, _sequence_keys,
                      lambda x, parts: repr(x)))
    return cls


def is_tree_node(typ: type) -> bool:
    """Whether instances of exactly this type are containers."""
    return KINDS[typ] is not None


def flatten_one_level(tree: Any) -> tuple[Sequence[Any], Any]:
    """The children of a container and its metadata; ValueError for a leaf."""
    kind = KINDS[type(tree)]
    if kind is None:
        raise ValueError(f"{type(tree).__name__} is a leaf, it has no children")
    return kind.flatten(tree)
