"""Random numbers as functions of keys: `from lucidfn import random`.

A key is made from a seed, split into new ones, and used once: the same key gives the same numbers,
those of `jax.random` for the same seed. Keys are arrays of a dtype of their own: they are indexed,
stacked, vmapped and saved like others, and take part in no arithmetic.

    key = random.key(0)
    key, key_w, key_b = random.split(key, 3)
    w = random.normal(key_w, (256, 10))
"""

from __future__ import annotations

from typing import Any

from lucidfn.random._continuous import (
    cauchy,
    double_sided_maxwell,
    exponential,
    gumbel,
    laplace,
    logistic,
    lognormal,
    maxwell,
    normal,
    pareto,
    rayleigh,
    triangular,
    truncated_normal,
    wald,
    weibull_min,
)
from lucidfn.random._discrete import (
    bernoulli,
    binomial,
    categorical,
    choice,
    geometric,
    multinomial,
    permutation,
    poisson,
    rademacher,
    randint,
)
from lucidfn.random._gamma import (
    ball,
    beta,
    chisquare,
    dirichlet,
    f,
    gamma,
    generalized_normal,
    loggamma,
    t,
)
from lucidfn.random._keys import (
    PRNGKey,
    clone,
    fold_in,
    key,
    key_data,
    key_impl,
    split,
    wrap_key_data,
)
from lucidfn.random._matrix import multivariate_normal, orthogonal
from lucidfn.random._uniform import bits, uniform

__all__ = [
    "PRNGKey", "ball", "bernoulli", "beta", "binomial", "bits", "categorical", "cauchy",
    "chisquare", "choice", "clone", "dirichlet", "double_sided_maxwell", "exponential", "f",
    "fold_in", "gamma", "generalized_normal", "geometric", "gumbel", "key", "key_data", "key_impl",
    "laplace", "loggamma", "logistic", "lognormal", "maxwell", "multinomial",
    "multivariate_normal", "normal", "orthogonal", "pareto", "permutation", "poisson",
    "rademacher", "randint", "rayleigh", "split", "t", "triangular", "truncated_normal",
    "uniform", "wald", "weibull_min", "wrap_key_data",
]

_WITH_KEYS = {  # of random generators with a hidden state, and what stands for them here
    "seed": "key = random.key(seed)", "manual_seed": "key = random.key(seed)",
    "default_rng": "key = random.key(seed)", "rand": "random.uniform(key, shape)",
    "random": "random.uniform(key, shape)", "randn": "random.normal(key, shape)",
    "standard_normal": "random.normal(key, shape)", "shuffle": "random.permutation(key, x)",
    "randperm": "random.permutation(key, n)",
}


def __getattr__(name: str) -> Any:
    if name in _WITH_KEYS:
        raise AttributeError(f"lucidfn.random has no {name}: there is no hidden state. Write "
                             f"{_WITH_KEYS[name]}; each use takes a key of its own, see "
                             "random.split")
    raise AttributeError(f"module 'lucidfn.random' has no attribute {name!r}")
