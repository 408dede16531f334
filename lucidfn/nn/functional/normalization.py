"""Normalisation by statistics of the batch, of channels, of groups of channels or of an example.

Statistics of 16-bit data are computed in float32. Variances are means of squared distances from the
mean, in two passes, so that a large mean costs no accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.custom import custom_vmap
from lucidfn.array import as_raw, to_dtype, unwrap, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.lax.collectives import axis_size, pmean
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.norms import vector_norm
from lucidfn.types import float32, kind_of

Axes = tuple[int, ...]


# ------------------------------------------------------------------ parts

def _operands(name: str, x: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any, Any, bool]:
    """x, weight and bias at the dtype to compute in; the result's dtype and whether it is weak."""
    given = [v for v in (x, weight, bias) if v is not None]
    raws, weak = lift(*given, to_float=True)
    dtype = raws[0].dtype
    if kind_of(dtype) == 3:
        raise TypeError(f"{name} got {type_of(raws[0])}; it takes real numbers")
    if dtype.itemsize == 2:
        raws = [ops.convert(r, dtype=float32) for r in raws]
    ready = iter(raws)
    x, weight, bias = (None if v is None else next(ready) for v in (x, weight, bias))
    return x, weight, bias, dtype, weak


def _result(raw: Any, dtype: Any, weak: bool = False) -> Any:
    return wrap(to_dtype(raw, dtype), weak)


def _affine(raw: Any, weight: Any, bias: Any) -> Any:
    raw = raw if weight is None else ops.mul(raw, weight)
    return raw if bias is None else ops.add(raw, bias)


def _mean(raw: Any, axes: Axes, keep: bool = True) -> Any:
    """Mean over axes, which stay with size 1."""
    shape = shape_of(raw)
    if len(axes) > 1 and axes[0] == 0:
        # Space first, then the batch: a sum of sums loses less to rounding than one long sum.
        total = ops.reduce_sum(ops.reduce_sum(raw, axes=axes[1:]), axes=(0,))
    else:
        total = ops.reduce_sum(raw, axes=axes)
    if keep:
        kept = tuple([1 if i in axes else n for i, n in enumerate(shape)])
        total = ops.reshape(total, shape=kept)
    return ops.div(total, float(math.prod([shape[i] for i in axes])))


def _centred(raw: Any, axes: Axes, axis_name: Any = None) -> tuple[Any, Any, Any]:
    """mean, x - mean, and the mean of its square; over all lanes of a named axis too."""
    over = (lambda x: x) if axis_name is None else lambda x: unwrap(pmean(wrap(x), axis_name))
    mean = over(_mean(raw, axes))
    away = ops.sub(raw, mean)
    return mean, away, over(_mean(ops.square(away), axes))


def _standardised(raw: Any, axes: Axes, eps: float) -> Any:
    """(x - mean) / sqrt(variance + eps) over axes."""
    _, away, variance = _centred(raw, axes)
    return ops.mul(away, ops.rsqrt(ops.add(variance, float(eps))))


def _check_channels(name: str, x: Any, **vectors: Any) -> None:
    """Every vector given must have one entry for each channel of x."""
    shape = shape_of(x)
    if len(shape) < 2:
        raise ValueError(f"{name} got x {type_of(x)}; data is [N, *space, C], of rank 2 at least")
    for what, v in vectors.items():
        if v is not None and shape_of(v) != shape[-1:]:
            raise ValueError(f"{name} got x {type_of(x)} and {what} {type_of(v)}; {what} must have "
                             f"one entry for each of the {shape[-1]} channels on the last axis of "
                             "x, [N, *space, C]")


def _together(name: str, mean: Any, var: Any) -> bool:
    if (mean is None) != (var is None):
        raise ValueError(f"{name} got one of running_mean and running_var; give both, or neither")
    return mean is not None


def _moved(running: Any, found: Any, momentum: Any) -> Any:
    """The running statistic a step of size `momentum` nearer to what was found."""
    old = as_raw(running)
    found = to_dtype(ops.stop_gradient(found), old.dtype)
    step = unwrap(momentum)
    step = float(step) if isinstance(step, (int, float)) else to_dtype(step, old.dtype)
    return wrap(ops.add(ops.mul(old, ops.sub(1.0, step)), ops.mul(found, step)))


