"""`lucidfn.lax`: values and errors against NumPy, and every function against `jax.lax`."""

import math

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax

rng = np.random.default_rng(0)
A = lambda *shape: rng.standard_normal(shape)
P = lambda *shape: rng.uniform(0.2, 0.8, shape)
I = lambda *shape, high=5: rng.integers(0, high, shape).astype("int32")
B = lambda *shape: rng.uniform(size=shape) < 0.5
C = lambda *shape: A(*shape) + 1j * A(*shape)
X = np.asarray

UNARY = {
    **dict.fromkeys("neg sign floor ceil exp exp2 expm1 logistic cbrt square sin cos tan sinh cosh "
                    "tanh asinh atan erf erfc is_finite round".split(), A),
    **dict.fromkeys("log log1p sqrt rsqrt asin acos atanh lgamma digamma erf_inv reciprocal "
                    "bessel_i0e bessel_i1e".split(), P),
    "abs": lambda *s: A(*s), "acosh": lambda *s: 1.5 + P(*s), "real": C, "imag": C, "conj": C,
}
INTEGER_UNARY = "neg sign abs population_count clz bitwise_not".split()
BINARY = {
    **dict.fromkeys("add sub mul div max min rem atan2 complex eq ne lt le gt ge".split(), A),
    **dict.fromkeys("pow igamma igammac".split(), P), "nextafter": A,
}
INTEGER_BINARY = ("add sub mul div rem max min bitwise_and bitwise_or bitwise_xor shift_left "
                  "shift_right_logical shift_right_arithmetic eq lt").split()

G = lambda l, *a, **k: l.GatherDimensionNumbers(*a, **k)
S = lambda l, *a, **k: l.ScatterDimensionNumbers(*a, **k)
NHWC = ("NHWC", "HWIO", "NHWC")
INF = float("inf")


def monoid(l, name):
    return getattr(l, name)


