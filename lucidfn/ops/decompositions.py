"""QR, singular value and eigenvalue decompositions of the last two axes.

Derivatives are those of functions that do not depend on the freedom a decomposition has (signs or
phases of vectors, bases of null spaces). Where two singular values or eigenvalues are equal, the
part that mixes their vectors is taken as 0.
"""

from __future__ import annotations

from typing import Any

from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.ops import matrices as m
from lucidfn.ops.elementwise import (
    add,
    convert,
    div,
    eq,
    is_complex,
    mul,
    neg,
    real,
    select,
    square,
    sub,
)
from lucidfn.ops.shape import concatenate, reduce_sum, slice_axis, zeros
from lucidfn.ops.systems import solve, solve_upper
from lucidfn.types import ArrayType, complex_dtype, real_dtype


def columns(x: Any, start: int, stop: int) -> Any:
    return slice_axis(x, len(shape_of(x)) - 1, start, stop)


def rows(x: Any, start: int, stop: int) -> Any:
    return slice_axis(x, len(shape_of(x)) - 2, start, stop)


def beside(x: Any, y: Any) -> Any:
    return concatenate(x, y, axis=len(shape_of(x)) - 1)


def above(x: Any, y: Any) -> Any:
    return concatenate(x, y, axis=len(shape_of(x)) - 2)


class QR(m.Matrix):
    """[q, r]: x = q r, q with orthonormal columns, r upper triangular"""

    name = "qr"
    many = True
    factor = 4.0

    def infer(self, x: ArrayType, *, full_matrices: bool) -> list[ArrayType]:
        m.check_matrix(self.name, x)
        *lead, p, n = x.shape
        k = p if full_matrices else min(p, n)
        return [x._replace(shape=(*lead, p, k)), x._replace(shape=(*lead, k, n))]

    def jvp(self, tangents: Any, outs: Any, x: Any, *, full_matrices: bool) -> list[Any]:
        # Walter and Lehmann, "Algorithmic differentiation of linear algebra functions with
        # application in optimum experimental design" (2010), for the first k columns.
        (t,), (q, r) = tangents, outs
        p, n = shape_of(x)[-2:]
        k = min(p, n)
        q1 = columns(q, 0, k)
        slope = solve_upper(columns(rows(r, 0, k), 0, k), columns(t, 0, k), left=False)
        inner = m.mm(m.adjoint(q1), slope)
        below = m.lower(inner, -1)
        turn = sub(below, m.adjoint(below))
        if is_complex(x):
            turn = select(m.on_diagonal((k, k)), sub(inner, convert(real(inner),
                                                                    dtype=dtype_of(x))), turn)
        dq = add(m.mm(q1, sub(turn, inner)), slope)
        # r = q^H x, and below its diagonal nothing but rounding.
        dr = m.upper(add(m.mm(m.adjoint(dq), x), m.mm(m.adjoint(q1), t)))
        if full_matrices and p > n:
            rest = columns(q, k, p)
            dq = beside(dq, neg(m.mm(q1, m.mm(m.adjoint(slope), rest))))
            dr = above(dr, zeros((*shape_of(x)[:-2], p - n, n), dtype_of(x)))
        return [dq, dr]


class SVD(m.Matrix):
    """[u, s, vh]: x = u diag(s) vh, s descending; or [s] alone"""

    name = "svd"
    many = True
    factor = 20.0

    def infer(self, x: ArrayType, *, full_matrices: bool, compute_uv: bool) -> list[ArrayType]:
        m.check_matrix(self.name, x)
        *lead, p, n = x.shape
        k = min(p, n)
        s = ArrayType((*lead, k), real_dtype(x.dtype), x.weak)
        if not compute_uv:
            return [s]
        left, right = (p, n) if full_matrices else (k, k)
        return [x._replace(shape=(*lead, p, left)), s, x._replace(shape=(*lead, right, n))]

    def jvp(self, tangents: Any, outs: Any, x: Any, *, full_matrices: bool,
            compute_uv: bool) -> list[Any]:
        # Giles 2008; for complex matrices Wan and Zhang, "Automatic differentiation for complex
        # valued SVD" (2019).
        t = tangents[0]
        k = min(shape_of(x)[-2:])
        if not compute_uv:
            u, _, vh = self(x, full_matrices=False, compute_uv=True)
            return [real_part(m.diagonal_of(m.mm(m.mm(m.adjoint(u), t), m.adjoint(vh))))]
        u, s, vh = columns(outs[0], 0, k), outs[1], rows(outs[2], 0, k)
        v, dtype = m.adjoint(vh), dtype_of(x)
        wide = s if dtype_of(s) == dtype else convert(s, dtype=dtype)
        middle = m.mm(m.mm(m.adjoint(u), t), v)
        gaps = m.inverse_gaps(square(s), dtype)
        right = mul(middle, m.as_row(wide))
        left = mul(middle, m.as_column(wide))
        du = m.mm(u, add(mul(add(right, m.adjoint(right)), gaps), self.phase(middle, s)))
        dv = m.mm(v, mul(add(left, m.adjoint(left)), gaps))
        scale = m.as_row(inverse_or_zero(wide))
        du = add(du, outside(m.mm(t, v), u, scale))
        dv = add(dv, outside(m.mm(m.adjoint(t), u), v, scale))
        ds = real_part(m.diagonal_of(middle))
        if full_matrices:
            du = beside(du, null_space(du, u, columns(outs[0], k, shape_of(x)[-2])))
            null = m.adjoint(rows(outs[2], k, shape_of(x)[-1]))
            dv = beside(dv, null_space(dv, v, null))
        return [du, ds, m.adjoint(dv)]

    @staticmethod
    def phase(middle: Any, s: Any) -> Any:
        """The turn of the complex phases, given to u alone; zeros for a real matrix."""
        if not is_complex(middle):
            return mul(middle, 0.0)
        turn = mul(sub(middle, m.adjoint(middle)), 0.5)
        scale = convert(inverse_or_zero(s), dtype=dtype_of(middle))
        return select(m.on_diagonal(shape_of(middle)), mul(turn, m.as_row(scale)), 0j)


