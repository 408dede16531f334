"""Specs of indexing, scattering, sorting, sliding windows and convolution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from spec_base import Case, Point, Spec, distinct, integers, kinds, nonzero, normal

NAN, INF = math.nan, math.inf

# ------------------------------------------------------------------ gather and scatter


def place(index: Any, x: np.ndarray, axes: Any, mode: str) -> tuple[Any, ...] | None:
    """The basic index of one place; None where it lies outside and the mode leaves it out."""
    where: list[Any] = [slice(None)] * x.ndim
    for i, a in zip(index.tolist(), axes, strict=True):
        n = x.shape[a]
        if mode in ("fill", "drop") and not 0 <= i < n:
            return None
        where[a] = min(max(i, 0), n - 1) if mode == "clip" else i % n
    return tuple(where)


def gather(x: np.ndarray, indices: np.ndarray, *, axes: Any, mode: str, fill: Any,
           lanes: int = 0) -> np.ndarray:
    if lanes:
        own = {"axes": tuple(a - 1 for a in axes), "lanes": lanes - 1, "mode": mode, "fill": fill}
        return np.stack([gather(a, i, **own) for a, i in zip(x, indices, strict=True)])
    rest = tuple(d for i, d in enumerate(x.shape) if i not in axes)
    out = np.empty(indices.shape[:-1] + rest, x.dtype)
    for b in np.ndindex(*indices.shape[:-1]):
        where = place(indices[b], x, axes, mode)
        out[b] = fill if where is None else x[where]
    return out


def scatter(combine: Callable[[Any, Any], Any]) -> Any:
    def reference(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axes: Any,
                  mode: str, lanes: int = 0) -> np.ndarray:
        if lanes:
            own = {"axes": tuple(a - 1 for a in axes), "lanes": lanes - 1, "mode": mode}
            return np.stack([reference(*lane, **own)
                             for lane in zip(x, indices, updates, strict=True)])
        out = x.copy()
        for b in np.ndindex(*indices.shape[:-1]):
            where = place(indices[b], x, axes, mode)
            if where is not None:
                out[where] = combine(out[where], updates[b])
        return out
    return reference


def gathers() -> list[Case]:
    rows = [((5,), (3, 1), (0,), "raise", -5, 5), ((4, 3), (2, 1), (0,), "raise", -4, 4),
            ((4, 3), (2, 2, 1), (1,), "clip", -2, 6), ((4, 3), (5, 2), (0, 1), "raise", -3, 3),
            ((3, 4, 2), (3, 2), (2, 0), "raise", 0, 2), ((4, 3), (4, 1), (0,), "fill", -2, 6),
            ((4,), (0, 1), (0,), "raise", 0, 4), ((4, 2), (3, 0), (), "raise", 0, 1),
            ((2, 3), (2,), (0, 1), "raise", 0, 2), ((3, 0), (2, 1), (0,), "raise", 0, 3)]
    lanes = [((3, 4), (3, 1), (1,), "raise", -4, 4, 1), ((3, 4), (3, 2, 1), (1,), "fill", -2, 6, 1),
             ((2, 3, 4), (2, 3, 2, 1), (2,), "clip", -2, 6, 2),
             ((2, 3, 4), (2, 2, 1), (2,), "raise", 0, 4, 1),
             ((2, 3, 4), (2, 5, 2), (2, 1), "unchecked", 0, 3, 1),
             ((2, 3), (2, 4, 0), (), "raise", 0, 1, 1)]
    return [Case((x, i), {"axes": a, "mode": m, "fill": 0, **lane_of(n)},
                 domain=(distinct, integers(lo, hi)))
            for x, i, a, m, lo, hi, *n in [*rows, *lanes]]


def lane_of(found: list[int]) -> dict[str, int]:
    return {"lanes": found[0]} if found else {}


def scatters() -> list[Case]:
    rows = [((5,), (3, 1), (3,), (0,), "raise", -5, 5), ((3,), (5, 1), (5,), (0,), "raise", 0, 3),
            ((4, 3), (3, 1), (3, 3), (0,), "raise", 0, 2),
            ((4, 3), (6, 2), (6,), (0, 1), "raise", 0, 2),
            ((4, 3), (2, 2, 1), (2, 2, 4), (1,), "clip", -2, 6),
            ((4, 3), (4, 1), (4, 3), (0,), "drop", -2, 6),
            ((4,), (0, 1), (0,), (0,), "raise", 0, 4), ((3, 2), (2,), (), (0, 1), "raise", 0, 2),
            ((2, 2), (3, 0), (3, 2, 2), (), "raise", 0, 1)]
    lanes = [((3, 4), (3, 1), (3,), (1,), "raise", -4, 4, 1),
             ((3, 4), (3, 3, 1), (3, 3), (1,), "drop", -2, 6, 1),
             ((2, 3, 2), (2, 3, 2, 1), (2, 3, 2), (2,), "clip", -2, 6, 2),
             ((2, 3, 4), (2, 2, 1), (2, 2, 3), (2,), "raise", 0, 2, 1),
             ((2, 2, 3), (2, 5, 2), (2, 5), (2, 1), "unchecked", 0, 2, 1)]
    return [Case((x, i, u), {"axes": a, "mode": m, **lane_of(n)},
                 domain=(normal, integers(lo, hi), normal))
            for x, i, u, a, m, lo, hi, *n in [*rows, *lanes]]


def put(x: Any, at: Any, updates: Any, grad_x: Any, grad_u: Any) -> Point:
    return Point((np.array(x), np.array(at)[:, None], np.array(updates)),
                 (np.array(grad_x), None, np.array(grad_u)), {"axes": (0,), "mode": "raise"})


GATHER = [
    Spec("gather", gather, gathers(), "bifc", diff=(0,)),
    Spec("check_labels", lambda labels, *, classes: labels.copy(), [
        Case((shape,), {"classes": 5}, domain=integers(0, 5))
        for shape in ((4,), (), (2, 3), (0,))], "i", diff=()),
    Spec("scatter_add", scatter(lambda a, b: a + b), scatters(), "ifc", diff=(0, 2)),
    Spec("scatter_set", scatter(lambda a, b: b), scatters(), "bifc", diff=(0, 2), points=[
        put([1.0, 2.0], [0, 0], [3.0, 4.0], [0.0, 1.0], [0.0, 1.0])]),
    Spec("scatter_mul", scatter(lambda a, b: a * b), scatters(), "ifc", diff=(0, 2), tol=4.0,
         points=[put([2.0, 5.0], [0, 0, 0], [3.0, 0.0, 7.0], [0.0, 1.0], [0.0, 42.0, 0.0])]),
    Spec("scatter_min", scatter(np.minimum), scatters(), "if", diff=(0, 2), points=[
        put([1.0, 2.0], [0, 0], [1.0, 4.0], [0.5, 1.0], [0.5, 0.0])]),
    Spec("scatter_max", scatter(np.maximum), scatters(), "if", diff=(0, 2), points=[
        put([1.0, 2.0], [0, 1], [1.0, 4.0], [0.5, 0.0], [0.5, 1.0])]),
]

# ------------------------------------------------------------------ dynamic slices


def clamped(starts: Any, shape: Any, sizes: Any) -> tuple[slice, ...]:
    at = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, shape, sizes, strict=True)]
    return tuple(slice(a, a + k) for a, k in zip(at, sizes, strict=True))


def dynamic_slice(x: np.ndarray, *starts: Any, sizes: Any) -> np.ndarray:
    return x[clamped(starts, x.shape, sizes)]


def dynamic_update_slice(x: np.ndarray, update: np.ndarray, *starts: Any) -> np.ndarray:
    out = x.copy()
    out[clamped(starts, x.shape, update.shape)] = update
    return out


DYNAMIC = [
    Spec("dynamic_slice", dynamic_slice, [
        Case((x, *[()] * len(x)), {"sizes": s}, domain=(normal, integers(-2, 6))) for x, s in
        [((5,), (3,)), ((4, 3), (2, 3)), ((4, 3), (1, 2)), ((), ()), ((3, 4), (0, 2)),
         ((2, 3, 4), (1, 2, 2))]], "bifc", diff=(0,)),
    Spec("dynamic_update_slice", dynamic_update_slice, [
        Case((x, s, *[()] * len(x)), domain=(normal, normal, integers(-2, 6))) for x, s in
        [((5,), (3,)), ((4, 3), (2, 3)), ((4, 3), (1, 2)), ((), ()), ((3, 4), (0, 2))]],
        "bifc", diff=(0, 1)),
]

# ------------------------------------------------------------------ sorting


def order_of(keys: Any, axis: int) -> np.ndarray:
    """Stable and lexicographic, from Python's sort of tuples."""
    first = keys[0]
    out = np.empty(first.shape, np.int64)
    rows = [np.moveaxis(k, axis, -1) for k in keys]
    place_ = np.moveaxis(out, axis, -1)
    for b in np.ndindex(*rows[0].shape[:-1]):
        values = [tuple(sort_key(r[b][i]) for r in rows) for i in range(first.shape[axis])]
        place_[b] = sorted(range(len(values)), key=values.__getitem__)
    return out


