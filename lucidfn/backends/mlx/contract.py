"""The general product of two arrays as a batched matrix product.

MLX multiplies no integer matrices: for those the products are written out and summed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucidfn.backends.mlx.elementwise import HALVES, INTEGERS

Axes = tuple[int, ...]

# Products of integers that lie in memory at a time.
_BLOCK = 2**24


class Plan(NamedTuple):
    """How operands become matrices [batch, rows, inner] and [batch, inner, columns]."""

    x_order: Axes | None  # None: as they are
    y_order: Axes | None
    shared: int
    free_x: int
    free_y: int


@functools.cache
def _plan(x_rank: int, y_rank: int, contract: tuple[Axes, Axes],
          batch: tuple[Axes, Axes]) -> Plan:
    pairs = sorted(zip(*contract, strict=True))  # in the order of x's memory
    inner_x, inner_y = tuple([i for i, _ in pairs]), tuple([j for _, j in pairs])
    free_x = tuple([i for i in range(x_rank) if i not in inner_x and i not in batch[0]])
    free_y = tuple([i for i in range(y_rank) if i not in inner_y and i not in batch[1]])
    x_order, y_order = (*batch[0], *free_x, *inner_x), (*batch[1], *inner_y, *free_y)
    return Plan(None if x_order == tuple(range(x_rank)) else x_order,
                None if y_order == tuple(range(y_rank)) else y_order,
                len(batch[0]), len(free_x), len(free_y))


def dot_general(x: mx.array, y: mx.array, *, contract: tuple[Axes, Axes],
                batch: tuple[Axes, Axes]) -> mx.array:
    """Sum over the contracted axes: out[batch, free_x, free_y]."""
    if x.ndim == y.ndim == 2 and contract == ((1,), (0,)):
        return matmul(x, y)
    left, right, shape = _matrices(x, y, contract, batch)
    if not math.prod(shape):
        return mx.zeros(shape, x.dtype)
    return matmul(left, right).reshape(shape)


def addmm(c: mx.array, x: mx.array, y: mx.array, *, contract: tuple[Axes, Axes],
          batch: tuple[Axes, Axes]) -> mx.array:
    """c + dot_general(x, y), for floats and sizes above 0; c has its shape, or that of free_y."""
    left, right, shape = _matrices(x, y, contract, batch)
    if c.ndim == len(shape):
        c = c.reshape(*left.shape[:-1], right.shape[-1])
    elif c.ndim > 1:
        c = c.reshape(-1)
    return _product_and_sum(c, left, right).reshape(shape)


def _matrices(x: mx.array, y: mx.array, contract: tuple[Axes, Axes], batch: tuple[Axes, Axes]
              ) -> tuple[mx.array, mx.array, Axes]:
    """The operands as matrices, batched alike, and the shape of their product."""
    plan = _plan(x.ndim, y.ndim, contract, batch)
    x = x if plan.x_order is None else x.transpose(plan.x_order)
    y = y if plan.y_order is None else y.transpose(plan.y_order)
    shared, inner_rank = plan.shared, y.ndim - plan.shared - plan.free_y
    lead, rows = x.shape[:shared], x.shape[shared : shared + plan.free_x]
    columns = y.shape[shared + inner_rank :]
    inner = math.prod(y.shape[shared : shared + inner_rank])
    count = (math.prod(lead),) if shared else ()
    return (x.reshape(*count, math.prod(rows), inner), y.reshape(*count, inner, math.prod(columns)),
            (*lead, *rows, *columns))


def single_on_cpu(product: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """A product of matrices. MLX's CPU sums halves as halves, so there they become float32."""
    def run(*args: mx.array, **params: Any) -> mx.array:
        dtype = args[0].dtype
        if dtype not in HALVES or mx.default_device() != mx.Device(mx.cpu):
            return product(*args, **params)
        wide = [a.astype(mx.float32) if a.dtype == dtype else a for a in args]
        return product(*wide, **params).astype(dtype)
    return run


_product, _product_and_sum = single_on_cpu(mx.matmul), single_on_cpu(mx.addmm)


def matmul(x: mx.array, y: mx.array) -> mx.array:
    """Products of matrices, batched alike; halves are summed in float32."""
    if x.dtype in INTEGERS or x.dtype == mx.bool_:
        return _integer_product(x, y)
    if not x.shape[-1]:
        return mx.zeros((*x.shape[:-1], y.shape[-1]), x.dtype)
    return _product(x, y)


def _integer_product(x: mx.array, y: mx.array) -> mx.array:
    dtype, inner = x.dtype, x.shape[-1]
    size = x.size * y.shape[-1]
    step = max(1, min(inner, _BLOCK * inner // max(size, 1)))
    if dtype == mx.bool_:
        x, y = x.astype(mx.int32), y.astype(mx.int32)
    out = mx.zeros((*x.shape[:-1], y.shape[-1]), x.dtype)
    for k in range(0, inner, step):
        part = x[..., k : k + step, None] * y[..., None, k : k + step, :]
        out = out + mx.sum(part, axis=-2).astype(x.dtype)
    return (out > 0) if dtype == mx.bool_ else out
