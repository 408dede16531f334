"""`Array`, the immutable array users hold, and the border between users' values and raw ones.

Inside the library values are raw: ndarrays (or another backend's arrays), Python scalars, tracers.
`unwrap` brings what a user passes in; `wrap` gives back an `Array` or the tracer. Operators and
methods are installed by `lucidfn.numpy`, once, on `Array` and `Tracer` alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from lucidfn import ops
from lucidfn.backends.devices import device_of, name_of_device
from lucidfn.config import settings
from lucidfn.core.source import here
from lucidfn.core.trace import ADOPTED, BACKENDS, FOREIGN, Tracer, current, eval_trace, type_of
from lucidfn.errors import DonatedArrayError
from lucidfn.types import (
    KEY_IMPLS,
    SCALARS,
    ArrayType,
    as_dtype,
    default_dtype_of,
    dtype_name,
    float32,
    float64,
    kind_of,
    result_type,
)

if TYPE_CHECKING:
    from lucidfn.numpy.array_typing import ArrayMethods as _Methods
else:
    _Methods = object


class Array(_Methods):
    """An immutable n-dimensional array. Make one with `lnp.array`, `lnp.zeros`, ...

    `value` is the backend's array; `weak` says that the dtype came from a Python scalar only, so
    that it yields in promotion.
    """

    __slots__ = ("value", "weak", "__weakref__")
    __array_priority__ = 1000

    def __init__(self, value: Any, weak: bool = False):
        self.value = value if type(value) is np.ndarray or type(value) in FOREIGN \
            else _as_ndarray(value)
        self.weak = weak

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def size(self) -> int:
        return self.type.size

    @property
    def type(self) -> ArrayType:
        return ArrayType(self.value.shape, self.value.dtype, self.weak)

    weak_type = property(lambda self: self.weak)
    __hash__ = None  # type: ignore[assignment]



def _as_ndarray(value: Any) -> np.ndarray:
    out = np.asarray(value)
    if out.dtype == object:
        raise TypeError(f"{type(value).__name__} is not an array")
    return out


class Donated:
    """What stands in a donated Array for its value."""

    __slots__ = ("line", "type")

    def __init__(self, line: str, type: ArrayType):
        object.__setattr__(self, "line", line)
        object.__setattr__(self, "type", type)

    def __getattr__(self, name: str) -> Any:
        raise DonatedArrayError(
            f"this {self.type} was donated to the jitted call at {self.line}, which may have "
            "reused its memory. Use the array that the call returned in its place, or leave the "
            "argument out of donate_argnums.")


# ------------------------------------------------------------------ in and out

def wrap(x: Any, weak: bool = False) -> Any:
    """A raw value as users see it."""
    if type(x) is np.ndarray:
        # Read-only: a view of an array that the user may change.
        return Array(x if x.flags.writeable else x.copy(), weak)
    if isinstance(x, Tracer):
        return x if x.weak is weak else x.with_weak(weak)  # type: ignore[attr-defined]
    if type(x) in SCALARS:
        return Array(of_scalar(x), True)
    return Array(x, weak)


def unwrap(x: Any) -> Any:
    """The raw value of what a user passes: an Array, tracer, scalar, ndarray, or nested list.

    Python scalars stay scalars. NumPy scalars that are Python scalars too (np.float64) are weak
    like them. TypeError for anything that is not numeric.
    """
    kind = type(x)
    if kind is Array:
        return x.value
    if kind in SCALARS or isinstance(x, Tracer) or kind in FOREIGN:
        return x
    if kind is np.ndarray:
        return as_operand(x) if x.dtype.kind in _NUMERIC else _unusual(x)
    return _unwrap_other(x)


_NUMERIC = "biufc"


def as_operand(x: np.ndarray) -> np.ndarray:
    """A read-only view of a user's ndarray; on another default device, a copy there.

    Views of views stay read-only, and so `wrap` knows that a result still shares the user's memory,
    and copies it.
    """
    view = x.view()
    view.flags.writeable = False
    name = settings().default_device
    # What is recorded stays: a captured ndarray is known again by its memory.
    return view if name == "cpu" or current.get() is not eval_trace else \
        BACKENDS[name].asarray(view, None)


def _unusual(x: np.ndarray) -> Any:
    if x.dtype in OWN_DTYPES or x.dtype.names and x.dtype in KEY_IMPLS.values():
        return as_operand(x)
    what = {"O": "an object array", "U": "an array of strings", "S": "an array of bytes",
            "M": "an array of dates", "m": "an array of time differences"}.get(x.dtype.kind)
    fix = "" if x.dtype.kind != "O" else (
        "; its rows may have different lengths, or its elements may be None or other objects. "
        "Convert it first: np.asarray(x.tolist(), dtype='float32')")
    if x.dtype == np.longdouble:
        fix = "; convert it first: x.astype('float64')"
    raise TypeError(f"got {what or f'dtype {x.dtype}'} of shape {x.shape}; lucidfn arrays are "
                    f"bool, integer, floating or complex{fix}")


OWN_DTYPES = {np.dtype(ml_dtypes.bfloat16)}


def _unwrap_other(x: Any) -> Any:
    if isinstance(x, float):  # np.float64 is a Python float, and weak like one (DECISIONS 3)
        return float(x)
    if isinstance(x, complex):
        return complex(x)
    if isinstance(x, (np.generic, np.ndarray)):
        return unwrap(np.asarray(x)) if type(x) is not np.ndarray else _unusual(x)
    if isinstance(x, (list, tuple, range)):
        return from_nested(x if type(x) is not range else list(x))
    if isinstance(x, int):  # IntEnum and other subclasses
        return int(x)
    if hasattr(x, "__jax_array__"):
        return unwrap(x.__jax_array__())
    if type(x) in ADOPTED:
        return ADOPTED[type(x)](x)
    if x is not None and (hasattr(x, "__array__") or hasattr(x, "__dlpack__")):
        return unwrap(np.asarray(x) if hasattr(x, "__array__") else np.from_dlpack(x))
    raise TypeError(f"got {_describe(x)}; an array, a number or a nested list of numbers is needed")


def _describe(x: Any) -> str:
    text = repr(x)
    return f"{type(x).__name__} {text if len(text) < 60 else text[:57] + '...'}"


def from_nested(x: Sequence[Any], dtype: Any = None) -> Any:
    """An array from nested lists; stacked if there are arrays or tracers inside."""
    leaves: list[Any] = []
    _leaves_of(x, leaves)
    if not leaves:
        return np.zeros(np.shape(x), dtype or default_dtype_of(float))
    if all(type(leaf) in SCALARS for leaf in leaves):
        kinds = [k for k in (bool, int, float, complex) if any(type(v) is k for v in leaves)]
        try:
            return np.asarray(x, dtype or default_dtype_of(kinds[-1]))
        except ValueError:
            raise ValueError("a nested list has rows of different lengths: "
                             f"{_describe(x)}") from None
        except OverflowError:
            raise _too_large(_misfit(leaves, dtype), dtype or default_dtype_of(int)) from None
    if dtype is None:
        # Of all elements at once: a Python scalar in one row yields to an array in another.
        types = [type_of(unwrap(v))._replace(shape=()) for v in leaves]
        dtype, _ = result_type([t._replace(weak=t.weak or weak_of(v))
                                for t, v in zip(types, leaves, strict=True)])
    rows = [from_nested(row, dtype) if isinstance(row, (list, tuple)) else unwrap(row)
            for row in x]
    if all(not isinstance(r, Tracer) and type(r) not in FOREIGN for r in rows) and \
            current.get() is eval_trace:
        found = [np.asarray(to_dtype(r, dtype), dtype) for r in rows]
        _check_shapes(found)
        return np.stack(found)
    raw = [ops.full(shape=(), dtype=dtype, value=to_dtype(r, dtype)) if type(r) in SCALARS
           else to_dtype(r, dtype) for r in rows]
    _check_shapes(raw)
    return ops.concatenate(*[ops.reshape(r, shape=(1, *r.shape)) for r in raw], axis=0)


def nested_at(x: Sequence[Any], dtype: np.dtype) -> Any:
    """An array of this dtype from nested lists; each number is rounded once, to that dtype."""
    leaves: list[Any] = []
    _leaves_of(x, leaves)
    widest = max((kind_of(type_of(v).dtype) for v in leaves), default=0)
    if widest <= kind_of(dtype):
        return from_nested(x, dtype)
    return to_dtype(from_nested(x, _WIDEST.get(widest)), dtype)


_WIDEST = {1: np.dtype(np.int64), 2: np.dtype(np.float64), 3: np.dtype(np.complex128)}


def _misfit(leaves: Sequence[Any], dtype: Any) -> int:
    info = np.iinfo(dtype or default_dtype_of(int))
    return next(v for v in leaves if type(v) is int and not info.min <= v <= info.max)


def of_scalar(x: Any, dtype: Any = None) -> np.ndarray:
    """The 0-d array of a Python scalar; of its default dtype where none is given."""
    dtype = default_dtype_of(type(x)) if dtype is None else dtype
    try:
        return np.asarray(x, dtype)
    except OverflowError:
        raise _too_large(x, dtype) from None


def _too_large(x: int, dtype: Any) -> OverflowError:
    return OverflowError(f"the integer {x} does not fit {dtype_name(np.dtype(dtype))}; give a "
                         "wider dtype, such as dtype='int64', or write it as a float")


def _check_shapes(rows: Sequence[Any]) -> None:
    shapes = {r.shape for r in rows}
    if len(shapes) > 1:
        raise ValueError(f"a nested list has elements of different shapes: {sorted(shapes)}")


def _leaves_of(x: Any, into: list[Any]) -> None:
    if isinstance(x, (list, tuple)):
        for item in x:
            _leaves_of(item, into)
    else:
        if type(x) not in SCALARS and not isinstance(x, (Tracer, Array)):
            x = unwrap(x)
        into.append(x)


# ------------------------------------------------------------------ types and promotion

def weak_of(x: Any) -> bool:
    """Whether what a user passed is weak."""
    if isinstance(x, (Array, Tracer)):
        return x.weak  # type: ignore[union-attr]
    return type(x) in SCALARS or isinstance(x, (float, complex))


def typeof(x: Any) -> ArrayType:
    """Shape, dtype and weakness of what a user passed.

    >>> import lucidfn as lf, numpy as np
    >>> print(lf.typeof(np.ones((2, 3), "float32")))
    float32[2,3]
    """
    if isinstance(x, (Array, Tracer)):
        return x.type
    if hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "weak"):
        return ArrayType(x.shape, x.dtype, x.weak)
    return type_of(unwrap(x))


def as_raw(x: Any, dtype: np.dtype | None = None) -> Any:
    """A raw array (never a scalar): scalars become 0-d arrays of their default dtype."""
    raw = unwrap(x)
    if type(raw) in SCALARS:
        return of_scalar(raw, dtype)
    return raw if dtype is None or raw.dtype == dtype else ops.convert(raw, dtype=dtype)


def promote_raw(raws: Sequence[Any], weaks: Sequence[bool] | None = None) -> tuple[list[Any], bool]:
    """Raw values at their common dtype, and whether it is weak.

    Scalars of a kind that the dtype holds stay scalars.
    """
    types = [type_of(r) for r in raws]
    if weaks is not None:
        types = [t._replace(weak=t.weak or w) for t, w in zip(types, weaks, strict=True)]
    dtype, weak = result_type(types)
    if dtype == float64 and any(t.dtype == float32 and not t.weak for t in types):
        warn_of_widening(types)
    return [to_dtype(r, dtype) for r in raws], weak


_widened: dict[tuple[int, int], Any] = {}  # lines that have warned; their code is kept alive


def warn_of_widening(types: Sequence[ArrayType]) -> None:
    """One warning for each line where a float64 array turns a float32 program into float64."""
    source = here()
    if source is None or default_dtype_of(float) == float64:
        return
    line = id(source.code), source.instruction
    if line not in _widened:
        _widened[line] = source.code
        got = " and ".join(map(str, types))
        warnings.warn_explicit(
            f"float64 widens a float32 program at {source}: got {got}. If it came from NumPy, "
            "convert it with .astype('float32'); if 64 bits are meant, convert both, or set "
            "lf.config.default_float = 'float64'.", UserWarning, source.file, source.line)


def to_dtype(raw: Any, dtype: np.dtype) -> Any:
    """A raw value at a dtype."""
    if type(raw) in SCALARS:
        return _scalar_to(raw, dtype)
    return raw if raw.dtype == dtype else ops.convert(raw, dtype=dtype)


def _scalar_to(x: Any, dtype: np.dtype) -> Any:
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if not info.min <= x <= info.max:
            raise OverflowError(f"the integer {x} does not fit {dtype_name(dtype)} "
                                f"[{info.min}, {info.max}]; convert the array to a wider dtype")
        return int(x)
    return {"b": bool, "c": complex}.get(dtype.kind, float)(x)


def promote(*args: Any) -> tuple[list[Any], bool]:
    """What a user passed, raw and at one dtype; and whether that is weak."""
    return promote_raw([unwrap(a) for a in args], [weak_of(a) for a in args])


def asarray(x: Any, dtype: Any = None) -> Any:
    """An Array (or the tracer) of what a user passed; no copy of what is an Array already."""
    if dtype is None:
        if isinstance(x, (Array, Tracer)):
            return x
        raw = unwrap(x)
        if type(raw) in SCALARS:
            return wrap(raw)
        return wrap(raw, weak_of(x))
    if isinstance(x, (list, tuple, range)):
        return wrap(nested_at(list(x) if type(x) is range else x, as_dtype(dtype)))
    return wrap(as_raw(x, as_dtype(dtype)))


def place(x: Any, device: Any = None) -> Any:
    """An Array on a device, the default one if none is named; traced values stay where they are."""
    if type(x) is not Array:
        return x
    name = settings().default_device if device is None else name_of_device(device)
    if device_of(x.value) == name:
        return x
    return Array(BACKENDS[name].asarray(x.value, None), x.weak)


def constant(primitive: Any, device: Any, **params: Any) -> Any:
    """What a primitive without operands makes, on a device, the default one if none is named."""
    name = settings().default_device if device is None else name_of_device(device)
    if name == "cpu" or current.get() is not eval_trace:
        return wrap(primitive(**params))
    return Array(BACKENDS[name].run(primitive, (), params))


def on_device(x: Any) -> bool:
    """Whether an Array lives on a device that is not the host's NumPy."""
    return type(x) is Array and type(x.value) in FOREIGN


def is_array_like(x: Any) -> bool:
    """Whether a leaf of a user's tree is an array to the transformations (scalars included)."""
    return (isinstance(x, (Array, Tracer, np.ndarray, np.generic)) or type(x) in SCALARS
            or type(x) in FOREIGN or type(x) in ADOPTED)


def check_library(x: Any) -> None:
    """TypeError for an array of a library that is not known here, with what to write."""
    kind = type(x)
    if hasattr(kind, "__array__") and not is_array_like(x):
        library = kind.__module__.partition(".")[0].removesuffix("lib")
        raise TypeError(f"got an array of {library} ({kind.__name__}), which is no lucidfn array; "
                        "convert it first: lnp.asarray(x)")


__all__ = ["Array", "Donated", "as_raw", "asarray", "promote", "typeof", "unwrap", "wrap"]
