"""Rows of `numpy`: products, `numpy.linalg`, `numpy.fft`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import C, F, I, K, S, Table, call, expr, row

TABLE: Table = {}

# ------------------------------------------------------------------ products

row(TABLE, "numpy.dot", call(F(3), F(3)), call(F(2, 3), F(3, 4)), call(F(2, 3), F(3)),
    call(F(3), F(2, 3, 4)), call(F(2, 3), 2.0), call(I(3), F(3)), call(C(3), C(3)))
row(TABLE, "numpy.vdot", call(F(3), F(3)), call(F(2, 3), F(6)), call(C(3), C(3)), call(I(3), I(3)))
row(TABLE, "numpy.vecdot numpy.linalg.vecdot", call(F(2, 3), F(3)), call(C(2, 3), C(2, 3)),
    call(F(3, 2), F(3, 2), axis=0))
row(TABLE, "numpy.inner", call(F(3), F(3)), call(F(2, 3), F(4, 3)), call(I(3), F(2, 3)))
row(TABLE, "numpy.outer numpy.linalg.outer", call(F(3), F(4)), call(C(2), F(3)))
row(TABLE, "numpy.outer", call(F(2, 2), F(3)))
row(TABLE, "numpy.matmul numpy.linalg.matmul", call(F(2, 3), F(3, 4)), call(F(3), F(3, 4)),
    call(F(5, 2, 3), F(3, 4)), call(F(5, 1, 2, 3), F(2, 3, 4)), call(F(2, 3), F(3)),
    call(I(2, 3), I(3, 2)), call(C(2, 3), F(3, 2)), call(F(0, 3), F(3, 2)))
row(TABLE, "numpy.matvec", call(F(5, 2, 3), F(3)), call(C(2, 3), C(3)))
row(TABLE, "numpy.vecmat", call(F(2), F(5, 2, 3)), call(C(2), C(2, 3)))
row(TABLE, "numpy.tensordot numpy.linalg.tensordot", call(F(2, 3, 4), F(3, 4, 5)),
    call(F(2, 3), F(3, 2), axes=1), call(F(2, 3, 4), F(4, 2), axes=((0, 2), (1, 0))),
    call(F(2), F(3), axes=0))
row(TABLE, "numpy.kron", call(F(2, 3), F(3, 2)), call(F(3), F(2)), call(F(2), F(2, 2)))
row(TABLE, "numpy.cross numpy.linalg.cross", call(F(4, 3), F(4, 3)), call(F(3), F(3)),
    call(F(3, 2), F(3, 2), axis=0))
row(TABLE, "numpy.cross", call(F(4, 2), F(4, 2)), call(F(2), F(3)))
for _spec, _args in [
        ("ij,jk->ik", (F(2, 3), F(3, 4))), ("ii->i", (F(3, 3),)), ("ii", (F(3, 3),)),
        ("ij->ji", (F(2, 3),)), ("i,j", (F(2), F(3))), ("bij,bjk", (F(2, 2, 3), F(2, 3, 2))),
        ("...ij,...j->...i", (F(2, 2, 3), F(3))), ("ij,jk,kl->il", (F(2, 3), F(3, 2), F(2, 2))),
        ("ij->", (F(2, 3),)), ("bqhd,bkhd->bhqk", (F(2, 3, 2, 2), F(2, 4, 2, 2))),
        ("ii,i->", (F(3, 3), F(3))), ("i,i->i", (C(3), F(3))), ("ijj->i", (F(2, 3, 3),))]:
    row(TABLE, "numpy.einsum", call(_spec, *_args))
row(TABLE, "numpy.einsum", call(F(2, 3), [0, 1], F(3, 4), [1, 2], [0, 2]),
    call("ij,jk,kl->il", F(2, 3), F(3, 2), F(2, 2), optimize="optimal"))

# ------------------------------------------------------------------ linalg

L = "numpy.linalg."


def without_signs(m: Any, out: Any) -> Any:
    """Factors whose columns are defined up to a sign or phase: products that are not."""
    u, s, vh = out
    k = s.shape[-1]
    return s, m.np.matmul(u[..., :, :k] * s[..., None, :], vh[..., :k, :])


def eigen_products(m: Any, out: Any) -> Any:
    w, v = out
    return w, m.np.matmul(v * m.np.cos(w)[..., None, :], m.np.conj(m.np.swapaxes(v, -1, -2)))


row(TABLE, L + "inv", call(S(3, 3)), call(S(2, 3, 3)), call(F(3, 3)), call(C(3, 3)),
    call(I(1, 1, lo=1)))
row(TABLE, L + "det", call(S(3, 3)), call(F(2, 3, 3)), call(F(4, 4)), call(C(3, 3)), call(F(1, 1)),
    call(F(2, 2)), call(K([[1.0, 2.0], [2.0, 4.0]])), call(F(5, 5)))
row(TABLE, L + "slogdet", call(S(3, 3)), call(F(2, 4, 4)), call(C(3, 3)))
row(TABLE, L + "solve", call(F(3, 3), F(3)), call(S(2, 3, 3), F(2, 3, 2)), call(C(3, 3), C(3, 2)),
    call(S(3, 3), F(2, 3, 1)))
row(TABLE, L + "cholesky", call(S(3, 3)), call(S(2, 3, 3)), call(S(3, 3), upper=True),
    call(K(np.array([[2, 1j], [-1j, 3]]))))
row(TABLE, L + "qr", call(F(4, 3)), call(F(3, 3)), call(F(2, 4, 3), mode="reduced"),
    call(F(4, 3), mode="r", _grad=False), call(F(4, 3), mode="complete", _grad=False),
    call(F(3, 4), _grad=False), call(C(4, 3)))
row(TABLE, L + "svd", call(F(4, 3), full_matrices=False, _post=without_signs),
    call(F(3, 4), full_matrices=False, _post=without_signs), call(F(2, 3, 3), _post=without_signs,
    full_matrices=False), call(F(4, 3), compute_uv=False),
    call(C(3, 3), full_matrices=False, _post=without_signs),
    call(F(4, 3), _grad=False, _post=without_signs))
row(TABLE, L + "svdvals", call(F(4, 3)), call(F(2, 3, 4)), call(C(3, 2)))
row(TABLE, L + "eigh", call(S(3, 3), _post=eigen_products), call(S(2, 3, 3), _post=eigen_products),
    call(S(3, 3), UPLO="U", _post=eigen_products),
    call(K(np.array([[2, 1j], [-1j, 3]])), _post=eigen_products))
row(TABLE, L + "eigvalsh", call(S(3, 3)), call(S(2, 3, 3)), call(S(3, 3), "U"))
row(TABLE, L + "eigvals", call(F(3, 3), _post=lambda m, w: m.np.sum(w ** 2)),
    call(C(3, 3), _post=lambda m, w: m.np.sum(w ** 2)))
row(TABLE, L + "eig", call(F(3, 3), _grad=False, _tol32=0.02, _post=lambda m, wv: m.np.matmul(
    wv[1] * wv[0], m.np.linalg.inv(wv[1]))))
row(TABLE, L + "pinv", call(F(4, 3)), call(F(3, 4)), call(F(2, 4, 3)), call(C(4, 3)),
    call(F(4, 3), rtol=1e-6))
expr(TABLE, L + "pinv", lambda m, a: m.np.linalg.pinv(a + a.T, hermitian=True), S(3, 3))
row(TABLE, L + "lstsq", call(F(5, 3), F(5)), call(F(5, 3), F(5, 2)), call(F(3, 5), F(3),
                                                                           _grad=False))
row(TABLE, L + "matrix_rank", call(F(4, 3)), call(K([[1.0, 2.0], [2.0, 4.0]])), call(F(2, 3, 3)))
row(TABLE, L + "matrix_power", call(F(3, 3), 3), call(F(3, 3), 0), call(S(3, 3), -2),
    call(F(2, 3, 3), 2))
row(TABLE, L + "multi_dot", call([F(2, 3), F(3, 4), F(4, 2)]), call([F(3), F(3, 4), F(4)]),
    call([F(2, 3), F(3, 2)]), call([F(2, 3), F(3, 4), F(4, 2), F(2, 3)]))
for _ord in (None, 1, 2, 3, 0, np.inf, -np.inf, -1, 2.5):
    row(TABLE, L + "norm", call(F(4), _ord), call(F(3, 4), ord=_ord, axis=1))
    row(TABLE, L + "vector_norm", call(F(3, 4), ord=2 if _ord is None else _ord, axis=0,
                                       keepdims=True))
for _ord in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
    row(TABLE, L + "norm", call(F(3, 4), _ord))
    row(TABLE, L + "matrix_norm", call(F(2, 3, 4), ord="fro" if _ord is None else _ord))
row(TABLE, L + "norm", call(C(4)), call(F(2, 3, 4), axis=(0, 2), keepdims=True), call(I(3)))
row(TABLE, L + "vector_norm", call(F(3, 4)), call(C(3)), call(F(2, 3, 4), axis=(0, 1)))
for _ord in (None, 1, 2, "fro", np.inf):
    row(TABLE, L + "cond", call(F(3, 3), _ord))
row(TABLE, L + "diagonal", call(F(2, 3, 4)), call(F(3, 4), offset=1))
row(TABLE, L + "trace", call(F(2, 3, 4)), call(F(3, 4), offset=1))
row(TABLE, L + "tensorinv", call(F(4, 6, 8, 3), ind=2, _tol=1e-7, _tol32=0.05),
    call(F(6, 2, 3), ind=1))
row(TABLE, L + "tensorsolve", call(F(2, 3, 6), F(2, 3)))

# ------------------------------------------------------------------ fft

T = "numpy.fft."
row(TABLE, T + "fft " + T + "ifft", call(F(6)), call(C(3, 5)), call(C(3, 5), n=4), call(C(3, 5),
    n=7, axis=0), call(I(4)), call(C(6), norm="ortho"), call(C(6), norm="forward"))
row(TABLE, T + "rfft", call(F(6)), call(F(3, 5)), call(F(3, 5), n=8, axis=0), call(F(5),
    norm="ortho"), call(I(4)))
row(TABLE, T + "irfft", call(C(4)), call(C(3, 4), n=5), call(C(3, 4), axis=0), call(C(4),
    norm="forward"))
row(TABLE, T + "hfft", call(C(4)), call(C(4), n=5), call(C(3, 4), axis=0, norm="ortho"))
row(TABLE, T + "ihfft", call(F(6)), call(F(3, 5), axis=0), call(F(5), norm="ortho"))
row(TABLE, T + "fft2 " + T + "ifft2", call(C(2, 3, 4)), call(F(3, 4), s=(2, 5)),
    call(C(2, 3, 4), axes=(0, 1), norm="ortho"))
row(TABLE, T + "rfft2", call(F(3, 4)), call(F(2, 3, 5), s=(4, 4)))
row(TABLE, T + "irfft2", call(C(3, 4)), call(C(3, 4), s=(3, 5)))
row(TABLE, T + "fftn " + T + "ifftn", call(C(2, 3, 4)), call(C(2, 3, 4), axes=(0, 2)),
    call(F(2, 3), s=(3, 3)))
row(TABLE, T + "rfftn", call(F(2, 3, 4)), call(F(2, 3, 4), axes=(0, 1)))
row(TABLE, T + "irfftn", call(C(2, 3, 4)), call(C(2, 3), s=(2, 5)))
row(TABLE, T + "fftfreq " + T + "rfftfreq", call(6), call(5, 0.5), call(4, d=2.0))
row(TABLE, T + "fftshift " + T + "ifftshift", call(F(5)), call(F(3, 4)), call(F(3, 4), axes=1))
