"""Rows of `numpy`: reductions, cumulative functions, statistics, sorting and sets."""

from __future__ import annotations

import numpy as np

from .table import B, C, F, G, I, K, N, P, Table, call, row, typed

TABLE: Table = {}
NAN = np.nan
HOLES = K([[1.5, NAN, 0.3, -2.0], [NAN, 0.7, 4.0, 1.1], [2.2, -0.6, NAN, 0.9]])

# ------------------------------------------------------------------ reductions

AXES = [call(G(3, 4)), call(G(3, 4), axis=0), call(G(2, 3, 4), axis=(0, -1), keepdims=True),
        call(G(3, 4), 1), call(G(3, 4), axis=())]
row(TABLE, "numpy.sum numpy.prod", *AXES, call(I(3, 4)), call(B(3, 4), axis=1), call(C(3, 4)),
    call(F(3, 4), where=B(3, 4), axis=1), call(F(3, 4), initial=2.0), call(F(0, 3), axis=0),
    call(typed(I(4), "int8")), call(typed(N(4), "uint8")), call(F(3), dtype="complex64", _tol=1e-6),
    call(typed(F(4), "bfloat16"), _grad=False, _tol32=0.02, _wide=False, _single=True), call(2.0),
    call(K([2.0, 0.0, 3.0])))
row(TABLE, "numpy.mean numpy.var numpy.std", *AXES[:-1], call(I(3, 4)), call(C(3, 4), axis=1),
    call(F(3, 4), where=K([[True, True, False, True]] * 3), axis=1),
    call(typed(F(4), "float16"), _grad=False, _tol32=0.02, _wide=False, _single=True))
row(TABLE, "numpy.var numpy.std", call(F(3, 4), ddof=1, axis=0), call(F(4), correction=1))
row(TABLE, "numpy.max numpy.min numpy.amax numpy.amin", *AXES, call(I(3, 4)), call(B(4)),
    call(G(3, 4), initial=0.3, where=B(3, 4), axis=0), call(K([1.0, NAN, 2.0]), _grad=False),
    call(K([1.0, 2.0, 2.0, 2.0])), call(K([1.0, 1.0, 0.0]), axis=0), call(C(4)))
row(TABLE, "numpy.ptp", *AXES[:-1], call(I(3, 4), axis=0))
row(TABLE, "numpy.all numpy.any", call(B(3, 4)), call(B(3, 4), axis=1, keepdims=True),
    call(F(3)), call(I(3, 4, lo=0, hi=2), axis=0), call(B(3, 4), where=B(3, 4), axis=1),
    call(B(0, 3), axis=0))
row(TABLE, "numpy.argmax numpy.argmin", call(G(3, 4)), call(G(3, 4), axis=0), call(I(5)),
    call(G(3, 4), axis=1, keepdims=True), call(K([1.0, 2.0, 2.0])), call(K([1.0, NAN, 2.0])))
row(TABLE, "numpy.count_nonzero", call(I(3, 4, lo=0, hi=2)), call(B(3, 4), axis=1),
    call(F(3, 4), axis=(0, 1), keepdims=True))
row(TABLE, "numpy.average", call(F(3, 4)), call(F(3, 4), axis=1), call(F(3, 4), 0, P(3)),
    call(F(3, 4), weights=P(3, 4), axis=1, returned=True), call(I(4)))
row(TABLE, "numpy.nansum numpy.nanprod numpy.nanmean numpy.nanmax numpy.nanmin numpy.nanvar "
    "numpy.nanstd numpy.nanmedian", call(HOLES), call(HOLES, axis=0),
    call(HOLES, axis=1, keepdims=True), call(G(3, 4), axis=0))
row(TABLE, "numpy.nansum numpy.nanprod numpy.nanmean numpy.nanmax numpy.nanmin", call(I(3, 4)))
row(TABLE, "numpy.nanargmax numpy.nanargmin", call(HOLES), call(HOLES, axis=1),
    call(G(3, 4), axis=0))
row(TABLE, "numpy.median", call(G(3, 5)), call(G(3, 4), axis=0), call(G(3, 4), axis=1,
    keepdims=True), call(I(6)), call(K([1.0, NAN, 2.0]), _grad=False))
for _method in ("linear", "lower", "higher", "nearest", "midpoint"):
    row(TABLE, "numpy.quantile", call(G(3, 5), 0.3, method=_method),
        call(G(3, 5), K([0.1, 0.6]), axis=1, method=_method))
    row(TABLE, "numpy.percentile", call(G(3, 5), 30.0, axis=0, method=_method))
