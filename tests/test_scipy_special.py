"""`lucidfn.scipy.special`: identities, boundaries, derivatives; SciPy and JAX where installed."""

import math

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.scipy import special
from lucidfn.testing import check_grads

A = np.array
INF, NAN = math.inf, math.nan


def values(x):
    return np.asarray(x)


# name, operands, value
VALUES = [
    ("erf", (0.5,), math.erf(0.5)), ("erfc", (3.0,), math.erfc(3.0)), ("erfinv", (0.0,), 0.0),
    ("expit", (0.0,), 0.5), ("logit", (0.75,), math.log(3.0)),
    ("ndtr", (0.0,), 0.5), ("ndtr", (-10.0,), 7.61985302416052e-24),
    ("ndtri", (0.025,), -1.959963984540054),
    ("log_ndtr", (-10.0,), -53.23128515051247), ("log_ndtr", (-50.0,), -1254.8313611394200),
    ("log_ndtr", (0.0,), -math.log(2.0)), ("log_ndtr", (-INF,), -INF), ("log_ndtr", (INF,), 0.0),
    ("gamma", (5.0,), 24.0), ("gamma", (-0.5,), -2.0 * math.sqrt(math.pi)), ("gamma", (0.0,), INF),
    ("gamma", (-0.0,), -INF), ("gamma", (-1.0,), NAN), ("gammasgn", (-0.5,), -1.0),
    ("gammasgn", (-1.5,), 1.0), ("gammasgn", (-2.0,), NAN), ("gammaln", (0.5,),
                                                           0.5 * math.log(math.pi)),
    ("digamma", (2.0,), 1.0 - 0.57721566490153286), ("polygamma", (1, 1.0), math.pi**2 / 6),
    ("zeta", (2.0,), math.pi**2 / 6), ("zeta", (2.0, 2.0), math.pi**2 / 6 - 1),
    ("factorial", (5.0,), 120.0), ("factorial", (-1.0,), 0.0), ("comb", (10.0, 3.0), 120.0),
    ("comb", (3.0, 10.0), 0.0), ("poch", (3.0, 2.0), 12.0), ("poch", (0.0, 0.0), 1.0),
    ("beta", (2.0, 3.0), 1 / 12), ("beta", (-0.5, 2.0), -4.0),
    ("betaln", (1e5, 0.2), -0.778520470562461), ("betaln", (0.0, 1.0), INF),
    ("betainc", (1.0, 3.0, 0.2), 1.0 - 0.8**3), ("gammainc", (1.0, 2.0), 1.0 - math.exp(-2.0)),
    ("gammaincc", (1.0, 2.0), math.exp(-2.0)), ("multigammaln", (3.0, 1), math.log(2.0)),
    ("multigammaln", (3.0, 2), 0.5 * math.log(math.pi) + math.lgamma(3.0) + math.lgamma(2.5)),
    ("xlogy", (0.0, 0.0), 0.0), ("xlogy", (2.0, 3.0), 2.0 * math.log(3.0)),
    ("xlogy", (0.0, NAN), NAN), ("xlog1py", (0.0, -1.0), 0.0), ("entr", (0.0,), 0.0),
    ("entr", (0.5,), 0.5 * math.log(2.0)), ("entr", (-1.0,), -INF), ("rel_entr", (0.0, 0.0), 0.0),
    ("rel_entr", (1.0, 0.0), INF), ("rel_entr", (-1.0, 1.0), INF), ("rel_entr", (NAN, 1.0), NAN),
    ("kl_div", (0.0, 2.0), 2.0), ("kl_div", (2.0, 2.0), 0.0),
    ("boxcox", (4.0, 0.5), 2.0), ("boxcox", (4.0, 0.0), math.log(4.0)),
    ("boxcox1p", (3.0, 0.5), 2.0),
    ("i0", (0.0,), 1.0), ("i0", (1.0,), 1.2660658777520084), ("i1", (1.0,), 0.5651591039924850),
    ("i0e", (0.0,), 1.0), ("i1e", (0.0,), 0.0), ("expi", (1.0,), 1.8951178163559368),
    ("exp1", (1.0,), 0.21938393439552029), ("exp1", (-1.0,), NAN), ("exp1", (0.0,), INF),
]


@pytest.mark.parametrize(("name", "args", "value"), VALUES, ids=str)
def test_values(name, args, value):
    wide = [A(a) if isinstance(a, float) else a for a in args]
    np.testing.assert_allclose(float(getattr(special, name)(*wide)), value, rtol=1e-13)
    single = getattr(special, name)(*[np.float32(a) if isinstance(a, float) else a for a in args])
    assert single.dtype == np.float32
    np.testing.assert_allclose(float(single), value, rtol=2e-5)


