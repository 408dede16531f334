"""lax.while_loop and fori_loop with a traced trip count: in every transformation, and nested."""

import functools
import tracemalloc
from collections import deque

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax

F64 = "float64"
ONE = lnp.ones((), F64)


def f64(*values):
    return lnp.array(values, F64)


def grow(x, every=None):
    return lax.while_loop(lambda c: c < 4.0, lambda c: c * 1.7 + 0.1 * lnp.sin(c), x,
                          checkpoint_every=every)


def grow_unrolled(x):
    while x < 4.0:
        x = x * 1.7 + 0.1 * lnp.sin(x)
    return x


def side(x):
    return lax.cond(x > 1.3, lambda x: lnp.sin(x) + 2.0, lambda x: x ** 2 + 0.3, x)


def rows(x):
    return lax.scan(lambda c, t: (lnp.sin(c) + t * x, c * t), x, f64(1, 2, 3))[0]


def chosen(x):
    return lax.switch((x * 2).astype(int), [lambda x: x * x, lnp.exp, lambda x: 1 / x], x)


def dynamic(x):
    return lax.fori_loop(0, (x * 3).astype(int) + 1, lambda i, c: c * x + i, x)


def accumulate(f, x, **how):
    """f at each step of a loop, on its carry."""
    return lax.while_loop(lambda c: c[0] < 20.0, lambda c: (c[0] * 1.5, c[1] + f(c[0] * 0.3)),
                          (x, x * x), **how)[1]


NESTED = {
    "while": grow,
    "while, checkpointed": functools.partial(grow, every=2),
    "fori": dynamic,
    "while(cond)": lambda x: lax.while_loop(
        lambda c: c < 9.0, lambda c: side(c) * c * 0.3 + c * 1.2, x),
    "while(while)": functools.partial(accumulate, grow),
    "while(while), checkpointed": functools.partial(accumulate, grow, checkpoint_every=2),
    "while(scan)": functools.partial(accumulate, rows),
    "while(switch)": functools.partial(accumulate, chosen),
    "while(fori)": functools.partial(accumulate, dynamic),
    "while(checkpoint)": functools.partial(accumulate, lf.checkpoint(side)),
    "cond(while)": lambda x: lax.cond(x > 1.0, grow, lambda x: x * x, x),
    "switch(while,scan,fori)": lambda x: lax.switch((x * 2).astype(int), [grow, rows, dynamic], x),
    "scan(while)": lambda x: lax.scan(lambda c, t: (grow(c * t * 0.4), c * t), x,
                                      f64(1, 2, 3))[0],
    "scan(fori)": lambda x: lax.scan(lambda c, t: (dynamic(c * t * 0.4) * 0.1, dynamic(c * t)), x,
                                     f64(1, 2, 3))[1].sum(),
    "checkpoint(while)": lf.checkpoint(grow),
    "while(vmap(cond))": lambda x: lax.while_loop(
        lambda c: c.sum() < 30.0, lambda c: lf.vmap(side)(c) + c * 1.2,
        x * f64(1, 0.5, 0.1)).sum(),
    "while(vmap(while))": lambda x: lax.while_loop(
        lambda c: c.sum() < 30.0, lambda c: lf.vmap(grow)(c * 0.2) + c * 1.2,
        x * f64(1, 0.5, 0.1)).sum(),
    "vmap(scan(while))": lambda x: lf.vmap(lambda y: lax.scan(
        lambda c, t: (grow(c * t * 0.4), c * t), y, f64(1, 2, 3))[0])(x * f64(1, 0.5, 0.1)).sum(),
    "vmap(vmap(while))": lambda x: lf.vmap(lambda y: lf.vmap(lambda z: lax.while_loop(
        lambda c: c < 3 * y + 1, lambda c: c * 1.3 + z * x, z))(f64(0.2, 0.8, 1.2)))(
            x * f64(1, 0.5, 0.1)).sum(),
}
POINTS = f64(0.42, 1.1, 2.3)


