"""lnp.linalg, scipy.linalg and the primitives below them: values, derivatives, batches, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
import lucidfn.scipy.linalg as sla
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

reference = pytest.importorskip("scipy.linalg")
RNG = np.random.default_rng(0)
LA = lnp.linalg


def A(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def Z(*shape: int) -> np.ndarray:
    return A(*shape) + 1j * A(*shape)


def regular(x: np.ndarray) -> np.ndarray:
    return x + 3.0 * np.eye(*x.shape[-2:])


def H(x: Any) -> Any:
    return np.conj(np.swapaxes(x, -1, -2))


def definite(x: np.ndarray) -> np.ndarray:
    return x @ H(x) + np.eye(x.shape[-1])


def near(got: Any, want: Any, tol: float = 1e-9) -> None:
    assert_allclose(got, want, rtol=tol, atol=tol)


SQUARE = {"real": regular(A(3, 3)), "batch": regular(A(2, 3, 3)), "complex": regular(Z(3, 3)),
          "complex batch": regular(Z(2, 3, 3)), "one": A(1, 1), "empty batch": A(0, 2, 2)}
SHAPES = [(3, 3), (4, 2), (2, 4), (2, 4, 3), (1, 3)]
RECTANGLES = {f"{kind} {shape}": make(*shape) for shape in SHAPES
              for kind, make in (("real", A), ("complex", Z))}
squares = pytest.mark.parametrize("x", SQUARE.values(), ids=SQUARE)
rectangles = pytest.mark.parametrize("x", RECTANGLES.values(), ids=RECTANGLES)


def check_second_order(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if all(np.size(x) for x in args):
        check_grads(f, args)


# ------------------------------------------------------------------ systems and determinants

@squares
@pytest.mark.parametrize("name", ["inv", "det", "pinv"])
def test_function_of_a_square_matrix(name: str, x: np.ndarray) -> None:
    near(getattr(LA, name)(x), getattr(np.linalg, name)(x) if x.size else
         getattr(np.linalg, name)(x).astype(x.dtype))
    check_second_order(getattr(LA, name), (x,))


@squares
def test_slogdet(x: np.ndarray) -> None:
    got, want = LA.slogdet(x), np.linalg.slogdet(x)
    near(got.sign, want.sign)
    near(got.logabsdet, want.logabsdet)
    check_second_order(lambda x: tuple(LA.slogdet(x)), (x,))


@pytest.mark.parametrize(("a", "b"), [
    ((3, 3), (3,)), ((3, 3), (3, 2)), ((3, 3), (5, 2, 3, 2)), ((2, 3, 3), (3,)),
    ((2, 3, 3), (3, 2)), ((2, 3, 3), (5, 2, 3, 1)), ((2, 3, 3), (1, 3, 2))], ids=str)
def test_solve(a: Any, b: Any) -> None:
    x, y = regular(A(*a)), A(*b)
    near(LA.solve(x, y), np.linalg.solve(x, y))
    check_grads(LA.solve, (x, y), order=2 if y.ndim < 3 else 1)


def test_solve_of_complex_and_integer_matrices() -> None:
    x, y = regular(Z(3, 3)), Z(3, 2)
    near(LA.solve(x, y), np.linalg.solve(x, y))
    check_grads(LA.solve, (x, y))
    assert LA.solve(np.eye(2, dtype=np.int32), [1, 2]).dtype == np.float32
    check_batch(LA.solve, (regular(A(3, 3)), A(4, 3)), in_axes=(None, 0))
    check_batch(LA.solve, (regular(A(4, 3, 3)), A(3)), in_axes=(0, None))
    check_jit(LA.solve, (regular(A(3, 3)), A(3)))


def test_determinant_of_singular_matrices_has_the_derivative_of_the_cofactors() -> None:
    assert lf.grad(LA.det)(np.zeros((2, 2))).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert_allclose(lf.grad(LA.det)(np.diag([2.0, 0.0, 3.0])), np.diag([0.0, 6.0, 0.0]))
    rank_one = A(3, 1) * A(1, 3)
    for x in (np.zeros((3, 3)), rank_one, np.eye(3), np.diag([1.0, 1.0, 0.0]), rank_one + 0j):
        check_grads(LA.det, (x,))


def test_singular_systems_do_not_raise() -> None:
    x = np.stack([np.zeros((2, 2)), np.eye(2)])
    out = np.asarray(LA.inv(x))
    assert not np.isfinite(out[0]).all() and np.array_equal(out[1], np.eye(2))
    assert np.isnan(LA.cholesky(-np.eye(2))).all()
    assert LA.slogdet(np.zeros((2, 2))).logabsdet.item() == -np.inf


def test_pseudoinverse() -> None:
    for x in (A(4, 3), A(2, 3, 4), Z(3, 2), np.zeros((2, 3))):
        near(LA.pinv(x), np.linalg.pinv(x))
    check_grads(LA.pinv, (A(4, 3),))
    check_grads(LA.pinv, (np.eye(3),))  # equal singular values
    check_grads(LA.pinv, (Z(2, 3),))
    x = np.diag([1.0, 1e-3])
    near(LA.pinv(x, rtol=1e-2), np.linalg.pinv(x, rcond=1e-2))
    near(LA.pinv(definite(A(3, 3)), hermitian=True) @ definite(A(3, 3)) * 0, np.zeros((3, 3)))


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (3, 3), (2, 4)])
def test_least_squares(rows: int, columns: int) -> None:
    x = A(rows, columns)
    for y in (A(rows), A(rows, 2)):
        got, want = LA.lstsq(x, y, numpy_resid=True), np.linalg.lstsq(x, y)
        near(got[0], want[0])
        if y.ndim == 2:
            near(got[1], want[1])
        assert int(got[2]) == want[2]
        near(got[3], want[3])
        check_grads(lambda x, y: LA.lstsq(x, y)[0], (x, y))


def test_tensor_systems() -> None:
    x = regular(A(6, 6))
    near(LA.tensorinv(x.reshape(2, 3, 3, 2)), np.linalg.tensorinv(x.reshape(2, 3, 3, 2)))
    near(LA.tensorsolve(x.reshape(2, 3, 6), A(2, 3) * 0 + 1),
         np.linalg.tensorsolve(x.reshape(2, 3, 6), np.ones((2, 3))))
    y = x.reshape(6, 2, 3)
    near(LA.tensorsolve(y, np.ones((2, 3)), axes=(0,)),
         np.linalg.tensorsolve(y, np.ones((2, 3)), axes=(0,)))


# ------------------------------------------------------------------ decompositions

@squares
def test_cholesky(x: np.ndarray) -> None:
    x = definite(x)
    near(LA.cholesky(x), np.linalg.cholesky(x))
    near(LA.cholesky(x, upper=True), H(np.linalg.cholesky(x)))
    check_second_order(LA.cholesky, (x,))
    check_second_order(lambda x: LA.cholesky(x, symmetrize_input=False), (x,))


@rectangles
def test_qr(x: np.ndarray) -> None:
    for mode in ("reduced", "complete"):
        q, r = LA.qr(x, mode)
        want = np.linalg.qr(x, mode)
        assert q.shape == want.Q.shape and r.shape == want.R.shape
        near(lnp.matmul(q, r), x)
        near(H(np.asarray(q)) @ np.asarray(q), np.broadcast_to(
            np.eye(q.shape[-1]).astype(x.dtype), (*x.shape[:-2], q.shape[-1], q.shape[-1])))
    near(LA.qr(x, "r"), np.linalg.qr(x, "r"))
    check_grads(lambda x: tuple(LA.qr(x)), (x,))


def test_complete_qr_moves_the_whole_basis() -> None:
    def projector(x: Any) -> Any:
        rest = LA.qr(x, "complete").Q[:, 2:]
        return rest @ rest.conj().T

    check_grads(projector, (A(4, 2),))
    check_grads(projector, (Z(4, 2),))


@rectangles
@pytest.mark.parametrize("full", [False, True])
def test_svd(x: np.ndarray, full: bool) -> None:
    k = min(x.shape[-2:])

    def unique(x: Any) -> Any:
        u, s, vh = LA.svd(x, full_matrices=full)
        first, last = u[..., :, :k], vh[..., :k, :]
        parts = [s, (first * lnp.exp(-s)[..., None, :]) @ last]
        if full:
            parts += [LA.matrix_transpose(vh[..., k:, :].conj()) @ vh[..., k:, :],
                      u[..., :, k:] @ LA.matrix_transpose(u[..., :, k:].conj())]
        return parts

    u, s, vh = LA.svd(x, full_matrices=full)
    near(s, np.linalg.svd(x, compute_uv=False))
    near((u[..., :, :k] * s[..., None, :]) @ vh[..., :k, :], x)
    near(LA.svdvals(x), s)
    check_grads(unique, (x,))


@squares
def test_eigh(x: np.ndarray) -> None:
    x = definite(x)
    w, v = LA.eigh(x)
    near(w, np.linalg.eigvalsh(x))
    near((np.asarray(v) * np.asarray(w)[..., None, :]) @ H(np.asarray(v)), x)
    near(LA.eigvalsh(x), w)

    def unique(x: Any) -> Any:
        w, v = LA.eigh(x)
        return w, (v * lnp.exp(-w)[..., None, :]) @ LA.matrix_transpose(v.conj())

    check_second_order(unique, (x,))
    low, high = np.tril(x), np.triu(x)
    near(LA.eigh(low, symmetrize_input=False).eigenvalues, w)
    near(LA.eigh(high, UPLO="U", symmetrize_input=False).eigenvalues, w)


@squares
def test_eig(x: np.ndarray) -> None:
    w, v = LA.eig(x)
    near(np.asarray(v) * np.asarray(w)[..., None, :], x @ np.asarray(v))
    near(np.sort_complex(np.asarray(LA.eigvals(x))), np.sort_complex(np.linalg.eigvals(x)))
    check_second_order(LA.eigvals, (x,))
    check_second_order(lambda x: (lambda w, v: (w, lnp.abs(v)))(*LA.eig(x)), (x,))


def test_functions_of_equal_eigenvalues_have_finite_derivatives() -> None:
    assert np.isfinite(lf.grad(lambda x: LA.eigh(x).eigenvalues.sum())(np.eye(3))).all()
    assert np.isfinite(lf.grad(lambda x: LA.svdvals(x).sum())(np.eye(3))).all()
    near(lf.grad(lambda x: LA.norm(x, "nuc"))(np.eye(3)), np.eye(3))


# ------------------------------------------------------------------ norms

@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3, 1.5, -2, np.inf, -np.inf], ids=str)
def test_vector_norms(ord: Any) -> None:
    x = A(3, 4)
    near(LA.norm(x[0], ord), np.asarray(np.linalg.norm(x[0], ord)))
    near(LA.norm(x, ord, axis=0, keepdims=True), np.linalg.norm(x, ord, axis=0, keepdims=True))
    z = Z(4)
    near(LA.norm(z, ord), np.asarray(np.linalg.norm(z, ord)))
    check_grads(lambda x: LA.norm(x, ord, axis=1), (x,))
    check_grads(lambda x: LA.norm(x, ord), (z,))


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf], ids=str)
def test_matrix_norms(ord: Any) -> None:
    x = A(2, 3, 4)
    near(LA.norm(x[0], ord), np.asarray(np.linalg.norm(x[0], ord)))
    near(LA.norm(x, ord, axis=(2, 0), keepdims=True),
         np.linalg.norm(x, ord, axis=(2, 0), keepdims=True))
    near(LA.matrix_norm(x, ord="fro" if ord is None else ord),
         np.linalg.matrix_norm(x, ord="fro" if ord is None else ord))
    check_grads(lambda x: LA.norm(x, ord), (x[0],))


def test_norms_have_derivative_zero_at_zero() -> None:
    zero = np.zeros(3)
    for ord in (None, 2, 3, 1, np.inf):
        assert not np.asarray(lf.grad(lambda x, ord=ord: LA.norm(x, ord))(zero)).any()
    assert not np.asarray(lf.hessian(LA.norm)(zero)).any()
    assert not np.asarray(lf.grad(LA.norm)(np.zeros((2, 2)))).any()
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    near(lf.grad(lambda x: LA.norm(x, axis=1).sum())(rows), np.array([[0.0, 0.0], [0.6, 0.8]]))


def test_vector_norm_over_many_axes() -> None:
    x = A(2, 3, 4)
    near(LA.vector_norm(x, axis=(0, 2), ord=3), np.linalg.vector_norm(x, axis=(0, 2), ord=3))
    near(LA.vector_norm(x, keepdims=True), np.linalg.vector_norm(x, keepdims=True))


# ------------------------------------------------------------------ the rest of lnp.linalg

def test_rank_and_condition() -> None:
    x = np.stack([np.diag([1.0, 2.0, 0.0]), np.eye(3)])
    assert LA.matrix_rank(x).tolist() == [2, 3]
    assert int(LA.matrix_rank(x[0], tol=1.5)) == 1
    assert int(LA.matrix_rank(np.zeros(3))) == 0
    y = regular(A(2, 3, 3))
    for p in (None, 2, -2, 1, np.inf, "fro"):
        near(LA.cond(y, p), np.linalg.cond(y, p))


def test_products() -> None:
    x = regular(A(2, 3, 3))
    for n in (0, 1, 2, 3, 5, -2):
        near(LA.matrix_power(x, n), np.linalg.matrix_power(x, n))
    check_grads(lambda x: LA.matrix_power(x, 3), (x[0],))
    chain = [A(3), A(3, 5), A(5, 2), A(2)]
    near(LA.multi_dot(chain), np.asarray(np.linalg.multi_dot(chain)))
    near(LA.multi_dot(chain[1:3]), np.linalg.multi_dot(chain[1:3]))
    near(LA.diagonal(x, offset=1), np.linalg.diagonal(x, offset=1))
    near(LA.trace(x), np.linalg.trace(x))
    near(LA.cross(x[0], x[1]), np.linalg.cross(x[0], x[1]))
    near(LA.matrix_transpose(x), np.swapaxes(x, -1, -2))


@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "svdvals", "eigvalsh", "pinv"])
def test_batches_and_jit(name: str) -> None:
    f = getattr(LA, name)
    x = definite(A(3, 2, 3, 3))
    check_batch(f, (x,))
    check_jit(f, (x,))
    assert f(np.eye(2, dtype=np.float32)).dtype == np.float32
    assert f(lnp.eye(2, dtype="bfloat16")).dtype == lnp.bfloat16


def test_errors() -> None:
    with pytest.raises(TypeError, match="takes square matrices in the last two axes"):
        LA.inv(A(2, 3))
    with pytest.raises(TypeError, match="the second must have 3 rows"):
        LA.solve(A(3, 3), A(2))
    with pytest.raises(TypeError, match="must broadcast"):
        LA.solve(A(2, 3, 3), A(4, 3, 1))
    with pytest.raises(ValueError, match="no norm ord='fro'"):
        LA.norm(A(3), "fro")
    with pytest.raises(ValueError, match="a matrix has no norm ord=3"):
        LA.norm(A(3, 3), 3)
    with pytest.raises(ValueError, match="needs axis="):
        LA.norm(A(2, 3, 3), 2)
    with pytest.raises(ValueError, match="no mode 'raw'"):
        LA.qr(A(3, 3), "raw")
    with pytest.raises(ValueError, match="UPLO is 'L' or 'U'"):
        LA.eigh(A(3, 3), "X")
    with pytest.raises(TypeError, match="vectors of length 3"):
        LA.cross(A(2), A(2))
    with pytest.raises(ValueError, match="needs two arrays, got 1"):
        LA.multi_dot([A(2, 2)])


# ------------------------------------------------------------------ scipy.linalg

@pytest.mark.parametrize("lower", [False, True])
def test_scipy_systems(lower: bool) -> None:
    x, b = regular(A(4, 4)), A(4, 2)
    d = definite(A(4, 4))
    near(sla.cholesky(d, lower=lower), reference.cholesky(d, lower=lower))
    near(sla.cho_solve(sla.cho_factor(d, lower), b), reference.solve(d, b))
    near(sla.solve(d, b, assume_a="pos", lower=lower), reference.solve(d, b))
    for trans in (0, 1, 2):
        for unit in (False, True):
            options = {"trans": trans, "lower": lower, "unit_diagonal": unit}
            near(sla.solve_triangular(x, b, **options), reference.solve_triangular(x, b, **options))
    check_grads(lambda x, b: sla.solve_triangular(x, b, lower=lower), (x, b))
    near(sla.eigh(x, lower=lower, eigvals_only=True), reference.eigvalsh(x, lower=lower))
    near(sla.eigh(x, d, lower=lower, eigvals_only=True), reference.eigvalsh(x, d, lower=lower))
    w, v = map(np.asarray, sla.eigh(d, d + x @ x.T))
    near(d @ v, (d + x @ x.T) @ v * w)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_scipy_lu(shape: Any) -> None:
    x = A(*shape)
    for got, want in zip(sla.lu(x), reference.lu(x), strict=True):
        near(got, want)
    near(sla.lu(x, permute_l=True)[0], reference.lu(x, permute_l=True)[0])
    check_grads(lambda x: sla.lu(x)[1:], (x,))
    batch = A(3, *shape)
    for got, want in zip(sla.lu(batch), zip(*map(reference.lu, batch), strict=True), strict=True):
        near(got, np.stack(want))


@pytest.mark.parametrize("trans", [0, 1, 2])
def test_scipy_lu_solve(trans: int) -> None:
    x, b = A(6, 6), A(6, 2)
    packed, pivots = sla.lu_factor(x)
    want = reference.lu_factor(x)
    near(packed, want[0])
    assert np.array_equal(pivots, want[1])
    near(sla.lu_solve((packed, pivots), b, trans), reference.lu_solve(want, b, trans), 1e-8)
    check_grads(lambda x, b: sla.lu_solve(sla.lu_factor(x), b, trans), (regular(A(3, 3)), A(3)))


def test_scipy_lu_solve_of_batches() -> None:
    x, b = regular(A(3, 4, 4)), A(2, 3, 4, 2)
    near(sla.lu_solve(sla.lu_factor(x), b), np.linalg.solve(x, b))


def test_tridiagonal_eigenvalues() -> None:
    for n in (1, 2, 5):
        d, e = A(n), A(n - 1)
        w, v = sla.eigh_tridiagonal(d, e)
        near(w, reference.eigvalsh_tridiagonal(d, e))
        dense = np.diag(d) + np.diag(e, 1) + np.diag(e, -1)
        near(dense @ np.asarray(v), np.asarray(v) * np.asarray(w))
    few = sla.eigh_tridiagonal(d, e, eigvals_only=True, select="i", select_range=(1, 2))
    near(few, np.asarray(w)[1:3])
    check_grads(lambda d, e: sla.eigh_tridiagonal(d, e, eigvals_only=True), (d, e))


@pytest.mark.parametrize("lower", [False, True])
def test_functions_of_one_triangle_have_symmetric_derivatives(lower: bool) -> None:
    x = definite(A(3, 3))
    logdet = lambda x: 2.0 * lnp.log(lnp.linalg.diagonal(sla.cho_factor(x, lower)[0])).sum()
    near(lf.grad(logdet)(x), np.linalg.inv(x))
    near(lf.grad(lambda x: sla.eigh(x, lower=lower, eigvals_only=True).sum())(x), np.eye(3))
    half = np.tril(x) if lower else np.triu(x)
    near(sla.cholesky(half, lower=lower), reference.cholesky(x, lower=lower))
    other = np.where(half == 0, np.nan, half)
    near(sla.cholesky(other, lower=lower), reference.cholesky(x, lower=lower))


def test_scipy_decompositions() -> None:
    x = A(5, 3)
    for mode in ("full", "economic"):
        q, r = sla.qr(x, mode=mode)
        assert q.shape == reference.qr(x, mode=mode)[0].shape
        near(lnp.matmul(q, r), x)
    near(sla.svd(x, compute_uv=False), reference.svdvals(x))
    near(sla.inv(x[:3]), np.linalg.inv(x[:3]))
    near(sla.det(x[:3]), np.asarray(np.linalg.det(x[:3])))


def test_scipy_special_matrices() -> None:
    near(sla.block_diag(A(2, 3) * 0 + 1, [1.0, 2.0], 3.0),
         reference.block_diag(np.ones((2, 3)), [1.0, 2.0], 3.0))
    c, r = A(4), A(3)
    near(sla.toeplitz(c, r), reference.toeplitz(c, r))
    near(sla.toeplitz(c + 1j), reference.toeplitz(c + 1j))
    near(sla.hankel(c, r), reference.hankel(c, r))
    near(sla.hankel(c), reference.hankel(c))
    near(sla.circulant(c), reference.circulant(c))
    near(sla.companion(c), reference.companion(c))
    assert np.array_equal(sla.hadamard(8), reference.hadamard(8))
    with pytest.raises(ValueError, match="n must be a power of 2, got 6"):
        sla.hadamard(6)
    assert_allclose(sla.hilbert(3), reference.hilbert(3).astype(np.float32))
    for kind in ("symmetric", "lower", "upper"):
        assert np.array_equal(sla.pascal(4, kind), reference.pascal(4, kind))
    check_grads(sla.toeplitz, (c, r))


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 5.0, 30.0])
def test_expm(scale: float) -> None:
    x = scale * (A(4, 4) - 8.0 * np.eye(4))
    near(sla.expm(x), reference.expm(x))
    z = scale * (Z(3, 3) - 8.0 * np.eye(3))
    near(sla.expm(z), reference.expm(z))


def test_expm_of_batches_under_jit_and_its_derivatives() -> None:
    x = A(3, 4, 4) * np.array([0.1, 3.0, 20.0])[:, None, None] - 60.0 * np.eye(4)
    near(sla.expm(x), reference.expm(x))
    near(lf.jit(sla.expm)(x), reference.expm(x))
    check_grads(sla.expm, (A(3, 3),))
    check_grads(sla.expm, (np.zeros((2, 2)),))
    a, e = A(3, 3), A(3, 3)
    for got, want in zip(sla.expm_frechet(a, e), reference.expm_frechet(a, e), strict=True):
        near(got, want)
    assert np.isnan(sla.expm(np.full((2, 2), 1e9))).all()
    assert np.isfinite(lf.jit(lf.grad(lambda x: sla.expm(x).sum()))(np.eye(2))).all()


def test_sqrtm_polar_and_sylvester() -> None:
    x = regular(A(4, 4)) + 2.0 * np.eye(4)
    root = np.asarray(sla.sqrtm(x))
    near(root @ root, x + 0j)
    check_grads(lambda x: sla.sqrtm(x).real, (x[:3, :3],))
    check_grads(lambda x: sla.sqrtm(x).real, (4.0 * np.eye(2),))
    for shape, side in (((4, 3), "right"), ((3, 4), "left")):
        y = A(*shape)
        for got, want in zip(sla.polar(y, side), reference.polar(y, side), strict=True):
            near(got, want)
        check_grads(lambda y, side=side: sla.polar(y, side), (y,))
    check_grads(sla.polar, (np.eye(2),))
    for n, k in ((3, 4), (17, 20)):
        a, b, q = A(n, n) + n * np.eye(n), A(k, k) + k * np.eye(k), A(n, k)
        near(sla.solve_sylvester(a, b, q), reference.solve_sylvester(a, b, q), 1e-8)


def test_scipy_errors() -> None:
    with pytest.raises(ValueError, match="trans is 0, 1, 2"):
        sla.solve_triangular(A(2, 2), A(2), trans=3)
    with pytest.raises(TypeError, match="at least as many rows as columns"):
        sla.polar(A(2, 3))
    with pytest.raises(ValueError, match="mode is 'full', 'economic' or 'r'"):
        sla.qr(A(2, 2), mode="half")
    with pytest.raises(TypeError, match="takes square matrices"):
        sla.expm(A(2, 3))
