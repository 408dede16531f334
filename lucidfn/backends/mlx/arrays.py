"""MLX arrays and NumPy's: dtypes of both, copies from one to the other, random keys on a device.

MLX has no structured dtype, so an array of keys is a `Keys`: its 64-bit words and its generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.types import SCALARS, bfloat16, dtype_name, is_key

_NAMES = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
          "float16", "float32", "float64", "complex64")
MX_DTYPES: dict[np.dtype, mx.Dtype] = {
    bfloat16: mx.bfloat16,
    **{np.dtype(n): getattr(mx, "bool_" if n == "bool" else n) for n in _NAMES}}
NP_DTYPES: dict[mx.Dtype, np.dtype] = {theirs: ours for ours, theirs in MX_DTYPES.items()}


def mx_dtype(dtype: np.dtype) -> mx.Dtype:
    """MLX's dtype of this name; TypeError for complex128, which MLX does not have."""
    found = MX_DTYPES.get(dtype)
    if found is None:
        raise TypeError(f"MLX has no {dtype_name(dtype)} arrays; use complex64 (x.astype("
                        "'complex64')), or compute on the device 'cpu', which is NumPy")
    return found


class Keys:
    """An array of random keys on an MLX device: `bits` holds each key as one uint64."""

    __slots__ = ("bits", "dtype")

    def __init__(self, bits: mx.array, dtype: np.dtype):
        self.bits, self.dtype = bits, dtype

    shape = property(lambda self: tuple(self.bits.shape))
    ndim = property(lambda self: self.bits.ndim)
    size = property(lambda self: self.bits.size)
    nbytes = property(lambda self: self.bits.nbytes)

    def __repr__(self) -> str:
        return f"Keys({dtype_name(self.dtype)}{list(self.shape)})"


def from_numpy(x: Any) -> Any:
    """An ndarray, NumPy scalar or Python scalar as an MLX array of the same dtype (or `Keys`)."""
    x = np.asarray(x)
    if is_key(x.dtype):
        return Keys(mx.array(np.ascontiguousarray(x).view(np.uint64).reshape(x.shape),
                             dtype=mx.uint64), x.dtype)
    if any(step < 0 for step in x.strides):  # MLX reads no memory backwards
        x = x.copy()
    # The dtype is named: on its own MLX makes float32 of float64.
    return mx.array(x, dtype=mx_dtype(x.dtype))


def to_numpy(x: Any) -> np.ndarray:
    """A NumPy copy, once the value has been computed."""
    if type(x) is Keys:
        return np.array(x.bits).view(x.dtype).reshape(x.shape)
    if x.dtype == mx.bfloat16:
        return np.array(x.view(mx.uint16)).view(bfloat16)
    return np.array(x)


def np_dtype(x: Any) -> np.dtype:
    """The NumPy dtype of an MLX array or of keys."""
    return x.dtype if type(x) is Keys else NP_DTYPES[x.dtype]


def scalar(value: Any, dtype: mx.Dtype) -> mx.array:
    """A Python number as an array of a dtype."""
    if dtype == mx.uint64:  # MLX reads no Python integer above the signed ones
        return mx.array(np.uint64(value))
    return mx.array(value, dtype)


def same_dtype(*args: Any) -> list[mx.array]:
    """The operands as arrays; a Python scalar takes the dtype of its neighbours."""
    dtype = next(a.dtype for a in args if type(a) not in SCALARS)
    return [scalar(a, dtype) if type(a) in SCALARS else a for a in args]


def with_keys(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that moves elements without computing, for keys as well."""
    def run(*args: Any, **params: Any) -> Any:
        for a in args:
            if type(a) is Keys:
                dtype = a.dtype
                break
        else:
            return kernel(*args, **params)
        out = kernel(*[a.bits if type(a) is Keys else a for a in args], **params)
        return [Keys(o, dtype) for o in out] if isinstance(out, list) else Keys(out, dtype)

    run.without_keys = kernel  # type: ignore[attr-defined]
    return run


def with_bits(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A comparison, which keys take by their bits."""
    def run(x: Any, y: Any) -> mx.array:
        return kernel(*[a.bits if type(a) is Keys else a for a in (x, y)])

    run.without_keys = kernel  # type: ignore[attr-defined]
    return run
