"""Where NumPy's BLAS is: the libraries to load for the functions that NumPy does not offer."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy._core import _multiarray_umath

# What a build of OpenBLAS may put before and after the names of its functions.
AFFIXES = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]


def bundled() -> list[str]:
    """The OpenBLAS that came with NumPy: beside the package, on macOS inside."""
    root = os.path.dirname(np.__file__)
    folders = [os.path.join(os.path.dirname(root), "numpy.libs"), os.path.join(root, ".dylibs")]
    return [os.path.join(folder, name) for folder in folders if os.path.isdir(folder)
            for name in sorted(os.listdir(folder)) if "openblas" in name]


def linked() -> list[str]:
    """NumPy's extension, with which all that it depends on is searched on Unix; then the bundled
    ones."""
    return [_multiarray_umath.__file__, *bundled()]


def load(paths: Sequence[str], how: Callable[[str], Any] = ctypes.PyDLL) -> Iterator[Any]:
    """Those libraries that load. By default they are called with the interpreter lock held: short
    calls take less time than it would take to get it back."""
    for path in paths:
        try:
            library = how(path)
        except OSError:
            continue
        yield library
