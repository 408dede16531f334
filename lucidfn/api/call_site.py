"""One call of a function with custom rules: users' trees outside, flat raw values inside."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.arguments import name_of, output_leaf, parameter_names, raw_leaf, signature_of
from lucidfn.api.lifting import fill, lift, tracers_in
from lucidfn.array import Array, is_array_like, weak_of, wrap
from lucidfn.core.trace import Tracer, beside, current, eval_trace, type_of
from lucidfn.tree import explain_mismatch, flatten, leaves_with_path, structure, unflatten
from lucidfn.tree_util import keystr
from lucidfn.types import SCALARS, ArrayType, dtype_name, is_inexact

Label = Callable[[], tuple[str, str]]  # (what was found, what it is held against)


@dataclass(frozen=True)
class SymbolicZero:
    """A tangent or cotangent known to be zero, for rules declared with `symbolic_zeros=True`."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass
class CustomVJPPrimal:
    """What `fwd` gets with `symbolic_zeros=True`: a value, and whether it is differentiated."""

    value: Any
    perturbed: bool


class Positional:
    """Arguments by position, with defaults: rules are called with positions only."""

    def __init__(self, fun: Callable[..., Any], what: str):
        self.fun, self.what, self.signature = fun, what, signature_of(fun)
        kinds = [] if self.signature is None else [
            p.kind for p in self.signature.parameters.values()]
        plain = all(k in (inspect.Parameter.POSITIONAL_ONLY,
                          inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in kinds)
        self.count = len(kinds) if plain and self.signature is not None else -1
        self.known = parameter_names(fun, len(kinds))

    def names(self, count: int) -> Sequence[str]:
        """What the user calls the arguments."""
        return self.known if count == len(self.known) else parameter_names(self.fun, count)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if not kwargs and (len(args) == self.count or self.signature is None):
            return args
        if self.signature is None:
            raise TypeError(f"{self.what}: the keyword arguments {sorted(kwargs)} cannot be given "
                            "a position, since the function has no signature")
        bound = self.signature.bind(*args, **kwargs)
        if bound.kwargs:
            raise TypeError(f"{self.what}: {sorted(bound.kwargs)} can only be passed by keyword, "
                            "and rules take arguments by position; make them positional "
                            "parameters")
        bound.apply_defaults()
        return bound.args


def positions(fun: Callable[..., Any], what: str, argnums: int | Sequence[int],
              argnames: str | Sequence[str]) -> tuple[int, ...]:
    """nondiff_argnums and nondiff_argnames as positions; negative ones count from the end."""
    nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
    if not nums and not names:
        return ()
    try:
        parameters = list(inspect.signature(fun).parameters)
    except (TypeError, ValueError):
        parameters = []
    unknown = sorted(set(names) - set(parameters))
    if unknown:
        raise ValueError(f"{what}: nondiff_argnames names {unknown}, which are no parameters; it "
                         f"has {parameters}")
    nums = tuple([n + len(parameters) if n < 0 else n for n in nums])
    return tuple(sorted({*nums, *map(parameters.index, names)}))


def is_plain(tree: Any) -> bool:
    """Whether nothing traces: the function can simply run."""
    return current.get() is eval_trace and not any(
        isinstance(x, Tracer) for x in flatten(tree)[0])


class CallSite:
    """One call: which leaves are operands, what the functions close over, how outputs look.

    `functions` are the user's: the function itself, then its rules. Nothing here keeps a tracer;
    they are in `closed` and `operands` only, which belong to the call.
    """

    def __init__(self, what: str, functions: tuple[Any, ...], args: tuple[Any, ...],
                 nondiff: tuple[int, ...], names: Sequence[str]):
        self.what, self.nondiff, self.count = what, nondiff, len(args)
        self.names = names
        fixed = tuple([a for i, a in enumerate(args) if i in nondiff])
        self.diff = [i for i in range(len(args)) if i not in nondiff]
        picked = tuple([args[i] for i in self.diff])
        leaves, self.treedef = flatten(picked)
        self.is_operand = [_is_operand(x) for x in leaves]
        self.weaks = [weak_of(x) for x, m in zip(leaves, self.is_operand, strict=True) if m]
        statics = [None if m else x for x, m in zip(leaves, self.is_operand, strict=True)]
        labels = {id(t): names[i] for i in reversed(nondiff) for t in tracers_in(args[i])}
        closed, self.template = lift((fixed, functions, statics))
        self.fixed = tuple([labels[id(t)] for t in closed if id(t) in labels])
        self.closed_count = len(closed)
        self.values = closed, [raw_leaf(x) for x, m in zip(leaves, self.is_operand, strict=True)
                               if m]
        self.fun_tree: Any = None
        self.fun_types: Sequence[ArrayType] = ()

    def operands(self) -> list[Any]:
        """Everything traced, for the call; forgets it."""
        closed, operands = self.values
        self.values = [], []
        return [*closed, *operands]

    # ------------------------------------------------------------------ arguments

    def unpack(self, closed: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...], list[Any]]:
        """(nondiff arguments, the user's functions, leaves that are no operands)."""
        return fill(self.template, closed)

    def picked(self, statics: list[Any], raws: Sequence[Any]) -> tuple[Any, ...]:
        """The differentiable arguments from raw operands."""
        return self.tree(statics, [wrap(x, w) for x, w in zip(raws, self.weaks, strict=True)])

    def tree(self, statics: list[Any], values: Sequence[Any]) -> tuple[Any, ...]:
        it = iter(values)
        return unflatten(self.treedef, [next(it) if m else s for m, s in
                                        zip(self.is_operand, statics, strict=True)])

    def together(self, fixed: tuple[Any, ...], picked: tuple[Any, ...]) -> list[Any]:
        """All arguments in the order of the signature."""
        a, b = iter(fixed), iter(picked)
        return [next(a) if i in self.nondiff else next(b) for i in range(self.count)]

    def tangents(self, statics: list[Any], raws: Sequence[Any], tangents: Sequence[Any],
                 symbolic: bool) -> tuple[Any, ...]:
        """The tree of tangents: zeros for constants, None for what has no tangent."""
        values = [zero_of(type_of(x), symbolic, x) if t is None else wrap(t)
                  for x, t in zip(raws, tangents, strict=True)]
        constants = [zero_of(type_of(s), symbolic) if type(s) in (float, complex) else None
                     for s in statics]
        return self.tree(constants, values)

    # ------------------------------------------------------------------ outputs

    def fun(self, *raws: Any) -> list[Any]:
        """The user's function on raw values: those closed over, then the operands."""
        fixed, functions, statics = self.unpack(raws[:self.closed_count])
        picked = self.picked(statics, raws[self.closed_count:])
        outs = self.outputs(functions[0](*self.together(fixed, picked)))
        self.fun_tree, self.fun_types = self.out_tree, [type_of(x) for x in outs]
        return outs

    def outputs(self, out: Any, of: str = "") -> list[Any]:
        """Raw leaves of what the function, or a rule in its place, returned."""
        leaves, self.out_tree = flatten(out)
        self.weaks_out = [weak_of(x) for x in leaves]
        outs = [output_leaf(x, f"{self.what}{of and ': '}{of}") for x in leaves]
        if of and self.fun_tree is not None:
            if self.fun_tree != self.out_tree:
                raise TypeError(f"{self.what}: {of} returned an output unlike the function's: "
                                + explain_mismatch(self.out_tree, self.fun_tree,
                                                   (of, "the function")))
            for i, (x, t) in enumerate(zip(outs, self.fun_types, strict=True)):
                self.check(functools.partial(self.output_label, f"{of} returned an output",
                                             "the function's is", i), type_of(x), t)
        return outs

    def check(self, label: Label, got: ArrayType, want: ArrayType) -> None:
        if got[:2] != want[:2]:
            (found, wanted), shape = label(), got.shape != want.shape
            fix = "" if shape else f"; convert it: .astype('{dtype_name(want.dtype)}')"
            raise TypeError(f"{self.what}: {found} of " + (
                f"shape {got.shape}" if shape else f"dtype {dtype_name(got.dtype)}")
                + f", {wanted} {want}{fix}")

    def result(self, outs: Sequence[Any]) -> Any:
        return unflatten(self.out_tree, [wrap(x, w) for x, w in
                                         zip(outs, self.weaks_out, strict=True)])

    # ------------------------------------------------------------------ what rules return

    def output_tangents(self, tree: Any, types: Sequence[ArrayType], of: str) -> list[Any]:
        """Raw tangents of the outputs; None where zero."""
        leaves = matched(tree, self.out_tree)
        if isinstance(leaves, tuple):
            raise TypeError(f"{self.what}: {of} returned tangents unlike its outputs: "
                            + explain_mismatch(structure(tree), self.out_tree,
                                               ("tangents", "outputs")))
        return [self.typed(x, t._replace(weak=w), functools.partial(
            self.output_label, f"{of} returned a tangent", "its output is", i))
            for i, (x, t, w) in enumerate(zip(leaves, types, self.weaks_out, strict=True))]

    def cotangents(self, tree: Any, types: Sequence[ArrayType], of: str) -> list[Any]:
        """Raw cotangents of the operands from the tuple that a rule returned; None where zero."""
        names = [self.names[i] for i in self.diff]
        if isinstance(tree, list):
            tree = tuple(tree)
        if type(tree) is not tuple or len(tree) != len(names):
            got = f"{len(tree)} of them" if type(tree) is tuple else type(tree).__name__
            raise TypeError(f"{self.what}: {of} must return a tuple of {len(names)} cotangent"
                            f"{'s' * (len(names) != 1)}, one for each of ({', '.join(names)}), or "
                            f"None for zero; got {got}")
        leaves = matched(tree, self.treedef)
        if isinstance(leaves, tuple):
            i = leaves[0].idx
            given = unflatten(self.treedef, [0] * self.treedef.num_leaves)[i]
            raise TypeError(
                f"{self.what}: {of} returned a cotangent for argument `{names[i]}` with another "
                "structure: " + explain_mismatch(structure(tree[i]), structure(given),
                                                 ("cotangent", "argument")))
        arrays = [i for i, m in enumerate(self.is_operand) if m]
        return [self.typed(leaves[i], t._replace(weak=w), functools.partial(
            self.argument_label, of, i))
            for i, t, w in zip(arrays, types, self.weaks, strict=True)]

    def output_label(self, what: str, against: str, i: int) -> tuple[str, str]:
        return what + keystr(_paths(self.out_tree)[i]), against

    def argument_label(self, of: str, i: int) -> tuple[str, str]:
        path = _paths(self.treedef)[i]
        name = self.names[self.diff[path[0].idx]] + keystr(path[1:])
        return f"{of} returned, for argument `{name}`, a cotangent", "the argument is"

    def typed(self, x: Any, want: ArrayType, label: Label) -> Any:
        """A tangent or cotangent, raw, of the type wanted; None where zero."""
        if x is None or isinstance(x, SymbolicZero) or not is_inexact(want.dtype):
            return None
        if not is_array_like(x):
            raise TypeError(f"{self.what}: {label()[0]} that is no array: {type(x).__name__} "
                            f"{x!r:.40}")
        raw = raw_leaf(x)
        if raw.dtype != want.dtype and (weak_of(x) or want.weak):
            raw = ops.convert(raw, dtype=want.dtype)
        self.check(label, type_of(raw), want)
        return raw


