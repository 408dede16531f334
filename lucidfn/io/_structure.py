"""Trees as JSON and back: what stands in the metadata of a file that `lf.save` writes.

A number, a text, true and null stand for themselves. Everything else is an object with one of

    {"array": name}                  a tensor of the file; "dtype", "as", "weak" where they matter
    {"list": [...]}  {"tuple": [...]}
    {"dict": [[key, value], ...]}    also "OrderedDict", and "defaultdict" with a "factory"
    {"namedtuple": type, "fields": [...], "items": [...]}
    {"node": type, "data": ..., "keys": [...], "items": [...]}    a registered container
    {"float": "nan"}  {"int": "0x..."}  {"complex": [re, im]}  {"bytes": hex}  {"dtype": name}

A type is text, "module:Name". It is looked up among the types that are known here already: reading
imports no module and calls nothing but the constructors of registered containers.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from lucidfn import random
from lucidfn.array import Array
from lucidfn.core.trace import Tracer
from lucidfn.io._safetensors import Blob, as_bytes, storable
from lucidfn.nn.layer import Layer
from lucidfn.tree._registry import KINDS
from lucidfn.tree_util import Partial
from lucidfn.types import KEY_IMPLS, complex128, dtype_name, is_key

Path = tuple[str, ...]
FACTORIES = {"None": None, **{t.__name__: t for t in (list, dict, tuple, int, float, bool, str,
                                                      complex, set)}}
PLAIN = (bool, int, str)
KEYS = {dtype_name(dtype): dtype for dtype in KEY_IMPLS.values()}


def dotted(path: Iterable[Any]) -> str:
    return ".".join(map(str, path))


def type_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


class Encoder:
    """Turns a tree into JSON, and collects the tensors that it names."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}

    def encode(self, x: Any, path: Path = ()) -> Any:
        """The JSON of a tree. TypeError, with the path, for what a file cannot hold."""
        kind = KINDS[type(x)]
        if x is None:
            return None
        if kind is None:
            return self.leaf(x, path)
        children, data = kind.flatten(x)
        steps = [step(key) for key in kind.keys(x, data, len(children))]
        if isinstance(x, dict) and type(x) in (dict, OrderedDict, defaultdict):
            return self.mapping(x, path)
        items = [self.encode(c, (*path, s)) for c, s in zip(children, steps, strict=True)]
        if type(x) in (list, tuple):
            return {type(x).__name__: items}
        if data is None and list(getattr(x, "_fields", ())) == steps and isinstance(x, tuple):
            return {"namedtuple": type_name(type(x)), "fields": steps, "items": items}
        if data is x or isinstance(x, Partial):
            raise refused(x, path, "it is structure, not data: give it again after loading")
        return {"node": type_name(type(x)), "data": self.metadata(data, type(x), path),
                "keys": steps, "items": items}

    def mapping(self, x: dict[Any, Any], path: Path) -> Any:
        """A dict in its own order, which is not that of its leaves."""
        pairs = [[self.metadata(key, type(x), path), self.encode(value, (*path, str(key)))]
                 for key, value in x.items()]
        out: dict[str, Any] = {type(x).__name__: pairs}
        if isinstance(x, defaultdict):
            name = getattr(x.default_factory, "__name__", str(x.default_factory))
            if FACTORIES.get(name, self) is not x.default_factory:
                raise refused(x, path, f"its default_factory must be one of {list(FACTORIES)}")
            out["factory"] = name
        return out

    def metadata(self, x: Any, cls: type, path: Path) -> Any:
        """A key of a dict, or the static part of a registered type: plain values only."""
        inner = _NoArrays()
        try:
            return inner.encode(x)
        except TypeError:
            raise refused(x, path, f"a key or static field of {cls.__name__} must be made of plain "
                                   "values") from None

    def leaf(self, x: Any, path: Path) -> Any:
        kind = type(x)
        if kind is int and abs(x) >= 2**63:  # beyond what other readers of JSON take
            return {"int": hex(x)}
        if kind in PLAIN or kind is float and math.isfinite(x):
            return x
        if kind is float:
            return {"float": repr(x)}
        if kind is complex:
            return {"complex": [self.leaf(x.real, path), self.leaf(x.imag, path)]}
        if kind is bytes:
            return {"bytes": x.hex()}
        if isinstance(x, np.dtype) and (storable(x) or x == complex128 or is_key(x)):
            return {"dtype": dtype_name(x)}
        return self.array(x, path)

    def array(self, x: Any, path: Path) -> Any:
        if isinstance(x, Tracer):
            raise refused(x, path, "it is a traced value: save outside of jit, grad and vmap")
        if not isinstance(x, Array | np.generic) and type(x) not in (np.ndarray, np.memmap):
            raise refused(x, path, "a layer is a description, save its params and state"
                          if isinstance(x, Layer) else "")
        raw = np.asarray(x.value if isinstance(x, Array) else x)
        name = unused(dotted(path) or "value", self.blobs)
        out: dict[str, Any] = {"array": name}
        if raw.dtype == complex128 or is_key(raw.dtype):
            out["dtype"] = dtype_name(raw.dtype)
        elif not storable(raw.dtype):
            raise refused(x, path, f"its dtype is {raw.dtype}")
        if not isinstance(x, Array):
            out["as"] = "scalar" if isinstance(x, np.generic) else "ndarray"
        elif x.weak:
            out["weak"] = True
        self.blobs[name] = blob_of(name, raw)
        return out


class _NoArrays(Encoder):
    def array(self, x: Any, path: Path) -> Any:
        raise TypeError("no arrays here")


def step(key: Any) -> str:
    """One step of a path as text, which is the same for a tree and for its JSON."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def refused(x: Any, path: Path, why: str) -> TypeError:
    kind = f"{type(x).__module__}.{type(x).__qualname__}".removeprefix("builtins.")
    at = f" at {dotted(path)!r}" if path else ""
    return TypeError(
        f"lf.save cannot write the {kind}{at}" + (f": {why}" if why else "; a tree of arrays, "
        "numbers, strings, bytes, dtypes and None in containers can be saved. Make the type a "
        "container (lf.tree_util.register_dataclass, register_pytree_node), or leave it out"))


def unused(name: str, taken: dict[str, Any]) -> str:
    """{"a.b": x, "a": {"b": y}} has one path twice, and a header has a name of its own."""
    out, n = name, 1
    while out in taken or out == "__metadata__":
        n += 1
        out = f"{name}#{n}"
    return out


def blob_of(name: str, raw: np.ndarray) -> Blob:
    """An array as a tensor of the format: keys as words, complex128 as pairs of float64."""
    if is_key(raw.dtype):
        return blob_of(name, np.asarray(random.key_data(raw)))
    dtype = raw.dtype.newbyteorder("<")
    # C order: a reader cannot know another one. The copy is made when it is written, and dropped.
    data = lambda: as_bytes(np.asarray(raw, dtype, order="C"))
    if dtype == complex128:
        return Blob(name, np.dtype("<f8"), (*raw.shape, 2), data)
    return Blob(name, dtype, raw.shape, data)
