"""Looking at values while a program runs, calling back into Python, and checking modes.

    from lucidfn import debug
    debug.print("step {i}: loss {loss:.3f}", i=i, loss=loss)      # also under jit, grad and vmap
    with lf.debug_nans(): ...                                     # raise at the first NaN

Programs run in order, so that prints and callbacks are always ordered.
"""

from __future__ import annotations

import builtins
import pdb
import string
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from lucidfn.api.arguments import name_of, raw_leaf
from lucidfn.array import is_array_like, typeof, wrap
from lucidfn.backends.devices import find_backend
from lucidfn.backends.transfers import counts
from lucidfn.config import Settings, override
from lucidfn.control import callback as primitives
from lucidfn.core.source import user_frame
from lucidfn.core.trace import Tracer, current, eval_trace
from lucidfn.tree import explain_mismatch, flatten, unflatten
from lucidfn.types import ArrayType, as_dtype, dtype_name

VMAP_METHODS = ("sequential", "expand_dims", "broadcast_all")


# ------------------------------------------------------------------ printing and calling back

def print(fmt: str, *args: Any, ordered: bool = False, skip_format_check: bool = False,
          **kwargs: Any) -> None:
    """Print `fmt.format(*args, **kwargs)` when the values are there: also under jit, grad and vmap.

    Under `vmap` one line for each lane, in order. Raises ValueError for arguments that the format
    does not use (unless `skip_format_check`), IndexError or KeyError for fields without an
    argument.

    >>> import lucidfn as lf
    >>> @lf.jit
    ... def f(x):
    ...     lf.debug.print("x = {x:.2f}", x=x)
    ...     return x * x
    >>> y = f(3.0)
    x = 3.00
    """
    if not isinstance(fmt, str):
        raise TypeError(f"debug.print takes a format string first, got {type(fmt).__name__}: "
                        'debug.print("x = {}", x)')
    if not skip_format_check:
        _check_fields(fmt, len(args), set(kwargs))

    def show(*positional: Any, **named: Any) -> None:
        builtins.print(fmt.format(*positional, **named))

    show.__qualname__ = "print"
    _observe(show, args, kwargs, _plain)


def callback(callback: Callable[..., Any], *args: Any, ordered: bool = False,
             **kwargs: Any) -> None:
    """Call `callback(*args, **kwargs)` with concrete arrays when they are there; returns nothing.

    Runs once for each evaluation, under `vmap` once for each lane, and is never optimised away.
    """
    if not callable(callback):
        raise TypeError(f"debug.callback takes a function first, got {type(callback).__name__}")
    _observe(callback, args, kwargs, wrap)


def breakpoint(**values: Any) -> None:
    """Stop in the debugger here; under jit, stop when the program gets here.

    There the variables of the function that are arrays (and `values`) have their run-time values,
    under their names. `sys.breakpointhook` is respected.
    """
    frame = user_frame()
    assert frame is not None
    local = {k: v for k, v in frame.f_locals.items() if k.isidentifier()}
    traced = current.get() is not eval_trace or any(isinstance(v, Tracer) for v in local.values())
    if not traced and not values:
        if sys.breakpointhook is sys.__breakpointhook__:
            pdb.Pdb().set_trace(frame)
        else:
            sys.breakpointhook()
        return
    shown = {k: v for k, v in {**local, **values}.items()
             if k in values or is_array_like(v)}
    _observe(_stop, (), shown, wrap)


def _stop(**values: Any) -> None:
    """A frame whose variables are the user's, with the debugger on it."""
    exec("import sys as _sys; _sys.breakpointhook()", values)


def _observe(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
             present: Callable[[Any], Any]) -> None:
    call, operands, name = _flat(function, args, kwargs, present)

    def look(*raws: Any) -> list[Any]:
        call(*raws)
        return []

    look.__name__ = name
    primitives.debug_callback(*operands, call=look, types=(), vectorized="sequential")


