"""Devices: where arrays live, what follows, what is refused; threads; nothing loads MLX unasked."""

import pickle
import subprocess
import sys
import threading

import ml_dtypes
import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.core.trace import BACKENDS

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")

pytestmark = pytest.mark.gpu
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float16", "float32", "float64", "complex64", ml_dtypes.bfloat16]


def test_import_does_not_load_mlx():
    code = "import sys, lucidfn, lucidfn.numpy, lucidfn.nn; print('mlx' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_devices_are_listed(device):
    assert lf.devices()[0] == "cpu" and device in lf.devices()
    assert lf.default_backend() == "cpu"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_there_and_back(device, on_mlx, dtype, shape):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    if x.dtype in BACKENDS[device].unsupported:
        with pytest.raises(TypeError, match=f"has no {x.dtype} arrays; convert to"):
            on_mlx(x)
        return
    y = on_mlx(x)
    assert y.device == device and y.dtype == x.dtype and y.shape == x.shape
    back = y.to("cpu")
    assert back.device == "cpu" and type(back.value) is np.ndarray
    np.testing.assert_array_equal(np.asarray(back), x)


def test_views_of_every_layout(on_mlx):
    x = np.arange(12.0, dtype="float32").reshape(3, 4)
    for view in (x.T, x[::-1], x[:, ::2], x[1:, ::-1], np.broadcast_to(x[0], (2, 4))):
        np.testing.assert_array_equal(np.asarray(on_mlx(view)), view)


def test_complex128_is_refused(device, on_mlx):
    with pytest.raises(TypeError, match="no complex128 arrays; convert to complex64 first"):
        on_mlx(np.ones(2, "complex128"))
    with pytest.raises(TypeError, match="complex128"):
        lnp.ones(2, "complex64", device=device).astype("complex128")


def test_float64_is_exact_here(device, on_mlx):
    if device == "gpu":
        pytest.skip("GPUs have no float64 in MLX")
    x = on_mlx(np.array([1.0, 1e-12], "float64"))
    assert float((x + 1.0)[1]) == 1.0 + 1e-12


def test_trees_and_what_is_no_array(device, on_mlx):
    tree = on_mlx({"w": np.ones(2, "float32"), "n": 3, "name": "adam", "none": None})
    assert tree["w"].device == tree["n"].device == device
    assert tree["name"] == "adam" and tree["none"] is None
    assert type(lf.device_get(tree)["w"]) is np.ndarray
    assert lf.block_until_ready(tree) is tree


# ------------------------------------------------------------------ results and constants

def test_results_live_where_inputs_live(device, on_mlx):
    x = on_mlx(np.ones((2, 3), "float32"))
    for y in (x + 1, 2.0 * x, x @ x.T, lnp.sum(x), lnp.stack([x, x]), x[0], x[:, 1:], x.T,
              lnp.zeros_like(x), lnp.full_like(x, 2), lf.grad(lambda v: lnp.sum(v ** 2))(x),
              lf.vmap(lambda r: r * 2)(x), lf.jit(lambda v: v * 2)(x), lnp.array([x[0], x[1]]),
              lnp.where(x > 0, x, 0.0), lnp.concatenate([x, x]), lnp.tril(x), x.astype("int32")):
        assert y.device == device
    for row in x:
        assert row.device == device


def test_numbers_and_ndarrays_follow(device, on_mlx):
    x = on_mlx(np.ones(3, "float32"))
    assert (x + np.ones(3, "float32")).device == device
    assert (np.ones(3, "float32") + x).device == device
    assert (x * lnp.array(2.0)).device == device  # no axes: a number
    assert lf.jit(lambda a, b: a + b)(x, np.ones(3, "float32")).device == device
    assert lf.jit(lambda a: a + lnp.arange(3.0))(x).device == device


def test_captured_arrays_follow(on_mlx):
    x, w = on_mlx(np.ones(3, "float32")), lnp.arange(3.0)
    np.testing.assert_array_equal(np.asarray(lf.jit(lambda a: a * w)(x)), [0, 1, 2])


def test_library_constants_follow(device, on_mlx):
    x = on_mlx(np.arange(6.0, dtype="float32").reshape(2, 3))
    for f in (lambda v: lnp.linspace(v[0], v[1], 4), lnp.trace, lambda v: v @ lnp.eye(3),
              lambda v: lnp.cov(v), lambda v: lnp.median(v), lambda v: v.at[0].add(1.0)):
        try:
            got = f(x)
        except ValueError as error:  # an array of the user's own is one thing, a constant another
            assert "eye" in str(f.__code__.co_names), error
            continue
        assert got.device == device
        np.testing.assert_allclose(np.asarray(got), np.asarray(f(x.to("cpu"))), rtol=1e-5)


