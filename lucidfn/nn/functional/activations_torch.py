"""Activation functions that PyTorch has and `jax.nn` has not, and PyTorch's names of those it has.

At a kink the derivative is that of the piece that the docstring gives the point to.
"""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn import lax, ops, random
from lucidfn.array import typeof, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.activations import (
    hard_sigmoid,
    hard_silu,
    leaky_relu,
    log_sigmoid,
    one_hot,
    soft_sign,
)
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.softmax import softmax
from lucidfn.types import kind_of

hardsigmoid = hard_sigmoid
hardswish = hard_silu
logsigmoid = log_sigmoid
softsign = soft_sign


def _float(name: str, x: Any, *more: Any) -> tuple[list[Any], bool]:
    raws, weak = lift(x, *more, to_float=True)
    if kind_of(dtype_of(raws[0])) == 3:
        raise TypeError(f"{name} got {type_of(raws[0])}; it takes real numbers")
    return raws, weak


def hardtanh(x: Any, min_val: Any = -1.0, max_val: Any = 1.0) -> Any:
    """x limited to [min_val, max_val]; its derivative is 1 on the closed interval.

    >>> hardtanh([-2.0, 0.5, 3.0]).tolist()
    [-1.0, 0.5, 1.0]
    """
    (raw, lo, hi), weak = _float("hardtanh", x, min_val, max_val)
    return wrap(ops.clamp(lo, raw, hi), weak)


def softmin(x: Any, axis: int = -1) -> Any:
    """softmax(-x) along an axis: the smallest is the most likely."""
    return softmax(lnp.negative(lnp.asarray(x)), axis)


def prelu(x: Any, weight: Any) -> Any:
    """x where x > 0, else weight * x: one weight, or [C] of them for x [..., C]
    (arXiv:1502.01852). ShapeError for another number of weights.
    """
    (raw, weight), weak = _float("prelu", x, weight)
    shape, own = shape_of(raw), shape_of(weight)
    if own not in ((), (1,), shape[-1:]):
        raise ShapeError(f"prelu got weight {type_of(weight)} for x {type_of(raw)}, expected one "
                         f"weight or one for each of the {shape[-1] if shape else 1} channels on "
                         "the last axis")
    if own == (1,):
        weight = ops.reshape(weight, shape=())
    return wrap(ops.select(ops.gt(raw, 0.0), raw, ops.mul(raw, weight)), weak)


def threshold(x: Any, threshold: Any, value: Any) -> Any:
    """x where x > threshold, else value.

    >>> threshold([0.5, 2.0], 1.0, -1.0).tolist()
    [-1.0, 2.0]
    """
    (raw, limit, other), weak = lift(x, threshold, value)
    return wrap(ops.select(ops.gt(raw, limit), raw, other), weak)


def hardshrink(x: Any, lambd: Any = 0.5) -> Any:
    """x where |x| > lambd, else 0."""
    (raw, limit), weak = _float("hardshrink", x, lambd)
    return wrap(ops.select(_within(raw, limit), 0.0, raw), weak)


def softshrink(x: Any, lambd: Any = 0.5) -> Any:
    """x moved towards 0 by lambd; 0 where |x| <= lambd."""
    (raw, limit), weak = _float("softshrink", x, lambd)
    moved = ops.sub(raw, ops.mul(ops.sign(raw), limit))
    return wrap(ops.select(_within(raw, limit), 0.0, moved), weak)


def _within(raw: Any, limit: Any) -> Any:
    """|raw| <= limit, False for NaN."""
    return ops.le(ops.abs(raw), limit)


def tanhshrink(x: Any) -> Any:
    """x - tanh(x)."""
    (raw,), weak = _float("tanhshrink", x)
    return wrap(ops.sub(raw, ops.tanh(raw)), weak)


def rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *,
          key: Any = None) -> Any:
    """x where x >= 0, else x times a slope, for each element uniform in [lower, upper) in
    training, else (lower + upper) / 2 (arXiv:1505.00853).

    TypeError in training without a key.
    """
    if not training:
        return leaky_relu(x, (lower + upper) / 2)
    if key is None:
        raise TypeError("rrelu needs a random key in training: rrelu(x, training=True, key=key)")
    (raw,), weak = _float("rrelu", x)
    slope = random.uniform(key, shape_of(raw), dtype_of(raw), lower, upper)
    return leaky_relu(wrap(raw, weak), slope)


def gumbel_softmax(logits: Any, tau: Any = 1.0, hard: bool = False, axis: int = -1, *,
                   key: Any) -> Any:
    """A random point near a corner of the simplex: softmax((logits + Gumbel noise) / tau)
    (arXiv:1611.00712, arXiv:1611.01144).

    Its argmax is drawn as the logits say. With `hard` the value is the corner itself, the
    derivative that of the soft point.

    >>> from lucidfn import random
    >>> gumbel_softmax([0.0, 1.0, 2.0], hard=True, key=random.key(0)).tolist()
    [0.0, 1.0, 0.0]
    """
    (raw,), weak = _float("gumbel_softmax", logits)
    noise = random.gumbel(key, shape_of(raw), dtype_of(raw))
    soft = softmax((wrap(raw, weak) + noise) / tau, axis)
    if not hard:
        return soft
    n = typeof(soft).shape[axis]
    corner = one_hot(lnp.argmax(soft, axis), n, dtype=dtype_of(unwrap(soft)), axis=axis)
    return lax.stop_gradient(corner) + (soft - lax.stop_gradient(soft))


__all__ = ["gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "logsigmoid",
           "prelu", "rrelu", "softmin", "softshrink", "softsign", "tanhshrink", "threshold"]
