"""Taylor mode over pytrees: all derivatives up to an order along a curve, in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.api.arguments import check_function, flatten_arrays, name_of
from lucidfn.api.autodiff import _Flat, _matching
from lucidfn.array import wrap
from lucidfn.control import jets as jets  # the rules of what contains programs
from lucidfn.transforms import jet as jet_flat
from lucidfn.tree import unflatten
from lucidfn.types import is_inexact


def jet(fun: Callable[..., Any], primals: Sequence[Any], series: Sequence[Sequence[Any]],
        factorial_scaled: bool = True) -> tuple[Any, Any]:
    """`(fun(*primals), series of the output)`: the derivatives of t -> fun(x(t)) at t = 0.

    `series[i]` lists the derivatives x', x'', ... of argument i, each like the argument (an array
    or a tree); their number, equal for all, is the order. The second output has for each leaf of
    the output the list of its derivatives up to that order. With `factorial_scaled=False` both are
    Taylor coefficients: derivatives over k!. Costs about order^2 evaluations of fun, where nested
    jvp costs 2^order. Every operation with a derivative has a rule, loops and branches too.
    Griewank and Walther, "Evaluating Derivatives" (2008), chapter 13.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> y, derivatives = lf.jet(lnp.exp, (0.0,), ([1.0, 0.0, 0.0],))
    >>> float(y), [float(d) for d in derivatives]
    (1.0, [1.0, 1.0, 1.0])
    """
    check_function(fun, "jet")
    what = f"jet of {name_of(fun)}"
    try:
        primals, terms = tuple(primals), [list(s) for s in series]
    except TypeError:
        raise TypeError(f"{what}: primals must be a tuple, series a list of terms for each of "
                        "them; for one argument x with derivatives x1, x2 write "
                        "jet(f, (x,), ([x1, x2],))") from None
    if len(primals) != len(terms):
        raise ValueError(f"{what}: got {len(primals)} primals and series for {len(terms)}; give a "
                         "list of terms for each argument")
    orders = {len(s) for s in terms}
    if len(orders) > 1:
        raise ValueError(f"{what}: series have {[len(s) for s in terms]} terms; give as many for "
                         "each argument (zeros where there are none)")
    order = orders.pop() if orders else 0
    raws, weaks, moving, leaves, treedef = flatten_arrays(primals)
    rows = []
    for k in range(order):
        row = _matching(tuple([s[k] for s in terms]), treedef,
                        [r if m else _CONSTANT for r, m in zip(raws, moving, strict=True)],
                        f"{what}: term {k + 1}", "primals")
        rows.append([None if t is None else _scaled(t, k + 1, factorial_scaled, True)
                     for t in row])
    columns = [[r for r in column] if m else None
               for column, m in zip(zip(*rows, strict=True), moving, strict=True)] if rows else [
                   None] * len(raws)
    columns = [None if c is None or any(t is None for t in c) else c for c in columns]
    flat = _Flat(fun, "jet", leaves, moving, treedef, lambda new: (new, {}), False)
    outs, found = jet_flat.jet(flat, raws, columns, order, weak=weaks)
    lists = [[wrap(_scaled(t, k + 1, factorial_scaled, False)) for k, t in enumerate(ts)]
             for ts in found]
    out = unflatten(flat.out_tree, [wrap(o, w) for o, w in zip(outs, flat.weaks, strict=True)])
    return out, unflatten(flat.out_tree, lists)


_CONSTANT = flatten_arrays(False)[0][0]  # of a dtype without derivative: its terms do not count


def _scaled(term: Any, k: int, factorial_scaled: bool, inwards: bool) -> Any:
    """A derivative as a Taylor coefficient, or the other way round."""
    if not factorial_scaled or k < 2 or not is_inexact(term.dtype):
        return term
    factor = float(math.factorial(k))
    return ops.div(term, factor) if inwards else ops.mul(term, factor)


__all__ = ["jet"]
