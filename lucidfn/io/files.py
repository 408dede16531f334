"""`save` and `load`: a tree in one safetensors file, with its structure in the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lucidfn.array import Array
from lucidfn.backends.devices import find_backend
from lucidfn.core.trace import Tracer
from lucidfn.errors import CorruptFileError
from lucidfn.io._decode import Decoder, Leaf, UnknownTypeError, children, find
from lucidfn.io._safetensors import (
    DTYPES,
    PREFIX,
    Header,
    Reader,
    describe,
    fault,
    opened,
    read_header,
    write,
)
from lucidfn.io._structure import Encoder, dotted, step
from lucidfn.tree import flatten_with_path
from lucidfn.types import ShapeDtypeStruct

MAX_LINES = 30
VERSION = "1"


def save(path: Any, tree: Any) -> None:
    """Write a tree to a safetensors file.

    Leaves are arrays (of lucidfn or NumPy, random keys too), numbers, strings, bytes and dtypes;
    containers are the built-in ones, named tuples and registered types. Each tensor is named by the
    path to it, such as `params.conv1.weight`; the structure and a checksum of each tensor are in
    the metadata, so that any reader of safetensors can read the arrays, and `load` gives the tree
    back. The file takes its name when it is complete and on the disk: a crash leaves the old file.
    TypeError, naming the path, for anything else; OSError where the disk is full or read-only.

    >>> import lucidfn as lf, lucidfn.numpy as lnp, tempfile
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> lf.save(path, {"w": lnp.ones((2, 3), "bfloat16"), "step": 7, "history": [0.5, 0.25]})
    >>> lf.load(path)["step"], lf.load(path, paths="w").dtype
    (7, dtype(bfloat16))
    """
    encoder = Encoder()
    structure = json.dumps(encoder.encode(tree), separators=(",", ":"))
    write(path, list(encoder.blobs.values()),
          {PREFIX + "version": VERSION, PREFIX + "tree": structure})


def load(path: Any, like: Any = None, *, paths: str | Sequence[str] | None = None,
         verify: bool = True, mmap: bool | None = None, types: Iterable[type] = (),
         device: Any = None) -> Any:
    """Read a tree from a file that `save` wrote, or {name: array} from another safetensors file.

    With `like`, a tree of arrays, shapes (`lf.eval_shape`) or values, the result has its structure,
    and ValueError lists all that is missing, unexpected, or of another shape or dtype. `paths`
    reads a part: the subtree at one dotted path ("params.conv1"), or {path: subtree} for several;
    `like` is then like the part. Each tensor read is checked against its checksum; `verify=False`
    only maps the file into memory, so that tensors are read when they are used (and must then not
    change on the disk). `mmap=` says so independently. `types` are containers that the file may
    name beside those of modules that are loaded. Arrays are placed on `device`; without it, where
    those of `like` are, else on the default device. CorruptFileError (a ValueError) for a file that
    is damaged or no safetensors file, KeyError for a path that is not there. Nothing in a file is
    run.

    >>> import lucidfn as lf, lucidfn.numpy as lnp, tempfile
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> lf.save(path, {"params": {"w": lnp.ones(3), "b": 0.5}})
    >>> lf.load(path, {"params": {"w": lnp.zeros(4), "c": 0.5}})
    Traceback (most recent call last):
    ValueError: .../model.safetensors does not fit `like`
      missing in the file: params.c (float)
      unexpected in the file: params.b (float)
      different: params.w is float32[3] in the file, expected float32[4]
    """
    if device is not None:
        device = find_backend(device).device
    with opened(path) as file:
        header = read_header(file, path)
        checksums = sums_of(header, path) if verify and header.ours else None
        mapped = (not verify) if mmap is None else mmap
        reader = Reader(file, header, path, checksums, mapped)
        decoder = Decoder(reader.read, shape_in(header), types, device)
        content = Content(os.fspath(path), root_of(header, path), decoder, header.ours)
        content.guarded(lambda: check_names(content, header))
        return content.guarded(lambda: content.load(like, paths))


def shapes(path: Any) -> dict[str, Any]:
    """What a file holds, read from its header alone: {dotted path: shape and dtype, or value}.

    >>> import lucidfn as lf, lucidfn.numpy as lnp, tempfile
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> lf.save(path, {"w": lnp.ones((2, 3)), "step": 7})
    >>> lf.io.shapes(path)
    {'w': ShapeDtypeStruct(shape=(2, 3), dtype=float32), 'step': 7}
    """
    with opened(path) as file:
        header = read_header(file, path)
    decoder = Decoder(no_array, shape_in(header))
    content = Content(os.fspath(path), root_of(header, path), decoder, header.ours)

    def listed() -> dict[str, Any]:
        return {dotted(leaf.path): shown(decoder, leaf) for leaf in decoder.leaves(content.root)}

    return content.guarded(listed)


def shown(decoder: Decoder, leaf: Leaf) -> Any:
    if leaf.form != "array":
        return leaf.value
    dtype, shape = decoder.type_of(leaf.node)
    return describe(shape, dtype) if isinstance(dtype, str) else ShapeDtypeStruct(shape, dtype)


def no_array(name: str) -> np.ndarray:
    raise ValueError(f"tensor {name!r} is not read here")


# ------------------------------------------------------------------ what a header says

def shape_in(header: Header) -> Callable[[str], tuple[Any, tuple[int, ...]]]:
    def shape(name: str) -> tuple[Any, tuple[int, ...]]:
        entry = header.entries.get(name)
        if entry is None:
            return None, ()
        # What lucidfn has no dtype for is named, so that what is next to it can be read.
        return DTYPES.get(entry.dtype, entry.dtype), entry.shape

    return shape


def root_of(header: Header, path: Any) -> Any:
    """The structure in the metadata; of a foreign file, a dict of its tensors."""
    if not header.ours:
        return {"dict": [[name, {"array": name}] for name in header.entries]}
    version = header.metadata.get(PREFIX + "version")
    if version != VERSION:
        raise fault(path, f"it has version {version!r:.20} of the format, and this lucidfn "
                             f"reads {VERSION}: a newer one wrote it")
    return in_metadata(header, "tree", path)


def check_names(content: Content, header: Header) -> None:
    """Each tensor stands in one place: else a small file could ask for much memory."""
    names = [leaf.node["array"] for leaf in content.decoder.leaves(content.root)
             if leaf.form == "array"]
    if sorted(names) != sorted(header.entries):
        raise ValueError("its arrays are not those of the file, each of them once")


def sums_of(header: Header, path: Any) -> dict[str, str]:
    sums = in_metadata(header, "crc32", path)
    if not isinstance(sums, dict) or sums.keys() != header.entries.keys():
        raise fault(path, "the checksums in the metadata are not those of its tensors")
    return sums


def in_metadata(header: Header, name: str, path: Any) -> Any:
    try:
        return json.loads(header.metadata[PREFIX + name])
    except (KeyError, ValueError, RecursionError) as error:
        raise fault(path, f"the metadata {PREFIX + name!r} cannot be read: {error!r:.200}"
                       ) from None


# ------------------------------------------------------------------ reading trees

class Content(NamedTuple):
    """The structure of an open file."""

    path: str
    root: Any
    decoder: Decoder
    ours: bool

    def guarded(self, act: Callable[[], Any]) -> Any:
        """Do it; what is wrong with the structure is a fault of the file."""
        try:
            return act()
        except CorruptFileError:
            raise
        except (UnknownTypeError, Mismatch) as error:  # the file is sound
            raise ValueError(f"{self.path} {error}") from None
        except (ValueError, RecursionError) as error:
            raise CorruptFileError(f"{self.path}: the structure in its metadata is not valid: "
                                   f"{error}") from error

    def load(self, like: Any, paths: str | Sequence[str] | None) -> Any:
        if paths is None:
            return self.tree(self.root, like)
        if isinstance(paths, str):
            return self.tree(self.part(paths), like)
        if like is not None:
            raise TypeError("load with several paths has no like=: load one path at a time")
        return {path: self.tree(self.part(path), None) for path in paths}

    def tree(self, node: Any, like: Any) -> Any:
        if like is None:
            return self.decoder.decode(node)
        return fit(self, node, like)

    def leaf(self, leaf: Leaf, like: Any) -> Any:
        """The value of a leaf; of an array, beside the one that it is like."""
        if leaf.form != "array":
            return leaf.value
        return self.decoder.array(leaf.node, like.device if type(like) is Array else None)

    def part(self, wanted: str) -> Any:
        try:
            return find(self.root, wanted)
        except KeyError:
            pass
        below = [] if self.ours else [
            [name.removeprefix(wanted + "."), child] for name, child in children(self.root)
            if name.startswith(wanted + ".")]
        if below:
            return {"dict": below}
        names = [dotted(leaf.path) for leaf in self.decoder.leaves(self.root)]
        raise KeyError(f"{self.path} has nothing at {wanted!r}; it has {listed(names)}")


def listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class Mismatch(ValueError):
    """What is in a file is not what `like` expects."""


def fit(content: Content, node: Any, like: Any) -> Any:
    """The tree like this one from the leaves at the same paths, or all that does not fit."""
    found = list(content.decoder.leaves(node))
    # Foreign names are one step with dots in it: there, paths are compared as text.
    key_of: Callable[[tuple[str, ...]], Any] = tuple if content.ours else dotted  # type: ignore[assignment]
    leaves = {key_of(leaf.path): leaf for leaf in found}
    wanted, treedef = flatten_with_path(like)
    steps = [(tuple(map(step, path)), x) for path, x in wanted]
    lines = [f"missing in the file: {dotted(path) or 'the root'} ({expected(x)})"
             for path, x in steps if key_of(path) not in leaves]
    known = {key_of(path) for path, _ in steps}
    lines += [f"unexpected in the file: {dotted(leaf.path) or 'the root'} "
              f"({actual(content, leaf)})" for key, leaf in leaves.items() if key not in known]
    for path, x in steps:
        leaf = leaves.get(key_of(path))
        if leaf is not None and not matches(content, leaf, x):
            lines.append(f"different: {dotted(path) or 'the root'} is {actual(content, leaf)} in "
                         f"the file, expected {expected(x)}")
    if lines:
        more = [f"... and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
        raise Mismatch("\n  ".join(["does not fit `like`", *lines[:MAX_LINES],
                                    *more]))
    return treedef.unflatten([content.leaf(leaves[key_of(path)], x) for path, x in steps])


def is_array(x: Any) -> bool:
    return isinstance(x, Array | Tracer | np.ndarray | np.generic | ShapeDtypeStruct)


def expected(x: Any) -> str:
    return describe(x.shape, x.dtype) if is_array(x) else type(x).__name__


def actual(content: Content, leaf: Leaf) -> str:
    if leaf.form != "array":
        return type(leaf.value).__name__
    dtype, shape = content.decoder.type_of(leaf.node)
    return describe(shape, dtype)


def matches(content: Content, leaf: Leaf, x: Any) -> bool:
    """Arrays need shape and dtype, plain values their type; a number may be an array of rank 0."""
    if leaf.form != "array":
        return type(leaf.value) is type(x)
    dtype, shape = content.decoder.type_of(leaf.node)
    if is_array(x):
        return shape == tuple(x.shape) and dtype == x.dtype
    return shape == () and type(x) in (bool, int, float, complex)


__all__ = ["load", "save", "shapes"]
