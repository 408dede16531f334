"""Differences, integrals, interpolation, convolution and covariance of sampled data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, asarray, promote, to_dtype, wrap
from lucidfn.array import unwrap as raw_of
from lucidfn.core.trace import Tracer, shape_of
from lucidfn.numpy.cumulative import cumsum
from lucidfn.numpy.elementwise import _floats, clip, lift, mod, where
from lucidfn.numpy.indexing import getitem
from lucidfn.numpy.linear import matmul
from lucidfn.numpy.reductions import average, normal_axes, normal_axis
from lucidfn.numpy.reductions import sum as sum_
from lucidfn.numpy.sorting import argsort, searchsorted
from lucidfn.types import as_dtype, bool_, float_type_for, kind_of


def _floating(x: Any) -> Any:
    raw = as_raw(x)
    return wrap(to_dtype(raw, float_type_for(raw.dtype)))


# ------------------------------------------------------------------ differences

def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th differences of neighbours along an axis; of booleans, whether they differ.

    `prepend` and `append` are put at the ends first (a scalar as one element).
    """
    raw = as_raw(a)
    if n < 0:
        raise ValueError(f"lnp.diff: n must not be negative, got {n}")
    if raw.ndim == 0:
        raise ValueError("lnp.diff needs an array of at least one axis")
    axis = normal_axis(axis, raw.ndim)
    if n == 0:
        return wrap(raw)
    ends = [x for x in (prepend, append) if x is not None]
    if ends:
        raws, _ = lift(a, *ends)
        one = tuple(1 if i == axis else d for i, d in enumerate(raw.shape))
        wide = [ops.broadcast_to(r, shape=one) if r.ndim == 0 else r for r in raws]
        before = [wide[1]] if prepend is not None else []
        raw = ops.concatenate(*before, wide[0], *wide[1 + len(before):], axis=axis)
    for _ in range(n):
        raw = _neighbours(raw, axis)
    return wrap(raw)


