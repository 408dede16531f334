"""Passes: what they remove, and what they must leave alone because IEEE arithmetic says so."""

from __future__ import annotations

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
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    np.testing.assert_array_equal(np.signbit(np.asarray(a)), np.signbit(np.asarray(b)))


def t(x):
    return ops.permute(x, order=(1, 0))


CANCELLED = {  # Lucid's backward fusions, and their like, where they are exact
    "neg neg": (lambda x: ops.neg(ops.neg(x)), []),
    "transpose twice": (lambda x: t(t(x)), []),
    "reshape twice": (lambda x: ops.reshape(ops.reshape(x, shape=(9,)), shape=(1, 9)),
                      ["reshape"]),
    "reshape back": (lambda x: ops.reshape(ops.reshape(x, shape=(9,)), shape=(3, 3)), []),
    "flip twice": (lambda x: ops.flip(ops.flip(x, axes=(0,)), axes=(0,)), []),
    "times one": (lambda x: ops.mul(x, 1.0), []),
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
    same_bits(optimized(SPECIAL.reshape(3, 3))[0], f(SPECIAL.reshape(3, 3)))


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
