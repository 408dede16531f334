"""Factorisations, solvers and Fourier transforms, by what their results must satisfy."""

import ml_dtypes
import numpy as np
import pytest

from lucidfn.backends.numpy import linalg
from lucidfn.backends.numpy.fft import fft
from lucidfn.backends.numpy.linalg import (
    cholesky,
    eig,
    eigh,
    eigvals,
    lu,
    qr,
    slogdet,
    solve,
    svd,
    triangular_solve,
)

BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(d) for d in "f2 f4 f8 F D".split()] + [BF16]
SHAPES = [(0, 0), (1, 1), (4, 4), (3, 4, 4), (2, 0, 3, 3), (2, 3, 20, 20), (0, 4, 4)]
OBLONG = [*SHAPES, (3, 5), (5, 3), (2, 7, 40), (2, 40, 7), (0, 3), (3, 0), (2, 0, 3)]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def sample(rng, shape, dtype):
    if dtype.kind == "c":
        pair = rng.standard_normal((2, *shape))
        return np.asarray(pair[0] + 1j * pair[1]).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def wide(x):
    return x.astype("D" if x.dtype.kind == "c" else "f8")


def turned(x):
    return x.conj().swapaxes(-1, -2)


def near(got, want, dtype):
    tolerance = 100 * float(ml_dtypes.finfo(dtype).eps)
    scale = max(1.0, float(np.abs(wide(np.asarray(want))).max(initial=0)))
    np.testing.assert_allclose(wide(np.asarray(got)), wide(want), tolerance, tolerance * scale)


