"""The named transformations of gradients that optimizers are chains of.

Each keeps the convention of gradients: `scale_by_learning_rate` at the end of a chain turns them
into steps, with the minus sign and, for complex leaves, the conjugate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import random, tree
from lucidfn.array import typeof
from lucidfn.optim.base import (
    EmptyState,
    GradientTransformation,
    ScalarOrSchedule,
    Schedule,
    as_strong,
    check_number,
    counter,
    each,
    is_zero,
    map_updates,
    number,
    rate_at,
    spread,
    stateless,
    tree_path,
    widened,
    with_state,
    zeros_like,
)
from lucidfn.types import SCALARS

Mask = Any  # a tree of booleans (or a prefix of one), or a function of the parameters that makes it


def identity() -> GradientTransformation:
    """Updates as they are."""
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformation:
    """Zero updates: their parameters stay as they are."""
    return stateless(lambda updates, params: map_updates(lnp.zeros_like, updates))


def scale(step_size: float) -> GradientTransformation:
    """Updates times a number.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx = optim.scale(-0.1)
    >>> tx.update(lnp.array([1.0, 2.0]), tx.init(None))[0]
    Array([-0.1, -0.2], dtype=float32)
    """
    factor = number(step_size)
    return stateless(lambda updates, params: map_updates(lambda u: u * factor, updates))


class ScheduleState(NamedTuple):
    """The number of steps so far."""

    count: Any


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Updates times a function of the step number 0, 1, ..."""
    if not callable(step_size_fn):
        raise TypeError(f"scale_by_schedule takes a function of the step, got {step_size_fn!r}; "
                        "for a number use scale")

    def init(params: Any) -> ScheduleState:
        return ScheduleState(counter())

    def update(updates: Any, state: ScheduleState, params: Any = None,
               **extra: Any) -> tuple[Any, ScheduleState]:
        factor = number(step_size_fn(state.count))
        return map_updates(lambda u: u * factor, updates), ScheduleState(state.count + 1)

    return with_state(ScheduleState, init, update)


class LearningRateState(NamedTuple):
    """The number of steps so far, and the learning rate of the last one (of the first, before)."""

    count: Any
    learning_rate: Any


def scale_by_learning_rate(learning_rate: ScalarOrSchedule) -> GradientTransformation:
    """The end of a chain: gradients become steps, minus the learning rate times the gradient.

    The learning rate is a number, or a function of the step number 0, 1, ...; `learning_rate` finds
    the one in force in the state. Complex gradients are conjugated: with the convention of
    `lf.grad` the conjugate points uphill. Raises ValueError for a negative number.
    """
    check_number("learning_rate", learning_rate)

    def init(params: Any) -> LearningRateState:
        count = counter()
        return LearningRateState(count, as_strong(rate_at(learning_rate, count)))

    def update(updates: Any, state: LearningRateState, params: Any = None,
               **extra: Any) -> tuple[Any, LearningRateState]:
        rate = rate_at(learning_rate, state.count, updates)
        factor = -number(rate)
        step = lambda u: conjugate(widened(u)) * factor
        new = LearningRateState(state.count + 1, as_strong(rate, like=state.learning_rate))
        return map_updates(step, updates), new

    return with_state(LearningRateState, init, update)


def conjugate(x: Any) -> Any:
    return lnp.conj(x) if typeof(x).dtype.kind == "c" else x


def learning_rate(opt_state: Any) -> Any:
    """The learning rate in force: that of the last step. A tuple if the state holds several.

    What else scales the updates, such as `reduce_on_plateau`, is not in it.
    Raises ValueError if it holds none.

    >>> from lucidfn import optim
    >>> optim.learning_rate(optim.sgd(0.5).init({"w": 1.0}))
    Array(0.5, dtype=float32)
    """
    found: list[Any] = []
    tree.map(lambda x: found.append(x) if _holds_rate(x) else None, opt_state, is_leaf=_holds_rate)
    rates = [x.learning_rate if hasattr(x, "learning_rate") else x.hyperparams["learning_rate"]
             for x in found]
    if not rates:
        raise ValueError("this state holds no learning rate: no transformation of its chain is "
                         "scale_by_learning_rate, or an optimizer that ends in it")
    return rates[0] if len(rates) == 1 else tuple(rates)


def _holds_rate(x: Any) -> bool:
    return hasattr(x, "learning_rate") or "learning_rate" in (getattr(x, "hyperparams", None) or ())


class TraceState(NamedTuple):
    """The sum of past gradients; and the number of steps, if dampening needs to know the first."""

    trace: Any
    count: Any = None


def trace(decay: float, nesterov: bool = False, dampening: float = 0.0) -> GradientTransformation:
    """Momentum: trace = decay * trace + (1 - dampening) * update; the first is the update itself.

    With `nesterov` the result is update + decay * trace. Source: Sutskever et al. 2013, as in
    PyTorch.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx = optim.trace(0.9)
    >>> state = tx.init(lnp.zeros(1))
    >>> for _ in range(2):
    ...     updates, state = tx.update(lnp.ones(1), state)
    >>> updates
    Array([1.9], dtype=float32)
    """
    check_number("momentum", decay)
    damped = not is_zero(dampening)
    decay, dampening = number(decay), number(dampening)

    def init(params: Any) -> TraceState:
        return TraceState(zeros_like(params), counter() if damped else None)

    def update(updates: Any, state: TraceState, params: Any = None,
               **extra: Any) -> tuple[Any, TraceState]:
        kept = _first_whole(state.count, dampening) if damped else 1.0

        def step(u: Any, t: Any) -> tuple[Any, Any]:
            t = t * decay + (u * kept if damped else u)
            return (t * decay + u if nesterov else t), t

        updates, sums = each(step, updates, (state.trace,))
        return updates, TraceState(sums, state.count + 1 if damped else None)

    return with_state(TraceState, init, update)


