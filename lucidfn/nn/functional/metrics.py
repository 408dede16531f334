"""How good predictions are: pure functions of arrays that work under jit and vmap.

They have no derivative worth having; train on a loss.
"""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import typeof, unwrap, wrap
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.reduction import integers
from lucidfn.types import is_inexact

AVERAGES = ("macro", "micro", "weighted", "none")


def accuracy(predictions: Any, labels: Any, top_k: int = 1,
             ignore_index: int | None = -100) -> Any:
    """The share of right predictions: class indices [...], or logits [..., C], for labels [...].

    With logits a label is right if it is among the `top_k` largest; of equal logits the first
    counts as larger, and NaN is never right. Labels equal to `ignore_index` count nowhere.

    >>> float(accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1]))
    0.5
    """
    given = wrap(integers("accuracy", "labels", labels))
    guess = wrap(unwrap(predictions))
    if guess.shape == given.shape and not is_inexact(guess.dtype):
        if top_k != 1:
            raise ValueError(f"accuracy got class indices and top_k={top_k}; it needs logits")
        right = guess == given
        if ignore_index is None:
            return lnp.mean(right)
        kept = given != ignore_index
    else:
        right, kept = _among_the_largest(guess, given, top_k, ignore_index)
    return lnp.sum(right & kept) / lnp.sum(kept)


def top_k_accuracy(logits: Any, labels: Any, k: int = 5, ignore_index: int | None = -100) -> Any:
    """The share of labels [...] among the k largest logits [..., C]."""
    given = wrap(integers("top_k_accuracy", "labels", labels))
    right, kept = _among_the_largest(wrap(unwrap(logits)), given, k, ignore_index)
    return lnp.sum(right & kept) / lnp.sum(kept)


def _among_the_largest(logits: Any, labels: Any, k: int,
                       ignore_index: int | None) -> tuple[Any, Any]:
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise ShapeError(f"accuracy got predictions {typeof(logits)} and labels {typeof(labels)}; "
                         "it takes logits [..., C] or class indices [...] beside labels [...]")
    classes = logits.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"accuracy got k={k}; there are {classes} classes")
    kept = lnp.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    labels = wrap(ops.check_labels(unwrap(lnp.where(kept, labels, 0)), classes=classes))
    own = lnp.take_along_axis(logits, labels[..., None], -1)
    earlier = lnp.arange(classes, dtype=labels.dtype) < labels[..., None]
    # Not (x <= own) rather than x > own: NaN outranks everything.
    ahead = ~(logits <= own) | (logits == own) & earlier
    return lnp.sum(ahead, axis=-1) < k, kept


def confusion_matrix(predictions: Any, labels: Any, num_classes: int,
                     normalize: str | None = None) -> Any:
    """[num_classes, num_classes]: how often label i (row) was predicted as j (column).

    `normalize` divides by the sums of rows ("true"), of columns ("pred") or of everything ("all");
    empty ones stay 0. IndexError for classes out of range, also under jit.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    if normalize not in (None, "true", "pred", "all"):
        raise ValueError(f"confusion_matrix got normalize={normalize!r}; it has 'true', 'pred', "
                         "'all' and None")
    columns, rows = (
        wrap(ops.check_labels(integers("confusion_matrix", what, x), classes=num_classes))
        for what, x in (("predictions", predictions), ("labels", labels)))
    if rows.shape != columns.shape:
        raise ShapeError(f"confusion_matrix got predictions {typeof(columns)} and labels "
                         f"{typeof(rows)}; their shapes must be equal: for logits take "
                         "lnp.argmax(logits, axis=-1) first")
    matrix = lnp.zeros((num_classes, num_classes), "int32").at[rows, columns].add(1)
    if normalize is None:
        return matrix
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    return _share(matrix, lnp.sum(matrix, axis=axis, keepdims=True))


def _share(part: Any, whole: Any) -> Any:
    """part / whole, and 0 where there is nothing."""
    return part / lnp.maximum(whole, 1)


def _averaged(scores: Any, matrix: Any, average: str | None) -> Any:
    """One number from those of the classes; micro averages are made from sums, before."""
    if average == "macro":
        return lnp.mean(scores)
    if average == "weighted":
        return _share(lnp.sum(scores * lnp.sum(matrix, axis=1)), lnp.sum(matrix))
    return scores


def _counts(name: str, predictions: Any, labels: Any, num_classes: int,
            average: str | None) -> tuple[Any, Any, Any, Any]:
    """The matrix; and of each class (of all, for "micro") what is right, predicted and labelled."""
    if average is not None and average not in AVERAGES:
        known = ", ".join(map(repr, AVERAGES))
        raise ValueError(f"{name} got average={average!r}; it has {known}")
    matrix = confusion_matrix(predictions, labels, num_classes)
    counts = lnp.diag(matrix), lnp.sum(matrix, axis=0), lnp.sum(matrix, axis=1)
    if average == "micro":
        counts = tuple(lnp.sum(c) for c in counts)  # type: ignore[assignment]
    return matrix, *counts


def precision(predictions: Any, labels: Any, num_classes: int,
              average: str | None = "macro") -> Any:
    """Of what was predicted as a class, the share that is of it; 0 where nothing was.

    `average` over the classes: "macro" (all alike), "weighted" (by their number of labels),
    "micro" (over all predictions), "none" (one number a class).
    """
    matrix, right, predicted, _ = _counts("precision", predictions, labels, num_classes, average)
    return _averaged(_share(right, predicted), matrix, average)


def recall(predictions: Any, labels: Any, num_classes: int, average: str | None = "macro") -> Any:
    """Of what is of a class, the share that was predicted so; `average` as in `precision`."""
    matrix, right, _, labelled = _counts("recall", predictions, labels, num_classes, average)
    return _averaged(_share(right, labelled), matrix, average)


def f1_score(predictions: Any, labels: Any, num_classes: int, average: str | None = "macro") -> Any:
    """The harmonic mean of precision and recall; `average` as in `precision`."""
    matrix, right, predicted, labelled = _counts("f1_score", predictions, labels, num_classes,
                                                 average)
    return _averaged(_share(2 * right, predicted + labelled), matrix, average)


__all__ = ["accuracy", "confusion_matrix", "f1_score", "precision", "recall", "top_k_accuracy"]
