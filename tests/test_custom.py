"""Functions with rules of their own, alone and under every other transformation."""

import functools
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.core.ir import Program
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

X = np.array([0.3, -0.7, 1.1], "float64")
Y = np.array([1.5, 0.4, -2.0], "float64")


def make_jvp(scale: float = 1.0, name: str = "f") -> Any:
    """sin(x) * y with a derivative in x that is `scale` times the true one."""
    def function(x: Any, y: Any) -> Any:
        return lnp.sin(x) * y

    function.__name__ = function.__qualname__ = name
    f = lf.custom_jvp(function)

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        x, y = primals
        tx, ty = tangents
        return f(x, y), scale * lnp.cos(x) * y * tx + lnp.sin(x) * ty

    return f


def make_vjp(scale: float = 1.0, name: str = "f") -> Any:
    def function(x: Any, y: Any) -> Any:
        return lnp.sin(x) * y

    function.__name__ = function.__qualname__ = name
    f = lf.custom_vjp(function)

    def fwd(x: Any, y: Any) -> Any:
        return f(x, y), (x, y)

    def bwd(res: Any, ct: Any) -> Any:
        x, y = res
        return scale * lnp.cos(x) * y * ct, lnp.sin(x) * ct

    f.defvjp(fwd, bwd)
    return f


MAKERS = {"jvp": make_jvp, "vjp": make_vjp}
WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda f: f,
    "jit": lf.jit,
    "checkpoint": lf.checkpoint,
    "jit of jit": lambda f: lf.jit(lf.jit(f)),
    "checkpoint of jit": lambda f: lf.checkpoint(lf.jit(f)),
    "jit of checkpoint": lambda f: lf.jit(lf.checkpoint(f)),
    "inside vmap": lambda f: lf.vmap(f),
    "jit of vmap": lambda f: lf.jit(lf.vmap(lf.jit(f))),
    "vmap of checkpoint": lambda f: lf.vmap(lf.checkpoint(f)),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Any:
    return MAKERS[request.param]


# ------------------------------------------------------------------ rules are used, and nest

def test_value_without_transformation_is_that_of_the_function(make: Any) -> None:
    assert_allclose(make(3.0)(X, Y), np.sin(X) * Y)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_first_derivative_comes_from_the_rule(make: Any, wrapper: str) -> None:
    f = WRAPPERS[wrapper](make(3.0))
    gx, gy = lf.grad(lambda x, y: lnp.sum(f(x, y)), (0, 1))(X, Y)
    assert_allclose((gx, gy), (3.0 * np.cos(X) * Y, np.sin(X)))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_second_derivative_differentiates_the_rule(make: Any, wrapper: str) -> None:
    f = WRAPPERS[wrapper](make(3.0))
    inner = lf.grad(lambda x, y: lnp.sum(f(x, y)))
    got = lf.grad(lambda x, y: lnp.sum(inner(x, y)), (0, 1))(X, Y)
    assert_allclose(got, (-3.0 * np.sin(X) * Y, 3.0 * np.cos(X)))


@pytest.mark.parametrize("outer", ["plain", "jit", "checkpoint"])
@pytest.mark.parametrize("wrapper", ["plain", "jit", "checkpoint"])
def test_transformations_around_the_gradient(make: Any, wrapper: str, outer: str) -> None:
    f = WRAPPERS[wrapper](make(3.0))
    g = WRAPPERS[outer](lf.grad(lambda x, y: f(x, y)))
    assert_allclose(lf.vmap(g)(X, Y), 3.0 * np.cos(X) * Y)
    assert_allclose(lf.jit(lf.vmap(g, in_axes=(0, None)))(X, 2.0), 6.0 * np.cos(X))
    assert_allclose(lf.vmap(lf.grad(lambda x, y: g(x, y)))(X, Y), -3.0 * np.sin(X) * Y)


def test_right_rules_pass_the_checkers() -> None:
    check_grads(make_jvp(), (X, Y))
    check_grads(make_vjp(), (X, Y), modes=("rev",))
    for f in (make_jvp(), make_vjp()):
        check_jit(f, (X, Y))
        check_jit(lf.grad(lambda x, y, f=f: lnp.sum(f(x, y))), (X, Y))
        check_batch(f, (X, Y))
        check_batch(f, (X, 2.0), in_axes=(0, None))
        check_batch(lf.grad(f), (X, Y))
        check_batch(lf.grad(f, 1), (X, np.float64(2.0)), in_axes=(0, None))


def test_shared_argument_of_a_batch_gets_the_sum_of_cotangents(make: Any) -> None:
    f = make()
    total = lambda x, y: lnp.sum(lf.vmap(f, (0, None))(x, y))
    for run in (lf.grad(total, 1), lf.jit(lf.grad(total, 1)), lf.grad(lf.jit(total), 1)):
        assert_allclose(run(X, np.float64(2.0)), np.sum(np.sin(X)))


def test_nested_vmap(make: Any) -> None:
    f = make(3.0)
    double = lf.vmap(lf.vmap(f, (0, None)), (None, 0))
    assert_allclose(double(X, Y), np.sin(X)[None] * Y[:, None])
    got = lf.grad(lambda x, y: lnp.sum(double(x, y)), (0, 1))(X, Y)
    assert_allclose(got, (3.0 * np.cos(X) * Y.sum(), np.full(3, np.sin(X).sum())))


