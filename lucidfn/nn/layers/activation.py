"""Activation functions as layers, with PyTorch's names, arguments and defaults.

A function is a layer too: nn.Sequential(nn.Linear(4, 8), nn.relu) does without these.
"""

from __future__ import annotations

from typing import Any

import lucidfn.numpy as lnp
from lucidfn.nn.functional import activations as fn
from lucidfn.nn.functional import activations_torch as more
from lucidfn.nn.initializers import constant
from lucidfn.nn.layer import Layer, Params, State


class _Pointwise(Layer):
    """Base of layers that only call a function of x."""

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        return self.call(x)

    def call(self, x: Any) -> Any:
        """The function."""
        raise NotImplementedError


class ReLU(_Pointwise):
    """max(x, 0).

    >>> from lucidfn import nn
    >>> nn.ReLU()({}, [-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def call(self, x: Any) -> Any:
        return fn.relu(x)


class ReLU6(_Pointwise):
    """min(max(x, 0), 6)."""

    def call(self, x: Any) -> Any:
        return fn.relu6(x)


class LeakyReLU(_Pointwise):
    """x where x >= 0, else negative_slope * x."""

    negative_slope: float = 0.01

    def call(self, x: Any) -> Any:
        return fn.leaky_relu(x, self.negative_slope)


class PReLU(Layer):
    """x where x > 0, else weight * x with a learned weight (arXiv:1502.01852).

    One weight for all, or num_parameters of them for the channels on the last axis; they start
    at init.
    """

    num_parameters: int = 1
    init_value: float = 0.25
    layout = "... C"

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        self.set("num_parameters", num_parameters)
        self.set("init_value", init)  # `init` is the method
        if not isinstance(num_parameters, int) or num_parameters < 1:
            raise self.error("expected one parameter or one for each channel")

    def arguments(self) -> Any:
        if self.num_parameters != 1 or self.init_value != 0.25:
            yield repr(self.num_parameters)
        if self.init_value != 0.25:
            yield f"init={self.init_value!r}"

    def init_params(self, key: Any) -> Params:
        return {"weight": constant(self.init_value)(key, (self.num_parameters,))}

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        if self.num_parameters > 1:
            self.expect(x, self.layout, self.num_parameters)
        return more.prelu(x, params["weight"])


class RReLU(Layer):
    """x where x >= 0, else x times a slope: uniform in [lower, upper) in training, for each
    element, and their middle in evaluation (arXiv:1505.00853)."""

    lower: float = 1 / 8
    upper: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lower <= self.upper:
            raise self.error(f"got lower = {self.lower} above upper = {self.upper}")

    def apply(self, params: Params, state: State, x: Any, *,  # type: ignore[override]
              train: bool = False, key: Any = None) -> tuple[Any, State]:
        key = self.need_key(key) if train else None
        return more.rrelu(x, self.lower, self.upper, train, key=key), state


class ELU(_Pointwise):
    """x where x > 0, else alpha * (exp(x) - 1) (arXiv:1511.07289)."""

    alpha: float = 1.0

    def call(self, x: Any) -> Any:
        return fn.elu(x, self.alpha)


class CELU(_Pointwise):
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (arXiv:1704.07483)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha == 0:
            raise self.error("got alpha = 0, which x is divided by")

    def call(self, x: Any) -> Any:
        return fn.celu(x, self.alpha)


class SELU(_Pointwise):
    """1.0507 * elu(x, 1.6733), which keeps mean 0 and variance 1 (arXiv:1706.02515)."""

    def call(self, x: Any) -> Any:
        return fn.selu(x)


class GELU(_Pointwise):
    """x times the normal distribution function of x (arXiv:1606.08415).

    approximate is "none" or "tanh". As in PyTorch it is exact by default; the function `nn.gelu`,
    as in jax.nn, is the tanh approximation by default.
    """

    approximate: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.approximate not in ("none", "tanh"):
            raise self.error(f"got approximate = {self.approximate!r}, expected 'none' or 'tanh'")

    def call(self, x: Any) -> Any:
        return fn.gelu(x, approximate=self.approximate == "tanh")


class Sigmoid(_Pointwise):
    """1 / (1 + exp(-x))."""

    def call(self, x: Any) -> Any:
        return fn.sigmoid(x)


class LogSigmoid(_Pointwise):
    """log(sigmoid(x)), without overflow."""

    def call(self, x: Any) -> Any:
        return fn.log_sigmoid(x)


class Hardsigmoid(_Pointwise):
    """relu6(x + 3) / 6."""

    def call(self, x: Any) -> Any:
        return fn.hard_sigmoid(x)


class SiLU(_Pointwise):
    """x * sigmoid(x), also known as swish (arXiv:1710.05941)."""

    def call(self, x: Any) -> Any:
        return fn.silu(x)


class Hardswish(_Pointwise):
    """x * relu6(x + 3) / 6 (arXiv:1905.02244)."""

    def call(self, x: Any) -> Any:
        return fn.hard_silu(x)


class Mish(_Pointwise):
    """x * tanh(softplus(x)) (arXiv:1908.08681)."""

    def call(self, x: Any) -> Any:
        return fn.mish(x)


class Tanh(_Pointwise):
    """tanh(x)."""

    def call(self, x: Any) -> Any:
        return fn.tanh(x)


class Tanhshrink(_Pointwise):
    """x - tanh(x)."""

    def call(self, x: Any) -> Any:
        return more.tanhshrink(x)


class Hardtanh(_Pointwise):
    """x limited to [min_val, max_val]."""

    min_val: float = -1.0
    max_val: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_val < self.max_val:
            raise self.error(f"got min_val = {self.min_val}, which is not below max_val = "
                             f"{self.max_val}")

    def call(self, x: Any) -> Any:
        return more.hardtanh(x, self.min_val, self.max_val)


class Softplus(_Pointwise):
    """log(1 + exp(beta x)) / beta; x where beta x > threshold."""

    beta: float = 1.0
    threshold: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta:
            raise self.error(f"got beta = {self.beta}, which is divided by")

    def call(self, x: Any) -> Any:
        return fn.softplus(x, self.beta, self.threshold)


class Softsign(_Pointwise):
    """x / (1 + |x|)."""

    def call(self, x: Any) -> Any:
        return fn.soft_sign(x)


class Threshold(_Pointwise):
    """x where x > threshold, else value."""

    threshold: float
    value: float

    def call(self, x: Any) -> Any:
        return more.threshold(x, self.threshold, self.value)


class _Shrinking(_Pointwise):
    """Base: lambd is 0 or more."""

    lambd: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lambd >= 0:
            raise self.error(f"got lambd = {self.lambd}, expected 0 or more")


class Hardshrink(_Shrinking):
    """x where |x| > lambd, else 0."""

    def call(self, x: Any) -> Any:
        return more.hardshrink(x, self.lambd)


class Softshrink(_Shrinking):
    """x moved towards 0 by lambd; 0 where |x| <= lambd."""

    def call(self, x: Any) -> Any:
        return more.softshrink(x, self.lambd)


# ------------------------------------------------------------------ along an axis

class Softmax(_Pointwise):
    """exp(x) over its sum along an axis."""

    axis: int = -1

    def call(self, x: Any) -> Any:
        return fn.softmax(x, self.axis)


class Softmin(_Pointwise):
    """softmax(-x) along an axis."""

    axis: int = -1

    def call(self, x: Any) -> Any:
        return more.softmin(x, self.axis)


class LogSoftmax(_Pointwise):
    """log(softmax(x)) along an axis, accurate for probabilities near 0 and 1."""

    axis: int = -1

    def call(self, x: Any) -> Any:
        return fn.log_softmax(x, self.axis)


class Softmax2d(Layer):
    """softmax over the channels of [N, H, W, C] or [H, W, C], at each place on its own."""

    layout = "N H W C"

    def forward(self, params: Params, x: Any) -> Any:  # type: ignore[override]
        x = lnp.asarray(x)
        if x.ndim not in (3, 4):
            raise self.error(f"got x {x.type}, expected [N, H, W, C] or [H, W, C]")
        return fn.softmax(x, -1)


class GLU(_Pointwise):
    """The first half along an axis times the sigmoid of the second (arXiv:1612.08083)."""

    axis: int = -1

    def call(self, x: Any) -> Any:
        return fn.glu(x, self.axis)


HardSigmoid, HardSwish, Swish = Hardsigmoid, Hardswish, SiLU

__all__ = ["CELU", "ELU", "GELU", "GLU", "HardSigmoid", "HardSwish", "Hardshrink", "Hardsigmoid",
           "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish", "PReLU",
           "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin",
           "Softplus", "Softshrink", "Softsign", "Swish", "Tanh", "Tanhshrink", "Threshold"]
