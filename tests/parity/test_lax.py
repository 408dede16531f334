"""`lucidfn.lax` beside `jax.lax`."""

import pytest

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")

from .harness import check  # noqa: E402
from .table_lax import TABLE  # noqa: E402


@pytest.mark.parametrize("name", sorted(TABLE))
def test_as_in_jax(name: str) -> None:
    check(name, TABLE[name])
