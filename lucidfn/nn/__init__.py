"""Neural networks as pure functions: activation functions, attention, initializers.

    from lucidfn import nn
    h = nn.gelu(x @ w + b)
    logp = nn.log_softmax(h @ v)
"""

from lucidfn.nn import initializers
from lucidfn.nn.activations import *  # noqa: F403
from lucidfn.nn.attention import dot_product_attention
