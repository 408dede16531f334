"""Products with matrices of second derivatives that are never formed: Hessian, Gauss-Newton."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lucidfn.api.autodiff as autodiff
from lucidfn import ops
from lucidfn.api.arguments import check_function, name_of, raw_leaf
from lucidfn.array import wrap
from lucidfn.tree import leaves


def hvp(fun: Callable[..., Any], primals: Sequence[Any] | None = None,
        tangents: Sequence[Any] | None = None, *, argnums: int = 0,
        has_aux: bool = False) -> Any:
    """The Hessian of a scalar function times a vector, forward over reverse.

    `hvp(fun)` is a function of the arguments of fun and, last, the vector, which is a tree like the
    argument that `argnums` selects; the product is another. `hvp(fun, primals, tangents)` is the
    product itself, for tuples of all arguments and their tangents; it is like the primals: a tree
    for one argument, a tuple of trees for several. With `has_aux` fun returns (value, aux), and
    the result is (product, aux). Costs a small multiple of the gradient and never forms the
    Hessian. Pearlmutter, "Fast exact multiplication by the Hessian" (1994).

    >>> import lucidfn as lf
    >>> float(lf.hvp(lambda x: x ** 3)(2.0, 1.0)), float(lf.hvp(lambda x: x ** 3, (2.0,), (1.0,)))
    (12.0, 12.0)
    """
    check_function(fun, "hvp")
    if primals is None:
        def product(*args: Any, **kwargs: Any) -> Any:
            of_one, x, v = _split(fun, args, kwargs, argnums, "hvp")
            return hvp(of_one, (x,), (v,), has_aux=has_aux)
        return product
    if tangents is None:
        raise TypeError(f"hvp of {name_of(fun)}: got primals and no tangents; write "
                        "hvp(f, (x,), (v,)) or hvp(f)(x, v)")
    slope = autodiff.grad(fun, tuple(range(len(primals))), has_aux)
    found = autodiff.jvp(slope, primals, tangents, has_aux)
    out = found[1][0] if len(primals) == 1 else found[1]
    return (out, found[2]) if has_aux else out


def _split(fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: int,
           what: str) -> tuple[Callable[[Any], Any], Any, Any]:
    """(fun of the selected argument, that argument, the vector)."""
    if len(args) < 2:
        raise TypeError(f"{what} of {name_of(fun)}: got {len(args)} arguments; it takes those of "
                        f"the function and then the vector: {what}(f)(x, v)")
    *given, v = args
    if not isinstance(argnums, int) or not -len(given) <= argnums < len(given):
        raise ValueError(f"{what} of {name_of(fun)}: argnums={argnums!r} selects none of the "
                         f"{len(given)} arguments before the vector; give one position")
    at = argnums % len(given)

    def of_one(x: Any) -> Any:
        return fun(*given[:at], x, *given[at + 1:], **kwargs)

    of_one.__qualname__ = name_of(fun)
    return of_one, given[at], v


def half_squares(outputs: Any) -> Any:
    """Half the sum of squares of all leaves: the loss whose Hessian is the identity."""
    total: Any = 0.0
    for x in leaves(outputs):
        raw = raw_leaf(x)
        squares = ops.reduce_sum(ops.square(raw), axes=tuple(range(len(raw.shape))))
        total = squares if type(total) is float else ops.add(total, squares)
    return wrap(ops.mul(total, 0.5))


def ggnvp(fun: Callable[..., Any], loss: Callable[[Any], Any] = half_squares, *,
          argnums: int = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function of the arguments of fun and, last, a vector v: the product J' H J v.

    J is the Jacobian of fun in the argument that `argnums` selects, H the Hessian of the scalar
    `loss` at the output of fun: the generalized Gauss-Newton matrix, which for a convex loss is
    positive semidefinite. By default the loss is half the sum of squares. v and the result are
    trees like the argument. With `has_aux` fun returns (output, aux), the result is (product, aux).
    Schraudolph, "Fast curvature matrix-vector products" (2002).

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.ggnvp(lambda x: 3.0 * x)(lnp.ones(2), lnp.array([1.0, 2.0])).tolist()
    [9.0, 18.0]
    """
    check_function(fun, "ggnvp")
    check_function(loss, "ggnvp")

    def product(*args: Any, **kwargs: Any) -> Any:
        of_one, x, v = _split(fun, args, kwargs, argnums, "ggnvp")
        found = autodiff.linearize(of_one, x, has_aux=has_aux)
        out, push = found[:2]
        curved = hvp(loss, (out,), (push(v),))
        pulled = autodiff.vjp(of_one, x, has_aux=has_aux)[1](curved)[0]
        return (pulled, found[2]) if has_aux else pulled

    return product


__all__ = ["ggnvp", "hvp"]
