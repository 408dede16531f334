"""Recurrent cells and layers."""

import warnings
from typing import Any

from lucidfn import nn
from lucidfn.nn import functional

from .table import F, Fixed, FunctionCase, LayerCase


def direct(module: Any, *xs: Any) -> Any:
    """PyTorch's recurrent modules take our data as it is."""
    return module(*xs)


def with_pair(module: Any, x: Any, carry: Any) -> Any:
    return module(x, (carry[0], carry[1]))


def layer(ours: nn.Layer, theirs: Any, *inputs: Any, call: Any = direct,
          **kwargs: Any) -> LayerCase:
    return LayerCase(ours, inputs, torch=theirs, call=call, **kwargs)


def quiet(module: Any, x: Any) -> Any:
    """Without the warning that projections run on another implementation of PyTorch's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return module(x)


def packed(module: Any, x: Any) -> Any:
    """The module on packed sequences of lengths 3, 1 and 4."""
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    sequences = pack_padded_sequence(x, [3, 1, 4], batch_first=True, enforce_sorted=False)
    outputs, last = module(sequences)
    return pad_packed_sequence(outputs, batch_first=True)[0], last


LENGTHS = {"lengths": [3, 1, 4]}


def cell(T: Any, kind: str, x: Any, carry: Any, *weights: Any) -> Any:
    """A step of PyTorch's with our weights."""
    step = getattr(T, kind)
    return step(x, carry, *[w.T if w.ndim == 2 else w for w in weights])


def cell_weights(gates: int) -> tuple[Any, ...]:
    return (F(3, gates * 5), F(5, gates * 5), F(gates * 5), F(gates * 5))


def over_time(T: Any, kind: str, x: Any, carry: Any, *weights: Any) -> Any:
    """PyTorch's cell in a Python loop."""
    ys = []
    for row in x:
        carry = cell(T, kind, row, carry, *weights)
        ys.append(carry[0] if isinstance(carry, tuple) else carry)
    return T.stack(ys), carry


