"""The transformer that translates (Vaswani et al. 2017, arXiv:1706.03762), and greedy decoding."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import nn
from lucidfn.api.jit import jit
from lucidfn.array import typeof
from lucidfn.nn.initializers import glorot_uniform, normal, zeros

START: dict[str, Any] = {"weight_init": glorot_uniform(), "bias_init": zeros}


class Transformer(nn.Composite):
    """Token ids source [B, S] and target [B, T] to logits [B, T, V] of each next target token.

    The defaults are the base model of the paper: embeddings times sqrt(d_model) plus sinusoids,
    norms after the sums. One matrix is both embeddings and the output matrix; with tied=False, or
    a target vocabulary of its own, the source has its own. `padding` is the id of tokens that are
    not looked at. Logits at place i depend on target[:, :i + 1] only.

    >>> from lucidfn import models, random
    >>> model = models.Transformer(11, None, 8, 2, 1, 1, 16)
    >>> params, state = model.init(random.key(0))
    >>> source, target = lnp.array([[5, 6, 7]]), lnp.array([[1, 5]])
    >>> logits, _ = model.apply(params, state, source, target)
    >>> logits.shape
    (1, 2, 11)
    """

    vocab_size: int
    target_vocab_size: int | None = None
    d_model: int = 512
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    dim_feedforward: int = 2048
    dropout: float = 0.1
    norm_first: bool = False
    tied: bool = True
    padding: int | None = None
    layout = "B T"

    @property
    def outputs(self) -> int:
        """How many tokens the target has."""
        return self.target_vocab_size or self.vocab_size

    def children(self) -> dict[str, nn.Layer]:
        d = self.d_model
        embedding = lambda size: nn.Embedding(size, d, weight_init=normal(d**-0.5))
        found: dict[str, nn.Layer] = {"target": embedding(self.outputs)}
        if not self.tied or self.outputs != self.vocab_size:
            found["source"] = embedding(self.vocab_size)
        found["positions"] = nn.SinusoidalPositionalEncoding(d)
        found["dropout"] = nn.Dropout(self.dropout)
        layer: dict[str, Any] = {
            "d_model": d, "nhead": self.num_heads, "dim_feedforward": self.dim_feedforward,
            "dropout": self.dropout, "norm_first": self.norm_first, **START}
        norm = nn.LayerNorm(d) if self.norm_first else None
        found["encoder"] = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**layer), self.num_encoder_layers, norm)
        found["decoder"] = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**layer), self.num_decoder_layers, norm)
        if not self.tied:
            found["head"] = nn.Linear(d, self.outputs)
        return found

    def forward(self, run: nn.Run, source: Any, target: Any, *,  # type: ignore[override]
                memory: Any = None) -> Any:
        memory = self.encode(run, source) if memory is None else memory
        return self.decode(run, source, memory, target)

    def embed(self, run: nn.Run, name: str, tokens: Any) -> Any:
        """Embeddings and positions, [B, T, d_model]."""
        self.expect(tokens, self.layout)
        name = name if name in self.named_children else "target"
        return run.dropout(run.positions(run[name](tokens) * math.sqrt(self.d_model)))

    def encode(self, run: nn.Run, source: Any) -> Any:
        """What the decoder looks at, [B, S, d_model]."""
        return run.encoder(self.embed(run, "source", source),
                           src_key_padding_mask=self.padded(source))

    def decode(self, run: nn.Run, source: Any, memory: Any, target: Any) -> Any:
        """Logits for what follows each token of the target, [B, T, V]."""
        x = run.decoder(self.embed(run, "target", target), memory, tgt_is_causal=True,
                        tgt_key_padding_mask=self.padded(target),
                        memory_key_padding_mask=self.padded(source))
        return x @ run.params["target"]["weight"].T if self.tied else run.head(x)

    def padded(self, tokens: Any) -> Any:
        """Where tokens are padding; None without an id for it."""
        return None if self.padding is None else lnp.asarray(tokens) == self.padding


@partial(jit, static_argnames="model")
def encoded(model: Transformer, params: Any, source: Any) -> Any:
    """The encoder's outputs in evaluation."""
    return model.encode(nn.Run(model, params, {}, False, None), source)


@partial(jit, static_argnames="model", donate_argnames="target")
def extended(model: Transformer, params: Any, source: Any, memory: Any, target: Any, place: Any,
             end: Any) -> Any:
    """The target with its most likely token after `place`; `end` follows `end`."""
    logits = model.decode(nn.Run(model, params, {}, False, None), source, memory, target)
    token = lnp.argmax(logits[:, place], axis=-1).astype(target.dtype)
    token = lnp.where(target[:, place] == end, end, token)
    return target.at[:, place + 1].set(token)


def greedy(model: Transformer, params: Any, source: Any, start: int, end: int,
           max_length: int) -> Any:
    """Target ids [B, max_length] for source ids [B, S]: `start`, then the most likely token each
    time; after the first `end` all are `end`.

    The source is encoded once; all steps run one program, on a target of the full length, of which
    places to come are not looked at.

    >>> from lucidfn import models, random
    >>> model = models.Transformer(11, None, 8, 2, 1, 1, 16)
    >>> params, _ = model.init(random.key(0))
    >>> models.greedy(model, params, lnp.array([[5, 6, 7]]), start=1, end=2, max_length=4).shape
    (1, 4)
    """
    source = lnp.asarray(source)
    if source.ndim != 2 or max_length < 1:
        raise ValueError(f"greedy got source {typeof(source)} and max_length = {max_length}, "
                         "expected token ids [B, S] and room for one token at least")
    memory = encoded(model, params, source)
    target = lnp.full((source.shape[0], max_length), end, source.dtype).at[:, 0].set(start)
    for place in range(max_length - 1):
        target = extended(model, params, source, memory, target, place, end)
    return target


__all__ = ["Transformer", "greedy"]