def test_jacobians_and_hvp() -> None:
    f, g = make_jvp(3.0), make_vjp(3.0)
    want = np.diag(3.0 * np.cos(X) * Y)
    assert_allclose(lf.jacfwd(f)(X, Y), want)
    for h in (f, g):
        assert_allclose(lf.jacrev(h)(X, Y), want)
        second = lf.hvp(lambda x, h=h: lnp.sum(h(x, Y)), (X,), (Y,))
        assert_allclose(second, -3.0 * np.sin(X) * Y * Y)
        hessian = lf.hessian(lambda x, h=h: lnp.sum(h(x, Y)))(X)
        assert_allclose(hessian, np.diag(-3.0 * np.sin(X) * Y))


def test_linearize_vjp_and_jvp() -> None:
    f = make_jvp(3.0)
    out, tangent = lf.jvp(f, (X, Y), (Y, X))
    want = 3.0 * np.cos(X) * Y * Y + np.sin(X) * X
    assert_allclose((out, tangent), (np.sin(X) * Y, want))
    assert_allclose(lf.linearize(f, X, Y)[1](Y, X), want)
    assert_allclose(lf.jit(lambda x, y: lf.jvp(f, (x, y), (y, x))[1])(X, Y), want)
    for h in (f, make_vjp(3.0)):
        assert_allclose(lf.vjp(h, X, Y)[1](Y), (3.0 * np.cos(X) * Y * Y, np.sin(X) * Y))


def test_python_control_flow_on_values_works_without_jit() -> None:
    taken = []

    @lf.custom_jvp
    def f(x: Any) -> Any:
        return x if x > 0 else 2.0 * x

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        (x,), (t,) = primals, tangents
        taken.append(bool(x > 0))
        return f(x), t if x > 0 else 2.0 * t

    @lf.custom_vjp
    def g(x: Any) -> Any:
        return x if x > 0 else 2.0 * x

    g.defvjp(lambda x: (g(x), float(x)), lambda x, ct: (ct if x > 0 else 2.0 * ct,))
    assert float(lf.grad(f)(1.0)) == 1.0 and float(lf.grad(f)(-1.0)) == 2.0
    assert taken == [True, False]
    assert float(lf.grad(g)(1.0)) == 1.0 and float(lf.grad(g)(-1.0)) == 2.0
    with pytest.raises(lf.TracerBoolConversionError):
        lf.jit(f)(1.0)


def test_gradient_of_gradient_reaches_what_only_the_rule_does() -> None:
    @lf.custom_vjp
    def f(x: Any) -> Any:
        return x

    f.defvjp(lambda x: (x, x), lambda x, ct: (ct * x ** 3,))
    assert float(lf.grad(lf.grad(f))(2.0)) == 12.0
    assert float(lf.grad(lf.jit(lf.grad(lf.jit(lf.grad(lf.jit(f))))))(2.0)) == 12.0


# ------------------------------------------------------------------ every nesting

def truth(w: Any, x: Any) -> Any:
    return lnp.tanh(w * x) * lnp.sin(x)


def slope(w: Any, x: Any) -> Any:
    return (1.0 - lnp.tanh(w * x) ** 2) * w * lnp.sin(x) + lnp.tanh(w * x) * lnp.cos(x)


def closure_jvp(w: Any, x: Any) -> Any:
    f = lf.custom_jvp(lambda x: truth(w, x))
    f.defjvp(lambda p, t: (f(*p), slope(w, *p) * t[0]))
    return f(x)


def closure_vjp(w: Any, x: Any) -> Any:
    f = lf.custom_vjp(lambda x: truth(w, x))
    f.defvjp(lambda x: (f(x), x), lambda x, ct: (slope(w, x) * ct,))
    return f(x)


def converted(w: Any, x: Any) -> Any:
    f, consts = lf.closure_convert(lambda x: closure_vjp(w, x), x)
    return f(x, *consts)


pulled = lf.custom_vjp(truth)
pulled.defvjp(lambda w, x: lf.vjp(truth, w, x), lambda pull, ct: pull(ct))
pushed = lf.custom_jvp(truth)
pushed.defjvp(lambda p, t: lf.jvp(truth, p, t))
batched = lf.custom_vmap(truth)
batched.def_vmap(lambda n, b, w, x: (truth(w if b[0] else w[None], x if b[1] else x[None]), True))
FORMS = [closure_jvp, closure_vjp, converted, pulled, pushed, batched, lf.checkpoint(truth),
         lf.named_call(closure_jvp)]


def lanes(f: Any) -> Any:
    """The function of one lane, on all lanes; where there are none left, the function."""
    def run(w: Any, x: Any) -> Any:
        axes = (0 if w.ndim == x.ndim else None, 0)
        return lf.vmap(f, axes)(w, x) if x.ndim else f(w, x)
    return run


STEPS: dict[str, Callable[[Any], Any]] = {
    "grad in w": lambda f: lambda w, x: lf.grad(lambda w, x: lnp.sum(f(w, x)))(w, x)
    * lnp.ones_like(x),
    "grad in x": lambda f: lf.grad(lambda w, x: lnp.sum(f(w, x)), 1),
    "jit": lf.jit, "lanes": lanes, "checkpoint": lf.checkpoint,
    "jvp": lambda f: lambda w, x: lf.jvp(f, (w, x), (w, x * x))[1],
    "linearize": lambda f: lambda w, x: lf.linearize(f, w, x)[1](w, x),
    "vjp": lambda f: lambda w, x: lf.vjp(f, w, x)[1](lnp.cos(x))[1],
}


