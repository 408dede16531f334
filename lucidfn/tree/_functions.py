"""The functions on trees, and the comparisons of trees that the transformations use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from lucidfn.tree._keys import KeyPath
from lucidfn.tree._mismatch import NAMES, differences, report, value_view
from lucidfn.tree._registry import KINDS, NONE, TUPLE
from lucidfn.tree._treedef import (
    LEAF,
    PyTreeDef,
    collect_paths,
    flatten,
    make,
    treedef_view,
    up_to,
)

IsLeaf = Callable[[Any], bool] | None
_MISSING: Any = type("_Missing", (), {"__repr__": lambda self: "<not given>"})()


def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], PyTreeDef]:
    """The leaves of a tree, dicts in the order of their sorted keys, and its structure.

    None is a container of nothing. `is_leaf(x)` true makes a leaf of a container.

    >>> tree_flatten({"b": (2, None), "a": 1})
    ([1, 2], PyTreeDef({'a': *, 'b': (*, None)}))
    """
    return flatten(tree, is_leaf)


def tree_unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves; ValueError if their number is wrong.

    >>> tree_unflatten(tree_structure({"a": 0, "b": [0]}), [1, 2])
    {'a': 1, 'b': [2]}
    """
    return treedef.unflatten(leaves)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves of a tree, in order.

    >>> tree_leaves({"b": [1, 2], "a": 3, "c": None})
    [3, 1, 2]
    """
    return flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> PyTreeDef:
    """The structure of a tree.

    >>> tree_structure({"b": [1, 2], "a": 3})
    PyTreeDef({'a': *, 'b': [*, *]})
    """
    return flatten(tree, is_leaf)[1]


def tree_map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree with f applied to each leaf, and to what stands in the same place of the others.

    The other trees need the containers of the first; where the first has a leaf, f gets whatever
    they have there: a leaf, a subtree or None. Raises ValueError naming the paths that differ.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": 2}, {"a": 10, "b": 20})
    {'a': 11, 'b': 22}
    """
    leaves, treedef = flatten(tree, is_leaf)
    if not rest:
        return treedef._build(iter([f(x) for x in leaves]))
    columns = _columns(tree, treedef, rest)
    results = [f(*xs) for xs in zip(leaves, *columns, strict=True)]
    return treedef._build(iter(results))


def _columns(tree: Any, treedef: PyTreeDef, rest: tuple[Any, ...]) -> list[list[Any]]:
    columns = []
    for i, other in enumerate(rest):
        subtrees = up_to(treedef, other)
        if subtrees is None:
            name = "the second tree" if len(rest) == 1 else f"tree {i + 2}"
            raise ValueError(explain_mismatch(treedef, other, (NAMES[0], name), prefix=True))
        columns.append(subtrees)
    return columns


def tree_reduce(function: Callable[[Any, Any], Any], tree: Any, initializer: Any = _MISSING,
                is_leaf: IsLeaf = None) -> Any:
    """`functools.reduce` over the leaves; TypeError for no leaves and no initializer.

    >>> tree_reduce(lambda a, b: a + b, {"a": 1, "b": [2, 3]})
    6
    """
    leaves = flatten(tree, is_leaf)[0]
    if initializer is not _MISSING:
        return functools.reduce(function, leaves, initializer)
    if not leaves:
        raise TypeError("tree.reduce of a tree without leaves needs an initializer")
    return functools.reduce(function, leaves)


def tree_reduce_associative(operation: Callable[[Any, Any], Any], tree: Any, *,
                            identity: Any = _MISSING, is_leaf: IsLeaf = None) -> Any:
    """The leaves combined pairwise, in log2(n) rounds: rounding errors grow slower than in a row.

    Raises TypeError for a tree without leaves and no identity.
    """
    leaves = flatten(tree, is_leaf)[0]
    if not leaves:
        if identity is _MISSING:
            raise TypeError("tree.reduce_associative of a tree without leaves needs an identity")
        return identity
    while len(leaves) > 1:
        pairs = zip(leaves[::2], leaves[1::2])  # noqa: B905  an odd last leaf waits
        leaves = [operation(x, y) for x, y in pairs] + leaves[len(leaves) & ~1:]
    return leaves[0]


