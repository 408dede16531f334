"""Fast paths on MLX: each is found where it may be, nowhere else, and equals the plain program."""

import math

import ml_dtypes
import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import models, nn, random
from lucidfn.nn import functional as F

mx = pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")

pytestmark = pytest.mark.gpu
FLOATS = ["float32", "float16", ml_dtypes.bfloat16]
SDPA = "scaled_dot_product_attention"


@pytest.fixture(autouse=True)
def on_device(device):
    with lf.default_device(device):
        yield


def put(tree):
    return lf.device_put(tree, lf.config.default_device)


def array(*shape, dtype="float32", seed=0):
    rng = np.random.default_rng([seed, *shape])
    return put(rng.normal(size=shape).astype(dtype))


def compiled(f, args, fast="on"):
    with lf.config.override(fast_paths=fast):
        return lf.jit(f).source(*args)


def run(f, args, fast):
    with lf.config.override(fast_paths=fast):
        return [np.asarray(x).astype("float64") for x in lf.tree.leaves(lf.jit(f)(*args))]


def spacing(dtype):
    least = 1e-4 if lf.config.default_device == "gpu" else 0.0  # its products may round to 19 bits
    return max(float(ml_dtypes.finfo(dtype).eps), least)


def require_equal(f, args, names, dtype="float32"):
    """The compiled program calls these fused kernels, and gives what the plain one does."""
    source, plain = compiled(f, args), compiled(f, args, "off")
    for name, count in names.items():
        assert source.count(f"= {name}(") == count, source
        assert f"= {name}(" not in plain
        line = next(row for row in source.splitlines() if f"= {name}(" in row)
        assert "# test_mlx_fast.py:" in line
    for got, want in zip(run(f, args, "on"), run(f, args, "off"), strict=True):
        size = max(1.0, np.abs(want[np.isfinite(want)]).max(initial=0.0))
        np.testing.assert_allclose(got, want, rtol=0, atol=12 * spacing(dtype) * size)


def require_plain(f, args):
    source = compiled(f, args)
    for name in ("layer_norm", "rms_norm", SDPA, "addmm"):
        assert f"= {name}(" not in source, source


# ------------------------------------------------------------------ norms

NORMS = {
    "layer_norm": lambda x, w, b: F.layer_norm(x, 8, w, b),
    "layer_norm of weight": lambda x, w, b: F.layer_norm(x, 8, w),
    "layer_norm alone": lambda x, w, b: F.layer_norm(x, 8),
    "layer_norm of large eps": lambda x, w, b: F.layer_norm(x, 8, w, b, eps=0.5),
    "rms_norm": lambda x, w, b: F.rms_norm(x, 8, w),
    "rms_norm alone": lambda x, w, b: F.rms_norm(x, 8),
    "layer_norm by hand": lambda x, w, b: b + w * (
        (x - x.mean(-1, keepdims=True)) / lnp.sqrt(x.var(-1, keepdims=True) + 1e-5)),
    "rms_norm by hand": lambda x, w, b: w * (x / lnp.sqrt(lnp.mean(x * x, -1, keepdims=True)
                                                           + 1e-6)),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", [n for n in NORMS if "hand" not in n])
@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8)])
def test_norms(name, shape, dtype):
    args = (array(*shape, dtype=dtype), array(8, dtype=dtype), array(8, dtype=dtype, seed=1))
    require_equal(NORMS[name], args, {name.split()[0]: 1}, dtype)


@pytest.mark.parametrize("name", [n for n in NORMS if "hand" in n])
def test_norms_that_users_write(name):
    require_equal(NORMS[name], (array(2, 3, 8), array(8), array(8)), {name.split()[0]: 1})


def test_norm_of_nine_columns_divides_by_their_number():
    require_equal(lambda x, w: F.layer_norm(x, 9, w), (array(4, 9), array(9)), {"layer_norm": 1})


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf, 0.0, -0.0])
def test_norms_of_special_values(special):
    x = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    x[1, 2] = x[2] = special
    require_equal(lambda x: (F.layer_norm(x, 8), F.rms_norm(x, 8)), (put(x),),
                  {"layer_norm": 1, "rms_norm": 1})


