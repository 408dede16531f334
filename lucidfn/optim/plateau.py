"""Smaller steps once the loss stops falling."""

from __future__ import annotations

from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn.array import typeof
from lucidfn.optim.base import (
    GradientTransformation,
    as_strong,
    check_number,
    counter,
    map_updates,
    number,
    with_state,
)
from lucidfn.types import default_dtype_of


class PlateauState(NamedTuple):
    """The factor of the updates, the best value so far, and three counts: of values in a row that
    were no better, of those still to come in which that is forgiven, and of values seen so far of
    the next average, with their sum."""

    scale: Any
    best: Any
    bad: Any
    cooldown: Any
    seen: Any
    total: Any


def reduce_on_plateau(factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
                      threshold_mode: str = "rel", cooldown: int = 0, min_scale: float = 0.0,
                      mode: str = "min", accumulation_size: int = 1) -> GradientTransformation:
    """Updates times a scale, from 1, that shrinks by `factor` where `value=` stops improving.

    PyTorch's ReduceLROnPlateau: after more than `patience` values in a row that are not better than
    the best by `threshold` (a part of it with "rel", as it is with "abs"; less is better with
    mode="min", more with "max"), and then not for `cooldown` values. The scale is never below
    min_scale. With accumulation_size the mean of so many values counts as one. At the end of a
    chain, or after an optimizer:

        tx = optim.chain(optim.adam(1e-3), optim.reduce_on_plateau(patience=5))
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)

    Raises TypeError where update gets no value.

    >>> from lucidfn import optim
    >>> tx = optim.reduce_on_plateau(factor=0.5, patience=1)
    >>> state = tx.init(None)
    >>> for loss in [3.0, 2.0, 2.0, 2.0, 2.0, 2.0]:
    ...     updates, state = tx.update({"w": 1.0}, state, value=loss)
    ...     print(float(updates["w"]))
    1.0
    1.0
    1.0
    0.5
    0.5
    0.25
    """
    _check(factor, threshold_mode, mode, min_scale=min_scale, threshold=threshold)
    for name, n in (("patience", patience), ("cooldown", cooldown),
                    ("accumulation_size", accumulation_size)):
        if isinstance(n, bool) or not isinstance(n, int) or n < (name == "accumulation_size"):
            raise ValueError(f"reduce_on_plateau: {name} is a number of values, got {n!r}")

    def init(params: Any) -> PlateauState:
        worst = float("inf") if mode == "min" else -float("inf")
        return PlateauState(as_strong(1.0), as_strong(worst), counter(), counter(), counter(),
                            as_strong(0.0))

    def better(value: Any, best: Any) -> Any:
        if mode == "min":
            return value < (best * (1 - threshold) if threshold_mode == "rel" else best - threshold)
        return value > (best * (1 + threshold) if threshold_mode == "rel" else best + threshold)

    def advance(value: Any, s: PlateauState) -> PlateauState:
        improved = better(value, s.best)
        cooling = s.cooldown > 0
        bad = lnp.where(improved | cooling, 0, s.bad + 1)
        reduce = bad > patience
        rest = lnp.where(reduce, cooldown, lnp.where(cooling, s.cooldown - 1, 0))
        smaller = lnp.maximum(s.scale * factor, min_scale)
        return s._replace(scale=lnp.where(reduce, smaller, s.scale),
                          best=lnp.where(improved, value, s.best),
                          bad=lnp.where(reduce, 0, bad), cooldown=rest)

    def update(updates: Any, state: PlateauState, params: Any = None, *, value: Any = None,
               **extra: Any) -> tuple[Any, PlateauState]:
        state = _accumulated(advance, _scalar(value), state, accumulation_size)
        scale = number(state.scale)
        return map_updates(lambda u: lnp.asarray(u) * scale, updates), state

    return with_state(PlateauState, init, update)


def _accumulated(advance: Any, value: Any, state: PlateauState, size: int) -> PlateauState:
    if size == 1:
        return advance(value, state)
    seen, total = state.seen + 1, state.total + value
    full = seen == size
    moved = advance(total / size, state)._replace(seen=lnp.zeros_like(seen),
                                                  total=lnp.zeros_like(total))
    held = state._replace(seen=seen, total=total)
    return PlateauState(*[lnp.where(full, a, b) for a, b in zip(moved, held, strict=True)])


def _scalar(value: Any) -> Any:
    if value is None:
        raise TypeError("reduce_on_plateau needs the loss: "
                        "tx.update(grads, opt_state, params, value=loss)")
    if typeof(value).shape != ():
        raise TypeError(f"reduce_on_plateau got value {typeof(value)}; it takes one number, such "
                        "as the mean of the losses")
    # One dtype whatever the loss has, so that the state keeps its type.
    return lnp.asarray(value).astype(default_dtype_of(float))


def _check(factor: Any, threshold_mode: str, mode: str, **numbers: Any) -> None:
    if not 0 < factor < 1:
        raise ValueError(f"reduce_on_plateau: factor must lie in (0, 1), got {factor}")
    if threshold_mode not in ("rel", "abs"):
        raise ValueError("reduce_on_plateau: threshold_mode must be 'rel' or 'abs', got "
                         f"{threshold_mode!r}")
    if mode not in ("min", "max"):
        raise ValueError(f"reduce_on_plateau: mode must be 'min' or 'max', got {mode!r}")
    for name, x in numbers.items():
        check_number(name, x)


__all__ = ["PlateauState", "reduce_on_plateau"]
