"""Rewrites of reshape, permute and broadcast_to, and of products that read or feed them.

An axis of size 1 can stand anywhere without moving an element, so a reshape that only adds, drops
or moves such axes passes through a permute or a broadcast.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from lucidfn import ops
from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.core.primitive import Primitive
from lucidfn.ops.contract import free
from lucidfn.passes.rewrite import Decision
from lucidfn.types import ArrayType

Made = dict[Var, Equation]
Shape = tuple[int, ...]


def made_by(atom: Atom, made: Made, primitive: Primitive) -> Equation | None:
    eqn = made.get(atom) if type(atom) is Var else None
    return eqn if eqn is not None and eqn.primitive is primitive else None


def with_inputs(eqn: Equation, *inputs: Atom) -> list[Equation]:
    """The equation with other operands."""
    return [Equation(eqn.primitive, list(inputs), eqn.params, eqn.outputs, eqn.source)]


def chain(eqn: Equation, x: Atom, *steps: tuple[Primitive, dict[str, Shape], Shape]
          ) -> list[Equation]:
    """Primitives of one operand after another, with the shapes of their results."""
    equations = []
    for i, (primitive, params, shape) in enumerate(steps):
        out = eqn.outputs[0]
        if i < len(steps) - 1:
            out = Var(ArrayType(shape, out.type.dtype, out.type.weak))
        equations.append(Equation(primitive, [x], params, [out], eqn.source))
        x = out
    return equations


# ------------------------------------------------------------------ axes of size 1

def long_axes(shape: Shape) -> list[int]:
    return [i for i, n in enumerate(shape) if n != 1]


def same_but_ones(a: Shape, b: Shape) -> bool:
    return [a[i] for i in long_axes(a)] == [b[i] for i in long_axes(b)]


def reshape(eqn: Equation, made: Made) -> Decision:
    x, shape = eqn.inputs[0], eqn.params["shape"]
    if x.type.shape == shape:
        return [x]
    inner = made.get(x) if type(x) is Var else None
    if inner is None:
        return None
    if inner.primitive is ops.reshape:
        return with_inputs(eqn, inner.inputs[0])
    if inner.primitive is ops.broadcast_to:
        return _reshaped_broadcast(eqn, inner.inputs[0])
    if inner.primitive is ops.permute and same_but_ones(x.type.shape, shape):
        return _reshaped_permute(eqn, inner, made)
    return None


def _reshaped_broadcast(eqn: Equation, z: Atom) -> Decision:
    """A reshape of broadcast z, as a broadcast of reshaped z."""
    wide, shape, narrow = eqn.inputs[0].type.shape, eqn.params["shape"], z.type.shape
    if same_but_ones(wide, shape):
        narrow = (1,) * (len(wide) - len(narrow)) + narrow
        own = dict(zip(long_axes(shape), [narrow[i] for i in long_axes(wide)], strict=True))
        narrow = tuple([own.get(i, 1) for i in range(len(shape))])
    narrow = narrow[next((i for i, n in enumerate(narrow) if n != 1), len(narrow)):]
    rank = len(narrow)
    if not same_but_ones(wide, shape) and wide[len(wide) - rank:] != shape[len(shape) - rank:]:
        return None
    return chain(eqn, z, (ops.reshape, {"shape": narrow}, narrow),
                 (ops.broadcast_to, {"shape": shape}, shape))


def _reshaped_permute(eqn: Equation, inner: Equation, made: Made) -> Decision:
    """reshape(permute(reshape(x))) that only moves axes of size 1 about: one permute, or less."""
    shape, order, x = eqn.params["shape"], inner.params["order"], inner.inputs[0]
    before = x.type.shape
    first = made_by(x, made, ops.reshape)
    if first is not None and same_but_ones(first.inputs[0].type.shape, before):
        x = first.inputs[0]
    own = dict(zip(long_axes(before), long_axes(x.type.shape), strict=True))
    moved = [own[i] for i in order if i in own]
    if moved == sorted(moved):
        return with_inputs(eqn, x)
    ones = [i for i, n in enumerate(x.type.shape) if n == 1]
    if len(ones) == len(shape) - len(moved):
        long, short = iter(moved), iter(ones)
        whole = tuple([next(short) if n == 1 else next(long) for n in shape])
        return [Equation(ops.permute, [x], {"order": whole}, eqn.outputs, eqn.source)]
    if x is inner.inputs[0]:
        return None
    whole = (*moved, *ones)
    return chain(eqn, x, (ops.permute, {"order": whole},
                          tuple([x.type.shape[i] for i in whole])),
                 (ops.reshape, {"shape": shape}, shape))


def broadcast_to(eqn: Equation, made: Made) -> Decision:
    x = eqn.inputs[0]
    if x.type.shape == eqn.params["shape"]:
        return [x]
    inner = made.get(x) if type(x) is Var else None
    if inner is None:
        return None
    source = inner.inputs[0] if inner.inputs else x
    more = len(x.type.shape) - len(source.type.shape)
    leading = inner.primitive is ops.reshape and x.type.shape == (1,) * more + source.type.shape
    return with_inputs(eqn, source) if leading or inner.primitive is ops.broadcast_to else None


# ------------------------------------------------------------------ permutes and products

def uses(program: Program) -> Counter[Atom]:
    """How often each variable is read."""
    return Counter(itertools.chain(program.outputs, *[e.inputs for e in program.equations]))


def permute(read: Counter[Atom]) -> Callable[[Equation, Made], Decision]:
    """The rule for permute, by how often each variable is read."""
    def rule(eqn: Equation, made: Made) -> Decision:
        x, order = eqn.inputs[0], eqn.params["order"]
        if order == tuple(range(len(order))):
            return [x]
        inner = made.get(x) if type(x) is Var else None
        if inner is not None and inner.primitive is ops.permute:
            order = tuple([inner.params["order"][i] for i in order])
            return [Equation(ops.permute, inner.inputs, {"order": order}, eqn.outputs, eqn.source)]
        if inner is not None and inner.primitive is ops.dot_general and read[x] == 1:
            return _swapped(eqn, inner)
        return None
    return rule


def _swapped(eqn: Equation, dot: Equation) -> Decision:
    """A permute that exchanges the free axes of the operands: the product the other way round."""
    (x, y), contract, batch = dot.inputs, dot.params["contract"], dot.params["batch"]
    shared, rank = len(batch[0]), len(eqn.params["order"])
    left = shared + len(free(len(x.type.shape), contract[0], batch[0]))
    if eqn.params["order"] != (*range(shared), *range(left, rank), *range(shared, left)):
        return None
    params = {"contract": contract[::-1], "batch": batch[::-1]}
    return [Equation(ops.dot_general, [y, x], params, eqn.outputs, eqn.source)]


def dot_general(eqn: Equation, made: Made) -> Decision:
    """A sum of one term is a product of elements. Else read an operand before it is permuted, where
    that leaves the order of its free axes."""
    (x, y), contract, batch = eqn.inputs, eqn.params["contract"], eqn.params["batch"]
    if x.type.dtype.kind == "f" and type(x) is type(y) is Var and all(
            x.type.shape[a] == 1 for a in contract[0]):
        return outer_product(eqn, x, y, contract, batch)
    for side in (0, 1):
        inner = made_by(eqn.inputs[side], made, ops.permute)
        if inner is None:
            continue
        order, params = inner.params["order"], dict(eqn.params)
        kept = free(len(order), params["contract"][side], params["batch"][side])
        if [order[i] for i in kept] != sorted([order[i] for i in kept]):
            continue
        for name in ("contract", "batch"):
            pair = list(params[name])
            pair[side] = tuple([order[i] for i in pair[side]])
            params[name] = tuple(pair)
        inputs = list(eqn.inputs)
        inputs[side] = inner.inputs[0]
        return [Equation(ops.dot_general, inputs, params, eqn.outputs, eqn.source)]
    return None


def outer_product(eqn: Equation, x: Var, y: Var, contract: tuple[Shape, Shape],
                  batch: tuple[Shape, Shape]) -> list[Equation]:
    """[batch, free of x, free of y] as a product of elements."""
    own = [free(len(v.type.shape), c, b) for v, c, b in zip((x, y), contract, batch, strict=True)]
    steps, operands = [], []
    for side, v in enumerate((x, y)):
        order = (*batch[side], *own[side], *contract[side])
        sizes = [v.type.shape[a] for a in order[:len(order) - len(contract[side])]]
        at = len(batch[side]) if side else len(sizes)  # where the free axes of the other go
        shape = (*sizes[:at], *(1,) * len(own[1 - side]), *sizes[at:])
        turned, placed = (Var(v.type._replace(shape=s)) for s in
                          (tuple([v.type.shape[a] for a in order]), shape))
        steps += [Equation(ops.permute, [v], {"order": order}, [turned], eqn.source),
                  Equation(ops.reshape, [turned], {"shape": shape}, [placed], eqn.source)]
        operands.append(placed)
    return [*steps, Equation(ops.mul, operands, {}, eqn.outputs, eqn.source)]
