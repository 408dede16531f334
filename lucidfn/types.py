"""What is known about an array before it has a value, and the promotion of dtypes.

The lattice is JAX's: Python scalars are weak (they take the dtype of what they meet), integers
yield to floats of any width, and 64 bits appear only where a 64-bit array was given.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from lucidfn.config import settings

bfloat16 = np.dtype(ml_dtypes.bfloat16)
bool_ = np.dtype(bool)
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")
KEY_IMPLS = {name: np.dtype([(name, "<u8")]) for name in ("threefry2x32", "philox")}

SCALARS = frozenset({bool, int, float, complex})  # exact types: np.float64 is a subclass of float
_KIND = {**dict.fromkeys("b", 0), **dict.fromkeys("ui", 1), "f": 2, "c": 3}


class ArrayType(NamedTuple):
    """Shape, dtype, and whether the dtype is weak: only a Python scalar gave it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    weak: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return abs(math.prod(self.shape))  # a size that is not known, -1, counts as 1

    @property
    def nbytes(self) -> int:
        return abs(math.prod(self.shape)) * self.dtype.itemsize

    def __str__(self) -> str:
        sizes = ",".join(["?" if d == -1 else str(d) for d in self.shape])
        return f"{dtype_name(self.dtype)}{'*' * self.weak}[{sizes}]"