@pytest.mark.parametrize("second", STEPS)
@pytest.mark.parametrize("first", STEPS)
def test_right_rules_agree_with_the_plain_function_in_every_nesting(first: str,
                                                                    second: str) -> None:
    x = np.stack([X, Y])
    want = STEPS[second](STEPS[first](truth))(Y, x)
    for form in FORMS:
        assert_allclose(STEPS[second](STEPS[first](form))(Y, x), want)


# ------------------------------------------------------------------ how a program shows it

def test_recorded_as_one_equation_with_a_nested_program(make: Any) -> None:
    program = lf.make_ir(make())(X, Y)
    program.check()
    (eqn,) = program.equations
    assert eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call")
    assert isinstance(eqn.params["program"], Program)
    assert "rule=" in str(program) and "sin" in str(program)


def test_compiled_code_has_no_call_left(make: Any) -> None:
    f = lf.jit(make())
    assert "_call" not in f.source(X, Y) and "sin(" in f.source(X, Y)


def test_program_evaluates_and_transforms(make: Any) -> None:
    program = lf.make_ir(make(3.0))(X, Y)
    assert_allclose(np.asarray(program(X, Y)[0]), np.sin(X) * Y)


# ------------------------------------------------------------------ arguments

class Point(NamedTuple):
    a: Any
    b: Any


def test_trees_in_and_out(make: Any) -> None:
    @lf.custom_jvp
    def f(p: Any) -> Any:
        return {"s": p.a * p.b["k"], "t": (p.a,)}

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        (p,), (t,) = primals, tangents
        assert isinstance(t, Point)
        return f(p), {"s": 10.0 * t.a * p.b["k"] + p.a * t.b["k"], "t": (t.a,)}

    @lf.custom_vjp
    def g(p: Any) -> Any:
        return {"s": p.a * p.b["k"], "t": (p.a,)}

    def bwd(p: Any, ct: Any) -> Any:
        return (Point(10.0 * ct["s"] * p.b["k"] + ct["t"][0], {"k": p.a * ct["s"]}),)

    g.defvjp(lambda p: (g(p), p), bwd)
    p = Point(np.float32(2.0), {"k": np.float32(3.0)})
    for h in (f, g):
        for h2 in (h, lf.jit(h)):
            got = lf.grad(lambda p, h2=h2: h2(p)["s"] + h2(p)["t"][0])(p)
            assert float(got.a) == 31.0 and float(got.b["k"]) == 2.0


def test_keyword_arguments_and_defaults_become_positional() -> None:
    @lf.custom_vjp
    def f(x: Any, y: Any = 2.0, mode: str = "a") -> Any:
        return x * y

    seen = []

    def bwd(res: Any, ct: Any) -> Any:
        seen.append(res[1])
        return ct * res[0], None, None

    f.defvjp(lambda x, y, mode: (x * y, (y, mode)), bwd)
    assert float(lf.grad(lambda x: f(x))(3.0)) == 2.0
    assert float(lf.grad(lambda x: f(y=5.0, x=x, mode="b"))(3.0)) == 5.0
    assert seen == ["a", "b"]

    @lf.custom_jvp
    def g(x: Any, *, k: int = 2) -> Any:
        return x

    g.defjvp(lambda p, t: (p[0], t[0]))
    assert float(lf.grad(g)(1.0)) == 1.0
    with pytest.raises(TypeError, match="can only be passed by keyword"):
        g(1.0, k=3)


def test_arguments_that_are_no_arrays_are_constants(make: Any) -> None:
    @lf.custom_jvp
    def f(act: Any, x: Any, n: int, label: Any, flag: bool) -> Any:
        return act(x) * n if flag else x

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        act, x, n, label, flag = primals
        assert tangents[0] is None and tangents[2] is None and tangents[3] is None
        assert flag is True and label == "label"
        return f(*primals), 100.0 * n * tangents[1]

    @lf.custom_vjp
    def g(act: Any, x: Any, n: int, label: Any, flag: bool) -> Any:
        return act(x) * n if flag else x

    g.defvjp(lambda act, x, n, label, flag: (g(act, x, n, label, flag), n),
             lambda n, ct: (None, 100.0 * n * ct, None, None, None))
    for h in (f, g):
        loss = lambda x, h=h: h(lnp.sin, x, 3, "label", True)
        for run in (lf.grad(loss), lf.jit(lf.grad(loss)), lf.grad(lf.jit(loss))):
            assert float(run(0.5)) == 300.0
        assert_allclose(lf.vmap(lf.grad(loss))(X), np.full(3, 300.0))


def test_integer_arrays_have_no_tangent_and_no_cotangent() -> None:
    @lf.custom_jvp
    def f(x: Any, i: Any) -> Any:
        return x[i]

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        assert tangents[1] is None
        return f(*primals), 2.0 * tangents[0][primals[1]]

    @lf.custom_vjp
    def g(x: Any, i: Any) -> Any:
        return x[i]

    g.defvjp(lambda x, i: (x[i], (x, i)),
             lambda res, ct: (lnp.zeros_like(res[0]).at[res[1]].add(2.0 * ct), None))
    i = lnp.array(1)
    for h in (f, g):
        for run in (h, lf.jit(h)):
            got = lf.grad(lambda x, run=run: run(x, i))(X)
            assert_allclose(got, np.array([0.0, 2.0, 0.0]))


