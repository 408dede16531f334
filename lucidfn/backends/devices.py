"""Devices by name: "cpu" is NumPy; "gpu" is MLX on Metal or CUDA, "mlx:cpu" MLX on the processor.

MLX is imported when one of its devices is first asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from typing import Any

from lucidfn.config import normal_forms
from lucidfn.core.trace import BACKENDS, FOREIGN, OWNERS, Backend

NAMES = ("cpu", "gpu", "mlx:cpu")
ALIASES = {"cuda": "gpu", "metal": "gpu", "mps": "gpu", "mlx": "mlx:cpu", "mlx:gpu": "gpu",
           "numpy": "cpu", "devicetype.cpu": "mlx:cpu", "device(cpu, 0)": "mlx:cpu",
           "devicetype.gpu": "gpu", "device(gpu, 0)": "gpu"}  # the last are MLX's own objects


def name_of_device(device: Any) -> str:
    """The name of a device as it is written here; ValueError for one that is not known."""
    text = str(device).lower().removesuffix(":0")  # JAX and PyTorch count them
    name = ALIASES.get(text, text)
    if name not in NAMES:
        raise ValueError(f"there is no device {str(device)!r} here; there are {available()}"
                         f"{hint(text)}")
    return name


def hint(text: str) -> str:
    """What may have been meant by the name of a device that there is not."""
    if text.rpartition(":")[2].isdigit():
        return ". One GPU is used, 'gpu'; an environment variable such as CUDA_VISIBLE_DEVICES " \
               "says which one, before Python starts"
    close = difflib.get_close_matches(text, [*NAMES, *ALIASES], 1)
    return f"; did you mean {ALIASES.get(close[0], close[0])!r}?" if close else ""


def find_backend(device: Any) -> Backend:
    """The backend of a device; ValueError that says what was looked for if it is not here."""
    name = name_of_device(device)
    if name not in BACKENDS:
        load_mlx(name)
    return BACKENDS[name]


def load_mlx(wanted: str) -> None:
    """Import the MLX backend, and make its devices known."""
    extra = "lucidfn[cuda]" if sys.platform != "darwin" and wanted == "gpu" else "lucidfn[mlx]"
    if importlib.util.find_spec("mlx") is None:
        raise ValueError(f"the device {wanted!r} needs MLX, and there is no module mlx in this "
                         f"environment: pip install '{extra}'")
    try:
        mlx: Any = importlib.import_module("lucidfn.backends.mlx")
    except ImportError as error:
        raise ValueError(f"the device {wanted!r} needs MLX, which is installed and does not load: "
                         f"{error}") from error
    mlx.register()
    if wanted not in BACKENDS:
        raise ValueError(f"there is no device {wanted!r} here: {mlx.missing_gpu()}; there are "
                         f"{available()}")


def available() -> list[str]:
    """The devices of this machine."""
    if importlib.util.find_spec("mlx") is not None and "mlx:cpu" not in BACKENDS:
        try:
            load_mlx("mlx:cpu")
        except ValueError:
            return ["cpu"]
    return [name for name in NAMES if name in BACKENDS]


def device_of(raw: Any) -> str:
    """The device on which a raw value lives."""
    return OWNERS[type(raw)].device if type(raw) in FOREIGN else "cpu"


BACKENDS.find = find_backend  # type: ignore[attr-defined]
normal_forms["default_device"] = lambda device: find_backend(device).device
