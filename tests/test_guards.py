"""jit(f, python_control_flow=True): Python if, while and range on traced values."""

import warnings
from collections import deque

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.api import guards


class Runs:
    """Counts; keyed by identity, so that counting makes no new program."""

    n = 0

    def __len__(self):
        return self.n


def counted(f):
    runs = Runs()

    def g(*args, **kwargs):
        runs.n += 1
        return f(*args, **kwargs)

    return lf.jit(g, python_control_flow=True), runs


def branch(x):
    if x.sum() > 0:
        return x * 2.0
    return -x


def newton(a):
    """The square root of a; its steps depend on the value."""
    x = a
    while abs(x * x - a) > 1e-9:
        x = 0.5 * (x + a / x)
    return x


def test_a_broken_guard_takes_another_path_and_each_is_recorded_once():
    f, runs = counted(branch)
    a, b = lnp.ones(3), -lnp.ones(3)
    for _ in range(3):
        assert f(a).tolist() == [2.0] * 3 and f(b).tolist() == [1.0] * 3
    assert runs.n == 2
    assert f.cache_info().misses == 2 and f.cache_info().hits == 4
    text = f.explain().splitlines()
    assert "another way through the Python control flow at test_guards.py:" in text[1]
    assert "where the answer was True" in text[1]


def test_a_loop_until_convergence():
    f, runs = counted(newton)
    for a in (2.0, 2.1, 9.0, 2.0, 100.0, 2.05):
        assert float(f(lnp.array(a, "float64"))) == pytest.approx(np.sqrt(a), abs=1e-9)
    assert runs.n < 6  # those that need as many steps share a program
    g = lf.jit(lf.grad(newton), python_control_flow=True)
    for a in (2.0, 9.0, 2.1):
        assert float(g(lnp.array(a, "float64"))) == pytest.approx(0.5 / np.sqrt(a), rel=1e-6)


def test_range_and_integers_are_guards_too():
    def f(x, n):
        for i in range(n):
            x = x * (i + 1)
        return x

    f, runs = counted(f)
    assert float(f(1.0, 3)) == 6.0 and float(f(1.0, 4)) == 24.0 and float(f(2.0, 3)) == 12.0
    assert runs.n == 2


def test_paths_that_share_a_beginning():
    def f(x, y):
        if x > 0:
            return x + y if y > 0 else x - y
        if y > 0 and x < -5:
            return x * y
        return x * 0.0

    g, runs = counted(f)
    points = [(x, y) for x in (1.0, -1.0, -9.0) for y in (2.0, -3.0)]
    for _ in range(2):
        for x, y in points:
            assert float(g(x, y)) == float(f(x, y))
    assert runs.n == 5


def test_values_of_closed_over_arrays_are_guarded():
    def run(w):
        return lf.jit(lambda x: x + 1.0 if w.sum() > 0 else x - 1.0, python_control_flow=True)(0.0)

    assert [float(run(w)) for w in (lnp.ones(2), -lnp.ones(2), lnp.ones(2))] == [1.0, -1.0, 1.0]


def test_a_path_that_would_raise_is_not_taken():
    table = lnp.array([1.0, 2.0])

    def f(i):
        if i < 2:
            return table[i]
        return lnp.zeros(())

    f, _ = counted(f)
    assert [float(f(i)) for i in (0, 1, 7, 1)] == [1.0, 2.0, 0.0, 2.0]


def test_a_real_error_is_raised():
    table = lnp.array([1.0, 2.0])
    f = lf.jit(lambda i: table[i] if i > 0 else table[0], python_control_flow=True)
    assert float(f(1)) == 2.0
    with pytest.raises(IndexError):
        lf.block_until_ready(f(5))


