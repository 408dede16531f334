"""Samples by rejection: gamma, Poisson and binomial, for all elements of a batch at once.

Keys are split in the order in which `jax.random` splits them, so the samples agree with its own
but for rounding. The bits come from the keys' own generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lucidfn.backends.numpy import rng
from lucidfn.backends.numpy.precision import HALVES, SINGLE
from lucidfn.backends.numpy.special_erf import erf_inv
from lucidfn.backends.numpy.special_gamma import lgamma

Keys = np.ndarray


def uniform(keys: Keys, shape: tuple[int, ...], dtype: np.dtype, low: float = 0.0,
            high: float = 1.0) -> np.ndarray:
    """Floats in [low, high) of shape keys.shape + shape: random mantissas under the exponent of 1,
    minus 1, scaled."""
    span = float(dtype.type(dtype.type(high) - dtype.type(low)))
    # A power of two: the product is not rounded, so that the sum alone is.
    exact = dtype != SINGLE or math.frexp(span)[0] == 0.5

    def finish(x: np.ndarray, _: np.ndarray) -> None:
        if exact:
            x *= dtype.type(span)
            x += dtype.type(low)
        else:  # one rounding for both, as a fused multiply-add has: the values of `jax.random`
            wide = x.astype(np.float64)
            wide *= span
            wide += float(dtype.type(low))
            x[...] = wide
        np.maximum(x, dtype.type(low), out=x)

    return _uniform(keys, shape, dtype, None if (low, high) == (0.0, 1.0) else finish)


def _uniform(keys: Keys, shape: tuple[int, ...], dtype: np.dtype,
             finish: Callable[[np.ndarray, np.ndarray], None] | None = None) -> np.ndarray:
    """Floats in [0, 1), made block by block, each of which `finish` changes in place; its second
    operand is a buffer of the same type."""
    width, mantissa = (32, 23) if dtype == SINGLE else (64, 52)
    keys = np.asarray(keys)
    out = np.empty((keys.size, math.prod(shape)), dtype)
    shift, ones = (np.array(x, f"u{width // 8}") for x in (
        width - mantissa, int(np.ones((), dtype).view(f"u{width // 8}"))))
    one = np.array(1.0, dtype)

    def store(rows: slice, columns: slice, words: np.ndarray) -> None:
        np.right_shift(words, shift, words)
        np.bitwise_or(words, ones, words)
        block, numbers = out[rows, columns], words.view(dtype)
        np.subtract(numbers, one, block)
        if finish is not None:
            finish(block, numbers)

    rng.draw(keys, out.shape[1], width, store)
    return out.reshape(keys.shape + shape)


def normal(keys: Keys, *, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Standard normal numbers of shape keys.shape + shape, float32 or float64."""
    low = np.nextafter(np.array(-1.0, dtype), np.array(0.0, dtype))
    span, root = np.array(1.0 - low, dtype), np.array(math.sqrt(2.0), dtype)

    def finish(x: np.ndarray, free: np.ndarray) -> None:
        np.multiply(x, span, x)
        np.add(x, low, x)
        np.maximum(x, low, out=x)
        if dtype == SINGLE:
            _erf_inv_single(x, free)
        else:
            x[...] = erf_inv(x)
        np.multiply(x, root, x)

    return _uniform(keys, shape, dtype, finish)


# M. Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2011): the polynomials in
# w - 5/2 and, from w = 5 on, in sqrt(w) - 3, where w = -log(1 - x^2).
_CENTRE = np.array([2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941], np.float32)
_TAIL = np.array([-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                  -0.0076224613, 0.00943887047, 1.00167406, 2.83297682], np.float32)
_SHIFT, _EDGE, _TAIL_SHIFT = (np.array(x, np.float32) for x in (2.5, 5.0, 3.0))


