"""What the functions of `lax` ask of their operands: equal dtypes, and shapes that fit as they are.

Nothing is promoted and no rank is raised: the functions of `lucidfn.numpy` do that.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, to_dtype, unwrap, weak_of, wrap
from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import Tracer, dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.types import SCALARS, default_dtype_of, dtype_name, kind_of


def array(x: Any) -> Any:
    """The raw array of what a user passed; a Python scalar gets its default dtype."""
    raw = unwrap(x)
    return np.asarray(raw, default_dtype_of(type(raw))) if type(raw) in SCALARS else raw


def same_dtype(name: str, *xs: Any) -> tuple[list[Any], bool]:
    """Raw operands at their one dtype, and whether it is weak. TypeError if there are several.

    Python scalars, and arrays made from them, take the dtype of the others if it holds their kind.
    """
    raws, weaks = [unwrap(x) for x in xs], [weak_of(x) for x in xs]
    dtypes = [dtype_of(r) for r, w in zip(raws, weaks, strict=True) if not w]
    target = dtypes[0] if dtypes else max((dtype_of(r) for r in raws), key=_rank)
    fits = all(d == target for d in dtypes) and all(
        kind_of(dtype_of(r)) <= kind_of(target) for r in raws)
    if not fits:
        got = ", ".join(str(type_of(r)) for r in raws)
        raise TypeError(f"lax.{name} got {got}; lax functions take operands of equal dtypes. "
                        "Convert one of them: lax.convert_element_type(x, "
                        f"'{dtype_name(target)}'), or use the function of lucidfn.numpy of that "
                        "name, which promotes")
    return [to_dtype(r, target) for r in raws], not dtypes


def _rank(dtype: np.dtype) -> tuple[int, int]:
    return kind_of(dtype), dtype.itemsize


def check(primitive: Primitive, raws: Sequence[Any], params: dict[str, Any]) -> None:
    """Apply the type rule before the kernel, which would take some operands it should not."""
    try:
        primitive.infer(*map(type_of, raws), **params)
    except Exception as error:
        raise primitive.located(error, raws) from None


def apply(primitive: Primitive, *raws: Any, weak: bool = False, **params: Any) -> Any:
    """One primitive on raw operands, types checked, as users see it."""
    check(primitive, raws, params)
    out = primitive(*raws, **params)
    return [wrap(o) for o in out] if primitive.many else wrap(out, weak)


def same_rank(primitive: Primitive, raws: Sequence[Any]) -> None:
    ranks = {len(shape_of(r)) for r in raws} - {0}
    if len(ranks) > 1:
        got = ", ".join(str(type_of(r)) for r in raws)
        raise primitive.located(ShapeError(
            f"got {got}; lax functions repeat scalars and axes of size 1, but the number of axes "
            "must be equal. Reshape one of them, or use lucidfn.numpy"), raws)


def unary(primitive: Primitive, doc: str, *, name: str = "",
          keep_weak: bool = True) -> Callable[..., Any]:
    """`lax.name(x)`: one elementwise primitive on one array."""

    kinds = primitive.kinds  # type: ignore[attr-defined]

    def function(x: Any, *, accuracy: Any = None) -> Any:
        raw = x.value if type(x) is Array else array(x)
        if kind_of(raw.dtype) not in kinds:
            check(primitive, (raw,), {})  # raises
        return wrap(primitive(raw), weak_of(x) and keep_weak)

    return named(function, name or primitive.name, doc)


def binary(primitive: Primitive, doc: str, *, name: str = "",
           keep_weak: bool = True) -> Callable[..., Any]:
    """`lax.name(x, y)`: one elementwise primitive on two arrays of one dtype."""
    name = name or primitive.name

    kinds = primitive.kinds  # type: ignore[attr-defined]

    def function(x: Any, y: Any) -> Any:
        if type(x) is Array and type(y) is Array and x.weak is y.weak:
            a, b = x.value, y.value
            if a.dtype == b.dtype and a.shape == b.shape and kind_of(a.dtype) in kinds:
                return wrap(primitive(a, b), x.weak and keep_weak)
        raws, weak = same_dtype(name, x, y)
        if type(raws[0]) in SCALARS and type(raws[1]) in SCALARS:
            raws[0] = array(raws[0])
        check(primitive, raws, {})
        same_rank(primitive, raws)
        return wrap(primitive(*raws), weak and keep_weak)

    return named(function, name, doc)


def named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__, function.__module__ = doc, "lucidfn.lax"
    return function


def sizes(shape: int | Iterable[Any], what: str = "shape") -> tuple[int, ...]:
    """A shape given by the user: Python integers, none of them negative."""
    given = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    out = tuple([integer(n, what) for n in given])
    if any(n < 0 for n in out):
        raise ShapeError(f"{what} must not be negative, got {out}")
    return out


def integer(x: Any, what: str) -> int:
    """A static integer. A traced one raises the error that shows the fix."""
    if isinstance(x, Tracer):
        return int(x)  # type: ignore[call-overload]
    try:
        return operator.index(unwrap(x).item() if hasattr(x, "shape") else x)
    except TypeError:
        raise TypeError(f"{what} must be made of integers, got {x!r}") from None


def axis_of(axis: Any, rank: int, name: str) -> int:
    """An axis counted from 0; negative ones count from the end."""
    i = integer(axis, "an axis")
    if not -rank <= i < rank:
        raise ShapeError(f"lax.{name} got axis {i} for an array of {rank} axes")
    return i % rank


def axes_of(axes: Iterable[Any], rank: int, name: str) -> tuple[int, ...]:
    out = tuple([axis_of(a, rank, name) for a in axes])
    if len(set(out)) != len(out):
        raise ShapeError(f"lax.{name} got axes {tuple(axes)}, which repeat an axis")
    return out


def keep_dtype(raw: Any, dtype: np.dtype) -> Any:
    return raw if dtype_of(raw) == dtype else ops.convert(raw, dtype=dtype)


def permuted(raw: Any, order: Sequence[int]) -> Any:
    """Axes in this order; nothing is recorded where they are in it."""
    return raw if list(order) == list(range(len(order))) else ops.permute(raw, order=tuple(order))
