"""Every layer, function and loss with the arrays it is tested on; one module a topic."""

import importlib
import pkgutil
from typing import Any

from .table import FunctionCase, LayerCase

_ROWS: list[Any] = []
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "table"):
    _ROWS += getattr(importlib.import_module(f"{__name__}.{_module}"), "CASES", [])

LAYERS: list[LayerCase] = [row for row in _ROWS if isinstance(row, LayerCase)]
FUNCTIONS: list[FunctionCase] = [row for row in _ROWS if isinstance(row, FunctionCase)]
