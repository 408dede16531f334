"""Special functions against mpmath, in units in the last place, and at their borders."""

import ml_dtypes
import mpmath as mp
import numpy as np
import pytest

from lucidfn.backends.numpy import special

mp.mp.dps = 60
RNG = np.random.default_rng(0)
NAN, INF = np.nan, np.inf


@pytest.fixture(autouse=True)
def quiet():
    """Kernels run without floating-point warnings, as their callers see to."""
    with np.errstate(all="ignore"):
        yield


def uniform(low, high, count=120):
    return RNG.uniform(low, high, count)


def powers(low, high, count=60):
    return 10.0 ** RNG.uniform(low, high, count)


def lower_gamma(a, x):
    """P(a, x) by its series, in 60 digits."""
    term = total = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1))
    n = 0
    while term > mp.mpf(10) ** -60 * total:
        n += 1
        term *= x / (a + n)
        total += term
    return total


def lower_gamma_grad(a, x):
    step = mp.mpf(10) ** -18
    return (lower_gamma(a + step, x) - lower_gamma(a - step, x)) / (2 * step)


def sample_grad(a, x):
    density = mp.exp((a - 1) * mp.log(x) - x - mp.loggamma(a))
    return -lower_gamma_grad(a, x) / density


def incomplete_beta(a, b, x):
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    term = total = mp.mpf(1)
    n = 0
    while term > mp.mpf(10) ** -60 * total:
        term *= (a + b + n) / (a + 1 + n) * x
        total += term
        n += 1
    scale = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    return total * mp.exp(a * mp.log(x) + b * mp.log1p(-x) - mp.log(a) + scale)


def around(mean, deviations):
    """Samples a few deviations around gamma(mean)'s mean."""
    return np.abs(mean + RNG.normal(size=mean.shape) * deviations * np.sqrt(mean)) + 0.01


SMALL, MIDDLE, LARGE = uniform(0.05, 10), uniform(10, 30, 60), powers(1.4, 4, 40)
TINY, ORDER = powers(-6, 0), RNG.integers(1, 8, 60).astype(float)
A, B = uniform(0.1, 10, 60), uniform(10, 500, 60)