PLAIN_NORMS = {
    "two axes": lambda x: F.layer_norm(x, (3, 8)),
    "the first axis": lambda x: x / lnp.sqrt(lnp.mean(x * x, 0, keepdims=True) + 1e-6),
    "eps after the root": lambda x: x / (lnp.sqrt(lnp.mean(x * x, -1, keepdims=True)) + 1e-6),
    "eps before the mean": lambda x: x / lnp.sqrt(lnp.mean(x * x + 1e-6, -1, keepdims=True)),
    "no eps": lambda x: x / lnp.sqrt(lnp.mean(x * x, -1, keepdims=True)),
    "eps of the data": lambda x: x / lnp.sqrt(lnp.mean(x * x, -1, keepdims=True) + x[0, 0, 0]),
    "a sum": lambda x: x / lnp.sqrt(lnp.sum(x * x, -1, keepdims=True) + 1e-6),
    "one less": lambda x: (x - x.mean(-1, keepdims=True)) / lnp.sqrt(
        x.var(-1, keepdims=True, ddof=1) + 1e-5),
    "the product": lambda x: x * lnp.sqrt(lnp.mean(x * x, -1, keepdims=True) + 1e-6),
    "of another": lambda x: (x + 1) / lnp.sqrt(lnp.mean(x * x, -1, keepdims=True) + 1e-6),
    "a variance that is read": lambda x: (
        F.rms_norm(x, 8), lnp.mean(lnp.square(x), -1, keepdims=True)),
    "no elements": lambda x: F.layer_norm(x[:0], 8),
    "double": lambda x: F.layer_norm(x.astype("float64"), 8),
}


@pytest.mark.parametrize("name", PLAIN_NORMS)
def test_what_is_no_norm_stays(name, device):
    if name == "double" and device == "gpu":
        pytest.skip("a GPU has no float64")
    require_plain(PLAIN_NORMS[name], (array(2, 3, 8),))


# ------------------------------------------------------------------ products with a sum

def test_linear(device):
    for dtype in [*FLOATS, *["float64"] * (device != "gpu")]:
        args = (array(5, 4, dtype=dtype), array(4, 3, dtype=dtype), array(3, dtype=dtype))
        require_equal(F.linear, args, {"addmm": 1}, dtype)
        require_equal(F.linear, (array(2, 5, 4, dtype=dtype), *args[1:]), {"addmm": 1}, dtype)


ADDED = {
    "a matrix": (lambda x, y: x @ y + x[:, :1] * y[:1], (5, 4), (4, 3)),
    "the other order": (lambda x, y: y[0] + x @ y, (5, 4), (4, 3)),
    "turned operands": (lambda x, y: x.T @ y + y[0], (4, 5), (4, 3)),
    "two products": (lambda x, y: x @ y + x.T @ y, (4, 4), (4, 3)),
    "a vector": (lambda x, y: x @ y + x[:, 0], (5, 4), (4,)),
    "batches": (lambda x, y: x @ y + x[..., :1] * y[:, :1], (2, 5, 4), (2, 4, 3)),
    "a row of a matrix": (lambda x, y: x @ y + y[:1], (5, 4), (4, 3)),
    "two free axes": (lambda x, y: lnp.tensordot(x, y, 1) + y[0], (5, 4), (4, 3, 2)),
}


@pytest.mark.parametrize("name", ADDED)
def test_products_with_a_sum(name):
    f, *shapes = ADDED[name]
    require_equal(f, [array(*s) for s in shapes], {"addmm": 1})


PLAIN_SUMS = {
    "a column": lambda x, y: x @ y + x[:, :1],
    "a number": lambda x, y: x @ y + 1.0,
    "a scalar array": lambda x, y: x @ y + x[0, 0],
    "a product that is read": lambda x, y: (x @ y, x @ y + y[0]),
    "integers": lambda x, y: x.astype("int32") @ y.astype("int32") + y[0].astype("int32"),
    "complex": lambda x, y: x.astype("complex64") @ y.astype("complex64") + y[0].astype(
        "complex64"),
    "no elements": lambda x, y: x[:0] @ y + y[0],
    "no terms": lambda x, y: x[:, :0] @ y[:0] + y[0],
    "a product that grows": lambda x, y: x[:1] @ y + x @ y * lnp.ones((2, 5, 1)),
}


@pytest.mark.parametrize("name", PLAIN_SUMS)
def test_other_sums_stay(name):
    require_plain(PLAIN_SUMS[name], (array(5, 4), array(4, 3)))


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_sums_of_special_values(special):
    x, y, c = np.ones((3, 2), "float32"), np.ones((2, 4), "float32"), np.ones(4, "float32")
    x[0, 0] = c[1] = special
    require_equal(F.linear, put((x, y, c)), {"addmm": 1})


# ------------------------------------------------------------------ attention

def heads(q=(2, 6, 4, 8), k=(2, 5, 4, 8), v=None, dtype="float32"):
    return array(*q, dtype=dtype), array(*k, dtype=dtype, seed=1), array(*(v or k), dtype=dtype,
                                                                         seed=2)


def mask_of(*shape):
    mask = np.random.default_rng(3).uniform(size=shape) < 0.6
    mask[..., 0, :] = False  # a query that sees nothing
    return mask


