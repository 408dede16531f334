"""Taylor mode: run a function on truncated power series.

A value x(t) = x_0 + x_1 t + ... + x_K t^K is a primal x_0 with its terms [x_1, ..., x_K]. Rules for
common primitives are in `jet_rules`. Any other that has a jvp rule has a jet too: where z = f(x),
z'(t) is that rule applied to x'(t) at x(t), all as power series, and the terms of z' up to t^k need
those of z up to t^k only. So z comes term by term.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucidfn.core.primitive import Primitive, as_list
from lucidfn.core.trace import Trace, Tracer, leaked, levels, shape_of, type_of
from lucidfn.errors import MissingRuleError
from lucidfn.ops.elementwise import mul
from lucidfn.ops.shape import broadcast_to, zeros
from lucidfn.types import ArrayType

Terms = list[Any]
# Rules of primitives: (trace, primals, terms or None of each, params) -> (outputs, terms of each).
Rule = Callable[..., tuple[Any, Any]]
RULES: dict[Primitive, Rule] = {}
FAMILIES: list[tuple[type, Rule]] = []
# What applies a program is looked into: primitive -> function of its parameters.
INSIDE: dict[Primitive, Callable[..., Callable[..., Any]]] = {}


class JetTracer(Tracer):
    """A value with the terms of its power series."""

    __slots__ = ("primal", "terms", "weak")

    def __init__(self, trace: JetTrace, primal: Any, terms: Terms, weak: bool = False):
        self.owner, self.primal, self.terms, self.weak = trace, primal, terms, weak

    @property
    def type(self) -> ArrayType:  # type: ignore[override]
        t = type_of(self.primal)
        return t if t.weak is self.weak else t._replace(weak=self.weak)

    def with_weak(self, weak: bool) -> JetTracer:
        return JetTracer(self.owner, self.primal, self.terms, weak)

    def concrete(self, error: Callable[..., Exception], use: str) -> Any:
        if not self.owner.alive:
            raise leaked(self)
        primal = self.primal
        return primal.concrete(error, use) if isinstance(primal, Tracer) else primal


class JetTrace(Trace):
    """Computes with power series up to a degree."""

    def __init__(self, degree: int):
        self.level, self.degree, self.what = next(levels), degree, "jet"

    def box(self, primal: Any, terms: Terms | None, weak: bool = False) -> Any:
        return primal if terms is None else JetTracer(self, primal, terms, weak)

    def unbox(self, x: Any) -> tuple[Any, Terms | None]:
        mine = type(x) is JetTracer and x.owner is self
        return (x.primal, x.terms) if mine else (x, None)

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if not self.alive:
            raise leaked(next(a for a in args if isinstance(a, Tracer) and a.owner is self))
        pairs = [self.unbox(a) for a in args]
        primals, terms = [p for p, _ in pairs], [t for _, t in pairs]
        if all(t is None for t in terms):
            return primitive(*primals, **params)
        if primitive in INSIDE:
            return INSIDE[primitive](**params)(*args)
        out, found = rule_of(primitive)(self.degree, primals, terms, params)
        if not primitive.many:
            return self.box(out, found)
        return [self.box(o, t) for o, t in zip(out, found, strict=True)]

    def describe(self, tracer: JetTracer) -> str:
        inner = tracer.primal
        if isinstance(inner, Tracer) and hasattr(inner.owner, "describe"):
            return inner.owner.describe(inner)
        return ""


def rule_of(primitive: Primitive) -> Rule:
    rule = RULES.get(primitive)
    if rule is not None:
        return Bound(rule, primitive)
    for kind, of_kind in FAMILIES:
        if isinstance(primitive, kind):
            return Bound(of_kind, primitive)
    if type(primitive).jvp is Primitive.jvp and primitive.nested:
        raise MissingRuleError(
            f"jet has no rule for {primitive.name}, which runs a program. Take nested lf.jvp in "
            "its place, or write the loop in Python, which is recorded step by step")
    return Bound(by_derivative, primitive)


class Bound:
    """A rule with the primitive that it is for."""

    __slots__ = ("rule", "primitive")

    def __init__(self, rule: Rule, primitive: Primitive):
        self.rule, self.primitive = rule, primitive

    def __call__(self, degree: int, primals: Sequence[Any], terms: Sequence[Terms | None],
                 params: dict[str, Any]) -> tuple[Any, Any]:
        return self.rule(self.primitive, degree, primals, terms, params)


# ------------------------------------------------------------------ any primitive with a jvp

class _Touched(Exception):
    """A derivative rule reads the output."""


class _Untouchable(Trace):
    """What stands for an output whose terms are not known yet."""

    level = 1 << 62

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        raise _Touched


class _Output(Tracer):
    __slots__ = ("type", "weak")

    def __init__(self, type: ArrayType):
        self.owner, self.type, self.weak = _Untouchable(), type, False


def by_derivative(primitive: Primitive, degree: int, primals: Sequence[Any],
                  terms: Sequence[Terms | None], params: dict[str, Any]) -> tuple[Any, Any]:
    """z' = jvp rule(x'; z, x) in power series."""
    out = primitive(*primals, **params)
    outs = as_list(primitive, out)
    try:  # a rule that does not read its output gives all terms at once
        unknown = [_Output(type_of(o)) for o in outs]
        slopes = _slope(primitive, degree - 1, primals, terms, unknown, params)
        found = [None if s is None else [_over(c, k + 1) for k, c in enumerate(s)] for s in slopes]
    except _Touched:
        found = [[] for _ in outs]
        for k in range(degree):
            known = [_series(o, t, k) for o, t in zip(outs, found, strict=True)]
            slopes = _slope(primitive, k, primals, terms, known, params)
            for o, t, s in zip(outs, found, slopes, strict=True):
                t.append(_zeros(o) if s is None else _over(s[k], k + 1))
    found = [None if t is None else widened(t, o) for o, t in zip(outs, found, strict=True)]
    return (out, found) if primitive.many else (out, found[0])


def _slope(primitive: Primitive, degree: int, primals: Sequence[Any],
           terms: Sequence[Terms | None], outs: Sequence[Any],
           params: dict[str, Any]) -> list[Terms | None]:
    """The terms from t^0 to t^degree of the derivative of each output."""
    trace = JetTrace(degree)
    boxed = lambda x: trace.box(x[0], x[1:]) if isinstance(x, list) and degree else (
        x[0] if isinstance(x, list) else x)
    args = [boxed([p, *t[:degree]]) if t is not None else p
            for p, t in zip(primals, terms, strict=True)]
    tangents = [None if t is None else boxed([_times(c, k + 1) for k, c in
                                              enumerate(t[:degree + 1])]) for t in terms]
    ready = [boxed(o) for o in outs]
    try:
        got = primitive.jvp(tangents, ready if primitive.many else ready[0], *args, **params)
        slopes: list[Terms | None] = []
        for s in as_list(primitive, got) if got is not None else [None] * len(outs):
            if s is None:
                slopes.append(None)
                continue
            p, t = trace.unbox(s)
            slopes.append([p, *([_zeros(p)] * degree if t is None else t)])
        return slopes
    finally:
        trace.alive = False


def _series(out: Any, terms: Terms, degree: int) -> list[Any]:
    return [out, *terms[:degree]]


def _times(x: Any, n: int) -> Any:
    return x if n == 1 else mul(x, float(n))


def _over(x: Any, n: int) -> Any:
    return x if n == 1 else mul(x, 1.0 / n)


def _zeros(x: Any) -> Any:
    t = type_of(x)
    return zeros(t.shape, t.dtype)


def widened(terms: Terms, out: Any) -> Terms:
    """Terms of the shape of the output; rules may give what broadcasts to it."""
    shape = shape_of(out)
    return [t if shape_of(t) == shape else broadcast_to(t, shape=shape) for t in terms]


def jet(f: Callable[..., Sequence[Any]], primals: Sequence[Any], terms: Sequence[Terms | None],
        degree: int, *, weak: Sequence[bool] = (),
        fill: bool = True) -> tuple[list[Any], list[Any]]:
    """f of power series: (outputs, terms of each); flat lists in and out.

    Of an output that does not move the terms are zeros, or None without `fill`.
    """
    trace = JetTrace(degree)
    weak = weak or (False,) * len(primals)
    try:
        outs = f(*[trace.box(x, t, w) for x, t, w in zip(primals, terms, weak, strict=True)])
        pairs = [trace.unbox(out) for out in outs]
    finally:
        trace.alive = False
    return [p for p, _ in pairs], [[_zeros(p)] * degree if t is None and fill else t
                                   for p, t in pairs]
