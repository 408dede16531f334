"""Devices, as thin functions: arrays live on "cpu", which is NumPy, until another backend loads."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from lucidfn.array import Array, asarray, is_array_like
from lucidfn.tree import map as tree_map


def devices() -> list[str]:
    """The names of the devices that arrays can live on."""
    return ["cpu"]


def default_backend() -> str:
    """The device on which arrays are made where nothing else is said."""
    return devices()[0]


def device_put(x: Any, device: str | None = None) -> Any:
    """The tree with every array as an `Array` on a device; ValueError if there is no such device.

    >>> import lucidfn as lf, numpy as np
    >>> lf.device_put({"w": np.zeros(2, "float32")})
    {'w': Array([0., 0.], dtype=float32)}
    """
    if device is not None and device not in devices():
        raise ValueError(f"there is no device {device!r} here; there are {devices()}")
    return tree_map(lambda leaf: asarray(leaf) if is_array_like(leaf) else leaf, x)


def device_get(x: Any) -> Any:
    """The tree with every Array as a NumPy array (a read-only view where it can be).

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.device_get(lnp.ones(2))
    array([1., 1.], dtype=float32)
    """
    return tree_map(lambda leaf: np.asarray(leaf) if isinstance(leaf, Array) else leaf, x)


def block_until_ready(x: Any) -> Any:
    """The tree itself, once all of its arrays are computed: at once on "cpu"."""
    return x


def live_arrays() -> list[Array]:
    """Every Array that is alive, for finding what holds memory."""
    return [x for x in gc.get_objects() if type(x) is Array]
