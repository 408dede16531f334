"""Rows of `numpy`: creation, shapes, joining, indexing functions, windows."""

from __future__ import annotations

import numpy as np

from .table import B, C, F, G, I, K, P, Table, call, expr, row, typed

TABLE: Table = {}

# ------------------------------------------------------------------ creation

row(TABLE, "numpy.array numpy.asarray", call(F(2, 3)), call([[1, 2], [3, 4]]), call(2.5), call(3),
    call(True), call([1.0, 2]), call([F(2), F(2)]), call([F(), 2.0]), call(1 + 2j),
    call(F(3), dtype="complex64", _tol=1e-6), call([1, 2], dtype="int8"), call([]))
row(TABLE, "numpy.array", call(F(3), ndmin=3), call(F(3), copy=False))
row(TABLE, "numpy.copy", call(F(3)), call(2.0))
row(TABLE, "numpy.zeros numpy.ones numpy.empty", call((2, 3)), call(3), call((2,), "int8"),
    call((), dtype="complex64"), call((0, 2)))
row(TABLE, "numpy.zeros_like numpy.ones_like numpy.empty_like", call(F(2, 3)), call(I(3)),
    call(F(3), dtype="int16"), call(F(3), shape=(4,)), call(2.0))
row(TABLE, "numpy.full", call((2, 3), 2.0), call(3, 1), call((2,), F(2)), call((2,), 1, "float16"),
    call((2, 2), True), call((2,), 1j))
row(TABLE, "numpy.full_like", call(F(2, 3), 2), call(I(3), 2.7), call(F(3), 1, dtype="int8"),
    call(F(2, 3), F(3)), call(F(2), 1.0, shape=(3,)))
row(TABLE, "numpy.arange", call(5), call(5.0), call(2, 8), call(1, 2, 0.25), call(9, 1, -2),
    call(3, dtype="float32"), call(0), call(2.0, 5))
row(TABLE, "numpy.linspace", call(0, 1, 5), call(0.0, 2.0, num=4, endpoint=False), call(1, 9),
    call(F(3), F(3), 4), call(F(3), 2.0, 3, axis=-1), call(0, 10, 5, dtype="int32"),
    call(0.0, 1.0, 3, retstep=True), call(0, 1, 1), call(0j, 1 + 2j, 4))
row(TABLE, "numpy.logspace", call(0.0, 2.0, 4), call(F(2), 1.0, 3), call(0, 3, 4, base=2.0))
row(TABLE, "numpy.geomspace", call(1.0, 1000.0, 4), call(P(2), 5.0, 3), call(1, 16, 3))
row(TABLE, "numpy.eye", call(3), call(2, 4), call(3, k=1), call(3, 3, -1, "int32"))
row(TABLE, "numpy.identity", call(3), call(2, dtype="int8"))
row(TABLE, "numpy.tri", call(3, _wide=False),  # JAX: float32
    call(3, 4, 1, _wide=False), call(3, k=-1, dtype="bool"))
row(TABLE, "numpy.tril numpy.triu", call(F(3, 4)), call(F(2, 3, 3), k=1), call(I(3, 3), -1),
    call(B(3, 3)))
row(TABLE, "numpy.diag numpy.diagflat", call(F(4)), call(F(4), 1), call(F(4), k=-2), call(I(3)))
row(TABLE, "numpy.diag", call(F(3, 4)), call(F(4, 3), 1))
row(TABLE, "numpy.diagflat", call(F(2, 2)))
row(TABLE, "numpy.vander", call(F(4)), call(F(4), 3), call(F(3), N=4, increasing=True), call(I(3)))
row(TABLE, "numpy.meshgrid", call(F(3), F(4)), call(F(3), F(4), I(2), indexing="ij"),
    call(F(3), F(4), sparse=True), call(F(3)))
row(TABLE, "numpy.indices", call((2, 3)), call((2, 3), sparse=True), call((2,), dtype="float32"))
row(TABLE, "numpy.tril_indices numpy.triu_indices", call(3), call(3, 1), call(3, -1, 4))
row(TABLE, "numpy.tril_indices_from numpy.triu_indices_from", call(F(3, 3), _grad=False),
    call(F(3, 4), k=1, _grad=False))
