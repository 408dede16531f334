"""Layers that rearrange and reduce axes by patterns: `lucidfn.einops` within a Sequential."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lucidfn import einops
from lucidfn.nn.layer import Layer, Params, show


class _Patterned(Layer):
    """Base: a pattern and the sizes of its axes."""

    def keep(self, name: str, pattern: str, sizes: dict[str, int]) -> None:
        """Read the pattern, so that a wrong one is found when the layer is made."""
        if not isinstance(pattern, str):
            raise TypeError(f"{type(self).__name__} got the pattern {pattern!r}, expected a string "
                            "such as 'n h w c -> n (h w c)'")
        einops.parse(name, pattern)
        self.set("pattern", pattern)
        self.set("sizes", tuple(sizes.items()))

    def arguments(self) -> Iterator[str]:
        layer: Any = self
        yield repr(layer.pattern)
        if isinstance(self, Reduce):
            yield show(self.reduction)
        yield from (f"{name}={size}" for name, size in layer.sizes)


class Rearrange(_Patterned):
    """`einops.rearrange` of x: axes transposed, split and merged by a pattern.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> patches = nn.Rearrange("n (h p) (w q) c -> n (h w) (p q c)", p=4, q=4)
    >>> patches({}, lnp.zeros((2, 8, 8, 3))).shape
    (2, 4, 48)
    """

    pattern: str
    sizes: tuple[tuple[str, int], ...]

    def __init__(self, pattern: str, **sizes: int):
        self.keep("rearrange", pattern, sizes)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return einops.rearrange(x, self.pattern, **dict(self.sizes))


class Reduce(_Patterned):
    """`einops.reduce` of x: what the right side of a pattern leaves out is reduced.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn
    >>> nn.Reduce("n h w c -> n c", "mean")({}, lnp.ones((2, 8, 8, 3))).shape
    (2, 3)
    """

    pattern: str
    reduction: str | Callable[..., Any]
    sizes: tuple[tuple[str, int], ...]

    def __init__(self, pattern: str, reduction: str | Callable[..., Any], **sizes: int):
        self.keep("reduce", pattern, sizes)
        self.set("reduction", reduction)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return einops.reduce(x, self.pattern, self.reduction, **dict(self.sizes))


__all__ = ["Rearrange", "Reduce"]