def test_integer_outputs() -> None:
    @lf.custom_vjp
    def f(x: Any) -> Any:
        return 2.0 * x, lnp.argmax(x)

    def bwd(res: Any, ct: Any) -> Any:
        assert ct[1] is None
        return (ct[0] * 3.0,)

    f.defvjp(lambda x: (f(x), None), bwd)

    @lf.custom_jvp
    def g(x: Any) -> Any:
        return 2.0 * x, lnp.argmax(x)

    g.defjvp(lambda p, t: (g(*p), (3.0 * t[0], None)))
    for h in (f, g):
        for run in (h, lf.jit(h)):
            value, grad = lf.value_and_grad(
                lambda x, run=run: (lambda o: (lnp.sum(o[0]), o[1]))(run(x)), has_aux=True)(X)
            assert int(value[1]) == 2
            assert_allclose(grad, np.full(3, 3.0))


@pytest.mark.parametrize("nondiff", [{"nondiff_argnums": (0, 2)}, {"nondiff_argnums": (0, -1)},
                                     {"nondiff_argnames": ("scale", "act")},
                                     {"nondiff_argnums": 0, "nondiff_argnames": "scale"}])
def test_nondiff_arguments_come_first(nondiff: Any) -> None:
    @functools.partial(lf.custom_jvp, **nondiff)
    def f(act: Any, x: Any, scale: Any) -> Any:
        return act(x) * scale

    @f.defjvp
    def f_jvp(act: Any, scale: Any, primals: Any, tangents: Any) -> Any:
        return f(act, *primals, scale), 7.0 * scale * tangents[0]

    @functools.partial(lf.custom_vjp, **nondiff)
    def g(act: Any, x: Any, scale: Any) -> Any:
        return act(x) * scale

    g.defvjp(lambda act, x, scale: (g(act, x, scale), None),
             lambda act, scale, res, ct: (7.0 * scale * ct,))
    for h in (f, g):
        loss = lambda x, s, h=h: h(lnp.sin, x, s)
        assert float(lf.grad(loss)(0.5, 2)) == 14.0
        assert float(lf.grad(lf.jit(loss, static_argnums=1))(0.5, 2)) == 14.0
        # A traced value may be declared so, while nothing differentiates it.
        assert float(lf.jit(lf.grad(loss))(0.5, 2.0)) == 14.0
        assert_allclose(lf.vmap(lf.grad(loss), (None, 0))(0.5, np.ones(2, "f4")),
                        np.full(2, 7.0, "float32"))
        with pytest.raises(TypeError, match=r"with respect to `scale`.*nondiff_argnums.*"
                                            r"lax.stop_gradient\(scale\)"):
            lf.grad(loss, (0, 1))(0.5, 2.0)


def test_defjvps_sums_one_rule_for_each_argument() -> None:
    @lf.custom_jvp
    def f(x: Any, y: Any, n: int) -> Any:
        return lnp.sin(x) * y

    f.defjvps(lambda t, out, x, y, n: 2.0 * t * y, None, None)
    got = lf.grad(f, (0, 1))(0.5, 3.0, 1)
    assert [float(g) for g in got] == [6.0, 0.0]
    assert float(lf.jit(lf.grad(f))(0.5, 3.0, 1)) == 6.0
    with pytest.raises(TypeError, match="got 3 rules for 1 arguments"):
        g = lf.custom_jvp(lambda x: x)
        g.defjvps(None, None, None)
        lf.grad(g)(1.0)
    with pytest.raises(TypeError, match="nondiff"):
        lf.custom_jvp(lambda x, y: x, nondiff_argnums=1).defjvps(None)


def test_methods() -> None:
    class Layer:
        def __init__(self, w: float):
            self.w = w

        @functools.partial(lf.custom_vjp, nondiff_argnums=0)
        def apply(self, x: Any) -> Any:
            return self.w * x

        apply.defvjp(lambda self, x: (self.w * x, None), lambda self, res, ct: (10 * self.w * ct,))

    assert float(lf.grad(Layer(3.0).apply)(1.0)) == 30.0
    assert float(lf.grad(lf.jit(Layer(3.0).apply))(1.0)) == 30.0


def test_wrapping_keeps_name_and_doc(make: Any) -> None:
    def f(x: float) -> float:
        """Doc."""
        return x

    for kind in (lf.custom_jvp, lf.custom_vjp, lf.custom_vmap):
        assert kind(f).__name__ == "f" and kind(f).__doc__ == "Doc."
        assert "f" in repr(kind(f))


# ------------------------------------------------------------------ zeros

def test_bwd_may_return_none_for_zero() -> None:
    @lf.custom_vjp
    def f(x: Any, p: Any) -> Any:
        return x * p["a"] * p["b"]

    f.defvjp(lambda x, p: (f(x, p), x), lambda x, ct: (None, {"a": ct, "b": None}))
    p = {"a": 2.0, "b": 3.0}
    for run in (f, lf.jit(f)):
        gx, gp = lf.grad(run, (0, 1))(5.0, p)
        assert (float(gx), float(gp["a"]), float(gp["b"])) == (0.0, 1.0, 0.0)
    g = lf.custom_vjp(lambda x, p: x * p["a"])
    g.defvjp(lambda x, p: (g(x, p), None), lambda _, ct: (ct, None))
    gx, gp = lf.grad(g, (0, 1))(5.0, p)
    assert (float(gx), float(gp["a"]), float(gp["b"])) == (1.0, 0.0, 0.0)


def test_zeros_are_instantiated_for_rules() -> None:
    seen: list[Any] = []
    f = lf.custom_jvp(lambda x, y: (x * y, x))
    f.defjvp(lambda p, t: (seen.append(t[1]), (f(*p), (t[0] * p[1] + p[0] * t[1], t[0])))[1])
    assert_allclose(lf.grad(lambda x: lnp.sum(f(x, Y)[0]))(X), Y)
    assert_allclose(seen[0], np.zeros(3))
    g = lf.custom_vjp(lambda x: (x, 2.0 * x))
    g.defvjp(lambda x: (g(x), None), lambda _, ct: (seen.append(ct[1]), (ct[0] + 2 * ct[1],))[1])
    assert_allclose(lf.grad(lambda x: lnp.sum(g(x)[0]))(X), np.ones(3))
    assert_allclose(seen[-1], np.zeros(3))