@pytest.mark.parametrize("name", NESTED)
def test_every_transformation_agrees_to_second_order(name):
    f = NESTED[name]
    h = 1e-6
    value, first, second = [np.array([float(g(x)) for x in POINTS])
                            for g in (f, lf.grad(f), lf.grad(lf.grad(f)))]
    for g, want in ((f, first), (lf.grad(f), second)):
        slope = np.array([(float(g(x + h)) - float(g(x - h))) / (2 * h) for x in POINTS])
        np.testing.assert_allclose(want, slope, rtol=1e-6, atol=1e-7)
    along = lambda x: lf.jvp(f, (x,), (ONE,))[1]
    for g, want in ((f, value), (lf.grad(f), first), (lf.grad(lf.grad(f)), second),
                    (along, first), (lf.jacfwd(lf.grad(f)), second), (lf.grad(along), second),
                    (lf.grad(lf.jit(lf.grad(f))), second)):
        for run in (g, lf.jit(g)):
            np.testing.assert_allclose([float(run(x)) for x in POINTS], want, rtol=1e-11,
                                       atol=1e-12)
        np.testing.assert_allclose(lf.vmap(g)(POINTS), want, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(lf.jit(lf.vmap(g))(POINTS), want, rtol=1e-11, atol=1e-12)
    total = lf.grad(lambda x: lf.vmap(f)(x).sum())
    np.testing.assert_allclose(total(POINTS), first, rtol=1e-11)
    np.testing.assert_allclose(lf.jit(total)(POINTS), first, rtol=1e-11)


# ------------------------------------------------------------------ values

def test_trees_weak_carries_and_no_step_at_all():
    out = lax.while_loop(lambda c: c["i"] < 3, lambda c: {"i": c["i"] + 1, "x": (c["x"][0] * 2,)},
                         {"i": 0, "x": (lnp.ones(2),)})
    assert int(out["i"]) == 3 and out["x"][0].tolist() == [8.0, 8.0]
    assert lax.while_loop(lambda c: c < 3, lambda c: c + ONE, 0).dtype == np.float64
    assert float(grow(f64(7.0)[0])) == 7.0
    assert float(lf.grad(grow)(7.0)) == 1.0 and float(lf.jit(lf.grad(grow))(7.0)) == 1.0


def test_reverse_mode_equals_the_unrolled_gradient():
    rng = np.random.default_rng(0)
    w, x = lnp.array(rng.normal(size=(5, 5)) / 3), lnp.array(rng.normal(size=5))

    def steps(w, x, unrolled, every=None):
        step = lambda c: (c[0] + 1, lnp.tanh(w @ c[1]) + 0.1 * c[1] * c[0])
        carry = (0, x)
        if unrolled:
            for i in range(17):
                carry = step((i, carry[1]))
        else:
            carry = lax.while_loop(lambda c: c[0] < 17, step, carry, checkpoint_every=every)
        return (carry[1] ** 2).sum()

    for every in (None, 1, 4, 17, 40):
        for transform in (lambda f: f, lambda f: lf.jit(f, static_argnums=(2, 3))):
            found = transform(lf.grad(steps, (0, 1)))(w, x, False, every)
            for a, b in zip(found, lf.grad(steps, (0, 1))(w, x, True), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


def peak(f, *args):
    f(*args)
    tracemalloc.start()
    f(*args)
    bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return bytes


@pytest.mark.numpy_only("weighs what NumPy allocates")
@pytest.mark.parametrize("jit", [False, True])
def test_memory_of_a_checkpointed_loop_grows_like_n_over_k_plus_k(jit):
    def loss(x, n, every):
        step = lambda c: (c[0] + 1, lnp.sin(c[1]))
        return lax.while_loop(lambda c: c[0] < n, step, (0, x), checkpoint_every=every)[1].sum()

    x = lnp.ones(1000, F64)
    row = 8 * 1000
    run = lambda n, every: (lf.jit(lf.grad(loss), static_argnums=(1, 2)) if jit else
                            lf.grad(loss))(x, n, every)
    np.testing.assert_allclose(run(400, 20), run(400, None), rtol=1e-12)
    whole = peak(run, 400, None) / row
    assert whole > 400
    for n, every in ((400, 20), (1600, 40), (400, 5)):
        rows = peak(run, n, every) / row
        # Arrays that grow have up to twice the rows, and are there twice while they do.
        assert rows < 4 * (n / every + every) + 20, (n, every, rows)


def test_forward_mode_keeps_nothing():
    def f(x):
        return lax.while_loop(lambda c: c[0] < 400, lambda c: (c[0] + 1, lnp.sin(c[1])), (0, x))[1]

    x = lnp.ones(1000, F64)
    for run in (lambda: lf.jvp(f, (x,), (x,)), lambda: lf.jit(
            lambda x: lf.jvp(f, (x,), (x,)))(x)):
        assert peak(run) < 40 * 8000


def test_each_row_of_a_batch_stops_by_itself():
    seen = deque()

    def f(x):
        def body(c):
            lf.debug.callback(lambda v: seen.append(float(v)), c[1])
            return c[0] + 1, c[1] * 2.0
        return lax.while_loop(lambda c: c[1] < 8.0, body, (0, x))

    steps, out = lf.vmap(f)(lnp.array([1.0, 8.0, 3.0]))
    assert steps.tolist() == [3, 0, 2] and out.tolist() == [8.0, 8.0, 12.0]
    assert list(seen) == [1.0, 3.0, 2.0, 6.0, 4.0]


def test_rows_that_have_stopped_bring_no_nan_and_no_error():
    def f(x):  # the step after the last would divide by zero
        return lax.while_loop(lambda c: c[0] > 0.0, lambda c: (c[0] - 1.0, c[1] + 1.0 / c[0]),
                              (x, 0.0 * x))[1]

    x = f64(3.0, 1.0, 0.0)
    np.testing.assert_allclose(lf.vmap(f)(x), [1 + 1 / 2 + 1 / 3, 1.0, 0.0])
    np.testing.assert_allclose(lf.vmap(lf.grad(f))(x), [-1 - 1 / 4 - 1 / 9, -1.0, 0.0])
    table = f64(1.0, 2.0, 3.0)
    g = lambda n: lax.fori_loop(0, n, lambda i, c: c + table[i], 0.0 * ONE)
    np.testing.assert_allclose(lf.vmap(g)(lnp.array([3, 0, 2])), [6.0, 0.0, 3.0])


def test_a_batch_of_no_rows():
    assert lf.vmap(grow)(lnp.zeros(0, F64)).shape == (0,)
    assert lf.vmap(lf.grad(grow))(lnp.zeros(0, F64)).shape == (0,)
    assert lf.vmap(dynamic)(lnp.zeros(0, F64)).shape == (0,)


def test_a_condition_that_is_the_same_for_all_rows_is_asked_once():
    f = lambda n, x: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * x), (0, x))[1]
    text = str(lf.make_ir(lf.vmap(f, in_axes=(None, 0)))(3, POINTS))
    assert "switch_rows" not in text
    np.testing.assert_allclose(lf.vmap(f, in_axes=(None, 0))(3, POINTS), POINTS ** 4)
    np.testing.assert_allclose(lf.vmap(lf.grad(f, 1), in_axes=(None, 0))(3, POINTS),
                               4 * POINTS ** 3)


