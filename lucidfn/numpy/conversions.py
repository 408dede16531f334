"""How arrays become Python and NumPy objects, and text; for `Array` and tracers alike.

A tracer has a value only where its transformation runs on values (un-jitted `grad`); elsewhere the
conversion raises an error that shows what to write instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, Donated, place, unwrap, wrap
from lucidfn.core.messages import (
    array_error,
    assignment_error,
    bool_error,
    check_not_cut,
    deletion_error,
    integer_error,
    number_error,
)
from lucidfn.core.trace import Tracer, current, eval_trace, leaked
from lucidfn.errors import ConcretizationTypeError
from lucidfn.numpy.indexing import look
from lucidfn.types import bfloat16, dtype_name, is_key


def value_of(x: Any, error: Any, use: str) -> Any:
    """The backend's array, or the value a tracer has."""
    return look(x.value if type(x) is Array else x, error, use)


def _scalar(x: Any, error: Any, use: str) -> Any:
    if x.size != 1 or is_key(x.dtype):
        raise TypeError(f"{use} needs one number, got {x.type}")
    return _item(np.asarray(value_of(x, error, use)))


def _item(value: np.ndarray) -> Any:
    return float(value.item()) if value.dtype == bfloat16 else value.item()


# ------------------------------------------------------------------ Python scalars

def to_bool(x: Any) -> bool:
    if x.size != 1:
        raise ValueError(f"the truth value of {x.type} is ambiguous: it has {x.size} elements. Use "
                         "x.any() or x.all()")
    return bool(_scalar(x, bool_error, "bool()"))


def to_int(x: Any) -> int:
    return int(_scalar(x, integer_error, "int()"))


def to_float(x: Any) -> float:
    number = float(_scalar(x, number_error, "float()"))
    if type(x) is not Array:
        check_not_cut(x)
    return number


def to_complex(x: Any) -> complex:
    number = complex(_scalar(x, number_error, "complex()"))
    if type(x) is not Array:
        check_not_cut(x)
    return number


def to_index(x: Any) -> int:
    if x.shape != () or x.dtype.kind not in "iu":
        raise TypeError(f"only an integer scalar array can be used as an index, got {x.type}")
    return int(value_of(x, integer_error, "use as an integer"))


def item(x: Any, *args: int) -> Any:
    """The element as a Python scalar; `args` say which where there are several."""
    value = np.asarray(value_of(x, number_error, "item()"))
    if not args and value.size != 1:
        raise ValueError(f"item() needs one element or an index, got {x.type}")
    return float(value.item(*args)) if value.dtype == bfloat16 else value.item(*args)


def tolist(x: Any) -> Any:
    """Nested lists of Python scalars."""
    value = np.asarray(value_of(x, number_error, "tolist()"))
    return value.astype(np.float32).tolist() if value.dtype == bfloat16 else value.tolist()


# ------------------------------------------------------------------ sequences

def length(x: Any) -> int:
    if not x.shape:
        raise TypeError("len() of an array without axes")
    return x.shape[0]


def iterate(x: Any) -> Iterator[Any]:
    if not x.shape:
        raise TypeError("iteration over an array without axes")
    return _rows(x)


def _rows(x: Any) -> Iterator[Any]:
    if type(x) is Array and type(x.value) is np.ndarray and current.get() is eval_trace:
        for row in x.value:
            yield wrap(row, x.weak)
    else:
        for row in ops.unstack(unwrap(x), 0):
            yield wrap(row, x.weak)


def contains(x: Any, element: Any) -> bool:
    return bool((x == element).any())


def assign(x: Any, index: Any, value: Any) -> None:
    raise assignment_error("Array" if type(x) is Array else "traced array")


def delete(x: Any, index: Any) -> None:
    raise deletion_error("Array" if type(x) is Array else "traced array")


def hash_error(x: Any) -> int:
    raise TypeError(f"unhashable type: '{type(x).__name__}' (arrays compare element by element); "
                    "for a key of a dict or a set use id(x), x.item() or x.tolist()")


# ------------------------------------------------------------------ NumPy, DLPack, pickle

def to_ndarray(x: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """A read-only view of the value; a copy where another dtype or `copy=True` asks for one."""
    if type(x) is not Array:
        raise leaked(x) if not x.owner.alive else array_error(x)
    value = look(x.value, array_error, "np.asarray")
    if isinstance(value, Donated):
        value.shape  # noqa: B018  (raises what a donated array has to say)
    if is_key(value.dtype):
        raise TypeError("random keys are not numbers; for their bits use lucidfn.random.key_data")
    value = np.asarray(value)
    if dtype is not None and value.dtype != dtype:
        if copy is False:
            raise ValueError(f"a view of {x.type} as {np.dtype(dtype).name} needs a copy")
        return value.astype(dtype)
    if copy:
        return value.copy()
    view = value.view()
    view.flags.writeable = False
    return view


def dlpack(x: Any, **options: Any) -> Any:
    if type(x) is not Array:
        raise array_error(x)
    value = x.value if type(x.value) is np.ndarray else np.array(x.value)
    return value.__dlpack__(**options)


def dlpack_device(x: Any) -> tuple[int, int]:
    if type(x) is not Array:
        raise array_error(x)
    return np.empty(0).__dlpack_device__()  # others get the values on the host


def reduce(x: Any) -> Any:
    if type(x) is not Array:
        raise array_error(x)
    value = x.value
    if isinstance(value, Donated):
        return Array, (value, x.weak)
    return restored, (np.asarray(value), x.weak)


def restored(value: Any, weak: bool) -> Any:
    """What was pickled, on the default device: that which it lived on may not be here."""
    return place(Array(value, weak))


def shallow_copy(x: Any) -> Any:
    return x


def deep_copy(x: Any, memo: Any) -> Any:
    return Array(x.value.copy(), x.weak) if type(x) is Array else x


# ------------------------------------------------------------------ text

def represent(x: Any) -> str:
    if type(x) is not Array:
        return _traced(x)
    value = x.value
    if isinstance(value, Donated):
        return f"Array(donated {value.type})"
    if is_key(value.dtype):
        return f"Array(shape={value.shape}, dtype={dtype_name(value.dtype)})"
    value = np.asarray(value)
    weak = ", weak_type=True" if x.weak else ""
    shape = f", shape={value.shape}" if 0 in value.shape else ""
    text = "[]" if 0 in value.shape else np.array2string(value, separator=", ", prefix="Array(")
    return f"Array({text}{shape}, dtype={dtype_name(value.dtype)}{weak})"


def _traced(x: Any) -> str:
    text = f"Traced<{x.type}>"
    if not x.owner.alive:
        return f"{text} (its {x.owner.what} has finished)"
    value = concrete_or_none(x)
    return text if value is None else f"{text} = {represent(wrap(value, x.weak))}"


def concrete_or_none(x: Tracer) -> Any:
    """The value of a tracer under un-jitted `grad`, None where it has none."""
    try:
        return x.concrete(lambda tracer, use: ConcretizationTypeError(use), "printing")
    except ConcretizationTypeError:
        return None


def to_text(x: Any) -> str:
    if type(x) is not Array:
        return _traced(x)
    value = x.value
    if isinstance(value, Donated) or is_key(value.dtype):
        return represent(x)
    return str(np.asarray(value))


def to_format(x: Any, spec: str) -> str:
    if not spec:
        return to_text(x)
    value = np.asarray(value_of(x, number_error, f"format {spec!r}"))
    if value.size != 1 or math.prod(value.shape) != 1:
        raise TypeError(f"format {spec!r} needs one element, got {x.type}")
    return format(_item(value), spec)
