"""Functions of both libraries that no row compares, and why."""

from __future__ import annotations

_PRINT = "text for people; the format is our own"
_FILES = "reads or writes files and foreign memory: tests/test_creation.py"
_TYPE = "a type, not a function"

NOT_COMPARED: dict[str, str] = {
    "numpy.array_repr": _PRINT, "numpy.array_str": _PRINT, "numpy.set_printoptions": _PRINT,
    "numpy.get_printoptions": _PRINT, "numpy.printoptions": _PRINT,
    "numpy.save": _FILES, "numpy.savez": _FILES, "numpy.load": _FILES, "numpy.fromfile": _FILES,
    "numpy.from_dlpack": _FILES, "numpy.frombuffer": _FILES, "numpy.fromstring": _FILES,
    "numpy.fromiter": _FILES,
    "numpy.einsum_path": "the order of contraction is our own; einsum is compared",
    "lax.DotDimensionNumbers": _TYPE, "lax.PrecisionLike": _TYPE,
    "lax.ConvGeneralDilatedDimensionNumbers": _TYPE,
}
