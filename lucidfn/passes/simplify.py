"""Algebra that is exact in IEEE arithmetic: views merge, inverse pairs cancel, identities go.

`x + 0.0` is left alone (it turns -0.0 into 0.0), and so are `x * 0`, `x - x` and `x / x` (NaN and
inf), and `x * 1` of complex numbers (inf * 0). `log(exp(x))` and its like cancel only under
`lf.config.fast_math`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lucidfn import ops
from lucidfn.config import settings
from lucidfn.core.ir import Atom, Equation, Literal, Program, Var
from lucidfn.core.primitive import Primitive
from lucidfn.ops.families import Elementwise
from lucidfn.passes.rewrite import Decision, rewrite
from lucidfn.types import broadcast_shapes, kind_of

Made = dict[Var, Equation]


def simplify(program: Program) -> Program:
    """One walk: each equation sees the simplified forms of what it reads."""
    fast = settings().fast_math

    def rule(eqn: Equation, made: Made) -> Decision:
        special = RULES.get(eqn.primitive)
        if special is not None:
            decision = special(eqn, made)
            if decision is not None:
                return decision
        if fast and eqn.primitive in FAST:
            inner = _made_by(eqn.inputs[0], made, FAST[eqn.primitive])
            if inner is not None:
                return [inner.inputs[0]]
        if isinstance(eqn.primitive, Elementwise) and len(eqn.inputs) > 1:
            return _without_broadcasts(eqn, made)
        return None

    return rewrite(program, rule)


def _made_by(atom: Atom, made: Made, primitive: Primitive) -> Equation | None:
    eqn = made.get(atom) if type(atom) is Var else None
    return eqn if eqn is not None and eqn.primitive is primitive else None


def _without_broadcasts(eqn: Equation, made: Made) -> Decision:
    """Broadcasting is part of elementwise primitives: read the narrow operand itself."""
    inputs = list(eqn.inputs)
    for i, atom in enumerate(inputs):
        wide = _made_by(atom, made, ops.broadcast_to)
        if wide is None:
            continue
        narrow = [*inputs[:i], wide.inputs[0], *inputs[i + 1:]]
        if broadcast_shapes(*[a.type.shape for a in narrow]) == eqn.outputs[0].type.shape:
            inputs = narrow
    if inputs == eqn.inputs:
        return None
    return [Equation(eqn.primitive, inputs, eqn.params, eqn.outputs, eqn.source)]


# ------------------------------------------------------------------ rules, one for a primitive

def _literal(atom: Atom, value: float) -> bool:
    """Whether the atom is this literal, an integer or a float with this sign of zero."""
    return (type(atom) is Literal and type(atom.value) in (int, float) and atom.value == value
            and math.copysign(1, atom.value) == math.copysign(1, value))


def _is_complex(eqn: Equation) -> bool:
    return kind_of(eqn.outputs[0].type.dtype) == 3


def _same_type(x: Atom, eqn: Equation) -> bool:
    """Whether the equation may be replaced by x without changing shape or dtype."""
    return type(x) is Var and x.type[:2] == eqn.outputs[0].type[:2]


def _mul(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    if _is_complex(eqn):
        return None
    if _literal(y, 1.0) and _same_type(x, eqn):
        return [x]
    return [y] if _literal(x, 1.0) and _same_type(y, eqn) else None


def _div(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    return [x] if _literal(y, 1.0) and _same_type(x, eqn) and not _is_complex(eqn) else None


def _add(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    integer = kind_of(eqn.outputs[0].type.dtype) == 1
    if integer and _literal(y, 0) and _same_type(x, eqn):
        return [x]
    negated = _made_by(y, made, ops.neg)
    if negated is not None and kind_of(y.type.dtype) > 0:  # x + (-y) is x - y in every bit
        return [Equation(ops.sub, [x, negated.inputs[0]], {}, eqn.outputs, eqn.source)]
    return None


def _sub(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    return [x] if _literal(y, 0.0) and _same_type(x, eqn) else None


def _involution(eqn: Equation, made: Made) -> Decision:
    inner = _made_by(eqn.inputs[0], made, eqn.primitive)
    return [inner.inputs[0]] if inner is not None and inner.params == eqn.params else None


def _identity(eqn: Equation, made: Made) -> Decision:
    return [eqn.inputs[0]]


def _reshape(eqn: Equation, made: Made) -> Decision:
    x = eqn.inputs[0]
    if x.type.shape == eqn.params["shape"]:
        return [x]
    inner = _made_by(x, made, ops.reshape)
    if inner is None:
        return None
    if inner.inputs[0].type.shape == eqn.params["shape"]:
        return [inner.inputs[0]]
    return [Equation(ops.reshape, inner.inputs, eqn.params, eqn.outputs, eqn.source)]


def _permute(eqn: Equation, made: Made) -> Decision:
    x, order = eqn.inputs[0], eqn.params["order"]
    inner = _made_by(x, made, ops.permute)
    if inner is not None:
        order, x = tuple([inner.params["order"][i] for i in order]), inner.inputs[0]
    if order == tuple(range(len(order))):
        return [x]
    if inner is None:
        return None
    return [Equation(ops.permute, [x], {"order": order}, eqn.outputs, eqn.source)]


def _broadcast_to(eqn: Equation, made: Made) -> Decision:
    x = eqn.inputs[0]
    if x.type.shape == eqn.params["shape"]:
        return [x]
    inner = _made_by(x, made, ops.broadcast_to)
    if inner is None:
        return None
    return [Equation(ops.broadcast_to, inner.inputs, eqn.params, eqn.outputs, eqn.source)]


def _convert(eqn: Equation, made: Made) -> Decision:
    x, dtype = eqn.inputs[0], eqn.params["dtype"]
    if type(x) is Var and x.type.dtype == dtype:
        return [x]
    inner = _made_by(x, made, ops.convert)
    if inner is None or inner.inputs[0].type.dtype != dtype or type(inner.inputs[0]) is not Var:
        return None
    # There and back through a dtype that holds every value of the first.
    between = inner.params["dtype"]
    exact = dtype.kind == between.kind == "f" and between.itemsize > dtype.itemsize
    return [inner.inputs[0]] if exact else None


def _slice(eqn: Equation, made: Made) -> Decision:
    return [eqn.inputs[0]] if eqn.inputs[0].type.shape == eqn.outputs[0].type.shape else None


def _pad(eqn: Equation, made: Made) -> Decision:
    x = eqn.inputs[0]
    return [x] if not any(map(any, eqn.params["widths"])) and type(x) is Var else None


def _reduce(eqn: Equation, made: Made) -> Decision:
    return [eqn.inputs[0]] if not eqn.params["axes"] else None


def _part(which: int) -> Callable[[Equation, Made], Decision]:
    def rule(eqn: Equation, made: Made) -> Decision:
        inner = _made_by(eqn.inputs[0], made, ops.complex_)
        x = inner.inputs[which] if inner is not None else None
        return [x] if x is not None and _same_type(x, eqn) else None
    return rule


def _select(eqn: Equation, made: Made) -> Decision:
    pred, x, y = eqn.inputs
    return [x] if x is y and _same_type(x, eqn) else None


RULES: dict[Primitive, Callable[[Equation, Made], Decision]] = {
    ops.mul: _mul, ops.div: _div, ops.add: _add, ops.sub: _sub, ops.neg: _involution,
    ops.conj: _involution, ops.flip: _involution, ops.bitwise_not: _involution,
    ops.copy: _identity, ops.stop_gradient: _identity,
    ops.reshape: _reshape, ops.permute: _permute, ops.broadcast_to: _broadcast_to,
    ops.convert: _convert, ops.slice_: _slice, ops.pad: _pad, ops.select: _select,
    ops.reduce_sum: _reduce, ops.reduce_max: _reduce, ops.reduce_min: _reduce,
    ops.reduce_prod: _reduce, ops.real: _part(0), ops.imag: _part(1),
}
# outer(inner(x)) -> x, right but for rounding, overflow and domain
FAST = {ops.log: ops.exp, ops.exp: ops.log, ops.log1p: ops.expm1, ops.expm1: ops.log1p,
        ops.atanh: ops.tanh, ops.tanh: ops.atanh, ops.square: ops.sqrt}
