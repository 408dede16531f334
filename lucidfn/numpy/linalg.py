"""`lnp.linalg`: linear algebra over the last two axes, with JAX's signatures.

Nothing raises for a singular matrix: the result holds inf or NaN for that element of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, promote, to_dtype, unwrap, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.numpy import linear
from lucidfn.numpy.linear import matmul, take_diagonal, tensordot, vecdot
from lucidfn.numpy.norms import matrix_norm, norm, singular_values, vector_norm
from lucidfn.numpy.reductions import normal_axis
from lucidfn.ops import matrices as m
from lucidfn.types import (
    bfloat16,
    broadcast_shapes,
    default_dtype_of,
    float_type_for,
    real_dtype,
)


class EigResult(NamedTuple):
    """What `eig` returns."""

    eigenvalues: Any
    eigenvectors: Any


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Any
    S: Any
    Vh: Any


def _matrices(x: Any, name: str, square: bool = False) -> Any:
    raw = as_raw(x)
    raw = to_dtype(raw, float_type_for(raw.dtype))
    if raw.ndim < 2 or (square and raw.shape[-1] != raw.shape[-2]):
        raise ShapeError(f"linalg.{name} got {type_of(raw)}; it takes {'square ' * square}matrices "
                         "in the last two axes")
    return raw


def _symmetric(raw: Any) -> Any:
    return ops.mul(ops.add(raw, m.adjoint(raw)), 0.5)


def epsilon(dtype: np.dtype) -> float:
    """The spacing of the floats of a dtype at 1."""
    real = real_dtype(dtype)
    return 2.0 ** -7 if real == bfloat16 else float(np.finfo(real).eps)


# ------------------------------------------------------------------ systems

def _systems(a: Any, b: Any, name: str) -> tuple[Any, Any]:
    (x, y), _ = promote(a, b)
    x, y = as_raw(x), as_raw(y)
    dtype = float_type_for(x.dtype)
    return _matrices(wrap(to_dtype(x, dtype)), name, square=True), to_dtype(y, dtype)


def solve(a: Any, b: Any) -> Any:
    """x with a @ x = b; b is a vector if it is 1-d, else matrices. Leading axes broadcast.

    >>> import lucidfn.numpy as lnp
    >>> lnp.linalg.solve(lnp.asarray([[2.0, 0.0], [0.0, 4.0]]), lnp.asarray([1.0, 1.0])).tolist()
    [0.5, 0.25]
    """
    x, y = _systems(a, b, "solve")
    if y.ndim == 0 or y.shape[0 if y.ndim == 1 else -2] != x.shape[-1]:
        raise ShapeError(f"linalg.solve got {type_of(x)} and {type_of(y)}; the second must have "
                         f"{x.shape[-1]} rows")
    return wrap(solve_raw(x, y))


def solve_raw(x: Any, y: Any, solver: Any = ops.solve) -> Any:
    """solver(matrix, right side) for any leading axes; a 1-d right side is one column."""
    if y.ndim == 1:
        out = solve_raw(x, ops.reshape(y, shape=(y.shape[0], 1)), solver)
        return ops.reshape(out, shape=shape_of(out)[:-1])
    if x.ndim == 2 and y.ndim > 2:
        # One matrix for many right sides: factor it once.
        *lead, n, k = y.shape
        columns = ops.reshape(ops.move_axis(y, y.ndim - 2, 0), shape=(n, math.prod(lead) * k))
        out = ops.reshape(solver(x, columns), shape=(n, *lead, k))
        return ops.move_axis(out, 0, len(lead))
    lead = _broadcast_lead(x, y)
    return solver(_with_lead(x, lead), _with_lead(y, lead))


def _broadcast_lead(x: Any, y: Any) -> tuple[int, ...]:
    try:
        return broadcast_shapes(tuple(x.shape[:-2]), tuple(y.shape[:-2]))
    except ValueError:
        raise ShapeError(f"got {type_of(x)} and {type_of(y)}; the axes before the last two must "
                         "broadcast") from None


def _with_lead(x: Any, lead: tuple[int, ...]) -> Any:
    shape = (*lead, *x.shape[-2:])
    return x if x.shape == shape else ops.broadcast_to(x, shape=shape)


def inv(a: Any) -> Any:
    """Inverses of square matrices."""
    raw = _matrices(a, "inv", square=True)
    return wrap(ops.solve(raw, m.identity_like(raw)))


def pinv(a: Any, rtol: Any = None, hermitian: bool = False, *, rcond: Any = None) -> Any:
    """Moore-Penrose pseudoinverses; singular values below rtol times the largest count as 0.

    rtol defaults to 10 * max(rows, columns) * eps. The derivative is that of constant rank. A
    `hermitian` input is made so first, (a + a^H) / 2.
    """
    raw = _matrices(a, "pinv", square=hermitian)
    if hermitian:
        raw = _symmetric(raw)
    rtol = rcond if rtol is None else rtol
    real = real_dtype(raw.dtype)
    if rtol is None:
        rtol = 10.0 * max(raw.shape[-2:]) * epsilon(raw.dtype)
    cutoff = ops.stop_gradient(as_raw(rtol, real))
    return wrap(ops.pinv(raw, ops.broadcast_to(cutoff, shape=tuple(raw.shape[:-2]))))


def lstsq(a: Any, b: Any, rcond: Any = None, *,
          numpy_resid: bool = False) -> tuple[Any, Any, Any, Any]:
    """(x, residuals, rank, singular values) of the least squares problem a @ x = b.

    a[m, n], b[m] or b[m, k]. `residuals` are sums of squares; with `numpy_resid` they are empty
    where a has not full rank or m <= n.
    """
    (x, y), _ = promote(a, b)
    dtype = float_type_for(as_raw(x).dtype)
    x, y = to_dtype(as_raw(x), dtype), to_dtype(as_raw(y), dtype)
    if x.ndim != 2 or y.ndim not in (1, 2) or y.shape[0] != x.shape[0]:
        raise ShapeError(f"linalg.lstsq got {type_of(x)} and {type_of(y)}; it takes a[m, n] and "
                         "b[m] or b[m, k]")
    rows, columns = x.shape
    if rcond is None:
        rcond = epsilon(dtype) * max(rows, columns)
    elif isinstance(rcond, (int, float)) and rcond < 0:
        rcond = epsilon(dtype)
    s = singular_values(x)
    cutoff = ops.stop_gradient(as_raw(rcond, real_dtype(dtype)))
    rank = wrap(_count_above(s, cutoff))
    right = y if y.ndim == 2 else ops.reshape(y, shape=(rows, 1))
    out = ops.matmul(ops.pinv(x, cutoff), right)
    away = ops.sub(right, ops.matmul(x, out))
    residuals = ops.reduce_sum(ops.square(ops.abs(away)), axes=(0,))
    if numpy_resid and (rows <= columns or rank < columns):
        residuals = ops.zeros((0,), real_dtype(dtype))
    if y.ndim == 1:
        out = ops.reshape(out, shape=(columns,))
    return wrap(out), wrap(residuals), rank, wrap(s)


def _count_above(s: Any, cutoff: Any) -> Any:
    last = len(shape_of(s)) - 1
    if shape_of(s)[-1] == 0:
        return ops.zeros(shape_of(s)[:-1], default_dtype_of(int))
    largest = ops.slice_axis(s, last, 0, 1)
    above = ops.gt(s, ops.mul(largest, cutoff))
    return ops.reduce_sum(ops.convert(above, dtype=default_dtype_of(int)), axes=(last,))


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Any:
    """x with tensordot(a, x, x.ndim) = b; `axes` of a are moved to its end first."""
    (x, y), _ = promote(a, b)
    x, y = as_raw(x), as_raw(y)
    if axes is not None:
        last = [normal_axis(i, x.ndim) for i in axes]
        x = ops.permute(x, order=(*[i for i in range(x.ndim) if i not in last], *last))
    shape = x.shape[y.ndim:]
    n = math.prod(shape)
    if math.prod(y.shape) != n or x.shape[:y.ndim] != y.shape:
        raise ShapeError(f"linalg.tensorsolve got {type_of(x)} and {type_of(y)}; the first must "
                         "begin with the second's shape and be square when flattened")
    flat = solve(wrap(ops.reshape(x, shape=(n, n))), wrap(ops.reshape(y, shape=(n,))))
    return wrap(ops.reshape(unwrap(flat), shape=tuple(shape)))


def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of a for tensordot over its first `ind` axes."""
    raw = as_raw(a)
    if ind <= 0:
        raise ValueError(f"linalg.tensorinv needs ind > 0, got {ind}")
    left, right = raw.shape[:ind], raw.shape[ind:]
    n = math.prod(left)
    if n != math.prod(right):
        raise ShapeError(f"linalg.tensorinv got {type_of(raw)}; the product of its first {ind} "
                         "axes must be that of the others")
    flat = unwrap(inv(wrap(ops.reshape(raw, shape=(n, n)))))
    return wrap(ops.reshape(flat, shape=(*right, *left)))


