"""`lucidfn.scipy.linalg`: linear algebra with SciPy's signatures, over the last two axes.

Options about memory and checks (`overwrite_a`, `check_finite`, `lwork`) are accepted.
"""

from __future__ import annotations

from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, promote, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.numpy import linalg as lnp_linalg
from lucidfn.numpy.linalg import _matrices, _systems, det, inv, solve_raw
from lucidfn.ops import matrices as m
from lucidfn.ops.linalg import permuted_rows
from lucidfn.scipy._matrix_functions import expm, expm_frechet, polar, solve_sylvester, sqrtm
from lucidfn.scipy._special_matrices import (
    block_diag,
    circulant,
    companion,
    hadamard,
    hankel,
    hilbert,
    pascal,
    toeplitz,
)


def _of_triangle(raw: Any, lower: bool) -> Any:
    """The Hermitian matrix that one triangle gives.

    Its derivative is that of the mean of both triangles, as for an argument that is Hermitian.
    """
    raw = raw if lower else m.adjoint(raw)
    whole = ops.mul(ops.add(raw, m.adjoint(raw)), 0.5)
    change = ops.sub(whole, ops.stop_gradient(whole))
    finite = ops.is_finite(ops.stop_gradient(whole))
    value = ops.stop_gradient(m.hermitian_of_lower(raw))
    return ops.add(value, ops.select(finite, change, ops.zero_like(change)))


def cholesky(a: Any, lower: bool = False, overwrite_a: bool = False,
             check_finite: bool = True) -> Any:
    """Upper (or `lower`) triangular factor of positive definite matrices: a = u^H u = l l^H.

    Only that triangle of a is read; NaN where a is not positive definite. The derivative is that
    of a Hermitian argument, and Hermitian itself.
    """
    raw = _matrices(a, "cholesky", square=True)
    factor = ops.cholesky(_of_triangle(raw, lower))
    return wrap(factor if lower else m.adjoint(factor))


def cho_factor(a: Any, lower: bool = False, overwrite_a: bool = False,
               check_finite: bool = True) -> tuple[Any, bool]:
    """What `cho_solve` needs: (the factor, lower)."""
    return cholesky(a, lower), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False,
              check_finite: bool = True) -> Any:
    """x with a @ x = b, given the `cho_factor` of a."""
    factor, lower = c_and_lower
    c, y = _systems(factor, b, "cho_solve")

    def solver(c: Any, y: Any) -> Any:
        first = _triangular(c, y, lower=lower, trans=0 if lower else 2)
        return _triangular(c, first, lower=lower, trans=2 if lower else 0)

    return wrap(solve_raw(c, y, solver))


def _triangular(a: Any, b: Any, *, lower: bool, trans: int, unit: bool = False) -> Any:
    return ops.triangular_solve(a, b, left=True, lower=lower, transpose=trans > 0,
                                conjugate=trans == 2, unit=unit)


def solve_triangular(a: Any, b: Any, trans: int | str = 0, lower: bool = False,
                     unit_diagonal: bool = False, overwrite_b: bool = False,
                     debug: Any = None, check_finite: bool = True) -> Any:
    """x with a @ x = b for triangular a; trans 1 or "T": its transpose, 2 or "C": its adjoint."""
    numbers = {0: 0, "N": 0, 1: 1, "T": 1, 2: 2, "C": 2}
    if trans not in numbers:
        raise ValueError(f"solve_triangular: trans is 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    x, y = _systems(a, b, "solve_triangular")
    return wrap(solve_raw(x, y, lambda x, y: _triangular(
        x, y, lower=lower, trans=numbers[trans], unit=unit_diagonal)))


def solve(a: Any, b: Any, lower: bool = False, overwrite_a: bool = False,
          overwrite_b: bool = False, debug: bool = False, check_finite: bool = True,
          assume_a: str = "gen") -> Any:
    """x with a @ x = b; assume_a="pos" uses the Cholesky factor of a ("sym", "her": as "gen")."""
    if assume_a not in ("gen", "sym", "her", "pos"):
        raise ValueError("solve: assume_a is 'gen', 'sym', 'her' or 'pos', got "
                         f"{assume_a!r}")
    if assume_a == "pos":
        return cho_solve(cho_factor(a, lower), b)
    return lnp_linalg.solve(a, b)


# ------------------------------------------------------------------ decompositions

def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Any, Any]:
    """What `lu_solve` needs: (l and u in one matrix, the row exchanged with each row)."""
    packed, pivots, _ = ops.lu(_matrices(a, "lu_factor"))
    return wrap(packed), wrap(pivots)


