"""L-BFGS, and a line search for the strong Wolfe conditions.

    tx = optim.lbfgs()
    value, grads = lf.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
    params = optim.apply_updates(params, updates)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.api.autodiff import value_and_grad
from lucidfn.array import typeof, unwrap
from lucidfn.core.trace import Tracer
from lucidfn.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    apply_updates,
    chain,
    check_tree,
    map_updates,
    moves,
    wide,
    with_state,
)
from lucidfn.optim.transforms import scale, scale_by_learning_rate
from lucidfn.scipy.optimize.line_search import Point, search
from lucidfn.types import float32, float64

# ------------------------------------------------------------------ trees as vectors

def _vector(t: Any, like: Any) -> Any:
    """The leaves of t where `like` is a moving leaf, as one vector of float32 or float64.

    None is zeros.
    """
    treedef = tree.structure(like)
    pairs = zip(treedef.flatten_up_to(t), tree.leaves(like), strict=True)
    found = [lnp.zeros_like(p) if x is None else lnp.asarray(x) for x, p in pairs if moves(p)]
    for x in found:
        if x.dtype.kind == "c":
            raise TypeError(f"lbfgs got a leaf {typeof(x)}; it takes real parameters")
    dtype = float64 if any(x.dtype == float64 for x in found) else float32
    return lnp.concatenate([x.astype(dtype).reshape(-1) for x in found] or [lnp.zeros(0, dtype)])


def _unvector(vector: Any, like: Any) -> Any:
    """The tree of updates that a vector stands for; None for leaves that do not move."""
    out: list[Any] = []
    at = 0
    for p in tree.leaves(like):
        t = typeof(p)
        if not moves(p):
            out.append(None)
            continue
        out.append(vector[at:at + t.size].reshape(t.shape).astype(wide(t.dtype)))
        at += t.size
    return tree.unflatten(tree.structure(like), out)


# ------------------------------------------------------------------ the direction

class LbfgsState(NamedTuple):
    """The last point and gradient, as vectors; the last steps s and changes of gradient y, oldest
    first, with 1 / (s y), which is 0 for pairs not known yet; and the scale s y / (y y)."""

    count: Any
    params: Any
    grads: Any
    steps: Any  # [memory_size, n]
    changes: Any  # [memory_size, n]
    weights: Any  # [memory_size]
    scale: Any


def scale_by_lbfgs(memory_size: int = 10,
                   scale_init_precond: bool = True) -> GradientTransformation:
    """Gradients times an estimate of the inverse Hessian, from the last memory_size steps.

    Nocedal and Wright, Numerical Optimization, algorithm 7.4. A step along which the gradient did
    not grow is not remembered. With scale_init_precond the estimate before any step is
    min(1, 1 / |gradient|), and later the two loops start from s y / (y y); otherwise from 1.
    """
    if isinstance(memory_size, bool) or not isinstance(memory_size, int) or memory_size < 1:
        raise ValueError(f"lbfgs: memory_size must be an int of at least 1, got {memory_size!r}")

    def init(params: Any) -> LbfgsState:
        p = _vector(params, params)
        past = lambda: lnp.zeros((memory_size, p.size), p.dtype)
        return LbfgsState(lnp.zeros((), "int32"), lnp.zeros_like(p), lnp.zeros_like(p), past(),
                          past(), lnp.zeros(memory_size, p.dtype), lnp.ones((), p.dtype))

    def update(updates: Any, state: LbfgsState, params: Any = None,
               **extra: Any) -> tuple[Any, LbfgsState]:
        if params is None:
            raise TypeError("lbfgs needs the parameters: tx.update(grads, state, params, ...)")
        check_tree(updates, params)
        p = _vector(params, params)
        g = _vector(updates, params).astype(p.dtype)
        state = _remembered(state, p, g)
        start = 1.0
        if scale_init_precond:
            size = lnp.sqrt(lnp.sum(g * g))
            first = 1.0 / lnp.maximum(size, 1.0)
            start = lnp.where(state.weights[-1] > 0, state.scale, first)
        return _unvector(_two_loops(state, g, start), params), state

    return with_state(LbfgsState, init, update)


def _remembered(state: LbfgsState, p: Any, g: Any) -> LbfgsState:
    """The state at a new point, with the pair of the step that led there."""
    s, y = p - state.params, g - state.grads
    along, square = lnp.sum(s * y), lnp.sum(y * y)
    # The estimate stays positive definite only if the gradient grew along the step.
    fit = (state.count > 0) & (along > float(lnp.finfo(p.dtype).eps) * square)
    push = lambda old, new: lnp.where(fit, lnp.concatenate([old[1:], new[None]]), old)
    over = lambda a, b: a / lnp.where(fit, b, 1.0)
    # A search that led nowhere would be repeated for ever: start again from the gradient.
    stuck = (state.count > 0) & ~lnp.any(s != 0)
    state = state._replace(weights=lnp.where(stuck, 0.0, state.weights))
    return LbfgsState(state.count + 1, p, g, push(state.steps, s), push(state.changes, y),
                      push(state.weights, over(lnp.ones_like(along), along)),
                      lnp.where(fit, over(along, square), state.scale))


def _two_loops(state: LbfgsState, g: Any, start: Any) -> Any:
    """The estimate of the inverse Hessian times g. Unknown pairs have weight 0: they do nothing."""
    parts = []
    memory = state.weights.shape[0]
    for i in reversed(range(memory)):
        part = state.weights[i] * lnp.dot(state.steps[i], g)
        g = g - part * state.changes[i]
        parts.append(part)
    g = g * start
    for i in range(memory):
        back = state.weights[i] * lnp.dot(state.changes[i], g)
        g = g + (parts.pop() - back) * state.steps[i]
    return g


# ------------------------------------------------------------------ the line search

class LinesearchState(NamedTuple):
    """The step size, the value and the gradient that the last line search ended with, how often it
    evaluated the function, and whether both conditions hold there."""

    learning_rate: Any
    value: Any
    grad: Any
    evaluations: Any
    converged: Any


def scale_by_zoom_linesearch(max_linesearch_steps: int = 20, slope_rtol: float = 1e-4,
                             curv_rtol: float = 0.9,
                             initial_step: float = 1.0) -> GradientTransformation:
    """Updates times a step size that meets the strong Wolfe conditions.

    These are: the value falls by at least slope_rtol of what the slope promises, and the slope
    shrinks to at most curv_rtol of itself (Nocedal and Wright, algorithms 3.5 and 3.6, with cubic
    interpolation; where rounding hides the fall, the approximate condition of Hager and Zhang, SIAM
    J. Optim. 16, 2005). update needs value=, grad= and value_fn=, a function of the parameters
    alone. The search stops when it is done, after max_linesearch_steps evaluations at most. Without
    convergence it ends at the best point it has seen, which may be the start.
    """
    if isinstance(max_linesearch_steps, bool) or not isinstance(max_linesearch_steps, int) \
            or max_linesearch_steps < 1:
        raise ValueError("max_linesearch_steps must be an int of at least 1, got "
                         f"{max_linesearch_steps!r}")
    if not 0 < slope_rtol < curv_rtol < 1:
        raise ValueError("a line search needs 0 < slope_rtol < curv_rtol < 1, got slope_rtol="
                         f"{slope_rtol} and curv_rtol={curv_rtol}")

    def init(params: Any) -> LinesearchState:
        p = _vector(params, params)
        return LinesearchState(
            lnp.ones((), p.dtype), lnp.full((), float("inf"), p.dtype),
            _unvector(lnp.zeros_like(p), params), lnp.zeros((), "int32"), lnp.zeros((), "bool"))

    def update(updates: Any, state: LinesearchState, params: Any = None, *, value: Any = None,
               grad: Any = None, value_fn: Callable[[Any], Any] | None = None,
               **extra: Any) -> tuple[Any, LinesearchState]:
        if params is None or value is None or grad is None or value_fn is None:
            raise TypeError("the line search needs the parameters, value=, grad= and value_fn=: "
                            "tx.update(grads, state, params, value=value, grad=grads, "
                            "value_fn=loss), where loss(params) is the value")
        along = _vector(updates, params)
        slope_at = _slopes(value_fn, params, updates, along)
        g = _vector(grad, params).astype(along.dtype)
        zero = Point(lnp.zeros((), along.dtype), lnp.asarray(value).astype(along.dtype),
                     lnp.dot(g, along))
        # Without parameters there is nothing to search.
        most = max_linesearch_steps if along.size else 0
        found = search(slope_at, zero, g, initial_step, most, slope_rtol, curv_rtol)
        rate = found.low.at
        state = LinesearchState(rate, found.low.value, _unvector(found.grad, params),
                                found.evaluations, found.done)
        return map_updates(lambda u: u * rate.astype(u.dtype), updates), state

    return with_state(LinesearchState, init, update)


def _slopes(value_fn: Callable[[Any], Any], params: Any, updates: Any,
            along: Any) -> Callable[[Any], tuple[Any, Any, Any]]:
    """The function from a step size to value, slope and gradient there."""
    with_grad = value_and_grad(value_fn, allow_int=True)

    def at(step: Any) -> tuple[Any, Any, Any]:
        moved = apply_updates(params, map_updates(lambda u: u * step.astype(u.dtype), updates))
        value, grad = with_grad(moved)
        g = _vector(grad, params).astype(along.dtype)
        return lnp.asarray(value).astype(along.dtype), lnp.dot(g, along), g

    return at


# ------------------------------------------------------------------ the optimizer

_ZOOM = scale_by_zoom_linesearch()


def lbfgs(learning_rate: ScalarOrSchedule | None = None, memory_size: int = 10,
          scale_init_precond: bool = True,
          linesearch: GradientTransformation | None = _ZOOM) -> GradientTransformation:
    """L-BFGS (Liu and Nocedal, Math. Program. 45, 1989), for whole data sets and no noise.

    The first three arguments are those of `scale_by_lbfgs`, after a factor for the steps (1 if it
    is None); linesearch=None takes the steps as they are. With the line search, update needs
    value=, grad= and value_fn=, and `value_and_grad_from_state` saves an evaluation.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> loss = lambda x: lnp.sum((x - 1) ** 4)
    >>> x, tx = lnp.zeros(2), optim.lbfgs()
    >>> state = tx.init(x)
    >>> for _ in range(20):
    ...     value, grad = optim.value_and_grad_from_state(loss)(x, state=state)
    ...     updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
    ...     x = optim.apply_updates(x, updates)
    >>> bool(loss(x) < 1e-6)
    True
    """
    steps = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    parts = [scale_by_lbfgs(memory_size, scale_init_precond), steps]
    return chain(*parts, *([] if linesearch is None else [linesearch]))


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """`lf.value_and_grad(value_fn)`, but of what the last line search found, where that is known.

    The result is called as f(params, *args, state=opt_state). The parameters must be those that
    the state's update led to. Within a jitted function it evaluates value_fn.
    """
    compute = value_and_grad(value_fn)

    def f(params: Any, *args: Any, state: Any, **kwargs: Any) -> tuple[Any, Any]:
        found = [s for s in tree.leaves(state, is_leaf=_is_search) if _is_search(s)]
        if not found:
            raise ValueError("this state holds no line search: it must be that of "
                             "lbfgs or scale_by_zoom_linesearch")
        last = found[0]
        if isinstance(unwrap(last.value), Tracer) or not bool(lnp.isfinite(last.value)):
            return compute(params, *args, **kwargs)
        return last.value, last.grad

    return f


def _is_search(x: Any) -> bool:
    return isinstance(x, LinesearchState)


__all__ = ["LbfgsState", "LinesearchState", "lbfgs", "scale_by_lbfgs", "scale_by_zoom_linesearch",
           "value_and_grad_from_state"]
