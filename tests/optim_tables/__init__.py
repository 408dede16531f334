"""Every optimizer with what PyTorch or optax calls it and how it reaches an optimum."""

import importlib
import pkgutil

from .table import OptimizerCase

OPTIMIZERS: list[OptimizerCase] = []
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "table"):
    OPTIMIZERS += getattr(importlib.import_module(f"{__name__}.{_module}"), "CASES", [])
