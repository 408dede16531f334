"""Linear and bilinear maps of the last axis."""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.array import typeof
from lucidfn.errors import ShapeError


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """y = x @ weight + bias: [..., in] to [..., out], weight [in, out], bias [out].

    PyTorch's weight is the transpose. ShapeError where shapes do not fit.

    >>> linear(lnp.ones((3, 4)), lnp.ones((4, 2)), lnp.ones(2)).shape
    (3, 2)
    """
    shape, (wanted, *outputs) = typeof(x).shape, typeof(weight).shape or (0,)
    if not shape or len(outputs) != 1 or shape[-1] != wanted:
        transposed = " (it looks transposed)" if shape and outputs == [shape[-1]] else ""
        raise ShapeError(f"linear got x {typeof(x)} as [..., in] and weight {typeof(weight)} as "
                         f"[in, out]{transposed}; the last axis of x must be the first of the "
                         "weight")
    y = lnp.matmul(x, weight)
    return y if bias is None else lnp.add(y, checked_bias("linear", bias, outputs[0]))


def bilinear(x1: Any, x2: Any, weight: Any, bias: Any = None) -> Any:
    """y[..., o] = sum over i, j of x1[..., i] weight[o, i, j] x2[..., j], plus bias [out].

    x1 is [..., in1], x2 [..., in2] with the same axes before, weight [out, in1, in2] as in PyTorch.
    ShapeError where shapes do not fit.
    """
    first, second, kernel = typeof(x1).shape, typeof(x2).shape, typeof(weight).shape
    fits = (len(kernel) == 3 and first and second and first[:-1] == second[:-1]
            and (first[-1], second[-1]) == kernel[1:])
    if not fits:
        raise ShapeError(f"bilinear got x1 {typeof(x1)} as [..., in1], x2 {typeof(x2)} as [..., "
                         f"in2] and weight {typeof(weight)} as [out, in1, in2]; in1, in2 and the "
                         "axes before them must agree")
    y = lnp.einsum("...oj,...j->...o", lnp.einsum("...i,oij->...oj", x1, weight), x2)
    return y if bias is None else lnp.add(y, checked_bias("bilinear", bias, kernel[0]))


def checked_bias(name: str, bias: Any, outputs: int) -> Any:
    if typeof(bias).shape != (outputs,):
        raise ShapeError(f"{name} got bias {typeof(bias)}; expected [out], with {outputs} elements")
    return bias


__all__ = ["bilinear", "linear"]
