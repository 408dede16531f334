"""Integers, booleans, choices and permutations."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import as_raw, typeof, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of
from lucidfn.random._continuous import raw_gumbel
from lucidfn.random._keys import Shape, as_shape, split_raw, use_key
from lucidfn.random._uniform import float_dtype, full_shape, parameter, raw_uniform
from lucidfn.types import (
    SCALARS,
    as_dtype,
    default_dtype_of,
    dtype_name,
    float_type_for,
    int32,
    is_inexact,
)


def _int_dtype(name: str, dtype: Any) -> np.dtype:
    dtype = default_dtype_of(int) if dtype is None else as_dtype(dtype)
    if dtype.kind not in "iu":
        raise TypeError(f"random.{name}: dtype must be an integer type, got {dtype_name(dtype)}")
    return dtype


# ------------------------------------------------------------------ integers

def randint(key: Any, shape: Shape, minval: Any, maxval: Any, dtype: Any = None) -> Any:
    """Uniform integers in [minval, maxval); minval where the range is empty.

    The bounds broadcast to `shape`. A maxval one beyond the largest integer is allowed. The bias
    of ranges that are no power of two is below range / 2**32 for 32 bits.

    >>> from lucidfn import random
    >>> random.randint(random.key(0), (3,), 0, 10).shape
    (3,)
    """
    dtype = _int_dtype("randint", dtype)
    shape = full_shape("randint", shape, minval, maxval)
    return wrap(raw_randint(use_key("randint", key), shape, minval, maxval, dtype))


def raw_randint(key: Any, shape: tuple[int, ...], minval: Any, maxval: Any,
                dtype: np.dtype) -> Any:
    if dtype.itemsize < 4:
        # In 32 bits, where the bias is small, and where one beyond the largest integer fits.
        info = np.iinfo(dtype)
        lo, hi = (_limited(x, int(info.min), int(info.max) + more)
                  for x, more in ((minval, 0), (maxval, 1)))
        return ops.convert(raw_randint(key, shape, lo, hi, int32), dtype=dtype)
    if all(type(unwrap(x)) in SCALARS for x in (minval, maxval)):
        return _static_randint(key, shape, int(unwrap(minval)), int(unwrap(maxval)), dtype)
    lo, _ = _bound(minval, dtype)
    hi, over = _bound(maxval, dtype)
    word = np.dtype(f"uint{dtype.itemsize * 8}")
    high, low = (ops.random_bits(k, shape=shape, width=word.itemsize * 8) for k in split_raw(key))
    empty = ops.le(hi, lo)
    span = ops.select(empty, parameter(1, word), ops.convert(ops.sub(hi, lo), dtype=word))
    if over is not None:
        # One more value; the span of the whole range wraps to 0, by which `rem` changes nothing.
        more = ops.bitwise_and(over, ops.gt(hi, lo))
        span = ops.add(span, ops.convert(more, dtype=word))
    # (high * 2**width + low) % span in words of half that width.
    half = parameter(1 << (word.itemsize * 4), word)
    factor = ops.rem(half, span)
    factor = ops.rem(ops.mul(factor, factor), span)
    offset = ops.add(ops.mul(ops.rem(high, span), factor), ops.rem(low, span))
    return ops.add(lo, ops.convert(ops.rem(offset, span), dtype=dtype))


def _static_randint(key: Any, shape: tuple[int, ...], lo: int, hi: int, dtype: np.dtype) -> Any:
    """`raw_randint` with bounds that are known: constants are worked out here."""
    info, width = np.iinfo(dtype), dtype.itemsize * 8
    lo, hi = min(max(lo, info.min), info.max), min(max(hi, info.min), info.max + 1)
    span = max(hi - lo, 1)
    # Of words: it is 0 for powers of two, and where the square does not fit.
    factor = (2 ** (width // 2) % span) ** 2 % 2**width % span
    high_key, low_key = split_raw(key)
    out = _reduced(ops.random_bits(low_key, shape=shape, width=width), span, width)
    if factor:
        high = _reduced(ops.random_bits(high_key, shape=shape, width=width), span, width)
        out = _reduced(ops.add(ops.mul(high, factor), out), span, width)
    out = ops.convert(out, dtype=dtype)
    return ops.add(out, lo) if lo else out


def _reduced(words: Any, span: int, width: int) -> Any:
    """words % span."""
    if span & (span - 1):
        return ops.rem(words, span)
    return words if span == 2**width else ops.bitwise_and(words, span - 1)


def _limited(x: Any, lo: int, hi: int) -> Any:
    raw = unwrap(x)
    if type(raw) in SCALARS:
        return min(max(int(raw), lo), hi)
    return ops.clamp(lo, _bound(raw, int32)[0], hi)


def _bound(x: Any, dtype: np.dtype) -> tuple[Any, Any]:
    """A bound limited to what the dtype holds, and whether it was above (None: it cannot be)."""
    info = np.iinfo(dtype)
    raw = unwrap(x)
    if type(raw) in SCALARS:
        value = int(raw)
        over = np.asarray(True) if value > info.max else None
        return np.asarray(min(max(value, info.min), info.max), dtype), over
    if dtype_of(raw).kind not in "iu":
        raw = ops.convert(raw, dtype=default_dtype_of(int))
    if dtype_of(raw) == dtype:
        return raw, None
    have = np.iinfo(dtype_of(raw))
    over = ops.gt(raw, info.max) if have.max > info.max else None
    raw = ops.clamp(max(info.min, have.min), raw, min(info.max, have.max))
    return ops.convert(raw, dtype=dtype), over


def bernoulli(key: Any, p: Any = 0.5, shape: Shape | None = None, mode: str = "low") -> Any:
    """True with probability p, which broadcasts to `shape`.

    With mode "high" probabilities are resolved to 2**-46 instead of 2**-23.

    >>> from lucidfn import random
    >>> random.bernoulli(random.key(0), 0.3, (4,)).dtype
    dtype('bool')
    """
    if mode not in ("low", "high"):
        raise ValueError(f"random.bernoulli: mode must be 'low' or 'high', got {mode!r}")
    shape = full_shape("bernoulli", shape, p)
    raw, p_raw = use_key("bernoulli", key), unwrap(p)
    dtype = float_type_for(typeof(p).dtype)
    if mode == "low" and type(p_raw) in SCALARS and dtype.itemsize <= 4:
        return wrap(ops.random_below(raw, shape=shape, bound=_threshold(float(p_raw))))
    p_raw = parameter(p, dtype)
    if mode == "low":
        return wrap(ops.lt(raw_uniform(raw, shape, dtype), p_raw))
    u = raw_uniform(raw, (2, *shape), dtype)
    first, second = (ops.reshape(ops.slice_(
        u, start=(i, *[0] * len(shape)), stop=(i + 1, *shape), stride=(1,) * (len(shape) + 1)),
        shape=shape) for i in (0, 1))
    fine = ops.mul(second, 2.0 ** -np.finfo(dtype).nmant)
    return wrap(ops.lt(fine, ops.sub(p_raw, first)))


def _threshold(p: float) -> int:
    """The 32-bit number b such that bits < b is uniform < p, with uniforms of 23 bits."""
    p = float(np.float32(p))
    return 0 if not p > 0 else math.ceil(min(p, 1.0) * 2**23) << 9


def rademacher(key: Any, shape: Shape = (), dtype: Any = None) -> Any:
    """-1 or 1 with equal probability."""
    dtype = default_dtype_of(int) if dtype is None else as_dtype(dtype)
    positive = ops.random_below(use_key("rademacher", key), shape=as_shape("rademacher", shape),
                                bound=1 << 31)
    return wrap(raw_sign(positive, dtype))


def raw_sign(positive: Any, dtype: np.dtype) -> Any:
    two = ops.mul(ops.convert(positive, dtype=dtype), 2.0 if is_inexact(dtype) else 2)
    return ops.sub(two, 1.0 if is_inexact(dtype) else 1)


def _sampled(name: str, primitive: Any, key: Any, shape: Shape | None, params: tuple[Any, ...],
             **extra: Any) -> Any:
    dtype = float_dtype(name, None, *params)
    full = full_shape(name, shape, *params)
    raws = [ops.stop_gradient(parameter(p, dtype, full)) for p in params]
    return primitive(use_key(name, key), *raws, **extra)


def poisson(key: Any, lam: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Poisson numbers of rate lam; -1 where the rate is NaN or negative."""
    return wrap(_sampled("poisson", ops.random_poisson, key, shape, (lam,),
                         dtype=_int_dtype("poisson", dtype)))


