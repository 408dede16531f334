"""Normalisation: by batch, instance, group, layer, root mean square, and across channels."""

import numpy as np

from lucidfn import nn
from lucidfn.nn import functional as f

from .table import F, Fixed, FunctionCase, LayerCase, first, last


def same(module, *xs):
    """Channels are last in PyTorch too."""
    return module(*xs)


def as_it_is(params):
    """LayerNorm's weight of rank 2 and more is no matrix to be transposed."""
    return {name: np.asarray(value) for name, value in params.items()}


def constant(x, values):
    """Numbers of x's kind, of which no derivative is taken (PyTorch has none)."""
    return x.new_tensor(values) if hasattr(x, "new_tensor") else np.asarray(values, x.dtype)


def ours(function, *args, only_y=True):
    """Our function of x, weight and bias with given running statistics."""
    def run(x, weight, bias):
        out = function(x, constant(x, MEAN), constant(x, VAR), weight, bias, *args)
        return out[0] if only_y else out

    return run


def theirs(name, *args, only_y=True):
    """PyTorch's, which writes into the statistics."""
    def run(T, x, weight, bias):
        mean, var = constant(x, MEAN), constant(x, VAR)
        y = last(getattr(T.nn.functional, name)(first(x), mean, var, weight, bias, *args))
        return y if only_y else (y, (mean, var))

    return run


MEAN, VAR = [0.3, -0.2, 1.0], [0.5, 1.5, 2.0]
BATCH = (F(4, 5, 3), F(3), F(3))
KINDS = [(1, (4, 5, 3)), (2, (3, 4, 2, 3)), (3, (2, 2, 3, 2, 3))]


def batch_norms():
    for d, shape in KINDS:
        name = f"BatchNorm{d}d"
        for train in (False, True):
            yield LayerCase(getattr(nn, name)(3), (F(*shape),),
                            lambda t, n=name: getattr(t, n)(3), train=train,
                            id=f"{name}(3) {'training' if train else 'evaluation'}")
    for train in (False, True):
        mode = "training" if train else "evaluation"
        yield LayerCase(nn.BatchNorm1d(3), (F(6, 3),), lambda t: t.BatchNorm1d(3), train=train,
                        id=f"BatchNorm1d(3) of [N, C] {mode}")
        yield LayerCase(nn.BatchNorm2d(3, track_running_stats=False), (F(3, 4, 2, 3),),
                        lambda t: t.BatchNorm2d(3, track_running_stats=False), train=train,
                        id=f"BatchNorm2d without statistics {mode}")
    yield LayerCase(nn.BatchNorm2d(3, eps=1e-2, momentum=None), (F(3, 4, 2, 3),),
                    lambda t: t.BatchNorm2d(3, 1e-2, None), train=True)
    yield LayerCase(nn.BatchNorm1d(3, momentum=0.3, affine=False), (F(3, 4, 3),),
                    lambda t: t.BatchNorm1d(3, momentum=0.3, affine=False), train=True)


def instance_norms():
    for d, shape in KINDS:
        name = f"InstanceNorm{d}d"
        make = getattr(nn, name)
        yield LayerCase(make(3), (F(*shape),), lambda t, n=name: getattr(t, n)(3))
        for train in (False, True):
            yield LayerCase(
                make(3, affine=True, track_running_stats=True), (F(*shape),),
                lambda t, n=name: getattr(t, n)(3, affine=True, track_running_stats=True),
                train=train, id=f"{name} with statistics {'training' if train else 'evaluation'}")
    yield LayerCase(nn.InstanceNorm2d(3, eps=1e-2), (F(4, 2, 3),),
                    lambda t: t.InstanceNorm2d(3, eps=1e-2), id="InstanceNorm2d of one example",
                    # Made contiguous: PyTorch 2.13 errs on cotangents of other strides here.
                    call=lambda m, x: m(x.movedim(-1, 0)).flatten().view(3, 4, 2).movedim(0, -1))