# kernel, reference, ulp allowed in float32 and in float64, operands of several ranges
TABLE = [
    ("erf", mp.erf, 2, 4, [uniform(-4, 4)], [powers(-30, 0)], [uniform(-40, 40)]),
    ("erfc", mp.erfc, 5, 4, [uniform(-4, 4)], [uniform(0, 9)], [uniform(9, 27)]),
    ("erf_inv", mp.erfinv, 4, 6, [uniform(-1, 1, 40)], [1 - 2.0 ** -uniform(2, 23, 40)]),
    ("lgamma", mp.loggamma, 4, 8, [uniform(0, 3)], [uniform(3, 12)], [powers(-30, 37)]),
    ("lgamma", lambda x: mp.log(abs(mp.gamma(x))), 4, 6, [uniform(-2, 0)], [uniform(-90, -10)]),
    ("digamma", mp.digamma, 4, 6, [uniform(0, 2)], [uniform(1, 12)], [powers(-30, 37)],
     [1.4616321449683623 + uniform(-1, 1) * 1e-3], [uniform(-0.49, 0)]),
    ("polygamma", lambda n, x: mp.psi(int(n), x), 1, 8, [ORDER, uniform(0.01, 20, 60)],
     [ORDER, uniform(-5, 0, 60)]),
    ("zeta", mp.zeta, 1, 8, [uniform(1.01, 20, 60), uniform(0.01, 20, 60)],
     [1 + powers(-5, 0), powers(-2, 5)]),
    ("igamma", lower_gamma, 1, 32, [SMALL, SMALL * uniform(0.05, 3)], [LARGE, around(LARGE, 2)],
     [MIDDLE, MIDDLE * uniform(0.3, 2, 60)], [TINY, powers(-3, 1.5)]),
    ("igammac", lambda a, x: 1 - lower_gamma(a, x), 1, 32, [SMALL, SMALL * uniform(0.05, 3)],
     [LARGE, around(LARGE, 2)], [MIDDLE, MIDDLE * uniform(0.3, 2, 60)], [TINY, powers(-3, 1.5)]),
    ("igamma_grad_a", lower_gamma_grad, 1, 64, [SMALL[:40], SMALL[:40] * uniform(0.05, 3, 40)],
     [LARGE[:20], around(LARGE[:20], 2)], [TINY, powers(-3, 1.5)]),
    ("random_gamma_grad", sample_grad, 1, 64, [SMALL[:40], SMALL[:40] * uniform(0.05, 3, 40)],
     [LARGE[:20], around(LARGE[:20], 2)], [TINY, powers(-3, 1.5)]),
    ("betainc", incomplete_beta, 1, 128, [A, uniform(0.1, 10, 60), uniform(0.001, 0.999, 60)],
     [B, B[::-1], np.clip(B / (B + B[::-1]) * uniform(0.9, 1.1, 60), 0, 1)],
     [A, B, A / (A + B) * uniform(0.5, 1.5, 60)], [B, A, B / (A + B)]),
    ("bessel_i0e", lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), 5, 5, [uniform(-12, 12)],
     [powers(-20, 4)]),
    ("bessel_i1e", lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), 5, 5, [uniform(-12, 12)],
     [powers(-20, 4)]),
    ("i0", lambda x: mp.besseli(0, x), 6, 6, [uniform(-12, 12)], [uniform(-85, 85)]),
    ("i1", lambda x: mp.besseli(1, x), 6, 6, [uniform(-12, 12)], [uniform(-85, 85)]),
    ("expi", mp.ei, 1, 8, [uniform(0, 6)], [uniform(6, 80)], [-uniform(0, 80)], [powers(-20, 0)]),
    ("logistic", lambda x: 1 / (1 + mp.exp(-x)), 4, 4, [uniform(-20, 20)], [uniform(-100, -20)],
     [uniform(-86, 20)]),
    ("rsqrt", lambda x: 1 / mp.sqrt(x), 2, 2, [powers(-30, 30)]),
    ("log1p", mp.log1p, 4, 4, [uniform(-1, 3)], [powers(-30, 30)]),
    ("expm1", mp.expm1, 4, 4, [uniform(-3, 3)], [powers(-30, 1)]),
]
CASES = [
    pytest.param(name, reference, (ulp32, ulp64), operands, id=f"{name}-{i}")
    for name, reference, ulp32, ulp64, *ranges in TABLE
    for i, operands in enumerate(ranges)
]


@pytest.mark.parametrize(("name", "reference", "ulps", "operands"), CASES)
def test_accuracy(name, reference, ulps, operands):
    for dtype, allowed in zip((np.float32, np.float64), ulps, strict=True):
        rounded = [np.asarray(x, dtype) for x in operands]
        got = getattr(special, name)(*rounded)
        assert got.dtype == dtype and got.shape == rounded[0].shape
        for value, *point in zip(got, *rounded, strict=True):
            wanted = reference(*(mp.mpf(float(p)) for p in point))
            nearest = dtype(float(wanted))
            if np.isinf(nearest):
                assert value == nearest, point
                continue
            error = abs(mp.mpf(float(value)) - wanted) / mp.mpf(float(np.spacing(abs(nearest))))
            assert error <= allowed, (dtype, point, value, float(error))


