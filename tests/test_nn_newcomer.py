"""What newcomers from PyTorch and flax hear when they call or define layers in other ways."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random, tree

F = nn.functional
KEY = random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4)).astype(np.float32)


def small() -> nn.Layer:
    return nn.Sequential(nn.Linear(4, 8), nn.relu, nn.Linear(8, 2))


def normed() -> nn.Layer:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))


def fails(match: str, f: Callable[..., Any], kind: type[Exception] = nn.LayerError) -> None:
    with pytest.raises(kind, match=f"(?s){match}"):
        f()


# ------------------------------------------------------------------ calls in other ways

MAKE = r"params, state = model\.init\(random\.key\(0\)\)"
APPLY = r"outputs, state = model\.apply\(params, state, x\)"
MIXED_UP: dict[str, tuple[str, Callable[[nn.Layer, Any, Any], Any]]] = {
    "the way of PyTorch": (rf"got float32\[3,4\] as its params.*{MAKE}, then ",
                           lambda m, p, s: m(X)),
    "x before params": (r"got float32\[3,4\] as its params", lambda m, p, s: m(X, p)),
    "apply without params": (rf"as its params.*{MAKE}.*{APPLY}", lambda m, p, s: m.apply(X)),
    "apply without state": (rf"got float32\[3,4\] as its state.*{APPLY}",
                            lambda m, p, s: m.apply(p, X)),
    "apply with x first": (rf"float32\[3,4\] as its params.*{APPLY}",
                           lambda m, p, s: m.apply(X, p, s)),
    "the pair of init": (rf"tuple as its params; model.init returns a pair.*{MAKE}",
                         lambda m, p, s: m.apply((p, s), X)),
    "flax's variables": ("parameters of another structure",
                         lambda m, p, s: m.apply({"params": p}, s, X)),
    "train by position": (r"inputs \(float32\[3,(4|8)\], True\).*train and key by keyword",
                          lambda m, p, s: m.apply(p, s, X, True)),
    "flax's rngs": (r"rngs=a dict of \['dropout'\]\), expected \(\*inputs\): model.apply\(params, "
                    "state, inputs, train=..., key=key", lambda m, p, s: m.apply(
                        p, s, X, rngs={"dropout": KEY})),
    "a seed for init": (rf"got 0 as the random key; make one of a seed: {MAKE}",
                        lambda m, p, s: m.init(0)),
    "state missing beside keywords": (rf"got no state in apply: {MAKE}, then {APPLY}",
                                      lambda m, p, s: m.apply(params=p, x=X)),
    "no key for init": (rf"got 0 arguments: {MAKE}", lambda m, p, s: m.init()),
    "an example for init": (rf"got 2 arguments; it needs no example of the input: {MAKE}",
                            lambda m, p, s: m.init(KEY, X)),
    "x for init": (rf"got float32\[3,4\] as the random key.*{MAKE}", lambda m, p, s: m.init(X)),
    "a Generator for init": ("got a Generator as the random key",
                             lambda m, p, s: m.init(np.random.default_rng(0))),
    "several keys for init": (r"got 3 keys in init; lf.vmap\(model.init\)\(keys\)",
                              lambda m, p, s: m.init(random.split(KEY, 3))),
}


@pytest.mark.parametrize("model", [small(), normed()], ids=["stateless", "stateful"])
@pytest.mark.parametrize("case", MIXED_UP)
def test_mixed_up_calls(case: str, model: nn.Layer) -> None:
    match, call = MIXED_UP[case]
    fails(match, lambda: call(model, *model.init(KEY)))


def test_a_seed_as_key_of_apply() -> None:
    model = normed()
    params, state = model.init(KEY)
    fails(r"got 7 as the random key.*key=random.key\(7\)",
          lambda: model.apply(params, state, X, train=True, key=7))
    fails("needs a random key in training", lambda: model.apply(params, state, X, train=True))


def test_layers_with_an_apply_of_their_own_explain_calls_too() -> None:
    layer = nn.MultiheadAttention(4, 2)
    params, _ = layer.init(KEY)
    x = X[None]
    fails(r"got float32\[1,3,4\] as its state", lambda: layer.apply(params, x, x, x))
    fails(r"as its params", lambda: layer(x, x, x))
    lstm = nn.LSTM(4, 3)
    fails(r"as its state", lambda: lstm.apply(lstm.init(KEY)[0], x))


def test_a_traced_train_flag() -> None:
    model = normed()
    params, state = model.init(KEY)
    run = lambda train: model.apply(params, state, X, train=train, key=KEY)[0]
    fails(r"got a traced train.*static_argnames='train'", lambda: lf.jit(run)(lnp.array(True)))
    np.testing.assert_allclose(lf.jit(run)(False), run(False), rtol=1e-6)  # bools are static
    assert lf.jit(model.apply)(params, state, X, train=True, key=KEY)[0].shape == (3, 2)


@pytest.mark.parametrize(("name", "match"), [
    ("parameters", MAKE), ("state_dict", MAKE), ("weight", MAKE), ("train", "train=True, key=key"),
    ("eval", "train=True"), ("cuda", "arrays of yours"), ("zero_grad", "lf.grad"),
    ("nothing", "has no attribute 'nothing'$"),
])
def test_attributes_that_other_libraries_have(name: str, match: str) -> None:
    assert not hasattr(small(), name)
    fails(match, lambda: getattr(small(), name), AttributeError)


@pytest.mark.parametrize(("name", "match"), [
    ("Module", "nn.Composite"), ("Parameter", "init_params"), ("ModuleList", "tuple of layers"),
    ("Dense", "nn.Linear"), ("compact", "children"), ("init", "nn.initializers"),
    ("nothing", "no attribute 'nothing'$"),
])
def test_names_that_other_libraries_have(name: str, match: str) -> None:
    fails(match, lambda: getattr(nn, name), AttributeError)


# ------------------------------------------------------------------ classes in other ways

def test_children_set_in_the_constructor() -> None:
    class Net(nn.Composite):
        def __init__(self) -> None:
            self.fc = nn.Linear(4, 2)  # type: ignore[misc]

    fails(r"cannot set 'fc': layers are frozen.*children\(self\): return \{'fc': ...\}", Net,
          AttributeError)


def test_forward_without_run() -> None:
    class Net(nn.Composite):
        fc: nn.Layer = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:  # type: ignore[override]
            return self.fc(x)

    class Own(nn.Layer):
        def forward(self, x: Any) -> Any:  # type: ignore[override]
            return x

    fails(r"defines forward\(x\).*def forward\(self, run, x\).*run.name\(x\)",
          lambda: Net()(Net().init(KEY)[0], X))
    fails(r"def forward\(self, params, x\)", lambda: Own()({}, X))


def test_children_called_as_attributes_of_self() -> None:
    class Net(nn.Composite):
        fc: nn.Layer = nn.Linear(4, 2)

        def forward(self, run: nn.Run, x: Any) -> Any:
            return self.fc(x)

    fails(r"Inside of a Composite call its children as run.name\(x\)",
          lambda: Net()(Net().init(KEY)[0], X))


def test_forward_that_asks_for_train() -> None:
    class Net(nn.Composite):
        def forward(self, run: nn.Run, x: Any, train: bool) -> Any:
            return x

    fails("run.train and run.key", lambda: Net().apply({}, {}, X, train=True))


def test_class_attributes_that_are_no_fields() -> None:
    def unannotated() -> None:
        class Net(nn.Composite):
            fc = nn.Linear(4, 2)

    def listed() -> None:
        class Net(nn.Composite):
            layers: tuple[nn.Layer, ...] = [nn.Linear(4, 2)]  # type: ignore[assignment]

    fails(r"Net.fc holds a layer without an annotation.*fc: nn.Layer = ...", unannotated, TypeError)
    fails("default of layers is a list; make it a tuple", listed, TypeError)


def test_layers_held_by_a_layer() -> None:
    class Net(nn.Layer):
        fc: nn.Layer

        def forward(self, params: Any, x: Any) -> Any:  # type: ignore[override]
            return self.fc(params["fc"], x)

    net = Net(nn.Linear(4, 2))
    fails(r"holds layers \(fc\).*derive it from nn.Composite", lambda: net(net.init(KEY)[0], X))


def test_what_children_returns() -> None:
    class Listed(nn.Composite):
        def children(self) -> Any:
            return [nn.Linear(4, 2)]

    class Mistyped(nn.Composite):
        size: int = 3

        def children(self) -> Any:
            return {"fc": nn.Linear(4, self.sise)}

    fails(r"children\(\) gave a list, expected a dict", lambda: Listed().init(KEY), TypeError)
    fails("no attribute 'sise'", lambda: Mistyped().init(KEY), AttributeError)


def test_apply_that_returns_outputs_alone() -> None:
    class Wrong(nn.Layer):
        def apply(self, params: Any, state: Any, x: Any, *,  # type: ignore[override]
                  train: bool = False, key: Any = None) -> Any:
            return x

    for model in (Wrong(), nn.Sequential(Wrong())):  # two rows must not pass for a pair
        fails(r"returned float32\[2,4\] from apply, expected the pair \(outputs, state\)",
              lambda model=model: model.apply({}, {}, X[:2]))


def test_state_of_a_layer_of_ones_own() -> None:
    class Count(nn.Layer):
        def init_state(self) -> Any:
            return {"n": lnp.zeros(())}

        def apply(self, params: Any, state: Any, x: Any, *,  # type: ignore[override]
                  train: bool = False, key: Any = None) -> Any:
            return x, {"n": state["n"] + 1}

    fails(r"keeps 'n' in its state, got a state with \[\]", lambda: Count().apply({}, {}, X))


@pytest.mark.parametrize(("make", "match"), [
    (lambda: nn.Sequential([nn.Linear(4, 2), nn.relu]), r"a list of them: Sequential\(\*layers\)"),
    (lambda: nn.CrossEntropyLoss(X, [0, 1, 1]), r"CrossEntropyLoss\(\)\(input, target\)"),
    (lambda: nn.BCELoss(X, X), r"BCELoss\(\)\(input, target\)"),
    (lambda: nn.MSELoss()({}, X, X), r"a loss has no parameters: loss\(input, target\)"),
    (lambda: F.cross_entropy(np.array([0, 1, 1]), X), "logits come first, then labels"),
    (lambda: F.cross_entropy(X, np.eye(4, dtype=bool)[:3]), "one-hot labels must be floats"),
])
def test_arguments_in_other_ways(make: Callable[[], Any], match: str) -> None:
    fails(match, make, TypeError)


def test_sizes_from_numpy() -> None:
    n = np.int64(4)
    made = [nn.Linear(n, n), nn.LayerNorm(n), nn.LSTM(n, n), nn.GroupNorm(n, n),
            nn.BatchNorm1d(n), nn.MultiheadAttention(n, n), nn.Embedding(n, n)]
    assert [str(layer).partition("(4")[1] for layer in made] == ["(4"] * len(made)
    assert nn.Dropout(np.float32(0.5)) == nn.Dropout(0.5)


@pytest.mark.parametrize(("make", "note"), [
    (lambda: nn.Softmax(dim=1), "dim: it is axis here"),  # type: ignore[call-arg]
    (lambda: nn.Linear(2, 3, dtype="float32"), "p.astype"),  # type: ignore[call-arg]
    (lambda: nn.ReLU(inplace=True), "arrays are immutable"),  # type: ignore[call-arg]
    (lambda: nn.summary(nn.Sequential(nn.Embedding(5, 3)), (2, 7)), "for token ids: dtype='int32'"),
])
def test_notes_on_options(make: Callable[[], Any], note: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert note in caught.value.__notes__[-1]


def test_state_beside_the_loss_needs_has_aux() -> None:
    model = small()
    params, state = model.init(KEY)

    def loss(params: Any) -> Any:
        y, new = model.apply(params, state, X)
        return lnp.sum(y), new  # of a model without state this is one scalar beside {}

    fails("has_aux=True", lambda: lf.value_and_grad(loss)(params), TypeError)


# ------------------------------------------------------------------ data and parameters

def test_outputs_of_a_recurrent_layer_in_a_sequential() -> None:
    model = nn.Sequential(nn.LSTM(4, 3), nn.Linear(3, 2))
    fails(r"Linear\(3, 2\) at '1' got a tuple of 2.*y, _ = run.name\(x\)",
          lambda: model(model.init(KEY)[0], X[None]))
    plain = nn.Sequential(nn.LSTM(4, 3), nn.relu)
    with pytest.raises(ValueError, match="different shapes") as caught:
        plain(plain.init(KEY)[0], X[None])
    assert "Lambda(relu), which got a tuple of 2" in caught.value.__notes__[0]


@pytest.mark.parametrize(("layer", "change", "note"), [
    (nn.Linear(4, 2), lambda w: w.T, r"weight float32[2,4], where its init makes [4, 2]"),
    (nn.LayerNorm(4), lambda w: w[:2], r"weight float32[2], where its init makes [4]"),
    (nn.Linear(4, 2), lambda w: w[None], r"weight float32[1,4,2], where its init makes [4, 2]"),
])
def test_parameters_of_other_shapes_are_noted(layer: nn.Layer, change: Any, note: str) -> None:
    params = tree.map(change, layer.init(KEY)[0])
    with pytest.raises((TypeError, ValueError)) as caught:
        layer(params, X)
    assert note in caught.value.__notes__[0]


def test_arrays_lists_and_small_batches() -> None:
    model = small()
    params, _ = model.init(KEY)
    expected = model(params, X)
    for x in (X.tolist(), lnp.asarray(X), np.asfortranarray(X)):
        np.testing.assert_allclose(model(params, x), expected, rtol=1e-6)
    assert model(params, X[:0]).shape == (0, 2) and model(params, X[0]).shape == (2,)
    pixels = RNG.integers(0, 255, (2, 8, 8, 1)).astype(np.uint8)
    conv = nn.Conv2d(1, 2, 3)
    assert conv(conv.init(KEY)[0], pixels).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_models(dtype: str) -> None:
    model = normed()
    params, state = model.init(KEY)
    half = tree.map(lambda p: p.astype(dtype), params)
    loss = lambda p: lnp.sum(model.apply(p, state, lnp.asarray(X, dtype), train=True, key=KEY)[0])
    y, new = model.apply(half, state, lnp.asarray(X, dtype), train=True, key=KEY)
    assert y.dtype == dtype and new["1"]["running_mean"].dtype == np.float32
    assert {g.dtype.name for g in tree.leaves(lf.grad(loss)(half))} == {dtype}


def test_saving_and_copying() -> None:
    model = normed()
    params, state = model.init(KEY)
    expected = model.apply(params, state, X)[0]
    leaves, structure = tree.flatten(params)
    file = io.BytesIO()
    np.savez(file, *[np.asarray(leaf) for leaf in leaves])
    file.seek(0)
    stored = np.load(file)
    loaded = tree.unflatten(structure, [stored[f"arr_{i}"] for i in range(len(leaves))])
    np.testing.assert_array_equal(model.apply(loaded, state, X)[0], expected)
    same, p, s = pickle.loads(pickle.dumps((model, params, state)))
    assert same == model == copy.deepcopy(model) and hash(same) == hash(model)
    np.testing.assert_array_equal(same.apply(p, s, X)[0], expected)


def test_names_of_digits() -> None:
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(12)])
    params, _ = model.init(KEY)
    x = np.ones((1, 2), np.float32)
    mapped = lf.jit(lambda p: tree.map(lambda a: a * 1.0, p))(params)  # "10" before "2"
    assert list(params) == [str(i) for i in range(12)]
    np.testing.assert_array_equal(model(mapped, x), model(params, x))


def test_attention_over_an_empty_batch() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    params, state = layer.init(KEY)
    x = np.zeros((0, 5, 4), np.float32)
    assert layer.apply(params, state, x, train=True, key=KEY)[0].shape == (0, 5, 4)
