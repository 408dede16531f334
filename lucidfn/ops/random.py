"""Random numbers: primitives over keys. The same key always gives the same numbers.

A key array has a dtype of its own (`types.KEY_IMPLS`), so that nothing but these primitives and
those that move elements takes it. `consumes` marks what uses a key up: see `passes.key_reuse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucidfn.core.primitive import Primitive
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.elementwise import div, exp, max, mul
from lucidfn.ops.families import pad_rank
from lucidfn.ops.shape import broadcast_to
from lucidfn.ops.special import random_gamma_grad
from lucidfn.types import KEY_IMPLS, ArrayType, bool_, dtype_name, is_inexact, is_key, uint32


class Random(Primitive):
    """Depends on keys; has no derivative."""

    consumes = True  # whether the first operand's keys must not be used again

    def jvp(self, tangents: Any, out: Any, *args: Any, **params: Any) -> Any:
        return None

    def need_keys(self, keys: ArrayType) -> None:
        if not is_key(keys.dtype):
            raise TypeError(f"got {keys}; it takes random keys, made by random.key(seed)")

    def rows(self, axes: Any, types: Any, **_: Any) -> Any:
        """Each key for itself; the parameters of a distribution go with the keys."""
        a = axes[0]
        return a if len(set(axes)) == 1 and a < len(types[0].shape) else None


class Seed(Random):
    """Keys from integer seeds; the low 32 bits count, or all 64 with `x64`"""

    name, consumes = "random_seed", False

    def infer(self, seeds: ArrayType, *, impl: str, x64: bool) -> ArrayType:
        if seeds.dtype.kind not in "iu":
            raise TypeError(f"got {seeds}; seeds are integers")
        return ArrayType(seeds.shape, KEY_IMPLS[impl])

    def batch(self, size: int, batched: Any, seeds: Any, **params: Any) -> Any:
        return self(seeds, **params)


class Split(Random):
    """From each key an array of new ones"""

    name = "random_split"

    def infer(self, keys: ArrayType, *, shape: tuple[int, ...]) -> ArrayType:
        self.need_keys(keys)
        return ArrayType((*keys.shape, *shape), keys.dtype)

    def batch(self, size: int, batched: Any, keys: Any, *, shape: tuple[int, ...]) -> Any:
        return self(keys, shape=shape)


class FoldIn(Random):
    """A new key from each key and an integer, of which the low 32 bits count; operands broadcast"""

    name, consumes = "random_fold_in", False

    def infer(self, keys: ArrayType, data: ArrayType) -> ArrayType:
        self.need_keys(keys)
        if data.dtype.kind not in "iu":
            raise TypeError(f"got {keys} and {data}; the data folded into a key are integers")
        try:
            shape = np.broadcast_shapes(keys.shape, data.shape)
        except ValueError:
            raise ShapeError(f"got {keys} and {data}; shapes must broadcast") from None
        return ArrayType(shape, keys.dtype)

    def batch(self, size: int, batched: Sequence[bool], keys: Any, data: Any) -> Any:
        args = (keys, data)
        rank = np.max([len(shape_of(a)) - b for a, b in zip(args, batched, strict=True)])
        return self(*[pad_rank(a, int(rank)) if b else a
                      for a, b in zip(args, batched, strict=True)])

    def rows(self, axes: Any, types: Any, **_: Any) -> Any:
        keys, data = types
        if axes[1] is None:
            return axes[0] if not data.shape else None
        return axes[0] if axes[0] == axes[1] and len(keys.shape) == len(data.shape) else None


class Bits(Random):
    """From each key an array of uniform unsigned integers of `width` bits"""

    name = "random_bits"

    def infer(self, keys: ArrayType, *, shape: tuple[int, ...], width: int) -> ArrayType:
        self.need_keys(keys)
        if width not in (8, 16, 32, 64):
            raise TypeError(f"got width {width}; it must be 8, 16, 32 or 64")
        return ArrayType((*keys.shape, *shape), np.dtype(f"uint{width}"))

    def batch(self, size: int, batched: Any, keys: Any, **params: Any) -> Any:
        return self(keys, **params)


class Below(Random):
    """random_bits(keys, width=32) < bound, without storing the bits: masks of a known rate"""

    name = "random_below"

    def infer(self, keys: ArrayType, *, shape: tuple[int, ...], bound: int) -> ArrayType:
        self.need_keys(keys)
        return ArrayType((*keys.shape, *shape), bool_)

    def batch(self, size: int, batched: Any, keys: Any, **params: Any) -> Any:
        return self(keys, **params)


class Uniform(Random):
    """From each key an array of uniform numbers in [low, high), float32 or float64"""

    name = "random_uniform"

    def infer(self, keys: ArrayType, *, shape: tuple[int, ...], dtype: np.dtype, low: float,
              high: float) -> ArrayType:
        self.need_keys(keys)
        return ArrayType((*keys.shape, *shape), dtype)

    def batch(self, size: int, batched: Any, keys: Any, **params: Any) -> Any:
        return self(keys, **params)


class Normal(Random):
    """From each key an array of standard normal numbers, float32 or float64"""

    name = "random_normal"

    def infer(self, keys: ArrayType, *, shape: tuple[int, ...], dtype: np.dtype) -> ArrayType:
        self.need_keys(keys)
        return ArrayType((*keys.shape, *shape), dtype)

    def batch(self, size: int, batched: Any, keys: Any, **params: Any) -> Any:
        return self(keys, **params)

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], **_: Any) -> int:
        return 30 * outs[0].size


class KeyData(Random):
    """The two words of each key"""

    name, consumes = "random_key_data", False

    def infer(self, keys: ArrayType) -> ArrayType:
        self.need_keys(keys)
        return ArrayType((*keys.shape, 2), uint32)

    def batch(self, size: int, batched: Any, keys: Any) -> Any:
        return self(keys)


class WrapKeyData(Random):
    """Keys from their words; the inverse of random_key_data"""

    name, consumes = "random_wrap", False

    def infer(self, data: ArrayType, *, impl: str) -> ArrayType:
        if data.dtype != uint32 or data.shape[-1:] != (2,):
            raise TypeError(f"got {data}; the words of keys are uint32[..., 2]")
        return ArrayType(data.shape[:-1], KEY_IMPLS[impl])

    def batch(self, size: int, batched: Any, data: Any, *, impl: str) -> Any:
        return self(data, impl=impl)

    def rows(self, axes: Any, types: Any, *, impl: str) -> Any:
        return axes[0] if axes[0] < len(types[0].shape) - 1 else None


class Clone(Random):
    """The same keys, as new ones to the search for keys that are used twice"""

    name, consumes = "random_clone", False

    def infer(self, keys: ArrayType) -> ArrayType:
        self.need_keys(keys)
        return keys

    def batch(self, size: int, batched: Any, keys: Any) -> Any:
        return self(keys)


class Sampler(Random):
    """One sample for each element of the parameters, whose leading axes are those of the keys"""

    def infer(self, keys: ArrayType, *operands: ArrayType, **params: Any) -> ArrayType:
        self.need_keys(keys)
        first = operands[0]
        if any(t != first for t in operands) or first.shape[:len(keys.shape)] != keys.shape:
            raise ShapeError(f"got {keys} and {', '.join(map(str, operands))}; the parameters "
                             "must have equal types, and the axes of the keys in front")
        if not is_inexact(first.dtype):
            raise TypeError(f"got {dtype_name(first.dtype)}; the parameters must be floating")
        return ArrayType(first.shape, params.get("dtype", first.dtype))

    def batch(self, size: int, batched: Sequence[bool], *args: Any, **params: Any) -> Any:
        # A key that all lanes share gives each lane the numbers that it would give alone.
        return self(*[a if b else broadcast_to(a, shape=(size, *shape_of(a)))
                      for a, b in zip(args, batched, strict=True)], **params)

    def flops(self, types: Sequence[ArrayType], outs: Sequence[ArrayType], **_: Any) -> int:
        return 100 * outs[0].size


class Gamma(Sampler):
    """Samples of the gamma distribution with shape parameter a, or their logarithms.

    The derivative in a is that of the quantile function at fixed probability (Figurnov, Mohamed
    and Mnih, "Implicit reparameterization gradients", 2018).
    """

    name = "random_gamma"

    def jvp(self, tangents: Any, out: Any, keys: Any, a: Any, *, log_space: bool) -> Any:
        t = tangents[1]
        if t is None:
            return None
        if not log_space:
            return mul(t, random_gamma_grad(a, out))
        tiny = float(np.finfo(np.float32).tiny if type_of(out).dtype.itemsize < 8
                     else np.finfo(np.float64).tiny)
        sample = max(exp(out), tiny)
        return mul(t, div(random_gamma_grad(a, sample), sample))


random_seed, random_split, random_fold_in = Seed(), Split(), FoldIn()
random_bits, random_below = Bits(), Below()
random_uniform, random_normal = Uniform(), Normal()
random_key_data, random_wrap = KeyData(), WrapKeyData()
random_clone, random_gamma = Clone(), Gamma()
random_poisson, random_binomial = Sampler("random_poisson"), Sampler("random_binomial")

__all__ = ["random_below", "random_binomial", "random_bits", "random_clone", "random_fold_in",
           "random_gamma", "random_key_data", "random_normal", "random_poisson", "random_seed",
           "random_split", "random_uniform", "random_wrap"]
