"""Passes: what they remove, and what they must leave alone because IEEE arithmetic says so."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import ops, passes
from lucidfn.core.record import record
from lucidfn.types import ArrayType

F32 = np.dtype("float32")
SPECIAL = np.float32([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-40, 3e38])


def program_of(f, *shapes, dtype=F32):
    return record(lambda *xs: [f(*xs)], [ArrayType(s, dtype) for s in shapes])


def names(program):
    return [e.primitive.name for e in program.equations]


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_array_equal(a, b)
    number = ~np.isnan(b)  # the sign of NaN has no meaning
    np.testing.assert_array_equal(np.signbit(a)[number], np.signbit(b)[number])


def t(x):
    return ops.permute(x, order=(1, 0))


def turned(x, shape, order, back):
    return ops.reshape(ops.permute(ops.reshape(x, shape=shape), order=order), shape=back)


def dot(x, y, x_axis=1, y_axis=0):
    return ops.dot_general(x, y, contract=((x_axis,), (y_axis,)), batch=((), ()))


def wide(x):
    return ops.broadcast_to(ops.reshape(x, shape=(1, 3, 3)), shape=(2, 3, 3))


CANCELLED = {  # Lucid's backward fusions, and their like, where they are exact
    "neg neg": (lambda x: ops.neg(ops.neg(x)), []),
    "transpose twice": (lambda x: t(t(x)), []),
    "reshape twice": (lambda x: ops.reshape(ops.reshape(x, shape=(9,)), shape=(1, 9)),
                      ["reshape"]),
    "reshape back": (lambda x: ops.reshape(ops.reshape(x, shape=(9,)), shape=(3, 3)), []),
    "flip twice": (lambda x: ops.flip(ops.flip(x, axes=(0,)), axes=(0,)), []),
    "times one": (lambda x: ops.mul(x, 1.0), []),
    "minus negated": (lambda x: ops.sub(x, ops.neg(x)), ["add"]),
    "negated plus": (lambda x: ops.add(ops.neg(x), x), ["sub"]),
    "negated times": (lambda x: ops.mul(ops.neg(x), 3.0), ["mul"]),
    "times negated": (lambda x: ops.neg(ops.mul(x, 3.0)), ["mul"]),
    "over negated": (lambda x: ops.neg(ops.div(x, 3.0)), ["div"]),
    "over a power of two": (lambda x: ops.div(x, -256.0), ["mul"]),
    "over a third": (lambda x: ops.div(x, 1 / 3), ["div"]),
    "turned among ones": (lambda x: turned(x, (3, 1, 3), (1, 2, 0), (3, 3)), ["permute"]),
    "turned only ones": (lambda x: turned(x, (3, 1, 3), (1, 0, 2), (3, 3)), []),
    "turned with a new one": (lambda x: turned(x, (3, 1, 3), (2, 1, 0), (3, 1, 3)),
                              ["reshape", "permute"]),
    "turned and merged": (lambda x: turned(x, (3, 1, 3), (2, 1, 0), (9,)),
                          ["reshape", "permute", "reshape"]),
    "turned for a product": (lambda x: dot(t(x), t(x)), ["dot_general"]),
    "turned product": (lambda x: t(dot(x, t(x))), ["dot_general"]),
    "broadcast and turned": (lambda x: ops.reshape(wide(x), shape=(2, 1, 3, 3)),
                             ["broadcast_to"]),
    "broadcast and joined": (lambda x: ops.reshape(wide(x), shape=(6, 3)),
                             ["broadcast_to", "reshape"]),
    "broadcast of a row": (lambda x: ops.mul(x, ops.reshape(ops.broadcast_to(
        ops.reduce_max(x, axes=(0,)), shape=(1, 3, 3)), shape=(3, 3))), ["reduce_max", "mul"]),
    "narrow work": (lambda x: ops.mul(wide(ops.exp(ops.neg(x))), 2.0),
                    ["neg", "exp", "mul", "broadcast_to"]),
    "narrow work, of two": (lambda x: ops.add(ops.sin(wide(x)), ops.cos(wide(x))),
                            ["sin", "cos", "add", "broadcast_to"]),
    "over one": (lambda x: ops.div(x, 1.0), []),
    "minus zero": (lambda x: ops.sub(x, 0.0), []),
    "plus negated": (lambda x: ops.add(x, ops.neg(x)), ["sub"]),
    "same dtype": (lambda x: ops.convert(x, dtype=F32), []),
    "wide and back": (lambda x: ops.convert(ops.convert(x, dtype=np.dtype("float64")), dtype=F32),
                      []),
    "whole slice": (lambda x: ops.slice_(x, start=(0, 0), stop=(3, 3), stride=(1, 1)), []),
    "no padding": (lambda x: ops.pad(x, 0.0, widths=((0, 0, 0),) * 2), []),
    "sum over nothing": (lambda x: ops.reduce_sum(x, axes=()), []),
    "stop_gradient": (lambda x: ops.stop_gradient(x), []),
    "broadcast operand": (lambda x: ops.mul(x, ops.broadcast_to(ops.reduce_sum(x, axes=(0, 1)),
                                                                shape=(3, 3))),
                          ["reduce_sum", "mul"]),
    "equal expressions": (lambda x: ops.add(ops.sin(x), ops.sin(x)), ["sin", "add"]),
    "dead": (lambda x: (ops.exp(x), ops.sin(x))[1], ["sin"]),
    "constants": (lambda x: ops.mul(x, ops.add(ops.full(shape=(), dtype=F32, value=0.5), 0.5)), []),
}


@pytest.mark.parametrize("case", CANCELLED)
def test_cancelled(case):
    f, left = CANCELLED[case]
    program = program_of(f, (3, 3))
    optimized = passes.optimize(program).check()
    assert names(optimized) == left
    with np.errstate(all="ignore"):
        same_bits(optimized(SPECIAL.reshape(3, 3))[0], f(SPECIAL.reshape(3, 3)))


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_powers_of_two(dtype):
    """Division by one is multiplication by its inverse, as far as the dtype has both."""
    dtype = np.dtype(dtype)
    bits = np.random.default_rng(0).bytes(4096 * dtype.itemsize)
    x = np.frombuffer(bits, dtype)
    for k in (-127, -101, -25, -15, -14, -1, 3, 14, 15, 17, 24, 100, 101, 127):
        program = program_of(lambda x, k=k: ops.div(x, 2.0 ** k), x.shape, dtype=dtype)
        with np.errstate(all="ignore"):
            a, b = passes.optimize(program)(x)[0], program(x)[0]
        number = ~np.isnan(b)
        assert (a[number].view(f"u{dtype.itemsize}") == b[number].view(f"u{dtype.itemsize}")).all()


def test_a_turned_product_that_others_read_stays():
    """Swapped, it would be computed twice."""
    def f(x):
        y = dot(x, x)
        return ops.add(t(y), y)
    assert names(passes.optimize(program_of(f, (3, 3)))) == ["dot_general", "permute", "add"]


def test_batched_products_absorb_permutes():
    """Heads of attention: axes (batch, time, head, width)."""
    heads = lambda x: ops.permute(x, order=(0, 2, 1, 3))

    def f(q, k):
        return ops.dot_general(heads(q), heads(k), contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    program = program_of(f, (2, 5, 3, 4), (2, 5, 3, 4))
    optimized = passes.optimize(program).check()
    assert names(optimized) == ["dot_general"]
    q, k = np.random.default_rng(0).normal(size=(2, 2, 5, 3, 4)).astype("float32")
    same_bits(optimized(q, k)[0], program(q, k)[0])


KEPT = {  # rewrites that look right and are not: NaN, inf, signed zeros, rounding
    "plus zero": lambda x: ops.add(x, 0.0),
    "times zero": lambda x: ops.mul(x, 0.0),
    "minus itself": lambda x: ops.sub(x, x),
    "over itself": lambda x: ops.div(x, x),
    "log exp": lambda x: ops.log(ops.exp(x)),
    "exp log": lambda x: ops.exp(ops.log(x)),
    "one over one over": lambda x: ops.div(1.0, ops.div(1.0, x)),
    "narrow and back": lambda x: ops.convert(ops.convert(x, dtype=np.dtype("float16")), dtype=F32),
    "to integer and back": lambda x: ops.convert(ops.convert(x, dtype=np.dtype("int32")),
                                                 dtype=F32),
    "sqrt of square": lambda x: ops.sqrt(ops.square(x)),
}


@pytest.mark.parametrize("case", KEPT)
def test_kept(case):
    program = program_of(KEPT[case], (9,))
    optimized = passes.optimize(program)
    assert len(optimized.equations) == len(program.equations)
    if "integer" not in case:
        with np.errstate(all="ignore"):
            same_bits(optimized(SPECIAL)[0], program(SPECIAL)[0])


def test_fast_math_is_asked_for():
    program = program_of(lambda x: ops.log(ops.exp(x)), (3,))
    with lf.config.override(fast_math=True):
        assert names(passes.optimize(program)) == []


def test_signed_zeros_are_different_constants():
    def f(x):
        return ops.add(ops.div(x, 0.0), ops.div(x, -0.0))
    optimized = passes.optimize(program_of(f, (2,)))
    assert names(optimized).count("div") == 2


def test_captured_arrays_are_never_folded():
    w = np.ones((), "float32")
    program = record(lambda x: [ops.mul(x, ops.add(w, 1.0))], [ArrayType((3,), F32)])
    assert names(passes.fold(program)) == ["add", "mul"]


def test_inlining_keeps_recomputation_apart():
    """Merged with the forward pass, a checkpoint would keep what it exists to drop."""
    def f(x):
        return lnp.sum(lnp.sin(lnp.sin(x)))
    x = lnp.asarray(np.float32([0.3, 0.5]))
    program = lf.make_ir(lf.grad(lf.checkpoint(f)))(x)
    assert "recompute" in names(passes.optimize(program))


def test_passes_keep_lines():
    program = passes.optimize(lf.make_ir(lf.grad(lambda x: lnp.tanh(x) * 2.0))(1.0))
    assert all(e.source is not None and "test_passes" in str(e.source) for e in program.equations)


def test_optimize_is_linear_in_the_number_of_equations():
    def f(x):
        for _ in range(20_000):
            x = ops.sin(x)
        return x
    program = program_of(f, (2,))
    assert len(passes.optimize(program).equations) == 20_000
