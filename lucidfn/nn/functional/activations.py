"""Activation functions, with the names, signatures and values at kinks of `jax.nn`.

Integers become floats, except in relu and its kin, which keep them.
"""

from __future__ import annotations

import math
from typing import Any

from lucidfn import ops
from lucidfn.array import promote, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.numpy.elementwise import lift, tanh
from lucidfn.numpy.reductions import mean as _mean
from lucidfn.numpy.reductions import normal_axis
from lucidfn.numpy.reductions import sum as _sum
from lucidfn.numpy.softmax import Axis, log_softmax, softmax
from lucidfn.scipy.special import logsumexp
from lucidfn.types import as_dtype, bool_, default_dtype_of, is_inexact, kind_of

# ------------------------------------------------------------------ piecewise linear


def relu(x: Any) -> Any:
    """max(x, 0); its derivative at 0 is 0.

    >>> relu([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """
    (raw,), weak = lift(x)
    return wrap(ops.relu(raw) if kind_of(dtype_of(raw)) == 2 else _positive(raw), weak)


def _positive(raw: Any) -> Any:
    if dtype_of(raw) == bool_:
        return raw
    if kind_of(dtype_of(raw)) == 3:
        raise TypeError(f"relu got {type_of(raw)}; complex numbers have no order")
    return ops.max(raw, 0)


def _float(x: Any) -> tuple[Any, bool]:
    (raw,), weak = lift(x, to_float=True)
    if kind_of(dtype_of(raw)) == 3:
        raise TypeError(f"got {type_of(raw)}; this activation function takes real numbers")
    return raw, weak


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6); its derivative at 0 and 6 is 0."""
    raw, weak = _float(x)
    return wrap(_relu6(raw), weak)


def _relu6(raw: Any) -> Any:
    return ops.select(ops.ge(raw, 6.0), 6.0, ops.relu(raw))


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    """x where x >= 0, else negative_slope * x."""
    (raw, slope), weak = lift(x, negative_slope, to_float=True)
    return wrap(ops.select(ops.ge(raw, 0.0), raw, ops.mul(raw, slope)), weak)


def hard_tanh(x: Any) -> Any:
    """x limited to [-1, 1]; its derivative is 1 on the closed interval."""
    raw, weak = _float(x)
    return wrap(ops.clamp(-1.0, raw, 1.0), weak)


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6."""
    raw, weak = _float(x)
    return wrap(ops.div(_relu6(ops.add(raw, 3.0)), 6.0), weak)


def hard_silu(x: Any) -> Any:
    """x * hard_sigmoid(x)."""
    raw, weak = _float(x)
    return wrap(ops.mul(raw, ops.div(_relu6(ops.add(raw, 3.0)), 6.0)), weak)


hard_swish = hard_silu


def sparse_plus(x: Any) -> Any:
    """0 up to -1, (x + 1)^2 / 4 up to 1, then x: a softplus that becomes exactly linear."""
    raw, weak = _float(x)
    # Within bounds before it is squared, so that inf does not meet a zero in the derivative.
    bend = ops.mul(ops.square(ops.add(ops.clamp(-1.0, raw, 1.0), 1.0)), 0.25)
    return wrap(ops.select(ops.ge(raw, 1.0), raw, bend), weak)


def sparse_sigmoid(x: Any) -> Any:
    """0 up to -1, (x + 1) / 2 up to 1, then 1: the derivative of `sparse_plus`."""
    raw, weak = _float(x)
    line = ops.mul(ops.add(raw, 1.0), 0.5)
    return wrap(ops.select(ops.ge(raw, 1.0), 1.0, ops.select(ops.le(raw, -1.0), 0.0, line)), weak)


def identity(x: Any) -> Any:
    """x."""
    (raw,), weak = lift(x)
    return wrap(raw, weak)


# ------------------------------------------------------------------ sigmoids