def sort_key(v: Any) -> Any:
    v = v.item()
    if isinstance(v, complex):
        return (math.isnan(v.real) or math.isnan(v.imag), v.real, v.imag)
    return (v != v, 0.0 if v != v else v)


def sort(*operands: np.ndarray, axis: int, num_keys: int) -> list[np.ndarray]:
    order = order_of(operands[:num_keys], axis)
    return [np.take_along_axis(x, order, axis) for x in operands]


def top_k(x: np.ndarray, *, k: int) -> list[np.ndarray]:
    backwards = np.flip(x, -1)  # the first of equal elements is then the last of the ascending
    order = order_of([backwards], x.ndim - 1)
    order = np.flip(x.shape[-1] - 1 - order, -1)[..., :k]
    return [np.take_along_axis(x, order, -1), order.astype(np.int32)]


UNSORTED = np.array([[3.0, NAN, -0.0, 0.0, -INF], [INF, 2.0, 2.0, NAN, 1.0]])
tied = np.array([2.0, 1.0, 2.0, 3.0])
SORT = [
    Spec("sort", sort, [
        Case((s,) * n, {"axis": a, "num_keys": k}) for s, n, a, k in [
            ((5,), 1, 0, 1), ((3, 4), 1, 0, 1), ((3, 4), 1, 1, 1), ((2, 5), 2, 1, 1),
            ((5,), 3, 0, 2), ((0, 2), 1, 0, 1), ((2, 1), 1, 1, 1), ((2, 0), 1, 0, 1)]],
        "bif", distinct, special=[(UNSORTED, {"axis": 1, "num_keys": 1})]),
    Spec("argsort", lambda *keys, axis: order_of(keys, axis).astype(np.int32), [
        Case((s,) * n, {"axis": a}) for s, n, a in [
            ((5,), 1, 0), ((3, 4), 1, 1), ((3, 4), 1, 0), ((5,), 2, 0), ((0,), 1, 0)]],
        "bifc", distinct, diff=(), special=[(UNSORTED, {"axis": 1}), (tied, {"axis": 0})]),
    Spec("top_k", top_k, [Case((s,), {"k": k}) for s, k in [
        ((5,), 2), ((3, 4), 4), ((3, 4), 1), ((4,), 0), ((0, 4), 2)]], "if", distinct,
        special=[(UNSORTED, {"k": 4})],
        points=[]),
]

