"""Pooling layers: `nn.functional`'s pooling with its arguments held. They have no parameters."""

from __future__ import annotations

import math
from typing import Any

from lucidfn.array import typeof
from lucidfn.nn.functional import pooling as f
from lucidfn.nn.layer import Layer, Params

Size = int | tuple[int, ...]
OutSize = int | None | tuple[int | None, ...]


class _Pool(Layer):
    """What all have in common: d axes of space, and the function of the same name."""

    function = ""  # in nn.functional, without its "1d"

    @property
    def d(self) -> int:
        """How many axes of space the data has."""
        return len(self.layout.split()) - 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()

    def check(self) -> None:
        """ValueError for arguments that no data fits."""

    def run(self, x: Any, *args: Any) -> Any:
        """The function on x; LayerError unless x has d axes of space."""
        if typeof(x).ndim not in (self.d + 1, self.d + 2):
            raise self.error(f"got x {typeof(x)}, expected data {f.AXES[self.d]}, or without N for "
                             "one example")
        return getattr(f, f"{self.function}{self.d}d")(x, *args)


# ------------------------------------------------------------------ averages

class _AvgPool(_Pool):
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    function = "avg_pool"

    def check(self) -> None:
        """ValueError for arguments that no data fits."""
        f.windows(type(self).__name__, self.d, self.kernel_size, self.stride, self.padding)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return self.run(x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                        self.count_include_pad)


class _AvgPoolOverride(_AvgPool):
    divisor_override: int | None = None

    def check(self) -> None:
        """ValueError for arguments that no data fits."""
        super().check()
        if self.divisor_override == 0:
            raise ValueError(f"{type(self).__name__} got divisor_override=0; sums are divided by "
                             "it")

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return self.run(x, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                        self.count_include_pad, self.divisor_override)


class AvgPool1d(_AvgPool):
    """Mean of each window along L of [N, L, C], or [L, C] for one example.

    The stride is by default the kernel size. Padding is zeros, which count unless
    count_include_pad=False. With ceil_mode a last window may hang over the end.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.AvgPool1d(2)({}, lnp.asarray([[1.0], [3.0], [5.0], [7.0]])).tolist()
    [[2.0], [6.0]]
    """

    layout = "N L C"


class AvgPool2d(_AvgPoolOverride):
    """Mean of each window of [N, H, W, C], or [H, W, C] for one example; see `AvgPool1d`.

    divisor_override is divided by in place of the number of elements.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.AvgPool2d(2)({}, lnp.ones((1, 4, 4, 3))).shape
    (1, 2, 2, 3)
    """

    layout = "N H W C"


class AvgPool3d(_AvgPoolOverride):
    """Mean of each window of [N, D, H, W, C], or [D, H, W, C] for one example; see `AvgPool2d`."""

    layout = "N D H W C"


# ------------------------------------------------------------------ maxima

class _MaxPool(_Pool):
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    dilation: Size = 1
    ceil_mode: bool = False

    function = "max_pool"

    def check(self) -> None:
        """ValueError for arguments that no data fits."""
        f.windows(type(self).__name__, self.d, self.kernel_size, self.stride, self.padding,
                  self.dilation)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return self.run(x, self.kernel_size, self.stride, self.padding, self.dilation,
                        self.ceil_mode)


class MaxPool1d(_MaxPool):
    """Maximum of each window along L of [N, L, C], or [L, C] for one example.

    The stride is by default the kernel size. Padding is -inf, so that it never wins. Elements that
    tie share the derivative equally. With ceil_mode a last window may hang over the end.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.MaxPool1d(2)({}, lnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1)).ravel().tolist()
    [3.0, 2.0]
    """

    layout = "N L C"


class MaxPool2d(_MaxPool):
    """Maximum of each window of [N, H, W, C], or [H, W, C] for one example; see `MaxPool1d`.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.MaxPool2d(3, stride=2, padding=1)({}, lnp.ones((8, 32, 32, 16))).shape
    (8, 16, 16, 16)
    """

    layout = "N H W C"


class MaxPool3d(_MaxPool):
    """Maximum of each window of [N, D, H, W, C], or [D, H, W, C] for one example; see
    `MaxPool1d`."""

    layout = "N D H W C"


# ------------------------------------------------------------------ p-norms

class _LPPool(_Pool):
    norm_type: float
    kernel_size: Size
    stride: Size | None = None
    ceil_mode: bool = False

    function = "lp_pool"

    def check(self) -> None:
        """ValueError for arguments that no data fits."""
        name = type(self).__name__
        if not self.norm_type > 0 or math.isnan(self.norm_type):
            raise ValueError(f"{name} got norm_type={self.norm_type!r}; it must be positive")
        f.windows(name, self.d, self.kernel_size, self.stride)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return self.run(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """(sum of x^p)^(1/p) over each window along L of [N, L, C], p = norm_type.

    1 is the sum, 2 the length, inf the greatest magnitude. Windows of zeros have derivative 0.
    """

    layout = "N L C"


class LPPool2d(_LPPool):
    """(sum of x^p)^(1/p) over each window of [N, H, W, C]; see `LPPool1d`."""

    layout = "N H W C"


class LPPool3d(_LPPool):
    """(sum of x^p)^(1/p) over each window of [N, D, H, W, C]; see `LPPool1d`."""

    layout = "N D H W C"


# ------------------------------------------------------------------ a given number of windows

class _AdaptivePool(_Pool):
    output_size: OutSize

    def check(self) -> None:
        """ValueError for arguments that no data fits."""
        f.output_sizes(type(self).__name__, self.output_size, self.d)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return self.run(x, self.output_size)


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means of output_size windows along L of [N, L, C], or [L, C] for one example.

    Window i of m has the elements from floor(i L / m) up to ceil((i + 1) L / m). None keeps a size.
    """

    layout, function = "N L C", "adaptive_avg_pool"


class AdaptiveAvgPool2d(_AdaptivePool):
    """Means of output_size windows along each axis of space of [N, H, W, C]; an integer, or one
    (or None, as x has it) for each axis. See `AdaptiveAvgPool1d`.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.AdaptiveAvgPool2d((1, None))({}, lnp.ones((2, 7, 5, 3))).shape
    (2, 1, 5, 3)
    """

    layout, function = "N H W C", "adaptive_avg_pool"


class AdaptiveAvgPool3d(_AdaptivePool):
    """Means of output_size windows along each axis of space of [N, D, H, W, C]; see
    `AdaptiveAvgPool2d`."""

    layout, function = "N D H W C", "adaptive_avg_pool"


class AdaptiveMaxPool1d(_AdaptivePool):
    """Maxima of output_size windows along L of [N, L, C]; see `AdaptiveAvgPool1d`."""

    layout, function = "N L C", "adaptive_max_pool"


class AdaptiveMaxPool2d(_AdaptivePool):
    """Maxima of output_size windows along each axis of space of [N, H, W, C]; see
    `AdaptiveAvgPool2d`."""

    layout, function = "N H W C", "adaptive_max_pool"


class AdaptiveMaxPool3d(_AdaptivePool):
    """Maxima of output_size windows along each axis of space of [N, D, H, W, C]; see
    `AdaptiveAvgPool2d`."""

    layout, function = "N D H W C", "adaptive_max_pool"


__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d",
    "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
]
