"""Defects that gave other libraries wrong gradients, or no gradients: each of them as a test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import testing

RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def close(actual: Any, expected: Any) -> None:
    testing.assert_allclose(actual, expected, 1e-9, 1e-9)


# Functions whose gradients were wrong, or raised, in a library built on a tape: args and function.
CASES: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
    # the gradient of a broadcast operand, guessed from element counts
    "sum axis 0": (lambda x: lnp.sum(x, axis=0) ** 2, ((3, 4),)),
    "sum axis 1": (lambda x: lnp.sum(x, axis=1) ** 2, ((3, 4, 2),)),
    "sum axes 0 1": (lambda x: lnp.sum(x, axis=(0, 1)) ** 2, ((3, 4, 2),)),
    "mean axes 0 2": (lambda x: lnp.mean(x, axis=(0, 2)) ** 2, ((3, 4, 2),)),
    "bias": (lambda x, b: (x + b) ** 2, ((5, 3), (3,))),
    "scale": (lambda x, b: (x * b) ** 2, ((5, 3), (3,))),
    "bias of equal count": (lambda x, b: (x * b) ** 2, ((3, 3), (3, 1))),
    "linear": (lambda x, w, b: lnp.tanh(x @ w + b), ((5, 3), (3, 5), (5,))),
    "batch statistics": (lambda x, g, b: (x - lnp.mean(x, 0)) / lnp.std(x, 0) * g + b,
                         ((4, 3), (3,), (3,))),
    "layer statistics": (lambda x, g: (x - lnp.mean(x, -1, keepdims=True)) / lnp.sqrt(
        lnp.var(x, -1, keepdims=True) + 1e-5) * g, ((4, 3), (3,))),
    "softmax axis 0": (lambda x: lnp.exp(x) / lnp.sum(lnp.exp(x), axis=0), ((4, 3),)),
    # transposition
    "x @ x.T": (lambda x: x @ x.T, ((2, 3),)),
    "T of three axes": (lambda x: x.T * lnp.arange(24.0).reshape(4, 3, 2), ((2, 3, 4),)),
    "mT": (lambda x: x @ lnp.matrix_transpose(x), ((2, 2, 3),)),
    # indexing
    "duplicate integers": (lambda x: x[np.array([0, 2, 0, 0])] ** 2, ((3, 2),)),
    "duplicate pairs": (lambda x: x[np.array([0, 0, 1]), np.array([1, 1, 0])] ** 2, ((3, 2),)),
    "negative step": (lambda x: x[::-2] ** 2, ((5,),)),
    "mixed index": (lambda x: x[1, ..., None, np.array([0, 0])] ** 2, ((3, 2, 4),)),
    "take axis": (lambda x: lnp.take(x, np.array([1, 1, 0]), axis=1) ** 2, ((2, 3),)),
    # graphs
    "diamond": (lambda t: t + 2.0 * t + 3.0 * (2.0 * t), ((),)),
    "y * y": (lambda x: lnp.sin(x) * lnp.sin(x), ((3,),)),
    "y * y of one y": (lambda x: (lambda y: y * y)(x * 2.0), ((3,),)),
    "y used thrice": (lambda x: (lambda y: y * y + y)(lnp.sin(x)), ((3,),)),
    # cumulative and statistics
    "cumsum axis -1": (lambda x: lnp.cumsum(x, axis=-1) ** 2, ((2, 3),)),
    "cumsum flat": (lambda x: lnp.cumsum(x) ** 2, ((2, 3),)),
    "cumprod axis -1": (lambda x: lnp.cumprod(x, axis=-1) ** 2, ((2, 3),)),
    "var keepdims=False": (lambda x: lnp.var(x, axis=1, keepdims=False), ((3, 4),)),
    "var ddof": (lambda x: lnp.var(x, axis=0, ddof=1, keepdims=True), ((3, 4),)),
    "std": (lambda x: lnp.std(x), ((3, 4),)),
    # shapes
    "tile": (lambda x: lnp.tile(x, (2, 3)) ** 2, ((2, 3),)),
    "tile more axes": (lambda x: lnp.tile(x, (2, 1, 2)) ** 2, ((2, 3),)),
    "hstack uneven": (lambda x, y: lnp.hstack([x, y]) ** 2, ((2, 3), (2, 1))),
    "vstack": (lambda x, y: lnp.vstack([x, y]) ** 2, ((2, 3), (3,))),
    "meshgrid": (lambda x, y: lnp.stack(lnp.meshgrid(x, y)) ** 2, ((2,), (3,))),
    "meshgrid ij": (lambda x, y: lnp.stack(lnp.meshgrid(x, y, indexing="ij")) ** 2, ((2,), (3,))),
    "diagonal of three axes": (lambda x: lnp.diagonal(x, axis1=0, axis2=2) ** 2, ((2, 3, 4),)),
    "diagonal offset": (lambda x: lnp.diagonal(x, offset=1) ** 2, ((2, 3),)),
    "repeat": (lambda x: lnp.repeat(x, 2, axis=1) ** 2, ((2, 3),)),
    "roll": (lambda x: lnp.roll(x, 1, axis=1) * x, ((2, 3),)),
    "split uneven": (lambda x: lnp.split(x, [1, 3], axis=1)[1] ** 2, ((2, 4),)),
    "pad": (lambda x: lnp.pad(x, ((1, 0), (0, 2))) ** 2, ((2, 3),)),
    # products
    "matmul 1-D right": (lambda x, y: x @ y, ((2, 3), (3,))),
    "matmul 1-D left": (lambda x, y: x @ y, ((3,), (3, 2))),
    "matmul 1-D both": (lambda x, y: x @ y, ((3,), (3,))),
    "matmul batched": (lambda x, y: x @ y, ((2, 2, 3), (3, 2))),
    "inner": (lambda x, y: lnp.inner(x, y), ((2, 3), (4, 3))),
    "outer": (lambda x, y: lnp.outer(x, y), ((2,), (3,))),
    "tensordot default": (lambda x, y: lnp.tensordot(x, y), ((4, 2, 3), (2, 3, 2))),
    "tensordot axes": (lambda x, y: lnp.tensordot(x, y, axes=([0], [1])), ((2, 3), (4, 2))),
    "einsum trace": (lambda x: lnp.einsum("ii->", x @ x), ((3, 3),)),
    "einsum one operand": (lambda x: lnp.einsum("ijk->kj", x) ** 2, ((2, 3, 2),)),
    "einsum diagonal": (lambda x: lnp.einsum("ii->i", x) ** 2, ((3, 3),)),
    "einsum three": (lambda x, y, z: lnp.einsum("ij,jk,k->i", x, y, z), ((2, 3), (3, 4), (4,))),
    # sorting
    "sort": (lambda x: lnp.sort(x, axis=0) ** 2, ((4, 3),)),
    # linear algebra
    "inv": (lambda x: lnp.linalg.inv(x + 3.0 * np.eye(3)), ((3, 3),)),
    "inv batched": (lambda x: lnp.linalg.inv(x + 3.0 * np.eye(2)), ((2, 2, 2),)),
    "det": (lambda x: lnp.linalg.det(x), ((3, 3),)),
    "solve": (lambda a, b: lnp.linalg.solve(a + 3.0 * np.eye(3), b), ((3, 3), (3,))),
    "cholesky": (lambda x: lnp.linalg.cholesky(x @ x.T + 3.0 * np.eye(3)), ((3, 3),)),
    "qr": (lambda x: lnp.concatenate(lnp.linalg.qr(x + 3.0 * np.eye(3)), 0), ((3, 3),)),
    "matrix_power": (lambda x: lnp.linalg.matrix_power(x, 3), ((3, 3),)),
    "spectral norm": (lambda x: lnp.linalg.norm(x, 2), ((3, 2),)),
    "pinv": (lambda x: lnp.linalg.pinv(x), ((3, 2),)),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_to_the_second_order(name: str) -> None:
    f, shapes = CASES[name]
    rng = np.random.default_rng(11)
    args = tuple(lnp.asarray(rng.uniform(0.3, 1.5, s) * rng.choice([-1, 1], s)) for s in shapes)
    testing.check_grads(f, args)
    testing.check_jit(lf.grad(lambda *xs: lnp.sum(f(*xs)), argnums=tuple(range(len(args)))), args)
    batch = tuple(lnp.stack([a, 1.3 * a, 0.5 * a]) for a in args)
    testing.check_batch(lf.grad(lambda *xs: lnp.sum(f(*xs))), batch, sizes=(1, 3),
                        rtol=1e-8, atol=1e-8)


# ------------------------------------------------------------------ exact values

def test_readme_example_of_x_times_its_transpose() -> None:
    x = lnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    close(lf.grad(lambda x: lnp.sum(x @ x.T))(x), 2.0 * np.array([[5.0, 7.0, 9.0]] * 2))


def test_diamond_of_shared_branches() -> None:
    def f(t: Any) -> Any:
        x = t * 1.0
        y = 2.0 * x
        z = 3.0 * y
        return x + z + y

    assert float(lf.grad(f)(1.0)) == 9.0
    assert float(lf.jit(lf.grad(f))(1.0)) == 9.0


def test_embedding_rows_accumulate() -> None:
    table = lnp.zeros((3, 2))
    tokens = np.array([0, 2, 0, 0])
    counts = lf.grad(lambda t: lnp.sum(t[tokens]))(table)
    close(counts, [[3.0, 3.0], [0.0, 0.0], [1.0, 1.0]])


def test_subgradients() -> None:
    assert float(lf.grad(lnp.abs)(0.0)) == 0.0
    assert [float(g) for g in lf.grad(lnp.maximum, argnums=(0, 1))(2.0, 2.0)] == [0.5, 0.5]
    close(lf.grad(lnp.max)(lnp.array([1.0, 3.0, 3.0])), [0.0, 0.5, 0.5])
    close(lf.grad(lambda x: lnp.sum(lnp.sort(x) * lnp.arange(3.0)))(lnp.ones(3)), [1.0, 1.0, 1.0])
    close(lf.grad(lnp.std)(lnp.ones(3)), [0.0, 0.0, 0.0])
    close(lf.grad(lnp.linalg.norm)(lnp.zeros(3)), [0.0, 0.0, 0.0])
    assert [float(g) for g in lf.grad(lnp.hypot, argnums=(0, 1))(0.0, 0.0)] == [0.0, 0.0]
    close(lf.grad(lambda x: lnp.clip(x, 0.0, 1.0))(1.0), 1.0)


def test_products_with_zeros() -> None:
    x = lnp.array([2.0, 0.0, 3.0])
    close(lf.grad(lnp.prod)(x), [0.0, 6.0, 0.0])
    close(lf.grad(lambda x: lnp.sum(lnp.cumprod(x)))(x), [1.0, 8.0, 0.0])
    two = lnp.array([0.0, 0.0, 3.0])
    close(lf.grad(lnp.prod)(two), [0.0, 0.0, 0.0])
    close(lf.hessian(lnp.prod)(two), [[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_powers_at_zero() -> None:
    for n, first, second in ((1.0, 1.0, 0.0), (2.0, 0.0, 2.0), (3.0, 0.0, 0.0), (0.0, 0.0, 0.0)):
        f = lambda x, n=n: x ** n
        assert float(lf.grad(f)(0.0)) == first
        assert float(lf.grad(lf.grad(f))(0.0)) == second
        array = lambda x, n=n: lnp.power(x, lnp.asarray(n))
        assert float(lf.grad(array)(0.0)) == first
        assert float(lf.grad(lf.grad(array))(0.0)) == second
    assert float(lf.grad(lambda x: x ** 3)(-2.0)) == 12.0
    assert math.isinf(float(lf.grad(lnp.sqrt)(0.0)))


def test_where_keeps_the_other_branch_out() -> None:
    safe = lambda x: lnp.where(x > 0.0, lnp.log(lnp.where(x > 0.0, x, 1.0)), 0.0)
    close(lf.grad(lambda x: lnp.sum(safe(x)))(lnp.array([0.0, 2.0])), [0.0, 0.5])


def test_scalars_promote_as_in_jax() -> None:
    assert (lnp.arange(3) * 0.5).tolist() == [0.0, 0.5, 1.0]
    assert int(1 - lnp.array(True)) == 0
    assert (lnp.ones(2, dtype="float16") + 1e5).dtype == np.float16
    assert (lnp.int32(2) * 0.5).dtype == np.float32


def test_conversion_makes_a_new_array() -> None:
    x = lnp.array([1.7])
    y = x.astype("int32")
    assert x.dtype == np.float32 and y.dtype == np.int32 and float(x[0]) == pytest.approx(1.7)


def test_argmax_of_everything() -> None:
    x = lnp.array([[1.0, 5.0], [7.0, 2.0]])
    assert int(lnp.argmax(x)) == 2 and int(lnp.argmin(x)) == 0
    assert isinstance(lnp.float32(2.0).item(), float)
