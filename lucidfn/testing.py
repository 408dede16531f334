"""Checks of derivatives, batching and compilation, for users' own functions, rules and primitives.

    from lucidfn import testing
    testing.check_grads(f, (x, y))
    testing.check_batch(f, (xs, y), in_axes=(0, None))
    testing.check_jit(f, (x, y))

Each returns nothing, or raises an AssertionError that says what is wrong, and by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lucidfn import api
from lucidfn.api.arguments import leaf_names, name_of, raw_leaf
from lucidfn.array import is_array_like, typeof, unwrap, weak_of, wrap
from lucidfn.core.trace import beside
from lucidfn.tree import broadcast, explain_mismatch, flatten, leaves_with_path, unflatten
from lucidfn.tree_util import keystr
from lucidfn.types import (
    SCALARS,
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    is_inexact,
    is_key,
)


@dataclass(frozen=True)
class Tolerance:
    """What is allowed for one dtype, relative to the size of the numbers.

    `value` for results, `difference` for a derivative against differences of step `step`, `dot`
    for two exact derivatives against each other.
    """

    value: float
    difference: float
    dot: float
    step: float


TOLERANCES: dict[np.dtype, Tolerance] = {
    bfloat16: Tolerance(2e-2, 1e-1, 5e-2, 0.25),
    float16: Tolerance(2e-3, 5e-2, 1e-2, 0.1),
    float32: Tolerance(1e-5, 2e-3, 2e-5, 1e-2),
    float64: Tolerance(1e-11, 1e-6, 1e-9, 1e-4),
}
TOLERANCES[complex64], TOLERANCES[complex128] = TOLERANCES[float32], TOLERANCES[float64]
_EXACT = Tolerance(0.0, 0.0, 0.0, 0.0)


def tolerance(*dtypes: Any) -> Tolerance:
    """The row of the table for the least precise of these dtypes; nothing is allowed for integers.

    >>> import numpy as np
    >>> tolerance(np.dtype("float64"), np.dtype("float32")).value
    1e-05
    """
    rows = [TOLERANCES[d] for d in dtypes if d in TOLERANCES]
    return max(rows, key=lambda row: row.value, default=_EXACT)


# ------------------------------------------------------------------ comparison

def assert_allclose(actual: Any, expected: Any, rtol: float | None = None,
                    atol: float | None = None, *, check_dtypes: bool = False,
                    what: str = "") -> None:
    """Raise AssertionError unless two trees have one structure and nearly equal leaves.

    Tolerances come from the table for the less precise dtype of each pair of leaves. NaN equals
    NaN. Shapes must be equal; dtypes too with `check_dtypes`.

    >>> import lucidfn.numpy as lnp
    >>> assert_allclose({"w": lnp.ones(2)}, {"w": [1.0, 1.0 + 1e-7]})
    """
    label = f"{what}: " if what else ""
    if is_array_like(actual) and isinstance(expected, (list, tuple)):
        expected = unwrap(expected)
    got, got_tree = flatten(actual)
    want, want_tree = flatten(expected)
    if got_tree != want_tree:
        want = _leaves_like(actual, expected, label)
    paths = [keystr(path) for path, _ in leaves_with_path(actual)]
    for path, a, b in zip(paths, got, want, strict=True):
        _compare_leaf(a, b, rtol, atol, check_dtypes, label + (f"leaf {path} " if path else ""))


def _leaves_like(actual: Any, expected: Any, label: str) -> list[Any]:
    """Leaves of `expected` where it matches but for nested lists in the place of arrays."""
    try:
        leaves = _up_to(actual, expected)
    except (TypeError, ValueError):
        raise AssertionError(
            label + explain_mismatch(actual, expected, ("actual", "expected"))) from None
    return leaves


def _up_to(actual: Any, expected: Any) -> list[Any]:
    structure = flatten(actual)[1]
    return [unwrap(x) if isinstance(x, (list, tuple)) else x
            for x in structure.flatten_up_to(expected)]


def _compare_leaf(a: Any, b: Any, rtol: float | None, atol: float | None, check_dtypes: bool,
                  label: str) -> None:
    if not is_array_like(a) or not is_array_like(b):
        if not (a is b or a == b):
            raise AssertionError(f"{label}is {a!r}, expected {b!r}")
        return
    if check_dtypes and typeof(a).dtype != typeof(b).dtype:
        raise AssertionError(f"{label}has type {typeof(a)}, expected {typeof(b)}")
    x, y = _numpy(a), _numpy(b)
    if x.shape != y.shape:
        raise AssertionError(f"{label}has shape {x.shape}, expected {y.shape}")
    strong = [v.dtype for v, w in ((x, a), (y, b)) if not isinstance(w, tuple(SCALARS))]
    allowed = tolerance(*strong or [x.dtype]).value
    if is_key(x.dtype) or is_key(y.dtype):
        equal = x.dtype == y.dtype and np.array_equal(x, y)
        if not equal:
            raise AssertionError(f"{label}: random keys differ")
        return
    _require_close(x, y, allowed if rtol is None else rtol, allowed if atol is None else atol,
                   label + "differs")


def _require_close(x: np.ndarray, y: np.ndarray, rtol: float, atol: float, label: str,
                   names: tuple[str, str] = ("actual", "expected")) -> None:
    """AssertionError with the worst element, in words, unless |x - y| <= atol + rtol |y|."""
    fine = x == y  # before widening: 64-bit integers do not fit a float
    x, y = _wide(x), _wide(y)
    with np.errstate(all="ignore"):
        error = np.abs(x - y)
        bound = atol + rtol * np.abs(y)
        near = (error <= bound) & np.isfinite(y) & bool(rtol or atol)
        fine = fine | (np.isnan(x) & np.isnan(y)) | near
    if fine.all():
        return
    with np.errstate(all="ignore"):
        excess = np.where(fine, -1.0, np.where(np.isnan(error), np.inf, error / (bound + 1e-300)))
    at = np.unravel_index(int(np.argmax(excess)), excess.shape)
    where = f" at index {tuple(int(i) for i in at)}" if at else ""
    wrong = f"; {int((~fine).sum())} of {fine.size} elements are wrong" if at else ""
    raise AssertionError(f"{label}{where}: {names[0]} {x[at]}, {names[1]} {y[at]}, difference "
                         f"{error[at]:.3g}, allowed {bound[at]:.3g}{wrong}")


def _instead(x: Any, value: np.ndarray) -> Any:
    """A value in the place of x: on its device, weak if it is."""
    return wrap(beside(value, raw_leaf(x)), weak_of(x))


def _numpy(x: Any) -> np.ndarray:
    return np.asarray(x if isinstance(x, (np.generic, *SCALARS)) else unwrap(x))


def _wide(x: np.ndarray) -> np.ndarray:
    """At a precision in which a comparison does not round."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


