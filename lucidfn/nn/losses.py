"""The loss functions, by name: `nn.losses.cross_entropy(logits, labels)`.

Arguments and values are those of `torch.nn.functional`, with classes on the last axis; names of
optax (`softmax_cross_entropy_with_integer_labels`, `l2_loss`, ...) give one loss for each example.
"""

from lucidfn.nn.functional import classification, ctc, losses, margins
from lucidfn.nn.functional.classification import *  # noqa: F403
from lucidfn.nn.functional.ctc import *  # noqa: F403
from lucidfn.nn.functional.losses import *  # noqa: F403
from lucidfn.nn.functional.margins import *  # noqa: F403

__all__ = [*classification.__all__, *ctc.__all__, *losses.__all__, *margins.__all__]


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
