"""Neural networks as pure functions: activation functions, attention, initializers.

    from lucidfn import nn
    h = nn.gelu(x @ w + b)
    logp = nn.log_softmax(h @ v)
"""

from lucidfn.nn import initializers
from lucidfn.nn.activations import *  # noqa: F403
from lucidfn.nn.activations import __all__ as _activations
from lucidfn.nn.attention import dot_product_attention

__all__ = [*_activations, "dot_product_attention", "initializers"]


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
