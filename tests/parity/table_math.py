"""Rows of `numpy`: functions of elements, and of dtypes."""

from __future__ import annotations

import numpy as np

from .table import B, C, F, G, I, K, N, P, Table, U, call, elementwise, expr, row, typed

TABLE: Table = {}
INF, NAN = np.inf, np.nan
PLAIN = {"_concrete": True, "_grad": False}

# ------------------------------------------------------------------ one array

elementwise(TABLE, "numpy.sin numpy.cos numpy.sinh numpy.cosh numpy.tanh numpy.exp numpy.expm1 "
            "numpy.tan", complex=True)
elementwise(TABLE, "numpy.exp2 numpy.arctan numpy.atan numpy.arcsinh numpy.asinh", complex=True)
elementwise(TABLE, "numpy.cbrt numpy.deg2rad numpy.radians numpy.rad2deg numpy.degrees numpy.i0")
elementwise(TABLE, "numpy.log numpy.log1p numpy.sqrt", P, complex=True)
# JAX's are strong for a Python scalar.
elementwise(TABLE, "numpy.log2 numpy.log10", P, complex=True, weak=False)
elementwise(TABLE, "numpy.arcsin numpy.asin numpy.arccos numpy.acos numpy.arctanh numpy.atanh", U,
            complex=True, ints=False)
row(TABLE, "numpy.arccosh numpy.acosh", call(K([[1.2, 1.7], [2.4, 3.0]])), call(1.5),
    # On the left half plane JAX's derivative has the wrong sign: test_exemptions.py.
    call(K([0.3 + 1j, 1.2 - 0.5j])), call(C(3), _grad=False))
elementwise(TABLE, "numpy.square numpy.negative numpy.positive numpy.abs numpy.absolute "
            "numpy.conj numpy.conjugate numpy.real numpy.imag", G, complex=True, ints=False)
# JAX: the derivative of a complex sign is 0, test_exemptions.py.
row(TABLE, "numpy.sign", call(G(3, 4)), call(C(3), _grad=False))
elementwise(TABLE, "numpy.angle", G, complex=True, ints=False, weak=False)
row(TABLE, "numpy.square numpy.positive numpy.abs numpy.absolute numpy.sign numpy.conj numpy.real "
    "numpy.imag numpy.negative", call(I(5)), call(3), call(2.5))
row(TABLE, "numpy.angle", call(G(3), deg=True), call(C(3), True))
elementwise(TABLE, "numpy.reciprocal", P, complex=True, ints=False)
elementwise(TABLE, "numpy.floor numpy.ceil numpy.trunc numpy.fabs", G, ints=False)
row(TABLE, "numpy.floor numpy.ceil numpy.trunc", call(I(4)), call(K([-1.5, -0.0, 2.5, INF, NAN])))
elementwise(TABLE, "numpy.rint", G, complex=True)
elementwise(TABLE, "numpy.sinc", F, complex=True)
row(TABLE, "numpy.sinc", call(K([0.0, 1e-8, 0.5, 1.0])))
row(TABLE, "numpy.sin numpy.exp numpy.tanh numpy.sqrt numpy.log numpy.log1p numpy.cbrt "
    "numpy.arctan numpy.expm1 numpy.floor numpy.sign numpy.exp2 numpy.sinh",
    call(K([0.0, -0.0, INF, -INF, NAN, 1.0]), _grad=False))
row(TABLE, "numpy.round numpy.around", call(G(3, 4)), call(F(3, 4), 2), call(F(3), decimals=-1),
    call(I(4)), call(K([0.5, 1.5, -2.5])), call(C(3), 1))
row(TABLE, "numpy.isfinite numpy.isinf numpy.isnan numpy.isneginf numpy.isposinf numpy.signbit",
    call(K([0.0, -0.0, INF, -INF, NAN, 1.0])), call(2.0))
row(TABLE, "numpy.isfinite numpy.isinf numpy.isnan", call(I(3)), call(C(3)),
    call(K([complex(NAN, 0), complex(0, INF), 1j])))
row(TABLE, "numpy.isreal numpy.iscomplex", call(K([1 + 0j, 1j])), call(F(3)))
row(TABLE, "numpy.logical_not", call(B(4)), call(F(3)), call(I(4, lo=0, hi=2)), call(C(2)))
row(TABLE, "numpy.bitwise_not numpy.invert numpy.bitwise_invert", call(B(4)), call(I(4)),
    call(N(4), _single=True), call(typed(I(3), "int8")))
