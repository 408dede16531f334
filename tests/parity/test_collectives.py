"""Collectives beside `jax.vmap(axis_name=...)`: values, gradients, second derivatives, float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")

import lucidfn as lf  # noqa: E402
import lucidfn.numpy as lnp  # noqa: E402

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 4, 3))
ONE_NAME = {
    "psum": lambda m, x: x * m.lax.psum(x ** 2, "i"),
    "psum of a tree": lambda m, x: sum(m.lax.psum({"a": x, "b": (x * x,)}, "i")["b"]) * x,
    "psum of what does not vary": lambda m, x: x * m.lax.psum(m.np.ones(3) * 2, "i"),
    "pmean": lambda m, x: (x - m.lax.pmean(x, "i")) ** 2,
    "standardised": lambda m, x: (x - m.lax.pmean(x, "i")) / m.np.sqrt(
        m.lax.pmean((x - m.lax.pmean(x, "i")) ** 2, "i") + 0.1),
    "all_gather": lambda m, x: m.np.sin(m.lax.all_gather(x * x, "i")) * x,
    "all_gather axis": lambda m, x: m.lax.all_gather(x * x, "i", axis=1) ** 2,
    "all_gather tiled": lambda m, x: m.lax.all_gather(x * x, "i", axis=1, tiled=True) ** 2,
    "all_to_all": lambda m, x: m.lax.all_to_all(x ** 2, "i", 0, 1) ** 2,
    "all_to_all 0": lambda m, x: m.lax.all_to_all(x ** 2, "i", 0, 0) * x,
    "all_to_all tiled": lambda m, x: m.lax.all_to_all(x ** 2, "i", 0, 1, tiled=True) ** 2,
    "ppermute of all": lambda m, x: m.lax.ppermute(x, "i", [(i, (i + 1) % 4) for i in range(4)])
    ** 2,
    "pshuffle": lambda m, x: m.lax.pshuffle(x ** 2, "i", [2, 0, 3, 1]) * x,
    "psum_scatter": lambda m, x: m.lax.psum_scatter(x ** 2, "i") ** 2,
    "psum_scatter tiled": lambda m, x: m.lax.psum_scatter(
        m.np.concatenate([x, x * x], 0), "i", scatter_dimension=0, tiled=True) ** 2,
    "pswapaxes": lambda m, x: m.lax.pswapaxes(x, "i", 0) * x,
    "axis_index": lambda m, x: x ** 2 * m.lax.axis_index("i"),
    "axis_size": lambda m, x: x ** 2 * m.lax.axis_size("i"),
    "psum of 1": lambda m, x: x ** 2 / m.lax.psum(1, "i"),
}


class Ours:
    lax, np, vmap, grad, jit = lf.lax, lnp, lf.vmap, lf.grad, lf.jit


class Theirs:
    lax, np, vmap, grad, jit = jax.lax, jax.numpy, jax.vmap, jax.grad, jax.jit


def compare(make: Callable[[Any], Any], *args: Any) -> None:
    """make(library) is a function of arrays; it must give the same with both.

    JAX gets a jit around it: to compile one program takes it less time than many operations.
    """
    with lf.default_dtype("float64"), jax.enable_x64(True):
        got, want = make(Ours)(*args), jax.jit(make(Theirs))(*args)
        got, want = lf.tree.leaves(got), jax.tree.leaves(want)
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-9)


# Where JAX's transpose has the wrong shape; tests/test_collectives.py has the formula.
NO_TRANSPOSE = ("all_to_all", "to all outer", "to all both")


def jax_can(name: str, form: str) -> bool:
    inside = form in ("values", "values, jitted inside", "values, jitted outside", "grad outside",
                      "second order outside", "under another vmap", "jit between")
    return inside or name not in NO_TRANSPOSE


FORMS: dict[str, Any] = {
    "values": lambda m, f: m.vmap(f, axis_name="i"),
    "values, jitted inside": lambda m, f: m.vmap(m.jit(f), axis_name="i"),
    "values, jitted outside": lambda m, f: m.jit(m.vmap(m.jit(f), axis_name="i")),
    "grad outside": lambda m, f: m.grad(lambda x: m.np.sum(
        m.np.sin(m.vmap(f, axis_name="i")(x)))),
    "grad inside": lambda m, f: m.vmap(m.grad(lambda x: m.np.sum(m.np.sin(f(x)))), axis_name="i"),
    "grad of jit inside": lambda m, f: m.vmap(m.jit(m.grad(m.jit(
        lambda x: m.np.sum(m.np.sin(f(x)))))), axis_name="i"),
    "second order outside": lambda m, f: m.grad(lambda x: m.np.sum(m.grad(lambda x: m.np.sum(
        m.np.sin(m.vmap(f, axis_name="i")(x))))(x) ** 2)),
    "second order inside": lambda m, f: m.vmap(m.grad(lambda x: m.np.sum(m.grad(
        lambda x: m.np.sum(m.np.sin(f(x))))(x) ** 2)), axis_name="i"),
    "second order, both": lambda m, f: m.grad(lambda x: m.np.sum(m.vmap(m.jit(m.grad(
        lambda x: m.np.sum(m.np.sin(f(x))))), axis_name="i")(x) ** 2)),
    "under another vmap": lambda m, f: m.vmap(m.vmap(f, axis_name="i"), in_axes=2),
}


@pytest.mark.parametrize(("name", "form"), [(n, f) for n in ONE_NAME for f in FORMS
                                            if jax_can(n, f)])
def test_one_axis(name: str, form: str) -> None:
    x = np.stack([X, 2 * X, X + 1], 2) if form == "under another vmap" else X
    compare(lambda m: FORMS[form](m, lambda x: ONE_NAME[name](m, x)), x)


@pytest.mark.parametrize("name", ["pmax", "pmin"])
@pytest.mark.parametrize("form", ["values", "values, jitted inside", "under another vmap"])
def test_extremes(name: str, form: str) -> None:  # JAX has no derivative of them
    compare(lambda m: FORMS[form](m, lambda x: x * getattr(m.lax, name)(x ** 2, "i")), X)


Z = rng.normal(size=(2, 3, 6, 2))
TWO_NAMES = {
    "psum both": lambda m, x: x * m.lax.psum(x ** 2, ("i", "j")),
    "psum outer": lambda m, x: x * m.lax.psum(x ** 2, "i"),
    "psum inner": lambda m, x: x * m.lax.psum(x ** 2, "j"),
    "pmean of psum": lambda m, x: m.lax.pmean(m.lax.psum(x ** 2, "i") ** 2, "j") * x,
    "gather outer": lambda m, x: m.lax.all_gather(x * x, "i", axis=1) ** 2,
    "permute outer": lambda m, x: m.lax.ppermute(x ** 2, "i", [(0, 1), (1, 0)]) * x,
    "permute inner": lambda m, x: m.lax.ppermute(x ** 2, "j", [(0, 1), (1, 2), (2, 0)]) * x,
    "to all both": lambda m, x: m.lax.all_to_all(x ** 2, ("i", "j"), 0, 0) * x,
    "index": lambda m, x: x ** 2 * m.lax.axis_index(("i", "j")),
    "size": lambda m, x: x ** 2 * m.lax.axis_size(("i", "j")),
    "index of the outer": lambda m, x: x ** 2 * m.lax.axis_index("i"),
    "to all inner": lambda m, x: m.lax.all_to_all(x ** 2, "j", 0, 1, tiled=True) ** 2,
    "to all outer": lambda m, x: m.lax.all_to_all(x ** 2, "i", 1, 0) ** 2,
    "scatter inner": lambda m, x: m.lax.psum_scatter(x ** 2, "j", tiled=True) ** 2,
    "scatter outer": lambda m, x: m.lax.psum_scatter(x ** 2, "i", scatter_dimension=1) ** 2,
}
NESTED: dict[str, Any] = {
    "values": lambda m, f: m.vmap(m.vmap(f, axis_name="j"), axis_name="i"),
    "jit between": lambda m, f: m.vmap(m.jit(m.vmap(m.jit(f), axis_name="j")), axis_name="i"),
    "grad between": lambda m, f: m.vmap(m.grad(lambda x: m.np.sum(m.np.sin(
        m.vmap(f, axis_name="j")(x)))), axis_name="i"),
    "grad inside": lambda m, f: m.vmap(m.vmap(m.grad(lambda x: m.np.sum(m.np.sin(f(x)))),
                                              axis_name="j"), axis_name="i"),
    "second order": lambda m, f: m.grad(lambda x: m.np.sum(m.vmap(m.grad(lambda x: m.np.sum(
        m.np.sin(m.vmap(m.jit(f), axis_name="j")(x)))), axis_name="i")(x) ** 2)),
}


@pytest.mark.parametrize(("name", "form"), [(n, f) for n in TWO_NAMES for f in NESTED
                                            if jax_can(n, f)])
def test_two_axes(name: str, form: str) -> None:
    compare(lambda m: NESTED[form](m, lambda x: TWO_NAMES[name](m, x)), Z)
