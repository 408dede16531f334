"""Control flow on MLX: values, gradients, batches and compiled forms as on NumPy."""

import functools

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax
from lucidfn.scipy.sparse.linalg import cg

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")

pytestmark = pytest.mark.gpu
X = np.array([0.4, 0.9, 1.3, 2.1], "float32")
XS = np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(6, 2)


def scanned(x, reverse=False, length=None):
    def body(c, r):
        return (lnp.sin(c[0]) + r * x, c[1] + 1), (c[0] * r, c[1])
    rows = lnp.linspace(0.1, 0.6, 6).astype("float32") if length is None else \
        lnp.zeros((length,), "float32")
    (c, n), (ys, counts) = lax.scan(body, (x, 0), rows, reverse=reverse)
    return c + lnp.sum(ys * (counts + 1)) + n


def grow(x, every=None):
    return lax.while_loop(lambda c: c < 4.0, lambda c: c * 1.7 + 0.1 * lnp.sin(c), x,
                          checkpoint_every=every)


def dynamic(x):
    return lax.fori_loop(0, (x * 3).astype("int32") + 1, lambda i, c: c * x + i, x)


def kept(x):
    """A loop that keeps what an inner loop of unknown length kept."""
    return lax.while_loop(lambda c: c[0] < 9.0, lambda c: (c[0] * 1.4, c[1] + grow(c[0] * 0.3)),
                          (x, x * x))[1]


def chosen(x):
    return lax.switch((x * 2).astype("int32"), [lambda x: x * x, lnp.exp, lambda x: 1 / x], x)


def condition(x):
    return lax.cond(x > 1.0, lambda x: lnp.log(x) * x, lambda x: x ** 3, x)


def of_rows(x):
    return lnp.sum(lf.vmap(lambda a: condition(a) * chosen(a * x))(
        lnp.linspace(0.2, 2.0, 7).astype("float32")))


def root_of(x):
    return lax.custom_root(
        lambda y: y ** 3 + y - x, x, lambda f, y: grow_newton(f, y),
        lambda g, b: b / g(lnp.ones_like(b)))


def grow_newton(f, y):
    return lax.fori_loop(0, 8, lambda i, y: y - f(y) / (3 * y ** 2 + 1), y)


def solved(x):
    a = lnp.array([[3.0, 1.0], [1.0, 2.0]], "float32") * x
    out = cg(lambda v: a @ v, lnp.stack([x, x * x]), tol=1e-6)
    return lnp.sum(out[0] if isinstance(out, tuple) else out)


def named(x):
    policy = lf.checkpoint_policies.save_only_these_names("kept")
    f = lf.checkpoint(lambda x: lnp.sin(lf.checkpoint_name(lnp.exp(x), "kept")) * x, policy=policy)
    return f(x)


CASES = {
    "scan": scanned,
    "scan, backwards": functools.partial(scanned, reverse=True),
    "scan of 300 steps": functools.partial(scanned, length=300),
    "scan of nothing": functools.partial(scanned, length=0),
    "while": grow,
    "while, checkpointed": functools.partial(grow, every=2),
    "fori": dynamic,
    "while(while)": kept,
    "scan(while)": lambda x: lax.scan(lambda c, r: (c + grow(c * r), c), x,
                                      lnp.ones((3,), "float32"))[0],
    "switch": chosen,
    "cond": condition,
    "while(cond)": lambda x: lax.while_loop(
        lambda c: c < 9.0, lambda c: condition(c) * 0.1 + c * 1.2, x),
    "vmap(cond)": of_rows,
    "checkpoint": named,
    "root": root_of,
    "linear_solve": solved,
}


def forms(f):
    total = lambda v: lnp.sum(lf.vmap(f)(v))
    return {
        "value": lambda v: [f(x) for x in v],
        "grad": lambda v: [lf.grad(f)(x) for x in v],
        "jvp": lambda v: lf.jvp(f, (v[0],), (v[1],)),
        "vmap": lf.vmap(f),
        "vmap(grad)": lf.vmap(lf.grad(f)),
        "grad(vmap)": lf.grad(total),
        "grad(grad)": lambda v: lf.grad(lf.grad(f))(v[1]),
        "jit": lf.jit(lambda v: [f(x) for x in v]),
        "jit(grad(vmap))": lf.jit(lf.grad(total)),
    }


@pytest.mark.parametrize("form", list(forms(grow)))
@pytest.mark.parametrize("name", list(CASES))
def test_results_are_numpys(device, name, form):
    run = forms(CASES[name])[form]
    want = run(lnp.asarray(X))
    with lf.default_device(device):
        got = run(lf.device_put(X, device))
    for a, b in zip(lf.tree.leaves(got), lf.tree.leaves(want), strict=True):
        assert a.device == device and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=3e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["scan", "while", "switch", "cond", "checkpoint"])
def test_results_are_numpys_where_mlx_compiles(device, compiling, name):
    run = forms(CASES[name])["jit(grad(vmap))"]
    for got, want in zip(lf.tree.leaves(run(lf.device_put(X, device))),
                         lf.tree.leaves(run(lnp.asarray(X))), strict=True):
        assert got.device == device
        np.testing.assert_allclose(got, want, rtol=3e-4, atol=1e-5)


