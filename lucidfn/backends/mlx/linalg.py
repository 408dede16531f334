"""Linear algebra on batches of real matrices by MLX's LAPACK, which runs on its CPU stream.

Systems are solved by substitution in products of matrices, where the operands are. MLX refuses
matrices with NaN or inf when it computes, which may be much later: such ones are put aside before,
and give NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucidfn.backends.mlx.arrays import scalar
from lucidfn.backends.mlx.contract import matmul
from lucidfn.backends.mlx.elementwise import HALVES

# Rows that are substituted one by one; more are halved.
_LEAF = 16


def single(x: mx.array) -> mx.array:
    return x.astype(mx.float32) if x.dtype in HALVES else x


def swapped(x: mx.array) -> mx.array:
    return mx.swapaxes(x, -1, -2)


def adjoint(x: mx.array) -> mx.array:
    return mx.conj(swapped(x)) if x.dtype == mx.complex64 else swapped(x)


def rounded(outs: Any, dtype: mx.Dtype) -> list[mx.array]:
    """Results that were computed in float32 for a 16-bit input, as that dtype."""
    return [o.astype(dtype) if dtype in HALVES and o.dtype == mx.float32 else o for o in outs]


def _finite(f: Callable[[mx.array], Any], x: mx.array) -> list[mx.array]:
    """f of the matrices that are finite, NaN for the others."""
    good = mx.all(mx.isfinite(x), axis=(-2, -1))
    safe = mx.where(good[..., None, None], x, mx.eye(x.shape[-2], x.shape[-1], dtype=x.dtype))
    outs = []
    for out in f(safe):
        mask = good.reshape(good.shape + (1,) * (out.ndim - good.ndim))
        outs.append(mx.where(mask, out, scalar(math.nan, out.dtype)))
    return outs


# ------------------------------------------------------------------ factorisations

def cholesky(x: mx.array) -> mx.array:
    """The lower triangular factor; a matrix that is not positive definite gives NaN."""
    wide = single(x)
    whole = mx.tril(wide) + swapped(mx.tril(wide, -1))
    out = mx.tril(mx.linalg.cholesky(whole, stream=mx.cpu))
    # LAPACK stops at the first pivot that is not positive, and leaves it.
    pivots = mx.diagonal(out, axis1=-2, axis2=-1)
    fine = mx.all(mx.logical_and(pivots > 0, pivots < math.inf), axis=-1)
    return mx.where(fine[..., None, None], out, scalar(math.nan, out.dtype)).astype(x.dtype)


def lu(x: mx.array) -> list[mx.array]:
    """[lu, pivots, permutation] with partial pivoting: x[permutation] = l u."""
    wide = single(x)
    packed, pivots = mx.linalg.lu_factor(wide, stream=mx.cpu)
    pivots = pivots.astype(mx.int32)
    return [packed.astype(x.dtype), pivots, _permutation(pivots, x.shape[-2])]


def _permutation(pivots: mx.array, rows: int) -> mx.array:
    """The order of the rows after exchanging row j with row pivots[j], one after the other."""
    place = mx.arange(rows, dtype=mx.int32)
    order = mx.broadcast_to(place, (*pivots.shape[:-1], rows))
    for j in range(pivots.shape[-1]):
        other = pivots[..., j : j + 1]
        mine, theirs = order[..., j : j + 1], mx.take_along_axis(order, other, -1)
        order = mx.where(place == j, theirs, mx.where(place == other, mine, order))
    return order


def qr(x: mx.array, *, full_matrices: bool) -> list[mx.array]:
    """q with orthonormal columns and upper triangular r: x = q r."""
    wide = single(x)
    p, n = x.shape[-2:]
    if full_matrices and p > n:
        # More columns leave the first ones as they are, and complete the basis.
        unit = mx.broadcast_to(mx.eye(p, dtype=wide.dtype), (*x.shape[:-2], p, p))
        q, r = mx.linalg.qr(mx.concatenate([wide, unit], axis=-1), stream=mx.cpu)
        r = r[..., :n]
    else:
        q, r = mx.linalg.qr(wide, stream=mx.cpu)
    return rounded([q, mx.triu(r)], x.dtype)


def svd(x: mx.array, *, full_matrices: bool, compute_uv: bool) -> list[mx.array]:
    """[u, s, vh] with x = (u * s) vh, or [s] alone; s descends."""
    k = min(x.shape[-2:])

    def factor(a: mx.array) -> list[mx.array]:
        if not compute_uv:
            return [mx.linalg.svd(a, compute_uv=False, stream=mx.cpu)]
        u, s, vh = mx.linalg.svd(a, stream=mx.cpu)
        return [u, s, vh] if full_matrices else [u[..., :k], s, vh[..., :k, :]]

    return rounded(_finite(factor, single(x)), x.dtype)


def eigh(x: mx.array) -> list[mx.array]:
    """Ascending eigenvalues and eigenvectors (columns) of the Hermitian lower triangle."""
    wide = mx.tril(single(x)) if x.dtype != mx.complex64 else x
    return rounded(_finite(lambda a: mx.linalg.eigh(a, "L", stream=mx.cpu), wide), x.dtype)


def eig(x: mx.array) -> list[mx.array]:
    """Complex eigenvalues and eigenvectors (columns) of square matrices."""
    return _finite(lambda a: mx.linalg.eig(a, stream=mx.cpu), single(x))


def eigvals(x: mx.array) -> mx.array:
    """The eigenvalues that `eig` gives."""
    return _finite(lambda a: [mx.linalg.eigvals(a, stream=mx.cpu)], single(x))[0]


# ------------------------------------------------------------------ determinants

def _triangle(x: mx.array) -> tuple[mx.array, mx.array]:
    """The pivots of an elimination and the sign of its exchanges."""
    packed, swaps = mx.linalg.lu_factor(single(x), stream=mx.cpu)
    moved = swaps.astype(mx.int32) != mx.arange(x.shape[-1], dtype=mx.int32)
    odd = mx.sum(moved.astype(mx.int32), axis=-1) % 2
    sign = mx.where(odd == 1, -1.0, 1.0).astype(packed.dtype)
    return mx.diagonal(packed, axis1=-2, axis2=-1), sign


def det(x: mx.array) -> mx.array:
    pivots, sign = _triangle(x)
    return (mx.prod(pivots, axis=-1) * sign).astype(x.dtype)


def slogdet(x: mx.array) -> list[mx.array]:
    """[sign, log |det x|]; a singular matrix gives [0, -inf]."""
    pivots, sign = _triangle(x)
    units = mx.where(mx.isnan(pivots), pivots, mx.sign(pivots))
    return rounded([sign * mx.prod(units, axis=-1), mx.sum(mx.log(mx.abs(pivots)), axis=-1)],
                   x.dtype)


def cofactor(x: mx.array) -> mx.array:
    """Cofactors are multiplicative; those of a diagonal matrix are products of all but one."""
    u, s, vh = svd(single(x), full_matrices=False, compute_uv=True)
    one = mx.ones((*s.shape[:-1], 1), s.dtype)
    before = mx.cumprod(mx.concatenate([one, s[..., :-1]], axis=-1), axis=-1)
    after = mx.cumprod(mx.concatenate([s[..., 1:], one], axis=-1), axis=-1, reverse=True)
    sign = det(u) * det(vh)
    out = matmul(u * (before * after)[..., None, :], vh)
    return (out * sign[..., None, None]).astype(x.dtype)


def pinv(x: mx.array, cutoff: mx.array) -> mx.array:
    """Pseudoinverses; singular values up to cutoff[...] times the largest one count as 0."""
    u, s, vh = svd(single(x), full_matrices=False, compute_uv=True)
    if not isinstance(cutoff, mx.array):
        cutoff = scalar(cutoff, s.dtype)
    least = cutoff.astype(s.dtype)[..., None] * mx.max(s, axis=-1, keepdims=True)
    small = s <= least
    inverse = mx.where(small, 0.0, 1.0 / mx.where(small, 1.0, s)).astype(s.dtype)
    return matmul(adjoint(vh) * inverse[..., None, :], adjoint(u)).astype(x.dtype)


# ------------------------------------------------------------------ systems

def triangular_solve(a: mx.array, b: mx.array, *, left: bool, lower: bool, transpose: bool,
                     conjugate: bool, unit: bool) -> mx.array:
    """x with op(a) x = b, or x op(a) = b when not `left`; op transposes and conjugates."""
    dtype, a, b = b.dtype, single(a), single(b)
    if not b.size:
        return b.astype(dtype)
    if conjugate:
        a = mx.conj(a) if a.dtype == mx.complex64 else a
    # x op(a) = b is op(a).T x.T = b.T: in the end a is transposed or not.
    if transpose == left:
        a, lower = swapped(a), not lower
    b = b if left else swapped(b)
    # Reading rows and columns backwards exchanges upper and lower.
    if lower:
        x = _solve_lower(a, b, unit)
    else:
        x = _solve_lower(a[..., ::-1, ::-1], b[..., ::-1, :], unit)[..., ::-1, :]
    return (x if left else swapped(x)).astype(dtype)


def _solve_lower(a: mx.array, b: mx.array, unit: bool) -> mx.array:
    n = a.shape[-1]
    if n > _LEAF:
        half = n // 2
        top = _solve_lower(a[..., :half, :half], b[..., :half, :], unit)
        rest = b[..., half:, :] - matmul(a[..., half:, :half], top)
        return mx.concatenate([top, _solve_lower(a[..., half:, half:], rest, unit)], axis=-2)
    rows: list[mx.array] = []
    for i in range(n):
        row = b[..., i : i + 1, :]
        if rows:
            row = row - matmul(a[..., i : i + 1, :i], mx.concatenate(rows, axis=-2))
        rows.append(row if unit else row / a[..., i : i + 1, i : i + 1])
    return mx.concatenate(rows, axis=-2)


def solve(a: mx.array, b: mx.array) -> mx.array:
    """x with a x = b, by LU with partial pivoting; a singular matrix gives inf and NaN."""
    dtype, a, b = a.dtype, single(a), single(b)
    if a.dtype == mx.complex64:
        # (A + iB) (x + iy) as real matrices of twice the size
        re, im = mx.real(a), mx.imag(a)
        whole = mx.concatenate([mx.concatenate([re, -im], axis=-1),
                                mx.concatenate([im, re], axis=-1)], axis=-2)
        x = solve(whole, mx.concatenate([mx.real(b), mx.imag(b)], axis=-2))
        n = a.shape[-1]
        return x[..., :n, :] + 1j * x[..., n:, :]
    packed, _, order = lu(a)
    y = _solve_lower(packed, mx.take_along_axis(b, order[..., None], -2), True)
    x = _solve_lower(packed[..., ::-1, ::-1], y[..., ::-1, :], False)[..., ::-1, :]
    return x.astype(dtype)
