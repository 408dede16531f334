"""Bad input: a message says what was got, what was expected and the fix, with the user's line."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import errors, random


def array(*shape):
    return lnp.asarray(np.linspace(0.1, 1.0, int(np.prod(shape))).reshape(shape).astype("float32"))


def here():
    return f"test_messages.py:{sys._getframe(1).f_lineno}"


def message(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_mismatched_shapes_eager_and_jitted():
    logits, mask = array(3), array(4, 5)
    for f in (lambda logits, mask: logits * mask, lf.jit(lambda logits, mask: logits * mask)):
        line = f"test_messages.py:{sys._getframe().f_lineno - 1}"
        text = message(lambda f=f: f(logits, mask), errors.ShapeError)
        assert text.startswith(f"mul at {line}: got float32[3] and float32[4,5]")
        assert "shapes must broadcast" in text
        assert "logits" in text and "mask" in text


def test_shape_error_names_arguments_of_trees():
    def loss(params, batch):
        return lnp.sum(params["w"] * batch["mask"])
    text = message(lambda: lf.jit(loss)({"w": array(3)}, {"mask": array(2)}), errors.ShapeError)
    assert "argument `params['w']`" in text and "argument `batch['mask']`" in text


def test_wrong_dtype():
    text = message(lambda: lnp.bitwise_and(array(2), array(2)), TypeError)
    assert "bitwise_and at" in text and "got float32; it takes bool or integer" in text


def test_grad_needs_floats():
    text = message(lambda: lf.grad(lambda n: n * 2.0)(3), TypeError)
    assert "with respect to `n`" in text and "got int32[]" in text and "x.astype('float32')" in text


def test_grad_needs_a_scalar():
    text = message(lambda: lf.grad(lambda x: x * 2.0)(array(3)), TypeError)
    assert "must return a scalar, got float32[3]" in text
    assert "lnp.mean" in text and "lf.jacrev" in text
    text = message(lambda: lf.grad(lambda x: (lnp.sum(x), x))(array(3)), TypeError)
    assert "has_aux=True" in text
    text = message(lambda: lf.grad(lambda x: lnp.sum(x) > 0)(array(3)), TypeError)
    assert "got bool[]" in text
    text = message(lambda: lf.grad(lambda x: None)(array(3)), TypeError)
    assert "must return" in text


def test_tracer_as_bool():
    @lf.jit
    def f(x, scale):
        y = x * scale
        if y[0] > 0:
            return y
        return -y
    text = message(lambda: f(array(3), 2.0), errors.TracerBoolConversionError)
    assert "bool()" in text and "test_messages.py" in text and "depends on `x` and `scale`" in text
    for fix in ("lnp.where", "lax.cond", "static_argnames"):
        assert fix in text


def test_tracer_as_int():
    f = lf.jit(lambda x, n: lnp.zeros(n))
    text = message(lambda: f(array(3), 2), errors.TracerIntegerConversionError)
    assert "argument `n`" in text and "static_argnames=['n']" in text
    text = message(lambda: lf.jit(lambda n: list(range(n)))(3), errors.TracerIntegerConversionError)
    assert "argument `n`" in text


def test_tracer_as_array():
    text = message(lambda: lf.jit(lambda x: np.asarray(x))(array(3)),
                   errors.TracerArrayConversionError)
    assert "test_messages.py" in text and "lucidfn.numpy" in text


def test_leaked_tracer():
    kept = []

    def f(x):
        kept.append(x * 2.0)
        return lnp.sum(x)
    lf.jit(f)(array(3))
    text = message(lambda: kept[0] + 1.0, errors.UnexpectedTracerError)
    assert "after jit of" in text and "f had finished" in text
    assert "the result of mul at test_messages.py" in text
    kept.clear()
    lf.grad(f)(array(3))
    text = message(lambda: kept[0] + 1.0, errors.UnexpectedTracerError)
    assert "after grad had finished" in text
    kept.clear()
    lf.vmap(f)(array(3, 2))
    message(lambda: kept[0] + 1.0, errors.UnexpectedTracerError)


def test_leaked_tracer_into_another_trace():
    kept = []
    lf.jit(lambda x: kept.append(x) or x)(array(3))
    message(lambda: lf.jit(lambda y: y + kept[0])(array(3)), errors.UnexpectedTracerError)


def test_out_of_bounds():
    x = array(3)
    assert "5" in message(lambda: x[5], IndexError)
    i = lnp.asarray(7)
    for f in (lambda x, i: x[i], lf.jit(lambda x, i: x[i])):
        assert "index 7 is out of bounds for axis 0 with size 3" in message(
            lambda f=f: f(x, i), IndexError)
    for f in (lambda x, i: x.at[i].set(0.0), lf.jit(lambda x, i: x.at[i].add(1.0))):
        assert "index 7 is out of bounds" in message(lambda f=f: f(x, i), IndexError)
    assert float(x.at[7].get(mode="clip")) == float(x[2])


def test_assignment():
    x = array(3)
    with pytest.raises(TypeError, match=r"x = x\.at\[0\]\.set\(2\.0\)"):
        x[0] = 2.0


def test_reused_key():
    key = random.key(90210)
    with lf.config.override(key_reuse="error"):
        text = message(lambda: (random.normal(key), random.uniform(key)), errors.KeyReuseError)
        assert text.count("test_messages.py") == 2 and "random.split" in text
        f = lf.jit(lambda k: random.normal(k) + random.uniform(k))
        assert "split" in message(lambda: f(random.key(1)), errors.KeyReuseError)
    with pytest.warns(UserWarning, match="used twice"):
        lf.jit(lambda k: random.normal(k) * random.uniform(k))(random.key(2))


def test_keys_have_no_arithmetic():
    assert "random keys have no arithmetic" in message(lambda: random.key(0) + 1, TypeError)


def test_object_and_string_arrays():
    ragged = np.array([[1.0], [2.0, 3.0]], dtype=object)
    assert "object array" in message(lambda: lnp.sin(ragged), TypeError)
    assert "strings" in message(lambda: lnp.sin(np.array(["a", "b"])), TypeError)
    assert "dates" in message(lambda: lnp.sin(np.array(["2020-01-01"], "datetime64[D]")), TypeError)
    assert "different lengths" in message(lambda: lnp.asarray([[1.0], [2.0, 3.0]]), ValueError)
    message(lambda: lnp.sin(None), TypeError)
    message(lambda: lnp.sin("abc"), TypeError)
    message(lambda: lf.grad(lnp.sum)(ragged), TypeError)


def test_mismatched_trees():
    a = {"layer1": {"w": array(2), "b": array(2)}, "layer2": {"w": array(2)}}
    b = {"layer1": {"b": array(2)}, "layer2": {"w": array(2)}}
    text = message(lambda: lf.tree.map(lnp.add, a, b), ValueError)
    assert "['layer1']['w']" in text and "layer2" not in text
    out, pull = lf.vjp(lambda p: p, a)
    text = message(lambda: pull(b), TypeError)
    assert "['layer1']['w']" in text


def test_jvp_and_vjp_shapes():
    f = lambda x: lnp.sin(x)  # noqa: E731
    assert "shape (2,)" in message(lambda: lf.jvp(f, (array(3),), (array(2),)), ValueError)
    assert "dtype float64" in message(
        lambda: lf.jvp(f, (array(3),), (np.ones(3),)), TypeError)
    assert "shape (2,)" in message(lambda: lf.vjp(f, array(3))[1](array(2)), ValueError)
    message(lambda: lf.jvp(f, array(3), array(3)), TypeError)


def test_argnums():
    f = lambda x, y: lnp.sum(x * y)  # noqa: E731
    assert "argnums=2" in message(lambda: lf.grad(f, argnums=2)(array(2), array(2)), TypeError)
    text = message(lambda: lf.grad(f, argnames="z")(array(2), array(2)), TypeError)
    assert "argnames='z'" in text
    assert "twice" in message(lambda: lf.grad(f, argnums=(0, -2))(array(2), array(2)), ValueError)


def test_complex_loss():
    text = message(lambda: lf.grad(lambda z: z * z)(1 + 2j), TypeError)
    assert "holomorphic=True" in text


def test_config():
    assert "no setting 'x'" in message(lambda: setattr(lf.config, "x", 1), AttributeError)
    assert "one of" in message(lambda: setattr(lf.config, "default_float", "float8"), ValueError)


def test_reverse_of_a_function_that_is_not_linear():
    with pytest.raises(NotImplementedError, match="sin"):
        lf.linear_transpose(lnp.sin, array(3))(array(3))


def test_jit_of_something_else():
    assert "jit needs a function" in message(lambda: lf.jit(3), TypeError)
    assert here().startswith("test_messages")
