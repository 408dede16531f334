"""Where in a sequence an element stands: waves that are added, and rotations of queries and keys.

`positions` means the same everywhere: None counts the T elements from 0, one integer counts from
there (a traced one too, as when a cache of keys grows), an array [T] or [..., T] gives them one by
one. They may be fractions. Angles are computed in single precision at least, and where nothing is
traced in double.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn.array import typeof, unwrap
from lucidfn.core.trace import Tracer
from lucidfn.errors import ShapeError
from lucidfn.types import as_dtype, default_dtype_of, kind_of


def sinusoidal_positions(length: int, dim: int, base: float = 10000.0, *, positions: Any = None,
                         dtype: Any = None) -> Any:
    """sin(t / base^(2i / dim)) at 2i and the cos of it at 2i + 1: [length, dim]
    (arXiv:1706.03762, section 3.5).

    With positions [..., length] the result is [..., length, dim].

    >>> sinusoidal_positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    if dim < 1:
        raise ValueError(f"sinusoidal_positions got dim {dim}, expected 1 or more")
    to = default_dtype_of(float) if dtype is None else as_dtype(dtype)
    pairs = lnp.stack(_waves("sinusoidal_positions", positions, length, dim, base, to), axis=-1)
    *lead, count, two = pairs.shape
    return pairs.reshape((*lead, count * two))[..., :dim].astype(to)


def apply_rotary_embedding(x: Any, positions: Any = None, base: float = 10000.0, *,
                           interleaved: bool = False, dim: int | None = None) -> Any:
    """Queries or keys x [..., T, N, H], each pair of channels turned by an angle that grows with
    its position (arXiv:2104.09864).

    Pair i of dim / 2 turns by t / base^(2i / dim). The pairs are channels i and i + dim / 2
    (GPT-NeoX, and LLaMA, Mistral, Gemma and Qwen in the Transformers library); with `interleaved`
    channels 2i and 2i + 1 (the paper, GPT-J, and LLaMA's weights as Meta gives them). The first
    dim channels turn, all H by default, the others stay. ValueError for an odd dim, or one above
    H.
    """
    x = lnp.asarray(x)
    if x.ndim < 3 or kind_of(x.dtype) != 2:
        raise ShapeError(f"apply_rotary_embedding got x {typeof(x)}, expected floats "
                         "[..., T, N, H]")
    *_, length, _, channels = x.shape
    dim = channels if dim is None else dim
    if dim % 2 or not 0 <= dim <= channels:
        raise ValueError(f"apply_rotary_embedding got dim {dim} for x {typeof(x)}, expected an "
                         f"even number of the {channels} channels")
    wide = x.astype("float32") if x.dtype.itemsize < 4 else x
    sin, cos = [wave[..., None, :] for wave in _waves(
        "apply_rotary_embedding", positions, length, dim, base, wide.dtype)]
    half = dim // 2
    split = (slice(0, dim, 2), slice(1, dim, 2)) if interleaved else (
        slice(0, half), slice(half, dim))
    a, b = [wide[..., part] for part in split]
    turned = [a * cos - b * sin, b * cos + a * sin]
    if interleaved:
        pairs = lnp.stack(turned, axis=-1)
        turned = [pairs.reshape((*pairs.shape[:-2], dim))]
    rest = [] if dim == channels else [wide[..., dim:]]
    return lnp.concatenate([*turned, *rest], axis=-1).astype(x.dtype)


def place_numbers(name: str, positions: Any, length: int) -> Any:
    """`positions` as an array [T] or [..., T]; ShapeError for another number of them."""
    raw = None if positions is None else unwrap(positions)
    if not isinstance(raw, Tracer):  # known: stays out of the program
        raw = np.asarray(0 if raw is None else raw)
        places = raw + np.arange(length) if raw.ndim == 0 else raw
    else:
        places = lnp.asarray(positions)
        if not places.shape:
            places = places + lnp.arange(length)
    if places.shape[-1] != length:
        raise ShapeError(f"{name} got positions {typeof(positions)} for {length} places, expected "
                         f"one integer to count from, or [..., {length}]")
    return places


def _waves(name: str, positions: Any, length: int, dim: int, base: float,
           dtype: Any) -> tuple[Any, Any]:
    """sin and cos of the angles, [..., T, dim / 2] (rounded up)."""
    places = place_numbers(name, positions, length)
    slow = float(base) ** (-np.arange(0, dim, 2) / dim)
    to = "float64" if dtype == "float64" else "float32"
    if isinstance(places, np.ndarray):
        angles = places[..., None].astype("float64") * slow
        return lnp.asarray(np.sin(angles).astype(to)), lnp.asarray(np.cos(angles).astype(to))
    angles = places[..., None].astype(to) * lnp.asarray(slow.astype(to))
    return lnp.sin(angles), lnp.cos(angles)


__all__ = ["apply_rotary_embedding", "sinusoidal_positions"]
