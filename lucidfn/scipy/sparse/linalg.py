"""Iterative solvers of linear equations, for operators that are matrices or functions of trees.

Each is a `lax.custom_linear_solve`: its derivative is one more solve, with the same solver.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.api.arguments import describe_leaf, name_of
from lucidfn.api.bodies import Operands, at_line, strong
from lucidfn.array import is_array_like, typeof
from lucidfn.flatten_util import ravel_pytree
from lucidfn.lax.implicit import Like, check_like, custom_linear_solve
from lucidfn.lax.whiles import while_loop
from lucidfn.types import is_inexact

Operator = Callable[[Any], Any]


def cg(A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0,
       maxiter: int | None = None, M: Any = None) -> tuple[Any, Any]:
    """`(x, info)` with A x = b, by conjugate gradients: for A symmetric and positive definite.

    A is a square matrix, or a linear function of trees like b; M, if given, is another one, an
    estimate of the inverse of A that makes for fewer steps. The solver starts at x0, or at 0, and
    stops when |b - A x| <= max(tol |b|, atol), or after maxiter steps (10 for each unknown by
    default). `info` is 0 if it converged, else the number of steps it took.

    Derivatives, in both modes and of any order, are those of the exact solution, computed by the
    same solver. Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49, 1952. TypeError where A
    changes the structure or a type of its argument (with paths), ValueError for an x0 unlike b.

    >>> import lucidfn.numpy as lnp
    >>> x, info = cg(lnp.array([[4.0, 1.0], [1.0, 3.0]]), lnp.array([1.0, 2.0]))
    >>> [round(v, 4) for v in x.tolist()], int(info)
    ([0.0909, 0.6364], 0)
    """
    return _solve("cg", _cg, A, b, x0, tol, atol, maxiter, M, symmetric=True)


def bicgstab(A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0,
             maxiter: int | None = None, M: Any = None) -> tuple[Any, Any]:
    """`(x, info)` with A x = b, by stabilised biconjugate gradients: for any square A.

    Arguments and result are those of `cg`. Van der Vorst, SIAM J. Sci. Stat. Comput. 13, 1992.
    It can break down, which `info` says; `gmres` does not.
    """
    return _solve("bicgstab", _bicgstab, A, b, x0, tol, atol, maxiter, M)


def gmres(A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0,
          restart: int = 20, maxiter: int | None = None, M: Any = None,
          solve_method: str = "batched") -> tuple[Any, Any]:
    """`(x, info)` with A x = b, by generalised minimal residuals: for any square A.

    Arguments and result are those of `cg`, but that a step (of which there are at most maxiter)
    builds `restart` vectors, which have to be kept: more make for fewer steps. M preconditions
    from the right, so that the residual is that of the equation. Both values of `solve_method`,
    "batched" and "incremental", are the same here. Saad and Schultz, SIAM J. Sci. Stat. Comput. 7,
    1986.
    """
    if solve_method not in ("batched", "incremental"):
        raise ValueError(f"gmres: solve_method {solve_method!r} is not known; there are 'batched' "
                         "and 'incremental'")
    if isinstance(restart, bool) or not isinstance(restart, int) or restart < 1:
        raise ValueError(f"gmres: restart must be a positive integer, got {restart!r}")

    solver = partial(_gmres, restart=restart)

    return _solve("gmres", solver, A, b, x0, tol, atol, maxiter, M)


# ------------------------------------------------------------------ operands

def _solve(what: str, solver: Callable[..., tuple[Any, Any]], A: Any, b: Any, x0: Any, tol: Any,
           atol: Any, maxiter: int | None, M: Any, symmetric: bool = False) -> tuple[Any, Any]:
    """Solve as vectors; `solver(matvec, b, x0, precondition, limit, maxiter)` on these."""
    like, b = _right_hand_side(what, A, b)
    operator = _operator(what, "A", A, Like.of(like))
    precondition = None if M is None else _operator(what, "M", M, Like.of(like))
    flat, unravel = ravel_pytree(b)
    start = None if x0 is None else _start(what, x0, like, flat.dtype)
    maxiter = 10 * flat.size if maxiter is None else maxiter

    def as_vectors(f: Operator) -> Operator:
        return lambda v: ravel_pytree(f(unravel(v)))[0].astype(flat.dtype)

    def solve(matvec: Operator, rhs: Any) -> tuple[Any, Any]:
        size = lnp.sqrt(_square(rhs))
        limit = lnp.maximum(tol * size, atol)
        inverse = (lambda v: v) if precondition is None else as_vectors(precondition)
        begin = lnp.zeros_like(rhs)
        if start is not None:
            # Derivatives have solutions of their own, to which 0 may be nearer.
            nearer = lnp.sqrt(_square(rhs - matvec(start))) < size
            begin = lnp.where(nearer, start, begin)
        return solver(matvec, rhs, begin, inverse, limit, maxiter)

    symmetric = symmetric and not lnp.iscomplexobj(flat)
    x, info = custom_linear_solve(as_vectors(operator), flat, solve, solve, symmetric=symmetric,
                                  has_aux=True)
    return unravel(x), info


def _right_hand_side(what: str, A: Any, b: Any) -> tuple[Operands, Any]:
    """b, floating point in each leaf, as operands and as a tree."""
    given = Operands.of(b, what, "b")
    if not given.raws:
        raise ValueError(f"{at_line(what)}: b has no arrays; there is nothing to solve for")
    b = given.rebuild(given.raws)
    dtypes = [typeof(A).dtype] if is_array_like(A) else []
    wide = lnp.result_type(*dtypes, *tree.leaves(b), 0.0)
    b = tree.map(lambda x: x if is_inexact(x.dtype) and not dtypes else x.astype(wide), b)
    return Operands.of(b, what, "b"), b


def _operator(what: str, name: str, A: Any, like: Like) -> Operator:
    """A matrix or a function as a function of trees like b."""
    if callable(A):
        def checked(x: Any) -> Any:
            out = A(x)
            found = Operands.of(out, what, f"{name}(b)")
            check_like(what, f"{name} {name_of(A)}", found.treedef, found.types, like)
            return out
        return checked
    if not is_array_like(A):
        raise TypeError(f"{at_line(what)}: {name} must be a matrix or a function, got "
                        f"{describe_leaf(A)}")
    t = typeof(A)
    if len(t.shape) != 2 or t.shape[0] != t.shape[1]:
        raise ValueError(f"{at_line(what)}: {name} must be a square matrix, got {strong(t)}")
    if len(like.types) != 1 or like.types[0].shape[:1] != t.shape[:1]:
        raise ValueError(f"{at_line(what)}: {name} is {strong(t)}, so that b must be an array of "
                         f"{t.shape[0]} elements, got {', '.join(map(strong, like.types))}")
    A = lnp.asarray(A)
    return lambda x: tree.map(lambda leaf: lnp.matmul(A, leaf).astype(leaf.dtype), x)


def _start(what: str, x0: Any, like: Operands, dtype: Any) -> Any:
    given = Operands.of(x0, what, "x0")
    if given.treedef != like.treedef or [t.shape for t in given.types] != [
            t.shape for t in like.types]:
        raise ValueError(f"{at_line(what)}: x0 must have the structure and shapes of b: got "
                         f"{', '.join(map(strong, given.types))} for "
                         f"{', '.join(map(strong, like.types))}")
    return ravel_pytree(given.rebuild(given.raws))[0].astype(dtype)


def _dot(a: Any, b: Any) -> Any:
    return lnp.vdot(a, b)


def _square(a: Any) -> Any:
    return lnp.vdot(a, a).real


def _over(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is."""
    return lnp.where(b == 0, 0, a / lnp.where(b == 0, 1, b))


