"""Users' own primitives: operations with kernels of their own that all transformations know.

    import numpy as np
    from lucidfn import extend

    cot = extend.elementwise("cot", lambda x: 1 / np.tan(x), jvp=[lambda t, y, x: -t * (1 + y * y)])

    @extend.primitive(kernels={"numpy": np.outer}, linear_in=(0, 1), transpose=outer_transpose)
    def outer(x, y):
        return lf.ShapeDtypeStruct((*x.shape, *y.shape), x.dtype)

Rules are written with public arrays, operators and functions of lucidfn; kernels take and return
the arrays of their backend. Check a primitive with `lucidfn.testing`. Where rules are made of other
operations, and no new kernel is needed, `lf.custom_jvp` and `lf.custom_vjp` are simpler.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.array import as_raw, typeof, unwrap, wrap
from lucidfn.backends.devices import find_backend
from lucidfn.core.ir import Var
from lucidfn.core.primitive import ALL, Primitive, as_list
from lucidfn.core.trace import shape_of, type_of
from lucidfn.numpy.elementwise import lift
from lucidfn.ops.families import Elementwise
from lucidfn.types import ArrayType, ShapeDtypeStruct

Kernels = Callable[..., Any] | dict[str, Callable[..., Any]]
Rule = Callable[..., Any]


def unknown(x: Any) -> bool:
    """In a transpose rule: whether this operand is one to differentiate with respect to.

    Such an operand is a ShapeDtypeStruct: it has a shape and a dtype, and no value.
    """
    return isinstance(x, ShapeDtypeStruct)


def elementwise(name: str, kernels: Kernels, jvp: Sequence[Rule | None], *, to_float: bool = True,
                accepts: str = "fc", doc: str = "") -> Callable[..., Any]:
    """A function of arrays that works element by element, with broadcasting and promotion.

    `kernels`: the NumPy function, or a dict by backend. `jvp` has a rule for each operand,
    `rule(tangent, output, *operands) -> output tangent`, or None where the derivative is zero.
    Integers become floats with `to_float`; `accepts` lists dtype kinds (b, i, f, c).

    >>> import numpy as np, lucidfn as lf
    >>> cot = elementwise("cot", lambda x: 1 / np.tan(x), jvp=[lambda t, y, x: -t * (1.0 + y * y)])
    >>> print(cot(1.0), lf.jit(lf.vmap(lf.grad(cot)))(np.ones(2, "float32")))
    0.6420926 [-1.412283 -1.412283]
    """
    made = _declare(name, lambda: Elementwise(name, [
        None if rule is None else functools.partial(_on_raw, rule) for rule in jvp],
        accepts=accepts))
    _add_kernels(made, kernels)

    def function(*args: Any) -> Any:
        if len(args) != len(jvp):
            raise TypeError(f"{name} takes {len(jvp)} arrays, got {len(args)}")
        raws, weak = lift(*args, to_float=to_float)
        return wrap(made(*raws), weak)

    return _public(function, name, doc, made)


def primitive(infer: Rule | None = None, *, name: str | None = None, kernels: Kernels,
              jvp: Rule | Sequence[Rule | None] | None = None, linear_in: Sequence[int] = (),
              transpose: Rule | None = None, batch: Rule | str | None = None,
              many: bool = False) -> Any:
    """A function of arrays (positional) and static parameters (keyword), from its rules.

    `infer(*structs, **params)`, the decorated function, returns the output's `ShapeDtypeStruct`
    (a list of them with `many`). The others are optional, until something needs them:

    `jvp`: one rule for each operand, `rule(tangent, output, *args, **params)`, whose results are
    added; or one function `jvp(tangents, output, *args, **params)`, where None is a zero tangent.
    `linear_in`: operands in each of which it is linear, the others held fixed; stands for `jvp`.
    `transpose(ct, *args, **params)` returns a cotangent for each operand, None for known ones;
    an operand that is differentiated is a ShapeDtypeStruct (see `unknown`).
    `batch(size, batched, *args, **params)`: batched operands have the batch axis in front, and so
    has the result. "broadcast" for kernels that work over leading axes; without a rule, lanes run
    one after the other.

    >>> import numpy as np, lucidfn as lf, lucidfn.numpy as lnp
    >>> @primitive(kernels=lambda x, *, n: np.roll(x, n), linear_in=(0,),
    ...            transpose=lambda ct, x, n: (turn(ct, n=-n),))
    ... def turn(x, *, n):
    ...     return x
    >>> lf.grad(lambda x: turn(x, n=1)[0] * 5.0)(lnp.zeros(3)).tolist()
    [0.0, 0.0, 5.0]
    """
    if infer is None:
        return functools.partial(primitive, name=name, kernels=kernels, jvp=jvp,
                                 linear_in=linear_in, transpose=transpose, batch=batch, many=many)
    label = name or infer.__name__
    if isinstance(batch, str) and batch != "broadcast":
        raise ValueError(f"primitive {label}: batch must be a rule or 'broadcast', got {batch!r}")
    made = _declare(label, lambda: UserPrimitive(label, infer, jvp, tuple(linear_in), transpose,
                                                 batch, many))
    _add_kernels(made, kernels)

    def function(*args: Any, **params: Any) -> Any:
        out = made(*map(as_raw, args), **params)
        return [wrap(o) for o in out] if many else wrap(out)

    return _public(function, label, infer.__doc__ or "", made)


def register_kernel(function: Any, backend: str, kernel: Rule) -> None:
    """Set how a primitive runs on a backend: `kernel(*arrays, **params)`.

    `function` is what `primitive` or `elementwise` returned, or a `Primitive`.
    """
    made = getattr(function, "primitive", function)
    if not isinstance(made, Primitive):
        raise TypeError(f"register_kernel takes a primitive, got {type(function).__name__}")
    try:
        table = find_backend(backend).kernels
    except ValueError as error:
        raise ValueError(f"there is no backend {backend!r} here; there is 'numpy', and 'mlx' if it "
                         f"is installed ({error})") from None
    table[made] = kernel


# ------------------------------------------------------------------ inside

class UserPrimitive(Primitive):
    """A primitive whose rules are written with public arrays."""

    def __init__(self, name: str, infer: Rule, jvp: Any, linear_in: tuple[int, ...],
                 transpose: Rule | None, batch: Any, many: bool):
        super().__init__(name)
        self.rules = {"infer": infer, "jvp": jvp, "transpose": transpose, "batch": batch}
        self.linear_in, self.many = linear_in, many

    def infer(self, *types: ArrayType, **params: Any) -> Any:
        found = self.rules["infer"](*map(_struct, types), **params)
        if isinstance(found, (list, tuple)) is not self.many or isinstance(found, ArrayType):
            raise TypeError(f"the infer rule of {self.name} must return a "
                            f"{'list of ShapeDtypeStructs' if self.many else 'ShapeDtypeStruct'}, "
                            f"got {type(found).__name__}")
        strong = [ArrayType(*typeof(s)[:2]) for s in (found if self.many else [found])]
        return strong if self.many else strong[0]

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any, **params: Any) -> Any:
        rule = self.rules["jvp"]
        if rule is None and not self.linear_in:
            raise self.missing("jvp", "gives its derivative; or linear_in, where it is linear")
        outs = [wrap(o) for o in out] if self.many else wrap(out)
        given = [None if t is None else wrap(t) for t in tangents]
        values = list(map(wrap, args))
        if callable(rule):
            found = rule(given, outs, *values, **params)
            return _raw_list(found) if self.many else _raw(found)
        terms = []
        for i, t in enumerate(given):
            if t is None:
                continue
            if rule is not None:
                terms += [] if rule[i] is None else [rule[i](t, outs, *values, **params)]
            elif i in self.linear_in:
                terms.append(self(*args[:i], tangents[i], *args[i + 1:], **params))
        if self.many:
            return [_total(column) for column in zip(*terms, strict=True)] or [None] * len(out)
        return _total(terms)

    def transpose(self, ct: Any, *args: Any, **params: Any) -> Sequence[Any]:
        rule = self.rules["transpose"]
        if rule is None:
            raise self.missing("transpose", "runs its derivative backwards")
        cts = [None if c is None else wrap(c) for c in ct] if self.many else wrap(ct)
        found = rule(cts, *[_struct(a.type) if type(a) is Var else wrap(a) for a in args],
                     **params)
        found = found if isinstance(found, (tuple, list)) else (found,)
        if len(found) != len(args):
            raise TypeError(f"the transpose rule of {self.name} must return {len(args)} "
                            f"cotangents, one for each operand, got {len(found)}")
        return [_raw(c) if type(a) is Var else None for c, a in zip(found, args, strict=True)]

    def batch(self, size: int, batched: Sequence[bool], *args: Any, **params: Any) -> Any:
        rule = self.rules["batch"]
        if rule is None:
            return self.one_by_one(size, batched, args, params)
        if rule == "broadcast":
            return self(*[a if b else ops.broadcast_to(a, shape=(size, *shape_of(a)))
                          for a, b in zip(args, batched, strict=True)], **params)
        found = rule(size, list(batched), *map(wrap, args), **params)
        return _raw_list(found) if self.many else _raw(found)

    def one_by_one(self, size: int, batched: Sequence[bool], args: Sequence[Any],
                   params: dict[str, Any]) -> Any:
        if size == 0:
            lane = [type_of(a)._replace(shape=shape_of(a)[1:]) if b else type_of(a)
                    for a, b in zip(args, batched, strict=True)]
            empty = [ops.zeros((0, *t.shape), t.dtype)
                     for t in as_list(self, self.infer(*lane, **params))]
            return empty if self.many else empty[0]
        lanes = [as_list(self, self(*[_lane(a, i) if b else a for a, b in
                                      zip(args, batched, strict=True)], **params))
                 for i in range(size)]
        outs = [ops.concatenate(*[ops.reshape(x, shape=(1, *shape_of(x))) for x in column], axis=0)
                for column in zip(*lanes, strict=True)]
        return outs if self.many else outs[0]


def _lane(x: Any, i: int) -> Any:
    return ops.reshape(ops.slice_axis(x, 0, i, i + 1), shape=shape_of(x)[1:])


def _struct(t: ArrayType) -> ShapeDtypeStruct:
    return ShapeDtypeStruct(t.shape, t.dtype)


def _raw(x: Any) -> Any:
    return None if x is None else unwrap(x)


def _raw_list(xs: Sequence[Any]) -> list[Any]:
    return list(map(_raw, xs))


def _total(terms: Sequence[Any]) -> Any:
    raws = [unwrap(t) for t in terms if t is not None]
    return functools.reduce(ops.add, raws) if raws else None


def _on_raw(rule: Rule, tangent: Any, out: Any, *args: Any) -> Any:
    return _raw(rule(wrap(tangent), wrap(out), *map(wrap, args)))


_declared: dict[str, Primitive] = {}


def _declare(name: str, make: Callable[[], Primitive]) -> Any:
    """Make a primitive under a name that no primitive of the library has."""
    if name in ALL:
        raise ValueError(f"there is a primitive {name!r} already; give yours another name")
    made = _declared[name] = make()
    del ALL[name]  # that table is of the library's own, for its tests
    return made


def _add_kernels(made: Primitive, kernels: Kernels) -> None:
    table = kernels if isinstance(kernels, dict) else {"numpy": kernels}
    for backend, kernel in table.items():
        register_kernel(made, backend, _checked(made, kernel))


def _checked(made: Primitive, kernel: Rule) -> Rule:
    """The kernel, held to what the type rule says: programs rely on it."""
    @functools.wraps(kernel)
    def run(*args: Any, **params: Any) -> Any:
        out = kernel(*args, **params)
        wanted = as_list(made, made.infer(*map(type_of, args), **params))
        for o, t in zip(as_list(made, out), wanted, strict=True):
            if shape_of(o) != t.shape or getattr(o, "dtype", None) != t.dtype:
                got = type_of(o) if hasattr(o, "dtype") else type(o).__name__
                raise TypeError(f"the kernel of {made.name} returned {got}, its type rule says {t}")
        return out
    return run


def _public(function: Rule, name: str, doc: str, made: Primitive) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc or f"The primitive {name}."
    function.primitive = made  # type: ignore[attr-defined]
    return function


__all__ = ["Elementwise", "Primitive", "elementwise", "primitive", "register_kernel", "unknown"]
