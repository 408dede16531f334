"""Activation functions, and the same as layers; the data keeps away from their kinks."""

from lucidfn import nn, random

from .table import F, Fixed, FunctionCase, I, LayerCase

fn = nn.functional
X = Fixed([[-4.3, -2.7, -1.6, -0.8], [-0.3, 0.2, 0.7, 1.4], [2.6, 3.6, 5.3, 7.1]])
M = F(3, 4)
KEY = random.key(2)


def same(m, x):
    """PyTorch's module on data as it is: it knows no channels."""
    return m(x)


def layer(ours, theirs, data=X, **options):
    return LayerCase(ours, (data,), torch=theirs, call=same, **options)


def sixth(t):
    """Hardsigmoid; PyTorch's own has 1 / 6 in single precision in its derivative."""
    module = t.Module()
    module.forward = lambda x: t.functional.relu6(x + 3) / 6
    return module


CASES = [
    layer(nn.ReLU(), lambda t: t.ReLU()),
    layer(nn.ReLU6(), lambda t: t.ReLU6()),
    layer(nn.LeakyReLU(), lambda t: t.LeakyReLU()),
    layer(nn.LeakyReLU(0.3), lambda t: t.LeakyReLU(0.3)),
    layer(nn.PReLU(), lambda t: t.PReLU()),
    layer(nn.PReLU(4, init=0.1), lambda t: t.PReLU(4, 0.1)),
    LayerCase(nn.PReLU(3), (F(2, 2, 2, 3),), torch=lambda t: t.PReLU(3)),
    layer(nn.RReLU(), lambda t: t.RReLU()),
    layer(nn.RReLU(0.2, 0.6), lambda t: t.RReLU(0.2, 0.6)),
    layer(nn.ELU(), lambda t: t.ELU()),
    layer(nn.ELU(0.7), lambda t: t.ELU(0.7)),
    layer(nn.CELU(0.5), lambda t: t.CELU(0.5)),  # PyTorch rounds 1 / alpha to float32
    layer(nn.SELU(), lambda t: t.SELU()),
    layer(nn.GELU(), lambda t: t.GELU()),
    layer(nn.GELU("tanh"), lambda t: t.GELU("tanh")),
    layer(nn.Sigmoid(), lambda t: t.Sigmoid()),
    layer(nn.LogSigmoid(), lambda t: t.LogSigmoid()),
    layer(nn.Hardsigmoid(), sixth),
    layer(nn.SiLU(), lambda t: t.SiLU()),
    layer(nn.Hardswish(), lambda t: t.Hardswish()),
    layer(nn.Mish(), lambda t: t.Mish()),
    layer(nn.Tanh(), lambda t: t.Tanh()),
    layer(nn.Tanhshrink(), lambda t: t.Tanhshrink(), M),
    layer(nn.Hardtanh(), lambda t: t.Hardtanh()),
    layer(nn.Hardtanh(-0.5, 3.0), lambda t: t.Hardtanh(-0.5, 3.0)),
    layer(nn.Softplus(), lambda t: t.Softplus()),
    layer(nn.Softplus(2.0, 5.0), lambda t: t.Softplus(2.0, 5.0)),
    layer(nn.Softsign(), lambda t: t.Softsign()),
    layer(nn.Threshold(0.5, -2.0), lambda t: t.Threshold(0.5, -2.0)),
    layer(nn.Hardshrink(), lambda t: t.Hardshrink()),
    layer(nn.Hardshrink(1.0), lambda t: t.Hardshrink(1.0)),
    layer(nn.Softshrink(), lambda t: t.Softshrink()),
    layer(nn.Softshrink(1.0), lambda t: t.Softshrink(1.0)),
    layer(nn.Softmax(), lambda t: t.Softmax(-1)),
    layer(nn.Softmax(0), lambda t: t.Softmax(0)),
    layer(nn.Softmin(), lambda t: t.Softmin(-1)),
    layer(nn.LogSoftmax(), lambda t: t.LogSoftmax(-1)),
    layer(nn.LogSoftmax(axis=0), lambda t: t.LogSoftmax(0)),
    LayerCase(nn.Softmax2d(), (F(2, 2, 3, 4),), torch=lambda t: t.Softmax2d()),
    layer(nn.GLU(), lambda t: t.GLU()),
    layer(nn.GLU(0), lambda t: t.GLU(0), F(4, 3)),
]


def row(name, theirs=None, *data, id="", **options):
    """A function called with options, beside PyTorch's of that name or a function of (T, x)."""
    if isinstance(theirs, str):
        found = lambda T, *xs, n=theirs: getattr(T.nn.functional, n)(*xs)
    else:
        found = theirs
    return FunctionCase(name, lambda *xs: getattr(fn, name)(*xs, **options), data or (X,), found,
                        id=id)