def matched(tree: Any, treedef: Any) -> list[Any] | tuple[Any, ...]:
    """The leaves of a tree that must have a structure; a None covers all that is below it.

    Returns the path to what does not fit, a tuple, where the structures differ.
    """
    leaves, got = flatten(tree)
    if got == treedef:
        return leaves
    found = dict(leaves_with_path(tree, is_leaf=lambda x: x is None))
    known = _paths(treedef)
    inner = {path[:n] for path in known for n in range(len(path))}
    for path, x in found.items():
        if path not in known and not (x is None and path in inner) and x is not None:
            return path
    matching = []
    for path in known:
        above = next((path[:n] for n in range(len(path) + 1) if path[:n] in found), None)
        if above is None or (found[above] is not None and above != path):
            return path
        matching.append(found[above])
    return matching


def _paths(treedef: Any) -> list[Any]:
    tree = unflatten(treedef, [0] * treedef.num_leaves)
    return [path for path, _ in leaves_with_path(tree)]


def zero_of(t: ArrayType, symbolic: bool, like: Any = None) -> Any:
    """A zero tangent or cotangent as a rule gets it, on the device of `like`; None for what has
    none."""
    if not is_inexact(t.dtype):
        return None
    if symbolic:
        return SymbolicZero(t.shape, t.dtype)
    return wrap(beside(ops.zeros(t.shape, t.dtype), like))


def _is_operand(x: Any) -> bool:
    """Arrays are operands; Python numbers are constants, which rules may look at."""
    return type(x) not in SCALARS and isinstance(x, (Array, Tracer, np.ndarray, np.generic))


def describe(fun: Callable[..., Any], kind: str) -> str:
    return f"{kind} {name_of(fun)}"
