"""The names that programs written for JAX rely on exist here."""

import pytest
from parity.must import MUST
from parity.names import missing, missing_methods

import lucidfn.numpy as lnp


@pytest.mark.parametrize("path", sorted(MUST))
def test_must_have(path: str) -> None:
    assert not missing({path: MUST[path]})


def test_methods() -> None:
    assert not missing_methods(lnp.ones((2, 2)))