row(TABLE, "numpy.quantile", call(G(3, 5), K([0.1, 0.6]), axis=0, keepdims=True), call(I(5), 0.5))
row(TABLE, "numpy.nanquantile", call(HOLES, 0.4, axis=1), call(HOLES, K([0.2, 0.9]), axis=0))
row(TABLE, "numpy.percentile", call(G(3, 5), K([10.0, 60.0])))
row(TABLE, "numpy.nanpercentile", call(HOLES, 40.0, axis=1))

# ------------------------------------------------------------------ cumulative

ALONG = [call(G(3, 4)), call(G(3, 4), axis=0), call(G(3, 4), -1), call(I(3, 4), axis=1)]
row(TABLE, "numpy.cumsum numpy.cumprod", *ALONG, call(B(4)), call(C(4)), call(typed(I(4), "int8")),
    call(I(4), dtype="float32"))
row(TABLE, "numpy.cumprod", call(K([2.0, 0.0, 3.0, 4.0])), call(K([0.0, 2.0, 0.0])))
row(TABLE, "numpy.nancumsum numpy.nancumprod", call(HOLES), call(HOLES, axis=1), call(I(4)))
row(TABLE, "numpy.cumulative_sum numpy.cumulative_prod", call(F(4)), call(F(3, 4), axis=1),
    call(F(3, 4), axis=0, include_initial=True), call(I(4)))
row(TABLE, "numpy.diff", call(F(3, 5)), call(F(3, 5), n=2, axis=0), call(I(5)), call(B(5)),
    call(F(4), prepend=1.0, append=K([2.0, 3.0])), call(F(3, 4), axis=0, prepend=F(1, 4)))
row(TABLE, "numpy.ediff1d", call(F(5)), call(F(3, 2), to_begin=F(2), to_end=1.0))
row(TABLE, "numpy.gradient", call(F(5)), call(F(3, 5)), call(F(3, 5), 2.0), call(F(3, 5), axis=1),
    call(F(3, 5), 0.5, 2.0), call(F(4), K([0.0, 1.0, 2.5, 3.0])))
row(TABLE, "numpy.trapezoid", call(F(5)), call(F(3, 5), dx=0.5, axis=0), call(F(3, 5), P(5)),
    call(I(4)))

# ------------------------------------------------------------------ statistics

row(TABLE, "numpy.cov numpy.corrcoef", call(F(3, 6)), call(F(6)), call(F(6, 3), rowvar=False),
    call(F(6), F(6)), call(C(2, 5)))
row(TABLE, "numpy.cov", call(F(3, 6), bias=True), call(F(3, 6), ddof=0),
    call(F(3, 6), fweights=K([1, 2, 1, 3, 1, 1])), call(F(3, 6), aweights=P(6)))
row(TABLE, "numpy.correlate numpy.convolve", call(F(6), F(3)), call(F(6), F(3), mode="full"),
    call(F(6), F(3), mode="same"), call(F(6), F(3), mode="valid"), call(I(5), I(2)),
    call(C(4), C(2)), call(F(2), F(5)))
row(TABLE, "numpy.histogram", call(F(20), _grad=False), call(F(20), bins=5, _grad=False),
    call(F(20), bins=4, range=(-1.0, 1.0), _grad=False),
    call(F(9), bins=K([-2.0, 0.0, 0.5, 2.0]), weights=P(9), _grad=False),
    call(F(9), bins=3, density=True, _grad=False))
row(TABLE, "numpy.histogram_bin_edges", call(F(20), _grad=False), call(F(9), 4, _grad=False),
    call(F(9), bins=3, range=(0.0, 1.0), _grad=False))
COUNTS = {"_grad": False, "_weak": False,  # JAX's are integers
          "_post": lambda m, out: (out[0] * 1.0, out[1:])}
row(TABLE, "numpy.histogram2d", call(F(20), F(20), **COUNTS), call(F(9), F(9), bins=3, **COUNTS),
    call(F(9), F(9), bins=[2, 3], **COUNTS))
row(TABLE, "numpy.histogramdd", call(F(20, 3), bins=3, **COUNTS))
row(TABLE, "numpy.bincount", call(N(12, hi=5), _concrete=True), call(I(12, lo=0), length=8),
    call(I(12, lo=0), P(12), minlength=3, length=8))
