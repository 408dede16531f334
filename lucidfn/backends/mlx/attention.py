"""Scaled dot-product attention, recognised in a program, as one kernel of MLX.

It may have axes before its heads, heads that share keys, a causal mask, one of booleans, one that
is added, and a scale on either side of the first product. Dropout between the products hides it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx

from lucidfn import ops
from lucidfn.backends.mlx.contract import single_on_cpu
from lucidfn.backends.mlx.patterns import (
    Either,
    Found,
    Fused,
    Hole,
    Replacement,
    add,
    all_sized,
    convert,
    div,
    dot_general,
    mul,
    narrowed,
    number,
    reshape,
    select,
    softmax,
)
from lucidfn.core.ir import Atom, Equation, Literal, Var
from lucidfn.ops.contract import free
from lucidfn.passes.views import Made, made_by
from lucidfn.types import bfloat16, bool_, float16, float32

Shape = tuple[int, ...]

q, k, v, seen, bias, least = Hole(), Hole(), Hole(), Hole(), Hole(), Hole()
factor, divisor = Hole(), Hole()  # of the queries
later_factor, later_divisor = Hole(), Hole()  # of the scores

scaled = Either(mul(q, factor), div(q, divisor))
product = dot_general(Either(scaled, reshape(scaled), q), k)
scores = Either(convert(product), convert(reshape(product)), reshape(product), product)
scores = Either(mul(scores, later_factor), div(scores, later_divisor), scores)
scores = Either(add(scores, bias), scores)
weights = softmax(Either(select(seen, scores, least), scores))
ATTENTION = dot_general(
    Either(weights, convert(weights), reshape(weights), reshape(convert(weights))), v)


def attend(q: mx.array, k: mx.array, v: mx.array, *mask: mx.array, scale: float,
           causal: bool) -> mx.array:
    """[B, N, T, H] to keys [B, K, S, H] and values [B, K, S, V]: [B, N, T, V]."""
    run = single_on_cpu(lambda *args: mx.fast.scaled_dot_product_attention(
        *args[:3], scale=scale, mask="causal" if causal else args[3] if mask else None))
    return run(q, k, v, *mask)


sdpa = Fused("scaled_dot_product_attention", attend)


class Layout(NamedTuple):
    """The sizes of an attention, with axes for all of [lead, heads, length, places]."""

    lead: Shape
    heads: int
    key_heads: int
    length: int
    places: int


def attention(found: Found, new: Replacement) -> list[Equation] | None:
    """Attention over the last axis of the scores."""
    dtype = new.out.type.dtype
    first, last = made_as(found[product], new.made), new.root
    layout = layout_of(first, last, made_as(found[weights], new.made))
    turns = [turned(first, 0, 0), turned(first, 1, 0), turned(last, 1, 1)]
    if dtype not in (float32, float16, bfloat16) or layout is None or None in turns or \
            found[weights].type.dtype not in (dtype, float32):
        return None
    rows, whole = first.inputs[0].type, found[q].type
    # Queries were scaled before heads that share keys became rows of one product.
    if rows.size != whole.size or rows.shape != whole.shape and turns[0] != straight(rows.shape):
        return None
    scaling, mask = scale_of(found, new), mask_of(found, new, layout)
    if scaling is None or mask is None:
        return None
    batch = math.prod(layout.lead)
    widths = [rows.shape[turns[0][-1]]] * 2 + [new.out.type.shape[-1]]
    counts = [(layout.heads, layout.length)] + [(layout.key_heads, layout.places)] * 2
    operands = []
    for x, order, count, width in zip((scaling[0], found[k], found[v]), turns, counts, widths,
                                      strict=True):
        moved = x if order == straight(order) else new.apply(ops.permute, x, order=order)
        operands.append(new.reshaped(moved, (batch, *count, width)))
    out = new.fused(sdpa, (batch, *counts[0], widths[2]), *operands, *mask.given,
                    scale=scaling[1], causal=mask.causal)
    if mask.visible is not None:  # a query that sees no key gets 0, where MLX gives NaN or a mean
        new.apply(ops.select, mask.visible, out, Literal(0.0))
    return new.finished()


# ------------------------------------------------------------------ layouts

def made_as(atom: Atom, made: Made) -> Equation:
    return made[atom]  # type: ignore[index]


def straight(axes: Shape) -> Shape:
    return tuple(range(len(axes)))


def turned(dot: Equation, side: int, at: int) -> Shape | None:
    """The axes of an operand as [batch, free, contracted], or for at=1 [batch, contracted, free];
    None unless one axis is free and one contracted."""
    inner, shared = dot.params["contract"][side], dot.params["batch"][side]
    own = free(len(dot.inputs[side].type.shape), inner, shared)
    if len(own) != 1 or len(inner) != 1:
        return None
    return (*shared, *inner, *own) if at else (*shared, *own, *inner)


def layout_of(first: Equation, last: Equation, normal: Equation) -> Layout | None:
    """The sizes, if scores are normalised over their last axis and both products fit them."""
    shape, grouped = normal.outputs[0].type.shape, first.outputs[0].type.shape
    types = [a.type for a in (*first.inputs, *last.inputs)]
    if len(shape) < 2 or len(grouped) < 2 or not all_sized(*types) or \
            normal.params["axes"] != (len(shape) - 1,) or \
            last.inputs[0].type.shape != grouped or turned(last, 0, 0) != straight(grouped):
        return None
    *lead, heads, length, places = (1,) * (3 - len(shape)) + shape
    *others, key_heads, rows, same = (1,) * (3 - len(grouped)) + grouped
    if (lead, places) != (others, same) or heads % key_heads or \
            rows != heads // key_heads * length:
        return None
    return Layout(tuple(lead), heads, key_heads, length, places)


# ------------------------------------------------------------------ scales and masks

def scale_of(found: Found, new: Replacement) -> tuple[Var, float] | None:
    """The queries, and by what scores are multiplied; an array without axes scales queries."""
    query, scale = found[q], 1.0
    for hole, primitive in ((factor, ops.mul), (divisor, ops.div), (later_factor, ops.mul),
                            (later_divisor, ops.div)):
        by = found.get(hole)
        if number(by):
            scale = scale * by.value if primitive is ops.mul else scale / by.value
        elif by is not None:
            if by.type.shape != () or by.type.dtype != query.type.dtype or type(by) is not Var:
                return None
            query = new.apply(primitive, query, by)
    return (query, float(scale)) if type(query) is Var and math.isfinite(scale) else None


class Mask(NamedTuple):
    given: list[Var]  # one array at most, as the kernel takes it
    causal: bool
    visible: Var | None  # which queries see any key


def mask_of(found: Found, new: Replacement, layout: Layout) -> Mask | None:
    """The masks as one, of axes [B, heads, length, places]; None for one that does not fit."""
    shown, added = found.get(seen), found.get(bias)
    if shown is None and added is None:
        return Mask([], False, None)
    if shown is not None and (shown.type.dtype != bool_ or number(found[least]) != -math.inf):
        return None
    causal = added is None and is_causal(shown, new.made)
    if causal and layout.length == layout.places:
        return Mask([], True, None)
    parts = []
    for mask in (shown, added):
        if mask is not None:
            fits = placed(mask, new, layout)
            if fits is None:
                return None
            parts.append(fits)
    mask = parts[0] if len(parts) == 1 else new.apply(ops.select, *parts, Literal(-math.inf))
    if causal:  # every query sees the first key
        return Mask([mask], False, None)
    some = mask if mask.type.dtype == bool_ else new.apply(ops.ne, mask, Literal(-math.inf))
    some = new.apply(ops.reduce_or, some, axes=(3,))
    return Mask([mask], False, new.reshaped(some, (*some.type.shape, 1)))


def placed(mask: Atom, new: Replacement, layout: Layout) -> Var | None:
    """A mask with four axes, of booleans or of the queries' dtype; None if its axes before heads
    are neither all of them nor of size 1."""
    if mask.type.dtype != bool_:
        mask = narrowed(mask, new.out.type.dtype, new.made)
    rank = len(layout.lead) + 3
    if type(mask) is not Var or len(mask.type.shape) > rank:
        return None
    shape = (1,) * (rank - len(mask.type.shape)) + mask.type.shape
    lead = shape[:-3]
    if math.prod(lead) != 1 and lead != layout.lead:
        return None
    return new.reshaped(mask, (math.prod(lead), *shape[-3:]))


def is_causal(mask: Atom, made: Made) -> bool:
    """Whether the mask is `column <= row`, of the places of keys and of queries."""
    found = made.get(mask)  # type: ignore[arg-type]
    while found is not None and found.primitive is ops.reshape:
        found = made.get(found.inputs[0])  # type: ignore[arg-type]
    if found is None or found.primitive not in (ops.le, ops.ge):
        return False
    column, row = found.inputs if found.primitive is ops.le else found.inputs[::-1]
    return counts_along(column, made) == -1 and counts_along(row, made) == -2


def counts_along(atom: Atom, made: Made) -> int | None:
    """The axis, from the end, along which elements are 0, 1, 2, ... and the only long one."""
    inner = made_by(atom, made, ops.reshape)
    counts = made_by(atom if inner is None else inner.inputs[0], made, ops.iota)
    shape = atom.type.shape
    long = [i - len(shape) for i, n in enumerate(shape) if n != 1]
    if counts is None or len(long) != 1 or counts.outputs[0].type.shape[counts.params["axis"]] \
            != shape[long[0]]:
        return None
    return long[0]
