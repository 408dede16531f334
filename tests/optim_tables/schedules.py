"""Every schedule, and the schedulers of PyTorch and optax that give the same values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lucidfn import optim


@dataclass(frozen=True)
class ScheduleCase:
    """A schedule for `steps` steps. `torch(lr_scheduler, optimizer)` makes PyTorch's, where the
    optimizer's rate is `rate`; `optax(optax)` makes optax's."""

    name: str  # in optim
    ours: Any
    torch: Callable[..., Any] | None = None
    optax: Callable[..., Any] | None = None
    rate: float = 0.5
    steps: int = 40
    first: float = 0.5  # the value at step 0

    def __str__(self) -> str:
        return repr(self.ours)


def _sequential(S: Any, o: Any) -> Any:
    parts = [S.LinearLR(o, 0.1, 1.0, 5), S.StepLR(o, 4, 0.5), S.CosineAnnealingLR(o, 20)]
    return S.SequentialLR(o, parts, [5, 17])


class _Harmonic:
    def __call__(self, n: Any) -> Any:
        return 1.0 / (2.0 + n)

    def __repr__(self) -> str:
        return "HARMONIC"


HARMONIC = _Harmonic()  # a function that `repr` writes as a name

SCHEDULES = [
    ScheduleCase("constant", optim.constant(0.5), lambda S, o: S.LambdaLR(o, lambda n: 1.0),
                 lambda O: O.constant_schedule(0.5)),
    ScheduleCase("step_decay", optim.step_decay(0.5, 2), lambda S, o: S.StepLR(o, 2)),
    ScheduleCase("step_decay", optim.step_decay(0.5, 7, gamma=0.7),
                 lambda S, o: S.StepLR(o, 7, 0.7)),
    ScheduleCase("multi_step", optim.multi_step(0.5, [3, 11, 12]),
                 lambda S, o: S.MultiStepLR(o, [3, 11, 12])),
    ScheduleCase("piecewise_constant", optim.piecewise_constant(0.5 / 3, {5: 3.0}),
                 lambda S, o: S.ConstantLR(o), first=0.5 / 3),
    ScheduleCase("piecewise_constant", optim.piecewise_constant(0.5, {2: 0.5, 9: 0.1, 20: 4.0}),
                 optax=lambda O: O.piecewise_constant_schedule(0.5, {2: 0.5, 9: 0.1, 20: 4.0})),
    ScheduleCase("exponential_decay", optim.exponential_decay(0.5, 1, 0.9),
                 lambda S, o: S.ExponentialLR(o, 0.9)),
    ScheduleCase("exponential_decay", optim.exponential_decay(0.5, 10, 0.3, 4, True, 0.02),
                 optax=lambda O: O.exponential_decay(0.5, 10, 0.3, 4, True, 0.02)),
    ScheduleCase("exponential_decay", optim.exponential_decay(0.5, 10, 1.3, end_value=0.8),
                 optax=lambda O: O.exponential_decay(0.5, 10, 1.3, end_value=0.8)),
    ScheduleCase("polynomial", optim.polynomial(0.5, 0.0, 2.0, 12),
                 lambda S, o: S.PolynomialLR(o, 12, 2.0),
                 lambda O: O.polynomial_schedule(0.5, 0.0, 2.0, 12)),
    ScheduleCase("polynomial", optim.polynomial(0.5, 0.1, 0.5, 12, 3),
                 optax=lambda O: O.polynomial_schedule(0.5, 0.1, 0.5, 12, 3)),
    ScheduleCase("polynomial_decay", optim.polynomial_decay(0.5, 12),
                 lambda S, o: S.PolynomialLR(o, 12)),
    ScheduleCase("linear", optim.linear(0.5 / 3, 0.5, 5), lambda S, o: S.LinearLR(o),
                 first=0.5 / 3),
    ScheduleCase("linear", optim.linear(0.5, 0.1, 11, 5),
                 optax=lambda O: O.linear_schedule(0.5, 0.1, 11, 5)),
    ScheduleCase("linear_decay", optim.linear_decay(0.5, 20, 0.05),
                 lambda S, o: S.LinearLR(o, 1.0, 0.1, 20)),
    ScheduleCase("linear_warmup", optim.linear_warmup(0.1, 0.5, 7),
                 optax=lambda O: O.warmup_constant_schedule(0.1, 0.5, 7), first=0.1),
    ScheduleCase("cosine_decay", optim.cosine_decay(0.5, 40, alpha=0.02),
                 lambda S, o: S.CosineAnnealingLR(o, 40, 0.01),
                 lambda O: O.cosine_decay_schedule(0.5, 40, 0.02)),
    ScheduleCase("cosine_decay", optim.cosine_decay(0.5, 20, 0.1, exponent=1.5),
                 optax=lambda O: O.cosine_decay_schedule(0.5, 20, 0.1, 1.5)),
    ScheduleCase("cosine_annealing", optim.cosine_annealing(0.5, 7, 0.1),
                 lambda S, o: S.CosineAnnealingLR(o, 7, 0.1)),
    ScheduleCase("cosine_restarts", optim.cosine_restarts(0.5, 7, end_value=0.1),
                 lambda S, o: S.CosineAnnealingWarmRestarts(o, 7, 1, 0.1)),
    ScheduleCase("cosine_restarts", optim.cosine_restarts(0.5, 3, 2),
                 lambda S, o: S.CosineAnnealingWarmRestarts(o, 3, 2), steps=200),
    ScheduleCase("cosine_restarts", optim.cosine_restarts(0.5, 5, 3, 0.01),
                 lambda S, o: S.CosineAnnealingWarmRestarts(o, 5, 3, 0.01), steps=300),
    ScheduleCase("cyclic", optim.cyclic(0.1, 0.5, 6),
                 lambda S, o: S.CyclicLR(o, 0.1, 0.5, 6, cycle_momentum=False), first=0.1),
    ScheduleCase("cyclic", optim.cyclic(0.1, 0.5, 3, 8, "triangular2"),
                 lambda S, o: S.CyclicLR(o, 0.1, 0.5, 3, 8, "triangular2", cycle_momentum=False),
                 first=0.1),
    ScheduleCase("cyclic", optim.cyclic(0.1, 0.5, 9, 2, "exp_range", 0.95),
                 lambda S, o: S.CyclicLR(o, 0.1, 0.5, 9, 2, "exp_range", 0.95,
                                         cycle_momentum=False), first=0.1),
    ScheduleCase("cyclic", optim.cyclic(0.1, 0.5, 2, 5, scale_fn=HARMONIC),
                 lambda S, o: S.CyclicLR(o, 0.1, 0.5, 2, 5, scale_fn=HARMONIC,
                                         cycle_momentum=False), first=0.1),
    ScheduleCase("cyclic", optim.cyclic(0.1, 0.5, 2, 5, scale_fn=HARMONIC,
                                        scale_mode="iterations"),
                 lambda S, o: S.CyclicLR(o, 0.1, 0.5, 2, 5, scale_fn=HARMONIC,
                                         scale_mode="iterations", cycle_momentum=False),
                 first=0.1),
    ScheduleCase("warmup_cosine_decay", optim.warmup_cosine_decay(0.1, 0.5, 6, 30, 0.05),
                 optax=lambda O: O.warmup_cosine_decay_schedule(0.1, 0.5, 6, 30, 0.05), first=0.1),
    ScheduleCase("warmup_exponential_decay",
                 optim.warmup_exponential_decay(0.1, 0.5, 6, 10, 0.5, 3, True, 0.1),
                 optax=lambda O: O.warmup_exponential_decay_schedule(
                     0.1, 0.5, 6, 10, 0.5, 3, True, 0.1), first=0.1),
    ScheduleCase("inverse_sqrt", optim.inverse_sqrt(0.5, 8),
                 lambda S, o: S.LambdaLR(o, lambda n: n / 8 if n < 8 else (8 / n)**0.5), first=0.0),
    ScheduleCase("noam", optim.noam(512, 8, 2.0),
                 lambda S, o: S.LambdaLR(o, lambda n: 4.0 * 512**-0.5 * min(
                     (n + 1)**-0.5, (n + 1) * 8**-1.5)), first=2.0 * 512**-0.5 * 8**-1.5),
    ScheduleCase("one_cycle", optim.one_cycle(0.5, 40),
                 lambda S, o: S.OneCycleLR(o, 0.5, 40, cycle_momentum=False), first=0.02),
    ScheduleCase("one_cycle", optim.one_cycle(0.5, 37, 0.25, "linear", 10.0, 100.0),
                 lambda S, o: S.OneCycleLR(o, 0.5, 37, pct_start=0.25, anneal_strategy="linear",
                                           div_factor=10.0, final_div_factor=100.0,
                                           cycle_momentum=False), steps=37, first=0.05),
    ScheduleCase("one_cycle", optim.one_cycle(0.5, 40, 0.37, three_phase=True),
                 lambda S, o: S.OneCycleLR(o, 0.5, 40, pct_start=0.37, three_phase=True,
                                           cycle_momentum=False), first=0.02),
    ScheduleCase("one_cycle", optim.one_cycle(0.5, 40, 0.3, "linear", three_phase=True),
                 lambda S, o: S.OneCycleLR(o, 0.5, 40, anneal_strategy="linear", three_phase=True,
                                           cycle_momentum=False), first=0.02),
    ScheduleCase("join_schedules", optim.join_schedules(
        [optim.linear(0.05, 0.5, 5), optim.step_decay(0.5, 4, 0.5), optim.cosine_decay(0.5, 20)],
        [5, 17]), _sequential, steps=37, first=0.05),
    ScheduleCase("piecewise_interpolate",
                 optim.piecewise_interpolate("linear", 0.5, {4: 0.1, 10: 5.0, 30: 0.5}),
                 optax=lambda O: O.piecewise_interpolate_schedule(
                     "linear", 0.5, {4: 0.1, 10: 5.0, 30: 0.5})),
    ScheduleCase("piecewise_interpolate",
                 optim.piecewise_interpolate("cosine", 0.5, {4: 0.1, 10: 5.0, 30: 0.5}),
                 optax=lambda O: O.piecewise_interpolate_schedule(
                     "cosine", 0.5, {4: 0.1, 10: 5.0, 30: 0.5})),
]
