"""Every function of both libraries has a row, or a reason why not; every row has a function."""

import pytest

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")

from .exemptions import NOT_COMPARED  # noqa: E402
from .harness import OURS, THEIRS  # noqa: E402
from .names import common  # noqa: E402
from .tables import ALL  # noqa: E402


def test_every_common_function_is_compared() -> None:
    names = common()
    assert len(names) > 700
    missing = [n for n in names if n not in ALL and n not in NOT_COMPARED]
    assert not missing, f"neither compared nor exempt: {missing}"


def test_exemptions_are_needed() -> None:
    names = set(common())
    assert not [n for n in NOT_COMPARED if n not in names], "no such function in both"
    assert not [n for n in NOT_COMPARED if n in ALL], "exempt, and compared"


@pytest.mark.parametrize("library", [OURS, THEIRS], ids=["ours", "theirs"])
def test_rows_name_functions(library: object) -> None:
    for name, calls in ALL.items():
        if not all(c.fun for c in calls):
            assert library.find(name) is not None, name  # type: ignore[attr-defined]