def test_effects_run_once_and_on_the_path_that_is_taken():
    seen = deque()

    def f(x):
        if x > 0:
            lf.debug.callback(lambda v: seen.append(("yes", float(v))), x)
            return x
        lf.debug.callback(lambda v: seen.append(("no", float(v))), x)
        return -x

    f, _ = counted(f)
    for x in (1.0, -2.0, 3.0, -4.0):
        f(x)
    assert list(seen) == [("yes", 1.0), ("no", -2.0), ("yes", 3.0), ("no", -4.0)]


def test_a_guard_that_depends_on_an_effect_is_refused():
    def f(x):
        y = lf.io_callback(lambda v: v, lf.ShapeDtypeStruct((), "float32"), x)
        return x if y > 0 else -x

    with pytest.raises(lf.errors.ConcretizationTypeError, match="io_callback at test_guards.py"):
        lf.jit(f, python_control_flow=True)(1.0)


def test_donated_arguments_are_not_lost_to_a_path_that_is_not_taken():
    f = lf.jit(branch, python_control_flow=True, donate_argnums=0)
    for sign in (1.0, -1.0, 1.0, -1.0):
        x = lnp.full(5000, sign)
        assert f(x).tolist() == [2.0 if sign > 0 else 1.0] * 5000
        with pytest.raises(lf.errors.DonatedArrayError):
            x + 1.0


def test_inside_other_transformations_it_runs_as_if_not_jitted():
    f = lf.jit(newton, python_control_flow=True)
    two = lnp.array(2.0, "float64")
    assert float(lf.grad(f)(two)) == pytest.approx(0.5 / np.sqrt(2.0), rel=1e-6)
    outer = lf.jit(lambda a: f(a) + 1.0, python_control_flow=True)
    assert float(outer(two)) == pytest.approx(np.sqrt(2.0) + 1.0)
    with pytest.raises(lf.errors.TracerBoolConversionError, match="vmap"):
        lf.vmap(f)(lnp.ones(3) * 2.0)
    with pytest.raises(lf.errors.TracerBoolConversionError, match="python_control_flow=True"):
        lf.jit(lambda a: f(a))(two)


def test_looking_inside_shows_the_path_of_the_arguments():
    f = lf.jit(branch, python_control_flow=True)
    assert " mul " in str(f.program(lnp.ones(3))) and " neg " in str(f.program(-lnp.ones(3)))
    assert f.eval_shape(lnp.ones(3)).shape == (3,)
    assert "mul" in f.source(lnp.ones(3)) or "* 2.0" in f.source(lnp.ones(3))


def test_too_many_paths_are_dropped_with_a_warning_that_names_the_line(monkeypatch):
    monkeypatch.setattr(guards, "PATHS", 4)

    def f(x, n):
        return x * float(len(range(n)))

    f, runs = counted(f)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for n in range(8):
            assert float(f(1.0, n)) == n
    (warning,) = found
    assert "more than 4 ways" in str(warning.message)
    assert "test_guards.py:" in str(warning.message) and "lax.while_loop" in str(warning.message)
    assert runs.n == 8
    f(1.0, 7)
    assert runs.n == 8
    f(1.0, 0)
    assert runs.n == 9


def test_without_the_flag_the_error_shows_cond_and_the_flag():
    with pytest.raises(lf.errors.TracerBoolConversionError) as found:
        lf.jit(branch)(lnp.ones(3))
    assert "lax.cond(condition, f, g, *operands)" in str(found.value)
    assert "jit(f, python_control_flow=True)" in str(found.value)
    assert "python_control_flow" not in str(pytest.raises(
        lf.errors.TracerBoolConversionError, lf.vmap(branch), lnp.ones((2, 3))).value)


def test_numbers_and_arrays_are_still_refused():
    with pytest.raises(lf.errors.ConcretizationTypeError):
        lf.jit(lambda x: float(x), python_control_flow=True)(1.0)


def test_clearing_the_cache_forgets_the_paths():
    f, runs = counted(branch)
    f(lnp.ones(2))
    f.clear_cache()
    f(lnp.ones(2))
    assert runs.n == 2
