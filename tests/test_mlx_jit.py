"""jit on MLX: programs, bounds checks that arrive later, pieces, donation, flat memory."""

import os

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, optim, random

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")

pytestmark = pytest.mark.gpu


# ------------------------------------------------------------------ programs

def test_one_function_on_two_devices(device, on_mlx):
    f = lf.jit(lambda x: lnp.sum(lnp.sin(x)) + 1)
    x = np.arange(3.0, dtype="float32")
    a, b, c = f(lnp.asarray(x)), f(on_mlx(x)), f(lnp.asarray(x))
    assert (a.device, b.device, c.device) == ("cpu", device, "cpu")
    assert float(a) == float(c) and abs(float(a) - float(b)) < 1e-6
    assert f.cache_info().misses == 1


def test_outputs_that_are_inputs_constants_and_numbers(device, on_mlx):
    f = lf.jit(lambda x: (x, 3.0, lnp.arange(3), x + 1, x + 1))
    outs = f(on_mlx(np.ones(2, "float32")))
    assert all(o.device == device for o in outs)
    assert [np.asarray(o).tolist() for o in outs] == [[1, 1], 3.0, [0, 1, 2], [2, 2], [2, 2]]


def test_transformations_compose(device, on_mlx):
    x = np.linspace(0.1, 1.0, 5).astype("float32")

    def f(x):
        return lnp.sum(lnp.tanh(x) * lnp.cumsum(x)) + lnp.prod(x)

    for g in (lf.grad(f), lf.hessian(f), lf.jacrev(lf.grad(f)), lf.jit(lf.hessian(f)),
              lambda v: lf.vmap(lf.grad(f))(lnp.stack([v, 2 * v])),
              lambda v: lf.jvp(f, (v,), (v,)), lambda v: lf.checkpoint(f)(v),
              lf.grad(lf.checkpoint(lf.jit(f)))):
        for got, want in zip(lf.tree.leaves(g(on_mlx(x))), lf.tree.leaves(g(lnp.asarray(x))),
                             strict=True):
            assert got.device == device
            np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-5, atol=1e-6)


def test_callbacks_see_values_on_the_host(device, on_mlx, capsys):
    @lf.jit
    def f(x):
        lf.debug.print("x is {}", x[0])
        y = lf.pure_callback(lambda v: np.asarray(v) * 2, lf.ShapeDtypeStruct((2,), "float32"), x)
        return lnp.sin(y) + 1

    x = np.array([1.0, 2.0], "float32")
    got = f(on_mlx(x))
    assert got.device == device and capsys.readouterr().out == "x is 1.0\n"
    np.testing.assert_allclose(np.asarray(got), np.sin(2 * x) + 1, rtol=1e-6)


def test_nan_check_names_the_line(on_mlx):
    x = on_mlx(np.array([1.0, -1.0], "float32"))
    with lf.debug_nans(True):
        for f in (lambda v: lnp.log(v) * 2, lf.jit(lambda v: lnp.log(v) * 2)):
            with pytest.raises(lf.FloatingPointNaNError, match=r"log at test_mlx_jit.py:\d+"):
                f(x)


def test_memory_and_source_and_lowering(device, on_mlx):
    f = lf.jit(lambda x: lnp.sin(x) @ x.T)
    x = on_mlx(np.ones((4, 4), "float32"))
    with lf.default_device(device):
        assert "sin(a)" in f.source(x) and f.memory(x).peak > 0
        assert f.lower(x).compile()(x).device == device


def test_donation(on_mlx):
    f = lf.jit(lambda p, g: p - 0.1 * g, donate_argnums=0)
    p, g = on_mlx(np.ones(1000, "float32")), on_mlx(np.ones(1000, "float32"))
    for _ in range(3):
        old, p = p, f(p, g)
        with pytest.raises(lf.DonatedArrayError):
            old + 1
    np.testing.assert_allclose(np.asarray(p), 0.7, rtol=1e-6)


# ------------------------------------------------------------------ checks

def bad_label(x, labels):
    return nn.functional.cross_entropy(x, labels)


@pytest.mark.parametrize("jit", [False, True])
def test_bad_labels_raise_with_the_line(on_mlx, jit):
    f = lf.jit(bad_label) if jit else bad_label
    x, y = on_mlx(np.zeros((2, 3), "float32")), on_mlx(np.array([1, 7], "int32"))
    with pytest.raises(IndexError, match=r"check_labels at test_mlx_jit.py:\d+: label 7"):
        float(f(x, y))
    assert np.isfinite(float(f(x, on_mlx(np.array([1, 2], "int32")))))  # and goes on


@pytest.mark.parametrize("jit", [False, True])
def test_bad_indices_raise_with_the_line(on_mlx, jit):
    def f(x, i):
        return x[i] * 2

    f = lf.jit(f) if jit else f
    x = on_mlx(np.arange(5.0, dtype="float32"))
    with pytest.raises(IndexError, match=r"test_mlx_jit.py:\d+.*index 9 is out of bounds"):
        lf.block_until_ready(f(x, on_mlx(np.array([1, 9]))))
    assert np.asarray(f(x, on_mlx(np.array([1, -1])))).tolist() == [2, 8]


