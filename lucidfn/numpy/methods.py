"""Operators and methods, installed once on `Array` and `Tracer` alike.

A method is the function of `lucidfn.numpy` of that name itself: `x.sum(axis=0)` is
`lnp.sum(x, axis=0)`. Operators return NotImplemented for what is not an array or a number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, as_raw, check_library, place, weak_of, wrap
from lucidfn.backends.devices import device_of, find_backend
from lucidfn.config import settings
from lucidfn.core.trace import ADOPTED, BACKENDS, FOREIGN, Tracer
from lucidfn.numpy import conversions, interop
from lucidfn.numpy.indexing import getitem
from lucidfn.numpy.updates import IndexUpdate
from lucidfn.types import as_dtype, dtype_name

Function = Callable[..., Any]

BINARY = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
          "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "matmul": "matmul",
          "divmod": "divmod", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
          "lshift": "left_shift", "rshift": "right_shift"}
COMPARISONS = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal",
               "gt": "greater", "ge": "greater_equal"}
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
METHODS = ("all any argmax argmin argpartition argsort astype choose clip conj conjugate copy "
           "cumprod cumsum diagonal dot max mean min nonzero partition prod ptp ravel repeat round "
           "searchsorted sort squeeze std sum swapaxes take trace var").split()
_OPERANDS = frozenset({Array, bool, int, float, complex, np.ndarray, list, tuple})


def accepts(x: Any) -> bool:
    """Whether an operator works with this operand, or leaves it to the operand's own."""
    return type(x) in _OPERANDS or type(x) in ADOPTED or isinstance(
        x, (Tracer, np.ndarray, np.generic, int, float, complex))


def left_to(x: Any) -> Any:
    """NotImplemented: the other operand may know what to do. Arrays of PyTorch and JAX do not."""
    if type(x).__module__.partition(".")[0] in ("torch", "jax", "jaxlib"):
        check_library(x)
    return NotImplemented


def operator_of(function: Function, name: str) -> Function:
    def operator(x: Any, y: Any) -> Any:
        if type(y) is Array or accepts(y):
            return function(x, y)
        return left_to(y)

    operator.__name__ = operator.__qualname__ = name
    return operator


def reflected_of(function: Function, name: str) -> Function:
    def operator(x: Any, y: Any) -> Any:
        return function(y, x) if accepts(y) else left_to(y)

    operator.__name__ = operator.__qualname__ = name
    return operator


def install(namespace: Mapping[str, Any]) -> None:
    """Give `Array` and `Tracer` the operators and methods that the functions of lnp provide."""
    interop.namespace = namespace
    for cls in (Array, Tracer):
        for name, value in {**table(namespace), **_OWN}.items():
            setattr(cls, name, value)
        for name, instead in _ELSEWHERE.items():
            setattr(cls, name, Elsewhere(name, instead))
    Tracer.__array_ufunc__ = interop.array_ufunc  # type: ignore[attr-defined]
    Tracer.__array_function__ = interop.array_function  # type: ignore[attr-defined]
    Tracer.__array_priority__ = 2000  # type: ignore[attr-defined]
    Tracer.weak_type = property(lambda x: x.weak)  # type: ignore[attr-defined]


