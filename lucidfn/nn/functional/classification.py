"""Cross entropies: of classes, of probabilities, and of yes and no.

Everything goes through log-sum-exp and softplus, never through the logarithm of a softmax: at a gap
of 1000 between logits the loss is 1000 and its derivative 1. Classes are on the last axis, unless
`axis` says otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import typeof, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.reduction import (
    check_reduction,
    constant,
    integers,
    joined_rows,
    known,
    operands,
    reduced,
    reshaped,
    same_shape,
    softplus,
)
from lucidfn.numpy.reductions import normal_axis
from lucidfn.numpy.softmax import log_softmax_parts
from lucidfn.scipy.special import xlogy
from lucidfn.types import is_inexact

# ------------------------------------------------------------------ classes


def cross_entropy(input: Any, target: Any, weight: Any = None, ignore_index: int | None = -100,
                  reduction: str | None = "mean", label_smoothing: float = 0.0,
                  axis: int = -1) -> Any:
    """-log softmax(input)[target]: logits [..., C] beside labels [...] or probabilities [..., C].

    `weight` [C] scales each class; with labels the weighted mean divides by the sum of the weights
    of the labels. Labels equal to `ignore_index` count nowhere; a mean over none is NaN, with
    derivative 0, as in PyTorch. `label_smoothing` s mixes the target with s / C for every class
    (arXiv:1512.00567). A logit of -inf leaves out its class.

    float16 and bfloat16 are computed in float32 and rounded at the end. IndexError for labels out
    of range, also under jit; ShapeError and TypeError for labels that are none.

    >>> float(cross_entropy([[0.0, 1000.0]], [0]))
    1000.0
    """
    check_reduction("cross_entropy", reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy got label_smoothing={label_smoothing}; it must be in "
                         "[0, 1]")
    soft = is_inexact(typeof(target).dtype)
    if soft and _are_probabilities(input, target, axis):
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction,
                                   label_smoothing, axis)
    (logits,), dtype = operands("cross_entropy", input)
    rows, labels, lead = _rows_and_labels("cross_entropy", unwrap(logits), target, axis)
    labels, kept = _kept(labels, ignore_index, shape_of(rows)[1])
    shifted, log_total = log_softmax_parts(rows, (1,))
    per_row = ops.reshape(log_total, shape=shape_of(labels))
    loss = ops.sub(per_row, _picked(shifted, labels))
    weights = None if weight is None else _class_weights("cross_entropy", weight, logits, rows)
    if label_smoothing:
        smooth = _all_classes(shifted, per_row, weights)
        if weights is not None:
            loss = ops.mul(loss, _weight_of(weights, labels))
        loss = ops.add(ops.mul(loss, 1.0 - label_smoothing), ops.mul(smooth, label_smoothing))
        return _over_rows(loss, labels, kept, weights, reduction, lead, dtype, weighted=True)
    return _over_rows(loss, labels, kept, weights, reduction, lead, dtype)


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int | None = -100,
             reduction: str | None = "mean", axis: int = -1) -> Any:
    """-input[target]: log-probabilities [..., C] beside labels [...]; options of `cross_entropy`.

    >>> float(nll_loss([[-0.5, -1.0], [-0.25, -2.0]], [0, 1], reduction="sum"))
    2.5
    """
    check_reduction("nll_loss", reduction)
    (values,), dtype = operands("nll_loss", input)
    rows, labels, lead = _rows_and_labels("nll_loss", unwrap(values), target, axis)
    labels, kept = _kept(labels, ignore_index, shape_of(rows)[1])
    weights = None if weight is None else _class_weights("nll_loss", weight, values, rows)
    return _over_rows(ops.neg(_picked(rows, labels)), labels, kept, weights, reduction, lead, dtype)


def _are_probabilities(input: Any, target: Any, axis: int) -> bool:
    """Whether a floating target has a number for each class; an error where it cannot."""
    logits, given = typeof(input), typeof(target)
    if given.shape == logits.shape:
        return True
    at = normal_axis(axis, len(logits.shape))
    if given.shape == logits.shape[:at] + logits.shape[at + 1:]:
        raise TypeError(f"cross_entropy got labels {given}; class indices must be integers: "
                        "labels.astype('int32')")
    swapped = logits.shape == given.shape[:-1] and not is_inexact(logits.dtype)
    raise ShapeError(f"cross_entropy got logits {logits} and probabilities {given}; their shapes "
                     "must be equal" + ("; logits come first, then labels" if swapped else ""))


def _rows_and_labels(name: str, logits: Any, target: Any, axis: int) -> tuple[Any, Any, Any]:
    """Logits as [rows, C], labels as [rows], and the shape of the labels."""
    if not shape_of(logits):
        raise ShapeError(f"{name} got the scalar {typeof(logits)}; it needs an axis of classes")
    at = normal_axis(axis, len(shape_of(logits)))
    if typeof(target).dtype == bool and typeof(target).shape == shape_of(logits):
        lead = shape_of(logits)[:at] + shape_of(logits)[at + 1:]
        raise _misshapen(name, shape_of(logits), shape_of(logits), lead, at)
    labels = integers(name, "labels", target)
    rows, lead = joined_rows(logits, at)
    if shape_of(labels) != lead:
        raise _misshapen(name, typeof(logits).shape, typeof(labels).shape, lead, at)
    if shape_of(rows)[1] == 0:
        raise ShapeError(f"{name} got {typeof(logits)}, which has no classes on axis {axis}")
    return rows, reshaped(labels, (shape_of(rows)[0],)), lead


def _misshapen(name: str, logits: tuple[int, ...], labels: tuple[int, ...],
               wanted: tuple[int, ...], at: int) -> ShapeError:
    """What is wrong with the shape of the labels, by what people usually pass."""
    message = (f"{name} got input of shape {logits} with {logits[at]} classes on axis {at}, and "
               f"labels of shape {labels}; expected labels of shape {wanted}")
    if labels == logits:
        message += (": one-hot labels must be floats (labels.astype('float32')), or class indices "
                    "(lnp.argmax(labels, axis))")
    elif labels == (*wanted, 1):
        message += ": labels.squeeze(-1) drops the last axis"
    elif len(logits) > 1 and labels == (logits[0], *logits[2:]):
        message += (f". It looks channels-first, with {logits[1]} classes on axis 1: pass axis=1, "
                    "or lnp.moveaxis(input, 1, -1)")
    return ShapeError(message)


def _kept(labels: Any, ignore_index: int | None, classes: int) -> tuple[Any, Any]:
    """Checked labels, 0 in the place of ignored ones; and the mask of the others, or None."""
    kept = None
    if ignore_index is not None:
        kept = ops.ne(labels, int(ignore_index))
        labels = ops.select(kept, labels, 0)
    return ops.check_labels(labels, classes=classes), kept


def _picked(rows: Any, labels: Any) -> Any:
    """rows[i, labels[i]] for each i."""
    places = ops.reshape(labels, shape=(*shape_of(labels), 1))
    return ops.gather(rows, places, axes=(1,), mode="unchecked", fill=None, lanes=1)


def _class_weights(name: str, weight: Any, like: Any, rows: Any) -> Any:
    weights = unwrap(constant(weight, like))
    if shape_of(weights) != shape_of(rows)[1:]:
        raise ShapeError(f"{name} got weight {typeof(weights)}; it needs one number for each of "
                         f"the {shape_of(rows)[1]} classes")
    return weights


def _weight_of(weights: Any, labels: Any) -> Any:
    places = ops.reshape(labels, shape=(*shape_of(labels), 1))
    return ops.gather(weights, places, axes=(0,), mode="unchecked", fill=None)


def _all_classes(shifted: Any, log_total: Any, weights: Any) -> Any:
    """The mean over the classes of -log softmax, each times its weight."""
    n, classes = shape_of(shifted)
    if weights is None:
        total = ops.mul(log_total, float(classes))
    else:
        # A class of weight 0 counts nowhere, also where its logit is -inf.
        wide = ops.broadcast_to(weights, shape=(n, classes))
        shifted = ops.select(ops.eq(wide, 0.0), 0.0, ops.mul(shifted, wide))
        total = ops.mul(log_total, ops.reduce_sum(weights, axes=(0,)))
    return ops.div(ops.sub(total, ops.reduce_sum(shifted, axes=(1,))), float(classes))


def _over_rows(loss: Any, labels: Any, kept: Any, weights: Any, reduction: str | None,
               lead: tuple[int, ...], dtype: np.dtype, weighted: bool = False) -> Any:
    """Weights, the mask of what is not ignored, and the reduction over rows."""
    share = None  # of each row in the mean
    if weights is not None:
        share = _weight_of(weights, labels)
        loss = loss if weighted else ops.mul(loss, share)
    if kept is not None:
        # Selected after the product: an empty mean, 0 / 0, must not reach the derivative.
        loss = ops.select(kept, loss, 0.0)
        share = ops.convert(kept, dtype=dtype_of(loss)) if share is None else (
            ops.select(kept, share, 0.0))
    if reduction in ("none", None):
        out = reshaped(loss, lead)
    else:
        out = ops.reduce_sum(loss, axes=(0,))
        if reduction == "mean":
            rows = float(shape_of(loss)[0])
            out = ops.div(out, rows if share is None else ops.reduce_sum(share, axes=(0,)))
    return wrap(out if dtype_of(out) == dtype else ops.convert(out, dtype=dtype))


def _soft_cross_entropy(input: Any, target: Any, weight: Any, ignore_index: int | None,
                        reduction: str | None, label_smoothing: float, axis: int) -> Any:
    if ignore_index is not None and ignore_index >= 0:
        raise ValueError(f"cross_entropy got ignore_index={ignore_index} and probabilities as "
                         "targets; only class indices can be ignored")
    (logits, target), dtype = operands("cross_entropy", input, target)
    rows, lead = joined_rows(unwrap(logits), at := normal_axis(axis, logits.ndim))
    probabilities, _ = joined_rows(unwrap(target), at)
    if label_smoothing:
        probabilities = ops.add(ops.mul(probabilities, 1.0 - label_smoothing),
                                label_smoothing / shape_of(rows)[1])
    log_p = ops.sub(*log_softmax_parts(rows, (1,)))
    # A class without probability may be left out by a logit of -inf.
    absent = ops.bitwise_and(ops.eq(log_p, -np.inf), ops.eq(probabilities, 0.0))
    terms = ops.mul(ops.select(absent, 0.0, log_p), probabilities)
    if weight is not None:
        terms = ops.mul(terms, _class_weights("cross_entropy", weight, logits, rows))
    loss = ops.neg(ops.reduce_sum(terms, axes=(1,)))
    return reduced(wrap(reshaped(loss, lead)), reduction, dtype)


# ------------------------------------------------------------------ yes and no

def _log(p: Any, log: Any, zero: float) -> Any:
    """log, at least -100 (PyTorch's bound); `zero` is where it is -inf. Its derivative is 0 there,
    so that infinities do not leak."""
    at_zero = p == zero
    return lnp.where(at_zero, -100.0, lnp.maximum(log(lnp.where(at_zero, 0.5, p)), -100.0))


def binary_cross_entropy(input: Any, target: Any, weight: Any = None,
                         reduction: str | None = "mean") -> Any:
    """-(target log(input) + (1 - target) log(1 - input)), of probabilities in [0, 1].

    Logarithms are at least -100, as in PyTorch, and have derivative 0 below. Prefer
    `binary_cross_entropy_with_logits`, which has no such limit. ValueError for an input outside
    of [0, 1] where its values are known; while a function is traced it gives NaN.
    """
    check_reduction("binary_cross_entropy", reduction)
    same_shape("binary_cross_entropy", input=input, target=target)
    (p, t), dtype = operands("binary_cross_entropy", input, target)
    values = known(p)
    if values is not None and values.size and not (values.min() >= 0 and values.max() <= 1) and (
            not np.isnan(values).any()):
        raise ValueError(f"binary_cross_entropy got input from {values.min():g} to "
                         f"{values.max():g}; probabilities lie in [0, 1]. For logits use "
                         "binary_cross_entropy_with_logits")
    loss = -(t * _log(p, lnp.log, 0.0) + (1.0 - t) * _log(p, lambda q: lnp.log1p(-q), 1.0))
    if weight is not None:
        loss = loss * constant(weight, loss)
    return reduced(loss, reduction, dtype)


def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None,
                                     reduction: str | None = "mean",
                                     pos_weight: Any = None) -> Any:
    """Cross entropy of sigmoid(input) and target, elementwise; `pos_weight` scales target = 1.

    Exact for logits of any size: softplus of the logit, signed towards the target.

    >>> float(binary_cross_entropy_with_logits([1000.0], [0.0]))
    1000.0
    """
    check_reduction("binary_cross_entropy_with_logits", reduction)
    same_shape("binary_cross_entropy_with_logits", input=input, target=target)
    (x, t), dtype = operands("binary_cross_entropy_with_logits", input, target)
    positive = 1.0 if pos_weight is None else constant(pos_weight, x)
    # pos t softplus(-x) + (1 - t) softplus(x), with one softplus: softplus(-x) = softplus(x) - x.
    # The rest is small where the target is nearly certain, so nothing cancels.
    near_one = t >= 0.5
    z = lnp.where(near_one, -x, x)
    rest = lnp.where(near_one, 1.0 - t, positive * t) * z
    both = 1.0 if pos_weight is None else 1.0 + (positive - 1.0) * t
    loss = both * softplus(z) - rest
    if weight is not None:
        loss = loss * constant(weight, loss)
    return reduced(loss, reduction, dtype)


def sigmoid_focal_loss(inputs: Any, targets: Any, alpha: float = 0.25, gamma: float = 2.0,
                       reduction: str | None = "none") -> Any:
    """Cross entropy with logits times (1 - p)^gamma, p the probability of the target.

    `alpha` weighs target 1 and 1 - alpha target 0; a negative one weighs nothing
    (arXiv:1708.02002).
    """
    check_reduction("sigmoid_focal_loss", reduction)
    same_shape("sigmoid_focal_loss", inputs=inputs, targets=targets)
    (x, t), dtype = operands("sigmoid_focal_loss", inputs, targets)
    yes, no = wrap(ops.logistic(unwrap(x))), wrap(ops.logistic(unwrap(-x)))
    wrong = yes * (1.0 - t) + no * t
    sure = wrong == 0.0  # a power below 1 has an infinite derivative there
    factor = lnp.where(sure, 0.0 if gamma else 1.0, lnp.where(sure, 1.0, wrong) ** gamma)
    loss = binary_cross_entropy_with_logits(x, t, reduction="none") * factor
    if alpha >= 0:
        loss = loss * (alpha * t + (1.0 - alpha) * (1.0 - t))
    return reduced(loss, reduction, dtype)


# ------------------------------------------------------------------ divergence

def kl_div(input: Any, target: Any, reduction: str | None = "mean",
           log_target: bool = False) -> Any:
    """target (log target - input), elementwise, of log-probabilities `input`.

    0 log 0 is 0. With `log_target` the target is a logarithm too. reduction="batchmean", the sum
    over the length of the first axis, is the divergence itself; "mean" is over all elements.
    """
    check_reduction("kl_div", reduction, "batchmean")
    same_shape("kl_div", input=input, target=target)
    (x, t), dtype = operands("kl_div", input, target)
    if log_target:
        loss = lnp.exp(t) * (t - x)
    else:
        # A class without probability may have log-probability -inf on the other side.
        absent = (x == -np.inf) & (t == 0.0)
        loss = xlogy(t, t) - t * lnp.where(absent, 0.0, x)
    if reduction == "batchmean":
        total = lnp.sum(loss) / (x.shape[0] if x.ndim else 1)
        return total if total.dtype == dtype else total.astype(dtype)
    return reduced(loss, reduction, dtype)


# ------------------------------------------------------------------ one loss for each example

def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1) -> Any:
    """The cross entropy of each example, of probabilities `labels` (optax's name)."""
    return cross_entropy(logits, lnp.asarray(labels) * 1.0, reduction="none", axis=axis)


def softmax_cross_entropy_with_integer_labels(logits: Any, labels: Any, axis: int = -1) -> Any:
    """The cross entropy of each example, of class indices; none is ignored (optax's name)."""
    return cross_entropy(logits, labels, ignore_index=None, reduction="none", axis=axis)


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """`binary_cross_entropy_with_logits` of each element (optax's name)."""
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "kl_div",
    "nll_loss", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]
