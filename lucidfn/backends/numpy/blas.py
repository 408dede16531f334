"""Products that accumulate, by the GEMM of NumPy's own OpenBLAS: `np.matmul` cannot ask for that.

Where that library, its routine or a suitable layout is missing, NumPy does the same in two steps.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from lucidfn.backends.numpy.libraries import AFFIXES, bundled, load

__all__ = ["add_product", "gemm_of", "matmul_add", "openblas", "product"]

_ROW_MAJOR, _PLAIN, _TURNED = 101, 111, 112
# Below so many multiplications NumPy's two calls cost less than finding the addresses.
_SMALL = 2**15


@cache
def openblas() -> tuple[ctypes.CDLL, str, str] | None:
    """The OpenBLAS that came with NumPy, if there is one, and what its names begin and end with."""
    for library in load(bundled(), ctypes.CDLL):
        for prefix, suffix in AFFIXES:
            if hasattr(library, f"{prefix}cblas_sgemm{suffix}"):
                return library, prefix, suffix
    return None


@cache
def _routines() -> dict[Any, Any]:
    """dtype -> its GEMM; empty where there is none that multiplies correctly."""
    found = openblas()
    if found is None:
        return {}
    library, prefix, suffix = found
    size = ctypes.c_int64 if "64" in suffix else ctypes.c_int
    flag, address = ctypes.c_int, ctypes.c_void_p
    routines = {}
    for letter, dtype, number in (("s", np.float32, ctypes.c_float),
                                  ("d", np.float64, ctypes.c_double)):
        gemm = getattr(library, f"{prefix}cblas_{letter}gemm{suffix}")
        gemm.argtypes = [flag, flag, flag, size, size, size, number, address, size, address, size,
                         number, address, size]
        gemm.restype = None
        routines[np.dtype(dtype)] = gemm
    return routines if all(_multiplies(gemm, dtype) for dtype, gemm in routines.items()) else {}


def gemm_of(dtype: np.dtype) -> Any:
    """cblas_sgemm or cblas_dgemm, to be called with addresses; None if it cannot be reached."""
    return _routines().get(dtype)


def _multiplies(gemm: Any, dtype: Any) -> bool:
    x, y = np.arange(6, dtype=dtype).reshape(2, 3), np.arange(12, dtype=dtype).reshape(3, 4)
    out = np.ones((2, 4), dtype)
    _call(gemm, x, (_PLAIN, 3), y, (_PLAIN, 4), out, 4, 1.0)
    return bool((out == x @ y + 1).all())


def add_product(total: np.ndarray | None, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """total + x @ y, in the memory of `total`; a new array if that is None."""
    return product(x, y) if total is None else matmul_add(x, y, total, False)


def product(x: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """x[m, k] @ y[k, n], in `out` if it is given."""
    return np.matmul(x, y) if out is None else matmul_add(x, y, out, True)


def matmul_add(x: np.ndarray, y: np.ndarray, out: np.ndarray, first: bool) -> np.ndarray:
    """out[m, n] = x[m, k] @ y[k, n] if first, else out + x @ y; out shares no memory with x, y."""
    gemm = gemm_of(out.dtype) if x.size * out.shape[1] >= _SMALL else None
    if gemm is not None and x.dtype == out.dtype == y.dtype and x.size and y.size:
        if out.strides[1] != out.itemsize and out.strides[0] == out.itemsize:
            return matmul_add(y.T, x.T, out.T, first).T
        a, b, c = _layout(x), _layout(y), _layout(out)
        if c[0] == _PLAIN and out.flags.behaved and x.flags.aligned and y.flags.aligned:
            if not a[0]:
                x, a = np.ascontiguousarray(x), (_PLAIN, x.shape[1])
            if not b[0]:
                y, b = np.ascontiguousarray(y), (_PLAIN, y.shape[1])
            _call(gemm, x, a, y, b, out, c[1], 0.0 if first else 1.0)
            return out
    return _in_two_steps(x, y, out, first)


def _layout(x: np.ndarray) -> tuple[int, int]:
    """How BLAS may read a matrix: as it is or turned (0: not at all), and the row stride."""
    (rows, columns), (down, across), size = x.shape, x.strides, x.itemsize
    if (across == size or columns == 1) and (rows == 1 or down >= columns * size):
        return (_PLAIN, columns if rows == 1 else down // size) if down % size == 0 else (0, 0)
    if (down == size or rows == 1) and (columns == 1 or across >= rows * size):
        return (_TURNED, rows if columns == 1 else across // size) if across % size == 0 else (0, 0)
    return 0, 0


def _call(gemm: Any, x: np.ndarray, a: tuple[int, int], y: np.ndarray, b: tuple[int, int],
          out: np.ndarray, row: int, beta: float) -> None:
    (m, n), k = out.shape, x.shape[1]
    gemm(_ROW_MAJOR, a[0], b[0], m, n, k, 1.0, x.ctypes.data, a[1], y.ctypes.data, b[1], beta,
         out.ctypes.data, row)


def _in_two_steps(x: np.ndarray, y: np.ndarray, out: np.ndarray, first: bool) -> np.ndarray:
    if first:
        return np.matmul(x, y, out=out)
    return np.add(out, np.matmul(x, y), out=out)
