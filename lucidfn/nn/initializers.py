"""Initial values of weights. Each initializer is a function `(key, shape, dtype) -> array`.

Names, signatures and numbers are those of `jax.nn.initializers`. Axes: -2 holds the inputs of a
layer and -1 its outputs, unless in_axis and out_axis say otherwise; the axes before them are the
window of a convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops, random
from lucidfn.array import as_raw, to_dtype, unwrap, wrap
from lucidfn.types import (
    as_dtype,
    complex_dtype,
    default_dtype_of,
    is_inexact,
    kind_of,
    real_dtype,
)

Shape = Sequence[int]
Axes = int | Sequence[int]
Initializer = Callable[..., Any]


def _dtype(dtype: Any) -> Any:
    out = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    if not is_inexact(out):
        raise TypeError(f"random weights have a floating or complex dtype, got {out.name}")
    return out


def zeros(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
    """An array of zeros; the key is not used.

    >>> zeros(None, (2,)).tolist()
    [0.0, 0.0]
    """
    return constant(0.0)(key, shape, dtype)


def ones(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
    """An array of ones; the key is not used."""
    return constant(1.0)(key, shape, dtype)


def constant(value: Any, dtype: Any = None) -> Initializer:
    """An initializer that gives one value, or an array that broadcasts to the shape."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = dtype if dtype is not None else default
        to = default_dtype_of(float) if to is None else as_dtype(to)
        return wrap(ops.broadcast_to(as_raw(value, to), shape=tuple(shape)))

    return init


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Numbers uniform in [0, scale)."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = _dtype(default if dtype is None else dtype)
        return _scaled(random.uniform(key, tuple(shape), to), scale)

    return init


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Normal numbers of mean 0."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = _dtype(default if dtype is None else dtype)
        return _scaled(random.normal(key, tuple(shape), to), stddev)

    return init


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: float = -2.0,
                     upper: float = 2.0) -> Initializer:
    """stddev times standard normal numbers between lower and upper.

    stddev is that before truncation: the numbers themselves vary less.
    """
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = _dtype(default if dtype is None else dtype)
        return _scaled(random.truncated_normal(key, lower, upper, tuple(shape), to), stddev)

    return init


def _scaled(x: Any, factor: Any) -> Any:
    raw = unwrap(x)
    return wrap(ops.mul(raw, to_dtype(unwrap(factor), raw.dtype)))


# ------------------------------------------------------------------ by the number of connections

def fans(shape: Shape, in_axis: Axes = -2, out_axis: Axes = -1,
         batch_axis: Axes = ()) -> tuple[float, float]:
    """How many inputs an output of a layer has, and how many outputs an input."""
    shape = tuple(shape)
    if len(shape) <= 1:
        raise ValueError(f"weights of shape {shape} have no axis of inputs and axis of outputs; an "
                         "initializer by the number of connections needs at least two axes")
    count = lambda axes: math.prod(
        shape[a] for a in ([axes] if isinstance(axes, int) else axes))
    n_in, n_out, n_batch = count(in_axis), count(out_axis), count(batch_axis)
    window = math.prod(shape) / (n_in * n_out * n_batch) if math.prod(shape) else 0
    return n_in * window, n_out * window


_MODES: dict[str, Callable[[float, float], float]] = {
    "fan_in": lambda n_in, n_out: n_in, "fan_out": lambda n_in, n_out: n_out,
    "fan_avg": lambda n_in, n_out: (n_in + n_out) / 2,
    "fan_geo_avg": lambda n_in, n_out: math.sqrt(n_in * n_out)}
# The standard deviation of a standard normal number, or a complex one, truncated at 2.
_TRUNCATED, _TRUNCATED_COMPLEX = 0.87962566103423978, 0.95311164380491208


