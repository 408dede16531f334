"""Averages over the steps: of updates, and of parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from lucidfn import tree
from lucidfn.optim.base import (
    GradientTransformation,
    check_decays,
    clock,
    copies,
    counter,
    debias,
    each,
    number,
    with_state,
    zeros_like,
)


class EmaState(NamedTuple):
    """Steps so far, and the average (of the parameters: `average`, of updates: `ema`)."""

    count: Any
    ema: Any


def ema(decay: float, debias: bool = True) -> GradientTransformation:
    """The exponential average of the updates, divided by what it has seen if `debias`.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx = optim.ema(0.5, debias=False)
    >>> state = tx.init(lnp.zeros(1))
    >>> for grad in (1.0, 3.0):
    ...     updates, state = tx.update(lnp.array([grad]), state)
    >>> updates.tolist()
    [1.75]
    """
    check_decays(decay=decay)
    decay = number(decay)

    def init(params: Any) -> EmaState:
        return EmaState(counter(), zeros_like(params))

    def update(updates: Any, state: EmaState, params: Any = None,
               **extra: Any) -> tuple[Any, EmaState]:
        count = state.count + 1
        over = _seen(decay, count, updates) if debias else 1

        def step(u: Any, e: Any) -> tuple[Any, Any]:
            e = e * decay + u * (1 - decay)
            return (e / over if debias else e), e

        updates, average = each(step, updates, (state.ema,))
        return updates, EmaState(count, average)

    return with_state(EmaState, init, update)


class ParamsEmaState(NamedTuple):
    """Steps so far, the raw average, and the average of the parameters to use."""

    count: Any
    ema: Any
    average: Any


def params_ema(decay: float, debias: bool = True) -> GradientTransformation:
    """At the end of a chain: keeps an exponential average of the parameters after each step.

    `averaged_params(opt_state)` reads it: before the first step the parameters themselves. Updates
    pass through. Source: Polyak and Juditsky 1992.
    """
    check_decays(decay=decay)
    decay = number(decay)

    def init(params: Any) -> ParamsEmaState:
        raw = zeros_like(params) if debias else copies(params)
        return ParamsEmaState(counter(), raw, copies(params))

    def update(updates: Any, state: ParamsEmaState, params: Any = None,
               **extra: Any) -> tuple[Any, ParamsEmaState]:
        if params is None:
            raise TypeError("params_ema needs the parameters: tx.update(grads, state, params)")
        count = state.count + 1
        over = _seen(decay, count, updates) if debias else 1

        def step(u: Any, e: Any, _: Any, p: Any) -> tuple[Any, Any, Any]:
            e = e * decay + (p + u) * (1 - decay)
            return u, e, (e / over if debias else e)

        _, raw, average = each(step, updates, (state.ema, state.average), params)
        return updates, ParamsEmaState(count, raw, average)

    return with_state(ParamsEmaState, init, update)


def _seen(decay: Any, count: Any, updates: Any) -> Any:
    return number(debias(decay, clock(count, updates)))


def averaged_params(opt_state: Any) -> Any:
    """The average of the parameters that a state holds: that of `asgd` or of `params_ema`.

    Raises ValueError if there is none.
    """
    found: list[Any] = []
    holds = lambda x: hasattr(x, "average")
    tree.map(lambda x: found.append(x.average) if holds(x) else None, opt_state, is_leaf=holds)
    if not found:
        raise ValueError("this state holds no average of parameters: use asgd, or put params_ema "
                         "at the end of a chain")
    return found[0]


__all__ = ["EmaState", "ParamsEmaState", "averaged_params", "ema", "params_ema"]
