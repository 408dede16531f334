"""Windowed reductions: against a loop, finite differences, ties, batches."""

import itertools

import numpy as np
import pytest
from test_conv import check_batch, check_grads

from lucidfn import ops
from lucidfn.core.trace import type_of
from lucidfn.transforms.linearize import vjp

rng = np.random.default_rng(0)
A = lambda *shape: rng.standard_normal(shape)

OPS = {"window_sum": (ops.window_sum, np.sum, 0.0), "window_max": (ops.window_max, np.max, -np.inf),
       "window_min": (ops.window_min, np.min, np.inf)}


def loop(reduce, identity, x, *, window, stride, padding, x_dilation, w_dilation):
    sizes = [(n - 1) * k + 1 if n else 0 for n, k in zip(x.shape, x_dilation, strict=True)]
    big = np.full([s + lo + hi for s, (lo, hi) in zip(sizes, padding, strict=True)], identity)
    for at in np.ndindex(*x.shape):
        to = tuple(i * k + lo for i, k, (lo, _) in zip(at, x_dilation, padding, strict=True))
        if all(0 <= i < s for i, s in zip(to, big.shape, strict=True)):
            big[to] = x[at]
    shape = [max(0, (b - (k - 1) * d - 1) // s + 1) for b, k, d, s in
             zip(big.shape, window, w_dilation, stride, strict=True)]
    out = np.zeros(shape)
    for p in np.ndindex(*shape):
        part = big[tuple(slice(i * s, i * s + (k - 1) * d + 1, d) for i, s, k, d in
                         zip(p, stride, window, w_dilation, strict=True))]
        out[p] = reduce(part)
    return out


def plain(n, **changes):
    return dict(window=(1,) * n, stride=(1,) * n, padding=((0, 0),) * n, x_dilation=(1,) * n,
                w_dilation=(1,) * n) | changes


CASES = list(itertools.product(OPS, [1, 2], [(1, 2), (0, 0), (-1, 1)], [1, 2], [1, 2]))


@pytest.mark.parametrize(("name", "stride", "pad", "x_dilation", "w_dilation"), CASES)
def test_all_parameters(name, stride, pad, x_dilation, w_dilation):
    op, reduce, identity = OPS[name]
    params = plain(2, window=(3, 2), stride=(stride, 2), padding=(pad, (0, 1)),
                   x_dilation=(x_dilation, 1), w_dilation=(w_dilation, 1))
    x = A(6, 5)
    out = op(x, **params)
    np.testing.assert_allclose(out, loop(reduce, identity, x, **params), rtol=1e-12, atol=1e-12)
    assert op.infer(type_of(x), **params) == type_of(out)
    if np.isfinite(out).all():
        check_grads(lambda x: op(x, **params), [x])
    # The square makes the second order differ from zero.
    finite = lambda x: ops.select(ops.is_finite(op(x, **params)), op(x, **params), 0.0)
    check_grads(lambda x: ops.mul(finite(x), finite(x)), [x])
    check_batch(lambda x: op(x, **params), [A(3, 6, 5)], [True])


SHAPES = [((0, 4), plain(2, window=(1, 2))), ((3, 2), plain(2, window=(4, 1))), ((), plain(0)),
          ((4,), plain(1)), ((4,), plain(1, window=(4,))),
          ((2, 6, 6, 3), plain(4, window=(1, 2, 2, 1), stride=(1, 2, 2, 1)))]


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize(("shape", "params"), SHAPES, ids=str)
def test_ranks_and_empty_axes(name, shape, params):
    op, reduce, identity = OPS[name]
    x = np.asarray(A(*shape))
    np.testing.assert_allclose(op(x, **params), loop(reduce, identity, x, **params), rtol=1e-12)
    check_grads(lambda x: op(x, **params), [x])
    for size in (0, 1, 3):
        check_batch(lambda x: op(x, **params), [np.asarray(A(size, *shape))], [True], size)


def test_ties_share_the_derivative():
    x = np.array([1.0, 3.0, 3.0, 0.0])
    params = plain(1, window=(4,))
    for op, y in ((ops.window_max, x), (ops.window_min, -x)):
        (g,) = vjp(lambda v: [op(v, **params)], [y])[1]([np.ones(1)])
        np.testing.assert_array_equal(g, [0, 0.5, 0.5, 0])


def test_overlapping_windows_add_up():
    x = np.array([0.0, 5.0, 1.0])
    (g,) = vjp(lambda v: [ops.window_max(v, **plain(1, window=(2,)))], [x])[1]([np.ones(2)])
    np.testing.assert_array_equal(g, [0, 2, 0])


def test_inf_elsewhere_does_not_leak_into_the_derivative():
    x = np.array([1.0, -np.inf, 2.0, -np.inf])
    params = plain(1, window=(2,), stride=(2,))
    (g,) = vjp(lambda v: [ops.window_max(v, **params)], [x])[1]([np.ones(2)])
    np.testing.assert_array_equal(g, [1, 0, 1, 0])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16", "float32"])
def test_dtype_is_kept(dtype):
    x = (4 * A(6)).astype(dtype) if dtype != "bool" else A(6) > 0
    for op, reduce in ((ops.window_max, np.max), (ops.window_min, np.min)):
        out = op(x, **plain(1, window=(3,), padding=((1, 1),)))
        padded = [reduce(x[max(i - 1, 0):i + 2]) for i in range(6)]
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, padded)


ERRORS = [
    (ops.window_max, A(4), plain(2, window=(2, 2)), "one for each axis"),
    (ops.window_max, A(4), plain(1, window=(0,)), "at least 1"),
    (ops.window_sum, np.ones(4, bool), plain(1, window=(2,)), "window_sum does not take"),
    (ops.window_max, np.ones(4, complex), plain(1, window=(2,)), "window_max does not take"),
]


@pytest.mark.parametrize(("op", "x", "params", "message"), ERRORS, ids=str)
def test_errors(op, x, params, message):
    with pytest.raises(TypeError, match=message):
        op.infer(type_of(x), **params)
