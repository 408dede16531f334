"""Layers that drop at random in training and are the identity in evaluation.

They take a random key in training, `model.apply(params, state, x, train=True, key=key)`; each draws
from a key named after it. With p = 0 none is needed.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from lucidfn.nn.functional.dropout import (
    alpha_dropout,
    drop_block,
    drop_path,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from lucidfn.nn.layer import Layer, Params, State


class _Dropping(Layer):
    """Base: `drop(x, p, key)`, with p = 0 in evaluation."""

    rate_name = "p"

    def __post_init__(self) -> None:
        super().__post_init__()
        p = getattr(self, self.rate_name)
        if isinstance(p, bool) or not isinstance(p, Real) or not 0 <= float(p) <= 1:
            raise self.error(f"got {self.rate_name} = {p!r}, expected the probability of dropping, "
                             "a number in [0, 1]")

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return bool(getattr(self, self.rate_name) > 0)

    def drop(self, x: Any, p: float, key: Any) -> Any:
        """x with a share p of it dropped."""
        raise NotImplementedError

    def apply(self, params: Params, state: State, x: Any, *,  # type: ignore[override]
              train: bool = False, key: Any = None) -> tuple[Any, State]:
        if not train or not self.stochastic:
            return self.drop(x, 0.0, None), state
        return self.drop(x, getattr(self, self.rate_name), self.need_key(key)), state


class Dropout(_Dropping):
    """Drop elements with probability p in training, and scale the others by 1 / (1 - p).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn, random
    >>> layer = nn.Dropout(0.5)
    >>> y, _ = layer.apply({}, {}, lnp.ones(6), train=True, key=random.key(0))
    >>> y.tolist()
    [0.0, 0.0, 2.0, 2.0, 0.0, 2.0]
    >>> layer.apply({}, {}, lnp.ones(2))[0].tolist()
    [1.0, 1.0]
    """

    p: float = 0.5

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return dropout(x, p, key=key)


class Dropout1d(_Dropping):
    """Drop whole channels of each example of [N, L, C] in training."""

    p: float = 0.5
    layout = "N L C"

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return dropout1d(x, p, key=key)


class Dropout2d(_Dropping):
    """Drop whole channels of each example of [N, H, W, C] in training."""

    p: float = 0.5
    layout = "N H W C"

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return dropout2d(x, p, key=key)


class Dropout3d(_Dropping):
    """Drop whole channels of each example of [N, D, H, W, C] in training."""

    p: float = 0.5
    layout = "N D H W C"

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return dropout3d(x, p, key=key)


class AlphaDropout(_Dropping):
    """Dropout that keeps mean 0 and variance 1, for networks of selu (arXiv:1706.02515)."""

    p: float = 0.5

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return alpha_dropout(x, p, key=key)


class FeatureAlphaDropout(_Dropping):
    """`AlphaDropout` of whole channels of each example of [N, ..., C]."""

    p: float = 0.5
    layout = "N ... C"

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return feature_alpha_dropout(x, p, key=key)


class DropBlock(_Dropping):
    """Drop squares of [N, H, W, C] in training, about a share p of it (arXiv:1810.12890).

    block_size is limited to the data's height and width.
    """

    block_size: int
    p: float = 0.1
    eps: float = 1e-7
    layout = "N H W C"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.block_size, Integral) or self.block_size < 1:
            raise self.error(f"got block_size = {self.block_size!r}, expected a positive integer")

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return drop_block(x, self.block_size, p, self.eps, key=key)


class DropPath(_Dropping):
    """Drop whole examples of [N, ...] in training: stochastic depth (arXiv:1603.09382).

    Put it at the end of the branch of a residual block: nn.Residual(..., nn.DropPath(0.1)).
    """

    drop_prob: float = 0.1
    scale_by_keep: bool = True
    rate_name = "drop_prob"

    def drop(self, x: Any, p: float, key: Any) -> Any:
        return drop_path(x, p, self.scale_by_keep, key=key)


__all__ = ["AlphaDropout", "DropBlock", "DropPath", "Dropout", "Dropout1d", "Dropout2d",
           "Dropout3d", "FeatureAlphaDropout"]
