"""`lucidfn.scipy.stats`: stored values, identities, boundaries, derivatives; SciPy's values."""

import inspect
import math

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.scipy import stats
from lucidfn.testing import check_grads

INF, NAN = math.inf, math.nan

# name, parameters, x, logpdf and cdf there for loc=0.1, scale=1.3
CONTINUOUS = [
    ("norm", (), 0.5, -1.22864007577867, 0.620841763236855),
    ("uniform", (), 0.5, -0.262364264467491, 0.307692307692308),
    ("expon", (), 0.5, -0.570056572159799, 0.264858519408316),
    ("laplace", (), 0.5, -1.26320375271974, 0.632429259704158),
    ("logistic", (), 0.5, -1.67223448232745, 0.576321879907452),
    ("cauchy", (), 0.5, -1.49755126047214, 0.59501516093918),
    ("gumbel_r", (), 0.5, -1.30519805275148, 0.479437623057688),
    ("gumbel_l", (), 0.5, -1.31495433289024, 0.743411687687905),
    ("gamma", (2.3,), 0.5, -2.25649752236357, 0.020038554233566),
    ("chi2", (3.0,), 0.5, -1.92447644968914, 0.0414246676555671),
    ("beta", (2.0, 3.5), 0.5, 0.396509154149211, 0.426587096269326),
    ("t", (4.2,), 0.5, -1.29825460690545, 0.613512289658064),
    ("pareto", (2.1,), 1.9, -0.52923636108546, 0.495096037425974),
    ("lognorm", (0.7,), 0.5, -1.06355204147457, 0.0461108545694389),
    ("truncnorm", (-1.0, 2.0), 0.5, -1.02847378145421, 0.564609760842427),
]

# name, parameters, k, logpmf and cdf there
DISCRETE = [
    ("bernoulli", (0.3,), 1.0, -1.20397280432594, 1),
    ("binom", (10.0, 0.3), 3.0, -1.32115127776689, 0.6496107184),
    ("poisson", (3.2,), 3.0, -1.50230703981101, 0.602519724405557),
    ("geom", (0.25,), 3.0, -1.96165850602345, 0.578125),
    ("nbinom", (4.0, 0.3), 3.0, -2.89018377556595, 0.126036),
    ("betabinom", (10.0, 2.0, 3.0), 3.0, -1.93894147973922, 0.454545454545455),
]

# name, parameters, x, logpdf there
UNSCALED = [
    ("gennorm", (1.7,), 0.5, -0.886918205874823),
    ("vonmises", (1.3,), 0.5, -1.08179072210263),
    ("wrapcauchy", (0.4,), 0.5, -1.23120013537754),
]


def values(x):
    return np.asarray(x)


def wide(*xs):
    return [np.asarray(x, np.float64) for x in xs]


@pytest.mark.parametrize(("name", "params", "x", "log_density", "cdf"), CONTINUOUS, ids=str)
def test_stored_values(name, params, x, log_density, cdf):
    d = getattr(stats, name)
    args = wide(x, *params, 0.1, 1.3)
    assert float(d.logpdf(*args)) == pytest.approx(log_density, rel=1e-13)
    assert float(d.pdf(*args)) == pytest.approx(math.exp(log_density), rel=1e-13)
    assert float(d.cdf(*args)) == pytest.approx(cdf, rel=1e-13)
    if hasattr(d, "sf"):
        assert float(d.sf(*args)) == pytest.approx(1.0 - cdf, rel=1e-12)
    for log, plain in (("logcdf", "cdf"), ("logsf", "sf")):
        if hasattr(d, log):
            assert float(getattr(d, log)(*args)) == pytest.approx(
                math.log(float(getattr(d, plain)(*args))), rel=1e-12)
    if hasattr(d, "ppf"):
        assert float(d.ppf(*wide(cdf, *params, 0.1, 1.3))) == pytest.approx(x, rel=1e-12)
    if hasattr(d, "isf"):
        assert float(d.isf(*wide(1.0 - cdf, *params, 0.1, 1.3))) == pytest.approx(x, rel=1e-12)
    single = d.logpdf(*[np.float32(a) for a in args])
    assert single.dtype == np.float32
    assert float(single) == pytest.approx(log_density, rel=1e-5)