@pytest.mark.parametrize("jit", [False, True])
def test_effects_run_in_order(jit):
    seen = deque()

    def body(c):
        lf.debug.callback(lambda v: seen.append(int(v)), c)
        return c + 1

    f = lambda x: lax.while_loop(lambda c: c < 4, body, x)
    (lf.jit(f) if jit else f)(1)
    assert list(seen) == [1, 2, 3]


def test_random_keys_are_carried():
    def f(x, key):
        def body(c):
            key, sub = lf.random.split(c[0])
            return key, c[1] * (1.0 + lf.random.uniform(sub))
        return lax.while_loop(lambda c: c[1] < 5.0, body, (key, x))[1]

    keys, xs = lf.random.split(lf.random.key(0), 3), lnp.array([1.0, 0.5, 7.0])
    for g in (f, lf.grad(f)):
        want = [float(g(x, k)) for x, k in zip(xs, keys, strict=True)]
        np.testing.assert_allclose(lf.vmap(g)(xs, keys), want, rtol=1e-6)
        np.testing.assert_allclose(lf.jit(lf.vmap(g))(xs, keys), want, rtol=1e-6)
        np.testing.assert_allclose([float(lf.jit(g)(x, k)) for x, k in zip(xs, keys, strict=True)],
                                   want, rtol=1e-6)


