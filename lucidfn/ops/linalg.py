"""Factorisations by elimination, and determinants: cholesky, lu, det, cofactor, slogdet, pinv."""

from __future__ import annotations

from typing import Any

from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops import matrices as m
from lucidfn.ops.decompositions import svd
from lucidfn.ops.elementwise import (
    add,
    bitwise_and,
    convert,
    ge,
    imag,
    is_complex,
    mul,
    neg,
    real,
    select,
    sub,
    zero_like,
)
from lucidfn.ops.indexing import gather
from lucidfn.ops.reduce import products_of_others
from lucidfn.ops.shape import (
    broadcast_to,
    iota,
    pad,
    reduce_sum,
    reshape,
    slice_axis,
)
from lucidfn.ops.systems import solve, solve_lower, solve_upper
from lucidfn.types import ArrayType, int32, real_dtype


class Cholesky(m.Matrix):
    """Lower triangular l with x = l l^H; reads the lower triangle of x"""

    name = "cholesky"
    factor = 1 / 3

    def infer(self, x: ArrayType) -> ArrayType:
        m.check_matrix(self.name, x, square=True)
        return x

    def jvp(self, tangents: Any, out: Any, x: Any) -> Any:
        # dl = l phi(l^-1 dx l^-H), phi: the lower triangle with half the diagonal (Murray,
        # "Differentiation of the Cholesky decomposition", 2016).
        middle = solve_lower(out, m.hermitian_of_lower(tangents[0]))
        middle = solve_lower(out, middle, left=False, adjoint=True)
        half = select(m.on_diagonal(shape_of(x)), mul(middle, 0.5), m.lower(middle))
        return m.mm(out, half)


class LU(m.Matrix):
    """[lu, pivots, permutation]: x[permutation] = l u with unit lower triangular l"""

    name = "lu"
    many = True
    factor = 2 / 3

    def infer(self, x: ArrayType) -> list[ArrayType]:
        m.check_matrix(self.name, x)
        *lead, rows, columns = x.shape
        return [x, ArrayType((*lead, min(rows, columns)), int32), ArrayType((*lead, rows), int32)]

    def jvp(self, tangents: Any, outs: Any, x: Any) -> list[Any]:
        # With l and u completed to square matrices, f = l^-1 dx u^-1 and then
        # dl = l strictly_lower(f), du = upper(f) u.
        packed, _, order = outs
        rows, columns = shape_of(x)[-2:]
        k, last = min(rows, columns), len(shape_of(x)) - 1
        below = m.lower(slice_axis(packed, last, 0, k), -1)
        above = m.upper(slice_axis(packed, last - 1, 0, k))
        left = add(completed(below, 0, rows - k), m.identity_like(x, rows))
        right = add(completed(above, columns - k, 0), late_ones(columns, k, dtype_of(x)))
        f = solve_lower(left, permuted_rows(tangents[0], order), unit=True)
        f = solve_upper(right, f, left=False)
        return [add(m.mm(left, m.lower(f, -1)), m.mm(m.upper(f), right)), None, None]


def completed(x: Any, more_rows: int, more_columns: int) -> Any:
    """Matrices with rows and columns of zeros added."""
    lead = ((0, 0, 0),) * (len(shape_of(x)) - 2)
    return pad(x, zero_like(x), widths=(*lead, (0, more_rows, 0), (0, more_columns, 0)))


def late_ones(n: int, start: int, dtype: Any) -> Any:
    """An n by n matrix with ones on its diagonal from `start` on."""
    late = ge(iota(shape=(n, n), dtype=int32, axis=0), start)
    return convert(bitwise_and(m.on_diagonal((n, n)), late), dtype=dtype)


def permuted_rows(x: Any, order: Any) -> Any:
    """x[..., order, :] for each matrix of a batch."""
    lanes = len(shape_of(x)) - 2
    index = reshape(order, shape=(*shape_of(order), 1))
    return gather(x, index, axes=(lanes,), mode="unchecked", fill=zero_like(x), lanes=lanes)


# ------------------------------------------------------------------ determinants

class Det(m.Matrix):
    """det x; its derivative goes through the cofactors, which singular matrices have too"""

    name = "det"
    factor = 2 / 3

    def infer(self, x: ArrayType) -> ArrayType:
        m.check_matrix(self.name, x, square=True)
        return x._replace(shape=x.shape[:-2])

    def jvp(self, tangents: Any, out: Any, x: Any) -> Any:
        rank = len(shape_of(x))
        return reduce_sum(mul(tangents[0], cofactor(x)), axes=(rank - 2, rank - 1))


