"""Linear and bilinear layers, and layers that only change the shape."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.array import typeof
from lucidfn.nn.functional.convolution import check_size, is_int
from lucidfn.nn.functional.linear import bilinear, linear
from lucidfn.nn.initializers import Initializer
from lucidfn.nn.layer import Layer, Params


def uniform_within(key: Any, shape: tuple[int, ...], fan_in: int) -> Any:
    """PyTorch's start of weights and biases: uniform within 1 / sqrt(fan_in) of 0."""
    bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
    return random.uniform(key, shape, minval=-bound, maxval=bound)


def weight_and_bias(key: Any, shape: tuple[int, ...], fan_in: int, outputs: int, bias: bool,
                    weight_init: Initializer | None, bias_init: Initializer | None) -> Params:
    """{"weight"} or {"weight", "bias"}: by the initializers given, else as PyTorch starts them."""
    def make(name: str, shape: tuple[int, ...], init: Initializer | None) -> Any:
        named = random.fold_in(key, name)
        return uniform_within(named, shape, fan_in) if init is None else init(named, shape)

    params = {"weight": make("weight", shape, weight_init)}
    if bias:
        params["bias"] = make("bias", (outputs,), bias_init)
    return params


class Identity(Layer):
    """x as it is."""

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return x


class Linear(Layer):
    """y = x @ weight + bias on the last axis: [..., in_features] to [..., out_features].

    weight is [in_features, out_features]. Both start uniform within 1 / sqrt(in_features), as in
    PyTorch, unless initializers are given.

    >>> from lucidfn import nn, random
    >>> layer = nn.Linear(4, 2)
    >>> params, state = layer.init(random.key(0))
    >>> layer(params, lnp.ones((3, 4))).shape
    (3, 2)
    """

    in_features: int
    out_features: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    layout = "... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.error, "in_features", self.in_features, 0)
        check_size(self.error, "out_features", self.out_features, 0)

    def init_params(self, key: Any) -> Params:
        return weight_and_bias(key, (self.in_features, self.out_features), self.in_features,
                               self.out_features, self.bias, self.weight_init, self.bias_init)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.expect(x, self.layout, self.in_features)
        return linear(x, params["weight"], params["bias"] if self.bias else None)


class Bilinear(Layer):
    """y[o] = x1 weight[o] x2 + bias[o]: [..., in1_features], [..., in2_features] to
    [..., out_features].

    weight is [out_features, in1_features, in2_features]. Both start uniform within
    1 / sqrt(in1_features), as in PyTorch, unless initializers are given.
    """

    in1_features: int
    in2_features: int
    out_features: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    layout = "... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("in1_features", "in2_features", "out_features"):
            check_size(self.error, name, getattr(self, name))

    def init_params(self, key: Any) -> Params:
        shape = (self.out_features, self.in1_features, self.in2_features)
        return weight_and_bias(key, shape, self.in1_features, self.out_features, self.bias,
                               self.weight_init, self.bias_init)

    def forward(self, params: Params, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        self.expect(x1, self.layout, self.in1_features)
        self.expect(x2, self.layout, self.in2_features)
        return bilinear(x1, x2, params["weight"], params["bias"] if self.bias else None)


class Flatten(Layer):
    """The axes from start_axis to end_axis as one; by default all but the batch.

    Images [N, H, W, C] give their features in the order of H, W, C, where PyTorch, with channels
    first, gives C, H, W: the weights of a Linear after it differ by that permutation. To compute
    on PyTorch's order, move the channels before: lnp.moveaxis(x, -1, 1).

    >>> from lucidfn import nn
    >>> nn.Flatten()({}, lnp.ones((2, 4, 4, 3))).shape
    (2, 48)
    """

    start_axis: int = 1
    end_axis: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("start_axis", "end_axis"):
            if not is_int(getattr(self, name)):
                raise self.error(f"got {name}={getattr(self, name)!r}; expected an integer")

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        shape = typeof(x).shape
        rank = len(shape)
        first, last = [a + rank if a < 0 else a for a in (self.start_axis, self.end_axis)]
        if not 0 <= first <= last < rank:
            raise self.error(f"got x {typeof(x)}; it has no axes from {self.start_axis} to "
                             f"{self.end_axis} in this order")
        merged = math.prod(shape[first:last + 1])
        return lnp.reshape(x, (*shape[:first], merged, *shape[last + 1:]))


class Unflatten(Layer):
    """One axis split into several of the given sizes, of which one may be -1.

    >>> from lucidfn import nn
    >>> nn.Unflatten(1, (4, -1, 3))({}, lnp.ones((2, 48))).shape
    (2, 4, 4, 3)
    """

    axis: int
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.sizes
        if not is_int(self.axis):
            raise self.error(f"got axis={self.axis!r}; expected an integer")
        if not (isinstance(sizes, tuple) and sizes and all(is_int(n) and n >= -1 for n in sizes)
                and sizes.count(-1) <= 1):
            raise self.error(f"got sizes={sizes!r}; expected a tuple of sizes, one of which may be "
                             "-1")

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        shape, sizes = typeof(x).shape, self.sizes
        at = self.axis + len(shape) if self.axis < 0 else self.axis
        if not 0 <= at < len(shape):
            raise self.error(f"got x {typeof(x)}, which has no axis {self.axis}")
        known = math.prod([n for n in sizes if n != -1])
        fits = known and shape[at] % known == 0 if -1 in sizes else known == shape[at]
        if not fits:
            raise self.error(f"got x {typeof(x)}; axis {self.axis} has size {shape[at]}, which "
                             f"does not split into {sizes}")
        filled = [shape[at] // known if n == -1 else n for n in sizes]
        return lnp.reshape(x, (*shape[:at], *filled, *shape[at + 1:]))


__all__ = ["Bilinear", "Flatten", "Identity", "Linear", "Unflatten"]