def table(namespace: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for short, name in BINARY.items():
        if name in namespace:
            found[f"__{short}__"] = operator_of(namespace[name], f"__{short}__")
            found[f"__r{short}__"] = reflected_of(namespace[name], f"__r{short}__")
    for short, name in COMPARISONS.items():
        found[f"__{short}__"] = operator_of(namespace[name], f"__{short}__")
    for short, name in UNARY.items():
        found[f"__{short}__"] = namespace[name]
    if "round" in namespace:
        found["__round__"] = lambda x, digits=None: namespace["round"](x, digits or 0)
    for name in METHODS:
        if name in namespace:
            found[name] = namespace[name]
    return found


# ------------------------------------------------------------------ methods of their own form

def reshape(x: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    """The same elements under another shape, given as one tuple or as integers; -1 is inferred."""
    return interop.namespace["reshape"](x, shape[0] if len(shape) == 1 else shape, order=order)


def transpose(x: Any, *axes: Any) -> Any:
    """Axes in another order, given as one tuple or as integers; reversed if not given."""
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    return interop.namespace["transpose"](x, order)


def permuted(x: Any) -> Any:
    raw = as_raw(x)
    rank = len(raw.shape)
    return x if rank < 2 else wrap(ops.permute(raw, order=tuple(range(rank))[::-1]), weak_of(x))


def matrix_transposed(x: Any) -> Any:
    if len(x.shape) < 2:
        raise ValueError(f".mT needs two axes or more, got {x.type}")
    return interop.namespace["matrix_transpose"](x)


def flatten(x: Any, order: str = "C") -> Any:
    """All elements along one axis."""
    return interop.namespace["ravel"](x, order=order)


def compress(x: Any, condition: Any, axis: int | None = None, **options: Any) -> Any:
    """The slices along an axis where condition is true."""
    return interop.namespace["compress"](condition, x, axis=axis, **options)


def view(x: Any, dtype: Any = None) -> Any:
    """The same bits read as another dtype of the same width."""
    raw = as_raw(x)
    target = raw.dtype if dtype is None else as_dtype(dtype)
    if target == raw.dtype:
        return x
    if target.itemsize != raw.dtype.itemsize or np.dtype(bool) in (target, raw.dtype):
        raise TypeError(f"view of {x.type} as {dtype_name(target)}: the widths must be equal")
    return wrap(ops.bitcast(raw, dtype=target))


def to(x: Any, device: Any, *, stream: Any = None) -> Any:
    """The array on a device: "cpu", "gpu" or "mlx:cpu"; ValueError if there is no such device."""
    find_backend(device)
    return place(x, device)


def device_name(x: Any) -> str:
    """The device that an array lives on; of a traced one, that of the value it has, if any."""
    while isinstance(x, Tracer):
        x = getattr(x, "primal", None)
    raw = x.value if type(x) is Array else x
    return settings().default_device if raw is None else device_of(raw)


def blocked(x: Any) -> Any:
    """The array, once it is computed."""
    if type(x) is Array and type(x.value) in FOREIGN:
        BACKENDS[device_of(x.value)].wait()
    return x


def namespace_of(x: Any, *, api_version: str | None = None) -> Any:
    return sys.modules["lucidfn.numpy"]


def itself(x: Any) -> Any:
    """The array; it is already there."""
    return x


_ELSEWHERE = {  # methods of arrays of other libraries, and what to write here
    "numpy": "np.asarray(x)", "cpu": "x.to('cpu')", "detach": "lf.stop_gradient(x)",
    "backward": "lf.grad(loss_function)(params): derivatives are of functions",
    "grad": "lf.grad(loss_function)(params): derivatives are of functions",
    "requires_grad": "lf.grad(f, argnums=...): the call says what is differentiated",
    "requires_grad_": "lf.grad(f, argnums=...): the call says what is differentiated",
    "cuda": "x.to('gpu')", "permute": "x.transpose(axes)",
    "unsqueeze": "lnp.expand_dims(x, axis) or x[..., None]", "float": "x.astype('float32')",
    "double": "x.astype('float64')", "half": "x.astype('float16')", "long": "x.astype('int64')",
    "int": "x.astype('int32')", "bool": "x.astype(bool)",
    "expand": "lnp.broadcast_to(x, shape)", "mm": "x @ y", "bmm": "x @ y", "matmul": "x @ y",
    "abs": "lnp.abs(x)", "exp": "lnp.exp(x)", "log": "lnp.log(x)", "sqrt": "lnp.sqrt(x)",
    "tanh": "lnp.tanh(x)", "sigmoid": "nn.sigmoid(x)", "relu": "nn.relu(x)",
    "softmax": "nn.softmax(x, axis)", "clamp": "x.clip(low, high)", "norm": "lnp.linalg.norm(x)",
    "scatter": "x.at[index].set(value)", "gather": "lnp.take_along_axis(x, index, axis)",
    "fill": "lnp.full_like(x, value)", "set": "x.at[index].set(value)", "dim": "x.ndim",
    "add_": "x = x + y", "sub_": "x = x - y", "mul_": "x = x * y", "zero_": "lnp.zeros_like(x)",
    "append": "lnp.append(x, values)", "numel": "x.size", "contiguous": "x itself",
}


class Elsewhere:
    """A name that arrays do not have: says what to write where another library's has it.

    A descriptor for each name, for a `__getattr__` would slow every protocol that NumPy looks for.
    """

    def __init__(self, name: str, instead: str):
        self.name, self.instead = name, instead

    def __get__(self, x: Any, owner: type) -> Any:
        kind = "Array" if owner is Array else "traced array"
        raise AttributeError(f"{kind!r} object has no attribute {self.name!r}; write "
                             f"{self.instead}", name=self.name, obj=x)


def names_of(x: Any) -> list[str]:
    return [name for name in object.__dir__(x) if name not in _ELSEWHERE]


_OWN: dict[str, Any] = {
    "__dir__": names_of,
    "__getitem__": getitem, "__setitem__": conversions.assign,
    "__delitem__": conversions.delete, "__iter__": conversions.iterate,
    "__len__": conversions.length, "__contains__": conversions.contains,
    "__bool__": conversions.to_bool, "__int__": conversions.to_int,
    "__float__": conversions.to_float, "__complex__": conversions.to_complex,
    "__index__": conversions.to_index, "__hash__": conversions.hash_error,
    "__repr__": conversions.represent, "__str__": conversions.to_text,
    "__format__": conversions.to_format, "__array__": conversions.to_ndarray,
    "__dlpack__": conversions.dlpack, "__dlpack_device__": conversions.dlpack_device,
    "__reduce__": conversions.reduce, "__copy__": conversions.shallow_copy,
    "__deepcopy__": conversions.deep_copy, "__array_namespace__": namespace_of,
    "item": conversions.item, "tolist": conversions.tolist,
    "reshape": reshape, "transpose": transpose, "flatten": flatten, "compress": compress,
    "view": view, "to": to, "to_device": to, "block_until_ready": blocked,
    "at": property(IndexUpdate), "T": property(permuted), "mT": property(matrix_transposed),
    "real": property(lambda x: interop.namespace["real"](x)),
    "imag": property(lambda x: interop.namespace["imag"](x)),
    "device": property(device_name),
    "itemsize": property(lambda x: x.dtype.itemsize),
    "nbytes": property(lambda x: x.size * x.dtype.itemsize),
    "aval": property(lambda x: x.type),
}