def _flat(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
          present: Callable[[Any], Any]) -> tuple[Callable[..., Any], list[Any], str]:
    """(the function of raw operands, the operands, its name); other leaves stay as they are."""
    leaves, treedef = flatten((args, kwargs))
    arrays = [is_array_like(x) for x in leaves]
    statics = [None if a else x for x, a in zip(leaves, arrays, strict=True)]

    def call(*raws: Any) -> Any:
        values = iter(raws)
        positional, named = unflatten(treedef, [
            present(next(values)) if a else x for x, a in zip(statics, arrays, strict=True)])
        return function(*positional, **named)

    operands = [raw_leaf(x) for x, a in zip(leaves, arrays, strict=True) if a]
    return call, operands, name_of(function)


def _plain(raw: Any) -> Any:
    """As str.format likes it: a NumPy scalar where there are no axes."""
    return np.asarray(raw)[()]


def _check_fields(fmt: str, count: int, names: set[str]) -> None:
    """Every field has an argument and every argument a field."""
    positions, named = _fields(fmt, [0])
    if positions and max(positions) >= count:
        raise IndexError(f"debug.print: the format {fmt!r} needs {max(positions) + 1} positional "
                         f"arguments, got {count}")
    if named - names:
        raise KeyError(f"debug.print: the format {fmt!r} names {sorted(named - names)}, which "
                       "were not passed")
    unused = [str(i) for i in range(count) if i not in positions] + sorted(names - named)
    if unused:
        raise ValueError(f"debug.print: the format {fmt!r} does not use the arguments {unused}; "
                         "put a field {} or {name} where each goes (and no f-string: it formats "
                         "at once)")


def _fields(fmt: str, counter: list[int]) -> tuple[set[int], set[str]]:
    positions: set[int] = set()
    named: set[str] = set()
    for _, field, spec, _ in string.Formatter().parse(fmt):
        if field is None:
            continue
        root = field.split(".")[0].split("[")[0]
        if not root:
            positions.add(counter[0])
            counter[0] += 1
        elif root.isdigit():
            positions.add(int(root))
        else:
            named.add(root)
        inner = _fields(spec or "", counter)
        positions |= inner[0]
        named |= inner[1]
    return positions, named


# ------------------------------------------------------------------ results from Python

def pure_callback(callback: Callable[..., Any], result_shape_dtypes: Any, *args: Any,
                  vmap_method: str | None = None, **kwargs: Any) -> Any:
    """What `callback(*args, **kwargs)` returns, as a traced value under transformations.

    `result_shape_dtypes` is a tree of `ShapeDtypeStruct` (or arrays) like the result. The function
    must be pure: it may be called more or less often than it is written. `vmap_method` says what
    `vmap` does: "sequential", "expand_dims" or "broadcast_all"; None refuses. It has no derivative.

    >>> import lucidfn as lf, numpy as np
    >>> shape = lf.ShapeDtypeStruct((), "float32")
    >>> float(lf.jit(lambda x: lf.pure_callback(np.square, shape, x))(3.0))
    9.0
    """
    if vmap_method is not None and vmap_method not in VMAP_METHODS:
        raise ValueError(f"pure_callback: vmap_method must be one of {VMAP_METHODS} or None, got "
                         f"{vmap_method!r}")
    return _results(primitives.pure_callback, callback, result_shape_dtypes, args, kwargs,
                    vmap_method or "")


def io_callback(callback: Callable[..., Any], result_shape_dtypes: Any, *args: Any,
                ordered: bool = False, **kwargs: Any) -> Any:
    """As `pure_callback` for a function with effects: called once for each time it is reached.

    >>> import lucidfn as lf, numpy as np
    >>> seen, shape = [], lf.ShapeDtypeStruct((), "float32")
    >>> def note(x):
    ...     seen.append(float(x))
    ...     return np.float32(len(seen))
    >>> float(lf.jit(lambda x: lf.io_callback(note, shape, x))(3.0)), seen
    (1.0, [3.0])
    """
    return _results(primitives.io_callback, callback, result_shape_dtypes, args, kwargs,
                    "sequential")