ATTENTION = {
    "plain": {}, "scale": {"scale": 0.3},
    "causal": {"is_causal": True}, "mask": {"mask": mask_of(2, 4, 6, 5)},
    "mask of places": {"mask": mask_of(6, 5)}, "mask of examples": {"mask": mask_of(2, 1, 6, 5)},
    "mask and causal": {"mask": mask_of(2, 4, 6, 5), "is_causal": True},
    "bias": {"bias": True}, "bias and mask": {"bias": True, "mask": mask_of(6, 5)},
    "lengths": {"key_value_seq_lengths": np.array([0, 3], "int32")},
    "window": {"local_window_size": (1, 2)},
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["own keys", "shared keys"])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name, shared, dtype):
    options = ATTENTION[name]
    q, k, v = heads(k=(2, 5, 2, 8) if shared else (2, 5, 4, 8), dtype=dtype)
    bias = np.random.default_rng(4).normal(size=(4, 6, 5)).astype(dtype)
    bias[0, 1] = -math.inf
    arrays = {n: put(o) for n, o in options.items() if isinstance(o, np.ndarray)}
    args = (q, k, v, put(bias), arrays)

    def f(q, k, v, bias, arrays):
        given = {**options, **arrays, **({"bias": bias} if "bias" in options else {})}
        return F.dot_product_attention(q, k, v, **given)

    require_equal(f, args, {SDPA: 1}, dtype)
    out = run(f, args, "on")[0]
    if "mask" in options:
        assert (out[:, 0] == 0).all()


def test_causal_attention_says_so():
    q, k, v = heads(k=(2, 6, 4, 8))
    f = lambda q, k, v: F.dot_product_attention(q, k, v, is_causal=True)
    require_equal(f, (q, k, v), {SDPA: 1})
    source = compiled(f, (q, k, v))
    assert "causal=True" in source and "select" not in source


OTHER_ATTENTION = {
    "of PyTorch": (F.scaled_dot_product_attention, (2, 4, 6, 8), (2, 4, 5, 8)),
    "without heads": (F.scaled_dot_product_attention, (6, 8), (5, 8)),
    "of many axes": (F.scaled_dot_product_attention, (2, 3, 4, 6, 8), (2, 3, 4, 5, 8)),
    "of lanes": (lf.vmap(F.scaled_dot_product_attention), (2, 4, 6, 8), (2, 4, 5, 8)),
    "of shared keys": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
                       (2, 4, 6, 8), (2, 1, 5, 8)),
    "of one query": (F.dot_product_attention, (2, 1, 4, 8), (2, 5, 2, 8)),
    "by hand": (lambda q, k, v: nn.softmax(q @ k.swapaxes(-1, -2) / 3, axis=-1) @ v,
                (2, 6, 8), (2, 5, 8)),
    "scaled by an array": (lambda q, k, v: nn.softmax(q @ k.mT / lnp.sqrt(8.0), axis=-1) @ v,
                           (6, 8), (5, 8)),
    "of einsum": (lambda q, k, v: lnp.einsum("bst,btd->bsd", nn.softmax(
        lnp.einsum("bsd,btd->bst", q * 0.3, k), axis=-1), v), (2, 6, 8), (2, 5, 8)),
    "masked by hand": (lambda q, k, v: nn.softmax(lnp.where(lnp.tri(6, dtype=bool), q @ k.mT,
                                                            -lnp.inf), axis=-1) @ v,
                       (2, 6, 8), (2, 6, 8)),
}


@pytest.mark.parametrize("name", OTHER_ATTENTION)
def test_other_attention(name):
    f, q, k = OTHER_ATTENTION[name]
    require_equal(f, heads(q, k), {SDPA: 1})


def test_values_of_another_width():
    require_equal(F.dot_product_attention, heads(v=(2, 5, 4, 3)), {SDPA: 1})


PLAIN_ATTENTION = {
    "weights that are read": lambda q, k, v: (
        nn.softmax(q @ k.mT, axis=-1), nn.softmax(q @ k.mT, axis=-1) @ v),
    "over queries": lambda q, k, v: nn.softmax(q @ k.mT, axis=-2) @ v,
    "a finite mask": lambda q, k, v: nn.softmax(
        lnp.where(q[..., :1] > 0, q @ k.mT, -1e9), axis=-1) @ v,
    "a softened product": lambda q, k, v: nn.softmax(lnp.tanh(q @ k.mT), axis=-1) @ v,
    "a scale for each query": lambda q, k, v: nn.softmax((q @ k.mT) / q[..., :1], axis=-1) @ v,
    "doubles": lambda q, k, v: F.scaled_dot_product_attention(
        *[x.astype("float64") for x in (q, k, v)]),
    "no places": lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :, :0], v[:, :, :0]),
}


@pytest.mark.parametrize("name", PLAIN_ATTENTION)
def test_what_is_no_attention_stays(name, device):
    if name == "doubles" and device == "gpu":
        pytest.skip("a GPU has no float64")
    require_plain(PLAIN_ATTENTION[name], heads((2, 4, 6, 8), (2, 4, 6, 8)))


