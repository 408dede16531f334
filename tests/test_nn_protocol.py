"""The protocol of layers: composites, shared children, keys, state, errors, summaries."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random, tree

X = lnp.asarray(np.random.default_rng(0).standard_normal((3, 4)), "float32")


class Scale(nn.Layer):
    features: int

    def init_params(self, key: Any) -> Any:
        return {"weight": lnp.full(self.features, 2.0)}

    def forward(self, params: Any, x: Any) -> Any:
        return x * params["weight"]


class Noise(nn.Layer):
    """Draws random numbers in training, and counts its calls there."""

    def init_state(self) -> Any:
        return {"calls": lnp.zeros((), "int32")}

    def apply(self, params: Any, state: Any, x: Any, train: bool = False, key: Any = None) -> Any:
        if not train:
            return x, state
        calls = self.need_state(state, "calls")
        return x + random.normal(self.need_key(key), x.shape), {"calls": calls + 1}


class Twice(nn.Composite):
    """One child, called twice."""

    child: nn.Layer

    def forward(self, run: nn.Run, x: Any) -> Any:
        return run.child(run.child(x))


class Mixed(nn.Composite):
    """Its own parameter, a child by name, a tuple of children and a function."""

    features: int
    blocks: tuple[nn.Layer, ...]
    bend: Any = nn.tanh

    def init_params(self, key: Any) -> Any:
        return {"shift": random.normal(key, (self.features,))}

    def children(self) -> Any:
        return {**super().children(), "first": Scale(self.features), "bend": self.bend}

    def forward(self, run: nn.Run, x: Any) -> Any:
        x = run.first(x) + run.params["shift"]
        for block in run.blocks:
            x = run.bend(block(x))
        return x


def test_composite_with_everything() -> None:
    model = Mixed(4, [nn.Linear(4, 4), Scale(4)])
    params, state = model.init(random.key(0))
    assert set(params) == {"shift", "first", "blocks_0", "blocks_1"} and state == {}
    y = X * 2 + params["shift"]
    y = lnp.tanh(y @ params["blocks_0"]["weight"] + params["blocks_0"]["bias"])
    np.testing.assert_allclose(model(params, X), lnp.tanh(y * 2), rtol=1e-6)
    assert repr(model).splitlines() == [
        "Mixed(4)", "  blocks_0: Linear(4, 4)", "  blocks_1: Scale(4)", "  first: Scale(4)",
        "  bend: tanh"]


def test_fields_need_no_decorator_and_are_frozen() -> None:
    assert [f.name for f in dataclasses.fields(Scale)] == ["features"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scale(3).features = 4  # type: ignore[misc]
    assert Scale(3) == Scale(3) != Scale(4) and len({Scale(3), Scale(3)}) == 1


def test_a_child_called_twice_shares_parameters_and_sees_its_state() -> None:
    model = Twice(Noise())
    params, state = model.init(random.key(0))
    y, after = model.apply(params, state, X, train=True, key=random.key(1))
    assert after["child"]["calls"] == 2 and state["child"]["calls"] == 0
    first, _ = Noise().apply({}, state["child"], X, train=True,
                             key=random.fold_in(random.key(1), "child"))
    assert not np.allclose(y - first, first - X)  # other random numbers
    scaled = Twice(Scale(4))
    params, _ = scaled.init(random.key(0))
    np.testing.assert_allclose(scaled(params, X), X * 4)


def test_keys_go_by_name_so_that_siblings_do_not_matter() -> None:
    alone = nn.Sequential(a=Noise())
    among = nn.Sequential(b=nn.tanh, a=Noise())
    _, state = alone.init(random.key(0))
    y, _ = alone.apply({}, state, lnp.zeros(3), train=True, key=random.key(5))
    z, _ = among.apply({}, state, lnp.zeros(3), train=True, key=random.key(5))
    np.testing.assert_array_equal(y, z)
    two = nn.Sequential(Scale(3), Scale(3))
    params, _ = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).init(random.key(0))
    assert not np.allclose(params["0"]["weight"], params["1"]["weight"])
    assert two.init(random.key(0))[0].keys() == {"0", "1"}


def test_state_flows_through_jit_without_a_second_trace() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Noise())
    params, state = model.init(random.key(0))
    traces = []

    @lf.jit
    def step(params: Any, state: Any, x: Any, key: Any) -> Any:
        traces.append(1)
        return model.apply(params, state, x, train=True, key=key)

    for i in range(3):
        _, state = step(params, state, X, random.key(i))
    assert state["1"]["calls"] == 3 and len(traces) == 1


def test_sequential() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.relu, lambda x: x * 2, nn.Linear(8, 2))
    assert len(model) == 4 and model[0] == nn.Linear(4, 8) and model["3"] == nn.Linear(8, 2)
    assert [type(layer).__name__ for layer in model] == ["Linear", "Lambda", "Lambda", "Linear"]
    params, _ = model.init(random.key(0))
    assert params.keys() == {"0", "3"}
    head, tail = model[:2], model[2:]
    np.testing.assert_array_equal(tail(params, head(params, X)), model(params, X))
    named = nn.Sequential({"a": nn.Linear(4, 2)}, b=nn.tanh)
    assert named.init(random.key(0))[0].keys() == {"a"} and named["b"] == nn.Lambda(nn.tanh)
    assert nn.Sequential()({}, X) is X
    with pytest.raises(IndexError):
        model[7]


def test_residual() -> None:
    model = nn.Residual(nn.Linear(4, 2), shortcut=nn.Linear(4, 2, bias=False))
    params, _ = model.init(random.key(0))
    expected = X @ params["inner"]["weight"] + params["inner"]["bias"] + \
        X @ params["shortcut"]["weight"]
    np.testing.assert_allclose(model(params, X), expected, rtol=1e-6)
    narrow = nn.Residual(nn.Linear(4, 2))
    with pytest.raises(nn.LayerError, match=r"adds inner\(x\) \[3, 2\] to x \[3, 4\].*shortcut="):
        narrow(narrow.init(random.key(0))[0], X)


def test_parameters_are_a_tree_that_gradients_follow() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.tanh, nn.Linear(8, 1))
    params, _ = model.init(random.key(0))
    grads = lf.grad(lambda p: lnp.sum(model(p, X)))(params)
    assert tree.structure(grads) == tree.structure(params)
    assert [x.shape for x in tree.leaves(grads)] == [x.shape for x in tree.leaves(params)]


def test_models_are_static_arguments_of_jit() -> None:
    traces = []

    @lf.jit
    def run(model: nn.Layer, params: Any, x: Any) -> Any:
        traces.append(1)
        return model(params, x)

    params, _ = nn.Linear(4, 2).init(random.key(0))
    run(nn.Linear(4, 2), params, X)
    run(nn.Linear(4, 2), params, X)  # equal by value
    assert len(traces) == 1


def test_ensembles_by_vmap() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.relu, nn.Linear(8, 2))
    params, _ = lf.vmap(model.init)(random.split(random.key(0), 5))
    assert params["0"]["weight"].shape == (5, 4, 8)
    out = lf.vmap(model, in_axes=(0, None))(params, X)
    one = tree.map(lambda p: p[3], params)
    np.testing.assert_allclose(out[3], model(one, X), rtol=1e-5)


# ------------------------------------------------------------------ what a newcomer gets wrong

def deep() -> nn.Layer:
    return nn.Sequential(features=nn.Sequential(nn.tanh, nn.Linear(4, 2)), head=Noise())


def test_wrong_channel_count_names_the_layer_and_both_numbers() -> None:
    model = deep()
    params, state = model.init(random.key(0))
    with pytest.raises(nn.LayerError, match=r"Linear\(4, 2\) at 'features/1' got x float32\[3,5\] "
                       r"with 5 channels on the last axis, expected 4"):
        model.apply(params, state, lnp.ones((3, 5)))


def test_missing_key() -> None:
    model = deep()
    params, state = model.init(random.key(0))
    with pytest.raises(nn.LayerError, match=r"Noise\(\) at 'head' needs a random key in training: "
                       r".*train=True, key=key"):
        model.apply(params, state, X, train=True)
    model.apply(params, state, X)


def test_missing_state() -> None:
    model = deep()
    params, _ = model.init(random.key(0))
    with pytest.raises(nn.LayerError, match=r"Noise\(\) at 'head' keeps 'calls' in its state, got "
                       r"a state with \[\]"):
        model.apply(params, {}, X, train=True, key=random.key(0))


@pytest.mark.parametrize(("params", "match"), [
    ({}, r"(?s)Linear\(4, 2\) at 'features/1' got parameters of another structure.*'bias'\]"),
    ({"features": {"1": {"w": 1.0}}}, r"(?s)at 'features/1'.*\['w'\]: missing in init"),
])
def test_parameters_of_another_model(params: Any, match: str) -> None:
    model = deep()
    with pytest.raises(nn.LayerError, match=match):
        model.apply(params, model.init(random.key(0))[1], X)


def test_own_parameter_missing_in_a_composite() -> None:
    model = Mixed(4, (nn.Linear(4, 4),))
    params, _ = model.init(random.key(0))
    del params["shift"]
    with pytest.raises(nn.LayerError, match=r"(?s)Mixed.*\['shift'\]: missing in params"):
        model(params, X)


def test_the_shorthand_says_what_to_call_instead() -> None:
    model = deep()
    params, _ = model.init(random.key(0))
    with pytest.raises(nn.LayerError, match="keeps state: call it as outputs, state = layer.ap"):
        model(params, X)


@pytest.mark.parametrize(("make", "error", "match"), [
    (lambda: nn.Sequential(nn.Linear), TypeError, r"the class Linear, expected a layer: Linear\("),
    (lambda: nn.Sequential(nn.Linear(2, 3), 4), TypeError, "a layer or a function.*got 4"),
    (lambda: nn.Linear(2, lnp.ones(3)), TypeError, "out_features.*hashable"),
    (lambda: nn.Sequential(params=nn.tanh).named_children, ValueError, "cannot name a child 'par"),
    (lambda: nn.Linear(), TypeError, "in_features"),
    (lambda: nn.Linear(3, 4, bia=True), TypeError, "bia"),
    (lambda: nn.Layer().forward({}, X), NotImplementedError, "needs a method forward"),
])
def test_construction(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_a_function_serves_as_a_field() -> None:
    np.testing.assert_array_equal(Twice(nn.tanh)({}, X), lnp.tanh(lnp.tanh(X)))


def test_unknown_child() -> None:
    class Wrong(nn.Composite):
        child: nn.Layer

        def forward(self, run: nn.Run, x: Any) -> Any:
            return run.chidl(x)

    with pytest.raises(AttributeError, match=r"Wrong has no child 'chidl'; it has \['child'\]"):
        Wrong(Scale(4))({"child": {"weight": X[0]}}, X)


def test_an_error_of_a_function_is_placed() -> None:
    def broken(x: Any) -> Any:
        raise ZeroDivisionError("mine")

    model = nn.Sequential(nn.tanh, broken)
    with pytest.raises(ZeroDivisionError, match="^mine") as caught:
        model({}, X)
    assert caught.value.__notes__ == ["in layer '1' of Sequential: Lambda(broken)"]


# ------------------------------------------------------------------ summary

def test_summary_counts() -> None:
    model = nn.Sequential(body=nn.Residual(nn.Linear(4, 4), nn.relu), head=nn.Linear(4, 2))
    table = nn.summary(model, (5, 4), show=False)
    rows = {row.path: row for row in table.rows}
    assert table.parameters == 30 and table.bytes == 120 and table.state == 0
    assert rows["body/inner/0"].parameters == 20
    assert rows["body/inner/0"].flops == 2 * 5 * 4 * 4 + 5 * 4
    assert rows["head"].outputs == "float32[5,2]"
    assert table.flops == rows["body"].flops + rows["head"].flops
    assert "body/inner/0" not in {r.path for r in nn.summary(model, X, depth=2, show=False).rows}
    assert str(table).count("\n") == 9


def test_summary_prints_in_scripts_and_is_html_in_notebooks(capsys: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), lambda x: x < 2)
    table = nn.summary(model, (5, 4))
    assert capsys.readouterr().out == f"{table}\n"
    html = table._repr_html_()
    assert html.startswith("<table>") and "&lt;lambda&gt;" in html and "parameters: 20" in html
    nn.summary(model, (5, 4), show=False)
    assert capsys.readouterr().out == ""


def test_summary_says_shared_and_counts_once() -> None:
    model = Twice(nn.Linear(4, 4))
    table = nn.summary(model, (5, 4), show=False)
    assert table.parameters == 20 and [row.shared for row in table.rows] == [False, True]


@pytest.mark.parametrize(("call", "match"), [
    (lambda: nn.summary(nn.Linear(4, 2)), "needs the shape of the model's input"),
    (lambda: nn.summary(nn.tanh, (1, 2)), "summary takes a layer"),
    (lambda: nn.summary(nn.Linear(4, 2), 4), "summary takes shapes such as"),
])
def test_summary_errors(call: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        call()
