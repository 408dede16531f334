"""Arrays in NumPy's file formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucidfn.array import place, wrap
from lucidfn.types import bfloat16


def save(file: Any, arr: Any, allow_pickle: bool = False) -> None:
    """Write one array to a .npy file."""
    np.save(file, np.asarray(arr), allow_pickle=allow_pickle)


def savez(file: Any, *args: Any, **kwds: Any) -> None:
    """Write arrays, by position or by name, to one .npz file."""
    named: dict[str, Any] = {k: np.asarray(v) for k, v in kwds.items()}
    np.savez(file, *map(np.asarray, args), **named)


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Read an array from a .npy file, or the mapping of NumPy arrays that an .npz file is."""
    out = np.load(file, *args, **kwargs)
    if not isinstance(out, np.ndarray):
        return out
    if out.dtype == np.dtype("V2"):  # the file format has no name for bfloat16
        out = out.view(bfloat16)
    return place(wrap(out))


__all__ = ["load", "save", "savez"]