def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)).

    >>> float(sigmoid(0.0))
    0.5
    """
    (raw,), weak = lift(x, to_float=True)
    return wrap(ops.logistic(raw), weak)


def silu(x: Any) -> Any:
    """x * sigmoid(x), also known as swish."""
    (raw,), weak = lift(x, to_float=True)
    return wrap(ops.mul(raw, ops.logistic(raw)), weak)


swish = silu


def soft_sign(x: Any) -> Any:
    """x / (|x| + 1)."""
    raw, weak = _float(x)
    return wrap(ops.div(raw, ops.add(ops.abs(raw), 1.0)), weak)


def softplus(x: Any, beta: Any = 1.0, threshold: Any = math.inf) -> Any:
    """log(1 + exp(beta x)) / beta, without overflow; x where beta x > threshold.

    >>> softplus([-1000.0, 1000.0]).tolist()
    [0.0, 1000.0]
    """
    raw, weak = _float(x)
    if type(beta) in (int, float) and beta == 1 and threshold == math.inf:
        return wrap(ops.logaddexp(raw, 0.0), weak)
    (raw, beta, threshold), weak = lift(wrap(raw, weak), beta, threshold)
    scaled = ops.mul(raw, beta)
    return wrap(ops.select(ops.gt(scaled, threshold), raw,
                           ops.div(ops.logaddexp(scaled, 0.0), beta)), weak)


def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)) = -softplus(-x)."""
    raw, weak = _float(x)
    return wrap(ops.neg(ops.logaddexp(ops.neg(raw), 0.0)), weak)


def squareplus(x: Any, b: Any = 4) -> Any:
    """(x + sqrt(x^2 + b)) / 2: a softplus without exponentials (arXiv:2112.11687)."""
    (raw, b), weak = lift(x, b, to_float=True)
    return wrap(ops.mul(ops.add(raw, ops.sqrt(ops.add(ops.square(raw), b))), 0.5), weak)


def mish(x: Any) -> Any:
    """x * tanh(softplus(x)) (arXiv:1908.08681)."""
    raw, weak = _float(x)
    return wrap(ops.mul(raw, ops.tanh(ops.logaddexp(raw, 0.0))), weak)


def gelu(x: Any, approximate: bool = True) -> Any:
    """x times the normal distribution function of x (arXiv:1606.08415).

    The approximation is x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2; pass approximate=False
    for the exact x erfc(-x / sqrt(2)) / 2.
    """
    raw, weak = _float(x)
    if not approximate:
        tail = ops.erfc(ops.mul(raw, -math.sqrt(0.5)))
        return wrap(ops.mul(ops.mul(raw, tail), 0.5), weak)
    slope = math.sqrt(2.0 / math.pi)
    cubic = ops.mul(raw, ops.add(ops.mul(ops.square(raw), 0.044715 * slope), slope))
    gate = ops.add(ops.mul(ops.tanh(cubic), 0.5), 0.5)
    return wrap(ops.mul(raw, gate), weak)


