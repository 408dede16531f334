"""Recurrent layers: named defects, lengths, dropout, errors."""

import warnings
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random
from lucidfn.errors import ShapeError
from lucidfn.nn import functional

LAYERS = [nn.RNN, nn.LSTM, nn.GRU]
CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]


def data(*shape: int) -> Any:
    return lnp.asarray(np.random.default_rng(1).standard_normal(shape).astype("float32"))


def h_of(last: Any) -> Any:
    return last[0] if isinstance(last, tuple) else last


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# ------------------------------------------------------------------ defects

@pytest.mark.parametrize("hidden", [1, 2, 3, 4, 5, 7, 16])
def test_lstm_works_for_every_hidden_size_not_only_4(hidden: int) -> None:
    layer = nn.LSTM(3, hidden)
    params, _ = layer.init(random.key(0))
    x = data(2, 5, 3)
    outputs, (h, c) = layer(params, x)
    w = {k: np.asarray(v, "float64") for k, v in params.items()}
    state = cell = np.zeros((2, hidden))
    for t in range(5):
        gates = (np.asarray(x)[:, t] @ w["weight_ih_l0"] + state @ w["weight_hh_l0"]
                 + w["bias_ih_l0"] + w["bias_hh_l0"])
        i, f, g, o = np.split(gates, 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        np.testing.assert_allclose(outputs[:, t], state, atol=1e-5)
    np.testing.assert_allclose(h[0], state, atol=1e-5)
    np.testing.assert_allclose(c[0], cell, atol=1e-5)


@pytest.mark.parametrize("hidden", [1, 2, 3, 4, 5, 7, 16])
def test_gru_works_for_every_hidden_size_not_only_3(hidden: int) -> None:
    layer = nn.GRU(2, hidden)
    params, _ = layer.init(random.key(0))
    x = data(2, 4, 2)
    outputs, h = layer(params, x)
    w = {k: np.asarray(v, "float64") for k, v in params.items()}
    state = np.zeros((2, hidden))
    for t in range(4):
        xr, xz, xn = np.split(np.asarray(x)[:, t] @ w["weight_ih_l0"] + w["bias_ih_l0"], 3, axis=1)
        hr, hz, hn = np.split(state @ w["weight_hh_l0"] + w["bias_hh_l0"], 3, axis=1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        state = (1 - z) * np.tanh(xn + r * hn) + z * state
        np.testing.assert_allclose(outputs[:, t], state, atol=1e-5)
    np.testing.assert_allclose(h[0], state, atol=1e-5)


# ------------------------------------------------------------------ what holds

@pytest.mark.parametrize("kind", LAYERS)
def test_layouts_agree(kind: Any) -> None:
    x = data(3, 5, 4)
    batch_first, time_first = kind(4, 2, 2), kind(4, 2, 2, batch_first=False)
    params, _ = batch_first.init(random.key(0))
    a, last = batch_first(params, x)
    b, other = time_first(params, lnp.swapaxes(x, 0, 1))
    np.testing.assert_array_equal(a, lnp.swapaxes(b, 0, 1))
    np.testing.assert_array_equal(h_of(last), h_of(other))
    one, alone = batch_first(params, x[1])
    np.testing.assert_allclose(one, a[1], atol=1e-6)
    np.testing.assert_allclose(h_of(alone), h_of(last)[:, 1], atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_sequence_in_two_pieces_is_the_sequence(kind: Any) -> None:
    x = data(2, 6, 3)
    layer = kind(3, 4, 2)
    params, _ = layer.init(random.key(0))
    whole, last = layer(params, x)
    first, between = layer(params, x[:, :2])
    second, end = layer(params, x[:, 2:], between)
    np.testing.assert_allclose(lnp.concatenate([first, second], axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(h_of(end), h_of(last), atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_equal_runs_of_the_sequences_alone(kind: Any) -> None:
    x, lengths = np.array(data(3, 5, 3)), [2, 5, 1]
    for i, n in enumerate(lengths):
        x[i, n:] = np.nan
    layer = kind(3, 4, 2, bidirectional=True)
    params, _ = layer.init(random.key(0))
    run = lambda params, x: layer.apply(params, {}, x, lengths=lnp.asarray(lengths))[0]
    outputs, last = lf.jit(run)(params, x)
    for i, n in enumerate(lengths):
        alone, end = layer(params, x[i:i + 1, :n])
        np.testing.assert_allclose(outputs[i, :n], alone[0], atol=1e-6)
        assert (np.asarray(outputs[i, n:]) == 0).all()
        np.testing.assert_allclose(h_of(last)[:, i], h_of(end)[:, 0], atol=1e-6)
    grads = lf.grad(lambda p: run(p, x)[0].sum())(params)
    assert all(np.isfinite(g).all() for g in grads.values())


def test_the_input_projection_is_one_product() -> None:
    layer = nn.LSTM(3, 4)
    params, _ = layer.init(random.key(0))
    for steps in (2, 9):
        program = lf.make_ir(lambda p, x: layer(p, x)[0])(params, data(2, steps, 3))
        assert str(program).count("dot_general") == 2  # the other is in the body of the loop


def test_an_lstm_over_512_steps_is_traced_once() -> None:
    layer = nn.LSTM(3, 4)
    params, _ = layer.init(random.key(0))
    sizes = [len(lf.make_ir(lf.grad(lambda p, x: lnp.sum(layer(p, x)[0][0])))(
        params, data(2, steps, 3)).equations) for steps in (4, 512)]
    assert sizes[0] == sizes[1] < 100


@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_is_between_layers_and_in_training_only(kind: Any) -> None:
    x, layer, plain = data(2, 3, 4), kind(4, 5, 2, dropout=1.0), kind(4, 5, 2)
    params, _ = layer.init(random.key(0))
    assert layer.stochastic and not plain.stochastic
    calm, _ = layer.apply(params, {}, x)
    np.testing.assert_array_equal(calm[0], plain(params, x)[0])
    wild, _ = layer.apply(params, {}, x, train=True, key=random.key(1))
    # With everything dropped, the second layer sees zeros: its output does not depend on x.
    other, _ = layer.apply(params, {}, x + 1.0, train=True, key=random.key(1))
    np.testing.assert_array_equal(wild[0], other[0])
    assert np.abs(np.asarray(h_of(wild[1])[0])).max() > 0
    with pytest.raises(nn.LayerError, match="needs a random key in training"):
        layer.apply(params, {}, x, train=True)
    with pytest.raises(nn.LayerError, match="draws random numbers in training"):
        layer(params, x)


@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_with_one_layer_warns(kind: Any) -> None:
    with pytest.warns(UserWarning, match="one layer, where it does nothing") as caught:
        layer = kind(3, 4, dropout=0.5)
    assert caught[0].filename == __file__ and not layer.stochastic
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params, _ = layer.init(random.key(0))
        layer.apply(params, {}, data(1, 2, 3), train=True)


@pytest.mark.parametrize("kind", LAYERS + CELLS)
def test_starts_are_uniform_within_one_over_root_hidden(kind: Any) -> None:
    params, _ = kind(50, 25).init(random.key(0))
    for value in params.values():
        assert 0.17 < float(abs(value).max()) <= 0.2
    assert len({np.asarray(v).ravel()[0].item() for v in params.values()}) == len(params)
    custom, _ = kind(2, 3, weight_init=nn.initializers.ones,
                     bias_init=nn.initializers.zeros).init(random.key(0))
    assert all((np.asarray(v) == (v.ndim == 2)).all() for v in custom.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("kind", LAYERS)
def test_dtypes_stay(kind: Any, dtype: str) -> None:
    layer = kind(3, 4)
    params = {k: v.astype(dtype) for k, v in layer.init(random.key(0))[0].items()}
    outputs, last = layer(params, data(2, 3, 3).astype(dtype))
    assert outputs.dtype == dtype and h_of(last).dtype == dtype


# ------------------------------------------------------------------ errors

@pytest.mark.parametrize("kind", LAYERS)
def test_errors_of_data(kind: Any) -> None:
    layer = kind(3, 4, 2, bidirectional=True)
    params, _ = layer.init(random.key(0))
    with pytest.raises(nn.LayerError, match=r"5 channels on the last axis, expected 3"):
        layer(params, data(2, 6, 5))
    with pytest.raises(nn.LayerError, match=r"expected data \[B, T, C\] with C = 3"):
        layer(params, data(2, 6, 5, 3))
    with pytest.raises(nn.LayerError, match=r"no time steps"):
        layer(params, data(2, 0, 3))
    with pytest.raises(nn.LayerError, match=r"int32.*nn.Embedding"):
        layer(params, lnp.ones((2, 6, 3), "int32"))
    with pytest.raises(nn.LayerError, match=r"lengths .*one integer for each sequence"):
        layer(params, data(2, 6, 3), lengths=[1, 2, 3])
    with pytest.raises(nn.LayerError, match=r"lengths .*one integer for each sequence"):
        layer(params, data(2, 6, 3), lengths=[1.0, 2.0])


@pytest.mark.parametrize("kind", LAYERS)
def test_errors_of_states(kind: Any) -> None:
    layer = kind(3, 4, 2, bidirectional=True)
    params, _ = layer.init(random.key(0))
    wrap = (lambda h: (h, h)) if kind is nn.LSTM else lambda h: h
    with pytest.raises(nn.LayerError, match=r"h_0 .*expected \[4, 2, 4\]: \[L, B, H\]"):
        layer(params, data(2, 6, 3), wrap(data(2, 2, 4)))
    with pytest.raises(nn.LayerError, match=r"B is never first"):
        layer(params, data(2, 6, 3), wrap(data(2, 4, 4)))
    with pytest.raises(nn.LayerError, match=r"expected \[4, 4\]: \[L, H\]"):
        layer(params, data(6, 3), wrap(data(4, 1, 4)))


def test_errors_of_pairs() -> None:
    layer, cell = nn.LSTM(3, 4), nn.LSTMCell(3, 4)
    params, own = layer.init(random.key(0))[0], cell.init(random.key(0))[0]
    with pytest.raises(nn.LayerError, match=r"expected the pair \(h, c\)"):
        layer(params, data(2, 5, 3), data(1, 2, 4))
    with pytest.raises(nn.LayerError, match=r"got 3 values as its state"):
        cell(own, data(2, 3), (1, 2, 3))
    with pytest.raises(nn.LayerError, match=r"got c .*expected \[2, 4\]"):
        cell(own, data(2, 3), (data(2, 4), data(2, 3)))
    gru = nn.GRU(3, 4)
    with pytest.raises(nn.LayerError, match=r"got a tuple as h_0, expected one array"):
        gru(gru.init(random.key(0))[0], data(2, 5, 3), (data(1, 2, 4), data(1, 2, 4)))


@pytest.mark.parametrize("kind", CELLS)
def test_errors_of_cells(kind: Any) -> None:
    cell = kind(3, 4)
    params, _ = cell.init(random.key(0))
    with pytest.raises(nn.LayerError, match="expected 3"):
        cell(params, data(2, 4))
    with pytest.raises(nn.LayerError, match=r"expected data \[B, C\]"):
        cell(params, data(2, 5, 3))
    state = (data(2, 3), data(2, 3)) if kind is nn.LSTMCell else data(2, 3)
    with pytest.raises(nn.LayerError, match=r"got h .*\[2, 4\]"):
        cell(params, data(2, 3), state)
    with pytest.raises(nn.LayerError, match="another structure"):
        cell({"weight": data(3, 4)}, data(2, 3))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: nn.RNN(3, 4, 1, "sigmoid"), "nonlinearity='sigmoid'.*'tanh' or 'relu'"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="Tanh"), "nonlinearity='Tanh'"),
    (lambda: nn.LSTM(3, 0), "hidden_size=0; it must be an integer"),
    (lambda: nn.GRU(3, 4.0), "hidden_size=4.0"),
    (lambda: nn.GRU("3", 4), "input_size='3'"),
    (lambda: nn.GRU(3, 4, 0), "num_layers=0"),
    (lambda: nn.GRU(3, 4, 2, dropout=1.5), "dropout=1.5.*between 0 and 1"),
    (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size=4.*less than hidden_size=4"),
    (lambda: nn.LSTMCell(-1, 4), "input_size=-1"),
])
def test_errors_of_hyperparameters(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_errors_of_functions() -> None:
    w_ih, w_hh = data(3, 16), data(4, 16)
    with pytest.raises(ShapeError, match="features being the last axis"):
        functional.lstm_cell(data(2, 5), (data(2, 4), data(2, 4)), w_ih, w_hh)
    with pytest.raises(ShapeError, match=r"\[T, B, C\]"):
        functional.lstm(data(2, 3), (data(2, 4), data(2, 4)), w_ih, w_hh)
    with pytest.raises(ShapeError, match="one integer for each of the 2 sequences"):
        functional.lstm(data(5, 2, 3), (data(2, 4), data(2, 4)), w_ih, w_hh, lengths=[1])
    with pytest.raises(ValueError, match="nonlinearity"):
        functional.rnn_cell(data(2, 3), data(2, 4), data(3, 4), data(4, 4), nonlinearity="elu")
