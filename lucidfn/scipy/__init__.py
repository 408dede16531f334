"""The parts of SciPy that are functions of arrays: `special`, `stats`, `linalg`, `optimize`,
`sparse`."""

import importlib
from typing import Any

_SUBPACKAGES = ("linalg", "optimize", "sparse", "special", "stats")


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_SUBPACKAGES]