# ------------------------------------------------------------------ collectives

@pytest.mark.parametrize("f", [
    lambda x: x / lax.psum(x, "i"), lambda x: x - lax.pmean(x, "i"),
    lambda x: lax.pmax(x, "i") * x, lambda x: lax.all_gather(x, "i") * x,
    lambda x: lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 3), (3, 0)]) * x,
    lambda x: lax.axis_index("i") * x,
    lambda x: lax.scan(lambda c, r: (c + lax.psum(c, "i") * 0.1, c), x, None, length=3)[0],
])
def test_collectives(device, f):
    run = lf.vmap(f, axis_name="i")
    x = lf.device_put(X, device)
    total = lambda v: lnp.sum(run(v) ** 2)
    for g in (run, lf.jit(run), lf.grad(total), lf.jit(lf.grad(total))):
        np.testing.assert_allclose(g(x), g(lnp.asarray(X)), rtol=1e-4, atol=1e-5)


def test_a_collective_without_its_axis(device):
    with pytest.raises(NameError, match="no axis named 'i'"):
        lf.jit(lambda x: lax.psum(x, "i"))(lf.device_put(X, device))


# ------------------------------------------------------------------ many rows, keys, messages

def test_rows_of_a_scan_are_whole_arrays(device):
    x = lf.device_put(XS, device)
    f = lambda x: lax.scan(lambda c, r: (c + r, {"sum": c * r, "big": c > 0}), x[0] * 0, x)
    for g in (f, lf.jit(f)):
        got, want = g(x), f(lnp.asarray(XS))
        for a, b in zip(lf.tree.leaves(got), lf.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 5, 8, 21])
def test_rows_take_their_own_branch(device, count):
    x = np.linspace(-2.0, 2.0, count, dtype="float32")
    f = lf.vmap(lambda x: lax.switch((x > 0).astype("int32") + (x > 1), [
        lnp.exp, lambda x: lnp.log(x), lambda x: x * 0], x))
    for g in (f, lf.grad(lambda x: f(x).sum())):
        got = g(lf.device_put(x, device))
        np.testing.assert_allclose(got, g(lnp.asarray(x)), rtol=1e-5, atol=1e-6)
        assert not np.isnan(np.asarray(got)).any()


def test_keys_are_carried_and_stacked(device):
    def f(key):
        def body(key, _):
            key, sub = lf.random.split(key)
            return key, (lf.random.normal(sub, (2,)), sub)
        return lax.scan(body, key, None, length=4)

    key = lf.random.key(3)
    want_key, (want, subs) = f(key)
    for g in (f, lf.jit(f)):
        last, (got, keys) = g(lf.device_put(key, device))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        for a, b in ((last, want_key), (keys, subs)):
            np.testing.assert_array_equal(lf.random.key_data(a), lf.random.key_data(b))


def test_an_index_out_of_bounds_names_the_step(device):
    table = lf.device_put(X, device)
    f = lambda n: lax.scan(lambda c, i: (c + table[i], c), table[0], n)[0]
    with pytest.raises(IndexError, match=r"test_mlx_control.py.*in step 4 of scan"):
        float(f(lf.device_put(np.arange(6), device)))


def test_an_effect_in_a_loop_happens_in_order(device):
    seen = []
    def body(c, r):
        lf.debug.callback(lambda c: seen.append(float(c)), c)
        return c + r, None
    lf.jit(lambda x: lax.scan(body, x[0], x)[0])(lf.device_put(X, device))
    np.testing.assert_allclose(seen, X[0] + np.concatenate([[0], np.cumsum(X)[:-1]]), rtol=1e-6)


def test_python_control_flow_with_guards(device):
    @functools.partial(lf.jit, python_control_flow=True)
    def f(x):
        return lnp.sin(x) if x > 1.0 else x * 2

    for name in (device, "cpu", device):
        for x in X:
            got = f(lf.device_put(x, name))
            assert got.device == name
            assert float(got) == pytest.approx(np.sin(x) if x > 1.0 else 2 * x, rel=1e-5)


def test_constants_of_a_body_say_where_it_runs(device):
    table = lf.device_put(X, device)
    f = lambda n: lax.scan(lambda c, i: (c * table, None), np.ones(4, "float32"), None, length=3)[0]
    for g in (f, lf.jit(f)):
        assert g(np.float32(1)).device == device
        np.testing.assert_allclose(g(np.float32(1)), X ** 3, rtol=1e-5)


def test_gradients_that_are_zero_live_beside_their_arguments(device):
    w = lf.device_put({"a": X, "b": X}, device)
    grads = lf.grad(lambda w: lnp.sum(w["a"] ** 2))(w)
    assert grads["b"].device == device and not np.asarray(grads["b"]).any()
    ones = lf.vmap(lambda x: lnp.ones_like(x) * 2)(w["a"])
    assert ones.device == device
