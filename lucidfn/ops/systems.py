"""Linear systems with a general or a triangular matrix, over the last two axes.

Derivatives after Giles, "Collected matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.ir import unknown
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops import matrices as m
from lucidfn.ops.elementwise import neg, sub
from lucidfn.ops.shape import merge_axes, move_axis, reshape
from lucidfn.types import ArrayType


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

    def rows(self, axes: Any, types: Any, **params: Any) -> Any:
        last = len(types[1].shape) - 1
        if axes[0] is None:
            return axes[1] if axes[1] == last - (not params.get("left", True)) else None
        return axes[0] if axes[0] == axes[1] < last - 1 else None

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


__all__ = ["solve", "solve_lower", "solve_upper", "triangular_solve"]
