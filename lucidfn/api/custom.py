"""Functions with rules of their own: for derivatives, and for batching.

Arguments that are no arrays (functions, strings, Python numbers) are constants by themselves. A
rule and its function may close over traced values: the rule is about the arguments, and what is
closed over is differentiated through the function itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

from lucidfn import ops
from lucidfn.api.arguments import name_of
from lucidfn.api.call_site import (
    CallSite,
    CustomVJPPrimal,
    Positional,
    SymbolicZero,
    describe,
    is_plain,
    positions,
    zero_of,
)
from lucidfn.api.lifting import fill, lift
from lucidfn.array import unwrap, wrap
from lucidfn.control.custom import Rule, custom_jvp_call, custom_vjp_call, custom_vmap_call
from lucidfn.core.trace import shape_of, type_of
from lucidfn.tree import flatten, flatten_prefix, unflatten
from lucidfn.tree import map as tree_map

Num = int | Sequence[int]
Name = str | Sequence[str]


def named(rule: Any, user: Callable[..., Any]) -> Any:
    """Give a rule the user's name for it, which printed programs show."""
    rule.__name__ = name_of(user)
    return rule


class _Custom:
    """A function, its rules, and which of its arguments are not differentiated."""

    kind = ""
    rules: tuple[str, ...] = ()

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Num = (),
                 nondiff_argnames: Name = ()):
        if not callable(fun):
            raise TypeError(f"{self.kind} takes a function, got {type(fun).__name__}")
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.what = describe(fun, self.kind)
        self.by_position = Positional(fun, self.what)
        self.nondiff = positions(fun, self.what, nondiff_argnums, nondiff_argnames)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{self.what}>"

    def __closed_over__(self) -> list[Any]:
        """The functions in which a closure walk looks for traced values."""
        return [self.fun, *[getattr(self, rule) for rule in self.rules]]

    def __rebuilt__(self, rebuild: Callable[[Any], Any]) -> _Custom:
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        for name in ("fun", "__wrapped__", *self.rules):
            setattr(new, name, rebuild(getattr(self, name)))
        return new

    def site(self, args: tuple[Any, ...]) -> CallSite:
        functions = (self.fun, *[getattr(self, rule) for rule in self.rules])
        return CallSite(self.what, functions, args, self.nondiff, self.by_position.names(len(args)))

    def call(self, primitive: Any, site: CallSite, on_raw: Callable[..., Any], user: Any,
             *options: Any) -> Any:
        """Apply the primitive; `on_raw(site, *options, ...)` is the user's rule on raw values."""
        rule = Rule(named(functools.partial(on_raw, site, *options), user), site.closed_count,
                    site.fixed)
        return site.result(primitive(*site.operands(), program=site.fun, rule=rule,
                                     name=self.what))


class custom_jvp(_Custom):
    """A function whose derivative is given by a rule, for forward and reverse mode alike.

    `rule(primals, tangents) -> (outputs, output tangents)` must be linear in the tangents.
    Arguments in `nondiff_argnums` or `nondiff_argnames` come first: `rule(*nondiff, primals,
    tangents)`. The tangent of what cannot be differentiated (integers, strings) is None.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> @lf.custom_jvp
    ... def log1pexp(x):
    ...     return lnp.log(1.0 + lnp.exp(x))
    >>> @log1pexp.defjvp
    ... def log1pexp_jvp(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), (1.0 - 1.0 / (1.0 + lnp.exp(x))) * t
    >>> float(lf.grad(log1pexp)(100.0))
    1.0
    """

    kind, rules = "custom_jvp", ("rule",)

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Num = (),
                 nondiff_argnames: Name = ()):
        super().__init__(fun, nondiff_argnums, nondiff_argnames)
        self.rule: Any = None
        self.symbolic_zeros = False

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Set the rule; returns it, so that it may be used as a decorator.

        With `symbolic_zeros` a tangent that is known to be zero is a `SymbolicZero`.
        """
        self.rule, self.symbolic_zeros = jvp, symbolic_zeros
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """One rule for each argument: `jvp(tangent, output, *args)`; None for a zero derivative."""
        if self.nondiff:
            raise TypeError(f"{self.what}: defjvps does not take nondiff arguments; use defjvp")

        def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            if len(jvps) != len(primals):
                raise TypeError(f"{self.what}: defjvps got {len(jvps)} rules for {len(primals)} "
                                "arguments; give None for a zero derivative")
            out = self(*primals)
            terms = [jvp(t, out, *primals) for jvp, t in zip(jvps, tangents, strict=True)
                     if jvp is not None and t is not None]
            if not terms:
                return out, tree_map(lambda x: zero_of(type_of(unwrap(x)), False, unwrap(x)), out)
            return out, functools.reduce(functools.partial(tree_map, _add), terms)

        self.defjvp(rule)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = self.by_position(args, kwargs)
        if self.rule is None:
            raise AttributeError(f"{self.what} has no rule; give one with "
                                 f"{name_of(self.fun)}.defjvp(rule)")
        if is_plain(args):
            return self.fun(*args)
        site = self.site(args)
        return self.call(custom_jvp_call, site, _jvp_rule, self.rule, self.symbolic_zeros)


def _add(a: Any, b: Any) -> Any:
    return wrap(ops.add(unwrap(a), unwrap(b)))


def _jvp_rule(site: CallSite, symbolic: bool, closed: Sequence[Any], raws: Sequence[Any],
              tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The user's rule on raw values."""
    fixed, (_, rule), statics = site.unpack(closed)
    found = rule(*fixed, site.picked(statics, raws),
                 site.tangents(statics, raws, tangents, symbolic))
    of = f"the rule {name_of(rule)}"
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError(f"{site.what}: {of} must return a pair (output, output tangent), got "
                        f"{type(found).__name__}")
    outs = site.outputs(found[0], of)
    return outs, site.output_tangents(found[1], list(map(type_of, outs)), of)


