"""Every layer of the tables: what the protocol promises, and that transformations agree on it."""

import copy
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from nn_tables import FUNCTIONS, LAYERS
from nn_tables.table import FunctionCase, LayerCase

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random, testing, tree
from lucidfn.types import is_inexact

KEY = 7


def arrays_of(case: Any, dtype: str) -> list[Any]:
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    return [lnp.asarray(x.make(rng, dtype)) for x in case.inputs]


def cast(x: Any, dtype: str) -> Any:
    return tree.map(lambda a: a.astype(dtype) if is_inexact(a.dtype) else a, x)


def params_of(case: LayerCase, dtype: str) -> tuple[Any, Any]:
    """Parameters moved off their special starts: norms begin at 1 and 0, which hides mistakes."""
    params, state = case.layer.init(random.key(KEY))
    leaves, treedef = tree.flatten(params)
    rng = np.random.default_rng(3)
    moved = [x + (0.1 * rng.standard_normal(x.shape)).astype(x.dtype) if is_inexact(x.dtype) else x
             for x in leaves]
    return cast(tree.unflatten(treedef, moved), dtype), cast(state, dtype)


def floats(leaves: list[Any]) -> list[int]:
    return [i for i, x in enumerate(leaves) if is_inexact(x.dtype)]


def close(a: Any, b: Any, tolerance: float, what: str = "") -> None:
    a, b = tree.leaves(a), tree.leaves(b)
    assert len(a) == len(b), what
    for x, y in zip(a, b, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape and x.dtype == y.dtype, (what, x.shape, y.shape, x.dtype, y.dtype)
        if x.dtype.kind == "V":
            assert (x.view("u4") == y.view("u4")).all(), what
            continue
        scale = max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0)))
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale, err_msg=what)


layers = pytest.mark.parametrize("case", LAYERS, ids=str)


@layers
def test_is_a_value(case: LayerCase) -> None:
    layer = case.layer
    twin = copy.deepcopy(layer)
    assert layer == twin and hash(layer) == hash(twin) and layer != nn.Lambda(lnp.tanh)
    assert type(layer).__name__ in repr(layer)
    if not isinstance(layer, nn.Composite):
        again = eval(repr(layer), {**vars(nn), **vars(nn.initializers), "nan": float("nan"),
                                   "inf": float("inf")})
        assert again == layer or any(callable(getattr(layer, f.name)) for f in fields(layer))
    with pytest.raises(AttributeError):
        layer.anything = 1


@layers
def test_init_is_pure_and_a_tree(case: LayerCase) -> None:
    (params, state), (again, _) = case.layer.init(random.key(0)), case.layer.init(random.key(0))
    close(params, again, 0)
    jitted, _ = lf.jit(case.layer.init)(random.key(0))
    close(jitted, params, 1e-6)
    leaves, treedef = tree.flatten((params, state))
    assert all(isinstance(x, lf.Array) for x in leaves)
    assert not any(x.dtype == "float64" or x.weak for x in leaves)
    close(tree.unflatten(treedef, leaves), (params, state), 0)


@layers
def test_single_precision_stays_single(case: LayerCase) -> None:
    params, state = params_of(case, "float32")
    outputs = case.layer.apply(params, state, *arrays_of(case, "float32"), train=case.train,
                               **case.kwargs)
    assert all(x.dtype != "float64" for x in tree.leaves(outputs))


@layers
def test_evaluation_is_deterministic_and_keeps_the_state(case: LayerCase) -> None:
    params, state = params_of(case, "float32")
    inputs = arrays_of(case, "float32")
    out, after = case.layer.apply(params, state, *inputs, **case.kwargs)
    again, _ = case.layer.apply(params, state, *inputs, key=random.key(1), **case.kwargs)
    close(out, again, 0)
    close(after, state, 0)


@layers
@pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])
def test_jit_equals_eager(case: LayerCase, train: bool) -> None:
    params, state = params_of(case, "float64")
    run = lambda p, s, key, *xs: case.layer.apply(p, s, *xs, train=train, key=key, **case.kwargs)
    args = (params, state, random.key(2), *arrays_of(case, "float64"))
    close(lf.jit(run)(*args), run(*args), 1e-12)


@layers
def test_vmap_equals_a_loop(case: LayerCase) -> None:
    if not case.vmap:
        pytest.skip("needs the whole batch")
    params, state = params_of(case, "float64")
    inputs = arrays_of(case, "float64")
    run = lambda *xs: case.layer.apply(params, state, *xs, train=case.train, **case.kwargs)
    lanes = [[x * scale if is_inexact(x.dtype) else x for x in inputs] for scale in (1.0, 0.5)]
    batch = [lnp.stack(column) for column in zip(*lanes, strict=True)]
    looped = tree.map(lambda *xs: lnp.stack(xs), *[run(*lane) for lane in lanes])
    close(lf.vmap(run, out_axes=0)(*batch), looped, 1e-11)


@layers
def test_gradients(case: LayerCase) -> None:
    params, state = params_of(case, "float64")
    inputs = arrays_of(case, "float64")
    leaves, treedef = tree.flatten((params, inputs))
    moving = floats(leaves)
    train = case.train or not (case.layer.stateful or case.layer.stochastic)

    def run(*xs: Any) -> list[Any]:
        filled = list(leaves)
        for i, x in zip(moving, xs, strict=True):
            filled[i] = x
        p, args = tree.unflatten(treedef, filled)
        out, _ = case.layer.apply(p, state, *args, train=train, **case.kwargs)
        return [x for x in tree.leaves(out) if is_inexact(x.dtype)]

    testing.check_grads(run, tuple(leaves[i] for i in moving), order=case.order)


functions = pytest.mark.parametrize("case", FUNCTIONS, ids=str)


@functions
def test_function_jit_and_vmap(case: FunctionCase) -> None:
    inputs = arrays_of(case, "float64")
    out = case.ours(*inputs)
    close(lf.jit(case.ours)(*inputs), out, 1e-12)
    single = case.ours(*arrays_of(case, "float32"))
    assert all(x.dtype != "float64" for x in tree.leaves(single))
    if case.vmap:
        lanes = [[x * scale if is_inexact(x.dtype) else x for x in inputs] for scale in (1.0, 0.9)]
        batch = [lnp.stack(column) for column in zip(*lanes, strict=True)]
        looped = tree.map(lambda *xs: lnp.stack(xs), *[case.ours(*lane) for lane in lanes])
        close(lf.vmap(case.ours)(*batch), looped, 1e-11)


@functions
def test_function_gradients(case: FunctionCase) -> None:
    if not case.gradients:
        pytest.skip("has none")
    inputs = arrays_of(case, "float64")
    moving = floats(inputs)

    def run(*xs: Any) -> list[Any]:
        filled = list(inputs)
        for i, x in zip(moving, xs, strict=True):
            filled[i] = x
        return [x for x in tree.leaves(case.ours(*filled)) if is_inexact(x.dtype)]

    testing.check_grads(run, tuple(inputs[i] for i in moving), order=case.order)
