"""Programs: their text, their checks, their cost, and looking at a function without running it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.core.ir import Equation, Literal, Program, Var, close
from lucidfn.types import ArrayType

F32 = np.dtype("float32")


def text(s: str) -> str:
    return textwrap.dedent(s).strip()


def loss(params: Any, x: Any) -> Any:
    h = lnp.tanh(x @ params["w"] + params["b"])
    return lnp.sum(h * 2.0)


PARAMS = {"w": lnp.ones((3, 2)), "b": lnp.zeros(2)}
X = lnp.ones((4, 3))


# ------------------------------------------------------------------ printing

def test_text_of_a_small_program() -> None:
    assert str(lf.make_ir(loss)(PARAMS, X)) == text("""
        program(a:float32[2], b:float32[3,2], c:float32[4,3])
          d:float32[4,2] = dot_general[contract=((1,),(0,)) batch=((),())] c b
          e:float32[4,2] = add d a
          f:float32[4,2] = tanh e
          g:float32[4,2] = mul f 2.0
          h:float32[]    = reduce_sum[axes=(0,1)] g
          return h
    """)


def test_text_of_a_gradient() -> None:
    f = lambda x: lnp.sum(lnp.sin(x))
    assert str(lf.make_ir(lf.grad(f))(lnp.ones(3))) == text("""
        program(a:float32[3])
          b:float32[3] = sin a
          c:float32[3] = cos a
          d:float32[]  = reduce_sum[axes=(0,)] b
          e:float32[]  = full[shape=() dtype=float32 value=1.0]
          f:float32[3] = broadcast_to[shape=(3,)] e
          g:float32[3] = mul f c
          return g
    """)


def test_text_of_a_nested_program() -> None:
    @lf.jit
    def double(x: Any) -> Any:
        return x * 2.0

    program = lf.make_ir(lambda x: double(x) + x)(lnp.ones(3))
    name = double.__qualname__
    assert str(program) == text(f"""
        program(a:float32[3])
          b:float32[3] = call[name={name!r}] a
              program: program(a:float32[3])
                b:float32[3] = mul a 2.0
                return b
          c:float32[3] = add b a
          return c
    """)


def test_several_outputs_constants_and_literals() -> None:
    w = lnp.ones(3)
    program = lf.make_ir(lambda x: (x * w, lnp.sort(x)))(X[0])
    assert str(program) == text("""
        program(a:float32[3], b:float32[3])
          c:float32[3] = mul b a
          d:float32[3] = sort[axis=0 num_keys=1] b
          return c, d
    """)
    assert len(program.consts) == 1 and len(program.inputs) == 1


def test_weak_types_are_marked() -> None:
    program = lf.make_ir(lambda x: x * 2.0)(1.0)
    assert str(program).splitlines()[0] == "program(a:float32*[])"


def test_lines_of_the_user() -> None:
    text = lf.make_ir(loss)(PARAMS, X).to_text(sources=True).splitlines()[1:-1]
    rows = [row for row in text if " = " in row]
    assert any(row.startswith("  # a is params") for row in text)  # and the user's names
    first = loss.__code__.co_firstlineno
    assert [row.split("# ")[1] for row in rows] == [
        f"test_ir.py:{first + n}" for n in (1, 1, 1, 2, 2)]
    gradient = lf.make_ir(lf.grad(loss))(PARAMS, X)
    for eqn in gradient.equations:  # backward equations too: they inherit the line
        seed = eqn.primitive is ops.full
        assert seed or (eqn.source.code is loss.__code__ and eqn.source.line - first in (1, 2)), eqn


def test_html_for_notebooks() -> None:
    @lf.jit
    def inner(x: Any) -> Any:
        return x < 2.0

    html = lf.make_ir(lambda x: inner(x))(X)._repr_html_()
    assert html.startswith("<table") and html.endswith("</table>")
    assert html.count("<tr>") == html.count("</tr>")
    assert "float32[4,3]" in html and "<details>" in html
    assert "lt" in html and "<lambda>" not in html


# ------------------------------------------------------------------ checking

def small() -> Program:
    return lf.make_ir(lambda x: lnp.sin(x) + lnp.cos(x))(lnp.ones(3))


def swap_order(p: Program) -> Program:
    return p.replace(equations=p.equations[::-1])


def twice_defined(p: Program) -> Program:
    return p.replace(equations=[*p.equations, p.equations[0]])


def wrong_type(p: Program) -> Program:
    last = p.equations[-1]
    out = Var(ArrayType((2,), F32))
    return p.replace(equations=[*p.equations[:-1], Equation(
        last.primitive, last.inputs, last.params, [out], last.source)], outputs=[out])


def unknown_output(p: Program) -> Program:
    return p.replace(outputs=[Var(ArrayType((3,), F32))])


def input_twice(p: Program) -> Program:
    return p.replace(inputs=[*p.inputs, p.inputs[0]])


def wrong_operands(p: Program) -> Program:
    eqn = Equation(ops.dot_general, [p.inputs[0], p.inputs[0]],
                   {"contract": ((0,), (1,)), "batch": ((), ())}, [Var(ArrayType((), F32))])
    return p.replace(equations=[*p.equations, eqn])


@pytest.mark.parametrize(("corrupt", "message"), [
    (swap_order, r"equation 0 \(add, test_ir.py:\d+\) reads a variable that is not defined before"),
    (twice_defined, r"equation 3 \(sin, .* defines a variable a second time"),
    (wrong_type, r"equation 2 \(add, .*float32\[2\], its rule says float32\[3\]"),
    (unknown_output, "an output is not defined"),
    (input_twice, "a variable is an input twice"),
])
def test_check_finds_corrupt_programs(corrupt: Callable[[Program], Program], message: str) -> None:
    program = small().check()
    with pytest.raises(TypeError, match=message):
        corrupt(program).check()


def test_check_runs_the_type_rules() -> None:
    with pytest.raises((TypeError, IndexError)):
        wrong_operands(small()).check()


def test_check_looks_into_nested_programs() -> None:
    inner = lf.jit(lambda x: lnp.sin(x) + lnp.cos(x))
    program = lf.make_ir(lambda x: inner(x))(lnp.ones(3)).check()
    (call,) = program.equations
    call.params = {**call.params, "program": swap_order(call.params["program"])}
    with pytest.raises(TypeError, match="not defined before"):
        program.check()


# ------------------------------------------------------------------ programs as functions

def test_a_program_is_a_function() -> None:
    program = lf.make_ir(lambda x, y: (x + y, x * 2.0))(lnp.ones(3), lnp.ones(3))
    x, y = np.arange(3.0, dtype=F32), np.ones(3, F32)
    total, double = program(x, y)
    np.testing.assert_array_equal(total, x + y)
    np.testing.assert_array_equal(double, x * 2)
    with pytest.raises(ValueError):
        program(x)


def test_constants_become_inputs() -> None:
    w = np.arange(3.0, dtype=F32)
    program = lf.make_ir(lambda x: x * w)(lnp.ones(3))
    values, closed = close(program)
    assert len(values) == len(program.consts) == 1 and not closed.consts
    np.testing.assert_array_equal(closed.check()(*values, np.ones(3, F32))[0], w)


def test_atoms() -> None:
    assert repr(Literal(2.0)) == "Literal(2.0)" and Literal(True).type.dtype == bool
    assert repr(Var(ArrayType((2,), F32))) == "Var(float32[2])"
    assert Literal(1).type.weak and Literal(1).type.shape == ()


# ------------------------------------------------------------------ cost

def test_cost_counts_flops_and_bytes() -> None:
    cost = lf.make_ir(lambda x, y: lnp.sum(x @ y))(lnp.ones((4, 3)), lnp.ones((3, 2))).cost()
    assert [row.equation.primitive.name for row in cost.rows] == ["dot_general", "reduce_sum"]
    assert cost.rows[0].flops == 2 * 4 * 3 * 2
    assert cost.rows[0].bytes == 4 * (12 + 6 + 8)
    assert cost.flops == 48 + 8 and cost.bytes == cost.rows[0].bytes + 4 * (8 + 1)
    assert "dot_general" in str(cost).splitlines()[1] and "in all" in str(cost)


def test_cost_of_nested_programs() -> None:
    f = lambda x: lnp.sum(x @ x)
    plain = lf.make_ir(f)(lnp.ones((8, 8))).cost()
    nested = lf.make_ir(lambda x: lf.jit(f)(x))(lnp.ones((8, 8))).cost()
    assert nested.flops == plain.flops == 2 * 8 ** 3 + 64
    gradient = lf.make_ir(lf.grad(f))(lnp.ones((8, 8))).cost()
    assert gradient.flops > 2.5 * plain.flops


# ------------------------------------------------------------------ without running

def test_make_ir_and_eval_shape_compute_nothing() -> None:
    big = lf.ShapeDtypeStruct((100_000, 100_000), "float32")
    out = lf.eval_shape(lambda x: {"s": lnp.sum(x @ x, axis=0), "n": None, "k": "text"}, big)
    assert out == {"s": lf.ShapeDtypeStruct((100_000,), "float32"), "n": None, "k": "text"}
    program, shapes = lf.make_ir(lambda x: (x.T, 1.0), return_shape=True)(big)
    assert shapes[0].shape == (100_000, 100_000) and shapes[1].weak
    assert program.input_types == [big.type]


def test_make_ir_takes_trees_keywords_and_static_arguments() -> None:
    program = lf.make_ir(loss)(PARAMS, x=X)
    assert program.names == ("params['b']", "params['w']", "x")
    f = lambda x, how: lnp.sum(x) if how == "sum" else lnp.prod(x)
    assert "reduce_prod" in str(lf.make_ir(f, static_argnums=1)(X, "prod"))
    assert "reduce_sum" in str(lf.make_ir(f, static_argnums=(-1,))(X, "sum"))
    assert lf.make_jaxpr is lf.make_ir


def test_programs_know_their_types() -> None:
    program = lf.make_ir(lambda x: (x, lnp.argmax(x)))(lnp.ones(3))
    assert [str(t) for t in program.output_types] == ["float32[3]", "int32[]"]
    assert program.replace(outputs=program.outputs[:1]).output_types == program.output_types[:1]
