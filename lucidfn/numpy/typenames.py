"""Names and questions about dtypes, shapes and constants: `lnp.float32`, `lnp.issubdtype`, ...

`lnp.float32` is a dtype wherever one is wanted, and called it converts: `lnp.float32(x)`.
"""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from lucidfn import types
from lucidfn.array import Array, asarray, typeof, unwrap
from lucidfn.core.trace import Tracer, shape_of
from lucidfn.numpy.reductions import normal_axes
from lucidfn.types import ArrayType, as_dtype, default_dtype_of, promote_types

pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
euler_gamma = 0.57721566490153286060651209008240243
newaxis = None


class _ArrayKind(type):
    def __instancecheck__(cls, x: Any) -> Any:
        return isinstance(x, (Array, Tracer))

    def __subclasscheck__(cls, kind: type) -> Any:
        return issubclass(kind, (Array, Tracer))


if TYPE_CHECKING:
    ndarray = Array
else:
    class ndarray(metaclass=_ArrayKind):
        """The type to test for: of Arrays, and of the traced values that stand for them."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            raise TypeError("lnp.ndarray is a type to test for; make arrays with lnp.array or "
                            "lnp.zeros")


class ScalarType:
    """A dtype by name; calling it converts to an array of that dtype."""

    __slots__ = ("dtype", "__name__")

    def __init__(self, dtype: np.dtype):
        self.dtype, self.__name__ = dtype, dtype.name

    def __call__(self, x: Any = 0) -> Any:
        return asarray(x, self.dtype)

    def __repr__(self) -> str:
        return f"lucidfn.numpy.{self.__name__}"

    def __eq__(self, other: Any) -> builtins.bool:
        if isinstance(other, ScalarType):
            return self.dtype == other.dtype
        try:
            return self.dtype == np.dtype(other)
        except TypeError:
            return NotImplemented

    def __hash__(self) -> int:
        return hash(self.dtype)


class DefaultType(ScalarType):
    """The default dtype of a Python scalar type, whatever it is at the time."""

    __slots__ = ("scalar",)

    def __init__(self, scalar: type):
        self.scalar, self.__name__ = scalar, f"{scalar.__name__}_"

    @property
    def dtype(self) -> np.dtype:  # type: ignore[override]
        return default_dtype_of(self.scalar)


(bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64,
 complex64, complex128) = (ScalarType(np.dtype(name)) for name in (
     "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
     "float32", "float64", "complex64", "complex128"))
bool = bool_
int_, float_, complex_ = DefaultType(int), DefaultType(float), DefaultType(complex)
bfloat16 = ScalarType(types.bfloat16)
single, double, csingle, cdouble = float32, float64, complex64, complex128
generic, number, inexact = np.generic, np.number, np.inexact
floating, complexfloating, integer = np.floating, np.complexfloating, np.integer
signedinteger, unsignedinteger = np.signedinteger, np.unsignedinteger
dtype = np.dtype


def _spec(x: Any) -> np.dtype:
    return x.dtype if isinstance(x, (Array, Tracer, np.ndarray, np.generic)) else as_dtype(x)


def finfo(dtype: Any) -> Any:
    """Limits of a floating dtype: eps, max, min, tiny, bits, ..."""
    return ml_dtypes.finfo(_spec(dtype))


def iinfo(dtype: Any) -> Any:
    """Limits of an integer dtype: min, max, bits."""
    return np.iinfo(_spec(dtype))


def issubdtype(arg1: Any, arg2: Any) -> Any:
    """Whether the first dtype lies below the second: `issubdtype(x.dtype, lnp.floating)`."""
    first = arg1 if _abstract(arg1) else _spec(arg1)
    if _abstract(arg2):
        if first == types.bfloat16:
            return issubclass(np.floating, arg2)
        return np.issubdtype(first, arg2)
    return not _abstract(first) and first == _spec(arg2)


def _abstract(x: Any) -> Any:
    return isinstance(x, type) and issubclass(x, np.generic) and x in _ABSTRACT


_ABSTRACT = {np.generic, np.number, np.inexact, np.floating, np.complexfloating, np.integer,
             np.signedinteger, np.unsignedinteger, np.character, np.flexible}
_KINDS = {"bool": (np.bool_,), "signed integer": (np.signedinteger,),
          "unsigned integer": (np.unsignedinteger,), "integral": (np.integer,),
          "real floating": (np.floating,), "complex floating": (np.complexfloating,),
          "numeric": (np.number,)}


def isdtype(dtype: Any, kind: Any) -> Any:
    """Whether a dtype is of a kind: a name of the array API standard, a dtype, or a tuple."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"isdtype has no kind {kind!r}; it has {sorted(_KINDS)}")
        return any(issubdtype(dtype, k) for k in _KINDS[kind])
    return _spec(dtype) == _spec(kind)


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> Any:
    """Whether values of one dtype fit another under a casting rule of NumPy."""
    return np.can_cast(_spec(from_), _spec(to), casting)


