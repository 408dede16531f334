"""`jit`: record a function once for each kind of arguments, optimise, compile, keep.

A call that finds its program does nothing but flatten, look up, run, unflatten.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from lucidfn.api.arguments import (
    check_function,
    name_of,
    raw_leaf,
)
from lucidfn.api.cache import (
    CacheInfo,
    Entry,
    Key,
    cache_of,
    differences,
    hide,
    same_array,
    static_key,
)
from lucidfn.api.closure import Closure, has_state
from lucidfn.api.dispatch import make_guard
from lucidfn.api.inspect import is_traced_leaf
from lucidfn.api.lowering import Lowered
from lucidfn.api.memory import Memory
from lucidfn.api.options import Options, as_names, as_positions, check_names
from lucidfn.api.outputs import Outputs
from lucidfn.array import Array, Donated, check_library, weak_of
from lucidfn.config import Settings, settings
from lucidfn.control.call import call
from lucidfn.control.custom import take_tracers
from lucidfn.core.axes import axes_key, named_axes
from lucidfn.core.collector import collector_paused
from lucidfn.core.ir import Program
from lucidfn.core.record import RecordTrace, stage
from lucidfn.core.source import describe_line, here
from lucidfn.core.trace import Backend, Tracer, backend_for, current, eval_trace
from lucidfn.passes.key_reuse import consume_by_program, report_key_reuse
from lucidfn.tree import flatten, unflatten
from lucidfn.types import (
    SCALARS,
    ArrayType,
    ShapeDtypeStruct,
    default_dtype_of,
)

_REUSING_KEPT = 4  # forms of one program that overwrite different inputs


class JitFunction:
    """A function that runs compiled. Made by `jit`."""

    kind = "jit"
    outputs_type = Outputs
    guarded: Any = None  # the class for `python_control_flow` (api/guards.py puts it here)

    def __init__(self, fun: Callable[..., Any], static_argnums: tuple[int, ...],
                 static_argnames: tuple[str, ...], donate_argnums: tuple[int, ...],
                 donate_argnames: tuple[str, ...]):
        # The attributes of a function; those of another object could hide methods.
        functools.update_wrapper(self, fun, updated=("__dict__",) * inspect.isfunction(fun))
        self.fun, self.closure = fun, Closure(fun)
        self.name = name_of(fun)
        self.options = Options(fun, f"{self.kind} of {self.name}", static_argnums, static_argnames,
                               donate_argnums, donate_argnames)
        # Of `grad(f)` too: otherwise all gradients had one cache, and one history to explain.
        inner = getattr(inspect.unwrap(fun), "__code__", None)
        self.cache = cache_of(fun, (type(self), inner, *self.options.values()))
        self.quick: Any = None  # the last entry, the guard of its arguments, the closure it saw

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        config = settings()
        if config.disable_jit:
            return self.fun(*args, **kwargs)
        named = named_axes.get()  # collectives make programs depend on these
        quick = None if kwargs or named else self.find_quickly(args, config)
        if quick is not None:
            entry, raws, leaves, backend = quick
        else:
            entry, raws, leaves, _ = self.lookup(args, kwargs, config)
            backend = backend_for(raws, entry.program)
            plain = not (kwargs or named or self.options.has_static or entry.baked)
            if plain and entry is self.cache.last:
                self.quick = entry, make_guard(args), self.closure.known, backend
        if entry.donated and current.get() is eval_trace:
            return self.run_donating(entry, raws, leaves, backend)
        return self.run(entry, raws, backend)

    def find_quickly(self, args: tuple[Any, ...], config: Settings) -> Any:
        """(entry, raw inputs, leaves, backend) if this call is like the last one, else None."""
        quick = self.quick  # read once: another thread may put a new one in its place
        if quick is None:
            return None
        entry, guard, known, backend = quick
        last: Any = self.cache.last
        if guard is None or entry.key.settings is not config or entry is not last:
            return None
        found = guard(args)
        if found is None or known is None or self.closure.read() is not known:
            return None
        self.cache.hits += 1
        raws, leaves = found
        if entry.hidden:
            raws += [raw_leaf(known[1][i]) for i in entry.hidden]
        return entry, raws, leaves, backend

    def run(self, entry: Entry, raws: list[Any], backend: Backend, given: bool = False) -> Any:
        """`given`: the backend may empty the list, and use the memory of what nobody else holds."""
        traced = current.get() is not eval_trace or bool(entry.outer or named_axes.get())
        if not traced:
            for x in raws:
                if isinstance(x, Tracer):
                    traced = True
                    break
        if traced:
            outs = call(*entry.outer, *raws, program=entry.program, name=self.name)
        else:
            if settings().key_reuse == "error":
                consume_by_program(entry.program, raws)
            if entry.hidden and backend.device != "cpu":
                follow(entry, raws, backend)
            compiled = entry.compiled.get(backend)
            if compiled is None:
                compiled = entry.compiled[backend] = backend.compile(entry.program)
            outs = backend.call(compiled, raws, given) if given else backend.call(compiled, raws)
        return entry.outputs.rebuild(outs)

    # ------------------------------------------------------------------ lookup

    def lookup(self, args: tuple[Any, ...], kwargs: dict[str, Any],
               config: Settings) -> tuple[Entry, list[Any], list[Any], Key]:
        """The entry for a call, its raw inputs, and the leaves of the arguments."""
        key, raws, leaves, hidden = self.keyed(args, kwargs, config)
        try:
            entry = self.cache.find(key)
        except TypeError as error:
            raise self.unhashable(args, kwargs, leaves, key.static, error) from None
        if entry is not None and any(hidden[i] is not x for i, x in entry.baked):
            entry = None
        if entry is None:
            self.cache.misses += 1
            entry = self.trace(key, args, kwargs, leaves, hidden)
        else:
            self.cache.hits += 1
        if entry.hidden:
            raws += [raw_leaf(hidden[i]) for i in entry.hidden]
        return entry, raws, leaves, key

    def keyed(self, args: tuple[Any, ...], kwargs: dict[str, Any],
              config: Settings) -> tuple[Key, list[Any], list[Any], list[Any]]:
        """The key of a call, its raw inputs, the leaves of the arguments, the hidden arrays."""
        static: Hashable = ()
        dynamic, named = args, kwargs
        if self.options.has_static:
            dynamic, named, static = self.options.split(args, kwargs)
        leaves, treedef = flatten((dynamic, named))
        raws: list[Any] = []
        kinds: list[Any] = []
        objects = [x for x in (*args, *kwargs.values()) if self.options.has_static and has_state(x)]
        for x in leaves:
            kind = type(x)
            if kind is Array:
                raw = x.value
                kinds.append((raw.shape, raw.dtype, x.weak))
                raws.append(raw)
            else:
                self.key_of(x, kinds, raws)
                if has_state(x):
                    objects.append(x)
        closure, hidden = self.closure.read()
        if objects:  # their attributes can change, and arrays among them are inputs
            seen, more = self.closure.read_objects(objects)
            static, hidden = (static, seen), [*hidden, *more]
        if named_axes.get():
            static = static, axes_key()
        return Key(treedef, tuple(kinds), static, closure, config), raws, leaves, hidden

    @staticmethod
    def key_of(x: Any, kinds: list[Any], raws: list[Any]) -> None:
        """Add the key of a leaf that is no Array; and its raw value if it is traced."""
        kind = type(x)
        if kind in SCALARS and kind is not bool:
            dtype = default_dtype_of(kind)
            kinds.append(((), dtype, True))
            raws.append(np.asarray(x, dtype))
        elif isinstance(x, ShapeDtypeStruct):
            kinds.append(tuple(x.type))
            raws.append(x)
        elif is_traced_leaf(x):
            raw = raw_leaf(x)
            kinds.append((raw.shape, raw.dtype, weak_of(x)))
            raws.append(raw)
        else:
            check_library(x)
            kinds.append(("static", static_key(x)))

    def unhashable(self, args: Any, kwargs: Any, leaves: Any, static: Any,
                   error: Exception) -> TypeError:
        for name, x in zip(self.options.leaf_names(args, kwargs), leaves, strict=False):
            if not is_traced_leaf(x):
                try:
                    hash(x)
                except TypeError:
                    return TypeError(
                        f"{self.kind} of {self.name}: argument `{name}` is {type(x).__name__} "
                        f"{x!r:.60}: neither an array nor hashable. Register its class as a pytree "
                        "(lf.tree_util.register_dataclass), or make it hashable (a frozen "
                        "dataclass) to have it static.")
        return TypeError(f"{self.kind} of {self.name}: {error}")

    # ------------------------------------------------------------------ tracing

    def trace(self, key: Key, args: tuple[Any, ...], kwargs: dict[str, Any],
              leaves: list[Any], hidden: list[Any], raws: Sequence[Any] | None = None) -> Entry:
        """Record the function for this key, and keep the result if it holds no outer tracer."""
        self.cache.reasons.append(self.reason(key, args, kwargs))
        names = self.options.leaf_names(args, kwargs)
        traced = [is_traced_leaf(x) for x in leaves]
        types = [ArrayType(*k) for k, t in zip(key.kinds, traced, strict=True) if t]
        outputs = self.outputs_type()

        def flat(*raws: Any) -> list[Any]:
            values = iter(raws)
            filled = [next(values) if t else x
                      for x, t in zip(leaves, traced, strict=True)]
            a, k = self.options.joined(unflatten(key.treedef, filled), args, kwargs)
            return outputs.take(self.fun(*a, **k), self.name)

        trace = RecordTrace(f"{self.kind} of {self.name}",
                            [n for n, t in zip(names, traced, strict=True) if t])
        with collector_paused(), stage(trace):
            program = self.recorded(trace, flat, types, raws)
        if current.get() is eval_trace:  # inner functions are seen with the outermost one
            report_key_reuse(program, stacklevel=4)
        program, used = hide(program, hidden)
        baked = tuple((i, x) for i, x in enumerate(hidden)
                      if any(same_array(b, x) for b in trace.baked))
        donated = self.options.donated_leaves(args, kwargs, traced)
        outer, program = take_tracers(program)
        key = key._replace(closure=self.closure.after_tracing(key.closure, hidden))
        entry = Entry(key, program, used, baked, outputs, donated, outer=outer)
        if not outer:
            self.keep(entry, trace)
        return entry

    def recorded(self, trace: RecordTrace, flat: Callable[..., Any], types: Sequence[ArrayType],
                 raws: Sequence[Any] | None) -> Program:
        """The program of a function of raw values."""
        return trace.finish(flat(*[trace.new_input(t) for t in types]))

    def keep(self, entry: Entry, trace: RecordTrace) -> None:
        """Keep an entry for later calls."""
        self.cache.keep(entry)

    def reason(self, key: Key, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Why no kept program fits: the difference from the most similar one."""
        if not self.cache.entries:
            return f"{self.name}: first call"
        names = self.options.leaf_names(args, kwargs)
        best: list[str] | None = None
        for other in self.cache.known():
            found = differences(key, other, names)  # type: ignore[arg-type]
            if best is None or len(found) < len(best):
                best = found
        return f"{self.name}: " + ("; ".join(best or []) or "a captured array changed whose value "
                                   "was used while tracing")

    # ------------------------------------------------------------------ donation

    def run_donating(self, entry: Entry, raws: list[Any], leaves: list[Any],
                     backend: Backend) -> Any:
        """Run a call that gives up some arrays; their buffers are reused if nobody else holds them.

        The arrays are marked before anything is overwritten, so that they are never half new.
        """
        arrays = [x for x in leaves if is_traced_leaf(x)]
        del leaves
        given = [(i, arrays[i]) for i in entry.donated if type(arrays[i]) is Array]
        # Two arrays may share one buffer, as equal outputs of one call do: then it is not reused.
        ids = [id(x) for _, x in given]
        if len(set(ids)) < len(ids):
            raise ValueError(f"jit of {self.name}: one array is donated twice in a call; pass a "
                             "copy (lnp.copy) in one of the places")
        donated = set(entry.donated)
        kept = {id(x) for i, x in enumerate(arrays) if i not in donated}
        kept |= {id(x) for x in raws[len(arrays):]}  # those that the function reads by itself
        if any(id(x) in kept or id(x.value) in kept for _, x in given):
            raise ValueError(f"jit of {self.name}: a donated array is also passed as another "
                             "argument, or the function reads it by itself; pass a copy (lnp.copy) "
                             "in one of the places")
        del kept, arrays
        line = describe_line(here())
        for _, x in given:
            x.value = Donated(line, x.type)
        # Constants and equal results of the last call have other holders, and are not reused. One
        # reference is the list's, one the argument's of getrefcount.
        sole = tuple([i for i, _ in given if type(raws[i]) is np.ndarray and raws[i].base is None
                      and raws[i].flags.writeable and sys.getrefcount(raws[i]) == 2])
        if backend.device != "cpu" or not sole or any(isinstance(x, Tracer) for x in raws):
            return self.run(entry, raws, backend, given=backend.device != "cpu")
        compiled = entry.reusing.get(sole)
        if compiled is None:
            if len(entry.reusing) == _REUSING_KEPT:
                return self.run(entry, raws, backend)
            compiled = entry.reusing[sole] = backend.compile(entry.program, sole)
        return entry.outputs.rebuild(backend.call(compiled, raws))

    # ------------------------------------------------------------------ looking inside

    def entry(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entry, Backend]:
        """The entry of a call, and where it would run."""
        entry, raws, _, _ = self.lookup(args, kwargs, settings())
        return entry, backend_for(raws, entry.program)

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The recorded program for these arguments, before optimisation."""
        return self.entry(args, kwargs)[0].program

    def source(self, *args: Any, **kwargs: Any) -> str:
        """The Python text that runs for these arguments."""
        return self.lower(*args, **kwargs).compile().as_text()

    def memory(self, *args: Any, **kwargs: Any) -> Memory:
        """What a call with these arguments allocates, without running it: peak and timeline.

        Donated arrays count as overwritten, as they are if nothing else holds them.
        """
        entry, backend = self.entry(args, kwargs)
        compiled = backend.compile(entry.program, entry.donated)
        return Memory(self.name, backend.memory(compiled))

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """The function recorded for these arguments (arrays or ShapeDtypeStruct)."""
        return Lowered(self, *self.entry(args, kwargs))

    trace_for = lower

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The output tree with a ShapeDtypeStruct for each array."""
        return self.lower(*args, **kwargs).out_info

    def cache_info(self) -> CacheInfo:
        """Hits, misses, bound and size of the cache."""
        return CacheInfo(self.cache.hits, self.cache.misses, settings().jit_cache_size,
                         len(self.cache.entries))

    def clear_cache(self) -> None:
        """Forget the programs of this function."""
        self.cache.clear()
        self.quick = None

    def explain(self) -> str:
        """Why each recorded program was recorded, oldest first."""
        return "\n".join(self.cache.reasons) or f"{self.name}: not called yet"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        """By name where a module holds it (a decorated function), else made anew from `fun`."""
        found: Any = sys.modules.get(self.__module__)
        for name in self.name.split("."):
            found = getattr(found, name, None)
        if found is self:
            return self.name
        return type(self), (self.fun, *self.options.values())

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.name}>"


