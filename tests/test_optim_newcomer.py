"""What those who come from optax or PyTorch do with optimizers: right, and wrong."""

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from optim_tables import OPTIMIZERS

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import optim, random, tree
from lucidfn.types import is_inexact

# ------------------------------------------------------------------ every wrapper, on every tree

BY_RANK = lambda params: tree.map(lambda x: int(lf.typeof(x).ndim > 1), params)
WRAPPERS: dict[str, Callable[[], Any]] = {
    "chain of chains": lambda: optim.chain(
        optim.chain(optim.clip_by_global_norm(1.0), optim.clip(0.5)),
        optim.chain(optim.adam(1e-2), optim.scale(0.5))),
    "masked in groups": lambda: optim.multi_transform({
        0: optim.masked(optim.adam(1e-2), lambda p: tree.map(lambda _: True, p)),
        1: optim.sgd(0.1, 0.9)}, BY_RANK),
    "injected schedule": lambda: optim.inject_hyperparams(optim.adamw)(
        learning_rate=lambda step: 1e-2 / (1.0 + step)),
    "injected number": lambda: optim.inject_hyperparams(optim.adamw)(learning_rate=1e-2),
    "accumulated": lambda: optim.MultiSteps(
        optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-2)), 2),
    "finite, accumulated": lambda: optim.apply_if_finite(optim.MultiSteps(optim.adam(1e-2), 2), 3),
    "accumulated, finite": lambda: optim.MultiSteps(optim.apply_if_finite(optim.adam(1e-2), 2), 3),
    "averaged": lambda: optim.chain(optim.adam(1e-2), optim.params_ema(0.9)),
    "lookahead": lambda: optim.lookahead(optim.adam(1e-2), 2),
    "schedule-free": lambda: optim.schedule_free(optim.sgd(1e-2), 1e-2),
    "plateau": lambda: optim.chain(optim.adam(1e-2), optim.reduce_on_plateau(patience=1)),
    "muon": lambda: optim.muon(1e-2),
    "adafactor": lambda: optim.adafactor(1e-2),
}


class Pair(NamedTuple):
    w: Any
    b: Any


def normal(*shape: int, dtype: str = "float32") -> Any:
    return lnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


TREES: dict[str, Callable[[], Any]] = {
    "nested": lambda: {"a": {"w": normal(3, 2), "b": normal(2)}, "c": normal()},
    "lists": lambda: [normal(3, 2), (normal(2), normal())],
    "named tuple": lambda: Pair(normal(3, 2), normal(2)),
    "one array": lambda: normal(3, 2),
    "one scalar": lambda: normal(),
    "None, integers, keys": lambda: {"w": normal(3, 2), "none": None, "n": lnp.asarray(3), "m": 4,
                                     "flag": lnp.asarray(True), "key": random.key(0)},
    "bfloat16": lambda: {"w": normal(3, 2, dtype="bfloat16")},
    "float16, float32": lambda: {"w": normal(3, 2, dtype="float16"), "b": normal(2)},
    "float64, float32": lambda: {"w": normal(3, 2, dtype="float64"), "b": normal(2)},
    "complex": lambda: {"w": normal(3, 2, dtype="complex64"), "b": normal(2)},
    "no elements": lambda: {"w": normal(0, 3), "b": normal(2), "z": normal(3, 0)},
}


def loss_of(params: Any) -> Any:
    floating = [x for x in tree.leaves(params) if is_inexact(lf.typeof(x).dtype)]
    return sum((lnp.sum(lnp.abs(x - 0.3) ** 2).astype("float32") for x in floating),
               lnp.zeros((), "float32"))


def types(t: Any) -> list[str]:
    return [str(lf.typeof(x)) for x in tree.leaves(t)]


@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_trains_any_tree_in_one_donated_trace(wrapper: str, shape: str) -> None:
    tx, params = WRAPPERS[wrapper](), TREES[shape]()
    state, traces, values = tx.init(params), [], []
    before = types(state), types(params), tree.structure(state)

    def step(params: Any, state: Any) -> Any:
        traces.append(1)
        value, grads = lf.value_and_grad(loss_of, allow_int=True)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads,
                                   value_fn=loss_of)
        return optim.apply_updates(params, updates), state, value

    jitted = lf.jit(step, donate_argnums=(0, 1))
    for _ in range(4):
        params, state, value = jitted(params, state)
        values.append(float(value))
    assert len(traces) == 1
    assert (types(state), types(params), tree.structure(state)) == before
    assert values[-1] < values[0]
    assert types(pickle.loads(pickle.dumps(state))) == before[0]


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_a_state_made_in_jit_can_be_donated(case: Any) -> None:
    params = {"w": normal(3, 2), "b": normal(2)}
    tx = case.make(case.lr)
    state = lf.jit(tx.init)(params)
    step = lf.jit(lambda g, s, p: tx.update(g, s, p, value=1.0, grad=g, value_fn=loss_of),
                  donate_argnums=1)
    for _ in range(2):
        _, state = step(params, state, params)
    np.testing.assert_array_equal(params["w"], normal(3, 2))