class custom_vjp(_Custom):
    """A function whose cotangents are given by a rule.

    `fwd(*args) -> (output, residuals)` runs in place of the function where it is differentiated;
    `bwd(residuals, cotangent)` returns a tuple with a cotangent for each argument, None for zero.
    Arguments in `nondiff_argnums` or `nondiff_argnames` are given to `bwd` first. Residuals may
    be any tree, functions included. Forward mode is the transpose of `bwd`; where `bwd` is not
    linear in the cotangent it raises MissingRuleError, and `custom_jvp` is the way.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> @lf.custom_vjp
    ... def clip_gradient(x):
    ...     return x
    >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, ct: (lnp.clip(ct, -1.0, 1.0),))
    >>> float(lf.grad(lambda x: 10.0 * clip_gradient(x))(2.0))
    1.0
    """

    kind, rules = "custom_vjp", ("fwd", "bwd")

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Num = (),
                 nondiff_argnames: Name = ()):
        super().__init__(fun, nondiff_argnums, nondiff_argnames)
        self.fwd: Any = None
        self.bwd: Any = None
        self.symbolic_zeros = False

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any],
               symbolic_zeros: bool = False, optimize_remat: bool = False) -> None:
        """Set the rules.

        With `symbolic_zeros`, `fwd` gets a `CustomVJPPrimal` for each array (a value, and whether
        it is differentiated), and a cotangent known to be zero is a `SymbolicZero`.
        `optimize_remat` is accepted for JAX's sake and changes nothing.
        """
        self.fwd, self.bwd, self.symbolic_zeros = fwd, bwd, symbolic_zeros

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = self.by_position(args, kwargs)
        if self.fwd is None:
            raise AttributeError(f"{self.what} has no rules; give them with "
                                 f"{name_of(self.fun)}.defvjp(fwd, bwd)")
        if is_plain(args):
            return self.fun(*args)
        site = self.site(args)
        return self.call(custom_vjp_call, site, _fwd_rule, self.fwd, self.symbolic_zeros)


def _fwd_rule(site: CallSite, symbolic: bool, closed: Sequence[Any], raws: Sequence[Any],
              moving: tuple[bool, ...]) -> tuple[list[Any], list[Any], Callable[..., Any]]:
    """The user's fwd on raw values; bwd with the traced residuals taken out."""
    fixed, (_, fwd, bwd), statics = site.unpack(closed)
    picked = site.picked(statics, raws)
    if symbolic:
        values = flatten(picked)[0]
        flags = iter(moving)
        picked = unflatten(site.treedef, [CustomVJPPrimal(x, m and next(flags)) for x, m in
                                          zip(values, site.is_operand, strict=True)])
    found = fwd(*site.together(fixed, picked))
    of = f"fwd {name_of(fwd)}"
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError(f"{site.what}: {of} must return a pair (output, residuals), got "
                        f"{type(found).__name__}")
    outs = site.outputs(found[0], of)
    residuals, template = lift((bwd, fixed, found[1]))
    rule = functools.partial(_bwd_rule, site, template, symbolic, site.out_tree,
                             list(map(type_of, outs)), list(map(type_of, raws)))
    return outs, residuals, named(rule, bwd)


