"""Checks whose outcome a lazy backend learns later: flags, read when the host next waits.

A kernel registers `flag` (one boolean) and what the error says of `details`, further arrays, which
are looked at only then. The first flag that is true raises. Where a program is compiled,
`collecting` takes the flags instead: they become outputs of the compiled function.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np


class Check(NamedTuple):
    """`flag` says whether `error(*details)` is to be raised, with the details as ndarrays."""

    flag: mx.array
    details: Sequence[mx.array]
    error: Callable[..., Exception]


class _Pending(threading.local):
    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.started = 0  # how many of them are being computed


_pending = _Pending()


def add(flag: mx.array, details: Sequence[mx.array], error: Callable[..., Exception]) -> None:
    """Remember a check."""
    _pending.checks.append(Check(flag, details, error))


def pending() -> list[Check]:
    """The checks of this thread that have not been read."""
    return _pending.checks


def fresh() -> list[Check]:
    """The pending checks that this function has not given yet: to be computed with results."""
    found, _pending.started = _pending.checks[_pending.started:], len(_pending.checks)
    return found


def forget() -> None:
    """Drop the pending checks."""
    _pending.checks, _pending.started = [], 0


def say(since: int, text: str) -> None:
    """Add to the message of the checks that came after the first so many."""
    for i, check in enumerate(_pending.checks[since:], since):
        _pending.checks[i] = check._replace(error=_longer(check.error, text))


def _longer(error: Callable[..., Exception], text: str) -> Callable[..., Exception]:
    def raised(*details: Any) -> Exception:
        plain = error(*details)
        better = type(plain)(f"{plain}{text}")
        vars(better).update(vars(plain))
        return better
    return raised


@contextlib.contextmanager
def collecting() -> Iterator[list[Check]]:
    """Within, checks go to the list that is given, and are not pending."""
    before = _pending.checks, _pending.started
    _pending.checks, _pending.started = [], 0
    try:
        yield _pending.checks
    finally:
        _pending.checks, _pending.started = before


def read(count: int | None = None) -> None:
    """Wait for the pending checks, or the first ones; raise what the first that failed says."""
    checks = _pending.checks[:count]
    _pending.checks = _pending.checks[len(checks):]
    _pending.started = max(_pending.started - len(checks), 0)
    if not checks:
        return
    mx.eval([c.flag for c in checks])
    for check in checks:
        if check.flag.item():
            raise check.error(*map(np.array, check.details))