class ShapeDtypeStruct:
    """A stand-in for an array: its shape and dtype, without a value.

    >>> ShapeDtypeStruct((2, 3), "float32")
    ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    """

    __slots__ = ("shape", "dtype", "weak")

    def __init__(self, shape: Any, dtype: Any, *, weak: bool = False, weak_type: bool = False):
        self.shape = tuple(int(d) for d in shape)
        self.dtype = as_dtype(dtype)
        self.weak = weak or weak_type

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: self.type.size)
    type = property(lambda self: ArrayType(self.shape, self.dtype, self.weak))
    weak_type = property(lambda self: self.weak)

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={dtype_name(self.dtype)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and self.type == other.type

    def __hash__(self) -> int:
        return hash(self.type)


# ------------------------------------------------------------------ dtypes

def dtype_name(dtype: np.dtype) -> str:
    return f"key<{dtype.names[0]}>" if dtype.names else dtype.name


def is_key(dtype: np.dtype) -> bool:
    """Whether elements are random keys."""
    return dtype.names is not None


@functools.cache
def is_inexact(dtype: np.dtype) -> bool:
    """Floating or complex: what can be differentiated."""
    return dtype.kind in "fc" or dtype == bfloat16


@functools.cache
def kind_of(dtype: np.dtype) -> int:
    """0 bool, 1 integer, 2 float, 3 complex; 4 for keys, which promote with nothing."""
    return 2 if dtype == bfloat16 else _KIND.get(dtype.kind, 4)


def as_dtype(spec: Any) -> np.dtype:
    """A dtype from a dtype, a name, a NumPy scalar type or a Python scalar type.

    `float`, `int` and `complex` mean the default widths, as in JAX.
    """
    if isinstance(spec, np.dtype):
        return spec
    if spec is float or spec is int or spec is complex:
        return default_dtype_of(spec)
    if isinstance(spec, str) and spec in ("bfloat16", "bf16"):
        return bfloat16
    if hasattr(spec, "dtype") and isinstance(spec.dtype, np.dtype):
        return spec.dtype
    try:
        dtype = np.dtype(spec)
    except TypeError:
        hint = "" if not isinstance(spec, int) else (
            "; if a shape was meant: lnp.zeros((2, 3)), x.reshape(2, 3)")
        raise TypeError(f"{spec!r} is not a dtype{hint}") from None
    if dtype.kind in "OSUMm":
        raise TypeError(f"{spec!r} is not a dtype of lucidfn arrays, which are bool, integer, "
                        "floating or complex")
    return dtype


@functools.cache
def _default(scalar: type, default_float: str, default_int: str) -> np.dtype:
    if scalar is complex:
        return complex128 if default_float == "float64" else complex64
    name = {bool: "bool", int: default_int, float: default_float}[scalar]
    return bfloat16 if name == "bfloat16" else np.dtype(name)


def default_dtype_of(scalar: type) -> np.dtype:
    """The dtype of an array made from a Python scalar of this type."""
    s = settings()
    return _default(scalar, s.default_float, s.default_int)


def float_type_for(dtype: np.dtype) -> np.dtype:
    """The dtype of a function that gives floats, applied to this dtype."""
    return dtype if is_inexact(dtype) else default_dtype_of(float)


def real_dtype(dtype: np.dtype) -> np.dtype:
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def complex_dtype(dtype: np.dtype) -> np.dtype:
    return complex128 if dtype in (float64, complex128) else complex64


# ------------------------------------------------------------------ promotion

# Each dtype points at the next ones up; the join of two is the least node above both.
_UP = {
    "b": ["i*"], "i*": ["u1", "i1"], "u1": ["i2", "u2"], "u2": ["i4", "u4"], "u4": ["i8", "u8"],
    "u8": ["f*"], "i1": ["i2"], "i2": ["i4"], "i4": ["i8"], "i8": ["f*"],
    "f*": ["bf", "f2", "c*"], "bf": ["f4"], "f2": ["f4"], "f4": ["f8", "c8"], "f8": ["c16"],
    "c*": ["c8"], "c8": ["c16"], "c16": [],
}
_NODE = {bool_: "b", bfloat16: "bf", **{np.dtype(n): n for n in
         "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split()}}
_DTYPE = {node: dtype for dtype, node in _NODE.items()}
_WEAK = {0: "b", 1: "i*", 2: "f*", 3: "c*"}
_WEAK_SCALAR = {"b": bool, "i*": int, "f*": float, "c*": complex}


@functools.cache
def _above(node: str) -> frozenset[str]:
    return frozenset({node}).union(*map(_above, _UP[node]))


@functools.cache
def _join(a: str, b: str) -> str:
    common = _above(a) & _above(b)
    return next(n for n in common if all(m in _above(n) for m in common))


@functools.cache
def _promote(a: np.dtype, a_weak: bool, b: np.dtype, b_weak: bool,
             strict: bool) -> tuple[str, bool]:
    for d in (a, b):
        if d not in _NODE:
            why = "random keys have no arithmetic" if is_key(d) else "it holds no numbers"
            raise TypeError(f"{dtype_name(d)} does not promote: {why}")
    node_a = _WEAK[kind_of(a)] if a_weak else _NODE[a]
    node_b = _WEAK[kind_of(b)] if b_weak else _NODE[b]
    node = _join(node_a, node_b)
    if strict and not a_weak and not b_weak and a != b:
        raise TypeError(
            f"{a.name} and {b.name} would be promoted, and numpy_dtype_promotion is 'strict'; "
            f"convert one of them: x.astype('{b.name}')")
    if strict and (a_weak != b_weak) and node != (node_b if a_weak else node_a):
        raise TypeError(f"{a.name} and {b.name} would be promoted, and numpy_dtype_promotion is "
                        "'strict'; convert one of them with .astype")
    return node, a_weak and b_weak


def promote(a: ArrayType, b: ArrayType) -> tuple[np.dtype, bool]:
    """The dtype two operands meet at, and whether it is weak."""
    if a.weak == b.weak and a.dtype == b.dtype:
        return a.dtype, a.weak
    strict = settings().numpy_dtype_promotion == "strict"
    node, weak = _promote(a.dtype, a.weak, b.dtype, b.weak, strict)
    if node in _DTYPE and not (weak and node == "b"):
        if node == "i8" and a.dtype.itemsize < 8 and b.dtype.itemsize < 8:
            # uint32 and int32: 64 bits only where they were given, or are the default.
            return default_dtype_of(int), weak
        # Two weak operands of one kind keep their width: lnp.float64 literals stay 64 bits wide.
        return _DTYPE[node], weak and node not in ("b",)
    if weak:
        same = [t.dtype for t in (a, b) if _WEAK[kind_of(t.dtype)] == node]
        if same:
            return max(same, key=lambda d: d.itemsize), True
    return default_dtype_of(_WEAK_SCALAR[node]), True


def promote_types(a: Any, b: Any) -> np.dtype:
    """The dtype of the sum of two arrays of these dtypes."""
    return promote(_weak_type_of(a), _weak_type_of(b))[0]


def _weak_type_of(spec: Any) -> ArrayType:
    if isinstance(spec, type) and spec in SCALARS:  # np.dtype("int64") == int, but is not weak
        return ArrayType((), default_dtype_of(spec), spec is not bool)
    return ArrayType((), as_dtype(spec))


def result_type(types: list[ArrayType]) -> tuple[np.dtype, bool]:
    """The join of many operands' types: (dtype, weak)."""
    dtype, weak = types[0].dtype, types[0].weak
    for t in types[1:]:
        dtype, weak = promote(ArrayType((), dtype, weak), t)
    return dtype, weak


@functools.cache
def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting; ValueError where it does not apply."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    out = []
    for sizes in zip(*padded, strict=True):
        real = {n for n in sizes if n != 1}
        if len(real) > 1:
            raise ValueError("shapes must broadcast")
        out.append(real.pop() if real else 1)
    return tuple(out)
