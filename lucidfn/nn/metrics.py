"""The metrics, by name: `nn.metrics.accuracy(logits, labels)`."""

from lucidfn.nn.functional.metrics import (
    accuracy,
    confusion_matrix,
    f1_score,
    precision,
    recall,
    top_k_accuracy,
)

__all__ = ["accuracy", "confusion_matrix", "f1_score", "precision", "recall", "top_k_accuracy"]
