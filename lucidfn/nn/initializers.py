"""Initial values of weights. Each initializer is a function `(key, shape, dtype) -> array`.

Names, signatures and numbers are those of `jax.nn.initializers`. Axes: -2 holds the inputs of a
layer and -1 its outputs, unless in_axis and out_axis say otherwise; the axes before them are the
window of a convolution.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import ops, random
from lucidfn.array import as_raw, place, to_dtype, unwrap, wrap
from lucidfn.core.trace import beside
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


class Rule:
    """An initializer that prints as the call that made it, and equals those made by the same call.

    Layers hold initializers, and layers print themselves and compare by value.
    """

    __slots__ = ("name", "arguments", "init")

    def __init__(self, name: str, arguments: Mapping[str, Any], init: Initializer):
        self.name, self.arguments, self.init = name, dict(arguments), init

    def __call__(self, key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        return self.init(key, shape, dtype, out_sharding)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"

    def _key(self) -> tuple[Any, ...]:
        return (self.name, *[(k, v if _hashable(v) else id(v)) for k, v in self.arguments.items()])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # an array, or a list
        return False
    return True


def _rule(make: Callable[..., Initializer]) -> Callable[..., Initializer]:
    """Wrap what a function of options returns as a `Rule`, which remembers them."""
    signature = inspect.signature(make)

    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> Initializer:
        return Rule(make.__name__, signature.bind(*args, **kwargs).arguments,
                    make(*args, **kwargs))

    return made


def _dtype(dtype: Any) -> Any:
    out = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    if not is_inexact(out):
        raise TypeError(f"random weights have a floating or complex dtype, got {out.name}")
    return out


def _with_key(constant: Any, key: Any) -> Any:
    """A constant where the key lives, as random weights do; without a key on the default device."""
    return place(wrap(constant)) if key is None else wrap(beside(constant, unwrap(key)))


def zeros(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
    """An array of zeros; the key is not used.

    >>> zeros(None, (2,)).tolist()
    [0.0, 0.0]
    """
    return constant(0.0)(key, shape, dtype)


def ones(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
    """An array of ones; the key is not used."""
    return constant(1.0)(key, shape, dtype)


@_rule
def constant(value: Any, dtype: Any = None) -> Initializer:
    """An initializer that gives one value, or an array that broadcasts to the shape."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = dtype if dtype is not None else default
        to = default_dtype_of(float) if to is None else as_dtype(to)
        return _with_key(ops.broadcast_to(as_raw(value, to), shape=tuple(shape)), key)

    return init


@_rule
def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Numbers uniform in [0, scale)."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = _dtype(default if dtype is None else dtype)
        return _scaled(random.uniform(key, tuple(shape), to), scale)

    return init