def result_type(*args: Any) -> np.dtype:
    """The dtype that arrays, scalars and dtypes meet at."""
    found = [_type(a) for a in args]
    if not found:
        raise ValueError("result_type needs at least one argument")
    return types.result_type(found)[0]


def _type(x: Any) -> ArrayType:
    if x is int or x is float or x is complex:
        return ArrayType((), default_dtype_of(x), True)
    if isinstance(x, (np.dtype, str, type, ScalarType)):
        return ArrayType((), as_dtype(x))
    return typeof(x)


def iscomplexobj(x: Any) -> Any:
    """Whether the dtype is complex."""
    return typeof(x).dtype.kind == "c"


def isrealobj(x: Any) -> Any:
    """Whether the dtype is not complex."""
    return not iscomplexobj(x)


def isscalar(element: Any) -> Any:
    """Whether a number or an array without axes."""
    if isinstance(element, (Array, Tracer, np.ndarray)):
        return element.ndim == 0
    return np.isscalar(element)


def iterable(y: Any) -> Any:
    """Whether it can be iterated over."""
    return np.iterable(y)


def astype(x: Any, dtype: Any, /, *, copy: Any = False, device: Any = None) -> Any:
    """x at another dtype; complex to real drops the imaginary part."""
    return asarray(x, float if dtype is None else dtype)


def shape(a: Any) -> tuple[int, ...]:
    """The lengths of all axes."""
    return tuple(shape_of(unwrap(a)))


def ndim(a: Any) -> int:
    """The number of axes."""
    return len(shape_of(unwrap(a)))


def size(a: Any, axis: Any = None) -> int:
    """The number of elements, in all or along axes."""
    sizes = shape(a)
    return math.prod(sizes[i] for i in normal_axes(axis, len(sizes)))


# How arrays are printed is NumPy's own setting.
set_printoptions, get_printoptions = np.set_printoptions, np.get_printoptions
printoptions = np.printoptions


def array_repr(arr: Any, max_line_width: int | None = None, precision: int | None = None,
               suppress_small: Any = None) -> str:
    """The text of `repr`."""
    if isinstance(arr, Tracer):
        return repr(arr)
    return np.array_repr(np.asarray(unwrap(arr)), max_line_width, precision, suppress_small)


def array_str(a: Any, max_line_width: int | None = None, precision: int | None = None,
              suppress_small: Any = None) -> str:
    """The text of the elements alone."""
    if isinstance(a, Tracer):
        return str(a)
    return np.array_str(np.asarray(unwrap(a)), max_line_width, precision, suppress_small)


__all__ = [
    "array_repr", "array_str", "astype", "bfloat16", "bool", "bool_", "can_cast", "cdouble",
    "complex128", "complex64", "complex_", "complexfloating", "csingle", "double", "dtype", "e",
    "euler_gamma", "finfo", "float16", "float32", "float64", "float_", "floating", "generic",
    "get_printoptions", "iinfo", "inexact", "inf", "int16", "int32", "int64", "int8", "int_",
    "integer", "iscomplexobj", "isdtype", "isrealobj", "isscalar", "issubdtype", "iterable",
    "nan", "ndarray", "ndim", "newaxis", "number", "pi", "printoptions", "promote_types",
    "result_type", "set_printoptions", "shape", "signedinteger", "single", "size", "uint16",
    "uint32", "uint64", "uint8", "unsignedinteger",
]
