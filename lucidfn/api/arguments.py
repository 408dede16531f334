"""Arguments of transformed functions: leaves in and out, names for them, which are meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn.array import Array, is_array_like, typeof, unwrap, weak_of, wrap
from lucidfn.core.trace import Tracer
from lucidfn.tree import flatten, leaves_with_path, unflatten
from lucidfn.tree_util import keystr
from lucidfn.types import SCALARS, default_dtype_of, is_inexact


def name_of(fun: Callable[..., Any]) -> str:
    """What the user calls the function."""
    return getattr(fun, "__qualname__", None) or getattr(
        getattr(fun, "func", None), "__qualname__", None) or type(fun).__name__


def check_function(fun: Any, what: str) -> None:
    """TypeError for what cannot be called, such as the value of a function."""
    if not callable(fun):
        called = f", not lf.{what}(f(x))" if is_array_like(fun) else ""
        raise TypeError(f"{what} needs a function, got {describe_leaf(fun)}; pass the function "
                        f"itself and then its arguments: lf.{what}(f)(x){called}")


def signature_of(fun: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fun)
    except (TypeError, ValueError):
        return None


def parameter_names(fun: Callable[..., Any], count: int) -> list[str]:
    """Names of the first positional parameters; `args[i]` beyond what the signature says."""
    signature = signature_of(fun)
    names: list[str] = []
    if signature is not None:
        for p in signature.parameters.values():
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(p.name)
            elif p.kind is p.VAR_POSITIONAL:
                names += [f"{p.name}[{i}]" for i in range(count - len(names))]
    return (names + [f"args[{i}]" for i in range(len(names), count)])[:count]


def leaf_names(fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """A name such as `params['w1']` for each leaf of the arguments, in the order of flatten."""
    names = []
    for name, arg in zip(parameter_names(fun, len(args)), args, strict=True):
        names += [name + keystr(path) for path, _ in leaves_with_path(arg)]
    for name in sorted(kwargs):
        names += [name + keystr(path) for path, _ in leaves_with_path(kwargs[name])]
    return names


def raw_leaf(x: Any) -> Any:
    """A leaf as a raw array or tracer: scalars become 0-d arrays."""
    if type(x) is Array:
        return x.value
    if isinstance(x, Tracer):
        return x
    raw = unwrap(x)
    return np.asarray(raw, default_dtype_of(type(raw))) if type(raw) in SCALARS else raw


def flatten_arrays(tree: Any) -> tuple[list[Any], list[bool], list[bool], list[Any], Any]:
    """(raw leaves, weak, differentiable, leaves as they were, structure) of a tree of arguments.

    A leaf that is no array (a string, a function) stays as it is and is not differentiable.
    """
    leaves, treedef = flatten(tree)
    raws, weaks, moving = [], [], []
    for x in leaves:
        if is_array_like(x):
            raw = raw_leaf(x)
            raws.append(raw)
            weaks.append(weak_of(x))
            moving.append(is_inexact(raw.dtype))
        else:
            raws.append(x)
            weaks.append(False)
            moving.append(False)
    return raws, weaks, moving, leaves, treedef


class Selected:
    """Which arguments a transformation is about: positions, and names of keywords."""

    def __init__(self, fun: Callable[..., Any], argnums: int | Sequence[int] | None,
                 argnames: str | Sequence[str] | None, what: str):
        self.fun, self.what = fun, what
        if argnums is None and argnames is None:
            argnums = 0
        self.single = isinstance(argnums, int) and argnames is None
        self.nums = () if argnums is None else (
            (argnums,) if isinstance(argnums, int) else tuple(argnums))
        self.names = () if argnames is None else (
            (argnames,) if isinstance(argnames, str) else tuple(argnames))
        if any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) for n in self.nums):
            raise TypeError(f"{what}: argnums must be integers, got {argnums!r}")
        self.name_single = isinstance(argnames, str) and not self.nums

    # By what is selected: gradients of fresh functions with the same code are alike to jit.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selected) and self.options() == other.options()

    def __hash__(self) -> int:
        return hash(self.options())

    def options(self) -> tuple[Any, ...]:
        return self.what, self.nums, self.names, self.single, self.name_single

    def pick(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        """The selected arguments, and a function that puts others in their places."""
        if self.single and not self.names:
            n = self.nums[0]
            if not -len(args) <= n < len(args):
                raise self.missing(n, args)
            n = n % len(args)
            return (args[n],), lambda new: ((*args[:n], new[0], *args[n + 1:]), kwargs)
        positions = []
        for n in self.nums:
            if not -len(args) <= n < len(args):
                raise self.missing(n, args)
            positions.append(n % len(args))
        if len(set(positions)) < len(positions):
            raise ValueError(f"{self.what}: argnums={self.nums} names an argument twice")
        keys: list[str | None] = []
        for name in self.names:
            if name in kwargs:
                keys.append(name)
            elif (at := self.position(name, len(args))) is not None:
                positions.append(at)
                keys.append(None)
            else:
                raise TypeError(f"{self.what} of {name_of(self.fun)}: argnames={name!r} was not "
                                f"passed; the call has {len(args)} positional arguments and the "
                                f"keywords {sorted(kwargs)}")
        spots: list[Any] = [*positions[:len(self.nums)]]
        rest = iter(positions[len(self.nums):])
        spots += [next(rest) if k is None else k for k in keys]

        def put(new: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            changed, named = list(args), dict(kwargs)
            for spot, value in zip(spots, new, strict=True):
                if isinstance(spot, str):
                    named[spot] = value
                else:
                    changed[spot] = value
            return tuple(changed), named

        return tuple(kwargs[s] if isinstance(s, str) else args[s] for s in spots), put

    def position(self, name: str, count: int) -> int | None:
        names = parameter_names(self.fun, count)
        return names.index(name) if name in names else None

    def missing(self, n: int, args: tuple[Any, ...]) -> TypeError:
        return TypeError(f"{self.what} of {name_of(self.fun)}: argnums={n}, but the call has "
                         f"{len(args)} positional argument{'s' * (len(args) != 1)} (arguments "
                         "passed by keyword are selected with argnames)")

    def labels(self, args: tuple[Any, ...]) -> list[str]:
        names = parameter_names(self.fun, len(args))
        return [names[n] for n in self.nums if -len(args) <= n < len(args)] + list(self.names)

    def result(self, trees: tuple[Any, ...]) -> Any:
        return trees[0] if self.single or self.name_single else trees


def output_leaf(x: Any, what: str) -> Any:
    """A leaf that a user's function returned, raw; scalars become arrays."""
    if not is_array_like(x) and not isinstance(x, (list, tuple)):
        raise TypeError(f"{what} returned {type(x).__name__} {x!r:.60}, which is not an array")
    return raw_leaf(x)


def rebuild(treedef: Any, raws: Sequence[Any], weaks: Sequence[bool] | None = None) -> Any:
    """A user's tree from raw leaves; None stays None."""
    if weaks is None:
        return unflatten(treedef, [wrap(x) for x in raws])
    return unflatten(treedef, [wrap(x, w) for x, w in zip(raws, weaks, strict=True)])


def describe_leaf(x: Any) -> str:
    return str(typeof(x)) if is_array_like(x) else f"{type(x).__name__} {x!r:.40}"