# kernel, operands, values; signs of zero count
BORDERS = [
    ("erf", [[NAN, INF, -INF, 0.0, -0.0, 1e30]], [NAN, 1, -1, 0.0, -0.0, 1]),
    ("erfc", [[NAN, INF, -INF, 0.0, -0.0, 1e30, -1e30]], [NAN, 0, 2, 1, 1, 0, 2]),
    ("erf_inv", [[NAN, 1, -1, 0.0, -0.0, 1.5, -INF]], [NAN, INF, -INF, 0.0, -0.0, NAN, NAN]),
    ("lgamma", [[NAN, INF, -INF, 0.0, -0.0, 1, 2, -1, -7]],
     [NAN, INF, INF, INF, INF, 0, 0, INF, INF]),
    ("digamma", [[NAN, INF, -INF, 0.0, -0.0, -1, -2, -1e30]],
     [NAN, INF, NAN, -INF, INF, NAN, NAN, NAN]),
    ("polygamma", [[0, 1, 1, 2, 1.5, -1, NAN, 1], [1, 0, -2, 0, 1, 1, 1, INF]],
     [-0.5772156649015329, INF, INF, -INF, NAN, NAN, NAN, 0]),
    ("zeta", [[1, 2, 2, 0.5, 2.5, 2, NAN, INF, INF, INF], [1, 0, -1, 2, -1.5, INF, 1, 2, 1, 0.5]],
     [INF, INF, INF, NAN, NAN, 0, NAN, 0, 1, INF]),
    ("igamma", [[0, 1, 1, INF, INF, -1, 1, NAN, 1], [1, 0, INF, 1, INF, 1, -1, 1, NAN]],
     [1, 0, 1, 0, NAN, NAN, NAN, NAN, NAN]),
    ("igammac", [[0, 1, 1, INF, INF, -1, 1, NAN, 1], [1, 0, INF, 1, INF, 1, -1, 1, NAN]],
     [0, 1, 0, 1, NAN, NAN, NAN, NAN, NAN]),
    ("igamma_grad_a", [[1, 1, -1, NAN], [0, INF, 1, 1]], [0, 0, NAN, NAN]),
    ("random_gamma_grad", [[1, -1, NAN], [0, 1, 1]], [0, NAN, NAN]),
    ("betainc", [[1, 1, 1, INF, 1, -1, 2, NAN], [1, 1, 2, 1, INF, 1, 1, 1],
                 [0, 1, 1.5, 0.5, 0.5, 0.5, -0.1, 0.5]], [0, 1, NAN, 0, 1, NAN, NAN, NAN]),
    ("bessel_i0e", [[NAN, INF, -INF, 0.0, -0.0]], [NAN, 0, 0, 1, 1]),
    ("bessel_i1e", [[NAN, INF, -INF, 0.0, -0.0]], [NAN, 0.0, -0.0, 0.0, -0.0]),
    ("i0", [[NAN, INF, -INF, 0, 1e30]], [NAN, INF, INF, 1, INF]),
    ("i1", [[NAN, INF, -INF, 0.0, -0.0, -1e30]], [NAN, INF, -INF, 0.0, -0.0, -INF]),
    ("expi", [[NAN, INF, -INF, 0.0, -0.0, 1e30]], [NAN, INF, -0.0, -INF, -INF, INF]),
    ("logistic", [[NAN, INF, -INF, 0.0, 1e30, -1e30]], [NAN, 1, 0, 0.5, 1, 0]),
    ("rsqrt", [[NAN, INF, -1, 0.0, -0.0, 4]], [NAN, 0, NAN, INF, -INF, 0.5]),
]


