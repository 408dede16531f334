"""`scan` and what stands on it: values, every transformation, second order, errors, one trace."""

import re
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax, tree
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

RNG = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return np.asarray(RNG.normal(size=shape))


def unrolled(f: Any, carry: Any, xs: Any = None, length: int | None = None,
             reverse: bool = False) -> Any:
    """scan as a Python loop: what every test compares with."""
    leaves, carry = tree.leaves(xs), tree.map(lnp.asarray, carry)
    n = leaves[0].shape[0] if leaves else length
    ys = []
    for i in reversed(range(n)) if reverse else range(n):
        carry, y = f(carry, tree.map(lambda x, i=i: lnp.asarray(x)[i], xs))
        ys.append(y)
    if reverse:
        ys.reverse()
    return carry, tree.map(lambda *rows: lnp.stack([lnp.asarray(r) for r in rows]), *ys)


# A scan for each way in which consts, carries, rows and ys can take part in a derivative.
def rnn(scan: Any, w: Any, h: Any, xs: Any) -> Any:
    return scan(lambda h, x: (lnp.tanh(h @ w + x), lnp.sum(h * x)), h, xs)


def swap(scan: Any, a: Any, b: Any, xs: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        a, b = carry
        return (b * x, a + 1.0), {"a": a, "both": (a * b, None)}
    return scan(step, (a, b), xs)


def late(scan: Any, w: Any, xs: Any) -> Any:
    """A carry that starts to move after two steps; one that never does; one that is reset."""
    def step(carry: Any, x: Any) -> Any:
        p, q, n, r = carry
        return (q * 1.5, lnp.sin(x * w) + p, n + 1, lnp.zeros_like(r)), (p * n, r)
    zero = lnp.zeros((), "float64")
    return scan(step, (zero, zero, 0, w), xs)


def of_consts(scan: Any, w: Any, h: Any) -> Any:
    """Residuals of consts alone, and no xs."""
    return scan(lambda c, _: (c * lnp.sin(w) + lnp.exp(w), None), h, None, length=4)


def backwards(scan: Any, w: Any, xs: Any) -> Any:
    return scan(lambda c, x: (c * x + w, c * c), w, xs, reverse=True)


def nested(scan: Any, w: Any, h: Any, xs: Any) -> Any:
    def outer(h: Any, x: Any) -> Any:
        h, ys = scan(lambda c, v: (lnp.sin(c * v) + w, c), h, x)
        return h, lnp.sum(ys) * x
    return scan(outer, h, xs)


CASES = {
    "rnn": (rnn, (array(3, 3), array(2, 3), array(4, 2, 3))),
    "swap": (swap, (array(), array(), array(5))),
    "late": (late, (array(), array(4))),
    "of_consts": (of_consts, (array(3), array(3))),
    "backwards": (backwards, (array(2), array(3, 2))),
    "nested": (nested, (array(), array(), array(3, 2))),
}


@pytest.mark.parametrize("name", CASES)
def test_as_the_unrolled_loop(name: str) -> None:
    f, args = CASES[name]
    ours, plain = (lambda *a: f(lax.scan, *a)), (lambda *a: f(unrolled, *a))
    assert_allclose(ours(*args), plain(*args))
    check_jit(ours, args)
    loss = lambda g: lambda *a: sum(lnp.sum(lnp.sin(x)) for x in tree.leaves(g(*a)))
    every = tuple(range(len(args)))
    for order in (lambda g: lf.grad(g, every), lambda g: lf.jacfwd(g, every),
                  lambda g: lf.hessian(g, every), lambda g: lf.jit(lf.grad(g, every)),
                  lambda g: lf.grad(lf.jit(g), every), lambda g: lf.jit(lf.hessian(g, every)),
                  lambda g: lf.grad(lf.checkpoint(g), every),
                  lambda g: lf.jacrev(lf.jacrev(g, every), every)):
        assert_allclose(order(loss(ours))(*args), order(loss(plain))(*args))


@pytest.mark.parametrize("name", CASES)
def test_derivatives_and_batches(name: str) -> None:
    f, args = CASES[name]
    check_grads(lambda *a: f(lax.scan, *a), args)
    check_batch(lambda *a: f(lax.scan, *a), [np.stack([a, a * 2.0]) for a in args])
    loss = lambda *a: sum(lnp.sum(lnp.sin(x)) for x in tree.leaves(f(lax.scan, *a)))
    for i in range(len(args)):  # one argument batched, in a place that is not the first
        axes = [None] * len(args)
        axes[i] = args[i].ndim
        wide = [np.stack([a, a * 0.5], -1) if j == i else a for j, a in enumerate(args)]
        check_batch(lambda *a: f(lax.scan, *a), wide, in_axes=tuple(axes))
        check_batch(lf.grad(loss, tuple(range(len(args)))), wide, in_axes=tuple(axes))


def test_linear_transpose_with_a_counter() -> None:
    f = lambda x: lax.fori_loop(0, 3, lambda i, c: c * (i + 2.0), x)
    (ct,) = lf.linear_transpose(f, 1.0)(1.0)
    assert float(ct) == 24.0

    def g(x: Any) -> Any:
        return lax.scan(lambda c, _: ((c[0] + 1, c[1] * c[0]), c[1] * c[0]), (1, x), None,
                        length=3)[1]

    (ct,) = lf.linear_transpose(g, lnp.ones(2))(lnp.ones((3, 2)))
    assert ct.tolist() == [9.0, 9.0]


# ------------------------------------------------------------------ carries, trees, sizes

def test_both_ways_over_trees() -> None:
    xs = {"a": lnp.arange(4.0), "b": lnp.ones((4, 2))}
    step = lambda carry, x: (carry * 2 + x["a"], {"carry": carry, "b": x["b"] * x["a"]})
    last, ys = lax.scan(step, lnp.asarray(0.0), xs)
    assert last == 11.0 and ys["carry"].tolist() == [0.0, 0.0, 1.0, 4.0]
    last, ys = lax.scan(step, lnp.asarray(0.0), xs, reverse=True)
    assert last == 34.0 and ys["carry"].tolist() == [17.0, 8.0, 3.0, 0.0]
    assert ys["b"][3].tolist() == [3.0, 3.0]

def test_numbers_as_carries_are_promoted() -> None:
    total, ys = lax.scan(lambda c, x: (c + x, c), 0, lnp.array([0.5, 1.5]))
    assert total.dtype == lnp.float32 and ys.tolist() == [0.0, 0.5]
    assert lax.scan(lambda c, _: (c * 2, None), 1, None, length=3)[0].weak
    assert lax.scan(lambda c, x: (c + x, None), 1.0, lnp.ones(2, "bfloat16"))[0].dtype.name == \
        "bfloat16"
    flag, seen = lax.scan(lambda c, x: (c & x, c), True, lnp.array([True, False, True]))
    assert not bool(flag) and seen.tolist() == [True, True, False]
    with lf.config.override(default_float="float64"):
        assert lax.scan(lambda c, x: (c + x, None), 0.0, lnp.ones(2))[0].dtype == "float64"


def test_trees_none_and_empty() -> None:
    init = {"a": lnp.ones(2), "n": None, "t": (lnp.zeros(()), [])}
    carry, ys = lax.scan(lambda c, x: ({**c, "a": c["a"] + x}, (None, {"y": c["a"]})), init,
                         lnp.ones(3))
    assert carry["n"] is None and carry["t"][1] == [] and ys[0] is None
    assert ys[1]["y"].shape == (3, 2) and carry["a"].tolist() == [4.0, 4.0]
    for jit in (lambda f: f, lf.jit):
        carry, ys = jit(lambda x: lax.scan(lambda c, x: (c + x, c * 2), 1.0, x))(lnp.ones((0,)))
        assert float(carry) == 1.0 and ys.shape == (0,)
        (g,) = jit(lambda x: lf.vjp(lambda x: lax.scan(lambda c, x: (c * x, None), x, lnp.ones(0)
                                                       )[0], x)[1](2.0))(3.0)
        assert float(g) == 2.0


def test_a_constant_as_carry_and_as_y() -> None:
    for jit in (lambda f: f, lf.jit):
        c, (a, b, d) = jit(lambda: lax.scan(lambda c, _: (2.0, (c, 1, True)), 1.0, None,
                                            length=3))()
        assert float(c) == 2.0 and a.tolist() == [1.0, 2.0, 2.0]
        assert b.tolist() == [1, 1, 1] and d.tolist() == [True] * 3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8", "int32", "uint8",
                                   "complex64", "bool"])
