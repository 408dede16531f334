"""The table of NumPy kernels: one line a primitive.

`UFUNCS` are applied as they are, with `out=` where the compiler has a buffer to give; `KERNELS`
holds all primitives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy import (
    attaining,
    contract,
    conv,
    determinants,
    fft,
    indexing,
    linalg,
    probability,
    rng,
    samplers,
    softmax,
    sorting,
    special,
    special_beta_slopes,
)
from lucidfn.backends.numpy import elementwise as ew
from lucidfn.core.primitive import Primitive
from lucidfn.types import SCALARS

UFUNCS: dict[Primitive, np.ufunc] = {
    ops.add: np.add, ops.sub: np.subtract, ops.mul: np.multiply, ops.neg: np.negative,
    ops.max: np.maximum, ops.min: np.minimum,
    ops.exp: np.exp, ops.exp2: np.exp2, ops.expm1: np.expm1, ops.log: np.log, ops.log1p: np.log1p,
    ops.sqrt: np.sqrt, ops.cbrt: np.cbrt, ops.square: np.square,
    ops.sin: np.sin, ops.cos: np.cos, ops.tan: np.tan,
    ops.asin: np.arcsin, ops.acos: np.arccos, ops.atan: np.arctan, ops.atan2: np.arctan2,
    ops.sinh: np.sinh, ops.cosh: np.cosh, ops.tanh: np.tanh,
    ops.asinh: np.arcsinh, ops.acosh: np.arccosh, ops.atanh: np.arctanh,
    ops.abs: np.abs, ops.sign: np.sign, ops.floor: np.floor, ops.ceil: np.ceil, ops.round: np.rint,
    ops.trunc: np.trunc, ops.nextafter: np.nextafter, ops.conj: np.conj,
    ops.lt: np.less, ops.le: np.less_equal, ops.gt: np.greater, ops.ge: np.greater_equal,
    ops.is_finite: np.isfinite, ops.is_nan: np.isnan, ops.signbit: np.signbit,
    ops.bitwise_and: np.bitwise_and, ops.bitwise_or: np.bitwise_or,
    ops.bitwise_xor: np.bitwise_xor, ops.bitwise_not: np.invert,
}

KERNELS: dict[Primitive, Callable[..., Any]] = {
    **UFUNCS,
    ops.div: ew.div, ops.rem: ew.rem, ops.pow: ew.power,
    ops.integer_pow: ew.integer_pow, ops.rsqrt: ew.rsqrt, ops.relu: ew.relu, ops.clamp: ew.clamp,
    ops.fma: ew.fma,
    ops.select: ew.select, ops.convert: ew.convert, ops.bitcast: ew.bitcast,
    ops.copy: lambda x: x, ops.stop_gradient: lambda x: x,
    ops.checkpoint_name: lambda x, name: x,
    ops.real: ew.real, ops.imag: ew.imag, ops.complex_: ew.complex_parts,
    ops.eq: ew.eq, ops.ne: ew.ne,
    ops.shift_left: ew.shift_left, ops.shift_right_logical: ew.shift_right_logical,
    ops.shift_right_arithmetic: ew.shift_right_arithmetic,
    ops.reshape: lambda x, *, shape: x.reshape(shape),
    ops.permute: lambda x, *, order: x.transpose(order),
    ops.broadcast_to: ew.broadcast_to, ops.flip: lambda x, *, axes: np.flip(x, axes),
    ops.slice_: ew.slice_, ops.pad: indexing.pad, ops.concatenate: indexing.concatenate,
    ops.split: indexing.split, ops.resample: indexing.resample,
    ops.full: ew.full,
    ops.iota: lambda *, shape, dtype, axis: indexing.iota(shape, dtype, axis),
    ops.reduce_sum: ew.reduce_sum, ops.reduce_prod: ew.reduce_prod,
    ops.reduce_max: ew.reduce_max, ops.reduce_min: ew.reduce_min,
    ops.reduce_and: ew.reduce_and, ops.reduce_or: ew.reduce_or,
    ops.argmax: sorting.argmax, ops.argmin: sorting.argmin,
    ops.cumsum: sorting.cumsum, ops.cumprod: sorting.cumprod, ops.cummax: sorting.cummax,
    ops.cummin: sorting.cummin, ops.cumlogsumexp: sorting.cumlogsumexp,
    ops.dot_general: contract.dot_general,
    ops.conv: conv.conv, ops.window_sum: conv.window_sum, ops.window_max: conv.window_max,
    ops.window_min: conv.window_min,
    ops.window_share: attaining.window_share, ops.window_spread: attaining.window_spread,
    ops.gather: indexing.gather, ops.check_labels: indexing.check_labels,
    ops.scatter_set: indexing.scatter_set,
    ops.scatter_add: indexing.scatter_add, ops.scatter_mul: indexing.scatter_mul,
    ops.scatter_min: indexing.scatter_min, ops.scatter_max: indexing.scatter_max,
    ops.dynamic_slice: indexing.dynamic_slice,
    ops.dynamic_update_slice: indexing.dynamic_update_slice,
    ops.sort: sorting.sort, ops.argsort: sorting.argsort, ops.top_k: sorting.top_k,
}


def as_arrays(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that takes arrays of one dtype, also where an operand is a Python scalar."""
    def run(*args: Any, **params: Any) -> Any:
        dtype = next((a.dtype for a in args if type(a) not in SCALARS), None)
        return kernel(*[np.asarray(a, dtype) for a in args], **params)
    return run