# ------------------------------------------------------------------ derivatives

@dataclass(frozen=True)
class _Check:
    """One level of `check_grads`: a function, and by which derivatives it came about."""

    f: Callable[..., Any]
    args: tuple[Any, ...]
    names: Sequence[str]
    modes: Sequence[str]
    rtol: float
    atol: float
    dot: float
    step: float
    name: str
    history: tuple[str, ...] = ()

    def fail(self, mode: str, detail: str) -> AssertionError:
        chain = " of the ".join([*reversed([*self.history, mode])])
        return AssertionError(f"check_grads of {self.name}: order {len(self.history) + 1} "
                              f"({chain} derivative): {detail}")


def check_grads(f: Callable[..., Any], args: Sequence[Any], order: int = 2,
                modes: Sequence[str] = ("fwd", "rev"), rtol: float | None = None,
                atol: float | None = None, eps: float | None = None) -> None:
    """Raise AssertionError unless the derivatives of `f` at `args` are right, up to an order.

    Forward mode is compared with central differences (four points, step `eps`), reverse mode with
    forward mode by the dot-product test, which needs no step; then the derivatives are functions
    that are checked in the same way. `args` is a tuple of arguments, each a tree of arrays, best
    float64 or complex128; integer leaves are constants. With `modes=("rev",)` reverse mode is
    compared with differences. `rtol` and `atol` default to the table, for the least precise dtype.

    >>> import lucidfn.numpy as lnp
    >>> check_grads(lambda x, y: lnp.sin(x) * y, (lnp.float64(0.5), lnp.float64(2.0)))
    """
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"check_grads: args must be a tuple of arguments, got {type(args).__name__}"
                        "; write (x,) for one argument")
    if not modes or set(modes) - {"fwd", "rev"}:
        raise ValueError(f"check_grads: modes are 'fwd' and 'rev', got {tuple(modes)!r}")
    leaves = flatten(tuple(args))[0]
    dtypes = [typeof(x).dtype for x in leaves if _moves(x)]
    if not dtypes:
        raise TypeError("check_grads: no argument holds a floating array; there is nothing to "
                        "differentiate")
    row = tolerance(*dtypes)
    _check(_Check(f, tuple(args), leaf_names(f, tuple(args), {}), tuple(modes),
                  row.difference if rtol is None else rtol,
                  row.difference if atol is None else atol,
                  row.dot, row.step if eps is None else eps, name_of(f)), order)


