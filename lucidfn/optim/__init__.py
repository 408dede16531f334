"""Optimizers as pairs of pure functions, the transformations they are chains of, and schedules.

    tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(3e-4, weight_decay=0.1))
    opt_state = tx.init(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optim.apply_updates(params, updates)
"""

from typing import Any

from lucidfn.optim import (
    adaptive,
    averages,
    base,
    clipping,
    cycles,
    modern,
    optimizers,
    outer,
    plateau,
    precision,
    quasi_newton,
    schedules,
    transforms,
    wrappers,
)
from lucidfn.optim.adaptive import *  # noqa: F403
from lucidfn.optim.averages import *  # noqa: F403
from lucidfn.optim.base import *  # noqa: F403
from lucidfn.optim.clipping import *  # noqa: F403
from lucidfn.optim.cycles import *  # noqa: F403
from lucidfn.optim.modern import *  # noqa: F403
from lucidfn.optim.optimizers import *  # noqa: F403
from lucidfn.optim.outer import *  # noqa: F403
from lucidfn.optim.plateau import *  # noqa: F403
from lucidfn.optim.precision import *  # noqa: F403
from lucidfn.optim.quasi_newton import *  # noqa: F403
from lucidfn.optim.schedules import *  # noqa: F403
from lucidfn.optim.transforms import *  # noqa: F403
from lucidfn.optim.wrappers import *  # noqa: F403

__all__ = []
__all__ += adaptive.__all__
__all__ += averages.__all__
__all__ += base.__all__
__all__ += clipping.__all__
__all__ += cycles.__all__
__all__ += modern.__all__
__all__ += optimizers.__all__
__all__ += outer.__all__
__all__ += plateau.__all__
__all__ += precision.__all__
__all__ += quasi_newton.__all__
__all__ += schedules.__all__
__all__ += transforms.__all__
__all__ += wrappers.__all__


def __getattr__(name: str) -> Any:
    # Those who come from PyTorch write Adam, lr_scheduler.
    plain = name.replace("_", "").lower()
    alike = [n for n in __all__ if n.islower() and n.replace("_", "") == plain]
    hint = f"; optimizers are functions: optim.{alike[0]}(...)" if alike else ""
    if name == "lr_scheduler":
        hint = "; a schedule, such as optim.cosine_decay(1e-3, 1000), is given as learning rate"
    raise AttributeError(f"module 'lucidfn.optim' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
