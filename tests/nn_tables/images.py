"""Resizing, sampling and turning images."""

import warnings
from typing import Any

import numpy as np

from lucidfn import nn
from lucidfn.nn import functional

from .table import F, Fixed, FunctionCase, LayerCase, first, last

IMAGE = {1: (2, 5, 3), 2: (2, 5, 4, 2), 3: (1, 3, 4, 2, 2)}


def resized(shape: tuple[int, ...], mode: str, size: Any = None, scale: Any = None,
            **options: Any) -> FunctionCase:
    def theirs(T: Any, x: Any) -> Any:
        return last(T.nn.functional.interpolate(first(x), size, scale, mode, **options))

    text = " ".join(f"{k}={v}" for k, v in options.items())
    return FunctionCase(
        "interpolate", lambda x: functional.interpolate(x, size, scale, mode, **options),
        (F(*shape),), theirs, order=1, id=f"interpolate {shape[1:-1]} {mode} "
        f"{f'to {size}' if scale is None else f'by {scale}'} {text}".strip())


def places(*shape: int, reach: float = 1.4) -> Fixed:
    """Places in and around the image, off the kinks of all modes."""
    return Fixed(np.random.default_rng(8).uniform(-reach, reach, shape))


def sampled(shape: tuple[int, ...], places: Any, mode: str, padding: str,
            align_corners: bool) -> FunctionCase:
    def theirs(T: Any, x: Any, grid: Any) -> Any:
        return last(T.nn.functional.grid_sample(first(x), grid, mode, padding, align_corners))

    return FunctionCase(
        "grid_sample", lambda x, g: functional.grid_sample(x, g, mode, padding, align_corners),
        (F(*shape), places), theirs, order=1 if mode == "bicubic" else 2,
        id=f"grid_sample {len(shape) - 2}d {mode} {padding} align_corners={align_corners}")


def affine(shape: tuple[int, ...], align_corners: bool) -> FunctionCase:
    n, *space, c = shape
    rank = len(space)

    def theirs(T: Any, theta: Any) -> Any:
        with warnings.catch_warnings():  # about images of one pixel
            warnings.simplefilter("ignore")
            return T.nn.functional.affine_grid(theta, [n, c, *space], align_corners)

    return FunctionCase(
        "affine_grid", lambda theta: functional.affine_grid(theta, shape, align_corners),
        (F(n, rank, rank + 1),), theirs,
        id=f"affine_grid {shape} align_corners={align_corners}")


def turned(angle: float, center: Any, mode: str) -> FunctionCase:
    """Beside PyTorch's affine_grid: a turn of pixels by a matrix, written in its coordinates."""
    def theirs(T: Any, x: Any) -> Any:
        n, h, w, c = x.shape
        cx, cy = center or (w / 2, h / 2)
        a = np.deg2rad(angle)
        to_pixels = np.array([[w / 2, 0, w / 2 - cx], [0, h / 2, h / 2 - cy], [0, 0, 1]])
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        theta = T.tensor((np.linalg.inv(to_pixels) @ turn @ to_pixels)[:2], dtype=x.dtype)
        grid = T.nn.functional.affine_grid(theta.expand(n, 2, 3), [n, c, h, w], False)
        return last(T.nn.functional.grid_sample(first(x), grid, mode, "zeros", False))

    return FunctionCase("rotate", lambda x: functional.rotate(x, angle, center, mode),
                        (F(2, 5, 4, 2),), theirs, id=f"rotate {angle} {center} {mode}")


SIZES = {1: [8, 3, 5], 2: [(9, 7), (2, 3), (8, 3)], 3: [(5, 2, 3)]}
NAMES = {1: "linear", 2: "bilinear", 3: "trilinear"}

