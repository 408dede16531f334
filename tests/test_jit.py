"""jit: what is cached and when it is recorded again, closures, static arguments, donation."""

from __future__ import annotations

import dataclasses
import enum
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import Array


def array(*shape, dtype="float32", seed=0):
    return lnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


class Runs:
    """Counts; keyed by identity, so that counting makes no new program."""

    n = 0

    def __len__(self):
        return self.n


def counted(f):
    """f, and how often its body ran."""
    runs = Runs()

    def g(*args, **kwargs):
        runs.n += 1
        return f(*args, **kwargs)

    return g, runs


# ------------------------------------------------------------------ cache

def test_records_once_per_type():
    f, runs = counted(lambda x, y: x * y + 1.0)
    g = lf.jit(f)
    x = array(3)
    for _ in range(3):
        np.testing.assert_allclose(g(x, x), np.asarray(x) ** 2 + 1, rtol=1e-6)
    assert len(runs) == 1
    g(array(4), array(4))
    g(x, 2.0)
    g(x, 3.5)  # a Python number is traced: its value is no part of the key
    assert len(runs) == 3
    assert g.cache_info()[:2] == (3, 3)


def test_explain_names_the_argument():
    g = lf.jit(lambda params, flag: params["w"] * (2.0 if flag else 1.0))
    g({"w": array(3)}, True)
    g({"w": array(4)}, True)
    g({"w": array(4)}, False)
    first, shape, flag = g.explain().splitlines()
    assert first.endswith("first call")
    assert "`params['w']` is float32[4], was float32[3]" in shape
    assert "`flag` is the static bool False" in flag


def test_key_tells_numbers_apart():
    """1, 1.0, True, 0.0 and -0.0 are different closed-over values."""
    def make(c):
        return lf.jit(lambda x: x * c)
    x = lnp.asarray(np.float32([2.0]))
    results = [make(c)(x) for c in (1, 1.0, True, 0.0, -0.0)]
    assert [r.dtype.name for r in results] == ["float32"] * 5
    assert not np.signbit(np.asarray(results[3]))[0]
    assert np.signbit(np.asarray(results[4]))[0]


def test_weak_types_do_not_retrace_a_step():
    step = lf.jit(lambda state: {"n": state["n"] + 1, "x": state["x"] * 0.5})
    state = {"n": 0, "x": 1.0}
    for _ in range(4):
        state = step(state)
    assert step.cache_info().misses == 1
    assert int(state["n"]) == 4 and float(state["x"]) == 0.0625


def test_lru_bound():
    g = lf.jit(lambda x: x + 1.0)
    with lf.config.override(jit_cache_size=2):
        for n in range(5):
            g(array(n + 1))
        assert g.cache_info().currsize == 2


def test_programs_of_a_dropped_shape_are_freed():
    g = lf.jit(lambda x: x + 1.0)
    g(array(3))
    program = weakref.ref(g.program(array(3)))
    g.clear_cache()
    gc.collect()
    assert program() is None


def test_settings_are_part_of_the_key():
    g = lf.jit(lambda: lnp.asarray(1.0) * 2.0)
    assert g().dtype == np.float32
    with lf.config.override(default_float="float64"):
        assert g().dtype == np.float64
    assert g().dtype == np.float32


# ------------------------------------------------------------------ closures

def test_fresh_lambdas_hit_the_cache():
    def call(w, x):
        return lf.jit(lambda x: x * w)(x)
    x = array(3)
    before = lf.jit(lambda x: x)  # another code object
    before(x)
    wrapped = [lf.jit(lambda x: x - 1.0) for _ in range(3)]
    for g in wrapped:
        g(x)
    assert wrapped[0].cache_info()[:2] == (2, 1)
    np.testing.assert_allclose(call(array(3, seed=1), x), array(3, seed=1) * x)
    np.testing.assert_allclose(call(array(3, seed=2), x), array(3, seed=2) * x)


def test_closed_over_arrays_are_read_at_each_call():
    w = np.ones(3, "float32")
    g = lf.jit(lambda x: x * w)
    x = array(3)
    np.testing.assert_allclose(g(x), x)
    w *= 2.0  # an ndarray can change under the function
    np.testing.assert_allclose(g(x), np.asarray(x) * 2)


def test_rebound_cell():
    w = array(3)
    g = lf.jit(lambda x: x + w)
    x = array(3, seed=1)
    np.testing.assert_allclose(g(x), x + w)
    w = array(3, seed=2)
    np.testing.assert_allclose(g(x), x + w)
    w = 1.5
    np.testing.assert_allclose(g(x), np.asarray(x) + 1.5)


