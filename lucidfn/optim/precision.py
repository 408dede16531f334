"""Mixed precision: the loss in half precision, parameters and optimizer in float32.

Gradients of float16 underflow below 6e-8, so the loss is scaled before it is differentiated, by a
factor that grows while gradients stay finite and is halved where they overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.api.autodiff import value_and_grad
from lucidfn.array import typeof
from lucidfn.optim.base import (
    GradientTransformation,
    apply_updates,
    check_number,
    counter,
    map_updates,
    moves,
)
from lucidfn.optim.wrappers import all_finite, update_if
from lucidfn.types import as_dtype, bfloat16, float16, float32


class LossScale(NamedTuple):
    """The factor of the loss, the finite steps since it changed, and the steps skipped in all."""

    scale: Any
    good_steps: Any
    skipped: Any


class MixedPrecisionState(NamedTuple):
    """The optimizer's state; and that of the factor of the loss, None where there is none."""

    opt_state: Any
    loss_scale: LossScale | None


class MixedPrecision(NamedTuple):
    """`init(params) -> state` and `step(params, state, *args) -> (params, state, loss)`."""

    init: Callable[..., Any]
    step: Callable[..., Any]


def cast_floats(values: Any, dtype: Any) -> Any:
    """A tree with its real floating arrays in a dtype; other leaves stay.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> optim.cast_floats({"w": lnp.ones(1), "n": lnp.arange(1)}, "bfloat16")
    {'n': Array([0], dtype=int32), 'w': Array([1], dtype=bfloat16)}
    """
    change = lambda x: hasattr(x, "dtype") and moves(x) and typeof(x).dtype.kind != "c"
    return tree.map(lambda x: lnp.asarray(x, dtype) if change(x) else x, values)


def mixed_precision(loss_fn: Callable[..., Any], tx: GradientTransformation,
                    compute_dtype: Any = "float16", *, has_aux: bool = False,
                    scaling: bool | None = None, initial_scale: float = 2.0 ** 15,
                    growth_interval: int = 2000, growth_factor: float = 2.0,
                    backoff_factor: float = 0.5, min_scale: float = 1.0,
                    max_scale: float = 2.0 ** 24) -> MixedPrecision:
    """A training step that computes `loss_fn(params, *args)` in half precision.

    Parameters are kept in float32; `loss_fn` sees them, and the floating arrays of `args`, in
    `compute_dtype`. With `has_aux` it returns (loss, aux), and the step's last result is that pair.
    `scaling` is on for float16 and off for bfloat16 (whose range is that of float32) unless it is
    given. A step whose gradients are not finite changes neither parameters nor the optimizer's
    state, and multiplies the scale by `backoff_factor`; after `growth_interval` finite ones it is
    multiplied by `growth_factor`. Source: arXiv:1710.03740.

        mp = optim.mixed_precision(loss_fn, optim.adamw(1e-3), "float16")
        state = mp.init(params)
        step = lf.jit(mp.step)
        params, state, loss = step(params, state, batch)
    """
    dtype = as_dtype(compute_dtype)
    if dtype not in (float16, bfloat16, float32):
        raise ValueError(f"compute_dtype is {dtype}; it must be float16, bfloat16 or float32")
    check_number("initial_scale", initial_scale, 1e-30)
    check_number("growth_factor", growth_factor, 1.0)
    check_number("growth_interval", growth_interval, 1)
    check_number("backoff_factor", backoff_factor, 0.0, 1.0, open_high=True)
    scaled = dtype == float16 if scaling is None else scaling

    def init(params: Any) -> MixedPrecisionState:
        scale = LossScale(lnp.asarray(initial_scale, "float32"), counter(), counter())
        return MixedPrecisionState(tx.init(params), scale if scaled else None)

    def low_precision(params: Any, scale: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        out = loss_fn(cast_floats(params, dtype), *cast_floats(args, dtype),
                      **cast_floats(kwargs, dtype))
        loss = out[0] if has_aux else out
        loss = lnp.asarray(loss, "float32")
        return (loss * scale if scaled else loss), ((loss, out[1]) if has_aux else loss)

    differentiated = value_and_grad(low_precision, has_aux=True)

    def step(params: Any, state: MixedPrecisionState, *args: Any,
             **kwargs: Any) -> tuple[Any, MixedPrecisionState, Any]:
        factor = state.loss_scale
        scale: Any = 1.0 if factor is None else factor.scale
        (_, out), grads = differentiated(params, scale, args, kwargs)
        if factor is None:
            updates, kept = tx.update(grads, state.opt_state, params)
            return apply_updates(params, updates), MixedPrecisionState(kept, None), out
        finite = all_finite(grads)
        grads = map_updates(lambda g: g / scale.astype(g.dtype), grads)
        updates, kept = update_if(finite, tx, grads, state.opt_state, params)
        state = MixedPrecisionState(kept, adjusted(factor, finite))
        return apply_updates(params, updates), state, out

    def adjusted(old: LossScale, finite: Any) -> LossScale:
        good = lnp.where(finite, old.good_steps + 1, 0)
        grow = good >= growth_interval
        up = lnp.minimum(old.scale * growth_factor, max_scale)
        down = lnp.maximum(old.scale * backoff_factor, min_scale)
        scale = lnp.where(finite, lnp.where(grow, up, old.scale), down)
        return LossScale(scale, lnp.where(grow, 0, good), old.skipped + lnp.logical_not(finite))

    return MixedPrecision(init, step)


__all__ = ["LossScale", "MixedPrecision", "MixedPrecisionState", "cast_floats", "mixed_precision"]
