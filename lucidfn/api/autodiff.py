"""Differentiation over pytrees: gradients, products with Jacobians, Jacobians and Hessians.

Un-jitted, the function runs on its real values, so that Python `if`, `print` and debuggers work.
Derivatives of complex functions follow JAX: `grad` of |z|^2 at 3+4j is 6-8j.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.arguments import (
    Selected,
    check_function,
    describe_leaf,
    flatten_arrays,
    name_of,
    output_leaf,
    rebuild,
)
from lucidfn.array import check_library, is_array_like, typeof, unwrap, weak_of, wrap
from lucidfn.core.record import record
from lucidfn.core.trace import beside, dtype_of, shape_of, type_of
from lucidfn.transforms import jvp as jvp_flat
from lucidfn.transforms import linearize as linearize_flat
from lucidfn.transforms.vmap import batch_flat
from lucidfn.tree import explain_mismatch, flatten, unflatten
from lucidfn.types import dtype_name, is_inexact, kind_of

ArgNums = int | Sequence[int] | None
ArgNames = str | Sequence[str] | None


class _Flat:
    """A user's function of selected arguments, as a function of flat raw leaves.

    Remembers the structure of what it returned. With `has_aux` the leaves of the second output
    follow those of the first.
    """

    def __init__(self, fun: Callable[..., Any], what: str, leaves: Sequence[Any],
                 moving: Sequence[bool], treedef: Any, put: Callable[..., Any], has_aux: bool):
        self.fun, self.what, self.has_aux = fun, what, has_aux
        self.leaves, self.moving, self.treedef, self.put = leaves, moving, treedef, put

    def __call__(self, *raws: Any) -> list[Any]:
        new = [wrap(raw, weak_of(x)) if m else x
               for raw, x, m in zip(raws, self.leaves, self.moving, strict=True)]
        args, kwargs = self.put(unflatten(self.treedef, new))
        out, aux = self.fun(*args, **kwargs), None
        if self.has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(f"{self.what}(has_aux=True): {name_of(self.fun)} must return "
                                f"(output, aux), got {describe_leaf(out)}")
            out, aux = out
        out_leaves, self.out_tree = flatten(out)
        self.out_leaves = out_leaves
        where = f"{self.what}: {name_of(self.fun)}"
        self.n = len(out_leaves)
        self.weaks = [weak_of(x) for x in out_leaves]
        outs = [output_leaf(x, where) for x in out_leaves]
        aux_leaves, self.aux_tree = flatten(aux)
        self.aux_leaves = aux_leaves
        self.aux_arrays = [is_array_like(x) for x in aux_leaves]
        return outs + [output_leaf(x, where) for x, a in
                       zip(aux_leaves, self.aux_arrays, strict=True) if a]

    def aux(self, raws: Sequence[Any]) -> Any:
        values = iter(raws)
        return unflatten(self.aux_tree, [
            wrap(next(values), weak_of(x)) if a else x
            for x, a in zip(self.aux_leaves, self.aux_arrays, strict=True)])


def value_and_grad(fun: Callable[..., Any], argnums: ArgNums = None, has_aux: bool = False,
                   holomorphic: bool = False, allow_int: bool = False, *,
                   argnames: ArgNames = None) -> Callable[..., Any]:
    """A function that returns `(fun(...), gradient)`; with `has_aux`, `((value, aux), gradient)`.

    The gradient has the structure of the selected arguments (`argnums`, or keywords by
    `argnames`; the first argument by default). Integer and boolean leaves are constants: they get
    None. `fun` must return a real floating scalar (complex with `holomorphic=True`).
    Raises TypeError otherwise, or where there is nothing to differentiate.

    >>> import lucidfn as lf
    >>> value, slope = lf.value_and_grad(lambda x: x ** 3)(2.0)
    >>> float(value), float(slope)
    (8.0, 12.0)
    """
    check_function(fun, "grad")
    select = Selected(fun, argnums, argnames, "grad")

    @functools.wraps(fun)
    def value_and_grad_fun(*args: Any, **kwargs: Any) -> Any:
        picked, put = select.pick(args, kwargs)
        raws, weaks, moving, leaves, treedef = flatten_arrays(picked)
        _check_inputs(fun, select, picked, raws, moving, holomorphic, args)
        flat = _Flat(fun, "grad", leaves, moving, treedef, put, has_aux)
        outs, backward = linearize_flat.vjp(flat, raws, moving, weak=weaks, what="grad", keep=False)
        seed = _seed(fun, flat, outs[:flat.n], holomorphic)
        found = iter(backward([seed, *[None] * (len(outs) - 1)]))
        grads = unflatten(treedef, [wrap(next(found)) if m else None for m in moving])
        value = wrap(outs[0], flat.weaks[0])
        return ((value, flat.aux(outs[1:])) if has_aux else value), select.result(grads)

    return value_and_grad_fun


def grad(fun: Callable[..., Any], argnums: ArgNums = None, has_aux: bool = False,
         holomorphic: bool = False, allow_int: bool = False, *,
         argnames: ArgNames = None) -> Callable[..., Any]:
    """A function that returns the gradient of `fun`; with `has_aux`, `(gradient, aux)`.

    See `value_and_grad` for the arguments and errors.

    >>> import lucidfn as lf
    >>> float(lf.grad(lambda x: x ** 3)(2.0))
    12.0
    """
    value_and_grad_fun = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int,
                                        argnames=argnames)

    @functools.wraps(fun)
    def grad_fun(*args: Any, **kwargs: Any) -> Any:
        value, grads = value_and_grad_fun(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return grad_fun


def _check_inputs(fun: Any, select: Selected, picked: Any, raws: Sequence[Any],
                  moving: Sequence[bool], holomorphic: bool, args: tuple[Any, ...]) -> None:
    objects = [x for x in raws if not is_array_like(x) and hasattr(x, "__dict__")]
    if not any(moving) and objects and not callable(objects[0]):
        check_library(objects[0])
        kind = type(objects[0]).__name__
        raise TypeError(
            f"grad of {name_of(fun)} with respect to `{', '.join(select.labels(args))}`: got a "
            f"{kind}, which is no pytree, so that the arrays in it are not seen. Register its "
            f"class: @lf.tree_util.register_dataclass above @dataclass on {kind}, or "
            "lf.tree_util.register_pytree_node_class.")
    if not any(moving):
        got = ", ".join(describe_leaf(x) for x in raws[:4]) or "no arrays"
        raise TypeError(
            f"grad of {name_of(fun)} with respect to `{', '.join(select.labels(args))}`: got "
            f"{got}; only floating (or complex) arrays can be differentiated. Convert first: "
            "x.astype('float32'), or write 3.0 for 3.")
    if holomorphic:
        for x, m in zip(raws, moving, strict=True):
            if m and kind_of(x.dtype) != 3:
                raise TypeError(f"grad(holomorphic=True) needs complex inputs, got {typeof(x)}")


def _seed(fun: Any, flat: _Flat, outs: Sequence[Any], holomorphic: bool) -> Any:
    if len(outs) != 1 or flat.out_leaves[0] is None or flat.out_tree.num_nodes != 1:
        what = "a scalar" if flat.n == 0 else "one scalar"
        hint = " (return (loss, aux) with has_aux=True)" if flat.n else ""
        if flat.n == 0 and str(flat.out_tree) == "PyTreeDef(None)":
            raise TypeError(f"grad of {name_of(fun)}: it must return a scalar, and it returned "
                            "None; is its `return` missing?")
        raise TypeError(f"grad of {name_of(fun)}: it must return {what}, got a tree with "
                        f"{flat.n} {'leaf' if flat.n == 1 else 'leaves'}: {flat.out_tree}{hint}")
    t = type_of(outs[0])
    if t.shape != ():
        raise TypeError(f"grad of {name_of(fun)}: it must return a scalar, got {t}. Reduce it, for "
                        "example with lnp.mean; for all derivatives of a vector use lf.jacrev, for "
                        "one gradient per example lf.vmap(lf.grad(...)).")
    kind = kind_of(t.dtype)
    if kind == 3 and not holomorphic:
        raise TypeError(f"grad of {name_of(fun)}: it returned {t}. The gradient of a complex value "
                        "needs holomorphic=True, or take lnp.real or lnp.abs of it first.")
    if kind < 2:
        raise TypeError(f"grad of {name_of(fun)}: it must return a floating scalar, got {t}, which "
                        "has no derivative")
    if holomorphic and kind != 3:
        raise TypeError(f"grad(holomorphic=True) of {name_of(fun)}: the output is {t}, not complex")
    return beside(ops.full(shape=(), dtype=t.dtype, value=1.0), outs[0])


# ------------------------------------------------------------------ products with the Jacobian

def _positional(args: tuple[Any, ...]) -> Callable[..., Any]:
    return lambda new: (new, {})


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(fun(*primals), vjp_fun)`; `vjp_fun(cotangent)` gives a tuple of cotangents of the primals.

    The cotangent has the structure, shapes and dtypes of the output.

    >>> import lucidfn as lf
    >>> out, pull_back = lf.vjp(lambda x, y: x * y, 2.0, 3.0)
    >>> [float(g) for g in pull_back(1.0)]
    [3.0, 2.0]
    """
    raws, weaks, moving, leaves, treedef = flatten_arrays(primals)
    flat = _Flat(fun, "vjp", leaves, moving, treedef, _positional(primals), has_aux)
    outs, backward = linearize_flat.vjp(flat, raws, moving, weak=weaks, what="vjp")
    n, out_tree = flat.n, flat.out_tree  # not flat: it holds the primals and the outputs

    def vjp_fun(cotangent: Any) -> tuple[Any, ...]:
        cts = _matching(cotangent, out_tree, outs[:n], f"vjp of {name_of(fun)}: cotangent",
                        "output")
        found = iter(backward([*cts, *[None] * (len(outs) - n)]))
        return unflatten(treedef, [wrap(next(found)) if m else None for m in moving])

    out = rebuild(flat.out_tree, outs[:n], flat.weaks)
    return (out, vjp_fun, flat.aux(outs[n:])) if has_aux else (out, vjp_fun)


