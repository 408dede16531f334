"""Random dropping: of elements, channels, blocks and whole examples.

`p` is what is dropped, always. What stays is scaled by 1 / (1 - p), so that means are preserved.
p = 0 and training=False give x itself, p = 1 zeros. What is dropped is selected away, not
multiplied by zero: no NaN or inf in it shows, in values or gradients.
"""

from __future__ import annotations

import math
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import lax, ops, random
from lucidfn.array import to_dtype, typeof, unwrap, wrap
from lucidfn.core.trace import Tracer, beside, dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.numpy.elementwise import lift

# What selu tends to for small x: -1.0507 * 1.6733 (arXiv:1706.02515).
_SATURATION = -1.7580993408473766


def dropout(x: Any, p: Any = 0.5, training: bool = True, *, key: Any = None) -> Any:
    """x with each element dropped with probability p, the others scaled by 1 / (1 - p)
    (arXiv:1207.0580).

    p may be traced, as in a schedule. ValueError for p outside [0, 1], TypeError without a key.

    >>> from lucidfn import random
    >>> dropout(lnp.ones(6), 0.5, key=random.key(0)).tolist()
    [0.0, 0.0, 2.0, 2.0, 0.0, 2.0]
    """
    (raw,), weak = lift(x, to_float=True)
    return wrap(_dropped("dropout", raw, p, shape_of(raw), training, key), weak)


def dropout1d(x: Any, p: Any = 0.5, training: bool = True, *, key: Any = None) -> Any:
    """x [N, L, C] or [L, C] with whole channels of an example dropped (arXiv:1411.4280).

    ShapeError for data of other ranks.
    """
    return _channels_dropped("dropout1d", x, p, training, key, "L")


def dropout2d(x: Any, p: Any = 0.5, training: bool = True, *, key: Any = None) -> Any:
    """x [N, H, W, C] or [H, W, C] with whole channels of an example dropped (arXiv:1411.4280).

    ShapeError for data of other ranks.
    """
    return _channels_dropped("dropout2d", x, p, training, key, "H, W")


def dropout3d(x: Any, p: Any = 0.5, training: bool = True, *, key: Any = None) -> Any:
    """x [N, D, H, W, C] or [D, H, W, C] with whole channels of an example dropped.

    ShapeError for data of other ranks.
    """
    return _channels_dropped("dropout3d", x, p, training, key, "D, H, W")


def alpha_dropout(x: Any, p: Any = 0.5, training: bool = True, *, key: Any = None) -> Any:
    """x with elements set to selu's limit -1.758, then scaled and shifted so that mean 0 and
    variance 1 stay (arXiv:1706.02515)."""
    (raw,), weak = lift(x, to_float=True)
    return wrap(_saturated("alpha_dropout", raw, p, shape_of(raw), training, key), weak)


def feature_alpha_dropout(x: Any, p: Any = 0.5, training: bool = True, *, key: Any = None) -> Any:
    """`alpha_dropout` of whole channels of an example of x [N, ..., C].

    ShapeError for data of rank 0 and 1.
    """
    (raw,), weak = lift(x, to_float=True)
    shape = shape_of(raw)
    if len(shape) < 2:
        raise ShapeError(f"feature_alpha_dropout got x {type_of(raw)}, expected [N, ..., C]")
    mask = (shape[0], *[1] * (len(shape) - 2), shape[-1])
    return wrap(_saturated("feature_alpha_dropout", raw, p, mask, training, key), weak)


def drop_path(x: Any, p: Any = 0.1, scale_by_keep: bool = True, training: bool = True, *,
              key: Any = None) -> Any:
    """x [N, ...] with whole examples dropped: stochastic depth (arXiv:1603.09382).

    For the branch of a residual block. Without scale_by_keep what stays is not scaled.
    """
    (raw,), weak = lift(x, to_float=True)
    shape = shape_of(raw)
    if not shape:
        raise ShapeError(f"drop_path got x {type_of(raw)}, expected [N, ...]")
    mask = (shape[0], *[1] * (len(shape) - 1))
    return wrap(_dropped("drop_path", raw, p, mask, training, key, scale_by_keep), weak)


