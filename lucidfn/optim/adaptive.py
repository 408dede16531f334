"""Transformations that scale each element by statistics of its past gradients.

Formulas and defaults are PyTorch's, argument names optax's. Scalars (bias corrections, schedules of
momentum) are computed once a step, not once a leaf.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn.optim.base import (
    GradientTransformation,
    by_parts,
    check_decays,
    check_number,
    clock,
    counter,
    debias,
    each,
    full_like,
    number,
    precision,
    root,
    with_state,
    zeros_like,
)
from lucidfn.types import SCALARS


class AdamState(NamedTuple):
    """Steps so far, averages of gradients and of their squares, and the largest of the latter."""

    count: Any
    mu: Any
    nu: Any
    nu_max: Any = None


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
                  amsgrad: bool = False) -> GradientTransformation:
    """mu / (sqrt(nu) + eps), both averages divided by what they have seen (arXiv:1412.6980).

    With `amsgrad` the largest nu so far stands under the root (arXiv:1904.09237).
    """
    check_decays(b1=b1, b2=b2)
    check_number("eps", eps)
    b1, b2, eps = number(b1), number(b2), number(eps)

    def init(params: Any) -> AdamState:
        return AdamState(counter(), zeros_like(params), zeros_like(params),
                         zeros_like(params) if amsgrad else None)

    def update(updates: Any, state: AdamState, params: Any = None,
               **extra: Any) -> tuple[Any, AdamState]:
        count = state.count + 1
        # Both averages start at zero.
        t = clock(count, updates)
        seen, seen_nu = debias(b1, t), debias(b2, t)
        # mu / seen / (sqrt(nu / seen_nu) + eps), with all scalars beside the root.
        over, scaled_eps = number(seen / root(seen_nu)), number(seen * eps)

        def step(u: Any, mu: Any, nu: Any, *largest: Any) -> tuple[Any, ...]:
            mu = mu * b1 + u * (1 - b1)
            nu = nu * b2 + lnp.square(u) * (1 - b2)
            top = lnp.maximum(largest[0], nu) if largest else nu
            out = mu / (lnp.sqrt(top) * over + scaled_eps)
            return (out, mu, nu, top) if largest else (out, mu, nu)

        averages = (state.mu, state.nu) + ((state.nu_max,) if amsgrad else ())
        updates, *kept = each(step, updates, averages)
        return updates, AdamState(count, *kept)

    return by_parts(with_state(AdamState, init, update))


class RmsState(NamedTuple):
    """Averages of the squares and, if centred, of the gradients."""

    nu: Any
    mu: Any = None


def scale_by_rms(decay: float = 0.99, eps: float = 1e-8,
                 centered: bool = False) -> GradientTransformation:
    """update / (sqrt(nu) + eps), nu the average of squares; of the variance if `centered`.

    Source: Tieleman and Hinton, lecture 6.5 (2012); arXiv:1308.0850 for the centred form. eps is
    outside the root, as in PyTorch.
    """
    check_decays(decay=decay)
    check_number("eps", eps)
    decay, eps = number(decay), number(eps)

    def init(params: Any) -> RmsState:
        return RmsState(zeros_like(params), zeros_like(params) if centered else None)

    def plain(u: Any, nu: Any) -> tuple[Any, Any]:
        nu = nu * decay + lnp.square(u) * (1 - decay)
        return u / (lnp.sqrt(nu) + eps), nu

    def centred(u: Any, nu: Any, mu: Any) -> tuple[Any, Any, Any]:
        nu = nu * decay + lnp.square(u) * (1 - decay)
        mu = mu * decay + u * (1 - decay)
        # A variance, which rounding may make negative.
        variance = lnp.maximum(nu - lnp.square(mu), 0.0)
        return u / (lnp.sqrt(variance) + eps), nu, mu

    def update(updates: Any, state: RmsState, params: Any = None,
               **extra: Any) -> tuple[Any, RmsState]:
        averages = tuple(state) if centered else (state.nu,)
        updates, *kept = each(centred if centered else plain, updates, averages)
        return updates, RmsState(*kept)

    return by_parts(with_state(RmsState, init, update))


class AdagradState(NamedTuple):
    """Steps so far, and the sums of squares."""

    count: Any
    sum: Any


def scale_by_adagrad(lr_decay: float = 0.0, initial_accumulator_value: float = 0.0,
                     eps: float = 1e-10) -> GradientTransformation:
    """update / (sqrt(sum of squares) + eps), over 1 + step * lr_decay (Duchi et al., JMLR 2011)."""
    for name, x in (("lr_decay", lr_decay), ("eps", eps),
                    ("initial_accumulator_value", initial_accumulator_value)):
        check_number(name, x)
    lr_decay, eps = number(lr_decay), number(eps)

    def init(params: Any) -> AdagradState:
        return AdagradState(counter(), full_like(params, initial_accumulator_value))

    def update(updates: Any, state: AdagradState, params: Any = None,
               **extra: Any) -> tuple[Any, AdagradState]:
        slower = number(1.0 + clock(state.count, updates) * lr_decay)

        def step(u: Any, total: Any) -> tuple[Any, Any]:
            total = total + lnp.square(u)
            # (sqrt + eps) > 0 wherever a gradient was; a zero gradient never moves.
            return u / ((lnp.sqrt(total) + eps) * slower), total

        updates, total = each(step, updates, (state.sum,))
        return updates, AdagradState(state.count + 1, total)

    return by_parts(with_state(AdagradState, init, update))


class AdadeltaState(NamedTuple):
    """Averages of squares: of the gradients, and of the steps."""

    square_avg: Any
    acc_delta: Any


def scale_by_adadelta(rho: float = 0.9, eps: float = 1e-6) -> GradientTransformation:
    """update * rms of past steps / rms of gradients (arXiv:1212.5701)."""
    check_decays(rho=rho)
    check_number("eps", eps)
    rho, eps = number(rho), number(eps)

    def init(params: Any) -> AdadeltaState:
        return AdadeltaState(zeros_like(params), zeros_like(params))

    def step(u: Any, square: Any, delta: Any) -> tuple[Any, Any, Any]:
        square = square * rho + lnp.square(u) * (1 - rho)
        out = u * lnp.sqrt(delta + eps) / lnp.sqrt(square + eps)
        return out, square, delta * rho + lnp.square(out) * (1 - rho)

    def update(updates: Any, state: AdadeltaState, params: Any = None,
               **extra: Any) -> tuple[Any, AdadeltaState]:
        updates, *kept = each(step, updates, tuple(state))
        return updates, AdadeltaState(*kept)

    return by_parts(with_state(AdadeltaState, init, update))


def scale_by_adamax(b1: float = 0.9, b2: float = 0.999,
                    eps: float = 1e-8) -> GradientTransformation:
    """Adam with the decaying maximum of |gradient| + eps in the denominator (arXiv:1412.6980, 7.1).

    Its state is an `AdamState` whose nu is that maximum.
    """
    check_decays(b1=b1, b2=b2)
    check_number("eps", eps)
    b1, b2, eps = number(b1), number(b2), number(eps)

    def init(params: Any) -> AdamState:
        return AdamState(counter(), zeros_like(params), zeros_like(params))

    def update(updates: Any, state: AdamState, params: Any = None,
               **extra: Any) -> tuple[Any, AdamState]:
        count = state.count + 1
        seen = number(debias(b1, clock(count, updates)))

        def step(u: Any, mu: Any, nu: Any) -> tuple[Any, Any, Any]:
            mu = mu * b1 + u * (1 - b1)
            nu = lnp.maximum(nu * b2, lnp.abs(u) + eps)
            return mu / (nu * seen), mu, nu

        updates, mu, nu = each(step, updates, (state.mu, state.nu))
        return updates, AdamState(count, mu, nu)

    return by_parts(with_state(AdamState, init, update))


class NadamState(NamedTuple):
    """Steps so far, the product of past momenta, averages of gradients and of their squares."""

    count: Any
    mu_product: Any
    mu: Any
    nu: Any


def scale_by_nadam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
                   momentum_decay: float = 4e-3) -> GradientTransformation:
    """Adam with Nesterov's momentum and a momentum that grows with the steps (Dozat 2016)."""
    check_decays(b1=b1, b2=b2)
    check_number("eps", eps)
    check_number("momentum_decay", momentum_decay)
    b1, b2, eps, psi = number(b1), number(b2), number(eps), number(momentum_decay)

    def init(params: Any) -> NadamState:
        return NadamState(counter(), lnp.ones((), precision(params)), zeros_like(params),
                          zeros_like(params))

    def update(updates: Any, state: NadamState, params: Any = None,
               **extra: Any) -> tuple[Any, NadamState]:
        count = state.count + 1
        t = clock(count, updates)
        now = b1 * (1 - 0.5 * 0.96 ** (t * psi))
        then = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * psi))
        past = number(state.mu_product) * now
        over = number(1 / root(debias(b2, t)))
        of_u, of_mu = number((1 - now) / (1 - past)), number(then / (1 - past * then))

        def step(u: Any, mu: Any, nu: Any) -> tuple[Any, Any, Any]:
            mu = mu * b1 + u * (1 - b1)
            nu = nu * b2 + lnp.square(u) * (1 - b2)
            return (u * of_u + mu * of_mu) / (lnp.sqrt(nu) * over + eps), mu, nu

        updates, mu, nu = each(step, updates, (state.mu, state.nu))
        return updates, NadamState(count, lnp.asarray(past, state.mu_product.dtype), mu, nu)

    return by_parts(with_state(NadamState, init, update))