@pytest.mark.parametrize(("name", "operands", "values"), BORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_borders(name, operands, values, dtype):
    got = getattr(special, name)(*(np.array(x, dtype) for x in operands))
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(got, np.array(values, dtype), rtol=rtol)
    zero = np.equal(values, 0)
    np.testing.assert_array_equal(np.signbit(got)[zero], np.signbit(values)[zero])


FLOATS = {
    "betainc": 3, "igamma": 2, "igammac": 2, "igamma_grad_a": 2, "random_gamma_grad": 2,
    "polygamma": 2, "zeta": 2, "nextafter": 2,
}
NAMES = [name for name in special.__all__
         if name not in ("clz", "logaddexp", "population_count")]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_dtypes_and_inputs(name):
    kernel, count = getattr(special, name), FLOATS.get(name, 1)
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64):
        for shape in ((), (0, 3), (1,), (2, 3)):
            operands = [np.full(shape, 0.75, dtype) for _ in range(count)]
            got = kernel(*operands)
            assert isinstance(got, np.ndarray) and got.shape == shape and got.dtype == dtype
            assert all((x == dtype(0.75)).all() for x in operands)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_layouts_do_not_show(name):
    kernel, count = getattr(special, name), FLOATS.get(name, 1)
    x = RNG.uniform(0.01, 0.99, (2, 8200)).astype(np.float32)
    whole = kernel(*[x] * count)
    np.testing.assert_array_equal(kernel(*[x[:, ::2]] * count), whole[:, ::2])
    np.testing.assert_array_equal(kernel(*[x.T] * count), whole.T)
    if count > 1:
        row = kernel(x[:1, :5], *[x[:, :1]] * (count - 1))
        assert row.shape == (2, 5)
        full = [np.repeat(x[:1, :5], 2, 0), *[np.repeat(x[:, :1], 5, 1)] * (count - 1)]
        np.testing.assert_array_equal(row, kernel(*full))


def test_halves_are_float32_rounded():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x = RNG.uniform(0.1, 3, 200).astype(dtype)
        for name in ("erf", "lgamma", "logistic", "bessel_i0e"):
            kernel = getattr(special, name)
            np.testing.assert_array_equal(kernel(x), kernel(x.astype(np.float32)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex(dtype):
    z = ((RNG.normal(size=200) + 1j * RNG.normal(size=200)) * powers(-15, 1, 200)).astype(dtype)
    rtol = 200 * np.finfo(dtype).eps
    table = {
        "logistic": lambda z: 1 / (1 + mp.exp(-z)),
        "log1p": mp.log1p,
        "expm1": mp.expm1,
        "rsqrt": lambda z: 1 / mp.sqrt(z),
    }
    for name, reference in table.items():
        want = np.array([complex(reference(mp.mpc(complex(v)))) for v in z])
        got = getattr(special, name)(z)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=rtol)
    far = np.array([-1000 + 1j, 1000 + 1j, -1e4, 1e4], dtype)
    np.testing.assert_array_equal(special.logistic(far), [0, 1, 0, 1])


@pytest.mark.parametrize("dtype", [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)])
def test_bit_counts(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    x = np.array([0, 1, 2, 3, 100, 127, -1, -128]).astype(dtype)
    words = [int(v) % 2**bits for v in x]
    for kernel, want in (
        (special.population_count, [w.bit_count() for w in words]),
        (special.clz, [bits - w.bit_length() for w in words]),
    ):
        got = kernel(x)
        assert got.dtype == x.dtype and got.tolist() == want
        assert kernel(x[2]).shape == () and kernel(x[:0]).shape == (0,)


def test_nextafter():
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64):
        one = np.ones((), dtype)
        up = special.nextafter(one, np.full((), INF, dtype))
        assert up > one and up - one == ml_dtypes.finfo(dtype).eps


def test_identities():
    x, a = uniform(0.1, 30), uniform(0.1, 30)
    total = special.igamma(a, x) + special.igammac(a, x)
    np.testing.assert_allclose(total, 1, rtol=1e-14)
    np.testing.assert_allclose(special.erf(special.erf_inv(x / 31)), x / 31, rtol=1e-14)
    np.testing.assert_allclose(special.erf(x) + special.erfc(x), 1, rtol=1e-15)
    np.testing.assert_allclose(special.lgamma(x + 1), special.lgamma(x) + np.log(x), atol=1e-13)
    np.testing.assert_allclose(special.digamma(x + 1), special.digamma(x) + 1 / x, atol=1e-13)
    power = special.betainc(a, np.ones_like(a), x / 31)
    np.testing.assert_allclose(power, (x / 31) ** a, rtol=1e-13)
