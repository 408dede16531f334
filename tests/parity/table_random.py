"""Rows of `random`: the same numbers for the same key, and their derivatives in parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import Call, F, I, K, P, Q, S, Table, call, expr, key, row, typed

TABLE: Table = {}
KEY = key(7)


def drawn(*args: Any, **kwargs: Any) -> Call:
    """A call with a key, whose numbers are compared in both precisions."""
    return call(KEY, *args, **{"_single": True, "_tol": 1e-12, "_tol32": 1e-6, **kwargs})


# ------------------------------------------------------------------ keys

for _name in ("key", "PRNGKey"):
    for _seed in (0, 7, -3, 2**31 + 5):
        expr(TABLE, "random." + _name, lambda m, name, seed: m.random.key_data(
            getattr(m.random, name)(seed)), _name, _seed, _concrete=_seed > 2**31, _single=True)
expr(TABLE, "random.PRNGKey", lambda m: m.random.normal(m.random.PRNGKey(3), (2,)), _single=True)
expr(TABLE, "random.split", lambda m: m.random.key_data(m.random.split(m.random.key(1))))
expr(TABLE, "random.split", lambda m: m.random.key_data(m.random.split(m.random.key(1), 5)))
expr(TABLE, "random.split", lambda m: m.random.key_data(m.random.split(m.random.key(1), (2, 3))))
expr(TABLE, "random.fold_in", lambda m: m.random.key_data(m.random.fold_in(m.random.key(1), 9)))
expr(TABLE, "random.fold_in", lambda m, i: m.random.key_data(
    m.random.fold_in(m.random.key(1), i)), K(3))
expr(TABLE, "random.key_data", lambda m: m.random.key_data(m.random.key(5)))
expr(TABLE, "random.wrap_key_data", lambda m, x: m.random.key_data(m.random.wrap_key_data(x)),
     typed(K([3, 9]), "uint32"))
expr(TABLE, "random.clone", lambda m: m.random.key_data(m.random.clone(m.random.key(5))))
expr(TABLE, "random.key_impl", lambda m: "threefry2x32" in str(m.random.key_impl(m.random.key(5))),
     _concrete=True)

# ------------------------------------------------------------------ without parameters

# DECISIONS 15: equal in 32 bits. In 64 JAX draws 64-bit words for these, ours stay as they are.
NARROW = {"_wide": False}
row(TABLE, "random.bits", drawn((3, 5), **NARROW), drawn((7,), "uint8"), drawn((5,), "uint16"),
    drawn(**NARROW),
    drawn((3,), "uint64", _narrow=False))
row(TABLE, "random.uniform", drawn((3, 5)), drawn((4,), "float32", -1.0, 2.0), drawn(),
    drawn((4,), "float16"), drawn((4,), "bfloat16"), drawn((3,), minval=F(3), maxval=P(3)))
row(TABLE, "random.normal", drawn((3, 5)), drawn((4,), "float32"), drawn(), drawn((4,), "float16",
    _tol32=1e-3, _tol=1e-3), drawn((4,), "complex64", _tol=1e-6))
row(TABLE, "random.exponential random.gumbel random.laplace random.logistic random.maxwell",
    drawn((3, 5)), drawn((4,), "float32", _tol=1e-6))
row(TABLE, "random.gumbel", drawn((5,), mode="high"))
row(TABLE, "random.cauchy", drawn((3, 5), _tol32=1e-4), drawn((4,), "float32", _tol=1e-4))
row(TABLE, "random.rademacher", drawn((3, 5), **NARROW), drawn((4,), "float32", **NARROW))
row(TABLE, "random.randint", drawn((3, 5), 0, 10), drawn((6,), -5, 1000), drawn((4,), 0, 256,
    "uint8"), drawn((3,), I(3, lo=-9, hi=0), I(3, lo=1, hi=99)), drawn((3,), 0, 2**31 - 1))

# ------------------------------------------------------------------ with parameters

row(TABLE, "random.bernoulli", drawn(), drawn(0.3, (3, 5)), drawn(Q(4)), drawn(Q(4), (2, 4)))
row(TABLE, "random.truncated_normal", drawn(-1.0, 2.0, (3, 4)), drawn(K([-2.0, -1.0]),
    K([0.5, 1.0])), drawn(0.0, np.inf, (4,)))
row(TABLE, "random.lognormal", drawn(0.5, (3, 4)), drawn(P(3)))
row(TABLE, "random.pareto", drawn(2.0, (3, 4)), drawn(P(3)))
row(TABLE, "random.rayleigh", drawn(2.0, (3, 4)), drawn(P(3)))
row(TABLE, "random.wald", drawn(2.0, (3, 4), _tol32=1e-5), drawn(P(3), _tol32=1e-5))
row(TABLE, "random.weibull_min", drawn(2.0, 1.5, (3, 4)),
    drawn(P(3), P(3), (3,)))  # JAX without a shape: one number for all three
row(TABLE, "random.triangular", drawn(-1.0, 0.5, 2.0, (3, 4)), drawn(-1.0, Q(3), P(3)))
row(TABLE, "random.double_sided_maxwell", drawn(0.5, 2.0, (3, 4), **NARROW),
    drawn(F(3), P(3), (3,), **NARROW))
row(TABLE, "random.geometric", drawn(0.3, (3, 4)), drawn(Q(4)))
# Rejection: the accepted proposals are the same, their arithmetic differs in the last digits.
ROUGH = {"_tol": 1e-7, "_tol32": 1e-4}
row(TABLE, "random.gamma", drawn(2.5, (3, 4), **ROUGH))
row(TABLE, "random.gamma random.loggamma", drawn(P(5), **ROUGH), drawn(Q(5), (2, 5), **ROUGH))
row(TABLE, "random.chisquare random.t", drawn(P(5), **ROUGH))
row(TABLE, "random.beta random.f", drawn(P(5), Q(5), **ROUGH))
row(TABLE, "random.dirichlet", drawn(P(4), **ROUGH), drawn(P(2, 3), (4, 2), **ROUGH))
row(TABLE, "random.generalized_normal", drawn(1.5, (3, 4), **NARROW, _tol32=1e-4))
row(TABLE, "random.ball", drawn(3, **ROUGH), drawn(2, 1.5, (4,), **ROUGH))
row(TABLE, "random.poisson", drawn(3.0, (3, 4), **NARROW), drawn(K([0.5, 20.0, 100.0]), **NARROW),
    drawn(0.0, (2,)))
row(TABLE, "random.binomial", drawn(10.0, 0.3, (3, 4)), drawn(K([5.0, 100.0, 40.0]),
                                                             K([0.2, 0.5, 0.9])))
row(TABLE, "random.multinomial", drawn(20, K([0.2, 0.5, 0.3])))
row(TABLE, "random.categorical", drawn(F(5)), drawn(F(3, 5)), drawn(F(5), shape=(4,)),
    drawn(F(5, 3), axis=0), drawn(F(6), shape=(3,), replace=False, **NARROW))
row(TABLE, "random.permutation", drawn(10), drawn(F(5)), drawn(F(3, 4), axis=1),
    drawn(F(3, 4), 0, True))
row(TABLE, "random.choice", drawn(9, (3, 4)), drawn(9, (5,), False), drawn(F(5), (4,)),
    drawn(F(5), (4,), p=K([0.1, 0.2, 0.3, 0.2, 0.2]), _grad=(0,)),
    drawn(F(5), (3,), False, K([0.1, 0.2, 0.3, 0.2, 0.2]), _grad=(0,)),
    drawn(F(4, 3), (2,), axis=1))
row(TABLE, "random.multivariate_normal", drawn(F(3), S(3, 3), **ROUGH),
    drawn(F(3), S(3, 3), (4,), method="cholesky", **ROUGH),
    drawn(F(2, 3), S(2, 3, 3), **ROUGH))
row(TABLE, "random.orthogonal", drawn(3, **ROUGH), drawn(3, (2,), m=2, **ROUGH))