row(TABLE, "numpy.bitwise_count", call(I(5)), call(N(5)))
row(TABLE, "numpy.nan_to_num", call(K([0.5, NAN, INF, -INF]), _single=True), call(C(3)), call(I(3)),
    call(K([0.5, NAN, INF, -INF]), nan=1.0, posinf=2.0, neginf=-3.0))
row(TABLE, "numpy.frexp", call(K([0.3, 8.0, -5.5, 0.0]), _grad=False))
row(TABLE, "numpy.modf", call(G(3, 4)))
row(TABLE, "numpy.spacing", call(P(4), _grad=False, _single=True))
row(TABLE, "numpy.unwrap", call(K([0.0, 2.0, 5.5, 9.0, 1.0])), call(F(3, 4), axis=0), call(
    F(5), period=1.5), call(F(5), 0.4))

# ------------------------------------------------------------------ two arrays

SHAPES = [call(F(3, 4), F(4)), call(F(3, 1), F(1, 4))]
WEAK = [call(F(3), 2), call(F(3), 2.5), call(2.0, F(3)), call(I(3), 2.5), call(I(3), 2),
        call(2, 3.0), call(typed(F(3), "float16"), 2.0, _grad=False),
        call(typed(I(3), "int8"), 2, _wide=False),
        call(typed(F(3), "bfloat16"), 3, _grad=False, _tol32=0.02),
        call(I(3), F(3)), call(C(3), F(3)), call(F(3), 1 + 2j)]
row(TABLE, "numpy.add numpy.subtract numpy.multiply", *SHAPES, *WEAK,
    call(B(3), I(3)), call(C(3), C(2, 3)), call(N(3), N(3), _single=True))
row(TABLE, "numpy.divide numpy.true_divide", *SHAPES, *WEAK, call(C(3), C(2, 3)),
    call(I(3), I(3, lo=1)))
row(TABLE, "numpy.maximum numpy.minimum", call(G(3, 4), F(4)), call(F(3), 0.5), call(I(3), 1),
    call(I(4), F(4)), call(B(4), B(4)), call(K([NAN, 1.0, INF]), K([0.0, NAN, 2.0])),
    call(C(4), C(4)))
row(TABLE, "numpy.fmax numpy.fmin", call(G(3, 4), F(4)), call(I(4), F(4)),
    call(K([NAN, 1.0, INF, NAN]), K([0.0, NAN, 2.0, NAN]), _grad=False))
row(TABLE, "numpy.power numpy.pow", call(P(3, 4), F(4)), call(F(3, 4), 2), call(F(3), 3),
    call(F(3), -2), call(P(3), 0.5), call(2.0, F(3)), call(I(4), N(4, hi=4)), call(I(3), 2),
    call(F(3), K([0, 1, 3])), call(C(3), 2), call(C(3), C(3)), call(P(3), C(3)), call(2, 3),
    call(K([0.0, 0.0, 2.0]), K([1.0, 2.0, 0.0]), _grad=False), call(2, I(3, lo=0)))
row(TABLE, "numpy.float_power", call(P(3), F(3)), call(I(3, lo=1), 2), call(P(3), 2))
row(TABLE, "numpy.floor_divide numpy.mod numpy.remainder", call(G(3, 4), P(4)), call(G(5), -0.7),
    call(I(3, 4), I(4, lo=1)), call(I(6), -2), call(N(4), N(4, lo=1)), call(I(4), 2.5),
    call(5, 3), call(K([5.0, -5.0, 5.0, -5.0]), K([3.0, 3.0, -3.0, -3.0]), _grad=False))
row(TABLE, "numpy.fmod", call(G(3, 4), P(4)), call(I(6), I(6, lo=1)), call(G(5), -0.7))
row(TABLE, "numpy.divmod", call(G(3, 4), P(4)), call(I(3, 4), I(4, lo=1)), call(I(6), -2))
row(TABLE, "numpy.logaddexp numpy.logaddexp2", call(F(3, 4), F(4)), call(F(3), 0.5),
    call(I(3), I(3)), call(K([-INF, INF, -INF]), K([-INF, 1.0, 2.0]), _grad=False))
