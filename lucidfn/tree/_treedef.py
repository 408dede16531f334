"""The structure of a tree, and the walks that take trees apart.

Treedefs are interned: nodes of one kind, with identical metadata and children, are one object, so
that comparing them is mostly a comparison of identities, and each keeps the function that builds
its trees. Nothing depends on it: equality of two objects is decided by what they hold.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from lucidfn.tree._keys import KeyPath
from lucidfn.tree._metadata import frozen, is_opaque, same
from lucidfn.tree._mismatch import NAMES, Node, differences, report, value_view
from lucidfn.tree._registry import (
    DICT,
    KINDS,
    LEAF_TYPES,
    LIST,
    TUPLE,
    NodeKind,
    all_str,
    dict_order,
)

_MAX_KEPT = 4096  # treedefs kept alive
_MAX_CHILDREN = 256  # of a treedef kept alive


class PyTreeDef:
    """The structure of a tree: its containers, with a `*` for each leaf.

    Immutable and hashable. Metadata compare by `==`, but scalars also by type and sign: a treedef
    is a jit key, and a program made for 1 is not the program for 1.0 or True.
    """

    __slots__ = ("_kind", "_data", "_children", "num_leaves", "num_nodes", "_opaque", "_build",
                 "_hash", "__weakref__")
    _kind: NodeKind | None
    _data: Any
    _children: tuple[PyTreeDef, ...]
    num_leaves: int
    num_nodes: int
    _opaque: bool
    _build: Callable[[Iterator[Any]], Any]
    _hash: int

    def __init__(self, *args: Any) -> None:
        raise TypeError("a treedef is made by tree.structure or tree.flatten")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a PyTreeDef is immutable")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, PyTreeDef):
            return NotImplemented
        return (self._kind is other._kind and self.num_nodes == other.num_nodes
                and self.num_leaves == other.num_leaves
                and same(frozen(self._data), frozen(other._data))
                and self._children == other._children)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            pass
        try:
            data = hash(frozen(self._data))
        except TypeError:
            raise TypeError(
                f"the metadata of {self._kind and self._kind.type.__name__} are not hashable: "
                f"{self._data!r}; make them tuples or frozen dataclasses, or children") from None
        result = hash((self._kind, data, self._children))
        object.__setattr__(self, "_hash", result)
        return result

    def __repr__(self) -> str:
        return f"PyTreeDef({_show(self)})"

    def __reduce__(self) -> Any:
        if self._kind is None:
            return _leaf, ()
        return _restore, (self._kind.type, self._data, self._children)

    def __copy__(self) -> PyTreeDef:
        return self

    def __deepcopy__(self, memo: Any) -> PyTreeDef:
        return self

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree of this structure with these leaves; ValueError if their number is wrong."""
        if type(leaves) is not list and type(leaves) is not tuple:
            leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(f"a tree of {self.num_leaves} leaves cannot be built from "
                             f"{len(leaves)}: {_shortened(self)}")
        return self._build(iter(leaves))

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The subtrees of a tree that stand where this structure has leaves.

        Raises ValueError naming the paths at which the tree does not have this structure.
        """
        subtrees = up_to(self, tree)
        if subtrees is None:
            found = list(differences(self, tree, treedef_view, value_view, NAMES, True))
            raise ValueError(report(found))
        return subtrees

    def children(self) -> list[PyTreeDef]:
        """The structures of the children."""
        return list(self._children)

    def node_data(self) -> tuple[type, Any] | None:
        """(type, metadata) of the outermost container; None for a leaf."""
        if self._kind is None:
            return None
        return self._kind.type, list(self._data) if self._kind is DICT else self._data

    def compose(self, inner: PyTreeDef) -> PyTreeDef:
        """This structure with the inner one in place of each leaf."""
        if self._kind is None:
            return inner
        return make(self._kind, self._data, [c.compose(inner) for c in self._children])

    def is_prefix_of(self, other: PyTreeDef) -> bool:
        """Whether the other structure is this one with subtrees in place of leaves."""
        return next(differences(self, other, treedef_view, treedef_view, NAMES, True), None) is None


def _show(treedef: PyTreeDef) -> str:
    if treedef._kind is None:
        return "*"
    return treedef._kind.show(treedef._data, [_show(c) for c in treedef._children])


def _shortened(treedef: PyTreeDef) -> str:
    text = repr(treedef)
    return text if len(text) <= 200 else text[:200] + "..."


def treedef_view(treedef: PyTreeDef) -> Node | None:
    """The view of a structure, to compare it with trees and structures."""
    kind = treedef._kind
    if kind is None:
        return None
    keys = kind.keys(None, treedef._data, len(treedef._children))
    return Node(kind, treedef._data, keys, treedef._children)


# ------------------------------------------------------------------ making treedefs

_kept: dict[Any, PyTreeDef] = {}
_alive: weakref.WeakValueDictionary[Any, PyTreeDef] = weakref.WeakValueDictionary()


def make(kind: NodeKind, data: Any, children: Sequence[PyTreeDef]) -> PyTreeDef:
    """The treedef of a container."""
    # Objects stand in the key by identity: a treedef gives back the very metadata it was made
    # with. The treedef holds them and the children, so their ids are not reused while it lives.
    plain = data is None or type(data) is tuple and all_str(data)
    key = (kind, data if plain else frozen(data, id), *map(id, children))
    found = _kept.get(key) or _alive.get(key)
    return found or _new(key, kind, data, tuple(children))


def _new(key: Any, kind: NodeKind, data: Any, children: tuple[PyTreeDef, ...]) -> PyTreeDef:
    self = object.__new__(PyTreeDef)
    opaque = is_opaque(data) or any([c._opaque for c in children])
    fields = {
        "_kind": kind, "_data": data, "_children": children, "_opaque": opaque,
        "num_leaves": sum([c.num_leaves for c in children]),
        "num_nodes": 1 + sum([c.num_nodes for c in children]),
        "_build": _builder(kind, data, children)}
    for name, value in fields.items():
        object.__setattr__(self, name, value)
    # Objects in metadata may hold arrays: such a treedef lives no longer than its users.
    if opaque or len(children) > _MAX_CHILDREN:
        _alive[key] = self
    else:
        if len(_kept) > _MAX_KEPT:
            _kept.clear()
            _flat_dicts.clear()
        _kept[key] = self
    return self


def _new_leaf() -> PyTreeDef:
    self = object.__new__(PyTreeDef)
    fields = {"_kind": None, "_data": None, "_children": (), "_opaque": False,
              "num_leaves": 1, "num_nodes": 1, "_build": next}
    for name, value in fields.items():
        object.__setattr__(self, name, value)
    return self


def _builder(kind: NodeKind, data: Any,
             children: tuple[PyTreeDef, ...]) -> Callable[[Iterator[Any]], Any]:
    """The function that takes its leaves from an iterator and builds the tree."""
    n = len(children)
    if all([c is LEAF for c in children]):
        if kind is DICT:
            # zip asks for a key first, so it takes no leaf too many.
            return lambda leaves: dict(zip(data, leaves))  # noqa: B905
        if kind is TUPLE or kind is LIST:
            sequence = kind.type
            return lambda leaves: sequence(islice(leaves, n))
        unflatten = kind.unflatten
        return lambda leaves: unflatten(data, tuple(islice(leaves, n)))
    builders = [c._build for c in children]
    if kind is DICT:
        return lambda leaves: dict(zip(data, [b(leaves) for b in builders], strict=True))
    if kind is TUPLE:
        return lambda leaves: tuple([b(leaves) for b in builders])
    if kind is LIST:
        return lambda leaves: [b(leaves) for b in builders]
    unflatten = kind.unflatten
    return lambda leaves: unflatten(data, tuple([b(leaves) for b in builders]))


def _leaf() -> PyTreeDef:
    return LEAF


def _restore(cls: type, data: Any, children: tuple[PyTreeDef, ...]) -> PyTreeDef:
    kind = KINDS[cls]
    if kind is None:
        raise TypeError(f"{cls.__name__} is not registered as a pytree node")
    return make(kind, data, children)


LEAF = _new_leaf()
_flat_dicts: dict[tuple[Any, ...], PyTreeDef] = {}  # keys -> the dict of leaves with these keys


# ------------------------------------------------------------------ walks

def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[
        list[Any], PyTreeDef]:
    """The leaves of a tree in order, and its structure."""
    leaves: list[Any] = []
    if is_leaf is None:
        return leaves, _collect(tree, leaves)
    return leaves, _collect_until(tree, is_leaf, leaves)


def _collect(x: Any, leaves: list[Any]) -> PyTreeDef:
    """Append the leaves of x and return its structure: the walk of every call to jit and grad."""
    kind = KINDS[type(x)]
    if kind is None:
        leaves.append(x)
        return LEAF
    children: Sequence[Any]
    if kind is DICT:
        data, values_of, plain = dict_order(x)
        children = values_of(x)
        if plain and LEAF_TYPES.issuperset(map(type, children)):
            leaves += children
            return _flat_dicts.get(data) or _flat_dict(data)
    elif kind is TUPLE or kind is LIST:
        children, data, plain = x, None, True
    else:
        children, data = kind.flatten(x)
        plain = data is None
    defs = []
    for child in children:
        if type(child) in LEAF_TYPES:
            leaves.append(child)
            defs.append(LEAF)
        else:
            defs.append(_collect(child, leaves))
    if plain:  # the look-up of `make`, where the key is known to be simple
        found = _kept.get((kind, data, *map(id, defs)))
        if found is not None:
            return found
    return make(kind, data, defs)


def _flat_dict(keys: tuple[Any, ...]) -> PyTreeDef:
    treedef = _flat_dicts[keys] = make(DICT, keys, [LEAF] * len(keys))
    return treedef


def _collect_until(x: Any, is_leaf: Callable[[Any], bool], leaves: list[Any]) -> PyTreeDef:
    kind = KINDS[type(x)]
    if kind is None or is_leaf(x):
        leaves.append(x)
        return LEAF
    children, data = kind.flatten(x)
    return make(kind, data, [_collect_until(c, is_leaf, leaves) for c in children])


def collect_paths(x: Any, is_leaf: Callable[[KeyPath, Any], bool] | None, path: KeyPath,
                  found: list[tuple[KeyPath, Any]]) -> PyTreeDef:
    """As `flatten`, with the path to each leaf."""
    kind = KINDS[type(x)]
    if kind is None or is_leaf is not None and is_leaf(path, x):
        found.append((path, x))
        return LEAF
    children, data = kind.flatten(x)
    keys = kind.keys(x, data, len(children))
    return make(kind, data, [collect_paths(child, is_leaf, (*path, key), found)
                             for key, child in zip(keys, children, strict=True)])


def up_to(treedef: PyTreeDef, tree: Any) -> list[Any] | None:
    """The subtrees at the leaves of the treedef; None where the tree has another structure."""
    leaves, structure = flatten(tree)
    if structure is treedef:
        return leaves
    subtrees: list[Any] = []
    return subtrees if _collect_up_to(treedef, tree, subtrees) else None


def _collect_up_to(treedef: PyTreeDef, x: Any, subtrees: list[Any]) -> bool:
    kind = treedef._kind
    if kind is None:
        subtrees.append(x)
        return True
    if KINDS[type(x)] is not kind:
        return False
    children, data = kind.flatten(x)
    return (len(children) == len(treedef._children) and same(treedef._data, data) and all(
        [_collect_up_to(d, c, subtrees)
         for d, c in zip(treedef._children, children, strict=True)]))