def test_collectives_inside():
    f = lambda x: lax.while_loop(lambda c: lax.pmax(c, "i") < 8.0,
                                 lambda c: c + lax.psum(0.5 * c, "i"), x)
    x = lnp.array([1.0, 2.0])
    together = lf.vmap(f, axis_name="i")
    assert together(x).tolist() == lf.jit(together)(x).tolist() == [11.5, 12.5]
    g = lambda x: lax.cond(x > 0, lambda x: x + lax.psum(x, "i"), lambda x: -x, x)
    assert lf.vmap(g, axis_name="i")(lnp.array([1.0, -1.0, 2.0])).tolist() == [3.0, 1.0, 4.0]


def test_carries_are_updated_in_place_but_never_what_the_caller_holds():
    def f(w, z):
        def body(c):
            i, a, b = c
            return i + 1, lax.cond(i == 0, lambda: w, lambda: b), a.at[0].add(1.0)
        return lax.while_loop(lambda c: c[0] < 4, body, (0, z, z))[1:]

    w, z = lnp.ones(4000), lnp.zeros(4000)
    for run in (f, lf.jit(f)):
        a, b = run(w, z)
        assert (float(a[0]), float(b[0])) == (2.0, 3.0)
        assert float(w[0]) == 1.0 and not z.any()


def test_programs_say_which_sizes_only_the_run_shows():
    text = str(lf.make_ir(lf.grad(grow))(ONE))
    assert "float64[?]" in text and "loop[carries=" in text


@pytest.mark.numpy_only("reads the program that is written for NumPy")
def test_a_jitted_loop_is_a_loop_of_python():
    text = lf.jit(lambda x: lax.while_loop(lambda c: c < 9.0, lambda c: c * c, x)).source(3.0)
    assert "while i < limit" in text and "if not (a < 9.0): break" in text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64"])
def test_other_dtypes(dtype):
    f = lambda x: lax.while_loop(lambda c: abs(c) < 100.0, lambda c: c * c * 1.5, x).real
    x = lnp.array(2.0, dtype)
    assert f(x).dtype == (np.float32 if dtype == "complex64" else x.dtype)
    assert float(lf.grad(f)(x).real) == pytest.approx(17496.0, rel=0.01)


# ------------------------------------------------------------------ fori_loop

def test_a_traced_trip_count():
    f = lambda n, x: lax.fori_loop(0, n, lambda i, c: c * x + i, x)
    for n in (0, 1, 5):
        want = f(n, 0.5)
        assert float(lf.jit(f)(n, 0.5)) == pytest.approx(float(want))
        assert float(lf.jit(lf.grad(f, 1))(n, 0.5)) == pytest.approx(float(lf.grad(f, 1)(n, 0.5)))
    assert float(lf.jit(f)(-3, 0.5)) == 0.5
    between = lambda a, b: lax.fori_loop(a, b, lambda i, c: c + i, 0)
    assert int(lf.jit(between)(3, 7)) == 18 and int(lf.jit(lambda b: between(3, b))(7)) == 18
    assert lf.jit(between)(lnp.array(3, "int64"), 7).dtype == np.int64
    assert lf.vmap(between)(lnp.array([0, 3]), lnp.array([4, 3])).tolist() == [6, 0]


