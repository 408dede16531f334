"""Specs of the elementwise primitives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from spec_base import (
    KIND,
    Case,
    Point,
    Spec,
    above_one,
    apply_each,
    boolean,
    fractions,
    kinds,
    nonzero,
    normal,
    positive,
    unit,
)

UNARY = [Case(((2, 3),)), Case(((),)), Case(((0, 2),))]
BINARY = [Case(((2, 3), (2, 3))), Case(((2, 3), (3,))), Case(((), (2, 3))), Case(((2, 1), (1, 3))),
          Case(((), ())), Case(((0, 3), (1, 3))), Case(((2, 3), 2))]
EDGE = np.array([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e30, -1e30, 1e-30])
ONE = [(EDGE,)]
TWO = [(EDGE[:, None], EDGE[None, :])]


def unary(name: str, reference: Any, domain: Any = normal, accepts: str = "fc",
          **more: Any) -> Spec:
    return Spec(name, reference, UNARY, accepts, domain, special=more.pop("special", ONE), **more)


def binary(name: str, reference: Any, domain: Any = normal, accepts: str = "ifc",
           **more: Any) -> Spec:
    return Spec(name, reference, more.pop("cases", BINARY), accepts, domain,
                special=more.pop("special", TWO), **more)


def compare(name: str, reference: Any, accepts: str = "bif") -> Spec:
    return binary(name, reference, kinds(lambda rng, s: rng.integers(-2, 3, s) * 1.0), accepts,
                  diff=())


# ------------------------------------------------------------------ references

def trunc_divide(x: int, y: int) -> int:
    if y == 0:
        return -1
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def remainder(x: int, y: int) -> int:
    return x if y == 0 else x - y * trunc_divide(x, y)


def int_power(x: int, y: int) -> int:
    if y >= 0:
        return x ** y
    return {1: 1, -1: -1 if y % 2 else 1}.get(x, 0)


def divide(x: Any, y: Any) -> Any:
    return apply_each(trunc_divide)(*same(x, y)) if integral(x, y) else np.divide(x, y)


def rem(x: Any, y: Any) -> Any:
    return apply_each(remainder)(*same(x, y)) if integral(x, y) else np.fmod(x, y)


def power(x: Any, y: Any) -> Any:
    return apply_each(int_power)(*same(x, y)) if integral(x, y) else np.power(x, y)


def integral(*xs: Any) -> bool:
    return all(np.asarray(x).dtype.kind in "iu" for x in xs)


def same(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    dtype = x.dtype if isinstance(x, np.ndarray) else y.dtype
    return np.asarray(x, dtype), np.asarray(y, dtype)


def integer_pow(x: Any, *, n: int) -> Any:
    if x.dtype.kind in "iu":
        return apply_each(lambda v: int_power(v, n) if v or n >= 0 else -1)(x)
    return np.power(x, n) if KIND.get(x.dtype) == "c" else np.power(x, float(n))


def logistic(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def shift(how: str) -> Any:
    def reference(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        x, n = same(x, n)
        bits = x.dtype.itemsize * 8

        def one(value: int, by: int) -> int:
            by = by % (1 << bits)
            if how == "left":
                return 0 if by >= bits else value << by
            if how == "logical":
                return 0 if by >= bits else (value % (1 << bits)) >> by
            return value >> min(by, bits - 1)

        return apply_each(one)(x, n)
    return reference


def bit_count(x: np.ndarray) -> np.ndarray:
    bits = x.dtype.itemsize * 8
    return apply_each(lambda v: bin(v % (1 << bits)).count("1"))(x)


def leading_zeros(x: np.ndarray) -> np.ndarray:
    bits = x.dtype.itemsize * 8
    return apply_each(lambda v: bits - (v % (1 << bits)).bit_length())(x)


def convert(x: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    x = x.real if x.dtype.kind == "c" and dtype.kind not in "cb" else x
    if dtype.kind in "iu" and x.dtype.kind == "f":
        ends = np.iinfo(dtype)
        whole = [0 if math.isnan(v) else ends.max if v == math.inf else ends.min if v == -math.inf
                 else min(max(math.trunc(v), ends.min), ends.max) for v in x.ravel().tolist()]
        return np.array(whole, dtype).reshape(x.shape)
    return x.astype(dtype)


def clamp(lo: Any, x: Any, hi: Any) -> Any:
    return np.minimum(np.maximum(x, lo), hi)


SHIFTED = (normal, kinds(lambda rng, s: rng.integers(0, 9, s), low=-2, high=70))
SAME_WIDTH = {"float32": "int32", "int32": "float32", "float64": "int64", "int64": "float64",
              "uint8": "int8", "float16": "uint16", "bfloat16": "int16"}

SPECS = [
    binary("add", np.add, accepts="bifc"),
    binary("sub", np.subtract),
    unary("neg", np.negative, accepts="ifc"),
    binary("mul", np.multiply),
    binary("div", divide, nonzero, special=[*TWO, (
        np.array([7, -7, 7, -7, 5, -128, 0], "int8"), np.array([2, 2, -2, -2, 0, -1, 0], "int8"))]),
    Spec("select", np.where, [
        Case(((2, 3), (2, 3), (2, 3))), Case(((3,), (2, 3), (2, 1))), Case(((), (2, 3), (2, 3))),
        Case(((2, 3), (), (3,))), Case(((2, 3), (2, 3), 0)), Case(((2, 3), 1, (2, 3))),
        Case(((0, 3), (0, 3), (3,)))], "bifc", (boolean, normal, normal), diff=(1, 2),
        special=[(np.array([True, False, True, False]), np.array([math.nan, 1.0, -0.0, math.inf]),
                  np.array([1.0, math.nan, 0.0, -math.inf]))],
        points=[Point((np.array(True), 1.0, math.nan), (None, 1.0, 0.0)),
                Point((np.array(False), math.inf, 1.0), (None, 0.0, 1.0))]),
    unary("real", lambda x: x.real.copy(), accepts="c", special=[]),
    unary("imag", lambda x: x.imag.copy(), accepts="c", special=[]),
    binary("complex", lambda x, y: np.asarray(x) + 1j * np.asarray(y), accepts="f", special=[],
           only=("float32", "float64"), cases=[Case(c.operands, kinds="f") for c in BINARY[:6]]),
    unary("conj", np.conj, accepts="c", special=[]),
    unary("copy", np.array, accepts="bifc"),
    Spec("checkpoint_name", lambda x, *, name: np.array(x), [
        Case(((2, 3),), {"name": "x"}), Case(((),), {"name": "x"}), Case(((0,),), {"name": "x"})],
        "bifc"),
    unary("stop_gradient", np.array, accepts="bifc", diff=()),
    unary("exp", np.exp), unary("exp2", np.exp2), unary("expm1", np.expm1),
    unary("log", np.log, positive, points=[Point((0.0,), (math.inf,))]),
    unary("log1p", np.log1p, positive, points=[Point((-1.0,), (math.inf,))]),
    unary("sqrt", np.sqrt, positive, points=[Point((0.0,), (math.inf,))]),
    unary("rsqrt", lambda x: 1.0 / np.sqrt(x), positive, points=[Point((0.0,), (-math.inf,))]),
    unary("cbrt", np.cbrt, accepts="f", points=[Point((0.0,), (math.inf,))]),
    unary("square", np.square, accepts="ifc",
          special=[(np.array([math.nan, math.inf, -math.inf, 0.0, -0.0]),)]),
    Spec("integer_pow", integer_pow, [
        Case(((2, 3),), {"n": n}) for n in (0, 1, 2, 3, 7)] + [
        Case(((2, 3),), {"n": -2}, kinds="fc"), Case(((),), {"n": 3}), Case(((0,),), {"n": 3})],
        "ifc", nonzero, points=[Point((0.0,), (0.0,), {"n": 2}), Point((0.0,), (1.0,), {"n": 1}),
                                Point((0.0,), (0.0,), {"n": 0})]),
    binary("pow", power, positive, points=[
        Point((0.0, 2.0), (0.0, 0.0)), Point((0.0, 1.0), (1.0, 0.0)), Point((0.0, 0.0), (0.0, 0.0)),
        Point((-2.0, 3.0), (12.0, math.nan)), Point((0.0, 0.5), (math.inf, 0.0))],
        special=[(np.array([math.nan, 0.0, 0.0, math.inf, -math.inf, 2.0, -1.0]),
                  np.array([0.0, math.nan, -1.0, 0.0, 3.0, math.inf, 0.5])),
                 (np.array([2, 1, -1, -1, 0], "int32"), np.array([-1, -3, -3, -2, 0], "int32"))]),
    unary("logistic", logistic, special=[(EDGE[:7],)],
          points=[Point((np.array([-1000.0, 1000.0, -math.inf]),), (np.zeros(3),))]),
    binary("logaddexp", np.logaddexp, accepts="f", points=[
        Point((0.0, 0.0), (0.5, 0.5)), Point((math.inf, math.inf), (0.5, 0.5)),
        Point((-math.inf, 1.0), (0.0, 1.0))]),
    unary("sin", np.sin, special=[(EDGE[:7],)]), unary("cos", np.cos, special=[(EDGE[:7],)]),
    unary("tan", np.tan, unit, special=[(EDGE[:7],)]),
    unary("asin", np.arcsin, unit, points=[Point((1.0,), (math.inf,))]),
    unary("acos", np.arccos, unit), unary("atan", np.arctan, unit),
    binary("atan2", np.arctan2, accepts="f"),
    unary("sinh", np.sinh), unary("cosh", np.cosh), unary("tanh", np.tanh,
          points=[Point((np.array([-1000.0, math.inf]),), (np.zeros(2),))]),
    unary("asinh", np.arcsinh, unit), unary("acosh", np.arccosh, above_one),
    unary("atanh", np.arctanh, unit),
    binary("max", np.maximum, accepts="bif", points=[Point((1.0, 1.0), (0.5, 0.5)),
                                                     Point((1.0, 2.0), (0.0, 1.0))]),
    binary("min", np.minimum, accepts="bif", points=[Point((1.0, 1.0), (0.5, 0.5))]),
    unary("relu", lambda x: np.maximum(x, 0.0), accepts="f", points=[
        Point((np.array([-1.0, 0.0, -0.0, 2.0]),), (np.array([0.0, 0.0, 0.0, 1.0]),))]),
    Spec("fma", lambda x, y, z: x * y + z, [
        Case(((2, 3), (2, 3), (2, 3))), Case(((), (2, 3), ())), Case(((3,), (2, 3), (2, 1))),
        Case((-0.5, (2, 3), 0.5)), Case(((), (0,), ()))], "f", normal),
    Spec("clamp", clamp, [
        Case(((2, 3), (2, 3), (2, 3))), Case(((), (2, 3), ())), Case(((3,), (2, 3), (2, 1))),
        Case((-0.5, (2, 3), 0.5)), Case(((), (0,), ()))], "if", normal,
        special=[(-1.0, EDGE, 1.0)], points=[
            Point((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)), Point((0.0, 1.0, 1.0), (0.0, 1.0, 0.0)),
            Point((0.0, -1.0, 1.0), (1.0, 0.0, 0.0)), Point((0.0, 3.0, 1.0), (0.0, 0.0, 1.0)),
            Point((2.0, 3.0, 1.0), (0.0, 0.0, 1.0)), Point((2.0, -3.0, 1.0), (0.0, 0.0, 1.0))]),
    unary("abs", np.abs, accepts="ifc", points=[
        Point((np.array([0.0, -0.0, -2.0]),), (np.array([0.0, 0.0, -1.0]),)),
        Point((np.array([0j, 3 + 4j]),), (np.array([0j, 0.6 - 0.8j]),))]),
    unary("sign", np.sign, accepts="ifc", special=[(EDGE,)]),
    unary("floor", np.floor, fractions, "f"), unary("ceil", np.ceil, fractions, "f"),
    unary("trunc", np.trunc, fractions, "f"),
    unary("round", np.rint, fractions, "f", special=[
        *ONE, (np.array([0.5, 1.5, 2.5, -0.5, -1.5]),)]),
    binary("rem", rem, (normal, nonzero), "if", special=[*TWO, (
        np.array([7, -7, 7, -7, 5], "int8"), np.array([2, 2, -2, -2, 0], "int8"))]),
    binary("nextafter", np.nextafter, accepts="f", native=True, diff=(), special=[]),
    compare("eq", np.equal, "bifc"), compare("ne", np.not_equal, "bifc"),
    compare("lt", np.less), compare("le", np.less_equal), compare("gt", np.greater),
    compare("ge", np.greater_equal),
    unary("is_finite", np.isfinite, accepts="bifc", diff=()),
    unary("is_nan", np.isnan, accepts="bifc", diff=()),
    unary("signbit", np.signbit, accepts="f", diff=()),
    *[binary(n, f, accepts="bi", special=[]) for n, f in (
        ("bitwise_and", np.bitwise_and), ("bitwise_or", np.bitwise_or),
        ("bitwise_xor", np.bitwise_xor))],
    unary("bitwise_not", np.invert, accepts="bi", special=[]),
    binary("shift_left", shift("left"), SHIFTED, "i", special=[]),
    binary("shift_right_logical", shift("logical"), SHIFTED, "i", special=[]),
    binary("shift_right_arithmetic", shift("arithmetic"), SHIFTED, "i", special=[]),
    unary("population_count", bit_count, accepts="i", special=[
        (np.array([0, -1, -128, 127], "int8"),)]),
    unary("clz", leading_zeros, accepts="i", special=[(np.array([0, -1, -128, 127], "int8"),)]),
    Spec("convert", convert, [
        *[Case((shape,), {"dtype": np.dtype("float64")}, kinds="bif") for shape in
          [(2, 3), (), (0, 2)]],
        Case(((2, 3),), {"dtype": np.dtype("float32")}, order=0),
        Case(((2, 3),), {"dtype": np.dtype("int32")}, order=0, kinds="bif"),
        Case(((2, 3),), {"dtype": np.dtype(bool)}, order=0),
        Case(((2, 3),), {"dtype": np.dtype("complex128")}),
        Case(((2, 3),), {"dtype": np.dtype("float64")}, kinds="c")], "bifc",
        special=[(np.array([math.nan, math.inf, -math.inf, -1.5, -0.0, 300.7, 3e9, -3e9, 1e20]),
                  {"dtype": np.dtype(d)}) for d in ("int8", "uint8", "int32", "int64", "uint64")]
        + [(EDGE, {"dtype": np.dtype(d)}) for d in ("bool", "float64", "float16")]),
    Spec("bitcast", lambda x, *, dtype: x.copy().view(dtype), [
        Case((shape,), lambda d: {"dtype": np.dtype(SAME_WIDTH[d.name])}) for shape in
        [(2, 3), (0, 2)]] + [Case(((3,),), lambda d: {"dtype": d})], "if", native=True, diff=()),
]
