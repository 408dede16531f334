"""Rows of `scipy.special`, `scipy.linalg`, `scipy.stats` and `scipy.signal`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import B, C, F, I, K, P, Q, S, Table, U, call, expr, row
from .table_linear import eigen_products

TABLE: Table = {}
INF = np.inf
X, L, T = "scipy.special.", "scipy.linalg.", "scipy.stats."


def rows(prefix: str, names: str, *calls: Any) -> None:
    row(TABLE, " ".join(prefix + n for n in names.split()), *calls)


# ------------------------------------------------------------------ special

rows(X, "erf erfc expit i0 i0e i1 i1e ndtr log_ndtr", call(F(3, 4)), call(K([0.1, 3.0, -6.0])))
rows(X, "erf expit gammaln entr", call(I(3, lo=1, hi=4)), call(0.7))
rows(X, "erfinv", call(U(3, 4)))
rows(X, "logit ndtri", call(Q(3, 4)), call(K([0.01, 0.5, 0.999])))
rows(X, "gammaln digamma gamma loggamma", call(P(3, 4)), call(K([4.5, 11.3])))
rows(X, "gammaln digamma gamma gammasgn", call(K([-0.3, -1.6, -2.5])))
rows(X, "factorial", call(P(3, 4)), call(I(4, lo=0, hi=5)))
rows(X, "entr", call(P(3, 4)), call(K([0.0, -1.0, 2.0]), _grad=False))
rows(X, "exp1", call(P(3, 4)), call(K([0.01, 9.0])))
rows(X, "expi", call(P(3, 4)), call(K([-0.5, 3.0, 30.0])))
rows(X, "beta betaln", call(P(3, 4), P(4)), call(2.0, P(3)))
rows(X, "betainc", call(P(4), P(4), Q(4), _grad=(2,)), call(2.0, 3.0, Q(3)))
rows(X, "gammainc gammaincc", call(P(3, 4), P(4)), call(2.0, P(3)))
rows(X, "polygamma", call(K([1, 2, 3]), P(3), _grad=(0,)), call(2, P(3), _grad=False))
rows(X, "zeta", call(K([1.5, 2.0, 4.2]), P(3), _grad=(1,)))
rows(X, "xlogy xlog1py", call(F(3, 4), P(4)), call(K([0.0, 2.0]), K([0.0, 3.0]), _grad=False),
    call(2.0, P(3)))
rows(X, "kl_div rel_entr", call(P(3, 4), P(4)), call(K([0.0, 0.0, 1.0, -1.0]),
                                                     K([1.0, 0.0, 0.0, 1.0]), _grad=False))
rows(X, "multigammaln", call(K([3.5, 5.2]), 2))
rows(X, "poch", call(P(3, 4), P(4)))
rows(X, "comb", call(K([5.0, 7.0]), K([2.0, 3.0])))
rows(X, "boxcox boxcox1p", call(P(3, 4), F(4)), call(P(3), K(0.0), _grad=(0,)))
rows(X, "logsumexp", call(F(3, 4)), call(F(3, 4), axis=1, keepdims=True), call(F(3, 4), 0, P(4)),
    call(F(4), b=F(4), return_sign=True), call(K([-INF, -INF]), _grad=False),
    call(K([INF, 1.0]), _grad=False), call(I(4)), call(F(3), where=B(3)), call(C(3)))
rows(X, "softmax log_softmax", call(F(3, 4)), call(F(3, 4), axis=1))

# ------------------------------------------------------------------ linalg

rows(L, "inv det", call(S(3, 3)), call(F(2, 3, 3)))
# JAX's cotangent of a is not symmetric where only a triangle is read: a is made symmetric first.
for _lower in (False, True):
    expr(TABLE, L + "cholesky", lambda m, a, low: m.linalg.cholesky(
        a + m.np.swapaxes(m.np.conj(a), -1, -2), lower=low), S(2, 3, 3), _lower)
    expr(TABLE, L + "cho_factor", lambda m, a, low: (m.np.tril if low else m.np.triu)(
        m.linalg.cho_factor(a + a.T, lower=low)[0]), S(3, 3), _lower)
    expr(TABLE, L + "cho_solve", lambda m, a, b, low: m.linalg.cho_solve(
        m.linalg.cho_factor(a + a.T, lower=low), b), S(3, 3), F(3, 2), _lower)
expr(TABLE, L + "cholesky", lambda m, a: m.linalg.cholesky(
    a + m.np.conj(a.T), lower=True), K(np.array([[2, 1j], [-1j, 3]])))
for _trans in (0, 1, 2, "T"):
    rows(L, "solve_triangular", call(S(3, 3), F(3, 2), trans=_trans, lower=True),
         call(S(3, 3), F(3), trans=_trans))
rows(L, "solve_triangular", call(S(3, 3), F(3), unit_diagonal=True))
rows(L, "solve", call(F(3, 3), F(3)), call(S(3, 3), F(3, 2)))
expr(TABLE, L + "solve", lambda m, a, b: m.linalg.solve((a + a.T) / 2, b, assume_a="pos"), S(3, 3),
     F(3, 2))
rows(L, "lu_factor", call(F(3, 3)), call(F(4, 3)))
for _trans in (0, 1):
    expr(TABLE, L + "lu_solve", lambda m, a, b, trans: m.linalg.lu_solve(
        m.linalg.lu_factor(a), b, trans), F(3, 3), F(3, 2), _trans)
rows(L, "lu", call(F(3, 3)), call(F(4, 3), permute_l=True))
rows(L, "qr", call(F(3, 3)), call(F(4, 3), mode="economic"), call(F(4, 3), mode="r", _grad=False))
rows(L, "svd", call(F(4, 3), compute_uv=False))
rows(L, "eigh", call(S(3, 3), _post=eigen_products), call(S(3, 3), lower=False, eigvals_only=True))
rows(L, "expm", call(F(3, 3)), call(F(2, 3, 3)), call(K([[0.0, 9.0], [-9.0, 0.0]])))
rows(L, "expm_frechet", call(F(3, 3), F(3, 3), _grad=False))
rows(L, "sqrtm", call(S(3, 3), _grad=False, _post=lambda m, x: m.np.real(x)))
rows(L, "polar", call(F(4, 3), _grad=False), call(F(3, 4), side="left", _grad=False))
rows(L, "block_diag", call(F(2, 3), F(1, 1), F(3)), call(I(2, 2), F(1, 2)))
rows(L, "toeplitz", call(F(3)), call(F(3), F(4)), call(C(3)))
rows(L, "hilbert", call(3))
for _kind in ("symmetric", "lower", "upper"):  # JAX goes through exp and float32
    rows(L, "pascal", call(4, kind=_kind, _wide=False, _single=True))
rows(L, "circulant companion", call(F(3)))
rows(L, "hadamard", call(4, _wide=False, _weak=False))
rows(L, "eigh_tridiagonal", call(F(4), F(3), eigvals_only=True, _grad=False))
rows(L, "hankel", call(F(3)), call(F(3), F(4)))
rows(L, "solve_sylvester", call(S(3, 3), S(2, 2), F(3, 2), _grad=False, _tol32=0.01,
                                _post=lambda m, x: m.np.real(x)))

# ------------------------------------------------------------------ stats: every method by name

LEVEL = ("ppf", "isf")


def density(name: str, methods: str, x: Any, *parameters: Any, **options: Any) -> None:
    """One call with these parameters for each method; `ppf` and `isf` take probabilities."""
    for method in methods.split():
        at = Q(*x.shape) if method in LEVEL else x
        row(TABLE, f"{T}{name}.{method}", call(at, *parameters, **options))


_ALL = "cdf logcdf logpdf logsf pdf sf"
for _loc in ((), (0.3, 1.5), (F(4), P(4))):
    density("norm", _ALL + " ppf isf", F(3, 4), *_loc)
    density("cauchy", _ALL + " ppf isf", F(3, 4), *_loc)
    density("laplace", "cdf logpdf pdf", F(3, 4), *_loc)
    density("logistic", "cdf logpdf pdf sf ppf isf", F(3, 4), *_loc)
for _name in ("gumbel_l", "gumbel_r"):  # JAX has no gradient of the densities
    density(_name, "logcdf cdf logsf sf", F(3, 4), F(4), P(4))
    density(_name, "logpdf pdf ppf", F(3, 4), F(4), P(4), _grad=False)
density("expon", _ALL + " ppf", P(3, 4))
density("expon", _ALL + " ppf", P(3, 4), 0.2, P(4))
density("uniform", "cdf logpdf pdf ppf", Q(3, 4), 0.0, 1.5)
density("uniform", "cdf logpdf pdf", K([-1.0, 0.5, 3.0]), _grad=False)
density("gamma", _ALL, P(3, 4), P(4))
density("gamma", _ALL, P(3, 4), 2.0, 0.1, 1.5)
density("beta", "logpdf pdf", Q(3, 4), P(4), P(4))
density("beta", "cdf logcdf sf logsf", Q(3, 4), 2.0, 1.5)
density("chi2", _ALL, P(3, 4), P(4))
density("t", "logpdf pdf", F(3, 4), P(4))
density("t", "logpdf pdf", F(3, 4), 3.0, 0.2, 1.5)
density("pareto", _ALL + " ppf", K([1.5, 2.0, 4.0]), P(3))
density("truncnorm", _ALL, U(3, 4), -1.0, 2.0)
density("truncnorm", "logpdf pdf", F(3), -1.5, 2.0, 0.1, 3.0)
density("vonmises", "logpdf pdf", F(3, 4), P(4))
density("wrapcauchy", "logpdf pdf", P(3, 4), Q(4))
density("gennorm", "cdf logpdf pdf", F(3, 4), P(4))
density("bernoulli", "logpmf pmf", K([0, 1, 1, 2]), Q(4))
density("bernoulli", "cdf", K([0, 1, 1, -1]), Q(4), _grad=False)
density("bernoulli", "ppf", K([0.1, 0.9]), Q(2), _grad=False)
density("binom", "logpmf pmf", K([0, 2, 5]), 5, Q(3))
density("betabinom", "logpmf pmf", K([0, 2, 5]), 5, P(3), P(3))
density("nbinom", "logpmf pmf", K([0, 2, 5]), P(3), Q(3))
density("geom", "logpmf pmf", K([1, 2, 5]), Q(3))
density("poisson", "logpmf pmf", K([0, 2, 5]), P(3))
density("poisson", "cdf", K([0, 2, 5]), P(3))
density("multinomial", "logpmf pmf", K([1, 2, 2]), 5, K([0.2, 0.5, 0.3]), _grad=False)
density("dirichlet", "logpdf pdf", K([0.2, 0.5, 0.3]), P(3), _grad=(1,))
density("multivariate_normal", "logpdf pdf", F(4, 3), F(3), S(3, 3))
density("multivariate_normal", "logpdf pdf", F(3), F(3), 2.0)