def test_every_kind_of_dtype(dtype: str) -> None:
    xs = lnp.array([[1, 0], [1, 1], [0, 1]], dtype)
    step = (lambda c, x: (c | x, c)) if dtype == "bool" else (lambda c, x: (c * 2 + x, c - x))
    for shape in ((2,), ()):
        rows = xs if shape else xs[:, 0]
        init = lnp.zeros(shape, dtype)
        want = unrolled(step, init, rows)
        for got in (lax.scan(step, init, rows), lf.jit(lambda a, b: lax.scan(step, a, b))(
                init, rows)):
            for a, b in zip(got, want, strict=True):
                assert a.dtype == b.dtype == dtype
                np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_random_keys_as_rows() -> None:
    keys = lf.random.split(lf.random.key(0), 4)
    step = lambda c, k: (c + lf.random.normal(k, (2,)), None)
    got, _ = lax.scan(step, lnp.zeros(2), keys)
    assert_allclose(got, unrolled(step, lnp.zeros(2), keys)[0])

    def walk(key: Any, _: Any) -> Any:
        key, now = lf.random.split(key)
        return key, lf.random.uniform(now)

    _, ys = lf.jit(lambda k: lax.scan(walk, k, None, length=3))(lf.random.key(1))
    assert len(set(ys.tolist())) == 3


