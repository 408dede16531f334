"""Linear and bilinear maps, layers that change the shape, and layers made of layers."""

from typing import Any

import lucidfn.numpy as lnp
from lucidfn import nn

from .table import F, FunctionCase, LayerCase, torch_names

same = lambda module, *xs: module(*xs)
as_it_is = dict


class Gated(nn.Composite):
    """A child that is called twice, a tuple of children, and a parameter of its own."""

    features: int
    after: tuple[nn.Layer, ...] = (nn.Linear(3, 3), nn.Linear(3, 2, bias=False))

    def children(self) -> dict[str, Any]:
        return {"gate": nn.Linear(self.features, self.features), **super().children()}

    def init_params(self, key: Any) -> nn.layer.Params:
        return {"scale": lnp.ones(self.features)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        x = nn.sigmoid(run.gate(run.gate(x))) * x * run.params["scale"]
        for layer in run.after:
            x = layer(x)
        return x


def residual_names(params: Any) -> dict[str, Any]:
    """PyTorch has no such layer: `torch_residual` names its parts alike."""
    return torch_names(params)


def torch_residual(nn: Any) -> Any:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.shortcut = nn.Linear(4, 3), nn.Linear(4, 3, bias=False)

        def forward(self, x: Any) -> Any:
            return self.inner(x) + self.shortcut(x)

    return Residual()


CASES = [
    LayerCase(nn.Linear(4, 3), (F(5, 4),), torch=lambda t: t.Linear(4, 3)),
    LayerCase(nn.Linear(4, 3, bias=False), (F(4),), torch=lambda t: t.Linear(4, 3, bias=False),
              call=same),
    LayerCase(nn.Linear(4, 3), (F(2, 3, 4),), torch=lambda t: t.Linear(4, 3), call=same,
              id="Linear, sequence"),
    LayerCase(nn.Identity(), (F(2, 3),), torch=lambda t: t.Identity()),
    LayerCase(nn.Flatten(), (F(2, 3, 2, 4),), torch=lambda t: t.Flatten(), call=same),
    LayerCase(nn.Flatten(0, -2), (F(2, 3, 2, 4),), torch=lambda t: t.Flatten(0, -2), call=same),
    LayerCase(nn.Unflatten(1, (2, -1)), (F(2, 6, 3),), torch=lambda t: t.Unflatten(1, (2, -1)),
              call=same),
    LayerCase(nn.Unflatten(-1, (3, 2)), (F(2, 6),), torch=lambda t: t.Unflatten(-1, (3, 2)),
              call=same),
    LayerCase(nn.Bilinear(3, 4, 2), (F(5, 3), F(5, 4)), torch=lambda t: t.Bilinear(3, 4, 2),
              weights=as_it_is),
    LayerCase(nn.Bilinear(3, 2, 4, bias=False), (F(2, 3, 3), F(2, 3, 2)),
              torch=lambda t: t.Bilinear(3, 2, 4, bias=False), weights=as_it_is, call=same),

    LayerCase(nn.Lambda(nn.sigmoid), (F(3, 2),), torch=lambda t: t.Sigmoid()),
    LayerCase(nn.Sequential(nn.Linear(3, 4), nn.tanh, nn.Linear(4, 2)), (F(3, 3),),
              torch=lambda t: t.Sequential(t.Linear(3, 4), t.Tanh(), t.Linear(4, 2))),
    LayerCase(nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.tanh, lambda x: lnp.moveaxis(x, -1, 1), nn.Flatten(),
        nn.Linear(36, 2)), (F(2, 3, 4, 2),), id="Sequential, channels first before Flatten",
        torch=lambda t: t.Sequential(t.Conv2d(2, 3, 3, padding=1), t.Tanh(), t.Identity(),
                                     t.Flatten(), t.Linear(36, 2))),
    LayerCase(nn.Residual(nn.Linear(4, 4), nn.tanh), (F(3, 4),)),
    LayerCase(nn.Residual(nn.Linear(4, 3), shortcut=nn.Linear(4, 3, bias=False)), (F(3, 4),),
              torch=torch_residual, weights=residual_names, id="Residual, shortcut"),
    LayerCase(Gated(3), (F(2, 3),), id="a composite"),

    FunctionCase("linear", nn.functional.linear, (F(2, 5, 4), F(4, 3), F(3)),
                 lambda T, x, w, b: T.nn.functional.linear(x, w.T, b)),
    FunctionCase("linear", nn.functional.linear, (F(4), F(4, 3)),
                 lambda T, x, w: T.nn.functional.linear(x, w.T), id="linear, a vector"),
    FunctionCase("bilinear", nn.functional.bilinear, (F(2, 4, 3), F(2, 4, 2), F(5, 3, 2), F(5)),
                 lambda T, *xs: T.nn.functional.bilinear(*xs)),
]
