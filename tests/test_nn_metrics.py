"""Metrics: values, ties, ignored labels, errors; and the same numbers as scikit-learn's."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, testing
from lucidfn.errors import ShapeError

m = nn.metrics
close = testing.assert_allclose
rng = np.random.default_rng(0)
LOGITS = np.asarray(rng.standard_normal((50, 7)), "float32")
LABELS = np.asarray(rng.integers(0, 7, 50), "int32")
GUESSES = np.asarray(rng.integers(0, 6, 50), "int32")  # the last class is never predicted


def test_accuracy_of_logits_and_of_class_indices() -> None:
    want = (LOGITS.argmax(-1) == LABELS).mean()
    for f in (m.accuracy, lf.jit(m.accuracy)):
        close(f(LOGITS, LABELS), np.float32(want).reshape(()))
        close(f(LOGITS.argmax(-1), LABELS), np.float32(want).reshape(()))
    assert m.accuracy(LOGITS, LABELS).dtype == "float32"


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_accuracy(k: int) -> None:
    order = np.argsort(-LOGITS, axis=-1, kind="stable")[:, :k]
    want = np.asarray((order == LABELS[:, None]).any(-1).mean(), "float32")
    close(m.top_k_accuracy(LOGITS, LABELS, k), want)
    close(lf.jit(lambda x: m.accuracy(x, LABELS, top_k=k))(LOGITS), want)


def test_equal_logits_count_once() -> None:
    """A model that says the same for all classes is no better than a guess."""
    flat = lnp.zeros((4, 4))
    close(m.accuracy(flat, [0, 1, 2, 3]), np.float32(0.25).reshape(()))
    close(m.top_k_accuracy(flat, [0, 1, 2, 3], 2), np.float32(0.5).reshape(()))


def test_nan_is_never_right() -> None:
    assert float(m.accuracy(lnp.full((3, 4), lnp.nan), [0, 1, 2])) == 0.0
    assert float(m.accuracy([[lnp.nan, 1.0]], [1])) == 0.0


def test_ignored_labels_count_nowhere() -> None:
    labels = np.where(np.arange(50) % 2, LABELS, -100)
    want = m.accuracy(LOGITS[1::2], LABELS[1::2])
    close(m.accuracy(LOGITS, labels), want)
    close(m.accuracy(LOGITS.argmax(-1), labels), want)


def test_metrics_under_vmap() -> None:
    x, y = LOGITS.reshape(5, 10, 7), LABELS.reshape(5, 10)
    close(lf.vmap(m.accuracy)(x, y),
          lnp.stack([m.accuracy(a, b) for a, b in zip(x, y, strict=True)]))
    guess = GUESSES.reshape(5, 10)
    close(lf.vmap(lambda p, y: m.confusion_matrix(p, y, 7))(guess, y),
          lnp.stack([m.confusion_matrix(a, b, 7) for a, b in zip(guess, y, strict=True)]))


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
def test_confusion_matrix_is_that_of_sklearn(normalize: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    want = metrics.confusion_matrix(LABELS, GUESSES, labels=range(7), normalize=normalize)
    got = m.confusion_matrix(GUESSES, LABELS, 7, normalize)
    close(got, want.astype(got.dtype), rtol=1e-6)
    close(lf.jit(lambda p, y: m.confusion_matrix(p, y, 7, normalize))(GUESSES, LABELS), got)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("name", ["precision", "recall", "f1_score"])
def test_scores_are_those_of_sklearn(name: str, average: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    theirs = getattr(metrics, name if name == "f1_score" else f"{name}_score")
    want = theirs(LABELS, GUESSES, labels=range(7), average=average, zero_division=0)
    got = getattr(m, name)(GUESSES, LABELS, 7, average)
    close(got, np.asarray(want, "float32"), rtol=1e-6)


@pytest.mark.parametrize("call, error, message", [
    (lambda: m.accuracy(LOGITS, LABELS[:, None]), ShapeError, "logits"),
    (lambda: m.accuracy(LOGITS, LABELS * 1.0), TypeError, "integers"),
    (lambda: m.accuracy(GUESSES, LABELS, top_k=2), ValueError, "needs logits"),
    (lambda: m.accuracy(LOGITS, LABELS, top_k=8), ValueError, "7 classes"),
    (lambda: m.accuracy(LOGITS, LABELS + 1), IndexError, "label 7"),
    (lambda: m.confusion_matrix(LOGITS.argmax(-1), LABELS, 3), IndexError, "3 classes"),
    (lambda: m.confusion_matrix(LOGITS, LABELS, 7), TypeError, "integers"),
    (lambda: m.confusion_matrix(GUESSES[:3], LABELS, 7), ShapeError, "equal"),
    (lambda: m.confusion_matrix(GUESSES, LABELS, 7, "rows"), ValueError, "'rows'"),
    (lambda: m.f1_score(GUESSES, LABELS, 7, "mean"), ValueError, "'macro'"),
])
def test_wrong_arguments(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        lf.block_until_ready(call())
