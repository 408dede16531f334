"""The optimizers of PyTorch, each a short chain of named transformations.

Formulas and defaults are PyTorch's (where optax's defaults differ the docstring says so), argument
names optax's. Wherever there is a learning rate, a function of the step number 0, 1, ... does too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn.optim.adaptive import (
    scale_by_adadelta,
    scale_by_adagrad,
    scale_by_adam,
    scale_by_adamax,
    scale_by_nadam,
    scale_by_radam,
    scale_by_rms,
    scale_by_rprop,
)
from lucidfn.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    as_strong,
    check_number,
    clock,
    copies,
    counter,
    each,
    is_zero,
    map_updates,
    number,
    optimizer,
    rate_at,
    stateless,
    widened,
    with_state,
)
from lucidfn.optim.transforms import (
    Mask,
    add_decayed_weights,
    conjugate,
    scale_by_learning_rate,
    trace,
)


def decayed(weight_decay: Any, mask: Mask | None = None) -> GradientTransformation | None:
    """`add_decayed_weights`, or None where there is nothing to add."""
    return None if is_zero(weight_decay) else add_decayed_weights(weight_decay, mask)


def sgd(learning_rate: ScalarOrSchedule = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False) -> GradientTransformation:
    """Gradient descent, with momentum and an L2 penalty if given (Sutskever et al. 2013).

    Raises ValueError for `nesterov` without momentum or with dampening.

    >>> import lucidfn as lf
    >>> from lucidfn import optim
    >>> params, tx = {"w": lf.numpy.ones(2)}, optim.sgd(0.25, momentum=0.9)
    >>> updates, state = tx.update({"w": lf.numpy.ones(2)}, tx.init(params), params)
    >>> optim.apply_updates(params, updates)
    {'w': Array([0.75, 0.75], dtype=float32)}
    """
    if nesterov and (is_zero(momentum) or not is_zero(dampening)):
        raise ValueError("nesterov needs a momentum > 0 and no dampening; got momentum="
                         f"{momentum}, dampening={dampening}")
    return optimizer(
        decayed(weight_decay),
        None if is_zero(momentum) else trace(momentum, nesterov, dampening),
        scale_by_learning_rate(learning_rate))


def adam(learning_rate: ScalarOrSchedule = 1e-3, b1: float = 0.9, b2: float = 0.999,
         eps: float = 1e-8, weight_decay: float = 0.0,
         amsgrad: bool = False) -> GradientTransformation:
    """Adam (arXiv:1412.6980); the weight decay is an L2 penalty, eps is added to the root.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.adam(0.1), lnp.ones(2)
    >>> updates, state = tx.update(lnp.array([2.0, -0.5]), tx.init(params), params)
    >>> optim.apply_updates(params, updates)
    Array([0.9, 1.1], dtype=float32)
    """
    return optimizer(decayed(weight_decay), scale_by_adam(b1, b2, eps, amsgrad),
                     scale_by_learning_rate(learning_rate))


def adamw(learning_rate: ScalarOrSchedule = 1e-3, b1: float = 0.9, b2: float = 0.999,
          eps: float = 1e-8, weight_decay: float = 0.01, mask: Mask | None = None,
          amsgrad: bool = False) -> GradientTransformation:
    """Adam with decoupled weight decay, where `mask` is true (arXiv:1711.05101).

    The decay of each step is learning_rate * weight_decay. (optax's default decay is 1e-4.)

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.adamw(0.1, weight_decay=0.5), lnp.ones(2)
    >>> updates, state = tx.update(lnp.array([2.0, -0.5]), tx.init(params), params)
    >>> optim.apply_updates(params, updates)
    Array([0.85, 1.05], dtype=float32)
    """
    return optimizer(scale_by_adam(b1, b2, eps, amsgrad), decayed(weight_decay, mask),
                     scale_by_learning_rate(learning_rate))


def nadam(learning_rate: ScalarOrSchedule = 2e-3, b1: float = 0.9, b2: float = 0.999,
          eps: float = 1e-8, weight_decay: float = 0.0,
          momentum_decay: float = 4e-3) -> GradientTransformation:
    """Adam with Nesterov's momentum (Dozat 2016); the weight decay is an L2 penalty.

    The momentum is b1 * (1 - 0.96**(step * momentum_decay) / 2), as in PyTorch; in optax it is
    constant.
    """
    return optimizer(decayed(weight_decay), scale_by_nadam(b1, b2, eps, momentum_decay),
                     scale_by_learning_rate(learning_rate))


def nadamw(learning_rate: ScalarOrSchedule = 2e-3, b1: float = 0.9, b2: float = 0.999,
           eps: float = 1e-8, weight_decay: float = 0.01, mask: Mask | None = None,
           momentum_decay: float = 4e-3) -> GradientTransformation:
    """`nadam` with decoupled weight decay, as in `adamw` (arXiv:1711.05101)."""
    return optimizer(scale_by_nadam(b1, b2, eps, momentum_decay), decayed(weight_decay, mask),
                     scale_by_learning_rate(learning_rate))


def radam(learning_rate: ScalarOrSchedule = 1e-3, b1: float = 0.9, b2: float = 0.999,
          eps: float = 1e-8, weight_decay: float = 0.0,
          threshold: float = 5.0) -> GradientTransformation:
    """Rectified Adam (arXiv:1908.03265); the weight decay is an L2 penalty."""
    return optimizer(decayed(weight_decay), scale_by_radam(b1, b2, eps, threshold),
                     scale_by_learning_rate(learning_rate))


def adamax(learning_rate: ScalarOrSchedule = 2e-3, b1: float = 0.9, b2: float = 0.999,
           eps: float = 1e-8, weight_decay: float = 0.0) -> GradientTransformation:
    """Adam with the infinity norm (arXiv:1412.6980, section 7.1); an L2 penalty."""
    return optimizer(decayed(weight_decay), scale_by_adamax(b1, b2, eps),
                     scale_by_learning_rate(learning_rate))


def adagrad(learning_rate: ScalarOrSchedule = 1e-2, lr_decay: float = 0.0,
            weight_decay: float = 0.0, initial_accumulator_value: float = 0.0,
            eps: float = 1e-10) -> GradientTransformation:
    """Adagrad (Duchi et al., JMLR 2011). (optax starts the sums at 0.1, with eps 1e-7.)"""
    return optimizer(decayed(weight_decay),
                     scale_by_adagrad(lr_decay, initial_accumulator_value, eps),
                     scale_by_learning_rate(learning_rate))


def adadelta(learning_rate: ScalarOrSchedule = 1.0, rho: float = 0.9, eps: float = 1e-6,
             weight_decay: float = 0.0) -> GradientTransformation:
    """Adadelta (arXiv:1212.5701); the weight decay is an L2 penalty."""
    return optimizer(decayed(weight_decay), scale_by_adadelta(rho, eps),
                     scale_by_learning_rate(learning_rate))


def rmsprop(learning_rate: ScalarOrSchedule = 1e-2, decay: float = 0.99, eps: float = 1e-8,
            centered: bool = False, momentum: float = 0.0,
            weight_decay: float = 0.0) -> GradientTransformation:
    """RMSprop (Tieleman and Hinton 2012); eps is outside the root. (optax's decay is 0.9.)"""
    return optimizer(decayed(weight_decay), scale_by_rms(decay, eps, centered),
                     None if is_zero(momentum) else trace(momentum),
                     scale_by_learning_rate(learning_rate))


def rprop(learning_rate: ScalarOrSchedule = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
          step_sizes: tuple[float, float] = (1e-6, 50.0)) -> GradientTransformation:
    """Resilient propagation (Riedmiller and Braun 1993), for gradients of the whole data.

    The learning rate is the first step of every element; of a schedule, its value at step 0.
    """
    first = rate_at(learning_rate, 0)
    return optimizer(scale_by_rprop(first, etas, step_sizes),
                     stateless(lambda updates, params: map_updates(_downhill, updates)))


def _downhill(u: Any) -> Any:
    return -conjugate(u)


class AsgdState(NamedTuple):
    """Steps so far, the learning rate of the last one, and the average of the parameters."""

    count: Any
    learning_rate: Any
    average: Any


def asgd(learning_rate: ScalarOrSchedule = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
         t0: float = 1e6, weight_decay: float = 0.0) -> GradientTransformation:
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992), as in PyTorch.

    The step at t = 0, 1, ... is learning_rate / (1 + lambd * learning_rate * t)**alpha, and the
    average of the parameters from t0 on is `averaged_params(opt_state)`.
    """
    for name, x in (("learning_rate", learning_rate), ("lambd", lambd), ("alpha", alpha)):
        check_number(name, x)
    lambd, alpha, t0 = number(lambd), number(alpha), number(t0)

    def init(params: Any) -> AsgdState:
        count = counter()
        return AsgdState(count, as_strong(rate_at(learning_rate, count)), copies(params))

    def update(updates: Any, state: AsgdState, params: Any = None,
               **extra: Any) -> tuple[Any, AsgdState]:
        t = clock(state.count, updates)
        rate = number(rate_at(learning_rate, state.count, updates))
        eta = rate / (1 + t * lambd * rate) ** alpha
        share = number(1 / lnp.maximum(t - t0, 1.0))
        down = -number(eta)

        def step(u: Any, average: Any, p: Any) -> tuple[Any, Any]:
            p = widened(p)
            out = (conjugate(u) + p * lambd) * down
            return out, average + (p + out - average) * share

        updates, average = each(step, updates, (state.average,), params)
        in_force = lnp.asarray(eta, state.learning_rate.dtype)
        return updates, AsgdState(state.count + 1, as_strong(in_force), average)

    return optimizer(decayed(weight_decay), with_state(AsgdState, init, update))


__all__ = [
    "AsgdState", "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd",
    "nadam", "nadamw", "radam", "rmsprop", "rprop", "sgd",
]