def test_dropout_of_weights_stays():
    f = lambda q, k, v, key: F.scaled_dot_product_attention(q, k, v, dropout_p=0.5,
                                                            dropout_key=key)
    require_plain(f, (*heads((2, 4, 6, 8), (2, 4, 6, 8)), put(random.key(0))))


# ------------------------------------------------------------------ derivatives and batches

def block(x, w, b):
    y = F.layer_norm(x, 8, b, b)
    y = F.dot_product_attention(*[F.linear(y, w, b).reshape((2, 5, 2, 4))] * 3, is_causal=True)
    return F.rms_norm(x + F.linear(y.reshape((2, 5, 8)), w, b), 8)


def test_derivatives_are_ours():
    args = (array(2, 5, 8), array(8, 8), array(8))
    total = lambda *args: lnp.sum(lnp.sin(block(*args)))
    require_equal(block, args, {"layer_norm": 1, "rms_norm": 1, SDPA: 1, "addmm": 2})
    with lf.config.override(fast_paths="on"):
        inner = lf.grad(lf.jit(total), argnums=(0, 1, 2))(*args)
    with lf.config.override(fast_paths="off"):
        wanted = lf.grad(total, argnums=(0, 1, 2))(*args)
    for got, want in zip(inner, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), atol=2e-5)
    for g in (lf.value_and_grad(total, argnums=(0, 1, 2)),
              lambda *args: lf.jvp(lambda x: block(x, *args[1:]), args[:1], args[:1]),
              lambda *args: lf.grad(lambda x: lnp.sum(lf.grad(total)(x, *args[1:]) ** 2))(args[0]),
              lambda *args: lf.vmap(lambda s: block(args[0] * s, *args[1:]))(args[2][:3])):
        for got, want in zip(run(g, args, "on"), run(g, args, "off"), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_a_step_that_differentiates_keeps_what_it_reads():
    g = lf.grad(lambda x, w, b: lnp.sum(lnp.sin(F.layer_norm(F.linear(x, w, b), 8))))
    source = compiled(g, (array(5, 4), array(4, 8), array(8)))
    assert "= layer_norm(" not in source and source.count("= addmm(") == 1


def test_lanes_with_weights_of_their_own_share_the_norm_alone():
    f = lf.vmap(lambda x, w: F.layer_norm(x, 8, w))
    require_equal(f, (array(3, 2, 8), array(3, 8)), {"layer_norm": 1})


# ------------------------------------------------------------------ models and settings

@pytest.fixture
def gpt():
    net = models.GPT(17, 8, 16, 2, 2, dropout=0.0)
    params, state = net.init(random.key(0))
    tokens = np.random.default_rng(0).integers(0, 17, (2, 8)).astype("int32")
    return (lambda params, tokens: net.apply(params, state, tokens)[0],
            put((params, tokens)))


def test_gpt(gpt):
    source = compiled(*gpt)
    counts = {name: source.count(f"= {name}(") for name in ("layer_norm", SDPA, "addmm")}
    assert counts == {"layer_norm": 5, SDPA: 2, "addmm": 12}
    for got, want in zip(run(*gpt, "on"), run(*gpt, "off"), strict=True):
        np.testing.assert_allclose(got, want, atol=spacing("float32") * 100)


def test_gpt_with_a_cache(gpt):
    net = models.GPT(17, 8, 16, 2, 2, dropout=0.0)
    _, (params, tokens) = gpt
    cache = put(net.init_cache(2))

    def f(params, tokens, cache):
        logits = []
        for i in range(3):
            (out, cache), _ = net.apply(params, {}, tokens[:, i:i + 1], cache=cache)
            logits.append(out)
        return logits

    args = (params, tokens, cache)
    assert compiled(f, args).count(f"= {SDPA}(") == 6
    for got, want in zip(run(f, args, "on"), run(f, args, "off"), strict=True):
        np.testing.assert_allclose(got, want, atol=spacing("float32") * 100)


def test_pieces_that_mlx_compiles(gpt, monkeypatch):
    args, want = gpt[1], run(*gpt, "off")[0]
    f = lambda *args: gpt[0](*args)  # is not compiled yet
    monkeypatch.setattr(args[1].value.backend, "compiles", True)
    source = compiled(f, args)
    assert "def part_0" in source and f"= {SDPA}(" in source
    np.testing.assert_allclose(run(f, args, "on")[0], want, atol=spacing("float32") * 100)


def test_the_setting(gpt, device):
    assert lf.config.fast_paths == "default"
    found = "= layer_norm(" in compiled(*gpt, fast="default")
    assert found == (device == "gpu")  # no faster on a CPU
    with pytest.raises(ValueError, match="fast_paths must be one of"):
        lf.config.override(fast_paths="always").__enter__()
