"""Operations of loop bodies that write their results where these are kept, or share their work."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy import special
from lucidfn.core.ir import Equation, Program, Var
from lucidfn.core.primitive import Primitive
from lucidfn.transforms.linearize import drop_dead
from lucidfn.types import ArrayType

# By size of an element: up to here 1 / (1 + e) is a normal number.
_MOST = {4: 1e37, 8: 1e307}


class LogisticBoth(Primitive):
    """logistic(x) and logistic(-x), by one exponential. Made by the compiler."""

    name, many = "logistic_both", True

    def __init__(self) -> None:
        pass  # not in the table of primitives: no transformation and no other backend meets it

    def infer(self, x: ArrayType) -> list[ArrayType]:
        return [x, x]


logistic_both = LogisticBoth()


def both(x: np.ndarray, a: Any = None, b: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """1 / (1 + e) and e / (1 + e) with e = exp(-x); into a and b where they are given."""
    e = np.negative(x, out=b)
    e = np.exp(e, out=e)
    if not (x.size and np.maximum.reduce(e, None) < _MOST[x.itemsize]):
        return stored(special.logistic(x), a), stored(special.logistic(-x), b)
    a = np.add(e, 1.0, out=a)
    a = np.reciprocal(a, out=a)
    return a, np.multiply(e, a, out=e)


def stored(x: np.ndarray, place: Any) -> np.ndarray:
    if place is None:
        return x
    place[...] = x
    return place


def logistic(x: np.ndarray, out: Any = None) -> np.ndarray:
    """The kernel of logistic, into a place."""
    e = np.negative(x, out=out)
    e = np.exp(e, out=e)
    if not (x.size and np.maximum.reduce(e, None) < _MOST[x.itemsize]):
        return stored(special.logistic(x), out)
    e = np.add(e, 1.0, out=e)
    return np.reciprocal(e, out=e)


def shared_exponentials(program: Program) -> Program:
    """logistic(x) with logistic(-x) as one equation."""
    plain = {e.inputs[0]: e for e in program.equations if e.primitive is ops.logistic and simple(e)}
    turned = {e.outputs[0]: e.inputs[0] for e in program.equations
              if e.primitive is ops.neg and e.inputs[0] in plain}
    partner = {turned[e.inputs[0]]: e for e in program.equations
               if e.primitive is ops.logistic and e.inputs[0] in turned}
    if not partner:
        return program
    equations = []
    gone = [*partner.values()]
    for eqn in program.equations:
        x = eqn.inputs[0] if eqn.inputs else None
        if any(eqn is g for g in gone):
            continue
        if type(x) is Var and x in partner and eqn is plain[x]:
            eqn = Equation(logistic_both, [x], {}, [eqn.outputs[0], partner[x].outputs[0]],
                           eqn.source)
        equations.append(eqn)
    return drop_dead(program.replace(equations=equations))


def simple(eqn: Equation) -> bool:
    t = eqn.inputs[0].type
    return type(eqn.inputs[0]) is Var and t.dtype.char in "fd" and bool(t.shape)


def into_text(w: Any, eqn: Equation, args: list[str]) -> str | None:
    """The call of an operation that writes to the places of its stored outputs, or None."""
    places = [w.stored.get(v, "None") for v in eqn.outputs]
    if eqn.primitive is logistic_both:
        return f"{w.name_of(both, 'logistic_both')}({', '.join([*args, *places])})"
    if eqn.primitive is ops.logistic and simple(eqn):
        return f"{w.name_of(logistic, 'logistic_to')}({', '.join([*args, *places])})"
    if eqn.primitive is ops.concatenate and places != ["None"]:
        join = w.name_of(np.concatenate, "join")
        return f"{join}(({', '.join(args)}), {eqn.params['axis']}, out={places[0]})"
    return None