def _by_running(name: str, x: Any, weight: Any, bias: Any, mean: Any, var: Any,
                eps: float) -> Any:
    """x by given statistics: one product and one sum, as the rest is per channel."""
    x, weight, bias, dtype, weak = _operands(name, x, weight, bias)
    mean, var = (to_dtype(as_raw(s), x.dtype) for s in (mean, var))
    scale = ops.rsqrt(ops.add(var, float(eps)))
    scale = scale if weight is None else ops.mul(scale, weight)
    shift = ops.neg(ops.mul(mean, scale))
    shift = shift if bias is None else ops.add(shift, bias)
    return _result(ops.add(ops.mul(x, scale), shift), dtype, weak)


# ------------------------------------------------------------------ over the batch

@custom_vmap
def _whole_batch(x: Any) -> Any:
    """x, a batch of one example; refuses to be that example's lane of a vmap."""
    return x


@_whole_batch.def_vmap
def _refuse(axis_size: int, in_batched: Any, x: Any) -> Any:
    raise ValueError(
        f"batch_norm in training got a batch of one example inside vmap over {axis_size}; its "
        "statistics are those of the whole batch, which one lane cannot see. Call the layer "
        "outside vmap, or with train=False inside; or use GroupNorm, LayerNorm or InstanceNorm, "
        "which look at one example alone.")


def batch_norm(x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: Any = 0.1,
               eps: float = 1e-5, axis_name: Any = None) -> tuple[Any, tuple[Any, Any]]:
    """(y, (running_mean, running_var)): x [N, *space, C] standardised for each channel.

    In training, and where no running statistics are given, by the mean and the biased variance of
    the batch; otherwise by the running ones. Training moves these by `momentum` towards the mean
    and the unbiased variance of the batch; they carry no derivative. All vectors are [C].
    With `axis_name` the batch is that of all lanes of the vmap of that name.
    ValueError for a batch with one value for each channel, or with one example inside vmap.
    Ioffe and Szegedy, "Batch normalization" (2015); PyTorch's conventions.

    >>> import lucidfn.numpy as lnp
    >>> y, (mean, var) = batch_norm(lnp.asarray([[1.0], [3.0]]), lnp.zeros(1), lnp.ones(1),
    ...                             training=True)
    >>> y.round(3).tolist(), mean.tolist()
    ([[-1.0], [1.0]], [0.20000000298023224])
    """
    tracked = _together("batch_norm", running_mean, running_var)
    raw = as_raw(x)
    _check_channels("batch_norm", raw, weight=weight, bias=bias, running_mean=running_mean,
                    running_var=running_var)
    if tracked and not training:
        y = _by_running("batch_norm", x, weight, bias, running_mean, running_var, eps)
        return y, (running_mean, running_var)
    axes = tuple(range(raw.ndim - 1))
    count = math.prod(raw.shape[:-1]) * (1 if axis_name is None else axis_size(axis_name))
    if count <= 1:
        raise ValueError(f"batch_norm got x {type_of(raw)} and batch statistics to compute: it "
                         "needs more than one value for each channel. Inside vmap over examples "
                         "a batch has one: call it outside of vmap, or with train=False")
    if raw.shape[0] == 1 and axis_name is None:
        x = _whole_batch(x)
    x, weight, bias, dtype, weak = _operands("batch_norm", x, weight, bias)
    mean, away, variance = _centred(x, axes, axis_name)
    scale = ops.rsqrt(ops.add(variance, float(eps)))
    # The weight goes into the small factor, so that x is multiplied once.
    y = _affine(ops.mul(away, scale if weight is None else ops.mul(scale, weight)), None, bias)
    y = _result(y, dtype, weak)
    if not tracked:
        return y, (None, None)
    flat = raw.shape[-1:]
    unbiased = ops.mul(ops.reshape(variance, shape=flat), count / (count - 1))
    return y, (_moved(running_mean, ops.reshape(mean, shape=flat), momentum),
               _moved(running_var, unbiased, momentum))


# ------------------------------------------------------------------ over each example