def _first_whole(count: Any, dampening: Any) -> Any:
    """1 in the first step, 1 - dampening in the others."""
    t = number(count)
    if type(t) in SCALARS:
        return 1.0 if t == 0 else 1.0 - dampening
    return number(lnp.where(t == 0, 1.0, 1.0 - dampening))


def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0,
                        mask: Mask | None = None) -> GradientTransformation:
    """update + weight_decay * parameter, where `mask` is true.

    Before the statistics of a chain it is the gradient of an L2 penalty; after them, decoupled
    weight decay (arXiv:1711.05101). `mask` is a tree of booleans, a prefix of one, or a function of
    the parameters that makes it.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.add_decayed_weights(0.1), lnp.array([2.0])
    >>> tx.update(lnp.array([1.0]), tx.init(params), params)[0]
    Array([1.2], dtype=float32)
    """
    check_number("weight_decay", weight_decay)

    def init(params: Any) -> Any:
        return ScheduleState(counter()) if callable(weight_decay) else EmptyState()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if params is None:
            raise TypeError("weight decay needs the parameters: tx.update(grads, state, params)")
        decay = number(weight_decay(state.count) if callable(weight_decay) else weight_decay)
        add = lambda u, p: u + conjugate(lnp.asarray(p, u.dtype)) * decay
        if mask is None:
            updates = map_updates(lambda u, p: add(widened(u), p), updates, params)
        else:
            chosen = mask_tree(mask, params, updates)
            updates = map_updates(lambda u, p, m: add(widened(u), p) if m else u, updates, params,
                                  chosen)
        return updates, ScheduleState(state.count + 1) if callable(weight_decay) else state

    return GradientTransformation(init, update)


def mask_tree(mask: Mask, params: Any, like: Any) -> Any:
    """The tree of booleans that a mask stands for, one for each leaf of `like`."""
    chosen = spread("mask", mask(params) if callable(mask) else mask, like)
    for path, m in tree.flatten_with_path(chosen)[0]:
        if not isinstance(m, (bool, int, np.bool_)) and getattr(m, "shape", None) != ():
            what = typeof(m) if hasattr(m, "shape") else repr(m)
            raise TypeError(f"a mask has {what} at {tree_path(path)}; it has True or False for a "
                            "whole leaf")
    return tree.map(bool, chosen)


def scale_by_sign() -> GradientTransformation:
    """The sign of each element (arXiv:1802.04434).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx = optim.scale_by_sign()
    >>> tx.update(lnp.array([-3.0, 0.0, 0.5]), tx.init(None))[0].tolist()
    [-1.0, 0.0, 1.0]
    """
    from_parts = lambda u: lnp.sign(u) if typeof(u).dtype.kind != "c" else (
        lnp.sign(lnp.real(u)) + 1j * lnp.sign(lnp.imag(u)))
    return stateless(lambda updates, params: map_updates(from_parts, updates))


def centralize() -> GradientTransformation:
    """Gradients of matrices and kernels minus their mean for each output, the last axis.

    Source: arXiv:2004.01461. Leaves with fewer than two axes stay.
    """
    center = lambda u: u if lnp.ndim(u) < 2 else (
        u - lnp.mean(u, axis=tuple(range(u.ndim - 1)), keepdims=True))
    return stateless(lambda updates, params: map_updates(center, updates))


class AddNoiseState(NamedTuple):
    """The number of steps so far, and the key of the noise."""

    count: Any
    key: Any


def add_noise(eta: float, gamma: float, key: Any) -> GradientTransformation:
    """Add normal noise of variance eta / (1 + step)**gamma (arXiv:1511.06807)."""
    check_number("eta", eta)
    eta, gamma = number(eta), number(gamma)

    def init(params: Any) -> AddNoiseState:
        return AddNoiseState(counter(), random.key(key) if isinstance(key, int) else key)

    def update(updates: Any, state: AddNoiseState, params: Any = None,
               **extra: Any) -> tuple[Any, AddNoiseState]:
        leaves, treedef = tree.flatten(updates)
        key, *own = random.split(state.key, len(leaves) + 1)
        deviation = number((eta / (1.0 + state.count) ** gamma) ** 0.5)
        noisy = [u + random.normal(k, u.shape, u.dtype) * deviation
                 for u, k in zip(leaves, own, strict=True)]
        return tree.unflatten(treedef, noisy), AddNoiseState(state.count + 1, key)

    return with_state(AddNoiseState, init, update)


__all__ = [
    "AddNoiseState", "LearningRateState", "ScheduleState", "TraceState", "add_decayed_weights",
    "add_noise", "centralize", "identity", "learning_rate", "scale", "scale_by_learning_rate",
    "scale_by_schedule", "scale_by_sign", "set_to_zero", "trace",
]