KERNELS.update({
    ops.triangular_solve: linalg.triangular_solve, ops.solve: linalg.solve,
    ops.cholesky: linalg.cholesky, ops.lu: linalg.lu, ops.qr: linalg.qr, ops.svd: linalg.svd,
    ops.eigh: linalg.eigh, ops.eig: linalg.eig, ops.eigvals: linalg.eigvals,
    ops.det: determinants.det, ops.cofactor: determinants.cofactor, ops.slogdet: linalg.slogdet,
    ops.pinv: determinants.pinv,
    ops.fft: fft.fft,
})
KERNELS.update({
    ops.random_seed: lambda seeds, *, impl, x64: rng.seed(np.asarray(seeds), impl, x64=x64),
    ops.random_wrap: lambda data, *, impl: rng.wrap_key_data(np.asarray(data), impl),
    ops.random_key_data: lambda keys: rng.key_data(np.asarray(keys)),
    ops.random_fold_in: lambda keys, data: rng.fold_in(np.asarray(keys), np.asarray(data)),
    ops.random_split: lambda keys, *, shape: rng.split(np.asarray(keys), shape=shape),
    ops.random_bits: lambda keys, *, shape, width: rng.random_bits(
        np.asarray(keys), shape=shape, width=width),
    ops.random_below: lambda keys, *, shape, bound: rng.random_below(
        np.asarray(keys), shape=shape, bound=bound),
    ops.random_uniform: samplers.uniform,
    ops.random_normal: samplers.normal, ops.random_clone: lambda keys: keys,
    ops.random_gamma: samplers.gamma, ops.random_poisson: samplers.poisson,
    ops.random_binomial: samplers.binomial,
    **{primitive: as_arrays(kernel) for primitive, kernel in {
        ops.erf: special.erf, ops.erfc: special.erfc, ops.erf_inv: special.erf_inv,
        ops.lgamma: special.lgamma, ops.digamma: special.digamma,
        ops.polygamma: special.polygamma, ops.zeta: special.zeta,
        ops.igamma: special.igamma, ops.igammac: special.igammac,
        ops.igamma_grad_a: special.igamma_grad_a,
        ops.random_gamma_grad: special.random_gamma_grad, ops.betainc: special.betainc,
        ops.betainc_grad_a: special_beta_slopes.betainc_grad_a,
        ops.betainc_grad_b: special_beta_slopes.betainc_grad_b,
        ops.bessel_i0e: special.bessel_i0e, ops.bessel_i1e: special.bessel_i1e,
        ops.expi: special.expi, ops.logistic: special.logistic,
        ops.xlogy: probability.xlogy, ops.xlog1py: probability.xlog1py,
        ops.ndtri: probability.ndtri,
        ops.logaddexp: special.logaddexp, ops.softmax: softmax.softmax,
        ops.population_count: special.population_count, ops.clz: special.clz,
    }.items()},
})
