"""Fast paths: parts of a program for which MLX has one fused kernel.

Each is a formula of the part, a function that checks the sizes, axes and dtypes of a match and
writes the equations in its place, and a kernel. A part is replaced only where nothing else reads
the values inside it: a step with a backward pass that reads them keeps the plain equations.
Derivatives are not concerned: they have been taken of the plain primitives before.

Rotary embeddings have no fast path. `mx.fast.rope` computes its angles in single precision, with
errors that grow with the position (1e-4 at 1,000 and more); ours are rounded once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

from lucidfn import ops
from lucidfn.backends.mlx import contract
from lucidfn.backends.mlx.attention import ATTENTION, attention
from lucidfn.backends.mlx.patterns import (
    Either,
    Found,
    Fused,
    Hole,
    Pattern,
    Replacement,
    add,
    all_sized,
    convert,
    div,
    dot_general,
    matched,
    mul,
    narrowed,
    number,
    reduce_sum,
    reshape,
    rsqrt,
    sqrt,
    square,
    sub,
)
from lucidfn.config import settings
from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.ops.contract import free
from lucidfn.passes import dce
from lucidfn.passes.views import Made, uses
from lucidfn.types import bfloat16, float16, float32, kind_of

Build = Callable[[Found, Replacement], "list[Equation] | None"]


# ------------------------------------------------------------------ norms over the last axis

x, weight, bias, eps = Hole(), Hole(), Hole(), Hole()
share, count = Hole(), Hole()  # 1 / n, or n


def mean(x: Pattern) -> Pattern:
    total = reshape(reduce_sum(x))
    return Either(mul(total, share), div(total, count))


def by_size(x: Pattern) -> Pattern:
    """x over the root of the mean of its square."""
    spread = add(mean(Either(square(x), mul(x, x))), eps)
    return Either(mul(x, rsqrt(spread)), div(x, sqrt(spread)))


def or_narrowed(result: Pattern) -> Pattern:
    return Either(convert(result), result)


centred, scaled = by_size(sub(x, mean(x))), by_size(x)
LAYER_NORM = or_narrowed(Either(add(mul(centred, weight), bias), mul(centred, weight), centred))
RMS_NORM = or_narrowed(Either(mul(scaled, weight), scaled))

layer_norm = Fused("layer_norm", lambda x, weight=None, bias=None, *, eps:
                   mx.fast.layer_norm(x, weight, bias, eps))
rms_norm = Fused("rms_norm", lambda x, weight=None, *, eps: mx.fast.rms_norm(x, weight, eps))


def norm_by(kernel: Fused) -> Build:
    """A norm of float32 data, or of 16-bit data that is computed in float32."""
    def build(found: Found, new: Replacement) -> list[Equation] | None:
        dtype, shape = new.out.type.dtype, found[x].type.shape
        least = number(found[eps])
        # MLX computes float64 in single precision.
        if dtype not in (float32, float16, bfloat16) or least is None or \
                new.out.type.shape != shape or not all_sized(new.out.type) or \
                not over_last_axis(found, new):
            return None
        given = []
        for hole in (x, weight, bias):
            operand = narrowed(found[hole], dtype, new.made) if hole in found else None
            if operand is not None:
                given.append(operand)
            elif hole in found:
                return None
        if any(a.type.size != shape[-1] or a.type.shape[-1:] != shape[-1:] for a in given[1:]):
            return None
        vectors = [new.reshaped(a, shape[-1:]) for a in given[1:]]
        new.fused(kernel, shape, given[0], *vectors, eps=float(least))
        return new.finished()
    return build


def over_last_axis(found: Found, new: Replacement) -> bool:
    """Whether all means are over the last axis, which stays with size 1."""
    shape = found[x].type.shape
    for eqn in matched(found, new.made):
        if eqn.primitive is ops.reduce_sum and eqn.params["axes"] != (len(shape) - 1,):
            return False
        if eqn.primitive is ops.reshape and eqn.params["shape"] != (*shape[:-1], 1):
            return False
    return all(number(found[hole]) == n for hole, n in (
        (share, 1.0 / shape[-1]), (count, shape[-1])) if hole in found)


# ------------------------------------------------------------------ a sum with a product

a, b, c = Hole(), Hole(), Hole()
ADDMM = add(dot_general(a, b), c)

addmm = Fused("addmm", contract.addmm)


def sum_with_product(found: Found, new: Replacement) -> list[Equation] | None:
    """A product of floats to which an array of its shape, or one row, is added."""
    out, term = new.out.type, found[c]
    dot = next(e for e in matched(found, new.made) if e.primitive is ops.dot_general)
    if kind_of(out.dtype) != 2 or type(term) is not Var or term.type.dtype != out.dtype or \
            dot.outputs[0].type[:2] != out[:2] or \
            not all_sized(*[operand.type for operand in dot.inputs]):
        return None
    columns = len(free(len(dot.inputs[1].type.shape), dot.params["contract"][1],
                       dot.params["batch"][1]))
    row = out.shape[len(out.shape) - columns:]
    if term.type.shape != out.shape:
        if not columns or term.type.shape[-columns:] != row or term.type.size != math.prod(row):
            return None
        term = new.reshaped(term, row)
    new.fused(addmm, out.shape, term, *dot.inputs, **dot.params)
    return new.finished()


# ------------------------------------------------------------------ the pass

class FastPath(NamedTuple):
    """A part of programs, and what writes the equations in its place if a match fits."""

    pattern: Pattern
    build: Build


PATHS = (FastPath(ATTENTION, attention), FastPath(LAYER_NORM, norm_by(layer_norm)),
         FastPath(RMS_NORM, norm_by(rms_norm)), FastPath(ADDMM, sum_with_product))
BY_ROOT = {root: [path for path in PATHS if root in path.pattern.roots]
           for path in PATHS for root in path.pattern.roots}


def wanted(device: str) -> bool:
    """Whether fast paths are taken: on a CPU MLX makes the same operations of them."""
    return {"on": True, "off": False}.get(settings().fast_paths, device == "gpu")


def fast_paths(program: Program) -> Program:
    """The program with fused kernels. The largest part is found first, from its end."""
    made = {v: eqn for eqn in program.equations for v in eqn.outputs}
    read = uses(program)
    gone: set[Var] = set()
    equations: list[Equation] = []
    for eqn in reversed(program.equations):
        if gone and not gone.isdisjoint(eqn.outputs):
            continue
        new = None
        for path in BY_ROOT.get(eqn.primitive, ()):
            new = replacement(path, eqn, made, read, gone)
            if new is not None:
                break
        equations += [eqn] if new is None else reversed(new)
    if not gone:
        return program
    return dce(program.replace(equations=equations[::-1]))


def replacement(path: FastPath, root: Equation, made: Made, read: Counter[Atom],
                gone: set[Var]) -> list[Equation] | None:
    """What goes in the place of a part that ends with this equation; its inside is gone then."""
    for found in path.pattern.find(root.outputs[0], made, {}):
        inside = matched(found, made)
        own = [atom for eqn in inside for atom in eqn.inputs]
        hidden = [v for eqn in inside for v in eqn.outputs if eqn is not root]
        if any(read[v] != own.count(v) for v in hidden):
            continue
        equations = path.build(found, Replacement(root, made))
        if equations is not None:
            gone.update(hidden)
            return equations
    return None