def _matching(tree: Any, treedef: Any, likes: Sequence[Any], what: str, of: str) -> list[Any]:
    """Raw leaves of a tree that must have the structure, shapes and dtypes of `likes`."""
    leaves, got = flatten(tree, is_leaf=lambda x: x is None)
    if got != treedef:
        bare, structure = flatten(tree)
        if structure != treedef:
            raise TypeError(f"{what} must have the structure of the {of}: " + explain_mismatch(
                structure, treedef, (what.split(": ")[-1], of)))
        leaves = bare
    raws: list[Any] = []
    for x, like in zip(leaves, likes, strict=True):
        t = type_of(like)
        if x is None or not is_inexact(t.dtype):
            raws.append(None)
            continue
        raw = unwrap(x)
        if shape_of(raw) != t.shape:
            raise ValueError(f"{what} has shape {shape_of(raw)}, the {of} has shape {t.shape}")
        if weak_of(x) or type_of(raw).weak:
            raw = ops.convert(np.asarray(raw) if not hasattr(raw, "dtype") else raw, dtype=t.dtype)
        if dtype_of(raw) != t.dtype:
            raise TypeError(f"{what} has dtype {dtype_name(dtype_of(raw))}, the {of} has "
                            f"{dtype_name(t.dtype)}; convert it with .astype")
        raws.append(raw)
    return raws


