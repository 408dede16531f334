"""Products with second derivatives, Jacobians of trees, and the Hessian of a LeNet loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import models, nn, tree
from lucidfn.testing import assert_allclose

rng = np.random.default_rng(0)
PARAMS = {"w": rng.normal(size=(3, 2)), "b": [rng.normal(size=2)]}
X = rng.normal(size=(4, 3))
V = tree.map(lambda x: rng.normal(size=x.shape), PARAMS)


def outputs(params: Any, x: Any) -> Any:
    return lnp.tanh(x @ params["w"] + params["b"][0])


def loss(params: Any, x: Any) -> Any:
    return lnp.sum(lnp.sin(outputs(params, x)) ** 2)


def flat(tree_of_arrays: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in tree.leaves(tree_of_arrays)])


def dense(f: Any, x: Any) -> np.ndarray:
    """The Jacobian of a tree of outputs in a tree of inputs, as a matrix."""
    rows = [np.concatenate([np.asarray(b).reshape(np.size(o), -1) for b in tree.leaves(row)], 1)
            for o, row in zip(tree.leaves(f(x)), _rows(f, x), strict=True)]
    return np.concatenate(rows)


def _rows(f: Any, x: Any) -> list[Any]:
    return tree.structure(f(x)).flatten_up_to(lf.jacrev(f)(x))


# ------------------------------------------------------------------ hvp

def test_hvp_of_trees_in_both_forms() -> None:
    f = lambda p: loss(p, X)
    hessian = dense(lf.grad(f), PARAMS)
    product = lf.hvp(f)(PARAMS, V)
    assert tree.structure(product) == tree.structure(PARAMS)
    assert_allclose(flat(product), hessian @ flat(V))
    assert_allclose(lf.hvp(f, (PARAMS,), (V,)), product)
    assert_allclose(lf.jit(lf.hvp(f))(PARAMS, V), product)
    assert_allclose(lf.hvp(loss)(PARAMS, X, V), product)
    assert_allclose(lf.hvp(loss, argnums=1)(PARAMS, X, X),
                    lf.hvp(lambda x: loss(PARAMS, x))(X, X))
    assert_allclose(lf.hvp(lambda p, *, x: loss(p, x))(PARAMS, V, x=X), product)
    several = lf.hvp(loss, (PARAMS, X), (V, X))
    assert isinstance(several, tuple) and tree.structure(several[0]) == tree.structure(PARAMS)


def test_hvp_with_aux() -> None:
    f = lambda p: (loss(p, X), {"n": 3})
    product, aux = lf.hvp(f, has_aux=True)(PARAMS, V)
    assert_allclose(product, lf.hvp(lambda p: loss(p, X))(PARAMS, V))
    assert int(aux["n"]) == 3
    assert_allclose(lf.hvp(f, (PARAMS,), (V,), has_aux=True)[0], product)


def test_hvp_many_vectors_and_third_derivatives() -> None:
    f = lambda x: lnp.sum(x ** 4)
    x = np.array([1.0, 2.0])
    assert_allclose(lf.vmap(lf.hvp(f), in_axes=(None, 0))(x, np.eye(2)), np.diag(12 * x ** 2))
    assert_allclose(lf.grad(lambda x: lnp.sum(lf.hvp(f)(x, np.ones(2))))(x), 24 * x)


# ------------------------------------------------------------------ ggnvp

@pytest.mark.parametrize("on_outputs", [
    lambda y: 0.5 * lnp.sum(y * y), lambda y: lnp.sum(lnp.exp(y)),
    lambda y: -lnp.sum(nn.log_softmax(y)[:, 0])])
def test_gauss_newton_products(on_outputs: Any) -> None:
    f = lambda p: outputs(p, X)
    jacobian = dense(f, PARAMS)
    curvature = np.asarray(lf.hessian(lambda y: on_outputs(y.reshape(4, 2)))(
        outputs(PARAMS, X).ravel()))
    want = jacobian.T @ curvature @ jacobian @ flat(V)
    product = lf.ggnvp(f, on_outputs)
    assert_allclose(flat(product(PARAMS, V)), want)
    assert_allclose(flat(lf.jit(product)(PARAMS, V)), want)
    assert_allclose(flat(lf.ggnvp(outputs, on_outputs)(PARAMS, X, V)), want)
    assert float(flat(V) @ want) >= 0


def test_gauss_newton_defaults_aux_and_trees() -> None:
    f = lambda p: ({"y": outputs(p, X), "w": p["w"]}, "note")
    product, aux = lf.ggnvp(f, has_aux=True)(PARAMS, V)
    jacobian = dense(lambda p: f(p)[0], PARAMS)
    assert_allclose(flat(product), jacobian.T @ jacobian @ flat(V))
    assert aux == "note"


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: lf.hvp(loss)(PARAMS), TypeError, "then the vector"),
    (lambda: lf.hvp(loss, (PARAMS,)), TypeError, "no tangents"),
    (lambda: lf.hvp(loss, argnums=3)(PARAMS, X, V), ValueError, "selects none"),
    (lambda: lf.hvp(lambda p: loss(p, X))(PARAMS, {"w": V["w"]}), TypeError, "structure"),
    (lambda: lf.ggnvp(outputs)(PARAMS), TypeError, "then the vector"),
    (lambda: lf.ggnvp(outputs, 3.0), TypeError, "needs a function"),
])
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------ Jacobians of trees

def test_jacobians_of_trees() -> None:
    f = lambda p, x: {"y": outputs(p, x), "s": (lnp.sum(p["w"]), p["b"][0] * 2)}
    forward, reverse = lf.jacfwd(f)(PARAMS, X), lf.jacrev(f)(PARAMS, X)
    assert_allclose(forward, reverse)
    assert forward["y"]["w"].shape == (4, 2, 3, 2)
    assert forward["s"][0]["b"][0].shape == (2,)
    assert_allclose(forward["s"][1]["b"][0], 2 * np.eye(2))
    both = lf.jacfwd(f, argnums=(0, 1))(PARAMS, X)
    assert both["y"][1].shape == (4, 2, 4, 3)
    blocks = lf.hessian(loss)(PARAMS, X)
    assert blocks["w"]["b"][0].shape == (3, 2, 2)
    assert_allclose(blocks["w"]["b"][0], np.moveaxis(np.asarray(blocks["b"][0]["w"]), 0, -1))


# ------------------------------------------------------------------ LeNet

@pytest.fixture(scope="module")
def lenet() -> Any:
    """The loss of a LeNet on two images as a function of its parameters, in float64."""
    model = models.LeNet5()
    with lf.default_dtype("float64"):
        params, state = model.init(lf.random.key(0))
    images, labels = rng.normal(size=(2, 28, 28, 1)), np.array([3, 7])

    def of(params: Any) -> Any:
        logits = model.apply(params, state, images)
        logits = logits[0] if isinstance(logits, tuple) else logits
        return nn.losses.cross_entropy(logits, labels)

    return of, params


def test_hessian_products_of_lenet_against_finite_differences(lenet: Any) -> None:
    of, params = lenet
    slope = lf.jit(lf.grad(of))
    v = tree.map(lambda x: rng.normal(size=x.shape), params)
    product = lf.jit(lf.hvp(of))(params, v)
    h = 1e-5
    moved = lambda step: slope(tree.map(lambda x, d: x + step * d, params, v))
    # Fourth order: the error is h^4 times a fifth derivative.
    want = tree.map(lambda a, b, c, d: (8 * (a - b) - (c - d)) / (12 * h),
                    moved(h), moved(-h), moved(2 * h), moved(-2 * h))
    np.testing.assert_allclose(flat(product), flat(want), rtol=1e-5,
                               atol=1e-7 * np.abs(flat(want)).max())
    assert_allclose(float(flat(v) @ flat(product)), float(
        lf.jet(of, (params,), ([v, tree.map(lnp.zeros_like, v)],))[1][1]))


def test_the_hessian_block_of_a_lenet_layer(lenet: Any) -> None:
    of, params = lenet
    small = params["fc3"]["bias"]
    last = lambda b: of({**params, "fc3": {**params["fc3"], "bias": b}})
    block = np.asarray(lf.hessian(last)(small))
    slope = lf.jit(lf.grad(last))
    h = 1e-5
    want = np.stack([(np.asarray(slope(small + h * e)) - np.asarray(slope(small - h * e))) / (2 * h)
                     for e in np.eye(10)])
    np.testing.assert_allclose(block, want, rtol=1e-6, atol=1e-9)
    kernel = params["conv1"]["weight"]
    first = lambda w: of({**params, "conv1": {**params["conv1"], "weight": w}})
    rows = lf.jit(lf.vmap(lf.hvp(first), in_axes=(None, 0)))
    e = np.zeros((3, *kernel.shape))
    for i in range(3):
        e[i].reshape(-1)[40 * i] = 1.0
    slope = lf.jit(lf.grad(first))
    want = np.stack([(np.asarray(slope(kernel + h * d)) - np.asarray(slope(kernel - h * d)))
                     / (2 * h) for d in e])
    np.testing.assert_allclose(np.asarray(rows(kernel, e)), want, rtol=1e-5, atol=1e-9)


def test_gauss_newton_of_lenet_is_positive(lenet: Any) -> None:
    of, params = lenet
    v = tree.map(lambda x: rng.normal(size=x.shape), params)
    model = models.LeNet5()
    images = rng.normal(size=(2, 28, 28, 1))

    def logits(params: Any) -> Any:
        out = model.apply(params, model.init(lf.random.key(0))[1], images)
        return out[0] if isinstance(out, tuple) else out

    product = lf.ggnvp(logits, lambda y: nn.losses.cross_entropy(y, np.array([3, 7])))(params, v)
    assert float(flat(v) @ flat(product)) > 0