# ------------------------------------------------------------------ windows and convolution


def widened(x: np.ndarray, dilation: Any, padding: Any, value: Any) -> np.ndarray:
    """Gaps between neighbours, then padding or cropping."""
    shape = [0 if n == 0 else (n - 1) * d + 1 for n, d in zip(x.shape, dilation, strict=True)]
    out = np.full(shape, value, x.dtype)
    out[tuple(slice(None, None, d) for d in dilation)] = x
    for axis, (lo, hi) in enumerate(padding):
        widths = [(0, 0)] * out.ndim
        widths[axis] = (max(lo, 0), max(hi, 0))
        out = np.pad(out, widths, constant_values=value)
        first, last = max(-lo, 0), out.shape[axis] - max(-hi, 0)
        out = out[(slice(None),) * axis + (slice(first, max(first, last)),)]
    return out


def starts(x: np.ndarray, window: Any, stride: Any, dilation: Any) -> Any:
    """(place in the output, index of the window's elements in x)."""
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    counts = [max(0, (n - r) // s + 1) for n, r, s in zip(x.shape, reach, stride, strict=True)]
    return counts, ((p, tuple(slice(i * s, i * s + r, d) for i, s, r, d in
                              zip(p, stride, reach, dilation, strict=True)))
                    for p in itertools.product(*map(range, counts)))


def window_reduce(f: Any, identity: Callable[[np.dtype], Any]) -> Any:
    def reference(x: np.ndarray, *, window: Any, stride: Any, padding: Any, x_dilation: Any,
                  w_dilation: Any) -> np.ndarray:
        full = widened(x, x_dilation, padding, identity(x.dtype))
        shape, places = starts(full, window, stride, w_dilation)
        out = np.empty(shape, x.dtype)
        for p, index in places:
            out[p] = f(full[index])
        return out
    return reference


def lowest(dtype: np.dtype) -> Any:
    return False if dtype.kind == "b" else np.iinfo(dtype).min if dtype.kind in "iu" else -INF


def highest(dtype: np.dtype) -> Any:
    return True if dtype.kind == "b" else np.iinfo(dtype).max if dtype.kind in "iu" else INF


def conv(x: np.ndarray, w: np.ndarray, *, stride: Any, padding: Any, x_dilation: Any,
         w_dilation: Any, groups: int) -> np.ndarray:
    full = widened(x, (1, *x_dilation, 1), ((0, 0), *padding, (0, 0)), 0)
    *window, c, o = w.shape
    one = full[0, ..., 0] if full.shape[0] and full.shape[-1] else np.empty(full.shape[1:-1])
    shape, places = starts(one, window, stride, w_dilation)
    out = np.zeros((x.shape[0], *shape, o), x.dtype)
    per = o // groups
    for (p, index), g in itertools.product(list(places), range(groups)):
        block = full[(slice(None), *index, slice(g * c, (g + 1) * c))]
        n = len(window) + 1
        out[(slice(None), *p, slice(g * per, (g + 1) * per))] = np.tensordot(
            block, w[..., g * per:(g + 1) * per], (range(1, n + 1), range(n)))
    return out


def windows() -> list[Case]:
    rows = [((6,), (3,), (1,), ((0, 0),), (1,), (1,)), ((7,), (2,), (2,), ((1, 0),), (1,), (2,)),
            ((4, 5), (2, 3), (2, 1), ((0, 1), (1, 1)), (1, 1), (1, 1)),
            ((5,), (2,), (1,), ((-1, 1),), (2,), (1,)), ((2,), (4,), (1,), ((0, 0),), (1,), (1,)),
            ((2,), (1,), (1,), ((-2, -2),), (1,), (1,)), ((2,), (2,), (1,), ((-4, 3),), (1,), (1,)),
            ((3, 4), (1, 2), (1, 1), ((-2, -1), (-1, 2)), (1, 2), (1, 1)),
            ((0, 3), (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
            ((3, 4), (1, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))]
    names = ("window", "stride", "padding", "x_dilation", "w_dilation")
    return [Case((s,), dict(zip(names, p, strict=True))) for s, *p in rows]


def convs() -> list[Case]:
    rows = [((2, 6, 2), (3, 2, 4), (1,), ((0, 0),), (1,), (1,), 1),
            ((2, 6, 2), (3, 1, 4), (2,), ((1, 2),), (1,), (2,), 2),
            ((1, 5, 4, 3), (2, 2, 3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), (1, 1), 1),
            ((2, 4, 4, 4), (3, 3, 1, 4), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 4),
            ((2, 5, 4, 2), (1, 1, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
            ((1, 6, 2), (2, 2, 2), (2,), ((-1, -1),), (1,), (1,), 1),
            ((2, 3), (3, 4), (), (), (), (), 1),
            ((0, 4, 2), (2, 2, 3), (1,), ((0, 0),), (1,), (1,), 1),
            ((1, 2, 3, 2, 2), (2, 2, 1, 1, 2), (1, 1, 2), ((0, 1), (0, 0), (1, 0)), (1, 1, 1),
             (1, 1, 1), 2)]
    names = ("stride", "padding", "x_dilation", "w_dilation", "groups")
    return [Case((x, w), dict(zip(names, p, strict=True))) for x, w, *p in rows]


def window_share(t: np.ndarray, x: np.ndarray, y: np.ndarray, *, window: Any, stride: Any,
                 padding: Any, x_dilation: Any, w_dilation: Any) -> np.ndarray:
    t, x = widened(t, x_dilation, padding, 0), widened(x, x_dilation, padding, -INF)
    out = np.zeros_like(y)
    for p, index in starts(x, window, stride, w_dilation)[1]:
        at = x[index] == y[p]
        out[p] = t[index][at].mean() if at.any() else 0
    return out


def window_spread(t: np.ndarray, x: np.ndarray, y: np.ndarray, *, window: Any, stride: Any,
                  padding: Any, x_dilation: Any, w_dilation: Any) -> np.ndarray:
    where = widened(np.arange(1, x.size + 1).reshape(x.shape), x_dilation, padding, 0)
    full, out = widened(x, x_dilation, padding, -INF), np.zeros(x.size + 1, x.dtype)
    for p, index in starts(full, window, stride, w_dilation)[1]:
        at = full[index] == y[p]
        if at.any():
            np.add.at(out, where[index][at], t[p] / at.sum())
    return out[1:].reshape(x.shape)


def attaining(spread: bool) -> list[Case]:
    cases = []
    for case in windows():
        x, params = case.operands[0], case.params
        shape, _ = starts(widened(np.zeros(x), params["x_dilation"], params["padding"], 0),
                          params["window"], params["stride"], params["w_dilation"])
        cases.append(Case((tuple(shape) if spread else x, x, tuple(shape)), params))
    return cases


bits = kinds(lambda rng, shape: rng.integers(0, 2, shape) * 1.0)
tie = np.array([1.0, 3.0, 3.0, 0.0])
PAIRS = {"window": (2,), "stride": (1,), "padding": ((0, 0),), "x_dilation": (1,),
         "w_dilation": (1,)}
EMPTY = {**PAIRS, "window": (1,), "padding": ((1, 0),)}  # one window holds padding only
BORDER = (np.array([-3.0, -1.0, -2.0, NAN]), {**PAIRS, "padding": ((1, 1),)})
WINDOW = [
    Spec("window_sum", window_reduce(lambda b: b.sum(dtype=b.dtype), lambda d: 0), windows(),
         "ifc", special=[BORDER]),
    Spec("window_max", window_reduce(np.max, lowest), windows(), "bif", distinct, special=[BORDER],
         points=[Point((tie,), (np.array([0.0, 1.5, 1.5, 0.0]),), PAIRS),
                 Point((np.array([2.0]),), (np.array([1.0]),), EMPTY)]),
    Spec("window_min", window_reduce(np.min, highest), windows(), "bif", distinct, special=[BORDER],
         points=[Point((-tie,), (np.array([0.0, 1.5, 1.5, 0.0]),), PAIRS)]),
    Spec("window_share", window_share, attaining(False), "f", (normal, bits),
         diff=(0,)),
    Spec("window_spread", window_spread, attaining(True), "f", (normal, bits),
         diff=(0,)),
    Spec("conv", conv, convs(), "ifc", nonzero, tol=4.0),
]
SPECS = [*GATHER, *DYNAMIC, *SORT, *WINDOW]
