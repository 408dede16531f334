"""`odeint`: solutions of ordinary differential equations, and their derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.api.arguments import check_function, name_of
from lucidfn.api.autodiff import vjp
from lucidfn.api.bodies import Operands, at_line, strong, trace_body
from lucidfn.api.custom import custom_vjp
from lucidfn.array import unwrap, wrap
from lucidfn.control.call import call
from lucidfn.core.ir import Program
from lucidfn.core.trace import Tracer
from lucidfn.flatten_util import ravel_pytree
from lucidfn.lax.implicit import Like, check_like
from lucidfn.lax.loops import scan
from lucidfn.ode.steps import METHODS, Control
from lucidfn.types import ShapeDtypeStruct, is_inexact

GRADIENTS = ("adjoint", "direct")


class Setup(NamedTuple):
    """What does not change within a solve: the program of dy/dt, and how to step."""

    program: Program
    leading: int  # operands that come before y and t
    method: str
    control: Control
    line: str

    def field(self, operands: Any) -> Callable[[Any, Any], Any]:
        """(y, t) -> dy/dt, on vectors."""
        front, back = operands[:self.leading], operands[self.leading:]

        def dy(y: Any, t: Any) -> Any:
            raws = [unwrap(x) for x in (*front, y, t, *back)]
            return wrap(call(*raws, program=self.program, name="odeint")[0])

        return dy

    def solve(self, y: Any, ts: Any, operands: Any) -> tuple[Any, Any]:
        """(values at ts, whether they were found)."""
        return METHODS[self.method](self.field(operands), y, ts, self.control)


def odeint(func: Callable[..., Any], y0: Any, t: Any, *args: Any, rtol: Any = 1.4e-8,
           atol: Any = 1.4e-8, mxstep: Any = float("inf"), hmax: Any = float("inf"),
           method: str = "dopri5", gradient: str = "adjoint") -> Any:
    """The solution of dy/dt = func(y, t, *args) with y = y0 at t[0], at the times t.

    y0 and args are trees of arrays, and func returns one like y0; t has shape [n], increasing. The
    result has the structure of y0, each leaf with a first axis of size n.

    method "dopri5" takes steps of the size at which the estimated error of each is within
    `atol + rtol |y|`, none longer than hmax, and at most mxstep of them from one time to the next.
    "rk4" takes equal steps, at most hmax long and at least one from one time to the next.

    With gradient "adjoint", reverse mode solves the adjoint equation backwards in time, from each
    time to the one before it: memory does not grow with the steps, and the derivative is as exact
    as the tolerances. With "direct" it goes back through the steps taken: the derivative of what
    was computed (step sizes taken as constants), and forward mode works too. Both are with respect
    to y0, t, args and what func closes over, and can be repeated.

    Where no solution was found (steps became too small or too many, func is not finite, or t does
    not increase) values are NaN, with a RuntimeWarning where that is known (outside jit).
    Dormand and Prince, J. Comput. Appl. Math. 6, 1980; Chen et al., arXiv:1806.07366.
    TypeError where func changes the structure or a type of y0 (with paths); ValueError for t that
    does not increase, and for an unknown method.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> f = lambda k: odeint(lambda y, t, k: -k * y, 1.0, lnp.array([0.0, 1.0]), k, rtol=1e-4)[1]
    >>> round(float(f(2.0)), 3), round(float(lf.grad(f)(2.0)), 3)
    (0.135, -0.135)
    """
    check_function(func, "odeint")
    _check_choice("method", method, tuple(METHODS))
    _check_choice("gradient", gradient, GRADIENTS)
    given = _floating(y0)
    ts = _times(t)
    y, unravel = ravel_pytree(given.rebuild(given.raws))
    rest = Operands.of(args, "odeint", "args")
    like, dtype = Like.of(given), y.dtype

    def vector_field(v: Any, s: Any, args: tuple[Any, ...]) -> Any:
        out = func(unravel(v), s, *args)
        found = Operands.of(out, "odeint", "func(y0)")
        # A weak number is converted; dtypes that differ otherwise are no mistake to guess at.
        found = found.converted([h if f.weak and f.shape == h.shape else f for f, h in
                                 zip(found.types, like.types, strict=False)]) \
            if found.treedef == like.treedef else found
        check_like("odeint", f"func {name_of(func)}", found.treedef, found.types, like)
        return ravel_pytree(found.rebuild(found.raws))[0].astype(dtype)

    point = [ShapeDtypeStruct(y.shape, y.dtype), ShapeDtypeStruct((), ts.dtype)]
    body = trace_body(vector_field, [*point, rest], "odeint")
    operands = tuple([wrap(x) for x in (*body.consts, *rest.raws)])
    setup = Setup(body.program, len(body.consts), method, Control(rtol, atol, hmax, mxstep),
                  at_line("odeint"))
    solve = _adjoint if gradient == "adjoint" else _direct
    ys, fine = solve(setup, y, ts, operands)
    _warn(setup, ts, fine)
    return _unraveled(ys, given, ts.shape[0])


def _unraveled(ys: Any, given: Operands, n: int) -> Any:
    """The tree of y0 with n rows in each leaf."""
    out, at = [], 0
    for t in given.types:
        out.append(ys[:, at:at + t.size].reshape((n, *t.shape)).astype(t.dtype))
        at += t.size
    return tree.unflatten(given.treedef, out)


def _direct(setup: Setup, y: Any, ts: Any, operands: Any) -> tuple[Any, Any]:
    return _only_increasing(*setup.solve(y, ts, operands), ts)


def _only_increasing(ys: Any, fine: Any, ts: Any) -> tuple[Any, Any]:
    """NaN from where times do not increase, which while tracing nobody could tell the user."""
    up = lnp.cumsum(~(ts[1:] > ts[:-1])) == 0
    return lnp.concatenate([ys[:1], lnp.where(up[:, None], ys[1:], float("nan"))]), fine & up


def _adjoint(setup: Setup, y: Any, ts: Any, operands: Any) -> tuple[Any, Any]:
    @custom_vjp
    def solve(y: Any, ts: Any, operands: Any) -> tuple[Any, Any]:
        return _direct(setup, y, ts, operands)

    def forward(y: Any, ts: Any, operands: Any) -> tuple[Any, Any]:
        ys, fine = _adjoint(setup, y, ts, operands)
        return (ys, fine), (ys, ts, operands)

    def backward(residuals: Any, cts: Any) -> tuple[Any, Any, Any]:
        ys, ts, operands = residuals
        return _backwards(setup, ys, ts, operands, cts[0])

    solve.what = "odeint with gradient='adjoint' (gradient='direct' has forward mode)"
    solve.defvjp(forward, backward)
    return solve(y, ts, operands)


def _backwards(setup: Setup, ys: Any, ts: Any, operands: Any, g: Any) -> tuple[Any, Any, Any]:
    """The adjoint equation from each time to the one before it: cotangents of y0, ts, operands.

    With a the cotangent of y: da/dt = -a df/dy, and those of the operands gather a df/doperands.
    """
    moving = [is_inexact(x.dtype) for x in operands]
    field = setup.field(operands)

    def back(state: Any, s: Any) -> Any:
        y, a, _, _ = state
        inner = [x for x, m in zip(operands, moving, strict=True) if m]

        def dy(y: Any, t: Any, inner: Any) -> Any:
            it = iter(inner)
            return setup.field([next(it) if m else x for x, m in
                                zip(operands, moving, strict=True)])(y, t)

        value, pull = vjp(dy, y, -s, inner)
        ct_y, ct_t, ct_inner = pull(a)
        return -value, ct_y, ct_t, ct_inner

    def to_previous(carry: Any, row: Any) -> tuple[Any, Any]:
        a, ct_first, sums = carry
        y, t_before, t, g_before, g_here = row
        ct_t = lnp.vdot(lnp.conj(field(y, t)), g_here).real.astype(ts.dtype)
        ct_first = ct_first - ct_t
        out = odeint(back, (y, a, ct_first, sums), lnp.stack([-t, -t_before]),
                     rtol=setup.control.rtol, atol=setup.control.atol, hmax=setup.control.hmax,
                     mxstep=setup.control.mxstep, method=setup.method)
        _, a, ct_first, sums = tree.map(lambda x: x[1], out)
        return (a + g_before, ct_first, sums), ct_t

    zeros = [lnp.zeros_like(x) for x, m in zip(operands, moving, strict=True) if m]
    (a, ct_first, sums), ct_ts = scan(
        to_previous, (g[-1], lnp.zeros((), ts.dtype), zeros),
        (ys[1:], ts[:-1], ts[1:], g[:-1], g[1:]), reverse=True)
    it = iter(sums)
    return a, lnp.concatenate([ct_first[None], ct_ts]), tuple(
        [next(it) if m else None for m in moving])


# ------------------------------------------------------------------ arguments

def _check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{at_line('odeint')}: {name} {value!r} is not known; there are "
                         + ", ".join(map(repr, known)))


def _floating(y0: Any) -> Operands:
    given = Operands.of(y0, "odeint", "y0")
    for path, t in zip(given.paths(), given.types, strict=True):
        if not is_inexact(t.dtype):
            raise TypeError(f"{at_line('odeint')}: {path} is {strong(t)}; a solution is floating "
                            "point: convert it with .astype(float)")
    return given


def _times(t: Any) -> Any:
    t = lnp.asarray(t)
    if t.ndim != 1 or not t.shape[0]:
        raise ValueError(f"{at_line('odeint')}: t must be a vector of times, the first that of y0, "
                         f"got shape {t.shape}")
    if t.dtype.kind in "iu":
        t = t.astype(float)
    if t.dtype.kind != "f":
        raise TypeError(f"{at_line('odeint')}: t must be real, got {t.dtype}")
    if not isinstance(unwrap(t), Tracer):
        raw = np.asarray(t)
        wrong = np.flatnonzero(~(raw[1:] > raw[:-1]))
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(f"{at_line('odeint')}: t must increase, but t[{i}] = {raw[i]!s} and "
                             f"t[{i + 1}] = {raw[i + 1]!s}; to go back in time solve for -t, with "
                             "-func(y, -t)")
    return t


def _warn(setup: Setup, ts: Any, fine: Any) -> None:
    fine, ts = unwrap(fine), unwrap(ts)
    if isinstance(fine, Tracer) or isinstance(ts, Tracer):
        return
    fine, ts = np.asarray(fine), np.asarray(ts)
    if fine.all():
        return
    i = int(np.argmin(fine))
    reason = "the solution is not finite" if setup.method == "rk4" else (
        f"steps became too small, or more than mxstep={setup.control.mxstep}")
    warnings.warn(
        f"{setup.line}: no solution between t[{i}] = {ts[i]!s} and t[{i + 1}] = {ts[i + 1]!s}: "
        f"{reason}; values from there on are NaN", RuntimeWarning, stacklevel=3)


__all__ = ["odeint"]
