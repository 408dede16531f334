"""A line search for the strong Wolfe conditions: what `minimize` and `optim.lbfgs` step with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn.array import unwrap
from lucidfn.core.trace import Tracer
from lucidfn.lax.whiles import while_loop


class Point(NamedTuple):
    """A step size with the value and the slope there."""

    at: Any
    value: Any
    slope: Any


class Search(NamedTuple):
    """A line search under way: the best point so far, the other end of the bracket (at infinity
    while there is none), the next step size, the gradient at the best point, and whether it holds
    the conditions."""

    low: Point
    high: Point
    next: Any
    grad: Any
    done: Any
    evaluations: Any


def search(slope_at: Callable[[Any], tuple[Any, Any, Any]], zero: Point, grad: Any,
           initial: Any, most: int, c1: float, c2: float) -> Search:
    """The search along a line from `zero`, with at most `most` evaluations of `slope_at`.

    `slope_at(step)` gives value, slope and gradient there; `grad` is the gradient at `zero`, and
    `initial` the first step. It ends where the value has fallen by c1 of what the slope promises
    and the slope has shrunk to c2 of itself (Nocedal and Wright, algorithms 3.5 and 3.6, with cubic
    interpolation; where rounding hides the fall, the approximate condition of Hager and Zhang, SIAM
    J. Optim. 16, 2005), or else at the best point that it has seen, which may be the start.
    """
    far = Point(lnp.full_like(zero.at, float("inf")), zero.value, zero.slope)
    # Where the direction does not descend there is nothing to search.
    state = Search(zero, far, lnp.full_like(zero.at, initial), grad, zero.slope >= 0,
                   lnp.zeros((), "int32"))

    def step(state: Search) -> Search:
        value, slope, g = slope_at(state.next)
        return _advanced(state, Point(state.next, value, slope), g, zero, c1, c2)

    if most == 0:
        return state._replace(done=state.done & (zero.slope <= 0))
    if isinstance(unwrap(state.done), Tracer):
        state = while_loop(lambda s: ~s.done & (s.evaluations < most), step, state)
    else:
        while int(state.evaluations) < most and not bool(state.done):
            state = step(state)
    return state._replace(done=state.done & (zero.slope <= 0))


def _advanced(state: Search, new: Point, grad: Any, zero: Point, c1: float, c2: float) -> Search:
    """The search after one more evaluation. While the far end is at infinity this looks for a
    bracket, and within one it zooms in: the rules are the same."""
    low, high = state.low, state.high
    falls = (new.value <= zero.value + c1 * new.at * zero.slope) & (
        (new.value < low.value) | (low.at == 0))
    noise = 8 * float(lnp.finfo(zero.value.dtype).eps) * lnp.abs(zero.value)
    close = (new.value <= zero.value + noise) & (new.slope <= (2 * c1 - 1) * zero.slope)
    flat = lnp.abs(new.slope) <= -c2 * zero.slope
    good = lnp.isfinite(new.slope) & (falls | close & flat)
    # Uphill towards the far end: the minimum is behind, between here and the old best point.
    behind = good & (new.slope * (high.at - low.at) >= 0)
    pick = lambda c, a, b: Point(*[lnp.where(c, x, y) for x, y in zip(a, b, strict=True)])
    best, other = pick(good, new, low), pick(behind, low, pick(good, high, new))
    step = _next_step(best, other, low, state.next)
    return Search(best, other, step, lnp.where(good, grad, state.grad), good & flat,
                  state.evaluations + 1)


def _next_step(low: Point, high: Point, before: Point, last: Any) -> Any:
    """The minimum of the cubic through both ends, kept off them; without a bracket, beyond."""
    open_ended = lnp.isinf(high.at)
    end = Point(*[lnp.where(open_ended, b, h) for b, h in zip(before, high, strict=True)])
    guess = _cubic_minimum(low, end)
    width = lnp.where(open_ended, 1.0, high.at - low.at)
    a, b = low.at + 0.1 * width, low.at + 0.9 * width
    inside = lnp.clip(guess, lnp.minimum(a, b), lnp.maximum(a, b))
    inside = lnp.where(lnp.isnan(guess), low.at + 0.5 * width, inside)
    beyond = lnp.clip(lnp.where(lnp.isnan(guess), 4.0 * last, guess), 2.0 * last, 10.0 * last)
    return lnp.where(open_ended, beyond, inside)


def _cubic_minimum(a: Point, b: Point) -> Any:
    """The minimum of the cubic with these values and slopes; NaN where it has none.

    Nocedal and Wright, equation 3.59.
    """
    d = a.at - b.at
    safe = lnp.where(d == 0, 1.0, d)
    d1 = b.slope + a.slope - 3.0 * (b.value - a.value) / -safe
    square = d1 * d1 - a.slope * b.slope
    d2 = lnp.sign(d) * lnp.sqrt(lnp.maximum(square, 0.0))
    bottom = a.slope - b.slope + 2.0 * d2
    at = a.at - d * (a.slope + d2 - d1) / lnp.where(bottom == 0, 1.0, bottom)
    fit = (square >= 0) & (bottom != 0) & (d != 0) & lnp.isfinite(at)
    return lnp.where(fit, at, float("nan"))


__all__ = ["Point", "Search", "search"]
