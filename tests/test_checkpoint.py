"""Rematerialisation, closures as arguments, and values that derivatives do not see."""

import functools
import itertools
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.core.ir import Program
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

X = np.array([0.3, -0.7, 1.1], "float64")
Y = np.array([1.5, 0.4, -2.0], "float64")


def f(x: Any, y: Any) -> Any:
    return lnp.sum(lnp.sin(lnp.sin(x) * y))


def primitives(program: Program) -> list[str]:
    """Names of all primitives, those of nested programs included."""
    names = []
    for eqn in program.equations:
        names.append(eqn.primitive.name)
        for _, inner in eqn.programs():
            names += primitives(inner)
    return names


# ------------------------------------------------------------------ checkpoint

def test_same_values_and_derivatives_in_every_nesting() -> None:
    g = lf.checkpoint(f)
    assert_allclose(g(X, Y), f(X, Y))
    for order in (lambda h: lf.grad(h, (0, 1)), lambda h: lf.hessian(h, (0, 1)),
                  lambda h: lf.jacfwd(h), lambda h: lf.jit(lf.grad(h)),
                  lambda h: lf.grad(lf.jit(h)), lambda h: lf.grad(lambda x, y: lnp.sum(
                      lf.grad(h)(x, y))), lambda h: lf.jit(lf.hessian(lf.jit(h)))):
        assert_allclose(order(g)(X, Y), order(f)(X, Y))
    check_grads(g, (X, Y))
    check_batch(g, (X, Y))
    check_batch(lf.grad(g), (X, 2.0), in_axes=(0, None))
    check_jit(lf.grad(lf.checkpoint(lf.checkpoint(f))), (X, Y))


def test_the_forward_pass_runs_again_and_its_intermediates_are_not_kept() -> None:
    calls: list[int] = []

    def g(x: Any) -> Any:
        lf.debug.callback(lambda v: calls.append(1), x)
        return lnp.sum(lnp.sin(lnp.sin(x)))

    lf.grad(g)(X)
    assert len(calls) == 1
    lf.grad(lf.checkpoint(g))(X)
    assert len(calls) == 3  # once forward, once again
    out, pull = lf.vjp(lf.checkpoint(g), X)
    assert len(calls) == 4
    pull(out)
    assert len(calls) == 5


def test_residuals_are_the_inputs_only() -> None:
    g = lambda x: lnp.sum(lnp.sin(lnp.sin(lnp.sin(x))))
    shapes = lambda h: [c.shape for c in linear_program(h).consts.values()]
    assert len([s for s in shapes(g) if s == (3,)]) >= 3
    assert len([s for s in shapes(lf.checkpoint(g)) if s == (3,)]) == 1


def linear_program(h: Any) -> Program:
    from_h = lf.linearize(h, X)[1]
    (cell,) = [c.cell_contents for c in from_h.__closure__ if isinstance(c.cell_contents, Program)]
    return cell


def test_the_compiled_gradient_recomputes() -> None:
    step = lf.jit(lf.grad(lf.checkpoint(lambda x: lnp.sum(lnp.sin(lnp.sin(x))))))
    names = primitives(step.program(X))
    assert "recompute" in names and "checkpoint" in names


def test_trees_keywords_and_names() -> None:
    @lf.checkpoint
    def g(params: Any, *, scale: Any) -> Any:
        """Doc."""
        return {"out": lnp.sum(params["w"] * params["b"]) * scale, "label": "x"}

    assert g.__name__ == "g" and g.__doc__ == "Doc." and "checkpoint" in repr(g)
    params = {"w": X, "b": Y}
    for h in (g, lf.jit(g)):
        grads = lf.grad(lambda p, s, h=h: h(p, scale=s)["out"], (0, 1))(params, np.float64(2.0))
        assert_allclose(grads, ({"w": 2.0 * Y, "b": 2.0 * X}, np.sum(X * Y)))
    assert g(params, scale=1.0)["label"] == "x"


def test_closed_over_traced_values_get_gradients() -> None:
    class Box:
        value: Any = None

    hidden = Box()

    def loss(w: Any, x: Any) -> Any:
        hidden.value = w
        a = lf.checkpoint(lambda v: lnp.sum(lnp.sin(w * v)))(x)
        b = lf.checkpoint(lambda v: lnp.sum(hidden.value * v))(x)
        return a + b

    plain = lambda w, x: lnp.sum(lnp.sin(w * x)) + lnp.sum(w * x)
    for run in (lf.grad(loss, (0, 1)), lf.jit(lf.grad(loss, (0, 1))),
                lf.grad(lf.jit(loss), (0, 1))):
        assert_allclose(run(X, Y), lf.grad(plain, (0, 1))(X, Y))
    assert_allclose(lf.grad(lambda w: loss(w, Y))(X), lf.grad(plain)(X, Y))
    assert_allclose(lf.grad(lambda x: lnp.sum(lf.grad(loss)(X, x)))(Y),
                    lf.grad(lambda x: lnp.sum(lf.grad(plain)(X, x)))(Y))
    assert_allclose(lf.vmap(lf.grad(loss, (0, 1)))(X, Y), lf.vmap(lf.grad(plain, (0, 1)))(X, Y))


