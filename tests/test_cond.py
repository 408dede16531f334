"""lax.cond and lax.switch: values, derivatives, batches by rows, order of effects, messages."""

import warnings
from collections import deque

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax

F64 = "float64"


def f64(*values):
    return lnp.array(values, F64)


def branchy(x):
    """Smooth on both sides of 1.3, with residuals in both."""
    return lax.cond(x > 1.3, lambda x: lnp.sin(x) * x, lambda x: x ** 3 + 0.3, x)


def chosen(x):
    return lax.switch((2 * x).astype(int), [lambda x: x * x, lnp.exp, lambda x: 1.0 / x], x)


def by_python(x):
    return np.sin(x) * x if x > 1.3 else x ** 3 + 0.3


POINTS = f64(0.2, 0.6, 1.1, 1.6, 2.3)


# ------------------------------------------------------------------ values

def test_only_the_taken_branch_runs_and_both_forms_of_the_call_work():
    assert float(lax.cond(True, lambda x, y: x - y, lambda x, y: y, 5.0, 3.0)) == 2.0
    assert float(lax.cond(False, lambda x: x, lambda x: -x, operand=2.0)) == -2.0
    assert float(lax.cond(lnp.array(2), lambda: 1.0, lambda: 0.0)) == 1.0  # a number, not 0
    assert lax.cond(True, lambda x: "no" if x is not None else lnp.ones(2),
                    lambda x: lnp.zeros(2), operand=None).tolist() == [1.0, 1.0]


def test_trees_go_in_and_come_out():
    def f(p):
        return lax.cond(p["x"].sum() > 0, lambda p: {"a": p["x"], "b": (p["y"], None)},
                        lambda p: {"a": -p["x"], "b": (2 * p["y"], None)}, p)

    out = f({"x": f64(1.0, -3.0), "y": f64(1.0)})
    assert out["a"].tolist() == [-1.0, 3.0] and out["b"][0].tolist() == [2.0]
    assert out["b"][1] is None


@pytest.mark.parametrize("index,want", [(-3, 1.0), (0, 1.0), (1, 2.0), (2, 3.0), (99, 3.0)])
def test_an_index_out_of_range_is_clamped(index, want):
    branches = [lambda: 1.0, lambda: 2.0, lambda: 3.0]
    assert float(lax.switch(index, branches)) == want
    assert float(lf.jit(lambda i: lax.switch(i, branches))(index)) == want
    assert float(lax.switch(lnp.array(index % 256, "uint8"), branches)) == \
        (want if index >= 0 else 3.0)


def test_a_switch_of_one_branch_is_a_call():
    assert float(lax.switch(7, [lambda x: x + 1.0], 1.0)) == 2.0


def test_weak_outputs_adapt_to_strong_ones():
    out = lax.cond(True, lambda x: 0.0, lambda x: x, lnp.ones((), F64))
    assert out.dtype == np.float64 and float(out) == 0.0
    assert lax.cond(True, lambda x: 1, lambda x: x, lnp.ones(())).dtype == np.float32
    assert lax.cond(True, lambda: 1.0, lambda: 2.0).weak_type


def test_closed_over_arrays_may_change_without_a_new_recording():
    def f(w, x):
        return lax.cond(x > 0, lambda x: w * x, lambda x: w - x, x)

    assert float(f(2.0, 3.0)) == 6.0 and float(f(4.0, 3.0)) == 12.0
    assert float(lf.grad(f)(4.0, 3.0)) == 3.0 and float(lf.grad(f)(4.0, -3.0)) == 1.0


def test_disable_jit_runs_python():
    with lf.disable_jit():
        seen = []
        lax.cond(True, lambda: seen.append(1) or 1.0, lambda: seen.append(2) or 2.0)
    assert seen == [1]


# ------------------------------------------------------------------ transformations