def test_the_body_is_recorded_once_and_length_does_not_matter() -> None:
    seen: list[int] = []

    def step(c: Any, x: Any) -> Any:
        seen.append(1)
        return lnp.tanh(c) + x, c

    f = lambda xs: lnp.sum(lax.scan(step, lnp.zeros(()), xs)[1])
    for n in (3, 1000):
        seen.clear()
        lf.clear_caches()
        lf.jit(lf.hessian(f)).program(lnp.ones(n)) if n < 10 else lf.jit(lf.grad(f)).program(
            lnp.ones(n))
        assert len(seen) == 1
    sizes = {n: len(str(lf.jit(lf.grad(f)).program(lnp.ones(n)))) for n in (100, 900)}
    assert sizes[100] == sizes[900]


# ------------------------------------------------------------------ map, associative_scan, fori

def test_map() -> None:
    x = array(7, 3)
    f = lambda r: {"sum": lnp.sum(r * r), "row": r[::-1]}
    want = lf.vmap(f)(x)
    for size in (None, 1, 2, 7, 10):
        assert_allclose(lax.map(f, x, batch_size=size), want)
    g = lambda x: lnp.sum(lax.map(lambda r: lnp.sum(lnp.sin(r)), x, batch_size=3))
    assert_allclose(lf.grad(g)(x), np.cos(x))
    assert_allclose(lf.jit(lf.grad(g))(x), np.cos(x))
    assert lax.map(lambda pair: pair[0] + pair[1], (lnp.ones(3), lnp.ones(3))).tolist() == [2] * 3


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n: int, reverse: bool) -> None:
    x = array(2, n, 3)
    flip = (lambda a: np.flip(a, 1)) if reverse else (lambda a: a)
    for axis in (1, -2):
        got = lax.associative_scan(lnp.add, lnp.array(x), reverse=reverse, axis=axis)
        assert_allclose(got, flip(np.cumsum(flip(x), 1)))
    m = array(n, 2, 2)
    combine = (lambda a, b: b @ a) if reverse else (lambda a, b: a @ b)
    got = lax.associative_scan(combine, lnp.array(m), reverse=reverse)
    if n:
        step = lambda c, a: (combine(c, a) if reverse else c @ a,) * 2
        assert_allclose(got, unrolled(step, lnp.eye(2, dtype="float64"), m, reverse=reverse)[1])
        f = lambda x: lax.associative_scan(
            lambda a, b: {"m": a["m"] * b["m"], "v": a["v"] * b["m"] + b["v"]},
            {"m": lnp.sin(x), "v": x}, reverse=reverse)["v"]
        check_grads(f, (array(n),))
        check_batch(f, (array(2, n),))
        check_jit(f, (array(n),))


