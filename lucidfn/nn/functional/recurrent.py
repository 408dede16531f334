"""Recurrent networks: one step of each cell, and a layer in one direction over all time steps.

Over time, data is [T, B, C]: x[t] is one batch. The input projection of all steps is one matrix
product, done before the loop, a `lax.scan`. Gates stand side by side in the last axis of
the weights, in PyTorch's order: i, f, g, o (LSTM) and r, z, n (GRU).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import ops, tree
from lucidfn.array import typeof, unwrap, wrap
from lucidfn.errors import ShapeError
from lucidfn.lax import scan
from lucidfn.nn.functional.activations import relu, sigmoid
from lucidfn.types import is_inexact

NONLINEARITIES: dict[str, Callable[..., Any]] = {"tanh": lnp.tanh, "relu": relu}
Step = Callable[[Any, Any], tuple[Any, Any]]

# ------------------------------------------------------------------ time

def over_time(step: Step, carry: Any, xs: Any, reverse: bool, lengths: Any) -> tuple[Any, Any]:
    """`lax.scan` of sequences of these lengths [B]; the carry is a tree of [B, H], y is [B, H].

    Beyond the end of a sequence its carry stays as it is and y is 0.
    """
    if lengths is None:
        return scan(step, carry, xs, reverse=reverse)

    def masked(carry: Any, x: Any) -> tuple[Any, Any]:
        inside, x = x
        new, y = step(carry, x)
        kept = tree.map(lambda n, old: lnp.where(inside, n, old), new, carry)
        return kept, lnp.where(inside, y, lnp.zeros_like(y))

    time = lnp.arange(xs.shape[0])[:, None, None]
    return scan(masked, carry, (time < lnp.asarray(lengths)[:, None], xs), reverse=reverse)


# ------------------------------------------------------------------ cells

def project(x: Any, weight: Any, *biases: Any) -> Any:
    """x @ weight plus those biases that are there."""
    check_product(x, weight)
    y = x @ weight
    total = None
    for bias in biases:
        if bias is not None:
            total = bias if total is None else total + bias
    return y if total is None else y + total


def check_product(x: Any, weight: Any) -> None:
    x, weight = typeof(x), typeof(weight)
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[0]:
        raise ShapeError(f"got {x} and a weight {weight}; the weight must be [features, gates * "
                         "hidden], features being the last axis of the data")
    if not is_inexact(x.dtype):
        raise TypeError(f"got {x}; recurrent layers take floating data: x.astype('float32'), or "
                        "nn.Embedding first if these are numbers of words")


def parts(x: Any, *sizes: int) -> list[Any]:
    """The last axis cut into parts of these sizes."""
    raw = unwrap(x)
    return [wrap(p) for p in ops.split(raw, axis=len(raw.shape) - 1, sizes=sizes)]


def rnn_step(projected: Any, h: Any, weight_hh: Any, nonlinearity: str) -> Any:
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return NONLINEARITIES[nonlinearity](projected + h @ weight_hh)


def lstm_step(projected: Any, carry: tuple[Any, Any], weight_hh: Any,
              weight_hr: Any = None) -> tuple[Any, Any]:
    h, c = carry
    n = c.shape[-1]
    i_f, g, o = parts(projected + h @ weight_hh, 2 * n, n, n)
    i, f = parts(sigmoid(i_f), n, n)
    c = f * c + i * lnp.tanh(g)
    h = sigmoid(o) * lnp.tanh(c)
    return (h if weight_hr is None else h @ weight_hr), c


def gru_step(projected: Any, h: Any, weight_hh: Any, bias_hh: Any) -> Any:
    n = h.shape[-1]
    # The reset gate multiplies what comes from h only, its bias included.
    x_rz, x_n = parts(projected, 2 * n, n)
    h_rz, h_n = parts(project(h, weight_hh, bias_hh), 2 * n, n)
    r, z = parts(sigmoid(x_rz + h_rz), n, n)
    new = lnp.tanh(x_n + r * h_n)
    return new + z * (h - new)


def rnn_cell(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None,
             bias_hh: Any = None, *, nonlinearity: str = "tanh") -> Any:
    """h' = tanh(x W_ih + b_ih + h W_hh + b_hh), or relu: x [..., C], h [..., H] to [..., H].

    weight_ih is [C, H], weight_hh [H, H], biases [H] (Elman 1990, "Finding structure in time").
    """
    check_product(h, weight_hh)
    return rnn_step(project(x, weight_ih, bias_ih, bias_hh), h, weight_hh, nonlinearity)


def lstm_cell(x: Any, carry: tuple[Any, Any], weight_ih: Any, weight_hh: Any, bias_ih: Any = None,
              bias_hh: Any = None, *, weight_hr: Any = None) -> tuple[Any, Any]:
    """(h', c') with c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    i, f, g, o = x W_ih + b_ih + h W_hh + b_hh. x is [..., C], carry = (h, c) are [..., H],
    weight_ih is [C, 4 H], weight_hh [H, 4 H], biases [4 H] (Gers et al. 2000, "Learning to
    forget"). With weight_hr [H, P], h' is projected by it and h is [..., P] (arXiv:1402.1128).
    """
    check_product(carry[0], weight_hh)
    return lstm_step(project(x, weight_ih, bias_ih, bias_hh), carry, weight_hh, weight_hr)


def gru_cell(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None,
             bias_hh: Any = None) -> Any:
    """h' = (1 - z) n + z h with n = tanh(x W_in + b_in + r (h W_hn + b_hn)).

    r, z = sigmoid(x W_i + b_i + h W_h + b_h). x is [..., C], h [..., H], weight_ih [C, 3 H],
    weight_hh [H, 3 H], biases [3 H] (arXiv:1406.1078, but with r after the product, as in cuDNN
    and PyTorch).
    """
    check_product(h, weight_hh)
    return gru_step(project(x, weight_ih, bias_ih), h, weight_hh, bias_hh)


# ------------------------------------------------------------------ layers in one direction

def rnn(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
        *, nonlinearity: str = "tanh", reverse: bool = False,
        lengths: Any = None) -> tuple[Any, Any]:
    """`rnn_cell` over time: x [T, B, C] and h [B, H] to (outputs [T, B, H], last h).

    With `reverse` time runs backwards. `lengths` [B] are those of the sequences: beyond them
    outputs are 0, and the last h is that at their end (or, in reverse, begins there).
    """
    def step(h: Any, projected: Any) -> tuple[Any, Any]:
        h = rnn_step(projected, h, weight_hh, nonlinearity)
        return h, h

    check_product(h, weight_hh)
    projected = project(within(x, lengths), weight_ih, bias_ih, bias_hh)
    h, outputs = over_time(step, h, projected, reverse, lengths)
    return outputs, h


def lstm(x: Any, carry: tuple[Any, Any], weight_ih: Any, weight_hh: Any, bias_ih: Any = None,
         bias_hh: Any = None, *, weight_hr: Any = None, reverse: bool = False,
         lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
    """`lstm_cell` over time: x [T, B, C] and (h, c) [B, H] to (outputs [T, B, H], last (h, c)).

    `reverse` and `lengths` are as in `rnn`.
    """
    def step(carry: Any, projected: Any) -> tuple[Any, Any]:
        carry = lstm_step(projected, carry, weight_hh, weight_hr)
        return carry, carry[0]

    check_product(carry[0], weight_hh)
    projected = project(within(x, lengths), weight_ih, bias_ih, bias_hh)
    carry, outputs = over_time(step, tuple(carry), projected, reverse, lengths)
    return outputs, carry


def gru(x: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
        *, reverse: bool = False, lengths: Any = None) -> tuple[Any, Any]:
    """`gru_cell` over time: x [T, B, C] and h [B, H] to (outputs [T, B, H], last h).

    `reverse` and `lengths` are as in `rnn`.
    """
    def step(h: Any, projected: Any) -> tuple[Any, Any]:
        h = gru_step(projected, h, weight_hh, bias_hh)
        return h, h

    check_product(h, weight_hh)
    projected = project(within(x, lengths), weight_ih, bias_ih)
    h, outputs = over_time(step, h, projected, reverse, lengths)
    return outputs, h


def within(x: Any, lengths: Any) -> Any:
    """x [T, B, C] with zeros beyond the lengths [B], where there may be NaN."""
    if len(x.shape) != 3:
        raise ShapeError(f"got x {typeof(x)}, expected data over time [T, B, C]")
    if not x.shape[0]:
        raise ShapeError(f"got x {typeof(x)}, which has no time steps; data over time is [T, B, C]")
    if lengths is None:
        return x
    lengths = lnp.asarray(lengths)
    if lengths.shape != x.shape[1:2] or lengths.dtype.kind not in "iu":
        raise ShapeError(f"got lengths {typeof(lengths)} for x {typeof(x)}; they are one integer "
                         f"for each of the {x.shape[1]} sequences")
    inside = lnp.arange(x.shape[0])[:, None] < lengths
    return lnp.where(inside[:, :, None], x, lnp.zeros_like(x))


__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn", "rnn_cell"]
