"""Factorisations and solvers, over any number of leading batch axes.

LAPACK is reached through numpy.linalg where that offers the factorisation; LU is written here,
because it does not. An element of a batch that fails (not positive definite, singular, NaN) does
not disturb the others.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .precision import HALVES, SINGLE

Arrays = tuple[np.ndarray, ...]

# Columns factored one by one before LU splits its work into matrix products.
_LU_LEAF = 8
# Rows of a triangular solve that LAPACK takes at once.
_TRIANGLE_BLOCK = 64


def _rounded(arrays: Sequence[np.ndarray], dtype: np.dtype) -> list[np.ndarray]:
    """Results that were computed in float32 for a half precision input, as that precision."""
    if dtype not in HALVES:
        return [np.asarray(a) for a in arrays]
    return [np.asarray(a).astype(dtype) if a.dtype == SINGLE else np.asarray(a) for a in arrays]


def _single(*xs: np.ndarray) -> list[np.ndarray]:
    return [x.astype(SINGLE) if x.dtype in HALVES else x for x in xs]


def _each(f: Callable[..., Arrays], give_up: Callable[..., Arrays], *xs: np.ndarray) -> Arrays:
    """f over batches of matrices; where LAPACK refuses one of them, that one gets `give_up`.

    A refused batch is halved until the culprits are alone: a few calls more for a few culprits.
    """
    lead = xs[0].shape[:-2]
    try:
        return f(*xs)
    except np.linalg.LinAlgError:
        if not lead:
            return give_up(*xs)
    flat = [x.reshape(-1, *x.shape[-2:]) for x in xs]
    count = len(flat[0])
    if count == 1:
        parts = [tuple(out[None] for out in give_up(*(x[0] for x in flat)))]
    else:
        halves = slice(None, count // 2), slice(count // 2, None)
        parts = [_each(f, give_up, *(x[half] for x in flat)) for half in halves]
    outs = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return tuple(out.reshape(lead + out.shape[1:]) for out in outs)


def _nans(like: Callable[..., Arrays]) -> Callable[..., Arrays]:
    """What `like` would return for an identity matrix, filled with NaN."""

    def give_up(x: np.ndarray) -> Arrays:
        return tuple(
            np.full_like(out, np.nan) for out in like(np.eye(*x.shape[-2:], dtype=x.dtype))
        )

    return give_up


def cholesky(x: np.ndarray) -> np.ndarray:
    """The lower triangular factor: x = l @ conj(l).T, from the lower triangle of x.

    A matrix that is not positive definite gives NaN.
    """
    (wide,) = _single(x)

    def factor(a: np.ndarray) -> Arrays:
        out = np.linalg.cholesky(a)
        # LAPACK does not always refuse NaN, but then it arrives in the last corner.
        if out.size:
            np.copyto(out, np.nan, where=np.isnan(out[..., -1:, -1:]))
        return (out,)

    return _rounded(_each(factor, _nans(factor), wide), x.dtype)[0]


def qr(x: np.ndarray, *, full_matrices: bool) -> list[np.ndarray]:
    """q with orthonormal columns and upper triangular r: x = q @ r."""
    (wide,) = _single(x)
    return _rounded(np.linalg.qr(wide, "complete" if full_matrices else "reduced"), x.dtype)


def svd(x: np.ndarray, *, full_matrices: bool, compute_uv: bool) -> list[np.ndarray]:
    """[u, s, vh] with x = (u * s) @ vh, or [s] alone; s descends."""
    (wide,) = _single(x)

    def factor(a: np.ndarray) -> Arrays:
        out = np.linalg.svd(a, full_matrices=full_matrices, compute_uv=compute_uv)
        return tuple(out) if compute_uv else (out,)

    return _rounded(_each(factor, _nans(factor), wide), x.dtype)


def eigh(x: np.ndarray) -> list[np.ndarray]:
    """Ascending eigenvalues and eigenvectors (columns) of the Hermitian lower triangle."""
    (wide,) = _single(x)

    def factor(a: np.ndarray) -> Arrays:
        return tuple(np.linalg.eigh(a, UPLO="L"))

    return _rounded(_each(factor, _nans(factor), wide), x.dtype)


def eig(x: np.ndarray) -> list[np.ndarray]:
    """Complex eigenvalues and eigenvectors (columns) of square matrices, in LAPACK's order."""
    (wide,) = _single(x)
    kind = np.result_type(wide.dtype, np.complex64)

    def factor(a: np.ndarray) -> Arrays:
        return tuple(out.astype(kind, copy=False) for out in np.linalg.eig(a))

    return _rounded(_each(factor, _nans(factor), wide), x.dtype)


