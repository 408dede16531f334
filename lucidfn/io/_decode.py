"""Trees from the JSON that `_structure` describes, every part of which may be wrong.

Nothing that a file says is run: values are built here, and types are those that are known already.
"""

from __future__ import annotations

import math
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from lucidfn import random
from lucidfn.array import Array, place
from lucidfn.config import override
from lucidfn.io._safetensors import describe
from lucidfn.io._structure import FACTORIES, KEYS, Path, type_name
from lucidfn.tree._registry import KINDS
from lucidfn.tree_util import Partial
from lucidfn.types import as_dtype, complex128, is_key, uint32

CONTAINERS = ("list", "tuple", "dict", "OrderedDict", "defaultdict", "namedtuple", "node")


class Leaf(NamedTuple):
    """A leaf of a file: an array's entry in the JSON, or a plain value."""

    path: Path
    form: str
    node: Any
    value: Any  # None for an array


class Decoder:
    """Builds trees from JSON, every part of which may be wrong: ValueError then.

    `read(name)` gives a tensor, `shape(name)` its (dtype, shape) in the file; arrays are placed on
    `device`.
    """

    def __init__(self, read: Callable[[str], np.ndarray],
                 shape: Callable[[str], tuple[np.dtype | None, tuple[int, ...]]],
                 types: Iterable[type] = (), device: Any = None):
        self.read, self.shape, self.device = read, shape, device
        self.types = {type_name(t): t for t in types}

    def decode(self, node: Any) -> Any:
        form = form_of(node)
        if form == "array":
            return self.array(node)
        if form not in CONTAINERS:
            return plain(node)
        steps = list(children(node))
        items = [self.decode(child) for _, child in steps]
        if form in ("list", "tuple"):
            return items if form == "list" else tuple(items)
        if form in ("dict", "OrderedDict", "defaultdict"):
            return mapping(node, form, items)
        return self.registered(node, form, items)

    def registered(self, node: Any, form: str, items: list[Any]) -> Any:
        name = node[form]
        cls = self.types.get(name) or known_type(name)
        if cls is None:
            module, _, own = str(name).partition(":")
            raise UnknownTypeError(
                f"holds a {own!r:.60} of the module {module!r:.60}, which is no container known "
                "here: import that module first, pass types=[...], or give a tree with like=")
        if form == "namedtuple":
            if list(getattr(cls, "_fields", ())) != node["fields"]:
                raise ValueError(f"{cls.__name__} has the fields {node['fields']} in the file, but "
                                 f"{list(getattr(cls, '_fields', ()))} here")
            data = None
        else:
            data = self.decode(node["data"])
        kind = KINDS[cls]
        if kind is None or cls is Partial:
            raise ValueError(f"{cls.__name__} is not a registered container")
        try:
            return kind.unflatten(data, tuple(items))
        except Exception as error:
            raise ValueError(f"a {cls.__name__} cannot be built: {error}") from error

    def array(self, node: dict[str, Any], device: Any = None) -> Any:
        """A tensor as it was saved. `device` is where it goes if no device is asked for."""
        dtype, _ = self.type_of(node)
        raw = self.read(node["array"])  # TypeError for a dtype that lucidfn lacks
        if dtype == complex128:
            raw = raw.reshape(-1).view(complex128).reshape(raw.shape[:-1])
        elif is_key(dtype):
            with override(default_device="cpu"):  # as all that is read, until it is placed
                raw = random.wrap_key_data(raw, impl=dtype.names[0]).value  # type: ignore[index]
        if node.get("as") == "scalar":
            return raw[()]
        if node.get("as") == "ndarray":
            return raw
        # Nobody else has it: no copy to protect it.
        return place(Array(raw, node.get("weak", False)), self.device or device)

    def type_of(self, node: dict[str, Any]) -> tuple[np.dtype, tuple[int, ...]]:
        """dtype and shape of an array, as users see it."""
        stored, shape = self.shape(node["array"])
        if stored is None:
            raise ValueError(f"there is no tensor {node['array']!r:.60}")
        logical = node.get("dtype")
        if logical is None:
            return stored, shape
        dtype: np.dtype
        if logical == "complex128":
            dtype, needs = complex128, np.dtype("<f8")
        elif logical in KEYS:
            dtype, needs = KEYS[logical], uint32
        else:
            raise ValueError(f"a tensor has the unknown dtype {logical!r:.60}")
        if stored != needs or shape[-1:] != (2,):
            raise ValueError(f"a {logical} is stored as {describe(('...', 2), needs)}, got "  # type: ignore[arg-type]
                             f"{describe(shape, stored)}")
        return dtype, shape[:-1]

    def leaves(self, node: Any, path: Path = ()) -> Iterator[Leaf]:
        """The leaves in order; None is a container of nothing."""
        form = form_of(node)
        if form in CONTAINERS:
            for name, child in children(node):
                yield from self.leaves(child, (*path, name))
        elif form == "array":
            yield Leaf(path, form, node, None)
        elif node is not None:
            yield Leaf(path, form, node, plain(node))