row(TABLE, "numpy.diag_indices", call(3), call(2, 3))
row(TABLE, "numpy.diag_indices_from", call(F(3, 3), _grad=False))
expr(TABLE, "numpy.mask_indices", lambda m: m.np.mask_indices(3, m.np.triu, 1), _concrete=True)
row(TABLE, "numpy.ix_", call(I(2), I(3)))
row(TABLE, "numpy.unravel_index", call(I(4, lo=0, hi=12), (3, 4)), call(5, (2, 3), _weak=False))
row(TABLE, "numpy.ravel_multi_index", call((I(4, lo=0, hi=3), I(4, lo=0, hi=4)), (3, 4),
                                           _concrete=True),
    call((I(4), I(4)), (3, 4), mode="clip"), call((I(4), I(4)), (3, 4), mode="wrap", order="F"))
expr(TABLE, "numpy.fromfunction", lambda m: m.np.fromfunction(lambda i, j: i * 10 + j, (2, 3)))
expr(TABLE, "numpy.fromfunction", lambda m: m.np.fromfunction(lambda i: i == 1, (3,), dtype=int))
expr(TABLE, "numpy.mgrid", lambda m: (m.np.mgrid[:3, 1:4], m.np.mgrid[0:1:4j]))
expr(TABLE, "numpy.ogrid", lambda m: m.np.ogrid[:3, 1:4])
expr(TABLE, "numpy.r_", lambda m, x: (m.np.r_[x, 2.0, x], m.np.r_[0:3], m.np.r_[0:1:3j]), F(3))
expr(TABLE, "numpy.c_", lambda m, x, y: m.np.c_[x, y], F(3), F(3))
expr(TABLE, "numpy.s_", lambda m, x: x[m.np.s_[1:, ::2]], F(3, 4))
expr(TABLE, "numpy.index_exp", lambda m, x: x[m.np.index_exp[1:, ..., 0]], F(3, 4))
row(TABLE, "numpy.bartlett numpy.blackman numpy.hamming numpy.hanning", call(6), call(1),
    call(7))
row(TABLE, "numpy.kaiser", call(6, 2.5), call(1, 3.0))

# ------------------------------------------------------------------ shape

row(TABLE, "numpy.reshape", call(F(3, 4), (2, 6)), call(F(3, 4), -1), call(F(3, 4), (4, -1),
    order="F"), call(C(4), (2, 2)), call(I(4), (2, 2)))
row(TABLE, "numpy.ravel", call(F(3, 4)), call(F(3, 4), order="F"), call(2.0))
row(TABLE, "numpy.transpose numpy.permute_dims", call(F(2, 3, 4), (2, 0, 1)))
row(TABLE, "numpy.transpose", call(F(2, 3, 4)), call(F(4)))
row(TABLE, "numpy.matrix_transpose numpy.linalg.matrix_transpose", call(F(2, 3, 4)), call(I(2, 3)))
row(TABLE, "numpy.moveaxis", call(F(2, 3, 4), 0, -1), call(F(2, 3, 4), (0, 1), (1, 2)))
row(TABLE, "numpy.rollaxis", call(F(2, 3, 4), 2), call(F(2, 3, 4), 0, 2))
row(TABLE, "numpy.swapaxes", call(F(2, 3, 4), 0, 2), call(F(2, 3), -1, 0))
row(TABLE, "numpy.squeeze", call(F(1, 3, 1)), call(F(1, 3, 1), 0), call(F(1, 3, 1), axis=(0, -1)))
row(TABLE, "numpy.expand_dims", call(F(3), 0), call(F(3, 4), (0, -1)))
row(TABLE, "numpy.broadcast_to", call(F(4), (3, 4)), call(2.0, (2,)), call(F(3, 1), (2, 3, 4)))
row(TABLE, "numpy.broadcast_arrays", call(F(3, 1), F(4), 2), call(I(3), F(3)))
row(TABLE, "numpy.broadcast_shapes", call((3, 1), (4,), _concrete=True),
    call((2,), (1, 1), _concrete=True))
row(TABLE, "numpy.atleast_1d numpy.atleast_2d numpy.atleast_3d", call(2.0), call(F(3)),
    call(F(2, 3)), call(F(3), 1))