def test_leaves_without_elements_or_parameters() -> None:
    empty = {"w": normal(0, 3), "z": normal(3, 0)}
    for case in OPTIMIZERS:
        tx = case.make(case.lr)
        step = lf.jit(lambda p, s, tx=tx: tx.update(p, s, p, value=0.0, grad=p,
                                                    value_fn=lambda p: lnp.zeros(())))
        for params in (empty, {}):
            updates, _ = step(params, tx.init(params))
            assert types(updates) == types(params)


def test_one_array_left_out_by_a_mask_stays() -> None:
    w = normal(3)
    for tx in (optim.masked(optim.adam(0.1), False), optim.masked(optim.adam(0.1), lambda p: False),
               optim.muon(0.1, mask=lambda p: False, others=optim.sgd(0.1))):
        updates, _ = tx.update(w, tx.init(w), w)
        assert updates.shape == (3,)
    assert optim.masked(optim.adam(0.1), False).update(
        w, optim.masked(optim.adam(0.1), False).init(w), w)[0] is w


def test_a_number_as_learning_rate_is_an_argument_of_one_trace() -> None:
    params, traces = {"w": normal(3)}, []

    @lf.jit
    def step(rate: Any, state: Any) -> Any:
        traces.append(1)
        return optim.adam(rate).update(params, state, params)

    state = optim.adam(0.1).init(params)
    for rate in (0.1, 0.2, 1e-3):
        _, state = step(rate, state)
        assert float(optim.learning_rate(state)) == pytest.approx(rate)
    assert len(traces) == 1


def test_hyperparameters_set_by_hand_in_any_type() -> None:
    params = {"w": normal(3)}
    tx = optim.inject_hyperparams(optim.adamw)(learning_rate=1e-2)
    state, step = tx.init(params), lf.jit(lambda s: tx.update(params, s, params))
    before = types(state)
    for rate in (0.5, lnp.asarray(0.25), 1, np.float32(0.125), lnp.asarray(0.0625, "float64")):
        state.hyperparams["learning_rate"] = rate
        _, state = step(state)
        assert float(optim.learning_rate(state)) == float(rate)
        assert types(state) == before


# ------------------------------------------------------------------ mistakes

P = {"w": normal(3, 2), "b": normal(2)}
ADAM = optim.adam(1e-2)
STATE = ADAM.init(P)