LAYERS = [
    *batch_norms(),
    *instance_norms(),
    LayerCase(nn.LayerNorm(5), (F(2, 3, 5),), lambda t: t.LayerNorm(5), call=same),
    LayerCase(nn.LayerNorm((3, 4), eps=1e-2), (F(2, 3, 4),), lambda t: t.LayerNorm((3, 4), 1e-2),
              call=same, weights=as_it_is),
    LayerCase(nn.LayerNorm(5, bias=False), (F(5),), lambda t: t.LayerNorm(5, bias=False),
              call=same),
    LayerCase(nn.LayerNorm(5, elementwise_affine=False), (F(3, 5),),
              lambda t: t.LayerNorm(5, elementwise_affine=False), call=same),
    LayerCase(nn.GroupNorm(2, 6), (F(2, 3, 4, 6),), lambda t: t.GroupNorm(2, 6)),
    LayerCase(nn.GroupNorm(3, 6, eps=1e-2), (F(4, 6),), lambda t: t.GroupNorm(3, 6, 1e-2)),
    LayerCase(nn.GroupNorm(1, 4, affine=False), (F(2, 3, 4),),
              lambda t: t.GroupNorm(1, 4, affine=False)),
    LayerCase(nn.RMSNorm(5), (F(2, 3, 5),), lambda t: t.RMSNorm(5), call=same),
    LayerCase(nn.RMSNorm((3, 4), eps=1e-2, elementwise_affine=False), (F(2, 3, 4),),
              lambda t: t.RMSNorm((3, 4), 1e-2, elementwise_affine=False), call=same),
    LayerCase(nn.GlobalResponseNorm(4), (F(2, 3, 2, 4),)),
    LayerCase(nn.LocalResponseNorm(3), (F(2, 3, 3, 6),), lambda t: t.LocalResponseNorm(3)),
    LayerCase(nn.LocalResponseNorm(4, alpha=0.5, beta=0.6, k=2.0), (F(2, 3, 6),),
              lambda t: t.LocalResponseNorm(4, 0.5, 0.6, 2.0)),
]


def grn(T, x, weight, bias):
    """The paper's code, on channels-last data."""
    size = T.norm(x, p=2, dim=(1, 2), keepdim=True)
    return weight * (x * size / (size.mean(-1, keepdim=True) + 1e-6)) + bias + x


FUNCTIONS = [
    FunctionCase("batch_norm", ours(f.batch_norm, True, 0.2), BATCH,
                 theirs("batch_norm", True, 0.2), id="batch_norm training"),
    FunctionCase("batch_norm", ours(f.batch_norm, False), BATCH, theirs("batch_norm", False),
                 id="batch_norm evaluation"),
    FunctionCase("batch_norm", ours(f.batch_norm, True, 0.2, 0.1, only_y=False), BATCH,
                 theirs("batch_norm", True, 0.2, 0.1, only_y=False), gradients=False,
                 id="batch_norm with its statistics"),
    FunctionCase("instance_norm", ours(f.instance_norm, True, 0.2), BATCH,
                 theirs("instance_norm", True, 0.2), id="instance_norm training"),
    FunctionCase("instance_norm", ours(f.instance_norm, False), BATCH,
                 theirs("instance_norm", False), id="instance_norm evaluation"),
    FunctionCase("instance_norm", ours(f.instance_norm, True, 0.2, 0.1, only_y=False), BATCH,
                 theirs("instance_norm", True, 0.2, 0.1, only_y=False), gradients=False,
                 id="instance_norm with its statistics"),
    FunctionCase("layer_norm", lambda x, w, b: f.layer_norm(x, (3, 4), w, b),
                 (F(2, 3, 4), F(3, 4), F(3, 4)),
                 lambda T, x, w, b: T.nn.functional.layer_norm(x, (3, 4), w, b)),
    FunctionCase("layer_norm", lambda x: f.layer_norm(x, 4), (F(4),),
                 lambda T, x: T.nn.functional.layer_norm(x, (4,)), id="layer_norm plain"),
    FunctionCase("group_norm", lambda x, w, b: f.group_norm(x, 2, w, b, 1e-3),
                 (F(3, 2, 2, 4), F(4), F(4)),
                 lambda T, x, w, b: last(T.nn.functional.group_norm(first(x), 2, w, b, 1e-3))),
    FunctionCase("rms_norm", lambda x, w: f.rms_norm(x, (4,), w), (F(3, 4), F(4)),
                 lambda T, x, w: T.nn.functional.rms_norm(x, (4,), w)),
    FunctionCase("global_response_norm", f.global_response_norm, (F(2, 3, 2, 4), F(4), F(4)), grn),
    FunctionCase("local_response_norm", lambda x: f.local_response_norm(x, 2, 0.3, 0.5, 1.5),
                 (F(2, 3, 2, 5),), lambda T, x: last(
                     T.nn.functional.local_response_norm(first(x), 2, 0.3, 0.5, 1.5))),
    FunctionCase("normalize", f.normalize, (F(3, 4),),
                 lambda T, x: T.nn.functional.normalize(x, dim=-1)),
    FunctionCase("normalize", lambda x: f.normalize(x, ord=1, axis=0), (F(3, 4),),
                 lambda T, x: T.nn.functional.normalize(x, p=1, dim=0), id="normalize ord=1"),
    FunctionCase("normalize", lambda x: f.normalize(x, ord=3.0), (F(3, 4),),
                 lambda T, x: T.nn.functional.normalize(x, p=3.0, dim=-1), id="normalize ord=3"),
    # Shorter than eps: divided by eps, a constant.
    FunctionCase("normalize", lambda x: f.normalize(x, eps=10.0), (Fixed([[0.5, -1.0, 2.0]]),),
                 lambda T, x: T.nn.functional.normalize(x, dim=-1, eps=10.0),
                 id="normalize of a short vector"),
]

CASES = [*LAYERS, *FUNCTIONS]
