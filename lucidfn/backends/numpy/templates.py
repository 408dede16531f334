"""Templates: primitives whose source says more, or runs faster, than a call of their kernel.

A template gets the writer, the equation and the text of its operands; it returns the text of the
result, or None where the kernel is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy import sums
from lucidfn.backends.numpy.blocks import blocks
from lucidfn.backends.numpy.control import write_scan
from lucidfn.backends.numpy.elementwise import is_plain_zero
from lucidfn.backends.numpy.in_place import take, takes_one
from lucidfn.backends.numpy.kernels import KERNELS
from lucidfn.backends.numpy.phases import write_blocks
from lucidfn.control.scan import scan
from lucidfn.core.ir import Equation, Literal
from lucidfn.core.primitive import Primitive
from lucidfn.types import bfloat16


def _method(pattern: str) -> Callable[..., str]:
    return lambda w, eqn, args: pattern.format(args[0], **eqn.params)


def _reduction(ufunc: np.ufunc) -> Callable[..., str | None]:
    reduce = ufunc.reduce

    def template(w: Any, eqn: Equation, args: list[str]) -> str | None:
        dtype = eqn.inputs[0].type.dtype
        if dtype == bfloat16 or dtype.itemsize == 2 or dtype.kind not in "fc" or not \
                eqn.params["axes"]:
            return None
        axes = eqn.params["axes"]
        over = axes[0] if len(axes) == 1 else axes
        return f"{w.name_of(reduce, ufunc.__name__ + '_reduce')}({args[0]}, {over})"
    return template


def _sum(w: Any, eqn: Equation, args: list[str]) -> str | None:
    """Large sums by BLAS."""
    t, axes = eqn.inputs[0].type, eqn.params["axes"]
    if t.size < sums.SMALL or t.dtype.char not in "fd" or not axes:
        return _reduction(np.add)(w, eqn, args)
    return f"{w.name_of(sums.total, 'total')}({args[0]}, {axes})"


def _dot(w: Any, eqn: Equation, args: list[str]) -> str | None:
    """Products of two matrices as matmul; the rest through the kernel."""
    (cx, cy), (bx, _) = eqn.params["contract"], eqn.params["batch"]
    x, y = eqn.inputs
    plain = (np.float32, np.float64, np.complex64, np.complex128)
    if bx or len(cx) != 1 or not (len(x.type.shape) == len(y.type.shape) == 2) or \
            x.type.dtype not in plain or type(x) is Literal or type(y) is Literal:
        return None
    left = args[0] if cx[0] == 1 else f"{args[0]}.T"
    right = args[1] if cy[0] == 0 else w.turned.get(y) or f"{args[1]}.T"
    return f"{left}.dot({right})"  # for matrices the same product as matmul, called faster


def _convert(w: Any, eqn: Equation, args: list[str]) -> str | None:
    source, target = eqn.inputs[0].type.dtype, eqn.params["dtype"]
    if source.kind == "c" or bfloat16 in (source, target) \
            or (source.kind == "f" and target.kind in "iu") or type(eqn.inputs[0]) is Literal:
        return None
    return f"{args[0]}.astype({w.value(eqn.params['dtype'], 'dtype')})"


def _slice(w: Any, eqn: Equation, args: list[str]) -> str:
    p, parts = eqn.params, []
    for a, b, k, n in zip(p["start"], p["stop"], p["stride"], eqn.inputs[0].type.shape,
                          strict=True):
        parts.append(f"{a or ''}:{'' if b == n else b}" + (f":{k}" if k != 1 else ""))
    return f"{args[0]}[{', '.join(parts)}]" if parts else args[0]


def _full(w: Any, eqn: Equation, args: list[str]) -> str | None:
    p = eqn.params
    if p["dtype"].kind == "V" or not is_plain_zero(p["value"]):
        return None
    return f"{w.name_of(np.zeros, 'zeros')}({p['shape']}, {w.value(p['dtype'], 'dtype')})"


def _select(w: Any, eqn: Equation, args: list[str]) -> str | None:
    literal = [type(a) is Literal for a in eqn.inputs[1:]]
    if all(literal) or any(type(a) is Literal and is_plain_zero(a.value) for a in eqn.inputs[1:]):
        return None  # the kernel masks by bits, which is faster
    if literal[1] and 2 * eqn.inputs[0].type.size <= eqn.inputs[1].type.size:
        return None
    return f"{w.name_of(np.where, 'where')}({', '.join(args)})"


def _split(w: Any, eqn: Equation, args: list[str]) -> str:
    """Slices, one after another."""
    before, at, parts = ":, " * eqn.params["axis"], 0, []
    for n in eqn.params["sizes"]:
        parts.append(f"{args[0]}[{before}{at}:{at + n}]")
        at += n
    return f"({', '.join(parts)},)"


def _gather(w: Any, eqn: Equation, args: list[str]) -> str | None:
    """One place by an index: quicker than by arrays of them."""
    if not takes_one(eqn):
        return None
    params = [f"{k}={w.value(v, k)}" for k, v in eqn.params.items()]
    return f"{w.name_of(take, 'take')}({', '.join([*args, *params])})"


def _dynamic_slice(w: Any, eqn: Equation, args: list[str]) -> str | None:
    """In a loop a copy, so that the carry that it is taken from may be updated in place."""
    if not w.in_loop:
        return None
    kernel = w.name_of(KERNELS[ops.dynamic_slice], "dynamic_slice")
    return f"{kernel}({', '.join(args)}, sizes={eqn.params['sizes']}).copy()"


def _same(w: Any, eqn: Equation, args: list[str]) -> str:
    return args[0]


TEMPLATES: dict[Primitive, Callable[[Any, Equation, list[str]], str | None]] = {
    ops.reshape: _method("{0}.reshape({shape})"), ops.permute: _method("{0}.transpose({order})"),
    ops.dot_general: _dot, ops.convert: _convert, ops.slice_: _slice, ops.full: _full,
    blocks: write_blocks, scan: write_scan, ops.select: _select, ops.copy: _same,
    ops.stop_gradient: _same, ops.gather: _gather, ops.dynamic_slice: _dynamic_slice,
    ops.split: _split,
    ops.reduce_sum: _sum, ops.reduce_prod: _reduction(np.multiply),
    ops.reduce_max: _reduction(np.maximum), ops.reduce_min: _reduction(np.minimum),
}