def _moves(x: Any) -> bool:
    return is_array_like(x) and is_inexact(typeof(x).dtype)


def _check(c: _Check, order: int) -> None:
    if order < 1:
        return
    rng = np.random.default_rng(len(c.history))
    leaves, treedef = flatten(c.args)
    tangents = [_direction(rng, x) if _moves(x) else x for x in leaves]
    outs, out_tree = flatten(c.f(*c.args))
    cts = [_direction(rng, x) if _moves(x) else x for x in outs]
    slope = _differences(c, tangents)
    if "fwd" in c.modes:
        got = _forward(c, tangents, outs)
        _compare_forward(c, leaves, tangents, got, slope)
        slope = got
    if "rev" in c.modes:
        _compare_reverse(c, leaves, tangents, cts, out_tree, slope)
    if "fwd" in c.modes:
        _check(replace(c, f=lambda *args: _moving(api.jvp(c.f, args, unflatten(
            treedef, tangents))[1]), history=(*c.history, "forward")), order - 1)
    if "rev" in c.modes:
        _check(replace(c, f=lambda *args: _moving(api.vjp(c.f, *args)[1](unflatten(
            out_tree, cts))), history=(*c.history, "reverse")), order - 1)


def _moving(tree: Any) -> list[Any]:
    return [x for x in flatten(tree)[0] if _moves(x)]


def _direction(rng: np.random.Generator, like: Any) -> np.ndarray:
    """A random tangent or cotangent of the same type."""
    shape, dtype, _ = typeof(like)
    x = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    if dtype.kind == "c":
        x = x + 1j * rng.uniform(-1.0, 1.0, shape)
    return np.asarray(x).astype(dtype)


def _forward(c: _Check, tangents: Sequence[Any], outs: Sequence[Any] = ()) -> list[np.ndarray]:
    treedef = flatten(c.args)[1]
    out, tangent = api.jvp(c.f, c.args, unflatten(treedef, tangents))
    for x, y in zip(flatten(out)[0], outs, strict=False):
        _compare_leaf(x, y, None, None, True, f"check_grads of {c.name}: the value under jvp ")
    for x, t in zip(flatten(out)[0], flatten(tangent)[0], strict=True):
        if typeof(x)[:2] != typeof(t)[:2]:
            raise c.fail("forward", f"the tangent has type {typeof(t)}, the output {typeof(x)}")
    return [_wide(_numpy(t)) for t in _moving(tangent)]


def _differences(c: _Check, tangents: Sequence[Any]) -> list[np.ndarray]:
    """The directional derivative, to fourth order in the step."""
    leaves, treedef = flatten(c.args)
    h = c.step

    def shifted(by: float) -> list[np.ndarray]:
        moved = [_instead(x, (_wide(_numpy(x)) + by * _wide(t)).astype(typeof(x).dtype))
                 if _moves(x) else x for x, t in zip(leaves, tangents, strict=True)]
        return [_wide(_numpy(y)) for y in _moving(c.f(*unflatten(treedef, moved)))]

    return [(8.0 * (p - m) - (pp - mm)) / (12.0 * h) for p, m, pp, mm in
            zip(shifted(h), shifted(-h), shifted(2 * h), shifted(-2 * h), strict=True)]


