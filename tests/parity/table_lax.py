"""Rows of `lax` and `lax.linalg`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import B, C, F, G, I, K, N, P, Q, S, Table, U, call, expr, row, typed
from .table_linear import eigen_products, without_signs

TABLE: Table = {}
INF, NAN = np.inf, np.nan

# ------------------------------------------------------------------ elementwise

# One compilation a name is what this suite costs: one call with a derivative, one scalar.
ONE, BOTH = [call(F(3, 4)), call(0.3)], [call(F(3, 4)), call(C(3)), call(0.3)]
row(TABLE, "lax.sin lax.cos lax.tan lax.sinh lax.cosh lax.tanh lax.exp lax.expm1 lax.logistic "
    "lax.asinh lax.atan lax.exp2 lax.square", *BOTH)
row(TABLE, "lax.log lax.log1p lax.sqrt lax.rsqrt lax.reciprocal", call(P(3, 4)), call(C(3)),
    call(0.7))
row(TABLE, "lax.asin lax.acos lax.atanh", call(U(3, 4)), call(C(3)), call(0.3))
row(TABLE, "lax.acosh", call(K([1.2, 3.0])), call(1.5))
row(TABLE, "lax.abs lax.neg lax.sign", call(G(3, 4)), call(I(4)), call(-0.5))
row(TABLE, "lax.abs lax.neg", call(C(3)))
row(TABLE, "lax.floor lax.ceil lax.cbrt lax.erf lax.erfc", call(G(3, 4)), call(0.3))
row(TABLE, "lax.round", call(G(3, 4)), call(K([0.5, -1.5, 2.5]), _grad=False))
expr(TABLE, "lax.round", lambda m, x: m.lax.round(x, m.lax.RoundingMethod.TO_NEAREST_EVEN),
     K([0.5, -1.5, 2.5]))
row(TABLE, "lax.erf_inv", call(U(3, 4)), call(K([-1.0, 1.0]), _grad=False))
row(TABLE, "lax.lgamma lax.digamma", call(P(3, 4)), call(K([-1.5, -0.3, 4.2])), call(2.5))
row(TABLE, "lax.bessel_i0e lax.bessel_i1e", call(F(3, 4)), call(K([0.0, 9.0, -20.0])))
row(TABLE, "lax.igamma lax.igammac", call(P(3, 4), P(3, 4)), call(K([0.5, 20.0]), K([30.0, 18.0]),
                                                                  _tol=1e-7))
row(TABLE, "lax.igamma_grad_a lax.random_gamma_grad", call(P(3), P(3), _grad=False, _tol=1e-6))
row(TABLE, "lax.betainc", call(P(4), P(4), Q(4), _grad=(2,)))
row(TABLE, "lax.zeta", call(K([1.5, 2.0, 4.2]), P(3), _grad=False))
row(TABLE, "lax.polygamma", call(K([0.0, 1.0, 3.0]), P(3), _grad=False))
row(TABLE, "lax.is_finite", call(K([0.0, INF, NAN])))
row(TABLE, "lax.real lax.imag lax.conj", call(C(3, 4)))
row(TABLE, "lax.conj", call(F(3)))
row(TABLE, "lax.complex", call(F(3, 4), F(3, 4)))
row(TABLE, "lax.add lax.sub lax.mul", call(F(3, 4), F(3, 4)), call(I(3), I(3)), call(C(3), C(3)),
    call(F(3), 2.0), call(2.0, 3.0))
row(TABLE, "lax.div", call(F(3, 4), P(3, 4)), call(I(5), I(5, lo=1)), call(C(3), C(3)),
    call(F(3), 2.0))
row(TABLE, "lax.rem", call(G(3, 4), P(3, 4)), call(I(5), I(5, lo=1)), call(G(4), -0.7))
row(TABLE, "lax.max lax.min", call(G(3, 4), F(3, 4)), call(I(4), I(4)), call(G(3), 0.5))
row(TABLE, "lax.pow", call(P(3, 4), F(3, 4)), call(P(3), 2.5), call(F(3), 2), call(F(3), I(3)),
    call(C(3), C(3)))
row(TABLE, "lax.integer_pow", call(F(3, 4), 3), call(P(3), -2), call(I(3), 2), call(F(3), 0),
    call(C(2), 3))
row(TABLE, "lax.atan2", call(F(3, 4), F(3, 4)))
row(TABLE, "lax.nextafter", call(F(4), F(4), _grad=False, _single=True))
row(TABLE, "lax.clamp", call(-0.5, G(3, 4), 0.5), call(F(4), G(4), P(4)), call(0, I(5), 3))
row(TABLE, "lax.eq lax.ne lax.lt lax.le lax.gt lax.ge", call(I(6), I(6)), call(F(4), F(4)),
    call(F(3), 0.5))
row(TABLE, "lax.bitwise_and lax.bitwise_or lax.bitwise_xor", call(I(5), I(5)), call(B(4), B(4)),
    call(N(3), N(3)))
row(TABLE, "lax.bitwise_not", call(I(4)), call(B(4)), call(N(4), _single=True))
row(TABLE, "lax.shift_left lax.shift_right_arithmetic lax.shift_right_logical",
    call(typed(I(5, lo=-99, hi=99), "int32"), typed(I(5, lo=0, hi=9), "int32")),
    call(typed(N(4), "uint32"), typed(N(4, hi=5), "uint32")), call(I(3, lo=0), 2))
row(TABLE, "lax.shift_left lax.shift_right_arithmetic lax.shift_right_logical",
    call(typed(K([1, -1, 5]), "int32"), typed(K([32, 40, 31]), "int32")))
row(TABLE, "lax.population_count lax.clz", call(typed(I(5, lo=0, hi=99), "int32")),
    call(typed(N(5), "uint8")))
row(TABLE, "lax.select", call(B(3, 4), F(3, 4), F(3, 4)), call(K(True), F(3), F(3)),
    call(B(3), I(3), I(3)))
row(TABLE, "lax.select_n", call(B(3, 4), F(3, 4), F(3, 4)),
    call(I(4, lo=0, hi=3), F(4), F(4), F(4)), call(K(1), F(3), F(3)))
row(TABLE, "lax.convert_element_type", call(F(3), "int32"), call(I(3), "float32"),
    call(F(3), "complex64", _tol=1e-6), call(F(3), "float16", _grad=False, _tol=2e-3, _tol32=2e-3),
    call(2, "float32"), call(K([1.7, -1.7, 300.0]), "int16"), call(B(3), "float32"))
row(TABLE, "lax.bitcast_convert_type", call(typed(F(3), "float32"), "int32", _grad=False),
    call(typed(N(3, 2), "uint16"), "uint32"), call(typed(F(3), "float64"), "uint32", _narrow=False,
                                                   _grad=False))
# JAX rounds the cotangent as well; here the derivative is that of the identity.
row(TABLE, "lax.reduce_precision", call(F(5), 5, 10, _tol32=1e-2, _grad=False),
    call(F(5), 8, 7, _tol32=2e-2, _grad=False))
row(TABLE, "lax.stop_gradient lax.optimization_barrier", call(F(3)), call((F(2), I(2))))
row(TABLE, "lax.dtype", call(F(3), _concrete=True, _grad=False), call(I(3), _concrete=True))

# ------------------------------------------------------------------ shapes

row(TABLE, "lax.full", call((2, 3), 2.0), call((2,), 1, "float32"), call((2,), K(3.0)))
row(TABLE, "lax.full_like", call(F(2, 3), 2.0), call(F(3), 1, "int32"), call(F(2), 0.0, shape=(4,)))
row(TABLE, "lax.empty", call((2, 3), "float32"))
row(TABLE, "lax.iota", call("float32", 4), call("int32", 3))
row(TABLE, "lax.broadcasted_iota", call("int32", (2, 3), 1), call("float32", (2, 3), 0))
row(TABLE, "lax.broadcast", call(F(3), (2, 4)), call(2.0, (2,)))
row(TABLE, "lax.broadcast_in_dim", call(F(3), (2, 3, 4), (1,)), call(F(3, 1), (3, 4), (0, 1)))
row(TABLE, "lax.broadcast_shapes", call((3, 1), (1, 4), _concrete=True))
row(TABLE, "lax.broadcast_to_rank", call(F(3), 3))
row(TABLE, "lax.reshape", call(F(3, 4), (2, 6)), call(F(3, 4), (12,), (1, 0)))
row(TABLE, "lax.collapse", call(F(2, 3, 4), 1), call(F(2, 3, 4), 0, 2))
row(TABLE, "lax.squeeze", call(F(1, 3, 1), (0,)), call(F(1, 3, 1), (0, -1)))
row(TABLE, "lax.expand_dims", call(F(3), (0, 2)))
row(TABLE, "lax.transpose", call(F(2, 3, 4), (2, 0, 1)))
row(TABLE, "lax.rev", call(F(3, 4), (0, 1)))
row(TABLE, "lax.concatenate", call([F(2, 3), F(1, 3)], 0), call([F(2), F(2), F(3)], 0))
row(TABLE, "lax.stack", call([F(2, 3), F(2, 3)], 1))
row(TABLE, "lax.unstack", call(F(3, 2), 1))
row(TABLE, "lax.tile", call(F(2, 3), (2, 2)))
row(TABLE, "lax.split", call(F(6, 2), (1, 3, 2)), call(F(2, 4), (1, 3), axis=1))
row(TABLE, "lax.pad", call(F(3, 4), 0.0, ((1, 2, 0), (0, 1, 2))), call(F(5), 3.0, ((-1, -2, 0),)),
    call(F(4), K(1.5), ((-1, 2, 1),)))
row(TABLE, "lax.slice", call(F(4, 5), (1, 0), (3, 4)), call(F(4, 6), (0, 1), (4, 6), (2, 3)))
row(TABLE, "lax.slice_in_dim", call(F(4, 5), 1, 3), call(F(4, 5), 0, 5, 2, axis=1),
    call(F(4, 5), None, -1))
row(TABLE, "lax.index_in_dim", call(F(4, 5), 2), call(F(4, 5), -1, 1, False))
row(TABLE, "lax.dynamic_slice", call(F(4, 5), (1, 2), (2, 2)), call(F(4, 5), (K(3), K(-1)), (2, 3)),
    call(F(5), (K(9),), (2,)))
row(TABLE, "lax.dynamic_slice_in_dim", call(F(4, 5), K(1), 2), call(F(4, 5), K(4), 3, axis=1))
row(TABLE, "lax.dynamic_index_in_dim", call(F(4, 5), K(1)), call(F(4, 5), K(-1), 1, False))
row(TABLE, "lax.dynamic_update_slice", call(F(4, 5), F(2, 2), (K(1), K(4))),
    call(F(4), F(2), (1,)))
row(TABLE, "lax.dynamic_update_slice_in_dim", call(F(4, 5), F(2, 5), K(1), 0))
row(TABLE, "lax.dynamic_update_index_in_dim", call(F(4, 5), F(5), K(1), 0),
    call(F(4, 5), F(4, 1), K(2), 1))
row(TABLE, "lax.index_take", call(F(4, 5), (K([0, 2]), K([1, 4])), (0, 1)))

# ------------------------------------------------------------------ reductions and order

row(TABLE, "lax.reduce_sum lax.reduce_prod lax.reduce_max lax.reduce_min", call(G(3, 4), (0,)),
    call(G(2, 3, 4), (0, 2)), call(I(3, 4), (1,)))
row(TABLE, "lax.reduce_and lax.reduce_or lax.reduce_xor", call(B(3, 4), (0,)), call(I(3, 4), (1,)))
expr(TABLE, "lax.reduce", lambda m, x: m.lax.reduce(x, np.zeros((), x.dtype)[()], m.lax.add, (1,)),
     F(3, 4))
expr(TABLE, "lax.reduce", lambda m, x: m.lax.reduce(
    (x, x), (np.zeros((), x.dtype)[()], np.ones((), x.dtype)[()]),
    lambda a, b: (a[0] + b[0], a[1] * b[1]), (0,)), F(3, 4), _grad=False)
for _name, _init in (("add", 0.0), ("max", -INF), ("min", INF)):
    for _options in ({}, {"padding": "SAME"}, {"padding": ((0, 1), (1, 0))},
                     {"window_dilation": (1, 2)}):
        def _window(m: Any, x: Any, name: str, init: float, options: dict[str, Any]) -> Any:
            given = {"padding": "VALID", **options}
            return m.lax.reduce_window(x, np.asarray(init, x.dtype)[()], getattr(m.lax, name),
                                       (2, 2), (2, 1), **given)
        # JAX has no derivative of a maximum with a dilated window.
        expr(TABLE, "lax.reduce_window", _window, G(5, 6), _name, _init, _options,
             _grad=_name == "add" or "window_dilation" not in _options)
row(TABLE, "lax.argmax lax.argmin", call(G(3, 4), 1, "int32"), call(I(5), 0, "int32"))
row(TABLE, "lax.cumsum lax.cumprod lax.cummax lax.cummin lax.cumlogsumexp", call(G(3, 4), axis=0),
    call(G(3, 4), axis=1, reverse=True))
row(TABLE, "lax.cumsum lax.cumprod lax.cummax lax.cummin", call(I(3, 4), axis=1))
row(TABLE, "lax.sort", call(G(3, 4)), call(G(3, 4), dimension=0), call((I(6, hi=0), F(6))),
    call((I(6, hi=-3), G(6), F(6)), num_keys=2))
row(TABLE, "lax.sort_key_val", call(G(6), F(6)), call(I(3, 4), F(3, 4), dimension=0))
row(TABLE, "lax.top_k", call(G(3, 5), 2), call(G(5, 3), 2, axis=0), call(I(6), 3))

# ------------------------------------------------------------------ gather and scatter

def _gather(m: Any, x: Any, i: Any, names: dict[str, Any], sizes: Any, options: Any) -> Any:
    return m.lax.gather(x, i, m.lax.GatherDimensionNumbers(**names), sizes, **options)


for _mode in ({}, {"mode": "clip"}, {"mode": "fill", "fill_value": 7.0}):
    expr(TABLE, "lax.gather", _gather, F(5, 3), K([[0], [4], [9]] if _mode else [[0], [4], [2]]), {
        "offset_dims": (1,), "collapsed_slice_dims": (0,), "start_index_map": (0,)}, (1, 3), _mode)
expr(TABLE, "lax.gather", _gather, F(5, 3), K([[0, 1], [3, 0]]), {
    "offset_dims": (1,), "collapsed_slice_dims": (1,), "start_index_map": (0, 1)}, (2, 1), {})
expr(TABLE, "lax.gather", _gather, F(2, 5), K([[[0], [2]], [[1], [4]]]), {
    "offset_dims": (), "collapsed_slice_dims": (1,), "start_index_map": (1,),
    "operand_batching_dims": (0,), "start_indices_batching_dims": (0,)}, (1, 1), {})


def _scatter(m: Any, x: Any, i: Any, u: Any, name: str, options: Any) -> Any:
    numbers = m.lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,))
    return getattr(m.lax, name)(x, i, u, numbers, **options)


for _name in ("scatter", "scatter_add", "scatter_mul", "scatter_min", "scatter_max",
              "scatter_sub"):
    expr(TABLE, "lax." + _name, _scatter, F(5, 3), K([[0], [4], [1]]), G(3, 3), _name,
         {"unique_indices": True})
    expr(TABLE, "lax." + _name, _scatter, F(5, 3), K([[0], [9], [1]]), G(3, 3), _name,
         {"mode": "drop", "unique_indices": True})
    if _name not in ("scatter_min", "scatter_max"):  # JAX's gradient is -inf there
        expr(TABLE, "lax." + _name, _scatter, F(5, 3), K([[0], [9], [1]]), G(3, 3), _name,
             {"mode": "clip", "unique_indices": True})
for _name in ("scatter_add", "scatter_sub"):
    expr(TABLE, "lax." + _name, _scatter, F(5, 3), K([[0], [0], [1]]), G(3, 3), _name, {})

# ------------------------------------------------------------------ products and convolutions

row(TABLE, "lax.dot", call(F(2, 3), F(3, 4)), call(F(3), F(3)), call(F(2, 3), F(3)))
row(TABLE, "lax.batch_matmul", call(F(2, 3, 4), F(2, 4, 5)))
row(TABLE, "lax.dot_general", call(F(2, 3, 4), F(2, 4, 5), (((2,), (1,)), ((0,), (0,)))),
    call(F(3, 4), F(4, 3), (((0, 1), (1, 0)), ((), ()))),
    call(F(2, 3), F(4, 5), (((), ()), ((), ()))),
    call(I(2, 3), I(3, 2), (((1,), (0,)), ((), ())), preferred_element_type="float32",
         _wide=False, _single=True),
    call(F(3, 2, 4), F(4, 3, 5), (((2,), (0,)), ((0,), (1,)))))
row(TABLE, "lax.conv", call(F(2, 3, 6, 5), F(4, 3, 3, 2), (1, 2), "SAME"))
row(TABLE, "lax.conv_with_general_padding", call(F(2, 3, 6), F(4, 3, 3), (1,), ((1, 2),), (2,),
                                                 (1,)))
row(TABLE, "lax.conv_general_dilated",
    call(F(2, 3, 6, 5), F(4, 3, 3, 2), (2, 1), "VALID"),
    call(F(2, 4, 6), F(6, 2, 3), (1,), ((1, 0),), feature_group_count=2),
    call(F(4, 3, 6), F(6, 3, 3), (1,), "SAME", batch_group_count=2),
    call(F(2, 3, 6), F(4, 3, 3), (2,), ((2, -1),), lhs_dilation=(2,), rhs_dilation=(2,)),
    call(F(2, 6, 5, 3), F(3, 2, 3, 4), (1, 1), "SAME",
         dimension_numbers=("NHWC", "HWIO", "NHWC")),
    call(F(2, 3), F(4, 3), (), ()), call(F(1, 2, 3, 4, 3), F(2, 2, 2, 2, 2), (1, 1, 2), "SAME"))
row(TABLE, "lax.conv_transpose",
    call(F(2, 5, 3), F(3, 3, 4), (2,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")),
    call(F(2, 5, 3), F(3, 4, 3), (2,), "VALID", dimension_numbers=("NHC", "HIO", "NHC"),
         transpose_kernel=True),
    call(F(2, 5, 3), F(3, 3, 4), (1,), ((1, 1),), rhs_dilation=(2,),
         dimension_numbers=("NHC", "HIO", "NHC")))
row(TABLE, "lax.conv_general_dilated_patches", call(F(2, 3, 5, 5), (2, 3), (1, 2), "VALID"),
    call(F(2, 3, 5), (2,), (1,), "SAME"))
expr(TABLE, "lax.conv_dimension_numbers", lambda m: [list(part) for part in (
    m.lax.conv_dimension_numbers((1, 2, 3, 4), (5, 2, 3, 3), ("NHWC", "HWIO", "NCHW")))],
    _concrete=True)
row(TABLE, "lax.padtype_to_pads", call((5, 6), (3, 2), (2, 1), "SAME", _concrete=True),
    call((5, 6), (3, 2), (2, 1), "VALID", _concrete=True))
for _kind, _x in (("FFT", C(3, 4)), ("IFFT", C(3, 4)), ("RFFT", F(3, 4)), ("IRFFT", C(3, 3))):
    expr(TABLE, "lax.fft", lambda m, x, kind: m.lax.fft(x, getattr(m.lax.FftType, kind), (4,)), _x,
         _kind)
row(TABLE, "lax.fft", call(F(3, 4), "RFFT", (3, 4)))

# ------------------------------------------------------------------ linear algebra

row(TABLE, "lax.linalg.cholesky", call(S(3, 3)))
expr(TABLE, "lax.linalg.cholesky", lambda m, a: m.lax.linalg.cholesky(
    (a + m.np.swapaxes(a, -1, -2)) / 2, symmetrize_input=False), S(2, 3, 3))
row(TABLE, "lax.linalg.eigh", call(S(3, 3), _post=lambda m, vw: eigen_products(m, vw[::-1])))
row(TABLE, "lax.linalg.eig", call(F(3, 3), compute_left_eigenvectors=False, _grad=False,
                                  compute_right_eigenvectors=False, _tol32=0.02,
                                  _post=lambda m, w: m.np.sort(m.np.real(w[0]))))
row(TABLE, "lax.linalg.qr", call(F(4, 3), full_matrices=False),
    call(F(4, 3), full_matrices=True, _grad=False))
row(TABLE, "lax.linalg.svd", call(F(4, 3), full_matrices=False, _post=without_signs),
    call(F(4, 3), compute_uv=False))
row(TABLE, "lax.linalg.lu", call(F(3, 3)), call(F(4, 3)), call(F(2, 3, 3)), call(F(3, 4)))
row(TABLE, "lax.linalg.lu_pivots_to_permutation", call(typed(K([2, 1, 2]), "int32"), 3))
row(TABLE, "lax.linalg.triangular_solve", call(S(3, 3), F(2, 3)), call(S(3, 3), F(3, 2),
    left_side=True, lower=True), call(S(3, 3), F(3, 2), left_side=True, transpose_a=True),
    call(S(2, 3, 3), F(2, 2, 3), lower=True, unit_diagonal=True), call(C(3, 3), C(3, 2),
    left_side=True, lower=True, transpose_a=True, conjugate_a=True))