row(TABLE, "numpy.logaddexp", call(C(3), C(3)))
row(TABLE, "numpy.hypot", call(F(3, 4), F(4)), call(I(3), I(3, lo=1)), call(F(3), 2.0))
row(TABLE, "numpy.arctan2 numpy.atan2", call(F(3, 4), F(4)), call(I(3), I(3, lo=1)),
    call(F(3), 1.0), call(K([0.0, -0.0, 0.0]), K([-1.0, -1.0, 1.0]), _grad=False))
row(TABLE, "numpy.copysign", call(G(3, 4), G(4)), call(F(3), -1.0), call(I(3), F(3)))
row(TABLE, "numpy.nextafter", call(F(4), F(4), _grad=False, _single=True),
    call(I(3), F(3), _grad=False, _single=True))
row(TABLE, "numpy.heaviside", call(G(4), 0.5), call(K([0.0, 1.0, -1.0]), K([0.3, 0.3, 0.3])))
row(TABLE, "numpy.ldexp", call(F(4), I(4)), call(F(3), 2))
row(TABLE, "numpy.gcd numpy.lcm", call(I(6, lo=1, hi=20), I(6, lo=1, hi=20)),
    call(I(4, lo=-9), 6), call(K([0, 0, 4]), K([0, 3, 0])))
row(TABLE, "numpy.equal numpy.not_equal", call(I(6), I(6)), call(F(3, 4), F(4)), call(C(3), C(3)),
    call(I(3), 1.0), call(B(3), True), call(2, 2.0), call(K([NAN, 1.0]), K([NAN, 1.0])))
row(TABLE, "numpy.less numpy.less_equal numpy.greater numpy.greater_equal", call(I(6), I(6)),
    call(F(3, 4), F(4)), call(I(3), 1.5), call(B(3), B(3)), call(K([NAN, 1.0]), K([1.0, NAN])),
    call(C(4), C(4)))
row(TABLE, "numpy.logical_and numpy.logical_or numpy.logical_xor", call(B(3, 4), B(4)),
    call(I(4, lo=0, hi=2), F(4)), call(B(4), True), call(C(3), B(3)))
row(TABLE, "numpy.bitwise_and numpy.bitwise_or numpy.bitwise_xor", call(B(3, 4), B(4)),
    call(I(5), I(5)), call(N(4), 3), call(I(3), typed(I(3), "int8")))
row(TABLE, "numpy.left_shift numpy.bitwise_left_shift numpy.right_shift "
    "numpy.bitwise_right_shift", call(I(5), I(5, lo=0)), call(N(4), 2), call(I(4), 1),
    call(typed(N(4), "uint8"), 3))
row(TABLE, "numpy.isclose numpy.allclose", call(F(4), F(4)),
    call(K([1.0, 1.0, NAN, INF]), K([1.000001, 1.1, NAN, INF])),
    call(K([1.0, NAN]), K([1.0, NAN]), equal_nan=True), call(F(3), 0.5, rtol=10.0, atol=1.0),
    call(I(3), I(3)), call(C(3), C(3)))
row(TABLE, "numpy.array_equal numpy.array_equiv", call(F(4), F(4)), call(I(3), I(3)),
    call(K([[1, 2], [1, 2]]), K([1, 2])), call(K([1.0, NAN]), K([1.0, NAN])))
row(TABLE, "numpy.array_equal", call(K([1.0, NAN]), K([1.0, NAN]), equal_nan=True))

# ------------------------------------------------------------------ choices

row(TABLE, "numpy.where", call(B(3, 4), F(3, 4), F(4)), call(B(4), 1.0, 0), call(B(4), F(4), 0),
    call(I(4, lo=0, hi=2), I(4), 2.5), call(F(3), F(3), I(3)), call(B(3), C(3), F(3)),
    call(B(2, 3), _concrete=True), call(K([0, 3, 0, 1]), size=3, fill_value=9))
row(TABLE, "numpy.clip", call(G(3, 4), -0.5, 0.5), call(G(3, 4), max=0.5), call(G(4), min=F(4)),
    call(I(5), 0, 3), call(I(5), 0.5, 3), call(G(3, 4), F(4), None), call(F(3)),
    call(K([1.0, NAN]), 0.0, 2.0), call(3, 1, 2))
