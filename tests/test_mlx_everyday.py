"""What one does with devices every day: make arrays, draw, look inside, save, load, go wrong."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import data, info, models, nn, optim, random
from lucidfn.types import complex128, float64

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")
pytestmark = pytest.mark.gpu


@pytest.fixture
def put(device):
    return lambda tree: lf.device_put(tree, device)


@pytest.fixture
def on_cpu():
    """The default device of a program that says nothing."""
    with lf.default_device("cpu"):
        yield


@pytest.fixture
def without_float64(device, monkeypatch):
    """As on a GPU."""
    backend = lnp.ones(1, device=device).value.backend
    monkeypatch.setattr(backend, "unsupported", frozenset({float64, complex128}))


def devices_of(tree):
    return {x.device for x in lf.tree.leaves(tree) if hasattr(x, "device")}


def test_constants_are_converted_before_they_come(device, without_float64):
    f = lambda x: lnp.sum(x * lnp.asarray(np.arange(3.0), "float32"))
    x = lnp.ones(3, device=device)
    assert float(lf.jit(f)(x)) == 3
    np.testing.assert_array_equal(lf.jit(lf.grad(f))(x), [0, 1, 2])


# ------------------------------------------------------------------ making arrays

MAKERS = {
    "zeros": lambda **k: lnp.zeros((2, 3), **k), "ones": lambda **k: lnp.ones(3, "int32", **k),
    "empty": lambda **k: lnp.empty(2, **k), "full": lambda **k: lnp.full((2, 2), 7, **k),
    "full of an array": lambda **k: lnp.full((2, 2), np.arange(2), **k),
    "zeros_like": lambda **k: lnp.zeros_like(np.ones(3, "float32"), **k),
    "ones_like": lambda **k: lnp.ones_like(np.ones(3, "float32"), **k),
    "full_like": lambda **k: lnp.full_like(np.ones(3, "float32"), 2, **k),
    "empty_like": lambda **k: lnp.empty_like(np.ones(3, "float32"), **k),
    "array": lambda **k: lnp.array([[1, 2.5]], **k), "asarray": lambda **k: lnp.asarray(2.5, **k),
    "bool": lambda **k: lnp.zeros(3, bool, **k),
    "complex": lambda **k: lnp.ones(3, "complex64", **k),
    "arange": lambda **k: lnp.arange(5, **k), "steps": lambda **k: lnp.arange(0.5, 3, 0.5, **k),
    "linspace": lambda **k: lnp.linspace(0, 1, 5, **k),
    "integers": lambda **k: lnp.linspace(0, 9, 4, dtype="int32", **k),
    "between arrays": lambda **k: lnp.linspace(np.zeros(2, "float32"), np.ones(2, "float32"), 3,
                                               **k),
    "logspace": lambda **k: lnp.logspace(0, 2, 4, **k),
    "geomspace": lambda **k: lnp.geomspace(1, 8, 4, **k),
    "eye": lambda **k: lnp.eye(2, 3, 1, **k), "identity": lambda **k: lnp.identity(2, **k),
    "tri": lambda **k: lnp.tri(3, **k), "indices": lambda **k: lnp.indices((2, 3), **k),
    "sparse": lambda **k: lnp.indices((2, 3), sparse=True, **k)[1],
    "fftfreq": lambda **k: lnp.fft.fftfreq(4, **k),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_makers_take_a_device(make, device, on_cpu):
    want = make()
    assert want.device == make(device="cpu").device == "cpu"
    got = make(device=device)
    assert got.device == device and lf.typeof(got) == lf.typeof(want)
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-6)
    with lf.default_device(device):
        assert make(device="cpu").device == "cpu"
        assert make().device == device


def test_constants_are_made_where_they_live(device):
    before = lf.debug.transfers()
    for make in (lnp.zeros, lnp.ones, lnp.arange):
        make(10_000, device=device)
    lnp.zeros_like(lnp.full((3,), 1.0, device=device))
    assert lf.debug.transfers() == before


def test_grids_follow_their_arrays(device, put):
    x = put(np.arange(3.0, dtype="float32"))
    for made in (lnp.meshgrid(x, x), lnp.r_[x, x], lnp.c_[x, x], lnp.diag(x), lnp.vander(x),
                 lnp.tril_indices_from(lnp.diag(x)), lnp.diag_indices_from(lnp.diag(x)),
                 lnp.imag(x), lnp.argwhere(x[0])):
        assert devices_of(made) == {device}


# ------------------------------------------------------------------ random numbers

THREE = np.full(3, 1 / 3, "float32")
SAME = {  # integers, and floats that bits alone decide
    "bits": lambda k: random.bits(k, (9,)), "randint": lambda k: random.randint(k, (99,), -5, 1000),
    "permutation": lambda k: random.permutation(k, 20), "rademacher": lambda k: random.rademacher(
        k, (9,)), "bernoulli": lambda k: random.bernoulli(k, 0.3, (99,)),
    "choice": lambda k: random.choice(k, 20, (5,), replace=False),
    "uniform": lambda k: random.uniform(k, (99,)),
    "half": lambda k: random.uniform(k, (99,), "float16"),
    "bounds": lambda k: random.uniform(k, (99,), minval=-1.0, maxval=3.0),
    "binomial": lambda k: random.binomial(k, 10, 0.4, (9,)),
    "poisson": lambda k: random.poisson(k, 3.0, (9,)),
    "categorical": lambda k: random.categorical(k, np.log(THREE), shape=(99,)),
}
CLOSE = {
    "normal": lambda k: random.normal(k, (99,)), "uniform": lambda k: random.uniform(
        k, (3,), minval=np.arange(3, dtype="float32"), maxval=5.0),
    "truncated": lambda k: random.truncated_normal(k, -1.0, 1.0, (99,)),
    "complex": lambda k: random.normal(k, (9,), "complex64"),
    "gamma": lambda k: random.gamma(k, 2.0, (9,)), "beta": lambda k: random.beta(k, 2.0, 3.0, (9,)),
    "dirichlet": lambda k: random.dirichlet(k, THREE, (4,)), "t": lambda k: random.t(k, 3.0, (9,)),
    "exponential": lambda k: random.exponential(k, (9,)),
    "gumbel": lambda k: random.gumbel(k, (9,)), "laplace": lambda k: random.laplace(k, (9,)),
    "cauchy": lambda k: random.cauchy(k, (9,)), "logistic": lambda k: random.logistic(k, (9,)),
    "orthogonal": lambda k: random.orthogonal(k, 3),
    "multivariate": lambda k: random.multivariate_normal(k, THREE, np.diag(THREE), (5,)),
}


@pytest.mark.usefixtures("without_float64")
@pytest.mark.parametrize(("sample", "same"), [
    *[pytest.param(f, True, id=name) for name, f in SAME.items()],
    *[pytest.param(f, False, id=name) for name, f in CLOSE.items()]])
def test_samples_are_those_of_numpy(sample, same, device, put, on_cpu):
    want = np.asarray(sample(random.key(3)))
    for draw in (sample, lf.jit(sample)):
        got = draw(put(random.key(3)))
        assert got.device == device
        np.testing.assert_allclose(np.asarray(got), want, rtol=0 if same else 3e-6,
                                   atol=0 if same else 1e-6)


def test_random_numbers_live_where_the_key_was_made(device, on_cpu):
    key = random.key(0)
    with lf.default_device(device):
        assert random.normal(key, (3,)).device == random.permutation(key, 5).device == "cpu"
        assert random.split(random.key(1))[0].device == device
        assert random.wrap_key_data(np.zeros(2, "uint32")).device == device


def test_models_are_made_on_the_default_device(device, on_cpu):
    model = models.LeNet5()
    want = model.init(random.key(0))
    with lf.default_device(device):
        made = model.init(random.key(0))
        elsewhere = model.init(random.key(0).to("cpu"))
    assert devices_of(want) == devices_of(elsewhere) == {"cpu"} and devices_of(made) == {device}
    for a, b in zip(lf.tree.leaves(made), lf.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ where there is no float64

@pytest.mark.usefixtures("without_float64")
@pytest.mark.parametrize("name", ["adam", "nadam", "radam", "adamw", "lamb", "lbfgs"])
def test_optimizers_need_no_float64(name, device, put, on_cpu):
    optimizer = getattr(optim, name)(0.1)

    def loss(p):
        return lnp.sum(lnp.square(p - 0.3))

    def step(p, state):
        value, grads = lf.value_and_grad(loss)(p)
        updates, state = optimizer.update(grads, state, p, value=value, grad=grads, value_fn=loss) \
            if name == "lbfgs" else optimizer.update(grads, state, p)
        return optim.apply_updates(p, updates), state

    start = np.linspace(-1, 1, 6, dtype="float32")
    ends = []
    for move in (put, lf.device_put):
        p = move(start)
        state, run = move(optimizer.init(p)), lf.jit(step)
        for _ in range(8):
            p, state = run(p, state)
        ends.append(np.asarray(p))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


@pytest.mark.usefixtures("without_float64")
def test_rotary_positions_need_no_float64(device, put):
    x = np.linspace(-1, 1, 48, dtype="float32").reshape(1, 3, 2, 8)
    turn = lf.jit(nn.functional.apply_rotary_embedding)
    np.testing.assert_allclose(np.asarray(turn(put(x))), np.asarray(turn(x)), atol=1e-6)


@pytest.mark.usefixtures("without_float64")
@pytest.mark.parametrize("f", [
    lambda d: lf.device_put(np.zeros(3), d), lambda d: lnp.zeros(3, "float64", device=d),
    lambda d: lnp.ones(3, device=d).astype("float64"), lambda d: lnp.ones(3, device=d) * np.ones(3),
    lambda d: random.normal(lf.device_put(random.key(0), d), (3,), "float64"),
    lambda d: lf.jit(lambda x: x.astype("float64"))(lnp.ones(3, device=d)),
    lambda d: data.Loader([1], device=d) and lf.device_put({"x": np.ones((2, 2))}, d)])
@pytest.mark.filterwarnings("ignore:float64 widens")
def test_float64_is_refused_and_never_cast(f, device):
    with pytest.raises(TypeError, match=rf"device '{device}' has no float64 arrays; convert to "
                                        r"float32 first \(x.astype\('float32'\)\), or compute"):
        f(device)


# ------------------------------------------------------------------ looking inside

def test_source_memory_and_lowering_are_those_of_the_arguments(device, put, on_cpu):
    f = lf.jit(lambda x: lnp.sum(lnp.sin(x) * 2))
    x = np.ones(6, "float32")
    assert "multiply" in f.source(x) and "multiply" not in f.source(put(x))
    assert f.memory(put(x)).inputs == 24 and "sin" in str(f.memory(put(x)))
    lowered = f.lower(put(x))
    assert "sin" in lowered.as_text() and lowered.compile()(put(x)).device == device
    assert lowered.cost_analysis()["flops"] > 0
    shape = lf.ShapeDtypeStruct((6,), "float32")
    assert f.lower(shape).compile()(put(x)).device == device
    assert str(lf.make_ir(f.fun)(put(x))) == str(lf.make_ir(f.fun)(x))
    assert lf.eval_shape(f, put(x)) == lf.eval_shape(f, x)


def test_debug_sees_values_of_the_device(put, capsys):
    x, seen = put(np.arange(3.0, dtype="float32")), []

    @lf.jit
    def f(x):
        lf.debug.print("{x} and {y:.1f}", x=x, y=x[1])
        lf.debug.callback(seen.append, x * 2)
        return x

    lf.block_until_ready(f(x))
    assert capsys.readouterr().out == "[0. 1. 2.] and 1.0\n"
    assert np.asarray(seen[0]).tolist() == [0, 2, 4]


def test_info_names_the_devices(device):
    text = info.report(seconds=0)
    assert re.search(r"backends +numpy, mlx \d", text) and re.search(rf" {device}: \w", text)


# ------------------------------------------------------------------ files

def tree_of(device):
    return {"w": lnp.arange(4.0, device=device), "key": random.key(7).to(device), "step": 3,
            "host": np.arange(2)}


def test_saved_from_and_loaded_to_a_device(device, tmp_path, on_cpu):
    path, tree = tmp_path / "x.safetensors", tree_of(device)
    lf.save(path, tree)
    assert devices_of([lf.load(path)[k] for k in ("w", "key")]) == {"cpu"}
    with lf.default_device(device):
        by_default = lf.load(path)
    found = [by_default, lf.load(path, device=device), lf.load(path, like=tree),
             {**tree, **lf.load(path, paths=["w", "key"], device=device)}]
    for got in found:
        assert devices_of([got["w"], got["key"]]) == {device} and type(got["host"]) is np.ndarray
        np.testing.assert_array_equal(np.asarray(got["w"]), [0, 1, 2, 3])
        assert random.key_data(got["key"]).tolist() == [0, 7]
    assert lf.load(path, like=tree, device="cpu")["w"].device == "cpu"
    with pytest.raises(ValueError, match="there is no device 'tpu'"):
        lf.load(path, device="tpu")


def test_checkpoints_of_a_device(device, tmp_path, on_cpu):
    checkpoints = lf.io.Checkpointer(tmp_path)
    checkpoints.save(1, tree_of(device), score=lnp.ones((), device=device))
    assert checkpoints.restore().tree["w"].device == "cpu"
    for found in (checkpoints.restore(device=device), checkpoints.restore("best", device=device),
                  checkpoints.restore(1, like=tree_of(device))):
        assert found.tree["w"].device == found.tree["key"].device == device


def test_numpy_files_and_pickles_go_to_the_default_device(device, tmp_path, on_cpu):
    x = lnp.arange(3.0, device=device)
    lnp.save(tmp_path / "x.npy", x)
    for again in (lambda: lnp.load(tmp_path / "x.npy"), lambda: pickle.loads(pickle.dumps(x))):
        assert again().device == "cpu" and again().tolist() == [0, 1, 2]
        with lf.default_device(device):
            assert again().device == device


def test_weights_of_pytorch_are_made_on_the_default_device(device, tmp_path, on_cpu):
    model, theirs = nn.Linear(3, 2), {"weight": np.ones((2, 3), "float32"),
                                      "bias": np.ones(2, "float32")}
    lf.save(tmp_path / "model.safetensors", theirs)
    for source in (theirs, tmp_path / "model.safetensors"):
        with lf.default_device(device):
            params, _ = lf.io.from_torch(source, model)
        assert devices_of(params) == {device}
        assert {type(x) for x in lf.io.to_torch(model, params).values()} == {np.ndarray}


# ------------------------------------------------------------------ data

def test_batches_of_a_device_stay_there(device, put, on_cpu):
    host = {"x": np.arange(20.0, dtype="float32").reshape(10, 2), "y": np.arange(10)}
    for key in (None, random.key(0)):
        for got, want in zip(data.batches(key, put(host), 4), data.batches(key, host, 4),
                             strict=True):
            assert devices_of(got) == {device} and type(want["x"]) is np.ndarray
            np.testing.assert_array_equal(np.asarray(got["x"]), want["x"])
    parts = data.train_test_split(random.key(1), put(host), 0.3)
    for got, want in zip(parts, data.train_test_split(random.key(1), host, 0.3), strict=True):
        assert devices_of(got) == {device}
        np.testing.assert_array_equal(np.asarray(got["y"]), want["y"])


def test_loader_puts_batches_on_the_device(device, on_cpu):
    x = np.arange(40.0, dtype="float32").reshape(20, 2)
    step = lf.jit(lambda total, x: total + x.sum())
    total = lnp.zeros((), device=device)
    with data.Loader(data.batches(random.key(0), x, 4, epochs=3), device=device) as loader:
        for batch in loader:
            assert batch.device == device
            total = step(total, batch)
    assert float(total) == 3 * x.sum()


def test_loader_takes_any_name_of_a_device(device):
    name = {"gpu": "cuda:0", "mlx:cpu": "MLX:CPU"}[device]
    assert {b.device for b in data.Loader([np.ones(2, "float32")], device=name)} == {device}
    with pytest.raises(ValueError, match="there is no device 'tpu' here"):
        data.Loader([], device="tpu")


# ------------------------------------------------------------------ what goes wrong

@pytest.mark.parametrize(("name", "message"), [
    ("gpuu", "did you mean 'gpu'"), ("mlx-cpu", "did you mean 'mlx:cpu'"),
    ("cuda:1", "One GPU is used, 'gpu'.*CUDA_VISIBLE_DEVICES"), ("gpu:3", "One GPU is used"),
    ("quantum", "")])
def test_names_that_are_no_device(name, message):
    for f in (lambda: lf.device_put(1.0, name), lambda: lf.default_device(name),
              lambda: lnp.ones(2).to(name), lambda: lnp.ones(2, device=name),
              lambda: data.Loader([], device=name)):
        with pytest.raises(ValueError, match=rf"no device {name!r} here; there are .*{message}"):
            f()


def test_names_of_other_libraries():
    assert lnp.ones(2, device="cpu:0").device == lnp.ones(2, device="CPU").device == "cpu"
    import mlx.core as mx
    assert lnp.ones(2, device=mx.cpu).device == lnp.ones(2, device="mlx").device == "mlx:cpu"
    for name in ("cuda", "cuda:0", "mps", "metal", "gpu:0", "mlx:gpu"):
        if "gpu" in lf.devices():
            assert lnp.ones(2, device=name).device == "gpu"
        else:
            with pytest.raises(ValueError, match=r"no device 'gpu' here: MLX .* GPU"):
                lnp.ones(2, device=name)


def test_the_setting_is_a_device_that_there_is(device):
    with lf.config.override(default_device="cpu"):
        lf.config.default_device = {"gpu": "cuda:0", "mlx:cpu": "MLX:CPU"}[device]
        assert lf.config.default_device == lnp.ones(2).device == device
        lf.config.update("jax_default_device", "cpu")
        assert lf.config.default_device == "cpu" and lf.devices(device) == [device]
        for wrong in (lambda: setattr(lf.config, "default_device", "gpuu"),
                      lambda: lf.devices("gpuu")):
            with pytest.raises(ValueError, match="no device 'gpuu' here; .*did you mean 'gpu'"):
                wrong()


def test_methods_of_other_libraries_say_what_to_write(put):
    x = put(np.ones(2, "float32"))
    for name, instead in (("cpu", "x.to('cpu')"), ("cuda", "x.to('gpu')"),
                          ("numpy", "np.asarray(x)")):
        with pytest.raises(AttributeError, match=re.escape(f"write {instead}")):
            getattr(x, name)


def test_mixed_devices_in_every_kind_of_call(device, put, on_cpu):
    x, y = put(np.ones(3, "float32")), lnp.ones(3)
    model = nn.Linear(3, 2)
    params, state = model.init(random.key(0))
    fix = r"one device\. Move the one of shape \(.*\) that lives on '[a-z:]+': lf\.device_put\("
    for f in (lambda: lnp.where(x > 0, x, y), lambda: x @ y, lambda: lnp.stack([x, y]),
              lambda: lf.lax.scan(lambda c, v: (c + v, c), x, lnp.ones((2, 3))),
              lambda: lf.jit(lf.vmap(lambda a, b: a * b))(x, y), lambda: x[lnp.array([0, 1])],
              lambda: model.apply(params, state, x[None])):
        with pytest.raises(ValueError, match=fix):
            f()


@pytest.mark.peers
def test_arrays_of_other_libraries(device, put, on_cpu):
    import jax.numpy
    import torch
    x = put(np.ones(3, "float32"))
    for theirs in (torch.ones(3), jax.numpy.ones(3)):
        f = lambda v: lnp.sum(v * 2)
        library = type(theirs).__module__[:3]
        for wrong in (lambda: x + theirs, lambda: theirs * x, lambda: x == theirs,
                      lambda: lf.jit(f)(theirs), lambda: lf.grad(f)(theirs),
                      lambda: lf.vmap(f)(theirs),
                      lambda: lf.lax.scan(lambda c, v: (c, v), 0.0, theirs)):
            with pytest.raises(TypeError, match=rf"got an array of {library}\w* .*lnp\.asarray"):
                wrong()
        assert (x + lnp.asarray(theirs, device=device)).tolist() == [2, 2, 2]
        assert put({"a": theirs})["a"].device == device
    assert torch.from_dlpack(x).tolist() == np.from_dlpack(x).tolist() == [1, 1, 1]


def test_arrays_of_mlx_are_arrays(device, put):
    import mlx.core as mx
    x = put(np.arange(3.0, dtype="float32"))
    assert mx.array(x).tolist() == [0, 1, 2]
    assert lnp.from_dlpack(mx.array([1.0, 2.0])).tolist() == [1, 2]


def test_the_page_on_devices_is_whole():
    page = (Path(__file__).resolve().parents[1] / "docs" / "devices.md").read_text()
    for name in (*lf.devices(), "gpu", "log_transfers", "block_until_ready", "--device gpu"):
        assert name in page