def test_checks_are_read_in_the_end_without_reading_results(on_mlx):
    f = lf.jit(lambda x, i: x[i] + 1)
    x, i = on_mlx(np.arange(5.0, dtype="float32")), on_mlx(np.array([1, 9]))
    with pytest.raises(IndexError, match="index 9"):
        for _ in range(500):
            f(x, i)
    lf.block_until_ready(x)  # what is left of the others is not reported again


# ------------------------------------------------------------------ pieces

def test_pieces_are_compiled(device, on_mlx, compiling, capsys):
    @lf.jit
    def f(x, i, key):
        y = lnp.sin(x) * 2 + lnp.cos(x)
        lf.debug.print("{}", y[0])
        return lnp.exp(y)[i], lnp.stack([key, key])[0], x

    x, key = np.arange(3.0, dtype="float32"), random.key(3)
    a, k, same = f(on_mlx(x), on_mlx(np.array([2, 0])), on_mlx(key))
    want = f(lnp.asarray(x), lnp.array([2, 0]), key)
    np.testing.assert_allclose(np.asarray(a), np.asarray(want[0]), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(random.key_data(k)),
                                  np.asarray(random.key_data(want[1])))
    assert k.device == same.device == device and "1.0" in capsys.readouterr().out
    with pytest.raises(IndexError, match=r"test_mlx_jit.py:\d+.*index 7"):
        lf.block_until_ready(f(on_mlx(x), on_mlx(np.array([2, 7])), on_mlx(key)))
    with lf.default_device(device):
        assert "def part_0" in f.source(on_mlx(x), on_mlx(np.array([2, 0])), on_mlx(key))


def test_a_compiled_gradient(on_mlx, compiling):
    def f(w, x, y):
        return nn.functional.cross_entropy(x @ w, y)

    rng = np.random.default_rng(0)
    args = (rng.normal(size=(8, 4)).astype("float32"), rng.normal(size=(3, 8)).astype("float32"),
            np.array([0, 3, 1]))
    g = lf.jit(lf.grad(f))
    np.testing.assert_allclose(np.asarray(g(*on_mlx(args))),
                               np.asarray(g(*map(lnp.asarray, args))), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [optim.adam, optim.lion], ids=lambda f: f.__name__)
def test_a_compiled_update(device, on_mlx, compiling, make):
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), make(0.1))
    params = {"w": np.linspace(0.1, 1, 6, dtype="float32").reshape(2, 3), "b": np.float32([0.5])}

    @lf.jit
    def step(params, moments):
        grads = lf.grad(lambda p: lnp.sum(lnp.sin(p["w"]) * p["b"]) ** 2)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optim.apply_updates(params, updates), moments

    found = []
    for put in (on_mlx, lf.device_put):
        carry = put(params), put(optimizer.init(params))
        for _ in range(3):
            carry = step(*carry)
        found.append(lf.tree.leaves(carry))
    for got, want in zip(*found, strict=True):
        assert got.device == device
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
@pytest.mark.parametrize("jit", [True, False])
def test_memory_is_flat_though_nothing_is_read(on_mlx, jit):
    net = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 4))
    params, state = on_mlx(net.init(random.key(0)))

    def loss(params, state, x, y):
        out, state = net.apply(params, state, x, train=True)
        return nn.functional.cross_entropy(out, y), state

    def step(params, state, x, y):
        (value, state), grads = lf.value_and_grad(loss, has_aux=True)(params, state, x, y)
        return lf.tree.map(lambda p, g: p - 0.1 * g, params, grads), state, value

    run = lf.jit(step, donate_argnums=0) if jit else step
    x, y = on_mlx((np.ones((64, 16), "float32"), np.ones(64, "int32")))
    sizes = []
    for i in range(500 if jit else 100):
        params, state, value = run(params, state, x, y)
        if i % 25 == 24:
            sizes.append(resident())
    assert sizes[-1] - sizes[1] < 10, sizes
    assert np.isfinite(float(value))


def test_rules_of_the_users_own_get_cotangents_on_the_device(device, on_mlx):
    @lf.custom_vjp
    def f(x, y):
        return lnp.sum(x * y)

    f.defvjp(lambda x, y: (f(x, y), (x, y)), lambda kept, ct: (ct * kept[1], ct * kept[0]))
    x = np.arange(3.0, dtype="float32")
    for g in (lf.grad(f), lf.jit(lf.grad(f)), lf.grad(lambda a, b: lnp.sum(f(a, b) * a))):
        got = g(on_mlx(x), on_mlx(x + 1))
        assert got.device == device
        np.testing.assert_allclose(np.asarray(got), np.asarray(g(lnp.array(x), lnp.array(x + 1))))
