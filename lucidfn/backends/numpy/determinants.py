"""Determinants, cofactors and pseudoinverses, over any number of leading batch axes."""

import numpy as np

from .linalg import svd
from .precision import widened


def det(x: np.ndarray) -> np.ndarray:
    """Determinants."""
    return np.asarray(np.linalg.det(widened(x))).astype(x.dtype, copy=False)


def cofactor(x: np.ndarray) -> np.ndarray:
    """c[..., i, j] = (-1)^(i+j) times the minor of row i and column j; singular matrices too.

    Cofactors are multiplicative, and those of a diagonal matrix are products of all elements but
    one: x = u diag(s) vh gives det(u) det(vh) conj(u) diag(products) conj(vh).
    """
    wide = widened(x)
    if not x.size:
        return x
    u, s, vh = svd(wide, full_matrices=False, compute_uv=True)
    one = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate([one, s[..., :-1]], -1), -1)
    after = np.cumprod(np.concatenate([s[..., 1:], one], -1)[..., ::-1], -1)[..., ::-1]
    sign = np.linalg.det(u) * np.linalg.det(vh)
    out = (u.conj() * (before * after)[..., None, :]) @ vh.conj()
    return (out * sign[..., None, None]).astype(x.dtype, copy=False)


def pinv(x: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
    """Pseudoinverses; singular values up to cutoff[...] times the largest one count as 0."""
    wide = widened(x)
    u, s, vh = svd(wide, full_matrices=False, compute_uv=True)
    small = s <= np.asarray(cutoff)[..., None] * s.max(-1, keepdims=True, initial=0)
    inverse = np.where(small, 0, 1 / np.where(small, 1, s)).astype(s.dtype)
    out = (vh.conj().swapaxes(-1, -2) * inverse[..., None, :]) @ u.conj().swapaxes(-1, -2)
    return out.astype(x.dtype, copy=False)
