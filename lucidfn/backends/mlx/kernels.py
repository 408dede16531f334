"""The table of MLX kernels: one line a primitive.

Most are MLX's own operations or expressions of them, which are lazy and may be compiled; those
marked `on_host` (some for a few dtypes only) take their operands to the CPU: see `fallback`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucidfn import ops
from lucidfn.backends.mlx import (
    bits,
    contract,
    conv,
    fourier,
    indexing,
    linalg,
    random,
    reduce,
    shapes,
    sorting,
    special,
    windows,
)
from lucidfn.backends.mlx import elementwise as ew
from lucidfn.backends.mlx import incomplete_gamma as gamma
from lucidfn.backends.mlx.arrays import with_bits, with_keys
from lucidfn.backends.mlx.fallback import on_host, on_host_if, uncompiled
from lucidfn.core.primitive import Primitive

# ------------------------------------------------------------------ what goes to the CPU

def empty(x: Any, **_: Any) -> bool:
    return 0 in x.shape


COMPLEX = frozenset({mx.complex64, np.dtype("complex64")})


def complex_(*args: Any, **_: Any) -> bool:
    return any([getattr(x, "dtype", None) in COMPLEX for x in args])


def empty_or_complex(x: Any, *_: Any, **__: Any) -> bool:
    return 0 in x.shape or x.dtype in COMPLEX


def other_generator(keys: Any, **_: Any) -> bool:
    return not random.usable(keys)


KERNELS: dict[Primitive, Callable[..., Any]] = {
    ops.add: mx.add, ops.sub: mx.subtract, ops.mul: mx.multiply, ops.neg: mx.negative,
    ops.exp: ew.exp, ops.exp2: ew.exp2, ops.expm1: ew.expm1, ops.log: mx.log, ops.log1p: ew.log1p,
    ops.sqrt: mx.sqrt, ops.cbrt: ew.cbrt, ops.square: mx.square,
    ops.sin: ew.sin, ops.cos: ew.cos, ops.tan: mx.tan,
    ops.asin: mx.arcsin, ops.acos: mx.arccos, ops.atan: mx.arctan, ops.atan2: mx.arctan2,
    ops.sinh: mx.sinh, ops.cosh: mx.cosh, ops.tanh: mx.tanh,
    ops.asinh: mx.arcsinh, ops.acosh: ew.acosh, ops.atanh: mx.arctanh,
    ops.abs: mx.abs, ops.sign: ew.sign, ops.floor: mx.floor, ops.ceil: mx.ceil,
    ops.round: mx.round, ops.trunc: ew.trunc, ops.nextafter: ew.nextafter, ops.conj: mx.conj,
    ops.lt: mx.less, ops.le: mx.less_equal, ops.gt: mx.greater, ops.ge: mx.greater_equal,
    ops.eq: with_bits(mx.equal), ops.ne: with_bits(mx.not_equal),
    ops.is_finite: mx.isfinite, ops.is_nan: mx.isnan, ops.signbit: ew.signbit,
    ops.bitwise_and: mx.bitwise_and, ops.bitwise_or: mx.bitwise_or,
    ops.bitwise_xor: mx.bitwise_xor, ops.bitwise_not: bits.bitwise_not,
    ops.shift_left: bits.shift_left, ops.shift_right_logical: bits.shift_right_logical,
    ops.shift_right_arithmetic: bits.shift_right_arithmetic,
    ops.population_count: bits.population_count, ops.clz: bits.clz,
    ops.div: ew.div, ops.rem: ew.rem, ops.pow: ew.power,
    ops.integer_pow: ew.integer_pow, ops.rsqrt: ew.rsqrt, ops.relu: ew.relu, ops.clamp: ew.clamp,
    ops.fma: ew.fma,
    ops.convert: ew.convert, ops.bitcast: ew.bitcast,
    ops.copy: lambda x: x, ops.stop_gradient: lambda x: x, ops.checkpoint_name: lambda x, name: x,
    ops.real: mx.real, ops.imag: mx.imag, ops.complex_: ew.complex_parts,
    ops.logistic: ew.logistic, ops.logaddexp: ew.logaddexp,
    ops.xlogy: ew.xlogy, ops.xlog1py: ew.xlog1py,
    ops.full: shapes.full, ops.iota: shapes.iota, ops.resample: shapes.resample,
    ops.reduce_sum: reduce.reduce_sum, ops.reduce_prod: reduce.reduce_prod,
    ops.reduce_and: reduce.reduce_and, ops.reduce_or: reduce.reduce_or,
    ops.cumsum: reduce.cumsum, ops.cumprod: reduce.cumprod,
    ops.cumlogsumexp: reduce.cumlogsumexp, ops.softmax: reduce.softmax,
    ops.dot_general: contract.dot_general, ops.conv: conv.conv,
    ops.window_sum: windows.window_sum, ops.window_max: windows.window_max,
    ops.window_min: windows.window_min,
    ops.window_share: windows.window_share, ops.window_spread: windows.window_spread,
    ops.check_labels: indexing.check_labels,
    ops.scatter_add: indexing.scatter_add, ops.scatter_mul: indexing.scatter_mul,
    ops.scatter_min: indexing.scatter_min, ops.scatter_max: indexing.scatter_max,
    ops.sort: sorting.sort, ops.argsort: sorting.argsort, ops.top_k: sorting.top_k,
    ops.erf: special.erf, ops.erfc: special.erfc, ops.erf_inv: special.erf_inv,
    ops.lgamma: special.lgamma, ops.digamma: special.digamma,
    ops.bessel_i0e: special.bessel_i0e, ops.bessel_i1e: special.bessel_i1e,
    ops.expi: special.expi,
    ops.fft: fourier.fft,
    ops.triangular_solve: linalg.triangular_solve, ops.solve: linalg.solve,
}

# These move elements without computing: of keys too.
KERNELS.update({primitive: with_keys(kernel) for primitive, kernel in {
    ops.reshape: shapes.reshape, ops.permute: shapes.permute, ops.flip: shapes.flip,
    ops.broadcast_to: shapes.broadcast_to, ops.slice_: shapes.slice_, ops.pad: shapes.pad,
    ops.concatenate: shapes.concatenate, ops.split: shapes.split, ops.select: ew.select,
    ops.gather: indexing.gather, ops.scatter_set: indexing.scatter_set,
    ops.dynamic_slice: indexing.dynamic_slice,
    ops.dynamic_update_slice: indexing.dynamic_update_slice,
}.items()})

# MLX's order of complex numbers does not see NaN in the imaginary part.
KERNELS.update({primitive: on_host_if(primitive, complex_, kernel) for primitive, kernel in {
    ops.max: mx.maximum, ops.min: mx.minimum,
    ops.reduce_max: reduce.reduce_max, ops.reduce_min: reduce.reduce_min,
    ops.argmax: reduce.argmax, ops.argmin: reduce.argmin,
    ops.cummax: reduce.cummax, ops.cummin: reduce.cummin,
}.items()})

# Factorisations of empty matrices, and some of complex ones, are NumPy's.
KERNELS.update({primitive: on_host_if(primitive, empty, kernel) for primitive, kernel in {
    ops.svd: linalg.svd, ops.eigh: linalg.eigh, ops.eigvals: linalg.eigvals,
}.items()})
KERNELS.update({primitive: on_host_if(primitive, empty_or_complex, kernel)
                for primitive, kernel in {
    ops.cholesky: linalg.cholesky, ops.lu: linalg.lu, ops.qr: linalg.qr,
    ops.det: linalg.det, ops.slogdet: linalg.slogdet, ops.cofactor: linalg.cofactor,
    ops.pinv: linalg.pinv, ops.eig: linalg.eig,
}.items()})

KERNELS.update({
    ops.random_seed: random.seed, ops.random_wrap: random.wrap,
    ops.random_key_data: random.key_data, ops.random_clone: random.clone,
    ops.random_fold_in: random.fold_in, ops.random_split: random.split,
})
KERNELS.update({primitive: on_host_if(primitive, other_generator, kernel)
                for primitive, kernel in {
    ops.random_bits: random.bits, ops.random_below: random.below,
    ops.random_uniform: random.uniform, ops.random_normal: random.normal,
}.items()})

KERNELS.update({primitive: uncompiled(kernel) for primitive, kernel in {
    ops.polygamma: special.polygamma, ops.zeta: special.zeta, ops.ndtri: special.ndtri,
    ops.igamma: gamma.igamma, ops.igammac: gamma.igammac,
    ops.igamma_grad_a: gamma.igamma_grad_a, ops.random_gamma_grad: gamma.random_gamma_grad,
}.items()})

KERNELS.update({primitive: on_host(primitive) for primitive in (
    ops.betainc, ops.betainc_grad_a, ops.betainc_grad_b,
    ops.random_gamma, ops.random_poisson, ops.random_binomial)})
