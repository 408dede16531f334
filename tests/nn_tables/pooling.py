"""Pooling. Data is drawn from a continuous distribution: where maxima tie, PyTorch gives the first
the whole derivative and we share it."""

import numpy as np

from lucidfn import nn
from lucidfn.nn import functional as f

from .table import F, Fixed, FunctionCase, LayerCase, first, last

SHAPES = {1: (2, 7, 3), 2: (2, 7, 6, 2), 3: (2, 4, 5, 6, 1)}


def pool(name, d, *args, shape=None, order=2, lo=None, hi=None, **options):
    """A layer beside PyTorch's of the same name and arguments."""
    name = f"{name}{d}d"
    layer = getattr(nn, name)(*args, **options)
    return LayerCase(layer, (F(*(shape or SHAPES[d]), lo=lo, hi=hi),),
                     lambda t: getattr(t, name)(*args, **options), order=order)


def of_one(case):
    """The same on [*space, C] without a batch."""
    shape = case.inputs[0].shape[1:]
    alone = lambda m, x: m(x.movedim(-1, 0)).movedim(0, -1)  # noqa: E731
    return LayerCase(case.layer, (F(*shape),), case.torch, call=alone, order=1,
                     id=f"{case} of one example")


def average():
    for d in (1, 2, 3):
        yield pool("AvgPool", d, 2)
        yield pool("AvgPool", d, 3, 2, 1)
        yield pool("AvgPool", d, 3, 2, 1, ceil_mode=True, count_include_pad=False, order=1)
        yield pool("AvgPool", d, 3, 2, 1, ceil_mode=True, order=1)
    yield pool("AvgPool", 2, (3, 2), (1, 2), (1, 0))
    yield pool("AvgPool", 2, 2, 3, ceil_mode=True, divisor_override=3)
    yield pool("AvgPool", 3, 2, divisor_override=-1, order=1)
    # The last window would start in the padding: there is none.
    yield pool("AvgPool", 1, 2, 2, 1, shape=(1, 4, 2), ceil_mode=True, order=1)
    yield of_one(pool("AvgPool", 2, 2))


def maximum():
    for d in (1, 2, 3):
        yield pool("MaxPool", d, 2)
        yield pool("MaxPool", d, 3, 2, 1)
        yield pool("MaxPool", d, 2, 1, dilation=2, order=1)
        yield pool("MaxPool", d, 3, 2, 1, ceil_mode=True, order=1)
        # Nothing but negative numbers beside the padding, which must not win.
        yield pool("MaxPool", d, 2, 1, 1, lo=-9.0, hi=-5.0, order=1)
    yield pool("MaxPool", 2, (3, 2), (1, 3), (1, 0))
    yield of_one(pool("MaxPool", 1, 2))


def powers():
    for d in (1, 2, 3):
        yield pool("LPPool", d, 2, 2)
        yield pool("LPPool", d, 3, 2, 1, lo=0.2, hi=2.0, order=1)
        yield pool("LPPool", d, 1, 2, order=1)
    yield pool("LPPool", 2, 4, (3, 2), 2, ceil_mode=True, order=1)
    yield pool("LPPool", 1, 2.5, 3, lo=0.2, hi=2.0)
    yield LayerCase(nn.LPPool1d(float("inf"), 2), (F(2, 5, 3),))


def adaptive():
    for name in ("AdaptiveAvgPool", "AdaptiveMaxPool"):
        for d in (1, 2, 3):
            yield pool(name, d, 1)
            yield pool(name, d, 3, order=1)
        yield pool(name, 1, 3, shape=(2, 5, 2))
        yield pool(name, 1, 3, shape=(2, 2, 2))
        yield pool(name, 1, 2, shape=(2, 6, 2))
        yield pool(name, 2, (None, 4))
        yield pool(name, 2, (7, 3), order=1)
        yield pool(name, 3, (2, None, 4), order=1)
        yield of_one(pool(name, 2, 3))


def call(name, *args, **options):
    """A function beside PyTorch's of the same name and arguments."""
    d = int(name[-2])
    positive = "lp_" in name
    return FunctionCase(
        name, lambda x: getattr(f, name)(x, *args, **options),
        (F(*SHAPES[d], lo=0.2, hi=2.0) if positive else F(*SHAPES[d]),),
        lambda T, x: last(getattr(T.nn.functional, name)(first(x), *args, **options)), order=1)


FUNCTIONS = [
    *[call(f"avg_pool{d}d", 3, 2, 1) for d in (1, 2, 3)],
    *[call(f"max_pool{d}d", 3, 2, 1) for d in (1, 2, 3)],
    *[call(f"lp_pool{d}d", 3.0, 2) for d in (1, 2, 3)],
    *[call(f"adaptive_avg_pool{d}d", 2) for d in (1, 2, 3)],
    *[call(f"adaptive_max_pool{d}d", 2) for d in (1, 2, 3)],
    FunctionCase("max_pool1d", lambda x: f.max_pool1d(x, 2, 1, 1),
                 (Fixed(np.arange(-12, 0, dtype="int32").reshape(2, 3, 2)),), gradients=False,
                 id="max_pool1d of integers"),
]

CASES = [*average(), *maximum(), *powers(), *adaptive(), *FUNCTIONS]