def binomial(key: Any, n: Any, p: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """Numbers of successes in n trials of probability p, floats; NaN for p outside [0, 1]."""
    dtype = float_dtype("binomial", dtype, n, p)
    out = _sampled("binomial", ops.random_binomial, key, shape, (n, p))
    return wrap(out if dtype_of(out) == dtype else ops.convert(out, dtype=dtype))


def geometric(key: Any, p: Any, shape: Shape | None = None, dtype: Any = None) -> Any:
    """The number of trials of probability p until the first success: 1, 2, ..."""
    out_dtype = _int_dtype("geometric", dtype)
    dtype = float_dtype("geometric", None, p)
    shape = full_shape("geometric", shape, p)
    u = raw_uniform(use_key("geometric", key), shape, dtype)
    u = ops.select(ops.eq(u, 0.0), 1.0, u)
    wait = ops.floor(ops.div(ops.log(u), ops.log1p(ops.neg(parameter(p, dtype)))))
    return wrap(ops.convert(ops.add(wait, 1.0), dtype=out_dtype))


def multinomial(key: Any, n: Any, p: Any, *, shape: Shape | None = None,
                dtype: Any = None) -> Any:
    """How many of n trials fall in each of the classes with probabilities p[..., classes]."""
    dtype = float_dtype("multinomial", dtype, n, p)
    p_shape = shape_of(unwrap(p)) if shape is None else as_shape("multinomial", shape)
    left = parameter(n, dtype, p_shape[:-1])
    probs = parameter(p, dtype, p_shape)
    axis = len(p_shape) - 1
    after = ops.cumsum(probs, axis=axis, reverse=True)
    ratios = ops.clamp(0.0, ops.div(probs, ops.select(ops.eq(after, 0.0), 1.0, after)), 1.0)
    counts = []
    for i, k in enumerate(split_raw(use_key("multinomial", key), p_shape[-1])):
        at = ops.slice_(ratios, start=(*[0] * axis, i), stop=(*p_shape[:-1], i + 1),
                        stride=(1,) * len(p_shape))
        found = ops.random_binomial(k, ops.stop_gradient(left),
                                    ops.stop_gradient(ops.reshape(at, shape=p_shape[:-1])))
        left = ops.sub(left, found)
        counts.append(ops.reshape(found, shape=(*p_shape[:-1], 1)))
    return wrap(ops.concatenate(*counts, axis=axis))


# ------------------------------------------------------------------ choices

def categorical(key: Any, logits: Any, axis: int = -1, shape: Shape | None = None,
                replace: bool = True, mode: str | None = None) -> Any:
    """Indices along `axis`, with probabilities softmax(logits), by the largest noisy logit.

    `shape` ends with the shape of logits without the axis; what stands before are more samples,
    all different if `replace=False`.
    """
    raw = as_raw(logits)
    if not is_inexact(dtype_of(raw)):
        raw = ops.convert(raw, dtype=default_dtype_of(float))
    own, rank = shape_of(raw), len(shape_of(raw))
    axis = _axis("categorical", axis, rank)
    batch = (*own[:axis], *own[axis + 1:])
    shape = batch if shape is None else as_shape("categorical", shape)
    prefix = shape[:len(shape) - len(batch)]
    if shape[len(shape) - len(batch):] != batch:
        raise ValueError(f"random.categorical: shape={shape} must end with {batch}, the shape of "
                         f"the logits without axis {axis}")
    source = use_key("categorical", key)
    if replace:
        noise = raw_gumbel(source, (*prefix, *own), dtype_of(raw), mode)
        return wrap(ops.argmax(ops.add(noise, raw), axis=len(prefix) + axis,
                               dtype=default_dtype_of(int)))
    k = math.prod(prefix)
    if k > own[axis]:
        raise ValueError(f"random.categorical: {k} different samples were asked for from "
                         f"{own[axis]} classes")
    noisy = ops.add(raw, raw_gumbel(source, own, dtype_of(raw), mode))
    order = (*[i for i in range(rank) if i != axis], axis)
    _, found = ops.top_k(ops.permute(noisy, order=order), k=k)
    found = ops.convert(found, dtype=default_dtype_of(int))
    return wrap(ops.reshape(ops.permute(found, order=(rank - 1, *range(rank - 1))), shape=shape))


def _axis(name: str, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"random.{name}: axis {axis} is out of range for {rank} dimensions")
    return axis % rank


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Any:
    """x shuffled along an axis, or a permutation of range(x) for an integer x.

    Slices move as a whole; with `independent=True` each is shuffled on its own.

    >>> from lucidfn import random
    >>> sorted(random.permutation(random.key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    raw = unwrap(x)
    source = use_key("permutation", key)
    if shape_of(raw) == ():
        n = _static_size("permutation", raw)
        return wrap(_shuffle(source, _range(n), 0))
    return wrap(_permuted(source, raw, _axis("permutation", axis, len(shape_of(raw))),
                          independent))


def _permuted(key: Any, raw: Any, axis: int, independent: bool = False) -> Any:
    if independent or len(shape_of(raw)) == 1:
        return _shuffle(key, raw, axis)
    return _take(raw, _shuffle(key, _range(shape_of(raw)[axis]), 0), axis)


def _static_size(name: str, raw: Any) -> int:
    try:
        return operator.index(raw)
    except TypeError:
        raise TypeError(f"random.{name} needs an array, or an integer that is known while "
                        f"tracing, got {typeof(raw)}") from None


def _range(n: int) -> Any:
    return ops.iota(shape=(n,), dtype=default_dtype_of(int), axis=0)


def _shuffle(key: Any, x: Any, axis: int) -> Any:
    """Sort by random words. They may collide, so it is done until all orders are equally likely
    but for a chance of about n^-3: with 32-bit words, twice for up to 2^21 elements."""
    size = math.prod(shape_of(x))
    rounds = math.ceil(3 * math.log(max(1, size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        key, subkey = split_raw(key)
        words = ops.random_bits(subkey, shape=shape_of(x), width=32)
        _, x = ops.sort(words, x, axis=axis, num_keys=1)
    return x


def _take(x: Any, indices: Any, axis: int) -> Any:
    """x's slices at the indices, whose axes replace `axis`."""
    at = shape_of(indices)
    out = ops.gather(x, ops.reshape(indices, shape=(*at, 1)), axes=(axis,), mode="unchecked",
                     fill=0)
    n = len(at)
    rest = range(n, len(shape_of(out)))
    order = (*rest[:axis], *range(n), *rest[axis:])
    return out if order == tuple(range(len(order))) else ops.permute(out, order=order)


def choice(key: Any, a: Any, shape: Shape = (), replace: bool = True, p: Any = None,
           axis: int = 0, mode: str | None = None) -> Any:
    """Elements of a (of range(a) for an integer), with probabilities p if given.

    For an array a of more dimensions, slices along `axis`. ValueError where `replace=False` and
    there are fewer than asked for.
    """
    shape = as_shape("choice", shape)
    raw, draws = unwrap(a), math.prod(shape)
    whole = shape_of(raw) != ()
    axis = _axis("choice", axis, len(shape_of(raw))) if whole else 0
    n = shape_of(raw)[axis] if whole else _static_size("choice", raw)
    dtype = dtype_of(raw) if whole else default_dtype_of(int)
    source = use_key("choice", key)
    rest = [*shape_of(raw)[:axis], *shape, *shape_of(raw)[axis + 1:]] if whole else shape
    if draws == 0:
        return wrap(ops.zeros(tuple(rest), dtype))
    if n <= 0:
        raise ValueError("random.choice: there is nothing to choose from")
    if not replace and draws > n:
        raise ValueError(f"random.choice: {draws} different samples were asked for from {n}")
    if p is None and not replace:
        shuffled = _permuted(source, raw if whole else _range(n), axis)
        return wrap(ops.reshape(_first(shuffled, axis, draws), shape=tuple(rest)))
    if p is None:
        at = raw_randint(source, shape, 0, n, default_dtype_of(int))
    else:
        at = _weighted(source, p, n, shape, replace, mode)
    return wrap(_take(raw, at, axis) if whole else at)


def _first(x: Any, axis: int, n: int) -> Any:
    shape = shape_of(x)
    return ops.slice_(x, start=(0,) * len(shape), stride=(1,) * len(shape),
                      stop=tuple(n if i == axis else d for i, d in enumerate(shape)))


def _weighted(key: Any, p: Any, n: int, shape: tuple[int, ...], replace: bool,
              mode: str | None) -> Any:
    """Indices below n with probabilities p."""
    dtype = float_dtype("choice", None, p)
    probs = parameter(p, dtype)
    if shape_of(probs) != (n,):
        raise ValueError(f"random.choice: p must have shape ({n},), got {shape_of(probs)}")
    if not replace:
        noisy = ops.add(raw_gumbel(key, (n,), dtype, mode), ops.log(probs))
        return ops.reshape(ops.top_k(noisy, k=math.prod(shape))[1], shape=shape)
    steps = ops.cumsum(probs, axis=0, reverse=False)
    total = ops.reshape(ops.slice_(steps, start=(n - 1,), stop=(n,), stride=(1,)), shape=())
    level = ops.mul(ops.sub(1.0, raw_uniform(key, shape, dtype)), total)
    return _search(lambda at: _take(steps, at, 0), level, n, shape)


def _search(value_at: Callable[[Any], Any], level: Any, n: int, shape: tuple[int, ...]) -> Any:
    """The first index whose value is at least the level, by halving."""
    lo = ops.full(shape=shape, dtype=int32, value=0)
    hi = ops.full(shape=shape, dtype=int32, value=n - 1)
    for _ in range(n.bit_length()):
        middle = ops.shift_right_logical(ops.add(lo, hi), 1)
        below = ops.lt(value_at(middle), level)
        lo = ops.select(below, ops.min(ops.add(middle, 1), hi), lo)
        hi = ops.select(below, hi, middle)
    return lo
