"""Programs as newcomers write them, from JAX, PyTorch, autograd and NumPy."""

import copy
import dataclasses
import functools
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.errors import TracerArrayConversionError

X = lnp.array([1.0, 2.0, 3.0])
scale = 1.0
weights = lnp.ones(3)
settings = {"rate": 1.0}
calls = 0
journal: list[str] = []


def message(kind: type[Exception], f: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(kind) as caught:
        f(*args)
    return str(caught.value)


# ------------------------------------------------------------------ what jit reads around it

def model(x: Any) -> Any:
    return (x * weights * scale * settings["rate"]).sum()


def test_fresh_lambdas_read_the_globals_of_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    found, gradients = [], []
    for s in (1.0, 2.0, 3.0):
        monkeypatch.setitem(globals(), "scale", s)
        found.append(float(lf.jit(lambda x: x * scale)(1.0)))
        gradients.append(float(lf.jit(lf.grad(lambda x: x * scale))(1.0)))
    assert found == gradients == [1.0, 2.0, 3.0]


def test_globals_behind_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    step = lf.jit(lambda x: model(x))
    assert float(step(X)) == 6.0
    monkeypatch.setitem(globals(), "weights", weights * 2)  # an array is an input: no new trace
    assert float(step(X)) == 12.0 and step.cache_info().misses == 1
    monkeypatch.setitem(settings, "rate", 2.0)
    assert float(step(X)) == 24.0 and step.cache_info().misses == 2
    monkeypatch.setitem(globals(), "model", lambda x: x.max())
    assert float(step(X)) == 3.0


def test_large_tables_are_not_walked_at_each_call() -> None:
    table = {str(i): i for i in range(5000)}
    f = lf.jit(lambda x: x * table["7"])
    assert float(f(1.0)) == float(f(1.0)) == 7.0 and f.closure.known is not None


def test_functions_chosen_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for f in (lnp.sin, lnp.cos, np.sin):
        monkeypatch.setitem(globals(), "model", f)
        found.append(round(float(lf.jit(lambda x: model(x))(0.0)), 3))
    assert found == [0.0, 1.0, 0.0]


def test_what_a_function_writes_is_no_reason_to_trace_again() -> None:
    count, log, table = 0, [], {}

    @lf.jit
    def f(x: Any) -> Any:
        nonlocal count
        global calls
        count += 1
        calls += 1
        log.append("traced")
        journal.append("traced")
        table["shape"] = x.shape
        return x * 2

    for _ in range(4):
        f(X)
    assert count == calls == len(log) == len(journal) == 1 and table == {"shape": (3,)}


def test_fresh_functions_with_the_same_code_share_programs() -> None:
    def run(make: Callable[[], Any]) -> Any:
        for _ in range(3):
            f = make()
            f(X)
        return f.cache_info().misses

    def scaled(n: float, x: Any) -> Any:
        return (x * n).sum()

    assert run(lambda: lf.jit(lf.grad(lambda x: (x * 2).sum()))) == 1
    assert run(lambda: lf.jit(lf.vmap(lf.jacrev(lambda x: x * 3)))) == 1
    assert run(lambda: lf.jit(functools.partial(scaled, 2.0))) == 1
    assert float(lf.jit(functools.partial(scaled, 3.0))(X)) == 18.0


class Layer:
    """A plain class, no pytree, whose attributes change between calls."""

    def __init__(self, gain: float = 2.0):
        self.w, self.gain, self.steps, self.history = lnp.ones(3), gain, 0, []

    @property
    def doubled(self) -> Any:
        return self.gain * 2

    def plain(self, x: Any) -> Any:
        return self.w * x * self.doubled

    @lf.jit
    def method(self, x: Any) -> Any:
        return self.plain(x)

    @functools.partial(lf.jit, static_argnums=0)
    def static(self, x: Any) -> Any:
        return self.w * x * self.gain

    @lf.jit
    def counting(self, x: Any) -> Any:
        self.steps += 1
        self.history.append("traced")
        return x * self.gain

    def __call__(self, x: Any) -> Any:
        return self.plain(x)


@pytest.mark.parametrize("way", ["method", "static", "bound", "closure", "object"])
def test_attributes_are_read_anew(way: str) -> None:
    layer = Layer()
    factor = 1.0 if way == "static" else 2.0
    f = {"method": layer.method, "static": layer.static, "bound": lf.jit(layer.plain),
         "closure": lf.jit(lambda x: layer.plain(x)), "object": lf.jit(layer)}[way]
    assert np.allclose(f(X), X * 2 * factor)
    layer.w = lnp.zeros(3)
    assert np.allclose(f(X), 0.0)
    layer.w, layer.gain = lnp.ones(3), 5.0
    assert np.allclose(f(X), X * 5 * factor)


def test_attributes_of_a_class_and_of_its_object() -> None:
    class Config:
        rate = 1.0

    config = Config()
    f, g = lf.jit(lambda x: x * config.rate), lf.jit(lambda x: x * Config.rate)
    assert float(f(1.0)) == float(g(1.0)) == 1.0
    Config.rate = 2.0
    assert float(f(1.0)) == float(g(1.0)) == 2.0
    config.rate = 3.0
    assert float(f(1.0)) == 3.0


def test_a_method_that_counts() -> None:
    layer = Layer()
    for _ in range(6):
        layer.counting(X)
    assert len(layer.history) <= 2
    other = Layer(7.0)
    assert float(other.counting(X)[0]) == 7.0 and float(layer.counting(X)[0]) == 2.0


def test_a_donated_array_in_sight_is_not_touched() -> None:
    state = {"w": lnp.ones(3), "n": 2}
    lf.jit(lambda w: w + 1, donate_argnums=0)(state["w"])
    assert float(lf.jit(lambda x: x * state["n"])(1.0)) == 2.0


def test_jitted_functions_are_copied_and_pickled() -> None:
    class Holder:
        def __init__(self) -> None:
            self.step = lf.jit(lambda x: x + 1)

    assert float(copy.deepcopy(Holder()).step(1.0)) == 2.0
    again = pickle.loads(pickle.dumps(decorated))
    assert again is decorated
    assert float(pickle.loads(pickle.dumps(lf.jit(undecorated)))(2.0)) == 4.0


@lf.jit
def decorated(x: Any) -> Any:
    return x + 1


def undecorated(x: Any) -> Any:
    return x * 2


# ------------------------------------------------------------------ derivatives are never cut

def test_math_functions_would_cut_the_derivative() -> None:
    text = message(TracerArrayConversionError, lf.grad(lambda x: math.sin(x) * x), 1.0)
    assert "math.sin" in text and "test_newcomer.py" in text and "lnp.sin" in text
    exp = math.exp
    assert "math.exp" in message(TracerArrayConversionError, lf.grad(lambda x: exp(x) * x), 1.0)
    asked = lf.grad(lambda x: x * math.sin(float(x)) * math.floor(x) * (not math.isnan(x)))(1.5)
    assert np.isclose(float(asked), math.sin(1.5))


def test_elements_of_an_ndarray_would_cut_the_derivative() -> None:
    def f(x: Any) -> Any:
        a = np.zeros(3)
        a[0] = x[0]
        return lnp.sum(a)

    with pytest.raises(ValueError) as caught:  # NumPy's, with the reason as its cause
        lf.grad(f)(X)
    assert "a = a.at[0].set(x[0])" in str(caught.value.__cause__)

    def listed(x: Any) -> Any:
        a: list[Any] = [0.0, 0.0]
        a[0] = x[0]
        return sum(a)

    assert lf.grad(listed)(X).tolist() == [1.0, 0.0, 0.0]


# ------------------------------------------------------------------ other people's memory

def test_ndarrays_that_change_between_forward_and_backward() -> None:
    a, b = np.ones(3, np.float32), np.ones(3, np.float32)
    _, pull = lf.vjp(lambda x: (x**3 * b).sum(), a)
    _, push = lf.linearize(lambda x: x * x * b, a)
    a[:] = b[:] = 100
    assert pull(1.0)[0].tolist() == [3.0] * 3
    assert push(np.ones(3, np.float32)).tolist() == [2.0] * 3


def test_isinstance_of_traced_values() -> None:
    assert lf.jit(lambda x: isinstance(x, lnp.ndarray))(1.0) is True
    assert isinstance(X, lnp.ndarray) and not isinstance(np.ones(3), lnp.ndarray)


# ------------------------------------------------------------------ messages

def test_matmul_names_line_and_operands() -> None:
    params = {"w": lnp.ones((4, 5))}

    def net(params: Any, x: Any) -> Any:
        return (x @ params["w"]).sum()

    for transform in (lambda f: f, lf.grad, lf.jit, lf.value_and_grad):
        text = message(TypeError, transform(net), params, lnp.ones((2, 3)))
        assert "matmul at test_newcomer.py:" in text and "params['w']  float32[4,5]" in text


def test_what_is_no_function() -> None:
    for name in ("grad", "value_and_grad", "vmap", "jit", "jacrev", "jacfwd", "hessian"):
        assert "needs a function, got float32[3]" in message(TypeError, getattr(lf, name), X)


def test_gradients_of_what_is_no_loss() -> None:
    def forgot(x: Any) -> Any:
        x.sum()

    assert "is its `return` missing?" in message(TypeError, lf.grad(forgot), X)

    @dataclasses.dataclass
    class Params:
        w: Any

    text = message(TypeError, lf.grad(lambda p: p.w.sum()), Params(X))
    assert "Params, which is no pytree" in text and "register_dataclass" in text
    text = message(TypeError, lf.grad(lambda x: x.sum(), has_aux=True), X)
    assert "(output, aux), got float32[]" in text


def test_outputs_that_would_run_too_late() -> None:
    assert "returned a map" in message(TypeError, lf.jit(lambda x: map(lnp.sin, x)), X)
    assert "returned a generator" in message(TypeError, lf.jit(lambda x: (v for v in x)), X)


def test_a_known_number_under_jit() -> None:
    text = message(TypeError, lf.jit(lambda x: x[:int(lnp.arange(3).sum())]), X)
    assert "depends on no argument" in text and "static_argnames" not in text


def test_names_of_other_libraries() -> None:
    assert "np.asarray(x)" in message(AttributeError, lambda: X.numpy())
    assert "lf.grad" in message(AttributeError, lambda: X.backward())
    assert "traced array" in message(AttributeError, lf.jit(lambda x: x.detach()), X)
    assert not hasattr(X, "cpu") and "cpu" not in dir(X) and "sum" in dir(X)
    assert "random.key(seed)" in message(AttributeError, lambda: random.seed(0))
    assert "random.normal(key, shape)" in message(AttributeError, lambda: random.randn(3))


def test_wrong_values() -> None:
    assert "lnp.zeros((2, 3))" in message(TypeError, lnp.zeros, 2, 3)
    assert "not a dtype of lucidfn" in message(TypeError, lambda: lnp.zeros(2, dtype=object))
    assert "axis must be an integer" in message(TypeError, lambda: X.sum(axis=1.0))
    assert "does not fit int32" in message(OverflowError, lnp.array, 10**20)
    assert "does not fit int32" in message(OverflowError, lnp.array, [10**12])
    assert "[(2,), (3,)]" in message(ValueError, lnp.array, [X, lnp.ones(2)])
    text = message(ValueError, lnp.array, [[1, 2], [3]])
    assert "[[1, 2], [3]]" in text and "inhomogeneous" not in text

    def delete(x: Any) -> None:
        del x[0]

    assert "lnp.delete" in message(TypeError, delete, X)


def test_ranges_are_sequences() -> None:
    assert lnp.array(range(3)).tolist() == [0, 1, 2]
    assert X[range(2)].tolist() == [1.0, 2.0] and X[range(0)].shape == (0,)
