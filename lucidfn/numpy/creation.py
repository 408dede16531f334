"""Making arrays: from values, from a shape, from ranges; triangles and diagonals."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import (
    Array,
    as_raw,
    constant,
    on_device,
    place,
    to_dtype,
    unwrap,
    weak_of,
    wrap,
)
from lucidfn.array import asarray as _asarray
from lucidfn.core.messages import integer_error, number_error
from lucidfn.core.trace import Tracer, beside, dtype_of, shape_of, type_of
from lucidfn.numpy.elementwise import add, exp, lift, log, multiply, power, sign, subtract
from lucidfn.numpy.indexing import look
from lucidfn.numpy.linear import take_diagonal
from lucidfn.types import (
    SCALARS,
    as_dtype,
    bool_,
    default_dtype_of,
    int32,
    is_inexact,
    kind_of,
    result_type,
)

# ------------------------------------------------------------------ static arguments


def static_int(x: Any, use: str) -> int:
    """An integer that must be known; a traced one raises, naming the use."""
    if isinstance(x, Tracer):
        return int(look(x, integer_error, use))
    return operator.index(x)


def shape_tuple(shape: Any, name: str) -> tuple[int, ...]:
    """A shape from an integer or a sequence of integers."""
    if type(shape) is int and shape >= 0:
        return (shape,)
    if isinstance(shape, (Array, np.ndarray)):
        shape = np.asarray(shape).tolist()
    if hasattr(shape, "__index__") and not (isinstance(shape, Tracer) and shape.ndim):
        shape = (shape,)
    try:
        sizes = tuple([static_int(n, f"a shape in lnp.{name}") for n in shape])
    except TypeError as error:
        if type(error) is not TypeError:
            raise
        raise TypeError(f"lnp.{name}: a shape is an integer or a sequence of integers, got "
                        f"{shape!r}") from None
    if any(n < 0 for n in sizes):
        raise ValueError(f"lnp.{name}: sizes must not be negative, got shape {sizes}")
    return sizes


def _number(x: Any, use: str) -> Any:
    raw = unwrap(x)
    if type(raw) in SCALARS:
        return raw
    value = np.asarray(look(raw, number_error, use))
    if value.size != 1:
        raise TypeError(f"{use} needs a number, got an array of shape {value.shape}")
    return value.item()


# ------------------------------------------------------------------ from values

def array(object: Any, dtype: Any = None, copy: bool | None = True, order: str | None = "K",
          ndmin: int = 0, *, device: Any = None) -> Any:
    """An array of what is given: a number, nested lists, an ndarray (copied) or an array.

    float64, int64 and complex128 input keeps its width; Python numbers take the default dtypes.

    >>> import lucidfn.numpy as lnp
    >>> lnp.array([1, 2.5])
    Array([1. , 2.5], dtype=float32)
    """
    out = _asarray(object, dtype)
    if device is not None or not (isinstance(object, (Array, Tracer)) or on_device(out)):
        out = place(out, device)
    if copy and out is object and type(out) is Array:
        out = Array(out.value.copy(), out.weak)
    if len(out.shape) < ndmin:
        raw = as_raw(out)
        raw = ops.reshape(raw, shape=(1,) * (ndmin - len(raw.shape)) + raw.shape)
        out = wrap(raw, weak_of(out))
    return out


def asarray(a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None,
            device: Any = None) -> Any:
    """Like `array`, without a copy of what is an Array already."""
    return array(a, dtype, copy=bool(copy), device=device)


def copy(a: Any, order: str | None = None) -> Any:
    """A copy of an array."""
    return array(a, copy=True)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """An array that another library exports by DLPack; copied, as arrays are immutable."""
    return place(Array(np.from_dlpack(x).copy()), device)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Any:
    """A one-dimensional array of what a buffer holds."""
    return place(Array(np.frombuffer(buffer, as_dtype(dtype), count, offset).copy()))


def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1) -> Any:
    """A one-dimensional array of the items of an iterable."""
    return place(Array(np.fromiter(iter, as_dtype(dtype), count)))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Any:
    """A one-dimensional array of the numbers in a text."""
    return place(Array(np.fromstring(string, as_dtype(dtype), count, sep=sep)))


def fromfile(*args: Any, **options: Any) -> Any:
    """A one-dimensional array of what a file holds; see numpy.fromfile."""
    return place(Array(np.fromfile(*args, **options)))


# ------------------------------------------------------------------ from a shape

def zeros(shape: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of zeros."""
    dtype = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    return _full(shape_tuple(shape, "zeros"), 0, dtype, device)


