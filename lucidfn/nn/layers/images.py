"""Layers that resize images; data is channels-last."""

from __future__ import annotations

from typing import Any

from lucidfn.nn import functional
from lucidfn.nn.functional.resampling import MODES
from lucidfn.nn.layer import Layer, Params

Size = int | tuple[int, ...] | None
Scale = float | tuple[float, ...] | None


def check_one(layer: Layer, size: Size, scale_factor: Scale) -> None:
    if (size is None) == (scale_factor is None):
        got = "neither" if size is None else "both"
        raise ValueError(f"{type(layer).__name__} got {got} of size and scale_factor; give one of "
                         "them")


class Upsample(Layer):
    """Images [N, *space, C] resized to `size` or by `scale_factor`; see `functional.interpolate`.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.Upsample(scale_factor=2, mode="bilinear")({}, lnp.ones((1, 4, 6, 3))).shape
    (1, 8, 12, 3)
    """

    size: Size = None
    scale_factor: Scale = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None
    layout = "N ... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one(self, self.size, self.scale_factor)
        if self.mode not in MODES:
            raise ValueError(f"Upsample got mode={self.mode!r}, expected one of {list(MODES)}")

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return functional.interpolate(x, self.size, self.scale_factor, self.mode,
                                      self.align_corners, self.recompute_scale_factor)


class UpsamplingNearest2d(Layer):
    """Images [N, H, W, C] resized by taking the nearest pixel; see `functional.interpolate`."""

    size: Size = None
    scale_factor: Scale = None
    layout = "N H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one(self, self.size, self.scale_factor)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.expect(x, self.layout)
        return functional.interpolate(x, self.size, self.scale_factor, "nearest")


class UpsamplingBilinear2d(Layer):
    """Images [N, H, W, C] resized bilinearly, corners on corners (align_corners=True)."""

    size: Size = None
    scale_factor: Scale = None
    layout = "N H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one(self, self.size, self.scale_factor)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.expect(x, self.layout)
        return functional.interpolate(x, self.size, self.scale_factor, "bilinear", True)


__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]