def test_symbolic_zeros() -> None:
    seen: list[Any] = []
    f = lf.custom_jvp(lambda x, y: x * y)

    def f_jvp(primals: Any, tangents: Any) -> Any:
        seen.append(tangents[1])
        return primals[0] * primals[1], tangents[0] * primals[1]

    f.defjvp(f_jvp, symbolic_zeros=True)
    assert float(lf.grad(f)(2.0, 3.0)) == 3.0
    assert isinstance(seen[0], lf.SymbolicZero) and seen[0].shape == ()

    g = lf.custom_vjp(lambda x, y: (x * y, y))

    def fwd(x: Any, y: Any) -> Any:
        seen.append((x.perturbed, y.perturbed))
        return (x.value * y.value, y.value), y.value

    def bwd(y: Any, ct: Any) -> Any:
        assert isinstance(ct[1], lf.SymbolicZero)
        return ct[0] * y, lf.SymbolicZero((), np.dtype("float32"))

    g.defvjp(fwd, bwd, symbolic_zeros=True)
    assert float(lf.grad(lambda x: g(x, lnp.float32(3.0))[0])(2.0)) == 3.0
    assert seen[-1] == (True, False)


# ------------------------------------------------------------------ closures

def scaled_jvp(w: Any, x: Any) -> Any:
    """w * x**2 where the rule for x is 10 times too large."""
    @lf.custom_jvp
    def f(x: Any) -> Any:
        return w * x ** 2

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        return f(*primals), 20.0 * w * primals[0] * tangents[0]

    return f(x)


def scaled_vjp(w: Any, x: Any) -> Any:
    @lf.custom_vjp
    def f(x: Any) -> Any:
        return w * x ** 2

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (20.0 * w * x * ct,))
    return f(x)


@pytest.fixture(params=["jvp", "vjp"])
def scaled(request: pytest.FixtureRequest) -> Any:
    return {"jvp": scaled_jvp, "vjp": scaled_vjp}[request.param]


@pytest.mark.parametrize("wrap", ["plain", "jit", "checkpoint", "jit of checkpoint"])
def test_closed_over_traced_values_get_gradients(scaled: Any, wrap: str) -> None:
    h = WRAPPERS[wrap](scaled)
    got = lf.grad(h, (0, 1))(2.0, 3.0)
    assert [float(g) for g in got] == [9.0, 120.0]
    assert [float(g) for g in lf.jit(lf.grad(h, (0, 1)))(2.0, 3.0)] == [9.0, 120.0]
    assert float(lf.grad(h)(2.0, 3.0)) == 9.0
    assert float(lf.grad(h, 1)(2.0, 3.0)) == 120.0
    assert float(lf.grad(lambda w: h(w, 3.0))(2.0)) == 9.0
    assert float(lf.grad(lambda x: h(2.0, x))(3.0)) == 120.0


def test_closed_over_values_of_other_levels(scaled: Any) -> None:
    """The derivatives are taken in either order; the value closed over may be the inner one."""
    assert float(lf.grad(lambda w: lf.grad(lambda x: scaled(w, x))(3.0))(2.0)) == 60.0
    assert float(lf.grad(lambda x: lf.grad(lambda w: scaled(w, x))(2.0))(3.0)) == 6.0
    batch = np.array([2.0, 5.0], "float32")
    assert_allclose(lf.vmap(lf.grad(scaled, (0, 1)))(batch, np.full(2, 3.0, "float32")),
                    (np.full(2, 9.0, "float32"), 60.0 * batch))
    total = lambda w, x: lnp.sum(lf.vmap(scaled, (0, None))(w, x))
    for run in (lf.grad(total, (0, 1)), lf.jit(lf.grad(total, (0, 1))),
                lf.grad(lf.jit(total), (0, 1))):
        assert_allclose(run(batch, np.float32(3.0)),
                        (np.full(2, 9.0, "float32"), np.float32(60.0 * 7.0)))


def test_rules_see_outer_traced_values_through_nested_functions() -> None:
    def loss(w: Any, x: Any) -> Any:
        scale = functools.partial(lnp.multiply, w)
        table = {"fn": lambda v: scale(v)}
        f = lf.custom_vjp(lambda v: table["fn"](v))
        f.defvjp(lambda v: (table["fn"](v), None), lambda _, ct: (table["fn"](ct) * 5.0,))
        return f(x)

    for run in (loss, lf.jit(loss), lf.checkpoint(loss)):
        assert [float(g) for g in lf.grad(run, (0, 1))(2.0, 3.0)] == [3.0, 10.0]


def test_function_arguments_may_close_over_traced_values() -> None:
    @lf.custom_jvp
    def apply(fn: Any, x: Any) -> Any:
        return fn(x)

    apply.defjvp(lambda p, t: (p[0](p[1]), 7.0 * p[0](t[1])))
    loss = lambda w, x: apply(lambda v: w * v, x)
    for run in (loss, lf.jit(loss)):
        assert [float(g) for g in lf.grad(run, (0, 1))(2.0, 3.0)] == [3.0, 14.0]


