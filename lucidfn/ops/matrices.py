"""Batches of matrices: what the rules of the linear algebra primitives are written with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.ops.contract import dot_general
from lucidfn.ops.elementwise import (
    add,
    conj,
    convert,
    div,
    eq,
    is_complex,
    le,
    real,
    select,
    sub,
    zero_like,
)
from lucidfn.ops.shape import (
    broadcast_to,
    iota,
    merge_axes,
    permute,
    reduce_sum,
    reshape,
    slice_axis,
)
from lucidfn.types import ArrayType, dtype_name, int32, is_inexact


def check_matrix(name: str, x: ArrayType, square: bool = False) -> None:
    """Raise unless x is a batch of floating matrices."""
    if len(x.shape) < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ShapeError(f"got {x}; {name} takes {'square ' * square}matrices: the last two axes")
    if not is_inexact(x.dtype):
        raise TypeError(f"got {x}; {name} takes floating or complex matrices, not "
                        f"{dtype_name(x.dtype)}")


def mm(x: Any, y: Any) -> Any:
    """Batched matrix product of operands with equal leading axes."""
    n = len(shape_of(x))
    lead = tuple(range(n - 2))
    return dot_general(x, y, contract=((n - 1,), (n - 2,)), batch=(lead, lead))


def swapped(x: Any) -> Any:
    """The transposed matrices."""
    n = len(shape_of(x))
    return permute(x, order=(*range(n - 2), n - 1, n - 2))


def adjoint(x: Any) -> Any:
    """The conjugated, transposed matrices."""
    return conj(swapped(x)) if is_complex(x) else swapped(x)


def conjugated(x: Any) -> Any:
    return conj(x) if is_complex(x) else x


def row_minus_column(shape: Sequence[int]) -> Any:
    """i - j for each element of a matrix."""
    rows, columns = shape[-2:]
    return sub(iota(shape=(rows, columns), dtype=int32, axis=0),
               iota(shape=(rows, columns), dtype=int32, axis=1))


def upper(x: Any, k: int = 0) -> Any:
    """Zeros below the k-th diagonal."""
    return select(le(row_minus_column(shape_of(x)), -k), x, zero_like(x))


def lower(x: Any, k: int = 0) -> Any:
    """Zeros above the k-th diagonal."""
    return select(le(row_minus_column(shape_of(x)), -k - 1), zero_like(x), x)


def on_diagonal(shape: Sequence[int]) -> Any:
    return eq(row_minus_column(shape), 0)


def diagonal_of(x: Any) -> Any:
    """The diagonals of square matrices."""
    n = shape_of(x)[-1]
    rank = len(shape_of(x))
    if n == 0:
        return reduce_sum(x, axes=(rank - 1,))
    return slice_axis(merge_axes(x, rank - 2), rank - 2, 0, n * n, n + 1)


def as_column(x: Any) -> Any:
    """(..., n) -> (..., n, 1): factors of rows."""
    return reshape(x, shape=(*shape_of(x), 1))


def as_row(x: Any) -> Any:
    """(..., n) -> (..., 1, n): factors of columns."""
    return reshape(x, shape=(*shape_of(x)[:-1], 1, shape_of(x)[-1]))


def identity_like(x: Any, n: int | None = None) -> Any:
    """Identity matrices of x's dtype, one for each matrix of x."""
    shape = shape_of(x)
    n = shape[-1] if n is None else n
    eye = convert(on_diagonal((n, n)), dtype=dtype_of(x))
    return broadcast_to(eye, shape=(*shape[:-2], n, n))


def hermitian_of_lower(t: Any) -> Any:
    """The Hermitian matrix whose lower triangle this is: what kernels that read it see."""
    below = lower(t, -1)
    diagonal = select(on_diagonal(shape_of(t)), t, zero_like(t))
    if is_complex(t):
        diagonal = convert(real(diagonal), dtype=dtype_of(t))
    return add(add(below, adjoint(below)), diagonal)


def inverse_gaps(x: Any, dtype: Any) -> Any:
    """1 / (x[j] - x[i]) as a matrix of a dtype; 0 where the two are equal."""
    gap = sub(as_row(x), as_column(x))
    equal = eq(gap, zero_like(gap))
    inverse = select(equal, zero_like(gap), div(1.0, select(equal, 1.0, gap)))
    return inverse if dtype_of(inverse) == dtype else convert(inverse, dtype=dtype)


def lanes(x: Any, size: int) -> Any:
    """An operand without a batch axis, given one."""
    return broadcast_to(x, shape=(size, *shape_of(x)))


class Matrix(Primitive):
    """A function of each matrix of a batch by itself."""

    factor = 2.0  # floating point operations: this times rows * columns * min(rows, columns)

    def batch(self, size: int, batched: Any, x: Any, **params: Any) -> Any:
        return self(x, **params)

    def rows(self, axes: Any, types: Any, **_: Any) -> Any:
        a = axes[0]
        together = a is not None and len(set(axes)) == 1
        return a if together and a < len(types[0].shape) - 2 else None

    def flops(self, types: Sequence[ArrayType], outs: Any, **_: Any) -> int:
        return int(self.factor * types[0].size * min(types[0].shape[-2:]))