@pytest.mark.parametrize("jit", [False, True])
def test_a_checkpointed_fori_loop(jit):
    def f(x, n, every):
        return lax.fori_loop(1, n, lambda i, c: step(c, i, x), x, checkpoint_every=every)

    step = lambda c, i, x: lnp.sin(c) * x + 0.1 * i * ONE
    run = lf.jit(lf.grad(f), static_argnums=2) if jit else lf.grad(f)
    for every in (1, 3, 50):
        want = float(lf.grad(f)(0.7 * ONE, 9, None))
        assert float(run(0.7 * ONE, 9, every)) == pytest.approx(want)
    assert "checkpoint_every" in message(ValueError, f, 1.0, 3, -1)


# ------------------------------------------------------------------ messages

def message(error, f, *args, **kwargs):
    with pytest.raises(error) as found:
        f(*args, **kwargs)
    return str(found.value)


def test_a_carry_that_changes_is_listed_with_its_paths_and_types():
    text = message(TypeError, lax.while_loop, lambda c: c["i"] < 3,
                   lambda c: {"i": c["i"] + 1, "x": c["x"].astype("int32")},
                   {"i": 0, "x": lnp.ones(3)})
    assert text.startswith("while_loop at test_while.py:")
    assert "init_val['x']  float32[3] -> int32[3]" in text and "convert it" in text
    text = message(TypeError, lax.while_loop, lambda c: c[0] < 3, lambda c: c[0], (1, 2))
    assert "unlike the carry that it gets" in text
    text = message(TypeError, lf.jit(lambda n: lax.fori_loop(
        0, n, lambda i, c: lnp.stack([c, c]), 1.0)), 3)
    assert "fori_loop" in text and "every step must keep its shape" in text


def test_a_condition_must_be_one_boolean():
    body = lambda c: c + 1
    text = message(TypeError, lax.while_loop, lambda c: c < 3, body, lnp.zeros(3))
    assert "must return a boolean without axes, got bool[3]" in text and "lnp.any" in text
    text = message(TypeError, lax.while_loop, lambda c: c, body, 1)
    assert "got int32[]; compare it, as in x != 0" in text
    text = message(TypeError, lax.while_loop, lambda c: (c < 3, c), body, 1)
    assert "return one comparison" in text


def test_functions_and_options_are_checked():
    assert "needs a function" in message(TypeError, lax.while_loop, True, lambda c: c, 1)
    assert "needs a function" in message(TypeError, lax.while_loop, lambda c: c < 1, 3, 1)
    text = message(ValueError, lax.while_loop, lambda c: c < 1, lambda c: c, 1, checkpoint_every=0)
    assert "checkpoint_every must be a positive integer, got 0" in text
    text = message(TypeError, lax.while_loop, lambda c: True, lambda c: c, {"mode": "a"})
    assert "init_val['mode'] is str 'a', which is not an array" in text


def test_a_python_while_under_jit_names_while_loop():
    with pytest.raises(lf.errors.TracerBoolConversionError, match="lax.while_loop"):
        lf.jit(grow_unrolled)(1.0)


@pytest.mark.parametrize("transform", [lambda f: f, lf.jit, lf.grad])
def test_an_error_inside_names_the_line_of_the_user_and_the_step(transform):
    table = lnp.ones(3)

    def f(x):
        return lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] + 1, c[1] + table[c[0]]),
                              (0, x))[1]

    with pytest.raises(IndexError, match=r"test_while.py:\d+.*\(in step 3 of while\)"):
        lf.block_until_ready(transform(f)(0.0))
