"""The general product of two arrays: sums over paired axes, with batch axes carried along.

Each combination of ranks, dtype and axes is planned once: the plan is a closure that brings both
operands into matrix form (transposed views wherever BLAS takes them) and multiplies.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from .blas import add_product
from .precision import HALVES, SINGLE

Axes = tuple[int, ...]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
View = Callable[[np.ndarray], np.ndarray]

# Below this many multiplications the plain integer loop wins over the detour through float64.
_SMALL_INTEGER_PRODUCT = 20_000
_EXACT_IN_DOUBLE = 2.0**53
# Terms that are added one after another.
_TERMS = 2048


def dot_general(
    x: np.ndarray,
    y: np.ndarray,
    *,
    contract: tuple[Axes, Axes],
    batch: tuple[Axes, Axes],
) -> np.ndarray:
    """Sum over the contracted axes: out[batch, free_x, free_y].

    `contract` and `batch` are pairs (axes of x, axes of y) of equal length.

    >>> dot_general(np.ones((2, 3)), np.ones((3, 4)), contract=((1,), (0,)), batch=((), ())).shape
    (2, 4)
    """
    if contract[0] and x.dtype.kind == "f" and all(x.shape[a] == 1 for a in contract[0]):
        return _outer_plan(x.ndim - len(contract[0]), y.ndim - len(contract[1]), tuple(
            _places(own, taken) for own, taken in zip(batch, contract, strict=True)))(
                x.squeeze(contract[0]), y.squeeze(contract[1]))
    return _plan(x.ndim, y.ndim, x.dtype, contract, batch)(x, y)


def _places(axes: Axes, gone: Axes) -> Axes:
    """Where axes are when others are gone."""
    return tuple(a - sum(b < a for b in gone) for a in axes)


@functools.cache
def _plan(
    x_rank: int, y_rank: int, dtype: np.dtype, contract: tuple[Axes, Axes], batch: tuple[Axes, Axes]
) -> Product:
    if dtype in HALVES:
        single = _plan(x_rank, y_rank, SINGLE, contract, batch)
        return lambda x, y: single(x.astype(SINGLE), y.astype(SINGLE)).astype(dtype)
    if not contract[0]:
        return _outer_plan(x_rank, y_rank, batch)
    if batch[0]:
        return _batched_plan(x_rank, y_rank, dtype, contract, batch)
    return _matrix_plan(x_rank, y_rank, dtype, contract)


def _free(rank: int, *used: Axes) -> Axes:
    taken = {axis for axes in used for axis in axes}
    return tuple(axis for axis in range(rank) if axis not in taken)


def _pairs_in_order(contract: tuple[Axes, Axes]) -> tuple[Axes, Axes]:
    # Contracted axes in the order of x's memory: x then needs no copy to become a matrix.
    pairs = sorted(zip(*contract, strict=True))
    return tuple(i for i, _ in pairs), tuple(j for _, j in pairs)


def _outer_plan(x_rank: int, y_rank: int, batch: tuple[Axes, Axes]) -> Product:
    x_order = batch[0] + _free(x_rank, batch[0])
    y_order = batch[1] + _free(y_rank, batch[1])
    shared = len(batch[0])
    x_tail = (None,) * (y_rank - shared)
    y_index = (slice(None),) * shared + (None,) * (x_rank - shared) + (...,)

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x = x.transpose(x_order)[(..., *x_tail)]
        return np.asarray(np.multiply(x, y.transpose(y_order)[y_index]))

    return run


def _matrix_plan(x_rank: int, y_rank: int, dtype: np.dtype, contract: tuple[Axes, Axes]) -> Product:
    exact = dtype.kind in "biu"
    dot = integer_product(np.ndarray.dot) if exact else np.ndarray.dot
    if len(contract[0]) == 1 and x_rank <= 2 and y_rank <= 2:
        return _small_plan(x_rank, y_rank, dot, contract[0][0], contract[1][0], exact)

    x_axes, y_axes = _pairs_in_order(contract)
    x_free, y_free = _free(x_rank, x_axes), _free(y_rank, y_axes)
    left, right = _both_matrices(x_rank, y_rank, contract)

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        free = tuple([x.shape[i] for i in x_free]) + tuple([y.shape[i] for i in y_free])
        return dot(left(x), right(y)).reshape(free)

    return run


def _matrix(rank: int, rows: Axes, columns: Axes) -> View:
    """How to see an array as a matrix with these axes as rows and columns. Where its memory has the
    columns first it is the transpose of a matrix, which BLAS takes as it is: no copy."""
    order = rows + columns
    turned = columns + rows == tuple(range(rank)) and order != tuple(range(rank))
    stays = order == tuple(range(rank))
    shape = lambda x, axes: math.prod([x.shape[i] for i in axes])
    if turned:
        return lambda x: x.reshape(shape(x, columns), shape(x, rows)).T
    if stays:
        return lambda x: x.reshape(shape(x, rows), shape(x, columns))
    return lambda x: x.transpose(order).reshape(shape(x, rows), shape(x, columns))


def add_dot(
    total: np.ndarray | None, x: np.ndarray, y: np.ndarray, *, contract: tuple[Axes, Axes]
) -> np.ndarray:
    """The product without batch axes, added to `total` in place; a new array if that is None."""
    if total is None or not contract[0] or not total.flags.c_contiguous:
        part = dot_general(x, y, contract=contract, batch=((), ()))
        return part if total is None else np.add(total, part, out=total)
    left, right = _both_matrices(x.ndim, y.ndim, contract)
    x, y = left(x), right(y)
    add_product(total.reshape(len(x), y.shape[1]), x, y)
    return total


@functools.cache
def _both_matrices(x_rank: int, y_rank: int, contract: tuple[Axes, Axes]) -> tuple[View, View]:
    """How to see both operands as matrices whose plain product is wanted."""
    x_axes, y_axes = _pairs_in_order(contract)
    return (_matrix(x_rank, _free(x_rank, x_axes), x_axes),
            _matrix(y_rank, y_axes, _free(y_rank, y_axes)))


def _small_plan(
    x_rank: int, y_rank: int, dot: Product, x_axis: int, y_axis: int, exact: bool
) -> Product:
    # Matrices and vectors, the everyday cases: nothing but views around one call.
    if x_rank == y_rank == 1:
        return lambda x, y: np.asarray(dot(x, y))
    turn_x = x_rank == 2 and x_axis == 0
    turn_y = y_rank == 2 and y_axis == 1
    if turn_x and turn_y:
        return lambda x, y: dot(x.T, y.T)
    if turn_x:
        return lambda x, y: dot(x.T, y)
    if turn_y:
        return lambda x, y: dot(x, y.T)
    # The method call is a little cheaper than the unbound method.
    return dot if exact else lambda x, y: x.dot(y)


def _batched_plan(
    x_rank: int, y_rank: int, dtype: np.dtype, contract: tuple[Axes, Axes], batch: tuple[Axes, Axes]
) -> Product:
    matmul = integer_product(np.matmul) if dtype.kind in "biu" else np.matmul
    x_axes, y_axes = _pairs_in_order(contract)
    x_free = _free(x_rank, batch[0], x_axes)
    y_free = _free(y_rank, batch[1], y_axes)
    x_order = batch[0] + x_free + x_axes
    y_order = batch[1] + y_axes + y_free
    shared, inner = len(batch[0]), len(x_axes)
    rows_end = shared + len(x_free)
    # One row axis, one contracted axis, one column axis: matmul takes the views as they are.
    plain = inner == len(x_free) == len(y_free) == 1
    columns_of = dtype.kind in "fc" and _columns_plan(x_rank, y_rank, x_axes, y_axes, batch)

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if columns_of and x.size and x.strides[-1] == y.strides[-1] == x.itemsize:
            return columns_of(x, y)
        x = x.transpose(x_order)
        y = y.transpose(y_order)
        if plain:
            return matmul(_for_blas(x), _for_blas(y))
        lead, rows, columns = x.shape[:shared], x.shape[shared:rows_end], y.shape[shared + inner :]
        size = math.prod(x.shape[rows_end:])
        x = x.reshape((*lead, math.prod(rows), size))
        y = y.reshape((*lead, size, math.prod(columns)))
        return matmul(_for_blas(x), _for_blas(y)).reshape(lead + rows + columns)

    return run


def _columns_plan(
    x_rank: int, y_rank: int, x_axes: Axes, y_axes: Axes, batch: tuple[Axes, Axes]
) -> Product | None:
    """Products of columns, where all that stays is batch and lies last: no matrices for BLAS."""
    lead = x_rank - len(batch[0])
    last = tuple(range(lead, x_rank))
    if x_rank != y_rank or batch != (last, last) or len(x_axes) != lead or x_axes != y_axes:
        return None
    every = [*range(x_rank)]

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # The last of the axes is summed at the end: long inner loops, and less rounding.
        kept = lead - 1 if lead > 1 and x.shape[lead - 1] <= _TERMS else lead
        terms = math.prod(x.shape[:kept])
        rows = max(1, len(x) * _TERMS // max(1, terms))
        parts = [
            np.einsum(x[i : i + rows], every, y[i : i + rows], every, every[kept:])
            for i in range(0, len(x), rows)
        ]
        total = np.add.reduce(parts) if len(parts) > 1 else np.asarray(parts[0])
        return np.add.reduce(total) if kept < lead else total

    return run


def _for_blas(x: np.ndarray) -> np.ndarray:
    # matmul leaves BLAS (or copies matrix by matrix) where neither axis of a matrix is dense.
    *_, down, across = x.strides
    if down == x.itemsize or across == x.itemsize:
        return x
    return np.ascontiguousarray(x)


def integer_product(multiply: Product) -> Product:
    """NumPy's integer products are plain loops; where float64 is exact its GEMM is used."""

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        inner = x.shape[-1]
        size = x.size if y.ndim == 1 else x.size * y.shape[-1]
        if x.dtype.kind == "b" or size < _SMALL_INTEGER_PRODUCT:
            return multiply(x, y)
        if inner * _magnitude(x) * _magnitude(y) > _EXACT_IN_DOUBLE:
            return multiply(x, y)
        total = multiply(x.astype(np.float64), y.astype(np.float64))
        # Through int64, whose conversion to fewer bits wraps as integer arithmetic does.
        return np.asarray(total).astype(np.int64).astype(x.dtype)

    return run


def _magnitude(x: np.ndarray) -> float:
    return max(float(x.max()), -float(x.min()))