def follow(entry: Entry, raws: list[Any], backend: Backend) -> None:
    """Move captured arrays to the device of a call: each is copied once, and the copy is kept.

    A NumPy array may change between the calls, and is left to be copied at each.
    """
    for place in range(len(raws) - len(entry.hidden), len(raws)):
        raw = raws[place]
        if type(raw) is np.ndarray and raw.shape and (raw.flags.writeable or raw.base is None):
            kept, copy, device = entry.copies.get(place, (None, None, None))
            if kept is not raw or device is not backend:
                copy = backend.asarray(raw, None)
                entry.copies[place] = raw, copy, backend
            raws[place] = copy


def jit(fun: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (), donate_argnums: int | Sequence[int] = (),
        donate_argnames: str | Sequence[str] = (), inline: bool = False,
        keep_unused: bool = False, python_control_flow: bool = False) -> Any:
    """Compile `fun`: it is recorded for each new structure, shape and dtype of its arguments.

    Arrays and numbers are traced; strings, bools, None, functions and other hashable leaves are
    static: part of the program. `static_argnums`/`static_argnames` make whole arguments static.
    Donated arguments may be overwritten: using them after the call raises DonatedArrayError.
    Usable as `@jit` and as `@jit(static_argnames="n")`. The result has `program(...)`,
    `source(...)`, `memory(...)`, `explain()`, `cache_info()`, `clear_cache()`,
    `lower(...).compile()` and `eval_shape(...)`. `inline` and `keep_unused` are accepted; calls are
    always inlined.

    With `python_control_flow=True`, Python `if`, `while` and `range` may depend on traced values:
    they are read while the function is recorded, and each way through the control flow is a program
    of its own, which is taken when its conditions hold. This suits a few ways that are taken often;
    beyond 64 the oldest are dropped, with a warning. Called with traced arguments (inside another
    transformation) the function runs as if it were not jitted; put `jit` outermost:
    `jit(grad(f), python_control_flow=True)`.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> f = lf.jit(lambda x: lnp.sin(x) ** 2)
    >>> float(f(0.0))
    0.0
    """
    if fun is None:
        return functools.partial(jit, static_argnums=static_argnums,
                                 static_argnames=static_argnames, donate_argnums=donate_argnums,
                                 donate_argnames=donate_argnames,
                                 python_control_flow=python_control_flow)
    check_function(fun, "jit")
    nums = as_positions(static_argnums, "jit: static_argnums")
    donated = as_positions(donate_argnums, "jit: donate_argnums")
    names, given = as_names(static_argnames), as_names(donate_argnames)
    check_names(fun, names + given)
    kind = JitFunction.guarded if python_control_flow else JitFunction
    return kind(fun, nums, names, donated, given)