def test_closed_over_containers():
    params = {"w": array(3)}
    g = lf.jit(lambda x: x * params["w"])
    x = array(3, seed=1)
    np.testing.assert_allclose(g(x), x * params["w"])
    params["w"] = array(3, seed=5)
    np.testing.assert_allclose(g(x), x * params["w"])


def test_same_array_in_two_cells():
    def make(a, b):
        return lf.jit(lambda x: x * a + b)
    x, u, v = array(3), array(3, seed=1), array(3, seed=2)
    np.testing.assert_allclose(make(u, u)(x), x * u + u)
    np.testing.assert_allclose(make(u, v)(x), x * u + v)
    np.testing.assert_allclose(make(v, v)(x), x * v + v)


def test_a_closed_over_value_used_while_tracing_is_not_stale():
    def make(w):
        return lf.jit(lambda x: x * float(w))
    x = array(3)
    np.testing.assert_allclose(make(lnp.asarray(2.0))(x), np.asarray(x) * 2, rtol=1e-6)
    np.testing.assert_allclose(make(lnp.asarray(3.0))(x), np.asarray(x) * 3, rtol=1e-6)


def test_closure_over_outer_tracers():
    def f(x):
        return lf.jit(lambda y: y * x)(lnp.sin(x))
    np.testing.assert_allclose(lf.grad(f)(0.7), np.cos(0.7) * 0.7 + np.sin(0.7), rtol=1e-6)
    np.testing.assert_allclose(lf.jit(lf.grad(f))(0.7), lf.grad(f)(0.7), rtol=1e-6)
    xs = lnp.asarray(np.float32([0.1, 0.2]))
    np.testing.assert_allclose(lf.vmap(f)(xs), np.sin(xs) * xs, rtol=1e-6)


def test_methods_partials_and_callables():
    class Scale:
        def __init__(self, k):
            self.k = k

        def apply(self, x):
            return x * self.k

    import functools
    x = array(3)
    np.testing.assert_allclose(lf.jit(Scale(2.0).apply)(x), x * 2.0)
    np.testing.assert_allclose(lf.jit(functools.partial(lnp.multiply, array(3)))(x), x * x)

    class Model:
        @lf.jit
        def double(self, x):
            return x * 2.0

    lf.tree_util.register_static(Model)
    np.testing.assert_allclose(Model().double(x), x * 2.0)


# ------------------------------------------------------------------ static arguments

def test_non_array_leaves_are_static():
    class Mode(enum.Enum):
        A = 1
        B = 2

    @dataclasses.dataclass(frozen=True)
    class Config:
        k: float

    def body(x, mode, config, f, name, none):
        assert none is None and name == "n"
        return f(x) * config.k if mode is Mode.A else x

    f, runs = counted(body)
    g = lf.jit(f)
    x = array(3)
    np.testing.assert_allclose(g(x, Mode.A, Config(2.0), lnp.sin, "n", None), lnp.sin(x) * 2.0)
    g(x, Mode.A, Config(2.0), lnp.sin, "n", None)
    assert len(runs) == 1
    np.testing.assert_allclose(g(x, Mode.B, Config(2.0), lnp.sin, "n", None), x)
    assert len(runs) == 2


@pytest.mark.parametrize("options", [{"static_argnums": 1}, {"static_argnames": "n"},
                                     {"static_argnames": ("n",)}])
def test_static_arguments(options):
    g = lf.jit(lambda x, n: sum(x * i for i in range(n)), **options)
    x = array(3)
    np.testing.assert_allclose(g(x, 3), np.asarray(x) * 3, rtol=1e-6)
    if "static_argnames" in options:
        np.testing.assert_allclose(g(x, n=2), x, rtol=1e-6)


def test_unhashable_static_argument():
    g = lf.jit(lambda x, sizes: x, static_argnames="sizes")
    with pytest.raises(TypeError, match=r"static argument `sizes` is list \[1, 2\].*not hashable"):
        g(array(2), [1, 2])
    with pytest.raises(TypeError, match="static argument `sizes` is an array"):
        g(array(2), array(2))
    with pytest.raises(ValueError, match="are no parameters"):
        lf.jit(lambda x: x, static_argnames="y")


def test_unhashable_leaf():
    class Box:
        __hash__ = None

    with pytest.raises(TypeError, match="argument `b` is Box.*Register its class"):
        lf.jit(lambda x, b: x)(array(2), Box())