def test_fori_loop() -> None:
    f = lambda x: lax.fori_loop(2, 6, lambda i, c: lnp.sin(c) * i, x)
    want = lambda x: unrolled(lambda c, i: (lnp.sin(c) * i, None), x, np.arange(2.0, 6.0))[0]
    assert_allclose(f(np.float64(0.3)), want(lnp.asarray(0.3, "float64")))
    check_grads(f, (array(2),))
    check_batch(f, (array(3),))
    assert float(lax.fori_loop(5, 2, lambda i, c: c + 1, 7.0)) == 7.0
    assert lax.fori_loop(0, 3, lambda i, c: c + i, 0).tolist() == 3
    assert float(lax.fori_loop(lnp.array(0), np.int64(3), lambda i, c: c + i, 0.0)) == 3.0
    half = lnp.ones((), "float16")
    assert lax.fori_loop(0, 3, lambda i, c: c * i, half).dtype == "float16"  # i is weak


def test_disable_jit_runs_python() -> None:
    seen: list[float] = []

    def step(c: Any, x: Any) -> Any:
        seen.append(float(c))
        return c + x, c

    with lf.config.override(disable_jit=True):
        c, ys = lax.scan(step, 0.0, lnp.ones(3), reverse=True)
        assert lax.fori_loop(0, 3, lambda i, c: c + float(c), 1.0) == 8.0
    assert seen == [0.0, 1.0, 2.0] and float(c) == 3.0 and ys.tolist() == [2.0, 1.0, 0.0]


# ------------------------------------------------------------------ in place, effects

def test_updates_of_a_carry_leave_the_callers_array() -> None:
    x = lnp.zeros(1000)
    step = lambda c, i: (c.at[i].set(i * 2.0), c[0])
    for jit in (lambda f: f, lf.jit):
        out, seen = jit(lambda x: lax.scan(step, x, lnp.arange(5)))(x)
        assert out[:6].tolist() == [0, 2, 4, 6, 8, 0] and float(lnp.sum(x)) == 0.0

    def twice(c: Any, i: Any) -> Any:  # the old carry is still needed after the update
        a, b = c
        return (a.at[i].add(1.0), a), lnp.sum(b)

    for jit in (lambda f: f, lf.jit):
        (a, b), ys = jit(lambda x: lax.scan(twice, (x, x), lnp.arange(4)))(x)
        assert float(lnp.sum(a)) == 4.0 and float(lnp.sum(b)) == 3.0
        assert ys.tolist() == [0.0, 0.0, 1.0, 2.0] and float(lnp.sum(x)) == 0.0


def loops_in(source: str) -> dict[str, str]:
    """The text of each loop of a compiled program."""
    return {part.split("(")[0]: part for part in re.split(r"(?m)^def ", source)
            if part.startswith("scan")}


@pytest.mark.numpy_only("reads the program that is written for NumPy")
def test_an_update_of_the_carry_is_in_place() -> None:
    def f(x: Any) -> Any:
        def step(c: Any, i: Any) -> Any:  # read before and after the update is asked for
            y = c[i]
            c = c.at[i].set(y + i)
            block = lax.dynamic_slice(c, (i,), (2,))
            return lax.dynamic_update_slice(c, block * 2.0, (i,)).at[0].add(1.0), y
        return lax.scan(step, x, lnp.arange(3))

    x = lnp.ones(2000)
    loop = loops_in(lf.jit(f).source(x))["scan0"]
    assert loop.count(" put(") == 1 and loop.count("update_block(") == 2
    assert loop.count("copy()") == 2
    for got in (lf.jit(f)(x), f(x)):
        want = unrolled(lambda c, i: (lambda y: (lambda c: (c.at[i].set(c[i] * 2.0).at[i + 1].set(
            c[i + 1] * 2.0).at[0].add(1.0), y))(c.at[i].set(y + i)))(c[i]), x, lnp.arange(3))
        assert_allclose(got, want)
    assert float(lnp.sum(x)) == 2000.0


