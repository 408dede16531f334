"""Optimizers around an optimizer: they move the parameters along averages of what it does."""

from __future__ import annotations

from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    as_strong,
    check_number,
    check_transformation,
    counter,
    each,
    is_none,
    moves,
    number,
    optimizer,
    rate_at,
    widened,
    with_state,
)


def _copies(params: Any) -> Any:
    """The parameters, in float32 where they are of half precision; None for those that stay."""
    return tree.map(lambda p: lnp.copy(as_strong(widened(p))) if moves(p) else None, params)


# ------------------------------------------------------------------ lookahead

class LookaheadState(NamedTuple):
    """Steps so far, the slow parameters, and the state of the fast optimizer."""

    count: Any
    slow: Any
    fast_state: Any


def lookahead(fast: GradientTransformation, sync_period: int = 6,
              slow_step_size: float = 0.5) -> GradientTransformation:
    """Every sync_period steps of the fast optimizer go back part of the way (arXiv:1907.08610).

    Slow parameters then move by slow_step_size of the way to the fast ones, which start there
    again.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.lookahead(optim.sgd(1.0), sync_period=2), lnp.zeros(1)
    >>> state = tx.init(params)
    >>> for _ in range(2):
    ...     updates, state = tx.update(lnp.ones(1), state, params)
    ...     params = optim.apply_updates(params, updates)
    >>> params.tolist()
    [-1.0]
    """
    if isinstance(sync_period, bool) or not isinstance(sync_period, int) or sync_period < 1:
        raise ValueError(f"lookahead: sync_period is a number of steps, got {sync_period!r}")
    check_number("slow_step_size", slow_step_size, 0.0, 1.0)
    check_transformation("lookahead", fast)
    part = number(slow_step_size)

    def init(params: Any) -> LookaheadState:
        return LookaheadState(counter(), _copies(params), fast.init(params))

    def update(updates: Any, state: LookaheadState, params: Any = None,
               **extra: Any) -> tuple[Any, LookaheadState]:
        updates, inner = fast.update(updates, state.fast_state, params, **extra)
        count = state.count + 1
        # 1 where the two meet, else 0.
        meet = number(lnp.where(count % sync_period == 0, 1.0, 0.0))

        def step(u: Any, slow: Any, p: Any) -> tuple[Any, Any]:
            p = widened(p)
            slow = slow + (p + u - slow) * (part * meet)
            return u + (slow - p - u) * meet, slow

        updates, slow = each(step, updates, (state.slow,), params)
        return updates, LookaheadState(count, slow, inner)

    return optimizer(with_state(LookaheadState, init, update))


# ------------------------------------------------------------------ schedule-free

class ScheduleFreeState(NamedTuple):
    """Steps so far, the sum of the weights, the largest learning rate, b1, the parameters z that
    the inner optimizer moves, and its state."""

    count: Any
    weight_sum: Any
    max_lr: Any
    b1: Any
    z: Any
    inner_state: Any


def schedule_free(inner: GradientTransformation, learning_rate: ScalarOrSchedule, b1: float = 0.9,
                  weight_lr_power: float = 2.0) -> GradientTransformation:
    """Averages of the parameters in place of a schedule that decays (arXiv:2405.15682).

    The inner optimizer, without momentum and with this same learning rate, moves z. The averages x
    weigh its points by the largest learning rate so far to weight_lr_power. Gradients are to be
    taken at the parameters, which are (1 - b1) z + b1 x; `schedule_free_eval_params` gives x, the
    ones to use.
    """
    check_number("learning_rate", learning_rate)
    check_number("b1", b1, 0.0, 1.0)
    if not b1 > 0:
        raise ValueError("schedule_free: b1 must be above 0, or the averages would be lost")
    b1 = number(b1)
    check_transformation("schedule_free", inner)

    def init(params: Any) -> ScheduleFreeState:
        return ScheduleFreeState(counter(), as_strong(0.0), as_strong(0.0), as_strong(b1),
                                 _copies(params), inner.init(params))

    def update(updates: Any, state: ScheduleFreeState, params: Any = None,
               **extra: Any) -> tuple[Any, ScheduleFreeState]:
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
        now = as_strong(rate_at(learning_rate, state.count)).astype(state.max_lr.dtype)
        rate = lnp.maximum(state.max_lr, now)
        weight = rate ** weight_lr_power
        total = state.weight_sum + weight
        part = number(weight / lnp.where(total > 0, total, 1.0))

        def step(u: Any, z: Any, y: Any) -> tuple[Any, Any]:
            y = widened(y)
            x = (y - z * (1 - b1)) / b1
            z = z + u
            x = x + (z - x) * part
            return x * b1 + z * (1 - b1) - y, z

        updates, z = each(step, updates, (state.z,), params)
        return updates, ScheduleFreeState(state.count + 1, total, rate, state.b1, z, inner_state)

    return optimizer(with_state(ScheduleFreeState, init, update))


def schedule_free_eval_params(opt_state: Any, params: Any) -> Any:
    """The averages x of `schedule_free`, in the dtypes of the parameters.

    Raises ValueError where the state holds none.
    """
    holds = lambda s: isinstance(s, ScheduleFreeState)
    found = [s for s in tree.leaves(opt_state, is_leaf=holds) if holds(s)]
    if not found:
        raise ValueError("this state holds no averages: it must be that of schedule_free")
    b1 = number(found[0].b1)

    def average(z: Any, y: Any) -> Any:
        if z is None:
            return y
        return ((widened(y) - z * (1 - b1)) / b1).astype(lnp.asarray(y).dtype)

    return tree.map(average, found[0].z, params, is_leaf=is_none)


__all__ = ["LookaheadState", "ScheduleFreeState", "lookahead", "schedule_free",
           "schedule_free_eval_params"]
