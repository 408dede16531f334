"""Which pixels, with which weights, make a pixel of a resized axis: tables in NumPy, made once."""

from __future__ import annotations

import functools

import numpy as np

from lucidfn.ops import Taps

# Modes and the numbers of spatial axes they are for.
MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,),
         "trilinear": (3,), "bicubic": (2,), "area": (1, 2, 3)}


@functools.lru_cache(256)
def taps_of(mode: str, n: int, m: int, factor: float | None, align_corners: bool,
            antialias: bool) -> Taps:
    """The taps of an axis of n pixels resized to m by a mode of `interpolate`."""
    if mode.startswith("nearest"):
        return nearest(n, m, factor, 0.5 if mode == "nearest-exact" else 0.0)
    if mode == "area":
        start = np.arange(m) * n // m
        stop = -(np.arange(1, m + 1) * n // -m)
        return window(n, start, stop, np.ones((m, int((stop - start).max()))))
    if n == m and (mode.endswith("linear") or antialias):
        return Taps(n, np.arange(n, dtype="int32")[:, None])  # copied, as in PyTorch
    scale = n / m if not factor else 1.0 / factor
    if align_corners:
        scale = (n - 1) / (m - 1) if m > 1 else 0.0
    if antialias:
        return filtered(n, m, scale, mode == "bicubic")
    at = np.arange(m) * scale if align_corners else (np.arange(m) + 0.5) * scale - 0.5
    return cubic(at, n) if mode == "bicubic" else linear(at, n)


def nearest(n: int, m: int, factor: float | None, shift: float) -> Taps:
    if not shift and m in (n, 2 * n):
        # Then the factor is not looked at: so do PyTorch's kernels for images (those for one and
        # three axes differ among themselves, by the layout of memory).
        factor = None
    # In single precision, as PyTorch: elsewhere, rounding would take other pixels here and there.
    scale = np.float32(1.0 / factor) if factor else np.float32(n) / np.float32(m)
    at = (np.arange(m, dtype="float32") + np.float32(shift)) * scale
    return Taps(n, np.minimum(at.astype("int32"), n - 1)[:, None])


def linear(at: np.ndarray, n: int) -> Taps:
    at = np.clip(at, 0.0, n - 1.0)
    first = np.floor(at).astype("int32")
    t = at - first
    return Taps(n, np.stack([first, np.minimum(first + 1, n - 1)], 1), np.stack([1.0 - t, t], 1))


def cubic(at: np.ndarray, n: int) -> Taps:
    first = np.floor(at).astype("int32")
    offsets = np.arange(-1, 3)
    indices = np.clip(first[:, None] + offsets, 0, n - 1).astype("int32")
    distance = np.abs((at - first)[:, None] - offsets)
    return Taps(n, indices, keys(distance, -0.75))


def keys(d: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic kernel at a distance d (1981, "Cubic convolution interpolation")."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def filtered(n: int, m: int, scale: float, is_cubic: bool) -> Taps:
    """Filters as wide as the pixels that shrink into one, normalised at the borders."""
    widen = max(scale, 1.0)
    support = (2.0 if is_cubic else 1.0) * widen
    centre = (np.arange(m) + 0.5) * scale
    start = np.maximum((centre - support + 0.5).astype("int64"), 0)
    stop = np.minimum((centre + support + 0.5).astype("int64"), n)
    at = start[:, None] + np.arange(int((stop - start).max()))
    d = np.abs(at - centre[:, None] + 0.5) / widen
    # Pillow's cubic, a = -0.5, not that of the plain mode.
    return window(n, start, stop, keys(d, -0.5) if is_cubic else np.maximum(1.0 - d, 0.0))


def window(n: int, start: np.ndarray, stop: np.ndarray, weights: np.ndarray) -> Taps:
    """Taps from start to stop with weights that are scaled to the sum 1."""
    at = start[:, None] + np.arange(weights.shape[1])
    weights = np.where(at < stop[:, None], weights, 0.0)
    indices = np.minimum(at, stop[:, None] - 1).astype("int32")
    return Taps(n, indices, weights / weights.sum(1, keepdims=True))


__all__ = ["MODES", "taps_of"]
