"""Products of arrays: dot, dot_general, batch_matmul."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array, axes_of, keep_dtype, same_dtype
from lucidfn.types import as_dtype, bool_, int32, kind_of

DotDimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]],
                            tuple[Sequence[int], Sequence[int]]]


class Precision(enum.Enum):
    """Accepted where JAX accepts it; products here always have the precision of their dtype."""

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


PrecisionLike = None | str | Precision | tuple[str, str] | tuple[Precision, Precision]


def wider(raws: Sequence[Any], preferred: Any) -> tuple[list[Any], Any]:
    """Operands in the dtype to compute in, and the dtype of the result.

    A preferred dtype wider than the operands' is computed in; a narrower one is rounded to.
    """
    dtype = dtype_of(raws[0])
    if preferred is None:
        return list(raws), dtype
    out = as_dtype(preferred)
    if kind_of(out) < kind_of(dtype):
        raise TypeError(f"preferred_element_type {out} does not hold the product of {dtype} arrays")
    compute = out if out.itemsize > dtype.itemsize or kind_of(out) > kind_of(dtype) else dtype
    return [keep_dtype(r, compute) for r in raws], out


def dot_general(lhs: Any, rhs: Any, dimension_numbers: DotDimensionNumbers,
                precision: PrecisionLike = None, preferred_element_type: Any = None, *,
                out_sharding: None = None) -> Any:
    """The sum of products over contracted axes, for each element of the batch axes.

    dimension_numbers is ((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch)). The axes of
    the result are the batch axes, the free axes of lhs, the free axes of rhs.
    """
    raws, weak = same_dtype("dot_general", lhs, rhs)
    raws = [array(r) for r in raws]
    contract, batch = [
        tuple([axes_of(axes, len(shape_of(r)), "dot_general")
               for axes, r in zip(pair, raws, strict=True)]) for pair in dimension_numbers]
    if any(len(a) != len(b) for a, b in (contract, batch)):
        raise ShapeError(f"lax.dot_general got dimension_numbers {dimension_numbers}; each pair "
                         "must name as many axes of lhs as of rhs")
    raws, out = wider(raws, preferred_element_type)
    if dtype_of(raws[0]) == bool_:  # a product of booleans: whether any pair is both true
        raws = [ops.convert(r, dtype=int32) for r in raws]
    product = apply(ops.dot_general, *raws, contract=contract, batch=batch, weak=weak)
    return convert(product, out)


def convert(x: Any, dtype: Any) -> Any:
    """A result in the dtype that was asked for."""
    return x if x.dtype == dtype else wrap(ops.convert(array(x), dtype=dtype))


def dot(lhs: Any, rhs: Any, *, dimension_numbers: DotDimensionNumbers | None = None,
        precision: PrecisionLike = None, preferred_element_type: Any = None,
        out_sharding: None = None) -> Any:
    """The product of two vectors or matrices, or the `dot_general` of dimension_numbers.

    >>> from lucidfn import lax
    >>> int(lax.dot([1, 2, 3], [4, 5, 6]))
    32
    """
    x, y = array(lhs), array(rhs)
    if dimension_numbers is None:
        if not 1 <= len(shape_of(x)) <= 2 or not 1 <= len(shape_of(y)) <= 2:
            raise ShapeError(f"lax.dot got {type_of(x)} and {type_of(y)}; it takes vectors and "
                             "matrices, and other arrays with dimension_numbers")
        dimension_numbers = (((len(shape_of(x)) - 1,), (0,)), ((), ()))
    return dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: PrecisionLike = None) -> Any:
    """The matrix products over the last two axes of stacks of matrices of one shape."""
    x, y = array(lhs), array(rhs)
    rank = len(shape_of(x))
    if rank < 2 or rank != len(shape_of(y)):
        raise ShapeError(f"lax.batch_matmul got {type_of(x)} and {type_of(y)}; both must have the "
                         "same number of axes, at least 2")
    lead = tuple(range(rank - 2))
    return dot_general(lhs, rhs, (((rank - 1,), (rank - 2,)), (lead, lead)))
