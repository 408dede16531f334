"""`lucidfn.random`: stored values of `jax.random`, keys, distributions, keys used twice."""

import pickle
import warnings

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.array import unwrap
from lucidfn.errors import KeyReuseError
from lucidfn.passes.key_reuse import consume_by_program, find_key_reuse

# name, arguments after the key, values of jax.random for key(42): equal to the bit.
EXACT = [
    ("bits", ((4,),), {}, [2098992034, 2919706841, 2646866425, 2409546199]),
    ("bits", ((3,), "uint8"), {}, [162, 217, 249]),
    ("uniform", ((4,),), {}, [0.48870957, 0.6797972, 0.6162715, 0.5610161]),
    ("uniform", ((4,),), dict(minval=-3.3, maxval=5.1), [0.8051602, 2.410296, 1.8766804, 1.412535]),
    ("bernoulli", (0.3, (8,)), {}, [False, False, False, False, False, False, True, False]),
    ("randint", ((5,), -5, 1000), {}, [184, 514, 736, 539, 804]),
    ("randint", ((4,), 0, 256, "uint8"), {}, [196, 18, 183, 193]),
    ("randint", ((2,), -2 ** 31, 2 ** 31 - 1), {}, [977810628, 1236381714]),
    ("permutation", (10,), {}, [7, 4, 2, 5, 3, 6, 8, 9, 0, 1]),
    ("choice", (10, (4,)), dict(replace=False), [7, 4, 2, 5]),
    ("rademacher", ((6,),), {}, [1, -1, -1, -1, 1, -1]),
    ("categorical", (np.log(np.float32([0.1, 0.2, 0.7])),), dict(shape=(8,)),
     [2, 2, 2, 2, 1, 2, 1, 2]),
]

# The same, equal but for rounding.
CLOSE = [
    ("normal", ((5,),), {}, [-0.028304616, 0.46713185, 0.29570296, 0.15354592, -0.12403282]),
    ("truncated_normal", (-1.0, 2.0, (3,)), {}, [0.14770006, 0.5684449, 0.4210255]),
    ("gumbel", ((3,),), {}, [0.3340934, 0.95201945, 0.72553056]),
    ("exponential", ((3,),), {}, [0.6708175, 1.1388006, 0.95782]),
    ("laplace", ((3,),), {}, [0.022839652, -0.44565356, -0.2646729]),
    ("logistic", ((3,),), {}, [-0.045169413, 0.7528398, 0.47375232]),
    ("cauchy", ((3,),), {}, [-0.03548463, 0.6337261, 0.38244057]),
    ("gamma", (0.7, (3,)), {}, [1.4985034, 0.6783818, 2.116648]),
    ("loggamma", (0.01, (3,)), {}, [-53.09775, -17.201189, -25.394077]),
    ("beta", (2.0, 0.5, (3,)), {}, [0.9489363, 0.99964106, 0.9180625]),
    ("dirichlet", (np.float32([0.5, 1.0, 2.0]),), {}, [0.20680316, 0.06861008, 0.7245868]),
    ("t", (3.0, (3,)), {}, [0.08987478, -1.7357467, 2.352019]),
    ("chisquare", (3.0, (3,)), {}, [5.870714, 1.397851, 5.5594234]),
    ("f", (3.0, 5.0, (3,)), {}, [0.7283635, 0.3569255, 0.23560737]),
    ("lognormal", (0.5, (3,)), {}, [0.9859474, 1.2630961, 1.1593407]),
    ("maxwell", ((3,),), {}, [0.5535825, 0.29328507, 1.708603]),
    ("pareto", (2.0, (3,)), {}, [1.3985119, 1.7672069, 1.6143138]),
    ("rayleigh", (2.0, (3,)), {}, [2.3933022, 1.7571814, 1.9678774]),
    ("weibull_min", (2.0, 1.5, (3,)), {}, [1.5326145, 2.1810308, 1.943357]),
    ("triangular", (0.0, 0.3, 1.0, (3,)), {}, [0.4017498, 0.52656364, 0.48172408]),
    ("wald", (1.5, (3,)), {}, [1.6461202, 2.6983466, 0.35188103]),
    ("generalized_normal", (1.5, (3,)), {}, [-0.87823755, -0.20616245, 1.160471]),
    ("ball", (2,), {}, [0.3234561, 0.06134896]),
    ("double_sided_maxwell", (1.0, 2.0, (3,)), {}, [-1.7620435, -0.35137796, 5.4440427]),
    ("poisson", (3.3, (6,)), {}, [6, 2, 2, 1, 5, 3]),
    ("poisson", (100.0, (4,)), {}, [107, 109, 90, 93]),
    ("binomial", (20.0, 0.3, (4,)), {}, [5.0, 7.0, 4.0, 5.0]),
    ("binomial", (1000.0, 0.7, (4,)), {}, [690.0, 687.0, 715.0, 711.0]),
    ("geometric", (0.2, (4,)), {}, [4, 2, 3, 3]),
    ("multivariate_normal", (np.float32([1, 2]), np.float32([[2, 0.5], [0.5, 1]])), {},
     [0.95997125, 2.4269547]),
    ("orthogonal", (2,), {}, [-0.09528422, 0.9954501, 0.9954501, 0.09528429]),
]