@pytest.mark.parametrize("f", [branchy, chosen], ids=["cond", "switch"])
def test_every_transformation_agrees_to_second_order(f):
    value = np.array([float(f(x)) for x in POINTS])
    first = np.array([float(lf.grad(f)(x)) for x in POINTS])
    second = np.array([float(lf.grad(lf.grad(f))(x)) for x in POINTS])
    h = 1e-6
    slope = [(float(f(x + h)) - float(f(x - h))) / (2 * h) for x in POINTS]
    np.testing.assert_allclose(first, slope, rtol=1e-6)
    one = lnp.ones((), F64)
    for g, want in ((f, value), (lf.grad(f), first), (lf.grad(lf.grad(f)), second),
                    (lf.jacfwd(lf.grad(f)), second), (lf.grad(lf.jacfwd(f)), second),
                    (lambda x: lf.jvp(f, (x,), (one,))[1], first),
                    (lf.grad(lf.jit(f)), first), (lf.grad(lf.checkpoint(f)), first)):
        for run in (g, lf.jit(g)):
            np.testing.assert_allclose([float(run(x)) for x in POINTS], want, rtol=1e-12)
        np.testing.assert_allclose(lf.vmap(g)(POINTS), want, rtol=1e-12)
        np.testing.assert_allclose(lf.jit(lf.vmap(g))(POINTS), want, rtol=1e-12)
    total = lf.grad(lambda x: lf.vmap(f)(x).sum())
    np.testing.assert_allclose(total(POINTS), first, rtol=1e-12)
    np.testing.assert_allclose(lf.jit(total)(POINTS), first, rtol=1e-12)


def test_a_batch_of_no_rows_and_of_one():
    assert lf.vmap(branchy)(lnp.zeros(0, F64)).shape == (0,)
    assert lf.vmap(lf.grad(branchy))(lnp.zeros(0, F64)).shape == (0,)
    np.testing.assert_allclose(lf.vmap(branchy)(f64(0.5)), [by_python(0.5)])


def test_an_index_that_is_not_batched_chooses_once_for_all_rows():
    def f(p, x):
        return lax.cond(p, lambda x: x * x, lambda x: -x, x)

    text = str(lf.make_ir(lf.vmap(f, in_axes=(None, 0)))(True, POINTS))
    assert "switch[" not in text and "switch_rows" not in text and " switch " in text
    np.testing.assert_allclose(lf.vmap(f, in_axes=(None, 0))(lnp.array(True), POINTS),
                               POINTS * POINTS)


def test_gradients_of_what_all_rows_share_are_summed():
    def loss(w, x, conditional):
        def one(x):
            yes, no = (lambda x: lnp.tanh(w @ x).sum()), (lambda x: (w[0] * x).sum())
            if conditional:
                return lax.cond(x[0] > 0, yes, no, x)
            return lnp.where(x[0] > 0, yes(x), no(x))
        return lf.vmap(one)(x).sum()

    rng = np.random.default_rng(0)
    w, x = lnp.array(rng.normal(size=(3, 3))), lnp.array(rng.normal(size=(13, 3)))
    for transform in (lf.grad, lambda f, **k: lf.jit(lf.grad(f), static_argnums=2)):
        np.testing.assert_allclose(transform(loss)(w, x, True), lf.grad(loss)(w, x, False),
                                   rtol=1e-12)
    second = lambda c: lf.grad(lambda w: (lf.grad(loss)(w, x, c) ** 2).sum())(w)
    np.testing.assert_allclose(second(True), second(False), rtol=1e-11)


def test_batches_of_batches():
    def f(x, y, conditional):
        def one(x):
            def two(y):
                if conditional:
                    return lax.cond(y > x, lambda y: y * x * x, lambda y: lnp.sin(y * x), y)
                return lnp.where(y > x, y * x * x, lnp.sin(y * x))
            return lf.vmap(two)(y)
        return lf.vmap(one)(x)

    x, y = f64(0.1, 0.5, 0.9), f64(0.2, 0.4, 0.6, 0.95)
    np.testing.assert_allclose(f(x, y, True), f(x, y, False))
    for argnum in (0, 1):
        for outer in (lf.jacrev, lf.jacfwd, lf.hessian):
            np.testing.assert_allclose(outer(f, argnums=argnum)(x, y, True),
                                       outer(f, argnums=argnum)(x, y, False), atol=1e-13)