def scale_by_radam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
                   threshold: float = 5.0) -> GradientTransformation:
    """Adam whose first steps, while the variance is not known yet, are momentum (arXiv:1908.03265).

    The denominator is used once the length of the average, `rho`, exceeds the threshold.
    """
    check_decays(b1=b1, b2=b2)
    check_number("eps", eps)
    b1, b2, eps = number(b1), number(b2), number(eps)

    def init(params: Any) -> AdamState:
        return AdamState(counter(), zeros_like(params), zeros_like(params))

    def update(updates: Any, state: AdamState, params: Any = None,
               **extra: Any) -> tuple[Any, AdamState]:
        count = state.count + 1
        t = clock(count, updates)
        factor, adaptive = _rectification(b2, t, threshold)
        seen_mu = debias(b1, t)
        scaled = number(factor * root(debias(b2, t)) / seen_mu)
        seen_mu = number(seen_mu)

        def step(u: Any, mu: Any, nu: Any) -> tuple[Any, Any, Any]:
            mu = mu * b1 + u * (1 - b1)
            nu = nu * b2 + lnp.square(u) * (1 - b2)
            if adaptive is False:
                return mu / seen_mu, mu, nu
            out = mu * scaled / (lnp.sqrt(nu) + eps)
            return (out if adaptive is True else lnp.where(adaptive, out, mu / seen_mu)), mu, nu

        updates, mu, nu = each(step, updates, (state.mu, state.nu))
        return updates, AdamState(count, mu, nu)

    return by_parts(with_state(AdamState, init, update))


