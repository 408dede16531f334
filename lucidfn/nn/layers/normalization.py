"""Normalisation layers; those that keep running statistics have them in their state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lucidfn.numpy as lnp
from lucidfn.array import typeof
from lucidfn.lax.collectives import axis_size
from lucidfn.nn.functional import normalization as f
from lucidfn.nn.layer import Layer, Params, State


def _weight_and_bias(shape: int | tuple[int, ...], weight: bool = True, bias: bool = True,
                     start: Callable[..., Any] = lnp.ones) -> Params:
    """Where normalisation starts: it changes nothing further."""
    params = {"weight": start(shape)} if weight else {}
    return {**params, "bias": lnp.zeros(shape)} if bias else params


def _expect_spatial(layer: Layer, x: Any, channels: int, rank: int) -> None:
    """LayerError unless x is [N, *space, C] with that many channels, and of that rank at least."""
    if typeof(x).ndim < rank:
        raise layer.error(f"got x {typeof(x)}, expected data [N, *space, C] of rank {rank} at "
                          f"least, with C = {channels}")
    layer.expect(x, "... C", channels)


def _check_positive(layer: Layer, *names: str) -> None:
    for name in names:
        value = getattr(layer, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{type(layer).__name__} got {name}={value!r}; it must be a positive "
                             "integer")


# ------------------------------------------------------------------ with running statistics

class _Running(Layer):
    """What batch and instance normalisation share: vectors of one entry for each channel."""

    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    stochastic = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "num_features")
        if self.momentum is not None and not 0 <= self.momentum <= 1:
            raise ValueError(f"{type(self).__name__} got momentum={self.momentum!r}; it is the "
                             "share of the new statistics, in [0, 1] (0.1 is usual; other "
                             "libraries call 0.9 what is 0.1 here)")

    def init_params(self, key: Any) -> Params:
        return _weight_and_bias(self.num_features, self.affine, self.affine)

    def init_state(self) -> State:
        if not self.track_running_stats:
            return {}
        return {"running_mean": lnp.zeros(self.num_features),
                "running_var": lnp.ones(self.num_features)}

    def vectors(self, params: Params) -> tuple[Any, Any]:
        """weight and bias, if it has them."""
        return (params["weight"], params["bias"]) if self.affine else (None, None)

    def statistics(self, state: State) -> tuple[Any, Any]:
        """The running mean and variance; None for a layer that keeps none."""
        if not self.track_running_stats:
            return None, None
        return self.need_state(state, "running_mean"), self.need_state(state, "running_var")

    def apply(self, params: Params, state: State, x: Any, *,  # type: ignore[override]
              train: bool = False, key: Any = None) -> tuple[Any, State]:
        """(outputs, new state): training moves the running statistics."""
        return self.normalised(params, state, x, train)

    def normalised(self, params: Params, state: State, x: Any, train: bool) -> tuple[Any, State]:
        raise NotImplementedError


class _BatchNorm(_Running):
    axis_name: Any = None

    def init_state(self) -> State:
        state = super().init_state()
        return {**state, "num_batches_tracked": lnp.zeros((), "int32")} if state else state

    def normalised(self, params: Params, state: State, x: Any, train: bool) -> tuple[Any, State]:
        # A lane of a named axis may be one example.
        alone = self.axis_name is not None and typeof(x).ndim == self.least_rank - 1
        x = x[None] if alone else x
        self.check(x)
        lanes = 1 if self.axis_name is None or not train else axis_size(self.axis_name)
        y, state = self.by_batch(params, state, x, train, lanes)
        return (y[0] if alone else y), state

    @property
    def least_rank(self) -> int:
        """The number of axes of a batch, at least."""
        return len(self.layout.split())

    def check(self, x: Any) -> None:
        """LayerError unless x fits the layer."""
        rank = len(self.layout.split())
        if typeof(x).ndim == rank - 1 and rank > 3:
            raise self.error(
                f"got x {typeof(x)}, expected data [{', '.join(self.layout.split())}] with C = "
                f"{self.num_features}. Inside vmap over examples the batch axis is missing: batch "
                "normalisation needs the whole batch, so call it outside of vmap; or with "
                "train=False and x[None]")
        self.expect(x, self.layout, self.num_features)

    def by_batch(self, params: Params, state: State, x: Any, train: bool,
                 lanes: int = 1) -> tuple[Any, State]:
        """Normalised by the statistics of the batch in training, of which x is one of `lanes`."""
        weight, bias = self.vectors(params)
        mean, var = self.statistics(state)
        if train and math.prod(typeof(x).shape[:-1]) * lanes <= 1:
            raise self.error(f"got x {typeof(x)} in training; statistics of the batch need more "
                             "than one value for each channel. Inside vmap over examples a batch "
                             "has one example: call the layer outside of vmap, or with train=False")
        if not (train and self.track_running_stats):
            name = self.axis_name if train else None
            y, _ = f.batch_norm(x, mean, var, weight, bias, False, eps=self.eps, axis_name=name)
            return y, state
        count = self.need_state(state, "num_batches_tracked") + 1
        # Without momentum: the average of the statistics of all batches.
        momentum = 1.0 / count.astype(mean.dtype) if self.momentum is None else self.momentum
        y, (mean, var) = f.batch_norm(x, mean, var, weight, bias, True, momentum, self.eps,
                                      self.axis_name)
        return y, {**state, "running_mean": mean, "running_var": var, "num_batches_tracked": count}


class BatchNorm1d(_BatchNorm):
    """Standardise each channel of [N, C] or [N, L, C] over the batch and L.

    Training uses the mean and biased variance of the batch and moves the state: running_mean and
    running_var (unbiased) go `momentum` of the way to those of the batch, or average all batches if
    momentum is None. Otherwise the state is used; with track_running_stats=False always the batch.
    weight and bias are [C]. In training inside `lf.vmap(..., axis_name=...)` a layer with that
    axis_name uses the statistics of all lanes together; a lane may be one example.
    Ioffe and Szegedy, "Batch normalization" (2015); PyTorch's conventions.
    """

    layout = "N L C"
    least_rank = 2  # type: ignore[assignment]

    def check(self, x: Any) -> None:
        """LayerError unless x fits the layer."""
        self.expect(x, "N C" if typeof(x).ndim == 2 else self.layout, self.num_features)


class BatchNorm2d(_BatchNorm):
    """Standardise each channel of [N, H, W, C] over the batch and space; see `BatchNorm1d`.

    >>> from lucidfn import nn, random
    >>> layer = nn.BatchNorm2d(3)
    >>> params, state = layer.init(random.key(0))
    >>> y, state = layer.apply(params, state, lnp.ones((2, 4, 4, 3)), train=True)
    >>> y.shape, state["running_var"].round(3).tolist()
    ((2, 4, 4, 3), [0.8999999761581421, 0.8999999761581421, 0.8999999761581421])
    """

    layout = "N H W C"


class BatchNorm3d(_BatchNorm):
    """Standardise each channel of [N, D, H, W, C] over the batch and space; see `BatchNorm1d`."""

    layout = "N D H W C"


class _InstanceNorm(_Running):
    momentum: float = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def normalised(self, params: Params, state: State, x: Any, train: bool) -> tuple[Any, State]:
        names = self.layout.split()
        alone = typeof(x).ndim == len(names) - 1
        self.expect(x, " ".join(names[1:]) if alone else self.layout, self.num_features)
        points = math.prod(typeof(x).shape[:-1] if alone else typeof(x).shape[1:-1])
        weight, bias = self.vectors(params)
        mean, var = self.statistics(state)
        by_input = train or not self.track_running_stats
        if by_input and points <= 1:
            raise self.error(f"got x {typeof(x)}, [{', '.join(names)}]; statistics of an example "
                             "need more than one point in space")
        x = x[None] if alone else x
        y, (mean, var) = f.instance_norm(x, mean, var, weight, bias, by_input, self.momentum,
                                         self.eps)
        y = y[0] if alone else y
        if not (train and self.track_running_stats):
            return y, state
        return y, {**state, "running_mean": mean, "running_var": var}


class InstanceNorm1d(_InstanceNorm):
    """Standardise each channel of each example over L: [N, L, C], or [L, C] for one example.

    weight and bias ([C]) only with affine=True. With track_running_stats=True the state keeps the
    running mean and unbiased variance, which are used outside of training.
    Ulyanov, Vedaldi and Lempitsky, "Instance normalization" (2016).
    """

    layout = "N L C"


class InstanceNorm2d(_InstanceNorm):
    """Standardise each channel of each example over H and W: [N, H, W, C], or [H, W, C] for one
    example; see `InstanceNorm1d`."""

    layout = "N H W C"


class InstanceNorm3d(_InstanceNorm):
    """Standardise each channel of each example over D, H and W: [N, D, H, W, C], or [D, H, W, C]
    for one example; see `InstanceNorm1d`."""

    layout = "N D H W C"


# ------------------------------------------------------------------ of each example alone

class _OverShape(Layer):
    """A normalisation of the last axes, which have a given shape."""

    normalized_shape: int | tuple[int, ...]

    layout = "... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shape or any(isinstance(n, bool) or not isinstance(n, int) or n < 1
                                 for n in self.shape):
            raise ValueError(f"{type(self).__name__} got normalized_shape="
                             f"{self.normalized_shape!r}; it must be a positive integer or a tuple "
                             "of them, the sizes of the last axes")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the axes that are normalised together."""
        shape = self.normalized_shape
        return shape if isinstance(shape, tuple) else (shape,)

    def check(self, x: Any) -> None:
        """LayerError unless x ends with the axes that are normalised."""
        if len(self.shape) == 1:
            self.expect(x, self.layout, self.shape[0])
        elif typeof(x).shape[-len(self.shape):] != self.shape:
            raise self.error(f"got x {typeof(x)}, expected last axes of sizes {list(self.shape)}; "
                             "in data [N, *space, C] channels come last")


