"""Recurrent layers over time.

Data is [B, T, C], batch first, unlike PyTorch, whose default is batch_first=False: here every layer
takes its batch first. `batch_first=False` takes and gives [T, B, C]. States are [L, B, H] in both
cases, as in PyTorch, with one entry for each layer and direction: forward and backward of the first
layer, then of the second, and so on.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.array import typeof
from lucidfn.nn import functional
from lucidfn.nn.initializers import Initializer
from lucidfn.nn.layer import Layer, Params, State
from lucidfn.nn.layers.recurrent_cells import (
    check_floating,
    check_nonlinearity,
    check_sizes,
    pair,
    start,
    weights_of,
)


class Recurrent(Layer):
    """What the three layers share: the walk over layers and directions."""

    gates = 1
    states = 1  # how many arrays a state consists of
    layout = "B T C"
    proj_size = 0
    nonlinearity = "tanh"
    if TYPE_CHECKING:
        input_size: int
        hidden_size: int
        num_layers: int
        bias: bool
        batch_first: bool
        dropout: float
        bidirectional: bool
        weight_init: Initializer | None
        bias_init: Initializer | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, input_size=self.input_size, hidden_size=self.hidden_size,
                    num_layers=self.num_layers)
        check_nonlinearity(self, self.nonlinearity)
        if isinstance(self.dropout, bool) or not 0 <= self.dropout <= 1:
            raise ValueError(f"{type(self).__name__} got dropout={self.dropout!r}; it is the "
                             "probability of dropping, between 0 and 1")
        if not isinstance(self.proj_size, int) or not 0 <= self.proj_size < self.hidden_size:
            raise ValueError(f"{type(self).__name__} got proj_size={self.proj_size!r}; it must be "
                             f"at least 0 and less than hidden_size={self.hidden_size}")
        if self.dropout and self.num_layers == 1:
            warnings.warn(f"{type(self).__name__} got dropout={self.dropout} with one layer, where "
                          "it does nothing: it is between layers. Put nn.Dropout after the layer",
                          stacklevel=4)

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0 and self.num_layers > 1

    @property
    def output_size(self) -> int:
        """Of h, in one direction."""
        return self.proj_size or self.hidden_size

    def suffixes(self, layer: int) -> list[str]:
        """What the names of the parameters of a layer end in, for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][:1 + self.bidirectional]

    def init_params(self, key: Any) -> Params:
        n, wide, params = self.hidden_size, self.gates * self.hidden_size, {}
        for layer in range(self.num_layers):
            size = self.output_size * (1 + self.bidirectional) if layer else self.input_size
            for suffix in self.suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (size, wide), "weight_hh": (self.output_size, wide)}
                if self.bias:
                    shapes |= {"bias_ih": (wide,), "bias_hh": (wide,)}
                if self.proj_size:
                    shapes["weight_hr"] = (n, self.proj_size)
                for name, shape in shapes.items():
                    init = self.weight_init if len(shape) == 2 else self.bias_init
                    params[name + suffix] = start(key, name + suffix, shape, n, init)
        return params

    def apply(self, params: Params, state: State, x: Any,  # type: ignore[override]
              initial: Any = None, *, lengths: Any = None, train: bool = False,
              key: Any = None) -> tuple[Any, State]:
        """((outputs, last states), state); `initial` are the states at the start, 0 by default."""
        unbatched = self.check(x, lengths)
        x = x[:, None] if unbatched else lnp.swapaxes(x, 0, 1) if self.batch_first else x
        before = self.starting(x, initial, unbatched)
        outputs, after = self.walk(params, x, before, lengths, train, key)
        if unbatched:
            outputs, after = outputs[:, 0], [s[:, 0] for s in after]
        elif self.batch_first:
            outputs = lnp.swapaxes(outputs, 0, 1)
        return (outputs, after[0] if self.states == 1 else tuple(after)), state

    def walk(self, params: Params, x: Any, before: list[Any], lengths: Any, train: bool,
             key: Any) -> tuple[Any, list[Any]]:
        """Outputs over time [T, B, C] and the last states of all layers and directions."""
        if train and self.stochastic:
            key = self.need_key(key)
        last, at = [], 0
        for layer in range(self.num_layers):
            if layer and train and self.dropout:
                x = functional.dropout(x, self.dropout,
                                       key=random.fold_in(key, f"dropout_{layer}"))
            outputs = []
            for backwards, suffix in enumerate(self.suffixes(layer)):
                y, after = self.direction(params, suffix, x, [s[at] for s in before],
                                          reverse=bool(backwards), lengths=lengths)
                outputs.append(y)
                last.append(after)
                at += 1
            x = outputs[0] if len(outputs) == 1 else lnp.concatenate(outputs, axis=-1)
        return x, [lnp.stack(column) for column in zip(*last, strict=True)]

    def direction(self, params: Params, suffix: str, x: Any, carry: list[Any],
                  **options: Any) -> tuple[Any, tuple[Any, ...]]:
        """Outputs over time and the last states of one layer in one direction."""
        raise NotImplementedError

    # -------------------------------------------------------------- checks

    def check(self, x: Any, lengths: Any) -> bool:
        """Whether x is one sequence [T, C]; LayerError unless it is that or has a batch."""
        t = typeof(x)
        order = "T C" if t.ndim == 2 else "B T C" if self.batch_first else "T B C"
        self.expect(x, order, self.input_size)
        check_floating(self, x)
        at = 1 if order == "B T C" else 0
        if not t.shape[at]:
            raise self.error(f"got x {t}, which has no time steps, expected at least one: data is "
                             f"[{order.replace(' ', ', ')}]")
        if lengths is not None and (typeof(lengths).shape != (t.shape[1 - at],) or t.ndim == 2 or
                                    typeof(lengths).dtype.kind not in "iu"):
            raise self.error(f"got lengths {typeof(lengths)} for x {t}, expected one integer for "
                             f"each sequence of the batch: data is [{order.replace(' ', ', ')}]")
        return t.ndim == 2

    def starting(self, x: Any, initial: Any, unbatched: bool) -> list[Any]:
        """The states at the start, [L, B, H] each, checked; zeros if none are given."""
        given = pair(self, initial) if self.states == 2 else (initial,)
        count = self.num_layers * (1 + self.bidirectional)
        out = []
        for name, size, s in zip(("h_0", "c_0"), (self.output_size, self.hidden_size), given,
                                 strict=False):
            if s is None:
                out.append(lnp.zeros((count, x.shape[1], size), typeof(x).dtype))
                continue
            if isinstance(s, (tuple, list)):
                raise self.error(f"got a {type(s).__name__} as {name}, expected one array")
            wanted = (count, size) if unbatched else (count, x.shape[1], size)
            if typeof(s).shape != wanted:
                axes = "[L, H]" if unbatched else "[L, B, H]"
                raise self.error(f"got {name} {typeof(s)}, expected {list(wanted)}: {axes}, where "
                                 "L = num_layers, times 2 if bidirectional"
                                 + ("" if unbatched else ", and B is never first"))
            out.append(lnp.asarray(s)[:, None] if unbatched else s)
        return out