# name -> (function of the module and the arrays, arrays); the floating ones are differentiated.
CASES = {
    "polygamma": (lambda l, x: l.polygamma(np.full((3,), 2.0), x), [P(3)]),
    "zeta": (lambda l, q: l.zeta(np.full((3,), 2.5), q), [1 + P(3)]),
    "betainc": (lambda l, x: l.betainc(np.full((3,), 1.5), np.full((3,), 2.5), x), [P(3)]),
    "igamma": (lambda l, a, x: l.igamma(a, x), [1 + P(3), P(3)]),
    "add size 1": (lambda l, x, y: l.add(x, y), [A(2, 1), A(2, 3)]),
    "mul scalar": (lambda l, x: l.mul(x, 2.0), [A(2, 3)]),
    "mul 0-d": (lambda l, x, y: l.mul(x, y), [A(2, 3), X(A())]),
    "pow int": (lambda l, x: l.pow(x, 3), [A(3)]),
    "pow int array": (lambda l, x, n: l.pow(x, n), [P(3), I(3)]),
    "integer_pow": (lambda l, x: l.integer_pow(x, -2), [A(3)]),
    "integer_pow 0": (lambda l, x: l.integer_pow(x, 0), [A(3)]),
    "round even": (lambda l, x: l.round(x, l.RoundingMethod.TO_NEAREST_EVEN), [A(3)]),
    "round": (lambda l, x: l.round(x), [X([-2.5, -0.5, 0.49999997, 0.5, 1.5, 2.5])]),
    "clamp": (lambda l, x: l.clamp(-0.5, x, 0.5), [A(5)]),
    "clamp arrays": (lambda l, a, x, b: l.clamp(a, x, b), [A(5) - 1, A(5), A(5) + 1]),
    "select": (lambda l, p, x, y: l.select(p, x, y), [B(2, 3), A(2, 3), A(2, 3)]),
    "select scalar": (lambda l, p, x, y: l.select(p, x, y), [X(True), A(2, 3), A(2, 3)]),
    "select_n": (lambda l, w, x, y, z: l.select_n(w, x, y, z), [I(4, high=3), A(4), A(4), A(4)]),
    "stop_gradient": (lambda l, x: l.mul(x, l.stop_gradient(x)), [A(3)]),
    "convert": (lambda l, x: l.convert_element_type(x, "float32"), [A(3)]),
    "convert int": (lambda l, x: l.convert_element_type(x, "int16"), [9 * A(3)]),
    "bitcast": (lambda l, x: l.bitcast_convert_type(x, "int64"), [A(3)]),
    "bitcast down": (lambda l, x: l.bitcast_convert_type(x, "uint8"), [A(3)]),
    "bitcast up": (lambda l, x: l.bitcast_convert_type(x, "float64"), [I(3, 2)]),
    "reduce_precision": (lambda l, x: l.reduce_precision(x, 5, 3),
                         [X([1.23, -4.5678, 1e-9, -1e-9, 7e4, 0.0, -0.0, INF, math.nan, 17.0])]),
    "reduce_precision bf16": (lambda l, x: l.reduce_precision(x, 8, 7), [A(20)]),
    "full": (lambda l: l.full((2, 3), 1.5, "float32"), []),
    "full_like": (lambda l, x: l.full_like(x, 2), [A(2)]),
    "iota": (lambda l: l.iota("float32", 4), []),
    "broadcasted_iota": (lambda l: l.broadcasted_iota("int32", (2, 3), 1), []),
    "broadcast": (lambda l, x: l.broadcast(x, (2, 4)), [A(3)]),
    "broadcast_in_dim": (lambda l, x: l.broadcast_in_dim(x, (2, 3, 4), (0, 2)), [A(2, 1)]),
    "reshape": (lambda l, x: l.reshape(x, (3, 2)), [A(2, 3)]),
    "reshape order": (lambda l, x: l.reshape(x, (6,), (1, 0)), [A(2, 3)]),
    "squeeze": (lambda l, x: l.squeeze(x, (0, -1)), [A(1, 3, 1)]),
    "expand_dims": (lambda l, x: l.expand_dims(x, (0, -1)), [A(3, 2)]),
    "collapse": (lambda l, x: l.collapse(x, 1, 3), [A(2, 3, 4, 5)]),
    "transpose": (lambda l, x: l.transpose(x, (2, 0, 1)), [A(2, 3, 4)]),
    "rev": (lambda l, x: l.rev(x, (0, 2)), [A(2, 3, 4)]),
    "concatenate": (lambda l, x, y: l.concatenate([x, y], 1), [A(2, 3), A(2, 1)]),
    "stack": (lambda l, x, y: l.stack([x, y], 1), [A(2, 3), A(2, 3)]),
    "unstack": (lambda l, x: l.unstack(x, 1)[2], [A(2, 3)]),
    "split": (lambda l, x: l.split(x, (1, 2, 0), 1)[1], [A(2, 3)]),
    "tile": (lambda l, x: l.tile(x, (2, 3)), [A(2, 3)]),
    "pad": (lambda l, x, v: l.pad(x, v, [(1, 2, 1), (-1, 0, 2)]), [A(3, 4), X(A())]),
    "slice": (lambda l, x: l.slice(x, (1, 0), (4, 5), (2, 3)), [A(5, 6)]),
    "slice_in_dim": (lambda l, x: l.slice_in_dim(x, 1, -1, 2, axis=1), [A(2, 7)]),
    "slice_in_dim all": (lambda l, x: l.slice_in_dim(x, None, None), [A(2, 7)]),
    "index_in_dim": (lambda l, x: l.index_in_dim(x, -1, 1, keepdims=False), [A(2, 3)]),
    "dynamic_slice": (lambda l, x, i: l.dynamic_slice(x, (i, X(np.int32(1))), (2, 2)),
                      [A(5, 4), X(np.int32(4))]),
    "dynamic_slice negative": (lambda l, x, i: l.dynamic_slice(x, (i, X(np.int32(-2))), (2, 2)),
                               [A(5, 4), X(np.int32(-3))]),
    "dynamic_slice array": (lambda l, x, i: l.dynamic_slice(x, i, (2, 2)), [A(5, 4), I(2)]),
    "dynamic_slice_in_dim": (lambda l, x, i: l.dynamic_slice_in_dim(x, i, 2, 1),
                             [A(2, 5), X(np.int32(3))]),
    "dynamic_index_in_dim": (lambda l, x, i: l.dynamic_index_in_dim(x, i, 1, keepdims=False),
                             [A(2, 5), X(np.int32(3))]),
    "dynamic_update_slice": (lambda l, x, u, i: l.dynamic_update_slice(x, u, (i, X(np.int32(1)))),
                             [A(5, 4), A(2, 2), X(np.int32(4))]),
    "dynamic_update_slice_in_dim": (lambda l, x, u, i: l.dynamic_update_slice_in_dim(x, u, i, 1),
                                    [A(2, 5), A(2, 2), X(np.int32(1))]),
    "dynamic_update_index_in_dim": (lambda l, x, u, i: l.dynamic_update_index_in_dim(x, u, i, 1),
                                    [A(2, 5), A(2), X(np.int32(1))]),
    "index_take": (lambda l, x, i, j: l.index_take(x, (i, j), (0, 2)),
                   [A(3, 4, 5), I(6, high=3), I(6)]),
    "dot": (lambda l, x, y: l.dot(x, y), [A(2, 3), A(3, 4)]),
    "dot vectors": (lambda l, x, y: l.dot(x, y), [A(3), A(3)]),
    "dot_general": (lambda l, x, y: l.dot_general(x, y, (((2,), (1,)), ((0,), (2,)))),
                    [A(5, 2, 3), A(4, 3, 5)]),
    "dot_general wide": (lambda l, x, y: l.dot_general(
        x, y, (((1,), (0,)), ((), ())), preferred_element_type="int32"),
        [I(2, 3, high=99).astype("int8"), I(3, 2, high=99).astype("int8")]),
    "batch_matmul": (lambda l, x, y: l.batch_matmul(x, y), [A(2, 3, 4), A(2, 4, 5)]),
    "conv": (lambda l, x, w: l.conv(x, w, (2, 1), "SAME"), [A(2, 3, 6, 5), A(4, 3, 3, 2)]),
    "conv valid": (lambda l, x, w: l.conv(x, w, (2,), "VALID"), [A(2, 3, 8), A(4, 3, 3)]),
    "conv_general_padding": (lambda l, x, w: l.conv_with_general_padding(
        x, w, (1, 2), [(1, 0), (2, -1)], (1, 2), (2, 1)), [A(2, 3, 6, 5), A(4, 3, 3, 2)]),
    "conv groups": (lambda l, x, w: l.conv_general_dilated(
        x, w, (1, 1), "SAME_LOWER", dimension_numbers=NHWC, feature_group_count=2),
        [A(2, 5, 5, 4), A(2, 2, 2, 6)]),
    "conv batch groups": (lambda l, x, w: l.conv_general_dilated(
        x, w, (1, 1), "VALID", dimension_numbers=NHWC, batch_group_count=2),
        [A(4, 5, 5, 3), A(2, 2, 3, 6)]),
    "conv CHWN": (lambda l, x, w: l.conv_general_dilated(
        x, w, (2, 1), [(1, 1), (0, 2)], rhs_dilation=(1, 2),
        dimension_numbers=("CHWN", "IHWO", "NWHC")), [A(3, 5, 6, 2), A(3, 2, 3, 4)]),
    "conv 3d": (lambda l, x, w: l.conv_general_dilated(
        x, w, (1, 2, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")),
        [A(1, 3, 4, 3, 2), A(2, 3, 2, 2, 2)]),
    "conv_transpose": (lambda l, x, w: l.conv_transpose(x, w, (2, 3), "SAME"),
                       [A(2, 4, 3, 3), A(3, 2, 3, 4)]),
    "conv_transpose valid": (lambda l, x, w: l.conv_transpose(x, w, (2,), "VALID"),
                             [A(2, 4, 3), A(5, 3, 4)]),
    "conv_transpose kernel": (lambda l, x, w: l.conv_transpose(
        x, w, (2, 2), [(1, 2), (0, 1)], transpose_kernel=True), [A(2, 4, 3, 3), A(3, 2, 4, 3)]),
    "conv_transpose dilated": (lambda l, x, w: l.conv_transpose(
        x, w, (2,), "SAME", rhs_dilation=(2,), dimension_numbers=("NCH", "OIH", "NCH")),
        [A(2, 3, 5), A(4, 3, 3)]),
    "conv_transpose consistent": (lambda l, x, w: l.conv_transpose(
        x, w, (2,), [(1, 2)], use_consistent_padding=True), [A(2, 4, 3), A(5, 3, 4)]),
    "patches": (lambda l, x: l.conv_general_dilated_patches(x, (2, 3), (2, 1), "SAME"),
                [A(2, 3, 5, 6)]),
    "patches NHWC": (lambda l, x: l.conv_general_dilated_patches(
        x, (2, 2), (1, 1), [(0, 1), (1, 0)], rhs_dilation=(1, 2), dimension_numbers=NHWC),
        [A(2, 5, 6, 3)]),
    "reduce_sum": (lambda l, x: l.reduce_sum(x, (0, 2)), [A(2, 3, 4)]),
    "reduce_max": (lambda l, x: l.reduce_max(x, (0, 2)), [A(2, 3, 4)]),
    "reduce_min": (lambda l, x: l.reduce_min(x, (1,)), [A(2, 3, 4)]),
    "reduce_max empty": (lambda l, x: l.reduce_max(x, (1,)), [A(2, 0)]),
    "reduce_max int": (lambda l, x: l.reduce_max(x, (1,)), [I(2, 0)]),
    "reduce_prod": (lambda l, x: l.reduce_prod(x, (0, 2)), [A(2, 3, 4)]),
    "reduce_and": (lambda l, x: l.reduce_and(x, (1,)), [B(3, 2)]),
    "reduce_or": (lambda l, x: l.reduce_or(x, (1,)), [B(3, 2)]),
    "reduce_xor": (lambda l, x: l.reduce_xor(x, (1,)), [I(3, 2)]),
    "reduce add": (lambda l, x: l.reduce(x, 0.0, l.add, (0, 2)), [A(2, 3, 5)]),
    "reduce any": (lambda l, x: l.reduce(x, 1.0, lambda a, b: l.mul(a, l.exp(l.mul(0.0, b))) * b,
                                         (1,)), [P(2, 5)]),
    "reduce pair": (lambda l, x, y: l.reduce(
        (x, y), (-INF, 0.0), lambda a, b: (l.max(a[0], b[0]), l.add(a[1], b[1])), (1,))[1],
        [A(2, 5), A(2, 5)]),
    **{f"reduce_window {name} {pad}": (
        lambda l, x, name=name, init=init, pad=pad: l.reduce_window(
            x, init, monoid(l, name), (1, 3, 2), (1, 2, 1), pad), [P(2, 7, 5)])
       for name, init in (("add", 0.0), ("max", -INF), ("min", INF), ("mul", 1.0))
       for pad in ("SAME", "VALID")},
    "reduce_window dilated": (lambda l, x: l.reduce_window(
        x, 0.0, l.add, (3, 2), (1, 2), [(1, 1), (0, 2)], (2, 1), (1, 2)), [A(5, 6)]),
    "reduce_window init": (lambda l, x: l.reduce_window(
        x, 0.5, l.max, (3,), (1,), "SAME"), [A(6)]),
    "reduce_window int": (lambda l, x: l.reduce_window(x, X(np.int32(0)), l.add, (2,)), [I(6)]),
    **{f"{name} {reverse}": (
        lambda l, x, name=name, reverse=reverse: getattr(l, name)(x, 1, reverse), [A(2, 5, 3)])
       for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
       for reverse in (False, True)},
    "argmax": (lambda l, x: l.argmax(x, 1, "int32"), [A(2, 5)]),
    "argmin": (lambda l, x: l.argmin(x, 0, "int32"), [A(2, 5)]),
    "sort": (lambda l, x: l.sort(x, 0), [A(5, 2)]),
    "sort several": (lambda l, k, x: l.sort((k, x), num_keys=1)[1], [I(2, 5), A(2, 5)]),
    "sort_key_val": (lambda l, k, x: l.sort_key_val(k, x)[1], [A(2, 5), A(2, 5)]),
    "top_k": (lambda l, x: l.top_k(x, 3)[0], [A(2, 5)]),
    "top_k axis": (lambda l, x: l.top_k(x, 1, axis=0)[1], [A(2, 5)]),
    "fft": (lambda l, x: l.fft(x, "FFT", (3, 4)), [C(2, 3, 4)]),
    "ifft": (lambda l, x: l.fft(x, l.FftType.IFFT, (4,)), [C(2, 4)]),
    "rfft": (lambda l, x: l.fft(x, "RFFT", (5,)), [A(2, 5)]),
    "irfft": (lambda l, x: l.fft(x, "IRFFT", (6,)), [C(2, 4)]),
    # An embedding lookup, windows of a matrix, a diagonal, windows kept with axes of size 1.
    "gather rows": (lambda l, x, i: l.gather(x, i, G(l, (1,), (0,), (0,)), (1, 3),
                                             mode="clip"),
                    [A(5, 3), I(4, 1, high=7)]),
    "gather windows": (lambda l, x, i: l.gather(x, i, G(l, (1, 2), (), (0, 1)), (2, 3),
                                                mode="clip"),
                       [A(5, 6), I(4, 2)]),
    "gather fill": (lambda l, x, i: l.gather(x, i, G(l, (1,), (1,), (1, 0)), (2, 1),
                                             mode="fill", fill_value=-1.0), [A(5, 6), I(9, 2) - 1]),
    "gather kept": (lambda l, x, i: l.gather(x, i, G(l, (0, 2), (), (1,)), (2, 1), mode="clip"),
                    [A(4, 6), I(3, 1, high=9)]),
    "gather batching": (lambda l, x, i: l.gather(
        x, i, G(l, (1,), (1,), (1,), (0,), (0,)), (1, 1, 2), mode="clip"),
        [A(3, 5, 2), I(3, 1)]),
    "gather int fill": (lambda l, x, i: l.gather(x, i, G(l, (), (0,), (0,)), (1,), mode="fill"),
                        [I(5), I(4, 1, high=9)]),
    "gather promise": (lambda l, x, i: l.gather(
        x, i, G(l, (2,), (0,), (0,)), (1, 3), mode=l.GatherScatterMode.PROMISE_IN_BOUNDS),
        [A(5, 3), I(4, 2, 1)]),
    "scatter_add rows": (lambda l, x, i, u: l.scatter_add(x, i, u, S(l, (1,), (0,), (0,))),
                         [A(5, 3), I(4, 1, high=7), A(4, 3)]),
    "scatter_sub rows": (lambda l, x, i, u: l.scatter_sub(x, i, u, S(l, (1,), (0,), (0,))),
                         [A(5, 3), I(4, 1, high=7), A(4, 3)]),
    "scatter_mul rows": (lambda l, x, i, u: l.scatter_mul(x, i, u, S(l, (1,), (0,), (0,)),
                                                          unique_indices=True),
                         [A(5, 3), X([[3], [1], [9]], ).astype("int32"), A(3, 3)]),
    "scatter windows": (lambda l, x, i, u: l.scatter(x, i, u, S(l, (1, 2), (), (0, 1))),
                        [A(9, 6), X([[0, 1], [5, 2], [3, 5]]).astype("int32"), A(3, 2, 3)]),
    "scatter clip": (lambda l, x, i, u: l.scatter(x, i, u, S(l, (0,), (0,), (0,)), mode="clip"),
                     [A(5, 3), X([[3], [1], [9]]).astype("int32"), A(3, 3)]),
    "scatter_add part": (lambda l, x, i, u: l.scatter_add(x, i, u, S(l, (0,), (1,), (1,))),
                         [A(5, 3), I(4, 1), A(2, 4)]),
    "scatter_max": (lambda l, x, i, u: l.scatter_max(x, i, u, S(l, (), (0,), (0,))),
                    [I(5), I(9, 1, high=7), I(9)]),
    "scatter_min": (lambda l, x, i, u: l.scatter_min(x, i, u, S(l, (), (0,), (0,))),
                    [I(5), I(9, 1, high=7), I(9)]),
    "scatter batching": (lambda l, x, i, u: l.scatter_add(
        x, i, u, S(l, (1,), (1,), (1,), (0,), (0,))), [A(3, 5, 2), I(3, 1), A(3, 2)]),
    "cholesky": (lambda l, x: l.linalg.cholesky(
        l.add(l.batch_matmul(x, l.transpose(x, (0, 2, 1))), np.eye(3)[None])), [A(2, 3, 3)]),
    "eigh w": (lambda l, x: l.linalg.eigh(x)[1], [A(2, 3, 3)]),
    "qr": (lambda l, x: l.linalg.qr(x, full_matrices=False)[1], [A(2, 4, 3)]),
    "svd": (lambda l, x: l.linalg.svd(x, full_matrices=False)[1], [A(2, 4, 3)]),
    "svd values": (lambda l, x: l.linalg.svd(x, compute_uv=False), [A(2, 4, 3)]),
    "lu": (lambda l, x: l.linalg.lu(x)[0], [A(2, 3, 3)]),
    "lu permutation": (lambda l, x: l.linalg.lu_pivots_to_permutation(l.linalg.lu(x)[1], 4),
                       [A(2, 4, 3)]),
    "triangular_solve": (lambda l, a, b: l.linalg.triangular_solve(
        a, b, left_side=True, lower=True, transpose_a=True), [A(3, 3) + 3 * np.eye(3), A(3, 2)]),
    "triangular_solve right": (lambda l, a, b: l.linalg.triangular_solve(
        a, b, unit_diagonal=True), [A(2, 3, 3), A(2, 4, 3)]),
}
for _name, _draw in UNARY.items():
    CASES[_name] = (lambda l, x, n=_name: getattr(l, n)(x), [_draw(2, 3)])
for _name in INTEGER_UNARY:
    CASES[f"{_name} int"] = (lambda l, x, n=_name: getattr(l, n)(x), [I(2, 3) - 2])
for _name, _draw in BINARY.items():
    CASES[_name] = (lambda l, x, y, n=_name: getattr(l, n)(x, y), [_draw(2, 3), _draw(2, 3)])
for _name in INTEGER_BINARY:
    CASES[f"{_name} int"] = (lambda l, x, y, n=_name: getattr(l, n)(x, y),
                             [I(2, 3) - 2, 1 + I(2, 3)])

# JAX has no derivative of these in reverse mode, or NaN; that of reduce_precision is rounded there.
VALUES_ONLY = {"nextafter", "reduce_precision", "reduce_precision bf16", "zeta", "reduce_max empty",
               "reduce_window mul SAME", "reduce_window mul VALID", "reduce_window init"}
TOLERANCE = {"digamma": 1e-8, "lgamma": 1e-8, "polygamma": 1e-6, "zeta": 1e-6, "betainc": 1e-6,
             "bessel_i0e": 1e-5, "bessel_i1e": 1e-5, "igamma": 1e-6, "igammac": 1e-6,
             "erf_inv": 1e-8}


def close(name, got, want):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    tol = TOLERANCE.get(name, 1e-10)
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def moving(args):
    return [i for i, a in enumerate(args) if a.dtype.kind in "fc"]


@pytest.fixture(scope="module")
def jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


@pytest.mark.peers
@pytest.mark.parametrize("name", CASES)
def test_value_and_derivatives_are_those_of_jax(name, jax):
    f, args = CASES[name]
    got, want = f(lax, *args), f(jax.lax, *args)
    if name in ("fft", "ifft") or not args:
        assert str(got.dtype) == str(want.dtype)
    close(name, got, want)
    at = moving(args)
    if not at or want.dtype.kind not in "fc" or name in VALUES_ONLY:
        return
    ct = A(*want.shape).astype(want.dtype) if want.dtype.kind == "f" else C(*want.shape)
    put = lambda xs: [xs[at.index(i)] if i in at else a for i, a in enumerate(args)]
    picked = [args[i] for i in at]
    ours = lf.vjp(lambda *xs: f(lax, *put(xs)), *picked)[1](ct)
    theirs = jax.vjp(lambda *xs: f(jax.lax, *put(xs)), *map(jax.numpy.asarray, picked))[1](ct)
    for g, w in zip(ours, theirs, strict=True):
        close(name, g, w)
    tangents = [A(*x.shape) if x.dtype.kind == "f" else C(*x.shape) for x in picked]
    _, t = lf.jvp(lambda *xs: f(lax, *put(xs)), tuple(picked), tuple(tangents))
    _, u = jax.jvp(lambda *xs: f(jax.lax, *put(xs)), tuple(picked), tuple(tangents))
    close(name, t, u)


@pytest.mark.parametrize("name", [n for n, (_, args) in CASES.items() if args])
def test_lanes_of_vmap_and_jit_agree_with_calls(name):
    f, args = CASES[name]
    batch = [np.stack([a, a[::-1] if a.ndim and a.shape[0] and "linalg" not in name else a])
             for a in args]
    lanes = [np.asarray(f(lax, *[b[i] for b in batch])) for i in range(2)]
    got = lf.vmap(lambda *xs: f(lax, *xs))(*batch)
    np.testing.assert_allclose(got, np.stack(lanes), rtol=1e-9, atol=1e-9)
    once = lf.vmap(lambda x: f(lax, x, *args[1:]))(batch[0])
    np.testing.assert_allclose(once[0], f(lax, *args), rtol=1e-9, atol=1e-9)
    jitted = lf.jit(lambda *xs: f(lax, *xs))(*args)
    np.testing.assert_allclose(jitted, f(lax, *args), rtol=1e-9, atol=1e-9)


SECOND = ["conv CHWN", "conv batch groups", "conv_transpose", "patches", "reduce_window max SAME",
          "reduce_window mul VALID", "reduce any", "gather windows", "scatter_mul rows",
          "dynamic_update_slice", "cumlogsumexp True", "clamp arrays"]


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_against_differences(name):
    f, args = CASES[name]
    at = moving(args)
    picked = [args[i] for i in at]
    put = lambda xs: [xs[at.index(i)] if i in at else a for i, a in enumerate(args)]
    # The exponential gives linear functions a second derivative.
    loss = lambda *xs: lf.numpy.sum(lf.numpy.exp(0.1 * f(lax, *put(xs))))
    grads = lf.grad(loss, argnums=tuple(range(len(picked))))
    direction = [A(*x.shape) for x in picked]
    step = lambda s: grads(*[x + s * d for x, d in zip(picked, direction, strict=True)])
    _, t = lf.jvp(grads, tuple(picked), tuple(direction))
    for got, ahead, behind in zip(t, step(1e-5), step(-1e-5), strict=True):
        want = (np.asarray(ahead) - np.asarray(behind)) / 2e-5
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_dtypes_and_weak_scalars():
    x = X([1, 2], "float32")
    assert lax.add(x, 1).dtype == "float32"
    assert lax.mul(lf.numpy.asarray(2.0), x).dtype == "float32"
    assert lax.add(X([1], "int8"), 3).dtype == "int8"
    assert lax.add(1, 2.5).dtype == "float32"
    assert lax.add(X([1.0]), np.float64(2)).dtype == "float64"
    assert lax.full((2,), 1).dtype == "int32"
    assert lax.full((), True).dtype == "bool"
    assert lax.full_like(X([1], "int8"), 3.7).tolist() == [3]
    assert lax.sin(1.0).weak_type
    assert not lax.eq(1.0, 2.0).weak_type


F, D = X([1, 2, 3], "float32"), X([1.0, 2.0, 3.0])
ERRORS = {
    "dtypes": (lambda: lax.add(F, D), TypeError, r"equal dtypes.*convert_element_type"),
    "int and float": (lambda: lax.add(F, X([1, 2, 3])), TypeError, "lax.add got float32.*int64"),
    "scalar kind": (lambda: lax.add(X([1, 2]), 1.5), TypeError, "equal dtypes"),
    "overflow": (lambda: lax.add(X([1], "int8"), 300), OverflowError, "300 does not fit int8"),
    "rank": (lambda: lax.mul(F, np.ones((2, 3), "float32")), TypeError,
             "number of axes must be equal"),
    "shape": (lambda: lax.mul(F, np.ones(4, "float32")), TypeError, "shapes must broadcast"),
    "sin of int": (lambda: lax.sin(X([1, 2])), TypeError, "it takes floating or complex arrays"),
    "select": (lambda: lax.select(X([True, False]), F, F), TypeError, "or be a scalar"),
    "select dtype": (lambda: lax.select(F, F, F), TypeError, "boolean or integer selector"),
    "clamp": (lambda: lax.clamp(X([0.0]), D, 1.0), TypeError, "scalars or have x's shape"),
    "reshape": (lambda: lax.reshape(F, (2, 2)), TypeError, "3 elements; shape .* has 4"),
    "reshape -1": (lambda: lax.reshape(F, (-1,)), TypeError, "must not be negative"),
    "broadcast_in_dim": (lambda: lax.broadcast_in_dim(F, (2, 3), (0,)), TypeError, "ascending"),
    "concatenate": (lambda: lax.concatenate([F, D], 0), TypeError, "equal dtypes"),
    "concatenate shape": (lambda: lax.concatenate([np.ones((2, 3)), np.ones((2, 2))], 0),
                          TypeError, "all axes but axis 0 must agree"),
    "axis": (lambda: lax.rev(F, (1,)), TypeError, "got axis 1 for an array of 1 axes"),
    "axis twice": (lambda: lax.reduce_sum(np.ones((2, 2)), (0, -2)), TypeError, "repeat an axis"),
    "slice": (lambda: lax.slice(F, (0,), (4,)), TypeError, "do not fit"),
    "index": (lambda: lax.index_in_dim(F, 3), IndexError, "index 3 for axis 0 of size 3"),
    "dynamic_slice": (lambda: lax.dynamic_slice(F, (0,), (4,)), TypeError, "does not fit"),
    "dynamic_slice float": (lambda: lax.dynamic_slice(F, (0.5,), (1,)), TypeError,
                            "must be one integer"),
    "dot": (lambda: lax.dot(F, np.ones(4, "float32")), TypeError, "sizes 3 and 4"),
    "conv channels": (lambda: lax.conv(np.ones((1, 3, 5)), np.ones((2, 4, 3)), (1,), "SAME"),
                      TypeError, r"\[1,3,5\] as NCH .*\[2,4,3\] as OIH.* C = 3 must be I .*4 \* 1"),
    "conv groups": (lambda: lax.conv_general_dilated(
        np.ones((1, 4, 5)), np.ones((3, 2, 3)), (1,), "SAME", feature_group_count=2),
        TypeError, "O = 3 a multiple"),
    "conv layout": (lambda: lax.conv_general_dilated(
        np.ones((1, 8, 9, 3)), np.ones((3, 3, 8, 2)), (1, 1), "SAME", dimension_numbers=NHWC),
        TypeError, r"as NHWC .*as HWIO.* C = 3 must be"),
    "full of keys": (lambda: lax.full_like(lf.random.split(lf.random.key(0), 2), 0), TypeError,
                     "random.split makes arrays of keys"),
    "conv spec": (lambda: lax.conv_general_dilated(
        np.ones((1, 3, 5)), np.ones((2, 3, 3)), (1,), "SAME", dimension_numbers=("NH", "OIH", "NCH")
    ), ValueError, "one letter for each of 3 axes"),
    "conv padding": (lambda: lax.conv(np.ones((1, 3, 5)), np.ones((2, 3, 3)), (1,), "FULL"),
                     ValueError, "'SAME'"),
    "conv dilated": (lambda: lax.conv_general_dilated(
        np.ones((1, 3, 5)), np.ones((2, 3, 3)), (1,), "SAME", (2,)), ValueError, "conv_transpose"),
    "gather": (lambda: lax.gather(np.ones((4, 3)), X([[0]]), lax.GatherDimensionNumbers(
        (1,), (0,), (0,)), (1, 4)), TypeError, "slice_sizes must have one entry"),
    "scatter": (lambda: lax.scatter_add(np.ones((4, 3)), X([[0]]), np.ones((2, 3)),
                                        lax.ScatterDimensionNumbers((1,), (0,), (0,))),
                TypeError, "updates must have the indices' axes"),
    "mode": (lambda: lax.GatherScatterMode.from_any("wrap"), ValueError, "is not a mode"),
    "top_k": (lambda: lax.top_k(F, 4), TypeError, "has no 4 elements"),
    "reduce init": (lambda: lax.reduce(F, F, lax.add, (0,)), TypeError, "must be a scalar"),
    "sum of bool": (lambda: lax.reduce_sum(X([True]), (0,)), TypeError, "does not take this dtype"),
    "fft": (lambda: lax.fft(X([1j, 2j]), "FFT", (3,)), TypeError, "needs last axes"),
    "cholesky": (lambda: lax.linalg.cholesky(np.ones((2, 3))), TypeError, "square matrices"),
    "string": (lambda: lax.add(X(["a"]), 1), TypeError, "array of strings"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


def test_errors_name_the_user_line():
    with pytest.raises(TypeError, match=r"mul at test_lax\.py:\d+"):
        lax.mul(F, np.ones(4, "float32"))


def test_reduce_window_takes_the_functions_of_lnp():
    x = A(6)
    program = lf.make_ir(lambda x: lax.reduce_window(x, -INF, lnp.maximum, (2,)))(x)
    assert "window_max" in str(program)


@pytest.mark.parametrize("dtype", ["int8", "int32", "float32"])
def test_reduce_window_from_any_bound_is_fast(dtype):
    x = lnp.array([-3, 2, 5, -1], dtype)
    for f, bound, want in ((lax.max, 0, [2, 5, 5, 0]), (lax.min, 1, [-3, 1, -1, -1])):
        run = lambda x: lax.reduce_window(x, bound, f, (2,), padding=((0, 1),))
        assert run(x).tolist() == want
        assert "window_" in str(lf.make_ir(run)(x))
    got = lax.reduce_window(x, lnp.array(4, dtype), lax.max, (2,))
    assert got.tolist() == [4, 5, 5] and got.dtype == dtype


def test_padtype_to_pads():
    assert lax.padtype_to_pads((5, 5), (3, 2), (2, 1), "SAME") == [(1, 1), (0, 1)]
    assert lax.padtype_to_pads((5, 5), (3, 2), (2, 1), "SAME_LOWER") == [(1, 1), (1, 0)]
    assert lax.padtype_to_pads((5,), (3,), (2,), "VALID") == [(0, 0)]


def test_stop_gradient_takes_trees():
    out = lax.stop_gradient({"a": X([1.0]), "n": 3, "s": "text"})
    assert out["s"] == "text"
    assert np.asarray(out["n"]) == 3


def test_platform_names_exist():
    must = """select select_n stop_gradient add sub mul div neg pow integer_pow exp log log1p expm1
    sin cos tanh logistic sqrt rsqrt square abs sign floor ceil round max min clamp rem eq ne lt le
    gt ge erf erfc erf_inv lgamma digamma is_finite convert_element_type full full_like iota
    broadcasted_iota broadcast_in_dim reshape squeeze expand_dims transpose rev concatenate pad
    slice slice_in_dim dynamic_slice dynamic_slice_in_dim dynamic_index_in_dim dynamic_update_slice
    dynamic_update_slice_in_dim dynamic_update_index_in_dim gather scatter scatter_add
    GatherDimensionNumbers ScatterDimensionNumbers dot dot_general batch_matmul conv
    conv_general_dilated conv_transpose conv_dimension_numbers reduce_sum reduce_max reduce_min
    reduce_prod reduce_window argmax argmin cumsum cumprod cummax cummin sort top_k""".split()
    assert [n for n in must if not hasattr(lax, n)] == []
