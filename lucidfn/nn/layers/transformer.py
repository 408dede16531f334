"""The transformer of arXiv:1706.03762, with PyTorch's arguments. Data is [B, T, d_model].

Masks are those of `MultiheadAttention`: booleans are True where a key is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import lucidfn.numpy as lnp
from lucidfn import random, tree
from lucidfn.nn.functional.activations import gelu, relu
from lucidfn.nn.initializers import Initializer, glorot_uniform
from lucidfn.nn.layer import Composite, Layer, Params, Run, State
from lucidfn.nn.layers.attention import MultiheadAttention
from lucidfn.nn.layers.dropout import Dropout
from lucidfn.nn.layers.linear import Linear
from lucidfn.nn.layers.normalization import LayerNorm
from lucidfn.tree_util import keystr

ACTIVATIONS = {"relu": relu, "gelu": partial(gelu, approximate=False)}
Activation = str | Callable[..., Any]


class Block(Composite):
    """Base of the two layers: attentions, then two linear maps; each added to what goes in.

    Subclasses name their attentions. Normalised is the sum, or with norm_first what goes in.
    """

    d_model: int
    nhead: int
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: Activation = "relu"
    layer_norm_eps: float = 1e-5
    batch_first: bool = True
    norm_first: bool = False
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None
    layout = "B T E"
    attentions: ClassVar[tuple[str, ...]] = ("self_attn",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.activation) and self.activation not in ACTIVATIONS:
            raise self.error(f"got activation = {self.activation!r}, expected a function of arrays "
                             f"or one of {list(ACTIVATIONS)}")

    def children(self) -> dict[str, Layer | Callable[..., Any]]:
        d, inits = self.d_model, (self.weight_init, self.bias_init)
        attention = MultiheadAttention(d, self.nhead, self.dropout, self.bias, False, False, None,
                                       None, self.batch_first, *inits)
        act = self.activation
        found: dict[str, Any] = dict.fromkeys(self.attentions, attention)
        found["linear1"] = Linear(d, self.dim_feedforward, self.bias, *inits)
        found["activation"] = ACTIVATIONS[act] if isinstance(act, str) else act
        found["dropout"] = Dropout(self.dropout)
        found["linear2"] = Linear(self.dim_feedforward, d, self.bias, *inits)
        for i in range(1, len(self.attentions) + 2):
            found[f"norm{i}"] = LayerNorm(d, self.layer_norm_eps, bias=self.bias)
            found[f"dropout{i}"] = Dropout(self.dropout)
        return found

    def blocks(self, run: Run, x: Any, *inner: Callable[[Any], Any]) -> Any:
        """x + f(x) for each f, normalised and dropped in the order that norm_first says."""
        for i, f in enumerate(inner, 1):
            norm, drop = run[f"norm{i}"], run[f"dropout{i}"]
            x = x + drop(f(norm(x))) if self.norm_first else norm(x + drop(f(x)))
        return x

    def feedforward(self, run: Run, x: Any) -> Any:
        """The two linear maps."""
        return run.linear2(run.dropout(run["activation"](run.linear1(x))))


class TransformerEncoderLayer(Block):
    """Self-attention, then two linear maps of dim_feedforward channels between them.

    src [B, T, E] to [B, T, E] ([T, B, E] with batch_first=False); `src_mask`,
    `src_key_padding_mask` and `is_causal` are those of `MultiheadAttention`. activation is a
    function, or "relu" or "gelu" (the exact one).

    >>> from lucidfn import nn, random
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16)
    >>> params, state = layer.init(random.key(0))
    >>> y, _ = layer.apply(params, state, lnp.ones((3, 5, 8)), train=True, key=random.key(1))
    >>> y.shape
    (3, 5, 8)
    """

    def forward(self, run: Run, src: Any, src_mask: Any = None,  # type: ignore[override]
                src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        attend = lambda x: run.self_attn(x, attn_mask=src_mask, is_causal=is_causal,
                                         key_padding_mask=src_key_padding_mask)
        return self.blocks(run, src, attend, lambda x: self.feedforward(run, x))


class TransformerDecoderLayer(Block):
    """Self-attention, attention to the encoder's output `memory`, then two linear maps.

    tgt [B, T, E] and memory [B, S, E] to [B, T, E]. `tgt_mask`, `tgt_key_padding_mask` and
    `tgt_is_causal` are for the first attention, those with `memory` for the second.

    >>> from lucidfn import nn, random
    >>> layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0)
    >>> params, state = layer.init(random.key(0))
    >>> layer(params, lnp.ones((3, 5, 8)), lnp.ones((3, 7, 8)), tgt_is_causal=True).shape
    (3, 5, 8)
    """

    attentions: ClassVar[tuple[str, ...]] = ("self_attn", "multihead_attn")

    def forward(self, run: Run, tgt: Any, memory: Any, tgt_mask: Any = None,  # type: ignore[override]
                memory_mask: Any = None, tgt_key_padding_mask: Any = None,
                memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:
        attend = lambda x: run.self_attn(x, attn_mask=tgt_mask, is_causal=tgt_is_causal,
                                         key_padding_mask=tgt_key_padding_mask)
        look = lambda x: run.multihead_attn(x, memory, attn_mask=memory_mask,
                                            is_causal=memory_is_causal,
                                            key_padding_mask=memory_key_padding_mask)
        return self.blocks(run, tgt, attend, look, lambda x: self.feedforward(run, x))


class Stack(Composite):
    """Base of encoder and decoder: num_layers layers like `layer`, then `norm` if any.

    They are `layers_0`, `layers_1`, ..., each with parameters and a start of its own.
    """

    @property
    def layer(self) -> Layer:
        """What is stacked."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        super().__post_init__()
        count = getattr(self, "num_layers", None)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise self.error(f"got num_layers = {count!r}, expected a number of layers")

    def children(self: Any) -> dict[str, Layer]:
        found = {f"layers_{i}": self.layer for i in range(self.num_layers)}
        return found if self.norm is None else {**found, "norm": self.norm}

    def through(self: Any, run: Run, x: Any, *inputs: Any, **kwargs: Any) -> Any:
        """x through all layers, each given the same other inputs."""
        for i in range(self.num_layers):
            x = run[f"layers_{i}"](x, *inputs, **kwargs)
        return x if self.norm is None else run.norm(x)