def _erf_inv_single(x: np.ndarray, w: np.ndarray) -> None:
    """erf_inv in place, with the rounding of x^2 left in: normal numbers are those of `jax.random`.
    `w` is a buffer."""
    np.negative(x, w)
    np.multiply(w, x, w)
    np.log1p(w, w)
    np.negative(w, w)
    tail = np.nonzero(w >= _EDGE)
    far = np.sqrt(w[tail])
    far -= _TAIL_SHIFT
    np.subtract(w, _SHIFT, w)
    value = _polynomial(_CENTRE, w)
    value[tail] = _polynomial(_TAIL, far)
    np.multiply(x, value, x)


def _polynomial(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    first, second, *others = (np.asarray(c) for c in coefficients)
    value = np.multiply(x, first)
    np.add(value, second, value)
    for c in others:
        np.multiply(value, x, value)
        np.add(value, c, value)
    return value


def _work(dtype: np.dtype) -> np.dtype:
    return SINGLE if dtype in HALVES else dtype


# ------------------------------------------------------------------ gamma

def gamma(keys: Keys, a: np.ndarray, *, log_space: bool) -> np.ndarray:
    """Gamma samples with shape parameters a[keys.shape + ...], or their logarithms.

    Marsaglia and Tsang, "A simple method for generating gamma variables" (2000): with normal x
    and v = (1 + c x)^3 accept d v; below a = 1 by the boost gamma(a + 1) u^(1/a).
    """
    a, keys = np.asarray(a), np.asarray(keys)
    count = a.size // keys.size if keys.size else 0
    if a.size == 0:
        return np.zeros(a.shape, a.dtype)
    alpha = a.reshape(-1).astype(_work(a.dtype))
    pair = rng.split(rng.split(keys.reshape(-1), shape=(count,)).reshape(-1), shape=(2,))
    small = ~(alpha >= 1.0)
    d = np.where(small, alpha + 1, alpha) - np.array(1.0 / 3.0, alpha.dtype)
    v = _marsaglia_tsang(pair[:, 0].copy(), d)
    u = uniform(pair[:, 1], (), alpha.dtype)
    if log_space:
        log_u = np.log1p(-u)
        boost = np.where(~small | (log_u == 0), np.zeros((), alpha.dtype), log_u / alpha)
        out = np.log(d) + np.log(v) + boost
    else:
        out = d * v * np.where(small, (1 - u) ** (1 / alpha), np.ones((), alpha.dtype))
    out[~(alpha > 0)] = np.nan
    return out.astype(a.dtype).reshape(a.shape)


def _marsaglia_tsang(keys: Keys, d: np.ndarray) -> np.ndarray:
    dtype = d.dtype
    c = np.array(1.0 / 3.0, dtype) / np.sqrt(d)
    out = np.ones_like(d)
    active = np.flatnonzero(d > 0)  # not where the parameter is NaN or far below 0
    while active.size:
        three = rng.split(keys[active], shape=(3,))
        keys[active] = three[:, 0]
        x, v = _positive(three[:, 1].copy(), c[active])
        u = uniform(three[:, 2], (), dtype)
        square, v, width = x * x, v * v * v, d[active]
        out[active] = v
        wrong = u >= 1 - np.array(0.0331, dtype) * (square * square)
        wrong &= np.log(u) >= np.array(0.5, dtype) * square + width * (1 - v + np.log(v))
        active = active[wrong]
    return out


def _positive(keys: Keys, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal x with v = 1 + c x > 0."""
    x, v = np.zeros_like(c), np.ones_like(c)
    active = np.arange(c.size)
    while active.size:
        two = rng.split(keys[active], shape=(2,))
        keys[active] = two[:, 0]
        x[active] = normal(two[:, 1], shape=(), dtype=c.dtype)
        v[active] = 1 + x[active] * c[active]
        active = active[v[active] <= 0]
    return x, v


# ------------------------------------------------------------------ Poisson

def poisson(keys: Keys, rate: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    """Poisson samples of rates rate[keys.shape + ...]; -1 where the rate is NaN or negative."""
    keys, (lam,), shape = _lanes(keys, rate)
    bad = ~(lam >= 0) | np.isinf(lam)
    few = bad | (lam < 10)
    counted = _count_arrivals(keys, np.where(few & ~bad, lam, 0).astype(lam.dtype))
    out = np.where(few, counted, _poisson_rejection(keys, np.where(few, 1e5, lam).astype(lam.dtype),
                                                    few))
    out = np.where(bad, -1, np.where(lam == 0, 0, out))
    return out.astype(dtype).reshape(shape)


def _lanes(keys: Keys, *operands: np.ndarray) -> tuple[Keys, list[np.ndarray], tuple[int, ...]]:
    """One row for each key; the elements of a row share the key's bits."""
    keys, first = np.asarray(keys), np.asarray(operands[0])
    work = _work(first.dtype)
    rows = [np.asarray(x).reshape(keys.size, -1 if keys.size else 0).astype(work)
            for x in operands]
    return keys.reshape(-1), rows, first.shape


def _count_arrivals(keys: Keys, lam: np.ndarray) -> np.ndarray:
    """Knuth: how many unit-rate arrivals come before time lam."""
    keys = keys.copy()
    count, time = np.zeros(lam.shape), np.zeros_like(lam)
    lanes = np.arange(len(keys))
    while lanes.size:
        waiting = time[lanes] > -lam[lanes]
        going = waiting.any(axis=1)
        lanes, waiting = lanes[going], waiting[going]
        if not lanes.size:
            break
        count[lanes] += waiting
        two = rng.split(keys[lanes], shape=(2,))
        keys[lanes] = two[:, 0]
        time[lanes] += np.log(uniform(two[:, 1], lam.shape[1:], lam.dtype))
    return np.maximum(count - 1, 0)


def _poisson_rejection(keys: Keys, lam: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """Hoermann, "The transformed rejection method for generating Poisson random variables" (1993),
    algorithm PTRS, for rates of at least 10."""
    b = 0.931 + 2.53 * np.sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    log_lam = np.log(lam)

    def propose(at: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edge, a_, b_ = 0.5 - np.abs(u), a[at], b[at]
        k = np.floor((2 * a_ / edge + b_) * u + lam[at] + 0.43)
        s = np.log(v * inverse_alpha[at] / (a_ / (edge * edge) + b_))
        t = -lam[at] + k * log_lam[at] - lgamma(k + 1)
        never = (k < 0) | ((edge < 0.013) & (v > edge))
        return k, ((edge >= 0.07) & (v <= v_r[at])) | (~never & (s <= t))

    return _transformed_rejection(keys, lam, propose, skip)


def _transformed_rejection(keys: Keys, like: np.ndarray, propose: Callable[..., tuple],
                           skip: np.ndarray) -> np.ndarray:
    """Propose until every element of a lane is accepted; a lane redraws all its elements."""
    keys, out = keys.copy(), np.zeros_like(like)
    done = skip.copy()
    lanes = np.flatnonzero(~done.all(axis=1))
    while lanes.size:
        three = rng.split(keys[lanes], shape=(3,))
        keys[lanes] = three[:, 0]
        u, v = (uniform(three[:, i], like.shape[1:], like.dtype) for i in (1, 2))
        k, accept = propose(lanes, u - np.array(0.5, like.dtype), v)
        out[lanes] = np.where(accept, k, out[lanes])
        done[lanes] |= accept
        lanes = lanes[~done[lanes].all(axis=1)]
    return out


# ------------------------------------------------------------------ binomial

def binomial(keys: Keys, n: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Binomial samples of n trials with probability p; NaN where there is no distribution."""
    dtype = np.asarray(n).dtype
    keys, (n, p), shape = _lanes(keys, n, p)
    invalid = ~(n >= 0) | ~(p >= 0) | ~(p <= 1)
    infinite = np.isinf(n) & ~invalid
    n = np.floor(n)
    mirrored = ~(p < 0.5)
    q = np.where(mirrored, 1 - p, p)
    few = invalid | infinite | (n * q <= 10)
    counted = _count_successes(keys, np.where(few & ~invalid & ~infinite, n, 0).astype(n.dtype),
                               np.where(invalid, 0.01, q).astype(n.dtype))
    many = _binomial_rejection(keys, np.where(few, 1e4, n).astype(n.dtype),
                               np.where(few, 0.5, q).astype(n.dtype), few)
    out = np.where(few, counted, many)
    out = np.where(mirrored, n - out, out)
    out = np.where(infinite, np.where(p == 0, 0.0, np.inf), np.where(invalid, np.nan, out))
    return out.astype(dtype).reshape(shape)


def _count_successes(keys: Keys, n: np.ndarray, q: np.ndarray) -> np.ndarray:
    """How many successes come within n trials, by the geometric waiting times between them."""
    keys = keys.copy()
    log_failure = np.log1p(-q)
    count, trials = np.zeros(n.shape), np.zeros_like(n)
    lanes = np.arange(len(keys))
    while lanes.size:
        within = trials[lanes] <= n[lanes]
        going = within.any(axis=1)
        lanes, within = lanes[going], within[going]
        if not lanes.size:
            break
        count[lanes] += within
        two = rng.split(keys[lanes], shape=(2,))
        keys[lanes] = two[:, 1]
        wait = np.ceil(np.log(uniform(two[:, 0], n.shape[1:], n.dtype)) / log_failure[lanes])
        # q = 0 gives -inf / -0: the success never comes.
        trials[lanes] += np.where(np.isnan(wait), np.inf, np.maximum(wait, 1))
    return np.maximum(count - 1, 0)


# log k! minus Stirling's (k + 1/2) log(k + 1) - (k + 1) + log(2 pi) / 2, for k = 0 .. 9
_STIRLING = np.array([math.lgamma(k + 1) - (k + 0.5) * math.log(k + 1) + (k + 1)
                  - 0.5 * math.log(2 * math.pi) for k in range(10)])


def _stirling_tail(k: np.ndarray) -> np.ndarray:
    small = np.clip(k, 0, 9)
    square = (k + 1) * (k + 1)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)
    return np.where(k <= 9, _STIRLING[small.astype(np.intp)], series).astype(k.dtype)


def _binomial_rejection(keys: Keys, n: np.ndarray, p: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """Hoermann, "The generation of binomial random variates" (1993), algorithm BTRS, for
    n p of at least 10 and p of at most 1/2."""
    spread = np.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    v_r, odds = 0.92 - 4.2 / b, p / (1 - p)
    alpha = (2.83 + 5.1 / b) * spread
    mode = np.floor((n + 1) * p)

    def propose(at: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_, m, r, a_, b_ = n[at], mode[at], odds[at], a[at], b[at]
        edge = 0.5 - np.abs(u)
        k = np.floor((2 * a_ / edge + b_) * u + n_ * p[at] + 0.5)
        inside = (k >= 0) & (k <= n_)
        safe = np.where(inside, k, m)
        bound = ((m + 0.5) * np.log((m + 1) / (r * (n_ - m + 1)))
                 + (n_ + 1) * np.log((n_ - m + 1) / (n_ - safe + 1))
                 + (safe + 0.5) * np.log(r * (n_ - safe + 1) / (safe + 1))
                 + _stirling_tail(m) + _stirling_tail(n_ - m)
                 - _stirling_tail(safe) - _stirling_tail(n_ - safe))
        below = np.log(v * alpha[at] / (a_ / (edge * edge) + b_)) <= bound
        return k, ((edge >= 0.07) & (v <= v_r[at])) | (inside & below)

    return _transformed_rejection(keys, n, propose, skip)