class RNN(Recurrent):
    """A plain recurrent network: x [B, T, C] to (outputs [B, T, H], h_n [L, B, H]).

    `outputs, h_n = layer(params, x, h_0)`; h_0 is [L, B, H], 0 unless it is given. L is num_layers,
    times 2 if bidirectional, and outputs are then [B, T, 2 H], forward and backward side by side.
    One sequence without a batch is [T, C], its states [L, H]. `lengths=` [B] are the lengths of
    sequences that were padded to T: outputs beyond them are 0, and h_n is the state at their end.
    batch_first=False takes and gives [T, B, C]; PyTorch's default is that, ours is True. `dropout`
    is between layers, in training only: `layer.apply(params, {}, x, train=True, key=key)`.

    Parameters have PyTorch's names (weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ...;
    backward ones end in _reverse) and start (uniform within 1 / sqrt(hidden_size)); weights are
    [input_size, H] and [H, H]. LayerError for data or states of another shape. The formula is that
    of `functional.rnn_cell`.

    >>> from lucidfn import nn, random
    >>> layer = nn.RNN(3, 5, bidirectional=True)
    >>> params, _ = layer.init(random.key(0))
    >>> outputs, h_n = layer(params, lnp.ones((2, 7, 3)))
    >>> outputs.shape, h_n.shape
    ((2, 7, 10), (2, 2, 5))
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = True
    dropout: float = 0.0
    bidirectional: bool = False
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def direction(self, params: Params, suffix: str, x: Any, carry: list[Any],
                  **options: Any) -> tuple[Any, tuple[Any, ...]]:
        outputs, h = functional.rnn(x, carry[0], *weights_of(params, suffix, self.bias),
                                    nonlinearity=self.nonlinearity, **options)
        return outputs, (h,)


class LSTM(Recurrent):
    """Long short-term memory: x [B, T, C] to (outputs [B, T, H], (h_n, c_n) [L, B, H]).

    `outputs, (h, c) = layer(params, x, (h_0, c_0))`. Data, states, lengths, options and names of
    parameters are as in `RNN`, batch_first=True included. Gates stand in the order i, f, g, o:
    weight_ih_l0 is [input_size, 4 * hidden_size], weight_hh_l0 [hidden_size, 4 * hidden_size]. With
    proj_size > 0, h and the outputs are projected to it by weight_hr_l0 [hidden_size, proj_size]
    (arXiv:1402.1128). The formula is that of `functional.lstm_cell`.

    >>> from lucidfn import nn, random
    >>> layer = nn.LSTM(3, 5, num_layers=2)
    >>> params, _ = layer.init(random.key(0))
    >>> outputs, (h, c) = layer(params, lnp.ones((2, 7, 3)))
    >>> outputs.shape, h.shape, c.shape
    ((2, 7, 5), (2, 2, 5), (2, 2, 5))
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = True
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    gates, states = 4, 2

    def direction(self, params: Params, suffix: str, x: Any, carry: list[Any],
                  **options: Any) -> tuple[Any, tuple[Any, ...]]:
        projection = params["weight_hr" + suffix] if self.proj_size else None
        return functional.lstm(x, (carry[0], carry[1]), *weights_of(params, suffix, self.bias),
                               weight_hr=projection, **options)


class GRU(Recurrent):
    """Gated recurrent units: x [B, T, C] to (outputs [B, T, H], h_n [L, B, H]).

    `outputs, h_n = layer(params, x, h_0)`. Data, states, lengths, options and names of parameters
    are as in `RNN`, batch_first=True included. Gates stand in the order r, z, n: weight_ih_l0 is
    [input_size, 3 * hidden_size], weight_hh_l0 [hidden_size, 3 * hidden_size]. The formula is that
    of `functional.gru_cell`.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = True
    dropout: float = 0.0
    bidirectional: bool = False
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    gates = 3

    def direction(self, params: Params, suffix: str, x: Any, carry: list[Any],
                  **options: Any) -> tuple[Any, tuple[Any, ...]]:
        outputs, h = functional.gru(x, carry[0], *weights_of(params, suffix, self.bias), **options)
        return outputs, (h,)


__all__ = ["GRU", "LSTM", "RNN"]