def _results(primitive: Any, callback: Callable[..., Any], structs: Any, args: tuple[Any, ...],
             kwargs: dict[str, Any], vectorized: str) -> Any:
    call, operands, name = _flat(callback, args, kwargs, wrap)
    leaves, treedef = flatten(structs)
    types = tuple([ArrayType(*typeof(x)[:2]) for x in leaves])

    def results(*raws: Any) -> list[Any]:
        out = call(*raws)
        found, structure = flatten(out)
        if structure != treedef:
            raise TypeError(f"the callback {name} returned another structure than "
                            "result_shape_dtypes: " + explain_mismatch(
                                structure, treedef, ("returned", "result_shape_dtypes")))
        return [np.asarray(x) for x in found]

    results.__name__ = name
    outs = primitive(*operands, call=results, types=types, vectorized=vectorized)
    return unflatten(treedef, [wrap(x) for x in outs])


# ------------------------------------------------------------------ copies between devices

def transfers() -> dict[str, int]:
    """How often what was copied between devices, in all: arrays "to gpu", values read "to cpu".

    Primitives that a device has no kernel for, and that ran on the CPU, count under their names.
    `lf.config.log_transfers = True` shows each, with the line that asked for it.

    >>> import lucidfn as lf
    >>> before = lf.debug.transfers()
    """
    return dict(sorted(counts.items()))


# ------------------------------------------------------------------ modes, for a `with` block

Context = AbstractContextManager[Settings]


def debug_nans(enable: bool = True) -> Context:
    """Raise FloatingPointNaNError at the first operation, forward or backward, that makes a NaN.

    The message names the operation, the user's line and the operands. Jitted functions are run
    operation by operation.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> with lf.debug_nans():
    ...     lnp.log(lnp.array(-1.0))
    Traceback (most recent call last):
    lucidfn.errors.FloatingPointNaNError: first NaN: log at ...
    """
    return override(debug_nans=enable)


def debug_infs(enable: bool = True) -> Context:
    """As `debug_nans`, for infinities too.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> with lf.debug_infs():
    ...     1.0 / lnp.array(0.0)
    Traceback (most recent call last):
    lucidfn.errors.FloatingPointNaNError: first NaN or inf: div at ...
    """
    return override(debug_infs=enable)


def debug_key_reuse(enable: bool = True) -> Context:
    """Raise KeyReuseError where a random key is used twice."""
    return override(key_reuse="error" if enable else "off")


def disable_jit(disable: bool = True) -> Context:
    """Run jitted functions as plain Python, so that print and debuggers see values.

    >>> import lucidfn as lf
    >>> @lf.jit
    ... def f(x):
    ...     print(type(x).__name__)
    ...     return 2.0 * x
    >>> with lf.disable_jit():
    ...     y = f(lf.numpy.array(1.0))
    Array
    """
    return override(disable_jit=disable)


def default_dtype(dtype: Any, *, int: Any = None) -> Context:
    """The dtype that Python floats and float functions of integers take; complex numbers follow.

    Integers keep their default unless `int` ("int32" or "int64") says otherwise.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> with lf.default_dtype("float64"):
    ...     lnp.sin(1.0).dtype.name
    'float64'
    """
    changes = {"default_float": dtype_name(as_dtype(dtype))}
    if int is not None:
        changes["default_int"] = dtype_name(as_dtype(int))
    return override(**changes)


def default_device(device: Any) -> Context:
    """The device on which new arrays are made: "cpu", "gpu" or "mlx:cpu".

    ValueError if there is no such device. Arrays that are there stay where they are.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> with lf.default_device("cpu"):
    ...     lnp.ones(2).device
    'cpu'
    """
    return override(default_device=find_backend(device).device)


__all__ = ["breakpoint", "callback", "debug_infs", "debug_key_reuse", "debug_nans",
           "default_device", "default_dtype", "disable_jit", "io_callback", "print",
           "pure_callback", "transfers"]


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
