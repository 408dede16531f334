"""Places where aliasing, identity, signs of zero or lifetimes are easy to get wrong."""

from __future__ import annotations

import dataclasses
import functools
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import extend, ops
from lucidfn.backends.numpy.compile import compile_program
from lucidfn.core.record import record
from lucidfn.core.trace import current
from lucidfn.transforms.jvp import jvp
from lucidfn.types import ArrayType

F32 = np.dtype("float32")


def check_compiled(f, *types):
    """A compiled program gives the bits that evaluation gives."""
    program = record(f, types)
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(t.shape).astype(t.dtype) for t in types]
    for want, got in zip(program(*args), compile_program(program)(*args), strict=True):
        assert np.asarray(want).tobytes() == np.asarray(got).tobytes()


# ------------------------------------------------------------------ buffers

TAIL_OF = {
    "bits of an array": lambda y, i: ops.bitcast(y, dtype=np.dtype("int32")),
    "dynamic slice": lambda y, i: ops.dynamic_slice(y, i, sizes=(10,)),
    "crop": lambda y, i: ops.pad(y, 0.0, widths=((-10, -10, 0),)),
    "reduction over no axes": lambda y, i: ops.reduce_sum(y, axes=()),
    "view of a view": lambda y, i: ops.dynamic_slice(ops.flip(y, axes=(0,)), i, sizes=(10,)),
    "reshape": lambda y, i: ops.reshape(y, shape=(10, 100)),
}


@pytest.mark.parametrize("name", TAIL_OF)
def test_a_buffer_is_not_overwritten_while_a_view_of_it_lives(name):
    def f(x):
        index = ops.convert(ops.reduce_max(ops.sign(x), axes=(0,)), dtype=np.dtype("int32"))
        view = TAIL_OF[name](ops.sin(x), index)
        return [view, ops.exp(ops.cos(x))]

    check_compiled(f, ArrayType((1000,), F32))