def values(x):
    return np.asarray(x)


def words(keys):
    return random.key_data(keys).tolist()


def ulps(a, b):
    """How many float32 numbers lie between a and b."""
    a, b = (np.asarray(x, np.float32).view(np.int32).astype(np.int64) for x in (a, b))
    a, b = (np.where(x < 0, -(x & 0x7FFFFFFF), x) for x in (a, b))
    return np.abs(a - b)


# ------------------------------------------------------------------ the values of jax.random

@pytest.mark.parametrize(("name", "args", "kwargs", "expected"), EXACT, ids=str)
def test_equal_to_the_bit(name, args, kwargs, expected):
    got = values(getattr(random, name)(random.key(42), *args, **kwargs))
    assert got.tolist() == np.asarray(expected, got.dtype).tolist()


@pytest.mark.parametrize(("name", "args", "kwargs", "expected"), CLOSE, ids=str)
def test_close(name, args, kwargs, expected):
    got = values(getattr(random, name)(random.key(42), *args, **kwargs)).ravel()
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_keys():
    assert words(random.key(42)) == [0, 42]
    assert words(random.split(random.key(42), 3)) == [
        [1832780943, 270669613], [64467757, 2916123636], [2465931498, 255383827]]
    assert words(random.fold_in(random.key(42), 7)) == [2547012911, 1371500959]
    assert words(random.key(-1)) == [0, 2**32 - 1]
    assert words(random.key(2**32 + 5)) == [0, 5]
    assert words(random.key(np.arange(3))) == [[0, 0], [0, 1], [0, 2]]
    with lf.config.override(default_int="int64"):
        assert words(random.key(2**32 + 5)) == [1, 5]


def test_normal_to_four_ulp():
    got = random.normal(random.key(-1), (4,))
    stored = [0.046248958, 0.11777987, -0.08477101, 1.4405614]
    assert ulps(got, stored).max() <= 4


@pytest.mark.peers
def test_parity_with_jax():
    jax = pytest.importorskip("jax")
    theirs = jax.random
    for seed in (0, 123456789):
        key, other = random.key(seed), theirs.key(seed)
        for name, args in [
            ("bits", ((1000,),)), ("uniform", ((1000,),)), ("uniform", ((7, 9), "float16")),
            ("uniform", ((1000,), "bfloat16", -2.0, 3.0)), ("uniform", ((1000,), None, 0.1, 0.7)),
            ("bernoulli", (0.1, (1000,))), ("bernoulli", (0.5, (1000,), "high")),
            ("randint", ((1000,), 0, 10)), ("randint", ((100,), -128, 128, "int8")),
            ("randint", ((100,), 5, 5)), ("permutation", (3000,)),
            ("permutation", (np.arange(24.0, dtype="float32").reshape(4, 6), 1)),
            ("permutation", (np.arange(24, dtype="int32").reshape(4, 6), 1, True)),
            ("choice", (5, (100,), True, np.float32([0.1, 0.2, 0.3, 0.2, 0.2]))),
            ("categorical", (np.log(np.float32([[0.2, 0.8], [0.5, 0.5]])), 0, (50, 2))),
        ]:
            got = values(getattr(random, name)(key, *args))
            expected = np.asarray(getattr(theirs, name)(other, *args))
            assert got.dtype == expected.dtype and got.shape == expected.shape
            assert got.tobytes() == expected.tobytes(), name
        assert ulps(random.normal(key, (100_000,)), theirs.normal(other, (100_000,))).max() <= 4


# ------------------------------------------------------------------ keys as arrays