def update(tx: Any, state: Any = None, grads: Any = P, params: Any = P) -> Any:
    return tx.update(grads, tx.init(P) if state is None else state, params)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no parameters": (lambda: optim.adamw().update(P, STATE), TypeError, "needs the parameters"),
    "parameters, gradients, state": (lambda: ADAM.update(P, P, STATE), TypeError,
                                     r"got a dict.*tx.update\(grads, opt_state, params\)"),
    "no state": (lambda: ADAM.update(P, None, P), TypeError, "got a NoneType"),
    "gradients with the value": (lambda: update(ADAM, grads=(1.0, P)), ValueError,
                                 "dict in params, tuple of length 2 in updates"),
    "None for all gradients": (lambda: ADAM.update(None, STATE, P), ValueError,
                               "leaf of type None in updates"),
    "lists for gradients": (lambda: update(ADAM, grads={"w": P["w"], "b": [1.0, 1.0]}), ValueError,
                            r"leaf float32\[2\] in params, list of length 2 in updates"),
    "a state of momentum": (lambda: update(ADAM, optim.sgd(0.1, 0.9).init(P)), TypeError,
                            "needs a state AdamState and got a TraceState"),
    "a state of a longer chain": (lambda: update(optim.sgd(0.1), STATE), ValueError,
                                  "chain of 1 transformations got a state of 2"),
    "a state without amsgrad": (lambda: update(optim.adam(0.1, amsgrad=True), STATE), ValueError,
                                "state is that of other parameters or of other options"),
    "a state of fewer parameters": (lambda: update(ADAM, ADAM.init({"w": P["w"]})), ValueError,
                                    r"of other parameters.*\['b'\]"),
    "no call": (lambda: optim.chain(optim.clip(1.0), optim.adam), TypeError,
                r"not the function adam; call it: optim.adam\(...\)"),
    "a list": (lambda: optim.chain([optim.clip(1.0), ADAM]), TypeError,
               r"not a list; write chain\(first, second\)"),
    "a list of groups": (lambda: optim.multi_transform([ADAM], {"w": 0, "b": 0}), TypeError,
                         "takes a dict of transformations by label, got a list"),
    "a group without call": (lambda: optim.multi_transform({"a": optim.adam}, "a"), TypeError,
                             r"multi_transform \('a'\) takes transformations"),
    "unknown labels": (lambda: optim.multi_transform({"a": ADAM}, {"w": "z", "b": 2}).init(P),
                       ValueError, r"no transformation for \['z', 2\]; it has \['a'\]"),
    "labels missing": (lambda: optim.multi_transform({"a": ADAM}, {"w": "a"}).init(P), ValueError,
                       r"\['b'\]: missing in param_labels"),
    "a mask missing": (lambda: optim.masked(ADAM, {"w": True}).init(P), ValueError,
                       r"\['b'\]: missing in mask"),
    "a mask of strings": (lambda: optim.masked(ADAM, {"w": "yes", "b": "no"}).init(P), TypeError,
                          r"a mask has 'no' at \['b'\]; it has True or False"),
    "a mask of elements": (lambda: update(optim.adamw(mask={"w": P["w"] > 0, "b": True})),
                           TypeError, r"bool\[3,2\] at \['w'\].*for a whole leaf"),
    "rate: string": (lambda: optim.adam("1e-3"), TypeError, "'1e-3'; it must be a number or a fu"),
    "rate: bool": (lambda: optim.sgd(True), TypeError, "learning_rate is True; it must be a num"),
    "rate: array": (lambda: optim.adamw(lnp.ones(3)), TypeError, "it must be a number"),
    "rate: NaN": (lambda: optim.adam(float("nan")), ValueError, r"nan; it must lie in \[0, inf\)$"),
    "PyTorch's parameters first": (lambda: optim.adam(P, 1e-3), TypeError, "it must be a number"),
    "PyTorch's betas": (lambda: optim.adam(1e-3, (0.9, 0.99)), TypeError, "b1 is .0.9, 0.99.; it"),
    "b1 of 1": (lambda: optim.adam(1e-3, b1=1.0), ValueError, r"b1 is 1.0; it must lie in \[0, 1"),
    "a schedule of arrays": (lambda: optim.adam(lambda step: lnp.ones(3)).init(P), TypeError,
                             r"gave float32\[3\]; it must give one number"),
    "a schedule of nothing": (lambda: optim.sgd(lambda step: None).init(P), TypeError,
                              "gave None; it must give one number"),
    "a clip below 0": (lambda: optim.clip_by_global_norm(-1.0), ValueError, "max_norm is -1.0"),
    "inject without call": (lambda: optim.inject_hyperparams(ADAM), TypeError,
                            "takes a function that makes an optimizer"),
    "no loss for a plateau": (lambda: update(optim.reduce_on_plateau()), TypeError, "value=loss"),
    "no loss for a search": (lambda: update(optim.lbfgs()), TypeError, "value_fn=loss"),
    "PyTorch's names": (lambda: optim.AdamW, AttributeError, r"functions: optim.adamw\(...\)"),
    "PyTorch's schedulers": (lambda: optim.lr_scheduler, AttributeError, "given as learning rate"),
    "no such name": (lambda: optim.adamish, AttributeError, "no attribute 'adamish'$"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name: str) -> None:
    wrong, kind, words = MISTAKES[name]
    with pytest.raises(kind, match=f"(?s){words}"):
        wrong()


@pytest.mark.parametrize("wrap", [
    lambda tx: optim.masked(tx, True), lambda tx: optim.MultiSteps(tx, 2), optim.lookahead,
    lambda tx: optim.apply_if_finite(tx, 2), lambda tx: optim.schedule_free(tx, 0.1),
    optim.flatten])
def test_wrappers_take_an_optimizer_and_their_own_state(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="not the function adam; call it"):
        wrap(optim.adam)
    with pytest.raises((TypeError, ValueError), match="own init"):
        wrap(ADAM).update(P, STATE, P)


def test_nan_stays_visible_and_a_wrapper_skips_it() -> None:
    bad = tree.map(lambda x: x * float("nan"), P)
    updates, _ = update(ADAM, grads=bad)
    assert all(np.isnan(x).all() for x in tree.leaves(updates))
    tx = optim.apply_if_finite(optim.MultiSteps(ADAM, 2), 3)
    updates, state = update(tx, grads=bad)
    assert all((np.asarray(x) == 0).all() for x in tree.leaves(updates))
    assert int(state.total_notfinite) == 1 and int(state.inner_state.mini_step) == 0
