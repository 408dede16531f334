"""`GradientTransformation`, the pair of pure functions that every optimizer is, and `chain`.

    opt_state = tx.init(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optim.apply_updates(params, updates)

Updates are what is added to the parameters. Leaves that are None (the gradient of integer leaves)
pass through every transformation and leave their parameter unchanged. Statistics of half precision
leaves are kept, and their updates computed, in float32; the parameter keeps its dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.api.arguments import name_of
from lucidfn.array import typeof, unwrap, weak_of, wrap
from lucidfn.config import config
from lucidfn.core.trace import Tracer
from lucidfn.types import (
    SCALARS,
    bfloat16,
    complex128,
    default_dtype_of,
    float16,
    float32,
    float64,
    is_inexact,
)

Schedule = Callable[[Any], Any]  # step number -> value
ScalarOrSchedule = float | Schedule | Any


class GradientTransformation(NamedTuple):
    """`init(params) -> state` and `update(grads, state, params, **extra) -> (updates, state)`.

    `extra` holds what some transformations need besides gradients, such as `value=`, `grad=` and
    `value_fn=` for line search and for plateaus; the others ignore it.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


class EmptyState(NamedTuple):
    """The state of a transformation that has none."""


def stateless(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    """The transformation `updates = f(updates, params)`."""

    def init(params: Any) -> EmptyState:
        return EmptyState()

    def update(updates: Any, state: EmptyState, params: Any = None,
               **extra: Any) -> tuple[Any, EmptyState]:
        return f(updates, params), state

    return GradientTransformation(init, update)


def check_state(kind: type, state: Any) -> None:
    """TypeError unless a state is of the kind that this transformation's init makes."""
    if type(state) is not kind:
        raise TypeError(f"update needs a state {kind.__name__} and got a {type(state).__name__}: "
                        "the state is that of this optimizer's own init, and the order of "
                        "arguments is tx.update(grads, opt_state, params)")


def with_state(kind: type, init: Callable[..., Any],
               update: Callable[..., tuple[Any, Any]]) -> GradientTransformation:
    """The transformation, which refuses a state that is not of this kind."""

    def checked(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        check_state(kind, state)
        return update(updates, state, params, **extra)

    return GradientTransformation(init, checked)


# ------------------------------------------------------------------ trees

def is_none(x: Any) -> bool:
    return x is None


def map_updates(f: Callable[..., Any], updates: Any, *rest: Any) -> Any:
    """`f` over the leaves of updates and of trees like them; None stays None."""
    return tree.map(lambda u, *xs: None if u is None else f(u, *xs), updates, *rest,
                    is_leaf=is_none)


def each(f: Callable[..., tuple[Any, ...]], updates: Any, states: tuple[Any, ...] = (),
         *rest: Any) -> tuple[Any, ...]:
    """(updates, *states) where `f(u, *its states, *its rest)` gives (update, *new states).

    One walk however many trees there are. Where the update or its state is None, the update is
    None and the states stay. Updates of half precision reach f as float32.
    """
    leaves, treedef = tree.flatten(updates, is_leaf=is_none)
    if not leaves:
        return updates, *states
    try:
        columns = [treedef.flatten_up_to(t) for t in (*states, *rest)]
    except ValueError as error:
        raise ValueError("the optimizer's state is that of other parameters or of other options: "
                         f"{error}, which is the state's") from None
    n, out = len(states), []
    for u, *xs in zip(leaves, *columns, strict=True):
        skip = u is None or n and xs[0] is None
        out.append((None, *xs[:n]) if skip else f(widened(u), *xs))
    return tuple([treedef.unflatten(column) for column in zip(*out, strict=True)])


def zeros_like(params: Any, dtype: Any = None) -> Any:
    """Zeros for each floating or complex leaf (float32 for half precision), None for the others."""
    return full_like(params, 0, dtype)


def full_like(params: Any, value: Any, dtype: Any = None) -> Any:
    """One value for each floating or complex leaf (float32 for half precision), else None."""
    make = lambda t: lnp.full(t.shape, value, dtype or wide(t.dtype))
    return tree.map(lambda p: make(typeof(p)) if moves(p) else None, params)


def moves(p: Any) -> bool:
    """Whether a leaf has a gradient: it is floating or complex."""
    return is_inexact(typeof(p).dtype)


def wide(dtype: Any) -> Any:
    """The dtype in which statistics of this dtype are kept."""
    return float32 if dtype in (float16, bfloat16) else dtype


def widened(u: Any) -> Any:
    """A leaf as an array that is not weak; in float32 if it is of half precision."""
    u = lnp.asarray(u)
    if u.dtype in (float16, bfloat16):
        return u.astype(float32)
    return wrap(unwrap(u)) if u.weak else u


def copies(params: Any) -> Any:
    """The floating and complex leaves for a state, which may be donated while params are kept."""
    return tree.map(lambda p: lnp.copy(widened(p)) if moves(p) else None, params)


_NONE = type("None", (), {})()


def check_tree(updates: Any, params: Any) -> None:
    """ValueError, with the paths that differ, unless the updates are a tree like the parameters."""
    ours, structure = tree.flatten(updates)
    theirs, expected = tree.flatten(params)
    if structure != expected:
        # None is one leaf, too: only the containers are compared.
        outline = lambda t: tree.map(lambda x: _NONE if x is None else x, t, is_leaf=is_none)
        found = tree.explain_mismatch(outline(params), outline(updates), ("params", "updates"))
        if found:
            raise ValueError(f"the tree of updates does not match that of the parameters; {found}")
        return
    for u, p in zip(ours, theirs, strict=True):
        if getattr(u, "shape", ()) != getattr(p, "shape", ()):
            _refuse_shapes(updates, params)


def _refuse_shapes(updates: Any, params: Any) -> None:
    lines = [f"  {tree_path(path)}: params {typeof(p)}, updates {typeof(u)}"
             for (path, u), p in zip(tree.flatten_with_path(updates)[0], tree.leaves(params),
                                     strict=True) if typeof(u).shape != typeof(p).shape]
    raise ValueError("the shapes of updates differ from those of the parameters at\n"
                     + "\n".join(lines[:8]))


def tree_path(path: Any) -> str:
    return "".join(map(str, path)) or "the root"


def spread(name: str, prefix: Any, like: Any) -> Any:
    """A tree like the second, whose leaves (None too) are those of a prefix of it.

    Raises ValueError naming the paths that differ.
    """
    try:
        return tree.map(lambda x, sub: tree.map(lambda _: x, sub, is_leaf=is_none), prefix, like)
    except ValueError:
        found = tree.explain_mismatch(prefix, like, (name, "the parameters"), prefix=True)
        raise ValueError(f"{name} must be a tree like the parameters, or a prefix of it; "
                         f"{found}") from None


def select_tree(condition: Any, yes: Any, no: Any) -> Any:
    """`lnp.where` leaf by leaf; leaves that are the same object pass through."""
    pick = lambda a, b: a if a is b else lnp.where(condition, a, b)
    return tree.map(pick, yes, no)


# ------------------------------------------------------------------ numbers

def number(x: Any) -> Any:
    """A hyperparameter or a step count such that it takes the dtype of what it meets.

    Values that are known become Python numbers, so that scalars of an un-jitted step cost nothing;
    traced ones become weak.
    """
    if type(x) in SCALARS:
        return x
    raw = unwrap(x)
    if type(raw) in SCALARS:
        return raw
    if raw.shape != ():
        return lnp.asarray(x)
    return wrap(raw, True) if isinstance(raw, Tracer) else raw.item()


def clock(count: Any, updates: Any) -> Any:
    """A step count to compute the scalars of a step with, as precise as the widest leaf.

    A Python number if it is known, else a strong float array: pass results through `number`.
    """
    t = number(count)
    if type(t) in SCALARS:
        return t
    return count.astype(precision(updates))


def precision(updates: Any) -> Any:
    """The dtype for scalars of a step: that of the widest leaf, float32 at least."""
    wide_leaf = any(getattr(u, "dtype", None) in (float64, complex128)
                    for u in tree.leaves(updates))
    return float64 if wide_leaf else float32


def debias(decay: Any, t: Any) -> Any:
    """1 - decay**t: what an average that started at zero has seen by step t = 1, 2, ..."""
    if type(decay) in SCALARS:
        if type(t) in SCALARS:
            return 1.0 - decay ** t
        if decay <= 0:
            return 1.0
        return -lnp.expm1(t * math.log(decay))  # 1 - decay**t would cancel for decay near 1
    return -lnp.expm1(t * lnp.log(decay))


def is_zero(x: Any) -> bool:
    """Whether a hyperparameter is None or a Python zero: arrays stay, whatever their value."""
    return x is None or type(x) in SCALARS and x == 0


def root(x: Any) -> Any:
    """The square root of a number or an array."""
    return math.sqrt(x) if type(x) in SCALARS else lnp.sqrt(x)


def rate_at(learning_rate: ScalarOrSchedule, count: Any, updates: Any = None) -> Any:
    """The learning rate at a step, as precise as the widest leaf of the updates, but weak.

    TypeError if a schedule gives anything but a number.
    """
    if not callable(learning_rate):
        return learning_rate
    if precision(updates) == float64:
        with config.override(default_float="float64"):
            rate = learning_rate(count)
    else:
        rate = learning_rate(count)
    if type(rate) not in SCALARS and getattr(rate, "shape", None) != ():
        what = "None" if rate is None else typeof(rate) if hasattr(rate, "dtype") else repr(rate)
        raise TypeError(f"the schedule {name_of(learning_rate)} gave {what}; it must give one "
                        "number for a step")
    return rate


def counter() -> Any:
    """A step count at zero."""
    return lnp.zeros((), "int32")


def as_strong(x: Any, like: Any = None) -> Any:
    """A number as a floating array that is not weak, so that a state keeps its type: that of
    `like`, where it is given."""
    x = lnp.asarray(x)
    if like is not None:
        x = x.astype(like.dtype)
    return wrap(unwrap(x if is_inexact(x.dtype) else x.astype(default_dtype_of(float))))


def check_number(name: str, x: Any, low: float = 0.0, high: float = math.inf, *,
                 open_high: bool = False) -> None:
    """ValueError unless a number that is known lies in [low, high]; TypeError if it is none."""
    if callable(x):
        return
    try:
        value = None if isinstance(x, bool) else number(x)
    except TypeError:
        value = None
    if value is None or getattr(value, "shape", ()) != ():
        what = " or a function of the step" if name == "learning_rate" else ""
        raise TypeError(f"{name} is {x!r}; it must be a number{what}")
    if type(value) not in SCALARS or type(value) is complex:
        return
    if not low <= value <= high or open_high and value == high:
        end = ")" if open_high or high == math.inf else "]"
        raise ValueError(f"{name} is {value}; it must lie in [{low:g}, {high:g}{end}"
                         + ("; gradients are descended already, without a minus sign"
                            if name == "learning_rate" and value < 0 else ""))


def check_decays(**decays: Any) -> None:
    """ValueError unless each is in [0, 1)."""
    for name, x in decays.items():
        check_number(name, x, 0.0, 1.0, open_high=True)


# ------------------------------------------------------------------ chains

def check_transformation(where: str, t: Any) -> None:
    """TypeError unless it is a pair of init and update."""
    if hasattr(t, "init") and hasattr(t, "update"):
        return
    what = f"a {type(t).__name__}"
    if isinstance(t, (list, tuple)):
        what += f"; write {where}(first, second)" if where == "chain" else ""
    elif callable(t):
        name = name_of(t)
        what = f"the function {name}; call it: optim.{name}(...)"
    raise TypeError(f"{where} takes transformations, such as optim.adam(1e-3), not {what}")


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Apply transformations in order; the state is the tuple of their states.

    >>> from lucidfn import optim
    >>> tx = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
    """
    for t in transformations:
        check_transformation("chain", t)

    def init(params: Any) -> tuple[Any, ...]:
        return tuple([t.init(params) for t in transformations])

    def update(updates: Any, state: tuple[Any, ...], params: Any = None,
               **extra: Any) -> tuple[Any, tuple[Any, ...]]:
        check_state(tuple, state)
        if len(state) != len(transformations):
            raise ValueError(f"chain of {len(transformations)} transformations got a state of "
                             f"{len(state)}: make the state with this chain's own init")
        out = []
        for t, s in zip(transformations, state, strict=True):
            updates, s = t.update(updates, s, params, **extra)
            out.append(s)
        return updates, tuple(out)

    return GradientTransformation(init, update)


def optimizer(*transformations: GradientTransformation | None) -> GradientTransformation:
    """The chain of those that are not None, which needs params and checks the gradients' tree."""
    inner = chain(*[t for t in transformations if t is not None])

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if params is None:
            raise TypeError("update needs the parameters: tx.update(grads, opt_state, params)")
        check_state(tuple, state)
        check_tree(updates, params)
        return inner.update(updates, state, params, **extra)

    return GradientTransformation(inner.init, update)


def by_parts(tx: GradientTransformation) -> GradientTransformation:
    """Complex leaves as pairs of reals, for functions of single elements: so do PyTorch's too."""

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if not any(_is_complex(u) for u in tree.leaves(updates)):
            return tx.update(updates, state, params, **extra)
        pairs, state = tx.update(_split(updates), state, _split(params), **extra)
        join = lambda u, p: lnp.array(p[..., 0] + 1j * p[..., 1]) if _is_complex(u) else p
        return map_updates(join, updates, pairs), state

    return GradientTransformation(lambda params: tx.init(_split(params)), update)


def _is_complex(u: Any) -> bool:
    return getattr(getattr(u, "dtype", None), "kind", "") == "c" or type(u) is complex


def _split(t: Any) -> Any:
    pair = lambda u: lnp.stack([lnp.real(u), lnp.imag(u)], -1) if _is_complex(u) else u
    return tree.map(pair, t)


def apply_updates(params: Any, updates: Any) -> Any:
    """params + updates, in the dtype of each parameter; leaves whose update is None are unchanged.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> params = {"count": 3, "w": lnp.ones(1)}
    >>> optim.apply_updates(params, {"count": None, "w": lnp.full(1, -0.25)})
    {'count': 3, 'w': Array([0.75], dtype=float32)}
    """
    check_tree(updates, params)
    add = lambda p, u: p if u is None else _added(p, u)
    return tree.map(add, params, updates, is_leaf=is_none)


def _added(p: Any, u: Any) -> Any:
    if type(p) in SCALARS:
        return wrap(unwrap(lnp.asarray(p) + u), True)
    total = p + u
    if total.dtype != p.dtype:
        total = total.astype(p.dtype)
    return total if total.weak is weak_of(p) else wrap(unwrap(total), weak_of(p))


__all__ = ["EmptyState", "GradientTransformation", "Schedule", "apply_updates", "chain",
           "stateless"]
