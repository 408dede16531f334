"""Shape functions and padding: NumPy is the oracle, gradients by weights, batching by loops."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.errors import ConcretizationTypeError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
Y = X[0]
V = np.array([5.0, 1.0, 0.0, 3.0], np.float32)
T = np.array([0.0, 0.0, 3.0, 0.0, 1.0, 0.0], np.float32)

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("reshape", (X, (4, 6)), {}), ("reshape", (X, -1), {}), ("reshape", (X, (3, -1)), {}),
    ("reshape", (X, (4, 6)), {"order": "F"}), ("reshape", (X, (1, 24, 1)), {}),
    ("ravel", (X,), {}), ("ravel", (X,), {"order": "F"}), ("transpose", (X,), {}),
    ("transpose", (X, (1, 0, -1)), {}), ("permute_dims", (X, (2, 0, 1)), {}),
    ("matrix_transpose", (X,), {}), ("moveaxis", (X, 0, -1), {}),
    ("moveaxis", (X, (0, 1), (2, 0)), {}), ("swapaxes", (X, 0, -1), {}), ("rollaxis", (X, 2), {}),
    ("rollaxis", (X, 0, 3), {}), ("squeeze", (X[:, :1],), {}),
    ("squeeze", (X[:1, :1],), {"axis": 0}),
    ("expand_dims", (X, 1), {}), ("expand_dims", (X, (0, -1)), {}),
    ("broadcast_to", (V, (3, 4)), {}), ("broadcast_arrays", (X, V), {}),
    ("concatenate", ([X, X],), {}), ("concatenate", ([X, X[:, :1]],), {"axis": 1}),
    ("concatenate", ([X, V],), {"axis": None}), ("concatenate", ([V, V],), {"dtype": "float64"}),
    ("concat", ([Y, Y],), {"axis": -1}), ("stack", ([X, X],), {}),
    ("stack", ([V, V],), {"axis": -1}),
    ("unstack", (X,), {"axis": 1}), ("vstack", ([V, Y],), {}), ("hstack", ([V, V],), {}),
    ("hstack", ([Y, Y],), {}), ("dstack", ([Y, Y],), {}), ("dstack", ([V, V],), {}),
    ("column_stack", ([V, V],), {}), ("column_stack", ([Y[:, 0], Y],), {}),
    ("block", ([[Y, Y], [Y, Y]],), {}), ("block", ([V, V],), {}), ("block", ([[V], [V]],), {}),
    ("append", (V, V[:1]), {}), ("append", (Y, Y), {"axis": 0}),
    ("split", (X, 2), {}), ("split", (X, [1, 3]), {"axis": 2}), ("split", (X, [3, 1]), {"axis": 2}),
    ("array_split", (X, 3), {"axis": 2}), ("array_split", (V, 6), {}), ("hsplit", (V, 2), {}),
    ("hsplit", (X, 3), {}), ("vsplit", (X, 2), {}), ("dsplit", (X, [1]), {}),
    ("tile", (V, 3), {}), ("tile", (Y, (2, 1)), {}), ("tile", (V, (2, 1, 2)), {}),
    ("tile", (X, (2, 3)), {}), ("tile", (V, 0), {}), ("tile", (V, ()), {}),
    ("repeat", (V, 2), {}), ("repeat", (Y, 3), {"axis": 1}),
    ("repeat", (Y, [1, 0, 2]), {"axis": 0}),
    ("repeat", (Y, 2), {}), ("repeat", (V, [0, 2, 1, 3]), {}), ("repeat", (V, [2]), {}),
    ("flip", (X,), {}), ("flip", (X, (0, 2)), {}), ("fliplr", (Y,), {}), ("flipud", (Y,), {}),
    ("roll", (X, 5), {}), ("roll", (X, -1), {"axis": 1}), ("roll", (X, (1, 2)), {"axis": (0, 2)}),
    ("roll", (X, 1), {"axis": (0, 1)}), ("roll", (V[:0], 3), {}),
    ("rot90", (Y,), {}), ("rot90", (X, -1, (2, 1)), {}), ("rot90", (Y, 2), {}),
    ("rot90", (Y, 4), {}),
    ("atleast_1d", (3.0,), {}), ("atleast_2d", (V,), {}), ("atleast_3d", (V,), {}),
    ("atleast_3d", (Y,), {}), ("atleast_2d", (V, 1.0), {}), ("resize", (V, (2, 3)), {}),
    ("resize", (X, 5), {}), ("delete", (V, 1), {}), ("delete", (Y, [0, -1]), {"axis": 1}),
    ("delete", (Y, slice(0, 3, 2)), {"axis": 0}), ("delete", (V, V > 2), {}),
    ("delete", (Y, 3), {}),
    ("insert", (V, 1, 9.0), {}), ("insert", (V, [0, 4], [7.0, 8.0]), {}),
    ("insert", (Y, 1, 9.0), {"axis": 1}), ("insert", (Y, 0, V), {"axis": 0}),
    ("insert", (Y, [1], V), {"axis": 0}), ("insert", (Y, 1, [[1.0], [2.0], [3.0]]), {"axis": 1}),
    ("insert", (V, 2, [1.0, 2.0]), {}), ("insert", (V, slice(0, 2), 5.0), {}),
    ("insert", (Y, [1, 1], 3.0), {"axis": 1}),
    ("trim_zeros", (T,), {}), ("trim_zeros", (T,), {"trim": "f"}), ("trim_zeros", (T * 0,), {}),
]


def each(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (tuple, list)) else [x]


@pytest.mark.parametrize(("name", "args", "options"), CALLS,
                         ids=[f"{c[0]}{i}" for i, c in enumerate(CALLS)])
def test_values(name: str, args: Any, options: Any) -> None:
    if not hasattr(np, name):
        pytest.skip(f"this NumPy has no {name}")
    expected = each(getattr(np, name)(*args, **options))
    for g, e in zip(each(getattr(lnp, name)(*args, **options)), expected, strict=True):
        np.testing.assert_array_equal(g, e)
        assert g.shape == np.shape(e)
    if name in ("trim_zeros", "block") or not isinstance(args[0], np.ndarray):
        return
    traced = lf.jit(lambda x: getattr(lnp, name)(x, *args[1:], **options))
    for g, e in zip(each(traced(args[0])), expected, strict=True):
        np.testing.assert_array_equal(g, e)
    lanes = np.stack([args[0], args[0] * 2 + 1, -args[0]])
    batched = each(lf.vmap(lambda x: getattr(lnp, name)(x, *args[1:], **options))(lanes))
    for i in range(3):
        for g, e in zip(batched, each(getattr(np, name)(lanes[i], *args[1:], **options)),
                        strict=True):
            np.testing.assert_array_equal(g[i], e)


@pytest.mark.parametrize(("name", "args", "options"), CALLS,
                         ids=[f"{c[0]}{i}" for i, c in enumerate(CALLS)])
def test_gradients(name: str, args: Any, options: Any) -> None:
    """Linear functions: the gradient of <w, f(x)> is found from f of unit vectors."""
    x = args[0]
    if not isinstance(x, np.ndarray) or not hasattr(np, name) or name == "trim_zeros":
        return
    f = lambda x, m: each(getattr(m, name)(x, *args[1:], **options))
    rng = np.random.default_rng(0)
    ws = [rng.normal(size=np.shape(o)).astype(np.float32) for o in f(x, np)]
    got = lf.grad(lambda x: sum((o * w).sum() for o, w in zip(f(x, lnp), ws, strict=True)))(
        lnp.array(x))
    t = rng.normal(size=x.shape)
    base = f(x.astype(float), np)
    slope = sum(((a - b) * w).sum() for a, b, w in zip(f(x + t, np), base, ws, strict=True))
    np.testing.assert_allclose((np.asarray(got) * t).sum(), slope, rtol=1e-4, atol=1e-4)


WIDTHS: list[Any] = [1, (2, 1), ((0, 3), (2, 0)), ((5, 4), (9, 7)), 0, {0: 1}, {-1: (2, 3)}]
MODES: list[tuple[Any, dict[str, Any]]] = [
    ("constant", {}), ("constant", {"constant_values": 3}),
    ("constant", {"constant_values": ((1, 2), (3, 4))}), ("constant", {"constant_values": (1, 2)}),
    ("edge", {}), ("reflect", {}), ("reflect", {"reflect_type": "odd"}), ("symmetric", {}),
    ("symmetric", {"reflect_type": "odd"}), ("wrap", {}), ("linear_ramp", {}),
    ("linear_ramp", {"end_values": (4, -2)}), ("maximum", {}), ("minimum", {"stat_length": 2}),
    ("mean", {}), ("mean", {"stat_length": ((1, 2), (2, 3))}), ("median", {}),
    ("median", {"stat_length": 2}), ("empty", {}),
]


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize(("mode", "options"), MODES, ids=str)
def test_pad(mode: Any, options: Any, widths: Any) -> None:
    x = np.random.default_rng(3).normal(size=(3, 4))
    if isinstance(widths, dict):
        plain: Any = [widths.get(i, widths.get(i - 2, 0)) for i in range(2)]
        plain = [p if isinstance(p, tuple) else (p, p) for p in plain]
    else:
        plain = widths
    expected = np.pad(x, plain, mode, **options)
    got = lnp.pad(lnp.array(x), widths, mode, **options)
    if mode == "empty":
        assert got.shape == expected.shape
        return
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(lf.jit(lambda x: lnp.pad(x, widths, mode, **options))(x), expected,
                               rtol=1e-12, atol=1e-12)
    w, t = np.random.default_rng(4).normal(size=(2, *expected.shape)), np.random.default_rng(
        5).normal(size=x.shape)
    g = lf.grad(lambda x: (lnp.pad(x, widths, mode, **options) * w[0]).sum())(lnp.array(x))
    h = 1e-6
    slope = ((np.pad(x + h * t, plain, mode, **options) - np.pad(x - h * t, plain, mode, **options))
             * w[0]).sum() / (2 * h)
    np.testing.assert_allclose((np.asarray(g) * t).sum(), slope, rtol=1e-6, atol=1e-7)


def test_pad_details() -> None:
    assert lnp.pad(lnp.arange(3), 2, "mean").tolist() == np.pad(np.arange(3), 2, "mean").tolist()
    assert lnp.pad([1.0], 3, "reflect").tolist() == [1.0] * 7
    assert lf.grad(lambda c: lnp.pad(V, (1, 2), constant_values=c).sum())(2.0) == 3.0
    double = lambda v, w, axis, options: v.at[:w[0]].set(options["fill"])
    assert lnp.pad([1.0, 2.0], (2, 0), double, fill=9).tolist() == [9, 9, 1, 2]
    for bad, text in ((lambda: lnp.pad(V, -1), "negative"),
    (lambda: lnp.pad(V, 1, "up"), "no mode"),
                      (lambda: lnp.pad(V, ((1, 1), (1, 1), (1, 1))), "does not fit"),
                      (lambda: lnp.pad(V[:0], 1, "edge"), "is empty"),
                      (lambda: lnp.pad(V, 1, "edge", constant_values=1), "takes no")):
        with pytest.raises(ValueError, match=text):
            bad()


def test_traced_arguments() -> None:
    roll = lf.jit(lambda x, k: lnp.roll(x, k, 1))
    for k in (-5, 0, 2):
        np.testing.assert_array_equal(roll(X, k), np.roll(X, k, 1))
    repeat = lf.jit(lambda x, n: lnp.repeat(x, n, total_repeat_length=6))
    assert repeat(V, np.array([1, 0, 2, 3])).tolist() == np.repeat(V, [1, 0, 2, 3]).tolist()
    assert repeat(V, np.array([1, 1, 1, 1])).tolist() == [*V.tolist(), 3.0, 3.0]
    delete = lf.jit(lambda x, i: lnp.delete(x, i))
    assert delete(V, 1).tolist() == [5, 0, 3] and delete(V, -1).tolist() == [5, 1, 0]
    with pytest.raises(ConcretizationTypeError, match="total_repeat_length=n"):
        lf.jit(lambda x, n: lnp.repeat(x, n))(V, np.array([1, 0, 2, 3]))


def test_r_and_c() -> None:
    cases = [(lnp.r_[V, 1.0, V], np.r_[V, 1.0, V]), (lnp.r_[0:5, 7], np.r_[0:5, 7]),
             (lnp.r_[0:1:5j], np.r_[0:1:5j]), (lnp.c_[V, V], np.c_[V, V]),
             (lnp.c_[Y, Y[:, 0]], np.c_[Y, Y[:, 0]]), (lnp.r_["0,2", V, V], np.r_["0,2", V, V]),
             (lnp.r_["1", Y, Y], np.r_["1", Y, Y]), (lnp.r_["0,2,0", V, V], np.r_["0,2,0", V, V])]
    for got, expected in cases:
        np.testing.assert_allclose(got, expected)
    assert lnp.s_[1:2, ...] == np.s_[1:2, ...]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_moveaxis_and_transpose(shape: list[int], data: Any) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    order = data.draw(st.permutations(range(len(shape))))
    np.testing.assert_array_equal(lnp.transpose(x, order), x.transpose(order))
    i, j = data.draw(st.tuples(*[st.integers(-len(shape), len(shape) - 1)] * 2))
    np.testing.assert_array_equal(lnp.moveaxis(x, i, j), np.moveaxis(x, i, j))
    np.testing.assert_array_equal(lnp.swapaxes(x, i, j), x.swapaxes(i, j))


@pytest.mark.parametrize(("f", "text"), [
    (lambda: lnp.reshape(X, (5, 5)), "24 elements"), (lambda: lnp.reshape(X, (-1, -1)), "24 elem"),
    (lambda: lnp.squeeze(X, 0), "has size 2, not 1"), (lambda: lnp.transpose(X, (0, 1)), "all 3"),
    (lambda: lnp.transpose(X, (0, 0, 1)), "twice"),
    (lambda: lnp.expand_dims(X, 9), "out of bounds"),
    (lambda: lnp.broadcast_to(V, (3,)), "does not broadcast"),
    (lambda: lnp.broadcast_shapes((2,), (3,)), "do not broadcast"),
    (lambda: lnp.stack([V, V[:2]]), "one shape"), (lambda: lnp.concatenate([]), "at least one"),
    (lambda: lnp.concatenate([1.0, 2.0]), "lnp.stack"), (lambda: lnp.split(V, 3), "array_split"),
    (lambda: lnp.concatenate([Y, V]), "axis"),
])
def test_bad_input(f: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        f()


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_bits(axis: int | None, order: str) -> None:
    x = (np.arange(30).reshape(10, 3) % 4 == 1).astype(np.uint8)
    packed = np.packbits(x, axis, order)
    np.testing.assert_array_equal(lnp.packbits(x, axis, order), packed)
    for count in (None, 9, -3, 40):
        expected = np.unpackbits(packed, axis, count, order)
        got = lf.jit(lambda p: lnp.unpackbits(p, axis, count, order))(packed)  # noqa: B023
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == np.uint8


PARTS = [
    ("split", lambda x: lnp.split(x, 8), 8), ("uneven", lambda x: lnp.array_split(x, 5), 5),
    ("places", lambda x: lnp.split(x, [0, 3, 3, 7]), 5), ("unstack", lnp.unstack, 8),
    ("iteration", list, 8), ("lax.split", lambda x: lf.lax.split(x, (3, 5)), 2),
    ("lax.unstack", lf.lax.unstack, 8),
]


@pytest.mark.parametrize(("name", "parts", "count"), PARTS, ids=[p[0] for p in PARTS])
def test_a_split_and_its_gradient_are_one_equation_each(name: str, parts: Any, count: int) -> None:
    x = np.arange(16, dtype=np.float32).reshape(8, 2)
    total = lambda x: sum([(p * p).sum() * (i + 1) for i, p in enumerate(parts(x))])
    assert len(parts(lnp.array(x))) == count
    weights = np.concatenate([np.full(len(p) if np.ndim(p) > 1 else 1, i + 1)
                              for i, p in enumerate(parts(lnp.array(x)))])
    for g in (lf.grad(total), lf.jit(lf.grad(total))):
        np.testing.assert_array_equal(g(x), 2 * x * weights[:, None])
    rows = lf.vmap(lambda row: lnp.stack([p.sum() for p in parts(row)]))(np.stack([x, 2 * x]))
    np.testing.assert_array_equal(rows[1], [2 * np.asarray(p).sum() for p in parts(lnp.array(x))])
    text = str(lf.make_ir(lf.grad(total))(x))
    assert text.count("split") == 1 and "pad" not in text and "slice" not in text


def test_parts_are_not_overwritten_by_the_buffers_of_others() -> None:
    def f(x: Any) -> Any:
        a, b = lnp.split(x * 2.0, 2)
        c = a + 1.0
        return c * b, a

    x = np.arange(4096, dtype=np.float32)
    for got, want in zip(lf.jit(f)(x), f(lnp.array(x)), strict=True):
        np.testing.assert_array_equal(got, want)
