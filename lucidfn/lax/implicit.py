"""Equations that are differentiated implicitly: custom_root and custom_linear_solve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lucidfn.api.arguments import check_function, name_of
from lucidfn.api.autodiff import linear_transpose, linearize
from lucidfn.api.bodies import (
    Body,
    Operands,
    at_line,
    share_consts,
    strong,
    trace_body,
    tree_paths,
)
from lucidfn.array import wrap
from lucidfn.control.implicit import linear_solve, root
from lucidfn.tree import PyTreeDef, explain_mismatch, flatten, unflatten
from lucidfn.types import ArrayType, is_inexact

Function = Callable[..., Any]


def custom_root(f: Function, initial_guess: Any, solve: Function, tangent_solve: Function,
                has_aux: bool = False) -> Any:
    """`x = solve(f, initial_guess)`, a root f(x) = 0, differentiated by the implicit function
    theorem: with respect to all that f closes over, in both modes and to any order.

    x is a tree of floating point arrays, and f and solve return one of the same structure and
    types. `tangent_solve(g, y)` returns the solution of g(x) = y for g, the derivative of f at the
    root, a linear function; it must itself be linear in y, as with `y / g(1.0)` for scalars, and
    `lax.custom_linear_solve`, `lucidfn.scipy.sparse.linalg` or a dense solve with `lf.jacobian(g)`
    for arrays. With `has_aux`, solve returns `(x, aux)`, and so does custom_root; aux has no
    derivative. The guess has none either.

    TypeError where f, solve or tangent_solve change the structure or a type (with paths).

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> def cube_root(a):
    ...     def newton(f, x):
    ...         step = lambda x: x - f(x) / lf.grad(f)(x)
    ...         return lf.lax.while_loop(lambda x: lnp.abs(f(x)) > 1e-5, step, x)
    ...     return lf.lax.custom_root(lambda x: x ** 3 - a, a, newton, lambda g, y: y / g(1.0))
    >>> round(float(cube_root(27.0)), 4), round(float(lf.grad(cube_root)(27.0)), 4)
    (3.0, 0.037)
    """
    for function in (f, solve, tangent_solve):
        check_function(function, "custom_root")
    guess = _unknowns(initial_guess, "custom_root", "initial_guess")
    residual = trace_body(f, [guess], "custom_root")
    check_like("custom_root", f"f {name_of(f)}", residual.treedef, residual.types, guess)
    solver = trace_body(lambda x: solve(f, x), [guess], "custom_root")
    count = _check_solution("custom_root", f"solve {name_of(solve)}", solver, guess, has_aux)

    def linear(x: Any, y: Any) -> Any:
        return tangent_solve(linearize(f, x)[1], y)

    tangent = trace_body(linear, [guess, guess], "custom_root")
    check_like("custom_root", f"tangent_solve {name_of(tangent_solve)}", tangent.treedef,
               tangent.types, guess)
    consts, (of_f, program, of_tangent) = share_consts([residual, solver, tangent])
    outs = root(*consts, *guess.raws, program=program, f=of_f, tangent_solve=of_tangent,
                consts=len(consts))
    return _result(outs, guess, solver, count, has_aux)


def custom_linear_solve(matvec: Function, b: Any, solve: Function,
                        transpose_solve: Function | None = None, symmetric: bool = False,
                        has_aux: bool = False) -> Any:
    """`x = solve(matvec, b)`, the solution of matvec(x) = b, differentiated as such.

    matvec is a linear function of trees of the structure and types of b; derivatives are with
    respect to b and to all that matvec closes over, of any order, and each takes one more solve.
    Reverse mode solves with the transposed operator: `transpose_solve(vecmat, b)`, or solve itself
    for `symmetric=True`. With `has_aux` solve (and transpose_solve) return `(x, aux)`, and so does
    custom_linear_solve; aux has no derivative.

    TypeError where matvec or solve change the structure or a type (with paths); MissingRuleError
    for reverse mode without transpose_solve.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> a = lnp.array([2.0, 4.0])
    >>> solve = lambda matvec, b: b / matvec(lnp.ones(2))
    >>> f = lambda a: lf.lax.custom_linear_solve(lambda x: a * x, lnp.ones(2), solve,
    ...                                          symmetric=True)
    >>> f(a).tolist(), lf.grad(lambda a: f(a).sum())(a).tolist()
    ([0.5, 0.25], [-0.25, -0.0625])
    """
    what = "custom_linear_solve"
    if transpose_solve is None and symmetric:
        transpose_solve = solve
    for function in (matvec, solve, *([transpose_solve] if transpose_solve else [])):
        check_function(function, what)
    rhs = _unknowns(b, what, "b")
    operator = trace_body(matvec, [rhs], what)
    check_like(what, f"matvec {name_of(matvec)}", operator.treedef, operator.types, rhs)
    solver = trace_body(lambda b: solve(matvec, b), [rhs], what)
    count = _check_solution(what, f"solve {name_of(solve)}", solver, rhs, has_aux)
    bodies = [operator, solver]
    if transpose_solve is not None and not symmetric:
        structs = rhs.structs()

        def vecmat(x: Any) -> Any:
            return linear_transpose(matvec, structs)(x)[0]

        back = trace_body(lambda b: transpose_solve(vecmat, b), [rhs], what)
        _check_solution(what, f"transpose_solve {name_of(transpose_solve)}", back, rhs, has_aux)
        bodies.append(back)
    elif transpose_solve is solve:
        bodies.append(solver)
    elif transpose_solve is not None:
        bodies.append(trace_body(lambda b: transpose_solve(matvec, b), [rhs], what))
    consts, programs = share_consts(bodies)
    outs = linear_solve(*consts, *rhs.raws, program=programs[1], matvec=programs[0],
                        transpose_solve=programs[2] if len(programs) > 2 else None,
                        consts=len(consts), symmetric=bool(symmetric))
    return _result(outs, rhs, solver, count, has_aux)


def _unknowns(x: Any, what: str, name: str) -> Operands:
    """The operands of an equation, all of them floating point."""
    given = Operands.of(x, what, name)
    for path, t in zip(given.paths(), given.types, strict=True):
        if not is_inexact(t.dtype):
            raise TypeError(f"{at_line(what)}: {path} is {strong(t)}; solutions are floating "
                            "point: convert it with .astype(float)")
    return given


class Like(NamedTuple):
    """Structure and types of a tree, and what messages call it. Closing over it is cheap: programs
    are found again by its value."""

    treedef: PyTreeDef
    types: tuple[ArrayType, ...]
    name: str

    @classmethod
    def of(cls, given: Operands) -> Like:
        return cls(given.treedef, tuple(given.types), given.name)


def check_like(what: str, who: str, treedef: PyTreeDef, types: Sequence[ArrayType],
               given: Operands | Like) -> None:
    """TypeError, with paths, unless a function returns the structure and types that it gets."""
    if treedef != given.treedef:
        raise TypeError(f"{at_line(what)}: {who} must return the structure of {given.name}: "
                        + explain_mismatch(treedef, given.treedef, ("returned", given.name)))
    wrong = [(path, have, found) for path, have, found in
             zip(tree_paths(given.treedef, given.name), given.types, types, strict=True)
             if have[:2] != found[:2]]
    if wrong:
        width = max(len(path) for path, _, _ in wrong)
        raise TypeError("\n  ".join([
            f"{at_line(what)}: {who} must return the types of {given.name}; it changes",
            *[f"{path:<{width}}  {strong(have)} -> {strong(found)}"
              for path, have, found in wrong]]))


def _check_solution(what: str, who: str, body: Body, given: Operands, has_aux: bool) -> int:
    """The number of leaves of the solution; TypeError unless it is like the unknowns."""
    if not has_aux:
        check_like(what, who, body.treedef, body.types, given)
        return len(body.types)
    parts = body.children()
    if parts is None or len(parts) != 2:
        raise TypeError(f"{at_line(what)}: with has_aux=True {who} must return a pair (x, aux)")
    count = parts[0].num_leaves
    check_like(what, who, parts[0], body.types[:count], given)
    return count


def _result(outs: Sequence[Any], given: Operands, solver: Body, count: int, has_aux: bool) -> Any:
    weaks = [False] * count
    if not has_aux:
        return given.rebuild(outs, weaks)
    x = given.rebuild(outs[:count], weaks)
    aux = [wrap(a, t.weak) for a, t in zip(outs[count:], solver.types[count:], strict=True)]
    parts = unflatten(solver.treedef, [*flatten(x)[0], *aux])
    return tuple(parts)


__all__ = ["Like", "check_like", "custom_linear_solve", "custom_root"]
