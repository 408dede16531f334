"""vmap: axes by position, prefix and name; sizes; chunks; messages."""

from __future__ import annotations

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp


def array(*shape, seed=0):
    return lnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def test_axes_by_position():
    x, y = array(3, 4), array(4, 3, seed=1)
    got = lf.vmap(lambda a, b: a * b, in_axes=(0, 1), out_axes=1)(x, y)
    np.testing.assert_allclose(got, (np.asarray(x) * np.asarray(y).T).T)
    np.testing.assert_allclose(lf.vmap(lambda a, b: a + b, in_axes=(0, None))(x, y[:, 0]),
                               np.asarray(x) + np.asarray(y)[:, 0])
    np.testing.assert_allclose(lf.vmap(lambda a: a, in_axes=-1)(x), np.asarray(x).T)


def test_axes_as_prefix_and_by_name():
    params = {"w": array(3, 4), "b": array(4, seed=1)}
    x = array(3, 4, seed=2)

    def f(params, x, *, scale):
        return params["w"] * x * scale + params["b"]

    want = np.asarray(params["w"]) * np.asarray(x) * 2.0 + np.asarray(params["b"])
    by_name = lf.vmap(f, in_axes={"params": {"w": 0, "b": None}, "scale": None})
    np.testing.assert_allclose(by_name(params, x, scale=2.0), want, rtol=1e-6)
    scales = lnp.full((3,), 2.0)
    prefix = lf.vmap(f, in_axes=({"w": 0, "b": None}, 0))
    np.testing.assert_allclose(prefix(params, x, scale=scales), want, rtol=1e-6)


def test_out_axes_none_and_constants():
    f = lf.vmap(lambda x: (x, lnp.ones(2)), out_axes=(0, None))
    got, one = f(array(3))
    assert got.shape == (3,) and one.shape == (2,)
    with pytest.raises(ValueError, match="out_axes is None for output 0, but that output varies"):
        lf.vmap(lambda x: x, out_axes=None)(array(3))
    assert lf.vmap(lambda x: 1.0)(array(3)).shape == (3,)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_sizes(size):
    x = array(size, 2)
    got = lf.vmap(lf.grad(lambda v: lnp.sum(v * v)))(x)
    np.testing.assert_allclose(got, np.asarray(x) * 2)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_chunks(chunk):
    x, w = array(5, 4), array(4, seed=1)
    f = lf.vmap(lambda v, w: (lnp.sum(v * w), w), in_axes=(0, None), out_axes=(0, None),
                chunk_size=chunk)
    got, same = f(x, w)
    np.testing.assert_allclose(got, np.asarray(x) @ np.asarray(w), rtol=1e-5)
    np.testing.assert_array_equal(same, w)


def test_axis_size():
    got = lf.vmap(lambda: lnp.asarray(2.0), axis_size=4)()
    np.testing.assert_array_equal(got, np.full(4, 2.0))


def test_nested_with_grad_and_jit():
    w, xs = array(3), array(5, 4, 3, seed=1)
    loss = lambda w, x: lnp.sum(lnp.tanh(x * w))  # noqa: E731
    per = lf.vmap(lf.vmap(lf.grad(loss), in_axes=(None, 0)), in_axes=(None, 0))
    want = np.stack([[lf.grad(loss)(w, x) for x in row] for row in xs])
    for f in (per, lf.jit(per)):
        np.testing.assert_allclose(f(w, xs), want, rtol=1e-5, atol=1e-6)


MESSAGES = {
    "sizes": (lambda: lf.vmap(lambda x, y: x)(array(3), array(4)),
              r"`x` float32\[3\] axis 0 has size 3\n.*`y` float32\[4\] axis 0 has size 4"),
    "scalar": (lambda: lf.vmap(lambda x: x)(1.0), "has 0 axes; give a scalar None in in_axes"),
    "rank": (lambda: lf.vmap(lambda x: x, in_axes=2)(array(3)), "in_axes=2 for `x`"),
    "count": (lambda: lf.vmap(lambda x, y: x, in_axes=(0,))(array(3), array(3)),
              "in_axes has 1 entries .* for 2 positional arguments"),
    "structure": (lambda: lf.vmap(lambda p: p["w"], in_axes=({"b": 0},))({"w": array(3)}),
                  "in_axes of `p`"),
    "none": (lambda: lf.vmap(lambda x: x, in_axes=None)(array(3)), "no argument is mapped"),
    "name": (lambda: lf.vmap(lambda x: x, in_axes={"y": 0})(array(3)), r"names \['y'\]"),
    "type": (lambda: lf.vmap(lambda x: x, in_axes=1.5)(array(3)), "must hold integers and None"),
    "string": (lambda: lf.vmap(lambda x: x)("a"), "`x` is str 'a', which has no axis to map"),
    "chunk": (lambda: lf.vmap(lambda x: x, chunk_size=0), "chunk_size must be a positive integer"),
    "out": (lambda: lf.vmap(lambda x: x, out_axes=3)(array(3)), "out_axes=3 for output 0"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case):
    call, match = MESSAGES[case]
    with pytest.raises((ValueError, TypeError), match=match):
        call()


def test_error_inside_names_the_lane_shapes():
    match = r"mul at test_vmap.py.*float32\[4\] and float32"
    with pytest.raises(lf.errors.ShapeError, match=match):
        lf.vmap(lambda x, y: x * y)(array(3, 4), array(3, 5))
