"""What jit keeps: entries under keys, least recently used first, and why each was made."""

from __future__ import annotations

import functools
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from lucidfn.api.outputs import Outputs
from lucidfn.array import Array
from lucidfn.config import Settings, settings
from lucidfn.core.ir import Program
from lucidfn.passes.rewrite import literal_key
from lucidfn.types import SCALARS, ArrayType

REASONS = 256  # retraces that `explain` remembers


class CacheInfo(NamedTuple):
    """Calls that found a program, calls that made one, the bound, and how many are kept."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


@dataclass(eq=False, repr=False)
class Entry:
    """One recorded and compiled form of a function."""

    key: Any
    program: Program
    hidden: tuple[int, ...]      # which hidden arrays follow the arguments
    baked: tuple[tuple[int, Any], ...]  # hidden arrays whose values the trace has used
    outputs: Outputs
    donated: tuple[int, ...] = ()
    compiled: dict[Any, Any] = field(default_factory=dict)  # by backend; keeps donated buffers
    reusing: dict[tuple[int, ...], Any] = field(default_factory=dict)  # overwrites these inputs
    copies: dict[int, Any] = field(default_factory=dict)  # of captured arrays, on another device
    path: Any = None             # of a guarded function (api/guards.py)
    outer: Sequence[Any] = ()    # traced values the function reads from elsewhere: inputs in front


class Cache:
    """Programs of one piece of code, least recently used first."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self.hits = self.misses = 0
        self.last: Entry | None = None
        self.reasons: deque[str] = deque(maxlen=REASONS)
        self.paths: dict[Any, list[Any]] = {}  # of guarded functions: see api/guards.py
        self.warned = False
        self.lock = threading.Lock()  # hashing a key runs Python: other threads get their turn

    def known(self) -> list[Hashable]:
        """What programs are kept under, least recently used first."""
        with self.lock:
            return list(self.entries)

    def find(self, key: Any) -> Entry | None:
        last = self.last
        if last is not None and last.key == key:
            return last
        with self.lock:
            entry = self.entries.get(key)
            if entry is not None:
                self.entries.move_to_end(key)
                self.last = entry
        return entry

    def keep(self, entry: Entry) -> None:
        with self.lock:
            self.entries[entry.key] = self.last = entry
            while len(self.entries) > settings().jit_cache_size:
                self.entries.popitem(last=False)

    def clear(self) -> None:
        with self.lock:
            self.entries.clear()
        self.last = None
        self.paths.clear()
        self.hits = self.misses = 0
        self.reasons.clear()


# Fresh closures of one code object share their programs. The code objects are kept alive.
_shared: OrderedDict[Any, tuple[Any, Cache]] = OrderedDict()
_SHARED = 1024  # caches that are kept for functions still to be made; oldest go first
_living: WeakSet[Cache] = WeakSet()


def _renew_locks() -> None:
    """In a forked child: a thread that held a lock is not there to let go of it."""
    for cache in list(_living):
        cache.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def cache_of(fun: Any, options: tuple[Any, ...]) -> Cache:
    """The cache of all functions made from one code object with the same options.

    A callable object has a cache of its own, which dies with the jitted function: what the object
    holds, such as the weights of a layer, must not stay alive for functions still to be made.
    """
    while isinstance(fun, functools.partial):
        fun = fun.func
    code, cache = getattr(fun, "__code__", None), Cache()
    if code is not None:
        cache = _shared.setdefault((id(code), *options), (code, cache))[1]
        while len(_shared) > _SHARED:
            _shared.popitem(last=False)
    _living.add(cache)
    return cache


def clear_caches() -> None:
    """Forget every compiled program."""
    for cache in list(_living):
        cache.clear()


class Key(NamedTuple):
    """What a program is kept under.

    `kinds` has for each leaf of the arguments its shape, dtype and weakness, or, for what is no
    array, ("static", key of the value).
    """

    treedef: Any
    kinds: tuple[Any, ...]
    static: Hashable
    closure: Hashable
    settings: Settings


def static_key(value: Any) -> Hashable:
    """A static value as part of a key: its type, itself, and what else tells it from its equals.

    1, 1.0 and True are equal, and so are 0.0 and -0.0, but programs made for them differ; also
    inside tuples, sets and dataclasses.
    """
    kind = type(value)
    if kind in SCALARS:
        return kind, literal_key(value)
    parts: Sequence[Any] = ()
    if isinstance(value, tuple):
        parts = value
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, f.name) for f in fields(value) if f.compare]
    key: tuple[Any, ...] = (kind, value, *map(static_key, parts))
    if isinstance(value, frozenset):
        key = (*key, frozenset(map(static_key, value)))
    try:
        hash(key)
    except TypeError:  # parts that the object's own hash leaves out; or the object has no hash
        return kind, value
    return key


def hide(program: Program, hidden: Sequence[Any]) -> tuple[Program, tuple[int, ...]]:
    """Turn those constants that came from the closure into inputs after the arguments."""
    if not hidden or not program.consts:
        return program, ()
    inputs, used, consts = list(program.inputs), [], {}
    for var, value in program.consts.items():
        at = next((i for i, x in enumerate(hidden) if same_array(value, x)), None)
        if at is None:
            consts[var] = value
        else:
            inputs.append(var)
            used.append(at)
    names = (*program.names, *[""] * len(used)) if program.names else ()
    return Program(inputs, program.equations, program.outputs, consts, names), tuple(used)


def same_array(raw: Any, x: Any) -> bool:
    """Whether a raw constant is the value of a closed-over array, or a view of all of it."""
    value = x.value if type(x) is Array else x
    if raw is value or type(raw) is not np.ndarray or type(value) is not np.ndarray:
        return raw is value
    owner = value if value.base is None else value.base
    return (raw.base is owner and raw.shape == value.shape and raw.strides == value.strides
            and raw.dtype == value.dtype and raw.ctypes.data == value.ctypes.data)


def differences(new: Key, old: Key, names: Sequence[str]) -> list[str]:
    """What keeps a program for one key from serving another, in the user's words."""
    found = []
    if new.treedef != old.treedef:
        found.append("the arguments have another structure")
    elif len(new.kinds) == len(old.kinds):
        for i, (a, b) in enumerate(zip(new.kinds, old.kinds, strict=True)):
            if a != b:
                name = names[i] if i < len(names) else f"leaf {i}"
                found.append(f"argument `{name}` is {_kind_text(a)}, was {_kind_text(b)}")
    if new.static != old.static:
        found.append("a static argument changed")
    if new.closure != old.closure:
        found.append("what the function closes over changed")
    if new.settings != old.settings:
        found.append("the configuration changed")
    return found


def _kind_text(kind: tuple[Any, ...]) -> str:
    if len(kind) == 3:
        return str(ArrayType(*kind))
    scalar, value, *_ = kind[1]
    if scalar in SCALARS:
        value = value[1]  # of literal_key
    return f"the static {scalar.__name__} {value!r:.40}"