def variance_scaling(scale: float, mode: str, distribution: str, in_axis: Axes = -2,
                     out_axis: Axes = -1, batch_axis: Axes = (),
                     dtype: Any = None) -> Initializer:
    """Numbers of mean 0 and variance scale / n, n being the fan that `mode` names.

    mode is "fan_in", "fan_out", "fan_avg" or "fan_geo_avg"; distribution "truncated_normal" (at two
    standard deviations), "normal" or "uniform". Axes in batch_axis do not count.

    >>> from lucidfn import random
    >>> init = variance_scaling(1.0, "fan_in", "normal")
    >>> init(random.key(0), (256, 10)).shape
    (256, 10)
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {list(_MODES)}, got {mode!r}")
    if distribution not in ("truncated_normal", "normal", "uniform"):
        raise ValueError("distribution must be 'truncated_normal', 'normal' or 'uniform', got "
                         f"{distribution!r}")
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = _dtype(default if dtype is None else dtype)
        n = _MODES[mode](*fans(shape, in_axis, out_axis, batch_axis))
        deviation = math.sqrt(scale / max(n, 1e-12)) if n else 0.0
        return _sample(key, tuple(shape), to, distribution, deviation)

    return init


def _sample(key: Any, shape: tuple[int, ...], dtype: Any, distribution: str,
            deviation: float) -> Any:
    if distribution == "normal":
        return _scaled(random.normal(key, shape, dtype), deviation)
    if kind_of(dtype) == 3:
        return _scaled(_disk(key, shape, dtype, distribution), deviation)
    if distribution == "uniform":
        return _scaled(random.uniform(key, shape, dtype, -1), math.sqrt(3.0) * deviation)
    return _scaled(random.truncated_normal(key, -2, 2, shape, dtype), deviation / _TRUNCATED)


def _disk(key: Any, shape: tuple[int, ...], dtype: Any, distribution: str) -> Any:
    """Complex numbers of variance 1: uniform in a disk, or normal and truncated at radius 2."""
    radius_key, angle_key = random.split(key)
    own = real_dtype(dtype)
    u = unwrap(random.uniform(radius_key, shape, own))
    if distribution == "uniform":
        radius = ops.mul(ops.sqrt(u), math.sqrt(2.0))
    else:
        inside = ops.log1p(ops.mul(u, math.expm1(-4.0)))
        radius = ops.div(ops.sqrt(ops.neg(inside)), _TRUNCATED_COMPLEX)
    angle = ops.mul(unwrap(random.uniform(angle_key, shape, own)), 2.0 * math.pi)
    parts = [ops.mul(radius, f(angle)) for f in (ops.cos, ops.sin)]
    return wrap(to_dtype(ops.complex_(*parts), complex_dtype(own)))


def _family(scale: float, mode: str, distribution: str, doc: str) -> Callable[..., Initializer]:
    def make(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (),
             dtype: Any = None) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    make.__doc__, make.__module__ = doc, __name__
    return make


glorot_uniform = xavier_uniform = _family(
    1.0, "fan_avg", "uniform", "Uniform with variance 2 / (fan_in + fan_out) (Glorot, 2010).")
glorot_normal = xavier_normal = _family(
    1.0, "fan_avg", "truncated_normal",
    "Truncated normal with variance 2 / (fan_in + fan_out) (Glorot, 2010).")
lecun_uniform = _family(1.0, "fan_in", "uniform", "Uniform with variance 1 / fan_in.")
lecun_normal = _family(1.0, "fan_in", "truncated_normal",
                       "Truncated normal with variance 1 / fan_in.")
he_uniform = kaiming_uniform = _family(
    2.0, "fan_in", "uniform", "Uniform with variance 2 / fan_in (He, 2015), for relu.")
he_normal = kaiming_normal = _family(
    2.0, "fan_in", "truncated_normal",
    "Truncated normal with variance 2 / fan_in (He, 2015), for relu.")
for _name, _make in (("glorot_uniform", glorot_uniform), ("glorot_normal", glorot_normal),
                     ("lecun_uniform", lecun_uniform), ("lecun_normal", lecun_normal),
                     ("he_uniform", he_uniform), ("he_normal", he_normal)):
    _make.__name__ = _make.__qualname__ = _name


# ------------------------------------------------------------------ orthogonal

def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """scale times a uniform matrix with orthonormal rows or columns, whichever are fewer.

    The columns lie along column_axis; all other axes together make the rows.
    """
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to, shape = _dtype(default if dtype is None else dtype), tuple(shape)
        if len(shape) < 2:
            raise ValueError(f"an orthogonal initializer needs at least two axes, got {shape}")
        columns = shape[column_axis]
        rows = math.prod(shape) // columns if columns else 0
        q = unwrap(random.orthogonal(key, rows, dtype=to, m=columns))
        at = column_axis % len(shape)
        q = ops.reshape(q, shape=(*shape[:at], *shape[at + 1:], columns))
        return _scaled(wrap(ops.move_axis(q, len(shape) - 1, at)), scale)

    return init


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """Kernels [*window, in, out] that are orthogonal at the centre of the window and 0 elsewhere
    (arXiv:1806.05393). ValueError for more inputs than outputs."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        shape = tuple(shape)
        if len(shape) not in (3, 4, 5) or shape[-2] > shape[-1]:
            raise ValueError("a delta orthogonal initializer takes shapes [*window, in, out] with "
                             f"one to three window axes and in <= out, got {shape}")
        centre = unwrap(orthogonal(scale, column_axis, default)(key, shape[-2:], dtype))
        centre = ops.reshape(centre, shape=(*[1] * (len(shape) - 2), *shape[-2:]))
        around = tuple([((k - 1) // 2, k - 1 - (k - 1) // 2, 0) for k in shape[:-2]])
        return wrap(ops.pad(centre, ops.zero_like(centre),
                            widths=(*around, (0, 0, 0), (0, 0, 0))))

    return init


__all__ = [
    "Initializer", "constant", "delta_orthogonal", "fans", "glorot_normal", "glorot_uniform",
    "he_normal", "he_uniform", "kaiming_normal", "kaiming_uniform", "lecun_normal",
    "lecun_uniform", "normal", "ones", "orthogonal", "truncated_normal", "uniform",
    "variance_scaling", "xavier_normal", "xavier_uniform", "zeros",
]
