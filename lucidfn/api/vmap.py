"""Vectorisation over pytrees: `in_axes` and `out_axes` as prefixes or by parameter name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.api.arguments import (
    check_function,
    leaf_names,
    name_of,
    output_leaf,
    parameter_names,
    raw_leaf,
    signature_of,
)
from lucidfn.array import check_library, is_array_like, typeof, weak_of, wrap
from lucidfn.core.trace import shape_of
from lucidfn.ops.shape import move_axis
from lucidfn.transforms.vmap import batch_flat
from lucidfn.tree import flatten, flatten_prefix, unflatten

Axes = Any  # an int, None, or a prefix tree of them


def vmap(fun: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0, axis_name: Any = None,
         axis_size: int | None = None, spmd_axis_name: Any = None, *,
         chunk_size: int | None = None) -> Callable[..., Any]:
    """A function that applies `fun` to every slice of its arguments, all at once.

    `in_axes`: which axis of each argument is mapped; None leaves an argument whole. An int for
    all, a tuple with an entry (or a prefix tree) for each positional argument, or a dict by
    parameter name. Keyword arguments are mapped over axis 0 unless the dict names them.
    `out_axes`: where the mapped axis goes in the outputs; None for an output that does not vary.
    `axis_name`: the name by which collectives refer to the axis. `axis_size`: its size, needed
    where no argument is mapped. `chunk_size`: at most so many slices at once, to bound memory.
    Raises ValueError where axes or sizes do not fit.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.vmap(lnp.dot, in_axes=(0, None))(lnp.eye(2), lnp.array([3.0, 4.0])).tolist()
    [3.0, 4.0]
    """
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    check_function(fun, "vmap")
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(f"vmap: chunk_size must be a positive integer, got {chunk_size!r}")

    @functools.wraps(fun)
    def vmap_fun(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = flatten((args, kwargs))
        axes = _leaf_axes(fun, in_axes, args, kwargs)
        names = leaf_names(fun, args, kwargs)
        raws, batched = _moved(fun, leaves, axes, names)
        size = _size(fun, raws, batched, names, axes, leaves, axis_size)
        weaks = [weak_of(x) if is_array_like(x) else False for x in leaves]
        state: list[Any] = [None]

        def flat(*xs: Any) -> list[Any]:
            a, k = unflatten(treedef, [
                wrap(x, w) if b else leaf
                for x, w, b, leaf in zip(xs, weaks, batched, leaves, strict=True)])
            out = fun(*a, **k)
            out_leaves, state[0] = flatten(out)
            state[1:] = [weak_of(x) for x in out_leaves]
            return [output_leaf(x, f"vmap: {name_of(fun)}") for x in out_leaves]

        run = functools.partial(batch_flat, flat, axis_name=axis_name, weak=weaks, names=names,
                                fill=False)
        if chunk_size is not None and size > chunk_size and axis_name is not None:
            raise ValueError(f"vmap of {name_of(fun)}: axis_name={axis_name!r} with chunk_size="
                             f"{chunk_size} for {size} slices; a collective would see one chunk "
                             "only. Leave out one of the two")
        if chunk_size is None or size <= chunk_size:
            outs, varies = run(raws, batched, size)
        else:
            outs, varies = _in_chunks(run, raws, batched, size, chunk_size)
        out_tree, out_weaks = state[0], state[1:]
        placed = _placed(fun, outs, varies, size, out_axes, out_tree)
        return unflatten(out_tree, [wrap(x, w) for x, w in zip(placed, out_weaks, strict=True)])

    return vmap_fun


def _is_none(x: Any) -> bool:
    return x is None


def _leaf_axes(fun: Any, in_axes: Any, args: tuple[Any, ...],
               kwargs: dict[str, Any]) -> list[int | None]:
    """The axis of each leaf of (args, kwargs); None where it is not mapped."""
    by_name = _by_name(fun, in_axes, args, kwargs)
    if by_name is not None:
        positional, named = by_name
    elif isinstance(in_axes, tuple):
        if len(in_axes) != len(args):
            raise ValueError(
                f"vmap of {name_of(fun)}: in_axes has {len(in_axes)} entries {in_axes} for "
                f"{len(args)} positional arguments; give one for each (None for an argument "
                "that is not mapped)")
        positional, named = in_axes, dict.fromkeys(kwargs, 0)
    else:
        positional, named = (in_axes,) * len(args), dict.fromkeys(kwargs, 0)
    axes: list[Any] = []
    labels = parameter_names(fun, len(args))
    for label, axis, arg in [*zip(labels, positional, args, strict=True),
                             *((k, named[k], kwargs[k]) for k in sorted(kwargs))]:
        axes += flatten_prefix(axis, arg, is_leaf=_is_none, name=f"in_axes of `{label}`")
    for axis in axes:
        if axis is not None and (isinstance(axis, bool) or not hasattr(axis, "__index__")):
            raise TypeError(f"vmap of {name_of(fun)}: in_axes must hold integers and None, got "
                            f"{axis!r} ({type(axis).__name__})")
    return axes


def _by_name(fun: Any, in_axes: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """in_axes given as a dict of parameter names: (axes of args, axes of kwargs)."""
    if not isinstance(in_axes, dict) or not all(isinstance(k, str) for k in in_axes):
        return None
    labels = parameter_names(fun, len(args))
    signature = signature_of(fun)
    known = {*labels, *kwargs, *(signature.parameters if signature else ())}
    unknown = sorted(set(in_axes) - known)
    if unknown:
        raise ValueError(f"vmap of {name_of(fun)}: in_axes names {unknown}, which are no "
                         f"parameters; it has {sorted(known)}")
    return tuple(in_axes.get(n, 0) for n in labels), {k: in_axes.get(k, 0) for k in kwargs}


def _moved(fun: Any, leaves: Sequence[Any], axes: Sequence[int | None],
           names: Sequence[str]) -> tuple[list[Any], list[bool]]:
    """Raw leaves with the mapped axis in front."""
    raws, batched = [], []
    for x, axis, name in zip(leaves, axes, names, strict=True):
        if axis is None:
            raws.append(raw_leaf(x) if is_array_like(x) else x)
            batched.append(False)
            continue
        if not is_array_like(x):
            check_library(x)
            raise TypeError(f"vmap of {name_of(fun)}: `{name}` is {type(x).__name__} {x!r:.40}, "
                            "which has no axis to map; give it None in in_axes")
        raw = raw_leaf(x)
        rank = len(shape_of(raw))
        if not -rank <= axis < rank:
            raise ValueError(f"vmap of {name_of(fun)}: in_axes={axis} for `{name}`, which is "
                             f"{typeof(x)} and has {rank} axes"
                             + ("; give a scalar None in in_axes" if rank == 0 else ""))
        raws.append(move_axis(raw, axis % rank, 0))
        batched.append(True)
    return raws, batched


def _size(fun: Any, raws: Sequence[Any], batched: Sequence[bool], names: Sequence[str],
          axes: Sequence[Any], leaves: Sequence[Any], axis_size: int | None) -> int:
    sizes = {shape_of(x)[0] for x, b in zip(raws, batched, strict=True) if b}
    if axis_size is not None:
        sizes.add(axis_size)
    if len(sizes) == 1:
        return sizes.pop()
    if not sizes:
        raise ValueError(f"vmap of {name_of(fun)}: no argument is mapped; give one an axis in "
                         "in_axes, or give axis_size=")
    rows = [f"  `{n}` {typeof(x)} axis {a} has size {shape_of(r)[0]}" for n, x, a, r, b in
            zip(names, leaves, axes, raws, batched, strict=True) if b]
    given = [] if axis_size is None else [f"  axis_size={axis_size}"]
    raise ValueError("\n".join([f"vmap of {name_of(fun)}: mapped axes must have one size:",
                                *rows, *given]))


def _in_chunks(run: Callable[..., Any], raws: Sequence[Any], batched: Sequence[bool], size: int,
               chunk: int) -> tuple[list[Any], list[bool]]:
    parts = []
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        piece = [ops.slice_axis(x, 0, start, stop) if b else x
                 for x, b in zip(raws, batched, strict=True)]
        parts.append(run(piece, batched, stop - start))
    varies = parts[0][1]
    outs = [ops.concatenate(*[p[0][i] for p in parts], axis=0) if v else parts[0][0][i]
            for i, v in enumerate(varies)]
    return outs, varies


def _placed(fun: Any, outs: Sequence[Any], varies: Sequence[bool], size: int, out_axes: Any,
            out_tree: Any) -> list[Any]:
    """Outputs with the mapped axis where out_axes wants it."""
    if isinstance(out_axes, list):
        out_axes = tuple(out_axes)
    axes = flatten_prefix(out_axes, unflatten(out_tree, list(range(len(outs)))),
                          is_leaf=_is_none, name="out_axes")
    placed = []
    for i, (x, v, axis) in enumerate(zip(outs, varies, axes, strict=True)):
        if axis is None:
            if v:
                raise ValueError(f"vmap of {name_of(fun)}: out_axes is None for output {i}, but "
                                 "that output varies along the mapped axis; give it an axis")
            placed.append(x)
            continue
        shape = shape_of(x)
        if not v:
            x = ops.broadcast_to(x, shape=(size, *shape))
        rank = len(shape_of(x))
        if not -rank <= axis < rank:
            raise ValueError(f"vmap of {name_of(fun)}: out_axes={axis} for output {i}, which has "
                             f"{rank} axes with the mapped one")
        placed.append(move_axis(x, 0, axis % rank))
    return placed
