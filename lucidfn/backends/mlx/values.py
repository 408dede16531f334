"""The arrays of MLX devices as the library sees them: raw values with NumPy's names for dtypes.

An `mx.array` knows neither its device (that is the stream it is computed on) nor random keys, and
its dtype is MLX's own. An `MlxArray` knows all three; there is one subclass for each device, so
that the one registry, from types to backends, tells devices apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lucidfn.backends.mlx import MlxBackend


class MlxArray:
    """An array on an MLX device; computed when it is needed, or when enough has piled up."""

    __slots__ = ("data", "shape", "dtype", "__weakref__")
    __array_ufunc__ = None  # NumPy's operators leave these arrays to ours
    backend: MlxBackend  # of the subclass

    def __init__(self, data: Any, shape: tuple[int, ...], dtype: np.dtype):
        self.data, self.shape, self.dtype = data, shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def device(self) -> str:
        return self.backend.device

    def copy(self) -> MlxArray:
        """Itself under another identity: MLX never overwrites what somebody holds."""
        return type(self)(self.data, self.shape, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The value on the host, once it is computed; read-only."""
        value = self.backend.to_host(self)
        if dtype is not None and value.dtype != dtype:
            return value.astype(dtype)
        return value.copy() if copy else value

    def item(self, *args: int) -> Any:
        return self.__array__().item(*args)

    def tolist(self) -> Any:
        return self.__array__().tolist()

    def __int__(self) -> int:
        return int(self.__array__())

    def __float__(self) -> float:
        return float(self.__array__())

    def __bool__(self) -> bool:
        return bool(self.__array__())

    def __index__(self) -> int:
        return self.__array__().__index__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dtype.name}{list(self.shape)} on {self.device!r})"