def instance_norm(x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
                  bias: Any = None, use_input_stats: bool = True, momentum: Any = 0.1,
                  eps: float = 1e-5) -> tuple[Any, tuple[Any, Any]]:
    """(y, (running_mean, running_var)): x [N, *space, C] standardised over space.

    By statistics of each example and channel, or with use_input_stats=False by the running ones,
    which otherwise move by `momentum` towards the mean over the batch of each example's mean and
    unbiased variance. Vectors are [C]. ValueError if space has one point.
    Ulyanov, Vedaldi and Lempitsky, "Instance normalization" (2016).
    """
    tracked = _together("instance_norm", running_mean, running_var)
    raw = as_raw(x)
    _check_channels("instance_norm", raw, weight=weight, bias=bias, running_mean=running_mean,
                    running_var=running_var)
    if not use_input_stats:
        if not tracked:
            raise ValueError("instance_norm got use_input_stats=False and no running statistics "
                             "to use; give running_mean and running_var")
        y = _by_running("instance_norm", x, weight, bias, running_mean, running_var, eps)
        return y, (running_mean, running_var)
    axes = tuple(range(1, raw.ndim - 1))
    count = math.prod([raw.shape[i] for i in axes])
    if count <= 1:
        raise ValueError(f"instance_norm got x {type_of(raw)}, [N, *space, C]; it needs more than "
                         "one point in space, to compute statistics over")
    x, weight, bias, dtype, weak = _operands("instance_norm", x, weight, bias)
    mean, away, variance = _centred(x, axes)
    scale = ops.rsqrt(ops.add(variance, float(eps)))
    y = _affine(ops.mul(away, scale if weight is None else ops.mul(scale, weight)), None, bias)
    y = _result(y, dtype, weak)
    if not tracked:
        return y, (None, None)
    over = tuple(range(raw.ndim - 1))
    unbiased = ops.mul(_mean(variance, over, keep=False), count / (count - 1))
    return y, (_moved(running_mean, _mean(mean, over, keep=False), momentum),
               _moved(running_var, unbiased, momentum))


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Any:
    """x [N, *space, C] standardised over space and each of num_groups runs of channels.

    weight and bias are [C]. ValueError unless num_groups divides C.
    Wu and He, "Group normalization" (2018).
    """
    raw = as_raw(x)
    _check_channels("group_norm", raw, weight=weight, bias=bias)
    channels = raw.shape[-1]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"group_norm got num_groups={num_groups} and x {type_of(raw)}; the number "
                         f"of groups must divide the {channels} channels on the last axis of x, "
                         "[N, *space, C]")
    x, weight, bias, dtype, weak = _operands("group_norm", x, weight, bias)
    space = tuple(range(1, raw.ndim - 1))
    away = ops.sub(x, _over_groups(_mean(x, space), num_groups))
    variance = _over_groups(_mean(ops.square(away), space), num_groups)
    scale = ops.rsqrt(ops.add(variance, float(eps)))
    scale = scale if weight is None else ops.mul(scale, weight)
    return _result(_affine(ops.mul(away, scale), None, bias), dtype, weak)


def _over_groups(means: Any, groups: int) -> Any:
    """Means of channels on the last axis, each in place of it the mean over its group.

    Groups are formed after the sums over space, whose rows are longer with all channels side by
    side.
    """
    shape = shape_of(means)
    if shape[-1] == groups:
        return means
    split = (*shape[:-1], groups, shape[-1] // groups)
    grouped = _mean(ops.reshape(means, shape=split), (len(shape),))
    return ops.reshape(ops.broadcast_to(grouped, shape=split), shape=shape)


def _trailing(name: str, x: Any, normalized_shape: int | Sequence[int], **given: Any) -> Axes:
    """The last axes of x, which must have the normalized shape; so must what is given."""
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = shape_of(x)
    if not wanted or shape[-len(wanted):] != wanted:
        raise ValueError(f"{name} got x {type_of(x)} and normalized_shape={normalized_shape}; it "
                         "must be the shape of the last axes of x; in data [N, *space, C] channels "
                         "come last")
    if 0 in wanted:
        raise ValueError(f"{name} got normalized_shape={normalized_shape}: it has no elements")
    for what, v in given.items():
        if v is not None and shape_of(v) != wanted:
            raise ValueError(f"{name} got {what} {type_of(v)}, expected the shape "
                             f"{list(wanted)} of normalized_shape")
    return tuple(range(len(shape) - len(wanted), len(shape)))


def layer_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None,
               bias: Any = None, eps: float = 1e-5) -> Any:
    """x standardised over its last axes, which have the normalized shape, as do weight and bias.

    ValueError where shapes disagree. Ba, Kiros and Hinton, "Layer normalization" (2016).

    >>> layer_norm([[1.0, 3.0]], 2).round(3).tolist()
    [[-1.0, 1.0]]
    """
    axes = _trailing("layer_norm", as_raw(x), normalized_shape, weight=weight, bias=bias)
    x, weight, bias, dtype, weak = _operands("layer_norm", x, weight, bias)
    return _result(_affine(_standardised(x, axes, eps), weight, bias), dtype, weak)