def _neighbours(raw: Any, axis: int) -> Any:
    n = shape_of(raw)[axis]
    after = ops.slice_axis(raw, axis, min(1, n), n)
    before = ops.slice_axis(raw, axis, 0, max(n - 1, 0))
    return ops.ne(after, before) if raw.dtype == bool_ else ops.sub(after, before)


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours of the flattened array, between `to_begin` and `to_end`."""
    raw = as_raw(ary)
    parts = [_neighbours(ops.reshape(raw, shape=(math.prod(raw.shape),)), 0)]
    for extra, front in ((to_begin, True), (to_end, False)):
        if extra is not None:
            line = to_dtype(as_raw(extra), raw.dtype)
            line = ops.reshape(line, shape=(math.prod(line.shape),))
            parts = [line, *parts] if front else [*parts, line]
    return wrap(ops.concatenate(*parts, axis=0) if len(parts) > 1 else parts[0])


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int | None = None) -> Any:
    """Slopes of f along each axis (a list if there are several), by central differences.

    Spacing: nothing (1), one number for all axes, or for each axis a number or its coordinates.
    `edge_order` 1 or 2 is the accuracy at the ends.
    """
    f = _floating(f)
    axes = normal_axes(axis, f.ndim)
    if len(varargs) == 0:
        spacing: Sequence[Any] = [1.0] * len(axes)
    elif len(varargs) == 1 and shape_of(raw_of(varargs[0])) == ():
        spacing = list(varargs) * len(axes)
    elif len(varargs) == len(axes):
        spacing = varargs
    else:
        raise TypeError(f"lnp.gradient got {len(varargs)} spacings for {len(axes)} axes")
    order = 1 if edge_order is None else edge_order
    if order not in (1, 2):
        raise ValueError(f"lnp.gradient: edge_order is 1 or 2, got {edge_order}")
    slopes = [_slope(f, h, i, order) for h, i in zip(spacing, axes, strict=True)]
    return slopes[0] if len(slopes) == 1 else slopes


def _slope(f: Any, spacing: Any, axis: int, order: int) -> Any:
    n = f.shape[axis]
    if n < order + 1:
        raise ValueError(f"lnp.gradient with edge_order={order} needs {order + 1} points along "
                         f"axis {axis}, got {n}")
    h = asarray(spacing)
    if h.ndim == 0:
        gaps = wrap(ops.broadcast_to(as_raw(_floating(h), f.dtype), shape=(n - 1,)))
    elif h.shape == (n,):
        gaps = diff(_floating(h))
    else:
        raise ValueError(f"lnp.gradient: coordinates along axis {axis} must be a scalar or have "
                         f"shape ({n},), got {h.shape}")
    tail = (1,) * (f.ndim - 1 - axis)
    gaps = wrap(ops.reshape(raw_of(gaps), shape=(n - 1, *tail)))
    part = lambda i, j: wrap(ops.slice_axis(raw_of(f), axis, i, j))
    step = lambda i, j: wrap(ops.slice_axis(raw_of(gaps), 0, i, j))
    slopes = (part(1, n) - part(0, n - 1)) / gaps  # between neighbours
    between = lambda i, j: wrap(ops.slice_axis(raw_of(slopes), axis, i, j))
    first, last = between(0, 1), between(n - 2, n - 1)
    if order == 2:
        a, b, c, d = step(0, 1), step(1, 2), step(n - 3, n - 2), step(n - 2, n - 1)
        first = first + (first - between(1, 2)) * a / (a + b)
        last = last + (last - between(n - 3, n - 2)) * d / (c + d)
    left, right = step(0, n - 2), step(1, n - 1)
    inner = (between(0, n - 2) * right + between(1, n - 1) * left) / (left + right)
    return wrap(ops.concatenate(*map(raw_of, (first, inner, last)), axis=axis))


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integral along an axis by the trapezoidal rule, over coordinates x or steps of dx."""
    y = _floating(y)
    axis = normal_axis(axis, y.ndim)
    n = y.shape[axis]
    if x is None:
        step = dx
    else:
        x = _floating(x)
        if x.ndim == 1:
            tail = (1,) * (y.ndim - 1 - axis)
            step = wrap(ops.reshape(raw_of(diff(x)), shape=(x.shape[0] - 1, *tail)))
        else:
            step = diff(x, axis=axis)
    part = lambda i, j: wrap(ops.slice_axis(raw_of(y), axis, min(i, j), j))
    return sum_(step * (part(1, n) + part(0, max(n - 1, 0))) * 0.5, axis=axis)


def unwrap(p: Any, discont: Any = None, axis: int = -1, period: Any = 2 * math.pi) -> Any:
    """Take out jumps of more than half a period between neighbours."""
    p = asarray(p)
    if kind_of(p.dtype) != 1 or isinstance(period, float):
        p = _floating(p)
    axis = normal_axis(axis, p.ndim)
    step = diff(p, axis=axis)
    half = period // 2 if kind_of(p.dtype) == 1 else period / 2
    low = -half
    folded = mod(step - low, period) + low
    if kind_of(p.dtype) != 1 or period % 2 == 0:
        folded = where((folded == low) & (step > 0), half, folded)
    limit = period / 2 if discont is None else discont
    jump = where(abs(step) < limit, 0, folded - step)
    start = ops.slice_axis(raw_of(p), axis, 0, 1)
    rest = ops.slice_axis(raw_of(p), axis, 1, p.shape[axis])
    moved = raw_of(wrap(rest) + cumsum(jump, axis=axis))
    return wrap(ops.concatenate(start, to_dtype(moved, start.dtype), axis=axis))


# ------------------------------------------------------------------ interpolation

