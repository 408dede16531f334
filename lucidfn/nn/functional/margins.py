"""Margin losses: what is right must win by a margin.

Arguments and values are those of `torch.nn.functional`; classes and vectors are on the last axis.
"""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import typeof, wrap
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.distances import pairwise_distance
from lucidfn.nn.functional.reduction import (
    check_reduction,
    constant,
    integers,
    operands,
    positive,
    reduced,
    same_shape,
    softplus,
)
from lucidfn.numpy.reductions import normal_axis

# ------------------------------------------------------------------ two or three inputs


def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0,
                        p: float = 2.0, eps: float = 1e-6, swap: bool = False,
                        reduction: str | None = "mean") -> Any:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d the p-norm distance.

    With `swap` the negative counts from whichever of anchor and positive it is nearer to
    (Balntas et al. 2016). Vectors are on the last axis; `eps` is added to differences.
    """
    check_reduction("triplet_margin_loss", reduction)
    same_shape("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    (a, near, far), dtype = operands("triplet_margin_loss", anchor, positive, negative)
    to_negative = pairwise_distance(a, far, p, eps)
    if swap:
        to_negative = lnp.minimum(to_negative, pairwise_distance(near, far, p, eps))
    return reduced(_above_zero(pairwise_distance(a, near, p, eps) - to_negative + margin),
                   reduction, dtype)


_above_zero = positive  # under a name that no argument has


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0,
                        reduction: str | None = "mean") -> Any:
    """max(0, -target (input1 - input2) + margin): target 1 ranks input1 higher, -1 input2."""
    check_reduction("margin_ranking_loss", reduction)
    same_shape("margin_ranking_loss", input1=input1, input2=input2, target=target)
    (a, b, t), dtype = operands("margin_ranking_loss", input1, input2, target)
    return reduced(positive(t * (b - a) + margin), reduction, dtype)


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0,
                         reduction: str | None = "mean") -> Any:
    """input where the target is 1, max(0, margin - input) where it is -1."""
    check_reduction("hinge_embedding_loss", reduction)
    same_shape("hinge_embedding_loss", input=input, target=target)
    (x, t), dtype = operands("hinge_embedding_loss", input, target)
    loss = lnp.where(t != 1, positive(margin - x), 0.0) + lnp.where(t != -1, x, 0.0)
    return reduced(loss, reduction, dtype)


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0,
                          reduction: str | None = "mean") -> Any:
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1.

    Inputs are [N, D] with target [N], or [D] with a scalar target.
    """
    check_reduction("cosine_embedding_loss", reduction)
    same_shape("cosine_embedding_loss", input1=input1, input2=input2)
    (a, b, t), dtype = operands("cosine_embedding_loss", input1, input2, target)
    if t.shape != a.shape[:-1]:
        raise ShapeError(f"cosine_embedding_loss got inputs {typeof(input1)} and target "
                         f"{typeof(target)}; the target must have shape {a.shape[:-1]}")
    # PyTorch's guard for vectors of length 0, inside of the root: it is never differentiated at 0.
    squares = [lnp.sum(lnp.square(x), axis=-1) + 1e-12 for x in (a, b)]
    cos = lnp.sum(a * b, axis=-1) / lnp.sqrt(squares[0] * squares[1])
    loss = lnp.where(t == 1, 1.0 - cos, lnp.where(t == -1, positive(cos - margin), 0.0))
    return reduced(loss, reduction, dtype)


def soft_margin_loss(input: Any, target: Any, reduction: str | None = "mean") -> Any:
    """log(1 + exp(-target input)), for targets 1 and -1, without overflow."""
    check_reduction("soft_margin_loss", reduction)
    same_shape("soft_margin_loss", input=input, target=target)
    (x, t), dtype = operands("soft_margin_loss", input, target)
    return reduced(softplus(-t * x), reduction, dtype)


# ------------------------------------------------------------------ classes

def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      reduction: str | None = "mean") -> Any:
    """The mean over classes j of max(0, margin - input[target] + input[j])^p, without j = target.

    Inputs are [..., C], labels [...]. `weight` [C] scales each example by its label's; the mean
    is over examples. IndexError for labels out of range, also under jit.
    """
    check_reduction("multi_margin_loss", reduction)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss got p={p}; it must be 1 or 2")
    (x,), dtype = operands("multi_margin_loss", input)
    labels = _labels("multi_margin_loss", x, target, x.shape[:-1])
    classes = x.shape[-1]
    own = lnp.arange(classes, dtype=labels.dtype) == labels[..., None]
    reach = positive(margin - lnp.take_along_axis(x, labels[..., None], -1) + x)
    loss = lnp.sum(lnp.where(own, 0.0, reach ** p), axis=-1) / classes
    if weight is not None:
        loss = loss * constant(weight, x)[labels]
    return reduced(loss, reduction, dtype)


def multilabel_margin_loss(input: Any, target: Any, reduction: str | None = "mean") -> Any:
    """The sum over labels i and other classes j of max(0, 1 - input[i] + input[j]), over C.

    Inputs and targets are [..., C]; a row of targets holds labels up to its first negative number.
    """
    check_reduction("multilabel_margin_loss", reduction)
    same_shape("multilabel_margin_loss", input=input, target=target)
    (x,), dtype = operands("multilabel_margin_loss", input)
    given = wrap(integers("multilabel_margin_loss", "labels", target))
    valid = lnp.cumsum(given < 0, axis=-1) == 0
    classes = x.shape[-1]
    labels = _labels("multilabel_margin_loss", x, lnp.where(valid, given, 0), x.shape)
    chosen = (lnp.arange(classes, dtype=labels.dtype) == labels[..., None]) & valid[..., None]
    other = ~lnp.any(chosen, axis=-2)  # classes that are no label
    picked = lnp.take_along_axis(x, labels, -1)
    reach = positive(1.0 - picked[..., :, None] + x[..., None, :])
    counted = valid[..., :, None] & other[..., None, :]
    loss = lnp.sum(lnp.where(counted, reach, 0.0), axis=(-2, -1)) / classes
    return reduced(loss, reduction, dtype)


def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None,
                                reduction: str | None = "mean", axis: int = -1) -> Any:
    """The mean over classes of binary cross entropy with logits; `weight` [C] scales classes."""
    check_reduction("multilabel_soft_margin_loss", reduction)
    same_shape("multilabel_soft_margin_loss", input=input, target=target)
    (x, t), dtype = operands("multilabel_soft_margin_loss", input, target)
    loss = t * softplus(-x) + (1.0 - t) * softplus(x)
    if weight is not None:
        at = normal_axis(axis, x.ndim)
        loss = loss * constant(weight, x).reshape(-1, *[1] * (x.ndim - 1 - at))
    return reduced(lnp.mean(loss, axis=axis), reduction, dtype)


def _labels(name: str, x: Any, target: Any, shape: tuple[int, ...]) -> Any:
    """Checked labels of this shape, for inputs with classes on the last axis."""
    raw = integers(name, "labels", target)
    if typeof(wrap(raw)).shape != shape:
        raise ShapeError(f"{name} got input {typeof(x)} and labels {typeof(wrap(raw))}; classes "
                         f"are on the last axis, and labels must have shape {shape}")
    return wrap(ops.check_labels(raw, classes=x.shape[-1]))


__all__ = [
    "cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss", "multi_margin_loss",
    "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss",
    "triplet_margin_loss",
]