def test_keys_are_arrays():
    keys = random.split(random.key(0), 6)
    key1, key2 = random.split(random.key(0))
    assert keys.shape == (6,) and keys[0].shape == () and keys[1:3].shape == (2,)
    assert words(lnp.reshape(keys, (2, 3))[1, 0]) == words(keys[3])
    assert words(lnp.stack([key1, key2])) == words(random.split(random.key(0)))
    assert words(lnp.where(True, key1, key2)) == words(key1)
    assert [words(k) for k in keys] == words(keys)
    assert words(pickle.loads(pickle.dumps(key1))) == words(key1)
    assert random.split(random.key(0), (2, 3)).shape == (2, 3)
    assert words(lf.tree.map(lambda x: x, {"key": key1})["key"]) == words(key1)


def test_key_data_and_back():
    keys = random.split(random.key(0), 3)
    again = random.wrap_key_data(random.key_data(keys))
    assert words(again) == words(keys) and again.dtype == keys.dtype
    assert random.key_impl(keys) == "threefry2x32"
    assert random.key_impl(random.key(0, impl="philox")) == "philox"


def test_fold_in_of_names():
    key = random.key(0)
    named = [words(random.fold_in(key, name)) for name in ("dropout", "noise")]
    assert named[0] != named[1] and named[0] == words(random.fold_in(key, "dropout"))
    assert words(lf.vmap(random.fold_in, in_axes=(None, 0))(key, lnp.arange(3)))[2] == words(
        random.fold_in(key, 2))


@pytest.mark.parametrize("impl", ["threefry2x32", "philox"])
def test_vmap_and_jit_agree_with_single_calls(impl):
    keys = random.split(random.key(3, impl=impl), 3)

    def draw(key):
        a, b, c = random.split(key, 3)
        x = random.normal(a, (2, 3)) * random.gamma(b, 2.5, (3,))
        return x + random.bernoulli(c, 0.5, (2, 1)), random.permutation(random.fold_in(a, 1), 5)

    single = [draw(k) for k in keys]
    for way in (lf.vmap(draw), lf.jit(lf.vmap(draw)), lf.vmap(lf.jit(draw))):
        floats, orders = way(keys)
        np.testing.assert_allclose(values(floats), [values(f) for f, _ in single], rtol=1e-6)
        assert values(orders).tolist() == [values(o).tolist() for _, o in single]
    empty = lf.vmap(lambda k: random.normal(k, (2,)))(keys[:0])
    assert empty.shape == (0, 2)


def test_vmap_over_parameters_shares_the_key():
    key, rates = random.key(1), lnp.asarray([0.5, 3.0, 40.0])
    for f in (lambda a: random.gamma(key, a, (4,)), lambda a: random.poisson(key, a, (4,))):
        together = values(lf.vmap(f)(rates))
        assert together.tolist() == [values(f(a)).tolist() for a in rates]


def test_dtypes():
    key = random.key(0)
    assert random.normal(key).dtype == np.float32
    assert random.normal(key, dtype="bfloat16").dtype == lnp.bfloat16
    assert random.normal(key, dtype="complex64").dtype == np.complex64
    assert random.uniform(key, dtype="float64").dtype == np.float64
    assert random.gamma(key, np.ones(2)).dtype == np.float64  # a float64 array is honoured
    assert random.randint(key, (), 0, 9).dtype == np.int32
    with lf.default_dtype("float64"):
        assert random.normal(key).dtype == np.float64


def test_zero_sizes():
    key = random.key(0)
    for name in ("normal", "uniform", "bits", "gumbel"):
        assert getattr(random, name)(key, (0, 3)).shape == (0, 3)
    assert random.gamma(key, 1.0, (0,)).shape == random.poisson(key, 1.0, (0,)).shape == (0,)
    assert random.permutation(key, 0).shape == (0,)
    assert random.choice(key, 5, (0,)).shape == (0,)


# ------------------------------------------------------------------ distributions