def _only(leaves: Sequence[Any], tangents: Sequence[Any], i: int) -> list[Any]:
    """The tangents with all but one set to zero."""
    return [t if j == i or not _moves(x) else np.zeros_like(t)
            for j, (x, t) in enumerate(zip(leaves, tangents, strict=True))]


def _compare_forward(c: _Check, leaves: Sequence[Any], tangents: Sequence[Any],
                     got: Sequence[np.ndarray], slope: Sequence[np.ndarray]) -> None:
    try:
        for a, b in zip(got, slope, strict=True):
            _require_close(a, b, c.rtol, c.atol * _scale(b), "", ("jvp", "differences"))
        return
    except AssertionError as error:
        detail = str(error)
    # Something is wrong: find out which argument, one at a time.
    for i, x in enumerate(leaves):
        if not _moves(x):
            continue
        alone = _only(leaves, tangents, i)
        for n, (a, b) in enumerate(zip(_forward(c, alone), _differences(c, alone), strict=True)):
            try:
                _require_close(a, b, c.rtol, c.atol * _scale(b), "", ("jvp", "differences"))
            except AssertionError as error:
                out = f" of output {n}" if len(got) > 1 else ""
                raise c.fail("forward", f"the derivative{out} with respect to `{c.names[i]}` is "
                                        f"wrong{error}") from None
    raise c.fail("forward", f"the derivative is wrong{detail}")


def _scale(x: np.ndarray) -> float:
    """Rounding in a difference is relative to the largest element, not to each."""
    return max(1.0, float(np.max(np.abs(x), initial=0.0)))


def _compare_reverse(c: _Check, leaves: Sequence[Any], tangents: Sequence[Any],
                     cts: Sequence[Any], out_tree: Any, slope: Sequence[np.ndarray]) -> None:
    pulled = api.vjp(c.f, *c.args)[1](unflatten(out_tree, cts))
    in_cts = flatten(pulled, is_leaf=lambda x: x is None)[0]
    in_cts = in_cts if len(in_cts) == len(leaves) else _with_holes(leaves, _moving(pulled))
    moving_cts = [_wide(_numpy(ct)) for ct in cts if _moves(ct)]
    for x, ct, name in zip(leaves, in_cts, c.names, strict=True):
        if _moves(x) and typeof(ct)[:2] != typeof(x)[:2]:
            raise c.fail("reverse", f"the cotangent of `{name}` has type {typeof(ct)}, the "
                                    f"argument {typeof(x)}")
    wrong = []
    exact = "fwd" in c.modes
    for i, x in enumerate(leaves):
        if not _moves(x):
            continue
        alone = _only(leaves, tangents, i) if sum(map(_moves, leaves)) > 1 else tangents
        out_t = slope if alone is tangents else (
            _forward(c, alone) if exact else _differences(c, alone))
        left, left_size = _dot(moving_cts, out_t)
        right, right_size = _dot([_wide(_numpy(in_cts[i]))], [_wide(_numpy(tangents[i]))])
        allowed = (c.dot if exact else c.rtol) * (left_size + right_size)
        allowed += 1e-2 * c.dot if exact else c.atol  # where a derivative is nothing but rounding
        if not abs(left - right) <= allowed:
            wrong.append(f"the cotangent of `{c.names[i]}` times its tangent is {right:.12g}, the "
                         f"cotangent of the output times the {'tangent' if exact else 'slope'} "
                         f"is {left:.12g}: they differ by {abs(left - right):.3g}, allowed "
                         f"{allowed:.3g}")
    if wrong:
        raise c.fail("reverse", "; ".join(wrong))


def _with_holes(leaves: Sequence[Any], found: Sequence[Any]) -> list[Any]:
    values = iter(found)
    return [next(values) if _moves(x) else None for x in leaves]


