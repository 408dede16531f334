"""Keys: made from seeds and words, split, folded, and checked where they are used."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import Array, place, typeof, unwrap, wrap
from lucidfn.config import settings
from lucidfn.core.trace import Tracer, dtype_of, shape_of
from lucidfn.passes.key_reuse import consume, folded, renew
from lucidfn.types import KEY_IMPLS, SCALARS, is_key, uint32

Shape = int | Sequence[int]


def key(seed: Any, *, impl: str | None = None) -> Any:
    """A random key from an integer seed, or an array of keys from an array of seeds.

    The low 32 bits of the seed count (all 64 if `config.default_int` is int64), as in JAX. `impl`
    is "threefry2x32", which gives the numbers of `jax.random`, or "philox", several times faster;
    `config.default_prng_impl` by default. Raises TypeError for a seed that is not an integer,
    OverflowError for one beyond 64 bits.

    >>> from lucidfn import random
    >>> random.key(42).shape
    ()
    >>> random.key_data(random.key(42)).tolist()
    [0, 42]
    """
    impl = _impl(impl)
    raw = unwrap(seed)
    if type(raw) is bool or type(raw) in SCALARS and type(raw) is not int or (
            type(raw) not in SCALARS and dtype_of(raw).kind not in "iu"):
        raise TypeError(f"random.key: a seed is an integer, got {_what(seed)}")
    x64 = settings().default_int == "int64"
    if type(raw) is int:
        if not -2**63 <= raw < 2**64:
            raise OverflowError(f"random.key: the seed {raw} has more than 64 bits; reduce it "
                                "first: seed % 2**32")
        raw = np.asarray(raw & (2**64 - 1), np.uint64)
    out = ops.random_seed(raw, impl=impl, x64=x64)
    renew(out)
    return place(wrap(out)) if type(raw) is np.ndarray else wrap(out)


def PRNGKey(seed: Any, *, impl: str | None = None) -> Any:
    """The same as `key`. JAX's function of this name gives raw uint32 words instead."""
    return key(seed, impl=impl)


def split(key: Any, num: Shape = 2) -> Any:
    """An array of `num` new keys (or of a shape); the old one must not be used again.

    >>> from lucidfn import random
    >>> key1, key2 = random.split(random.key(0))
    """
    raw = one_key("split", key)
    consume(raw, "random.split")
    return wrap(new_keys(raw, num))


def new_keys(raw: Any, num: Shape = 2) -> Any:
    """Raw keys split from a raw key."""
    out = ops.random_split(raw, shape=as_shape("split", num))
    renew(out)
    return out


def split_raw(raw: Any, num: int = 2) -> list[Any]:
    """The raw keys of `new_keys`, one by one."""
    keys = new_keys(raw, num)
    return [ops.reshape(ops.slice_(keys, start=(i,), stop=(i + 1,), stride=(1,)), shape=())
            for i in range(num)]


def fold_in(key: Any, data: Any) -> Any:
    """A new key from a key and an integer: a step number, the index of an example.

    A string stands for a hash of it, for keys by name. The same key may be folded with many data.

    >>> from lucidfn import random
    >>> key = random.fold_in(random.key(0), 7)
    """
    raw = one_key("fold_in", key)
    if isinstance(data, str):
        data = zlib.crc32(data.encode())
    value = unwrap(data)
    if shape_of(value) != ():
        raise TypeError(f"random.fold_in takes one integer, got {_what(data)}; for many use "
                        "lf.vmap(random.fold_in, in_axes=(None, 0))(key, data)")
    if type(value) is int:
        value = np.asarray(value & 0xFFFF_FFFF, np.uint32)
    elif type(value) in SCALARS or dtype_of(value).kind not in "iu":
        raise TypeError(f"random.fold_in takes an integer, got {_what(data)}")
    out = ops.random_fold_in(raw, value)
    folded(raw, value, out)
    return wrap(out)