@pytest.mark.numpy_only("reads the program that is written for NumPy")
def test_work_is_done_outside_the_loop() -> None:
    def f(params: Any, xs: Any) -> Any:
        u, w, b, v = params

        def step(h: Any, x: Any) -> Any:
            h = lnp.tanh(x @ u + h @ w + lnp.exp(b))
            return h, h @ v
        return lnp.sum(lax.scan(step, lnp.zeros((2, 8), "float64"), xs)[1] ** 2)

    params, xs = (array(4, 8), array(8, 8) * 0.3, array(8), array(8, 16)), array(10, 2, 4)
    forward = loops_in(lf.jit(f).source(params, xs))
    assert forward["scan0"].count("dot") == 1 and "exp" not in forward["scan0"]
    backward = loops_in(lf.jit(lf.grad(f)).source(params, xs))
    assert [part.count("dot(") for part in backward.values()] == [1, 1]
    plain = lambda params, xs: sum(lnp.sum(y ** 2) for y in unrolled(
        lambda h, x: (lambda h: (h, h @ params[3]))(lnp.tanh(
            x @ params[0] + h @ params[1] + lnp.exp(params[2]))),
        lnp.zeros((2, 8), "float64"), xs)[1])
    assert_allclose(lf.jit(lf.grad(f))(params, xs), lf.grad(plain)(params, xs))


