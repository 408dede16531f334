"""What schedules are made of: the `Rule` that holds one, arithmetic on steps, and checks.

Every formula is written once, for Python numbers and for arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn.array import typeof
from lucidfn.core.trace import Tracer
from lucidfn.optim.base import Schedule
from lucidfn.types import kind_of


class Rule:
    """A schedule that prints as the call that made it, and equals those made by the same call."""

    __slots__ = ("name", "arguments", "value")

    def __init__(self, name: str, arguments: Mapping[str, Any], value: Callable[[Any], Any]):
        self.name, self.arguments, self.value = name, dict(arguments), value

    def __call__(self, step: Any) -> Any:
        n = whole(step)
        if not isinstance(n, int) and n.shape == () and not isinstance(n, Tracer):
            return lnp.asarray(self.value(whole(int(n))))  # as exact, and one operation
        return self.value(n)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Rule) and self.name == other.name
                and self.arguments == other.arguments)

    def __hash__(self) -> int:
        return hash((self.name, *[_hashable(v) for v in self.arguments.values()]))


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value


# ------------------------------------------------------------------ numbers and arrays alike

def whole(step: Any) -> Any:
    """The step as a Python int, or as an array of int64."""
    if isinstance(step, (int, np.integer)):
        if step < 0:
            raise ValueError(f"a schedule got step {step}; steps count from 0")
        return int(step)
    kind = typeof(step)
    if kind_of(kind.dtype) != 1:
        raise TypeError(f"a schedule got the step {kind}; steps are integers: "
                        "step.astype('int32')")
    return lnp.asarray(step).astype("int64")  # no boundary overflows it


def is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float))


def where(condition: Any, a: Any, b: Any) -> Any:
    return (a if condition else b) if isinstance(condition, bool) else lnp.where(condition, a, b)


def clip(x: Any, lo: Any = None, hi: Any = None) -> Any:
    if not is_number(x):
        return lnp.clip(x, lo, hi)
    x = x if lo is None else max(x, lo)
    return x if hi is None else min(x, hi)


def raised(base: float, exponent: Any) -> Any:
    # As an array, a base near 1 would lose in float32 what its logarithm keeps.
    if is_number(exponent):
        return base ** exponent
    return lnp.exp(exponent * math.log(base))


def part_left(step: Any, total: int, begin: int = 0) -> Any:
    """The part of `total` steps from `begin` that is still to come, from 1 down to 0."""
    if not total:
        return where(step < begin, 1.0, 0.0)
    return clip(begin + total - step, 0, total) * 1.0 / total


def between(a: Any, b: Any, weight: Any) -> Any:
    """a where the weight is 1, b where it is 0; both exactly."""
    return a * weight + b * (1.0 - weight)


def half_wave(left: Any) -> Any:
    """(1 + cos(pi done)) / 2, from 1 to 0, without the cancellation near the end."""
    angle = left * (0.5 * math.pi)
    wave = math.sin(angle) if is_number(angle) else lnp.sin(angle)
    return wave * wave


# ------------------------------------------------------------------ what arguments may be

def check_steps(name: str, least: int = 1, **counts: Any) -> None:
    for what, n in counts.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(f"{name}: {what} is a number of steps, an int, got {n!r}")
        if n < least:
            raise ValueError(f"{name}: {what} must be at least {least}, got {n}")


def check_values(name: str, **values: Any) -> None:
    for what, v in values.items():
        if callable(v):
            raise TypeError(f"{name}: {what} is a number, got the function {v!r}; "
                            "join_schedules puts one schedule after another")
        if isinstance(v, (str, bytes, bool)) or v is None:
            raise TypeError(f"{name}: {what} is a number, got {v!r}")
        if isinstance(v, (int, float)) and not math.isfinite(v):
            raise ValueError(f"{name}: {what} must be finite, got {v}")


def check_rates(name: str, **rates: Any) -> None:
    for what, r in rates.items():
        if isinstance(r, bool) or not isinstance(r, (int, float)):
            raise TypeError(f"{name}: {what} is a number, got {r!r}")
        if not 0 < r < math.inf:
            raise ValueError(f"{name}: {what} must be positive and finite, got {r}")


def check_increasing(name: str, boundaries: Iterable[Any], what: str = "boundaries") -> list[int]:
    found = list(boundaries)
    check_steps(name, 0, **{f"{what}[{i}]": b for i, b in enumerate(found)})
    if any(a >= b for a, b in itertools.pairwise(found)):
        raise ValueError(f"{name}: {what} must increase, got {found}")
    return found


def check_one_of(name: str, what: str, got: Any, *allowed: str) -> None:
    if got not in allowed:
        raise ValueError(f"{name}: {what} must be one of {allowed}, got {got!r}")


def in_turn(schedules: list[Schedule], boundaries: list[int]) -> Schedule:
    def value(step: Any) -> Any:
        out = schedules[0](step)
        for schedule, start in zip(schedules[1:], boundaries, strict=True):
            since = clip(step - start, 0)
            out = where(step >= start, schedule(since), out)
        return out

    return value