@pytest.mark.parametrize(("name", "params", "k", "log_mass", "cdf"), DISCRETE, ids=str)
def test_stored_values_of_discrete_distributions(name, params, k, log_mass, cdf):
    d = getattr(stats, name)
    args = wide(k, *params)
    assert float(d.logpmf(*args)) == pytest.approx(log_mass, rel=1e-13)
    assert float(d.pmf(*args)) == pytest.approx(math.exp(log_mass), rel=1e-13)
    if hasattr(d, "cdf"):
        assert float(d.cdf(*args)) == pytest.approx(cdf, rel=1e-13)
    whole = values(d.pmf(np.arange(-2.0, 200.0), *params))
    assert whole.sum() == pytest.approx(1.0, rel=1e-12)
    if hasattr(d, "cdf"):
        np.testing.assert_allclose(np.cumsum(whole), values(d.cdf(np.arange(-2.0, 200.0), *params)),
                                   rtol=1e-11, atol=1e-14)
    # Integers as they come from data are counts too.
    assert d.logpmf(int(k), *map(np.float32, params)).dtype == np.float32


@pytest.mark.parametrize(("name", "params", "x", "log_density"), UNSCALED, ids=str)
def test_stored_values_without_scale(name, params, x, log_density):
    d = getattr(stats, name)
    assert float(d.logpdf(*wide(x, *params))) == pytest.approx(log_density, rel=1e-13)
    assert float(d.pdf(*wide(x, *params))) == pytest.approx(math.exp(log_density), rel=1e-13)


@pytest.mark.parametrize(("name", "params", "x", "log_density", "cdf"), CONTINUOUS, ids=str)
def test_the_density_is_the_derivative_of_the_distribution_function(name, params, x, log_density,
                                                                    cdf):
    d = getattr(stats, name)
    slope = lf.grad(lambda x: d.cdf(x, *params, 0.1, 1.3))(*wide(x))
    assert float(slope) == pytest.approx(math.exp(log_density), rel=1e-10)
    check_grads(d.cdf, wide(x, *params, 0.1, 1.3), 1)


@pytest.mark.parametrize(("name", "params", "x"), [
    *[(n, p, x) for n, p, x, *_ in CONTINUOUS], *[(n, p, x) for n, p, x, *_ in UNSCALED]], ids=str)
def test_derivatives_of_densities(name, params, x):
    d = getattr(stats, name)
    args = wide(x, *params)
    if "loc" in inspect.signature(d.logpdf).parameters:
        args += wide(0.1, 1.3)
    check_grads(d.logpdf, args, 2)
    check_grads(d.pdf, args, 1)


@pytest.mark.parametrize(("name", "params", "k"), [(n, p, k) for n, p, k, *_ in DISCRETE], ids=str)
def test_derivatives_of_masses(name, params, k):
    d = getattr(stats, name)
    check_grads(lambda *p: d.logpmf(k, *p), wide(*params), 2)
    if hasattr(d, "cdf"):
        check_grads(lambda *p: d.cdf(k, *p), wide(*params), 1)


# ------------------------------------------------------------------ boundaries

