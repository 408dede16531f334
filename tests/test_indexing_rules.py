"""Gather, scatter, dynamic slices and sorting: derivatives to second order, and batching."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import lucidfn  # noqa: F401
from lucidfn import ops
from lucidfn.core.record import record
from lucidfn.core.trace import type_of
from lucidfn.transforms.jvp import jvp
from lucidfn.transforms.linearize import vjp
from lucidfn.transforms.vmap import batch_flat

X = np.random.default_rng(0).normal(size=(4, 5, 3))
ROWS = np.array([[2], [0], [2], [-1]], np.int32)
PAIRS = np.array([[[2, 1], [0, 4]], [[2, 1], [3, 0]]], np.int32)
FAR = np.array([[2], [9], [2], [-1]], np.int32)
LANES = np.array([[[2], [2]], [[0], [1]], [[9], [9]], [[1], [-1]]], np.int32)
U_ROWS = np.random.default_rng(1).normal(size=(4, 5, 3))
U_LANES = np.random.default_rng(3).normal(size=(4, 2, 5))
U_PAIRS = np.random.default_rng(2).normal(size=(2, 2, 3))
TIED = np.array([[1.0, 2.0, 1.0, 3.0, 2.0], [0.5, 0.5, 0.5, 4.0, 1.0]])


def one(primitive: Any, **params: Any) -> Callable[..., list[Any]]:
    return lambda *xs: [primitive(*xs, **params)]


def first(primitive: Any, **params: Any) -> Callable[..., list[Any]]:
    return lambda *xs: primitive(*xs, **params)[:1]


def sizes(axes: tuple[int, ...], mode: str) -> dict[str, Any]:
    return {"axes": axes, "mode": mode}


# name, function of floats and integers, floats, integers
CASES = [
    ("gather rows", one(ops.gather, axes=(0,), mode="raise", fill=None), [X], [ROWS]),
    ("gather axis 1", one(ops.gather, axes=(1,), mode="raise", fill=None), [X], [ROWS]),
    ("gather pairs", one(ops.gather, axes=(0, 1), mode="raise", fill=None), [X], [PAIRS]),
    ("gather pairs turned", one(ops.gather, axes=(1, 0), mode="clip", fill=None), [X], [PAIRS]),
    ("gather none", one(ops.gather, axes=(), mode="raise", fill=None), [X], [ROWS[:, :0]]),
    ("gather fill", one(ops.gather, axes=(0,), mode="fill", fill=7.0), [X], [FAR]),
    ("gather clip", one(ops.gather, axes=(0,), mode="clip", fill=None), [X], [FAR]),
    ("gather lanes", one(ops.gather, axes=(1,), mode="raise", fill=None, lanes=1), [X], [ROWS]),
    ("gather lanes and pairs", one(ops.gather, axes=(3, 2), mode="raise", fill=None, lanes=2),
     [X[None].repeat(2, 0)[..., None]], [np.zeros((2, 4, 3, 2), np.int32)]),
    ("gather bytes", one(ops.gather, axes=(0,), mode="raise", fill=None), [X],
     [ROWS.astype(np.int8)]),
    *[(f"{s.name} {mode} {axes}", one(s, **sizes(axes, mode)), [X, u], [idx])
      for s in (ops.scatter_set, ops.scatter_add, ops.scatter_mul, ops.scatter_min,
                ops.scatter_max)
      for axes, mode, idx, u in (((0,), "raise", ROWS, U_ROWS), ((0, 1), "raise", PAIRS, U_PAIRS),
                                 ((0,), "drop", FAR, U_ROWS), ((0,), "clip", FAR, U_ROWS),
                                 ((1,), "raise", ROWS, U_ROWS[:, :4]))],
    *[(f"{s.name} lanes {mode}", one(s, lanes=1, **sizes((2,), mode)), [X, u], [idx])
      for s in (ops.scatter_set, ops.scatter_add, ops.scatter_mul, ops.scatter_min,
                ops.scatter_max)
      for mode, idx, u in (("raise", ROWS, U_ROWS[:, :, 0]), ("drop", LANES, U_LANES),
                           ("clip", LANES, U_LANES))],
    ("dynamic_slice", one(ops.dynamic_slice, sizes=(2, 5, 1)), [X],
     [np.int32(3), np.int32(0), np.int32(1)]),
    ("dynamic_update_slice", one(ops.dynamic_update_slice), [X, U_ROWS[:2, :5, :1]],
     [np.int32(3), np.int32(0), np.int32(1)]),
    ("sort", first(ops.sort, axis=1, num_keys=1), [X], []),
    ("sort two keys", lambda x, y: ops.sort(x, y, axis=0, num_keys=1), [X, U_ROWS], []),
    ("top_k", first(ops.top_k, k=2), [X], []),
]


def call(f: Callable[..., list[Any]], floats: list[Any], ints: list[Any]) -> Any:
    """Integer operands come after x, before the updates; dynamic starts come last."""
    if not ints or len(floats) == 1 or len(ints) > 1:
        return f(*floats, *ints)
    return f(floats[0], *ints, *floats[1:])


@pytest.mark.parametrize(("name", "f", "floats", "ints"), CASES, ids=[c[0] for c in CASES])
def test_derivatives(name: str, f: Any, floats: list[Any], ints: list[Any],
                     rng: np.random.Generator) -> None:
    def g(*xs: Any) -> list[Any]:
        outs = call(f, [ops.mul(x, x) for x in xs], ints)
        return [ops.reduce_sum(ops.sin(o), axes=tuple(range(o.ndim))) for o in outs[:1]]

    check(g, floats, rng)
    check(lambda *xs: gradient(g, xs), floats, rng)


def gradient(g: Any, xs: Any) -> list[Any]:
    _, backward = vjp(g, xs)
    return backward([np.ones(())])


def check(g: Any, xs: list[Any], rng: np.random.Generator, h: float = 1e-6) -> None:
    ts = [rng.normal(size=x.shape) for x in xs]
    outs, tangents = jvp(g, xs, ts)
    plus = g(*[x + h * t for x, t in zip(xs, ts, strict=True)])
    minus = g(*[x - h * t for x, t in zip(xs, ts, strict=True)])
    _, backward = vjp(g, xs)
    cts = [rng.normal(size=np.shape(o)) for o in outs]
    back = backward(cts)
    for o, t, p, m in zip(outs, tangents, plus, minus, strict=True):
        t = np.zeros(np.shape(o)) if t is None else t
        np.testing.assert_allclose(t, (p - m) / (2 * h), rtol=2e-6, atol=2e-6)
    forward = sum(np.sum(c * t) for c, t in zip(cts, tangents, strict=True) if t is not None)
    reverse = sum(np.sum(b * t) for b, t in zip(back, ts, strict=True))
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize(("name", "f", "floats", "ints"), CASES, ids=[c[0] for c in CASES])
def test_batching(name: str, f: Any, floats: list[Any], ints: list[Any], size: int,
                  rng: np.random.Generator) -> None:
    for batched in product((False, True), repeat=len(floats) + len(ints)):
        if not any(batched):
            continue
        mixed = lambda a, i: rng.permutation(a) if np.ndim(a) else (a + i) % 3
        args = [np.stack([mixed(a, i) for i in range(size)]) if b and size else
                np.empty((0, *np.shape(a)), a.dtype) if b else a
                for a, b in zip(floats + ints, batched, strict=True)]
        lanes = [[a[i] if b else a for a, b in zip(args, batched, strict=True)]
                 for i in range(size)]
        n = len(floats)
        run = lambda *xs: call(f, list(xs[:n]), list(xs[n:]))
        outs, _ = batch_flat(run, args, batched, size)
        expected = [run(*lane) for lane in lanes]
        for k, out in enumerate(outs):
            assert out.shape[0] == size
            for i in range(size):
                np.testing.assert_allclose(out[i], expected[i][k], rtol=1e-14)
                assert out.dtype == expected[i][k].dtype


def test_the_last_of_several_updates_gets_the_gradient() -> None:
    idx, u = np.array([[1], [1], [0]], np.int32), np.array([5.0, 6.0, 7.0])
    f = lambda u: [ops.scatter_set(np.zeros(3), idx, u, axes=(0,), mode="raise")]
    assert gradient_of(f, u, np.array([1.0, 2.0, 3.0])).tolist() == [0.0, 2.0, 1.0]


def gradient_of(f: Any, x: Any, ct: Any) -> Any:
    return vjp(f, [x])[1]([ct])[0]


def test_product_of_updates_differentiates_through_zeros(rng: np.random.Generator) -> None:
    idx = np.array([[1], [1], [0], [1], [0]], np.int32)
    for u in (np.array([2.0, 0.0, 3.0, 5.0, 0.0]), np.array([0.0, 0.0, 3.0, 5.0, 1.0])):
        def g(x: Any, u: Any) -> list[Any]:
            out = ops.scatter_mul(x, idx, u, axes=(0,), mode="raise")
            return [ops.reduce_sum(ops.mul(out, np.array([1.0, 2.0, 3.0])), axes=(0,))]
        x = np.array([1.5, 2.5, 3.5])
        check(g, [x, u], rng)
        check(lambda x, u: gradient(g, (x, u)), [x, u], rng)


def test_ties_share_equally() -> None:
    ct = np.arange(10.0).reshape(2, 5)
    got = gradient_of(lambda x: ops.sort(x, axis=1, num_keys=1), TIED, ct)
    # Row 0 sorts to 1 1 2 2 3, row 1 to .5 .5 .5 1 4.
    np.testing.assert_allclose(got, [[0.5, 2.5, 0.5, 4.0, 2.5], [6.0, 6.0, 6.0, 9.0, 8.0]])
    got = gradient_of(lambda x: ops.top_k(x, k=2)[:1], TIED, np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_allclose(got, [[0, 1.0, 0, 1.0, 1.0], [0, 0, 0, 3.0, 4.0]])
    x, u = np.array([1.0, 5.0, 2.0]), np.array([5.0, 5.0, 1.0])
    at = np.array([[1], [1], [0]], np.int32)
    f = lambda x, u: [ops.scatter_max(x, at, u, axes=(0,), mode="raise")]
    gx, gu = vjp(f, [x, u])[1]([np.ones(3)])
    np.testing.assert_allclose(gx, [0.5, 1 / 3, 1.0])
    np.testing.assert_allclose(gu, [1 / 3, 1 / 3, 0.5])


@pytest.mark.parametrize("f", [
    lambda: ops.gather(X, ROWS.astype(float), axes=(0,), mode="raise", fill=None),
    lambda: ops.gather(X, ROWS, axes=(0, 1), mode="raise", fill=None),
    lambda: ops.scatter_add(X, ROWS, U_PAIRS, axes=(0,), mode="raise"),
    lambda: ops.scatter_add(X, ROWS, U_ROWS.astype("f4"), axes=(0,), mode="raise"),
    lambda: ops.dynamic_slice(X, np.int32(0), sizes=(2, 2, 2)),
    lambda: ops.dynamic_slice(X, np.int32(0), np.int32(0), np.int32(0), sizes=(9, 2, 2)),
    lambda: ops.sort(X, X[0], axis=0, num_keys=1), lambda: ops.top_k(X, k=4)])
def test_operands_that_do_not_fit(f: Any) -> None:
    with pytest.raises(TypeError, match="got"):
        record(lambda: [f()], [])


def test_out_of_bounds_raises() -> None:
    with pytest.raises(IndexError, match="index 9 is out of bounds for axis 0 with size 4"):
        ops.gather(X, FAR, axes=(0,), mode="raise", fill=None)
    with pytest.raises(IndexError, match="index 9 is out of bounds for axis 0 with size 4"):
        ops.scatter_add(X, FAR, U_ROWS, axes=(0,), mode="raise")


def test_scatter_into_a_scalar() -> None:
    out = ops.scatter_add(np.float32(1), np.zeros((2, 0), np.int32), np.ones(2, "f4"), axes=(),
                          mode="raise")
    assert out == 3


@pytest.mark.parametrize(("name", "lanes", "axes", "rank"), [
    ("no lanes", 0, (1,), 3), ("a lane", 1, (1,), 3), ("a lane, last axis", 1, (2,), 3),
    ("two lanes", 2, (2,), 4), ("pairs", 1, (3, 1), 4)])
def test_rows(name: str, lanes: int, axes: tuple[int, ...], rank: int,
              rng: np.random.Generator) -> None:
    """Whatever a rule says can be cut along an axis gives that part of the whole."""
    n = 4
    x, at = rng.normal(size=(n,) * rank), rng.integers(0, n, (n,) * 3 + (len(axes),))
    where = {"axes": axes, "mode": "raise", "lanes": lanes}
    taken = ops.gather(x, at, fill=None, **where)
    found = cut_everywhere(ops.gather, [x, at], {**where, "fill": None})
    for scatter in (ops.scatter_add, ops.scatter_set, ops.scatter_max):
        found += cut_everywhere(scatter, [x, at, rng.normal(size=taken.shape)], where)
    assert found > (4 if lanes else 3)


def cut_everywhere(primitive: Any, args: list[Any], params: dict[str, Any]) -> int:
    types, out, found = [type_of(a) for a in args], primitive(*args, **params), 0
    for row_axes in product(*[(None, *range(a.ndim)) for a in args]):
        pairs = [(a, i) for a, i in zip(args, row_axes, strict=True) if i is not None]
        result = primitive.rows(row_axes, types, **params) if pairs else None
        if result is None or len({a.shape[i] for a, i in pairs} | {out.shape[result]}) > 1:
            continue
        found += 1
        for k in range(out.shape[result]):
            cut = [a if i is None else a.take([k], i) for a, i in zip(args, row_axes, strict=True)]
            np.testing.assert_array_equal(primitive(*cut, **params), out.take([k], result))
    return found