class LayerNorm(_OverShape):
    """Standardise over the last axes, which have the normalized shape; then weight and bias.

    Both have the normalized shape too. Of images [N, H, W, C], LayerNorm(C) normalises the channels
    of each point. Ba, Kiros and Hinton, "Layer normalization" (2016).

    >>> from lucidfn import nn, random
    >>> layer = nn.LayerNorm(2)
    >>> params, state = layer.init(random.key(0))
    >>> layer(params, lnp.asarray([1.0, 3.0])).round(3).tolist()
    [-1.0, 1.0]
    """

    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def init_params(self, key: Any) -> Params:
        affine = self.elementwise_affine
        return _weight_and_bias(self.shape, affine, affine and self.bias)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.check(x)
        affine = self.elementwise_affine
        return f.layer_norm(x, self.shape, params["weight"] if affine else None,
                            params["bias"] if affine and self.bias else None, self.eps)


class RMSNorm(_OverShape):
    """x / sqrt(mean(x^2) + eps) over the last axes, which have the normalized shape; then weight.

    eps is by default the spacing of numbers at 1 (1.2e-7 in float32).
    Zhang and Sennrich, "Root mean square layer normalization" (2019).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn, random
    >>> layer = nn.RMSNorm(2, eps=0.0)
    >>> params, state = layer.init(random.key(0))
    >>> layer(params, lnp.array([[1.0, 7.0]]))
    Array([[0.2, 1.4]], dtype=float32)
    """

    eps: float | None = None
    elementwise_affine: bool = True

    def init_params(self, key: Any) -> Params:
        return _weight_and_bias(self.shape, self.elementwise_affine, False)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.check(x)
        weight = params["weight"] if self.elementwise_affine else None
        return f.rms_norm(x, self.shape, weight, self.eps)