# ------------------------------------------------------------------ determinants and rank

def det(a: Any) -> Any:
    """Determinants; the derivative is that of the cofactors, finite for singular matrices too."""
    return wrap(ops.det(_matrices(a, "det", square=True)))


def slogdet(a: Any, *, method: str | None = None) -> SlogdetResult:
    """(sign, log|det|); `method` is accepted."""
    return SlogdetResult(*map(wrap, ops.slogdet(_matrices(a, "slogdet", square=True))))


def matrix_rank(M: Any, rtol: Any = None, *, hermitian: bool = False, tol: Any = None) -> Any:
    """Number of singular values above rtol times the largest, or above `tol`.

    rtol defaults to max(rows, columns) * eps.
    """
    raw = as_raw(M)
    if raw.ndim < 2:
        nonzero = ops.convert(ops.ne(raw, ops.zero_like(raw)), dtype=default_dtype_of(int))
        return wrap(nonzero if raw.ndim == 0 else ops.reduce_max(nonzero, axes=(0,)))
    raw = _matrices(M, "matrix_rank")
    s = singular_values(raw)
    if tol is not None:
        above = ops.gt(s, m.as_column(as_raw(tol, s.dtype)))
        return wrap(ops.reduce_sum(ops.convert(above, dtype=default_dtype_of(int)),
                                   axes=(raw.ndim - 2,)))
    if rtol is None:
        rtol = max(raw.shape[-2:]) * epsilon(raw.dtype)
    return wrap(_count_above(s, m.as_column(as_raw(rtol, s.dtype))))