def _bwd_rule(site: CallSite, template: Any, symbolic: bool, out_tree: Any, out_types: Any,
              arg_types: Any, residuals: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
    """The user's bwd on raw values."""
    bwd, fixed, res = fill(template, residuals)
    like = next((x for x in cts if x is not None), None)
    ct = unflatten(out_tree, [zero_of(t, symbolic, like) if x is None else wrap(x)
                              for x, t in zip(cts, out_types, strict=True)])
    return site.cotangents(bwd(*fixed, res, ct), arg_types, f"bwd {name_of(bwd)}")


def custom_gradient(fun: Callable[..., Any]) -> custom_vjp:
    """A function with a custom gradient: `fun(*args)` returns `(output, vjp)`.

    `vjp(cotangent)` returns the cotangent of the argument, or a tuple of them for several.

    >>> import lucidfn as lf
    >>> @lf.custom_gradient
    ... def f(x):
    ...     return x ** 2, lambda ct: (ct * x,)
    >>> float(f(3.0)), float(lf.grad(f)(3.0))
    (9.0, 3.0)
    """
    @functools.wraps(fun)
    def value(*args: Any, **kwargs: Any) -> Any:
        return fun(*args, **kwargs)[0]

    def bwd(vjp: Callable[..., Any], ct: Any) -> Any:
        found = vjp(ct)
        return found if isinstance(found, tuple) else (
            tuple(found) if isinstance(found, list) else (found,))

    wrapped = custom_vjp(value)
    wrapped.defvjp(fun, bwd)
    return wrapped


class custom_vmap(_Custom):
    """A function that says itself what it does under `vmap`.

    `rule(axis_size, in_batched, *args) -> (output, out_batched)`: `in_batched` has a tree of
    booleans for each argument; batched arrays have the batch axis in front. Derivatives are those
    of the function.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> @lf.custom_vmap
    ... def f(x):
    ...     return lnp.sin(x)
    >>> @f.def_vmap
    ... def f_vmap(axis_size, in_batched, x):
    ...     print("batch of", axis_size)
    ...     return lnp.sin(x), in_batched[0]
    >>> lf.vmap(f)(lnp.zeros(3)).shape
    batch of 3
    (3,)
    """

    kind, rules = "custom_vmap", ("rule",)

    def __init__(self, fun: Callable[..., Any]):
        super().__init__(fun)
        self.rule: Any = None

    def def_vmap(self, vmap_rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule; returns it, so that it may be used as a decorator."""
        self.rule = vmap_rule
        return vmap_rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = self.by_position(args, kwargs)
        if self.rule is None:
            raise AttributeError(f"{self.what} has no rule; give one with "
                                 f"{name_of(self.fun)}.def_vmap(rule)")
        if is_plain(args):
            return self.fun(*args)
        site = self.site(args)
        return self.call(custom_vmap_call, site, _vmap_rule, self.rule)


def _vmap_rule(site: CallSite, size: int, batched: Sequence[bool], closed: Sequence[Any],
               raws: Sequence[Any]) -> tuple[list[Any], list[bool]]:
    """The user's batching rule on raw values."""
    _, (_, rule), statics = site.unpack(closed)
    in_batched = list(site.tree([False] * len(statics), batched))
    found = rule(size, in_batched, *site.picked(statics, raws))
    of = f"the rule {name_of(rule)}"
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError(f"{site.what}: {of} must return a pair (output, out_batched), got "
                        f"{type(found).__name__}")
    site.fun_tree = None  # lanes and batches have other shapes
    outs = site.outputs(found[0], of)
    varies = flatten_prefix(found[1], found[0], name="out_batched")
    for x, v in zip(outs, varies, strict=True):
        if v and shape_of(x)[:1] != (size,):
            raise ValueError(f"{site.what}: {of} returned a batched output {type_of(x)}; its "
                             f"first axis must have the size of the batch, {size}")
    return outs, [bool(v) for v in varies]


def sequential_vmap(fun: Callable[..., Any]) -> custom_vmap:
    """A function that `vmap` applies to one lane after the other, for what cannot be batched.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.vmap(lf.sequential_vmap(lambda x: 2.0 * x))(lnp.array([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    wrapped = custom_vmap(fun)

    @wrapped.def_vmap
    def one_by_one(axis_size: int, in_batched: Sequence[Any], *args: Any) -> tuple[Any, Any]:
        leaves, treedef = flatten(args)
        batched = flatten(tuple(in_batched))[0]
        lanes = []
        for i in range(axis_size):
            lane = [wrap(ops.reshape(ops.slice_axis(unwrap(x), 0, i, i + 1),
                                     shape=shape_of(unwrap(x))[1:])) if b else x
                    for x, b in zip(leaves, batched, strict=True)]
            lanes.append(wrapped(*unflatten(treedef, lane)))
        if not lanes:
            raise ValueError(f"{wrapped.what}: a batch of size 0 has no lane to run; its outputs "
                             "are not known")
        return tree_map(_stack, *lanes), True

    return wrapped


def _stack(*lanes: Any) -> Any:
    return wrap(ops.concatenate(*[ops.reshape(x, shape=(1, *shape_of(x)))
                                  for x in map(unwrap, lanes)], axis=0))


__all__ = ["CustomVJPPrimal", "SymbolicZero", "custom_gradient", "custom_jvp", "custom_vjp",
           "custom_vmap", "sequential_vmap"]