def tree_all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """Whether all leaves are true.

    >>> tree_all({"a": True, "b": [1, 0]})
    False
    """
    return all(flatten(tree, is_leaf)[0])


def tree_transpose(outer_treedef: PyTreeDef, inner_treedef: PyTreeDef | None,
                   pytree_to_transpose: Any) -> Any:
    """A tree of trees turned inside out: the inner structure is then outside.

    Without an inner structure, that of the first inner tree is taken. Raises TypeError naming the
    paths at which the tree is not of these structures.

    >>> rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    >>> tree_transpose(tree_structure([0, 0]), None, rows)
    {'a': [1, 3], 'b': [2, 4]}
    """
    outer = up_to(outer_treedef, pytree_to_transpose)
    if outer is None:
        raise TypeError(explain_mismatch(
            outer_treedef, pytree_to_transpose, ("outer_treedef", "the tree"), prefix=True))
    if inner_treedef is None:
        if not outer:
            raise TypeError("the inner structure of a tree without leaves is not known: give it")
        inner_treedef = flatten(outer[0])[1]
    rows = [up_to(inner_treedef, subtree) for subtree in outer]
    if any(row is None for row in rows):
        raise TypeError(explain_mismatch(
            outer_treedef.compose(inner_treedef), pytree_to_transpose,
            ("the given structures", "the tree"), prefix=True))
    columns = [[row[i] for row in rows if row is not None]
               for i in range(inner_treedef.num_leaves)]
    return inner_treedef.unflatten([outer_treedef.unflatten(column) for column in columns])


# ------------------------------------------------------------------ paths

def tree_flatten_with_path(
        tree: Any, is_leaf: Callable[..., bool] | None = None,
        is_leaf_takes_path: bool = False) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """[(path, leaf) ...] and the structure; `keystr(path)` is the path as text.

    >>> from lucidfn.tree_util import keystr
    >>> [(keystr(path), x) for path, x in tree_flatten_with_path({"a": 1, "b": [2]})[0]]
    [("['a']", 1), ("['b'][0]", 2)]
    """
    found: list[tuple[KeyPath, Any]] = []
    stop = is_leaf
    if is_leaf is not None and not is_leaf_takes_path:
        def stop(path: KeyPath, x: Any) -> bool:
            return is_leaf(x)
    return found, collect_paths(tree, stop, (), found)


def tree_leaves_with_path(tree: Any, is_leaf: Callable[..., bool] | None = None,
                          is_leaf_takes_path: bool = False) -> list[tuple[KeyPath, Any]]:
    """[(path, leaf) ...], in order."""
    return tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


def tree_map_with_path(f: Callable[..., Any], tree: Any, *rest: Any,
                       is_leaf: Callable[..., bool] | None = None,
                       is_leaf_takes_path: bool = False) -> Any:
    """As `tree_map`, with the path as the first argument of f.

    >>> tree_map_with_path(lambda path, x: len(path) * x, {"a": 1, "b": [2]})
    {'a': 1, 'b': [4]}
    """
    found, treedef = tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    columns = _columns(tree, treedef, rest)
    rows = zip(found, *columns, strict=True)
    return treedef._build(iter([f(path, x, *others) for (path, x), *others in rows]))


# ------------------------------------------------------------------ structures

def all_leaves(iterable: Iterable[Any], is_leaf: IsLeaf = None) -> bool:
    """Whether no element is a container."""
    return all(KINDS[type(x)] is None or is_leaf is not None and is_leaf(x) for x in iterable)


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """The structure of a tuple of trees."""
    return make(TUPLE, None, list(treedefs))


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """The structures of the children."""
    return treedef.children()


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """Whether the structure is one leaf; None and () are containers."""
    return treedef is LEAF


