"""Each primitive by its `rows` rule: blocks of rows, put together, are the whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from spec_base import DTYPES, KIND, Case, Spec, integers, normal
from specs import SPECS

from lucidfn import ops, testing
from lucidfn.backends.numpy.loops import block_program
from lucidfn.backends.numpy.spread import Phase, Rows, row_rule
from lucidfn.core.ir import Equation, Literal, Var
from lucidfn.core.primitive import ALL, Primitive, as_list
from lucidfn.core.trace import type_of

# ------------------------------------------------------------------ one primitive, by its rule

# Blocks by rows change only the order of sums, and the width of what LAPACK and BLAS are given.
ROUNDED = {"softmax", "dot_general", "conv", "solve", "triangular_solve", "cofactor", "pinv", "fft",
           "resample", "reduce_sum", "reduce_prod"}


def axis_patterns(args: list[Any]) -> Iterator[tuple[list[int | None], int]]:
    """(axis of each operand or None, number of rows): every way to cut some operands alike."""
    shapes = [np.shape(a) for a in args]
    for axes in itertools.product(*[[None, *range(len(s))] for s in shapes]):
        sizes = {s[a] for s, a in zip(shapes, axes, strict=True) if a is not None}
        if len(sizes) == 1 and (n := sizes.pop()) > 1:
            yield list(axes), n


def cut(x: Any, axis: int | None, lo: int, hi: int) -> Any:
    return x if axis is None else x[(slice(None),) * axis + (slice(lo, hi),)]


def run_in_blocks(eqn: Equation, args: list[Any], axes: list[int | None], result: Any, n: int,
                  ends: list[int]) -> list[Any]:
    """The outputs, from blocks that end at these rows."""
    variables = [a for a in eqn.inputs if type(a) is Var]
    axis = {a: x for a, x in zip(eqn.inputs, axes, strict=True) if x is not None}
    sums = set(eqn.outputs) if result == "add" else set()
    if result != "add":
        axis.update(dict.fromkeys(eqn.outputs, result))
    rows, phase = Rows(n, axis, {}, [], 0, 0), Phase([eqn], sums)
    values = dict(zip(variables, [a for a in args if isinstance(a, np.ndarray)], strict=True))
    parts = []
    for lo, hi in itertools.pairwise([0, *ends]):
        operands, program = block_program(phase, rows, eqn.outputs, hi - lo)
        program.check()
        blocks = [cut(values[v], a, lo, hi) for v, a in operands]
        for block, v in zip(blocks, program.inputs, strict=True):
            assert block.shape == v.type.shape
        outs = program(*blocks)
        for out, a in zip(outs, program.outputs, strict=True):
            assert (np.shape(out), out.dtype) == (a.type.shape, a.type.dtype)
            inferred = as_list(eqn.primitive, program.equations[0].primitive.infer(
                *[v.type for v in program.equations[0].inputs], **program.equations[0].params))
            assert [t[:2] for t in inferred] == [v.type[:2] for v in program.outputs]
        parts.append(outs)
    together = zip(*parts, strict=True)
    if result == "add":
        return [np.sum(np.stack(p), 0, dtype=p[0].dtype) for p in together]
    return [np.concatenate(p, result) for p in together]


# What the specs have no case of: every axis of theirs is padded; int32 labels.
FLOAT64, INT32 = np.dtype("float64"), np.dtype("int32")
MORE = [
    pytest.param(SPECS["pad"], Case(((4, 3), 0), {"widths": ((0, 0, 0), (1, 2, 1))}), FLOAT64,
                 id="pad-rows"),
    pytest.param(SPECS["pad"], Case(((2, 5), 1), {"widths": ((-1, 2, 0), (0, 0, 0))}), FLOAT64,
                 id="pad-columns"),
    pytest.param(SPECS["check_labels"], Case(((5,),), {"classes": 7}, domain=integers(0, 7)),
                 INT32, id="check_labels"),
    pytest.param(SPECS["dynamic_slice"], Case(((4, 5), (), ()), {"sizes": (4, 2)},
                                              domain=(normal, integers(0, 6))), FLOAT64,
                 id="dynamic_slice-rows"),
    pytest.param(SPECS["dynamic_update_slice"], Case(((4, 5), (4, 2), (), ()), {},
                                                     domain=(normal, normal, integers(0, 6))),
                 FLOAT64, id="dynamic_update_slice-rows"),
    pytest.param(SPECS["cholesky"], Case(((5, 2, 2),)), FLOAT64, id="cholesky-batch"),
    pytest.param(SPECS["solve"], Case(((5, 2, 2), (5, 2, 3))), FLOAT64, id="solve-batch"),
    pytest.param(SPECS["top_k"], Case(((5, 4),), {"k": 2}), FLOAT64, id="top_k-rows"),
    pytest.param(SPECS["split"], Case(((5, 4),), {"axis": 1, "sizes": (1, 0, 3)}), FLOAT64,
                 id="split-rows"),
    pytest.param(SPECS["scatter_add"], Case(
        ((5, 3), (2, 1), (2, 5)), {"axes": (1,), "mode": "drop"},
        domain=(normal, integers(-1, 5), normal)), FLOAT64, id="scatter_add-rows"),
]


def cases() -> list[Any]:
    wanted = [np.dtype(n) for n in ("float64", "float32", "int32", "bool", "complex128")]
    wanted.append(DTYPES["f"][-1])
    return [pytest.param(spec, case, dtype, id=f"{spec.name}-{number}-{case}-{dtype.name}")
            for spec in SPECS.values() for number, case in enumerate(spec.cases)
            for dtype in wanted if spec.takes(case, dtype)] + MORE


@pytest.mark.parametrize(("spec", "case", "dtype"), cases())
def test_blocks_of_rows_together_are_the_whole(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """What the rule of a primitive says of every way to cut its operands is true."""
    primitive, params = ALL[spec.name], spec.params_of(case, dtype)
    args = spec.operands(case, dtype)
    types = [type_of(a) for a in args]
    outs = as_list(primitive, primitive.infer(*types, **params))
    with np.errstate(all="ignore"):
        whole = as_list(primitive, primitive(*args, **params))
    taken = 0
    for axes, n in axis_patterns(args):
        eqn = Equation(primitive, [Var(t) if isinstance(a, np.ndarray) else Literal(a)
                                   for a, t in zip(args, types, strict=True)], params,
                       [Var(t) for t in outs], None)
        axis = {v: a for v, a in zip(eqn.inputs, axes, strict=True) if a is not None}
        result = row_rule(eqn, axis, n)
        if result is None:
            continue
        taken += 1
        if result != "add":
            keeps = {t.shape[result] for t in outs} == {n}
            assert keeps or primitive is ops.reshape, "a rule keeps the number of rows"
        for ends in ([*range(1, n + 1)], [*range(2, n, 2), n], [n - 1, n], [1, n]):
            with np.errstate(all="ignore"):
                got = run_in_blocks(eqn, args, axes, result, n, sorted(set(ends)))
            exact = result != "add" and spec.name not in ROUNDED
            for a, b in zip(got, whole, strict=True):
                where = f"{spec.name}, cut along {axes} -> {result}, blocks to {ends}"
                if exact or KIND.get(a.dtype) not in ("f", "c"):
                    np.testing.assert_array_equal(a, b, err_msg=where)
                else:
                    tol = 4 * testing.tolerance(a.dtype).value
                    size = float(np.max(np.abs(np.asarray(b, np.complex128)), initial=1.0))
                    testing.assert_allclose(a, np.asarray(b), tol, tol * size, what=where)
    assert taken or not any(case is m.values[1] for m in MORE), "a case here that is never cut"


# They have no operand to cut, or the planner knows them by itself.
NO_RULE = {"full", "iota", "reshape"}


def test_every_primitive_has_a_rule_for_rows() -> None:
    missing = {n for n in SPECS if type(ALL[n]).rows is Primitive.rows} - NO_RULE
    assert not missing, sorted(missing)