def cond(x: Any, p: Any = None) -> Any:
    """Condition numbers norm(x, p) * norm(inv(x), p); by singular values for p None, 2, -2."""
    raw = _matrices(x, "cond")
    if p in (None, 2, -2):
        s = singular_values(raw)
        last, n = len(shape_of(s)) - 1, shape_of(s)[-1]
        first, end = ops.slice_axis(s, last, 0, 1), ops.slice_axis(s, last, n - 1, n)
        ratio = ops.div(end, first) if p == -2 else ops.div(first, end)
        return wrap(ops.reshape(ratio, shape=shape_of(s)[:-1]))
    inverse = inv(wrap(_matrices(x, "cond", square=True)))
    size, back = (unwrap(norm(y, p, axis=(-2, -1))) for y in (wrap(raw), inverse))
    return wrap(ops.mul(size, back))


# ------------------------------------------------------------------ decompositions

def cholesky(a: Any, *, upper: bool = False, symmetrize_input: bool = True) -> Any:
    """Lower triangular l with a = l @ l^H, or its adjoint if `upper`; NaN where there is none.

    The input is made Hermitian first, (a + a^H) / 2, unless `symmetrize_input` is False; then only
    its lower triangle is read.
    """
    raw = _matrices(a, "cholesky", square=True)
    factor = ops.cholesky(_symmetric(raw) if symmetrize_input else raw)
    return wrap(m.adjoint(factor) if upper else factor)


def qr(a: Any, mode: str = "reduced") -> Any:
    """(Q, R) with a = Q @ R; mode "complete" has square Q, mode "r" gives R alone."""
    if mode not in ("reduced", "complete", "r", "full"):
        raise ValueError(f"linalg.qr has no mode {mode!r}; it has 'reduced', 'complete' and 'r'")
    q, r = ops.qr(_matrices(a, "qr"), full_matrices=mode in ("complete", "full"))
    return wrap(r) if mode == "r" else QRResult(wrap(q), wrap(r))


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False,
        subset_by_index: tuple[int, int] | None = None) -> Any:
    """(U, S, Vh) with a = U @ diag(S) @ Vh, S descending; S alone without `compute_uv`.

    `subset_by_index=(i, j)` keeps singular values i to j - 1. `hermitian` is accepted.
    """
    raw = _matrices(a, "svd")
    if subset_by_index is not None and full_matrices and compute_uv:
        raise ValueError("linalg.svd: subset_by_index needs full_matrices=False")
    outs = ops.svd(raw, full_matrices=full_matrices and compute_uv, compute_uv=compute_uv)
    if subset_by_index is not None:
        i, j = subset_by_index
        cut = [raw.ndim - 1, raw.ndim - 2, raw.ndim - 2] if compute_uv else [raw.ndim - 2]
        outs = [ops.slice_axis(x, axis, i, j) for x, axis in zip(outs, cut, strict=True)]
    return SVDResult(*map(wrap, outs)) if compute_uv else wrap(outs[0])


def svdvals(x: Any, /) -> Any:
    """Singular values, descending."""
    return wrap(singular_values(_matrices(x, "svdvals")))


