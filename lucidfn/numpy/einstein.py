"""`lnp.einsum`: NumPy's whole syntax, two operands at a time through `dot_general`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import to_dtype, unwrap, wrap
from lucidfn.core.trace import shape_of
from lucidfn.numpy._einsum import Labels, plan, read_sublists
from lucidfn.numpy.elementwise import lift
from lucidfn.numpy.linear import pair, take_diagonal
from lucidfn.numpy.reductions import no_out
from lucidfn.types import as_dtype, promote_types

Term = tuple[Any, Labels]  # a raw array and the labels of its axes


def einsum(subscripts: Any, /, *operands: Any, out: None = None, optimize: Any = "auto",
           precision: Any = None, preferred_element_type: Any = None) -> Any:
    """Sums of products by Einstein's convention.

    Repeated and implicit indices, ellipses, axes of size 1 that broadcast, and the sublist form
    `einsum(x, [0, 1], y, [1, 2], [0, 2])` are as in NumPy. `optimize` chooses the order: "auto",
    "greedy", "optimal", False (left to right), or the list of pairs from `einsum_path`.

    >>> import lucidfn.numpy as lnp
    >>> x = lnp.asarray([[1.0, 2.0], [3.0, 4.0]])
    >>> lnp.einsum("ij,kj->ik", x, x).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """
    no_out(out, "einsum")
    if isinstance(subscripts, str):
        arrays, text = list(operands), subscripts
    else:
        arrays, text = read_sublists((subscripts, *operands))
    if not arrays:
        raise ValueError("einsum needs at least one operand")
    if len(arrays) == 2:
        *raws, weak, _ = pair(*arrays)
    else:
        raws, weak = lift(*arrays)
    if preferred_element_type is not None:
        wide = promote_types(raws[0].dtype, as_dtype(preferred_element_type))
        raws, weak = [to_dtype(r, wide) for r in raws], False
    shapes = tuple([r.shape for r in raws])
    if isinstance(optimize, list):
        optimize = tuple(s if isinstance(s, str) else tuple(s) for s in optimize)
    inputs, output, path, direct = plan(text, shapes, optimize)
    if direct is None:
        result = _evaluate(raws, inputs, output, path)
    else:
        contract, batch, order = direct
        result = ops.dot_general(*raws, contract=contract, batch=batch)
        if order != tuple(range(len(order))):
            result = ops.permute(result, order=order)
    if preferred_element_type is not None:
        result = to_dtype(result, as_dtype(preferred_element_type))
    return wrap(result, weak)


def einsum_path(subscripts: Any, /, *operands: Any,
                optimize: Any = "auto") -> tuple[list[Any], str]:
    """The order in which `einsum` would contract, and a printable description, from NumPy."""
    if isinstance(subscripts, str):
        arrays, text = list(operands), subscripts
    else:
        arrays, text = read_sublists((subscripts, *operands))
    dummies = [np.broadcast_to(np.float32(0), shape_of(unwrap(a))) for a in arrays]
    return np.einsum_path(text, *dummies, optimize="greedy" if optimize == "auto" else optimize)


def _evaluate(raws: Sequence[Any], inputs: Sequence[Labels], output: Labels,
              path: Sequence[tuple[int, ...]]) -> Any:
    sizes: dict[int, int] = {}
    for raw, labels in zip(raws, inputs, strict=True):
        for label, n in zip(labels, raw.shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    terms = [_prepared(r, labels, sizes) for r, labels in zip(raws, inputs, strict=True)]
    for step in path:
        chosen = [terms[i] for i in step]
        terms = [t for i, t in enumerate(terms) if i not in step]
        while len(chosen) > 1:
            rest = [labels for _, labels in (*terms, *chosen[2:])]
            chosen = [_contract(chosen[0], chosen[1], {*output}.union(*rest)), *chosen[2:]]
        terms += chosen
    while len(terms) > 1:
        rest = [labels for _, labels in terms[2:]]
        terms = [*terms[2:], _contract(terms[0], terms[1], {*output}.union(*rest))]
    return _finished(terms[0], output, sizes)


def _prepared(x: Any, labels: Labels, sizes: dict[int, int]) -> Term:
    """Diagonals taken where a label repeats; axes of size 1 that broadcast dropped."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            x = take_diagonal(x, 0, i, j)
            labels = (*[k for n, k in enumerate(labels) if n not in (i, j)], label)
    single = [i for i, k in enumerate(labels) if x.shape[i] == 1 and sizes[k] != 1]
    if single:
        x = ops.reshape(x, shape=tuple(d for i, d in enumerate(x.shape) if i not in single))
        labels = tuple(k for i, k in enumerate(labels) if i not in single)
    return x, labels


def _summed(term: Term, keep: Any) -> Term:
    """Labels that nobody else needs are summed over."""
    x, labels = term
    axes = tuple(i for i, k in enumerate(labels) if k not in keep)
    if not axes:
        return term
    return ops.reduce_sum(x, axes=axes), tuple(k for k in labels if k in keep)


def _contract(left: Term, right: Term, keep: set[int]) -> Term:
    x, lx = _summed(left, keep.union(right[1]))
    y, ly = _summed(right, keep.union(left[1]))
    batch = [k for k in lx if k in ly and k in keep]
    summed = [k for k in lx if k in ly and k not in keep]
    free_x, free_y = [k for k in lx if k not in ly], [k for k in ly if k not in lx]
    labels = (*batch, *free_x, *free_y)
    if not summed:
        return ops.mul(_spread(x, lx, labels), _spread(y, ly, labels)), labels
    at = lambda ls, wanted: tuple([ls.index(k) for k in wanted])
    out = ops.dot_general(x, y, contract=(at(lx, summed), at(ly, summed)),
                          batch=(at(lx, batch), at(ly, batch)))
    return out, labels


def _spread(x: Any, have: Labels, want: Labels) -> Any:
    """x with axes in the order of `want`, and of size 1 where it has none."""
    order = tuple([have.index(k) for k in want if k in have])
    if order != tuple(range(len(order))):
        x = ops.permute(x, order=order)
    shape = iter(shape_of(x))
    return ops.reshape(x, shape=tuple([next(shape) if k in have else 1 for k in want]))


def _finished(term: Term, output: Labels, sizes: dict[int, int]) -> Any:
    x, labels = _summed(term, set(output))
    if labels == output:
        return x
    # A label that only axes of size 1 had was dropped nowhere, but one may be missing from a term
    # whose axis broadcast: it is put back here.
    x = _spread(x, labels, output)
    return ops.broadcast_to(x, shape=tuple([sizes[k] for k in output]))


__all__ = ["einsum", "einsum_path"]
