"""Runs a row of the table in both libraries and compares what comes out.

Twice: in double precision (JAX with x64, ours with 64-bit defaults) values and gradients; in single
precision shapes, dtypes and weak types, which JAX infers without running, and our values beside
those in double precision.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

import lucidfn as lf
from lucidfn import config, tree

from .table import Call, Made, Sampler

_PARTS = {"np": "numpy", "lax": "lax", "random": "random", "nn": "nn", "scipy": "scipy",
          "special": "scipy.special", "linalg": "scipy.linalg", "stats": "scipy.stats",
          "signal": "scipy.signal"}


class Namespace:
    """`m.np.sum`, `m.lax.add`, ...: the modules of one library under short names."""

    def __init__(self, root: str):
        self.root = root
        self.ours = root == "lucidfn"

    def __getattr__(self, name: str) -> Any:
        if name not in _PARTS:
            raise AttributeError(name)
        return importlib.import_module(f"{self.root}.{_PARTS[name]}")

    def find(self, path: str) -> Any:
        """The function at a dotted path such as `scipy.stats.norm.cdf`."""
        names = path.split(".")
        found, at = importlib.import_module(self.root), self.root
        for name in names:
            at = f"{at}.{name}"
            try:
                found = getattr(found, name)
            except AttributeError:
                found = importlib.import_module(at)
        return found


OURS, THEIRS = Namespace("lucidfn"), Namespace("jax")


class Problem:
    """A call with its arrays: a function of the arrays alone, for either library."""

    def __init__(self, path: str, call: Call, index: int, wide: bool):
        self.call, self.path = call, path
        rng = np.random.default_rng(zlib.crc32(f"{path} {index}".encode()))
        self.leaves, self.treedef = jax.tree.flatten(
            (call.args, call.kwargs), is_leaf=lambda x: isinstance(x, (Sampler, Made)) or x is None)
        self.places = [i for i, x in enumerate(self.leaves) if isinstance(x, Sampler)]
        self.arrays = [self.leaves[i].make(rng, wide) for i in self.places]
        chosen = call.grad if isinstance(call.grad, tuple) else range(
            len(self.arrays) if call.grad else 0)
        self.moving = [k for k in chosen if inexact(self.arrays[k])]

    def on(self, m: Namespace) -> Callable[[Sequence[Any]], list[Any]]:
        """Output leaves as a function of the list of arrays."""
        fun = self.call.fun
        target = None if fun is not None else m.find(self.path)

        def run(arrays: Sequence[Any]) -> list[Any]:
            leaves = list(self.leaves)
            for i, a in zip(self.places, arrays, strict=True):
                leaves[i] = a
            leaves = [x.make(m) if isinstance(x, Made) else x for x in leaves]
            args, kwargs = jax.tree.unflatten(self.treedef, leaves)
            out = target(*args, **kwargs) if fun is None else fun(m, *args, **kwargs)
            if self.call.post is not None:
                out = self.call.post(m, out)
            return (tree if m.ours else jax.tree).leaves(out)

        return run


def inexact(a: Any) -> bool:
    """Whether it has derivatives: floating or complex."""
    return np.dtype(a.dtype).kind in "fc" or a.dtype.name == "bfloat16"


def cotangents(leaves: Sequence[Any]) -> list[Any]:
    """The same random cotangents in both libraries, for inexact leaves only."""
    out = []
    for k, leaf in enumerate(leaves):
        if inexact(leaf):
            rng = np.random.default_rng(k)
            ct = rng.standard_normal(leaf.shape)
            if np.dtype(leaf.dtype).kind == "c":
                ct = ct + 1j * rng.standard_normal(leaf.shape)
            out.append(np.asarray(ct).astype(leaf.dtype))
    return out


def with_gradients(problem: Problem, m: Namespace, vjp: Callable[..., Any],
                   arrays: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """(outputs, cotangents of the arrays that move)."""
    run, moving = problem.on(m), problem.moving

    def floats(*picked: Any) -> tuple[list[Any], list[Any]]:
        full = list(arrays)
        for k, a in zip(moving, picked, strict=True):
            full[k] = a
        out = run(full)
        return [x for x in out if inexact(x)], out

    if not moving:
        return run(arrays), []
    found, pull_back, out = vjp(floats, *[arrays[k] for k in moving], has_aux=True)
    return out, list(pull_back(cotangents(found))) if found else []


def reference(problems: Sequence[Problem]) -> list[tuple[list[Any], list[Any]]]:
    """Outputs and gradients of JAX; one compilation for all calls that can be traced."""
    def one(p: Problem, arrays: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        arrays = [jax.numpy.asarray(a) for a in arrays]
        return with_gradients(p, THEIRS, jax.vjp, arrays)

    traced = [k for k, p in enumerate(problems) if not p.call.concrete]
    every = lambda inputs: [one(problems[k], a) for k, a in zip(traced, inputs, strict=True)]
    found = jax.jit(every)([problems[k].arrays for k in traced])
    results = dict(zip(traced, found, strict=True))
    return [results[k] if k in results else one(p, p.arrays) for k, p in enumerate(problems)]


def inferred(problem: Problem) -> list[Any]:
    """Shape, dtype and weakness of JAX's outputs, without running it where that is possible."""
    run = problem.on(THEIRS)
    if problem.call.concrete or problem.call.single:
        return run([jax.numpy.asarray(a) for a in problem.arrays])
    return jax.tree.leaves(jax.eval_shape(run, problem.arrays))


