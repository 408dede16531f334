"""Layers that put layers together: one after the other, and around a shortcut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lucidfn.nn.layer import Composite, Layer, Run, as_layer, indented

AnyLayer = Layer | Callable[..., Any]


class Sequential(Composite):
    """Feed each layer the output of the one before; plain functions are layers too.

    Children are named "0", "1", ... or as in a dict or keyword arguments. Index by place or name;
    a slice is a Sequential with the same names.

    >>> from lucidfn import nn
    >>> nn.Sequential(nn.Linear(4, 8), nn.relu, nn.Linear(8, 2))
    Sequential(
      0: Linear(4, 8)
      1: relu
      2: Linear(8, 2)
    )
    """

    layers: tuple[tuple[str, Layer], ...]

    def __init__(self, *layers: AnyLayer | Mapping[str, AnyLayer], **named: AnyLayer):
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            raise TypeError("Sequential takes layers as arguments, got a "
                            f"{type(layers[0]).__name__} of them: Sequential(*layers)")
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named, layers = {**layers[0], **named}, ()
        pairs = {**{str(i): layer for i, layer in enumerate(layers)}, **named}
        self.set("layers", tuple([(name, as_layer(x)) for name, x in pairs.items()]))

    def children(self) -> Mapping[str, AnyLayer]:
        return dict(self.layers)

    def forward(self, run: Run, *inputs: Any) -> Any:  # type: ignore[override]
        for name, _ in self.layers:
            inputs = (run[name](*inputs),)
        return inputs[0] if len(inputs) == 1 else inputs

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter([layer for _, layer in self.layers])

    def __getitem__(self, index: int | str | slice) -> Layer:
        if isinstance(index, slice):
            return Sequential(dict(self.layers[index]))
        return self.named_children[index] if isinstance(index, str) else self.layers[index][1]

    def headline(self) -> str:
        return f"Sequential of {len(self)} layers"

    def __repr__(self) -> str:
        lines = [f"  {name}: {indented(layer)}" for name, layer in self.layers]
        return "\n".join(["Sequential(", *lines, ")"])


class Residual(Composite):
    """shortcut(x) + inner(x); the shortcut is x itself unless another is given.

    Several inner layers follow one another.

    >>> from lucidfn import nn
    >>> nn.Residual(nn.Linear(4, 4), nn.relu)
    Residual(
      inner: Sequential(
        0: Linear(4, 4)
        1: relu
      )
    )
    """

    inner: Layer
    shortcut: Layer | None

    def __init__(self, *inner: AnyLayer, shortcut: AnyLayer | None = None):
        self.set("inner", as_layer(inner[0]) if len(inner) == 1 else Sequential(*inner))
        self.set("shortcut", None if shortcut is None else as_layer(shortcut))

    def forward(self, run: Run, x: Any) -> Any:  # type: ignore[override]
        y = run.inner(x)
        around = x if self.shortcut is None else run.shortcut(x)
        if y.shape != around.shape:
            raise self.error(f"adds inner(x) {list(y.shape)} to "
                             f"{'x' if self.shortcut is None else 'shortcut(x)'} "
                             f"{list(around.shape)}; their shapes must be equal: give a shortcut= "
                             "that maps x to the shape of inner(x)")
        return around + y

    def headline(self) -> str:
        return "Residual"

    def __repr__(self) -> str:
        lines = [f"  {name}: {indented(c)}" for name, c in self.named_children.items()]
        return "\n".join(["Residual(", *lines, ")"])


__all__ = ["Residual", "Sequential"]