def rms_norm(x: Any, normalized_shape: int | Sequence[int], weight: Any = None,
             eps: float | None = None) -> Any:
    """x / sqrt(mean(x^2) + eps) over its last axes, which have the normalized shape.

    eps is by default the spacing of numbers at 1 in the dtype that is computed in.
    Zhang and Sennrich, "Root mean square layer normalization" (2019).
    """
    axes = _trailing("rms_norm", as_raw(x), normalized_shape, weight=weight)
    x, weight, _, dtype, weak = _operands("rms_norm", x, weight, None)
    eps = float(np.finfo(x.dtype).eps) if eps is None else float(eps)
    scale = ops.rsqrt(ops.add(_mean(ops.square(x), axes), eps))
    return _result(_affine(ops.mul(x, scale), weight, None), dtype, weak)


# ------------------------------------------------------------------ across channels

def global_response_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-6) -> Any:
    """x + bias + weight * x * n, where n is each channel's 2-norm over space over their mean.

    x is [N, *space, C]; weight and bias are [C]. Its derivative is finite where a channel is 0.
    Woo et al., "ConvNeXt V2" (2023), arXiv:2301.00808.
    """
    raw = as_raw(x)
    _check_channels("global_response_norm", raw, weight=weight, bias=bias)
    if raw.ndim < 3:
        raise ValueError(f"global_response_norm got x {type_of(raw)}; data is [N, *space, C], with "
                         "at least one axis of space to compute norms over")
    x, weight, bias, dtype, weak = _operands("global_response_norm", x, weight, bias)
    size = unwrap(vector_norm(wrap(x), axis=tuple(range(1, raw.ndim - 1)), keepdims=True))
    share = ops.div(size, ops.add(_mean(size, (raw.ndim - 1,)), float(eps)))
    scale = ops.add(ops.mul(share, weight), 1.0)
    return _result(_affine(x, scale, bias), dtype, weak)


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Any:
    """x / (k + alpha * s)^beta, s the mean of x^2 over `size` neighbouring channels.

    Channels are on the last axis; beyond them are zeros, which count in the mean.
    Krizhevsky, Sutskever and Hinton (2012), with the mean of PyTorch in place of their sum.
    """
    if size < 1:
        raise ValueError(f"local_response_norm got size={size}; it must be at least 1")
    x, _, _, dtype, weak = _operands("local_response_norm", x, None, None)
    rank = len(shape_of(x))
    if not rank:
        raise ValueError("local_response_norm got a number; channels are on the last axis")
    one, none = (1,) * (rank - 1), ((0, 0),) * (rank - 1)
    total = ops.window_sum(ops.square(x), window=(*one, size), stride=(*one, 1),
                           padding=(*none, (size // 2, (size - 1) // 2)), x_dilation=(*one, 1),
                           w_dilation=(*one, 1))
    base = ops.add(ops.mul(total, alpha / size), float(k))
    return _result(ops.mul(x, ops.pow(base, -float(beta))), dtype, weak)


def normalize(x: Any, ord: float = 2.0, axis: int | Sequence[int] = -1,
              eps: float = 1e-12) -> Any:
    """x over its norm of order `ord` along the axes, or over eps where the norm is less.

    Its derivative is finite at 0 (there 1 / eps).

    >>> normalize([3.0, 4.0]).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    x, _, _, dtype, weak = _operands("normalize", x, None, None)
    size = unwrap(vector_norm(wrap(x), axis=axis, keepdims=True, ord=ord))
    return _result(ops.div(x, ops.max(size, float(eps))), dtype, weak)


__all__ = ["batch_norm", "global_response_norm", "group_norm", "instance_norm", "layer_norm",
           "local_response_norm", "normalize", "rms_norm"]