def eigh(a: Any, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending.

    The input is made Hermitian first unless `symmetrize_input` is False; then only the triangle
    UPLO ("L" or "U") is read.
    """
    if UPLO not in (None, "L", "U"):
        raise ValueError(f"linalg.eigh: UPLO is 'L' or 'U', got {UPLO!r}")
    raw = _matrices(a, "eigh", square=True)
    if symmetrize_input:
        raw = _symmetric(raw)
    elif UPLO == "U":
        raw = m.adjoint(raw)
    return EighResult(*map(wrap, ops.eigh(raw)))


def eigvalsh(a: Any, UPLO: str | None = "L", *, symmetrize_input: bool = True) -> Any:
    """Eigenvalues of Hermitian matrices, ascending."""
    return eigh(a, UPLO, symmetrize_input).eigenvalues


def eig(a: Any) -> EigResult:
    """(eigenvalues, eigenvectors) of square matrices, complex, each vector of length 1."""
    return EigResult(*map(wrap, ops.eig(_matrices(a, "eig", square=True))))


def eigvals(a: Any) -> Any:
    """Eigenvalues of square matrices, complex."""
    return wrap(ops.eigvals(_matrices(a, "eigvals", square=True)))


# ------------------------------------------------------------------ products

def matrix_power(a: Any, n: int) -> Any:
    """The n-th power of square matrices, by repeated squaring; of the inverse for n < 0."""
    raw = as_raw(a)
    if raw.ndim < 2 or raw.shape[-1] != raw.shape[-2]:
        raise ShapeError(f"linalg.matrix_power got {type_of(raw)}; it takes square matrices")
    n = n.__index__()
    if n < 0:
        raw, n = unwrap(inv(wrap(raw))), -n
    out = None
    while n:
        if n % 2:
            out = raw if out is None else m.mm(out, raw)
        n //= 2
        raw = m.mm(raw, raw) if n else raw
    return wrap(m.identity_like(raw) if out is None else out)


def multi_dot(arrays: Sequence[Any], *, precision: Any = None) -> Any:
    """The product of matrices (the first and the last may be vectors) in the cheapest order."""
    if len(arrays) < 2:
        raise ValueError(f"linalg.multi_dot needs two arrays, got {len(arrays)}")
    raws, _ = promote(*arrays)
    raws = [as_raw(r) for r in raws]
    ends = raws[0].ndim, raws[-1].ndim
    if any(r.ndim != 2 for r in raws[1:-1]) or any(e not in (1, 2) for e in ends):
        raise ShapeError("linalg.multi_dot takes matrices, and vectors at its ends; got "
                         f"{', '.join(str(type_of(r)) for r in raws)}")
    if ends[0] == 1:
        raws[0] = ops.reshape(raws[0], shape=(1, raws[0].shape[0]))
    if ends[1] == 1:
        raws[-1] = ops.reshape(raws[-1], shape=(raws[-1].shape[0], 1))
    out = _chain(raws, _cheapest([*[r.shape[0] for r in raws], raws[-1].shape[1]]), 0, len(raws))
    shape = tuple(n for n, e in zip(shape_of(out), ends, strict=True) if e == 2)
    return wrap(ops.reshape(out, shape=shape) if shape != shape_of(out) else out)


def _cheapest(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split each range of a chain of matrices (Cormen et al., ch. 15.2)."""
    count = len(sizes) - 1
    cost = {(i, i + 1): 0 for i in range(count)}
    split = {}
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length
            options = [(cost[i, k] + cost[k, j] + sizes[i] * sizes[k] * sizes[j], k)
                       for k in range(i + 1, j)]
            cost[i, j], split[i, j] = min(options)
    return split


def _chain(raws: Sequence[Any], split: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if j == i + 1:
        return raws[i]
    k = split[i, j]
    return ops.matmul(_chain(raws, split, i, k), _chain(raws, split, k, j))


def outer(x1: Any, x2: Any, /) -> Any:
    """All products of two 1-d arrays."""
    if as_raw(x1).ndim != 1 or as_raw(x2).ndim != 1:
        raise ShapeError("linalg.outer takes 1-d arrays; use lnp.outer to flatten")
    return linear.outer(x1, x2)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Cross product of vectors of length 3 along an axis."""
    for x in (as_raw(x1), as_raw(x2)):
        if x.shape[normal_axis(axis, x.ndim)] != 3:
            raise ShapeError(f"linalg.cross takes vectors of length 3, got {type_of(x)}")
    return linear.cross(x1, x2, axis=axis)


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """Diagonals of the matrices in the last two axes."""
    return wrap(take_diagonal(as_raw(x), offset, -2, -1))


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Sums along the diagonals of the matrices in the last two axes."""
    return linear.trace(x, offset, -2, -1, dtype)


def matrix_transpose(x: Any, /) -> Any:
    """The last two axes exchanged."""
    raw = as_raw(x)
    if raw.ndim < 2:
        raise ShapeError(f"linalg.matrix_transpose got {type_of(raw)}; it needs two axes")
    return wrap(m.swapped(raw))


__all__ = [
    "EigResult", "EighResult", "QRResult", "SVDResult", "SlogdetResult", "cholesky", "cond",
    "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer",
    "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve",
    "trace", "vecdot", "vector_norm",
]