def test_mixed_devices_are_an_error_with_the_fix(device, on_mlx):
    x, y = on_mlx(np.ones(3, "float32")), lnp.ones(3)
    for f in (lambda: x + y, lambda: y * x, lambda: lnp.concatenate([x, y]),
              lambda: lf.jit(lambda a, b: a + b)(x, y),
              lambda: lf.grad(lambda a: lnp.sum(a * y))(x)):
        with pytest.raises(ValueError, match=rf"lf\.device_put\(\w+, '{device}'\)"):
            f()
    assert (x + y.to(device)).device == device
    assert (x.to("cpu") + y).device == "cpu"


# ------------------------------------------------------------------ making arrays

@pytest.mark.parametrize("make", [
    lambda d: lnp.zeros((2, 3), device=d), lambda d: lnp.ones(3, device=d),
    lambda d: lnp.full((2,), 7, device=d), lambda d: lnp.empty(2, device=d),
    lambda d: lnp.array([1, 2.5], device=d), lambda d: lnp.asarray(np.ones(2, "float32"), device=d),
    lambda d: lnp.arange(5, device=d), lambda d: lnp.arange(0.5, 3, 0.5, device=d),
    lambda d: lnp.linspace(0, 1, 5, device=d), lambda d: lnp.eye(3, device=d),
    lambda d: lnp.zeros_like(lnp.ones(3), device=d)])
def test_device_of_creation_functions(device, make):
    assert make(device).device == device and make("cpu").device == make(None).device == "cpu"
    np.testing.assert_array_equal(np.asarray(make(device)), np.asarray(make("cpu")))
    with lf.default_device(device):
        assert make(None).device == device and make("cpu").device == "cpu"


def test_default_device(device):
    with lf.default_device(device):
        assert lf.config.default_device == device == lf.default_backend()
        x = lnp.array([1.0, 2.0])
        assert x.device == (x + 1).device == lnp.eye(2).device == device
        assert random.normal(random.key(0), (3,)).device == device
        assert lf.jit(lambda: lnp.zeros(3))().device == device
        y = lnp.asarray(x.to("cpu"))  # stays
        assert y.device == "cpu"
    assert lnp.zeros(2).device == "cpu"


def test_unknown_devices():
    for f in (lambda: lf.device_put(1.0, "tpu"), lambda: lf.default_device("tpu"),
              lambda: lnp.ones(2).to("tpu"), lambda: lnp.ones(2, device="tpu")):
        with pytest.raises(ValueError, match="there is no device 'tpu' here; there are"):
            f()


@pytest.mark.skipif("gpu" in lf.devices(), reason="there is a GPU")
def test_no_gpu_says_what_was_looked_for():
    for f in (lambda: lf.device_put({}, "gpu"), lambda: lf.default_device("gpu"),
              lambda: lnp.ones(2).to("cuda")):
        with pytest.raises(ValueError, match=r"no device 'gpu' here: MLX \S+ .*GPU"):
            f()


