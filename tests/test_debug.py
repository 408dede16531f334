"""Printing, callbacks, and the checking modes, eager and under every transformation."""

import linecache
import sys
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import debug
from lucidfn.testing import assert_allclose

X = np.array([1.0, 2.0, 3.0], "float32")


def shown(x: Any) -> Any:
    debug.print("x = {}, sum {s:.1f}", x, s=lnp.sum(x))
    return lnp.sum(lnp.sin(x))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


# ------------------------------------------------------------------ debug.print

ONCE = {
    "eager": lambda f: f, "grad": lf.grad, "jit": lf.jit,
    "jit of grad": lambda f: lf.jit(lf.grad(f)),
    "grad of jit": lambda f: lf.grad(lf.jit(f)), "jit of jit": lambda f: lf.jit(lf.jit(f)),
    "jvp": lambda f: lambda x: lf.jvp(f, (x,), (x,)), "hessian": lf.hessian,
    "jacfwd of jit": lambda f: lf.jacfwd(lf.jit(f)), "make_ir, called": lambda f: (
        lambda x: lf.make_ir(f)(x)(x)), "disable_jit": lambda f: lf.jit(f),
}


@pytest.mark.parametrize("how", ONCE)
def test_prints_once_with_values(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    with lf.disable_jit(how == "disable_jit"):
        ONCE[how](shown)(X)
    assert lines(capsys) == ["x = [1. 2. 3.], sum 6.0"]


def test_prints_at_each_call_of_a_jitted_function(capsys: pytest.CaptureFixture[str]) -> None:
    f = lf.jit(shown)
    for k in (1.0, 2.0):
        f(k * X)
    assert lines(capsys) == ["x = [1. 2. 3.], sum 6.0", "x = [2. 4. 6.], sum 12.0"]


@pytest.mark.parametrize("how", [
    lf.vmap, lambda f: lf.jit(lf.vmap(f)), lambda f: lf.vmap(lf.jit(f)),
    lambda f: lf.vmap(lf.grad(f)), lambda f: lf.jit(lf.vmap(lf.grad(lf.jit(f))))])
def test_prints_lane_by_lane_under_vmap(how: Any, capsys: pytest.CaptureFixture[str]) -> None:
    how(shown)(np.stack([X, 10 * X]))
    assert lines(capsys) == ["x = [1. 2. 3.], sum 6.0", "x = [10. 20. 30.], sum 60.0"]
    lf.vmap(lf.vmap(lambda x: debug.print("{}", x)))(X.reshape(1, 3))
    assert lines(capsys) == ["1.0", "2.0", "3.0"]
    how(shown)(np.zeros((0, 3), "float32"))
    assert lines(capsys) == []


def test_prints_in_order_and_before_errors(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        for i in range(3):
            debug.print("{i}: {}", x, i=i)
            x = x * 2.0
        return x

    lf.jit(f)(1.0)
    assert lines(capsys) == ["0: 1.0", "1: 2.0", "2: 4.0"]
    with lf.debug_nans(), pytest.raises(FloatingPointError):
        lf.jit(lambda x: (debug.print("before"), lnp.log(x))[1])(-1.0)
    assert lines(capsys) == ["before"]


def test_print_formats(capsys: pytest.CaptureFixture[str]) -> None:
    @lf.jit
    def f(x: Any, tree: Any) -> None:
        debug.print("{0:>8.3f}|{name!r}|{tree[a]}|{0:{width}.1f}|{{}}", x, name="n", tree=tree,
                    width=6)

    f(2.5, {"a": X[:2]})
    assert lines(capsys) == ["   2.500|'n'|[1. 2.]|   2.5|{}"]


def test_print_messages() -> None:
    with pytest.raises(ValueError, match=r"does not use the arguments \['0', 'y'\].*no f-string"):
        debug.print("hello", 1.0, y=2.0)
    with pytest.raises(IndexError, match="needs 2 positional arguments, got 1"):
        debug.print("{} {}", 1.0)
    with pytest.raises(KeyError, match=r"names \['z'\], which were not passed"):
        debug.print("{z}", z2=1.0)
    with pytest.raises(TypeError, match="takes a format string first, got ndarray"):
        debug.print(X)


def test_a_function_that_only_prints_is_not_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    say = lf.jit(lambda x: debug.print("said {}", x))

    @lf.jit
    def f(x: Any) -> Any:
        say(x)
        say(x)
        return x

    f(1.0)
    assert lines(capsys) == ["said 1.0"] * 2
    lf.grad(lambda x: f(x))(1.0)
    assert lines(capsys) == ["said 1.0"] * 2


def test_print_inside_custom_rules(capsys: pytest.CaptureFixture[str]) -> None:
    f = lf.custom_vjp(lambda x: x)

    def bwd(res: Any, ct: Any) -> Any:
        debug.print("ct {}", ct)
        return (ct,)

    f.defvjp(lambda x: (x, None), bwd)
    for run in (lf.grad(f), lf.jit(lf.grad(f)), lf.grad(lf.jit(f))):
        run(3.0)
    assert lines(capsys) == ["ct 1.0"] * 3


# ------------------------------------------------------------------ debug.callback

def test_callback_gets_arrays_in_the_tree_it_was_given() -> None:
    seen: list[Any] = []

    def f(x: Any) -> Any:
        debug.callback(lambda p, *, k: seen.append((p, k)), {"x": x, "name": "n"}, k=x * 2.0)
        return lnp.sum(x)

    for run in (f, lf.jit(f), lf.grad(f), lf.jit(lf.grad(f))):
        run(X)
        (p, k), seen[:] = seen[0], []
        assert isinstance(p["x"], lf.Array) and p["name"] == "n"
        assert_allclose((p["x"], k), (X, 2.0 * X))
    with pytest.raises(TypeError, match="takes a function first, got str"):
        debug.callback("no")


def test_callback_runs_library_code_under_evaluation() -> None:
    seen: list[float] = []
    look = lambda x: seen.append(float(lf.grad(lambda v: lnp.sum(v ** 2))(x)[0]))

    @lf.jit
    def f(x: Any) -> Any:
        debug.callback(look, x)
        return x

    lf.make_ir(lambda x: f(X) + x)(X)  # nothing runs while it is recorded
    assert seen == []
    f(X)
    assert seen == [2.0]


def test_errors_in_callbacks_reach_the_user() -> None:
    def fail(x: Any) -> None:
        raise KeyError("mine")

    for run in (lambda x: debug.callback(fail, x), lf.jit(lambda x: debug.callback(fail, x))):
        with pytest.raises(KeyError, match="mine"):
            run(X)


# ------------------------------------------------------------------ debug.breakpoint

def test_breakpoint_has_the_users_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[dict[str, Any]] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: frames.append(
        {**sys._getframe(1).f_globals}))

    def f(x: Any) -> Any:
        doubled = x * 2.0
        debug.breakpoint(extra=x + 1.0)
        return lnp.sum(doubled)

    for run in (f, lf.jit(f), lf.grad(f), lf.jit(lf.grad(f))):
        run(X)
        frame = frames.pop()
        assert_allclose((frame["x"], frame["doubled"], frame["extra"]), (X, 2 * X, X + 1))
    assert not frames

    def plain(x: Any) -> Any:
        debug.breakpoint()
        return x

    plain(X)
    assert len(frames) == 1


# ------------------------------------------------------------------ pure_callback, io_callback

def host(x: Any, y: Any) -> Any:
    return {"sum": np.asarray(x) + np.asarray(y), "n": np.int32(7)}


STRUCT = {"sum": lf.ShapeDtypeStruct((3,), "float32"), "n": lf.ShapeDtypeStruct((), "int32")}


def test_pure_callback_results() -> None:
    f = lambda x, y: lf.pure_callback(host, STRUCT, x, y=y)
    for run in (f, lf.jit(f), lf.jit(lf.jit(f))):
        assert_allclose(run(X, X), {"sum": 2 * X, "n": np.int32(7)}, check_dtypes=True)
    wide = lf.pure_callback(lambda x: np.asarray(x, "float64"), STRUCT["sum"], X)
    assert wide.dtype == np.float32


@pytest.mark.parametrize(("method", "shapes"), [
    ("sequential", [((3,), (3,))] * 2), ("expand_dims", [((2, 3), (1, 3))]),
    ("broadcast_all", [((2, 3), (2, 3))])])
def test_pure_callback_under_vmap(method: str, shapes: Any) -> None:
    seen: list[Any] = []

    def add(x: Any, y: Any) -> Any:
        seen.append((x.shape, y.shape))
        return np.asarray(x) + np.asarray(y)

    f = lambda x, y: lf.pure_callback(add, STRUCT["sum"], x, y, vmap_method=method)
    stack = np.stack([X, 10 * X])
    for run in (lf.vmap(f, (0, None)), lf.jit(lf.vmap(lf.jit(f), (0, None)))):
        assert_allclose(run(stack, X), stack + X)
        assert seen == shapes
        seen.clear()
    nested = lf.vmap(lf.vmap(f, (0, None)), (None, 0))(stack, stack)
    assert_allclose(nested, stack[None] + stack[:, None])


def test_pure_callback_messages() -> None:
    f = lambda x: lf.pure_callback(np.sin, STRUCT["sum"], x)
    with pytest.raises(lf.MissingRuleError, match="pure_callback of sin under vmap: give "
                                                  "vmap_method='sequential'"):
        lf.vmap(f)(np.stack([X, X]))
    with pytest.raises(lf.MissingRuleError, match="pure_callback of sin has no derivative.*"
                                                  "lf.custom_jvp"):
        lf.grad(lambda x: lnp.sum(f(x)))(X)
    with pytest.raises(ValueError, match="vmap_method must be one of"):
        lf.pure_callback(np.sin, STRUCT["sum"], X, vmap_method="loop")
    with pytest.raises(ValueError, match=r"the callback sin returned shape \(3,\) where "
                                         r"result_shape_dtypes promised float32\[\]"):
        lf.pure_callback(np.sin, lf.ShapeDtypeStruct((), "float32"), X)
    with pytest.raises(TypeError, match="returned dtype float32 where .* promised int32"):
        lf.jit(lambda x: lf.pure_callback(np.sin, lf.ShapeDtypeStruct((3,), "int32"), x))(X)
    with pytest.raises(TypeError, match="another structure than result_shape_dtypes"):
        lf.pure_callback(np.sin, STRUCT, X)


def test_pure_callback_in_a_custom_rule_differentiates() -> None:
    call = lambda g, x: lf.pure_callback(g, lf.ShapeDtypeStruct(x.shape, x.dtype), x,
                                         vmap_method="expand_dims")
    f = lf.custom_jvp(lambda x: call(np.sin, x))
    f.defjvp(lambda p, t: (f(p[0]), call(np.cos, p[0]) * t[0]))
    for run in (lf.grad(lambda x: lnp.sum(f(x))), lf.vmap(lf.grad(f)),
                lf.jit(lf.vmap(lf.grad(f))), lf.grad(lambda x: lnp.sum(lf.vmap(f)(x)))):
        assert_allclose(run(X), np.cos(X))


def test_io_callback_runs_for_its_effect() -> None:
    log: list[Any] = []

    def write(x: Any) -> Any:
        log.append(float(x))
        return np.float32(len(log))

    @lf.jit
    def f(x: Any) -> Any:
        lf.io_callback(write, lf.ShapeDtypeStruct((), "float32"), x)
        return lf.io_callback(write, lf.ShapeDtypeStruct((), "float32"), x, ordered=True)

    assert float(f(5.0)) == 2.0 and log == [5.0, 5.0]
    log.clear()
    assert_allclose(lf.vmap(lambda x: lf.io_callback(
        write, lf.ShapeDtypeStruct((), "float32"), x))(X), X)
    assert log == [1.0, 2.0, 3.0]


# ------------------------------------------------------------------ debug_nans

def bad_forward(x: Any) -> Any:
    shifted = x - 2.0
    return lnp.sum(lnp.log(shifted))  # forward


def bad_backward(x: Any) -> Any:
    masked = x - 1.0
    root = lnp.sqrt(masked)  # backward
    return lnp.sum(lnp.where(masked > 0.0, root, 0.0))


def line_of(function: Any, mark: str) -> int:
    code = function.__code__
    return next(i for i in range(code.co_firstlineno, code.co_firstlineno + 9)
                if mark in linecache.getline(code.co_filename, i))


@pytest.mark.parametrize("how", [lambda f: f, lf.jit, lf.grad, lambda f: lf.jit(lf.grad(f)),
                                 lambda f: lf.grad(lf.jit(f)), lambda f: lf.grad(lf.checkpoint(f)),
                                 lambda f: lambda x: lf.vmap(f)(x[None])])
def test_first_nan_in_the_forward_pass(how: Any) -> None:
    with lf.debug_nans(), pytest.raises(lf.FloatingPointNaNError) as caught:
        how(bad_forward)(X)
    message = str(caught.value)
    assert f"first NaN: log at test_debug.py:{line_of(bad_forward, '# forward')}" in message
    assert "min -1, max 1" in message
    assert "[3]" in message.splitlines()[1] or "[1,3]" in message.splitlines()[1]


@pytest.mark.parametrize("how", [lf.grad, lambda f: lf.jit(lf.grad(f)),
                                 lambda f: lf.grad(lf.jit(f)), lambda f: lf.jit(lf.grad(lf.jit(f))),
                                 lambda f: lambda x: lf.vmap(lf.grad(f))(x[None]),
                                 lambda f: lambda x: lf.vjp(f, x)[1](np.float32(1.0))])
def test_first_nan_in_the_backward_pass(how: Any) -> None:
    assert not np.isnan(float(bad_backward(X)))
    with lf.debug_nans():
        bad_backward(X)  # the forward pass is fine
        with pytest.raises(lf.FloatingPointNaNError) as caught:
            how(bad_backward)(X)
    message = str(caught.value)
    assert f"at test_debug.py:{line_of(bad_backward, '# backward')}" in message
    assert "lnp.where(ok, f(lnp.where(ok, x, 1.0)), 0.0)" in message


def test_nan_message_names_the_operands() -> None:
    def f() -> Any:
        numerator, denominator = lnp.zeros(3), lnp.array([1.0, 0.0, 2.0])
        return numerator / denominator

    with lf.debug_nans(), pytest.raises(lf.FloatingPointNaNError) as caught:
        f()
    assert "numerator    float32[3]  min 0, max 0" in str(caught.value)
    assert "denominator  float32[3]  min 0, max 2" in str(caught.value)
    with lf.debug_nans(), pytest.raises(lf.FloatingPointNaNError, match="1 of 3 are NaN"):
        lnp.sin(np.array([1.0, np.nan, 2.0]))


def test_modes_end_with_their_block() -> None:
    f = lf.jit(lambda x: lnp.log(x))
    assert np.isnan(float(f(-1.0)))
    with lf.debug_nans():
        with pytest.raises(FloatingPointError):
            f(-1.0)
        with lf.debug_nans(False):
            assert np.isnan(float(f(-1.0)))
    assert np.isnan(float(f(-1.0)))
    assert not lf.config.debug_nans


def test_debug_infs() -> None:
    with lf.debug_infs():
        with pytest.raises(lf.FloatingPointNaNError, match="first NaN or inf: log at"):
            lnp.log(lnp.zeros(2))
        with pytest.raises(lf.FloatingPointNaNError, match=r"(div|mul) at test_debug.py:\d+"):
            lf.jit(lf.grad(lambda x: lnp.sqrt(x)))(0.0)
    with lf.debug_nans():
        assert np.isinf(float(lnp.log(0.0)))


# ------------------------------------------------------------------ other modes

def test_disable_jit_shows_values_to_python() -> None:
    seen: list[float] = []

    @lf.jit
    def f(x: Any) -> Any:
        seen.append(float(x))
        return x if x > 0 else -x

    with lf.disable_jit():
        assert float(f(-2.0)) == 2.0
        assert float(lf.grad(f)(-2.0)) == -1.0
    assert seen == [-2.0, -2.0]
    with pytest.raises(lf.ConcretizationTypeError):
        f(-2.0)


def test_default_dtype() -> None:
    with lf.default_dtype("float64"):
        assert lnp.sin(1.0).dtype == np.float64
        assert lnp.zeros(2).dtype == np.float64
        assert lnp.array(1).dtype == np.int32
        assert lnp.array(1j).dtype == np.complex128
        assert lf.grad(lf.jit(lnp.sin))(1.0).dtype == np.float64
    with lf.default_dtype(np.float64, int="int64"):
        assert lnp.array(1).dtype == np.int64
    assert lnp.sin(1.0).dtype == np.float32
    with pytest.raises(ValueError, match="default_float must be one of"):
        lf.default_dtype("int32").__enter__()


def test_default_device_and_key_reuse() -> None:
    with lf.default_device("cpu"):
        assert lf.config.default_device == "cpu"
    with pytest.raises(ValueError, match="there is no device 'tpu' here"):
        lf.default_device("tpu")
    with lf.debug_key_reuse():
        assert lf.config.key_reuse == "error"
    with lf.debug_key_reuse(False):
        assert lf.config.key_reuse == "off"
