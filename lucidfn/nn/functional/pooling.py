"""Pooling: means, maxima and p-norms over windows in space, and over a given number of windows.

Data is channels-last: [N, *space, C], or [*space, C] for one example.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import as_raw, unwrap, weak_of, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.reductions import lowest
from lucidfn.types import kind_of

Ints = tuple[int, ...]
Size = int | Sequence[int]
OutSize = int | None | Sequence[int | None]

AXES = {1: "[N, L, C]", 2: "[N, H, W, C]", 3: "[N, D, H, W, C]"}


# ------------------------------------------------------------------ arguments

def sizes(name: str, what: str, value: Any, d: int, least: int = 1) -> Ints:
    """An integer for all axes or one for each of the d axes; ValueError for anything else."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * d
    fine = [isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least
            for n in given]
    if len(given) != d or not all(fine):
        many = "" if d == 1 else f" or a tuple of {d} of them"
        raise ValueError(f"{name} got {what}={value!r}; it must be an integer{many}, "
                         f"at least {least}")
    return tuple(map(int, given))


class Windows(NamedTuple):
    """The windows of a pooling, one entry for each axis of space."""

    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    ceil_mode: bool

    @property
    def reach(self) -> Ints:
        """The extent of a window in x, with the gaps of its dilation."""
        return tuple([(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)])

    def outputs(self, space: Ints) -> Ints:
        """How many windows each axis has; with ceil_mode also one that hangs over the end, if it
        does not start in the padding there."""
        out = []
        for n, r, s, p in zip(space, self.reach, self.stride, self.padding, strict=True):
            span = n + 2 * p - r
            count = (-(-span // s) if self.ceil_mode else span // s) + 1
            out.append(count - (self.ceil_mode and (count - 1) * s >= n + p))
        return tuple(out)

    def pads(self, space: Ints) -> tuple[tuple[int, int], ...]:
        """Padding (low, high), high so that the last window fits."""
        if not self.ceil_mode:
            return tuple([(p, p) for p in self.padding])
        return tuple([(p, (m - 1) * s + r - n - p) for m, n, r, s, p in zip(
            self.outputs(space), space, self.reach, self.stride, self.padding, strict=True)])

    def counts(self, space: Ints, include_pad: bool) -> list[np.ndarray]:
        """How many elements each window has along each axis, with those in the padding or without;
        what hangs over the padding is never counted."""
        found = []
        for m, n, k, s, p in zip(self.outputs(space), space, self.kernel, self.stride,
                                 self.padding, strict=True):
            start = np.arange(m) * s - p
            stop = np.minimum(start + k, n + p)
            if not include_pad:
                start, stop = np.maximum(start, 0), np.minimum(stop, n)
            found.append(stop - start)
        return found


def windows(name: str, d: int, kernel_size: Any, stride: Any = None, padding: Any = 0,
            dilation: Any = 1, ceil_mode: bool = False) -> Windows:
    """The arguments of a pooling, checked."""
    kernel = sizes(name, "kernel_size", kernel_size, d)
    found = Windows(kernel, kernel if stride is None else sizes(name, "stride", stride, d),
                    sizes(name, "padding", padding, d, 0), sizes(name, "dilation", dilation, d),
                    bool(ceil_mode))
    if any(2 * p > k for p, k in zip(found.padding, kernel, strict=True)):
        raise ValueError(f"{name} got padding={padding!r} and kernel_size={kernel_size!r}; padding "
                         "must be at most half of the kernel, or windows could lie outside of x")
    return found


def spatial(name: str, x: Any, d: int) -> Ints:
    """The spatial shape of x; ValueError unless x has d axes of space."""
    shape = shape_of(x)
    if len(shape) not in (d + 1, d + 2):
        raise ValueError(f"{name} got x {type_of(x)}; data is {AXES[d]}, or without N for one "
                         "example")
    return shape[-d - 1:-1]


def slide(name: str, primitive: Any, x: Any, w: Windows) -> Any:
    """Reduce each window of raw x; ValueError where a window is larger than padded x."""
    d = len(w.kernel)
    space = spatial(name, x, d)
    if any(n + 2 * p < r for n, p, r in zip(space, w.padding, w.reach, strict=True)):
        extent = "" if w.reach == w.kernel else f", which reaches over {w.reach} with its dilation"
        raise ValueError(f"{name} got x {type_of(x)} and kernel_size={w.kernel}{extent}; a window "
                         f"must fit into the space {space} with padding {w.padding} on both sides: "
                         f"data is {AXES[d]}")
    lead = (1,) * (len(shape_of(x)) - d - 1)
    around = ((0, 0),) * len(lead)
    return primitive(x, window=(*lead, *w.kernel, 1), stride=(*lead, *w.stride, 1),
                     padding=(*around, *w.pads(space), (0, 0)),
                     x_dilation=(*lead, *[1] * d, 1), w_dilation=(*lead, *w.dilation, 1))


def elements(counts: Sequence[np.ndarray]) -> np.ndarray:
    """How many elements each window has, [*out, 1], from those along each axis."""
    return functools.reduce(np.multiply, np.ix_(*counts))[..., None]


# ------------------------------------------------------------------ averages

def _avg_pool(d: int, x: Any, w: Windows, count_include_pad: bool = True,
              divisor_override: int | None = None) -> Any:
    name = f"avg_pool{d}d"
    (raw,), weak = lift(x, to_float=True)
    total = slide(name, ops.window_sum, raw, w)
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError(f"{name} got divisor_override=0; sums are divided by it")
        return wrap(ops.div(total, float(divisor_override)), weak)
    counts = w.counts(spatial(name, raw, d), count_include_pad)
    if all((c == c[:1]).all() for c in counts):
        return wrap(ops.div(total, float(math.prod([int(c[0]) for c in counts if len(c)]))), weak)
    return wrap(ops.div(total, elements(counts).astype(dtype_of(raw))), weak)


def avg_pool1d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Any:
    """Mean of each window along L of [N, L, C]; the stride is by default the kernel size.

    Padding is zeros, which count unless count_include_pad=False. With ceil_mode a last window may
    hang over the end; what hangs over does not count. ValueError where no window fits.

    >>> avg_pool1d([[1.0], [3.0], [5.0], [7.0]], 2).tolist()
    [[2.0], [6.0]]
    """
    w = windows("avg_pool1d", 1, kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(1, x, w, count_include_pad)


def avg_pool2d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Any:
    """Mean of each window of [N, H, W, C]; see `avg_pool1d`.

    divisor_override is divided by in place of the number of elements.
    """
    w = windows("avg_pool2d", 2, kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(2, x, w, count_include_pad, divisor_override)


def avg_pool3d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Any:
    """Mean of each window of [N, D, H, W, C]; see `avg_pool1d` and `avg_pool2d`."""
    w = windows("avg_pool3d", 3, kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(3, x, w, count_include_pad, divisor_override)


# ------------------------------------------------------------------ maxima

def _max_pool(d: int, x: Any, *args: Any) -> Any:
    name = f"max_pool{d}d"
    out = slide(name, ops.window_max, as_raw(x), windows(name, d, *args))
    return wrap(out, weak_of(x))


def max_pool1d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               dilation: Size = 1, ceil_mode: bool = False) -> Any:
    """Maximum of each window along L of [N, L, C]; the stride is by default the kernel size.

    Padding is -inf (the least integer), so that it never wins. Elements that tie share the
    derivative equally; a NaN makes its windows NaN. With ceil_mode a last window may hang over the
    end. ValueError where no window fits.

    >>> max_pool1d([[1.0], [-3.0], [-5.0], [-7.0]], 2, padding=1).tolist()
    [[1.0], [-3.0], [-7.0]]
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               dilation: Size = 1, ceil_mode: bool = False) -> Any:
    """Maximum of each window of [N, H, W, C]; see `max_pool1d`."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(x: Any, kernel_size: Size, stride: Size | None = None, padding: Size = 0,
               dilation: Size = 1, ceil_mode: bool = False) -> Any:
    """Maximum of each window of [N, D, H, W, C]; see `max_pool1d`."""
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode)


# ------------------------------------------------------------------ p-norms

def _lp_pool(d: int, x: Any, norm_type: float, kernel_size: Any, stride: Any,
             ceil_mode: bool) -> Any:
    name = f"lp_pool{d}d"
    if not norm_type > 0:
        raise ValueError(f"{name} got norm_type={norm_type!r}; it must be positive")
    w = windows(name, d, kernel_size, stride, 0, 1, ceil_mode)
    (raw,), weak = lift(x, to_float=True)
    if norm_type == math.inf:
        return wrap(slide(name, ops.window_max, ops.abs(raw), w), weak)
    whole = float(norm_type).is_integer()
    powers = ops.integer_pow(raw, n=int(norm_type)) if whole else ops.pow(raw, float(norm_type))
    total = ops.mul(unwrap(_avg_pool(d, wrap(powers), w)), float(math.prod(w.kernel)))
    if norm_type == 1:
        return wrap(total, weak)
    # The root has a pole at 0; windows of zeros get the derivative 0.
    zero = ops.eq(total, 0.0)
    size = ops.select(zero, 1.0, ops.abs(total))
    root = ops.sqrt(size) if norm_type == 2 else ops.pow(size, 1.0 / norm_type)
    return wrap(ops.select(zero, 0.0, ops.mul(ops.sign(total), root)), weak)


def lp_pool1d(x: Any, norm_type: float, kernel_size: Size, stride: Size | None = None,
              ceil_mode: bool = False) -> Any:
    """(sum of x^p)^(1/p) over each window along L of [N, L, C], p = norm_type.

    1 is the sum, 2 the length, inf the greatest magnitude. A sum of odd powers keeps its sign under
    the root. Windows of zeros have derivative 0. A window that hangs over the end (ceil_mode) is
    scaled as if it were whole, as in PyTorch.
    """
    return _lp_pool(1, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(x: Any, norm_type: float, kernel_size: Size, stride: Size | None = None,
              ceil_mode: bool = False) -> Any:
    """(sum of x^p)^(1/p) over each window of [N, H, W, C]; see `lp_pool1d`."""
    return _lp_pool(2, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(x: Any, norm_type: float, kernel_size: Size, stride: Size | None = None,
              ceil_mode: bool = False) -> Any:
    """(sum of x^p)^(1/p) over each window of [N, D, H, W, C]; see `lp_pool1d`."""
    return _lp_pool(3, x, norm_type, kernel_size, stride, ceil_mode)


# ------------------------------------------------------------------ a given number of windows

def output_sizes(name: str, value: Any, d: int) -> tuple[int | None, ...]:
    """An output size for each axis, None where it stays; ValueError for anything else."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * d
    if len(given) != d:
        raise ValueError(f"{name} got output_size={value!r}; it must be an integer, None (as x), "
                         f"or {d} of these")
    return tuple([None if n is None else sizes(name, "output_size", n, 1)[0] for n in given])


def _adaptive(name: str, d: int, x: Any, output_size: Any, reduce: Any, slider: Any,
              identity: Any) -> Any:
    """Reduce window i of m, elements [floor(i n / m), ceil((i + 1) n / m)), along each axis."""
    wanted = output_sizes(name, output_size, d)
    space = spatial(name, x, d)
    if 0 in space:
        raise ValueError(f"{name} got x {type_of(x)}, {AXES[d]}; its space is empty")
    out = tuple([n if m is None else m for n, m in zip(space, wanted, strict=True)])
    first = len(shape_of(x)) - d - 1
    if all(m == 1 for m in out):
        kept = (*shape_of(x)[:first], *out, shape_of(x)[-1])
        total = ops.reshape(reduce(x, axes=tuple(range(first, first + d))), shape=kept)
        return total, [np.asarray([n]) for n in space]
    even = tuple([1 if n % m else n // m for n, m in zip(space, out, strict=True)])
    if any(k > 1 for k in even):
        x = slide(name, slider, x, windows(name, d, even))
    counts = [np.full(m, n // m) for n, m in zip(space, out, strict=True)]
    for i, (n, m) in enumerate(zip(space, out, strict=True)):
        if n % m:  # windows of several sizes, each from its own start
            start, stop = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
            counts[i] = stop - start
            places = start[:, None] + np.arange(counts[i].max())
            inside = (places < stop[:, None]).reshape(m, -1, *[1] * (d - i))
            taken = unwrap(lnp.take(wrap(x), np.minimum(places, n - 1), axis=first + i))
            x = reduce(ops.select(inside, taken, identity), axes=(first + i + 1,))
    return x, counts


def _adaptive_avg_pool(d: int, x: Any, output_size: Any) -> Any:
    (raw,), weak = lift(x, to_float=True)
    total, counts = _adaptive(f"adaptive_avg_pool{d}d", d, raw, output_size, ops.reduce_sum,
                              ops.window_sum, 0.0)
    if all((c == c[0]).all() for c in counts):
        return wrap(ops.div(total, float(math.prod([int(c[0]) for c in counts]))), weak)
    return wrap(ops.div(total, elements(counts).astype(dtype_of(raw))), weak)


def _adaptive_max_pool(d: int, x: Any, output_size: Any) -> Any:
    name, raw = f"adaptive_max_pool{d}d", as_raw(x)
    if kind_of(raw.dtype) == 3:
        raise TypeError(f"{name} got {type_of(raw)}; complex numbers have no order")
    out, _ = _adaptive(name, d, raw, output_size, ops.reduce_max, ops.window_max,
                       lowest(raw.dtype))
    return wrap(out, weak_of(x))


def adaptive_avg_pool1d(x: Any, output_size: OutSize) -> Any:
    """Means of output_size windows along L of [N, L, C]: [N, output_size, C].

    Window i of m has the elements from floor(i L / m) up to ceil((i + 1) L / m): any m will do,
    windows overlap where m does not divide L. None keeps the size.

    >>> adaptive_avg_pool1d([[0.0], [1.0], [2.0], [3.0], [4.0]], 3).tolist()
    [[0.5], [2.0], [3.5]]
    """
    return _adaptive_avg_pool(1, x, output_size)


def adaptive_avg_pool2d(x: Any, output_size: OutSize) -> Any:
    """Means of output_size windows along each axis of space of [N, H, W, C]; see
    `adaptive_avg_pool1d`."""
    return _adaptive_avg_pool(2, x, output_size)


def adaptive_avg_pool3d(x: Any, output_size: OutSize) -> Any:
    """Means of output_size windows along each axis of space of [N, D, H, W, C]; see
    `adaptive_avg_pool1d`."""
    return _adaptive_avg_pool(3, x, output_size)


def adaptive_max_pool1d(x: Any, output_size: OutSize) -> Any:
    """Maxima of output_size windows along L of [N, L, C]; windows are those of
    `adaptive_avg_pool1d`."""
    return _adaptive_max_pool(1, x, output_size)


def adaptive_max_pool2d(x: Any, output_size: OutSize) -> Any:
    """Maxima of output_size windows along each axis of space of [N, H, W, C]; see
    `adaptive_avg_pool1d`."""
    return _adaptive_max_pool(2, x, output_size)


def adaptive_max_pool3d(x: Any, output_size: OutSize) -> Any:
    """Maxima of output_size windows along each axis of space of [N, D, H, W, C]; see
    `adaptive_avg_pool1d`."""
    return _adaptive_max_pool(3, x, output_size)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
]