def eigvals(x: np.ndarray) -> np.ndarray:
    """The eigenvalues that `eig` gives."""
    (wide,) = _single(x)
    kind = np.result_type(wide.dtype, np.complex64)

    def factor(a: np.ndarray) -> Arrays:
        return (np.linalg.eigvals(a).astype(kind, copy=False),)

    return _rounded(_each(factor, _nans(factor), wide), x.dtype)[0]


def slogdet(x: np.ndarray) -> list[np.ndarray]:
    """[sign, log(abs(det x))]; a singular matrix gives [0, -inf]."""
    (wide,) = _single(x)
    return _rounded(np.linalg.slogdet(wide), x.dtype)


def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x[..., n, k] with a @ x = b; a singular matrix gives inf and NaN."""

    def exact(a: np.ndarray, b: np.ndarray) -> Arrays:
        return (np.linalg.solve(a, b),)

    def by_pivots(a: np.ndarray, b: np.ndarray) -> Arrays:
        # Division by the pivots that are zero yields inf or NaN as the right side has it.
        factors, _, order = lu(a)
        y = _substitute(factors, b[order], lower=True, unit=True)
        return (_substitute(factors, y, lower=False, unit=False),)

    return _rounded(_each(exact, by_pivots, *_single(a, b)), a.dtype)[0]


def lu(x: np.ndarray) -> list[np.ndarray]:
    """[lu, pivots, permutation] with partial pivoting: x[permutation] = l @ u.

    x[..., m, n]; l is the unit lower triangle and u the upper triangle of `lu`. `pivots` (int32,
    one per column) says with which row each row was exchanged, in order; `permutation`
    (int32[..., m]) is the order of the rows that results.
    """
    *lead, m, n = x.shape
    (wide,) = _single(x)
    a = wide.reshape((-1, m, n)) if x.size else wide.reshape((int(np.prod(lead)), m, n))
    a = a.copy() if wide is x else a
    depth = min(m, n)
    pivots = np.zeros((len(a), depth), np.int32)
    if a.size:
        _lu_columns(a, pivots, 0, depth)
        if n > depth:
            _lu_right_side(a, 0, depth, n)
    permutation = np.empty((len(a), m), np.int32)
    permutation[:] = np.arange(m, dtype=np.int32)
    batch = np.arange(len(a))
    for j in range(depth):
        _swap(permutation, batch, j, pivots[:, j])
    return [
        a.reshape(x.shape).astype(x.dtype, copy=False),
        pivots.reshape(*lead, depth),
        permutation.reshape(*lead, m),
    ]


def _swap(rows: np.ndarray, batch: np.ndarray, i: int, j: np.ndarray) -> None:
    if len(rows) == 1:
        k = int(j[0])
        if k != i:
            kept = rows[0, i].copy()
            rows[0, i] = rows[0, k]
            rows[0, k] = kept
        return
    kept = rows[batch, j]
    rows[batch, j] = rows[:, i]
    rows[:, i] = kept


def _lu_columns(a: np.ndarray, pivots: np.ndarray, first: int, last: int) -> None:
    """Factors columns first..last in place, the columns before them being done."""
    if last - first <= _LU_LEAF:
        _lu_leaf(a, pivots, first, last)
        return
    middle = (first + last) // 2
    _lu_columns(a, pivots, first, middle)
    _lu_right_side(a, first, middle, last)
    _lu_columns(a, pivots, middle, last)


def _lu_right_side(a: np.ndarray, first: int, middle: int, last: int) -> None:
    """Carries the factored columns first..middle over to the columns middle..last."""
    top = slice(first, middle)
    block = _solve_lower(a[:, top, top], a[:, top, middle:last], unit=True)
    a[:, top, middle:last] = block
    a[:, middle:, middle:last] -= a[:, middle:, top] @ block


def _lu_leaf(a: np.ndarray, pivots: np.ndarray, first: int, last: int) -> None:
    """Column by column, in a copy in which columns lie densely in memory."""
    batch = np.arange(len(a))
    panel = a[:, first:, first:last].transpose(0, 2, 1).copy()
    for j in range(last - first):
        column = panel[:, j, j:]
        # LAPACK's measure of a complex number, so that its pivots are found.
        size = abs(column.real) + abs(column.imag) if a.dtype.kind == "c" else abs(column)
        row = size.argmax(axis=1) + j
        pivots[:, first + j] = row + first
        _swap(panel.transpose(0, 2, 1), batch, j, row)
        _swap(a, batch, first + j, row + first)
        pivot = panel[:, j, j, None]
        # A column of zeros has nothing to eliminate.
        below = panel[:, j, j + 1 :]
        below /= np.where(pivot == 0, 1, pivot)
        if first + j + 1 < last:
            panel[:, j + 1 :, j + 1 :] -= panel[:, j + 1 :, j, None] * below[:, None]
    a[:, first:, first:last] = panel.transpose(0, 2, 1)


def triangular_solve(
    a: np.ndarray,
    b: np.ndarray,
    *,
    left: bool,
    lower: bool,
    transpose: bool,
    conjugate: bool,
    unit: bool,
) -> np.ndarray:
    """x with op(a) @ x = b, or x @ op(a) = b when not `left`; op transposes and conjugates.

    Only the named triangle of a[..., n, n] is read, without its diagonal if that is `unit`; a zero
    on the diagonal gives inf and NaN.
    """
    dtype = b.dtype
    a, b = _single(a, b)
    if conjugate:
        a = a.conj()
    # x @ op(a) = b is op(a).T @ x.T = b.T: in the end a is transposed or not.
    if transpose == left:
        a, lower = a.swapaxes(-1, -2), not lower
    if not left:
        b = b.swapaxes(-1, -2)
    # Reading rows and columns backwards exchanges upper and lower.
    if lower:
        x = _solve_lower(a, b, unit)
    else:
        x = _solve_lower(a[..., ::-1, ::-1], b[..., ::-1, :], unit)[..., ::-1, :]
    return (x if left else x.swapaxes(-1, -2)).astype(dtype, copy=False)


def _solve_lower(a: np.ndarray, b: np.ndarray, unit: bool) -> np.ndarray:
    """Forward substitution: blocks of rows by LAPACK, what they share by matrix products."""
    n = a.shape[-1]
    out = np.empty(b.shape, b.dtype)
    for top in range(0, n, _TRIANGLE_BLOCK):
        rows = slice(top, min(n, top + _TRIANGLE_BLOCK))
        rest = b[..., rows, :]
        if top:
            rest = rest - a[..., rows, :top] @ out[..., :top, :]
        out[..., rows, :] = _solve_block(a[..., rows, rows], rest, unit)
    return out


def _solve_block(a: np.ndarray, b: np.ndarray, unit: bool) -> np.ndarray:
    # As an upper triangle a block is its own LU factorisation, without pivoting: LAPACK then does
    # nothing but substitute.
    upper = np.triu(a[..., ::-1, ::-1], 1 if unit else 0)
    if unit:
        n = a.shape[-1]
        upper[..., range(n), range(n)] = 1

    def exact(a: np.ndarray, b: np.ndarray) -> Arrays:
        return (np.linalg.solve(a, b),)

    def by_rows(a: np.ndarray, b: np.ndarray) -> Arrays:
        return (_substitute(a, b, lower=False, unit=False),)

    return _each(exact, by_rows, upper, b[..., ::-1, :])[0][..., ::-1, :]


def _substitute(a: np.ndarray, b: np.ndarray, lower: bool, unit: bool) -> np.ndarray:
    """Row by row, for one matrix whose diagonal may hold zeros."""
    out = b.copy()
    n = a.shape[-1]
    for i in range(n) if lower else reversed(range(n)):
        others = slice(0, i) if lower else slice(i + 1, n)
        row = out[i] - a[i, others] @ out[others]
        out[i] = row if unit else row / a[i, i]
    return out
