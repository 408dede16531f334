"""What a parity test calls: samplers of arguments, and rows that name a function and its calls.

A row is made once and run by both libraries: `row("sum prod", call(F(3, 4), axis=1))`. Samplers
stand for arrays anywhere in the arguments; everything else is passed as it is. A row whose calls
need more than a name, such as indexing, is written as a function of the namespace `m`, in which
`m.np` is `lucidfn.numpy` on one side and `jax.numpy` on the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

Table = dict[str, list["Call"]]
Sample = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Sampler:
    """An array to be: its shape, how its values are drawn, and its dtype if that is fixed."""

    shape: tuple[int, ...]
    sample: Sample
    dtype: str | None = None

    def make(self, rng: np.random.Generator, wide: bool) -> np.ndarray:
        x = np.asarray(self.sample(rng, self.shape))
        if self.dtype is not None:
            return x.astype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)
        widths = {"f": ("f4", "f8"), "c": ("c8", "c16"), "i": ("i4", "i8"), "u": ("u4", "u8")}
        return x.astype(widths[x.dtype.kind][wide]) if x.dtype.kind in widths else x


def _separate(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Distinct values of both signs, none of them or their differences near a half or a whole."""
    n = math.prod(shape)
    return rng.permutation((np.arange(n) - n // 2) * 0.37 + 0.21).reshape(shape)


def _positive_definite(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    a = rng.standard_normal(shape)
    return a @ np.swapaxes(a, -1, -2) / shape[-1] + np.eye(shape[-1])


def F(*shape: int) -> Sampler:
    """Normal floats."""
    return Sampler(shape, lambda rng, s: rng.standard_normal(s))


def P(*shape: int) -> Sampler:
    """Positive floats, from 0.5 to 2.5."""
    return Sampler(shape, lambda rng, s: rng.uniform(0.5, 2.5, s))


def U(*shape: int) -> Sampler:
    """Floats within (-0.9, 0.9)."""
    return Sampler(shape, lambda rng, s: rng.uniform(-0.9, 0.9, s))


def Q(*shape: int) -> Sampler:
    """Probabilities, from 0.1 to 0.9."""
    return Sampler(shape, lambda rng, s: rng.uniform(0.1, 0.9, s))


def G(*shape: int) -> Sampler:
    """Distinct floats: no ties, nothing at a point where a function has a corner."""
    return Sampler(shape, _separate)


def C(*shape: int) -> Sampler:
    """Complex normal numbers."""
    return Sampler(shape, lambda rng, s: rng.standard_normal(s) + 1j * rng.standard_normal(s))


def I(*shape: int, lo: int = -5, hi: int = 6) -> Sampler:  # noqa: E743
    """Integers in [lo, hi)."""
    return Sampler(shape, lambda rng, s: rng.integers(lo, hi, s))


def N(*shape: int, lo: int = 0, hi: int = 9) -> Sampler:
    """Unsigned integers in [lo, hi)."""
    return Sampler(shape, lambda rng, s: rng.integers(lo, hi, s).astype(np.uint64))


def B(*shape: int) -> Sampler:
    """Booleans."""
    return Sampler(shape, lambda rng, s: rng.random(s) > 0.4)


def S(*shape: int) -> Sampler:
    """Symmetric positive definite matrices."""
    return Sampler(shape, _positive_definite)


def K(value: Any) -> Sampler:
    """These values."""
    return Sampler(np.shape(value), lambda rng, s: np.array(value))


def typed(sampler: Sampler, dtype: str) -> Sampler:
    """The same values at one dtype in both precisions."""
    return replace(sampler, dtype=dtype)


@dataclass(frozen=True)
class Made:
    """An argument that each library makes itself: a key, dimension numbers."""

    make: Callable[[Any], Any]


def key(seed: int = 0) -> Made:
    return Made(lambda m: m.random.key(seed))


@dataclass(frozen=True)
class Call:
    """One call of a row, and what is compared of it.

    `grad`: the cotangents of all floating and complex arrays too, or of those with these numbers.
    `tol` and `tol32`: relative error in double and single precision. `concrete`: the reference
    cannot be traced. `single`: values in single precision are compared with the reference's in
    single precision, and not with those in double. `wide`, `narrow`: in which of the two it runs.
    `weak`: whether weak types are compared. `post` makes outputs
    comparable that are defined up to a sign or order.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad: bool | tuple[int, ...] = True
    tol: float = 1e-9
    tol32: float = 1e-3
    concrete: bool = False
    single: bool = False
    values: bool = True
    weak: bool = True
    wide: bool = True
    narrow: bool = True
    post: Callable[[Any, Any], Any] | None = None
    fun: Callable[..., Any] | None = None


_OPTIONS = frozenset(Call.__dataclass_fields__) - {"args", "kwargs", "fun"}


def call(*args: Any, **kwargs: Any) -> Call:
    """A call with these arguments; options of `Call` are given with a leading underscore."""
    options: dict[str, Any] = {k[1:]: v for k, v in kwargs.items()
                               if k.startswith("_") and k[1:] in _OPTIONS}
    return Call(args, {k: v for k, v in kwargs.items() if k[1:] not in options}, **options)


def row(table: Table, names: str, *calls: Call) -> None:
    """The same calls for each of the names (separated by blanks)."""
    for name in names.split():
        table.setdefault(name, []).extend(calls)


def expr(table: Table, name: str, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """A call `fun(m, *args)` of the namespace `m` of either library, listed under `name`."""
    table.setdefault(name, []).append(replace(call(*args, **kwargs), fun=fun))


def elementwise(table: Table, names: str, sampler: Callable[..., Sampler] = F, *,
                complex: bool = False, ints: bool = True, weak: bool = True,
                **options: Any) -> None:
    """The calls of a function of one array: floats, integers, booleans, a scalar, 16 bits."""
    options["_weak"] = weak
    calls = [call(sampler(3, 4), **options), call(0.5, **options)]
    low = {**options, "_grad": False, "_tol": 0.03, "_tol32": 0.03, "_wide": False, "_single": True}
    calls += [call(typed(sampler(5), d), **low) for d in ("bfloat16", "float16")]
    if complex:
        calls.append(call(C(3, 4), **options))
    if ints:
        calls += [call(I(5, lo=1, hi=4), **options), call(B(4), **{**options, "_wide": False})]
    row(table, names, *calls)
