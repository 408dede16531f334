"""Reductions, positions of extrema, and running reductions along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn.backends.mlx.arrays import mx_dtype
from lucidfn.backends.mlx.elementwise import HALVES, INTEGERS, exp, log_of_sum
from lucidfn.backends.mlx.shapes import pad, slice_axis

Axes = tuple[int, ...]


def _left(x: mx.array, axes: Axes) -> list[int]:
    return [n for i, n in enumerate(x.shape) if i not in axes]


# MLX's reductions must not see empty arrays: some of them do not end.

def _total(reduce: Callable[..., mx.array], neutral: int) -> Callable[..., mx.array]:
    """Sums and products: halves are accumulated in float32, integers wrap at their own width."""
    def run(x: mx.array, *, axes: Axes) -> mx.array:
        if not axes:
            return x
        if not x.size:
            return mx.full(_left(x, axes), neutral, x.dtype)
        wide = x.astype(mx.float32) if x.dtype in HALVES else x
        out = reduce(wide, axis=axes)
        return out if out.dtype == x.dtype else out.astype(x.dtype)
    return run


# Terms that MLX's CPU may add one after the other.
_TERMS = 4096


def total(x: mx.array, axis: Axes) -> mx.array:
    """The sum. MLX's CPU adds in order, and loses digits in long sums: these go in stages."""
    if x.size <= _TERMS or x.dtype not in (mx.float32, mx.complex64) or (
            mx.default_device() != mx.Device(mx.cpu)):
        return mx.sum(x, axis=axis)
    n = max([x.shape[a] for a in axis])
    if n <= _TERMS:
        # The innermost axes first.
        first = [a for a in sorted(axis)[1:] if x.shape[a] > 1] if len(axis) > 1 else []
        kept = tuple([a for a in axis if a not in first])
        return mx.sum(mx.sum(x, axis=first, keepdims=True), axis=axis) if first and kept \
            else mx.sum(x, axis=axis)
    longest = next(a for a in axis if x.shape[a] == n)
    part = math.isqrt(n)
    even = n - n % part
    head = slice_axis(x, longest, 0, even)
    shape = (*x.shape[:longest], even // part, part, *x.shape[longest + 1:])
    head = mx.sum(head.reshape(shape), axis=longest + 1)
    sums = total(head, axis)
    return sums if even == n else sums + mx.sum(slice_axis(x, longest, even, n), axis=axis)


reduce_sum, reduce_prod = _total(total, 0), _total(mx.prod, 1)


def _extremum(reduce: Callable[..., mx.array]) -> Callable[..., mx.array]:
    def run(x: mx.array, *, axes: Axes) -> mx.array:
        if not axes:
            return x
        if not x.size:  # some other axis is empty, so that the result is
            return mx.zeros(_left(x, axes), x.dtype)
        return reduce(x, axis=axes)
    return run


reduce_max, reduce_min = _extremum(mx.max), _extremum(mx.min)


def reduce_and(x: mx.array, *, axes: Axes) -> mx.array:
    if not x.size:
        return mx.ones(_left(x, axes), mx.bool_)
    return mx.all(x, axis=axes) if axes else x


def reduce_or(x: mx.array, *, axes: Axes) -> mx.array:
    if not x.size:
        return mx.zeros(_left(x, axes), mx.bool_)
    return mx.any(x, axis=axes) if axes else x


def _position(find: Callable[..., mx.array], extremum: Callable[..., mx.array]) -> Any:
    def run(x: mx.array, *, axis: int, dtype: np.dtype) -> mx.array:
        theirs = mx_dtype(dtype)
        if not x.size:
            return mx.zeros(_left(x, (axis,)), theirs)
        if x.dtype == mx.bool_:
            x = x.astype(mx.uint8)
        if x.dtype in INTEGERS:
            return find(x, axis=axis).astype(theirs)
        # The extremum is NaN where there is one; the first element that is it, counts.
        best = extremum(x, axis=axis, keepdims=True)
        at = mx.where(mx.isnan(best), mx.isnan(x), x == best)
        return mx.argmax(at.astype(mx.uint8), axis=axis).astype(theirs)
    return run


argmax, argmin = _position(mx.argmax, mx.max), _position(mx.argmin, mx.min)


# ------------------------------------------------------------------ running reductions

def _running(scan: Callable[..., mx.array]) -> Callable[..., mx.array]:
    def run(x: mx.array, *, axis: int, reverse: bool) -> mx.array:
        if not x.size:
            return x
        wide = x.astype(mx.float32) if x.dtype in HALVES else x
        out = scan(wide, axis=axis, reverse=reverse)
        return out if out.dtype == x.dtype else out.astype(x.dtype)
    return run


cumsum, cumprod = _running(mx.cumsum), _running(mx.cumprod)
cummax, cummin = _running(mx.cummax), _running(mx.cummin)


def by_doubling(combine: Callable[[mx.array, mx.array], mx.array], x: mx.array, axis: int,
                reverse: bool, start: Any) -> mx.array:
    """Combines each element with all before it (after it) in log2(n) steps; `start` is neutral."""
    n, step = x.shape[axis], 1
    while step < n:
        keep = (step, n) if reverse else (0, n - step)
        side = (0, step, 0) if reverse else (step, 0, 0)
        widths = [side if i == axis else (0, 0, 0) for i in range(x.ndim)]
        x = combine(pad(slice_axis(x, axis, *keep), start, widths=widths), x)
        step *= 2
    return x


def cumlogsumexp(x: mx.array, *, axis: int, reverse: bool) -> mx.array:
    """out[i] = log(exp(x[0]) + ... + exp(x[i])) along an axis, without overflow."""
    if not x.size:
        return x
    wide = x.astype(mx.float32) if x.dtype in HALVES else x
    out = by_doubling(log_of_sum, wide, axis, reverse, -float("inf"))
    return out.astype(x.dtype)


def softmax(x: mx.array, *, axes: Axes) -> mx.array:
    """exp(x) / sum(exp(x)) over axes; 0 where all of a row is -inf."""
    if not x.size:
        return x
    if x.dtype in HALVES:
        return softmax(x.astype(mx.float32), axes=axes).astype(x.dtype)
    if not axes:
        return mx.where(x == -float("inf"), 0.0, exp(x - x))
    top = mx.max(x, axis=axes, keepdims=True)
    none = top == -float("inf")
    if axes == (x.ndim - 1,) and x.dtype == mx.float32:  # one fused kernel
        return mx.where(none, 0.0, mx.softmax(x, axis=-1, precise=True))
    grown = exp(x - mx.where(none, 0.0, top))
    return grown / mx.where(none, 1.0, mx.sum(grown, axis=axes, keepdims=True))