def real_part(x: Any) -> Any:
    return real(x) if is_complex(x) else x


def inverse_or_zero(x: Any) -> Any:
    zero = eq(x, 0j if is_complex(x) else 0.0)
    return select(zero, 0.0, div(1.0, select(zero, 1.0, x)))


def outside(t: Any, basis: Any, scale: Any) -> Any:
    """The part of t outside the space of the basis, its columns scaled."""
    if shape_of(basis)[-2] == shape_of(basis)[-1]:
        return zeros(shape_of(t), dtype_of(t))
    return mul(sub(t, m.mm(basis, m.mm(m.adjoint(basis), t))), scale)


def null_space(tangent: Any, basis: Any, null: Any) -> Any:
    """How a basis of the complement moves when the basis does, if it does not turn in itself."""
    return neg(m.mm(basis, m.mm(m.adjoint(tangent), null)))


class Eigh(m.Matrix):
    """[w, v]: x v = v diag(w) for Hermitian x, w ascending; reads the lower triangle"""

    name = "eigh"
    many = True
    factor = 9.0

    def infer(self, x: ArrayType) -> list[ArrayType]:
        m.check_matrix(self.name, x, square=True)
        return [ArrayType(x.shape[:-1], real_dtype(x.dtype), x.weak), x]

    def jvp(self, tangents: Any, outs: Any, x: Any) -> list[Any]:
        w, v = outs
        t = m.hermitian_of_lower(tangents[0])
        middle = m.mm(m.mm(m.adjoint(v), t), v)
        dv = m.mm(v, mul(middle, m.inverse_gaps(w, dtype_of(x))))
        return [real_part(m.diagonal_of(middle)), dv]


class Eig(m.Matrix):
    """[w, v]: x v = v diag(w), complex, each vector of length 1"""

    name = "eig"
    many = True
    factor = 25.0

    def infer(self, x: ArrayType) -> list[ArrayType]:
        m.check_matrix(self.name, x, square=True)
        dtype = complex_dtype(x.dtype)
        return [ArrayType(x.shape[:-1], dtype), ArrayType(x.shape, dtype)]

    def jvp(self, tangents: Any, outs: Any, x: Any) -> list[Any]:
        w, v = outs
        middle = self.middle(tangents[0], v)
        dv = m.mm(v, mul(middle, m.inverse_gaps(w, dtype_of(v))))
        # Keep the length: take out the part along the vector itself.
        along = reduce_sum(mul(m.conjugated(v), dv), axes=(len(shape_of(v)) - 2,))
        return [m.diagonal_of(middle), sub(dv, mul(v, m.as_row(along)))]

    @staticmethod
    def middle(t: Any, v: Any) -> Any:
        """v^-1 t v."""
        t = t if dtype_of(t) == dtype_of(v) else convert(t, dtype=dtype_of(v))
        return solve(v, m.mm(t, v))


class EigVals(m.Matrix):
    """The eigenvalues of x, complex"""

    name = "eigvals"
    factor = 10.0

    def infer(self, x: ArrayType) -> ArrayType:
        m.check_matrix(self.name, x, square=True)
        return ArrayType(x.shape[:-1], complex_dtype(x.dtype))

    def jvp(self, tangents: Any, out: Any, x: Any) -> Any:
        _, v = eig(x)
        return m.diagonal_of(eig.middle(tangents[0], v))


qr, svd, eigh, eig, eigvals = QR(), SVD(), Eigh(), Eig(), EigVals()

__all__ = ["eig", "eigh", "eigvals", "qr", "svd"]
