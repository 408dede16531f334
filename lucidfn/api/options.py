"""Which arguments of a jitted function are static, and which are donated: by place or by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn.api.arguments import name_of, parameter_names, signature_of
from lucidfn.api.cache import static_key
from lucidfn.array import Array, typeof
from lucidfn.core.trace import Tracer
from lucidfn.tree import flatten, leaves_with_path
from lucidfn.tree_util import keystr


class Options:
    """The options of one function; `what` is what messages call it."""

    def __init__(self, fun: Callable[..., Any], what: str, static_argnums: tuple[int, ...],
                 static_argnames: tuple[str, ...], donate_argnums: tuple[int, ...] = (),
                 donate_argnames: tuple[str, ...] = ()):
        self.fun, self.what = fun, what
        self.static_argnums, self.static_argnames = both_ways(fun, static_argnums, static_argnames)
        self.donate_argnums, self.donate_argnames = both_ways(fun, donate_argnums, donate_argnames)
        self.has_static = bool(static_argnums or static_argnames)
        self.known_labels: dict[int, list[str]] = {}

    def values(self) -> tuple[Any, ...]:
        """The options alone: equal for equal options of fresh functions."""
        return (self.static_argnums, self.static_argnames, self.donate_argnums,
                self.donate_argnames)

    # ------------------------------------------------------------------ places and names

    def labels(self, count: int) -> list[str]:
        """What the user calls the positional arguments."""
        if count not in self.known_labels:  # looking at the signature takes longer than the call
            self.known_labels[count] = parameter_names(self.fun, count)
        return self.known_labels[count]

    def static_positions(self, args: tuple[Any, ...]) -> set[int]:
        """Which positional arguments of a call are static."""
        return self.positions(args, self.static_argnums, self.static_argnames)

    def positions(self, args: tuple[Any, ...], nums: Sequence[int],
                  names: Sequence[str]) -> set[int]:
        """The positional arguments of a call that options select, by number or by name."""
        count = len(args)
        return ({n % count for n in nums if -count <= n < count}
                | {i for i, label in enumerate(self.labels(count)) if label in names})

    def leaf_names(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """Names of the leaves of the arguments that are not static."""
        static = self.static_positions(args)
        found = []
        for i, (label, arg) in enumerate(zip(self.labels(len(args)), args, strict=True)):
            if i not in static:
                found += [label + keystr(p) for p, _ in leaves_with_path(arg)]
        for k in sorted(kwargs):
            if k not in self.static_argnames:
                found += [k + keystr(p) for p, _ in leaves_with_path(kwargs[k])]
        return found

    # ------------------------------------------------------------------ static

    def split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """(dynamic arguments, dynamic keywords, key of the static ones)."""
        nums = self.static_positions(args)
        dynamic = tuple(a for i, a in enumerate(args) if i not in nums)
        named = {k: v for k, v in kwargs.items() if k not in self.static_argnames}
        values = [(name, a) for i, (name, a) in enumerate(zip(self.labels(len(args)), args,
                                                              strict=True)) if i in nums]
        values += [(k, kwargs[k]) for k in sorted(kwargs) if k in self.static_argnames]
        for name, v in values:
            if isinstance(v, (Array, Tracer, np.ndarray)):
                raise TypeError(f"{self.what}: static argument `{name}` is an array "
                                f"({typeof(v)}); static arguments are Python values that are part "
                                "of the program. Pass it as an ordinary argument.")
            try:
                hash(v)
            except TypeError:
                raise TypeError(
                    f"{self.what}: static argument `{name}` is {type(v).__name__} "
                    f"{v!r:.60}, which is not hashable, so it cannot be part of the cache key. "
                    "Pass a tuple for a list, a frozen dataclass for a dict of options, or make "
                    "it an ordinary argument.") from None
        return dynamic, named, tuple([(name, static_key(v)) for name, v in values])

    def joined(self, dynamic: Any, args: tuple[Any, ...],
               kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """All arguments of a call: traced ones from `dynamic`, static ones as they came."""
        if not self.has_static:
            return dynamic
        a, k = dynamic
        nums = self.static_positions(args)
        values = iter(a)
        merged = [args[i] if i in nums else next(values) for i in range(len(args))]
        return merged, {**k, **{n: v for n, v in kwargs.items() if n in self.static_argnames}}

    # ------------------------------------------------------------------ donated

    def donated_leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any],
                       traced: Sequence[bool]) -> tuple[int, ...]:
        """Positions, among the traced leaves, of those that are donated."""
        if not (self.donate_argnums or self.donate_argnames):
            return ()
        static = self.static_positions(args)
        given = self.positions(args, self.donate_argnums, self.donate_argnames)
        flags: list[bool] = []
        for i, arg in enumerate(args):
            if i not in static:
                flags += [i in given] * len(flatten(arg)[0])
        for k in sorted(kwargs):
            if k not in self.static_argnames:
                flags += [k in self.donate_argnames] * len(flatten(kwargs[k])[0])
        positions, at = [], 0
        for flag, t in zip(flags, traced, strict=True):
            if t:
                if flag:
                    positions.append(at)
                at += 1
        return tuple(positions)


def both_ways(fun: Callable[..., Any], nums: tuple[int, ...],
              names: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Positions from the front, and the names of these parameters too: the caller may use either.

    Where the function takes `*args`, negative positions wait for the call.
    """
    if not nums:  # looking at the signature takes longer than the rest
        return (), tuple(dict.fromkeys(names))
    signature = signature_of(fun)
    parameters = [] if signature is None else list(signature.parameters.values())
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if all(p.kind is not p.VAR_POSITIONAL for p in parameters):
        nums = tuple([n + len(plain) if n < 0 <= n + len(plain) else n for n in nums])
    chosen = [plain[n] for n in nums if 0 <= n < len(plain)]
    more = [p.name for p in chosen if p.kind is p.POSITIONAL_OR_KEYWORD]
    return nums, tuple(dict.fromkeys((*names, *more)))


def as_positions(n: int | Sequence[int], what: str) -> tuple[int, ...]:
    """One position or several; TypeError if they are no integers."""
    found = (n,) if isinstance(n, int) else tuple(n)
    if not all(isinstance(i, int) for i in found):
        raise TypeError(f"{what} must be integers, got {n!r}")
    return found


def as_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several."""
    return (names,) if isinstance(names, str) else tuple(names)


def check_names(fun: Any, names: Sequence[str]) -> None:
    """ValueError for names of no parameter, which would be ignored in silence."""
    signature = signature_of(fun)
    if signature is None or any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return
    unknown = [n for n in names if n not in signature.parameters]
    if unknown:
        raise ValueError(f"jit of {name_of(fun)}: {unknown} are no parameters; it has "
                         f"{list(signature.parameters)}")
