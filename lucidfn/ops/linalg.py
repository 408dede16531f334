"""Linear systems and determinants: triangular_solve, solve, cholesky, lu, det, slogdet.

All work on the last two axes. Derivatives after Giles, "Collected matrix derivative results for
forward and reverse mode algorithmic differentiation" (2008), where no other source is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops import matrices as m
from lucidfn.ops.decompositions import svd
from lucidfn.ops.elementwise import (
    add,
    complex_,
    convert,
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
    concatenate,
    iota,
    merge_axes,
    move_axis,
    pad,
    reduce_sum,
    reshape,
    slice_axis,
    split_axis,
)
from lucidfn.types import ArrayType, int32, real_dtype

# ------------------------------------------------------------------ linear systems


class System(Primitive):
    """x with op(a) x = b, or x op(a) = b if not `left`; linear in b."""

    def infer(self, a: ArrayType, b: ArrayType, *, left: bool = True, **_: Any) -> ArrayType:
        m.check_matrix(self.name, a, square=True)
        if a.dtype != b.dtype:
            raise TypeError(f"got {a} and {b}; dtypes must be equal")
        n = b.shape[-2 if left else -1] if len(b.shape) > 1 else None
        if a.shape[:-2] != b.shape[:-2] or n != a.shape[-1]:
            raise ShapeError(f"got {a} and {b}; leading axes must be equal, and the "
                             f"{'rows' if left else 'columns'} of the second must be "
                             f"{a.shape[-1]}")
        return b._replace(weak=a.weak and b.weak)

    def jvp(self, tangents: Any, x: Any, a: Any, b: Any, **params: Any) -> Any:
        ta, tb = tangents
        if ta is not None:
            change = self.applied(ta, x, **params)
            tb = neg(change) if tb is None else sub(tb, change)
        return self(a, tb, **params)

    def applied(self, t: Any, x: Any, **params: Any) -> Any:
        """op(t) x, of those elements that the kernel reads."""
        raise NotImplementedError

    def transpose(self, ct: Any, a: Any, b: Any, **params: Any) -> list[Any]:
        if not unknown(b):
            raise self.missing("transpose in its matrix", "is not linear there")
        return [None, self.transposed(a, ct, **params)]

    def transposed(self, a: Any, ct: Any, **params: Any) -> Any:
        """Solve with the transpose of op(a)."""
        raise NotImplementedError

    def batch(self, size: int, batched: Any, a: Any, b: Any, **params: Any) -> Any:
        if not batched[0]:
            return self.fold(size, a, b, **params)
        return self(a, b if batched[1] else m.lanes(b, size), **params)

    def fold(self, size: int, a: Any, b: Any, **params: Any) -> Any:
        """Many right sides for one matrix: the batch joins the columns (or rows) of b."""
        # The axis of b, batch included, that the solver leaves alone.
        free = len(shape_of(b)) - (1 if params.get("left", True) else 2)
        wide = merge_axes(move_axis(b, 0, free - 1), free - 1)
        out = self(a, wide, **params)
        s = shape_of(out)
        out = reshape(out, shape=(*s[:free - 1], size, shape_of(b)[free], *s[free:]))
        return move_axis(out, free - 1, 0)

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        n = types[0].shape[-1]
        return self.factor * types[0].size * n // 3 + 2 * types[1].size * n

    factor = 2


class TriangularSolve(System):
    """x with op(a) x = b, or x op(a) = b if not `left`; reads one triangle of a"""

    name = "triangular_solve"
    factor = 0

    def applied(self, t: Any, x: Any, *, left: bool, lower: bool, transpose: bool,
                conjugate: bool, unit: bool) -> Any:
        t = m.lower(t, -1 if unit else 0) if lower else m.upper(t, 1 if unit else 0)
        t = m.conjugated(t) if conjugate else t
        t = m.swapped(t) if transpose else t
        return m.mm(t, x) if left else m.mm(x, t)

    def transposed(self, a: Any, ct: Any, *, transpose: bool, **params: Any) -> Any:
        return self(a, ct, transpose=not transpose, **params)


class Solve(System):
    """x with a x = b, by LU with partial pivoting"""

    name = "solve"

    def applied(self, t: Any, x: Any) -> Any:
        return m.mm(t, x)

    def transposed(self, a: Any, ct: Any) -> Any:
        return self(m.swapped(a), ct)


triangular_solve, solve = TriangularSolve(), Solve()


def solve_lower(a: Any, b: Any, *, left: bool = True, adjoint: bool = False,
                unit: bool = False) -> Any:
    """a^-1 b (b a^-1 if not left) for lower triangular a; of its adjoint if asked."""
    return triangular_solve(a, b, left=left, lower=True, transpose=adjoint, conjugate=adjoint,
                            unit=unit)


def solve_upper(a: Any, b: Any, *, left: bool = True) -> Any:
    """a^-1 b (b a^-1 if not left) for upper triangular a."""
    return triangular_solve(a, b, left=left, lower=False, transpose=False, conjugate=False,
                            unit=False)


# ------------------------------------------------------------------ factorisations by elimination

class Matrix(Primitive):
    """A function of each matrix of a batch by itself."""

    square = True

    def batch(self, size: int, batched: Any, x: Any, **params: Any) -> Any:
        return self(x, **params)

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        rows, columns = types[0].shape[-2:]
        return 2 * types[0].size * min(rows, columns) // 3


class Cholesky(Matrix):
    """Lower triangular l with x = l l^H; reads the lower triangle of x"""

    name = "cholesky"

    def infer(self, x: ArrayType) -> ArrayType:
        m.check_matrix(self.name, x, square=True)
        return x

    def jvp(self, tangents: Any, l: Any, x: Any) -> Any:  # noqa: E741
        # dl = l phi(l^-1 dx l^-H), phi: the lower triangle with half the diagonal (Murray,
        # "Differentiation of the Cholesky decomposition", 2016).
        middle = solve_lower(l, m.hermitian_of_lower(tangents[0]))
        middle = solve_lower(l, middle, left=False, adjoint=True)
        half = select(m.on_diagonal(shape_of(l)), mul(middle, 0.5), m.lower(middle))
        return m.mm(l, half)


class LU(Matrix):
    """[lu, pivots, permutation]: x[permutation] = l u with unit lower triangular l"""

    name = "lu"
    many = True

    def infer(self, x: ArrayType) -> list[ArrayType]:
        m.check_matrix(self.name, x)
        *lead, rows, columns = x.shape
        return [x, ArrayType((*lead, min(rows, columns)), int32), ArrayType((*lead, rows), int32)]

    def jvp(self, tangents: Any, outs: Any, x: Any) -> list[Any]:
        # With l and u completed to square matrices, f = l^-1 dx u^-1 and then
        # dl = l strictly_lower(f), du = upper(f) u.
        packed, _, order = outs
        t = permuted_rows(tangents[0], order)
        rows, columns = shape_of(x)[-2:]
        k = min(rows, columns)
        rank = len(shape_of(x))
        l = m.lower(slice_axis(packed, rank - 1, 0, k), -1)  # noqa: E741
        l = add(completed(l, rows - k, 0), m.identity_like(x, rows))  # noqa: E741
        u = completed(m.upper(slice_axis(packed, rank - 2, 0, k)), 0, columns - k, one=True)
        f = solve_upper(u, solve_lower(l, t, unit=True), left=False)
        return [add(m.mm(l, m.lower(f, -1)), m.mm(m.upper(f), u)), None, None]


def completed(x: Any, more_columns: int, more_rows: int, one: bool = False) -> Any:
    """A matrix filled up with zero columns and rows, which get ones on the diagonal if asked."""
    lead = ((0, 0, 0),) * (len(shape_of(x)) - 2)
    out = pad(x, zero_like(x), widths=(*lead, (0, more_rows, 0), (0, more_columns, 0)))
    if not one or not more_rows:
        return out
    n = shape_of(out)[-1]
    new = convert(m.on_diagonal((n, n)), dtype=dtype_of(x))
    late = iota(shape=(n, n), dtype=int32, axis=0)
    keep = sub(late, n - more_rows)
    return add(out, select(m.not_negative(keep), new, zero_like(new)))


def permuted_rows(x: Any, order: Any) -> Any:
    """x[..., order, :] for each matrix of a batch."""
    *lead, rows, columns = shape_of(x)
    flat = reshape(x, shape=(-1 if False else _size(lead), rows, columns))
    lane = iota(shape=(_size(lead), rows, 1), dtype=int32, axis=0)
    index = concatenate(lane, reshape(order, shape=(_size(lead), rows, 1)), axis=2)
    out = gather(flat, index, axes=(0, 1), mode="unchecked", fill=zero_like(x))
    return reshape(out, shape=shape_of(x))