# ------------------------------------------------------------------ rows

def test_rows_that_do_not_take_a_branch_bring_no_nan_and_no_error():
    x = f64(-1.0, 4.0, -2.0, 9.0)
    f = lambda x: lax.cond(x > 0, lnp.sqrt, lambda x: 0.0 * x, x)
    with lf.debug_nans():
        np.testing.assert_allclose(lf.vmap(f)(x), [0.0, 2.0, 0.0, 3.0])
    np.testing.assert_allclose(lf.vmap(lf.grad(f))(x), [0.0, 0.25, 0.0, 1 / 6])
    table = f64(1.0, 2.0)
    take = lambda i: lax.cond(i < 2, lambda i: table[i], lambda i: lnp.zeros((), F64), i)
    assert lf.vmap(take)(lnp.array([0, 5, 1, 99])).tolist() == [1.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize("jit", [False, True])
def test_effects_run_in_the_taken_branch_only_and_in_order(jit):
    seen = deque()

    def f(x):
        def yes(x):
            lf.debug.callback(lambda v: seen.append(("yes", float(v))), x)
            return x

        def no(x):
            lf.debug.callback(lambda v: seen.append(("no", float(v))), x)
            return -x

        return lax.cond(x > 0, yes, no, x)

    run = lf.jit(f) if jit else f
    run(1.0), run(-2.0), lf.grad(run)(3.0)
    assert list(seen) == [("yes", 1.0), ("no", -2.0), ("yes", 3.0)]
    seen.clear()
    batched = lf.vmap(f)
    (lf.jit(batched) if jit else batched)(lnp.array([1.0, -2.0, 3.0, -4.0]))
    # First the branch of false, then that of true, each on its rows in their order.
    assert list(seen) == [("no", -2.0), ("no", -4.0), ("yes", 1.0), ("yes", 3.0)]


def test_a_fresh_list_that_a_callback_fills_is_not_confused_with_an_older_one():
    def run():
        seen = []
        lax.cond(True, lambda x: lf.debug.callback(lambda v: seen.append(float(v)), x) or x,
                 lambda x: x, 1.0)
        return seen

    assert run() == run() == [1.0]


def test_a_branch_runs_on_as_many_rows_as_take_it():
    sizes = deque()

    def slow(x):
        lf.debug.callback(lambda v: sizes.append(v.shape), x)
        return x * x

    x = lnp.arange(1000.0)
    out = lf.vmap(lambda x: lax.cond(x % 100 == 0, slow, lambda x: x, x))(x)
    np.testing.assert_allclose(out, np.where(x % 100 == 0, np.square(x), x))
    assert len(sizes) == 10  # one call for each lane that takes it


def test_residuals_of_a_shared_operand_are_not_copied_for_each_row():
    w = lnp.ones((40, 40), F64)
    ir = lf.make_ir(lf.grad(lambda w, x: lf.vmap(
        lambda x: lax.cond(x[0] > 0, lambda x: (w @ x).sum(), lambda x: x.sum(), x))(x).sum()))(
            w, lnp.ones((7, 40), F64))
    assert "float64[7,40,40]" not in str(ir).split("branches[0]")[0]
    assert max(v.type.size for e in ir.equations for v in e.outputs) == 1600


def test_random_keys_go_through():
    keys = lf.random.split(lf.random.key(0), 2)
    f = lambda x, k: lax.cond(x > 0, lambda k: lf.random.split(k)[0], lambda k: k, k)
    got = lf.random.key_data(lf.vmap(f)(lnp.array([1.0, -1.0]), keys))
    assert got[1].tolist() == lf.random.key_data(keys[1]).tolist()
    assert got[0].tolist() == lf.random.key_data(lf.random.split(keys[0])[0]).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one key in both branches is used once
        lf.jit(lambda p, k: lax.cond(p, lambda k: lf.random.normal(k),
                                     lambda k: lf.random.uniform(k), k))(True, keys[0])


def test_a_function_with_its_own_rule_in_a_branch():
    @lf.custom_vjp
    def f(x):
        return lnp.sin(x)

    f.defvjp(lambda x: (lnp.sin(x), x), lambda x, ct: (2.0 * ct * lnp.cos(x),))
    g = lf.grad(lambda x: lax.cond(x > 0, f, lambda x: x, x))
    want = [2 * np.cos(1.0), 1.0]
    np.testing.assert_allclose(lf.vmap(g)(f64(1.0, -1.0)), want)
    np.testing.assert_allclose([float(lf.jit(g)(x)) for x in f64(1.0, -1.0)], want)


# ------------------------------------------------------------------ messages

def message(error, f, *args):
    with pytest.raises(error) as found:
        f(*args)
    return str(found.value)


def test_the_predicate_must_be_a_boolean_scalar():
    text = message(TypeError, lax.cond, lnp.array([True, False]), lnp.sin, lnp.cos, 1.0)
    assert text.startswith("cond at test_cond.py:") and "got bool[2]" in text
    assert "lnp.any(pred)" in text and "lnp.where(pred, a, b)" in text
    text = message(TypeError, lax.cond, "yes", lnp.sin, lnp.cos, 1.0)
    assert "the predicate must be a boolean, got str 'yes'" in text


def test_branches_must_be_functions():
    text = message(TypeError, lax.cond, True, lnp.ones(2), lnp.zeros(2))
    assert "must be functions, got float32[2]" in text and "lnp.where(pred, a, b)" in text
    assert "lax.cond(pred, true_fun, false_fun, *operands)" in text
    text = message(TypeError, lax.switch, 0, [lnp.sin, 3.0], 1.0)
    assert "branches[1] is float32*[], which is not a function" in text
    text = message(TypeError, lax.switch, 0, lnp.sin, 1.0)
    assert "branches must be a list of functions" in text and "[f, g, h]" in text
    assert "give at least one" in message(ValueError, lax.switch, 0, [])


def test_an_index_must_be_an_integer_scalar():
    pair = [lambda: 1.0, lambda: 2.0]
    assert "convert it: .astype(int)" in message(TypeError, lax.switch, 1.5, pair)
    assert "use lax.cond" in message(TypeError, lax.switch, lnp.array(True), pair)
    assert "vmap" in message(TypeError, lax.switch, lnp.array([0, 1]), pair)
    assert "got str" in message(TypeError, lax.switch, "a", pair)


def test_outputs_that_differ_are_listed_with_their_paths_and_types():
    def yes(x):
        return {"a": x, "b": (x, x.astype("int32"))}

    def no(x):
        return {"a": x, "b": (x, x)}

    text = message(TypeError, lax.cond, True, yes, no, lnp.ones(3))
    lines = text.splitlines()
    assert "the branches must return the same types; convert one of them" in lines[0]
    assert any("output['b'][1]  float32[3]  false_fun" in line for line in lines)
    assert any("output['b'][1]  int32[3]  true_fun" in line for line in lines)
    assert "output['a']" not in text
    text = message(TypeError, lax.switch, 0, [lambda x: x, lambda x: x[:2]], lnp.ones(3))
    assert "the same shape" in text and "output  float32[2]  branches[1]" in text


def test_outputs_of_other_structure_are_explained():
    text = message(TypeError, lax.cond, True, lambda x: (x, x), lambda x: [x], 1.0)
    assert "the same structure" in text and "true_fun" in text and "false_fun" in text


def test_operands_are_arrays_and_given_once():
    text = message(TypeError, lax.cond, True, lambda s: 1.0, lambda s: 2.0, {"mode": "a"})
    assert "operands[0]['mode'] is str 'a', which is not an array; close over" in text
    with pytest.raises(TypeError, match="operands by position and operand= too"):
        lax.cond(True, lnp.sin, lnp.cos, 1.0, operand=2.0)


def test_a_python_if_under_jit_names_cond():
    with pytest.raises(lf.errors.TracerBoolConversionError, match=r"lax\.cond\("):
        lf.jit(lambda x: x if x > 0 else -x)(1.0)
