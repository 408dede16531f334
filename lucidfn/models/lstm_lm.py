"""A recurrent language model (Zaremba et al. 2014, arXiv:1409.2329)."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import nn, random

Cache = tuple[Any, Any]


def small_uniform(key: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Uniform in [-0.05, 0.05): the paper's start of its medium model."""
    return random.uniform(key, shape, dtype or "float32", minval=-0.05, maxval=0.05)


class LSTMLanguageModel(nn.Composite):
    """Layers of LSTM over words: token ids [B, T] to logits [B, T, vocab_size] of each next token.

    The defaults are the paper's medium model: dropout between all layers, but not in time. With
    tied=True the embedding is the output matrix too (arXiv:1608.05859). With `cache=`, from
    `init_cache(batch)`, the tokens continue those before, and the outputs are (logits, new cache):
    so a text is trained on piece by piece, and `models.generate` continues a prompt of any length.

    >>> from lucidfn import models
    >>> model = models.LSTMLanguageModel(vocab_size=11, hidden_size=8, tied=True)
    >>> params, state = model.init(random.key(0))
    >>> model.apply(params, state, lnp.array([[1, 2, 3]]))[0].shape
    (1, 3, 11)
    >>> models.generate(model, params, random.key(1), [1, 2, 3], 4).shape
    (7,)
    """

    vocab_size: int = 10000
    hidden_size: int = 650
    num_layers: int = 2
    dropout: float = 0.5
    tied: bool = False
    layout = "B T"
    context_length = math.inf  # the state is of one size, however long the text

    def children(self) -> dict[str, nn.Layer]:
        start: dict[str, Any] = {"weight_init": small_uniform, "bias_init": small_uniform}
        between = self.dropout if self.num_layers > 1 else 0.0
        found: dict[str, nn.Layer] = {
            "tokens": nn.Embedding(self.vocab_size, self.hidden_size, weight_init=small_uniform),
            "dropout": nn.Dropout(self.dropout),
            "lstm": nn.LSTM(self.hidden_size, self.hidden_size, self.num_layers, dropout=between,
                            **start)}
        if not self.tied:
            found["head"] = nn.Linear(self.hidden_size, self.vocab_size, **start)
        return found

    def forward(self, run: nn.Run, tokens: Any,  # type: ignore[override]
                cache: Cache | None = None) -> Any:
        self.expect(tokens, self.layout)
        x = run.dropout(run.tokens(tokens))
        x, carry = run.lstm(x, cache)
        x = run.dropout(x)
        logits = x @ run.params["tokens"]["weight"].T if self.tied else run.head(x)
        return logits if cache is None else (logits, carry)

    def init_cache(self, batch: int, length: int | None = None, dtype: Any = None) -> Cache:
        """The state before the first token, (h, c), for any length of text."""
        shape = (self.num_layers, batch, self.hidden_size)
        return lnp.zeros(shape, dtype), lnp.zeros(shape, dtype)


__all__ = ["LSTMLanguageModel"]