def drop_block(x: Any, block_size: int, p: Any = 0.1, eps: float = 1e-7, training: bool = True, *,
               key: Any = None) -> Any:
    """x [N, H, W, C] with squares of block_size dropped, in each channel on its own
    (arXiv:1810.12890, algorithm 1).

    About a share p is dropped, less where blocks overlap; what stays is scaled by the count of all
    over the count of those kept + eps. Blocks are no larger than the data. ShapeError for data of
    another rank, ValueError for a block_size below 1.
    """
    (raw,), weak = lift(x, to_float=True)
    shape, p = shape_of(raw), probability("drop_block", p)
    if len(shape) != 4:
        raise ShapeError(f"drop_block got x {type_of(raw)}, expected [N, H, W, C]")
    if block_size < 1:
        raise ValueError(f"drop_block got block_size {block_size}, expected 1 or more")
    if _is(p, 0) or not training or 0 in shape:
        return wrap(raw, weak)
    if _is(p, 1):
        return wrap(_zeros(raw), weak)
    size = min(block_size, *shape[1:3])
    corners = (shape[0], *[n - size + 1 for n in shape[1:3]], shape[3])
    # Each corner starts a block of size^2 elements; p of all H W elements are to go.
    rate = p * (math.prod(shape[1:3]) / (math.prod(corners[1:3]) * size**2))
    rate = min(rate, 1.0) if type(rate) is float else lnp.minimum(rate, 1.0)
    seeds = random.bernoulli(_needed("drop_block", key), rate, corners).astype("int8")
    around = (size - 1, size - 1)
    hit = lax.reduce_window(seeds, -128, lax.max, (1, size, size, 1),
                            padding=((0, 0), around, around, (0, 0)))
    keep = hit <= 0
    dtype = dtype_of(raw)
    count = lnp.sum(keep).astype(dtype if dtype.itemsize > 2 else "float32")
    scale = to_dtype(unwrap(math.prod(shape) / (count + eps)), dtype)
    return wrap(ops.select(unwrap(keep), ops.mul(raw, scale), 0.0), weak)


# ------------------------------------------------------------------ what they share

def probability(name: str, p: Any) -> Any:
    """p as a float in [0, 1], or as it is where it is traced."""
    if isinstance(p, (bool, str)) or p is None or typeof(p).shape:
        raise TypeError(f"{name} got p = {p!r}; p is the probability of dropping, one number in "
                        "[0, 1]")
    if isinstance(p, Tracer):
        return p
    p = float(p)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name} got p = {p}; p is the probability of dropping, in [0, 1]")
    return p


def _is(p: Any, value: int) -> bool:
    return type(p) is float and p == value


def _needed(name: str, key: Any) -> Any:
    if key is None:
        raise TypeError(f"{name} needs a random key in training: {name}(..., key=key); with "
                        "training=False it returns x")
    return key


def _zeros(raw: Any) -> Any:
    return beside(ops.full(shape=shape_of(raw), dtype=dtype_of(raw), value=0.0), raw)


def _dropped(name: str, raw: Any, p: Any, mask: tuple[int, ...], training: bool, key: Any,
             scaled: bool = True) -> Any:
    """raw with places of the mask's shape set to 0, the others divided by 1 - p."""
    p = probability(name, p)
    if _is(p, 0) or not training:
        return raw
    if _is(p, 1):  # 1 / (1 - p) is not to be had
        return _zeros(raw)
    keep = unwrap(random.bernoulli(_needed(name, key), 1 - p, mask))
    if not scaled:
        return ops.select(keep, raw, 0.0)
    if type(p) is float:
        return ops.select(keep, ops.mul(raw, 1 / (1 - p)), 0.0)
    rest = 1 - lax.stop_gradient(p)
    scale = lnp.where(rest > 0, 1 / lnp.where(rest > 0, rest, 1.0), 0.0)
    return ops.select(keep, ops.mul(raw, to_dtype(unwrap(scale), dtype_of(raw))), 0.0)


def _channels_dropped(name: str, x: Any, p: Any, training: bool, key: Any, space: str) -> Any:
    (raw,), weak = lift(x, to_float=True)
    shape, axes = shape_of(raw), space.count(",") + 1
    if len(shape) not in (axes + 1, axes + 2):
        raise ShapeError(f"{name} got x {type_of(raw)}, expected [N, {space}, C] or [{space}, C]")
    mask = (*shape[:-axes - 1], *[1] * axes, shape[-1])
    return wrap(_dropped(name, raw, p, mask, training, key), weak)


def _saturated(name: str, raw: Any, p: Any, mask: tuple[int, ...], training: bool,
               key: Any) -> Any:
    p = probability(name, p)
    if _is(p, 0) or not training:
        return raw
    if _is(p, 1):
        return _zeros(raw)
    if type(p) is not float:
        raise TypeError(f"{name} got a traced p; its scale depends on p: pass a Python float")
    keep = unwrap(random.bernoulli(_needed(name, key), 1 - p, mask))
    # Of mean 0 and variance 1 the mean becomes p s and the variance (1 - p)(1 + p s^2).
    scale = 1 / math.sqrt((1 - p) * (1 + p * _SATURATION**2))
    moved = ops.mul(ops.select(keep, raw, _SATURATION), scale)
    return ops.add(moved, -scale * p * _SATURATION)


__all__ = ["alpha_dropout", "drop_block", "drop_path", "dropout", "dropout1d", "dropout2d",
           "dropout3d", "feature_alpha_dropout"]
