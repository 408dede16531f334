"""Images at other sizes and places: interpolate, grid_sample, affine_grid, rotate.

Data is channels-last: [N, W, C], [N, H, W, C] or [N, D, H, W, C]. The coordinates are those of
PyTorch: pixel i covers [i, i + 1), its centre is i + 1/2, and align_corners puts the centres of the
first and last pixels of input and output upon each other instead of their outer edges.

Everything is linear in the image: each output is a few pixels times their weights. The derivative
gives each pixel the sum over all outputs that it takes part in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import lucidfn.numpy as lnp
from lucidfn import ops
from lucidfn.array import promote, typeof, unwrap, wrap
from lucidfn.core.trace import dtype_of, shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.nn.functional.resampling import MODES, taps_of
from lucidfn.types import default_dtype_of, int32, is_inexact

LAYOUTS = {1: "[N, W, C]", 2: "[N, H, W, C]", 3: "[N, D, H, W, C]"}

# ------------------------------------------------------------------ interpolate


def interpolate(x: Any, size: int | Sequence[int] | None = None,
                scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Any:
    """x [N, *space, C] resized to `size`, or by `scale_factor` (one for all axes, or one for each).

    Modes: "nearest" (the pixel at floor(i * scale)), "nearest-exact" (at floor((i + 1/2) * scale)),
    "linear", "bilinear", "trilinear" (by the number of spatial axes), "bicubic" (Keys 1981 with
    a = -0.75) and "area" (means over the pixels an output covers). align_corners is for the linear
    and cubic modes, antialias (for "bilinear" and "bicubic") widens their filters when images
    shrink. With a scale factor, coordinates follow the factor itself, unless
    recompute_scale_factor has them follow the sizes. Integer images: the nearest modes only.

    >>> import lucidfn.numpy as lnp
    >>> interpolate(lnp.array([[[0.0], [4.0]]]), size=4, mode="linear")[0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    raw = unwrap(x)
    check_images(raw, "interpolate", mode.startswith("nearest") if type(mode) is str else False)
    ranks = check_mode(mode, align_corners, antialias)
    before = shape_of(raw)[1:-1]
    if len(before) not in ranks:
        expected = " or ".join(LAYOUTS[r] for r in ranks)
        raise ShapeError(f"interpolate with mode {mode!r} got {type_of(raw)}, expected images "
                         f"{expected}")
    after, factors = sizes(before, size, scale_factor, recompute_scale_factor)
    for i, (n, m, factor) in enumerate(zip(before, after, factors, strict=True)):
        taps = taps_of(mode, n, m, factor, bool(align_corners), antialias)
        raw = ops.resample(raw, axis=i + 1, taps=taps)
    return wrap(raw, typeof(x).weak)


def check_images(raw: Any, name: str, integers: bool) -> None:
    if not 3 <= len(shape_of(raw)) <= 5:
        raise ShapeError(f"{name} got {type_of(raw)}, expected images [N, *space, C] with one to "
                         "three spatial axes; x[None] adds the batch axis")
    if not integers and not is_inexact(dtype_of(raw)):
        raise TypeError(f"{name} got {type_of(raw)}, expected floating images for this mode: "
                        "x.astype('float32') first; only the nearest modes keep integers")


def check_mode(mode: Any, align_corners: bool | None, antialias: bool) -> tuple[int, ...]:
    """The numbers of spatial axes a mode is for; ValueError for options that do not go together."""
    if mode not in MODES:
        raise ValueError(f"interpolate got mode={mode!r}, expected one of {list(MODES)}")
    if align_corners is not None and (mode == "area" or mode.startswith("nearest")):
        raise ValueError(f"interpolate got align_corners={align_corners} with mode {mode!r}; it is "
                         "an option of the linear and cubic modes: leave it out")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate got antialias=True with mode {mode!r}; it is an option of "
                         "'bilinear' and 'bicubic'")
    return MODES[mode]


