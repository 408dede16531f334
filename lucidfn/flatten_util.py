"""A tree of arrays as one flat vector and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops, tree
from lucidfn.array import promote, to_dtype, typeof, unwrap, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.types import SCALARS, default_dtype_of, dtype_name, is_inexact, kind_of


def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """All leaves in one vector of their common dtype, and the function that undoes it.

    The second function takes a vector of that size and dtype and gives leaves of the original
    shapes and dtypes. Raises TypeError there for another shape or dtype.

    >>> flat, unravel = ravel_pytree({"a": [1.0, 2.0], "b": 3.0})
    >>> flat.tolist()
    [1.0, 2.0, 3.0]
    >>> float(unravel(flat * 2)["b"])
    6.0
    """
    leaves, treedef = tree.flatten(pytree)
    types = [typeof(x) for x in leaves]
    if not leaves:
        empty = np.zeros(0, default_dtype_of(float))
        return wrap(empty), lambda flat: tree.unflatten(treedef, [])
    raws, _ = promote(*leaves)
    dtype = next((r.dtype for r in raws if type(r) not in SCALARS), types[0].dtype)
    parts = [ops.reshape(np.asarray(r, dtype) if type(r) in SCALARS else r, shape=(t.size,))
             for r, t in zip(raws, types, strict=True)]
    total = sum(t.size for t in types)

    def unravel(flat: Any) -> Any:
        raw = unwrap(flat)
        if shape_of(raw) != (total,):
            raise ShapeError(f"the unravel function of ravel_pytree got {type_of(raw)}; its tree "
                             f"has {total} elements, so that it needs shape ({total},)")
        if raw.dtype != dtype:
            raise TypeError(f"the unravel function of ravel_pytree got {type_of(raw)}; the tree "
                            f"was raveled to {dtype_name(dtype)}. Convert it first: "
                            f"flat.astype('{dtype_name(dtype)}')")
        out, at = [], 0
        for t in types:
            part = ops.reshape(ops.slice_axis(raw, 0, at, at + t.size), shape=t.shape)
            out.append(wrap(_back(part, t.dtype)))
            at += t.size
        return tree.unflatten(treedef, out)

    flat = parts[0] if len(parts) == 1 else ops.concatenate(*parts, axis=0)
    return wrap(flat), unravel


def _back(part: Any, dtype: np.dtype) -> Any:
    if not is_inexact(dtype) and kind_of(part.dtype) > 1:
        part = ops.stop_gradient(part)
    return to_dtype(part, dtype)


__all__ = ["ravel_pytree"]