def identity_like(x):
    return np.broadcast_to(np.eye(x.shape[-1]), x.shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cholesky(shape, dtype):
    rng = np.random.default_rng(0)
    x = wide(sample(rng, shape, dtype))
    x = (x @ turned(x) + shape[-1] * np.eye(shape[-1])).astype(dtype)
    out = cholesky(x)
    assert out.dtype == dtype and out.shape == x.shape
    near(wide(out) @ turned(wide(out)), x, dtype)
    np.testing.assert_array_equal(wide(out), np.tril(wide(out)))


def test_one_bad_matrix_leaves_the_others_alone():
    good = np.array([[2.0, 1], [1, 2]])
    for bad in (np.diag([1.0, -1]), np.full((2, 2), np.nan), np.zeros((2, 2))):
        for place in range(5):
            x = np.stack([good] * 6)
            x[place] = bad
            x = x.reshape(2, 3, 2, 2)
            out = cholesky(x).reshape(6, 2, 2)
            assert np.isnan(out).all(axis=(1, 2)).tolist() == [i == place for i in range(6)]
            np.testing.assert_array_equal(out[5], cholesky(good))
            assert np.isnan(cholesky(bad)).all()


@pytest.mark.parametrize("kernel", ["svd", "eigh", "eig", "eigvals"])
def test_nan_in_gives_nan_out(kernel):
    x = np.stack([np.eye(3), np.full((3, 3), np.nan), np.diag([3.0, 2, 1])]).astype(np.float32)
    extra = dict(full_matrices=False, compute_uv=True) if kernel == "svd" else {}
    outs = getattr(linalg, kernel)(x, **extra)
    for out in outs if isinstance(outs, list) else [outs]:
        flat = np.isnan(out).reshape(3, -1)
        assert flat.all(axis=1).tolist() == [False, True, False]
        assert not flat[0].any() and not flat[2].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", OBLONG, ids=str)
def test_lu(shape, dtype):
    rng = np.random.default_rng(0)
    x = sample(rng, shape, dtype)
    x.flags.writeable = False
    factors, pivots, order = lu(x)
    *lead, m, n = shape
    depth = min(m, n)
    assert factors.dtype == dtype and factors.shape == shape
    assert pivots.dtype == order.dtype == np.int32
    assert pivots.shape == (*lead, depth) and order.shape == (*lead, m)
    values = wide(factors)
    lower = np.tril(values[..., :depth], -1) + np.eye(m, depth)
    upper = np.triu(values[..., :depth, :])
    near(lower @ upper, np.take_along_axis(x, order[..., None], -2), dtype)
    assert (np.abs(lower) <= 1.5).all()
    for b in np.ndindex(*lead):
        rows = list(range(m))
        for i, j in enumerate(pivots[b]):
            rows[i], rows[j] = rows[j], rows[i]
        assert rows == order[b].tolist()


def test_lu_of_singular_matrices():
    for x in np.zeros((3, 3)), np.ones((4, 4)), np.array([[0.0, 1], [0, 2]]):
        factors, _, order = lu(x)
        lower = np.tril(factors, -1) + np.eye(len(x))
        np.testing.assert_allclose(lower @ np.triu(factors), x[order])
    x = np.random.default_rng(0).standard_normal((3, 30, 30))
    want = lu(x)[0]
    x[1] = np.nan
    out = lu(x)[0]
    np.testing.assert_allclose(out[[0, 2]], want[[0, 2]], atol=1e-12)


@pytest.mark.parametrize("shape", [(60, 60), (2, 33, 70), (150, 40)], ids=str)
def test_lu_agrees_with_lapack(shape):
    scipy = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    for dtype in np.dtype("f8"), np.dtype("D"):
        x = sample(rng, shape, dtype)
        factors, pivots, _ = lu(x)
        for b in np.ndindex(*shape[:-2]):
            want = scipy.lu_factor(x[b])
            np.testing.assert_array_equal(pivots[b], want[1])
            np.testing.assert_allclose(factors[b], want[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", OBLONG, ids=str)
def test_qr(shape, dtype):
    x = sample(np.random.default_rng(0), shape, dtype)
    m, n = shape[-2:]
    for full in False, True:
        q, r = qr(x, full_matrices=full)
        depth = m if full else min(m, n)
        assert q.dtype == r.dtype == dtype
        assert q.shape == (*shape[:-1], depth) and r.shape == (*shape[:-2], depth, n)
        q, r = wide(q), wide(r)
        near(q @ r, x, dtype)
        gram = turned(q) @ q
        near(gram, identity_like(gram), dtype)
        np.testing.assert_array_equal(r, np.triu(r))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", OBLONG, ids=str)
def test_svd(shape, dtype):
    x = sample(np.random.default_rng(0), shape, dtype)
    depth = min(shape[-2:])
    for full in False, True:
        u, s, vh = svd(x, full_matrices=full, compute_uv=True)
        assert u.dtype == vh.dtype == dtype and s.shape == (*shape[:-2], depth)
        assert s.dtype == np.zeros(0, dtype).real.dtype
        assert u.shape[-1] == (shape[-2] if full else depth)
        assert vh.shape[-2] == (shape[-1] if full else depth)
        near((wide(u)[..., :depth] * wide(s)[..., None, :]) @ wide(vh)[..., :depth, :], x, dtype)
        (alone,) = svd(x, full_matrices=full, compute_uv=False)
        near(alone, s, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eigh(shape, dtype):
    x = wide(sample(np.random.default_rng(0), shape, dtype))
    full = (x + turned(x)).astype(dtype)
    # Only the lower triangle counts.
    w, v = eigh(np.tril(wide(full)).astype(dtype))
    assert v.dtype == dtype and w.dtype == np.zeros(0, dtype).real.dtype
    w, v = wide(w), wide(v)
    near((v * w[..., None, :]) @ turned(v), full, dtype)
    assert (np.diff(w) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eig(shape, dtype):
    x = sample(np.random.default_rng(0), shape, dtype)
    w, v = eig(x)
    kind = np.dtype("D") if dtype in (np.dtype("f8"), np.dtype("D")) else np.dtype("F")
    assert w.dtype == v.dtype == kind and w.shape == shape[:-1] and v.shape == shape
    near(wide(x) @ wide(v), wide(v) * wide(w)[..., None, :], kind)
    near(eigvals(x), w, kind)
    assert eigvals(x).dtype == kind


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (2, 3, 4, 4), (70, 70), (2, 0, 0), (0, 3, 3)])
def test_triangular_solve(shape, dtype):
    rng = np.random.default_rng(0)
    n = shape[-1]
    a = wide(sample(rng, shape, dtype)) / max(n, 1)
    a = (a + 2 * np.eye(n)).astype(dtype)
    flags = [(bool(k & 1), bool(k & 2), bool(k & 4), bool(k & 8), bool(k & 16)) for k in range(32)]
    for left, lower, transpose, conjugate, unit in flags:
        size = (n, 3) if left else (3, n)
        b = sample(rng, (*shape[:-2], *size), dtype)
        # The other triangle is not read.
        other = np.triu if lower else np.tril
        hidden = np.where(other(np.ones((n, n)), 1 if lower else -1) == 1, np.nan, wide(a))
        x = triangular_solve(
            hidden.astype(dtype),
            b,
            left=left,
            lower=lower,
            transpose=transpose,
            conjugate=conjugate,
            unit=unit,
        )
        assert x.dtype == dtype and x.shape == b.shape
        op = (np.tril if lower else np.triu)(wide(a))
        if unit:
            op[..., range(n), range(n)] = 1
        op = op.conj() if conjugate else op
        op = op.swapaxes(-1, -2) if transpose else op
        near(op @ wide(x) if left else wide(x) @ op, b, dtype)


def test_triangular_solve_with_zeros_on_the_diagonal():
    a = np.stack([np.eye(3), np.diag([1.0, 0, 1]), 2 * np.eye(3)])
    parameters = dict(left=True, transpose=False, conjugate=False)
    for lower in True, False:
        out = triangular_solve(a, np.ones((3, 3, 2)), lower=lower, unit=False, **parameters)
        np.testing.assert_array_equal(out[0], np.ones((3, 2)))
        np.testing.assert_array_equal(out[2], np.full((3, 2), 0.5))
        assert (out[1, 1] == np.inf).all()
        unit = triangular_solve(a, np.ones((3, 3, 2)), lower=lower, unit=True, **parameters)
        np.testing.assert_array_equal(unit, np.ones((3, 3, 2)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_solve_and_slogdet(shape, dtype):
    rng = np.random.default_rng(0)
    a = (wide(sample(rng, shape, dtype)) + shape[-1] * np.eye(shape[-1])).astype(dtype)
    for k in 0, 1, 3:
        b = sample(rng, (*shape[:-1], k), dtype)
        x = solve(a, b)
        assert x.dtype == dtype and x.shape == b.shape
        near(wide(a) @ wide(x), b, dtype)
    sign, size = slogdet(a)
    assert isinstance(sign, np.ndarray) and isinstance(size, np.ndarray)
    assert sign.dtype == dtype and size.dtype == np.zeros(0, dtype).real.dtype
    want = np.linalg.slogdet(wide(a))
    near(sign, want[0], dtype)
    near(size, want[1], dtype)


def test_singular_systems():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 3, 3)), rng.standard_normal((5, 3, 2))
    want = solve(a, b)
    a[2, 1] = a[2, 0] = 1
    a[4] = 0
    out = solve(a, b)
    np.testing.assert_array_equal(out[[0, 1, 3]], want[[0, 1, 3]])
    assert not np.isfinite(out[2]).all() and not np.isfinite(out[4]).any()
    assert solve(np.zeros((1, 1)), np.ones((1, 1))) == np.inf
    sign, size = slogdet(a)
    assert sign[4] == 0 and size[4] == -np.inf


TRANSFORMS = [((8,), (8,)), ((3, 7), (7,)), ((3, 6, 5), (6, 5)), ((1, 1), (1, 1)), ((2, 3), ())]
TRANSFORMS += [((0, 4), (4,)), ((2, 3, 4, 5), (3, 4, 5))]


@pytest.mark.parametrize("precision", ["f2", "f4", "f8"])
@pytest.mark.parametrize("case", TRANSFORMS, ids=str)
def test_fourier_transforms(case, precision):
    shape, lengths = case
    rng = np.random.default_rng(0)
    real = sample(rng, shape, np.dtype(precision))
    tolerance = 1e-12 if precision == "f8" else 1e-5
    kind = np.dtype("D" if precision == "f8" else "F")
    want = wide(real).astype("D")
    for axis in range(len(shape) - len(lengths), len(shape)):
        n = shape[axis]
        waves = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / max(n, 1))
        want = np.moveaxis(np.moveaxis(want, axis, -1) @ waves, -1, axis)
    spectrum = fft(real, kind="fft", lengths=lengths)
    assert spectrum.dtype == kind
    np.testing.assert_allclose(spectrum, want, rtol=tolerance, atol=20 * tolerance)
    back = fft(spectrum, kind="ifft", lengths=lengths)
    assert back.dtype == kind
    np.testing.assert_allclose(back, real, rtol=tolerance, atol=20 * tolerance)
    half = fft(real, kind="rfft", lengths=lengths)
    assert half.dtype == kind
    part = want[..., : lengths[-1] // 2 + 1] if lengths else want
    np.testing.assert_allclose(half, part, rtol=tolerance, atol=20 * tolerance)
    again = fft(half, kind="irfft", lengths=lengths)
    assert again.dtype == np.zeros(0, kind).real.dtype and again.shape == shape
    np.testing.assert_allclose(again, real, rtol=tolerance, atol=20 * tolerance)


def test_fourier_transforms_of_nothing():
    assert fft(np.zeros((3, 0), "f4"), kind="fft", lengths=(0,)).shape == (3, 0)
    assert fft(np.zeros((0, 6), "f4"), kind="rfft", lengths=(6,)).shape == (0, 4)
    assert fft(np.zeros((0, 4), "F"), kind="irfft", lengths=(6,)).shape == (0, 6)
    assert np.isnan(fft(np.full(4, np.nan), kind="fft", lengths=(4,))).all()


@pytest.mark.peers
def test_agrees_with_jax():
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x = sample(rng, (2, 12, 12), np.dtype("f4"))
    for got, want in zip(lu(x), jax.lax.linalg.lu(x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
    z = sample(rng, (2, 5, 5), np.dtype("F"))
    b = sample(rng, (2, 5, 5), np.dtype("F"))
    for k in range(32):
        left, lower, transpose, conjugate, unit = (bool(k & 2**i) for i in range(5))
        want = jax.lax.linalg.triangular_solve(
            z,
            b,
            left_side=left,
            lower=lower,
            transpose_a=transpose,
            conjugate_a=conjugate,
            unit_diagonal=unit,
        )
        got = triangular_solve(
            z,
            b,
            left=left,
            lower=lower,
            transpose=transpose,
            conjugate=conjugate,
            unit=unit,
        )
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())
