"""Padding of the space axes of channels-last data.

Widths are pairs from the last space axis inwards, as in PyTorch: (left, right) pads W, (left,
right, top, bottom) pads W and H, (left, right, top, bottom, front, back) also D. Neither the
channels, which are last, nor the batch is ever padded, so that the same widths give the same
result as `torch.nn.functional.pad` does on channels-first data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, to_dtype, unwrap, weak_of, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.convolution import Fail, failing, is_int
from lucidfn.types import dtype_name, kind_of

MODES = ("constant", "reflect", "replicate", "circular")


def pad(x: Any, widths: Sequence[int], mode: str = "constant", value: Any = 0) -> Any:
    """x [..., *space, C] with values put around its space axes.

    widths is (left, right), (left, right, top, bottom) or (left, right, top, bottom, front, back):
    pairs for W, H and D. Mode "constant" puts `value` there, "replicate" repeats the border,
    "reflect" mirrors at it without repeating it (widths smaller than the axis), "circular" goes on
    at the other end (widths up to the axis). Negative widths crop, before the others pad.
    ShapeError where widths do not fit x, ValueError for other arguments.

    >>> import lucidfn.numpy as lnp
    >>> x = lnp.arange(4).reshape(1, 4, 1)
    >>> pad(x, (2, 1), "reflect").ravel().tolist(), pad(x, (-1, 2), value=9).ravel().tolist()
    ([2, 1, 0, 1, 2, 3, 2], [1, 2, 3, 9, 9])
    """
    raw, widths = as_raw(x), check_widths(failing("pad"), widths)
    axes, rank = len(widths) // 2, len(shape_of(raw))
    if mode not in MODES:
        raise ValueError(f"pad got mode {mode!r}; expected one of {', '.join(MODES)}")
    if rank < axes + 1:
        raise ShapeError(f"pad got x {type_of(raw)} and widths {widths}: {axes} pairs, for the "
                         f"{axes} space axes before the channels of [..., *space, C]")
    pairs = {rank - 2 - i: (widths[2 * i], widths[2 * i + 1]) for i in range(axes)}
    if mode == "constant":
        return wrap(pad_constant(raw, pairs, value), weak_of(x))
    for axis, (low, high) in pairs.items():
        raw = pad_axis(raw, axis, low, high, mode)
    return wrap(raw, weak_of(x))


def check_widths(fail: Fail, widths: Any) -> tuple[int, ...]:
    fits = (isinstance(widths, (tuple, list)) and len(widths) in (2, 4, 6)
            and all(map(is_int, widths)))
    if not fits:
        raise fail(f"got widths {widths!r}; expected integers (left, right), (left, right, top, "
                   "bottom) or (left, right, top, bottom, front, back)")
    return tuple([int(w) for w in widths])


def pad_constant(raw: Any, pairs: dict[int, tuple[int, int]], value: Any) -> Any:
    fill, dtype = unwrap(value), dtype_of(raw)
    if shape_of(fill):
        raise ShapeError(f"pad got the value {type_of(fill)}; expected a scalar")
    if kind_of(dtype_of(fill)) > kind_of(dtype) and not (
            isinstance(fill, float) and fill.is_integer()):
        raise TypeError(f"pad got the value {fill!r} for {type_of(raw)}; {dtype_name(dtype)} does "
                        "not hold it: convert x first")
    widths = tuple([(*pairs.get(i, (0, 0)), 0) for i in range(len(shape_of(raw)))])
    check_left(raw, pairs)
    return ops.pad(raw, to_dtype(fill, dtype), widths=widths)


def check_left(raw: Any, pairs: dict[int, tuple[int, int]]) -> None:
    """Negative widths may crop all there is, not more."""
    for axis, (low, high) in pairs.items():
        n = shape_of(raw)[axis]
        if n + min(low, 0) + min(high, 0) < 0:
            raise ShapeError(f"pad got x {type_of(raw)} and widths {(low, high)} for axis {axis}, "
                             f"which crop more than its {n} elements")


def pad_axis(raw: Any, axis: int, low: int, high: int, mode: str) -> Any:
    """One axis of a mode that takes what it pads with from x."""
    check_left(raw, {axis: (low, high)})
    n = shape_of(raw)[axis]
    if low < 0 or high < 0:
        raw = ops.slice_axis(raw, axis, max(0, -low), n - max(0, -high))
        n, low, high = shape_of(raw)[axis], max(low, 0), max(high, 0)
    most = {"reflect": n - 1, "circular": n, "replicate": max(low, high) if n else 0}[mode]
    if low > max(most, 0) or high > max(most, 0):
        raise ShapeError(f"pad got x {type_of(raw)} and widths {(low, high)} for axis {axis}; mode "
                         f"{mode!r} can pad its {n} elements by at most {max(most, 0)}")
    before, after = sides(raw, axis, n, low, high, mode)
    parts = [*([before] if low else []), raw, *([after] if high else [])]
    return ops.concatenate(*parts, axis=axis) if len(parts) > 1 else raw


def sides(raw: Any, axis: int, n: int, low: int, high: int, mode: str) -> tuple[Any, Any]:
    """What stands before and after an axis of n elements; for widths of 0, anything."""
    part = lambda start, stop: ops.slice_axis(raw, axis, start, stop)
    if mode == "circular":
        return part(n - low, n), part(0, high)
    if mode == "reflect":
        turned = lambda start, stop: ops.flip(part(start, stop), axes=(axis,))
        return turned(1, low + 1) if low else None, turned(n - 1 - high, n - 1) if high else None
    repeated = lambda edge, count: ops.broadcast_to(edge, shape=tuple(
        [count if i == axis else d for i, d in enumerate(shape_of(edge))]))
    return (repeated(part(0, 1), low) if low else None,
            repeated(part(n - 1, n), high) if high else None)


__all__ = ["pad"]
