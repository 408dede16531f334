"""lucidfn: composable transformations of pure NumPy functions, with an IR one can read.

    import lucidfn as lf
    import lucidfn.numpy as lnp

    lf.grad(lambda x: lnp.sum(lnp.tanh(x) ** 2))(lnp.arange(3.0))

`lf.grad`, `lf.vmap`, `lf.jit` and the rest of the transformations are here; array functions are in
`lucidfn.numpy` and `lucidfn.lax`, random numbers in `lucidfn.random`, layers in `lucidfn.nn`.
"""

from __future__ import annotations

import importlib
from typing import Any

import lucidfn.backends.numpy
import lucidfn.numpy
from lucidfn import tree as tree
from lucidfn.api import *  # noqa: F403
from lucidfn.api import __all__ as _api_names
from lucidfn.array import Array, typeof
from lucidfn.config import config
from lucidfn.core.ir import Equation, Literal, Program, Var
from lucidfn.errors import *  # noqa: F403
from lucidfn.errors import __all__ as _error_names
from lucidfn.types import ShapeDtypeStruct

__version__ = "0.1.0"

# Loaded when they are first used, so that `import lucidfn` stays quick.
_LAZY = ("data", "debug", "einops", "errors", "extend", "flatten_util", "info", "io", "lax",
         "models", "nn", "ode", "optim", "random", "scipy", "testing", "tree_util")
_DEBUG = ("debug_nans", "debug_infs", "debug_key_reuse", "disable_jit", "default_dtype",
          "default_device", "pure_callback", "io_callback")
_DEVICE = ("block_until_ready", "default_backend", "device_get", "device_put", "devices",
           "live_arrays")
_IMPLICIT = ("fixed_point",)
_FILES = ("Checkpointer", "load", "save")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"lucidfn.{name}")
    if name in _DEBUG:
        return getattr(importlib.import_module("lucidfn.debug"), name)
    if name in _DEVICE:
        return getattr(importlib.import_module("lucidfn.device"), name)
    if name in _IMPLICIT:
        return getattr(importlib.import_module("lucidfn.implicit"), name)
    if name in _FILES:
        return getattr(importlib.import_module("lucidfn.io"), name)
    raise AttributeError(f"module 'lucidfn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "numpy", *(name for name in globals() if name.startswith("__"))])


__all__ = [*_api_names, *_error_names, *_LAZY, *_DEBUG, *_DEVICE, *_IMPLICIT, *_FILES,
           "Array", "Equation", "Literal", "Program", "ShapeDtypeStruct", "Var", "config", "tree",
           "typeof"]
