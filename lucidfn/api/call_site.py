"""One call of a function with custom rules: users' trees outside, flat raw values inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.api.arguments import describe_leaf, name_of, output_leaf, parameter_names, raw_leaf
from lucidfn.api.lifting import fill, lift, tracers_in
from lucidfn.array import Array, is_array_like, weak_of, wrap
from lucidfn.core.trace import Tracer, current, eval_trace, type_of
from lucidfn.tree import explain_mismatch, flatten, leaves_with_path, structure, unflatten
from lucidfn.tree_util import SequenceKey, keystr
from lucidfn.types import SCALARS, ArrayType, dtype_name, is_inexact


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


def positional(fun: Callable[..., Any], what: str, args: tuple[Any, ...],
               kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments by position, with defaults: rules are called with positions only."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        if not kwargs:
            return args
        raise TypeError(f"{what}: the keyword arguments {sorted(kwargs)} cannot be given a "
                        "position, since the function has no signature") from None
    bound = signature.bind(*args, **kwargs)
    given = set(bound.kwargs)
    if given:
        raise TypeError(f"{what}: {sorted(given)} can only be passed by keyword, and the rules "
                        "take arguments by position; make them positional parameters")
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
                 nondiff: tuple[int, ...] = ()):
        self.what, self.nondiff, self.count = what, nondiff, len(args)
        self.names = parameter_names(functions[0], len(args))
        fixed = tuple([a for i, a in enumerate(args) if i in nondiff])
        self.diff = [i for i in range(len(args)) if i not in nondiff]
        picked = tuple([args[i] for i in self.diff])
        pairs = leaves_with_path(picked)
        self.structures = [structure(a) for a in picked]
        self.treedef = structure(picked)
        self.paths = [path for path, _ in pairs]
        self.is_operand = [_is_operand(x) for _, x in pairs]
        self.weaks = [weak_of(x) for _, x in pairs if _is_operand(x)]
        statics = [None if _is_operand(x) else x for _, x in pairs]
        self.labels = {id(t): self.names[i] for i in reversed(nondiff)
                       for t in tracers_in(args[i])}
        closed, self.template = lift((fixed, functions, statics))
        self.fixed = tuple([self.labels[id(t)] for t in closed if id(t) in self.labels])
        self.labels = {}
        self.closed_count = len(closed)
        self.values = closed, [raw_leaf(x) for _, x in pairs if _is_operand(x)]
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
        values = [zero_of(type_of(x), symbolic) if t is None else wrap(t)
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
        self.out_paths = [path for path, _ in leaves_with_path(out)]
        outs = [output_leaf(x, f"{self.what}{of and ': '}{of}") for x in leaves]
        if of and self.fun_tree is not None:
            if self.fun_tree != self.out_tree:
                raise TypeError(f"{self.what}: {of} returned an output unlike the function's: "
                                + explain_mismatch(self.out_tree, self.fun_tree,
                                                   (of, "the function")))
            for path, x, t in zip(self.out_paths, outs, self.fun_types, strict=True):
                self.check(f"{of} returned an output{keystr(path)}", type_of(x), t,
                           "the function's is")
        return outs

    def check(self, label: str, got: ArrayType, want: ArrayType, wanted: str) -> None:
        if got[:2] != want[:2]:
            what = "shape" if got.shape != want.shape else "dtype"
            fix = "" if what == "shape" else f"; convert it: .astype('{dtype_name(want.dtype)}')"
            raise TypeError(f"{self.what}: {label} of {what} {_part(got, what)}, {wanted} "
                            f"{want}{fix}")

    def result(self, outs: Sequence[Any]) -> Any:
        return unflatten(self.out_tree, [wrap(x, w) for x, w in
                                         zip(outs, self.weaks_out, strict=True)])

    # ------------------------------------------------------------------ what rules return

    def output_tangents(self, tree: Any, types: Sequence[ArrayType], of: str) -> list[Any]:
        """Raw tangents of the outputs; None where zero."""
        found = self.matched(tree, self.out_paths, types, lambda path: (
            f"{of} returned a tangent{keystr(path)}", "its output is"))
        if isinstance(found, str):
            raise TypeError(f"{self.what}: {of} returned tangents unlike its outputs: "
                            + explain_mismatch(structure(tree), self.out_tree,
                                               ("tangents", "outputs")))
        return found

    def cotangents(self, tree: Any, types: Sequence[ArrayType], of: str) -> list[Any]:
        """Raw cotangents of the operands from the tuple that a rule returned; None where zero."""
        names = [self.names[i] for i in self.diff]
        if isinstance(tree, list):
            tree = tuple(tree)
        if not isinstance(tree, tuple) or len(tree) != len(names):
            got = (f"{len(tree)} of them" if isinstance(tree, tuple) else describe_leaf(tree)
                   if not isinstance(tree, dict) else "a dict")
            raise TypeError(f"{self.what}: {of} must return a tuple of {len(names)} cotangent"
                            f"{'s' * (len(names) != 1)}, one for each of ({', '.join(names)}), or "
                            f"None for zero; got {got}")
        paths = [p for p, m in zip(self.paths, self.is_operand, strict=True) if m]
        found = self.matched(tree, paths, types, lambda path: (
            f"{of} returned, for argument `{names[path[0].idx]}{keystr(path[1:])}`, a cotangent",
            "the argument is"), self.paths)
        if isinstance(found, str):
            i = int(found)
            raise TypeError(
                f"{self.what}: {of} returned a cotangent for argument `{names[i]}` with another "
                "structure: " + explain_mismatch(structure(tree[i]), self.structures[i],
                                                 ("cotangent", "argument")))
        return found

    def matched(self, tree: Any, paths: Sequence[Any], types: Sequence[ArrayType],
                label: Callable[[Any], tuple[str, str]], known: Sequence[Any] = ()) -> Any:
        """The leaf of the tree at each path, raw, of the type wanted; a None covers what is below.

        Returns the first step of a path that does not fit, as text, where the structures differ.
        """
        found = dict(leaves_with_path(tree, is_leaf=lambda x: x is None))
        known = known or paths
        covered = {path[:n] for path in known for n in range(len(path) + 1)}
        for path, x in found.items():
            if path not in covered or (x is not None and path not in known):
                return _first(path)
        raws = []
        for path, t in zip(paths, types, strict=True):
            above = next((path[:n] for n in range(len(path) + 1) if path[:n] in found), None)
            if above is None:
                return _first(path)
            x = found[above]
            raws.append(None if x is None or isinstance(x, SymbolicZero) or not is_inexact(t.dtype)
                        else self.typed(x, t, *label(path)))
        return raws

    def typed(self, x: Any, want: ArrayType, label: str, wanted: str) -> Any:
        if not is_array_like(x):
            raise TypeError(f"{self.what}: {label} that is no array: {type(x).__name__} {x!r:.40}")
        raw = raw_leaf(x)
        if weak_of(x) and raw.dtype != want.dtype:
            raw = ops.convert(raw, dtype=want.dtype)
        self.check(label, type_of(raw), want, wanted)
        return raw


def _part(t: ArrayType, what: str) -> Any:
    return t.shape if what == "shape" else dtype_name(t.dtype)


def _first(path: Any) -> str:
    return str(path[0].idx) if path and isinstance(path[0], SequenceKey) else "0"


def zero_of(t: ArrayType, symbolic: bool) -> Any:
    """A zero tangent or cotangent as a rule gets it; None for what has none."""
    if not is_inexact(t.dtype):
        return None
    return SymbolicZero(t.shape, t.dtype) if symbolic else wrap(ops.zeros(t.shape, t.dtype))


def _is_operand(x: Any) -> bool:
    """Arrays are operands; Python numbers are constants, which rules may look at."""
    return type(x) not in SCALARS and isinstance(x, (Array, Tracer, np.ndarray, np.generic))


def describe(fun: Callable[..., Any], kind: str) -> str:
    return f"{kind} {name_of(fun)}"
