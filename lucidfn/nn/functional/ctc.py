"""Connectionist temporal classification (Graves et al. 2006), in log space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import typeof, unwrap, wrap
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.reduction import check_reduction, integers, known, operands


def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str | None = "mean", zero_infinity: bool = False) -> Any:
    """-log of the probability of all alignments of the targets with the inputs.

    Layout, as in PyTorch: log_probs [T, N, C] from `log_softmax`, targets [N, S] padded with
    anything, or [sum of target_lengths]; lengths [N]. Without N: [T, C], [S] and two numbers. The
    derivative is that in log_probs; PyTorch's own is that in the logits, and both agree behind a
    log_softmax.

    Targets that cannot be aligned (longer than the inputs, counting a blank between repeated
    labels) give inf, and 0 with `zero_infinity`; both without derivative. "mean" divides each loss
    by the length of its target first. ShapeError, TypeError and ValueError for arguments that do
    not fit, IndexError for labels out of range, also under jit.
    """
    check_reduction("ctc_loss", reduction)
    (lp,), dtype = operands("ctc_loss", log_probs)
    if lp.ndim not in (2, 3) or not lp.shape[0]:
        raise ShapeError(f"ctc_loss got log_probs {typeof(log_probs)}; it takes [T, N, C], or "
                         "[T, C] without a batch, with T > 0")
    batched = lp.ndim == 3
    lp = lp if batched else lp[:, None]
    steps, n, classes = lp.shape
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss got blank={blank}; there are {classes} classes")
    times, lengths = (_lengths(name, x, n) for name, x in (
        ("input_lengths", input_lengths), ("target_lengths", target_lengths)))
    labels = _padded(targets, lengths, n, batched)
    _check_at_most("input_lengths", times, steps)
    _check_at_most("target_lengths", lengths, labels.shape[1])
    real = lnp.arange(labels.shape[1]) < lengths[:, None]
    labels = wrap(ops.check_labels(unwrap(lnp.where(real, labels, blank)), classes=classes))
    loss = -_log_likelihood(lp, labels, times, lengths, blank)
    if zero_infinity:
        loss = lnp.where(loss == math.inf, 0.0, loss)
    if reduction == "mean":
        loss = lnp.mean(loss / lnp.maximum(lengths, 1))
    elif reduction == "sum":
        loss = lnp.sum(loss)
    elif not batched:
        loss = loss[0]
    return loss if loss.dtype == dtype else loss.astype(dtype)


def _log_likelihood(lp: Any, labels: Any, times: Any, lengths: Any, blank: int) -> Any:
    """alpha[n, s]: log probability of all ways to have read the states up to s, blanks between
    labels; state 2 i + 1 is label i."""
    n, count = labels.shape
    blanks = lnp.full((n, count), blank, labels.dtype)
    states = lnp.concatenate([lnp.stack([blanks, labels], axis=-1).reshape(n, 2 * count),
                              lnp.full((n, 1), blank, labels.dtype)], axis=1)
    # A blank may be left out between two labels that differ.
    jump = (states != blank) & (states != lnp.roll(states, 2, axis=1)) & (
        lnp.arange(2 * count + 1) >= 2)
    emitted = lnp.take_along_axis(lp, states[None], axis=-1)
    alpha = lnp.where(lnp.arange(2 * count + 1) < 2, emitted[0], -math.inf)
    for t in range(1, lp.shape[0]):
        moved = lnp.logaddexp(alpha, _shifted(alpha, 1))
        if count > 1:
            moved = lnp.logaddexp(moved, lnp.where(jump, _shifted(alpha, 2), -math.inf))
        alpha = lnp.where(t < times[:, None], moved + emitted[t], alpha)
    after = lnp.take_along_axis(alpha, 2 * lengths[:, None], axis=1)[:, 0]
    on_label = lnp.take_along_axis(alpha, lnp.maximum(2 * lengths - 1, 0)[:, None], axis=1)[:, 0]
    total = lnp.logaddexp(after, lnp.where(lengths > 0, on_label, -math.inf))
    return lnp.where(times > 0, total, lnp.where(lengths > 0, -math.inf, 0.0))


def _shifted(alpha: Any, by: int) -> Any:
    """alpha[s - by], with log 0 before the first state."""
    return lnp.pad(alpha[:, :-by], ((0, 0), (by, 0)), constant_values=-math.inf)


def _lengths(name: str, x: Any, n: int) -> Any:
    out = wrap(integers("ctc_loss", name, x))
    if out.shape not in ((n,), ()):
        raise ShapeError(f"ctc_loss got {name} {typeof(out)}; expected one number for each of the "
                         f"{n} sequences")
    values = known(out)  # they stay known while a function is traced
    return lnp.broadcast_to(out, (n,)) if values is None else wrap(np.broadcast_to(values, (n,)))


def _check_at_most(name: str, lengths: Any, most: int) -> None:
    values = known(lengths)
    if values is not None and values.size and not 0 <= values.min() <= values.max() <= most:
        raise ValueError(f"ctc_loss got {name} from {values.min()} to {values.max()}; they must be "
                         f"in [0, {most}]")


def _padded(targets: Any, lengths: Any, n: int, batched: bool) -> Any:
    """Targets as [N, S]."""
    raw = wrap(integers("ctc_loss", "targets", targets))
    if not batched and raw.ndim == 1:
        return raw[None]
    if raw.ndim == 2 and raw.shape[0] == n:
        return raw
    values = known(lengths)
    if raw.ndim != 1 or values is None:
        why = "[N, S]" if raw.ndim != 1 else "[N, S] while a function is traced"
        raise ShapeError(f"ctc_loss got targets {typeof(raw)} for {n} sequences; they must be "
                         f"{why}")
    if values.sum() != raw.shape[0]:
        raise ShapeError(f"ctc_loss got targets {typeof(raw)}, and target_lengths that add up to "
                         f"{values.sum()}")
    starts = np.cumsum(values) - values
    places = starts[:, None] + np.arange(int(values.max(initial=0)))
    return raw[np.minimum(places, max(raw.shape[0] - 1, 0))]


__all__ = ["ctc_loss"]