def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any],
        has_aux: bool = False) -> Any:
    """`(fun(*primals), directional derivative along tangents)`.

    `tangents` has the structure, shapes and dtypes of `primals`; for integer leaves it is ignored.

    >>> import lucidfn as lf
    >>> [float(v) for v in lf.jvp(lambda x: x * x, (3.0,), (1.0,))]
    [9.0, 6.0]
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("jvp: primals and tangents must be tuples or lists of arguments, got "
                        f"{type(primals).__name__} and {type(tangents).__name__}")
    primals, tangents = tuple(primals), tuple(tangents)
    raws, weaks, moving, leaves, treedef = flatten_arrays(primals)
    given = _matching(tangents, treedef, [r if m else np.zeros((), bool) for r, m in
                                          zip(raws, moving, strict=True)],
                      f"jvp of {name_of(fun)}: tangents", "primals")
    flat = _Flat(fun, "jvp", leaves, moving, treedef, _positional(primals), has_aux)
    outs, out_tangents = jvp_flat.jvp(flat, raws, given, weak=weaks)
    n = flat.n
    filled = [_zero_tangent(o) if t is None else t
              for o, t in zip(outs[:n], out_tangents[:n], strict=True)]
    out = rebuild(flat.out_tree, outs[:n], flat.weaks)
    tangent = rebuild(flat.out_tree, filled)
    return (out, tangent, flat.aux(outs[n:])) if has_aux else (out, tangent)


def _zero_tangent(out: Any) -> Any:
    t = type_of(out)
    return beside(ops.zeros(t.shape, t.dtype), out)


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`(fun(*primals), f_jvp)`; `f_jvp(*tangents)` applies the derivative at primals.

    The forward pass runs once; each call of `f_jvp` costs only the linear part.

    >>> import lucidfn as lf
    >>> y, f_jvp = lf.linearize(lambda x: x * x, 3.0)
    >>> float(f_jvp(1.0)), float(f_jvp(2.0))
    (6.0, 12.0)
    """
    raws, weaks, moving, leaves, treedef = flatten_arrays(primals)
    flat = _Flat(fun, "linearize", leaves, moving, treedef, _positional(primals), has_aux)
    outs, program, moved = linearize_flat.linearize(flat, raws, moving, weak=weaks,
                                                    what="linearize")
    program = linearize_flat.owned(linearize_flat.drop_dead(program))
    n, out_tree = flat.n, flat.out_tree

    def f_jvp(*tangents: Any) -> Any:
        given = _matching(tangents, treedef, raws, f"linearize of {name_of(fun)}: tangents",
                          "primals")
        filled = [_zero_tangent(r) if t is None else t
                  for r, t, m in zip(raws, given, moving, strict=True) if m]
        got = iter(program(*filled))
        outs_t = [next(got) if m else _zero_tangent(o) for o, m in zip(outs, moved, strict=True)]
        return rebuild(out_tree, outs_t[:n])

    out = rebuild(flat.out_tree, outs[:n], flat.weaks)
    return (out, f_jvp, flat.aux(outs[n:])) if has_aux else (out, f_jvp)


