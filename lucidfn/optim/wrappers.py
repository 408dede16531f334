"""Transformations of transformations: parts of the parameters, hyperparameters in the state,
accumulated gradients, skipped steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.array import unwrap, wrap
from lucidfn.core.trace import Tracer
from lucidfn.optim.base import (
    GradientTransformation,
    as_strong,
    check_number,
    check_transformation,
    counter,
    each,
    map_updates,
    moves,
    number,
    rate_at,
    select_tree,
    spread,
    with_state,
    zeros_like,
)
from lucidfn.optim.transforms import Mask, mask_tree, set_to_zero

# ------------------------------------------------------------------ parts of the parameters

class MaskedState(NamedTuple):
    """The state of the inner transformation; it has None for the leaves that are left out."""

    inner_state: Any


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformation:
    """Apply a transformation where `mask` is true; the other updates pass through as they are.

    `mask` is a tree of booleans, a prefix of one, or a function of the parameters that makes it.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> params = {"w": lnp.ones(1), "b": lnp.ones(1)}
    >>> tx = optim.masked(optim.scale(-0.1), {"w": True, "b": False})
    >>> tx.update(params, tx.init(params), params)[0]
    {'b': Array([1.], dtype=float32), 'w': Array([-0.1], dtype=float32)}
    """
    check_transformation("masked", inner)
    keep = lambda chosen, t: tree.map(lambda m, x: x if m else None, chosen, t)

    def init(params: Any) -> MaskedState:
        return MaskedState(inner.init(keep(mask_tree(mask, params, params), params)))

    def update(updates: Any, state: MaskedState, params: Any = None,
               **extra: Any) -> tuple[Any, MaskedState]:
        if params is None and callable(mask):
            raise TypeError("masked with a function needs the parameters: "
                            "tx.update(grads, state, params)")
        chosen = mask_tree(mask, params, updates)
        if chosen is False:  # a tree of one leaf, left out: None in its place means no parameters
            return updates, state
        ours = None if params is None else keep(chosen, params)
        out, state = inner.update(keep(chosen, updates), state.inner_state, ours, **extra)
        merged = tree.map(lambda m, u, o: o if m else u, chosen, updates, out)
        return merged, MaskedState(state)

    return with_state(MaskedState, init, update)


class MultiTransformState(NamedTuple):
    """The state of each group, by label."""

    inner_states: dict[Any, Any]


def multi_transform(transforms: Mapping[Any, GradientTransformation],
                    param_labels: Any) -> GradientTransformation:
    """Parameter groups: each leaf under the transformation of its label.

    `param_labels` is a tree of labels, a prefix of one, or a function of the parameters that makes
    it. Raises ValueError for a label without a transformation.

    >>> from lucidfn import optim
    >>> tx = optim.multi_transform({"slow": optim.sgd(0.1), "fast": optim.sgd(1.0)},
    ...                            {"encoder": "slow", "head": "fast"})
    >>> state = tx.init({"encoder": {"w": 1.0}, "head": {"w": 1.0}})
    """
    if not isinstance(transforms, Mapping):
        raise TypeError("multi_transform takes a dict of transformations by label, got a "
                        f"{type(transforms).__name__}")
    for label, tx in transforms.items():
        check_transformation(f"multi_transform ({label!r})", tx)

    def labels_of(params: Any) -> Any:
        labels = param_labels(params) if callable(param_labels) else param_labels
        labels = spread("param_labels", labels, params)
        unknown = set(tree.leaves(labels)) - set(transforms)
        if unknown:
            raise ValueError("multi_transform has no transformation for "
                             f"{sorted(unknown, key=repr)}; it has {list(transforms)}")
        return labels

    def group(labels: Any, label: Any) -> Any:
        return tree.map(lambda found: found == label, labels)

    def init(params: Any) -> MultiTransformState:
        labels = labels_of(params)
        return MultiTransformState({
            label: masked(tx, group(labels, label)).init(params)
            for label, tx in transforms.items()})

    def update(updates: Any, state: MultiTransformState, params: Any = None,
               **extra: Any) -> tuple[Any, MultiTransformState]:
        labels, states = labels_of(updates if params is None else params), {}
        for label, tx in transforms.items():
            updates, states[label] = masked(tx, group(labels, label)).update(
                updates, state.inner_states[label], params, **extra)
        return updates, MultiTransformState(states)

    return with_state(MultiTransformState, init, update)


def freeze(mask: Mask) -> GradientTransformation:
    """Zero updates where `mask` is true. At the end of a chain: weight decay moves them too.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> params = {"w": lnp.ones(1), "b": lnp.ones(1)}
    >>> tx = optim.chain(optim.sgd(0.1), optim.freeze({"w": False, "b": True}))
    >>> tx.update(params, tx.init(params), params)[0]
    {'b': Array([0.], dtype=float32), 'w': Array([-0.1], dtype=float32)}
    """
    return masked(set_to_zero(), mask)


class FlattenState(NamedTuple):
    """The state of the inner transformation, on one vector."""

    inner_state: Any


def flatten(inner: GradientTransformation) -> GradientTransformation:
    """One vector for all leaves: fewer and larger operations for many small parameters.

    For transformations of single elements. All leaves need one dtype, else TypeError; the inner
    state is that of a vector.
    """
    check_transformation("flatten", inner)

    def pack(t: Any) -> Any:
        leaves = [lnp.asarray(x) for x in tree.leaves(t) if moves(x)]
        if len({x.dtype for x in leaves}) > 1:
            raise TypeError("flatten needs leaves of one dtype, got "
                            f"{sorted({str(x.dtype) for x in leaves})}")
        return lnp.concatenate([lnp.ravel(x) for x in leaves]) if leaves else lnp.zeros((0,))

    def unpack(vector: Any, like: Any) -> Any:
        place = 0

        def cut(x: Any) -> Any:
            nonlocal place
            x = lnp.asarray(x)
            start, place = place, place + x.size
            return lnp.reshape(vector[start:place], x.shape)

        return map_updates(cut, like)

    def update(updates: Any, state: FlattenState, params: Any = None,
               **extra: Any) -> tuple[Any, FlattenState]:
        chosen = None if params is None else map_updates(lambda u, p: p, updates, params)
        out, state = inner.update(pack(updates), state.inner_state,
                                  None if params is None else pack(chosen), **extra)
        return unpack(out, updates), FlattenState(state)

    return with_state(FlattenState, lambda params: FlattenState(inner.init(pack(params))), update)


# ------------------------------------------------------------------ hyperparameters in the state

class InjectHyperparamsState(NamedTuple):
    """Steps so far, the hyperparameters of the last one (settable), and the inner state."""

    count: Any
    hyperparams: dict[str, Any]
    inner_state: Any


def inject_hyperparams(factory: Callable[..., GradientTransformation],
                       static_args: tuple[str, ...] = ()) -> Callable[..., GradientTransformation]:
    """`factory` with its numeric hyperparameters kept in the state, as arrays.

    They can be read, replaced between steps without a new trace, and mapped over; those given as a
    function of the step are evaluated in every step, and cannot be replaced. Those in
    `static_args`, and what is no number, stay arguments. Arrays are float64 where parameters are,
    else float32.

    >>> from lucidfn import optim
    >>> tx = optim.inject_hyperparams(optim.sgd)(learning_rate=0.5)
    >>> state = tx.init({"w": 1.0})
    >>> state.hyperparams["learning_rate"]
    Array(0.5, dtype=float32)
    """
    if not callable(factory):
        raise TypeError(f"inject_hyperparams takes a function that makes an optimizer, such as "
                        f"optim.adam, got {type(factory).__name__}: write "
                        "optim.inject_hyperparams(optim.adam)(learning_rate=1e-3)")
    signature = inspect.signature(factory)

    def make(*args: Any, **kwargs: Any) -> GradientTransformation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        schedules = {k: f for k, f in given.items()
                     if k not in static_args and callable(f) and _takes_steps(k)}
        numbers = {k: x for k, x in given.items() if k not in static_args and _is_number(x)}
        factory(**{**given, **{k: 0.0 for k in schedules}})  # refuses what it refuses, at once

        def build(values: Mapping[str, Any]) -> GradientTransformation:
            return factory(**{**given, **{k: _weak(x) for k, x in values.items()}})

        def init(params: Any) -> InjectHyperparamsState:
            count, dtype = counter(), _scalar_dtype(params)
            values = {k: lnp.asarray(x, dtype) for k, x in numbers.items()}
            values.update({k: as_strong(rate_at(f, count)) for k, f in schedules.items()})
            return InjectHyperparamsState(count, values, build(values).init(params))

        def update(updates: Any, state: InjectHyperparamsState, params: Any = None,
                   **extra: Any) -> tuple[Any, InjectHyperparamsState]:
            # A value set by hand may be a number; the state keeps the type that it had.
            dtype = _scalar_dtype(updates)
            values = {k: lnp.asarray(x, dtype) if k in numbers else x
                      for k, x in state.hyperparams.items()}
            values.update({k: as_strong(rate_at(f, state.count)) for k, f in schedules.items()})
            updates, inner = build(values).update(updates, state.inner_state, params, **extra)
            return updates, InjectHyperparamsState(state.count + 1, values, inner)

        return with_state(InjectHyperparamsState, init, update)

    return make


def _takes_steps(name: str) -> bool:
    """Whether a function given as this hyperparameter is a schedule."""
    return not name.endswith(("mask", "fn", "fun", "labels"))


def _is_number(x: Any) -> bool:
    if isinstance(x, (bool, str)) or callable(x):
        return False
    return isinstance(x, (int, float)) or getattr(x, "shape", None) == () and moves(x)


def _weak(x: Any) -> Any:
    """A value that takes the dtype of what it meets, but stays an array: zero is not special."""
    return wrap(unwrap(x), True)


def _scalar_dtype(params: Any) -> str:
    wide_leaf = any(lnp.asarray(p).dtype in ("float64", "complex128")
                    for p in tree.leaves(params) if moves(p))
    return "float64" if wide_leaf else "float32"


# ------------------------------------------------------------------ steps that wait or are skipped

def _known(x: Any) -> Any:
    """A truth value as a bool if it is known, else None."""
    raw = unwrap(x)
    return None if isinstance(raw, Tracer) else bool(raw)


class MultiStepsState(NamedTuple):
    """Gradients since the last step, steps so far, the inner state, and the mean so far."""

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any


def multi_steps(opt: GradientTransformation, every_k_schedule: int | Callable[[Any], Any],
                use_grad_mean: bool = True) -> GradientTransformation:
    """Accumulate gradients: one step with the mean of k of them, zero updates in between.

    `every_k_schedule` is k, or a function of the number of steps so far. Without `use_grad_mean`
    the sum is taken.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.multi_steps(optim.sgd(1.0), 2), lnp.zeros(1)
    >>> first, state = tx.update(lnp.array([1.0]), tx.init(params), params)
    >>> second, state = tx.update(lnp.array([3.0]), state, params)
    >>> first.tolist(), second.tolist()
    ([0.0], [-2.0])
    """
    if not callable(every_k_schedule) and (
            not isinstance(every_k_schedule, int) or every_k_schedule < 1):
        raise ValueError(f"every_k_schedule is {every_k_schedule!r}; it must be a positive integer,"
                         " or a function of the step")
    check_transformation("multi_steps", opt)
    every = every_k_schedule if callable(every_k_schedule) else lambda step: every_k_schedule

    def init(params: Any) -> MultiStepsState:
        return MultiStepsState(counter(), counter(), opt.init(params), zeros_like(params))

    def update(updates: Any, state: MultiStepsState, params: Any = None,
               **extra: Any) -> tuple[Any, MultiStepsState]:
        k = number(every(state.gradient_step))
        seen = number(state.mini_step)
        # A running mean, so that k need not be known in advance.
        gain = number(1.0 / (seen + 1.0)) if use_grad_mean else 1.0
        add = lambda u, a: (u, a + ((u - a) if use_grad_mean else u) * gain)
        _, acc = each(add, updates, (state.acc_grads,))
        acc_updates = map_updates(lambda u, a: a, updates, acc)
        last = seen + 1 >= k
        now = _known(last)
        empty = map_updates(lnp.zeros_like, acc_updates)
        cleared = zeros_like(acc)
        if now is False:
            return empty, state._replace(mini_step=state.mini_step + 1, acc_grads=acc)
        out, inner = opt.update(acc_updates, state.inner_opt_state, params, **extra)
        if now is True:
            return out, MultiStepsState(counter(), state.gradient_step + 1, inner, cleared)
        # Both are computed, and one is taken: a step that waits costs as much as one that is made.
        mini = lnp.where(last, 0, state.mini_step + 1)
        kept = MultiStepsState(mini, state.gradient_step + last,
                               select_tree(last, inner, state.inner_opt_state),
                               select_tree(last, cleared, acc))
        return select_tree(last, out, map_updates(lnp.zeros_like, out)), kept

    return with_state(MultiStepsState, init, update)


MultiSteps = multi_steps  # optax's name


class ApplyIfFiniteState(NamedTuple):
    """Bad steps in a row, whether the last was good, bad steps in all, and the inner state."""

    notfinite_count: Any
    last_finite: Any
    total_notfinite: Any
    inner_state: Any


def all_finite(updates: Any) -> Any:
    """Whether no leaf holds inf or NaN, as a boolean array.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> bool(optim.all_finite({"w": lnp.array([1.0, lnp.nan])}))
    False
    """
    found = lnp.ones((), "bool")
    for u in tree.leaves(updates):
        found = found & lnp.all(lnp.isfinite(lnp.asarray(u)))
    return found


def apply_if_finite(inner: GradientTransformation,
                    max_consecutive_errors: int) -> GradientTransformation:
    """Skip steps whose gradients hold inf or NaN: zero updates, and the state as it was.

    After `max_consecutive_errors` of them in a row such a step is made all the same, so that the
    failure shows.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.apply_if_finite(optim.sgd(1.0), 5), lnp.zeros(1)
    >>> updates, state = tx.update(lnp.array([lnp.nan]), tx.init(params), params)
    >>> updates.tolist(), int(state.notfinite_count)
    ([0.0], 1)
    """
    check_transformation("apply_if_finite", inner)
    check_number("max_consecutive_errors", max_consecutive_errors)

    def init(params: Any) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(counter(), lnp.ones((), "bool"), counter(), inner.init(params))

    def update(updates: Any, state: ApplyIfFiniteState, params: Any = None,
               **extra: Any) -> tuple[Any, ApplyIfFiniteState]:
        finite = all_finite(updates)
        bad = lnp.where(finite, 0, state.notfinite_count + 1)
        go = finite | (bad > max_consecutive_errors)
        total = state.total_notfinite + lnp.logical_not(finite)
        out, kept = update_if(go, inner, updates, state.inner_state, params, **extra)
        return out, ApplyIfFiniteState(bad, finite, total, kept)

    return with_state(ApplyIfFiniteState, init, update)


def update_if(go: Any, inner: GradientTransformation, updates: Any, state: Any, params: Any,
              **extra: Any) -> tuple[Any, Any]:
    """The inner update if `go`, else zeros and the state as it was."""
    known = _known(go)
    if known is False:
        return map_updates(lnp.zeros_like, updates), state
    out, new = inner.update(updates, state, params, **extra)
    if known is True:
        return out, new
    return select_tree(go, out, map_updates(lnp.zeros_like, out)), select_tree(go, new, state)


__all__ = [
    "ApplyIfFiniteState", "InjectHyperparamsState", "MaskedState", "MultiSteps",
    "MultiStepsState", "MultiTransformState", "all_finite", "apply_if_finite",
    "flatten", "freeze", "inject_hyperparams", "masked", "multi_steps", "multi_transform",
]