def key_data(keys: Any) -> Any:
    """The words of keys: uint32[..., 2], for saving or for other libraries.

    >>> from lucidfn import random
    >>> random.key_data(random.key(1)).tolist()
    [0, 1]
    """
    return wrap(ops.random_key_data(any_keys("key_data", keys)))


def wrap_key_data(key_bits_array: Any, *, impl: str | None = None) -> Any:
    """Keys from their words uint32[..., 2]: the inverse of `key_data`.

    TypeError for another dtype or shape.
    """
    impl = _impl(impl)
    raw = unwrap(key_bits_array)
    if type(raw) in SCALARS or dtype_of(raw) != uint32 or shape_of(raw)[-1:] != (2,):
        raise TypeError("random.wrap_key_data takes the words of keys, uint32[..., 2], got "
                        f"{_what(key_bits_array)}")
    out = ops.random_wrap(raw, impl=impl)
    renew(out)
    return wrap(out)


def key_impl(keys: Any) -> str:
    """The name of the generator that keys belong to: "threefry2x32" or "philox"."""
    return dtype_of(any_keys("key_impl", keys)).names[0]


def clone(key: Any) -> Any:
    """The same key as one that may be used again: says that equal numbers are wanted.

    >>> from lucidfn import random
    >>> key = random.key(0)
    >>> bool(random.normal(key) == random.normal(random.clone(key)))
    True
    """
    raw = any_keys("clone", key)
    renew(raw)
    return wrap(ops.random_clone(raw))


# ------------------------------------------------------------------ checks

def _impl(impl: str | None) -> str:
    impl = settings().default_prng_impl if impl is None else impl
    impl = {"threefry": "threefry2x32", "fry": "threefry2x32"}.get(impl, impl)
    if impl not in KEY_IMPLS:
        raise ValueError(f"impl must be one of {sorted(KEY_IMPLS)}, got {impl!r}")
    return impl


def _what(x: Any) -> str:
    return str(typeof(x)) if isinstance(x, (Array, Tracer, np.ndarray)) else repr(x)


def any_keys(name: str, keys: Any) -> Any:
    """Raw keys of any shape, or a TypeError that shows how to make some."""
    if isinstance(keys, np.ndarray) and keys.dtype in KEY_IMPLS.values():
        return keys
    raw = unwrap(keys) if not isinstance(keys, str) and keys is not None else None
    if raw is not None and type(raw) not in SCALARS and is_key(dtype_of(raw)):
        return raw
    if type(raw) is int:
        fix = f"make a key of the seed: random.{name}(random.key({raw}), ...)"
    elif raw is not None and shape_of(raw)[-1:] == (2,) and dtype_of(raw) == uint32:
        fix = "these are the words of a key, wrap them: random.wrap_key_data(data)"
    else:
        fix = "the first argument is a key: random.key(0), or one of random.split(key)"
    raise TypeError(f"random.{name} needs a random key, got {_what(keys)}; {fix}")


def one_key(name: str, key: Any) -> Any:
    """A raw key of shape ()."""
    raw = any_keys(name, key)
    if shape_of(raw) != ():
        raise TypeError(f"random.{name} takes one key, got an array of keys of shape "
                        f"{shape_of(raw)}; use lf.vmap(random.{name}) for one result per key, or "
                        "index the keys")
    return raw


def use_key(name: str, key: Any) -> Any:
    """A raw key of shape () that this call consumes."""
    raw = one_key(name, key)
    consume(raw, f"random.{name}")
    return raw


def as_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A shape from an integer or a sequence of them."""
    try:
        if not isinstance(shape, (tuple, list)):
            shape = (shape,) if np.ndim(shape) == 0 else tuple(shape)
        sizes = tuple([operator.index(n) for n in shape])
    except TypeError as error:
        raise TypeError(f"random.{name}: a shape is a tuple of integers known while tracing, got "
                        f"{shape!r} ({error})") from None
    if any(n < 0 for n in sizes):
        raise ValueError(f"random.{name}: got shape {sizes}, which has a negative size")
    return sizes
