"""Every public layer, function and loss has a row in the tables.

The rows drive the property tests and the parity tests; a part without a row would be tested by
nobody. Optimizers and schedules have the same test beside theirs, loss classes in their file.
"""

import inspect
from typing import Any

import pytest
from nn_tables import FUNCTIONS, LAYERS

from lucidfn import nn
from lucidfn.nn import functional, losses
from lucidfn.nn.layer import Layer

# Bases and values that are not layers to be used, and functions of no arrays.
BASES = {"Layer", "Composite"}


def public_layers() -> list[str]:
    return [n for n in nn.__all__
            if inspect.isclass(f := getattr(nn, n)) and issubclass(f, Layer) and n not in BASES]


def public_functions(module: Any) -> list[str]:
    return [n for n in module.__all__ if inspect.isfunction(getattr(module, n))]


def test_every_layer_has_a_row() -> None:
    tested = {type(case.layer) for case in LAYERS}
    missing = [n for n in public_layers() if getattr(nn, n) not in tested]  # aliases are the same
    assert not missing


@pytest.mark.parametrize("module", [functional, losses], ids=["functional", "losses"])
def test_every_function_has_a_row(module: Any) -> None:
    tested = {getattr(functional, case.name) for case in FUNCTIONS}
    missing = [n for n in public_functions(module) if getattr(module, n) not in tested]
    assert not missing


def test_rows_name_what_is_public() -> None:
    assert not [case.name for case in FUNCTIONS if case.name not in functional.__all__]
    assert not [type(c.layer).__name__ for c in LAYERS
                if type(c.layer).__name__ not in nn.__all__ and not c.id]
