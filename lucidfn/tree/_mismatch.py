"""Where two trees differ, as text: only the paths that differ, never the trees.

A tree is read through a view: `view(x)` is None for a leaf, else (kind, metadata, keys, children).
Values and treedefs have one each, so that either can be compared with either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lucidfn.tree._keys import FlattenedIndexKey, KeyEntry, KeyPath, SequenceKey, keystr
from lucidfn.tree._metadata import frozen, same
from lucidfn.tree._registry import KINDS, NodeKind

_MAX_LINES = 8
NAMES = ("the first tree", "the second tree")


class Node(NamedTuple):
    kind: NodeKind
    data: Any
    keys: Sequence[KeyEntry]
    children: Sequence[Any]


View = Callable[[Any], Node | None]


def value_view(x: Any) -> Node | None:
    """The view of a tree of values."""
    kind = KINDS[type(x)]
    if kind is None:
        return None
    children, data = kind.flatten(x)
    return Node(kind, data, kind.keys(x, data, len(children)), children)


def describe(x: Any, view: View) -> str:
    """What stands at a place: `tuple of length 2`, `dict`, `None`, `leaf float32[3]`."""
    node = view(x)
    if node is None and view is not value_view:
        return "leaf"
    if node is None:
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if isinstance(shape, tuple) and dtype is not None:
            return f"leaf {dtype}[{','.join(map(str, shape))}]"
        return f"leaf of type {type(x).__name__}"
    if node.kind.type is type(None):
        return "None"
    name = node.kind.type.__name__
    return f"{name} of length {len(node.children)}" if _numbered(node) else name


def _numbered(node: Node) -> bool:
    return node.kind.type in (tuple, list) or bool(node.keys) and isinstance(
        node.keys[0], SequenceKey | FlattenedIndexKey)


def differences(a: Any, b: Any, view_a: View, view_b: View, names: tuple[str, str],
                prefix: bool, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """(path, what differs) for each place; with `prefix`, a leaf of a matches any subtree of b."""
    node_a, node_b = view_a(a), view_b(b)
    if node_a is None and (prefix or node_b is None):
        return
    if node_a is None or node_b is None or node_a.kind is not node_b.kind:
        yield path, (f"{describe(a, view_a)} in {names[0]}, "
                     f"{describe(b, view_b)} in {names[1]}")
        return
    # A treedef does not know the keys that a registered type gives its instances: count then.
    numbered = _numbered(node_a) or _numbered(node_b)
    if numbered and len(node_a.children) != len(node_b.children):
        yield path, (f"length {len(node_a.children)} in {names[0]}, "
                     f"{len(node_b.children)} in {names[1]}")
        return
    if numbered:
        keys = node_b.keys if _numbered(node_a) else node_a.keys
        pairs = list(zip(keys, node_a.children, node_b.children, strict=True))
        missing: list[tuple[KeyPath, str]] = []
    else:
        pairs, missing = _align(node_a, node_b, names, path)
    yield from missing
    # A treedef is also a jit key: 1 and True are equal there only if a prefix is all that is asked.
    as_key = _identity if prefix else frozen
    if not missing and not same(as_key(node_a.data), as_key(node_b.data)):
        yield path, f"{node_a.data!r} in {names[0]}, {node_b.data!r} in {names[1]}"
    for key, child_a, child_b in pairs:
        yield from differences(child_a, child_b, view_a, view_b, names, prefix, (*path, key))


def _identity(data: Any) -> Any:
    return data


def _align(a: Node, b: Node, names: tuple[str, str], path: KeyPath) -> tuple[
        list[tuple[KeyEntry, Any, Any]], list[tuple[KeyPath, str]]]:
    """The children that both have, and the keys that one of them lacks."""
    of_b = dict(zip(b.keys, b.children, strict=True))
    pairs = [(k, x, of_b[k]) for k, x in zip(a.keys, a.children, strict=True) if k in of_b]
    shared = {k for k, _, _ in pairs}
    missing = [((*path, k), f"missing in {names[1]}") for k in a.keys if k not in shared]
    missing += [((*path, k), f"missing in {names[0]}") for k in b.keys if k not in shared]
    return pairs, missing


def report(found: Sequence[tuple[KeyPath, str]], root: str = "", say: str = "trees differ") -> str:
    """One line for one difference, else a line for each of the first few; '' for none."""
    lines = [f"{(root + keystr(path)) or 'the root'}: {what}" for path, what in found]
    if len(lines) < 2:
        return f"{say} at {lines[0]}" if lines else ""
    rest = len(lines) - _MAX_LINES
    more = [f"... and {rest} more"] if rest > 0 else []
    return f"{say} at {len(lines)} places:\n  " + "\n  ".join(lines[:_MAX_LINES] + more)