@_rule
def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Normal numbers of mean 0."""
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        to = _dtype(default if dtype is None else dtype)
        return _scaled(random.normal(key, tuple(shape), to), stddev)

    return init


@_rule
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


@_rule
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


def _family(scale: float, mode: str, distribution: str, name: str, doc: str,
            ) -> Callable[..., Initializer]:
    def make(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (),
             dtype: Any = None) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    make.__doc__, make.__module__, make.__name__, make.__qualname__ = doc, __name__, name, name
    return _rule(make)


glorot_uniform = _family(1.0, "fan_avg", "uniform", "glorot_uniform",
                         "Uniform with variance 2 / (fan_in + fan_out) (Glorot, 2010).")
glorot_normal = _family(1.0, "fan_avg", "truncated_normal", "glorot_normal",
                        "Truncated normal with variance 2 / (fan_in + fan_out) (Glorot, 2010).")
lecun_uniform = _family(1.0, "fan_in", "uniform", "lecun_uniform",
                        "Uniform with variance 1 / fan_in.")
lecun_normal = _family(1.0, "fan_in", "truncated_normal", "lecun_normal",
                       "Truncated normal with variance 1 / fan_in.")
he_uniform = _family(2.0, "fan_in", "uniform", "he_uniform",
                     "Uniform with variance 2 / fan_in (He, 2015), for relu.")
he_normal = _family(2.0, "fan_in", "truncated_normal", "he_normal",
                    "Truncated normal with variance 2 / fan_in (He, 2015), for relu.")


# ------------------------------------------------------------------ with PyTorch's options

_LINEAR = ("linear", "sigmoid", "identity", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
           "conv_transpose2d", "conv_transpose3d")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation of weights that makes up for a nonlinearity.

    Names and values are those of `torch.nn.init.calculate_gain`; param is the negative slope of
    "leaky_relu", 0.01 by default. ValueError for other names.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 3 / 4}
    gains.update(dict.fromkeys(_LINEAR, 1.0))
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain got nonlinearity {nonlinearity!r}, expected one of "
                         f"{sorted([*gains, 'leaky_relu'])}")
    return gains[nonlinearity]


@_rule
def xavier_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (),
                   dtype: Any = None, *, gain: float = 1.0) -> Initializer:
    """`glorot_uniform`, times a gain: variance gain^2 * 2 / (fan_in + fan_out)."""
    return variance_scaling(gain**2, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


@_rule
def xavier_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (),
                  dtype: Any = None, *, gain: float = 1.0) -> Initializer:
    """`glorot_normal`, times a gain: variance gain^2 * 2 / (fan_in + fan_out).

    As in jax.nn truncated at two standard deviations, where PyTorch's is not.
    """
    return variance_scaling(gain**2, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis,
                            dtype)


@_rule
def kaiming_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (),
                    dtype: Any = None, *, a: float = 0.0, mode: str = "fan_in",
                    nonlinearity: str = "leaky_relu") -> Initializer:
    """`he_uniform` with PyTorch's options: variance gain^2 / n, n being the fan that mode names.

    The gain is calculate_gain(nonlinearity, a); a is the slope of leaky_relu on the left.
    """
    return variance_scaling(calculate_gain(nonlinearity, a) ** 2, mode, "uniform", in_axis,
                            out_axis, batch_axis, dtype)


@_rule
def kaiming_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (),
                   dtype: Any = None, *, a: float = 0.0, mode: str = "fan_in",
                   nonlinearity: str = "leaky_relu") -> Initializer:
    """`he_normal` with PyTorch's options: variance gain^2 / n, n being the fan that mode names.

    The gain is calculate_gain(nonlinearity, a). As in jax.nn truncated at two standard deviations,
    where PyTorch's is not.
    """
    return variance_scaling(calculate_gain(nonlinearity, a) ** 2, mode, "truncated_normal",
                            in_axis, out_axis, batch_axis, dtype)


@_rule
def eye(scale: Any = 1.0, dtype: Any = None) -> Initializer:
    """scale times the identity, for matrices [in, out]: ones on the diagonal, zeros elsewhere.

    >>> eye()(None, (2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        if len(shape) != 2:
            raise ValueError(f"an identity has two axes, got shape {tuple(shape)}; dirac() is that "
                             "of a convolution")
        return dirac(scale=scale, dtype=default)(key, shape, dtype)

    return init


identity = eye


@_rule
def dirac(groups: int = 1, *, scale: Any = 1.0, dtype: Any = None) -> Initializer:
    """Kernels [*window, in / groups, out] of convolutions that return their input: 1 at the centre
    from each input channel to the output channel of that number, in each group.

    ValueError where the groups do not divide the outputs.
    """
    default = dtype

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        shape = tuple(shape)
        if len(shape) < 2 or shape[-1] % groups:
            raise ValueError("a dirac initializer takes shapes [*window, in / groups, out] with "
                             f"out a multiple of {groups} groups, got {shape}")
        own = shape[-1] // groups
        values = np.zeros(shape)
        centre = tuple([k // 2 for k in shape[:-2]])
        for channel in range(min(shape[-2], own)):
            for group in range(groups):
                values[(*centre, channel, group * own + channel)] = 1.0
        to = dtype if dtype is not None else default
        to = default_dtype_of(float) if to is None else as_dtype(to)
        return _scaled(_with_key(as_raw(values, to), key), scale)

    return init


@_rule
def sparse(sparsity: float, stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """Normal numbers of which the share `sparsity` of each column, rounded up, is 0 (Martens,
    2010): each output of a weight [in, out] has few inputs.

    ValueError for shapes that have not two axes, and a sparsity outside [0, 1].
    """
    default = dtype
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse got sparsity {sparsity}, expected a share in [0, 1]")

    def init(key: Any, shape: Shape, dtype: Any = None, out_sharding: None = None) -> Any:
        if len(shape) != 2:
            raise ValueError(f"a sparse initializer takes shapes [in, out], got {tuple(shape)}")
        values_key, places_key = random.split(key)
        values = unwrap(normal(stddev, default)(values_key, shape, dtype))
        order = lnp.argsort(random.uniform(places_key, tuple(shape)), axis=0)
        kept = ops.ge(unwrap(order), math.ceil(sparsity * shape[0]))
        return wrap(ops.select(kept, values, 0.0))

    return init


# ------------------------------------------------------------------ orthogonal

@_rule
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


@_rule
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
    "Initializer", "calculate_gain", "constant", "delta_orthogonal", "dirac", "eye", "fans",
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity", "kaiming_normal",
    "kaiming_uniform", "lecun_normal", "lecun_uniform", "normal", "ones", "orthogonal", "sparse",
    "truncated_normal", "uniform", "variance_scaling", "xavier_normal", "xavier_uniform", "zeros",
]
