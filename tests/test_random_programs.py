"""Random programs: passes and compiled code keep their meaning, and transformations agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lucidfn as lf
from lucidfn import ops, passes, testing
from lucidfn.array import unwrap, wrap
from lucidfn.backends.numpy import compile as compiler
from lucidfn.core.record import record
from lucidfn.core.trace import shape_of, type_of

FLOATS = [np.dtype("float32"), np.dtype("float64")]
SHAPES = [(), (3,), (2, 3), (1, 3), (2, 1), (0, 3), (4,), (2, 2)]
SCALARS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, float("inf")]
SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 1e-40, 3e38])

# A step is four integers: which operation, which operands, a parameter.
STEPS = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 99), st.integers(0, 99),
                           st.integers(0, 99)), min_size=1, max_size=14)


# ------------------------------------------------------------------ operations

def axis_of(x: Any, k: int) -> int:
    return k % len(shape_of(x))


def needs_axis(f: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    return lambda x, k: f(x, k) if shape_of(x) else ops.neg(x)


def needs_elements(f: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    return lambda x, k: f(x, k) if 0 not in shape_of(x) and shape_of(x) else ops.copy(x)


def half(x: Any, k: int) -> Any:
    axis = axis_of(x, k)
    n = shape_of(x)[axis]
    return ops.slice_axis(x, axis, n // 2, n) if k % 3 else ops.slice_axis(x, axis, 0, n, 2)


def padded(x: Any, k: int) -> Any:
    widths = [((0, 0, 0), (1, 0, 0), (0, 1, 1), (-1, 1, 0))[(k + i) % 4 if n else 0]
              for i, n in enumerate(shape_of(x))]
    return ops.pad(x, SCALARS[k % len(SCALARS)], widths=tuple(widths))


def widened(x: Any, k: int) -> Any:
    return ops.broadcast_to(x, shape=(k % 3, *shape_of(x))) if len(shape_of(x)) < 2 else ops.copy(x)


def reversed_axes(x: Any, k: int) -> Any:
    return ops.permute(x, order=tuple(reversed(range(len(shape_of(x))))))


def flattened(x: Any, k: int) -> Any:
    size = type_of(x).size
    return ops.reshape(x, shape=((size,), (1, size), (size, 1))[k % 3])


def among_ones(x: Any, k: int) -> Any:
    """Axes of size 1 put in, all turned about, and taken out again."""
    shape = tuple([n for n in shape_of(x) if n != 1])
    spread = [m for i, n in enumerate(shape) for m in ((1, n) if k + i & 1 else (n,))]
    x = ops.reshape(x, shape=(*spread, 1))
    order = np.random.default_rng(k).permutation(len(spread) + 1).tolist()
    x = ops.permute(x, order=tuple(order))
    shape = tuple([n for n in shape_of(x) if n != 1])
    return ops.reshape(x, shape=(1, *shape) if k % 3 == 0 and len(shape) < 2 else shape)


def turned_sum(x: Any, k: int) -> Any:
    """A sum spread out again, by way of other shapes."""
    shape = shape_of(x)
    total = ops.reduce_max(x, axes=(axis_of(x, k),))
    kept = tuple([1 if i == axis_of(x, k) else n for i, n in enumerate(shape)])
    total = ops.broadcast_to(ops.reshape(total, shape=(1, *kept)), shape=(1, *shape))
    return ops.mul(ops.reshape(ops.div(ops.neg(total), 8.0), shape=shape), x)


def taken_by_lane(x: Any, k: int) -> Any:
    lanes = len(shape_of(x)) - 1
    at = ops.reshape(ops.argsort(x, axis=lanes), shape=(*shape_of(x), 1))
    return ops.gather(x, at, axes=(lanes,), mode="raise", fill=0.0, lanes=lanes)


def taken(x: Any, k: int) -> Any:
    axis = axis_of(x, k)
    at = ops.argsort(x, axis=axis) if k % 2 else ops.iota(
        shape=shape_of(x), dtype=np.dtype("int32"), axis=axis)
    flat = ops.reshape(at, shape=(type_of(x).size, 1))
    return ops.gather(x, flat, axes=(axis,), mode="clip", fill=0.0) if len(
        shape_of(x)) == 1 else ops.copy(x)


def there_and_back(x: Any, k: int) -> Any:
    wide = np.dtype("float64") if k % 2 else np.dtype("float32")
    return ops.convert(ops.convert(x, dtype=wide), dtype=type_of(x).dtype)


SMOOTH: list[Callable[[Any, int], Any]] = [
    lambda x, k: ops.sin(x), lambda x, k: ops.tanh(x), lambda x, k: ops.neg(x),
    lambda x, k: ops.logistic(x), lambda x, k: ops.tanh(ops.square(x)),
    lambda x, k: ops.exp(ops.neg(ops.logistic(x))), lambda x, k: ops.mul(x, 0.5),
    lambda x, k: ops.add(ops.sin(x), 2.0), lambda x, k: ops.div(x, 3.0),
    reversed_axes, flattened, widened, needs_elements(half), needs_elements(
        lambda x, k: ops.pad(x, 0.5, widths=((1, 0, 1),) * len(shape_of(x)))),
    needs_axis(lambda x, k: ops.flip(x, axes=(axis_of(x, k),))),
    needs_axis(lambda x, k: ops.reduce_sum(x, axes=(axis_of(x, k),))),
    needs_axis(lambda x, k: ops.cumsum(x, axis=axis_of(x, k), reverse=k % 2 == 0)),
]
UNARY = [
    *SMOOTH, needs_elements(padded), needs_elements(taken), there_and_back,
    lambda x, k: ops.exp(x), lambda x, k: ops.log(x), lambda x, k: ops.sqrt(x),
    lambda x, k: ops.abs(x), lambda x, k: ops.sign(x), lambda x, k: ops.relu(x),
    lambda x, k: ops.neg(ops.neg(x)), lambda x, k: ops.log(ops.exp(x)),
    lambda x, k: ops.add(x, SCALARS[k % 7]), lambda x, k: ops.mul(x, SCALARS[k % 7]),
    lambda x, k: ops.sub(SCALARS[k % 7], x), lambda x, k: ops.sub(x, SCALARS[k % 7]),
    lambda x, k: ops.div(x, SCALARS[k % 7]), lambda x, k: ops.max(x, SCALARS[k % 7]),
    lambda x, k: ops.integer_pow(x, n=k % 5 - 1), lambda x, k: ops.stop_gradient(x),
    lambda x, k: ops.select(ops.gt(x, 0.0), x, SCALARS[k % 7]),
    lambda x, k: ops.mul(x, ops.full(shape=(), dtype=type_of(x).dtype, value=SCALARS[k % 7])),
    lambda x, k: ops.sub(x, x), lambda x, k: ops.div(x, x), lambda x, k: ops.add(x, ops.neg(x)),
    among_ones, needs_elements(turned_sum), needs_elements(taken_by_lane),
    lambda x, k: ops.div(x, (4.0, -0.125, 3.0)[k % 3]), lambda x, k: ops.neg(ops.mul(x, -1.5)),
    lambda x, k: ops.sub(x, ops.neg(ops.exp(x))), lambda x, k: ops.add(ops.neg(x), ops.abs(x)),
    needs_elements(lambda x, k: ops.reduce_max(x, axes=(axis_of(x, k),))),
    needs_elements(lambda x, k: ops.sort(x, axis=axis_of(x, k), num_keys=1)[0]),
]
BINARY = [ops.add, ops.sub, ops.mul]
ROUGH = [*BINARY, ops.div, ops.max, ops.min,
         lambda x, y: ops.select(ops.lt(x, y), x, y), lambda x, y: ops.atan2(x, y)]


def joined(x: Any, y: Any) -> Any:
    """Flat, one after the other: two operands of any shapes."""
    return ops.concatenate(*[ops.reshape(v, shape=(type_of(v).size,)) for v in (x, y)], axis=0)


def fits(x: Any, y: Any) -> bool:
    try:
        return len(np.broadcast_shapes(shape_of(x), shape_of(y))) <= 2
    except ValueError:
        return False


def paired(f: Callable[[Any, Any], Any], x: Any, y: Any, k: int) -> Any:
    if k % 5 == 0:
        return joined(x, y)
    if len(shape_of(x)) == len(shape_of(y)) == 2 and shape_of(x)[1] == shape_of(y)[0]:
        return ops.matmul(x, y)
    if not fits(x, y):
        y = ops.reduce_sum(y, axes=tuple(range(len(shape_of(y)))))
    return f(x, y)


def program_of(steps: Any, smooth: bool = False, nest: bool = False) -> Callable[..., list[Any]]:
    """The function that the steps describe, of raw arrays; its outputs are the last two values."""
    unary, binary = (SMOOTH, BINARY) if smooth else (UNARY, ROUGH)

    def run(values: list[Any], some: Any) -> list[Any]:
        for which, i, j, k in some:
            x = values[i % len(values)]
            if type_of(x).size > 200:
                x = ops.slice_axis(flattened(x, 0), 0, 0, 3)
            if which % 3 == 0:
                y = values[j % len(values)]
                if type_of(y).size > 200:
                    y = ops.slice_axis(flattened(y, 0), 0, 0, 3)
                values.append(paired(binary[which // 3 % len(binary)], x, y, k))
            else:
                values.append(unary[which // 3 % len(unary)](x, k))
        return values

    def f(*xs: Any) -> list[Any]:
        values = list(xs)
        if nest and len(steps) > 2:  # the middle of the program as a call of its own
            cut = len(steps) // 3
            values = run(values, steps[:cut])
            inner = lf.jit(lambda *vs: [wrap(v) for v in run(list(map(unwrap, vs)), steps[cut:-1])])
            values = [unwrap(v) for v in inner(*map(wrap, values))]
            values = run(values, steps[-1:])
        else:
            values = run(values, steps)
        return values[-2:]

    return f


def inputs(seed: int, dtype: np.dtype, special: bool = True) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = []
    for shape in [SHAPES[i] for i in rng.integers(0, len(SHAPES), 3)]:
        x = rng.uniform(-1.5, 1.5, shape)
        if special and shape:
            x = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), x)
        with np.errstate(over="ignore"):
            found.append(np.asarray(x).astype(dtype))
    return found


def same_bits(got: Any, want: Any, what: str) -> None:
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), what
        np.testing.assert_array_equal(a, b, err_msg=what)
        if a.dtype.kind == "f":
            number = ~np.isnan(a)  # the sign of NaN has no meaning
            np.testing.assert_array_equal(np.signbit(a)[number], np.signbit(b)[number],
                                          err_msg=what)


# ------------------------------------------------------------------ passes and the compiler

@settings(max_examples=150)
@given(STEPS, st.integers(0, 50), st.sampled_from(FLOATS), st.booleans())
def test_passes_keep_every_bit(steps: Any, seed: int, dtype: np.dtype, nest: bool) -> None:
    xs = inputs(seed, dtype)
    program = record(program_of(steps, nest=nest), [type_of(x) for x in xs]).check()
    want = program(*xs)
    for apply in [*passes.PASSES, passes.optimize]:
        after = apply(program).check()
        same_bits(after(*xs), want, f"{apply.__name__}:\n{program}\n->\n{after}")
    current = program
    for apply in passes.PASSES:
        current = apply(current).check()
    same_bits(current(*xs), want, f"all in turn:\n{program}\n->\n{current}")
    again = passes.optimize(current)
    assert len(again.equations) <= len(current.equations)


@settings(max_examples=150)
@given(STEPS, st.integers(0, 50), st.sampled_from(FLOATS), st.booleans(), st.booleans())
def test_compiled_code_keeps_meaning_and_inputs(steps: Any, seed: int, dtype: np.dtype,
                                                donate: bool, nest: bool) -> None:
    """With buffers of every size reused, so that small programs reach that code too."""
    xs = inputs(seed, dtype)
    program = record(program_of(steps, nest=nest), [type_of(x) for x in xs])
    want = program(*xs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "REUSE_FROM", 0)
        compiled = compiler.compile_program(program, (0, 2) if donate else ())
    for _ in range(2):
        given_ = [x.copy() for x in xs]
        with np.errstate(all="ignore"):
            got = compiled(*given_)
        for i, (x, y) in enumerate(zip(given_, xs, strict=True)):
            if not (donate and i in (0, 2)):
                np.testing.assert_array_equal(x, y, err_msg=f"input {i}:\n{compiled.source}")
        for a, b in zip(got, want, strict=True):
            a, b = np.asarray(a), np.asarray(b)
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            tol = testing.tolerance(dtype).value
            testing.assert_allclose(a, b, tol, tol, what=compiled.source)


@settings(max_examples=60)
@given(STEPS, st.integers(0, 50), st.sampled_from(FLOATS))
def test_jit_equals_eager(steps: Any, seed: int, dtype: np.dtype) -> None:
    xs = inputs(seed, dtype)
    raw = program_of(steps)
    f = lambda *args: [wrap(y) for y in raw(*map(unwrap, args))]
    testing.check_jit(f, [wrap(x) for x in xs])


# ------------------------------------------------------------------ transformations

def scalar_of(steps: Any, nest: bool = False) -> Callable[..., Any]:
    """A smooth scalar function of public arrays."""
    raw = program_of(steps, smooth=True, nest=nest)

    def f(*args: Any) -> Any:
        outs = [ops.tanh(y) for y in raw(*map(unwrap, args))]
        totals = [ops.reduce_sum(y, axes=tuple(range(len(shape_of(y))))) for y in outs]
        return wrap(totals[0] if len(totals) == 1 else ops.add(*totals))

    return f


@settings(max_examples=60)
@given(STEPS, st.integers(0, 50))
def test_derivatives_of_random_programs(steps: Any, seed: int) -> None:
    xs = tuple(wrap(x) for x in inputs(seed, np.dtype("float64"), special=False))
    testing.check_grads(scalar_of(steps), xs, order=2, rtol=1e-5, atol=1e-5)


@settings(max_examples=60)
@given(STEPS, st.integers(0, 50), st.integers(1, 7))
def test_vmap_of_grad_equals_a_loop(steps: Any, seed: int, batched: int) -> None:
    lanes = [inputs(seed, np.dtype("float64"), special=False) for _ in range(3)]
    args = [np.stack([lane[i] * (n + 1.0) for n, lane in enumerate(lanes)]) if batched >> i & 1
            else lanes[0][i] for i in range(3)]
    axes = tuple(0 if batched >> i & 1 else None for i in range(3))
    gradient = lf.grad(scalar_of(steps), argnums=(0, 1, 2))
    testing.check_batch(gradient, [wrap(a) for a in args], in_axes=axes, rtol=1e-8, atol=1e-8)


@settings(max_examples=60)
@given(STEPS, st.integers(0, 50))
def test_compositions_agree_on_random_programs(steps: Any, seed: int) -> None:
    xs = [wrap(x) for x in inputs(seed, np.dtype("float64"), special=False)]
    every = (0, 1, 2)
    f, nested = scalar_of(steps), scalar_of(steps, nest=True)
    want = lf.grad(f, every)(*xs)
    versions = {
        "grad(jit)": lf.grad(lf.jit(f), every), "jit(grad)": lf.jit(lf.grad(f, every)),
        "grad(checkpoint)": lf.grad(lf.checkpoint(f), every),
        "grad of calls": lf.grad(nested, every),
        "jit(grad(checkpoint(jit)))": lf.jit(lf.grad(lf.checkpoint(lf.jit(f)), every)),
        "jacrev": lf.jacrev(f, every), "jacfwd": lf.jacfwd(f, every),
        "jit(jacfwd)": lf.jit(lf.jacfwd(nested, every)),
    }
    for name, version in versions.items():
        testing.assert_allclose(version(*xs), want, 1e-8, 1e-8, what=name)
