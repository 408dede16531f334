"""Traced values used as Python or NumPy values: what works, and what the errors say."""

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.errors import (
    ConcretizationTypeError,
    TracerArrayConversionError,
    TracerBoolConversionError,
    TracerIntegerConversionError,
    UnexpectedTracerError,
)

X = np.array([1.0, -2.0, 3.0], np.float32)


def message_of(kind: type[Exception], f: Any, *args: Any) -> str:
    with pytest.raises(kind) as caught:
        f(*args)
    return str(caught.value)


def test_bool_under_jit_names_argument_line_and_fix() -> None:
    def clip_loss(params: Any, limit: Any) -> Any:
        loss = (params["w"] ** 2).sum()
        return loss if loss < limit else limit

    text = message_of(TracerBoolConversionError, lf.jit(clip_loss), {"w": X}, 1.0)
    assert "test_tracer_conversion.py:" in text and "bool[]" in text
    assert "params['w']" in text and "`limit`" in text
    assert "lnp.where" in text and "lax.cond" in text
    assert "static_argnames=['params', 'limit']" in text


def test_an_option_used_as_bool() -> None:
    text = message_of(TracerBoolConversionError, lf.jit(lambda x, flag: x if flag else -x), X,
                      np.array(True))
    assert "argument `flag`" in text and "static_argnames=['flag']" in text


def test_numbers_under_jit() -> None:
    text = message_of(ConcretizationTypeError, lf.jit(lambda x: float(x.sum())), X)
    assert "float()" in text and "lf.debug.print" in text
    text = message_of(TracerIntegerConversionError, lf.jit(lambda n: lnp.zeros(n)), 3)
    assert "`n`" in text and "static_argnames=['n']" in text
    message_of(TracerIntegerConversionError, lf.jit(lambda n: list(range(n))), 3)
    message_of(TracerIntegerConversionError, lf.jit(lambda n: int(n)), 3)
    message_of(ConcretizationTypeError, lf.jit(lambda x: x.tolist()), X)
    message_of(ConcretizationTypeError, lf.jit(lambda x: x.item()), 2.0)
    message_of(ConcretizationTypeError, lf.jit(lambda x: f"{x:.2f}"), 2.0)


def test_lanes_have_no_value() -> None:
    text = message_of(TracerBoolConversionError, lf.vmap(lambda x: x if x > 0 else -x), X)
    assert "vmap runs all lanes at once" in text and "lnp.where" in text
    assert "static_argnames" not in text


def test_arrays_are_refused_with_the_reason() -> None:
    text = message_of(TracerArrayConversionError, lf.jit(lambda x: np.asarray(x)), X)
    assert "float32[3]" in text and "lucidfn.numpy" in text
    text = message_of(TracerArrayConversionError, lf.grad(lambda x: np.asarray(x).sum()), X)
    assert "lf.stop_gradient" in text
    message_of(TracerArrayConversionError, lf.jit(lambda x: pickle.dumps(x)), X)
    message_of(TracerArrayConversionError, lf.jit(lambda x: np.from_dlpack(x)), X)


def test_values_are_there_under_grad() -> None:
    seen = []

    def f(x: Any) -> Any:
        if x.sum() > 0:
            x = x * 2
        seen.append((float(x[0]), int(x[2]), x.tolist(), f"{x[1]:.1f}", bool(x[0]), len(x),
                     repr(x), str(x[0])))
        for v in x:
            assert v.shape == ()
        return x.sum()

    assert lf.grad(f)(lnp.array(X)).tolist() == [2.0, 2.0, 2.0]
    assert seen == [(2.0, 6, [2.0, -4.0, 6.0], "-4.0", True, 3,
                     "Traced<float32[3]> = Array([ 2., -4.,  6.], dtype=float32)",
                     "Traced<float32[]> = Array(2., dtype=float32)")]


def test_text_of_traced_values() -> None:
    seen: list[str] = []
    lf.jit(lambda x: [seen.append(repr(x)), seen.append(f"{x}"), x][-1])(X)
    assert seen == ["Traced<float32[3]>"] * 2


def test_leaked_tracers_are_described_and_refused() -> None:
    kept: list[Any] = []
    lf.jit(lambda x: [kept.append(x * 2), x][-1])(X)
    assert "finished" in repr(kept[0])
    text = message_of(UnexpectedTracerError, lambda: bool(kept[0].sum()))
    assert "had finished" in text
    message_of(UnexpectedTracerError, lambda: np.asarray(kept[0]))


