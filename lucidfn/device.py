"""Devices: "cpu" is NumPy, "gpu" is MLX on Metal or CUDA, "mlx:cpu" is MLX on the processor.

Results live where their inputs live. Numbers, NumPy's own arrays and arrays without axes follow;
two arrays on different devices in one operation are an error.
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from lucidfn.array import Array, asarray, is_array_like, place
from lucidfn.backends.devices import available, device_of, find_backend, name_of_device
from lucidfn.config import settings
from lucidfn.core.trace import BACKENDS
from lucidfn.tree import leaves
from lucidfn.tree import map as tree_map


def devices(device: Any = None) -> list[str]:
    """The names of the devices that arrays can live on; of one that is asked for, or ValueError."""
    return available() if device is None else [find_backend(device).device]


def default_backend() -> str:
    """The device on which arrays are made where nothing else is said."""
    return settings().default_device


def device_put(x: Any, device: Any = None) -> Any:
    """The tree with every array as an `Array` on a device; ValueError if there is no such device.

    Without a device, what is no `Array` yet goes to the default device, the rest stays.

    >>> import lucidfn as lf, numpy as np
    >>> lf.device_put({"w": np.zeros(2, "float32")})
    {'w': Array([0., 0.], dtype=float32)}
    """
    name = None if device is None else name_of_device(device)
    if name is not None:
        BACKENDS[name]  # noqa: B018  (raises where there is none, also for an empty tree)

    def put(leaf: Any) -> Any:
        array = is_array_like(leaf) or hasattr(type(leaf), "__array__")  # PyTorch's and JAX's too
        if not array or name is None and type(leaf) is Array:
            return leaf
        return place(asarray(leaf), name)
    return tree_map(put, x)


def device_get(x: Any) -> Any:
    """The tree with every Array as a NumPy array (a read-only view where it can be).

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.device_get(lnp.ones(2))
    array([1., 1.], dtype=float32)
    """
    return tree_map(lambda leaf: np.asarray(leaf) if isinstance(leaf, Array) else leaf, x)


def block_until_ready(x: Any) -> Any:
    """The tree itself, once all of its arrays are computed: at once on "cpu".

    For timing; nothing else needs it. Raises what bounds checks have found meanwhile.
    """
    names = {device_of(leaf.value) for leaf in leaves(x) if type(leaf) is Array}
    for name in sorted(names - {"cpu"}):
        BACKENDS[name].wait()
    return x


def live_arrays() -> list[Array]:
    """Every Array that is alive, for finding what holds memory."""
    return [x for x in gc.get_objects() if type(x) is Array]