def test_a_users_kernel_may_return_its_operand():
    same = extend.primitive(lambda x: x, name="review_same", kernels=lambda x: x[::1])

    def f(x):
        y = same(lnp.sin(x))
        return y, lnp.exp(lnp.cos(x))

    x = lnp.arange(1000.0)
    for got, want in zip(lf.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_users_kernel_may_use_the_library():
    sine = extend.primitive(lambda x: x, name="review_sine",
                            kernels=lambda x: np.asarray(lnp.sin(lnp.asarray(x))))
    x = np.ones(3, "float32")
    np.testing.assert_array_equal(sine(x), np.sin(x))
    np.testing.assert_array_equal(lf.jit(sine)(x), np.sin(x))


# ------------------------------------------------------------------ bits

@pytest.mark.parametrize("value", [complex(-0.0, 1.0), complex(1.0, -0.0), complex(0.0, -0.0),
                                   complex(np.nan, np.inf), complex(-np.inf, np.nan)])
def test_complex_literals_keep_their_bits(value):
    program = record(lambda x: [ops.add(x, value)], [ArrayType((2,), np.dtype("complex64"))])
    x = np.full(2, complex(-0.0, -0.0), "complex64")
    assert program(x)[0].tobytes() == compile_program(program)(x)[0].tobytes()


def test_a_literal_beyond_the_dtype_is_infinite_without_a_warning():
    x = lnp.ones(2, "float16")
    f = lambda x: (x + 70000.0, lnp.minimum(x, 70000.0))
    for got, want in zip(lf.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_complex_times_one_is_a_product():
    """(inf + 0i) (1 + 0i) has a NaN part: inf * 0."""
    x = lnp.asarray(np.array([complex(np.inf, 0.0), 1 + 2j], "complex64"))
    for f in (lambda x: x * 1.0, lambda x: x / 1.0, lambda x: x - 0.0):
        np.testing.assert_array_equal(lf.jit(f)(x), f(x))


def test_full_keeps_the_sign_of_a_complex_zero():
    x = ops.full(shape=(200,), dtype=np.dtype("complex64"), value=complex(-0.0, 0.0))
    assert np.signbit(x.real).all() and not np.signbit(x.imag).any()


# ------------------------------------------------------------------ keys

def test_static_values_that_are_equal_but_not_the_same():
    @dataclasses.dataclass(frozen=True)
    class Options:
        k: object

    f = lf.jit(lambda x, options: x * options.k, static_argnames="options")
    x = lnp.arange(3)
    assert f(x, Options(1)).dtype == np.int32
    assert f(x, Options(1.0)).dtype == np.float32
    assert not np.signbit(f(1.0, Options(0.0)))
    assert np.signbit(f(1.0, Options(-0.0)))
    g = lf.jit(lambda x, ks: x * ks[0][0], static_argnums=1)
    assert g(x, ((1,),)).dtype == np.int32
    assert g(x, ((1.0,),)).dtype == np.float32
    s = lf.jit(lambda x, ks: x * next(iter(ks)), static_argnums=1)
    assert s(x, frozenset([1])).dtype == np.int32
    assert s(x, frozenset([1.0])).dtype == np.float32
    h = lf.jit(lambda x, options: x * options.k)  # a leaf that is no array is static by itself
    assert h(x, Options(1)).dtype == np.int32
    assert h(x, Options(1.0)).dtype == np.float32


def test_objects_keyed_by_identity_are_not_confused_with_later_ones():
    class Unhashable:
        __hash__ = None

        def __init__(self, k):
            self.k = k

    def apply(u, x):
        return lf.jit(lambda x: x + u.k)(x)

    for i in range(50):
        u = Unhashable(float(i))
        assert float(apply(u, lnp.asarray(0.0))) == i
        del u


def test_code_keyed_by_identity_is_not_confused_with_later_code():
    def apply(f, x):
        return lf.jit(lambda x: f(x))(x)

    for i in range(50):
        space: dict = {}
        exec(f"def f(x): return x + {float(i)}", space)
        assert float(apply(space.pop("f"), lnp.asarray(0.0))) == i
        gc.collect(0)


def test_static_positions_hold_for_keywords_too():
    f = lf.jit(lambda x, n: x + lnp.zeros(n), static_argnums=1)
    assert f(1.0, n=3).shape == (3,)
    g = lf.jit(lambda x, n: x + lnp.zeros(n), static_argnums=-1)
    assert g(1.0, 3).shape == g(1.0, n=3).shape == (3,)
    h = lf.jit(lambda x, p: x + p, donate_argnums=-1)
    p = lnp.ones(3)
    h(1.0, p=p)
    with pytest.raises(lf.errors.DonatedArrayError):
        p + 1.0


def test_compiled_functions_notice_another_closure():
    w = lnp.ones(3)
    compiled = lf.jit(lambda x: x * w).lower(lnp.ones(3)).compile()
    w = 2.0 * w
    np.testing.assert_array_equal(compiled(lnp.ones(3)), [2.0, 2.0, 2.0])
    w = lnp.ones((2, 3))
    with pytest.raises(TypeError, match="closes over changed"):
        compiled(lnp.ones(3))
    k = lnp.asarray(2.0)
    baked = lf.jit(lambda x: x * float(k)).lower(lnp.ones(3)).compile()
    k = lnp.asarray(3.0)
    with pytest.raises(TypeError, match="closes over changed"):
        baked(lnp.ones(3))


# ------------------------------------------------------------------ lifetimes

def freed(run):
    """Whether the array that `run` gets dies with the call, without the cycle collector."""
    gc.collect()
    gc.disable()
    try:
        x = lnp.ones(1000)
        alive = weakref.ref(x.value)
        run(x)
        del x
        return alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("transform", [
    lf.vmap, lf.jit, lambda f: lf.grad(lambda x: lnp.sum(f(x))),
    lambda f: lf.jit(lf.vmap(f)), lambda f: lf.jacfwd(lambda x: lnp.sum(f(x))),
    lambda f: lambda x: lf.jvp(f, (x,), (x,))])
def test_transformations_leave_no_cycles_that_keep_arrays(transform):
    f = transform(lambda x: x * 2.0)
    assert freed(f)


def test_partials_are_freed_with_their_arrays():
    assert freed(lambda w: lf.jit(functools.partial(lnp.multiply, w))(lnp.ones(1000)))

    class Layer:
        def __init__(self, w):
            self.w = w

        def __call__(self, x):
            return self.w * x

    w = lnp.ones(1000)
    alive = weakref.ref(w.value)
    lf.jit(Layer(w))(w)
    del w
    gc.collect()
    assert alive() is None


class Box:
    """An object that holds an array."""


def test_a_dropped_function_frees_its_constants():
    w = np.ones(1000, "float32")
    alive = weakref.ref(w)
    f = lf.jit(lambda x, box: x * box.w)
    box = Box()
    box.w = w
    f(lnp.ones(1000), box)
    f.clear_cache()
    del w, f, box
    gc.collect()
    assert alive() is None


def test_errors_of_programs_with_equal_code_name_their_own_lines():
    first = lf.jit(lambda x, i: x[i])
    second = lf.jit(lambda x, i: x[i])
    here = sys._getframe().f_lineno
    for f, line in ((first, here - 2), (second, here - 1), (first, here - 2)):
        with pytest.raises(IndexError, match=rf"test_aliasing_and_lifetimes.py:{line}"):
            f(lnp.ones(3), lnp.asarray(7))


def test_forms_and_reasons_of_a_program_are_bounded():
    f = lf.jit(lambda x: lnp.sin(x))
    for n in range(300):
        lf.vmap(f)(lnp.ones((n, 1)))
    assert len(f.program(lnp.ones(1)).derived) < 200

    def g(x):
        return step(x)  # records anew each time: it reads an outer tracer
    step = lf.jit(lambda y: y)
    for n in range(600):
        step(lnp.ones(n))
    assert len(step.explain().splitlines()) < 600


def test_lines_of_a_rerun_program_are_known_by_thread():
    """Under debug_nans evaluation knows the line that it re-runs; another thread has its own."""
    seen = []
    evaluation = current.get()
    evaluation.source = "a line"
    try:
        thread = threading.Thread(target=lambda: seen.append(current.get().source))
        thread.start()
        thread.join()
    finally:
        evaluation.source = None
    assert seen == [None]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_slope_of_a_power_of_literal_zero_keeps_the_dtype(dtype):
    y = lnp.ones(3, dtype).value
    assert jvp(lambda y: [ops.pow(0.0, y)], [y], [y])[1][0].dtype == y.dtype


def test_a_pull_back_keeps_only_what_it_needs() -> None:
    x = lnp.ones(1000) + 0.0
    probe = weakref.ref(x)
    _, pull = lf.vjp(lambda x: x + 1.0, x)
    _, f_jvp = lf.linearize(lambda x: x * 2.0, x)
    del x
    gc.collect()
    assert probe() is None
    assert float(pull(lnp.ones(1000))[0].sum()) == 1000.0
    assert float(f_jvp(lnp.ones(1000)).sum()) == 2000.0
