"""Specs of the primitives that move elements, reduce, accumulate and contract."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from spec_base import Case, Point, Spec, boolean, distinct, kinds, nonzero, normal

from lucidfn.ops import Taps

NAN = math.nan


def slices(x: np.ndarray, *, start: Any, stop: Any, stride: Any) -> np.ndarray:
    return x[tuple(slice(a, b, k) for a, b, k in zip(start, stop, stride, strict=True))]


def pad(x: np.ndarray, value: Any, *, widths: Any) -> np.ndarray:
    """Spread the elements out, then place them by index: what falls outside is cropped."""
    shape = tuple((n - 1) * k + n + lo + hi if n else lo + hi
                  for n, (lo, hi, k) in zip(x.shape, widths, strict=True))
    out = np.full(shape, value, x.dtype)
    for index in np.ndindex(*x.shape):
        at = tuple(lo + i * (k + 1) for i, (lo, _, k) in zip(index, widths, strict=True))
        if all(0 <= i < n for i, n in zip(at, shape, strict=True)):
            out[at] = x[index]
    return out


# The last element of the first table takes part in nothing, and the first one twice in one output.
TAPS = Taps(4, np.array([[0, 1], [0, 0], [2, 1]], "int32"),
            np.array([[0.25, 0.75], [0.5, 0.25], [1.0, 0.0]]))
PICKED = Taps(4, np.array([[0], [0], [2], [3], [2]], "int32"))


def resample(x: np.ndarray, *, axis: int, taps: Taps) -> np.ndarray:
    """As a product with the whole matrix."""
    matrix = np.zeros((len(taps.indices), taps.size))
    for i, row in enumerate(taps.indices):
        for k, j in enumerate(row):
            matrix[i, j] += 1.0 if taps.weights is None else taps.weights[i, k]
    out = np.tensordot(matrix, x.astype("float64"), ((1,), (axis,)))
    return np.moveaxis(out, 0, axis).astype(x.dtype)


def iota(*, shape: Any, dtype: Any, axis: int) -> np.ndarray:
    return np.indices(shape)[axis].astype(dtype)


def reduction(f: Any) -> Any:
    return lambda x, *, axes: f(x, axis=axes, **(
        {"dtype": x.dtype} if f in (np.sum, np.prod) else {}))


def cumulative(f: Any) -> Any:
    """Element by element, from the definition: the running f of a growing slice."""
    def reference(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
        out = np.empty_like(x)
        n = x.shape[axis]
        for i in range(n):
            part = np.take(x, range(i, n) if reverse else range(i + 1), axis=axis)
            out[(slice(None),) * axis + (i,)] = f(part, axis)
        return out
    return reference


def running_sum(x: np.ndarray, axis: int) -> np.ndarray:
    return np.take(np.add.accumulate(x, axis, x.dtype), -1, axis)  # -0.0 stays, unlike in np.sum


def logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    peak = np.max(x, axis)
    safe = np.where(np.isfinite(peak), peak, 0.0)
    return np.log(np.sum(np.exp(x - np.expand_dims(safe, axis)), axis)) + safe


def dot_general(x: np.ndarray, y: np.ndarray, *, contract: Any, batch: Any) -> np.ndarray:
    """As a sum over explicit indices, by einsum."""
    names = iter("abcdefghijklmnop")
    left = [next(names) for _ in x.shape]
    right = [next(names) for _ in y.shape]
    for i, j in [*zip(*contract, strict=True), *zip(*batch, strict=True)]:
        right[j] = left[i]
    out = [left[i] for i in batch[0]]
    out += [a for i, a in enumerate(left) if i not in contract[0] and i not in batch[0]]
    out += [a for i, a in enumerate(right) if i not in contract[1] and i not in batch[1]]
    return np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", x, y)


def dot(x: Any, y: Any, contract: Any, batch: Any = ((), ())) -> Case:
    return Case((x, y), {"contract": contract, "batch": batch})


def reduce_cases(empty: bool = True) -> list[Case]:
    found = [Case((s,), {"axes": a}) for s, a in [
        ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((2, 3, 2), (0, 2)), ((2, 3), ()),
        ((), ()), ((3, 1), (1,)), ((0, 3), (1,))]]
    return found + ([Case(((0, 3),), {"axes": (0,)})] if empty else [])


def softmax(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    if not x.size:
        return x
    top = np.max(x, axes, keepdims=True)
    weights = np.exp(x - np.where(top == -math.inf, 0.0, top))
    total = weights.sum(axes, keepdims=True)
    return weights / np.where(total == 0, 1.0, total)


CUMULATIVE = [Case((s,), {"axis": a, "reverse": r}) for s, a, r in [
    ((5,), 0, False), ((5,), 0, True), ((2, 4), 1, False), ((3, 2), 0, True), ((0, 2), 0, False),
    ((2, 1), 1, True), ((2, 0), 0, False)]]
ARG = [Case((s,), {"axis": a, "dtype": np.dtype(d)}) for s, a, d in [
    ((5,), 0, "int32"), ((2, 4), 1, "int32"), ((2, 4), 0, "int64"), ((0, 3), 1, "int32")]]
NANS = np.array([[1.0, NAN, 3.0], [math.inf, -math.inf, -0.0]])
SPECIAL_REDUCE = [(NANS, {"axes": (1,)}), (NANS, {"axes": (0,)})]
SPECIAL_CUMULATIVE = [(NANS, {"axis": 1, "reverse": False}), (NANS, {"axis": 1, "reverse": True})]
SPECIAL_ARG = [(NANS, {"axis": 1, "dtype": np.dtype("int32")}),
               (np.array([2.0, 3.0, 3.0, 2.0]), {"axis": 0, "dtype": np.dtype("int32")}),
               (np.array([-0.0, 0.0]), {"axis": 0, "dtype": np.dtype("int32")})]
ties = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
zeros = np.array([[2.0, 0.0, 5.0, 3.0], [0.0, 4.0, 0.0, 1.0]])

SHAPE = [
    Spec("reshape", lambda x, *, shape: x.reshape(shape), [Case((s,), {"shape": t}) for s, t in [
        ((2, 3), (3, 2)), ((2, 3), (6,)), ((), (1, 1)), ((0, 3), (3, 0, 2)), ((1,), ())]], "bifc"),
    Spec("permute", lambda x, *, order: x.transpose(order), [
        Case((s,), {"order": o}) for s, o in [
            ((2, 3, 4), (2, 0, 1)), ((2, 3), (1, 0)), ((), ()), ((0, 3), (1, 0)),
            ((2, 1, 3, 2), (3, 1, 0, 2))]], "bifc"),
    Spec("broadcast_to", lambda x, *, shape: np.broadcast_to(x, shape).copy(), [
        Case((s,), {"shape": t}) for s, t in [
            ((2, 1), (4, 2, 3)), ((), (2, 3)), ((3,), (3,)), ((1, 3), (0, 3)), ((3,), (2, 3)),
            ((0, 1), (0, 2))]], "bifc"),
    Spec("flip", lambda x, *, axes: np.flip(x, axes), [Case((s,), {"axes": a}) for s, a in [
        ((2, 3), (1,)), ((2, 3), (0, 1)), ((2, 3), ()), ((0, 2), (0,)), ((), ())]], "bifc"),
    Spec("slice", slices, [Case((s,), dict(zip(("start", "stop", "stride"), p, strict=True)))
                           for s, p in [
        ((5, 4), ((1, 0), (4, 4), (1, 1))), ((7,), ((1,), (7,), (3,))), ((), ((), (), ())),
        ((6, 2), ((0, 1), (6, 2), (4, 1))), ((4,), ((2,), (2,), (1,))), ((0,), ((0,), (0,), (2,))),
        ((3,), ((0,), (2,), (5,)))]], "bifc"),
    Spec("pad", pad, [Case((s, v), {"widths": w}) for s, v, w in [
        ((2, 3), (), ((1, 2, 0), (0, 1, 0))), ((4,), (), ((-1, 2, 1),)), ((4,), (), ((0, -2, 0),)),
        ((3,), 0, ((2, -1, 2),)), ((0, 2), (), ((1, 1, 1), (0, 0, 1))), ((), (), ()),
        ((3,), (), ((-2, -1, 3),))]], "bifc"),
    Spec("concatenate", lambda *xs, axis: np.concatenate(xs, axis), [
        Case(s, {"axis": a}) for s, a in [
            (((2, 3), (2, 1)), 1), (((2, 3), (1, 3), (4, 3)), 0), (((2,),), 0),
            (((0, 2), (3, 2)), 0), (((2, 0), (2, 0)), 1)]], "bifc"),
    Spec("split", lambda x, *, axis, sizes: np.split(x, np.cumsum(sizes)[:-1], axis), [
        Case((s,), {"axis": a, "sizes": n}) for s, a, n in [
            ((5,), 0, (2, 3)), ((2, 6), 1, (1, 2, 3)), ((3, 2), 0, (3,)), ((3, 2), 0, (0, 3))]],
        "bifc"),
    Spec("resample", resample, [Case((s,), {"axis": a, "taps": t}) for s, a, t in [
        ((4,), 0, TAPS), ((2, 4), 1, TAPS), ((4, 3), 0, TAPS), ((3, 2), 0, TAPS.transposed),
        ((2, 4, 2), 1, PICKED), ((5, 1), 0, PICKED.transposed)]]),
    Spec("full", lambda *, shape, dtype, value: np.full(shape, value, dtype), [
        Case((), lambda d, s=s, v=v: {"shape": s, "dtype": d, "value": v})
        for s, v in [((2, 3), 1), ((), 0), ((0, 2), True)]], "bifc", lanes=False),
    Spec("iota", iota, [Case((), lambda d, s=s, a=a: {"shape": s, "dtype": d, "axis": a})
                        for s, a in [((4,), 0), ((2, 3), 1), ((2, 3), 0), ((0,), 0)]],
         "if", lanes=False),
]

REDUCE = [
    Spec("reduce_sum", reduction(np.sum), reduce_cases(), "ifc",
         special=[*SPECIAL_REDUCE, (np.ones(1000), {"axes": (0,)})]),
    Spec("reduce_prod", reduction(np.prod), reduce_cases(), "ifc", nonzero,
         special=SPECIAL_REDUCE, points=[
        Point((zeros,), (np.array([[0.0, 30.0, 0.0, 0.0], [0.0] * 4]),), {"axes": (1,)}),
        Point((np.array([0.0, 0.0]),), (np.array([0.0, 0.0]),), {"axes": (0,)}),
        Point((np.array([0.0]),), (np.array([1.0]),), {"axes": (0,)})]),
    *[Spec(name, reduction(f), reduce_cases(empty=False), "bif", distinct, special=SPECIAL_REDUCE,
           points=[Point((s * ties,), (np.array([[0.0, 0.5, 0.5], [1 / 3] * 3]),), {"axes": (1,)})])
      for name, f, s in (("reduce_max", np.max, 1.0), ("reduce_min", np.min, -1.0))],
    Spec("softmax", softmax, reduce_cases(), "f", special=[
        *SPECIAL_REDUCE, (np.full((2, 3), -math.inf), {"axes": (1,)}),
        (np.array([[1.0, NAN], [-math.inf, -math.inf]]), {"axes": (1,)}),
        *[(100.0 * scale * np.arange(12.0).reshape(3, 4), {"axes": (a,)})
          for scale in (1, -1, 0.01) for a in (0, 1)],
        (np.array([[-80.0, -81.0], [50.0, -math.inf]]), {"axes": (1,)})]),
    Spec("reduce_and", reduction(np.all), reduce_cases(), "b", boolean),
    Spec("reduce_or", reduction(np.any), reduce_cases(), "b", boolean),
    Spec("argmax", lambda x, *, axis, dtype: np.argmax(x, axis).astype(dtype), ARG, "bif", distinct,
         diff=(), special=SPECIAL_ARG),
    Spec("argmin", lambda x, *, axis, dtype: np.argmin(x, axis).astype(dtype), ARG, "bif", distinct,
         diff=(), special=SPECIAL_ARG),
]

CUM = [
    Spec("cumsum", cumulative(running_sum), CUMULATIVE, "ifc",
         special=SPECIAL_CUMULATIVE),
    Spec("cumprod", cumulative(lambda x, a: np.prod(x, a, dtype=x.dtype)), CUMULATIVE, "ifc",
         nonzero, special=SPECIAL_CUMULATIVE, points=[
        Point((zeros[0],), (np.array([1.0, 2 * (1 + 5 + 15), 0.0, 0.0]),),
              {"axis": 0, "reverse": False}),
        Point((np.array([0.0, 0.0, 3.0]),), (np.array([1.0, 0.0, 0.0]),),
              {"axis": 0, "reverse": False}),
        Point((np.array([3.0, 0.0, 2.0]),), (np.array([0.0, 2 + 6.0, 1.0]),),
              {"axis": 0, "reverse": True})]),
    Spec("cummax", cumulative(np.max), CUMULATIVE, "if", distinct, special=SPECIAL_CUMULATIVE,
         points=[Point((np.array([1.0, 1.0, 0.0, 2.0]),),
                       (np.array([1 + 0.5 + 0.5, 0.5 + 0.5, 0.0, 1.0]),),
                       {"axis": 0, "reverse": False})]),
    Spec("cummin", cumulative(np.min), CUMULATIVE, "if", distinct, special=SPECIAL_CUMULATIVE,
         points=[Point((np.array([2.0, 1.0, 1.0]),), (np.array([0.0, 1.0, 1 + 1.0]),),
                       {"axis": 0, "reverse": True})]),
    Spec("cumlogsumexp", cumulative(logsumexp), CUMULATIVE, "f",
         kinds(lambda rng, s: rng.uniform(-3.0, 3.0, s)),
         special=[(np.array([-math.inf, 0.0, 1.0]), {"axis": 0, "reverse": False}),
                  (np.array([0.0, math.inf, 1.0]), {"axis": 0, "reverse": False}),
                  (np.array([0.0, NAN, 1.0]), {"axis": 0, "reverse": True}),
                  (np.array([1000.0, -1000.0, 1000.0]), {"axis": 0, "reverse": True})],
         points=[Point((np.array([-math.inf, -math.inf, 0.0]),), (np.array([0.0, 0.0, 1.0]),),
                       {"axis": 0, "reverse": False})]),
]

CONTRACT = [
    Spec("dot_general", dot_general, [
        dot((2, 3), (3, 4), ((1,), (0,))), dot((3,), (3,), ((0,), (0,))),
        dot((5, 2, 3), (5, 3, 4), ((2,), (1,)), ((0,), (0,))), dot((2, 3), (4, 5), ((), ())),
        dot((2, 5, 3, 4), (4, 6, 5, 3), ((3, 2), (0, 3)), ((1,), (2,))),
        dot((3, 2), (4, 3), ((0,), (1,))), dot((0, 3), (3, 2), ((1,), (0,))),
        dot((2, 0), (0, 3), ((1,), (0,))), dot((), (), ((), ())), dot((2,), (2, 3), ((0,), (0,))),
        dot((2, 3), (2, 3), ((), ()), ((0, 1), (0, 1))),
        dot((2, 3, 2), (3, 2, 2), ((0, 2), (1, 2)), ((1,), (0,)))], "ifc", normal, tol=4.0,
        special=[(NANS, np.ones((3, 2)), {"contract": ((1,), (0,)), "batch": ((), ())}),
                 # 16-bit floats are added up in 32 bits: one by one they would stop at 256
                 (np.ones(1000), np.ones(1000), {"contract": ((0,), (0,)), "batch": ((), ())})]),
]
SPECS = [*SHAPE, *REDUCE, *CUM, *CONTRACT]
