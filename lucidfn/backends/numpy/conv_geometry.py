"""The sizes that follow from the parameters of a convolution, axis by axis."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .conv_rows import Walk, walk_of
from .indexing import pad_span
from .windows import window_positions

__all__ = ["Geometry", "Index", "Sizes", "geometry_of"]

Sizes = tuple[int, ...]
Index = tuple[slice, ...]


@dataclass(frozen=True)
class Geometry:
    """The parameters, and the sizes that follow from them axis by axis."""

    stride: Sizes
    padding: tuple[tuple[int, int], ...]
    x_dilation: Sizes
    w_dilation: Sizes
    space: Sizes
    window: Sizes

    @cached_property
    def spans(self) -> list[tuple[int, slice, slice]]:
        axes = zip(self.space, self.padding, self.x_dilation, strict=True)
        return [pad_span(n, low, high, d - 1) for n, (low, high), d in axes]

    @cached_property
    def padded(self) -> Sizes:
        return tuple(size for size, _, _ in self.spans)

    @cached_property
    def positions(self) -> Sizes:
        axes = zip(self.padded, self.window, self.stride, self.w_dilation, strict=True)
        return tuple(window_positions(*axis) for axis in axes)

    @cached_property
    def bordered(self) -> bool:
        """Whether zeros are put anywhere (crops alone are views)."""
        dilated = any(d > 1 for d in self.x_dilation)
        return dilated or any(low > 0 or high > 0 for low, high in self.padding)

    @cached_property
    def walk(self) -> Walk:
        low = tuple(low for low, _ in self.padding)
        return walk_of(
            self.space, self.positions, self.stride, self.window, self.w_dilation, low
        )

    @cached_property
    def turned(self) -> Walk:
        """Positions and window with their roles exchanged."""
        low = tuple(low for low, _ in self.padding)
        return walk_of(
            self.space, self.window, self.w_dilation, self.positions, self.stride, low
        )

    @cached_property
    def phases(self) -> list[tuple[Geometry, Index, Index]]:
        """What makes up the convolution of a dilated input: geometries without dilation, the
        positions of each, and its taps."""
        steps = [range(min(d, n)) for d, n in zip(self.x_dilation, self.positions, strict=True)]
        return [self._phase(remainders) for remainders in itertools.product(*steps)]

    def _phase(self, remainders: Sizes) -> tuple[Geometry, Index, Index]:
        # Position r + d * q meets tap k0 + d * t at input q + t + (r + k0 - low) / d.
        padding, window, places, taps = list(self.padding), list(self.window), [], []
        for axis, (r, d) in enumerate(zip(remainders, self.x_dilation, strict=True)):
            if d == 1:
                places.append(slice(None))
                taps.append(slice(None))
                continue
            low = self.padding[axis][0]
            k0 = (low - r) % d
            count = (self.positions[axis] - r + d - 1) // d
            reach = max(0, (self.window[axis] - k0 + d - 1) // d)
            begin = -((r + k0 - low) // d)
            padding[axis] = begin, count + reach - 1 - begin - self.space[axis]
            window[axis] = reach
            places.append(slice(r, None, d))
            taps.append(slice(k0, None, d))
        ones = (1,) * len(self.space)
        phase = geometry_of(
            self.stride, tuple(padding), ones, self.w_dilation, self.space, tuple(window)
        )
        return phase, tuple(places), tuple(taps)


# The sizes are worked out once per geometry: a small convolution costs no more than that.
geometry_of = lru_cache(4096)(Geometry)