def glu(x: Any, axis: int = -1) -> Any:
    """The first half along an axis, times the sigmoid of the second (arXiv:1612.08083)."""
    (raw,), weak = lift(x, to_float=True)
    at = normal_axis(axis, len(shape_of(raw)))
    n = shape_of(raw)[at]
    if n % 2:
        raise ValueError(f"glu got {type_of(raw)}, whose axis {axis} of size {n} has no two halves")
    first, second = ops.slice_axis(raw, at, 0, n // 2), ops.slice_axis(raw, at, n // 2, n)
    return wrap(ops.mul(first, ops.logistic(second)), weak)


# ------------------------------------------------------------------ exponentials

def _where_negative(raw: Any, curve: Any) -> Any:
    """x where x > 0, else the curve of x; which never sees large x, so that no inf leaks."""
    positive = ops.gt(raw, 0.0)
    return ops.select(positive, raw, curve(ops.select(positive, 0.0, raw)))


def elu(x: Any, alpha: Any = 1.0) -> Any:
    """x where x > 0, else alpha * (exp(x) - 1) (arXiv:1511.07289)."""
    (raw, alpha), weak = lift(x, alpha, to_float=True)
    return wrap(_where_negative(raw, lambda v: ops.mul(ops.expm1(v), alpha)), weak)


def celu(x: Any, alpha: Any = 1.0) -> Any:
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (arXiv:1704.07483)."""
    (raw, alpha), weak = lift(x, alpha, to_float=True)
    return wrap(_where_negative(
        raw, lambda v: ops.mul(ops.expm1(ops.div(v, alpha)), alpha)), weak)


# The fixed point of mean 0 and variance 1 (arXiv:1706.02515).
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(x: Any) -> Any:
    """1.0507 * elu(x, 1.6733), which keeps mean 0 and variance 1 (arXiv:1706.02515)."""
    raw, weak = _float(x)
    return wrap(ops.mul(_where_negative(
        raw, lambda v: ops.mul(ops.expm1(v), _SELU_ALPHA)), _SELU_SCALE), weak)


def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for x >= 0, accurate at both ends (Maechler 2012, "Rmpfr": log1mexp)."""
    raw, weak = _float(x)
    near = ops.lt(raw, math.log(2.0))
    small, large = ops.select(near, raw, 1.0), ops.select(near, 1.0, raw)
    return wrap(ops.select(near, ops.log(ops.neg(ops.expm1(ops.neg(small)))),
                           ops.log1p(ops.neg(ops.exp(ops.neg(large))))), weak)


# ------------------------------------------------------------------ along axes

def logmeanexp(x: Any, axis: Axis = None, where: Any = None, keepdims: bool = False) -> Any:
    """log(mean(exp(x))) along the axes, without overflow."""
    (raw,), weak = lift(x, to_float=True)
    ones = ops.full(shape=shape_of(raw), dtype=dtype_of(raw), value=1.0)
    count = unwrap(_sum(wrap(ones), axis, keepdims=keepdims, where=where))
    total = unwrap(logsumexp(x, axis, keepdims=keepdims, where=where))
    return wrap(ops.sub(total, ops.log(count)), weak)


def standardize(x: Any, axis: Axis = -1, mean: Any = None, variance: Any = None,
                epsilon: Any = 1e-5, where: Any = None, *, algorithm: str = "fast") -> Any:
    """(x - mean) / sqrt(variance + epsilon), with those of x along the axes unless given.

    `algorithm` is accepted as in jax.nn; the variance is always the mean square of x - mean.
    """
    (raw,), weak = lift(x, to_float=True)
    if mean is None:
        mean = _mean(wrap(raw, weak), axis, keepdims=True, where=where)
    (raw, mean), weak = promote(wrap(raw, weak), mean)
    centred = ops.sub(raw, mean)
    if variance is None:
        square = ops.square(centred)
        variance = _mean(wrap(square, weak), axis, keepdims=True, where=where)
    (centred, variance, epsilon), weak = promote(wrap(centred, weak), variance, epsilon)
    return wrap(ops.mul(centred, ops.rsqrt(ops.add(variance, epsilon))), weak)


def one_hot(x: Any, num_classes: int, *, dtype: Any = None, axis: int = -1) -> Any:
    """A vector of num_classes for each index, 1 there and 0 elsewhere; all 0 if out of range.

    `axis` is where the classes go in the result.

    >>> one_hot([0, 2], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    (raw,), _ = lift(x)
    shape, to = shape_of(raw), default_dtype_of(float) if dtype is None else as_dtype(dtype)
    at = normal_axis(axis, len(shape) + 1)
    index = raw if dtype_of(raw) != bool_ else ops.convert(raw, dtype=default_dtype_of(int))
    n = int(num_classes)
    wide = index if is_inexact(dtype_of(index)) or dtype_of(index).itemsize >= 4 else (
        ops.convert(index, dtype=default_dtype_of(int)))  # a class of uint8 may be out of its range
    wide = ops.reshape(wide, shape=(*shape[:at], 1, *shape[at:]))
    kinds = tuple([n if i == at else 1 for i in range(len(shape) + 1)])
    return wrap(ops.convert(ops.eq(wide, ops.iota(shape=kinds, dtype=dtype_of(wide), axis=at)),
                            dtype=to))


__all__ = [
    "celu", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "identity", "leaky_relu", "log1mexp", "log_sigmoid", "log_softmax", "logmeanexp", "logsumexp",
    "mish", "one_hot", "relu", "relu6", "selu", "sigmoid", "silu", "soft_sign", "softmax",
    "softplus", "sparse_plus", "sparse_sigmoid", "squareplus", "standardize", "swish", "tanh",
]