row(TABLE, "numpy.select", call([B(3, 4), B(4)], [F(3, 4), G(3, 4)], 7.0),
    call([B(4), B(4), B(4)], [I(4), I(4), F(4)]), call([B(4)], [1.0]))
row(TABLE, "numpy.choose", call(I(4, lo=0, hi=3), [F(4), G(4), P(4)], _concrete=True),
    call(I(4, lo=-3, hi=6), [F(4), G(4), P(4)], mode="clip"),
    call(I(4, lo=-3, hi=6), [F(4), 2.0, P(4)], mode="wrap"))
expr(TABLE, "numpy.piecewise", lambda m, x: m.np.piecewise(
    x, [x < 0, x > 1], [lambda t: t * t, lambda t: m.np.sin(t), 3.0]), G(3, 4))
expr(TABLE, "numpy.piecewise", lambda m, x: m.np.piecewise(x, [x < 0], [-1, 1]), I(5))
row(TABLE, "numpy.interp", call(F(5), K([-1.0, 0.0, 0.7, 2.0]), F(4)),
    call(F(5), K([-1.0, 0.0, 0.7, 2.0]), F(4), left=-3.0, right=9.0),
    call(F(5), K([0.2, 0.5, 0.9]), F(3), period=1.0), call(0.3, K([0, 1, 2]), K([5, 6, 9])))

# ------------------------------------------------------------------ dtypes

row(TABLE, "numpy.astype", call(F(3), "float16", _grad=False, _single=True), call(I(3), "float32"),
    call(F(3), "complex64", _tol=1e-6), call(B(3), "int8"), call(K([1.9, -1.9]), "int32"))
for _args in [("int8", "uint8"), ("float16", "bfloat16"), ("int32", "float16")]:
    expr(TABLE, "numpy.promote_types", lambda m, a, b: m.np.promote_types(a, b).name, *_args,
         **PLAIN)
for _args in [(F(3), 2.0), (I(3), "float16"), ("uint8", 3), (I(2), B(2))]:
    expr(TABLE, "numpy.result_type", lambda m, a, b: m.np.result_type(a, b).name, *_args, **PLAIN)
row(TABLE, "numpy.can_cast", *[call(*args, **PLAIN) for args in (
    ("int8", "int16"), ("float32", "int32"), ("float32", "int32", "unsafe"),
    ("int64", "int32", "same_kind"))])
row(TABLE, "numpy.iscomplexobj numpy.isrealobj numpy.isscalar numpy.iterable",
    *[call(x, **PLAIN) for x in (F(3), C(3), I(3), 1j, 3, K(1.0))])
row(TABLE, "numpy.ndim numpy.size numpy.shape",
    *[call(x, **PLAIN) for x in (F(3, 4), 2.0, I(0, 2))])
row(TABLE, "numpy.size", call(F(3, 4), 1, **PLAIN))
for _name in ("floating", "integer", "inexact", "complexfloating", "signedinteger",
              "unsignedinteger", "number", "generic"):
    for _dtype in ("int8", "uint8", "float32", "complex64", "bool"):
        expr(TABLE, "numpy.issubdtype", lambda m, d, n: m.np.issubdtype(
            getattr(m.np, d + "_" * (d == "bool")), getattr(m.np, n)), _dtype, _name, **PLAIN)
for _kind in ("bool", "integral", "signed integer", "real floating", "numeric", "complex floating"):
    for _dtype in ("int8", "uint8", "float32", "complex64", "bool"):
        row(TABLE, "numpy.isdtype", call(np.dtype(_dtype), _kind, **PLAIN))
for _dtype in ("float16", "bfloat16", "float32", "float64"):
    for _field in ("eps", "max", "tiny", "bits", "nmant"):
        expr(TABLE, "numpy.finfo", lambda m, d, f: float(getattr(
            m.np.finfo(getattr(m.np, d)), f)), _dtype, _field, **PLAIN)
for _dtype in ("int8", "uint16", "int32", "int64"):
    expr(TABLE, "numpy.iinfo", lambda m, d: [int(getattr(m.np.iinfo(d), f))
                                             for f in ("min", "max", "bits")], _dtype, **PLAIN)
