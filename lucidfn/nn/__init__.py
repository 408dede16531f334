"""Neural networks: layers as frozen descriptions with pure methods, and the functions below them.

    from lucidfn import nn, random
    model = nn.Sequential(nn.Linear(64, 32), nn.relu, nn.Linear(32, 10))
    params, state = model.init(random.key(0))
    logits, state = model.apply(params, state, x, train=True, key=key)

`nn.functional` has every operation as a function of arrays, `nn.initializers` the starts of
weights.
"""

from typing import TYPE_CHECKING, Any

from lucidfn.nn import calls, functional, initializers, losses, metrics
from lucidfn.nn.combine import Residual, Sequential
from lucidfn.nn.functional import activations as _activations
from lucidfn.nn.functional.activations import *  # noqa: F403
from lucidfn.nn.functional.attention import dot_product_attention
from lucidfn.nn.layer import Composite, Lambda, Layer, LayerError, Run
from lucidfn.nn.layers import (
    activation as _activation,
)
from lucidfn.nn.layers import (
    attention as _attention,
)
from lucidfn.nn.layers import (
    convolution as _convolution,
)
from lucidfn.nn.layers import (
    dropout as _dropout,
)
from lucidfn.nn.layers import (
    embedding as _embedding,
)
from lucidfn.nn.layers import (
    folding as _folding,
)
from lucidfn.nn.layers import (
    fused as _fused,
)
from lucidfn.nn.layers import (
    images as _images,
)
from lucidfn.nn.layers import (
    linear as _linear,
)
from lucidfn.nn.layers import (
    losses as _losses,
)
from lucidfn.nn.layers import (
    normalization as _normalization,
)
from lucidfn.nn.layers import (
    padding as _padding,
)
from lucidfn.nn.layers import (
    pooling as _pooling,
)
from lucidfn.nn.layers import (
    positions as _positions,
)
from lucidfn.nn.layers import (
    rearrange as _rearrange,
)
from lucidfn.nn.layers import (
    recurrent as _recurrent,
)
from lucidfn.nn.layers import (
    recurrent_cells as _recurrent_cells,
)
from lucidfn.nn.layers import (
    transformer as _transformer,
)
from lucidfn.nn.layers.activation import *  # noqa: F403
from lucidfn.nn.layers.attention import *  # noqa: F403
from lucidfn.nn.layers.convolution import *  # noqa: F403
from lucidfn.nn.layers.dropout import *  # noqa: F403
from lucidfn.nn.layers.embedding import *  # noqa: F403
from lucidfn.nn.layers.folding import *  # noqa: F403
from lucidfn.nn.layers.fused import *  # noqa: F403
from lucidfn.nn.layers.images import *  # noqa: F403
from lucidfn.nn.layers.linear import *  # noqa: F403
from lucidfn.nn.layers.losses import *  # noqa: F403
from lucidfn.nn.layers.normalization import *  # noqa: F403
from lucidfn.nn.layers.padding import *  # noqa: F403
from lucidfn.nn.layers.pooling import *  # noqa: F403
from lucidfn.nn.layers.positions import *  # noqa: F403
from lucidfn.nn.layers.rearrange import *  # noqa: F403
from lucidfn.nn.layers.recurrent import *  # noqa: F403
from lucidfn.nn.layers.recurrent_cells import *  # noqa: F403
from lucidfn.nn.layers.transformer import *  # noqa: F403
from lucidfn.nn.summary import Summary, summary

__all__ = ["Composite", "Lambda", "Layer", "LayerError", "Residual", "Run", "Sequential", "Summary",
           "dot_product_attention", "functional", "initializers", "losses", "metrics", "summary"]
__all__ += _activations.__all__
__all__ += _activation.__all__
__all__ += _attention.__all__
__all__ += _convolution.__all__
__all__ += _dropout.__all__
__all__ += _embedding.__all__
__all__ += _folding.__all__
__all__ += _fused.__all__
__all__ += _images.__all__
__all__ += _linear.__all__
__all__ += _losses.__all__
__all__ += _normalization.__all__
__all__ += _padding.__all__
__all__ += _pooling.__all__
__all__ += _positions.__all__
__all__ += _rearrange.__all__
__all__ += _recurrent.__all__
__all__ += _recurrent_cells.__all__
__all__ += _transformer.__all__


if not TYPE_CHECKING:
    def __getattr__(name: str) -> Any:
        raise calls.unknown(__name__, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
