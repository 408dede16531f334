"""Random vectors with a covariance, and random rotations."""

from __future__ import annotations

from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, wrap
from lucidfn.core.trace import shape_of
from lucidfn.random._keys import Shape, as_shape, use_key
from lucidfn.random._uniform import float_dtype, raw_normal
from lucidfn.types import broadcast_shapes, int32


def multivariate_normal(key: Any, mean: Any, cov: Any, shape: Shape | None = None,
                        dtype: Any = None, method: str = "cholesky") -> Any:
    """Normal vectors of a mean[..., n] and covariance cov[..., n, n]: shape + (n,).

    `method` is how the covariance is factored: "cholesky", or "eigh" or "svd" where it is only
    semidefinite. ValueError for shapes that do not fit.
    """
    dtype = float_dtype("multivariate_normal", dtype, mean, cov)
    mean, cov = as_raw(mean, dtype), as_raw(cov, dtype)
    if not shape_of(mean) or shape_of(cov)[-2:] != shape_of(mean)[-1:] * 2:
        raise ValueError("random.multivariate_normal needs mean[..., n] and cov[..., n, n], got "
                         f"shapes {shape_of(mean)} and {shape_of(cov)}")
    n = shape_of(mean)[-1]
    own = broadcast_shapes(shape_of(mean)[:-1], shape_of(cov)[:-2])
    shape = own if shape is None else as_shape("multivariate_normal", shape)
    if broadcast_shapes(shape, own) != shape:
        raise ValueError(f"random.multivariate_normal: parameters of batch shape {own} do not "
                         f"broadcast to shape={shape}")
    z = raw_normal(use_key("multivariate_normal", key), (*shape, n), dtype)
    factor = _factor(cov, method)
    if shape_of(factor) == (n, n):
        mixed = ops.dot_general(z, factor, contract=((len(shape),), (1,)), batch=((), ()))
    else:
        factor = ops.broadcast_to(factor, shape=(*shape, n, n))
        column = ops.reshape(z, shape=(*shape, 1, n))
        mixed = ops.reduce_sum(ops.mul(factor, column), axes=(len(shape) + 1,))
    return wrap(ops.add(mixed, mean))


def _factor(cov: Any, method: str) -> Any:
    """A with A A^T = cov."""
    row = (*shape_of(cov)[:-2], 1, shape_of(cov)[-1])
    if method == "cholesky":
        rank = len(shape_of(cov))
        turned = ops.permute(cov, order=(*range(rank - 2), rank - 1, rank - 2))
        return ops.cholesky(ops.mul(ops.add(cov, turned), 0.5))
    if method == "eigh":
        values, vectors = ops.eigh(cov)
    elif method == "svd":
        vectors, values, _ = ops.svd(cov, full_matrices=False, compute_uv=True)
    else:
        raise ValueError("random.multivariate_normal: method must be 'cholesky', 'eigh' or "
                         f"'svd', got {method!r}")
    return ops.mul(vectors, ops.reshape(ops.sqrt(values), shape=row))


def orthogonal(key: Any, n: int, shape: Shape = (), dtype: Any = None,
               m: int | None = None) -> Any:
    """Uniform orthogonal matrices: shape + (n, m), with orthonormal rows or columns if n != m.

    The Q of a normal matrix with the signs of R's diagonal (Mezzadri, "How to generate random
    matrices from the classical compact groups", 2007).
    """
    dtype = float_dtype("orthogonal", dtype)
    shape, m = as_shape("orthogonal", shape), n if m is None else m
    tall, thin = max(n, m), min(n, m)
    z = raw_normal(use_key("orthogonal", key), (*shape, tall, thin), dtype)
    q, r = ops.qr(z, full_matrices=False)
    eye = ops.eq(ops.iota(shape=(thin, thin), dtype=int32, axis=0),
                 ops.iota(shape=(thin, thin), dtype=int32, axis=1))
    axis = len(shape)
    diagonal = ops.reduce_sum(ops.select(eye, r, 0.0), axes=(axis,))
    x = ops.mul(q, ops.reshape(ops.sign(diagonal), shape=(*shape, 1, thin)))
    return wrap(ops.permute(x, order=(*range(axis), axis + 1, axis)) if n < m else x)
