"""Cells of recurrent layers: one time step, data [B, C] or [C]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.array import typeof
from lucidfn.nn import functional
from lucidfn.nn.functional.recurrent import NONLINEARITIES
from lucidfn.nn.initializers import Initializer
from lucidfn.nn.layer import Layer, Params
from lucidfn.nn.layers.linear import uniform_within
from lucidfn.types import is_inexact


def check_sizes(layer: Layer, **sizes: Any) -> None:
    for name, n in sizes.items():
        if type(n) is not int or n < 1:
            raise ValueError(f"{type(layer).__name__} got {name}={n!r}; it must be an integer of "
                             "at least 1")


def check_nonlinearity(layer: Layer, name: Any) -> None:
    if name not in NONLINEARITIES:
        raise ValueError(f"{type(layer).__name__} got nonlinearity={name!r}; it must be 'tanh' or "
                         "'relu'")


def check_floating(layer: Layer, x: Any) -> None:
    if not is_inexact(typeof(x).dtype):
        raise layer.error(f"got x {typeof(x)}, expected floating data: x.astype('float32'), or an "
                          "nn.Embedding before this layer if these are numbers of words")


def start(key: Any, name: str, shape: tuple[int, ...], hidden: int,
          init: Initializer | None) -> Any:
    """A weight or bias: by its initializer, else uniform within 1 / sqrt(hidden)."""
    named = random.fold_in(key, name)
    return uniform_within(named, shape, hidden) if init is None else init(named, shape)


class Cell(Layer):
    """What the three cells share: sizes, parameters, and the check of their data."""

    gates = 1
    layout = "B C"
    if TYPE_CHECKING:
        input_size: int
        hidden_size: int
        bias: bool
        weight_init: Initializer | None
        bias_init: Initializer | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, input_size=self.input_size, hidden_size=self.hidden_size)

    def init_params(self, key: Any) -> Params:
        n, wide = self.hidden_size, self.gates * self.hidden_size
        shapes = {"weight_ih": (self.input_size, wide), "weight_hh": (n, wide)}
        params = {name: start(key, name, s, n, self.weight_init) for name, s in shapes.items()}
        if self.bias:
            params |= {name: start(key, name, (wide,), n, self.bias_init)
                       for name in ("bias_ih", "bias_hh")}
        return params

    def state_like(self, x: Any, given: Any, name: str) -> Any:
        """The state given, checked, or zeros."""
        x, n = typeof(x), self.hidden_size
        if given is None:
            return lnp.zeros((*x.shape[:-1], n), x.dtype)
        if typeof(given).shape != (*x.shape[:-1], n):
            raise self.error(f"got {name} {typeof(given)} for x {x}, expected "
                             f"{[*x.shape[:-1], n]}: [B, hidden_size], or [hidden_size] for x [C]")
        return given

    def check(self, x: Any) -> None:
        self.expect(x, "C" if typeof(x).ndim == 1 else "B C", self.input_size)
        check_floating(self, x)


def weights_of(params: Params, suffix: str, bias: bool) -> list[Any]:
    """weight_ih, weight_hh and, if there are any, bias_ih, bias_hh of one layer and direction."""
    names = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * bias]
    return [params[name + suffix] for name in names]


class RNNCell(Cell):
    """One step of a plain recurrent network: (x [B, C], h [B, H]) to h' [B, H].

    `cell(params, x, h)`, or without the batch axis in both; h is 0 unless it is given. weight_ih is
    [input_size, hidden_size], weight_hh [hidden_size, hidden_size]. The formula is that of
    `functional.rnn_cell`. Parameters start uniform within 1 / sqrt(hidden_size), as in PyTorch.

    >>> from lucidfn import nn, random
    >>> cell = nn.RNNCell(3, 5)
    >>> params, _ = cell.init(random.key(0))
    >>> cell(params, lnp.ones((2, 3))).shape
    (2, 5)
    """

    input_size: int
    hidden_size: int
    bias: bool = True
    nonlinearity: str = "tanh"
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nonlinearity(self, self.nonlinearity)

    def forward(self, params: Params, x: Any, h: Any = None) -> Any:  # type: ignore[override]
        self.check(x)
        return functional.rnn_cell(x, self.state_like(x, h, "h"),
                                   *weights_of(params, "", self.bias),
                                   nonlinearity=self.nonlinearity)


class LSTMCell(Cell):
    """One step of an LSTM: (x [B, C], (h, c) [B, H]) to (h', c').

    `h, c = cell(params, x, (h, c))`, or without the batch axis in all; both are 0 unless given.
    weight_ih is [input_size, 4 * hidden_size] with gates in the order i, f, g, o, weight_hh
    [hidden_size, 4 * hidden_size]. The formula is that of `functional.lstm_cell`.
    """

    input_size: int
    hidden_size: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    gates = 4

    def forward(self, params: Params, x: Any,  # type: ignore[override]
                carry: Any = None) -> tuple[Any, Any]:
        self.check(x)
        h, c = pair(self, carry)
        carry = self.state_like(x, h, "h"), self.state_like(x, c, "c")
        return functional.lstm_cell(x, carry, *weights_of(params, "", self.bias))


class GRUCell(Cell):
    """One step of a gated recurrent unit: (x [B, C], h [B, H]) to h' [B, H].

    `cell(params, x, h)`, or without the batch axis in both; h is 0 unless it is given. weight_ih is
    [input_size, 3 * hidden_size] with gates in the order r, z, n, weight_hh
    [hidden_size, 3 * hidden_size]. The formula is that of `functional.gru_cell`.
    """

    input_size: int
    hidden_size: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    gates = 3

    def forward(self, params: Params, x: Any, h: Any = None) -> Any:  # type: ignore[override]
        self.check(x)
        return functional.gru_cell(x, self.state_like(x, h, "h"),
                                   *weights_of(params, "", self.bias))


def pair(layer: Layer, carry: Any) -> tuple[Any, Any]:
    """The two states (h, c) of an LSTM; None for each that is not given."""
    if carry is None:
        return None, None
    if isinstance(carry, (tuple, list)) and len(carry) == 2 or (
            hasattr(carry, "shape") and carry.shape[:1] == (2,)):
        return carry[0], carry[1]
    what = f"{len(carry)} values" if isinstance(carry, (tuple, list)) else f"{typeof(carry)}"
    raise layer.error(f"got {what} as its state, expected the pair (h, c)")


__all__ = ["GRUCell", "LSTMCell", "RNNCell"]
