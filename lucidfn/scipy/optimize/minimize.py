"""`minimize`: BFGS and L-BFGS as one loop, differentiated through the condition of a minimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn.api.arguments import check_function, name_of
from lucidfn.api.autodiff import grad, value_and_grad
from lucidfn.api.bodies import Operands, at_line, strong
from lucidfn.api.custom import custom_jvp
from lucidfn.array import typeof
from lucidfn.flatten_util import ravel_pytree
from lucidfn.lax.implicit import custom_linear_solve, custom_root
from lucidfn.lax.whiles import while_loop
from lucidfn.scipy.optimize.line_search import Point, search
from lucidfn.scipy.sparse.linalg import _cg

# What `status` means: index i is the text of status i.
STATUS = ("converged", "maxiter steps were taken", "maxfun evaluations were made",
          "the line search found no better point", "the function or its gradient is not finite")
METHODS = {"bfgs": "BFGS", "l-bfgs": "L-BFGS",
           "l-bfgs-experimental-do-not-rely-on-this": "L-BFGS"}
OPTIONS = {"BFGS": {"gtol", "norm", "maxiter", "line_search_maxiter"},
           "L-BFGS": {"gtol", "norm", "maxiter", "maxls", "maxfun", "maxgrad", "maxcor", "ftol"}}


class OptimizeResults(NamedTuple):
    """The result of `minimize`: the minimum `x`, where `success` is true.

    `status` is 0 then, else 1: maxiter steps, 2: maxfun evaluations, 3: the line search found no
    better point, 4: the function or its gradient is not finite; `message()` says it in words.
    `fun`, `jac`, `hess_inv` are the value, the gradient and the estimate of the inverse Hessian
    (None for L-BFGS) at x; `nfev`, `njev`, `nit` count evaluations, of the gradient too, and steps.
    """

    x: Any
    success: Any
    status: Any
    fun: Any
    jac: Any
    hess_inv: Any
    nfev: Any
    njev: Any
    nit: Any

    def message(self) -> str:
        """The status in words."""
        return STATUS[int(self.status)]


def minimize(fun: Callable[..., Any], x0: Any, args: tuple[Any, ...] = (), *, method: str = "BFGS",
             tol: float | None = None, options: Mapping[str, Any] | None = None) -> OptimizeResults:
    """The x that minimises `fun(x, *args)`, a scalar, from x0, a tree of real arrays.

    Methods: "BFGS" and "L-BFGS" (also under the name that JAX gives it), with a line search for the
    strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, algorithms 6.1 and 7.4).
    Both stop where a norm of the gradient is at most `gtol` (`tol`, or 1e-5): look at `success`.
    Options of BFGS: `gtol`, `norm` (inf), `maxiter` (200 for each unknown),
    `line_search_maxiter` (20); of L-BFGS: `gtol`, `norm`, `maxiter`, `maxls` (20), `maxfun`,
    `maxgrad`, `maxcor` (10, the steps it remembers), `ftol` (0, the relative fall of the value at
    which it stops).

    x and fun are differentiated, in both modes and to any order, with respect to args and what fun
    closes over, through the condition that the gradient is zero: the Hessian at x is solved with by
    conjugate gradients. Where the minimum was not found these derivatives are NaN. The other
    results have none, and nor has x0.

    ValueError for an unknown method or option, TypeError for a fun that returns no scalar.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> f = lambda x, a: lnp.sum((x - a) ** 2)
    >>> found = minimize(f, lnp.zeros(2), (lnp.array([1.0, 2.0]),))
    >>> found.x.tolist(), bool(found.success), found.message()
    ([1.0, 2.0], True, 'converged')
    """
    check_function(fun, "minimize")
    if not isinstance(args, tuple):
        raise TypeError(f"{at_line('minimize')}: args must be a tuple, got "
                        f"{type(args).__name__}; write args=(a,) for one argument")
    kind = METHODS.get(str(method).lower())
    if kind is None:
        raise ValueError(f"{at_line('minimize')}: method {method!r} is not known; there are "
                         + ", ".join(map(repr, ("BFGS", "L-BFGS", list(METHODS)[-1]))))
    settings = _settings(kind, tol, dict(options or {}))
    given = Operands.of(x0, "minimize", "x0")
    start, unravel = ravel_pytree(given.rebuild(given.raws))
    if start.dtype.kind != "f" and start.dtype.name != "bfloat16":
        raise TypeError(f"{at_line('minimize')}: x0 must be real and floating point, got "
                        f"{', '.join(map(strong, given.types))}")

    dtype = start.dtype

    def value(v: Any) -> Any:
        out = fun(unravel(v), *args)
        t = typeof(out)
        if t.shape or t.dtype.kind in "cb":
            raise TypeError(f"{at_line('minimize')}: {name_of(fun)} must return one real number, "
                            f"got {strong(t)}")
        return lnp.asarray(out).astype(dtype)

    def solve(_: Any, x: Any) -> tuple[Any, _State]:
        state = _run(value, x, kind, settings)
        return state.x, state

    x, state = custom_root(grad(value), start, solve, _tangent_solve, has_aux=True)
    x = _differentiated_if(x, state.status == 0)
    inverse = None if kind == "L-BFGS" else state.memory
    return OptimizeResults(unravel(x), state.status == 0, state.status, value(x),
                           unravel(state.grad), inverse, state.evaluations, state.evaluations,
                           state.steps)


def _settings(kind: str, tol: float | None, options: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(options) - OPTIONS[kind])
    if unknown:
        raise ValueError(f"{at_line('minimize')}: {kind} has no option {unknown[0]!r}; there are "
                         + ", ".join(sorted(OPTIONS[kind])))
    found = {"gtol": 1e-5 if tol is None else tol, "norm": float("inf"), "maxiter": None,
             "search": 20, "maxfun": None, "maxcor": 10, "ftol": 0.0}
    for name, x in options.items():
        if name == "maxgrad":  # a gradient comes with each value
            found["maxfun"] = x if found["maxfun"] is None else min(x, found["maxfun"])
        elif name == "maxfun" and found["maxfun"] is not None:
            found["maxfun"] = min(x, found["maxfun"])
        else:
            found["search" if name in ("maxls", "line_search_maxiter") else name] = x
    return found


# ------------------------------------------------------------------ the loop

class _State(NamedTuple):
    """`memory`: the inverse Hessian for BFGS, else the last steps and changes of the gradient."""

    x: Any
    value: Any
    grad: Any
    memory: Any
    steps: Any
    evaluations: Any
    status: Any  # -1 while it runs


def _run(value: Callable[[Any], Any], x: Any, kind: str, settings: dict[str, Any]) -> _State:
    with_grad = value_and_grad(value)
    maxiter = 200 * max(x.size, 1) if settings["maxiter"] is None else settings["maxiter"]
    maxfun = float("inf") if settings["maxfun"] is None else settings["maxfun"]
    count = settings["maxcor"]
    direction, remembered = (_bfgs, _bfgs_update) if kind == "BFGS" else (_two_loops, _pushed)
    memory = lnp.eye(x.size, dtype=x.dtype) if kind == "BFGS" else (
        lnp.zeros((count, x.size), x.dtype), lnp.zeros((count, x.size), x.dtype))

    def small(g: Any) -> Any:
        return lnp.linalg.norm(g, settings["norm"]) <= settings["gtol"] if g.size else \
            lnp.ones((), "bool")

    def status(value: Any, g: Any, steps: Any, evaluations: Any, falls: Any, flat: Any) -> Any:
        found = lnp.where(steps >= maxiter, 1, lnp.where(evaluations >= maxfun, 2, -1))
        found = lnp.where(falls, found, 3)
        found = lnp.where(small(g) | flat, 0, found)
        bad = ~lnp.isfinite(value) | ~lnp.all(lnp.isfinite(g))
        return lnp.where(bad, 4, found).astype("int32")

    def step(s: _State) -> _State:
        along = -direction(s.memory, s.grad)
        slope = lnp.dot(s.grad, along)
        # An estimate spoilt by rounding may point uphill: then down the gradient.
        along = lnp.where(slope < 0, along, -s.grad)
        slope = lnp.where(slope < 0, slope, -lnp.dot(s.grad, s.grad))
        size = lnp.sqrt(lnp.dot(s.grad, s.grad))
        first = lnp.where(s.steps == 0, lnp.minimum(1.0, 1.0 / size), 1.0)

        def slope_at(at: Any) -> tuple[Any, Any, Any]:
            found, g = with_grad(s.x + at * along)
            return found, lnp.dot(g, along), g

        zero = Point(lnp.zeros((), x.dtype), s.value, slope)
        # Looser conditions do not shrink gradients to a tight gtol in float32.
        found = search(slope_at, zero, s.grad, first, settings["search"], 1e-4, 0.9)
        moved = s.x + found.low.at * along
        memory = remembered(s.memory, moved - s.x, found.grad - s.grad, s.steps)
        steps, evaluations = s.steps + 1, s.evaluations + found.evaluations
        flat = s.value - found.low.value <= settings["ftol"] * lnp.maximum(
            1.0, lnp.maximum(lnp.abs(s.value), lnp.abs(found.low.value)))
        return _State(moved, found.low.value, found.grad, memory, steps, evaluations, status(
            found.low.value, found.grad, steps, evaluations, lnp.any(moved != s.x),
            flat & (found.low.at > 0) if settings["ftol"] else False))

    v, g = with_grad(x)
    zero, one = lnp.zeros((), "int32"), lnp.ones((), "int32")
    start = _State(x, v, g, memory, zero, one, status(v, g, zero, one, True, False))
    return while_loop(lambda s: s.status < 0, step, start)


def _bfgs(inverse: Any, g: Any) -> Any:
    return inverse @ g


def _bfgs_update(inverse: Any, s: Any, y: Any, steps: Any) -> Any:
    """Nocedal and Wright, equations 6.17 and, for the scale of the first estimate, 6.20."""
    along = lnp.dot(s, y)
    fit = along > float(lnp.finfo(s.dtype).eps) * lnp.dot(y, y)
    rho = 1.0 / lnp.where(fit, along, 1.0)
    scale = lnp.where(steps == 0, along / lnp.where(fit, lnp.dot(y, y), 1.0), 1.0)
    inverse = lnp.where(fit, scale, 1.0) * inverse
    # (1 - rho s y') inverse (1 - rho y s') + rho s s', multiplied out: no product of matrices.
    moved = inverse @ y
    half = lnp.outer(s, 0.5 * rho * (1 + rho * (y @ moved)) * s - rho * moved)
    return lnp.where(fit, inverse + half + half.T, inverse)


def _pushed(memory: Any, s: Any, y: Any, steps: Any) -> Any:
    """The last pairs, oldest first; only those along which the gradient grew."""
    fit = lnp.dot(s, y) > float(lnp.finfo(s.dtype).eps) * lnp.dot(y, y)
    return tuple([lnp.where(fit, lnp.concatenate([old[1:], new[None]]), old)
                  for old, new in zip(memory, (s, y), strict=True)])


def _two_loops(memory: Any, g: Any) -> Any:
    """The estimate of the inverse Hessian times g; pairs not known yet are zeros, and do nothing.

    Nocedal and Wright, algorithm 7.4.
    """
    steps, changes = memory
    along, parts = [lnp.dot(s, y) for s, y in zip(steps, changes, strict=True)], []
    weights = [lnp.where(a > 0, 1.0 / lnp.where(a > 0, a, 1.0), 0.0) for a in along]
    for s, y, w in reversed(list(zip(steps, changes, weights, strict=True))):
        parts.append(w * lnp.dot(s, g))
        g = g - parts[-1] * y
    square = lnp.dot(changes[-1], changes[-1])
    g = g * lnp.where(square > 0, along[-1] / lnp.where(square > 0, square, 1.0), 1.0)
    for s, y, w in zip(steps, changes, weights, strict=True):
        g = g + (parts.pop() - w * lnp.dot(y, g)) * s
    return g


def _tangent_solve(hessian: Callable[[Any], Any], y: Any) -> Any:
    """Solves with the Hessian; NaN where that fails: at no minimum, or where it is singular."""
    eps = float(lnp.finfo(y.dtype).eps)

    def solve(matvec: Callable[[Any], Any], b: Any) -> Any:
        size = lnp.sqrt(lnp.vdot(b, b))
        x, _ = _cg(matvec, b, lnp.zeros_like(b), lambda v: v, 16 * eps * size, 10 * b.size)
        left = b - matvec(x)
        fine = lnp.sqrt(lnp.vdot(left, left)) <= eps ** 0.5 * size
        return lnp.where(fine, x, float("nan"))

    return custom_linear_solve(hessian, y, solve, symmetric=True)


@custom_jvp
def _differentiated_if(x: Any, known: Any) -> Any:
    """x, with derivatives that are NaN unless it is known to be the minimum."""
    return x


@_differentiated_if.defjvp
def _known_tangent(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    x, known = primals
    return x, tangents[0] * lnp.where(known, 1.0, float("nan")).astype(x.dtype)


__all__ = ["OptimizeResults", "minimize"]