def lu_solve(lu_and_piv: tuple[Any, Any], b: Any, trans: int = 0, overwrite_b: bool = False,
             check_finite: bool = True) -> Any:
    """x with a @ x = b, given the `lu_factor` of a; trans 1: a transposed, 2: its adjoint."""
    if trans not in (0, 1, 2):
        raise ValueError(f"lu_solve: trans is 0, 1 or 2, got {trans!r}")
    packed, y = _systems(lu_and_piv[0], b, "lu_solve")
    order = _row_order(as_raw(lu_and_piv[1]), packed.shape[-1])

    def solver(f: Any, y: Any) -> Any:
        rows = ops.broadcast_to(order, shape=(*shape_of(f)[:-2], shape_of(f)[-1]))
        if trans == 0:
            y = _triangular(f, permuted_rows(y, rows), lower=True, trans=0, unit=True)
            return _triangular(f, y, lower=False, trans=0)
        y = _triangular(f, y, lower=False, trans=trans)
        y = _triangular(f, y, lower=True, trans=trans, unit=True)
        return permuted_rows(y, ops.argsort(rows, axis=len(shape_of(rows)) - 1))

    return wrap(solve_raw(packed, y, solver))


def _row_order(pivots: Any, n: int) -> Any:
    """The order of rows after the exchanges that the pivots say, one after the other."""
    lead = shape_of(pivots)[:-1]
    shape = (*lead, n)
    place = ops.iota(shape=shape, dtype=pivots.dtype, axis=len(lead))
    order = place
    for i in range(shape_of(pivots)[-1]):
        pivot = ops.slice_axis(pivots, len(lead), i, i + 1)
        here = ops.slice_axis(order, len(lead), i, i + 1)
        hit = ops.eq(place, pivot)
        there = ops.reduce_sum(ops.select(hit, order, 0), axes=(len(lead),))
        there = ops.reshape(there, shape=(*lead, 1))
        order = ops.select(ops.eq(place, i), there, ops.select(hit, here, order))
    return order


def lu(a: Any, permute_l: bool = False, overwrite_a: bool = False,
       check_finite: bool = True) -> Any:
    """(p, l, u) with a = p @ l @ u, or (p @ l, u) with `permute_l`."""
    raw = _matrices(a, "lu")
    packed, _, order = ops.lu(raw)
    rows, columns = raw.shape[-2:]
    k, last = min(rows, columns), raw.ndim - 1
    eye = ops.convert(m.on_diagonal((rows, k)), dtype=raw.dtype)
    l = ops.add(m.lower(ops.slice_axis(packed, last, 0, k), -1), eye)
    u = m.upper(ops.slice_axis(packed, last - 1, 0, k))
    place = ops.iota(shape=(rows, rows), dtype=order.dtype, axis=0)
    p = ops.convert(ops.eq(place, m.as_row(order)), dtype=raw.dtype)
    if permute_l:
        return wrap(m.mm(p, l)), wrap(u)
    return wrap(p), wrap(l), wrap(u)


