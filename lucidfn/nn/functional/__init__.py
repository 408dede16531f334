"""Layers as pure functions of arrays: what `nn.Conv2d` does, without holding anything.

Data is channels-last, [N, *space, C]; kernels are [*window, C / groups, O].
"""

from lucidfn.nn.functional import (
    activations,
    activations_torch,
    attention,
    classification,
    convolution,
    ctc,
    distances,
    folding,
    images,
    losses,
    margins,
    metrics,
    normalization,
    padding,
    pooling,
    positions,
    recurrent,
)
from lucidfn.nn.functional import dropout as _dropout
from lucidfn.nn.functional import embedding as _embedding
from lucidfn.nn.functional import linear as _linear
from lucidfn.nn.functional.activations import *  # noqa: F403
from lucidfn.nn.functional.activations_torch import *  # noqa: F403
from lucidfn.nn.functional.attention import *  # noqa: F403
from lucidfn.nn.functional.classification import *  # noqa: F403
from lucidfn.nn.functional.convolution import *  # noqa: F403
from lucidfn.nn.functional.ctc import *  # noqa: F403
from lucidfn.nn.functional.distances import *  # noqa: F403
from lucidfn.nn.functional.dropout import *  # noqa: F403
from lucidfn.nn.functional.embedding import *  # noqa: F403
from lucidfn.nn.functional.folding import *  # noqa: F403
from lucidfn.nn.functional.images import *  # noqa: F403
from lucidfn.nn.functional.linear import *  # noqa: F403
from lucidfn.nn.functional.losses import *  # noqa: F403
from lucidfn.nn.functional.margins import *  # noqa: F403
from lucidfn.nn.functional.metrics import *  # noqa: F403
from lucidfn.nn.functional.normalization import *  # noqa: F403
from lucidfn.nn.functional.padding import *  # noqa: F403
from lucidfn.nn.functional.pooling import *  # noqa: F403
from lucidfn.nn.functional.positions import *  # noqa: F403
from lucidfn.nn.functional.recurrent import *  # noqa: F403

__all__ = []
__all__ += activations.__all__
__all__ += activations_torch.__all__
__all__ += attention.__all__
__all__ += classification.__all__
__all__ += convolution.__all__
__all__ += ctc.__all__
__all__ += distances.__all__
__all__ += _dropout.__all__
__all__ += _embedding.__all__
__all__ += folding.__all__
__all__ += images.__all__
__all__ += _linear.__all__
__all__ += losses.__all__
__all__ += margins.__all__
__all__ += metrics.__all__
__all__ += normalization.__all__
__all__ += padding.__all__
__all__ += pooling.__all__
__all__ += positions.__all__
__all__ += recurrent.__all__


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