class TransformerEncoder(Stack):
    """num_layers encoder layers one after the other, then `norm` if it is given.

    >>> from lucidfn import nn, random
    >>> encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2)
    >>> params, state = encoder.init(random.key(0))
    >>> encoder(params, lnp.ones((3, 5, 8)), is_causal=True).shape
    (3, 5, 8)
    """

    encoder_layer: Layer
    num_layers: int
    norm: Layer | None = None

    @property
    def layer(self) -> Layer:
        return self.encoder_layer

    def forward(self, run: Run, src: Any, mask: Any = None,  # type: ignore[override]
                src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        return self.through(run, src, src_mask=mask, is_causal=is_causal,
                            src_key_padding_mask=src_key_padding_mask)


class TransformerDecoder(Stack):
    """num_layers decoder layers one after the other, then `norm` if it is given."""

    decoder_layer: Layer
    num_layers: int
    norm: Layer | None = None

    @property
    def layer(self) -> Layer:
        return self.decoder_layer

    def forward(self, run: Run, tgt: Any, memory: Any, tgt_mask: Any = None,  # type: ignore[override]
                memory_mask: Any = None, tgt_key_padding_mask: Any = None,
                memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:
        return self.through(run, tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                            tgt_key_padding_mask=tgt_key_padding_mask,
                            memory_key_padding_mask=memory_key_padding_mask,
                            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal)


class Transformer(Composite):
    """An encoder of src and a decoder of tgt that looks at it (arXiv:1706.03762).

    src [B, S, E] and tgt [B, T, E] to [B, T, E]. There are no embeddings and positions in it: see
    `lucidfn.models.Transformer`. Masks as in the two stacks. Matrices start uniform as by Glorot.

    >>> from lucidfn import nn, random
    >>> model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0)
    >>> params, state = model.init(random.key(0))
    >>> src, tgt = lnp.ones((3, 7, 8)), lnp.ones((3, 5, 8))
    >>> model(params, src, tgt, tgt_is_causal=True).shape
    (3, 5, 8)
    """

    d_model: int = 512
    nhead: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: Activation = "relu"
    custom_encoder: Layer | None = None
    custom_decoder: Layer | None = None
    layer_norm_eps: float = 1e-5
    batch_first: bool = True
    norm_first: bool = False
    bias: bool = True
    layout = "B T E"

    def children(self) -> dict[str, Layer]:
        common = (self.d_model, self.nhead, self.dim_feedforward, self.dropout, self.activation,
                  self.layer_norm_eps, self.batch_first, self.norm_first, self.bias)
        norm = LayerNorm(self.d_model, self.layer_norm_eps, bias=self.bias)
        return {
            "encoder": self.custom_encoder or TransformerEncoder(
                TransformerEncoderLayer(*common), self.num_encoder_layers, norm),
            "decoder": self.custom_decoder or TransformerDecoder(
                TransformerDecoderLayer(*common), self.num_decoder_layers, norm)}

    def init(self, key: Any) -> tuple[Params, State]:
        params, state = super().init(key)
        glorot = glorot_uniform()

        def start(path: Any, p: Any) -> Any:
            name = keystr(path)
            # The projections of attention have that start already, as one matrix of three parts.
            packed = any(f"['{part}_proj']" in name for part in "qkv")
            return p if p.ndim < 2 or packed else glorot(random.fold_in(key, name), p.shape)

        return tree.map_with_path(start, params), state

    def forward(self, run: Run, src: Any, tgt: Any, src_mask: Any = None,  # type: ignore[override]
                tgt_mask: Any = None, memory_mask: Any = None, src_key_padding_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                src_is_causal: bool = False, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:
        memory = run.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                             is_causal=src_is_causal)
        return run.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                           tgt_key_padding_mask=tgt_key_padding_mask,
                           memory_key_padding_mask=memory_key_padding_mask,
                           tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(size: int) -> Any:
        """[size, size] to be added to scores: 0 up to a query's own place, -inf after it."""
        return lnp.where(lnp.tri(size, dtype=bool), 0.0, -lnp.inf).astype("float32")


__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]