class GroupNorm(Layer):
    """Standardise over space and each of num_groups runs of channels: [N, *space, C].

    The first axis is always the batch. weight and bias are [C].
    Wu and He, "Group normalization" (2018).

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import nn, random
    >>> layer = nn.GroupNorm(2, 6)
    >>> params, state = layer.init(random.key(0))
    >>> layer(params, lnp.ones((4, 8, 8, 6))).shape, params["weight"].shape
    ((4, 8, 8, 6), (6,))
    """

    num_groups: int
    num_channels: int
    eps: float = 1e-5
    affine: bool = True

    layout = "N ... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "num_groups", "num_channels")
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm got num_groups={self.num_groups} and num_channels="
                             f"{self.num_channels}; the number of groups must divide the channels")

    def init_params(self, key: Any) -> Params:
        return _weight_and_bias(self.num_channels, self.affine, self.affine)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        _expect_spatial(self, x, self.num_channels, 2)
        weight, bias = (params["weight"], params["bias"]) if self.affine else (None, None)
        return f.group_norm(x, self.num_groups, weight, bias, self.eps)


class GlobalResponseNorm(Layer):
    """x + bias + weight * x * n, n the 2-norm of each channel over space over their mean.

    Data is [N, *space, C]; weight and bias are [C] and start at 0.
    Woo et al., "ConvNeXt V2" (2023), arXiv:2301.00808.
    """

    channels: int
    eps: float = 1e-6

    layout = "N ... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "channels")

    def init_params(self, key: Any) -> Params:
        return _weight_and_bias(self.channels, start=lnp.zeros)

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        _expect_spatial(self, x, self.channels, 3)
        return f.global_response_norm(x, params["weight"], params["bias"], self.eps)


class LocalResponseNorm(Layer):
    """x / (k + alpha * s)^beta, s the mean of x^2 over `size` neighbouring channels (last axis).

    Krizhevsky, Sutskever and Hinton (2012), with the mean of PyTorch in place of their sum.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    layout = "... C"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "size")

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        self.expect(x, self.layout)
        return f.local_response_norm(x, self.size, self.alpha, self.beta, self.k)


__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GlobalResponseNorm", "GroupNorm",
           "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "LocalResponseNorm",
           "RMSNorm"]
