"""Collectives: operations along an axis that `vmap(axis_name=...)` has named.

Inside the mapped function each lane sees its own value; these functions combine the values of all
lanes, or move them between lanes. `axis_name` is one name, or a tuple of names for several axes at
once, the first the slowest to vary. NameError for a name that no vmap in scope has.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import is_array_like, to_dtype, unwrap, weak_of, wrap
from lucidfn.control import collectives
from lucidfn.core.axes import axis_trace
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array
from lucidfn.ops.shape import merge_axes, move_axis
from lucidfn.tree import map as tree_map
from lucidfn.types import SCALARS, default_dtype_of, int32, kind_of

AxisName = Any  # a name, which is any hashable value but a tuple or a list; or several


# ------------------------------------------------------------------ names

def _names(axis_name: AxisName, what: str) -> tuple[list[Any], list[int]]:
    """The names and the sizes of their axes; NameError for one that is not in scope."""
    names = list(axis_name) if isinstance(axis_name, (tuple, list)) else [axis_name]
    sizes = []
    for name in names:
        bound = axis_trace(name)
        if bound is None:
            raise collectives.unbound_axis(name, f"lax.{what}")
        sizes.append(bound.size)
    if len(set(names)) < len(names):
        raise ValueError(f"lax.{what}: axis_name={axis_name!r} names an axis twice")
    return names, sizes


def _no_groups(groups: Any, what: str) -> None:
    if groups is not None:
        raise NotImplementedError(
            f"lax.{what} got axis_index_groups={groups!r}; groups of lanes are not supported under "
            "vmap. Use two named axes in place of one, and reduce over the inner one")


def _on_leaves(f: Callable[[Any], Any], tree: Any, what: str) -> Any:
    def leaf(x: Any) -> Any:
        if not is_array_like(x) and not isinstance(x, (list, tuple)):
            raise TypeError(f"lax.{what} got {type(x).__name__} {x!r:.40} in the tree; its leaves "
                            "must be arrays or numbers")
        return f(x)
    return tree_map(leaf, tree)


def _axis(axis: Any, rank: int, what: str) -> int:
    at = operator.index(axis)
    if not -rank <= at < rank:
        raise ShapeError(f"lax.{what} got axis {at} for an array with {rank} axes")
    return at % rank


# ------------------------------------------------------------------ reductions

def psum(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """The sum of x over all lanes of the axis, for each leaf of the tree x; the same in every lane.

    Of a Python number it is that number times the size of the axis, a Python number too. Booleans
    are counted. The derivative is that of the sum over lanes of all outputs.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.vmap(lambda x: x / lf.lax.psum(x, "i"), axis_name="i")(lnp.array([1.0, 3.0])).tolist()
    [0.25, 0.75]
    """
    _no_groups(axis_index_groups, "psum")
    names, sizes = _names(axis_name, "psum")

    def leaf(v: Any) -> Any:
        if type(v) in SCALARS:
            return v * math.prod(sizes)
        raw = array(v)
        if kind_of(dtype_of(raw)) == 0:
            raw = ops.convert(raw, dtype=int32)
        for name in reversed(names):
            raw = collectives.psum(raw, axis=name)
        return wrap(raw, weak_of(v))

    return _on_leaves(leaf, x, "psum")


def pmean(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """The mean of x over all lanes of the axis, for each leaf of the tree x.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.vmap(lambda x: x - lf.lax.pmean(x, "i"), axis_name="i")(lnp.array([1.0, 3.0])).tolist()
    [-1.0, 1.0]
    """
    _no_groups(axis_index_groups, "pmean")
    size = axis_size(axis_name)

    def leaf(v: Any) -> Any:
        if type(v) in SCALARS:
            return v * size / size
        total = unwrap(psum(v, axis_name))
        dtype = dtype_of(total)
        total = to_dtype(total, dtype if kind_of(dtype) > 1 else default_dtype_of(float))
        return wrap(ops.div(total, complex(size) if kind_of(dtype) == 3 else float(size)),
                    weak_of(v))

    return _on_leaves(leaf, x, "pmean")


def _extremum(primitive: Any, x: Any, axis_name: AxisName, groups: Any) -> Any:
    _no_groups(groups, primitive.name)
    names, _ = _names(axis_name, primitive.name)

    def leaf(v: Any) -> Any:
        raw = array(v)
        for name in reversed(names):
            raw = primitive(raw, axis=name)
        return wrap(raw, weak_of(v))

    return _on_leaves(leaf, x, primitive.name)


def pmax(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """The largest x of all lanes of the axis, elementwise, for each leaf of the tree x.

    Lanes that tie share the derivative equally.
    """
    return _extremum(collectives.pmax, x, axis_name, axis_index_groups)


def pmin(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None) -> Any:
    """The smallest x of all lanes of the axis, elementwise, for each leaf of the tree x.

    Lanes that tie share the derivative equally.
    """
    return _extremum(collectives.pmin, x, axis_name, axis_index_groups)


def psum_scatter(x: Any, axis_name: AxisName, *, scatter_dimension: int = 0,
                 axis_index_groups: Any = None, tiled: bool = False) -> Any:
    """The sum of x over lanes, of which lane i keeps the i-th part along `scatter_dimension`.

    That axis must have as many elements as there are lanes, and is dropped; with `tiled`, a
    multiple of them, and each lane gets a block. ShapeError otherwise.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> x = lnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> lf.vmap(lambda row: lf.lax.psum_scatter(row, "i"), axis_name="i")(x).tolist()
    [4.0, 6.0]
    """
    _no_groups(axis_index_groups, "psum_scatter")
    names, sizes = _names(axis_name, "psum_scatter")

    def leaf(v: Any) -> Any:
        raw = array(v)
        at = _axis(scatter_dimension, len(shape_of(raw)), "psum_scatter")
        if not tiled and len(names) > 1:
            raw = _split(raw, at, sizes, axis_name, "psum_scatter")
        for name, size in zip(names, sizes, strict=True):
            raw = _apply(collectives.psum_scatter, raw, axis=name, size=size, at=at, tiled=tiled)
        return wrap(raw, weak_of(v))

    return _on_leaves(leaf, x, "psum_scatter")


def _apply(primitive: Any, raw: Any, **params: Any) -> Any:
    return unwrap(apply(primitive, raw, **params))


def _split(raw: Any, at: int, sizes: Sequence[int], axis_name: Any, what: str) -> Any:
    """Axis `at` with an element for each lane of several axes -> an axis for each."""
    shape = shape_of(raw)
    if shape[at] != math.prod(sizes):
        raise ShapeError(f"lax.{what} got axis {at} of size {shape[at]}; without tiled=True it "
                         f"must have the {math.prod(sizes)} lanes of {axis_name!r}")
    return ops.reshape(raw, shape=(*shape[:at], *sizes, *shape[at + 1:]))


# ------------------------------------------------------------------ moves

def all_gather(x: Any, axis_name: AxisName, *, axis_index_groups: Any = None, axis: int = 0,
               tiled: bool = False) -> Any:
    """x of all lanes, in every lane, for each leaf of the tree x.

    Lanes are a new axis `axis`; with `tiled` they are concatenated along the axis that is there.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.vmap(lambda x: lf.lax.all_gather(x, "i"), axis_name="i")(lnp.array([1, 2])).tolist()
    [[1, 2], [1, 2]]
    """
    _no_groups(axis_index_groups, "all_gather")
    names, sizes = _names(axis_name, "all_gather")

    def leaf(v: Any) -> Any:
        raw = array(v)
        at = _axis(axis, len(shape_of(raw)) + (not tiled), "all_gather")
        for name, size in zip(reversed(names), reversed(sizes), strict=True):
            raw = _apply(collectives.all_gather, raw, axis=name, size=size, at=at, tiled=tiled)
        return wrap(raw if tiled else merge_axes(raw, at, len(names)), weak_of(v))

    return _on_leaves(leaf, x, "all_gather")


def all_to_all(x: Any, axis_name: AxisName, split_axis: int, concat_axis: int, *,
               axis_index_groups: Any = None, tiled: bool = False) -> Any:
    """Lane i gets the i-th part of x of every lane, in the order of the lanes.

    `split_axis` must have as many elements as there are lanes; it is dropped, and the lanes that
    the parts came from are a new axis `concat_axis`. With `tiled`, parts are blocks of split_axis,
    concatenated along concat_axis. ShapeError if they do not fit.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> f = lf.vmap(lambda row: lf.lax.all_to_all(row, "i", 0, 0), axis_name="i")
    >>> f(lnp.array([[1, 2], [3, 4]])).tolist()
    [[1, 3], [2, 4]]
    """
    _no_groups(axis_index_groups, "all_to_all")
    names, sizes = _names(axis_name, "all_to_all")

    def leaf(v: Any) -> Any:
        raw = array(v)
        rank = len(shape_of(raw))
        split = _axis(split_axis, rank, "all_to_all")
        concat = _axis(concat_axis, rank, "all_to_all")
        if len(names) == 1:
            return wrap(_apply(collectives.all_to_all, raw, axis=names[0], size=sizes[0],
                               split=split, concat=concat, tiled=tiled), weak_of(v))
        return wrap(_among_several(raw, names, sizes, split, concat, tiled, axis_name), weak_of(v))

    return _on_leaves(leaf, x, "all_to_all")


def _among_several(raw: Any, names: Sequence[Any], sizes: Sequence[int], split: int, concat: int,
                   tiled: bool, axis_name: Any) -> Any:
    """all_to_all over several axes: one after another, each on an axis of its own."""
    count, shape = len(names), shape_of(raw)
    if tiled:
        block, rest = divmod(shape[split], math.prod(sizes))
        if rest:
            raise ShapeError(f"lax.all_to_all got axis {split} of size {shape[split]}, which the "
                             f"{math.prod(sizes)} lanes of {axis_name!r} do not divide")
        raw = ops.reshape(raw, shape=(*shape[:split], *sizes, block, *shape[split + 1:]))
    else:
        raw = _split(raw, split, sizes, axis_name, "all_to_all")
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        raw = _apply(collectives.all_to_all, raw, axis=name, size=size, split=split + i,
                     concat=split + i, tiled=False)
    raw = move_axis(merge_axes(raw, split, count), split, concat)
    return merge_axes(raw, concat) if tiled else raw


def ppermute(x: Any, axis_name: AxisName, perm: Sequence[tuple[int, int]]) -> Any:
    """Lane `to` gets x of lane `from` for each pair (from, to) of perm; the others get zeros.

    No lane may be given, or give, twice: ValueError.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> shift = lf.vmap(lambda x: lf.lax.ppermute(x, "i", [(0, 1), (1, 2)]), axis_name="i")
    >>> shift(lnp.array([1, 2, 3])).tolist()
    [0, 1, 2]
    """
    names, sizes = _names(axis_name, "ppermute")
    if len(names) != 1:
        raise NotImplementedError(f"lax.ppermute got axis_name={axis_name!r}; it permutes along "
                                  "one axis. Permute along one after the other")
    pairs = tuple([(operator.index(i), operator.index(j)) for i, j in perm])
    for which, lanes in zip(("from", "to"), zip(*pairs, strict=True), strict=False):
        if len(set(lanes)) < len(lanes) or not all(0 <= n < sizes[0] for n in lanes):
            raise ValueError(f"lax.ppermute got perm={list(pairs)}; lanes to move {which} must "
                             f"differ and be in [0, {sizes[0]}), the axis {names[0]!r}")
    return _on_leaves(lambda v: wrap(collectives.ppermute(array(v), axis=names[0], pairs=pairs),
                                     weak_of(v)), x, "ppermute")


def pshuffle(x: Any, axis_name: AxisName, perm: Sequence[int]) -> Any:
    """Lane i gets x of lane perm[i]. ValueError unless perm orders all lanes.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> f = lf.vmap(lambda x: lf.lax.pshuffle(x, "i", [2, 0, 1]), axis_name="i")
    >>> f(lnp.array([10, 20, 30])).tolist()
    [30, 10, 20]
    """
    size = axis_size(axis_name)
    order = [operator.index(i) for i in perm]
    if sorted(order) != list(range(size)):
        raise ValueError(f"lax.pshuffle got perm={order}, which does not order the {size} lanes "
                         f"of {axis_name!r}")
    return ppermute(x, axis_name, list(zip(order, range(size), strict=True)))


def pswapaxes(x: Any, axis_name: AxisName, axis: int, *, axis_index_groups: Any = None) -> Any:
    """Swap the named axis with `axis` of x, which must have the same size."""
    return all_to_all(x, axis_name, axis, axis, axis_index_groups=axis_index_groups)


# ------------------------------------------------------------------ places

def axis_index(axis_name: AxisName) -> Any:
    """The number of this lane along the axis, int32; of several axes, counted row by row.

    >>> import lucidfn as lf
    >>> lf.vmap(lambda: lf.lax.axis_index("i"), axis_name="i", axis_size=3)().tolist()
    [0, 1, 2]
    """
    names, sizes = _names(axis_name, "axis_index")
    found = collectives.axis_index(axis=names[0])
    for name, size in zip(names[1:], sizes[1:], strict=True):
        found = ops.add(ops.mul(found, size), collectives.axis_index(axis=name))
    return wrap(found)


def axis_size(axis_name: AxisName) -> int:
    """How many lanes the axis has, a Python integer; of several axes, the product.

    >>> import lucidfn as lf
    >>> lf.vmap(lambda x: x * lf.lax.axis_size("i"), axis_name="i")(lf.numpy.ones(3)).tolist()
    [3.0, 3.0, 3.0]
    """
    return math.prod(_names(axis_name, "axis_size")[1])


__all__ = ["all_gather", "all_to_all", "axis_index", "axis_size", "pmax", "pmean", "pmin",
           "ppermute", "pshuffle", "psum", "psum_scatter", "pswapaxes"]
