"""The recurrent language model: it learns, continues texts, and keeps its state in a cache."""

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import models, nn, optim, random

TEXT = "the quick brown fox jumps over the lazy dog. "


def test_learns_a_repeated_text_and_recites_it() -> None:
    letters = sorted(set(TEXT))
    ids = np.array([letters.index(c) for c in TEXT * 8], "int32")
    windows = lnp.asarray(np.stack([ids[i:i + 21] for i in range(0, 45 * 4, 9)]))
    model = models.LSTMLanguageModel(len(letters), hidden_size=48, num_layers=1, dropout=0.1,
                                     tied=True)
    params, _ = model.init(random.key(0))
    tx = optim.adam(1e-2)

    def loss(params: lf.Array, key: lf.Array) -> lf.Array:
        logits, _ = model.apply(params, {}, windows[:, :-1], train=True, key=key)
        chosen = lnp.take_along_axis(nn.log_softmax(logits), windows[:, 1:, None], axis=-1)
        return -chosen.mean()

    @lf.jit
    def step(params: lf.Array, state: lf.Array, key: lf.Array) -> tuple[lf.Array, ...]:
        value, grads = lf.value_and_grad(loss)(params, key)
        updates, state = tx.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    state, losses = tx.init(params), []
    for i in range(150):
        params, state, value = step(params, state, random.fold_in(random.key(1), i))
        losses.append(float(value))
    assert losses[0] > 3.0 and losses[-1] < 0.3
    out = models.generate(model, params, None, ids[:10], 80, temperature=0.0)
    assert "".join(letters[i] for i in out.tolist()) == (TEXT * 2)[:90]


@pytest.mark.parametrize("tied", [False, True])
def test_a_text_in_pieces_gives_the_same_logits(tied: bool) -> None:
    model = models.LSTMLanguageModel(13, hidden_size=6, num_layers=2, tied=tied)
    params, _ = model.init(random.key(0))
    assert ("head" in params) is not tied
    tokens = lnp.asarray(np.random.default_rng(0).integers(0, 13, (3, 8)).astype("int32"))
    whole, _ = model.apply(params, {}, tokens)
    cache, parts = model.init_cache(3), []
    for a, b in [(0, 1), (1, 5), (5, 8)]:
        (logits, cache), _ = model.apply(params, {}, tokens[:, a:b], cache=cache)
        parts.append(logits)
    np.testing.assert_allclose(lnp.concatenate(parts, axis=1), whole, atol=1e-6)


def test_drops_out_in_training_only() -> None:
    model = models.LSTMLanguageModel(13, hidden_size=6)
    params, _ = model.init(random.key(0))
    tokens = lnp.asarray([[1, 2, 3]])
    calm, wild = (model.apply(params, {}, tokens, train=t, key=random.key(2))[0]
                  for t in (False, True))
    assert np.abs(np.asarray(calm - wild)).max() > 1e-4
    with pytest.raises(nn.LayerError, match="at 'dropout' needs a random key"):
        model.apply(params, {}, tokens, train=True)
    with pytest.raises(nn.LayerError, match=r"expected data \[B, T\]"):
        model.apply(params, {}, tokens[0])


def test_the_medium_model_has_the_papers_size() -> None:
    params = lf.eval_shape(lambda: models.LSTMLanguageModel().init(random.key(0))[0])
    count = sum(int(np.prod(x.shape)) for x in lf.tree.leaves(params))
    lstm = 2 * (2 * 650 * 2600 + 2 * 2600)
    assert count == 10000 * 650 + lstm + 650 * 10000 + 10000