def test_functions_as_residuals() -> None:
    f = lf.custom_vjp(lambda x: lnp.sin(x) ** 2)

    def fwd(x: Any) -> Any:
        out, pull = lf.vjp(lambda v: lnp.sin(v) ** 2, x)
        return out, pull

    f.defvjp(fwd, lambda pull, ct: pull(ct))
    want = 2 * np.sin(X) * np.cos(X)
    total = lambda x: lnp.sum(f(x))
    for run in (lf.grad(total), lf.jit(lf.grad(total)), lf.grad(lf.jit(total)),
                lf.vmap(lf.grad(f)), lf.grad(lambda x: lnp.sum(lf.vmap(lf.jit(f))(x)))):
        assert_allclose(run(X), want)
    check_grads(f, (X,), modes=("rev",))


def test_recursive_local_functions_in_closures() -> None:
    def loss(w: Any, x: Any) -> Any:
        def power(v: Any, n: int) -> Any:
            return w if n == 0 else v * power(v, n - 1)

        f = lf.custom_jvp(lambda v: power(v, 2))
        f.defjvp(lambda p, t: (power(p[0], 2), 2.0 * power(p[0], 1) * t[0]))
        return f(x)

    for run in (loss, lf.jit(loss)):
        assert [float(g) for g in lf.grad(run, (0, 1))(2.0, 3.0)] == [9.0, 12.0]


def test_rules_that_differ_in_their_closures_do_not_share_a_program() -> None:
    def build(scale: Any) -> Any:
        f = lf.custom_jvp(lambda x: x)
        f.defjvp(lambda p, t: (p[0], scale * t[0]))
        return lf.grad(lf.jit(lambda x: f(x)))

    assert [float(build(s)(1.0)) for s in (2.0, 3.0)] == [2.0, 3.0]
    arrays = [lnp.array(2.0), lnp.array(3.0)]
    assert [float(build(s)(1.0)) for s in arrays] == [2.0, 3.0]


def test_nothing_traced_is_kept_alive() -> None:
    """Programs that jit keeps hold no tracer, nor their traces."""
    seen: list[Any] = []

    def outer(w: Any, x: Any) -> Any:
        seen.append(weakref.ref(w))
        f = lf.custom_jvp(lambda v: w * v)
        f.defjvp(lambda p, t: (w * p[0], w * t[0]))
        g = lf.custom_vjp(lambda v: w * v)
        g.defvjp(lambda v: (w * v, v), lambda v, ct: (w * ct,))
        return f(x) * g(x)

    jitted = lf.jit(outer)
    assert float(lf.grad(jitted, 1)(2.0, 3.0)) == 24.0
    gc.collect()
    assert seen and all(ref() is None for ref in seen)


def test_kept_programs_work_for_later_values_of_what_is_closed_over() -> None:
    inner = lf.jit(scaled_vjp)
    outer = lf.jit(lambda w, x: lf.grad(inner, (0, 1))(w, x))
    assert [float(g) for g in outer(2.0, 3.0)] == [9.0, 120.0]
    assert [float(g) for g in outer(5.0, 3.0)] == [9.0, 300.0]
    assert [float(g) for g in lf.grad(inner, (0, 1))(5.0, 3.0)] == [9.0, 300.0]


def test_custom_function_in_the_closure_of_another() -> None:
    def loss(w: Any, x: Any) -> Any:
        inner = lf.custom_jvp(lambda v: w * v)
        inner.defjvp(lambda p, t: (inner(*p), 3.0 * w * t[0]))
        outer = lf.custom_vjp(lambda v: inner(v))
        outer.defvjp(lambda v: (inner(v), v), lambda v, ct: lf.vjp(inner, v)[1](ct))
        return outer(x)

    for run in (loss, lf.jit(loss), lf.checkpoint(loss)):
        assert [float(g) for g in lf.grad(run, (0, 1))(2.0, 5.0)] == [5.0, 6.0]


class Holder:
    value: Any = None


def test_traced_values_hidden_in_objects_are_found_or_refused(make: Any) -> None:
    """Never a silently wrong derivative: recorded functions find them, rules say so."""
    held = Holder()

    def loss(w: Any, x: Any) -> Any:
        held.value = w
        f = lf.custom_jvp(lambda v: held.value * v)
        f.defjvp(lambda p, t: (f(*p), held.value * t[0]))
        g = lf.custom_vjp(lambda v: held.value * v)
        g.defvjp(lambda v: (g(v), None), lambda _, ct: (held.value * ct,))
        return (f if make is make_jvp else g)(x)

    for run in (lf.grad(loss, (0, 1)), lambda w, x: lf.vmap(loss)(np.full(2, w), np.full(2, x)),
                lambda w, x: lf.grad(lambda w, x: lf.vmap(loss)(w, x).sum())(
                    np.full(2, w), np.full(2, x))):
        with pytest.raises(lf.UnexpectedTracerError, match="Pass it as an argument|Return it"):
            run(2.0, 3.0)
    assert float(lf.grad(loss)(2.0, 3.0)) == 3.0  # the rule is not needed: x is a constant
    assert float(lf.jit(loss)(2.0, 3.0)) == 6.0


# ------------------------------------------------------------------ messages

def one(fwd: Any, bwd: Any) -> Any:
    def f(x: Any, params: Any) -> Any:
        return x * params["w"]

    g = lf.custom_vjp(f)
    g.defvjp(fwd, bwd)
    return lambda x, p: lnp.sum(g(x, p))