def sizes(before: tuple[int, ...], size: Any, scale_factor: Any,
          recompute: bool | None) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Sizes after resizing, and the factors that coordinates follow (None: they follow sizes)."""
    if (size is None) == (scale_factor is None):
        got = "neither" if size is None else "both"
        raise ValueError(f"interpolate got {got} of size and scale_factor; give one of them")
    given = size if scale_factor is None else scale_factor
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(before)
    if len(values) != len(before):
        raise ValueError(f"interpolate got {given!r} for images with {len(before)} spatial axes "
                         f"{list(before)}; give one number, or one for each of them (not for N "
                         "and C)")
    if scale_factor is None:
        if recompute:
            raise ValueError("interpolate got recompute_scale_factor=True with size; it is an "
                             "option of scale_factor")
        after = values
        if any(type(m) is not int for m in after):
            raise TypeError(f"interpolate got size={size!r}; sizes are integers")
        factors: tuple[float | None, ...] = (None,) * len(before)
    else:
        after = tuple([math.floor(n * s) for n, s in zip(before, values, strict=True)])
        factors = (None,) * len(before) if recompute else tuple([float(s) for s in values])
    if min(*before, *after) < 1:
        raise ValueError(f"interpolate got images of size {list(before)} to be resized to "
                         f"{list(after)}; sizes must be at least 1")
    return after, factors


# ------------------------------------------------------------------ grid_sample

def grid_sample(x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool = False) -> Any:
    """x [N, H, W, C] at the places of grid [N, h, w, 2]: [N, h, w, C] (arXiv:1506.02025).

    A place is (x, y), each from -1 to 1 across the image: its outer edges, or with align_corners
    the centres of the outer pixels. Volumes [N, D, H, W, C] take a grid [N, d, h, w, 3] of (x, y,
    z).
    mode is "bilinear" (trilinear for volumes), "nearest" or "bicubic" (images only); outside, there
    are "zeros", the pixels of the "border", or a "reflection". Differentiable in x and, but for
    "nearest", in the grid. Where the derivative in the grid jumps it is that of the pixel to the
    right; on the border it is 0 in the modes "border" and "reflection".
    """
    raws, weak = promote(x, grid) if is_inexact(typeof(x).dtype) else ([unwrap(x), unwrap(grid)],
                                                                       False)
    images, places = raws
    check_images(images, "grid_sample", mode == "nearest")
    check_grid(images, places, mode, padding_mode)
    space = shape_of(images)[1:-1]
    axes = []  # of each spatial axis, its taps: (pixel, weight or None) with pixels as floats
    for i, n in enumerate(space):
        place = lnp.asarray(wrap(places))[..., len(space) - 1 - i]
        at = ((place + 1.0) * 0.5 * (n - 1) if align_corners else ((place + 1.0) * n - 1.0) * 0.5)
        axes.append(axis_taps(at, n, mode, padding_mode, align_corners))
    total = None
    for corner in itertools.product(*axes):
        term = sample_corner(wrap(images), [c[0] for c in corner], [c[1] for c in corner])
        total = term if total is None else total + term
    return total if not weak else wrap(unwrap(total), weak)


def check_grid(images: Any, grid: Any, mode: str, padding_mode: str) -> None:
    n, *space = shape_of(images)[:-1]
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"grid_sample got mode={mode!r}, expected 'bilinear', 'nearest' or "
                         "'bicubic'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"grid_sample got padding_mode={padding_mode!r}, expected 'zeros', "
                         "'border' or 'reflection'")
    if len(space) == 1 or (mode == "bicubic" and len(space) == 3):
        raise ShapeError(f"grid_sample with mode {mode!r} got {type_of(images)}, expected images "
                         "[N, H, W, C]" + ("" if mode == "bicubic" else " or [N, D, H, W, C]"))
    if min(space) < 1:
        raise ShapeError(f"grid_sample got images {type_of(images)} without pixels")
    shape = shape_of(grid)
    if len(shape) != len(space) + 2 or shape[0] != n or shape[-1] != len(space) \
            or not is_inexact(dtype_of(grid)):
        wanted = "[N, h, w, 2]" if len(space) == 2 else "[N, d, h, w, 3]"
        raise ShapeError(f"grid_sample got a grid {type_of(grid)} for images {type_of(images)}, "
                         f"expected floating places {wanted} with N = {n}")


def axis_taps(at: Any, n: int, mode: str, padding: str,
              align_corners: bool) -> list[tuple[Any, Any]]:
    """(pixel, weight) for each pixel along one axis that a place takes part in.

    Pixels are whole floats, and may lie outside for padding with zeros; the weight None is 1.
    """
    if mode == "bicubic":
        first = lnp.floor(at)
        weights = cubic_weights(at - first)
        return [(padded(first + k, n, padding, align_corners), w)
                for k, w in zip((-1.0, 0.0, 1.0, 2.0), weights, strict=True)]
    at = padded(at, n, padding, align_corners)
    if mode == "nearest":
        return [(lnp.round(at), None)]
    first = lnp.floor(at)
    return [(first, first + 1.0 - at), (first + 1.0, at - first)]


def cubic_weights(t: Any, a: float = -0.75) -> list[Any]:
    """Of the pixels at -1, 0, 1, 2 for a place t in [0, 1) (Keys 1981)."""
    far = lambda d: ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a  # 1 <= d < 2
    near = lambda d: ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0       # d < 1
    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def padded(at: Any, n: int, padding: str, align_corners: bool) -> Any:
    """Places moved into the image, for the paddings that do that."""
    if padding == "zeros":
        return at
    if padding == "reflection":
        low, span = (0.0, n - 1.0) if align_corners else (-0.5, float(n))
        if not span:
            return lnp.zeros_like(at)
        distance = lnp.abs(at - low)
        turns = lnp.floor(distance / span)
        rest = distance - turns * span
        at = lnp.where(turns % 2.0 == 0.0, rest, span - rest) + low
    inside = (at > 0.0) & (at < n - 1.0)
    # Constant outside, and so on the border itself: its derivative is 0, as in PyTorch.
    edge = lnp.where(at >= n - 1.0, lnp.full_like(at, n - 1.0), lnp.zeros_like(at))
    return lnp.where(inside, at, edge)


def sample_corner(images: Any, pixels: Sequence[Any], weights: Sequence[Any]) -> Any:
    """The product of the weights times the pixels at these places; outside there is 0."""
    inside: Any = True
    for at, n in zip(pixels, images.shape[1:-1], strict=True):
        inside = (at >= 0.0) & (at <= n - 1.0) & inside
    # Outside, any pixel is taken and then left out: also where the place is NaN.
    columns = [lnp.where(inside, at, lnp.zeros_like(at)).astype(int32) for at in pixels]
    raw = ops.gather(unwrap(images), unwrap(lnp.stack(columns, axis=-1)),
                     axes=tuple(range(1, len(pixels) + 1)), mode="unchecked", fill=0, lanes=1)
    values = wrap(raw)
    weight = None
    for w in weights:
        if w is not None:
            weight = w if weight is None else weight * w
    mask = inside[..., None]
    values = lnp.where(mask, values, lnp.zeros_like(values))
    if weight is None:
        return values
    return values * lnp.where(mask, weight[..., None], 0.0)


# ------------------------------------------------------------------ grids

def affine_grid(theta: Any, size: Sequence[int], align_corners: bool = False) -> Any:
    """The grid for `grid_sample` that an affine map gives: theta [N, 2, 3] to [N, H, W, 2].

    `size` is the shape of the images to make, [N, H, W, C] (PyTorch: [N, C, H, W]). At the place
    (x, y) of the output stands theta @ (x, y, 1), both from -1 to 1. Volumes have theta [N, 3, 4]
    and size [N, D, H, W, C] (arXiv:1506.02025).
    """
    size = tuple(size)
    rank = len(size) - 2
    theta = lnp.asarray(theta)
    if rank not in (2, 3) or theta.shape != (size[0], rank, rank + 1):
        raise ShapeError(f"affine_grid got theta {typeof(theta)} and size {size}, expected theta "
                         "[N, 2, 3] and size (N, H, W, C), or [N, 3, 4] and (N, D, H, W, C)")
    if not is_inexact(theta.dtype):
        raise TypeError(f"affine_grid got theta {typeof(theta)}, expected a floating one")
    space = size[1:-1]
    total: Any = theta[:, :, rank].reshape(size[0], *[1] * rank, rank)
    for i, n in enumerate(space):
        line = centres(n, align_corners, theta.dtype).reshape(-1, *[1] * (rank - i))
        column = theta[:, :, rank - 1 - i].reshape(size[0], *[1] * rank, rank)
        total = total + line * column
    return lnp.broadcast_to(total, (size[0], *space, rank))


def centres(n: int, align_corners: bool, dtype: Any) -> Any:
    """The centres of n pixels, from -1 to 1 across the image."""
    doubled = lnp.arange(n).astype(dtype) * 2.0 - (n - 1.0)
    return doubled / (max(n - 1, 1) if align_corners else n)


def rotate(x: Any, angle: Any, center: Sequence[float] | None = None, mode: str = "nearest",
           fill: float = 0.0) -> Any:
    """Images [N, H, W, C] turned by an angle in degrees, counter-clockwise as they are displayed
    (rows run downwards), as torchvision's `rotate` does.

    `center` = (x, y) is in pixels from the top left corner of the image; its middle by default.
    The size stays, what comes from outside is `fill`, and mode is one of `grid_sample`'s. `angle`
    is one number or [N], and with "bilinear" or "bicubic" it has a derivative.

    >>> import lucidfn.numpy as lnp
    >>> rotate(lnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None], 90)[0, :, :, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    raw = unwrap(x)
    if len(shape_of(raw)) != 4:
        raise ShapeError(f"rotate got {type_of(raw)}, expected images [N, H, W, C]")
    n, h, w, _ = shape_of(raw)
    check_images(raw, "rotate", mode == "nearest")
    dtype = dtype_of(raw) if is_inexact(dtype_of(raw)) else default_dtype_of(float)
    radians = lnp.deg2rad(lnp.asarray(angle, dtype))
    if radians.shape not in ((), (n,)):
        raise ShapeError(f"rotate got angle {typeof(angle)} for images {type_of(raw)}, expected "
                         f"one number or [N] = [{n}]")
    if center is not None and len(center) != 2:
        raise ValueError(f"rotate got center={center!r}, expected (x, y) in pixels")
    at_x, at_y = center or (w * 0.5, h * 0.5)
    cos, sin = (f(radians).reshape(-1, 1, 1) for f in (lnp.cos, lnp.sin))
    right = (lnp.arange(w).astype(dtype) + (0.5 - at_x)).reshape(1, 1, w)
    down = (lnp.arange(h).astype(dtype) + (0.5 - at_y)).reshape(1, h, 1)
    # Each pixel takes what a clockwise turn of the place leads to.
    source_x = (cos * right - sin * down + at_x) * (2.0 / w) - 1.0
    source_y = (sin * right + cos * down + at_y) * (2.0 / h) - 1.0
    grid = lnp.broadcast_to(lnp.stack([source_x, source_y], axis=-1), (n, h, w, 2))
    if fill == 0.0:
        return grid_sample(x, grid, mode)
    return grid_sample(lnp.asarray(x) - fill, grid, mode) + fill


__all__ = ["affine_grid", "grid_sample", "interpolate", "rotate"]