def build_tree(treedef: PyTreeDef, xs: Any) -> Any:
    """A tree of this structure from nested iterables of the same nesting.

    >>> build_tree(tree_structure({"a": 0, "b": (0, 0)}), [1, [2, 3]])
    {'a': 1, 'b': (2, 3)}
    """
    kind = treedef._kind
    if kind is None:
        return xs
    if kind is NONE:
        return None
    parts = list(xs)
    if len(parts) != len(treedef._children):
        raise ValueError(f"expected {len(treedef._children)} parts, got {len(parts)}: {treedef}")
    built = [build_tree(c, x) for c, x in zip(treedef._children, parts, strict=True)]
    return kind.unflatten(treedef._data, tuple(built))


# ------------------------------------------------------------------ prefixes and differences

def tree_broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> Any:
    """The full tree with each leaf replaced by the leaf of the prefix tree that stands above it.

    >>> tree_broadcast((1, 2), (0, {"a": 0, "b": 0}))
    (1, {'a': 2, 'b': 2})
    """
    leaves = flatten_prefix(prefix_tree, full_tree, is_leaf, "prefix_tree")
    return flatten(full_tree)[1].unflatten(leaves)


def flatten_prefix(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None,
                   name: str = "in_axes") -> list[Any]:
    """For each leaf of the full tree, the leaf of the prefix tree that stands above it.

    `is_leaf=lambda x: x is None` lets None stand for a subtree. `name` is what errors call the
    prefix tree; they are ValueErrors and name the paths that do not fit.

    >>> flatten_prefix((0, None), (1, {"a": 2, "b": 3}), lambda x: x is None)
    [0, None, None]
    """
    leaves, treedef = flatten(prefix_tree, is_leaf)
    full_leaves, structure = flatten(full_tree)
    if treedef is LEAF:
        return leaves * len(full_leaves)
    if treedef is structure:
        return leaves
    subtrees = up_to(treedef, full_tree)
    if subtrees is None:
        raise ValueError(_prefix_mismatch(treedef, full_tree, name))
    spread: list[Any] = []
    for leaf, subtree in zip(leaves, subtrees, strict=True):
        spread += [leaf] * flatten(subtree)[1].num_leaves
    return spread


def _prefix_mismatch(treedef: PyTreeDef, full_tree: Any, name: str) -> str:
    found = list(differences(
        treedef, full_tree, treedef_view, value_view, (name, "the full tree"), True))
    return report(found, name, f"{name} must have the containers of the tree it is for, or "
                               "leaves in their place; they differ")


def prefix_errors(prefix_tree: Any, full_tree: Any,
                  is_leaf: IsLeaf = None) -> list[Callable[[str], ValueError]]:
    """Why a tree is not a prefix of another: functions of its name that make the error."""
    treedef = flatten(prefix_tree, is_leaf)[1]
    if up_to(treedef, full_tree) is not None:
        return []
    return [lambda name: ValueError(_prefix_mismatch(treedef, full_tree, name))]


def explain_mismatch(a: Any, b: Any, names: tuple[str, str] = NAMES, *, prefix: bool = False,
                     root: str = "") -> str:
    """Where two trees (or treedefs) differ, in words; '' where they do not.

    Only the paths that differ are printed. With `prefix`, a leaf of the first matches any subtree
    of the second; `root` is what paths start with.

    >>> explain_mismatch({"a": 1, "b": {"w": 2}}, {"a": 1, "b": {}})
    "trees differ at ['b']['w']: missing in the second tree"
    """
    view_a, view_b = (treedef_view if isinstance(x, PyTreeDef) else value_view for x in (a, b))
    return report(list(differences(a, b, view_a, view_b, names, prefix)), root)
