"""Distances and similarities of vectors, which lie on the last axis.

Euclidean distances have derivative 0 where two points coincide.
"""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.array import typeof
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.reduction import operands


def cosine_similarity(x1: Any, x2: Any, axis: int = -1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (|x1| |x2|) along an axis, lengths being at least `eps`; shapes broadcast.

    >>> float(cosine_similarity([1.0, 0.0], [2.0, 0.0]))
    1.0
    """
    (a, b), dtype = operands("cosine_similarity", x1, x2)
    a, b = lnp.broadcast_arrays(a, b)
    return lnp.sum(_unit(a, axis, eps) * _unit(b, axis, eps), axis=axis).astype(dtype)


def _unit(x: Any, axis: int, eps: float) -> Any:
    square = lnp.sum(lnp.square(x), axis=axis, keepdims=True)
    short = square < eps * eps
    return x / lnp.where(short, eps, lnp.sqrt(lnp.where(short, 1.0, square)))


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6,
                      keepdim: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps along the last axis; shapes broadcast."""
    (a, b), dtype = operands("pairwise_distance", x1, x2)
    return lnp.linalg.norm(a - b + eps, ord=p, axis=-1, keepdims=keepdim).astype(dtype)


def cdist(x1: Any, x2: Any, p: float = 2.0) -> Any:
    """The p-norm distances of rows of x1 [..., P, M] to rows of x2 [..., R, M], as [..., P, R].

    Differences are formed one by one, [..., P, R, M] of them: near points lose no digits.
    """
    (a, b), dtype = operands("cdist", x1, x2)
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"cdist got {typeof(x1)} and {typeof(x2)}; it takes [..., P, M] and "
                         "[..., R, M]")
    apart = a[..., :, None, :] - b[..., None, :, :]
    return lnp.linalg.norm(apart, ord=p, axis=-1).astype(dtype)


def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norm distances of all pairs of rows i < j of [N, M]: [N (N - 1) / 2]."""
    (x,), dtype = operands("pdist", input)
    if x.ndim != 2:
        raise ShapeError(f"pdist got {typeof(input)}; it takes [N, M]")
    i, j = lnp.triu_indices(x.shape[0], 1)
    return lnp.linalg.norm(x[i] - x[j], ord=p, axis=-1).astype(dtype)


__all__ = ["cdist", "cosine_similarity", "pairwise_distance", "pdist"]
