"""The convolution primitive: against a loop, finite differences, its own batches, and JAX."""

import itertools
import sys

import numpy as np
import pytest

from lucidfn import ops
from lucidfn.core.trace import type_of
from lucidfn.transforms.jvp import jvp
from lucidfn.transforms.linearize import vjp
from lucidfn.transforms.vmap import batch_flat

rng = np.random.default_rng(0)
A = lambda *shape: rng.standard_normal(shape)


def loop(x, w, *, stride, padding, x_dilation, w_dilation, groups):
    """The definition, one output element at a time."""
    n = len(stride)
    sizes = [(d - 1) * k + 1 if d else 0 for d, k in zip(x.shape[1:-1], x_dilation, strict=True)]
    big = np.zeros((x.shape[0], *[s + lo + hi for s, (lo, hi) in
                                  zip(sizes, padding, strict=True)], x.shape[-1]), x.dtype)
    for at in np.ndindex(*x.shape[1:-1]):
        to = [i * k + lo for i, k, (lo, _) in zip(at, x_dilation, padding, strict=True)]
        if all(0 <= i < s for i, s in zip(to, big.shape[1:-1], strict=True)):
            big[(slice(None), *to)] = x[(slice(None), *at)]
    out_space = [max(0, (b - (k - 1) * d - 1) // s + 1) for b, k, d, s in
                 zip(big.shape[1:-1], w.shape[:n], w_dilation, stride, strict=True)]
    out = np.zeros((x.shape[0], *out_space, w.shape[-1]), x.dtype)
    c, o = w.shape[-2], w.shape[-1] // groups
    for p in np.ndindex(*out_space):
        for k in np.ndindex(*w.shape[:n]):
            at = [i * s + j * d for i, s, j, d in zip(p, stride, k, w_dilation, strict=True)]
            for g in range(groups):
                out[(slice(None), *p, slice(g * o, (g + 1) * o))] += (
                    big[(slice(None), *at, slice(g * c, (g + 1) * c))]
                    @ w[(*k, slice(None), slice(g * o, (g + 1) * o))])
    return out


def check_grads(f, args, order=2, eps=1e-5, tol=2e-5):
    """jvp against central differences, vjp against jvp by the dot product, and the next order."""
    flat = lambda *xs: [f(*xs)]
    tangents = [A(*x.shape) for x in args]
    (out,), (t,) = jvp(flat, args, tangents)
    t = np.zeros(out.shape) if t is None else t
    ahead = f(*[x + eps * d for x, d in zip(args, tangents, strict=True)])
    behind = f(*[x - eps * d for x, d in zip(args, tangents, strict=True)])
    np.testing.assert_allclose(t, (ahead - behind) / (2 * eps), rtol=tol, atol=tol)
    outs, backward = vjp(flat, args)
    np.testing.assert_allclose(outs[0], f(*args))
    ct = A(*t.shape)
    cts = backward([ct])
    assert [c.shape for c in cts] == [x.shape for x in args]
    assert all(c.dtype == x.dtype for c, x in zip(cts, args, strict=True))
    inner = sum(np.sum(c * d) for c, d in zip(cts, tangents, strict=True))
    np.testing.assert_allclose(inner, np.sum(ct * t), rtol=1e-9, atol=1e-9)
    if order > 1:
        check_grads(lambda *xs: vjp(flat, xs)[1]([ct])[0], args, order - 1, eps, tol * 50)


def check_batch(f, args, flags, size=3):
    """f on lanes against a Python loop."""
    flat = lambda *xs: [f(*xs)]
    (got,), _ = batch_flat(flat, args, flags, size)
    want = [f(*[a[i] if b else a for a, b in zip(args, flags, strict=True)]) for i in range(size)]
    if size == 0:
        lane = f(*[np.zeros(a.shape[1:]) if b else a for a, b in zip(args, flags, strict=True)])
        assert got.shape == (0, *lane.shape)
    else:
        np.testing.assert_allclose(got, np.stack(want), rtol=1e-10, atol=1e-10)


FLAGS = [(True, False), (False, True), (True, True)]
CASES = list(itertools.product([1, 2], [(1, 2), (0, 0), (2, 1), (-1, 1)], [1, 2], [1, 2], [1, 2]))


@pytest.mark.parametrize(("stride", "pad", "x_dilation", "w_dilation", "groups"), CASES)
def test_all_parameters(stride, pad, x_dilation, w_dilation, groups):
    params = dict(stride=(stride, 1), padding=(pad, (1, 0)), x_dilation=(x_dilation, 1),
                  w_dilation=(w_dilation, 1), groups=groups)
    f = lambda x, w: ops.conv(x, w, **params)
    x, w = A(2, 6, 5, 2 * groups), A(3, 2, 2, 3 * groups)
    out = f(x, w)
    np.testing.assert_allclose(out, loop(x, w, **params), rtol=1e-10, atol=1e-10)
    assert ops.conv.infer(type_of(x), type_of(w), **params) == type_of(out)
    check_grads(f, [x, w])
    for flags in FLAGS:
        check_batch(f, [A(3, *v.shape) if b else v for v, b in zip((x, w), flags, strict=True)],
                    flags)


def plain(n, **changes):
    return dict(stride=(1,) * n, padding=((0, 0),) * n, x_dilation=(1,) * n, w_dilation=(1,) * n,
                groups=1) | changes


SHAPES = [
    ((2, 3), (3, 4), plain(0)),
    ((2, 4), (2, 4), plain(0, groups=2)),
    ((2, 7, 3), (3, 3, 4), plain(1, stride=(2,), padding=((1, 0),))),
    ((2, 7, 4), (3, 1, 8), plain(1, groups=4)),
    ((1, 4, 5, 3, 2), (2, 3, 2, 2, 2), plain(3, stride=(1, 2, 1), w_dilation=(2, 1, 1))),
    ((2, 5, 5, 2), (1, 1, 2, 3), plain(2)),
    ((2, 5, 5, 2), (1, 1, 2, 3), plain(2, stride=(2, 3))),
    ((0, 5, 2), (3, 2, 3), plain(1)),
    ((2, 5, 0), (3, 0, 3), plain(1)),
    ((2, 0, 2), (3, 2, 3), plain(1, padding=((2, 3),))),
    ((2, 2, 2), (3, 2, 3), plain(1)),
    ((2, 4, 2), (3, 2, 0), plain(1)),
    ((2, 9, 2), (2, 2, 3), plain(1, stride=(3,), padding=((-2, -1),), x_dilation=(2,))),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "params"), SHAPES, ids=str)