def test_python_scalars_are_weak_and_integers_become_floats():
    assert special.xlogy(2, 3).dtype == np.float32
    assert special.expit(np.arange(3)).dtype == np.float32
    assert special.xlogy(np.float64([1.0]), 2.0).dtype == np.float64
    assert special.xlogy(np.float32([1.0]), 2.0).dtype == np.float32
    assert (special.expit(0.5) * np.ones(2, "float16")).dtype == np.float16


# name, operands: derivatives are compared with differences
SMOOTH = [
    ("erf", (A([-1.0, 0.3]),)), ("erfinv", (A([-0.5, 0.7]),)), ("ndtr", (A([-2.0, 1.0]),)),
    ("ndtri", (A([0.2, 0.6]),)), ("log_ndtr", (A([-30.0, -15.0, -3.0, 0.5, 4.0]),)),
    ("expit", (A([-4.0, 2.0]),)), ("logit", (A([0.2, 0.9]),)), ("gammaln", (A([0.4, 6.0]),)),
    ("gamma", (A([-1.5, 0.4, 3.0]),)), ("digamma", (A([-0.4, 3.0]),)),
    ("betaln", (A([0.3, 2.0, 30.0]), A([2.0, 2.0, 4.0]))), ("beta", (A([0.5, 3.0]), A([2.0, 1.5]))),
    ("comb", (A([9.5, 6.0]), A([2.5, 3.0]))), ("poch", (A([2.0, 0.5]), A([0.7, 2.0]))),
    ("xlogy", (A([0.5, 2.0]), A([0.3, 4.0]))), ("xlog1py", (A([0.5, 2.0]), A([0.3, 4.0]))),
    ("entr", (A([0.2, 0.9]),)), ("rel_entr", (A([0.2, 0.9]), A([0.4, 0.3]))),
    ("kl_div", (A([0.2, 0.9]), A([0.4, 0.3]))), ("boxcox", (A([0.5, 3.0]), A([0.7, -1.0]))),
    ("boxcox1p", (A([0.5, 3.0]), A([0.7, -1.0]))), ("i0", (A([-1.0, 2.0]),)),
    ("i1", (A([-1.0, 2.0]),)), ("i0e", (A([-1.0, 2.0]),)), ("i1e", (A([-1.0, 2.0]),)),
    ("expi", (A([-1.0, 2.0]),)), ("exp1", (A([0.7, 2.0]),)), ("factorial", (A([0.7, 2.0]),)),
    ("logsumexp", (A([[0.5, -1.0], [2.0, 0.1]]),)), ("softmax", (A([0.5, -1.0, 2.0]),)),
    ("log_softmax", (A([0.5, -1.0, 2.0]),)),
]


@pytest.mark.parametrize(("name", "args"), SMOOTH, ids=lambda x: x if isinstance(x, str) else "")
def test_derivatives(name, args):
    check_grads(getattr(special, name), args, 2)


def test_derivatives_of_integrals():
    a, x, b = A([0.7, 2.0, 8.0]), A([0.5, 3.0, 6.0]), A([1.5, 0.5, 4.0])
    check_grads(special.gammainc, (a, x), 1)
    check_grads(special.gammaincc, (a, x), 1)
    check_grads(lambda x: special.gammainc(a, x), (x,), 2)
    check_grads(special.betainc, (a, b, A([0.2, 0.6, 0.7])), 1)
    check_grads(lambda x: special.betainc(a, b, x), (A([0.2, 0.6, 0.7]),), 2)
    check_grads(lambda x: special.polygamma(A([1.0, 2.0, 3.0]), x), (x,), 2)
    check_grads(lambda q: special.zeta(A([2.0, 3.0, 4.0]), q), (x,), 2)
    check_grads(lambda a: special.multigammaln(a + 2.0, 3), (a,), 2)


# function, point, derivative
SINGULAR = [
    (lambda x: special.xlogy(x, 0.5), 0.0, math.log(0.5)),
    (lambda y: special.xlogy(0.0, y), 0.0, 0.0),
    (lambda y: special.xlog1py(0.0, y), -1.0, 0.0),
    (special.entr, 0.0, INF),
    (lambda q: special.rel_entr(0.0, q), 0.0, 0.0),
    (lambda q: special.kl_div(0.0, q), 0.0, 1.0),
    (lambda p: special.boxcox(2.0, p), 0.0, 0.0),
    (special.i0, 0.0, 0.0), (special.i1, 0.0, 0.5),
    (special.log_ndtr, -1e8, 1e8), (special.log_ndtr, 40.0, 0.0),
    (special.expit, 60.0, math.exp(-60.0)),
]


@pytest.mark.parametrize(("f", "x", "slope"), SINGULAR)
def test_derivatives_at_singular_points(f, x, slope):
    np.testing.assert_allclose(float(lf.grad(f)(A(x))), slope, rtol=1e-13)


# ------------------------------------------------------------------ along axes

