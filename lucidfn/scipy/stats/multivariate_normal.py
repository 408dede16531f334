"""The normal distribution of vectors, with a mean and a covariance."""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import unwrap, wrap
from lucidfn.core.trace import shape_of
from lucidfn.scipy.stats import norm
from lucidfn.scipy.stats._core import floats
from lucidfn.types import broadcast_shapes


def logpdf(x: Any, mean: Any = None, cov: Any = None, allow_singular: None = None) -> Any:
    """Logarithm of the density at x[..., n], for mean[..., n] and cov[..., n, n].

    The covariance is factored (Cholesky); where it is not positive definite the result is NaN. A
    scalar covariance is the variance of each part. ValueError for shapes that do not fit.
    """
    if allow_singular is not None:
        raise NotImplementedError("multivariate_normal.logpdf has no allow_singular")
    x, mean, cov = floats(x, 0.0 if mean is None else mean, 1.0 if cov is None else cov)
    if cov.ndim == 0:
        parts = norm.logpdf(x, mean, lnp.sqrt(cov))
        return lnp.sum(parts, axis=-1) if parts.ndim else parts
    n = cov.shape[-1]
    if cov.ndim < 2 or cov.shape[-2] != n or mean.shape[-1:] not in ((), (n,)) \
            or x.shape[-1:] != (n,):
        raise ValueError(f"multivariate_normal.logpdf needs x[..., {n}], mean[..., {n}] and "
                         f"cov[..., {n}, {n}], got shapes {x.shape}, {mean.shape}, {cov.shape}")
    # The mean with the transpose, so that the gradient is symmetric too.
    factor = ops.cholesky(unwrap(0.5 * (cov + lnp.swapaxes(cov, -1, -2))))
    z = unwrap(x - mean)
    batch = broadcast_shapes(shape_of(z)[:-1], shape_of(factor)[:-2])
    log_det = lnp.sum(lnp.log(lnp.diagonal(wrap(factor), axis1=-2, axis2=-1)), axis=-1)
    factor = ops.broadcast_to(factor, shape=(*batch, n, n))
    z = ops.reshape(ops.broadcast_to(z, shape=(*batch, n)), shape=(*batch, n, 1))
    y = ops.triangular_solve(factor, z, left=True, lower=True, transpose=False, conjugate=False,
                             unit=False)
    square = wrap(ops.reduce_sum(ops.square(y), axes=(len(batch), len(batch) + 1)))
    return -0.5 * square - log_det - 0.5 * n * math.log(2.0 * math.pi)


def pdf(x: Any, mean: Any = None, cov: Any = None) -> Any:
    """Density."""
    return lnp.exp(logpdf(x, mean, cov))
