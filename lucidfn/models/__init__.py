"""Models of the literature as layers, each short enough to be read in one sitting.

    model = models.GPT(vocab_size=65, context_length=64, embed_dim=128, num_heads=4, num_layers=4)
    params, state = model.init(random.key(0))
    logits, state = model.apply(params, state, tokens, train=True, key=key)
"""

from lucidfn.models import from_torch, gpt, lenet, lstm_lm, resnet, transformer, weights
from lucidfn.models.from_torch import *  # noqa: F403
from lucidfn.models.gpt import *  # noqa: F403
from lucidfn.models.lenet import *  # noqa: F403
from lucidfn.models.lstm_lm import *  # noqa: F403
from lucidfn.models.resnet import *  # noqa: F403
from lucidfn.models.transformer import *  # noqa: F403
from lucidfn.models.weights import *  # noqa: F403

__all__ = []
__all__ += from_torch.__all__
__all__ += gpt.__all__
__all__ += lenet.__all__
__all__ += lstm_lm.__all__
__all__ += resnet.__all__
__all__ += transformer.__all__
__all__ += weights.__all__


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
