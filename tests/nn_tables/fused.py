"""Blocks of convolutional networks, beside the same blocks made of PyTorch's layers.

Data is drawn from the name of a row; where a gradient check meets a kink of relu, rename the row.
"""

from collections import OrderedDict

from lucidfn import nn

from .table import F, LayerCase

MODE = {False: "evaluation", True: "training"}
SHAPES = {1: (3, 6, 2), 2: (2, 4, 4, 2), 3: (2, 3, 3, 3, 2)}


def named(t, **layers):
    return t.Sequential(OrderedDict(layers))


def conv_bn_relu(d, *args, bias=False):
    return lambda t: named(t, conv=getattr(t, f"Conv{d}d")(2, 3, *args, bias=bias),
                           norm=getattr(t, f"BatchNorm{d}d")(3), relu=t.ReLU())


def separable(d, *args, bias=True):
    conv = f"Conv{d}d"
    return lambda t: named(
        t, depthwise=getattr(t, conv)(2, 2, *args, groups=2, bias=bias),
        pointwise=getattr(t, conv)(2, 3, 1, bias=bias))


def squeeze_excite(t):
    return named(t, squeeze=t.Linear(4, 2), relu=t.ReLU(), excite=t.Linear(2, 4), gate=t.Sigmoid())


def selective(t):
    """Kernels of 3 and 5, written out after the paper."""
    class Twin(t.Module):
        def __init__(self):
            super().__init__()
            for i, gap in enumerate((1, 2)):
                conv = t.Conv2d(2, 3, 3, padding=gap, dilation=gap, bias=False)
                setattr(self, f"branch_{i}", named(t, conv=conv, norm=t.BatchNorm2d(3),
                                                   relu=t.ReLU()))
            self.squeeze, self.norm = t.Linear(3, 4, bias=False), t.BatchNorm1d(4)
            self.select = t.Linear(4, 6, bias=False)

        def forward(self, x):
            a, b = self.branch_0(x), self.branch_1(x)
            z = self.select(self.norm(self.squeeze((a + b).mean((2, 3)))).relu())
            share = z.unflatten(1, (2, 3)).softmax(1)[..., None, None]
            return share[:, 0] * a + share[:, 1] * b

    return Twin()


def rows():
    for d, shape in SHAPES.items():
        block = getattr(nn, f"ConvBNReLU{d}d")
        for train in (False, True):
            yield LayerCase(block(2, 3, 3, padding=1), (F(*shape),), conv_bn_relu(d, 3, 1, 1),
                            train=train, order=1, id=f"ConvBNReLU{d}d in {MODE[train]}")
        yield LayerCase(getattr(nn, f"DepthSeparableConv{d}d")(2, 3, 3, 2, 1), (F(*shape),),
                        separable(d, 3, 2, 1), order=1)
    yield LayerCase(nn.ConvBNReLU2d(2, 3, 2, conv_bias=True, momentum=None), (F(2, 4, 4, 2),),
                    lambda t: named(t, conv=t.Conv2d(2, 3, 2), norm=t.BatchNorm2d(3, momentum=None),
                                    relu=t.ReLU()))
    yield LayerCase(nn.DepthSeparableConv1d(2, 3, 2, bias=False), (F(2, 5, 2),),
                    separable(1, 2, bias=False))
    yield LayerCase(nn.SEModule(4, 2), (F(2, 3, 3, 4),), squeeze_excite,
                    call=lambda m, x: x * m(x.mean((1, 2)))[:, None, None])
    for train in (False, True):
        yield LayerCase(nn.SelectiveKernel(2, 3, min_features=4), (F(6, 3, 3, 2),), selective,
                        train=train, order=1, id=f"SelectiveKernel: {MODE[train]}")


CASES = list(rows())
