"""Coordinates of grids, functions of them, and windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, as_raw, constant, place, wrap
from lucidfn.numpy.creation import _number, shape_tuple, static_int, zeros
from lucidfn.types import as_dtype, default_dtype_of, is_inexact


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> list[Any]:
    """Coordinate arrays of a grid, one for each vector; "xy" swaps the first two axes."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"lnp.meshgrid: indexing is 'xy' or 'ij', got {indexing!r}")
    raws = [as_raw(x) for x in xi]
    for raw in raws:
        if len(raw.shape) > 1:
            raise ValueError(f"lnp.meshgrid takes vectors, got shape {raw.shape}")
    places = list(range(len(raws)))
    if indexing == "xy" and len(raws) > 1:
        places[:2] = 1, 0
    sizes = [1] * len(raws)
    for raw, spot in zip(raws, places, strict=True):
        sizes[spot] = math.prod(raw.shape)
    out = []
    for raw, spot in zip(raws, places, strict=True):
        own = tuple([n if i == spot else 1 for i, n in enumerate(sizes)])
        raw = ops.reshape(raw, shape=own)
        out.append(wrap(raw if sparse else ops.broadcast_to(raw, shape=tuple(sizes))))
    return out


def indices(dimensions: Any, dtype: Any = None, sparse: bool = False, *,
            device: Any = None) -> Any:
    """The index of every element of a shape, along each axis: stacked, or a tuple if sparse."""
    sizes = shape_tuple(dimensions, "indices")
    target = default_dtype_of(int) if dtype is None else as_dtype(dtype)
    rank = len(sizes)
    if sparse:
        own = [tuple([n if i == k else 1 for i, n in enumerate(sizes)]) for k in range(rank)]
        return tuple([constant(ops.iota, device, shape=s, dtype=target, axis=k)
                      for k, s in enumerate(own)])
    if not rank:
        return zeros((0,), target, device=device)
    each = [ops.iota(shape=(1, *sizes), dtype=target, axis=k + 1) for k in range(rank)]
    return place(wrap(ops.concatenate(*each, axis=0)), device)


class _Grid:
    """`mgrid[0:3, 0:1:5j]` (dense) and `ogrid` (sparse): coordinate arrays by slicing."""

    def __init__(self, name: str, function: Any):
        self._name, self._function = name, function

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        plain = tuple([slice(*[None if b is None else _number(b, f"lnp.{self._name}")
                               for b in (p.start, p.stop, p.step)]) for p in parts])
        out = self._function[plain if isinstance(key, tuple) else plain[0]]
        if isinstance(out, tuple):
            return tuple([place(Array(_default_width(o))) for o in out])
        return place(Array(_default_width(out)))

    def __repr__(self) -> str:
        return f"lnp.{self._name}"


def _default_width(x: np.ndarray) -> np.ndarray:
    return x.astype(default_dtype_of(float if is_inexact(x.dtype) else int))


mgrid, ogrid = _Grid("mgrid", np.mgrid), _Grid("ogrid", np.ogrid)


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float,
                 **options: Any) -> Any:
    """`function` of the index arrays of a shape."""
    return function(*indices(shape_tuple(shape, "fromfunction"), dtype=dtype), **options)


# ------------------------------------------------------------------ windows

def _window(function: Callable[..., np.ndarray], M: int, *args: Any) -> Any:
    m = static_int(M, f"lnp.{function.__name__}")
    return place(Array(function(m, *args).astype(default_dtype_of(float))))


def bartlett(M: int) -> Any:
    """The triangular window of M points, zero at both ends."""
    return _window(np.bartlett, M)


def blackman(M: int) -> Any:
    """The Blackman window of M points."""
    return _window(np.blackman, M)


def hamming(M: int) -> Any:
    """The Hamming window of M points."""
    return _window(np.hamming, M)


def hanning(M: int) -> Any:
    """The Hann window of M points."""
    return _window(np.hanning, M)


def kaiser(M: int, beta: Any) -> Any:
    """The Kaiser window of M points with shape parameter beta."""
    return _window(np.kaiser, M, _number(beta, "lnp.kaiser"))


__all__ = [
    "bartlett", "blackman", "fromfunction", "hamming", "hanning", "indices", "kaiser", "meshgrid",
    "mgrid", "ogrid",
]