# name, arguments, mean, variance
MOMENTS = [
    ("uniform", (), 0.5, 1 / 12), ("normal", (), 0.0, 1.0), ("exponential", (), 1.0, 1.0),
    ("laplace", (), 0.0, 2.0), ("logistic", (), 0.0, np.pi**2 / 3),
    ("gumbel", (), 0.5772156649, np.pi**2 / 6), ("rademacher", (), 0.0, 1.0),
    ("maxwell", (), 2 * np.sqrt(2 / np.pi), 3 - 8 / np.pi),
    ("bernoulli", (0.3,), 0.3, 0.21), ("gamma", (0.3,), 0.3, 0.3), ("gamma", (7.5,), 7.5, 7.5),
    ("beta", (2.0, 3.0), 0.4, 0.04), ("poisson", (0.7,), 0.7, 0.7), ("poisson", (9.5,), 9.5, 9.5),
    ("poisson", (55.0,), 55.0, 55.0), ("binomial", (12.0, 0.4), 4.8, 2.88),
    ("binomial", (500.0, 0.8), 400.0, 80.0), ("binomial", (3.0, 1.0), 3.0, 0.0),
    ("binomial", (3.0, 0.0), 0.0, 0.0), ("geometric", (0.25,), 4.0, 12.0),
    ("chisquare", (4.0,), 4.0, 8.0), ("t", (8.0,), 0.0, 8 / 6), ("rayleigh", (1.0,),
                                                               np.sqrt(np.pi / 2), 2 - np.pi / 2),
    ("wald", (1.0,), 1.0, 1.0), ("triangular", (0.0, 0.5, 1.0), 0.5, 1 / 24),
    ("generalized_normal", (2.0,), 0.0, 0.5), ("f", (5.0, 12.0), 1.2, 1.08),
    ("pareto", (5.0,), 1.25, 5 / 48), ("weibull_min", (1.0, 1.0), 1.0, 1.0),
]


@pytest.mark.parametrize("impl", ["threefry2x32", "philox"])
@pytest.mark.parametrize(("name", "args", "mean", "variance"), MOMENTS, ids=str)
def test_moments(name, args, mean, variance, impl):
    n = 20_000
    key = random.key(7, impl=impl)
    first = name in ("uniform", "normal", "exponential", "laplace", "logistic", "gumbel", "maxwell",
                     "rademacher")
    draws = values(getattr(random, name)(key, (n,)) if first
                   else getattr(random, name)(key, *args, (n,))).astype(np.float64)
    assert abs(draws.mean() - mean) <= 5 * np.sqrt(variance / n) + 1e-7
    fourth = np.mean((draws - mean) ** 4)
    assert abs(np.mean((draws - mean) ** 2) - variance) <= 6 * np.sqrt(fourth / n) + 1e-7


def test_philox_is_another_stream():
    a, b = (random.normal(random.key(0, impl=i), (4,)) for i in ("threefry2x32", "philox"))
    assert values(a).tolist() != values(b).tolist()
    with lf.config.override(default_prng_impl="philox"):
        assert random.key_impl(random.key(0)) == "philox"


def test_categorical_and_choice_follow_their_probabilities():
    p = np.float32([0.1, 0.2, 0.7])
    key1, key2 = random.split(random.key(0))
    for draws in (random.categorical(key1, np.log(p), shape=(9000,)),
                  random.choice(key2, 3, (9000,), p=p)):
        counts = np.bincount(values(draws), minlength=3) / 9000
        np.testing.assert_allclose(counts, p, atol=0.02)
    few = values(random.categorical(key1, np.log(p), shape=(3,), replace=False))
    assert sorted(few.tolist()) == [0, 1, 2]
    table = np.arange(12).reshape(3, 4)
    assert random.choice(key1, table, (2, 5), axis=1).shape == (3, 2, 5)
    assert sorted(values(random.choice(key1, 5, (5,), replace=False)).tolist()) == [0, 1, 2, 3, 4]


def test_vectors():
    key = random.key(0)
    shares = values(random.dirichlet(key, np.float32([0.2, 1.0, 3.0]), (500,)))
    np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-5)
    q = values(random.orthogonal(key, 4, (2,), m=3))
    np.testing.assert_allclose(q.transpose(0, 2, 1) @ q, np.eye(3) + np.zeros((2, 3, 3)), atol=1e-5)
    assert (np.linalg.norm(values(random.ball(key, 3, shape=(200,))), axis=-1) <= 1.0).all()
    cov = np.array([[2.0, 0.6], [0.6, 1.0]])
    for method in ("cholesky", "eigh", "svd"):
        x = values(random.multivariate_normal(key, np.zeros(2), cov, (20_000,), method=method))
        np.testing.assert_allclose(np.cov(x.T), cov, atol=0.06)
    counts = values(random.multinomial(key, 50.0, np.float32([[0.1, 0.9], [0.5, 0.5]])))
    assert counts.shape == (2, 2) and (counts.sum(-1) == 50).all()
    inside = values(random.truncated_normal(key, -0.5, 0.25, (2000,)))
    assert inside.min() > -0.5 and inside.max() < 0.25


