"""Continuous distributions on the line, by transforming uniform or normal numbers."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from lucidfn import ops
from lucidfn.array import wrap
from lucidfn.random._keys import Shape, as_shape, split_raw, use_key
from lucidfn.random._uniform import (
    float_dtype,
    full_shape,
    parameter,
    raw_normal,
    raw_uniform,
)
from lucidfn.types import kind_of, real_dtype


def normal(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Standard normal numbers; complex ones have variance 1/2 in each part.

    >>> from lucidfn import random
    >>> random.normal(random.key(0), (2, 3)).shape
    (2, 3)
    """
    dtype = float_dtype("normal", dtype, complex_too=True)
    shape, raw = as_shape("normal", shape), use_key("normal", key)
    if kind_of(dtype) != 3:
        return wrap(raw_normal(raw, shape, dtype))
    parts = [raw_normal(k, shape, real_dtype(dtype)) for k in split_raw(raw)]
    half = math.sqrt(0.5)
    return wrap(ops.complex_(*[ops.mul(p, half) for p in parts]))


def truncated_normal(key: Any, lower: Any, upper: Any, shape: Shape | None = None,
                     dtype: Any = None) -> Any:
    """Standard normal numbers conditioned to lie strictly between lower and upper."""
    dtype = float_dtype("truncated_normal", dtype, lower, upper)
    shape = full_shape("truncated_normal", shape, lower, upper)
    lo, hi = parameter(lower, dtype), parameter(upper, dtype)
    root = math.sqrt(2.0)
    u = raw_uniform(use_key("truncated_normal", key), shape, dtype,
                    ops.erf(ops.div(lo, root)), ops.erf(ops.div(hi, root)))
    out = ops.mul(ops.erf_inv(u), root)
    # Rounding must not reach the bounds; they carry no derivative here.
    inside = [ops.nextafter(ops.stop_gradient(b), parameter(to, dtype))
              for b, to in ((lo, math.inf), (hi, -math.inf))]
    return wrap(ops.clamp(inside[0], out, inside[1]))


def lognormal(key: Any, sigma: Any = 1.0, shape: Shape | None = None, dtype: Any = None) -> Any:
    """exp(sigma z) of standard normal z."""
    dtype = float_dtype("lognormal", dtype, sigma)
    shape = full_shape("lognormal", shape, sigma)
    z = raw_normal(use_key("lognormal", key), shape, dtype)
    return wrap(ops.exp(ops.mul(z, parameter(sigma, dtype))))