CASES = [
    layer(nn.RNNCell(3, 5), lambda t: t.RNNCell(3, 5), F(2, 3), F(2, 5)),
    layer(nn.RNNCell(3, 5, bias=False, nonlinearity="relu"),
          lambda t: t.RNNCell(3, 5, bias=False, nonlinearity="relu"), F(2, 3)),
    layer(nn.LSTMCell(3, 5), lambda t: t.LSTMCell(3, 5), F(2, 3), F(2, 2, 5), call=with_pair),
    layer(nn.LSTMCell(3, 4, bias=False), lambda t: t.LSTMCell(3, 4, bias=False), F(3)),
    layer(nn.GRUCell(3, 5), lambda t: t.GRUCell(3, 5), F(2, 3), F(2, 5)),
    layer(nn.GRUCell(3, 2, bias=False), lambda t: t.GRUCell(3, 2, bias=False), F(2, 3)),

    layer(nn.RNN(3, 4), lambda t: t.RNN(3, 4, batch_first=True), F(2, 5, 3), F(1, 2, 4)),
    layer(nn.RNN(3, 4, 2, "relu", bias=False, bidirectional=True),
          lambda t: t.RNN(3, 4, 2, "relu", bias=False, batch_first=True, bidirectional=True),
          F(2, 3, 3)),
    layer(nn.LSTM(3, 5), lambda t: t.LSTM(3, 5, batch_first=True), F(2, 4, 3), F(2, 1, 2, 5),
          call=with_pair),
    layer(nn.LSTM(3, 2, num_layers=2, batch_first=False, bidirectional=True),
          lambda t: t.LSTM(3, 2, num_layers=2, bidirectional=True), F(3, 2, 3), F(2, 4, 2, 2),
          call=with_pair, order=1),
    layer(nn.LSTM(3, 4, num_layers=2, bias=False, bidirectional=True, proj_size=2),
          lambda t: t.LSTM(3, 4, num_layers=2, bias=False, batch_first=True, bidirectional=True,
                           proj_size=2), F(2, 3, 3), call=quiet, order=1),
    layer(nn.LSTM(3, 4, bidirectional=True), lambda t: t.LSTM(3, 4, bidirectional=True), F(3, 3),
          id="LSTM without a batch"),
    layer(nn.LSTM(3, 2, num_layers=2, bidirectional=True),
          lambda t: t.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True), F(3, 4, 3),
          call=packed, kwargs=LENGTHS, order=1, id="LSTM with lengths"),
    layer(nn.GRU(3, 5), lambda t: t.GRU(3, 5, batch_first=True), F(2, 4, 3), F(1, 2, 5)),
    layer(nn.GRU(3, 2, num_layers=2, bias=False, batch_first=False, bidirectional=True),
          lambda t: t.GRU(3, 2, num_layers=2, bias=False, bidirectional=True), F(3, 2, 3), order=1),
    layer(nn.GRU(3, 2, bidirectional=True),
          lambda t: t.GRU(3, 2, bidirectional=True, batch_first=True), F(3, 4, 3),
          call=packed, kwargs=LENGTHS, order=1, id="GRU with lengths"),
    layer(nn.RNN(3, 2, bidirectional=True),
          lambda t: t.RNN(3, 2, bidirectional=True, batch_first=True), F(3, 4, 3),
          call=packed, kwargs=LENGTHS, id="RNN with lengths"),
    # Random dropout between the layers: training is compared with nothing, the rest holds.
    layer(nn.GRU(3, 2, num_layers=2, dropout=0.5),
          lambda t: t.GRU(3, 2, num_layers=2, dropout=0.5, batch_first=True), F(2, 3, 3)),

    FunctionCase("rnn_cell", functional.rnn_cell, (F(2, 3), F(2, 5), *cell_weights(1)),
                 lambda T, *xs: cell(T, "rnn_tanh_cell", *xs)),
    FunctionCase("rnn_cell", lambda *xs: functional.rnn_cell(*xs, nonlinearity="relu"),
                 (F(2, 3), F(2, 5), *cell_weights(1)),
                 lambda T, *xs: cell(T, "rnn_relu_cell", *xs), id="rnn_cell relu"),
    FunctionCase("lstm_cell", lambda x, h, c, *w: functional.lstm_cell(x, (h, c), *w),
                 (F(2, 3), F(2, 5), F(2, 5), *cell_weights(4)),
                 lambda T, x, h, c, *w: cell(T, "lstm_cell", x, (h, c), *w)),
    FunctionCase("gru_cell", functional.gru_cell, (F(2, 3), F(2, 5), *cell_weights(3)),
                 lambda T, *xs: cell(T, "gru_cell", *xs)),
    FunctionCase("rnn", functional.rnn, (F(4, 2, 3), F(2, 5), *cell_weights(1)),
                 lambda T, *xs: over_time(T, "rnn_tanh_cell", *xs)),
    FunctionCase("lstm", lambda x, h, c, *w: functional.lstm(x, (h, c), *w),
                 (F(3, 2, 3), F(2, 5), F(2, 5), *cell_weights(4)),
                 lambda T, x, h, c, *w: over_time(T, "lstm_cell", x, (h, c), *w)),
    FunctionCase("lstm", lambda x, h, c, n, *w: functional.lstm(x, (h, c), *w, lengths=n,
                                                                reverse=True),
                 (F(3, 2, 3), F(2, 5), F(2, 5), Fixed([1, 3]), *cell_weights(4)),
                 id="lstm in reverse with lengths"),
    FunctionCase("gru", lambda *xs: functional.gru(*xs, reverse=True),
                 (F(3, 2, 3), F(2, 5), *cell_weights(3)),
                 lambda T, x, *xs: tuple(y.flip(0) if y.ndim == 3 else y for y in over_time(
                     T, "gru_cell", x.flip(0), *xs)), id="gru in reverse"),
]