row(TABLE, "numpy.flip", call(F(3, 4)), call(F(3, 4), 1), call(F(2, 3, 4), axis=(0, 2)))
row(TABLE, "numpy.fliplr numpy.flipud", call(F(3, 4)), call(I(2, 3)))
row(TABLE, "numpy.rot90", call(F(3, 4)), call(F(3, 4), 2), call(F(2, 3, 4), 3, axes=(1, 2)))
row(TABLE, "numpy.roll", call(F(3, 4), 2), call(F(3, 4), 1, axis=1), call(I(5), -7),
    call(F(3, 4), (1, -1), axis=(0, 1)), call(F(5), K(2)))
row(TABLE, "numpy.tile", call(F(3), 2), call(F(2, 3), (2, 1, 2)), call(F(2, 3), (2,)))
row(TABLE, "numpy.repeat", call(F(3, 4), 2), call(F(3, 4), 2, axis=0),
    call(F(3, 4), np.array([1, 0, 2]), axis=0), call(F(3), K([1, 0, 2]), total_repeat_length=5),
    call(I(3), 3))
row(TABLE, "numpy.resize", call(F(3), (2, 4)), call(F(2, 3), 4))
for _mode in ("constant", "edge", "reflect", "symmetric", "wrap", "mean", "maximum", "minimum",
              "linear_ramp", "empty"):
    row(TABLE, "numpy.pad", call(G(4, 5), ((1, 2), (0, 3)), mode=_mode, _values=_mode != "empty",
                                 _grad=_mode not in ("empty",)))
row(TABLE, "numpy.pad", call(F(3), 2), call(F(3), (1, 2), constant_values=5.0),
    call(F(3), (1, 2), constant_values=(5.0, 6.0)), call(F(2, 3), ((1, 1), (2, 0)),
    constant_values=((1.0, 2.0), (3.0, 4.0))), call(F(3), 4, mode="reflect"),
    call(F(4), 2, mode="reflect", reflect_type="odd"), call(F(4), 5, mode="symmetric"),
    call(F(4), 9, mode="wrap"), call(G(6), 2, mode="mean", stat_length=3),
    call(G(6), 2, mode="median"), call(F(4), 2, mode="linear_ramp", end_values=3.0),
    call(I(3), 1), call(F(2, 3), ((0, 1),)))

# ------------------------------------------------------------------ joining and splitting

row(TABLE, "numpy.concatenate numpy.concat", call([F(2, 3), F(1, 3)]), call([F(2, 3), F(2, 1)],
    axis=1), call((F(2), I(3))), call([B(2), I(2)]))
row(TABLE, "numpy.concatenate", call([F(2, 3), F(2)], axis=None), call([F(2), F(3)],
    dtype="complex64", _tol=1e-6))
row(TABLE, "numpy.stack", call([F(2, 3), F(2, 3)]), call([F(2), I(2)], axis=-1), call(F(3, 2)))
row(TABLE, "numpy.vstack numpy.hstack numpy.dstack numpy.column_stack", call([F(3), F(3)]),
    call([F(3, 2), F(3, 2)]), call([I(3), F(3)]))
row(TABLE, "numpy.append", call(F(3), F(2)), call(F(2, 3), F(1, 3), axis=0), call(F(2, 2), 5.0))
row(TABLE, "numpy.block", call([[F(2, 2), F(2, 1)], [F(1, 2), F(1, 1)]]), call([F(2), 3.0]))
row(TABLE, "numpy.unstack", call(F(3, 2)), call(F(3, 2), axis=1))
row(TABLE, "numpy.split numpy.array_split", call(F(6, 2), 3), call(F(2, 6), [1, 4], axis=1),
    call(F(6), [2, 2, 6]))
row(TABLE, "numpy.array_split", call(F(7), 3))
row(TABLE, "numpy.hsplit numpy.vsplit", call(F(4, 6), 2), call(F(4, 6), [1, 3]))
row(TABLE, "numpy.dsplit", call(F(2, 2, 4), 2))
row(TABLE, "numpy.insert", call(F(5), 2, 9.0), call(F(5), np.array([1, 3]), F(2)),
    call(F(3, 4), 1, 5.0, axis=1), call(F(2, 3), 1, 7.0))
