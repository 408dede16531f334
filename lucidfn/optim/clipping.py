"""Norms of gradients, and transformations that bound them.

Squares of half precision are summed in float32. A gradient that is not finite is not repaired: an
inf clipped by norm gives NaN, a NaN makes every leaf NaN; wrap in `apply_if_finite` to skip those
steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.optim.base import (
    GradientTransformation,
    check_number,
    map_updates,
    number,
    stateless,
    widened,
)
from lucidfn.types import float64


def squares(x: Any) -> Any:
    """|x|², elementwise and real."""
    return lnp.square(x) if x.dtype.kind != "c" else (
        lnp.square(lnp.real(x)) + lnp.square(lnp.imag(x)))


def safe_root(square: Any) -> Any:
    """A square root whose derivative at 0 is 0, as that of a norm."""
    zero = square == 0
    return lnp.where(zero, 0.0, lnp.sqrt(lnp.where(zero, 1.0, square)))


def block_norm(x: Any, axis: Any = None) -> Any:
    """The 2-norm of an array; over some axes, which then stay with length 1."""
    return safe_root(lnp.sum(squares(widened(x)), axis=axis, keepdims=axis is not None))


def global_norm(updates: Any) -> Any:
    """The 2-norm of all leaves together, None left out; 0 for a tree without leaves.

    >>> from lucidfn import optim
    >>> optim.global_norm({"w": [3.0, 0.0], "b": 4.0, "n": None})
    Array(5., dtype=float32)
    """
    parts = [lnp.sum(squares(widened(x))) for x in tree.leaves(updates)]
    if not parts:
        return lnp.zeros((), "float32")
    dtype = float64 if any(p.dtype == float64 for p in parts) else parts[0].dtype
    return safe_root(functools.reduce(lnp.add, [p.astype(dtype) for p in parts]))


def _bound(u: Any, norm: Any, most: Any) -> Any:
    """u, shortened if its norm is larger than allowed."""
    # max(norm, most) is never 0, whatever the norm.
    return (widened(u) * number(most / lnp.maximum(norm, most))).astype(u.dtype)


def clip(max_delta: float) -> GradientTransformation:
    """Each element to [-max_delta, max_delta]; for complex leaves, its modulus to at most that.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx = optim.clip(1.0)
    >>> grads = lnp.array([-3.0, 0.5])
    >>> tx.update(grads, tx.init(grads))[0].tolist()
    [-1.0, 0.5]
    """
    check_number("max_delta", max_delta)

    def bounded(u: Any) -> Any:
        if u.dtype.kind == "c":
            return u * (max_delta / lnp.maximum(lnp.abs(u), max_delta))
        return lnp.clip(u, -max_delta, max_delta)

    return _on_arrays(lambda updates, params: map_updates(bounded, updates))


def clip_by_block_norm(threshold: float) -> GradientTransformation:
    """Each leaf to a 2-norm of at most `threshold`."""
    _check_positive("threshold", threshold)
    bounded = lambda u: _bound(u, block_norm(u), number(threshold))
    return _on_arrays(lambda updates, params: map_updates(bounded, updates))


def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """All leaves by one factor, such that their common 2-norm is at most `max_norm`.

    Source: arXiv:1211.5063. Gradients whose norm is smaller, or zero, stay as they are.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx = optim.clip_by_global_norm(1.0)
    >>> grads = lnp.array([3.0, 4.0])
    >>> tx.update(grads, tx.init(grads))[0]
    Array([0.6, 0.8], dtype=float32)
    """
    _check_positive("max_norm", max_norm)

    def update(updates: Any, params: Any) -> Any:
        norm = global_norm(updates)
        return map_updates(lambda u: _bound(u, norm, number(max_norm)), updates)

    return _on_arrays(update)


def adaptive_grad_clip(clipping: float = 0.01, eps: float = 1e-3) -> GradientTransformation:
    """The gradient of each output to at most `clipping` times the norm of its weights.

    Source: arXiv:2102.06171, whose "unit" is here what leads to one output: all axes but the last;
    the whole leaf if it has fewer than two axes. Norms of weights count as at least eps.
    """
    _check_positive("clipping", clipping)

    def bounded(u: Any, p: Any) -> Any:
        axis = tuple(range(u.ndim - 1)) if u.ndim > 1 else None
        most = lnp.maximum(block_norm(p, axis), eps) * number(clipping)
        return _bound(u, block_norm(u, axis), most)

    def update(updates: Any, params: Any) -> Any:
        if params is None:
            raise TypeError("adaptive_grad_clip needs the parameters: "
                            "tx.update(grads, state, params)")
        return map_updates(bounded, updates, params)

    return _on_arrays(update)


def _on_arrays(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    return stateless(lambda updates, params: f(map_updates(lnp.asarray, updates), params))


def _check_positive(name: str, x: Any) -> None:
    check_number(name, x)
    if isinstance(x, (int, float)) and x == 0:
        raise ValueError(f"{name} is 0, which would stop all training; it must be positive")


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, Any]:
    """(gradients clipped by their global norm, the norm before).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> optim.clip_grad_norm(lnp.array([3.0, 4.0]), 1.0)
    (Array([0.6, 0.8], dtype=float32), Array(5., dtype=float32))
    """
    norm = global_norm(grads)
    return map_updates(lambda u: _bound(lnp.asarray(u), norm, number(max_norm)), grads), norm


def clip_grad_value(grads: Any, max_value: float) -> Any:
    """Gradients with each element clipped to [-max_value, max_value].

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> optim.clip_grad_value(lnp.array([-3.0, 0.5]), 1.0).tolist()
    [-1.0, 0.5]
    """
    return clip(max_value).update(grads, ())[0]


__all__ = [
    "adaptive_grad_clip", "clip", "clip_by_block_norm", "clip_by_global_norm", "clip_grad_norm",
    "clip_grad_value", "global_norm",
]
