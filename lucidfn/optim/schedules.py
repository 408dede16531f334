"""Schedules: functions from the number of a step to a value, such as a learning rate.

Step 0 is the first update. A step is a Python int, which gives a Python float in double precision,
or an array of ints, traced or not, which gives a weak array of the default float: neither widens
a program. Where a step stands within a schedule is computed in integers, so that the phase is
exact however large the step. Any function of a step is a schedule as well, such as
`lambda step: warmup(step) * decay(step)`. Names and arguments are optax's where it has the
schedule, values are those of PyTorch's schedulers.

    tx = optim.adamw(optim.cosine_decay(3e-4, 10_000), weight_decay=0.1)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lucidfn.optim._schedule import (
    Rule,
    between,
    check_increasing,
    check_one_of,
    check_rates,
    check_steps,
    check_values,
    clip,
    half_wave,
    in_turn,
    is_number,
    part_left,
    raised,
    where,
)
from lucidfn.optim.base import Schedule

# ------------------------------------------------------------------ steps and powers

def constant(value: Any) -> Schedule:
    """The same value at every step.

    >>> from lucidfn import optim
    >>> rate = optim.constant(0.1)
    >>> [round(float(rate(step)), 4) for step in (0, 1000)]
    [0.1, 0.1]
    """
    check_values("constant", value=value)
    # Of the shape of the step, so that it is a function of arrays like the others.
    return Rule("constant", {"value": value},
                lambda step: value if is_number(step) else step * 0.0 + value)


def step_decay(init_value: Any, step_size: int, gamma: float = 0.1) -> Schedule:
    """Times gamma every step_size steps (PyTorch's StepLR).

    >>> from lucidfn import optim
    >>> schedule = optim.step_decay(1.0, 2, gamma=0.5)
    >>> [schedule(step) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """
    said = dict(locals())
    check_values("step_decay", init_value=init_value)
    check_steps("step_decay", step_size=step_size)
    check_rates("step_decay", gamma=gamma)
    return Rule("step_decay", said, lambda step: init_value * raised(gamma, step // step_size))


def multi_step(init_value: Any, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Times gamma at each milestone (PyTorch's MultiStepLR).

    >>> from lucidfn import optim
    >>> rate = optim.multi_step(0.1, [30, 60])
    >>> [round(float(rate(step)), 4) for step in (0, 29, 30, 60)]
    [0.1, 0.1, 0.01, 0.001]
    """
    said = dict(locals())
    check_rates("multi_step", gamma=gamma)
    reached = check_increasing("multi_step", milestones, "milestones")
    scales = piecewise_constant(init_value, dict.fromkeys(reached, gamma))
    return Rule("multi_step", said, scales)


def piecewise_constant(init_value: Any,
                       boundaries_and_scales: Mapping[int, float] | None = None) -> Schedule:
    """init_value, multiplied at each boundary by its scale, from that step on.

    >>> from lucidfn import optim
    >>> schedule = optim.piecewise_constant(1.0, {2: 0.5, 3: 0.1})
    >>> [schedule(step) for step in range(4)]
    [1.0, 1.0, 0.5, 0.05]
    """
    said = dict(locals())
    name, scales = "piecewise_constant", dict(boundaries_and_scales or {})
    check_values(name, init_value=init_value, **{f"scale at {b}": s for b, s in scales.items()})
    boundaries = check_increasing(name, scales)
    values = list(itertools.accumulate([init_value, *scales.values()], lambda v, s: v * s))
    return Rule(name, said, in_turn([constant(v) for v in values], boundaries))


def exponential_decay(init_value: Any, transition_steps: int, decay_rate: float,
                      transition_begin: int = 0, staircase: bool = False,
                      end_value: float | None = None) -> Schedule:
    """init_value * decay_rate ** (step / transition_steps), in whole powers with staircase.

    Bounded by end_value, from below where it decays and from above where it grows. PyTorch's
    ExponentialLR is `exponential_decay(rate, 1, gamma)`.

    >>> from lucidfn import optim
    >>> rate = optim.exponential_decay(1.0, transition_steps=10, decay_rate=0.5)
    >>> [round(float(rate(step)), 4) for step in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    said, name = dict(locals()), "exponential_decay"
    bound = {} if end_value is None else {"end_value": end_value}
    check_values(name, init_value=init_value, **bound)
    check_steps(name, transition_steps=transition_steps)
    check_steps(name, 0, transition_begin=transition_begin)
    check_rates(name, decay_rate=decay_rate)

    def value(step: Any) -> Any:
        gone = clip(step - transition_begin, 0)
        powers = gone // transition_steps if staircase else gone * 1.0 / transition_steps
        out = init_value * raised(decay_rate, powers)
        if end_value is None:
            return out
        return clip(out, end_value) if decay_rate < 1 else clip(out, None, end_value)

    return Rule(name, said, value)


def polynomial(init_value: Any, end_value: Any, power: float, transition_steps: int,
               transition_begin: int = 0) -> Schedule:
    """From init_value to end_value within transition_steps, as a power of the part that is left.

    PyTorch's PolynomialLR is `polynomial(rate, 0.0, power, total_iters)`.

    >>> from lucidfn import optim
    >>> rate = optim.polynomial(1.0, 0.0, power=2.0, transition_steps=10)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 10)]
    [1.0, 0.25, 0.0]
    """
    said, name = dict(locals()), "polynomial"
    check_values(name, init_value=init_value, end_value=end_value)
    check_rates(name, power=power)
    check_steps(name, transition_steps=transition_steps)
    check_steps(name, 0, transition_begin=transition_begin)
    return Rule(name, said, lambda step: between(
        init_value, end_value, part_left(step, transition_steps, transition_begin) ** power))


def polynomial_decay(init_value: Any, decay_steps: int, power: float = 1.0,
                     end_value: Any = 0.0) -> Schedule:
    """`polynomial`, with the arguments in the order of `cosine_decay`."""
    return polynomial(init_value, end_value, power, decay_steps)


def linear(init_value: Any, end_value: Any, transition_steps: int,
           transition_begin: int = 0) -> Schedule:
    """In a straight line from init_value to end_value within transition_steps.

    PyTorch's LinearLR is `linear(rate * start_factor, rate * end_factor, total_iters)`.

    >>> from lucidfn import optim
    >>> schedule = optim.linear(0.0, 1.0, 4)
    >>> [schedule(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    said, name = dict(locals()), "linear"
    check_values(name, init_value=init_value, end_value=end_value)
    check_steps(name, 0, transition_steps=transition_steps, transition_begin=transition_begin)
    return Rule(name, said, lambda step: between(
        init_value, end_value, part_left(step, transition_steps, transition_begin)))


def linear_decay(init_value: Any, decay_steps: int, end_value: Any = 0.0) -> Schedule:
    """`linear`, with the arguments in the order of `cosine_decay`.

    >>> from lucidfn import optim
    >>> rate = optim.linear_decay(0.1, decay_steps=10)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 10)]
    [0.1, 0.05, 0.0]
    """
    return linear(init_value, end_value, decay_steps)


def linear_warmup(init_value: Any, peak_value: Any, warmup_steps: int) -> Schedule:
    """In a straight line up to peak_value, which it keeps.

    >>> from lucidfn import optim
    >>> rate = optim.linear_warmup(0.0, 0.1, warmup_steps=10)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 10, 100)]
    [0.0, 0.05, 0.1, 0.1]
    """
    return linear(init_value, peak_value, warmup_steps)


# ------------------------------------------------------------------ warmups and what follows

def warmup_cosine_decay(init_value: Any, peak_value: Any, warmup_steps: int, decay_steps: int,
                        end_value: Any = 0.0, exponent: float = 1.0) -> Schedule:
    """Linear to peak_value, then `cosine_decay` to end_value at step decay_steps, warmup included.

    >>> from lucidfn import optim
    >>> schedule = optim.warmup_cosine_decay(0.0, 1.0, warmup_steps=2, decay_steps=4)
    >>> [round(schedule(step), 6) for step in range(6)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    said, name = dict(locals()), "warmup_cosine_decay"
    check_values(name, init_value=init_value, peak_value=peak_value, end_value=end_value)
    check_rates(name, exponent=exponent)
    check_steps(name, 0, warmup_steps=warmup_steps)
    check_steps(name, warmup_steps + 1, decay_steps=decay_steps)
    # Not cosine_decay, whose end is a multiple of its start: the peak may be 0.
    decay = lambda step: between(
        peak_value, end_value, half_wave(part_left(step, decay_steps - warmup_steps)) ** exponent)
    warmup = linear(init_value, peak_value, warmup_steps)
    return Rule(name, said, in_turn([warmup, decay], [warmup_steps]))


def warmup_exponential_decay(init_value: Any, peak_value: Any, warmup_steps: int,
                             transition_steps: int, decay_rate: float, transition_begin: int = 0,
                             staircase: bool = False, end_value: float | None = None) -> Schedule:
    """Linear to peak_value, then `exponential_decay` of the steps since."""
    said, name = dict(locals()), "warmup_exponential_decay"
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin,
                              staircase, end_value)
    warmup = linear(init_value, peak_value, warmup_steps)
    return Rule(name, said, in_turn([warmup, decay], [warmup_steps]))


def inverse_sqrt(peak_value: Any, warmup_steps: int, init_value: Any = 0.0) -> Schedule:
    """Linear from init_value to peak_value, then peak_value * sqrt(warmup_steps / step).

    >>> from lucidfn import optim
    >>> rate = optim.inverse_sqrt(0.1, warmup_steps=100)
    >>> [round(float(rate(step)), 4) for step in (0, 50, 100, 400)]
    [0.0, 0.05, 0.1, 0.05]
    """
    said, name = dict(locals()), "inverse_sqrt"
    check_values(name, peak_value=peak_value, init_value=init_value)
    check_steps(name, warmup_steps=warmup_steps)

    def value(step: Any) -> Any:
        since = clip(step, warmup_steps) * 1.0 / warmup_steps
        return where(step < warmup_steps,
                      between(init_value, peak_value, part_left(step, warmup_steps)),
                      peak_value * since ** -0.5)

    return Rule(name, said, value)


def noam(model_size: int, warmup_steps: int, factor: float = 1.0) -> Schedule:
    """factor * model_size**-0.5 * min(n**-0.5, n * warmup_steps**-1.5), where n = step + 1.

    The schedule of the Transformer, arXiv:1706.03762, which counts steps from 1.
    """
    said, name = dict(locals()), "noam"
    check_steps(name, model_size=model_size, warmup_steps=warmup_steps)
    check_values(name, factor=factor)

    def value(step: Any) -> Any:
        n = (step + 1) * 1.0
        rate = where(step < warmup_steps, n * warmup_steps**-1.5, n ** -0.5)
        return factor * model_size**-0.5 * rate

    return Rule(name, said, value)


# ------------------------------------------------------------------ combinations

def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another; each counts steps from the boundary where it begins.

    PyTorch's SequentialLR.

    >>> from lucidfn import optim
    >>> joined = optim.join_schedules([optim.linear(0.0, 1.0, 2), optim.step_decay(1.0, 1)], [2])
    >>> [joined(step) for step in range(4)]
    [0.0, 0.5, 1.0, 0.1]
    """
    said, name = dict(locals()), "join_schedules"
    for s in schedules:
        if not callable(s):
            raise TypeError(f"{name}: got {s!r} for a schedule; constant({s!r}) makes one")
    bounds = check_increasing(name, boundaries)
    if len(bounds) != len(schedules) - 1:
        raise ValueError(f"{name}: {len(schedules)} schedules need {len(schedules) - 1} boundaries "
                         f"between them, got {len(bounds)}")
    return Rule(name, said, in_turn(list(schedules), bounds))


def piecewise_interpolate(interpolate_type: str, init_value: Any,
                          boundaries_and_scales: Mapping[int, float] | None = None) -> Schedule:
    """The values of `piecewise_constant` at its boundaries, joined by lines or half cosines.

    interpolate_type is "linear" or "cosine". After the last boundary it is constant.
    """
    said, name = dict(locals()), "piecewise_interpolate"
    check_one_of(name, "interpolate_type", interpolate_type, "linear", "cosine")
    scales = dict(boundaries_and_scales or {})
    check_values(name, init_value=init_value, **{f"scale at {b}": s for b, s in scales.items()})
    bounds = [0, *check_increasing(name, scales)]
    values = list(itertools.accumulate([init_value, *scales.values()], lambda v, s: v * s))
    bend = half_wave if interpolate_type == "cosine" else lambda left: left

    def value(step: Any) -> Any:
        out = values[-1] if is_number(step) else step * 0.0 + values[-1]
        for i in reversed(range(len(scales))):
            left = part_left(step, bounds[i + 1] - bounds[i], bounds[i])
            out = where(step < bounds[i + 1], between(values[i], values[i + 1], bend(left)), out)
        return out

    return Rule(name, said, value)


constant_schedule = constant
linear_schedule = linear
piecewise_constant_schedule = piecewise_constant
piecewise_interpolate_schedule = piecewise_interpolate
polynomial_schedule = polynomial
warmup_constant_schedule = linear_warmup
warmup_cosine_decay_schedule = warmup_cosine_decay
warmup_exponential_decay_schedule = warmup_exponential_decay

__all__ = [
    "constant", "constant_schedule", "exponential_decay", "inverse_sqrt", "join_schedules",
    "linear", "linear_decay", "linear_schedule", "linear_warmup", "multi_step", "noam",
    "piecewise_constant", "piecewise_constant_schedule", "piecewise_interpolate",
    "piecewise_interpolate_schedule", "polynomial", "polynomial_decay", "polynomial_schedule",
    "step_decay", "warmup_constant_schedule", "warmup_cosine_decay",
    "warmup_cosine_decay_schedule", "warmup_exponential_decay",
    "warmup_exponential_decay_schedule",
]
