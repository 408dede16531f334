"""Rows of the tables that drive the tests of layers and functions.

A row says how to make our layer or call our function, on which arrays, and what PyTorch calls the
same thing. Data is channels-last here; `first` and `last` move channels for PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lucidfn import nn


@dataclass(frozen=True)
class Draw:
    """Random numbers of a shape; in [lo, hi) if these are given, else standard normal."""

    shape: tuple[int, ...]
    lo: float | None = None
    hi: float | None = None
    kind: str = "float"  # "int", "bool"

    def make(self, rng: np.random.Generator, dtype: str) -> np.ndarray:
        if self.kind == "int":
            return rng.integers(int(self.lo or 0), int(self.hi or 2), self.shape).astype("int32")
        if self.kind == "bool":
            return rng.random(self.shape) < 0.6
        if self.lo is not None:
            return rng.uniform(self.lo, self.hi, self.shape).astype(dtype)
        return rng.standard_normal(self.shape).astype(dtype)


@dataclass(frozen=True)
class Fixed:
    """A given array; floats take the precision of the test."""

    value: Any

    def make(self, rng: np.random.Generator, dtype: str) -> np.ndarray:
        out = np.asarray(self.value)
        return out.astype(dtype) if out.dtype.kind == "f" else out


def F(*shape: int, lo: float | None = None, hi: float | None = None) -> Draw:
    return Draw(shape, lo, hi)


def I(*shape: int, hi: int, lo: int = 0) -> Draw:  # noqa: E743
    return Draw(shape, lo, hi, "int")


def B(*shape: int) -> Draw:
    return Draw(shape, kind="bool")


def first(x: Any) -> Any:
    """[N, *space, C] to PyTorch's [N, C, *space]; data of rank 2 and less stays."""
    return x.movedim(-1, 1) if hasattr(x, "movedim") else (
        np.moveaxis(x, -1, 1) if x.ndim > 2 else x)


def last(x: Any) -> Any:
    """PyTorch's [N, C, *space] to [N, *space, C]."""
    return x.movedim(1, -1) if hasattr(x, "movedim") else np.moveaxis(x, 1, -1)


def torch_weight(x: np.ndarray) -> np.ndarray:
    """[*window, C, O] to [O, C, *window], which for a matrix is its transpose."""
    return np.moveaxis(x, (-1, -2), (0, 1)) if x.ndim >= 2 else x


def torch_names(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Parameters by dotted path, in PyTorch's layouts; the map of layers and kernels alike."""
    out: dict[str, np.ndarray] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            out.update(torch_names(value, f"{prefix}{name}."))
        else:
            out[prefix + name] = torch_weight(np.asarray(value))
    return out


@dataclass(frozen=True)
class LayerCase:
    """One layer under the property tests, and beside PyTorch where it has that layer.

    `weights` maps our parameters (and their gradients) to PyTorch's names and layouts, `buffers`
    the state. `call(module, *tensors)` says how to call PyTorch's module where it is not
    `last(module(first(x)))`; its outputs are compared leaf by leaf with ours. `train` runs the
    comparison in training mode (it must then need no key).
    """

    layer: nn.Layer
    inputs: tuple[Any, ...]
    torch: Callable[[Any], Any] | None = None  # torch.nn -> module
    weights: Callable[[Any], dict[str, np.ndarray]] = torch_names
    buffers: Callable[[Any], dict[str, np.ndarray]] = torch_names
    call: Callable[..., Any] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    train: bool = False
    order: int = 2  # derivatives are checked up to this order
    vmap: bool = True  # False: a layer that needs the whole batch (say why in a comment)
    id: str = ""

    def __str__(self) -> str:
        return self.id or self.layer.headline()


@dataclass(frozen=True)
class FunctionCase:
    """One call of a function of `nn.functional`, and PyTorch's value of the same.

    `ours(*arrays)` and `torch(*tensors)`; what both return is compared leaf by leaf, and so are the
    gradients in the floating arrays. `import torch` inside the lambda's module is not needed: use
    the argument named T (`lambda T, x: T.nn.functional.relu(x)`).
    """

    name: str  # in nn.functional
    ours: Callable[..., Any]
    inputs: tuple[Any, ...]
    torch: Callable[..., Any] | None = None
    order: int = 2
    gradients: bool = True
    vmap: bool = True
    id: str = ""

    def __str__(self) -> str:
        return self.id or self.name
