"""The table of specs: one for each primitive; and the primitives without, with the reason."""

from __future__ import annotations

import specs_elementwise
import specs_indexing
import specs_linalg
import specs_shape
import specs_special
from spec_base import Spec

SPECS: dict[str, Spec] = {}
for _module in (specs_elementwise, specs_shape, specs_indexing, specs_special, specs_linalg):
    for _spec in _module.SPECS:
        assert _spec.name not in SPECS, f"two specs of {_spec.name}"
        SPECS[_spec.name] = _spec

# They apply a program or a function of the user's: what they compute is not theirs.
CALL_LIKE = {
    "call": "applies a program: tests/test_transformations.py",
    "checkpoint": "applies a program: tests/test_transformations.py",
    "recompute": "a call that checkpoint makes: tests/test_transformations.py",
    "step": "the derivative of another primitive, compiled: test_specs.py repeats each of them",
    "custom_jvp_call": "the user's rule: tests/test_custom.py",
    "custom_vjp_call": "the user's rule: tests/test_custom.py",
    "custom_vjp_linear": "the user's rule: tests/test_custom.py",
    "custom_vmap_call": "the user's rule: tests/test_custom.py",
    "pure_callback": "calls the user's function: tests/test_debug.py",
    "io_callback": "calls the user's function: tests/test_debug.py",
    **dict.fromkeys(("psum", "psum_scatter", "pmax", "pmin", "all_gather", "all_to_all", "ppermute",
                     "axis_index"), "has lanes inside vmap only: tests/test_collectives.py"),
    "debug_callback": "calls the user's function: tests/test_debug.py",
    "scan": "applies a program: tests/test_scan.py",
    "switch": "applies a program: tests/test_cond.py",
    "switch_rows": "applies a program: tests/test_cond.py",
    "loop": "applies a program: tests/test_while.py",
    **dict.fromkeys(("linear_solve", "root"), "applies a program: tests/test_implicit.py"),
    **dict.fromkeys(("add_tapes", "blank_tape"), "what loops keep: tests/test_while.py"),
}