# ------------------------------------------------------------------ derivatives

@pytest.mark.parametrize("draw", [
    lambda key, a: random.uniform(key, (5,), minval=a, maxval=2.0 * a + 1.0),
    lambda key, a: random.truncated_normal(key, -a, 2.0 * a, (5,)),
    lambda key, a: random.lognormal(key, a, (5,)),
    lambda key, a: random.pareto(key, a, (5,)),
    lambda key, a: random.weibull_min(key, a, a + 1.0, (5,)),
    lambda key, a: random.triangular(key, -a, a, 2.0 * a, (5,)),
    lambda key, a: random.multivariate_normal(key, np.zeros(2), a * np.eye(2), (3,)),
], ids=["uniform", "truncated", "lognormal", "pareto", "weibull", "triangular", "multivariate"])
def test_samples_are_differentiable(draw):
    key, h = random.key(5), 1e-6
    array = lambda a: lnp.asarray(a, "float64")

    def total(a):
        x = draw(key, a)
        return lnp.sum(x * np.cos(np.arange(x.size, dtype=float)).reshape(x.shape))

    slope = float(lf.grad(total)(array(1.7)))
    difference = (float(total(array(1.7 + h))) - float(total(array(1.7 - h)))) / (2 * h)
    assert slope == pytest.approx(difference, rel=1e-7)


@pytest.mark.parametrize(("draw", "slope"), [
    (lambda key, a: random.gamma(key, a), 1.0),  # E[x] = a
    (lambda key, a: random.loggamma(key, a), np.pi**2 / 6 - 1),  # digamma(a)
    (lambda key, a: random.beta(key, a, 2.0), 1 / 8),  # a / (a + 2)
    (lambda key, a: random.chisquare(key, a), 1.0),
])
def test_rejection_samples_have_the_derivative_of_their_mean(draw, slope):
    # Where rejection makes a sample jump its derivative is that at fixed probability.
    a = lnp.full((40_000,), 2.0)
    slopes = lf.grad(lambda a: lnp.sum(draw(random.key(0), a)))(a)
    assert float(lnp.mean(slopes)) == pytest.approx(slope, rel=0.03)


def test_integers_and_keys_have_no_derivative():
    def loss(x, key):
        return x * random.normal(key) + random.poisson(key, 3.0)
    assert float(lf.grad(loss)(2.0, random.key(0))) == float(random.normal(random.key(0)))


# ------------------------------------------------------------------ errors

@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda k: random.normal(0), TypeError, "random.key(0)"),
    (lambda k: random.normal(random.key_data(k)), TypeError, "random.wrap_key_data"),
    (lambda k: random.normal(None), TypeError, "needs a random key"),
    (lambda k: random.normal(random.split(k)), TypeError, "lf.vmap(random.normal)"),
    (lambda k: random.split(random.split(k)), TypeError, "lf.vmap(random.split)"),
    (lambda k: random.key(1.5), TypeError, "a seed is an integer"),
    (lambda k: random.key("a"), TypeError, ""),
    (lambda k: random.key(2**64), OverflowError, "64 bits"),
    (lambda k: random.key(0, impl="mersenne"), ValueError, "threefry2x32"),
    (lambda k: random.normal(k, (2.5,)), TypeError, "shape"),
    (lambda k: random.normal(k, (-1,)), ValueError, "negative"),
    (lambda k: random.normal(k, dtype="int32"), TypeError, "floating"),
    (lambda k: random.randint(k, (), 0, 5, "float32"), TypeError, "integer"),
    (lambda k: random.uniform(k, (3,), minval=np.zeros(4)), ValueError, "broadcast"),
    (lambda k: random.fold_in(k, 1.5), TypeError, "integer"),
    (lambda k: random.fold_in(k, lnp.arange(2)), TypeError, "vmap"),
    (lambda k: random.choice(k, 3, (4,), replace=False), ValueError, "4 different samples"),
    (lambda k: random.choice(k, 3, (4,), p=np.ones(2)), ValueError, "p must have shape (3,)"),
    (lambda k: random.categorical(k, np.zeros((2, 3)), shape=(3,)), ValueError, "must end with"),
    (lambda k: random.wrap_key_data(np.zeros(2)), TypeError, "uint32[..., 2]"),
    (lambda k: random.multivariate_normal(k, np.zeros(2), np.eye(3)), ValueError, "cov[..., n, n]"),
    (lambda k: k + 1, TypeError, "arithmetic"),
    (lambda k: lnp.sum(random.split(k)), TypeError, "arithmetic"),
    (lambda k: lnp.sin(k), TypeError, "key"),
])
def test_messages(call, kind, text):
    with pytest.raises(kind) as info:
        call(random.key(0))
    assert text in str(info.value)


