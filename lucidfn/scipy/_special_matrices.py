"""Matrices of a special form, built from their elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, promote, to_dtype, wrap
from lucidfn.core.trace import type_of
from lucidfn.errors import ShapeError
from lucidfn.types import as_dtype, default_dtype_of, float_type_for


def block_diag(*arrs: Any) -> Any:
    """Matrices along the diagonal of a larger one; vectors are rows, numbers 1 by 1."""
    if not arrs:
        return wrap(ops.zeros((1, 0), default_dtype_of(float)))
    raws, _ = promote(*arrs)
    dtype = next((r.dtype for r in raws if hasattr(r, "dtype")), None)
    raws = [as_raw(r, dtype) for r in raws]
    if any(r.ndim > 2 for r in raws):
        raise ShapeError("block_diag takes matrices, got "
                         f"{', '.join(str(type_of(r)) for r in raws)}")
    raws = [ops.reshape(r, shape=((1,) * (2 - r.ndim) + tuple(r.shape))) for r in raws]
    width, at, rows = sum(r.shape[1] for r in raws), 0, []
    for r in raws:
        right = width - at - r.shape[1]
        rows.append(ops.pad(r, ops.zero_like(r), widths=((0, 0, 0), (at, right, 0))))
        at += r.shape[1]
    return wrap(ops.concatenate(*rows, axis=0))


def toeplitz(c: Any, r: Any = None) -> Any:
    """Constant diagonals: first column c, first row r (conj(c) if not given; r[0] is ignored)."""
    first = as_raw(c)
    if r is None:
        x = first
        y = ops.conj(first) if first.dtype.kind == "c" else first
    else:
        (x, y), _ = promote(c, r)
        x, y = as_raw(x), as_raw(y)
    x, y = _line(wrap(x), "toeplitz"), _line(wrap(y), "toeplitz")
    rows, columns = x.shape[0], y.shape[0]
    if not rows or not columns:
        return wrap(ops.zeros((rows, columns), x.dtype))
    # The last element of the column comes first, so that i - j counts from its own place.
    line = ops.concatenate(ops.flip(x, axes=(0,)), ops.slice_axis(y, 0, 1, columns), axis=0)
    return _placed(line, rows - 1 - np.arange(rows)[:, None] + np.arange(columns))


def hilbert(n: int) -> Any:
    """The n by n matrix 1 / (i + j + 1)."""
    i = np.arange(n)
    return wrap((1.0 / (i[:, None] + i + 1)).astype(default_dtype_of(float)))


def pascal(n: int, kind: str = "symmetric") -> Any:
    """Binomial coefficients as an n by n matrix: "symmetric", "lower" or "upper"."""
    if kind not in ("symmetric", "lower", "upper"):
        raise ValueError(f"pascal: kind is 'symmetric', 'lower' or 'upper', got {kind!r}")
    low = np.array([[math.comb(i, j) for j in range(n)] for i in range(n)], np.float64)
    low = low.reshape(n, n)
    out = {"lower": low, "upper": low.T, "symmetric": low @ low.T}[kind]
    return wrap(out.astype(default_dtype_of(float)))


def _line(x: Any, name: str) -> Any:
    raw = as_raw(x)
    raw = ops.reshape(raw, shape=(1,)) if raw.ndim == 0 else raw
    if raw.ndim != 1:
        raise ShapeError(f"{name} takes 1-d arrays, got {type_of(raw)}")
    return raw


def _placed(line: Any, index: np.ndarray) -> Any:
    """line[index] for an array of places."""
    return wrap(ops.gather(line, index[..., None].astype(np.int32), axes=(0,), mode="unchecked",
                           fill=ops.zero_like(line)))


def circulant(c: Any) -> Any:
    """Column j is c moved down by j places, around the end."""
    line = _line(c, "circulant")
    i = np.arange(line.shape[0])
    return _placed(line, (i[:, None] - i) % max(len(i), 1))


def hankel(c: Any, r: Any = None) -> Any:
    """Constant anti-diagonals: first column c, last row r (zeros if not given; r[0] is ignored)."""
    if r is None:
        x = _line(c, "hankel")
        y = ops.zeros((x.shape[0],), x.dtype)
    else:
        (x, y), _ = promote(c, r)
        x, y = _line(wrap(x), "hankel"), _line(wrap(y), "hankel")
    rows, columns = x.shape[0], y.shape[0]
    line = ops.concatenate(x, ops.slice_axis(y, 0, min(1, columns), columns), axis=0)
    return _placed(line, np.arange(rows)[:, None] + np.arange(columns))


def companion(a: Any) -> Any:
    """The matrix whose characteristic polynomial has the coefficients a, highest power first."""
    line = _line(a, "companion")
    line = to_dtype(line, float_type_for(line.dtype))
    n = line.shape[0]
    if n < 2:
        raise ShapeError(f"companion needs two coefficients, got {type_of(line)}")
    top = ops.neg(ops.div(ops.slice_axis(line, 0, 1, n), ops.slice_axis(line, 0, 0, 1)))
    below = np.eye(n - 2, n - 1).astype(line.dtype)
    return wrap(ops.concatenate(ops.reshape(top, shape=(1, n - 1)), below, axis=0))


def hadamard(n: int, dtype: Any = int) -> Any:
    """The n by n matrix of +1 and -1 with orthogonal rows (Sylvester's); n is a power of 2."""
    if n < 1 or n & (n - 1):
        raise ValueError(f"hadamard: n must be a power of 2, got {n}")
    out = np.ones((1, 1))
    while len(out) < n:
        out = np.block([[out, out], [out, -out]])
    return wrap(out.astype(as_dtype(dtype)))


__all__ = ["block_diag", "circulant", "companion", "hadamard", "hankel", "hilbert", "pascal",
           "toeplitz"]
