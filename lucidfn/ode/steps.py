"""Steps of Runge-Kutta methods on vectors: Dormand and Prince's of order 5 with error control and
dense output, and the classical one of order 4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import lucidfn.numpy as lnp
from lucidfn.api.checkpoint import stop_gradient
from lucidfn.lax.loops import fori_loop, scan
from lucidfn.lax.whiles import while_loop

Field = Callable[[Any, Any], Any]  # (y, t) -> dy/dt

# Dormand and Prince, J. Comput. Appl. Math. 6, 1980: nodes, stages, weights (which are also the
# last stage), and the weights of order 5 less those of order 4.
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
# Shampine, Math. Comp. 46, 1986: y(t + u h) = y + h sum over i, j of k[i] DENSE[i, j] u^(j + 1).
DENSE = np.array([
    (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
    (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
    (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
    (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
    (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423)])


class Control(NamedTuple):
    """How large steps may be: tolerances, the largest size, how many for each time asked for."""

    rtol: Any
    atol: Any
    hmax: Any
    mxstep: Any


class State(NamedTuple):
    """A solution under way: y and its derivative at t, the next step size, and the last step, from
    t_before, as a polynomial. `failed` says that it cannot go on."""

    y: Any
    dy: Any
    t: Any
    h: Any
    y_before: Any
    t_before: Any
    poly: Any
    failed: Any


def dopri5(field: Field, y: Any, ts: Any, control: Control) -> tuple[Any, Any]:
    """(the solution at ts, whether it was found up to there), with adaptive steps.

    Steps do not stop at ts: values there are those of the polynomial of the step. Step sizes count
    as constants, so that derivatives are those of the steps taken.
    """
    dy = field(y, ts[0])
    t = ts[0]
    h = first_step(field, y, dy, t, control)
    start = State(y, dy, t, h, y, t, lnp.zeros((4, y.size), y.dtype), lnp.zeros((), "bool"))

    def upto(state: State, target: Any) -> tuple[State, tuple[Any, Any]]:
        def more(s: tuple[State, Any]) -> Any:
            return (s[0].t < target) & ~s[0].failed

        def step(s: tuple[State, Any]) -> tuple[State, Any]:
            moved = one_step(field, s[0], control)
            count = s[1] + 1
            late = (count >= control.mxstep) & (moved.t < target)
            return moved._replace(failed=moved.failed | late), count

        state, _ = while_loop(more, step, (state, lnp.zeros((), "int32")))
        width = state.t - state.t_before
        u = (target - state.t_before) / lnp.where(width == 0, 1.0, width)
        value = state.y_before + width.astype(y.dtype) * (
            powers(u).astype(y.dtype) @ state.poly)
        value = lnp.where(state.failed, float("nan"), value)
        return state, (value, ~state.failed)

    _, (ys, fine) = scan(upto, start, ts[1:])
    return lnp.concatenate([y[None], ys]), fine


def powers(u: Any) -> Any:
    """u, u^2, u^3, u^4."""
    return lnp.stack([u, u * u, u * u * u, u * u * u * u])


def combined(h: Any, weights: tuple[float, ...], ks: list[Any]) -> Any:
    """h times the weighted sum of ks."""
    terms = [w * k for w, k in zip(weights, ks, strict=False) if w]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return h.astype(total.dtype) * total


def one_step(field: Field, s: State, control: Control) -> State:
    """The state after one more try, whose error decides whether it counts, and the next size."""
    h, ks = s.h, [s.dy]
    y = s.y
    for node, stage in zip(NODES, STAGES, strict=True):
        y = s.y + combined(h, stage, ks)
        ks.append(field(y, s.t + node * h))
    error = stop_gradient(error_size(combined(h, ERROR, ks), s.y, y, control))
    error = lnp.where(lnp.isfinite(error), error, float("inf"))
    fine = error <= 1.0
    # A step that failed must not be followed by a larger one.
    least = lnp.where(fine, 1.0, 0.2)
    factor = lnp.where(error == 0, 10.0, lnp.clip(
        0.9 * lnp.where(error == 0, 1.0, error) ** -0.2, least, 10.0))
    factor = lnp.where(lnp.isinf(error), 0.2, factor).astype(h.dtype)
    size = stop_gradient(lnp.minimum(h * factor, control.hmax))
    t = s.t + h
    poly = lnp.asarray(DENSE.T, s.y.dtype) @ lnp.stack(ks)
    moved = State(y, ks[-1], t, size, s.y, s.t, poly, s.failed)
    stuck = stop_gradient(s.t + h) <= stop_gradient(s.t)
    stay = s._replace(h=size)
    chosen = State(*[lnp.where(fine, a, b) for a, b in zip(moved, stay, strict=True)])
    return chosen._replace(failed=s.failed | stuck)


def error_size(error: Any, y: Any, moved: Any, control: Control) -> Any:
    """The root mean square of the error over what is tolerated; at most 1 in a good step."""
    limit = control.atol + control.rtol * lnp.maximum(lnp.abs(y), lnp.abs(moved))
    return mean_size(error / limit)


def mean_size(x: Any) -> Any:
    return lnp.sqrt(lnp.mean(lnp.abs(x) ** 2)) if x.size else lnp.zeros((), x.real.dtype)


def first_step(field: Field, y: Any, dy: Any, t: Any, control: Control) -> Any:
    """A first step size. Hairer, Norsett and Wanner, Solving ODEs I, II.4."""
    y, dy, t = stop_gradient((y, dy, t))
    scale = control.atol + lnp.abs(y) * control.rtol
    d0, d1 = mean_size(y / scale), mean_size(dy / scale)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = lnp.where(small, 1e-6, 0.01 * d0 / lnp.where(d1 == 0, 1.0, d1))
    there = stop_gradient(field(y + h0.astype(y.dtype) * dy, t + h0.astype(t.dtype)))
    d2 = mean_size((there - dy) / scale) / h0
    most = lnp.maximum(d1, d2)
    h1 = lnp.where(most <= 1e-15, lnp.maximum(1e-6, h0 * 1e-3),
                   (0.01 / lnp.where(most <= 1e-15, 1.0, most)) ** 0.2)
    h = lnp.minimum(lnp.minimum(100.0 * h0, h1), control.hmax)
    # No number: the field is not finite at the start, and the first step will say so.
    return lnp.where(h > 0, h, lnp.minimum(1e-6, control.hmax)).astype(t.dtype)


def rk4(field: Field, y: Any, ts: Any, control: Control) -> tuple[Any, Any]:
    """(the solution at ts, whether it is finite), with equal steps of at most hmax between ts."""

    def step(y: Any, t: Any, h: Any) -> Any:
        wide = h.astype(y.dtype)
        k1 = field(y, t)
        k2 = field(y + 0.5 * wide * k1, t + 0.5 * h)
        k3 = field(y + 0.5 * wide * k2, t + 0.5 * h)
        k4 = field(y + wide * k3, t + h)
        return y + wide / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    def between(y: Any, span: Any) -> tuple[Any, Any]:
        t, end = span
        if isinstance(control.hmax, float) and control.hmax == float("inf"):
            y = step(y, t, end - t)
        else:
            count = lnp.ceil(stop_gradient(end - t) / control.hmax * (1 - 1e-6))
            count = lnp.clip(count, 1, control.mxstep).astype("int32")
            h = (end - t) / count.astype(t.dtype)
            y = fori_loop(0, count, lambda i, y: step(y, t + h * i.astype(t.dtype), h), y)
        return y, y

    _, ys = scan(between, y, (ts[:-1], ts[1:]))
    return lnp.concatenate([y[None], ys]), lnp.all(lnp.isfinite(ys), axis=1)


METHODS = {"dopri5": dopri5, "rk4": rk4}

__all__ = ["DENSE", "METHODS", "Control", "State", "dopri5", "rk4"]
