"""GPT: causality, caches, sampling, starts, errors, and that it learns."""

import math
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import models, nn, optim, random, tree

TINY = models.GPT(vocab_size=11, context_length=16, embed_dim=8, num_heads=2, num_layers=2)
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 10)).astype("int32")


@pytest.fixture(scope="module")
def params() -> Any:
    out, state = TINY.init(random.key(0))
    assert state == {}
    # Off the start, at which all logits are nearly 0.
    return tree.map(lambda p: p * 10 if p.ndim == 2 else p, out)


def logits_of(params: Any, tokens: Any) -> np.ndarray:
    return np.asarray(TINY.apply(params, {}, tokens)[0])


def test_the_default_is_the_small_gpt2() -> None:
    shapes = lf.eval_shape(models.GPT().init, random.key(0))[0]
    assert sum(x.size for x in tree.leaves(shapes)) == 124_439_808


def test_tokens_to_come_are_not_seen(params: Any) -> None:
    other = TOKENS.copy()
    other[:, 6:] = (other[:, 6:] + 1) % 11
    a, b = logits_of(params, TOKENS), logits_of(params, other)
    np.testing.assert_array_equal(a[:, :6], b[:, :6])
    assert (np.abs(a[:, 6:] - b[:, 6:]).max(axis=-1) > 1e-3).all()


@pytest.mark.parametrize("parts", [[1] * 10, [4, 1, 1, 4]], ids=str)
def test_cached_logits_are_those_of_the_whole(params: Any, parts: list[int]) -> None:
    traces = []

    @lf.jit
    def step(cache: Any, tokens: Any) -> Any:
        traces.append(1)
        return TINY.apply(params, {}, tokens, cache=cache)[0]

    cache, found, at = TINY.init_cache(3), [], 0
    for n in parts:
        logits, cache = step(cache, TOKENS[:, at:at + n])
        found.append(np.asarray(logits))
        at += n
    np.testing.assert_allclose(np.concatenate(found, 1), logits_of(params, TOKENS), atol=1e-5)
    assert len(traces) == len(set(parts))


def test_greedy_generation_takes_the_most_likely_token(params: Any) -> None:
    out = np.asarray(models.generate(TINY, params, None, TOKENS[:, :4], 6, temperature=0.0))
    assert out.shape == (3, 10) and out.dtype == np.int32
    np.testing.assert_array_equal(out[:, :4], TOKENS[:, :4])
    np.testing.assert_array_equal(logits_of(params, out)[:, 3:-1].argmax(-1), out[:, 4:])
    one = models.generate(TINY, params, None, TOKENS[0, :4], 6, temperature=0.0)
    np.testing.assert_array_equal(one, out[0])