def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None,
           period: Any = None) -> Any:
    """Piecewise linear interpolation of the points (xp, fp), xp ascending, at x.

    Outside: `left` and `right`, by default the first and the last of fp; "extrapolate" continues
    the line. With `period`, xp wraps around.
    """
    x, xp = map(wrap, lift(x, xp, to_float=True)[0])
    fp = _floating(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or xp.size == 0:
        raise ValueError(f"lnp.interp needs 1-d xp and fp of one length, got shapes {xp.shape} and "
                         f"{fp.shape}")
    if period is not None:
        if not isinstance(period, Tracer) and period == 0:
            raise ValueError("lnp.interp: period must not be 0")
        size = abs(asarray(period))
        x, xp = mod(x, size), mod(xp, size)
        order = argsort(xp)
        xp, fp = getitem(xp, order), getitem(fp, order)
        ends = lambda v, d: wrap(ops.concatenate(*[raw_of(r) for r in (
            getitem(v, slice(-1, None)) - d, v, getitem(v, slice(None, 1)) + d)], axis=0))
        xp, fp = ends(xp, size), ends(fp, 0)
    n = xp.shape[0]
    i = clip(searchsorted(xp, x, side="right"), min(1, n - 1), n - 1)
    low = clip(i - 1, 0, n - 1)
    x0, x1, y0, y1 = getitem(xp, low), getitem(xp, i), getitem(fp, low), getitem(fp, i)
    flat = x1 == x0
    value = where(flat, y1, y0 + (x - x0) / where(flat, 1, x1 - x0) * (y1 - y0))
    if period is None:
        value = _ends(value, x, xp, fp, left, right)
    return value


def _ends(value: Any, x: Any, xp: Any, fp: Any, left: Any, right: Any) -> Any:
    if not (isinstance(left, str) and left == "extrapolate"):
        value = where(x < getitem(xp, 0), getitem(fp, 0) if left is None else left, value)
    if not (isinstance(right, str) and right == "extrapolate"):
        value = where(x > getitem(xp, -1), getitem(fp, -1) if right is None else right, value)
    return value


# ------------------------------------------------------------------ convolution

def convolve(a: Any, v: Any, mode: str = "full", *, precision: Any = None,
             preferred_element_type: Any = None) -> Any:
    """Discrete convolution of two sequences: sum_m a[m] v[n - m].

    mode "full" has every overlap, "same" the length of the longer one, "valid" whole overlaps.
    """
    x, y = _sequences(a, v, "convolve", preferred_element_type)
    if x.shape[0] < y.shape[0]:
        x, y = y, x
    return wrap(_slide(x, ops.flip(y, axes=(0,)), mode, "convolve"))


def correlate(a: Any, v: Any, mode: str = "valid", *, precision: Any = None,
              preferred_element_type: Any = None) -> Any:
    """Cross-correlation of two sequences: sum_n a[n + k] conj(v[n])."""
    x, y = _sequences(a, v, "correlate", preferred_element_type)
    conj = ops.conj if kind_of(x.dtype) == 3 else lambda r: r
    if x.shape[0] >= y.shape[0]:
        return wrap(_slide(x, conj(y), mode, "correlate"))
    return wrap(conj(ops.flip(_slide(y, conj(x), mode, "correlate"), axes=(0,))))


def _sequences(a: Any, v: Any, name: str, preferred: Any) -> tuple[Any, Any]:
    (x, y), _ = lift(a, v, to_float=True)
    if x.ndim != 1 or y.ndim != 1 or 0 in (x.shape[0], y.shape[0]):
        raise ValueError(f"lnp.{name} takes two 1-d arrays with elements, got shapes {x.shape} and "
                         f"{y.shape}")
    if preferred is not None:
        return to_dtype(x, as_dtype(preferred)), to_dtype(y, as_dtype(preferred))
    return x, y


def _slide(x: Any, window: Any, mode: str, name: str) -> Any:
    """The products of x with a window at every place."""
    k = window.shape[0]
    padding = {"full": (k - 1, k - 1), "same": (k // 2, k - 1 - k // 2), "valid": (0, 0)}
    if mode not in padding:
        raise ValueError(f"lnp.{name}: mode is 'full', 'same' or 'valid', got {mode!r}")
    out = ops.conv(ops.reshape(x, shape=(1, x.shape[0], 1)), ops.reshape(window, shape=(k, 1, 1)),
                   stride=(1,), padding=(padding[mode],), x_dilation=(1,), w_dilation=(1,),
                   groups=1)
    return ops.reshape(out, shape=(shape_of(out)[1],))


# ------------------------------------------------------------------ covariance

def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None,
        fweights: Any = None, aweights: Any = None, dtype: Any = None) -> Any:
    """Covariance matrix of variables in rows (columns if not `rowvar`), each with its samples.

    `fweights` repeats samples, `aweights` weighs them; divided by n - ddof (1, or 0 if `bias`).
    """
    x = _variables(m, y, rowvar, dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    w = None
    for weights in (fweights, aweights):
        if weights is not None:
            weights = wrap(to_dtype(as_raw(weights), x.dtype))
            if weights.shape != (x.shape[1],):
                raise ValueError(f"lnp.cov: weights of shape {weights.shape} for {x.shape[1]} "
                                 "samples")
            w = weights if w is None else w * weights
    center, total = average(x, axis=1, weights=w, returned=True)
    total = getitem(total, 0) if x.shape[0] else 0.0
    if w is None:
        norm: Any = x.shape[1] - ddof
    elif ddof == 0:
        norm = total
    elif aweights is None:
        norm = total - ddof
    else:
        norm = total - ddof * sum_(w * wrap(to_dtype(as_raw(aweights), x.dtype))) / total
    away = x - wrap(ops.reshape(raw_of(center), shape=(x.shape[0], 1)))
    other = away if w is None else away * w
    if kind_of(x.dtype) == 3:
        other = wrap(ops.conj(raw_of(other)))
    out = matmul(away, wrap(ops.permute(raw_of(other), order=(1, 0)))) / norm
    if out.shape == (1, 1):
        out = wrap(ops.reshape(raw_of(out), shape=()))
    return out


def _variables(m: Any, y: Any, rowvar: bool, dtype: Any) -> Any:
    raws, _ = promote(m, *([] if y is None else [y]))
    raws = _floats([as_raw(r) for r in raws])
    if dtype is not None:
        raws = [to_dtype(r, as_dtype(dtype)) for r in raws]
    rows = []
    for r in raws:
        if r.ndim > 2:
            raise ValueError(f"lnp.cov takes at most two axes, got shape {r.shape}")
        r = ops.reshape(r, shape=(1, math.prod(r.shape))) if r.ndim < 2 else r
        turned = not rowvar and r.shape[0] != 1
        rows.append(ops.permute(r, order=(1, 0)) if turned else r)
    return wrap(rows[0] if len(rows) == 1 else ops.concatenate(*rows, axis=0))


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, dtype: Any = None) -> Any:
    """Matrix of correlation coefficients of variables in rows (columns if not `rowvar`)."""
    c = cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    n = c.shape[0]
    raw = raw_of(c)
    line = ops.slice_axis(ops.reshape(raw, shape=(n * n,)), 0, 0, n * n, n + 1)
    size = ops.sqrt(ops.real(line) if kind_of(raw.dtype) == 3 else line)
    out = c / wrap(ops.reshape(size, shape=(n, 1))) / wrap(size)
    if kind_of(raw.dtype) == 3:
        parts = [ops.clamp(-1.0, part(raw_of(out)), 1.0) for part in (ops.real, ops.imag)]
        return wrap(ops.complex_(*parts))
    return clip(out, -1, 1)


__all__ = [
    "convolve", "corrcoef", "correlate", "cov", "diff", "ediff1d", "gradient", "interp",
    "trapezoid", "unwrap",
]
