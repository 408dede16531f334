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
from lucidfn.passes import views
from lucidfn.passes.rewrite import Decision, rewrite
from lucidfn.passes.views import Made, made_by, with_inputs
from lucidfn.types import broadcast_shapes, kind_of


def simplify(program: Program) -> Program:
    """One walk: each equation sees the simplified forms of what it reads."""
    fast = settings().fast_math
    rules = {**RULES, ops.permute: views.permute(views.uses(program))}

    def rule(eqn: Equation, made: Made) -> Decision:
        special = rules.get(eqn.primitive)
        if special is not None:
            decision = special(eqn, made)
            if decision is not None:
                return decision
        if fast and eqn.primitive in FAST:
            inner = made_by(eqn.inputs[0], made, FAST[eqn.primitive])
            if inner is not None:
                return [inner.inputs[0]]
        if isinstance(eqn.primitive, Elementwise):
            return _without_broadcasts(eqn, made)
        return None

    return rewrite(program, rule)


def _without_broadcasts(eqn: Equation, made: Made) -> Decision:
    """Broadcasting is part of elementwise primitives: read the narrow operand itself. Where all
    operands are narrow, compute the narrow result and broadcast that."""
    for a in eqn.inputs:
        inner = made.get(a)  # type: ignore[arg-type]
        if inner is not None and inner.primitive is ops.broadcast_to:
            break
    else:
        return None
    out, inputs = eqn.outputs[0], list(eqn.inputs)
    wide = [made_by(a, made, ops.broadcast_to) for a in inputs]
    narrow = [a if w is None else w.inputs[0] for a, w in zip(inputs, wide, strict=True)]
    shape = broadcast_shapes(*[a.type.shape for a in narrow])
    if shape == out.type.shape:
        return with_inputs(eqn, *narrow)
    if not any(w is None and a.type.shape for a, w in zip(inputs, wide, strict=True)):
        result = Var(out.type._replace(shape=shape))
        return [Equation(eqn.primitive, narrow, eqn.params, [result], eqn.source),
                Equation(ops.broadcast_to, [result], {"shape": out.type.shape}, [out], eqn.source)]
    for i, source in enumerate(wide):
        if source is not None:
            fewer = [*inputs[:i], narrow[i], *inputs[i + 1:]]
            if broadcast_shapes(*[a.type.shape for a in fewer]) == out.type.shape:
                inputs = fewer
    return None if inputs == eqn.inputs else with_inputs(eqn, *inputs)


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
    if (type(x) is not Literal and type(y) is not Literal) or _is_complex(eqn):
        return None
    if _literal(y, 1.0) and _same_type(x, eqn):
        return [x]
    if _literal(x, 1.0) and _same_type(y, eqn):
        return [y]
    return _scaled_negative(eqn, made)


def _scaled_negative(eqn: Equation, made: Made) -> Decision:
    """-x times or over a number is x times or over its opposite."""
    x, y = eqn.inputs
    negated = made_by(x, made, ops.neg)
    if negated is None or not _is_float(y):
        return None
    return with_inputs(eqn, negated.inputs[0], Literal(-y.value))


def _is_float(atom: Atom) -> bool:
    return type(atom) is Literal and type(atom.value) is float


def _div(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    if _is_complex(eqn) or type(y) is not Literal:
        return None
    if _literal(y, 1.0) and _same_type(x, eqn):
        return [x]
    if kind_of(eqn.outputs[0].type.dtype) == 2 and type(x) is Var and _is_float(y):
        # Over a power of two is times its inverse, to the bit; a product is faster.
        share, exponent = math.frexp(y.value)
        largest = 14 if eqn.outputs[0].type.dtype.itemsize == 2 else 100
        if abs(share) == 0.5 and abs(exponent - 1) <= largest:
            return [Equation(ops.mul, [x, Literal(1.0 / y.value)], {}, eqn.outputs, eqn.source)]
    return _scaled_negative(eqn, made)


def _neg(eqn: Equation, made: Made) -> Decision:
    x = eqn.inputs[0]
    inner = made.get(x) if type(x) is Var else None
    if inner is None or kind_of(x.type.dtype) == 3:
        return _involution(eqn, made)
    if inner.primitive in (ops.mul, ops.div) and _is_float(inner.inputs[1]):
        return [Equation(inner.primitive, [inner.inputs[0], Literal(-inner.inputs[1].value)], {},
                         eqn.outputs, eqn.source)]
    return _involution(eqn, made)


def _add(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    kind = kind_of(eqn.outputs[0].type.dtype)
    if kind == 1 and _literal(y, 0) and _same_type(x, eqn):
        return [x]
    # x + (-y) is x - y in every bit, and sums do not ask for the order of two.
    for one, other in ((x, y), (y, x)):
        negated = made_by(other, made, ops.neg)
        if negated is not None and kind > 0:
            return [Equation(ops.sub, [one, negated.inputs[0]], {}, eqn.outputs, eqn.source)]
    return None


def _sub(eqn: Equation, made: Made) -> Decision:
    x, y = eqn.inputs
    if _literal(y, 0.0) and _same_type(x, eqn):
        return [x]
    negated = made_by(y, made, ops.neg)
    if negated is None:
        return None
    return [Equation(ops.add, [x, negated.inputs[0]], {}, eqn.outputs, eqn.source)]


def _involution(eqn: Equation, made: Made) -> Decision:
    inner = made_by(eqn.inputs[0], made, eqn.primitive)
    return [inner.inputs[0]] if inner is not None and inner.params == eqn.params else None


def _identity(eqn: Equation, made: Made) -> Decision:
    return [eqn.inputs[0]]


def _convert(eqn: Equation, made: Made) -> Decision:
    x, dtype = eqn.inputs[0], eqn.params["dtype"]
    if type(x) is Var and x.type.dtype == dtype:
        return [x]
    inner = made_by(x, made, ops.convert)
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
        inner = made_by(eqn.inputs[0], made, ops.complex_)
        x = inner.inputs[which] if inner is not None else None
        return [x] if x is not None and _same_type(x, eqn) else None
    return rule


def _select(eqn: Equation, made: Made) -> Decision:
    pred, x, y = eqn.inputs
    return [x] if x is y and _same_type(x, eqn) else None


RULES: dict[Primitive, Callable[[Equation, Made], Decision]] = {
    ops.mul: _mul, ops.div: _div, ops.add: _add, ops.sub: _sub, ops.neg: _neg,
    ops.conj: _involution, ops.flip: _involution, ops.bitwise_not: _involution,
    ops.copy: _identity, ops.stop_gradient: _identity, ops.checkpoint_name: _identity,
    ops.reshape: views.reshape, ops.broadcast_to: views.broadcast_to,
    ops.dot_general: views.dot_general,
    ops.convert: _convert, ops.slice_: _slice, ops.pad: _pad, ops.select: _select,
    ops.reduce_sum: _reduce, ops.reduce_max: _reduce, ops.reduce_min: _reduce,
    ops.reduce_prod: _reduce, ops.real: _part(0), ops.imag: _part(1),
}
# outer(inner(x)) -> x, right but for rounding, overflow and domain
FAST = {ops.log: ops.exp, ops.exp: ops.log, ops.log1p: ops.expm1, ops.expm1: ops.log1p,
        ops.atanh: ops.tanh, ops.tanh: ops.atanh, ops.square: ops.sqrt}
