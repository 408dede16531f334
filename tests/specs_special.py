"""Specs of special functions, Fourier transforms and random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from spec_base import Case, Point, Spec, kinds, normal, positive, probability, unit

from lucidfn import ops

NAN, INF = math.nan, math.inf


def exact(f: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """A reference that computes each element with mpmath, at 30 digits."""
    def reference(*args: Any) -> np.ndarray:
        arrays = np.broadcast_arrays(*args)
        out = np.empty(arrays[0].shape, np.float64)
        with mpmath.workdps(30):
            for i in np.ndindex(*out.shape):
                out[i] = float(mpmath.re(f(*[mpmath.mpf(float(a[i])) for a in arrays])))
        return out
    return reference


def simple(f: Callable[[float], float]) -> Callable[..., np.ndarray]:
    return lambda x: np.array([f(v) for v in x.ravel().tolist()], np.float64).reshape(x.shape)


def lower_gamma(a: Any, x: Any) -> Any:
    return mpmath.gammainc(a, 0, x, regularized=True)


def lower_gamma_slope(a: Any, x: Any) -> Any:
    return mpmath.diff(lambda b: lower_gamma(b, x), a)


def beta_slope(a: Any, b: Any, x: Any, operand: int) -> Any:
    """The derivative of the incomplete beta function in a or b, by differences."""
    with mpmath.workdps(40):
        h = mpmath.mpf(10) ** -15
        step = (h, 0) if operand == 0 else (0, h)
        ends = [mpmath.betainc(a + s * step[0], b + s * step[1], 0, x, regularized=True)
                for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * h)


def gamma_density(a: Any, x: Any) -> Any:
    return mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a))


def times_log(log: Any) -> Any:
    return lambda x, y: np.where((x == 0) & ~np.isnan(y), 0.0, x * log(y))


ONE = [Case(((2, 3),)), Case(((),)), Case(((0, 2),))]
TWO = [Case(((3,), (3,))), Case(((2, 1), (2,))), Case(((), (2,))), Case(((0,), (1,)))]
orders = kinds(lambda rng, s: rng.integers(1, 4, s) * 1.0)
above = kinds(lambda rng, s: rng.uniform(1.5, 3.0, s))


def special(name: str, f: Any, domain: Any, cases: Any = ONE, **more: Any) -> Spec:
    return Spec(name, exact(f), cases, "f", domain, tol=more.pop("tol", 4.0), **more)


SPECIAL = [
    Spec("erf", simple(math.erf), ONE, "f", normal, tol=4.0,
         special=[(np.array([NAN, INF, -INF, 0.0, -0.0]),)]),
    Spec("erfc", simple(math.erfc), ONE, "f", normal, tol=4.0,
         special=[(np.array([NAN, INF, -INF, 0.0, 20.0]),)]),
    special("erf_inv", mpmath.erfinv, unit),
    special("lgamma", lambda x: mpmath.log(abs(mpmath.gamma(x))), normal, tol=8.0,
            points=[Point((np.array([1.0, 2.0]),), (-np.euler_gamma + np.array([0.0, 1.0]),))]),
    special("digamma", mpmath.digamma, positive, tol=8.0),
    special("polygamma", lambda n, x: mpmath.polygamma(int(n), x), (orders, positive), TWO,
            diff=(1,), tol=8.0),
    special("zeta", mpmath.zeta, (above, positive), TWO, diff=(1,), tol=8.0),
    special("igamma", lower_gamma, positive, TWO, diff=(0, 1), order=1),
    special("igammac", lambda a, x: mpmath.gammainc(a, x, mpmath.inf, regularized=True), positive,
            TWO, diff=(0, 1), order=1),
    special("igamma_grad_a", lower_gamma_slope, positive, TWO, diff=(1,), order=1, tol=100.0),
    special("random_gamma_grad", lambda a, x: -lower_gamma_slope(a, x) / gamma_density(a, x),
            positive, TWO, diff=(1,), order=1, tol=100.0),
    special("betainc", lambda a, b, x: mpmath.betainc(a, b, 0, x, regularized=True),
            (positive, positive, probability), [
                Case(((3,), (3,), (3,))), Case(((), (2, 1), (2,))), Case(((0,), (), (1,)))],
            diff=(2,), tol=8.0),
    special("betainc_grad_a", lambda a, b, x: beta_slope(a, b, x, 0),
            (positive, positive, probability), [Case(((3,), (3,), (3,))), Case(((0,), (), (1,)))],
            diff=(2,), order=1, tol=100.0),
    special("betainc_grad_b", lambda a, b, x: beta_slope(a, b, x, 1),
            (positive, positive, probability), [Case(((3,), (3,), (3,))), Case(((0,), (), (1,)))],
            diff=(2,), order=1, tol=100.0),
    special("bessel_i0e", lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(0, x), normal),
    special("bessel_i1e", lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(1, x), normal,
            points=[Point((0.0,), (0.5,))]),
    special("ndtri", lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1), probability, tol=8.0,
            points=[Point((0.5,), (math.sqrt(2 * math.pi),))]),
    Spec("xlogy", times_log(np.log), TWO, "f", (normal, positive), tol=4.0, points=[
        Point((0.0, 2.0), (math.log(2.0), 0.0)), Point((0.0, 0.0), (-INF, 0.0))],
        special=[(np.array([0.0, 0.0, 0.0, NAN, 1.0]), np.array([0.0, NAN, INF, 1.0, 0.0]))]),
    Spec("xlog1py", times_log(np.log1p), TWO, "f", (normal, positive), tol=4.0, points=[
        Point((0.0, 1.0), (math.log(2.0), 0.0)), Point((0.0, -1.0), (-INF, 0.0))],
        special=[(np.array([0.0, 0.0, NAN, 1.0]), np.array([-1.0, NAN, 1.0, -1.0]))]),
    special("expi", mpmath.ei, normal, tol=8.0),
]

# ------------------------------------------------------------------ Fourier transforms


def dft(x: np.ndarray, *, kind: str, lengths: Any) -> np.ndarray:
    """By matrices of roots of unity, one axis at a time."""
    out = x.astype(np.complex128)
    n = len(lengths)
    if kind == "irfft":  # the elements that are conjugates of others
        last = lengths[-1]
        rest = np.conj(out[..., 1:(last + 1) // 2])
        for axis in range(out.ndim - n, out.ndim - 1):
            rest = np.roll(np.flip(rest, axis), 1, axis)
        out[..., 0] = half_real(out[..., 0], n)
        if last % 2 == 0:
            out[..., -1] = half_real(out[..., -1], n)
        out = np.concatenate([out, rest[..., ::-1]], -1)
    sign = 1 if kind in ("ifft", "irfft") else -1
    for i, length in enumerate(lengths):
        axis = out.ndim - n + i
        grid = np.outer(np.arange(length), np.arange(length))
        matrix = np.exp(sign * 2j * np.pi * grid / length) / (length if sign > 0 else 1)
        out = np.moveaxis(np.tensordot(out, matrix, (axis, 0)), -1, axis)
    if kind == "rfft":
        return out[..., :lengths[-1] // 2 + 1]
    return out.real if kind == "irfft" else out


def half_real(x: np.ndarray, n: int) -> np.ndarray:
    """For one axis the imaginary part has no influence; for several the transform is linear."""
    return x.real.astype(np.complex128) if n == 1 else x


def fft(kind: str, shape: Any, lengths: Any) -> Case:
    return Case((shape,), {"kind": kind, "lengths": lengths}, kinds="f" if kind == "rfft" else "c")


FFT = [Spec("fft", dft, [
    fft("fft", (5,), (5,)), fft("fft", (2, 4), (4,)), fft("fft", (3, 4), (3, 4)),
    fft("ifft", (6,), (6,)), fft("ifft", (2, 2, 3), (2, 3)), fft("rfft", (5,), (5,)),
    fft("rfft", (2, 6), (6,)), fft("rfft", (3, 4), (3, 4)), fft("irfft", (3,), (5,)),
    fft("irfft", (2, 4), (6,)), fft("fft", (0, 4), (4,)), fft("irfft", (1,), (1,))], "fc",
    normal, tol=8.0)]

# ------------------------------------------------------------------ random numbers

WORD = 0xFFFFFFFF
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: Any, x0: int, x1: int) -> tuple[int, int]:
    """Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011)."""
    words = [int(key[0]), int(key[1])]
    words.append(words[0] ^ words[1] ^ 0x1BD11BDA)
    x0, x1 = (x0 + words[0]) & WORD, (x1 + words[1]) & WORD
    for block in range(5):
        for r in ROTATIONS[block % 2]:
            x0 = (x0 + x1) & WORD
            x1 = (((x1 << r) | (x1 >> (32 - r))) & WORD) ^ x0
        x0 = (x0 + words[(block + 1) % 3]) & WORD
        x1 = (x1 + words[(block + 2) % 3] + block + 1) & WORD
    return x0, x1


def words_of(keys: np.ndarray) -> np.ndarray:
    return np.asarray(ops.random_key_data(keys))


def counted(keys: np.ndarray, shape: Any, width: int = 2) -> np.ndarray:
    """The pairs of words that each key gives for 0, 1, 2, ..."""
    words = words_of(keys)
    count = math.prod(shape)
    out = np.empty((*keys.shape, count, 2), np.uint64)
    for b in np.ndindex(*keys.shape):
        for i in range(count):
            out[b][i] = threefry(words[b], i >> 32, i & WORD)
    return out.reshape(*keys.shape, *shape, 2)


def seeds(x: np.ndarray, *, impl: str, x64: bool) -> np.ndarray:
    low, high = x.astype(np.int64) & WORD, (x.astype(np.int64) >> 32) & WORD
    return np.stack([high if x64 else 0 * high, low], -1)


def bits(keys: np.ndarray, *, shape: Any, width: int) -> np.ndarray:
    pairs = counted(keys, shape)
    if width == 64:
        return pairs[..., 0] << np.uint64(32) | pairs[..., 1]
    return ((pairs[..., 0] ^ pairs[..., 1]) & np.uint64((1 << width) - 1)).astype(f"uint{width}")


def fold_in(keys: np.ndarray, data: np.ndarray) -> np.ndarray:
    words = words_of(keys)
    shape = np.broadcast_shapes(keys.shape, np.shape(data))
    words, data = np.broadcast_to(words, (*shape, 2)), np.broadcast_to(data, shape)
    out = np.empty((*shape, 2), np.uint64)
    for b in np.ndindex(*shape):
        out[b] = threefry(words[b], 0, int(data[b]) & WORD)
    return out


def keys_of(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    words = rng.integers(0, 1 << 32, (*shape, 2)).astype(np.uint32)
    return np.asarray(ops.random_wrap(words, impl="threefry2x32"))


def some_seeds(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    return np.asarray(rng.integers(-1000, 1000, shape), np.int32)


def two_words(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    return rng.integers(0, 1 << 32, shape).astype(np.uint32)


def as_words(outs: Any, args: Any, params: Any) -> Any:
    return [words_of(outs[0])]


def uniform(keys: Any, *, shape: Any, dtype: Any, low: float, high: float) -> Any:
    width, fraction = (32, 23) if dtype == np.float32 else (64, 52)
    unit = (bits(keys, shape=shape, width=width) >> (width - fraction)) * 2.0**-fraction
    return (unit * (high - low) + low).astype(dtype)


def untested(*args: Any, **params: Any) -> None:
    """Samples by rejection: tests/test_random.py tests their distribution."""


def only_type(outs: Any, args: Any, params: Any) -> None:
    return None


def random(name: str, reference: Any, cases: Any, domain: Any = keys_of, **more: Any) -> Spec:
    return Spec(name, reference, cases, more.pop("kinds", "b"), domain, diff=more.pop("diff", ()),
                native=True, **more)


KEYED = [(), (2,), (0,)]
COUNTS = kinds(lambda rng, s: rng.integers(1, 20, s) * 1.0)
RANDOM = [
    random("random_seed", seeds, [Case((s,), {"impl": "threefry2x32", "x64": x}) for s, x in [
        ((), False), ((3,), False), ((2,), True), ((0,), False)]], some_seeds,
        normal_form=as_words),
    random("random_split", lambda keys, *, shape: counted(keys, shape), [
        Case((k,), {"shape": s}) for k in KEYED for s in [(3,), (2, 2)]], normal_form=as_words),
    random("random_fold_in", fold_in, [Case(s) for s in [
        ((), ()), ((2,), ()), ((2, 1), (3,)), ((0,), ())]], (keys_of, some_seeds),
        normal_form=as_words),
    random("random_bits", bits, [Case((k,), {"shape": (3,), "width": w}) for k in KEYED for w in
                                 (8, 16, 32, 64)] + [Case(((),), {"shape": (), "width": 32})]),
    random("random_below", lambda keys, *, shape, bound: bits(keys, shape=shape, width=32) < bound,
           [Case((k,), {"shape": (4,), "bound": 1 << 31}) for k in KEYED]),
    random("random_key_data", words_of, [Case((k,)) for k in KEYED]),
    random("random_wrap", lambda data, *, impl: data, [
        Case((s,), {"impl": "threefry2x32"}) for s in [(2,), (3, 2), (0, 2)]], two_words,
        normal_form=as_words),
    random("random_clone", lambda keys: words_of(keys), [Case((k,)) for k in KEYED],
           normal_form=as_words),
    random("random_uniform", uniform, [
        Case((k,), lambda d, low=low, high=high: {"shape": (4,), "dtype": d, "low": low,
                                                  "high": high})
        for k in KEYED for low, high in [(0.0, 1.0), (-1.5, 2.75)]], kinds="f",
        only=("float32", "float64")),
    random("random_normal", untested, [
        Case((k,), lambda d: {"shape": (4,), "dtype": d}) for k in KEYED], kinds="f",
        only=("float32", "float64"), normal_form=only_type),
    random("random_gamma", untested, [Case((k, s), {"log_space": g}) for k, s in [
        ((), ()), ((), (3,)), ((2,), (2, 3)), ((0,), (0,))] for g in (False, True)],
        (keys_of, above), kinds="f", diff=(1,), order=1, normal_form=only_type,
        differences=False),
    random("random_poisson", untested, [Case((k, s), {"dtype": np.dtype("int32")}) for k, s in [
        ((), ()), ((), (3,)), ((2,), (2, 3)), ((0,), (0,))]], (keys_of, COUNTS), kinds="f",
        normal_form=only_type),
    random("random_binomial", untested, [Case((k, s, s)) for k, s in [
        ((), ()), ((), (3,)), ((2,), (2, 3)), ((0,), (0,))]], (keys_of, COUNTS, probability),
        kinds="f", normal_form=only_type),
]
SPECS = [*SPECIAL, *FFT, *RANDOM]
