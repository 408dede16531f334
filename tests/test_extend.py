"""Users' own primitives: declared in a few lines, known to every transformation."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import extend
from lucidfn.core.primitive import ALL
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

X = np.array([0.3, -0.7, 1.1], "float64")
Y = np.array([1.5, 0.4, -2.0], "float64")

softclip = extend.elementwise(
    "softclip", lambda x, s: np.tanh(x / s) * s,
    jvp=[lambda t, y, x, s: t * (1.0 - (y / s) ** 2),
         lambda t, y, x, s: t * (y / s - x / s * (1.0 - (y / s) ** 2))])


def outer_transpose(ct: Any, x: Any, y: Any) -> Any:
    if extend.unknown(x):
        assert x.shape == (ct.shape[0],) and x.dtype == ct.dtype
        return lnp.sum(ct * y, axis=1), None
    return None, lnp.sum(ct * x[:, None], axis=0)


@extend.primitive(kernels={"numpy": np.multiply.outer}, linear_in=(0, 1),
                  transpose=outer_transpose)
def outer(x: Any, y: Any) -> Any:
    """x[:, None] * y."""
    return lf.ShapeDtypeStruct((*x.shape, *y.shape), x.dtype)


@extend.primitive(kernels=lambda x, *, n: np.roll(x, n, axis=-1), linear_in=(0,),
                  transpose=lambda ct, x, n: turn(ct, n=-n), batch="broadcast")
def turn(x: Any, *, n: int) -> Any:
    return x


@extend.primitive(
    kernels=lambda x: [np.sin(x), np.cos(x)], many=True, name="sin_and_cos",
    jvp=lambda tangents, outs, x: [tangents[0] * outs[1], -tangents[0] * outs[0]],
    batch=lambda size, batched, x: sincos(x))
def sincos(x: Any) -> Any:
    return [x, x]


def test_elementwise_has_everything() -> None:
    check_grads(softclip, (X, Y))
    check_batch(softclip, (X, Y))
    check_batch(softclip, (X, 2.0), in_axes=(0, None))
    check_batch(lf.grad(softclip), (X, Y))
    check_jit(softclip, (X, Y))
    check_jit(lf.grad(lambda x: lnp.sum(softclip(x, 2.0))), (X,))
    assert_allclose(softclip(X[:, None], Y), np.tanh(X[:, None] / Y) * Y)
    assert softclip(1, 2).dtype == np.float32
    assert softclip(lnp.array([1, 2]), np.ones(2, "float32")).dtype == np.float32
    assert "softclip" in str(lf.make_ir(softclip)(X, Y))


def test_bilinear_primitive_batched_lane_by_lane() -> None:
    assert_allclose(outer(X, Y), np.outer(X, Y))
    check_grads(outer, (X, Y))
    check_jit(lf.grad(lambda x, y: lnp.sum(lnp.sin(outer(x, y))), (0, 1)), (X, Y))
    check_batch(outer, (np.stack([X, Y]), Y), in_axes=(0, None))
    check_batch(outer, (np.stack([X, Y]), np.stack([Y, X])))
    check_batch(lf.grad(lambda x, y: lnp.sum(lnp.sin(outer(x, y)))), (np.stack([X, Y]), Y),
                in_axes=(0, None))
    assert outer.__doc__ == "x[:, None] * y." and outer.__name__ == "outer"


def test_parameters_and_broadcast_batching() -> None:
    assert_allclose(turn(X, n=1), np.roll(X, 1))
    f = lambda x: turn(lnp.sin(x), n=1) * Y
    check_grads(f, (X,))
    check_batch(f, (np.stack([X, Y]),))
    check_jit(f, (X,))
    assert "n=1" in str(lf.make_ir(lambda x: turn(x, n=1))(X))


def test_many_outputs_and_a_jvp_of_all_tangents() -> None:
    f = lambda x: tuple(sincos(x))
    assert_allclose(f(X), (np.sin(X), np.cos(X)))
    check_grads(f, (X,))
    check_batch(f, (np.stack([X, Y]),))
    check_jit(lf.grad(lambda x: lnp.sum(f(x)[0] * f(x)[1])), (X,))
    assert_allclose(lf.grad(lambda x: lnp.sum(sincos(x)[1]))(X), -np.sin(X))


def test_per_operand_rules_of_a_general_primitive() -> None:
    @extend.primitive(kernels=lambda x, y: (x * x * y).sum(),
                      jvp=[lambda t, out, x, y: lnp.sum(2.0 * x * y * t), None])
    def energy(x: Any, y: Any) -> Any:
        return lf.ShapeDtypeStruct((), x.dtype)

    gx, gy = lf.grad(energy, (0, 1))(X, Y)
    assert_allclose((gx, gy), (2.0 * X * Y, np.zeros(3)))
    check_batch(energy, (np.stack([X, Y]), Y), in_axes=(0, None))
    assert_allclose(lf.vmap(lf.grad(energy), (0, None))(np.stack([X, Y]), Y),
                    2.0 * np.stack([X, Y]) * Y)


def test_missing_rules_say_what_to_add() -> None:
    @extend.primitive(kernels=np.sort)
    def bare(x: Any) -> Any:
        return x

    assert_allclose(lf.jit(bare)(X), np.sort(X))
    with pytest.raises(lf.MissingRuleError, match="primitive 'bare' has no jvp.*linear_in"):
        lf.grad(lambda x: lnp.sum(bare(x)))(X)
    linear = extend.primitive(lambda x: x, name="linear_only", kernels=np.copy, linear_in=(0,))
    assert_allclose(lf.jvp(linear, (X,), (Y,))[1], Y)
    with pytest.raises(lf.MissingRuleError, match="'linear_only' has no transpose rule"):
        lf.grad(lambda x: lnp.sum(linear(x)))(X)


def test_kernel_is_held_to_the_type_rule() -> None:
    wrong = extend.elementwise("widens", lambda x: np.asarray(x, "float64"), jvp=[None])
    with pytest.raises(TypeError, match=r"the kernel of widens returned float64\[3\], its type "
                                        r"rule says float32\[3\]"):
        wrong(np.ones(3, "float32"))


def test_bad_declarations() -> None:
    with pytest.raises(ValueError, match="there is a primitive 'sin' already"):
        extend.elementwise("sin", np.sin, jvp=[None])
    with pytest.raises(ValueError, match="batch must be a rule or 'broadcast', got 'loop'"):
        extend.primitive(lambda x: x, name="b", kernels=np.copy, batch="loop")
    with pytest.raises(TypeError, match="the infer rule of bad must return a ShapeDtypeStruct"):
        extend.primitive(lambda x: (3,), name="bad", kernels=np.copy)(X)
    with pytest.raises(ValueError, match="there is no backend 'abacus' here"):
        extend.register_kernel(outer, "abacus", np.outer)
    with pytest.raises(TypeError, match="register_kernel takes a primitive, got function"):
        extend.register_kernel(lambda x: x, "numpy", np.outer)
    with pytest.raises(TypeError, match="softclip takes 2 arrays, got 1"):
        softclip(X)
    many = extend.primitive(lambda x: x, name="arity", kernels=np.copy,
                            transpose=lambda ct, x: (ct, ct), linear_in=(0,))
    with pytest.raises(TypeError, match="transpose rule of arity must return 1 cotangents"):
        lf.grad(lambda x: lnp.sum(many(x)))(X)


def test_declaring_again_replaces_and_the_table_of_the_library_is_untouched() -> None:
    before = set(ALL)
    for scale in (2.0, 3.0):
        again = extend.elementwise("rescaled", lambda x, s=scale: x * np.asarray(s, x.dtype),
                                   jvp=[lambda t, y, x, s=scale: s * t])
        assert float(lf.grad(again)(1.0)) == scale
    assert set(ALL) == before


def test_register_kernel_replaces() -> None:
    f = extend.elementwise("negated", lambda x: -x, jvp=[lambda t, y, x: -t])
    extend.register_kernel(f, "numpy", lambda x: -2 * x)
    assert_allclose(f(X), -2 * X)
