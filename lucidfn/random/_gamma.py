"""The gamma distribution and those made of it. Samples are differentiable in their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import unwrap, wrap
from lucidfn.core.trace import shape_of
from lucidfn.random._continuous import raw_exponential
from lucidfn.random._discrete import raw_sign
from lucidfn.random._keys import Shape, as_shape, split_raw, use_key
from lucidfn.random._uniform import float_dtype, full_shape, parameter, raw_normal


def _setup(name: str, key: Any, shape: Shape | None, dtype: Any,
           *params: Any) -> tuple[Any, tuple[int, ...], np.dtype, list[Any]]:
    """The raw key, the shape and dtype of the result, the raw parameters of that shape."""
    dtype = float_dtype(name, dtype, *params)
    shape = full_shape(name, shape, *params)
    return use_key(name, key), shape, dtype, [parameter(p, dtype, shape) for p in params]


def gamma(key: Any, a: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Gamma numbers of shape parameter a and rate 1; differentiable in a.

    Marsaglia and Tsang (2000); derivatives by implicit reparameterization (Figurnov et al. 2018).
    """
    raw, _, _, (a,) = _setup("gamma", key, shape, dtype, a)
    return wrap(ops.random_gamma(raw, a, log_space=False))


def loggamma(key: Any, a: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Logarithms of gamma numbers: accurate for a near 0, where these underflow."""
    raw, _, _, (a,) = _setup("loggamma", key, shape, dtype, a)
    return wrap(ops.random_gamma(raw, a, log_space=True))


def beta(key: Any, a: Any, b: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Beta numbers on [0, 1] of parameters a and b."""
    raw, _, _, (a, b) = _setup("beta", key, shape, dtype, a, b)
    logs = [ops.random_gamma(k, p, log_space=True)
            for k, p in zip(split_raw(raw), (a, b), strict=True)]
    # Dividing by the larger first keeps precision; where both underflow the ratio survives.
    return wrap(ops.logistic(ops.sub(*logs)))


def dirichlet(key: Any, alpha: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Dirichlet numbers: shape + alpha.shape[-1:], summing to 1 along the last axis."""
    dtype = float_dtype("dirichlet", dtype, alpha)
    own = shape_of(unwrap(alpha))
    if not own:
        raise ValueError("random.dirichlet: alpha must have at least one dimension")
    batch = own[:-1] if shape is None else as_shape("dirichlet", shape)
    full = (*batch, own[-1])
    full_shape("dirichlet", full, alpha)
    logs = ops.random_gamma(use_key("dirichlet", key), parameter(alpha, dtype, full),
                            log_space=True)
    axes = (len(batch),)
    top = ops.stop_gradient(ops.reduce_max(logs, axes=axes)) if own[-1] else 0.0
    top = ops.reshape(top, shape=(*batch, 1)) if own[-1] else top
    weights = ops.exp(ops.sub(logs, top))
    total = ops.reshape(ops.reduce_sum(weights, axes=axes), shape=(*batch, 1))
    return wrap(ops.div(weights, total))


def _chisquare(raw: Any, df: Any) -> Any:
    return ops.mul(ops.exp(ops.random_gamma(raw, ops.mul(df, 0.5), log_space=True)), 2.0)


def chisquare(key: Any, df: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Chi-square numbers of df degrees of freedom."""
    raw, _, _, (df,) = _setup("chisquare", key, shape, dtype, df)
    return wrap(_chisquare(raw, df))


def f(key: Any, dfnum: Any, dfden: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """F numbers: the ratio of two chi-square numbers, each over its degrees of freedom."""
    raw, _, _, (top, bottom) = _setup("f", key, shape, dtype, dfnum, dfden)
    key_bottom, key_top = split_raw(raw)
    return wrap(ops.div(ops.div(_chisquare(key_top, top), top),
                        ops.div(_chisquare(key_bottom, bottom), bottom)))


def t(key: Any, df: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Student's t numbers of df degrees of freedom."""
    raw, shape, dtype, (df,) = _setup("t", key, shape, dtype, df)
    key_normal, key_gamma = split_raw(raw)
    half = ops.mul(df, 0.5)
    g = ops.random_gamma(key_gamma, half, log_space=False)
    return wrap(ops.mul(raw_normal(key_normal, shape, dtype), ops.sqrt(ops.div(half, g))))


def _generalized_normal(raw: Any, p: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    key_size, key_sign = split_raw(raw)
    inverse = ops.div(parameter(1.0, dtype), parameter(p, dtype))
    g = ops.random_gamma(key_size, parameter(inverse, dtype, shape), log_space=False)
    sign = raw_sign(ops.random_below(key_sign, shape=shape, bound=1 << 31), dtype)
    return ops.mul(sign, ops.pow(g, inverse))


def generalized_normal(key: Any, p: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Numbers with density proportional to exp(-|x|^p)."""
    dtype = float_dtype("generalized_normal", dtype, p)
    shape = full_shape("generalized_normal", shape, p)
    return wrap(_generalized_normal(use_key("generalized_normal", key), p, shape, dtype))


def ball(key: Any, d: int, p: Any = 2, shape: Shape = (), dtype: Any = None) -> Any:
    """Points shape + (d,), uniform in the ball of radius 1 of the p-norm.

    Barthe, Guedon, Mendelson and Naor, "A probabilistic approach to the geometry of the l_p^n
    ball" (2005).
    """
    dtype = float_dtype("ball", dtype, p)
    shape = as_shape("ball", shape)
    key_direction, key_radius = split_raw(use_key("ball", key))
    g = _generalized_normal(key_direction, p, (*shape, d), dtype)
    e = raw_exponential(key_radius, shape, dtype)
    power = parameter(p, dtype)
    total = ops.add(ops.reduce_sum(ops.pow(ops.abs(g), power), axes=(len(shape),)), e)
    radius = ops.pow(total, ops.div(parameter(1.0, dtype), power))
    return wrap(ops.div(g, ops.reshape(radius, shape=(*shape, 1))))
