"""Schedules along cosines, in cycles, and in one cycle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lucidfn.optim._schedule import (
    Rule,
    between,
    check_one_of,
    check_rates,
    check_steps,
    check_values,
    clip,
    half_wave,
    part_left,
    raised,
    where,
)
from lucidfn.optim.base import Schedule

_LARGEST = 2**53  # steps beyond this are not told apart in floats, nor reached

def cosine_decay(init_value: Any, decay_steps: int, alpha: float = 0.0,
                 exponent: float = 1.0) -> Schedule:
    """Along half a cosine from init_value to alpha * init_value, which it keeps.

    Loshchilov and Hutter, arXiv:1608.03983. PyTorch's CosineAnnealingLR within T_max is
    `cosine_decay(rate, T_max, alpha=eta_min / rate)`.

    >>> from lucidfn import optim
    >>> schedule = optim.cosine_decay(3e-4, 10_000)
    >>> schedule
    cosine_decay(init_value=0.0003, decay_steps=10000, alpha=0.0, exponent=1.0)
    >>> schedule(0), round(schedule(5_000), 10), schedule(10_000), schedule(20_000)
    (0.0003, 0.00015, 0.0, 0.0)
    """
    said, name = dict(locals()), "cosine_decay"
    check_values(name, init_value=init_value, alpha=alpha)
    check_rates(name, exponent=exponent)
    check_steps(name, decay_steps=decay_steps)
    return Rule(name, said, lambda step: init_value * between(
        1.0, alpha, half_wave(part_left(step, decay_steps)) ** exponent))


def cosine_annealing(init_value: Any, half_period: int, end_value: Any = 0.0) -> Schedule:
    """Along a cosine from init_value to end_value and back, for ever (CosineAnnealingLR).

    >>> from lucidfn import optim
    >>> rate = optim.cosine_annealing(0.1, half_period=10)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 10, 20)]
    [0.1, 0.05, 0.0, 0.1]
    """
    said, name = dict(locals()), "cosine_annealing"
    check_values(name, init_value=init_value, end_value=end_value)
    check_steps(name, half_period=half_period)

    def value(step: Any) -> Any:
        phase = step % (2 * half_period)
        left = where(phase < half_period, half_period - phase, phase - half_period)
        return between(init_value, end_value, half_wave(left * 1.0 / half_period))

    return Rule(name, said, value)


def cosine_restarts(init_value: Any, first_period: int, multiplier: int = 1,
                    end_value: Any = 0.0) -> Schedule:
    """Half cosines from init_value to end_value, each multiplier times as long as the last.

    SGDR, arXiv:1608.03983; PyTorch's CosineAnnealingWarmRestarts(T_0, T_mult, eta_min). The period
    is found in integers, where PyTorch takes a logarithm.

    >>> from lucidfn import optim
    >>> rate = optim.cosine_restarts(0.1, first_period=10)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 9, 10)]
    [0.1, 0.05, 0.0024, 0.1]
    """
    said, name = dict(locals()), "cosine_restarts"
    check_values(name, init_value=init_value, end_value=end_value)
    check_steps(name, first_period=first_period, multiplier=multiplier)
    # (start, length) of the periods; a constant one is counted from the step itself.
    periods = [(0, first_period)]
    while multiplier > 1 and sum(periods[-1]) < _LARGEST:
        periods.append((sum(periods[-1]), periods[-1][1] * multiplier))

    def value(step: Any) -> Any:
        left = (first_period - step % first_period) * 1.0 / first_period
        for start, length in periods[1:]:
            left = where(step >= start, (start + length - step) * 1.0 / length, left)
        return between(init_value, end_value, half_wave(left))

    return Rule(name, said, value)


def cyclic(base_value: Any, max_value: Any, step_size_up: int = 2000,
           step_size_down: int | None = None, mode: str = "triangular",
           gamma: float = 1.0, scale_fn: Callable[[Any], Any] | None = None,
           scale_mode: str = "cycle") -> Schedule:
    """Up from base_value to max_value and down again, for ever (PyTorch's CyclicLR).

    The height is constant ("triangular"), halves with every cycle ("triangular2"), or shrinks
    with gamma ** step ("exp_range"). Instead of these, scale_fn gives its factor from the number
    of the cycle, counted from 1, or from the step with scale_mode="iterations". Smith,
    arXiv:1506.01186.
    """
    said, name = dict(locals()), "cyclic"
    down = step_size_up if step_size_down is None else step_size_down
    check_values(name, base_value=base_value, max_value=max_value)
    check_steps(name, step_size_up=step_size_up, step_size_down=down)
    check_one_of(name, "mode", mode, "triangular", "triangular2", "exp_range")
    check_one_of(name, "scale_mode", scale_mode, "cycle", "iterations")
    check_rates(name, gamma=gamma)
    period = step_size_up + down

    def value(step: Any) -> Any:
        phase = step % period
        height = where(phase <= step_size_up, phase * 1.0 / step_size_up,
                        (period - phase) * 1.0 / down)
        if scale_fn is not None:
            height = height * scale_fn(step // period + 1 if scale_mode == "cycle" else step)
        elif mode == "triangular2":
            height = height * raised(0.5, step // period)
        elif mode == "exp_range":
            height = height * raised(gamma, step)
        return between(max_value, base_value, height)

    return Rule(name, said, value)


def one_cycle(max_value: Any, total_steps: int, pct_start: float = 0.3,
              anneal_strategy: str = "cos", div_factor: float = 25.0,
              final_div_factor: float = 1e4, three_phase: bool = False) -> Schedule:
    """Up to max_value and down to almost nothing: PyTorch's OneCycleLR.

    From max_value / div_factor up within the part pct_start of the steps, then down to the start
    divided by final_div_factor; with three_phase first down to the start, as fast as it rose.
    After total_steps it keeps the last value. Smith and Topin, arXiv:1708.07120.

    >>> from lucidfn import optim
    >>> rate = optim.one_cycle(0.1, total_steps=100)
    >>> [round(float(rate(step)), 4) for step in (0, 29, 99)]
    [0.004, 0.1, 0.0]
    """
    said, name = dict(locals()), "one_cycle"
    check_values(name, max_value=max_value)
    check_steps(name, total_steps=total_steps)
    check_rates(name, div_factor=div_factor, final_div_factor=final_div_factor)
    check_one_of(name, "anneal_strategy", anneal_strategy, "cos", "linear")
    if not 0 <= pct_start <= (0.5 if three_phase else 1):
        raise ValueError(f"{name}: pct_start is a part of the steps, in [0, 1], and in [0, 0.5] "
                         f"with three_phase, got {pct_start}")
    low, up = max_value / div_factor, float(pct_start * total_steps)
    phases = [(up - 1, low, max_value), (total_steps - 1, max_value, low / final_div_factor)]
    if three_phase:
        phases[1:] = [(2 * up - 2, max_value, low),
                      (total_steps - 1, low, low / final_div_factor)]
    starts = [0.0] + [end for end, _, _ in phases[:-1]]

    def value(step: Any) -> Any:
        out = None
        for start, (end, a, b) in reversed(list(zip(starts, phases, strict=True))):
            left = _left_until(step, start, end)
            here = between(a, b, half_wave(left) if anneal_strategy == "cos" else left)
            out = here if out is None else where(step <= math.floor(end), here, out)
        return out

    return Rule(name, said, value)


def _left_until(step: Any, start: float, end: float) -> Any:
    """(end - step) / (end - start), within [0, 1]; the ends of phases may be fractions."""
    if end <= start:
        return where(step <= end, 1.0, 0.0)
    whole = math.floor(end)
    left = (whole - step) * 1.0 + (end - whole)
    return clip(left / (end - start), 0.0, 1.0)


cosine_decay_schedule = cosine_decay

__all__ = ["cosine_annealing", "cosine_decay", "cosine_decay_schedule", "cosine_restarts", "cyclic",
           "one_cycle"]