def test_non_array_outputs_pass_through():
    g = lf.jit(lambda x: {"x": x, "name": "adam", "none": None, "flag": True})
    out = g(array(2))
    assert out["name"] == "adam" and out["none"] is None and out["flag"] is True


# ------------------------------------------------------------------ donation

def test_donated_array_cannot_be_used_again():
    step = lf.jit(lambda p, g: p - 0.1 * g, donate_argnums=0)
    p, g = array(1000), array(1000, seed=1)
    q = step(p, g)
    match = r"float32\[1000\] was donated .*test_jit"
    with pytest.raises(lf.errors.DonatedArrayError, match=match):
        p + 1.0
    with pytest.raises(lf.errors.DonatedArrayError):
        np.asarray(p)
    assert "donated" in repr(p)
    assert q.shape == (1000,)


def test_donation_reuses_memory_that_nobody_else_holds():
    step = lf.jit(lambda p: p * 2.0 + 1.0, donate_argnums=0)
    p = array(1000) + 0.0
    want = np.asarray(p) * 2 + 1
    address = p.value.ctypes.data
    q = step(p)
    np.testing.assert_allclose(q, want)
    assert q.value.ctypes.data == address


def test_donation_copies_what_others_hold():
    step = lf.jit(lambda p: p * 2.0, donate_argnums=0)
    p = array(1000) + 0.0
    view = np.asarray(p)
    kept = view.copy()
    step(p)
    np.testing.assert_array_equal(view, kept)
    mine = np.ones(1000, "float32")
    step(mine)  # a plain ndarray is never donated
    assert (mine == 1).all()


def test_same_array_donated_twice():
    step = lf.jit(lambda p, q: p + q, donate_argnums=(0, 1))
    p = array(3)
    with pytest.raises(ValueError, match="donated twice"):
        step(p, p)
    other = lf.jit(lambda p, q: p + q, donate_argnums=0)
    p = array(3)
    with pytest.raises(ValueError, match="also passed as another argument"):
        other(p, p)
    reads = lf.jit(lambda q: p + q, donate_argnums=0)
    with pytest.raises(ValueError, match="reads it by itself"):
        reads(p)


def test_equal_outputs_of_one_call_can_be_donated():
    x = array(3)
    y, z, same = lf.jit(lambda a: (a * 2.0, a * 2.0, lnp.copy(a)))(x)
    step = lf.jit(lambda p, q, r: (p + q, p * r), donate_argnums=(0, 1))
    total, product = step(y, z, same)
    np.testing.assert_allclose(total, 4 * np.asarray(x))
    np.testing.assert_allclose(product, 2 * np.asarray(x) ** 2)
    double = lf.jit(lambda a: a * 2.0, donate_argnums=0)
    np.testing.assert_allclose(double(same), 2 * np.asarray(x))  # the copy, and x is still there


def test_memory_is_reused_in_every_step_beside_constants_and_equal_outputs():
    def update(p, s):
        total = lnp.sum(p)
        return p + 1.0, (s[0] * 0.5, lnp.float32(0.1), total, lnp.sum(p))

    step = lf.jit(update, donate_argnums=(0, 1))
    p, s = array(1000) + 0.0, (array(1000) + 0.0, lnp.float32(0.1), lnp.zeros(()), lnp.zeros(()))
    places = p.value.ctypes.data, s[0].value.ctypes.data
    for _ in range(4):
        p, s = step(p, s)
        assert (p.value.ctypes.data, s[0].value.ctypes.data) == places


def test_failed_step_never_leaves_half_a_value():
    def step(p, i):
        return p * 2.0 + lnp.take(p, i, mode="raise")
    f = lf.jit(step, donate_argnums=0)
    p = array(1000) + 0.0
    with pytest.raises(IndexError):
        f(p, lnp.asarray(5000))
    with pytest.raises(lf.errors.DonatedArrayError):
        p + 1.0


def test_outputs_are_not_overwritten_by_the_next_call():
    g = lf.jit(lambda x: lnp.sin(x) * 2.0 + 1.0)
    first = g(array(5000))
    kept = np.array(first)
    for seed in range(3):
        g(array(5000, seed=seed + 1))
    np.testing.assert_array_equal(first, kept)


def test_outputs_do_not_share_memory_with_a_users_ndarray():
    x = np.ones((4, 4), "float32")
    for f in (lambda x: x, lambda x: x.T if isinstance(x, np.ndarray) else lnp.transpose(x)):
        for g in (lf.jit(f), lambda x, f=f: f(lnp.asarray(x))):
            out = g(x)
            x[0, 0] = 5.0
            assert np.asarray(out)[0, 0] == 1.0
            x[0, 0] = 1.0


