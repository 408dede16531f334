"""Factorisations and triangular systems, with the signatures of `jax.lax.linalg`.

Matrices are the last two axes; all before them are stacks.
"""

from __future__ import annotations

from typing import Any

from lucidfn import ops
from lucidfn.array import wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array, same_dtype
from lucidfn.types import int32, is_inexact, kind_of


def _matrix(x: Any, name: str, square: bool = False) -> Any:
    raw = array(x)
    shape = shape_of(raw)
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        raise ShapeError(f"lax.linalg.{name} got {type_of(raw)}; it takes "
                         f"{'square ' * square}matrices in the last two axes")
    if not is_inexact(dtype_of(raw)):
        raise TypeError(f"lax.linalg.{name} got {type_of(raw)}; it takes floating or complex "
                        "arrays. Convert it first: x.astype('float32')")
    return raw


def _transposed(raw: Any, conjugate: bool = False) -> Any:
    n = len(shape_of(raw))
    out = ops.permute(raw, order=(*range(n - 2), n - 1, n - 2))
    return ops.conj(out) if conjugate and kind_of(dtype_of(raw)) == 3 else out


def _hermitian(raw: Any) -> Any:
    return ops.div(ops.add(raw, _transposed(raw, conjugate=True)), 2.0)


def cholesky(x: Any, *, symmetrize_input: bool = True) -> Any:
    """Lower triangular l with x = l l^H; NaN where x is not positive definite.

    With symmetrize_input x is replaced by (x + x^H) / 2 first, else its lower triangle is read.
    """
    raw = _matrix(x, "cholesky", square=True)
    return apply(ops.cholesky, _hermitian(raw) if symmetrize_input else raw)


def eigh(x: Any, *, lower: bool = True, symmetrize_input: bool = True,
         sort_eigenvalues: bool = True, subset_by_index: None = None,
         implementation: None = None) -> tuple[Any, Any]:
    """(v, w): eigenvectors (columns) and ascending eigenvalues of Hermitian x.

    Vectors come first, as in jax.lax; `lnp.linalg.eigh` returns the eigenvalues first.
    """
    raw = _matrix(x, "eigh", square=True)
    if symmetrize_input:
        raw = _hermitian(raw)
    elif not lower:
        raw = _transposed(raw, conjugate=True)
    w, v = apply(ops.eigh, raw)
    return v, w


def eig(x: Any, *, compute_left_eigenvectors: bool = False,
        compute_right_eigenvectors: bool = True) -> list[Any]:
    """[w, v]: eigenvalues and right eigenvectors (columns), complex; [w] without vectors."""
    raw = _matrix(x, "eig", square=True)
    if compute_left_eigenvectors:
        raise NotImplementedError("lax.linalg.eig gives right eigenvectors only; for the left ones "
                                  "take those of the conjugate transpose")
    return apply(ops.eig, raw) if compute_right_eigenvectors else [apply(ops.eigvals, raw)]


def lu(x: Any) -> tuple[Any, Any, Any]:
    """(lu, pivots, permutation) with x[permutation] = l u, l of unit diagonal; both in one."""
    out = apply(ops.lu, _matrix(x, "lu"))
    return out[0], out[1], out[2]


def lu_pivots_to_permutation(pivots: Any, permutation_size: int) -> Any:
    """The permutation that a sequence of row swaps (i, pivots[i]) makes."""
    raw = array(pivots)
    batch, n = shape_of(raw)[:-1], shape_of(raw)[-1]
    order = ops.iota(shape=(*batch, permutation_size), dtype=int32, axis=len(batch))
    position = order
    for i in range(n):
        at = ops.convert(ops.slice_axis(raw, len(batch), i, i + 1), dtype=int32)
        here = ops.slice_axis(order, len(batch), i, i + 1)
        hit = ops.eq(position, at)
        there = ops.reshape(ops.reduce_sum(ops.select(hit, order, 0), axes=(len(batch),)),
                            shape=(*batch, 1))
        order = ops.select(hit, here, order)
        order = ops.select(ops.eq(position, i), there, order)
    return wrap(order)


def qr(x: Any, *, pivoting: bool = False, full_matrices: bool = True,
       use_magma: None = None) -> tuple[Any, Any]:
    """(q, r): x = q r with orthonormal columns of q and upper triangular r."""
    if pivoting:
        raise NotImplementedError("lax.linalg.qr has no pivoting")
    q, r = apply(ops.qr, _matrix(x, "qr"), full_matrices=bool(full_matrices))
    return q, r


def svd(x: Any, *, full_matrices: bool = True, compute_uv: bool = True,
        subset_by_index: None = None, algorithm: None = None) -> Any:
    """(u, s, vh) with x = u diag(s) vh, s descending; or s alone."""
    out = apply(ops.svd, _matrix(x, "svd"), full_matrices=bool(full_matrices and compute_uv),
                compute_uv=bool(compute_uv))
    return tuple(out) if compute_uv else out[0]


def triangular_solve(a: Any, b: Any, *, left_side: bool = False, lower: bool = False,
                     transpose_a: bool = False, conjugate_a: bool = False,
                     unit_diagonal: bool = False) -> Any:
    """x with op(a) x = b (left_side) or x op(a) = b, where only one triangle of a is read."""
    (p, q), _ = same_dtype("linalg.triangular_solve", a, b)
    p, q = _matrix(wrap(p), "triangular_solve", square=True), _matrix(wrap(q), "triangular_solve")
    return apply(ops.triangular_solve, p, q, left=bool(left_side), lower=bool(lower),
                 transpose=bool(transpose_a), conjugate=bool(conjugate_a),
                 unit=bool(unit_diagonal))