def test_logsumexp():
    x = A([[0.5, -1.0, 3.0], [2.0, 0.1, -INF]])
    direct = np.log(np.exp(x).sum(axis=1))
    np.testing.assert_allclose(values(special.logsumexp(x, axis=1)), direct, rtol=1e-14)
    assert special.logsumexp(x, axis=1, keepdims=True).shape == (2, 1)
    np.testing.assert_allclose(float(special.logsumexp(x)), np.log(np.exp(x).sum()), rtol=1e-14)
    np.testing.assert_allclose(values(special.logsumexp(x + 1000.0, axis=-1)), direct + 1000.0)
    weights = A([1.0, 2.0, 0.0])
    np.testing.assert_allclose(values(special.logsumexp(x, axis=1, b=weights)),
                               np.log((np.exp(x) * weights).sum(axis=1)), rtol=1e-14)
    size, sign = special.logsumexp(A([0.0, 2.0]), b=A([1.0, -1.0]), return_sign=True)
    assert float(sign) == -1.0 and float(size) == pytest.approx(math.log(math.e**2 - 1))
    assert math.isnan(float(special.logsumexp(A([0.0, 2.0]), b=A([1.0, -1.0]))))
    assert float(special.logsumexp(x[0], where=A([True, False, False]))) == 0.5
    assert float(special.logsumexp(A([-INF, -INF]))) == -INF
    assert float(special.logsumexp(A([INF, 1.0]))) == INF
    assert values(special.logsumexp(np.zeros((0, 2)), axis=0)).tolist() == [-INF, -INF]
    z = A([1.0 + 2.0j, 0.5 - 1.0j])
    np.testing.assert_allclose(complex(special.logsumexp(z)), np.log(np.exp(z).sum()))


def test_logsumexp_of_minus_infinity_has_no_nan_in_its_derivative():
    assert values(lf.grad(special.logsumexp)(A([-INF, 1.0]))).tolist() == [0.0, 1.0]
    assert values(lf.grad(special.logsumexp)(A([-INF, -INF]))).tolist() == [0.0, 0.0]


def test_softmax():
    x = A([[0.5, -1.0, 3.0], [1000.0, 0.1, 1000.0]])
    np.testing.assert_allclose(values(special.softmax(x, axis=1)).sum(axis=1), 1.0)
    np.testing.assert_allclose(float(lnp.sum(special.softmax(x))), 1.0)
    np.testing.assert_allclose(values(special.softmax(x, axis=1))[1], [0.5, 0.0, 0.5])
    np.testing.assert_allclose(values(special.log_softmax(x, axis=1))[1, 1], 0.1 - 1000 - np.log(2))
    assert special.softmax(np.zeros((2, 0)), axis=1).shape == (2, 0)


def test_transformations():
    x = A([[0.5, -1.0], [2.0, 0.1], [0.3, 0.4]])
    one = np.stack([values(special.logsumexp(r)) for r in x])
    np.testing.assert_allclose(values(lf.vmap(special.logsumexp)(x)), one)
    np.testing.assert_allclose(values(lf.jit(lf.vmap(special.logsumexp))(x)), one)
    np.testing.assert_allclose(values(lf.jit(special.ndtri)(special.ndtr(x))), x, rtol=1e-12)


def test_exact_factorial_is_refused():
    with pytest.raises(NotImplementedError, match="math.factorial"):
        special.factorial(5, exact=True)


# ------------------------------------------------------------------ peers

GRID = A([-40.0, -9.7, -3.3, -2.0, -0.5, -1e-3, -0.0, 0.0, 1e-6, 0.2, 0.5, 0.9, 1.0, 2.0, 3.7, 8.0,
          25.0, 60.0, INF, -INF, NAN])
UNARY = ("erf erfc erfinv ndtr ndtri log_ndtr expit logit gammaln gammasgn gamma digamma entr i0 "
         "i0e i1 i1e expi exp1").split()
BINARY = "beta gammainc gammaincc xlogy xlog1py rel_entr kl_div boxcox boxcox1p".split()


@pytest.mark.peers
@pytest.mark.parametrize("name", UNARY)
def test_parity_with_scipy(name):
    theirs = pytest.importorskip("scipy.special")
    with np.errstate(all="ignore"):
        grid = GRID if name != "gammaln" else GRID[GRID != -INF]  # where SciPy gives -inf
        expected = getattr(theirs, name)(grid)
    np.testing.assert_allclose(values(getattr(special, name)(grid)), expected, rtol=1e-12,
                               atol=1e-300)


@pytest.mark.peers
@pytest.mark.parametrize("name", BINARY)
def test_parity_with_scipy_of_two_operands(name):
    theirs = pytest.importorskip("scipy.special")
    a, b = (m.ravel() for m in np.meshgrid([0.3, 1.0, 2.5, 30.0], [0.2, 1.0, 3.0, 12.0]))
    with np.errstate(all="ignore"):
        expected = getattr(theirs, name)(a, b)
    np.testing.assert_allclose(values(getattr(special, name)(a, b)), expected, rtol=1e-10)