class Cofactor(m.Matrix):
    """c[i, j]: (-1)^(i+j) times the determinant of x without row i and column j"""

    name = "cofactor"
    factor = 20.0

    def infer(self, x: ArrayType) -> ArrayType:
        m.check_matrix(self.name, x, square=True)
        return x

    def jvp(self, tangents: Any, out: Any, x: Any) -> Any:
        # Cofactors are multiplicative, so with x = u s vh and t = u w vh those of x + t are
        # cof(u) cof(s + w) cof(vh); to first order in w the middle is written out below, with
        # p[i, j] the product of all singular values but the i-th and the j-th.
        u, s, vh = svd(x, full_matrices=False, compute_uv=True)
        w = m.mm(m.mm(m.adjoint(u), tangents[0]), m.adjoint(vh))
        p = products_but_two(s, dtype_of(x))
        rank = len(shape_of(x))
        diagonal = reduce_sum(mul(p, m.as_row(m.diagonal_of(w))), axes=(rank - 1,))
        middle = select(m.on_diagonal(shape_of(x)), m.as_column(diagonal),
                        neg(mul(m.swapped(w), p)))
        sign = m.as_column(m.as_column(mul(det(u), det(vh))))
        return mul(m.mm(m.mm(m.conjugated(u), middle), m.conjugated(vh)), sign)


def products_but_two(s: Any, dtype: Any) -> Any:
    *lead, n = shape_of(s)
    square = (*lead, n, n)
    diagonal = m.on_diagonal(square)
    others = select(diagonal, 1.0, broadcast_to(m.as_row(s), shape=square))
    out = select(diagonal, 0.0, products_of_others(others, (len(lead) + 1,)))
    return out if dtype_of(out) == dtype else convert(out, dtype=dtype)


class SlogDet(m.Matrix):
    """[sign, log|det x|]"""

    name = "slogdet"
    many = True
    factor = 2 / 3

    def infer(self, x: ArrayType) -> list[ArrayType]:
        m.check_matrix(self.name, x, square=True)
        out = x._replace(shape=x.shape[:-2])
        return [out, out._replace(dtype=real_dtype(x.dtype))]

    def jvp(self, tangents: Any, outs: Any, x: Any) -> list[Any]:
        # d log det x = trace(x^-1 dx); the imaginary part turns the sign.
        inverse = solve(x, m.identity_like(x))
        rank = len(shape_of(x))
        change = reduce_sum(mul(tangents[0], m.swapped(inverse)), axes=(rank - 2, rank - 1))
        if not is_complex(x):
            return [None, change]
        turn = mul(convert(imag(change), dtype=dtype_of(x)), 1j)
        return [mul(turn, outs[0]), real(change)]


class PseudoInverse(m.Matrix):
    """x+ by singular values; those below `cutoff` times the largest one count as 0"""

    name = "pinv"
    factor = 24.0

    def infer(self, x: ArrayType, cutoff: ArrayType) -> ArrayType:
        m.check_matrix(self.name, x)
        if cutoff.shape != x.shape[:-2]:
            raise ShapeError(f"got {x} and a cutoff {cutoff}; it takes one for each matrix")
        return x._replace(shape=(*x.shape[:-2], x.shape[-1], x.shape[-2]))

    def jvp(self, tangents: Any, out: Any, x: Any, cutoff: Any) -> Any:
        # Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
        # problems whose variables separate" (1973): for a rank that stays as it is.
        t = tangents[0]
        if t is None:
            return None
        p, n = shape_of(x)[-2:]
        inside = neg(m.mm(m.mm(out, t), out))
        turned, back = m.adjoint(t), m.adjoint(out)
        left = sub(m.identity_like(x, p), m.mm(x, out))
        right = sub(m.identity_like(x, n), m.mm(out, x))
        first = m.mm(m.mm(m.mm(out, back), turned), left)
        second = m.mm(right, m.mm(turned, m.mm(back, out)))
        return add(inside, add(first, second))

    def batch(self, size: int, batched: Any, x: Any, cutoff: Any) -> Any:  # type: ignore[override]
        return self(x if batched[0] else m.lanes(x, size),
                    cutoff if batched[1] else m.lanes(cutoff, size))


cholesky, lu, det, cofactor, slogdet = Cholesky(), LU(), Det(), Cofactor(), SlogDet()
pinv = PseudoInverse()

__all__ = ["cholesky", "cofactor", "det", "lu", "pinv", "slogdet"]
