"""Layers that rearrange and reduce axes by patterns."""

from lucidfn import nn

from .table import F, LayerCase, last

CASES = [
    LayerCase(nn.Rearrange("n (h p) (w q) c -> n (h w) (p q c)", p=2, q=3), (F(2, 4, 3, 2),)),
    LayerCase(nn.Rearrange("n ... c -> n c ..."), (F(2, 3, 2, 4),),
              torch=lambda t: t.Identity(), call=lambda m, x: x.movedim(-1, 1)),
    LayerCase(nn.Rearrange("n h w c -> n (h w c)"), (F(2, 3, 2, 4),), torch=lambda t: t.Flatten(),
              call=lambda m, x: m(x)),
    LayerCase(nn.Reduce("n h w c -> n 1 1 c", "mean"), (F(2, 3, 2, 4),),
              torch=lambda t: t.AdaptiveAvgPool2d(1)),
    LayerCase(nn.Reduce("n (h p) (w q) c -> n h w c", "max", p=2, q=2), (F(2, 4, 4, 3),),
              torch=lambda t: t.MaxPool2d(2), call=lambda m, x: last(m(x.movedim(-1, 1)))),
]
