"""Initializers: shapes, moments, errors, the numbers of JAX; and ravel_pytree."""

import math

import numpy as np
import pytest

import lucidfn as lf
from lucidfn import nn, random
from lucidfn.flatten_util import ravel_pytree
from lucidfn.nn import initializers as init

KEY = 3
SCALED = """glorot_uniform glorot_normal xavier_uniform xavier_normal lecun_uniform lecun_normal
he_uniform he_normal kaiming_uniform kaiming_normal orthogonal""".split()
PLAIN = ["uniform", "normal", "truncated_normal"]


@pytest.mark.parametrize(("name", "variance"), [
    ("glorot_uniform", 2 / 500), ("glorot_normal", 2 / 500), ("lecun_uniform", 1 / 300),
    ("lecun_normal", 1 / 300), ("he_uniform", 2 / 300), ("he_normal", 2 / 300)])
def test_variance(name, variance):
    x = np.asarray(getattr(init, name)()(random.key(KEY), (300, 200)))
    assert x.dtype == "float32"
    assert abs(x.mean()) < 4 * math.sqrt(variance / x.size)
    assert x.var() == pytest.approx(variance, rel=0.03)
    bound = math.sqrt(3 * variance) if "uniform" in name else 2 * math.sqrt(variance) / 0.8796
    assert np.abs(x).max() <= bound * (1 + 1e-6)


def test_fans_of_a_convolution():
    assert init.fans((3, 5, 4, 8)) == (60, 120)
    assert init.fans((8, 4, 3, 5), in_axis=1, out_axis=0) == (60, 120)
    assert init.fans((7, 4, 8), batch_axis=0) == (4, 8)
    x = np.asarray(init.he_normal(in_axis=1, out_axis=0)(random.key(0), (64, 32, 3, 3)))
    assert x.std() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.03)


def test_constants():
    assert init.zeros(None, (2,)).tolist() == [0, 0]
    assert init.ones(None, (2,), "int32").dtype == "int32"
    assert init.constant(3.5)(None, (1, 2)).tolist() == [[3.5, 3.5]]
    assert init.constant([1, 2])(None, (2, 2)).tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 4)])
@pytest.mark.parametrize("axis", [-1, 0])
def test_orthogonal(shape, axis):
    x = np.asarray(init.orthogonal(2.0, axis)(random.key(0), shape, "float64"))
    assert x.shape == shape
    m = np.moveaxis(x, axis, -1).reshape(-1, shape[axis]) / 2
    gram = m.T @ m if m.shape[0] >= m.shape[1] else m @ m.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_delta_orthogonal():
    x = np.array(init.delta_orthogonal()(random.key(0), (3, 4, 2, 5), "float64"))
    assert x.shape == (3, 4, 2, 5)
    np.testing.assert_allclose(x[1, 1] @ x[1, 1].T, np.eye(2), atol=1e-12)
    x[1, 1] = 0
    assert (x == 0).all()


def test_complex_and_dtype():
    x = np.asarray(init.lecun_normal(dtype="complex64")(random.key(0), (200, 100)))
    assert x.dtype == "complex64"
    assert np.mean(np.abs(x) ** 2) == pytest.approx(1 / 200, rel=0.05)
    assert init.normal()(random.key(0), (2,), "bfloat16").dtype.name == "bfloat16"
    assert init.normal(dtype="float64")(random.key(0), (2,)).dtype == "float64"
    jitted = lf.jit(lambda k: init.he_normal()(k, (4, 3)))
    np.testing.assert_allclose(jitted(random.key(0)), init.he_normal()(random.key(0), (4, 3)),
                               rtol=1e-6)


# ------------------------------------------------------------------ PyTorch's

@pytest.mark.peers
@pytest.mark.parametrize("name", """linear conv2d conv_transpose3d sigmoid tanh relu selu
leaky_relu""".split())
def test_gains_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.3))


@pytest.mark.parametrize(("make", "variance"), [
    (lambda: init.kaiming_uniform(a=math.sqrt(5)), 1 / 3 / 300),  # PyTorch's start of Linear
    (lambda: init.kaiming_normal(mode="fan_out"), 2 / 200),
    (lambda: init.kaiming_normal(nonlinearity="tanh"), 25 / 9 / 300),
    (lambda: init.kaiming_uniform(nonlinearity="relu", mode="fan_avg"), 2 / 250),
    (lambda: init.xavier_uniform(gain=2.0), 8 / 500),
    (lambda: init.xavier_normal(gain=5 / 3), 50 / 9 / 500)])
def test_options_of_kaiming_and_xavier(make, variance):
    x = np.asarray(make()(random.key(KEY), (300, 200)))
    assert x.var() == pytest.approx(variance, rel=0.03)


