"""Fixed points, differentiated through their equation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn.api.arguments import check_function, name_of
from lucidfn.api.bodies import Operands, at_line
from lucidfn.array import unwrap
from lucidfn.core.trace import Tracer
from lucidfn.flatten_util import ravel_pytree
from lucidfn.lax.implicit import Like, check_like, custom_linear_solve, custom_root
from lucidfn.lax.whiles import while_loop
from lucidfn.scipy.sparse.linalg import _gmres


class FixedPointInfo(NamedTuple):
    """How the iteration went: whether it converged, its steps, and the last largest change."""

    converged: Any
    steps: Any
    change: Any


def fixed_point(f: Callable[..., Any], x0: Any, *args: Any, tol: float | None = None,
                maxiter: int = 1000, full_output: bool = False) -> Any:
    """The x with x = f(x, *args), by x = f(x, *args) again and again from x0.

    x is a tree of floating point arrays, and f keeps its structure and types. The iteration stops
    when the largest change is at most tol max(1, the largest |x|), with 64 roundings for tol by
    default. The derivative is that of the equation, dx = (1 - df/dx)^-1 df, with respect to args
    and to all that f closes over, in both modes and of any order; nothing of the iteration is
    kept, and x0 has no derivative.

    Where the iteration has not converged after maxiter steps, x is NaN, with a RuntimeWarning where
    that is known (outside jit). With `full_output` the result is `(x, FixedPointInfo)` instead, x
    being the last iterate. TypeError where f changes the structure or a type (with paths).

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> sqrt = lambda a: lf.fixed_point(lambda x: 0.5 * (x + a / x), 1.0)
    >>> round(float(sqrt(4.0)), 4), round(float(lf.grad(sqrt)(4.0)), 4)
    (2.0, 0.25)
    """
    check_function(f, "fixed_point")
    given = Operands.of(x0, "fixed_point", "x0")
    start, unravel = ravel_pytree(given.rebuild(given.raws))
    if not lnp.issubdtype(start.dtype, lnp.inexact):
        raise TypeError(f"{at_line('fixed_point')}: x0 must be floating point, got {start.dtype}; "
                        "convert it with .astype(float)")
    like, dtype = Like.of(given), start.dtype
    eps = float(lnp.finfo(start.dtype).eps)
    tol = 64 * eps if tol is None else tol

    def apply(v: Any) -> Any:
        out = f(unravel(v), *args)
        found = Operands.of(out, "fixed_point", "f(x0)")
        check_like("fixed_point", f"f {name_of(f)}", found.treedef, found.types, like)
        return ravel_pytree(out)[0].astype(dtype)

    def iterate(_: Any, x: Any) -> tuple[Any, Any]:
        return _iterate(apply, x, tol, maxiter)

    x, info = custom_root(lambda v: v - apply(v), start, iterate, _tangent, has_aux=True)
    if full_output:
        return unravel(x), info
    if not isinstance(unwrap(info.converged), Tracer) and not bool(info.converged):
        warnings.warn(
            f"{at_line('fixed_point')}: no convergence in {int(info.steps)} steps, the last change "
            f"being {float(info.change):.3g}; the result is NaN. Raise maxiter= or tol=, or start "
            "nearer; full_output=True gives the last iterate", RuntimeWarning, stacklevel=2)
    return unravel(lnp.where(info.converged, x, float("nan")))


def _iterate(apply: Callable[[Any], Any], x: Any, tol: float,
             maxiter: int) -> tuple[Any, FixedPointInfo]:
    def moved(x: Any, y: Any) -> tuple[Any, Any]:
        change = lnp.max(lnp.abs(y - x), initial=0.0)
        return change, change <= tol * lnp.maximum(1.0, lnp.max(lnp.abs(y), initial=0.0))

    def more(state: Any) -> Any:
        _, change, done, k = state
        return ~done & (k < maxiter) & ~lnp.isnan(change)

    def step(state: Any) -> Any:
        x, _, _, k = state
        y = apply(x)
        return y, *moved(x, y), k + 1

    start = (x, lnp.full_like(x.real, float("inf"), shape=()), lnp.zeros((), "bool"),
             lnp.zeros((), "int32"))
    x, change, done, k = while_loop(more, step, start)
    return x, FixedPointInfo(done, k, change)


def _tangent(g: Callable[[Any], Any], y: Any) -> Any:
    """The x with g(x) = y, for the linear g at the fixed point; NaN if that was not found."""
    eps = float(lnp.finfo(y.dtype).eps)

    def solve(matvec: Callable[[Any], Any], b: Any) -> Any:
        size = lnp.sqrt(lnp.vdot(b, b).real)
        x, _ = _gmres(matvec, b, b, lambda v: v, 16 * eps * size, 10 * b.size, restart=20)
        left = b - matvec(x)
        fine = lnp.sqrt(lnp.vdot(left, left).real) <= eps ** 0.5 * size
        return lnp.where(fine, x, float("nan"))

    return custom_linear_solve(g, y, solve, solve)


__all__ = ["FixedPointInfo", "fixed_point"]