def test_operators_and_methods_on_tracers() -> None:
    f = lf.jit(lambda x, n: ((1 - x) @ x, -x, x[::-1], x.at[1].set(0.0), abs(x), x.T, x.mT
                             if x.ndim > 1 else x, divmod(x, 2), x.var(), x.reshape(3, 1),
                             x.astype("int32") & n, x.real, x.device))
    got = f(X, 1)
    assert float(got[0]) == float((1 - X) @ X) and got[2].tolist() == X[::-1].tolist()
    assert got[10].tolist() == (X.astype(int) & 1).tolist() and got[12] == "cpu"


def test_assignment_to_a_tracer() -> None:
    def f(x: Any) -> Any:
        x[0] = 5.0
        return x

    assert "x = x.at[0].set(5.0)" in message_of(TypeError, lf.jit(f), X)
    assert "unhashable" in message_of(TypeError, lf.jit(lambda x: {x: 1}), X)


def test_copies_of_tracers() -> None:
    assert lf.grad(lambda x: copy.deepcopy(copy.copy(x)).sum())(X).tolist() == [1.0] * 3


UFUNCS = [
    lambda x: np.sin(x), lambda x: np.add(X, x), lambda x: X * x, lambda x: x / X, lambda x: X @ x,
    lambda x: np.float32(2) * x, lambda x: np.float64(2) ** x, lambda x: np.maximum(x, 0),
    lambda x: X > x,  # noqa: SIM300
    lambda x: np.abs(x), lambda x: np.negative(x), lambda x: np.isfinite(x),
    lambda x: np.add.reduce(x), lambda x: np.maximum.reduce(x), lambda x: np.add.accumulate(x),
    lambda x: np.multiply.outer(X, x), lambda x: np.add(lnp.array(X), x), lambda x: np.matmul(x, X),
    lambda x: np.logaddexp(x, X), lambda x: np.sqrt(np.square(x)), lambda x: np.hypot(x, x),
]
FUNCTIONS = [
    lambda x: np.sum(x), lambda x: np.sum(x, axis=0, keepdims=True), lambda x: np.mean(x),
    lambda x: np.concatenate([x, X]), lambda x: np.stack([X, x], axis=1), lambda x: np.where(
        X > 0, x, 0), lambda x: np.reshape(x, (3, 1)), lambda x: np.transpose(x),
    lambda x: np.dot(x, X), lambda x: np.einsum("i,i", x, X), lambda x: np.clip(x, 0, 1),
    lambda x: np.linalg.norm(x), lambda x: np.sort(x), lambda x: np.cumsum(x), lambda x: np.max(x),
    lambda x: np.zeros_like(x), lambda x: np.expand_dims(x, 0), lambda x: np.argmax(x),
    lambda x: np.outer(x, x), lambda x: np.var(x), lambda x: np.take(x, [0, 1]),
    lambda x: np.sum(x, where=X > 0), lambda x: np.reshape(x, (3, 1), order="F"),
    lambda x: np.pad(x, 1), lambda x: np.roll(x, 1), lambda x: np.broadcast_to(x, (2, 3)),
]


@pytest.mark.parametrize("f", UFUNCS + FUNCTIONS, ids=range(len(UFUNCS + FUNCTIONS)))
def test_numpy_functions_on_tracers(f: Any) -> None:
    got = lf.jit(f)(X)
    np.testing.assert_allclose(got, f(X), rtol=1e-6)
    assert got.dtype.itemsize <= 4
    assert isinstance(got, lf.Array)


def test_numpy_questions_about_tracers() -> None:
    seen: list[Any] = []
    lf.jit(lambda x: [seen.append((np.shape(x), np.ndim(x), np.size(x))), x][-1])(X)
    assert seen == [((3,), 1, 3)]


@pytest.mark.parametrize(("f", "text"), [
    (lambda x: np.add(X, x, out=np.zeros(3)), "make a new array"),
    (lambda x: operator.iadd(X.copy(), x), r"a = a \+ x"),
    (lambda x: np.add(X, x, where=X > 0), "lnp.where"),
    (lambda x: np.sum(x, out=np.zeros(())), "make a new array"),
    (lambda x: np.add.at(X.copy(), [0], x), r"x.at\[index\].add"),
    (lambda x: np.busday_count(x, x), "lucidfn.numpy has no busday_count"),
    (lambda x: np.add.reduceat(x, [0]), "np.add.reduceat does not work on traced arrays"),
])
def test_what_numpy_cannot_do(f: Any, text: str) -> None:
    with pytest.raises(Exception, match=text) as caught:
        lf.jit(f)(X)
    assert isinstance(caught.value, (TypeError, ValueError))
