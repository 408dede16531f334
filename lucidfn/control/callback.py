"""Calling back into Python while a program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import current, eval_trace
from lucidfn.errors import MissingRuleError
from lucidfn.types import ArrayType, dtype_name

Call = Callable[..., Sequence[Any]]


class Callback(Primitive):
    """Outputs of these types from a Python function of raw arrays.

    `vectorized` says what batching does: "sequential" calls once for each lane, "expand_dims" and
    "broadcast_all" call once, with a batch axis of size 1 or of full size on what is not batched;
    "" refuses.
    """

    many, nested = True, True

    def __init__(self, name: str, *, effect: bool):
        super().__init__(name)
        self.effect = effect

    def infer(self, *operands: ArrayType, call: Call, types: tuple[ArrayType, ...],
              vectorized: str) -> list[ArrayType]:
        return list(types)

    def jvp(self, tangents: Sequence[Any], outs: Any, *args: Any, call: Call,
            **params: Any) -> list[Any]:
        raise MissingRuleError(
            f"{self.name} of {call.__name__} has no derivative: what Python does is not "
            "known. Put the call in a function with a rule of its own (lf.custom_jvp, "
            "lf.custom_vjp), or cut the derivative: lf.stop_gradient(x)")

    def batch(self, size: int, batched: Sequence[bool], *args: Any, call: Call,
              types: tuple[ArrayType, ...], vectorized: str) -> list[Any]:
        if not vectorized:
            raise MissingRuleError(
                f"{self.name} of {call.__name__} under vmap: give vmap_method='sequential' (one "
                "call for each lane), 'expand_dims' or 'broadcast_all' (one call with leading "
                "axes)")
        if vectorized == "sequential":
            together: Call = _lane_by_lane(call, size, batched, types)
            together.__name__ = call.__name__
        else:
            together = _AtOnce(call, size, batched, vectorized == "broadcast_all")
        grown = tuple([t._replace(shape=(size, *t.shape)) for t in types])
        return self(*args, call=together, types=grown, vectorized=vectorized)


class DebugCallback(Callback):
    """A callback that only looks: no outputs, so nothing to differentiate."""

    def jvp(self, tangents: Sequence[Any], outs: Any, *args: Any, **params: Any) -> list[Any]:
        return []


def _lane_by_lane(call: Call, size: int, batched: Sequence[bool],
                  types: tuple[ArrayType, ...]) -> Call:
    def lanes(*args: Any) -> list[Any]:
        rows = [call(*[x[i] if b else x for x, b in zip(args, batched, strict=True)])
                for i in range(size)]
        return [np.stack([np.asarray(row[k]) for row in rows]) if rows
                else np.zeros((0, *t.shape), t.dtype) for k, t in enumerate(types)]
    return lanes


class _AtOnce:
    """One call for all lanes of some batchings, the outermost first."""

    def __init__(self, call: Call, size: int, batched: Sequence[bool], broadcast: bool):
        inner = call.levels if isinstance(call, _AtOnce) else []
        self.call = call.call if isinstance(call, _AtOnce) else call
        self.levels = [(size, tuple(batched)), *inner]
        self.broadcast, self.__name__ = broadcast, call.__name__

    def __call__(self, *args: Any) -> Sequence[Any]:
        return self.call(*[self.full(np.asarray(x), [b[i] for _, b in self.levels])
                           for i, x in enumerate(args)])

    def full(self, x: np.ndarray, batched: list[bool]) -> np.ndarray:
        """x with an axis for every batching, in order."""
        x = np.expand_dims(x, [axis for axis, b in enumerate(batched) if not b])
        if self.broadcast:
            lane = x.shape[len(batched):]
            x = np.broadcast_to(x, (*[size for size, _ in self.levels], *lane))
        return x


def run_callback(*args: Any, call: Call, types: tuple[ArrayType, ...],
                 vectorized: str) -> list[Any]:
    """The kernel, on every backend: under evaluation, whatever is traced around it."""
    token = current.set(eval_trace)
    try:
        outs = call(*args)
    finally:
        current.reset(token)
    return [checked(np.asarray(out), t, call.__name__) for out, t in zip(outs, types, strict=True)]


def checked(out: np.ndarray, want: ArrayType, name: str) -> np.ndarray:
    """An output of the callback, at the dtype that was promised."""
    if out.shape != want.shape:
        raise ValueError(f"the callback {name} returned shape {out.shape} where "
                         f"result_shape_dtypes promised {want}")
    if not np.can_cast(out.dtype, want.dtype, "same_kind"):
        raise TypeError(f"the callback {name} returned dtype {dtype_name(out.dtype)} where "
                        f"result_shape_dtypes promised {want}; convert it there")
    return out if out.dtype == want.dtype else out.astype(want.dtype)


debug_callback = DebugCallback("debug_callback", effect=True)
pure_callback = Callback("pure_callback", effect=False)
io_callback = Callback("io_callback", effect=True)