def test_static_arguments_and_plain_leaves() -> None:
    def g(x: Any, n: int, act: Any, mode: str) -> Any:
        for _ in range(n):
            x = act(x) if mode == "deep" else x
        return x

    for make in (functools.partial(lf.checkpoint, static_argnums=1),
                 functools.partial(lf.remat, static_argnums=-3, prevent_cse=False),
                 lf.checkpoint(static_argnames="n")):
        got = lf.grad(lambda x, make=make: make(g)(x, 3, lnp.sin, "deep"))(np.float64(0.5))
        assert_allclose(got, lf.grad(lambda x: g(x, 3, lnp.sin, "deep"))(np.float64(0.5)))
    with pytest.raises(lf.TracerIntegerConversionError,
                       match=r"(?s)under checkpoint of .*checkpoint\(f, static_argnames=\['n'\]\)"):
        lf.grad(lambda x: lf.checkpoint(g)(x, 3, lnp.sin, "deep"))(0.5)


def test_python_if_on_values_is_an_error_where_it_is_recorded() -> None:
    g = lf.checkpoint(lambda x: x if x > 0 else -x)
    assert float(g(-2.0)) == 2.0  # nothing is differentiated: it simply runs
    with pytest.raises(lf.TracerBoolConversionError, match="lnp.where"):
        lf.grad(g)(2.0)
    with lf.disable_jit():
        assert float(lf.grad(g)(-2.0)) == -1.0


def test_repeated_calls_record_once() -> None:
    traces = itertools.count()

    @lf.checkpoint
    def g(x: Any) -> Any:
        next(traces)
        return lnp.sum(lnp.sin(x))

    for _ in range(3):
        lf.grad(g)(X)
    assert next(traces) == 1


def test_bad_use() -> None:
    with pytest.raises(TypeError, match="checkpoint needs a function, got int"):
        lf.checkpoint(3)
    with pytest.raises(TypeError):
        lf.checkpoint(f, policies=None)


# ------------------------------------------------------------------ closure_convert

def test_closure_convert_hoists_traced_values_only() -> None:
    table = lnp.array([1.0, 2.0, 3.0])

    def outer(w: Any, x: Any) -> Any:
        converted, consts = lf.closure_convert(lambda v: {"y": w * v * table[0]}, x)
        assert len(consts) == 1
        return lnp.sum(converted(x, *consts)["y"])

    for run in (outer, lf.jit(outer)):
        assert_allclose(lf.grad(run, (0, 1))(X, Y), (Y, X))
    converted, consts = lf.closure_convert(lambda v: v * table, X)
    assert consts == []
    assert_allclose(converted(X), X * np.array([1.0, 2.0, 3.0]))


def test_closure_convert_constants_can_be_replaced() -> None:
    def outer(w: Any) -> Any:
        converted, consts = lf.closure_convert(lambda v: w * v, 1.0)
        return converted(3.0, consts[0] * 10.0)

    assert float(lf.grad(outer)(2.0)) == 30.0


def test_closure_convert_messages() -> None:
    converted, _ = lf.closure_convert(lambda v: v["a"], {"a": X})
    with pytest.raises(TypeError, match="the arguments are unlike the example"):
        converted({"b": X})
    with pytest.raises(TypeError, match="got 1 constants after the 1 arguments, expected 0"):
        converted({"a": X}, 1.0)


# ------------------------------------------------------------------ stop_gradient, named_call

def test_stop_gradient_of_trees() -> None:
    tree = {"a": X, "n": 3, "s": "text", "k": None}
    out = lf.stop_gradient(tree)
    assert out["s"] == "text" and out["k"] is None
    assert_allclose(out["a"], X)
    loss = lambda t: lnp.sum(t["a"] * lf.stop_gradient(t)["a"])
    for run in (loss, lf.jit(loss), lf.checkpoint(loss)):
        assert_allclose(lf.grad(run)({"a": X})["a"], X)
    assert_allclose(lf.jvp(lf.stop_gradient, (X,), (Y,))[1], np.zeros(3))
    assert_allclose(lf.vmap(lf.grad(lambda x: x * lf.stop_gradient(x)))(X), X)


def test_named_call_is_one_equation_of_that_name() -> None:
    g = lf.named_call(lambda p, *, n: {"out": p["x"] * n}, name="block")
    program = lf.make_ir(lambda x: g({"x": x}, n=2.0)["out"])(X)
    assert [e.params.get("name") for e in program.equations] == ["block"]
    for run in (g, lf.jit(g)):
        assert_allclose(run({"x": X}, n=2.0)["out"], 2.0 * X)
        assert_allclose(lf.grad(lambda x, run=run: lnp.sum(run({"x": x}, n=2.0)["out"]))(X),
                        np.full(3, 2.0))
    assert float(lf.grad(lf.named_call(lambda x: x if x > 0 else -x))(-1.0)) == -1.0

    def outer(w: Any, x: Any) -> Any:
        return lf.named_call(lambda v: lnp.sum(w * v))(x)

    assert_allclose(lf.jit(lf.grad(outer, (0, 1)))(X, Y), (Y, X))
