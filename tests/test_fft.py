"""lnp.fft: NumPy is the oracle; the transforms are linear, and their transposes are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.testing import assert_allclose, check_batch, check_grads, check_jit

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((3, 6, 4))
COMPLEX = REAL + 1j * RNG.standard_normal((3, 6, 4))
NORMS = [None, "backward", "ortho", "forward"]


def given(name: str) -> np.ndarray:
    return REAL if name.startswith(("rfft", "ihfft")) else COMPLEX


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("n", [None, 4, 5, 9])
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_one_axis(name: str, axis: int, n: Any, norm: Any) -> None:
    x = given(name)
    want = getattr(np.fft, name)(x, n, axis, norm)
    assert_allclose(getattr(lnp.fft, name)(x, n, axis, norm), want, check_dtypes=True)


@pytest.mark.parametrize("norm", NORMS, ids=str)
@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2",
                                  "irfft2"])
def test_many_axes(name: str, norm: Any) -> None:
    x = given(name)
    ours, numpys = getattr(lnp.fft, name), getattr(np.fft, name)
    assert_allclose(ours(x, norm=norm), numpys(x, norm=norm))
    assert_allclose(ours(x, s=(4, 5), axes=(0, 2), norm=norm),
                    numpys(x, s=(4, 5), axes=(0, 2), norm=norm))
    assert_allclose(ours(x, axes=(2, 0), norm=norm), numpys(x, axes=(2, 0), norm=norm))


@pytest.mark.parametrize(("dtype", "transformed"), [
    ("float16", "complex64"), ("float32", "complex64"), ("float64", "complex128"),
    ("complex64", "complex64"), ("int32", "complex64"), ("bool", "complex64")])
def test_precision_is_kept(dtype: str, transformed: str) -> None:
    x = lnp.ones(4, dtype)
    assert lnp.fft.fft(x).dtype == lnp.dtype(transformed)
    if "complex" not in dtype:
        assert lnp.fft.rfft(x).dtype == lnp.dtype(transformed)
        back = lnp.fft.irfft(lnp.fft.rfft(x))
        assert back.dtype == (np.float64 if dtype == "float64" else np.float32)
        assert_allclose(back, np.ones(4, back.dtype))


@pytest.mark.parametrize("n", [1, 4, 5, 8])
def test_frequencies_and_shifts(n: int) -> None:
    for name in ("fftfreq", "rfftfreq"):
        assert_allclose(getattr(lnp.fft, name)(n, 0.1),
                        getattr(np.fft, name)(n, 0.1).astype(np.float32))
    x = RNG.standard_normal((n, 3))
    for name in ("fftshift", "ifftshift"):
        assert np.array_equal(getattr(lnp.fft, name)(x), getattr(np.fft, name)(x))
        assert np.array_equal(getattr(lnp.fft, name)(x, axes=0), getattr(np.fft, name)(x, axes=0))
    assert np.array_equal(lnp.fft.ifftshift(lnp.fft.fftshift(x)), x)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft", "fftn", "rfftn",
                                  "irfftn", "ifft2"])
def test_derivatives(name: str) -> None:
    x = given(name)[:2, :3]
    f = getattr(lnp.fft, name)
    check_grads(f, (x,))
    check_grads(lambda x: f(f(x).real) if name in ("fft", "ifft") else f(x) ** 2, (x,))
    check_batch(lambda x: f(x), (x,))
    check_jit(f, (x,))


def test_the_transpose_of_a_linear_transform() -> None:
    x = COMPLEX[0]
    (got,) = lf.linear_transpose(lnp.fft.fft, x)(lnp.asarray(x))
    assert_allclose(got, np.fft.fft(x))


def test_empty_batches() -> None:
    assert lnp.fft.fft(np.zeros((0, 4))).shape == (0, 4)
    assert lnp.fft.irfft(np.zeros((0, 3))).shape == (0, 4)


def test_errors() -> None:
    with pytest.raises(TypeError, match="rfft takes real input, got complex128"):
        lnp.fft.rfft(COMPLEX)
    with pytest.raises(ValueError, match="norm is 'backward', 'ortho' or 'forward'"):
        lnp.fft.fft(REAL, norm="unit")
    with pytest.raises(ValueError, match="axis 3 is out of bounds"):
        lnp.fft.fft(REAL, axis=3)
    with pytest.raises(ValueError, match="axes must be distinct"):
        lnp.fft.fftn(REAL, axes=(0, -3))
    with pytest.raises(ValueError, match="at least one element"):
        lnp.fft.fft(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="2 sizes were given for 1 axes"):
        lnp.fft.fftn(REAL, s=(2, 3), axes=(0,))