def _info(size: Any, limit: Any, steps: Any) -> Any:
    """0 for a residual within the limit (which NaN is not), else the number of steps."""
    return lnp.where(size <= limit, 0, lnp.maximum(steps, 1))


# ------------------------------------------------------------------ the solvers

def _cg(matvec: Operator, b: Any, x0: Any, inverse: Operator, limit: Any,
        maxiter: Any) -> tuple[Any, Any]:
    r = b - matvec(x0)
    z = inverse(r)

    def more(state: Any) -> Any:
        return (lnp.sqrt(_square(state[1])) > limit) & (state[-1] < maxiter)

    def step(state: Any) -> Any:
        x, r, p, rz, k = state
        Ap = matvec(p)
        length = _over(rz, _dot(p, Ap))
        x, r = x + length * p, r - length * Ap
        z = inverse(r)
        new = _dot(r, z)
        return x, r, z + _over(new, rz) * p, new, k + 1

    x, r, _, _, k = while_loop(more, step, (x0, r, z, _dot(r, z), lnp.zeros((), "int32")))
    return x, _info(lnp.sqrt(_square(r)), limit, k)


def _bicgstab(matvec: Operator, b: Any, x0: Any, inverse: Operator, limit: Any,
              maxiter: Any) -> tuple[Any, Any]:
    r = b - matvec(x0)
    shadow, one = r, lnp.ones((), b.dtype)

    def more(state: Any) -> Any:
        r, broken, k = state[1], state[-2], state[-1]
        return (lnp.sqrt(_square(r)) > limit) & (k < maxiter) & ~broken

    def step(state: Any) -> Any:
        x, r, p, q, alpha, omega, rho, _, k = state
        new = _dot(shadow, r)
        beta = _over(new, rho) * _over(alpha, omega)
        p = r + beta * (p - omega * q)
        y = inverse(p)
        q = matvec(y)
        alpha = _over(new, _dot(shadow, q))
        s = r - alpha * q
        z = inverse(s)
        t = matvec(z)
        omega = _over(_dot(t, s), _dot(t, t))
        x, r = x + alpha * y + omega * z, s - omega * t
        return x, r, p, q, alpha, omega, new, (new == 0) | (omega == 0), k + 1

    zero = lnp.zeros_like(b)
    state = (x0, r, zero, zero, one, one, one, lnp.zeros((), "bool"), lnp.zeros((), "int32"))
    x, r, *_, k = while_loop(more, step, state)
    return x, _info(lnp.sqrt(_square(r)), limit, k)


