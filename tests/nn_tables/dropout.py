"""Layers and functions that drop at random. The numbers drawn are not PyTorch's: evaluation, and
p of 0 and 1, are compared."""

from lucidfn import nn, random

from .table import F, FunctionCase, LayerCase

fn = nn.functional
KEY = random.key(4)

CASES = [
    LayerCase(nn.Dropout(0.3), (F(3, 4),), torch=lambda t: t.Dropout(0.3)),
    LayerCase(nn.Dropout(0.0), (F(3, 4),), torch=lambda t: t.Dropout(0.0), train=True),
    LayerCase(nn.Dropout1d(0.3), (F(2, 3, 4),), torch=lambda t: t.Dropout1d(0.3)),
    LayerCase(nn.Dropout2d(0.3), (F(2, 2, 3, 4),), torch=lambda t: t.Dropout2d(0.3)),
    LayerCase(nn.Dropout3d(0.3), (F(2, 2, 3, 2, 4),), torch=lambda t: t.Dropout3d(0.3)),
    LayerCase(nn.AlphaDropout(0.3), (F(3, 4),), torch=lambda t: t.AlphaDropout(0.3)),
    LayerCase(nn.FeatureAlphaDropout(0.3), (F(2, 2, 3, 4),),
              torch=lambda t: t.FeatureAlphaDropout(0.3)),
    LayerCase(nn.DropBlock(3, 0.2), (F(2, 5, 6, 3),)),
    LayerCase(nn.DropBlock(3, p=0.0), (F(1, 4, 4, 2),), train=True),
    LayerCase(nn.DropPath(0.2), (F(3, 4),)),
    LayerCase(nn.DropPath(0.0, False), (F(3, 4),), train=True),
]

for _name, _shape in (("dropout", (4, 5)), ("dropout1d", (2, 3, 4)), ("dropout2d", (2, 3, 2, 4)),
                      ("dropout3d", (2, 2, 2, 2, 3)), ("alpha_dropout", (4, 5)),
                      ("feature_alpha_dropout", (2, 3, 4)), ("drop_path", (5, 3))):
    _f = getattr(fn, _name)
    _theirs = None if _name == "drop_path" else _name
    CASES.append(FunctionCase(_name, lambda x, f=_f: f(x, 0.4, key=KEY), (F(*_shape),)))
    for _p in (0.0, 1.0):
        CASES.append(FunctionCase(
            _name, lambda x, f=_f, p=_p: f(x, p, key=KEY), (F(*_shape),), id=f"{_name} {_p}",
            torch=_theirs and (lambda T, x, n=_theirs, p=_p: getattr(T.nn.functional, n)(
                x, p, True))))

CASES += [
    FunctionCase("drop_path", lambda x: fn.drop_path(x, 0.4, False, key=KEY), (F(5, 3),),
                 id="drop_path unscaled"),
    # The scale counts over the whole batch.
    FunctionCase("drop_block", lambda x: fn.drop_block(x, 2, 0.3, key=KEY), (F(2, 5, 4, 2),)),
]