def test_without_mlx():
    code = ("import sys\nsys.modules['mlx'] = None\nimport importlib.util\n"
            "importlib.util.find_spec = lambda name, *a: None\n"
            "import lucidfn as lf\nprint(lf.devices())\n"
            "try: lf.device_put(1.0, 'gpu')\nexcept ValueError as e: print(e)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "['cpu']" in out.stdout and "pip install 'lucidfn[" in out.stdout


# ------------------------------------------------------------------ random numbers

@pytest.mark.parametrize("impl", ["threefry2x32", "philox"])
def test_random_bits_are_equal(device, on_mlx, impl):
    key = random.key(7, impl=impl)
    moved = on_mlx(key)
    assert moved.device == device and moved.dtype == key.dtype
    for f in (lambda k: random.bits(k, (5, 3)), lambda k: random.key_data(random.split(k, 3)),
              lambda k: random.key_data(random.fold_in(k, 9)), lambda k: random.uniform(k, (7,)),
              lambda k: random.randint(k, (9,), 0, 100), lambda k: random.permutation(k, 10),
              lambda k: random.key_data(random.split(k, 4)[2])):
        got = f(moved)
        assert got.device == device
        np.testing.assert_array_equal(np.asarray(got), np.asarray(f(key)))
        np.testing.assert_array_equal(np.asarray(lf.jit(f)(moved)), np.asarray(f(key)))
    np.testing.assert_allclose(np.asarray(random.normal(moved, (50,))),
                               np.asarray(random.normal(key, (50,))), rtol=2e-6, atol=1e-6)


# ------------------------------------------------------------------ threads

def in_thread(f):
    found = []

    def run():
        try:
            found.append(f())
        except Exception as error:
            found.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def test_lazy_arrays_cross_threads(on_mlx):
    x = on_mlx(np.ones(3, "float32")) + 1
    assert in_thread(lambda: np.asarray(x + 1).tolist()) == [3, 3, 3]
    y = in_thread(lambda: x * 5)
    assert np.asarray(y).tolist() == [10, 10, 10]
    f = lf.jit(lambda a: lnp.sin(a) * 2)
    z = in_thread(lambda: f(y))
    np.testing.assert_allclose(np.asarray(z + f(y)), 4 * np.sin([10.0] * 3), rtol=1e-5)


def test_many_threads_at_once(device):
    def work(seed):
        x = lnp.full((16, 16), float(seed), device=device)
        for _ in range(60):
            x = lnp.tanh(x @ x * 0.01 + seed)
        return float(x[0, 0])

    alone = [work(k) for k in range(4)]
    found = {}
    threads = [threading.Thread(target=lambda k=k: found.update({k: work(k)})) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [found[k] for k in range(4)] == alone


# ------------------------------------------------------------------ what MLX's own arrays are

def test_arrays_of_mlx_are_taken(device):
    mx = pytest.importorskip("mlx.core")
    x = mx.array([1.0, 2.0])
    assert (lnp.asarray(x) + 1).device == (lnp.ones(2, device=device) + x).device == device
    np.testing.assert_array_equal(np.asarray(lnp.asarray(x) + 1), [2, 3])


def test_transfers_are_logged(device, capsys):
    with lf.config.override(log_transfers=True):
        lnp.ones(3, device=device) + np.ones(3, "float32")
    text = capsys.readouterr().err
    assert f"float32[3] was copied to '{device}'" in text and "test_mlx_devices.py" in text


def test_text_and_pickle(device, on_mlx):
    x = on_mlx(np.arange(3.0, dtype="float32"))
    assert str(x) == "[0. 1. 2.]" and repr(x).startswith("Array([0., 1., 2.]")
    assert f"{x[1]:.1f}" == "1.0" and x.tolist() == [0, 1, 2] and int(x[2]) == 2
    assert bool(x[1] > 0) and len(x) == 3
    import copy
    import pickle
    assert copy.deepcopy(x).device == device
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(x))), [0, 1, 2])


# ------------------------------------------------------------------ what the library makes

@pytest.mark.parametrize("make", [
    lambda: lnp.tri(3), lambda: lnp.eye(2), lambda: lnp.linspace(0, 1, 4), lambda: lnp.arange(3),
    lambda: lnp.indices((2, 3)), lambda: lnp.mgrid[0:2], lambda: lnp.hanning(4),
    lambda: lnp.tril_indices(3)[0], lambda: lnp.fft.fftfreq(4), lambda: lnp.fromiter([1], "int32"),
    lambda: lf.lax.iota("int32", 3), lambda: lf.lax.full((2,), 1.0),
    lambda: lf.random.key(0), lambda: pickle.loads(pickle.dumps(lnp.ones(2))),
    lambda: lf.nn.initializers.zeros(None, (2,)),
])
def test_arrays_are_made_on_the_default_device(device, make):
    assert make().device == "cpu"
    with lf.default_device(device):
        assert make().device == device


def test_what_depends_on_shapes_alone_lives_where_its_argument_does(device, on_mlx):
    x = on_mlx(np.arange(4))
    for y in (lnp.isinf(x), lnp.isreal(x), lnp.nonzero(x)[0], lnp.ones_like(x),
              lnp.average(x, returned=True)[1]):
        assert y.device == device


def test_all_parameters_live_where_the_key_does(device, on_mlx):
    for layer in (lf.nn.PReLU(), lf.nn.MultiheadAttention(4, 2), lf.nn.BatchNorm1d(3)):
        made = lf.tree.leaves(layer.init(on_mlx(lf.random.key(0))))
        assert {x.device for x in made if x.shape} <= {device}