@pytest.mark.numpy_only("reads the program that is written for NumPy")
def test_sums_over_the_steps_of_every_kind() -> None:
    def f(scan: Any, w: Any, a: Any, xs: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            s, t, u, p, n, h = c
            h = lnp.sin(h + x)
            return (s + h.T @ x, t + lnp.sum(h, 0), u + (x @ w).T, p + (h @ a + x @ w),
                    n - h, h), None
        z = lambda *shape: lnp.ones(shape, "float64")
        return scan(step, (z(3, 3), z(3), z(3, 2), z(2, 3), z(2, 3), z(2, 3)), xs)[0]

    args = array(3, 3), array(3, 3), array(5, 2, 3)
    want = f(unrolled, *args)
    assert_allclose(f(lax.scan, *args), want)
    check_jit(lambda *a: f(lax.scan, *a), args)
    source = lf.jit(lambda *a: f(lax.scan, *a)[:5]).source(*args)
    assert "dot" not in loops_in(source)["scan0"]


@pytest.mark.numpy_only("reads the program that is written for NumPy")
def test_numbers_are_computed_by_operators() -> None:
    f = lambda x: lax.fori_loop(0, 100, lambda i, c: lnp.where(
        c > 2.0, -c / 3.0, c * 0.999 + i), x)
    loop = loops_in(lf.jit(f).source(1.0))["scan0"]
    assert not re.search(r"multiply|add|divide|where|greater", loop)
    assert_allclose(lf.jit(f)(1.0), unrolled(lambda c, i: (lnp.where(
        c > 2.0, -c / 3.0, c * 0.999 + i), None), 1.0, lnp.arange(100.0))[0])
    for dtype, top in (("int32", 2 ** 31 - 1), ("uint8", 255), ("int64", 2 ** 63 - 1)):
        g = lf.jit(lambda x: lax.fori_loop(0, 2, lambda i, c: c * 2 + 1, x))
        x = np.asarray(top, dtype)
        with np.errstate(all="ignore"):
            want = ((x * x.dtype.type(2) + x.dtype.type(1)) * x.dtype.type(2)) + x.dtype.type(1)
        assert int(g(x)) == int(want)


@pytest.mark.numpy_only("reads the program that is written for NumPy")
def test_gates_share_an_exponential() -> None:
    def f(w: Any, xs: Any) -> Any:
        step = lambda h, x: (lf.nn.functional.sigmoid(h @ w + x),) * 2
        return lnp.sum(lax.scan(step, xs[0], xs)[1] ** 2)

    xs = array(4, 2, 128) * np.array([1.0, 200.0])[:, None]  # both tails
    w = array(128, 128) * 0.1
    assert "logistic_both" in lf.jit(lf.grad(f)).source(w, xs)
    assert_allclose(lf.jit(lf.grad(f))(w, xs), lf.grad(lambda w, xs: lnp.sum(unrolled(
        lambda h, x: (lf.nn.functional.sigmoid(h @ w + x),) * 2, xs[0], xs)[1] ** 2))(w, xs))


def test_effects_run_in_order() -> None:
    seen: list[float] = []
    step = lambda c, x: (lf.debug.callback(lambda v: seen.append(float(v)), c), c + x)[1:] * 2
    for jit in (lambda f: f, lf.jit):
        seen.clear()
        jit(lambda x: lax.scan(step, 0.0, x)[0])(lnp.ones(3))
        assert seen == [0.0, 1.0, 2.0]


# ------------------------------------------------------------------ messages

def error(kind: Any, *parts: str) -> Any:
    return pytest.raises(kind, match="(?s)" + ".*".join(parts))


def test_messages() -> None:
    x = lnp.ones(3)
    with error(TypeError, r"scan at test_scan.py:\d+", "must return the carry at the types",
               r"init\['h'\] +float32\[\] -> float32\[3\]"):
        lax.scan(lambda c, v: ({"h": c["h"] + x}, None), {"h": lnp.zeros(())}, x)
    with error(TypeError, r"astype", r"init +int32\[\] -> float32\[\]"):
        lax.scan(lambda c, v: (c + v, None), lnp.zeros((), int), x)
    with error(TypeError, "unlike the carry", r"\['b'\]"):
        lax.scan(lambda c, v: ({"a": v, "b": v}, None), {"a": 0.0}, x)
    with error(TypeError, "must return a pair"):
        lax.scan(lambda c, v: c, 0.0, x)
    with error(ValueError, "length=-1", "negative"):
        lax.scan(lambda c, v: (c, None), 0.0, None, length=-1)
    with error(ValueError, r"xs\['b'\] has 2 rows, but xs\['a'\] has 3"):
        lax.scan(lambda c, v: (c, None), 0.0, {"a": x, "b": x[:2]})
    with error(ValueError, "has 3 rows, but length=4"):
        lax.scan(lambda c, v: (c, None), 0.0, x, length=4)
    with error(ValueError, "needs length="):
        lax.scan(lambda c, v: (c, None), 0.0)
    with error(ValueError, r"xs\[1\] is float32\*?\[\], which has no axis"):
        lax.scan(lambda c, v: (c, None), 0.0, (x, 1.0))
    with error(TypeError, r"init\['a'\] is str"):
        lax.scan(lambda c, v: (c, None), {"a": "text"}, x)
    with error(TypeError, "must be an integer"):
        lax.fori_loop(0, 1.5, lambda i, c: c, 0.0)
    with error(TypeError, "fori_loop", r"init_val +int32\[\] -> float32\[\]"):
        lax.fori_loop(0, 3, lambda i, c: c * 0.5, lnp.ones((), int))
    with error(ValueError, "no axis 1"):
        lax.associative_scan(lnp.add, x, axis=1)
    with error(TypeError, "scan", "function"):
        lax.scan(0.0, x, x)  # type: ignore[arg-type]


def test_an_index_out_of_bounds_names_the_step() -> None:
    f = lf.jit(lambda x: lax.scan(lambda c, i: (c + x[i], None), 0.0, lnp.arange(5)))
    with error(IndexError, "step 3"):
        lf.block_until_ready(f(lnp.ones(3)))


def test_a_leaked_tracer_is_named() -> None:
    kept: list[Any] = []

    def step(c: Any, x: Any) -> Any:
        kept.append(c)
        return c + x, None

    lax.scan(step, 0.0, lnp.ones(3))
    with error(lf.errors.UnexpectedTracerError, "scan of"):
        kept[0] + 1.0