CASES = [
    *[resized(IMAGE[rank], mode, size) for rank in IMAGE for size in SIZES[rank]
      for mode in ("nearest", "nearest-exact", "area")],
    *[resized(IMAGE[rank], NAMES[rank], size, align_corners=corners) for rank in IMAGE
      for size in SIZES[rank] for corners in (False, True)],
    *[resized(IMAGE[2], "bicubic", size, align_corners=corners) for size in SIZES[2]
      for corners in (False, True)],
    *[resized((1, 7, 5, 2), mode, size, antialias=True, align_corners=corners)
      for mode in ("bilinear", "bicubic") for size, corners in [
          ((3, 2), False), ((9, 4), False), ((3, 8), True)]],
    *[resized(IMAGE[2], mode, scale=scale, antialias=True) for mode in ("bilinear", "bicubic")
      for scale in ((1.3, 0.6), (0.5, 2.2))],
    resized(IMAGE[1], "linear", scale=1.1), resized(IMAGE[3], "trilinear", scale=(1.2, 0.5, 2.0)),
    resized(IMAGE[3], "nearest", scale=(2.0, 0.5, 1.7)), resized(IMAGE[1], "nearest", scale=1.7),
    resized(IMAGE[2], "bilinear", (1, 1), align_corners=True),
    resized((1, 1, 1, 2), "bicubic", (3, 2)),
    *[resized(IMAGE[2], mode, scale=scale) for scale in (2, 0.6, (1.5, 2.3))
      for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")],
    resized(IMAGE[2], "bilinear", scale=1.7, recompute_scale_factor=True),
    resized(IMAGE[2], "bicubic", scale=(1.7, 0.6), align_corners=True),
    *[resized(IMAGE[2], mode, scale=scale)
      for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")
      for scale in ((1.1, 2.1), (0.9, 1.0), (2.15, 1.2))],

    *[sampled((2, 4, 5, 2), places(2, 3, 2, 2), mode, padding, corners)
      for mode in ("bilinear", "nearest", "bicubic")
      for padding in ("zeros", "border", "reflection") for corners in (False, True)],
    sampled((1, 3, 4, 1), places(1, 4, 2, 2, reach=4.0), "bilinear", "reflection", True),
    sampled((1, 3, 4, 1), places(1, 4, 2, 2, reach=4.0), "bicubic", "reflection", False),
    *[sampled((1, 2, 3, 4, 2), places(1, 2, 2, 1, 3), mode, padding, corners)
      for mode, padding, corners in [("bilinear", "zeros", False), ("bilinear", "border", True),
                                     ("bilinear", "reflection", False),
                                     ("nearest", "zeros", True)]],
    affine((2, 3, 4, 1), False), affine((2, 3, 4, 1), True), affine((1, 1, 3, 2), True),
    affine((1, 2, 3, 2, 1), False),
    turned(30.0, None, "bilinear"), turned(-100.0, (1.0, 3.5), "bilinear"),
    turned(77.0, None, "nearest"), turned(20.0, (0.0, 0.0), "bicubic"),
    FunctionCase("rotate", lambda x, angle: functional.rotate(x, angle, mode="bilinear", fill=0.5),
                 (F(2, 4, 5, 1), Fixed([10.0, -130.0])), id="rotate by angles that move"),

    LayerCase(nn.Upsample(7), (F(2, 5, 3),), lambda t: t.Upsample(7)),
    LayerCase(nn.Upsample(scale_factor=2.0, mode="bilinear"), (F(2, 3, 4, 2),),
              lambda t: t.Upsample(scale_factor=2.0, mode="bilinear"), order=1),
    LayerCase(nn.Upsample(size=(5, 2), mode="bicubic", align_corners=True), (F(2, 3, 4, 2),),
              lambda t: t.Upsample(size=(5, 2), mode="bicubic", align_corners=True), order=1),
    LayerCase(nn.Upsample(size=(2, 3, 4), mode="trilinear"), (F(1, 3, 2, 2, 2),),
              lambda t: t.Upsample(size=(2, 3, 4), mode="trilinear"), order=1),
    LayerCase(nn.UpsamplingNearest2d(scale_factor=2), (F(1, 3, 4, 2),),
              lambda t: t.UpsamplingNearest2d(scale_factor=2)),
    LayerCase(nn.UpsamplingBilinear2d((5, 7)), (F(1, 3, 4, 2),),
              lambda t: t.UpsamplingBilinear2d((5, 7)), order=1),
]