CASES += [row(name, name) for name in """relu relu6 leaky_relu celu elu selu sigmoid silu mish
    softplus logsigmoid hardswish hardtanh softsign hardshrink softshrink
    tanh rrelu""".split()]
CASES += [row(name, theirs) for name, theirs in {
    "hard_sigmoid": lambda T, x: sixth(T.nn)(x), "hardsigmoid": lambda T, x: sixth(T.nn)(x),
    "hard_silu": "hardswish", "hard_swish": "hardswish",
    "hard_tanh": "hardtanh", "log_sigmoid": "logsigmoid", "soft_sign": "softsign",
    "swish": "silu"}.items()]
CASES += [row(name) for name in ("sparse_plus", "sparse_sigmoid")]
CASES += [
    row("identity", lambda T, x: x * 1),
    row("tanhshrink", "tanhshrink", M),
    row("squareplus", lambda T, x: (x + T.sqrt(x * x + 3)) / 2, id="squareplus 3", b=3.0),
    row("squareplus", lambda T, x: (x + T.sqrt(x * x + 4)) / 2),
    row("gelu", lambda T, x: T.nn.functional.gelu(x, approximate="tanh")),
    row("gelu", "gelu", id="gelu exact", approximate=False),
    row("leaky_relu", lambda T, x: T.nn.functional.leaky_relu(x, 0.3), id="leaky_relu 0.3",
        negative_slope=0.3),
    row("elu", lambda T, x: T.nn.functional.elu(x, 0.6), id="elu 0.6", alpha=0.6),
    row("celu", lambda T, x: T.nn.functional.celu(x, 0.5), id="celu 0.5", alpha=0.5),
    row("softplus", lambda T, x: T.nn.functional.softplus(x, 2.0, 5.0), id="softplus 2 5", beta=2.0,
        threshold=5.0),
    row("hardtanh", lambda T, x: T.nn.functional.hardtanh(x, -3.0, 0.5), id="hardtanh -3 0.5",
        min_val=-3.0, max_val=0.5),
    row("threshold", lambda T, x: T.nn.functional.threshold(x, 1.0, 20.0), threshold=1.0,
        value=20.0),
    row("hardshrink", lambda T, x: T.nn.functional.hardshrink(x, 2.0), id="hardshrink 2",
        lambd=2.0),
    row("softshrink", lambda T, x: T.nn.functional.softshrink(x, 2.0), id="softshrink 2",
        lambd=2.0),
    row("prelu", lambda T, x, w: T.nn.functional.prelu(x, w), X, F(4)),
    row("prelu", lambda T, x, w: T.nn.functional.prelu(x, w), X, F(1), id="prelu one"),
    row("rrelu", id="rrelu training", training=True, key=KEY),
    row("gumbel_softmax", tau=0.7, key=KEY),
    row("glu", "glu"),
    row("glu", lambda T, x: T.nn.functional.glu(x, 0), F(4, 3), id="glu 0", axis=0),
    row("softmin", lambda T, x: T.nn.functional.softmin(x, -1)),
    row("softmin", lambda T, x: T.nn.functional.softmin(x, 0), id="softmin 0", axis=0),
    row("softmax", lambda T, x: T.nn.functional.softmax(x, -1)),
    row("softmax", lambda T, x: T.nn.functional.softmax(x, 0), id="softmax 0", axis=0),
    row("log_softmax", lambda T, x: T.nn.functional.log_softmax(x, -1)),
    row("log_softmax", lambda T, x: T.nn.functional.log_softmax(x, 0), id="log_softmax 0", axis=0),
    row("logsumexp", lambda T, x: T.logsumexp(x, (0, 1))),
    row("logsumexp", lambda T, x: T.logsumexp(x, 1, True), id="logsumexp 1", axis=1, keepdims=True),
    row("logmeanexp", lambda T, x: T.log(T.exp(x).mean(1)), M, axis=1),
    row("log1mexp", lambda T, x: T.log(-T.expm1(-x)), F(3, 4, lo=0.05, hi=3.0)),
    row("standardize", lambda T, x: T.nn.functional.layer_norm(x, (4,)), M),
    row("standardize", None, M, id="standardize 0", axis=0, epsilon=1e-3),
    FunctionCase("one_hot", lambda x: fn.one_hot(x, 4, dtype="int32"), (I(3, 2, hi=4),),
                 lambda T, x: T.nn.functional.one_hot(x, 4), gradients=False),
    FunctionCase("gumbel_softmax", lambda x: fn.gumbel_softmax(x, hard=True, key=KEY), (M,),
                 gradients=False, id="gumbel_softmax hard"),
]
