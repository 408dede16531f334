"""Functions of both libraries that no row compares, and why."""

from __future__ import annotations

_PRINT = "text for people; the format is our own"
_FILES = "reads or writes files and foreign memory: tests/test_creation.py"
_TYPE = "a type, not a function"
_LANES = "works inside vmap only: tests/parity/test_collectives.py"

_PROGRAMS = "takes functions: tests/parity/test_control.py, test_control_branches.py"
_SOLVERS = "takes functions: tests/parity/test_implicit.py"
NOT_COMPARED: dict[str, str] = {
    "numpy.array_repr": _PRINT, "numpy.array_str": _PRINT, "numpy.set_printoptions": _PRINT,
    "numpy.get_printoptions": _PRINT, "numpy.printoptions": _PRINT,
    "numpy.save": _FILES, "numpy.savez": _FILES, "numpy.load": _FILES, "numpy.fromfile": _FILES,
    "numpy.from_dlpack": _FILES, "numpy.frombuffer": _FILES, "numpy.fromstring": _FILES,
    "numpy.fromiter": _FILES,
    "numpy.einsum_path": "the order of contraction is our own; einsum is compared",
    "lax.DotDimensionNumbers": _TYPE, "lax.PrecisionLike": _TYPE,
    "lax.ConvGeneralDilatedDimensionNumbers": _TYPE,
    **dict.fromkeys([f"lax.{name}" for name in (
        "psum pmean pmax pmin psum_scatter all_gather all_to_all ppermute pshuffle pswapaxes "
        "axis_index axis_size").split()], _LANES),
    **dict.fromkeys([f"lax.{name}" for name in (
        "associative_scan cond fori_loop map scan switch while_loop").split()], _PROGRAMS),
    "lax.custom_root": _SOLVERS, "lax.custom_linear_solve": _SOLVERS,
}