@pytest.mark.parametrize(("f", "value"), [
    (lambda: stats.uniform.logpdf(2.0), -INF), (lambda: stats.uniform.pdf(1.0), 1.0),
    (lambda: stats.expon.logpdf(-1.0), -INF), (lambda: stats.expon.logcdf(0.0), -INF),
    (lambda: stats.gamma.logpdf(0.0, 1.0), 0.0), (lambda: stats.gamma.logpdf(0.0, 2.0), -INF),
    (lambda: stats.gamma.cdf(-1.0, 2.0), 0.0), (lambda: stats.gamma.sf(-1.0, 2.0), 1.0),
    (lambda: stats.beta.logpdf(0.0, 1.0, 2.0), math.log(2.0)),
    (lambda: stats.beta.logpdf(1.5, 1.0, 2.0), -INF), (lambda: stats.beta.cdf(3.0, 1.0, 2.0), 1.0),
    (lambda: stats.pareto.pdf(0.5, 2.0), 0.0), (lambda: stats.lognorm.pdf(-1.0, 1.0), 0.0),
    (lambda: stats.norm.ppf(0.0), -INF), (lambda: stats.norm.ppf(1.0), INF),
    (lambda: stats.norm.ppf(1.5), NAN), (lambda: stats.norm.logcdf(-1e4), -5.000001e7),
    (lambda: stats.norm.pdf(NAN), NAN), (lambda: stats.expon.pdf(NAN), NAN),
    (lambda: stats.bernoulli.logpmf(0, 0.0), 0.0), (lambda: stats.bernoulli.pmf(1, 1.0), 1.0),
    (lambda: stats.bernoulli.pmf(2, 0.5), 0.0), (lambda: stats.bernoulli.ppf(0.8, 0.3), 1.0),
    (lambda: stats.binom.pmf(0, 5, 0.0), 1.0), (lambda: stats.binom.pmf(5, 5, 1.0), 1.0),
    (lambda: stats.binom.pmf(1.5, 5, 0.3), 0.0), (lambda: stats.binom.cdf(7, 5, 0.3), 1.0),
    (lambda: stats.poisson.logpmf(0, 0.0), 0.0), (lambda: stats.poisson.pmf(-1, 2.0), 0.0),
    (lambda: stats.geom.pmf(0, 0.5), 0.0), (lambda: stats.geom.pmf(1, 1.0), 1.0),
    (lambda: stats.truncnorm.pdf(3.0, -1.0, 2.0), 0.0),
    (lambda: stats.truncnorm.logpdf(30.5, 30.0, 31.0), -11.722717),
    (lambda: stats.truncnorm.pdf(0.0, 2.0, -1.0), NAN),
    (lambda: stats.cauchy.ppf(0.0), -INF), (lambda: stats.cauchy.cdf(-1e20), 3.1830988e-21),
    (lambda: stats.t.cdf(0.0, 3.0), 0.5), (lambda: stats.logistic.cdf(-90.0), 8.194013e-40),
])
def test_boundaries(f, value):
    np.testing.assert_allclose(float(f()), value, rtol=1e-5)


@pytest.mark.parametrize(("f", "args"), [
    (stats.expon.logpdf, (-1.0,)), (stats.gamma.logpdf, (-1.0, 2.0)),
    (stats.beta.logpdf, (2.0, 1.5, 2.0)), (stats.pareto.logpdf, (0.5, 2.0)),
    (stats.lognorm.logpdf, (-1.0, 1.0)), (stats.binom.logpmf, (-1.0, 4.0, 0.5)),
    (stats.poisson.logpmf, (-1.0, 4.0)), (stats.truncnorm.logpdf, (5.0, -1.0, 2.0)),
    (stats.gamma.logcdf, (-1.0, 2.0)), (stats.expon.logcdf, (0.0,)),
    (stats.truncnorm.cdf, (9.0, -1.0, 2.0)), (stats.binom.logpmf, (4.0, 4.0, 0.5)),
])
def test_derivatives_outside_the_support_are_no_nan(f, args):
    for i in range(len(args)):
        assert not math.isnan(float(lf.grad(f, i)(*wide(*args))))


def test_parameters_broadcast_and_transform():
    x = np.linspace(0.1, 2.0, 6).reshape(3, 2)
    scale = np.array([1.0, 2.0])
    together = values(stats.gamma.logpdf(x, 2.0, 0.0, scale))
    apart = [[float(stats.gamma.logpdf(*wide(v, 2.0, 0.0, s))) for v, s in zip(r, scale,
                                                                             strict=True)]
             for r in x]
    np.testing.assert_allclose(together, apart, rtol=1e-14)
    batched = lf.vmap(lambda r: stats.gamma.logpdf(r, 2.0, 0.0, scale))
    np.testing.assert_allclose(values(batched(x)), together, rtol=1e-14)
    np.testing.assert_allclose(values(lf.jit(batched)(x)), together, rtol=1e-14)


# ------------------------------------------------------------------ vectors

