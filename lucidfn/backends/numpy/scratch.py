"""Memory a thread keeps from one kernel call to the next, so that it is not faulted in again."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

__all__ = ["bordered", "flat"]

# A thread that has more bytes than this lets go of all of them.
_KEPT = 2**25


class _Arrays(threading.local):
    def __init__(self) -> None:
        self.found: dict[Any, np.ndarray] = {}
        self.size = 0

    def new(self, key: Any, make: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        old = self.found.pop(key, None)
        self.size -= 0 if old is None else old.nbytes
        size = math.prod(shape) * dtype.itemsize
        if self.size + size > _KEPT:
            self.found.clear()
            self.size = 0
        x = make(shape, dtype)
        if size <= _KEPT:
            self.found[key] = x
            self.size += size
        return x


_arrays = _Arrays()


def flat(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of this thread with any content; overwritten by the next request of that name."""
    size = math.prod(shape)
    x = _arrays.found.get((name, dtype))
    if x is None or x.size < size:
        x = _arrays.new((name, dtype), np.empty, (size,), dtype)
    return x[:size].reshape(shape)


def bordered(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of this thread, zero when made. `key` must say which elements are ever written:
    all requests of one key write all of these, and the others stay zero."""
    x = _arrays.found.get((key, shape, dtype))
    return _arrays.new((key, shape, dtype), np.zeros, shape, dtype) if x is None else x