def ones(shape: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of ones."""
    dtype = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    return _full(shape_tuple(shape, "ones"), 1, dtype, device)


def moved(device: Any, x: Any) -> Any:
    """An array where it is to be; where that is not said, it stays where its operands were."""
    return x if device is None else place(x, device)


def _full(shape: tuple[int, ...], value: Any, dtype: np.dtype, device: Any) -> Any:
    return constant(ops.full, device, shape=shape, dtype=dtype, value=to_dtype(value, dtype))


def empty(shape: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of zeros: there is no uninitialised memory here."""
    return zeros(shape, dtype, device=device)


def full(shape: Any, fill_value: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of one value; `fill_value` may be an array, which is broadcast."""
    sizes, raw = shape_tuple(shape, "full"), unwrap(fill_value)
    if type(raw) in SCALARS:
        weak = dtype is None and type(raw) is not bool
        dtype = default_dtype_of(type(raw)) if dtype is None else as_dtype(dtype)
        return wrap(unwrap(_full(sizes, raw, dtype, device)), weak)
    raw = as_raw(raw if dtype is None else _asarray(fill_value, dtype))
    out = wrap(ops.broadcast_to(raw, shape=sizes), dtype is None and weak_of(fill_value))
    return moved(device, out)


def _like(a: Any, value: Any, dtype: Any, shape: Any, device: Any) -> Any:
    if not (hasattr(a, "shape") and hasattr(a, "dtype")):
        a = _asarray(a)
    # A constant that is like an array lives where that array does.
    device = a.device if device is None and type(a) is Array else device
    out = full(a.shape if shape is None else shape, value, a.dtype if dtype is None else dtype,
               device=device)
    weak = dtype is None and weak_of(a)
    if isinstance(a, Tracer) and device is None:
        return wrap(beside(unwrap(out), a), weak or weak_of(out))
    return wrap(unwrap(out), True) if weak else out


def zeros_like(a: Any, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    """Zeros of the shape and dtype of a."""
    return _like(a, 0, dtype, shape, device)


def ones_like(a: Any, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    """Ones of the shape and dtype of a."""
    return _like(a, 1, dtype, shape, device)


def empty_like(prototype: Any, dtype: Any = None, shape: Any = None, *,
               device: Any = None) -> Any:
    """Zeros of the shape and dtype of a."""
    return zeros_like(prototype, dtype, shape, device=device)


def full_like(a: Any, fill_value: Any, dtype: Any = None, shape: Any = None, *,
              device: Any = None) -> Any:
    """One value, in the shape and dtype of a."""
    return _like(a, fill_value, dtype, shape, device)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None, *, device: Any = None) -> Any:
    """(N, M) with ones on the k-th diagonal, zeros elsewhere."""
    n = static_int(N, "lnp.eye")
    m = n if M is None else static_int(M, "lnp.eye")
    target = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    return place(wrap(to_dtype(_diagonal_mask(n, m, static_int(k, "lnp.eye")), target)), device)


def identity(n: int, dtype: Any = None, *, device: Any = None) -> Any:
    """The identity matrix."""
    return eye(n, dtype=dtype, device=device)


def _diagonal_mask(n: int, m: int, k: int) -> Any:
    return _compare_places(ops.eq, n, m, k)


def _compare_places(compare: Any, n: int, m: int, k: int) -> Any:
    """compare(row + k, column) for every place of an (n, m) matrix."""
    rows = ops.add(ops.iota(shape=(n, 1), dtype=int32, axis=0), k)
    return compare(rows, ops.iota(shape=(1, m), dtype=int32, axis=1))


# ------------------------------------------------------------------ ranges

def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None, *,
           device: Any = None) -> Any:
    """start, start + step, ... before stop; one argument is the stop. All must be known."""
    given = [start, stop, step]
    numbers = [None if x is None else _number(x, "lnp.arange") for x in given]
    if dtype is None:
        raws, _ = lift(*[x for x in given if x is not None])
        target = raws[0].dtype
    else:
        target = as_dtype(dtype)
    first, last, by = numbers
    if last is None:
        first, last = 0, first
    by = 1 if by is None else by
    if by == 0:
        raise ValueError("lnp.arange: step must not be 0")
    if first == 0 and by == 1 and kind_of(target) in (1, 2):
        size = builtins.max(0, math.ceil(last))
        return constant(ops.iota, device, shape=(size,), dtype=target, axis=0)
    span: Any = (first, last, by)
    return place(Array(np.arange(*span).astype(target)), device)


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0, *, device: Any = None) -> Any:
    """`num` evenly spaced numbers from start to stop, which may be arrays; differentiable."""
    num = static_int(num, "lnp.linspace")
    if num < 0:
        raise ValueError(f"lnp.linspace: num must not be negative, got {num}")
    work, known = _work_dtype(dtype, start, stop), _known(start, stop)
    target, gaps = work if dtype is None else as_dtype(dtype), num - 1 if endpoint else num
    if known is not None:  # in double precision, rounded once
        out = _rounded(np.linspace(known[0], known[1], num, endpoint), target, device)
        step = (known[1] - known[0]) / gaps if gaps else math.nan
        return (out, Array(np.array(step, work))) if retstep else out
    a, b = as_raw(start, work), as_raw(stop, work)
    out = _between(a, b, num, gaps, axis, target)
    out = moved(device, out)
    step = 1 / gaps if gaps else math.nan
    return (out, multiply(subtract(wrap(b), wrap(a)), step)) if retstep else out


def _between(a: Any, b: Any, num: int, gaps: int, axis: int, dtype: np.dtype) -> Any:
    shape = np.broadcast_shapes(shape_of(a), shape_of(b))
    t = np.arange(num, dtype=np.float64) / builtins.max(gaps, 1)
    t = t.astype(dtype_of(a)).reshape((num, *[1] * len(shape)))
    # Both ends are exact: their weights are 0 and 1.
    out = add(multiply(wrap(a), Array((1 - t).astype(t.dtype))), multiply(wrap(b), Array(t)))
    raw = ops.broadcast_to(as_raw(out), shape=(num, *shape))
    raw = ops.move_axis(raw, 0, axis if axis >= 0 else axis + len(shape) + 1)
    return wrap(to_dtype(ops.floor(raw) if kind_of(dtype) == 1 else raw, dtype))


def _known(*xs: Any) -> list[Any] | None:
    """Python numbers at one type that holds them, None if one is an array."""
    raws = [unwrap(x) for x in xs]
    if not all(type(raw) in SCALARS for raw in raws):
        return None
    one = complex if any(type(raw) is complex for raw in raws) else float
    return [one(raw) for raw in raws]


def _work_dtype(asked: Any, *xs: Any) -> np.dtype:
    """What to compute in: the float dtype of the operands, or that asked for if it is wider."""
    types = [type_of(unwrap(x)) for x in xs]
    dtype, _ = result_type([t._replace(weak=t.weak or weak_of(x))
                            for t, x in zip(types, xs, strict=True)])
    dtype = dtype if is_inexact(dtype) else default_dtype_of(float)
    wide = dtype if asked is None else as_dtype(asked)
    return builtins.max(dtype, wide, key=lambda d: (kind_of(d), d.itemsize))


def _rounded(exact: np.ndarray, dtype: np.dtype, device: Any) -> Any:
    """Values in double precision at the dtype that is wanted."""
    if kind_of(dtype) == 1:
        return place(wrap(to_dtype(np.floor(exact.real), dtype)), device)
    with np.errstate(all="ignore"):
        return place(Array((exact if kind_of(dtype) == 3 else exact.real).astype(dtype)), device)


def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0,
             dtype: Any = None, axis: int = 0, *, device: Any = None) -> Any:
    """base ** start to base ** stop, evenly spaced in the exponent."""
    work = _work_dtype(dtype, start, stop, base)
    target, known = work if dtype is None else as_dtype(dtype), _known(start, stop, base)
    if known is not None:
        num = static_int(num, "lnp.logspace")
        with np.errstate(all="ignore"):
            exact = np.logspace(known[0], known[1], num, endpoint, known[2])
        return _rounded(exact, target, device)
    exponents = linspace(start, stop, num, endpoint, dtype=work, axis=axis)
    return moved(device, wrap(as_raw(power(wrap(as_raw(base, work)), exponents), target)))


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None,
              axis: int = 0, *, device: Any = None) -> Any:
    """`num` numbers from start to stop with equal ratios; both must have one sign."""
    work = _work_dtype(dtype, start, stop)
    target, known = work if dtype is None else as_dtype(dtype), _known(start, stop)
    if known is not None and type(known[0]) is float and known[0] * known[1] > 0:
        num = static_int(num, "lnp.geomspace")
        return _rounded(np.geomspace(known[0], known[1], num, endpoint), target, device)
    first, last = wrap(as_raw(start, work)), wrap(as_raw(stop, work))
    side = sign(first)
    if kind_of(work) == 3:
        out = exp(linspace(log(first), log(last), num, endpoint, axis=axis))
    else:
        exponents = linspace(log(multiply(first, side)), log(multiply(last, side)), num, endpoint,
                             axis=axis)
        out = multiply(exp(exponents), _expand(side, axis))
    at = axis if axis >= 0 else axis + len(out.shape)
    if num > 0:
        out = out.at[(*[slice(None)] * at, 0)].set(first)
    if endpoint and num > 1:
        out = out.at[(*[slice(None)] * at, -1)].set(last)
    return moved(device, wrap(as_raw(out, target)))


def _expand(x: Any, axis: int) -> Any:
    raw = as_raw(x)
    at = axis if axis >= 0 else axis + len(raw.shape) + 1
    return wrap(ops.reshape(raw, shape=(*raw.shape[:at], 1, *raw.shape[at:])))


# ------------------------------------------------------------------ triangles, diagonals

def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None, *,
        device: Any = None) -> Any:
    """(N, M) with ones at and below the k-th diagonal."""
    n = static_int(N, "lnp.tri")
    mask = _compare_places(ops.ge, n, n if M is None else static_int(M, "lnp.tri"), k)
    out = to_dtype(mask, default_dtype_of(float) if dtype is None else as_dtype(dtype))
    return place(wrap(out), device)


def tril(m: Any, k: int = 0) -> Any:
    """Lower triangles of matrices: zero above the k-th diagonal."""
    return _triangle("tril", m, k, True)


def triu(m: Any, k: int = 0) -> Any:
    """Upper triangles of matrices: zero below the k-th diagonal."""
    return _triangle("triu", m, k - 1, False)


def _triangle(name: str, m: Any, k: int, keep: bool) -> Any:
    raw = as_raw(m)
    if len(raw.shape) < 2:
        raise ValueError(f"lnp.{name} takes matrices, got shape {raw.shape}")
    n, m_ = raw.shape[-2:]
    mask = _compare_places(ops.ge, n, m_, static_int(k, f"lnp.{name}"))
    zero = ops.zero_like(raw)
    return wrap(ops.select(mask, raw, zero) if keep else ops.select(mask, zero, raw), weak_of(m))


def diag(v: Any, k: int = 0) -> Any:
    """The matrix with a vector on its k-th diagonal; of a matrix, that diagonal."""
    raw = as_raw(v)
    if len(raw.shape) == 2:
        return diagonal(v, k)
    if len(raw.shape) != 1:
        raise ValueError(f"lnp.diag takes a vector or a matrix, got shape {raw.shape}")
    n = raw.shape[0] + builtins.abs(k)
    padded = ops.pad(raw, ops.zero_like(raw), widths=((builtins.abs(k), 0, 0),))
    padded = ops.reshape(padded, shape=(1, n) if k >= 0 else (n, 1))
    zero = ops.zero_like(raw)
    return wrap(ops.select(_diagonal_mask(n, n, k), padded, zero), weak_of(v))


def diagflat(v: Any, k: int = 0) -> Any:
    """The matrix with all elements of v on its k-th diagonal."""
    raw = as_raw(v)
    return diag(wrap(ops.reshape(raw, shape=(math.prod(raw.shape),)), weak_of(v)), k)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements a[i, i + offset] of two axes, along a new last axis."""
    raw = as_raw(a)
    if len(raw.shape) < 2:
        raise ValueError(f"lnp.diagonal needs two axes or more, got shape {raw.shape}")
    return wrap(take_diagonal(raw, offset, axis1, axis2), weak_of(a))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The matrix of powers of a vector: x ** (N-1), ..., x, 1; the other way if increasing."""
    raw = as_raw(x)
    if len(raw.shape) != 1:
        raise ValueError(f"lnp.vander takes a vector, got shape {raw.shape}")
    n = raw.shape[0] if N is None else static_int(N, "lnp.vander")
    if raw.dtype == bool_:
        raw = to_dtype(raw, default_dtype_of(int))
    columns = [ops.integer_pow(raw, n=p) for p in range(n)]
    if not columns:
        return wrap(beside(ops.zeros((raw.shape[0], 0), raw.dtype), raw))
    columns = columns if increasing else columns[::-1]
    return wrap(ops.concatenate(*[ops.reshape(c, shape=(raw.shape[0], 1)) for c in columns],
                                axis=1))


__all__ = [
    "arange", "array", "asarray", "copy", "diag", "diagflat", "diagonal", "empty", "empty_like",
    "eye", "from_dlpack", "frombuffer", "fromfile", "fromiter", "fromstring", "full", "full_like",
    "geomspace", "identity", "linspace", "logspace", "ones", "ones_like", "tri", "tril", "triu",
    "vander", "zeros", "zeros_like",
]
