"""Weights in the names and layouts of PyTorch, in both directions.

Names are the same. Layouts differ where data is channels-last here: kernels are [*window, C, O]
instead of [O, C, *window], matrices [in, out] instead of [out, in]. The first Linear layer after a
Flatten sees its features in another order, which only its shape before says: `flatten=`. The three
maps into heads of an attention are one matrix there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lucidfn import random
from lucidfn.api.inspect import eval_shape
from lucidfn.array import Array, place
from lucidfn.io._safetensors import describe
from lucidfn.io.files import load
from lucidfn.nn.layer import Composite, Layer, Params, State
from lucidfn.nn.layers.attention import MultiheadAttention
from lucidfn.nn.layers.convolution import Conv, ConvTranspose
from lucidfn.nn.layers.linear import Linear
from lucidfn.nn.layers.recurrent import Recurrent
from lucidfn.nn.layers.recurrent_cells import Cell
from lucidfn.types import bfloat16, is_inexact

MAX_LINES = 30
COUNTER = "num_batches_tracked"  # not in old files, and in layers that do not use it


class Slot(NamedTuple):
    """Where one array of ours is in a state dict: part i of n along an axis of the array `name`."""

    path: tuple[str, ...]  # of the layer's children, then of the array
    name: str
    there: Callable[[np.ndarray], np.ndarray]  # from our layout to PyTorch's
    back: Callable[[np.ndarray], np.ndarray]
    part: tuple[int, int] = (0, 1)
    axis: int = 0

    @property
    def key(self) -> str:
        return ".".join(self.path)


# ------------------------------------------------------------------ layouts

def same(x: np.ndarray) -> np.ndarray:
    return x


def transposed(x: np.ndarray) -> np.ndarray:
    return x.T


def kernel_there(x: np.ndarray) -> np.ndarray:
    """[*window, C, O] to [O, C, *window]."""
    return np.moveaxis(x, (-1, -2), (0, 1))


def kernel_back(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, (0, 1), (-1, -2))


def transposed_kernel(groups: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """[*window, C/G, O] to [C, O/G, *window], and back."""
    def there(x: np.ndarray) -> np.ndarray:
        n = x.ndim - 2
        x = x.reshape(*x.shape[:-1], groups, -1)  # *window, C/G, G, O/G
        x = x.transpose(n + 1, n, n + 2, *range(n))  # G, C/G, O/G, *window
        return x.reshape(-1, *x.shape[2:])

    def back(x: np.ndarray) -> np.ndarray:
        n = x.ndim - 2
        x = x.reshape(groups, -1, *x.shape[1:])
        x = x.transpose(*range(3, n + 3), 1, 0, 2)
        return x.reshape(*x.shape[:-2], -1)

    return there, back


def flattened(shape: Sequence[int]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """[H W C, out] of a Linear layer after a Flatten to [out, C H W], and back; shape is C, *HW."""
    c, *space = shape
    n = len(space)

    def there(x: np.ndarray) -> np.ndarray:
        return x.reshape(*space, c, -1).transpose(n + 1, n, *range(n)).reshape(x.shape[::-1])

    def back(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, c, *space).transpose(*range(2, n + 2), 1, 0).reshape(x.shape[::-1])

    return there, back


MATRICES = (Linear, Recurrent, Cell)


def layout_of(layer: Layer, name: str, ndim: int, flatten: Sequence[int] | None) -> tuple[
        Callable[..., Any], Callable[..., Any]]:
    """(to PyTorch's layout, back) of one array of a layer."""
    if flatten is not None and name == "weight":
        return flattened(flatten)
    if ndim < 2:
        return same, same
    if isinstance(layer, ConvTranspose) and name == "weight":
        return transposed_kernel(layer.groups)
    if isinstance(layer, Conv) and name == "weight":
        return kernel_there, kernel_back
    if isinstance(layer, MATRICES):
        return transposed, transposed
    return same, same


# ------------------------------------------------------------------ slots

def slots(layer: Layer, shapes: Any, flatten: Mapping[str, Sequence[int]],
          path: tuple[str, ...] = (), prefix: str = "") -> Iterator[Slot]:
    """The slots of a layer's parameters or state, given as a dict of their shapes."""
    packed = isinstance(layer, MultiheadAttention) and "q_proj" in shapes
    if packed:
        yield from attention_slots(shapes, path, prefix)
    children = layer.named_children if isinstance(layer, Composite) else {}
    for name, value in shapes.items():
        if isinstance(value, dict):
            if not packed or name == "out_proj":
                # Lists of layers are modules of their own there: layers_0 is layers.0.
                there = name.replace("layers_", "layers.") if name.startswith("layers_") else name
                yield from slots(children[name], value, flatten, (*path, name), f"{prefix}{there}.")
        else:
            ways = layout_of(layer, name, len(value.shape), flatten.get(".".join(path)))
            yield Slot((*path, name), prefix + name, *ways)


def attention_slots(shapes: Any, path: tuple[str, ...], prefix: str) -> Iterator[Slot]:
    """q, k and v: thirds of one matrix, unless they see data of different widths."""
    alike = len({shapes[f"{n}_proj"]["weight"].shape for n in "qkv"}) == 1
    for i, n in enumerate("qkv"):
        for name in shapes[f"{n}_proj"]:
            own = (*path, f"{n}_proj", name)
            if name == "bias":
                yield Slot(own, prefix + "in_proj_bias", same, same, (i, 3))
            elif alike:
                yield Slot(own, prefix + "in_proj_weight", transposed, transposed, (i, 3))
            else:
                yield Slot(own, f"{prefix}{n}_proj_weight", transposed, transposed)


def renamed(slot: Slot, names: Mapping[str, str]) -> Slot:
    """The longest beginning of our path that `names` has, replaced by PyTorch's."""
    parts = slot.name.split(".")
    for n in range(len(parts), 0, -1):
        theirs = names.get(".".join(parts[:n]))
        if theirs is not None:
            return slot._replace(name=".".join(filter(None, [theirs, *parts[n:]])))
    return slot


def slots_of(model: Layer, names: Mapping[str, str] | None,
             flatten: Mapping[str, Sequence[int]] | None) -> tuple[list[Slot], list[Slot], Any]:
    """(slots of the parameters, of the state, the shapes of both)."""
    if getattr(model, "weights", None) is not None:  # whose start would be read from a file
        model = replace(model, weights=None)  # type: ignore[type-var]
    shapes = eval_shape(model.init, random.key(0))
    found = [[renamed(slot, names or {}) for slot in slots(model, tree, flatten or {})]
             for tree in shapes]
    unknown = {*(flatten or {})} - {".".join(slot.path[:-1]) for slot in found[0]}
    if unknown:
        raise ValueError(f"flatten names {sorted(unknown)}, which have no parameters in "
                         f"{type(model).__name__}")
    return found[0], found[1], shapes


# ------------------------------------------------------------------ the two directions

def from_torch(mapping: Any, model: Layer, *, names: Mapping[str, str] | None = None,
               flatten: Mapping[str, Sequence[int]] | None = None, ignore: Iterable[str] = ()
               ) -> tuple[Params, State]:
    """(params, state) of a model from a PyTorch state dict of the same architecture.

    `mapping` has tensors or arrays by name, or says where they are: see `read_state_dict`. `names`
    gives PyTorch's names where they are not ours, for a whole layer or one array: {"head": "fc"};
    `flatten` the shape (C, H, W) that a Flatten before a Linear layer sees: {"fc1": (16, 4, 4)}.
    `ignore` are patterns of names that the model does not need. Floating dtypes are kept, and the
    arrays are made on the default device. ValueError lists everything that is missing, unexpected
    or of another shape.

    >>> from lucidfn import io, nn
    >>> theirs = {"0.weight": np.ones((4, 3, 5, 5), "float32"), "0.bias": np.zeros(4, "float32")}
    >>> params, state = io.from_torch(theirs, nn.Sequential(nn.Conv2d(3, 4, 5), nn.relu))
    >>> params["0"]["weight"].shape
    (5, 5, 3, 4)
    """
    own, kept, shapes = slots_of(model, names, flatten)
    return convert(read_state_dict(mapping), own, kept, shapes, ignore, type(model).__name__)


def convert(arrays: Mapping[str, Any], own: list[Slot], kept: list[Slot], shapes: Any,
            ignore: Iterable[str], what: str) -> tuple[Params, State]:
    """(params, state) from the slots of both."""
    faults: list[str] = []
    used = {slot.name for slot in (*own, *kept)}
    patterns = (*ignore, f"*{COUNTER}")
    faults += [f"unexpected: {name} {describe(x.shape, str(x.dtype))}" for name, x in arrays.items()
               if name not in used and not any(fnmatchcase(name, p) for p in patterns)]
    trees = tuple(filled(arrays, some, tree, faults)
                  for some, tree in zip((own, kept), shapes, strict=True))
    if faults:
        more = [f"... and {len(faults) - MAX_LINES} more"] if len(faults) > MAX_LINES else []
        raise ValueError("\n  ".join([f"the state dict does not fit {what}:", *faults[:MAX_LINES],
                                      *more]))
    return trees  # type: ignore[return-value]


def filled(arrays: Mapping[str, Any], some: list[Slot], shapes: Any, faults: list[str]) -> Any:
    """The nested dict of the arrays in these slots; what does not fit is added to faults."""
    out: dict[str, Any] = {}
    for slot in some:
        wanted = at(shapes, slot.path)
        given = arrays.get(slot.name)
        if given is None and slot.path[-1] == COUNTER:
            given = np.zeros(wanted.shape, wanted.dtype)
        if given is None:
            line = f"missing: {slot.name} ({slot.key} {describe(wanted.shape, wanted.dtype)})"
            if line not in faults:
                faults.append(line)
            continue
        blank = np.broadcast_to(np.empty((), np.uint8), wanted.shape)
        shape = list(slot.there(blank).shape)
        if shape:
            shape[slot.axis] *= slot.part[1]
        given = as_numpy(given)
        if list(given.shape) != shape:
            faults.append(f"different: {slot.name} has shape {tuple(given.shape)}, expected "
                          f"{tuple(shape)} (here {slot.key} {tuple(wanted.shape)})")
            continue
        piece = given if slot.part[1] == 1 else np.split(given, slot.part[1], slot.axis)[
            slot.part[0]]
        # PyTorch counts batches in 64 bits.
        dtype = piece.dtype if is_inexact(piece.dtype) else wanted.dtype
        inner = out
        for step in slot.path[:-1]:
            inner = inner.setdefault(step, {})
        inner[slot.path[-1]] = place(Array(np.array(slot.back(piece), dtype, order="C")))
    return out


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def to_torch(model: Layer, params: Params, state: State | None = None, *,
             names: Mapping[str, str] | None = None,
             flatten: Mapping[str, Sequence[int]] | None = None) -> dict[str, np.ndarray]:
    """{name: array} in PyTorch's names and layouts: the inverse of `from_torch`.

    `{k: torch.from_numpy(v) for k, v in ...}` is a state dict, and `lf.save(path, ...)` a file that
    PyTorch's safetensors reads.

    >>> from lucidfn import io, nn
    >>> model = nn.Linear(3, 2)
    >>> {name: x.shape for name, x in io.to_torch(model, *model.init(random.key(0))).items()}
    {'bias': (2,), 'weight': (2, 3)}
    """
    own, kept, _ = slots_of(model, names, flatten)
    model.check_params(params)
    return exported(own, params) | exported(kept, state or {})


def exported(some: list[Slot], tree: Any) -> dict[str, np.ndarray]:
    parts: dict[str, list[tuple[Slot, np.ndarray]]] = {}
    for slot in some if tree else []:
        there = slot.there(np.asarray(at(tree, slot.path)))
        parts.setdefault(slot.name, []).append((slot, there))
    return {name: np.array(found[0][1] if found[0][0].part[1] == 1 else np.concatenate(
        [x for _, x in sorted(found, key=lambda pair: pair[0].part)], found[0][0].axis), order="C")
        for name, found in parts.items()}


# ------------------------------------------------------------------ where state dicts are

def as_numpy(x: Any) -> np.ndarray:
    """A tensor, an Array or an ndarray as an ndarray; torch need not be imported for it."""
    if not hasattr(x, "detach"):
        return np.asarray(x.value if isinstance(x, Array) else x)
    x = x.detach().cpu().resolve_conj().resolve_neg()
    if str(x.dtype) == "torch.bfloat16":  # NumPy's dtype is of another package
        return x.contiguous().view(sys.modules["torch"].int16).numpy().view(bfloat16)
    return x.numpy()


def read_state_dict(source: Any) -> Mapping[str, Any]:
    """{name: array} from a mapping, a file, or a repository of Hugging Face.

    A path ends with .safetensors, .safetensors.index.json (a file in several parts), or is one of
    torch.save (.pt, .pth, .bin): that needs torch, and is read with `weights_only=True`, which
    unpickles tensors and nothing else. "hf://owner/name/file" (or owner/name, for
    model.safetensors; @revision after the name) downloads with `huggingface_hub`.
    """
    if isinstance(source, Mapping):
        inner = source.get("state_dict")
        return inner if isinstance(inner, Mapping) else source
    if isinstance(source, str) and source.startswith("hf://"):
        source = from_hub(source.removeprefix("hf://"))
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"a state dict is a mapping of arrays by name, or the path of a file, got "
                        f"{type(source).__name__}; of a torch module: module.state_dict()")
    path = Path(source)
    if path.name.endswith(".safetensors.index.json"):
        weight_map = json.loads(path.read_text())["weight_map"]
        parts = {name for name in weight_map.values() if name == Path(name).name}
        return {k: v for part in sorted(parts) for k, v in
                load(path.parent / part, device="cpu").items()}
    if path.suffix == ".safetensors":
        found = load(path, device="cpu")
        if not isinstance(found, dict):
            raise ValueError(f"{path} holds a {type(found).__name__}, expected arrays by name")
        return found
    return read_state_dict(from_torch_file(path))


def from_torch_file(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError(f"reading {path.name} needs torch (pip install torch); a .safetensors "
                          "file needs nothing") from None
    return torch.load(path, map_location="cpu", weights_only=True)


def from_hub(place: str) -> str:
    """The path of a file of a repository, downloaded where it is not in the cache."""
    repo, _, name = place.partition("/")
    repo, name = f"{repo}/{name.partition('/')[0]}", name.partition("/")[2] or "model.safetensors"
    repo, _, revision = repo.partition("@")
    try:
        import huggingface_hub
    except ImportError:
        raise ImportError(f"hf://{place} needs huggingface_hub: pip install "
                          "'lucidfn[hub]'") from None
    return huggingface_hub.hf_hub_download(repo, name, revision=revision or None)


__all__ = ["from_torch", "read_state_dict", "to_torch"]