def _rectification(b2: Any, t: Any, threshold: float) -> tuple[Any, Any]:
    """The factor of the variance's correction, and whether its step is to be used."""
    longest = 2 / (1 - b2) - 1
    # longest - 2 t b2^t / (1 - b2^t), which is a small difference of large numbers.
    slow = -_log(b2)
    rho = 1 + 2 * (_bernoulli(t * slow) - _bernoulli(slow)) / slow
    square = lambda r: (r - 4) * (r - 2) * longest / ((longest - 4) * (longest - 2) * r)
    if type(rho) in SCALARS:
        return (square(rho) ** 0.5, True) if rho > threshold else (1.0, False)
    adaptive = rho > threshold
    factor = lnp.sqrt(lnp.where(adaptive, square(lnp.where(adaptive, rho, 5.0)), 1.0))
    return factor, adaptive


def _log(x: Any) -> Any:
    if type(x) not in SCALARS:
        return lnp.log(x)
    return math.log(x) if x > 0 else -math.inf


def _bernoulli(x: Any) -> Any:
    """1 - x / (e^x - 1), about x / 2: by its series, in Bernoulli's numbers, where x is small."""
    series = x * (1 / 2 - x * (1 / 12 - x * x * (1 / 720 - x * x / 30240)))
    if type(x) in SCALARS:
        return series if x < 0.1 else 1 - x / math.expm1(min(x, 700.0))
    return lnp.where(x < 0.1, series, 1 - x / lnp.expm1(x))


class RpropState(NamedTuple):
    """The last gradients, and the step of each element."""

    prev: Any
    step_size: Any


def scale_by_rprop(learning_rate: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                   step_sizes: tuple[float, float] = (1e-6, 50.0)) -> GradientTransformation:
    """sign(update) * step, steps growing while the sign stays and shrinking where it changes.

    Source: Riedmiller and Braun 1993, the form without backtracking, as in PyTorch. Steps start at
    the learning rate.
    """
    check_number("learning_rate", learning_rate)
    check_number("etas[0]", etas[0], 0.0, 1.0)
    check_number("etas[1]", etas[1], 1.0)
    (shrink, grow), (least, most) = map(number, etas), map(number, step_sizes)

    def init(params: Any) -> RpropState:
        return RpropState(zeros_like(params), full_like(params, learning_rate))

    def step(u: Any, prev: Any, size: Any) -> tuple[Any, Any, Any]:
        same = lnp.sign(u * prev)
        moved = lnp.where(same > 0, size * grow, lnp.where(same < 0, size * shrink, size))
        size = lnp.clip(moved, least, most)
        u = lnp.where(same < 0, lnp.zeros_like(u), u)
        return lnp.sign(u) * size, u, size

    def update(updates: Any, state: RpropState, params: Any = None,
               **extra: Any) -> tuple[Any, RpropState]:
        updates, *kept = each(step, updates, tuple(state))
        return updates, RpropState(*kept)

    return by_parts(with_state(RpropState, init, update))


__all__ = [
    "AdadeltaState", "AdagradState", "AdamState", "NadamState", "RmsState", "RpropState",
    "scale_by_adadelta", "scale_by_adagrad", "scale_by_adam", "scale_by_adamax", "scale_by_nadam",
    "scale_by_radam", "scale_by_rms", "scale_by_rprop",
]
