"""Functions that apply functions: vectorize, apply_along_axis, apply_over_axes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.api.vmap import vmap
from lucidfn.array import as_raw, asarray, unwrap, wrap
from lucidfn.numpy.reductions import normal_axis
from lucidfn.types import broadcast_shapes

Core = tuple[str, ...]
_NAME = r"\w+"
_ARGUMENT = rf"\(\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*,?\s*\)"
_SIGNATURE = rf"\s*{_ARGUMENT}(?:\s*,\s*{_ARGUMENT})*\s*"


def vectorize(pyfunc: Callable[..., Any], *, excluded: Collection[int | str] = frozenset(),
              signature: str | None = None) -> Callable[..., Any]:
    """A function of arrays that maps `pyfunc` over their leading axes, which broadcast.

    `signature`, as "(n,m),(m)->(n)", names the axes that pyfunc itself takes and returns; without
    it pyfunc takes scalars. `excluded` arguments (positions or names) are passed on whole.

    >>> import lucidfn.numpy as lnp
    >>> inner = lnp.vectorize(lnp.dot, signature="(n),(n)->()")
    >>> inner(lnp.ones((2, 3)), lnp.ones(3)).tolist()
    [3.0, 3.0]
    """
    if any(not isinstance(e, (int, str)) for e in excluded):
        raise TypeError(f"vectorize: excluded holds positions and names, got {excluded!r}")
    cores, outs = (None, None) if signature is None else _parse(signature)

    @functools.wraps(pyfunc)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        mapped = [i for i in range(len(args)) if i not in excluded]
        names = [k for k in kwargs if k not in excluded]
        if cores is not None and len(cores) != len(mapped) + len(names):
            raise TypeError(f"vectorize: the signature {signature!r} takes {len(cores)} arguments, "
                            f"got {len(mapped) + len(names)}")
        values = [asarray(args[i]) for i in mapped] + [asarray(kwargs[k]) for k in names]

        def call(*xs: Any) -> Any:
            positional = list(args)
            for i, x in zip(mapped, xs, strict=False):
                positional[i] = x
            out = pyfunc(*positional, **{**kwargs, **dict(zip(names, xs[len(mapped):],
                                                             strict=True))})
            _check_outputs(out, outs, signature)
            return out

        ranks = [0] * len(values) if cores is None else [len(c) for c in cores]
        _check_cores(values, cores, signature)
        return _map_leading(call, values, ranks)

    return vectorized


def _parse(signature: str) -> tuple[list[Core], list[Core]]:
    if not re.fullmatch(f"{_SIGNATURE}->{_SIGNATURE}", signature):
        raise ValueError(f"vectorize: {signature!r} is not a signature such as '(n,m),(m)->(n)'")
    sides = signature.split("->")
    left, right = ([tuple(re.findall(_NAME, part)) for part in re.findall(_ARGUMENT, side)]
                   for side in sides)
    return left, right


def _check_cores(values: Sequence[Any], cores: Sequence[Core] | None,
                 signature: str | None) -> None:
    sizes: dict[str, int] = {}
    for number, (x, core) in enumerate(zip(values, cores or [()] * len(values), strict=True)):
        if x.ndim < len(core):
            raise ValueError(f"vectorize: argument {number} of shape {x.shape} has fewer axes than "
                             f"{core} in {signature!r}")
        for name, n in zip(core, x.shape[x.ndim - len(core):], strict=True):
            if sizes.setdefault(name, n) != n:
                raise ValueError(f"vectorize: axis {name!r} of {signature!r} has sizes "
                                 f"{sizes[name]} and {n}")


def _check_outputs(out: Any, outs: Sequence[Core] | None, signature: str | None) -> None:
    found = list(out) if isinstance(out, (tuple, list)) else [out]
    wanted = [()] * len(found) if outs is None else outs
    if len(found) != len(wanted):
        raise TypeError(f"vectorize: the function returned {len(found)} outputs, "
                        f"{signature!r} has {len(wanted)}")
    for x, core in zip(found, wanted, strict=True):
        if as_raw(x).ndim != len(core):
            raise TypeError(f"vectorize: the function returned an array of {as_raw(x).ndim} axes "
                            f"where {signature or 'a scalar function'} has {len(core)}")


def _map_leading(call: Callable[..., Any], values: list[Any], ranks: Sequence[int]) -> Any:
    """One vmap for each leading axis, the last of them innermost."""
    leads = [x.shape[:x.ndim - r] for x, r in zip(values, ranks, strict=True)]
    try:
        lead = broadcast_shapes(*leads)
    except ValueError:
        raise ValueError(f"vectorize: the leading axes {leads} must broadcast") from None
    values, mapped = list(values), []
    for depth, size in enumerate(lead):  # the outermost vmap strips the first axis
        axes: list[int | None] = []
        for own in leads:
            at = depth - (len(lead) - len(own))
            axes.append(0 if at >= 0 and (own[at] == size != 1) else None)
        mapped.append((tuple(axes), size))
    # Axes of size 1 that are not mapped are dropped beforehand.
    for i, (own, rank) in enumerate(zip(leads, ranks, strict=True)):
        kept = [n for at, n in enumerate(own) if n != 1]
        core = values[i].shape[values[i].ndim - rank:]
        if len(kept) != len(own):
            values[i] = wrap(ops.reshape(unwrap(values[i]), shape=(*kept, *core)))
    for in_axes, size in reversed(mapped):
        if any(a is not None for a in in_axes):
            call = vmap(call, in_axes=in_axes)
        else:
            call = vmap(call, in_axes=in_axes, axis_size=size)
    return call(*values)


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any,
                     **kwargs: Any) -> Any:
    """func1d(line, *args) for every line along an axis, whose place the result's axes take."""
    raw = as_raw(arr)
    axis = normal_axis(axis, raw.ndim)

    def call(line: Any) -> Any:
        return func1d(line, *args, **kwargs)

    for _ in range(raw.ndim - 1 - axis):
        call = vmap(call, in_axes=-1, out_axes=-1)
    for _ in range(axis):
        call = vmap(call, in_axes=0, out_axes=0)
    return call(wrap(raw))


def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """func(a, axis) for one axis after the other; axes that it drops are put back with size 1."""
    out = asarray(a)
    rank = out.ndim
    for axis in [axes] if hasattr(axes, "__index__") else axes:
        i = normal_axis(axis, rank)
        result = asarray(func(out, i))
        if result.ndim == rank - 1:
            shape = (*result.shape[:i], 1, *result.shape[i:])
            result = wrap(ops.reshape(unwrap(result), shape=shape))
        if result.ndim != rank:
            raise ValueError("apply_over_axes: the function must keep the number of axes or drop "
                             f"one, it returned {result.ndim} for {rank}")
        out = result
    return out


__all__ = ["apply_along_axis", "apply_over_axes", "vectorize"]
