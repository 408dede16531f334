"""Layers that pad the space axes of channels-last data; see `functional.pad`.

`padding` is one number for all sides, or as in PyTorch (left, right), (left, right, top, bottom) or
(left, right, top, bottom, front, back): pairs for W, H and D.
"""

from __future__ import annotations

from typing import Any

from lucidfn.array import typeof
from lucidfn.nn.functional.convolution import LAYOUTS, Ints, Sizes, is_int
from lucidfn.nn.functional.padding import pad
from lucidfn.nn.layer import Layer, Params


class Padding(Layer):
    """What all the layers here share: `padding` and a mode."""

    padding: Sizes
    mode, axes = "constant", 0

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.padding
        several = isinstance(given, tuple) and len(given) == 2 * self.axes
        if not (is_int(given) or several and all(map(is_int, given))):  # type: ignore[arg-type]
            sides = ["left, right", "left, right, top, bottom",
                     "left, right, top, bottom, front, back"][self.axes - 1]
            raise self.error(f"got padding={given!r}; expected an integer or ({sides})")

    def widths(self) -> Ints:
        return (self.padding if isinstance(self.padding, tuple)
                else (self.padding,) * (2 * self.axes))  # type: ignore[return-value]

    def fill(self) -> Any:
        return 0

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        single = len(typeof(x).shape) == self.axes + 1
        self.expect(x, self.layout.removeprefix("N ") if single else self.layout)
        return pad(x, self.widths(), self.mode, self.fill())


class ConstantPad(Padding):
    """What the three layers that pad with a value share."""

    value: float

    def fill(self) -> Any:
        return self.value


class ConstantPad1d(ConstantPad):
    """[N, L, C] with `value` put around L: padding is (left, right)."""

    axes, layout = 1, LAYOUTS[1]


class ConstantPad2d(ConstantPad):
    """[N, H, W, C] with `value` put around W and H: padding is (left, right, top, bottom).

    >>> from lucidfn import nn
    >>> import lucidfn.numpy as lnp
    >>> nn.ConstantPad2d((1, 2, 0, 3), 0.5)({}, lnp.ones((1, 4, 4, 3))).shape
    (1, 7, 7, 3)
    """

    axes, layout = 2, LAYOUTS[2]


class ConstantPad3d(ConstantPad):
    """[N, D, H, W, C] with `value` put around W, H and D."""

    axes, layout = 3, LAYOUTS[3]


class ZeroPad1d(Padding):
    """[N, L, C] with zeros put around L."""

    axes, layout = 1, LAYOUTS[1]


class ZeroPad2d(Padding):
    """[N, H, W, C] with zeros put around W and H.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.ZeroPad2d((1, 2, 0, 0))({}, lnp.ones((1, 4, 4, 3))).shape
    (1, 4, 7, 3)
    """

    axes, layout = 2, LAYOUTS[2]


class ZeroPad3d(Padding):
    """[N, D, H, W, C] with zeros put around W, H and D."""

    axes, layout = 3, LAYOUTS[3]


class ReflectionPad1d(Padding):
    """[N, L, C] mirrored at both ends of L, the ends not repeated.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.ReflectionPad1d(2)({}, lnp.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """

    mode, axes, layout = "reflect", 1, LAYOUTS[1]


class ReflectionPad2d(Padding):
    """[N, H, W, C] mirrored at the ends of W and H, the ends not repeated."""

    mode, axes, layout = "reflect", 2, LAYOUTS[2]


class ReflectionPad3d(Padding):
    """[N, D, H, W, C] mirrored at the ends of W, H and D, the ends not repeated."""

    mode, axes, layout = "reflect", 3, LAYOUTS[3]


class ReplicationPad1d(Padding):
    """[N, L, C] with its first and last element repeated."""

    mode, axes, layout = "replicate", 1, LAYOUTS[1]


class ReplicationPad2d(Padding):
    """[N, H, W, C] with its border repeated."""

    mode, axes, layout = "replicate", 2, LAYOUTS[2]


class ReplicationPad3d(Padding):
    """[N, D, H, W, C] with its border repeated."""

    mode, axes, layout = "replicate", 3, LAYOUTS[3]


class CircularPad1d(Padding):
    """[N, L, C] that goes on at its other end."""

    mode, axes, layout = "circular", 1, LAYOUTS[1]


class CircularPad2d(Padding):
    """[N, H, W, C] that goes on at its other ends."""

    mode, axes, layout = "circular", 2, LAYOUTS[2]


class CircularPad3d(Padding):
    """[N, D, H, W, C] that goes on at its other ends."""

    mode, axes, layout = "circular", 3, LAYOUTS[3]


__all__ = [f"{kind}Pad{n}d" for kind in ("Constant", "Zero", "Reflection", "Replication",
                                         "Circular") for n in (1, 2, 3)]
