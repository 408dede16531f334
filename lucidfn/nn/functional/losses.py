"""Losses of numbers: distances between predictions and targets, and likelihoods of them.

Arguments and values are those of `torch.nn.functional`. `reduction` is "mean", "sum" or "none"
(or None). Input and target must have one shape. float16 and bfloat16 are computed in float32.
"""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.api.checkpoint import stop_gradient
from lucidfn.array import typeof
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.reduction import (
    check_reduction,
    constant,
    known,
    operands,
    positive,
    reduced,
    same_shape,
)

# ------------------------------------------------------------------ regression


def _pair(name: str, input: Any, target: Any, reduction: str | None,
          weight: Any = None) -> tuple[Any, Any, Any, Any]:
    """Input and target, the dtype of the result, and the weight of each element."""
    check_reduction(name, reduction)
    same_shape(name, input=input, target=target)
    (x, y), dtype = operands(name, input, target)
    if weight is not None:
        same_shape(name, input=input, weight=weight)
        weight = constant(weight, x)
    return x, y, dtype, weight


def mse_loss(input: Any, target: Any, reduction: str | None = "mean", weight: Any = None) -> Any:
    """(input - target)^2; with `weight` the mean divides by the sum of the weights.

    >>> float(mse_loss([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    x, y, dtype, weight = _pair("mse_loss", input, target, reduction, weight)
    return reduced(lnp.square(x - y), reduction, dtype, weight)


def l1_loss(input: Any, target: Any, reduction: str | None = "mean", weight: Any = None) -> Any:
    """|input - target|, with derivative 0 where they are equal; `weight` as in `mse_loss`."""
    x, y, dtype, weight = _pair("l1_loss", input, target, reduction, weight)
    return reduced(abs(x - y), reduction, dtype, weight)


def huber_loss(input: Any, target: Any, reduction: str | None = "mean", delta: float = 1.0,
               weight: Any = None) -> Any:
    """e^2 / 2 for an error |e| up to delta, then delta (|e| - delta / 2) (Huber 1964).

    `weight` scales each element; unlike that of `mse_loss` it leaves the mean's divisor alone, as
    in PyTorch.
    """
    x, y, dtype, weight = _pair("huber_loss", input, target, reduction, weight)
    if delta <= 0:
        raise ValueError(f"huber_loss got delta={delta}; it must be positive")
    loss = _huber(abs(x - y), delta)
    return reduced(loss if weight is None else loss * weight, reduction, dtype)


def _huber(e: Any, delta: float) -> Any:
    near = lnp.minimum(e, delta)  # large errors are not squared
    return 0.5 * lnp.square(near) + delta * (e - near)


def smooth_l1_loss(input: Any, target: Any, reduction: str | None = "mean",
                   beta: float = 1.0) -> Any:
    """e^2 / (2 beta) for an error |e| up to beta, then |e| - beta / 2: huber_loss / beta.

    beta=0 is `l1_loss` (arXiv:1504.08083).
    """
    x, y, dtype, _ = _pair("smooth_l1_loss", input, target, reduction)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss got beta={beta}; it must not be negative")
    e = abs(x - y)
    return reduced(_huber(e, beta) / beta if beta else e, reduction, dtype)


def log_cosh_loss(input: Any, target: Any, reduction: str | None = "mean") -> Any:
    """log cosh(input - target): e^2 / 2 for small errors, |e| - log 2 for large ones.

    >>> round(float(log_cosh_loss([1000.0], [0.0])), 2)
    999.31
    """
    x, y, dtype, _ = _pair("log_cosh_loss", input, target, reduction)
    e = x - y
    # cosh e = 1 + 2 sinh(e/2)^2 keeps small errors, where the difference to log 2 would not.
    small = abs(e) < 1.0
    near = lnp.where(small, e, 0.0)
    far = lnp.where(small, 1.0, e)
    loss = lnp.where(small, lnp.log1p(2.0 * lnp.square(lnp.sinh(0.5 * near))),
                     lnp.logaddexp(far, -far) - math.log(2.0))
    return reduced(loss, reduction, dtype)


def squared_error(predictions: Any, targets: Any = None) -> Any:
    """(predictions - targets)^2 of each element; without targets of the predictions (optax)."""
    return mse_loss(predictions, _or_zero(predictions, targets), "none")


def l2_loss(predictions: Any, targets: Any = None) -> Any:
    """Half the squared error of each element, as optax defines it."""
    return 0.5 * squared_error(predictions, targets)


def log_cosh(predictions: Any, targets: Any = None) -> Any:
    """log cosh of the error of each element (optax)."""
    return log_cosh_loss(predictions, _or_zero(predictions, targets), "none")


def _or_zero(predictions: Any, targets: Any) -> Any:
    return lnp.zeros_like(predictions) if targets is None else targets


# ------------------------------------------------------------------ likelihoods

def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str | None = "mean") -> Any:
    """(log var + (input - target)^2 / var) / 2, plus log(2 pi) / 2 with `full`.

    `var` has the shape of the input, or lacks its last axis or has size 1 there; a number is one
    variance for all. It is raised to `eps` without changing its derivative, as in PyTorch.
    ValueError where it is known to be negative.
    """
    check_reduction("gaussian_nll_loss", reduction)
    same_shape("gaussian_nll_loss", input=input, target=target)
    (x, y, v), dtype = operands("gaussian_nll_loss", input, target, var)
    if v.shape == x.shape[:-1] and v.shape != x.shape:
        v = v[..., None]
    if v.shape not in (x.shape, (*x.shape[:-1], 1), ()):
        raise ShapeError(f"gaussian_nll_loss got input {typeof(input)} and var {typeof(var)}; var "
                         f"must have shape {x.shape} or {(*x.shape[:-1], 1)}")
    values = known(v)
    if values is not None and (values < 0).any():
        raise ValueError(f"gaussian_nll_loss got a negative variance, {values.min():g}; give the "
                         "exponential of what the model predicts, or its softplus")
    v = lnp.where(v < eps, eps + (v - stop_gradient(v)), v)
    loss = 0.5 * (lnp.log(v) + lnp.square(x - y) / v)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction, dtype)


def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False,
                     eps: float = 1e-8, reduction: str | None = "mean") -> Any:
    """rate - target log(rate), where `input` is log(rate), or the rate with log_input=False.

    `full` adds Stirling's target log target - target + log(2 pi target) / 2 to targets above 1;
    `eps` is added to the rate inside of the logarithm.
    """
    x, y, dtype, _ = _pair("poisson_nll_loss", input, target, reduction)
    loss = lnp.exp(x) - y * x if log_input else x - y * lnp.log(x + eps)
    if full:
        large = lnp.where(y > 1.0, y, 1.0)
        stirling = large * lnp.log(large) - large + 0.5 * lnp.log(2 * math.pi * large)
        loss = loss + lnp.where(y > 1.0, stirling, 0.0)
    return reduced(loss, reduction, dtype)


def dice_loss(input: Any, target: Any, eps: float = 1e-6, reduction: str | None = "mean",
              axis: int | tuple[int, ...] | None = None) -> Any:
    """1 - 2 sum(input target) / (sum(input) + sum(target)), of probabilities (arXiv:1606.04797).

    `axis` is what the sums go over: by default all axes but the first. `eps` is added on both
    sides of the fraction, so that an empty prediction of nothing is right.
    """
    x, y, dtype, _ = _pair("dice_loss", input, target, reduction)
    over = tuple(range(1, x.ndim)) if axis is None else axis
    both = lnp.sum(x * y, axis=over)
    each = lnp.sum(x, axis=over) + lnp.sum(y, axis=over)
    return reduced(1.0 - (2.0 * both + eps) / (each + eps), reduction, dtype)


def hinge_loss(input: Any, target: Any, reduction: str | None = "mean") -> Any:
    """max(0, 1 - input target), for targets 1 and -1."""
    x, y, dtype, _ = _pair("hinge_loss", input, target, reduction)
    return reduced(positive(1.0 - x * y), reduction, dtype)


__all__ = [
    "dice_loss", "gaussian_nll_loss", "hinge_loss", "huber_loss", "l1_loss", "l2_loss", "log_cosh",
    "log_cosh_loss", "mse_loss", "poisson_nll_loss", "smooth_l1_loss", "squared_error",
]