def test_multivariate_normal():
    mean, cov = np.array([0.1, 0.2]), np.array([[2.0, 0.3], [0.3, 1.0]])
    x = np.array([0.3, -0.2])
    d = stats.multivariate_normal
    assert float(d.logpdf(x, mean, cov)) == pytest.approx(-2.2682349701611275, rel=1e-13)
    assert float(d.pdf(x, mean, cov)) == pytest.approx(math.exp(-2.2682349701611275), rel=1e-13)
    many = np.stack([x, mean, x + 1.0])
    one = [float(d.logpdf(r, mean, cov)) for r in many]
    np.testing.assert_allclose(values(d.logpdf(many, mean, cov)), one, rtol=1e-13)
    np.testing.assert_allclose(values(lf.vmap(d.logpdf, in_axes=(0, None, None))(many, mean, cov)),
                               one, rtol=1e-13)
    stacked = d.logpdf(many, mean, np.stack([cov] * 3))
    np.testing.assert_allclose(values(stacked), one, rtol=1e-13)
    np.testing.assert_allclose(float(d.logpdf(x, mean, np.array(2.0))),
                               float(d.logpdf(x, mean, 2.0 * np.eye(2))), rtol=1e-13)
    check_grads(d.logpdf, (x, mean, cov), 2)
    slope = values(lf.grad(d.logpdf, 2)(x, mean, cov))
    np.testing.assert_allclose(slope, slope.T)
    assert math.isnan(float(d.logpdf(x, mean, -cov)))
    with pytest.raises(ValueError, match="cov"):
        d.logpdf(x, mean, np.eye(3))


def test_dirichlet_and_multinomial():
    x, alpha = np.array([0.1, 0.2, 0.7]), np.array([1.0, 2.0, 3.0])
    d = stats.dirichlet
    assert float(d.logpdf(x, alpha)) == pytest.approx(1.771556761910535, rel=1e-13)
    assert float(d.logpdf(x[:2], alpha)) == pytest.approx(1.771556761910535, rel=1e-13)
    assert values(d.logpdf(np.stack([x, x, x], axis=1), alpha)).shape == (3,)
    assert float(d.logpdf(x + 0.1, alpha)) == -INF
    check_grads(lambda alpha: d.logpdf(x, alpha), (alpha,), 2)
    with pytest.raises(ValueError, match="alpha"):
        d.logpdf(x, np.ones(5))
    counts, p = np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.3, 0.5])
    assert float(stats.multinomial.logpmf(counts, 6.0, p)) == pytest.approx(-2.0024805005437063)
    assert float(stats.multinomial.pmf(counts, 7.0, p)) == 0.0
    check_grads(lambda p: stats.multinomial.logpmf(counts, 6.0, p), (p,), 2)


def test_the_mean_of_the_log_density_of_samples_is_the_entropy():
    x = lf.random.normal(lf.random.key(0), (40_000,))
    expected = -0.5 * math.log(2 * math.pi) - 0.5
    assert float(lnp.mean(stats.norm.logpdf(x))) == pytest.approx(expected, abs=0.02)


# ------------------------------------------------------------------ peers

GRID = np.array([-8.0, -2.5, -1.0, -0.3, 0.0, 0.2, 0.5, 0.9, 1.0, 1.7, 3.0, 7.0, 40.0, NAN])
LEVELS = np.array([0.0, 1e-8, 0.1, 0.5, 0.77, 1.0])
COUNTS = np.array([-1.0, 0.0, 1.0, 2.0, 2.5, 5.0, 9.0, 10.0, 30.0])


@pytest.mark.peers
@pytest.mark.parametrize(("name", "params"), [
    *[(n, p) for n, p, *_ in CONTINUOUS], *[(n, p) for n, p, *_ in DISCRETE],
    *[(n, p) for n, p, *_ in UNSCALED]], ids=str)
def test_parity_with_scipy(name, params):
    theirs = getattr(pytest.importorskip("scipy.stats"), name)
    ours = getattr(stats, name)
    counts = hasattr(ours, "pmf")
    for function in ("logpdf pdf logpmf pmf cdf logcdf sf logsf ppf isf").split():
        if hasattr(ours, function):
            x = LEVELS if function in ("ppf", "isf") else COUNTS if counts else GRID
            with np.errstate(all="ignore"):
                expected = getattr(theirs, function)(x, *params)
            got = values(getattr(ours, function)(x, *params))
            if name == "cauchy" and function in ("ppf", "isf"):
                got, expected = got[1:-1], expected[1:-1]  # finite at the ends, in SciPy
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-15, err_msg=function)
