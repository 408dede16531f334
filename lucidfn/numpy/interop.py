"""NumPy functions called on tracers: `np.sin(x)` and `np.sum(x)` do what `lnp` does.

Only tracers take part. A concrete `Array` becomes an ndarray by `__array__`, so that libraries
built on NumPy work; binary operators with an ndarray give an `Array`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lucidfn.core.source import describe_line, here

namespace: Mapping[str, Any] = {}  # of lucidfn.numpy; filled when the methods are installed

_REDUCE = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min",
           "logical_and": "all", "logical_or": "any"}
_ACCUMULATE = {"add": "cumsum", "multiply": "cumprod"}


def array_ufunc(x: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """`np.add(a, tracer)`, `np.add.reduce(tracer)` and the like."""
    name = ufunc.__name__
    refuse_options(f"np.{name}", options, ("axis", "keepdims", "dtype", "initial"))
    if method == "__call__":
        if options:
            raise TypeError(f"np.{name} on traced arrays takes no {' or '.join(options)}; use "
                            f"lnp.{name}")
        return find(name, f"np.{name}")(*inputs)
    if method == "reduce" and name in _REDUCE:
        options.setdefault("axis", 0)
        return find(_REDUCE[name], f"np.{name}.reduce")(*inputs, **options)
    if method == "accumulate" and name in _ACCUMULATE:
        options.setdefault("axis", 0)
        return find(_ACCUMULATE[name], f"np.{name}.accumulate")(*inputs, **options)
    if method == "outer" and not options:
        a, b = map(find("asarray", "np.asarray"), inputs)
        return find(name, f"np.{name}.outer")(a.reshape(a.shape + (1,) * b.ndim), b)
    if method == "at":
        raise TypeError(f"np.{name}.at writes into its argument, which a traced array does not "
                        "allow; use x = x.at[index].add(value), or another method of .at")
    raise TypeError(f"np.{name}.{method} does not work on traced arrays ({x.type} at "
                    f"{describe_line(here())})")


def array_function(x: Any, function: Callable[..., Any], types: Any, args: Any,
                   options: Mapping[str, Any]) -> Any:
    """`np.sum(tracer)`, `np.stack([tracer, ...])` and the like."""
    module = getattr(function, "__module__", "") or "numpy"
    name = f"{module.removeprefix('numpy').lstrip('.')}.{function.__name__}".lstrip(".")
    options = dict(options)
    refuse_out(f"np.{name}", options)
    return find(name, f"np.{name}")(*args, **options)


def refuse_out(name: str, options: dict[str, Any]) -> None:
    out = options.pop("out", None)
    if any(o is not None for o in (out if isinstance(out, tuple) else (out,))):
        raise TypeError(f"{name} at {describe_line(here())} would write a traced array into an "
                        "ndarray (`out=`, or an in-place operator such as a += x); make a new "
                        "array: a = a + x")


def refuse_options(name: str, options: dict[str, Any], allowed: tuple[str, ...]) -> None:
    refuse_out(name, options)
    if options.pop("where", True) is not True:
        raise TypeError(f"{name} on traced arrays takes no where=; use lnp.where(condition, "
                        "result, other)")
    for key in ("casting", "order", "subok", "signature"):
        options.pop(key, None)
    unknown = [k for k in options if k not in allowed]
    if unknown:
        raise TypeError(f"{name} on traced arrays takes no {unknown[0]}=")


def find(name: str, numpy_name: str) -> Callable[..., Any]:
    """The function of lucidfn.numpy of this name; TypeError that says so where there is none."""
    found: Any = namespace
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
        if found is None:
            raise TypeError(
                f"{numpy_name} at {describe_line(here())} was called on a traced array, and "
                f"lucidfn.numpy has no {name}. Write it with functions of lucidfn.numpy; or, if no "
                f"derivative is needed, call {numpy_name} on np.asarray(lf.stop_gradient(x)).")
    return found


__all__ = ["array_function", "array_ufunc", "namespace"]