def test_generation_follows_the_key_and_is_traced_twice(params: Any,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    forward = models.GPT.forward

    def counted(self: Any, run: Any, tokens: Any, cache: Any = None) -> Any:
        calls.append(tokens.shape)
        return forward(self, run, tokens, cache)

    monkeypatch.setattr(models.GPT, "forward", counted)
    run = lambda n: np.asarray(models.generate(TINY, params, random.key(n), TOKENS[:2, :3], 9))
    a = run(0)
    np.testing.assert_array_equal(a, run(0))
    assert (a != run(1)).any()
    assert sorted(calls) == [(2, 1), (2, 3)]  # the prompt and the step, for all three calls
    assert a.min() >= 0 and a.max() < 11


def test_only_the_top_k_are_drawn(params: Any) -> None:
    out = np.asarray(models.generate(TINY, params, random.key(0), TOKENS[:, :2], 12, top_k=2,
                                     temperature=5.0))
    ranks = (-logits_of(params, out)).argsort(-1)[:, 1:-1, :2]
    drawn = out[:, 2:, None]
    assert (ranks == drawn).any(-1).all()
    assert (ranks[..., 0] != out[:, 2:]).any()
    least = models.generate(TINY, params, random.key(0), TOKENS[:, :2], 12, top_k=1)
    most = models.generate(TINY, params, None, TOKENS[:, :2], 12, temperature=0)
    np.testing.assert_array_equal(least, most)


def test_starts_are_those_of_gpt2() -> None:
    model = models.GPT(1000, 64, 128, 4, 8, tied=False)
    params, _ = model.init(random.key(0))
    spread = lambda p: float(np.asarray(p).std())
    block = params["blocks_3"]
    for p in (params["tokens"], params["positions"], params["head"], block["fc"],
              block["attention"]["q_proj"]):
        assert abs(spread(p["weight"]) - 0.02) < 0.001
    for p in (block["proj"], block["attention"]["out_proj"]):
        assert abs(spread(p["weight"]) - 0.02 / math.sqrt(16)) < 0.0003
    assert not np.asarray(block["fc"]["bias"]).any() and "bias" not in params["head"]


def test_dropout_follows_the_key(params: Any) -> None:
    run = lambda n: np.asarray(TINY.apply(params, {}, TOKENS, train=True, key=random.key(n))[0])
    assert (run(0) == run(0)).all() and not (run(0) == run(1)).all()
    with pytest.raises(nn.LayerError, match="needs a random key in training"):
        TINY.apply(params, {}, TOKENS, train=True)


@pytest.mark.parametrize(("tokens", "error", "match"), [
    (np.zeros((1, 17), "int32"), nn.LayerError, "context_length = 16"),
    (np.zeros((1, 4), "float32"), TypeError, "integers"),
    (np.full((1, 4), 11, "int32"), IndexError, "11"),
    (np.zeros(4, "int32"), nn.LayerError, "expected data \\[B, T\\]"),
])
def test_tokens_that_do_not_fit(params: Any, tokens: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        lf.block_until_ready(TINY.apply(params, {}, tokens))


@pytest.mark.parametrize(("key", "prompt", "new", "options", "match"), [
    (0, [1, 2, 3], 14, {}, "17 in all, expected at most context_length = 16"),
    (None, [1, 2, 3], 4, {}, "needs a random key"),
    (0, [1, 2, 3], 4, {"temperature": -1.0}, "temperature of 0 or more"),
    (0, [1, 2, 3], 4, {"top_k": 0}, "at least one token"),
    (0, [], 4, {}, "one at least"),
])
def test_prompts_that_do_not_fit(params: Any, key: Any, prompt: Any, new: int, options: Any,
                                 match: str) -> None:
    with pytest.raises(ValueError, match=match):
        models.generate(TINY, params, None if key is None else random.key(key), prompt, new,
                        **options)


def test_a_cache_that_is_full_is_an_error(params: Any) -> None:
    cache = TINY.init_cache(3, 10)
    (_, cache), _ = TINY.apply(params, {}, TOKENS, cache=cache)
    with pytest.raises(IndexError, match="out of bounds"):
        lf.block_until_ready(TINY.apply(params, {}, TOKENS[:, :1], cache=cache))


def test_it_learns_to_copy() -> None:
    """Six digits, a mark, and the same six digits: the second half is known."""
    model = models.GPT(11, 13, 32, 4, 2, dropout=0.0)
    tx = optim.adam(3e-3)

    def batch(key: Any, size: int) -> Any:
        digits = random.randint(key, (size, 6), 0, 10)
        return lnp.concatenate([digits, lnp.full((size, 1), 10, digits.dtype), digits], axis=1)

    def loss_fn(params: Any, tokens: Any) -> Any:
        logits, _ = model.apply(params, {}, tokens[:, :-1])
        likely = nn.log_softmax(logits[:, 6:])
        return -lnp.take_along_axis(likely, tokens[:, 7:, None], axis=-1).mean()

    @lf.jit
    def step(params: Any, opt_state: Any, key: Any) -> Any:
        loss, grads = lf.value_and_grad(loss_fn)(params, batch(key, 64))
        updates, opt_state = tx.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, loss

    params, _ = model.init(random.key(0))
    opt_state = tx.init(params)
    for i in range(400):
        params, opt_state, loss = step(params, opt_state, random.fold_in(random.key(1), i))
    tokens = np.asarray(batch(random.key(2), 50))
    out = np.asarray(models.generate(model, params, None, tokens[:, :7], 6, temperature=0))
    assert float(loss) < 0.05 and (out == tokens).all(axis=1).mean() >= 0.98