def test_ranks_and_empty_axes(x_shape, w_shape, params):
    f = lambda x, w: ops.conv(x, w, **params)
    x, w = A(*x_shape), A(*w_shape)
    np.testing.assert_allclose(f(x, w), loop(x, w, **params), rtol=1e-10, atol=1e-10)
    check_grads(f, [x, w], order=2)
    for flags, size in itertools.product(FLAGS, (0, 1, 3)):
        args = [A(size, *v.shape) if b else v for v, b in zip((x, w), flags, strict=True)]
        check_batch(f, args, flags, size)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "complex64"])
def test_dtype_is_kept(dtype):
    x, w = (10 * A(2, 6, 2)).astype(dtype), (10 * A(3, 2, 3)).astype(dtype)
    out = ops.conv(x, w, **plain(1))
    assert out.dtype == dtype
    wide = {"int32": "int64", "complex64": "complex128"}.get(dtype, "float64")
    tol = {"float16": 2e-2, "int32": 0}.get(dtype, 1e-4)
    want = loop(x.astype(wide), w.astype(wide), **plain(1))
    np.testing.assert_allclose(out, want, rtol=tol, atol=tol * 10)


def test_complex_transpose_does_not_conjugate():
    x, w, ct = (A(*s) + 1j * A(*s) for s in [(1, 5, 1), (2, 1, 1), (1, 4, 1)])
    f = lambda x, w: [ops.conv(x, w, **plain(1))]
    tx, tw = (A(*s.shape) + 1j * A(*s.shape) for s in (x, w))
    _, (t,) = jvp(f, [x, w], [tx, tw])
    cx, cw = vjp(f, [x, w])[1]([ct])
    np.testing.assert_allclose(np.sum(cx * tx) + np.sum(cw * tw), np.sum(ct * t))


ERRORS = [
    ((2, 5, 3), (3, 2, 4), plain(1), r"C must be 2 \* groups"),
    ((2, 5, 4), (3, 2, 3), plain(1, groups=2), "O a multiple of groups"),
    ((2, 5, 5, 3), (3, 3, 4), plain(2), "same number of space axes"),
    ((2, 5, 3), (3, 3, 4), plain(1, stride=(0,)), "at least 1"),
    ((2, 5, 3), (3, 3, 4), plain(1, padding=()), "one entry for each"),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "params", "message"), ERRORS, ids=str)
def test_errors_name_the_layout(x_shape, w_shape, params, message):
    with pytest.raises(TypeError, match=message) as error:
        ops.conv.infer(type_of(A(*x_shape)), type_of(A(*w_shape)), **params)
    assert "[N, *space, C]" in str(error.value)


def test_dtypes_must_be_equal():
    with pytest.raises(TypeError, match="equal and numeric, not float32 and float64"):
        ops.conv.infer(type_of(A(2, 5, 3).astype("float32")), type_of(A(3, 3, 4)), **plain(1))


def test_flops():
    x, w = A(2, 8, 8, 4), A(3, 3, 2, 6)
    params = plain(2, groups=2)
    types = [type_of(x), type_of(w)]
    out = ops.conv.infer(*types, **params)
    assert ops.conv.flops(types, [out], **params) == 2 * (2 * 6 * 6 * 6) * 3 * 3 * 2


DEPTHWISE = [((2, 6, 5, 4), (3, 3, 1, 4), dict(stride=(1, 1), padding=((1, 1), (1, 1)),
                                               x_dilation=(1, 1), w_dilation=(1, 1))),
             ((2, 7, 5, 4), (3, 2, 1, 4), dict(stride=(2, 3), padding=((2, -1), (0, 1)),
                                               x_dilation=(1, 2), w_dilation=(2, 1))),
             ((3, 9, 2), (4, 1, 2), dict(stride=(1,), padding=((0, 0),), x_dilation=(1,),
                                         w_dilation=(2,)))]


@pytest.mark.parametrize(("x", "w", "params"), DEPTHWISE, ids=str)
def test_depthwise_gradient_by_taps_and_as_a_convolution(x, w, params, monkeypatch):
    x, w, params = A(*x), A(*w), {**params, "groups": w[-1]}
    conv = lambda w: [ops.conv(x, w, **params)]
    out, pull = vjp(conv, [w])
    ct = A(*out[0].shape)
    (by_taps,) = pull([ct])
    monkeypatch.setattr(sys.modules["lucidfn.ops.conv"], "_TAPS", 0)
    (as_conv,) = vjp(conv, [w])[1]([ct])
    np.testing.assert_allclose(by_taps, as_conv, rtol=1e-12, atol=1e-12)
    monkeypatch.undo()
    check_grads(lambda w: ops.conv(x, ops.mul(w, w), **params), [w])
    check_batch(lambda w, ct: vjp(conv, [w])[1]([ct])[0], [A(3, *w.shape), A(3, *ct.shape)],
                [True, True])