P = {"w": np.ones(3), "b": np.ones(())}
FWD = lambda x, p: (x * p["w"], None)
BAD_BWD = {
    "not a tuple": (lambda r, ct: ct, r"must return a tuple of 2 cotangents, one for each of "
                                      r"\(x, params\), or None for zero; got"),
    "too few": (lambda r, ct: (ct,), "must return a tuple of 2 .* got 1 of them"),
    "shape": (lambda r, ct: (lnp.sum(ct), None),
              r"for argument `x`, a cotangent of shape \(\), the argument is float64\[3\]"),
    "path": (lambda r, ct: (None, {"w": ct, "b": ct}),
             r"for argument `params\['b'\]`, a cotangent of shape \(3,\), the argument is "
             r"float64\[\]"),
    "dtype": (lambda r, ct: (ct.astype("float32"), None),
              r"for argument `x`, a cotangent of dtype float32, the argument is float64\[3\]; "
              r"convert it: .astype\('float64'\)"),
    "structure": (lambda r, ct: (None, {"w": ct}),
                  "a cotangent for argument `params` with another structure"),
    "tree for a leaf": (lambda r, ct: ((ct, ct), None),
                        "a cotangent for argument `x` with another structure"),
    "no array": (lambda r, ct: ("hello", None), "for argument `x`, a cotangent that is no array"),
}


@pytest.mark.parametrize("case", BAD_BWD)
@pytest.mark.parametrize("wrap", ["plain", "jit"])
def test_messages_about_bwd(case: str, wrap: str) -> None:
    bwd, message = BAD_BWD[case]
    f = WRAPPERS[wrap](one(FWD, bwd))
    with pytest.raises(TypeError, match="custom_vjp .*f: bwd .*" + message):
        lf.grad(f, (0, 1))(X, P)


def test_messages_about_fwd() -> None:
    with pytest.raises(TypeError, match=r"fwd .* must return a pair \(output, residuals\)"):
        lf.grad(one(lambda x, p: x, None))(X, P)
    with pytest.raises(TypeError, match="returned an output unlike the function's"):
        lf.grad(lf.jit(one(lambda x, p: ((x, x), None), lambda r, ct: (None, None))))(X, P)
    with pytest.raises(TypeError, match=r"returned an output of shape \(\), the function's is "
                                        r"float64\[3\]"):
        lf.grad(lf.jit(one(lambda x, p: (x[0], None), lambda r, ct: (None, None))))(X, P)


def test_messages_about_jvp_rules() -> None:
    def run(rule: Any, wrap: Any = lambda f: f) -> Any:
        f = lf.custom_jvp(lambda x: {"s": lnp.sin(x)})
        f.defjvp(rule)
        return lf.grad(lambda x: lnp.sum(wrap(f)(x)["s"]))(X)

    with pytest.raises(TypeError, match=r"must return a pair \(output, output tangent\)"):
        run(lambda p, t: {"s": t[0]})
    with pytest.raises(TypeError, match="returned tangents unlike its outputs"):
        run(lambda p, t: ({"s": p[0]}, t[0]))
    with pytest.raises(TypeError, match=r"a tangent\['s'\] of shape \(\), its output is "
                                        r"float64\[3\]"):
        run(lambda p, t: ({"s": p[0]}, {"s": t[0][0]}))
    with pytest.raises(TypeError, match="output unlike the function's"):
        run(lambda p, t: (p[0], t[0]), lf.jit)


def test_messages_about_missing_rules_and_bad_declarations() -> None:
    for kind, how in ((lf.custom_jvp, "defjvp"), (lf.custom_vjp, "defvjp"),
                      (lf.custom_vmap, "def_vmap")):
        def f(x: Any) -> Any:
            return x
        with pytest.raises(AttributeError, match=f"f.{how}"):
            kind(f)(1.0)
        with pytest.raises(TypeError, match="takes a function, got int"):
            kind(3)
    with pytest.raises(ValueError, match=r"\['z'\], which are no parameters; it has \['x'\]"):
        lf.custom_vjp(lambda x: x, nondiff_argnames="z")


def test_forward_mode_of_custom_vjp_is_the_transpose_of_bwd() -> None:
    f = make_vjp(3.0)
    want = 3.0 * np.cos(X) * Y * Y + np.sin(X) * X
    for g in (f, lf.jit(f), lf.checkpoint(f), lf.vmap(f)):
        assert_allclose(lf.jvp(g, (X, Y), (Y, X))[1], want)
        assert_allclose(lf.jit(lambda x, y, g=g: lf.jvp(g, (x, y), (y, x))[1])(X, Y), want)
        assert_allclose(lf.linearize(g, X, Y)[1](Y, X), want)
    assert_allclose(lf.jacfwd(f)(X, Y), np.diag(3.0 * np.cos(X) * Y))
    second = lambda x: lf.jvp(lambda x: lf.jvp(lambda x: f(x, Y), (x,), (Y,))[1], (x,), (Y,))[1]
    for run in (second, lf.jit(second)):
        assert_allclose(run(X), -3.0 * np.sin(X) * Y ** 3)
    one_lane = lambda x, y, t: lf.jvp(f, (x, y), (t, t))[1]
    assert_allclose(lf.vmap(one_lane)(X, Y, Y), 3.0 * np.cos(X) * Y * Y + np.sin(X) * Y)
    check_grads(make_vjp(), (X, Y))


def test_forward_mode_of_a_nonlinear_bwd_says_what_to_use() -> None:
    f = lf.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), lambda _, ct: (lnp.clip(ct, -1.0, 1.0),))
    assert float(lf.grad(lambda x: 5.0 * f(x))(2.0)) == 1.0
    assert float(lf.grad(lf.checkpoint(lambda x: 5.0 * f(x)))(2.0)) == 1.0
    for run in (lambda: lf.jvp(f, (X,), (X,)), lambda: lf.jacfwd(f)(X),
                lambda: lf.linearize(f, X)[1](X),
                lambda: lf.jit(lambda x: lf.jvp(f, (x,), (x,)))(X)):
        with pytest.raises(lf.MissingRuleError, match="forward mode of a custom_vjp function .*"
                                                      "this bwd is not linear .*custom_jvp"):
            run()