def _gmres(matvec: Operator, b: Any, x0: Any, inverse: Operator, limit: Any, maxiter: Any,
           restart: int) -> tuple[Any, Any]:
    restart = min(restart, b.size)

    def more(state: Any) -> Any:
        return (state[2] > limit) & (state[-1] < maxiter)

    def step(state: Any) -> Any:
        x, r, size, k = state
        basis, h = _arnoldi(lambda v: matvec(inverse(v)), r, size, restart)
        q, upper = lnp.linalg.qr(h)
        y = lnp.linalg.solve(upper, size * lnp.conj(q[0]))
        moved = x + inverse(y @ basis[:restart])
        r_moved = b - matvec(moved)
        size_moved = lnp.sqrt(_square(r_moved))
        # Of a singular operator the last step may be no number; the one before stays.
        fine = size_moved < size
        return (lnp.where(fine, moved, x), lnp.where(fine, r_moved, r),
                lnp.where(fine, size_moved, size), lnp.where(fine, k + 1, maxiter))

    r = b - matvec(x0)
    start = (x0, r, lnp.sqrt(_square(r)), lnp.zeros((), "int32"))
    x, _, size, k = while_loop(more, step, start)
    return x, _info(size, limit, k)


def _arnoldi(apply: Operator, r: Any, size: Any, count: int) -> tuple[Any, Any]:
    """(orthonormal rows v, matrix h) with apply(v[i]) = sum over j of h[j, i] v[j]."""
    eps = lnp.finfo(r.dtype).eps
    basis = lnp.zeros((count + 1, r.size), r.dtype).at[0].set(_over(r, size))
    h = lnp.zeros((count + 1, count), r.dtype)

    def more(state: Any) -> Any:
        return (state[2] < count) & ~state[3]

    def step(state: Any) -> Any:
        basis, h, i, _ = state
        w = apply(basis[i])
        before = lnp.sqrt(_square(w))
        # Twice: once leaves rounding errors of the size of w.
        column = lnp.conj(basis) @ w
        w = w - column @ basis
        more = lnp.conj(basis) @ w
        w = w - more @ basis
        norm = lnp.sqrt(_square(w))
        done = norm <= 4 * eps * before
        norm = lnp.where(done, 0, norm).astype(r.dtype)
        column = (column + more).at[i + 1].set(norm)
        return basis.at[i + 1].set(_over(w, norm)), h.at[:, i].set(column), i + 1, done

    basis, h, i, _ = while_loop(more, step, (basis, h, lnp.zeros((), "int32"),
                                             lnp.zeros((), "bool")))
    # Columns that were not reached: a row of their own each, which takes no part.
    unused = lnp.arange(count) >= i
    return basis, h + lnp.where(unused, lnp.eye(count + 1, count, dtype=h.dtype), 0)


__all__ = ["bicgstab", "cg", "gmres"]