# ------------------------------------------------------------------ looking inside, ahead of time

def test_source_is_the_text_that_runs():
    g = lf.jit(lambda x, y: lnp.tanh(x @ y) + 1.0)
    x = array(4, 4)
    source = g.source(x, x)
    assert "def program(a, b):" in source and "tanh(" in source and "test_jit.py:" in source
    assert str(g.program(x, x)).startswith("program(a:float32[4,4], b:float32[4,4])")


def test_lower_and_compile():
    g = lf.jit(lambda x, n: x * n, static_argnums=1)
    lowered = g.lower(lf.ShapeDtypeStruct((3,), "float32"), 2)
    assert lowered.out_info == lf.ShapeDtypeStruct((3,), "float32")
    compiled = lowered.compile()
    np.testing.assert_allclose(compiled(array(3), 2), array(3) * 2)
    with pytest.raises(TypeError, match=r"`x` is float32\[4\], was float32\[3\]"):
        compiled(array(4), 2)
    assert lowered.cost_analysis()["flops"] == 3


def test_cost_of_what_runs_over_blocks():
    compiled = lf.jit(lambda x: lnp.exp(x) * 2.0).lower(array(10**6)).compile()
    assert compiled.program.equations[0].primitive.name == "blocks"
    assert compiled.cost_analysis()["flops"] == 11 * 10**6
    assert repr(compiled.program.cost()) == str(compiled.program.cost())


def test_buffers_are_reused():
    g = lf.jit(lambda x: lnp.exp(lnp.sin(lnp.cos(x * 2.0) + 1.0)))
    assert "out=" in g.source(array(5000))


def test_disable_jit():
    f, runs = counted(lambda x: x if float(x) > 0 else -x)
    with lf.config.override(disable_jit=True):
        lf.jit(f)(1.0)
        lf.jit(f)(1.0)
    assert len(runs) == 2


def test_two_outputs_and_unused_inputs():
    g = lf.jit(lambda x, unused: (x, x, x + 1.0))
    a, b, c = g(array(3), array(3))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(c, a + 1.0)


def test_error_names_the_users_line():
    g = lf.jit(lambda x, i: x[i])
    line = sys._getframe().f_lineno - 1
    with pytest.raises(IndexError, match=rf"test_jit.py:{line}"):
        g(array(3), lnp.asarray(7))


def test_threads():
    g = lf.jit(lambda x: lnp.sum(lnp.sin(x) * x))
    x = array(100)
    want, got = float(g(x)), []
    workers = [threading.Thread(target=lambda: got.append(float(g(x) * 1.0))) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert got == [want] * 4


def test_recursion_through_a_closed_over_function():
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)
    g = lf.jit(lambda x: power(x, 4))
    np.testing.assert_allclose(g(2.0), 16.0)


def test_nested_jit_is_inlined():
    inner = lf.jit(lambda x: lnp.sin(x))
    g = lf.jit(lambda x: inner(x) + inner(x))
    assert "call" in str(g.program(1.0))
    assert g.source(1.0).count("sin(") == 1  # inlined, and computed once
    assert isinstance(g(1.0), Array)


def test_dead_equations_keep_their_effects_out():
    g = lf.jit(lambda x: (lnp.exp(x), x)[1])
    assert "exp" in str(g.program(1.0)) and "exp" not in g.source(1.0)


def test_a_program_with_a_kernel_name_as_variable():
    """Enough variables that their names would reach `add`, `exp`, `log`, ..."""
    def f(x):
        for _ in range(900):
            x = ops.mul(ops.add(x, 1.0), 0.5)
        return [x]
    from lucidfn.backends.numpy.compile import compile_program
    from lucidfn.core.record import record
    from lucidfn.types import ArrayType
    program = record(f, [ArrayType((2,), np.dtype("float32"))])
    x = np.float32([3.0, 5.0])
    np.testing.assert_allclose(compile_program(program)(x)[0], program(x)[0])


def test_a_block_that_sets_the_same_again_keeps_the_quick_path():
    f, x = lf.jit(lambda x: x + 1), array(3)
    found = []
    for _ in range(3):
        with lf.config.override(numpy_rank_promotion="raise") as settings:
            f(x)
            found.append((settings, f.find_quickly((x,), settings)))
    assert len({id(settings) for settings, _ in found}) == 1
    assert all(quick is not None for _, quick in found)
