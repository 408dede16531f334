"""Dtypes: the promotion lattice as a table, weak types, defaults, what is no dtype."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.types import (
    ArrayType,
    ShapeDtypeStruct,
    as_dtype,
    broadcast_shapes,
    default_dtype_of,
    promote,
    promote_types,
    result_type,
)

# Row and column meet at the dtype of their sum; * is weak. This is the lattice that JAX documents,
# but for uint32 and a signed integer: 64 bits only where they were given or are the default.
TABLE = """
         b1 u1 u2 u4 u8 i1 i2 i4 i8 bf f2 f4 f8 c8 c16 i* f* c*
    b1   b1   u1   u2   u4   u8   i1   i2   i4   i8   bf   f2   f4   f8   c8   c16  i*   f*   c*
    u1   u1   u1   u2   u4   u8   i2   i2   i4   i8   bf   f2   f4   f8   c8   c16  u1   f*   c*
    u2   u2   u2   u2   u4   u8   i4   i4   i4   i8   bf   f2   f4   f8   c8   c16  u2   f*   c*
    u4   u4   u4   u4   u4   u8   i4   i4   i4   i8   bf   f2   f4   f8   c8   c16  u4   f*   c*
    u8   u8   u8   u8   u8   u8   f*   f*   f*   f*   bf   f2   f4   f8   c8   c16  u8   f*   c*
    i1   i1   i2   i4   i4   f*   i1   i2   i4   i8   bf   f2   f4   f8   c8   c16  i1   f*   c*
    i2   i2   i2   i4   i4   f*   i2   i2   i4   i8   bf   f2   f4   f8   c8   c16  i2   f*   c*
    i4   i4   i4   i4   i4   f*   i4   i4   i4   i8   bf   f2   f4   f8   c8   c16  i4   f*   c*
    i8   i8   i8   i8   i8   f*   i8   i8   i8   i8   bf   f2   f4   f8   c8   c16  i8   f*   c*
    bf   bf   bf   bf   bf   bf   bf   bf   bf   bf   bf   f4   f4   f8   c8   c16  bf   bf   c8
    f2   f2   f2   f2   f2   f2   f2   f2   f2   f2   f4   f2   f4   f8   c8   c16  f2   f2   c8
    f4   f4   f4   f4   f4   f4   f4   f4   f4   f4   f4   f4   f4   f8   c8   c16  f4   f4   c8
    f8   f8   f8   f8   f8   f8   f8   f8   f8   f8   f8   f8   f8   f8   c16  c16  f8   f8   c16
    c8   c8   c8   c8   c8   c8   c8   c8   c8   c8   c8   c8   c8   c16  c8   c16  c8   c8   c8
    c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16  c16
    i*   i*   u1   u2   u4   u8   i1   i2   i4   i8   bf   f2   f4   f8   c8   c16  i*   f*   c*
    f*   f*   f*   f*   f*   f*   f*   f*   f*   f*   bf   f2   f4   f8   c8   c16  f*   f*   c*
    c*   c*   c*   c*   c*   c*   c*   c*   c*   c*   c8   c8   c8   c16  c8   c16  c*   c*   c*