row(TABLE, "numpy.delete", call(F(5), 2), call(F(5), np.array([1, 3])), call(F(3, 4), 1, axis=0),
    call(F(5), slice(1, 3)))
row(TABLE, "numpy.trim_zeros", call(K([0.0, 0.0, 1.0, 2.0, 0.0]), _concrete=True, _grad=False),
    call(K([0, 1, 0]), trim="f", _concrete=True))

# ------------------------------------------------------------------ taking and putting

row(TABLE, "numpy.take", call(F(5), I(3, lo=0, hi=5)), call(F(3, 4), I(2, 2, lo=0, hi=4), axis=1),
    call(F(3, 4), 7), call(F(5), I(4, lo=-9, hi=9), mode="clip"), call(F(5), I(4, lo=-9, hi=9),
    mode="wrap"), call(F(5), K([7, 1]), mode="fill"),
    call(I(5), K([7, 1]), mode="fill", _single=True),
    call(F(5), K([7, 1]), mode="fill", fill_value=3.0), call(F(3, 4), -1, axis=0))
row(TABLE, "numpy.take_along_axis", call(F(3, 4), I(3, 2, lo=0, hi=4), axis=1),
    call(F(3, 4), I(1, 4, lo=0, hi=3), 0), call(F(3, 4), I(5, lo=0, hi=12), None),
    call(F(3, 4), I(3, 2, lo=-4, hi=4), axis=-1))
row(TABLE, "numpy.put_along_axis", call(F(3, 4), K([[0], [2], [1]]), F(3, 1), 1, inplace=False),
    call(F(3, 4), K([[0, 2, 1, 0]]), 5.0, axis=0, inplace=False))
row(TABLE, "numpy.put", call(F(5), K([0, 3]), F(2), inplace=False),
    call(F(5), K([7, -9]), 2.0, mode="clip", inplace=False))
row(TABLE, "numpy.place", call(F(5), K([True, False, True, True, False]), F(2), inplace=False))
row(TABLE, "numpy.fill_diagonal", call(F(3, 4), 2.0, inplace=False), call(F(3, 3), F(3),
    inplace=False))
row(TABLE, "numpy.compress", call(K([True, False, True]), F(3, 4), axis=0, _concrete=True),
    call(K([True, False, True, True]), F(2, 2), _concrete=True),
    call(K([True, False, True]), F(3), size=3, fill_value=7.0))
row(TABLE, "numpy.extract", call(K([True, False, True]), F(3), _concrete=True),
    call(K([True, False, True]), F(3), size=3, fill_value=7.0))
row(TABLE, "numpy.diagonal numpy.trace", call(F(3, 4)), call(F(3, 4), 1), call(F(2, 3, 4), 0, 1, 2),
    call(F(3, 4, 2), offset=-1, axis1=1, axis2=0), call(I(3, 3)))
expr(TABLE, "numpy.apply_along_axis", lambda m, x: m.np.apply_along_axis(
    lambda v: m.np.cumsum(v) * 2, 1, x), F(3, 4))
expr(TABLE, "numpy.apply_over_axes", lambda m, x: m.np.apply_over_axes(m.np.sum, x, [0, 2]),
     F(2, 3, 4))
expr(TABLE, "numpy.vectorize", lambda m, x, y: m.np.vectorize(
    lambda a, b: m.np.where(a > b, a, b * 2))(x, y), F(3, 1), F(4))
expr(TABLE, "numpy.vectorize", lambda m, x, y: m.np.vectorize(
    m.np.dot, signature="(n),(n)->()")(x, y), F(3, 4), F(4))
expr(TABLE, "numpy.vectorize", lambda m, x: m.np.vectorize(
    lambda v, n: v * n, excluded={1})(x, 3), F(3))
row(TABLE, "numpy.packbits", call(B(11)), call(B(2, 9), axis=1, bitorder="little"))
row(TABLE, "numpy.unpackbits", call(typed(K([3, 129]), "uint8")),
    call(typed(K([3, 129]), "uint8"), count=11, bitorder="little"))