def qr(a: Any, overwrite_a: bool = False, lwork: Any = None, mode: str = "full",
       pivoting: bool = False, check_finite: bool = True) -> Any:
    """(q, r) with a = q @ r; mode "economic" has no more columns in q than rows in r, "r": (r,)."""
    if pivoting:
        raise NotImplementedError("qr with pivoting")
    if mode not in ("full", "economic", "r"):
        raise ValueError(f"qr: mode is 'full', 'economic' or 'r', got {mode!r}")
    q, r = ops.qr(_matrices(a, "qr"), full_matrices=mode != "economic")
    return (wrap(r),) if mode == "r" else (wrap(q), wrap(r))


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, overwrite_a: bool = False,
        check_finite: bool = True, lapack_driver: str = "gesdd") -> Any:
    """(u, s, vh) with a = u @ diag(s) @ vh, s descending; s alone without `compute_uv`."""
    out = lnp_linalg.svd(a, full_matrices, compute_uv)
    return tuple(out) if compute_uv else out


def eigh(a: Any, b: Any = None, lower: bool = True, eigvals_only: bool = False,
         overwrite_a: bool = False, overwrite_b: bool = False, turbo: bool = True,
         eigvals: Any = None, type: int = 1, check_finite: bool = True) -> Any:
    """(w, v) with a @ v = v * w for Hermitian a, ascending; or a @ v = b @ v * w with `b`.

    Only the `lower` (or upper) triangle of a is read; b is positive definite.
    """
    if eigvals is not None or type != 1:
        raise NotImplementedError("eigh with eigvals= or type= other than 1")
    x = _matrices(a, "eigh", square=True)
    if b is None:
        w, v = ops.eigh(_of_triangle(x, lower))
        return wrap(w) if eigvals_only else (wrap(w), wrap(v))
    (x, y), _ = promote(wrap(x), b)
    x = _of_triangle(x, lower)
    factor = ops.cholesky(_of_triangle(y, lower))
    inner = ops.triangular_solve(factor, x, left=True, lower=True, transpose=False,
                                 conjugate=False, unit=False)
    inner = ops.triangular_solve(factor, inner, left=False, lower=True, transpose=True,
                                 conjugate=True, unit=False)
    w, v = ops.eigh(ops.mul(ops.add(inner, m.adjoint(inner)), 0.5))
    if eigvals_only:
        return wrap(w)
    return wrap(w), wrap(_triangular(factor, v, lower=True, trans=2))


def eigh_tridiagonal(d: Any, e: Any, *, eigvals_only: bool = False, select: str = "a",
                     select_range: Any = None, tol: float | None = None) -> Any:
    """Eigenvalues (and vectors) of the symmetric matrix with diagonal d and off-diagonal e.

    All of them (`select="a"`), or those numbered select_range, both ends included ("i").
    """
    if select not in ("a", "i"):
        raise NotImplementedError(f"eigh_tridiagonal with select={select!r}; it has 'a' and 'i'")
    (x, y), _ = promote(d, e)
    x, y = as_raw(x), as_raw(y)
    n = x.shape[0]
    if x.ndim != 1 or y.shape != (n - 1,):
        raise ShapeError(f"eigh_tridiagonal takes d[n] and e[n - 1], got {type_of(x)} and "
                         f"{type_of(y)}")
    # Row-major, a diagonal below the main one is every (n + 1)-th element from n on.
    after = n * n - n - (n - 2) * (n + 1) - 1
    matrix = ops.pad(x, ops.zero_like(x), widths=((0, 0, n),))
    if n > 1:
        matrix = ops.add(matrix, ops.pad(y, ops.zero_like(y), widths=((n, after, n),)))
    matrix = ops.reshape(matrix, shape=(n, n))
    w, v = ops.eigh(matrix)
    if select == "i":
        low, high = select_range
        w, v = ops.slice_axis(w, 0, low, high + 1), ops.slice_axis(v, 1, low, high + 1)
    return wrap(w) if eigvals_only else (wrap(w), wrap(v))


__all__ = [
    "block_diag", "cho_factor", "cho_solve", "cholesky", "circulant", "companion", "det", "eigh",
    "eigh_tridiagonal", "expm", "expm_frechet", "hadamard", "hankel", "hilbert", "inv", "lu",
    "lu_factor", "lu_solve", "pascal", "polar", "qr", "solve", "solve_sylvester",
    "solve_triangular", "sqrtm", "svd", "toeplitz",
]
