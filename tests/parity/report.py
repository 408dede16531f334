"""`python -m tests.parity.report`: what is compared with JAX, and what is missing."""

from __future__ import annotations

import lucidfn.numpy as lnp

from .exemptions import NOT_COMPARED
from .must import MUST, SHOULD
from .names import common, missing, missing_methods, theirs_alone
from .tables import ALL


def main() -> None:
    names = common()
    compared = [n for n in names if n in ALL]
    print(f"{len(names)} functions in both libraries, {len(compared)} compared, "
          f"{len([n for n in names if n in NOT_COMPARED])} exempt; "
          f"{sum(map(len, ALL.values()))} calls")
    for title, found in [
        ("neither compared nor exempt", [n for n in names if n not in ALL | NOT_COMPARED]),
        ("must, and missing", missing(MUST) + missing_methods(lnp.ones((2, 2)))),
        ("should, and missing", missing(SHOULD)),
        ("in JAX only", theirs_alone()),
    ]:
        print(f"\n{title} ({len(found)}):\n  " + " ".join(found))


if __name__ == "__main__":
    main()