def raw_exponential(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    return ops.neg(ops.log1p(ops.neg(raw_uniform(key, shape, dtype))))


def exponential(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Exponential numbers of rate 1."""
    dtype = float_dtype("exponential", dtype)
    return wrap(raw_exponential(use_key("exponential", key), as_shape("exponential", shape), dtype))


def raw_gumbel(key: Any, shape: tuple[int, ...], dtype: np.dtype, mode: str | None = None) -> Any:
    info = ml_dtypes.finfo(dtype)
    if mode in (None, "low"):
        u = raw_uniform(key, shape, dtype, float(info.tiny), 1.0)
        return ops.neg(ops.log(ops.neg(ops.log(u))))
    if mode not in ("high", "highest"):
        raise ValueError(f"mode must be 'low' or 'high', got {mode!r}")
    # Near 0 a second draw supplies the mantissa bits that the first one lacks.
    high, low = _halves(raw_uniform(key, (2, *shape), dtype), shape)
    fine = ops.add(ops.add(high, ops.mul(low, 2.0 ** -info.nmant)), float(info.tiny))
    x = ops.select(ops.ge(high, 0.5), high, fine)
    return ops.neg(ops.log(ops.neg(ops.log1p(ops.neg(x)))))


def _halves(x: Any, shape: tuple[int, ...]) -> list[Any]:
    return [ops.reshape(ops.slice_(x, start=(i, *[0] * len(shape)), stop=(i + 1, *shape),
                                   stride=(1,) * (len(shape) + 1)), shape=shape) for i in (0, 1)]


def gumbel(key: Any, shape: Shape = (), dtype: Any = None, mode: str | None = None) -> Any:
    """Standard Gumbel numbers, -log(-log(u)); mode "high" resolves the tails more finely."""
    dtype = float_dtype("gumbel", dtype)
    return wrap(raw_gumbel(use_key("gumbel", key), as_shape("gumbel", shape), dtype, mode))


def laplace(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Laplace numbers of mean 0 and scale 1."""
    dtype = float_dtype("laplace", dtype)
    epsneg = float(ml_dtypes.finfo(dtype).epsneg)
    u = raw_uniform(use_key("laplace", key), as_shape("laplace", shape), dtype, -1.0 + epsneg, 1.0)
    return wrap(ops.mul(ops.sign(u), ops.log1p(ops.neg(ops.abs(u)))))


def logistic(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Standard logistic numbers, log(u / (1 - u))."""
    dtype = float_dtype("logistic", dtype)
    tiny = float(ml_dtypes.finfo(dtype).tiny)
    u = raw_uniform(use_key("logistic", key), as_shape("logistic", shape), dtype, tiny, 1.0)
    return wrap(ops.sub(ops.log(u), ops.log1p(ops.neg(u))))


def cauchy(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Standard Cauchy numbers."""
    dtype = float_dtype("cauchy", dtype)
    eps = float(ml_dtypes.finfo(dtype).eps)
    u = raw_uniform(use_key("cauchy", key), as_shape("cauchy", shape), dtype, eps, 1.0)
    return wrap(ops.tan(ops.mul(ops.sub(u, 0.5), math.pi)))


def pareto(key: Any, b: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Pareto numbers of shape parameter b on [1, inf)."""
    dtype = float_dtype("pareto", dtype, b)
    shape = full_shape("pareto", shape, b)
    e = raw_exponential(use_key("pareto", key), shape, dtype)
    return wrap(ops.exp(ops.div(e, parameter(b, dtype))))


def rayleigh(key: Any, scale: Any = 1.0, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Rayleigh numbers: the length of a plane vector of independent normal parts."""
    dtype = float_dtype("rayleigh", dtype, scale)
    shape = full_shape("rayleigh", shape, scale)
    u = raw_uniform(use_key("rayleigh", key), shape, dtype)
    return wrap(ops.mul(parameter(scale, dtype), ops.sqrt(ops.mul(ops.log(u), -2.0))))


def weibull_min(key: Any, scale: Any, concentration: Any, shape: Shape | None = None,
                dtype: Any = None) -> Any:
    """Weibull numbers, scale * e^(1/concentration) of exponential e."""
    dtype = float_dtype("weibull_min", dtype, scale, concentration)
    shape = full_shape("weibull_min", shape or None, scale, concentration)
    e = raw_exponential(use_key("weibull_min", key), shape, dtype)
    power = ops.div(parameter(1.0, dtype), parameter(concentration, dtype))
    return wrap(ops.mul(ops.pow(e, power), parameter(scale, dtype)))


def raw_maxwell(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    z = raw_normal(key, (*shape, 3), dtype)
    return ops.sqrt(ops.reduce_sum(ops.square(z), axes=(len(shape),)))


def maxwell(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """Maxwell numbers: the length of a space vector of independent normal parts."""
    dtype = float_dtype("maxwell", dtype)
    return wrap(raw_maxwell(use_key("maxwell", key), as_shape("maxwell", shape), dtype))


def double_sided_maxwell(key: Any, loc: Any, scale: Any, shape: Shape = (),
                         dtype: Any = None) -> Any:
    """loc plus or minus scale times a Maxwell number; of shape `shape` + that of the parameters."""
    dtype = float_dtype("double_sided_maxwell", dtype, loc, scale)
    tail = full_shape("double_sided_maxwell", None, loc, scale)
    shape = (*as_shape("double_sided_maxwell", shape), *tail) if shape else tail
    key_size, key_sign = split_raw(use_key("double_sided_maxwell", key))
    size = ops.mul(raw_maxwell(key_size, shape, dtype), parameter(scale, dtype))
    positive = ops.random_below(key_sign, shape=shape, bound=1 << 31)
    return wrap(ops.add(ops.select(positive, size, ops.neg(size)), parameter(loc, dtype)))


def triangular(key: Any, left: Any, mode: Any, right: Any, shape: Shape | None = None,
               dtype: Any = None) -> Any:
    """Numbers with the triangular density on [left, right] that peaks at mode."""
    dtype = float_dtype("triangular", dtype, left, mode, right)
    shape = full_shape("triangular", shape, left, mode, right)
    lo, peak, hi = (parameter(p, dtype) for p in (left, mode, right))
    width, rise, fall = ops.sub(hi, lo), ops.sub(peak, lo), ops.sub(hi, peak)
    u = raw_uniform(use_key("triangular", key), shape, dtype)
    first = ops.add(ops.sqrt(ops.mul(ops.mul(u, width), rise)), lo)
    second = ops.sub(hi, ops.sqrt(ops.mul(ops.mul(ops.sub(1.0, u), width), fall)))
    return wrap(ops.select(ops.lt(u, ops.div(rise, width)), first, second))


def wald(key: Any, mean: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Wald (inverse Gaussian) numbers of a mean and scale 1.

    Michael, Schucany and Haas, "Generating random variates using transformations with multiple
    roots" (1976).
    """
    dtype = float_dtype("wald", dtype, mean)
    shape = full_shape("wald", shape, mean)
    m = parameter(mean, dtype, shape)
    key_normal, key_uniform = split_raw(use_key("wald", key))
    y = ops.square(raw_normal(key_normal, shape, dtype))
    root = ops.sqrt(ops.add(ops.mul(ops.mul(m, y), 4.0), ops.square(ops.mul(m, y))))
    half = ops.mul(m, 0.5)
    x = ops.sub(ops.add(m, ops.mul(ops.mul(half, m), y)), ops.mul(half, root))
    z = raw_uniform(key_uniform, shape, dtype)
    take = ops.le(z, ops.div(m, ops.add(m, x)))
    return wrap(ops.select(take, x, ops.div(ops.square(m), x)))
