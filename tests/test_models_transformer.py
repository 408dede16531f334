"""The transformer that translates: what it sees, greedy decoding, errors, and that it learns."""

import math
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import models, nn, optim, random, tree
from lucidfn.nn.functional import sinusoidal_positions

TINY = models.Transformer(11, None, 8, 2, 1, 2, 16, dropout=0.1, padding=0)
rng = np.random.default_rng(0)
SOURCE = rng.integers(3, 11, (3, 5)).astype("int32")
TARGET = rng.integers(3, 11, (3, 6)).astype("int32")


@pytest.fixture(scope="module")
def params() -> Any:
    out, state = TINY.init(random.key(0))
    assert state == {}
    return out


def logits_of(params: Any, source: Any, target: Any) -> np.ndarray:
    return np.asarray(TINY.apply(params, {}, source, target)[0])


def test_the_default_is_the_base_model() -> None:
    model = models.Transformer(37000)
    shapes = lf.eval_shape(model.init, random.key(0))[0]
    square, ff, norm = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 2 * 512
    encoder, decoder = square + ff + 2 * norm, 2 * square + ff + 3 * norm
    # About the 65 million of the paper.
    assert sum(x.size for x in tree.leaves(shapes)) == 37000 * 512 + 6 * encoder + 6 * decoder
    assert (model.num_heads, model.num_encoder_layers, model.dim_feedforward) == (8, 6, 2048)


def test_target_tokens_to_come_are_not_seen_and_the_source_is(params: Any) -> None:
    other = TARGET.copy()
    other[:, 4:] = 3 + (other[:, 4:] - 2) % 8
    a, b = logits_of(params, SOURCE, TARGET), logits_of(params, SOURCE, other)
    np.testing.assert_array_equal(a[:, :4], b[:, :4])
    assert np.abs(a[:, 4:] - b[:, 4:]).max() > 1e-3
    moved = SOURCE.copy()
    moved[:, -1] = 3 + (moved[:, -1] - 2) % 8
    assert (np.abs(a - logits_of(params, moved, TARGET)).max(axis=-1) > 1e-6).all()


def test_padding_is_not_seen(params: Any) -> None:
    padded = np.concatenate([SOURCE, np.zeros((3, 2), "int32")], axis=1)
    np.testing.assert_allclose(logits_of(params, padded, TARGET), logits_of(params, SOURCE, TARGET),
                               atol=1e-5)


def test_embeddings_are_scaled_and_get_sinusoids(params: Any) -> None:
    run = nn.Run(TINY, params, {}, False, None)
    weight = np.asarray(params["target"]["weight"])
    want = math.sqrt(8) * weight[SOURCE] + np.asarray(sinusoidal_positions(5, 8))
    np.testing.assert_allclose(TINY.embed(run, "source", SOURCE), want, atol=1e-6)


def test_what_is_tied() -> None:
    names = lambda *args, **options: {
        k: p["weight"].shape for k, p in models.Transformer(*args, d_model=8, num_heads=2,
                                                            **options).init(random.key(0))[0].items()
        if "weight" in p}
    assert names(11) == {"target": (11, 8)}
    assert names(11, 7) == {"target": (7, 8), "source": (11, 8)}
    assert names(11, tied=False) == {"target": (11, 8), "source": (11, 8), "head": (8, 11)}


def test_greedy_decoding_takes_the_most_likely_token_until_the_end(params: Any) -> None:
    out = np.asarray(models.greedy(TINY, params, SOURCE, start=1, end=2, max_length=7))
    assert out.shape == (3, 7) and (out[:, 0] == 1).all()
    likely = logits_of(params, SOURCE, out).argmax(-1)
    for row, best in zip(out, likely, strict=True):
        ends = np.flatnonzero(row == 2)
        last = ends[0] if len(ends) else 6
        np.testing.assert_array_equal(row[1:last + 1], best[:last])
        assert (row[last + 1:] == 2).all()
    # What the sequence ends with is repeated, whatever the model would say.
    first = int(likely[0, 0])
    ended = np.asarray(models.greedy(TINY, params, SOURCE[:1], start=1, end=first, max_length=7))
    assert (ended[0, 1:] == first).all()


def test_all_steps_of_decoding_run_one_program(params: Any,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = models.Transformer.decode
    monkeypatch.setattr(models.Transformer, "decode",
                        lambda self, *args: calls.append(1) or decode(self, *args))
    for _ in range(2):
        models.greedy(TINY, params, SOURCE[:2], start=1, end=2, max_length=9)
    assert len(calls) == 1


@pytest.mark.parametrize(("source", "target", "error", "match"), [
    (SOURCE[0], TARGET, nn.LayerError, "expected data \\[B, T\\]"),
    (SOURCE.astype("float32"), TARGET, TypeError, "integers"),
    (SOURCE + 8, TARGET, IndexError, "1[1-8]"),
    (SOURCE[:2], TARGET, nn.LayerError, "the same B"),
])
def test_tokens_that_do_not_fit(params: Any, source: Any, target: Any, error: Any,
                                match: str) -> None:
    with pytest.raises(error, match=match):
        lf.block_until_ready(TINY.apply(params, {}, source, target))


def test_errors_of_greedy(params: Any) -> None:
    with pytest.raises(ValueError, match="expected token ids \\[B, S\\]"):
        models.greedy(TINY, params, SOURCE[0], 1, 2, 7)
    with pytest.raises(ValueError, match="room for one token"):
        models.greedy(TINY, params, SOURCE, 1, 2, 0)


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(nn.LayerError, match="multiple of num_heads"):
        models.Transformer(11, d_model=8, num_heads=3).init(random.key(0))


def test_it_learns_to_reverse() -> None:
    model = models.Transformer(11, None, 32, 4, 1, 1, 64, dropout=0.0, norm_first=True)
    tx = optim.adam(3e-3)

    def batch(key: Any, size: int) -> Any:
        source = random.randint(key, (size, 6), 3, 11)
        ones = lnp.ones((size, 1), source.dtype)
        return source, lnp.concatenate([ones, source[:, ::-1], 2 * ones], axis=1)

    def loss_fn(params: Any, source: Any, target: Any) -> Any:
        logits, _ = model.apply(params, {}, source, target[:, :-1])
        likely = nn.log_softmax(logits)
        return -lnp.take_along_axis(likely, target[:, 1:, None], axis=-1).mean()

    @lf.jit
    def step(params: Any, opt_state: Any, key: Any) -> Any:
        loss, grads = lf.value_and_grad(loss_fn)(params, *batch(key, 64))
        updates, opt_state = tx.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, loss

    params, _ = model.init(random.key(0))
    opt_state = tx.init(params)
    for i in range(400):
        params, opt_state, loss = step(params, opt_state, random.fold_in(random.key(1), i))
    source, target = batch(random.key(2), 50)
    out = np.asarray(models.greedy(model, params, source, start=1, end=2, max_length=8))
    assert float(loss) < 0.05 and (out == np.asarray(target)).all(axis=1).mean() >= 0.98