"""
NAMES, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
PAIRS = [(row[0], column, want) for row in ROWS
         for column, want in zip(NAMES, row[1:], strict=True)]
SCALAR = {"i*": 2, "f*": 2.5, "c*": 2j}


def dtype_of(name: str) -> np.dtype:
    return np.dtype({"b1": bool, "bf": ml_dtypes.bfloat16}.get(name, name))


def type_of(name: str) -> ArrayType:
    if name in SCALAR:
        return ArrayType((), default_dtype_of(type(SCALAR[name])), True)
    return ArrayType((), dtype_of(name))


def operand(name: str) -> Any:
    return SCALAR[name] if name in SCALAR else lnp.ones((2,), dtype=dtype_of(name))


def name_of(t: Any) -> str:
    dtype, weak = np.dtype(t.dtype), t.weak
    if weak:
        return {"i": "i*", "f": "f*", "c": "c*"}[dtype.kind]
    return {"bool": "b1", "bfloat16": "bf"}.get(dtype.name, dtype.str[1:])


def test_the_table_is_symmetric_and_whole() -> None:
    found = {(a, b): want for a, b, want in PAIRS}
    assert len(found) == len(NAMES) ** 2
    assert all(found[a, b] == found[b, a] for a, b in found)


@pytest.mark.parametrize(("a", "b", "want"), PAIRS)
def test_promotion(a: str, b: str, want: str) -> None:
    dtype, weak = promote(type_of(a), type_of(b))
    assert name_of(ArrayType((), dtype, weak)) == want
    assert promote_types(dtype_of(a) if a not in SCALAR else type(SCALAR[a]),
                         dtype_of(b) if b not in SCALAR else type(SCALAR[b])) == dtype


@pytest.mark.parametrize(("a", "b", "want"), PAIRS)
def test_arrays_promote_as_the_types_do(a: str, b: str, want: str) -> None:
    if a in SCALAR and b in SCALAR:
        out = lnp.add(operand(a), operand(b))
    else:
        out = operand(a) + operand(b)
        assert name_of(lf.make_ir(lambda x, y: x + y)(operand(a), operand(b)).outputs[0].type) == \
            want or want.endswith("*")
        if a == b or a in SCALAR:
            assert name_of(lf.jit(lambda x, y: x + y)(operand(a), operand(b))) == want
    assert name_of(out) == want


def test_promotion_is_associative_in_the_lattice() -> None:
    strong = [n for n in NAMES if n not in SCALAR]
    for a, b, c in itertools.product(strong, repeat=3):
        x, y, z = type_of(a), type_of(b), type_of(c)
        left = promote(ArrayType((), *promote(x, y)), z)
        right = promote(x, ArrayType((), *promote(y, z)))
        assert left == right, (a, b, c)
        assert result_type([x, y, z]) == left


def test_defaults() -> None:
    assert default_dtype_of(float) == np.float32 and default_dtype_of(int) == np.int32
    assert lnp.array([1.0]).dtype == np.float32 and lnp.arange(3).dtype == np.int32
    assert lnp.zeros(2).dtype == np.float32 and lnp.array(1j).dtype == np.complex64
    assert lnp.array(True).dtype == bool
    with lf.default_dtype("float64"):
        assert lnp.array([1.0]).dtype == np.float64 and lnp.zeros(2).dtype == np.float64
        assert lnp.array(1j).dtype == np.complex128
    assert lnp.zeros(2).dtype == np.float32


def test_explicit_wide_dtypes_are_honoured() -> None:
    assert lnp.ones(2, dtype="float64").dtype == np.float64
    assert lnp.asarray(np.ones(2)).dtype == np.float64
    assert lnp.sin(np.ones(2)).dtype == np.float64
    assert lnp.array([1, 2], dtype="int64").dtype == np.int64
    assert (lnp.ones(2) + np.ones(2)).dtype == np.float64


def test_numpy_scalars_are_weak() -> None:
    x = lnp.ones(2, dtype="float32")
    assert (x / np.sqrt(2.0)).dtype == np.float32
    assert (x * np.float64(2.0)).dtype == np.float32
    assert lf.typeof(np.float64(2.0)).weak
    assert (x.astype("bfloat16") * np.float64(2.0)).dtype == ml_dtypes.bfloat16


ONES = np.ones(2, "float32")
OF_A_WEAK_SCALAR = {
    "identity": lambda a: a, "sin": lnp.sin, "a * 2": lambda a: a * 2, "a ** 2": lambda a: a ** 2,
    "a + np.float64": lambda a: a + np.float64(2), "reshape": lambda a: lnp.reshape(a, (1,)),
    "maximum": lambda a: lnp.maximum(a, 2), "where": lambda a: lnp.where(a > 0, a, 1.0),
    "astype": lambda a: a.astype("float32"), "asarray": lambda a: lnp.asarray(a, "float32"),
    "float32": lambda a: lnp.float32(a), "array": lambda a: lnp.array(a, dtype="float32"),
    "full_like": lambda a: lnp.full_like(ONES, a), "full": lambda a: lnp.full(2, a, "float32"),
    "heaviside": lambda a: lnp.heaviside(ONES, a), "x * a": lambda a: lnp.asarray(ONES) * a,
    "stack": lambda a: lnp.stack([ONES[0], a]), "sum": lnp.sum, "mean": lnp.mean,
    "compare": lambda a: a > 0, "argmax": lambda a: lnp.argmax(lnp.stack([a, a])),
}


@pytest.mark.parametrize("name", OF_A_WEAK_SCALAR)
def test_weakness_is_the_same_under_every_transformation(name: str) -> None:
    f = OF_A_WEAK_SCALAR[name]
    want = lf.typeof(f(lnp.asarray(2.0)))
    assert lf.eval_shape(f, 2.0).type == want
    assert lf.typeof(lf.jit(f)(2.0)) == want
    assert lf.typeof(lf.jvp(f, (2.0,), (1.0,))[0]) == want
    types: list[Any] = []
    lf.vmap(lambda a: types.append(lf.typeof(f(a))) or a)(lnp.stack([lnp.asarray(2.0)] * 3))
    lf.grad(lambda a: types.append(lf.typeof(f(a))) or a * 1.0)(2.0)
    assert types == [want, want]


def test_as_dtype() -> None:
    assert as_dtype("bfloat16") == np.dtype(ml_dtypes.bfloat16) == as_dtype("bf16")
    assert as_dtype(float) == np.float32 and as_dtype(int) == np.int32
    assert as_dtype(np.float64) == np.float64 and as_dtype(lnp.ones(1)) == np.float32
    with pytest.raises(TypeError, match="'float99' is not a dtype"):
        as_dtype("float99")


def test_integers_that_do_not_fit() -> None:
    with pytest.raises(OverflowError, match=r"300 does not fit uint8 \[0, 255\]"):
        lnp.ones(2, dtype="uint8") + 300


def test_strict_promotion() -> None:
    with lf.config.override(numpy_dtype_promotion="strict"):
        with pytest.raises(TypeError, match=r"astype\('float64'\)"):
            lnp.ones(2, dtype="float32") + lnp.ones(2, dtype="float64")
        assert (lnp.ones(2) * 2.0).dtype == np.float32
        with pytest.raises(TypeError, match="strict"):
            lnp.ones(2, dtype="int32") * 2.5


def test_array_types() -> None:
    t = ArrayType((2, 3), np.dtype("float32"))
    assert (t.ndim, t.size, t.nbytes, str(t)) == (2, 6, 24, "float32[2,3]")
    assert str(t._replace(shape=(), weak=True)) == "float32*[]"
    s = ShapeDtypeStruct((2, 3), "float32")
    assert s.type == t and s == ShapeDtypeStruct([2, 3], np.float32) and hash(s) == hash(t)
    assert s != ShapeDtypeStruct((2, 3), "float64") and s.ndim == 2 and s.size == 6


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (4,)), ((0, 3), (1, 3)),
                                    ((5, 1, 2), (4, 1), ()), ((1,), (0,))])
def test_broadcast_shapes(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert broadcast_shapes(*shapes) == np.broadcast_shapes(*shapes)


def test_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(ValueError, match="must broadcast"):
        broadcast_shapes((2,), (3,))


@pytest.mark.peers
def test_the_table_is_that_of_jax() -> None:
    import jax
    import jax.numpy as jnp

    # With 64 bits allowed there, our defaults are 64 bits wide too.
    with jax.enable_x64(True), lf.config.override(default_int="int64", default_float="float64"):
        make = lambda n: jnp.asarray(SCALAR[n]) if n in SCALAR else jnp.zeros((), dtype_of(n))
        for a, b, _ in PAIRS:
            out = jax.eval_shape(jnp.add, make(a), make(b))
            ours = ArrayType((), *promote(type_of(a), type_of(b)))
            assert (ours.dtype, ours.weak) == (np.dtype(out.dtype), out.weak_type), (a, b)
            if a not in SCALAR and b not in SCALAR:
                assert jnp.promote_types(dtype_of(a), dtype_of(b)) == promote_types(
                    dtype_of(a), dtype_of(b)), (a, b)
    for a, b, _ in PAIRS:  # and with 32 bits, where a Python scalar beside float64 does not exist
        if "8" not in (a + b).replace("c8", "") and "c16" not in (a, b):
            out = jax.eval_shape(jnp.add, make(a), make(b))
            ours = ArrayType((), *promote(type_of(a), type_of(b)))
            assert (ours.dtype, ours.weak) == (np.dtype(out.dtype), out.weak_type), (a, b)


def test_float64_arrays_are_honoured_with_one_warning_a_line() -> None:
    x, wide = lnp.ones(3), np.ones(3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert (x * wide).dtype == np.float64
        assert (wide + x).dtype == np.float64
        assert (x * np.float64(2.0)).dtype == np.float32  # a NumPy scalar is weak, as 2.0 is
        assert (x / np.sqrt(3)).dtype == np.float32
        assert (lnp.asarray(wide) * 2.0).dtype == np.float64  # no float32 array to widen
        with lf.default_dtype("float64"):
            assert (x * wide).dtype == np.float64
    messages = [str(w.message) for w in caught]
    assert len(messages) == 2
    assert "at test_types.py:" in messages[0] and ".astype('float32')" in messages[0]