class UnknownTypeError(ValueError):
    """The file is sound, but names a type that is not known here."""


ALLOWED = {
    "array": {"array", "dtype", "as", "weak"}, "list": {"list"}, "tuple": {"tuple"},
    "dict": {"dict"}, "OrderedDict": {"OrderedDict"}, "defaultdict": {"defaultdict", "factory"},
    "namedtuple": {"namedtuple", "fields", "items"}, "node": {"node", "data", "keys", "items"},
    "float": {"float"}, "int": {"int"}, "complex": {"complex"}, "bytes": {"bytes"},
    "dtype": {"dtype"}}
OPTIONAL = {"array": {"dtype", "as", "weak"}}


def form_of(node: Any) -> str:
    """Which of the forms an object of the JSON has; "" for a plain value."""
    if not isinstance(node, dict):
        if isinstance(node, list):
            raise ValueError("a list stands where a value should")
        return ""
    for form, allowed in ALLOWED.items():
        if form in node and (form != "dtype" or len(node) == 1):
            if node.keys() <= allowed and allowed - OPTIONAL.get(form, set()) <= node.keys():
                check_form(node, form)
                return form
            break
    raise ValueError(f"an entry with the names {sorted(node)!r:.80} is none of the known forms")


def check_form(node: dict[str, Any], form: str) -> None:
    items = node["items"] if "items" in node else node[form]
    names = node.get("fields", node.get("keys"))
    sound = isinstance(items, list) if form in CONTAINERS else True
    if form in ("array", "namedtuple", "node"):
        sound = sound and type(node[form]) is str
    if names is not None:
        sound = sound and isinstance(names, list) and len(names) == len(items) and all(
            type(n) is str for n in names)
    if form in ("dict", "OrderedDict", "defaultdict"):
        sound = sound and all(isinstance(p, list) and len(p) == 2 for p in items)
    if form == "array":
        sound = sound and type(node.get("weak", False)) is bool and node.get("as") in (
            None, "ndarray", "scalar") and type(node.get("dtype", "")) is str
    if form == "defaultdict":
        sound = sound and type(node["factory"]) is str
    if not sound:
        raise ValueError(f"an entry of the form {form!r} is not as it should be")


def children(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(step of the path, child) of a container."""
    form = form_of(node)
    if form in ("list", "tuple"):
        yield from ((str(i), child) for i, child in enumerate(node[form]))
    elif form in ("dict", "OrderedDict", "defaultdict"):
        yield from ((str(key_of(k)), child) for k, child in node[form])
    else:
        names = node["fields"] if form == "namedtuple" else node["keys"]
        yield from zip(names, node["items"], strict=True)


def plain(node: Any) -> Any:
    """A plain value."""
    if not isinstance(node, dict):
        return node
    form, value = next(iter(node.items()))
    try:
        if form == "complex":
            real, imag = value
            return complex(plain(real), plain(imag))
        if form == "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value]
        if form == "int":
            return int(value, 16)
        if form == "bytes":
            return bytes.fromhex(value)
        return KEYS[value] if value in KEYS else as_dtype(str(value))
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"{value!r:.60} is no {form}") from None


def key_of(node: Any) -> Any:
    """A key of a dict: a plain value, or a tuple of them."""
    if form_of(node) == "tuple":
        return tuple([key_of(k) for k in node["tuple"]])
    return plain(node)


def mapping(node: Any, form: str, items: list[Any]) -> Any:
    keys = [key_of(k) for k, _ in node[form]]
    found = dict(zip(keys, items, strict=True))
    if len(found) < len(keys):
        raise ValueError("a dict has the same key twice")
    if form == "OrderedDict":
        return OrderedDict(found)
    if form == "dict":
        return found
    if node["factory"] not in FACTORIES:
        raise ValueError(f"unknown default_factory {node['factory']!r:.60}")
    return defaultdict(FACTORIES[node["factory"]], found)


def known_type(name: str) -> type | None:
    """The container type of this name: in a module that is loaded, or registered from anywhere.

    Only dictionaries are looked into: attribute access could run code of the module.
    """
    module, _, own = name.partition(":")
    scope: Any = sys.modules.get(module)
    for part in own.split("."):
        scope = vars(scope).get(part) if isinstance(scope, ModuleType | type) else None
    if isinstance(scope, type) and KINDS[scope] is not None:
        return scope
    registered = [t for t, kind in list(KINDS.items()) if kind is not None]
    return next((t for t in reversed(registered) if type_name(t) == name), None)


def find(node: Any, wanted: str) -> Any:
    """The node at a dotted path; KeyError where there is none."""
    if not wanted:
        return node
    if form_of(node) in CONTAINERS:
        for name, child in children(node):
            if wanted == name:
                return child
            if wanted.startswith(name + "."):
                try:
                    return find(child, wanted[len(name) + 1:])
                except KeyError:
                    continue  # {"a.b": ..., "a": ...}: the next may have it
    raise KeyError(wanted)