def test_identities():
    assert init.eye(2.0)(None, (2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]
    assert init.identity is init.eye
    assert init.eye(dtype="float64")(None, (2, 2)).dtype == "float64"
    x = np.arange(2 * 5 * 4 * 6, dtype="float32").reshape(2, 5, 4, 6)
    for groups in (1, 2, 3):
        kernel = init.dirac(groups)(None, (3, 3, 6 // groups, 6))
        assert kernel.dtype == "float32"
        np.testing.assert_array_equal(nn.functional.conv2d(x, kernel, padding=1, groups=groups), x)


@pytest.mark.peers
@pytest.mark.parametrize(("shape", "groups"), [((3, 2, 4, 6), 1), ((3, 3, 6, 4), 2), ((5, 3, 2), 1),
                                               ((2, 3, 3, 1, 4), 4)])
def test_dirac_is_that_of_pytorch(shape, groups):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init.dirac_(torch.empty(shape[-1], shape[-2], *shape[:-2]), groups).numpy()
    ours = np.moveaxis(np.asarray(init.dirac(groups)(None, shape)), (-1, -2), (0, 1))
    np.testing.assert_array_equal(ours, theirs)


def test_sparse():
    x = np.asarray(init.sparse(0.85, 0.5)(random.key(KEY), (50, 400)))
    assert ((x == 0).sum(axis=0) == 43).all()
    assert x[x != 0].std() == pytest.approx(0.5, rel=0.05)
    assert (x == 0).mean(axis=1).std() < 0.03  # spread evenly over the rows
    jitted = lf.jit(lambda k: init.sparse(0.5)(k, (8, 3)))
    np.testing.assert_array_equal(jitted(random.key(1)), init.sparse(0.5)(random.key(1), (8, 3)))


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: init.variance_scaling(1.0, "fan", "normal"), ValueError, "mode must be one of"),
    (lambda: init.variance_scaling(1.0, "fan_in", "beta"), ValueError, "distribution must be"),
    (lambda: init.he_normal()(random.key(0), (3,)), ValueError, "at least two axes"),
    (lambda: init.orthogonal()(random.key(0), (3,)), ValueError, "at least two axes"),
    (lambda: init.delta_orthogonal()(random.key(0), (3, 5, 2)), ValueError, "in <= out"),
    (lambda: init.normal()(random.key(0), (3,), "int32"), TypeError, "floating or complex"),
    (lambda: init.calculate_gain("gelu"), ValueError, "nonlinearity 'gelu', expected one of"),
    (lambda: init.kaiming_normal(nonlinearity="swish"), ValueError, "expected one of"),
    (lambda: init.kaiming_normal(mode="fan"), ValueError, "mode must be one of"),
    (lambda: init.eye()(None, (3, 3, 2, 2)), ValueError, "that of a convolution"),
    (lambda: init.dirac(2)(None, (3, 3, 2, 3)), ValueError, "multiple of 2 groups"),
    (lambda: init.sparse(1.5), ValueError, r"in \[0, 1\]"),
    (lambda: init.sparse(0.5)(random.key(0), (3,)), ValueError, r"\[in, out\]"),
])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.peers
@pytest.mark.parametrize("name", [*SCALED, *PLAIN, "delta_orthogonal"])
def test_numbers_are_those_of_jax(name):
    jax = pytest.importorskip("jax")
    shape = (3, 5, 7) if name != "orthogonal" else (6, 4)
    got = getattr(init, name)()(random.key(KEY), shape, "float32")
    want = getattr(jax.nn.initializers, name)()(jax.random.key(KEY), shape, "float32")
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_ravel_pytree():
    tree = {"a": np.arange(6.0).reshape(2, 3), "b": (np.float32(7), [8, np.zeros((0, 2))])}
    flat, unravel = ravel_pytree(tree)
    assert flat.dtype == "float64"
    assert flat.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    back = unravel(flat)
    assert [x.shape for x in lf.tree.leaves(back)] == [(2, 3), (), (), (0, 2)]
    assert back["b"][1][0].dtype == "int32"
    f = lambda v: sum(lf.numpy.sum(x ** 2) for x in lf.tree.leaves(unravel(v)))
    np.testing.assert_allclose(lf.grad(f)(flat)[:6], 2 * np.arange(6.0))
    jac = lf.jacobian(lambda t: ravel_pytree(t)[0])({"x": np.ones(2), "y": np.ones(1)})
    np.testing.assert_array_equal(jac["x"], np.eye(3, 2))
    assert ravel_pytree({})[0].shape == (0,)
    assert ravel_pytree({})[1](np.zeros(0)) == {}
    with pytest.raises(TypeError, match=r"needs shape \(8,\)"):
        unravel(flat[:3])
    with pytest.raises(TypeError, match="raveled to float64"):
        unravel(flat.astype("float32"))
