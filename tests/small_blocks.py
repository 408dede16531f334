"""Limits of the NumPy compiler's plan that make blocks of a few rows, for programs of any size."""

from typing import Any

from lucidfn.backends.numpy import loops, rows, spread


def set_small(patch: Any, elements: int = 4) -> None:
    for module, limits in {
        rows: {"WORTH": 0, "SMALL": 0},
        spread: {"FLAT": 2, "LIGHT": 0, "CALL": 0},
        loops: {"FLAT_WORTH": 0, "FLAT_BLOCK": 4, "LINE": 1, "PRODUCT_ROWS": 1,
                "ELEMENTS": elements, "CONVOLVED": elements},
    }.items():
        for name, value in limits.items():
            patch.setattr(module, name, value)
