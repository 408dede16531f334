"""GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners"), sampling."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import lax, nn, random
from lucidfn.api.jit import jit
from lucidfn.array import typeof
from lucidfn.models.weights import check_name, pretrained
from lucidfn.nn.initializers import normal, zeros
from lucidfn.nn.layer import Params, State

START: dict[str, Any] = {"weight_init": normal(0.02), "bias_init": zeros}
Cache = tuple[dict[str, Any], ...]


class Block(nn.Composite):
    """x + attention(norm(x)), then x + mlp(norm(x)), for one of num_layers blocks.

    The two maps back into the residual stream start smaller: 2 num_layers of them are added to it.
    """

    embed_dim: int
    num_heads: int
    num_layers: int
    dropout: float = 0.1

    def children(self) -> dict[str, nn.Layer]:
        e = self.embed_dim
        back: dict[str, Any] = {
            "weight_init": normal(0.02 / math.sqrt(2 * self.num_layers)), "bias_init": zeros}
        return {
            "norm1": nn.LayerNorm(e),
            "attention": nn.MultiheadAttention(e, self.num_heads, self.dropout, **START),
            "norm2": nn.LayerNorm(e),
            "fc": nn.Linear(e, 4 * e, **START),
            "proj": nn.Linear(4 * e, e, **back),
            "dropout": nn.Dropout(self.dropout),
        }

    def init(self, key: Any) -> tuple[Params, State]:
        params, state = super().init(key)
        # The fourth map of attention goes back into the stream, the other three do not.
        weight = params["attention"]["out_proj"]["weight"]
        params["attention"]["out_proj"]["weight"] = weight / math.sqrt(2 * self.num_layers)
        return params, state

    def forward(self, run: nn.Run, x: Any, cache: Any = None) -> Any:  # type: ignore[override]
        y = run.attention(run.norm1(x), is_causal=True, cache=cache)
        y, cache = (y, None) if cache is None else y
        x = x + run.dropout(y)
        x = x + run.dropout(run.proj(nn.gelu(run.fc(run.norm2(x)))))
        return x, cache


class GPT(nn.Composite):
    """A causal transformer: token ids [B, T] to logits [B, T, vocab_size] of each next token.

    The defaults are the small GPT-2 (124,439,808 parameters): pre-norm blocks, learnt positions,
    the tanh form of gelu, weights N(0, 0.02), and embeddings that are the output matrix too unless
    tied=False. With `cache=`, from `init_cache(batch)`, the tokens continue those in the cache, and
    the outputs are (logits, new cache). More than context_length tokens are an error.
    With `weights`, a name of `models.weights` such as "gpt2", `init` gives these.

    >>> from lucidfn import models, random
    >>> model = models.GPT(vocab_size=11, context_length=16, embed_dim=8, num_heads=2, num_layers=2)
    >>> params, state = model.init(random.key(0))
    >>> logits, _ = model.apply(params, state, lnp.array([[1, 2, 3]]))
    >>> logits.shape
    (1, 3, 11)
    """

    vocab_size: int = 50257
    context_length: int = 1024
    embed_dim: int = 768
    num_heads: int = 12
    num_layers: int = 12
    dropout: float = 0.1
    tied: bool = True
    weights: str | None = None
    layout = "B T"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.weights)

    def init(self, key: Any) -> tuple[Params, State]:
        return super().init(key) if self.weights is None else pretrained(self, self.weights)

    def children(self) -> dict[str, nn.Layer]:
        e = self.embed_dim
        found: dict[str, nn.Layer] = {
            "tokens": nn.Embedding(self.vocab_size, e, weight_init=normal(0.02)),
            "positions": nn.LearnedPositionalEmbedding(self.context_length, e),  # N(0, 0.02)
            "dropout": nn.Dropout(self.dropout)}
        for i in range(self.num_layers):
            found[f"blocks_{i}"] = Block(e, self.num_heads, self.num_layers, self.dropout)
        found["norm"] = nn.LayerNorm(e)
        if not self.tied:
            found["head"] = nn.Linear(e, self.vocab_size, bias=False, **START)
        return found

    def forward(self, run: nn.Run, tokens: Any, cache: Cache | None = None  # type: ignore[override]
                ) -> Any:
        self.expect(tokens, self.layout)
        length = tokens.shape[1]
        if length > self.context_length:
            raise self.error(f"got {length} tokens in a sequence, expected at most context_length "
                             f"= {self.context_length}: tokens[:, -{self.context_length}:]")
        start = None if cache is None else cache[0]["length"]
        x = run.dropout(run.positions(run.tokens(tokens), start))
        caches = []
        for i in range(self.num_layers):
            x, new = run[f"blocks_{i}"](x, None if cache is None else cache[i])
            caches.append(new)
        x = run.norm(x)
        logits = x @ run.params["tokens"]["weight"].T if self.tied else run.head(x)
        return logits if cache is None else (logits, tuple(caches))

    def init_cache(self, batch: int, length: int | None = None, dtype: Any = None) -> Cache:
        """An empty cache for `length` tokens, by default context_length: one entry a block."""
        attention = nn.MultiheadAttention(self.embed_dim, self.num_heads)
        length = self.context_length if length is None else length
        return tuple([attention.init_cache(batch, length, dtype) for _ in range(self.num_layers)])


@partial(jit, static_argnames=("model", "top_k", "greedy"), donate_argnames="cache")
def next_token(model: GPT, params: Any, cache: Cache, tokens: Any, key: Any, temperature: Any,
               top_k: int | None, greedy: bool) -> tuple[Any, Cache]:
    """(a token [B, 1] drawn after these, the cache with these)."""
    (logits, cache), _ = model.apply(params, {}, tokens, cache=cache)
    logits = logits[:, -1]
    if greedy:
        return lnp.argmax(logits, axis=-1)[:, None].astype(tokens.dtype), cache
    if top_k is not None:
        least = lax.top_k(logits, min(top_k, model.vocab_size))[0][:, -1:]
        logits = lnp.where(logits < least, -lnp.inf, logits)
    drawn = random.categorical(key, logits / temperature, axis=-1)
    return drawn[:, None].astype(tokens.dtype), cache


def generate(model: GPT, params: Any, key: Any, prompt: Any, max_new_tokens: int, *,
             temperature: float = 1.0, top_k: int | None = None) -> Any:
    """The prompt [B, T] or [T], continued by max_new_tokens tokens drawn one after the other.

    Each is drawn from the softmax of its logits / temperature, of the top_k largest ones if given;
    with temperature 0 it is the most likely one, and no key is needed. Keys and values of earlier
    tokens are kept, so that a step costs the same at every place: the prompt is traced once and the
    step once. ValueError where prompt and new tokens are more than context_length.

    >>> from lucidfn import models, random
    >>> model = models.GPT(vocab_size=11, context_length=16, embed_dim=8, num_heads=2, num_layers=1)
    >>> params, _ = model.init(random.key(0))
    >>> models.generate(model, params, random.key(1), [1, 2, 3], 5, top_k=4).shape
    (8,)
    """
    tokens = lnp.asarray(prompt)
    if tokens.ndim not in (1, 2) or tokens.shape[-1] == 0:
        raise ValueError(f"generate got a prompt {typeof(tokens)}, expected token ids [B, T] or "
                         "[T], one at least")
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(f"generate got temperature = {temperature} and top_k = {top_k}, expected "
                         "a temperature of 0 or more and at least one token to draw from")
    if temperature > 0 and key is None:
        raise ValueError("generate needs a random key: generate(model, params, key, ...); with "
                         "temperature=0 it takes the most likely tokens and none is needed")
    batch = tokens if tokens.ndim == 2 else tokens[None]
    total = batch.shape[1] + max_new_tokens
    if total > model.context_length:
        raise ValueError(f"generate got {batch.shape[1]} tokens and max_new_tokens = "
                         f"{max_new_tokens}, {total} in all, expected at most context_length = "
                         f"{model.context_length}: shorten the prompt, such as prompt[..., -n:]")
    cache = model.init_cache(batch.shape[0], total, params["tokens"]["weight"].dtype)
    parts, token = [batch], batch
    for i in range(max_new_tokens):
        own = None if key is None else random.fold_in(key, i)
        token, cache = next_token(model, params, cache, token, own, max(temperature, 1e-6), top_k,
                                  temperature == 0)
        parts.append(token)
    out = lnp.concatenate(parts, axis=1)
    return out if tokens.ndim == 2 else out[0]


__all__ = ["GPT", "generate"]