def test_a_traced_shape_is_explained():
    with pytest.raises(TypeError):
        lf.jit(lambda k, n: random.normal(k, (n,)))(random.key(0), 3)


# ------------------------------------------------------------------ keys used twice

def twice(key):
    x = random.normal(key)
    return x + random.uniform(key)


def in_a_loop(key):
    return sum(random.normal(key) for _ in range(2))


def the_same_index(key):
    keys = random.split(key)
    return random.normal(keys[0]) + random.normal(keys[0])


def the_same_data(key):
    return random.normal(random.fold_in(key, 1)) + random.normal(random.fold_in(key, 1))


def split_twice(key):
    return random.split(key), random.split(key)


def through_a_shape(key):
    return random.normal(key) + random.normal(lnp.reshape(key, (1,))[0])


inner = lf.jit(lambda key: random.normal(key))


def in_two_calls(key):
    return inner(key) + inner(key)


def in_a_batch(key):
    return lf.vmap(lambda k: random.normal(k) * random.normal(k))(random.split(key))


def properly(key):
    key1, key2 = random.split(key)
    return random.normal(key1) + random.normal(key2)


def by_different_data(key):
    return random.normal(random.fold_in(key, 1)) + random.normal(random.fold_in(key, 2))


def cloned(key):
    return random.normal(key) + random.normal(random.clone(key))


def rematerialised(key):
    return lf.grad(lf.checkpoint(lambda x: lnp.sin(x * random.normal(key))))(2.0)


def one_key_for_all_lanes(key):
    return lf.vmap(lambda x: x * random.normal(key))(lnp.ones(3))


REUSED = [twice, in_a_loop, the_same_index, the_same_data, split_twice, through_a_shape,
          in_two_calls, in_a_batch]
FINE = [properly, by_different_data, cloned, rematerialised, one_key_for_all_lanes]


@pytest.mark.parametrize("f", REUSED)
def test_reuse_in_a_program_is_found(f):
    found = find_key_reuse(lf.make_ir(f)(random.key(0)))
    assert len(found) == 1
    assert str(found[0]).count("test_random.py:") == 2
    with pytest.warns(UserWarning, match="random.split"):
        lf.jit(f)(random.key(0))
    with lf.config.override(key_reuse="error"), pytest.raises(KeyReuseError):
        lf.jit(f)(random.key(0))
    with lf.config.override(key_reuse="off"), warnings.catch_warnings():
        warnings.simplefilter("error")
        lf.jit(f)(random.key(0))


@pytest.mark.parametrize("f", FINE)
def test_proper_use_is_not_reported(f):
    assert find_key_reuse(lf.make_ir(f)(random.key(0))) == []


def test_the_message_names_both_lines():
    line = twice.__code__.co_firstlineno
    message = str(find_key_reuse(lf.make_ir(twice)(random.key(0)))[0])
    assert f"test_random.py:{line + 1}" in message and f"test_random.py:{line + 2}" in message


@pytest.mark.parametrize("f", [f for f in REUSED if f is not in_two_calls])
def test_strict_mode_finds_reuse_in_eager_code(f):
    f(random.key(0))  # by default eager code is not checked
    with lf.config.override(key_reuse="error"):
        with pytest.raises(KeyReuseError, match="test_random.py"):
            f(random.key(0))
        for good in FINE:
            good(random.key(0))
            good(random.key(0))  # a key made again is a new key


def test_strict_mode_across_functions():
    with lf.config.override(key_reuse="error"):
        key = random.key(0)
        random.normal(key)
        with pytest.raises(KeyReuseError, match="random.normal at test_random.py:.* "
                           "random.split at test_random.py:"):
            random.split(key)


def test_strict_mode_through_a_recorded_program():
    program = lf.make_ir(properly)(random.key(0))
    with lf.config.override(key_reuse="error"):
        key = random.key(0)
        consume_by_program(program, [unwrap(key)])
        with pytest.raises(KeyReuseError, match="random_split at .* random.normal at"):
            random.normal(key)
