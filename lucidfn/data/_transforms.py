"""Augmentation of whole batches [N, H, W, C], as pure functions: random ones take a key first.

They are made of array functions, so that `jit` compiles them, alone or within a training step.
Integer images stay integer images; where a transform interpolates they are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import lax, random
from lucidfn.array import typeof
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.images import interpolate, rotate
from lucidfn.types import is_inexact


def normalize(x: Any, mean: Any, std: Any) -> Any:
    """(x - mean) / std by channel; mean and std are numbers or [C].

    Integer images are brought to the range from 0 to 1 first: the constants of `data.CONSTANTS` are
    for that range.

    >>> import numpy as np
    >>> normalize(np.full((1, 1, 1, 1), 255, "uint8"), 0.5, 0.25)[0, 0, 0].tolist()
    [2.0]
    """
    x = lnp.asarray(x)
    if not is_inexact(x.dtype):
        x = x.astype(lnp.float32) / float(np.iinfo(x.dtype).max)
    mean, std = (lnp.asarray(np.asarray(c), x.dtype) for c in (mean, std))
    for name, c in (("mean", mean), ("std", std)):
        if c.shape not in ((), (1,), x.shape[-1:]):
            raise ShapeError(f"normalize got {name} {typeof(c)} for images {typeof(x)}, expected "
                             f"one number or one per channel, [{x.shape[-1] if x.ndim else 0}] "
                             "(the channels are the last axis)")
    return (x - mean) / std


def resize(x: Any, size: int | Sequence[int], mode: str = "bilinear",
           antialias: bool = True) -> Any:
    """Images resized to (height, width), or to a square.

    Modes are those of `nn.functional.interpolate`; antialias widens the filter of "bilinear" and
    "bicubic" when images shrink.

    >>> import numpy as np
    >>> resize(np.zeros((2, 8, 8, 1), "float32"), 28).shape
    (2, 28, 28, 1)
    """
    x = _images("resize", x)
    height, width = (size, size) if isinstance(size, int) else size
    smooth = antialias and mode in ("bilinear", "bicubic")
    if mode.startswith("nearest"):
        return interpolate(x, (height, width), mode=mode)
    return _in_floats(lambda a: interpolate(a, (height, width), mode=mode, antialias=smooth), x)


def random_crop(key: Any, x: Any, size: int | Sequence[int] | None = None, *, padding: int = 4,
                mode: str = "constant") -> Any:
    """Each image padded on all sides, and cropped at a place of its own to `size`.

    `size` is (height, width) or one number, by default that of the images. `mode` is one of
    `lnp.pad`'s: "constant" pads with zeros, "reflect" and "edge" with what the image holds.
    Raises ValueError where the crop is larger than the padded image.

    >>> import numpy as np
    >>> from lucidfn import data, random
    >>> data.random_crop(random.key(0), np.ones((2, 32, 32, 3)), padding=4).shape
    (2, 32, 32, 3)
    """
    x = _images("random_crop", x)
    n, h, w, c = x.shape
    height, width = (h, w) if size is None else (size, size) if isinstance(size, int) else size
    rows, columns = h + 2 * padding - height, w + 2 * padding - width
    if padding < 0 or height < 1 or width < 1 or min(rows, columns) < 0:
        raise ValueError(f"random_crop got images {typeof(x)}, padding={padding} and size "
                         f"{(height, width)}; the crop must fit into the padded image, "
                         f"{(h + 2 * padding, w + 2 * padding)}")
    if padding:
        x = lnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode=mode)
    key_y, key_x = random.split(key)
    top = random.randint(key_y, (n, 1), 0, rows + 1) + lnp.arange(height)  # [N, height]
    left = random.randint(key_x, (n, 1), 0, columns + 1) + lnp.arange(width)
    return x[lnp.arange(n)[:, None, None], top[:, :, None], left[:, None, :]]


def horizontal_flip(key: Any, x: Any, p: float = 0.5) -> Any:
    """Each image mirrored left to right with the probability p.

    >>> import numpy as np
    >>> from lucidfn import data, random
    >>> images = np.arange(4.0).reshape(2, 1, 2, 1)
    >>> data.horizontal_flip(random.key(0), images, p=1.0)[..., 0].tolist()
    [[[1.0, 0.0]], [[3.0, 2.0]]]
    """
    return _flip("horizontal_flip", key, x, p, 2)


def vertical_flip(key: Any, x: Any, p: float = 0.5) -> Any:
    """Each image turned upside down with the probability p."""
    return _flip("vertical_flip", key, x, p, 1)


def _flip(name: str, key: Any, x: Any, p: float, axis: int) -> Any:
    x = _images(name, x)
    if not 0 <= p <= 1:
        raise ValueError(f"{name} got p={p!r}, expected a probability")
    chosen = random.bernoulli(key, p, (x.shape[0], 1, 1, 1))
    return lnp.where(chosen, lnp.flip(x, axis=axis), x)


def random_rotation(key: Any, x: Any, degrees: float = 15.0, *, mode: str = "bilinear",
                    fill: float = 0.0) -> Any:
    """Each image turned about its middle by an angle between -degrees and degrees.

    The size stays; what comes from outside is `fill`. Modes are those of `nn.functional.rotate`.
    """
    x = _images("random_rotation", x)
    angle = random.uniform(key, (x.shape[0],), minval=-float(degrees), maxval=float(degrees))
    return _in_floats(lambda a: rotate(a, angle.astype(a.dtype), mode=mode, fill=fill), x)


def cutout(key: Any, x: Any, size: int = 8, *, fill: float = 0.0) -> Any:
    """A square of `size` pixels of each image replaced by `fill`, centred anywhere in the image.

    At the border a part of the square is outside, as in arXiv:1708.04552.

    >>> import numpy as np
    >>> from lucidfn import data, random
    >>> data.cutout(random.key(0), np.ones((1, 8, 8, 1)), size=4).shape
    (1, 8, 8, 1)
    """
    x = _images("cutout", x)
    n, h, w, _ = x.shape
    if size < 0:
        raise ValueError(f"cutout got size={size!r}, expected the side of a square in pixels")
    key_y, key_x = random.split(key)
    inside = [_span(random.randint(k, (n, 1), 0, length) - size // 2, size, length)
              for k, length in ((key_y, h), (key_x, w))]
    square = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return lnp.where(square, lnp.asarray(fill, x.dtype), x)


def _span(start: Any, size: int, length: int) -> Any:
    """Which of `length` places are in [start, start + size): [N, 1] to [N, length]."""
    place = lnp.arange(length)
    return (place >= start) & (place < start + size)


def mixup(key: Any, x: Any, y: Any, alpha: float = 0.2) -> tuple[Any, Any]:
    """Each example mixed with another one of the batch: (x, y), both lam * own + (1 - lam) * other.

    lam ~ Beta(alpha, alpha) is one number for the batch. x [N, ...] is floating, y [N, classes] are
    class probabilities, such as `nn.one_hot(labels, classes)` (arXiv:1710.09412).
    """
    x, y = lnp.asarray(x), _probabilities("mixup", x, y)
    if not is_inexact(x.dtype):
        raise TypeError(f"mixup got {typeof(x)}, expected floating images: normalize them first")
    _check_alpha("mixup", alpha)
    key_lam, key_order = random.split(key)
    lam = random.beta(key_lam, alpha, alpha)
    order = random.permutation(key_order, x.shape[0])
    mixed = [lam.astype(a.dtype) * a + (1 - lam).astype(a.dtype) * a[order] for a in (x, y)]
    return mixed[0], mixed[1]


def cutmix(key: Any, x: Any, y: Any, alpha: float = 1.0) -> tuple[Any, Any]:
    """A rectangle of each image replaced by that of another one of the batch, labels in proportion.

    The rectangle covers 1 - lam of the image, lam ~ Beta(alpha, alpha), less what is outside; y
    [N, classes] are class probabilities, mixed by the area really replaced (arXiv:1905.04899).
    """
    x, y = _images("cutmix", x), _probabilities("cutmix", x, y)
    _check_alpha("cutmix", alpha)
    n, h, w, _ = x.shape
    key_lam, key_y, key_x, key_order = random.split(key, 4)
    side = lnp.sqrt(1 - random.beta(key_lam, alpha, alpha))
    order = random.permutation(key_order, n)
    spans = []
    for k, length in ((key_y, h), (key_x, w)):
        extent = lnp.floor(side * length).astype("int32")
        centre = random.randint(k, (), 0, length)
        place = lnp.arange(length) - (centre - extent // 2)
        spans.append((place >= 0) & (place < extent))
    box = spans[0][:, None] & spans[1]
    share = lnp.mean(box.astype(y.dtype))
    return lnp.where(box[None, :, :, None], x[order], x), (1 - share) * y + share * y[order]


# ------------------------------------------------------------------ checks

def _images(name: str, x: Any) -> Any:
    x = lnp.asarray(x)
    if x.ndim != 4:
        raise ShapeError(f"{name} got {typeof(x)}, expected a batch of images [N, H, W, C]"
                         + ("; x[..., None] adds the channel" if x.ndim == 3 else ""))
    return x


def _probabilities(name: str, x: Any, y: Any) -> Any:
    y, n = lnp.asarray(y), lnp.shape(x)[0]
    if y.ndim != 2 or not is_inexact(y.dtype) or y.shape[0] != n:
        raise ShapeError(f"{name} got y {typeof(y)} for {n} examples, expected class "
                         "probabilities, float [N, classes]: nn.one_hot(labels, classes) makes "
                         "them of labels [N]")
    return y


def _check_alpha(name: str, alpha: float) -> None:
    if not alpha > 0 or math.isinf(alpha):
        raise ValueError(f"{name} got alpha={alpha!r}, expected a positive number")


def _in_floats(f: Any, x: Any) -> Any:
    """f(x), by way of float32 and rounded where x are integers."""
    if is_inexact(x.dtype):
        return f(x)
    info = np.iinfo(x.dtype)
    out = lnp.round(f(x.astype(lnp.float32)))
    return lax.clamp(float(info.min), out, float(info.max)).astype(x.dtype)