def _dot(cts: Sequence[np.ndarray], tangents: Sequence[np.ndarray]) -> tuple[float, float]:
    """The pairing under which transposes are defined, Re(sum ct t) without conjugation, and
    the sum of absolute terms, which rounding is relative to."""
    products = [(ct * t).real for ct, t in zip(cts, tangents, strict=True)]
    return (float(sum(p.sum() for p in products)), float(sum(np.abs(p).sum() for p in products)))


# ------------------------------------------------------------------ batching and compilation

def check_batch(f: Callable[..., Any], args: Sequence[Any], in_axes: Any = 0,
                sizes: Sequence[int] = (0, 1, 3), rtol: float | None = None,
                atol: float | None = None) -> None:
    """Raise AssertionError unless `vmap(f, in_axes)` does what a Python loop over lanes does.

    `args` are batched as `in_axes` says, with at least one lane; for each of `sizes` so many of
    their lanes are taken (in turn, if there are fewer). Shapes and dtypes must be equal too.

    >>> import lucidfn.numpy as lnp
    >>> check_batch(lnp.dot, (lnp.ones((3, 4)), lnp.ones(4)), in_axes=(0, None))
    """
    args = tuple(args)
    axes = tuple(in_axes) if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
    leaves, treedef = flatten(args)
    flat_axes = [a for axis, arg in zip(axes, args, strict=True) for a in _axes_of(axis, arg)]
    counts = {typeof(x).shape[a] for x, a in zip(leaves, flat_axes, strict=True) if a is not None}
    if len(counts) != 1 or 0 in counts:
        raise ValueError("check_batch: batched arguments must have one number of lanes, at least "
                         f"one; got {sorted(counts) or 'no batched argument'}")
    n = counts.pop()
    lane = lambda i: unflatten(treedef, [
        x if a is None else _instead(x, np.take(_numpy(x), i % n, axis=a))
        for x, a in zip(leaves, flat_axes, strict=True)])
    for size in sizes:
        lanes = np.arange(size) % n
        batched = unflatten(treedef, [
            x if a is None else _instead(x, np.take(_numpy(x), lanes, axis=a))
            for x, a in zip(leaves, flat_axes, strict=True)])
        got = api.vmap(f, in_axes=axes)(*batched)
        want = [f(*lane(i)) for i in range(max(size, 1))]
        out_tree = flatten(want[0])[1]
        stacked = unflatten(out_tree, [np.stack([_numpy(x) for x in column])[:size] for column in
                                       zip(*[flatten(w)[0] for w in want], strict=True)])
        assert_allclose(got, stacked, rtol, atol, check_dtypes=True,
                        what=f"check_batch of {name_of(f)}, {size} lanes, in_axes={axes}")


def _axes_of(axis: Any, arg: Any) -> list[int | None]:
    """One axis for each leaf of an argument; None for those that are not batched."""
    if axis is None or isinstance(axis, int):
        return [axis] * len(flatten(arg)[0])
    is_none = lambda x: x is None
    return flatten(broadcast(axis, arg, is_leaf=is_none), is_leaf=is_none)[0]


def check_jit(f: Callable[..., Any], args: Sequence[Any], rtol: float | None = None,
              atol: float | None = None, *, exact: bool = False) -> None:
    """Raise AssertionError unless `jit(f)` gives what `f` gives, on a first and on a later call.

    Shapes and dtypes must be equal; values to the table's tolerance, or to the bit with `exact`.

    >>> import lucidfn.numpy as lnp
    >>> check_jit(lambda x: lnp.exp(x) + 1.0, (lnp.ones(3),), exact=True)
    """
    want = f(*args)
    jitted = api.jit(f)
    for call in ("first call", "second call"):
        got = jitted(*args)
        what = f"check_jit of {name_of(f)}, {call}"
        if exact:
            assert_allclose(got, want, 0.0, 0.0, check_dtypes=True, what=what)
        else:
            assert_allclose(got, want, rtol, atol, check_dtypes=True, what=what)


__all__ = ["TOLERANCES", "Tolerance", "assert_allclose", "check_batch", "check_grads", "check_jit",
           "tolerance"]