def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a linear function: cotangent of the output -> tuple of cotangents.

    `primals` give shapes and dtypes only (arrays or `ShapeDtypeStruct`). Raises MissingRuleError
    if `fun` is not linear.

    >>> import lucidfn as lf
    >>> float(lf.linear_transpose(lambda x: 2.0 * x, 1.0)(3.0)[0])
    6.0
    """
    leaves, treedef = flatten(primals)
    types = [typeof(x) for x in leaves]
    state: list[Any] = []

    def flat(*raws: Any) -> list[Any]:
        out = fun(*unflatten(treedef, [wrap(r, t.weak) for r, t in zip(raws, types, strict=True)]))
        out_leaves, out_tree = flatten(out)
        state[:] = [out_tree]
        return [output_leaf(x, f"linear_transpose: {name_of(fun)}") for x in out_leaves]

    program = record(flat, types, what="linear_transpose")
    zeros = [np.broadcast_to(np.zeros((), t.dtype), t.shape) for t in program.output_types]

    def transposed(cotangent: Any) -> tuple[Any, ...]:
        cts = _matching(cotangent, state[0], zeros,
                        f"linear_transpose of {name_of(fun)}: cotangent", "output")
        got = linearize_flat.transpose(program, program.inputs, cts)
        return unflatten(treedef, [wrap(ops.zeros(t.shape, t.dtype) if ct is None else ct)
                                   for ct, t in zip(got, types, strict=True)])

    return transposed


# ------------------------------------------------------------------ Jacobians

def _basis(raws: Sequence[Any]) -> tuple[list[Any], int]:
    """Unit vectors of the whole flat space, split into leaves: (N, *shape) each; and N."""
    sizes = [math.prod(shape_of(r)) for r in raws]
    total, at, out = sum(sizes), 0, []
    for raw, size in zip(raws, sizes, strict=True):
        block = np.zeros((total, size), dtype_of(raw))
        np.fill_diagonal(block[at:at + size], 1)
        out.append(beside(block.reshape((total, *shape_of(raw))), raw))
        at += size
    return out, total


def _rows(x: Any, likes: Sequence[Any]) -> list[Any]:
    """Split the leading axis of x, which counts elements of all likes, into one block for each."""
    at, out = 0, []
    for like in likes:
        size = math.prod(shape_of(like))
        out.append(ops.slice_axis(x, 0, at, at + size))
        at += size
    return out


def jacfwd(fun: Callable[..., Any], argnums: ArgNums = None, has_aux: bool = False,
           holomorphic: bool = False, *, argnames: ArgNames = None) -> Callable[..., Any]:
    """The Jacobian by forward mode, all columns in one batch: best for few inputs.

    Returns the structure of the output, each leaf replaced by the structure of the selected
    arguments with leaves of shape `output.shape + input.shape`.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.jacfwd(lambda x: x * x)(lnp.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    check_function(fun, "jacfwd")
    select = Selected(fun, argnums, argnames, "jacfwd")

    @functools.wraps(fun)
    def jacfwd_fun(*args: Any, **kwargs: Any) -> Any:
        picked, put = select.pick(args, kwargs)
        raws, weaks, moving, leaves, treedef = flatten_arrays(picked)
        _check_jacobian(fun, "jacfwd", raws, moving, holomorphic)
        flat = _Flat(fun, "jacfwd", leaves, moving, treedef, put, has_aux)
        outs, program, moved = linearize_flat.linearize(flat, raws, moving, weak=weaks,
                                                        what="jacfwd")
        inputs = [r for r, m in zip(raws, moving, strict=True) if m]
        basis, total = _basis(inputs)
        columns = iter(batch_flat(program, basis, [True] * len(basis), total,
                                  axis_name=None)[0])
        jacobian_leaves = []
        for out, m in list(zip(outs, moved, strict=True))[:flat.n]:
            full = next(columns) if m else beside(
                ops.zeros((total, *shape_of(out)), dtype_of(out)), out)
            rank = len(shape_of(out))
            blocks = iter([ops.reshape(
                ops.permute(b, order=(*range(1, rank + 1), 0)),
                shape=(*shape_of(out), *shape_of(x))) for b, x in
                zip(_rows(full, inputs), inputs, strict=True)])
            jacobian_leaves.append(select.result(unflatten(
                treedef, [wrap(next(blocks)) if m else None for m in moving])))
        jac = unflatten(flat.out_tree, jacobian_leaves)
        return (jac, flat.aux(outs[flat.n:])) if has_aux else jac

    return jacfwd_fun


def jacrev(fun: Callable[..., Any], argnums: ArgNums = None, has_aux: bool = False,
           holomorphic: bool = False, allow_int: bool = False, *,
           argnames: ArgNames = None) -> Callable[..., Any]:
    """The Jacobian by reverse mode, all rows in one batch: best for few outputs.

    The result is shaped as for `jacfwd`.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.jacrev(lambda x: lnp.sum(x * x))(lnp.array([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    check_function(fun, "jacrev")
    select = Selected(fun, argnums, argnames, "jacrev")

    @functools.wraps(fun)
    def jacrev_fun(*args: Any, **kwargs: Any) -> Any:
        picked, put = select.pick(args, kwargs)
        raws, weaks, moving, leaves, treedef = flatten_arrays(picked)
        _check_jacobian(fun, "jacrev", raws, moving, holomorphic)
        flat = _Flat(fun, "jacrev", leaves, moving, treedef, put, has_aux)
        outs, backward = linearize_flat.vjp(flat, raws, moving, weak=weaks, what="jacrev")
        n = flat.n
        for out in outs[:n]:
            if not holomorphic and kind_of(dtype_of(out)) != 2:
                raise TypeError(f"jacrev of {name_of(fun)}: got an output {type_of(out)}; it must "
                                "be floating (complex with holomorphic=True)")
        basis, total = _basis(outs[:n])
        rest = [None] * (len(outs) - n)
        rows = batch_flat(lambda *cts: backward([*cts, *rest]), basis, [True] * n, total,
                          axis_name=None)[0]
        per_output: list[list[Any]] = [[] for _ in range(n)]
        inputs = [r for r, m in zip(raws, moving, strict=True) if m]
        for x, full in zip(inputs, rows, strict=True):
            for i, (out, block) in enumerate(zip(outs[:n], _rows(full, outs[:n]), strict=True)):
                per_output[i].append(ops.reshape(block, shape=(*shape_of(out), *shape_of(x))))
        jacobian_leaves = []
        for found in per_output:
            blocks = iter(found)
            jacobian_leaves.append(select.result(unflatten(
                treedef, [wrap(next(blocks)) if m else None for m in moving])))
        jac = unflatten(flat.out_tree, jacobian_leaves)
        return (jac, flat.aux(outs[n:])) if has_aux else jac

    return jacrev_fun


def _check_jacobian(fun: Any, what: str, raws: Sequence[Any], moving: Sequence[bool],
                    holomorphic: bool) -> None:
    if not any(moving):
        raise TypeError(f"{what} of {name_of(fun)}: no floating array among the arguments to "
                        "differentiate; convert first: x.astype('float32')")
    for x, m in zip(raws, moving, strict=True):
        if m and (kind_of(x.dtype) == 3) != holomorphic and not (
                what == "jacrev" and not holomorphic):
            raise TypeError(f"{what} of {name_of(fun)}: got {type_of(x)}; complex inputs need "
                            "holomorphic=True, and only complex inputs may have it")


jacobian = jacrev


def hessian(fun: Callable[..., Any], argnums: ArgNums = None, has_aux: bool = False,
            holomorphic: bool = False, *, argnames: ArgNames = None) -> Callable[..., Any]:
    """The matrix of second derivatives: `jacfwd(jacrev(fun))`.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.hessian(lambda x: lnp.sum(x ** 3))(lnp.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacfwd(jacrev(fun, argnums, has_aux, holomorphic, argnames=argnames),
                  argnums, has_aux, holomorphic, argnames=argnames)