# ------------------------------------------------------------------ custom_gradient

def test_custom_gradient() -> None:
    @lf.custom_gradient
    def f(x: Any, y: Any) -> Any:
        return x * y, lambda ct: (5.0 * y * ct, x * ct)

    for run in (f, lf.jit(f), lf.checkpoint(f)):
        assert [float(g) for g in lf.grad(run, (0, 1))(2.0, 3.0)] == [15.0, 2.0]
    assert_allclose(lf.vmap(lf.grad(f))(X, Y), 5.0 * Y)
    assert_allclose(lf.grad(lambda x: lnp.sum(lf.vmap(f)(x, Y)))(X), 5.0 * Y)

    @lf.custom_gradient
    def g(x: Any) -> Any:
        return x, lambda ct: 2.0 * ct

    assert float(lf.grad(g)(1.0)) == 2.0 and float(g(1.0)) == 1.0


# ------------------------------------------------------------------ custom_vmap

def test_custom_vmap_rule_is_used() -> None:
    calls: list[Any] = []

    @lf.custom_vmap
    def f(x: Any, p: Any) -> Any:
        return {"out": x * p["w"]}

    @f.def_vmap
    def f_vmap(size: int, batched: Any, x: Any, p: Any) -> Any:
        calls.append((size, batched))
        w = p["w"]
        return {"out": (x if batched[0] else x[None]) * (w if batched[1]["w"] else w[None])}, \
            {"out": True}

    assert_allclose(f(X, {"w": Y}), {"out": X * Y})
    assert calls == []
    stack = np.stack([X, Y])
    assert_allclose(lf.vmap(f, (0, None))(stack, {"w": Y}), {"out": stack * Y})
    assert calls == [(2, [True, {"w": False}])]
    assert_allclose(lf.jit(lf.vmap(lf.jit(f), (None, 0)))(X, {"w": stack}), {"out": X * stack})
    assert calls[-1] == (2, [False, {"w": True}])
    nested = lf.vmap(lf.vmap(f, (0, None)), (None, 0))(X[:, None], {"w": Y[:, None]})
    assert_allclose(nested["out"], (X[None, :] * Y[:, None])[..., None])


def test_custom_vmap_unbatched_output() -> None:
    f = lf.custom_vmap(lambda x, y: (x, y * 2.0))
    f.def_vmap(lambda size, batched, x, y: ((x, y * 2.0), (True, False)))
    a, b = lf.vmap(f, (0, None), out_axes=(0, 0))(X, 3.0)
    assert_allclose(a, X)
    assert_allclose(b, np.full(3, 6.0, "float32"))


def test_custom_vmap_differentiates() -> None:
    f = lf.custom_vmap(lambda x: lnp.sin(x))
    f.def_vmap(lambda size, batched, x: (lnp.sin(x), True))
    assert_allclose(lf.vmap(lf.grad(f))(X), np.cos(X))
    assert_allclose(lf.grad(lambda x: lnp.sum(lf.vmap(f)(x)))(X), np.cos(X))
    assert_allclose(lf.jit(lf.vmap(lf.grad(lf.jit(f))))(X), np.cos(X))
    check_grads(f, (X,))
    check_batch(f, (X,))


def test_custom_vmap_closure_that_is_batched_is_batched_by_the_function() -> None:
    def outer(w: Any, x: Any) -> Any:
        f = lf.custom_vmap(lambda v: w * v)
        f.def_vmap(lambda size, batched, v: (w * v, True))
        return f(x)

    assert_allclose(lf.vmap(outer)(X, Y), X * Y)
    assert_allclose(lf.vmap(outer, (None, 0))(np.float64(2.0), Y), 2.0 * Y)
    assert_allclose(lf.jit(lf.vmap(lf.jit(outer)))(X, Y), X * Y)


def test_custom_vmap_messages() -> None:
    f = lf.custom_vmap(lambda x: x)
    f.def_vmap(lambda size, batched, x: x)
    with pytest.raises(TypeError, match=r"must return a pair \(output, out_batched\)"):
        lf.vmap(f)(X)
    f.def_vmap(lambda size, batched, x: (x[:1], True))
    with pytest.raises(ValueError, match="its first axis must have the size of the batch, 3"):
        lf.vmap(f)(X)


def test_sequential_vmap_runs_lane_after_lane() -> None:
    seen: list[float] = []

    def f(x: Any, k: Any) -> Any:
        seen.append(float(x))
        return {"y": x * k if x > 0 else -x * k}

    g = lf.sequential_vmap(f)
    assert_allclose(lf.vmap(g, (0, None))(X, 2.0), {"y": 2.0 * np.abs(X)})
    assert seen == list(X)
    with pytest.raises(ValueError, match="size 0"):
        lf.vmap(g, (0, None))(X[:0], 2.0)


def test_threads_share_custom_functions_and_their_programs() -> None:
    f, g = make_jvp(3.0), make_vjp(3.0)
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(10):
            for h in (f, g):
                got = lf.jit(lf.grad(lambda x, y, h=h: h(x, y)))(0.5, 2.0)
                if abs(float(got) - 6.0 * np.cos(0.5)) > 1e-5:
                    wrong.append(got)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