row(TABLE, "numpy.digitize", call(F(5), K([-1.0, 0.0, 1.0])),
    call(K([0.0, 1.0, 2.0]), K([0.0, 1.0]), right=True), call(F(5), K([1.0, 0.0, -1.0])))
row(TABLE, "numpy.searchsorted", call(K([-1.0, 0.0, 1.0]), F(2, 3)), call(K([1, 2, 2, 5]), 2),
    call(K([1, 2, 2, 5]), K([2, 9, 0]), side="right"),
    call(K([3.0, 1.0, 2.0]), K([1.5, 2.5]), sorter=K([1, 2, 0])))

# ------------------------------------------------------------------ sorting and sets

row(TABLE, "numpy.sort numpy.argsort", *ALONG, call(G(3, 4), axis=None), call(B(5)),
    call(G(6), descending=True), call(G(6), stable=True), call(K([2.0, NAN, -1.0])),
    call(I(3, 4), descending=True, axis=0), call(K([3, 1, 3, 1, 2]), descending=True), call(C(4)))
row(TABLE, "numpy.sort_complex", call(C(5), _grad=False), call(F(4), _grad=False))
row(TABLE, "numpy.lexsort", call((I(6, hi=0), I(6))), call((F(3, 4), I(3, 4)), axis=0))
row(TABLE, "numpy.partition", call(G(7), 3, _post=lambda m, x: (m.np.sort(x[:3]), x[3])),
    call(G(3, 5), 2, axis=1, _post=lambda m, x: x[:, 2]))
row(TABLE, "numpy.argpartition", call(
    G(7), 3, _wide=False, _post=lambda m, x: (m.np.sort(x[:3]), x[3])))
row(TABLE, "numpy.nonzero numpy.flatnonzero numpy.argwhere", call(B(3, 4), _concrete=True),
    call(I(7, lo=0, hi=2), size=4, fill_value=0), call(F(3), _concrete=True, _grad=False))
SETS = (K([3, 1, 2, 3, 7]), K([[2, 3], [9, 3]]))
row(TABLE, "numpy.unique", call(SETS[0], _concrete=True), call(SETS[1], _concrete=True),
    call(SETS[0], return_index=True, return_inverse=True, return_counts=True, _concrete=True),
    call(K([[1, 2], [1, 2], [0, 5]]), axis=0, _concrete=True), call(SETS[0], size=3),
    call(SETS[0], size=6, fill_value=-1, return_counts=True),
    call(K([1.5, 0.5, 1.5]), _grad=False, _concrete=True))
row(TABLE, "numpy.unique_all numpy.unique_counts numpy.unique_inverse numpy.unique_values",
    call(SETS[0], _concrete=True), call(SETS[1], _concrete=True))
row(TABLE, "numpy.intersect1d numpy.union1d numpy.setdiff1d numpy.setxor1d",
    call(*SETS, _concrete=True))
row(TABLE, "numpy.union1d", call(*SETS, size=7, fill_value=0))
row(TABLE, "numpy.intersect1d", call(K([1, 5, 3]), K([3, 1, 8]), return_indices=True,
                                     assume_unique=True, _concrete=True))
row(TABLE, "numpy.isin", call(*SETS), call(*SETS, invert=True), call(F(3), F(3), _grad=False))

# ------------------------------------------------------------------ polynomials

row(TABLE, "numpy.polyval", call(F(4), F(3)), call(F(3), 2.0), call(I(3), I(2)), call(C(3), F(2)))
row(TABLE, "numpy.polyadd numpy.polysub numpy.polymul", call(F(4), F(2)), call(I(2), I(3)))
row(TABLE, "numpy.polyder", call(F(5)), call(F(5), 2), call(I(4)))
row(TABLE, "numpy.polyint", call(F(4)), call(F(4), 2), call(F(3), k=1.5), call(I(3)))
row(TABLE, "numpy.poly", call(F(3)), call(C(3)), call(I(3)))
row(TABLE, "numpy.polydiv", call(F(5), P(3)), call(I(4, lo=1), I(2, lo=1), _grad=False))
row(TABLE, "numpy.polyfit", call(K([0.0, 0.5, 1.1, 2.0, 3.1]), F(5), 2, _tol=1e-7, _tol32=1e-2,
                                 _grad=False))
row(TABLE, "numpy.roots", call(K([1.0, -6.0, 11.0, -6.0]), _grad=False, _concrete=True, _tol32=0.02,
                               _post=lambda m, x: m.np.sort(m.np.real(x))))