def type_text(x: Any, weak: bool) -> str:
    """Dtype, weakness (unless that is not compared) and shape."""
    if isinstance(x, (bool, int, float, complex, str, np.dtype)):
        return type(x).__name__
    dtype = x.dtype
    shape, name = x.shape, getattr(dtype, "name", str(dtype))
    star = "*" * bool(weak and name != "bool" and getattr(x, "weak_type", False))
    return f"{'key' if 'key' in name or dtype.names else name}{star}{list(shape)}"


def difference(what: str, got: Any, want: Any, tol: float) -> str | None:
    """None where two arrays agree to a relative error, else how they do not."""
    if isinstance(want, (str, np.dtype)):
        return None if got == want else f"{what}: got {got}, want {want}"
    a, b = np.asarray(got), np.asarray(want)
    if a.shape != b.shape:
        return f"{what}: shape {a.shape}, want {b.shape}"
    if a.dtype.kind in "biu" and b.dtype.kind in "biu":
        return None if np.array_equal(a, b) else f"{what}: got\n{a}\nwant\n{b}"
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    a, b = a.astype(wide), b.astype(wide)
    finite = np.abs(b[np.isfinite(b)])
    scale = float(finite.max(initial=0.0))
    scale = 1.0 if scale < 1e-9 else scale  # what is left of a zero
    if np.allclose(a, b, rtol=tol, atol=tol * scale, equal_nan=True):
        return None
    return f"{what}: got\n{a}\nwant\n{b}"


def types_differ(what: str, got: Sequence[Any], want: Sequence[Any], weak: bool) -> list[str]:
    a, b = [type_text(x, weak) for x in got], [type_text(x, weak) for x in want]
    return [] if a == b else [f"{what}: types {', '.join(a)}; want {', '.join(b)}"]


def _guarded(label: str, run: Callable[[], list[str]]) -> list[str]:
    try:
        return run()
    except Exception as error:  # every failing call of the row is reported
        return [f"{label}: {type(error).__name__}: {error}"]


@contextmanager
def quick_compilation(path: str) -> Iterator[None]:
    """JAX compiles twice as fast without optimizing; not for random numbers, whose last digits
    are compared."""
    jax.config.update("jax_disable_most_optimizations", path not in EXACT)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


EXACT = ("random.uniform", "random.normal")


def compare(path: str, calls: Sequence[Call]) -> list[str]:
    """What differs between the two libraries in these calls of one function."""
    with quick_compilation(path):
        return _compare(path, calls)


def _compare(path: str, calls: Sequence[Call]) -> list[str]:
    problems: list[str] = []
    with jax.enable_x64(True):
        wide = [Problem(path, c, k, True) for k, c in enumerate(calls)]
        results = reference([p for p in wide if p.call.wide])
    expected: dict[int, list[Any]] = {}
    remaining = iter(results)
    for k, p in enumerate(wide):
        if p.call.wide:
            outs, grads = next(remaining)
            expected[k] = outs
            label = f"{path} call {k} (double)"
            with config.override(default_float="float64", default_int="int64"):
                problems += _guarded(label, lambda: compare_wide(label, p, outs, grads))
    for k, c in enumerate(calls):
        if c.narrow:
            label = f"{path} call {k} (single)"
            problem = Problem(path, c, k, False)
            with jax.enable_x64(False):
                want = inferred(problem)
            problems += _guarded(label, lambda: compare_narrow(
                label, problem, want, expected.get(k)))
    return problems


def compare_wide(label: str, p: Problem, outs: list[Any], grads: list[Any]) -> list[str]:
    got, got_grads = with_gradients(p, OURS, lf.vjp, [lf.numpy.asarray(a) for a in p.arrays])
    found = types_differ(label, got, outs, p.call.weak)
    if len(got) != len(outs) or not p.call.values:
        return found
    checks = [difference(f"{label} output {i}", a, b, p.call.tol)
              for i, (a, b) in enumerate(zip(got, outs, strict=True))]
    if len(got_grads) != len(grads):
        found.append(f"{label}: {len(got_grads)} gradients, want {len(grads)}")
    else:
        checks += [difference(f"{label} gradient of array {k}", a, b, 10 * p.call.tol)
                   for k, a, b in zip(p.moving, got_grads, grads, strict=False)]
        found += types_differ(f"{label} gradients", got_grads, grads, False)
    return found + [c for c in checks if c]


def compare_narrow(label: str, p: Problem, want: list[Any], wide: list[Any] | None) -> list[str]:
    got = p.on(OURS)([lf.numpy.asarray(a) for a in p.arrays])
    found = types_differ(label, got, want, p.call.weak)
    values = want if p.call.single or p.call.concrete else wide
    if values is None or len(got) != len(values) or not p.call.values:
        return found
    checks = [difference(f"{label} output {i}", a, b, p.call.tol32)
              for i, (a, b) in enumerate(zip(got, values, strict=True))]
    return found + [c for c in checks if c]


def check(path: str, calls: Sequence[Call]) -> None:
    """Fails with everything that differs."""
    problems = compare(path, calls)
    assert not problems, "\n".join([f"{len(problems)} differences from JAX:", *problems[:20]])
