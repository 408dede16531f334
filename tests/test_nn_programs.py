"""Models as users of PyTorch and flax write them: training, sharing, freezing, ensembles."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, optim, random, tree

F = nn.functional
KEY = random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4)).astype(np.float32)


def normed() -> nn.Layer:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))


def fit(loss: Any, params: Any, state: Any, *data: Any, steps: int = 8) -> tuple[Any, Any]:
    """Training in the usual form; the loss must fall, within one program."""
    tx = optim.adam(1e-2)

    @lf.jit
    def step(params: Any, state: Any, opt: Any, key: Any) -> Any:
        (value, state), grads = lf.value_and_grad(loss, has_aux=True)(params, state, key, *data)
        updates, opt = tx.update(grads, opt, params)
        return optim.apply_updates(params, updates), state, opt, value

    opt, values = tx.init(params), []
    for i in range(steps):
        params, state, opt, value = step(params, state, opt, random.fold_in(KEY, i))
        values.append(float(value))
    assert values[-1] < values[0]
    return params, state


class Autoencoder(nn.Composite):
    size: int = 3

    def children(self) -> Any:
        return {"encoder": nn.Linear(4, 2 * self.size), "decoder": nn.Linear(self.size, 4)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        mean, log_var = lnp.split(run.encoder(x), 2, axis=-1)
        z = mean
        if run.train:
            z = mean + lnp.exp(log_var / 2) * random.normal(run.key("z"), mean.shape)
        return run.decoder(z), mean, log_var


def test_a_composite_that_draws_alone_and_as_a_child() -> None:
    model = Autoencoder()

    def loss(params: Any, state: Any, key: Any, x: Any) -> Any:
        (y, mean, log_var), state = model.apply(params, state, x, train=True, key=key)
        prior = lnp.mean(lnp.exp(log_var) + mean ** 2 - 1 - log_var)
        return F.mse_loss(y, x) + 0.01 * prior, state

    params, _ = fit(loss, *model.init(KEY), X, steps=20)
    nested = nn.Sequential(nn.Sequential(model))
    deep = {"0": {"0": params}}
    first, second = (nested.apply(deep, {}, X, train=True, key=random.key(i))[0][0] for i in (1, 2))
    assert (first != second).any()
    with pytest.raises(nn.LayerError, match=r"Autoencoder\(\) at '0/0' needs a random key in tr"):
        nested.apply(deep, {}, X, train=True)
    quiet = nn.Sequential(nn.Sequential(nn.Linear(4, 2)))  # no keys where none are drawn from
    params, _ = quiet.init(KEY)
    program = lf.make_ir(lambda k: quiet.apply(params, {}, X, train=True, key=k)[0])(KEY)
    assert "fold_in" not in str(program)


def test_a_convolutional_network() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.relu,
                          nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * 16, 3))
    x, y = RNG.normal(size=(6, 8, 8, 1)).astype(np.float32), RNG.integers(0, 3, 6)

    def loss(params: Any, state: Any, key: Any, x: Any, y: Any) -> Any:
        logits, state = model.apply(params, state, x, train=True, key=key)
        return F.cross_entropy(logits, y), state

    params, state = fit(loss, *model.init(KEY), x, y)
    one = lambda p, x, y: F.cross_entropy(model.apply(p, state, x[None])[0], y[None])
    each = lf.jit(lf.vmap(lf.grad(one), in_axes=(None, 0, 0)))(params, x, y)
    whole = lf.grad(lambda p: F.cross_entropy(model.apply(p, state, x)[0], y))(params)
    tree.map(lambda a, b: np.testing.assert_allclose(a.mean(0), b, atol=1e-5), each, whole)
    with pytest.raises(nn.LayerError, match=r"'0' got x float32\[6,1,8,8\].*channels-first"):
        model.apply(params, state, np.moveaxis(x, -1, 1))


def test_shared_weights_and_their_state() -> None:
    class Siamese(nn.Composite):
        net: nn.Layer

        def forward(self, run: nn.Run, a: Any, b: Any) -> Any:
            return lnp.sum((run.net(a) - run.net(b)) ** 2, axis=-1)

    model = Siamese(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    params, state = model.init(KEY)
    distance, new = model.apply(params, state, X, 2 * X, train=True)
    assert distance.shape == (3,) and int(new["net"]["1"]["num_batches_tracked"]) == 2


def test_frozen_parts_and_tied_weights() -> None:
    model = nn.Sequential(back=nn.Linear(4, 4), head=nn.Linear(4, 2))
    params, _ = model.init(KEY)
    frozen = lambda p: lnp.sum(model({**p, "back": lf.stop_gradient(p["back"])}, X) ** 2)
    grads = lf.grad(frozen)(params)
    assert not grads["back"]["weight"].any() and grads["head"]["weight"].any()

    class Tied(nn.Composite):
        def children(self) -> Any:
            return {"embedding": nn.Embedding(7, 4), "rnn": nn.GRU(4, 4)}

        def forward(self, run: nn.Run, ids: Any) -> Any:
            return run.rnn(run.embedding(ids))[0] @ run.params["embedding"]["weight"].T

    tied, ids = Tied(), RNG.integers(0, 7, (2, 5))
    fit(lambda p, s, key, ids: (F.cross_entropy(tied(p, ids[:, :-1]), ids[:, 1:]), s),
        *tied.init(KEY), ids)


def test_ensembles_hessians_and_models_inside_jit() -> None:
    model = normed()
    params, state = lf.vmap(model.init)(random.split(KEY, 5))
    step = lambda p, s, k: model.apply(p, s, X, train=True, key=k)
    y, state = lf.jit(lf.vmap(step))(params, state, random.split(KEY, 5))
    assert y.shape == (5, 3, 2) and state["1"]["running_var"].shape == (5, 8)
    smooth = nn.Sequential(nn.Linear(4, 3), nn.tanh, nn.Linear(3, 1))
    p, _ = smooth.init(KEY)
    loss = lambda p: lnp.sum(smooth(p, X) ** 2)
    forward = lf.jvp(lf.grad(loss), (p,), (p,))[1]
    dot = lambda p, v: sum(tree.leaves(tree.map(lambda a, b: lnp.sum(a * b), p, v)))
    reverse = lf.grad(lambda q: dot(lf.grad(loss)(q), p))(p)
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), forward, reverse)
    make = lambda: nn.Sequential(nn.Linear(4, 3), nn.tanh, nn.Linear(3, 1))
    np.testing.assert_allclose(lf.jit(lambda p, x: make()(p, x))(p, X), smooth(p, X), rtol=1e-5)


def test_deep_models() -> None:
    model = nn.Sequential(*[nn.Residual(nn.Linear(4, 4), nn.tanh) for _ in range(200)])
    params, _ = model.init(KEY)
    assert lf.jit(model)(params, X).shape == (3, 4) and str(model).count("\n") == 1201
    nested: nn.Layer = nn.Linear(4, 4)
    for _ in range(100):
        nested = nn.Residual(nested)
    assert nested(nested.init(KEY)[0], X).shape == (3, 4)
    assert pickle.loads(pickle.dumps(nested)) == copy.deepcopy(nested) == nested
