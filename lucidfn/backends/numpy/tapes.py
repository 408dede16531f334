"""Arrays that grow as their rows are put: what a loop keeps at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucidfn.ops.tapes import UNKNOWN
from lucidfn.types import ArrayType

FIRST_ROWS = 8  # of a tape; then it doubles


class Tape:
    """Rows that are put one by one, where neither their number nor all sizes are known before.

    What is never put is zero.
    """

    def __init__(self, row: ArrayType, rows: int | None = None, *, zeros: bool = False):
        self.known = rows is not None and UNKNOWN not in row.shape
        shape = (FIRST_ROWS if rows is None else rows, *[max(d, 0) for d in row.shape])
        self.rows = (np.empty if self.known and not zeros else np.zeros)(shape, row.dtype)
        self.used = rows or 0

    def put(self, at: Any, x: Any) -> None:
        """Row `at`, or rows at an array of places."""
        if not self.known:
            self.fit(at, x)
        self.rows[at] = x

    def fit(self, at: Any, x: Any) -> None:
        """Make room for what is put at a place."""
        several = isinstance(at, np.ndarray)
        need = (self.used if several else max(self.used, at + 1), *np.shape(x)[several:])
        have = self.rows.shape
        if any(a > b for a, b in zip(need, have, strict=True)):
            first = max(2 * have[0], need[0]) if need[0] > have[0] else have[0]
            grown = np.zeros((first, *map(max, need[1:], have[1:])), self.rows.dtype)
            grown[tuple([slice(n) for n in have])] = self.rows
            self.rows = grown
        self.used = need[0]

    def put_row(self, at: Any, x: Any) -> None:
        """`put`, where some sizes of a row may be smaller than those of the tape."""
        self.fit(at, x)
        if np.shape(x)[isinstance(at, np.ndarray):] == self.rows.shape[1:]:
            self.rows[at] = x
        else:
            inner = tuple([slice(n) for n in np.shape(x)[isinstance(at, np.ndarray):]])
            self.rows[(at, *inner)] = x

    def array(self) -> np.ndarray:
        return self.rows if self.used == len(self.rows) else self.rows[:self.used]


def add_any(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The sum; of tapes of unequal sizes, where what one lacks counts as zeros."""
    if x.shape == y.shape:
        return np.add(x, y)
    total = np.zeros(tuple(map(max, x.shape, y.shape)), x.dtype)
    for part in (x, y):
        total[tuple([slice(n) for n in part.shape])] += part
    return total


def all_rows(tape: np.ndarray, rows: int) -> np.ndarray:
    """A tape that is read from: where one row of zeros stands for all, with as many."""
    return np.broadcast_to(tape, (rows, *tape.shape[1:])) if len(tape) == 1 < rows else tape
